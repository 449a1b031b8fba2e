//! A world that runs: the engine with every node of a model built into it, its steps carried out one after the other.
//!
//! [`World`] is the API for tests: build one from a scenario, carry out steps, look at what came of them, turn it into a
//! trace. It writes no files; that is `output`.

use rt_base::{LinkId, Nanos, NodeId, Recorder, Signal, Time};
use rt_devices::Host;
use rt_rules::Origin;
use rt_scenario::model::{Change, Happening, Model, Step, Verb};
use rt_sim::{LinkChange, Sim, StopReason};
use rt_trace::{StoreLimits, Trace, TraceRecorder};

use crate::Run;
use crate::build::{self, Built};
use crate::facts;
use crate::record::Fan;

/// What came of one step.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct StepOutcome {
    /// Index in the scenario.
    pub step: usize,
    /// Whether it reached its aim.
    pub ok: bool,
    /// One line.
    pub summary: String,
    /// When it began.
    pub begin: Time,
    /// When it ended.
    pub end: Time,
    /// What a person would have seen on the screen.
    pub lines: Vec<String>,
}

/// Somebody who is told how far a run is.
pub type Watch = Box<dyn FnMut(&Progress)>;

/// How far a run is, for those who watch.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Virtual time.
    pub now: Time,
    /// Virtual time at which the run stops at the latest, if told.
    pub until: Option<Time>,
    /// The step under way, from 1.
    pub step: usize,
    /// How many there are.
    pub steps: usize,
    /// The run is over.
    pub finished: bool,
}

impl Progress {
    /// How far, in the unit of [`Progress::length`].
    #[must_use]
    pub fn position(&self) -> u64 {
        self.until.map_or(self.step as u64, |_| self.now.as_millis())
    }

    /// The whole: milliseconds of virtual time when a limit is known, else steps.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.until.map_or(self.steps as u64, Time::as_millis)
    }
}

/// The network may take so long to get its addresses (DHCP's own timeouts end well before).
const READY_LIMIT: Nanos = Nanos::from_secs(180);
/// A step that does not end is ended by this.
const STEP_LIMIT: Nanos = Nanos::from_secs(900);
/// After the last step connections may linger so long.
const LINGER_LIMIT: Nanos = Nanos::from_secs(300);
/// Frames still under way after the last connection closed get so long to arrive.
const DRAIN: Nanos = Nanos::from_secs(2);
/// The watcher is told after so much virtual time at the latest.
const WATCH_EVERY: Nanos = Nanos::from_millis(20);

/// A step that was commanded.
#[derive(Clone, Copy)]
struct Waited {
    index: usize,
    node: NodeId,
    begin: Time,
}

impl Waited {
    fn number(self) -> u32 {
        u32::try_from(self.index).unwrap_or(u32::MAX)
    }
}

/// A network in virtual time. [`World::pass`] and what is around it is for worlds that go on with the time outside.
pub struct World {
    model: Model,
    built: Built,
    recorder: TraceRecorder,
    seed: u64,
    until: Option<Time>,
    watch: Option<Watch>,
    ready: Option<Time>,
    outcomes: Vec<StepOutcome>,
    /// Steps under way for whose end nobody waits.
    background: Vec<Waited>,
    /// The step that is carried out next.
    next: usize,
    /// When the last step ended, from which the next one's wait counts.
    last_end: Time,
    /// The step for whose end [`World::pass`] waits before it begins the next one.
    awaited: Option<usize>,
}

impl World {
    /// The world of a model, everything recorded in memory, switched off.
    #[must_use]
    pub fn of_model(model: &Model, seed: u64) -> World {
        World::with_recorders(model, seed, Vec::new())
    }

    /// The same; `more` listen to the run as well.
    #[must_use]
    pub fn with_recorders(model: &Model, seed: u64, more: Vec<Box<dyn Recorder>>) -> World {
        let mut world = World::build(model, seed, true);
        let mut all: Vec<Box<dyn Recorder>> = more;
        all.push(Box::new(world.recorder.clone()));
        world.built.sim.set_recorder(Box::new(Fan::new(all)));
        world
    }

    /// The same world, of which nothing is recorded: the same happens in it, faster, and its trace is empty.
    #[must_use]
    pub fn unrecorded(model: &Model, seed: u64) -> World {
        World::build(model, seed, false)
    }

    fn build(model: &Model, seed: u64, recording: bool) -> World {
        let recorder = TraceRecorder::new(StoreLimits::default());
        let built = build::build(model, seed, recording);
        World {
            model: model.clone(),
            built,
            recorder,
            seed,
            until: None,
            watch: None,
            ready: None,
            outcomes: Vec::new(),
            background: Vec::new(),
            next: 0,
            last_end: Time::ZERO,
            awaited: None,
        }
    }

    /// Stops at this virtual time at the latest.
    pub fn stop_at(&mut self, until: Option<Time>) {
        self.until = until;
    }

    /// Tells `watch` how far the run is.
    pub fn watch(&mut self, watch: Option<Watch>) {
        self.watch = watch;
    }

    /// The model it was built from, with steps added since.
    #[must_use]
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Virtual time.
    #[must_use]
    pub fn now(&self) -> Time {
        self.built.sim.now()
    }

    /// What came of the steps so far.
    #[must_use]
    pub fn outcomes(&self) -> &[StepOutcome] {
        &self.outcomes
    }

    /// Switches everything on and waits until every machine has its address and every service listens.
    pub fn boot(&mut self) {
        if self.ready.is_some() {
            return;
        }
        for happening in &self.model.timeline {
            happen(&mut self.built.sim, happening);
        }
        self.built.sim.boot();
        let hosts = self.hosts(|h| usize::from(h.signals_ready()));
        let mut said = 0;
        let limit = Time::ZERO + READY_LIMIT;
        loop {
            said += self.built.sim.take_signals().iter().filter(|(_, _, s)| *s == Signal::Ready).count();
            if said >= hosts || !self.advance(limit) {
                break;
            }
        }
        self.last_end = self.built.sim.now();
        self.ready = Some(self.built.sim.now());
    }

    /// Carries out the step with this index of the model and waits for its end, unless it runs in the background: then
    /// its outcome says only that it has begun.
    pub fn run_step(&mut self, index: usize) -> StepOutcome {
        self.boot();
        let waited = self.begin_step(index);
        if self.model.steps[index].background {
            let begin = waited.begin;
            self.last_end = begin;
            let summary = "runs in the background".to_owned();
            return StepOutcome { step: index, ok: true, summary, begin, end: begin, lines: Vec::new() };
        }
        let outcome = self.await_step(waited);
        self.last_end = outcome.end;
        outcome
    }

    fn begin_step(&mut self, index: usize) -> Waited {
        let step = &self.model.steps[index];
        let begin = (self.last_end + step.after).max(self.built.sim.now());
        let waited = Waited { index, node: step.node, begin };
        self.built.sim.command(begin, step.node, waited.number());
        self.background.push(waited);
        self.next = index + 1;
        waited
    }

    /// Waits for the end of a step that was commanded.
    fn await_step(&mut self, waited: Waited) -> StepOutcome {
        let repeats = self.model.steps[waited.index].repeat.map_or(Nanos::ZERO, |repeat| repeat.lasts);
        let limit = waited.begin + repeats + STEP_LIMIT;
        loop {
            self.take_ends();
            if let Some(outcome) = self.outcomes.iter().find(|o| o.step == waited.index) {
                return outcome.clone();
            }
            if !self.advance(limit) {
                let end = self.built.sim.now();
                let summary = format!("not over after {}", end.since(waited.begin));
                self.end_step(waited, (end, false, summary));
            }
        }
    }

    /// Notes the steps that have ended since.
    fn take_ends(&mut self) {
        for (at, _, signal) in self.built.sim.take_signals() {
            let Signal::StepDone { step, ok, summary } = signal else { continue };
            if let Some(waited) = self.background.iter().copied().find(|w| w.number() == step) {
                self.end_step(waited, (at, ok, summary));
            }
        }
    }

    fn end_step(&mut self, waited: Waited, (end, ok, summary): (Time, bool, String)) {
        let Waited { index, node, begin } = waited;
        self.background.retain(|w| w.index != index);
        let result = self.built.sim.node_mut::<Host>(node).and_then(|h| h.step_result(waited.number()));
        let lines = result.map_or_else(Vec::new, |r| r.lines);
        let at = self.outcomes.partition_point(|o| o.step < index);
        self.outcomes.insert(at, StepOutcome { step: index, ok, summary, begin, end, lines });
    }

    /// Adds a step and carries it out.
    pub fn step(&mut self, step: Step) -> StepOutcome {
        let index = self.model.steps.len();
        let machine = self.model.nodes[step.node.index()].name.as_str();
        self.built.install_step(index, machine, &step);
        self.model.steps.push(step);
        self.run_step(index)
    }

    /// `machine` opens a page in its browser.
    ///
    /// # Panics
    /// This and the next ones: when there is no such machine. A test that names one is wrong.
    pub fn open(&mut self, machine: &str, url: &str) -> StepOutcome {
        self.act(machine, format!("opens {url}"), Verb::Open { url: url.into() })
    }

    /// `machine` posts JSON.
    pub fn post(&mut self, machine: &str, url: &str, json: &str) -> StepOutcome {
        self.act(machine, format!("posts to {url}"), Verb::Post { url: url.into(), json: json.into() })
    }

    /// `machine` pings `target` so many times.
    pub fn ping(&mut self, machine: &str, target: &str, count: u32) -> StepOutcome {
        self.act(machine, format!("pings {target}"), Verb::Ping { target: target.into(), count })
    }

    /// `machine` looks a name up.
    pub fn lookup(&mut self, machine: &str, name: &str, rtype: &str) -> StepOutcome {
        self.act(machine, format!("looks up {name}"), Verb::Lookup { name: name.into(), rtype: rtype.into() })
    }

    /// `machine` connects to a TCP port and hangs up.
    pub fn connect(&mut self, machine: &str, target: &str, port: u16) -> StepOutcome {
        self.act(machine, format!("connects to {target}:{port}"), Verb::Probe { target: target.into(), port })
    }

    /// `node`, which has a step in the model it was built from, does `work`, and the world comes to rest: what `can` sends.
    pub(crate) fn carry_out(&mut self, node: NodeId, text: &str, work: rt_apps::StepFn) -> StepOutcome {
        self.boot();
        let index = self.model.steps.len();
        self.model.steps.push(step_at(
            node,
            text.to_owned(),
            Verb::Ping { target: String::new(), count: 0 },
            "can",
        ));
        let number = u32::try_from(index).unwrap_or(u32::MAX);
        if let Some(runtime) = self.built.sim.node_mut::<Host>(node).and_then(Host::runtime) {
            runtime.set_step(number, text, work);
        }
        let outcome = self.run_step(index);
        self.come_to_rest();
        outcome
    }

    /// Changes the network now.
    pub(crate) fn happen_now(&mut self, change: &Change) {
        let origin = Origin::Resource { address: "can".into() };
        let happening = Happening { at: self.built.sim.now(), change: change.clone(), origin };
        happen(&mut self.built.sim, &happening);
    }

    /// What was recorded since the last time, without the facts about the world.
    pub(crate) fn take_trace(&mut self) -> Trace {
        self.recorder.clone().into_trace(rt_trace::TraceMap::default())
    }

    /// Every machine forgets its flows and NAT mappings, as if nothing had been sent yet.
    pub(crate) fn forget_flows(&mut self) {
        for (index, node) in self.model.nodes.iter().enumerate() {
            if node.chains.is_empty() && node.nat.is_empty() {
                continue;
            }
            let id = NodeId(u32::try_from(index).unwrap_or(u32::MAX));
            if let Some(host) = self.built.sim.node_mut::<Host>(id) {
                host.with_stack(|stack| stack.begin_rules_anew(node.chains.clone(), node.nat.clone()));
            }
        }
    }

    fn act(&mut self, machine: &str, does: String, verb: Verb) -> StepOutcome {
        let node = facts::node_named(&self.model, machine)
            .unwrap_or_else(|| panic!("no machine is called {machine}"));
        self.step(step_at(node, format!("{machine} {does}"), verb, "code"))
    }

    /// Lets connections come to their end and tells the story of everything so far.
    #[must_use]
    pub fn finish(mut self) -> Run {
        self.come_to_rest();
        Run::of_world(self)
    }

    /// Carries out all steps of the model that were not carried out yet, then lets connections come to their end.
    pub fn run_all_steps(&mut self) -> Vec<StepOutcome> {
        self.boot();
        for index in self.next..self.model.steps.len() {
            if self.until.is_some_and(|until| self.built.sim.now() >= until) {
                break;
            }
            self.run_step(index);
        }
        while let Some(waited) = self.background.first().copied() {
            self.await_step(waited);
        }
        self.come_to_rest();
        self.outcomes.clone()
    }

    /// Carries the run out up to `until`; where it ends sooner, the world goes on by itself up to then. Without a time it
    /// is carried out to its end.
    pub fn run_to(&mut self, until: Option<Time>) {
        self.stop_at(until);
        self.run_all_steps();
        let Some(until) = until else { return };
        while self.built.sim.now() < until && self.built.sim.run_until(until) == StopReason::Signals {
            self.built.sim.take_signals();
        }
    }

    /// Runs until no machine has an open connection and the last frames have arrived.
    pub fn come_to_rest(&mut self) {
        self.come_to_rest_within(LINGER_LIMIT);
    }

    /// The same with a limit of one's own.
    pub(crate) fn come_to_rest_within(&mut self, limit: Nanos) {
        let limit = self.built.sim.now() + limit;
        // Mostly the machine that had an open connection still has it: the others need not be asked.
        let mut first = 0;
        while let Some(open) = self.find_open(first)
            && self.advance(limit)
        {
            self.built.sim.take_signals();
            first = open;
        }
        let drained = self.built.sim.now() + DRAIN;
        while self.advance(drained) {
            self.built.sim.take_signals();
        }
        self.tell(true);
    }

    /// TCP connections that are neither closed nor in TIME-WAIT.
    pub fn open_connections(&mut self) -> usize {
        self.hosts(|h| h.open_connections())
    }

    /// A machine with an open connection, looked for from this one on, all around.
    fn find_open(&mut self, first: usize) -> Option<usize> {
        let nodes = self.model.nodes.len();
        let sim = &mut self.built.sim;
        (0..nodes).map(|n| (first + n) % nodes).find(|&n| {
            let node = NodeId(u32::try_from(n).unwrap_or(u32::MAX));
            sim.node_mut::<Host>(node).is_some_and(|host| host.open_connections() > 0)
        })
    }

    /// The sum of something over all machines.
    fn hosts(&mut self, count: impl Fn(&Host) -> usize) -> usize {
        let nodes = (0..self.model.nodes.len()).filter_map(|i| u32::try_from(i).ok());
        nodes.filter_map(|i| self.built.sim.node_mut::<Host>(NodeId(i)).map(|h| count(h))).sum()
    }

    /// Whether every frame that was sent (or copied by a link) was delivered, dropped with a reason, or is on its way.
    #[must_use]
    pub fn conserves_frames(&self) -> bool {
        self.built.sim.stats().holds()
    }

    /// Everything that was recorded.
    #[must_use]
    pub fn into_trace(self) -> Trace {
        drop(self.built);
        self.recorder.into_trace(facts::facts(&self.model, self.seed))
    }

    /// Runs until a node signals or some virtual time has passed; false at `limit`, at the run's own limit, or when
    /// nothing will ever happen again.
    fn advance(&mut self, limit: Time) -> bool {
        let limit = limit.min(self.until.unwrap_or(Time::MAX));
        if self.built.sim.now() >= limit {
            return false;
        }
        let slice = (self.built.sim.now() + WATCH_EVERY).min(limit);
        let reason = self.built.sim.run_until(slice);
        self.tell(false);
        reason != StopReason::Idle
    }

    fn tell(&mut self, finished: bool) {
        let (now, until, steps) = (self.built.sim.now(), self.until, self.model.steps.len());
        let step = (self.outcomes.len() + 1).min(steps);
        if let Some(watch) = &mut self.watch {
            watch(&Progress { now, until, step, steps, finished });
        }
    }
}

/// Worlds that go on with the time outside, some machines of which real programs play.
impl World {
    /// The engine.
    pub(crate) fn sim(&mut self) -> &mut Sim {
        &mut self.built.sim
    }

    /// The certificate authority that everybody in it trusts, in PEM.
    pub(crate) fn root_certificate(&self) -> Option<String> {
        self.built.root_pem.clone()
    }

    /// The same with those that this machine's browser trusts: what a real program on it is to trust.
    pub(crate) fn certificates_of(&self, node: &rt_scenario::model::Node) -> Option<String> {
        let own = self.built.private.trusted(node).map(rt_apps::tls::PrivateCa::root_pem);
        Some(self.built.root_pem.as_deref().into_iter().chain(own).collect())
            .filter(|pem: &String| !pem.is_empty())
    }

    /// A machine; `None` for a switch and for what does not exist.
    pub(crate) fn host(&mut self, node: NodeId) -> Option<&mut Host> {
        self.built.sim.node_mut(node)
    }

    /// Gives a machine to a real program at `at`, up to which everything has happened. Its own steps are not carried out
    /// from now on, and one that is under way ends.
    pub(crate) fn give_away(&mut self, node: NodeId, at: Time) {
        if let Some(host) = self.host(node) {
            host.give_away();
        }
        let cut: Vec<Waited> = self.background.iter().copied().filter(|w| w.node == node).collect();
        for waited in cut {
            self.end_step(waited, (at, false, "a real program took the machine over".to_owned()));
        }
    }

    /// The first step begins at `at` at the earliest.
    pub(crate) fn begin_steps_at(&mut self, at: Time) {
        self.last_end = self.last_end.max(at);
    }

    /// Goes on until everything up to `until` has happened; steps begin and end on the way as [`World::run_all_steps`]
    /// has them.
    pub(crate) fn pass(&mut self, until: Time) {
        loop {
            self.take_ends();
            self.begin_next_steps();
            if self.built.sim.run_until(until) != StopReason::Signals {
                return;
            }
        }
    }

    /// Begins the steps whose turn has come.
    fn begin_next_steps(&mut self) {
        loop {
            if let Some(index) = self.awaited {
                let Some(outcome) = self.outcomes.iter().find(|o| o.step == index) else { return };
                self.last_end = self.last_end.max(outcome.end);
                self.awaited = None;
            }
            let Some(step) = self.model.steps.get(self.next) else { return };
            let (node, background) = (step.node, step.background);
            if self.host(node).is_none_or(|h| h.is_given_away()) {
                self.next += 1;
                continue;
            }
            let index = self.next;
            let waited = self.begin_step(index);
            if background {
                self.last_end = waited.begin;
            } else {
                self.awaited = Some(index);
            }
        }
    }
}

/// A step that begins at once, with nothing pinned.
pub(crate) fn step_at(node: NodeId, text: String, verb: Verb, origin: &str) -> Step {
    let origin = Origin::Resource { address: origin.into() };
    let (after, source_port, isn, background, ecn) = (Nanos::ZERO, None, None, false, None);
    let (fields, repeat) = (Vec::new(), None);
    Step { text, node, verb, after, source_port, isn, background, ecn, fields, repeat, origin }
}

/// Puts an entry of the timeline into the engine's queue.
fn happen(sim: &mut Sim, happening: &Happening) {
    let (link, change) = match happening.change {
        Change::Cut { link } => (link, LinkChange::Cut),
        Change::Heal { link } => (link, LinkChange::Heal),
        Change::Impair { link, loss_ppm, delay, rate_bps } => {
            (link, LinkChange::Impair { loss_ppm, delay, rate_bps })
        }
        // Balancers and caches know their appointments themselves.
        Change::Drain { .. } | Change::Purge { .. } => return,
        Change::Rebind { node, keep_ports } => return sim.rebind(happening.at, node, !keep_ports),
    };
    sim.change_link(happening.at, LinkId(u32::try_from(link).unwrap_or(u32::MAX)), change);
}
