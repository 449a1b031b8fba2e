//! From what a kernel hands to its card to what a wire carries: frames of the right size with finished checksums.

use rt_wire::checksum;

use super::header::{
    CWR, ETHERNET, FIN, HEADER, Header, Layout, Malformed, PSH, TCP, TCP_CHECKSUM, UDP, addresses, finish_ip,
};

/// The frames that one read of a device stands for: one, or the segments of a long one.
#[derive(Debug)]
pub struct Segments<'a> {
    frame: &'a [u8],
    header: Header,
    layout: Option<Layout>,
    /// Bytes of text already given away; `None` at the end.
    at: Option<usize>,
}

/// Where the UDP header's checksum is.
const UDP_CHECKSUM: usize = 6;
/// The kernel's own limit (`TCP_MIN_GSO_SIZE`): less would multiply a frame beyond measure.
const SMALLEST: u16 = 8;

impl<'a> Segments<'a> {
    /// Takes what [`Device::read`](crate::Device::read) gave: a header and a frame.
    ///
    /// # Errors
    ///
    /// The header does not fit the frame.
    pub fn parse(read: &'a [u8]) -> Result<Segments<'a>, Malformed> {
        let header = Header::parse(read).ok_or(Malformed::Short)?;
        let frame = &read[HEADER..];
        if frame.len() < ETHERNET {
            return Err(Malformed::Short);
        }
        if header.flags & Header::NEEDS_CHECKSUM != 0 {
            let field = usize::from(header.checksum_start) + usize::from(header.checksum_offset);
            if field + 2 > frame.len() || header.checksum_start > field as u16 {
                return Err(Malformed::Checksum);
            }
        }
        let layout = match header.kind & !Header::ECN {
            0 => None,
            Header::TCP_V4 => Some(Layout::of(frame, TCP, true).ok_or(Malformed::NotThat)?),
            Header::UDP_V4 => Some(Layout::of(frame, UDP, true).ok_or(Malformed::NotThat)?),
            other => return Err(Malformed::Kind(other)),
        };
        if layout.is_some() && header.segment_size < SMALLEST {
            return Err(Malformed::Size(header.segment_size));
        }
        Ok(Segments { frame, header, layout, at: Some(0) })
    }

    /// Replaces what is in `out` by the next frame; `false` when there is none. (Not an iterator: nothing is allocated for
    /// each frame.)
    pub fn next_into(&mut self, out: &mut Vec<u8>) -> bool {
        let Some(at) = self.at else { return false };
        out.clear();
        match self.layout {
            Some(layout) => self.cut(layout, at, out),
            None => {
                out.extend_from_slice(self.frame);
                self.at = None;
                if self.header.flags & Header::NEEDS_CHECKSUM != 0 {
                    let start = usize::from(self.header.checksum_start);
                    finish(&mut out[start..], usize::from(self.header.checksum_offset));
                }
            }
        }
        true
    }

    /// The segment whose text begins `at` bytes into the long one's.
    fn cut(&mut self, layout: Layout, at: usize, out: &mut Vec<u8>) {
        let size = usize::from(self.header.segment_size);
        let text = &self.frame[layout.text..];
        let (from, to) = (at, text.len().min(at + size));
        let last = to == text.len();
        self.at = (!last).then_some(to);
        out.reserve(layout.text + to - from);
        out.extend_from_slice(&self.frame[..layout.text]);
        out.extend_from_slice(&text[from..to]);
        let length = out.len() - ETHERNET;
        let number = u16::try_from(from / size).unwrap_or(u16::MAX);
        let ip = &mut out[ETHERNET..];
        let id = u16::from_be_bytes([ip[4], ip[5]]).wrapping_add(number);
        ip[4..6].copy_from_slice(&id.to_be_bytes());
        finish_ip(ip, layout.transport - ETHERNET, length);
        let (source, target) = addresses(out);
        let transport = &mut out[layout.transport..];
        let (protocol, field) = if self.header.kind == Header::UDP_V4 {
            let length = u16::try_from(transport.len()).unwrap_or(u16::MAX);
            transport[4..6].copy_from_slice(&length.to_be_bytes());
            (UDP, UDP_CHECKSUM)
        } else {
            place(transport, from, last);
            (TCP, TCP_CHECKSUM)
        };
        let pseudo = checksum::fold(checksum::pseudo_v4(source, target, protocol, transport.len()));
        transport[field..field + 2].copy_from_slice(&pseudo.to_be_bytes());
        finish(transport, field);
    }
}

/// Gives a TCP segment the sequence number and the flags of its place in the long one.
fn place(tcp: &mut [u8], from: usize, last: bool) {
    let seq = u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]);
    let seq = seq.wrapping_add(u32::try_from(from).unwrap_or(u32::MAX));
    tcp[4..8].copy_from_slice(&seq.to_be_bytes());
    if !last {
        tcp[13] &= !(FIN | PSH);
    }
    if from > 0 {
        tcp[13] &= !CWR;
    }
}

/// Finishes a checksum whose field holds the sum of the pseudo header. A sum of nothing stands as 0xffff in UDP, where 0
/// means that there is none (RFC 768), and as it is in all others.
fn finish(covered: &mut [u8], field: usize) {
    let check = match checksum::of_sum(checksum::ones_sum(covered)) {
        0 if field == UDP_CHECKSUM => u16::MAX,
        check => check,
    };
    covered[field..field + 2].copy_from_slice(&check.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two bytes of text that bring the sum to 0xffff, so that the checksum is nothing.
    fn summed_to_nothing(field: usize) -> u16 {
        let mut covered = [0_u8; 20];
        covered[0] = 0xff;
        covered[1] = 0xff;
        finish(&mut covered, field);
        u16::from_be_bytes([covered[field], covered[field + 1]])
    }

    #[test]
    fn only_udp_writes_nothing_as_all_ones() {
        assert_eq!(summed_to_nothing(TCP_CHECKSUM), 0);
        assert_eq!(summed_to_nothing(UDP_CHECKSUM), 0xffff);
    }
}
