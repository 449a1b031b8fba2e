//! When an acknowledgement is due (RFC 5681 4.2, RFC 9293 3.8.6.3).
//!
//! Linux's habits: the first segments of a connection and all disorder are acknowledged at once ("quickack"); a connection
//! that answers what it receives ("pingpong") delays, so that the answer carries the ACK; how long is learnt from the
//! distance of segments ("ato"); and a reader that has emptied the buffer of pushed text lets the ACK go. The Berkeley
//! stacks delay every first segment and acknowledge every second.

use rt_base::{Nanos, Time};
use rt_wire::Seq;

use super::config::{Family, TcpConfig};

/// Whether an ACK is owed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Due {
    /// Nothing to acknowledge.
    #[default]
    Nothing,
    /// Within the delayed-ACK time.
    Delayed,
    /// Now.
    Now,
    /// Now, because the delayed-ACK timer fired.
    TimerFired,
}

/// The policy's memory.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct AckPolicy {
    pub(super) due: Due,
    /// So many more segments are acknowledged at once.
    quick: u8,
    /// The application answers what it receives.
    pingpong: bool,
    /// Short or pushed segments since the last ACK: none, one, more.
    pushed: u8,
    last_received: Time,
    /// RCV.NXT as acknowledged last (Last.ACK.sent of RFC 7323).
    pub(super) last_sent: Seq,
    /// The peer's segment size as seen, or guessed before the first data (`rcv_mss`).
    segment: u32,
    /// Size of the last segment that was shorter than that.
    shorter: u32,
    /// How long an ACK waits; zero before the first data.
    ato: Nanos,
}

/// Text that came in order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrived {
    pub(super) len: u32,
    pub(super) pushed: bool,
    /// RCV.NXT now.
    pub(super) nxt: Seq,
    /// RCV.WND.
    pub(super) window: u32,
    /// The retransmission timeout, for a peer that was silent for longer.
    pub(super) rto: Nanos,
    /// The MSS that we announced; to the Berkeley stacks the one that both agreed on.
    pub(super) mss: u32,
}

/// Before data says more, the peer's segments are taken to be no larger.
const GUESS: u32 = 536;
const LEAST: u32 = 88;

impl AckPolicy {
    /// The peer's segment size as seen.
    pub(super) fn segment(&self) -> u32 {
        self.segment
    }

    /// When data came last, or the connection opened.
    pub(super) fn last_received(&self) -> Time {
        self.last_received
    }

    /// How long an ACK waits; zero before the first data.
    pub(super) fn ato(&self) -> Nanos {
        self.ato
    }

    /// The connection is open; `rcv_nxt` is acknowledged by the handshake. `mss` and `window` bound the peer's segments.
    pub(super) fn open(&mut self, now: Time, rcv_nxt: Seq, mss: u32, window: u32) {
        self.last_sent = rcv_nxt;
        self.last_received = now;
        self.segment = mss.min(window / 2).clamp(LEAST, GUESS);
    }

    /// Text came in order.
    pub(super) fn on_data(&mut self, config: &TcpConfig, now: Time, arrived: Arrived) {
        let waits = self.due == Due::Delayed;
        if config.family == Family::Bsd {
            // The Berkeley stacks do not look at the size of the two; longer than the MSS are several in one
            // (DELAY_ACK of tcp_input.c).
            let two = waits || arrived.len > arrived.mss;
            self.last_received = now;
            self.segment = self.segment.max(arrived.len);
            self.ato = config.delayed_ack;
            self.set(two);
            return;
        }
        self.measure(&arrived);
        self.learn_distance(config, now, &arrived);
        //= rfc5681#4.2
        // Every second full segment at once.
        let second = arrived.nxt - self.last_sent > self.segment;
        self.set(second || (self.quick > 0 && !self.pingpong));
    }

    fn set(&mut self, now: bool) {
        if now {
            self.due = Due::Now;
        } else if self.due == Due::Nothing {
            self.due = Due::Delayed;
        }
    }

    /// The peer's segment size: the largest seen, or a smaller one seen twice in a row.
    fn measure(&mut self, arrived: &Arrived) {
        let last = core::mem::take(&mut self.shorter);
        if arrived.len >= self.segment {
            self.segment = arrived.len.min(arrived.mss.max(1));
            if arrived.pushed {
                self.pushed = self.pushed.max(1);
            }
            return;
        }
        if arrived.len >= GUESS || (arrived.len >= LEAST && !arrived.pushed) {
            self.shorter = arrived.len;
            if arrived.len == last {
                self.segment = arrived.len;
                return;
            }
        }
        self.pushed = (self.pushed + 1).min(2);
    }

    fn learn_distance(&mut self, config: &TcpConfig, now: Time, arrived: &Arrived) {
        let least = config.delayed_ack;
        let distance = now.since(self.last_received);
        self.last_received = now;
        if self.ato == Nanos::ZERO {
            self.grow_quick(config, arrived.window);
            self.ato = least;
        } else if distance.0 <= least.0 / 2 {
            self.ato = Nanos(self.ato.0 / 2 + least.0 / 2);
        } else if distance < self.ato {
            self.ato = Nanos(self.ato.0 / 2 + distance.0).min(arrived.rto);
        } else if distance > arrived.rto {
            // The sender begins anew: it needs ACKs.
            self.grow_quick(config, arrived.window);
        }
    }

    fn grow_quick(&mut self, config: &TcpConfig, window: u32) {
        let segments = (window / (2 * self.segment.max(1))).max(2);
        self.quick = self.quick.max(segments.min(config.quickack_segments.into()) as u8);
    }

    /// Disorder, a duplicate, a filled hole, a FIN: the peer must know at once.
    pub(super) fn at_once(&mut self) {
        self.due = Due::Now;
    }

    /// An ACK that text is expected to carry, at the end of a handshake.
    pub(super) fn soon(&mut self, config: &TcpConfig) {
        self.quickly(config.quickack_segments);
        self.ato = config.delayed_ack;
        self.set(false);
    }

    /// Disorder means that the sender needs every ACK it can get.
    pub(super) fn disorder(&mut self, config: &TcpConfig) {
        self.quickly(config.quickack_segments);
        self.ato = config.delayed_ack;
        self.due = Due::Now;
    }

    /// The next `n` segments are acknowledged at once.
    pub(super) fn quickly(&mut self, n: u8) {
        self.quick = self.quick.max(n);
        self.pingpong = false;
    }

    /// TCP_QUICKACK: off is what an application says that will answer; on lets an ACK go that waits.
    pub(super) fn set_quick(&mut self, on: bool) {
        self.pingpong = !on;
        if on && self.due == Due::Delayed {
            self.due = Due::Now;
        }
    }

    /// How long an ACK may wait that is delayed now.
    pub(super) fn delay(&self, config: &TcpConfig, srtt: Nanos) -> Nanos {
        let mut ato = self.ato.max(config.delayed_ack);
        if ato > config.delayed_ack && config.family == Family::Linux {
            let patient = self.pingpong || self.pushed > 0;
            let mut most = if patient { config.delayed_ack_max } else { SLOWEST };
            if srtt > Nanos::ZERO {
                most = most.min(srtt.max(config.delayed_ack));
            }
            ato = ato.min(most);
        }
        ato.min(config.delayed_ack_max)
    }

    /// The delayed-ACK timer fired: nobody answered in time, so this is no dialogue.
    pub(super) fn on_timer(&mut self, config: &TcpConfig, rto: Nanos) {
        if self.due != Due::Delayed {
            return;
        }
        self.due = Due::TimerFired;
        if self.pingpong {
            self.pingpong = false;
            self.ato = config.delayed_ack;
        } else {
            self.ato = Nanos(self.ato.0.saturating_mul(2)).min(rto);
        }
    }

    /// The application has read; `empty` when nothing is left to read.
    pub(super) fn on_read(&mut self, config: &TcpConfig, nxt: Seq, empty: bool) {
        if self.due != Due::Delayed || config.family != Family::Linux {
            return;
        }
        let pushed = self.pushed > 1 || (self.pushed > 0 && !self.pingpong);
        if nxt - self.last_sent > self.segment || (pushed && empty) {
            self.due = Due::Now;
        }
    }

    /// A segment with this ACK leaves; `data` when it carries some.
    pub(super) fn sent(&mut self, config: &TcpConfig, now: Time, ack: Seq, data: bool) {
        if self.due != Due::Nothing && self.quick > 0 {
            self.quick -= 1;
            if self.quick == 0 {
                self.ato = config.delayed_ack;
            }
        }
        if data && now.since(self.last_received) < self.ato {
            self.pingpong = true;
        }
        self.pushed = 0;
        self.due = Due::Nothing;
        self.last_sent = ack;
    }
}

/// Half a second: RFC 9293 3.8.6.3 lets no ACK wait longer.
const SLOWEST: Nanos = Nanos::from_millis(500);
