//! Lifting one blocker: the smallest change of the lowered model that gets the same packet past the same place.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use rt_base::{DropReason, HookPoint, NodeId, PortId, RouteId};
use rt_rules::{Action, Chain, Construct, Filter, Flow, Match, PortRange, Route};
use rt_scenario::model::{Model, Node};

use super::edit::Edit;
use super::find::{Cause, Packet};
use super::probe::Question;
use super::{add, ways};

/// One host's prefix.
pub(super) fn whole(address: IpAddr) -> Vec<IpNet> {
    vec![IpNet::from(address)]
}

/// The narrowest condition for a packet: its protocol, its ends, and the port that was asked.
fn exactly(packet: &Packet, question: &Question, answer: bool) -> Match {
    let range = |port: u16| (port > 0).then_some(PortRange { first: port, last: port });
    let (sport, dport) = match (question.protocol, answer) {
        _ if packet.protocol != question.protocol.number() => (None, range(packet.dst.port())),
        (_, true) => (range(packet.src.port()), None),
        (_, false) => (None, range(packet.dst.port())),
    };
    Match {
        protocol: Some(packet.protocol),
        src: whole(packet.src.ip()),
        dst: whole(packet.dst.ip()),
        sport,
        dport,
        ..Match::default()
    }
}

/// A line that lets the packet pass the chain that refused it.
pub(super) fn allow(
    cause: &Cause,
    hook: HookPoint,
    question: &Question,
    construct: Option<Construct>,
) -> Edit {
    let mut when = exactly(&cause.packet, question, cause.answer);
    let unknown = whole(IpAddr::from([0, 0, 0, 0]));
    for ends in [&mut when.src, &mut when.dst] {
        if *ends == unknown {
            ends.clear();
        }
    }
    match hook {
        HookPoint::Prerouting => when.in_port = Some(cause.arrived.unwrap_or(cause.port)),
        // The line may be wider than the one way out: nothing says by which the packet would have left.
        HookPoint::Postrouting | HookPoint::Input | HookPoint::Forward | HookPoint::Output => {}
    }
    let rule = Filter { construct, ..Filter::new(when, Action::Accept, add::origin()) };
    let rule = Box::new(rule);
    Edit::Allow { node: cause.node, hook, rule }
}

/// A route to the packet's destination along the shortest way, in the table that was asked.
pub(super) fn route(model: &Model, cause: &Cause) -> Option<Edit> {
    let (node, to) = (cause.node, cause.packet.dst.ip());
    let (out, via, _) = ways::next_hop(model, node, to)?;
    let table = asked_table(&model.nodes[node.index()], cause);
    Some(Edit::Route { node, table, route: Box::new(lead(to, via, out)) })
}

fn lead(to: IpAddr, via: Option<IpAddr>, out: PortId) -> Route {
    add::route(to.into(), via, out)
}

/// A route on the machine that led a packet back to the one that had sent it: there it went as what that one cannot have
/// sent.
pub(super) fn not_back(model: &Model, cause: &Cause) -> Option<Edit> {
    let (node, led) = came_back(cause)?;
    let (out, via, _) = ways::next_hop(model, node, cause.packet.dst.ip())?;
    let route = lead(cause.packet.dst.ip(), via, out);
    Some(Edit::Route { node, table: led.table(), route: Box::new(route) })
}

/// Who led the packet back to the machine that refused it as its own, and by which route.
pub(super) fn came_back(cause: &Cause) -> Option<(NodeId, RouteId)> {
    let was_here = cause.passed.iter().filter(|n| **n == cause.node).count() > 1;
    cause.led.last().copied().filter(|_| cause.reason == DropReason::BadSource && was_here)
}

/// An address of its own for the machine that is meant, of a network that nobody else has, and routes to it on every machine
/// that passes packets on between the asker and it.
pub(super) fn own_address(model: &Model, from: NodeId, meant: NodeId) -> Option<Edit> {
    let nets = [[10, 255], [172, 31], [192, 168]].into_iter();
    let candidates =
        nets.flat_map(|[a, b]| (0..=255_u8).rev().map(move |c| Ipv4Addr::new(a, b, c, 1).into()));
    let IpAddr::V4(address) = add::free(model, candidates)?.addr().into() else { return None };
    let interfaces = &model.nodes[meant.index()].interfaces;
    let port = interfaces.iter().position(|i| !i.addresses.is_empty())?;
    let mut with = model.clone();
    let net = IpNet::V4(Ipv4Net::new_assert(address, 32));
    with.nodes[meant.index()].interfaces[port].addresses.push(net);
    let (mut at, mut routes) = (from, Vec::new());
    while at != meant && routes.len() < model.nodes.len() {
        let (out, via, next) = ways::next_hop(&with, at, address.into())?;
        if at != from {
            routes.push((at, lead(address.into(), via, out)));
        }
        at = next;
    }
    let port = PortId(u16::try_from(port).ok()?);
    Some(Edit::Own { node: meant, port, address: net, routes })
}

/// The packet as policies see it.
fn flow(cause: &Cause) -> Flow {
    let packet = &cause.packet;
    let towards = Flow::towards(packet.src.ip(), packet.dst.ip());
    let (sport, dport) = (packet.src.port(), packet.dst.port());
    Flow { protocol: packet.protocol, sport, dport, in_port: cause.arrived, ..towards }
}

/// The table that was asked: that of the route that decided, or of the first policy for packets that arrive by that interface,
/// else the main one.
pub(super) fn asked_table(node: &Node, cause: &Cause) -> u32 {
    if let Some(rule) = cause.rule {
        return RouteId(rule).table();
    }
    let flow = flow(cause);
    let by = |when: &Match| when.in_port.is_some() && when.holds(&flow);
    node.policies.iter().find(|p| by(&p.when)).map_or(0, |p| p.table)
}

/// Routes that lead every machine of a loop on.
pub(super) fn unloop(model: &Model, cause: &Cause) -> Option<Edit> {
    let mut nodes = cause.passed.clone();
    nodes.sort_unstable();
    nodes.dedup();
    nodes.retain(|node| cause.passed.iter().filter(|n| *n == node).count() > 1);
    routes(model, &nodes, cause.packet.dst.ip())
}

/// Routes to an address on all these machines.
pub(super) fn routes(model: &Model, nodes: &[NodeId], to: IpAddr) -> Option<Edit> {
    let way =
        |node: &NodeId| ways::next_hop(model, *node, to).map(|(out, via, _)| (*node, lead(to, via, out)));
    let routes: Vec<(NodeId, Route)> = nodes.iter().filter_map(way).collect();
    (!routes.is_empty()).then_some(Edit::Routes(routes))
}

/// A port forward at a NAT for what was asked.
pub(super) fn forward(cause: &Cause, question: &Question, to: IpAddr) -> Edit {
    let mut when = exactly(&cause.packet, question, false);
    when.src.clear();
    Edit::Forward { node: cause.node, when: Box::new(when), to }
}

/// A public address for an inside address at an internet gateway, next to those that it has.
pub(super) fn public(model: &Model, gateway: NodeId, inside: IpAddr) -> Option<Edit> {
    let node = &model.nodes[gateway.index()];
    let global = |a: &IpNet| !is_private(a.addr());
    let found = node.interfaces.iter().enumerate().find_map(|(port, interface)| {
        let net = interface.addresses.iter().find(|a| global(a))?;
        let IpNet::V4(net) = net.trunc() else { return None };
        let free =
            net.hosts().skip(199).chain(net.hosts()).find(|h| ways::owners(model, (*h).into()).is_empty())?;
        Some((PortId(u16::try_from(port).ok()?), IpAddr::V4(free)))
    });
    let (out, outside) = found?;
    Some(Edit::Public { node: gateway, inside, outside, out })
}

/// Addresses that mean nothing on the internet: RFC 1918, RFC 6598, link-local, loopback.
pub(super) fn is_private(address: IpAddr) -> bool {
    let IpAddr::V4(v4) = address else { return false };
    let [a, b, ..] = v4.octets();
    v4.is_private() || v4.is_link_local() || v4.is_loopback() || (a == 100 && (64..128).contains(&b))
}

/// The construct that a chain stands for: its policy's, else its first rule's.
pub(super) fn construct(chain: &Chain) -> Option<&Construct> {
    let rules = chain.rules.iter().filter_map(|r| r.construct.as_ref());
    chain.policy.construct.as_ref().or_else(|| rules.into_iter().next())
}
