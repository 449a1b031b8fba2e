//! Faults: their rates, what they do to frames, and that one does not move another's choices.

use rt_base::{Nanos, NodeId, Time};
use rt_sim::{DirectionSpec, QueueSpec, Sim};

use crate::nodes::{Host, pair};

const FRAMES: usize = 20_000;

/// 20,000 frames of 60 bytes, one each microsecond, over a link of 1 ms with these faults.
fn run(faults: DirectionSpec) -> Sim {
    let plan = (0..FRAMES).rev().map(|i| (Time(i as u64 * 1_000), 0, 60)).rev().collect();
    let direction =
        DirectionSpec { delay: Nanos::from_millis(1), queue: QueueSpec::Packets(1_000), ..faults };
    let (mut sim, _) = pair(direction, Host { plan, heard: Vec::new() });
    sim.boot();
    sim.run_until(Time::MAX);
    assert!(sim.stats().holds());
    sim
}

/// The counters of frames as they arrived.
fn order(sim: &mut Sim) -> Vec<u64> {
    let host = sim.node_mut::<Host>(NodeId(1)).expect("the second node is a host");
    host.heard.iter().map(|(_, frame)| frame.id.counter()).collect()
}

#[track_caller]
fn near(count: u64, expected: u64) {
    assert!(count.abs_diff(expected) < expected / 10, "{count} instead of about {expected}");
}

#[test]
fn loss() {
    let mut sim = run(DirectionSpec { loss_ppm: 50_000, ..DirectionSpec::default() });
    near(sim.stats().dropped_total(), 1_000);
    let heard = order(&mut sim);
    assert!(heard.is_sorted(), "loss does not reorder");
    // Another fault on the same link leaves the choice of lost frames alone.
    let both = DirectionSpec { loss_ppm: 50_000, corrupt_ppm: 10_000, ..DirectionSpec::default() };
    assert_eq!(order(&mut run(both)), heard);
    assert_eq!(run(DirectionSpec { loss_ppm: 1_000_000, ..DirectionSpec::default() }).stats().delivered, 0);
}

#[test]
fn regular_loss_takes_every_nth_frame() {
    let mut sim = run(DirectionSpec { loss_every: 1_000, ..DirectionSpec::default() });
    assert_eq!(sim.stats().dropped_total(), 20);
    let heard = order(&mut sim);
    let gaps: Vec<usize> = (1..heard.len()).filter(|&i| heard[i] != heard[i - 1] + 1).collect();
    assert_eq!(gaps.len(), 19, "the last frame of all is lost too");
    assert!(gaps.iter().enumerate().all(|(n, at)| *at == (n + 1) * 999));
}

#[test]
fn duplicates() {
    let mut sim = run(DirectionSpec { duplicate_ppm: 100_000, ..DirectionSpec::default() });
    near(sim.stats().duplicated, 2_000);
    let heard = order(&mut sim);
    assert!(heard.is_sorted());
    assert_eq!(heard.len() as u64, FRAMES as u64 + sim.stats().duplicated);
}

#[test]
fn corruption_flips_one_bit() {
    let mut sim = run(DirectionSpec { corrupt_ppm: 50_000, ..DirectionSpec::default() });
    let host = sim.node_mut::<Host>(NodeId(1)).expect("the second node is a host");
    let bits = |bytes: &[u8]| bytes.iter().map(|b| b.count_ones()).sum::<u32>();
    let flipped: Vec<u32> = host.heard.iter().map(|(_, f)| bits(&f.bytes)).collect();
    assert!(flipped.iter().all(|bits| *bits <= 1));
    near(flipped.iter().map(|bits| u64::from(*bits)).sum(), 1_000);
}

#[test]
fn reordering_adds_one_delay() {
    let mut sim = run(DirectionSpec { reorder_ppm: 20_000, ..DirectionSpec::default() });
    let heard = order(&mut sim);
    let host = sim.node_mut::<Host>(NodeId(1)).expect("the second node is a host");
    let late = host.heard.iter().filter(|(at, f)| at.0 - (f.id.counter() - 1) * 1_000 == 2_000_672).count();
    near(late as u64, 400);
    assert_eq!(host.heard.len(), FRAMES);
    assert!(!heard.is_sorted());
    assert!(host.heard.is_sorted_by_key(|(at, _)| *at), "time never goes back");
}

#[test]
fn jitter_stays_in_its_bounds() {
    let jitter = Nanos(5_000);
    let mut sim = run(DirectionSpec { jitter, ..DirectionSpec::default() });
    let host = sim.node_mut::<Host>(NodeId(1)).expect("the second node is a host");
    assert_eq!(host.heard.len(), FRAMES);
    let extra: Vec<u64> =
        host.heard.iter().map(|(at, f)| at.0 - (f.id.counter() - 1) * 1_000 - 1_000_672).collect();
    assert!(extra.iter().all(|e| *e <= 5_000));
    near(extra.iter().sum::<u64>() / FRAMES as u64, 2_500);
    assert!(!order(&mut sim).is_sorted(), "jitter reorders");
}
