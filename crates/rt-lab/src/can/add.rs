//! What a probe or a lift adds to a network: cables, and machines at the internet.
//!
//! Ends of cables are appended to what is there, so that no id of a node, a port or a link moves.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use rt_base::{InterfaceKind, MacAddr, Nanos, NodeId, PortId};
use rt_rules::{Origin, Route, RouteKind};
use rt_scenario::model::{Interface, LimitOrigins, Link, Model, Node, SshHome};

use super::ways;

/// Of what is only there for a probe.
pub(super) fn origin() -> Origin {
    Origin::Resource { address: "added by can".into() }
}

/// A unicast route that was not written.
pub(super) fn route(prefix: IpNet, via: Option<IpAddr>, out: PortId) -> Route {
    Route { prefix, via, out, kind: RouteKind::Unicast, metric: 0, source: None, origin: origin() }
}

/// All nodes.
pub(super) fn all(model: &Model) -> impl Iterator<Item = NodeId> + use<> {
    (0..u32::try_from(model.nodes.len()).unwrap_or(u32::MAX)).map(NodeId)
}

/// The first router of the backbone.
pub(super) fn backbone(model: &Model) -> Option<NodeId> {
    let mut all = all(model);
    let router = all.find(|n| ways::is_internet(model, *n));
    router.filter(|r| !model.nodes[r.index()].interfaces.is_empty())
}

/// Whether nobody has, routes to or translates to an address of this network.
pub(super) fn is_free(model: &Model, net: Ipv4Net) -> bool {
    let net = IpNet::V4(net);
    let touches = |other: &IpNet| other.contains(&net) || net.contains(other);
    let ports = model.nodes.iter().flat_map(|n| &n.interfaces).flat_map(|i| &i.addresses);
    let tables = |n: &Node| -> Vec<IpNet> {
        let more = n.tables.iter().flat_map(|t| &t.routes);
        n.routes.iter().chain(more).map(|r| r.prefix).filter(|p| p.prefix_len() > 0).collect()
    };
    let mut ports = ports.map(IpNet::trunc);
    !ports.any(|p| touches(&p)) && !model.nodes.iter().flat_map(tables).any(|p| touches(&p))
}

/// The first of these networks that nobody uses.
pub(super) fn free(model: &Model, mut nets: impl Iterator<Item = Ipv4Net>) -> Option<Ipv4Net> {
    nets.find(|net| is_free(model, *net))
}

/// One end of a cable.
pub(super) struct End<'n> {
    pub(super) node: NodeId,
    /// Its name there.
    pub(super) port: &'n str,
    pub(super) address: Ipv4Addr,
}

/// Joins two nodes: an interface at each, addresses of `net`, connected routes in their main tables. The ports.
pub(super) fn cable(model: &mut Model, ends: [End<'_>; 2], (net, delay): (Ipv4Net, Nanos)) -> [PortId; 2] {
    let [a, b] = ends.map(|end| {
        let port = plug(model, &end, net);
        (end.node, port)
    });
    let like = model.links.iter().find(|l| l.a.0 == b.0 || l.b.0 == b.0).or(model.links.first());
    if let Some(like) = like {
        let mut way = like.ab.clone();
        (way.loss_ppm, way.loss_every, way.bit_errors) = (0, 0, 0);
        (way.reorder_ppm, way.duplicate_ppm, way.corrupt_ppm) = (0, 0, 0);
        way.delay = delay;
        let link: Link = Link { a, b, ab: way.clone(), ba: way, mtu: 1_500, origin: origin() };
        model.links.push(link);
    }
    [a.1, b.1]
}

fn plug(model: &mut Model, end: &End<'_>, net: Ipv4Net) -> PortId {
    let node = &mut model.nodes[end.node.index()];
    let port = PortId(u16::try_from(node.interfaces.len()).unwrap_or(u16::MAX));
    let [high, low] = u16::try_from(end.node.0).unwrap_or(u16::MAX).to_be_bytes();
    let number = u8::try_from(port.0).unwrap_or(u8::MAX);
    node.interfaces.push(Interface {
        name: end.port.to_owned(),
        mac: MacAddr([0x02, 0x5f, 0x73, high, low, number]),
        addresses: vec![IpNet::V4(Ipv4Net::new(end.address, net.prefix_len()).unwrap_or(net))],
        mtu: 1_500,
        kind: InterfaceKind::Ethernet,
        vlans: None,
        reverse_path: None,
        origin: origin(),
    });
    node.routes.push(route(net.into(), None, port));
    port
}

/// Brings a machine to the internet: a cable with addresses of `net` to the first router of the backbone, a default route,
/// and every router of the internet knows the way. Its port.
pub(super) fn join_internet(
    model: &mut Model,
    (node, port): (NodeId, &str),
    (address, net): (Ipv4Addr, Ipv4Net),
) -> Option<PortId> {
    let router = backbone(model)?;
    let gateway = net.hosts().find(|h| *h != address)?;
    let far = format!("to-{}", model.nodes[node.index()].role.replace(' ', "-"));
    let ends = [End { node, port, address }, End { node: router, port: &far, address: gateway }];
    let [port, _] = cable(model, ends, (net, Nanos::from_millis(5)));
    let default = route(IpNet::V4(Ipv4Net::default()), Some(gateway.into()), port);
    model.nodes[node.index()].routes.push(default);
    let others: Vec<NodeId> = all(model).filter(|n| *n != router && ways::is_internet(model, *n)).collect();
    for other in others {
        if let Some((out, via, _)) = ways::next_hop(model, other, gateway.into()) {
            let via = via.unwrap_or(IpAddr::V4(gateway));
            model.nodes[other.index()].routes.push(route(net.into(), Some(via), out));
        }
    }
    Some(port)
}

/// A machine like another one, of which nothing is written: no interfaces, routes, rules or applications.
pub(super) fn bare(model: &mut Model, name: &str, (like, role): (NodeId, &str)) -> NodeId {
    let id = NodeId(u32::try_from(model.nodes.len()).unwrap_or(u32::MAX));
    let near = &model.nodes[like.index()];
    let node = Node {
        name: name.to_owned(),
        role: role.to_owned(),
        interfaces: Vec::new(),
        routes: Vec::new(),
        tables: Vec::new(),
        policies: Vec::new(),
        clamps: Vec::new(),
        ossified: Vec::new(),
        chains: Vec::new(),
        nat: Vec::new(),
        apps: Vec::new(),
        ssh: SshHome::default(),
        exec: Vec::new(),
        limits: LimitOrigins::default(),
        origin: origin(),
        ..near.clone()
    };
    model.nodes.push(node);
    id
}
