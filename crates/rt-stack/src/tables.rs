//! What a machine remembers, as a person wants to see it at any moment: NAT mappings, flows, neighbours, routes, rules with
//! counters. Copies, made when asked for; nothing here is kept.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use rt_base::{HookPoint, MacAddr, PortId, Time};
use rt_rules::{NatRule, Route};

use crate::stack::Stack;

/// All tables of one machine at one moment.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Tables {
    /// NAT mappings, by protocol and external end.
    pub nat: Vec<NatEntry>,
    /// Flows that connection tracking knows, in the order in which their places were taken.
    pub flows: Vec<FlowEntry>,
    /// Neighbours, by interface and address.
    pub neighbors: Vec<NeighborEntry>,
    /// Routes in use, by table and index.
    pub routes: Vec<RouteEntry>,
    /// What rules were asked and decided: filter chains by hook.
    pub filters: Vec<FilterCount>,
    /// NAT rules, in order.
    pub nat_rules: Vec<NatRuleEntry>,
}

/// One NAT mapping.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NatEntry {
    /// IP protocol number. For ICMP the ports are echo identifiers.
    pub protocol: u8,
    /// The inner address and port.
    pub inside: SocketAddr,
    /// What the world sees.
    pub outside: SocketAddr,
    /// The remote address and port that the mapping is for, as far as it depends on them.
    pub remote: (Option<IpAddr>, Option<u16>),
    /// Index of the rule that made it.
    pub rule: u32,
    /// When it was made.
    pub made: Time,
    /// When it goes if nothing more is said: with the last of its flows.
    pub expires: Time,
    /// Flows that use it.
    pub flows: u32,
}

/// Where a flow stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum FlowState {
    /// Not TCP: packets in one direction only.
    Unanswered,
    /// Not TCP: packets in both directions.
    Answered,
    /// TCP: a SYN.
    SynSent,
    /// TCP: a SYN and its answer.
    SynReceived,
    /// TCP: open.
    Established,
    /// TCP: one side has sent FIN.
    FinWait,
    /// TCP: both sides have.
    LastAck,
    /// TCP: both FINs are acknowledged.
    TimeWait,
    /// TCP: reset.
    Closed,
}

impl FlowState {
    /// As `conntrack -L` writes it.
    #[must_use]
    pub fn say(self) -> &'static str {
        match self {
            FlowState::Unanswered => "UNREPLIED",
            FlowState::Answered => "ASSURED",
            FlowState::SynSent => "SYN_SENT",
            FlowState::SynReceived => "SYN_RECV",
            FlowState::Established => "ESTABLISHED",
            FlowState::FinWait => "FIN_WAIT",
            FlowState::LastAck => "LAST_ACK",
            FlowState::TimeWait => "TIME_WAIT",
            FlowState::Closed => "CLOSE",
        }
    }
}

/// One flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FlowEntry {
    /// IP protocol number. For ICMP the ports are echo identifiers.
    pub protocol: u8,
    /// Where it stands.
    pub state: FlowState,
    /// Source and destination of its first packet, as it arrived.
    pub original: (SocketAddr, SocketAddr),
    /// Source and destination of the answers, as they arrive: where NAT rewrites, not the mirror of `original`.
    pub reply: (SocketAddr, SocketAddr),
    /// When it began.
    pub began: Time,
    /// When it is forgotten if nothing more is said.
    pub expires: Time,
    /// Packets as `original` and as `reply`.
    pub packets: [u64; 2],
    /// Bytes of IP as `original` and as `reply`.
    pub bytes: [u64; 2],
    /// The NAT rule that changed its destination, by index.
    pub destination_rule: Option<u32>,
    /// The NAT rule that changed its source, by index.
    pub source_rule: Option<u32>,
}

/// What is known of a neighbour.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NeighborState {
    /// Its MAC, and until when it is good (`Time::MAX` for one that was entered by hand).
    Known {
        /// The MAC.
        mac: MacAddr,
        /// Good until.
        until: Time,
    },
    /// It was asked for.
    Asked {
        /// So often.
        questions: u8,
        /// Packets that wait.
        waiting: usize,
    },
}

/// One neighbour.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NeighborEntry {
    /// On the link of this interface.
    pub port: PortId,
    /// Its address.
    pub address: IpAddr,
    /// What is known.
    pub state: NeighborState,
}

/// One route.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RouteEntry {
    /// Its table: 0 is the main one.
    pub table: u32,
    /// Its index in the table.
    pub index: u32,
    /// The route, with its origin.
    pub route: Route,
    /// Packets that took it.
    pub packets: u64,
}

/// How often a filter rule decided, or logged and let go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FilterCount {
    /// The chain's hook.
    pub hook: HookPoint,
    /// Index of the rule in its chain; `None` for the policy.
    pub rule: Option<u32>,
    /// Packets that it decided; of a rule that only logs, those that it matched.
    pub packets: u64,
    /// Their bytes of IP.
    pub bytes: u64,
}

/// One NAT rule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NatRuleEntry {
    /// The rule, with its origin.
    pub rule: NatRule,
    /// Flows that it changed.
    pub flows: u64,
}

/// Indices from here on are counted apart: they name routes of other tables than the main one ([`rt_base::RouteId`]).
const FAR: u32 = 1 << 24;

/// Counters by index, longer when they must be.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[allow(clippy::box_collection, reason = "few machines have far indices, and idle ones are to be small")]
pub(crate) struct Counters(Vec<u64>, Option<Box<BTreeMap<u32, u64>>>);

impl Counters {
    /// Adds to one; `u32::MAX` stands for no rule and is not counted.
    #[inline]
    pub(crate) fn add(&mut self, index: u32, count: u64) {
        match self.0.get_mut(index as usize) {
            Some(counter) => *counter += count,
            None => self.grow(index, count),
        }
    }

    #[cold]
    fn grow(&mut self, index: u32, count: u64) {
        if index == u32::MAX {
            return;
        }
        if index >= FAR {
            *self.1.get_or_insert_default().entry(index).or_default() += count;
        } else {
            self.0.resize(index as usize + 1, 0);
            self.0[index as usize] = count;
        }
    }

    /// One of them.
    pub(crate) fn get(&self, index: u32) -> u64 {
        let near = self.0.get(index as usize);
        near.or_else(|| self.1.as_ref()?.get(&index)).copied().unwrap_or(0)
    }
}

impl Stack {
    /// All tables as they are at `now`. What has expired is not shown, also if nobody has noticed yet.
    #[must_use]
    pub fn tables(&self, now: Time) -> Tables {
        let mut tables = Tables { neighbors: self.neighbors.shown(now), ..Tables::default() };
        let hits = self.shortcuts.hits();
        for (table, id, route) in self.destinations.live() {
            let (index, packets) = (id.index(), hits.get(id.0));
            tables.routes.push(RouteEntry { table, index, route: route.clone(), packets });
        }
        if let Some(hooks) = &self.hooks {
            hooks.show(now, &mut tables);
        }
        if let Some(acls) = &self.acls {
            acls.show(&mut tables);
        }
        tables
    }

    /// Forgets every NAT mapping with its flows, as a NAT that starts anew: what comes next from inside gets a mapping
    /// anew, what comes from outside belongs to nothing. With `change`, no inner end gets the external port back that it
    /// had. Returns how many mappings there were.
    pub fn rebind(&mut self, change: bool) -> usize {
        self.hooks.as_mut().map_or(0, |hooks| hooks.rebind(change))
    }
}
