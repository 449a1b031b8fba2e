//! The world outside for real: guests with their devices and key logs, the clock on the wall, Ctrl-C.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use rt_attach::offload::Segments;
use rt_attach::{Device, Guest, Interrupts, Loopback, MAX_FRAME, Poller, WallClock};
use rt_base::{Carried, Nanos, NodeId, PortId, Time};
use rt_devices::Outward;
use rt_files::inputs::{Input, Lateness};

use crate::Refusal;
use crate::attach::keys::KeyLog;
use crate::attach::lateness::Histogram;
use crate::attach::pace::Outside;
use crate::attach::session::Session;
use crate::attach::up::Up;

/// About so many frames are taken from one device in one turn (one read may be 64 KiB that the kernel has not cut, some 45 of
/// them): the world must keep up with itself, and a card sends no more at one instant than its queue holds.
const INTAKE: usize = 256;
/// A device that had one packet at a time is asked for a second one every so many turns.
const ASK_AGAIN: u8 = 8;
/// What happens so soon is not slept for: falling asleep and waking up takes longer.
const SOON: Nanos = Nanos::from_micros(10);
/// After the last program has ended, frames on their way are waited for so long,
const ENDING: Nanos = Nanos::from_millis(500);
/// and it is over when there was none for so long.
const QUIET: Nanos = Nanos::from_millis(50);
/// SIGINT and SIGQUIT, which keys of a terminal send: the numbers are the same on every Linux.
const KEYS: [i32; 2] = [2, 3];

/// A program under way on a machine that it plays.
pub(crate) struct Running {
    pub(crate) node: NodeId,
    pub(crate) text: String,
    pub(crate) guest: Guest,
    /// The machine's port behind each device.
    pub(crate) ports: Vec<PortId>,
    pub(crate) keys: Option<KeyLog>,
    /// Its number, once begun.
    program: Option<u32>,
    code: Option<i32>,
    /// Devices that are gone.
    gone: Vec<bool>,
    /// Those that went before the program did.
    removed: Vec<bool>,
    /// Nothing runs there but what joins.
    idle: bool,
    /// It runs beside the others, and ends with them.
    beside: bool,
}

impl Running {
    pub(crate) fn new(node: NodeId, text: String, guest: Guest, ports: Vec<PortId>) -> Running {
        let gone = vec![false; guest.devices.len()];
        let removed = gone.clone();
        Running {
            node,
            text,
            guest,
            ports,
            keys: None,
            program: None,
            code: None,
            gone,
            idle: false,
            beside: false,
            removed,
        }
    }

    /// One that waits for others to join.
    pub(crate) fn waiting(self) -> Running {
        Running { idle: true, ..self }
    }

    /// One that ends with the others.
    pub(crate) fn beside(self) -> Running {
        Running { beside: true, ..self }
    }

    /// The ports whose network cards were removed while it ran.
    pub(crate) fn removed(&self) -> impl Iterator<Item = PortId> {
        self.ports.iter().zip(&self.removed).filter(|(_, removed)| **removed).map(|(port, _)| *port)
    }

    /// Its exit code, once it is over.
    pub(crate) fn code(&self) -> Option<i32> {
        self.code
    }
}

/// Everything outside.
pub(crate) struct Real {
    clock: WallClock,
    /// Virtual time when the clock started.
    anchor: Time,
    running: Vec<Running>,
    begun: u32,
    poller: Poller,
    /// What was ready when last waited: everything else need not be looked at.
    ready: Vec<bool>,
    /// Whether something else than a device or a bridge was ready.
    called: bool,
    /// Whether a bridge was.
    heard: bool,
    /// Whether a device had more than one frame when last read, and how often in a row it was read for one only.
    many: bool,
    singles: u8,
    interrupts: Option<Interrupts>,
    /// How often each signal has come.
    interrupted: BTreeMap<i32, u32>,
    late: Histogram,
    /// When the frames that wait to be flushed had left the world.
    sent: Vec<Time>,
    buffer: Vec<u8>,
    /// When the last program ended, and when the last frame passed.
    ended: Option<Time>,
    moved: Time,
    /// Where others can join, until an interrupt ends the world.
    up: Option<Up>,
    /// Real connections over bridges.
    loopback: Option<Loopback>,
}

impl Real {
    /// `clock` started at `anchor`.
    pub(crate) fn new(clock: WallClock, anchor: Time, running: Vec<Running>) -> Real {
        Real {
            clock,
            anchor,
            running,
            begun: 0,
            poller: Poller::new(),
            ready: Vec::new(),
            called: true,
            heard: true,
            many: false,
            singles: 0,
            interrupts: None,
            interrupted: BTreeMap::new(),
            late: Histogram::new(),
            sent: Vec::new(),
            buffer: vec![0; MAX_FRAME],
            ended: None,
            moved: anchor,
            up: None,
            loopback: None,
        }
    }

    /// Stays until an interrupt, and lets others in meanwhile.
    pub(crate) fn stay(&mut self, up: Up) {
        self.up = Some(up);
    }

    /// Carries real connections into the world.
    pub(crate) fn carry_over(&mut self, loopback: Option<Loopback>) {
        self.loopback = loopback;
    }

    /// Takes signals to this process as something to hand on.
    pub(crate) fn hear(&mut self, interrupts: Interrupts) {
        self.interrupts = Some(interrupts);
    }

    /// The programs and what became of them.
    pub(crate) fn running(&self) -> &[Running] {
        &self.running
    }

    /// Programs beside the others that did not wait for their end.
    pub(crate) fn ended_early(&self) -> Vec<String> {
        let early = self.running.iter().filter(|r| r.beside && r.code.is_some_and(|c| c != 137));
        early
            .map(|r| format!("warning: {} ended by itself: exit code {}", r.text, r.code.unwrap_or(0)))
            .collect()
    }

    /// How late frames were.
    pub(crate) fn lateness(&self) -> Lateness {
        self.late.figures()
    }

    /// How many of them were too late.
    pub(crate) fn too_late(&self) -> u64 {
        self.late.too_late()
    }

    /// Ends all that is outside, but goes on to keep signals from ending this process until the answer is dropped.
    pub(crate) fn close(self) -> Option<Interrupts> {
        self.interrupts
    }

    fn time(&self) -> Time {
        self.anchor + self.clock.elapsed()
    }

    fn take_frames(&mut self, into: &mut Vec<Input>) -> Result<(), Refusal> {
        if !self.ready.is_empty() && !self.ready.contains(&true) {
            return Ok(());
        }
        // A program that says one thing at a time leaves nothing to find by asking again, so one asks seldom.
        self.singles = (self.singles + 1) % ASK_AGAIN;
        let whole = self.singles == 0 || self.many;
        (self.many, self.singles) = (false, if whole { 0 } else { self.singles });
        let mut flags = self.ready.iter().copied().chain(std::iter::repeat(true));
        for running in &mut self.running {
            let Running { node, guest, ports, gone, .. } = running;
            for ((device, port), gone) in guest.devices.iter_mut().zip(ports.iter()).zip(gone) {
                if flags.next().unwrap_or(true) && !*gone {
                    let before = into.len();
                    *gone = take_frames(device, &mut self.buffer, whole, |bytes| {
                        into.push(Input::Frame { node: *node, port: *port, bytes });
                    })?;
                    self.many |= into.len() > before + 1;
                    // It goes with the program, too: look whether that is there.
                    self.called |= *gone;
                }
            }
        }
        Ok(())
    }

    fn take_ends(&mut self, into: &mut Vec<Input>) -> Result<(), Refusal> {
        let late = self.late.figures();
        for running in &mut self.running {
            let code = match running.code {
                None => running.guest.try_wait().map_err(|e| waiting(&running.text, e))?,
                Some(_) => None,
            };
            take_keys(running, into);
            running.code = running.code.or(code);
            if let (Some(code), Some(program)) = (code, running.program) {
                into.push(Input::End { program, code, late });
            }
            if running.code.is_none() {
                running.removed.clone_from(&running.gone);
            }
        }
        Ok(())
    }

    /// Hands signals on. A terminal has sent its Ctrl-C to the program already; whoever insists means all of them.
    fn take_interrupts(&mut self) {
        let Some(signal) = self.interrupts.as_mut().and_then(Interrupts::take) else { return };
        let times = self.interrupted.entry(signal).or_default();
        *times += 1;
        let times = *times;
        if self.up.is_some() {
            return;
        }
        let by_terminal = KEYS.contains(&signal) && io::IsTerminal::is_terminal(&io::stdin());
        for running in self.running.iter_mut().filter(|r| r.code.is_none()) {
            // A program that has ended meanwhile is noticed in its own time.
            let _ = match times {
                1 if by_terminal => Ok(()),
                1 | 2 => running.guest.signal(signal),
                _ => running.guest.kill(),
            };
        }
    }
}

/// Reads what is there (or one packet, unless `whole`), in frames as a wire carries them; whether the device is gone. What the
/// kernel inside left to its card is done here, before the first simulated link.
fn take_frames(
    device: &mut Device,
    buffer: &mut [u8],
    whole: bool,
    mut each: impl FnMut(Vec<u8>),
) -> Result<bool, Refusal> {
    let mut frames = 0;
    while frames < INTAKE {
        match device.read(buffer) {
            Ok(len) => {
                frames += 1;
                // A header that makes no sense comes from no kernel: there is no frame to be had from it.
                let Ok(mut segments) = Segments::parse(&buffer[..len]) else { continue };
                let mut frame = Vec::new();
                while segments.next_into(&mut frame) {
                    frames += 1;
                    each(std::mem::take(&mut frame));
                }
                if !whole && frames <= 2 {
                    return Ok(false);
                }
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => frames += 1,
            Err(e) if e.kind() == io::ErrorKind::NotConnected => return Ok(true),
            Err(error) => {
                return Err(Refusal::Io { doing: "read from a program's network card".into(), error });
            }
        }
    }
    Ok(false)
}

/// Whether a frame may hold a whole record of TLS: header 5 bytes, content type 1, tag 16 (RFC 8446, 5.2), behind the headers of
/// Ethernet, IPv4 and TCP.
fn may_be_sealed(input: &Input) -> bool {
    matches!(input, Input::Frame { bytes, .. } if bytes.len() >= 14 + 20 + 20 + 22)
}

fn take_keys(running: &mut Running, into: &mut Vec<Input>) {
    let node = running.node;
    let lines = running.keys.as_mut().map(KeyLog::take).unwrap_or_default();
    into.extend(lines.into_iter().map(|line| Input::Secret { node, line }));
}

fn waiting(what: &str, error: io::Error) -> Refusal {
    Refusal::Io { doing: format!("wait for {what}"), error }
}

impl Outside for Real {
    fn now(&mut self) -> Result<Option<Time>, Refusal> {
        Ok(Some(self.time()))
    }

    fn admit(&mut self, session: &mut Session, into: &mut Vec<Input>) -> Result<(), Refusal> {
        let Some(up) = self.up.as_mut().filter(|_| self.called) else { return Ok(()) };
        let late = self.late.figures();
        up.admit(session, &mut self.running, late, into)
    }

    fn meanwhile(&mut self, _: Time) -> Time {
        self.time()
    }

    fn take(&mut self, into: &mut Vec<Input>) -> Result<(), Refusal> {
        for running in self.running.iter_mut().filter(|r| r.program.is_none() && !r.idle) {
            let (node, text, program) = (running.node, running.text.clone(), self.begun);
            into.push(Input::Begin { node, program, text });
            running.program = Some(program);
            self.begun += 1;
        }
        let before = into.len();
        self.take_frames(into)?;
        if into.len() > before {
            self.moved = self.time();
            // A secret comes before the frames that it protects.
            if into[before..].iter().any(may_be_sealed) {
                let mut keys = Vec::new();
                self.running.iter_mut().for_each(|r| take_keys(r, &mut keys));
                into.splice(before..before, keys);
            }
        }
        if let Some(loopback) = &mut self.loopback {
            loopback.take(std::mem::take(&mut self.heard), |bridge, connection, carried| {
                into.push(Input::Bridge { bridge, connection, carried });
            });
        }
        if std::mem::take(&mut self.called) {
            self.take_interrupts();
            self.take_ends(into)?;
        }
        let over = match &mut self.up {
            Some(up) if !self.interrupted.is_empty() => {
                up.end_all(self.late.figures(), into);
                true
            }
            Some(_) => false,
            None => self.running.iter().all(|r| r.code.is_some() || r.beside),
        };
        if self.ended.is_none() && over {
            (self.ended, self.moved) = (Some(self.time()), self.time());
            for running in self.running.iter_mut().filter(|r| r.beside && r.code.is_none()) {
                // One that has ended meanwhile needs no end.
                let _ = running.guest.kill();
            }
        }
        let over = self.ended.is_some_and(|at| {
            let now = self.time();
            let all = self.running.iter().all(|r| r.code.is_some() || !r.beside);
            now.since(at) > ENDING || all && now.since(self.moved) > QUIET
        });
        if over {
            into.push(Input::Stop);
        }
        Ok(())
    }

    fn send(&mut self, node: NodeId, outward: &Outward) -> Result<(), Refusal> {
        let Some(running) = self.running.iter_mut().find(|r| r.node == node) else { return Ok(()) };
        let index = running.ports.iter().position(|p| *p == outward.port);
        let Some(index) = index.filter(|i| !running.gone[*i]) else { return Ok(()) };
        match running.guest.devices[index].queue(&outward.bytes) {
            Err(e) if e.kind() == io::ErrorKind::NotConnected => {
                (running.gone[index], self.called) = (true, true);
            }
            // A frame that no card takes; it left the world all the same.
            Err(e) if e.kind() == io::ErrorKind::InvalidInput => {}
            Err(error) => {
                return Err(Refusal::Io { doing: "write to a program's network card".into(), error });
            }
            Ok(()) => {}
        }
        self.sent.push(outward.at);
        Ok(())
    }

    fn carry(&mut self, bridge: u16, connection: u32, carried: Carried) {
        if let Some(loopback) = &mut self.loopback {
            loopback.send(bridge, connection, carried);
        }
    }

    fn flush(&mut self) -> Result<(), Refusal> {
        if self.sent.is_empty() {
            return Ok(());
        }
        for running in &mut self.running {
            for (device, gone) in
                running.guest.devices.iter_mut().zip(&mut running.gone).filter(|(_, g)| !**g)
            {
                match device.flush() {
                    Err(e) if e.kind() == io::ErrorKind::NotConnected => (*gone, self.called) = (true, true),
                    Err(error) if error.kind() != io::ErrorKind::InvalidInput => {
                        return Err(Refusal::Io { doing: "write to a program's network card".into(), error });
                    }
                    _ => {}
                }
            }
        }
        // One look at the clock for all of them.
        let now = self.time();
        self.moved = now;
        self.sent.drain(..).for_each(|at| self.late.add(now.since(at.min(now))));
        Ok(())
    }

    fn wait(&mut self, next: Option<Time>) -> Result<(), Refusal> {
        let now = self.time();
        let mut timeout = next.map(|next| next.since(now.min(next)));
        if self.ended.is_some() {
            timeout = Some(timeout.unwrap_or(QUIET).min(QUIET));
        }
        if self.loopback.as_ref().is_some_and(Loopback::has_more) {
            timeout = Some(Nanos::ZERO);
        }
        let mut watched = Vec::new();
        for running in &self.running {
            watched.extend(
                running.guest.devices.iter().zip(&running.gone).filter(|(_, g)| !**g).map(|(d, _)| d.watch()),
            );
        }
        let devices = watched.len();
        watched.extend(self.running.iter().filter(|r| r.code.is_none()).map(|r| r.guest.watch()));
        watched.extend(self.interrupts.iter().map(Interrupts::watch));
        watched.extend(self.up.iter().flat_map(Up::watched));
        watched.extend(self.loopback.iter().map(Loopback::watch));
        let timeout = timeout.map(|t| Duration::from_nanos(if t < SOON { 0 } else { t.0 }));
        let ready = self
            .poller
            .wait(&watched, timeout)
            .map_err(|error| Refusal::Io { doing: "wait for the world outside".into(), error })?;
        // Flags by device, those that are gone included.
        let mut flags = ready[..devices].iter();
        let (others, bridges) =
            ready[devices..].split_at(watched.len() - devices - self.loopback.iter().count());
        (self.called, self.heard) = (others.contains(&true), bridges.contains(&true));
        self.ready.clear();
        for gone in self.running.iter().flat_map(|r| &r.gone) {
            self.ready.push(!gone && flags.next().copied().unwrap_or(true));
        }
        Ok(())
    }

    fn is_ending(&self) -> bool {
        self.ended.is_some()
    }

    fn hear_of_frames(&mut self, moving: bool) {
        if moving {
            self.moved = self.time();
        }
    }
}
