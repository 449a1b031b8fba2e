//! What one stack costs per forwarded packet, without the simulator: frames of 1,042 bytes go through ten routers by hand.
//!
//! `cargo run --release -p rt-stack --example forward [plain|filter|nat] [ROUNDS]`. Numbers are for comparing two builds on
//! one machine in one minute; nothing tests them.
#![allow(clippy::disallowed_methods, reason = "it measures wall time")]

use std::net::Ipv4Addr;

use ipnet::{IpNet, Ipv4Net};
use rt_base::{EventId, Frame, FrameId, HookPoint, MacAddr, NodeId, Outbox, PortId, Time};
use rt_rules::{
    Action, Chain, CtState, Filter, Match, NatAction, NatPorts, NatRule, Origin, Policy, PortRange, Route,
    RouteKind,
};
use rt_stack::{IfaceConfig, Stack, StackConfig};
use rt_wire::{
    ArpOperation, ArpPacket, EthernetHeader, Ipv4Header, UdpHeader, checksum, ethertype, protocol,
};

const ROUTERS: u8 = 10;
const FRAMES: usize = 64;
const ROUTES: u8 = 20;

fn mac(router: u8, port: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, router, port])
}

fn origin() -> Origin {
    Origin::Line { file: "bench".into(), line: 1 }
}

fn router(index: u8, kind: &str) -> StackConfig {
    let iface = |port: u8, third: u8, last: u8| IfaceConfig {
        name: format!("eth{port}"),
        mac: mac(index, port),
        addresses: vec![IpNet::V4(Ipv4Net::new(Ipv4Addr::new(10, 0, third, last), 24).expect("a prefix"))],
        mtu: 1_500,
    };
    let route = |n: u8| Route {
        prefix: format!("10.{}.0.0/16", 100 + n).parse().expect("a prefix"),
        via: Some(Ipv4Addr::new(10, 0, index + 1, 2).into()),
        out: PortId(1),
        kind: RouteKind::Unicast,
        metric: 0,
        source: None,
        origin: origin(),
    };
    let mut config = StackConfig {
        interfaces: vec![iface(0, index, 2), iface(1, index + 1, 1)],
        routes: (0..ROUTES).map(route).collect(),
        forwarding: true,
        ..StackConfig::default()
    };
    let known = Match { states: vec![CtState::Established], ..Match::default() };
    let rules = vec![Filter::new(known, Action::Accept, origin())];
    let policy = Policy::new(Action::Accept, origin());
    if kind != "plain" {
        config.chains = vec![Chain { hook: HookPoint::Forward, rules, policy }];
    }
    if kind == "nat" {
        let ports = NatPorts::Sequential(PortRange { first: 10_001, last: 65_535 });
        let when = Match { out_port: Some(PortId(1)), ..Match::default() };
        config.nat = vec![NatRule::new(when, NatAction::Masquerade { ports }, origin())];
    }
    config
}

fn ethernet(dst: MacAddr, kind: u16) -> Vec<u8> {
    let mut bytes = Vec::new();
    EthernetHeader { dst, src: mac(99, 0), ethertype: kind }.emit(&mut bytes);
    bytes
}

/// The next router introduces itself.
fn introduction(index: u8) -> Vec<u8> {
    let mut bytes = ethernet(mac(index, 1), ethertype::ARP);
    ArpPacket {
        operation: ArpOperation::Request,
        sender_mac: mac(index + 1, 0),
        sender_ip: Ipv4Addr::new(10, 0, index + 1, 2),
        target_mac: mac(index, 1),
        target_ip: Ipv4Addr::new(10, 0, index + 1, 1),
    }
    .emit(&mut bytes);
    bytes
}

fn datagram(flow: u16) -> Vec<u8> {
    let (src, dst) = (Ipv4Addr::new(10, 0, 0, 77), Ipv4Addr::new(10, 105, 3, 4));
    let mut bytes = ethernet(mac(0, 0), ethertype::IPV4);
    Ipv4Header::new(src, dst, protocol::UDP, 64, 1_008).emit(&mut bytes);
    UdpHeader { src: 5_000 + flow, dst: 9_000, len: 1_008, checksum: 0 }.emit(&mut bytes);
    bytes.resize(1_042, 7);
    checksum::fill_transport(src.into(), dst.into(), protocol::UDP, &mut bytes[34..]);
    bytes
}

fn main() {
    let kind = std::env::args().nth(1).unwrap_or_else(|| "plain".into());
    let rounds: u32 = std::env::args().nth(2).and_then(|n| n.parse().ok()).unwrap_or(20_000);
    let mut out = Outbox::new(false);
    let mut stacks: Vec<Stack> =
        (0..ROUTERS).map(|n| Stack::new(router(n, &kind), 1, &format!("r{n}"))).collect();
    for (index, stack) in stacks.iter_mut().enumerate() {
        out.begin(NodeId(index as u32), Time::ZERO, EventId::NONE, (0, 0));
        let frame = Frame { bytes: introduction(index as u8), ..Frame::default() };
        stack.receive(Time::ZERO, PortId(1), frame, &mut out);
        out.frames.clear();
    }
    let originals: Vec<Vec<u8>> = (0..FRAMES).map(|n| datagram(n as u16 % 16)).collect();
    let mut frames: Vec<Frame> = (0..FRAMES)
        .map(|n| Frame {
            id: FrameId::new(NodeId(0), n as u64 + 1),
            parent: FrameId::NONE,
            bytes: originals[n].clone(),
        })
        .collect();
    let start = std::time::Instant::now();
    for round in 0..rounds {
        let now = Time(u64::from(round) * 1_000);
        for (slot, original) in frames.iter_mut().zip(&originals) {
            let mut frame = core::mem::take(slot);
            frame.bytes[..42].copy_from_slice(&original[..42]);
            for (index, stack) in stacks.iter_mut().enumerate() {
                out.begin(NodeId(index as u32), now, EventId::NONE, (0, 0));
                stack.receive(now, PortId(0), frame, &mut out);
                (_, frame) = out.frames.pop().expect("forwarded");
            }
            *slot = frame;
        }
    }
    let hops = u64::from(rounds) * FRAMES as u64 * u64::from(ROUTERS);
    println!("{kind} {:.1} ns/packet-hop ({hops} hops)", start.elapsed().as_nanos() as f64 / hops as f64);
}
