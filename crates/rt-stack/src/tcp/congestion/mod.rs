//! How fast a sender may go: a small trait with its algorithms behind it.
//!
//! An algorithm only says how the window grows and to what it is cut. When a loss counts, what is in flight and how
//! recovery spends the window is `recovery`'s and `cwnd`'s business and the same for all of them.
//!
//! All windows are segments and all arithmetic is whole numbers, so every machine computes the same.

mod bbr;
mod cubic;
mod hystart;
mod reno;

pub use bbr::Bbr;
pub use cubic::Cubic;
pub use hystart::Hystart;
pub use reno::Reno;
use rt_base::{Nanos, TcpDecision, Time};
use rt_wire::Seq;

use super::config::{CongestionKind, HystartKind};
use super::rate::RateSample;
use super::recovery::CongestionState;

/// The variables of RFC 5681 section 2 that every algorithm works on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Window {
    /// Congestion window, segments.
    pub cwnd: u32,
    /// Slow start threshold, segments; `u32::MAX` until the first loss.
    pub ssthresh: u32,
    /// Sender's maximum segment size, bytes.
    pub mss: u32,
    /// What growth is saved up, in the algorithm's unit.
    pub credit: u64,
}

/// New data was acknowledged while the window was in full use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Acked {
    /// Now.
    pub now: Time,
    /// So many segments.
    pub segments: u32,
    /// Smoothed round-trip time, 0 while unknown.
    pub srtt: Nanos,
}

/// A round-trip time was measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RttSample {
    /// Now.
    pub now: Time,
    /// How long the latest segment took that was acknowledged.
    pub rtt: Nanos,
    /// SND.UNA after the ACK.
    pub una: Seq,
    /// SND.NXT.
    pub nxt: Seq,
}

/// What an ACK said, for algorithms that model the path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Delivery {
    /// Now.
    pub now: Time,
    /// The delivery rate, if this ACK measures it.
    pub sample: Option<RateSample>,
    /// How long the latest segment took that was delivered.
    pub rtt: Option<Nanos>,
    /// Smoothed round-trip time, 0 while unknown.
    pub srtt: Nanos,
    /// Segments that this ACK delivered.
    pub delivered: u32,
    /// Since the connection began.
    pub delivered_total: u32,
    /// Losses that it showed.
    pub losses: u32,
    /// Segments in flight before it.
    pub prior_in_flight: u32,
    /// And after it.
    pub in_flight: u32,
    /// Payload of a full segment, bytes.
    pub mss: u32,
    /// Segments in a burst.
    pub burst: u32,
    /// The initial window, segments.
    pub initial_cwnd: u32,
    /// Where recovery stands.
    pub state: CongestionState,
}

/// A congestion control algorithm.
pub trait Algorithm {
    /// Grows the window.
    fn on_ack(&mut self, window: &mut Window, acked: Acked);
    /// A loss: the slow start threshold that follows from it. The caller sets the window to it in the end; what of the
    /// credit outlives the cut is left in it.
    fn on_loss(&mut self, window: &mut Window) -> u32;
    /// The connection was idle for so long and begins to send again.
    fn on_idle(&mut self, idle: Nanos);
    /// A retransmission timeout: what was learnt about the path is void.
    fn on_timeout(&mut self) {}
    /// A round-trip time was measured. May end slow start, by setting the threshold, or slow it down,
    /// and says why then.
    fn on_rtt(&mut self, _window: &mut Window, _sample: RttSample) -> Option<TcpDecision> {
        None
    }
    /// An ACK came, for algorithms that own the window.
    fn on_delivery(&mut self, _window: &mut Window, _delivery: &Delivery) {}
    /// The loss was none: the window to go back to, when it was `before` the cut.
    fn undone(&mut self, window: &Window, before: u32) -> u32 {
        window.cwnd.max(before)
    }
    /// Bytes per second, when the algorithm wants segments spread.
    fn rate(&self) -> Option<u64> {
        None
    }
    /// Whether the algorithm sets the window itself, in recovery too.
    fn owns_window(&self) -> bool {
        false
    }
}

/// The algorithm of a connection.
#[derive(Clone, Debug)]
pub enum Controller {
    /// RFC 5681.
    Reno(Reno),
    /// RFC 9438.
    Cubic(Cubic),
    /// Version 1.
    Bbr(Box<Bbr>),
}

impl Controller {
    /// A new one; `seed` is any number that differs between connections.
    #[must_use]
    pub fn new(kind: CongestionKind, hystart: HystartKind, seed: u32) -> Controller {
        match kind {
            CongestionKind::Reno => Controller::Reno(Reno),
            CongestionKind::Bbr => Controller::Bbr(Box::new(Bbr::new(seed))),
            CongestionKind::Cubic => Controller::Cubic(Cubic::new(hystart)),
        }
    }
}

macro_rules! each {
    ($self:ident, $algorithm:ident => $call:expr) => {
        match $self {
            Controller::Reno($algorithm) => $call,
            Controller::Cubic($algorithm) => $call,
            Controller::Bbr($algorithm) => $call,
        }
    };
}

impl Algorithm for Controller {
    fn on_ack(&mut self, window: &mut Window, acked: Acked) {
        each!(self, a => a.on_ack(window, acked));
    }

    fn on_loss(&mut self, window: &mut Window) -> u32 {
        each!(self, a => a.on_loss(window))
    }

    fn on_idle(&mut self, idle: Nanos) {
        each!(self, a => a.on_idle(idle));
    }

    fn on_timeout(&mut self) {
        each!(self, a => a.on_timeout());
    }

    fn on_rtt(&mut self, window: &mut Window, sample: RttSample) -> Option<TcpDecision> {
        each!(self, a => a.on_rtt(window, sample))
    }

    fn on_delivery(&mut self, window: &mut Window, delivery: &Delivery) {
        each!(self, a => a.on_delivery(window, delivery));
    }

    fn undone(&mut self, window: &Window, before: u32) -> u32 {
        each!(self, a => a.undone(window, before))
    }

    fn rate(&self) -> Option<u64> {
        each!(self, a => a.rate())
    }

    fn owns_window(&self) -> bool {
        each!(self, a => a.owns_window())
    }
}

impl Window {
    /// Slow start (RFC 5681 3.1, counting what was acknowledged as RFC 3465): grows by that up to the threshold; returns
    /// the acknowledged segments that are left for congestion avoidance.
    pub fn slow_start(&mut self, segments: u32) -> u32 {
        //= rfc5681#3.1
        let room = self.ssthresh.saturating_sub(self.cwnd);
        let used = segments.min(room);
        self.cwnd = self.cwnd.saturating_add(used).min(MAX_CWND);
        segments - used
    }

    /// Grows by one segment for every `per` acknowledged ones.
    pub fn additive(&mut self, per: u64, segments: u32) {
        let per = per.max(1);
        // What was saved up when growth was slower is spent gently.
        if self.credit >= per {
            self.credit = 0;
            self.cwnd = (self.cwnd + 1).min(MAX_CWND);
        }
        self.credit += u64::from(segments);
        if self.credit >= per {
            let more = (self.credit / per).min(u64::from(MAX_CWND)) as u32;
            self.cwnd = self.cwnd.saturating_add(more).min(MAX_CWND);
            self.credit %= per;
        }
    }

    /// Window and threshold in bytes; `u32::MAX` for a threshold not set.
    #[must_use]
    pub fn bytes(&self) -> (u32, u32) {
        let ssthresh =
            if self.ssthresh == u32::MAX { u32::MAX } else { self.ssthresh.saturating_mul(self.mss) };
        (self.cwnd.saturating_mul(self.mss), ssthresh)
    }
}

/// A window beyond this has no use: receive windows end at 2^30 (RFC 7323 2.3).
pub(super) const MAX_CWND: u32 = 1 << 24;

#[cfg(test)]
mod tests;
