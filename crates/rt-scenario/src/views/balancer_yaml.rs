//! A balancer of connections back to YAML.

use super::plain_yaml::{Entries, map, q};
use crate::balancer;
use crate::model::{L4Balancer, Spread};
use crate::units::{show_duration, show_size};

pub(super) fn write(entries: &mut Entries, balancer: &L4Balancer) -> &'static str {
    let L4Balancer { port, upstreams, balance, sticky, health, warm, connect_timeout, collect } = balancer;
    entries.put("port", port.to_string());
    let to: Vec<(String, String)> = upstreams.iter().map(|(n, a)| (q(n), q(&a.to_string()))).collect();
    entries.put("upstreams", map(&to));
    entries.put_if(*balance != Spread::RoundRobin, "balance", || word(*balance).to_owned());
    entries.0.extend(sticky.map(|span| ("sticky".to_owned(), show_duration(span))));
    entries.0.extend(health.map(|health| {
        let mut keys = Entries::default();
        keys.put("every", show_duration(health.every));
        keys.put("timeout", show_duration(health.timeout));
        keys.put("rise", health.rise.to_string());
        keys.put("fall", health.fall.to_string());
        ("health".to_owned(), map(&keys.0))
    }));
    entries.put_if(*warm > 0, "warm", || warm.to_string());
    entries.put_if(*connect_timeout != balancer::CONNECT_TIMEOUT, "connect-timeout", || {
        show_duration(*connect_timeout)
    });
    entries.0.extend(collect.map(|(bytes, wait)| {
        let keys = [("bytes".to_owned(), show_size(bytes)), ("wait".to_owned(), show_duration(wait))];
        ("collect".to_owned(), map(&keys))
    }));
    "l4-balancer"
}

/// The word of a policy.
pub(super) fn word(balance: Spread) -> &'static str {
    balancer::SPREADS.iter().find(|(_, spread)| *spread == balance).map_or("round-robin", |(word, _)| word)
}
