//! Test nodes and a listener.

use std::any::Any;
use std::sync::{Arc, Mutex};

use rt_base::{
    Event, EventId, Frame, FrameId, Input, LinkId, Nanos, NodeId, Outbox, PortId, Recorder, Rng, Time, Way,
};
use rt_sim::{DirectionSpec, LinkSpec, Node, Sim};

/// Sends frames when told, notes what arrives.
#[derive(Default)]
pub(crate) struct Host {
    /// (when, port, length): sent by timer.
    pub(crate) plan: Vec<(Time, u16, usize)>,
    /// (when, frame): arrived.
    pub(crate) heard: Vec<(Time, Frame)>,
}

impl Host {
    /// Sends `lengths` at time zero out of port 0.
    pub(crate) fn burst(lengths: &[usize]) -> Host {
        Host { plan: lengths.iter().map(|len| (Time::ZERO, 0, *len)).collect(), heard: Vec::new() }
    }
}

impl Node for Host {
    fn handle(&mut self, now: Time, input: Input, out: &mut Outbox) {
        if let Input::Frame { frame, .. } = input {
            self.heard.push((now, frame));
        }
        while let Some((_, port, len)) = self.plan.first().copied().filter(|(at, ..)| *at <= now) {
            self.plan.remove(0);
            let frame = out.new_frame(vec![0; len], FrameId::NONE);
            out.send(PortId(port), frame);
        }
        if let Some((at, ..)) = self.plan.first() {
            out.wake_at(*at);
        }
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

/// Passes frames on at random (dropping, echoing, copying), a bounded number of times; sets timers at random.
pub(crate) struct Gossip {
    rng: Rng,
    ports: u16,
    left: u32,
}

impl Gossip {
    pub(crate) fn new(seed: u64, name: &str, ports: u16) -> Gossip {
        Gossip { rng: Rng::stream(seed, name, "gossip"), ports, left: 40 }
    }
}

impl Node for Gossip {
    fn handle(&mut self, now: Time, input: Input, out: &mut Outbox) {
        if let Input::Frame { frame, .. } = input {
            if self.rng.below(3) == 0 {
                out.send(PortId(self.rng.below(u64::from(self.ports)) as u16), frame);
            } else {
                out.recycle(frame.bytes);
            }
        }
        if self.left > 0 {
            self.left -= 1;
            for _ in 0..self.rng.below(4) {
                let frame = out.new_frame(vec![7; 20 + self.rng.below(1_600) as usize], FrameId::NONE);
                // One port more than there are: it leads nowhere.
                out.send(PortId(self.rng.below(u64::from(self.ports) + 1) as u16), frame);
            }
            out.wake_at(now + Nanos(self.rng.below(400_000)));
        }
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

/// What was recorded, one line each.
#[derive(Clone, Default)]
pub(crate) struct Log(pub(crate) Arc<Mutex<Vec<String>>>);

impl Log {
    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.lock().expect("no test panicked holding it").clone()
    }

    fn say(&self, line: String) {
        self.0.lock().expect("no test panicked holding it").push(line);
    }
}

impl Recorder for Log {
    fn event(&mut self, event: &Event) {
        self.say(format!("{event:?}"));
    }

    fn frame(&mut self, at: Time, node: NodeId, port: PortId, way: Way, frame: &Frame, event: EventId) {
        self.say(format!("{at} {node:?} {port:?} {way:?} {:?} {} {event:?}", frame.id, frame.len()));
    }
}

/// Two hosts and a link, the same in both directions; the first sends.
pub(crate) fn pair(direction: DirectionSpec, sender: Host) -> (Sim, LinkId) {
    let mut sim = Sim::new(1, true);
    let a = sim.add_node("a", Box::new(sender), Nanos::ZERO);
    let b = sim.add_node("b", Box::new(Host::default()), Nanos::ZERO);
    let (a, b) = ((a, PortId(0)), (b, PortId(0)));
    let link = sim.add_link(LinkSpec { a, b, ab: direction, ba: direction, mtu: 1_500 });
    (sim, link)
}

/// When the second host of a pair heard frames.
pub(crate) fn heard(sim: &mut Sim) -> Vec<u64> {
    let host = sim.node_mut::<Host>(NodeId(1)).expect("the second node is a host");
    host.heard.iter().map(|(at, _)| at.0).collect()
}
