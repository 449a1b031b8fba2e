//! What NAT adds to a forwarded packet: one router with 1,000 flows in its table beside the same router without NAT, by hand and
//! in turns, so that both see the same noise. Ours of `cargo xtask bench nat`.
//!
//! `cargo bench -p rt-stack --bench nat [-- ROUNDS]` prints `key=value` words: nanoseconds a packet (46 bytes of IP, half of
//! them there, half of them back), medians over the turns.
#![allow(clippy::disallowed_methods, reason = "it measures wall time")]

use std::net::Ipv4Addr;

use ipnet::{IpNet, Ipv4Net};
use rt_base::{EventId, Frame, FrameId, MacAddr, NodeId, Outbox, PortId, Time};
use rt_rules::{Match, NatAction, NatPorts, NatRule, Origin, PortRange, Route, RouteKind};
use rt_stack::{IfaceConfig, Stack, StackConfig};
use rt_wire::{EthernetHeader, Ipv4Header, UdpHeader, checksum, ethertype, protocol};

const FLOWS: u16 = 1_000;
const SERVERS: u8 = 10;
/// Short and many: on a busy machine most of them run without being interrupted.
const TURNS: usize = 401;
const HEADERS: usize = 42;

fn mac(last: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, last])
}

fn origin() -> Origin {
    Origin::Line { file: "bench".into(), line: 1 }
}

fn inner(flow: u16) -> (Ipv4Addr, u16) {
    (Ipv4Addr::new(10, 0, 0, 10 + (flow % 100) as u8), 5_000 + flow / 100)
}

fn server(flow: u16) -> (Ipv4Addr, u16) {
    (Ipv4Addr::new(198, 51, 100, 1 + (flow % u16::from(SERVERS)) as u8), 9_000)
}

/// A router between an inner network and a next router, which knows all neighbours.
fn router(nat: bool) -> Stack {
    let iface = |port: u8, address: Ipv4Addr| IfaceConfig {
        name: format!("eth{port}"),
        mac: mac(port),
        addresses: vec![IpNet::V4(Ipv4Net::new(address, 24).expect("a prefix"))],
        mtu: 1_500,
    };
    let next = Ipv4Addr::new(203, 0, 113, 1);
    let route = Route {
        prefix: IpNet::V4(Ipv4Net::default()),
        via: Some(next.into()),
        out: PortId(1),
        kind: RouteKind::Unicast,
        metric: 0,
        source: None,
        origin: origin(),
    };
    let mut config = StackConfig {
        interfaces: vec![iface(0, Ipv4Addr::new(10, 0, 0, 1)), iface(1, Ipv4Addr::new(203, 0, 113, 50))],
        routes: vec![route],
        forwarding: true,
        ..StackConfig::default()
    };
    if nat {
        let ports = NatPorts::Sequential(PortRange { first: 10_001, last: 65_535 });
        let when = Match { out_port: Some(PortId(1)), ..Match::default() };
        config.nat = vec![NatRule::new(when, NatAction::Masquerade { ports }, origin())];
    }
    let mut stack = Stack::new(config, 1, "router");
    stack.add_neighbor(PortId(1), next.into(), mac(9));
    for flow in 0..FLOWS.min(100) {
        stack.add_neighbor(PortId(0), inner(flow).0.into(), mac(10));
    }
    stack
}

fn datagram(to: MacAddr, src: (Ipv4Addr, u16), dst: (Ipv4Addr, u16)) -> Vec<u8> {
    let mut bytes = Vec::new();
    EthernetHeader { dst: to, src: mac(99), ethertype: ethertype::IPV4 }.emit(&mut bytes);
    Ipv4Header::new(src.0, dst.0, protocol::UDP, 64, 26).emit(&mut bytes);
    UdpHeader { src: src.1, dst: dst.1, len: 26, checksum: 0 }.emit(&mut bytes);
    bytes.resize(HEADERS + 18, 7);
    checksum::fill_transport(src.0.into(), dst.0.into(), protocol::UDP, &mut bytes[34..]);
    bytes
}

/// A router with its traffic.
struct Bed {
    stack: Stack,
    out: Outbox,
    /// By flow, there and back: the headers as they come, and the frame.
    traffic: Vec<(PortId, Vec<u8>, Frame)>,
}

impl Bed {
    fn new(nat: bool) -> Bed {
        let mut bed = Bed { stack: router(nat), out: Outbox::new(false), traffic: Vec::new() };
        for flow in 0..FLOWS {
            let there = datagram(mac(0), inner(flow), server(flow));
            let left = bed.pass(Time::ZERO, PortId(0), Frame { bytes: there.clone(), ..Frame::default() });
            let (ip, udp) = Ipv4Header::parse(&left.bytes[14..]).expect("a right header");
            assert_eq!(ip.src.octets()[0] == 203, nat, "NAT translates, and nothing else does");
            let seen = (ip.src, u16::from_be_bytes([udp[0], udp[1]]));
            let back = datagram(mac(1), server(flow), seen);
            for (port, bytes) in [(PortId(0), there), (PortId(1), back)] {
                let id = FrameId::new(NodeId(0), bed.traffic.len() as u64 + 1);
                let headers = bytes[..HEADERS].to_vec();
                bed.traffic.push((port, headers, Frame { id, parent: FrameId::NONE, bytes }));
            }
        }
        bed
    }

    fn pass(&mut self, now: Time, port: PortId, frame: Frame) -> Frame {
        self.out.begin(NodeId(0), now, EventId::NONE, (0, 0));
        self.stack.receive(now, port, frame, &mut self.out);
        self.out.frames.pop().expect("forwarded").1
    }

    /// All flows, there and back, so often; nanoseconds a packet.
    fn turn(&mut self, now: Time, rounds: u32) -> f64 {
        let start = std::time::Instant::now();
        let mut traffic = std::mem::take(&mut self.traffic);
        for _ in 0..rounds {
            for (port, headers, slot) in &mut traffic {
                let mut frame = std::mem::take(slot);
                frame.bytes[..HEADERS].copy_from_slice(headers);
                *slot = self.pass(now, *port, frame);
            }
        }
        self.traffic = traffic;
        start.elapsed().as_nanos() as f64 / (f64::from(rounds) * f64::from(FLOWS) * 2.0)
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let rounds = std::env::args().skip(1).find_map(|a| a.parse().ok()).unwrap_or(2);
    let (mut plain, mut nat) = (Bed::new(false), Bed::new(true));
    assert_eq!(nat.stack.flows(), usize::from(FLOWS));
    let (mut without, mut with, mut added) = (Vec::new(), Vec::new(), Vec::new());
    for turn in 0..TURNS {
        let now = Time(1_000_000 * turn as u64);
        let (a, b) = (plain.turn(now, rounds), nat.turn(now, rounds));
        without.push(a);
        with.push(b);
        added.push(b - a);
    }
    let (without, with, added) = (median(without), median(with), median(added));
    println!(
        "nat plain_ns={without:.1} nat_ns={with:.1} added_ns={added:.1} ratio={:.2} flows={FLOWS}",
        with / without
    );
}
