//! A received segment, step by step in the order of RFC 9293 3.10.7, with RFC 5961 and RFC 7323 worked in.
//!
//! Replies are not sent from here: a step notes what is owed (`ack`, `pending`), `send` builds it.

use rt_base::{Nanos, TimerKind, What};
use rt_wire::{Seq, TcpFlags, TcpHeader};

use super::ack_policy::{Arrived, Due};
use super::config::{Family, WindowOffer};
use super::connection::Connection;
use super::open;
use super::recv_buffer::Stored;
use super::segment::{Cx, Ecn, Ignored, Outcome, TcpError};
use super::states::{Closed, Road, State, SynReceived, SynSent};
use super::timers::Slot;
use super::variables::MAX_UNSCALED;

impl Connection {
    /// Takes a segment for this connection, with the ECN field of its IP header; its checksum and ports are the caller's
    /// business.
    pub fn on_segment(&mut self, cx: Cx, header: &TcpHeader, payload: &[u8], ecn: Ecn) -> Outcome {
        self.totals.received(payload.len());
        let outcome = match self.state {
            State::Closed(_) => {
                let reset = open::reset_for(header, payload.len() as u32);
                let ack = |h: &TcpHeader| h.flags.has(TcpFlags::ACK).then_some(h.ack);
                self.pending.reset = reset.map(|r| (r.seq, ack(&r)));
                Outcome::Dropped(Ignored::Closed)
            }
            State::SynSent(state) => self.on_syn_sent(cx, state, header, payload),
            _ if self.config.family == Family::Bsd => self.on_segment_bsd(cx, header, payload, ecn),
            State::SynReceived(state) => self.on_syn_received(cx, state, header, payload),
            State::TimeWait(_) => self.on_time_wait(cx, header, payload),
            _ => self.on_synchronised(cx, header, payload, ecn),
        };
        self.arm_delayed_ack(cx);
        outcome
    }

    /// 3.10.7.3.
    fn on_syn_sent(&mut self, cx: Cx, state: SynSent, header: &TcpHeader, payload: &[u8]) -> Outcome {
        //= rfc9293#3.10.7.3
        let flags = header.flags;
        // First, the ACK bit.
        let acks = flags.has(TcpFlags::ACK);
        if acks && (header.ack.le(self.snd.iss) || header.ack.gt(self.snd.nxt)) {
            if !flags.has(TcpFlags::RST) {
                self.pending.reset = Some((header.ack, None));
            }
            return Outcome::Dropped(Ignored::BadAck);
        }
        // Second, the RST bit.
        if flags.has(TcpFlags::RST) {
            if !acks {
                return Outcome::Dropped(Ignored::BlindReset);
            }
            self.fail(cx, TcpError::Refused);
            return Outcome::ClosedByReset;
        }
        // Fourth, the SYN bit.
        if !flags.has(TcpFlags::SYN) {
            return Outcome::Dropped(Ignored::NothingForSynSent);
        }
        self.negotiate(cx, header);
        if !acks {
            //= rfc9293#3.5
            // Simultaneous open. What the segment carries besides the SYN is left to be repeated.
            self.enter(cx, state.syn().into());
            self.pending.syn = true;
            if self.config.family == Family::Bsd {
                self.hold_with_syn(payload, flags.has(TcpFlags::FIN));
            }
            return Outcome::EnterSynReceived;
        }
        self.snd.una = self.snd.iss + 1;
        self.enter(cx, state.syn_ack().into());
        self.on_open(cx, header, None);
        self.acked_with_syn(cx, header);
        let welcome = self.after_syn_ack(header);
        if self.write_waits {
            self.ack.soon(&self.config);
        } else {
            self.ack.at_once();
        }
        // Linux has no use for text in a SYN-ACK outside of Fast Open.
        let taken = welcome || self.config.family == Family::Bsd;
        let payload = if taken { payload } else { &[] };
        let flags = if taken { flags } else { TcpFlags(0) };
        match self.take_cut(cx, header.seq + 1, payload, flags) {
            Outcome::SendReset => Outcome::SendReset,
            _ => Outcome::EnterEstablished,
        }
    }

    /// 3.10.7.4 for SYN-RECEIVED, until the connection is open.
    fn on_syn_received(&mut self, cx: Cx, state: SynReceived, header: &TcpHeader, payload: &[u8]) -> Outcome {
        let flags = header.flags;
        let syn_again = flags.has(TcpFlags::SYN) && header.seq == self.rcv.irs && !flags.has(TcpFlags::RST);
        // The peer's SYN-ACK of a simultaneous open (RFC 9293 figure 8) begins one before the window.
        let crossing = syn_again && flags.has(TcpFlags::ACK) && header.ack == self.snd.nxt;
        if syn_again && !crossing {
            // Our SYN-ACK was lost.
            self.pending.syn = true;
            return Outcome::Dropped(Ignored::Duplicate);
        }
        let seq = header.seq + u32::from(crossing);
        if let Some(why) = self.refuse(cx, header, seq, payload) {
            return Outcome::Dropped(why);
        }
        if flags.has(TcpFlags::RST) {
            return self.on_reset(cx, header);
        }
        if flags.has(TcpFlags::SYN) && !crossing {
            self.challenge(cx);
            return Outcome::Dropped(Ignored::UnexpectedSyn);
        }
        if !flags.has(TcpFlags::ACK) {
            return Outcome::Dropped(Ignored::NoAck);
        }
        //= rfc9293#3.10.7.4
        // SYN-RECEIVED: an ACK of anything but our SYN is answered with a reset; the state stays.
        if !(self.snd.una.lt(header.ack) && header.ack.le(self.snd.nxt)) {
            self.pending.reset = Some((header.ack, None));
            return Outcome::Dropped(Ignored::BadAck);
        }
        self.open_by_ack(cx, state, header, crossing);
        self.opened_with(cx, header, seq, payload)
    }

    /// SYN-RECEIVED to ESTABLISHED; `crossing` when a SYN-ACK does it.
    pub(super) fn open_by_ack(&mut self, cx: Cx, state: SynReceived, header: &TcpHeader, crossing: bool) {
        self.snd.una = self.snd.iss + 1;
        self.enter(cx, state.acked().into());
        let shift = if crossing { 0 } else { self.snd.shift };
        self.snd.wnd = u32::from(header.window) << shift;
        self.snd.max_wnd = self.snd.max_wnd.max(self.snd.wnd);
        (self.snd.wl1, self.snd.wl2) = (header.seq, header.ack);
        self.on_open(cx, header, Some(state.road));
        self.acked_with_syn(cx, header);
        if state.road == Road::Simultaneous {
            self.after_syn_ack(header);
        }
    }

    /// The segment that ended the handshake may carry text and FIN.
    fn opened_with(&mut self, cx: Cx, header: &TcpHeader, seq: Seq, payload: &[u8]) -> Outcome {
        match self.take_text_and_fin(cx, header, seq, payload) {
            Outcome::SendReset => Outcome::SendReset,
            _ => Outcome::EnterEstablished,
        }
    }

    /// 3.10.7.4 for all states from ESTABLISHED to LAST-ACK.
    fn on_synchronised(&mut self, cx: Cx, header: &TcpHeader, payload: &[u8], ecn: Ecn) -> Outcome {
        let flags = header.flags;
        // First, sequence number (and PAWS before it).
        if let Some(why) = self.refuse(cx, header, header.seq, payload) {
            return Outcome::Dropped(why);
        }
        // Second, the RST bit.
        if flags.has(TcpFlags::RST) {
            return self.on_reset(cx, header);
        }
        // Fourth, the SYN bit.
        if flags.has(TcpFlags::SYN) {
            //= rfc5961#4.2
            self.challenge(cx);
            return Outcome::Dropped(Ignored::UnexpectedSyn);
        }
        // Fifth, the ACK field.
        if !flags.has(TcpFlags::ACK) {
            return Outcome::Dropped(Ignored::NoAck);
        }
        if let Err(why) = self.on_ack(cx, header, payload.len() as u32) {
            return Outcome::Dropped(why);
        }
        if let Some(next) = self.state.fin_acked(self.snd.una) {
            self.enter(cx, next);
            if matches!(self.state, State::Closed(_)) {
                return Outcome::EnterClosed;
            }
        }
        self.ecn_received(header.flags, ecn, payload.len());
        // Seventh and eighth: text and FIN.
        self.take_text_and_fin(cx, header, header.seq, payload)
    }

    /// TIME-WAIT: a new SYN, the peer's FIN again, or something old.
    fn on_time_wait(&mut self, cx: Cx, header: &TcpHeader, payload: &[u8]) -> Outcome {
        let flags = header.flags;
        // What is left of a connection knows nothing of marks.
        self.ecn.echo = false;
        if flags.has(TcpFlags::RST) && !self.config.time_wait_ignores_reset && header.seq == self.rcv.nxt {
            self.enter(cx, Closed.into());
            return Outcome::ClosedByReset;
        }
        if flags.has(TcpFlags::RST) {
            //= rfc1337#3
            return Outcome::Dropped(Ignored::ResetInTimeWait);
        }
        if flags.has(TcpFlags::SYN) && !flags.has(TcpFlags::ACK) {
            //= rfc6191#2
            let newer = match header.options.timestamps.filter(|_| self.ts.on) {
                Some((value, _)) => {
                    Seq(value).gt(Seq(self.ts.recent))
                        || (value == self.ts.recent && header.seq.gt(self.rcv.nxt))
                }
                None => header.seq.gt(self.rcv.nxt),
            };
            if newer {
                return Outcome::Reopen;
            }
        }
        if flags.has(TcpFlags::SYN) {
            self.challenge(cx);
            return Outcome::Dropped(Ignored::UnexpectedSyn);
        }
        if flags.has(TcpFlags::FIN) {
            //= rfc9293#3.10.7.4
            // Acknowledge it and restart the 2 MSL timeout.
            self.ack.at_once();
            let end = cx.now + self.config.time_wait;
            self.timers.arm(cx, Slot::Linger, TimerKind::TimeWait, end);
            return Outcome::Dropped(Ignored::Duplicate);
        }
        if !payload.is_empty() || header.seq != self.rcv.nxt {
            self.reply_unacceptable(cx, header, payload);
            return Outcome::Dropped(Ignored::OutsideWindow);
        }
        Outcome::Dropped(Ignored::Duplicate)
    }

    /// The first step: is the segment acceptable at all? `seq` is its first byte without a SYN.
    fn refuse(&mut self, cx: Cx, header: &TcpHeader, seq: Seq, payload: &[u8]) -> Option<Ignored> {
        let reset = header.flags.has(TcpFlags::RST);
        if !reset && self.is_stale(cx, header) {
            self.reply_unacceptable(cx, header, payload);
            return Some(Ignored::Paws);
        }
        let len = payload.len() as u32 + u32::from(header.flags.has(TcpFlags::FIN));
        // Both ends may have filled the other's window and lost the end of what they sent: both ACKs then stand at an edge,
        // and unless one is heard nobody ever hears anything again. So Linux takes an ACK at the edge.
        let at_edge = len == 0 && !reset && seq == self.rcv.adv;
        if !at_edge && !self.acceptable(seq, len) {
            if !reset {
                self.reply_unacceptable(cx, header, payload);
            }
            let old = len > 0 && (seq + len).le(self.rcv.nxt);
            return Some(if old { Ignored::Duplicate } else { Ignored::OutsideWindow });
        }
        if let Some((value, _)) = header.options.timestamps.filter(|_| self.ts.on && !reset) {
            //= rfc7323#4.3
            // (2): only a segment that spans Last.ACK.sent may move TS.Recent, or a delayed ACK would be measured short.
            // Nor may one whose ACK is about to be refused.
            let sound = !header.flags.has(TcpFlags::ACK) || header.ack.le(self.snd.nxt);
            if sound && seq.le(self.ack.last_sent) && Seq(value).ge(Seq(self.ts.recent)) {
                self.ts.recent = value;
                self.ts.recent_at = cx.now;
            }
        }
        None
    }

    /// R1 of PAWS: an old timestamp. The clock may have wrapped after 24 days of silence.
    pub(super) fn is_stale(&self, cx: Cx, header: &TcpHeader) -> bool {
        //= rfc7323#5.3
        header.options.timestamps.is_some_and(|(value, _)| {
            self.ts.on
                && Seq(value).lt(Seq(self.ts.recent))
                && cx.now.since(self.ts.recent_at).0 < PAWS_DAYS * DAY
        })
    }

    /// RFC 7323 3.2: once agreed, timestamps are in every segment but a RST. Linux takes segments without.
    pub(super) fn lacks_timestamp(&self, header: &TcpHeader) -> bool {
        //= rfc7323#3.2
        self.ts.on
            && self.config.timestamps_required
            && header.options.timestamps.is_none()
            && !header.flags.has(TcpFlags::RST)
    }

    /// The right edge of what is taken: as offered, by the Berkeley stacks as far as the buffer goes.
    pub(super) fn edge(&self) -> Seq {
        if self.config.family == Family::Linux {
            return self.rcv.adv;
        }
        let free = self.rcv.limit.saturating_sub(self.rcv.buf.readable());
        self.rcv.adv.max(self.rcv.nxt + free)
    }

    /// The table of RFC 9293 3.10.7.4. Widened in one place: a segment at RCV.NXT passes even when the window is
    /// closed, because its ACK must be heard; its text is cut to the window later.
    fn acceptable(&self, seq: Seq, len: u32) -> bool {
        //= rfc9293#3.10.7.4
        let (nxt, wnd) = (self.rcv.nxt, self.rcv.wnd());
        if seq == nxt {
            return true;
        }
        let inside = |s: Seq| s - nxt < wnd;
        inside(seq) || (len > 0 && (inside(seq + (len - 1)) || (seq.lt(nxt) && (seq + (len - 1)).ge(nxt))))
    }

    /// An unacceptable segment is answered with an ACK. One with data always is, else an answer lost would stall the
    /// peer; others could come from a loop or an attacker and are rate-limited (RFC 5961 section 7).
    fn reply_unacceptable(&mut self, cx: Cx, header: &TcpHeader, payload: &[u8]) {
        let syn = header.flags.has(TcpFlags::SYN);
        let data = !payload.is_empty() || header.flags.has(TcpFlags::FIN);
        let probe = payload.is_empty() && header.seq + 1 == self.rcv.nxt;
        if !syn && data {
            if header.seq.lt(self.rcv.nxt) {
                self.report_duplicate(header.seq, payload.len() as u32);
            }
            self.ack.disorder(&self.config);
        } else if !syn && probe {
            // The peer asks (window probe, keepalive), at most every RTO.
            if self.may_challenge(cx, Nanos(self.config.challenge_interval.0 / 5)) {
                self.ack.at_once();
            }
        } else {
            self.challenge(cx);
        }
    }

    /// Notes a challenge ACK, if the last one is long enough ago.
    pub(super) fn challenge(&mut self, cx: Cx) {
        //= rfc5961#7
        self.pending.challenge |= self.may_challenge(cx, self.config.challenge_interval);
    }

    fn may_challenge(&mut self, cx: Cx, interval: Nanos) -> bool {
        let may = self.pending.challenged_at.is_none_or(|at| cx.now.since(at) >= interval);
        if may {
            self.pending.challenged_at = Some(cx.now);
        }
        may
    }

    /// The second step, for an acceptable RST.
    fn on_reset(&mut self, cx: Cx, header: &TcpHeader) -> Outcome {
        //= rfc5961#3.2
        // Only an exact hit resets; the rest of the window gets a challenge.
        if header.seq != self.rcv.nxt {
            self.challenge(cx);
            return Outcome::Dropped(Ignored::BlindReset);
        }
        match self.state {
            State::SynReceived(SynReceived { road: Road::Simultaneous }) => self.fail(cx, TcpError::Refused),
            State::Closing(s) => self.enter(cx, s.reset().into()),
            State::LastAck(s) => self.enter(cx, s.reset().into()),
            State::CloseWait(_) if self.config.family != Family::Bsd => self.fail(cx, TcpError::BrokenPipe),
            _ => self.fail(cx, TcpError::Reset),
        }
        Outcome::ClosedByReset
    }

    /// The seventh and eighth steps: segment text and FIN. `seq` is where the text begins.
    fn take_text_and_fin(&mut self, cx: Cx, header: &TcpHeader, seq: Seq, payload: &[u8]) -> Outcome {
        let fin = header.flags.has(TcpFlags::FIN);
        if (payload.is_empty() && !fin) || !self.state.may_receive() {
            return Outcome::Accepted;
        }
        let end = seq + payload.len() as u32;
        if self.app_closed && end.gt(self.rcv.nxt) && !payload.is_empty() {
            //= rfc9293#3.6.1
            // Nobody will read it: the peer must know. As in every answer to a segment with ACK, its number is the one that
            // the segment acknowledged (RFC 9293 3.10.7.1).
            self.reset_now(cx, None);
            self.pending.reset = Some((header.ack, None));
            return Outcome::SendReset;
        }
        self.take_cut(cx, seq, payload, header.flags)
    }

    /// Text and FIN as far as the connection still receives.
    pub(super) fn take_cut(&mut self, cx: Cx, seq: Seq, text: &[u8], flags: TcpFlags) -> Outcome {
        if (text.is_empty() && !flags.has(TcpFlags::FIN)) || !self.state.may_receive() {
            return Outcome::Accepted;
        }
        let end = seq + text.len() as u32;
        let ignored =
            if text.is_empty() { None } else { self.take_text(cx, seq, text, flags.has(TcpFlags::PSH)) };
        let fin = flags.has(TcpFlags::FIN);
        if fin && end.ge(self.rcv.nxt) && end.le(self.edge().max(self.rcv.nxt)) {
            self.take_fin(end);
        }
        self.finish_receiving(cx);
        ignored.map_or(Outcome::Accepted, Outcome::Dropped)
    }

    /// Stores what of the text is in the window, and decides about the ACK.
    fn take_text(&mut self, cx: Cx, seq: Seq, payload: &[u8], pushed: bool) -> Option<Ignored> {
        let old = if seq.lt(self.rcv.nxt) { self.rcv.nxt - seq } else { 0 };
        if old as usize >= payload.len() {
            self.report_duplicate(seq, payload.len() as u32);
            self.ack.disorder(&self.config);
            return Some(Ignored::Duplicate);
        }
        if old > 0 {
            self.report_duplicate(seq, old);
        }
        let first = seq + old;
        let edge = self.edge();
        let room = if first.gt(edge) { 0 } else { (edge - first) as usize };
        let at = self.rcv.offset(first);
        let most = self.rcv.fin.map_or(usize::MAX, |fin| fin.saturating_sub(at) as usize);
        let text = &payload[old as usize..];
        let text = &text[..text.len().min(room).min(most)];
        let had_holes = self.rcv.buf.has_holes();
        let again = if had_holes { self.rcv.buf.held_within(at, text.len()) } else { None };
        // FreeBSD reports one duplicate of a segment: what comes before RCV.NXT first.
        let bsd = self.config.family == Family::Bsd;
        let again = again.filter(|_| !bsd || self.rcv.dsack.is_none());
        match self.rcv.buf.store(at, text) {
            Stored::InOrder(n) => {
                if let Some((from, len)) = again {
                    //= rfc2883#4.3
                    // The end of a segment that fills a hole may be held already.
                    self.report_duplicate(first + from, len);
                }
                self.rcv.nxt += n;
                self.woken = true;
                let rto = self.rtt.rto(&self.config);
                let arrived = Arrived {
                    len: text.len() as u32,
                    pushed,
                    nxt: self.rcv.nxt,
                    window: self.rcv.wnd(),
                    rto,
                    mss: self.largest_segment(),
                };
                self.ack.on_data(&self.config, cx.now, arrived);
                if had_holes || text.len() < payload.len() - old as usize {
                    self.ack.at_once();
                }
                self.widen(n);
                None
            }
            Stored::Beyond => {
                if let Some((from, len)) = again.filter(|_| bsd) {
                    // tcp_update_dsack_list of FreeBSD reports it wherever it lies.
                    self.report_duplicate(first + from, len);
                }
                self.ack.disorder(&self.config);
                self.tell_hole(cx);
                None
            }
            Stored::Duplicate => {
                self.report_duplicate(first, text.len() as u32);
                self.ack.disorder(&self.config);
                Some(if text.is_empty() { Ignored::OutsideWindow } else { Ignored::Duplicate })
            }
            Stored::Refused => {
                self.ack.disorder(&self.config);
                Some(Ignored::TooManyHoles)
            }
        }
    }

    /// Remembers where the peer's FIN stands, unless data beyond it says otherwise.
    fn take_fin(&mut self, at: Seq) {
        let offset = self.rcv.offset(at);
        if self.rcv.fin.is_none() && !self.rcv.buf.holds_beyond(offset) {
            self.rcv.fin = Some(offset);
        }
        self.ack.at_once();
    }

    /// When all before the FIN is there, the FIN takes effect.
    fn finish_receiving(&mut self, cx: Cx) {
        if self.rcv.fin_received || self.rcv.fin != Some(self.rcv.buf.next()) {
            return;
        }
        //= rfc9293#3.10.7.4
        self.rcv.fin_received = true;
        self.rcv.nxt += 1;
        self.rcv.adv = self.rcv.adv.max(self.rcv.nxt);
        self.ack.at_once();
        if let Some(next) = self.state.fin_received() {
            self.enter(cx, next);
        }
    }

    /// The window grows with what arrives, twice as fast, as long as the application reads: so it is never what limits
    /// slow start (Linux's rcv_ssthresh works alike).
    fn widen(&mut self, received: u32) {
        if self.rcv.shift == 0
            || self.config.recv_buffer_fixed.is_some()
            || self.rcv.buf.readable() > self.rcv.limit / 2 + received
        {
            return;
        }
        let clamp = self.config.window_clamp.unwrap_or(u32::MAX);
        let most = self.config.recv_buffer.min(MAX_UNSCALED << self.rcv.shift).min(clamp).max(self.rcv.limit);
        self.rcv.limit = self.rcv.limit.saturating_add(2 * received).min(most);
    }

    pub(super) fn report_duplicate(&mut self, seq: Seq, len: u32) {
        //= rfc2883#4
        if self.rcv.sack && self.config.dsack && len > 0 {
            self.rcv.dsack = Some((seq, seq + len));
        }
    }

    fn tell_hole(&mut self, cx: Cx) {
        let missing = self.rcv.buf.next();
        if cx.recording && self.rcv.hole_told != Some(missing) {
            self.rcv.hole_told = Some(missing);
            self.records.push(What::TcpHole { conn: self.conn, missing });
        }
    }

    fn arm_delayed_ack(&mut self, cx: Cx) {
        if self.ack.due != Due::Delayed {
            return;
        }
        let delay = self.ack.delay(&self.config, self.rtt.srtt());
        let armed = self.timers.at(Slot::Ack);
        if armed <= cx.now + Nanos(delay.0 / 4) {
            // It is about to fire: Linux does not wait for it.
            self.ack.at_once();
        } else if cx.now + delay < armed {
            self.timers.arm(cx, Slot::Ack, TimerKind::DelayedAck, cx.now + delay);
        }
    }

    /// The window field for a segment leaving now. The right edge moves only by steps worth a segment (RFC 9293
    /// 3.8.6.2.2), never back, except for less than one unit of the window scale when the buffer is full (RFC 7323
    /// 2.4 knows this; what was once offered is still accepted).
    pub(super) fn window_field(&mut self, scaled: bool) -> u16 {
        let shift = if scaled { self.rcv.shift } else { 0 };
        if self.config.window_offer != WindowOffer::Steps {
            return self.window_field_bsd(shift);
        }
        let unit = 1u32 << shift;
        let free = self.rcv.limit.saturating_sub(self.rcv.buf.readable());
        let now = self.rcv.wnd();
        let step = u32::from(self.rcv.mss).min(self.rcv.limit / 2);
        //= rfc9293#3.8.6.2.2
        let want = if free > now && free - now >= step { free } else { now };
        let mut field = want.div_ceil(unit);
        if (field << shift) > free + unit {
            field = want / unit;
        }
        let field = field.min(MAX_UNSCALED);
        self.rcv.adv = self.rcv.adv.max(self.rcv.nxt + (field << shift));
        field as u16
    }

    /// After a read: tell the peer when its window would at least double.
    pub(super) fn offer_window_after_read(&mut self) {
        if !self.state.may_receive() {
            return;
        }
        let free = self.rcv.limit.saturating_sub(self.rcv.buf.readable());
        let now = self.rcv.wnd();
        if self.config.family == Family::Bsd {
            if self.worth_telling_bsd(free.min(MAX_UNSCALED << self.rcv.shift), now) {
                self.ack.at_once();
            }
            return;
        }
        let step = u32::from(self.rcv.mss).min(self.rcv.limit / 2);
        if free >= now.saturating_mul(2) && free - now >= step {
            self.ack.at_once();
        }
    }
}

/// Nanoseconds of a day.
const DAY: u64 = 86_400_000_000_000;
/// RFC 7323 5.5: TS.Recent is believed for so long.
const PAWS_DAYS: u64 = 24;
