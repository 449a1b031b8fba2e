//! Filter chains at the three hooks, with and without conntrack's states.

use rt_base::{DropReason, HookPoint, Place, What};
use rt_rules::{Action, Chain, Construct, CtState, Match, PortRange, RejectWith};
use rt_stack::SocketError;

use crate::fixture::*;

fn port(number: u16) -> Match {
    Match { dport: Some(PortRange { first: number, last: number }), ..Match::default() }
}

fn states(states: &[CtState]) -> Match {
    Match { states: states.to_vec(), ..Match::default() }
}

/// What a datagram from inside to port 53 meets: the drop with its rule, and what its sender is told.
#[track_caller]
fn check(chain: Chain, drop: Option<(DropReason, u32)>, told: Option<SocketError>) {
    let hook = chain.hook;
    let mut w = routed(|router| router.chains = vec![chain]);
    let (client, server) = (w.udp(0, 0), w.udp(2, 53));
    w.say(0, client, "203.0.113.1:53", b"x");
    w.run();
    let drops: Vec<_> = w.drops().into_iter().filter(|(n, ..)| *n == 1).collect();
    assert_eq!(
        drops,
        drop.map(|(reason, rule)| (1, reason, Place::Hook(hook), rule)).into_iter().collect::<Vec<_>>()
    );
    assert_eq!(w.hear(2, server).is_some(), drop.is_none());
    assert_eq!(w.app(0, |s| s.take_error(client)), told);
    let verdict = |e: &What| matches!(e, What::Filter { accepted, .. } if *accepted == drop.is_none());
    assert_eq!(w.count(1, verdict), 1);
}

#[test]
fn the_deciding_rule_is_named_in_each_verdict() {
    let forward = |rules, policy| chain(HookPoint::Forward, rules, policy);
    check(forward(vec![(port(53), Action::Accept)], Action::Drop), None, None);
    check(
        forward(vec![(port(80), Action::Accept)], Action::Drop),
        Some((DropReason::Filtered, u32::MAX)),
        None,
    );
    check(
        forward(vec![(port(80), Action::Accept), (port(53), Action::Drop)], Action::Accept),
        Some((DropReason::Filtered, 1)),
        None,
    );
    check(
        forward(vec![(port(53), Action::Reject(RejectWith::IcmpPort))], Action::Accept),
        Some((DropReason::Rejected, 0)),
        Some(SocketError::Refused),
    );
    check(
        forward(vec![], Action::Reject(RejectWith::IcmpProhibited)),
        Some((DropReason::Rejected, u32::MAX)),
        Some(SocketError::Prohibited),
    );
    check(
        forward(vec![(port(53), Action::Reject(RejectWith::TcpReset))], Action::Accept),
        Some((DropReason::Rejected, 0)),
        Some(SocketError::Refused),
    );
}

#[test]
fn a_tcp_reject_resets_the_attempt() {
    let reject =
        chain(HookPoint::Forward, vec![(port(80), Action::Reject(RejectWith::TcpReset))], Action::Accept);
    let mut w = routed(|router| router.chains = vec![reject]);
    let c = w.connect(0, "203.0.113.1:80");
    w.run();
    assert_eq!(w.app(0, |s| s.take_error(c)), Some(SocketError::Refused));
    assert!(w.wire.iter().all(|seen| seen.from != 2));
}

#[test]
fn input_and_output_chains_stand_before_the_sockets() {
    let mut w = pair_of(|config| {
        let hook = if config.interfaces[0].mac == mac(1, 0) { HookPoint::Input } else { HookPoint::Output };
        let number = if hook == HookPoint::Input { 53 } else { 54 };
        config.chains = vec![chain(hook, vec![(port(number), Action::Drop)], Action::Accept)];
    });
    let (client, server) = (w.udp(0, 0), w.udp(1, 53));
    for to in ["10.0.0.2:53", "10.0.0.2:54", "10.0.0.2:55"] {
        w.say(0, client, to, b"x");
    }
    w.run();
    assert_eq!(w.hear(1, server), None);
    let places: Vec<_> =
        w.drops().into_iter().map(|(node, reason, place, _)| (node, reason, place)).collect();
    assert_eq!(
        places,
        [
            (0, DropReason::Filtered, Place::Hook(HookPoint::Output)),
            (1, DropReason::Filtered, Place::Hook(HookPoint::Input)),
            (1, DropReason::NoSocket, Place::Socket),
        ]
    );
}

#[test]
fn a_filter_of_its_own_tells_the_program_and_one_on_its_virtual_card_does_not() {
    for construct in [None, Some(Construct::SecurityGroup { name: "app".into() })] {
        let outside = construct.is_some();
        let mut w = pair_of(|config| {
            if config.interfaces[0].mac == mac(0, 0) {
                let mut closed = chain(HookPoint::Output, vec![], Action::Drop);
                closed.policy.construct = construct.clone();
                config.chains = vec![closed];
            }
        });
        let client = w.udp(0, 0);
        w.say(0, client, "10.0.0.2:53", b"x");
        w.app(0, |s| s.icmp_echo(ip("10.0.0.2"), 7, 1, vec![])).unwrap();
        w.run();
        assert_eq!(w.drop_reasons(), [DropReason::Filtered, DropReason::Filtered]);
        let told = (!outside).then_some(SocketError::Prohibited);
        assert_eq!(w.app(0, |s| s.take_error(client)), told);
        assert_eq!(w.app(0, |s| s.take_echo_replies()).len(), usize::from(!outside));
    }
}

/// The classic: out is free, in only what belongs to something known.
fn stateful() -> World {
    let known = states(&[CtState::Established, CtState::Related]);
    let out = Match { in_port: Some(rt_base::PortId(0)), ..states(&[CtState::New]) };
    routed(|router| {
        let rules = vec![(known, Action::Accept), (out, Action::Accept)];
        router.chains = vec![chain(HookPoint::Forward, rules, Action::Drop)];
    })
}

#[test]
fn a_stateful_filter_lets_answers_and_errors_in_but_no_questions() {
    let mut w = stateful();
    let listener = w.app(2, |s| s.tcp_listen(80, 5)).unwrap();
    let c = w.connect(0, "203.0.113.1:80");
    let dead = w.udp(0, 0);
    w.say(0, dead, "203.0.113.1:9", b"x");
    w.run();
    assert!(w.app(2, |s| s.tcp_accept(listener)).is_some());
    assert_eq!(w.stacks[0].tcp_phase(c), rt_base::TcpPhase::Established);
    assert_eq!(w.app(0, |s| s.take_error(dead)), Some(SocketError::Refused), "related");
    let before = w.drops().len();
    let question = w.udp(2, 0);
    w.say(2, question, "192.168.1.10:53", b"let me in");
    w.run();
    assert_eq!(w.drops()[before..], [(1, DropReason::Filtered, Place::Hook(HookPoint::Forward), u32::MAX)]);
}

#[test]
fn kept_verdicts_die_with_the_rules() {
    let mut w = routed(|router| router.chains = vec![chain(HookPoint::Forward, vec![], Action::Accept)]);
    let (client, server) = (w.udp(0, 0), w.udp(2, 53));
    for _ in 0..3 {
        w.say(0, client, "203.0.113.1:53", b"x");
        w.run();
        assert!(w.hear(2, server).is_some());
    }
    w.app(1, |s| {
        s.set_rules(vec![chain(HookPoint::Forward, vec![(port(53), Action::Drop)], Action::Accept)], vec![])
    });
    w.say(0, client, "203.0.113.1:53", b"x");
    w.run();
    assert_eq!(w.hear(2, server), None);
    w.app(1, |s| s.set_rules(vec![], vec![]));
    w.say(0, client, "203.0.113.1:53", b"x");
    w.run();
    assert!(w.hear(2, server).is_some());
}

#[test]
fn what_belongs_to_nothing_is_invalid() {
    let invalid =
        chain(HookPoint::Forward, vec![(states(&[CtState::Invalid]), Action::Drop)], Action::Accept);
    let mut w = routed(|router| router.chains = vec![invalid]);
    let stray = crate::drops::tcp_frame("192.168.1.10", "203.0.113.1", rt_wire::TcpFlags::ACK);
    w.inject(1, 0, stray);
    assert_eq!(w.drops(), [(1, DropReason::Filtered, Place::Hook(HookPoint::Forward), 0)]);
}
