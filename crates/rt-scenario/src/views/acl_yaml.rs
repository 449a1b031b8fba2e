//! Access lists back to YAML, for `views/plain_yaml`.

use rt_base::{HookPoint, PortId};
use rt_rules::{Chain, Construct, Filter, Match};

use super::plain_yaml::q;
use crate::model::Node;
use crate::rules_text::show_filter;

/// Writes `acl:` of a node, so that reading it back gives the same two chains.
pub(super) fn write_acls(line: &mut dyn FnMut(usize, &str), node: &Node, name: &dyn Fn(PortId) -> String) {
    let lists: Vec<&Chain> = node.chains.iter().filter(|chain| chain.is_stateless()).collect();
    if lists.is_empty() {
        return;
    }
    line(3, "acl:");
    for (port, interface) in (0_u16..).zip(&node.interfaces) {
        let of = |hook| {
            let chain = lists.iter().find(|chain| chain.hook == hook);
            let rules = chain.map(|chain| chain.rules.as_slice()).unwrap_or_default();
            rules.iter().filter(|rule| on(rule, hook) == Some(PortId(port))).collect::<Vec<&Filter>>()
        };
        let both = [("in", of(HookPoint::Prerouting)), ("out", of(HookPoint::Postrouting))];
        if both.iter().all(|(_, rules)| rules.is_empty()) {
            continue;
        }
        line(4, &format!("{}:", q(&interface.name)));
        if let Some(name) = both.iter().flat_map(|(_, rules)| rules).find_map(|rule| list_name(rule)) {
            line(5, &format!("name: {}", q(name)));
        }
        if both.iter().flat_map(|(_, rules)| rules).any(|rule| rule.when.is_for_what_turns_round()) {
            line(5, "border: yes");
        }
        for (key, mut rules) in both {
            rules.retain(|rule| !rule.when.is_for_what_turns_round());
            write_always(line, (key, &rules), name);
            let numbered: Vec<&Filter> = rules.iter().copied().filter(|rule| rule.number.is_some()).collect();
            match (rules.is_empty(), numbered.is_empty()) {
                (true, _) => {}
                (false, true) => line(5, &format!("{key}: {{}}")),
                (false, false) => line(5, &format!("{key}:")),
            }
            for rule in numbered {
                let number = rule.number.unwrap_or_default();
                line(6, &format!("{number}: {}", q(&show_filter(&without_interface(rule), name))));
            }
        }
    }
}

/// The lines before the numbered ones. (The last line without a number is the denial of the rest, which every list has.)
fn write_always(
    line: &mut dyn FnMut(usize, &str),
    (key, rules): (&str, &[&Filter]),
    name: &dyn Fn(PortId) -> String,
) {
    let unnumbered = rules.iter().take(rules.len().saturating_sub(1)).filter(|rule| rule.number.is_none());
    for (index, rule) in unnumbered.enumerate() {
        if index == 0 {
            line(5, &format!("always-{key}:"));
        }
        line(6, &format!("- {}", q(&show_filter(&without_interface(rule), name))));
    }
}

/// The name of the list that a rule belongs to.
fn list_name(rule: &Filter) -> Option<&str> {
    match &rule.construct {
        Some(Construct::NetworkAcl { name }) => Some(name),
        _ => None,
    }
}

/// The interface that a rule of an access list is for.
fn on(rule: &Filter, hook: HookPoint) -> Option<PortId> {
    if hook == HookPoint::Prerouting { rule.when.in_port } else { rule.when.out_port }
}

fn without_interface(rule: &Filter) -> Filter {
    let when = Match { in_port: None, out_port: None, ..rule.when.clone() };
    Filter { when, ..rule.clone() }
}
