//! Plain traffic and bare routers: what the benchmarks are made of.

use ipnet::IpNet;
use rt_base::{MacAddr, Nanos, NodeId, PortId, Time};
use rt_devices::{Host, Traffic};
use rt_rules::{Origin, Route, RouteKind};
use rt_sim::{LinkSpec, Sim, StopReason};
use rt_stack::{IfaceConfig, Stack, StackConfig};

use crate::lan::cable;

fn interface(mac: u8, address: &str) -> IfaceConfig {
    let addresses = vec![address.parse().unwrap()];
    IfaceConfig { name: "eth0".into(), mac: MacAddr([2, 0, 0, 0, 0, mac]), addresses, mtu: 1500 }
}

fn default_route(via: &str) -> Route {
    Route {
        prefix: "0.0.0.0/0".parse::<IpNet>().unwrap(),
        via: Some(via.parse().unwrap()),
        out: PortId(0),
        kind: RouteKind::Unicast,
        metric: 0,
        source: None,
        origin: Origin::Learned { from: "test".into() },
    }
}

/// host 10.0.0.2 - router - host 10.0.1.2
fn chain(left: Vec<Traffic>, right: Vec<Traffic>) -> Sim {
    let host = |name: &str, mac: u8, net: u8, traffic: Vec<Traffic>| {
        let interfaces = vec![interface(mac, &format!("10.0.{net}.2/24"))];
        let routes = vec![default_route(&format!("10.0.{net}.1"))];
        let config = StackConfig { interfaces, routes, ..StackConfig::default() };
        Host::with_traffic(Stack::new(config, 1, name), traffic)
    };
    let interfaces = vec![interface(10, "10.0.0.1/24"), interface(11, "10.0.1.1/24")];
    let config = StackConfig { interfaces, forwarding: true, ..StackConfig::default() };
    let mut sim = Sim::new(1, false);
    let a = sim.add_node("a", Box::new(host("a", 1, 0, left)), Nanos::ZERO);
    let r = sim.add_node("r", Box::new(Host::bare(Stack::new(config, 1, "r"))), Nanos::ZERO);
    let b = sim.add_node("b", Box::new(host("b", 2, 1, right)), Nanos::ZERO);
    for (end, port) in [(a, 0), (b, 1)] {
        let (a, b) = ((end, PortId(0)), (r, PortId(port)));
        sim.add_link(LinkSpec { a, b, ab: cable(), ba: cable(), mtu: 1500 });
    }
    sim.boot();
    assert_eq!(sim.run_until(Time::ZERO + Nanos::from_secs(300)), StopReason::Idle);
    assert!(sim.stats().holds());
    sim
}

fn traffic(sim: &mut Sim, node: u32) -> Vec<Traffic> {
    sim.node_mut::<Host>(NodeId(node)).unwrap().traffic().to_vec()
}

#[test]
fn datagrams_are_counted() {
    let source = Traffic::udp_source("10.0.1.2:9000".parse().unwrap(), 1000, Nanos::from_micros(20), 500);
    let mut sim = chain(vec![source], vec![Traffic::udp_sink(9000)]);
    let [Traffic::UdpSink(sink)] = &traffic(&mut sim, 2)[..] else { panic!("a sink") };
    // The queue that waits for ARP holds some of the first ones, the rest of the first three milliseconds is lost.
    assert!(sink.packets > 200 && sink.bytes == sink.packets * 1000, "{sink:?}");
}

#[test]
fn a_bulk_transfer_arrives_whole() {
    let source = Traffic::tcp_source("10.0.1.2:9000".parse().unwrap(), Time::ZERO, 5_000_000);
    let mut sim = chain(vec![source], vec![Traffic::tcp_sink(9000)]);
    let [Traffic::TcpSink(sink)] = &traffic(&mut sim, 2)[..] else { panic!("a sink") };
    assert_eq!((sink.bytes, sink.ended), (5_000_000, 1));
}

#[test]
fn requests_are_answered() {
    let start = |ms| Time::ZERO + Nanos::from_millis(ms);
    let to = "10.0.1.2:80".parse().unwrap();
    let clients = (0..20).map(|i| Traffic::tcp_client(to, start(i * 3), 100, 10_000)).collect();
    let mut sim = chain(clients, vec![Traffic::tcp_server(80, 100, 10_000)]);
    for client in traffic(&mut sim, 0) {
        let Traffic::TcpClient(client) = client else { panic!("a client") };
        assert!(client.done.is_some() && client.got == 10_000, "{client:?}");
    }
    let [Traffic::TcpServer(server)] = &traffic(&mut sim, 2)[..] else { panic!("a server") };
    assert_eq!((server.served, server.open.len()), (20, 0));
}
