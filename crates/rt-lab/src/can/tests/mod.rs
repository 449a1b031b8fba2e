//! `can` against two others: what a packet does in a run, and a slow walker over the model that shares no code with it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod networks;
mod walker;

use rt_base::NodeId;
use rt_scenario::model::{Model, NodeKind, Verb};

use super::edit::Edit;
use super::probe::{Prober, Protocol, Question};
use super::solve::{self, Case};
use crate::World;
use crate::world::step_at;

/// Random networks whose every pair is asked.
const NETWORKS: u64 = 120;
/// Of every network, so many failing pairs are lifted one blocker after the other.
const LIFTED: usize = 3;

fn hosts(model: &Model) -> Vec<NodeId> {
    let host = |(_, n): &(usize, &rt_scenario::model::Node)| n.kind == NodeKind::Host;
    let all = model.nodes.iter().enumerate().filter(host);
    all.map(|(i, _)| NodeId(u32::try_from(i).unwrap())).collect()
}

/// Every ordered pair, by each protocol, to a port where somebody listens and one where nobody does.
fn questions(model: &Model) -> Vec<Question> {
    let hosts = hosts(model);
    let mut out = Vec::new();
    for from in &hosts {
        let others = hosts.iter().filter(|to| *to != from);
        let mut targets: Vec<String> =
            others.map(|to| model.nodes[to.index()].interfaces[0].addresses[0].addr().to_string()).collect();
        targets.extend(networks::outside_addresses(model));
        for target in targets {
            for (protocol, port) in [
                (Protocol::Tcp, Some(80)),
                (Protocol::Tcp, Some(22)),
                (Protocol::Udp, Some(7)),
                (Protocol::Icmp, None),
            ] {
                out.push(Question { from: *from, target: target.clone(), protocol, port });
            }
        }
    }
    out
}

fn described(model: &Model, question: &Question) -> String {
    let from = &model.nodes[question.from.index()].name;
    format!("{from} asks {} by {} {:?}", question.target, question.protocol, question.port)
}

/// What a probe comes to in a world that was asked much before is what the walker says, with the same machine and reason.
#[test]
fn probes_agree_with_a_walker_over_the_model() {
    let (mut asked, mut yes) = (0_usize, 0_usize);
    let (mut public, mut by_policy) = (0_usize, 0_usize);
    let mut reasons = std::collections::BTreeMap::new();
    let mut wrong: Vec<String> = Vec::new();
    for seed in 0..NETWORKS {
        let model = networks::random(seed);
        public += usize::from(!super::ends::public_addresses(&model).is_empty());
        by_policy += usize::from(model.nodes.iter().any(|n| !n.policies.is_empty()));
        let mut prober = Prober::new(&model, &hosts(&model), seed);
        for question in questions(&model) {
            let probe = prober.ask(&question);
            let walked = walker::walk(&model, &question);
            let what = format!("network {seed}: {}: {}", described(&model, &question), probe.summary);
            if probe.ok != walked.is_ok() {
                wrong.push(format!("{what}: the walker says {walked:?}"));
            }
            if let Err((node, reason)) = walked {
                let cause = super::find::cause(&model, &probe, &question);
                let found = match cause {
                    Some(super::find::Found::Drop(cause)) => Some((cause.node, cause.reason)),
                    _ => None,
                };
                if found.is_some_and(|found| found != (node, reason)) {
                    wrong.push(format!("{what}: found {found:?}, the walker {node:?} {reason:?}"));
                }
                *reasons.entry(reason).or_insert(0_usize) += 1;
            }
            asked += 1;
            yes += usize::from(probe.ok);
        }
    }
    let first = wrong.iter().take(12).cloned().collect::<Vec<_>>().join("\n");
    assert!(wrong.is_empty(), "{} of {asked}:\n{first}", wrong.len());
    assert!(asked > 3_000, "{asked} pairs are not thousands");
    assert!(yes > asked / 10 && yes < asked * 9 / 10, "{yes} of {asked} are too easy a test");
    assert!(reasons.len() >= 8, "too few kinds of ends: {reasons:?}");
    assert!(reasons.contains_key(&rt_base::DropReason::ReversePath), "no source was doubted: {reasons:?}");
    for (kind, count) in [("1:1 NAT", public), ("policy routing", by_policy)] {
        assert!(count > NETWORKS as usize / 10, "{count} networks with {kind} are too few");
    }
}

/// A step of an ordinary run comes to the same as a probe between many others.
#[test]
fn probes_agree_with_steps_of_a_run() {
    for seed in 0..6 {
        let model = networks::random(1_000 + seed);
        let mut prober = Prober::new(&model, &hosts(&model), seed);
        let questions = questions(&model);
        for question in questions.iter().filter(|q| q.protocol != Protocol::Udp).step_by(9) {
            let verb = match question.port {
                Some(port) => Verb::Probe { target: question.target.clone(), port },
                None => Verb::Ping { target: question.target.clone(), count: 1 },
            };
            let mut alone = model.clone();
            alone.steps = vec![step_at(question.from, "asks".into(), verb, "test")];
            let outcome = World::unrecorded(&alone, seed).run_all_steps().remove(0);
            assert_eq!(prober.ask(question).ok, outcome.ok, "{seed}: {}", described(&model, question));
        }
    }
}

/// With all reasons lifted the walker says yes; with any one of them left it says no.
#[test]
fn every_reason_is_needed_and_all_together_are_enough() {
    let (mut lifted, mut several) = (0, 0);
    for seed in 0..NETWORKS / 2 {
        let model = networks::random(2_000 + seed);
        let questions = questions(&model);
        let failing = questions.iter().filter(|q| walker::walk(&model, q).is_err());
        for question in failing.step_by(11).take(LIFTED) {
            let case = Case { model: &model, question: question.clone(), target: None, named: false, seed };
            let (verdict, edits) = solve::solve_with(&case);
            let what = format!("network {seed}: {}\n{}", described(&model, question), verdict.text());
            assert!(!verdict.reachable, "{what}");
            if !verdict.reachable_when_lifted {
                continue;
            }
            assert!(after(&model, question, &edits, None).is_ok(), "all lifted, and still no: {what}");
            for left in 0..edits.len() {
                assert!(after(&model, question, &edits, Some(left)).is_err(), "{left} is not needed: {what}");
            }
            lifted += 1;
            several += usize::from(edits.len() > 1);
        }
    }
    assert!(lifted > 30 && several > 10, "{lifted} lifted, {several} with more than one reason");
}

/// What the walker says after these changes but one.
fn after(model: &Model, question: &Question, edits: &[Edit], left: Option<usize>) -> walker::Walked {
    let (mut model, mut question) = (model.clone(), question.clone());
    for (index, edit) in edits.iter().enumerate() {
        if Some(index) == left { edit.brace(&mut model) } else { edit.apply(&mut model, &mut question) }
    }
    walker::walk(&model, &question)
}
