//! What a kernel leaves to its network card: cutting long segments, finishing checksums, and joining segments on the way in.
//!
//! A device with [`Plan::offload`](crate::Plan::offload) puts a [`Header`] before each frame that says what is left to do.
//! [`Segments`] does it, so that what goes on is frames as a wire carries them; [`Coalescer`] is for the other direction.
//!
//! It is *not* for the simulated network: packets there have the size of their link's MTU, whatever happens here.
//!
//! # Simplifications
//!
//! TCP and UDP over IPv4 without VLAN tags are cut, and only TCP is joined.

mod coalesce;
mod header;
mod segment;

pub use coalesce::Coalescer;
pub use header::{HEADER, Header, Malformed};
pub use segment::Segments;

#[cfg(test)]
mod tests;
