//! Our router, fed by hand.

use std::net::IpAddr;

use ipnet::IpNet;
use rt_base::{DropReason, EventId, FrameId, MacAddr, Nanos, NodeId, Outbox, PortId, Time, What};
use rt_rules::{ConntrackOptions, Route, RouteKind};
use rt_stack::{IfaceConfig, Stack, StackConfig};

use crate::cases::{GATEWAY, INSIDE, OUTSIDE, ROUTER, Rules, origin};
use crate::packets::{mac_of, router_mac};

pub(crate) struct Ours {
    stack: Stack,
    now: Time,
    counters: (u64, u64),
    /// Why the last packet ended here, if it did.
    pub(crate) drops: Vec<DropReason>,
}

impl Ours {
    pub(crate) fn start(rules: &Rules) -> Ours {
        let nets = [vec![ROUTER[0]], vec![ROUTER[1], ROUTER[2]]];
        let interface = |(index, addresses): (usize, Vec<std::net::Ipv4Addr>)| IfaceConfig {
            name: format!("eth{index}"),
            mac: MacAddr(router_mac(index)),
            addresses: addresses
                .into_iter()
                .map(|a| IpNet::new(IpAddr::V4(a), 24).expect("a length"))
                .collect(),
            mtu: 1500,
        };
        let default = Route {
            prefix: "0.0.0.0/0".parse().expect("a prefix"),
            via: Some(IpAddr::V4(GATEWAY)),
            out: PortId(1),
            kind: RouteKind::Unicast,
            metric: 0,
            source: None,
            origin: origin(),
        };
        // Nothing may time out here that the kernel, whose run takes no time, still knows.
        let long = Nanos::from_secs(36_000);
        let conntrack = ConntrackOptions {
            tcp_syn_sent: long,
            tcp_syn_received: long,
            tcp_fin_wait: long,
            tcp_last_ack: long,
            tcp_time_wait: long,
            tcp_closed: long,
            udp: long,
            udp_answered: long,
            icmp: long,
            ..ConntrackOptions::default()
        };
        let config = StackConfig {
            conntrack,
            interfaces: nets.into_iter().enumerate().map(interface).collect(),
            routes: vec![default],
            chains: rules.chains.clone(),
            nat: rules.nat.clone(),
            forwarding: true,
            ..StackConfig::default()
        };
        let mut stack = Stack::new(config, 1, "router");
        let all = INSIDE.iter().map(|a| (a, 0)).chain(OUTSIDE[..2].iter().chain([&GATEWAY]).map(|a| (a, 1)));
        for (address, port) in all {
            stack.add_neighbor(PortId(port), IpAddr::V4(*address), MacAddr(mac_of(*address)));
        }
        Ours { stack, now: Time(1_000_000_000), counters: (0, 0), drops: Vec::new() }
    }

    /// Gives it a frame; what leaves because of it, by device.
    pub(crate) fn send(&mut self, port: usize, frame: &[u8]) -> Vec<(usize, Vec<u8>)> {
        // Slow enough for no limit of ICMP errors to be felt.
        self.now += Nanos::from_millis(1_100);
        let mut out = Outbox::new(true);
        out.begin(NodeId(0), self.now, EventId::NONE, self.counters);
        self.stack.begin(&out);
        let frame = out.new_frame(frame.to_vec(), FrameId::NONE);
        self.stack.receive(self.now, PortId(port as u16), frame, &mut out);
        self.stack.send(self.now, &mut out);
        self.counters = out.counters();
        let dropped = |what: &What| match what {
            What::Drop { reason, .. } => Some(*reason),
            _ => None,
        };
        self.drops = out.events.iter().filter_map(|e| dropped(&e.what)).collect();
        out.frames.drain(..).map(|(port, frame)| (usize::from(port.0), frame.bytes)).collect()
    }
}
