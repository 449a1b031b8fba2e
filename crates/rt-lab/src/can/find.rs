//! Why a probe was not answered: the first drop of one of its packets, or of a packet sent in answer.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use rt_base::{
    AppRecord, DropReason, Event, FrameId, InterfaceKind, LinkId, NearMiss, NodeId, Place, PortId, RouteId,
    Time, Way, What,
};
use rt_scenario::model::{App, Model};
use rt_trace::Trace;

use super::bytes;
use super::lift;
use super::neighbour;
use super::probe::{Probe, Protocol, Question};

/// An IP packet's ends. Ports are 0 where there are none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Packet {
    pub(super) protocol: u8,
    pub(super) src: SocketAddr,
    pub(super) dst: SocketAddr,
    /// An ICMP error.
    pub(super) complains: bool,
}

/// What a packet was for that did not arrive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum About {
    /// What was asked, or its answer.
    Question,
    /// It asked a name server, or answered for one.
    Lookup,
    /// It carries others through a tunnel.
    Tunnel,
}

/// What stood in the way.
#[derive(Clone, Debug)]
pub(super) struct Cause {
    pub(super) node: NodeId,
    pub(super) reason: DropReason,
    pub(super) place: Place,
    pub(super) port: PortId,
    pub(super) rule: Option<u32>,
    pub(super) link: Option<LinkId>,
    /// The packet, as the table that refused it saw it.
    pub(super) packet: Packet,
    /// Interface it arrived by, if it did.
    pub(super) arrived: Option<PortId>,
    /// Interface that it was to leave by, if a route was chosen.
    pub(super) out: Option<PortId>,
    /// It was an answer.
    pub(super) answer: bool,
    /// What it was for.
    pub(super) about: About,
    /// Machines that the packet passed before (a routing loop shows here).
    pub(super) passed: Vec<NodeId>,
    /// The machines before that led it on, in order, and by which of their routes.
    pub(super) led: Vec<(NodeId, RouteId)>,
    /// The rule that came nearest, and what kept it from matching.
    pub(super) nearest: Option<Box<NearMiss>>,
}

/// What came of a probe that failed.
pub(super) enum Found {
    /// A packet ended.
    Drop(Box<Cause>),
    /// None did, and this is what the asker said.
    Said(String),
}

/// Finds the first cause after the probe began.
pub(super) fn cause(model: &Model, probe: &Probe, question: &Question) -> Option<Found> {
    let trace = &probe.trace;
    let drops = || {
        let all = trace.events.iter().filter(|e| e.at >= probe.begun);
        all.filter_map(|e| dropped(model, trace, question, e))
    };
    // Names are looked up first, and tunnels carry what was asked: their packets matter only when nothing else was lost.
    let asks = |packet: &Packet| asks(packet, question);
    let asked = drops().find(|(cause, born)| asks(&cause.packet) || asks(born)).map(|(cause, _)| cause);
    // Who is at the other end of a VXLAN is asked through it: when nobody answers, the tunnel's packets say why.
    let through = asked.as_ref().is_some_and(|cause| {
        let interfaces = &model.nodes[cause.node.index()].interfaces;
        let interface = cause.out.and_then(|port| interfaces.get(port.index()));
        let vxlan = interface.is_some_and(|i| matches!(i.kind, InterfaceKind::Vxlan { .. }));
        vxlan && cause.reason == DropReason::NeighborUnreachable
    });
    let tunnel = || drops().map(|(cause, _)| cause).find(|c| c.about == About::Tunnel);
    let asked = if through { tunnel().or(asked) } else { asked };
    let asked = asked.or_else(|| drops().find_map(|(cause, _)| of_lookup(cause, question)));
    let asked = asked.or_else(tunnel);
    if let Some(cause) = asked {
        let cause = neighbour::or_cable(model, trace, probe.begun, cause);
        return Some(Found::Drop(Box::new(cause)));
    }
    trace.said().find_map(|(event, record)| match record {
        AppRecord::RequestEnd { ok: false, note, .. }
            if event.node() == question.from && event.at >= probe.begun =>
        {
            Some(Found::Said(note.clone()))
        }
        _ => None,
    })
}

/// Whether a packet may be what was asked, its answer, or an ICMP error about either.
fn asks(packet: &Packet, question: &Question) -> bool {
    let ports = [packet.dst.port(), packet.src.port()];
    let own = question.protocol != Protocol::Udp || question.port.is_some_and(|p| ports.contains(&p));
    packet.protocol == 1 || packet.protocol == question.protocol.number() && own
}

fn of_lookup(cause: Cause, question: &Question) -> Option<Cause> {
    let dns = cause.packet.protocol == 17 && [cause.packet.src.port(), cause.packet.dst.port()].contains(&53);
    (dns && question.address().is_none()).then_some(Cause { about: About::Lookup, ..cause })
}

/// Whether a packet carries others through a tunnel, of the stack or of a program.
fn carries(model: &Model, packet: &Packet, question: &Question) -> bool {
    let ports = [packet.src.port(), packet.dst.port()];
    if matches!(packet.protocol, bytes::GRE | bytes::IPIP)
        || question.port.is_some_and(|p| ports.contains(&p))
    {
        return !asks(packet, question);
    }
    let vxlan = |port: u16| packet.protocol == 17 && ports.contains(&port);
    let kinds = model.nodes.iter().flat_map(|n| &n.interfaces).map(|i| i.kind);
    let app = |app: &App| match app {
        App::Wireguard { port, .. } => packet.protocol == 17 && ports.contains(port),
        App::TcpTunnel { port, to, .. } => {
            let to = to.map_or(*port, |to| to.port());
            packet.protocol == 6 && (ports.contains(port) || ports.contains(&to))
        }
        _ => false,
    };
    kinds.into_iter().any(|kind| matches!(kind, InterfaceKind::Vxlan { port, .. } if vxlan(port)))
        || model.nodes.iter().flat_map(|n| &n.apps).any(app)
}

/// A drop, and its packet as it was when it was first seen.
fn dropped(model: &Model, trace: &Trace, question: &Question, event: &Event) -> Option<(Cause, Packet)> {
    let What::Drop { reason, place, port, rule } = event.what else { return None };
    if reason == DropReason::NotForThisStation {
        return None; // flooded by a switch that did not know better
    }
    // What an earlier question left behind: it waited for a neighbour since before this one.
    let mut others = trace.events_of(event.frame).filter(|e| e.id != event.id);
    if reason == DropReason::NeighborUnreachable && others.next().is_none() {
        return None;
    }
    let event = &Event { frame: subject(trace, event), ..event.clone() };
    let node = event.node();
    let here = trace.sightings(event.frame).rev().find(|s| s.node == node && s.way == Way::In);
    let seen = seen_by(model, trace, event, question)?;
    let nearest = there(trace, event)
        .find_map(|e| if let What::NearMiss(miss) = &e.what { Some(miss.clone()) } else { None });
    let routes = trace.events_of(event.frame).filter_map(|e| match e.what {
        What::Route { rule, out, .. } => Some((e.node(), RouteId(rule), out)),
        _ => None,
    });
    let (here_led, before): (Vec<_>, Vec<_>) = routes.partition(|(at, ..)| *at == node);
    let from = root(trace, event.frame);
    let cause = Cause {
        node,
        reason,
        place,
        port,
        rule: Some(rule).filter(|r| *r != u32::MAX),
        link: link_at(model, node, port),
        packet: seen.packet,
        arrived: seen.port.or(here.map(|s| s.port)),
        answer: is_answer(trace, event, question),
        about: if carries(model, &seen.packet, question) { About::Tunnel } else { About::Question },
        passed: passed(trace, event.frame),
        led: before.into_iter().map(|(at, route, _)| (at, route)).collect(),
        out: here_led.last().map(|(.., out)| *out),
        nearest,
    };
    Some((cause, packet(trace, from).unwrap_or(seen.packet)))
}

/// The frame that a drop is about: where the machine lost its question for a neighbour's MAC, the packet that waits for that.
fn subject(trace: &Trace, drop: &Event) -> FrameId {
    let of_ip = trace.sightings(drop.frame).any(|s| bytes::ip(&s.bytes).is_some());
    let on_link = matches!(drop.what, What::Drop { reason: DropReason::LinkDown | DropReason::LinkLoss, .. });
    let routed = |frame| trace.events_of(frame).any(|e| matches!(e.what, What::Route { .. }));
    if of_ip || routed(drop.frame) || !on_link {
        return drop.frame;
    }
    let mut same = trace.events_at(drop.node()).filter(|e| e.because == drop.because);
    same.find(|e| matches!(e.what, What::Route { .. })).map_or(drop.frame, |e| e.frame)
}

/// Whether it was not the asker who sent a packet. Of one that a program took out of a tunnel and that bears no frame's id
/// from before, nobody knows who did: what arrives at the asker is an answer.
fn is_answer(trace: &Trace, event: &Event, question: &Question) -> bool {
    let first = trace.events_of(event.frame).next();
    let unknown =
        first.is_some_and(|e| e.node() == event.node() && matches!(e.what, What::Tun { inward: true, .. }));
    if unknown && trace.sightings(event.frame).next().is_none() {
        return event.node() == question.from;
    }
    root(trace, event.frame).node() != question.from
}

/// What happened to a frame at the machine and the moment of a drop.
fn there<'t>(trace: &'t Trace, drop: &Event) -> impl Iterator<Item = &'t Event> {
    let (node, at) = (drop.node(), drop.at);
    trace.events_of(drop.frame).filter(move |e| e.node() == node && e.at == at)
}

/// A packet as a table of a machine sees it.
struct Seen {
    packet: Packet,
    /// The virtual interface by which it came.
    port: Option<PortId>,
}

/// The packet as the table saw it that dropped it: after what this machine took from it, put around it and rewrote.
fn seen_by(model: &Model, trace: &Trace, drop: &Event, question: &Question) -> Option<Seen> {
    let wire = trace.sightings(drop.frame).rev().find(|s| s.at <= drop.at);
    let mut rest = wire.and_then(|s| bytes::ip(&s.bytes));
    let first = rest.and_then(bytes::packet).or_else(|| packet(trace, drop.frame));
    let packet = first.or_else(|| unsent(trace, drop, question))?;
    let mut seen = Seen { packet, port: None };
    let interfaces = &model.nodes.get(drop.node().index())?.interfaces;
    for event in there(trace, drop).take_while(|e| e.id != drop.id) {
        match &event.what {
            What::Nat(nat) => seen.packet = Packet { src: nat.src_after, dst: nat.dst_after, ..seen.packet },
            What::Unwrapped { port, .. } => {
                seen.port = Some(*port);
                let kind = interfaces.get(port.index()).map_or(InterfaceKind::Ethernet, |i| i.kind);
                if let Some(inner) = rest.and_then(|outer| bytes::inside(kind, outer)) {
                    rest = Some(inner);
                    seen.packet = bytes::packet(inner)?;
                }
            }
            What::Wrapped { port, .. } => {
                let kind = interfaces.get(port.index()).map_or(InterfaceKind::Ethernet, |i| i.kind);
                if let Some(outer) = bytes::around(kind) {
                    seen.packet = outer;
                }
            }
            What::Tun { port, inward: true } => {
                let packet = clear(trace, drop, question)?;
                seen = Seen { packet, port: Some(*port) };
            }
            _ => {}
        }
    }
    Some(seen)
}

/// A packet that a program took out of its tunnel: what the filter saw, what it was before another program took it in, or
/// what was asked.
fn clear(trace: &Trace, drop: &Event, question: &Question) -> Option<Packet> {
    let before = || {
        let tun = trace.events_of(drop.frame).find(|e| matches!(e.what, What::Tun { inward: false, .. }))?;
        let seen = trace.sightings(drop.frame).take_while(|s| s.at <= tun.at).last()?;
        bytes::ip(&seen.bytes).and_then(bytes::packet)
    };
    let told = || {
        let asked = asked(question);
        if is_answer(trace, drop, question) {
            Packet { src: asked.dst, dst: asked.src, ..asked }
        } else {
            asked
        }
    };
    near_miss(trace, drop).or_else(before).or_else(|| Some(told()))
}

fn near_miss(trace: &Trace, drop: &Event) -> Option<Packet> {
    trace.events_of(drop.frame).find_map(|e| match &e.what {
        What::NearMiss(miss) => {
            Some(Packet { protocol: miss.protocol, src: miss.src, dst: miss.dst, complains: false })
        }
        _ => None,
    })
}

/// A packet that was dropped before it left the machine that made it: what was asked, or the mirror of what came last.
fn unsent(trace: &Trace, event: &Event, question: &Question) -> Option<Packet> {
    if let Some(packet) = near_miss(trace, event) {
        return Some(packet);
    }
    if event.node() == question.from {
        return Some(asked(question));
    }
    let came = trace.frames_at(event.node()).rev().find(|f| f.at <= event.at && f.way == Way::In);
    let came = came.and_then(|f| bytes::ip(&f.bytes)).and_then(bytes::packet)?;
    Some(Packet { src: came.dst, dst: came.src, ..came })
}

/// The packet that asks a question, as far as it is known before it is sent.
pub(super) fn asked(question: &Question) -> Packet {
    let nobody = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let (to, port) = (question.address().unwrap_or(nobody), question.port.unwrap_or(0));
    let (src, dst) = (SocketAddr::new(nobody, 0), SocketAddr::new(to, port));
    Packet { protocol: question.protocol.number(), src, dst, complains: false }
}

/// The frame that this one was derived from in the first place (a fragment, what a tunnel carries).
pub(super) fn root(trace: &Trace, frame: FrameId) -> FrameId {
    let mut at = frame;
    for _ in 0..16 {
        match trace.sightings(at).next().map(|s| s.parent) {
            Some(parent) if !parent.is_none() && parent != at => at = parent,
            _ => break,
        }
    }
    at
}

/// A frame's packet as it was first seen.
pub(super) fn packet(trace: &Trace, frame: FrameId) -> Option<Packet> {
    bytes::ip(&trace.sightings(frame).next()?.bytes).and_then(bytes::packet)
}

/// Machines that the first packet of the probe passed, the asking one first.
pub(super) fn path(trace: &Trace, question: &Question, begun: Time) -> Vec<NodeId> {
    let first = trace.events_at(question.from).find(|e| {
        let own = matches!(e.what, What::Transmit { .. }) && e.at >= begun && e.frame.node() == question.from;
        let asks = |p: Packet| {
            p.protocol == question.protocol.number() && question.port.is_none_or(|port| p.dst.port() == port)
        };
        own && packet(trace, e.frame).is_some_and(asks)
    });
    first.map_or_else(Vec::new, |e| passed(trace, e.frame))
}

/// Whether the question came to this machine: a program or the system there took it, or it led it on by its own NAT (a port
/// forward). Through a tunnel that a program carries, the packet that arrives is not the one that was sent; then its port
/// tells it.
pub(super) fn reached(trace: &Trace, question: &Question, begun: Time, node: NodeId) -> bool {
    trace.events_at(node).filter(|e| e.at >= begun).any(|e| match &e.what {
        What::Deliver { protocol, .. } if *protocol == question.protocol.number() => {
            let asks = |p: Packet| !p.complains && question.port.is_none_or(|port| p.dst.port() == port);
            is_own(trace, e, question) || packet(trace, e.frame).is_some_and(asks)
        }
        What::Nat(nat) => nat.dst_before != nat.dst_after && is_own(trace, e, question),
        _ => false,
    })
}

/// The question as it came to the machine that answered it.
pub(super) fn delivered(trace: &Trace, question: &Question, begun: Time, node: NodeId) -> Option<Packet> {
    let mut taken = trace.events_at(node).filter(|e| {
        let delivered =
            matches!(e.what, What::Deliver { protocol, .. } if protocol == question.protocol.number());
        delivered && e.at >= begun && is_own(trace, e, question)
    });
    let taken = taken.next()?;
    let came = trace
        .sightings(taken.frame)
        .rev()
        .find(|s| s.node == node && s.way == Way::In && s.at <= taken.at)?;
    bytes::ip(&came.bytes).and_then(bytes::packet)
}

/// The first machine that took the question.
pub(super) fn taker(trace: &Trace, question: &Question, begun: Time) -> Option<NodeId> {
    let number = question.protocol.number();
    let mut taken = trace.events.iter().filter(|e| {
        let delivered = matches!(e.what, What::Deliver { protocol, .. } if protocol == number);
        delivered && e.at >= begun && is_own(trace, e, question)
    });
    taken.next().map(Event::node)
}

fn is_own(trace: &Trace, event: &Event, question: &Question) -> bool {
    root(trace, event.frame).node() == question.from
}

/// The nodes that saw a frame, in order, each once in a row.
fn passed(trace: &Trace, frame: FrameId) -> Vec<NodeId> {
    let mut nodes: Vec<NodeId> = Vec::new();
    for sighting in trace.sightings(frame) {
        if nodes.last() != Some(&sighting.node) {
            nodes.push(sighting.node);
        }
    }
    nodes
}

/// The cable at a machine's port.
pub(super) fn link_at(model: &Model, node: NodeId, port: PortId) -> Option<LinkId> {
    let at = model.links.iter().position(|l| l.a == (node, port) || l.b == (node, port))?;
    u32::try_from(at).ok().map(LinkId)
}

/// Where a packet of `from` came out on the internet: the public source address that it bore there (behind a carrier's NAT not
/// yet at the first router), and for each machine that rewrote it, the source that it had before.
pub(super) fn face(
    trace: &Trace,
    from: NodeId,
    internet: &dyn Fn(NodeId) -> bool,
) -> Option<(IpAddr, Vec<(NodeId, IpAddr)>)> {
    let mut outside = trace.frames.iter().filter(|f| internet(f.node) && root(trace, f.frame).node() == from);
    let (frame, address) = outside.find_map(|f| {
        let source = bytes::ip(&f.bytes).and_then(bytes::packet)?.src.ip();
        (!lift::is_private(source)).then_some((f.frame, source))
    })?;
    let nats = trace.events_of(frame).filter_map(|e| match &e.what {
        What::Nat(nat) if nat.src_before.ip() != nat.src_after.ip() => Some((e.node(), nat.src_before.ip())),
        _ => None,
    });
    Some((address, nats.collect()))
}
