//! Policy routing and ECMP: which of a machine's tables is asked for a packet, and which of equally good routes it takes.
//!
//! As Linux's `ip rule`: policies are looked at in their order; the first that matches and whose table has a route for the
//! destination decides, else the main table does. Own addresses come before all of them (Linux's table `local`); the stack
//! looks at those first.
//!
//! Not for: learning routes (routing protocols would insert into these tables).

use std::net::IpAddr;

use rt_base::RouteId;
use serde::{Deserialize, Serialize};

use crate::{Flow, Match, Origin, Route, RouteTable};

/// One rule of policy routing.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RoutePolicy {
    /// When. The leaving interface is not known yet and matches nothing.
    pub when: Match,
    /// The table to ask: 0 is the main one, 1 the first of the machine's other tables.
    pub table: u32,
    /// Where it comes from.
    pub origin: Origin,
}

/// All tables of a machine, and the policies that choose among them.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    main: RouteTable,
    /// Only on machines that need them: others stay small.
    more: Option<Box<More>>,
    /// The machine's own, so that two routers in a row do not choose alike (RFC 2991, 3: polarisation).
    seed: u32,
}

/// Tables besides the main one, and the policies.
#[derive(Clone, Debug, Default)]
struct More {
    tables: Vec<RouteTable>,
    policies: Vec<RoutePolicy>,
}

/// A route that was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RouteChoice<'r> {
    /// Its name.
    pub id: RouteId,
    /// Itself.
    pub route: &'r Route,
    /// The policy that chose its table; `None`: none matched, or their tables had no route.
    pub policy: Option<u32>,
    /// Indices of the equally good routes of its table, itself included; empty when it is the only one.
    pub group: &'r [u32],
    /// What chose among the group.
    pub hash: u32,
}

impl Routes {
    /// A machine's tables. `seed` goes into the choice among equally good routes.
    #[must_use]
    pub fn new(main: Vec<Route>, tables: Vec<Vec<Route>>, policies: Vec<RoutePolicy>, seed: u32) -> Routes {
        let any = !tables.is_empty() || !policies.is_empty();
        let tables = tables.into_iter().map(RouteTable::new).collect();
        let more = any.then(|| Box::new(More { tables, policies }));
        Routes { main: RouteTable::new(main), more, seed }
    }

    /// The main table.
    #[must_use]
    pub fn main(&self) -> &RouteTable {
        &self.main
    }

    /// To change the main table.
    pub fn main_mut(&mut self) -> &mut RouteTable {
        &mut self.main
    }

    /// The other tables.
    #[must_use]
    pub fn tables(&self) -> &[RouteTable] {
        self.more.as_ref().map(|more| more.tables.as_slice()).unwrap_or_default()
    }

    /// The policies in their order.
    #[must_use]
    pub fn policies(&self) -> &[RoutePolicy] {
        self.more.as_ref().map(|more| more.policies.as_slice()).unwrap_or_default()
    }

    /// Whether the destination alone decides: no policies, no equally good routes.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.policies().is_empty() && !self.main.has_groups()
    }

    /// The route of that name.
    #[must_use]
    pub fn get(&self, id: RouteId) -> Option<&Route> {
        self.table(id.table())?.routes().get(id.index() as usize)
    }

    fn table(&self, table: u32) -> Option<&RouteTable> {
        match table {
            0 => Some(&self.main),
            n => self.tables().get(n as usize - 1),
        }
    }

    /// The way of a packet.
    #[must_use]
    pub fn lookup(&self, flow: &Flow) -> Option<RouteChoice<'_>> {
        let matching = self.policies().iter().enumerate().filter(|(_, policy)| policy.when.holds(flow));
        for (index, policy) in matching {
            if let Some(found) = self.lookup_in(policy.table, flow) {
                return Some(RouteChoice { policy: u32::try_from(index).ok(), ..found });
            }
        }
        self.lookup_in(0, flow)
    }

    /// What else there was to `choice`, the way of a packet: the policies that matched before the deciding one and whose
    /// tables have no route, and the routes of other tables that would have led elsewhere, in the order in which they would
    /// have been asked. For telling; nothing is decided here.
    #[must_use]
    pub fn otherwise(&self, flow: &Flow, choice: &RouteChoice<'_>) -> (Vec<u32>, Vec<RouteId>) {
        let (mut passed, mut rejected) = (Vec::new(), Vec::new());
        let decided = choice.policy.map_or(usize::MAX, |policy| policy as usize);
        let mut tables = Vec::new();
        for (index, policy) in self.policies().iter().enumerate().filter(|(_, p)| p.when.holds(flow)) {
            match index.cmp(&decided) {
                std::cmp::Ordering::Less => passed.extend(u32::try_from(index)),
                std::cmp::Ordering::Equal => {}
                std::cmp::Ordering::Greater => tables.push(policy.table),
            }
        }
        tables.push(0);
        let way = |route: &Route| (route.kind, route.out, route.via);
        let mut ways = vec![way(choice.route)];
        for table in tables.into_iter().filter(|table| *table != choice.id.table()) {
            let Some(found) = self.lookup_in(table, flow) else { continue };
            if !ways.contains(&way(found.route)) {
                ways.push(way(found.route));
                rejected.push(found.id);
            }
        }
        (passed, rejected)
    }

    fn lookup_in(&self, number: u32, flow: &Flow) -> Option<RouteChoice<'_>> {
        let table = self.table(number)?;
        let (index, route) = table.lookup(flow.dst)?;
        let group = table.group(index);
        if group.is_empty() {
            let id = RouteId::new(number, index);
            return Some(RouteChoice { id, route, policy: None, group, hash: 0 });
        }
        let hash = flow_hash(flow, self.seed);
        let index = group[hash as usize % group.len()];
        let (id, route) = (RouteId::new(number, index), &table.routes()[index as usize]);
        Some(RouteChoice { id, route, policy: None, group, hash })
    }
}

/// A number from the five-tuple: equal for all packets of a flow in one direction. ICMP has neither ports nor, here, its
/// type and code, so that all packets between two machines go one way (as Linux with `fib_multipath_hash_policy=1`).
fn flow_hash(flow: &Flow, seed: u32) -> u32 {
    let address = |address: IpAddr| match address {
        IpAddr::V4(v4) => u64::from(u32::from(v4)),
        IpAddr::V6(v6) => {
            let all = u128::from(v6);
            (all >> 64) as u64 ^ all as u64
        }
    };
    let ports = match flow.protocol {
        6 | 17 => u64::from(flow.sport) << 16 | u64::from(flow.dport),
        _ => 0,
    };
    let words = [address(flow.src) << 32 | address(flow.dst), ports << 8 | u64::from(flow.protocol)];
    let mut hash = u64::from(seed);
    for word in words {
        // The finaliser of SplitMix64: every bit of the input moves half of the output.
        hash = (hash ^ word).wrapping_add(0x9e37_79b9_7f4a_7c15);
        hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        hash ^= hash >> 31;
    }
    (hash >> 32) as u32
}

#[cfg(test)]
mod tests;
