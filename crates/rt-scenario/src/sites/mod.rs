//! Sites: composite places that expand to plain nodes, links, routes, rules and apps.
//!
//! Each kind has a file with one function that builds its nodes; [`internet`] also joins all sites at the end, when
//! their addresses and names are known. To add a kind: a shape in [`crate::language`], a file here, a line in [`expand`].

mod cdn;
mod cgnat;
mod home;
mod host;
mod internet;
mod service;
mod vpc;

pub(crate) use vpc::{MOST_GROUPS, MOST_RULES, MOST_SUBNETS, never_private, never_public};

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use rt_base::NodeId;

use crate::diag::{Code, Span};
use crate::dns::{Domain, domain_of, host_name_problem};
use crate::model::NodeKind;
use crate::shape::name_problem;
use crate::tree::{Key, Value};
use crate::world::{Attachment, Wire, World};

/// What sites need to know of the internet before it is built.
pub(crate) struct Plan {
    /// Its site name.
    pub(crate) site: String,
    pub(crate) span: Span,
    pub(crate) places: Vec<String>,
    /// Addresses of its public resolvers.
    pub(crate) resolvers: Vec<IpAddr>,
    /// Counters for addresses that nobody wrote.
    next_server: u8,
    /// The next last number for homes at each place.
    homes_at: Vec<(String, u8)>,
    /// The next last number for elastic IPs at each place.
    clouds_at: Vec<(String, u8)>,
    /// The same for homes behind a carrier-grade NAT.
    shared_at: Vec<(String, u8)>,
    /// Public addresses that homes and VPCs say.
    written: Vec<IpAddr>,
}

/// Expands all sites.
pub(crate) fn expand(world: &mut World<'_, '_>, sites: &Value) {
    let mut plan = internet::plan(world, sites);
    let mut built = None;
    let mut vpcs = Vec::new();
    for (name, value) in sites.entries() {
        if let Some(why) =
            name_problem(&name.text).or(name.text.contains('.').then_some("site names have no dots"))
        {
            let message = format!("`{}` cannot name a site: {why}", name.text);
            world.problems.add(Code::BadName, name.span, message, "not a name");
            continue;
        }
        let kind = value.str_at("kind").unwrap_or("");
        if kind == "internet" {
            if let Some(plan) = plan.as_ref().filter(|p| p.site == name.text) {
                built = Some((internet::build(world, plan, name, value), value));
            }
            continue;
        }
        if kind == "vpc" {
            vpcs.extend(vpc::build(world, plan.as_mut(), name, value));
            continue;
        }
        if !matches!(kind, "home" | "service" | "cdn" | "host") {
            continue;
        }
        let Some(plan) = &mut plan else {
            world
                .problems
                .add(
                    Code::NeedsInternet,
                    name.span,
                    format!("the site `{}` has no internet to join", name.text),
                    "needs an internet",
                )
                .help("add a site `internet: { kind: internet, places: [frankfurt, paris, ashburn] }`");
            continue;
        };
        match kind {
            "home" => home::build(world, plan, name, value),
            "service" => service::build(world, plan, name, value),
            "cdn" => cdn::build(world, plan, name, value),
            _ => host::build(world, plan, name, value),
        }
    }
    vpc::joins::join(world, &mut vpcs, sites);
    vpc::endpoints::join(world, &mut vpcs, sites);
    vpc::finish(world, &vpcs);
    let internet = built.as_ref().map(|(_, value)| *value);
    cdn::finish(world, |a, b| internet::delay_between(internet, a, b));
    if let (Some(plan), Some((built, value))) = (plan, built) {
        internet::finish(world, &plan, built, value);
    }
}

/// The place that `value` names: one of the internet's; the first when none is written.
fn place_of(world: &mut World<'_, '_>, plan: &Plan, value: &Value) -> String {
    let first = plan.places.first().cloned().unwrap_or_default();
    match value.get("place") {
        Some(at) => known_place(world, plan, at.text().unwrap_or(""), at.span).unwrap_or(first),
        None => first,
    }
}

fn known_place(world: &mut World<'_, '_>, plan: &Plan, text: &str, span: Span) -> Option<String> {
    if plan.places.iter().any(|p| p == text) {
        return Some(text.to_owned());
    }
    let message = format!("`{text}` is not one of the places of `{}`", plan.site);
    world
        .problems
        .add(Code::UnknownPlace, span, message, "unknown place")
        .known(text, &plan.places)
        .help(format!("add it to `places:` of `{}`, or use one of these", plan.site));
    None
}

impl Plan {
    /// The next address for a home at `place`, from .50 of 203.0.113.0/24 (RFC 5737); each further place has the next
    /// /24. Addresses that are written somewhere are left out.
    fn public_address(&mut self, world: &mut World<'_, '_>, place: &str, span: Span) -> IpNet {
        let known = self.homes_at.iter().position(|(p, _)| p == place);
        let at = known.unwrap_or_else(|| {
            self.homes_at.push((place.to_owned(), 50));
            self.homes_at.len() - 1
        });
        let third = 113 + at.min(100) as u8;
        loop {
            let next = &mut self.homes_at[at].1;
            let last = *next;
            *next = last.saturating_add(1);
            if last > 250 {
                no_address_left(world, span, &format!("203.0.{third}.0/24"));
            }
            let address = IpAddr::V4(Ipv4Addr::new(203, 0, third, last.min(250)));
            if last > 250 || !self.written.contains(&address) {
                return with_length(address, 24);
            }
        }
    }

    /// The next address for a home behind its ISP's NAT, from .2 of 100.64.0.0/24 (RFC 6598); each further place has the
    /// next /24.
    fn shared_address(&mut self, world: &mut World<'_, '_>, place: &str, span: Span) -> IpNet {
        let known = self.shared_at.iter().position(|(p, _)| p == place);
        let at = known.unwrap_or_else(|| {
            self.shared_at.push((place.to_owned(), 2));
            self.shared_at.len() - 1
        });
        let third = at.min(255) as u8;
        let next = &mut self.shared_at[at].1;
        let last = *next;
        *next = last.saturating_add(1);
        if last > 250 {
            no_address_left(world, span, &format!("100.64.{third}.0/24"));
        }
        with_length(Ipv4Addr::new(100, 64, third, last.min(250)).into(), 24)
    }

    /// The next address for a server that nobody gave one, each in a /24 of its own out of 198.19.0.0/16 (RFC 2544).
    fn server_address(&mut self, world: &mut World<'_, '_>, span: Span) -> IpNet {
        if self.next_server == u8::MAX {
            no_address_left(world, span, "198.19.0.0/16");
        }
        self.next_server = self.next_server.saturating_add(1);
        with_length(Ipv4Addr::new(198, 19, self.next_server, 53).into(), 24)
    }
}

fn no_address_left(world: &mut World<'_, '_>, span: Span, pool: &str) {
    let message = format!("no address of {pool}, out of which unwritten ones come, is left");
    world
        .problems
        .add(Code::NoAddressLeft, span, message, "has none")
        .help("write the address of some machines yourself");
}

fn with_length(address: IpAddr, length: u8) -> IpNet {
    IpNet::new(address, length).expect("invariant: at most 32 for IPv4")
}

/// The first address of a network, which its router bears; the second when the machine itself is the first.
fn gateway_for(address: IpNet) -> IpAddr {
    let IpNet::V4(net) = address else { return address.addr() };
    let first = u32::from(net.network()).wrapping_add(u32::from(net.prefix_len() < 31));
    let gateway = Ipv4Addr::from(first);
    if gateway == net.addr() { Ipv4Addr::from(first.wrapping_add(1)).into() } else { gateway.into() }
}

/// Whether `address` can be a machine's in its network: not the network's own, not its broadcast address.
pub(crate) fn usable(address: IpNet) -> bool {
    let IpNet::V4(net) = address else { return false };
    net.prefix_len() >= 31 || (net.addr() != net.network() && net.addr() != net.broadcast())
}

/// How a machine stands on the internet.
struct Public {
    address: IpNet,
    place: String,
    anycast: bool,
    by_isp: bool,
    /// Over a PPPoE session.
    pppoe: bool,
    wire: Wire,
    /// Where the address was written.
    span: Span,
}

/// Gives a machine an interface with a public address, its gateway, and a line to the internet.
fn attach(world: &mut World<'_, '_>, id: NodeId, interface: &str, public: Public) {
    let Public { address, place, anycast, by_isp, pppoe, wire, span } = public;
    let port = world.add_port(id, interface, span);
    let gateway = gateway_for(address);
    world.set_address((id, port), address, span);
    let origin = world.default_of(span, "the internet's router on this network");
    world.set_gateway((id, port), gateway, origin);
    let draft = world.node(id);
    draft.own_routes = true;
    draft.node.place = Some(place.clone());
    draft.ports[port.index()].anycast = anycast;
    let network = address.trunc();
    world.attachments.push(Attachment {
        at: (id, port),
        network,
        gateway,
        place,
        anycast,
        by_isp,
        pppoe,
        wire,
        span,
    });
}

/// A server line: 10 Gbit/s, 50 us.
fn server_wire() -> Wire {
    Wire::both(10_000_000_000, rt_base::Nanos::from_micros(50))
}

/// Reads `names:`; bad host names are reported.
fn read_names(world: &mut World<'_, '_>, value: &Value) -> Vec<String> {
    let mut out = Vec::new();
    for item in value.get("names").map(Value::items).unwrap_or_default() {
        let Some(text) = item.text() else { continue };
        match host_name_problem(text) {
            None => out.push(text.trim_end_matches('.').to_lowercase()),
            Some(why) => {
                let message = format!("`{text}` is not a host name: {why}");
                world.problems.add(Code::BadName, item.span, message, "not a host name");
            }
        }
    }
    out
}

/// Zones and name server for the names of a site: one domain per registered name, all on one server.
fn publish(
    world: &mut World<'_, '_>,
    plan: &mut Plan,
    name: &Key,
    value: &Value,
    (names, address, place): (&[String], IpAddr, &str),
) {
    let mut wanted: Vec<String> = names.iter().map(|n| domain_of(n)).collect();
    wanted.dedup();
    let mut seen = std::collections::BTreeSet::new();
    wanted.retain(|d| seen.insert(d.clone()));
    let mut server = None;
    for domain in wanted {
        let mut records: Vec<String> = names
            .iter()
            .filter(|n| domain_of(n) == domain)
            .map(|n| format!("{n}. 300 IN A {address}"))
            .collect();
        let below = format!("{domain}.");
        records.extend(
            world
                .read_records(value.get("records"), &domain)
                .into_iter()
                .filter(|r| r.split(' ').next().is_some_and(|owner| owner.ends_with(&below))),
        );
        if let Some(old) = world.domains.iter_mut().find(|d| d.name == domain) {
            old.records.extend(records);
            continue;
        }
        let (id, at) = *server.get_or_insert_with(|| name_server(world, plan, name, value, &domain, place));
        world.domains.push(Domain {
            server_name: format!("ns1.{domain}"),
            server_address: at,
            server: id,
            records,
            span: name.span,
            name: domain,
        });
    }
}

fn name_server(
    world: &mut World<'_, '_>,
    plan: &mut Plan,
    name: &Key,
    value: &Value,
    domain: &str,
    place: &str,
) -> (NodeId, IpAddr) {
    let written = value.get("name-server");
    let at = written.and_then(|v| v.get("address").or(Some(v)));
    let span = at.map_or(name.span, |v| v.span);
    let address = at.and_then(|v| v.address()).map(|a| with_length(a, 24));
    let address = address.unwrap_or_else(|| plan.server_address(world, span));
    let place = match written.filter(|v| v.get("place").is_some()) {
        Some(v) => place_of(world, plan, v),
        None => place.to_owned(),
    };
    let first = !world.index.contains_key(&format!("{}.ns1", name.text));
    let short = if first { "ns1".to_owned() } else { format!("ns-{}", domain.replace('.', "-")) };
    let id = world.add_site_node(&name.text, &short, NodeKind::Host, "name server", span);
    world.node(id).node.role = format!("name server of {domain}");
    let think = written.and_then(|v| v.duration_at("think")).unwrap_or(crate::apps::DNS_THINK);
    let silent = written.and_then(|v| v.flag_at("silent")).unwrap_or(false);
    let wire = server_wire();
    attach(
        world,
        id,
        "eth0",
        Public { address, place, anycast: false, by_isp: false, pppoe: false, wire, span },
    );
    world.node(id).node.apps.push(crate::model::App::DnsServer {
        zones: Vec::new(),
        think,
        silent,
        fixed_order: written.is_some_and(crate::names::keeps_order),
        steering: Vec::new(),
    });
    (id, address.addr())
}
