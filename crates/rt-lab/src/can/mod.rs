//! `can FROM TO[:PORT]`: one real probe, its verdict with the rule and its line; then each blocker is lifted in turn and
//! the probe is sent again, so that every independent reason comes out. [`matrix()`] asks for all pairs.
//!
//! Not a proof over all packets: it answers for the packets that were sent. What lifts a blocker is a change of the
//! lowered model, and the same engine runs it; nothing is guessed from the rules. A world is asked when every machine has
//! its address and every service listens; of the timeline that is there which was by the moment that is asked about.

mod add;
mod behind;
mod bytes;
mod cloud;
mod edit;
mod ends;
mod find;
mod lift;
mod matrix;
mod name;
mod neighbour;
mod probe;
mod render;
mod solve;
mod stranger;
#[cfg(test)]
mod tests;
mod ways;

use std::net::IpAddr;

use rt_base::{Nanos, NodeId, Time};
use rt_scenario::model::Model;
use serde::Serialize;

use crate::{Refusal, Scenario};
use ends::End;
use probe::{Prober, Question};
use solve::Case;

pub use behind::Beyond;
pub(crate) use matrix::matrix_of_model;
pub use matrix::{Cell, Column, Mark, Matrix, MatrixQuery, matrix};
pub use probe::Protocol;

/// One reason why the probe does not arrive, or its answer does not come back.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Blocker {
    /// Where.
    pub node: String,
    /// Stable machine code, such as `drop.filtered`.
    pub code: String,
    /// What AWS's Reachability Analyzer calls the same thing, such as `SUBNET_ACL_RESTRICTION`, where it has a code for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub explanation: Option<String>,
    /// It is an answer that ends here.
    pub answer: bool,
    /// One sentence.
    pub sentence: String,
    /// The rule that decided, in words, if one did.
    pub rule: Option<String>,
    /// Where that rule (or the thing whose absence decided) was written.
    pub origin: String,
    /// The rule that came nearest to letting it pass, and what kept it from matching.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nearest: Option<String>,
    /// What was changed to get past it, as far as possible in words of the file; `None` when nothing could be.
    pub lifted: Option<String>,
}

/// The answer to one question.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Verdict {
    /// Who asked.
    pub from: String,
    /// For what.
    pub to: String,
    /// By what.
    pub protocol: Protocol,
    /// The port, unless it was a ping.
    pub port: Option<u16>,
    /// Whether the probe, as things are, was answered.
    pub reachable: bool,
    /// What the first probe came to, in one line.
    pub outcome: String,
    /// How long it took, nanoseconds.
    pub took: Nanos,
    /// Machines the probe passed, in order.
    pub path: Vec<String>,
    /// Every independent reason, in the order in which they were met: without one of them lifted, lifting all others does
    /// not help.
    pub blockers: Vec<Blocker>,
    /// Whether the probe is answered once all of these are lifted.
    pub reachable_when_lifted: bool,
    /// Whether any machine has the address asked for (true for names).
    pub target_exists: bool,
    /// What was decided for the asker, in sentences.
    pub assumptions: Vec<String>,
    /// Where a balancer answered: the servers that it hands on to, each asked from there, and those behind them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub behind: Vec<Beyond>,
}

/// What is asked.
#[derive(Clone, Debug)]
pub struct CanQuery {
    /// Who asks: a machine, an address, a name, `internet`, or a group of machines.
    pub from: String,
    /// Who is asked: the same, with `:PORT`, `:PORT/udp` or nothing (a ping) behind.
    pub to: String,
    /// By what; otherwise TCP with a port and ICMP without.
    pub protocol: Option<Protocol>,
    /// Of which moment of the run: what the timeline has done by then is done. Zero: what it has at the beginning.
    pub at: Time,
    /// Chooses all random things.
    pub seed: u64,
}

impl CanQuery {
    /// From here to there, with seed 1.
    #[must_use]
    pub fn new(from: &str, to: &str) -> CanQuery {
        CanQuery { from: from.to_owned(), to: to.to_owned(), protocol: None, at: Time::ZERO, seed: 1 }
    }
}

/// The answers: one, or one for each pair of two groups.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answers {
    /// In the order of the model.
    pub verdicts: Vec<Verdict>,
}

impl Answers {
    /// Whether every pair reaches (`yes`), or none does (`no`).
    #[must_use]
    pub fn are_all(&self, yes: bool) -> bool {
        self.verdicts.iter().all(|v| v.reachable == yes)
    }
}

/// Pairs that one question may come to.
const MOST_PAIRS: usize = 64;

/// Sends the probes and finds every reason.
///
/// # Errors
/// [`Refusal::Unknown`] for a machine, a subnet or a name that does not exist, [`Refusal::Misuse`] for a bad port, an empty group, a stranger
/// where there is no internet, or more than 64 pairs.
pub fn can(scenario: &Scenario, query: &CanQuery) -> Result<Answers, Refusal> {
    let mut model = scenario.model().clone();
    probe::at(&mut model, query.at);
    let (text, port, suffix) = ends::split_port(&query.to)?;
    let protocol = protocol(query.protocol, port, suffix)?;
    let (from, to) = (End::read(&model, &query.from)?, End::read(&model, text)?);
    let askers = from.askers(&mut model, &query.from)?;
    let targets = targets(&mut model, &to, (text, protocol, port))?;
    let pairs: Vec<(NodeId, &Target)> = askers
        .iter()
        .flat_map(|a| targets.iter().map(move |t| (*a, t)))
        .filter(|(a, t)| t.node != Some(*a))
        .collect();
    if pairs.len() > MOST_PAIRS {
        let why = format!(
            "these are {} pairs, more than the {MOST_PAIRS} that one question may come to: ask --matrix",
            pairs.len()
        );
        return Err(Refusal::Misuse { why });
    }
    if pairs.is_empty() {
        return Err(Refusal::Misuse { why: "a machine reaches itself: name two".into() });
    }
    let mut verdicts = Vec::new();
    let alone = pairs.len() == 1;
    for (asker, target) in pairs {
        let verdict = one(&model, (asker, &from), target, (protocol, port, query.seed), alone)?;
        // A name that nobody has is a slip of the pen: a `no` would pass for a barrier that holds.
        if let (End::Name(name), false) = (&to, verdict.reachable)
            && !ends::is_known_name(&model, name)
        {
            return Err(ends::unknown(&model, "machine or name", name));
        }
        verdicts.push(verdict);
    }
    Ok(Answers { verdicts })
}

fn one(
    model: &Model,
    (asker, from): (NodeId, &End),
    target: &Target,
    (protocol, port, seed): (Protocol, Option<u16>, u64),
    alone: bool,
) -> Result<Verdict, Refusal> {
    let mut assumptions = Vec::new();
    let address = target.seen_from(model, asker, seed, &mut assumptions)?;
    let question = Question { from: asker, target: address.clone(), protocol, port };
    let mut verdict = solve::solve(&Case {
        model,
        question: question.clone(),
        target: target.node,
        named: target.typed.is_none(),
        seed,
    });
    verdict.to.clone_from(&target.text);
    verdict.target_exists = address.parse().map_or(true, |a: IpAddr| ends::owner(model, a).is_some());
    if model.nodes[asker.index()].name == stranger::NAME {
        let own = ends::addresses(model, asker.index());
        let own = own.first().map_or_else(String::new, ToString::to_string);
        assumptions.insert(
            0,
            format!("the stranger is a host at {own} that was added to the internet for the probe"),
        );
    }
    if let (End::Address(from), true) = (from, ends::addresses(model, asker.index()).len() > 1) {
        assumptions.push(format!("asked by {}, which has {from}", model.nodes[asker.index()].name));
    }
    if protocol == Protocol::Udp {
        assumptions.push("a datagram that a program takes has arrived, answered or not".into());
    }
    // Each server takes a world of its own: of many pairs nobody wants them all.
    if verdict.reachable && alone {
        let (behind, notes) = behind::behind(model, &question, seed);
        verdict.behind = behind;
        assumptions.extend(notes);
    }
    verdict.assumptions = assumptions;
    Ok(verdict)
}

/// Something asked for.
struct Target {
    /// As it was written, or the machine's name.
    text: String,
    /// The machine that is meant.
    node: Option<NodeId>,
    /// What the asker types; `None`: the machine's address.
    typed: Option<String>,
}

fn targets(
    model: &mut Model,
    end: &End,
    (text, protocol, port): (&str, Protocol, Option<u16>),
) -> Result<Vec<Target>, Refusal> {
    let machine = |model: &Model, node: NodeId, text: Option<&str>| Target {
        text: text.map_or_else(|| model.nodes[node.index()].name.clone(), str::to_owned),
        node: Some(node),
        typed: None,
    };
    Ok(match end {
        End::Machine(node) => vec![machine(model, *node, Some(text))],
        End::Group(nodes) => nodes.iter().map(|n| machine(model, *n, None)).collect(),
        End::Address(address) => {
            let node = ends::owner(model, *address);
            vec![Target { text: text.to_owned(), node, typed: Some(address.to_string()) }]
        }
        End::Name(name) => vec![Target { text: text.to_owned(), node: None, typed: Some(name.clone()) }],
        End::Internet => {
            let node = ends::the_stranger(model, None)?;
            if let Some(port) = port {
                model.nodes[node.index()].apps.push(edit::listener(protocol, port));
            }
            vec![machine(model, node, Some(text))]
        }
    })
}

impl Target {
    /// What this asker types: from outside, a machine's public address if it has one.
    fn seen_from(
        &self,
        model: &Model,
        asker: NodeId,
        seed: u64,
        assumptions: &mut Vec<String>,
    ) -> Result<String, Refusal> {
        if let Some(typed) = &self.typed {
            return Ok(typed.clone());
        }
        let Some(node) = self.node else { return Ok(self.text.clone()) };
        let own = ends::addresses(model, node.index());
        let outside = ends::addresses(model, asker.index()).iter().any(|a| !lift::is_private(*a));
        let public = ends::public_addresses(model).into_iter().find(|(inside, _)| own.contains(inside));
        if let (true, Some((_, public))) = (outside, public) {
            assumptions.push(format!("from outside, {} is asked at {public}, its public address", self.text));
            return Ok(public.to_string());
        }
        let learnt = || Prober::new(model, &[node], seed).address(node);
        let Some(address) = own.first().copied().or_else(learnt) else {
            let why = format!("{} has no address, so nobody can ask for it", self.text);
            return Err(Refusal::Misuse { why });
        };
        if own.len() > 1 {
            assumptions.push(format!("{} is asked at {address}, the first of its addresses", self.text));
        }
        Ok(address.to_string())
    }
}

/// By what is asked, as far as the port and what stands behind it allow.
fn protocol(wanted: Option<Protocol>, port: Option<u16>, suffix: Option<&str>) -> Result<Protocol, Refusal> {
    let written = match suffix {
        None => None,
        Some("tcp") => Some(Protocol::Tcp),
        Some("udp") => Some(Protocol::Udp),
        Some(other) => {
            return Err(Refusal::Misuse { why: format!("`{other}` is no protocol with ports: tcp or udp") });
        }
    };
    let refuse = |why: &str| Err(Refusal::Misuse { why: why.to_owned() });
    match (written.or(wanted), port) {
        (Some(a), _) if wanted.is_some_and(|b| a != b) => refuse("two protocols were given"),
        (Some(Protocol::Icmp), Some(_)) => refuse("ICMP has no ports: leave the port away"),
        (Some(Protocol::Tcp | Protocol::Udp), None) => {
            refuse("TCP and UDP need a port: write :PORT behind the target")
        }
        (Some(protocol), _) => Ok(protocol),
        (None, Some(_)) => Ok(Protocol::Tcp),
        (None, None) => Ok(Protocol::Icmp),
    }
}
