//! What a step of the scenario is to the runtime: a function to run once, and what came of it.

use rt_base::{Figure, Nanos, Wait};

use crate::executor::BoxFuture;
use crate::net::Net;

/// What came of a step.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StepResult {
    /// Whether it reached its aim.
    pub ok: bool,
    /// One line: `200 HTTP/2, 41.2 kB` or the error.
    pub summary: String,
    /// What a person would have seen on the screen, line by line (ping's lines, records of a lookup). May be empty.
    pub lines: Vec<String>,
    /// What it measured.
    pub figures: Vec<Figure>,
}

impl StepResult {
    /// A step that reached its aim.
    #[must_use]
    pub fn ok(summary: impl Into<String>) -> StepResult {
        StepResult { ok: true, summary: summary.into(), lines: Vec::new(), figures: Vec::new() }
    }

    /// A step that did not.
    #[must_use]
    pub fn failed(summary: impl Into<String>) -> StepResult {
        StepResult { ok: false, summary: summary.into(), lines: Vec::new(), figures: Vec::new() }
    }

    /// The same with the lines a person would have seen.
    #[must_use]
    pub fn with_lines(mut self, lines: Vec<String>) -> StepResult {
        self.lines = lines;
        self
    }

    /// The same with what it measured.
    #[must_use]
    pub fn with_figures(mut self, figures: Vec<Figure>) -> StepResult {
        self.figures = figures;
        self
    }
}

/// A step's work, called when its [`rt_base::Input::Command`] comes.
pub type StepFn = Box<dyn FnOnce(Net) -> BoxFuture<StepResult> + Send>;

/// Does the same again and again: a round begins each `every` (at once when the one before took longer), none later than `lasts`
/// after the first. Figures: how long the rounds took, and how many failed.
pub async fn repeat(
    net: Net,
    every: Nanos,
    lasts: Nanos,
    mut round: impl FnMut() -> StepFn + Send,
) -> StepResult {
    let first = net.now();
    let (mut times, mut failures, mut why, mut next) = (Vec::new(), 0u64, None, first);
    loop {
        let begin = net.now();
        let result = round()(net.clone()).await;
        times.push(net.now().since(begin));
        if !result.ok {
            failures += 1;
            why.get_or_insert(result.summary);
        }
        next += every;
        if next >= first + lasts {
            break;
        }
        net.sleep_until(next, Wait::Person).await;
    }
    times.sort_unstable();
    let rank = |share: usize| times[(times.len() * share).div_ceil(100).max(1) - 1];
    let rounds = times.len() as u64;
    let text = format!("{}, median {}, longest {}", rt_base::count(rounds, "time"), rank(50), rank(100));
    let result = match why {
        None => StepResult::ok(text),
        Some(why) => StepResult::failed(format!("{text}; {failures} failed: {why}")),
    };
    result.with_figures(vec![
        Figure::span("latency-min", times[0]),
        Figure::span("latency-median", rank(50)),
        Figure::span("latency-p99", rank(99)),
        Figure::span("latency-max", rank(100)),
        Figure::count("rounds", rounds),
        Figure::count("failed-rounds", failures),
    ])
}
