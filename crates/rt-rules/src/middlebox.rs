//! Rules of a machine on the path that does not know what came after it was built, and treats it as an error: why protocols
//! ossify. What it does not know vanishes, or is taken away.

use serde::{Deserialize, Serialize};

use crate::{Flow, Match, Origin};

/// What the machine does not know.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Newer {
    /// A TCP option of this kind in a SYN.
    TcpOption(u8),
    /// Any TCP option in a SYN beside those of RFC 9293, 2018 and 7323.
    AnyTcpOption,
    /// ECN (RFC 3168): SYNs that ask for it; when it is taken away, its bits in IP as well.
    Ecn,
    /// A ServerHello that chooses TLS 1.3.
    Tls13,
    /// One that does so without an echoed session id, so not in the mode that looks like TLS 1.2 (RFC 8446, D.4).
    BareTls13,
}

/// TCP options that everybody knows: end, no-operation, MSS, window scale, SACK permitted, SACK, timestamps.
const OLD_OPTIONS: [u8; 7] = [0, 1, 2, 3, 4, 5, 8];

impl Newer {
    /// Whether this is a TCP option that the machine does not know.
    #[must_use]
    pub fn is_option(self, kind: u8) -> bool {
        match self {
            Newer::TcpOption(own) => own == kind,
            Newer::AnyTcpOption => !OLD_OPTIONS.contains(&kind),
            Newer::Ecn | Newer::Tls13 | Newer::BareTls13 => false,
        }
    }
}

/// One rule; they are asked in order, for packets that pass.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Ossified {
    /// When.
    pub when: Match,
    /// What it does not know.
    pub what: Newer,
    /// It is taken away and the packet goes on, where that can be done; else the packet vanishes.
    pub strips: bool,
    /// Where it comes from.
    pub origin: Origin,
}

impl Ossified {
    /// Whether it is about this packet.
    #[must_use]
    pub fn is_for(&self, flow: &Flow) -> bool {
        self.when.holds(flow)
    }
}
