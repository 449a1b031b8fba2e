//! The shortest way through a model, by hops: where a missing route would have to lead.

use std::collections::VecDeque;
use std::net::IpAddr;

use rt_base::{InterfaceKind, NodeId, PortId};
use rt_scenario::model::{Model, Node, NodeKind};

/// Who has an address on an interface.
pub(super) fn owners(model: &Model, address: IpAddr) -> Vec<NodeId> {
    let has = |index: &usize| {
        model.nodes[*index].interfaces.iter().any(|i| i.addresses.iter().any(|a| a.addr() == address))
    };
    (0..model.nodes.len()).filter(has).filter_map(|i| u32::try_from(i).ok().map(NodeId)).collect()
}

/// Whether this is one of the internet's routers.
pub(super) fn is_internet(model: &Model, node: NodeId) -> bool {
    is_internet_router(&model.nodes[node.index()])
}

/// The same for the machine itself.
pub(super) fn is_internet_router(node: &Node) -> bool {
    node.kind == NodeKind::Router && matches!(node.role.as_str(), "backbone router" | "ISP router")
}

/// The first hop of the way with the fewest hops from `at` to a machine that has `to`: the way out, the next router's
/// address on that link (`None` when the target itself is on it), and that router.
pub(super) fn next_hop(model: &Model, at: NodeId, to: IpAddr) -> Option<(PortId, Option<IpAddr>, NodeId)> {
    let mut came: Vec<Option<(NodeId, PortId)>> = vec![None; model.nodes.len()];
    let mut queue = VecDeque::from([at]);
    let mut target = None;
    let owners = owners(model, to);
    while let Some(node) = queue.pop_front() {
        if node != at && owners.contains(&node) {
            target = Some(node);
            break;
        }
        // Only what forwards is on the way to others.
        if node != at && model.nodes[node.index()].kind == NodeKind::Host {
            continue;
        }
        for (port, next) in links_of(model, node) {
            if next != at && came[next.index()].is_none() {
                came[next.index()] = Some((node, port));
                queue.push_back(next);
            }
        }
    }
    let mut hops = vec![target?];
    let mut out = PortId(0);
    while let Some((before, port)) = came[hops.last()?.index()] {
        out = port;
        if before == at {
            break;
        }
        hops.push(before);
    }
    let next = *hops.iter().rev().find(|n| model.nodes[n.index()].kind != NodeKind::Switch)?;
    let (near, next_node) = (&model.nodes[at.index()], &model.nodes[next.index()]);
    let far = || next_node.interfaces.iter().flat_map(|i| &i.addresses).map(ipnet::IpNet::addr);
    // The addresses of a line may be on a VLAN or a PPPoE session of it.
    let on_line = (0..near.interfaces.len()).filter(|port| cable_of(near, *port) == Some(out.index()));
    on_line.into_iter().find_map(|port| {
        let nets = near.interfaces[port].addresses.iter().map(ipnet::IpNet::trunc).collect::<Vec<_>>();
        let mut reachable = far().filter(|a| nets.iter().any(|net| net.contains(a)));
        let via = reachable.next()?;
        let on_link = via == to || reachable.any(|a| a == to);
        Some((PortId(u16::try_from(port).ok()?), Some(via).filter(|_| !on_link), next))
    })
}

/// The port whose cable an interface uses: its own, or that of the interface below.
fn cable_of(node: &Node, port: usize) -> Option<usize> {
    let mut at = port;
    for _ in 0..node.interfaces.len() {
        match node.interfaces.get(at)?.kind {
            InterfaceKind::Ethernet => return Some(at),
            InterfaceKind::Vlan { parent, .. } | InterfaceKind::Pppoe { parent, .. } => at = parent.index(),
            _ => return None,
        }
    }
    None
}

/// A node's links: the port, and who is at the other end.
pub(super) fn links_of(model: &Model, node: NodeId) -> Vec<(PortId, NodeId)> {
    let mut found = Vec::new();
    for link in &model.links {
        if link.a.0 == node {
            found.push((link.a.1, link.b.0));
        }
        if link.b.0 == node {
            found.push((link.b.1, link.a.0));
        }
    }
    found
}
