//! Several addresses of one name, back to YAML.

use super::plain_yaml::{Entries, list, map, q};
use crate::model::{ClientBalance, Steering};
use crate::names::PICKS;
use crate::units::show_duration;

/// Hosts in their order; a name with several addresses once.
pub(super) fn hosts(hosts: &[(String, std::net::IpAddr)]) -> String {
    let mut seen = std::collections::BTreeSet::new();
    let names: Vec<&str> = hosts.iter().map(|(n, _)| n.as_str()).filter(|n| seen.insert(*n)).collect();
    let of = |name: &str| {
        let mut all: Vec<String> =
            hosts.iter().filter(|(n, _)| n == name).map(|(_, a)| a.to_string()).collect();
        if all.len() == 1 { all.remove(0) } else { list(all) }
    };
    map(&names.iter().map(|name| (q(name), of(name))).collect::<Vec<_>>())
}

pub(super) fn balance(balance: &[ClientBalance]) -> String {
    let one = |one: &ClientBalance| {
        let word =
            PICKS.iter().find(|(_, policy)| *policy == one.policy).map_or("round-robin", |(word, _)| *word);
        let leave_out = show_duration(one.leave_out);
        (q(&one.name), format!("{{ policy: {word}, leave-out: {leave_out} }}"))
    };
    map(&balance.iter().map(one).collect::<Vec<_>>())
}

pub(super) fn steer(steering: &[Steering]) -> String {
    let one = |one: &Steering| {
        let mut entries = Entries::default();
        let places: Vec<_> = one.places.iter().map(|(place, at)| (q(place), at.to_string())).collect();
        entries.put("places", map(&places));
        let networks = one.networks.iter().map(|(network, city, nearest)| {
            let place = one.places.get(*nearest).map_or("", |(place, _)| place);
            (q(&network.to_string()), list([q(city), q(place)]))
        });
        entries.put("networks", map(&networks.collect::<Vec<_>>()));
        (q(&one.name), map(&entries.0))
    };
    map(&steering.iter().map(one).collect::<Vec<_>>())
}
