//! The IPv4 header (RFC 791). Options are skipped: [`Ipv4Header::header_len`] says where the payload begins, and an
//! emitted header of more than 20 bytes carries end-of-options padding there.

use std::net::Ipv4Addr;

use crate::{Error, Layer, be16, checksum};

/// IP protocol numbers that we know by name.
pub mod protocol {
    /// ICMP (RFC 792).
    pub const ICMP: u8 = 1;
    /// TCP (RFC 9293).
    pub const TCP: u8 = 6;
    /// IP in IP (RFC 2003).
    pub const IPIP: u8 = 4;
    /// UDP (RFC 768).
    pub const UDP: u8 = 17;
    /// GRE (RFC 2784).
    pub const GRE: u8 = 47;
}

/// An IPv4 header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ipv4Header {
    /// Header length in bytes, 20 to 60 in steps of four; 20 without options.
    pub header_len: u8,
    /// DSCP (six bits) and ECN (two bits).
    pub dscp_ecn: u8,
    /// Length of header and payload in bytes.
    pub total_len: u16,
    /// Identification, for fragments.
    pub id: u16,
    /// Don't fragment.
    pub df: bool,
    /// More fragments follow.
    pub mf: bool,
    /// Offset of this fragment in the datagram, in bytes (a multiple of eight).
    pub frag_offset: u16,
    /// Time to live, hops.
    pub ttl: u8,
    /// What the payload is: see [`protocol`].
    pub protocol: u8,
    /// From.
    pub src: Ipv4Addr,
    /// To.
    pub dst: Ipv4Addr,
}

impl Ipv4Header {
    /// Bytes of a header without options.
    pub const LEN: usize = 20;

    /// A header without options for `payload_len` bytes: not a fragment, `df` clear, `id` 0.
    #[must_use]
    pub fn new(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, ttl: u8, payload_len: usize) -> Ipv4Header {
        Ipv4Header {
            header_len: Self::LEN as u8,
            dscp_ecn: 0,
            total_len: u16::try_from(payload_len + Self::LEN).unwrap_or(u16::MAX),
            id: 0,
            df: false,
            mf: false,
            frag_offset: 0,
            ttl,
            protocol,
            src,
            dst,
        }
    }

    /// Reads and checks the header; the payload ends where `total_len` says (link padding is cut off).
    ///
    /// # Errors
    /// Too short, not version 4, impossible lengths, or a checksum that does not match.
    #[inline(always)]
    pub fn parse(bytes: &[u8]) -> Result<(Ipv4Header, &[u8]), Error> {
        let (header, payload) = Ipv4Header::parse_unchecked(bytes)?;
        let len = usize::from(header.header_len);
        let total = usize::from(header.total_len);
        if total < len {
            return Err(Error::new(Layer::Ipv4, "total length", 2));
        }
        if !checksum::holds(header_sum(&bytes[..len])) {
            return Err(Error::new(Layer::Ipv4, "checksum", 10));
        }
        match payload.get(..total - len) {
            Some(payload) => Ok((header, payload)),
            None => Err(Error::new(Layer::Ipv4, "total length", 2)),
        }
    }

    /// Reads a header without checking its total length and checksum; the payload is all that follows. For packets
    /// quoted by ICMP errors, which are cut short and may have been rewritten on the way.
    ///
    /// # Errors
    /// Too short, not version 4, or an impossible header length.
    #[inline(always)]
    pub fn parse_unchecked(bytes: &[u8]) -> Result<(Ipv4Header, &[u8]), Error> {
        let Some(b) = bytes.first_chunk::<{ Self::LEN }>() else {
            return Err(Error::new(Layer::Ipv4, "length", bytes.len()));
        };
        if b[0] >> 4 != 4 {
            return Err(Error::new(Layer::Ipv4, "version", 0));
        }
        let header_len = (b[0] & 0x0f) * 4;
        if usize::from(header_len) < Self::LEN {
            return Err(Error::new(Layer::Ipv4, "header length", 0));
        }
        let Some(payload) = bytes.get(usize::from(header_len)..) else {
            return Err(Error::new(Layer::Ipv4, "header length", 0));
        };
        let fragment = be16(b, 6);
        let header = Ipv4Header {
            header_len,
            dscp_ecn: b[1],
            total_len: be16(b, 2),
            id: be16(b, 4),
            df: fragment & 0x4000 != 0,
            mf: fragment & 0x2000 != 0,
            frag_offset: (fragment & 0x1fff) << 3,
            ttl: b[8],
            protocol: b[9],
            src: Ipv4Addr::new(b[12], b[13], b[14], b[15]),
            dst: Ipv4Addr::new(b[16], b[17], b[18], b[19]),
        };
        Ok((header, payload))
    }

    /// Appends the header with its checksum. A `header_len` above 20 is filled with end-of-options bytes.
    pub fn emit(&self, out: &mut Vec<u8>) {
        let start = out.len();
        let len = usize::from(self.header_len).clamp(Self::LEN, 60) & !3;
        let fragment = (self.frag_offset >> 3) | u16::from(self.df) << 14 | u16::from(self.mf) << 13;
        let first = 0x40 | (len / 4) as u32;
        // Summed as words, not read again from bytes just written. Padding is zeros and adds nothing.
        let words = [
            first << 24 | u32::from(self.dscp_ecn) << 16 | u32::from(self.total_len),
            u32::from(self.id) << 16 | u32::from(fragment),
            u32::from(self.ttl) << 24 | u32::from(self.protocol) << 16,
            u32::from(self.src),
            u32::from(self.dst),
        ];
        let check = checksum::of_sum(words.iter().map(|word| u64::from(word.to_be())).sum());
        let [a, b, c, d, e] = words;
        let fixed = [a, b, c | u32::from(check), d, e].map(u32::to_be_bytes);
        out.extend_from_slice(fixed.as_flattened());
        if len > Self::LEN {
            out.resize(start + len, 0);
        }
    }

    /// Whether it is a fragment (the first one included).
    #[must_use]
    pub fn is_fragment(&self) -> bool {
        self.mf || self.frag_offset != 0
    }

    /// Bytes of payload as the total length says.
    #[must_use]
    pub fn payload_len(&self) -> usize {
        usize::from(self.total_len).saturating_sub(usize::from(self.header_len))
    }
}

/// Sum of a header of 20 to 60 bytes (a multiple of four): five loads for the usual one.
#[inline(always)]
fn header_sum(header: &[u8]) -> u64 {
    let word = |w: &[u8]| u64::from(u32::from_ne_bytes([w[0], w[1], w[2], w[3]]));
    match header.as_chunks::<4>().0 {
        [a, b, c, d, e] => word(a) + word(b) + word(c) + word(d) + word(e),
        more => more.iter().map(|w| word(w)).sum(),
    }
}
