//! Which way a machine chose for a packet, and which it did not: policy routing and equally good routes (ECMP).

use rt_base::{Multipath, PolicyChoice};

use super::model::{HopStory, Line};
use crate::NodeFacts;
use crate::map::RuleFacts;

/// Which rule of policy routing decided, those that were passed over, and where the packet would have gone without it.
pub(super) fn policy(facts: Option<&NodeFacts>, choice: &PolicyChoice) -> Line {
    let rule = |index: u32| facts.and_then(|n| n.policies.get(index as usize));
    let text = |index: u32| rule(index).map_or_else(|| format!("rule {index}"), |r| r.text.clone());
    let table = facts.map_or("?", |n| n.table_name(choice.table));
    let decided = choice.rule.and_then(rule);
    let mut said = match choice.rule {
        Some(index) => text(index),
        None => "the main table decides".to_owned(),
    };
    let passed: Vec<String> = choice.passed.iter().map(|index| text(*index)).collect();
    let rejected: Vec<String> = choice.rejected.iter().map(|id| route_in_table(facts, *id)).collect();
    if !rejected.is_empty() {
        said += &format!(", not {}", rejected.join(" or "));
    }
    if !passed.is_empty() {
        said += &format!("; no way there in the table of {}", passed.join(" nor of "));
    }
    let line = Line::new("route.policy", "policy", said)
        .margin(decided.map_or(String::new(), |r| r.origin.clone()))
        .with("table", table);
    let line = match choice.rule {
        Some(index) => line.with("rule", index),
        None => line,
    };
    let line = if passed.is_empty() { line } else { line.with("passed", passed.join("; ")) };
    if rejected.is_empty() { line } else { line.with("rejected", rejected.join("; ")) }
}

/// Which of equally good routes was taken, and which were not.
pub(super) fn multipath(facts: Option<&NodeFacts>, ways: &Multipath) -> Line {
    let chosen = route(facts, ways.chosen);
    let name = |id: u32| route(facts, id).map_or_else(|| format!("route {id}"), |r| r.text.clone());
    let rejected: Vec<String> = ways.rejected.iter().map(|id| name(*id)).collect();
    let text = format!(
        "{} equally good ways: the flow's hash takes {}, not {}",
        rejected.len() + 1,
        name(ways.chosen),
        rejected.join(" or ")
    );
    Line::new("route.multipath", "ECMP", text)
        .margin(chosen.map_or(String::new(), |r| r.origin.clone()))
        .with("hash", format!("{:08x}", ways.hash))
        .with("chosen", name(ways.chosen))
        .with("rejected", rejected.join("; "))
}

/// The lines of one machine on a packet's way that say what it chose and what not; a policy without an alternative is none.
pub(super) fn choices(hop: &HopStory, depth: u8) -> impl Iterator<Item = Line> {
    let chose = |did: &&Line| match did.code.as_str() {
        "route.multipath" => true,
        "route.policy" => did.data.contains_key("rejected") || did.data.contains_key("passed"),
        _ => false,
    };
    hop.did.iter().filter(chose).map(move |did| did.clone().deep(depth))
}

fn route(facts: Option<&NodeFacts>, id: u32) -> Option<&RuleFacts> {
    facts.and_then(|n| n.route(id))
}

/// `0.0.0.0/0 via 203.0.113.1 dev a (table main)`.
fn route_in_table(facts: Option<&NodeFacts>, id: u32) -> String {
    let table = facts.map_or("?", |n| n.table_name(rt_base::RouteId(id).table()));
    let text = route(facts, id).map_or_else(|| format!("route {id}"), |r| r.text.clone());
    format!("{text} (table {table})")
}
