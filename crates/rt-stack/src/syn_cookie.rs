//! SYN cookies (RFC 4987, 3.6) with Linux's arithmetic: a SYN-ACK whose sequence number says all that the listener needs to
//! know when it comes back, so that a SYN costs no memory.
//!
//! The number is `hash1 + client ISN + (minutes << 24) + ((hash2(minutes) + index) mod 2^24)`, where `index` names one of
//! four segment sizes. Window scale and SACK survive only in the low six bits of our timestamp, so a client without
//! timestamps gets neither. A cookie is good for two minutes after it was made, and only near a time of need.

use std::net::{IpAddr, SocketAddr};

use rt_base::{Nanos, Time};

use crate::siphash::{Key, siphash};

/// The four sizes that fit in two bits; a client's is rounded down.
const SIZES: [u16; 4] = [536, 1_300, 1_440, 1_460];
/// The minutes stand above this.
const BITS: u32 = 24;
const MASK: u32 = (1 << BITS) - 1;
/// Minutes that a cookie is good for.
const LIFE: u32 = 2;
/// Timestamp bits: window scale, 15 for none; SACK.
const NO_SCALE: u32 = 0xf;
const SACK: u32 = 0x10;
const OPTION_BITS: u32 = 0x3f;

/// The makers of cookies.
#[derive(Debug)]
pub(crate) struct SynCookieJar {
    keys: [Key; 2],
    /// When a cookie was sent last.
    needed: Option<Time>,
}

/// The ends of a connection and the client's initial sequence number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends {
    pub(crate) client: SocketAddr,
    pub(crate) server: SocketAddr,
    pub(crate) isn: u32,
}

impl SynCookieJar {
    pub(crate) fn new(keys: [[u8; 16]; 2]) -> SynCookieJar {
        SynCookieJar { keys: keys.map(Key::from_bytes), needed: None }
    }

    /// The initial sequence number for a SYN-ACK, and the segment size that it remembers.
    pub(crate) fn bake(&mut self, now: Time, ends: Ends, mss: u16) -> (u32, u16) {
        self.needed = Some(now);
        let index = SIZES.iter().rposition(|size| *size <= mss).unwrap_or(0);
        let count = minutes(now);
        let inner = self.hash(1, ends, count).wrapping_add(index as u32) & MASK;
        let number = self.hash(0, ends, 0).wrapping_add(ends.isn).wrapping_add(count << BITS);
        (number.wrapping_add(inner), SIZES[index])
    }

    /// The segment size in a cookie that came back, if it is a good one and cookies were sent lately.
    pub(crate) fn taste(&self, now: Time, ends: Ends, cookie: u32) -> Option<u16> {
        let needed = self.needed?;
        if now.since(needed) > Nanos::from_secs(60 * u64::from(LIFE)) {
            return None;
        }
        let rest = cookie.wrapping_sub(self.hash(0, ends, 0)).wrapping_sub(ends.isn);
        let count = minutes(now);
        let age = count.wrapping_sub(rest >> BITS) & (u32::MAX >> BITS);
        if age >= LIFE {
            return None;
        }
        let index = rest.wrapping_sub(self.hash(1, ends, count.wrapping_sub(age))) & MASK;
        SIZES.get(index as usize).copied()
    }

    fn hash(&self, key: usize, ends: Ends, count: u32) -> u32 {
        let ports = u64::from(ends.client.port()) << 16 | u64::from(ends.server.port());
        let bits = |address: IpAddr| match address {
            IpAddr::V4(v4) => u64::from(v4.to_bits()),
            IpAddr::V6(v6) => v6.to_bits() as u64,
        };
        let addresses = bits(ends.client.ip()) | bits(ends.server.ip()) << 32;
        siphash(self.keys[key], &[addresses, ports | u64::from(count) << 32]) as u32
    }
}

fn minutes(now: Time) -> u32 {
    (now.as_millis() / 60_000) as u32
}

/// A timestamp not later than `clock` whose low bits remember these options.
pub(crate) fn stamp(clock: u32, window_scale: Option<u8>, sack: bool) -> u32 {
    let options =
        window_scale.map_or(NO_SCALE, |shift| u32::from(shift.min(14))) | if sack { SACK } else { 0 };
    let stamp = (clock & !OPTION_BITS) | options;
    if stamp > clock { stamp.wrapping_sub(OPTION_BITS + 1) } else { stamp }
}

/// The options in an echoed timestamp: window scale and SACK.
pub(crate) fn unstamp(echo: u32) -> (Option<u8>, bool) {
    let scale = echo & NO_SCALE;
    ((scale != NO_SCALE).then_some(scale as u8), echo & SACK != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(isn: u32) -> Ends {
        let at = |last, port| SocketAddr::new(IpAddr::from([10, 0, 0, last]), port);
        Ends { client: at(1, 40_000), server: at(2, 80), isn }
    }

    #[test]
    fn a_cookie_is_good_for_its_connection_and_for_two_minutes() {
        //= rfc4987#3.6
        //= type=test
        let mut jar = SynCookieJar::new([[1; 16], [2; 16]]);
        let at = |s: u64| Time(s * 1_000_000_000);
        for (mss, kept) in [(1_460, 1_460), (9_000, 1_460), (1_400, 1_300), (1_450, 1_440), (100, 536)] {
            let (cookie, size) = jar.bake(at(30), ends(7), mss);
            assert_eq!(size, kept);
            assert_eq!(jar.taste(at(31), ends(7), cookie), Some(kept));
            assert_eq!(jar.taste(at(119), ends(7), cookie), Some(kept));
            assert_eq!(jar.taste(at(121), ends(7), cookie), None, "the second minute is over");
            assert_eq!(jar.taste(at(31), ends(1_007), cookie), None, "another client ISN");
            assert_eq!(jar.taste(at(31), ends(7), cookie ^ 0x0100_0000), None);
        }
        let fresh = SynCookieJar::new([[1; 16], [2; 16]]);
        let (cookie, _) = jar.bake(at(30), ends(7), 1_460);
        assert_eq!(fresh.taste(at(31), ends(7), cookie), None, "no cookie was sent lately");
    }

    #[test]
    fn a_timestamp_remembers_the_options_and_never_runs_ahead() {
        for clock in [0x40, 0x7f, 1_000_000, u32::MAX] {
            for (scale, sack) in [(None, false), (Some(0), true), (Some(14), false), (Some(7), true)] {
                let stamp = stamp(clock, scale, sack);
                assert!(stamp <= clock, "{clock:#x}");
                assert_eq!(unstamp(stamp), (scale, sack));
            }
        }
    }
}
