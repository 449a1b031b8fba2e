//! Nodes that run code of their own below layer 7: what the engine moves frames between.
//!
//! Not for: what a machine does with a packet (`rt-stack`), what awaits (`rt-apps`). A router, a firewall and a NAT
//! gateway are hosts with other tables, not devices.

mod host;
mod switch;
pub mod traffic;

pub use host::{Host, Outward};
pub use switch::Switch;
pub use traffic::Traffic;
