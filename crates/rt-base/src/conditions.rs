//! The conditions of a rule, as a word that events, rules and the story share: which of them kept a rule from matching.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::{Place, PortId};

/// What conntrack says of a packet's flow.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CtState {
    /// First packet of a flow.
    New,
    /// Belongs to a flow that was answered.
    Established,
    /// An ICMP error about a known flow.
    Related,
    /// None of these.
    Invalid,
}

/// A rule that might have decided otherwise, and what of the packet kept it from matching.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NearMiss {
    /// Where.
    pub place: Place,
    /// The rule, as an index into the node's table for `place`.
    pub rule: u32,
    /// What did not hold; nothing when the rule's limit was used up.
    pub failed: Conditions,
    /// The packet's IP protocol.
    pub protocol: u8,
    /// Its source as the rule saw it; for ICMP the port is the type.
    pub src: SocketAddr,
    /// Its destination as the rule saw it; for ICMP the port is the code.
    pub dst: SocketAddr,
    /// TCP's flags.
    pub tcp_flags: u8,
    /// What connection tracking said.
    pub state: CtState,
    /// Arrived by.
    pub in_port: Option<PortId>,
    /// Leaves by.
    pub out_port: Option<PortId>,
}

impl NearMiss {
    /// What of the packet kept the rule from matching: `the destination port is 80 and it comes from 10.0.0.1`.
    /// `interface` names the node's interfaces.
    #[must_use]
    pub fn say(&self, interface: &dyn Fn(PortId) -> String) -> String {
        if self.failed.is_empty() {
            return "its limit was used up".to_owned();
        }
        // A wrong protocol says it all: what has no ports, types or flags fails at them too.
        let implied = |c: &Condition| match c {
            Condition::SourcePort | Condition::DestinationPort => !self.has_ports(),
            Condition::IcmpType => self.protocol != 1,
            Condition::TcpFlags => self.protocol != 6,
            _ => false,
        };
        let wrong = self.failed.has(Condition::Protocol);
        let said = self.failed.iter().filter(|c| !(wrong && implied(c)));
        let mut said: Vec<String> = said.map(|c| self.say_one(c, interface)).collect();
        said.dedup();
        said.join(" and ")
    }

    /// Whether its protocol has ports, and the packet has them: later fragments do not.
    fn has_ports(&self) -> bool {
        matches!(self.protocol, 6 | 17) && (self.src.port(), self.dst.port()) != (0, 0)
    }

    fn say_one(&self, condition: Condition, interface: &dyn Fn(PortId) -> String) -> String {
        let by = |port: Option<PortId>| port.map_or_else(|| "this machine itself".to_owned(), interface);
        match condition {
            Condition::Protocol => match self.protocol {
                1 => "it is ICMP".to_owned(),
                6 => "it is TCP".to_owned(),
                17 => "it is UDP".to_owned(),
                other => format!("its protocol is {other}"),
            },
            Condition::InPort => format!("it came by {}", by(self.in_port)),
            Condition::OutPort => format!("it leaves by {}", by(self.out_port)),
            Condition::Destination => format!("it goes to {}", self.dst.ip()),
            Condition::Source => format!("it comes from {}", self.src.ip()),
            Condition::IcmpType if self.protocol != 1 => "it is not ICMP".to_owned(),
            Condition::IcmpType => format!("its ICMP type is {}/{}", self.src.port(), self.dst.port()),
            Condition::SourcePort | Condition::DestinationPort if !self.has_ports() => match self.protocol {
                6 | 17 => "it is a later fragment, which has no ports".to_owned(),
                _ => "it has no ports".to_owned(),
            },
            Condition::SourcePort => format!("the source port is {}", self.src.port()),
            Condition::DestinationPort => format!("the destination port is {}", self.dst.port()),
            Condition::TcpFlags if self.protocol != 6 => "it is not TCP".to_owned(),
            Condition::TcpFlags => format!("its flags are {}", rt_wire::TcpFlags(self.tcp_flags)),
            Condition::State => match self.state {
                CtState::New => "it begins a connection".to_owned(),
                CtState::Established => "it belongs to a connection".to_owned(),
                CtState::Related => "it is about a connection".to_owned(),
                CtState::Invalid => "it belongs to no connection known here".to_owned(),
            },
        }
    }
}

/// One condition of a rule.
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

    /// How far a rule that fails in these is from a match: what can be changed easily counts little, a connection's state,
    /// which a new packet cannot have, most.
    #[must_use]
    pub fn distance(self) -> u32 {
        let cost = |condition| match condition {
            Condition::DestinationPort
            | Condition::SourcePort
            | Condition::IcmpType
            | Condition::TcpFlags => 2,
            Condition::Source | Condition::Destination => 3,
            Condition::Protocol => 4,
            Condition::InPort | Condition::OutPort => 6,
            Condition::State => 16,
        };
        self.iter().map(cost).sum()
    }

    /// Its members.
    pub fn iter(self) -> impl Iterator<Item = Condition> {
        Condition::ALL.into_iter().filter(move |c| self.has(*c))
    }
}

impl FromIterator<Condition> for Conditions {
    fn from_iter<T: IntoIterator<Item = Condition>>(conditions: T) -> Conditions {
        Conditions(conditions.into_iter().fold(0, |all, c| all | 1 << c as u8))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_ports_is_not_said_to_have_port_0() {
        let miss = |protocol, failed: &[Condition], port| NearMiss {
            place: Place::Route,
            rule: 0,
            failed: failed.iter().copied().collect(),
            protocol,
            src: SocketAddr::from(([10, 0, 0, 1], port)),
            dst: SocketAddr::from(([10, 0, 0, 2], port)),
            tcp_flags: 0,
            state: CtState::New,
            in_port: None,
            out_port: None,
        };
        let say = |miss: NearMiss| miss.say(&|_| String::new());
        use Condition::{DestinationPort, Protocol, Source, SourcePort};
        assert_eq!(say(miss(1, &[Protocol, DestinationPort], 0)), "it is ICMP");
        assert_eq!(
            say(miss(47, &[Protocol, Source, SourcePort], 0)),
            "its protocol is 47 and it comes from 10.0.0.1"
        );
        assert_eq!(say(miss(1, &[SourcePort, DestinationPort], 0)), "it has no ports");
        assert_eq!(say(miss(6, &[DestinationPort], 0)), "it is a later fragment, which has no ports");
        assert_eq!(say(miss(6, &[DestinationPort], 80)), "the destination port is 80");
        let said = say(miss(17, &[Protocol, DestinationPort], 53));
        assert_eq!(said, "it is UDP and the destination port is 53");
    }
}
