//! CUBIC: RFC 9438, in whole numbers (milliseconds and bytes), C = 0.4, beta = 0.7, fast convergence on.
//!
//! Not here: HyStart++ (RFC 9406), so slow start ends by loss.

use rt_base::Time;

use super::{Acked, Algorithm, MAX_CWND, Window};

/// The cubic function's memory.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cubic {
    /// Start of the current congestion avoidance epoch, if one runs.
    epoch: Option<Time>,
    /// W_max, bytes.
    w_max: u32,
    /// K, milliseconds.
    k_ms: u64,
    /// The plateau of this epoch: W_max, or the window at the epoch's start if that is larger, bytes.
    origin: u32,
    /// W_est of RFC 9438 4.3, in 1/256 byte.
    w_est: u64,
    /// cwnd at the last loss, bytes (cwnd_prior).
    prior: u32,
    /// Remainder of the growth, in units of 1/cwnd byte.
    credit: u64,
}

/// Beyond this the cubic function is far above any window; keeps `t^3 * 4096` within 64 bits.
const MAX_T_MS: u64 = 130_000;

impl Algorithm for Cubic {
    fn on_ack(&mut self, window: &mut Window, acked: Acked) {
        let left = window.slow_start(acked.bytes);
        if left > 0 {
            self.avoid_congestion(window, Acked { bytes: left, ..acked });
        }
    }

    fn on_loss(&mut self, window: &Window) -> u32 {
        self.epoch = None;
        self.prior = window.cwnd;
        //= rfc9438#4.7
        // Fast convergence: a flow that did not reach its former maximum makes room for new ones.
        self.w_max = if window.cwnd < self.w_max { scale(window.cwnd, 17, 20) } else { window.cwnd };
        //= rfc9438#4.6
        scale(window.cwnd, 7, 10).max(2 * window.mss)
    }

    fn on_idle(&mut self) {
        self.epoch = None;
    }
}

impl Cubic {
    fn avoid_congestion(&mut self, window: &mut Window, acked: Acked) {
        let epoch = match self.epoch {
            Some(epoch) => epoch,
            None => self.begin(window, acked.now),
        };
        let cwnd = u64::from(window.cwnd.max(1));
        let bytes = u64::from(acked.bytes);
        //= rfc9438#4.3
        // alpha is 3 * (1 - beta) / (1 + beta) = 9/17 until the window before the loss is reached again, then 1.
        let alpha = if self.w_est < u64::from(self.prior) << 8 { (9, 17) } else { (1, 1) };
        self.w_est += ((bytes * u64::from(window.mss)) << 8) * alpha.0 / (cwnd * alpha.1);
        let t = acked.now.since(epoch).as_millis();
        let w_est = (self.w_est >> 8).min(u64::from(MAX_CWND));
        if self.w_cubic(t, window.mss) < w_est {
            window.cwnd = window.cwnd.max(w_est as u32);
            return;
        }
        //= rfc9438#4.4
        let target = self.w_cubic(t + acked.srtt.as_millis(), window.mss).clamp(cwnd, cwnd + cwnd / 2);
        self.credit += (target - cwnd) * bytes;
        if self.credit >= cwnd {
            window.cwnd = (window.cwnd + (self.credit / cwnd) as u32).min(MAX_CWND);
            self.credit %= cwnd;
        }
    }

    fn begin(&mut self, window: &Window, now: Time) -> Time {
        self.epoch = Some(now);
        self.credit = 0;
        self.w_est = u64::from(window.cwnd) << 8;
        self.origin = self.w_max.max(window.cwnd);
        //= rfc9438#4.2
        // K = cbrt((W_max - cwnd_epoch) / C) seconds with C = 0.4 segments per cubic second.
        let missing = u64::from(self.origin - window.cwnd);
        self.k_ms = cube_root(missing * 2_500_000_000 / u64::from(window.mss.max(1)));
        now
    }

    /// W_cubic(t) in bytes, t in milliseconds since the epoch began.
    fn w_cubic(&self, t: u64, mss: u32) -> u64 {
        //= rfc9438#4.2
        let t = t.min(MAX_T_MS);
        let distance = t.abs_diff(self.k_ms).min(MAX_T_MS);
        // 0.4 * (d / 1000)^3 segments, in 1/1024 segment.
        let segments = distance * distance * distance / 10_000 * 4096 / 1_000_000;
        let bytes = segments * u64::from(mss) / 1024;
        let origin = u64::from(self.origin);
        if t < self.k_ms { origin.saturating_sub(bytes) } else { origin + bytes }
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
