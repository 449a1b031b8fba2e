//! A balancer of connections back to YAML.

use super::plain_yaml::{Entries, map, q};
use crate::balancer;
use crate::model::{HealthCheck, L4Balancer, Spread};
use crate::units::{show_duration, show_size};

pub(super) fn write(entries: &mut Entries, balancer: &L4Balancer) -> &'static str {
    let L4Balancer { port, upstreams, balance, sticky, health, warm, connect_timeout, collect } = balancer;
    entries.put("port", port.to_string());
    let to: Vec<(String, String)> = upstreams.iter().map(|(n, a)| (q(n), q(&a.to_string()))).collect();
    entries.put("upstreams", map(&to));
    entries.put_if(*balance != Spread::RoundRobin, "balance", || balance.word().to_owned());
    entries.0.extend(sticky.map(|span| ("sticky".to_owned(), show_duration(span))));
    entries.0.extend(health.map(|health| ("health".to_owned(), map(&show_check(&health).0))));
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

/// When and how often servers are checked.
pub(super) fn show_check(check: &HealthCheck) -> Entries {
    let mut keys = Entries::default();
    keys.put("every", show_duration(check.every));
    keys.put("timeout", show_duration(check.timeout));
    keys.put("rise", check.rise.to_string());
    keys.put("fall", check.fall.to_string());
    keys
}
