//! Round-trip time and retransmission timeout (RFC 6298), in nanoseconds and whole numbers.
//!
//! Two simplifications against the RFC, shared with Linux: the smallest RTO is a floor under the variation (`4 * RTTVAR`),
//! not under the sum, so a path of 100 ms with a floor of 200 ms repeats after 300 ms; and the variation in the RTO is the
//! largest of a round trip, which falls only slowly, so that a few equal samples do not make it tiny.

use rt_base::Nanos;
use rt_wire::Seq;

use super::config::TcpConfig;

/// Measures.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RttEstimator {
    /// Eight times the smoothed time, 0 while unknown.
    srtt8: u64,
    /// Four times the mean deviation.
    mdev4: u64,
    /// The largest of it in this round trip, at least the smallest RTO.
    mdev_max: u64,
    /// What counts for the RTO (4 * RTTVAR).
    var4: u64,
    /// Smallest seen, 0 while unknown.
    min: u64,
    /// When this is acknowledged a round trip is over.
    round: Seq,
    /// How often the RTO has been doubled.
    backoff: u8,
    /// RFC 6298 5.7: the SYN was repeated and nothing was measured yet.
    syn_repeated: bool,
}

/// RFC 6298 5.7: RTO at the start of data transfer when the SYN's timer had expired.
const AFTER_REPEATED_SYN: Nanos = Nanos::from_secs(3);

impl RttEstimator {
    /// Takes a sample that is not ambiguous (Karn's rule is the caller's). `una` and `nxt` tell round trips apart. This
    /// alone ends the doubling of the timeout.
    pub(super) fn sample(&mut self, config: &TcpConfig, rtt: Nanos, una: Seq, nxt: Seq) {
        //= rfc6298#2
        //= rfc6298#3
        let r = rtt.0.max(1);
        let floor = config.rto_min.0;
        self.backoff = 0;
        if self.srtt8 == 0 {
            self.srtt8 = r * 8;
            self.mdev4 = r * 2;
            self.var4 = self.mdev4.max(floor);
            self.mdev_max = self.var4;
            self.round = nxt;
            return;
        }
        let srtt = self.srtt8 / 8;
        let shift = r.abs_diff(srtt);
        if r >= srtt {
            self.srtt8 += shift;
            self.mdev4 = self.mdev4 - self.mdev4 / 4 + shift;
        } else {
            self.srtt8 -= shift;
            // A falling round-trip time is no reason for a longer timeout: what would raise it counts an eighth.
            let change = shift as i64 - (self.mdev4 / 4) as i64;
            let change = if change > 0 { change / 8 } else { change };
            self.mdev4 = self.mdev4.saturating_add_signed(change);
        }
        if self.mdev4 > self.mdev_max {
            self.mdev_max = self.mdev4;
            self.var4 = self.var4.max(self.mdev_max);
        }
        if una.gt(self.round) {
            self.var4 -= self.var4.saturating_sub(self.mdev_max) / 4;
            self.round = nxt;
            self.mdev_max = floor;
        }
    }

    /// The smallest round-trip time there was (delayed ACKs and all).
    pub(super) fn note_min(&mut self, rtt: Nanos) {
        let r = rtt.0.max(1);
        self.min = if self.min == 0 { r } else { self.min.min(r) };
    }

    /// The timeout now, doubled as often as [`RttEstimator::back_off`] was called since the last sample.
    pub(super) fn rto(&self, config: &TcpConfig) -> Nanos {
        let base = if self.srtt8 == 0 {
            if self.syn_repeated { AFTER_REPEATED_SYN } else { config.rto_initial }
        } else {
            Nanos(self.srtt8 / 8 + self.var4.max(config.rto_min.0))
        };
        //= rfc6298#5.5
        Nanos(base.0.saturating_mul(1 << self.backoff.min(20)).min(config.rto_max.0))
    }

    /// How long the SYN or SYN-ACK waits that was repeated so often.
    pub(super) fn syn_timeout(&self, config: &TcpConfig, repeated: u8) -> Nanos {
        let doubled = repeated.saturating_sub(config.syn_habits.linear).min(20);
        let slop = if repeated > 0 { config.rto_slop.0 } else { 0 };
        Nanos((config.rto_initial.0.saturating_mul(1 << doubled) + slop).min(config.rto_max.0))
    }

    /// Doubles the timeout until something is measured.
    pub(super) fn back_off(&mut self) {
        self.backoff = self.backoff.saturating_add(1).min(20);
    }

    /// The peer's window is open again: what was doubled was the interval of the probes.
    pub(super) fn progress(&mut self) {
        self.backoff = 0;
    }

    /// How often the timeout is doubled.
    pub(super) fn backoff(&self) -> u8 {
        self.backoff
    }

    /// The handshake is over; `repeated` when the SYN had to be sent again.
    pub(super) fn handshake_done(&mut self, repeated: bool) {
        self.backoff = 0;
        self.syn_repeated = repeated;
    }

    /// Smoothed round-trip time, 0 while unknown.
    pub(super) fn srtt(&self) -> Nanos {
        Nanos(self.srtt8 / 8)
    }

    /// Mean deviation.
    pub(super) fn rttvar(&self) -> Nanos {
        Nanos(self.mdev4 / 4)
    }

    /// Smallest sample, 0 while unknown.
    pub(super) fn min(&self) -> Nanos {
        Nanos(self.min)
    }
}
