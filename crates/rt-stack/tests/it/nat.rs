//! Source and destination NAT with connection tracking.

use rt_base::{DropReason, MacAddr, Nanos, NatSide, PortId, What};
use rt_rules::{Match, NatAction, NatBehaviour, NatPorts, NatRule, PortRange};
use rt_stack::SocketError;
use rt_wire::{EthernetHeader, Icmpv4, Ipv4Header, protocol};

use crate::fixture::*;

fn with_ports(ports: NatPorts) -> World {
    let rule = NatRule { action: NatAction::Masquerade { ports }, ..snat_rule() };
    routed(|router| router.nat = vec![rule])
}

/// External ports, in the order in which they were taken.
fn external_ports(w: &World) -> Vec<u16> {
    let taken = |e: &rt_base::Event| match &e.what {
        What::Nat(record) if record.created => Some(record.src_after.port()),
        _ => None,
    };
    w.events.iter().filter_map(taken).collect()
}

/// The numbers of the textbook: the query takes 10001, the connection 10002.
#[test]
fn a_query_and_a_connection_take_ports_from_one_counter() {
    let mut w = natted();
    let listener = w.app(2, |s| s.tcp_listen(443, 5)).unwrap();
    let server = w.udp(2, 53);
    // What the router says for itself takes no port from the counter.
    let own = w.udp(1, 4_000);
    w.say(1, own, "203.0.113.1:53", b"own");
    w.run();
    assert_eq!(w.hear(2, server), Some((b"own".to_vec(), "203.0.113.50:4000".into())));

    let client = w.udp(0, 0);
    w.say(0, client, "203.0.113.1:53", b"question");
    w.run();
    assert_eq!(w.hear(2, server), Some((b"question".to_vec(), "203.0.113.50:10001".into())));
    w.say(2, server, "203.0.113.50:10001", b"answer");
    w.run();
    assert_eq!(w.hear(0, client), Some((b"answer".to_vec(), "203.0.113.1:53".into())));

    let c = w.connect(0, "203.0.113.1:443");
    w.run();
    let s = w.app(2, |s| s.tcp_accept(listener)).unwrap();
    assert_eq!(w.stacks[0].local_addr(c).unwrap().to_string(), "192.168.1.10:52432");
    assert_eq!(w.stacks[2].remote_addr(s).unwrap().to_string(), "203.0.113.50:10002");
    assert_eq!(w.drops(), []);
    assert_eq!(external_ports(&w), [10_001, 10_002]);
}

#[test]
fn every_rewrite_is_told() {
    let mut w = natted();
    let (client, server) = (w.udp(0, 0), w.udp(2, 53));
    w.say(0, client, "203.0.113.1:53", b"question");
    w.run();
    w.say(2, server, "203.0.113.50:10001", b"answer");
    w.run();
    let told = |e: &rt_base::Event| match &e.what {
        What::Nat(r) => Some((
            r.side,
            r.rule,
            r.created,
            format!("{} > {}", r.src_before, r.dst_before),
            format!("{} > {}", r.src_after, r.dst_after),
        )),
        _ => None,
    };
    let records: Vec<_> = w.events.iter().filter_map(told).collect();
    let text = |t: &str| t.to_owned();
    assert_eq!(
        records,
        [
            (
                NatSide::Source,
                0,
                true,
                text("192.168.1.10:52431 > 203.0.113.1:53"),
                text("203.0.113.50:10001 > 203.0.113.1:53"),
            ),
            (
                NatSide::Destination,
                u32::MAX,
                false,
                text("203.0.113.1:53 > 203.0.113.50:10001"),
                text("203.0.113.1:53 > 192.168.1.10:52431"),
            ),
        ]
    );
    assert_eq!(w.count(1, |e| matches!(e, What::ConntrackNew { protocol: 17, .. })), 1);
}

#[test]
fn an_inner_end_keeps_its_port_towards_everybody() {
    let mut w = natted();
    let (one, two) = (w.udp(2, 53), w.udp(2, 54));
    let client = w.udp(0, 0);
    for to in ["203.0.113.1:53", "203.0.113.1:54"] {
        w.say(0, client, to, b"x");
    }
    w.run();
    assert_eq!(w.hear(2, one).unwrap().1, "203.0.113.50:10001");
    assert_eq!(w.hear(2, two).unwrap().1, "203.0.113.50:10001");
}

#[test]
fn ports_are_chosen_by_policy() {
    let range = |first, last| PortRange { first, last };
    let ports_of = |ports: NatPorts| {
        let mut w = with_ports(ports);
        w.udp(2, 53);
        for _ in 0..3 {
            let client = w.udp(0, 0);
            w.say(0, client, "203.0.113.1:53", b"x");
        }
        w.run();
        external_ports(&w)
    };
    assert_eq!(ports_of(NatPorts::Sequential(range(20_000, 20_010))), [20_000, 20_001, 20_002]);
    assert_eq!(ports_of(NatPorts::Preserve(range(20_000, 20_010))), [52_431, 52_432, 52_433]);
    let random = ports_of(NatPorts::Random(range(20_000, 29_999)));
    assert!(random.iter().all(|p| (20_000..30_000).contains(p)) && random != [20_000, 20_001, 20_002]);
}

#[test]
fn a_preserved_port_that_is_taken_moves_into_the_range() {
    let ports = NatPorts::Preserve(PortRange { first: 20_000, last: 20_010 });
    let mut w = with_ports(ports);
    let server = w.udp(2, 53);
    let frame = |src: &str| udp_frame(mac(1, 0), (src, 5_000), ("203.0.113.1", 53), b"x");
    w.inject(1, 0, frame("192.168.1.20"));
    w.inject(1, 0, frame("192.168.1.21"));
    w.run();
    let from: Vec<String> = (0..2).filter_map(|_| w.hear(2, server)).map(|(_, from)| from).collect();
    assert_eq!(from, ["203.0.113.50:5000", "203.0.113.50:20000"]);
}

#[test]
fn ports_run_out_and_come_back_when_flows_end() {
    let mut w = with_ports(NatPorts::Sequential(PortRange { first: 10_001, last: 10_002 }));
    w.udp(2, 53);
    let clients: Vec<_> = (0..3).map(|_| w.udp(0, 0)).collect();
    for &client in &clients {
        w.say(0, client, "203.0.113.1:53", b"x");
    }
    w.run();
    assert_eq!(
        w.drops().into_iter().map(|(n, r, _, rule)| (n, r, rule)).collect::<Vec<_>>(),
        [(1, DropReason::NatExhausted, 0)]
    );
    w.run_for(Nanos::from_secs(60));
    let late = w.udp(0, 0);
    w.say(0, late, "203.0.113.1:53", b"x");
    w.say(0, clients[2], "203.0.113.1:53", b"x");
    w.run();
    assert_eq!(w.drops().len(), 1, "{:?}", w.drops());
}

#[test]
fn what_nobody_asked_for_does_not_come_in() {
    let mut w = natted();
    let (client, server) = (w.udp(0, 0), w.udp(2, 53));
    w.say(0, client, "203.0.113.1:53", b"x");
    w.run();
    let stranger = w.udp(2, 5353);
    w.say(2, stranger, "203.0.113.50:10001", b"let me in");
    w.say(2, server, "203.0.113.50:10002", b"wrong door");
    w.run();
    assert_eq!(w.hear(0, client), None);
    assert_eq!(w.drop_reasons(), [DropReason::NoSocket; 2]);
    assert_eq!(w.app(2, |s| s.take_error(stranger)), Some(SocketError::Refused));
}

/// No hairpin: an inner host that calls the external address reaches the router itself.
#[test]
fn the_external_address_seen_from_inside_is_the_router() {
    let mut w = natted();
    let c = w.connect(0, "203.0.113.50:443");
    w.app(0, |s| s.icmp_echo(ip("203.0.113.50"), 1, 1, vec![])).unwrap();
    w.run();
    assert_eq!(w.app(0, |s| s.take_error(c)), Some(SocketError::Refused));
    assert_eq!(w.app(0, |s| s.take_echo_replies()).len(), 1);
    assert!(w.wire.iter().all(|seen| seen.from != 2));
}

#[test]
fn pings_keep_their_identifier_and_do_not_move_the_counter() {
    let mut w = natted();
    w.app(0, |s| s.icmp_echo(ip("203.0.113.1"), 77, 1, b"hi".to_vec())).unwrap();
    w.run();
    let answers = w.app(0, |s| s.take_echo_replies());
    assert_eq!((answers.len(), answers[0].id), (1, 77));
    let (client, server) = (w.udp(0, 0), w.udp(2, 53));
    w.say(0, client, "203.0.113.1:53", b"x");
    w.run();
    assert_eq!(w.hear(2, server).unwrap().1, "203.0.113.50:10001");
    // Another inner host with the same identifier gets another one, and its answer.
    let mut bytes = Vec::new();
    EthernetHeader { dst: mac(1, 0), src: mac(9, 0), ethertype: 0x0800 }.emit(&mut bytes);
    let (src, dst) = ("192.168.1.20".parse().unwrap(), "203.0.113.1".parse().unwrap());
    Ipv4Header::new(src, dst, protocol::ICMP, 64, 8).emit(&mut bytes);
    Icmpv4::EchoRequest { id: 77, seq: 1 }.emit(b"", &mut bytes);
    w.inject(1, 0, arp_of("192.168.1.20", mac(9, 0)));
    w.inject(1, 0, bytes);
    w.run();
    let last = rt_wire::summary(&w.wire.last().unwrap().bytes);
    assert!(last.contains("203.0.113.1 > 192.168.1.20: ICMP echo reply, id 77"), "{last}");
    assert!(w.lines().iter().any(|l| l.contains("id 10002")), "{:?}", w.lines());
}

#[test]
fn errors_from_outside_come_back_translated() {
    let mut w = natted();
    let client = w.udp(0, 0);
    w.say(0, client, "203.0.113.1:9", b"nobody there");
    w.run();
    assert_eq!(w.app(0, |s| s.take_error(client)), Some(SocketError::Refused));
    let inner = w.wire.iter().rfind(|seen| seen.from == 1).unwrap();
    let (outer, icmp) = Ipv4Header::parse(&inner.bytes[14..]).unwrap();
    let (message, quoted) = Icmpv4::parse(icmp).expect("a right ICMP checksum");
    let (quoted, udp) = Ipv4Header::parse_unchecked(quoted).unwrap();
    assert_eq!(message, Icmpv4::Unreachable { code: 3, mtu: 0 });
    assert_eq!((outer.src.to_string(), outer.dst.to_string()), ("203.0.113.1".into(), "192.168.1.10".into()));
    assert_eq!(
        (quoted.src.to_string(), quoted.dst.to_string()),
        ("192.168.1.10".into(), "203.0.113.1".into())
    );
    assert_eq!(udp[..2], 52_431u16.to_be_bytes());
    assert_eq!(w.count(1, |e| matches!(e, What::Nat(r) if r.protocol == 1)), 1);
}

#[test]
fn errors_from_inside_go_out_translated() {
    let mut w = natted();
    let (client, server) = (w.udp(0, 0), w.udp(2, 53));
    w.say(0, client, "203.0.113.1:53", b"question");
    w.run();
    w.app(0, |s| s.close(client));
    w.say(2, server, "203.0.113.50:10001", b"too late");
    w.run();
    assert_eq!(w.app(2, |s| s.take_error(server)), Some(SocketError::Refused));
    let outer = w.wire.iter().rfind(|seen| seen.from == 1).unwrap();
    let line = rt_wire::summary(&outer.bytes);
    assert!(line.contains("203.0.113.50 > 203.0.113.1"), "{line}");
}

/// The router itself complains about an answer that it has already translated back: what it quotes is what was sent.
#[test]
fn the_routers_own_errors_quote_what_the_sender_sent() {
    let mut w = natted();
    let server = w.udp(2, 53);
    w.inject(1, 0, udp_frame(mac(1, 0), ("192.168.1.99", 5_000), ("203.0.113.1", 53), b"from a ghost"));
    w.run();
    w.say(2, server, "203.0.113.50:10001", b"answer to a ghost");
    w.run();
    assert_eq!(w.drop_reasons(), [DropReason::NeighborUnreachable]);
    assert_eq!(w.app(2, |s| s.take_error(server)), Some(SocketError::HostUnreachable));
    // And a packet from inside whose TTL ends at the router is quoted untranslated.
    let mut w = natted();
    let mut frame = udp_frame(mac(1, 0), ("192.168.1.10", 5_000), ("203.0.113.1", 53), b"x");
    rewrite_ttl(&mut frame, 1);
    let client = w.udp(0, 5_000);
    w.inject(1, 0, frame);
    w.run();
    assert_eq!(w.app(0, |s| s.take_error(client)), Some(SocketError::TtlExceeded));
}

fn forward_rule() -> NatRule {
    NatRule {
        when: Match {
            protocol: Some(6),
            in_port: Some(PortId(1)),
            dport: Some(PortRange { first: 80, last: 80 }),
            ..Match::default()
        },
        action: NatAction::Dnat { to: ip("192.168.1.10"), port: Some(8_080) },
        behaviour: NatBehaviour::default(),
        origin: origin(),
    }
}

#[test]
fn a_forwarded_port_leads_inside_and_back() {
    let mut w = routed(|router| router.nat = vec![snat_rule(), forward_rule()]);
    let listener = w.app(0, |s| s.tcp_listen(8_080, 5)).unwrap();
    let c = w.connect(2, "203.0.113.50:80");
    w.run();
    let s = w.app(0, |s| s.tcp_accept(listener)).expect("forwarded");
    assert_eq!(w.stacks[0].remote_addr(s).unwrap().to_string(), "203.0.113.1:52431");
    w.app(2, |st| st.tcp_write(c, b"hello")).unwrap();
    w.run();
    assert_eq!(w.read(0, s), b"hello");
    assert_eq!(w.drops(), []);
    // Nobody listens: the refusal comes from the address that was called.
    w.app(0, |st| st.close(listener));
    let c = w.connect(2, "203.0.113.50:80");
    w.run();
    assert_eq!(w.app(2, |st| st.take_error(c)), Some(SocketError::Refused));
}

#[test]
fn a_router_can_redirect_its_own_traffic() {
    let redirect = NatRule {
        when: Match { dst: vec![net("198.51.100.1/32")], ..Match::default() },
        action: NatAction::Dnat { to: ip("203.0.113.1"), port: Some(53) },
        behaviour: NatBehaviour::default(),
        origin: origin(),
    };
    let mut w = routed(|router| {
        router.nat = vec![redirect];
        router.routes = vec![route("0.0.0.0/0", Some("203.0.113.1"), 1)];
    });
    let (own, server) = (w.udp(1, 4_000), w.udp(2, 53));
    w.say(1, own, "198.51.100.1:5300", b"q");
    w.run();
    assert_eq!(w.hear(2, server), Some((b"q".to_vec(), "203.0.113.50:4000".into())));
    w.say(2, server, "203.0.113.50:4000", b"a");
    w.run();
    assert_eq!(w.hear(1, own), Some((b"a".to_vec(), "198.51.100.1:5300".into())));
}

#[test]
fn fragments_are_translated_as_whole_datagrams() {
    let mut w = natted();
    let (client, server) = (w.udp(0, 0), w.udp(2, 53));
    w.say(0, client, "203.0.113.1:53", &[9; 4_000]);
    w.run();
    assert_eq!(w.hear(2, server), Some((vec![9; 4_000], "203.0.113.50:10001".into())));
    w.say(2, server, "203.0.113.50:10001", &[8; 4_000]);
    w.run();
    assert_eq!(w.hear(0, client).map(|(text, _)| text), Some(vec![8; 4_000]));
}

#[test]
fn masquerading_needs_an_address() {
    let mut w = routed(|router| {
        router.nat = vec![snat_rule()];
        router.interfaces[1].addresses.clear();
        router.routes = vec![route("0.0.0.0/0", Some("203.0.113.1"), 1)];
    });
    let client = w.udp(0, 0);
    w.say(0, client, "203.0.113.1:53", b"x");
    w.run();
    assert_eq!(w.drop_reasons(), [DropReason::NoAddress]);
}

pub(crate) fn udp_frame(dst_mac: MacAddr, src: (&str, u16), dst: (&str, u16), text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    EthernetHeader { dst: dst_mac, src: mac(9, 0), ethertype: 0x0800 }.emit(&mut bytes);
    let len = 8 + text.len();
    let (from, to) = (src.0.parse().unwrap(), dst.0.parse().unwrap());
    Ipv4Header::new(from, to, protocol::UDP, 64, len).emit(&mut bytes);
    rt_wire::UdpHeader { src: src.1, dst: dst.1, len: len as u16, checksum: 0 }.emit(&mut bytes);
    bytes.extend_from_slice(text);
    rt_wire::checksum::fill_transport(from.into(), to.into(), protocol::UDP, &mut bytes[34..]);
    bytes
}

pub(crate) fn rewrite_ttl(frame: &mut [u8], ttl: u8) {
    while frame[22] > ttl {
        rt_wire::rewrite::decrement_ttl(&mut frame[14..]);
    }
}

/// A gratuitous question of an inner host, so that the router knows its MAC.
pub(crate) fn arp_of(sender: &str, mac_of: MacAddr) -> Vec<u8> {
    let mut bytes = Vec::new();
    EthernetHeader { dst: MacAddr::BROADCAST, src: mac_of, ethertype: 0x0806 }.emit(&mut bytes);
    rt_wire::ArpPacket {
        operation: rt_wire::ArpOperation::Request,
        sender_mac: mac_of,
        sender_ip: sender.parse().unwrap(),
        target_mac: MacAddr([0; 6]),
        target_ip: "192.168.1.1".parse().unwrap(),
    }
    .emit(&mut bytes);
    bytes
}

/// What the router tells about one query and its answer, in order.
#[test]
fn the_router_tells_every_step_of_a_query() {
    let mut w = routed(|router| {
        router.nat = vec![snat_rule()];
        let hook = rt_base::HookPoint::Forward;
        router.chains =
            vec![chain(hook, vec![(Match::default(), rt_rules::Action::Accept)], rt_rules::Action::Drop)];
    });
    let (client, server) = (w.udp(0, 0), w.udp(2, 53));
    w.say(0, client, "203.0.113.1:53", b"question");
    w.run();
    w.say(2, server, "203.0.113.50:10001", b"answer");
    w.run();
    let line = |e: &rt_base::Event| match &e.what {
        What::Nat(r) => format!("{:?} {:?} {} > {}", e.frame, r.side, r.src_after, r.dst_after),
        what => format!("{:?} {what:?}", e.frame),
    };
    let told: Vec<String> = w.events.iter().filter(|e| e.node().0 == 1).map(line).collect();
    insta::assert_snapshot!(told.join("\n"), @r"
    f0.2 NeighborLearned { address: 192.168.1.10, mac: [2, 0, 0, 0, 0, 0] }
    f0.1 Route { rule: 1, out: PortId(1), next_hop: 203.0.113.1, ttl: 63 }
    f0.1 Filter { hook: Forward, rule: 0, accepted: true }
    f0.1 ConntrackNew { protocol: 17, src: 192.168.1.10:52431 }
    f0.1 Source 203.0.113.50:10001 > 203.0.113.1:53
    f0.1 NeighborWait { address: 203.0.113.1 }
    f2.1 NeighborLearned { address: 203.0.113.1, mac: [2, 0, 0, 0, 2, 0] }
    f2.2 Destination 203.0.113.1:53 > 192.168.1.10:52431
    f2.2 Route { rule: 0, out: PortId(0), next_hop: 192.168.1.10, ttl: 63 }
    f2.2 Filter { hook: Forward, rule: 0, accepted: true }
    ");
}
