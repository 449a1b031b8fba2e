//! Initial sequence numbers (RFC 6528) and timestamp offsets (RFC 7323, 5.4): a clock plus a keyed hash of the ends, so that a
//! new connection between the same ends begins above the old one, and nobody outside can guess where.
//!
//! The hash is SplitMix64's finaliser in a chain: the same on every machine, and no protection against a real attacker.

use std::net::{IpAddr, SocketAddr};

use rt_base::{Rng, Time};

/// The secret of one machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Isn {
    secret: u64,
}

impl Isn {
    pub(crate) fn new(mut rng: Rng) -> Isn {
        Isn { secret: rng.next_u64() }
    }

    /// Where a connection between these ends begins now. The clock ticks every 4 us (RFC 9293, 3.4.1).
    pub(crate) fn sequence(&self, now: Time, local: SocketAddr, remote: SocketAddr) -> u32 {
        //= rfc6528#3 MUST
        let ports = (u64::from(local.port()) << 16) | u64::from(remote.port());
        let hash = mix(self.addresses(local.ip(), remote.ip()) ^ ports);
        (hash as u32).wrapping_add((now.0 / 4_000) as u32)
    }

    /// Where a passive open begins if numbers are made as cookies are (FreeBSD's `syncookie_generate`): a hash of the ends
    /// and the peer's number under a secret that lives for 15 s, without a clock.
    pub(crate) fn cookie(&self, now: Time, local: SocketAddr, remote: SocketAddr, peer: u32) -> u32 {
        const LIFE_NS: u64 = 15_000_000_000;
        let ports = (u64::from(local.port()) << 16) | u64::from(remote.port());
        let hash = mix(self.addresses(local.ip(), remote.ip()) ^ ports ^ (u64::from(peer) << 32));
        mix(hash ^ mix(self.secret ^ (now.0 / LIFE_NS))) as u32
    }

    /// What is added to the timestamp clock towards this peer: the same for all connections with it.
    pub(crate) fn timestamp_offset(&self, local: SocketAddr, remote: SocketAddr) -> u32 {
        (mix(self.addresses(local.ip(), remote.ip())) >> 32) as u32
    }

    /// A key for another purpose.
    pub(crate) fn key(&self, purpose: u64) -> [u8; 16] {
        let low = mix(self.secret ^ mix(purpose.wrapping_add(1)));
        (u128::from(mix(low)) << 64 | u128::from(low)).to_le_bytes()
    }

    fn addresses(&self, local: IpAddr, remote: IpAddr) -> u64 {
        let words = [local, remote].map(|address| match address {
            IpAddr::V4(v4) => u128::from(v4.to_bits()),
            IpAddr::V6(v6) => v6.to_bits(),
        });
        let halves = words.into_iter().flat_map(|word| [(word >> 64) as u64, word as u64]);
        halves.fold(self.secret, |hash, word| mix(hash ^ word))
    }
}

fn mix(word: u64) -> u64 {
    let mut z = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
