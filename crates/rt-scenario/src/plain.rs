//! The plain level: `topology: { defaults, kinds, nodes, links }` in containerlab's shape.

use std::net::IpAddr;

use ipnet::IpNet;
use rt_base::{NodeId, PortId, RouteId, SwitchPort};
use rt_rules::{Route, RouteKind, RoutePolicy};

use crate::diag::{Code, Span};
use crate::model::{App, NodeKind, RouteTableModel};
use crate::rules_text;
use crate::shape::name_problem;
use crate::tree::{Key, Kind, Value};
use crate::world::{Wire, World, mtu_at};

/// Zones that nodes say they serve, joined when all zones are known.
pub(crate) type ServedZones = Vec<(NodeId, Vec<(String, Span)>)>;

/// Expands the topology.
pub(crate) fn expand(world: &mut World<'_, '_>, topology: &Value) -> ServedZones {
    let defaults = topology.get("defaults");
    if let Some(defaults) = defaults {
        world.check_mtu(defaults);
    }
    let nodes = topology.get("nodes").map(Value::entries).unwrap_or_default();
    let mut made: Vec<(NodeId, Value)> = Vec::new();
    let room = topology.get("nodes").is_none_or(|at| world.room_for(nodes.len(), crate::shape::head(at)));
    for (name, value) in nodes.iter().filter(|_| room) {
        if let Some(why) = name_problem(&name.text) {
            let message = format!("`{}` cannot name a node: {why}", name.text);
            world.problems.add(Code::BadName, name.span, message, "not a name");
            continue;
        }
        let value = with_kind_defaults(topology, value);
        let id = build_node(world, name, &value, defaults);
        made.push((id, value));
    }
    for link in topology.get("links").map(Value::items).unwrap_or_default() {
        build_link(world, link, defaults);
    }
    let mut served = ServedZones::new();
    for (id, value) in &made {
        finish_node(world, *id, value);
        served.push((*id, zones_of(value)));
    }
    served
}

/// The node's own keys over those of its kind.
fn with_kind_defaults(topology: &Value, value: &Value) -> Value {
    let kind = value.str_at("kind").unwrap_or("host");
    let Some(base) = topology.get("kinds").and_then(|k| k.get(kind)) else { return value.clone() };
    let mut entries = value.entries().to_vec();
    for (key, inner) in base.entries() {
        if value.entry(&key.text).is_none() {
            entries.push((key.clone(), inner.clone()));
        }
    }
    Value { span: value.span, kind: Kind::Map(entries) }
}

fn build_node(world: &mut World<'_, '_>, name: &Key, value: &Value, defaults: Option<&Value>) -> NodeId {
    let kind = match value.str_at("kind") {
        Some("router") => NodeKind::Router,
        Some("switch") => NodeKind::Switch,
        _ => NodeKind::Host,
    };
    let usual = match kind {
        NodeKind::Host => "host",
        NodeKind::Router => "router",
        NodeKind::Switch => "switch",
    };
    let id = world.add_node(&name.text, kind, value.str_at("role").unwrap_or(usual), name.span);
    world.check_mtu(value);
    let draft = world.node(id);
    draft.mtu = mtu_at(value).or_else(|| defaults.and_then(mtu_at));
    draft.node.site = value.str_at("site").map(str::to_owned);
    draft.node.place = value.str_at("place").map(str::to_owned);
    draft.auto_routes = kind == NodeKind::Router && value.entry("routes").is_none();
    if let Some(span) = defaults.and_then(|d| d.duration_at("processing")) {
        draft.node.processing = span;
    }
    if kind == NodeKind::Switch {
        refuse_on_switch(world, &name.text, value);
    }
    world.read_machine(id, value);
    for (interface, options) in value.get("interfaces").map(Value::entries).unwrap_or_default() {
        build_interface(world, id, interface, options);
    }
    id
}

/// A switch has no stack.
fn refuse_on_switch(world: &mut World<'_, '_>, name: &str, value: &Value) {
    let fine = ["kind", "role", "site", "place", "processing", "mtu", "interfaces"];
    for (key, inner) in value.entries() {
        if !fine.contains(&key.text.as_str()) && inner.kind != Kind::Null {
            let message = format!("`{name}` is a switch, which has no `{}`", key.text);
            world
                .problems
                .add(Code::NotOnASwitch, key.span, message, "not on a switch")
                .help("a switch only learns and floods; use `kind: router` or `kind: host` for more");
        }
    }
}

fn build_interface(world: &mut World<'_, '_>, id: NodeId, name: &Key, value: &Value) {
    if let Some(why) = name_problem(&name.text) {
        let message = format!("`{}` cannot name an interface: {why}", name.text);
        world.problems.add(Code::BadName, name.span, message, "not a name");
        return;
    }
    world.check_mtu(value);
    let port = world.add_port(id, &name.text, name.span);
    if let Some(mtu) = mtu_at(value) {
        world.node(id).node.interfaces[port.index()].mtu = mtu;
        world.node(id).ports[port.index()].own_mtu = true;
    }
    world.node(id).ports[port.index()].anycast = value.flag_at("anycast").unwrap_or(false);
    read_switch_port(world, (id, port), value);
    world.set_mac((id, port), value.mac_at("mac"), value.get("mac").map(|v| v.span));
    if let Some(mode) = value.get("reverse-path") {
        world.read_reverse_path((id, port), mode);
    }
    let more = value.get("addresses").map(Value::items).unwrap_or_default();
    // `wan: 203.0.113.2/30` is short for a mapping with an address.
    let short = matches!(value.kind, Kind::Scalar { .. }).then_some(value);
    for at in short.into_iter().chain(value.get("address")).chain(more) {
        read_address(world, (id, port), at);
    }
}

/// `vlan:` or `trunk:` of a switch's port.
fn read_switch_port(world: &mut World<'_, '_>, (id, port): (NodeId, PortId), value: &Value) {
    let is_switch = world.nodes[id.index()].node.kind == NodeKind::Switch;
    let keys: &[&str] = match is_switch {
        true => &["gre", "ipip", "vxlan", "pppoe", "tun", "on"],
        false => &["trunk", "native"],
    };
    for (key, _) in value.entries().iter().filter(|(k, _)| keys.contains(&k.text.as_str())) {
        let message = format!(
            "`{}` has no place at an interface of a {}",
            key.text,
            if is_switch { "switch" } else { "machine" }
        );
        world
            .problems
            .add(Code::NotOnASwitch, key.span, message, "not here")
            .help("switches have `vlan: 10` (access) or `trunk: [10, 20]`; machines have `vlan: 10` on an interface");
    }
    if !is_switch {
        return;
    }
    let number = |v: &Value| v.text().and_then(|t| t.parse::<u16>().ok());
    let native = value.get("native").and_then(number);
    let ports = match (value.get("trunk"), value.get("vlan").and_then(number)) {
        (Some(trunk), _) => {
            Some(SwitchPort::Trunk { allowed: trunk.items().iter().filter_map(number).collect(), native })
        }
        (None, Some(vlan)) => Some(SwitchPort::Access(vlan)),
        (None, None) => None,
    };
    world.node(id).node.interfaces[port.index()].vlans = ports;
}

/// An address with its prefix length; one without is refused, for nobody can guess it.
fn read_address(world: &mut World<'_, '_>, at: (NodeId, PortId), value: &Value) {
    let Some(address) = value.host(32) else { return };
    let text = value.text().unwrap_or("");
    if !text.contains('/') {
        world
            .problems
            .add(
                Code::BadNetwork,
                value.span,
                format!("`{text}` has no prefix length"),
                "how large is its network?",
            )
            .help(format!("write `{text}/24` if its network has 256 addresses"));
        return;
    }
    if !crate::sites::usable(address) && !address.addr().is_unspecified() {
        let message =
            format!("{} is the network's own or broadcast address, not a machine's", address.addr());
        world.problems.add(Code::ForeignAddress, value.span, message, "not a machine's address");
        return;
    }
    world.set_address(at, address, value.span);
}

fn build_link(world: &mut World<'_, '_>, link: &Value, defaults: Option<&Value>) {
    world.check_mtu(link);
    let Some(ends) = link.get("endpoints") else { return };
    let [first, second] = ends.items() else {
        if matches!(ends.kind, Kind::List(_)) {
            let message = format!("a link has two ends, not {}", ends.items().len());
            world
                .problems
                .add(Code::BadEndpoint, ends.span, message, "two ends")
                .help("write `endpoints: [\"a:eth0\", \"b:eth0\"]`");
        }
        return;
    };
    let (a, b) = (endpoint(world, first), endpoint(world, second));
    let (Some((a, a_name)), Some((b, b_name))) = (a, b) else { return };
    if a == b {
        let message = format!("this link joins `{}` to itself", world.nodes[a.index()].node.name);
        world
            .problems
            .add(Code::SelfLink, ends.span, message, "both ends on one node")
            .help("join two different nodes");
        return;
    }
    let ends = [(a, &a_name, first.span), (b, &b_name, second.span)];
    let mut ports = Vec::new();
    for (id, name, span) in ends {
        ports.extend(free_port(world, id, name, span));
    }
    let [pa, pb] = *ports else { return };
    let wire = Wire::both(1_000_000_000, rt_base::Nanos::from_micros(5));
    let wire = wire.read(defaults, ("a-to-b", "b-to-a")).read(Some(link), ("a-to-b", "b-to-a"));
    let index = world.add_link((a, pa), (b, pb), wire, link.span);
    // The line of the endpoints says more than that of the `-` before them.
    world.links[index].span = first.span;
}

/// `node:interface`.
fn endpoint(world: &mut World<'_, '_>, value: &Value) -> Option<(NodeId, String)> {
    let text = value.text()?;
    let Some((node, interface)) = text.rsplit_once(':').filter(|(_, i)| name_problem(i).is_none()) else {
        world
            .problems
            .add(Code::BadEndpoint, value.span, format!("`{text}` is not an endpoint"), "not an endpoint")
            .help("an endpoint is `node:interface`, such as `a:eth0`");
        return None;
    };
    let id = world.node_named(node, value.span)?;
    Some((id, interface.to_owned()))
}

/// The interface of that name, made when it is not there; one that has a link already is reported.
fn free_port(world: &mut World<'_, '_>, id: NodeId, name: &str, span: Span) -> Option<PortId> {
    let Some(port) = world.find_port(id, name) else { return Some(world.add_port(id, name, span)) };
    let Some(link) = world.nodes[id.index()].ports[port.index()].link else { return Some(port) };
    let first = world.links[link].span;
    let node = world.nodes[id.index()].node.name.clone();
    world
        .problems
        .add(Code::InterfaceUsedTwice, span, format!("two links end at `{node}:{name}`"), "second link")
        .related(first, "first link")
        .help("give this link another interface, or put a switch between");
    None
}

/// What needs the interfaces: addresses of the shorthand, DHCP, gateway, routes, rules, apps.
fn finish_node(world: &mut World<'_, '_>, id: NodeId, value: &Value) {
    let wants =
        value.get("address").is_some() || value.get("mac").is_some() || value.flag_at("dhcp") == Some(true);
    if wants && world.node(id).ports.is_empty() {
        let span = world.node(id).span;
        world.add_port(id, "eth0", span);
    }
    if wants {
        world.set_mac((id, PortId(0)), value.mac_at("mac"), value.get("mac").map(|v| v.span));
        if let Some(at) = value.get("address") {
            read_address(world, (id, PortId(0)), at);
        }
    }
    world.read_kinds(id, value);
    if value.flag_at("dhcp") == Some(true) {
        world.node(id).node.apps.push(App::DhcpClient { port: PortId(0) });
        world.node(id).own_routes = true;
    }
    if value.entry("routes").is_some() {
        world.node(id).own_routes = true;
        for route in read_routes(world, id, value.get("routes").map(Value::items).unwrap_or_default()) {
            add_route(world, id, route);
        }
    }
    if let Some(at) = value.get("gateway")
        && let Some(via) = at.address()
    {
        world.node(id).gateway = Some((via, at.span));
    }
    read_tables(world, id, value);
    world.read_clamps(id, value);
    world.read_middlebox(id, value);
    world.node(id).node.stack.transparent = value.flag_at("transparent").unwrap_or(false);
    world.read_firewall(id, value);
    world.read_nat(id, value);
    world.read_apps(id, value);
}

/// The interface of `id` that has `via` on its link.
pub(crate) fn port_towards(world: &World<'_, '_>, id: NodeId, via: IpAddr) -> Option<PortId> {
    let node = &world.nodes[id.index()].node;
    let found = node.interfaces.iter().position(|i| i.addresses.iter().any(|n| n.contains(&via)));
    found.and_then(|i| u16::try_from(i).ok()).map(PortId)
}

/// `tables:` and `rules:`.
fn read_tables(world: &mut World<'_, '_>, id: NodeId, value: &Value) {
    let tables = value.get("tables").map(Value::entries).unwrap_or_default();
    for (index, (name, items)) in tables.iter().enumerate() {
        let why = match name_problem(&name.text) {
            _ if name.text == "main" => Some("the main table is written under `routes:`".to_owned()),
            _ if index >= RouteId::MOST_TABLES as usize => {
                Some("a machine has 254 tables at most".to_owned())
            }
            why => why.map(|w| w.to_string()),
        };
        if let Some(why) = why {
            let message = format!("`{}` cannot name a table: {why}", name.text);
            world.problems.add(Code::BadName, name.span, message, "not a table");
            return;
        }
        let routes = read_routes(world, id, items.items());
        world.node(id).node.tables.push(RouteTableModel { name: name.text.clone(), routes });
    }
    for line in value.get("rules").map(Value::items).unwrap_or_default() {
        let Some(text) = line.text() else { continue };
        let tables = &world.nodes[id.index()].node.tables;
        let number = |name: &str| match name {
            "main" => Some(0),
            _ => tables.iter().position(|t| t.name == name).and_then(|at| u32::try_from(at + 1).ok()),
        };
        match rules_text::policy(text, &|name| world.find_port(id, name), &number) {
            Ok((when, table)) => {
                let origin = world.line(line.span);
                world.node(id).node.policies.push(RoutePolicy { when, table, origin });
            }
            Err(why) => world.bad_rule(line.span, text, &why, POLICY_HELP),
        }
    }
}

const POLICY_HELP: &str = "lines look like `from 10.1.0.0/16 table blue`, `in lan tcp port 443 table blue`";

/// Written routes.
fn read_routes(world: &mut World<'_, '_>, id: NodeId, items: &[Value]) -> Vec<Route> {
    let mut routes = Vec::new();
    for item in items {
        let Some(prefix) = item.net_at("to") else { continue };
        let via = item.address_at("via");
        let out = match item.get("out") {
            Some(name) => {
                let found = world.find_port(id, name.text().unwrap_or(""));
                if found.is_none() {
                    unknown_interface(world, id, name);
                    continue;
                }
                found
            }
            None => via.and_then(|via| port_towards(world, id, via)),
        };
        let kind = match item.str_at("kind") {
            Some("blackhole") => RouteKind::Blackhole,
            Some("unreachable") => RouteKind::Unreachable,
            _ => RouteKind::Unicast,
        };
        let Some(out) = out.or_else(|| (kind != RouteKind::Unicast).then_some(PortId(0))) else {
            no_way_out(world, id, item, via);
            continue;
        };
        let origin = world.line(item.span);
        let metric = item.whole_at("metric").unwrap_or(0) as u32;
        let source = item.address_at("source");
        routes.push(Route { prefix, via, out, kind, metric, source, origin });
    }
    routes
}

/// One that repeats an interface's own network takes its place in the order of the file.
fn add_route(world: &mut World<'_, '_>, id: NodeId, route: Route) {
    let routes = &mut world.node(id).node.routes;
    if route.via.is_none() {
        let own = |r: &Route| {
            r.via.is_none() && r.prefix == route.prefix && r.out == route.out && r.source == route.source
        };
        routes.retain(|r| !own(r));
    }
    routes.push(route);
}

fn no_way_out(world: &mut World<'_, '_>, id: NodeId, item: &Value, via: Option<IpAddr>) {
    let span = item.get("via").or(item.get("to")).map_or(item.span, |v| v.span);
    let name = world.nodes[id.index()].node.name.clone();
    match via {
        Some(via) => gateway_off_link(world, id, via, span),
        None => {
            world
                .problems
                .add(Code::MissingKey, span, format!("this route of `{name}` leads nowhere"), "no `via`")
                .help("write `via: ADDRESS` or `out: INTERFACE`");
        }
    }
}

/// Reports a next router that no interface leads to.
pub(crate) fn gateway_off_link(world: &mut World<'_, '_>, id: NodeId, via: IpAddr, span: Span) {
    let node = &world.nodes[id.index()].node;
    let own: Vec<String> = node.interfaces.iter().flat_map(|i| &i.addresses).map(IpNet::to_string).collect();
    let message = format!("{via} is on none of the networks of `{}`", node.name);
    let help = if own.is_empty() {
        "give it an address first".to_owned()
    } else {
        format!("its own: {}", own.join(", "))
    };
    world.problems.add(Code::GatewayOffLink, span, message, "not on its link").help(help);
}

fn unknown_interface(world: &mut World<'_, '_>, id: NodeId, value: &Value) {
    let known: Vec<String> = world.nodes[id.index()].node.interfaces.iter().map(|i| i.name.clone()).collect();
    let name = value.text().unwrap_or("").to_owned();
    world
        .problems
        .add(
            Code::UnknownReference,
            value.span,
            format!("there is no interface `{name}` here"),
            "no such interface",
        )
        .known(&name, known);
}

fn zones_of(value: &Value) -> Vec<(String, Span)> {
    let mut out = Vec::new();
    for item in value.get("run").map(Value::items).unwrap_or_default() {
        let zones = item.get("dns-server").and_then(|v| v.get("zones")).map(Value::items).unwrap_or_default();
        out.extend(zones.iter().filter_map(|z| Some((z.text()?.to_lowercase(), z.span))));
    }
    out
}
