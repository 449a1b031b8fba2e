//! gRPC between simulated machines: a server with few workers and heavy work, and a thin client that has it done elsewhere.
//!
//! Messages, codecs and the protocol's framing are tonic's and prost's; HTTP/2 is hyper's. tonic's own transport stays out: it
//! needs a runtime with a clock of its own. Deadlines and cancellation are ours therefore, at both ends: a client resets the
//! stream of a call that it gives up (RST_STREAM with CANCEL), and a server drops the work of a call whose stream was reset or
//! whose deadline has passed by the server's own clock (`grpc-timeout`).
//!
//! The service is `work.Worker` (`proto/worker.proto`) with one method of each kind, and `grpc.health.v1.Health`. The code in
//! `proto/` is made from the `.proto` files and committed; CONTRIBUTING.md says how.
//!
//! Deliberate simplifications, and how to notice them: no compression (`grpc-encoding` other than `identity` is refused with
//! UNIMPLEMENTED), no reflection, no retries, no keep-alive pings, one channel per step of a scenario (a step connects anew), and
//! what a job computes is a chain of SHA-256 whose time on the virtual clock is that of the server's `unit`, not of the hash.

mod channel;
mod client;
pub(crate) mod health;
mod kinds;
mod server;
mod service;
mod steps;
mod workshop;

#[allow(clippy::all, clippy::too_many_lines, missing_docs, unreachable_pub, dead_code)]
mod proto {
    pub(super) mod health;
    #[path = "worker.rs"]
    pub(super) mod work;
}

pub use client::{GrpcCalls, call};
pub use server::GrpcServer;

/// The longest message that is taken, bytes: a longer one is refused by its length, before it is read.
const LONGEST: usize = 1 << 20;

/// The largest job, units.
pub const MOST_WORK: u32 = 100_000;

/// Streams that a client may have open on a connection.
const MAX_STREAMS: u32 = 100;

#[cfg(test)]
mod tests;
