//! CUBIC: RFC 9438, in whole numbers (milliseconds and 1/1024 segments), C = 0.4, beta = 0.7, fast convergence on. Slow
//! start ends by HyStart (`hystart`) or by loss.
//!
//! One thing from Linux: before the first loss, when no W_max is known, the window grows by a twentieth per round trip at
//! least.

use rt_base::{Nanos, SlowStartEvidence, Time};

use super::hystart::Hystart;
use super::{Acked, Algorithm, MAX_CWND, RttSample, Window};
use crate::tcp::config::HystartKind;

/// The cubic function's memory.
#[derive(Clone, Copy, Debug)]
pub struct Cubic {
    /// Start of the current congestion avoidance epoch, if one runs.
    epoch: Option<Time>,
    /// W_max, segments; 0 before the first loss and after a timeout.
    w_max: u32,
    /// K, milliseconds.
    k_ms: u64,
    /// The plateau of this epoch: W_max, or the window at the epoch's start if that is larger, segments.
    origin: u32,
    /// W_est of RFC 9438 4.3, in 1/65536 segment.
    w_est: u64,
    /// cwnd at the last loss, segments (cwnd_prior).
    prior: u32,
    hystart: Hystart,
}

/// Beyond this the cubic function is far above any window; keeps `t^3 * 4096` within 64 bits.
const MAX_T_MS: u64 = 130_000;
/// So many units make a segment.
const UNIT: u64 = 1024;
/// Round-trip times right after a loss say nothing about an empty path.
const SETTLE: Nanos = Nanos::from_secs(1);

impl Algorithm for Cubic {
    fn on_ack(&mut self, window: &mut Window, acked: Acked) {
        let left = self.hystart.slow_start(window, acked.segments);
        if left > 0 {
            self.avoid_congestion(window, Acked { segments: left, ..acked });
        }
    }

    fn on_loss(&mut self, window: &Window) -> u32 {
        self.epoch = None;
        self.prior = window.cwnd;
        //= rfc9438#4.7
        // Fast convergence: a flow that did not reach its former maximum makes room for new ones.
        self.w_max = if window.cwnd < self.w_max { scale(window.cwnd, 17, 20) } else { window.cwnd };
        //= rfc9438#4.6
        scale(window.cwnd, 7, 10).max(2)
    }

    fn on_idle(&mut self, idle: Nanos) {
        //= rfc9438#5.8
        // The curve stands still while nothing is sent.
        self.epoch = self.epoch.map(|epoch| epoch + idle);
    }

    fn on_timeout(&mut self) {
        //= rfc9438#4.8
        self.epoch = None;
        self.w_max = 0;
        self.hystart.restart();
    }

    fn on_rtt(&mut self, window: &mut Window, sample: RttSample) -> Option<SlowStartEvidence> {
        if self.epoch.is_some_and(|epoch| sample.now.since(epoch) < SETTLE) {
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
        Cubic { epoch: None, w_max: 0, k_ms: 0, origin: 0, w_est: 0, prior: 0, hystart }
    }

    fn avoid_congestion(&mut self, window: &mut Window, acked: Acked) {
        let epoch = match self.epoch {
            Some(epoch) => epoch,
            None => self.begin(window, acked.now),
        };
        let cwnd = u64::from(window.cwnd.max(1));
        let segments = u64::from(acked.segments);
        //= rfc9438#4.3
        // alpha is 3 * (1 - beta) / (1 + beta) = 9/17 until the window before the loss is reached again, then 1.
        let alpha = if self.w_est < u64::from(self.prior) << 16 { (9, 17) } else { (1, 1) };
        self.w_est += (segments << 16) * alpha.0 / (cwnd * alpha.1);
        let t = acked.now.since(epoch).as_millis();
        let w_est = (self.w_est >> 16).min(u64::from(MAX_CWND));
        let friendly = (self.w_est * UNIT) >> 16;
        if self.w_cubic(t) < friendly {
            window.cwnd = window.cwnd.max(w_est as u32);
            return;
        }
        //= rfc9438#4.4
        let now = cwnd * UNIT;
        let mut target = self.w_cubic(t + acked.srtt.as_millis());
        if self.w_max == 0 {
            target = target.max(now + now / 20);
        }
        window.credit += (target.clamp(now, now + now / 2) - now) * segments;
        if window.credit >= now {
            window.cwnd = (window.cwnd + (window.credit / now) as u32).min(MAX_CWND);
            window.credit %= now;
        }
    }

    fn begin(&mut self, window: &mut Window, now: Time) -> Time {
        self.epoch = Some(now);
        window.credit = 0;
        self.w_est = u64::from(window.cwnd) << 16;
        self.origin = self.w_max.max(window.cwnd);
        //= rfc9438#4.2
        // K = cbrt((W_max - cwnd_epoch) / C) seconds with C = 0.4 segments per cubic second.
        let missing = u64::from(self.origin - window.cwnd);
        self.k_ms = cube_root(missing * 2_500_000_000);
        now
    }

    /// W_cubic(t) in 1/1024 segments, t in milliseconds since the epoch began.
    fn w_cubic(&self, t: u64) -> u64 {
        //= rfc9438#4.2
        let t = t.min(MAX_T_MS);
        let distance = t.abs_diff(self.k_ms).min(MAX_T_MS);
        // 0.4 * (d / 1000)^3 segments, in 1/1024 segment.
        let moved = distance * distance * distance / 10_000 * 4096 / 1_000_000;
        let origin = u64::from(self.origin) * UNIT;
        if t < self.k_ms { origin.saturating_sub(moved) } else { origin + moved }
    }
}

fn scale(n: u32, up: u64, down: u64) -> u32 {
    (u64::from(n) * up / down) as u32
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
