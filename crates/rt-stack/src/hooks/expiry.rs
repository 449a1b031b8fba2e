//! Which flows are due to be forgotten, in order, without touching a queue for every packet.
//!
//! Main type: [`Expiry`]. A flow stands in it once, with the moment that was right when it was put there; most packets only move
//! the flow's own moment back, and the queue learns of it when the old one has come. Whoever shortens a flow's life puts it in
//! again.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rt_base::Time;

/// A flow's place in the table, and which flow of those that had this place.
pub(crate) type Ticket = (u32, u32);

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Expiry {
    heap: BinaryHeap<Reverse<(Time, Ticket)>>,
}

impl Expiry {
    /// A flow is to be looked at then.
    pub(crate) fn push(&mut self, at: Time, ticket: Ticket) {
        self.heap.push(Reverse((at, ticket)));
    }

    /// The next that is to be looked at now.
    pub(crate) fn pop_due(&mut self, now: Time) -> Option<(Time, Ticket)> {
        if self.heap.peek()?.0.0 > now {
            return None;
        }
        self.heap.pop().map(|Reverse(due)| due)
    }

    /// Throws away what is outdated, when that is most of it.
    pub(crate) fn tidy(&mut self, live: usize, is_current: impl Fn(Time, Ticket) -> bool) {
        if self.heap.len() > 2 * live + 64 {
            self.heap.retain(|Reverse((at, ticket))| is_current(*at, *ticket));
        }
    }
}
