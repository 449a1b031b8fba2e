//! How fast the network delivers (draft-cheng-iccrg-delivery-rate-estimation): each segment remembers what had been
//! delivered when it left; what was delivered since, over the longer of the times of sending and of acknowledging, is a
//! sample. Kept only for congestion control that asks for it (BBR), and where somebody reads TCP_INFO
//! ([`super::TcpConfig::delivery_rates`]).

use std::collections::VecDeque;

use rt_base::{Nanos, Time};
use rt_wire::Seq;

use super::chrono::SendTimes;

/// What a segment remembers of the moment it left.
#[derive(Clone, Copy, Debug)]
struct Mark {
    /// Segments delivered by then (P.delivered).
    delivered: u32,
    /// When the last of them was (P.delivered_time).
    delivered_at: Time,
    /// When the segment was sent whose delivery that was (P.first_sent_time).
    first_sent: Time,
    app_limited: bool,
    /// Its delivery was counted.
    used: bool,
}

/// The connection's variables (C.*), and a mark for each segment in flight.
#[derive(Clone, Debug, Default)]
pub(super) struct Rates {
    marks: VecDeque<Mark>,
    delivered_at: Time,
    first_sent: Time,
    /// Until so many segments are delivered the application is the limit.
    app_limited_until: Option<u32>,
    found: Option<Found>,
    /// What TCP_INFO shows.
    shown: Option<RateSample>,
    /// How long sending was busy with what.
    pub(super) sending: SendTimes,
}

/// The best mark among those that the ACK at hand took out.
#[derive(Clone, Copy, Debug)]
struct Found {
    mark: Mark,
    sent_at: Time,
    end: Seq,
}

/// A sample of the delivery rate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RateSample {
    /// Segments delivered since the segment was sent that this measures.
    pub delivered: u32,
    /// In this time.
    pub interval: Nanos,
    /// Segments that had been delivered when it was sent.
    pub prior_delivered: u32,
    /// The application, not the network, was the limit.
    pub app_limited: bool,
}

impl RateSample {
    /// Bytes per second, with segments of `mss` bytes.
    pub(super) fn bytes_per_second(&self, mss: u32) -> u64 {
        let bytes = u128::from(self.delivered) * u128::from(mss) * 1_000_000_000;
        u64::try_from(bytes / u128::from(self.interval.0.max(1))).unwrap_or(u64::MAX)
    }
}

impl Rates {
    /// Segments are already in flight that were not watched.
    pub(super) fn begin(&mut self, in_flight: usize, now: Time) {
        (self.delivered_at, self.first_sent) = (now, now);
        self.marks = VecDeque::with_capacity(in_flight);
        for _ in 0..in_flight {
            self.marks.push_back(Mark { used: true, ..self.mark(0) });
        }
    }

    fn mark(&self, delivered: u32) -> Mark {
        Mark {
            delivered,
            delivered_at: self.delivered_at,
            first_sent: self.first_sent,
            app_limited: self.app_limited_until.is_some(),
            used: false,
        }
    }

    /// A new segment leaves, when `delivered` are delivered.
    pub(super) fn sent(&mut self, now: Time, delivered: u32) {
        if self.marks.is_empty() {
            (self.delivered_at, self.first_sent) = (now, now);
        }
        self.marks.push_back(self.mark(delivered));
    }

    /// The segment at `index` leaves again.
    pub(super) fn sent_again(&mut self, index: usize, delivered: u32) {
        let mark = self.mark(delivered);
        if let Some(m) = self.marks.get_mut(index) {
            *m = mark;
        }
    }

    /// The segment at `index` became two.
    pub(super) fn split(&mut self, index: usize) {
        if let Some(m) = self.marks.get(index).copied() {
            self.marks.insert(index + 1, m);
        }
    }

    /// The segment at `index`, which ends at `end`, was reported to have arrived.
    pub(super) fn arrived(&mut self, index: usize, sent_at: Time, end: Seq) {
        let Some(mark) = self.marks.get_mut(index).filter(|m| !m.used) else {
            return;
        };
        mark.used = true;
        let later = |f: &Found| sent_at > f.sent_at || (sent_at == f.sent_at && end.gt(f.end));
        if self.found.as_ref().is_none_or(later) {
            self.found = Some(Found { mark: *mark, sent_at, end });
            self.first_sent = sent_at;
        }
    }

    /// Nothing is in flight any more, nor ever will be.
    pub(super) fn forget(&mut self) {
        self.marks = VecDeque::new();
        self.found = None;
    }

    /// The first segment left the flight.
    pub(super) fn pop(&mut self) {
        self.marks.pop_front();
    }

    /// The application has given too little to fill the window: samples until what is in flight is delivered say nothing
    /// about the network's limit.
    pub(super) fn limited_by_application(&mut self, delivered: u32, in_flight: u32) {
        self.app_limited_until = Some(delivered.wrapping_add(in_flight));
    }

    /// Keeps what TCP_INFO shows, by Linux's rule: the last sample that the application did not limit, or the highest that it
    /// did.
    pub(super) fn keep(&mut self, sample: RateSample) {
        let product = |a: u32, b: Nanos| u128::from(a) * u128::from(b.0);
        let counts = !sample.app_limited
            || self.shown.is_none_or(|shown| {
                product(sample.delivered, shown.interval) >= product(shown.delivered, sample.interval)
            });
        if counts {
            self.shown = Some(sample);
        }
    }

    /// The sample that TCP_INFO shows.
    pub(super) fn shown(&self) -> Option<RateSample> {
        self.shown
    }

    /// The sample of the ACK at hand, after which `delivered` segments are delivered.
    pub(super) fn sample(&mut self, now: Time, delivered: u32, min_rtt: Nanos) -> Option<RateSample> {
        if self.app_limited_until.is_some_and(|until| Seq(delivered).gt(Seq(until))) {
            self.app_limited_until = None;
        }
        let found = self.found.take()?;
        self.delivered_at = now;
        let sending = found.sent_at.since(found.mark.first_sent);
        let acking = now.since(found.mark.delivered_at);
        let interval = sending.max(acking);
        // Shorter than any round trip: an artefact of compressed ACKs.
        (interval >= min_rtt && interval > Nanos::ZERO).then(|| RateSample {
            delivered: delivered.wrapping_sub(found.mark.delivered),
            interval,
            prior_delivered: found.mark.delivered,
            app_limited: found.mark.app_limited,
        })
    }
}
