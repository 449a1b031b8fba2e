//! Routes and longest-prefix match.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use prefix_trie::PrefixMap;
use rt_base::PortId;
use serde::{Deserialize, Serialize};

use crate::Origin;

/// Equally good routes that share the flows, at most.
const MOST_WAYS: usize = 64;

/// What a matching route does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RouteKind {
    /// Send it on.
    Unicast,
    /// Drop silently.
    Blackhole,
    /// Drop and answer ICMP host unreachable.
    Unreachable,
}

/// Whether an interface accepts a source only if answers to it would leave the right way (RFC 3704).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReversePath {
    /// Any source.
    #[default]
    Off,
    /// The best route to the source must lead back through the same interface (section 2.2).
    Strict,
    /// There must be a route to the source (section 2.4). A default route is one.
    Loose,
}

/// The reverse-path check of an interface.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SourceCheck {
    /// How strict.
    pub mode: ReversePath,
    /// Where it comes from.
    pub origin: Origin,
}

/// One route.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Route {
    /// Destinations it is for.
    pub prefix: IpNet,
    /// The next router, or `None` when the destination is on the link.
    pub via: Option<IpAddr>,
    /// The interface it leaves by.
    pub out: PortId,
    /// What it does.
    pub kind: RouteKind,
    /// Among equal prefixes the lowest wins.
    pub metric: u32,
    /// Preferred source address for own packets.
    pub source: Option<IpAddr>,
    /// Where it comes from.
    pub origin: Origin,
}

/// A machine's routes. Indices are stable: events name routes by them. Removing keeps the slot.
///
/// Longest prefix first, then lowest metric. Routes through different routers that are equal in both form a group, of
/// which the flow chooses one ([`crate::Routes::lookup`]); else the lowest index counts.
#[derive(Clone, Debug, Default)]
pub struct RouteTable {
    routes: Vec<Route>,
    v4: PrefixMap<Ipv4Net, u32>,
    /// Most tables have nothing of this.
    rare: Option<Box<Rare>>,
}

#[derive(Clone, Debug, Default)]
struct Rare {
    removed: Vec<u32>,
    /// The groups, by the index that [`RouteTable::lookup`] finds.
    groups: BTreeMap<u32, Vec<u32>>,
}

impl RouteTable {
    /// A table of these routes, indices as given.
    #[must_use]
    pub fn new(routes: Vec<Route>) -> RouteTable {
        let mut table = RouteTable::default();
        for route in routes {
            table.insert(route);
        }
        table
    }

    /// Adds a route; returns its index.
    pub fn insert(&mut self, route: Route) -> u32 {
        let index = u32::try_from(self.routes.len()).expect("invariant: fewer than 2^32 routes");
        if let IpNet::V4(prefix) = route.prefix {
            let prefix = prefix.trunc();
            match self.v4.get(&prefix).copied() {
                Some(old) if self.routes[old as usize].metric < route.metric => {}
                Some(old) if self.routes[old as usize].metric == route.metric => {
                    self.join(old, index, &route)
                }
                worse => {
                    if let Some((old, rare)) = worse.zip(self.rare.as_mut()) {
                        rare.groups.remove(&old);
                    }
                    self.v4.insert(prefix, index);
                }
            }
        }
        self.routes.push(route);
        index
    }

    /// Takes a route out of use (its index stays taken); the next best of the same prefix takes over.
    pub fn remove(&mut self, index: u32) {
        let Some(IpNet::V4(prefix)) = self.routes.get(index as usize).map(|r| r.prefix) else { return };
        let rare = self.rare.get_or_insert_default();
        if rare.removed.contains(&index) {
            return;
        }
        rare.removed.push(index);
        let prefix = prefix.trunc();
        if self.v4.get(&prefix) == Some(&index) {
            self.v4.remove(&prefix);
            if let Some(next) = self.best_of(prefix) {
                self.v4.insert(prefix, next);
            }
        }
        self.regroup(prefix);
    }

    /// Makes the group of a prefix anew, after one of its routes has gone.
    fn regroup(&mut self, prefix: Ipv4Net) {
        if let Some(rare) = &mut self.rare {
            rare.groups.retain(|first, _| self.routes[*first as usize].prefix.trunc() != IpNet::V4(prefix));
        }
        let Some(&best) = self.v4.get(&prefix) else { return };
        let metric = self.routes[best as usize].metric;
        let others = self.live().filter(|(index, route)| {
            *index != best && route.metric == metric && route.prefix.trunc() == IpNet::V4(prefix)
        });
        let others: Vec<(u32, Route)> = others.map(|(index, route)| (index, route.clone())).collect();
        for (index, route) in others {
            self.join(best, index, &route);
        }
    }

    /// A route as good as `best`: into its group. Only routes that send on through a router are equals: what is on the link
    /// is one network.
    fn join(&mut self, best: u32, index: u32, route: &Route) {
        let sends_on = |r: &Route| r.via.is_some() && r.kind == RouteKind::Unicast;
        let way = |r: &Route| (r.via, r.out);
        let (first, routes) = (&self.routes[best as usize], &self.routes);
        if !sends_on(first) || !sends_on(route) || way(first) == way(route) {
            return;
        }
        let group = self.rare.get_or_insert_default().groups.entry(best).or_insert_with(|| vec![best]);
        let known = group.iter().any(|other| way(&routes[*other as usize]) == way(route));
        if !known && group.len() < MOST_WAYS {
            group.push(index);
        }
    }

    /// The routes that are as good as this one, itself included; empty when it is the only one.
    #[must_use]
    pub fn group(&self, index: u32) -> &[u32] {
        self.rare.as_ref().and_then(|rare| rare.groups.get(&index)).map(Vec::as_slice).unwrap_or_default()
    }

    /// Whether there is any choice among equally good routes.
    #[must_use]
    pub fn has_groups(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| !rare.groups.is_empty())
    }

    fn best_of(&self, prefix: Ipv4Net) -> Option<u32> {
        let live = self.live().filter(|(_, r)| r.prefix.trunc() == IpNet::V4(prefix));
        live.min_by_key(|(index, route)| (route.metric, *index)).map(|(index, _)| index)
    }

    /// The longest matching prefix and its index.
    #[must_use]
    pub fn lookup(&self, dst: IpAddr) -> Option<(u32, &Route)> {
        match dst {
            IpAddr::V4(v4) => self.lookup_v4(v4),
            IpAddr::V6(_) => None,
        }
    }

    fn lookup_v4(&self, dst: Ipv4Addr) -> Option<(u32, &Route)> {
        let (_, &index) = self.v4.get_lpm(&Ipv4Net::from(dst))?;
        Some((index, &self.routes[index as usize]))
    }

    /// All routes, with stable indices (removed ones too).
    #[must_use]
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// The routes in use, with their indices.
    pub fn live(&self) -> impl Iterator<Item = (u32, &Route)> {
        self.routes.iter().enumerate().filter_map(|(index, route)| {
            let index = u32::try_from(index).ok()?;
            let removed = self.rare.as_ref().is_some_and(|rare| rare.removed.contains(&index));
            (!removed).then_some((index, route))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(prefix: &str, out: u16, metric: u32) -> Route {
        let origin = Origin::Line { file: "t.yaml".into(), line: 1 };
        let prefix = prefix.parse().expect("a prefix");
        Route { prefix, via: None, out: PortId(out), kind: RouteKind::Unicast, metric, source: None, origin }
    }

    #[track_caller]
    fn check(table: &RouteTable, dst: &str, expected: Option<u32>) {
        let dst: IpAddr = dst.parse().expect("an address");
        assert_eq!(table.lookup(dst).map(|(index, _)| index), expected, "{dst}");
    }

    #[test]
    fn the_longest_prefix_wins_then_the_lowest_metric() {
        let mut table = RouteTable::new(vec![
            route("0.0.0.0/0", 0, 0),
            route("10.0.0.0/8", 1, 5),
            route("10.1.0.0/16", 2, 0),
            route("10.0.0.0/8", 3, 1),
            route("10.1.2.3/32", 4, 0),
        ]);
        check(&table, "8.8.8.8", Some(0));
        check(&table, "10.9.9.9", Some(3));
        check(&table, "10.1.9.9", Some(2));
        check(&table, "10.1.2.3", Some(4));
        check(&table, "2001:db8::1", None);
        table.remove(3);
        check(&table, "10.9.9.9", Some(1));
        table.remove(3);
        table.remove(1);
        check(&table, "10.9.9.9", Some(0));
        table.remove(0);
        check(&table, "10.9.9.9", None);
        assert_eq!(table.insert(route("0.0.0.0/0", 7, 0)), 5, "indices are never reused");
        check(&table, "10.9.9.9", Some(5));
    }

    #[test]
    fn host_bits_in_a_prefix_do_not_matter() {
        check(&RouteTable::new(vec![route("192.168.1.1/24", 0, 0)]), "192.168.1.77", Some(0));
    }
}
