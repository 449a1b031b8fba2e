//! How fast a sender may go: a small trait with its algorithms behind it.
//!
//! An algorithm only says how the window grows and to what it is cut. When a loss counts, what is in flight and how
//! recovery spends the window is `recovery`'s business and the same for all of them.
//!
//! All windows are bytes and all arithmetic is whole numbers, so every machine computes the same.

mod cubic;
mod reno;

pub use cubic::Cubic;
pub use reno::Reno;
use rt_base::{Nanos, Time};

use super::config::CongestionKind;

/// The variables of RFC 5681 section 2 that every algorithm works on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Window {
    /// Congestion window, bytes.
    pub cwnd: u32,
    /// Slow start threshold, bytes; `u32::MAX` until the first loss.
    pub ssthresh: u32,
    /// Sender's maximum segment size, bytes.
    pub mss: u32,
}

/// New data was acknowledged while the window was in full use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Acked {
    /// Now.
    pub now: Time,
    /// So many bytes.
    pub bytes: u32,
    /// Smoothed round-trip time, 0 while unknown.
    pub srtt: Nanos,
}

/// A congestion control algorithm.
pub trait Algorithm {
    /// Grows the window.
    fn on_ack(&mut self, window: &mut Window, acked: Acked);
    /// A loss: the slow start threshold that follows from it. The caller sets the window.
    fn on_loss(&mut self, window: &Window) -> u32;
    /// The connection was idle: what was measured about the path is stale.
    fn on_idle(&mut self);
}

/// The algorithm of a connection.
#[derive(Clone, Copy, Debug)]
pub enum Controller {
    /// RFC 5681.
    Reno(Reno),
    /// RFC 9438.
    Cubic(Cubic),
}

impl Controller {
    /// A new one.
    #[must_use]
    pub fn new(kind: CongestionKind) -> Controller {
        match kind {
            CongestionKind::Reno => Controller::Reno(Reno::default()),
            CongestionKind::Cubic => Controller::Cubic(Cubic::default()),
        }
    }
}

impl Algorithm for Controller {
    fn on_ack(&mut self, window: &mut Window, acked: Acked) {
        match self {
            Controller::Reno(a) => a.on_ack(window, acked),
            Controller::Cubic(a) => a.on_ack(window, acked),
        }
    }

    fn on_loss(&mut self, window: &Window) -> u32 {
        match self {
            Controller::Reno(a) => a.on_loss(window),
            Controller::Cubic(a) => a.on_loss(window),
        }
    }

    fn on_idle(&mut self) {
        match self {
            Controller::Reno(a) => a.on_idle(),
            Controller::Cubic(a) => a.on_idle(),
        }
    }
}

impl Window {
    /// Slow start (RFC 5681 3.1, counting bytes as RFC 3465): grows by what was acknowledged up to the threshold;
    /// returns the acknowledged bytes that are left for congestion avoidance.
    pub fn slow_start(&mut self, bytes: u32) -> u32 {
        //= rfc5681#3.1
        let room = self.ssthresh.saturating_sub(self.cwnd);
        let used = bytes.min(room);
        self.cwnd = self.cwnd.saturating_add(used).min(MAX_CWND);
        bytes - used
    }

    /// Grows by `mss * bytes / cwnd` (one segment per round trip), keeping the remainder in `credit`.
    pub fn additive(&mut self, credit: &mut u64, bytes: u32) {
        *credit += u64::from(bytes) * u64::from(self.mss);
        let cwnd = u64::from(self.cwnd.max(1));
        if *credit >= cwnd {
            self.cwnd = (self.cwnd + (*credit / cwnd) as u32).min(MAX_CWND);
            *credit %= cwnd;
        }
    }
}

/// A window beyond this has no use: receive windows end at 2^30 (RFC 7323 2.3).
pub(super) const MAX_CWND: u32 = 1 << 30;

#[cfg(test)]
mod tests;
