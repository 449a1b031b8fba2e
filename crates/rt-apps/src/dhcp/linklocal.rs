//! An address without a server: 169.254/16, claimed by ARP (RFC 3927).
//!
//! Candidates come from the machine's own dice; each is probed three times, announced twice, and given up for another
//! when somebody answers. Simplification: an address that is claimed is not defended later (section 2.5).

use std::net::{IpAddr, Ipv4Addr};

use rt_base::{Nanos, PortId, Rng, Wait};

use crate::net::Net;

/// Probes per candidate (RFC 3927, 9).
const PROBES: u32 = 3;

/// Announcements.
const ANNOUNCEMENTS: u32 = 2;

/// Between announcements.
const ANNOUNCE_INTERVAL: Nanos = Nanos::from_secs(2);

/// After the last probe.
const ANNOUNCE_WAIT: Nanos = Nanos::from_secs(2);

/// After so many conflicts we slow down.
const MAX_CONFLICTS: u32 = 10;

/// Between candidates then.
const RATE_LIMIT: Nanos = Nanos::from_secs(60);

/// Finds an address that nobody on the link uses.
pub(crate) async fn claim(net: &Net, port: PortId) -> Ipv4Addr {
    let mut dice = net.rng(&format!("linklocal.{}", port.0));
    let mut conflicts = 0;
    loop {
        let candidate = candidate(&mut dice);
        net.sleep(random_up_to(&mut dice, Nanos::from_secs(1)), Wait::Dhcp).await;
        if !is_taken(net, port, candidate, &mut dice).await {
            return candidate;
        }
        conflicts += 1;
        if conflicts >= MAX_CONFLICTS {
            net.sleep(RATE_LIMIT, Wait::Backoff).await;
        }
    }
}

/// Tells the link that the address is ours now (twice, two seconds apart).
pub(crate) async fn announce(net: &Net, port: PortId, address: Ipv4Addr) {
    for round in 0..ANNOUNCEMENTS {
        if round > 0 {
            net.sleep(ANNOUNCE_INTERVAL, Wait::Housekeeping).await;
        }
        net.arp_announce(port, IpAddr::V4(address));
    }
}

/// Three probes, one to two seconds apart, then two seconds of listening.
async fn is_taken(net: &Net, port: PortId, candidate: Ipv4Addr, dice: &mut Rng) -> bool {
    for probe in 1..=PROBES {
        net.arp_probe(port, IpAddr::V4(candidate));
        let pause = if probe < PROBES {
            Nanos::from_secs(1) + random_up_to(dice, Nanos::from_secs(1))
        } else {
            ANNOUNCE_WAIT
        };
        net.sleep(pause, Wait::Dhcp).await;
        if net.arp_conflict(port, IpAddr::V4(candidate)) {
            return true;
        }
    }
    false
}

/// 169.254.1.0 to 169.254.254.255; the first and last 256 are kept for later (RFC 3927, 2.1).
fn candidate(dice: &mut Rng) -> Ipv4Addr {
    let first = u32::from(Ipv4Addr::new(169, 254, 1, 0));
    Ipv4Addr::from(first + dice.below(254 * 256) as u32)
}

fn random_up_to(dice: &mut Rng, span: Nanos) -> Nanos {
    Nanos(dice.below(span.0))
}
