//! How connection tracking remembers flows: how long and how many. Values only; `rt-stack` keeps the table.

use rt_base::Nanos;
use serde::{Deserialize, Serialize};

/// Timeouts and limits of a machine's connection table. A NAT mapping lives as long as any of its flows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct ConntrackOptions {
    /// Flows at most.
    pub max: u32,
    /// Flows that one source address may have begun at most (inner hosts of a NAT, RFC 6888 REQ-4); `None` for no limit.
    pub per_source: Option<u32>,
    /// Whether a TCP flow may begin in its middle (Linux `nf_conntrack_tcp_loose`, there on by default).
    pub tcp_loose: bool,
    /// A SYN was seen, no answer.
    pub tcp_syn_sent: Nanos,
    /// A SYN was answered, the handshake not ended.
    pub tcp_syn_received: Nanos,
    /// An open connection on which nothing is said. RFC 5382 REQ-5: 2 h 4 min at least.
    pub tcp_established: Nanos,
    /// One side has sent FIN. RFC 5382 REQ-5: 4 min at least for all states but the open one.
    pub tcp_fin_wait: Nanos,
    /// Both sides have.
    pub tcp_last_ack: Nanos,
    /// Both FINs are acknowledged.
    pub tcp_time_wait: Nanos,
    /// A reset was seen.
    pub tcp_closed: Nanos,
    /// UDP in one direction only. RFC 4787 REQ-5: 2 min at least but for well-known ports, 5 min recommended.
    pub udp: Nanos,
    /// UDP that was answered. RFC 4787 REQ-5 as above.
    pub udp_answered: Nanos,
    /// An ICMP echo. RFC 5508 REQ-2: 60 s at least.
    pub icmp: Nanos,
    /// Any other protocol.
    pub other: Nanos,
}

impl Default for ConntrackOptions {
    /// Linux's timeouts (`nf_conntrack_*_timeout*`), 65,536 flows, TCP from its SYN on.
    fn default() -> ConntrackOptions {
        ConntrackOptions {
            max: 65_536,
            per_source: None,
            tcp_loose: false,
            tcp_syn_sent: Nanos::from_secs(120),
            tcp_syn_received: Nanos::from_secs(60),
            tcp_established: Nanos::from_secs(432_000),
            tcp_fin_wait: Nanos::from_secs(120),
            tcp_last_ack: Nanos::from_secs(30),
            tcp_time_wait: Nanos::from_secs(120),
            tcp_closed: Nanos::from_secs(10),
            udp: Nanos::from_secs(30),
            udp_answered: Nanos::from_secs(120),
            icmp: Nanos::from_secs(30),
            other: Nanos::from_secs(600),
        }
    }
}

impl ConntrackOptions {
    /// Whether it is the default.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == ConntrackOptions::default()
    }

    /// The shortest timeouts that RFC 4787 (REQ-5, recommended), RFC 5382 (REQ-5) and RFC 5508 (REQ-2) allow a NAT.
    #[must_use]
    pub fn rfc() -> ConntrackOptions {
        let transitory = Nanos::from_secs(240);
        ConntrackOptions {
            tcp_syn_sent: transitory,
            tcp_syn_received: transitory,
            tcp_established: Nanos::from_secs(7_440),
            tcp_fin_wait: transitory,
            tcp_last_ack: transitory,
            tcp_time_wait: transitory,
            udp: Nanos::from_secs(300),
            udp_answered: Nanos::from_secs(300),
            icmp: Nanos::from_secs(60),
            ..ConntrackOptions::default()
        }
    }
}
