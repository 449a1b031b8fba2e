//! The shortest way through a model, by hops: where a missing route would have to lead.

use std::collections::VecDeque;
use std::net::IpAddr;

use rt_base::{NodeId, PortId};
use rt_scenario::model::{Model, NodeKind};

/// Who has an address on an interface.
pub(super) fn owners(model: &Model, address: IpAddr) -> Vec<NodeId> {
    let has = |index: &usize| {
        model.nodes[*index].interfaces.iter().any(|i| i.addresses.iter().any(|a| a.addr() == address))
    };
    (0..model.nodes.len()).filter(has).filter_map(|i| u32::try_from(i).ok().map(NodeId)).collect()
}

/// The machines at the routers of the internet.
pub(super) fn is_internet(model: &Model, node: NodeId) -> bool {
    let node = &model.nodes[node.index()];
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
    let nets = &model.nodes[at.index()].interfaces.get(out.index())?.addresses;
    let nets: Vec<ipnet::IpNet> = nets.iter().map(ipnet::IpNet::trunc).collect();
    let all = model.nodes[next.index()].interfaces.iter().flat_map(|i| &i.addresses).map(ipnet::IpNet::addr);
    let mut reachable = all.filter(|a| nets.iter().any(|net| net.contains(a)));
    let via = reachable.next();
    let on_link = via == Some(to) || reachable.any(|a| a == to);
    if on_link { Some((out, None, next)) } else { via.map(|v| (out, Some(v), next)) }
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
