//! Routes and longest-prefix match.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use prefix_trie::PrefixMap;
use rt_base::PortId;
use serde::{Deserialize, Serialize};

use crate::Origin;

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
#[derive(Clone, Debug, Default)]
pub struct RouteTable {
    routes: Vec<Route>,
    v4: PrefixMap<Ipv4Net, u32>,
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
            let better = self.v4.get(&prefix).is_none_or(|&old| self.routes[old as usize].metric > route.metric);
            if better {
                self.v4.insert(prefix, index);
            }
        }
        self.routes.push(route);
        index
    }

    /// Takes a route out of use (its index stays taken).
    pub fn remove(&mut self, index: u32) {
        let Some(IpNet::V4(prefix)) = self.routes.get(index as usize).map(|r| r.prefix) else { return };
        if self.v4.get(&prefix) == Some(&index) {
            self.v4.remove(&prefix);
        }
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

    /// All routes, with stable indices.
    #[must_use]
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }
}
