//! Rules that lower the MSS option of SYNs on their way (Linux: `TCPMSS --clamp-mss-to-pmtu`), so that neither end sends
//! segments that a narrow link behind this machine would not carry.

use serde::{Deserialize, Serialize};

use crate::{Flow, Match, Origin};

/// How large a segment may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MssTarget {
    /// What both interfaces of the packet carry, less 40 bytes for the headers.
    Mtu,
    /// So many bytes.
    Bytes(u16),
}

/// One rule; all that match apply.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MssClamp {
    /// When. Only SYNs (and their answers) carry the option.
    pub when: Match,
    /// To what.
    pub to: MssTarget,
    /// Where it comes from.
    pub origin: Origin,
}

impl MssClamp {
    /// The largest segment that it lets through for this packet; `mtu` is the lesser of its two interfaces'.
    #[must_use]
    pub fn limit(&self, flow: &Flow, mtu: u16) -> Option<u16> {
        let limit = match self.to {
            MssTarget::Mtu => mtu.saturating_sub(40),
            MssTarget::Bytes(bytes) => bytes,
        };
        self.when.holds(flow).then_some(limit)
    }
}
