//! The tables for people: one line an entry, columns of their own width.

use rt_base::{HookPoint, count};
use rt_scenario::views;
use rt_stack::{FlowEntry, NatEntry, NeighborEntry, NeighborState};

use super::{At, TableKind, protocol, seconds};
use crate::Time;
use crate::facts::route_text;

/// One table of one machine, with its heading.
pub(super) fn table(at: &At<'_>, kind: TableKind) -> String {
    let (what, head, rows): (String, &[&str], Vec<Vec<String>>) = match kind {
        TableKind::Nat => (
            format!("NAT, {}", count(at.tables.nat.len() as u64, "mapping")),
            &["proto", "inside", "outside", "for", "flows", "age", "expires in", "rule"],
            at.tables.nat.iter().map(|e| mapping(at, e)).collect(),
        ),
        TableKind::Conntrack => (
            format!("connection tracking, {}", count(at.tables.flows.len() as u64, "flow")),
            &["proto", "state", "from", "to", "translated", "packets", "bytes", "age", "expires in"],
            at.tables.flows.iter().map(|e| flow(at, e)).collect(),
        ),
        TableKind::Routes => (
            count(at.tables.routes.len() as u64, "route"),
            &["table", "route", "metric", "packets", "from"],
            at.tables.routes.iter().map(|e| route(at, e)).collect(),
        ),
        TableKind::Neighbors => (
            count(at.tables.neighbors.len() as u64, "neighbour"),
            &["interface", "address", "MAC", "expires in"],
            at.tables.neighbors.iter().map(|e| neighbor(at, e)).collect(),
        ),
        TableKind::Rules => ("rules".to_owned(), &["chain", "rule", "packets", "bytes", "from"], rules(at)),
    };
    let title = format!("{} at {} s: {what}\n", at.node().name, seconds(at.now));
    if rows.is_empty() { title } else { title + &columns(head, &rows) }
}

/// Rows below their heads. The last column is not filled up.
pub(crate) fn columns(head: &[&str], rows: &[Vec<String>]) -> String {
    let head: Vec<String> = head.iter().map(|h| (*h).to_owned()).collect();
    let width = |i: usize| {
        let cells = rows.iter().chain([&head]).filter_map(|row| row.get(i));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        format!("  {}\n", line.trim_end())
    };
    [&head].into_iter().chain(rows).map(line).collect()
}

/// How long from `from` to `to`, short: `59.9 s`, `1 h 59 min`.
fn span(from: Time, to: Time) -> String {
    let span = to.since(from);
    let secs = span.0 / 1_000_000_000;
    match secs {
        0 => span.to_string(),
        1..=119 => format!("{}.{} s", secs, span.0 / 100_000_000 % 10),
        120..=7_199 => format!("{} min {} s", secs / 60, secs % 60),
        7_200..=172_799 => format!("{} h {} min", secs / 3_600, secs / 60 % 60),
        _ => format!("{} days {} h", secs / 86_400, secs / 3_600 % 24),
    }
}

fn mapping(at: &At<'_>, entry: &NatEntry) -> Vec<String> {
    let remote = match entry.remote {
        (None, _) => "anybody".to_owned(),
        (Some(address), None) => address.to_string(),
        (Some(address), Some(port)) => std::net::SocketAddr::new(address, port).to_string(),
    };
    let rule = at.tables.nat_rules.get(entry.rule as usize);
    vec![
        protocol(entry.protocol),
        entry.inside.to_string(),
        entry.outside.to_string(),
        remote,
        entry.flows.to_string(),
        span(entry.made, at.now),
        span(at.now, entry.expires),
        rule.map_or_else(String::new, |r| r.rule.origin.to_string()),
    ]
}

fn flow(at: &At<'_>, entry: &FlowEntry) -> Vec<String> {
    let mut translated = Vec::new();
    // Answers to the sender come to where the reply goes; the target answers from where the reply starts.
    if entry.reply.1 != entry.original.0 {
        translated.push(format!("sender {}", entry.reply.1));
    }
    if entry.reply.0 != entry.original.1 {
        translated.push(format!("target {}", entry.reply.0));
    }
    let both = |pair: [u64; 2]| format!("{} / {}", pair[0], pair[1]);
    vec![
        protocol(entry.protocol),
        entry.state.say().to_owned(),
        entry.original.0.to_string(),
        entry.original.1.to_string(),
        if translated.is_empty() { "-".to_owned() } else { translated.join(", ") },
        both(entry.packets),
        both(entry.bytes),
        span(entry.began, at.now),
        span(at.now, entry.expires),
    ]
}

fn route(at: &At<'_>, entry: &rt_stack::RouteEntry) -> Vec<String> {
    vec![
        views::table_name(at.node(), entry.table).to_owned(),
        route_text(at.node(), &entry.route),
        entry.route.metric.to_string(),
        entry.packets.to_string(),
        entry.route.origin.to_string(),
    ]
}

fn neighbor(at: &At<'_>, entry: &NeighborEntry) -> Vec<String> {
    let (mac, expires) = match entry.state {
        NeighborState::Known { mac, until: Time::MAX } => (mac.to_string(), "never".to_owned()),
        NeighborState::Known { mac, until } => (mac.to_string(), span(at.now, until)),
        NeighborState::Asked { questions, waiting } => {
            let asked = format!("asked {questions} times, {} waiting", count(waiting as u64, "packet"));
            (asked, "-".to_owned())
        }
    };
    vec![at.interface(entry.port).to_owned(), entry.address.to_string(), mac, expires]
}

fn rules(at: &At<'_>) -> Vec<Vec<String>> {
    let node = at.node();
    let mut rows = Vec::new();
    for chain in &node.chains {
        let count = |rule: Option<u32>| {
            let found = at.tables.filters.iter().find(|c| c.hook == chain.hook && c.rule == rule);
            found.map_or((0, 0), |c| (c.packets, c.bytes))
        };
        let mut row = |rule: Option<u32>, text: String, origin: String| {
            let (packets, bytes) = count(rule);
            let chain = hook_word(chain.hook).to_owned();
            rows.push(vec![chain, text, packets.to_string(), bytes.to_string(), origin]);
        };
        for (index, rule) in (0..).zip(&chain.rules) {
            row(Some(index), views::filter_line(node, rule), rule.origin.to_string());
        }
        row(None, views::policy_line(chain), chain.policy.origin.to_string());
    }
    for policy in &node.policies {
        let text = views::policy_route_line(node, policy);
        let none = || "-".to_owned();
        rows.push(vec!["routing".to_owned(), text, none(), none(), policy.origin.to_string()]);
    }
    for entry in &at.tables.nat_rules {
        let flows = rt_base::count(entry.flows, "flow");
        let text = views::nat_line(node, &entry.rule);
        rows.push(vec!["nat".to_owned(), text, flows, "-".to_owned(), entry.rule.origin.to_string()]);
    }
    rows
}

/// As `firewall:` has it.
fn hook_word(hook: HookPoint) -> &'static str {
    match hook {
        HookPoint::Prerouting => "prerouting",
        HookPoint::Input => "in",
        HookPoint::Forward => "forward",
        HookPoint::Output => "out",
        HookPoint::Postrouting => "postrouting",
    }
}
