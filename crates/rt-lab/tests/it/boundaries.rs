//! The time budget against the captures: every packet boundary on the critical path is a packet that tshark sees at that
//! machine at that nanosecond.

use std::collections::BTreeSet;

use rt_lab::{RunOptions, Scenario};

use crate::support::{Folder, run_in, tshark};

#[test]
fn slices_are_contiguous_and_add_up_exactly() {
    for shipped in rt_lab::shipped() {
        let run = Scenario::load(shipped.name).unwrap().run(RunOptions::new(1)).unwrap();
        for step in run.story().steps.iter().filter(|s| s.ended) {
            let name = format!("{} step {}", shipped.name, step.number);
            assert_eq!(step.budget.problems, Vec::<String>::new(), "{name}");
            let mut at = step.start_ns;
            for slice in &step.budget.slices {
                assert_eq!(slice.start_ns, at, "{name}: a gap before {slice:?}");
                assert!(slice.end_ns >= slice.start_ns, "{name}: {slice:?}");
                assert!(!slice.cause.contains("other"), "{name}: {slice:?}");
                at = slice.end_ns;
            }
            assert_eq!(at, step.end_ns, "{name}");
            let sum: u64 = step.budget.totals.iter().map(|t| t.time_ns).sum();
            assert_eq!(sum, step.duration_ns, "{name}");
        }
    }
}

#[test]
fn arrivals_on_the_critical_path_are_packets_in_the_captures() {
    let folder = Folder::new("boundaries");
    let run = run_in(&folder.0, "web-browsing", 1);
    let world = folder.0.join("captures/world.pcapng");
    let seen = tshark(&world, &["-T", "fields", "-e", "frame.time_epoch", "-e", "frame.interface_name"]);
    let epoch = run.trace().map.epoch;
    let stamps: BTreeSet<(u64, &str)> = seen.lines().filter_map(|line| stamp(line, epoch)).collect();
    let mut checked = 0;
    for slice in run.story().steps.iter().flat_map(|s| &s.budget.slices) {
        // What ends on a link ends with the arrival of the packet at its other end.
        if slice.cause.ends_with("propagation") {
            let arrived = stamps.range((slice.end_ns, "")..=(slice.end_ns, "\u{10ffff}"));
            let at_node = arrived.clone().any(|(_, name)| name.split(':').next() == Some(slice.to.as_str()));
            assert!(at_node, "no packet at {} at {} ns: {slice:?}", slice.to, slice.end_ns);
            checked += 1;
        }
    }
    assert!(checked > 50, "only {checked} boundaries were found: the test is blind");
}

/// Nanoseconds since the run's epoch and the interface of one line of tshark.
fn stamp(line: &str, epoch: u64) -> Option<(u64, &str)> {
    let (time, name) = line.split_once('\t')?;
    let (seconds, nanos) = time.split_once('.')?;
    let seconds: u64 = seconds.parse().ok()?;
    let nanos: u64 = nanos.parse().ok()?;
    Some(((seconds - epoch) * 1_000_000_000 + nanos, name))
}
