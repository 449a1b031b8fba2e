//! Which of a name's several addresses who gets, and who picks.

use std::net::IpAddr;

use ipnet::IpNet;
use rt_base::Nanos;
use serde::{Deserialize, Serialize};

/// A machine's own balancing over the addresses of a name.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ClientBalance {
    /// The host name.
    pub name: String,
    /// How it picks.
    pub policy: PickPolicy,
    /// A server that failed is left out for so long.
    pub leave_out: Nanos,
}

/// How a client picks among a name's addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PickPolicy {
    /// In turn.
    RoundRobin,
    /// Of two at random the one with fewer requests of this client.
    RandomOfTwo,
    /// The one with the fewest requests of this client.
    LeastOutstanding,
}

/// An authoritative server's answers about a name by where the asker is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Steering {
    /// The host name.
    pub name: String,
    /// Place and address of each.
    pub places: Vec<(String, IpAddr)>,
    /// Where networks lie: prefix, city, index of the nearest place.
    pub networks: Vec<(IpNet, String, usize)>,
}
