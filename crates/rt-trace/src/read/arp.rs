//! ARP (RFC 826): questions, answers, announcements and probes (RFC 5227).

use std::net::Ipv4Addr;

use rt_base::MacAddr;
use serde::{Deserialize, Serialize};

use super::Mark;

/// One ARP question with its answer, or an unasked-for announcement.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ArpExchange {
    /// Who asks (or announces).
    pub sender: Ipv4Addr,
    /// Its MAC.
    pub sender_mac: MacAddr,
    /// Whose MAC is asked for.
    pub target: Ipv4Addr,
    /// Whether the first frame left this node.
    pub outgoing: bool,
    /// Every copy of the question, first to last.
    pub asked: Vec<Mark>,
    /// Sender and target are the same: an announcement; sender 0.0.0.0: a probe whether the address is free.
    pub announcement: bool,
    /// The answer: the MAC and where it was seen.
    pub answer: Option<(MacAddr, Mark)>,
}
