//! Machines joined by the engine: the runtime, DHCP, DNS and probes over real frames.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may panic, and gives tshark a file"
)]

mod dhcp;
mod dns;
mod l4;
mod lan;
mod outside;
mod probes;
mod runtime;
mod traffic;
