//! A balancer of connections.

use std::net::SocketAddr;

use rt_base::Nanos;
use serde::{Deserialize, Serialize};

/// How a balancer of connections picks a server.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Spread {
    /// In turn.
    RoundRobin,
    /// The one with the fewest open connections.
    LeastConnections,
    /// By the client's address modulo the number of servers.
    SourceHash,
    /// By the client's address through Maglev's table.
    Maglev,
    /// Of two picked by dice the less busy one.
    RandomOfTwo,
}

/// How it finds out which servers live: by a connection from time to time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HealthCheck {
    /// From one to the next.
    pub every: Nanos,
    /// One that takes longer has failed.
    pub timeout: Nanos,
    /// Good ones in a row that bring a server back.
    pub rise: u32,
    /// Failed ones in a row that take it out.
    pub fall: u32,
}

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
