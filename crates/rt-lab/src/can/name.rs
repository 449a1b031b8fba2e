//! A blocker in words: one sentence, the rule that decided and where it was written, what came nearest, and the code by
//! which AWS's Reachability Analyzer calls the same thing.

use std::net::IpAddr;

use ipnet::IpNet;
use rt_base::{DropReason, HookPoint, NodeId, Place, PortId};
use rt_rules::{Construct, Origin};
use rt_scenario::model::{Model, Node, NodeKind};
use rt_scenario::views;

use super::cloud::NAT_GATEWAY;
use super::edit::Edit;
use super::find::{About, Cause};
use super::solve::{self, State};
use super::{Blocker, lift, ways};

/// What the asker says, when no packet was dropped.
pub(super) fn said(model: &Model, from: NodeId, said: &str) -> Blocker {
    let node = &model.nodes[from.index()];
    Blocker {
        node: node.name.clone(),
        code: "request.failed".into(),
        explanation: None,
        answer: false,
        sentence: format!("{}: {said}", node.name),
        rule: None,
        origin: node.origin.to_string(),
        nearest: None,
        lifted: None,
    }
}

/// The machine code of an address that means another machine where it is asked for than the one that was named.
pub(super) const OTHER_MACHINE: &str = "request.other_machine";

/// The address means another machine here.
pub(super) fn other_machine(state: &State, other: NodeId) -> Blocker {
    let name = |node: NodeId| state.model.nodes[node.index()].name.as_str();
    let (address, from) = (&state.question.target, state.question.from);
    let meant = state.meant().map_or("the machine that was named", name);
    let sentence = if other == from {
        format!("{address} means {} itself there, not {meant}: the probe never left it", name(from))
    } else {
        format!("{address} means {} for {}, not {meant}", name(other), name(from))
    };
    Blocker {
        node: name(other).to_owned(),
        code: OTHER_MACHINE.into(),
        explanation: None,
        answer: false,
        sentence,
        rule: None,
        origin: state.model.nodes[other.index()].origin.to_string(),
        nearest: None,
        lifted: None,
    }
}

/// An instance that passes nothing on for others: it has the cloud's source/destination check.
pub(super) fn is_checked(node: &Node) -> bool {
    let group = |c: &rt_rules::Chain| matches!(lift::construct(c), Some(Construct::SecurityGroup { .. }));
    node.kind == NodeKind::Host && node.chains.iter().any(group)
}

/// For the verdict; nothing is lifted yet. What lifts it says what it is.
pub(super) fn blocker(state: &State, cause: &Cause, edit: Option<&Edit>) -> Blocker {
    let node = &state.model.nodes[cause.node.index()];
    let (rule, origin) = rule_and_origin(&state.model, &crate::facts::of_node(node), cause);
    let no_mapping = matches!(edit, Some(Edit::Forward { .. })) || solve::is_unmapped(&state.model, cause);
    Blocker {
        node: node.name.clone(),
        code: if no_mapping { "drop.nat_no_mapping".into() } else { cause.reason.code().into() },
        explanation: explanation(node, cause, (&origin, no_mapping)),
        answer: cause.answer,
        sentence: sentence(state, cause, edit),
        rule: rule.filter(|_| !no_mapping),
        origin,
        nearest: nearest(node, cause).filter(|_| !no_mapping),
        lifted: None,
    }
}

fn sentence(state: &State, cause: &Cause, edit: Option<&Edit>) -> String {
    let node = &state.model.nodes[cause.node.index()];
    let to = match cause.packet.dst.port() {
        0 => cause.packet.dst.ip().to_string(),
        port => format!("{}:{port}", cause.packet.dst.ip()),
    };
    match edit {
        _ if is_unroutable(&state.model, cause) => {
            let what = if cause.answer { " for the answer" } else { "" };
            return format!(
                "{} is not routable on the internet: {} knows no way{what} to a private address",
                cause.packet.dst.ip(),
                node.name
            );
        }
        Some(Edit::Forward { to: inner, .. }) => {
            return format!(
                "{} has no mapping for {to} that leads in to {inner}: nothing asked for it from there",
                node.name
            );
        }
        _ if solve::is_unmapped(&state.model, cause) => {
            return format!("{} has no mapping for {to}: nobody behind it asked for it", node.name);
        }
        _ => {}
    }
    if let Some((by, _)) = lift::came_back(cause) {
        let by = &state.model.nodes[by.index()].name;
        return format!("{by} leads the packet to {to} back to {}, from which it has it", node.name);
    }
    let what = match (cause.about, cause.answer) {
        (About::Lookup, false) => "the question to the name server",
        (About::Lookup, true) => "the name server's answer to",
        (About::Tunnel, _) => "the tunnel's packet to",
        (About::Question, true) => "the answer to",
        (About::Question, false) => "the packet to",
    };
    let what = if cause.packet.complains { "the ICMP error to" } else { what };
    match construct(node, cause) {
        Some(Construct::SecurityGroup { name }) => {
            let name = if name.is_empty() {
                "no security group".into()
            } else {
                format!("the security group `{name}`")
            };
            format!("{name} of {} refuses {what} {to}", node.name)
        }
        Some(Construct::NetworkAcl { name }) => {
            let hook = if let Place::Hook(hook) = cause.place { hook } else { HookPoint::Prerouting };
            let way = views::acl_direction(node, hook);
            format!("the network ACL `{name}` ({way}) refuses {what} {to}: it keeps no state")
        }
        Some(Construct::InternetGateway) => {
            let why = "an internet gateway passes only what has a public address";
            format!("{} refuses {what} {to}: {why}", node.name)
        }
        None if cause.reason == DropReason::NotARouter && is_checked(node) => {
            let why = "its source/destination check passes only what is from it or for it";
            format!("{} drops {what} {to}: {why}", node.name)
        }
        None => format!("{} dropped {what} {to}: {}", node.name, cause.reason.say()),
    }
}

/// Nobody on the internet has a way to a private address.
fn is_unroutable(model: &Model, cause: &Cause) -> bool {
    let no_way = matches!(
        cause.reason,
        DropReason::NoRoute
            | DropReason::RouteUnreachable
            | DropReason::Blackhole
            | DropReason::NeighborUnreachable
    );
    no_way && ways::is_internet(model, cause.node) && lift::is_private(cause.packet.dst.ip())
}

/// The cloud's construct that decided: the rule's, or the policy's.
pub(super) fn construct(node: &Node, cause: &Cause) -> Option<Construct> {
    let Place::Hook(hook) = cause.place else { return None };
    let chain = node.chains.iter().find(|c| c.hook == hook)?;
    match cause.rule {
        Some(rule) => chain.rules.get(rule as usize)?.construct.clone(),
        None => lift::construct(chain).cloned(),
    }
}

pub(super) fn rule_and_origin(
    model: &Model,
    node: &rt_trace::NodeFacts,
    cause: &Cause,
) -> (Option<String>, String) {
    let fact = match cause.place {
        Place::Hook(hook) => hook_rule(node, hook, cause.rule),
        Place::Route => cause.rule.and_then(|r| node.route(r)),
        Place::Nat => cause.rule.and_then(|r| node.nat.get(r as usize)),
        _ => None,
    };
    let interface = node.interfaces.get(cause.port.index());
    let check = interface.and_then(|i| i.reverse_path.as_ref());
    if let Some(check) = check.filter(|_| cause.reason == DropReason::ReversePath) {
        return (Some(check.text.clone()), check.origin.clone());
    }
    if let Some(found) = node.behind(cause.reason) {
        return (Some(found.text), found.origin);
    }
    if let Some((by, route)) = lift::came_back(cause) {
        let facts = crate::facts::of_node(&model.nodes[by.index()]);
        if let Some(fact) = facts.route(route.0) {
            return (Some(fact.text.clone()), fact.origin.clone());
        }
    }
    if cause.reason == DropReason::NoRoute {
        return (None, no_route(&model.nodes[cause.node.index()], node, cause.packet.dst.ip()).to_string());
    }
    match (fact, cause.link) {
        (Some(fact), _) => (Some(fact.text.clone()), fact.origin.clone()),
        (None, Some(link)) if matches!(cause.place, Place::Link | Place::Queue) => {
            (None, model.links[link.index()].origin.to_string())
        }
        _ => (None, model.nodes[cause.node.index()].origin.to_string()),
    }
}

fn hook_rule(node: &rt_trace::NodeFacts, hook: HookPoint, rule: Option<u32>) -> Option<&rt_trace::RuleFacts> {
    let chain = node.chains.iter().find(|c| c.hook == hook)?;
    rule.map_or(Some(&chain.policy), |r| chain.rules.get(r as usize))
}

/// The rule that came nearest to letting it pass, and what kept it from matching.
fn nearest(node: &Node, cause: &Cause) -> Option<String> {
    let miss = cause.nearest.as_ref()?;
    let Place::Hook(hook) = miss.place else { return None };
    let rule = node.chains.iter().find(|c| c.hook == hook)?.rules.get(miss.rule as usize)?;
    if rule.origin == super::add::origin() {
        return None; // a line of our own
    }
    let name =
        |port: PortId| node.interfaces.get(port.index()).map_or_else(|| "?".to_owned(), |i| i.name.clone());
    Some(format!("`{}`, {}: {}", views::filter_line(node, rule), rule.origin, miss.say(&name)))
}

/// Nothing decided but the absence of a route: the one whose network has most bits in common with the destination.
fn no_route(node: &Node, facts: &rt_trace::NodeFacts, to: IpAddr) -> Origin {
    let common = |prefix: &IpNet| match (prefix.network(), to) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            (a.to_bits() ^ b.to_bits()).leading_zeros().min(prefix.prefix_len().into())
        }
        _ => 0,
    };
    let routes = node.routes.iter().enumerate().filter(|(_, r)| r.origin != super::add::origin());
    let best = routes.max_by_key(|(index, route)| (common(&route.prefix), usize::MAX - index));
    // Nobody's routes on the internet come near to a private address.
    let far = lift::is_private(to) && ways::is_internet_router(node);
    let nearest = best.filter(|_| !far).map(|(index, route)| {
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

/// AWS's code for the same thing. Defaults of the cloud's constructs have it in their origin.
fn explanation(node: &Node, cause: &Cause, (origin, no_mapping): (&str, bool)) -> Option<String> {
    if no_mapping {
        return (node.role == NAT_GATEWAY).then(|| "NGW_REQUIRES_SOURCE_IN_VPC".to_owned());
    }
    let written = origin.split(|c: char| !(c.is_ascii_uppercase() || c == '_' || c.is_ascii_digit()));
    let mut written =
        written.filter(|w| w.len() > 6 && w.contains('_') && w.starts_with(|c: char| c.is_ascii_uppercase()));
    if let Some(code) = written.next() {
        return Some(code.to_owned());
    }
    let code = match cause.reason {
        DropReason::Filtered | DropReason::Rejected => return of_chain(node, cause).map(str::to_owned),
        DropReason::NoRoute => "NO_ROUTE_TO_DESTINATION",
        DropReason::Blackhole => "BLACKHOLE_ROUTE_FOR_DESTINATION_FOUND",
        DropReason::TtlExceeded if circles(cause) => "CYCLIC_PATH_DETECTED",
        DropReason::BadSource if lift::came_back(cause).is_some() => "CYCLIC_PATH_DETECTED",
        DropReason::NotARouter if is_checked(node) => "ENI_SOURCE_DEST_CHECK_RESTRICTION",
        DropReason::ReversePath => "GATEWAY_REJECTS_SPOOFED_TRAFFIC",
        _ => return None,
    };
    Some(code.to_owned())
}

/// What the chain that decided says of its construct.
fn of_chain<'n>(node: &'n Node, cause: &Cause) -> Option<&'n str> {
    let Place::Hook(hook) = cause.place else { return None };
    node.chains.iter().find(|c| c.hook == hook)?.explanation(cause.rule)
}

fn circles(cause: &Cause) -> bool {
    let times = |n: &NodeId| cause.passed.iter().filter(|m| *m == n).count();
    cause.passed.iter().any(|n| times(n) > 1)
}
