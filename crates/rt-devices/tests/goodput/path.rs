//! One TCP connection from a host over a router to another host, and how much it gets through in a steady state.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ipnet::IpNet;
use rt_base::{MacAddr, Nanos, NodeId, PortId, Time};
use rt_devices::{Host, Traffic};
use rt_rules::{Origin, Route, RouteKind};
use rt_sim::{DirectionSpec, LinkSpec, QueueSpec, Sim, StopReason};
use rt_stack::tcp::{CongestionKind, CongestionState, Info, TcpConfig};
use rt_stack::{IfaceConfig, Stack, StackConfig};

/// Payload of a full segment with timestamps, bytes.
pub(crate) const MSS: u64 = 1_448;
const PORT: u16 = 5_001;

/// A path and what is sent over it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Path {
    pub(crate) congestion: CongestionKind,
    /// The second link; the first one is far faster.
    pub(crate) rate_bps: u64,
    pub(crate) rtt: Nanos,
    pub(crate) queue: QueueSpec,
    /// Random loss, ppm, of the second link.
    pub(crate) loss_ppm: u32,
    /// Regular loss: every so many frames one, 0 for none.
    pub(crate) loss_every: u64,
    /// An ACK for every segment, as the formulae have it; else they are delayed as on Linux.
    pub(crate) ack_every: bool,
    /// Left out at the beginning.
    pub(crate) warm_up: Nanos,
    /// Counted.
    pub(crate) counted: Nanos,
}

fn address(net: u8, host: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, net, host).into()
}

fn mac(node: u8, port: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, node, port])
}

struct Machine {
    name: &'static str,
    ends: &'static [(u8, u8)],
    via: Option<IpAddr>,
    traffic: Vec<Traffic>,
}

/// What was seen in the counted time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    /// Payload bits per second at the receiver.
    pub(crate) bps: u64,
    /// What arrived in a round-trip time, in full segments: the window that the goodput stands for.
    pub(crate) delivered: f64,
    /// The congestion window in segments while no loss is being repaired, the mean of four looks per round trip.
    pub(crate) cwnd: f64,
}

fn advance(sim: &mut Sim, until: Time) {
    while sim.run_until(until) == StopReason::Signals {
        sim.take_signals();
    }
}

/// Payload bytes at the receiver so far.
fn received(sim: &mut Sim) -> u64 {
    let sink = sim.node_mut::<Host>(NodeId(2)).expect("the receiver");
    let Traffic::TcpSink(sink) = &sink.traffic()[0] else { unreachable!("it has a sink") };
    sink.bytes
}

fn sender(sim: &mut Sim) -> Info {
    let host = sim.node_mut::<Host>(NodeId(0)).expect("the sender");
    let Traffic::TcpSource(source) = &host.traffic()[0] else { unreachable!("it has a source") };
    let socket = source.socket.expect("it has connected");
    host.with_stack(|stack| stack.tcp_info(socket)).flatten().expect("the connection lives")
}

impl Path {
    /// Runs it.
    pub(crate) fn run(&self) -> Seen {
        let mut sim = self.build();
        sim.boot();
        let begin = Time::ZERO + self.warm_up;
        advance(&mut sim, begin);
        let before = received(&mut sim);
        let step = Nanos(self.rtt.0 / 4);
        let looks = self.counted.0 / step.0;
        let (mut sum, mut open) = (0, 0);
        for look in 1..=looks {
            advance(&mut sim, begin + Nanos(step.0 * look));
            let info = sender(&mut sim);
            if info.ca_state < CongestionState::Cwr {
                sum += u64::from(info.cwnd_segments);
                open += 1;
            }
        }
        let bytes = received(&mut sim) - before;
        let counted = step.0 * looks;
        Seen {
            bps: (u128::from(bytes) * 8_000_000_000 / u128::from(counted)) as u64,
            delivered: bytes as f64 / MSS as f64 * self.rtt.0 as f64 / counted as f64,
            cwnd: sum as f64 / f64::from(open),
        }
    }

    fn tcp(&self) -> TcpConfig {
        let buffer = 64 << 20;
        let mut config = TcpConfig {
            congestion: self.congestion,
            send_buffer: buffer,
            recv_buffer: buffer,
            ..TcpConfig::default()
        };
        if self.ack_every {
            // Less than it takes to receive the second one of a pair.
            (config.delayed_ack, config.delayed_ack_max) = (Nanos::from_micros(1), Nanos::from_micros(1));
        }
        config
    }

    fn build(&self) -> Sim {
        let mut sim = Sim::new(1, false);
        let to = SocketAddr::new(address(1, 2), PORT);
        let source = Traffic::tcp_source(to, Time::ZERO, u64::MAX / 4);
        let machines = [
            Machine { name: "sender", ends: &[(0, 1)], via: Some(address(0, 2)), traffic: vec![source] },
            Machine { name: "router", ends: &[(0, 2), (1, 1)], via: None, traffic: Vec::new() },
            Machine {
                name: "receiver",
                ends: &[(1, 2)],
                via: Some(address(1, 1)),
                traffic: vec![Traffic::tcp_sink(PORT)],
            },
        ];
        for (index, machine) in machines.into_iter().enumerate() {
            let name = machine.name;
            let host = self.host(index as u8, machine);
            sim.add_node(name, Box::new(host), Nanos::ZERO);
        }
        let end = |node, port| (NodeId(node), PortId(port));
        let quick = DirectionSpec { rate_bps: 0, ..DirectionSpec::default() };
        let delay = Nanos(self.rtt.0 / 2);
        let there = DirectionSpec {
            rate_bps: self.rate_bps,
            delay,
            queue: self.queue,
            loss_ppm: self.loss_ppm,
            loss_every: self.loss_every,
            ..DirectionSpec::default()
        };
        let back = DirectionSpec { rate_bps: 0, delay, ..DirectionSpec::default() };
        sim.add_link(LinkSpec { a: end(0, 0), b: end(1, 0), ab: quick, ba: quick, mtu: 1_500 });
        sim.add_link(LinkSpec { a: end(1, 1), b: end(2, 0), ab: there, ba: back, mtu: 1_500 });
        sim
    }

    fn host(&self, index: u8, machine: Machine) -> Host {
        let net = |n, h| IpNet::new(address(n, h), 24).expect("a prefix length");
        let interface = |(port, &(n, h)): (usize, &(u8, u8))| IfaceConfig {
            name: format!("eth{port}"),
            mac: mac(index, port as u8),
            addresses: vec![net(n, h)],
            mtu: 1_500,
        };
        let route = |via| Route {
            prefix: "0.0.0.0/0".parse().expect("a network"),
            via: Some(via),
            out: PortId(0),
            kind: RouteKind::Unicast,
            metric: 0,
            source: None,
            origin: Origin::Resource { address: "goodput".into() },
        };
        let config = StackConfig {
            interfaces: machine.ends.iter().enumerate().map(interface).collect(),
            routes: machine.via.into_iter().map(route).collect(),
            forwarding: machine.traffic.is_empty(),
            tcp: self.tcp(),
            ..StackConfig::default()
        };
        let mut stack = Stack::new(config, 1, machine.name);
        // No ARP: a regular loss counts frames.
        for (port, host, peer) in [(0, address(0, 1), mac(0, 0)), (0, address(0, 2), mac(1, 0))] {
            if index < 2 {
                stack.add_neighbor(PortId(port), host, peer);
            }
        }
        if index > 0 {
            let port = PortId(u16::from(index == 1));
            stack.add_neighbor(port, address(1, 1), mac(1, 1));
            stack.add_neighbor(port, address(1, 2), mac(2, 0));
        }
        Host::with_traffic(stack, machine.traffic)
    }
}
