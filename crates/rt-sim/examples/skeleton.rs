//! What the engine alone costs: the chain of `cargo xtask bench chain` with the leanest forwarder that still does its
//! work (header check, longest prefix, TTL, MACs), and many hosts with one timer and one frame each.
//!
//! `cargo run --release -p rt-sim --example skeleton [chain|record|hosts [ROUNDS]]`

use std::any::Any;
use std::net::{IpAddr, Ipv4Addr};

use rt_base::{
    Event, EventId, Frame, FrameId, Input, MacAddr, Nanos, NodeId, Outbox, PortId, Recorder, Time, Way,
};
use rt_sim::{DirectionSpec, LinkSpec, Node, QueueSpec, Sim, StopReason};
use rt_wire::{EthernetHeader, Ipv4Header, UdpHeader, checksum, ethertype, protocol, rewrite};

const PACKETS: u32 = 200_000;
const ROUTERS: u32 = 10;
const SRC: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const DST: Ipv4Addr = Ipv4Addr::new(10, 0, 99, 2);

struct Source {
    left: u32,
    every: Nanos,
}

impl Node for Source {
    fn handle(&mut self, now: Time, _: Input, out: &mut Outbox) {
        let mut bytes = out.buffer(1_042);
        EthernetHeader { dst: MacAddr::BROADCAST, src: MacAddr::default(), ethertype: ethertype::IPV4 }
            .emit(&mut bytes);
        Ipv4Header::new(SRC, DST, protocol::UDP, 64, 1_008).emit(&mut bytes);
        UdpHeader { src: 9, dst: 9_000, len: 1_008, checksum: 0 }.emit(&mut bytes);
        bytes.resize(1_042, 7);
        checksum::fill_transport(IpAddr::V4(SRC), IpAddr::V4(DST), protocol::UDP, &mut bytes[34..]);
        let frame = out.new_frame(bytes, FrameId::NONE);
        out.send(PortId(0), frame);
        self.left -= 1;
        if self.left > 0 {
            out.wake_at(now + self.every);
        }
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

struct Forwarder {
    routes: Vec<(u32, u32, PortId)>,
}

impl Node for Forwarder {
    fn handle(&mut self, _: Time, input: Input, out: &mut Outbox) {
        let Input::Frame { mut frame, .. } = input else { return };
        let Some(port) = self.forward(&mut frame) else { return out.recycle(frame.bytes) };
        out.send(port, frame);
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

impl Forwarder {
    fn forward(&self, frame: &mut Frame) -> Option<PortId> {
        let (ethernet, payload) = EthernetHeader::parse(&frame.bytes).ok()?;
        let (ip, _) = Ipv4Header::parse(payload).ok()?;
        if ethernet.ethertype != ethertype::IPV4 || ip.ttl <= 1 {
            return None;
        }
        let dst = u32::from(ip.dst);
        let route = self.routes.iter().find(|(net, mask, _)| dst & mask == *net)?;
        rewrite::decrement_ttl(&mut frame.bytes[14..]);
        rewrite::set_macs(&mut frame.bytes, ethernet.src, ethernet.dst);
        Some(route.2)
    }
}

#[derive(Default)]
struct Sink {
    good: u32,
}

impl Node for Sink {
    fn handle(&mut self, _: Time, input: Input, out: &mut Outbox) {
        let Input::Frame { frame, .. } = input else { return };
        if let Ok((ip, udp)) = Ipv4Header::parse(&frame.bytes[14..])
            && checksum::transport_holds(IpAddr::V4(ip.src), IpAddr::V4(ip.dst), ip.protocol, udp)
        {
            self.good += 1;
        }
        out.recycle(frame.bytes);
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

/// Keeps events in recycled chunks, as an event store would.
#[derive(Default)]
struct Keep {
    chunk: Vec<Event>,
    all: u64,
}

impl Recorder for Keep {
    fn event(&mut self, event: &Event) {
        if self.chunk.len() == 65_536 {
            self.chunk.clear();
        }
        self.chunk.push(event.clone());
        self.all += 1;
    }

    fn frame(&mut self, _: Time, _: NodeId, _: PortId, _: Way, _: &Frame, _: EventId) {}

    fn wants_frames(&self) -> bool {
        false
    }
}

fn chain(recording: bool) {
    let mut sim = Sim::new(1, recording);
    if recording {
        sim.set_recorder(Box::new(Keep::default()));
    }
    let net = |i: u32| u32::from(Ipv4Addr::new(10, 0, i as u8, 0));
    let mut last =
        sim.add_node("source", Box::new(Source { left: PACKETS, every: Nanos(2_000) }), Nanos::ZERO);
    let direction =
        DirectionSpec { rate_bps: 10_000_000_000, delay: Nanos::from_millis(1), ..DirectionSpec::default() };
    for i in 0..=ROUTERS {
        let mut routes: Vec<_> = (0..20).map(|i| (net(i), 0xffff_ff00, PortId(0))).collect();
        routes.push((0, 0, PortId(1)));
        let node: Box<dyn Node> =
            if i < ROUTERS { Box::new(Forwarder { routes }) } else { Box::new(Sink::default()) };
        let node = sim.add_node(&format!("r{i}"), node, Nanos::ZERO);
        let port = PortId(u16::from(last.0 != 0));
        sim.add_link(LinkSpec {
            a: (last, port),
            b: (node, PortId(0)),
            ab: direction,
            ba: direction,
            mtu: 1_500,
        });
        last = node;
    }
    let hops = u64::from(PACKETS * (ROUTERS + 1));
    let name = if recording { "record" } else { "chain" };
    measure(name, hops, || {
        sim.command(Time::ZERO, NodeId(0), 0);
        assert_eq!(sim.run_until(Time::MAX), StopReason::Idle);
    });
    assert_eq!(sim.node_mut::<Sink>(last).map(|s| s.good), Some(PACKETS));
    assert!(sim.stats().holds());
}

/// Sends a small frame whenever its timer fires, every millisecond or so, each host at its own pace.
struct Ticker {
    every: Nanos,
    left: u32,
}

impl Node for Ticker {
    fn handle(&mut self, now: Time, input: Input, out: &mut Outbox) {
        match input {
            Input::Boot => out.wake_at(Time::ZERO + self.every),
            Input::Frame { frame, .. } => out.recycle(frame.bytes),
            _ => {
                let mut bytes = out.buffer(64);
                bytes.resize(64, 1);
                let frame = out.new_frame(bytes, FrameId::NONE);
                out.send(PortId(0), frame);
                self.left -= 1;
                out.wake_at(if self.left == 0 { Time::MAX } else { now + self.every });
            }
        }
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

fn hosts(count: u32) {
    let mut sim = Sim::new(1, false);
    let rounds = 100;
    let direction = DirectionSpec {
        delay: Nanos::from_millis(1),
        queue: QueueSpec::Packets(100),
        ..DirectionSpec::default()
    };
    for i in 0..count {
        let every = Nanos(1_000_000 + u64::from(i.wrapping_mul(2_654_435_761) % 1_000_000));
        let node = sim.add_node(&format!("h{i}"), Box::new(Ticker { every, left: rounds }), Nanos::ZERO);
        if i % 2 == 1 {
            let a = NodeId(node.0 - 1);
            sim.add_link(LinkSpec {
                a: (a, PortId(0)),
                b: (node, PortId(0)),
                ab: direction,
                ba: direction,
                mtu: 1_500,
            });
        }
    }
    measure("hosts", u64::from(count * rounds * 2), || {
        sim.boot();
        assert_eq!(sim.run_until(Time::MAX), StopReason::Idle);
    });
    assert!(sim.stats().holds() && sim.stats().delivered == u64::from(count * rounds));
}

#[allow(clippy::disallowed_methods, reason = "a benchmark measures the wall clock")]
fn measure(name: &str, count: u64, run: impl FnOnce()) {
    let start = std::time::Instant::now();
    run();
    let took = start.elapsed();
    println!("{name}: {:.1} ns each, {count} in {took:?}", took.as_nanos() as f64 / count as f64);
}

fn main() {
    let which = std::env::args().nth(1);
    let wanted = |name: &str| which.as_deref().is_none_or(|w| w == name);
    let rounds = std::env::args().nth(2).and_then(|n| n.parse().ok()).unwrap_or(3);
    for _ in 0..rounds {
        if wanted("chain") {
            chain(false);
        }
        if wanted("record") {
            chain(true);
        }
        if wanted("hosts") {
            hosts(10_000);
        }
    }
}
