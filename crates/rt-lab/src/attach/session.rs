//! A world some of whose machines real programs play, and what came from outside, applied to it: the same for a run under
//! way and for one that is made again. Nothing here knows what time it is.

use rt_base::{AppRecord, Carried, Figure, Nanos, NodeId, Recorder, Time};
use rt_devices::Outward;
use rt_files::inputs::{Input, Lateness, Stamped};
use rt_scenario::Model;
use rt_trace::{StepFacts, Trace};
use serde::{Deserialize, Serialize};

use super::bridges::{BridgeKind, Bridges, Built};
use crate::{Refusal, StepOutcome, World};

/// All that a run needs besides its inputs; the document at the beginning of `inputs.bin`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Document {
    /// Who wrote it.
    pub(crate) program: String,
    pub(crate) seed: u64,
    /// The virtual time at which the clocks in and outside were joined.
    pub(crate) anchor: Time,
    /// The machines given away before that.
    pub(crate) given: Vec<NodeId>,
    /// Its bridges to the world outside.
    #[serde(default)]
    pub(crate) bridges: Vec<Built>,
    /// Whether the inputs are those of another world.
    #[serde(default)]
    pub(crate) what_if: bool,
    /// The world, with its civil time moved to that of the run.
    pub(crate) model: Model,
}

/// A program that was begun.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) node: NodeId,
    pub(crate) text: String,
    pub(crate) begin: Time,
    /// When it ended, its exit code, and how late its frames were.
    pub(crate) end: Option<(Time, i32, Lateness)>,
}

/// A world with real programs in it.
pub(crate) struct Session {
    world: World,
    steps: usize,
    /// What programs outside did through a published port: steps after those of the scenario.
    published: Vec<StepFacts>,
    programs: Vec<Program>,
    bridges: Bridges,
    /// See [`Document::what_if`].
    what_if: bool,
    /// Everything up to here has happened.
    at: Time,
}

/// The time that passes between two looks at what left the world.
const SLICE: Nanos = Nanos::from_millis(20);
/// What was under way when the last program ended goes on for so long: whoever waits for the end of a program waits for this,
/// and a program that was killed leaves connections that end by nothing but their own patience.
const LINGER: Nanos = Nanos::from_secs(30);

impl Session {
    /// Boots the world and gives the machines away.
    pub(crate) fn new(document: &Document, recorders: Vec<Box<dyn Recorder>>) -> Session {
        Session::of_world(document, World::with_recorders(&document.model, document.seed, recorders))
    }

    /// The same, of which nothing is recorded.
    pub(crate) fn unrecorded(document: &Document) -> Session {
        Session::of_world(document, World::unrecorded(&document.model, document.seed))
    }

    fn of_world(document: &Document, world: World) -> Session {
        let (steps, programs, bridges) = (document.model.steps.len(), Vec::new(), Bridges::default());
        let (published, what_if, at) = (Vec::new(), document.what_if, Time::ZERO);
        let mut session = Session { world, steps, published, programs, bridges, what_if, at };
        session.world.boot();
        session.at = session.world.now();
        session
    }

    /// The world, before anybody has been given away.
    pub(crate) fn world(&mut self) -> &mut World {
        &mut self.world
    }

    /// Builds the bridges, gives the machines away and joins the clocks.
    ///
    /// # Errors
    /// [`Refusal::Misuse`] when a bridge cannot be built.
    pub(crate) fn join_clocks(&mut self, document: &Document) -> Result<(), Refusal> {
        let first = u32::try_from(self.steps).unwrap_or(u32::MAX);
        self.bridges = Bridges::build(&mut self.world, &document.bridges, first)?;
        let published = document.bridges.iter().filter(|b| b.kind == BridgeKind::Publish);
        let facts = |b: &Built| StepFacts { node: b.door, text: b.name(), origin: ORIGIN.to_owned() };
        self.published = published.map(facts).collect();
        for node in &document.given {
            self.world.give_away(*node, document.anchor);
        }
        self.at = self.at.max(document.anchor);
        self.world.begin_steps_at(self.at);
        self.bridges.begin(&mut self.world, self.at);
        self.world.pass(self.at);
        Ok(())
    }

    /// Takes what leaves the world over bridges: bridge, connection, what.
    pub(crate) fn take_carried(&mut self, each: impl FnMut(u16, u32, Carried)) {
        self.bridges.take(each);
    }

    /// Whether a machine carries a bridge: then no program can play it.
    pub(crate) fn has_bridge(&self, node: NodeId) -> bool {
        self.bridges.need(node)
    }

    /// Everything up to here has happened.
    pub(crate) fn at(&self) -> Time {
        self.at
    }

    /// The programs begun so far.
    pub(crate) fn programs(&self) -> &[Program] {
        &self.programs
    }

    /// When something happens next without an input.
    pub(crate) fn next_time(&mut self) -> Option<Time> {
        self.world.sim().next_time()
    }

    /// Whether frames are on their way.
    pub(crate) fn is_moving(&mut self) -> bool {
        self.world.sim().stats().in_flight > 0
    }

    /// Lets the world go on to `until` or a little less, so that what left it can be taken; whether `until` was reached.
    pub(crate) fn pass(&mut self, until: Time) -> bool {
        // What happens next may be far away: nothing leaves before it.
        let next = self.next_time().unwrap_or(until).max(self.at) + SLICE;
        self.at = self.at.max(next.min(until));
        self.world.pass(self.at);
        self.at >= until
    }

    /// Moves what has left the world for `node` into `into`.
    pub(crate) fn take_outward(&mut self, node: NodeId, into: &mut Vec<Outward>) {
        if let Some(host) = self.world.host(node) {
            host.take_outward(into);
        }
    }

    /// Applies what came. Everything up to its time must have happened.
    ///
    /// # Errors
    /// A sentence, for an input that makes no sense: it was not recorded of this world.
    pub(crate) fn apply(&mut self, stamped: Stamped) -> Result<(), String> {
        let Stamped { at, input } = stamped;
        match input {
            Input::Frame { node, port, bytes } => {
                self.played(node)?;
                self.world.sim().inject(at, node, port, bytes);
            }
            Input::Begin { node, program, text } => {
                self.played(node)?;
                if program as usize != self.programs.len() {
                    return Err(format!("program {program} begins out of turn"));
                }
                let record = AppRecord::StepBegin { step: self.step(program), text: text.clone() };
                self.world.sim().say(at, node, record);
                self.programs.push(Program { node, text, begin: at, end: None });
            }
            Input::End { program, code, late } => self.end(at, program, code, late)?,
            Input::Secret { node, line } => {
                self.played(node)?;
                self.world.sim().say(at, node, AppRecord::Secret { line });
            }
            Input::Give { node } => {
                if self.world.host(node).is_none() {
                    return Err(format!("there is no machine {}", node.0));
                }
                if self.bridges.need(node) {
                    return Err(format!("machine {} carries a bridge", node.0));
                }
                self.world.give_away(node, at);
            }
            Input::Bridge { bridge, connection, carried } => {
                self.bridges.push(&mut self.world, at, (bridge, connection, carried))?;
            }
            Input::Stop => self.bridges.end(&mut self.world, at),
        }
        Ok(())
    }

    fn end(&mut self, at: Time, program: u32, code: i32, late: Lateness) -> Result<(), String> {
        let step = self.step(program);
        let open = self.programs.get_mut(program as usize).filter(|p| p.end.is_none());
        let Some(open) = open else { return Err(format!("program {program} ends and never began")) };
        open.end = Some((at, code, late));
        let node = open.node;
        let figures = figures(late);
        let summary = summary(code, self.what_if);
        let sim = self.world.sim();
        if !figures.is_empty() {
            sim.say(at, node, AppRecord::StepFigures { step, figures });
        }
        sim.say(at, node, AppRecord::StepEnd { step, ok: code == 0, summary });
        Ok(())
    }

    /// A program's step number: after those of the scenario and of published ports.
    fn step(&self, program: u32) -> u32 {
        u32::try_from(self.steps + self.published.len()).unwrap_or(u32::MAX).saturating_add(program)
    }

    fn played(&mut self, node: NodeId) -> Result<(), String> {
        match self.world.host(node) {
            Some(host) if host.is_given_away() => Ok(()),
            _ => Err(format!("machine {} was never given to a program", node.0)),
        }
    }

    /// The world at `until`, or at its end.
    pub(crate) fn into_world(mut self, until: Option<Time>) -> World {
        match until {
            Some(until) => while !self.pass(until) {},
            None => self.world.come_to_rest_within(LINGER),
        }
        self.world
    }

    /// Lets the rest of the world come to its end in virtual time.
    pub(crate) fn finish(mut self) -> Finished {
        self.world.come_to_rest_within(LINGER);
        let model = self.world.model().clone();
        let mut outcomes = self.world.outcomes().to_vec();
        let mut trace = self.world.into_trace();
        let published = self.published.len();
        for (step, facts) in (self.steps..).zip(self.published) {
            outcomes.extend(outcome_of(&trace, step));
            trace.map.steps.push(facts);
        }
        for (index, program) in self.programs.iter().enumerate() {
            let end = program.end.map_or(trace.end(), |(at, ..)| at);
            outcomes.push(StepOutcome {
                step: self.steps + published + index,
                ok: program.end.is_some_and(|(_, code, _)| code == 0),
                summary: program
                    .end
                    .map_or_else(|| "the run ended first".into(), |(_, code, _)| summary(code, self.what_if)),
                begin: program.begin,
                end,
                lines: Vec::new(),
            });
            let (node, text, origin) = (program.node, program.text.clone(), ORIGIN.to_owned());
            trace.map.steps.push(StepFacts { node, text, origin });
        }
        Finished { model, trace, outcomes }
    }
}

/// Where steps come from that no file has.
const ORIGIN: &str = "the command line";

/// How a step ended that is known only by what was said of it; `None` when it never began.
fn outcome_of(trace: &Trace, step: usize) -> Option<StepOutcome> {
    let is_it = |said: u32| usize::try_from(said) == Ok(step);
    let begin = trace.said().find_map(|(event, record)| match record {
        AppRecord::StepBegin { step, .. } if is_it(*step) => Some(event.at),
        _ => None,
    })?;
    let end = trace.said().find_map(|(event, record)| match record {
        AppRecord::StepEnd { step, ok, summary } if is_it(*step) => Some((event.at, *ok, summary.clone())),
        _ => None,
    });
    let (end, ok, summary) = end.unwrap_or_else(|| (trace.end(), false, "the run ended first".into()));
    Some(StepOutcome { step, ok, summary, begin, end, lines: Vec::new() })
}

/// What is left of a session.
pub(crate) struct Finished {
    pub(crate) model: Model,
    pub(crate) trace: Trace,
    pub(crate) outcomes: Vec<StepOutcome>,
}

fn summary(code: i32, what_if: bool) -> String {
    let summary = match code {
        0 => "exit code 0".into(),
        129..=192 => format!("ended by signal {}", code - 128),
        code => format!("exit code {code}"),
    };
    // What it would have been here, nobody knows.
    if what_if { summary + " in the recorded run" } else { summary }
}

/// How late frames were, as the story has it.
fn figures(late: Lateness) -> Vec<Figure> {
    if late.frames == 0 {
        return Vec::new();
    }
    let span = |name, nanos| Figure::span(name, Nanos(nanos));
    vec![
        span("late, half within", late.p50),
        span("late, 99 % within", late.p99),
        span("late, at most", late.max),
    ]
}
