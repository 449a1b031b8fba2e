//! The wire formats before their judges: the law `parse(emit(x)) == x`, etherparse in both directions, hostile bytes,
//! tshark and tcpdump.
#![allow(clippy::disallowed_methods, reason = "the outside judges read files")]

mod hostile;
mod judges;
mod laws;
mod oracle;
mod packets;
mod rewrites;
mod views;

use proptest::test_runner::{Config, RngSeed};

/// The same cases on every machine.
pub(crate) fn cases(count: u32) -> Config {
    Config { cases: count, rng_seed: RngSeed::Fixed(2), failure_persistence: None, ..Config::default() }
}
