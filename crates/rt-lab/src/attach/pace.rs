//! The loop that joins two times: the world goes on to the time that it is outside, what left it is sent, what came from
//! outside is stamped, kept and applied. A recorded run is the same loop with the recording in place of the world outside.
//!
//! Why the same inputs give the same run: an input is applied when everything up to its stamp has happened and nothing
//! after it, stamps never repeat from one turn to the next, and nothing else from outside touches the world.

use std::collections::BTreeMap;
use std::io::{Read, Write};

use rt_base::{Carried, Nanos, NodeId, Time};
use rt_devices::Outward;
use rt_files::inputs::{Input, InputReader, InputWriter, Stamped};

use crate::Refusal;
use crate::attach::session::Session;

/// The world outside the simulation.
pub(crate) trait Outside {
    /// What virtual time it is now; `None` when nothing more will come.
    fn now(&mut self) -> Result<Option<Time>, Refusal>;

    /// Lets in who stands at the door: needs the world as it is before machines are given away.
    fn admit(&mut self, session: &mut Session, into: &mut Vec<Input>) -> Result<(), Refusal> {
        let _ = (session, into);
        Ok(())
    }

    /// What virtual time it has become since it was `now`. (A recording has only the times of its inputs.)
    fn meanwhile(&mut self, now: Time) -> Time {
        now
    }

    /// Takes what has come, a bounded amount.
    fn take(&mut self, into: &mut Vec<Input>) -> Result<(), Refusal>;

    /// Brings a frame to the program that plays `node`.
    fn send(&mut self, node: NodeId, outward: &Outward) -> Result<(), Refusal>;

    /// Brings what passes a bridge to the real connection.
    fn carry(&mut self, bridge: u16, connection: u32, carried: Carried) {
        let _ = (bridge, connection, carried);
    }

    /// All that leaves the world now has been sent.
    fn flush(&mut self) -> Result<(), Refusal> {
        Ok(())
    }

    /// Waits until something has come or virtual time is `next`, whichever is first.
    fn wait(&mut self, next: Option<Time>) -> Result<(), Refusal>;

    /// Whether the programs are over and only frames on their way are waited for: then it is told of them.
    fn is_ending(&self) -> bool {
        false
    }

    /// Frames are on their way in the world, or not.
    fn hear_of_frames(&mut self, moving: bool) {
        let _ = moving;
    }
}

/// What waits to be written is written so often, in virtual time.
const FLUSH_EVERY: Nanos = Nanos::from_millis(50);

/// More inputs than that in one turn come from no run.
const MOST_AT_ONCE: usize = 1 << 16;

/// The machines that are played, and where inputs are kept.
pub(crate) struct Pacer<'l, W: Write> {
    nodes: Vec<NodeId>,
    log: Option<&'l mut InputWriter<W>>,
    inputs: Vec<Input>,
    outward: Vec<Outward>,
    /// When what came was last written out.
    flushed: Time,
    /// Whether anything came since.
    unwritten: bool,
}

impl<'l, W: Write> Pacer<'l, W> {
    /// `nodes` are given away already.
    pub(crate) fn new(nodes: Vec<NodeId>, log: Option<&'l mut InputWriter<W>>) -> Pacer<'l, W> {
        Pacer { nodes, log, inputs: Vec::new(), outward: Vec::new(), flushed: Time::ZERO, unwritten: false }
    }

    /// Goes on until [`Input::Stop`] comes or nothing more will.
    pub(crate) fn run(&mut self, session: &mut Session, outside: &mut dyn Outside) -> Result<(), Refusal> {
        let mut last = session.at();
        while let Some(now) = outside.now()? {
            let now = now.max(last + Nanos(1));
            last = now;
            self.catch_up(session, outside, now)?;
            outside.admit(session, &mut self.inputs)?;
            outside.take(&mut self.inputs)?;
            let came = !self.inputs.is_empty();
            if self.apply(session, now)? {
                break;
            }
            if came {
                // Answers that are due by now need no wait.
                last = outside.meanwhile(now).max(now);
                self.catch_up(session, outside, last)?;
            }
            if outside.is_ending() {
                outside.hear_of_frames(session.is_moving());
            }
            self.flush(now)?;
            outside.wait(self.wake(session.next_time()))?;
        }
        self.flush(Time::MAX)
    }

    /// Lets the world go on to `now` and sends what left it.
    fn catch_up(
        &mut self,
        session: &mut Session,
        outside: &mut dyn Outside,
        now: Time,
    ) -> Result<(), Refusal> {
        loop {
            let there = session.pass(now);
            for node in &self.nodes {
                session.take_outward(*node, &mut self.outward);
                for outward in self.outward.drain(..) {
                    outside.send(*node, &outward)?;
                }
            }
            session.take_carried(|bridge, connection, carried| outside.carry(bridge, connection, carried));
            if there {
                return outside.flush();
            }
        }
    }

    /// Keeps and applies what came; whether it was the end.
    fn apply(&mut self, session: &mut Session, at: Time) -> Result<bool, Refusal> {
        let mut stop = false;
        for input in self.inputs.drain(..) {
            stop |= input == Input::Stop;
            if let Input::Give { node } = &input {
                self.nodes.push(*node);
            }
            let stamped = Stamped { at, input };
            if let Some(log) = &mut self.log {
                log.push(&stamped).map_err(keeping)?;
                self.unwritten = true;
            }
            session.apply(stamped).map_err(|why| Refusal::Malformed { file: "the inputs".into(), why })?;
        }
        Ok(stop)
    }

    /// The next thing to wake up for: what came last must be on disk soon even if nothing happens after it, so that
    /// a run that is killed keeps it.
    fn wake(&self, next: Option<Time>) -> Option<Time> {
        if !self.unwritten {
            return next;
        }
        let write = self.flushed + FLUSH_EVERY;
        Some(next.map_or(write, |next| next.min(write)))
    }

    fn flush(&mut self, now: Time) -> Result<(), Refusal> {
        let due = self.unwritten && now.since(self.flushed.min(now)) >= FLUSH_EVERY;
        match &mut self.log {
            Some(log) if due => {
                self.flushed = now;
                self.unwritten = false;
                log.flush().map_err(keeping)
            }
            _ => Ok(()),
        }
    }
}

fn keeping(error: std::io::Error) -> Refusal {
    Refusal::Io { doing: "keep what came from outside in inputs.bin".into(), error }
}

/// A recording as the world outside.
pub(crate) struct Recorded<R: Read> {
    reader: InputReader<R>,
    file: String,
    next: Option<Stamped>,
    /// Machines that have other numbers in the world that is run.
    names: BTreeMap<NodeId, NodeId>,
    /// What came later is left out.
    until: Time,
}

impl<R: Read> Recorded<R> {
    /// `file` is named in errors.
    pub(crate) fn new(reader: InputReader<R>, file: String) -> Result<Recorded<R>, Refusal> {
        let mut recorded = Recorded { reader, file, next: None, names: BTreeMap::new(), until: Time::MAX };
        recorded.advance()?;
        Ok(recorded)
    }

    /// Machines have these numbers instead of those recorded.
    pub(crate) fn rename(&mut self, names: BTreeMap<NodeId, NodeId>) {
        self.names = names;
    }

    /// Leaves out what came after `until`.
    pub(crate) fn stop_after(&mut self, until: Time) {
        self.until = until;
    }

    fn renamed(&self, mut input: Input) -> Input {
        match &mut input {
            Input::Frame { node, .. }
            | Input::Begin { node, .. }
            | Input::Secret { node, .. }
            | Input::Give { node } => *node = self.names.get(node).copied().unwrap_or(*node),
            Input::End { .. } | Input::Bridge { .. } | Input::Stop => {}
        }
        input
    }

    /// Whether the recording ends in the middle of something.
    pub(crate) fn truncated(&self) -> bool {
        self.reader.truncated()
    }

    fn advance(&mut self) -> Result<(), Refusal> {
        self.next = self
            .reader
            .next_input()
            .map_err(|e| Refusal::Malformed { file: self.file.clone(), why: e.to_string() })?;
        Ok(())
    }
}

impl<R: Read> Outside for Recorded<R> {
    fn now(&mut self) -> Result<Option<Time>, Refusal> {
        Ok(self.next.as_ref().map(|next| next.at).filter(|at| *at <= self.until))
    }

    fn take(&mut self, into: &mut Vec<Input>) -> Result<(), Refusal> {
        let Some(at) = self.next.as_ref().map(|next| next.at) else { return Ok(()) };
        while self.next.as_ref().is_some_and(|next| next.at == at) {
            if let Some(next) = self.next.take() {
                into.push(self.renamed(next.input));
            }
            if into.len() > MOST_AT_ONCE {
                let why = "more inputs at one instant than any run takes".into();
                return Err(Refusal::Malformed { file: self.file.clone(), why });
            }
            self.advance()?;
        }
        Ok(())
    }

    fn send(&mut self, _: NodeId, _: &Outward) -> Result<(), Refusal> {
        Ok(())
    }

    fn wait(&mut self, _: Option<Time>) -> Result<(), Refusal> {
        Ok(())
    }
}
