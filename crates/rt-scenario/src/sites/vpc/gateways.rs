//! Gateways of a VPC: the internet gateway (1:1 NAT for what has a public address) and NAT gateways.

use std::net::IpAddr;

use ipnet::IpNet;
use rt_base::{HookPoint, Nanos, NodeId, PortId};
use rt_rules::{
    Action, Chain, Construct, CtState, Filter, Match, NatAction, NatBehaviour, NatDepends, NatPorts, NatRule,
    Origin, Policy, PortRange,
};

use super::super::{Plan, Public, attach, gateway_for, usable};
use super::{Vpc, Way, addresses, default_of, fine_name, origin_of, set_up};
use crate::diag::{Code, Span};
use crate::model::NodeKind;
use crate::tree::Value;
use crate::world::{Wire, World};

/// How long a NAT gateway remembers an open connection on which nothing is said (AWS: 350 s).
const NAT_IDLE: Nanos = Nanos::from_secs(350);

/// The internet gateway.
pub(in crate::sites) struct Gateway {
    /// From the VPC's router to it.
    pub(in crate::sites) way: Way,
}

/// A NAT gateway.
pub(in crate::sites) struct Nat {
    pub(in crate::sites) name: String,
    id: NodeId,
    pub(in crate::sites) subnet: usize,
    pub(in crate::sites) address: IpAddr,
}

impl Vpc<'_> {
    /// The internet gateway, when it is known who has a public address.
    pub(super) fn build_gateway(&mut self, world: &mut World<'_, '_>, plan: Option<&mut Plan>) {
        if !self.has_gateway() {
            return;
        }
        let Some((key, value)) = self.value.entry("internet-gateway") else { return };
        let Some(plan) = plan else {
            let message = format!("the internet gateway of `{}` has no internet to join", self.name);
            world
                .problems
                .add(Code::NeedsInternet, key.span, message, "needs an internet")
                .help("add a site `internet: { kind: internet, places: [frankfurt, paris, ashburn] }`");
            return;
        };
        let span = key.span;
        let id = world.add_site_node(self.name, "igw", NodeKind::Router, "internet gateway", span);
        set_up(world, id, (self.place.as_ref(), self.wire.mtu));
        world.node(id).node.origin = origin_of(world, value, span);
        world.node(id).node.stack.transparent = true;
        let (way, back) = self.cable(world, "igw", (id, "vpc"), span);
        world.node(id).mtu = None;
        for (cidr, _) in &self.cidrs {
            let origin = world.default_of(self.span, "the VPC's network is behind the internet gateway");
            let route = super::routes::unicast((*cidr).into(), &back, origin);
            world.node(id).node.routes.push(route);
        }
        self.announce(world, plan, (id, span));
        self.translate(world, (id, back.out), (value, span));
        self.gateway = Some(Gateway { way });
    }

    /// Brings the public addresses to the internet: one line for each network of them.
    fn announce(&self, world: &mut World<'_, '_>, plan: &mut Plan, (id, span): (NodeId, Span)) {
        let wire = Wire::both(25_000_000_000, Nanos::from_micros(50));
        let wire = wire.read(self.value.get("uplink"), ("up", "down"));
        if let Some(uplink) = self.value.get("uplink") {
            world.check_mtu(uplink);
        }
        let mut public: Vec<(IpNet, Span)> =
            self.elastic.iter().map(|e| (addresses::announced(e.outside), e.span)).collect();
        if public.is_empty() {
            // A gateway that translates for nobody still is somewhere.
            public.push((plan.server_address(world, span), span));
        }
        let mut ports: Vec<(IpNet, PortId)> = Vec::new();
        for (address, at) in public {
            if !usable(address) || gateway_for(address.trunc()) == address.addr() {
                not_public(world, address.addr(), at);
                continue;
            }
            if let Some((_, port)) = ports.iter().find(|(net, _)| *net == address.trunc()) {
                world.set_address((id, *port), address, at);
                continue;
            }
            let place = self.place.clone().unwrap_or_default();
            let first = ports.is_empty();
            let default = world.nodes[id.index()].node.routes.len();
            attach(
                world,
                id,
                "internet",
                Public {
                    address,
                    place,
                    anycast: false,
                    by_isp: false,
                    pppoe: false,
                    wire: wire.clone(),
                    span: at,
                },
            );
            if !first {
                // One default route is enough: all lines lead to the same router.
                let routes = &mut world.node(id).node.routes;
                let kept = routes.len();
                if let Some(extra) = (default..kept).find(|i| routes[*i].prefix.prefix_len() == 0) {
                    routes.remove(extra);
                }
            }
            let port = PortId(u16::try_from(world.nodes[id.index()].ports.len() - 1).unwrap_or(u16::MAX));
            ports.push((address.trunc(), port));
        }
    }

    /// 1:1 NAT for every public address that belongs to somebody, and nothing for the others.
    fn translate(
        &self,
        world: &mut World<'_, '_>,
        (id, inner): (NodeId, PortId),
        (value, span): (&Value, Span),
    ) {
        let mut rules = Vec::new();
        let whole = |address: IpAddr| vec![IpNet::from(address)];
        for one in &self.elastic {
            let Some(inside) = one.inside else { continue };
            let action = NatAction::Static { inside, outside: one.outside };
            let rule = NatRule::new(Match::default(), action, one.origin.clone());
            world.node(id).node.nat.push(rule);
            let leaves = Match { src: whole(inside), in_port: Some(inner), ..Match::default() };
            let enters = Match { dst: whole(inside), ..Match::default() };
            rules.push(Filter::new(leaves, Action::Accept, one.origin.clone()));
            rules.push(Filter::new(enters, Action::Accept, one.origin.clone()));
        }
        let construct = Some(Construct::InternetGateway);
        let why = "through an internet gateway leaves only what has a public address";
        let origin = default_of(world, Some(value), span, why);
        let outward = Match { in_port: Some(inner), ..Match::default() };
        rules.push(Filter { construct: construct.clone(), ..Filter::new(outward, Action::Drop, origin) });
        let why = "through an internet gateway comes in only what is for the public address of somebody";
        let origin = default_of(world, Some(value), span, why);
        let policy = Policy { construct, ..Policy::new(Action::Drop, origin) };
        let input = Chain { hook: HookPoint::Input, rules: Vec::new(), policy: policy.clone() };
        let forward = Chain { hook: HookPoint::Forward, rules, policy };
        world.node(id).node.chains = vec![input, forward];
    }

    pub(super) fn build_nats(&mut self, world: &mut World<'_, '_>, plan: Option<&mut Plan>) {
        let mut plan = plan;
        for (name, value) in self.value.get("nat-gateways").map(Value::entries).unwrap_or_default() {
            if !fine_name(world, name, "a NAT gateway") || !world.room_for(1, name.span) {
                continue;
            }
            let Some(subnet) = value.get("subnet").and_then(|at| self.subnet(world, at)) else { continue };
            let written = value.get("address");
            let Some((address, span)) = self.private_address(world, subnet, (written, name.span)) else {
                continue;
            };
            let id = world.add_site_node(self.name, &name.text, NodeKind::Router, "NAT gateway", name.span);
            set_up(world, id, (self.place.as_ref(), self.wire.mtu));
            world.node(id).node.origin = origin_of(world, value, name.span);
            if let Some(processing) = value.duration_at("processing") {
                world.node(id).node.processing = processing;
            }
            let port = self.plug_in(world, (id, "eth0"), (subnet, address, span));
            self.hide(world, (id, port), (value, name.span, address.into()));
            self.bind_public(world, plan.as_deref_mut(), (value.get("public"), address.into(), name.span));
            self.nats.push(Nat { name: name.text.clone(), id, subnet, address: address.into() });
        }
    }

    /// Source NAT for what the VPC's machines begin; nobody comes in unasked.
    fn hide(
        &self,
        world: &mut World<'_, '_>,
        (id, _): (NodeId, PortId),
        (value, span, own): (&Value, Span, IpAddr),
    ) {
        let ports = match value.get("ports") {
            Some(written) => world.read_nat_ports(Some(written)),
            None => NatPorts::Random(PortRange { first: 1_024, last: 65_535 }),
        };
        let inside: Vec<IpNet> = self.cidrs.iter().map(|(net, _)| IpNet::V4(*net)).collect();
        let origin = origin_of(world, value, value.get("ports").map_or(span, |v| v.span));
        let strict = NatDepends::AddressAndPortDependent;
        let usual = NatBehaviour::default();
        let behaviour =
            NatBehaviour { mapping: strict, filtering: strict, overload: true, exclusive: true, ..usual };
        let when = Match { src: inside.clone(), ..Match::default() };
        let rule = NatRule { behaviour, ..NatRule::new(when, NatAction::Snat { to: own, ports }, origin) };
        let asked = default_of(world, Some(value), span, "answers find their way back through a NAT gateway");
        let begun =
            default_of(world, Some(value), span, "a NAT gateway passes on what the VPC's machines begin");
        let nobody = default_of(world, Some(value), span, "a NAT gateway lets nobody in unasked");
        let known = Match { states: vec![CtState::Established, CtState::Related], ..Match::default() };
        let forward = vec![
            Filter::new(known.clone(), Action::Accept, asked.clone()),
            Filter::new(Match { src: inside, ..Match::default() }, Action::Accept, begun),
        ];
        let chain =
            |hook, rules, origin: Origin| Chain { hook, rules, policy: Policy::new(Action::Drop, origin) };
        let input = vec![Filter::new(known, Action::Accept, asked)];
        let node = &mut world.node(id).node;
        node.nat.push(rule);
        node.stack.flow_timeout = NAT_IDLE;
        node.chains =
            vec![chain(HookPoint::Input, input, nobody.clone()), chain(HookPoint::Forward, forward, nobody)];
    }

    /// What comes through a transit gateway is translated too, whatever its source: one VPC can be the way out of many. (What
    /// comes over a peering never gets to a NAT gateway: it follows local routes only.)
    pub(super) fn serve_transit(&self, world: &mut World<'_, '_>) {
        if !self.ways.keys().any(|way| way.starts_with("transit-gateway ")) {
            return;
        }
        let written = self.value.get("nat-gateways").map(Value::entries).unwrap_or_default();
        for nat in &self.nats {
            let found = written.iter().find(|(key, _)| key.text == nat.name);
            let why =
                "a NAT gateway passes on what the VPC's machines begin and what a transit gateway brings";
            let span = found.map_or(self.span, |(key, _)| key.span);
            let origin = default_of(world, found.map(|(_, value)| value), span, why);
            let node = &mut world.node(nat.id).node;
            node.nat.iter_mut().for_each(|rule| rule.when.src.clear());
            let chains = node.chains.iter_mut().filter(|chain| chain.hook == HookPoint::Forward);
            for rule in chains.flat_map(|chain| &mut chain.rules).filter(|r| !r.when.src.is_empty()) {
                rule.when.src.clear();
                rule.origin = origin.clone();
            }
        }
    }
}

fn not_public(world: &mut World<'_, '_>, address: IpAddr, span: Span) {
    let message =
        format!("{address} cannot be a public address here: the internet's router has it, or nobody can");
    world
        .problems
        .add(Code::BadAddress, span, message, "not an elastic IP")
        .help("take an address whose last number is from 2 to 254");
}
