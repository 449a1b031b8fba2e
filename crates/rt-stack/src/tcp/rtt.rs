//! Round-trip time and retransmission timeout (RFC 6298), in nanoseconds and whole numbers.
//!
//! Simplification against the RFC, shared with Linux: the smallest RTO is a floor under the variation (`4 * RTTVAR`),
//! not under the sum, so a path of 100 ms with a floor of 200 ms repeats after 300 ms.

use rt_base::Nanos;

use super::config::TcpConfig;

/// Measures.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RttEstimator {
    /// Smoothed, 0 while unknown.
    srtt: u64,
    rttvar: u64,
    /// Smallest seen, 0 while unknown.
    min: u64,
    /// How often the RTO has been doubled.
    backoff: u8,
    /// RFC 6298 5.7: the SYN was repeated and nothing was measured yet.
    syn_repeated: bool,
}

/// RFC 6298 5.7: RTO at the start of data transfer when the SYN's timer had expired.
const AFTER_REPEATED_SYN: Nanos = Nanos::from_secs(3);

impl RttEstimator {
    /// Takes a sample that is not ambiguous (Karn's rule is the caller's).
    pub(super) fn sample(&mut self, rtt: Nanos) {
        let r = rtt.0.max(1);
        self.min = if self.min == 0 { r } else { self.min.min(r) };
        //= rfc6298#2
        if self.srtt == 0 {
            self.srtt = r;
            self.rttvar = r / 2;
        } else {
            self.rttvar = self.rttvar - self.rttvar / 4 + self.srtt.abs_diff(r) / 4;
            self.srtt = self.srtt - self.srtt / 8 + r / 8;
        }
    }

    /// The timeout now, doubled as often as [`RttEstimator::back_off`] was called since the last progress.
    pub(super) fn rto(&self, config: &TcpConfig) -> Nanos {
        let base = if self.srtt == 0 {
            if self.syn_repeated { AFTER_REPEATED_SYN } else { config.rto_initial }
        } else {
            Nanos(self.srtt) + Nanos((4 * self.rttvar).max(config.rto_min.0))
        };
        //= rfc6298#5.5
        Nanos(base.0.saturating_mul(1 << self.backoff.min(20)).min(config.rto_max.0))
    }

    /// How long the SYN or SYN-ACK waits that was repeated so often.
    pub(super) fn syn_timeout(&self, config: &TcpConfig, repeated: u8) -> Nanos {
        let doubled = repeated.saturating_sub(config.syn_linear).min(20);
        let slop = if repeated > 0 { config.rto_slop.0 } else { 0 };
        Nanos((config.rto_initial.0.saturating_mul(1 << doubled) + slop).min(config.rto_max.0))
    }

    /// Doubles the timeout until new data is acknowledged.
    pub(super) fn back_off(&mut self) {
        self.backoff = self.backoff.saturating_add(1).min(20);
    }

    /// New data was acknowledged.
    pub(super) fn progress(&mut self) {
        self.backoff = 0;
    }

    /// The handshake is over; `repeated` when the SYN had to be sent again.
    pub(super) fn handshake_done(&mut self, repeated: bool) {
        self.backoff = 0;
        self.syn_repeated = repeated;
    }

    /// Smoothed round-trip time, 0 while unknown.
    pub(super) fn srtt(&self) -> Nanos {
        Nanos(self.srtt)
    }

    /// Mean deviation.
    pub(super) fn rttvar(&self) -> Nanos {
        Nanos(self.rttvar)
    }

    /// Smallest sample, 0 while unknown.
    pub(super) fn min(&self) -> Nanos {
        Nanos(self.min)
    }
}
