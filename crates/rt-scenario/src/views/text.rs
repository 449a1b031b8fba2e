//! A model for people: who is there, how they are joined, which rules hold, with the line each comes from.

use std::fmt::Write as _;

use super::{by_site, kind_word, table_name};
use crate::model::{App, Change, Forget, Interface, Issuer, Link, Model, Node, NodeKind, Pages};
use crate::rules_text::{show_clamp, show_filter, show_middlebox, show_nat, show_otherwise, show_policy};
use crate::units::{show_duration, show_loss, show_rate, show_share};
use rt_base::{HookPoint, InterfaceKind, PortId};
use rt_rules::{
    Action, Chain, Construct, Filter, Match, MssClamp, NatRule, Origin, Ossified, Policy, Route, RouteKind,
    RoutePolicy,
};

/// The whole model as text.
#[must_use]
pub fn text(model: &Model) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "{}: {}", model.name, model.about);
    let _ = writeln!(
        out,
        "{} nodes, {} links, {} zones, {} steps\n",
        model.nodes.len(),
        model.links.len(),
        model.zones.len(),
        model.steps.len()
    );
    for (site, nodes) in by_site(model) {
        let _ = writeln!(out, "{}", site.unwrap_or("(no site)"));
        for index in nodes {
            write_node(&mut out, &model.file, &model.nodes[index]);
        }
    }
    out.push_str("\nlinks\n");
    for link in &model.links {
        write_link(&mut out, model, link);
    }
    if !model.zones.is_empty() {
        out.push_str("\nzones\n");
        for zone in &model.zones {
            let _ = writeln!(
                out,
                "  {} ({} records){}",
                zone.apex,
                zone.text.lines().count(),
                origin(&model.file, &zone.origin)
            );
        }
    }
    for certificate in &model.certificates {
        let by =
            if certificate.issuer == Issuer::PublicCa { "the public CA" } else { "a CA that nobody trusts" };
        let _ = writeln!(out, "certificate for {} by {by}", certificate.names.join(", "));
    }
    write_story(&mut out, model);
    out
}

fn write_node(out: &mut String, file: &str, node: &Node) {
    let place = node.place.as_ref().map(|p| format!(", {p}")).unwrap_or_default();
    let role = if node.role == kind_word(node.kind) { String::new() } else { format!(" ({})", node.role) };
    let _ = writeln!(out, "  {}  {}{role}{place}", node.name, kind_word(node.kind));
    let name = |port: PortId| port_name(node, port);
    for interface in node.interfaces.iter().filter(|_| node.kind != crate::model::NodeKind::Switch) {
        let mut addresses: Vec<String> = interface.addresses.iter().map(ToString::to_string).collect();
        if addresses.is_empty() && node.apps.iter().any(|a| matches!(a, App::DhcpClient { .. })) {
            addresses.push("(by DHCP)".to_owned());
        }
        let kind = kind_text(node, interface);
        let _ =
            writeln!(out, "      {:<14} {}  {}{kind}", interface.name, interface.mac, addresses.join(" "));
    }
    for route in &node.routes {
        let _ = writeln!(out, "      route {}", route_text(file, route, &name));
    }
    for table in &node.tables {
        for route in &table.routes {
            let _ = writeln!(out, "      table {}: route {}", table.name, route_text(file, route, &name));
        }
    }
    for clamp in &node.clamps {
        let _ = writeln!(out, "      clamp-mss {}{}", clamp_line(node, clamp), origin(file, &clamp.origin));
    }
    for rule in &node.ossified {
        let _ = writeln!(out, "      middlebox {}{}", middlebox_line(node, rule), origin(file, &rule.origin));
    }
    for policy in &node.policies {
        let _ =
            writeln!(out, "      rule {}{}", policy_route_line(node, policy), origin(file, &policy.origin));
    }
    for rule in &node.nat {
        let _ = writeln!(out, "      nat {}{}", nat_line(node, rule), origin(file, &rule.origin));
    }
    for chain in &node.chains {
        let hook = match chain.hook {
            HookPoint::Prerouting => "acl in".to_owned(),
            HookPoint::Postrouting => "acl out".to_owned(),
            hook => format!("{hook:?}").to_lowercase(),
        };
        for rule in &chain.rules {
            let _ = writeln!(out, "      {hook}: {}{}", filter_line(node, rule), origin(file, &rule.origin));
        }
        let _ = writeln!(out, "      {hook}: {}{}", policy_line(chain), origin(file, &chain.policy.origin));
    }
    for app in &node.apps {
        let _ = writeln!(out, "      runs {}", say_app(app, &name));
    }
}

/// What an interface is that is no port with a cable.
fn kind_text(node: &Node, interface: &Interface) -> String {
    let below = |port: PortId| port_name(node, port);
    let what = match interface.kind {
        InterfaceKind::Ethernet => return String::new(),
        InterfaceKind::Vlan { parent, id } => format!("VLAN {id} on {}", below(parent)),
        InterfaceKind::Pppoe { parent, .. } => format!("PPPoE on {}", below(parent)),
        InterfaceKind::Tun => "tun".to_owned(),
        kind => kind.ends().map_or_else(String::new, |(l, r)| format!("{} from {l} to {r}", kind.say())),
    };
    format!("  {what}, mtu {}", interface.mtu)
}

fn route_text(file: &str, route: &Route, name: &dyn Fn(PortId) -> String) -> String {
    let via = match (route.kind, route.via) {
        (RouteKind::Blackhole, _) => "blackhole".to_owned(),
        (RouteKind::Unreachable, _) => "unreachable".to_owned(),
        (_, Some(via)) => format!("via {via} out {}", name(route.out)),
        (_, None) => format!("out {}", name(route.out)),
    };
    format!("{} {via}{}", route.prefix, origin(file, &route.origin))
}

/// `[line 12]`, with the default's words; other files by name.
fn origin(file: &str, origin: &Origin) -> String {
    match origin {
        Origin::Line { file: of, line } if of == file => format!("    [line {line}]"),
        Origin::DefaultOf { file: of, line, what } if of == file => format!("    [line {line}: {what}]"),
        other => format!("    [{other}]"),
    }
}

fn say_app(app: &App, name: &dyn Fn(PortId) -> String) -> String {
    let quiet = |silent: &bool| if *silent { ", silent" } else { "" };
    match app {
        App::DhcpClient { port } => format!("a DHCP client on {}", name(*port)),
        App::DhcpServer { port, first, last, reservations, silent, .. } => {
            let fixed = reservations.len();
            format!("a DHCP server on {}: {first} to {last}, {fixed} reserved{}", name(*port), quiet(silent))
        }
        App::DnsResolver { silent, .. } => format!("a recursive resolver{}", quiet(silent)),
        App::DnsServer { zones, silent, .. } => {
            format!("a name server for {} zones{}", zones.len(), quiet(silent))
        }
        App::HttpServer { port, certificate, pages, silent, hosting, .. } => {
            let secure = if certificate.is_some() { "HTTPS" } else { "HTTP" };
            let pages = match pages {
                Pages::BuiltIn(set) => set.clone(),
                Pages::Files(files) => format!("{} files", files.len()),
            };
            let others = super::web_yaml::say_hosting(hosting);
            format!("{secure} on port {port}: {pages}{others}{}", quiet(silent))
        }
        App::Rpc { port, closes, .. } => {
            let closes = if *closes { ", closing after each" } else { "" };
            format!("replies to calls on port {port}{closes}")
        }
        App::Grpc(server) => super::grpc_yaml::say(server),
        App::Ntp => "an NTP server".to_owned(),
        App::Ssh { port, users, tcp_forwarding, .. } => {
            let names: Vec<&str> = users.iter().map(|(user, _)| user.as_str()).collect();
            let forwards = if *tcp_forwarding { "" } else { ", no TCP forwarding" };
            format!("SSH on port {port} for {}{forwards}", names.join(", "))
        }
        App::Sink { port } => format!("a sink on port {port}"),
        App::Echo { port } => format!("an echo service on port {port}"),
        App::Discard { port } => format!("a discard service on port {port}"),
        App::Chargen { port } => format!("a character generator on port {port}"),
        App::SplitTcp { port } => format!("a split-TCP proxy on port {port}"),
        App::L4Balancer(balancer) => format!(
            "a balancer of connections on port {}, {}, over {} servers",
            balancer.port,
            balancer.balance.word(),
            balancer.upstreams.len()
        ),
        App::ForwardProxy(proxy) => {
            let reads = if proxy.inspect.is_some() { " that reads TLS" } else { "" };
            format!("a forward proxy{reads} on port {}", proxy.port)
        }
        App::Wireguard { port, peers, .. } => {
            let names: Vec<&str> = peers.iter().map(|p| p.name.as_str()).collect();
            format!("WireGuard on UDP port {port} with {}", names.join(", "))
        }
        App::TcpTunnel { to: Some(to), .. } => format!("a tunnel inside TCP to {to}"),
        App::TcpTunnel { port, .. } => format!("a tunnel inside TCP on port {port}"),
        App::Edge { port, certificate, upstreams, options, .. } => {
            let secure = if certificate.is_some() { "TLS" } else { "HTTP" };
            let what = match (&options.cdn, &options.cache) {
                (Some(place), _) => format!("a CDN's edge ({})", place.airport),
                (None, Some(_)) => "a balancer with a cache".to_owned(),
                (None, None) => "a balancer".to_owned(),
            };
            format!(
                "{what}, {secure} on port {port}, over {}",
                rt_base::count(upstreams.len() as u64, "server")
            )
        }
    }
}

fn write_link(out: &mut String, model: &Model, link: &Link) {
    let end = |(id, port): (rt_base::NodeId, PortId)| {
        let node = &model.nodes[id.index()];
        format!("{}:{}", node.name, node.interfaces[port.index()].name)
    };
    let _ = write!(
        out,
        "  {} -- {}  {} {}",
        end(link.a),
        end(link.b),
        show_rate(link.ab.rate_bps),
        show_duration(link.ab.delay)
    );
    if link.ab != link.ba {
        let _ = write!(out, " (back {} {})", show_rate(link.ba.rate_bps), show_duration(link.ba.delay));
    }
    if link.ab.loss_ppm > 0 || link.ab.loss_every > 0 {
        let _ = write!(out, " loss {}", show_loss(link.ab.loss_ppm, link.ab.loss_every));
    }
    for (what, ppm) in [
        ("reorder", link.ab.reorder_ppm),
        ("duplicate", link.ab.duplicate_ppm),
        ("corrupt", link.ab.corrupt_ppm),
    ] {
        if ppm > 0 {
            let _ = write!(out, " {what} {}", show_share(ppm));
        }
    }
    let _ = writeln!(out, "{}", origin(&model.file, &link.origin));
}

fn write_story(out: &mut String, model: &Model) {
    if !model.steps.is_empty() {
        out.push_str("\nsteps\n");
        for (index, step) in model.steps.iter().enumerate() {
            let _ = writeln!(out, "  {}  {}{}", index + 1, step.text, origin(&model.file, &step.origin));
        }
    }
    if !model.timeline.is_empty() {
        out.push_str("\ntimeline\n");
        for happening in &model.timeline {
            let name = |id: rt_base::NodeId| &model.nodes[id.index()].name;
            let link = |index: usize, what: &str| {
                let link = &model.links[index];
                format!("{} -- {} is {what}", name(link.a.0), name(link.b.0))
            };
            let what = match happening.change {
                Change::Cut { link: l } => link(l, "cut"),
                Change::Heal { link: l } => link(l, "healed"),
                Change::Impair { link: l, .. } => link(l, "impaired"),
                Change::Rebind { node, .. } => format!("{} forgets its NAT mappings", name(node)),
                Change::Purge { node, ref what } => {
                    let what = match what {
                        Forget::Everything => "all that it keeps".to_owned(),
                        Forget::Path(path) => path.clone(),
                        Forget::Below(path) => format!("{path}*"),
                        Forget::Tag(tag) => format!("what is tagged {tag}"),
                    };
                    format!("the cache of {} forgets {what}", name(node))
                }
                Change::Drain { node, ref server, drain } => {
                    let what = if drain { "takes no new connections" } else { "takes connections" };
                    format!("{server} {what} of {}", name(node))
                }
            };
            let _ = writeln!(out, "  {}  {what}", happening.at);
        }
    }
}

/// A filter rule in the words of the scenario file: `deny tcp port 80`.
#[must_use]
pub fn filter_line(node: &Node, rule: &Filter) -> String {
    let (when, border) = border(node, rule);
    let bare = Filter { construct: None, when, ..rule.clone() };
    let line = show_filter(&bare, &|port| port_name(node, port));
    let line = match (rule.number, &rule.construct) {
        (Some(number), _) => format!("{number}: {line}"),
        (None, Some(Construct::NetworkAcl { .. })) if rule.action == Action::Drop => format!("*: {line}"),
        (None, _) => line,
    };
    rule.construct.as_ref().map_or_else(|| line.clone(), |c| format!("{line} ({}{border})", whose(c)))
}

/// Whether this is the router of a VPC, whose interfaces are the borders of subnets.
#[must_use]
pub fn is_vpc_router(node: &Node) -> bool {
    node.kind == NodeKind::Router && node.role == "VPC router"
}

/// The direction that the access list at this hook has in the file. A cloud's list is about a subnet's border: what comes in by
/// the router's port goes out of the subnet. Other lists are about the interface.
#[must_use]
pub fn acl_direction(node: &Node, hook: HookPoint) -> &'static str {
    if (hook == HookPoint::Prerouting) == is_vpc_router(node) { "out" } else { "in" }
}

/// The route of a peering that nobody accepted leads nowhere, and this is its origin.
#[must_use]
pub fn is_pending_peering(origin: &Origin) -> bool {
    match origin {
        Origin::DefaultOf { what, .. } => what == PENDING_PEERING,
        Origin::Resource { address } => address.ends_with(&format!("(by default: {PENDING_PEERING})")),
        _ => false,
    }
}

/// Said of the routes of a peering that nobody accepted.
pub(crate) const PENDING_PEERING: &str = "nobody accepted this peering, so nothing passes it";

/// A network ACL of a cloud is about a subnet's border: the direction is said with the list, and not as the port's.
fn border(node: &Node, rule: &Filter) -> (Match, String) {
    let acl = matches!(rule.construct, Some(Construct::NetworkAcl { .. })) && is_vpc_router(node);
    let text = match (acl, rule.when.in_port, rule.when.out_port) {
        (true, Some(port), None) => format!(", outbound from {}", port_name(node, port)),
        (true, None, Some(port)) => format!(", inbound to {}", port_name(node, port)),
        _ => return (rule.when.clone(), String::new()),
    };
    (Match { in_port: None, out_port: None, ..rule.when.clone() }, text)
}

/// A cloud's construct in words: `security group web`.
fn whose(construct: &Construct) -> String {
    match construct {
        Construct::SecurityGroup { name } => format!("security group {name}"),
        Construct::NetworkAcl { name } => format!("network ACL {name}"),
        Construct::InternetGateway => "internet gateway".to_owned(),
    }
}

/// What a chain does with what no rule names, in the words of the scenario file: `otherwise deny`.
#[must_use]
pub fn policy_line(chain: &Chain) -> String {
    let line = show_otherwise(&Policy { construct: None, ..chain.policy.clone() });
    chain.policy.construct.as_ref().map_or_else(|| line.clone(), |c| format!("{line} ({})", whose(c)))
}

/// A NAT rule in the words of the scenario file: `masquerade out wan using 10001-65535`.
#[must_use]
pub fn nat_line(node: &Node, rule: &NatRule) -> String {
    show_nat(rule, &|port| port_name(node, port))
}

/// A rule that lowers the MSS in the words of the scenario file: `out wan`.
#[must_use]
pub fn clamp_line(node: &Node, clamp: &MssClamp) -> String {
    show_clamp(clamp, &|port| port_name(node, port))
}

/// What a middlebox does not know, in the words of the scenario file: `drop tcp option unknown`.
#[must_use]
pub fn middlebox_line(node: &Node, rule: &Ossified) -> String {
    show_middlebox(rule, &|port| port_name(node, port))
}

/// A rule of policy routing in the words of the scenario file: `from 10.1.0.0/16 table blue`.
#[must_use]
pub fn policy_route_line(node: &Node, policy: &RoutePolicy) -> String {
    show_policy(&policy.when, table_name(node, policy.table), &|port| port_name(node, port))
}

fn port_name(node: &Node, port: PortId) -> String {
    node.interfaces.get(port.index()).map_or_else(|| format!("port {}", port.0), |i| i.name.clone())
}
