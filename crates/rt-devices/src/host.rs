//! [`Host`]: a machine with a stack, as the engine sees it: host, router, firewall and NAT gateway alike (law 2).
//!
//! Above the stack there is nothing (a router), plain traffic ([`crate::traffic`]: benchmarks) or applications
//! ([`rt_apps::Runtime`]). Each logical timer that is due is served by itself, with all that follows from it, so that the
//! causal register is right; a machine without applications costs no more than its stack.
//!
//! A machine can be *given away*: from then on a real program plays it. Its stack, applications and steps are gone, frames
//! that arrive wait for whoever carries them outside, and frames from outside leave by its interfaces as they came.
//! Its filters stay ([`Card`]): a cloud's security group holds whoever runs on the instance. Nothing here knows who that is. Deliberate simplification: what waited in the machine when it was given away (packets
//! for a neighbour that had not answered yet) is gone without a record.

use std::any::Any;

use rt_apps::{Runtime, StepResult};
use rt_base::{ConnId, EventId, Frame, FrameId, Input, Outbox, PortId, Signal, Time, TimerKind, Wait, What};
use rt_sim::Node;
use rt_stack::{Card, SocketId, Stack};

use crate::traffic::Traffic;

/// A machine.
pub struct Host {
    above: Above,
}

/// What sits above the stack.
enum Above {
    Plain(Box<Plain>),
    Apps(Box<Runtime>),
    Outside(Box<Outside>),
}

/// A machine that somebody outside plays.
struct Outside {
    waiting: Vec<Outward>,
    card: Option<Card>,
}

/// A frame on its way out of the simulation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outward {
    /// When it arrived at the machine that was given away.
    pub at: Time,
    /// At this interface.
    pub port: PortId,
    /// Ethernet bytes.
    pub bytes: Vec<u8>,
}

/// A stack and what needs no executor.
struct Plain {
    stack: Stack,
    traffic: Box<[Traffic]>,
    /// For each traffic with a timer: when and by what it was armed.
    armed: (EventId, Time),
    woken: Vec<SocketId>,
    wish: Time,
}

impl Host {
    /// A machine that only forwards (or only answers ping).
    #[must_use]
    pub fn bare(stack: Stack) -> Host {
        Host::with_traffic(stack, Vec::new())
    }

    /// A machine that makes or takes plain traffic from boot on.
    #[must_use]
    pub fn with_traffic(stack: Stack, traffic: Vec<Traffic>) -> Host {
        let plain = Plain {
            stack,
            traffic: traffic.into(),
            armed: (EventId::NONE, Time::ZERO),
            woken: Vec::new(),
            wish: Time::MAX,
        };
        Host { above: Above::Plain(Box::new(plain)) }
    }

    /// A machine with applications.
    #[must_use]
    pub fn with_apps(runtime: Runtime) -> Host {
        Host { above: Above::Apps(Box::new(runtime)) }
    }

    /// Whether it will say [`Signal::Ready`] (at boot at the earliest, once all interfaces have their addresses and all
    /// services listen). Machines without applications do not: they are ready from boot on.
    #[must_use]
    pub fn signals_ready(&self) -> bool {
        matches!(self.above, Above::Apps(_))
    }

    /// The applications, if it has any.
    pub fn runtime(&mut self) -> Option<&mut Runtime> {
        match &mut self.above {
            Above::Apps(runtime) => Some(runtime),
            Above::Plain(_) | Above::Outside(_) => None,
        }
    }

    /// What came of a step that is over.
    #[must_use]
    pub fn step_result(&self, step: u32) -> Option<StepResult> {
        match &self.above {
            Above::Apps(runtime) => runtime.step_result(step),
            Above::Plain(_) | Above::Outside(_) => None,
        }
    }

    /// TCP connections of applications that are neither closed nor in TIME-WAIT. [`Signal::Quiet`] is said when the last
    /// one ends.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        match &self.above {
            Above::Apps(runtime) => runtime.open_connections(),
            Above::Plain(_) | Above::Outside(_) => 0,
        }
    }

    /// The plain traffic and its counters.
    #[must_use]
    pub fn traffic(&self) -> &[Traffic] {
        match &self.above {
            Above::Apps(_) | Above::Outside(_) => &[],
            Above::Plain(plain) => &plain.traffic,
        }
    }

    /// A look at the stack's tables; `None` when the machine was given away.
    pub fn with_stack<T>(&mut self, look: impl FnOnce(&mut Stack) -> T) -> Option<T> {
        match &mut self.above {
            Above::Apps(runtime) => Some(runtime.with_stack(look)),
            Above::Plain(plain) => Some(look(&mut plain.stack)),
            Above::Outside(_) => None,
        }
    }

    fn rebind(&mut self, change: bool, out: &mut Outbox) {
        if let Some(mappings) = self.with_stack(|stack| stack.rebind(change)) {
            let mappings = u32::try_from(mappings).unwrap_or(u32::MAX);
            out.record(FrameId::NONE, || What::Rebound { mappings });
        }
    }

    /// Gives the machine to somebody outside: from now on it has neither stack nor applications of ours.
    pub fn give_away(&mut self) {
        if !self.is_given_away() {
            let card = self.with_stack(Stack::take_card).flatten();
            self.above = Above::Outside(Box::new(Outside { waiting: Vec::new(), card }));
        }
    }

    /// Whether somebody outside plays it.
    #[must_use]
    pub fn is_given_away(&self) -> bool {
        matches!(self.above, Above::Outside(_))
    }

    /// Moves the frames that have arrived for somebody outside into `into`, in the order of their arrival. The queue has
    /// no limit of its own, because what is lost must not depend on when somebody looks: take them after each stretch of
    /// virtual time.
    pub fn take_outward(&mut self, into: &mut Vec<Outward>) {
        if let Above::Outside(outside) = &mut self.above {
            into.append(&mut outside.waiting);
        }
    }
}

impl Node for Host {
    fn handle(&mut self, now: Time, input: Input, out: &mut Outbox) {
        if let Input::Rebind { change } = input {
            return self.rebind(change, out);
        }
        match &mut self.above {
            Above::Plain(plain) => plain.handle(now, input, out),
            Above::Apps(runtime) => runtime.handle(now, input, out),
            Above::Outside(outside) => outside.hand_over(now, input, out),
        }
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

impl Outside {
    /// What a machine that was given away does: frames in are frames out and the other way round, if its filters let them.
    fn hand_over(&mut self, now: Time, input: Input, out: &mut Outbox) {
        match input {
            Input::Frame { port, frame } => {
                let passed = match &mut self.card {
                    Some(card) => card.let_in(now, port, frame, out),
                    None => Some(frame),
                };
                let Some(Frame { id, bytes, .. }) = passed else { return };
                out.record(id, || What::ToOutside { port });
                self.waiting.push(Outward { at: now, port, bytes });
            }
            Input::Outside { port, bytes } => {
                let frame = out.new_frame(bytes, FrameId::NONE);
                let passed = match &mut self.card {
                    Some(card) => card.let_out(now, port, frame, out),
                    None => Some(frame),
                };
                if let Some(frame) = passed {
                    out.send(port, frame);
                }
            }
            Input::Command { step } => {
                let summary = "a real program plays this machine".to_string();
                out.signal(Signal::StepDone { step, ok: false, summary });
            }
            // A timer of the stack that is gone.
            Input::Timer | Input::Boot | Input::Rebind { .. } => {}
        }
    }
}

impl Plain {
    fn handle(&mut self, now: Time, input: Input, out: &mut Outbox) {
        match input {
            Input::Frame { port, frame } => {
                if !self.stack.receive(now, port, frame, out) {
                    return;
                }
                self.react(now, out);
            }
            Input::Timer => self.serve_timers(now, out),
            Input::Boot => {
                self.armed = (out.cause(), now);
                self.stack.begin(out);
                for traffic in &mut self.traffic {
                    traffic.boot(now, &mut self.stack);
                }
                self.stack.send(now, out);
                self.react(now, out);
            }
            Input::Command { step } => {
                let summary = "this machine has no applications".to_string();
                out.signal(Signal::StepDone { step, ok: false, summary });
            }
            Input::Outside { .. } | Input::Rebind { .. } => return,
        }
        let at = self.next_deadline();
        if at != self.wish {
            self.wish = at;
            out.wake_at(at);
        }
    }

    fn next_deadline(&self) -> Time {
        let traffic = self.traffic.iter().map(Traffic::deadline).min().unwrap_or(Time::MAX);
        self.stack.next_deadline().min(traffic)
    }

    fn serve_timers(&mut self, now: Time, out: &mut Outbox) {
        self.wish = Time::MAX;
        while self.stack.next_deadline() <= now {
            // Nothing due and yet not done: a bounded `send` left work behind.
            if self.stack.fire_next(now, out) || self.stack.has_work() {
                self.stack.send(now, out);
                self.react(now, out);
            }
        }
        for index in 0..self.traffic.len() {
            while self.traffic[index].deadline() <= now {
                let (armed_by, armed_at) = self.armed;
                out.timer_fired(TimerKind::App(Wait::Person), ConnId(0), armed_by, armed_at);
                self.armed = (out.cause(), now);
                self.stack.begin(out);
                self.traffic[index].on_timer(now, &mut self.stack);
                self.stack.send(now, out);
                self.react(now, out);
            }
        }
    }

    /// Lets the traffic serve its sockets until none has changed.
    fn react(&mut self, now: Time, out: &mut Outbox) {
        if self.traffic.is_empty() {
            return;
        }
        loop {
            self.stack.take_woken(&mut self.woken);
            if self.woken.is_empty() {
                return;
            }
            for id in self.woken.drain(..) {
                for traffic in &mut self.traffic {
                    traffic.on_woken(now, id, &mut self.stack);
                }
            }
            self.stack.send(now, out);
        }
    }
}
