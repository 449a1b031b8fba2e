//! The stranger: a host that is added to the internet for a probe, so that one can ask from outside, or whether the outside
//! can be reached.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use rt_base::{MacAddr, NodeId, PortId};
use rt_rules::{Origin, Route, RouteKind};
use rt_scenario::model::{App, Interface, LimitOrigins, Link, Model, Node, NodeKind};

use super::ways;
use crate::Refusal;

/// Its name.
pub(super) const NAME: &str = "a stranger on the internet";

/// Addresses that it takes, the first whose network nobody uses: documentation (RFC 5737), then networks for examples.
const ADDRESSES: [[u8; 4]; 5] =
    [[192, 0, 2, 77], [198, 51, 100, 77], [203, 0, 113, 77], [45, 33, 0, 77], [23, 92, 0, 77]];

/// Adds it, with this address or one of its own, at the first router of the backbone.
pub(super) fn add(model: &mut Model, wanted: Option<Ipv4Addr>) -> Result<NodeId, Refusal> {
    let all = (0..model.nodes.len()).filter_map(|i| u32::try_from(i).ok().map(NodeId));
    let backbone = all.into_iter().find(|n| ways::is_internet(model, *n));
    let Some(router) = backbone.filter(|r| !model.nodes[r.index()].interfaces.is_empty()) else {
        let why = "there is no internet in this network, so there is no stranger on it: name two machines, or add a site \
                   `internet: { kind: internet, places: [frankfurt, london] }`";
        return Err(Refusal::Misuse { why: why.into() });
    };
    let own = match wanted {
        Some(address) => Some(address).filter(|a| is_free(model, network(*a))),
        None => ADDRESSES.iter().map(|a| Ipv4Addr::from(*a)).find(|a| is_free(model, network(*a))),
    };
    let Some(address) = own else {
        let why = match wanted {
            Some(address) => format!(
                "{address} is nobody's address, but it lies in a network of this scenario: no stranger can have it"
            ),
            None => "every address that a stranger could have lies in a network of this scenario".to_owned(),
        };
        return Err(Refusal::Misuse { why });
    };
    Ok(connect(model, router, address))
}

/// The small network between it and its router.
fn network(address: Ipv4Addr) -> Ipv4Net {
    Ipv4Net::new(address, 29).map(|n| n.trunc()).unwrap_or_default()
}

fn is_free(model: &Model, net: Ipv4Net) -> bool {
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

fn connect(model: &mut Model, router: NodeId, address: Ipv4Addr) -> NodeId {
    let net = network(address);
    let gateway = net.hosts().find(|h| *h != address).unwrap_or(address);
    let id = NodeId(u32::try_from(model.nodes.len()).unwrap_or(u32::MAX));
    let near = &model.nodes[router.index()];
    let port = PortId(u16::try_from(near.interfaces.len()).unwrap_or(u16::MAX));
    let with_length = |a: Ipv4Addr| IpNet::V4(Ipv4Net::new(a, net.prefix_len()).unwrap_or(net));
    let template = near.interfaces[0].clone();
    let interface = |name: &str, last: u8, a: Ipv4Addr| {
        let mut interface: Interface = template.clone();
        interface.name = name.to_owned();
        interface.mac = MacAddr([0x02, 0x5f, 0x73, 0x74, 0x72, last]);
        interface.addresses = vec![with_length(a)];
        interface.mtu = 1_500;
        interface.reverse_path = None;
        interface.origin = origin();
        interface
    };
    let route = |prefix: IpNet, via: Option<Ipv4Addr>, out: PortId| route(prefix, via.map(IpAddr::V4), out);
    let resolvers =
        model.nodes.iter().filter(|n| n.apps.iter().any(|a| matches!(a, App::DnsResolver { .. })));
    let resolvers = resolvers.filter_map(|n| n.interfaces.first()?.addresses.first().map(IpNet::addr));
    let mut stranger = Node {
        name: NAME.to_owned(),
        kind: NodeKind::Host,
        role: "stranger".to_owned(),
        interfaces: vec![interface("eth0", 2, address)],
        routes: vec![
            route(net.into(), None, PortId(0)),
            route(IpNet::V4(Ipv4Net::default()), Some(gateway), PortId(0)),
        ],
        tables: Vec::new(),
        policies: Vec::new(),
        clamps: Vec::new(),
        chains: Vec::new(),
        nat: Vec::new(),
        apps: Vec::new(),
        exec: Vec::new(),
        limits: LimitOrigins::default(),
        origin: origin(),
        ..near.clone()
    };
    stranger.resolver.servers = resolvers.collect();
    let near = interface("to-stranger", 1, gateway);
    let line = link(model, (id, PortId(0)), (router, port));
    let router_node = &mut model.nodes[router.index()];
    router_node.interfaces.push(near);
    router_node.routes.push(route(net.into(), None, port));
    model.nodes.push(stranger);
    model.links.extend(line);
    lead_everywhere(model, (router, net), gateway);
    id
}

/// Every router of the internet knows the way to it.
fn lead_everywhere(model: &mut Model, (router, net): (NodeId, Ipv4Net), gateway: Ipv4Addr) {
    let all = (0..model.nodes.len()).filter_map(|i| u32::try_from(i).ok().map(NodeId));
    let others: Vec<NodeId> = all.filter(|n| *n != router && ways::is_internet(model, *n)).collect();
    for node in others {
        if let Some((out, via, _)) = ways::next_hop(model, node, gateway.into()) {
            let via = via.unwrap_or(IpAddr::V4(gateway));
            model.nodes[node.index()].routes.push(route(net.into(), Some(via), out));
        }
    }
}

fn link(model: &Model, a: (NodeId, PortId), b: (NodeId, PortId)) -> Option<Link> {
    let like = model.links.iter().find(|l| l.a.0 == b.0 || l.b.0 == b.0).or(model.links.first())?;
    let mut way = like.ab.clone();
    (way.loss_ppm, way.loss_every, way.reorder_ppm, way.duplicate_ppm, way.corrupt_ppm) = (0, 0, 0, 0, 0);
    way.delay = rt_base::Nanos::from_millis(5);
    let mut link: Link = like.clone();
    (link.a, link.b, link.ab, link.ba) = (a, b, way.clone(), way);
    (link.mtu, link.origin) = (1_500, origin());
    Some(link)
}

fn route(prefix: IpNet, via: Option<IpAddr>, out: PortId) -> Route {
    Route { prefix, via, out, kind: RouteKind::Unicast, metric: 0, source: None, origin: origin() }
}

/// Of what is only there for a probe.
pub(super) fn origin() -> Origin {
    Origin::Resource { address: "added by can".into() }
}
