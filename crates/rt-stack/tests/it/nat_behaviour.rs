//! NAT as RFC 4787, 5382, 5508 and 6888 describe it: what a mapping is kept for, who comes in, what happens when ports run
//! out. Each behaviour with the packet that passes and the packet that does not.

use rt_base::{DropReason, Nanos, What};
use rt_rules::{
    ConntrackOptions, Match, NatAction, NatBehaviour, NatDepends, NatExhausted, NatPorts, NatRule, PortRange,
    Spread,
};
use rt_stack::{FlowState, SocketError};
use rt_wire::{EthernetHeader, Ipv4Header, Seq, TcpFlags, TcpHeader, protocol};

use crate::fixture::*;
use crate::nat::{arp_of, udp_frame};

const EVERYBODY: NatDepends = NatDepends::EndpointIndependent;
const ADDRESS: NatDepends = NatDepends::AddressDependent;
const BOTH: NatDepends = NatDepends::AddressAndPortDependent;
const WAN: &str = "203.0.113.50";

/// A router whose one rule behaves so.
fn behaving(behaviour: NatBehaviour) -> World {
    ruled(NatRule { behaviour, ..snat_rule() })
}

fn ruled(rule: NatRule) -> World {
    let mut w = routed(|router| router.nat = vec![rule]);
    w.app(2, |s| s.add_address(rt_base::PortId(0), net("203.0.113.2/24")));
    w
}

fn range(first: u16, last: u16) -> PortRange {
    PortRange { first, last }
}

/// The router's rule and the reason of each drop there.
fn refused(w: &World) -> Vec<(DropReason, u32)> {
    w.drops().into_iter().filter(|d| d.0 == 1).map(|(_, reason, _, rule)| (reason, rule)).collect()
}

/// A datagram from outside arrives at the router.
fn outside_says(w: &mut World, from: (&str, u16), port: u16) {
    w.inject(1, 1, udp_frame(mac(1, 1), from, (WAN, port), b"in"));
    w.run_for(Nanos::from_millis(100));
}

/// A datagram from an inner host other than machine 0.
fn inner_says(w: &mut World, from: (&str, u16), to: (&str, u16)) {
    w.inject(1, 0, arp_of(from.0, mac(9, 0)));
    w.inject(1, 0, udp_frame(mac(1, 0), from, to, b"out"));
    w.run_for(Nanos::from_millis(100));
}

fn tcp(from: (&str, u16), to: (&str, u16), flags: TcpFlags) -> Vec<u8> {
    let mut bytes = Vec::new();
    EthernetHeader { dst: mac(1, 0), src: mac(9, 0), ethertype: 0x0800 }.emit(&mut bytes);
    let (src, dst) = (from.0.parse().unwrap(), to.0.parse().unwrap());
    Ipv4Header::new(src, dst, protocol::TCP, 64, 20).emit(&mut bytes);
    let header = TcpHeader {
        src: from.1,
        dst: to.1,
        seq: Seq(1),
        ack: Seq(1),
        flags,
        window: 1_000,
        ..TcpHeader::default()
    };
    header.emit(&mut bytes);
    rt_wire::checksum::fill_transport(src.into(), dst.into(), protocol::TCP, &mut bytes[34..]);
    bytes
}

/// The last frame that the router sent, as tcpdump shows it.
fn last_of_router(w: &World) -> String {
    let seen = w.wire.iter().rfind(|seen| seen.from == 1).expect("a frame");
    rt_wire::summary(&seen.bytes)
}

#[track_caller]
fn check_last(w: &World, expected: &str) {
    let last = last_of_router(w);
    assert!(last.contains(expected), "{last}");
}

//= rfc4787#4.1 REQ-1
//= type=test
#[test]
fn a_mapping_depends_on_what_the_rule_says() {
    let ports = |mapping| {
        let mut w = behaving(NatBehaviour { mapping, ..NatBehaviour::default() });
        let servers = [w.udp(2, 53), w.udp(2, 54)];
        let client = w.udp(0, 0);
        for to in ["203.0.113.1:53", "203.0.113.1:54", "203.0.113.2:53"] {
            w.say(0, client, to, b"x");
        }
        w.run();
        let mut heard: Vec<String> = Vec::new();
        for server in [servers[0], servers[1], servers[0]] {
            heard.extend(w.hear(2, server).map(|(_, from)| from));
        }
        assert_eq!(w.drops(), []);
        // The servers' order is A:53, A:54, B:53.
        heard
    };
    let ends = |ports: [u16; 3]| ports.map(|p| format!("{WAN}:{p}")).to_vec();
    assert_eq!(ports(EVERYBODY), ends([10_001, 10_001, 10_001]));
    assert_eq!(ports(ADDRESS), ends([10_001, 10_001, 10_002]));
    assert_eq!(ports(BOTH), ends([10_001, 10_002, 10_003]));
}

//= rfc4787#5 REQ-8
//= type=test
/// Who comes in through the mapping that a question to 203.0.113.1:53 made.
#[test]
fn filtering_lets_in_whom_the_rule_says() {
    let came = |filtering, from| {
        let mut w = behaving(NatBehaviour { filtering, exclusive: true, ..NatBehaviour::default() });
        let client = w.udp(0, 0);
        let _servers = [w.udp(2, 53), w.udp(2, 99)];
        w.say(0, client, "203.0.113.1:53", b"x");
        w.run_for(Nanos::from_secs(1));
        outside_says(&mut w, from, 10_001);
        let heard = w.hear(0, client).map(|(_, from)| from);
        assert_eq!(heard.is_some(), refused(&w).is_empty());
        if let Some(text) = &heard {
            assert_eq!(*text, format!("{}:{}", from.0, from.1));
            // The answer to whoever came in goes out through the same mapping.
            w.say(0, client, text, b"answer");
            w.run_for(Nanos::from_secs(1));
            check_last(&w, &format!("{WAN}.10001 > {}.{}", from.0, from.1));
        } else {
            assert_eq!(refused(&w), [(DropReason::NatFiltered, 0)], "by the rule that made the mapping");
        }
        heard.is_some()
    };
    let senders = [("203.0.113.1", 53), ("203.0.113.1", 99), ("203.0.113.2", 53)];
    assert_eq!(senders.map(|from| came(EVERYBODY, from)), [true, true, true]);
    assert_eq!(senders.map(|from| came(ADDRESS, from)), [true, true, false]);
    assert_eq!(senders.map(|from| came(BOTH, from)), [true, false, false]);
}

#[test]
fn an_address_of_the_nats_own_answers_to_nothing_else() {
    let mut w = behaving(NatBehaviour { exclusive: true, ..NatBehaviour::default() });
    outside_says(&mut w, ("203.0.113.1", 53), 10_001);
    for flags in [TcpFlags::SYN, TcpFlags::ACK, TcpFlags::RST] {
        let mut frame = tcp(("203.0.113.1", 4_000), (WAN, 443), flags);
        frame[..6].copy_from_slice(&mac(1, 1).0);
        w.inject(1, 1, frame);
    }
    w.app(2, |s| s.icmp_echo(ip(WAN), 1, 1, vec![])).unwrap();
    w.run();
    assert_eq!(refused(&w), [(DropReason::NatNoMapping, 0); 5]);
    assert_eq!(w.app(2, |s| s.take_echo_replies()), [], "nobody is told");
    // By default what is for nobody inside is for the machine itself.
    let mut w = behaving(NatBehaviour::default());
    outside_says(&mut w, ("203.0.113.1", 53), 10_001);
    assert_eq!(refused(&w), [(DropReason::NoSocket, u32::MAX)]);
}

//= rfc4787#4.3 REQ-6
//= type=test
#[test]
fn a_mapping_lives_as_long_as_somebody_uses_it() {
    let filtering = EVERYBODY;
    let mut w = behaving(NatBehaviour { filtering, exclusive: true, ..NatBehaviour::default() });
    let client = w.udp(0, 0);
    w.say(0, client, "203.0.113.1:9", b"x");
    w.run_for(Nanos::from_secs(1));
    // Every 20 seconds somebody else writes: the mapping stays.
    for n in 0..4 {
        w.run_for(Nanos::from_secs(20));
        outside_says(&mut w, ("203.0.113.2", 1_000 + n), 10_001);
        assert!(w.hear(0, client).is_some(), "{n}");
    }
    // Nobody for 31 seconds: it is gone.
    w.run_for(Nanos::from_secs(31));
    outside_says(&mut w, ("203.0.113.2", 999), 10_001);
    assert_eq!(w.hear(0, client), None);
    assert_eq!(refused(&w).last(), Some(&(DropReason::NatNoMapping, 0)));
}

//= rfc4787#6 REQ-9
//= type=test
#[test]
fn inner_hosts_meet_at_their_external_ends() {
    let mut w = behaving(NatBehaviour { hairpin: true, ..NatBehaviour::default() });
    inner_says(&mut w, ("192.168.1.20", 7_000), ("203.0.113.1", 53));
    let client = w.udp(0, 0);
    w.say(0, client, "203.0.113.50:10001", b"hello");
    w.run_for(Nanos::from_secs(1));
    // The source is the caller's external end.
    check_last(&w, "203.0.113.50.10002 > 192.168.1.20.7000");
    inner_says(&mut w, ("192.168.1.20", 7_000), (WAN, 10_002));
    assert_eq!(w.hear(0, client).map(|(_, from)| from), Some("203.0.113.50:10001".into()));
    // An error about it finds its way as well (RFC 5508, REQ-7).
    let call =
        w.wire.iter().rfind(|s| s.from == 1 && rt_wire::summary(&s.bytes).contains("192.168.1.20.7000"));
    let call = call.unwrap().bytes.clone();
    w.inject(1, 0, unreachable(&call));
    w.run_for(Nanos::from_secs(1));
    assert_eq!(w.app(0, |s| s.take_error(client)), Some(SocketError::Refused));
    let quiet = |r: &(DropReason, u32)| r.0 == DropReason::NoSocket;
    assert!(refused(&w).iter().all(quiet), "{:?}", refused(&w));
    // Without hairpinning the router takes it for itself.
    let mut w = behaving(NatBehaviour::default());
    inner_says(&mut w, ("192.168.1.20", 7_000), ("203.0.113.1", 53));
    let client = w.udp(0, 0);
    w.say(0, client, "203.0.113.50:10001", b"hello");
    w.run_for(Nanos::from_secs(1));
    assert_eq!(refused(&w).last(), Some(&(DropReason::NoSocket, u32::MAX)));
}

/// ICMP port unreachable about a frame, from whom it was for.
fn unreachable(about: &[u8]) -> Vec<u8> {
    let (ip, _) = Ipv4Header::parse(&about[14..]).unwrap();
    let mut bytes = Vec::new();
    EthernetHeader { dst: mac(1, 0), src: mac(9, 0), ethertype: 0x0800 }.emit(&mut bytes);
    let quoted = &about[14..42];
    Ipv4Header::new(ip.dst, ip.src, protocol::ICMP, 64, 8 + quoted.len()).emit(&mut bytes);
    rt_wire::Icmpv4::Unreachable { code: 3, mtu: 0 }.emit(quoted, &mut bytes);
    bytes
}

fn forward(action: NatAction, hairpin: bool) -> NatRule {
    let when = Match {
        protocol: Some(6),
        in_port: Some(rt_base::PortId(1)),
        dport: Some(range(8_000, 8_009)),
        ..Match::default()
    };
    NatRule {
        behaviour: NatBehaviour { hairpin, ..NatBehaviour::default() },
        ..NatRule::new(when, action, origin())
    }
}

//= rfc5382#7.1 REQ-8
//= type=test
#[test]
fn a_port_forward_works_from_inside_when_it_is_to() {
    let to_host = NatAction::Dnat { to: ip("192.168.1.10"), port: Some(80) };
    let call = |hairpin| {
        let rules = vec![forward(to_host.clone(), hairpin), snat_rule()];
        let mut w = routed(|router| router.nat = rules);
        w.app(0, |s| s.tcp_listen(80, 5)).unwrap();
        w.inject(1, 0, arp_of("192.168.1.20", mac(9, 0)));
        w.inject(1, 0, tcp(("192.168.1.20", 5_000), (WAN, 8_003), TcpFlags::SYN));
        w.run_for(Nanos::from_secs(1));
        (last_of_router(&w), w.lines().join("\n"), refused(&w))
    };
    let (last, lines, drops) = call(true);
    assert!(lines.contains("203.0.113.50.10001 > 192.168.1.10.80: Flags [S]"), "{lines}");
    assert!(last.contains("203.0.113.50.8003 > 192.168.1.20.5000: Flags [S.]"), "{last}");
    assert_eq!(drops, []);
    let (last, _, drops) = call(false);
    assert!(last.contains("Flags [R.]"), "{last}");
    assert_eq!(drops, [(DropReason::NoSocket, u32::MAX)]);
}

#[test]
fn a_range_of_ports_is_forwarded_one_by_one() {
    let action = NatAction::DnatRange { to: ip("192.168.1.10"), ports: range(9_000, 9_009) };
    let mut w = routed(|router| router.nat = vec![forward(action, false), snat_rule()]);
    w.app(0, |s| s.tcp_listen(9_007, 5)).unwrap();
    let good = w.connect(2, "203.0.113.50:8007");
    let (closed, beyond) = (w.connect(2, "203.0.113.50:8006"), w.connect(2, "203.0.113.50:8010"));
    w.run();
    assert_eq!(w.app(2, |s| s.take_error(good)), None);
    assert_eq!(w.app(2, |s| s.take_error(closed)), Some(SocketError::Refused));
    assert_eq!(w.app(2, |s| s.take_error(beyond)), Some(SocketError::Refused));
    let drops: Vec<(u32, DropReason)> = w.drops().into_iter().map(|(n, reason, ..)| (n, reason)).collect();
    assert_eq!(
        drops,
        [(1, DropReason::NoSocket), (0, DropReason::NoSocket)],
        "8010 is nobody's, 9006 is closed"
    );
}

/// A balancer that leaves connections whole: each flow stays where its first packet went.
#[test]
fn flows_are_spread_over_several_and_stay() {
    let to = |ports: &[u16]| ports.iter().map(|port| (ip("192.168.1.10"), *port).into()).collect::<Vec<_>>();
    let served = |by: Spread| {
        let action = NatAction::DnatSpread { to: to(&[9_000, 9_001, 9_002]), by };
        let mut w = routed(|router| router.nat = vec![forward(action, false), snat_rule()]);
        for port in 9_000..9_003 {
            w.app(0, |s| s.tcp_listen(port, 50)).unwrap();
        }
        let calls: Vec<_> = (0..30).map(|_| w.connect(2, "203.0.113.50:8000")).collect();
        w.run();
        assert!(calls.into_iter().all(|call| w.app(2, |s| s.take_error(call)).is_none()), "{by:?}");
        let lines = w.lines().join("\n");
        [9_000, 9_001, 9_002].map(|port| lines.matches(&format!("192.168.1.10.{port}: Flags [S]")).count())
    };
    let in_turn = served(Spread::RoundRobin);
    assert!(in_turn[0] > 0 && in_turn[0] == in_turn[1] && in_turn[1] == in_turn[2], "{in_turn:?}");
    for by in [Spread::SourceHash, Spread::Maglev] {
        let hashed = served(by);
        assert_eq!(
            hashed.iter().filter(|count| **count > 0).count(),
            1,
            "one client, one server: {by:?} {hashed:?}"
        );
    }
}

/// An elastic IP: 203.0.113.60 is 192.168.1.10, both ways; the router answers ARP for it.
fn elastic(change: impl FnOnce(&mut rt_stack::StackConfig)) -> World {
    let action = NatAction::Static { inside: ip("192.168.1.10"), outside: ip("203.0.113.60") };
    let when = Match { out_port: Some(rt_base::PortId(1)), ..Match::default() };
    routed(|router| {
        router.nat = vec![NatRule::new(when, action, origin())];
        router.interfaces[1].addresses.push(net("203.0.113.60/24"));
        change(router);
    })
}

#[test]
fn one_address_stands_for_another_both_ways() {
    let mut w = elastic(|_| {});
    let (client, server) = (w.udp(0, 5_000), w.udp(2, 53));
    w.say(2, server, "203.0.113.60:5000", b"in");
    w.run();
    assert_eq!(w.hear(0, client), Some((b"in".to_vec(), "203.0.113.1:53".into())));
    w.say(0, client, "203.0.113.1:53", b"out");
    w.run();
    assert_eq!(w.hear(2, server), Some((b"out".to_vec(), "203.0.113.60:5000".into())));
    w.app(2, |s| s.icmp_echo(ip("203.0.113.60"), 7, 1, vec![])).unwrap();
    w.run();
    assert_eq!(w.app(2, |s| s.take_echo_replies())[0].from, ip("203.0.113.60"));
    assert_eq!(w.drops(), []);
    // Another inner host has none, and is not translated: what it sends cannot be answered.
    inner_says(&mut w, ("192.168.1.20", 5_000), ("203.0.113.1", 53));
    assert_eq!(w.hear(2, server), Some((b"out".to_vec(), "192.168.1.20:5000".into())));
}

/// It needs no state: a segment out of nowhere is translated, and answered by the machine that it is for.
#[test]
fn one_to_one_translation_needs_no_state() {
    let mut w = elastic(|_| {});
    let mut frame = tcp(("203.0.113.1", 4_000), ("203.0.113.60", 81), TcpFlags::ACK);
    frame[..6].copy_from_slice(&mac(1, 1).0);
    w.inject(1, 1, frame.clone());
    w.run_for(Nanos::from_secs(1));
    check_last(&w, "203.0.113.60.81 > 203.0.113.1.4000: Flags [R]");
    assert_eq!(refused(&w), []);
    // The same for an address that has no rule belongs to nothing.
    frame = tcp(("192.168.1.20", 4_000), ("203.0.113.1", 81), TcpFlags::ACK);
    w.inject(1, 0, frame);
    assert_eq!(refused(&w), [(DropReason::ConntrackInvalid, u32::MAX)]);
    // Nor does a full table matter.
    let mut w = elastic(|router| router.conntrack.max = 0);
    let (client, server) = (w.udp(0, 5_000), w.udp(2, 53));
    w.say(2, server, "203.0.113.60:5000", b"in");
    w.say(0, client, "203.0.113.1:53", b"out");
    w.say(2, server, "203.0.113.60:5001", b"nobody");
    w.run();
    assert_eq!(w.hear(0, client), Some((b"in".to_vec(), "203.0.113.1:53".into())));
    assert_eq!(w.hear(2, server), Some((b"out".to_vec(), "203.0.113.60:5000".into())));
    assert_eq!(w.app(2, |s| s.take_error(server)), Some(SocketError::Refused), "errors about it as well");
    assert_eq!(refused(&w), []);
}

//= rfc4787#4.1 REQ-2
//= type=test
#[test]
fn a_pool_gives_each_inner_address_one_external_one() {
    let action =
        NatAction::Pool { to: net("198.51.100.0/30"), ports: NatPorts::Sequential(range(10_001, 10_002)) };
    let rule = NatRule { action, ..snat_rule() };
    let mut w = ruled(rule);
    w.app(2, |s| s.add_route(route("198.51.100.0/30", Some(WAN), 0)));
    let server = w.udp(2, 53);
    let mut from = Vec::new();
    for (host, port) in [(20, 1), (21, 1), (20, 2), (21, 2), (20, 3)] {
        inner_says(&mut w, (&format!("192.168.1.{host}"), port), ("203.0.113.1", 53));
        from.push(w.hear(2, server).map(|(_, from)| from).unwrap_or_default());
    }
    let expected =
        ["198.51.100.0:10001", "198.51.100.1:10002", "198.51.100.0:10002", "198.51.100.1:10001", ""];
    assert_eq!(from, expected);
    // The third flow of .20 finds no port on its address and does not move to another.
    assert_eq!(refused(&w), [(DropReason::NatExhausted, 0)]);
    // What comes back finds the host behind its address.
    w.say(2, server, "198.51.100.1:10002", b"answer");
    w.run_for(Nanos::from_secs(1));
    check_last(&w, "203.0.113.1.53 > 192.168.1.21.1");
}

fn blocks_of(w: &World) -> Vec<String> {
    let block = |e: &rt_base::Event| match &e.what {
        What::NatBlock { inside, outside, first, last, taken } => {
            Some(format!("{inside} {outside}:{first}-{last} {}", if *taken { "taken" } else { "given back" }))
        }
        _ => None,
    };
    w.events.iter().filter_map(block).collect()
}

//= rfc6888#4 REQ-14
//= type=test
#[test]
fn subscribers_own_blocks_of_ports() {
    let ports = NatPorts::Block { range: range(1_024, 1_043), size: 4, most: 2 };
    let behaviour = NatBehaviour { exhausted: NatExhausted::HostUnreachable, ..NatBehaviour::default() };
    let mut w = ruled(NatRule { action: NatAction::Masquerade { ports }, behaviour, ..snat_rule() });
    let server = w.udp(2, 53);
    let mut ports = Vec::new();
    for (host, count) in [(20, 2), (21, 1), (20, 4), (22, 1), (20, 3)] {
        for n in 0..count {
            let from = format!("192.168.1.{host}");
            inner_says(&mut w, (&from, 5_000 + 10 * ports.len() as u16 + n), ("203.0.113.1", 53));
            ports.extend(w.hear(2, server).map(|(_, from)| (host, from[13..].parse::<u16>().unwrap())));
        }
    }
    let of = |host| ports.iter().filter(|p| p.0 == host).map(|p| p.1).collect::<Vec<u16>>();
    assert_eq!(of(20), [1_024, 1_025, 1_026, 1_027, 1_032, 1_033, 1_034, 1_035], "two blocks, whole");
    assert_eq!((of(21), of(22)), (vec![1_028], vec![1_036]));
    // The ninth flow of .20 is too much: it is dropped by the rule, and its sender is told (RFC 6888 REQ-11).
    assert_eq!(refused(&w), [(DropReason::NatExhausted, 0)]);
    check_last(&w, "ICMP host 203.0.113.1 unreachable");
    assert_eq!(
        blocks_of(&w),
        [
            "192.168.1.20 203.0.113.50:1024-1027 taken",
            "192.168.1.21 203.0.113.50:1028-1031 taken",
            "192.168.1.20 203.0.113.50:1032-1035 taken",
            "192.168.1.22 203.0.113.50:1036-1039 taken",
        ]
    );
    // When its flows are forgotten it gives its blocks back, and the next one gets the first of them.
    w.run_for(Nanos::from_secs(40));
    for host in ["192.168.1.30", "192.168.1.31", "192.168.1.32"] {
        inner_says(&mut w, (host, 5_000), ("203.0.113.1", 53));
    }
    let log = blocks_of(&w);
    assert!(log.contains(&"192.168.1.20 203.0.113.50:1032-1035 given back".to_owned()), "{log:?}");
    assert!(log.contains(&"192.168.1.20 203.0.113.50:1024-1027 given back".to_owned()), "{log:?}");
    assert_eq!(log.len() - 4 - 3, 4, "every block was given back once: {log:?}");
}

//= rfc5508#8 REQ-8
//= type=test
#[test]
fn who_gets_no_port_is_told_or_not() {
    let error = |exhausted| {
        let ports = NatPorts::Sequential(range(10_001, 10_001));
        let behaviour = NatBehaviour { exhausted, ..NatBehaviour::default() };
        let mut w = ruled(NatRule { action: NatAction::Masquerade { ports }, behaviour, ..snat_rule() });
        w.udp(2, 53);
        let (first, second) = (w.udp(0, 0), w.udp(0, 0));
        w.say(0, first, "203.0.113.1:53", b"x");
        w.run_for(Nanos::from_secs(1));
        w.say(0, second, "203.0.113.1:53", b"x");
        w.run_for(Nanos::from_secs(1));
        assert_eq!(refused(&w), [(DropReason::NatExhausted, 0)]);
        assert_eq!(w.app(0, |s| s.take_error(first)), None);
        w.app(0, |s| s.take_error(second))
    };
    assert_eq!(error(NatExhausted::Silent), None);
    assert_eq!(error(NatExhausted::Prohibited), Some(SocketError::Prohibited));
    assert_eq!(error(NatExhausted::HostUnreachable), Some(SocketError::HostUnreachable));
}

/// The AWS NAT gateway and Linux: one port for many flows as long as the other ends differ.
#[test]
fn overloaded_ports_serve_several_destinations() {
    let try_it = |overload| {
        let ports = NatPorts::Sequential(range(10_001, 10_001));
        let behaviour = NatBehaviour { overload, mapping: BOTH, filtering: BOTH, ..NatBehaviour::default() };
        let mut w = ruled(NatRule { action: NatAction::Masquerade { ports }, behaviour, ..snat_rule() });
        let servers = [w.udp(2, 53), w.udp(2, 54)];
        let client = w.udp(0, 0);
        w.say(0, client, "203.0.113.1:53", b"x");
        w.say(0, client, "203.0.113.1:54", b"x");
        w.run_for(Nanos::from_secs(1));
        inner_says(&mut w, ("192.168.1.20", 1), ("203.0.113.1", 54));
        let heard = servers.map(|s| w.hear(2, s).map(|(_, from)| from));
        for server in servers {
            w.say(2, server, "203.0.113.50:10001", b"answer");
        }
        w.run_for(Nanos::from_secs(1));
        let answers = std::iter::from_fn(|| w.hear(0, client)).count();
        (heard.map(|h| h.is_some()), answers, refused(&w).iter().map(|r| r.0).collect::<Vec<_>>())
    };
    let full = DropReason::NatExhausted;
    assert_eq!(try_it(true), ([true, true], 2, vec![full]), "but not twice towards the same end");
    assert_eq!(try_it(false), ([true, false], 1, vec![full, full, DropReason::NoSocket]));
}

//= rfc5382#4 REQ-2
//= type=test
/// Both sides send a SYN at once: the one from outside meets a mapping that is already there.
#[test]
fn connections_that_are_opened_from_both_sides_come_to_be() {
    let mut w = behaving(NatBehaviour { exclusive: true, ..NatBehaviour::default() });
    w.inject(1, 0, arp_of("192.168.1.20", mac(9, 0)));
    let theirs = |flags| {
        let mut frame = tcp(("203.0.113.1", 4_000), (WAN, 10_001), flags);
        frame[..6].copy_from_slice(&mac(1, 1).0);
        frame
    };
    // Too early: nobody is told (REQ-4), so that the other side tries again.
    w.inject(1, 1, theirs(TcpFlags::SYN));
    assert_eq!(refused(&w), [(DropReason::NatNoMapping, 0)]);
    w.inject(1, 0, tcp(("192.168.1.20", 5_000), ("203.0.113.1", 4_000), TcpFlags::SYN));
    w.inject(1, 1, theirs(TcpFlags::SYN));
    check_last(&w, "203.0.113.1.4000 > 192.168.1.20.5000: Flags [S]");
    w.inject(1, 0, tcp(("192.168.1.20", 5_000), ("203.0.113.1", 4_000), TcpFlags::SYN | TcpFlags::ACK));
    w.inject(1, 1, theirs(TcpFlags::SYN | TcpFlags::ACK));
    w.inject(1, 1, theirs(TcpFlags::ACK));
    let flows = w.stacks[1].tables(w.now).flows;
    assert_eq!(flows.iter().map(|f| f.state).collect::<Vec<_>>(), [FlowState::Established]);
}

/// Every state has its own timeout, which can be set.
#[test]
fn flows_are_forgotten_by_their_state() {
    let seconds = Nanos::from_secs;
    let options = ConntrackOptions {
        tcp_syn_sent: seconds(11),
        tcp_syn_received: seconds(12),
        tcp_established: seconds(13),
        tcp_fin_wait: seconds(14),
        tcp_last_ack: seconds(15),
        tcp_time_wait: seconds(16),
        tcp_closed: seconds(17),
        udp: seconds(18),
        udp_answered: seconds(19),
        icmp: seconds(20),
        ..ConntrackOptions::default()
    };
    let mut w = routed(|router| (router.nat, router.conntrack) = (vec![snat_rule()], options));
    let state = |w: &World| {
        let flows = w.stacks[1].tables(w.now).flows;
        (flows[0].state, flows[0].expires.since(w.now).0 / 1_000_000_000)
    };
    let out = |flags| tcp(("192.168.1.20", 5_000), ("203.0.113.1", 80), flags);
    let back = |flags| {
        let mut frame = tcp(("203.0.113.1", 80), (WAN, 10_001), flags);
        frame[..6].copy_from_slice(&mac(1, 1).0);
        frame
    };
    let (syn, ack, fin, rst) = (TcpFlags::SYN, TcpFlags::ACK, TcpFlags::FIN, TcpFlags::RST);
    w.inject(1, 0, out(syn));
    assert_eq!(state(&w), (FlowState::SynSent, 11));
    w.inject(1, 1, back(syn | ack));
    assert_eq!(state(&w), (FlowState::SynReceived, 12));
    w.inject(1, 0, out(ack));
    assert_eq!(state(&w), (FlowState::Established, 13));
    w.inject(1, 0, out(fin | ack));
    assert_eq!(state(&w), (FlowState::FinWait, 14));
    w.inject(1, 1, back(fin | ack));
    assert_eq!(state(&w), (FlowState::LastAck, 15));
    w.inject(1, 0, out(ack));
    assert_eq!(state(&w), (FlowState::TimeWait, 16));
    w.inject(1, 1, back(rst));
    assert_eq!(state(&w), (FlowState::Closed, 17));
    let mut w = routed(|router| (router.nat, router.conntrack) = (vec![snat_rule()], options));
    w.inject(1, 0, udp_frame(mac(1, 0), ("192.168.1.20", 1), ("203.0.113.1", 53), b"x"));
    assert_eq!(state(&w), (FlowState::Unanswered, 18));
    w.inject(1, 1, udp_frame(mac(1, 1), ("203.0.113.1", 53), (WAN, 10_001), b"x"));
    assert_eq!(state(&w), (FlowState::Answered, 19));
    w.run_for(seconds(18));
    assert_eq!(w.stacks[1].tables(w.now).nat.len(), 1);
    w.run_for(seconds(2));
    let tables = w.stacks[1].tables(w.now);
    assert_eq!((tables.flows.len(), tables.nat.len()), (0, 0));
}

#[test]
fn after_a_rebinding_nothing_is_as_it_was() {
    let preserve = NatPorts::Preserve(range(20_000, 20_010));
    let ports = |change| {
        let behaviour = NatBehaviour { filtering: EVERYBODY, ..NatBehaviour::default() };
        let action = NatAction::Masquerade { ports: preserve };
        let mut w = ruled(NatRule { action, behaviour, ..snat_rule() });
        let (client, server, other) = (w.udp(0, 7_000), w.udp(2, 53), w.udp(2, 54));
        w.say(0, client, "203.0.113.1:53", b"before");
        w.run_for(Nanos::from_secs(1));
        assert_eq!(w.hear(2, server).unwrap().1, "203.0.113.50:7000");
        assert_eq!(w.app(1, |s| s.rebind(change)), 1);
        assert_eq!(w.stacks[1].tables(w.now).nat, []);
        w.say(2, other, "203.0.113.50:7000", b"too late");
        w.run_for(Nanos::from_secs(1));
        assert_eq!(w.hear(0, client), None);
        assert_eq!(refused(&w), [(DropReason::NoSocket, u32::MAX)]);
        w.say(0, client, "203.0.113.1:53", b"after");
        w.run_for(Nanos::from_secs(1));
        let after = w.hear(2, server).unwrap().1;
        w.say(2, server, &after, b"answer");
        w.run_for(Nanos::from_secs(1));
        assert!(w.hear(0, client).is_some());
        after
    };
    assert_eq!(ports(false), "203.0.113.50:7000", "the port is free, so it is preserved again");
    assert_eq!(ports(true), "203.0.113.50:20000", "not the same again");
}

/// A TCP connection in its middle dies with the mapping, or is picked up with another port, which the server does not know.
#[test]
fn a_rebinding_ends_connections() {
    let after = |tcp_loose| {
        let mut w = routed(|router| {
            router.nat = vec![snat_rule()];
            router.conntrack.tcp_loose = tcp_loose;
        });
        w.app(2, |s| s.tcp_listen(80, 5)).unwrap();
        let c = w.connect(0, "203.0.113.1:80");
        w.run_for(Nanos::from_secs(1));
        w.app(1, |s| s.rebind(true));
        w.app(0, |s| s.tcp_write(c, b"still there?")).unwrap();
        w.run_for(Nanos::from_secs(1));
        (w.app(0, |s| s.take_error(c)), refused(&w).first().map(|r| r.0))
    };
    assert_eq!(after(false), (None, Some(DropReason::ConntrackInvalid)));
    assert_eq!(after(true), (Some(SocketError::Reset), None));
}

//= rfc4787#11 REQ-14
//= type=test
#[test]
fn fragments_in_any_order_are_translated() {
    let mut w = natted();
    let server = w.udp(2, 53);
    let mut whole = udp_frame(mac(1, 0), ("192.168.1.10", 5_000), ("203.0.113.1", 53), &[7; 2_000]);
    let payload = whole.split_off(34);
    let piece = |start: usize, end: usize, more: bool| {
        let mut bytes = whole[..14].to_vec();
        let (src, dst) = ("192.168.1.10".parse().unwrap(), "203.0.113.1".parse().unwrap());
        let mut ip = Ipv4Header::new(src, dst, protocol::UDP, 64, end - start);
        (ip.id, ip.mf, ip.frag_offset) = (77, more, start as u16);
        ip.emit(&mut bytes);
        bytes.extend_from_slice(&payload[start..end]);
        bytes
    };
    for (start, end, more) in [(1_200, 2_008, false), (600, 1_200, true), (0, 600, true)] {
        w.inject(1, 0, piece(start, end, more));
    }
    w.run_for(Nanos::from_secs(1));
    assert_eq!(w.hear(2, server), Some((vec![7; 2_000], "203.0.113.50:10001".into())));
    // One that never comes: the others are given up together, and no mapping is made.
    w.inject(1, 0, piece(600, 1_200, true));
    w.run_for(Nanos::from_secs(40));
    assert_eq!(refused(&w), [(DropReason::ReassemblyTimeout, u32::MAX)]);
}

#[test]
fn tables_show_what_is_remembered() {
    let mut w = natted();
    let (client, server) = (w.udp(0, 0), w.udp(2, 53));
    w.say(0, client, "203.0.113.1:53", b"question");
    w.run_for(Nanos::from_secs(1));
    w.say(2, server, "203.0.113.50:10001", b"the answer");
    w.run_for(Nanos::from_secs(1));
    let tables = w.stacks[1].tables(w.now);
    let text = |end: std::net::SocketAddr| end.to_string();
    let nat = tables.nat[0];
    assert_eq!(
        (text(nat.inside), text(nat.outside)),
        ("192.168.1.10:52431".into(), "203.0.113.50:10001".into())
    );
    assert_eq!((nat.protocol, nat.remote, nat.rule, nat.flows), (17, (None, None), 0, 1));
    // Made with the question at 3 ms; two minutes from the answer.
    assert_eq!((nat.made, nat.expires), (rt_base::Time(3_000_000), rt_base::Time(121_001_000_000)));
    let flow = tables.flows[0];
    assert_eq!((text(flow.original.0), text(flow.original.1)), (text(nat.inside), "203.0.113.1:53".into()));
    assert_eq!((text(flow.reply.0), text(flow.reply.1)), ("203.0.113.1:53".into(), text(nat.outside)));
    assert_eq!((flow.state, flow.began, flow.expires), (FlowState::Answered, nat.made, nat.expires));
    assert_eq!((flow.packets, flow.bytes), ([1, 1], [36, 38]));
    assert_eq!((flow.destination_rule, flow.source_rule), (None, Some(0)));
    assert_eq!((tables.nat.len(), tables.flows.len()), (1, 1));
    let neighbors: Vec<String> =
        tables.neighbors.iter().map(|n| format!("{} {:?}", n.address, n.state)).collect();
    assert_eq!(
        neighbors,
        [
            "192.168.1.10 Known { mac: 02:00:00:00:00:00, until: 1200.001000000 }",
            "203.0.113.1 Known { mac: 02:00:00:00:02:00, until: 1200.005000000 }",
        ]
    );
    let routes: Vec<_> = tables.routes.iter().map(|r| (r.route.prefix.to_string(), r.packets)).collect();
    assert_eq!(routes, [("192.168.1.0/24".to_owned(), 1), ("203.0.113.0/24".to_owned(), 1)]);
    assert_eq!(
        tables.nat_rules.iter().map(|r| (r.rule.origin.to_string(), r.flows)).collect::<Vec<_>>(),
        [("test.yaml:7".to_owned(), 1)]
    );
    // A router without rules counts as well, on its short way too.
    let mut w = routed(|_| {});
    let (client, _server) = (w.udp(0, 0), w.udp(2, 53));
    for _ in 0..5 {
        w.say(0, client, "203.0.113.1:53", b"x");
        w.run_for(Nanos::from_secs(1));
    }
    let count = |w: &World| w.stacks[1].tables(w.now).routes.iter().map(|r| r.packets).collect::<Vec<_>>();
    assert_eq!(count(&w), [0, 5]);
    w.app(1, |s| s.add_route(route("10.0.0.0/8", Some("203.0.113.1"), 1)));
    assert_eq!(count(&w), [0, 5, 0], "counters outlive a change of routes");
}
