//! Expectations: what must hold of a step, checked against its outcome and its story.

use rt_base::Nanos;
use rt_files::junit::Case;
use rt_scenario::Model;
use rt_scenario::model::{Check, Expect};
use rt_trace::story::{StepStory, Story};
use serde::Serialize;

use crate::StepOutcome;

/// One expectation and whether it holds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Checked {
    /// The step, from 1.
    pub step: usize,
    /// What must hold, in words.
    pub expected: String,
    /// What was found.
    pub found: String,
    /// Whether it holds.
    pub holds: bool,
    /// Where it was written.
    pub origin: String,
}

/// Checks all expectations of a model.
#[must_use]
pub(crate) fn check_all(model: &Model, outcomes: &[StepOutcome], story: &Story) -> Vec<Checked> {
    let all = model.expect.iter().flat_map(|expect| expect.checks.iter().map(move |check| (expect, check)));
    all.map(|(expect, check)| check_one(expect, check, outcomes, story)).collect()
}

fn check_one(expect: &Expect, check: &Check, outcomes: &[StepOutcome], story: &Story) -> Checked {
    let outcome = outcomes.iter().find(|o| o.step == expect.step);
    let number = u32::try_from(expect.step + 1).unwrap_or(u32::MAX);
    let step = story.steps.iter().find(|s| s.number == number);
    let (expected, found, holds) = match (outcome, step) {
        (Some(outcome), Some(step)) if step.ended => judge(check, outcome, step),
        _ => (words(check), "the run ended before this step".to_owned(), false),
    };
    Checked { step: expect.step + 1, expected, found, holds, origin: expect.origin.to_string() }
}

/// The expectation in words.
fn words(check: &Check) -> String {
    match check {
        Check::Status(status) => format!("status {status}"),
        Check::Protocol(protocol) => format!("protocol {protocol}"),
        Check::Field { name, value } if value.is_empty() => format!("a field {name}"),
        Check::Field { name, value } => format!("{name}: {value}"),
        Check::Within(limit) => format!("within {limit}"),
        Check::Through(nodes) => format!("through {}", nodes.join(", ")),
        Check::Dns(how) => format!("dns {how}"),
        Check::Tls(how) => format!("tls {how}"),
        Check::Fails(why) if why.is_empty() => "fails".into(),
        Check::Fails(why) => format!("fails with `{why}`"),
        Check::Succeeds => "succeeds".into(),
        Check::Prints(text) => format!("prints `{text}`"),
        Check::AnsweredBy { server, least, most } => {
            format!("answered by {}", rt_scenario::figure_words(server, *least, *most))
        }
        Check::FromCache(n) => format!("{} from the cache", rt_base::count(u64::from(*n), "resource")),
        Check::Figure { name, least, most } => rt_scenario::figure_words(name, *least, *most),
    }
}

/// The expectation in words, what was found, and whether it holds.
fn judge(check: &Check, outcome: &StepOutcome, step: &StepStory) -> (String, String, bool) {
    let first = step.requests.iter().find(|r| r.parent.is_none() && r.kind != "lookup");
    let (found, holds) = match check {
        Check::Status(status) => {
            let found = first.map_or(0, |r| r.status);
            (format!("status {found}"), found == *status)
        }
        Check::Protocol(protocol) => {
            let found = first.map_or("", |r| r.protocol.as_str());
            (format!("protocol {found}"), same_protocol(found, protocol))
        }
        Check::Field { name, value } => {
            let fields = first.map(|request| request.response_headers.as_slice()).unwrap_or_default();
            let own = fields.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
            let found: Vec<_> = own.map(|field| field.value.as_str()).collect();
            let holds = found.iter().any(|found| found.contains(value.as_str()));
            (
                if found.is_empty() { format!("no {name}") } else { format!("{name}: {}", found.join(", ")) },
                holds,
            )
        }
        Check::Within(limit) => {
            let took = outcome.end.since(outcome.begin);
            (format!("took {took}"), took <= *limit)
        }
        Check::Through(nodes) => through(nodes, step),
        Check::Dns(how) => dns(how, step),
        Check::Tls(how) => tls(how, step),
        Check::Fails(why) => {
            let codes = step
                .outcome
                .iter()
                .chain(&step.trouble)
                .any(|l| l.code.contains(why) || l.text.contains(why));
            (outcome.summary.clone(), !outcome.ok && (outcome.summary.contains(why) || codes))
        }
        Check::Succeeds => (outcome.summary.clone(), outcome.ok),
        Check::Prints(text) => {
            let found = outcome.lines.iter().find(|line| line.contains(text.as_str()));
            (found.unwrap_or(&outcome.summary).clone(), found.is_some())
        }
        Check::Figure { name, least, most } => figure(step, name, *least, *most),
        Check::AnsweredBy { server, least, most } => {
            let answered = rt_trace::story::answered_by(step);
            let count = answered.iter().find(|(name, _)| name == server).map_or(0, |(_, count)| *count);
            let all: Vec<String> = answered.iter().map(|(name, count)| format!("{name} {count}")).collect();
            let found = if all.is_empty() {
                "no server behind a proxy or a balancer answered".into()
            } else {
                all.join(", ")
            };
            (found, (*least..=*most).contains(&count))
        }
        Check::FromCache(n) => {
            let cached = step.requests.iter().filter(|r| matches!(r.cache.as_str(), "hit" | "revalidated"));
            let found = u32::try_from(cached.count()).unwrap_or(u32::MAX);
            (format!("{} from the cache", rt_base::count(u64::from(found), "resource")), found == *n)
        }
    };
    (words(check), found, holds)
}

/// What was measured under this name, and whether it lies within the limits.
fn figure(step: &StepStory, name: &str, least: u64, most: u64) -> (String, bool) {
    if let Some((value, noun)) = counted(step, name) {
        return (rt_base::count(value, noun), (least..=most).contains(&value));
    }
    match step.figures.iter().find(|f| f.name == name) {
        Some(figure) => (format!("{name} {}", figure.text), (least..=most).contains(&figure.value)),
        None => (format!("the step measures no {name}"), false),
    }
}

/// What is counted in the story of any step, whatever it measures itself, with the noun for it.
fn counted(step: &StepStory, name: &str) -> Option<(u64, &'static str)> {
    let told = |codes: &[&str]| -> u64 {
        let lines = step.trouble.iter().filter(|l| codes.contains(&l.code.as_str()));
        lines.filter_map(|l| l.data.get("count")?.parse::<u64>().ok()).sum()
    };
    Some(match name {
        "retransmissions" => {
            (step.connections.iter().map(|c| u64::from(c.retransmissions)).sum(), "retransmission")
        }
        "refused" => {
            (told(&["tcp.syn_queue_full", "tcp.accept_queue_full"]), "segment that a full listener refused")
        }
        "syn-cookies" => (told(&["tcp.syn_cookie"]), "SYN cookie"),
        _ => return None,
    })
}

/// `h2` is `HTTP/2`, whichever way it is written.
fn same_protocol(found: &str, expected: &str) -> bool {
    let plain = |text: &str| match text.to_ascii_lowercase().as_str() {
        "h2" | "http/2" | "http/2.0" => "h2".to_owned(),
        other => other.to_owned(),
    };
    plain(found) == plain(expected)
}

/// Whether the nodes are on the way of one of the step's connections, in this order.
fn through(nodes: &[String], step: &StepStory) -> (String, bool) {
    let paths = step.connections.iter().map(|c| c.path.iter().map(|h| h.node.as_str()).collect::<Vec<_>>());
    let paths: Vec<Vec<&str>> = paths.collect();
    let holds = paths.iter().any(|path| {
        let mut rest = path.iter();
        nodes.iter().all(|node| rest.any(|hop| hop == node))
    });
    let found = paths.last().map_or("no connection".to_owned(), |p| p.join(" > "));
    (found, holds)
}

fn dns(how: &str, step: &StepStory) -> (String, bool) {
    let asked = step.lookups.iter().any(|l| l.question.is_some());
    let found = if asked { "asked" } else { "cached" };
    (format!("dns {found}"), found == how)
}

fn tls(how: &str, step: &StepStory) -> (String, bool) {
    let secure: Vec<_> = step.connections.iter().filter(|c| !c.tls_version.is_empty()).collect();
    let found = match secure.first() {
        None => "none",
        Some(first) if first.tls_resumed => "resumed",
        Some(_) => "full",
    };
    (format!("tls {found}"), found == how)
}

/// The expectations as test cases.
#[must_use]
pub(crate) fn cases(checks: &[Checked], story: &Story) -> Vec<Case> {
    let case = |check: &Checked| {
        let step = story.steps.get(check.step.saturating_sub(1));
        let text = step.map_or("", |s| s.text.as_str());
        let failure = format!("expected {}, found {} ({})", check.expected, check.found, check.origin);
        Case {
            group: format!("step {}: {text}", check.step),
            name: check.expected.clone(),
            took_ns: step.map_or(0, |s| s.duration_ns),
            failure: (!check.holds).then_some(failure),
        }
    };
    checks.iter().map(case).collect()
}

/// `1 ms` for people: used by the verdict lines.
#[must_use]
pub(crate) fn verdict(checks: &[Checked], took: Nanos) -> Vec<String> {
    let failed: Vec<&Checked> = checks.iter().filter(|c| !c.holds).collect();
    if failed.is_empty() {
        let holds = if checks.len() == 1 { "holds" } else { "hold" };
        let all = rt_base::count(checks.len() as u64, "expectation");
        return vec![format!("{all} {holds} ({took} of virtual time)")];
    }
    let line =
        |c: &&Checked| format!("{}: step {}: expected {}, found {}", c.origin, c.step, c.expected, c.found);
    let mut lines: Vec<String> = failed.iter().map(line).collect();
    let (all, not) = (rt_base::count(checks.len() as u64, "expectation"), failed.len());
    lines.push(format!("{not} of {all} {} not hold", if not == 1 { "does" } else { "do" }));
    lines
}
