//! The ACK field, step by step: the window, SACK blocks, what left the flight, round-trip time, then recovery's state
//! machine and the congestion window.

use rt_base::{Nanos, Time, TimerKind};
use rt_wire::{Seq, TcpFlags, TcpHeader};

use super::chrono::Sending;
use super::config::Family;
use super::congestion::{Algorithm, RttSample};
use super::connection::Connection;
use super::flight::Watch;
use super::recovery::{CongestionState, Heard, Resend};
use super::segment::{Cx, Ignored};
use super::states::State;
use super::timers::Slot;

impl Connection {
    /// The fifth step of RFC 9293 3.10.7.4: the ACK field and the window.
    pub(super) fn on_ack(&mut self, cx: Cx, header: &TcpHeader, payload_len: u32) -> Result<(), Ignored> {
        let ack = header.ack;
        //= rfc5961#5.2
        // SND.UNA - MAX.SND.WND <= SEG.ACK <= SND.NXT.
        let established = matches!(self.state, State::Established(_));
        if ack.gt(self.snd.nxt) && established && self.config.family == Family::Linux {
            // RFC 9293 would have it answered; Linux, as long as neither side has closed, says nothing.
            return Err(Ignored::BadAck);
        }
        if ack.gt(self.snd.nxt) || ack.lt(self.snd.una - self.snd.max_wnd) {
            // Two confused ends must not answer each other's bare ACKs for ever.
            if payload_len > 0 {
                self.ack.at_once();
            } else {
                self.challenge(cx);
            }
            return Err(Ignored::BadAck);
        }
        self.alive(cx);
        self.snd.cork.on_ack();
        self.recovery.echo = header.options.timestamps.map(|t| t.1).filter(|echo| *echo != 0);
        if ack.lt(self.snd.una) {
            self.on_old_ack(cx, header);
            return Ok(());
        }
        let mut heard = Heard {
            una: self.snd.una,
            advanced: ack != self.snd.una,
            not_duplicate: payload_len > 0,
            ece: self.ecn.ok && header.flags.has(TcpFlags::ECE) && !header.flags.has(TcpFlags::SYN),
            found: self.snd.flight.found(),
            prior_in_flight: self.snd.flight.pipe(),
            ..Heard::default()
        };
        heard.not_duplicate |= self.take_window(header);
        let was_empty = self.snd.flight.is_empty();
        let prior_high = self.snd.flight.high_sacked(self.snd.una);
        let prior_sacked = self.snd.flight.sacked();
        if self.rcv.sack && !header.options.sack().is_empty() {
            self.take_sack(cx, header, &mut heard);
        }
        if was_empty {
            self.on_idle_ack(cx, &mut heard);
            return Ok(());
        }
        if heard.advanced {
            self.advance(cx, ack, &mut heard);
        }
        self.after_removal(cx, &mut heard, prior_high, prior_sacked);
        self.recovery.rack.adapt(self.snd.una, self.snd.nxt);
        self.on_probe_ack(cx, &heard);
        self.recovery.resend =
            if self.is_dubious(&heard) { self.alert(cx, &mut heard) } else { Resend::AsUsual };
        if heard.arm {
            self.set_transmit_timer(cx);
        }
        self.control(cx, &heard);
        if heard.advanced {
            self.retries = 0;
            self.soft = None;
            self.give_up_at = Time::MAX;
        }
        Ok(())
    }

    /// Older than SND.UNA: only its SACK blocks may say something new; its text still counts.
    fn on_old_ack(&mut self, cx: Cx, header: &TcpHeader) {
        if !self.rcv.sack || header.options.sack().is_empty() {
            return;
        }
        let found = self.snd.flight.found();
        let mut heard = Heard { una: self.snd.una, not_duplicate: true, found, ..Heard::default() };
        self.take_sack(cx, header, &mut heard);
        self.recovery.resend = self.alert(cx, &mut heard);
    }

    /// Nothing was in flight: the peer is alive, and perhaps its window is open again.
    fn on_idle_ack(&mut self, cx: Cx, heard: &mut Heard) {
        self.retries = 0;
        if heard.dsack {
            self.recovery.resend = self.alert(cx, heard);
        }
        self.on_probe_ack(cx, heard);
        let opened = self.snd.usable() >= self.snd.unsent().min(self.snd.mss);
        if opened && self.timers.is(Slot::Retransmit, TimerKind::Persist) {
            self.rtt.progress();
            self.timers.disarm(Slot::Retransmit);
        } else if self.timers.is(Slot::Retransmit, TimerKind::Persist) {
            let at = cx.now + self.rtt.rto(&self.config);
            self.timers.arm(cx, Slot::Retransmit, TimerKind::Persist, at);
        }
    }

    /// SND.WND, if the segment is newer than the one that set it, or shows more. Whether it changed.
    fn take_window(&mut self, header: &TcpHeader) -> bool {
        //= rfc9293#3.10.7.4
        let s = &mut self.snd;
        let wnd = u32::from(header.window) << s.shift;
        let newer = header.ack.gt(s.una) || header.seq.gt(s.wl1);
        if !newer && !(header.seq == s.wl1 && (wnd > s.wnd || wnd == 0)) {
            return false;
        }
        (s.wl1, s.wl2) = (header.seq, header.ack);
        let changed = wnd != s.wnd;
        s.wnd = wnd;
        s.max_wnd = s.max_wnd.max(wnd);
        changed
    }

    /// The SACK blocks, a duplicate SACK first (RFC 2883).
    fn take_sack(&mut self, cx: Cx, header: &TcpHeader, heard: &mut Heard) {
        let blocks = header.options.sack();
        let una = if header.ack.gt(self.snd.una) { header.ack } else { self.snd.una };
        let first = self.take_duplicate(header, heard);
        let min_rtt = self.rtt.min();
        let r = &mut self.recovery;
        let mut watch = Watch { now: cx.now, high: r.high, min_rtt, rack: &mut r.rack };
        for (slot, &(left, right)) in blocks.iter().enumerate() {
            if left.le(una) || right.gt(self.snd.nxt) || left.ge(right) {
                self.snd.flight.sack_done(slot);
                continue;
            }
            let marker = r.undo.marker.filter(|_| first && slot == 0);
            self.snd.flight.sack(slot, (left, right), marker, &mut heard.said, &mut watch);
        }
        self.snd.flight.sack_done(blocks.len());
        if let Some(n) = self.recovery.undo.repeated.as_mut() {
            *n = n.saturating_sub(heard.said.duplicates);
        }
        let late = heard.said.late.take();
        let counts = self.recovery.state != CongestionState::Loss || self.recovery.undo.marker.is_some();
        if let Some(low) = late.filter(|_| counts) {
            self.reordered(low);
        }
        heard.delivered += heard.said.segments;
        self.count_delivered(heard.said.segments, heard.ece);
        heard.said.segments = 0;
    }

    /// The first block, if it reports a duplicate. Believed as far as this end did repeat something.
    fn take_duplicate(&mut self, header: &TcpHeader, heard: &mut Heard) -> bool {
        //= rfc2883#5
        let Some((&(left, right), more)) = header.options.sack().split_first() else {
            return false;
        };
        let inside = |b: &(Seq, Seq)| left.ge(b.0) && right.le(b.1);
        if left.ge(right) || !(left.lt(header.ack) || more.first().is_some_and(inside)) {
            return false;
        }
        let len = right - left;
        let segments = len.div_ceil(self.snd.mss.max(1)).max(1);
        let r = &mut self.recovery;
        if len > self.snd.max_wnd {
            return false;
        }
        let answers_probe = segments == 1 && r.probe.is_answer(right);
        r.counts.duplicates = r.counts.duplicates.saturating_add(segments);
        if r.counts.duplicates > r.counts.repeated {
            return false;
        }
        heard.dsack = true;
        heard.dsack_probe = answers_probe;
        r.rack.dsack |= r.reordering_seen > 0 && !answers_probe;
        heard.delivered += segments;
        let known = right.le(heard.una) && r.undo.marker.is_some_and(|marker| right.gt(marker));
        if let Some(n) = r.undo.repeated.as_mut().filter(|_| known) {
            *n = n.saturating_sub(segments);
        }
        self.count_delivered(segments, heard.ece);
        true
    }

    /// Everything before `ack` has arrived.
    fn advance(&mut self, cx: Cx, ack: Seq, heard: &mut Heard) {
        let ts = self.ts;
        let echo = self.recovery.echo.filter(|_| ts.on);
        let earlier = |sent_at| echo.is_some_and(|e| Seq(e).lt(Seq(ts.value(sent_at))));
        let min_rtt = self.rtt.min();
        let r = &mut self.recovery;
        let mut watch = Watch { now: cx.now, high: r.high, min_rtt, rack: &mut r.rack };
        let s = &mut self.snd;
        s.flight.ack(ack, &mut heard.said, &mut watch, earlier);
        let acked = ack - s.una;
        s.una = ack;
        // A FIN takes a sequence number but no byte of the buffer, which `advance` knows.
        s.buf.advance(acked);
        if self.snd.wants_room && self.has_room() {
            self.snd.wants_room = false;
            self.woken = true;
            self.no_longer(cx.now, Sending::SendBuffer);
        }
        if self.snd.flight.is_empty() {
            self.no_longer(cx.now, Sending::Busy);
        }
        heard.not_duplicate |= heard.said.acked > 0;
    }

    /// Measures, reordering and the timer, after segments left the flight.
    fn after_removal(&mut self, cx: Cx, heard: &mut Heard, prior_high: Seq, prior_sacked: u32) {
        let measured = self.measure(cx, heard, prior_sacked);
        if heard.said.acked == 0 {
            // The head was sent before what this SACK measures: the timer need not be pushed on by it.
            let head = self.snd.flight.front().map(|e| e.sent_at);
            let sent = heard.said.sacked_at.map(|at| at.0);
            heard.arm |= measured && head.zip(sent).is_some_and(|(head, sent)| sent < head);
            return;
        }
        heard.arm = true;
        if self.rcv.sack {
            heard.delivered += heard.said.segments;
            self.count_delivered(heard.said.segments, heard.ece);
            if let Some(low) = heard.said.late.filter(|low| low.lt(prior_high)) {
                self.reordered(low);
            }
            return;
        }
        let acked = heard.said.acked;
        let (delivered, excess) = self.snd.flight.emulate_acked(acked);
        self.reordered_without_sack(excess, acked);
        heard.delivered += delivered;
        self.count_delivered(delivered, heard.ece);
        // Without SACK nobody knows which copy it was.
        heard.said.original &= !heard.said.repeated;
    }

    /// Round-trip time: from segments that were never repeated (Karn), else from the echoed timestamp. Whether there was a
    /// sample.
    fn measure(&mut self, cx: Cx, heard: &mut Heard, prior_sacked: u32) -> bool {
        //= rfc6298#3
        let said = heard.said;
        let acked = said.acked_at.filter(|_| !said.repeated);
        let since = |at| cx.now.since(at);
        let echoed = || {
            //= rfc7323#4.1
            let echo = self.recovery.echo.filter(|_| said.acked > 0)?;
            self.ts.age(cx.now, echo)
        };
        let first = acked.or(said.sacked_at).map(|at| since(at.0));
        let last = said.sacked_at.or(acked).map(|at| since(at.1));
        let (rtt, latest) = match (first, last) {
            (Some(first), Some(last)) => (first, last),
            _ => match echoed() {
                Some(rtt) => (rtt, rtt),
                None => return false,
            },
        };
        // One small segment alone may have met a delayed ACK: it must not become the smallest time.
        let delayed = said.acked == 1
            && prior_sacked == 0
            && self.snd.una - heard.una < self.snd.mss
            && said.sacked + u32::from(heard.ece) + u32::from(heard.dsack) == 0;
        heard.rtt = Some(latest).filter(|_| !delayed);
        if !delayed || latest < self.rtt.min() || self.rtt.min() == Nanos::ZERO {
            self.rtt.note_min(latest);
        }
        self.rtt.sample(&self.config, rtt, self.snd.una, self.snd.nxt);
        self.tell_rtt(cx, rtt);
        let sample = RttSample { now: cx.now, rtt: latest, una: self.snd.una, nxt: self.snd.nxt };
        let r = &mut self.recovery;
        if let Some(decision) = r.controller.on_rtt(&mut r.window, sample) {
            self.decided(cx, || decision);
            self.tell_cwnd(cx, true);
        }
        true
    }
}
