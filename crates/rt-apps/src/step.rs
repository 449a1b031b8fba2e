//! What a step of the scenario is to the runtime: a function to run once, and what came of it.

use rt_base::Figure;

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
