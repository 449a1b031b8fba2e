//! NAT: which rule a new flow matches, and which external address and port it gets.
//!
//! Not for rewriting bytes (`hooks/mod.rs`) nor for remembering flows (`conntrack.rs`). Main type: [`Nat`].
//!
//! One inner (address, port) keeps its external port towards every destination while any of its flows lives
//! (endpoint-independent mapping, RFC 4787 REQ-1 and RFC 5382 REQ-1); what comes in must belong to a flow (address- and
//! port-dependent filtering). Linux itself maps per flow; a user sees the difference only with colliding ports. No
//! hairpinning: an inner host that calls the external address reaches the NAT machine itself.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use rt_base::{FixedMap, Rng, Time};
use rt_rules::{Flow, NatAction, NatPorts, NatRule, PortRange};

use super::conntrack::{Conntrack, Draft};
use crate::packet::protocol;
use crate::tables::{Counters, NatEntry, NatRuleEntry};

/// A NAT port in use by a flow: (protocol, inner end, external end).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Mapping {
    protocol: u8,
    inner: SocketAddr,
    external: SocketAddr,
    rule: u32,
}

/// What the rules say about a new flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Choice {
    /// No rule, or a rule that says to leave it alone.
    Keep,
    /// The draft was changed by this rule.
    Rewritten { rule: u32 },
    /// This rule wants a port and there is none.
    Exhausted { rule: u32 },
    /// This rule wants the interface's address and there is none.
    NoAddress { rule: u32 },
}

/// NAT rules, ports in use and the counters.
#[derive(Debug)]
pub(crate) struct Nat {
    rules: Vec<NatRule>,
    /// The next port of each range; UDP and TCP share it.
    counters: BTreeMap<(u16, u16), u16>,
    /// (protocol, inner end, external address) to external port.
    inner: FixedMap<(u8, SocketAddr, IpAddr), u16>,
    /// (protocol, external end) to the number of flows on it.
    external: FixedMap<(u8, SocketAddr), u32>,
    /// Flows that each rule changed.
    flows: Counters,
    rng: Rng,
}

impl Nat {
    /// Rules and no ports in use; `rng` serves the random policy.
    pub(crate) fn new(rules: Vec<NatRule>, rng: Rng) -> Nat {
        let (inner, external) = (FixedMap::default(), FixedMap::default());
        Nat { rules, counters: BTreeMap::new(), inner, external, flows: Counters::default(), rng }
    }

    /// Whether there are rules at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Replaces the rules; ports in use stay in use.
    pub(crate) fn set_rules(&mut self, rules: Vec<NatRule>) {
        self.rules = rules;
        self.flows = Counters::default();
    }

    /// The mappings that these flows hold, each with the moment at which the flow expires.
    pub(crate) fn shown(&self, holders: &[(Mapping, Time, Time)]) -> Vec<NatEntry> {
        let mut shown: BTreeMap<(u8, SocketAddr, SocketAddr), NatEntry> = BTreeMap::new();
        for &(Mapping { protocol, inner, external, rule }, made, expires) in holders {
            let entry = shown.entry((protocol, external, inner)).or_insert(NatEntry {
                protocol,
                inside: inner,
                outside: external,
                remote: (None, None),
                rule,
                made,
                expires,
                flows: 0,
            });
            entry.flows += 1;
            (entry.made, entry.expires) = (entry.made.min(made), entry.expires.max(expires));
        }
        shown.into_values().collect()
    }

    /// The rules with their counters.
    pub(crate) fn rules_shown(&self) -> Vec<NatRuleEntry> {
        let shown = |(index, rule): (usize, &NatRule)| NatRuleEntry {
            rule: rule.clone(),
            flows: self.flows.get(index as u32),
        };
        self.rules.iter().enumerate().map(shown).collect()
    }

    /// How many mappings there are.
    pub(crate) fn len(&self) -> usize {
        self.external.len()
    }

    /// Destination NAT of a new flow.
    pub(crate) fn destination(&mut self, flow: &Flow, draft: &mut Draft) -> Choice {
        let decides = |rule: &NatRule| match rule.action {
            NatAction::Accept => rule.when.holds(flow).then_some(None),
            _ => rule.destination(flow).map(Some),
        };
        let found = self.rules.iter().enumerate().find_map(|(index, rule)| Some((index, decides(rule)?)));
        let Some((index, Some((to, port)))) = found else { return Choice::Keep };
        let old = draft.original.destination();
        let port = port.filter(|_| flow.protocol != protocol::ICMP).unwrap_or(old.port());
        draft.reply.set_source(SocketAddr::new(to, port));
        draft.rules[0] = Some(index as u32);
        self.flows.add(index as u32, 1);
        Choice::Rewritten { rule: index as u32 }
    }

    /// Source NAT of a new flow. `masquerade` is the leaving interface's address, `own` says that the flow starts here.
    pub(crate) fn source(
        &mut self,
        flow: &Flow,
        draft: &mut Draft,
        masquerade: Option<IpAddr>,
        own: bool,
        table: &Conntrack,
    ) -> Choice {
        let found = self
            .rules
            .iter()
            .enumerate()
            .find(|(_, rule)| !matches!(rule.action, NatAction::Dnat { .. }) && rule.when.holds(flow));
        let Some((index, rule)) = found else { return Choice::Keep };
        let rule_index = index as u32;
        let (to, ports) = match &rule.action {
            NatAction::Snat { to, ports } => (*to, *ports),
            NatAction::Masquerade { ports } => match masquerade {
                Some(address) => (address, *ports),
                None => return Choice::NoAddress { rule: rule_index },
            },
            _ => return Choice::Keep,
        };
        let inner = draft.original.source();
        // The machine's own flows keep their port unless a mapping has it: they must not move the counter.
        if own && inner.ip() == to && !self.in_use(flow.protocol, inner) {
            return Choice::Keep;
        }
        match self.allocate(flow.protocol, inner, to, ports, draft, table) {
            Some(external) => {
                draft.mapping = Some(Mapping { protocol: flow.protocol, inner, external, rule: rule_index });
                draft.rules[1] = Some(rule_index);
                self.flows.add(rule_index, 1);
                Choice::Rewritten { rule: rule_index }
            }
            None => Choice::Exhausted { rule: rule_index },
        }
    }

    /// The external end for `inner`, entered in the draft and counted.
    #[allow(clippy::too_many_arguments, reason = "each is a different table or key of one decision")]
    fn allocate(
        &mut self,
        protocol: u8,
        inner: SocketAddr,
        to: IpAddr,
        ports: NatPorts,
        draft: &mut Draft,
        table: &Conntrack,
    ) -> Option<SocketAddr> {
        //= rfc4787#4.1 REQ-1
        let known = self.inner.get(&(protocol, inner, to)).copied();
        let external = match known {
            Some(port) => SocketAddr::new(to, port),
            None => self.fresh(protocol, inner, to, ports, draft, table)?,
        };
        draft.reply.set_destination(external);
        self.inner.insert((protocol, inner, to), external.port());
        *self.external.entry((protocol, external)).or_insert(0) += 1;
        Some(external)
    }

    /// A free external end by the policy; tries every port of the range once at most.
    #[allow(clippy::too_many_arguments, reason = "each is a different table or key of one decision")]
    fn fresh(
        &mut self,
        protocol: u8,
        inner: SocketAddr,
        to: IpAddr,
        ports: NatPorts,
        draft: &Draft,
        table: &Conntrack,
    ) -> Option<SocketAddr> {
        let free = |nat: &Nat, port: u16| {
            let end = SocketAddr::new(to, port);
            let mut answer = draft.reply;
            answer.set_destination(end);
            !nat.in_use(protocol, end) && !table.knows(&answer)
        };
        let (range, start) = match ports {
            NatPorts::Preserve(range) => (range, inner.port()),
            NatPorts::Random(range) => {
                (range, range.first.saturating_add(self.rng.below(size(range)) as u16))
            }
            NatPorts::Sequential(range) | NatPorts::Block { range, .. } => (range, self.counter(range)),
        };
        let keeps = protocol == protocol::ICMP || matches!(ports, NatPorts::Preserve(_));
        if keeps && free(self, inner.port()) {
            return Some(SocketAddr::new(to, inner.port()));
        }
        let mut port = if range.contains(start) { start } else { range.first };
        for _ in 0..size(range) {
            let next = if port >= range.last { range.first } else { port + 1 };
            if free(self, port) {
                if matches!(ports, NatPorts::Sequential(_)) {
                    self.counters.insert((range.first, range.last), next);
                }
                return Some(SocketAddr::new(to, port));
            }
            port = next;
        }
        None
    }

    fn counter(&self, range: PortRange) -> u16 {
        self.counters.get(&(range.first, range.last)).copied().unwrap_or(range.first)
    }

    fn in_use(&self, protocol: u8, external: SocketAddr) -> bool {
        self.external.contains_key(&(protocol, external))
    }

    /// A flow that held this port is gone.
    pub(crate) fn release(&mut self, mapping: Mapping) {
        let key = (mapping.protocol, mapping.external);
        let Some(flows) = self.external.get_mut(&key) else { return };
        *flows -= 1;
        if *flows == 0 {
            self.external.remove(&key);
            self.inner.remove(&(mapping.protocol, mapping.inner, mapping.external.ip()));
        }
    }
}

fn size(range: PortRange) -> u64 {
    u64::from(range.last.saturating_sub(range.first)) + 1
}
