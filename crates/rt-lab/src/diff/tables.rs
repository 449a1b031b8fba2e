//! The tables of both sides, machine by machine: addresses, routes, rules, NAT rules, and the mappings that NAT made during the
//! run. Lines of the file are left out: a rule that moved is the same rule.

use std::collections::{BTreeMap, BTreeSet};

use rt_trace::{LinkFacts, NodeFacts, RuleFacts, TraceMap};

use super::{Lines, MachineDiff, Side, lines};

/// Machines that differ, in the order of their names.
pub(super) fn machines(a: &Side, b: &Side) -> Vec<MachineDiff> {
    let by_name = |side: &'_ Side| -> BTreeMap<String, usize> {
        side.trace.map.nodes.iter().enumerate().map(|(i, n)| (n.name.clone(), i)).collect()
    };
    let (before, after) = (by_name(a), by_name(b));
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let diff = |name: &&String| {
        let machine = (*name).clone();
        let (x, y) = match (before.get(*name), after.get(*name)) {
            (Some(x), Some(y)) => (*x, *y),
            (Some(_), None) => {
                return Some(MachineDiff { machine, only: Some("gone"), tables: Vec::new() });
            }
            _ => return Some(MachineDiff { machine, only: Some("added"), tables: Vec::new() }),
        };
        let (x, y) = (all(a, x), all(b, y));
        let tables: Vec<(&'static str, Lines)> = x
            .iter()
            .zip(&y)
            .map(|((table, x), (_, y))| (*table, lines(x, y)))
            .filter(|(_, lines)| !lines.is_empty())
            .collect();
        (!tables.is_empty()).then_some(MachineDiff { machine, only: None, tables })
    };
    names.iter().filter_map(diff).collect()
}

/// Every table of one machine as lines.
fn all(side: &Side, index: usize) -> [(&'static str, Vec<String>); 5] {
    let node = &side.trace.map.nodes[index];
    let addresses = node.interfaces.iter().flat_map(|i| {
        let mtu = format!("{} mtu {}", i.name, i.mtu);
        let each = i.addresses.iter().map(|(address, length)| format!("{} {address}/{length}", i.name));
        each.chain([mtu]).collect::<Vec<_>>()
    });
    let named = |lines: Vec<String>| lines.iter().map(|line| side.hidden.name(line)).collect::<Vec<String>>();
    [
        ("addresses", named(addresses.collect())),
        ("routes", named(routes(node))),
        ("rules", named(rules(node))),
        ("nat", named(node.nat.iter().map(text).collect())),
        ("mappings", named(mappings(side, &node.name))),
    ]
}

fn text(rule: &RuleFacts) -> String {
    rule.text.clone()
}

fn routes(node: &NodeFacts) -> Vec<String> {
    let main = node.routes.iter().map(text);
    let others =
        node.tables.iter().flat_map(|t| t.routes.iter().map(|r| format!("table {}: {}", t.name, r.text)));
    main.chain(others).chain(node.policies.iter().map(text)).collect()
}

fn rules(node: &NodeFacts) -> Vec<String> {
    let chain = |chain: &rt_trace::ChainFacts| {
        let hook = format!("{:?}", chain.hook).to_lowercase();
        let all = chain.rules.iter().chain([&chain.policy]);
        all.map(|rule| format!("{hook}: {}", rule.text)).collect::<Vec<_>>()
    };
    node.chains.iter().flat_map(chain).collect()
}

fn mappings(side: &Side, machine: &str) -> Vec<String> {
    let table = side.story.nat.iter().find(|t| t.machine == machine);
    let row = |r: &rt_trace::story::NatRow| {
        format!("{} {} as {} with {}", r.protocol, r.inside, r.outside, r.remote)
    };
    table.map_or_else(Vec::new, |t| t.rows.iter().map(row).collect())
}

/// Links that came, went or changed.
pub(super) fn links(a: &TraceMap, b: &TraceMap) -> Lines {
    let all = |map: &TraceMap| -> Vec<String> { map.links.iter().map(|l| link(map, l)).collect() };
    lines(&all(a), &all(b))
}

fn link(map: &TraceMap, link: &LinkFacts) -> String {
    let end = |(node, port): (rt_base::NodeId, rt_base::PortId)| {
        let node = map.nodes.get(node.index());
        let interface = node.and_then(|n| n.interfaces.get(port.index()));
        format!("{}:{}", node.map_or("?", |n| n.name.as_str()), interface.map_or("?", |i| i.name.as_str()))
    };
    let way = |d: &rt_trace::DirectionFacts| {
        let loss = match d.loss_ppm {
            0 => String::new(),
            ppm => format!(", loses {}.{:04} %", ppm / 10_000, ppm % 10_000),
        };
        format!("{} bit/s, {}{loss}", d.rate_bps, d.delay)
    };
    let back = if link.ab == link.ba { String::new() } else { format!("; back {}", way(&link.ba)) };
    format!("{} - {}: {}{back}, mtu {}", end(link.a), end(link.b), way(&link.ab), link.mtu)
}
