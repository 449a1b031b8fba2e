//! A VPC: a router that nobody sees, a switch for each subnet, gateways, the resolver at its base address plus two, and
//! instances. The behaviour and the words are AWS's.
//!
//! Built in two steps. [`build`] makes nodes, links and addresses when the site is met; [`finish`] makes routes and rules
//! when all sites are known, because routes name peerings and rules name groups of other VPCs.
//!
//! - `router`: one port for each subnet; which port a packet came by chooses the route table (policy routing).
//! - `igw`: 1:1 NAT for each public address; without one nothing passes.
//! - a NAT gateway: a router with one leg in its public subnet; the internet gateway makes its address the elastic IP.
//! - security groups: stateful chains on the instance itself. Network ACLs: stateless chains at the router's ports.
//!
//! Simplified: one router and one switch a subnet where AWS has thousands; an instance has one interface; no IPv6, no
//! ingress route tables of gateways, no flow logs. A user notices in traceroutes (AWS shows as little) and in `zone`, which
//! is only drawn.

mod acls;
mod addresses;
pub(in crate::sites) mod endpoints;
mod gateways;
mod groups;
mod instances;
pub(in crate::sites) mod joins;
mod lines;
mod resolver;
mod routes;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use rt_base::{Nanos, NodeId, PortId};
use rt_rules::Origin;

pub(crate) use addresses::never_public;
pub(crate) use groups::{MOST_GROUPS, MOST_RULES};

use super::{Plan, place_of, with_length};
use crate::diag::{Code, Span};
use crate::model::NodeKind;
use crate::tree::{Key, Kind, Value};
use crate::world::{Wire, World};

/// Largest IP packet inside a VPC, and on a peering within a region (AWS: 9001 bytes).
pub(super) const INSIDE_MTU: u16 = 9001;
/// Subnets of one VPC at most (AWS's quota is 200).
pub(crate) const MOST_SUBNETS: usize = 500;

/// A VPC under construction.
pub(super) struct Vpc<'v> {
    pub(super) name: &'v str,
    pub(super) span: Span,
    pub(super) value: &'v Value,
    pub(super) cidrs: Vec<(Ipv4Net, Span)>,
    pub(super) place: Option<String>,
    /// The links inside.
    pub(super) wire: Wire,
    pub(super) router: NodeId,
    pub(super) subnets: Vec<Subnet<'v>>,
    pub(super) elastic: Vec<addresses::Elastic>,
    pub(super) gateway: Option<gateways::Gateway>,
    pub(super) nats: Vec<gateways::Nat>,
    pub(super) resolver: Option<resolver::Resolver>,
    pub(super) instances: Vec<instances::Instance<'v>>,
    /// Interfaces with security groups.
    pub(super) enis: Vec<groups::Eni>,
    /// What routes may name beside the above: `peering ab`, `transit-gateway hub`, `endpoint s3`.
    pub(super) ways: BTreeMap<String, Way>,
    /// The same, where nothing passes, with the reason.
    pub(super) dead: BTreeMap<String, Origin>,
    /// The router's ports by which packets of attachments come, with the subnet whose table they follow.
    pub(super) entrances: Vec<(PortId, usize, Span)>,
    /// Routes that endpoints put into tables.
    extra: Vec<endpoints::Extra>,
    /// Prefix lists of services.
    lists: BTreeMap<String, Vec<IpNet>>,
}

/// A subnet.
pub(super) struct Subnet<'v> {
    pub(super) name: &'v str,
    pub(super) span: Span,
    pub(super) value: &'v Value,
    pub(super) net: Ipv4Net,
    pub(super) switch: NodeId,
    /// The router's port.
    pub(super) port: PortId,
    /// Addresses that are written or given out.
    taken: BTreeSet<Ipv4Addr>,
}

/// Where a route leads: the router's port and the next address.
#[derive(Clone)]
pub(super) struct Way {
    pub(super) out: PortId,
    pub(super) via: IpAddr,
}

/// Makes nodes, links and addresses.
pub(super) fn build<'v>(
    world: &mut World<'_, '_>,
    plan: Option<&mut Plan>,
    name: &'v Key,
    value: &'v Value,
) -> Option<Vpc<'v>> {
    let mut plan = plan;
    let cidrs = cidrs(world, value)?;
    let place = match &plan {
        Some(plan) => Some(place_of(world, plan, value)),
        None => value.str_at("place").map(str::to_owned),
    };
    let wire = Wire { mtu: INSIDE_MTU, ..Wire::both(25_000_000_000, Nanos::from_micros(25)) };
    let wire = wire.read(value.get("cables"), ("up", "down"));
    if let Some(cables) = value.get("cables") {
        world.check_mtu(cables);
    }
    let router = world.add_site_node(&name.text, "router", NodeKind::Router, "VPC router", name.span);
    set_up(world, router, (place.as_ref(), wire.mtu));
    world.node(router).node.origin = origin_of(world, value, name.span);
    world.node(router).node.stack.transparent = true;
    let mut vpc = Vpc {
        name: &name.text,
        span: name.span,
        value,
        cidrs,
        place,
        wire,
        router,
        subnets: Vec::new(),
        elastic: Vec::new(),
        gateway: None,
        nats: Vec::new(),
        resolver: None,
        instances: Vec::new(),
        enis: Vec::new(),
        ways: BTreeMap::new(),
        dead: BTreeMap::new(),
        entrances: Vec::new(),
        extra: Vec::new(),
        lists: BTreeMap::new(),
    };
    vpc.build_subnets(world);
    vpc.note_written(world);
    vpc.read_elastic(world, plan.as_deref_mut());
    vpc.build_nats(world, plan.as_deref_mut());
    vpc.build_resolver(world, plan.as_deref_mut());
    vpc.build_instances(world, plan.as_deref_mut());
    vpc.build_gateway(world, plan);
    Some(vpc)
}

/// Makes routes and rules, when all sites are known.
pub(super) fn finish(world: &mut World<'_, '_>, vpcs: &[Vpc<'_>]) {
    for vpc in vpcs {
        vpc.serve_transit(world);
        vpc.write_routes(world);
        vpc.write_acls(world);
        vpc.write_groups(world, vpcs);
    }
}

/// What all machines of a VPC share.
fn set_up(world: &mut World<'_, '_>, id: NodeId, (place, mtu): (Option<&String>, u16)) {
    let draft = world.node(id);
    draft.own_routes = true;
    draft.mtu = Some(mtu);
    draft.node.place = place.cloned();
    draft.node.processing = Nanos::from_micros(2);
}

/// The origin of what `value` says: its Terraform address, else its line.
pub(super) fn origin_of(world: &World<'_, '_>, value: &Value, span: Span) -> Origin {
    match value.str_at("resource") {
        Some(address) => Origin::Resource { address: address.to_owned() },
        None => world.line(span),
    }
}

/// The origin of what the thing that `value` says does by default: its Terraform address, else its line.
pub(super) fn default_of(world: &World<'_, '_>, value: Option<&Value>, span: Span, what: &str) -> Origin {
    match value.and_then(|v| v.str_at("resource")) {
        Some(address) => Origin::Resource { address: format!("{address} (by default: {what})") },
        None => world.default_of(span, what),
    }
}

/// The networks of a VPC: each /16 to /28, none within another.
fn cidrs(world: &mut World<'_, '_>, value: &Value) -> Option<Vec<(Ipv4Net, Span)>> {
    let written = value.get("cidr")?;
    if written.kind == Kind::List(Vec::new()) {
        world
            .problems
            .add(Code::MissingKey, written.span, "a VPC needs a network", "none here")
            .help("write one, /16 to /28, such as `cidr: 10.0.0.0/16`");
    }
    let items = match &written.kind {
        Kind::List(items) => items.as_slice(),
        _ => std::slice::from_ref(written),
    };
    let mut out: Vec<(Ipv4Net, Span)> = Vec::new();
    for item in items {
        let Some(net) = network(world, item, "a VPC") else { continue };
        match out.iter().find(|(other, _)| other.contains(&net) || net.contains(other)) {
            Some((other, first)) => {
                let message = format!("the VPC's networks {other} and {net} overlap");
                world
                    .problems
                    .add(Code::OverlappingSubnets, item.span, message, "this one")
                    .related(*first, "and this one")
                    .help("remove one of them");
            }
            None => out.push((net, item.span)),
        }
    }
    (!out.is_empty()).then_some(out)
}

/// A network of a size that AWS allows; /16 to /28.
fn network(world: &mut World<'_, '_>, value: &Value, whose: &str) -> Option<Ipv4Net> {
    let IpNet::V4(net) = value.host(32)?.trunc() else { return None };
    if let Some(why) = never_private(net) {
        let message = format!("{net} is no network for {whose}: {why}");
        world
            .problems
            .add(Code::BadNetwork, value.span, message, "no machine can have its addresses")
            .help("take one that is private (RFC 1918), such as `10.0.0.0/16`");
        return None;
    }
    if (16..=28).contains(&net.prefix_len()) {
        return Some(net);
    }
    let message = format!("{net} is no network for {whose}: AWS takes /16 to /28");
    world
        .problems
        .add(Code::BadNetwork, value.span, message, "too large or too small")
        .help("use a prefix length from /16 to /28, such as `10.0.0.0/16`");
    None
}

/// Why no machine can have an address of a network (RFC 6890 names these; AWS refuses them too).
pub(crate) fn never_private(net: Ipv4Net) -> Option<&'static str> {
    let never = [
        (Ipv4Addr::UNSPECIFIED, 8, "it means this network (0.0.0.0/8)"),
        (Ipv4Addr::new(127, 0, 0, 0), 8, "it means the machine itself (127.0.0.0/8)"),
        (Ipv4Addr::new(169, 254, 0, 0), 16, "it is link-local (169.254.0.0/16)"),
        (Ipv4Addr::new(224, 0, 0, 0), 4, "these are multicast groups (224.0.0.0/4)"),
        (Ipv4Addr::new(240, 0, 0, 0), 4, "it is reserved (240.0.0.0/4)"),
        (
            Ipv4Addr::new(198, 18, 0, 0),
            15,
            "the lines between routers here have these addresses (198.18.0.0/15)",
        ),
    ];
    let holds = |(base, length, _): &&(Ipv4Addr, u8, &str)| {
        let one = Ipv4Net::new_assert(*base, *length);
        one.contains(&net) || net.contains(&one)
    };
    never.iter().find(holds).map(|(_, _, why)| *why)
}

impl<'v> Vpc<'v> {
    fn build_subnets(&mut self, world: &mut World<'_, '_>) {
        let entries = self.value.get("subnets").map(Value::entries).unwrap_or_default();
        if entries.len() > MOST_SUBNETS {
            let message = format!("a VPC has at most {MOST_SUBNETS} subnets here");
            world.problems.add(Code::TooLarge, self.span, message, "too many");
            return;
        }
        for (name, value) in entries {
            if !fine_name(world, name, "a subnet") {
                continue;
            }
            let Some(written) = value.get("cidr") else { continue };
            let Some(net) = network(world, written, "a subnet") else { continue };
            if self.fits(world, net, written.span) {
                self.build_subnet(world, (name, value), (net, written.span));
            }
        }
    }

    /// Whether a subnet's network lies in the VPC and overlaps no other.
    fn fits(&self, world: &mut World<'_, '_>, net: Ipv4Net, span: Span) -> bool {
        if !self.cidrs.iter().any(|(cidr, _)| cidr.contains(&net)) {
            let all: Vec<String> = self.cidrs.iter().map(|(n, _)| n.to_string()).collect();
            let message = format!("the subnet {net} is not within {} of `{}`", all.join(" or "), self.name);
            world
                .problems
                .add(Code::ForeignAddress, span, message, "outside the VPC")
                .related(self.cidrs[0].1, "the VPC's network")
                .help("use a part of the VPC's network, or add another one to its `cidr:`");
            return false;
        }
        let overlaps = |s: &&Subnet<'_>| s.net.contains(&net) || net.contains(&s.net);
        let Some(other) = self.subnets.iter().find(overlaps) else { return true };
        let message = format!("the subnets {} and {net} overlap", other.net);
        world
            .problems
            .add(Code::OverlappingSubnets, span, message, "this one")
            .related(other.value.get("cidr").map_or(other.span, |v| v.span), "and this one")
            .help("give them networks that do not overlap");
        false
    }

    fn build_subnet(
        &mut self,
        world: &mut World<'_, '_>,
        (name, value): (&'v Key, &'v Value),
        (net, span): (Ipv4Net, Span),
    ) {
        if !world.room_for(1, name.span) {
            return;
        }
        let port = world.add_port(self.router, &name.text, name.span);
        let router_address = IpAddr::V4(nth(net, 1));
        world.set_address((self.router, port), with_length(router_address, net.prefix_len()), span);
        let role = match value.str_at("zone") {
            Some(zone) => format!("subnet in {zone}"),
            None => "subnet".to_owned(),
        };
        let short = format!("subnet-{}", name.text);
        let switch = world.add_site_node(self.name, &short, NodeKind::Switch, &role, name.span);
        set_up(world, switch, (self.place.as_ref(), self.wire.mtu));
        world.node(switch).node.origin = origin_of(world, value, name.span);
        let plug = world.add_port(switch, "p0", name.span);
        world.add_link((self.router, port), (switch, plug), self.wire.clone(), name.span);
        let taken = [0, 1, 2, 3].map(|n| nth(net, n)).into_iter().chain([net.broadcast()]).collect();
        let name_span = name.span;
        self.subnets.push(Subnet { name: &name.text, span: name_span, value, net, switch, port, taken });
    }

    /// The subnet of that name; reported when there is none.
    pub(super) fn subnet(&self, world: &mut World<'_, '_>, at: &Value) -> Option<usize> {
        let name = at.text()?;
        let found = self.subnets.iter().position(|s| s.name == name);
        if found.is_none() && !world.problems.has(&[Code::BadNetwork, Code::OverlappingSubnets]) {
            unknown(world, at, "subnet", (self.name, self.subnets.iter().map(|s| s.name)));
        }
        found
    }

    /// Plugs an interface into a subnet: its address there and the subnet's router as its gateway.
    pub(super) fn plug_in(
        &self,
        world: &mut World<'_, '_>,
        (id, interface): (NodeId, &str),
        (subnet, address, span): (usize, Ipv4Addr, Span),
    ) -> PortId {
        let subnet = &self.subnets[subnet];
        let port = world.add_port(id, interface, span);
        let net = with_length(address.into(), subnet.net.prefix_len());
        world.set_address((id, port), net, span);
        let origin = world.default_of(subnet.span, "the subnet's router is the gateway");
        world.set_gateway((id, port), nth(subnet.net, 1).into(), origin);
        let number = world.nodes[subnet.switch.index()].ports.len();
        let plug = world.add_port(subnet.switch, &format!("p{number}"), span);
        world.add_link((id, port), (subnet.switch, plug), self.wire.clone(), span);
        port
    }

    /// A cable between the router and another machine of the VPC, with a /30 of its own: the port and address of both.
    pub(super) fn cable(
        &self,
        world: &mut World<'_, '_>,
        port: &str,
        (other, other_port): (NodeId, &str),
        span: Span,
    ) -> (Way, Way) {
        let (ours, theirs) = world.next_infrastructure();
        let here = world.add_port(self.router, port, span);
        let there = world.add_port(other, other_port, span);
        world.set_address((self.router, here), ours, span);
        world.set_address((other, there), theirs, span);
        world.add_link((self.router, here), (other, there), self.wire.clone(), span);
        (Way { out: here, via: theirs.addr() }, Way { out: there, via: ours.addr() })
    }
}

/// The address at that place of a network.
pub(super) fn nth(net: Ipv4Net, n: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(net.network()).wrapping_add(n))
}

/// Whether a name can be a node's; reported when not.
pub(super) fn fine_name(world: &mut World<'_, '_>, name: &Key, what: &str) -> bool {
    let why = crate::shape::name_problem(&name.text);
    if let Some(why) = why {
        let message = format!("`{}` cannot name {what}: {why}", name.text);
        world.problems.add(Code::BadName, name.span, message, "not a name");
    }
    why.is_none()
}

/// Reports a name of something that is not there.
pub(super) fn unknown<'k>(
    world: &mut World<'_, '_>,
    at: &Value,
    what: &str,
    (whose, known): (&str, impl IntoIterator<Item = &'k str>),
) {
    let name = at.text().unwrap_or("");
    let known: Vec<&str> = known.into_iter().collect();
    let message = format!("`{whose}` has no {what} `{name}`");
    let help = match known.is_empty() {
        true => format!("it has none: write one under the `{}` of `{whose}`", plural(what)),
        false => format!("write it under the `{}` of `{whose}`, or use one of these", plural(what)),
    };
    world
        .problems
        .add(Code::UnknownReference, at.span, message, &format!("no such {what}"))
        .known(name, known)
        .help(help);
}

fn plural(what: &str) -> String {
    format!("{}s:", what.replace("network ACL", "acl").replace("elastic IP", "elastic-ip").replace(' ', "-"))
        .replace("NAT", "nat")
}
