//! NAT rules.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{Match, Origin, PortRange};

/// How external ports are chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NatPorts {
    /// The next one of one counter that UDP and TCP share, from the range's first. (An ICMP echo keeps its identifier
    /// when that is free and then moves no counter.)
    Sequential(PortRange),
    /// By seeded dice, within the range.
    Random(PortRange),
    /// Keep the source port when free, else the next free one of the range (RFC 4787 port preservation).
    Preserve(PortRange),
}

/// What a matching NAT rule does.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NatAction {
    /// Source NAT to this address (NAPT).
    Snat {
        /// New source.
        to: IpAddr,
        /// External ports.
        ports: NatPorts,
    },
    /// Source NAT to the leaving interface's address.
    Masquerade {
        /// External ports.
        ports: NatPorts,
    },
    /// Destination NAT (port forward).
    Dnat {
        /// New destination.
        to: IpAddr,
        /// New port, or the old one.
        port: Option<u16>,
    },
    /// Leave it alone (stops the search).
    Accept,
}

/// One NAT rule. DNAT rules run at prerouting and output, the others at postrouting; first match wins.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NatRule {
    /// When.
    pub when: Match,
    /// What.
    pub action: NatAction,
    /// Where it comes from.
    pub origin: Origin,
}
