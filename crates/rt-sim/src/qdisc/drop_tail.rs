//! First in, first out; what finds no room is dropped.

use std::collections::VecDeque;

use rt_base::Time;

use super::{Discipline, Offer, QueueSpec};

/// A drop-tail queue in closed form: it remembers when each waiting frame will start, trimmed when looked at.
#[derive(Debug)]
pub(crate) struct DropTail {
    limit: QueueSpec,
    /// (start, bytes) of frames that had to wait, in order; those that have started are trimmed lazily.
    waiting: VecDeque<(Time, u32)>,
    waiting_bytes: u64,
}

impl DropTail {
    pub(crate) fn new(limit: QueueSpec) -> DropTail {
        DropTail { limit, waiting: VecDeque::new(), waiting_bytes: 0 }
    }

    #[inline]
    fn trim(&mut self, now: Time) {
        while let Some((_, bytes)) = self.waiting.front().filter(|(start, _)| *start <= now) {
            self.waiting_bytes -= u64::from(*bytes);
            self.waiting.pop_front();
        }
    }
}

impl Discipline for DropTail {
    #[inline]
    fn offer(&mut self, at: Time, busy_until: Time, len: usize) -> Offer {
        if busy_until <= at {
            if !self.waiting.is_empty() {
                self.clear();
            }
            return Offer::Starts(at);
        }
        self.trim(at);
        let full = match self.limit {
            QueueSpec::Packets(limit) => self.waiting.len() >= limit as usize,
            QueueSpec::Bytes(limit) => self.waiting_bytes + len as u64 > limit,
        };
        if full {
            return Offer::Full;
        }
        self.waiting.push_back((busy_until, len as u32));
        self.waiting_bytes += len as u64;
        Offer::Starts(busy_until)
    }

    fn clear(&mut self) {
        self.waiting.clear();
        self.waiting_bytes = 0;
    }
}
