//! The way of a packet by the static tables: routes, NAT, what DHCP will tell. A check, not a proof: it follows one packet
//! without ports and asks no firewall; `rt-lab` sends real probes and the prover looks at all packets.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ipnet::IpNet;
use rt_base::{NodeId, PortId};
use rt_rules::{Flow, NatAction, RouteKind, Routes};

use crate::model::{App, Node, NodeKind};
use crate::routing::Segments;
use crate::world::World;

/// Longest way that is walked; more is a loop.
const MOST_HOPS: usize = 64;

/// Where a way ends.
pub(crate) struct End {
    pub(crate) node: NodeId,
    /// The source address that arrives, `None` when it is not known before the run.
    pub(crate) source: Option<IpAddr>,
}

/// Why a way does not lead there.
pub(crate) struct Stop {
    pub(crate) at: String,
    pub(crate) why: String,
    /// The networks that the last machine has routes to.
    pub(crate) routes: Vec<String>,
}

/// Finds ways by the static tables. Routing tables are built once per machine.
pub(crate) struct Ways<'s> {
    segments: &'s Segments,
    /// Whether port forwards apply: not to pings.
    pub(crate) ports: bool,
    tables: BTreeMap<NodeId, Routes>,
}

impl<'s> Ways<'s> {
    pub(crate) fn new(segments: &'s Segments) -> Ways<'s> {
        Ways { segments, ports: true, tables: BTreeMap::new() }
    }

    /// Walks routes (and NAT) from `from` to the machine that bears `target`.
    pub(crate) fn walk(&mut self, world: &World<'_, '_>, from: NodeId, target: IpAddr) -> Result<End, Stop> {
        let mut at = from;
        let mut target = target;
        let mut source: Option<IpAddr> = None;
        let mut arrived = None;
        for hop in 0..MOST_HOPS {
            let node = &world.nodes[at.index()].node;
            let own = |a: IpAddr| node.interfaces.iter().flat_map(|i| &i.addresses).any(|n| n.addr() == a);
            if hop > 0
                && self.ports
                && let Some(to) = translated(world, at, target)
            {
                target = to;
            }
            target = one_to_one(world, at, |inside, outside| (outside == target).then_some(inside))
                .unwrap_or(target);
            // Who is behind an address of a NAT's pool only the run shows.
            if hop > 0 && self.ports && is_outside(node, target) && !own(target) {
                return Ok(End { node: at, source: None });
            }
            if own(target) || target.is_loopback() || leased(world, self.segments, at) == Some(target) {
                return Ok(End { node: at, source: if hop == 0 { None } else { source } });
            }
            let stop = |why: String| Stop { at: node.name.clone(), why, routes: routes_of(world, at) };
            if hop > 0 && node.kind != NodeKind::Router {
                return Err(stop(format!("`{}` does not forward", node.name)));
            }
            let (out, via) = self.next_hop(world, (at, arrived), source, target).map_err(stop)?;
            if hop == 0 {
                source = node.interfaces[out.index()].addresses.first().map(|n| n.addr());
                source = source.or_else(|| reserved(world, self.segments, at, out));
            }
            let snat = node.nat.iter().any(|r| {
                matches!(
                    r.action,
                    NatAction::Snat { .. } | NatAction::Pool { .. } | NatAction::Masquerade { .. }
                ) && r.when.out_port.is_none_or(|p| p == out)
            });
            if snat {
                source = node.interfaces[out.index()].addresses.first().map(|n| n.addr());
            }
            source = one_to_one(world, at, |inside, outside| (Some(inside) == source).then_some(outside))
                .or(source);
            let segment =
                self.segments.of(at, out).ok_or_else(|| stop("its interface has no link".to_owned()))?;
            let next = match node.interfaces[out.index()].kind.is_point_to_point() {
                true => other_end(self.segments, segment, at),
                false => neighbour(world, self.segments, segment, via),
            };
            let (next, port) = next.ok_or_else(|| {
                let interface = &node.interfaces[out.index()];
                stop(match interface.kind.ends() {
                    Some((local, remote)) => format!(
                        "nobody has the other end of its tunnel `{}`, a {} from {remote} to {local}",
                        interface.name,
                        interface.kind.say()
                    ),
                    None => format!("nobody on the link of `{}` has the address {via}", node.name),
                })
            })?;
            (at, arrived) = (next, Some(port));
        }
        Err(Stop {
            at: world.nodes[at.index()].node.name.clone(),
            why: "the routes lead in a circle".to_owned(),
            routes: Vec::new(),
        })
    }

    /// Interface and next address by the machine's routes, or by what DHCP will tell it.
    fn next_hop(
        &mut self,
        world: &World<'_, '_>,
        (at, arrived): (NodeId, Option<PortId>),
        source: Option<IpAddr>,
        target: IpAddr,
    ) -> Result<(PortId, IpAddr), String> {
        let node = &world.nodes[at.index()].node;
        let routes = self.tables.entry(at).or_insert_with(|| {
            let tables = node.tables.iter().map(|t| t.routes.clone()).collect();
            Routes::new(node.routes.clone(), tables, node.policies.clone(), 0)
        });
        let unknown = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let flow = Flow { in_port: arrived, ..Flow::towards(source.unwrap_or(unknown), target) };
        if let Some(found) = routes.lookup(&flow) {
            let route = found.route;
            return match route.kind {
                RouteKind::Unicast => Ok((route.out, route.via.unwrap_or(target))),
                RouteKind::Blackhole => Err(format!("`{}` drops it by a blackhole route", node.name)),
                RouteKind::Unreachable => Err(format!("`{}` has an unreachable route for it", node.name)),
            };
        }
        for app in &node.apps {
            let App::DhcpClient { port } = app else { continue };
            if let Some((net, gateway)) = lease(world, self.segments, at, *port) {
                return Ok((*port, if net.contains(&target) { target } else { gateway }));
            }
        }
        Err(format!("`{}` has no route to it", node.name))
    }
}

fn routes_of(world: &World<'_, '_>, at: NodeId) -> Vec<String> {
    world.nodes[at.index()].node.routes.iter().map(|r| r.prefix.to_string()).collect()
}

/// Whether a machine's NAT gives this address to those behind it.
fn is_outside(node: &Node, address: IpAddr) -> bool {
    node.nat.iter().any(|rule| match rule.action {
        NatAction::Snat { to, .. } => to == address,
        NatAction::Pool { to, .. } => to.contains(&address),
        _ => false,
    })
}

/// What a machine's 1:1 NAT makes of an address.
fn one_to_one(
    world: &World<'_, '_>,
    at: NodeId,
    change: impl Fn(IpAddr, IpAddr) -> Option<IpAddr>,
) -> Option<IpAddr> {
    world.nodes[at.index()].node.nat.iter().find_map(|r| match r.action {
        NatAction::Static { inside, outside } => change(inside, outside),
        _ => None,
    })
}

/// The inner address of a port forward, when `target` is an address of the machine itself that is forwarded.
fn translated(world: &World<'_, '_>, at: NodeId, target: IpAddr) -> Option<IpAddr> {
    let node = &world.nodes[at.index()].node;
    let own = node.interfaces.iter().flat_map(|i| &i.addresses).any(|n| n.addr() == target);
    node.nat.iter().find_map(|r| match r.action {
        NatAction::Dnat { to, .. } | NatAction::DnatRange { to, .. }
            if own && (r.when.dst.is_empty() || r.when.dst.iter().any(|n| n.contains(&target))) =>
        {
            Some(to)
        }
        NatAction::DnatSpread { ref to, .. }
            if own && (r.when.dst.is_empty() || r.when.dst.iter().any(|n| n.contains(&target))) =>
        {
            to.first().map(SocketAddr::ip)
        }
        _ => None,
    })
}

/// The network and gateway that a DHCP server on the link tells.
fn lease(world: &World<'_, '_>, segments: &Segments, at: NodeId, port: PortId) -> Option<(IpNet, IpAddr)> {
    let members = &segments.members[segments.of(at, port)?];
    members.iter().find_map(|(id, p)| {
        let node = &world.nodes[id.index()].node;
        node.apps.iter().find_map(|app| match app {
            App::DhcpServer { port, gateway, .. } if port == p => {
                Some((node.interfaces[p.index()].addresses.first()?.trunc(), *gateway))
            }
            _ => None,
        })
    })
}

/// The address that a DHCP server reserves for an interface.
fn reserved(world: &World<'_, '_>, segments: &Segments, at: NodeId, port: PortId) -> Option<IpAddr> {
    let mac = world.nodes[at.index()].node.interfaces[port.index()].mac;
    let members = &segments.members[segments.of(at, port)?];
    members.iter().find_map(|(id, _)| {
        world.nodes[id.index()].node.apps.iter().find_map(|app| match app {
            App::DhcpServer { reservations, .. } => {
                reservations.iter().find(|(m, _)| *m == mac).map(|(_, a)| *a)
            }
            _ => None,
        })
    })
}

/// The address that a DHCP client will get, when it is reserved for it.
fn leased(world: &World<'_, '_>, segments: &Segments, at: NodeId) -> Option<IpAddr> {
    let node = &world.nodes[at.index()].node;
    node.apps.iter().find_map(|app| match app {
        App::DhcpClient { port } => reserved(world, segments, at, *port),
        _ => None,
    })
}

/// The other machine on a segment of two.
fn other_end(segments: &Segments, segment: usize, at: NodeId) -> Option<(NodeId, PortId)> {
    segments.members[segment].iter().find(|(id, _)| *id != at).copied()
}

/// The machine on a segment that bears an address, or gets it by DHCP.
fn neighbour(
    world: &World<'_, '_>,
    segments: &Segments,
    segment: usize,
    address: IpAddr,
) -> Option<(NodeId, PortId)> {
    let members = &segments.members[segment];
    let bears = |(id, port): &&(NodeId, PortId)| {
        let interface = &world.nodes[id.index()].node.interfaces[port.index()];
        interface.addresses.iter().any(|n| n.addr() == address)
            || (interface.addresses.is_empty() && reserved(world, segments, *id, *port) == Some(address))
    };
    members.iter().find(bears).copied()
}
