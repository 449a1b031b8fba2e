//! A service: one address announced from several places, a balancer and servers at each.

use std::net::{Ipv4Addr, SocketAddr};

use ipnet::IpNet;
use rt_base::{Nanos, NodeId};

use super::{Plan, Public, attach, known_place, publish, read_names, server_wire, with_length};
use crate::apps::EDGE_THINK;
use crate::diag::{Code, Span};
use crate::model::{App, CacheRules, Hosting, NodeKind, Pages, ProxyOptions, SocketKind};
use crate::proxy::read_cache;
use crate::routes::read_balance;
use crate::tree::{Key, Value};
use crate::world::{Wire, World};

/// What the edges of a service share.
struct Service<'v> {
    name: &'v str,
    address: IpNet,
    address_span: Span,
    anycast: bool,
    pages: Pages,
    sockets: Vec<(String, SocketKind)>,
    certificate: Option<usize>,
    http2: bool,
    think: Nanos,
    silent: bool,
    value: &'v Value,
}

pub(super) fn build(world: &mut World<'_, '_>, plan: &mut Plan, name: &Key, value: &Value) {
    let names = read_names(world, value);
    let at = value.get("address");
    let address = at.and_then(|v| v.host(24)).unwrap_or_else(|| plan.server_address(world, name.span));
    let edges = value.get("edges").map(Value::entries).unwrap_or_default();
    let service = Service {
        name: &name.text,
        address,
        address_span: at.map_or(name.span, |v| v.span),
        anycast: edges.len() > 1,
        pages: world.read_pages(value.get("pages"), "hello"),
        sockets: world.read_sockets(value),
        certificate: world.read_certificate(&name.text, value.get("certificate"), &names),
        http2: value.flag_at("http2").unwrap_or(true),
        think: value.duration_at("think").unwrap_or(Nanos::from_millis(20)),
        silent: value.flag_at("silent").unwrap_or(false),
        value,
    };
    if edges.is_empty() && value.get("edges").is_some() {
        world
            .problems
            .add(Code::MissingKey, name.span, "a service needs at least one edge", "no edges")
            .help("write `edges: { frankfurt: { servers: 2 } }`");
    }
    world.check_pool(value, "upstream-tls");
    let mut first = None;
    for (place, options) in edges {
        if let Some(place_name) = known_place(world, plan, &place.text, place.span) {
            first.get_or_insert(place_name.clone());
            build_edge(world, &service, (place, &place_name), options);
        }
    }
    let place = first.unwrap_or_else(|| plan.places.first().cloned().unwrap_or_default());
    publish(world, plan, name, value, (&names, address.addr(), &place));
}

fn build_edge(world: &mut World<'_, '_>, service: &Service<'_>, (key, place): (&Key, &str), value: &Value) {
    let count = value.whole_at("servers").unwrap_or(1).clamp(1, 200);
    if !world.room_for(count as usize + 2, key.span) {
        return;
    }
    let edge = world.add_site_node(service.name, place, NodeKind::Host, "load balancer", key.span);
    let wire = server_wire().read(value.get("link"), ("up", "down"));
    let public = Public {
        address: service.address,
        place: place.to_owned(),
        anycast: service.anycast,
        by_isp: false,
        pppoe: false,
        wire,
        span: service.address_span,
    };
    attach(world, edge, "wan", public);
    world.node(edge).node.processing = Nanos::from_micros(10);
    // Servers stand in a private network of their own that nobody announces.
    let (second, third) = world.next_private();
    let net = |last: u8| with_length(Ipv4Addr::new(10, second, third, last).into(), 24);
    let inside = world.add_port(edge, "lan", key.span);
    world.set_address((edge, inside), net(1), key.span);
    let switch = world.add_site_node(
        service.name,
        &format!("{place}-lan"),
        NodeKind::Switch,
        "server switch",
        key.span,
    );
    world.node(switch).node.place = Some(place.to_owned());
    let cable = Wire::both(10_000_000_000, Nanos::from_micros(2));
    let plug = world.add_port(switch, "p0", key.span);
    world.add_link((edge, inside), (switch, plug), cable.clone(), key.span);
    let mut upstreams = Vec::new();
    for number in 1..=count {
        let address = net(10 + number as u8);
        let server = build_server(world, service, (place, number), (address, key.span));
        let port = world.add_port(server, "eth0", key.span);
        world.set_address((server, port), address, key.span);
        let plug = world.add_port(switch, &format!("p{number}"), key.span);
        world.add_link((server, port), (switch, plug), cable.clone(), key.span);
        let name = world.nodes[server.index()].node.name.clone();
        upstreams.push((name, SocketAddr::new(address.addr(), 80)));
    }
    listen(world, service, edge, &upstreams);
}

fn build_server(
    world: &mut World<'_, '_>,
    service: &Service<'_>,
    (place, number): (&str, u64),
    (_, span): (IpNet, Span),
) -> NodeId {
    let id =
        world.add_site_node(service.name, &format!("{place}-{number}"), NodeKind::Host, "web server", span);
    let draft = world.node(id);
    draft.own_routes = true;
    draft.node.place = Some(place.to_owned());
    draft.node.apps.push(App::HttpServer {
        port: 80,
        certificate: None,
        http2: false,
        pages: service.pages.clone(),
        think: service.think,
        silent: service.silent,
        idle_unused: None,
        idle: None,
        hosting: Box::new(Hosting { sockets: service.sockets.clone(), ..Hosting::default() }),
    });
    id
}

/// TLS on 443 when there is a certificate, plain HTTP on 80.
fn listen(
    world: &mut World<'_, '_>,
    service: &Service<'_>,
    edge: NodeId,
    upstreams: &[(String, SocketAddr)],
) {
    let balance = read_balance(service.value);
    let cache = read_cache(service.value, CacheRules::default());
    let rules = world.read_pool_rules(service.value);
    let mut add = |port: u16, certificate: Option<usize>, http2: bool| {
        let upstreams = upstreams.to_vec();
        let (cache, rules) = (cache.clone(), rules.clone());
        let options = Box::new(ProxyOptions { cache, rules, ..ProxyOptions::default() });
        let app = App::Edge { port, certificate, http2, upstreams, balance, think: EDGE_THINK, options };
        world.node(edge).node.apps.push(app);
    };
    if service.certificate.is_some() {
        add(443, service.certificate, service.http2);
    }
    add(80, None, false);
}
