//! Why a probe was not answered: the first drop of one of its packets, or of a packet sent in answer.

use std::net::IpAddr;

use ipnet::IpNet;
use rt_base::{
    AppRecord, DropReason, Event, FrameId, HookPoint, LinkId, NearMiss, NodeId, Place, PortId, Time, What,
};
use rt_rules::Origin;
use rt_scenario::model::{Model, Node};
use rt_trace::Trace;

use super::{Blocker, Probe};

/// What stood in the way, as the model names it.
#[derive(Clone, Debug)]
pub(super) struct Cause {
    pub(super) node: NodeId,
    pub(super) reason: DropReason,
    pub(super) place: Place,
    pub(super) rule: Option<u32>,
    pub(super) link: Option<LinkId>,
    pub(super) destination: Option<IpAddr>,
    /// Machines that the packet passed before (a routing loop shows here).
    pub(super) passed: Vec<NodeId>,
    pub(super) said: Option<String>,
    /// The interface at which it was dropped.
    pub(super) port: PortId,
    /// The rule that came nearest, if a filter recorded one.
    pub(super) nearest: Option<NearMiss>,
}

/// The protocols a probe travels by: ICMP and TCP.
const PROBE_PROTOCOLS: [u8; 2] = [1, 6];

/// Finds the first cause after the probe began.
pub(super) fn cause(model: &Model, probe: &Probe, from: NodeId) -> Option<Cause> {
    let trace = &probe.trace;
    let drops = trace.events.iter().filter(|e| e.at >= probe.begun);
    for event in drops {
        let What::Drop { reason, place, port, rule } = event.what else { continue };
        let node = event.node();
        let destination = probe_destination(trace, event.frame);
        // What the asking machine itself did not let out was seen on no link.
        let kept = node == from
            && place == Place::Hook(HookPoint::Output)
            && trace.sightings(event.frame).next().is_none();
        if destination.is_none() && !kept {
            continue;
        }
        return Some(Cause {
            node,
            reason,
            place,
            rule: Some(rule).filter(|r| *r != u32::MAX),
            link: link_at(model, node, port),
            destination,
            passed: passed(trace, event.frame),
            said: None,
            port,
            nearest: near_miss(trace, event),
        });
    }
    let failed = trace.said().find_map(|(event, record)| match record {
        AppRecord::RequestEnd { ok: false, note, .. } if event.node() == from && event.at >= probe.begun => {
            Some(note)
        }
        _ => None,
    })?;
    Some(Cause {
        node: from,
        reason: DropReason::RunEnded,
        place: Place::Socket,
        rule: None,
        link: None,
        destination: None,
        passed: Vec::new(),
        said: Some(failed.clone()),
        port: PortId::default(),
        nearest: None,
    })
}

fn near_miss(trace: &Trace, drop: &Event) -> Option<NearMiss> {
    let mut there = trace.events_of(drop.frame).filter(|e| e.node() == drop.node() && e.at == drop.at);
    there.find_map(|e| match &e.what {
        What::NearMiss(miss) => Some((**miss).clone()),
        _ => None,
    })
}

/// Machines that the first packet of the probe passed, by name, the asking one first.
pub(super) fn path(trace: &Trace, from: NodeId, begun: Time) -> Vec<String> {
    let first = trace.events_at(from).find(|e| {
        matches!(e.what, What::Transmit { .. })
            && e.at >= begun
            && e.frame.node() == from
            && probe_destination(trace, e.frame).is_some()
    });
    first.map_or_else(Vec::new, |e| passed(trace, e.frame).iter().map(|n| trace.map.node_name(*n)).collect())
}

/// The destination of a frame as first seen, when it is one that a probe or its answer would be.
fn probe_destination(trace: &Trace, frame: FrameId) -> Option<IpAddr> {
    let bytes = &trace.sightings(frame).next()?.bytes;
    let (ethernet, rest) = rt_wire::EthernetHeader::parse(bytes).ok()?;
    if ethernet.ethertype != 0x0800 {
        return None;
    }
    let (ip, _) = rt_wire::Ipv4Header::parse(rest).ok()?;
    PROBE_PROTOCOLS.contains(&ip.protocol).then_some(IpAddr::V4(ip.dst))
}

/// The nodes that saw a frame, in order, each once in a row.
fn passed(trace: &Trace, frame: FrameId) -> Vec<NodeId> {
    let mut nodes: Vec<NodeId> = Vec::new();
    for sighting in trace.sightings(frame) {
        if nodes.last() != Some(&sighting.node) {
            nodes.push(sighting.node);
        }
    }
    nodes
}

fn link_at(model: &Model, node: NodeId, port: PortId) -> Option<LinkId> {
    let at = model.links.iter().position(|l| l.a == (node, port) || l.b == (node, port))?;
    u32::try_from(at).ok().map(LinkId)
}

impl Cause {
    /// For the verdict: names, sentence, rule and origin; nothing is lifted yet.
    pub(super) fn blocker(&self, model: &Model) -> Blocker {
        let facts = crate::facts::facts(model, 0);
        let node = &facts.nodes[self.node.index()];
        let (rule, origin) = self.rule_and_origin(model, node);
        let sentence = match (&self.said, self.destination) {
            (Some(said), _) => format!("{}: {said}", node.name),
            (None, Some(to)) => {
                let private = if self.is_unroutable(model, to) {
                    "; it is a private address, which nobody routes on the internet"
                } else {
                    ""
                };
                format!("{} dropped the packet to {to}: {}{private}", node.name, self.reason.say())
            }
            (None, None) => format!("{}: {}", node.name, self.reason.say()),
        };
        let code = if self.said.is_some() { "request.failed" } else { self.reason.code() };
        let nearest = self.nearest.as_ref().and_then(|miss| nearest_rule(node, miss));
        let explanation = match self.place {
            Place::Hook(hook) => hook_rule(node, hook, self.rule).and_then(|fact| fact.explanation.clone()),
            _ => None,
        };
        Blocker {
            node: node.name.clone(),
            code: code.into(),
            sentence,
            rule,
            origin,
            nearest,
            explanation,
            lifted: None,
        }
    }

    /// Whether it ended on the internet because its destination is private (RFC 1918) or shared (RFC 6598).
    fn is_unroutable(&self, model: &Model, to: IpAddr) -> bool {
        let IpAddr::V4(v4) = to else { return false };
        let shared = v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64;
        let role = model.nodes[self.node.index()].role.as_str();
        let outside = matches!(role, "backbone router" | "ISP router");
        self.reason == DropReason::NoRoute && outside && (v4.is_private() || shared)
    }

    fn rule_and_origin(&self, model: &Model, node: &rt_trace::NodeFacts) -> (Option<String>, String) {
        let fact = match self.place {
            Place::Hook(hook) => hook_rule(node, hook, self.rule),
            Place::Route => self.rule.and_then(|r| node.route(r)),
            Place::Nat => self.rule.and_then(|r| node.nat.get(r as usize)),
            _ => None,
        };
        if let Some(check) = node.interfaces.get(self.port.index()).and_then(|i| i.reverse_path.as_ref())
            && self.reason == DropReason::ReversePath
        {
            return (Some(check.text.clone()), check.origin.clone());
        }
        if let (DropReason::NoRoute, Some(to)) = (self.reason, self.destination) {
            return (None, no_route(&model.nodes[self.node.index()], node, to).to_string());
        }
        match (fact, self.link) {
            (Some(fact), _) => (Some(fact.text.clone()), fact.origin.clone()),
            (None, Some(link)) if matches!(self.place, Place::Link | Place::Queue) => {
                (None, model.links[link.index()].origin.to_string())
            }
            _ => (None, model.nodes[self.node.index()].origin.to_string()),
        }
    }
}

/// Nothing decided but the absence of a route: the one whose network has most bits in common with the destination.
fn no_route(node: &Node, facts: &rt_trace::NodeFacts, to: IpAddr) -> Origin {
    let common = |prefix: &IpNet| match (prefix.network(), to) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            (a.to_bits() ^ b.to_bits()).leading_zeros().min(prefix.prefix_len().into())
        }
        _ => 0,
    };
    let best = node
        .routes
        .iter()
        .enumerate()
        .max_by_key(|(index, route)| (common(&route.prefix), usize::MAX - index));
    let nearest = best.map(|(index, route)| {
        let text = facts.routes.get(index).map_or("?", |fact| fact.text.as_str());
        format!("`{text}`, {}: {to} is not in {}", route.origin, route.prefix)
    });
    // A cloud's router is nobody's file line: its resource says whose routes these are.
    let whose = match &node.origin {
        Origin::Resource { address } => format!(" ({address})"),
        _ => String::new(),
    };
    Origin::Absence { table: format!("the routes of {}{whose}", node.name), nearest }
}

fn nearest_rule(node: &rt_trace::NodeFacts, miss: &NearMiss) -> Option<String> {
    let Place::Hook(hook) = miss.place else { return None };
    let rule = hook_rule(node, hook, Some(miss.rule))?;
    let name =
        |port: PortId| node.interfaces.get(port.index()).map_or_else(|| "?".to_owned(), |i| i.name.clone());
    Some(format!("`{}`, {}: {}", rule.text, rule.origin, miss.say(&name)))
}

fn hook_rule(node: &rt_trace::NodeFacts, hook: HookPoint, rule: Option<u32>) -> Option<&rt_trace::RuleFacts> {
    let chain = node.chains.iter().find(|c| c.hook == hook)?;
    rule.map_or(Some(&chain.policy), |r| chain.rules.get(r as usize))
}
