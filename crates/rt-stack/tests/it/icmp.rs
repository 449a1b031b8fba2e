//! Ping, and the errors that a machine sends and hears.

use rt_base::{DropReason, Nanos, What};
use rt_stack::{Probe, ProbeKind, ProbeVerdict, SocketError, SocketId};

use crate::fixture::*;

#[test]
fn a_ping_is_answered() {
    let mut w = pair();
    w.app(0, |s| s.icmp_echo(ip("10.0.0.2"), 7, 1, b"hello".to_vec())).unwrap();
    w.run();
    let answers = w.app(0, |s| s.take_echo_replies());
    assert_eq!(answers.len(), 1);
    let a = &answers[0];
    assert_eq!(
        (a.from, a.id, a.seq, a.ttl, a.payload.as_slice(), a.error),
        (ip("10.0.0.2"), 7, 1, 64, &b"hello"[..], None)
    );
    let mut woken = Vec::new();
    w.stacks[0].take_woken(&mut woken);
    assert_eq!(woken, [SocketId::ECHO]);
    assert_eq!(w.drops(), []);
}

#[test]
fn a_ping_of_oneself_never_meets_a_wire() {
    for target in ["127.0.0.1", "10.0.0.1"] {
        let mut w = pair();
        w.app(0, |s| s.icmp_echo(ip(target), 7, 1, vec![])).unwrap();
        assert_eq!(w.app(0, |s| s.take_echo_replies()).len(), 1, "{target}");
        assert!(w.wire.is_empty());
    }
}

#[test]
fn a_closed_udp_port_is_reported_to_the_socket() {
    let mut w = pair();
    let socket = w.udp(0, 0);
    w.say(0, socket, "10.0.0.2:9", b"x");
    w.run();
    assert_eq!(w.app(0, |s| s.take_error(socket)), Some(SocketError::Refused));
    assert_eq!(w.app(0, |s| s.take_error(socket)), None);
    assert_eq!(w.drop_reasons(), [DropReason::NoSocket]);
}

#[test]
fn a_routing_loop_ends_with_time_exceeded() {
    let mut a = machine(0, &["10.0.0.1/24"], vec![route("0.0.0.0/0", Some("10.0.0.2"), 0)]);
    a.ttl = 9;
    let mut b = machine(1, &["10.0.0.2/24", "10.1.0.1/24"], vec![route("0.0.0.0/0", Some("10.1.0.2"), 1)]);
    let mut c = machine(2, &["10.1.0.2/24"], vec![route("0.0.0.0/0", Some("10.1.0.1"), 0)]);
    (b.forwarding, c.forwarding) = (true, true);
    let mut w = World::new(vec![("a", a), ("b", b), ("c", c)]).link((0, 0), (1, 0)).link((1, 1), (2, 0));
    let socket = w.udp(0, 0);
    w.say(0, socket, "8.8.8.8:53", b"x");
    w.run();
    assert_eq!(w.drop_reasons(), [DropReason::TtlExceeded]);
    assert_eq!(w.app(0, |s| s.take_error(socket)), Some(SocketError::TtlExceeded));
}

#[test]
fn what_a_router_cannot_pass_on_it_reports() {
    let cases: &[(&str, DropReason, SocketError)] = &[
        ("8.8.8.8:53", DropReason::NoRoute, SocketError::NetUnreachable),
        ("10.9.0.1:53", DropReason::RouteUnreachable, SocketError::HostUnreachable),
        ("203.0.113.77:53", DropReason::NeighborUnreachable, SocketError::HostUnreachable),
    ];
    for (to, reason, error) in cases {
        let mut w = routed(|router| {
            let mut unreachable = route("10.9.0.0/16", None, 1);
            unreachable.kind = rt_rules::RouteKind::Unreachable;
            router.routes = vec![unreachable];
        });
        let socket = w.udp(0, 0);
        w.say(0, socket, to, b"x");
        w.run();
        assert_eq!(
            (w.drop_reasons(), w.app(0, |s| s.take_error(socket))),
            (vec![*reason], Some(*error)),
            "{to}"
        );
    }
}

#[test]
fn errors_are_limited_to_a_burst_of_six_and_one_a_second() {
    let mut w = pair();
    let socket = w.udp(0, 0);
    w.say(0, socket, "10.0.0.2:9", b"x");
    w.run_for(Nanos::from_secs(60));
    let errors = |w: &World| w.lines().iter().filter(|l| l.contains("unreachable")).count();
    assert_eq!(errors(&w), 1);
    for _ in 0..20 {
        w.say(0, socket, "10.0.0.2:9", b"x");
    }
    w.run_for(Nanos::from_millis(100));
    assert_eq!(errors(&w), 7);
    w.run_for(Nanos::from_millis(2_000));
    for _ in 0..20 {
        w.say(0, socket, "10.0.0.2:9", b"x");
    }
    w.run();
    assert_eq!(errors(&w), 9);
    assert_eq!(w.count(1, |e| matches!(e, What::IcmpWithheld { to } if *to == ip("10.0.0.1"))), 32);
}

#[test]
fn nobody_complains_about_errors_broadcasts_and_later_fragments() {
    let dead_port = |dst: &str, frag: u16, group: bool| {
        let mut header =
            rt_wire::Ipv4Header::new("10.0.0.1".parse().unwrap(), dst.parse().unwrap(), 99, 64, 24);
        header.frag_offset = frag;
        let mut bytes = Vec::new();
        let to = if group { rt_base::MacAddr::BROADCAST } else { mac(1, 0) };
        rt_wire::EthernetHeader { dst: to, src: mac(0, 0), ethertype: 0x0800 }.emit(&mut bytes);
        header.emit(&mut bytes);
        bytes.extend_from_slice(&[0; 24]);
        bytes
    };
    let mut w = pair();
    w.inject(1, 0, dead_port("10.0.0.2", 0, false));
    w.run();
    assert!(w.lines().iter().any(|l| l.contains("protocol 99 unreachable")), "{:?}", w.lines());
    for (dst, frag, group) in [("10.0.0.255", 0, true), ("10.0.0.2", 0, true), ("255.255.255.255", 0, true)] {
        let mut w = pair();
        w.inject(1, 0, dead_port(dst, frag, group));
        w.run();
        assert_eq!(w.wire.len(), 0, "{dst}");
        assert_eq!(w.drop_reasons(), [DropReason::UnknownProtocol]);
    }
    let mut w = routed(|_| {});
    w.inject(1, 0, {
        let mut header =
            rt_wire::Ipv4Header::new("192.168.1.10".parse().unwrap(), "8.8.8.8".parse().unwrap(), 17, 64, 24);
        header.frag_offset = 80;
        let mut bytes = Vec::new();
        rt_wire::EthernetHeader { dst: mac(1, 0), src: mac(0, 0), ethertype: 0x0800 }.emit(&mut bytes);
        header.emit(&mut bytes);
        bytes.extend_from_slice(&[0; 24]);
        bytes
    });
    w.run();
    assert_eq!((w.drop_reasons(), w.wire.len()), (vec![DropReason::NoRoute], 0));
}

#[test]
fn a_closed_port_of_the_machine_itself_is_reported_too() {
    for target in ["127.0.0.1:9", "10.0.0.1:9"] {
        let mut w = pair();
        let socket = w.udp(0, 0);
        w.say(0, socket, target, b"x");
        assert_eq!(w.app(0, |s| s.take_error(socket)), Some(SocketError::Refused), "{target}");
        let c = w.connect(0, target);
        assert_eq!(w.app(0, |s| s.take_error(c)), Some(SocketError::Refused), "{target}");
    }
}

fn probe(kind: ProbeKind, own: u16, to: &str, ttl: u8) -> Probe {
    Probe { kind, own, to: to.parse().unwrap(), mark: 7, ttl, df: false, len: 60 }
}

#[test]
fn probes_hear_routers_and_targets_by_every_protocol() {
    use ProbeVerdict::{Answered, Closed, Failed};
    for (kind, to, end) in [
        (ProbeKind::Icmp, "203.0.113.1:0", Answered),
        (ProbeKind::Udp, "203.0.113.1:33434", Closed),
        (ProbeKind::Tcp, "203.0.113.1:80", Closed),
        (ProbeKind::Tcp, "203.0.113.1:22", Answered),
    ] {
        let mut w = routed(|_| {});
        w.app(2, |s| s.tcp_listen(22, 5)).unwrap();
        let own = w.app(0, |s| s.probe_open(kind)).unwrap();
        for (ttl, verdict) in [(1, Failed(SocketError::TtlExceeded)), (2, end)] {
            w.app(0, |s| s.probe_send(probe(kind, own, to, ttl))).unwrap();
            w.run_for(Nanos::from_millis(100));
            let answer = w.app(0, |s| s.probe_answer(kind, own)).unwrap();
            assert_eq!(answer.verdict, verdict, "{kind:?} {ttl}");
            assert_eq!(answer.from == ip("203.0.113.1"), ttl == 2);
            assert_eq!((answer.own, answer.mark), (own, if kind == ProbeKind::Udp { 0 } else { 7 }));
        }
        w.app(0, |s| s.probe_close(kind, own));
        w.app(0, |s| s.probe_send(probe(kind, own, to, 2))).unwrap();
        w.run_for(Nanos::from_millis(100));
        assert_eq!(w.app(0, |s| s.probe_answer(kind, own)), None, "nobody waits any more");
    }
}

#[test]
fn probes_with_df_are_told_the_mtu_and_do_not_believe_what_was_learnt() {
    let mut w = routed(|router| router.interfaces[1].mtu = 1_400);
    let own = w.app(0, |s| s.probe_open(ProbeKind::Icmp)).unwrap();
    let mut ask = |len| {
        let probe = Probe { df: true, len, ..probe(ProbeKind::Icmp, own, "203.0.113.1:0", 64) };
        w.app(0, |s| s.probe_send(probe)).unwrap();
        w.run_for(Nanos::from_millis(100));
        w.app(0, |s| s.probe_answer(ProbeKind::Icmp, own)).map(|a| (a.from.to_string(), a.verdict))
    };
    let router = ask(1_500).unwrap();
    assert_eq!(router.1, ProbeVerdict::TooBig { mtu: 1_400 });
    assert_eq!(ask(1_401), Some(router), "asked again although the path's MTU is known");
    assert_eq!(ask(1_400), Some(("203.0.113.1".into(), ProbeVerdict::Answered)));
    assert_eq!(ask(1_501).unwrap().1, ProbeVerdict::TooBig { mtu: 1_500 }, "this machine's own link");
}
