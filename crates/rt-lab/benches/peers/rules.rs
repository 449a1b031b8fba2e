//! What filter rules cost: a new flow against a chain of 100 and of 10,000 rules; and the topology of `chain` with a firewall of
//! 1,000 rules on the path and traffic spread over 100,000 flows, against the same without rules and with one flow.
//!
//! Ten routers between a source and a sink that are no more than that (frames made and checked with their checksums, no stack),
//! links as in `chain`. A firewall tracks connections and keeps verdicts; it has not seen the flows before. In processor time:
//! these are ratios of our own runs.

use std::any::Any;
use std::net::Ipv4Addr;

use ipnet::{IpNet, Ipv4Net};
use rt_base::{EventId, Frame, FrameId, HookPoint, Input, MacAddr, Nanos, NodeId, Outbox, PortId, Time};
use rt_rules::{
    Action, Chain, ConntrackOptions, CtState, Filter, Match, Origin, Policy, PortRange, Route, RouteKind,
};
use rt_sim::{DirectionSpec, LinkSpec, Node, QueueSpec, Sim};
use rt_stack::{IfaceConfig, Stack, StackConfig};
use rt_wire::{EthernetHeader, Ipv4Header, UdpHeader, checksum, ethertype, protocol};

use crate::measure::{Cpu, Report};

const ROUTERS: u8 = 10;
const FLOWS: u32 = 100_000;
/// Packets of each flow.
const ROUNDS: u32 = 10;
const RULES: u32 = 1_000;
/// New flows that are measured.
const NEW: u32 = 40_000;
const PAYLOAD: usize = 1_000;

/// Both figures, each as a ratio.
pub(crate) fn rules() {
    let least = |rules: u32| (0..5).map(|_| new_flow(rules)).fold(f64::INFINITY, f64::min);
    let (few, many) = (least(100), least(10_000));
    let plain = chain(1, |_| None);
    let spread = chain(FLOWS, |_| None);
    let one = chain(FLOWS, |router| (router == ROUTERS / 2).then(|| policy(RULES)));
    let all = chain(FLOWS, |_| Some(policy(RULES)));
    Report::new("rules")
        .put("new_flow_100_ns", few)
        .put("new_flow_10000_ns", many)
        .put("new_flow_ratio", many / few)
        .put("chain_packet_hops_per_s", plain)
        .put("without_rules_ratio", spread / plain)
        .put("one_firewall_ratio", one / plain)
        .put("ten_firewalls_ratio", all / plain)
        .print();
}

fn origin() -> Origin {
    Origin::Resource { address: "bench".into() }
}

fn mac(node: u8, port: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, node, port])
}

/// What is known passes, then one rule for each service.
fn policy(count: u32) -> Chain {
    let known = Match { states: vec![CtState::Established, CtState::Related], ..Match::default() };
    let rule = |n: u32| {
        let (_, port) = ports(n);
        let dport = Some(PortRange { first: port, last: port });
        Match { protocol: Some(protocol::UDP), dport, ..Match::default() }
    };
    let rules = std::iter::once(known).chain((0..count).map(rule));
    let rules = rules.map(|when| Filter::new(when, Action::Accept, origin())).collect();
    Chain { hook: HookPoint::Forward, rules, policy: Policy::new(Action::Drop, origin()) }
}

/// Source and destination port of flow `n`: 100 clients' ports to each of 1,000 services.
fn ports(n: u32) -> (u16, u16) {
    (10_000 + (n / RULES) as u16, 9_000 + (n % RULES) as u16)
}

/// Rules as firewalls have them: hosts and networks to services, of which a flow meets one or none.
fn services(count: u32) -> Chain {
    let v4 = |a: u8, b: u8, c: u8, d: u8, len| {
        IpNet::V4(Ipv4Net::new(Ipv4Addr::new(a, b, c, d), len).expect("a length"))
    };
    let rule = |n: u32| {
        let (a, b) = ((n >> 8) as u8, n as u8);
        let mut when = Match { protocol: Some(protocol::UDP), ..Match::default() };
        match n % 4 {
            0 => when.src = vec![v4(10, a, b, 0, 24)],
            1 => when.dst = vec![v4(172, 16, a, b, 32)],
            2 => (when.src, when.dst) = (vec![v4(10, a, 0, 0, 16)], vec![v4(172, 16, b, 0, 24)]),
            _ => {}
        }
        let port = 1_000 + n as u16;
        when.dport = Some(PortRange { first: port, last: port });
        Filter::new(when, Action::Drop, origin())
    };
    let rules = (0..count).map(rule).collect();
    Chain { hook: HookPoint::Forward, rules, policy: Policy::new(Action::Accept, origin()) }
}

/// The router between links `index` and `index + 1` of the chain.
fn router(index: u8, chain: Option<Chain>) -> Stack {
    let iface = |port: u8, third: u8, last: u8| IfaceConfig {
        name: format!("eth{port}"),
        mac: mac(index, port),
        addresses: vec![IpNet::V4(Ipv4Net::new(Ipv4Addr::new(10, 0, third, last), 24).expect("a length"))],
        mtu: 1_500,
    };
    let next = Ipv4Addr::new(10, 0, index + 1, 2);
    let on = Route {
        prefix: IpNet::V4(Ipv4Net::default()),
        via: Some(next.into()),
        out: PortId(1),
        kind: RouteKind::Unicast,
        metric: 0,
        source: None,
        origin: origin(),
    };
    let config = StackConfig {
        interfaces: vec![iface(0, index, 2), iface(1, index + 1, 1)],
        routes: vec![on],
        chains: chain.into_iter().collect(),
        forwarding: true,
        conntrack: ConntrackOptions { max: 2 * FLOWS, ..ConntrackOptions::default() },
        ..StackConfig::default()
    };
    let mut stack = Stack::new(config, 1, &format!("r{index}"));
    stack.add_neighbor(PortId(1), next.into(), mac(index + 1, 0));
    stack
}

/// A datagram of a flow, with the same checksum work as a host's.
fn datagram(mut bytes: Vec<u8>, (src, sport): (Ipv4Addr, u16), (dst, dport): (Ipv4Addr, u16)) -> Vec<u8> {
    EthernetHeader { dst: mac(0, 0), src: mac(200, 0), ethertype: ethertype::IPV4 }.emit(&mut bytes);
    let len = UdpHeader::LEN + PAYLOAD;
    Ipv4Header::new(src, dst, protocol::UDP, 64, len).emit(&mut bytes);
    UdpHeader { src: sport, dst: dport, len: len as u16, checksum: 0 }.emit(&mut bytes);
    bytes.resize(34 + len, 0);
    checksum::fill_transport(src.into(), dst.into(), protocol::UDP, &mut bytes[34..]);
    bytes
}

/// Nanoseconds for the first packet of a flow through a router with so many rules.
fn new_flow(rules: u32) -> f64 {
    let mut stack = router(0, Some(services(rules)));
    let mut out = Outbox::new(false);
    let flow = |n: u32| {
        let spread = n.wrapping_mul(2_654_435_761);
        let src = Ipv4Addr::new(10, (spread >> 24) as u8 % 40, (spread >> 16) as u8, n as u8);
        let dst = Ipv4Addr::new(172, 16, (spread >> 8) as u8 % 40, spread as u8);
        datagram(
            Vec::new(),
            (src, 20_000 + (n % 20_000) as u16),
            (dst, 30_000 + (spread >> 12) as u16 % 9_000),
        )
    };
    let frames: Vec<Vec<u8>> = (0..NEW).map(flow).collect();
    out.begin(NodeId(0), Time::ZERO, EventId::NONE, (0, 0));
    let cpu = Cpu::now();
    for (n, bytes) in frames.into_iter().enumerate() {
        let frame = Frame { id: FrameId::new(NodeId(0), n as u64 + 1), parent: FrameId::NONE, bytes };
        stack.receive(Time::ZERO, PortId(0), frame, &mut out);
        let (_, frame) = out.frames.pop().expect("forwarded");
        out.recycle(frame.bytes);
    }
    assert_eq!(stack.flows(), NEW as usize, "every packet began a flow");
    cpu.seconds() * 1e9 / f64::from(NEW)
}

struct Router(Stack);

impl Node for Router {
    fn handle(&mut self, now: Time, input: Input, out: &mut Outbox) {
        if let Input::Frame { port, frame } = input {
            self.0.receive(now, port, frame, out);
        }
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

struct Source {
    flows: u32,
    sent: u32,
}

impl Node for Source {
    fn handle(&mut self, now: Time, input: Input, out: &mut Outbox) {
        if !matches!(input, Input::Boot | Input::Timer) || self.sent == FLOWS * ROUNDS {
            return;
        }
        let (from, to) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, ROUTERS, 2));
        let (sport, dport) = ports(self.sent % self.flows);
        let buffer = out.buffer(34 + UdpHeader::LEN + PAYLOAD);
        let frame = out.new_frame(datagram(buffer, (from, sport), (to, dport)), FrameId::NONE);
        out.send(PortId(0), frame);
        self.sent += 1;
        out.wake_at(now + Nanos(2_000));
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

#[derive(Default)]
struct Sink(u32);

impl Node for Sink {
    fn handle(&mut self, _: Time, input: Input, out: &mut Outbox) {
        let Input::Frame { frame, .. } = input else { return };
        let (ip, _) = Ipv4Header::parse(&frame.bytes[14..]).expect("a datagram");
        assert!(checksum::transport_holds(ip.src.into(), ip.dst.into(), ip.protocol, &frame.bytes[34..]));
        self.0 += 1;
        out.recycle(frame.bytes);
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

/// Packet-hops per second of the chain, whose routers have these chains.
fn chain(flows: u32, of: impl Fn(u8) -> Option<Chain>) -> f64 {
    let mut sim = Sim::new(1, false);
    sim.add_node("source", Box::new(Source { flows, sent: 0 }), Nanos::ZERO);
    for index in 0..ROUTERS {
        sim.add_node(&format!("r{index}"), Box::new(Router(router(index, of(index)))), Nanos::ZERO);
    }
    let sink = sim.add_node("sink", Box::<Sink>::default(), Nanos::ZERO);
    let direction = DirectionSpec {
        rate_bps: 10_000_000_000,
        delay: Nanos::from_millis(1),
        queue: QueueSpec::Packets(1_000),
        ..DirectionSpec::default()
    };
    for link in 0..=u32::from(ROUTERS) {
        // The source has one interface, a router its outer one for the next link.
        let a = (NodeId(link), PortId(u16::from(link > 0)));
        let b = (NodeId(link + 1), PortId(0));
        sim.add_link(LinkSpec { a, b, ab: direction, ba: direction, mtu: 1_500 });
    }
    let cpu = Cpu::now();
    sim.boot();
    while sim.run_until(Time::MAX) == rt_sim::StopReason::Signals {
        sim.take_signals();
    }
    let seconds = cpu.seconds();
    let got = sim.node_mut::<Sink>(sink).expect("the sink").0;
    assert_eq!(got, FLOWS * ROUNDS, "every datagram arrives");
    f64::from(got) * f64::from(ROUTERS + 1) / seconds
}
