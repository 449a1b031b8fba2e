//! Where a destination address is: this machine, everybody on a link, a next hop, or nowhere.
//!
//! One answer for the "is it ours" check, the broadcast check and the longest-prefix match, remembered for the last
//! destination asked for: bulk traffic pays one comparison. Main type: [`Destinations`].
//!
//! Linux's weak host model: an own address is own on whichever interface a packet for it arrives.

use std::net::{IpAddr, Ipv4Addr};

use rt_base::PortId;
use rt_rules::{Route, RouteKind, RouteTable};

use crate::nic::Nic;
use crate::packet::LOOPBACK;

/// The next hop of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Hop {
    /// Index of the route, `u32::MAX` when no route was asked (broadcast from a bound socket, loopback).
    pub(crate) rule: u32,
    /// Leaves by.
    pub(crate) out: PortId,
    /// To this neighbour.
    pub(crate) next: IpAddr,
    /// MTU of that interface.
    pub(crate) mtu: u16,
}

/// Where a destination is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// An address of this machine.
    Here,
    /// Everybody on the link of this interface (`None`: the link it came from, 255.255.255.255).
    Broadcast(Option<PortId>),
    /// A multicast group. Nobody here joins any.
    Group,
    /// Beyond this hop.
    Beyond(Hop),
    /// A route says drop.
    Blackhole { rule: u32 },
    /// A route says unreachable.
    Unreachable { rule: u32 },
    /// No route.
    Nowhere,
}

/// Routes, and the last answers.
#[derive(Clone, Debug)]
pub(crate) struct Destinations {
    table: RouteTable,
    last: Option<(IpAddr, Place)>,
    /// Kept apart: a host's packets alternate between its own address and the peer's.
    last_own: Option<IpAddr>,
}

impl Destinations {
    pub(crate) fn new(table: RouteTable) -> Destinations {
        Destinations { table, last: None, last_own: None }
    }

    /// Where `dst` is.
    #[inline]
    pub(crate) fn lookup(&mut self, dst: IpAddr, nics: &[Nic]) -> Place {
        if let Some((address, place)) = self.last
            && address == dst
        {
            return place;
        }
        if self.last_own == Some(dst) {
            return Place::Here;
        }
        let place = self.find(dst, nics);
        match place {
            Place::Here => self.last_own = Some(dst),
            place => self.last = Some((dst, place)),
        }
        place
    }

    fn find(&self, dst: IpAddr, nics: &[Nic]) -> Place {
        if dst.is_loopback() || nics.iter().any(|nic| nic.owns(dst)) {
            return Place::Here;
        }
        if dst == IpAddr::V4(Ipv4Addr::BROADCAST) {
            return Place::Broadcast(None);
        }
        if let Some(index) = nics.iter().position(|nic| nic.is_broadcast(dst)) {
            return Place::Broadcast(Some(PortId(index as u16)));
        }
        if dst.is_multicast() {
            return Place::Group;
        }
        match self.table.lookup(dst) {
            Some((rule, route)) => beyond(rule, route, dst, nics),
            None => Place::Nowhere,
        }
    }

    /// All routes, by index.
    pub(crate) fn table(&self) -> &RouteTable {
        &self.table
    }

    /// To change the routes: forgets the last answers.
    pub(crate) fn table_mut(&mut self) -> &mut RouteTable {
        (self.last, self.last_own) = (None, None);
        &mut self.table
    }
}

fn beyond(rule: u32, route: &Route, dst: IpAddr, nics: &[Nic]) -> Place {
    match (route.kind, nics.get(route.out.index())) {
        (RouteKind::Blackhole, _) => Place::Blackhole { rule },
        (RouteKind::Unreachable, _) => Place::Unreachable { rule },
        (RouteKind::Unicast, Some(nic)) => {
            Place::Beyond(Hop { rule, out: route.out, next: route.via.unwrap_or(dst), mtu: nic.mtu })
        }
        (RouteKind::Unicast, None) => Place::Nowhere,
    }
}

/// The way to this machine itself. Linux's loopback has this MTU as well.
pub(crate) fn loopback(dst: IpAddr) -> Hop {
    Hop { rule: u32::MAX, out: LOOPBACK, next: dst, mtu: u16::MAX }
}
