//! The frames of one direction of a link that have not arrived yet, in key order.
//!
//! A link without jitter delivers in the order of sending: a ring. A frame that overtakes (jitter, reordering, a delay that
//! became shorter) goes to a small ordered map beside it, so that steady traffic never pays for the rare case.

use std::collections::{BTreeMap, VecDeque};

use rt_base::{EventId, Frame};

use crate::event_queue::Key;

/// A frame on its way.
#[derive(Debug)]
pub(crate) struct InFlight {
    pub(crate) key: Key,
    /// The `Transmit` that carries it.
    pub(crate) event: EventId,
    pub(crate) frame: Frame,
}

/// All frames on their way in one direction.
#[derive(Default)]
pub(crate) struct Flight {
    ring: VecDeque<InFlight>,
    overtakers: BTreeMap<Key, InFlight>,
    /// Frames at the front of the ring that were looked at lately.
    warm: u8,
}

/// Frames looked at in one go.
const WARM_BATCH: usize = 8;

impl Flight {
    /// Adds a frame; true when it is now the first.
    #[inline(always)]
    pub(crate) fn insert(&mut self, frame: InFlight) -> bool {
        match self.ring.back() {
            Some(last) if last.key < frame.key => {
                self.ring.push_back(frame);
                false
            }
            None if self.overtakers.is_empty() => {
                self.ring.push_back(frame);
                true
            }
            _ => self.insert_out_of_order(frame),
        }
    }

    #[cold]
    fn insert_out_of_order(&mut self, frame: InFlight) -> bool {
        let first = self.head().is_none_or(|head| frame.key < head);
        self.overtakers.insert(frame.key, frame);
        first
    }

    /// The key of the first frame.
    #[inline]
    pub(crate) fn head(&self) -> Option<Key> {
        let ring = self.ring.front().map(|f| f.key);
        if self.overtakers.is_empty() {
            return ring;
        }
        self.head_of_both(ring)
    }

    #[cold]
    fn head_of_both(&self, ring: Option<Key>) -> Option<Key> {
        let other = self.overtakers.first_key_value().map(|(key, _)| *key);
        match (ring, other) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Takes the frame with this key, which nothing precedes; `None` when it was taken already or lost in a cut.
    #[inline]
    pub(crate) fn take(&mut self, key: Key) -> Option<InFlight> {
        match self.ring.front() {
            Some(first) if first.key == key => self.ring.pop_front(),
            _ if self.overtakers.is_empty() => None,
            _ => self.overtakers.remove(&key),
        }
    }

    /// Looks at the first byte of the next few frames now and then, so that their headers are in the cache when their
    /// turn comes: the frames of a busy network do not fit there all at once, and waiting for several lines of memory
    /// at once takes as long as waiting for one.
    #[inline]
    pub(crate) fn warm_up(&mut self) {
        match self.warm.checked_sub(1) {
            Some(left) => self.warm = left,
            None => self.warm_up_batch(),
        }
    }

    fn warm_up_batch(&mut self) {
        let mut sum = 0u8;
        for next in self.ring.iter().take(WARM_BATCH) {
            sum ^= next.frame.bytes.first().copied().unwrap_or(0);
        }
        std::hint::black_box(sum);
        self.warm = self.ring.len().min(WARM_BATCH) as u8;
    }

    /// Takes everything, in order.
    pub(crate) fn clear(&mut self) -> Vec<InFlight> {
        let mut all: Vec<InFlight> = self.ring.drain(..).collect();
        all.extend(std::mem::take(&mut self.overtakers).into_values());
        all.sort_by_key(|f| f.key);
        all
    }

    /// How many.
    pub(crate) fn len(&self) -> usize {
        self.ring.len() + self.overtakers.len()
    }
}
