//! NAT rules: which flows are translated to what, how external ports are chosen, and how a mapping behaves once it is made
//! (the words are those of RFC 4787, 5382, 5508 and 6888).
//!
//! Not for: mappings in use (`rt-stack` keeps them).

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{Flow, Maglev, Match, Origin, PortRange, Spread, hash_address};

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
    /// Carrier-grade NAT: each inner address owns whole blocks of the range, so that one log line a block tells who used
    /// a port (RFC 6888, REQ-14). Ports within a block are taken in turn, by UDP, TCP and ICMP together.
    Block {
        /// All ports; what is left behind the last whole block is not used.
        range: PortRange,
        /// Ports of one block, at least 1.
        size: u16,
        /// Blocks of one inner address at most, at least 1.
        most: u16,
    },
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
    /// Source NAT to one of these addresses (NAPT). An inner address stays with the external one that it got first
    /// ("paired" pooling, RFC 4787 REQ-2) while it has mappings.
    Pool {
        /// New sources: every address of the prefix.
        to: IpNet,
        /// External ports of each.
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
    /// Destination NAT of a range of ports: the first of the rule's `dport` to the first of these and so on, beginning
    /// again when these are fewer.
    DnatRange {
        /// New destination.
        to: IpAddr,
        /// New ports.
        ports: PortRange,
    },
    /// Destination NAT to one of several: a balancer that leaves the connection whole. A flow stays where its first packet
    /// went; nobody is asked whether he lives.
    DnatSpread {
        /// New destinations.
        to: Vec<SocketAddr>,
        /// How one is picked: in turn, or by the source address ([`Spread::SourceHash`], [`Spread::Maglev`]).
        by: Spread,
    },
    /// One to one, both ways, ports untouched (an elastic IP): flows from `inside` leave as `outside`, what comes for
    /// `outside` goes to `inside`. The rule's conditions are those of packets on their way out; for packets on their way in
    /// they are read mirrored. Needs no state: what belongs to no known flow is translated all the same.
    Static {
        /// The inner address.
        inside: IpAddr,
        /// The outer address.
        outside: IpAddr,
    },
    /// Leave it alone (stops the search).
    Accept,
}

impl NatAction {
    /// The external ports of a source NAT.
    #[must_use]
    pub fn ports(&self) -> Option<NatPorts> {
        match self {
            NatAction::Snat { ports, .. }
            | NatAction::Pool { ports, .. }
            | NatAction::Masquerade { ports } => Some(*ports),
            NatAction::Dnat { .. }
            | NatAction::DnatRange { .. }
            | NatAction::DnatSpread { .. }
            | NatAction::Static { .. } => None,
            NatAction::Accept => None,
        }
    }
}

/// On what of the other end a mapping, or leave to come in, depends (RFC 4787, 4.1 and 5).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NatDepends {
    /// Nothing. A mapping serves every destination; everybody may come in through it.
    EndpointIndependent,
    /// The address. One mapping for each destination address; in comes who was written to, from any port.
    AddressDependent,
    /// Address and port. One mapping for each destination; in comes only what answers.
    AddressAndPortDependent,
}

/// What becomes of a flow for which there is no external port.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NatExhausted {
    /// Dropped, nobody is told (Linux, AWS).
    #[default]
    Silent,
    /// Dropped; the sender gets ICMP administratively prohibited (RFC 5508, REQ-8).
    Prohibited,
    /// Dropped; the sender gets ICMP host unreachable (RFC 6888, REQ-11).
    HostUnreachable,
}

/// How the mappings of a rule behave.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct NatBehaviour {
    /// When an inner end keeps its external port. RFC 4787 REQ-1 and RFC 5382 REQ-1: endpoint-independent.
    pub mapping: NatDepends,
    /// Who may come in through a mapping. RFC 4787 REQ-8: endpoint-independent, or address-dependent where
    /// stringent filtering is wanted; most home routers do the strictest.
    pub filtering: NatDepends,
    /// Whether inner hosts reach each other through external ends (RFC 4787 REQ-9, RFC 5382 REQ-8); on a port forward,
    /// whether it also works from inside. Filtering does not ask inner hosts.
    pub hairpin: bool,
    /// Whether an external port may serve different remote ends at once ("port overloading", which RFC 4787 REQ-3 forbids and
    /// which Linux and the AWS NAT gateway do). Only with `mapping` and `filtering` by address and port.
    pub overload: bool,
    /// Whether the external addresses are the NAT's alone: what comes for them and belongs to no mapping ends
    /// there, silently, instead of reaching the machine itself.
    pub exclusive: bool,
    /// When ports run out.
    pub exhausted: NatExhausted,
}

impl Default for NatBehaviour {
    /// Endpoint-independent mapping, address- and port-dependent filtering; all else off.
    fn default() -> NatBehaviour {
        NatBehaviour {
            mapping: NatDepends::EndpointIndependent,
            filtering: NatDepends::AddressAndPortDependent,
            hairpin: false,
            overload: false,
            exclusive: false,
            exhausted: NatExhausted::Silent,
        }
    }
}

impl NatBehaviour {
    /// Whether it is the default.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == NatBehaviour::default()
    }

    /// Whether ports are overloaded: asked for, and unambiguous.
    #[must_use]
    pub fn overloads(&self) -> bool {
        let strict = NatDepends::AddressAndPortDependent;
        self.overload && self.mapping == strict && self.filtering == strict
    }
}

/// One NAT rule. DNAT rules run at prerouting and output, the others at postrouting, static ones at both; first match wins.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NatRule {
    /// When.
    pub when: Match,
    /// What.
    pub action: NatAction,
    /// How the mappings that it makes behave.
    #[serde(default, skip_serializing_if = "NatBehaviour::is_default")]
    pub behaviour: NatBehaviour,
    /// Where it comes from.
    pub origin: Origin,
}

impl NatRule {
    /// A rule whose mappings behave as by default.
    #[must_use]
    pub fn new(when: Match, action: NatAction, origin: Origin) -> NatRule {
        NatRule { when, action, behaviour: NatBehaviour::default(), origin }
    }

    /// The new destination of a new flow that arrives or starts here, for which this rule is; a port where it changes.
    #[must_use]
    pub fn destination(&self, flow: &Flow) -> Option<(IpAddr, Option<u16>)> {
        match &self.action {
            NatAction::Dnat { to, port } if self.when.holds(flow) => Some((*to, *port)),
            NatAction::DnatRange { to, ports } if self.when.holds(flow) => {
                let first = self.when.dport.map_or(0, |range| range.first);
                let nth = u32::from(flow.dport.saturating_sub(first)) % ports.len();
                Some((*to, Some(ports.first.saturating_add(nth as u16))))
            }
            NatAction::DnatSpread { to, by } if self.when.holds(flow) => {
                let nth = match by {
                    Spread::Maglev => spread_table(to).pick(hash_address(flow.src))?,
                    Spread::SourceHash => {
                        usize::try_from(hash_address(flow.src) % to.len().max(1) as u64).ok()?
                    }
                    _ => 0,
                };
                to.get(nth).map(|to| (to.ip(), Some(to.port())))
            }
            NatAction::Static { inside, outside } if flow.dst == *outside => {
                self.when.holds(&Flow { src: *inside, ..flow.mirrored() }).then_some((*inside, None))
            }
            _ => None,
        }
    }
}

/// Maglev's table for these destinations.
#[must_use]
pub fn spread_table(to: &[SocketAddr]) -> Maglev {
    let names: Vec<String> = to.iter().map(ToString::to_string).collect();
    Maglev::new(&names.iter().map(String::as_str).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use rt_base::PortId;

    use super::*;
    use crate::CtState;

    fn flow(dst: &str, dport: u16) -> Flow {
        let (src, dst) = ("198.51.100.7".parse().expect("an address"), dst.parse().expect("an address"));
        let in_port = Some(PortId(1));
        let state = CtState::New;
        Flow { protocol: 6, src, dst, sport: 4_000, dport, in_port, out_port: None, state, tcp_flags: 2 }
    }

    fn rule(when: Match, action: NatAction) -> NatRule {
        NatRule::new(when, action, Origin::Line { file: "t".into(), line: 1 })
    }

    #[test]
    fn a_range_is_forwarded_port_by_port() {
        let inner: IpAddr = "10.0.0.5".parse().expect("an address");
        let range = |first, last| PortRange { first, last };
        let when = Match { dport: Some(range(8_000, 8_009)), ..Match::default() };
        let rule = rule(when, NatAction::DnatRange { to: inner, ports: range(9_000, 9_003) });
        assert_eq!(rule.destination(&flow("203.0.113.1", 8_003)), Some((inner, Some(9_003))));
        assert_eq!(rule.destination(&flow("203.0.113.1", 8_004)), Some((inner, Some(9_000))));
        assert_eq!(rule.destination(&flow("203.0.113.1", 7_999)), None);
    }

    #[test]
    fn a_static_rule_reads_its_conditions_mirrored_on_the_way_in() {
        let (inside, outside) = ("10.0.0.5", "203.0.113.9");
        let action = NatAction::Static {
            inside: inside.parse().expect("an address"),
            outside: outside.parse().expect("an address"),
        };
        let out = |port| Match { out_port: Some(PortId(port)), ..Match::default() };
        assert_eq!(
            rule(out(1), action.clone()).destination(&flow(outside, 80)),
            Some((inside.parse().expect("an address"), None))
        );
        assert_eq!(rule(out(0), action.clone()).destination(&flow(outside, 80)), None, "the other interface");
        assert_eq!(rule(out(1), action).destination(&flow(inside, 80)), None, "another address");
    }
}
