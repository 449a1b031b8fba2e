//! UDP sockets, ports, addresses at run time.

use rt_base::{DropReason, Nanos, PortId, What};
use rt_stack::{ConnectOptions, SocketError};

use crate::fixture::*;

#[test]
fn udp_goes_both_ways() {
    let mut w = pair();
    let (a, b) = (w.udp(0, 0), w.udp(1, 53));
    w.say(0, a, "10.0.0.2:53", b"question");
    w.run();
    assert_eq!(w.hear(1, b), Some((b"question".to_vec(), "10.0.0.1:52431".into())));
    w.say(1, b, "10.0.0.1:52431", b"");
    w.run();
    assert_eq!(w.hear(0, a), Some((vec![], "10.0.0.2:53".into())));
    assert_eq!(w.hear(0, a), None);
    assert_eq!(w.count(1, |e| matches!(e, What::Deliver { protocol: 17, conn } if *conn == b.conn())), 1);
}

#[test]
fn udp_and_tcp_share_one_counter_and_fixed_ports_do_not_move_it() {
    let mut w = pair();
    w.udp(0, 68);
    let first = w.udp(0, 0);
    let options = ConnectOptions { local_port: Some(4000), ..ConnectOptions::default() };
    let pinned = w.app(0, |s| s.tcp_connect("10.0.0.2:80".parse().unwrap(), options)).unwrap();
    let second = w.connect(0, "10.0.0.2:80");
    let third = w.udp(0, 0);
    let ports = [first, pinned, second, third].map(|id| w.stacks[0].local_addr(id).unwrap().port());
    assert_eq!(ports, [52_431, 4_000, 52_432, 52_433]);
}

#[test]
fn ports_and_addresses_that_are_taken_or_foreign_are_refused() {
    let mut w = pair();
    w.udp(0, 53);
    let s = &mut w.stacks[0];
    assert_eq!(s.udp_open(None, 53, None), Err(SocketError::AddrInUse));
    assert_eq!(s.udp_open(Some(ip("10.0.0.1")), 53, None), Err(SocketError::AddrInUse));
    assert_eq!(s.udp_open(Some(ip("10.0.0.9")), 0, None), Err(SocketError::AddrNotAvailable));
    assert_eq!(s.udp_open(Some(ip("::1")), 0, None), Err(SocketError::AddressFamily));
    s.tcp_listen(80, 5).unwrap();
    assert_eq!(s.tcp_listen(80, 5), Err(SocketError::AddrInUse));
    let socket = s.udp_open(None, 0, None).unwrap();
    let to = |text: &str| text.parse().unwrap();
    assert_eq!(s.udp_send_to(socket, to("8.8.8.8:53"), b""), Err(SocketError::NetUnreachable));
    assert_eq!(s.udp_send_to(socket, to("[2001:db8::1]:53"), b""), Err(SocketError::AddressFamily));
    assert_eq!(s.udp_send_to(socket, to("10.0.0.2:53"), &[0; 65_508]), Err(SocketError::MessageTooLong));
    s.close(socket);
    assert_eq!(s.udp_send_to(socket, to("10.0.0.2:53"), b""), Err(SocketError::BadSocket));
    let options = ConnectOptions::default();
    assert_eq!(s.tcp_connect(to("8.8.8.8:53"), options), Err(SocketError::NetUnreachable));
}

#[test]
fn the_range_of_ephemeral_ports_can_run_dry() {
    let mut w = pair_of(|config| config.ports.last = config.ports.first);
    w.udp(0, 0);
    assert_eq!(w.stacks[0].udp_open(None, 0, None), Err(SocketError::NoPorts));
}

#[test]
fn the_most_specific_socket_gets_the_datagram() {
    let mut w = pair();
    w.app(1, |s| s.udp_open(None, 67, Some(PortId(9)))).unwrap();
    let device = w.app(1, |s| s.udp_open(None, 67, Some(PortId(0)))).unwrap();
    let a = w.udp(0, 0);
    w.say(0, a, "10.0.0.2:67", b"x");
    w.run();
    assert!(w.hear(1, device).is_some());
}

#[test]
fn a_full_buffer_drops() {
    let mut w = pair_of(|config| config.udp_buffer = 200);
    let (a, b) = (w.udp(0, 0), w.udp(1, 53));
    for _ in 0..3 {
        w.say(0, a, "10.0.0.2:53", &[0; 36]);
    }
    w.run();
    assert_eq!(w.drop_reasons(), [DropReason::SocketBufferFull]);
    w.hear(1, b);
    w.say(0, a, "10.0.0.2:53", &[0; 36]);
    w.run();
    assert_eq!(w.drop_reasons().len(), 1);
}

/// What a DHCP client does before and after it has an address.
#[test]
fn an_unnumbered_interface_can_ask_everybody_and_gets_its_address_at_run_time() {
    let mut client = machine(0, &["10.0.0.1/24"], vec![]);
    client.interfaces[0].addresses.clear();
    let server = machine(1, &["10.0.0.2/24"], vec![]);
    let mut w = World::new(vec![("client", client), ("server", server)]).link((0, 0), (1, 0));
    let c = w.app(0, |s| s.udp_open(None, 68, Some(PortId(0)))).unwrap();
    let s = w.app(1, |s| s.udp_open(None, 67, Some(PortId(0)))).unwrap();
    w.say(0, c, "255.255.255.255:67", b"discover");
    w.run();
    assert_eq!(w.hear(1, s), Some((b"discover".to_vec(), "0.0.0.0:68".into())));
    w.say(1, s, "255.255.255.255:68", b"offer");
    w.run();
    assert_eq!(w.hear(0, c), Some((b"offer".to_vec(), "10.0.0.2:67".into())));

    w.app(0, |s| s.add_address(PortId(0), net("10.0.0.77/24")));
    w.app(0, |s| s.add_route(route("0.0.0.0/0", Some("10.0.0.2"), 0)));
    assert_eq!(w.stacks[0].source_for(ip("8.8.8.8")), Some(ip("10.0.0.77")));
    w.app(0, |s| s.icmp_echo(ip("10.0.0.2"), 1, 1, vec![])).unwrap();
    w.run();
    assert_eq!(w.app(0, |s| s.take_echo_replies()).len(), 1);

    w.app(0, |s| s.remove_addresses(PortId(0)));
    assert_eq!(w.stacks[0].source_for(ip("10.0.0.2")), None);
    w.run_for(Nanos::from_secs(1));
}

#[test]
fn losing_the_address_resets_its_connections() {
    let mut w = pair();
    w.app(1, |s| s.tcp_listen(80, 5)).unwrap();
    let c = w.connect(0, "10.0.0.2:80");
    w.run();
    w.app(0, |s| s.remove_addresses(PortId(0)));
    w.run();
    assert_eq!(w.stacks[0].tcp_phase(c), rt_base::TcpPhase::Closed);
}

#[test]
fn machines_choose_by_seed_and_name() {
    let config = || machine(0, &["10.0.0.1/24"], vec![]);
    let isn = |w: &mut World| {
        w.connect(0, "10.0.0.2:80");
        w.run_for(Nanos::from_millis(5));
        w.wire.last().map(|seen| seen.bytes.clone())
    };
    let worlds = ["a", "a", "b"].map(|name| {
        let other = machine(1, &["10.0.0.2/24"], vec![]);
        let mut w = World::new(vec![(name, config()), ("peer", other)]).link((0, 0), (1, 0));
        isn(&mut w)
    });
    assert_eq!(worlds[0], worlds[1]);
    assert_ne!(worlds[0], worlds[2]);
}
