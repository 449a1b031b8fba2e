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
pub(crate) mod filter;
pub(crate) mod nat;
mod tcp_track;
mod tuple;

use std::net::{IpAddr, SocketAddr};

use rt_base::{DropReason, HookPoint, NatRecord, NatSide, Rng, Time};
use rt_rules::{Chain, ConntrackOptions, CtState, Flow, NatRule};
use rt_wire::rewrite;

use crate::packet::{ETHERNET, Packet, protocol, v4};
use crate::tables::Tables;
use conntrack::{Conntrack, Direction, Refusal, Track, Tuple};
use filter::{Filters, Verdict};
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
}

impl Hooks {
    pub(crate) fn new(chains: Vec<Chain>, nat: Vec<NatRule>, options: ConntrackOptions, rng: Rng) -> Hooks {
        let (table, filters) = (Conntrack::new(options), Filters::new(chains));
        Hooks { table, filters, nat: Nat::new(nat, rng) }
    }

    /// Replaces the rules; flows stay, verdicts kept for them do not.
    pub(crate) fn set_rules(&mut self, chains: Vec<Chain>, nat: Vec<NatRule>) {
        self.filters.set_chains(chains);
        self.nat.set_rules(nat);
    }

    /// Adds flows, mappings and rules to `tables`.
    pub(crate) fn show(&self, now: Time, tables: &mut Tables) {
        let mut holders = Vec::new();
        for (flow, mapping) in self.table.shown(now) {
            tables.flows.push(flow);
            holders.extend(mapping.map(|mapping| (mapping, flow.began, flow.expires)));
        }
        tables.nat = self.nat.shown(&holders);
        tables.nat_rules = self.nat.rules_shown();
        self.filters.show(tables);
    }

    /// Ends all mappings with their flows; see [`crate::Stack::rebind`].
    pub(crate) fn rebind(&mut self, _change: bool) -> usize {
        let mappings = self.nat.len();
        self.table.forget_mapped();
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
        self.table.original_destination(&Tuple::between(protocol, local, remote))
    }

    /// Stage Conntrack: finds the flow and rewrites the destination of a known one.
    pub(crate) fn track(&mut self, now: Time, packet: &mut Packet) -> Rewritten {
        packet.track = self.table.track(now, packet.sight(), packet.ip.total_len);
        self.release();
        let Track::Known { entry, direction, state } = packet.track else { return None };
        if !self.table.rewrites(entry) {
            return None;
        }
        let (tuple, target) = (self.table.tuple(entry, direction), self.table.target(entry, direction));
        if state == CtState::Related {
            return rewrite_error(packet, tuple, target);
        }
        rewrite_destination(packet, tuple, target, None)
    }

    /// Gives back the NAT ports of flows that ended.
    fn release(&mut self) {
        for mapping in self.table.released() {
            self.nat.release(mapping);
        }
    }

    /// Stage Dnat: the rules, for a new flow.
    pub(crate) fn dnat(&mut self, packet: &mut Packet) -> Rewritten {
        if !matches!(packet.track, Track::New(_)) {
            return None;
        }
        let flow = packet.flow();
        let Track::New(draft) = &mut packet.track else { return None };
        let Choice::Rewritten { rule } = self.nat.destination(&flow, draft) else { return None };
        let (original, target) = (draft.original, draft.reply.reversed());
        rewrite_destination(packet, original, target, Some(rule))
    }

    /// Stage Filter: the verdict of this hook, if it has a chain.
    pub(crate) fn filter(
        &mut self,
        now: Time,
        hook: HookPoint,
        (packet, flow): (&Packet, &Flow),
    ) -> Option<Verdict> {
        let verdict = self.filters.judge(now, hook, (flow, &packet.track), &mut self.table)?;
        self.filters.count(hook, verdict.rule, packet.ip.total_len);
        Some(verdict)
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
            Track::Invalid if packet.in_port.is_some() && !self.nat.is_empty() => {
                Err(Refused { reason: DropReason::ConntrackInvalid, rule: None })
            }
            Track::Untracked | Track::Invalid => passed(None),
            Track::Known { entry, .. } if !self.table.rewrites(entry) => passed(None),
            Track::Known { entry, direction, .. } => {
                let (tuple, target) =
                    (self.table.tuple(entry, direction), self.table.target(entry, direction));
                passed(rewrite_source(packet, tuple, target, None))
            }
            Track::New(_) => self.snat_new(now, packet, masquerade),
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
        let mut choice = self.nat.source(&flow, draft, masquerade, own, &self.table);
        if matches!(choice, Choice::Exhausted { .. }) && self.table.sweep_all(now) {
            for mapping in self.table.released() {
                self.nat.release(mapping);
            }
            choice = self.nat.source(&flow, draft, masquerade, own, &self.table);
        }
        let rule = match choice {
            Choice::Keep => None,
            Choice::Rewritten { rule } => Some(rule),
            Choice::Exhausted { rule } => {
                return Err(Refused { reason: DropReason::NatExhausted, rule: Some(rule) });
            }
            Choice::NoAddress { rule } => {
                return Err(Refused { reason: DropReason::NoAddress, rule: Some(rule) });
            }
        };
        let (original, target) = (draft.original, draft.reply.reversed());
        self.confirm(now, packet)?;
        let rewritten = rewrite_source(packet, original, target, rule);
        Ok(Passed { proof: EgressProof(()), rewritten, opened: Some(original.source()) })
    }

    /// Enters the flow of a packet that stays here; returns the source of a new flow. Answers of a flow of this
    /// machine whose destination was rewritten get the source back that the socket knows.
    pub(crate) fn deliver(&mut self, now: Time, packet: &mut Packet) -> Result<Option<SocketAddr>, Refused> {
        match packet.track {
            Track::New(ref draft) => {
                let source = draft.original.source();
                self.confirm(now, packet)?;
                Ok(Some(source))
            }
            Track::Known { entry, direction: Direction::Reply, state: CtState::Established } => {
                let tuple = self.table.tuple(entry, Direction::Reply);
                let target = self.table.target(entry, Direction::Reply);
                rewrite_source(packet, tuple, target, None);
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
                if let Some(mapping) = draft.mapping {
                    self.nat.release(mapping);
                }
                let reason = match refusal {
                    Refusal::Full => DropReason::ConntrackFull,
                    Refusal::SourceLimit => DropReason::ConntrackLimit,
                };
                Err(Refused { reason, rule: None })
            }
        }
    }

    fn as_sent(&self, packet: &Packet) -> Option<Tuple> {
        match &packet.track {
            Track::Known { state: CtState::Related, .. } | Track::Untracked | Track::Invalid => None,
            Track::Known { entry, direction, .. } => Some(self.table.tuple(*entry, *direction)),
            Track::New(draft) => Some(draft.original),
        }
    }

    /// Undoes what was rewritten, so that an ICMP error quotes what the sender sent and goes back to the sender.
    pub(crate) fn restore(&self, packet: &mut Packet) {
        let Some(sent) = self.as_sent(packet) else { return };
        if matches!(packet.sight(), conntrack::Sight::Packet(now, _) if now == sent) {
            return;
        }
        let (src, dst) = (sent.source(), sent.destination());
        packet.set_source(src.ip(), port_of(sent, src.port()));
        packet.set_destination(dst.ip(), port_of(sent, dst.port()));
    }
}

/// Ports exist only in these protocols.
fn port_of(tuple: Tuple, port: u16) -> Option<u16> {
    matches!(tuple.protocol, protocol::TCP | protocol::UDP | protocol::ICMP).then_some(port)
}

fn rewrite_destination(packet: &mut Packet, tuple: Tuple, target: Tuple, rule: Option<u32>) -> Rewritten {
    let (before, after) = (tuple.destination(), target.destination());
    if before == after {
        return None;
    }
    let src = SocketAddr::new(packet.src(), tuple.sport);
    packet.set_destination(after.ip(), port_of(target, after.port()));
    changed(NatSide::Destination, rule, tuple.protocol, (src, before), (src, after))
}

fn rewrite_source(packet: &mut Packet, tuple: Tuple, target: Tuple, rule: Option<u32>) -> Rewritten {
    let (before, after) = (tuple.source(), target.source());
    if before == after {
        return None;
    }
    // The destination may have been rewritten before: tell it as it is now.
    let dst = target.destination();
    let dst = if tuple.protocol == protocol::ICMP { SocketAddr::new(dst.ip(), before.port()) } else { dst };
    if packet.quoted().is_some() {
        // An error of the flow may come from a machine on the way; outside it all looks like the flow's end.
        let ends = |src: IpAddr| (SocketAddr::new(src, 0), SocketAddr::new(dst.ip(), 0));
        let from = packet.src();
        packet.set_source(after.ip(), None);
        return changed(NatSide::Source, rule, protocol::ICMP, ends(from), ends(after.ip()));
    }
    packet.set_source(after.ip(), port_of(target, after.port()));
    changed(NatSide::Source, rule, tuple.protocol, (before, dst), (after, dst))
}

/// An ICMP error about a flow: its destination and both ends of the packet that it quotes. Its own source follows at
/// the Snat stage.
fn rewrite_error(packet: &mut Packet, tuple: Tuple, target: Tuple) -> Rewritten {
    if tuple == target {
        return None;
    }
    let before = (SocketAddr::new(packet.src(), 0), SocketAddr::new(packet.dst(), 0));
    let quoted_source = target.destination();
    let quoted_destination = target.source();
    let ip = &mut packet.frame.bytes[ETHERNET..];
    if let (Some(src), Some(dst)) = (v4(quoted_source.ip()), v4(quoted_destination.ip())) {
        rewrite::rewrite_quoted_src(ip, src, port_of(target, quoted_source.port()));
        rewrite::rewrite_quoted_dst(ip, dst, port_of(target, quoted_destination.port()));
    }
    if tuple.dst != target.dst {
        packet.set_destination(target.dst, None);
    }
    let after = (before.0, SocketAddr::new(packet.dst(), 0));
    changed(NatSide::Destination, None, protocol::ICMP, before, after)
}

fn changed(
    side: NatSide,
    rule: Option<u32>,
    protocol: u8,
    before: (SocketAddr, SocketAddr),
    after: (SocketAddr, SocketAddr),
) -> Rewritten {
    Some(NatRecord {
        side,
        rule: rule.unwrap_or(u32::MAX),
        created: rule.is_some(),
        protocol,
        src_before: before.0,
        dst_before: before.1,
        src_after: after.0,
        dst_after: after.1,
    })
}
