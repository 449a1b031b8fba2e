//! What the application has written and the peer has not acknowledged: a ring that grows on demand and is given back
//! when it is empty, or pieces that the application shares instead of having them copied. For the story it remembers in
//! which input event each piece was written.

use std::collections::{VecDeque, vec_deque};

use bytes::Bytes;
use rt_base::{EventId, Time};

/// The bytes from `SND.UNA` on.
///
/// At any time they stand in the ring or in pieces, never in both: what is written decides while nothing is held, and what
/// follows goes where the rest is.
#[derive(Debug, Default)]
pub(super) struct SendBuffer {
    ring: VecDeque<u8>,
    /// Only with what was written to be shared.
    pieces: Option<Box<Pieces>>,
    /// Stream offset of the first byte held.
    base: u64,
    /// Filled only while recording.
    marks: VecDeque<Mark>,
}

/// Shared pieces, oldest first: each with the stream offset behind it. The first may begin before what is held.
#[derive(Debug, Default)]
struct Pieces(VecDeque<(u64, Bytes)>);

/// Bytes before `end` (and after the mark before) were written in the handling of `event`.
#[derive(Clone, Copy, Debug)]
struct Mark {
    end: u64,
    event: EventId,
    at: Time,
}

/// The payload of a segment, as the slices that it consists of.
#[derive(Clone, Debug)]
pub struct Text<'a> {
    /// Empty only if `second` is.
    first: &'a [u8],
    second: &'a [u8],
    more: vec_deque::Iter<'a, (u64, Bytes)>,
    left: usize,
}

impl<'a> Iterator for Text<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        if self.left == 0 {
            return None;
        }
        let mut slice = core::mem::replace(&mut self.first, core::mem::take(&mut self.second));
        while slice.is_empty() {
            slice = &self.more.next()?.1;
        }
        let slice = slice.get(..self.left).unwrap_or(slice);
        self.left -= slice.len();
        Some(slice)
    }
}

impl SendBuffer {
    pub(super) fn len(&self) -> usize {
        match &self.pieces {
            None => self.ring.len(),
            Some(pieces) => (pieces.end(self.base) - self.base) as usize,
        }
    }

    /// Stream offset of the first byte held.
    pub(super) fn base(&self) -> u64 {
        self.base
    }

    /// Stream offset one past the last byte held.
    pub(super) fn end(&self) -> u64 {
        match &self.pieces {
            None => self.base + self.ring.len() as u64,
            Some(pieces) => pieces.end(self.base),
        }
    }

    /// Appends all of `bytes` (the caller knows that there is room).
    pub(super) fn push(&mut self, bytes: &[u8]) {
        match &mut self.pieces {
            None => self.ring.extend(bytes),
            Some(pieces) => pieces.push(self.base, Bytes::copy_from_slice(bytes)),
        }
    }

    /// Appends all of `bytes` without a copy if it can.
    pub(super) fn push_shared(&mut self, bytes: Bytes) {
        if self.ring.is_empty() {
            self.pieces.get_or_insert_default().push(self.base, bytes);
        } else {
            self.ring.extend(&bytes);
        }
    }

    /// Remembers who wrote what was pushed last.
    pub(super) fn mark(&mut self, event: EventId, at: Time) {
        let end = self.end();
        match self.marks.back_mut() {
            Some(last) if last.event == event => last.end = end,
            _ => self.marks.push_back(Mark { end, event, at }),
        }
    }

    /// Who wrote the byte before `end`.
    pub(super) fn origin(&self, end: u64) -> (EventId, Time) {
        let at = self.marks.partition_point(|m| m.end < end);
        self.marks.get(at).map_or((EventId::NONE, Time::ZERO), |m| (m.event, m.at))
    }

    /// Forgets `n` acknowledged bytes.
    pub(super) fn advance(&mut self, n: u32) {
        let n = (n as usize).min(self.len());
        self.base += n as u64;
        match &mut self.pieces {
            None => {
                self.ring.drain(..n);
                if self.ring.is_empty() {
                    self.ring = VecDeque::new();
                }
            }
            Some(pieces) => {
                pieces.forget(self.base);
                if pieces.0.is_empty() {
                    self.pieces = None;
                }
            }
        }
        while self.marks.front().is_some_and(|m| m.end <= self.base) {
            self.marks.pop_front();
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        *self = SendBuffer { base: self.end(), ..SendBuffer::default() };
    }

    /// The `len` bytes from stream offset `offset` on; none where nothing is held.
    pub(super) fn text(&self, offset: u64, len: u32) -> Text<'_> {
        if let Some(pieces) = &self.pieces {
            return pieces.text(offset.max(self.base), len as usize);
        }
        let from = offset.saturating_sub(self.base).min(self.ring.len() as u64) as usize;
        let to = (from + len as usize).min(self.ring.len());
        let (a, b) = self.ring.as_slices();
        let cut = |i: usize| (i.min(a.len()), i.saturating_sub(a.len()));
        let ((a0, b0), (a1, b1)) = (cut(from), cut(to));
        let (first, second, more) = (&a[a0..a1], &b[b0..b1], vec_deque::Iter::default());
        let (first, second) = if first.is_empty() { (second, first) } else { (first, second) };
        Text { first, second, more, left: to - from }
    }
}

impl Pieces {
    fn end(&self, base: u64) -> u64 {
        self.0.back().map_or(base, |last| last.0)
    }

    fn push(&mut self, base: u64, bytes: Bytes) {
        if !bytes.is_empty() {
            let end = self.end(base) + bytes.len() as u64;
            self.0.push_back((end, bytes));
        }
    }

    /// Nothing before `base` is needed any more.
    fn forget(&mut self, base: u64) {
        while self.0.front().is_some_and(|piece| piece.0 <= base) {
            self.0.pop_front();
        }
    }

    fn text(&self, offset: u64, len: usize) -> Text<'_> {
        let at = self.0.partition_point(|piece| piece.0 <= offset);
        let mut more = self.0.range(at..);
        let first: &[u8] = match more.next() {
            Some((end, bytes)) => {
                bytes.len().checked_sub((end - offset) as usize).map_or(&[], |i| &bytes[i..])
            }
            None => &[],
        };
        let left = len.min((self.end(offset) - offset) as usize);
        Text { first, second: &[], more, left }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::{Config, RngSeed};

    use super::*;

    fn content(from: u64, len: usize) -> Vec<u8> {
        (from..from + len as u64).map(|i| (i.wrapping_mul(2_654_435_761) >> 7) as u8).collect()
    }

    proptest! {
        #![proptest_config(Config { cases: 128, rng_seed: RngSeed::Fixed(3), failure_persistence: None, ..Config::default() })]

        /// Whether pieces are copied or shared, and however both are mixed: the bytes are those of the stream.
        #[test]
        fn shared_or_copied_it_is_the_same_stream(calls in proptest::collection::vec((0u8..4, 0usize..3_000), 1..60)) {
            let (mut buffer, mut una, mut end) = (SendBuffer::default(), 0, 0);
            for (call, n) in calls {
                match call {
                    0 => buffer.push(&content(end, n)),
                    1 => buffer.push_shared(content(end, n).into()),
                    _ => {
                        buffer.advance(n as u32);
                        una = (una + n as u64).min(end);
                    }
                }
                end += if call < 2 { n as u64 } else { 0 };
                prop_assert_eq!((buffer.base(), buffer.end(), buffer.len() as u64), (una, end, end - una));
                for (skip, len) in [(0, 1_448), (n as u64, 1), (n as u64 / 2, 9_000)] {
                    let at = (una + skip).min(end);
                    let want = content(at, len.min((end - at) as usize));
                    let text = buffer.text(at, len as u32);
                    prop_assert_eq!(text.clone().map(<[u8]>::len).sum::<usize>(), want.len());
                    prop_assert_eq!(text.collect::<Vec<_>>().concat(), want);
                }
            }
            buffer.clear();
            prop_assert_eq!((buffer.base(), buffer.len()), (end, 0));
        }
    }
}
