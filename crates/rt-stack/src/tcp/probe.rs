//! The transmission timer with its three duties: retransmission timeout, tail loss probe (RFC 8985 section 7) and RACK's
//! wait for reordered segments (section 6.2).

use rt_base::{LossEvidence, Nanos, TcpDecision, TimerKind};
use rt_wire::Seq;

use super::connection::Connection;
use super::recovery::{CongestionState, Heard};
use super::segment::Cx;
use super::timers::Slot;

/// The tail loss probe's variables.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TailProbe {
    /// SND.NXT when the probe was sent, until it is acknowledged (TLP.end_seq).
    end: Option<Seq>,
    /// The probe repeated a segment (TLP.is_retrans).
    is_repeat: bool,
    /// A probe is to be sent now.
    due: Option<Due>,
}

/// Which probe.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Due {
    /// New data, whatever the congestion window and Nagle say.
    NewData,
    /// The last segment again.
    Repeat,
}

/// Added to the probe's and the reordering timer, for clocks that tick (Linux: two ticks of a millisecond).
const SLACK: Nanos = Nanos::from_millis(2);

impl TailProbe {
    /// A repetition is under way whose answer is awaited.
    pub(super) fn repeated(&self) -> bool {
        self.end.is_some() && self.is_repeat
    }

    /// Whether this end of a duplicate SACK is the probe's.
    pub(super) fn is_answer(&self, end: Seq) -> bool {
        self.end == Some(end)
    }

    pub(super) fn take_due(&mut self) -> Option<Due> {
        self.due.take()
    }

    /// A probe has left.
    pub(super) fn sent(&mut self, nxt: Seq, is_repeat: bool) {
        (self.end, self.is_repeat) = (Some(nxt), is_repeat);
    }

    /// The episode is over.
    pub(super) fn end(&mut self) {
        self.end = None;
    }
}

impl Connection {
    /// Arms the transmission timer after progress: a probe if one is fit, else the RTO.
    pub(super) fn set_transmit_timer(&mut self, cx: Cx) {
        if !self.schedule_probe(cx, true) {
            self.restart_rto(cx);
        }
    }

    /// Arms the tail loss probe if one is fit now; `advancing` when the RTO would start anew.
    pub(super) fn schedule_probe(&mut self, cx: Cx, advancing: bool) -> bool {
        //= rfc8985#7.2
        let open = matches!(self.recovery.state, CongestionState::Open | CongestionState::Cwr);
        let in_flight = self.snd.flight.segments();
        if self.is_fast_open() || !self.config.tail_probe || !self.rcv.sack || !open || in_flight == 0 {
            return false;
        }
        let srtt = self.rtt.srtt();
        let mut wait = if srtt == Nanos::ZERO {
            self.config.rto_initial
        } else if in_flight == 1 {
            // The peer may delay its ACK.
            Nanos(2 * srtt.0 + self.config.rto_min.0)
        } else {
            Nanos(2 * srtt.0) + SLACK
        };
        let rto = self.rtt.rto(&self.config);
        let left = if advancing { rto } else { self.rto_left(cx, rto) };
        if left > Nanos::ZERO {
            wait = wait.min(left);
        }
        // An RTO that is overdue bounds nothing, and a round-trip time may be as long as a peer's timestamps make it.
        wait = wait.min(self.config.rto_max);
        self.timers.arm(cx, Slot::Retransmit, TimerKind::Tlp, cx.now + wait);
        true
    }

    /// What is left of the RTO of the oldest segment.
    fn rto_left(&self, cx: Cx, rto: Nanos) -> Nanos {
        let sent_at = self.snd.flight.front().map_or(cx.now, |e| e.sent_at);
        Nanos((sent_at + rto).0.saturating_sub(cx.now.0))
    }

    /// RFC 6298 5.2 and 5.3. After a probe or a wait for reordering the RTO counts from the oldest segment's sending.
    pub(super) fn restart_rto(&mut self, cx: Cx) {
        //= rfc6298#5.2
        //= rfc6298#5.3
        if self.is_fast_open() {
            // The timer is the SYN-ACK's.
            return;
        }
        if self.snd.flight.is_empty() {
            self.timers.disarm(Slot::Retransmit);
            return;
        }
        let rto = self.rtt.rto(&self.config);
        let offset = self.timers.is(Slot::Retransmit, TimerKind::Tlp)
            || self.timers.is(Slot::Retransmit, TimerKind::Reorder);
        let wait = if offset { self.rto_left(cx, rto).max(Nanos(1000)) } else { rto };
        self.timers.arm(cx, Slot::Retransmit, TimerKind::Rto, cx.now + wait);
    }

    /// The full RTO from now.
    pub(super) fn arm_rto(&mut self, cx: Cx) {
        let at = cx.now + self.rtt.rto(&self.config);
        // A user timeout is not overslept.
        let at = at.min(self.give_up_at.max(cx.now));
        self.timers.arm(cx, Slot::Retransmit, TimerKind::Rto, at);
    }

    /// The probe timer fired.
    pub(super) fn on_probe_timer(&mut self, cx: Cx) {
        //= rfc8985#7.3
        if self.snd.flight.is_empty() {
            return;
        }
        // At most one at a time.
        if self.recovery.probe.end.is_some() {
            self.arm_rto_of_oldest(cx);
            return;
        }
        let unsent = self.snd.unsent();
        let waits = unsent > 0 || (self.snd.fin_queued && !self.snd.fin_sent);
        let fits = unsent.min(self.snd.mss).max(1) <= self.snd.usable();
        let due = if waits && fits { Due::NewData } else { Due::Repeat };
        self.recovery.probe.due = Some(due);
    }

    fn arm_rto_of_oldest(&mut self, cx: Cx) {
        let rto = self.rtt.rto(&self.config);
        let wait = self.rto_left(cx, rto).max(Nanos(1000));
        self.timers.arm(cx, Slot::Retransmit, TimerKind::Rto, cx.now + wait);
    }

    /// An ACK while a probe is unanswered.
    pub(super) fn on_probe_ack(&mut self, cx: Cx, heard: &Heard) {
        //= rfc8985#7.4.2
        let Some(end) = self.recovery.probe.end.filter(|end| self.snd.una.ge(*end)) else {
            return;
        };
        if !self.recovery.probe.is_repeat || heard.dsack_probe {
            // New data as a probe, or both copies arrived: no loss.
            self.recovery.probe.end();
        } else if self.snd.una.gt(end) {
            // The repetition filled a hole: a loss like any other for the window.
            self.tell_cwnd_before(cx);
            self.begin_reduction();
            self.recovery.state = CongestionState::Cwr;
            self.end_reduction(cx);
            self.keep_open();
            self.decided(cx, || TcpDecision::ProbeLoss);
        } else if !heard.advanced && !heard.not_duplicate && heard.said.sacked == 0 {
            // A plain duplicate ACK: both copies arrived.
            self.recovery.probe.end();
        }
    }

    /// Why RACK decides what it decides now.
    pub(super) fn rack_evidence(&self, waited: bool) -> LossEvidence {
        let rack = &self.recovery.rack;
        let end = if rack.end.gt(self.snd.una) { self.snd.offset(rack.end) } else { self.snd.buf.base() };
        LossEvidence::Later {
            end,
            sent_at: rack.sent_at,
            rtt_us: rack.rtt.0 / 1000,
            window_us: self.reordering_window().0 / 1000,
            waited,
        }
    }

    fn reordering_window(&self) -> Nanos {
        let r = &self.recovery;
        let eager = r.state >= CongestionState::Recovery || self.snd.flight.sacked() >= r.reordering;
        r.rack.window(&self.rtt, r.reordering_seen > 0, eager)
    }

    /// RACK looks for losses after an ACK. Whether it waits for reordered segments, by the timer armed here.
    pub(super) fn rack_mark(&mut self, cx: Cx) -> bool {
        if !core::mem::take(&mut self.recovery.rack.advanced) {
            return false;
        }
        let window = self.reordering_window();
        match self.snd.flight.judge_by_time(&self.recovery.rack, cx.now, window) {
            Some(wait) => {
                let at = cx.now + (wait + SLACK).min(self.rtt.rto(&self.config));
                self.timers.arm(cx, Slot::Retransmit, TimerKind::Reorder, at);
                true
            }
            None => false,
        }
    }

    /// The reordering timer fired.
    pub(super) fn on_reorder_timer(&mut self, cx: Cx) {
        //= rfc8985#6.3
        let (pipe, found) = (self.snd.flight.pipe(), self.snd.flight.found());
        let evidence = self.rack_evidence(true);
        let window = self.reordering_window();
        self.snd.flight.judge_by_time(&self.recovery.rack, cx.now, window);
        let lost = self.snd.flight.found().wrapping_sub(found);
        self.tell_losses(cx, lost, evidence);
        if pipe != self.snd.flight.pipe() && self.recovery.state != CongestionState::Recovery {
            self.enter_recovery(cx, false);
            self.reduce(cx, 1, lost > 0, false);
        }
        if !self.snd.flight.is_empty() {
            self.arm_rto_of_oldest(cx);
        }
    }
}
