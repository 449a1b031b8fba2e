//! What the peer has sent and the application has not read: a ring in which every byte has its place by stream offset,
//! so data beyond a hole is stored where it will be read, and reassembly of any order and overlap is a list of ranges.
//!
//! Bytes that were received once are never overwritten by a later copy with another content.
//!
//! Whenever nothing is held, the ring begins anew at its first byte: an application that reads at once has the same few
//! lines of memory written again and again, however large the ring once grew.

use rt_wire::Seq;

/// Data in order and beyond holes.
#[derive(Debug, Default)]
pub(super) struct RecvBuffer {
    /// Empty or a power of two long.
    ring: Box<[u8]>,
    /// Stream offset of a byte that stands first in the ring; not above `read`.
    base: u64,
    /// Stream offset of the next byte for the application.
    read: u64,
    /// Stream offset of the next byte expected (RCV.NXT).
    next: u64,
    /// Ranges beyond `next`, apart from each other, ascending.
    beyond: Vec<(u64, u64)>,
    /// Offsets in the ranges that were touched last, newest first (RFC 2018 section 4).
    recent: [u64; RECENT],
}

/// Text that came before the connection was open (RFC 9293 3.10.7.3: "queue for processing later").
#[derive(Debug, Default)]
pub(super) struct Early {
    pub(super) text: Vec<u8>,
}

/// So many ranges are remembered in order of their age; a segment carries at most three or four.
const RECENT: usize = 4;
/// More separate ranges than this are not kept: the sender repeats what is beyond.
const MAX_RANGES: usize = 1024;
/// An empty ring up to this size is kept, a larger one only while it is in steady use.
const KEEP: usize = 4096;

/// What became of a piece of data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stored {
    /// So many bytes became readable.
    InOrder(u32),
    /// Kept beyond a hole.
    Beyond,
    /// Nothing of it was new.
    Duplicate,
    /// No room for another hole.
    Refused,
}

impl RecvBuffer {
    /// Bytes that can be read.
    pub(super) fn readable(&self) -> u32 {
        (self.next - self.read) as u32
    }

    /// Stream offset of the next byte expected.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Whether data beyond a hole is held.
    pub(super) fn has_holes(&self) -> bool {
        !self.beyond.is_empty()
    }

    /// Whether anything from stream offset `at` on is held.
    pub(super) fn holds_beyond(&self, at: u64) -> bool {
        self.next > at || self.beyond.last().is_some_and(|r| r.1 > at)
    }

    /// The first stretch of the `len` bytes from stream offset `at` that is held beyond a hole: where it begins in them,
    /// and how long it is.
    pub(super) fn held_within(&self, at: u64, len: usize) -> Option<(u32, u32)> {
        let end = at + len as u64;
        let (low, high) = *self.beyond.get(self.beyond.partition_point(|r| r.1 <= at))?;
        let (low, high) = (low.max(at), high.min(end));
        (low < high).then(|| ((low - at) as u32, (high - low) as u32))
    }

    /// Stores `bytes` that start at stream offset `at`; the caller has cut them to the window.
    pub(super) fn store(&mut self, at: u64, bytes: &[u8]) -> Stored {
        let end = at + bytes.len() as u64;
        if end <= self.next || bytes.is_empty() {
            return Stored::Duplicate;
        }
        let skip = self.next.saturating_sub(at);
        let (at, bytes) = (at + skip, &bytes[skip as usize..]);
        if at == self.next && self.beyond.is_empty() {
            self.put(at, bytes);
            self.next = end;
            return Stored::InOrder(bytes.len() as u32);
        }
        self.store_range(at, end, bytes)
    }

    fn store_range(&mut self, at: u64, end: u64, bytes: &[u8]) -> Stored {
        // The ranges that touch or overlap [at, end).
        let first = self.beyond.partition_point(|r| r.1 < at);
        let last = self.beyond.partition_point(|r| r.0 <= end);
        if first == last && at != self.next && self.beyond.len() >= MAX_RANGES {
            return Stored::Refused;
        }
        if self.beyond[first..last].iter().any(|r| r.0 <= at && end <= r.1) {
            self.touch(at);
            return Stored::Duplicate;
        }
        let mut from = at;
        for i in first..last {
            let (low, high) = self.beyond[i];
            if from < low {
                self.put(from, &bytes[(from - at) as usize..(low.min(end) - at) as usize]);
            }
            from = from.max(high);
        }
        if from < end {
            self.put(from, &bytes[(from - at) as usize..]);
        }
        let low = self.beyond[first..last].first().map_or(at, |r| r.0.min(at));
        let high = self.beyond[first..last].last().map_or(end, |r| r.1.max(end));
        if at == self.next {
            self.beyond.drain(first..last);
            let before = self.next;
            self.next = high;
            if self.beyond.is_empty() {
                self.beyond = Vec::new();
            }
            return Stored::InOrder((high - before) as u32);
        }
        self.beyond.splice(first..last, [(low, high)]);
        self.touch(at);
        Stored::Beyond
    }

    fn touch(&mut self, at: u64) {
        let ranges = self.recent.map(|r| self.range_of(r));
        let range = self.range_of(at);
        // A range that was filled up, or that grew together with another one, leaves its place before one that still counts.
        let spare = || (0..RECENT).find(|&i| ranges[i].is_none() || ranges[..i].contains(&ranges[i]));
        let slot = ranges.iter().position(|r| *r == range).or_else(spare).unwrap_or(RECENT - 1);
        self.recent[..=slot].rotate_right(1);
        self.recent[0] = at;
    }

    fn range_of(&self, at: u64) -> Option<(u64, u64)> {
        let i = self.beyond.partition_point(|r| r.1 <= at);
        self.beyond.get(i).copied().filter(|r| r.0 <= at)
    }

    /// Up to `most` SACK blocks, the most recently touched range first; `nxt` is RCV.NXT.
    pub(super) fn sack_blocks(&self, nxt: Seq, most: usize, mut each: impl FnMut(Seq, Seq)) {
        let mut told = [(0, 0); RECENT];
        let mut count = 0;
        for &at in &self.recent {
            if let Some(range) = self.range_of(at).filter(|r| at != 0 && !told[..count].contains(r)) {
                if count == most {
                    return;
                }
                told[count] = range;
                count += 1;
                let seq = |offset: u64| nxt + (offset - self.next) as u32;
                each(seq(range.0), seq(range.1));
            }
        }
    }

    /// Bytes of memory that all this takes.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.ring.len() + self.beyond.capacity() * size_of::<(u64, u64)>()
    }

    /// Copies what can be read into `buf`; how many bytes.
    pub(super) fn peek_into(&self, buf: &mut [u8]) -> usize {
        let n = buf.len().min(self.readable() as usize);
        if n == 0 {
            return 0;
        }
        let start = self.place(self.read);
        let first = n.min(self.ring.len() - start);
        buf[..first].copy_from_slice(&self.ring[start..start + first]);
        buf[first..n].copy_from_slice(&self.ring[..n - first]);
        n
    }

    /// Copies what can be read into `buf` and forgets it; how many bytes.
    pub(super) fn read_into(&mut self, buf: &mut [u8]) -> usize {
        let n = self.peek_into(buf);
        self.skip(n)
    }

    /// Forgets up to `most` bytes of what can be read; how many.
    pub(super) fn skip(&mut self, most: usize) -> usize {
        let n = most.min(self.readable() as usize);
        if n == 0 {
            return 0;
        }
        self.read += n as u64;
        if self.read == self.next && self.beyond.is_empty() {
            self.base = self.read;
            self.emptied(n);
        }
        n
    }

    /// Gives memory back when the last read shows that little of it is needed.
    fn emptied(&mut self, last_read: usize) {
        if self.ring.len() > KEEP && last_read <= self.ring.len() / 4 {
            self.ring = Box::default();
        }
    }

    /// Gives all memory back if nothing waits to be read.
    pub(super) fn release(&mut self) {
        self.beyond = Vec::new();
        if self.readable() == 0 {
            self.ring = Box::default();
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.read = self.next;
        self.release();
    }

    /// Where in the ring (which is not empty) the byte at stream offset `at` stands.
    fn place(&self, at: u64) -> usize {
        (at - self.base) as usize & (self.ring.len() - 1)
    }

    fn put(&mut self, at: u64, bytes: &[u8]) {
        let need = (at - self.read) as usize + bytes.len();
        if need > self.ring.len() {
            self.grow(need);
        }
        let start = self.place(at);
        let first = bytes.len().min(self.ring.len() - start);
        self.ring[start..start + first].copy_from_slice(&bytes[..first]);
        if first < bytes.len() {
            self.ring[..bytes.len() - first].copy_from_slice(&bytes[first..]);
        }
    }

    /// A byte at offset `o` stands at `(o - base) % len`, so a larger ring is filled half by half.
    fn grow(&mut self, need: usize) {
        let size = need.next_power_of_two().max(512);
        let mut ring = vec![0; size].into_boxed_slice();
        let old = self.ring.len();
        if old > 0 {
            let (mut at, end) = (self.read, self.beyond.last().map_or(self.next, |r| r.1));
            while at < end {
                let (from, to) = (self.place(at), (at - self.base) as usize & (size - 1));
                let n = (old - from).min(size - to).min((end - at) as usize);
                ring[to..to + n].copy_from_slice(&self.ring[from..from + n]);
                at += n as u64;
            }
        }
        self.ring = ring;
    }
}
