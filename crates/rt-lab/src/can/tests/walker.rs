//! A slow walker over the model: one packet and its answer, step by step, with every table searched from its beginning.
//! Nothing of `rt-rules`' matching or of the stack is used.

use std::net::IpAddr;

use ipnet::IpNet;
use rt_base::{DropReason, HookPoint, NodeId, PortId};
use rt_rules::{Action, CtState, Match, NatAction, ReversePath, Route, RouteKind};
use rt_scenario::model::{App, Model, Node, NodeKind};

use crate::can::probe::{Protocol, Question};

/// Yes, or where and why it ends.
pub(super) type Walked = Result<(), (NodeId, DropReason)>;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Packet {
    protocol: u8,
    src: (IpAddr, u16),
    dst: (IpAddr, u16),
}

impl Packet {
    fn back(self) -> Packet {
        Packet { src: self.dst, dst: self.src, ..self }
    }
}

/// What a machine remembers of the one flow: how it came, and what its answer looks like.
struct Flow {
    node: usize,
    came: Packet,
    answer: Packet,
}

struct Walker<'m> {
    model: &'m Model,
    flows: Vec<Flow>,
}

/// The asker's own port; nothing matches on it.
const OWN_PORT: u16 = 45_678;

/// Asks.
pub(super) fn walk(model: &Model, question: &Question) -> Walked {
    let to: IpAddr = question.target.parse().unwrap();
    let from = question.from.index();
    let src = source(&model.nodes[from], to).ok_or((question.from, DropReason::NoRoute))?;
    let (sport, dport) = match question.protocol {
        Protocol::Icmp => (8, 0),
        _ => (OWN_PORT, question.port.unwrap()),
    };
    let packet = Packet { protocol: question.protocol.number(), src: (src, sport), dst: (to, dport) };
    let mut walker = Walker { model, flows: Vec::new() };
    let (at, arrived) = walker.travel(from, packet, CtState::New)?;
    listens(&model.nodes[at], question.protocol, arrived.dst.1)
        .then_some(())
        .ok_or((NodeId(at as u32), DropReason::NoSocket))?;
    let echoes = model.nodes[at].apps.iter().any(|a| matches!(a, App::Echo { port: 7 }));
    if question.protocol == Protocol::Udp && !echoes {
        return Ok(());
    }
    let answered = walker.travel(at, arrived.back(), CtState::Established);
    // A datagram that was taken has arrived, whatever becomes of what is said to it.
    if question.protocol == Protocol::Udp {
        return Ok(());
    }
    let (home, answer) = answered?;
    let fits = home == from && answer.src.0 == to;
    fits.then_some(()).ok_or((NodeId(home as u32), DropReason::TcpUnacceptable))
}

fn listens(node: &Node, protocol: Protocol, port: u16) -> bool {
    let tcp = |a: &App| match a {
        App::HttpServer { port: p, .. } | App::Echo { port: p } => *p == port,
        _ => false,
    };
    match protocol {
        Protocol::Icmp => true,
        Protocol::Tcp => node.apps.iter().any(tcp),
        Protocol::Udp => node.apps.iter().any(|a| matches!(a, App::Echo { port: p } if *p == port)),
    }
}

/// The address of the interface that a host sends by.
fn source(node: &Node, to: IpAddr) -> Option<IpAddr> {
    let (out, _) = best_route(&node.routes, to)?.ok()?;
    node.interfaces[out].addresses.first().map(IpNet::addr)
}

type Way = Result<(usize, IpAddr), DropReason>;

/// The first policy that matches and whose table has a route, then the main table.
fn way(node: &Node, packet: Packet, came: Option<usize>) -> Option<Way> {
    let mut chosen = node.policies.iter().filter(|p| matches(&p.when, packet, CtState::New, (came, None)));
    let found = chosen.find_map(|p| match p.table {
        0 => best_route(&node.routes, packet.dst.0),
        n => best_route(&node.tables[n as usize - 1].routes, packet.dst.0),
    });
    found.or_else(|| best_route(&node.routes, packet.dst.0))
}

/// The reverse-path check: whether the way to the source is by the interface (strict) or there is one (loose).
fn believes(node: &Node, source: IpAddr, port: usize) -> bool {
    let Some(check) = &node.interfaces[port].reverse_path else { return true };
    let nobody = (IpAddr::from([0, 0, 0, 0]), 0);
    let back = way(node, Packet { protocol: 0, src: nobody, dst: (source, 0) }, None);
    match (check.mode, back) {
        (ReversePath::Off, _) => true,
        (ReversePath::Strict, Some(Ok((out, _)))) => out == port,
        (ReversePath::Loose, Some(Ok(_))) => true,
        _ => false,
    }
}

/// The longest prefix, then the lowest metric, then the first: the way out and the next hop.
fn best_route(routes: &[Route], to: IpAddr) -> Option<Way> {
    let mut best: Option<&Route> = None;
    for route in routes.iter().filter(|r| r.prefix.contains(&to)) {
        let better = best
            .is_none_or(|b| (route.prefix.prefix_len(), b.metric) > (b.prefix.prefix_len(), route.metric));
        if better {
            best = Some(route);
        }
    }
    best.map(|r| match r.kind {
        RouteKind::Unicast => Ok((r.out.index(), r.via.unwrap_or(to))),
        RouteKind::Blackhole => Err(DropReason::Blackhole),
        RouteKind::Unreachable => Err(DropReason::RouteUnreachable),
    })
}

fn has(node: &Node, address: IpAddr) -> bool {
    node.interfaces.iter().flat_map(|i| &i.addresses).any(|a| a.addr() == address)
}

fn matches(when: &Match, packet: Packet, state: CtState, ports: (Option<usize>, Option<usize>)) -> bool {
    let inside = |nets: &[IpNet], a: IpAddr| nets.is_empty() || nets.iter().any(|n| n.contains(&a));
    let port = |wanted: Option<PortId>, is: Option<usize>| wanted.is_none_or(|p| is == Some(p.index()));
    let range =
        |wanted: Option<rt_rules::PortRange>, is: u16| wanted.is_none_or(|r| r.first <= is && is <= r.last);
    when.protocol.is_none_or(|p| p == packet.protocol)
        && inside(&when.src, packet.src.0)
        && inside(&when.dst, packet.dst.0)
        && range(when.sport, packet.src.1)
        && range(when.dport, packet.dst.1)
        && port(when.in_port, ports.0)
        && port(when.out_port, ports.1)
        && (when.states.is_empty() || when.states.contains(&state))
}

impl Walker<'_> {
    /// From `from` to where the packet is delivered: that machine, and the packet as its socket sees it.
    fn travel(
        &mut self,
        from: usize,
        packet: Packet,
        state: CtState,
    ) -> Result<(usize, Packet), (NodeId, DropReason)> {
        let (mut at, mut packet, mut came): (usize, Packet, Option<usize>) = (from, packet, None);
        let mut ttl = self.model.nodes[from].stack.ttl;
        loop {
            let node = &self.model.nodes[at];
            let stop = |reason| (NodeId(at as u32), reason);
            if came.is_some() && has(node, packet.src.0) {
                return Err(stop(DropReason::BadSource));
            }
            if came.is_some_and(|port| !believes(node, packet.src.0, port)) {
                return Err(stop(DropReason::ReversePath));
            }
            if came.is_some() {
                self.judge(at, HookPoint::Prerouting, (packet, state), (came, None))?;
            }
            let tracked =
                !node.chains.iter().all(|c| matches!(c.hook, HookPoint::Prerouting | HookPoint::Postrouting))
                    || !node.nat.is_empty();
            let known = self.known(at, packet);
            let here = match known {
                Known::Answer => CtState::Established,
                Known::New if state == CtState::Established && packet.protocol != 17 => CtState::Invalid,
                Known::New | Known::Again => CtState::New,
            };
            let seen = self.enter(at, packet, (came, known, here));
            let original = packet;
            packet = seen;
            if has(node, packet.dst.0) {
                if came.is_none() {
                    return Err(stop(DropReason::RunEnded)); // to itself: not asked in these tests
                }
                self.judge(at, HookPoint::Input, (packet, here), (came, None))?;
                self.remember(at, (original, packet), (known, tracked, here));
                return Ok((at, packet));
            }
            if came.is_some() && node.kind == NodeKind::Host {
                return Err(stop(DropReason::NotARouter));
            }
            let (out, next) = match way(node, packet, came) {
                Some(Ok(way)) => way,
                Some(Err(reason)) => return Err(stop(reason)),
                None => return Err(stop(DropReason::NoRoute)),
            };
            if came.is_some() {
                if ttl <= 1 {
                    return Err(stop(DropReason::TtlExceeded));
                }
                ttl -= 1;
            }
            let hook = if came.is_some() { HookPoint::Forward } else { HookPoint::Output };
            self.judge(at, hook, (packet, here), (came, Some(out)))?;
            packet = self.leave(at, (original, packet), (out, known, here, came.is_some())).map_err(stop)?;
            self.remember(at, (original, packet), (known, tracked, here));
            self.judge(at, HookPoint::Postrouting, (packet, here), (came, Some(out)))?;
            let (there, port) = self.neighbour(at, out, next).ok_or(stop(DropReason::NeighborUnreachable))?;
            (at, came) = (there, Some(port));
        }
    }

    fn judge(
        &self,
        at: usize,
        hook: HookPoint,
        (packet, state): (Packet, CtState),
        ports: (Option<usize>, Option<usize>),
    ) -> Walked {
        let Some(chain) = self.model.nodes[at].chains.iter().find(|c| c.hook == hook) else { return Ok(()) };
        let rule = chain
            .rules
            .iter()
            .find(|r| r.action != Action::Continue && matches(&r.when, packet, state, ports));
        match rule.map_or(chain.policy.action, |r| r.action) {
            Action::Accept | Action::Continue => Ok(()),
            Action::Drop => Err((NodeId(at as u32), DropReason::Filtered)),
            Action::Reject(_) => Err((NodeId(at as u32), DropReason::Rejected)),
        }
    }

    /// Connection tracking.
    fn known(&self, at: usize, packet: Packet) -> Known {
        let mut here = self.flows.iter().filter(|f| f.node == at);
        match here.clone().any(|f| f.answer == packet) {
            true => Known::Answer,
            false if here.any(|f| f.came == packet) => Known::Again,
            false => Known::New,
        }
    }

    /// Destination NAT.
    fn enter(
        &self,
        at: usize,
        packet: Packet,
        (came, known, state): (Option<usize>, Known, CtState),
    ) -> Packet {
        let mut here = self.flows.iter().filter(|f| f.node == at);
        match known {
            Known::Answer => {
                let flow = here.find(|f| f.answer == packet).unwrap();
                return Packet { dst: flow.came.src, ..packet };
            }
            Known::Again => {
                let flow = here.find(|f| f.came == packet).unwrap();
                return Packet { dst: flow.answer.src, ..packet };
            }
            Known::New => {}
        }
        for rule in self.model.nodes[at].nat.iter().filter(|_| came.is_some()) {
            match &rule.action {
                NatAction::Dnat { to, port }
                    if state != CtState::Invalid
                        && matches(&rule.when, packet, CtState::New, (came, None)) =>
                {
                    return Packet { dst: (*to, port.unwrap_or(packet.dst.1)), ..packet };
                }
                // Both ways: as if the inside had sent the answer.
                NatAction::Static { inside, outside } if packet.dst.0 == *outside => {
                    let answer = Packet { src: (*inside, packet.dst.1), ..packet.back() };
                    if matches(&rule.when, answer, state, (None, came)) {
                        return Packet { dst: (*inside, packet.dst.1), ..packet };
                    }
                }
                _ => {}
            }
        }
        packet
    }

    /// Source NAT.
    fn leave(
        &self,
        at: usize,
        (original, packet): (Packet, Packet),
        (out, known, state, arrived): (usize, Known, CtState, bool),
    ) -> Result<Packet, DropReason> {
        let node = &self.model.nodes[at];
        let mut here = self.flows.iter().filter(|f| f.node == at);
        match known {
            Known::Answer => {
                let flow = here.find(|f| f.answer == original).unwrap();
                return Ok(Packet { src: flow.came.dst, ..packet });
            }
            Known::Again => {
                let flow = here.find(|f| f.came == original).unwrap();
                return Ok(Packet { src: flow.answer.dst, ..packet });
            }
            Known::New => {}
        }
        if node.nat.is_empty() || state == CtState::Invalid && !arrived {
            return Ok(packet);
        }
        for rule in &node.nat {
            match &rule.action {
                NatAction::Masquerade { .. }
                    if state != CtState::Invalid && matches(&rule.when, packet, state, (None, Some(out))) =>
                {
                    let own = node.interfaces[out].addresses[0].addr();
                    return Ok(Packet { src: (own, packet.src.1), ..packet });
                }
                NatAction::Static { inside, outside }
                    if packet.src.0 == *inside && matches(&rule.when, packet, state, (None, Some(out))) =>
                {
                    return Ok(Packet { src: (*outside, packet.src.1), ..packet });
                }
                _ => {}
            }
        }
        let of_static =
            |a: &NatAction| matches!(a, NatAction::Static { inside, .. } if *inside == packet.dst.0);
        if state == CtState::Invalid && !node.nat.iter().any(|rule| of_static(&rule.action)) {
            return Err(DropReason::ConntrackInvalid);
        }
        Ok(packet)
    }

    fn remember(
        &mut self,
        node: usize,
        (came, left): (Packet, Packet),
        (known, tracked, state): (Known, bool, CtState),
    ) {
        if known == Known::New && tracked && state != CtState::Invalid {
            self.flows.push(Flow { node, came, answer: left.back() });
        }
    }

    /// Who has `next` at the other end of the link.
    fn neighbour(&self, at: usize, out: usize, next: IpAddr) -> Option<(usize, usize)> {
        let end = (NodeId(at as u32), PortId(out as u16));
        let other = self.model.links.iter().find_map(|l| match () {
            () if l.a == end => Some(l.b),
            () if l.b == end => Some(l.a),
            () => None,
        })?;
        let (node, port) = (other.0.index(), other.1.index());
        let interface = &self.model.nodes[node].interfaces[port];
        interface.addresses.iter().any(|a| a.addr() == next).then_some((node, port))
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Known {
    New,
    /// The first direction of a flow that was seen here before.
    Again,
    Answer,
}
