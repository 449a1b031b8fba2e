//! Captures read again, by a reader that shares nothing with the writer: TCP segments with their times.

use std::path::Path;

/// A TCP segment of a capture.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    /// Nanoseconds of the capture's clock.
    pub(crate) at: u64,
    /// Whether `guest` sent it.
    pub(crate) of_guest: bool,
    /// The port of the machine that opened the connection, together with the server's: they name the connection.
    pub(crate) ports: (u16, u16),
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) flags: u8,
    /// Bytes of payload.
    pub(crate) len: u32,
    /// The two bits of IP for ECN.
    pub(crate) ecn: u8,
    /// Kinds of options, in order.
    pub(crate) options: Vec<u8>,
}

pub(crate) const FIN: u8 = 1;
pub(crate) const SYN: u8 = 2;
pub(crate) const RST: u8 = 4;
pub(crate) const ACK: u8 = 16;
pub(crate) const ECE: u8 = 64;
pub(crate) const CWR: u8 = 128;
/// Option kinds.
pub(crate) const SCALE: u8 = 3;
pub(crate) const SACK_PERMITTED: u8 = 4;
pub(crate) const SACK: u8 = 5;
pub(crate) const TIMESTAMPS: u8 = 8;

/// All segments of a capture, in its order. `guest` is the machine whose side is told from the other.
pub(crate) fn read(file: &Path, guest: [u8; 4]) -> Vec<Segment> {
    let bytes = std::fs::read(file).unwrap();
    let mut segments = Vec::new();
    let mut rest = &bytes[..];
    while rest.len() >= 12 {
        let (kind, len) = (u32_le(rest, 0), u32_le(rest, 4) as usize);
        let block = &rest[..len];
        match kind {
            0x0a0d_0d0a => assert_eq!(u32_le(block, 8), 0x1a2b_3c4d, "little-endian"),
            1 => assert!(block.windows(5).any(|w| w == [9, 0, 1, 0, 9]), "stamps in nanoseconds"),
            6 => {
                let at = u64::from(u32_le(block, 12)) << 32 | u64::from(u32_le(block, 16));
                let caught = u32_le(block, 20) as usize;
                segments.extend(segment(at, &block[28..28 + caught], guest));
            }
            _ => {}
        }
        rest = &rest[len..];
    }
    segments
}

/// Unfragmented TCP over IPv4 over Ethernet; everything else is none of our business.
fn segment(at: u64, frame: &[u8], guest: [u8; 4]) -> Option<Segment> {
    let ip = frame.get(14..).filter(|_| frame[12..14] == [8, 0])?;
    let head = usize::from(ip[0] & 15) * 4;
    if ip[9] != 6 || (u16_be(ip, 6) & 0x3fff) != 0 {
        return None;
    }
    let tcp = &ip[head..usize::from(u16_be(ip, 2))];
    let data = usize::from(tcp[12] >> 4) * 4;
    let (from, to) = (u16_be(tcp, 0), u16_be(tcp, 2));
    Some(Segment {
        at,
        of_guest: ip[12..16] == guest,
        ports: (from.max(to), from.min(to)),
        seq: u32_be(tcp, 4),
        ack: u32_be(tcp, 8),
        flags: tcp[13],
        len: u32::try_from(tcp.len() - data).unwrap(),
        ecn: ip[1] & 3,
        options: options(&tcp[20..data]),
    })
}

fn options(mut bytes: &[u8]) -> Vec<u8> {
    let mut kinds = Vec::new();
    while let [kind, rest @ ..] = bytes {
        let skip = match kind {
            0 => break,
            1 => 0,
            _ => usize::from(rest[0]) - 1,
        };
        if *kind > 1 {
            kinds.push(*kind);
        }
        bytes = &rest[skip..];
    }
    kinds
}

fn u16_be(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes(bytes[at..at + 2].try_into().unwrap())
}

fn u32_be(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u32_le(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}
