//! Filter rules: what they match and what they do.
//!
//! Not for executing them (`rt-stack` keeps the tokens of [`Limit`]s and writes the log). A chain of the hooks Input, Forward
//! and Output stands behind connection tracking and may match on states; one of Prerouting or Postrouting is a stateless
//! access list, before all else on the way in and after all else on the way out.

use std::net::IpAddr;

use ipnet::IpNet;
pub use rt_base::CtState;
use rt_base::{Condition, Conditions, HookPoint, Nanos, PortId};
use serde::{Deserialize, Serialize};

use crate::Origin;

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
    /// The byte of TCP's flags; 0 for other protocols.
    pub tcp_flags: u8,
}

impl Flow {
    /// The same flow as its answers are seen: ends and interfaces swapped.
    #[must_use]
    pub fn mirrored(&self) -> Flow {
        Flow {
            src: self.dst,
            dst: self.src,
            sport: self.dport,
            dport: self.sport,
            in_port: self.out_port,
            out_port: self.in_port,
            ..*self
        }
    }
}

impl Flow {
    /// A packet of which only this is known yet: an own one that looks for its way.
    #[must_use]
    pub fn towards(src: IpAddr, dst: IpAddr) -> Flow {
        let (in_port, out_port, state) = (None, None, CtState::New);
        Flow { protocol: 0, src, dst, sport: 0, dport: 0, tcp_flags: 0, in_port, out_port, state }
    }
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

    /// How many ports it holds; 1 when the ends are swapped.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "a range is never empty")]
    pub fn len(self) -> u32 {
        u32::from(self.last.saturating_sub(self.first)) + 1
    }
}

/// TCP flags that must be set and others that must not.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FlagsMatch {
    /// The flags that are looked at.
    pub mask: u8,
    /// Those of them that are set; the others are not.
    pub value: u8,
}

/// A type of ICMP message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct IcmpMatch {
    /// Its type.
    pub kind: u8,
    /// Its code; `None` is any.
    pub code: Option<u8>,
}

/// Conditions, all of which must hold; `None` or empty is any.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Match {
    /// IP protocol number.
    pub protocol: Option<u8>,
    /// Any of these source prefixes; none is any source, unless there is a `src_group`.
    #[serde(default)]
    pub src: Vec<IpNet>,
    /// Any of these destination prefixes; none is any destination, unless there is a `dst_group`.
    #[serde(default)]
    pub dst: Vec<IpNet>,
    /// The group whose members `src` lists: a group without members matches nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub src_group: Option<String>,
    /// The group whose members `dst` lists: a group without members matches nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dst_group: Option<String>,
    /// Source ports.
    pub sport: Option<PortRange>,
    /// Destination ports.
    pub dport: Option<PortRange>,
    /// Arriving interface.
    pub in_port: Option<PortId>,
    /// Leaving interface. An access list on the way in asks the routes for it (nftables: `fib daddr oif`).
    pub out_port: Option<PortId>,
    /// Any of these states.
    pub states: Vec<CtState>,
    /// TCP flags (then only TCP matches).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp_flags: Option<FlagsMatch>,
    /// ICMP type and code (then only ICMP matches).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icmp: Option<IcmpMatch>,
}

/// IP protocol numbers that conditions on ports, types and flags are about.
const ICMP: u8 = 1;
const TCP: u8 = 6;

impl Match {
    /// Whether all conditions hold for `flow`.
    #[must_use]
    pub fn holds(&self, flow: &Flow) -> bool {
        self.protocol.is_none_or(|p| p == flow.protocol)
            && one_of(&self.src, self.src_group.is_some(), flow.src)
            && one_of(&self.dst, self.dst_group.is_some(), flow.dst)
            && self.dport.is_none_or(|r| r.contains(flow.dport))
            && self.sport.is_none_or(|r| r.contains(flow.sport))
            && self.in_port.is_none_or(|p| flow.in_port == Some(p))
            && self.out_port.is_none_or(|p| flow.out_port == Some(p))
            && (self.states.is_empty() || self.states.contains(&flow.state))
            && self.icmp.is_none_or(|i| i.holds(flow))
            && self.tcp_flags.is_none_or(|f| f.holds(flow))
    }

    /// Whether it has no condition but on interfaces: whoever comes by them is matched.
    #[must_use]
    pub fn is_for_everything(&self) -> bool {
        *self == Match { in_port: self.in_port, out_port: self.out_port, ..Match::default() }
    }

    /// Whether it is for whatever comes by an interface and leaves by it again: what turns round at a border.
    #[must_use]
    pub fn is_for_what_turns_round(&self) -> bool {
        self.in_port.is_some() && self.in_port == self.out_port && self.is_for_everything()
    }

    /// The conditions that do not hold for `flow`.
    #[must_use]
    pub fn misses(&self, flow: &Flow) -> Conditions {
        let holds = [
            (Condition::Protocol, self.protocol.is_none_or(|p| p == flow.protocol)),
            (Condition::Source, one_of(&self.src, self.src_group.is_some(), flow.src)),
            (Condition::Destination, one_of(&self.dst, self.dst_group.is_some(), flow.dst)),
            (Condition::DestinationPort, self.dport.is_none_or(|r| r.contains(flow.dport))),
            (Condition::SourcePort, self.sport.is_none_or(|r| r.contains(flow.sport))),
            (Condition::InPort, self.in_port.is_none_or(|p| flow.in_port == Some(p))),
            (Condition::OutPort, self.out_port.is_none_or(|p| flow.out_port == Some(p))),
            (Condition::State, self.states.is_empty() || self.states.contains(&flow.state)),
            (Condition::IcmpType, self.icmp.is_none_or(|i| i.holds(flow))),
            (Condition::TcpFlags, self.tcp_flags.is_none_or(|f| f.holds(flow))),
        ];
        holds.into_iter().filter(|(_, holds)| !holds).map(|(condition, _)| condition).collect()
    }
}

fn one_of(nets: &[IpNet], group: bool, address: IpAddr) -> bool {
    if nets.is_empty() { !group } else { nets.iter().any(|net| net.contains(&address)) }
}

impl FlagsMatch {
    fn holds(self, flow: &Flow) -> bool {
        flow.protocol == TCP && flow.tcp_flags & self.mask == self.value
    }
}

impl IcmpMatch {
    fn holds(self, flow: &Flow) -> bool {
        flow.protocol == ICMP
            && flow.sport == u16::from(self.kind)
            && self.code.is_none_or(|code| flow.dport == u16::from(code))
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
    /// Go on with the next rule (for rules that only log).
    Continue,
}

/// So many packets in so much time: a bucket of `burst` tokens that fills at this rate; each packet takes one. A rule with
/// a limit matches while there are tokens.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Limit {
    /// Tokens that come in each `per`.
    pub packets: u32,
    /// The time in which they come.
    pub per: Nanos,
    /// Tokens that the bucket holds, and with which it begins.
    pub burst: u32,
}

/// The construct of a cloud that a rule or policy belongs to, for explanations in that cloud's words.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Construct {
    /// A security group: stateful, only allows.
    SecurityGroup {
        /// Its name; for the policy of several groups on one instance, all their names.
        name: String,
    },
    /// A network ACL: stateless, numbered.
    NetworkAcl {
        /// Its name.
        name: String,
    },
    /// An internet gateway: a rule refuses what leaves without a public address, the policy what comes in for none.
    InternetGateway,
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
    /// Its number in an access list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u32>,
    /// It matches only while there are tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<Limit>,
    /// Packets that match are told in the story under this word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
    /// Whose it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub construct: Option<Construct>,
}

impl Filter {
    /// A rule without number, limit, log or construct.
    #[must_use]
    pub fn new(when: Match, action: Action, origin: Origin) -> Filter {
        Filter { when, action, origin, number: None, limit: None, log: None, construct: None }
    }
}

/// What a chain does when no rule matches.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Policy {
    /// What.
    pub action: Action,
    /// Where it comes from.
    pub origin: Origin,
    /// Whose it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub construct: Option<Construct>,
}

impl Policy {
    /// A policy that belongs to no cloud's construct.
    #[must_use]
    pub fn new(action: Action, origin: Origin) -> Policy {
        Policy { action, origin, construct: None }
    }
}

/// The rules of one hook, first match wins.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Chain {
    /// Which hook: Input, Forward or Output, behind connection tracking; Prerouting or Postrouting for the stateless access
    /// lists of all interfaces (their rules name the interface).
    pub hook: HookPoint,
    /// In order.
    pub rules: Vec<Filter>,
    /// When none matches.
    pub policy: Policy,
}

/// The rule that came nearest to deciding otherwise than the policy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Miss {
    /// Its index.
    pub rule: u32,
    /// What kept it from matching; empty if only its [`Limit`] did.
    pub failed: Conditions,
}

impl Chain {
    /// Whether it judges each packet by itself, without connection tracking.
    #[must_use]
    pub fn is_stateless(&self) -> bool {
        matches!(self.hook, HookPoint::Prerouting | HookPoint::Postrouting)
    }

    /// Whether it stands outside the machine that it guards: a cloud's security group is on the virtual card, so that no
    /// program of the machine hears of what it drops.
    #[must_use]
    pub fn is_outside(&self) -> bool {
        matches!(self.policy.construct, Some(Construct::SecurityGroup { .. }))
    }

    /// The word that AWS has for a refusal by this rule (`None`: the policy), if it belongs to one of AWS's constructs: the
    /// explanation codes of the VPC Reachability Analyzer.
    #[must_use]
    pub fn explanation(&self, rule: Option<u32>) -> Option<&'static str> {
        let construct = match rule {
            Some(rule) => self.rules.get(rule as usize)?.construct.as_ref(),
            None => self.policy.construct.as_ref(),
        };
        let of_group = |rule: &Filter| matches!(rule.construct, Some(Construct::SecurityGroup { .. }));
        Some(match construct? {
            Construct::NetworkAcl { .. } => "SUBNET_ACL_RESTRICTION",
            Construct::InternetGateway if rule.is_some() => "IGW_PUBLIC_IP_ASSOCIATION_FOR_EGRESS",
            Construct::InternetGateway => "IGW_PRIVATE_IP_ASSOCIATION_FOR_INGRESS",
            Construct::SecurityGroup { .. } if self.rules.iter().any(of_group) => "ENI_SG_RULES_MISMATCH",
            Construct::SecurityGroup { .. } => "SG_HAS_NO_RULES",
        })
    }

    /// The action for `flow`, with the index of the deciding rule (`None`: the policy), while every [`Limit`] has tokens.
    #[must_use]
    pub fn judge(&self, flow: &Flow) -> (Action, Option<u32>) {
        let decides = |rule: &Filter| rule.action != Action::Continue && rule.when.holds(flow);
        match self.rules.iter().position(decides) {
            Some(index) => (self.rules[index].action, u32::try_from(index).ok()),
            None => (self.policy.action, None),
        }
    }

    /// When nothing in particular decided (the policy, or the rule `decided` that is for everything): the rule before it that
    /// came nearest to deciding otherwise, the one with least to change for it to match, of those the first.
    #[must_use]
    pub fn nearest_miss(&self, flow: &Flow, decided: Option<u32>) -> Option<Miss> {
        let (action, before) = match decided {
            None => (self.policy.action, self.rules.len()),
            Some(index) => {
                let rule = self.rules.get(index as usize).filter(|rule| rule.when.is_for_everything())?;
                (rule.action, index as usize)
            }
        };
        let passes = |action: Action| action == Action::Accept;
        // Of a border nothing about the packet is near: it crosses it or not. Nor is what a cloud's list cannot block at all,
        // which has no number.
        let fixed = |rule: &Filter| {
            let cloud = matches!(rule.construct, Some(Construct::NetworkAcl { .. })) && rule.number.is_none();
            cloud || rule.when.is_for_what_turns_round()
        };
        let other = |rule: &Filter| {
            rule.action != Action::Continue && passes(rule.action) != passes(action) && !fixed(rule)
        };
        let rules = (0_u32..).zip(&self.rules[..before]).filter(|(_, rule)| other(rule));
        rules
            .map(|(index, rule)| Miss { rule: index, failed: rule.when.misses(flow) })
            .min_by_key(|miss| miss.failed.distance())
    }
}

#[cfg(test)]
mod tests;
