//! The hooks of the pipeline: connection tracking, destination NAT, filters, source NAT, as leaves that the spine calls
//! in the order of `rt_rules::pipeline`.
//!
//! Main type: [`Hooks`], which a machine without chains and NAT rules does not have. What a hook does to a packet comes
//! back as a value (a [`NatRecord`], a verdict, an [`EgressProof`]); the spine records it.
//!
//! As in netfilter, destinations are rewritten before routing and sources after the filters, so rules see inner addresses
//! in both directions. A machine with NAT rules passes nothing on that conntrack calls invalid: it would leak inner
//! addresses (on Linux it does, unless a rule forbids it).

pub(crate) mod conntrack;
mod expiry;
pub(crate) mod filter;
mod index;
pub(crate) mod known;
mod line;
mod mappings;
pub(crate) mod nat;
mod rewrite;
mod tcp_track;
mod tuple;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use rt_base::{DropReason, HookPoint, NatRecord, NatSide, PortId, Rng, Time, What};
use rt_rules::{Chain, ConntrackOptions, CtState, Flow, NatExhausted, NatRule};

use crate::icmp::Complaint;
use crate::packet::{Packet, protocol};
use crate::tables::Tables;
use conntrack::{Conntrack, Direction, Draft, Refusal, Track, Tuple};
use filter::{Filters, Verdict};
use known::{Head, Way, Ways};
use nat::{Choice, Nat};

/// Proof that a packet went through every hook before leaving. Only this module makes one.
#[derive(Debug)]
pub(crate) struct EgressProof(());

impl EgressProof {
    /// The same for a fragment of the packet.
    pub(crate) fn for_fragment(&self) -> EgressProof {
        EgressProof(())
    }

    /// For a machine that has no hooks.
    pub(crate) fn without_hooks(hooks: &Option<Box<Hooks>>) -> Option<EgressProof> {
        hooks.is_none().then_some(EgressProof(()))
    }
}

/// A packet that may not go on: why, and which rule.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Refused {
    pub(crate) reason: DropReason,
    pub(crate) rule: Option<u32>,
    /// What the sender is told.
    pub(crate) complaint: Option<Complaint>,
}

impl Refused {
    fn by(reason: DropReason, rule: u32) -> Refused {
        Refused { reason, rule: Some(rule), complaint: None }
    }
}

/// What a NAT stage changed, to be recorded.
pub(crate) type Rewritten = Option<NatRecord>;

/// What leaving the last hook gives.
#[derive(Debug)]
pub(crate) struct Passed {
    pub(crate) proof: EgressProof,
    pub(crate) rewritten: Rewritten,
    /// The source of a new flow, as first seen.
    pub(crate) opened: Option<SocketAddr>,
}

/// Tables of a machine that filters or translates.
#[derive(Debug)]
pub(crate) struct Hooks {
    table: Conntrack,
    filters: Filters,
    nat: Nat,
    ways: Ways,
}

/// A flow whose source no rule changes and whose answers would look like those of a flow that is there already (two port
/// forwards to one server, say) gets another source port, as with Linux.
fn tell_apart(table: &Conntrack, draft: &mut Draft) {
    const FIRST: u16 = 1_024;
    const MANY: u16 = u16::MAX - FIRST;
    let reply = draft.reply;
    if !matches!(reply.protocol, protocol::TCP | protocol::UDP) || !table.knows(&reply) {
        return;
    }
    let others = (1..=MANY).map(|step| FIRST + (reply.dport % MANY).wrapping_add(step) % MANY);
    let free = others.map(|dport| Tuple { dport, ..reply }).find(|other| !table.knows(other));
    draft.reply = free.unwrap_or(reply);
}

impl Hooks {
    pub(crate) fn new(chains: Vec<Chain>, nat: Vec<NatRule>, options: ConntrackOptions, rng: Rng) -> Hooks {
        let (table, filters) = (Conntrack::new(options), Filters::new(chains));
        Hooks { table, filters, nat: Nat::new(nat, rng), ways: Ways::default() }
    }

    /// Replaces the rules; flows stay, verdicts kept for them do not.
    pub(crate) fn set_rules(&mut self, chains: Vec<Chain>, nat: Vec<NatRule>) {
        self.filters.set_chains(chains);
        self.nat.set_rules(nat);
    }

    /// Does with a packet what was done with the last of its flow, if it was remembered in this era and everything is as it
    /// was; the interface that it leaves by and the route that it takes. `None` leaves the frame as it was.
    #[inline]
    pub(crate) fn pass_on(
        &mut self,
        now: Time,
        (in_port, era): (PortId, u32),
        bytes: &mut [u8],
    ) -> Option<(PortId, u32)> {
        let head = Head::read(bytes)?;
        let (entry, direction) = self.table.look_up(head.key)?;
        let (way, rule) = self.ways.get(era, self.table.way(entry, direction))?;
        let fits = head.total <= way.mtu && way.in_port == in_port;
        if !fits || bytes[..6] != way.arrived_at.0 || way.until <= now {
            return None;
        }
        let left = self.table.go_on(now, (entry, direction), (head.flags, head.total))?;
        if let Some(rule) = rule {
            self.filters.count(HookPoint::Forward, (rule != u32::MAX).then_some(rule), head.total);
        }
        known::send_on(way, (head.key, left), bytes);
        Some((way.out, way.route))
    }

    /// Remembers the way of a packet of a known flow, if all packets of the flow go it.
    pub(crate) fn remember(&mut self, era: u32, track: &Track, way: Way) {
        let Track::Known { entry, direction, state } = *track else { return };
        let Some(rule) = self.filters.settled(HookPoint::Forward, self.table.cached(entry, direction)) else {
            return;
        };
        let ports = matches!(self.table.tuple(entry, direction).protocol, protocol::UDP | protocol::TCP);
        if ports && state != CtState::Related {
            let number = self.ways.number(era, way, rule);
            self.table.set_way(entry, direction, state, number);
        }
    }

    /// Adds flows, mappings and rules to `tables`.
    pub(crate) fn show(&self, now: Time, tables: &mut Tables) {
        let mut expires: BTreeMap<u32, Time> = BTreeMap::new();
        for (flow, holds) in self.table.shown(now) {
            tables.flows.push(flow);
            for slot in holds.into_iter().flatten() {
                let last = expires.entry(slot).or_insert(flow.expires);
                *last = (*last).max(flow.expires);
            }
        }
        self.nat.show(&expires, tables);
        self.filters.show(tables);
    }

    /// Ends all mappings with their flows; see [`crate::Stack::rebind`].
    pub(crate) fn rebind(&mut self, change: bool) -> usize {
        let mappings = self.nat.rebind(change);
        self.table.forget_rewritten();
        self.release();
        mappings
    }

    /// Flows known.
    pub(crate) fn flows(&self) -> usize {
        self.table.len()
    }

    /// Where `remote`, which talks to `local` here, wanted to go.
    pub(crate) fn original_destination(
        &self,
        protocol: u8,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> Option<SocketAddr> {
        self.table.original_destination(&Tuple::between(protocol, local, remote)?)
    }

    /// Stage Conntrack: finds the flow and rewrites the destination of a known one.
    pub(crate) fn track(&mut self, now: Time, packet: &mut Packet) -> Rewritten {
        let related = packet.track == Track::Related;
        // A reset of a filter's is nothing that its flow has said.
        if !related || packet.ip.protocol != protocol::TCP {
            packet.track = self.table.track(now, packet.sight(), packet.ip.total_len);
        }
        if related && packet.track == Track::Invalid {
            packet.track = Track::Related;
        }
        self.release();
        let Track::Known { entry, direction, state } = packet.track else { return None };
        if !self.table.rewrites(entry) {
            return None;
        }
        let (tuple, target) = (self.table.tuple(entry, direction), self.table.target(entry, direction));
        if state == CtState::Related {
            return rewrite::error(packet, tuple, target);
        }
        rewrite::destination(packet, tuple, target, None)
    }

    /// Gives back the NAT ports of flows that ended.
    fn release(&mut self) {
        for (slot, remote) in self.table.released() {
            self.nat.release(slot, remote);
        }
    }

    /// Whether stage Dnat has something to do: a rule may change what begins a flow or belongs to none.
    pub(crate) fn wants_dnat(&self, packet: &Packet) -> bool {
        matches!(packet.track, Track::New(_) | Track::Invalid) && !self.nat.is_empty()
    }

    /// Stage Dnat: the rules, for a new flow and for what belongs to none. `owner` says which interface has an address.
    pub(crate) fn dnat(
        &mut self,
        packet: &mut Packet,
        owner: &dyn Fn(IpAddr) -> Option<PortId>,
    ) -> Result<Rewritten, Refused> {
        let flow = packet.flow();
        let (choice, change) = match &mut packet.track {
            Track::New(draft) => {
                let choice = self.nat.destination(&flow, draft, owner);
                (choice, Some((draft.original, draft.reply.reversed())))
            }
            Track::Invalid if packet.in_port.is_some() => {
                if let Some((rule, to)) = self.nat.static_destination(&flow) {
                    return Ok(rewrite::stateless(packet, &flow, NatSide::Destination, rule, to));
                }
                (self.nat.belongs_to_no_mapping(&flow, owner), None)
            }
            _ => return Ok(None),
        };
        match (choice, change) {
            (Choice::Rewritten { rule }, Some((original, target))) => {
                Ok(rewrite::destination(packet, original, target, Some(rule)))
            }
            (Choice::Refused { rule, reason }, _) => Err(Refused::by(reason, rule)),
            _ => Ok(None),
        }
    }

    /// Stage Filter: the verdict of this hook, if it has a chain.
    pub(crate) fn filter(
        &mut self,
        now: Time,
        hook: HookPoint,
        (packet, flow): (&mut Packet, &Flow),
    ) -> Option<Verdict> {
        let len = packet.ip.total_len;
        let verdict = self.filters.judge(now, hook, (flow, &mut packet.track, len), &mut self.table)?;
        self.filters.count(hook, verdict.rule, len);
        Some(verdict)
    }

    /// Whether it has NAT rules.
    pub(crate) fn translates(&self) -> bool {
        !self.nat.is_empty()
    }

    /// The chains.
    pub(crate) fn filters(&self) -> &Filters {
        &self.filters
    }

    /// Stage Snat: the rules for a new flow, the rewrite of a known one; then the flow is entered and may leave.
    /// `masquerade` is the address of the leaving interface.
    pub(crate) fn snat(
        &mut self,
        now: Time,
        packet: &mut Packet,
        masquerade: Option<IpAddr>,
    ) -> Result<Passed, Refused> {
        let passed = |rewritten| Ok(Passed { proof: EgressProof(()), rewritten, opened: None });
        match packet.track {
            Track::Untracked | Track::Related => passed(None),
            Track::Invalid => passed(self.snat_invalid(packet)?),
            Track::Known { entry, .. } if !self.table.rewrites(entry) => passed(None),
            Track::Known { entry, direction, .. } => {
                let (tuple, target) =
                    (self.table.tuple(entry, direction), self.table.target(entry, direction));
                passed(rewrite::source(packet, tuple, target, None))
            }
            Track::New(_) => self.snat_new(now, packet, masquerade),
        }
    }

    /// What belongs to no flow goes on only where static rules translate it, or where there is no NAT.
    fn snat_invalid(&self, packet: &mut Packet) -> Result<Rewritten, Refused> {
        if packet.in_port.is_none() || self.nat.is_empty() {
            return Ok(None);
        }
        let flow = packet.flow();
        match self.nat.static_source(&flow) {
            Some((rule, to)) => Ok(rewrite::stateless(packet, &flow, NatSide::Source, rule, to)),
            None if self.nat.is_static_inside(flow.dst) => Ok(None),
            None => Err(Refused { reason: DropReason::ConntrackInvalid, rule: None, complaint: None }),
        }
    }

    fn snat_new(
        &mut self,
        now: Time,
        packet: &mut Packet,
        masquerade: Option<IpAddr>,
    ) -> Result<Passed, Refused> {
        let (own, flow) = (packet.in_port.is_none(), packet.flow());
        let Track::New(draft) = &mut packet.track else { unreachable!("the caller matched New") };
        self.hold(draft);
        let choice = self.nat.source(now, &flow, draft, (masquerade, own), &self.table);
        if choice == Choice::Keep && !self.nat.is_empty() {
            tell_apart(&self.table, draft);
        }
        let (original, target) = (draft.original, draft.reply.reversed());
        let rule = match choice {
            Choice::Keep => None,
            Choice::Rewritten { rule } => Some(rule),
            Choice::Refused { rule, reason } => {
                let draft = **draft;
                self.let_go(&draft);
                let exhausted = reason == DropReason::NatExhausted;
                let complaint = exhausted.then(|| self.nat.when_exhausted(rule)).and_then(complaint);
                return Err(Refused { complaint, ..Refused::by(reason, rule) });
            }
        };
        let needs_no_state = self.nat.needs_no_state(draft);
        match self.confirm(now, packet) {
            Ok(()) => {}
            Err(_) if needs_no_state => packet.track = Track::Untracked,
            Err(refused) => return Err(refused),
        }
        let rewritten = rewrite::source(packet, original, target, rule);
        Ok(Passed { proof: EgressProof(()), rewritten, opened: Some(original.source()) })
    }

    /// The mapping that a new flow came in through stays while it is decided on.
    fn hold(&mut self, draft: &Draft) {
        if let Some(slot) = draft.holds[0] {
            self.nat.hold(slot, draft.original.src.into());
        }
    }

    /// A flow does not come to be: its mappings are not held by it.
    fn let_go(&mut self, draft: &Draft) {
        for (slot, remote) in conntrack::held(draft.holds, &[draft.original, draft.reply]) {
            self.nat.release(slot, remote);
        }
    }

    /// Port blocks given and taken back since the last call, to be recorded.
    pub(crate) fn log(&mut self) -> Vec<What> {
        self.nat.log()
    }

    /// Enters the flow of a packet that stays here; returns the source of a new flow. Answers of a flow of this
    /// machine whose destination was rewritten get the source back that the socket knows.
    pub(crate) fn deliver(&mut self, now: Time, packet: &mut Packet) -> Result<Option<SocketAddr>, Refused> {
        match packet.track {
            Track::New(ref draft) => {
                let source = draft.original.source();
                self.hold(draft);
                self.confirm(now, packet)?;
                Ok(Some(source))
            }
            Track::Known { entry, direction: Direction::Reply, state: CtState::Established } => {
                let tuple = self.table.tuple(entry, Direction::Reply);
                let target = self.table.target(entry, Direction::Reply);
                rewrite::source(packet, tuple, target, None);
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    fn confirm(&mut self, now: Time, packet: &mut Packet) -> Result<(), Refused> {
        let Track::New(draft) = &packet.track else { return Ok(()) };
        let draft = **draft;
        let entered = self.table.confirm(now, draft);
        self.release();
        match entered {
            Ok(entry) => {
                packet.track = Track::Known { entry, direction: Direction::Original, state: CtState::New };
                Ok(())
            }
            Err(refusal) => {
                self.let_go(&draft);
                let reason = match refusal {
                    Refusal::Full => DropReason::ConntrackFull,
                    Refusal::SourceLimit => DropReason::ConntrackLimit,
                };
                Err(Refused { reason, rule: None, complaint: None })
            }
        }
    }

    fn as_sent(&self, packet: &Packet) -> Option<Tuple> {
        match &packet.track {
            Track::Known { state: CtState::Related, .. } | Track::Untracked => None,
            Track::Related | Track::Invalid => None,
            Track::Known { entry, direction, .. } => Some(self.table.tuple(*entry, *direction)),
            Track::New(draft) => Some(draft.original),
        }
    }

    /// A filter answers this packet with a reset.
    pub(crate) fn close(&mut self, packet: &Packet) {
        if let Track::Known { entry, .. } = packet.track {
            self.table.close(entry);
        }
    }

    /// Undoes what was rewritten, so that an ICMP error quotes what the sender sent and goes back to the sender.
    pub(crate) fn restore(&self, packet: &mut Packet) {
        let Some(sent) = self.as_sent(packet) else { return };
        if matches!(packet.sight(), conntrack::Sight::Packet(now, _) if now == sent) {
            return;
        }
        let (src, dst) = (sent.source(), sent.destination());
        packet.set_source(src.ip(), rewrite::port_of(sent, src.port()));
        packet.set_destination(dst.ip(), rewrite::port_of(sent, dst.port()));
    }
}

fn complaint(told: NatExhausted) -> Option<Complaint> {
    match told {
        NatExhausted::Silent => None,
        //= rfc5508#8 REQ-8
        NatExhausted::Prohibited => Some(Complaint::Prohibited),
        //= rfc6888#3 REQ-11
        NatExhausted::HostUnreachable => Some(Complaint::Host),
    }
}
