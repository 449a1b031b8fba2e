//! A balancer of connections.

use std::net::SocketAddr;

use rt_base::Nanos;
pub use rt_rules::Spread;
pub use rt_rules::http::HealthCheck;
use serde::{Deserialize, Serialize};

/// Takes connections and goes on over its own to one of several servers; bytes pass unread.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct L4Balancer {
    /// TCP port.
    pub port: u16,
    /// Servers: names and addresses.
    pub upstreams: Vec<(String, SocketAddr)>,
    /// How one is picked.
    pub balance: Spread,
    /// A client stays with its server until it was away for so long.
    pub sticky: Option<Nanos>,
    /// Checks.
    pub health: Option<HealthCheck>,
    /// Connections to each server that stand ready.
    pub warm: u32,
    /// A server that does not answer is given up after this, and the next one is tried.
    pub connect_timeout: Nanos,
    /// Bytes are collected until there are so many, or so much time has passed.
    pub collect: Option<(u64, Nanos)>,
}
