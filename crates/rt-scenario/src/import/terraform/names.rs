//! Short names for what Terraform addresses.

use std::collections::BTreeSet;

use super::address::Key;
use super::graph::{At, Graph};

/// Names that say nothing by themselves; the module's says more.
const EMPTY: &[&str] =
    &["this", "main", "default", "self", "vpc", "all", "each", "by-name", "group", "security-group", "sg"];

/// What to call a thing whose name and module say nothing that fits.
const NOUNS: &[(&str, &str)] = &[
    ("aws_nat_gateway", "nat"),
    ("aws_eip", "eip"),
    ("aws_route_table", "table"),
    ("aws_network_acl", "acl"),
];

/// A name for an instance that is none of `taken`, which it joins: its own with its key, behind its module's when that
/// says more.
pub(super) fn short(graph: &Graph<'_>, at: At, taken: &mut BTreeSet<String>) -> String {
    let instance = &graph.instances[at];
    let mut own = clean(instance.name);
    let mut modules = modules(graph, instance.scope).into_iter();
    if EMPTY.contains(&own.as_str()) && instance.scope != 0 {
        let noun = NOUNS.iter().find(|(kind, _)| *kind == instance.kind).map(|(_, noun)| (*noun).to_owned());
        let said = || modules.find(|m| !EMPTY.contains(&m.as_str()));
        own = noun.or_else(said).unwrap_or(own);
    }
    own = match &instance.key {
        Key::None => own,
        Key::Number(n) => format!("{own}-{n}"),
        // `aws_subnet.all["back-a"]`, `aws_instance.back["back-a"]`: the key says it all.
        Key::Text(key) if EMPTY.contains(&own.as_str()) || clean(key).starts_with(&own) => clean(key),
        Key::Text(key) => clean(&format!("{own}-{key}")),
    };
    for module in modules {
        if !taken.contains(&own) {
            break;
        }
        own = clean(&format!("{module}-{own}"));
    }
    free(own, taken)
}

/// Names of the module instances that a scope is in, from the inside.
fn modules(graph: &Graph<'_>, scope: usize) -> Vec<String> {
    let mut out = Vec::new();
    let mut at = scope;
    while let Some((parent, call)) = &graph.scopes[at].parent {
        let key = &graph.scopes[at].key;
        // `module.spoke["prod"]`: the key says what `spoke` does not.
        out.push(match key {
            Key::None => clean(call),
            Key::Text(key) => clean(key),
            Key::Number(n) => clean(&format!("{call}-{n}")),
        });
        at = *parent;
    }
    out
}

/// `wanted`, or the first of `wanted-2`, `wanted-3` that is free.
pub(super) fn free(wanted: String, taken: &mut BTreeSet<String>) -> String {
    let mut name = wanted.clone();
    let numbered = |n: u32| format!("{wanted}-{n}");
    if taken.contains(&name) {
        // Numbers are given one after the other: the first that is free lies where a search by halves ends.
        let mut above = 2;
        while taken.contains(&numbered(above)) {
            above *= 2;
        }
        let mut below = above / 2;
        while above - below > 1 {
            let middle = below + (above - below) / 2;
            *(if taken.contains(&numbered(middle)) { &mut below } else { &mut above }) = middle;
        }
        name = numbered(above);
    }
    taken.insert(name.clone());
    name
}

/// Letters, digits and hyphens, as names of the scenario language are.
pub(super) fn clean(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars().take(60) {
        match c {
            c if c.is_ascii_alphanumeric() => out.push(c.to_ascii_lowercase()),
            _ if out.ends_with('-') || out.is_empty() => {}
            _ => out.push('-'),
        }
    }
    let out = out.trim_end_matches('-');
    if out.is_empty() { "unnamed".to_owned() } else { out.to_owned() }
}
