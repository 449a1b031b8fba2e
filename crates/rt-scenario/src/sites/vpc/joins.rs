//! What joins VPCs: peerings and transit gateways.
//!
//! A peering is a cable between two VPC routers. What comes over it follows the router's own routes, which are local: so it
//! reaches the peer and nothing behind it. A transit gateway is a router with a table of its own for each route table; which
//! attachment a packet came by chooses the table (association), and VPCs put their networks into tables (propagation).
//! What comes from it follows the table of the first subnet that its attachment names, as with AWS.
//!
//! Simplified: an attachment serves all zones of its VPC, and no network ACL stands at it. A user notices with AWS, where an
//! instance in a zone without an attached subnet reaches nothing.

use std::collections::BTreeSet;

use ipnet::IpNet;
use rt_base::{Nanos, NodeId, PortId};
use rt_rules::{Match, Origin, Route, RouteKind, RoutePolicy};

use super::{INSIDE_MTU, Vpc, Way, default_of, origin_of, routes, set_up, unknown};
use crate::cities;
use crate::diag::Code;
use crate::model::{NodeKind, RouteTableModel};
use crate::tree::{Key, Value};
use crate::world::{Wire, World};

/// Largest IP packet through a transit gateway, or on a peering between regions (AWS: 8500 bytes).
const FAR_MTU: u16 = 8500;
/// A route that was learnt counts after one that is written.
const LEARNT_METRIC: u32 = 100;
/// The table for attachments that name none.
const DEFAULT: &str = "default";
/// Route tables of one transit gateway at most (AWS's quota is 20).
const MOST_TABLES: usize = 200;
/// Attachments of one transit gateway at most.
const MOST_ATTACHMENTS: usize = 500;

/// Makes all peerings and transit gateways.
pub(in crate::sites) fn join(world: &mut World<'_, '_>, vpcs: &mut [Vpc<'_>], sites: &Value) {
    for (name, value) in sites.entries() {
        if crate::shape::name_problem(&name.text).is_some() {
            continue;
        }
        match value.str_at("kind") {
            Some("peering") => peering(world, vpcs, (name, value)),
            Some("transit-gateway") => {
                transit(world, vpcs, (name, value));
            }
            _ => {}
        }
    }
}

/// A cable between two routers of the cloud, with a /30 of its own: the way from the first to the second, and back.
pub(super) fn line(
    world: &mut World<'_, '_>,
    (a, a_port): (NodeId, &str),
    (b, b_port): (NodeId, &str),
    wire: Wire,
    span: crate::diag::Span,
) -> (Way, Way) {
    let (near, far) = world.next_infrastructure();
    let mut ends = Vec::new();
    for (id, port, address) in [(a, a_port, near), (b, b_port, far)] {
        let usual = world.node(id).mtu.replace(wire.mtu);
        let port = world.add_port(id, port, span);
        world.node(id).mtu = usual;
        world.set_address((id, port), address, span);
        ends.push((id, port));
    }
    world.add_link(ends[0], ends[1], wire, span);
    (Way { out: ends[0].1, via: far.addr() }, Way { out: ends[1].1, via: near.addr() })
}

/// A line of the cloud: by distance between places, and what `value` says.
pub(super) fn wire(value: Option<&Value>, places: [Option<&str>; 2], mtu: u16) -> Wire {
    let near = Nanos::from_micros(50);
    let delay = match places {
        [Some(a), Some(b)] if a != b => cities::delay(a, b).unwrap_or(near),
        _ => near,
    };
    Wire { mtu, ..Wire::both(25_000_000_000, delay) }.read(value, ("up", "down"))
}

fn peering(world: &mut World<'_, '_>, vpcs: &mut [Vpc<'_>], (name, value): (&Key, &Value)) {
    let Some(between) = value.get("between") else { return };
    let mut ends = Vec::new();
    for item in between.items() {
        match vpcs.iter().position(|v| Some(v.name) == item.text()) {
            Some(found) => ends.push(found),
            None => return unknown_vpc(world, item, vpcs),
        }
    }
    let [a, b] = ends[..] else {
        return two_vpcs(world, between);
    };
    if a == b {
        return two_vpcs(world, between);
    }
    if refuse_overlap(world, (&vpcs[a], &vpcs[b]), name) {
        return;
    }
    let target = format!("peering {}", name.text);
    if value.flag_at("accepted") == Some(false) {
        let origin = default_of(world, Some(value), name.span, crate::views::PENDING_PEERING);
        for end in [a, b] {
            vpcs[end].dead.insert(target.clone(), origin.clone());
        }
        return;
    }
    let places = [vpcs[a].place.as_deref(), vpcs[b].place.as_deref()];
    let mtu = if places[0] == places[1] { INSIDE_MTU } else { FAR_MTU };
    let wire = wire(value.get("link"), places, mtu);
    if let Some(link) = value.get("link") {
        world.check_mtu(link);
    }
    let port = name.text.as_str();
    let (there, back) = line(world, (vpcs[a].router, port), (vpcs[b].router, port), wire, name.span);
    vpcs[a].ways.insert(target.clone(), there);
    vpcs[b].ways.insert(target, back);
}

fn unknown_vpc(world: &mut World<'_, '_>, item: &Value, vpcs: &[Vpc<'_>]) {
    let wanted = item.text().unwrap_or("");
    let help = match vpcs {
        [] => "there is none: `between:` names two sites with `kind: vpc`",
        _ => "`between:` names two sites with `kind: vpc`",
    };
    world
        .problems
        .add(Code::UnknownReference, item.span, format!("there is no VPC `{wanted}` to peer"), "no such VPC")
        .known(wanted, vpcs.iter().map(|v| v.name))
        .help(help);
}

fn two_vpcs(world: &mut World<'_, '_>, at: &Value) {
    world
        .problems
        .add(Code::WrongShape, crate::shape::head(at), "a peering is between two VPCs", "two of them")
        .help("write `between: [one, other]`");
}

/// AWS refuses to peer VPCs whose networks overlap.
fn refuse_overlap(world: &mut World<'_, '_>, (a, b): (&Vpc<'_>, &Vpc<'_>), name: &Key) -> bool {
    let both = a.cidrs.iter().flat_map(|one| b.cidrs.iter().map(move |other| (one, other)));
    let Some((one, other)) = both.into_iter().find(|(x, y)| x.0.contains(&y.0) || y.0.contains(&x.0)) else {
        return false;
    };
    let message = format!(
        "`{}` and `{}` cannot be peered: their networks {} and {} overlap",
        a.name, b.name, one.0, other.0
    );
    world
        .problems
        .add(Code::OverlappingSubnets, name.span, message, "this peering")
        .related(other.1, "this network")
        .help("give one of them another network");
    true
}

/// An attachment under construction.
struct Attached<'v> {
    name: &'v str,
    vpc: usize,
    port: PortId,
    way: Way,
    value: &'v Value,
    span: crate::diag::Span,
}

fn transit<'v>(
    world: &mut World<'_, '_>,
    vpcs: &mut [Vpc<'_>],
    (name, value): (&'v Key, &'v Value),
) -> Option<()> {
    let hub = world.add_node(&name.text, NodeKind::Router, "transit gateway", name.span);
    world.node(hub).node.site = Some(name.text.clone());
    let place = value.str_at("place").map(str::to_owned);
    set_up(world, hub, (place.as_ref(), FAR_MTU));
    world.node(hub).node.origin = origin_of(world, value, name.span);
    world.node(hub).node.stack.transparent = true;
    let mut attached: Vec<Attached<'v>> = Vec::new();
    let entries = value.get("attachments").map(Value::entries).unwrap_or_default();
    for (key, options) in entries.iter().take(MOST_ATTACHMENTS) {
        if let Some(one) = attach(world, vpcs, (hub, name, value), (key, options, &attached)) {
            attached.push(one);
        }
    }
    tables(world, vpcs, (hub, value, name), &attached);
    Some(())
}

/// Brings one VPC to the hub.
fn attach<'v>(
    world: &mut World<'_, '_>,
    vpcs: &mut [Vpc<'_>],
    (hub, name, value): (NodeId, &Key, &Value),
    (key, options, others): (&'v Key, &'v Value, &[Attached<'v>]),
) -> Option<Attached<'v>> {
    let written = options.get("vpc");
    let wanted = written.and_then(Value::text).unwrap_or(&key.text);
    let Some(vpc) = vpcs.iter().position(|v| v.name == wanted) else {
        let span = written.map_or(key.span, |v| v.span);
        world
            .problems
            .add(Code::UnknownReference, span, format!("there is no VPC `{wanted}` to attach"), "no such VPC")
            .known(wanted, vpcs.iter().map(|v| v.name))
            .help("an attachment is named after its VPC, or says `vpc: NAME`");
        return None;
    };
    if let Some(first) = others.iter().find(|o| o.vpc == vpc) {
        world
            .problems
            .add(Code::Contradiction, key.span, format!("`{wanted}` is attached twice"), "second time")
            .related(first.span, "first time")
            .help("a VPC has one attachment at a transit gateway");
        return None;
    }
    let mut subnets = Vec::new();
    for item in options.get("subnets").map(Value::items).unwrap_or_default() {
        subnets.extend(vpcs[vpc].subnet(world, item));
    }
    let places = [value.str_at("place"), vpcs[vpc].place.as_deref()];
    let wire = wire(value.get("link"), places, FAR_MTU);
    let own = vpcs[vpc].name.to_owned();
    let (there, back) = line(world, (vpcs[vpc].router, &name.text), (hub, &own), wire, key.span);
    let first = subnets.first().copied().or((!vpcs[vpc].subnets.is_empty()).then_some(0));
    vpcs[vpc].entrances.extend(first.map(|subnet| (there.out, subnet, key.span)));
    vpcs[vpc].ways.insert(format!("transit-gateway {}", name.text), there);
    Some(Attached { name: &key.text, vpc, port: back.out, way: back, value: options, span: key.span })
}

/// The route tables of a hub, and which attachment uses which.
fn tables(
    world: &mut World<'_, '_>,
    vpcs: &[Vpc<'_>],
    (hub, value, name): (NodeId, &Value, &Key),
    attached: &[Attached<'_>],
) {
    let written = value.get("route-tables").map(Value::entries).unwrap_or_default();
    let mut names: Vec<&str> = written.iter().map(|(k, _)| k.text.as_str()).collect();
    if !names.contains(&DEFAULT) {
        names.push(DEFAULT);
    }
    if names.len() > MOST_TABLES {
        let message = format!("a transit gateway has at most {MOST_TABLES} route tables here");
        world.problems.add(Code::TooLarge, name.span, message, "too many");
        return;
    }
    let mut tables: Vec<Vec<Route>> = vec![Vec::new(); names.len()];
    for (key, routes) in written {
        let at = names.iter().position(|n| *n == key.text).unwrap_or(0);
        tables[at] = hub_routes(world, (&name.text, routes), attached);
    }
    let place = |world: &mut World<'_, '_>, at: &Value| {
        let found = names.iter().position(|n| Some(*n) == at.text());
        if found.is_none() {
            unknown(world, at, "route table", (&name.text, names.iter().copied()));
        }
        found
    };
    let usual = names.iter().position(|n| *n == DEFAULT);
    for one in attached {
        let table = match one.value.get("route-table") {
            Some(at) => place(world, at),
            None => usual,
        };
        let learnt_by: BTreeSet<usize> = match one.value.get("propagates-to") {
            Some(list) => list.items().iter().filter_map(|at| place(world, at)).collect(),
            None => usual.into_iter().collect(),
        };
        for (cidr, _) in &vpcs[one.vpc].cidrs {
            let origin = learnt(world, one, IpNet::from(*cidr));
            let route = Route { metric: LEARNT_METRIC, ..routes::unicast((*cidr).into(), &one.way, origin) };
            for t in &learnt_by {
                propagate(world, (names[*t], &mut tables[*t]), &route, (one, attached));
            }
        }
        if let Some(table) = table {
            let when = Match { in_port: Some(one.port), ..Match::default() };
            let origin = origin_of(world, one.value, one.span);
            let table = table as u32 + 1;
            world.node(hub).node.policies.push(RoutePolicy { when, table, origin });
        }
    }
    let models = names.iter().zip(tables);
    let models = models.map(|(name, routes)| RouteTableModel { name: routes::model_name(name), routes });
    world.node(hub).node.tables.extend(models.collect::<Vec<_>>());
}

/// Puts an attachment's network into a table. Of several attachments with one network the first counts, as with AWS; a
/// written route counts more than any of them.
fn propagate(
    world: &mut World<'_, '_>,
    (name, table): (&str, &mut Vec<Route>),
    route: &Route,
    (one, attached): (&Attached<'_>, &[Attached<'_>]),
) {
    let mut same = table.iter().filter(|r| r.prefix == route.prefix);
    let Some(known) = same.next() else { return table.push(route.clone()) };
    if known.metric != LEARNT_METRIC {
        if same.next().is_none() {
            table.push(route.clone());
        }
        return;
    }
    let Some(first) = attached.iter().find(|a| a.way.out == known.out) else { return };
    let prefix = route.prefix;
    let message = format!(
        "the attachment `{}` does not put {prefix} into the route table `{name}`: `{}` did before",
        one.name, first.name
    );
    world
        .problems
        .add(Code::NoEffect, one.span, message, "the same network")
        .related(first.span, "this one counts")
        .help(format!(
            "give one of the VPCs another network, or write a route `{prefix}: ATTACHMENT` that chooses"
        ));
}

/// Where a propagated route comes from.
fn learnt(world: &World<'_, '_>, one: &Attached<'_>, cidr: IpNet) -> Origin {
    let what = format!("{cidr} is propagated by the attachment {}", one.name);
    default_of(world, Some(one.value), one.span, &what)
}

/// The routes that are written in a hub's table.
fn hub_routes(
    world: &mut World<'_, '_>,
    (hub, table): (&str, &Value),
    attached: &[Attached<'_>],
) -> Vec<Route> {
    let mut out = Vec::new();
    for (key, value) in table.entries().iter().filter(|(key, _)| key.text != "resource") {
        let at = value.get("target").unwrap_or(value);
        let (Some(text), Ok(prefix)) = (at.text(), key.text.parse::<IpNet>()) else {
            let message = format!("`{}` is not a network", key.text);
            world.problems.add(Code::BadNetwork, key.span, message, "not a destination");
            continue;
        };
        let origin = match (value.str_at("resource"), table.str_at("resource")) {
            (None, Some(address)) => Origin::Resource { address: address.to_owned() },
            _ => origin_of(world, value, key.span),
        };
        let prefix = prefix.trunc();
        if text == "blackhole" {
            let kind = RouteKind::Blackhole;
            out.push(Route { prefix, via: None, out: PortId(0), kind, metric: 0, source: None, origin });
        } else if let Some(one) = attached.iter().find(|a| a.name == text) {
            out.push(routes::unicast(prefix, &one.way, origin));
        } else {
            unknown(world, at, "attachment", (hub, attached.iter().map(|a| a.name)));
        }
    }
    out
}
