//! The Linux kernel as oracle for filters and NAT: the same rules (ours, and as nftables text), the same packets, in a router of
//! ours and in a kernel's; what leaves, and by which interface, must be the same but for the ports that NAT chooses.
//!
//! The kernel's router is a guest of this crate: a namespace with two devices whose other ends the test holds. Between packets an
//! ARP question goes to the same device; once it is answered, what came before it has been dealt with, so that nothing is waited for.
//!
//! `cargo xtask ci --no-attach` leaves this out with all of this crate. More cases: `RULES_CASES=2000 RULES_SEED=7`.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod cases;
mod kernel;
mod nft;
mod ours;
mod packets;
mod play;

use rt_base::Rng;
use rt_rules::{
    Action, Chain, Filter, Limit, Match, NatAction, NatBehaviour, NatDepends, NatPorts, NatRule, Policy,
    PortRange, RejectWith,
};

use cases::{Rules, origin};
use play::{Tally, play};

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Random rules and random flows.
#[test]
fn random_rules_do_what_the_kernel_does() {
    let (cases, seed) = (number("RULES_CASES", 60), number("RULES_SEED", 1));
    let mut tally = Tally::default();
    for case in 0..cases {
        let mut rng = Rng::stream(seed, "rules", &format!("case {case}"));
        let rules = cases::random(&mut rng);
        if let Err(difference) = play(&rules, &mut rng, 120, &mut tally) {
            panic!("case {case} of seed {seed}: {difference}\n{}", nft::text(&rules));
        }
    }
    println!("{tally:?}");
    // Both a router that passes everything and one that drops everything would agree with nobody.
    let least = tally.sent / 20;
    assert!(tally.passed > least && tally.silent > least && tally.rewritten > least / 2, "{tally:?}");
    assert!(tally.answered > least / 4, "{tally:?}");
}

fn rules(chains: Vec<Chain>, nat: Vec<NatRule>) -> Rules {
    Rules { chains, nat }
}

fn forward(rules: Vec<Filter>, policy: Action) -> Chain {
    Chain { hook: rt_base::HookPoint::Forward, rules, policy: Policy::new(policy, origin()) }
}

fn agree(name: &str, rules: &Rules) {
    let mut rng = Rng::stream(1, "rules", name);
    let mut tally = Tally::default();
    if let Err(difference) = play(rules, &mut rng, 200, &mut tally) {
        panic!("{difference}\n{}", nft::text(rules));
    }
    println!("{name}: {tally:?}");
}

#[test]
fn without_rules_everything_is_forwarded() {
    agree("nothing", &rules(Vec::new(), Vec::new()));
}

#[test]
fn every_way_to_reject_is_answered_alike() {
    for with in [RejectWith::IcmpPort, RejectWith::IcmpProhibited, RejectWith::TcpReset] {
        let reject = Filter::new(Match::default(), Action::Reject(with), origin());
        agree("reject", &rules(vec![forward(vec![reject], Action::Accept)], Vec::new()));
    }
}

#[test]
fn a_limit_passes_its_burst_and_no_more() {
    let limit = Limit { packets: 1, per: rt_base::Nanos::from_secs(3_600), burst: 7 };
    let some = Filter { limit: Some(limit), ..Filter::new(Match::default(), Action::Accept, origin()) };
    agree("limit", &rules(vec![forward(vec![some], Action::Drop)], Vec::new()));
}

/// A range of three ports for all: many flows collide, and the kernel, like ours with `overload`, gives one port to several
/// destinations.
#[test]
fn few_ports_are_shared_or_run_out_alike() {
    let ports = NatPorts::Sequential(PortRange { first: 40_000, last: 40_002 });
    let behaviour = NatBehaviour {
        mapping: NatDepends::AddressAndPortDependent,
        filtering: NatDepends::AddressAndPortDependent,
        overload: true,
        ..NatBehaviour::default()
    };
    let rule = |protocol| {
        let (protocol, out_port) = (Some(protocol), Some(rt_base::PortId(1)));
        let when = Match { protocol, out_port, ..Match::default() };
        let snat = NatAction::Snat { to: "203.0.113.1".parse().unwrap(), ports };
        NatRule { behaviour, ..NatRule::new(when, snat, origin()) }
    };
    agree("few ports", &rules(Vec::new(), vec![rule(6), rule(17)]));
}
