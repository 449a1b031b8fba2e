//! [`Runtime`]: a stack and the applications above it, driven by inputs. The sending half of the packet walk starts here:
//! tasks run until none is ready, then `stack.send`; what that delivers to this host itself (loopback) wakes tasks again;
//! and so on to a fixpoint.
//!
//! Each logical timer is served by itself, with all that follows from it, so that everything recorded has the right
//! cause. A bound turns a task that never rests into a note in the record instead of a hang.

use std::task::Waker;

use rt_base::{
    AppRecord, BRIDGE_PORT, ConnId, Frame, Input, Nanos, Outbox, PortId, ReqId, Rng, Signal, TcpPhase, Time,
    TimerKind,
};
use rt_stack::{SocketId, Stack};

use crate::entropy;
use crate::executor::Executor;
use crate::net::{HostCore, Net};
use crate::step::{StepFn, StepResult};

/// Polls of tasks per input before the runtime says that a task never rests.
const POLL_LIMIT: u32 = 100_000;

/// A task that never rests goes on after this pause, so that the rest of the world lives.
const LIVELOCK_PAUSE: Nanos = Nanos::from_millis(1);

struct Step {
    index: u32,
    text: String,
    run: StepFn,
}

/// The applications of one host and its stack.
pub struct Runtime {
    net: Net,
    executor: Executor,
    entropy: Rng,
    steps: Vec<Step>,
    woken: Vec<SocketId>,
    wake_wish: Time,
    resume_at: Time,
    booted: bool,
    ready_said: bool,
}

impl Runtime {
    /// Applications above `stack`. `name` is the machine's name (it selects its random streams), `epoch` the civil time
    /// at virtual time zero in seconds since 1970.
    #[must_use]
    pub fn new(stack: Stack, seed: u64, name: &str, epoch: u64) -> Runtime {
        Runtime {
            net: Net::new(HostCore::new(stack, seed, name, epoch)),
            executor: Executor::default(),
            entropy: Rng::stream(seed, name, "entropy"),
            steps: Vec::new(),
            woken: Vec::new(),
            wake_wish: Time::MAX,
            resume_at: Time::MAX,
            booted: false,
            ready_said: false,
        }
    }

    /// The handle that applications are given. Spawn them before the run: they start at boot.
    #[must_use]
    pub fn net(&self) -> Net {
        self.net.clone()
    }

    /// What to do on [`Input::Command`] with this index; `text` is the step as written.
    pub fn set_step(&mut self, index: u32, text: impl Into<String>, run: StepFn) {
        self.steps.push(Step { index, text: text.into(), run });
    }

    /// The result of a step that is over.
    #[must_use]
    pub fn step_result(&self, index: u32) -> Option<StepResult> {
        self.net.core().results.get(&index).cloned()
    }

    /// How many TCP connections that applications made or accepted are neither closed nor in TIME-WAIT.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        let core = self.net.core();
        core.open.iter().filter(|&&id| is_open(&core.stack, id)).count()
    }

    /// How many tasks are not finished.
    #[must_use]
    pub fn tasks(&self) -> usize {
        self.executor.len()
    }

    /// The stack, for a look at its tables.
    pub fn with_stack<T>(&self, look: impl FnOnce(&mut Stack) -> T) -> T {
        look(&mut self.net.core().stack)
    }

    /// Reacts to one input.
    pub fn handle(&mut self, now: Time, input: Input, out: &mut Outbox) {
        match input {
            Input::Boot => {
                self.booted = true;
                self.run(now, out);
            }
            Input::Frame { port, frame } => self.receive(now, port, frame, out),
            Input::Timer => self.serve_timers(now, out),
            Input::Command { step } => {
                self.begin_step(step);
                self.run(now, out);
            }
            // What came over a bridge has woken its tasks.
            Input::Outside { port: BRIDGE_PORT, .. } => self.run(now, out),
            Input::Outside { .. } | Input::Rebind { .. } => return,
        }
        self.say_quiet(out);
        self.wish_wake(out);
    }

    fn receive(&mut self, now: Time, port: PortId, frame: Frame, out: &mut Outbox) {
        {
            let mut core = self.net.core();
            core.stack.receive(now, port, frame, out);
            core.stack.take_woken(&mut self.woken);
        }
        // A forwarded packet concerns no socket: nothing to run.
        if !self.woken.is_empty() || !self.executor.is_idle() {
            self.run(now, out);
        }
    }

    /// Serves every logical timer that is due, each with all its consequences before the next.
    fn serve_timers(&mut self, now: Time, out: &mut Outbox) {
        self.wake_wish = Time::MAX;
        if self.resume_at <= now {
            self.resume_at = Time::MAX;
            self.run(now, out);
        }
        loop {
            let mut core = self.net.core();
            let (stack_at, app_at) = (core.stack.next_deadline(), core.timers.next_deadline());
            if stack_at.min(app_at) > now {
                return;
            }
            if stack_at <= app_at {
                // A wish may be early; then nothing has happened, unless a bounded `send` left work behind.
                if !core.stack.fire_next(now, out) && !core.stack.has_work() {
                    continue;
                }
            } else if let Some(armed) = core.timers.fire_next(now) {
                out.timer_fired(TimerKind::App(armed.wait), ConnId(0), armed.armed_by, armed.armed_at);
            }
            drop(core);
            self.run(now, out);
        }
    }

    fn begin_step(&mut self, index: u32) {
        let Some(at) = self.steps.iter().position(|s| s.index == index) else {
            let summary = format!("step {index} is not known to this machine");
            self.net.signal(Signal::StepDone { step: index, ok: false, summary });
            return;
        };
        let Step { text, run, .. } = self.steps.remove(at);
        let net = self.net.clone();
        net.say(AppRecord::StepBegin { step: index, text });
        self.executor.spawn(Box::pin(async move {
            let result = run(net.clone()).await;
            let (ok, summary) = (result.ok, result.summary.clone());
            if !result.figures.is_empty() {
                net.say(AppRecord::StepFigures { step: index, figures: result.figures.clone() });
            }
            net.core().results.insert(index, result);
            net.say(AppRecord::StepEnd { step: index, ok, summary: summary.clone() });
            net.signal(Signal::StepDone { step: index, ok, summary });
        }));
    }

    /// Executor, then stack, until neither has anything left to do.
    fn run(&mut self, now: Time, out: &mut Outbox) {
        // Each round counts too: two sockets of this machine may talk to each other without any task.
        let mut polls = 0;
        loop {
            self.wake_sockets(now, out);
            polls += 1 + self.poll_tasks(POLL_LIMIT - polls);
            let mut core = self.net.core();
            flush(&mut core, out);
            core.stack.send(now, out);
            core.stack.take_woken(&mut self.woken);
            let at_rest = self.woken.is_empty() && !core.stack.has_work();
            drop(core);
            if polls >= POLL_LIMIT {
                self.report_livelock(now, out);
                break;
            }
            if at_rest && self.executor.is_idle() {
                break;
            }
        }
        self.say_ready(out);
    }

    fn wake_sockets(&mut self, now: Time, out: &Outbox) {
        let mut core = self.net.core();
        (core.now, core.cause, core.recording) = (now, out.cause(), out.recording());
        core.stack.begin(out);
        for socket in self.woken.drain(..) {
            if let Some(wakers) = core.waiting.get_mut(&socket) {
                wakers.drain(..).for_each(Waker::wake);
            }
        }
    }

    /// Polls ready tasks in order, at most `limit` times; returns how many times.
    fn poll_tasks(&mut self, limit: u32) -> u32 {
        let Runtime { net, executor, entropy, .. } = self;
        entropy::lend(entropy, || {
            let mut polls = 0;
            while polls < limit {
                net.core().spawned.drain(..).for_each(|task| executor.spawn(task));
                if executor.is_idle() {
                    break;
                }
                executor.poll_next();
                polls += 1;
            }
            polls
        })
    }

    fn report_livelock(&mut self, now: Time, out: &mut Outbox) {
        let text =
            format!("a task of this machine never rests: stopped after {POLL_LIMIT} polls at one instant");
        out.say(AppRecord::Note { req: ReqId(0), code: "runtime.livelock".into(), text });
        self.resume_at = now + LIVELOCK_PAUSE;
    }

    fn say_ready(&mut self, out: &mut Outbox) {
        if self.booted && !self.ready_said && self.net.core().holds == 0 {
            self.ready_said = true;
            out.signal(Signal::Ready);
        }
    }

    /// Says once when the last open connection has closed. Only the newest ones are looked at unless they are closed.
    fn say_quiet(&mut self, out: &mut Outbox) {
        let mut core = self.net.core();
        if core.open.is_empty() {
            return;
        }
        while let Some(&id) = core.open.last() {
            if is_open(&core.stack, id) {
                return;
            }
            core.open.pop();
        }
        out.signal(Signal::Quiet);
    }

    fn wish_wake(&mut self, out: &mut Outbox) {
        let core = self.net.core();
        let at = core.stack.next_deadline().min(core.timers.next_deadline()).min(self.resume_at);
        if at != self.wake_wish {
            self.wake_wish = at;
            out.wake_at(at);
        }
    }
}

/// Whether a connection still has something to do.
pub(crate) fn is_open(stack: &Stack, id: SocketId) -> bool {
    !matches!(stack.tcp_phase(id), TcpPhase::Closed | TcpPhase::TimeWait | TcpPhase::Listen)
}

/// Moves what applications said into the outbox, before the frames that may follow from it.
fn flush(core: &mut HostCore, out: &mut Outbox) {
    for record in core.said.drain(..) {
        out.say(record);
    }
    for signal in core.signals.drain(..) {
        out.signal(signal);
    }
}
