//! The congestion window over time: how recovery spends it (Proportional Rate Reduction, RFC 9937), when it may grow
//! (only when it is used, RFC 7661), and what an idle time does to it (RFC 5681 4.1). How it grows and to what it is cut
//! is the algorithm's business (`congestion`).
//!
//! Windows count segments, as Linux's do: a short segment counts like a full one.

use rt_base::{Nanos, TcpDecision, Time, What};
use rt_wire::Seq;

use super::config::RecoveryKind;
use super::congestion::{Acked, Algorithm, Controller, Delivery, Window};
use super::connection::Connection;
use super::rate::RateSample;
use super::recovery::{CongestionState, Heard};
use super::segment::Cx;

/// Proportional Rate Reduction's variables (RFC 9937 section 6).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Prr {
    /// Segments delivered since the reduction began (prr_delivered).
    delivered: u32,
    /// Segments sent since (prr_out).
    pub(super) out: u32,
    /// cwnd at its begin (stands for RecoverFS).
    before: u32,
}

/// Whether the window is used, as far as known (RFC 7661).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usage {
    /// The window, not the application, was the limit in this round trip.
    limited: bool,
    /// Most segments in flight in this round trip.
    most: u32,
    /// The round trip ends when this is acknowledged.
    until: Seq,
    /// Something was sent since the last look.
    pub(super) sent: bool,
    /// Most segments in flight since `stamp`, while the application was the limit.
    used: u32,
    /// When the window was last in full use or changed.
    stamp: Time,
}

impl Connection {
    /// The window is to be cut: the threshold now, the window itself by [`Connection::reduce`].
    pub(super) fn begin_reduction(&mut self) {
        let r = &mut self.recovery;
        r.high = self.snd.nxt;
        r.probe.end();
        r.prr = Prr { before: r.window.cwnd, ..Prr::default() };
        r.undo.cwnd = r.window.cwnd;
        r.window.ssthresh = r.controller.on_loss(&mut r.window);
        self.ecn.tell_cut = self.ecn.ok;
    }

    /// One step of the reduction: `delivered` segments arrived. Without further loss the window may come back up to the
    /// threshold (the slow start reduction bound), with loss it only replaces what left (the conservative bound).
    pub(super) fn reduce(&mut self, cx: Cx, delivered: u32, newly_lost: bool, advanced: bool) {
        //= rfc9937#6.2
        let pipe = self.snd.flight.pipe();
        let r = &mut self.recovery;
        if delivered == 0 || r.prr.before == 0 || r.controller.owns_window() {
            return;
        }
        let ssthresh = r.window.ssthresh;
        r.prr.delivered += delivered;
        let room = if pipe > ssthresh {
            let share = u64::from(r.prr.delivered) * u64::from(ssthresh);
            (share.div_ceil(u64::from(r.prr.before)) as u32).saturating_sub(r.prr.out)
        } else {
            let burst = r.prr.delivered.saturating_sub(r.prr.out).max(delivered);
            (burst + u32::from(advanced && !newly_lost)).min(ssthresh - pipe)
        };
        // The first retransmission leaves at once.
        let room = room.max(u32::from(r.prr.out == 0));
        r.window.cwnd = pipe + room;
        self.tell_cwnd(cx, false);
    }

    /// The same as FreeBSD before 13 has it (tcp_do_segment, tcp_sack_partialack): one segment at first; a partial ACK
    /// lets one leave, or two when it acknowledges two; a duplicate ACK one, while less than the threshold is under way.
    fn reduce_counted(&mut self, cx: Cx, heard: &Heard) {
        let pipe = self.snd.flight.pipe();
        let r = &mut self.recovery;
        let room = match heard.advanced {
            _ if r.prr.out == 0 => 1,
            true => heard.said.acked.clamp(1, 2),
            false => u32::from(pipe < r.window.ssthresh),
        };
        r.window.cwnd = pipe + room;
        self.tell_cwnd(cx, false);
    }

    /// Recovery counts duplicate ACKs. It needs SACK: without it FreeBSD's is like everybody's.
    pub(super) fn is_counted(&self) -> bool {
        self.config.recovery == RecoveryKind::Counted && self.rcv.sack
    }

    /// The reduction is over.
    pub(super) fn end_reduction(&mut self, cx: Cx) {
        let counted = self.is_counted();
        let r = &mut self.recovery;
        if r.controller.owns_window() {
            return;
        }
        if counted && r.state != CongestionState::Cwr {
            // newreno_post_recovery: what is under way and one more, so that no burst follows.
            r.window.cwnd = (self.snd.flight.pipe() + 1).min(r.window.ssthresh);
            r.usage.stamp = cx.now;
        } else if r.window.ssthresh < u32::MAX && (r.state == CongestionState::Cwr || r.undo.marker.is_some())
        {
            r.window.cwnd = r.window.ssthresh;
            r.usage.stamp = cx.now;
        }
        self.tell_cwnd(cx, true);
    }

    /// The peer echoes a mark: a cut, once per round trip, that is never taken back.
    pub(super) fn enter_cwr(&mut self, cx: Cx) {
        //= rfc3168#6.1.2
        self.recovery.undo.ssthresh = 0;
        if self.recovery.state < CongestionState::Cwr {
            self.tell_cwnd_before(cx);
            self.recovery.undo.marker = None;
            self.begin_reduction();
            self.recovery.state = CongestionState::Cwr;
            self.decided(cx, || TcpDecision::EcnCut);
            self.tell_cwnd(cx, true);
        }
    }

    /// The end of an ACK: the window follows.
    pub(super) fn control(&mut self, cx: Cx, heard: &Heard) {
        if self.recovery.controller.owns_window() {
            self.model(cx, heard);
            return;
        }
        self.sample_rate(cx);
        if self.recovery.reducing() {
            if self.is_counted() && self.recovery.state == CongestionState::Recovery {
                self.reduce_counted(cx, heard);
                return;
            }
            let lost = self.snd.flight.found() != heard.found;
            self.reduce(cx, heard.delivered, lost, heard.advanced);
            return;
        }
        // Where the network reorders, what arrives out of order counts as well.
        let sacks = self.recovery.reordering > self.config.reordering && heard.said.sacked > 0;
        if (heard.said.acked > 0 || sacks) && !heard.recovered {
            self.grow(cx, heard.delivered);
        }
    }

    /// The algorithm has a model of the path: it is told what the ACK says and sets the window.
    fn model(&mut self, cx: Cx, heard: &Heard) {
        let total = self.recovery.counts.delivered;
        let sample = self.sample_rate(cx);
        let delivery = Delivery {
            now: cx.now,
            sample,
            rtt: heard.rtt,
            srtt: self.rtt.srtt(),
            delivered: heard.delivered,
            delivered_total: total,
            losses: self.snd.flight.found().wrapping_sub(heard.found),
            prior_in_flight: heard.prior_in_flight,
            in_flight: self.snd.flight.pipe(),
            mss: self.snd.mss,
            burst: self.burst_segments(),
            initial_cwnd: self.config.initial_cwnd,
            state: self.recovery.state,
        };
        let r = &mut self.recovery;
        r.controller.on_delivery(&mut r.window, &delivery);
        self.tell_cwnd(cx, false);
    }

    /// The socket chose another algorithm (TCP_CONGESTION): it begins with the window as it stands.
    pub(super) fn change_congestion_control(&mut self, cx: Cx) {
        let (kind, hystart) = (self.config.congestion, self.config.hystart);
        self.recovery.controller = Controller::new(kind, hystart, self.snd.iss.0);
        self.recovery.window.credit = 0;
        self.watch_rate(cx);
    }

    /// Begins to keep delivery rates, if the algorithm or TCP_INFO wants them; or ends it.
    pub(super) fn watch_rate(&mut self, cx: Cx) {
        let wanted = self.recovery.controller.owns_window() || self.config.delivery_rates;
        if !wanted {
            self.snd.flight.rates = None;
        } else if self.snd.flight.rates.is_none() {
            self.snd.flight.watch_rate(cx.now);
        }
    }

    /// What the ACK at hand says about the delivery rate.
    fn sample_rate(&mut self, cx: Cx) -> Option<RateSample> {
        let (total, min_rtt) = (self.recovery.counts.delivered, self.rtt.min());
        let rates = self.snd.flight.rates.as_mut()?;
        let sample = rates.sample(cx.now, total, min_rtt)?;
        rates.keep(sample);
        Some(sample)
    }

    /// The application is about to write: whether it was the limit until now, as far as delivery rates are concerned.
    pub(super) fn note_application_limited(&mut self) {
        if self.snd.flight.rates.is_none() || self.snd.unsent() >= self.snd.mss {
            return;
        }
        let flight = &mut self.snd.flight;
        let (pipe, repaired) = (flight.pipe(), flight.lost() <= flight.repeated());
        if let Some(rates) = flight.rates.as_mut().filter(|_| repaired && pipe < self.recovery.window.cwnd) {
            rates.limited_by_application(self.recovery.counts.delivered, pipe);
        }
    }

    fn grow(&mut self, cx: Cx, segments: u32) {
        if self.is_window_used() {
            let srtt = self.rtt.srtt();
            let r = &mut self.recovery;
            let slow_start = r.window.cwnd < r.window.ssthresh;
            r.controller.on_ack(&mut r.window, Acked { now: cx.now, segments, srtt });
            let crossed = slow_start && r.window.cwnd >= r.window.ssthresh;
            self.tell_cwnd(cx, crossed);
        }
        self.recovery.usage.stamp = cx.now;
    }

    /// A window that is not used is not validated (RFC 7661); in slow start half of it is enough.
    fn is_window_used(&self) -> bool {
        //= rfc7661#4.1
        let Window { cwnd, ssthresh, .. } = self.recovery.window;
        let usage = &self.recovery.usage;
        usage.limited || (cwnd < ssthresh && cwnd < usage.most.saturating_mul(2))
    }

    /// All that may leave now has left: notes whether the window was the limit.
    pub(super) fn validate_window(&mut self, cx: Cx) {
        let (segments, pipe) = (self.snd.flight.segments(), self.snd.flight.pipe());
        let limited = pipe >= self.recovery.window.cwnd;
        let u = &mut self.recovery.usage;
        if !core::mem::take(&mut u.sent) && !limited {
            return;
        }
        if self.snd.una.ge(u.until) || limited || (!u.limited && segments > u.most) {
            (u.limited, u.most, u.until) = (limited, segments, self.snd.nxt);
        }
        if self.is_window_used() {
            let u = &mut self.recovery.usage;
            (u.used, u.stamp) = (0, cx.now);
            return;
        }
        self.note_starving(cx.now);
        let u = &mut self.recovery.usage;
        u.used = u.used.max(segments);
        let stale = cx.now.since(u.stamp) >= self.rtt.rto(&self.config);
        if stale && self.config.slow_start_after_idle && !self.recovery.controller.owns_window() {
            self.on_application_limited(cx);
        }
    }

    /// A whole RTO with less in flight than the window allows: it comes half way down to what is used.
    fn on_application_limited(&mut self, cx: Cx) {
        let initial = self.config.initial_cwnd;
        let r = &mut self.recovery;
        r.usage.stamp = cx.now;
        if r.state == CongestionState::Open && !self.snd.wants_room {
            let used = r.usage.used.max(initial);
            if used < r.window.cwnd {
                self.tell_cwnd_before(cx);
                let r = &mut self.recovery;
                r.window.ssthresh = r.current_ssthresh();
                r.window.cwnd = (r.window.cwnd + used) / 2;
            }
            self.recovery.usage.used = 0;
            self.tell_cwnd(cx, true);
        }
    }

    /// After silence the path is no longer known (RFC 5681 4.1): the window halves for every RTO that passed.
    pub(super) fn on_restart_after_idle(&mut self, cx: Cx) {
        //= rfc5681#4.1
        let idle = cx.now.since(self.snd.last_sent).0;
        let rto = self.rtt.rto(&self.config).0.max(1);
        let initial = self.config.initial_cwnd;
        let r = &mut self.recovery;
        if idle > 0 {
            r.controller.on_idle(cx.now.since(self.snd.last_sent));
        }
        if !self.config.slow_start_after_idle || idle <= rto || r.controller.owns_window() {
            return;
        }
        self.tell_cwnd_before(cx);
        let r = &mut self.recovery;
        r.window.ssthresh = r.current_ssthresh();
        let floor = initial.min(r.window.cwnd);
        let halvings = (idle / rto).min(31);
        let before = r.window.cwnd;
        r.window.cwnd = (before >> halvings).max(floor);
        (r.usage.stamp, r.usage.used) = (cx.now, 0);
        if before != r.window.cwnd {
            self.tell_cwnd(cx, true);
        }
    }

    /// A cut is near: tells the story the window as it is, or the cut would be told from what it was some while ago.
    pub(super) fn tell_cwnd_before(&mut self, cx: Cx) {
        if cx.recording && self.recovery.window.bytes().0 != self.recovery.told {
            self.tell_cwnd(cx, true);
        }
    }

    /// Tells the story the window, when it has changed enough to be worth it.
    pub(super) fn tell_cwnd(&mut self, cx: Cx, always: bool) {
        if !cx.recording {
            return;
        }
        let (cwnd, ssthresh) = self.recovery.window.bytes();
        if !always && cwnd.abs_diff(self.recovery.told) < self.recovery.told / 4 {
            return;
        }
        self.recovery.told = cwnd;
        self.records.push(What::TcpCwnd {
            conn: self.conn,
            cwnd,
            ssthresh,
            in_flight: self.pipe(),
            srtt_us: (self.rtt.srtt().0 / 1000) as u32,
        });
    }

    /// Tells the story the round-trip time, when it or the timeout has changed by a thirty-second part.
    pub(super) fn tell_rtt(&mut self, cx: Cx, sample: Nanos) {
        if !cx.recording {
            return;
        }
        let micros = |time: Nanos| u32::try_from(time.0 / 1000).unwrap_or(u32::MAX);
        let now = [micros(self.rtt.srtt()), micros(self.rtt.rto(&self.config))];
        let far = |told: u32, now: u32| told.abs_diff(now) > told / 32;
        let told = &mut self.recovery.told_rtt;
        if far(told[0], now[0]) || far(told[1], now[1]) {
            *told = now;
            let [srtt_us, rto_us] = now;
            self.records.push(What::TcpRtt { conn: self.conn, sample_us: micros(sample), srtt_us, rto_us });
        }
    }
}
