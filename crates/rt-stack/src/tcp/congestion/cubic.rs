//! CUBIC: RFC 9438, in whole numbers (milliseconds and 1/1024 segments), C = 0.4, beta = 0.7, fast convergence on. Slow
//! start ends by HyStart (`hystart`) or by loss.
//!
//! The RFC's windows are real numbers. So are ours: the whole part is what may be sent, the fraction is saved up in
//! [`Window::credit`], and the curve, the cut and what is remembered of a loss count both. (Linux has whole windows only.)
//!
//! One thing from Linux: while no W_max is known (before the first loss, after a timeout), the window grows by a twentieth
//! per round trip at least.

use rt_base::{Nanos, TcpDecision, Time};

use super::hystart::Hystart;
use super::{Acked, Algorithm, MAX_CWND, RttSample, Window};
use crate::tcp::config::HystartKind;

/// The cubic function's memory.
#[derive(Clone, Copy, Debug)]
pub struct Cubic {
    /// Start of the current congestion avoidance epoch; [`NO_EPOCH`] (not an Option: connections are to be small) when none
    /// runs.
    epoch: Time,
    /// W_max, units; 0 before the first loss and after a timeout.
    w_max: u64,
    /// K, milliseconds.
    k_ms: u64,
    /// The plateau of this epoch: W_max, or the window at the epoch's start if that is larger, units.
    origin: u64,
    /// W_est of RFC 9438 4.3, in segments shifted by [`FINE`].
    w_est: u64,
    /// cwnd at the last loss, units (cwnd_prior).
    prior: u64,
    hystart: Hystart,
}

const NO_EPOCH: Time = Time::MAX;
/// Beyond this the cubic function is far above any window; keeps `t^3 * 4096` within 64 bits.
const MAX_T_MS: u64 = 130_000;
/// So many units make a segment.
pub(super) const UNIT: u64 = 1024;
/// Bits of W_est's fraction. An ACK adds half a segment over the window: with fewer bits that is nothing when windows are
/// large.
const FINE: u32 = 32;
/// Round-trip times right after a loss say nothing about an empty path.
const SETTLE: Nanos = Nanos::from_secs(1);

impl Algorithm for Cubic {
    fn on_ack(&mut self, window: &mut Window, acked: Acked) {
        let left = self.hystart.slow_start(window, acked.segments);
        if left > 0 {
            self.avoid_congestion(window, Acked { segments: left, ..acked });
        }
    }

    fn on_loss(&mut self, window: &mut Window) -> u32 {
        let cwnd = units(window);
        self.epoch = NO_EPOCH;
        self.prior = cwnd;
        //= rfc9438#4.7
        // Fast convergence: a flow that did not reach its former maximum makes room for new ones.
        self.w_max = if cwnd < self.w_max { cwnd * 17 / 20 } else { cwnd };
        //= rfc9438#4.6
        let cut = (cwnd * 7 / 10).max(2 * UNIT);
        window.credit = cut % UNIT * (cut / UNIT);
        (cut / UNIT) as u32
    }

    fn on_idle(&mut self, idle: Nanos) {
        //= rfc9438#5.8
        // The curve stands still while nothing is sent.
        if self.epoch != NO_EPOCH {
            self.epoch += idle;
        }
    }

    fn on_timeout(&mut self) {
        //= rfc9438#4.8
        self.epoch = NO_EPOCH;
        self.w_max = 0;
        self.hystart.restart();
    }

    fn on_rtt(&mut self, window: &mut Window, sample: RttSample) -> Option<TcpDecision> {
        if self.epoch != NO_EPOCH && sample.now.since(self.epoch) < SETTLE {
            return None;
        }
        self.hystart.on_rtt(window, sample)
    }
}

impl Cubic {
    /// A new one.
    #[must_use]
    pub fn new(hystart: HystartKind) -> Cubic {
        let hystart = Hystart::new(hystart);
        Cubic { epoch: NO_EPOCH, w_max: 0, k_ms: 0, origin: 0, w_est: 0, prior: 0, hystart }
    }

    fn avoid_congestion(&mut self, window: &mut Window, acked: Acked) {
        if self.epoch == NO_EPOCH {
            self.begin(window, acked.now);
        }
        let cwnd = u64::from(window.cwnd.max(1));
        let segments = u64::from(acked.segments);
        //= rfc9438#4.3
        // alpha is 3 * (1 - beta) / (1 + beta) = 9/17 until the window before the loss is reached again, then 1.
        let alpha = if self.w_est < self.prior << (FINE - UNIT.ilog2()) { (9, 17) } else { (1, 1) };
        self.w_est += (segments << FINE) * alpha.0 / (cwnd * alpha.1);
        let w_est = (self.w_est >> (FINE - UNIT.ilog2())).min(u64::from(MAX_CWND) * UNIT);
        let now = units(window);
        let t = acked.now.since(self.epoch).as_millis();
        if self.w_cubic(t) < w_est {
            if w_est > now {
                window.cwnd = (w_est / UNIT) as u32;
                window.credit = w_est % UNIT * u64::from(window.cwnd);
            }
            return;
        }
        //= rfc9438#4.4
        // cwnd grows by (target - cwnd) / cwnd for every segment.
        let mut target = self.w_cubic(t + acked.srtt.as_millis());
        if self.w_max == 0 {
            target = target.max(now + now / 20);
        }
        window.credit += (target.clamp(now, now + now / 2) - now) * segments;
        let whole = cwnd * UNIT;
        if window.credit >= whole {
            window.cwnd = (window.cwnd + (window.credit / whole) as u32).min(MAX_CWND);
            window.credit %= whole;
        }
    }

    fn begin(&mut self, window: &Window, now: Time) {
        self.epoch = now;
        let cwnd = units(window);
        self.w_est = cwnd << (FINE - UNIT.ilog2());
        self.origin = self.w_max.max(cwnd);
        //= rfc9438#4.2
        // K = cbrt((W_max - cwnd_epoch) / C) seconds with C = 0.4 segments per cubic second: for units and milliseconds
        // the quotient is that of 10^9 and 1024 * 0.4.
        self.k_ms = cube_root((self.origin - cwnd) * 9_765_625 / 4);
    }

    /// W_cubic(t) in 1/1024 segments, t in milliseconds since the epoch began.
    fn w_cubic(&self, t: u64) -> u64 {
        //= rfc9438#4.2
        let t = t.min(MAX_T_MS);
        let distance = t.abs_diff(self.k_ms).min(MAX_T_MS);
        // 0.4 * (d / 1000)^3 segments, in 1/1024 segment.
        let moved = distance * distance * distance / 10_000 * 4096 / 1_000_000;
        if t < self.k_ms { self.origin.saturating_sub(moved) } else { self.origin + moved }
    }
}

/// The congestion window with its fraction. What slow start leaves as credit is less than a segment's share: no fraction.
pub(super) fn units(window: &Window) -> u64 {
    let fraction = window.credit / u64::from(window.cwnd.max(1));
    u64::from(window.cwnd) * UNIT + fraction.min(UNIT - 1)
}

/// The whole part of the cube root, digit by digit in binary.
pub(super) fn cube_root(mut x: u64) -> u64 {
    let mut root = 0u64;
    for shift in (0..64).step_by(3).rev() {
        root *= 2;
        let step = 3 * root * (root + 1) + 1;
        if x >> shift >= step {
            x -= step << shift;
            root += 1;
        }
    }
    root
}
