//! Several addresses of one name: in hosts files, in a client's own balancing, in a name server's answers by place.

use std::net::IpAddr;

use ipnet::IpNet;
use rt_base::{Nanos, NodeId};

use crate::diag::Code;
use crate::model::{ClientBalance, PickPolicy, Steering};
use crate::tree::Value;
use crate::world::World;

/// Words of `balance:` on a machine and what they mean.
pub(crate) const PICKS: [(&str, PickPolicy); 3] = [
    ("round-robin", PickPolicy::RoundRobin),
    ("random-of-two", PickPolicy::RandomOfTwo),
    ("least-outstanding", PickPolicy::LeastOutstanding),
];
/// A server that failed is left out for so long unless it is said otherwise (Envoy's first ejection takes 30 s, nginx's
/// `fail_timeout` 10 s).
pub(crate) const LEAVE_OUT: Nanos = Nanos::from_secs(10);

/// Whether `order: fixed` is written.
pub(crate) fn keeps_order(value: &Value) -> bool {
    value.str_at("order") == Some("fixed")
}

impl World<'_, '_> {
    /// `hosts:` of a machine: an address for each name, or several.
    pub(crate) fn read_own_hosts(&mut self, id: NodeId, value: &Value) {
        let hosts = &mut self.node(id).node.resolver.hosts;
        for (name, addresses) in value.get("hosts").map(Value::entries).unwrap_or_default() {
            let name = name.text.to_lowercase();
            if hosts.iter().any(|(known, _)| *known == name) {
                continue;
            }
            let one = addresses.address();
            let all = addresses.items().iter().filter_map(Value::address);
            hosts.extend(one.into_iter().chain(all).map(|address| (name.clone(), address)));
        }
    }

    /// `balance:` of a machine.
    pub(crate) fn read_own_balance(&mut self, id: NodeId, value: &Value) {
        let balance = &mut self.node(id).node.resolver.balance;
        for (name, how) in value.get("balance").map(Value::entries).unwrap_or_default() {
            let word = how.text().or(how.str_at("policy")).unwrap_or("round-robin");
            let policy = PICKS.iter().find(|(known, _)| *known == word);
            balance.push(ClientBalance {
                name: name.text.trim_end_matches('.').to_lowercase(),
                policy: policy.map_or(PickPolicy::RoundRobin, |(_, policy)| *policy),
                leave_out: how.duration_at("leave-out").unwrap_or(LEAVE_OUT),
            });
        }
    }

    /// `steer:` of a name server.
    pub(crate) fn read_steering(&mut self, value: &Value) -> Vec<Steering> {
        let mut all = Vec::new();
        for (name, about) in value.get("steer").map(Value::entries).unwrap_or_default() {
            let places = about.get("places").map(Value::entries).unwrap_or_default();
            let places: Vec<(String, IpAddr)> =
                places.iter().filter_map(|(place, at)| Some((place.text.clone(), at.address()?))).collect();
            let mut networks = Vec::new();
            for (network, whereabouts) in about.get("networks").map(Value::entries).unwrap_or_default() {
                let words: Vec<&str> = whereabouts.items().iter().filter_map(Value::text).collect();
                let nearest = words.get(1).and_then(|place| places.iter().position(|(p, _)| p == place));
                match (network.text.parse::<IpNet>(), words.first(), nearest) {
                    (Ok(prefix), Some(city), Some(nearest)) => {
                        networks.push((prefix, (*city).to_owned(), nearest));
                    }
                    _ => {
                        let message = format!("`{}` is not steered to any of the places", network.text);
                        self.problems
                            .add(
                                Code::WrongShape,
                                network.span,
                                message,
                                "not a network, its city and its place",
                            )
                            .help("write `203.0.113.0/24: [ osaka, tokyo ]`: the city, then one of `places`");
                    }
                }
            }
            let name = name.text.trim_end_matches('.').to_lowercase();
            all.push(Steering { name, places, networks });
        }
        all
    }
}
