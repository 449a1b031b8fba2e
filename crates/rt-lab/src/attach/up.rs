//! A world that stays up: whoever knocks at its door (a socket in the run's folder) and names a machine is told where to go,
//! and runs a program there from a terminal of its own.
//!
//! The first visitor of a machine gives it away; until then its own steps and applications are at work. A visitor says one line
//! of JSON, is answered with one, says its program's exit code at the end, and is told when that has been written down.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use rt_attach::{Door, GuestStdio, GuestUser, JoinPlan, Visitor, WallClock, Watch};
use rt_base::NodeId;
use rt_files::inputs::{Input, Lateness};
use serde_json::{Value, json};

use super::real::{Real, Running};
use super::session::{Document, Session};
use super::{
    AttachOptions, BridgeCall, ProgramCall, anchor, bridges, conclude, describe, document, guest, pace,
    plan_bridges, start,
};
use crate::output::Folder;
use crate::{Comments, Refusal, Run, Scenario};

/// The door in a run's folder.
const DOOR: &str = "door";
/// More visitors at once are shown out.
const MOST_VISITORS: usize = 256;
/// The exit code that is noted when a visitor vanishes without one.
const VANISHED: i32 = 129;

/// Hears what there is to say when a world is up.
pub type WhenUp = Box<dyn FnOnce(&[String])>;

/// How to keep a world up.
pub struct UpOptions {
    /// Chooses all random things of the simulation.
    pub seed: u64,
    /// Where to write, and where the door is.
    pub out: PathBuf,
    /// Whether the programs that the scenario names may run.
    pub allow_exec: bool,
    /// Ports of this computer that are bridges into the world.
    pub bridges: Vec<BridgeCall>,
    /// How programs are attached.
    pub attach: AttachOptions,
    /// Called once the world is up, with what there is to say about bridges.
    pub ready: WhenUp,
}

impl Scenario {
    /// Keeps the world running in real time until an interrupt; others can [`join`] meanwhile. Then its story is told.
    ///
    /// # Errors
    /// [`Refusal::Io`] when a file or the door cannot be made.
    pub fn up(&self, options: UpOptions) -> Result<Run, Refusal> {
        let UpOptions { seed, out, allow_exec, bridges: calls, attach, ready } = options;
        let own = self.allowed_programs(&[], allow_exec)?;
        let document = document(self.model(), seed, &own)?;
        let loopback = bridges::open(&calls)?;
        let folder = Folder::open(&out, &document.model)?;
        let mut session = Session::new(&document, vec![folder.recorder()]);
        let bridges = plan_bridges(&mut session, &document.given, &calls)?;
        bridges::keep_authority(&mut session, &out)?;
        let interrupts = rt_attach::Interrupts::catch()
            .map_err(|error| Refusal::Io { doing: "take interrupts".into(), error })?;
        let path = out.join(DOOR);
        let door = Door::open(&path).map_err(|e| Refusal::io("open the door", &path, e))?;
        let mut running = Vec::new();
        for (call, node) in own.iter().zip(&document.given) {
            running.push(start(&mut session, *node, call, (&out, attach))?.beside());
        }
        let begun = u32::try_from(running.len()).unwrap_or(u32::MAX);
        let clock = WallClock::start();
        let lines = bridges::lines(session.world(), (&calls, &bridges), &out);
        let anchor = anchor(&clock, &document.model).max(session.at());
        let document = Document { anchor, bridges, ..document };
        let mut real = Real::new(clock, document.anchor, running);
        real.hear(interrupts);
        real.carry_over(loopback);
        real.stay(Up { door, visiting: Vec::new(), begun, out: out.clone(), attach });
        ready(&lines);
        pace(&document, &mut session, &mut real, Some(&out))?;
        let late = real.lateness();
        // Until the story is written, nobody may end this by accident.
        let _interrupts = real.close();
        let attached = Some(describe(session.programs(), late, &document.model));
        conclude(session.finish(), folder, &out, (Comments::Key, attached))
    }
}

/// The door and who has come in.
pub(crate) struct Up {
    door: Door,
    visiting: Vec<Visiting>,
    /// Programs begun.
    begun: u32,
    out: PathBuf,
    attach: AttachOptions,
}

struct Visiting {
    visitor: Visitor,
    /// Its program's number, once begun.
    program: Option<u32>,
    over: bool,
}

impl Up {
    /// What to wait for.
    pub(crate) fn watched(&self) -> impl Iterator<Item = Watch<'_>> {
        std::iter::once(self.door.watch()).chain(self.visiting.iter().map(|v| v.visitor.watch()))
    }

    /// Lets visitors in and hears what those inside say.
    pub(crate) fn admit(
        &mut self,
        session: &mut Session,
        running: &mut Vec<Running>,
        late: Lateness,
        into: &mut Vec<Input>,
    ) -> Result<(), Refusal> {
        let knock = |error| Refusal::Io { doing: "let visitors in".into(), error };
        while let Some(visitor) = self.door.admit().map_err(knock)? {
            if self.visiting.len() < MOST_VISITORS {
                self.visiting.push(Visiting { visitor, program: None, over: false });
            }
        }
        let mut visiting = std::mem::take(&mut self.visiting);
        for one in &mut visiting {
            self.hear(one, (session, running), late, into);
        }
        visiting.retain(|v| !v.over);
        self.visiting = visiting;
        Ok(())
    }

    /// Hears one visitor. Whoever says nonsense, or cannot be answered, is shown out: it is not this world's trouble.
    fn hear(
        &mut self,
        one: &mut Visiting,
        (session, running): (&mut Session, &mut Vec<Running>),
        late: Lateness,
        into: &mut Vec<Input>,
    ) {
        let line = match one.visitor.line() {
            Ok(Some(line)) => line,
            Ok(None) => return,
            Err(_) => return one.end(VANISHED, late, into),
        };
        let said: Value = serde_json::from_str(&line).unwrap_or_default();
        let answer = match (one.program, said["code"].as_i64(), said["as"].as_str()) {
            (Some(_), Some(code), _) => {
                one.end(i32::try_from(code).unwrap_or(VANISHED), late, into);
                json!({ "noted": true })
            }
            (None, _, Some(name)) => match self.let_in(name, (session, running), into) {
                Ok((node, pid)) => {
                    let text = said["text"].as_str().unwrap_or(name).to_owned();
                    into.push(Input::Begin { node, program: self.begun, text });
                    one.program = Some(self.begun);
                    self.begun += 1;
                    let keys = running.iter().find(|r| r.node == node).and_then(|r| r.keys.as_ref());
                    let keys = keys.map(|k| k.path().display().to_string());
                    json!({ "pid": pid, "keys": keys, "root": self.attach.root })
                }
                Err(refusal) => {
                    one.over = true;
                    json!({ "refused": refusal.to_string() })
                }
            },
            _ => {
                one.end(VANISHED, late, into);
                json!({ "refused": "that is no request" })
            }
        };
        if one.visitor.say(&answer.to_string()).is_err() {
            one.end(VANISHED, late, into);
        }
    }

    /// The machine and the guest on it, which is made for the first visitor.
    fn let_in(
        &self,
        name: &str,
        (session, running): (&mut Session, &mut Vec<Running>),
        into: &mut Vec<Input>,
    ) -> Result<(NodeId, u32), Refusal> {
        let node = guest::playable(session.world().model(), name)?;
        if let Some(there) = running.iter().find(|r| r.node == node) {
            if there.code().is_some() {
                let why = format!("what ran on {name} was killed from outside: start the world again");
                return Err(Refusal::Misuse { why });
            }
            return Ok((node, there.guest.pid()));
        }
        if session.has_bridge(node) {
            let why = format!("{name} carries a published or served port, so no program can play it");
            return Err(Refusal::Misuse { why });
        }
        let call = ProgramCall { node: name.to_owned(), command: Vec::new() };
        let new = start(session, node, &call, (&self.out, self.attach))?.waiting();
        let pid = new.guest.pid();
        running.push(new);
        into.push(Input::Give { node });
        Ok((node, pid))
    }

    /// The world ends, and everybody's program with it.
    pub(crate) fn end_all(&mut self, late: Lateness, into: &mut Vec<Input>) {
        for one in &mut self.visiting {
            one.end(VANISHED, late, into);
        }
        self.visiting.clear();
    }
}

impl Visiting {
    fn end(&mut self, code: i32, late: Lateness, into: &mut Vec<Input>) {
        if let Some(program) = self.program.filter(|_| !self.over) {
            into.push(Input::End { program, code, late });
        }
        self.over = true;
    }
}

/// Runs a program on a machine of the world that is up in `folder`; its exit code.
///
/// # Errors
/// [`Refusal::Misuse`] when no world is up there, or it refuses; [`Refusal::Attach`] when the program cannot be started.
pub fn join(folder: &Path, call: &ProgramCall) -> Result<i32, Refusal> {
    let gone = |error| Refusal::Io { doing: format!("speak with the world in {}", folder.display()), error };
    let mut door = Visitor::knock(&folder.join(DOOR)).map_err(|e| nobody_home(folder, e))?;
    door.say(&json!({ "as": call.node, "text": call.text() }).to_string()).map_err(gone)?;
    let line = door.line().map_err(gone)?.unwrap_or_default();
    let answer: Value = serde_json::from_str(&line).unwrap_or_default();
    if let Some(why) = answer["refused"].as_str() {
        return Err(Refusal::Misuse { why: why.to_owned() });
    }
    let pid = answer["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()).unwrap_or(0);
    let mut env: Vec<(OsString, OsString)> = Vec::new();
    if let Some(keys) = answer["keys"].as_str() {
        env.push(("SSLKEYLOGFILE".into(), keys.into()));
    }
    let user = if answer["root"] == true { GuestUser::Root } else { GuestUser::Caller };
    let stdio = [GuestStdio::Inherit, GuestStdio::Inherit, GuestStdio::Inherit];
    let code = run_there(&JoinPlan { pid, env, command: call.command.clone(), user, stdio });
    let noted = code.as_ref().copied().unwrap_or(VANISHED);
    // The world may have ended first, and the program with it.
    if door.say(&json!({ "code": noted }).to_string()).is_ok() {
        let _ = door.line();
    }
    code
}

/// Why a door stays shut.
fn nobody_home(folder: &Path, error: std::io::Error) -> Refusal {
    let shown = folder.display();
    let why = match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
            format!("no world is up in {shown}: start one with roundtrip up FILE --out {shown}")
        }
        ErrorKind::PermissionDenied => {
            format!("the world in {shown} belongs to another user, and only that user's programs can join it")
        }
        _ => return Refusal::Io { doing: format!("speak with the world in {shown}"), error },
    };
    Refusal::Misuse { why }
}

fn run_there(plan: &JoinPlan) -> Result<i32, Refusal> {
    let mut interrupts = rt_attach::Interrupts::catch().ok();
    let mut guest = rt_attach::join(plan).map_err(Refusal::Attach)?;
    let waiting = |error| Refusal::Io { doing: "wait for the program".into(), error };
    let mut poller = rt_attach::Poller::new();
    loop {
        if let Some(code) = guest.try_wait().map_err(waiting)? {
            return Ok(code);
        }
        let mut watched = vec![guest.watch()];
        watched.extend(interrupts.iter().map(rt_attach::Interrupts::watch));
        poller.wait(&watched, None).map_err(waiting)?;
        if let Some(signal) = interrupts.as_mut().and_then(rt_attach::Interrupts::take)
            && !std::io::IsTerminal::is_terminal(&std::io::stdin())
        {
            // It may have ended meanwhile.
            let _ = guest.signal(signal);
        }
    }
}
