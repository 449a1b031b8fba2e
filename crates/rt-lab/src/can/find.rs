//! Why a probe was not answered: the first drop of one of its packets, or of a packet sent in answer.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use rt_base::{
    AppRecord, DropReason, Event, FrameId, LinkId, NearMiss, NodeId, Place, PortId, Time, Way, What,
};
use rt_scenario::model::Model;
use rt_trace::Trace;
use rt_wire::{EthernetHeader, Ipv4Header, TcpHeader, UdpHeader};

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
    /// It was an answer.
    pub(super) answer: bool,
    /// It asked a name server.
    pub(super) lookup: bool,
    /// Machines that the packet passed before (a routing loop shows here).
    pub(super) passed: Vec<NodeId>,
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
    let drops = || trace.events.iter().filter(|e| e.at >= probe.begun);
    // Names are looked up first; their packets matter only when nothing else was sent or lost.
    let mut asked = drops().filter_map(|e| of_drop(model, trace, question, e));
    let asked = asked.next();
    let asked = asked.or_else(|| drops().find_map(|e| of_lookup(model, trace, question, e)));
    if let Some(cause) = asked {
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

fn of_drop(model: &Model, trace: &Trace, question: &Question, event: &Event) -> Option<Cause> {
    let cause = dropped(model, trace, question, event)?;
    let about = cause.packet.protocol == question.protocol.number() || cause.packet.protocol == 1;
    let own = question.protocol != Protocol::Udp
        || question.port.is_some_and(|p| p == cause.packet.dst.port() || p == cause.packet.src.port())
        || cause.packet.protocol == 1;
    (about && own).then_some(cause)
}

fn of_lookup(model: &Model, trace: &Trace, question: &Question, event: &Event) -> Option<Cause> {
    let cause = dropped(model, trace, question, event)?;
    let dns = cause.packet.protocol == 17 && [cause.packet.src.port(), cause.packet.dst.port()].contains(&53);
    (dns && question.address().is_none()).then_some(Cause { lookup: true, ..cause })
}

fn dropped(model: &Model, trace: &Trace, question: &Question, event: &Event) -> Option<Cause> {
    let What::Drop { reason, place, port, rule } = event.what else { return None };
    if reason == DropReason::NotForThisStation {
        return None; // flooded by a switch that did not know better
    }
    let node = event.node();
    let packet = seen_by(trace, (event, place), question)?;
    let passed = passed(trace, event.frame);
    let mut there = trace.events_of(event.frame).filter(|e| e.node() == node && e.at == event.at);
    let nearest =
        there.find_map(|e| if let What::NearMiss(miss) = &e.what { Some(miss.clone()) } else { None });
    let here = trace.sightings(event.frame).rev().find(|s| s.node == node && s.way == Way::In);
    Some(Cause {
        node,
        reason,
        place,
        port,
        rule: Some(rule).filter(|r| *r != u32::MAX),
        link: link_at(model, node, port),
        packet,
        arrived: here.map(|s| s.port),
        answer: root(trace, event.frame).node() != question.from,
        lookup: false,
        passed,
        nearest,
    })
}

/// The packet as the table saw it that dropped it: after what NAT did here before.
fn seen_by(trace: &Trace, (event, place): (&Event, Place), question: &Question) -> Option<Packet> {
    let on_wire = last_packet(trace, event, question)?;
    if place == Place::Hook(rt_base::HookPoint::Prerouting) {
        return Some(on_wire);
    }
    let rewritten = trace.events_of(event.frame).filter(|e| e.node() == event.node() && e.at == event.at);
    let last = rewritten.filter_map(|e| if let What::Nat(nat) = &e.what { Some(nat) } else { None }).last();
    Some(last.map_or(on_wire, |nat| Packet { src: nat.src_after, dst: nat.dst_after, ..on_wire }))
}

/// The packet as it was last on a wire before the event; of one that never was, as its socket opened it.
fn last_packet(trace: &Trace, event: &Event, question: &Question) -> Option<Packet> {
    let seen = trace.sightings(event.frame).rev().find(|s| s.at <= event.at);
    seen.and_then(|s| parse(&s.bytes))
        .or_else(|| packet(trace, event.frame))
        .or_else(|| unsent(trace, event, question))
}

/// A packet that was dropped before it left the machine that made it: what was asked, or the mirror of what came last.
fn unsent(trace: &Trace, event: &Event, question: &Question) -> Option<Packet> {
    let filtered = trace.events_of(event.frame).find_map(|e| match &e.what {
        What::NearMiss(miss) => {
            Some(Packet { protocol: miss.protocol, src: miss.src, dst: miss.dst, complains: false })
        }
        _ => None,
    });
    if let Some(packet) = filtered {
        return Some(packet);
    }
    if event.node() == question.from {
        return Some(asked(question));
    }
    let came = trace.frames_at(event.node()).rev().find(|f| f.at <= event.at && f.way == Way::In);
    let came = came.and_then(|f| parse(&f.bytes))?;
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
    parse(&trace.sightings(frame).next()?.bytes)
}

/// The IP packet in a frame: behind VLAN tags and PPPoE too.
fn parse(bytes: &[u8]) -> Option<Packet> {
    let (ethernet, mut rest) = EthernetHeader::parse(bytes).ok()?;
    let mut kind = ethernet.ethertype;
    while kind == 0x8100 || kind == 0x88a8 {
        kind = u16::from_be_bytes([*rest.get(2)?, *rest.get(3)?]);
        rest = rest.get(4..)?;
    }
    if kind == 0x8864 {
        rest = rest.get(8..)?;
        kind = 0x0800;
    }
    if kind != 0x0800 {
        return None;
    }
    let (ip, payload) = Ipv4Header::parse(rest).ok()?;
    let tcp = (ip.protocol == 6).then(|| TcpHeader::parse(payload).ok()).flatten();
    let udp = (ip.protocol == 17).then(|| UdpHeader::parse(payload).ok()).flatten();
    let (sport, dport) = match (&tcp, &udp) {
        (Some((tcp, _)), _) => (tcp.src, tcp.dst),
        (_, Some((udp, _))) => (udp.src, udp.dst),
        _ => (0, 0),
    };
    let complains = ip.protocol == 1 && payload.first().is_some_and(|t| matches!(t, 3 | 11 | 12));
    Some(Packet {
        protocol: ip.protocol,
        src: SocketAddr::new(IpAddr::V4(ip.src), sport),
        dst: SocketAddr::new(IpAddr::V4(ip.dst), dport),
        complains,
    })
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

fn link_at(model: &Model, node: NodeId, port: PortId) -> Option<LinkId> {
    let at = model.links.iter().position(|l| l.a == (node, port) || l.b == (node, port))?;
    u32::try_from(at).ok().map(LinkId)
}

/// Where a packet of `from` to `to` came out on the internet: the source address that it bore there, and for each machine
/// that rewrote it, the source that it had before.
pub(super) fn face(
    trace: &Trace,
    from: NodeId,
    internet: &dyn Fn(NodeId) -> bool,
) -> Option<(IpAddr, Vec<(NodeId, IpAddr)>)> {
    let outside = trace.frames.iter().find(|f| internet(f.node) && root(trace, f.frame).node() == from)?;
    let address = parse(&outside.bytes)?.src.ip();
    let nats = trace.events_of(outside.frame).filter_map(|e| match &e.what {
        What::Nat(nat) if nat.src_before.ip() != nat.src_after.ip() => Some((e.node(), nat.src_before.ip())),
        _ => None,
    });
    Some((address, nats.collect()))
}
