//! What a timer does when it is due.

use rt_base::{Nanos, Time, TimerKind};

use super::connection::Connection;
use super::segment::{Cx, TcpError};
use super::states::{Closed, State};
use super::timers::Slot;

impl Connection {
    /// Serves the timer that [`Connection::due`] named. Ask [`Connection::next_segment`] afterwards.
    pub fn on_timer(&mut self, cx: Cx, kind: TimerKind) {
        if !self.timers.take_due(cx.now, kind) {
            return;
        }
        match (kind, self.state) {
            (TimerKind::Rto, State::SynSent(_)) => self.on_syn_timeout(cx, self.config.syn_retries),
            (TimerKind::Rto, State::SynReceived(_)) => self.on_syn_timeout(cx, self.config.synack_retries),
            (TimerKind::Rto, _) => self.on_data_timeout(cx),
            (TimerKind::Tlp, _) => self.on_probe_timer(cx),
            (TimerKind::Reorder, _) => self.on_reorder_timer(cx),
            (TimerKind::Persist, _) => self.on_persist(cx),
            (TimerKind::DelayedAck, _) => {
                let rto = self.rtt.rto(&self.config);
                self.ack.on_timer(&self.config, rto);
            }
            (TimerKind::Keepalive, _) => self.on_keepalive(cx),
            (TimerKind::TimeWait, State::TimeWait(s)) => self.enter(cx, s.expired().into()),
            // The peer never closed: forget it without TIME-WAIT, as Linux does.
            (TimerKind::FinWait2, _) => self.enter(cx, Closed.into()),
            _ => {}
        }
    }

    fn give_up(&mut self, cx: Cx) {
        self.fail(cx, self.soft.unwrap_or(TcpError::TimedOut));
    }

    /// Whether a stall has lasted too long: by count, or on a socket with a user timeout by time. `since` is when it began,
    /// if it begins now.
    fn is_hopeless(&mut self, cx: Cx, since: Time, most: u8) -> bool {
        //= rfc5482#3
        let patience = self.config.user_timeout;
        if patience == Nanos::ZERO {
            return self.retries >= most;
        }
        if self.retries == 0 || self.give_up_at == Time::MAX {
            self.give_up_at = since + patience;
        }
        cx.now >= self.give_up_at
    }

    fn on_syn_timeout(&mut self, cx: Cx, most: u8) {
        //= rfc9293#3.8.3
        if self.is_hopeless(cx, self.pending.syn_sent_at, most) {
            self.give_up(cx);
            return;
        }
        self.retries += 1;
        self.rtt.back_off();
        if self.retries < self.pending.deferred {
            // The peer is there: no SYN-ACK until the wait for its data is nearly over.
            self.arm_syn(cx);
            return;
        }
        self.pending.syn = true;
    }

    fn on_data_timeout(&mut self, cx: Cx) {
        //= rfc9293#3.8.3
        let most = if self.app_closed { self.config.orphan_retries } else { self.config.data_retries };
        let since = self.snd.flight.front().map_or(cx.now, |sent| sent.sent_at);
        if self.is_hopeless(cx, since, most) {
            self.give_up(cx);
            return;
        }
        //= rfc6298#5.5
        self.rtt.back_off();
        self.on_rto(cx, self.retries);
        self.retries += 1;
    }

    fn on_persist(&mut self, cx: Cx) {
        if self.uncork() {
            return;
        }
        //= rfc9293#3.8.6.1
        // As long as the probes are answered the connection stays open: `retries` is set back by any ACK.
        let most = if self.app_closed { self.config.orphan_retries } else { self.config.data_retries };
        if self.is_hopeless(cx, cx.now, most) {
            self.give_up(cx);
            return;
        }
        self.retries += 1;
        self.rtt.back_off();
        self.pending.window_probe = true;
        let at = (cx.now + self.rtt.rto(&self.config)).min(self.give_up_at.max(cx.now + JIFFY));
        self.timers.arm(cx, Slot::Retransmit, TimerKind::Persist, at);
    }

    fn on_keepalive(&mut self, cx: Cx) {
        if matches!(self.state, State::SynSent(_) | State::SynReceived(_)) {
            // FreeBSD's `keepinit`: connecting has a limit of its own.
            match self.state {
                State::SynSent(_) => self.fail(cx, TcpError::TimedOut),
                _ => self.reset_now(cx, Some(TcpError::TimedOut)),
            }
            return;
        }
        //= rfc9293#3.8.4
        let Some(k) = self.keepalive else {
            return;
        };
        // Data in flight has its own timer; keepalive is for idle connections.
        if !self.snd.flight.is_empty() || self.snd.unsent() > 0 {
            self.alive(cx);
            return;
        }
        let patience = self.config.user_timeout;
        let idle_for = k.idle.0 + u64::from(self.retries) * k.interval.0;
        let over = match patience {
            Nanos::ZERO => self.retries >= k.count,
            _ => self.retries > 0 && idle_for >= patience.0,
        };
        if over {
            self.reset_now(cx, Some(TcpError::TimedOut));
            return;
        }
        self.retries += 1;
        self.pending.keepalive = true;
        self.timers.arm(cx, Slot::Keepalive, TimerKind::Keepalive, cx.now + k.interval);
    }
}

/// A timer is never armed for less than this after it fired.
const JIFFY: Nanos = Nanos::from_millis(1);
