//! Ours of `cargo xtask bench`: the same topologies, sizes and counts as the peer programs, one line of `key=value` words
//! each. `cargo bench -p rt-lab --bench peers -- chain bulk dumbbell scale record pcapng rules l7 users`.
//!
//! Single thread, recording off (but for `record`), real checksums.

mod l7;
mod measure;
mod net;
mod rules;
mod users;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use rt_base::{Nanos, NodeId, Time};
use rt_devices::{Host, Traffic};
use rt_sim::{QueueSpec, Sim};

use crate::measure::{Report, Wall, rss_kib};
use crate::net::Net;

fn main() {
    // Cargo passes `--bench` to every bench program.
    let names: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let all = ["chain", "bulk", "dumbbell", "scale", "record", "pcapng", "rules", "l7"];
    let wanted: Vec<&str> =
        if names.is_empty() { all.to_vec() } else { names.iter().map(String::as_str).collect() };
    for name in wanted {
        match name {
            "chain" => chain_report(),
            "bulk" => bulk(),
            "dumbbell" => dumbbell(),
            "scale" => scale(),
            "record" => record(),
            "pcapng" => pcapng(),
            "rules" => rules::rules(),
            "l7" => l7::l7(),
            "users" => users::users(),
            other => {
                eprintln!("no bench is called {other}; there are {}", all.join(", "));
                std::process::exit(2);
            }
        }
    }
}

fn v4(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

fn end(node: usize) -> NodeId {
    NodeId(u32::try_from(node).expect("few nodes"))
}

const CHAIN_ROUTERS: usize = 10;
const CHAIN_PACKETS: u32 = 200_000;

/// Source, ten routers, sink: 11 links of 10 Gbit/s and 1 ms, one datagram of 1,000 bytes each 2 us.
fn chain(recording: bool) -> Net {
    let mut net = Net::new(recording);
    let last = CHAIN_ROUTERS + 1;
    for link in 0..=CHAIN_ROUTERS {
        net.link(link, link + 1, 10_000_000_000, Nanos::from_millis(1), QueueSpec::Packets(1_000));
        let third = u8::try_from(link).expect("few links");
        net.address(link, v4(10, 0, third, 1), 24);
        net.address(link + 1, v4(10, 0, third, 2), 24);
        net.default_route(link, v4(10, 0, third, 2));
    }
    let to = SocketAddr::new(v4(10, 0, 10, 2), 9000);
    net.traffic(0, Traffic::udp_source(to, 1_000, Nanos(2_000), CHAIN_PACKETS));
    net.traffic(last, Traffic::udp_sink(9000));
    net
}

fn run_chain(recorder: Option<Box<dyn rt_base::Recorder>>) -> (f64, u64, f64) {
    let setup = Wall::now();
    let mut sim = chain(recorder.is_some()).build();
    if let Some(recorder) = recorder {
        sim.set_recorder(recorder);
    }
    let setup_s = setup.seconds();
    let wall = Wall::now();
    run(&mut sim);
    let wall_s = wall.seconds();
    let last = sim.node_mut::<Host>(end(CHAIN_ROUTERS + 1)).expect("the sink");
    let Traffic::UdpSink(sink) = &last.traffic()[0] else { unreachable!("the sink") };
    assert_eq!(sink.packets, u64::from(CHAIN_PACKETS), "all datagrams arrive");
    (wall_s, sink.packets * (CHAIN_ROUTERS as u64 + 1), setup_s)
}

fn run(sim: &mut Sim) {
    sim.boot();
    while sim.run_until(Time::MAX) == rt_sim::StopReason::Signals {
        sim.take_signals();
    }
}

fn chain_report() {
    let (wall_s, hops, setup_s) = run_chain(None);
    Report::new("chain")
        .put("setup_s", setup_s)
        .put("wall_s", wall_s)
        .put("packet_hops", hops as f64)
        .put("packet_hops_per_s", hops as f64 / wall_s)
        .print();
}

/// What recording events costs on chain: the same run with the event store's file written to nowhere.
fn record() {
    let (off, _, _) = run_chain(None);
    let (on, _, _) = run_chain(Some(Box::new(measure::EventsToNowhere::new())));
    Report::new("record").put("off_s", off).put("on_s", on).put("slowdown", on / off).print();
}

/// One TCP flow of 1 GB: host, router, host; 1 Gbit/s, 10 ms round trip, 833-packet queues, 2.5 MB buffers.
fn bulk() {
    const BYTES: u64 = 1_000_000_000;
    let mut net = Net::new(false);
    net.buffers(2_500_000);
    for (link, third) in [(0, 0), (1, 1)] {
        net.link(link, link + 1, 1_000_000_000, Nanos::from_micros(2_500), QueueSpec::Packets(833));
        net.address(link, v4(10, 0, third, 1), 24);
        net.address(link + 1, v4(10, 0, third, 2), 24);
    }
    net.default_route(0, v4(10, 0, 0, 2));
    net.default_route(2, v4(10, 0, 1, 1));
    net.traffic(0, Traffic::tcp_source(SocketAddr::new(v4(10, 0, 1, 2), 9000), Time::ZERO, BYTES));
    net.traffic(2, Traffic::tcp_sink(9000));
    let mut sim = net.build();
    let wall = Wall::now();
    run(&mut sim);
    let wall_s = wall.seconds();
    let Traffic::TcpSink(sink) = &sim.node_mut::<Host>(end(2)).expect("the sink").traffic()[0] else {
        unreachable!("the sink")
    };
    assert_eq!(sink.bytes, BYTES, "every byte arrives");
    Report::new("bulk")
        .put("wall_s", wall_s)
        .put("sim_s", sink.last.as_secs_f64())
        .put("goodput_mbps", BYTES as f64 * 8e-6 / sink.last.as_secs_f64())
        .put("mb_per_wall_s", BYTES as f64 / 1e6 / wall_s)
        .print();
}

/// 100 flows of 10 MB through a bottleneck of 1 Gbit/s with a queue of one bandwidth-delay product.
fn dumbbell() {
    const FLOWS: usize = 100;
    const BYTES: u64 = 10_000_000;
    let mut net = Net::new(false);
    net.buffers(2_500_000);
    let (left, right) = (0, 1);
    net.link(left, right, 1_000_000_000, Nanos::from_millis(8), QueueSpec::Packets(1_667));
    net.address(left, v4(10, 0, 0, 1), 30);
    net.address(right, v4(10, 0, 0, 2), 30);
    net.default_route(left, v4(10, 0, 0, 2));
    net.default_route(right, v4(10, 0, 0, 1));
    for flow in 0..FLOWS {
        let (sender, receiver) = (2 + 2 * flow, 3 + 2 * flow);
        let third = u8::try_from(flow).expect("100 flows");
        for (router, host, second) in [(left, sender, 1), (right, receiver, 2)] {
            net.link(host, router, 10_000_000_000, Nanos::from_millis(1), QueueSpec::Packets(5_000));
            net.address(host, v4(10, second, third, 2), 30);
            net.address(router, v4(10, second, third, 1), 30);
            net.default_route(host, v4(10, second, third, 1));
        }
        let to = SocketAddr::new(v4(10, 2, third, 2), 9000);
        let start = Time::ZERO + Nanos::from_millis(flow as u64);
        net.traffic(sender, Traffic::tcp_source(to, start, BYTES));
        net.traffic(receiver, Traffic::tcp_sink(9000));
    }
    let mut sim = net.build();
    let wall = Wall::now();
    run(&mut sim);
    let wall_s = wall.seconds();
    let (mut bytes, mut ends) = (0, Vec::new());
    for flow in 0..FLOWS {
        if let Traffic::TcpSink(sink) = &sim.node_mut::<Host>(end(3 + 2 * flow)).expect("a sink").traffic()[0]
        {
            bytes += sink.bytes;
            ends.push(sink.last.as_secs_f64());
        }
    }
    ends.sort_by(f64::total_cmp);
    assert_eq!(bytes, BYTES * FLOWS as u64, "every byte arrives");
    let hops = sim.stats().sent as f64;
    Report::new("dumbbell")
        .put("wall_s", wall_s)
        .put("flow_end_p50_s", ends[FLOWS / 2])
        .put("flow_end_last_s", ends[FLOWS - 1])
        .put("packet_hops", hops)
        .put("packet_hops_per_s", hops / wall_s)
        .print();
}

/// 10,000 hosts behind 100 access routers, one request of 100 B each, answered with 10,000 B by one of 10 servers.
fn scale() {
    const HOSTS: usize = 10_000;
    const ACCESS: usize = 100;
    const SERVERS: usize = 10;
    let empty_kib = rss_kib();
    let setup = Wall::now();
    let mut net = Net::new(false);
    net.buffers(131_072);
    let core = 0;
    for server in 0..SERVERS {
        let node = 1 + server;
        net.link(node, core, 10_000_000_000, Nanos::from_millis(1), QueueSpec::Packets(1_000));
        let last = u8::try_from(server * 4).expect("10 servers");
        net.address(node, v4(10, 255, 0, last + 1), 30);
        net.address(core, v4(10, 255, 0, last + 2), 30);
        net.default_route(node, v4(10, 255, 0, last + 2));
        net.traffic(node, Traffic::tcp_server(80, 100, 10_000));
    }
    for access in 0..ACCESS {
        let node = 1 + SERVERS + access;
        let a = u8::try_from(access).expect("100 routers");
        net.link(node, core, 1_000_000_000, Nanos::from_millis(5), QueueSpec::Packets(1_000));
        let base = u16::try_from(access * 4).expect("100 routers").to_be_bytes();
        net.address(node, v4(10, 254, base[0], base[1] + 1), 30);
        net.address(core, v4(10, 254, base[0], base[1] + 2), 30);
        net.default_route(node, v4(10, 254, base[0], base[1] + 2));
        net.route(core, v4(10, a, 0, 0), 16, v4(10, 254, base[0], base[1] + 1));
    }
    for host in 0..HOSTS {
        let (access, k) = (host / (HOSTS / ACCESS), host % (HOSTS / ACCESS));
        let (node, router) = (1 + SERVERS + ACCESS + host, 1 + SERVERS + access);
        net.link(node, router, 100_000_000, Nanos::from_millis(5), QueueSpec::Packets(1_000));
        let a = u8::try_from(access).expect("100 routers");
        let low = u16::try_from(k * 4).expect("100 hosts a router").to_be_bytes();
        net.address(node, v4(10, a, low[0], low[1] + 1), 30);
        net.address(router, v4(10, a, low[0], low[1] + 2), 30);
        net.default_route(node, v4(10, a, low[0], low[1] + 2));
        let server = u8::try_from(host % SERVERS * 4).expect("10 servers");
        let to = SocketAddr::new(v4(10, 255, 0, server + 1), 80);
        let start = Time(10_000_000_000 * ((host as u64 * 7919) % HOSTS as u64) / HOSTS as u64);
        net.traffic(node, Traffic::tcp_client(to, start, 100, 10_000));
    }
    let mut sim = net.build();
    let setup_s = setup.seconds();
    let built_kib = rss_kib();
    let wall = Wall::now();
    run(&mut sim);
    let wall_s = wall.seconds();
    let first = 1 + SERVERS + ACCESS;
    let done = (first..first + HOSTS).filter(|h| {
        let host = sim.node_mut::<Host>(end(*h)).expect("a host");
        matches!(&host.traffic()[0], Traffic::TcpClient(c) if c.done.is_some())
    });
    assert_eq!(done.count(), HOSTS, "every request is answered");
    Report::new("scale")
        .put("setup_s", setup_s)
        .put("wall_s", wall_s)
        .put("total_s", setup_s + wall_s)
        .put("packet_hops", sim.stats().sent as f64)
        .put("packet_hops_per_s", sim.stats().sent as f64 / wall_s)
        .put("kib_per_host", built_kib.saturating_sub(empty_kib) as f64 / HOSTS as f64)
        .put("kib_per_host_peak", measure::peak_rss_kib().saturating_sub(empty_kib) as f64 / HOSTS as f64)
        .print();
}

/// A capture written to a file: 1 GB of full-size packets.
fn pcapng() {
    let bytes = measure::pcapng_throughput();
    Report::new("pcapng").put("mb_per_s", bytes).print();
}
