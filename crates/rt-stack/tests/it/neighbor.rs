//! ARP: asking, waiting, giving up, and watching for conflicts.

use rt_base::{DropReason, Nanos, TimerKind, What};
use rt_stack::SocketError;

use crate::fixture::*;

#[test]
fn the_first_packet_waits_for_the_answer() {
    let mut w = pair();
    let (a, b) = (w.udp(0, 1000), w.udp(1, 53));
    w.say(0, a, "10.0.0.2:53", b"one");
    w.say(0, a, "10.0.0.2:53", b"two");
    w.run();
    insta::assert_snapshot!(w.lines().join("\n"), @r"
    0: ARP, Request who-has 10.0.0.2 tell 10.0.0.1, length 28
    1: ARP, Reply 10.0.0.2 is-at 02:00:00:00:01:00, length 28
    0: IP 10.0.0.1.1000 > 10.0.0.2.53: UDP, length 3
    0: IP 10.0.0.1.1000 > 10.0.0.2.53: UDP, length 3
    ");
    assert_eq!(w.hear(1, b), Some((b"one".to_vec(), "10.0.0.1:1000".into())));
    assert_eq!(w.hear(1, b), Some((b"two".to_vec(), "10.0.0.1:1000".into())));
    assert_eq!(w.count(0, |e| matches!(e, What::NeighborWait { .. })), 2);
    assert_eq!(w.count(0, |e| matches!(e, What::NeighborLearned { .. })), 1);
    w.say(1, b, "10.0.0.1:1000", b"back");
    w.run();
    assert_eq!(w.wire.len(), 5, "the answerer learnt the asker's MAC from the question");
    assert!(w.hear(0, a).is_some());
}

#[test]
fn nobody_answers_three_questions() {
    let mut w = pair();
    let a = w.udp(0, 0);
    w.say(0, a, "10.0.0.77:53", b"x");
    w.run();
    let questions: Vec<u64> = w.wire.iter().map(|seen| seen.at.as_millis()).collect();
    assert_eq!(questions, [0, 1_000, 2_000]);
    assert_eq!(w.drop_reasons(), [DropReason::NeighborUnreachable]);
    assert_eq!(w.events.last().unwrap().at.as_millis(), 3_000);
    assert_eq!(w.app(0, |s| s.take_error(a)), Some(SocketError::HostUnreachable));
    let fired = |e: &What| matches!(e, What::TimerFired { kind: TimerKind::Neighbor, .. });
    assert_eq!(w.count(0, fired), 3);
}

#[test]
fn the_oldest_of_too_many_waiting_packets_goes() {
    let mut w = pair();
    let (a, b) = (w.udp(0, 0), w.udp(1, 53));
    for n in 0..70u8 {
        w.say(0, a, "10.0.0.2:53", &[n]);
    }
    w.run();
    assert_eq!(w.drop_reasons(), [DropReason::NeighborQueueFull; 6]);
    assert_eq!(w.hear(1, b).map(|(text, _)| text), Some(vec![6]));
}

#[test]
fn a_neighbour_is_asked_for_anew_after_twenty_minutes() {
    let mut w = pair();
    let a = w.udp(0, 0);
    let arps = |w: &World| w.lines().iter().filter(|l| l.contains("who-has")).count();
    w.udp(1, 53);
    for (minutes, expected) in [(0, 1), (19, 1), (2, 2)] {
        w.run_for(Nanos::from_secs(minutes * 60));
        w.say(0, a, "10.0.0.2:53", b"x");
        w.run();
        assert_eq!(arps(&w), expected, "{:?}", w.lines());
    }
}

#[test]
fn a_moved_address_is_followed_when_it_announces_itself() {
    let mut w = pair();
    let (a, b) = (w.udp(0, 1000), w.udp(1, 53));
    w.say(0, a, "10.0.0.2:53", b"x");
    w.run();
    w.hear(1, b);
    w.inject(0, 0, arp(mac(9, 0), "10.0.0.2", "10.0.0.2"));
    w.say(0, a, "10.0.0.2:53", b"x");
    w.run();
    assert_eq!(&w.wire.last().unwrap().bytes[..6], &mac(9, 0).0);
    assert_eq!(w.drop_reasons(), [DropReason::NotForThisStation]);
}

/// An ARP request of this sender.
fn arp(sender: rt_base::MacAddr, sender_ip: &str, target: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    rt_wire::EthernetHeader { dst: rt_base::MacAddr::BROADCAST, src: sender, ethertype: 0x0806 }
        .emit(&mut bytes);
    rt_wire::ArpPacket {
        operation: rt_wire::ArpOperation::Request,
        sender_mac: sender,
        sender_ip: sender_ip.parse().unwrap(),
        target_mac: rt_base::MacAddr([0; 6]),
        target_ip: target.parse().unwrap(),
    }
    .emit(&mut bytes);
    bytes
}

#[test]
fn conflicts_are_seen_while_probing() {
    use rt_base::PortId;
    let claims: &[(&str, Vec<u8>, bool)] = &[
        ("its owner answers", vec![], true),
        ("another one probes too", arp(mac(9, 0), "0.0.0.0", "10.0.0.50"), true),
        ("another one announces it", arp(mac(9, 0), "10.0.0.50", "10.0.0.50"), true),
        ("somebody asks for it", arp(mac(9, 0), "10.0.0.9", "10.0.0.50"), false),
    ];
    for (what, frame, expected) in claims {
        let mut w = pair();
        let target = if frame.is_empty() { "10.0.0.2" } else { "10.0.0.50" };
        w.app(0, |s| s.arp_probe(PortId(0), ip(target)));
        if !frame.is_empty() {
            w.inject(0, 0, frame.clone());
        }
        w.run();
        assert_eq!(w.app(0, |s| s.arp_conflict(PortId(0), ip(target))), *expected, "{what}");
        assert!(!w.app(0, |s| s.arp_conflict(PortId(0), ip(target))), "told once");
    }
}

/// A scan of a whole network must not fill the memory with packets that wait.
#[test]
fn packets_that_wait_are_bounded_over_all_neighbours() {
    let mut config = machine(0, &["10.0.0.1/8"], vec![]);
    config.udp_buffer = 1;
    let mut w = World::new(vec![("a", config)]);
    let a = w.udp(0, 0);
    for n in 0..5_000u32 {
        w.say(0, a, &format!("10.1.{}.{}:9", n / 250, n % 250 + 1), b"x");
    }
    assert_eq!(w.drop_reasons(), [DropReason::NeighborQueueFull; 5_000 - 4_096]);
    w.tamper = None;
    w.run_for(Nanos::from_millis(500));
    assert_eq!(w.stacks[0].next_deadline().as_millis(), 1_000);
}

/// An answered question leaves no timer behind.
#[test]
fn an_answer_stops_the_clock() {
    let mut w = pair();
    let a = w.udp(0, 0);
    w.say(0, a, "10.0.0.2:9", b"x");
    w.run_for(Nanos::from_millis(10));
    assert_eq!(w.stacks[0].next_deadline(), rt_base::Time::MAX);
}

#[test]
fn a_neighbour_entered_by_hand_is_never_asked_for() {
    let mut w = pair();
    let (a, b) = (w.udp(0, 0), w.udp(1, 53));
    w.app(0, |s| s.add_neighbor(rt_base::PortId(0), ip("10.0.0.2"), mac(1, 0)));
    w.run_for(Nanos::from_secs(5_000));
    w.say(0, a, "10.0.0.2:53", b"x");
    w.run();
    assert!(w.hear(1, b).is_some());
    assert_eq!(w.wire.len(), 1);
}
