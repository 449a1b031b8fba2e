//! The events of a script, one after the other: time, blocking calls, shell lines, assertions, and the end.

use std::collections::{BTreeMap, VecDeque};

use rt_base::text::excerpt;
use rt_base::{Nanos, Time};

use super::calls::{Attempt, PendingCall};
use super::flow::Flow;
use super::report::Failure;
use super::segment::Seen;
use super::{Options, Outcome, TraceLine, Verdict, WirePacket, shell, state};
use crate::language::ast::{Action, Direction, Event, Script, SystemCall, When};
use crate::language::code::{Code, Statement, Unknown};
use crate::machine::{Emitted, Fd, Machine, Settings};

/// Why playing stopped before the end.
pub(super) enum Stop {
    Failed(Box<Failure>),
    Unsupported(u32, String),
}

/// What playing an event gives.
pub(super) type Played<T = ()> = Result<T, Stop>;

/// When an event is due.
#[derive(Clone, Copy, Debug)]
pub(super) enum Due {
    At(Time),
    Between(Time, Time),
    Any,
}

/// Trace lines that a failure shows.
const SHOWN_BEFORE: usize = 8;
/// So much of a script's own text stands in a message, in characters.
const SHOWN: usize = 200;
/// Virtual time that a `*` line waits at most.
const PATIENCE: Nanos = Nanos::from_secs(3_600);
/// More trace lines, and more bytes of packets, are not kept.
const MOST_TRACE: usize = 100_000;
const MOST_BYTES: usize = 64 << 20;

/// A script being played.
pub(super) struct Player<'a> {
    pub(super) options: &'a Options,
    pub(super) machine: Machine,
    pub(super) tolerance: Nanos,
    pub(super) flows: Vec<Flow>,
    /// Those that a packet line began, by the machine's and the peer's port; the last of each.
    pub(super) peers: BTreeMap<(u16, u16), usize>,
    /// Those that a call of `socket` began.
    pub(super) sockets: Vec<usize>,
    /// The flow that lines without ports and assertions speak of.
    pub(super) under_test: Option<usize>,
    /// The script's descriptors and the machine's.
    pub(super) fds: BTreeMap<i64, Fd>,
    /// Packets that left and that no line has asked for yet.
    pub(super) unmentioned: VecDeque<(Emitted, Seen)>,
    pub(super) pending: Option<PendingCall>,
    pub(super) bind_port: u16,
    pub(super) connect_port: u16,
    pub(super) strict_segments: bool,
    pub(super) ts_scaled: bool,
    pub(super) ts_tick: u64,
    /// An application wrote something else than zeros.
    pub(super) wrote_text: bool,
    outcome: Outcome,
    bytes_kept: usize,
}

impl<'a> Player<'a> {
    /// Plays all of it.
    pub(super) fn play(script: &Script, options: &'a Options) -> Outcome {
        let mut settings = options.settings.clone();
        let refused = set_from_options(&mut settings, script);
        let outcome =
            Outcome { verdict: Verdict::Passed, notes: Vec::new(), trace: Vec::new(), packets: Vec::new() };
        let mut player = Player {
            options,
            machine: Machine::new(settings),
            tolerance: options.tolerance,
            flows: Vec::new(),
            peers: BTreeMap::new(),
            sockets: Vec::new(),
            under_test: None,
            fds: BTreeMap::new(),
            unmentioned: VecDeque::new(),
            pending: None,
            bind_port: 8_080,
            connect_port: 8_080,
            strict_segments: false,
            ts_scaled: false,
            ts_tick: 0,
            wrote_text: false,
            outcome,
            bytes_kept: 0,
        };
        let played = match refused {
            Some(stop) => Err(stop),
            None => player.options_of(script).and_then(|()| player.all(script)),
        };
        player.outcome.verdict = match played {
            Ok(()) => Verdict::Passed,
            Err(Stop::Failed(failure)) => Verdict::Failed(failure),
            Err(Stop::Unsupported(line, what)) => Verdict::Unsupported { line, what },
        };
        player.outcome
    }

    fn options_of(&mut self, script: &Script) -> Played {
        for option in &script.options {
            let value = option.value.as_deref().unwrap_or_default();
            let number = || value.parse::<u64>().unwrap_or(0);
            let line = option.place.line;
            match option.name.as_str() {
                "tolerance_usecs" => self.tolerance = self.tolerance.max(Nanos::from_micros(number())),
                "bind_port" => self.bind_port = number() as u16,
                "connect_port" => self.connect_port = number() as u16,
                "strict_segments" => self.strict_segments = true,
                "tcp_ts_ecr_scaled" => self.ts_scaled = true,
                "tcp_ts_tick_usecs" => self.ts_tick = number(),
                "ip_version" if value != "ipv4" => {
                    return Err(Stop::Unsupported(line, format!("--ip_version={value}: IPv4 only")));
                }
                "udp_encapsulation" => return Err(Stop::Unsupported(line, "TCP inside UDP".into())),
                _ => {}
            }
        }
        Ok(())
    }

    fn all(&mut self, script: &Script) -> Played {
        if let Some(init) = &script.init {
            self.shell(init.place.line, &init.command)?;
        }
        for event in &script.events {
            self.event(event)?;
            self.look_at_pending()?;
        }
        self.end(script)
    }

    fn event(&mut self, event: &Event) -> Played {
        let due = self.due(event.when);
        match &event.action {
            Action::Packet(packet) if packet.direction == Direction::Out => self.outbound(event, packet, due),
            Action::Packet(packet) => {
                self.reach(event, due)?;
                self.inbound(event, packet)
            }
            Action::Call(call) => {
                self.reach(event, due)?;
                self.call(event, call)
            }
            Action::Shell(shell) => {
                self.reach(event, due)?;
                self.shell(event.place.line, &shell.command)
            }
            Action::Code(code) => {
                self.reach(event, due)?;
                self.code(event, code)
            }
        }
    }

    /// Moves time to where an event happens. A time that is over already is a failure, as with the original.
    fn reach(&mut self, event: &Event, due: Due) -> Played {
        self.advance(start(due))?;
        let now = self.machine.now();
        if let (Due::At(at), Some(_)) = (due, self.off(due, now)) {
            let what = format!("this was to happen at {}, and it is {} already", clock(at), clock(now));
            let mut failure = self.failure(event, what);
            failure.hints.push("times without + count from the script's beginning".into());
            return Err(Stop::Failed(Box::new(failure)));
        }
        Ok(())
    }

    fn due(&self, when: When) -> Due {
        // Relative times count from a whole microsecond, as the language does.
        let now = self.machine.now().0 / 1_000;
        let at = |micros: u64| Time(micros.saturating_mul(1_000));
        match when {
            When::Any => Due::Any,
            When::At(t) => Due::At(at(t)),
            When::After(t) => Due::At(at(now.saturating_add(t))),
            When::Between(a, b) => Due::Between(at(a), at(b)),
            When::AfterBetween(a, b) => Due::Between(at(now.saturating_add(a)), at(now.saturating_add(b))),
        }
    }

    /// Moves time to `until`, looking at a waiting call after every step.
    pub(super) fn advance(&mut self, until: Time) -> Played {
        if self.pending.is_some() {
            loop {
                self.look_at_pending()?;
                let limit = self.pending.as_ref().map_or(until, |p| p.gives_up.min(until));
                if !self.machine.step(limit) {
                    if limit >= until || self.pending.is_none() {
                        break;
                    }
                    self.machine.run_until(limit);
                }
                self.collect();
            }
        }
        self.machine.run_until(until);
        self.collect();
        self.look_at_pending()
    }

    /// Takes what has left, noting it for the record.
    pub(super) fn collect(&mut self) {
        while let Some(emitted) = self.machine.take_packet() {
            self.keep_packet(emitted.at, true, &emitted.bytes);
            if let Some(seen) = Seen::read(&emitted.bytes) {
                self.unmentioned.push_back((emitted, seen));
            }
        }
    }

    /// The next packet for which `wanted` holds, moving time at most to `limit`.
    pub(super) fn wait_packet(
        &mut self,
        limit: Time,
        wanted: impl Fn(&mut Player<'_>, &Seen) -> bool,
    ) -> Played<Option<(Emitted, Seen)>> {
        loop {
            self.collect();
            let held = std::mem::take(&mut self.unmentioned);
            let found = held.iter().position(|(_, seen)| wanted(self, seen));
            self.unmentioned = held;
            if let Some(at) = found {
                return Ok(self.unmentioned.remove(at));
            }
            self.look_at_pending()?;
            if self.machine.peek_packet().is_some() {
                continue;
            }
            let give_up = self.pending.as_ref().map_or(limit, |p| p.gives_up.min(limit));
            if !self.machine.step(give_up) {
                self.machine.run_until(give_up);
                if give_up >= limit {
                    return Ok(None);
                }
            }
        }
    }

    /// Until when an outbound line waits.
    pub(super) fn patience(&self, due: Due) -> Time {
        let now = self.machine.now();
        match due {
            // As long as the original: two seconds longer than expected.
            Due::At(t) | Due::Between(_, t) => Time(t.0.max(now.0).saturating_add(2_000_000_000)),
            Due::Any => Time(now.0.saturating_add(PATIENCE.0)),
        }
    }

    /// How `actual` misses `due`, in words; `None` if it is within the tolerance.
    pub(super) fn off(&self, due: Due, actual: Time) -> Option<String> {
        let (from, to) = match due {
            Due::Any => return None,
            Due::At(t) => (t, t),
            Due::Between(from, to) => (from, to),
        };
        // Both in whole microseconds.
        let (actual, from, to) = (actual.0 / 1_000, from.0 / 1_000, to.0 / 1_000);
        let slack = self.tolerance.0 / 1_000;
        if actual + slack < from {
            return Some(format!("{} early", seconds((from - actual) * 1_000)));
        }
        (actual > to + slack).then(|| format!("{} late", seconds((actual - to) * 1_000)))
    }

    /// What is passed over is noted; a value that a sysctl cannot have makes the script say something nobody can judge.
    fn shell(&mut self, line: u32, command: &str) -> Played {
        let passed_over =
            shell::carry_out(&mut self.machine, command).map_err(|why| Stop::Unsupported(line, why))?;
        self.outcome.notes.extend(passed_over.into_iter().map(|note| (line, note)));
        Ok(())
    }

    fn code(&mut self, event: &Event, code: &Code) -> Played {
        let unknown = code.statements.iter().find_map(|(line, s)| match s {
            Statement::Unknown(text) => Some((*line, text.clone())),
            _ => None,
        });
        if let Some((line, text)) = unknown {
            return Err(Stop::Unsupported(
                line,
                format!("this Python, only assertions about numbers are read: {}", excerpt(&text, SHOWN)),
            ));
        }
        if code.statements.is_empty() {
            return Ok(());
        }
        let fd = self.under_test.and_then(|i| self.flows[i].fd);
        let names = fd.and_then(|(_, fd)| state::names(&mut self.machine, fd));
        let Some(mut names) = names else {
            return Err(self.failed(event, "an assertion about a connection that no descriptor names yet"));
        };
        for (line, statement) in &code.statements {
            let value = match statement {
                Statement::Assert(value, _) | Statement::Assign(_, value) => value,
                Statement::Unknown(_) => continue,
            };
            let result = match value.evaluate(&names) {
                Ok(result) => result,
                Err(Unknown::Name(name)) => {
                    let what = format!(
                        "the name {} in an assertion: TCP_INFO here has no such field",
                        excerpt(&name, SHOWN)
                    );
                    return Err(Stop::Unsupported(*line, what));
                }
                Err(Unknown::DivisionByZero) => {
                    let mut failure = self.failure(event, "the assertion divides by zero".into());
                    failure.lines = (*line, *line);
                    return Err(Stop::Failed(Box::new(failure)));
                }
            };
            match statement {
                Statement::Assign(name, _) => {
                    names.insert(name.clone(), result);
                }
                Statement::Assert(value, text) if result == 0 => {
                    let mut used = Vec::new();
                    value.names(&mut used);
                    let values: Vec<String> = used
                        .iter()
                        .map(|n| format!("{n} = {}", names.get(*n).copied().unwrap_or(0)))
                        .collect();
                    let mut failure = self.failure(event, format!("the assertion does not hold: {text}"));
                    failure.lines = (*line, *line);
                    failure.expected = Some(text.clone());
                    failure.actual = Some(values.join(", "));
                    return Err(Stop::Failed(Box::new(failure)));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn end(&mut self, script: &Script) -> Played {
        if let Some(pending) = &self.pending {
            let until = pending.end.max(self.machine.now());
            self.advance(until)?;
        }
        let last = script.events.last();
        if let (Some(pending), Some(_)) = (self.pending.take(), last) {
            let what = format!("{} was to return at {} and has not", pending.call.name, clock(pending.end));
            return Err(self.failed(&pending.event, what));
        }
        if self.options.lenient_end {
            return Ok(());
        }
        let until = Time(self.machine.now().0.saturating_add(self.options.horizon.0));
        self.advance(until)?;
        let (Some((emitted, seen)), Some(last)) = (self.unmentioned.pop_front(), last) else { return Ok(()) };
        let more = self.unmentioned.len();
        let (mut seen, at) = (seen, emitted.at);
        let ports = self.place_in_script(&mut seen);
        let mut failure =
            self.failure(last, "the script is over, and a packet was sent that no line mentions".into());
        let pieces = super::segment::seen_pieces(&seen, Direction::Out, None);
        failure.actual = Some(format!("{}  {}{ports}", clock(at), super::segment::line(&pieces)));
        failure.expected = Some("nothing more".into());
        failure.fields = vec!["end"];
        if more > 0 {
            failure.hints.push(format!("and {more} more packets after it"));
        }
        failure.hints.push("add a line for it, or allow it with --lenient-end".into());
        Err(Stop::Failed(Box::new(failure)))
    }

    /// A call of the script: at once, or waiting until its `...T`.
    fn call(&mut self, event: &Event, call: &SystemCall) -> Played {
        if let Some(pending) = &self.pending {
            let what = format!(
                "{} (line {}) still waits: one call at a time",
                pending.call.name, pending.event.place.line
            );
            return Err(self.failed(event, what));
        }
        let mut pending = PendingCall::new(event, call, &self.machine);
        self.note_call(call);
        match self.attempt(&mut pending)? {
            Attempt::Returned(value) => self.returned(&pending, value),
            Attempt::Waits if call.end.is_none() => {
                let mut failure = self
                    .failure(event, format!("{} would wait, and the line says that it returns", call.name));
                failure
                    .hints
                    .push("a call that waits is written with the time at which it returns: 0.1...0.3".into());
                Err(Stop::Failed(Box::new(failure)))
            }
            Attempt::Waits => {
                self.pending = Some(pending);
                Ok(())
            }
        }
    }

    /// Asks a waiting call again.
    pub(super) fn look_at_pending(&mut self) -> Played {
        let Some(mut pending) = self.pending.take() else { return Ok(()) };
        match self.attempt(&mut pending)? {
            Attempt::Returned(value) => self.returned(&pending, value),
            Attempt::Waits => {
                self.pending = Some(pending);
                Ok(())
            }
        }
    }

    /// A failure at `event`, with what went before and how the connection stands.
    pub(super) fn failure(&mut self, event: &Event, what: String) -> Failure {
        let trace = &self.outcome.trace;
        let before = trace[trace.len().saturating_sub(SHOWN_BEFORE)..]
            .iter()
            .map(|l| format!("{}  {}", clock(l.at), l.text))
            .collect();
        let mut state = Vec::new();
        if let Some(flow) = self.under_test.and_then(|i| self.flows.get(i)) {
            let (sent, acked, fd) = (flow.sent_to, flow.acked_to, flow.fd);
            if let Some((_, fd)) = fd {
                state = state::describe(&mut self.machine, fd);
            }
            if sent > 0 {
                state.push(format!("sent up to {sent}, acknowledged up to {acked}"));
            }
        }
        let next = self.machine.next_deadline();
        let now = self.machine.now();
        state.push(match next {
            Time::MAX => format!("now {}, no timer is running", clock(now)),
            next => format!("now {}, the next timer is due at {}", clock(now), clock(next.max(now))),
        });
        Failure { lines: (event.place.line, event.last_line), what, before, state, ..Failure::default() }
    }

    pub(super) fn failed(&mut self, event: &Event, what: impl Into<String>) -> Stop {
        Stop::Failed(Box::new(self.failure(event, what.into())))
    }

    /// Adds a line to the trace.
    pub(super) fn note(&mut self, at: Time, text: String) {
        if self.outcome.trace.len() < MOST_TRACE {
            self.outcome.trace.push(TraceLine { at, text });
        }
    }

    /// Keeps a packet for the capture.
    pub(super) fn keep_packet(&mut self, at: Time, outbound: bool, bytes: &[u8]) {
        self.bytes_kept += bytes.len();
        if self.bytes_kept <= MOST_BYTES {
            self.outcome.packets.push(WirePacket { at, outbound, bytes: bytes.to_vec() });
        }
    }
}

/// Addresses and sizes that a script sets at its top.
fn set_from_options(settings: &mut Settings, script: &Script) -> Option<Stop> {
    for option in &script.options {
        let (Some(value), line) = (option.value.as_deref(), option.place.line) else { continue };
        let name = match option.name.as_str() {
            "local_ip" | "remote_ip" | "mtu" | "personality" => option.name.as_str(),
            "gateway_ip" => "gateway",
            _ => continue,
        };
        if let Err(error) = settings.set(name, value) {
            return Some(Stop::Unsupported(line, format!("--{}: {error}", option.name)));
        }
    }
    None
}

fn start(due: Due) -> Time {
    match due {
        Due::At(t) | Due::Between(t, _) => t,
        Due::Any => Time::ZERO,
    }
}

/// A span in seconds, to the microsecond.
pub(super) fn seconds(nanos: u64) -> String {
    format!("{}.{:06} s", nanos / 1_000_000_000, nanos / 1_000 % 1_000_000)
}

/// A point in time in seconds, to the microsecond.
pub(super) fn clock(at: Time) -> String {
    format!("{}.{:06}", at.0 / 1_000_000_000, at.0 / 1_000 % 1_000_000)
}
