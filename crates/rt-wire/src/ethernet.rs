//! Ethernet II (IEEE 802.3, clause 3): destination, source, EtherType. No VLAN tags yet; the FCS is not part of the
//! bytes (captures do not have it either).

use crate::{Error, Layer, MacAddr, be16};

/// EtherTypes that we know by name.
pub mod ethertype {
    /// IPv4.
    pub const IPV4: u16 = 0x0800;
    /// ARP.
    pub const ARP: u16 = 0x0806;
    /// 802.1Q tag.
    pub const VLAN: u16 = 0x8100;
    /// PPPoE discovery (RFC 2516).
    pub const PPPOE_DISCOVERY: u16 = 0x8863;
    /// PPPoE session.
    pub const PPPOE_SESSION: u16 = 0x8864;
    /// IPv6.
    pub const IPV6: u16 = 0x86dd;
}

/// An Ethernet header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EthernetHeader {
    /// To.
    pub dst: MacAddr,
    /// From.
    pub src: MacAddr,
    /// What follows; below 0x0600 it is an 802.3 length.
    pub ethertype: u16,
}

impl EthernetHeader {
    /// Bytes of the header.
    pub const LEN: usize = 14;

    /// Reads the header; the rest is payload (padding included).
    ///
    /// # Errors
    /// Fewer than 14 bytes.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<(EthernetHeader, &[u8]), Error> {
        let Some((head, payload)) = bytes.split_at_checked(Self::LEN) else {
            return Err(Error::new(Layer::Ethernet, "length", bytes.len()));
        };
        let mac = |at: usize| MacAddr(core::array::from_fn(|i| head[at + i]));
        Ok((EthernetHeader { dst: mac(0), src: mac(6), ethertype: be16(head, 12) }, payload))
    }

    /// Appends the header.
    pub fn emit(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.dst.0);
        out.extend_from_slice(&self.src.0);
        out.extend_from_slice(&self.ethertype.to_be_bytes());
    }
}
