//! `diff A B`: what a change of a network changes. In the stories of its requests, aligned step by step and request by
//! request; in who can reach whom; in the tables of its machines. What to look at in a pull request.
//!
//! Not a comparison of files: both networks are run, and what happened is compared. Simplified: steps belong together when they
//! say the same in the same order; machines, when they have the same name.
//!
//! Main types: [`Difference`], [`diff()`].

mod hidden;
mod reach;
mod story;
mod tables;
mod text;

use std::path::Path;

use rt_trace::Trace;
use serde::Serialize;

use crate::source::Source;
use crate::{Model, Refusal, World};

/// What differs between two networks, or runs of them.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Difference {
    /// The first, as it was named.
    pub a: String,
    /// The second.
    pub b: String,
    /// Nothing differs.
    pub same: bool,
    /// Steps whose story differs.
    pub steps: Vec<StepDiff>,
    /// Pairs whose answer differs.
    pub reach: Vec<ReachDiff>,
    /// Pairs that were asked about in both.
    pub pairs: usize,
    /// Why nobody was asked who reaches whom, if nobody was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_asked: Option<String>,
    /// Machines whose tables differ.
    pub machines: Vec<MachineDiff>,
    /// Links that came, went or changed.
    pub links: Lines,
}

/// Lines that only one side has.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Lines {
    /// Only the first.
    pub gone: Vec<String>,
    /// Only the second.
    pub added: Vec<String>,
}

impl Lines {
    fn is_empty(&self) -> bool {
        self.gone.is_empty() && self.added.is_empty()
    }
}

/// A step of one side or of both.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct StepDiff {
    /// As written.
    pub text: String,
    /// Its number on each side; absent where there is no such step.
    pub number: (Option<u32>, Option<u32>),
    /// What came of it, on each side.
    pub outcome: (String, String),
    /// How long it took, nanoseconds.
    pub duration_ns: (u64, u64),
    /// Where the time went, for what differs.
    pub times: Vec<TimeDiff>,
    /// What was done and decided: parts, ways, rewrites, rules, troubles.
    pub decisions: Lines,
    /// Requests that differ.
    pub requests: Vec<RequestDiff>,
}

/// Time spent on one thing.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct TimeDiff {
    /// Machine code of the group.
    pub group: String,
    /// In words.
    pub say: String,
    /// Nanoseconds.
    pub before_ns: u64,
    /// Nanoseconds.
    pub after_ns: u64,
}

/// A request of one side or of both.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct RequestDiff {
    /// `GET http://a.example/`.
    pub request: String,
    /// What came of it; empty where there is no such request.
    pub outcome: (String, String),
    /// How long it took, nanoseconds.
    pub duration_ns: (u64, u64),
}

/// A pair whose answer differs.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct ReachDiff {
    /// Who asks.
    pub from: String,
    /// Who is asked.
    pub to: String,
    /// `ping`, `tcp 443`.
    pub what: String,
    /// The answer on each side; absent where the pair is not there.
    pub reachable: (Option<bool>, Option<bool>),
    /// Why not, on the side where it is not.
    pub why: String,
}

/// A machine whose tables differ.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct MachineDiff {
    /// Its name.
    pub machine: String,
    /// It is only on one side: `gone` or `added`.
    pub only: Option<&'static str>,
    /// Lines by table: `addresses`, `routes`, `rules`, `nat`, `mappings`.
    pub tables: Vec<(&'static str, Lines)>,
}

/// One side, run.
struct Side {
    model: Model,
    seed: u64,
    trace: Trace,
    story: rt_trace::story::Story,
    hidden: hidden::Hidden,
}

/// Runs both and compares. A scenario is run with `seed`, a run's folder with its own.
///
/// # Errors
/// As [`crate::Scenario::load`], for either.
pub fn diff(a: &str, b: &str, seed: u64) -> Result<Difference, Refusal> {
    let (before, after) = (side(a, seed)?, side(b, seed)?);
    let reach = reach::diff(&before, &after);
    let mut difference = Difference {
        a: a.to_owned(),
        b: b.to_owned(),
        same: false,
        steps: story::diff(&before, &after),
        reach: reach.pairs,
        pairs: reach.asked,
        not_asked: reach.left_out,
        machines: tables::machines(&before, &after),
        links: tables::links(&before.trace.map, &after.trace.map),
    };
    let d = &mut difference;
    d.same = d.steps.is_empty() && d.reach.is_empty() && d.machines.is_empty() && d.links.is_empty();
    Ok(difference)
}

impl Difference {
    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        text::text(self)
    }

    /// For programs.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).map_or_else(|e| e.to_string(), |text| text + "\n")
    }
}

fn side(name: &str, seed: u64) -> Result<Side, Refusal> {
    let source = Source::written(name, seed)?;
    let model = source.model().clone();
    let (trace, seed) = match &source {
        Source::Simulated { model, seed, until } => {
            let mut world = World::of_model(model, *seed);
            world.stop_at(*until);
            world.run_all_steps();
            (world.into_trace(), *seed)
        }
        Source::Attached { .. } => (crate::follow::trace_of_folder(Path::new(name))?, seed),
    };
    let story = rt_trace::story::tell(&trace);
    let hidden = hidden::Hidden::of(&model);
    Ok(Side { model, seed, trace, story, hidden })
}

/// What only one of two lists has, counting repetitions, each in its own order.
fn lines(a: &[String], b: &[String]) -> Lines {
    let only = |these: &[String], those: &[String]| {
        let mut left: Vec<&String> = those.iter().collect();
        let mut out = Vec::new();
        for line in these {
            match left.iter().position(|l| *l == line) {
                Some(at) => drop(left.swap_remove(at)),
                None => out.push(line.clone()),
            }
        }
        out
    };
    Lines { gone: only(a, b), added: only(b, a) }
}

#[cfg(test)]
mod tests;
