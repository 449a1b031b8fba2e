//! Where a destination address is: this machine, everybody on a link, a next hop, or nowhere.
//!
//! One answer for the "is it ours" check, the broadcast check and the longest-prefix match, remembered for the last
//! destination asked for: bulk traffic pays one comparison. Where more than the destination decides (policy routing, ECMP)
//! nothing is remembered. Main type: [`Destinations`].
//!
//! Linux's weak host model: an own address is own on whichever interface a packet for it arrives.

use std::net::{IpAddr, Ipv4Addr};

use rt_base::{PortId, RouteId};
use rt_rules::{Flow, Route, RouteChoice, RouteKind, RouteTable, Routes};

use crate::nic::Nic;
use crate::packet::LOOPBACK;

/// The next hop of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Hop {
    /// The route by its [`RouteId`], `u32::MAX` when no route was asked (broadcast from a bound socket, loopback).
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
    routes: Routes,
    /// Whether the destination alone decides.
    plain: bool,
    last: Option<(IpAddr, Place)>,
    /// Kept apart: a host's packets alternate between its own address and the peer's.
    last_own: Option<IpAddr>,
}

impl Destinations {
    pub(crate) fn new(routes: Routes) -> Destinations {
        let plain = routes.is_plain();
        Destinations { routes, plain, last: None, last_own: None }
    }

    /// Whether the destination alone decides about the way.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        self.plain
    }

    /// Where a packet goes for which more than the destination may count; with the choice that was made, if any.
    pub(crate) fn choose(&self, flow: &Flow, nics: &[Nic]) -> (Place, Option<RouteChoice<'_>>) {
        if let Some(place) = local(flow.dst, nics) {
            return (place, None);
        }
        match self.routes.lookup(flow) {
            Some(choice) => (beyond(choice.id.0, choice.route, flow.dst, nics), Some(choice)),
            None => (Place::Nowhere, None),
        }
    }

    /// Whether there is policy routing.
    pub(crate) fn has_policies(&self) -> bool {
        !self.routes.policies().is_empty()
    }

    /// What else there was to a choice: see [`Routes::otherwise`].
    pub(crate) fn otherwise(&self, flow: &Flow, choice: &RouteChoice<'_>) -> (Vec<u32>, Vec<RouteId>) {
        self.routes.otherwise(flow, choice)
    }

    /// Whether one of the equally good routes of a choice leaves by `port`.
    pub(crate) fn leads_by(&self, choice: &RouteChoice<'_>, port: PortId) -> bool {
        let group =
            choice.group.iter().filter_map(|index| self.routes.get(RouteId::new(choice.id.table(), *index)));
        group.into_iter().any(|route| route.out == port)
    }

    /// Where packets from `src` (unspecified: not known yet) to `dst` go of which nothing else is known.
    pub(crate) fn towards(&mut self, src: Ipv4Addr, dst: IpAddr, nics: &[Nic]) -> Place {
        match self.plain {
            true => self.lookup(dst, nics),
            false => self.choose(&Flow::towards(src.into(), dst), nics).0,
        }
    }

    /// The route of that name.
    pub(crate) fn route(&self, id: u32) -> Option<&Route> {
        self.routes.get(RouteId(id))
    }

    /// Where `dst` is by the main table.
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
        if let Some(place) = local(dst, nics) {
            return place;
        }
        match self.routes.main().lookup(dst) {
            Some((rule, route)) => beyond(rule, route, dst, nics),
            None => Place::Nowhere,
        }
    }

    /// All routes in use with their tables.
    pub(crate) fn live(&self) -> impl Iterator<Item = (u32, RouteId, &Route)> {
        let tables = std::iter::once(self.routes.main()).chain(self.routes.tables());
        (0..).zip(tables).flat_map(|(number, table)| {
            table.live().map(move |(index, route)| (number, RouteId::new(number, index), route))
        })
    }

    /// The main table.
    pub(crate) fn table(&self) -> &RouteTable {
        self.routes.main()
    }

    /// Changes the main table: the last answers are forgotten.
    pub(crate) fn change<T>(&mut self, change: impl FnOnce(&mut RouteTable) -> T) -> T {
        (self.last, self.last_own) = (None, None);
        let changed = change(self.routes.main_mut());
        self.plain = self.routes.is_plain();
        changed
    }
}

/// This machine, everybody or a group: what comes before all routes.
fn local(dst: IpAddr, nics: &[Nic]) -> Option<Place> {
    if dst.is_loopback() || nics.iter().any(|nic| nic.owns(dst)) {
        return Some(Place::Here);
    }
    if dst == IpAddr::V4(Ipv4Addr::BROADCAST) {
        return Some(Place::Broadcast(None));
    }
    if let Some(index) = nics.iter().position(|nic| nic.is_broadcast(dst)) {
        return Some(Place::Broadcast(Some(PortId(index as u16))));
    }
    dst.is_multicast().then_some(Place::Group)
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
