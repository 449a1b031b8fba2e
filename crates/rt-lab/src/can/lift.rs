//! Lifting one blocker: the smallest change of the lowered model that gets the same packet past the same place, as data, so
//! that changes can be tried in any combination, and in the words of the file.

use std::net::IpAddr;

use ipnet::IpNet;
use rt_base::{HookPoint, LinkId, NodeId, PortId, RouteId};
use rt_rules::{Action, Chain, Construct, Filter, Match, NatAction, NatRule, PortRange, Route, RouteKind};
use rt_scenario::model::{App, Change, Model, Node, NodeKind, Pages};
use rt_scenario::views;

use super::find::{Cause, Packet};
use super::probe::{Protocol, Question};
use super::{stranger, ways};

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
}

/// One host's prefix.
fn whole(address: IpAddr) -> Vec<IpNet> {
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
    if when.src == whole(IpAddr::from([0, 0, 0, 0])) {
        when.src.clear();
    }
    match hook {
        HookPoint::Prerouting => when.in_port = Some(cause.arrived.unwrap_or(cause.port)),
        // The line may be wider than the one way out: nothing says by which the packet would have left.
        HookPoint::Postrouting | HookPoint::Input | HookPoint::Forward | HookPoint::Output => {}
    }
    let rule = Filter { construct, ..Filter::new(when, Action::Accept, stranger::origin()) };
    let rule = Box::new(rule);
    Edit::Allow { node: cause.node, hook, rule }
}

/// A route to the packet's destination along the shortest way, in the table that was asked.
pub(super) fn route(model: &Model, cause: &Cause) -> Option<Edit> {
    let (node, to) = (cause.node, cause.packet.dst.ip());
    let (out, via, _) = ways::next_hop(model, node, to)?;
    let table =
        cause.rule.map_or_else(|| asked_table(&model.nodes[node.index()], cause), |r| RouteId(r).table());
    Some(Edit::Route { node, table, route: Box::new(lead(to, via, out)) })
}

fn lead(to: IpAddr, via: Option<IpAddr>, out: PortId) -> Route {
    let (prefix, origin) = (IpNet::from(to), stranger::origin());
    Route { prefix, via, out, kind: RouteKind::Unicast, metric: 0, source: None, origin }
}

/// The table of the first policy for packets that arrive by that interface, else the main one.
fn asked_table(node: &Node, cause: &Cause) -> u32 {
    let by = |when: &Match| when.in_port.is_some() && when.in_port == cause.arrived;
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

/// A public address for the sender of a packet that an internet gateway refused, next to those that it has.
pub(super) fn public(model: &Model, cause: &Cause, inside: IpAddr) -> Option<Edit> {
    let node = &model.nodes[cause.node.index()];
    let global = |a: &IpNet| !is_private(a.addr());
    let found = node.interfaces.iter().enumerate().find_map(|(port, interface)| {
        let net = interface.addresses.iter().find(|a| global(a))?;
        let IpNet::V4(net) = net.trunc() else { return None };
        let free =
            net.hosts().skip(199).chain(net.hosts()).find(|h| ways::owners(model, (*h).into()).is_empty())?;
        Some((PortId(u16::try_from(port).ok()?), IpAddr::V4(free)))
    });
    let (out, outside) = found?;
    Some(Edit::Public { node: cause.node, inside, outside, out })
}

/// Addresses that mean nothing on the internet: RFC 1918, RFC 6598, link-local, loopback.
pub(super) fn is_private(address: IpAddr) -> bool {
    let IpAddr::V4(v4) = address else { return false };
    let [a, b, ..] = v4.octets();
    v4.is_private() || v4.is_link_local() || v4.is_loopback() || (a == 100 && (64..128).contains(&b))
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
            Edit::Lossless(link) => {
                let link = &mut model.links[link.index()];
                (link.ab.loss_ppm, link.ba.loss_ppm) = (0, 0);
                (link.ab.loss_every, link.ba.loss_every) = (0, 0);
            }
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
        }
    }

    /// What was changed, in words; where it can be, in those of the file.
    pub(super) fn words(&self, model: &Model) -> String {
        let name = |node: &NodeId| model.nodes[node.index()].name.as_str();
        match self {
            Edit::Allow { node, hook, rule } => allow_words(&model.nodes[node.index()], *hook, rule),
            Edit::Route { node, table, route } => {
                let whose = &model.nodes[node.index()];
                let text = route_words(model, *node, route);
                match table.checked_sub(1).and_then(|t| whose.tables.get(t as usize)) {
                    Some(table) => format!("route table `{}` of {}: {text}", table.name, whose.name),
                    None => format!("routes of {}: {text}", whose.name),
                }
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
        }
    }
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

fn put_route(node: &mut Node, table: u32, route: &Route) {
    let routes = match table.checked_sub(1).and_then(|t| node.tables.get_mut(t as usize)) {
        Some(table) => &mut table.routes,
        None => &mut node.routes,
    };
    routes.retain(|r| r.prefix != route.prefix);
    routes.push(route.clone());
}

/// Destination NAT, and leave to pass: what a home router's `port-forwards` writes.
fn open_port(node: &mut Node, when: &Match, to: IpAddr) {
    let rule = NatRule::new(when.clone(), NatAction::Dnat { to, port: None }, stranger::origin());
    node.nat.insert(0, rule);
    let pass = Match { dst: whole(to), ..when.clone() };
    allow_in(node, HookPoint::Forward, &Filter::new(pass, Action::Accept, stranger::origin()));
}

/// An elastic IP: one-to-one NAT and leave to pass, both ways.
fn go_public(node: &mut Node, (inside, outside): (IpAddr, IpAddr), out: PortId) {
    let rule = |when| Filter::new(when, Action::Accept, stranger::origin());
    let action = NatAction::Static { inside, outside };
    node.nat.push(NatRule::new(Match::default(), action, stranger::origin()));
    allow_in(node, HookPoint::Forward, &rule(Match { src: whole(inside), ..Match::default() }));
    allow_in(node, HookPoint::Forward, &rule(Match { dst: whole(inside), ..Match::default() }));
    if let Some(interface) = node.interfaces.get_mut(out.index()) {
        let length = interface.addresses.first().map_or(32, IpNet::prefix_len);
        interface.addresses.extend(IpNet::new(outside, length));
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
    }
}

/// The construct that a chain stands for: its policy's, else its first rule's.
pub(super) fn construct(chain: &Chain) -> Option<&Construct> {
    let rules = chain.rules.iter().filter_map(|r| r.construct.as_ref());
    chain.policy.construct.as_ref().or_else(|| rules.into_iter().next())
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
            let way = if hook == HookPoint::Prerouting { "out" } else { "in" };
            // A subnet's list is about its border; which interface that is, nobody writes.
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

/// `10.9.0.2/32 via 10.1.0.1`, or what a cloud calls the next hop.
fn route_words(model: &Model, at: NodeId, route: &Route) -> String {
    let Some(via) = route.via else { return format!("{} on the link", route.prefix) };
    let next = ways::owners(model, via).into_iter().find(|n| *n != at);
    let next = next.map(|n| &model.nodes[n.index()]);
    let short = |n: &Node| n.name.rsplit('.').next().unwrap_or_default().to_owned();
    match next.map(|n| (n.role.as_str(), n)) {
        Some(("internet gateway", _)) => format!("{}: internet-gateway", route.prefix),
        Some(("NAT gateway", n)) => format!("{}: {}", route.prefix, short(n)),
        _ => format!("{} via {via}", route.prefix),
    }
}
