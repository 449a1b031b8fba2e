//! Machines joined by the engine: the runtime, DHCP, DNS and probes over real frames.

mod dhcp;
mod dns;
mod lan;
mod probes;
mod runtime;
mod traffic;
