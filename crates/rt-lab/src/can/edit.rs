//! Changes of the lowered model, as data, so that they can be tried in any combination, and in the words of the file.

use std::net::IpAddr;

use ipnet::IpNet;
use rt_base::{HookPoint, LinkId, NodeId, PortId};
use rt_rules::{Action, Chain, Construct, Filter, Match, NatAction, NatRule, Route};
use rt_scenario::model::{App, Change, Model, Node, NodeKind, Pages};
use rt_scenario::views;

use super::cloud::{Gateway, INTERNET_GATEWAY, NAT_GATEWAY, Peering};
use super::lift::whole;
use super::probe::{Protocol, Question};
use super::{add, ways};

/// One change.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Edit {
    /// A line before all others of a chain.
    Allow { node: NodeId, hook: HookPoint, rule: Box<Filter> },
    /// A route, in the table with this number.
    Route { node: NodeId, table: u32, route: Box<Route> },
    /// Several of them.
    Routes(Vec<(NodeId, Route)>),
    /// A port forward: what comes for the external end goes in.
    Forward { node: NodeId, when: Box<Match>, to: IpAddr },
    /// The machine forwards.
    Forwarding(NodeId),
    /// The instance forwards, without the source/destination check of its cloud.
    Unchecked(NodeId),
    /// The link is never cut.
    Uncut(LinkId),
    /// The link loses nothing.
    Lossless(LinkId),
    /// The interface does not look where answers would go.
    AnySource(NodeId, PortId),
    /// Something listens.
    Listen { node: NodeId, protocol: Protocol, port: u16 },
    /// The public address that stands for the target is asked instead.
    Face(IpAddr),
    /// An inside address gets a public one at a gateway, on this interface.
    Public { node: NodeId, inside: IpAddr, outside: IpAddr, out: PortId },
    /// A machine gets one more address, which nobody else has and which is asked instead, and others lead to it.
    Own { node: NodeId, port: PortId, address: IpNet, routes: Vec<(NodeId, Route)> },
    /// A VPC gets an internet gateway.
    Gateway(Box<Gateway>),
    /// Two VPCs are joined.
    Peering(Box<Peering>),
    /// Several changes that are nothing without each other.
    All(Vec<Edit>),
}

impl Edit {
    /// Makes the change.
    pub(super) fn apply(&self, model: &mut Model, question: &mut Question) {
        match self {
            Edit::Allow { node, hook, rule } => allow_in(&mut model.nodes[node.index()], *hook, rule),
            Edit::Route { node, table, route } => put_route(&mut model.nodes[node.index()], *table, route),
            Edit::Routes(routes) => {
                for (node, route) in routes {
                    put_route(&mut model.nodes[node.index()], 0, route);
                }
            }
            Edit::Forward { node, when, to } => open_port(&mut model.nodes[node.index()], when, *to),
            Edit::Forwarding(node) => model.nodes[node.index()].kind = NodeKind::Router,
            Edit::Unchecked(node) => uncheck(&mut model.nodes[node.index()]),
            Edit::Uncut(link) => {
                model.timeline.retain(|h| h.change != Change::Cut { link: link.index() });
            }
            Edit::Lossless(link) => lose_nothing(model, link.index()),
            Edit::AnySource(node, port) => {
                if let Some(interface) = model.nodes[node.index()].interfaces.get_mut(port.index()) {
                    interface.reverse_path = None;
                }
            }
            Edit::Listen { node, protocol, port } => {
                model.nodes[node.index()].apps.push(listener(*protocol, *port));
            }
            Edit::Face(address) => question.target = address.to_string(),
            Edit::Public { node, inside, outside, out } => {
                go_public(&mut model.nodes[node.index()], (*inside, *outside), *out);
            }
            Edit::Own { node, port, address, routes } => {
                model.nodes[node.index()].interfaces[port.index()].addresses.push(*address);
                routes.iter().for_each(|(node, route)| put_route(&mut model.nodes[node.index()], 0, route));
                question.target = address.addr().to_string();
            }
            Edit::Gateway(gateway) => gateway.apply(model),
            Edit::Peering(peering) => peering.apply(model),
            Edit::All(edits) => edits.iter().for_each(|edit| edit.apply(model, question)),
        }
    }

    /// Adds the machines and cables of the change and nothing that makes use of them: later changes may name them.
    pub(super) fn brace(&self, model: &mut Model) {
        match self {
            Edit::Gateway(gateway) => drop(gateway.brace(model)),
            Edit::Peering(peering) => drop(peering.brace(model)),
            Edit::All(edits) => edits.iter().for_each(|edit| edit.brace(model)),
            _ => {}
        }
    }

    /// What was changed, in words; where it can be, in those of the file.
    pub(super) fn words(&self, model: &Model) -> String {
        let name = |node: &NodeId| model.nodes[node.index()].name.as_str();
        match self {
            Edit::Allow { node, hook, rule } => allow_words(&model.nodes[node.index()], *hook, rule),
            Edit::Route { node, table, route } => {
                let table = table_words(&model.nodes[node.index()], *table);
                format!("{table}: {}", route_words(model, *node, route))
            }
            Edit::Routes(routes) => {
                let to = routes.first().map_or_else(String::new, |(_, r)| r.prefix.addr().to_string());
                let mut names: Vec<&str> = routes.iter().map(|(n, _)| name(n)).collect();
                names.dedup();
                format!("routes of {} lead to {to} along the shortest path", names.join(" and "))
            }
            Edit::Forward { node, when, to } => {
                let (dst, port) = (when.dst.first().map(IpNet::addr), when.dport.map(|p| p.first));
                let end = match (dst, port) {
                    (Some(dst), Some(port)) => format!("{dst}:{port}"),
                    (Some(dst), None) => dst.to_string(),
                    _ => "it".into(),
                };
                let to = port.map_or_else(|| to.to_string(), |port| format!("{to}:{port}"));
                format!("{} forwards {end} to {to}", name(node))
            }
            Edit::Forwarding(node) => format!("{} forwards packets (kind: router)", name(node)),
            Edit::Unchecked(node) => format!("{}: source-dest-check: no", name(node)),
            Edit::Uncut(link) => {
                let link = &model.links[link.index()];
                format!("the link {} -- {} is not cut", name(&link.a.0), name(&link.b.0))
            }
            Edit::Lossless(link) => {
                let link = &model.links[link.index()];
                format!("the link {} -- {} loses nothing", name(&link.a.0), name(&link.b.0))
            }
            Edit::AnySource(node, port) => {
                let port = model.nodes[node.index()].interfaces.get(port.index());
                let port = port.map_or("?", |i| i.name.as_str());
                format!("{} believes every source on {port}", name(node))
            }
            Edit::Listen { node, protocol: Protocol::Udp, port } => {
                format!("something listens on UDP port {port} of {}", name(node))
            }
            Edit::Listen { node, port, .. } => format!("something listens on port {port} of {}", name(node)),
            Edit::Face(address) => {
                format!("{address} is asked instead, the public address that its own packets bear out there")
            }
            Edit::Public { inside, outside, .. } => {
                let owner = ways::owners(model, *inside);
                let who = owner.first().map_or_else(|| inside.to_string(), |n| name(n).to_owned());
                format!("{who} has a public address (public: {outside})")
            }
            Edit::Own { node, address, routes, .. } => {
                let led: Vec<&str> = routes.iter().map(|(n, _)| name(n)).collect();
                let leads = if led.len() == 1 { "leads" } else { "lead" };
                let led = match led.is_empty() {
                    true => String::new(),
                    false => format!(", to which {} {leads}", led.join(" and ")),
                };
                format!("{} is asked at an address of its own, {}{led}", name(node), address.addr())
            }
            Edit::Gateway(gateway) => gateway.words(model),
            Edit::Peering(peering) => peering.words(model),
            Edit::All(edits) => all_words(edits, model),
        }
    }
}

/// Each is said for the network as the ones before leave it.
fn all_words(edits: &[Edit], model: &Model) -> String {
    let (mut model, mut question) = (model.clone(), Question::nothing());
    let mut all = Vec::<String>::new();
    for edit in edits {
        match (edit, all.last_mut()) {
            (Edit::Face(_), Some(public)) => public.push_str(", which is asked instead"),
            _ => all.push(edit.words(&model)),
        }
        edit.apply(&mut model, &mut question);
    }
    all.join("; ")
}

/// What `source-dest-check: no` makes of an instance: it forwards what its groups let in.
fn uncheck(node: &mut Node) {
    node.kind = NodeKind::Router;
    let input = node.chains.iter().find(|c| c.hook == HookPoint::Input).cloned();
    if !node.chains.iter().any(|c| c.hook == HookPoint::Forward) {
        node.chains.extend(input.map(|chain| Chain { hook: HookPoint::Forward, ..chain }));
    }
}

fn allow_in(node: &mut Node, hook: HookPoint, rule: &Filter) {
    if let Some(chain) = node.chains.iter_mut().find(|c| c.hook == hook) {
        chain.rules.insert(0, rule.clone());
    }
}

pub(super) fn put_route(node: &mut Node, table: u32, route: &Route) {
    let routes = match table.checked_sub(1).and_then(|t| node.tables.get_mut(t as usize)) {
        Some(table) => &mut table.routes,
        None => &mut node.routes,
    };
    routes.retain(|r| r.prefix != route.prefix);
    routes.push(route.clone());
}

/// Destination NAT, and leave to pass: what a home router's `port-forwards` writes.
fn open_port(node: &mut Node, when: &Match, to: IpAddr) {
    let rule = NatRule::new(when.clone(), NatAction::Dnat { to, port: None }, add::origin());
    node.nat.insert(0, rule);
    let pass = Match { dst: whole(to), ..when.clone() };
    allow_in(node, HookPoint::Forward, &Filter::new(pass, Action::Accept, add::origin()));
}

/// An elastic IP: one-to-one NAT and leave to pass, both ways.
fn go_public(node: &mut Node, (inside, outside): (IpAddr, IpAddr), out: PortId) {
    let rule = |when| Filter::new(when, Action::Accept, add::origin());
    let action = NatAction::Static { inside, outside };
    node.nat.push(NatRule::new(Match::default(), action, add::origin()));
    allow_in(node, HookPoint::Forward, &rule(Match { src: whole(inside), ..Match::default() }));
    allow_in(node, HookPoint::Forward, &rule(Match { dst: whole(inside), ..Match::default() }));
    if let Some(interface) = node.interfaces.get_mut(out.index()) {
        let length = interface.addresses.first().map_or(32, IpNet::prefix_len);
        interface.addresses.extend(IpNet::new(outside, length));
    }
}

fn lose_nothing(model: &mut Model, index: usize) {
    let link = &mut model.links[index];
    (link.ab.loss_ppm, link.ba.loss_ppm) = (0, 0);
    (link.ab.loss_every, link.ba.loss_every) = (0, 0);
    for happening in &mut model.timeline {
        if let Change::Impair { link, loss_ppm, .. } = &mut happening.change
            && *link == index
        {
            *loss_ppm = loss_ppm.map(|_| 0);
        }
    }
}

/// The simplest that answers.
pub(super) fn listener(protocol: Protocol, port: u16) -> App {
    if protocol == Protocol::Udp {
        return App::Echo { port };
    }
    App::HttpServer {
        port,
        certificate: None,
        http2: false,
        pages: Pages::BuiltIn("hello".into()),
        think: rt_base::Nanos::ZERO,
        silent: false,
        idle_unused: None,
        idle: None,
        hosting: Box::default(),
    }
}

fn allow_words(node: &Node, hook: HookPoint, rule: &Filter) -> String {
    let line = views::filter_line(node, &Filter { construct: None, ..rule.clone() });
    match (&rule.construct, hook) {
        (Some(Construct::SecurityGroup { name }), HookPoint::Output) => {
            let when = Match { src: Vec::new(), ..rule.when.clone() };
            format!("security group `{name}`, out: {}", group_line(node, rule, when))
        }
        (Some(Construct::SecurityGroup { name }), _) => {
            let when = Match { dst: Vec::new(), ..rule.when.clone() };
            format!("security group `{name}`, in: {}", group_line(node, rule, when))
        }
        (Some(Construct::NetworkAcl { name }), _) => {
            let way = views::acl_direction(node, hook);
            // A list is about one border; by which interface that is, no line of it says.
            let when = Match { in_port: None, out_port: None, ..rule.when.clone() };
            let line = views::filter_line(node, &Filter { when, construct: None, ..rule.clone() });
            format!("network ACL `{name}`, {way}, before all others: {line}")
        }
        (Some(Construct::InternetGateway), _) => format!("{} passes it: {line}", node.name),
        (None, HookPoint::Input) => format!("firewall of {}, in: {line}", node.name),
        (None, HookPoint::Output) => format!("firewall of {}, out: {line}", node.name),
        (None, HookPoint::Forward) => format!("firewall of {}, forward: {line}", node.name),
        (None, HookPoint::Prerouting | HookPoint::Postrouting) => {
            format!("access list of {}: {line}", node.name)
        }
    }
}

/// A line of a group: about the machine that wears it, and without `allow`, since groups do nothing else.
fn group_line(node: &Node, rule: &Filter, when: Match) -> String {
    let line = views::filter_line(node, &Filter { when, construct: None, ..rule.clone() });
    line.strip_prefix("allow ").unwrap_or(&line).to_owned()
}

/// `route table `private` of vpc.router`, or `routes of r`.
pub(super) fn table_words(whose: &Node, table: u32) -> String {
    match table.checked_sub(1).and_then(|t| whose.tables.get(t as usize)) {
        Some(table) => format!("route table `{}` of {}", table.name, whose.name),
        None => format!("routes of {}", whose.name),
    }
}

/// `10.9.0.2/32 via 10.1.0.1`, or what a cloud calls the next hop.
fn route_words(model: &Model, at: NodeId, route: &Route) -> String {
    let Some(via) = route.via else { return format!("{} on the link", route.prefix) };
    let next = ways::owners(model, via).into_iter().find(|n| *n != at);
    let next = next.map(|n| &model.nodes[n.index()]);
    let short = |n: &Node| n.name.rsplit('.').next().unwrap_or_default().to_owned();
    match next.map(|n| (n.role.as_str(), n)) {
        Some((INTERNET_GATEWAY, _)) => format!("{}: internet-gateway", route.prefix),
        Some((NAT_GATEWAY, n)) => format!("{}: {}", route.prefix, short(n)),
        _ => format!("{} via {via}", route.prefix),
    }
}
