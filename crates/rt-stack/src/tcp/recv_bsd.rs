//! A received segment in the order of the Berkeley stacks (FreeBSD, macOS): sequence numbers are trimmed to the window
//! instead of judged whole, half-open connections of a listener answer as FreeBSD's SYN cache does, and the window that
//! judges is what the buffer has room for, not what was offered.
//!
//! The steps themselves (ACK, text, FIN) are shared with `recv`; this file has only what is asked in another order.
//! Deliberately not here: FreeBSD's header prediction, which changes nothing that can be seen.

use rt_base::TimerKind;
use rt_wire::{Seq, TcpFlags, TcpHeader};

use super::config::WindowOffer;
use super::connection::Connection;
use super::open;
use super::recv_buffer::Early;
use super::segment::{Cx, Ecn, Ignored, Outcome, TcpError};
use super::states::{Road, State, SynReceived};
use super::timers::Slot;
use super::variables::MAX_UNSCALED;

/// What is left of a segment after the window has cut it.
struct Cut<'a> {
    seq: Seq,
    text: &'a [u8],
    fin: bool,
}

impl Cut<'_> {
    fn flags(&self) -> TcpFlags {
        if self.fin { TcpFlags::FIN } else { TcpFlags(0) }
    }
}

impl Connection {
    /// Any state from SYN-RECEIVED on.
    pub(super) fn on_segment_bsd(&mut self, cx: Cx, header: &TcpHeader, payload: &[u8], ecn: Ecn) -> Outcome {
        match self.state {
            State::SynReceived(SynReceived { road: Road::Passive }) => {
                self.on_half_open_bsd(cx, header, payload, ecn)
            }
            State::TimeWait(_) => self.on_time_wait_bsd(cx, header, payload),
            _ => self.on_connected_bsd(cx, header, payload, ecn),
        }
    }

    /// A half-open connection of a listener (the SYN cache): only its ACK opens it, and nothing but an exact RST ends it.
    fn on_half_open_bsd(&mut self, cx: Cx, header: &TcpHeader, payload: &[u8], ecn: Ecn) -> Outcome {
        let flags = header.flags;
        let from_first = header.seq - (self.rcv.irs + 1);
        if flags.has(TcpFlags::RST) {
            let bare = !flags.any(TcpFlags::ACK | TcpFlags::SYN | TcpFlags::FIN);
            if !bare || from_first >= self.rcv.wnd() {
                return Outcome::Dropped(Ignored::BlindReset);
            }
            if self.config.insecure.rst || from_first == 0 {
                self.fail(cx, TcpError::Refused);
                return Outcome::ClosedByReset;
            }
            self.challenge(cx);
            return Outcome::Dropped(Ignored::BlindReset);
        }
        if flags.has(TcpFlags::SYN) && flags.has(TcpFlags::ACK) {
            self.pending.reset = Some((header.ack, None));
            return Outcome::Dropped(Ignored::UnexpectedSyn);
        }
        if flags.has(TcpFlags::SYN) {
            // Whatever its number: our SYN-ACK again.
            self.pending.syn = true;
            if let Some((value, _)) = header.options.timestamps.filter(|_| self.ts.on) {
                (self.ts.recent, self.ts.recent_at) = (value, cx.now);
            }
            return Outcome::Dropped(Ignored::Duplicate);
        }
        if !flags.has(TcpFlags::ACK) {
            return Outcome::Dropped(Ignored::NoAck);
        }
        if header.ack != self.snd.iss + 1 {
            self.pending.reset = Some((header.ack, None));
            return Outcome::Dropped(Ignored::BadAck);
        }
        if header.seq.le(self.rcv.irs) || header.seq.gt(self.rcv.irs + self.rcv.wnd()) {
            self.challenge(cx);
            return Outcome::Dropped(Ignored::OutsideWindow);
        }
        self.on_connected_bsd(cx, header, payload, ecn)
    }

    /// SYN-RECEIVED of a simultaneous open, and all states from ESTABLISHED to LAST-ACK.
    fn on_connected_bsd(&mut self, cx: Cx, header: &TcpHeader, payload: &[u8], ecn: Ecn) -> Outcome {
        let flags = header.flags;
        let half_open = matches!(self.state, State::SynReceived(_));
        if self.lacks_timestamp(header) {
            return Outcome::Dropped(Ignored::NoTimestamp);
        }
        if flags.has(TcpFlags::RST) {
            return self.on_reset_bsd(cx, header);
        }
        let acks = flags.has(TcpFlags::ACK);
        if half_open && acks && !(self.snd.una.lt(header.ack) && header.ack.le(self.snd.nxt)) {
            self.pending.reset = Some((header.ack, None));
            return Outcome::Dropped(Ignored::BadAck);
        }
        // Half open, only the peer's own SYN again is left to the rest; one of Fast Open is ignored, as FreeBSD does while
        // its timer runs. A SYN within the window would put the text one byte off.
        let own = half_open && header.seq.lt(self.rcv.nxt);
        if flags.has(TcpFlags::SYN) && self.is_fast_open() && own {
            return Outcome::Dropped(Ignored::Duplicate);
        }
        if flags.has(TcpFlags::SYN) && !own {
            return self.on_syn_bsd(cx, header);
        }
        if self.is_stale(cx, header) {
            if !payload.is_empty() {
                self.ack.at_once();
            }
            return Outcome::Dropped(Ignored::Paws);
        }
        if half_open && header.seq.lt(self.rcv.irs) {
            let reset = open::reset_for(header, payload.len() as u32);
            self.pending.reset = reset.map(|r| (r.seq, r.flags.has(TcpFlags::ACK).then_some(r.ack)));
            return Outcome::Dropped(Ignored::OutsideWindow);
        }
        let (cut, duplicate) = self.trim_left(header, payload);
        if self.app_closed && !cut.text.is_empty() && self.is_past_close_wait() {
            //= rfc9293#3.6.1
            // Nobody will read it: the connection is gone, and the segment is answered as if it had never been.
            self.fail(cx, TcpError::Reset);
            self.error = None;
            self.pending.reset = Some((header.ack, None));
            return Outcome::SendReset;
        }
        let Some(cut) = self.trim_right(cut) else {
            self.answer_bsd();
            return Outcome::Dropped(Ignored::OutsideWindow);
        };
        self.note_timestamp_bsd(cx, header, &cut);
        if !acks {
            if half_open {
                self.hold_early(&cut);
            }
            return Outcome::Dropped(Ignored::NoAck);
        }
        if let Err(why) = self.judge_ack_bsd(cx, header) {
            return Outcome::Dropped(why);
        }
        let outcome = self.on_acceptable_bsd(cx, header, payload.len() as u32, ecn, &cut);
        if duplicate && outcome == Outcome::Accepted { Outcome::Dropped(Ignored::Duplicate) } else { outcome }
    }

    /// The ACK's work and then the text, for a segment that passed all checks.
    fn on_acceptable_bsd(
        &mut self,
        cx: Cx,
        header: &TcpHeader,
        payload_len: u32,
        ecn: Ecn,
        cut: &Cut,
    ) -> Outcome {
        if let State::SynReceived(state) = self.state {
            self.open_by_ack(cx, state, header, header.flags.has(TcpFlags::SYN));
            let early = self.rcv.early.take();
            if let Some(early) = early {
                let _ = self.take_cut(cx, self.rcv.nxt, &early.text, TcpFlags::PSH);
            }
            let _ = self.take_cut(cx, cut.seq, cut.text, cut.flags());
            return Outcome::EnterEstablished;
        }
        if let Err(why) = self.on_ack(cx, header, payload_len) {
            return Outcome::Dropped(why);
        }
        if let Some(next) = self.state.fin_acked(self.snd.una) {
            self.enter(cx, next);
            match self.state {
                State::Closed(_) => return Outcome::EnterClosed,
                State::TimeWait(_) => return Outcome::Accepted,
                _ => {}
            }
        }
        self.ecn_received(header.flags, ecn, payload_len as usize);
        self.take_cut(cx, cut.seq, cut.text, cut.flags())
    }

    /// The SYN-SENT and SYN-RECEIVED states keep text until the connection is open, but no FIN.
    fn hold_early(&mut self, cut: &Cut) {
        if self.rcv.early.is_none() && cut.seq == self.rcv.nxt && (!cut.text.is_empty() || cut.fin) {
            self.rcv.early = Some(Box::new(Early { text: cut.text.to_vec() }));
            self.pending.syn = true;
        }
    }

    /// The same for the SYN that makes an open simultaneous; `payload` begins after the SYN.
    pub(super) fn hold_with_syn(&mut self, payload: &[u8], fin: bool) {
        let room = payload.len().min(self.rcv.wnd() as usize);
        self.hold_early(&Cut {
            seq: self.rcv.nxt,
            text: &payload[..room],
            fin: fin && room == payload.len(),
        });
    }

    /// Cuts off what came before. Whether all of it had; then an ACK is due, and FIN and text are gone.
    fn trim_left<'a>(&mut self, header: &TcpHeader, payload: &'a [u8]) -> (Cut<'a>, bool) {
        let mut cut = Cut { seq: header.seq, text: payload, fin: header.flags.has(TcpFlags::FIN) };
        if !cut.seq.lt(self.rcv.nxt) {
            return (cut, false);
        }
        if header.flags.has(TcpFlags::SYN) {
            cut.seq += 1;
        }
        let mut behind = (self.rcv.nxt - cut.seq) as usize;
        let whole = behind > cut.text.len() || (behind == cut.text.len() && !cut.fin);
        if whole {
            cut.fin = false;
            behind = cut.text.len();
            self.answer_bsd();
        }
        if behind > 0 {
            self.report_duplicate(cut.seq, behind as u32);
            self.answer_bsd();
        }
        cut.seq += behind as u32;
        cut.text = &cut.text[behind..];
        (cut, whole)
    }

    /// Cuts off what the buffer has no room for; `None` when nothing is left and an ACK is all there is to do.
    fn trim_right<'a>(&mut self, mut cut: Cut<'a>) -> Option<Cut<'a>> {
        let edge = self.edge();
        let end = cut.seq + cut.text.len() as u32;
        if !end.gt(edge) {
            return Some(cut);
        }
        let over = (end - edge) as usize;
        if over >= cut.text.len() {
            // A probe of a closed window still brings its ACK.
            if edge != self.rcv.nxt || cut.seq != self.rcv.nxt {
                return None;
            }
            self.ack.at_once();
        }
        cut.text = &cut.text[..cut.text.len().saturating_sub(over)];
        cut.fin = false;
        Some(cut)
    }

    /// RFC 7323 4.3, as the Berkeley stacks have it: both ends of the segment count.
    fn note_timestamp_bsd(&mut self, cx: Cx, header: &TcpHeader, cut: &Cut) {
        //= rfc7323#4.3
        let Some((value, _)) = header.options.timestamps.filter(|_| self.ts.on) else { return };
        let end = cut.seq + cut.text.len() as u32 + u32::from(cut.fin || header.flags.has(TcpFlags::SYN));
        if cut.seq.le(self.ack.last_sent) && self.ack.last_sent.le(end) {
            (self.ts.recent, self.ts.recent_at) = (value, cx.now);
        }
    }

    /// RFC 5961 5.2, with the ACK of an earlier life of the ports told apart.
    fn judge_ack_bsd(&mut self, cx: Cx, header: &TcpHeader) -> Result<(), Ignored> {
        //= rfc5961#5.2
        let young = self.snd.buf.base() < u64::from(self.snd.max_wnd);
        let oldest = if young { self.snd.iss + 1 } else { self.snd.una - self.snd.max_wnd };
        if header.ack.lt(oldest) && !self.config.insecure.ack {
            self.challenge(cx);
            return Err(Ignored::BadAck);
        }
        if header.ack.gt(self.snd.nxt) {
            self.ack.at_once();
            return Err(Ignored::BadAck);
        }
        Ok(())
    }

    fn on_reset_bsd(&mut self, cx: Cx, header: &TcpHeader) -> Outcome {
        //= rfc5961#3.2
        let (first, window) = (self.ack.last_sent, self.edge() - self.rcv.nxt);
        let exact = header.seq == first;
        let inside = header.seq - first < window || (window == 0 && exact);
        if !inside {
            return Outcome::Dropped(Ignored::BlindReset);
        }
        if !exact && !self.config.insecure.rst {
            self.challenge(cx);
            return Outcome::Dropped(Ignored::BlindReset);
        }
        let refused = matches!(self.state, State::SynReceived(_));
        self.fail(cx, if refused { TcpError::Refused } else { TcpError::Reset });
        Outcome::ClosedByReset
    }

    fn on_syn_bsd(&mut self, cx: Cx, header: &TcpHeader) -> Outcome {
        //= rfc5961#4.2
        let inside = header.seq - self.ack.last_sent < self.edge() - self.rcv.nxt;
        if self.config.insecure.syn && inside {
            self.reset_now(cx, Some(TcpError::Reset));
            return Outcome::SendReset;
        }
        self.challenge(cx);
        Outcome::Dropped(Ignored::UnexpectedSyn)
    }

    /// TIME-WAIT: everything with an ACK that is not exactly the last ACK again is acknowledged.
    fn on_time_wait_bsd(&mut self, cx: Cx, header: &TcpHeader, payload: &[u8]) -> Outcome {
        let flags = header.flags;
        if flags.has(TcpFlags::RST) {
            //= rfc1337#3
            return Outcome::Dropped(Ignored::ResetInTimeWait);
        }
        if self.lacks_timestamp(header) {
            return Outcome::Dropped(Ignored::NoTimestamp);
        }
        if flags.has(TcpFlags::SYN) && !flags.has(TcpFlags::ACK) && header.seq.gt(self.rcv.nxt) {
            //= rfc6191#2
            return Outcome::Reopen;
        }
        if !flags.has(TcpFlags::ACK) {
            return Outcome::Dropped(Ignored::NoAck);
        }
        let end = header.seq + header.seq_len(payload.len());
        if flags.has(TcpFlags::FIN) && end == self.rcv.nxt {
            //= rfc9293#3.10.7.4
            let end = cx.now + self.config.time_wait;
            self.timers.arm(cx, Slot::Linger, TimerKind::TimeWait, end);
        }
        let last_again = flags == TcpFlags::ACK
            && payload.is_empty()
            && header.seq == self.rcv.nxt
            && header.ack == self.snd.nxt;
        if !last_again {
            self.ack.at_once();
        }
        Outcome::Dropped(Ignored::Duplicate)
    }

    /// Whether a window of `could` bytes instead of `is` is worth a segment of its own: two segments more and a good part
    /// of the buffer.
    pub(super) fn worth_telling_bsd(&self, could: u32, is: u32) -> bool {
        //= rfc9293#3.8.6.2.2
        let (more, limit, mss) = (could.saturating_sub(is), self.rcv.limit, u32::from(self.rcv.mss));
        let much = more >= limit / 4
            || could <= limit / 8
            || limit <= 8 * mss
            || more >= MAX_UNSCALED << self.rcv.shift;
        (more >= 2 * mss && much) || (more > 0 && more.saturating_mul(2) >= limit)
    }

    /// The window field of FreeBSD (tcp_output): all that the buffer has room for, whenever a segment leaves,
    /// but nothing small, and never less than was offered. A scaled field is rounded up so that it does not shrink; before
    /// FreeBSD 13 it was rounded down.
    pub(super) fn window_field_bsd(&mut self, shift: u8) -> u16 {
        //= rfc9293#3.8.6.2.2
        let free = self.rcv.limit.saturating_sub(self.rcv.buf.readable());
        let small = free < self.rcv.limit / 4 && free < self.agreed_mss();
        let want = if small { 0 } else { free.min(MAX_UNSCALED << shift) }.max(self.rcv.wnd());
        let field = match self.config.window_offer {
            WindowOffer::AllRoundedDown => want >> shift,
            _ => want.div_ceil(1 << shift).min(MAX_UNSCALED),
        };
        self.rcv.adv = self.rcv.adv.max(self.rcv.nxt + (field << shift));
        field as u16
    }

    /// An ACK is due at once; before the connection is open the SYN-ACK carries it.
    fn answer_bsd(&mut self) {
        if matches!(self.state, State::SynReceived(_)) {
            self.pending.syn = true;
        } else {
            self.ack.at_once();
        }
    }

    fn is_past_close_wait(&self) -> bool {
        !matches!(self.state, State::SynReceived(_) | State::Established(_) | State::CloseWait(_))
    }
}
