//! Queue disciplines: who waits before a link's transmitter, who goes next, who is dropped.
//!
//! [`DropTail`] is first in, first out and work conserving, so a frame's start is known when it is offered and no event is
//! needed when the transmitter becomes free. A discipline that decides later who goes next adds a variant `Held` to
//! [`Offer`], a `next` to the trait and an event class for "transmitter free"; nothing else changes.

mod drop_tail;

use rt_base::Time;

pub(crate) use drop_tail::DropTail;

/// How much may wait before the transmitter; the frame being sent does not count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum QueueSpec {
    /// So many frames.
    Packets(u32),
    /// So many bytes, Ethernet headers included.
    Bytes(u64),
}

/// What becomes of a frame that is offered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Offer {
    /// Its first bit leaves then.
    Starts(Time),
    /// No room.
    Full,
}

/// A queue before a transmitter.
pub(crate) trait Discipline {
    /// Offers `len` bytes at `at` (never before an earlier offer) to a transmitter that is busy until `busy_until`.
    fn offer(&mut self, at: Time, busy_until: Time, len: usize) -> Offer;

    /// Forgets everything that waits (the link was cut).
    fn clear(&mut self);
}
