//! What the application has written and the peer has not acknowledged: a ring that grows on demand and is given back
//! when it is empty. For the story it remembers in which input event each piece was written.

use std::collections::VecDeque;

use rt_base::{EventId, Time};

/// The bytes from `SND.UNA` on.
#[derive(Debug, Default)]
pub(super) struct SendBuffer {
    ring: VecDeque<u8>,
    /// Stream offset of the first byte in the ring.
    base: u64,
    /// Filled only while recording.
    marks: VecDeque<Mark>,
}

/// Bytes before `end` (and after the mark before) were written in the handling of `event`.
#[derive(Clone, Copy, Debug)]
struct Mark {
    end: u64,
    event: EventId,
    at: Time,
}

impl SendBuffer {
    pub(super) fn len(&self) -> usize {
        self.ring.len()
    }

    /// Stream offset of the first byte held.
    pub(super) fn base(&self) -> u64 {
        self.base
    }

    /// Stream offset one past the last byte held.
    pub(super) fn end(&self) -> u64 {
        self.base + self.ring.len() as u64
    }

    /// Appends all of `bytes` (the caller knows that there is room).
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.ring.extend(bytes);
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
        let n = (n as usize).min(self.ring.len());
        self.ring.drain(..n);
        self.base += n as u64;
        if self.ring.is_empty() {
            self.ring = VecDeque::new();
        }
        while self.marks.front().is_some_and(|m| m.end <= self.base) {
            self.marks.pop_front();
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        *self = SendBuffer { base: self.end(), ..SendBuffer::default() };
    }

    /// The `len` bytes from stream offset `offset` on, in two pieces; empty where nothing is held.
    pub(super) fn slices(&self, offset: u64, len: u32) -> (&[u8], &[u8]) {
        let from = offset.saturating_sub(self.base).min(self.ring.len() as u64) as usize;
        let to = (from + len as usize).min(self.ring.len());
        let (a, b) = self.ring.as_slices();
        let cut = |i: usize| (i.min(a.len()), i.saturating_sub(a.len()));
        let ((a0, b0), (a1, b1)) = (cut(from), cut(to));
        (&a[a0..a1], &b[b0..b1])
    }
}
