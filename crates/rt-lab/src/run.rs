//! A run: a world carried through all its steps, its story told, its expectations checked, everything written.

use std::path::PathBuf;

use rt_base::{Nanos, Recorder, Time};
use rt_scenario::Model;
use rt_trace::Trace;
use rt_trace::story::Story;

use crate::expect::{self, Checked};
use crate::output::{self, Folder};
use crate::{Refusal, Scenario, StepOutcome, Watch, World};

/// Which packets get a comment in the captures.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Comments {
    /// Every packet.
    All,
    /// Those that begin or end something.
    #[default]
    Key,
    /// None.
    None,
}

/// How to run.
pub struct RunOptions {
    /// Chooses all random things.
    pub seed: u64,
    /// Where to write; `None` writes nothing.
    pub out: Option<PathBuf>,
    /// Stop at this virtual time at the latest.
    pub until: Option<Time>,
    /// Which packets get a comment.
    pub comments: Comments,
    /// Told how far the run is.
    pub progress: Option<Watch>,
}

impl RunOptions {
    /// Runs to the end with this seed, writes nothing.
    #[must_use]
    pub fn new(seed: u64) -> RunOptions {
        RunOptions { seed, out: None, until: None, comments: Comments::default(), progress: None }
    }
}

/// What came of a run.
pub struct Run {
    story: Story,
    outcomes: Vec<StepOutcome>,
    checks: Vec<Checked>,
    trace: Trace,
    out: Option<PathBuf>,
}

impl Scenario {
    /// Runs it.
    ///
    /// # Errors
    /// [`Refusal::Io`] when a file cannot be written.
    pub fn run(&self, options: RunOptions) -> Result<Run, Refusal> {
        run(self.model(), options)
    }
}

impl Run {
    /// A run from its parts.
    pub(crate) fn of_parts(
        trace: Trace,
        story: Story,
        outcomes: Vec<StepOutcome>,
        checks: Vec<Checked>,
        out: Option<PathBuf>,
    ) -> Run {
        Run { story, outcomes, checks, trace, out }
    }
}

fn run(model: &Model, options: RunOptions) -> Result<Run, Refusal> {
    let folder = options.out.as_deref().map(|out| Folder::open(out, model)).transpose()?;
    let recorders: Vec<Box<dyn Recorder>> = folder.iter().map(Folder::recorder).collect();
    let mut world = World::with_recorders(model, options.seed, recorders);
    world.stop_at(options.until);
    world.watch(options.progress);
    let outcomes = world.run_all_steps();
    let trace = world.into_trace();
    let story = rt_trace::story::tell(&trace);
    let checks = expect::check_all(model, &outcomes, &story);
    if let Some(folder) = folder {
        let until = options.until;
        let (outcomes, checks) = (&outcomes, &checks);
        let told =
            output::Told { model, trace: &trace, story: &story, outcomes, checks, until, attached: None };
        folder.finish(&told, options.comments)?;
    }
    Ok(Run { story, outcomes, checks, trace, out: options.out })
}

impl Run {
    /// What came of a world whose steps were carried out one by one.
    pub(crate) fn of_world(world: World) -> Run {
        let (model, outcomes) = (world.model().clone(), world.outcomes().to_vec());
        let trace = world.into_trace();
        let story = rt_trace::story::tell(&trace);
        let checks = expect::check_all(&model, &outcomes, &story);
        Run { story, outcomes, checks, trace, out: None }
    }

    /// The access logs of forward proxies, by machine, in squid's format.
    #[must_use]
    pub fn access_logs(&self) -> std::collections::BTreeMap<String, String> {
        crate::forward::access_logs(&self.trace)
    }

    /// The access logs of web servers and reverse proxies, by machine, in the combined format.
    #[must_use]
    pub fn web_logs(&self) -> std::collections::BTreeMap<String, String> {
        crate::forward::web_logs(&self.trace)
    }

    /// The story as data.
    #[must_use]
    pub fn story(&self) -> &Story {
        &self.story
    }

    /// The story for people.
    #[must_use]
    pub fn story_text(&self) -> String {
        rt_trace::render::text(&self.story)
    }

    /// The story as `story.json` has it.
    #[must_use]
    pub fn story_json(&self) -> String {
        output::story_json(&self.story)
    }

    /// What came of each step.
    #[must_use]
    pub fn outcomes(&self) -> &[StepOutcome] {
        &self.outcomes
    }

    /// Every expectation and whether it holds.
    #[must_use]
    pub fn checks(&self) -> &[Checked] {
        &self.checks
    }

    /// Everything that was recorded.
    #[must_use]
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// Whether all expectations hold. A step without any must at least have been reached.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.checks.iter().all(|c| c.holds)
    }

    /// For stderr: what does not hold, or that all does, and where the files are.
    #[must_use]
    pub fn verdict_lines(&self) -> Vec<String> {
        let end = self.outcomes.last().map_or(Nanos::ZERO, |o| o.end.since(Time::ZERO));
        let mut lines = expect::verdict(&self.checks, end);
        if let Some(out) = &self.out {
            let out = out.display();
            lines.push(format!(
                "files in {out}: open {out}/story.html in a browser, captures/*.pcapng in Wireshark"
            ));
        }
        lines
    }
}
