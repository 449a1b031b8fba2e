//! Filter rules: what they match and what they do.

use std::net::IpAddr;

use ipnet::IpNet;
use rt_base::{HookPoint, PortId};
use serde::{Deserialize, Serialize};

use crate::Origin;

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

/// What a rule can see of a packet. Ports are 0 for protocols without.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Flow {
    /// IP protocol number.
    pub protocol: u8,
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// Source port, or ICMP type.
    pub sport: u16,
    /// Destination port, or ICMP code.
    pub dport: u16,
    /// Arrived by.
    pub in_port: Option<PortId>,
    /// Leaves by.
    pub out_port: Option<PortId>,
    /// Conntrack state.
    pub state: CtState,
}

/// An inclusive range of ports.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PortRange {
    /// First.
    pub first: u16,
    /// Last.
    pub last: u16,
}

impl PortRange {
    /// Whether it holds `port`.
    #[must_use]
    pub fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }
}

/// Conditions, all of which must hold; `None` or empty is any.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Match {
    /// IP protocol number.
    pub protocol: Option<u8>,
    /// Source prefix.
    pub src: Option<IpNet>,
    /// Destination prefix.
    pub dst: Option<IpNet>,
    /// Source ports.
    pub sport: Option<PortRange>,
    /// Destination ports.
    pub dport: Option<PortRange>,
    /// Arriving interface.
    pub in_port: Option<PortId>,
    /// Leaving interface.
    pub out_port: Option<PortId>,
    /// Any of these states.
    pub states: Vec<CtState>,
}

impl Match {
    /// Whether all conditions hold for `flow`.
    #[must_use]
    pub fn holds(&self, flow: &Flow) -> bool {
        self.protocol.is_none_or(|p| p == flow.protocol)
            && self.src.is_none_or(|n| n.contains(&flow.src))
            && self.dst.is_none_or(|n| n.contains(&flow.dst))
            && self.sport.is_none_or(|r| r.contains(flow.sport))
            && self.dport.is_none_or(|r| r.contains(flow.dport))
            && self.in_port.is_none_or(|p| flow.in_port == Some(p))
            && self.out_port.is_none_or(|p| flow.out_port == Some(p))
            && (self.states.is_empty() || self.states.contains(&flow.state))
    }
}

/// How a rejected packet is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RejectWith {
    /// ICMP destination unreachable, port unreachable.
    IcmpPort,
    /// ICMP destination unreachable, administratively prohibited.
    IcmpProhibited,
    /// A TCP reset (ICMP port unreachable for other protocols).
    TcpReset,
}

/// What a matching rule does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Pass.
    Accept,
    /// Drop silently.
    Drop,
    /// Drop and answer.
    Reject(RejectWith),
}

/// One filter rule.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Filter {
    /// When.
    pub when: Match,
    /// What.
    pub action: Action,
    /// Where it comes from.
    pub origin: Origin,
}

/// What a chain does when no rule matches.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Policy {
    /// What.
    pub action: Action,
    /// Where it comes from.
    pub origin: Origin,
}

/// The rules of one hook, first match wins.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Chain {
    /// Which hook: Input, Forward or Output.
    pub hook: HookPoint,
    /// In order.
    pub rules: Vec<Filter>,
    /// When none matches.
    pub policy: Policy,
}

impl Chain {
    /// The action for `flow`, with the index of the deciding rule (`None`: the policy).
    #[must_use]
    pub fn judge(&self, flow: &Flow) -> (Action, Option<u32>) {
        match self.rules.iter().position(|rule| rule.when.holds(flow)) {
            Some(index) => (self.rules[index].action, u32::try_from(index).ok()),
            None => (self.policy.action, None),
        }
    }
}

#[cfg(test)]
mod tests;
