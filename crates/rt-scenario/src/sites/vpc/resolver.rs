//! The VPC's own resolver: at the base address plus two, and at 169.254.169.253.
//!
//! It reaches the DNS tree by a line of its own, as Amazon's does: a VPC without an internet gateway resolves names too. It takes
//! questions from its own VPC only, and answers nothing else: no ping either.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use rt_base::{HookPoint, NodeId};
use rt_rules::{Action, Chain, CtState, Filter, Match, Policy, PortRange};

use super::super::{Plan, Public, attach, server_wire, with_length};
use super::{Vpc, Way, default_of, nth, set_up};
use crate::apps::RESOLVER_THINK;
use crate::model::{App, NodeKind};
use crate::world::World;

/// Where it answers too, whatever the VPC's network is.
pub(super) const LINK_LOCAL: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 253);

/// The resolver.
pub(in crate::sites) struct Resolver {
    pub(in crate::sites) address: IpAddr,
    /// From the router to it.
    pub(in crate::sites) way: Way,
}

impl Vpc<'_> {
    pub(super) fn build_resolver(&mut self, world: &mut World<'_, '_>, plan: Option<&mut Plan>) {
        let wanted = self.value.flag_at("dns").unwrap_or(true);
        let Some(plan) = plan.filter(|_| wanted) else { return };
        let (base, span) = self.cidrs[0];
        let address = nth(base, 2);
        let id = world.add_site_node(self.name, "resolver", NodeKind::Host, "VPC resolver", span);
        set_up(world, id, (self.place.as_ref(), self.wire.mtu));
        world.node(id).node.processing = rt_base::Nanos::from_micros(5);
        let origin = default_of(
            world,
            Some(self.value),
            self.span,
            "every VPC has a resolver at its base address plus two",
        );
        world.node(id).node.origin = origin;
        // Where a subnet holds the address, the resolver stands in it; else it hangs on the router alone.
        let way = match self.subnets.iter().position(|s| s.net.contains(&address)) {
            Some(at) => {
                self.plug_in(world, (id, "vpc"), (at, address, span));
                // Its way out is its own line.
                world.node(id).node.routes.retain(|r| r.prefix.prefix_len() > 0);
                Way { out: self.subnets[at].port, via: address.into() }
            }
            None => {
                let here = world.add_port(self.router, "dns", span);
                let there = world.add_port(id, "vpc", span);
                world.set_address((self.router, here), with_length(nth(base, 1).into(), 30), span);
                world.set_address((id, there), with_length(address.into(), 30), span);
                world.add_link((self.router, here), (id, there), self.wire.clone(), span);
                Way { out: here, via: address.into() }
            }
        };
        let router = match self.subnets.iter().find(|s| s.net.contains(&address)) {
            Some(subnet) => nth(subnet.net, 1),
            None => nth(base, 1),
        };
        let back = Way { out: rt_base::PortId(0), via: router.into() };
        for (cidr, _) in &self.cidrs {
            let origin = world.default_of(span, "the VPC's network");
            world.node(id).node.routes.push(super::routes::unicast((*cidr).into(), &back, origin));
        }
        world.set_address((id, rt_base::PortId(0)), with_length(LINK_LOCAL.into(), 32), span);
        world.node(id).mtu = None;
        self.ask_at_home(world, id);
        let uplink = plan.server_address(world, span);
        let place = self.place.clone().unwrap_or_default();
        let wire = server_wire();
        attach(
            world,
            id,
            "uplink",
            Public { address: uplink, place, anycast: false, by_isp: false, pppoe: false, wire, span },
        );
        let roots = vec![super::super::internet::root_server()];
        let app = App::DnsResolver {
            roots,
            think: RESOLVER_THINK,
            silent: false,
            own: Vec::new(),
            fixed_order: false,
            client_subnet: false,
        };
        world.node(id).node.apps.push(app);
        self.resolver = Some(Resolver { address: address.into(), way });
    }

    /// It takes questions from its own VPC only: not over peerings and transit gateways, and not from the internet.
    fn ask_at_home(&self, world: &mut World<'_, '_>, id: NodeId) {
        let why = |what: &str| default_of(world, Some(self.value), self.span, what);
        let states = vec![CtState::Established, CtState::Related];
        let answers = why("answers find their way back to the VPC's resolver");
        let own = why("the VPC's resolver takes questions from its own VPC");
        let nobody = why("the VPC's resolver takes DNS questions of its own VPC and nothing else");
        let src: Vec<IpNet> = self.cidrs.iter().map(|(net, _)| IpNet::V4(*net)).collect();
        let mut rules = vec![Filter::new(Match { states, ..Match::default() }, Action::Accept, answers)];
        for protocol in [17, 6] {
            let dport = Some(PortRange { first: 53, last: 53 });
            let when = Match { protocol: Some(protocol), src: src.clone(), dport, ..Match::default() };
            rules.push(Filter::new(when, Action::Accept, own.clone()));
        }
        let policy = Policy::new(Action::Drop, nobody);
        world.node(id).node.chains.push(Chain { hook: HookPoint::Input, rules, policy });
    }
}
