//! Path MTUs that ICMP "fragmentation needed" told us (RFC 1191).
//!
//! A hint lives ten minutes and never goes below 552 bytes (both as in Linux: a forged message may not make us send
//! crumbs). A path that is told to be narrower still gets packets of 552 bytes without DF, for the routers to cut, as in
//! Linux (a "locked" MTU). Bounded: the oldest hint makes room.

use std::collections::BTreeMap;
use std::net::IpAddr;

use rt_base::{Nanos, Time};

/// Linux `net.ipv4.route.min_pmtu`.
const LEAST: u16 = 552;
/// Linux `net.ipv4.route.mtu_expires`; RFC 1191, 6.3.
const LIFETIME: Nanos = Nanos::from_secs(600);
const MOST_HINTS: usize = 1_024;

/// What we were told.
#[derive(Debug, Default)]
pub(crate) struct PathMtu {
    hints: BTreeMap<IpAddr, Hint>,
}

#[derive(Clone, Copy, Debug)]
struct Hint {
    mtu: u16,
    until: Time,
    /// Told to be narrower than the floor: routers must cut what we send.
    locked: bool,
}

impl PathMtu {
    /// Enters a hint; returns the MTU to use from now on.
    pub(crate) fn learn(&mut self, now: Time, dst: IpAddr, mtu: u16) -> u16 {
        //= rfc1191#3 (with the floor of Linux)
        let locked = mtu < LEAST;
        let mtu = mtu.max(LEAST);
        if self.hints.len() >= MOST_HINTS
            && let Some(oldest) = self.hints.iter().min_by_key(|(_, hint)| hint.until).map(|(dst, _)| *dst)
        {
            self.hints.remove(&oldest);
        }
        self.hints.insert(dst, Hint { mtu, until: now + LIFETIME, locked });
        mtu
    }

    /// The hint for `dst`, if one is still good.
    pub(crate) fn lookup(&self, now: Time, dst: IpAddr) -> Option<u16> {
        self.hint(now, dst).map(|hint| hint.mtu)
    }

    /// Whether packets to `dst` must go without DF.
    pub(crate) fn is_locked(&self, now: Time, dst: IpAddr) -> bool {
        self.hint(now, dst).is_some_and(|hint| hint.locked)
    }

    fn hint(&self, now: Time, dst: IpAddr) -> Option<Hint> {
        self.hints.get(&dst).filter(|hint| hint.until > now).copied()
    }
}
