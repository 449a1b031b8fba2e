//! What filters did beside their verdict: the rule that came nearest, packets that were logged, the reverse-path check.

use rt_base::{DropReason, Event, HookPoint, NearMiss, NodeId, PortId, What};

use super::model::Line;
use super::tell::hook_name;
use super::view::View;
use crate::map::{NodeFacts, RuleFacts};

/// The verdict of a chain, with the rule that decided.
pub(super) fn verdict(facts: Option<&NodeFacts>, hook: HookPoint, rule: u32, accepted: bool) -> Line {
    let chain = facts.and_then(|n| n.chains.iter().find(|c| c.hook == hook));
    let said = chain.map(|c| c.rules.get(rule as usize).unwrap_or(&c.policy));
    let (code, verdict) = if accepted { ("filter.accept", "accepts") } else { ("filter.drop", "refuses") };
    let text = format!("{} {verdict}: {}", hook_name(hook), said.map_or("", |r| r.text.as_str()));
    let line = Line::new(code, "filter", text)
        .margin(said.map_or(String::new(), |r| r.origin.clone()))
        .with("rule", rule);
    match said.and_then(|r| r.explanation.as_ref()).filter(|_| !accepted) {
        Some(explanation) => line.with("explanation", explanation),
        None => line,
    }
}

/// The rule that came nearest to another verdict, and what kept it from matching.
pub(super) fn near_miss(view: &View<'_>, node: NodeId, miss: &NearMiss) -> Line {
    let rule = rule(view, node, miss);
    let text = format!("nearest: {}", words(view, node, miss));
    Line::new("filter.nearest", "filter", text)
        .margin(rule.map_or(String::new(), |r| r.origin.clone()))
        .with("rule", miss.rule)
}

/// The same for a packet that was dropped there, in one clause; empty when there is nothing to say.
pub(super) fn nearest(view: &View<'_>, drop: &Event) -> String {
    let there = |e: &&Event| e.node() == drop.node() && e.at == drop.at;
    let mut near = view.trace.events_of(drop.frame).filter(there).filter_map(|e| match &e.what {
        What::NearMiss(miss) => Some(&**miss),
        _ => None,
    });
    let Some(miss) = near.next() else { return String::new() };
    let at = rule(view, drop.node(), miss).map_or(String::new(), |r| format!(" ({})", r.origin));
    format!(". Nearest was {}{at}", words(view, drop.node(), miss))
}

fn words(view: &View<'_>, node: NodeId, miss: &NearMiss) -> String {
    let text = rule(view, node, miss).map_or("?", |r| r.text.as_str());
    let name = |port: PortId| view.trace.map.port_name(node, port);
    format!("\"{text}\", but {}", miss.say(&name))
}

fn rule<'v>(view: &View<'v>, node: NodeId, miss: &NearMiss) -> Option<&'v RuleFacts> {
    let rt_base::Place::Hook(hook) = miss.place else { return None };
    let chains = &view.trace.map.nodes.get(node.index())?.chains;
    chains.iter().find(|c| c.hook == hook)?.rules.get(miss.rule as usize)
}

/// A packet that a rule logs.
pub(super) fn logged(facts: Option<&NodeFacts>, hook: HookPoint, rule: u32, untold: u32) -> Line {
    let chain = facts.and_then(|n| n.chains.iter().find(|c| c.hook == hook));
    let said = chain.and_then(|c| c.rules.get(rule as usize));
    let more = if untold > 0 {
        format!(" (and {untold} before it that were too many to tell)")
    } else {
        String::new()
    };
    let text = format!("{} logs it: {}{more}", hook_name(hook), said.map_or("", |r| r.text.as_str()));
    Line::new("filter.log", "log", text)
        .margin(said.map_or(String::new(), |r| r.origin.clone()))
        .with("rule", rule)
}

/// What made a machine drop a packet where no rule did.
pub(super) fn behind(facts: &NodeFacts, drop: &Event) -> Option<(String, String)> {
    let What::Drop { reason, .. } = drop.what else { return None };
    facts.behind(reason).map(|found| (found.text, found.origin))
}

/// The words and the origin of the reverse-path check that dropped a packet: the check, and the route that leads elsewhere.
pub(super) fn reverse_path(facts: &NodeFacts, drop: &Event) -> Option<(String, String)> {
    let What::Drop { reason: DropReason::ReversePath, port, rule, .. } = drop.what else { return None };
    let check = facts.interfaces.get(port.index())?.reverse_path.as_ref()?;
    let back = facts
        .route(rule)
        .map_or_else(|| "there is none".to_owned(), |r| format!("it is {} ({})", r.text, r.origin));
    Some((format!("{}; the way back: {back}", check.text), check.origin.clone()))
}
