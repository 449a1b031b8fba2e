//! Lifting one blocker: the smallest change of the lowered model that gets the same packet past the same place.

use std::net::IpAddr;

use ipnet::IpNet;
use rt_base::{DropReason, NodeId, Place, PortId};
use rt_rules::{Action, Filter, Match, NatAction, NatRule, Origin, PortRange, Route, RouteKind};
use rt_scenario::model::{App, Change, Model, Node, NodeKind, Pages, Verb};

use super::find::Cause;

/// Changes `model`; returns what was changed in words, or `None` when nothing helps.
pub(super) fn lift(model: &mut Model, cause: &Cause, verb: &Verb) -> Option<String> {
    match cause.reason {
        DropReason::Filtered | DropReason::Rejected => lift_filter(model, cause),
        DropReason::NoRoute | DropReason::RouteUnreachable | DropReason::Blackhole => {
            lift_route(model, cause.node, cause.destination?)
        }
        DropReason::ReversePath => {
            let node = &mut model.nodes[cause.node.index()];
            let interface = node.interfaces.get_mut(cause.port.index())?;
            interface.reverse_path = None;
            Some(format!("{} believes every source on {}", node.name, interface.name))
        }
        DropReason::TtlExceeded => lift_loop(model, cause),
        DropReason::NotARouter => {
            let node = &mut model.nodes[cause.node.index()];
            node.kind = NodeKind::Router;
            Some(format!("{} forwards packets", node.name))
        }
        DropReason::LinkDown => {
            let link = cause.link?.index();
            model.timeline.retain(|h| h.change != Change::Cut { link });
            Some(format!("the link at {} is not cut", model.nodes[cause.node.index()].name))
        }
        DropReason::LinkLoss => {
            let link = &mut model.links[cause.link?.index()];
            (link.ab.loss_ppm, link.ba.loss_ppm) = (0, 0);
            (link.ab.loss_every, link.ba.loss_every) = (0, 0);
            Some("the link loses nothing".into())
        }
        DropReason::NoSocket => lift_closed_port(model, cause.node, verb),
        DropReason::NatNoMapping => lift_mapping(model, cause, verb),
        _ => None,
    }
}

fn lift_filter(model: &mut Model, cause: &Cause) -> Option<String> {
    let Place::Hook(hook) = cause.place else { return None };
    let node = &mut model.nodes[cause.node.index()];
    let name = node.name.clone();
    let chain = node.chains.iter_mut().find(|c| c.hook == hook)?;
    match cause.rule {
        Some(rule) => {
            let rule = chain.rules.get_mut(rule as usize)?;
            rule.action = Action::Accept;
            Some(format!("that rule of {name} allows instead"))
        }
        None => {
            chain.policy.action = Action::Accept;
            Some(format!("{name} allows what no rule names"))
        }
    }
}

/// Adds routes to `to` along the shortest path, if there is one: here, and at every further router that has none.
fn lift_route(model: &mut Model, at: NodeId, to: IpAddr) -> Option<String> {
    let mut changed: Vec<String> = Vec::new();
    let mut here = at;
    for _ in 0..model.nodes.len() {
        let Some((out, via)) = next_hop(model, here, to) else { break };
        let node = &mut model.nodes[here.index()];
        let known = node.routes.iter().any(|r| r.prefix.contains(&to) && r.kind == RouteKind::Unicast);
        if here == at || !known {
            add_route(node, (to, out, via));
            changed.push(node.name.clone());
        }
        let next = via.and_then(|via| model.nodes.iter().position(|n| bears(n, via)));
        match next.and_then(|n| u32::try_from(n).ok()) {
            Some(next) if model.nodes[next as usize].tables.is_empty() => here = NodeId(next),
            _ => break,
        }
    }
    match changed.split_last()? {
        (only, []) => Some(format!("{only} has a route to {to}{}", via_text(model, at, to))),
        (last, others) => Some(format!("{} and {last} have a route to {to}", others.join(", "))),
    }
}

fn via_text(model: &Model, at: NodeId, to: IpAddr) -> String {
    next_hop(model, at, to).and_then(|(_, via)| via).map_or_else(String::new, |via| format!(" via {via}"))
}

fn add_route(node: &mut Node, (to, out, via): (IpAddr, PortId, Option<IpAddr>)) {
    let prefix = IpNet::from(to);
    let (kind, origin) = (RouteKind::Unicast, Origin::Resource { address: "can".into() });
    let route = Route { prefix, via, out, kind, metric: 0, source: None, origin };
    // Whichever table the packet is asked in.
    for routes in node.tables.iter_mut().map(|t| &mut t.routes).chain([&mut node.routes]) {
        routes.retain(|r| r.prefix != prefix);
        routes.push(route.clone());
    }
}

fn bears(node: &Node, address: IpAddr) -> bool {
    node.interfaces.iter().any(|i| i.addresses.iter().any(|a| a.addr() == address))
}

/// Opens a port of a NAT to the one machine behind it that listens there.
fn lift_mapping(model: &mut Model, cause: &Cause, verb: &Verb) -> Option<String> {
    let Verb::Probe { port, .. } = *verb else { return None };
    let nat = &model.nodes[cause.node.index()];
    let inside: Vec<IpNet> = nat.nat.iter().flat_map(|r| r.when.src.iter().copied()).collect();
    let behind = |n: &&Node| {
        let listens = n.apps.iter().any(|a| matches!(a, App::HttpServer { port: p, .. } if *p == port));
        let mut own = n.interfaces.iter().flat_map(|i| &i.addresses);
        listens && own.any(|a| inside.iter().any(|net| net.contains(&a.addr())))
    };
    let mut found = model.nodes.iter().filter(behind);
    let (Some(only), None) = (found.next(), found.next()) else { return None };
    let to = only
        .interfaces
        .iter()
        .flat_map(|i| &i.addresses)
        .map(|a| a.addr())
        .find(|a| inside.iter().any(|net| net.contains(a)))?;
    let words = format!("{} forwards port {port} to {}", nat.name, only.name);
    let dport = Some(PortRange { first: port, last: port });
    let when = Match { protocol: Some(6), dport, ..Match::default() };
    let origin = Origin::Resource { address: "can".into() };
    let passes = Filter::new(Match { dst: vec![to.into()], ..when.clone() }, Action::Accept, origin.clone());
    let node = &mut model.nodes[cause.node.index()];
    node.nat.insert(0, NatRule::new(when, NatAction::Dnat { to, port: None }, origin));
    for chain in node.chains.iter_mut().filter(|c| c.hook == rt_base::HookPoint::Forward) {
        chain.rules.insert(0, passes.clone());
    }
    Some(words)
}

/// Gives every machine of the loop a route that leads on.
fn lift_loop(model: &mut Model, cause: &Cause) -> Option<String> {
    let to = cause.destination?;
    let mut nodes = cause.passed.clone();
    nodes.sort_unstable();
    nodes.dedup();
    let mut changed = Vec::new();
    for node in nodes {
        let looping = cause.passed.iter().filter(|n| **n == node).count() > 1;
        if looping && lift_route(model, node, to).is_some() {
            changed.push(model.nodes[node.index()].name.clone());
        }
    }
    (!changed.is_empty())
        .then(|| format!("{} have routes to {to} along the shortest path", changed.join(" and ")))
}

fn lift_closed_port(model: &mut Model, at: NodeId, verb: &Verb) -> Option<String> {
    let Verb::Probe { port, .. } = *verb else { return None };
    let node = &mut model.nodes[at.index()];
    node.apps.push(App::HttpServer {
        port,
        certificate: None,
        http2: false,
        pages: Pages::BuiltIn("hello".into()),
        think: rt_base::Nanos::ZERO,
        silent: false,
        idle_unused: None,
        idle: None,
    });
    Some(format!("something listens on port {port} of {}", node.name))
}

/// The first hop of the path with the fewest hops from `at` to a machine that has `to`: the way out and the next
/// router's address on that link (`None` when the target itself is on it).
fn next_hop(model: &Model, at: NodeId, to: IpAddr) -> Option<(PortId, Option<IpAddr>)> {
    let mut came: Vec<Option<(NodeId, PortId)>> = vec![None; model.nodes.len()];
    let mut queue = std::collections::VecDeque::from([at]);
    let mut target = None;
    while let Some(node) = queue.pop_front() {
        let has =
            model.nodes[node.index()].interfaces.iter().any(|i| i.addresses.iter().any(|a| a.addr() == to));
        if has && node != at {
            target = Some(node);
            break;
        }
        // A host with two legs is no way.
        if node != at && model.nodes[node.index()].kind == NodeKind::Host {
            continue;
        }
        for (port, next) in links_of(model, node) {
            if next != at && came[next.index()].is_none() {
                came[next.index()] = Some((node, port));
                queue.push_back(next);
            }
        }
    }
    let mut hops = vec![target?];
    let mut out = PortId(0);
    while let Some((before, port)) = came[hops.last()?.index()] {
        out = port;
        if before == at {
            break;
        }
        hops.push(before);
    }
    let routers = hops.iter().rev().find(|n| model.nodes[n.index()].kind != NodeKind::Switch)?;
    let net = model.nodes[at.index()].interfaces.get(out.index())?.addresses.first()?.trunc();
    let via = model.nodes[routers.index()]
        .interfaces
        .iter()
        .flat_map(|i| &i.addresses)
        .map(ipnet::IpNet::addr)
        .find(|a| net.contains(a));
    if via == Some(to) { Some((out, None)) } else { via.map(|v| (out, Some(v))) }
}

fn links_of(model: &Model, node: NodeId) -> Vec<(PortId, NodeId)> {
    let mut found = Vec::new();
    for link in &model.links {
        if link.a.0 == node {
            found.push((link.a.1, link.b.0));
        }
        if link.b.0 == node {
            found.push((link.b.1, link.a.0));
        }
    }
    found
}
