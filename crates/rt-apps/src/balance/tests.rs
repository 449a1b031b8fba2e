//! Who gets the next connection.

use std::net::IpAddr;

use proptest::prelude::*;
use rt_base::{Nanos, Rng, Time};

use rt_rules::Spread;

use super::{Asks, Choice, Chooser};

const ALL: [Spread; 5] =
    [Spread::RoundRobin, Spread::LeastConnections, Spread::SourceHash, Spread::Maglev, Spread::RandomOfTwo];

fn chooser(spread: Spread, servers: usize) -> Chooser {
    sticky(spread, servers, None)
}

fn sticky(spread: Spread, servers: usize, sticky: Option<Nanos>) -> Chooser {
    let names = (1..=servers).map(|i| format!("web-{i}")).collect();
    Chooser::new(names, spread, sticky, 10_000, Rng::stream(1, "lb", "l4 80"))
}

fn ask(chooser: &mut Chooser, number: u32, now: Time, not: &[(usize, String)]) -> Choice {
    chooser.choose(Asks { client: client(number), wanted: None, now, not })
}

fn client(number: u32) -> IpAddr {
    IpAddr::V4((0xc633_6400 + number).into())
}

fn pick(chooser: &mut Chooser, number: u32) -> usize {
    ask(chooser, number, Time::ZERO, &[]).server.expect("somebody is in service")
}

#[test]
fn in_turn_and_over_those_that_are_out() {
    let mut chooser = chooser(Spread::RoundRobin, 3);
    assert_eq!((0..4).map(|_| pick(&mut chooser, 1)).collect::<Vec<_>>(), [0, 1, 2, 0]);
    assert_eq!(chooser.found(1, false), Some(1));
    assert_eq!(chooser.found(1, false), None, "nothing changes");
    let choice = ask(&mut chooser, 1, Time::ZERO, &[]);
    assert_eq!(choice.server, Some(2));
    let notes: Vec<&str> = choice.candidates.iter().map(|c| c.note.as_str()).collect();
    assert_eq!(notes, ["waits for its turn", "down", "its turn"]);
    assert_eq!(chooser.shift(0, true), Some(2));
    let failed = [(2, "cannot be reached: connection refused".to_owned())];
    let choice = ask(&mut chooser, 1, Time::ZERO, &failed);
    assert_eq!(choice.server, None);
    assert_eq!(choice.candidates[2].note, failed[0].1);
    assert_eq!(choice.candidates[0].note, "draining");
}

#[test]
fn the_last_connection_drains() {
    let mut chooser = chooser(Spread::RoundRobin, 1);
    pick(&mut chooser, 1);
    pick(&mut chooser, 1);
    assert!(!chooser.closed(0), "nobody asked for it");
    pick(&mut chooser, 1);
    chooser.shift(0, true);
    assert!(!chooser.closed(0));
    assert!(chooser.closed(0));
}

#[test]
fn the_least_busy_gets_the_next_one() {
    let mut chooser = chooser(Spread::LeastConnections, 3);
    assert_eq!((0..6).map(|_| pick(&mut chooser, 1)).collect::<Vec<_>>(), [0, 1, 2, 0, 1, 2]);
    chooser.closed(1);
    chooser.closed(1);
    assert_eq!((0..3).map(|_| pick(&mut chooser, 1)).collect::<Vec<_>>(), [1, 1, 2]);
}

#[test]
fn a_client_stays_until_it_was_away_or_its_server_is_out() {
    let mut chooser = sticky(Spread::RoundRobin, 3, Some(Nanos::from_secs(60)));
    let at = |seconds: u64, number: u32, chooser: &mut Chooser| {
        let choice = ask(chooser, number, Time::ZERO + Nanos::from_secs(seconds), &[]);
        (choice.server.unwrap(), choice.policy)
    };
    assert_eq!(at(0, 1, &mut chooser), (0, "round-robin"));
    assert_eq!(at(1, 2, &mut chooser), (1, "round-robin"));
    assert_eq!(at(50, 1, &mut chooser), (0, "sticky"));
    assert_eq!(at(109, 1, &mut chooser), (0, "sticky"), "each connection renews it");
    assert_eq!(at(170, 1, &mut chooser), (2, "round-robin"));
    chooser.shift(2, true);
    assert_eq!(at(171, 1, &mut chooser), (0, "round-robin"), "its server takes nothing new");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever happens, a connection goes to somebody in service when anybody is, and counts go back to nothing.
    #[test]
    fn somebody_in_service_is_found(
        which in 0_usize..5, servers in 1_usize..8, actions in prop::collection::vec((0_u8..6, 0_u32..300), 1..200)
    ) {
        let mut chooser = chooser(ALL[which], servers);
        let (mut up, mut draining) = (vec![true; servers], vec![false; servers]);
        let mut open: Vec<usize> = Vec::new();
        for (action, number) in actions {
            let server = number as usize % servers;
            match action {
                0 => { up[server] = !up[server]; chooser.found(server, up[server]); }
                1 => { draining[server] = !draining[server]; chooser.shift(server, draining[server]); }
                2 if !open.is_empty() => {
                    let closed = open.swap_remove(number as usize % open.len());
                    chooser.closed(closed);
                }
                _ => {
                    let choice = ask(&mut chooser, number, Time::ZERO, &[]);
                    let serving = (0..servers).any(|i| up[i] && !draining[i]);
                    prop_assert_eq!(choice.server.is_some(), serving);
                    prop_assert_eq!(choice.candidates.len(), servers);
                    if let Some(server) = choice.server {
                        prop_assert!(up[server] && !draining[server]);
                        open.push(server);
                    }
                }
            }
        }
        for (server, draining) in draining.into_iter().enumerate() {
            let left = open.iter().filter(|o| **o == server).count();
            prop_assert_eq!(chooser.shift(server, !draining), Some(left));
        }
    }

    /// In turn, and by the fewest open, nobody has more than one more than another.
    #[test]
    fn turns_are_fair(which in 0_usize..2, servers in 1_usize..10, count in 0_u32..200) {
        let mut chooser = chooser(ALL[which], servers);
        let mut shares = vec![0; servers];
        (0..count).for_each(|i| shares[pick(&mut chooser, i)] += 1);
        prop_assert!(shares.iter().max().unwrap() - shares.iter().min().unwrap() <= 1);
    }

    /// Hashes keep a client at its server; with Maglev a server that goes takes few other clients with it, with the plain hash most.
    #[test]
    fn hashes_keep_clients(servers in 4_usize..10, gone in 0_usize..10) {
        let gone = gone % servers;
        for (policy, least, most) in [(Spread::Maglev, 0.0, 0.06), (Spread::SourceHash, 0.4, 1.0)] {
            let mut chooser = chooser(policy, servers);
            let before: Vec<usize> = (0..1_000).map(|i| pick(&mut chooser, i)).collect();
            let again: Vec<usize> = (0..1_000).map(|i| pick(&mut chooser, i)).collect();
            prop_assert_eq!(&before, &again);
            chooser.found(gone, false);
            let after: Vec<usize> = (0..1_000).map(|i| pick(&mut chooser, i)).collect();
            let stayed = before.iter().filter(|b| **b != gone).count();
            let moved = before.iter().zip(&after).filter(|(b, a)| **b != gone && b != a).count();
            let share = moved as f64 / stayed as f64;
            prop_assert!(share >= least && share <= most, "{:?}: {share}", policy);
        }
    }
}

/// Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing" (2001): with n connections on n servers the fullest has
/// about log log n, where one choice by dice gives log n / log log n.
#[test]
fn two_choices_are_much_better_than_one() {
    let mut chooser = chooser(Spread::RandomOfTwo, 600);
    let mut shares = vec![0_u32; 600];
    (0..600).for_each(|i| shares[pick(&mut chooser, i)] += 1);
    let fullest = *shares.iter().max().unwrap();
    let mut rng = Rng::stream(1, "lb", "one choice");
    let mut by_dice = vec![0_u32; 600];
    (0..600).for_each(|_| by_dice[rng.below(600) as usize] += 1);
    assert!(fullest <= 3, "{fullest}");
    assert!(*by_dice.iter().max().unwrap() > fullest);
}
