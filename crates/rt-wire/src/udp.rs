//! The UDP header (RFC 768). The checksum is a plain field here: [`crate::checksum::fill_transport`] computes it and
//! [`crate::checksum::transport_holds`] verifies it, because both need the IP addresses.

use crate::{Error, Layer, be16};

/// A UDP header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UdpHeader {
    /// Source port.
    pub src: u16,
    /// Destination port.
    pub dst: u16,
    /// Length of header and payload in bytes.
    pub len: u16,
    /// Checksum as on the wire; 0 is none.
    pub checksum: u16,
}

impl UdpHeader {
    /// Bytes of the header.
    pub const LEN: usize = 8;

    /// Reads the header; the payload ends where `len` says.
    ///
    /// # Errors
    /// Too short, or a length that cannot be.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<(UdpHeader, &[u8]), Error> {
        let Some(b) = bytes.first_chunk::<{ Self::LEN }>() else {
            return Err(Error::new(Layer::Udp, "length", bytes.len()));
        };
        let header = UdpHeader { src: be16(b, 0), dst: be16(b, 2), len: be16(b, 4), checksum: be16(b, 6) };
        match bytes.get(Self::LEN..usize::from(header.len)) {
            Some(payload) => Ok((header, payload)),
            None => Err(Error::new(Layer::Udp, "length", 4)),
        }
    }

    /// Appends the header as it is.
    pub fn emit(&self, out: &mut Vec<u8>) {
        for field in [self.src, self.dst, self.len, self.checksum] {
            out.extend_from_slice(&field.to_be_bytes());
        }
    }
}
