//! Segments (what one frame reaches through switches) and the routes that nobody has to write: the default route of a host
//! with one router on its link, and shortest paths between routers.
//!
//! Shortest means least delay, then fewest hops, then the order of the file. An address announced from several places
//! is reached at the nearest; the route's origin says how much farther the others are.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::net::IpAddr;

use ipnet::IpNet;
use rt_base::{InterfaceKind, Nanos, NodeId, PortId, SwitchPort};
use rt_rules::{Route, RouteKind};

use crate::diag::{Code, Span};
use crate::model::{Interface, Node, NodeKind};
use crate::plain::{gateway_off_link, port_towards};
use crate::world::World;

/// More routers than this need routes of their own: all pairs would be too many.
const MOST_AUTO_ROUTERS: usize = 512;
/// More routes than this are not made.
const MOST_AUTO_ROUTES: usize = 200_000;
/// Counted per hop beside the delay, so that fewer hops win among equals.
const HOP: u64 = 1_000;

/// Which segment each interface of each node is on.
pub(crate) struct Segments {
    of: Vec<Vec<Option<usize>>>,
    /// Interfaces of machines (not of switches) on each segment.
    pub(crate) members: Vec<Vec<(NodeId, PortId)>>,
}

impl Segments {
    /// The segment of an interface; `None` when it has no link.
    pub(crate) fn of(&self, id: NodeId, port: PortId) -> Option<usize> {
        *self.of.get(id.index())?.get(port.index())?
    }
}

/// Finds the segments: what one frame reaches through switches, VLAN by VLAN, and behind tunnels and sessions.
pub(crate) fn segments(world: &World<'_, '_>) -> Segments {
    let of: Vec<Vec<Option<usize>>> = world.nodes.iter().map(|d| vec![None; d.ports.len()]).collect();
    let mut found = Segments { of, members: Vec::new() };
    let mut by_node: Vec<Vec<usize>> = vec![Vec::new(); world.nodes.len()];
    for (index, link) in world.links.iter().enumerate() {
        by_node[link.a.0.index()].push(index);
        by_node[link.b.0.index()].push(index);
    }
    let mut seen: BTreeSet<Wire> = BTreeSet::new();
    let untagged = (0..world.links.len()).map(|link| (link, None));
    for start in untagged.chain(tagged(world)) {
        if seen.insert(start) {
            spread(world, &by_node, start, &mut seen, &mut found);
        }
    }
    point_to_point(world, &mut found);
    for list in &mut found.members {
        list.sort();
    }
    found
}

/// A link, and the VLAN tag of the frames on it.
type Wire = (usize, Option<u16>);

/// The links of VLAN interfaces with their tags.
fn tagged(world: &World<'_, '_>) -> Vec<Wire> {
    let mut out = Vec::new();
    for draft in &world.nodes {
        for interface in &draft.node.interfaces {
            if let InterfaceKind::Vlan { parent, id } = interface.kind
                && let Some(link) = draft.ports.get(parent.index()).and_then(|p| p.link)
            {
                out.push((link, Some(id)));
            }
        }
    }
    out
}

/// One segment from one of its wires.
fn spread(
    world: &World<'_, '_>,
    by_node: &[Vec<usize>],
    start: Wire,
    seen: &mut BTreeSet<Wire>,
    found: &mut Segments,
) {
    let segment = found.members.len();
    found.members.push(Vec::new());
    let mut open = vec![start];
    while let Some((index, tag)) = open.pop() {
        let link = &world.links[index];
        for (id, port) in [link.a, link.b] {
            let node = &world.nodes[id.index()].node;
            if node.kind != NodeKind::Switch {
                let of_tag = |i: &Interface| matches!(i.kind, InterfaceKind::Vlan { parent, id } if parent == port && Some(id) == tag);
                let at = match tag {
                    None => Some(port.index()),
                    Some(_) => node.interfaces.iter().position(of_tag),
                };
                if let Some(at) = at.and_then(|at| u16::try_from(at).ok()) {
                    found.of[id.index()][usize::from(at)] = Some(segment);
                    found.members[segment].push((id, PortId(at)));
                }
                continue;
            }
            found.of[id.index()][port.index()].get_or_insert(segment);
            for &next in &by_node[id.index()] {
                let link = &world.links[next];
                let out = if link.a.0 == id { link.a.1 } else { link.b.1 };
                let way = across(node, (port, tag), out);
                if let Some(tag) = way
                    && seen.insert((next, tag))
                {
                    open.push((next, tag));
                }
            }
        }
    }
}

/// The tag with which a frame that arrives by one port of a switch leaves by another; `None`: it does not.
fn across(switch: &Node, (port, tag): (PortId, Option<u16>), out: PortId) -> Option<Option<u16>> {
    let vlans = |port: PortId| switch.interfaces.get(port.index()).and_then(|i| i.vlans.as_ref());
    if switch.interfaces.iter().all(|i| i.vlans.is_none()) {
        return Some(tag);
    }
    // Ports without a word about VLANs carry what has no tag.
    let plain = SwitchPort::Access(0);
    let vlan = vlans(port).unwrap_or(&plain).vlan_in(tag)?;
    vlans(out).unwrap_or(&plain).tag_out(vlan)
}

/// Tunnels and sessions: their two ends are a segment.
fn point_to_point(world: &World<'_, '_>, found: &mut Segments) {
    let mut ends: BTreeMap<String, Vec<(NodeId, PortId)>> = BTreeMap::new();
    for (n, draft) in (0..).zip(&world.nodes) {
        for (p, interface) in (0..).zip(&draft.node.interfaces) {
            let at = (NodeId(n), PortId(p));
            let key = match interface.kind {
                InterfaceKind::Pppoe { parent, .. } => found.of(at.0, parent).map(|s| format!("pppoe {s}")),
                // Where the program behind a tun carries packets nobody can tell; most likely to its network.
                InterfaceKind::Tun => interface.addresses.first().map(|net| format!("tun {}", net.trunc())),
                kind => kind.ends().map(|(local, remote)| {
                    let which = match kind {
                        InterfaceKind::Gre { key, .. } => format!("gre {key:?}"),
                        InterfaceKind::Vxlan { vni, port, .. } => format!("vxlan {vni} {port}"),
                        _ => "ipip".to_owned(),
                    };
                    format!("{which} {} {}", local.min(remote), local.max(remote))
                }),
            };
            if let Some(key) = key {
                ends.entry(key).or_default().push(at);
            }
        }
    }
    for members in ends.into_values() {
        for (id, port) in &members {
            found.of[id.index()][port.index()] = Some(found.members.len());
        }
        found.members.push(members);
    }
}

/// Adds gateways and shortest-path routes.
pub(crate) fn fill(world: &mut World<'_, '_>, segments: &Segments) {
    gateways(world, segments);
    let routers: Vec<NodeId> =
        (0..world.nodes.len()).filter(|i| world.nodes[*i].auto_routes).map(|i| NodeId(i as u32)).collect();
    if routers.len() > MOST_AUTO_ROUTERS {
        let span = world.nodes[routers[MOST_AUTO_ROUTERS].index()].span;
        let message = format!("more than {MOST_AUTO_ROUTERS} routers have no routes of their own");
        world
            .problems
            .add(Code::TooLarge, span, message, "one too many")
            .help("write `routes:` on routers; shortest paths between all of them would be too many");
        return;
    }
    let networks = networks(world, &routers);
    if routers.len() * networks.len() > MOST_AUTO_ROUTES {
        let span = world.nodes[routers[0].index()].span;
        let message = format!(
            "shortest paths of {} routers to {} networks are too many",
            routers.len(),
            networks.len()
        );
        world.problems.add(Code::TooLarge, span, message, "first router").help("write `routes:` on routers");
        return;
    }
    let graph = neighbours(world, segments, &routers);
    for &from in &routers {
        let paths = shortest(&graph, from);
        for (net, homes) in &networks {
            shortest_route(world, (from, &graph), (*net, homes), &paths);
        }
    }
    loops_on_purpose(world, &graph);
}

/// The default gateway of hosts: the written one, or the only router on the link.
fn gateways(world: &mut World<'_, '_>, segments: &Segments) {
    for index in 0..world.nodes.len() {
        let id = NodeId(index as u32);
        let draft = &world.nodes[index];
        if let Some((via, span)) = draft.gateway {
            match port_towards(world, id, via) {
                Some(port) => {
                    let origin = world.line(span);
                    world.set_gateway((id, port), via, origin);
                }
                None => gateway_off_link(world, id, via, span),
            }
            continue;
        }
        if draft.own_routes || draft.node.kind != NodeKind::Host {
            continue;
        }
        let mut found: Vec<(PortId, IpAddr)> = Vec::new();
        for (p, interface) in draft.node.interfaces.iter().enumerate() {
            let port = PortId(p as u16);
            let Some(segment) = segments.of(id, port) else { continue };
            for &(other, at) in &segments.members[segment] {
                let there = &world.nodes[other.index()].node;
                if there.kind == NodeKind::Router {
                    let addresses = there.interfaces[at.index()].addresses.iter().map(|n| n.addr());
                    found.extend(
                        addresses
                            .filter(|a| interface.addresses.iter().any(|n| n.contains(a)))
                            .map(|a| (port, a)),
                    );
                }
            }
        }
        if let [(port, via)] = *found {
            let origin = world.default_of(world.nodes[index].span, "the only router on its link");
            world.set_gateway((id, port), via, origin);
        }
    }
}

/// An edge of the graph of routers: over this interface, to this router's address, at this cost.
struct Edge {
    to: NodeId,
    out: PortId,
    via: IpAddr,
    cost: u64,
}

type Graph = BTreeMap<NodeId, Vec<Edge>>;

/// Delay from an interface to the middle of its segment: that of its own link.
fn delay_out(world: &World<'_, '_>, id: NodeId, port: PortId) -> Nanos {
    let port = cable(world, id, port);
    let Some(link) = world.nodes[id.index()].ports[port.index()].link else { return Nanos::ZERO };
    let link = &world.links[link];
    if link.a == (id, port) { link.wire.ab.delay } else { link.wire.ba.delay }
}

/// The port with the cable below an interface.
fn cable(world: &World<'_, '_>, id: NodeId, port: PortId) -> PortId {
    let mut port = port;
    for _ in 0..2 {
        match world.nodes[id.index()].node.interfaces[port.index()].kind {
            InterfaceKind::Vlan { parent, .. } | InterfaceKind::Pppoe { parent, .. } => port = parent,
            _ => return port,
        }
    }
    port
}

fn neighbours(world: &World<'_, '_>, segments: &Segments, routers: &[NodeId]) -> Graph {
    let mut graph = Graph::new();
    for &from in routers {
        let mut edges = Vec::new();
        for (p, interface) in world.nodes[from.index()].node.interfaces.iter().enumerate() {
            let out = PortId(p as u16);
            // Nobody can tell how long a tunnel is: routes into it are written.
            let Some(segment) = segments.of(from, out).filter(|_| interface.kind.ends().is_none()) else {
                continue;
            };
            for &(to, at) in &segments.members[segment] {
                let there = &world.nodes[to.index()];
                if to == from || !there.auto_routes {
                    continue;
                }
                let addresses = there.node.interfaces[at.index()].addresses.iter().map(|n| n.addr());
                let shared =
                    addresses.into_iter().find(|a| interface.addresses.iter().any(|n| n.contains(a)));
                let below =
                    |id: NodeId, port| world.nodes[id.index()].ports[cable(world, id, port).index()].link;
                let far = below(from, out) != below(to, at);
                let rest = if far { delay_out(world, to, at) } else { Nanos::ZERO };
                let cost = delay_out(world, from, out) + rest;
                edges.extend(shared.map(|via| Edge { to, out, via, cost: cost.0.saturating_add(HOP) }));
            }
        }
        graph.insert(from, edges);
    }
    graph
}

/// Networks of the routers' interfaces and those that they announce beside, with the routers that are on them.
fn networks(world: &World<'_, '_>, routers: &[NodeId]) -> BTreeMap<IpNet, Vec<NodeId>> {
    let mut out: BTreeMap<IpNet, Vec<NodeId>> = BTreeMap::new();
    for &id in routers {
        let draft = &world.nodes[id.index()];
        for net in draft.node.interfaces.iter().flat_map(|i| &i.addresses).chain(&draft.announced) {
            let homes = out.entry(net.trunc()).or_default();
            if homes.last() != Some(&id) {
                homes.push(id);
            }
        }
    }
    out
}

/// Cost to each router, and the first edge of the way as an index.
type Paths = BTreeMap<NodeId, (u64, usize)>;

fn shortest(graph: &Graph, from: NodeId) -> Paths {
    let mut best = Paths::new();
    let mut open: BinaryHeap<Reverse<(u64, NodeId, usize)>> = BinaryHeap::new();
    for (index, edge) in graph.get(&from).into_iter().flatten().enumerate() {
        open.push(Reverse((edge.cost, edge.to, index)));
    }
    while let Some(Reverse((cost, at, first))) = open.pop() {
        if at == from || best.contains_key(&at) {
            continue;
        }
        best.insert(at, (cost, first));
        for edge in graph.get(&at).into_iter().flatten().filter(|e| !best.contains_key(&e.to)) {
            open.push(Reverse((cost.saturating_add(edge.cost), edge.to, first)));
        }
    }
    best
}

fn shortest_route(
    world: &mut World<'_, '_>,
    (from, graph): (NodeId, &Graph),
    (net, homes): (IpNet, &[NodeId]),
    paths: &Paths,
) {
    if homes.contains(&from) || world.faults.no_route.iter().any(|n| n.contains(&net)) {
        return;
    }
    let mut ways: Vec<(u64, NodeId, usize)> =
        homes.iter().filter_map(|h| paths.get(h).map(|(cost, first)| (*cost, *h, *first))).collect();
    ways.sort();
    let Some(&(cost, home, first)) = ways.first() else { return };
    let name = |id: NodeId| world.nodes[id.index()].node.name.clone();
    let mut what = format!("shortest path to {net} by {}", name(home));
    let anycast = |id: NodeId| {
        let draft = &world.nodes[id.index()];
        let ports = draft.ports.iter().zip(&draft.node.interfaces);
        ports.into_iter().any(|(p, i)| p.anycast && i.addresses.iter().any(|n| n.trunc() == net))
    };
    for (other_cost, other, _) in ways[1..].iter().filter(|(_, id, _)| anycast(*id)) {
        let more = Nanos(other_cost - cost);
        what.push_str(&format!("; {} announces it too, {more} farther", name(*other)));
    }
    let span = world.nodes[from.index()].span;
    let origin = world.default_of(span, &what);
    let Some(edge) = graph.get(&from).and_then(|edges| edges.get(first)) else { return };
    let (out, via) = (edge.out, edge.via);
    let kind = RouteKind::Unicast;
    let route = Route { prefix: net, via: Some(via), out, kind, metric: 0, source: None, origin };
    world.node(from).node.routes.push(route);
}

/// `faults: routing-loop`: each of two routers believes the network behind the other.
fn loops_on_purpose(world: &mut World<'_, '_>, graph: &Graph) {
    let loops = std::mem::take(&mut world.faults.loops);
    for (net, a, b, span) in &loops {
        for (from, to) in [(*a, *b), (*b, *a)] {
            let way =
                graph.get(&from).and_then(|edges| edges.iter().find(|e| e.to == to)).map(|e| (e.out, e.via));
            let Some((out, via)) = way else {
                not_neighbours(world, *span);
                break;
            };
            let origin = world.line(*span);
            let routes = &mut world.node(from).node.routes;
            routes.retain(|r| r.prefix != *net);
            let kind = RouteKind::Unicast;
            routes.push(Route { prefix: *net, via: Some(via), out, kind, metric: 0, source: None, origin });
        }
    }
}

fn not_neighbours(world: &mut World<'_, '_>, span: Span) {
    world
        .problems
        .add(Code::UnknownLink, span, "a routing loop needs two places that are joined", "not joined")
        .help("take two places with a link between them");
}
