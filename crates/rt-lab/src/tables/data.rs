//! The tables as JSON. Times are whole nanoseconds of virtual time, counters whole numbers.

use rt_scenario::views;
use rt_stack::{FlowEntry, NatEntry, NeighborEntry, NeighborState, Tables};
use serde_json::{Map, Value, json};

use super::{At, TableKind, protocol};
use crate::facts::route_text;

/// One machine's tables.
pub(super) fn machine(at: &At<'_>, kinds: &[TableKind]) -> Value {
    let mut out = Map::new();
    out.insert("machine".to_owned(), json!(at.node().name));
    for kind in kinds {
        let (name, rows) = match kind {
            TableKind::Nat => ("nat", at.tables.nat.iter().map(|e| mapping(at, e)).collect()),
            TableKind::Conntrack => ("conntrack", at.tables.flows.iter().map(|e| flow(at, e)).collect()),
            TableKind::Routes => ("routes", routes(at, at.tables)),
            TableKind::Neighbors => {
                ("neighbors", at.tables.neighbors.iter().map(|e| neighbor(at, e)).collect())
            }
            TableKind::Rules => ("rules", rules(at)),
        };
        out.insert(name.to_owned(), rows);
    }
    Value::Object(out)
}

fn mapping(at: &At<'_>, entry: &NatEntry) -> Value {
    json!({
        "protocol": protocol(entry.protocol),
        "inside": entry.inside,
        "outside": entry.outside,
        "remote": { "address": entry.remote.0, "port": entry.remote.1 },
        "flows": entry.flows,
        "made_ns": entry.made.0,
        "expires_in_ns": entry.expires.since(at.now).0,
        "rule": nat_rule(at, Some(entry.rule)),
    })
}

fn nat_rule(at: &At<'_>, index: Option<u32>) -> Value {
    let rule = index.and_then(|i| Some((i, at.tables.nat_rules.get(i as usize)?)));
    rule.map_or(Value::Null, |(index, entry)| {
        json!({
            "index": index,
            "text": views::nat_line(at.node(), &entry.rule),
            "origin": entry.rule.origin.to_string(),
        })
    })
}

fn flow(at: &At<'_>, entry: &FlowEntry) -> Value {
    json!({
        "protocol": protocol(entry.protocol),
        "state": entry.state.say(),
        "original": { "from": entry.original.0, "to": entry.original.1 },
        "reply": { "from": entry.reply.0, "to": entry.reply.1 },
        "packets": { "original": entry.packets[0], "reply": entry.packets[1] },
        "bytes": { "original": entry.bytes[0], "reply": entry.bytes[1] },
        "began_ns": entry.began.0,
        "expires_in_ns": entry.expires.since(at.now).0,
        "source_rule": nat_rule(at, entry.source_rule),
        "destination_rule": nat_rule(at, entry.destination_rule),
    })
}

fn routes(at: &At<'_>, tables: &Tables) -> Value {
    let row = |entry: &rt_stack::RouteEntry| {
        let route = &entry.route;
        json!({
            "table": views::table_name(at.node(), entry.table),
            "index": entry.index,
            "text": route_text(at.node(), route),
            "prefix": route.prefix,
            "via": route.via,
            "interface": at.interface(route.out),
            "kind": route.kind,
            "metric": route.metric,
            "source": route.source,
            "packets": entry.packets,
            "origin": route.origin.to_string(),
        })
    };
    tables.routes.iter().map(row).collect()
}

fn neighbor(at: &At<'_>, entry: &NeighborEntry) -> Value {
    let mut out = json!({ "interface": at.interface(entry.port), "address": entry.address });
    let more = match entry.state {
        NeighborState::Known { mac, until } => {
            let expires = (until != crate::Time::MAX).then(|| until.since(at.now).0);
            json!({ "state": "known", "mac": mac.to_string(), "expires_in_ns": expires })
        }
        NeighborState::Asked { questions, waiting } => {
            json!({ "state": "asked", "questions": questions, "waiting": waiting })
        }
    };
    if let (Value::Object(out), Value::Object(more)) = (&mut out, more) {
        out.extend(more);
    }
    out
}

fn rules(at: &At<'_>) -> Value {
    let node = at.node();
    let chains: Vec<Value> = node
        .chains
        .iter()
        .map(|chain| {
            let count = |rule: Option<u32>| {
                let found = at.tables.filters.iter().find(|c| c.hook == chain.hook && c.rule == rule);
                found.map_or((0, 0), |c| (c.packets, c.bytes))
            };
            let row = |(index, rule): (u32, &rt_rules::Filter)| {
                let (packets, bytes) = count(Some(index));
                json!({
                    "index": index,
                    "text": views::filter_line(node, rule),
                    "origin": rule.origin.to_string(),
                    "packets": packets,
                    "bytes": bytes,
                })
            };
            let (packets, bytes) = count(None);
            json!({
                "hook": chain.hook,
                "rules": (0..).zip(&chain.rules).map(row).collect::<Vec<_>>(),
                "policy": {
                    "text": views::policy_line(chain),
                    "origin": chain.policy.origin.to_string(),
                    "packets": packets,
                    "bytes": bytes,
                },
            })
        })
        .collect();
    let nat = (0..).zip(&at.tables.nat_rules).map(|(index, entry)| {
        let mut rule = nat_rule(at, Some(index));
        if let Value::Object(rule) = &mut rule {
            rule.insert("flows".to_owned(), json!(entry.flows));
        }
        rule
    });
    let policies = node.policies.iter().map(|policy| {
        json!({ "text": views::policy_route_line(node, policy), "origin": policy.origin.to_string() })
    });
    json!({
        "chains": chains,
        "routing": policies.collect::<Vec<_>>(),
        "nat": nat.collect::<Vec<_>>(),
    })
}
