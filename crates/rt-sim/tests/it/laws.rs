//! Random small networks of gossiping nodes on faulty links: conservation, and the same run twice.

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};
use rt_base::{LinkId, Nanos, NodeId, PortId, Time};
use rt_sim::{DirectionSpec, LinkChange, LinkSpec, QueueSpec, Sim, StopReason};

use crate::nodes::{Gossip, Log};

/// A network as data: nodes, links (ends by index), changes.
#[derive(Clone, Debug)]
struct Network {
    seed: u64,
    nodes: u32,
    links: Vec<(u32, u32, DirectionSpec)>,
    changes: Vec<(u64, prop::sample::Index, u8)>,
}

fn network() -> impl Strategy<Value = Network> {
    let direction = (
        prop_oneof![Just(0u64), Just(10_000_000), Just(1_000_000_000)],
        0u64..300_000,
        prop_oneof![Just(0u64), 0u64..200_000],
        prop_oneof![Just(0u32), Just(100_000)],
        prop_oneof![Just(0u32), Just(200_000)],
        prop_oneof![(0u32..20).prop_map(QueueSpec::Packets), (0u64..20_000).prop_map(QueueSpec::Bytes)],
    )
        .prop_map(|(rate_bps, delay, jitter, loss_ppm, other, queue)| DirectionSpec {
            rate_bps,
            delay: Nanos(delay),
            jitter: Nanos(jitter),
            loss_ppm,
            loss_every: u64::from(other / 20_000),
            reorder_ppm: other,
            duplicate_ppm: other / 4,
            corrupt_ppm: other,
            bit_errors: 50_000_000_000 * u64::from(other / 200_000),
            queue,
        });
    (2u32..6).prop_flat_map(move |nodes| {
        (
            any::<u64>(),
            Just(nodes),
            proptest::collection::vec((0..nodes, 0..nodes, direction.clone()), 1..8),
            proptest::collection::vec((0u64..10_000_000, any::<prop::sample::Index>(), 0u8..3), 0..6),
        )
            .prop_map(|(seed, nodes, links, changes)| Network { seed, nodes, links, changes })
    })
}

fn build(network: &Network) -> Sim {
    let mut sim = Sim::new(network.seed, true);
    let mut ports = vec![0u16; network.nodes as usize];
    for (a, b, _) in &network.links {
        ports[*a as usize] += 1;
        ports[*b as usize] += 1;
    }
    for (i, count) in ports.iter().enumerate() {
        let name = format!("n{i}");
        sim.add_node(
            &name,
            Box::new(Gossip::new(network.seed, &name, (*count).max(1))),
            Nanos(i as u64 * 10),
        );
    }
    let mut next = vec![0u16; network.nodes as usize];
    let mut port = |node: u32| {
        let port = PortId(next[node as usize]);
        next[node as usize] += 1;
        (NodeId(node), port)
    };
    for (a, b, direction) in &network.links {
        let (a, b) = (port(*a), port(*b));
        sim.add_link(LinkSpec { a, b, ab: *direction, ba: *direction, mtu: 1_500 });
    }
    for (at, link, kind) in &network.changes {
        let link = LinkId(link.index(network.links.len()) as u32);
        let change = match kind {
            0 => LinkChange::Cut,
            1 => LinkChange::Heal,
            _ => LinkChange::Impair { loss_ppm: Some(300_000), delay: Some(Nanos(5)), rate_bps: None },
        };
        sim.change_link(Time(*at), link, change);
    }
    sim
}

fn config() -> Config {
    Config { cases: 96, rng_seed: RngSeed::Fixed(3), failure_persistence: None, ..Config::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn frames_are_conserved_and_runs_repeat(network in network()) {
        let run = || {
            let (mut sim, log) = (build(&network), Log::default());
            sim.set_recorder(Box::new(log.clone()));
            sim.boot();
            while sim.run_until(sim.now() + Nanos(100_000)) == StopReason::Limit {
                prop_assert!(sim.stats().holds(), "{:?}", sim.stats());
            }
            prop_assert!(sim.stats().holds() && sim.stats().in_flight == 0, "{:?}", sim.stats());
            Ok((log.lines(), sim.stats()))
        };
        let (first, second) = (run()?, run()?);
        prop_assert_eq!(&first, &second);
        // Every end of a frame on a link is told.
        let told = first.0.iter().filter(|line| line.contains("Drop {")).count() as u64;
        prop_assert_eq!(told, first.1.dropped_total());
    }
}
