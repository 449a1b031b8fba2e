//! Model to the facts that the story needs: names, places, and the text and origin of every rule.

use ipnet::IpNet;
use rt_apps::{tcp_tunnel, wireguard};
use rt_base::{NodeId, PortId};
use rt_rules::{Chain, ConntrackOptions, Filter, Origin, Route, RouteKind};
use rt_scenario::model::{App, Direction, Link, Model, Node, NodeKind};
use rt_scenario::views;
use rt_trace::{
    ChainFacts, DirectionFacts, InterfaceFacts, LimitFacts, LinkFacts, NodeClass, NodeFacts, ProgramFacts,
    RuleFacts, StepFacts, TableFacts, TraceMap,
};

/// The facts of a whole model for a run with this seed.
#[must_use]
pub(crate) fn facts(model: &Model, seed: u64) -> TraceMap {
    TraceMap {
        scenario: model.name.clone(),
        about: model.about.clone(),
        file: model.file.clone(),
        seed,
        epoch: model.epoch,
        nodes: model.nodes.iter().map(of_node).collect(),
        links: model.links.iter().map(link).collect(),
        steps: model
            .steps
            .iter()
            .map(|s| StepFacts { node: s.node, text: s.text.clone(), origin: s.origin.to_string() })
            .collect(),
    }
}

/// The facts of one machine.
pub(crate) fn of_node(node: &Node) -> NodeFacts {
    NodeFacts {
        name: node.name.clone(),
        class: match node.kind {
            NodeKind::Host => NodeClass::Host,
            NodeKind::Router => NodeClass::Router,
            NodeKind::Switch => NodeClass::Switch,
        },
        role: node.role.clone(),
        place: node.place.clone(),
        processing: node.processing,
        interfaces: node
            .interfaces
            .iter()
            .zip(0..)
            .map(|(i, port)| InterfaceFacts {
                name: i.name.clone(),
                mac: i.mac,
                addresses: i.addresses.iter().map(|a| (a.addr(), a.prefix_len())).collect(),
                mtu: i.mtu,
                reverse_path: i.reverse_path.as_ref().map(|check| {
                    fact(
                        format!("reverse-path {} on {}", views::reverse_path_word(check), i.name),
                        &check.origin,
                    )
                }),
                kind: i.kind,
                program: program(node, PortId(port)),
            })
            .collect(),
        routes: node.routes.iter().map(|r| fact(route_text(node, r), &r.origin)).collect(),
        tables: node
            .tables
            .iter()
            .map(|t| TableFacts {
                name: t.name.clone(),
                routes: t.routes.iter().map(|r| fact(route_text(node, r), &r.origin)).collect(),
            })
            .collect(),
        policies: node.policies.iter().map(|p| fact(views::policy_route_line(node, p), &p.origin)).collect(),
        clamps: node.clamps.iter().map(|c| fact(views::clamp_line(node, c), &c.origin)).collect(),
        ossified: node.ossified.iter().map(|o| fact(views::middlebox_line(node, o), &o.origin)).collect(),
        chains: node.chains.iter().map(|c| chain(node, c)).collect(),
        nat: node.nat.iter().map(|n| fact(views::nat_line(node, n), &n.origin)).collect(),
        limits: limits(node),
    }
}

/// How many flows it remembers: as the file says it, or as it is by default.
fn limits(node: &Node) -> LimitFacts {
    let ConntrackOptions { max, per_source, .. } = node.stack.conntrack;
    let limit = |key: &str, most: u32, origin: &Option<Origin>| RuleFacts {
        text: format!("conntrack: {{ {key}: {most} }}"),
        origin: match origin {
            Some(origin) => origin.to_string(),
            None => format!("{} (by default: a connection table holds {most} flows)", node.origin),
        },
        explanation: None,
    };
    LimitFacts {
        max: Some(limit("max", max, &node.limits.max)),
        per_source: per_source.map(|most| limit("per-source", most, &node.limits.per_source)),
    }
}

/// The program that carries a tun interface's packets.
fn program(node: &Node, port: PortId) -> Option<ProgramFacts> {
    node.apps.iter().find_map(|app| match app {
        App::Wireguard { on, .. } if *on == port => Some(ProgramFacts {
            say: "WireGuard".into(),
            overhead: wireguard::OVERHEAD as u16,
            stream: false,
        }),
        App::TcpTunnel { on, .. } if *on == port => {
            Some(ProgramFacts { say: "TCP tunnel".into(), overhead: tcp_tunnel::HEADER as u16, stream: true })
        }
        _ => None,
    })
}

fn fact(text: String, origin: &rt_rules::Origin) -> RuleFacts {
    RuleFacts { text, origin: origin.to_string(), explanation: None }
}

fn chain(node: &Node, chain: &Chain) -> ChainFacts {
    let explained = |rule: Option<u32>, fact: RuleFacts| RuleFacts {
        explanation: chain.explanation(rule).map(str::to_owned),
        ..fact
    };
    let rule = |(index, rule): (u32, &Filter)| {
        explained(Some(index), fact(views::filter_line(node, rule), &rule.origin))
    };
    ChainFacts {
        hook: chain.hook,
        rules: (0..).zip(&chain.rules).map(rule).collect(),
        policy: explained(None, fact(views::policy_line(chain), &chain.policy.origin)),
    }
}

fn link(link: &Link) -> LinkFacts {
    LinkFacts {
        a: link.a,
        b: link.b,
        ab: direction(&link.ab),
        ba: direction(&link.ba),
        mtu: link.mtu,
        origin: link.origin.to_string(),
    }
}

fn direction(d: &Direction) -> DirectionFacts {
    DirectionFacts { rate_bps: d.rate_bps, delay: d.delay, loss_ppm: d.loss_ppm }
}

pub(crate) fn port_name(node: &Node, port: rt_base::PortId) -> &str {
    node.interfaces.get(port.index()).map_or("?", |i| i.name.as_str())
}

/// A route as `ip route` writes it.
pub(crate) fn route_text(node: &Node, route: &Route) -> String {
    let prefix = prefix_text(route.prefix);
    let out = port_name(node, route.out);
    match (route.kind, route.via) {
        (RouteKind::Blackhole, _) => format!("blackhole {prefix}"),
        (RouteKind::Unreachable, _) => format!("unreachable {prefix}"),
        (RouteKind::Unicast, Some(via)) => format!("{prefix} via {via} dev {out}"),
        (RouteKind::Unicast, None) => format!("{prefix} dev {out}"),
    }
}

fn prefix_text(prefix: IpNet) -> String {
    if prefix.prefix_len() == 0 { "default".into() } else { prefix.to_string() }
}

/// The node with this name; the part after the site is enough when it is unique.
#[must_use]
pub(crate) fn node_named(model: &Model, name: &str) -> Option<NodeId> {
    let id = |i: usize| u32::try_from(i).ok().map(NodeId);
    if let Some(i) = model.nodes.iter().position(|n| n.name == name) {
        return id(i);
    }
    let is_short = |n: &Node| n.name.rsplit_once('.').is_some_and(|(_, short)| short == name);
    let mut found = model.nodes.iter().enumerate().filter(|(_, n)| is_short(n)).map(|(i, _)| i);
    match (found.next(), found.next()) {
        (Some(i), None) => id(i),
        _ => None,
    }
}
