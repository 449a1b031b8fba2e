//! The internet: backbone routers in cities, an ISP where people live, DNS root and top-level servers, public resolvers.
//!
//! Simplified: one operator, routes by shortest delay (no BGP policy), one ISP router per place with homes. A user
//! notices when real routes take detours; `delays:` and `faults:` bend ours.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use rt_base::{InterfaceKind, Nanos, NodeId, PortId};

use super::{Plan, Public, attach, cgnat, known_place, place_of, server_wire, with_length};
use crate::apps::RESOLVER_THINK;
use crate::cities;
use crate::diag::{Code, Span};
use crate::dns::Authority;
use crate::model::{App, NodeKind};
use crate::names::keeps_order;
use crate::tree::{Key, Value};
use crate::world::{Attachment, Wire, World};

/// Up to so many places are joined all with all; beyond, each with its nearest.
const FULL_MESH: usize = 5;
/// So many places at most.
const MOST_PLACES: usize = 100;

/// So many top-level domains at most.
const MOST_TOP_LEVEL: usize = 200;

/// What `finish` needs of what `build` made.
pub(super) struct Built {
    routers: BTreeMap<String, NodeId>,
    pub(super) isps: BTreeMap<String, NodeId>,
    dns_place: String,
    dns_think: Nanos,
    roots: Authority,
}

/// Finds the internet site and reads what other sites need of it.
pub(super) fn plan(world: &mut World<'_, '_>, sites: &Value) -> Option<Plan> {
    let mut found: Option<(&Key, &Value)> = None;
    for (name, value) in sites.entries().iter().filter(|(_, v)| v.str_at("kind") == Some("internet")) {
        match found {
            None => found = Some((name, value)),
            Some((first, _)) => {
                world
                    .problems
                    .add(
                        Code::NeedsInternet,
                        name.span,
                        "there is one internet, and this is the second",
                        "second one",
                    )
                    .related(first.span, "first one")
                    .help("add its places to the first one");
            }
        }
    }
    let (name, value) = found?;
    let resolvers = value.get("resolvers").map(Value::entries).unwrap_or_default();
    Some(Plan {
        site: name.text.clone(),
        span: name.span,
        places: places(world, name, value),
        resolvers: resolvers.iter().filter_map(|(_, v)| v.address_at("address")).collect(),
        next_server: 0,
        homes_at: Vec::new(),
        clouds_at: Vec::new(),
        shared_at: Vec::new(),
        written: sites.entries().iter().flat_map(|(_, v)| written_publics(v)).collect(),
    })
}

/// The public addresses that a site says: a home's, and those of a VPC's elastic IPs, NAT gateways and instances.
fn written_publics(site: &Value) -> Vec<IpAddr> {
    let mut out: Vec<IpAddr> =
        site.get("public").and_then(|v| v.host(24)).map(|n| n.addr()).into_iter().collect();
    for (key, inner) in [("elastic-ips", "address"), ("nat-gateways", "public"), ("instances", "public")] {
        let entries = site.get(key).map(Value::entries).unwrap_or_default();
        out.extend(entries.iter().filter_map(|(_, v)| v.get(inner).unwrap_or(v).address()));
    }
    out
}

fn places(world: &mut World<'_, '_>, name: &Key, value: &Value) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let list = value.get("places").map(Value::items).unwrap_or_default();
    for item in list.iter().take(MOST_PLACES) {
        let Some(text) = item.text() else { continue };
        if out.iter().any(|p| p == text) {
            world.problems.add(
                Code::DuplicateNode,
                item.span,
                format!("`{text}` stands twice among the places"),
                "second time",
            );
        } else if cities::is_known(text) || has_all_delays(value, text, list) {
            out.push(text.to_owned());
        } else {
            world
                .problems
                .add(Code::UnknownPlace, item.span, format!("`{text}` is not a known city"), "unknown city")
                .known(text, cities::names())
                .help("use a known city, or give its distances under `delays:`");
        }
    }
    if out.is_empty() {
        world.problems.add(Code::MissingKey, name.span, "an internet needs at least one place", "no places");
    }
    out
}

fn has_all_delays(value: &Value, place: &str, list: &[Value]) -> bool {
    let others = list.iter().filter_map(Value::text).filter(|p| *p != place);
    let mut any = false;
    others.into_iter().all(|other| {
        any = true;
        written_delay(value, place, other).is_some()
    }) && any
}

fn written_delay(value: &Value, a: &str, b: &str) -> Option<Nanos> {
    let delays = value.get("delays")?;
    delays.duration_at(&format!("{a}-{b}")).or_else(|| delays.duration_at(&format!("{b}-{a}")))
}

/// One way from place to place: as written, else by the distance.
pub(super) fn delay_between(value: Option<&Value>, a: &str, b: &str) -> Nanos {
    let far = Nanos::from_millis(100);
    value.and_then(|value| written_delay(value, a, b)).or_else(|| cities::delay(a, b)).unwrap_or(far)
}

/// The root server's name and address.
pub(super) fn root_server() -> (String, IpAddr) {
    ("a.root-servers.net".to_owned(), Ipv4Addr::new(198, 41, 0, 4).into())
}

/// Makes routers, backbone links and resolvers.
pub(super) fn build(world: &mut World<'_, '_>, plan: &Plan, name: &Key, value: &Value) -> Built {
    check_delays(world, plan, value);
    let mut routers = BTreeMap::new();
    for place in &plan.places {
        let id = world.add_site_node(&plan.site, place, NodeKind::Router, "backbone router", name.span);
        let draft = world.node(id);
        draft.auto_routes = true;
        draft.node.place = Some(place.clone());
        routers.insert(place.clone(), id);
    }
    for (a, b, delay) in backbone(plan, value) {
        let wire = Wire::both(100_000_000_000, delay).read(value.get("backbone"), ("up", "down"));
        let wire = Wire { ab: with_delay(wire.ab, delay), ba: with_delay(wire.ba, delay), mtu: wire.mtu };
        join(world, (routers[&a], &format!("to-{b}")), (routers[&b], &format!("to-{a}")), wire, name.span);
    }
    let dns_place = value.get("dns-place").and_then(|v| known_place(world, plan, v.text()?, v.span));
    let dns_place = dns_place.or_else(|| plan.places.last().cloned()).unwrap_or_default();
    let (root_name, root) = root_server();
    let root = with_length(root, 24);
    let node = dns_server(world, plan, ("root", "DNS root server"), (root, &dns_place, name.span));
    let roots = Authority { name: root_name, address: root.addr(), node };
    for (short, options) in value.get("resolvers").map(Value::entries).unwrap_or_default() {
        resolver(world, plan, short, options, &roots);
    }
    let dns_think = value.duration_at("dns-think").unwrap_or(crate::apps::DNS_THINK);
    faults(world, plan, &routers, value);
    Built { routers, isps: BTreeMap::new(), dns_place, dns_think, roots }
}

fn with_delay(one: crate::model::Direction, delay: Nanos) -> crate::model::Direction {
    crate::model::Direction { delay, ..one }
}

fn check_delays(world: &mut World<'_, '_>, plan: &Plan, value: &Value) {
    for (pair, _) in value.get("delays").map(Value::entries).unwrap_or_default() {
        let known = pair.text.split_once('-').is_some_and(|(a, b)| {
            a != b && plan.places.iter().any(|p| p == a) && plan.places.iter().any(|p| p == b)
        });
        if !known {
            let message = format!("`{}` is not a pair of places", pair.text);
            world
                .problems
                .add(Code::UnknownPlace, pair.span, message, "not a pair")
                .help("write two of the places with a hyphen: `frankfurt-paris: 5ms`")
                .known(&pair.text, &plan.places);
        }
    }
}

/// The pairs of places that are joined, with their delays: all with all when few, else each with its three nearest.
fn backbone(plan: &Plan, value: &Value) -> Vec<(String, String, Nanos)> {
    let delay = |a: &str, b: &str| delay_between(Some(value), a, b);
    let mut out = Vec::new();
    for (i, a) in plan.places.iter().enumerate() {
        let mut others: Vec<(Nanos, usize)> =
            plan.places.iter().enumerate().filter(|(j, _)| *j != i).map(|(j, b)| (delay(a, b), j)).collect();
        others.sort();
        let few = plan.places.len() <= FULL_MESH;
        // The nearest among those before it keeps the whole connected.
        let back = others.iter().find(|(_, j)| *j < i).copied();
        let chosen = others.iter().take(if few { others.len() } else { 3 }).copied().chain(back);
        for (span, j) in chosen {
            let (low, high) = (i.min(j), i.max(j));
            out.push((low, high, span));
        }
    }
    out.sort();
    out.dedup_by_key(|(a, b, _)| (*a, *b));
    out.into_iter().map(|(a, b, d)| (plan.places[a].clone(), plan.places[b].clone(), d)).collect()
}

/// A link between two routers with addresses of its own.
fn join(world: &mut World<'_, '_>, a: (NodeId, &str), b: (NodeId, &str), wire: Wire, span: Span) {
    let (first, second) = world.next_infrastructure();
    let at_a = (a.0, world.add_port(a.0, a.1, span));
    let at_b = (b.0, world.add_port(b.0, b.1, span));
    world.set_address(at_a, first, span);
    world.set_address(at_b, second, span);
    world.add_link(at_a, at_b, wire, span);
}

fn dns_server(
    world: &mut World<'_, '_>,
    plan: &Plan,
    (short, role): (&str, &str),
    (address, place, span): (IpNet, &str, Span),
) -> NodeId {
    let id = world.add_site_node(&plan.site, short, NodeKind::Host, role, span);
    let (place, wire) = (place.to_owned(), server_wire());
    attach(
        world,
        id,
        "eth0",
        Public { address, place, anycast: false, by_isp: false, pppoe: false, wire, span },
    );
    id
}

fn resolver(world: &mut World<'_, '_>, plan: &Plan, short: &Key, value: &Value, roots: &Authority) {
    if let Some(why) = crate::shape::name_problem(&short.text) {
        let message = format!("`{}` cannot name a resolver: {why}", short.text);
        world.problems.add(Code::BadName, short.span, message, "not a name");
        return;
    }
    let Some(address) = value.address_at("address") else { return };
    let span = value.get("address").map_or(short.span, |v| v.span);
    let place = place_of(world, plan, value);
    let address = with_length(address, 24);
    let id = dns_server(world, plan, (&short.text, "recursive resolver"), (address, &place, span));
    world.node(id).node.apps.push(App::DnsResolver {
        roots: vec![(roots.name.clone(), roots.address)],
        think: value.duration_at("think").unwrap_or(RESOLVER_THINK),
        silent: value.flag_at("silent").unwrap_or(false),
        own: Vec::new(),
        fixed_order: keeps_order(value),
        client_subnet: value.flag_at("client-subnet") == Some(true),
    });
}

fn faults(world: &mut World<'_, '_>, plan: &Plan, routers: &BTreeMap<String, NodeId>, value: &Value) {
    let Some(faults) = value.get("faults") else { return };
    let lost = faults.get("no-route").map(Value::items).unwrap_or_default();
    world.faults.no_route = lost.iter().filter_map(|v| v.text()?.parse::<IpNet>().ok()).collect();
    for (network, places) in faults.get("routing-loop").map(Value::entries).unwrap_or_default() {
        let Ok(net) = network.text.parse::<IpNet>() else {
            let message = format!("`{}` is not a network", network.text);
            world.problems.add(Code::BadNetwork, network.span, message, "not a network");
            continue;
        };
        let mut ends = Vec::new();
        for item in places.items() {
            ends.extend(known_place(world, plan, item.text().unwrap_or(""), item.span).map(|p| routers[&p]));
        }
        match *ends {
            [a, b] if a != b => world.faults.loops.push((net.trunc(), a, b, network.span)),
            _ => {
                world
                    .problems
                    .add(Code::WrongShape, places.span, "a routing loop is between two places", "two places")
                    .help("write `192.0.2.0/24: [paris, frankfurt]`");
            }
        }
    }
}

/// Makes the top-level servers, then joins every site.
pub(super) fn finish(world: &mut World<'_, '_>, plan: &Plan, mut built: Built, value: &Value) {
    top_level(world, plan, &built);
    let attachments = std::mem::take(&mut world.attachments);
    refuse_overlaps(world, &attachments);
    let shared = cgnat::places(&attachments);
    cgnat::check(world, &attachments, value);
    let mut groups: Vec<Vec<Attachment>> = Vec::new();
    let mut index: BTreeMap<(IpNet, String), usize> = BTreeMap::new();
    for one in attachments {
        let at = *index.entry((one.network, one.place.clone())).or_insert(groups.len());
        match groups.get_mut(at) {
            Some(group) => group.push(one),
            None => groups.push(vec![one]),
        }
    }
    for group in groups {
        let by_isp = group.iter().any(|a| a.by_isp);
        let place = group[0].place.clone();
        let router =
            if by_isp { isp(world, plan, &mut built, &place) } else { built.routers.get(&place).copied() };
        if let Some(router) = router {
            connect(world, plan, router, group);
        }
    }
    cgnat::build(world, &shared, &built.isps, value);
}

/// Root and top-level zones. `com` and `net` are served by x.gtld-servers.net, every other one by a.nic.TLD.
fn top_level(world: &mut World<'_, '_>, plan: &Plan, built: &Built) {
    world.make_domain_zones();
    let mut wanted: Vec<String> = vec!["com".to_owned(), "net".to_owned()];
    wanted.extend(world.domains.iter().filter_map(|d| Some(d.name.rsplit_once('.')?.1.to_owned())));
    let mut servers: BTreeMap<String, Authority> = BTreeMap::new();
    for tld in wanted {
        if servers.contains_key(&tld) {
            continue;
        }
        if servers.len() > MOST_TOP_LEVEL {
            let message = format!("the names have more than {MOST_TOP_LEVEL} top-level domains");
            world
                .problems
                .add(Code::TooLarge, plan.span, message, "too many")
                .help("use `.com` or `.example`");
            break;
        }
        let authority = match servers.get("com").filter(|_| tld == "net") {
            Some(same) => same.clone(),
            None => {
                let number = 6 + servers.len().saturating_sub(1).min(200) as u8;
                let address = with_length(Ipv4Addr::new(192, 5, number, 30).into(), 24);
                let (short, name) = match &*tld {
                    "com" => ("gtld".to_owned(), "x.gtld-servers.net".to_owned()),
                    other => (format!("tld-{other}"), format!("a.nic.{other}")),
                };
                let role = format!("name server of .{tld}");
                let node = dns_server(world, plan, (&short, &role), (address, &built.dns_place, plan.span));
                Authority { name, address: address.addr(), node }
            }
        };
        servers.insert(tld, authority);
    }
    world.make_public_tree(&servers, &built.roots, plan.span);
    for authority in servers.values().chain([&built.roots]) {
        for app in &mut world.node(authority.node).node.apps {
            if let App::DnsServer { think, .. } = app {
                *think = built.dns_think;
            }
        }
    }
}

/// Networks of different sites must not overlap, unless the same one is announced from the same places.
fn refuse_overlaps(world: &mut World<'_, '_>, attachments: &[Attachment]) {
    // Two networks overlap only when one holds the other: sorted, the one that holds comes before the one that is held.
    let mut places: BTreeMap<(IpNet, Span), std::collections::BTreeSet<&str>> = BTreeMap::new();
    for one in attachments {
        places.entry((one.network, one.span)).or_default().insert(&one.place);
    }
    let mut open: Vec<(IpNet, Span)> = Vec::new();
    for &(net, span) in places.keys() {
        while open.last().is_some_and(|(outer, _)| !outer.contains(&net)) {
            open.pop();
        }
        match open.last() {
            Some(&(outer, first)) if outer != net || places[&(outer, first)] != places[&(net, span)] => {
                overlap(world, (outer, first), (net, span));
            }
            Some(_) => {}
            None => open.push((net, span)),
        }
    }
}

fn overlap(world: &mut World<'_, '_>, a: (IpNet, Span), b: (IpNet, Span)) {
    let (first, second) = if a.1 < b.1 { (a, b) } else { (b, a) };
    let message = if a.0 == b.0 {
        format!("the network {} is announced from different places by two machines", a.0)
    } else {
        format!("the networks {} and {} overlap", first.0, second.0)
    };
    world
        .problems
        .add(Code::OverlappingSubnets, second.1, message, "this one")
        .related(first.1, "and this one")
        .help("use an address of another network, or write a longer prefix, such as `/28`");
}

/// The ISP's router at a place, made when the first home there needs it.
fn isp(world: &mut World<'_, '_>, plan: &Plan, built: &mut Built, place: &str) -> Option<NodeId> {
    if let Some(id) = built.isps.get(place) {
        return Some(*id);
    }
    let router = *built.routers.get(place)?;
    let short = if built.isps.is_empty() { "isp".to_owned() } else { format!("isp-{place}") };
    let id = world.add_site_node(&plan.site, &short, NodeKind::Router, "ISP router", plan.span);
    let draft = world.node(id);
    draft.auto_routes = true;
    draft.node.place = Some(place.to_owned());
    let wire = Wire::both(100_000_000_000, Nanos::from_micros(100));
    join(world, (id, &format!("to-{place}")), (router, &format!("to-{short}")), wire, plan.span);
    built.isps.insert(place.to_owned(), id);
    Some(id)
}

/// A line whose ends speak PPPoE over it: the interfaces with the addresses are the session's, the cable is below.
fn over_session(
    world: &mut World<'_, '_>,
    ends: [((NodeId, PortId), String, bool); 2],
    wire: Wire,
    span: Span,
) {
    let below = ends.each_ref().map(|((id, _), name, _)| (*id, world.add_port(*id, name, span)));
    world.add_link(below[0], below[1], wire, span);
    for ((at, _, server), (_, parent)) in ends.into_iter().zip(below) {
        world.set_kind(at, InterfaceKind::Pppoe { parent, server }, false, span);
    }
}

/// One machine on a network gets a line of its own; several share a switch.
fn connect(world: &mut World<'_, '_>, plan: &Plan, router: NodeId, group: Vec<Attachment>) {
    let gateways: std::collections::BTreeSet<IpAddr> = group.iter().map(|a| a.gateway).collect();
    let span = group[0].span;
    if group.len() == 1 {
        let one = &group[0];
        let name = world.nodes[one.at.0.index()].node.name.clone();
        let short = name.strip_prefix(&format!("{}.", plan.site)).unwrap_or(&name).replace('.', "-");
        let port = world.add_port(router, &format!("to-{short}"), span);
        world.set_address((router, port), with_length(one.gateway, one.network.prefix_len()), span);
        world.node(router).ports[port.index()].anycast = one.anycast;
        if one.pppoe {
            let ends = [(one.at, "line".to_owned(), false), ((router, port), format!("line-{short}"), true)];
            return over_session(world, ends, one.wire.clone(), span);
        }
        world.add_link(one.at, (router, port), one.wire.clone(), span);
        return;
    }
    if let Some(line) = group.iter().find(|one| one.pppoe) {
        world
            .problems
            .add(Code::WrongShape, line.span, "a PPPoE line shares its network with others", "not alone")
            .help(
                "give this home a public address of another network, or write a longer prefix, such as `/30`",
            );
    }
    let short = format!("{}-lan{}", group[0].place, router.0);
    let short = if world.index.contains_key(&format!("{}.{short}", plan.site)) {
        format!("{short}-{}", world.nodes.len())
    } else {
        short
    };
    let switch = world.add_site_node(&plan.site, &short, NodeKind::Switch, "access switch", span);
    let port = world.add_port(router, &format!("to-{short}"), span);
    for gateway in gateways {
        world.set_address((router, port), with_length(gateway, group[0].network.prefix_len()), span);
    }
    world.node(router).ports[port.index()].anycast = group[0].anycast;
    let plug = world.add_port(switch, "p0", span);
    world.add_link((router, port), (switch, plug), server_wire(), span);
    for (index, one) in group.into_iter().enumerate() {
        let plug = world.add_port(switch, &format!("p{}", index + 1), one.span);
        world.add_link(one.at, (switch, plug), one.wire, one.span);
    }
}
