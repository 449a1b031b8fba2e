//! The way in: consecutive segments of one flow become one long frame, as a card with large receive offload would hand over.
//!
//! A kernel takes one frame of 64 KiB for little more than the price of one of 1,500 bytes. What is joined is what Linux itself
//! joins (GRO), with the same conditions, so that the kernel inside sees nothing that it would not have seen anyway; a
//! segment whose checksum is wrong is handed over alone, as it is, for the kernel to judge.

use std::collections::VecDeque;

use rt_wire::checksum;

use super::header::{ACK, ETHERNET, HEADER, Header, Layout, PSH, TCP, TCP_CHECKSUM, addresses, finish_ip};

/// Joins consecutive segments of a few flows at a time. Give it frames by [`offer`](Coalescer::offer), take what is
/// [done](Coalescer::next_done), and [`flush`](Coalescer::flush) at the end of each turn: nothing waits for longer.
#[derive(Debug, Default)]
pub struct Coalescer {
    /// Frames that wait for more of their flow, the oldest first.
    waiting: Vec<Joined>,
    /// Finished frames with their headers, in order.
    done: VecDeque<Vec<u8>>,
    /// Buffers to be used again.
    spare: Vec<Vec<u8>>,
}

/// A frame that may still grow: a header's room, then the frame.
#[derive(Debug)]
struct Joined {
    bytes: Vec<u8>,
    layout: Layout,
    /// Text of each segment but the last.
    size: usize,
    segments: usize,
    /// The sequence number that comes next.
    next: u32,
    /// Whether nothing may follow: a shorter segment, or one that asks to be pushed.
    closed: bool,
}

/// Flows that are joined at the same time.
const FLOWS: usize = 8;
/// The longest IP packet.
const LONGEST: usize = 65_535;

impl Coalescer {
    /// One in which nothing waits.
    #[must_use]
    pub fn new() -> Coalescer {
        Coalescer::default()
    }

    /// Takes a frame as a wire carries it.
    pub fn offer(&mut self, frame: &[u8]) {
        let layout = Layout::of(frame, TCP, false);
        if layout.is_none() {
            // Maybe a fragment of what waits: nothing overtakes its own flow.
            self.flush();
        }
        let same = layout.and_then(|l| self.waiting.iter().position(|j| j.is_flow(frame, l)));
        // Even one that cannot be joined stays behind its flow's others.
        let joinable = layout.filter(|l| is_joinable(frame, *l));
        if let (Some(at), Some(layout)) = (same, joinable)
            && self.waiting[at].take(frame, layout)
        {
            return;
        }
        if let Some(at) = same {
            let joined = self.waiting.remove(at);
            self.done.push_back(joined.finish());
        }
        let mut bytes = self.spare.pop().unwrap_or_default();
        bytes.clear();
        bytes.extend_from_slice(&[0; HEADER]);
        bytes.extend_from_slice(frame);
        let Some(layout) = joinable else {
            self.done.push_back(bytes);
            return;
        };
        if self.waiting.len() == FLOWS {
            let oldest = self.waiting.remove(0);
            self.done.push_back(oldest.finish());
        }
        self.waiting.push(Joined::new(bytes, frame, layout));
    }

    /// Ends the waiting of all frames.
    pub fn flush(&mut self) {
        for joined in self.waiting.drain(..) {
            self.done.push_back(joined.finish());
        }
    }

    /// The next frame that is done, with its virtio-net header. Give it back by [`recycle`](Coalescer::recycle).
    pub fn next_done(&mut self) -> Option<Vec<u8>> {
        self.done.pop_front()
    }

    /// Takes back a buffer, so that the next frame needs no new one.
    pub fn recycle(&mut self, buffer: Vec<u8>) {
        if self.spare.len() < 2 * FLOWS {
            self.spare.push(buffer);
        }
    }
}

impl Joined {
    fn new(mut bytes: Vec<u8>, frame: &[u8], layout: Layout) -> Joined {
        // Without the padding of short frames.
        bytes.truncate(HEADER + layout.end);
        let size = layout.end - layout.text;
        let next = seq(frame, layout).wrapping_add(u32::try_from(size).unwrap_or(u32::MAX));
        let closed = frame[layout.transport + 13] & PSH != 0;
        Joined { bytes, layout, size, segments: 1, next, closed }
    }

    fn frame(&self) -> &[u8] {
        &self.bytes[HEADER..]
    }

    /// Whether a frame is of the same flow: addresses and ports.
    fn is_flow(&self, frame: &[u8], layout: Layout) -> bool {
        let (own, at) = (self.frame(), self.layout.transport);
        own[26..34] == frame[26..34] && own[at..at + 4] == frame[layout.transport..layout.transport + 4]
    }

    /// Appends the text of a joinable segment of the same flow, if it continues this frame.
    fn take(&mut self, frame: &[u8], layout: Layout) -> bool {
        let text = &frame[layout.text..layout.end];
        if self.closed || !self.is_continued_by(frame, layout) {
            return false;
        }
        self.bytes.extend_from_slice(text);
        self.next = self.next.wrapping_add(u32::try_from(text.len()).unwrap_or(u32::MAX));
        self.segments += 1;
        let push = frame[layout.transport + 13] & PSH;
        self.bytes[HEADER + self.layout.transport + 13] |= push;
        self.closed = push != 0 || text.len() < self.size;
        true
    }

    fn is_continued_by(&self, frame: &[u8], layout: Layout) -> bool {
        let (own, tcp) = (self.frame(), layout.transport);
        let text = layout.end - layout.text;
        let fits = text <= self.size && own.len() - ETHERNET + text <= LONGEST;
        // Ethernet; version and service; fragment bits, lifetime and protocol; acknowledgement; flags but PSH, window, options.
        let same = |range: std::ops::Range<usize>| own.get(range.clone()) == frame.get(range);
        fits && layout.transport == self.layout.transport
            && layout.text == self.layout.text
            && seq(frame, layout) == self.next
            && same(0..16)
            && same(20..24)
            && same(tcp + 8..tcp + 13)
            && (own[tcp + 13] | PSH) == (frame[tcp + 13] | PSH)
            && same(tcp + 14..tcp + 16)
            && same(tcp + 18..layout.text)
    }

    /// The frame with its header: as it came, if nothing was joined to it.
    fn finish(mut self) -> Vec<u8> {
        if self.segments == 1 {
            let header = Header { flags: Header::CHECKSUM_VALID, ..Header::default() };
            self.bytes[..HEADER].copy_from_slice(&header.emit());
            return self.bytes;
        }
        let Layout { transport: tcp, text, .. } = self.layout;
        let word = |n: usize| u16::try_from(n).unwrap_or(u16::MAX);
        let header = Header {
            flags: Header::NEEDS_CHECKSUM,
            kind: Header::TCP_V4,
            header_len: word(text),
            segment_size: word(self.size),
            checksum_start: word(tcp),
            checksum_offset: word(TCP_CHECKSUM),
        };
        self.bytes[..HEADER].copy_from_slice(&header.emit());
        let frame = &mut self.bytes[HEADER..];
        let length = frame.len() - ETHERNET;
        finish_ip(&mut frame[ETHERNET..], tcp - ETHERNET, length);
        let (source, target) = addresses(frame);
        let sum = checksum::fold(checksum::pseudo_v4(source, target, TCP, frame.len() - tcp));
        frame[tcp + TCP_CHECKSUM..tcp + TCP_CHECKSUM + 2].copy_from_slice(&sum.to_be_bytes());
        self.bytes
    }
}

fn seq(frame: &[u8], layout: Layout) -> u32 {
    let at = layout.transport + 4;
    u32::from_be_bytes([frame[at], frame[at + 1], frame[at + 2], frame[at + 3]])
}

/// Whether a segment may be joined to others at all: text, no flag but ACK and PSH (ECE too is left alone), a plain IP header,
/// and both checksums right.
fn is_joinable(frame: &[u8], layout: Layout) -> bool {
    let flags = frame[layout.transport + 13];
    if layout.text == layout.end || flags & !PSH != ACK || layout.transport != ETHERNET + 20 {
        return false;
    }
    let (source, target) = addresses(frame);
    let segment = &frame[layout.transport..layout.end];
    let sum = checksum::pseudo_v4(source, target, TCP, segment.len()) + checksum::ones_sum(segment);
    checksum::holds(sum) && checksum::holds(checksum::ones_sum(&frame[ETHERNET..layout.transport]))
}
