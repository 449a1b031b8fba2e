//! Bursts and the time between them. What may leave goes in bursts of about a millisecond of the connection's rate, at
//! least two segments, as Linux cuts it for its interfaces; a burst ends with PSH, so that the receiver's machine passes it
//! on at once. With pacing on, bursts are spread over the round trip by a timer.
//!
//! The rate is twice the window per round trip in slow start and 1.2 times otherwise, unless the congestion control says
//! it (BBR). SO_MAX_PACING_RATE bounds it whoever says it.

use rt_base::{Nanos, Time, TimerKind};

use super::congestion::Algorithm;
use super::connection::Connection;
use super::segment::Cx;
use super::timers::Slot;

/// The burst that is leaving.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Burst {
    /// Segments of it still to come.
    left: u32,
    /// The next burst may leave then.
    next: Time,
}

impl Burst {
    pub(super) fn is_over(&self) -> bool {
        self.left == 0
    }
}

/// IPv4, TCP with timestamps, Ethernet: what a segment takes besides its payload.
const OVERHEAD: u64 = 66;
/// The first segments are not paced (Linux).
const FREE: u32 = 10;
/// A burst is at most what an interface takes at once.
const LARGEST: u64 = 65_536;
/// Burst growth on short paths: halves with each 512 us of the smallest round-trip time.
const SHORT_PATH_US: u64 = 512;

impl Connection {
    /// Bytes per second that the window and the application allow; `u64::MAX` while neither says anything.
    pub(super) fn pacing_rate(&self) -> u64 {
        self.window_rate().min(self.config.max_pacing_rate.unwrap_or(u64::MAX))
    }

    /// Bytes per second that the window allows; `u64::MAX` while no round-trip time is known.
    fn window_rate(&self) -> u64 {
        let r = &self.recovery;
        if let Some(rate) = r.controller.rate() {
            return rate;
        }
        let srtt = self.rtt.srtt().0;
        if srtt == 0 {
            return u64::MAX;
        }
        let (early, late) = self.config.pacing_percent;
        let percent = u64::from(if r.window.cwnd < r.window.ssthresh / 2 { early } else { late });
        let bytes = u64::from(self.snd.mss) * u64::from(r.window.cwnd.max(self.snd.flight.segments()));
        // Windows are below 2^40 bytes, so this cannot overflow 128 bits; the usual ones fit in 64, where dividing is quick.
        if let Some(product) = bytes.checked_mul(10_000_000 * percent) {
            return product / srtt;
        }
        let rate = u128::from(bytes) * 10_000_000 * u128::from(percent) / u128::from(srtt);
        u64::try_from(rate).unwrap_or(u64::MAX)
    }

    /// Segments in a burst.
    pub(super) fn burst_segments(&self) -> u32 {
        let mut bytes = self.pacing_rate() >> 10;
        let shift = self.rtt.min().0 / 1000 / SHORT_PATH_US;
        if shift < 32 {
            bytes = bytes.saturating_add(LARGEST >> shift);
        }
        let mss = u64::from(self.snd.mss.max(1));
        ((bytes.min(LARGEST - 1) / mss) as u32).max(self.config.min_burst).max(1)
    }

    fn paced(&self) -> bool {
        self.config.pacing || self.recovery.controller.rate().is_some()
    }

    /// Whether a burst may begin now; arms the timer when not.
    pub(super) fn may_burst(&mut self, cx: Cx) -> bool {
        if !self.paced() || self.burst.left > 0 || self.burst.next <= cx.now {
            return true;
        }
        if !self.timers.armed(Slot::Pacing) {
            self.timers.arm(cx, Slot::Pacing, TimerKind::Pacing, self.burst.next);
        }
        false
    }

    /// A segment of `len` bytes leaves; `more` segments could follow now. Whether it ends a burst of several.
    pub(super) fn ends_burst(&mut self, cx: Cx, len: u32, more: impl Fn(&Connection) -> u32) -> bool {
        let first = self.burst.left == 0;
        if first {
            let ready = 1 + more(self);
            // The rate is only worth computing when it decides.
            let decides = ready > self.config.min_burst.max(1);
            self.burst.left = if decides { self.burst_segments().min(ready) } else { ready };
        }
        self.burst.left -= 1;
        self.space(cx, len);
        self.burst.left == 0 && !first && self.config.push_bursts
    }

    /// What was begun does not go on: the window closed, or something else goes first.
    pub(super) fn stop_burst(&mut self) {
        self.burst.left = 0;
    }

    /// Moves the time of the next burst on by what `len` bytes take.
    fn space(&mut self, cx: Cx, len: u32) {
        if !self.paced() {
            return;
        }
        let rate = self.pacing_rate();
        if rate == 0 || rate == u64::MAX || self.totals.data_segs_out < FREE {
            return;
        }
        let time = (u64::from(len) + OVERHEAD) * 1_000_000_000 / rate;
        // Idle time counts for half of what it would have allowed.
        let credit = if self.burst.next == Time::ZERO { 0 } else { cx.now.since(self.burst.next).0 };
        let time = time - (time / 2).min(credit);
        // A path that once looked dead is not believed for longer than a timeout.
        let next = self.burst.next.max(cx.now) + Nanos(time);
        self.burst.next = next.min(cx.now + self.config.rto_max);
    }
}
