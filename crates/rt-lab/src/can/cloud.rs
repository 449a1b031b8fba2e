//! What a VPC lacks: an internet gateway, a peering that somebody accepts. Both are machines or cables that the lowered model
//! does not have; they are added as the scenario language would have made them.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use rt_base::{DropReason, HookPoint, Nanos, NodeId, PortId, RouteId};
use rt_rules::{Action, Chain, Construct, Filter, Match, Origin, Policy, Route, RouteKind};
use rt_scenario::model::{Model, Node, NodeKind};
use rt_scenario::views;

use super::add::{self, End};
use super::edit::{self, Edit};
use super::find::Cause;
use super::{lift, stranger, ways};

/// From a gateway or a peer to the router.
const NEAR: Nanos = Nanos::from_micros(50);
/// What an internet gateway is called in a model.
pub(super) const INTERNET_GATEWAY: &str = "internet gateway";
/// What a NAT gateway is called in a model.
pub(super) const NAT_GATEWAY: &str = "NAT gateway";

/// An internet gateway for a VPC without one.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Gateway {
    router: NodeId,
    /// The networks of its cables: to the VPC's router, and to the internet.
    nets: [Ipv4Net; 2],
    /// What the VPC's router leads to it, in the table with this number.
    leads: Option<(u32, IpAddr)>,
}

/// A cable between the routers of two VPCs.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Peering {
    ends: [NodeId; 2],
    net: Ipv4Net,
    /// The routes to it that nobody follows as long as it is not accepted have this origin.
    pending: Option<Origin>,
    /// What the first router leads to the second, in the table with this number.
    leads: Option<(u32, IpAddr)>,
}

/// The router of the VPC that a node is of.
fn router_of(model: &Model, node: NodeId) -> Option<NodeId> {
    let site = model.nodes[node.index()].site.as_ref()?;
    add::all(model).find(|n| {
        let node = &model.nodes[n.index()];
        node.site.as_ref() == Some(site) && views::is_vpc_router(node)
    })
}

/// The machine of that role in the VPC that a node is of.
fn at_the_border(model: &Model, node: NodeId, role: &str) -> Option<NodeId> {
    let site = model.nodes[node.index()].site.as_ref()?;
    let is_it = |n: &Node| n.kind == NodeKind::Router && n.role == role && n.site.as_ref() == Some(site);
    add::all(model).find(|n| is_it(&model.nodes[n.index()]))
}

/// A VPC's router knows no way, and none is there that a route could lead along: what would have to be.
pub(super) fn missing(model: &Model, cause: &Cause) -> Option<Edit> {
    let node = &model.nodes[cause.node.index()];
    if !views::is_vpc_router(node) {
        return None;
    }
    let to = cause.packet.dst.ip();
    let leads = Some((lift::asked_table(node, cause), to));
    let other = || ways::owners(model, to).into_iter().find_map(|owner| router_of(model, owner));
    let other = || other().filter(|o| *o != cause.node);
    if let Some(pending) = pending(node, cause) {
        let waits =
            |n: &NodeId| *n != cause.node && all_routes(&model.nodes[n.index()]).any(|r| r.origin == pending);
        let other = add::all(model).find(waits).or_else(other)?;
        return Peering::plan(model, [cause.node, other], (Some(pending), None));
    }
    if ways::next_hop(model, cause.node, to).is_some() {
        return None;
    }
    if lift::is_private(to) {
        return Peering::plan(model, [cause.node, other()?], (None, leads));
    }
    Gateway::plan(model, cause.node, leads).map(|gateway| Edit::Gateway(Box::new(gateway)))
}

/// The origin of a route that leads nowhere because nobody accepted the peering.
fn pending(node: &Node, cause: &Cause) -> Option<Origin> {
    let rule = cause.rule.filter(|_| cause.reason == DropReason::Blackhole).map(RouteId)?;
    let routes = match rule.table().checked_sub(1) {
        Some(table) => &node.tables.get(table as usize)?.routes,
        None => &node.routes,
    };
    let origin = &routes.get(rule.index() as usize)?.origin;
    views::is_pending_peering(origin).then(|| origin.clone())
}

fn all_routes(node: &Node) -> impl Iterator<Item = &Route> {
    node.routes.iter().chain(node.tables.iter().flat_map(|t| &t.routes))
}

/// A public address for a machine of a VPC that has none, with the gateway for it if there is none: what is asked then.
pub(super) fn public_face(model: &Model, meant: NodeId, inside: IpAddr) -> Option<(Edit, IpAddr)> {
    let router = router_of(model, meant)?;
    let mut edits = Vec::new();
    let mut with = model.clone();
    let gateway = match at_the_border(model, meant, INTERNET_GATEWAY) {
        Some(gateway) => gateway,
        None => {
            let gateway = Gateway::plan(model, router, None)?;
            gateway.brace(&mut with);
            edits.push(Edit::Gateway(Box::new(gateway)));
            NodeId(u32::try_from(model.nodes.len()).ok()?)
        }
    };
    let public = lift::public(&with, gateway, inside)?;
    let Edit::Public { outside, .. } = public else { return None };
    edits.extend([public, Edit::Face(outside)]);
    Some((Edit::All(edits), outside))
}

/// An internet gateway refused a packet because its source has no public address: one for it when it is of this VPC. An answer
/// goes home by the gateway of its own VPC. Other VPCs' packets go to the NAT gateway here, which may translate for them too.
pub(super) fn out_of(model: &Model, cause: &Cause) -> Option<Edit> {
    let inside = cause.packet.src.ip();
    let site = |n: &NodeId| model.nodes[n.index()].site.clone();
    let owners = ways::owners(model, inside);
    if owners.iter().any(|owner| site(owner) == site(&cause.node)) {
        return lift::public(model, cause.node, inside);
    }
    let led =
        |router: NodeId| cause.led.iter().rev().find(|(n, _)| *n == router).map(|(_, route)| route.table());
    let own = owners.first().filter(|_| cause.answer).copied();
    let own = own
        .and_then(|owner| Some((router_of(model, owner)?, at_the_border(model, owner, INTERNET_GATEWAY)?)));
    if let Some((router, gateway)) = own {
        let to = cause.packet.dst.ip();
        let mut at =
            model.nodes[gateway.index()].interfaces.iter().flat_map(|i| &i.addresses).map(IpNet::addr);
        let (out, via) =
            at.find_map(|a| Some((ways::next_hop(model, router, a).filter(|w| w.1.is_none())?.0, a)))?;
        let route = Box::new(add::route(to.into(), Some(via), out));
        return Some(Edit::Route { node: router, table: led(router)?, route });
    }
    let router =
        cause.led.last().map(|(n, _)| *n).filter(|n| views::is_vpc_router(&model.nodes[n.index()]))?;
    let nat = at_the_border(model, cause.node, NAT_GATEWAY)?;
    let translates = |when: &Match| when.src.is_empty() || when.src.iter().any(|net| net.contains(&inside));
    if !model.nodes[nat.index()].nat.iter().any(|rule| translates(&rule.when)) {
        return None;
    }
    let address = model.nodes[nat.index()].interfaces.first()?.addresses.first()?.addr();
    let (out, _, _) = ways::next_hop(model, router, address)?;
    let route = add::route(cause.packet.dst.ip().into(), Some(address), out);
    Some(Edit::Route { node: router, table: led(router)?, route: Box::new(route) })
}

/// Networks for cables, far from what scenarios use.
fn small_nets() -> impl Iterator<Item = Ipv4Net> {
    (0..=252_u8).step_by(4).map(|last| Ipv4Net::new_assert(Ipv4Addr::new(198, 19, 254, last), 30))
}

fn nth(net: Ipv4Net, n: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(net.network()).saturating_add(n))
}

impl Gateway {
    fn plan(model: &Model, router: NodeId, leads: Option<(u32, IpAddr)>) -> Option<Gateway> {
        if at_the_border(model, router, INTERNET_GATEWAY).is_some() {
            return None;
        }
        add::backbone(model)?;
        let outer = stranger::ADDRESSES.iter().map(|a| stranger::network(Ipv4Addr::from(*a)));
        let nets = [add::free(model, small_nets())?, add::free(model, outer)?];
        Some(Gateway { router, nets, leads })
    }

    /// The gateway, which passes nothing yet; its address at the VPC's router, and the port there.
    pub(super) fn brace(&self, model: &mut Model) -> (IpAddr, PortId) {
        let [inner, outer] = self.nets;
        let router = &model.nodes[self.router.index()];
        let site = router.site.clone().unwrap_or_default();
        let inside: Vec<IpNet> =
            router.interfaces.iter().flat_map(|i| &i.addresses).map(IpNet::trunc).collect();
        let id = add::bare(model, &format!("{site}.igw"), (self.router, INTERNET_GATEWAY));
        let ends = [
            End { node: self.router, port: "igw", address: nth(inner, 1) },
            End { node: id, port: "vpc", address: nth(inner, 2) },
        ];
        let [port, back] = add::cable(model, ends, (inner, NEAR));
        add::join_internet(model, (id, "internet"), (nth(outer, 5), outer));
        let node = &mut model.nodes[id.index()];
        node.kind = NodeKind::Router;
        node.routes.extend(inside.into_iter().map(|net| add::route(net, Some(nth(inner, 1).into()), back)));
        let construct = Some(Construct::InternetGateway);
        let policy = Policy { construct: construct.clone(), ..Policy::new(Action::Drop, add::origin()) };
        let outward = Match { in_port: Some(back), ..Match::default() };
        let refuse = Filter { construct, ..Filter::new(outward, Action::Drop, add::origin()) };
        let chain = |hook, rules| Chain { hook, rules, policy: policy.clone() };
        node.chains = vec![chain(HookPoint::Input, Vec::new()), chain(HookPoint::Forward, vec![refuse])];
        (nth(inner, 2).into(), port)
    }

    pub(super) fn apply(&self, model: &mut Model) {
        let (via, port) = self.brace(model);
        if let Some((table, to)) = self.leads {
            let route = add::route(to.into(), Some(via), port);
            edit::put_route(&mut model.nodes[self.router.index()], table, &route);
        }
    }

    pub(super) fn words(&self, model: &Model) -> String {
        let router = &model.nodes[self.router.index()];
        let site = router.site.as_deref().unwrap_or(&router.name);
        let has = format!("{site} has an internet gateway (internet-gateway: yes)");
        match self.leads {
            Some((table, to)) => {
                let table = edit::table_words(router, table);
                format!("{has}, and {table}: {}: internet-gateway", IpNet::from(to))
            }
            None => has,
        }
    }
}

impl Peering {
    fn plan(
        model: &Model,
        ends: [NodeId; 2],
        (pending, leads): (Option<Origin>, Option<(u32, IpAddr)>),
    ) -> Option<Edit> {
        let net = add::free(model, small_nets())?;
        Some(Edit::Peering(Box::new(Peering { ends, net, pending, leads })))
    }

    /// The cable, along which nothing leads yet; the port at each end.
    pub(super) fn brace(&self, model: &mut Model) -> [PortId; 2] {
        let [a, b] = self.ends;
        let ends = [
            End { node: a, port: "peering", address: nth(self.net, 1) },
            End { node: b, port: "peering", address: nth(self.net, 2) },
        ];
        add::cable(model, ends, (self.net, NEAR))
    }

    pub(super) fn apply(&self, model: &mut Model) {
        let ports = self.brace(model);
        let vias = [nth(self.net, 2), nth(self.net, 1)];
        for ((node, out), via) in self.ends.into_iter().zip(ports).zip(vias) {
            let Some(node) = model.nodes.get_mut(node.index()) else { continue };
            let routes = node.routes.iter_mut().chain(node.tables.iter_mut().flat_map(|t| &mut t.routes));
            for route in routes.filter(|r| self.pending.as_ref() == Some(&r.origin)) {
                (route.kind, route.via, route.out) = (RouteKind::Unicast, Some(via.into()), out);
            }
        }
        if let Some((table, to)) = self.leads {
            let route = add::route(to.into(), Some(vias[0].into()), ports[0]);
            edit::put_route(&mut model.nodes[self.ends[0].index()], table, &route);
        }
    }

    pub(super) fn words(&self, model: &Model) -> String {
        let site = |n: NodeId| {
            let node = &model.nodes[n.index()];
            node.site.as_deref().unwrap_or(&node.name)
        };
        let [a, b] = self.ends.map(site);
        match self.leads {
            None => format!("the peering between {a} and {b} is accepted (accepted: yes)"),
            Some((table, to)) => {
                let table = edit::table_words(&model.nodes[self.ends[0].index()], table);
                format!("a peering joins {a} and {b}, and {table}: {} leads to {b}", IpNet::from(to))
            }
        }
    }
}
