//! What happens at the same instant, signals, timers.

use std::any::Any;

use rt_base::{Input, Nanos, NodeId, Outbox, Signal, Time};
use rt_sim::{Node, Sim, StopReason};

/// Notes its inputs; on command `n` wishes a timer as `wishes[n]` says.
#[derive(Default)]
struct Timers {
    wishes: Vec<Option<u64>>,
    fired: Vec<u64>,
    again: bool,
}

impl Node for Timers {
    fn handle(&mut self, now: Time, input: Input, out: &mut Outbox) {
        match input {
            Input::Command { step } => match self.wishes[step as usize] {
                Some(at) => out.wake_at(Time(at)),
                None => out.signal(Signal::Quiet),
            },
            Input::Timer => {
                self.fired.push(now.0);
                if self.again {
                    out.wake_at(now);
                }
            }
            _ => {}
        }
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

/// Commands (time, wish) to one node; its timer fires at these times.
#[track_caller]
fn check(commands: &[(u64, u64)], fired: &[u64]) {
    let mut sim = Sim::new(1, false);
    let wishes = commands.iter().map(|(_, wish)| Some(*wish)).collect();
    let node = sim.add_node("n", Box::new(Timers { wishes, ..Timers::default() }), Nanos::ZERO);
    for (step, (at, _)) in commands.iter().enumerate() {
        sim.command(Time(*at), node, step as u32);
    }
    assert_eq!(sim.run_until(Time::MAX), StopReason::Idle);
    assert_eq!(sim.node_mut::<Timers>(node).map(|t| t.fired.clone()), Some(fired.to_vec()));
}

#[test]
fn one_wish_at_a_time() {
    check(&[(0, 10)], &[10]);
    // Later, earlier, taken back, in the past.
    check(&[(0, 10), (5, 20)], &[20]);
    check(&[(0, 20), (5, 10)], &[10]);
    check(&[(0, 20), (5, 10), (12, 15), (16, 18)], &[10, 15, 18]);
    check(&[(0, 10), (5, u64::MAX)], &[]);
    check(&[(0, 10), (5, u64::MAX), (6, 10)], &[10]);
    check(&[(7, 3)], &[7]);
    // A command at the same instant comes first and moves the wish.
    check(&[(0, 10), (10, 30)], &[30]);
    check(&[(0, 100), (1, 200), (2, 300), (150, 160)], &[160]);
}

#[test]
fn signals_stop_the_run() {
    let mut sim = Sim::new(1, false);
    let node = sim.add_node("n", Box::new(Timers { wishes: vec![None], ..Timers::default() }), Nanos::ZERO);
    for at in [5, 5, 9] {
        sim.command(Time(at), node, 0);
    }
    assert_eq!(sim.run_until(Time(7)), StopReason::Signals);
    assert_eq!(sim.take_signals(), [(Time(5), NodeId(0), Signal::Quiet)]);
    assert_eq!(sim.run_until(Time(7)), StopReason::Signals);
    assert_eq!(sim.take_signals().len(), 1);
    assert_eq!((sim.run_until(Time(7)), sim.now()), (StopReason::Limit, Time(7)));
    assert_eq!(sim.run_until(Time::MAX), StopReason::Signals);
}

#[test]
#[should_panic(expected = "asks for timers at 0.000000001 without end")]
fn a_node_must_let_time_pass() {
    let mut sim = Sim::new(1, false);
    let node = Timers { wishes: vec![Some(1)], again: true, ..Timers::default() };
    let node = sim.add_node("n", Box::new(node), Nanos::ZERO);
    sim.command(Time(0), node, 0);
    sim.run_until(Time::MAX);
}
