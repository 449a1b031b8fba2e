//! The internet checksum (RFC 1071) and its incremental update (RFC 1624).
//!
//! A *sum* is an unfolded one's complement sum in the machine's byte order, wide enough that sums of whole packets can
//! be added with `+`. Only [`fold`] brings it to network order: swapping once at the end instead of for every word
//! lets the compiler use vector instructions.

use std::net::{IpAddr, Ipv4Addr};

use crate::protocol;

/// Sum of `bytes`; an odd last byte is padded with zero. Sums of consecutive pieces may be added when all pieces but
/// the last have even length.
#[must_use]
#[inline]
pub fn ones_sum(bytes: &[u8]) -> u64 {
    let wide = if bytes.len() < SHORT { 0 } else { bytes.len() & !31 };
    let (blocks, rest) = bytes.split_at(wide);
    let blocks = blocks.as_chunks::<32>().0;
    let (words, rest) = rest.as_chunks::<4>();
    // From front to back, as memory is fetched ahead.
    let sum = if blocks.is_empty() { 0 } else { sum_blocks(blocks) };
    let sum = words.iter().fold(sum, |sum, word| sum + u64::from(u32::from_ne_bytes(*word)));
    let tail = match *rest {
        [] => 0,
        [a] => u64::from(u16::from_ne_bytes([a, 0])),
        [a, b, ref odd @ ..] => {
            let odd = odd.first().map_or(0, |c| u64::from(u16::from_ne_bytes([*c, 0])));
            u64::from(u16::from_ne_bytes([a, b])) + odd
        }
    };
    sum + tail
}

/// Sum of `piece` as it stands behind `before` bytes.
#[must_use]
#[inline]
pub fn ones_sum_behind(before: usize, piece: &[u8]) -> u64 {
    let sum = ones_sum(piece);
    if before.is_multiple_of(2) {
        return sum;
    }
    // All bytes stand in the other half of their words.
    u64::from(fold(sum).to_be().swap_bytes())
}

/// Lanes do not pay for less than this.
const SHORT: usize = 96;

/// A lane of 32 bits holds so many upper halves at least.
const LANE_BLOCKS: usize = 32_768;

/// Eight independent lanes of 32 bits, so that the compiler can use narrow vector instructions: one sums the words and may
/// overflow, the other their upper halves and may not, which says what the first has lost.
fn sum_blocks(blocks: &[[u8; 32]]) -> u64 {
    let mut sum = 0;
    for blocks in blocks.chunks(LANE_BLOCKS) {
        let (mut words, mut uppers) = ([0u32; 8], [0u32; 8]);
        for block in blocks {
            let lanes = words.iter_mut().zip(&mut uppers);
            for ((all, upper), word) in lanes.zip(block.as_chunks::<4>().0) {
                let word = u32::from_ne_bytes(*word);
                *all = all.wrapping_add(word);
                *upper += word >> 16;
            }
        }
        for (all, upper) in words.into_iter().zip(uppers) {
            let lower = all.wrapping_sub(upper << 16);
            sum += u64::from(lower) + (u64::from(upper) << 16);
        }
    }
    sum
}

/// A sum as the 16-bit number that stands on the wire before complementing (write it with `to_be_bytes`).
#[must_use]
#[inline]
pub fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + ((sum >> 16) & 0xffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    u16::from_be(sum as u16)
}

/// The checksum field for a sum over everything it covers (with the field itself as zero).
#[must_use]
#[inline]
pub fn of_sum(sum: u64) -> u16 {
    !fold(sum)
}

/// Whether bytes that include their checksum field sum up.
#[must_use]
#[inline]
pub fn holds(sum: u64) -> bool {
    fold(sum) == 0xffff
}

/// Sum of the IPv4 pseudo header (RFC 9293, 3.1): addresses, protocol and length of the transport segment.
#[must_use]
#[inline]
pub fn pseudo_v4(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, len: usize) -> u64 {
    let (s, d) = (src.octets(), dst.octets());
    u64::from(u32::from_ne_bytes(s))
        + u64::from(u32::from_ne_bytes(d))
        + u64::from(u16::from(protocol).to_be())
        + u64::from((len as u32).to_be())
}

/// Sum of the pseudo header of either family (RFC 8200, 8.1 for IPv6). Addresses of different families add what they
/// have, so the checksum simply will not match.
#[must_use]
pub fn pseudo(src: IpAddr, dst: IpAddr, protocol: u8, len: usize) -> u64 {
    if let (IpAddr::V4(src), IpAddr::V4(dst)) = (src, dst) {
        return pseudo_v4(src, dst, protocol, len);
    }
    let octets = |a: IpAddr| match a {
        IpAddr::V4(a) => ones_sum(&a.octets()),
        IpAddr::V6(a) => ones_sum(&a.octets()),
    };
    octets(src) + octets(dst) + u64::from(u16::from(protocol).to_be()) + u64::from((len as u32).to_be())
}

/// Where the checksum field of a transport header stands, if the protocol has one.
pub(crate) fn field_offset(protocol: u8) -> Option<usize> {
    match protocol {
        protocol::TCP => Some(16),
        protocol::UDP => Some(6),
        _ => None,
    }
}

/// Computes and writes the checksum of a whole UDP or TCP segment (header and payload). A computed UDP checksum of 0
/// is written as 0xffff (RFC 768). Other protocols and segments too short for the field are left alone.
pub fn fill_transport(src: IpAddr, dst: IpAddr, protocol: u8, segment: &mut [u8]) {
    let Some(at) = field_offset(protocol).filter(|at| segment.len() >= at + 2) else { return };
    segment[at..at + 2].fill(0);
    let mut check = of_sum(pseudo(src, dst, protocol, segment.len()) + ones_sum(segment));
    if protocol == protocol::UDP && check == 0 {
        check = 0xffff;
    }
    segment[at..at + 2].copy_from_slice(&check.to_be_bytes());
}

/// Whether the checksum of a whole UDP or TCP segment holds. A UDP checksum of zero over IPv4 means "none" and holds.
#[must_use]
pub fn transport_holds(src: IpAddr, dst: IpAddr, protocol: u8, segment: &[u8]) -> bool {
    let none = protocol == protocol::UDP && src.is_ipv4() && segment.get(6..8) == Some(&[0, 0]);
    none || holds(pseudo(src, dst, protocol, segment.len()) + ones_sum(segment))
}

/// The checksum after one covered 16-bit word changed from `old` to `new` (RFC 1624, equation 3).
#[must_use]
#[inline]
pub fn update(check: u16, old: u16, new: u16) -> u16 {
    let sum = u32::from(!check) + u32::from(!old) + u32::from(new);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    !(sum as u16)
}

/// The checksum after a covered 32-bit word at an even offset changed from `old` to `new`.
#[must_use]
#[inline]
pub fn update32(check: u16, old: u32, new: u32) -> u16 {
    update(update(check, (old >> 16) as u16, (new >> 16) as u16), old as u16, new as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 1071 as written: big-endian words, one at a time.
    fn plain(bytes: &[u8]) -> u16 {
        let mut sum = 0u32;
        for word in bytes.chunks(2) {
            sum += u32::from(u16::from_be_bytes([word[0], word.get(1).copied().unwrap_or(0)]));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }

    #[test]
    fn the_fast_sum_is_the_plain_sum() {
        let bytes: Vec<u8> = (0..2000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        for len in (0..200).chain([1460, 1499, 1500, 2000]) {
            for start in [0, 1, 7] {
                let piece = &bytes[start..(start + len).min(2000)];
                assert_eq!(fold(ones_sum(piece)), plain(piece), "{start} {len}");
            }
        }
        assert_eq!(fold(ones_sum(&[0xff; 65536])), 0xffff);
        // More than the lanes hold at once.
        let long = bytes.repeat(1_100);
        assert_eq!(u64::from(fold(ones_sum(&long))) % 0xffff, u64::from(plain(&bytes)) * 1_100 % 0xffff);
        assert_eq!(ones_sum(&vec![0xff; 32 * LANE_BLOCKS]), 8 * LANE_BLOCKS as u64 * u64::from(u32::MAX));
        // The example of RFC 1071, section 3.
        assert_eq!(fold(ones_sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7])), 0xddf2);
    }

    #[test]
    fn pieces_sum_up_to_the_whole() {
        let bytes: Vec<u8> = (0..400u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        for len in [0, 1, 2, 95, 96, 97, 131, 400] {
            for cut in (0..=len).step_by(7) {
                let (first, second) = bytes[..len].split_at(cut);
                let sum = ones_sum(first) + ones_sum_behind(first.len(), second);
                assert_eq!(fold(sum), plain(&bytes[..len]), "{len} {cut}");
            }
        }
    }

    #[test]
    fn fold_takes_any_sum() {
        for sum in [0, 1, 0xffff, 0x1_0000, u64::from(u32::MAX), 0xffff_ffff_ffff, u64::MAX, u64::MAX - 1] {
            let native = u16::from_be(fold(sum));
            assert_eq!(u64::from(native) % 0xffff, sum % 0xffff, "{sum:x}");
        }
    }
}
