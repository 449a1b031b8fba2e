//! A neighbour that does not answer ARP because a cable between switches lost the question, or the answer: the cable is the
//! reason, not that nobody answered.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use rt_base::{DropReason, Event, LinkId, NodeId, Time, What};
use rt_scenario::model::{Model, NodeKind};
use rt_trace::Trace;
use rt_wire::{ArpOperation, ArpPacket, EthernetHeader, ethertype};

use super::ends;
use super::find::{self, Cause};

/// The same cause, or, where a cable on the way to a machine that has the neighbour's address lost what was asked there, that.
pub(super) fn or_cable(model: &Model, trace: &Trace, begun: Time, cause: Cause) -> Cause {
    if cause.reason != DropReason::NeighborUnreachable {
        return cause;
    }
    let mut drops = trace.events.iter().filter(|e| e.at >= begun);
    let lost = drops.find_map(|e| lost(model, trace, e, cause.node));
    match lost {
        Some((at, What::Drop { reason, place, port, .. }, link)) => {
            Cause { node: at, reason, place, port, rule: None, link: Some(link), ..cause }
        }
        _ => cause,
    }
}

/// A drop on a cable that kept a machine from learning a neighbour's MAC: where, what, which cable.
fn lost(model: &Model, trace: &Trace, event: &Event, asker: NodeId) -> Option<(NodeId, What, LinkId)> {
    let What::Drop { reason: DropReason::LinkDown | DropReason::LinkLoss, port, .. } = event.what else {
        return None;
    };
    let at = event.node();
    let link = find::link_at(model, at, port)?;
    let bytes = &trace.sightings(event.frame).next()?.bytes;
    let (_, rest) =
        EthernetHeader::parse(bytes).ok().filter(|(header, _)| header.ethertype == ethertype::ARP)?;
    let (arp, _) = ArpPacket::parse(rest).ok()?;
    let has =
        |node: NodeId, address: Ipv4Addr| ends::addresses(model, node.index()).contains(&IpAddr::V4(address));
    let between = match arp.operation {
        // A question goes to all: what other cables lose of it harms nobody.
        ArpOperation::Request if has(asker, arp.sender_ip) => {
            leads_to(model, (at, link), |node| has(node, arp.target_ip))
        }
        ArpOperation::Reply => has(asker, arp.target_ip),
        ArpOperation::Request => false,
    };
    between.then(|| (at, event.what.clone(), link))
}

/// Whether a cable, left by its other end, leads to such a machine through switches only.
fn leads_to(model: &Model, (from, link): (NodeId, LinkId), is_meant: impl Fn(NodeId) -> bool) -> bool {
    let mut seen = BTreeSet::from([from]);
    let cable = &model.links[link.0 as usize];
    let mut waiting = vec![if cable.a.0 == from { cable.b.0 } else { cable.a.0 }];
    while let Some(node) = waiting.pop() {
        if !seen.insert(node) {
            continue;
        }
        if is_meant(node) {
            return true;
        }
        if model.nodes[node.index()].kind == NodeKind::Switch {
            let ends = model.links.iter().map(|l| (l.a.0, l.b.0));
            waiting.extend(ends.filter_map(|(a, b)| match node {
                _ if a == node => Some(b),
                _ if b == node => Some(a),
                _ => None,
            }));
        }
    }
    false
}
