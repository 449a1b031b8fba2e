//! VPC endpoints: ways to a service that do not touch the internet.
//!
//! - `gateway`: a router between the VPC and the service, and a route to the service's network (its prefix list) in the route
//!   tables that are named. Nothing is translated: the service sees private addresses. Only where two VPCs with the same
//!   network reach one service, the second endpoint translates, so that the service can tell them apart. The service only
//!   answers, it begins nothing.
//! - `interface`: an address in a subnet, with security groups. What comes to it goes on to the service, translated both
//!   ways; inside the VPC the service's names mean it (private DNS).
//!
//! Simplified: the line to the service is direct. Policies (who may do what) are not a matter of packets.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use rt_base::{HookPoint, NodeId, PortId};
use rt_rules::{Action, Chain, CtState, Filter, Match, NatAction, NatPorts, NatRule, Policy, PortRange};

use super::groups::Eni;
use super::joins::{line, wire};
use super::{Vpc, Way, default_of, fine_name, origin_of, routes, set_up, unknown};
use crate::diag::{Code, Span};
use crate::model::{App, NodeKind};
use crate::tree::{Key, Value};
use crate::world::World;

/// A route that an endpoint puts into a table.
pub(super) struct Extra {
    pub(super) table: String,
    pub(super) route: rt_rules::Route,
}

/// A service outside, as endpoints see it.
struct Service {
    /// Its machine that endpoints lead to.
    node: NodeId,
    address: IpAddr,
    /// What is announced for it: its prefix list.
    network: IpNet,
    names: Vec<String>,
    place: Option<String>,
}

/// Networks of VPCs that a service's machine has a route to.
type Joined = BTreeMap<NodeId, Vec<IpNet>>;

/// Makes the endpoints of all VPCs.
pub(in crate::sites) fn join(world: &mut World<'_, '_>, vpcs: &mut [Vpc<'_>], sites: &Value) {
    let mut joined = Joined::new();
    for vpc in vpcs {
        for (name, value) in vpc.value.get("endpoints").map(Value::entries).unwrap_or_default() {
            if fine_name(world, name, "an endpoint") && world.room_for(1, name.span) {
                vpc.build_endpoint(world, (name, value), sites, &mut joined);
            }
        }
    }
}

/// The service that an endpoint names: a site of kind `host` or `service`; of several places the one that is nearest.
fn service(world: &mut World<'_, '_>, at: &Value, sites: &Value, place: Option<&str>) -> Option<Service> {
    let name = at.text()?;
    let fits = |v: &Value| matches!(v.str_at("kind"), Some("host" | "service"));
    let Some((_, site)) = sites.entries().iter().find(|(key, v)| key.text == name && fits(v)) else {
        let known = sites.entries().iter().filter(|(_, v)| fits(v)).map(|(key, _)| key.text.as_str());
        let message = format!("there is no service `{name}` that an endpoint could lead to");
        world
            .problems
            .add(Code::UnknownReference, at.span, message, "no such service")
            .known(name, known)
            .help("a service is a site of kind `host` or `service`");
        return None;
    };
    let network = site.get("address")?.host(24)?;
    let holds = |id: &usize| {
        let node = &world.nodes[*id].node;
        node.site.as_deref() == Some(name)
            && node.interfaces.iter().flat_map(|i| &i.addresses).any(|a| a.addr() == network.addr())
    };
    let found: Vec<usize> = (0..world.nodes.len()).filter(holds).collect();
    let near = found.iter().find(|id| world.nodes[**id].node.place.as_deref() == place);
    let index = *near.or(found.first())?;
    let node = NodeId(u32::try_from(index).ok()?);
    let names = site.get("names").map(Value::items).unwrap_or_default();
    let names = names.iter().filter_map(|v| Some(v.text()?.trim_end_matches('.').to_lowercase())).collect();
    let place = world.nodes[index].node.place.clone();
    Some(Service { node, address: network.addr(), network: network.trunc(), names, place })
}

impl<'v> Vpc<'v> {
    fn build_endpoint(
        &mut self,
        world: &mut World<'_, '_>,
        (name, value): (&'v Key, &'v Value),
        sites: &Value,
        joined: &mut Joined,
    ) -> Option<()> {
        let service = service(world, value.get("service")?, sites, self.place.as_deref())?;
        self.lists.insert(name.text.clone(), vec![service.network]);
        if value.str_at("type") == Some("interface") {
            self.interface_endpoint(world, (name, value), &service);
        } else {
            self.gateway_endpoint(world, (name, value), &service, joined);
        }
        Some(())
    }

    /// A router of the VPC that leads to the service.
    fn endpoint_node(
        &self,
        world: &mut World<'_, '_>,
        (short, role): (&str, &str),
        (value, span): (&Value, Span),
    ) -> NodeId {
        let id = world.add_site_node(self.name, short, NodeKind::Router, role, span);
        set_up(world, id, (self.place.as_ref(), self.wire.mtu));
        world.node(id).node.origin = origin_of(world, value, span);
        id
    }

    /// Its line to the service: there and back.
    fn to_service(&self, world: &mut World<'_, '_>, id: NodeId, service: &Service, span: Span) -> (Way, Way) {
        let wire = wire(None, [self.place.as_deref(), service.place.as_deref()], 1500);
        let port = format!("from-{}", world.nodes[id.index()].node.name.replace('.', "-"));
        let (out, back) = line(world, (id, "service"), (service.node, &port), wire, span);
        let origin = world.line(span);
        let route = routes::unicast(service.address.into(), &out, origin);
        world.node(id).node.routes.push(route);
        (out, back)
    }

    fn gateway_endpoint(
        &mut self,
        world: &mut World<'_, '_>,
        (name, value): (&Key, &Value),
        service: &Service,
        joined: &mut Joined,
    ) {
        let id = self.endpoint_node(world, (&name.text, "gateway endpoint"), (value, name.span));
        world.node(id).node.stack.transparent = true;
        let (way, inward) = self.cable(world, &name.text, (id, "vpc"), name.span);
        let (out, back) = self.to_service(world, id, service, name.span);
        answers_only(world, (id, inward.out), (value, name.span));
        let origin = origin_of(world, value, name.span);
        let known = joined.entry(service.node).or_default();
        let own: Vec<IpNet> = self.cidrs.iter().map(|(net, _)| IpNet::V4(*net)).collect();
        let clash = own.iter().any(|net| known.iter().any(|k| k.contains(net) || net.contains(k)));
        for net in &own {
            let route = routes::unicast(*net, &inward, origin.clone());
            world.node(id).node.routes.push(route);
            if !clash {
                known.push(*net);
                let route = routes::unicast(*net, &back, origin.clone());
                world.node(service.node).node.routes.push(route);
            }
        }
        if clash {
            let when = Match { out_port: Some(out.out), ..Match::default() };
            let action = NatAction::Masquerade { ports: NatPorts::Preserve(PORTS) };
            world.node(id).node.nat.push(NatRule::new(when, action, origin.clone()));
        }
        for item in value.get("route-tables").map(Value::items).unwrap_or_default() {
            let Some(table) = item.text() else { continue };
            let tables = self.value.get("route-tables");
            if tables.is_none_or(|t| t.entry(table).is_none()) {
                let known =
                    tables.map(Value::entries).unwrap_or_default().iter().map(|(k, _)| k.text.as_str());
                unknown(world, item, "route table", (self.name, known));
                continue;
            }
            let route = routes::unicast(service.network, &way, origin.clone());
            self.extra.push(Extra { table: table.to_owned(), route });
        }
        self.ways.insert(format!("endpoint {}", name.text), way);
    }

    /// One address, and one router behind it, in each subnet.
    fn interface_endpoint(
        &mut self,
        world: &mut World<'_, '_>,
        (name, value): (&Key, &Value),
        service: &Service,
    ) {
        let subnets: Vec<&Value> =
            value.get("subnets").map(Value::items).unwrap_or_default().iter().collect();
        if subnets.is_empty() {
            world
                .problems
                .add(Code::MissingKey, name.span, "an interface endpoint stands in subnets", "in which?")
                .help("write `subnets: [NAME]`");
        }
        let groups = self.groups_of(world, value.get("groups"));
        let private = value.flag_at("private-dns").unwrap_or(true);
        for (number, item) in subnets.iter().enumerate() {
            let Some(subnet) = self.subnet(world, item) else { continue };
            let written = value.get("addresses").and_then(|a| a.get(item.text()?));
            let Some((address, span)) = self.private_address(world, subnet, (written, item.span)) else {
                continue;
            };
            if !world.room_for(1, name.span) {
                return;
            }
            let short = if number == 0 {
                name.text.clone()
            } else {
                format!("{}-{}", name.text, self.subnets[subnet].name)
            };
            let id = self.endpoint_node(world, (&short, "interface endpoint"), (value, name.span));
            let port = self.plug_in(world, (id, "eth0"), (subnet, address, span));
            let (out, _) = self.to_service(world, id, service, name.span);
            let origin = origin_of(world, value, name.span);
            let address = IpAddr::V4(address);
            let inward = Match { dst: vec![address.into()], in_port: Some(port), ..Match::default() };
            let on = NatAction::Dnat { to: service.address, port: None };
            let outward = Match { out_port: Some(out.out), ..Match::default() };
            let hide = NatAction::Masquerade { ports: NatPorts::Preserve(PORTS) };
            let rules = [NatRule::new(inward, on, origin.clone()), NatRule::new(outward, hide, origin)];
            world.node(id).node.nat.extend(rules);
            // What passes through it is asked for what may come in.
            self.enis.push(Eni { id, span: name.span, address, groups: groups.clone(), checked: false });
            if private {
                self.name_privately(world, service, address);
            }
        }
    }

    /// Inside the VPC the service's names mean the endpoint.
    fn name_privately(&self, world: &mut World<'_, '_>, service: &Service, address: IpAddr) {
        let Some(resolver) = world.index.get(&format!("{}.resolver", self.name)).copied() else { return };
        for app in &mut world.node(resolver).node.apps {
            if let App::DnsResolver { own, .. } = app {
                own.extend(service.names.iter().map(|name| (name.clone(), address)));
            }
        }
    }
}

/// Through a gateway endpoint the VPC asks and the service answers; the service begins nothing.
fn answers_only(world: &mut World<'_, '_>, (id, inner): (NodeId, PortId), (value, span): (&Value, Span)) {
    let asked =
        default_of(world, Some(value), span, "answers find their way back through a gateway endpoint");
    let begun = default_of(world, Some(value), span, "a gateway endpoint passes on what the VPC begins");
    let nobody =
        default_of(world, Some(value), span, "through a gateway endpoint the service begins nothing");
    let known = Match { states: vec![CtState::Established, CtState::Related], ..Match::default() };
    let outward = Match { in_port: Some(inner), ..Match::default() };
    let rules = vec![Filter::new(known, Action::Accept, asked), Filter::new(outward, Action::Accept, begun)];
    let policy = Policy::new(Action::Drop, nobody);
    world.node(id).node.chains.push(Chain { hook: HookPoint::Forward, rules, policy });
}

/// Ports that an endpoint translates to.
const PORTS: PortRange = PortRange { first: 1_024, last: 65_535 };
