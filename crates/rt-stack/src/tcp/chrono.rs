//! How long sending was busy, and what held it up (RFC 4898's SndLimTime counters, as Linux keeps them in `tcp_chrono`): at
//! each moment a connection is idle, busy, stalled by the peer's window or starved by a send buffer that is too small.
//!
//! Not here: the congestion window, which Linux does not count either.

use rt_base::{Nanos, Time};

use super::connection::Connection;
use super::states::State;

/// What sending does. Of two that hold at the same time the later counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(super) enum Sending {
    /// Everything written is acknowledged.
    #[default]
    Idle,
    /// Something is not acknowledged or not sent.
    Busy,
    /// The peer's window is too small.
    PeerWindow,
    /// The send buffer is too small for the path.
    SendBuffer,
}

/// Time by what sending did; part of [`super::Info`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SendTimes {
    now: Sending,
    since: Time,
    /// Time spent until `since`, by `Sending` without `Idle`.
    spent: [Nanos; 3],
}

impl SendTimes {
    /// All time until `now` in which something was not acknowledged or waited to be sent (`tcpi_busy_time`).
    #[must_use]
    pub fn busy(&self, now: Time) -> Nanos {
        let kinds = [Sending::Busy, Sending::PeerWindow, Sending::SendBuffer];
        Nanos(kinds.map(|kind| self.of(kind, now).0).iter().sum())
    }

    /// Of this the time in which the peer's window was too small (`tcpi_rwnd_limited`).
    #[must_use]
    pub fn peer_window(&self, now: Time) -> Nanos {
        self.of(Sending::PeerWindow, now)
    }

    /// Of this the time in which the send buffer was too small (`tcpi_sndbuf_limited`).
    #[must_use]
    pub fn send_buffer(&self, now: Time) -> Nanos {
        self.of(Sending::SendBuffer, now)
    }

    fn of(&self, kind: Sending, now: Time) -> Nanos {
        let open = if self.now == kind { now.since(self.since).0 } else { 0 };
        let spent = (kind as usize).checked_sub(1).and_then(|i| self.spent.get(i));
        Nanos(spent.map_or(0, |s| s.0) + open)
    }

    fn set(&mut self, now: Time, what: Sending) {
        if let Some(spent) = (self.now as usize).checked_sub(1).and_then(|i| self.spent.get_mut(i)) {
            *spent += now.since(self.since);
        }
        (self.now, self.since) = (what, now);
    }
}

/// Kept beside the delivery rates, so that connections whose TCP_INFO nobody reads need no room for it.
impl Connection {
    fn sending(&mut self) -> Option<&mut SendTimes> {
        self.snd.flight.rates.as_mut().map(|rates| &mut rates.sending)
    }

    /// `what` begins to hold.
    pub(super) fn held_up(&mut self, now: Time, what: Sending) {
        if let Some(sending) = self.sending().filter(|sending| what > sending.now) {
            sending.set(now, what);
        }
    }

    /// `what` no longer holds.
    pub(super) fn no_longer(&mut self, now: Time, what: Sending) {
        if self.snd.flight.rates.is_none() {
            return;
        }
        let waits = self.snd.unsent() > 0 || (self.snd.fin_queued && !self.snd.fin_sent);
        let idle = !waits && self.snd.flight.is_empty();
        let Some(sending) = self.sending() else { return };
        let concerned = sending.now == what || (what == Sending::Busy && sending.now != Sending::Idle);
        if idle && concerned {
            sending.set(now, Sending::Idle);
        } else if !idle && sending.now == what {
            sending.set(now, Sending::Busy);
        }
    }

    /// The connection is over.
    pub(super) fn no_more_sending(&mut self, now: Time) {
        if let Some(sending) = self.sending() {
            sending.set(now, Sending::Idle);
        }
    }

    /// All that may leave now has left, and the window is not the limit: perhaps the send buffer is.
    pub(super) fn note_starving(&mut self, now: Time) {
        let open = matches!(self.state, State::Established(_) | State::CloseWait(_));
        if self.snd.wants_room && open && self.snd.unsent() == 0 {
            self.held_up(now, Sending::SendBuffer);
        }
    }
}
