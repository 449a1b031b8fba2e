//! NAT: which rule a new flow matches, and which external address and port it gets.
//!
//! Not for rewriting bytes (`hooks/mod.rs`) nor for remembering flows (`conntrack.rs`) and mappings (`mappings.rs`). Main
//! type: [`Nat`].
//!
//! How a mapping behaves is its rule's `NatBehaviour`. By default one inner (address, port) keeps its external port towards
//! every destination while any of its flows lives (endpoint-independent mapping, RFC 4787 REQ-1 and RFC 5382 REQ-1); what
//! comes in must belong to a flow (address- and port-dependent filtering). Linux itself maps per flow; a user sees the
//! difference only with colliding ports (`overload` does as Linux). Without hairpinning an inner host that calls the
//! external address reaches the NAT machine itself.
//!
//! Simplified: filtering does not ask inner hosts that come by a hairpin; echo requests do not come in through mappings.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use rt_base::{DropReason, PortId, Rng, Time, What};
use rt_rules::{
    Flow, Maglev, NatAction, NatExhausted, NatPorts, NatRule, PortRange, Spread, hash_address, spread_table,
};

use super::conntrack::{Conntrack, Draft};
use super::mappings::{Mappings, mapping};
use crate::packet::protocol;
use crate::tables::{Counters, NatRuleEntry, Tables};

/// What the rules say about a new flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Choice {
    /// No rule, or a rule that says to leave it alone.
    Keep,
    /// The draft was changed by this rule.
    Rewritten { rule: u32 },
    /// It may not go on, because of this rule.
    Refused { rule: u32, reason: DropReason },
}

/// NAT rules, mappings and the counters.
#[derive(Debug)]
pub(crate) struct Nat {
    rules: Vec<NatRule>,
    /// The next port of each range; UDP and TCP share it.
    counters: BTreeMap<(u16, u16), u16>,
    /// The next address of each pool.
    pool_turn: BTreeMap<IpNet, u32>,
    mappings: Mappings,
    /// Whose turn it is, by rule that takes turns; the table of each rule that has one.
    turns: BTreeMap<usize, usize>,
    tables: BTreeMap<usize, Maglev>,
    /// The last search that found no port, and when: until one is freed it need not be repeated.
    barren: Option<(Seek, u64)>,
    /// Flows that each rule changed.
    flows: Counters,
    rng: Rng,
}

/// What a port is sought for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Seek {
    protocol: u8,
    to: IpAddr,
    range: PortRange,
}

/// A new flow on its way out, and the rule that translates it.
struct Wanted<'w> {
    now: Time,
    protocol: u8,
    inner: SocketAddr,
    /// The other end as the inner host calls it.
    remote: SocketAddr,
    rule: u32,
    ports: NatPorts,
    behaviour: rt_rules::NatBehaviour,
    table: &'w Conntrack,
}

/// Addresses of a pool that are tried for a new inner address at most.
const POOL_TRIES: usize = 16;

impl Nat {
    /// Rules and no ports in use; `rng` serves the random policy.
    pub(crate) fn new(rules: Vec<NatRule>, rng: Rng) -> Nat {
        Nat {
            rules,
            counters: BTreeMap::new(),
            pool_turn: BTreeMap::new(),
            turns: BTreeMap::new(),
            tables: BTreeMap::new(),
            mappings: Mappings::default(),
            barren: None,
            flows: Counters::default(),
            rng,
        }
    }

    /// Whether there are rules at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Replaces the rules; ports in use stay in use.
    pub(crate) fn set_rules(&mut self, rules: Vec<NatRule>) {
        let old = std::mem::replace(&mut self.rules, rules);
        let new = &self.rules;
        self.mappings.renumber(|rule| {
            let same = old.get(rule as usize).and_then(|rule| new.iter().position(|r| r == rule));
            same.map_or(u32::MAX, |index| index as u32)
        });
        (self.flows, self.barren) = (Counters::default(), None);
        (self.turns, self.tables) = (BTreeMap::new(), BTreeMap::new());
    }

    /// Adds mappings and rules to `tables`; `expires` says when the last flow of each mapping does.
    pub(crate) fn show(&self, expires: &BTreeMap<u32, Time>, tables: &mut Tables) {
        tables.nat = self.mappings.shown(expires);
        let entry = |(index, rule): (usize, &NatRule)| {
            let flows = self.flows.get(index as u32);
            NatRuleEntry { rule: rule.clone(), flows }
        };
        tables.nat_rules = self.rules.iter().enumerate().map(entry).collect();
    }

    /// How many mappings there are; with `change`, none of their inner ends gets the same port again.
    pub(crate) fn rebind(&mut self, change: bool) -> usize {
        if change {
            self.mappings.remember_ports();
        }
        self.mappings.len()
    }

    /// Port blocks taken and given back since the last call.
    pub(crate) fn log(&mut self) -> Vec<What> {
        std::mem::take(&mut self.mappings.log)
    }

    /// A flow with `remote` uses this mapping.
    pub(crate) fn hold(&mut self, slot: u32, remote: IpAddr) {
        self.mappings.hold(slot, remote);
    }

    /// A flow with `remote` that used this mapping is gone.
    pub(crate) fn release(&mut self, slot: u32, remote: IpAddr) {
        self.mappings.release(slot, remote);
    }

    fn rewritten(&mut self, rule: u32) -> Choice {
        self.flows.add(rule, 1);
        Choice::Rewritten { rule }
    }

    // ---- in --------------------------------------------------------------------------------------------------------

    /// Destination NAT of a new flow. `owner` says which interface has an address.
    pub(crate) fn destination(
        &mut self,
        flow: &Flow,
        draft: &mut Draft,
        owner: &dyn Fn(IpAddr) -> Option<PortId>,
    ) -> Choice {
        let decides = |rule: &NatRule| match rule.action {
            NatAction::Accept => rule.when.holds(flow).then_some(None),
            // Who is picked below: a table is made once, not for each flow.
            NatAction::DnatSpread { .. } => rule.when.holds(flow).then_some(Some((flow.dst, None))),
            _ => rule.destination(flow).map(Some),
        };
        let old = draft.original.destination();
        let found = self.rules.iter().enumerate().find_map(|(index, rule)| Some((index, decides(rule)?)));
        let (index, to, port) = match found {
            Some((_, None)) => return Choice::Keep,
            Some((index, Some((to, port)))) => {
                let (to, port) = self.spread(index, flow).unwrap_or((to, port));
                (index, to, port)
            }
            None => match self.forward_from_inside(flow, owner) {
                Some((index, outer, (to, port))) => {
                    draft.hairpin = Some(Some(outer));
                    (index, to, port)
                }
                None => return self.through_mapping(flow, draft, owner),
            },
        };
        let port = port.filter(|_| flow.protocol != protocol::ICMP).unwrap_or(old.port());
        draft.reply.set_source(SocketAddr::new(to, port));
        draft.rules[0] = Some(index as u32);
        self.rewritten(index as u32)
    }

    /// One of several destinations.
    fn spread(&mut self, index: usize, flow: &Flow) -> Option<(IpAddr, Option<u16>)> {
        let NatAction::DnatSpread { to, by } = &self.rules.get(index)?.action else { return None };
        let nth = match by {
            Spread::Maglev => {
                let table = self.tables.entry(index).or_insert_with(|| spread_table(to));
                table.pick(hash_address(flow.src))?
            }
            Spread::SourceHash => usize::try_from(hash_address(flow.src) % to.len().max(1) as u64).ok()?,
            _ => {
                let turn = self.turns.entry(index).or_insert(0);
                let nth = *turn;
                *turn = (nth + 1) % to.len().max(1);
                nth
            }
        };
        to.get(nth).map(|to| (to.ip(), Some(to.port())))
    }

    /// A port forward that is also there for inner hosts: as if the packet came in by the outer interface.
    fn forward_from_inside(
        &self,
        flow: &Flow,
        owner: &dyn Fn(IpAddr) -> Option<PortId>,
    ) -> Option<(usize, PortId, (IpAddr, Option<u16>))> {
        let forwards = |(index, rule): (usize, &NatRule)| {
            let is_static = matches!(rule.action, NatAction::Static { .. });
            let outer = if is_static { rule.when.out_port } else { rule.when.in_port };
            let outer = outer.filter(|outer| rule.behaviour.hairpin && flow.in_port != Some(*outer))?;
            let to = rule.destination(&Flow { in_port: Some(outer), ..*flow })?;
            let called = is_static || owner(flow.dst) == Some(outer);
            (flow.in_port.is_some() && called).then_some((index, outer, to))
        };
        self.rules.iter().enumerate().find_map(forwards)
    }

    /// What comes for the external end of a mapping and belongs to no flow.
    fn through_mapping(
        &mut self,
        flow: &Flow,
        draft: &mut Draft,
        owner: &dyn Fn(IpAddr) -> Option<PortId>,
    ) -> Choice {
        if flow.in_port.is_none() {
            return Choice::Keep;
        }
        let tracked = flow.protocol != protocol::ICMP;
        let external = draft.original.destination();
        let found = self.mappings.behind(flow.protocol, external).filter(|_| tracked);
        let Some(slot) = found else { return self.belongs_to_no_mapping(flow, owner) };
        let mapping = *self.mappings.get(slot);
        let rule = mapping.rule;
        let Some(when) = self.rules.get(rule as usize).map(|r| &r.when) else { return Choice::Keep };
        let leaving = Flow { out_port: when.out_port, ..*flow };
        // Whoever the rule would translate on the way out; where it names no sources, all but those outside.
        let named = !when.src.is_empty() || (when.out_port.is_some() && when.out_port != flow.in_port);
        let from_inside = named && when.holds(&leaving);
        //= rfc4787#6 REQ-9
        if from_inside && mapping.behaviour.hairpin {
            draft.hairpin = Some(when.out_port);
        } else if from_inside || !self.mappings.admits(slot, flow.src) {
            return match mapping.behaviour.exclusive {
                true => Choice::Refused { rule, reason: DropReason::NatFiltered },
                false => Choice::Keep,
            };
        }
        draft.reply.set_source(mapping.inner);
        (draft.rules[0], draft.holds[0]) = (Some(rule), Some(slot));
        self.rewritten(rule)
    }

    /// What comes for no mapping's external end: the machine's own, or nobody's where the address is the NAT's alone.
    pub(crate) fn belongs_to_no_mapping(
        &self,
        flow: &Flow,
        owner: &dyn Fn(IpAddr) -> Option<PortId>,
    ) -> Choice {
        let exclusive = |rule: &NatRule| match &rule.action {
            _ if !rule.behaviour.exclusive => false,
            NatAction::Snat { to, .. } => *to == flow.dst,
            NatAction::Pool { to, .. } => to.contains(&flow.dst),
            NatAction::Masquerade { .. } => {
                rule.when.out_port.is_some() && owner(flow.dst) == rule.when.out_port
            }
            _ => false,
        };
        match self.rules.iter().position(exclusive).filter(|_| flow.in_port.is_some()) {
            Some(rule) => Choice::Refused { rule: rule as u32, reason: DropReason::NatNoMapping },
            None => Choice::Keep,
        }
    }

    // ---- one to one --------------------------------------------------------------------------------------------------

    /// Where a static rule sends a packet that belongs to no flow.
    pub(crate) fn static_destination(&self, flow: &Flow) -> Option<(u32, IpAddr)> {
        let is_static = |rule: &NatRule| matches!(rule.action, NatAction::Static { .. });
        let found = |(index, rule): (usize, &NatRule)| {
            let (to, _) = rule.destination(flow).filter(|_| is_static(rule))?;
            Some((index as u32, to))
        };
        self.rules.iter().enumerate().find_map(found)
    }

    /// What a static rule makes of the source of a packet that belongs to no flow.
    pub(crate) fn static_source(&self, flow: &Flow) -> Option<(u32, IpAddr)> {
        let found = |(index, rule): (usize, &NatRule)| match rule.action {
            NatAction::Static { inside, outside } if inside == flow.src && rule.when.holds(flow) => {
                Some((index as u32, outside))
            }
            _ => None,
        };
        self.rules.iter().enumerate().find_map(found)
    }

    /// Whether a static rule is for packets to this inner address.
    pub(crate) fn is_static_inside(&self, address: IpAddr) -> bool {
        let inside =
            |rule: &NatRule| matches!(rule.action, NatAction::Static { inside, .. } if inside == address);
        self.rules.iter().any(inside)
    }

    /// Whether static rules alone changed the flow, which therefore needs no entry.
    pub(crate) fn needs_no_state(&self, draft: &Draft) -> bool {
        let is_static = |rule: &u32| {
            matches!(self.rules.get(*rule as usize).map(|r| &r.action), Some(NatAction::Static { .. }))
        };
        let mut rules = draft.rules.iter().flatten().peekable();
        rules.peek().is_some() && rules.all(is_static)
    }

    // ---- out ---------------------------------------------------------------------------------------------------------

    /// Source NAT of a new flow. `masquerade` is the leaving interface's address, `own` says that the flow starts here.
    pub(crate) fn source(
        &mut self,
        now: Time,
        flow: &Flow,
        draft: &mut Draft,
        (masquerade, own): (Option<IpAddr>, bool),
        table: &Conntrack,
    ) -> Choice {
        let called = draft.original.destination();
        let flow = match draft.hairpin {
            None => *flow,
            // As if it left by the outer interface, for the address that was called.
            Some(outer) => Flow { out_port: outer.or(flow.out_port), dst: called.ip(), ..*flow },
        };
        let applies = |rule: &NatRule| match rule.action {
            NatAction::Dnat { .. } | NatAction::DnatRange { .. } | NatAction::DnatSpread { .. } => false,
            NatAction::Static { inside, .. } => inside == flow.src && rule.when.holds(&flow),
            _ => rule.when.holds(&flow),
        };
        let Some(index) = self.rules.iter().position(applies) else { return Choice::Keep };
        let (rule, found) = (index as u32, &self.rules[index]);
        let refused = |reason| Choice::Refused { rule, reason };
        let behaviour = found.behaviour;
        let inner = draft.original.source();
        let (pool, ports) = match found.action {
            NatAction::Snat { to, ports } => (IpNet::from(to), ports),
            NatAction::Pool { to, ports } => (to, ports),
            NatAction::Masquerade { ports } => match masquerade {
                Some(address) => (IpNet::from(address), ports),
                None => return refused(DropReason::NoAddress),
            },
            NatAction::Static { outside, .. } => {
                draft.reply.set_destination(SocketAddr::new(outside, inner.port()));
                draft.rules[1] = Some(rule);
                return self.rewritten(rule);
            }
            _ => return Choice::Keep,
        };
        // The machine's own flows keep their port unless a mapping has it: they must not move the counter.
        let own = own && pool.prefix_len() == pool.max_prefix_len() && inner.ip() == pool.addr();
        if own && !self.mappings.in_use(flow.protocol, inner, false) {
            return Choice::Keep;
        }
        let remote = if draft.hairpin.is_some() { called } else { draft.reply.source() };
        let wanted = Wanted { now, protocol: flow.protocol, inner, remote, rule, ports, behaviour, table };
        match self.map(&wanted, pool, draft) {
            Some(slot) => {
                draft.reply.set_destination(self.mappings.get(slot).external);
                (draft.rules[1], draft.holds[1]) = (Some(rule), Some(slot));
                self.mappings.hold(slot, draft.reply.src.into());
                self.rewritten(rule)
            }
            None => refused(DropReason::NatExhausted),
        }
    }

    /// What the sender is told when this rule has no port left.
    pub(crate) fn when_exhausted(&self, rule: u32) -> NatExhausted {
        self.rules.get(rule as usize).map_or(NatExhausted::Silent, |rule| rule.behaviour.exhausted)
    }

    /// The mapping for a flow: the one that is there, or a new one on an address of the pool.
    fn map(&mut self, wanted: &Wanted<'_>, pool: IpNet, draft: &Draft) -> Option<u32> {
        let single = pool.prefix_len() == pool.max_prefix_len();
        //= rfc4787#4.1 REQ-2
        let paired = if single { Some(pool.addr()) } else { self.mappings.paired(wanted.inner.ip(), &pool) };
        if let Some(to) = paired {
            return self.map_on(wanted, to, draft);
        }
        for _ in 0..POOL_TRIES {
            let to = self.next_of_pool(pool);
            if let Some(slot) = self.map_on(wanted, to, draft) {
                return Some(slot);
            }
        }
        None
    }

    /// The addresses of a pool in turn.
    fn next_of_pool(&mut self, pool: IpNet) -> IpAddr {
        let turn = self.pool_turn.entry(pool).or_insert(0);
        let nth = *turn;
        match pool {
            IpNet::V4(pool) => {
                let hosts = u32::MAX.checked_shr(u32::from(pool.prefix_len())).unwrap_or(0);
                *turn = nth.wrapping_add(1) & hosts;
                IpAddr::V4(std::net::Ipv4Addr::from_bits(pool.network().to_bits() | nth))
            }
            IpNet::V6(pool) => IpAddr::V6(pool.network()),
        }
    }

    fn map_on(&mut self, wanted: &Wanted<'_>, to: IpAddr, draft: &Draft) -> Option<u32> {
        let Wanted { protocol, inner, behaviour, .. } = *wanted;
        let remote = Mappings::remote(&behaviour, wanted.remote);
        //= rfc4787#4.1 REQ-1
        if let Some(slot) = self.mappings.find(protocol, inner, to, remote) {
            let mut answer = draft.reply;
            answer.set_destination(self.mappings.get(slot).external);
            // Two destinations that a rule makes one must not share a port: their answers would look alike.
            if draft.rules[0].is_none() || draft.hairpin.is_some() || !wanted.table.knows(&answer) {
                return Some(slot);
            }
        }
        let (port, block) = match wanted.ports {
            NatPorts::Block { range, size, most } => {
                let (port, block) = self.port_of_block(wanted, to, (range, size, most), draft)?;
                (port, Some(block))
            }
            _ => (self.fresh(wanted, to, draft)?, None),
        };
        let ends = (protocol, inner, SocketAddr::new(to, port));
        let made = mapping(ends, remote, (wanted.rule, behaviour), block, wanted.now);
        Some(self.mappings.insert(made))
    }

    fn is_free(&self, wanted: &Wanted<'_>, end: SocketAddr, draft: &Draft) -> bool {
        let mut answer = draft.reply;
        answer.set_destination(end);
        !self.mappings.in_use(wanted.protocol, end, wanted.behaviour.overloads())
            && !self.mappings.is_former(wanted.protocol, wanted.inner, end.port())
            && !wanted.table.knows(&answer)
    }

    /// A free port of `to` by the policy; tries every port of the range once at most.
    fn fresh(&mut self, wanted: &Wanted<'_>, to: IpAddr, draft: &Draft) -> Option<u16> {
        let own = wanted.inner.port();
        let (range, start) = match wanted.ports {
            NatPorts::Preserve(range) => (range, own),
            NatPorts::Random(range) => {
                (range, range.first.saturating_add(self.rng.below(u64::from(range.len())) as u16))
            }
            NatPorts::Sequential(range) | NatPorts::Block { range, .. } => (range, self.counter(range)),
        };
        let keeps = wanted.protocol == protocol::ICMP || matches!(wanted.ports, NatPorts::Preserve(_));
        if keeps && self.is_free(wanted, SocketAddr::new(to, own), draft) {
            return Some(own);
        }
        let seek = Seek { protocol: wanted.protocol, to, range };
        if self.barren == Some((seek, self.mappings.freed)) {
            return None;
        }
        let mut port = if range.contains(start) { start } else { range.first };
        for _ in 0..range.len() {
            let next = if port >= range.last { range.first } else { port + 1 };
            if self.is_free(wanted, SocketAddr::new(to, port), draft) {
                if matches!(wanted.ports, NatPorts::Sequential(_)) {
                    self.counters.insert((range.first, range.last), next);
                }
                return Some(port);
            }
            port = next;
        }
        // Where ports are shared it depends on the other end.
        self.barren = (!wanted.behaviour.overloads()).then_some((seek, self.mappings.freed));
        None
    }

    /// A free port of the inner address's blocks, or of one more block while it may have one; and that block.
    fn port_of_block(
        &mut self,
        wanted: &Wanted<'_>,
        to: IpAddr,
        (range, size, most): (PortRange, u16, u16),
        draft: &Draft,
    ) -> Option<(u16, u16)> {
        let inner = wanted.inner.ip();
        let free = |nat: &Nat, first: u16, from: u16, turned: bool| {
            let ports =
                (0..size.max(1)).map(|n| first.saturating_add(n)).filter(|port| (*port >= from) == turned);
            ports.into_iter().find(|port| nat.is_free(wanted, SocketAddr::new(to, *port), draft))
        };
        // From where the last search ended, once around.
        let (blocks, next) = self.mappings.blocks_of(inner, to);
        let count = blocks.len();
        let both =
            [true, false].into_iter().flat_map(|turned| blocks.iter().map(move |first| (*first, turned)));
        let mut found =
            both.filter_map(|(first, turned)| Some((free(self, first, next, turned)?, first))).next();
        if found.is_none() && count < usize::from(most.max(1)) {
            let first = self.mappings.take_block(inner, to, range, size)?;
            found = free(self, first, 0, true).map(|port| (port, first));
            if found.is_none() {
                self.mappings.leave_block((inner, to), first);
            }
        }
        let (port, first) = found?;
        self.mappings.set_next(inner, to, port.wrapping_add(1));
        Some((port, first))
    }

    fn counter(&self, range: PortRange) -> u16 {
        self.counters.get(&(range.first, range.last)).copied().unwrap_or(range.first)
    }
}
