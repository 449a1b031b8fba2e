//! Frames from outside: their order, their causes, and that the same calls give the same run.

use std::any::Any;

use rt_base::{AppRecord, FrameId, Input, Nanos, NodeId, Outbox, PortId, ReqId, Rng, Time};
use rt_sim::{DirectionSpec, LinkSpec, Node, Sim};

use crate::nodes::{Gossip, Host, Log};

/// Played from outside: passes on what it is given.
#[derive(Default)]
struct Played;

impl Node for Played {
    fn handle(&mut self, _: Time, input: Input, out: &mut Outbox) {
        match input {
            Input::Outside { port, bytes } => {
                let frame = out.new_frame(bytes, FrameId::NONE);
                out.send(port, frame);
            }
            Input::Frame { frame, .. } => out.recycle(frame.bytes),
            _ => {}
        }
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

const PLAYED: NodeId = NodeId(0);

/// A played node, its link, and the node at the other end.
fn world(other: Box<dyn Node>, log: Log) -> Sim {
    let mut sim = Sim::new(1, true);
    sim.add_node("played", Box::new(Played), Nanos(5));
    let other = sim.add_node("other", other, Nanos::ZERO);
    let (a, b) = ((PLAYED, PortId(0)), (other, PortId(0)));
    let way = DirectionSpec { rate_bps: 0, delay: Nanos(100), ..DirectionSpec::default() };
    sim.add_link(LinkSpec { a, b, ab: way, ba: way, mtu: 1_500 });
    sim.set_recorder(Box::new(log));
    sim
}

#[test]
fn frames_from_outside_arrive_in_the_order_of_the_calls() {
    let mut sim = world(Box::new(Host::default()), Log::default());
    sim.inject(Time(10), PLAYED, PortId(0), vec![1]);
    sim.inject(Time(10), PLAYED, PortId(0), vec![2]);
    assert_eq!(sim.next_time(), Some(Time(10)));
    sim.run_until(Time(20));
    assert_eq!(sim.next_time(), Some(Time(115)));
    // The past is now; a port without a link and a frame beyond the MTU end with a reason.
    sim.inject(Time(3), PLAYED, PortId(0), vec![3]);
    sim.inject(Time(30), PLAYED, PortId(9), vec![4]);
    sim.inject(Time(30), PLAYED, PortId(0), vec![5; 5_000]);
    sim.run_until(Time(1_000));
    assert_eq!((sim.next_time(), sim.stats().holds()), (None, true));
    let host = sim.node_mut::<Host>(NodeId(1)).unwrap();
    let heard: Vec<(u64, u8)> = host.heard.iter().map(|(at, f)| (at.0, f.bytes[0])).collect();
    assert_eq!(heard, [(115, 1), (115, 2), (125, 3)]);
    assert_eq!(sim.stats().dropped_total(), 2);
}

#[test]
fn what_came_from_outside_is_the_cause_of_what_follows() {
    let log = Log::default();
    let mut sim = world(Box::new(Host::default()), log.clone());
    sim.say(Time(7), PLAYED, AppRecord::StepBegin { step: 0, text: "curl".into() });
    sim.inject(Time(10), PLAYED, PortId(0), vec![1]);
    sim.run_until(Time(200));
    let lines = log.lines();
    assert!(lines[0].contains("at: 0.000000007") && lines[0].contains("because: e0.0"), "{}", lines[0]);
    assert!(lines[1].contains("id: e0.2") && lines[1].contains("FromOutside"), "{}", lines[1]);
    assert!(lines[2].contains("because: e0.2") && lines[2].contains("Transmit"), "{}", lines[2]);
}

/// Frames from outside at random into a world that gossips.
fn run(seed: u64, turns: &[u64]) -> Vec<String> {
    let log = Log::default();
    let mut sim = world(Box::new(Gossip::new(seed, "other", 1)), log.clone());
    sim.boot();
    let mut dice = Rng::stream(seed, "outside", "frames");
    let mut at = Time::ZERO;
    for _ in 0..200 {
        let before = at;
        at += Nanos(dice.below(5_000));
        // However often the world is looked at in between.
        for turn in turns {
            sim.run_until(Time(before.0 + turn).min(at));
        }
        sim.run_until(at);
        sim.inject(at, PLAYED, PortId(0), vec![1; 20 + dice.below(1_400) as usize]);
        if dice.below(10) == 0 {
            let (req, code) = (ReqId(0), "outside".into());
            sim.say(at, PLAYED, AppRecord::Note { req, code, text: String::new() });
        }
    }
    sim.run_until(Time::MAX);
    assert!(sim.stats().holds());
    log.lines()
}

#[test]
fn the_same_frames_at_the_same_times_give_the_same_run() {
    for seed in 0..20 {
        let first = run(seed, &[]);
        assert!(first.len() > 600, "{}", first.len());
        assert_eq!(first, run(seed, &[1, 10, 100, 1_000]), "seed {seed}");
    }
}
