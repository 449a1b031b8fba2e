//! `can FROM TO[:PORT]`: one real probe, its verdict with the rule and its line; then each blocker is lifted in turn and
//! the probe is sent again, so that every independent reason comes out.
//!
//! Not a proof over all packets: it answers for the one packet that was sent. What lifts a blocker is a change of the
//! lowered model, and the same engine runs it; nothing is guessed from the rules.

mod find;
mod lift;

use rt_base::{Nanos, NodeId, Time};
use rt_rules::Origin;
use rt_scenario::model::{App, Model, NodeKind, Step, Verb};
use serde::Serialize;

use crate::{Refusal, Scenario, World};

/// One reason why the probe does not arrive.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Blocker {
    /// Where.
    pub node: String,
    /// Stable machine code, such as `drop.filtered`.
    pub code: String,
    /// One sentence.
    pub sentence: String,
    /// The rule that decided, in words, if one did.
    pub rule: Option<String>,
    /// Where that rule (or the thing whose absence decided) was written.
    pub origin: String,
    /// The rule that came nearest to deciding otherwise when nothing in particular did, and what kept it from matching.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nearest: Option<String>,
    /// What a cloud calls this refusal, such as `SUBNET_ACL_RESTRICTION` (AWS VPC Reachability Analyzer).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub explanation: Option<String>,
    /// What was changed in the model to get past it; `None` when nothing could.
    pub lifted: Option<String>,
}

/// The answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Verdict {
    /// Who asked.
    pub from: String,
    /// For what.
    pub to: String,
    /// Whether the probe, as things are, was answered.
    pub reachable: bool,
    /// What the first probe came to, in one line.
    pub outcome: String,
    /// How long it took, nanoseconds.
    pub took: Nanos,
    /// Machines the probe passed, in order.
    pub path: Vec<String>,
    /// Every independent reason, in the order in which they were met.
    pub blockers: Vec<Blocker>,
    /// Whether the probe is answered once all of these are lifted.
    pub reachable_when_lifted: bool,
    /// Whether any machine has the address asked for (true for names).
    pub target_exists: bool,
}

/// At most so many blockers are lifted one after the other.
const MOST_BLOCKERS: usize = 16;

/// Sends the probe and finds every reason.
///
/// # Errors
/// [`Refusal::Unknown`] for a machine that does not exist, [`Refusal::Misuse`] for a bad port.
pub fn can(scenario: &Scenario, from: &str, to: &str, seed: u64) -> Result<Verdict, Refusal> {
    let mut model = scenario.model().clone();
    let node = node_named(&model, from)?;
    has_stack(&model, node)?;
    let verb = verb(&model, to)?;
    let first = probe(&model, node, &verb, seed);
    let mut verdict = Verdict {
        from: model.nodes[node.index()].name.clone(),
        to: to.to_owned(),
        reachable: first.ok,
        outcome: first.summary.clone(),
        took: first.took,
        path: first.path.clone(),
        blockers: Vec::new(),
        reachable_when_lifted: first.ok,
        target_exists: target_exists(&model, &verb),
    };
    let mut last = first;
    while !last.ok && verdict.blockers.len() < MOST_BLOCKERS {
        let Some(cause) = find::cause(&model, &last, node) else { break };
        // Named first: lifting changes the very rule that decided.
        let mut blocker = cause.blocker(&model);
        blocker.lifted = lift::lift(&mut model, &cause, &verb);
        // The same blocker again means that lifting it changed nothing for this packet.
        let again =
            verdict.blockers.last().is_some_and(|b| b.node == blocker.node && b.lifted == blocker.lifted);
        if again {
            break;
        }
        let stuck = blocker.lifted.is_none();
        verdict.blockers.push(blocker);
        if stuck {
            break;
        }
        last = probe(&model, node, &verb, seed);
    }
    verdict.reachable_when_lifted = last.ok;
    Ok(verdict)
}

/// Why a probe does not get through, in one sentence; empty when it does or when nobody refused it.
pub(crate) fn reason(model: &Model, node: NodeId, verb: &Verb, seed: u64) -> String {
    let last = probe(model, node, verb, seed);
    let cause = if last.ok { None } else { find::cause(model, &last, node) };
    cause.map_or_else(String::new, |cause| {
        let blocker = cause.blocker(model);
        match &blocker.rule {
            Some(rule) => format!("{}: `{rule}`, {}", blocker.sentence, blocker.origin),
            None => format!("{}, {}", blocker.sentence, blocker.origin),
        }
    })
}

/// What one probe came to.
struct Probe {
    ok: bool,
    summary: String,
    took: Nanos,
    begun: Time,
    path: Vec<String>,
    trace: rt_trace::Trace,
}

fn probe(model: &Model, node: NodeId, verb: &Verb, seed: u64) -> Probe {
    let mut model = model.clone();
    let origin = Origin::Resource { address: "can".into() };
    model.steps = vec![Step {
        text: "can".into(),
        node,
        verb: verb.clone(),
        after: Nanos::ZERO,
        source_port: None,
        isn: None,
        background: false,
        ecn: None,
        origin,
    }];
    model.expect.clear();
    let mut world = World::of_model(&model, seed);
    let outcome = world.run_all_steps().into_iter().next();
    let trace = world.into_trace();
    let (ok, summary, begun, ended) = outcome.map_or_else(
        || (false, "no answer".to_owned(), Time::ZERO, Time::ZERO),
        |o| (o.ok, o.summary, o.begin, o.end),
    );
    let path = find::path(&trace, node, begun);
    Probe { ok, summary, took: ended.since(begun), begun, path, trace }
}

fn node_named(model: &Model, name: &str) -> Result<NodeId, Refusal> {
    crate::facts::node_named(model, name).ok_or_else(|| {
        let known: Vec<&str> = model.nodes.iter().map(|n| n.name.as_str()).collect();
        Refusal::unknown("machine", name, &known)
    })
}

/// Whether an address that is asked for is anybody's; names are resolved by the probe itself.
fn target_exists(model: &Model, verb: &Verb) -> bool {
    let (Verb::Probe { target, .. } | Verb::Ping { target, .. }) = verb else { return true };
    let Ok(wanted) = target.parse::<std::net::IpAddr>() else { return true };
    let mut written = model.nodes.iter().flat_map(|n| &n.interfaces).flat_map(|i| &i.addresses);
    let reserved = |a: &App| matches!(a, App::DhcpServer { reservations, .. } if reservations.iter().any(|r| r.1 == wanted));
    written.any(|a| a.addr() == wanted) || model.nodes.iter().flat_map(|n| &n.apps).any(reserved)
}

/// A switch moves frames and has no address to ask from or to be asked at.
fn has_stack(model: &Model, node: NodeId) -> Result<(), Refusal> {
    let found = &model.nodes[node.index()];
    if found.kind != NodeKind::Switch {
        return Ok(());
    }
    Err(Refusal::Misuse {
        why: format!("{} is a switch: it has no stack that could ask or answer", found.name),
    })
}

/// `TO` or `TO:PORT`: a machine (its first address is used), an address or a name.
fn verb(model: &Model, to: &str) -> Result<Verb, Refusal> {
    let (target, port) = match to.rsplit_once(':') {
        Some((target, port)) => {
            let parsed = port.parse::<u16>().ok().filter(|p| *p > 0);
            let why = || Refusal::Misuse { why: format!("`{port}` is not a port (1 to 65535)") };
            (target, Some(parsed.ok_or_else(why)?))
        }
        None => (to, None),
    };
    if target.is_empty() || target.contains(['[', ']', ':', ' ']) {
        let why =
            format!("`{to}` names no target: write a machine, an IPv4 address or a name, with :PORT for TCP");
        return Err(Refusal::Misuse { why });
    }
    let target = match crate::facts::node_named(model, target) {
        Some(node) => {
            has_stack(model, node)?;
            let why = || Refusal::Misuse {
                why: format!("{target} has no address before it runs: give an address"),
            };
            address_of(model, node).ok_or_else(why)?.to_string()
        }
        None => target.to_owned(),
    };
    Ok(match port {
        Some(port) => Verb::Probe { target, port },
        None => Verb::Ping { target, count: 1 },
    })
}

/// A machine's first address: written, or reserved for its MAC by a DHCP server.
pub(crate) fn address_of(model: &Model, node: NodeId) -> Option<std::net::IpAddr> {
    let interfaces = &model.nodes[node.index()].interfaces;
    let written = interfaces.iter().find_map(|i| i.addresses.first()).map(ipnet::IpNet::addr);
    let reserved = || {
        model.nodes.iter().flat_map(|n| &n.apps).find_map(|app| match app {
            App::DhcpServer { reservations, .. } => {
                reservations.iter().find(|(mac, _)| interfaces.iter().any(|i| i.mac == *mac)).map(|(_, a)| *a)
            }
            _ => None,
        })
    };
    written.or_else(reserved)
}

impl Verdict {
    /// The verdict as JSON.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).map_or_else(|e| e.to_string(), |text| text + "\n")
    }

    /// The verdict for people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut lines = Vec::new();
        let word = if self.reachable { "yes" } else { "no" };
        lines.push(format!("{word}: {} to {}: {}; in all {}", self.from, self.to, self.outcome, self.took));
        if !self.path.is_empty() {
            lines.push(format!("  the probe passed  {}", short_path(&self.path)));
        }
        for (number, blocker) in self.blockers.iter().enumerate() {
            lines.push(format!("  {}  {}  [{}]", number + 1, blocker.sentence, blocker.code));
            if let Some(rule) = &blocker.rule {
                lines.push(format!("     rule     {rule}"));
            }
            lines.push(format!("     written  {}", blocker.origin));
            lines.extend(blocker.nearest.iter().map(|nearest| format!("     nearest  {nearest}")));
            lines.extend(blocker.explanation.iter().map(|code| format!("     AWS      {code}")));
            match &blocker.lifted {
                Some(change) => lines.push(format!("     lifted   {change}")),
                None => lines.push("     lifted   nothing in the model lifts this".into()),
            }
        }
        if !self.reachable {
            lines.push(match (self.blockers.len(), self.reachable_when_lifted) {
                (0, _) => "  no packet was dropped: the other end did not answer".into(),
                (1, true) => "  lifting this one thing is enough".into(),
                (n, true) => format!("  all {n} must be lifted, then the answer is yes"),
                (_, false) if !self.target_exists => "  no machine here has this address".into(),
                (_, false) => "  even then there is no answer".into(),
            });
        }
        lines.join("\n") + "\n"
    }
}

/// Machines joined by `>`; in a routing loop the same two come again and again, which is said once.
fn short_path(path: &[String]) -> String {
    let circle = (0..path.len()).find_map(|start| {
        let next = path[start + 1..].iter().position(|n| *n == path[start])? + 1;
        let times = path[start..].chunks(next).filter(|c| *c == &path[start..start + next]).count();
        Some((start, next, times))
    });
    match circle {
        Some((start, length, times)) => {
            let round = path[start..start + length].join(" > ");
            let before: String = path[..start].iter().map(|n| format!("{n} > ")).collect();
            format!("{before}{round} > {} ... ({times} times round)", path[start])
        }
        None => path.join(" > "),
    }
}
