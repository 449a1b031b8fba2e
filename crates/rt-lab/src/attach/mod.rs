//! Real programs on simulated machines: `exec` runs them, `replay` makes such a run again without them.
//!
//! A machine is booted in virtual time as in any run, so that it has its lease; then it is given away to a guest of
//! `rt-attach`, virtual time is joined to the clock on the wall, and every frame that the guest sends is stamped, kept in
//! `inputs.bin` and injected. A run is a pure function of the world, the seed and those inputs.
//!
//! Deliberate simplifications. The civil time of an attached run is the real one, so certificates of the scenario move with
//! it. Its expectations are not judged: the program's exit code is the answer. What was under way when the last program
//! ended goes on in virtual time, and nobody on a machine that was played answers any more.

mod bridges;
mod guest;
mod keys;
mod lateness;
mod pace;
mod real;
mod replay;
mod session;
#[cfg(test)]
mod tests;
mod up;

use std::ffi::OsString;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use rt_attach::{Guest, Interrupts, WallClock, launch};
use rt_base::{NodeId, Time};
use rt_files::inputs::{InputWriter, Lateness};
use rt_scenario::Model;
use serde_json::{Value, json};

use crate::output::{self, Folder};
use crate::printable;
use crate::{Comments, Refusal, Run, Scenario};
use keys::KeyLog;
use pace::{Outside, Pacer};
use real::{Real, Running};
use session::{Document, Finished, Session};

pub(crate) use bridges::CA_FILE;
pub use bridges::{BridgeCall, BridgeKind};
pub use guest::AttachOptions;
pub(crate) use keys::is_key_log;
pub use replay::{ReplayOptions, Replayed, replay};
pub(crate) use replay::{trace_of_inputs, world_of_inputs};
pub use up::{UpOptions, WhenUp, join};

/// The file of recorded inputs in a run's folder.
pub(crate) const INPUTS_FILE: &str = "inputs.bin";
/// Frames that were later than this are not what the scenario describes any more.
const TOO_LATE_NS: u64 = 10_000_000;
/// Fewer of them are not worth a word.
const MANY_FRAMES: u64 = 20;

/// A program to be run on a machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProgramCall {
    /// The machine's name.
    pub node: String,
    /// Program and arguments.
    pub command: Vec<OsString>,
}

impl ProgramCall {
    /// `laptop runs curl -v https://google.com/`.
    #[must_use]
    pub fn text(&self) -> String {
        let words: Vec<_> = self.command.iter().map(|w| w.to_string_lossy()).collect();
        format!("{} runs {}", self.node, words.join(" "))
    }
}

/// How to run real programs.
pub struct ExecOptions {
    /// Chooses all random things of the simulation.
    pub seed: u64,
    /// Where to write.
    pub out: PathBuf,
    /// What to run and where.
    pub programs: Vec<ProgramCall>,
    /// Whether the programs that the scenario names may run as well. Those of [`ExecOptions::programs`] go before them.
    pub allow_exec: bool,
    /// Ports of this computer that are bridges into the world.
    pub bridges: Vec<BridgeCall>,
    /// How they are attached.
    pub attach: AttachOptions,
    /// Which packets get a comment in the captures.
    pub comments: Comments,
    /// What is kept of the run.
    pub record: Record,
    /// Told how bridges are used, before the programs are at work.
    pub ready: fn(&[String]),
}

/// What is kept of a run with real programs. Less is faster: what is not kept is not even made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Record {
    /// Captures, events and the story.
    #[default]
    All,
    /// What came from outside: a replay makes all the rest.
    Inputs,
    /// Nothing.
    Nothing,
}

/// What came of real programs.
pub struct Executed {
    /// The run with its story, if all of it was to be kept.
    pub run: Option<Run>,
    /// The exit code of each program, in the order of the call: 128 + n when signal n ended it.
    pub codes: Vec<i32>,
    /// What is worth knowing about how they were attached.
    pub notes: Vec<String>,
    /// What went wrong with the timing, if anything.
    pub warnings: Vec<String>,
}

impl Scenario {
    /// The real programs that the scenario names (`exec:`).
    #[must_use]
    pub fn programs(&self) -> Vec<ProgramCall> {
        let named = self.model().nodes.iter().filter(|n| !n.exec.is_empty());
        let call = |n: &rt_scenario::model::Node| ProgramCall {
            node: n.name.clone(),
            command: n.exec.iter().map(OsString::from).collect(),
        };
        named.map(call).collect()
    }

    /// Those of [`Scenario::programs`] that run beside `others`, if they may.
    fn allowed_programs(&self, others: &[ProgramCall], allow: bool) -> Result<Vec<ProgramCall>, Refusal> {
        let node = |call: &ProgramCall| crate::facts::node_named(self.model(), &call.node);
        let mut own = self.programs();
        own.retain(|call| !others.iter().any(|other| node(other) == node(call)));
        if own.is_empty() || allow {
            return Ok(own);
        }
        let list: Vec<String> = own.iter().map(|c| format!("  {}", printable(&c.text()))).collect();
        let why = format!(
            "this scenario names real programs, and a file starts none by itself; allow them with --allow-exec:\n{}",
            list.join("\n")
        );
        Err(Refusal::Misuse { why })
    }

    /// Runs real programs on machines of this scenario, in real time, and tells the story of what they did.
    ///
    /// # Errors
    /// [`Refusal::Attach`] when this system does not allow it or a program cannot be started, [`Refusal::Unknown`] for a
    /// machine that does not exist, [`Refusal::Io`] when a file cannot be written.
    pub fn exec(&self, options: &ExecOptions) -> Result<Executed, Refusal> {
        let mut programs = self.allowed_programs(&options.programs, options.allow_exec)?;
        let own = programs.len();
        programs.extend(options.programs.iter().cloned());
        let document = document(self.model(), options.seed, &programs)?;
        for call in &programs {
            guest::is_there(&call.command)?;
        }
        let loopback = bridges::open(&options.bridges)?;
        let (folder, _lock) = match options.record {
            Record::All => (Some(Folder::open(&options.out, &document.model)?), None),
            _ => (None, Some(output::clear(&options.out)?)),
        };
        let mut session = match &folder {
            Some(folder) => Session::new(&document, vec![folder.recorder()]),
            None => Session::unrecorded(&document),
        };
        let bridges = plan_bridges(&mut session, &document.given, &options.bridges)?;
        if bridges.iter().any(|b| b.kind == BridgeKind::Publish) {
            bridges::keep_authority(&mut session, &options.out)?;
        }
        (options.ready)(&bridges::lines(session.world(), (&options.bridges, &bridges), &options.out));
        let mut interrupts = Interrupts::catch().ok();
        let mut running = Vec::new();
        for (index, (call, node)) in programs.iter().zip(&document.given).enumerate() {
            let started = start(&mut session, *node, call, (&options.out, options.attach))?;
            running.push(if index < own { started.beside() } else { started });
        }
        let notes = notes(&running);
        let clock = WallClock::start();
        let anchor = anchor(&clock, &document.model).max(session.at());
        let document = Document { anchor, bridges, ..document };
        let mut real = Real::new(clock, document.anchor, running);
        real.carry_over(loopback);
        if let Some(interrupts) = interrupts.take() {
            real.hear(interrupts);
        }
        let keep = (options.record != Record::Nothing).then_some(&*options.out);
        pace(&document, &mut session, &mut real, keep)?;
        let codes = real.running().iter().skip(own).map(|r| r.code().unwrap_or(2)).collect();
        let (late, mut odd) = (real.lateness(), real.ended_early());
        odd.extend(warnings(late, real.too_late()));
        odd.extend(removed_cards(real.running(), &document.model));
        // Until the story is written, nobody may end this by accident.
        let _interrupts = real.close();
        let attached = Some(describe(session.programs(), late, &document.model));
        let run = folder
            .map(|folder| conclude(session.finish(), folder, &options.out, (options.comments, attached)))
            .transpose()?;
        Ok(Executed { run, codes, notes, warnings: odd })
    }
}

/// Joins the clocks and lets the world and what is outside go on together until that is over; keeps what came in the folder
/// `keep`.
fn pace(
    document: &Document,
    session: &mut Session,
    outside: &mut dyn Outside,
    keep: Option<&Path>,
) -> Result<(), Refusal> {
    let mut log = keep.map(|out| keep_inputs(out, document)).transpose()?;
    session.join_clocks(document)?;
    let paced = Pacer::new(document.given.clone(), log.as_mut()).run(session, outside);
    // Whatever went wrong, what came until then is kept.
    let kept = match (log, keep) {
        (Some(log), Some(out)) => {
            log.finish().map(drop).map_err(|e| Refusal::io("write", &out.join(INPUTS_FILE), e))
        }
        _ => Ok(()),
    };
    paced.and(kept)
}

/// The world that is to be run: civil time is the real one, and the machines that are given away have no steps.
fn document(model: &Model, seed: u64, programs: &[ProgramCall]) -> Result<Document, Refusal> {
    let mut given = Vec::new();
    for call in programs {
        let node = guest::playable(model, &call.node)?;
        if given.contains(&node) {
            let why = format!("{} is played by one program; a shell can run several", call.node);
            return Err(Refusal::Misuse { why });
        }
        given.push(node);
    }
    let mut model = model.clone();
    model.steps.retain(|step| !given.contains(&step.node));
    model.expect.clear();
    // How long the boot takes in virtual time is known only afterwards, and what boots needs the civil time.
    let mut rehearsal = crate::World::of_model(&model, seed);
    rehearsal.boot();
    let now = WallClock::start().epoch().0 / 1_000_000_000;
    set_civil_time(&mut model, now.saturating_sub(rehearsal.now().0 / 1_000_000_000 + 1));
    let program = crate::APPLICATION.to_owned();
    Ok(Document { program, seed, anchor: Time::ZERO, given, bridges: Vec::new(), what_if: false, model })
}

/// Moves civil time at virtual time zero, and every date that was chosen by it.
fn set_civil_time(model: &mut Model, epoch: u64) {
    let old = model.epoch;
    let moved = |date: u64| date.saturating_add(epoch).saturating_sub(old);
    for certificate in &mut model.certificates {
        certificate.not_before = moved(certificate.not_before);
        certificate.not_after = moved(certificate.not_after);
    }
    model.epoch = epoch;
}

/// Virtual time when the clock on the wall started.
fn anchor(clock: &WallClock, model: &Model) -> Time {
    Time(clock.epoch().0.saturating_sub(model.epoch.saturating_mul(1_000_000_000)))
}

fn start(
    session: &mut Session,
    node: NodeId,
    call: &ProgramCall,
    (out, attach): (&Path, AttachOptions),
) -> Result<Running, Refusal> {
    let name = session.world().model().nodes[node.index()].name.clone();
    let keys = out.join(keys::file_name(&name));
    let keys = KeyLog::make(&keys).map_err(|e| Refusal::io("make", &keys, e))?;
    let mut planned = guest::plan(session.world(), node, call.command.clone(), attach)?;
    planned.plan.env.push(("SSLKEYLOGFILE".into(), keys.path().into()));
    let guest: Guest = launch(&planned.plan).map_err(Refusal::Attach)?;
    let mut running = Running::new(node, call.text(), guest, planned.ports);
    running.keys = Some(keys);
    Ok(running)
}

fn notes(running: &[Running]) -> Vec<String> {
    let mut notes = Vec::new();
    for running in running {
        let kinds = running.guest.devices.iter().map(|d| format!("{:?}", d.kind()).to_lowercase());
        let kinds: Vec<String> = kinds.collect();
        notes.push(format!("{}: {}", running.text, kinds.join(", ")));
        notes.extend(running.guest.notes.iter().cloned());
    }
    notes
}

/// Where the bridges end, in a world that has booted.
fn plan_bridges(
    session: &mut Session,
    given: &[NodeId],
    calls: &[BridgeCall],
) -> Result<Vec<bridges::Built>, Refusal> {
    calls.iter().map(|call| bridges::plan(session.world(), given, call)).collect()
}

type Log = InputWriter<BufWriter<File>>;

fn keep_inputs(out: &Path, document: &Document) -> Result<Log, Refusal> {
    let path = out.join(INPUTS_FILE);
    let io = |e| Refusal::io("write", &path, e);
    let text = serde_json::to_vec(document).map_err(|e| io(e.into()))?;
    let file = File::create(&path).map_err(io)?;
    let mut log = InputWriter::new(BufWriter::with_capacity(1 << 16, file), &text).map_err(io)?;
    log.flush().map_err(io)?;
    Ok(log)
}

/// Tells the story and writes the folder.
fn conclude(
    finished: Finished,
    folder: Folder,
    out: &Path,
    (comments, attached): (Comments, Option<Value>),
) -> Result<Run, Refusal> {
    let Finished { model, mut trace, outcomes } = finished;
    rt_trace::outside::read(&mut trace);
    let story = rt_trace::story::tell(&trace);
    let told = output::Told {
        model: &model,
        trace: &trace,
        story: &story,
        outcomes: &outcomes,
        checks: &[],
        until: None,
        attached,
    };
    folder.finish(&told, comments)?;
    Ok(Run::of_parts(trace, story, outcomes, Vec::new(), Some(out.to_path_buf())))
}

/// For `run.json`.
fn describe(programs: &[session::Program], late: Lateness, model: &Model) -> Value {
    let one = |p: &session::Program| {
        let node = &model.nodes[p.node.index()].name;
        let (end, code) = (p.end.map(|(at, ..)| at.0), p.end.map(|(_, code, _)| code));
        json!({ "node": node, "text": p.text, "begin_ns": p.begin.0, "end_ns": end, "exit_code": code })
    };
    json!({
        "programs": programs.iter().map(one).collect::<Vec<_>>(),
        "late_ns": { "frames": late.frames, "p50": late.p50, "p99": late.p99, "max": late.max },
    })
}

/// Whoever takes a machine's network card away leaves a program that talks to nobody.
fn removed_cards(running: &[Running], model: &Model) -> Vec<String> {
    let one = |running: &Running, port: rt_base::PortId| {
        let machine = &model.nodes[running.node.index()];
        format!(
            "warning: the network card {} of {} is gone: something on the machine removed it while the program ran, and \
             nothing came or went there from then on",
            guest::interface_name(&machine.interfaces[port.index()].name, port.index()),
            machine.name
        )
    };
    running.iter().flat_map(|r| r.removed().map(move |port| one(r, port))).collect()
}

/// `too_late` frames were more than [`TOO_LATE_NS`] late; a few are of this computer's moods and change nothing.
fn warnings(late: Lateness, too_late: u64) -> Vec<String> {
    if late.p99 < TOO_LATE_NS || too_late < MANY_FRAMES {
        return Vec::new();
    }
    let ms = |ns: u64| ns as f64 / 1e6;
    vec![format!(
        "warning: this machine could not keep up: {too_late} of {} frames reached the program more than {:.0} ms late, the last of \
         them {:.1} ms (half of all up to {:.1} ms, 99 % up to {:.1} ms), so what it measured is slower than the scenario",
        late.frames,
        ms(TOO_LATE_NS),
        ms(late.max),
        ms(late.p50),
        ms(late.p99)
    )]
}
