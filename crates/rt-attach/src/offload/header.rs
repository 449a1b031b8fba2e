//! The virtio-net header (virtio 1.2, section 5.1.6, in the machine's byte order), and what is long-lived in a TCP frame.

use std::fmt;
use std::net::Ipv4Addr;

/// Bytes of the virtio-net header before each frame of a device with [`Plan::offload`](crate::Plan::offload).
pub const HEADER: usize = 10;

/// What is left to do for a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// [`Header::NEEDS_CHECKSUM`] or [`Header::CHECKSUM_VALID`].
    pub flags: u8,
    /// 0, or [`Header::TCP_V4`], maybe with [`Header::ECN`].
    pub kind: u8,
    /// Bytes before the text; only a hint.
    pub header_len: u16,
    /// Bytes of text in each segment.
    pub segment_size: u16,
    /// Where the sum begins, from the start of the frame.
    pub checksum_start: u16,
    /// Where the checksum goes, from there.
    pub checksum_offset: u16,
}

impl Header {
    /// The checksum field holds the sum of the pseudo header only.
    pub const NEEDS_CHECKSUM: u8 = 1;
    /// The checksum has been verified.
    pub const CHECKSUM_VALID: u8 = 2;
    /// To be cut as TCP over IPv4.
    pub const TCP_V4: u8 = 1;
    /// To be cut as UDP over IPv4: a datagram for each segment.
    pub const UDP_V4: u8 = 5;
    /// CWR stands for the first segment only (RFC 3168, section 6.1.2).
    pub const ECN: u8 = 0x80;

    /// Reads a header; `None` if there are fewer than [`HEADER`] bytes.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Header> {
        let b: [u8; HEADER] = bytes.get(..HEADER)?.try_into().ok()?;
        let word = |at: usize| u16::from_ne_bytes([b[at], b[at + 1]]);
        Some(Header {
            flags: b[0],
            kind: b[1],
            header_len: word(2),
            segment_size: word(4),
            checksum_start: word(6),
            checksum_offset: word(8),
        })
    }

    /// The header as bytes.
    #[must_use]
    pub fn emit(self) -> [u8; HEADER] {
        let [a, b] = self.header_len.to_ne_bytes();
        let [c, d] = self.segment_size.to_ne_bytes();
        let [e, f] = self.checksum_start.to_ne_bytes();
        let [g, h] = self.checksum_offset.to_ne_bytes();
        [self.flags, self.kind, a, b, c, d, e, f, g, h]
    }
}

/// A frame with a header that makes no sense: whoever sent it tampers with what the kernel makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Malformed {
    /// Too short for a header and an Ethernet frame.
    Short,
    /// The checksum would be outside the frame.
    Checksum,
    /// A kind of segmentation that was never offered.
    Kind(u8),
    /// Segments of fewer than 8 bytes, which no kernel makes.
    Size(u16),
    /// To be cut as TCP or UDP over IPv4, but that is not what it is.
    NotThat,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Malformed::Short => write!(f, "a frame that is shorter than its headers"),
            Malformed::Checksum => write!(f, "a frame whose checksum would lie outside of it"),
            Malformed::Kind(kind) => write!(f, "a frame to be cut in a way ({kind}) that was never offered"),
            Malformed::Size(size) => write!(f, "a frame to be cut into pieces of {size} bytes"),
            Malformed::NotThat => write!(f, "a frame to be cut as TCP or UDP over IPv4, which it is not"),
        }
    }
}

impl std::error::Error for Malformed {}

/// Bytes of an Ethernet header.
pub(super) const ETHERNET: usize = 14;
/// Where the TCP header's checksum is.
pub(super) const TCP_CHECKSUM: usize = 16;

pub(super) const FIN: u8 = 0x01;
pub(super) const PSH: u8 = 0x08;
pub(super) const ACK: u8 = 0x10;
pub(super) const CWR: u8 = 0x80;

pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;

/// Where things are in a frame that carries a whole TCP segment or UDP datagram over IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// Start of the transport header.
    pub(super) transport: usize,
    /// Start of the text.
    pub(super) text: usize,
    /// End of the IP packet: what follows is padding.
    pub(super) end: usize,
}

impl Layout {
    /// Finds out; `None` for anything else, fragments included. With `whole_frame`, the packet ends where the frame does,
    /// whatever its length field says (which a kernel may leave to us).
    pub(super) fn of(frame: &[u8], protocol: u8, whole_frame: bool) -> Option<Layout> {
        let ip = frame.get(ETHERNET..)?;
        if frame[12..14] != [8, 0] || ip.len() < 20 || ip[0] >> 4 != 4 || ip[9] != protocol {
            return None;
        }
        let length = usize::from(u16::from_be_bytes([ip[2], ip[3]]));
        let end = if whole_frame { frame.len() } else { ETHERNET + length };
        // More fragments, or an offset.
        if u16::from_be_bytes([ip[6], ip[7]]) & 0x3fff != 0 || end > frame.len() {
            return None;
        }
        let header = usize::from(ip[0] & 0x0f) * 4;
        let transport = ETHERNET + header;
        let (least, length) = match protocol {
            TCP => (20, usize::from(frame.get(transport + 12).copied()? >> 4) * 4),
            _ => (8, 8),
        };
        let text = transport + length;
        (header >= 20 && length >= least && text <= end).then_some(Layout { transport, text, end })
    }
}

/// Source and destination of a frame whose layout is known.
pub(super) fn addresses(frame: &[u8]) -> (Ipv4Addr, Ipv4Addr) {
    let address = |at: usize| Ipv4Addr::new(frame[at], frame[at + 1], frame[at + 2], frame[at + 3]);
    (address(ETHERNET + 12), address(ETHERNET + 16))
}

/// Writes a packet's length and its header's checksum.
pub(super) fn finish_ip(packet: &mut [u8], header: usize, length: usize) {
    packet[2..4].copy_from_slice(&u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes());
    packet[10..12].fill(0);
    let sum = rt_wire::checksum::ones_sum(&packet[..header]);
    packet[10..12].copy_from_slice(&rt_wire::checksum::of_sum(sum).to_be_bytes());
}
