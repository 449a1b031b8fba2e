//! What stands behind a proxy: a connection that ends at a balancer is only the first of those that a request takes, so the
//! servers that this one hands on to are asked as well, from its own machine, and those behind them in turn.
//!
//! One connection to each server: which of them a request would go to, and by which rule, is the story's business. Forward
//! proxies go on to whatever they are asked for; they have no list.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;

use rt_base::NodeId;
use rt_scenario::model::{App, Model};
use serde::Serialize;

use super::probe::{Probe, Prober, Protocol, Question};
use super::solve::{self, Case};
use super::{Blocker, ends, find};

/// At most so many servers are asked, over all balancers that one question comes to.
const MOST_SERVERS: usize = 32;

/// A server that a balancer hands on to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Beyond {
    /// The balancer's machine.
    pub proxy: String,
    /// The server, as the balancer calls it.
    pub server: String,
    /// Its address, as the balancer has it.
    pub address: SocketAddr,
    /// Whether a connection from the balancer is answered.
    pub reachable: bool,
    /// What the probe came to, in one line.
    pub outcome: String,
    /// Machines that it passed, in order.
    pub path: Vec<String>,
    /// Every reason, if it is not reachable, as in [`super::Verdict::blockers`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub blockers: Vec<Blocker>,
}

/// All that stands behind the machine that answered, and sentences about what was not asked.
pub(super) fn behind(model: &Model, question: &Question, seed: u64) -> (Vec<Beyond>, Vec<String>) {
    let (mut found, mut notes) = (Vec::new(), Vec::new());
    if question.protocol != Protocol::Tcp || !model.nodes.iter().flat_map(|n| &n.apps).any(hands_on) {
        return (found, notes);
    }
    let first = Prober::new(model, &[question.from], seed).ask(question);
    let mut waiting: VecDeque<(NodeId, u16)> = answered_at(&first, question).into_iter().collect();
    let mut seen = BTreeSet::new();
    while let Some((node, port)) = waiting.pop_front() {
        if !seen.insert((node, port)) {
            continue;
        }
        let Some(app) = model.nodes[node.index()].apps.iter().find(|app| listens(app, port)) else {
            continue;
        };
        let proxy = &model.nodes[node.index()].name;
        if let App::ForwardProxy(_) = app {
            notes.push(format!(
                "{proxy} is a forward proxy and goes on to whatever it is asked for: ask from {proxy} where it can go"
            ));
        }
        for (name, address) in servers(app) {
            if found.len() == MOST_SERVERS {
                notes.push(format!("of the servers behind, the first {MOST_SERVERS} were asked"));
                return (found, notes);
            }
            let (beyond, next) = ask(model, node, (name, *address), seed);
            found.push(beyond);
            waiting.extend(next);
        }
    }
    (found, notes)
}

/// Asks one server from its balancer: what came of it, and who answered at which port.
fn ask(
    model: &Model,
    from: NodeId,
    (name, address): (&str, SocketAddr),
    seed: u64,
) -> (Beyond, Option<(NodeId, u16)>) {
    let question = Question {
        from,
        target: address.ip().to_string(),
        protocol: Protocol::Tcp,
        port: Some(address.port()),
    };
    let node_name = |node: &NodeId| model.nodes[node.index()].name.clone();
    let probe = Prober::new(model, &[from], seed).ask(&question);
    let mut beyond = Beyond {
        proxy: node_name(&from),
        server: name.to_owned(),
        address,
        reachable: probe.ok,
        outcome: probe.summary.clone(),
        path: probe.path.iter().map(node_name).collect(),
        blockers: Vec::new(),
    };
    if !probe.ok {
        let target = ends::owner(model, address.ip());
        let case = Case { model, question: question.clone(), target, named: false, seed };
        beyond.blockers = solve::solve(&case).blockers;
    }
    let next = answered_at(&probe, &question);
    (beyond, next)
}

/// The machine that took the connection, and its port there: a rewritten one, behind a port forward.
fn answered_at(probe: &Probe, question: &Question) -> Option<(NodeId, u16)> {
    let node = find::taker(&probe.trace, question, probe.begun).filter(|_| probe.ok)?;
    let packet = find::delivered(&probe.trace, question, probe.begun, node)?;
    Some((node, packet.dst.port()))
}

fn hands_on(app: &App) -> bool {
    matches!(app, App::Edge { .. } | App::L4Balancer(_) | App::ForwardProxy(_))
}

fn listens(app: &App, wanted: u16) -> bool {
    match app {
        App::Edge { port, .. } => *port == wanted,
        App::L4Balancer(balancer) => balancer.port == wanted,
        App::ForwardProxy(proxy) => proxy.port == wanted,
        _ => false,
    }
}

/// The servers of a balancer, each once.
fn servers(app: &App) -> Vec<(&str, &SocketAddr)> {
    let lists: Vec<&[(String, SocketAddr)]> = match app {
        App::Edge { upstreams, options, .. } => {
            let pools = options.pools.iter().map(|pool| pool.upstreams.as_slice());
            std::iter::once(upstreams.as_slice()).chain(pools).collect()
        }
        App::L4Balancer(balancer) => vec![&balancer.upstreams],
        _ => Vec::new(),
    };
    let mut known = BTreeSet::new();
    let all = lists.into_iter().flatten().filter(|(_, address)| known.insert(*address));
    all.map(|(name, address)| (name.as_str(), address)).collect()
}
