//! The curves of a connection over time, as data: what [`crate::render::plots`] draws.
//!
//! Segments, acknowledgements, the window, bytes in flight and round-trip times come from the bytes at one end's
//! interface, so that any other reader of the capture computes the same. What bytes cannot show (congestion window, smoothed
//! round-trip time, timers, queues, states) comes from the events. Not for drawing.
//!
//! Deliberate simplification: bytes in flight are those between the oldest unacknowledged byte and the newest sent one, less
//! what SACK blocks cover; a segment that was lost counts until it is sent again and acknowledged, as in Wireshark.

mod curves;
mod flow;
mod queue;
#[cfg(test)]
mod tests;

pub(crate) use curves::round_trip_samples;
pub use curves::{AckPoint, Congestion, RoundTrips, SackBlock, Sent, SentWhy, TimeSequence};
pub use flow::{Flow, Flows};
pub use queue::{Overflow, QueueCurve};
