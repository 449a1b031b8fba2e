//! The conditions of a rule, as a word that events, rules and the story share: which of them kept a rule from matching.

use serde::{Deserialize, Serialize};

/// One condition of a rule. In the order of how much would have to change for it to hold: a later one is nearer to a match.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Condition {
    /// The IP protocol.
    Protocol,
    /// The arriving interface.
    InPort,
    /// The leaving interface.
    OutPort,
    /// The destination address.
    Destination,
    /// The source address.
    Source,
    /// The ICMP type and code.
    IcmpType,
    /// The source port.
    SourcePort,
    /// The destination port.
    DestinationPort,
    /// The TCP flags.
    TcpFlags,
    /// The state that connection tracking found.
    State,
}

impl Condition {
    /// Every condition.
    pub const ALL: [Condition; 10] = [
        Condition::Protocol,
        Condition::InPort,
        Condition::OutPort,
        Condition::Destination,
        Condition::Source,
        Condition::IcmpType,
        Condition::SourcePort,
        Condition::DestinationPort,
        Condition::TcpFlags,
        Condition::State,
    ];

    /// In words: `the destination port`.
    #[must_use]
    pub fn say(self) -> &'static str {
        match self {
            Condition::Protocol => "the protocol",
            Condition::InPort => "the arriving interface",
            Condition::OutPort => "the leaving interface",
            Condition::Destination => "the destination address",
            Condition::Source => "the source address",
            Condition::IcmpType => "the ICMP type",
            Condition::SourcePort => "the source port",
            Condition::DestinationPort => "the destination port",
            Condition::TcpFlags => "the TCP flags",
            Condition::State => "the connection's state",
        }
    }
}

/// A set of conditions.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Conditions(u16);

impl Conditions {
    /// No condition.
    pub const NONE: Conditions = Conditions(0);

    /// Whether it holds `condition`.
    #[must_use]
    pub fn has(self, condition: Condition) -> bool {
        self.0 & (1 << condition as u8) != 0
    }

    /// How many.
    #[must_use]
    pub fn len(self) -> u32 {
        self.0.count_ones()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// For sets of equal size: the smaller, the nearer to a match.
    #[must_use]
    pub fn weight(self) -> u16 {
        // The condition that is hardest to change counts most.
        self.0.reverse_bits()
    }

    /// Its members, the one hardest to change first.
    pub fn iter(self) -> impl Iterator<Item = Condition> {
        Condition::ALL.into_iter().filter(move |c| self.has(*c))
    }
}

impl FromIterator<Condition> for Conditions {
    fn from_iter<T: IntoIterator<Item = Condition>>(conditions: T) -> Conditions {
        Conditions(conditions.into_iter().fold(0, |all, c| all | 1 << c as u8))
    }
}
