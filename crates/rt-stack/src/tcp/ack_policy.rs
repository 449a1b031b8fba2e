//! When an acknowledgement is due (RFC 5681 4.2, RFC 9293 3.8.6.3), with Linux's habits: the first segments of a
//! connection and all disorder are acknowledged at once ("quickack"); a connection that answers what it receives
//! ("pingpong") delays, so that the answer carries the ACK.

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
    last_received: Time,
    /// RCV.NXT as acknowledged last (Last.ACK.sent of RFC 7323).
    pub(super) last_sent: Seq,
    /// The peer's segment size as seen.
    segment: u32,
}

impl AckPolicy {
    /// The peer's segment size as seen, 0 before the first data.
    pub(super) fn segment(&self) -> u32 {
        self.segment
    }

    /// The connection is open; `rcv_nxt` is acknowledged by the handshake.
    pub(super) fn open(&mut self, rcv_nxt: Seq) {
        self.last_sent = rcv_nxt;
    }

    /// `len` bytes came in order and RCV.NXT is `nxt` now.
    pub(super) fn on_data(&mut self, config: &TcpConfig, now: Time, len: u32, nxt: Seq) {
        let quiet = now.since(self.last_received);
        self.last_received = now;
        if self.segment == 0 || quiet > QUIET {
            self.quick = config.quickack_segments;
        }
        self.segment = self.segment.max(len);
        //= rfc5681#4.2
        // Every second full segment at once.
        let second = nxt - self.last_sent > self.segment;
        // The Berkeley stacks do not look at the size of the two.
        let waits = config.family == Family::Bsd && self.due == Due::Delayed;
        if second || waits || (self.quick > 0 && !self.pingpong) {
            self.due = Due::Now;
        } else if self.due == Due::Nothing {
            self.due = Due::Delayed;
        }
    }

    /// Disorder, a duplicate, a filled hole, a FIN: the peer must know at once.
    pub(super) fn at_once(&mut self) {
        self.due = Due::Now;
    }

    /// An ACK that text is expected to carry.
    pub(super) fn soon(&mut self) {
        if self.due == Due::Nothing {
            self.due = Due::Delayed;
        }
    }

    /// Disorder means that the sender needs every ACK it can get.
    pub(super) fn disorder(&mut self, config: &TcpConfig) {
        self.quick = config.quickack_segments;
        self.pingpong = false;
        self.due = Due::Now;
    }

    /// The next `n` segments are acknowledged at once.
    pub(super) fn quickly(&mut self, n: u8) {
        self.quick = self.quick.max(n);
        self.pingpong = false;
    }

    /// The delayed-ACK timer fired: nobody answered in time, so this is no dialogue.
    pub(super) fn on_timer(&mut self) {
        if self.due == Due::Delayed {
            self.due = Due::TimerFired;
            self.pingpong = false;
        }
    }

    /// A segment with this ACK leaves; `data` when it carries some.
    pub(super) fn sent(&mut self, config: &TcpConfig, now: Time, ack: Seq, data: bool) {
        if self.due != Due::Nothing {
            self.quick = self.quick.saturating_sub(1);
        }
        if data && now.since(self.last_received) < config.delayed_ack && self.segment > 0 {
            self.pingpong = true;
        }
        self.due = Due::Nothing;
        self.last_sent = ack;
    }
}

/// After this much silence the first segments are acknowledged at once again.
const QUIET: Nanos = Nanos::from_secs(1);
