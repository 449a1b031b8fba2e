//! One question, and every independent reason why its answer is no: the first blocker is found, lifted, the question asked
//! again, and so on until it is answered. Then every change is taken back once: what was not needed is no reason.

use std::net::IpAddr;

use rt_base::{DropReason, HookPoint, NodeId, Place};
use rt_scenario::model::Model;

use super::edit::Edit;
use super::find::{self, About, Cause, Found};
use super::probe::{Probe, Prober, Protocol, Question};
use super::{Blocker, Verdict, add, cloud, ends, lift, name, ways};

/// At most so many blockers are lifted one after the other.
const MOST_BLOCKERS: usize = 16;

/// A question about a world.
pub(super) struct Case<'m> {
    pub(super) model: &'m Model,
    pub(super) question: Question,
    /// The machine that is meant, if one is.
    pub(super) target: Option<NodeId>,
    /// It was named, so nobody else's answer counts; not so when an address was asked for, whoever has it.
    pub(super) named: bool,
    pub(super) seed: u64,
}

/// The public side of a machine.
pub(super) struct Face {
    pub(super) address: IpAddr,
    /// Machines that rewrite, from the inside out, with the source before.
    nats: Vec<(NodeId, IpAddr)>,
}

/// The world as far as it was changed.
pub(super) struct State {
    pub(super) model: Model,
    pub(super) question: Question,
    pub(super) target: Option<NodeId>,
    pub(super) face: Option<Face>,
    named: bool,
    seed: u64,
}

impl State {
    fn of(case: &Case<'_>) -> State {
        let (model, question) = (case.model.clone(), case.question.clone());
        State { model, question, target: case.target, face: None, named: case.named, seed: case.seed }
    }

    fn ask(&self) -> Probe {
        Prober::new(&self.model, &[self.question.from], self.seed).ask(&self.question)
    }

    /// The machine that was named.
    pub(super) fn meant(&self) -> Option<NodeId> {
        self.target.filter(|_| self.named)
    }

    /// Answered, and by the machine that is meant: behind a public address another may answer for it, and another may have
    /// the same address.
    fn is_answered(&self, probe: &Probe) -> bool {
        self.is_answer_to(probe, &self.question)
    }

    fn is_answer_to(&self, probe: &Probe, question: &Question) -> bool {
        probe.ok
            && (self.face.is_none() || probe.path.last() == self.target.as_ref())
            && self.meant().is_none_or(|node| find::reached(&probe.trace, question, probe.begun, node))
    }
}

/// The machine that the address of the one that was named means here: it answered, or it is where the packet ended.
pub(super) fn other_machine(
    model: &Model,
    question: &Question,
    (meant, probe): (NodeId, &Probe),
) -> Option<NodeId> {
    if find::reached(&probe.trace, question, probe.begun, meant) {
        return None;
    }
    if probe.ok {
        let taker = find::taker(&probe.trace, question, probe.begun);
        return Some(taker.or(probe.path.last().copied()).unwrap_or(question.from));
    }
    let address = question.address()?;
    let Some(Found::Drop(cause)) = find::cause(model, probe, question) else { return None };
    let has = |node: NodeId| ends::addresses(model, node.index()).contains(&address);
    let asked = !cause.answer && cause.about == About::Question && cause.packet.dst.ip() == address;
    (asked && cause.node != meant && has(cause.node) && has(meant)).then_some(cause.node)
}

/// Asks, and finds every reason.
pub(super) fn solve(case: &Case<'_>) -> Verdict {
    solve_with(case).0
}

/// The same with the changes that lift the reasons.
pub(super) fn solve_with(case: &Case<'_>) -> (Verdict, Vec<Edit>) {
    let mut state = State::of(case);
    let first = state.ask();
    let node_name = |n: &NodeId| case.model.nodes[n.index()].name.clone();
    let mut verdict = Verdict {
        from: node_name(&case.question.from),
        to: case.question.target.clone(),
        protocol: case.question.protocol,
        port: case.question.port,
        reachable: state.is_answered(&first),
        outcome: first.summary.clone(),
        took: first.took,
        path: first.path.iter().map(node_name).collect(),
        blockers: Vec::new(),
        reachable_when_lifted: false,
        target_exists: true,
        assumptions: Vec::new(),
        behind: Vec::new(),
    };
    if let (true, Some(meant)) = (first.ok && !verdict.reachable, state.meant()) {
        let other = other_machine(&state.model, &state.question, (meant, &first)).unwrap_or(meant);
        let (address, other, meant) = (&case.question.target, node_name(&other), node_name(&meant));
        verdict.outcome = format!("{address} was answered by {other}, not by {meant}");
    }
    let (blockers, edits, ok) = lift_all(&mut state, first);
    verdict.reachable_when_lifted = ok;
    if !ok {
        verdict.blockers = blockers;
        return (verdict, edits);
    }
    let kept = needed(case, &edits, &state);
    let blockers = what_is(blockers, &kept);
    let both = blockers.into_iter().zip(edits).enumerate().filter(|(index, _)| kept.contains(index));
    let (blockers, edits) = both.map(|(_, both)| both).unzip();
    verdict.blockers = blockers;
    (verdict, edits)
}

fn lift_all(state: &mut State, first: Probe) -> (Vec<Blocker>, Vec<Edit>, bool) {
    let (mut blockers, mut edits) = (Vec::new(), Vec::new());
    let mut last = first;
    while !state.is_answered(&last) && blockers.len() < MOST_BLOCKERS {
        let in_place = in_place_of(state, &last);
        let other = state.meant().filter(|_| in_place.is_none());
        let other = other.and_then(|n| other_machine(&state.model, &state.question, (n, &last)));
        if let Some(other) = other {
            let mut blocker = name::other_machine(state, other);
            let edit = apart(state).filter(|edit| !edits.contains(edit));
            blocker.lifted = edit.as_ref().map(|e| e.words(&state.model));
            blockers.push(blocker);
            let Some(edit) = edit else { break };
            edit.apply(&mut state.model, &mut state.question);
            edits.push(edit);
            last = state.ask();
            continue;
        }
        let cause = match in_place.or_else(|| find::cause(&state.model, &last, &state.question)) {
            Some(Found::Drop(cause)) => *cause,
            Some(Found::Said(said)) => match unsent(state, &last) {
                Some(cause) => cause,
                None => {
                    blockers.push(name::said(&state.model, state.question.from, &said));
                    break;
                }
            },
            None => break,
        };
        let edit = lift(state, &cause);
        // The same change again means that it changed nothing for this packet.
        if edit.as_ref().is_some_and(|e| edits.contains(e)) {
            break;
        }
        // Named before the change is made: it changes the very table that decided.
        let mut blocker = name::blocker(state, &cause, edit.as_ref());
        blocker.lifted = edit.as_ref().map(|e| e.words(&state.model));
        blockers.push(blocker);
        let Some(edit) = edit else { break };
        edit.apply(&mut state.model, &mut state.question);
        edits.push(edit);
        last = state.ask();
    }
    let ok = state.is_answered(&last);
    (blockers, edits, ok)
}

/// The changes without which the answer is no although all others are made. A change that was needed while there were more may
/// be needless without them, so what is left is tried again until none can go.
fn needed(case: &Case<'_>, edits: &[Edit], state: &State) -> Vec<usize> {
    let mut kept: Vec<usize> = (0..edits.len()).collect();
    loop {
        let before = kept.len();
        for index in kept.clone() {
            let without: Vec<usize> = kept.iter().copied().filter(|i| *i != index).collect();
            if kept.len() > 1 && is_enough(case, (edits, &without), state) {
                kept = without;
            }
        }
        if kept.len() == before {
            return kept;
        }
    }
}

/// The first reason is what stops the packet as things are; those after it were only met by making changes. When a later change
/// takes the place of the first one (a route to a NAT that of a route to the gateway), it lifts the first reason, not the one that
/// nobody would meet.
fn what_is(mut blockers: Vec<Blocker>, kept: &[usize]) -> Vec<Blocker> {
    if let Some(instead) = kept.first().copied().filter(|first| *first > 0) {
        let lifted = blockers[instead].lifted.take();
        blockers[instead] = Blocker { lifted, ..blockers[0].clone() };
    }
    blockers
}

/// Whether these changes are enough.
fn is_enough(case: &Case<'_>, (edits, made): (&[Edit], &[usize]), state: &State) -> bool {
    let (mut model, mut question) = (case.model.clone(), case.question.clone());
    for (index, edit) in edits.iter().enumerate() {
        match made.contains(&index) {
            true => edit.apply(&mut model, &mut question),
            false => edit.brace(&mut model),
        }
    }
    let probe = Prober::new(&model, &[question.from], case.seed).ask(&question);
    state.is_answer_to(&probe, &question)
}

/// A NAT answers in place of the machine behind it: no mapping leads inside.
fn in_place_of(state: &State, probe: &Probe) -> Option<Found> {
    let node = *probe.path.last().filter(|_| probe.ok)?;
    let face = state.face.as_ref()?;
    face.nats.iter().find(|(nat, _)| *nat == node)?;
    let (reason, place) = (DropReason::NatNoMapping, Place::Nat);
    let packet = find::delivered(&probe.trace, &state.question, probe.begun, node);
    let packet = packet.unwrap_or_else(|| find::asked(&state.question));
    let passed = probe.path.clone();
    let cause = Cause { node, reason, place, packet, passed, ..nothing_sent(&state.question) };
    Some(Found::Drop(Box::new(cause)))
}

/// Nothing was sent, because the asker itself knows no way.
fn unsent(state: &State, probe: &Probe) -> Option<Cause> {
    let address = state.question.address()?;
    if !probe.path.is_empty() || address.is_unspecified() {
        return None;
    }
    Some(nothing_sent(&state.question))
}

fn nothing_sent(question: &Question) -> Cause {
    Cause {
        node: question.from,
        reason: DropReason::NoRoute,
        place: Place::Route,
        port: rt_base::PortId(0),
        rule: None,
        link: None,
        packet: find::asked(question),
        arrived: None,
        answer: false,
        about: About::Question,
        passed: vec![question.from],
        led: Vec::new(),
        out: None,
        nearest: None,
    }
}

fn lift(state: &mut State, cause: &Cause) -> Option<Edit> {
    if let Some(inner) = behind(state, cause) {
        return Some(lift::forward(cause, &state.question, inner));
    }
    if is_unmapped(&state.model, cause) {
        return the_only_one_behind(state, cause).map(|to| lift::forward(cause, &state.question, to));
    }
    match cause.reason {
        DropReason::Filtered | DropReason::Rejected => lift_filter(state, cause),
        DropReason::NoRoute
        | DropReason::RouteUnreachable
        | DropReason::Blackhole
        | DropReason::NeighborUnreachable => lift_route(state, cause),
        DropReason::TtlExceeded => lift::unloop(&state.model, cause),
        DropReason::BadSource => lift::not_back(&state.model, cause),
        DropReason::NotARouter if name::is_checked(&state.model.nodes[cause.node.index()]) => {
            Some(Edit::Unchecked(cause.node))
        }
        DropReason::NotARouter => Some(Edit::Forwarding(cause.node)),
        DropReason::LinkDown => cause.link.map(Edit::Uncut),
        DropReason::LinkLoss => cause.link.map(Edit::Lossless),
        DropReason::ReversePath => Some(Edit::AnySource(cause.node, cause.arrived.unwrap_or(cause.port))),
        DropReason::NoSocket => {
            let (protocol, port) = (state.question.protocol, cause.packet.dst.port());
            let asked = protocol != Protocol::Icmp && !cause.answer && cause.about == About::Question;
            asked.then_some(Edit::Listen { node: cause.node, protocol, port })
        }
        _ => None,
    }
}

/// A NAT on the way to the machine that is meant, at which the packet ends because no mapping leads inside: the address to
/// which one would have to lead.
fn behind(state: &State, cause: &Cause) -> Option<IpAddr> {
    let face = state.face.as_ref()?;
    let (_, inner) = face.nats.iter().find(|(node, _)| *node == cause.node)?;
    (!cause.answer && ends_at_nat(cause)).then_some(*inner)
}

/// It ended at a NAT as what nobody asked for does: no mapping, or taken for the machine's own.
fn ends_at_nat(cause: &Cause) -> bool {
    let own = matches!(cause.place, Place::Hook(HookPoint::Input) | Place::Socket);
    own || cause.place == Place::Nat
}

/// When nobody behind a NAT was named: the one machine there that listens at the port that was asked.
fn the_only_one_behind(state: &State, cause: &Cause) -> Option<IpAddr> {
    let port = state.question.port?;
    let nat = &state.model.nodes[cause.node.index()];
    let inside: Vec<ipnet::IpNet> = nat.nat.iter().flat_map(|r| r.when.src.iter().copied()).collect();
    let listens = |node: &rt_scenario::model::Node| {
        super::matrix::services(&node.apps).contains(&(state.question.protocol, Some(port)))
    };
    let addresses = state.model.nodes.iter().filter(|n| listens(n)).flat_map(|n| &n.interfaces);
    let addresses = addresses.flat_map(|i| &i.addresses).map(ipnet::IpNet::addr);
    let mut found = addresses.filter(|a| inside.iter().any(|net| net.contains(a)));
    match (found.next(), found.next()) {
        (Some(only), None) => Some(only),
        _ => None,
    }
}

/// It ended at a NAT because nobody behind that had asked for it.
pub(super) fn is_unmapped(model: &Model, cause: &Cause) -> bool {
    let gateway = model.nodes[cause.node.index()].role == cloud::NAT_GATEWAY;
    let said = matches!(cause.reason, DropReason::NatNoMapping | DropReason::NatFiltered);
    !cause.answer && (said || gateway && ends_at_nat(cause))
}

fn lift_filter(state: &State, cause: &Cause) -> Option<Edit> {
    let Place::Hook(hook) = cause.place else { return None };
    let node = &state.model.nodes[cause.node.index()];
    let private = lift::is_private(cause.packet.src.ip()) && !lift::is_private(cause.packet.dst.ip());
    if node.role == cloud::INTERNET_GATEWAY && private {
        return cloud::out_of(&state.model, cause);
    }
    Some(lift::allow(cause, hook, &state.question, name::construct(node, cause)))
}

fn lift_route(state: &mut State, cause: &Cause) -> Option<Edit> {
    let to = cause.packet.dst.ip();
    if !ways::is_internet(&state.model, cause.node) || !lift::is_private(to) {
        return cloud::missing(&state.model, cause).or_else(|| lift::route(&state.model, cause));
    }
    let meant = state.target.filter(|_| !cause.answer && state.face.is_none());
    if let Some(meant) = meant {
        state.face = find_face(state, meant, cause.packet.src.ip());
        if let Some(face) = &state.face {
            return Some(Edit::Face(face.address));
        }
        if let Some((edit, address)) = cloud::public_face(&state.model, meant, to) {
            state.face = Some(Face { address, nats: Vec::new() });
            return Some(edit);
        }
    }
    let internet: Vec<NodeId> =
        add::all(&state.model).filter(|n| ways::is_internet(&state.model, *n)).collect();
    lift::routes(&state.model, &internet, to)
}

/// What tells the machine that is meant from another one with its address: how it is known on the internet, else an address
/// of its own.
fn apart(state: &mut State) -> Option<Edit> {
    let meant = state.meant()?;
    let outside = add::all(&state.model).find(|n| ways::is_internet(&state.model, *n));
    let outside = outside
        .and_then(|n| ends::addresses(&state.model, n.index()).into_iter().find(|a| !lift::is_private(*a)));
    if let (Some(outside), None) = (outside, &state.face) {
        state.face = find_face(state, meant, outside);
        if let Some(face) = &state.face {
            return Some(Edit::Face(face.address));
        }
    }
    lift::own_address(&state.model, state.question.from, meant)
}

/// What a machine looks like from outside: it sends a packet there, and where that comes out on the internet, its source is
/// read.
fn find_face(state: &State, from: NodeId, outside: IpAddr) -> Option<Face> {
    let question = Question { from, target: outside.to_string(), protocol: Protocol::Icmp, port: None };
    let probe = Prober::new(&state.model, &[from], state.seed).ask(&question);
    let internet = |node| ways::is_internet(&state.model, node);
    let (address, nats) = find::face(&probe.trace, from, &internet)?;
    Some(Face { address, nats })
}
