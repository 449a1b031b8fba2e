//! Times to the nanosecond.

use rt_base::{DropReason, LinkId, Nanos, NodeId, PortId, Time};
use rt_sim::{DirectionSpec, LinkChange, LinkSpec, QueueSpec, Sim, StopReason};

use crate::nodes::{Host, Log, heard, pair};

/// A burst of these lengths over this direction arrives at these times; so many frames find the queue full.
#[track_caller]
fn check(direction: DirectionSpec, lengths: &[usize], arrivals: &[u64], full: u64) {
    let (mut sim, _) = pair(direction, Host::burst(lengths));
    sim.boot();
    assert_eq!(sim.run_until(Time::MAX), StopReason::Idle);
    assert_eq!(heard(&mut sim), arrivals);
    let stats = sim.stats();
    assert!(stats.holds(), "{stats:?}");
    assert_eq!(stats.dropped.get(&DropReason::QueueFull).copied().unwrap_or(0), full);
}

fn rate(rate_bps: u64, delay: u64, queue: QueueSpec) -> DirectionSpec {
    DirectionSpec { rate_bps, delay: Nanos(delay), queue, ..DirectionSpec::default() }
}

#[test]
fn serialisation_and_delay() {
    let many = QueueSpec::Packets(100);
    // 1 Gbit/s: 8 ns a byte; 1514 + 24 = 1538 bytes.
    check(rate(1_000_000_000, 50_000, many), &[1_514], &[50_000 + 12_304], 0);
    // Short frames are padded to 60 bytes: 84 on the wire.
    check(rate(1_000_000_000, 0, many), &[42, 60, 61], &[672, 1_344, 1_344 + 680], 0);
    // 10 Gbit/s: 0.8 ns a byte, fractions carried: 1538 bytes are 1230.4 ns.
    check(rate(10_000_000_000, 0, many), &[1_514; 5], &[1_230, 2_460, 3_691, 4_921, 6_152], 0);
    // 3 bit/s and no limit at all.
    check(rate(3, 0, many), &[60], &[224_000_000_000], 0);
    check(rate(0, 7, many), &[1_514, 60], &[7, 7], 0);
}

#[test]
fn drop_tail_counts_who_waits() {
    // One is being sent, two wait, the rest is dropped.
    check(rate(1_000_000_000, 0, QueueSpec::Packets(2)), &[976; 6], &[8_000, 16_000, 24_000], 3);
    check(rate(1_000_000_000, 0, QueueSpec::Packets(0)), &[976; 2], &[8_000], 1);
    // 1,951 bytes hold one frame of 976; a smaller one still fits beside it.
    check(
        rate(1_000_000_000, 0, QueueSpec::Bytes(1_951)),
        &[976, 976, 976, 975],
        &[8_000, 16_000, 23_992],
        1,
    );
}

#[test]
fn the_queue_empties_as_frames_start() {
    let at = |ns| (Time(ns), 0, 976);
    // Frames of 8 us. At 8 us the second starts, so there is room for one again; at 7,999 there is not.
    let plan = vec![at(0), at(0), at(7_999), at(8_000), at(8_000), at(100_000)];
    let sender = Host { plan, heard: Vec::new() };
    let (mut sim, _) = pair(rate(1_000_000_000, 0, QueueSpec::Packets(1)), sender);
    sim.boot();
    sim.run_until(Time::MAX);
    assert_eq!(heard(&mut sim), [8_000, 16_000, 24_000, 108_000]);
    assert_eq!(sim.stats().dropped_total(), 2);
}

#[test]
fn too_long_and_nowhere() {
    let mut sender = Host::burst(&[1_514, 1_515, 100]);
    sender.plan[2].1 = 9;
    let (mut sim, _) = pair(DirectionSpec::default(), sender);
    sim.boot();
    sim.run_until(Time::MAX);
    let dropped = sim.stats().dropped;
    assert_eq!(dropped, [(DropReason::LinkDown, 1), (DropReason::TooLongForLink, 1)].into());
}

#[test]
fn processing_shifts_the_offer_and_every_hop_is_contiguous() {
    let mut sim = Sim::new(1, true);
    let a = sim.add_node("a", Box::new(Host::burst(&[976, 976])), Nanos(300));
    let b = sim.add_node("b", Box::new(Host::default()), Nanos::ZERO);
    let d = rate(1_000_000_000, 1_000, QueueSpec::Packets(9));
    sim.add_link(LinkSpec { a: (a, PortId(0)), b: (b, PortId(0)), ab: d, ba: d, mtu: 1_500 });
    let log = Log::default();
    sim.set_recorder(Box::new(log.clone()));
    sim.boot();
    sim.run_until(Time::MAX);
    assert_eq!(heard(&mut sim), [9_300, 17_300]);
    let transmit = "LinkId(0), port: PortId(0), processing: 300, start: 0.000008300, done: 0.000016300, arrive: 0.000017300";
    let lines = log.lines();
    assert!(lines.iter().any(|l| l.contains(transmit)), "{lines:#?}");
    assert!(
        lines.iter().any(|l| l.starts_with("0.000000300 NodeId(0) PortId(0) Out f0.1 976 e0.2")),
        "{lines:#?}"
    );
    assert!(
        lines.iter().any(|l| l.starts_with("0.000009300 NodeId(1) PortId(0) In f0.1 976 e0.2")),
        "{lines:#?}"
    );
    assert!(sim.take_recorder().is_some());
}

#[test]
fn a_cut_loses_what_is_on_its_way_and_heals() {
    let at = |ns| (Time(ns), 0, 976);
    // 8 us to send, 100 us to travel.
    let plan = vec![at(0), at(50_000), at(100_000), at(120_000), at(250_000)];
    let (mut sim, link) =
        pair(rate(1_000_000_000, 100_000, QueueSpec::Packets(9)), Host { plan, heard: Vec::new() });
    sim.change_link(Time(110_000), link, LinkChange::Cut);
    sim.change_link(Time(200_000), link, LinkChange::Heal);
    let log = Log::default();
    sim.set_recorder(Box::new(log.clone()));
    sim.boot();
    assert_eq!(sim.run_until(Time(110_000)), StopReason::Limit);
    assert_eq!(sim.stats().dropped.get(&DropReason::LinkDown), Some(&2), "two were on their way");
    sim.run_until(Time::MAX);
    // The first arrived before the cut, the last was sent after the healing.
    assert_eq!(heard(&mut sim), [108_000, 358_000]);
    assert_eq!(sim.stats().dropped.get(&DropReason::LinkDown), Some(&3));
    assert!(sim.stats().holds());
    let drops =
        log.lines().iter().filter(|l| l.contains("at: 0.000110000") && l.contains("LinkDown")).count();
    assert_eq!(drops, 2);
}

#[test]
fn impairments_apply_from_their_time_on() {
    let at = |ns| (Time(ns), 0, 976);
    let plan = vec![at(0), at(20_000), at(40_000), at(60_000)];
    let (mut sim, link) =
        pair(rate(1_000_000_000, 100_000, QueueSpec::Packets(9)), Host { plan, heard: Vec::new() });
    let impair = |loss_ppm, delay, rate_bps| LinkChange::Impair { loss_ppm, delay, rate_bps };
    // A shorter delay lets the second frame overtake the first.
    sim.change_link(Time(10_000), link, impair(None, Some(Nanos(1_000)), None));
    sim.change_link(Time(30_000), link, impair(None, None, Some(2_000_000_000)));
    sim.change_link(Time(50_000), link, impair(Some(1_000_000), None, None));
    sim.boot();
    sim.run_until(Time::MAX);
    assert_eq!(heard(&mut sim), [29_000, 45_000, 108_000]);
    assert_eq!(sim.stats().dropped, [(DropReason::LinkLoss, 1)].into());
}

#[test]
fn one_step_at_a_time() {
    let (mut sim, _) = pair(rate(1_000_000_000, 0, QueueSpec::Packets(9)), Host::burst(&[976, 976]));
    sim.command(Time(5), NodeId(0), 3);
    assert_eq!(sim.step(), Some(Time(5)));
    assert_eq!(sim.stats().in_flight, 2);
    assert_eq!((sim.step(), sim.step(), sim.step()), (Some(Time(8_005)), Some(Time(16_005)), None));
    assert_eq!(sim.run_until(Time(20_000)), StopReason::Idle);
    assert_eq!(sim.now(), Time(16_005));
    assert!(sim.node_mut::<crate::nodes::Gossip>(NodeId(0)).is_none());
    assert!(sim.node_mut::<Host>(NodeId(9)).is_none());
}

#[test]
#[should_panic(expected = "two links")]
fn one_link_an_interface() {
    let (mut sim, _) = pair(DirectionSpec::default(), Host::default());
    let d = DirectionSpec::default();
    let (a, b) = ((NodeId(0), PortId(0)), (NodeId(1), PortId(7)));
    let _: LinkId = sim.add_link(LinkSpec { a, b, ab: d, ba: d, mtu: 1_500 });
}
