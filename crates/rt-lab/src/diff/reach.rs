//! Who can reach whom, before and after: every machine pings every other and tries its services, all at once in one world a
//! side. For pairs whose answer differs, [`crate::can()`]'s reason is asked for.

use std::collections::BTreeMap;

use rt_base::{Nanos, NodeId};
use rt_rules::Origin;
use rt_scenario::model::{App, Model, Node, NodeKind, Step, Verb};

use super::{ReachDiff, Side};
use crate::can::{address_of, reason};
use crate::{StepOutcome, World};

/// More machines than this are not asked about: pairs grow with the square.
const MOST_MACHINES: usize = 40;
/// So many differing pairs get a reason.
const MOST_REASONS: usize = 20;

/// Who, whom, what.
type Key = (String, String, String);

/// Differing pairs, and how many there are in both.
pub(super) fn diff(a: &Side, b: &Side) -> (Vec<ReachDiff>, usize) {
    let (before, after) = (matrix(&a.model, a.seed), matrix(&b.model, b.seed));
    let mut keys: Vec<&Key> = before.keys().chain(after.keys()).collect();
    keys.sort();
    keys.dedup();
    let pairs = keys.iter().filter(|k| before.contains_key(**k) && after.contains_key(**k)).count();
    let mut out = Vec::new();
    for key in keys {
        let (was, is) = (before.get(key).map(|p| p.0), after.get(key).map(|p| p.0));
        // Of machines that came or went, what they can reach is no surprise; what they cannot may be none either.
        if was == is || was.is_none() || is.is_none() {
            continue;
        }
        let side = if was == Some(false) { (a, &before) } else { (b, &after) };
        let verb = &side.1[key].1;
        let why = match (out.len() < MOST_REASONS, crate::facts::node_named(&side.0.model, &key.0)) {
            (true, Some(node)) => reason(&side.0.model, node, verb, side.0.seed),
            _ => String::new(),
        };
        let (from, to, what) = key.clone();
        out.push(ReachDiff { from, to, what, reachable: (was, is), why });
    }
    (out, pairs)
}

/// The answer of every pair and the question.
fn matrix(model: &Model, seed: u64) -> BTreeMap<Key, (bool, Verb)> {
    let (mut keys, mut steps) = (Vec::new(), Vec::new());
    let ends = ends(model);
    for &from in &ends {
        for &to in ends.iter().filter(|to| **to != from) {
            let Some(address) = address_of(model, to) else { continue };
            // Where two machines have the same address, asking for it is asking oneself.
            if address_of(model, from) == Some(address) {
                continue;
            }
            for (what, verb) in questions(&model.nodes[to.index()], &address.to_string()) {
                let name = |id: NodeId| model.nodes[id.index()].name.clone();
                keys.push(((name(from), name(to), what), verb.clone()));
                steps.push(step(from, verb));
            }
        }
    }
    let mut probing = model.clone();
    (probing.steps, probing.expect) = (steps, Vec::new());
    let outcomes = World::unrecorded(&probing, seed).run_all_steps();
    let ok = |i: usize| outcomes.iter().any(|o: &StepOutcome| o.step == i && o.ok);
    keys.into_iter().enumerate().map(|(i, (key, verb))| (key, (ok(i), verb))).collect()
}

fn step(node: NodeId, verb: Verb) -> Step {
    Step {
        text: "diff".into(),
        node,
        verb,
        after: Nanos::ZERO,
        source_port: None,
        isn: None,
        background: true,
        ecn: None,
        origin: Origin::Resource { address: "diff".into() },
    }
}

/// Machines at the edge: hosts, but for name servers, which everybody reaches.
fn ends(model: &Model) -> Vec<NodeId> {
    let is_end = |node: &Node| {
        let only_names =
            !node.apps.is_empty() && node.apps.iter().all(|a| matches!(a, App::DnsServer { .. }));
        node.kind == NodeKind::Host && !only_names
    };
    let all = model.nodes.iter().enumerate().filter(|(_, n)| is_end(n));
    all.filter_map(|(i, _)| u32::try_from(i).ok().map(NodeId)).take(MOST_MACHINES).collect()
}

/// A ping, and a connection to each TCP service.
fn questions(node: &Node, address: &str) -> Vec<(String, Verb)> {
    let mut out = vec![("ping".to_owned(), Verb::Ping { target: address.to_owned(), count: 1 })];
    let mut ports: Vec<u16> = node.apps.iter().filter_map(service).collect();
    ports.sort_unstable();
    ports.dedup();
    let connect = |port: u16| {
        let verb = Verb::Probe { target: address.to_owned(), port };
        (format!("tcp {port}"), verb)
    };
    out.extend(ports.into_iter().map(connect));
    out
}

fn service(app: &App) -> Option<u16> {
    match app {
        App::HttpServer { port, .. }
        | App::Rpc { port, .. }
        | App::Sink { port, .. }
        | App::Echo { port, .. }
        | App::Discard { port, .. }
        | App::Chargen { port, .. }
        | App::Edge { port, .. } => Some(*port),
        _ => None,
    }
}
