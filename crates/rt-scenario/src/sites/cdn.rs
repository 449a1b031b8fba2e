//! A CDN: one address announced from several places, a caching proxy at each, one origin behind them that no zone names.
//!
//! Each edge has a second address of its own, from which it asks the origin: an answer to the announced one would go to
//! whichever edge is nearest to the origin.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use rt_base::{Nanos, NodeId};
use rt_rules::http::PoolRules;
use rt_rules::{Route, RouteKind, Spread};

use super::{
    Plan, Public, attach, gateway_for, known_place, place_of, publish, read_names, server_wire, with_length,
};
use crate::airports;
use crate::apps::{EDGE_THINK, HTTP_THINK};
use crate::diag::{Code, Span};
use crate::dns::domain_of;
use crate::model::{App, CacheRules, CdnPlace, NodeKind, ProxyOptions, Steering};
use crate::proxy::read_cache;
use crate::tree::{Key, Value};
use crate::world::World;

/// How long an edge keeps an idle connection to the origin unless it says otherwise.
const KEEP_ALIVE: Nanos = Nanos::from_secs(60);

/// How long an answer may be kept that is for one place, seconds (Route 53 and others advise a minute).
const STEERED_TTL: u32 = 60;

/// What the edges of a CDN share.
struct Cdn<'v> {
    name: &'v str,
    address: IpNet,
    address_span: Span,
    certificate: Option<usize>,
    http2: bool,
    think: Nanos,
    anycast: bool,
    origin: Origin,
    options: ProxyOptions,
}

/// The server behind the edges.
struct Origin {
    node: String,
    at: SocketAddr,
    span: Span,
}

pub(super) fn build(world: &mut World<'_, '_>, plan: &mut Plan, name: &Key, value: &Value) {
    let names = read_names(world, value);
    let at = value.get("address");
    let address = at.and_then(|v| v.host(24)).unwrap_or_else(|| plan.server_address(world, name.span));
    let certificate = world.read_certificate(&name.text, value.get("certificate"), &names);
    let edges = value.get("edges").map(Value::entries).unwrap_or_default();
    if edges.is_empty() && value.get("edges").is_some() {
        world
            .problems
            .add(Code::MissingKey, name.span, "a CDN needs at least one edge", "no edges")
            .help("write `edges: { tokyo: , frankfurt: }`");
    }
    let (origin, secure) = build_origin(world, plan, name, value, &names);
    let cdn = Cdn {
        name: &name.text,
        address,
        address_span: at.map_or(name.span, |v| v.span),
        certificate,
        http2: value.flag_at("http2").unwrap_or(true),
        think: value.duration_at("think").unwrap_or(EDGE_THINK),
        anycast: edges.len() > 1,
        origin,
        options: ProxyOptions {
            cache: match value.get("cache") {
                Some(_) => read_cache(value, CacheRules::of_a_cdn()),
                None => Some(CacheRules::of_a_cdn()),
            },
            cdn: None,
            upstream_tls: names.first().filter(|_| secure).cloned(),
            rules: PoolRules {
                idle: value.duration_at("keep-alive").unwrap_or(KEEP_ALIVE),
                ..PoolRules::default()
            },
            ..ProxyOptions::default()
        },
    };
    let by_dns = value.str_at("steering") == Some("dns");
    let mut cdn = Cdn { anycast: cdn.anycast && !by_dns, ..cdn };
    let mut places: Vec<(String, IpAddr)> = Vec::new();
    for (place, options) in edges {
        if let Some(place_name) = known_place(world, plan, &place.text, place.span) {
            if by_dns {
                let own = options.get("address").and_then(|v| v.host(24));
                let shared = at.filter(|_| places.is_empty()).map(|_| address);
                let own = own.or(shared).unwrap_or_else(|| plan.server_address(world, place.span));
                cdn.address = own;
                cdn.address_span = options.get("address").map_or(place.span, |v| v.span);
            }
            build_edge(world, plan, &cdn, (place, &place_name), options);
            places.push((place_name, cdn.address.addr()));
        }
    }
    let place = places.first().map_or_else(|| plan.places.first().cloned(), |(place, _)| Some(place.clone()));
    let place = place.unwrap_or_default();
    let first = places.first().map_or(address.addr(), |(_, address)| *address);
    publish(world, plan, name, value, (&names, first, &place));
    if by_dns {
        steer(world, &names, &places);
    }
}

/// All edges stand in the zone; its name server gives each asker the nearest. Which networks are where is known when all
/// sites are ([`finish`]).
fn steer(world: &mut World<'_, '_>, names: &[String], places: &[(String, IpAddr)]) {
    for name in names {
        let domain = domain_of(name);
        let Some(domain) = world.domains.iter_mut().find(|one| one.name == domain) else { continue };
        let others = places.iter().skip(1);
        domain.records.extend(others.map(|(_, address)| format!("{name}. {STEERED_TTL} IN A {address}")));
        for record in &mut domain.records {
            if let Some(rest) = record.strip_prefix(&format!("{name}. 300 IN A ")) {
                *record = format!("{name}. {STEERED_TTL} IN A {rest}");
            }
        }
        let (server, name) = (domain.server, name.clone());
        for app in &mut world.node(server).node.apps {
            if let App::DnsServer { steering, .. } = app {
                let places = places.to_vec();
                steering.push(Steering { name: name.clone(), places, networks: Vec::new() });
            }
        }
    }
}

/// The origin, and whether it speaks TLS.
fn build_origin(
    world: &mut World<'_, '_>,
    plan: &mut Plan,
    name: &Key,
    value: &Value,
    names: &[String],
) -> (Origin, bool) {
    static NOTHING: Value = Value { span: Span { start: 0, end: 0 }, kind: crate::tree::Kind::Null };
    let value = value.get("origin").unwrap_or(&NOTHING);
    let span = value.get("address").map_or(name.span, |v| v.span);
    let address = value.get("address").and_then(|v| v.host(24));
    let address = address.unwrap_or_else(|| plan.server_address(world, name.span));
    let place = place_of(world, plan, value);
    let id = world.add_site_node(&name.text, "origin", NodeKind::Host, "origin server", name.span);
    let wire = server_wire().read(value.get("link"), ("up", "down"));
    let public = Public { address, place, anycast: false, by_isp: false, pppoe: false, wire, span };
    attach(world, id, "eth0", public);
    let certificate = if value.flag_at("tls") == Some(false) {
        None
    } else {
        world.read_certificate(&format!("{}-origin", name.text), None, names)
    };
    let port = if certificate.is_some() { 443 } else { 80 };
    let pages = world.read_pages(value.get("pages"), "cdn");
    let draft = world.node(id);
    draft.node.apps.push(App::HttpServer {
        port,
        certificate,
        http2: false,
        pages,
        think: value.duration_at("think").unwrap_or(HTTP_THINK),
        silent: value.flag_at("silent").unwrap_or(false),
        idle_unused: None,
        idle: None,
        hosting: Box::default(),
    });
    let node = draft.node.name.clone();
    (Origin { node, at: SocketAddr::new(address.addr(), port), span }, certificate.is_some())
}

fn build_edge(
    world: &mut World<'_, '_>,
    plan: &mut Plan,
    cdn: &Cdn<'_>,
    (key, place): (&Key, &str),
    value: &Value,
) {
    if !world.room_for(1, key.span) {
        return;
    }
    let edge = world.add_site_node(cdn.name, place, NodeKind::Host, "CDN edge", key.span);
    let wire = server_wire().read(value.get("link"), ("up", "down"));
    let public = |address: IpNet, anycast: bool, span: Span| Public {
        address,
        place: place.to_owned(),
        anycast,
        by_isp: false,
        pppoe: false,
        wire: wire.clone(),
        span,
    };
    attach(world, edge, "wan", public(cdn.address, cdn.anycast, cdn.address_span));
    world.node(edge).node.processing = Nanos::from_micros(10);
    let own = plan.server_address(world, key.span);
    attach(world, edge, "origin-side", public(own, false, key.span));
    own_way(world, edge, cdn, own);
    let mut add = |port: u16, certificate: Option<usize>, http2: bool| {
        let upstreams = vec![(cdn.origin.node.clone(), cdn.origin.at)];
        let airport = airports::airport(place);
        let cdn_place = CdnPlace { airport, countries: Vec::new() };
        let options = Box::new(ProxyOptions { cdn: Some(cdn_place), ..cdn.options.clone() });
        let (balance, think) = (Spread::RoundRobin, cdn.think);
        world.node(edge).node.apps.push(App::Edge {
            port,
            certificate,
            http2,
            upstreams,
            balance,
            think,
            options,
        });
    };
    if cdn.certificate.is_some() {
        add(443, cdn.certificate, cdn.http2);
    }
    add(80, None, false);
}

/// The edge's second interface is its way to the origin, and to nothing else.
fn own_way(world: &mut World<'_, '_>, edge: NodeId, cdn: &Cdn<'_>, own: IpNet) {
    let Some(out) = world.find_port(edge, "origin-side") else { return };
    let origin = world.default_of(cdn.origin.span, "an edge asks its origin from an address of its own");
    let prefix = with_length(cdn.origin.at.ip(), 32);
    let via = Some(gateway_for(own));
    let routes = &mut world.node(edge).node.routes;
    routes.retain(|route| route.out != out || route.via.is_none());
    routes.push(Route { prefix, via, out, kind: RouteKind::Unicast, metric: 0, source: None, origin });
}

/// Tells name servers that steer which networks are where, and the edges in which country: known when all sites are. `delay`
/// is the time between two places.
pub(super) fn finish(world: &mut World<'_, '_>, delay: impl Fn(&str, &str) -> Nanos) {
    let mut whereabouts: BTreeMap<IpNet, String> = BTreeMap::new();
    for one in world.attachments.iter().filter(|one| !one.anycast) {
        whereabouts.entry(one.network).or_insert_with(|| one.place.clone());
    }
    let steering =
        world.nodes.iter_mut().flat_map(|draft| &mut draft.node.apps).filter_map(|app| match app {
            App::DnsServer { steering, .. } => Some(steering),
            _ => None,
        });
    for one in steering.flatten().filter(|one| one.networks.is_empty()) {
        let places = &one.places;
        let nearest = |city: &str| {
            (0..places.len())
                .min_by_key(|&at| if places[at].0 == city { Nanos::ZERO } else { delay(city, &places[at].0) })
        };
        let known = whereabouts.iter().filter_map(|(net, city)| Some((*net, city.clone(), nearest(city)?)));
        one.networks = known.collect();
    }
    countries(world);
}

fn countries(world: &mut World<'_, '_>) {
    let mut countries: BTreeMap<IpNet, &'static str> = BTreeMap::new();
    for one in world.attachments.iter().filter(|one| !one.anycast) {
        if let Some(country) = airports::country(&one.place) {
            countries.insert(one.network, country);
        }
    }
    let countries: Vec<(IpNet, String)> =
        countries.into_iter().map(|(net, country)| (net, country.to_owned())).collect();
    for draft in &mut world.nodes {
        for app in &mut draft.node.apps {
            if let App::Edge { options, .. } = app
                && let Some(place) = options.cdn.as_mut().filter(|place| place.countries.is_empty())
                && draft.node.site.is_some()
            {
                place.countries.clone_from(&countries);
            }
        }
    }
}
