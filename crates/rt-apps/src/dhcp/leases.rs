//! The server's book: which address belongs to whom until when. No bytes, no sockets.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use rt_base::{MacAddr, Nanos, Time};

/// An offer that nobody takes up is forgotten after this long.
const OFFER_HELD: Nanos = Nanos::from_secs(60);

/// A declined address is in use by somebody unknown: keep off it for this long.
const DECLINED_FOR: Nanos = Nanos::from_secs(3600);

#[derive(Clone, Copy, Debug)]
struct Lease {
    /// `None`: declined, somebody unknown uses it.
    owner: Option<MacAddr>,
    until: Time,
}

/// Pool, reservations and leases.
#[derive(Clone, Debug)]
pub(crate) struct Leases {
    first: u32,
    last: u32,
    reservations: BTreeMap<MacAddr, Ipv4Addr>,
    leases: BTreeMap<Ipv4Addr, Lease>,
    own: Ipv4Addr,
}

impl Leases {
    /// A pool from `first` to `last`, without the server's `own` address.
    pub(crate) fn new(
        (first, last): (Ipv4Addr, Ipv4Addr),
        reservations: impl IntoIterator<Item = (MacAddr, Ipv4Addr)>,
        own: Ipv4Addr,
    ) -> Leases {
        let reservations = reservations.into_iter().collect();
        Leases { first: first.into(), last: last.into(), reservations, leases: BTreeMap::new(), own }
    }

    /// The address to offer to `mac` (RFC 2131, 4.3.1): its reservation, the one it has or had, the one it wishes, else
    /// the lowest free one. Held for a while. `None` when the pool is used up.
    pub(crate) fn offer(&mut self, now: Time, mac: MacAddr, wish: Option<Ipv4Addr>) -> Option<Ipv4Addr> {
        let had = self.leases.iter().find(|(_, l)| l.owner == Some(mac)).map(|(&a, _)| a);
        let candidates = [self.reservations.get(&mac).copied(), had, wish];
        let mut pool = (self.first..=self.last).map(Ipv4Addr::from);
        let address = candidates.into_iter().flatten().find(|&a| self.is_free(now, mac, a));
        let address = address.or_else(|| pool.find(|&a| self.is_free(now, mac, a)))?;
        let until = now + OFFER_HELD;
        let lease = self.leases.entry(address).or_insert(Lease { owner: Some(mac), until });
        *lease = Lease { owner: Some(mac), until: lease.until.max(until) };
        Some(address)
    }

    /// Gives `address` to `mac` until `until`; false when it may not have it.
    pub(crate) fn take(&mut self, now: Time, mac: MacAddr, address: Ipv4Addr, until: Time) -> bool {
        if !self.is_free(now, mac, address) {
            return false;
        }
        self.leases.insert(address, Lease { owner: Some(mac), until });
        true
    }

    /// The client gives its address back.
    pub(crate) fn release(&mut self, mac: MacAddr, address: Ipv4Addr) {
        if self.leases.get(&address).is_some_and(|l| l.owner == Some(mac)) {
            self.leases.remove(&address);
        }
    }

    /// The client found that somebody else uses the address.
    pub(crate) fn decline(&mut self, now: Time, mac: MacAddr, address: Ipv4Addr) {
        if self.leases.get(&address).is_some_and(|l| l.owner == Some(mac)) {
            self.leases.insert(address, Lease { owner: None, until: now + DECLINED_FOR });
        }
    }

    /// Whether `mac` may have `address` now.
    fn is_free(&self, now: Time, mac: MacAddr, address: Ipv4Addr) -> bool {
        let reserved_for = self.reservations.iter().find(|(_, a)| **a == address).map(|(m, _)| *m);
        let in_pool = (self.first..=self.last).contains(&u32::from(address));
        let ours = match reserved_for {
            Some(owner) => owner == mac,
            None => in_pool && address != self.own,
        };
        let taken = self.leases.get(&address).is_some_and(|l| l.until > now && l.owner != Some(mac));
        ours && !taken
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use rt_base::{MacAddr, Nanos, Time};

    use super::Leases;

    fn mac(n: u8) -> MacAddr {
        MacAddr([2, 0, 0, 0, 0, n])
    }

    fn ip(n: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 0, 0, n)
    }

    #[test]
    fn the_book_keeps_addresses_apart() {
        let mut book = Leases::new((ip(1), ip(4)), [(mac(9), ip(3))], ip(1));
        let (now, later) = (Time::ZERO, Time::ZERO + Nanos::from_secs(1000));
        // 10.0.0.1 is the server's, 10.0.0.3 is reserved.
        assert_eq!(book.offer(now, mac(1), None), Some(ip(2)));
        assert_eq!(book.offer(now, mac(2), Some(ip(2))), Some(ip(4)));
        assert_eq!(book.offer(now, mac(3), None), None);
        assert_eq!(book.offer(now, mac(9), Some(ip(4))), Some(ip(3)));
        assert!(book.take(now, mac(1), ip(2), later));
        assert!(!book.take(now, mac(2), ip(2), later));
        // The offer to the second has run out, the lease of the first has not.
        let now = Time::ZERO + Nanos::from_secs(100);
        assert_eq!(book.offer(now, mac(3), None), Some(ip(4)));
        book.release(mac(1), ip(2));
        assert_eq!(book.offer(now, mac(2), None), Some(ip(2)));
        book.decline(now, mac(2), ip(2));
        assert_eq!(book.offer(now, mac(2), None), None);
        // Never outside of the pool.
        assert!(!book.take(now, mac(2), Ipv4Addr::new(10, 0, 1, 1), later));
    }
}
