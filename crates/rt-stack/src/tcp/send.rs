//! What goes out next: `next_segment` is asked until it says `None`, and gives one segment at a time in this order:
//! reset, SYN, retransmission, new data and FIN, probes, challenge ACK, ACK.

use rt_base::{Blocked, EventId, SendWhy, Time, TimerKind, What};
use rt_wire::{Seq, TcpFlags, TcpHeader, TcpOptions};

use super::ack_policy::Due;
use super::chrono::Sending;
use super::config::Family;
use super::congestion::Window;
use super::connection::Connection;
use super::flight::Sent;
use super::probe::Due as Probe;
use super::recovery::{CongestionState, Resend};
use super::segment::{Cx, Ecn, Segment, SegmentToken};
use super::states::State;
use super::timers::Slot;

/// What a segment is for, and what it carries.
#[derive(Clone, Copy)]
struct Plan {
    seq: Seq,
    len: u32,
    flags: TcpFlags,
    why: SendWhy,
    origin: (EventId, Time),
    sack: bool,
    /// Text that was never sent.
    fresh: bool,
}

/// What may be sent of what waits.
enum NewData {
    /// So many bytes, with the FIN or without.
    Send { len: u32, fin: bool },
    /// Not now.
    Wait(Blocked),
    /// There is nothing.
    Nothing,
}

impl Connection {
    /// The next segment that is due now, if any. Ask again until there is none.
    pub fn next_segment(&mut self, cx: Cx) -> Option<Segment> {
        if let Some((seq, ack)) = self.pending.reset.take() {
            return Some(self.reset_segment(cx, seq, ack));
        }
        match self.state {
            State::Closed(_) => None,
            State::SynSent(_) => self.next_syn(cx, TcpFlags::SYN),
            State::SynReceived(_) if self.pending.held => None,
            State::SynReceived(_) => {
                let flags = TcpFlags::SYN | TcpFlags::ACK;
                if self.is_fast_open() {
                    return self.next_syn(cx, flags).or_else(|| self.next_synchronised(cx));
                }
                self.next_syn(cx, flags).or_else(|| self.next_ack(cx))
            }
            _ => self.next_synchronised(cx),
        }
    }

    fn next_synchronised(&mut self, cx: Cx) -> Option<Segment> {
        if self.state.may_send() {
            let data = self.next_tail_probe(cx).or_else(|| match self.recovery.resend {
                Resend::AsUsual => self.next_retransmission(cx).or_else(|| self.next_new(cx)),
                Resend::NewOnly => self.next_new(cx),
                Resend::NewFirst => self.next_of_frto(cx),
            });
            if data.is_some() {
                return data;
            }
            self.stop_burst();
            self.validate_window(cx);
        }
        self.next_probe(cx).or_else(|| self.next_ack(cx))
    }

    /// RFC 5682, step 2b: new data; when there is none, or it may not leave, recovery goes on as always.
    fn next_of_frto(&mut self, cx: Cx) -> Option<Segment> {
        let new = self.next_new(cx);
        if new.is_some() || self.snd.nxt.gt(self.recovery.high) {
            return new;
        }
        self.recovery.frto = false;
        self.recovery.resend = Resend::AsUsual;
        self.next_retransmission(cx)
    }

    /// The tail loss probe (RFC 8985 7.3), whatever the congestion window and Nagle say.
    fn next_tail_probe(&mut self, cx: Cx) -> Option<Segment> {
        let probe = self.recovery.probe.take_due()?;
        let segment = match probe {
            Probe::NewData => {
                let full = self.full();
                let (len, fin) = self.sendable(full);
                (len > 0 || fin).then(|| self.send_new(cx, len, fin, SendWhy::TailLossProbe))
            }
            Probe::Repeat => self.snd.flight.back().map(|(position, _)| {
                self.snd.flight.split_back(position, self.snd.mss);
                let (position, sent) = self.snd.flight.back().expect("invariant: it was there");
                self.snd.flight.repeat(position, cx.now, self.recovery.counts.delivered);
                self.recovery.counts.repeated += 1;
                self.repeat_segment(cx, &sent, SendWhy::TailLossProbe)
            }),
        };
        if segment.is_some() {
            self.recovery.probe.sent(self.snd.nxt, probe == Probe::Repeat);
        }
        self.arm_rto(cx);
        segment
    }

    fn next_retransmission(&mut self, cx: Cx) -> Option<Segment> {
        let (position, sent) = self.snd.flight.next_lost()?;
        if self.snd.flight.pipe() >= self.recovery.window.cwnd {
            self.block(cx, Some(Blocked::Cwnd));
            return None;
        }
        if !self.may_burst(cx) {
            self.block(cx, Some(Blocked::Pacing));
            return None;
        }
        // The window may have shrunk since; only the oldest segment goes out all the same, as a probe.
        let room = (self.snd.una + self.snd.wnd) - sent.seq;
        let room = if sent.seq.ge(self.snd.una + self.snd.wnd) { 0 } else { room };
        if room == 0 && sent.seq != self.snd.una {
            self.block(cx, Some(Blocked::PeerWindow));
            return None;
        }
        let most = if room == 0 { self.snd.mss } else { self.snd.mss.min(room) };
        self.snd.flight.split(position, most);
        let (position, sent) = self.snd.flight.next_lost()?;
        self.snd.flight.repeat(position, cx.now, self.recovery.counts.delivered);
        self.blocked = None;
        self.note_repetition(cx);
        let why = match self.recovery.state {
            CongestionState::Loss if self.recovery.too_long => SendWhy::PathMtu,
            CongestionState::Loss => SendWhy::RtoRetransmit,
            _ => SendWhy::FastRetransmit,
        };
        let waits = self.timers.is(Slot::Retransmit, TimerKind::Reorder);
        if sent.seq == self.snd.una && !waits {
            self.arm_rto(cx);
        }
        let mut segment = self.repeat_segment(cx, &sent, why);
        let next = sent.seq + sent.len;
        if self.ends_burst(cx, segment.len, |c| c.repeatable(next)) {
            segment.header.flags = segment.header.flags | TcpFlags::PSH;
        }
        if self.burst.is_over() {
            self.snd.flight.part(next);
        }
        Some(segment)
    }

    /// Lost segments from `next` on, without a gap, that could be repeated now.
    fn repeatable(&self, next: Seq) -> u32 {
        let room = self.recovery.window.cwnd.saturating_sub(self.snd.flight.pipe());
        self.snd.flight.lost_run(next, room)
    }

    /// Counts a repetition, for PRR and for taking recovery back.
    fn note_repetition(&mut self, cx: Cx) {
        let r = &mut self.recovery;
        r.counts.repeated += 1;
        r.undo.repeated = Some(r.undo.repeated.unwrap_or(0) + 1);
        r.undo.first_at = r.undo.first_at.or(Some(cx.now));
        if r.reducing() {
            r.prr.out += 1;
        }
    }

    fn repeat_segment(&mut self, cx: Cx, sent: &Sent, why: SendWhy) -> Segment {
        let len = sent.len - u32::from(sent.fin);
        let mut flags = TcpFlags::ACK;
        if sent.fin {
            flags = flags | TcpFlags::FIN;
        }
        if len > 0 && self.snd.offset(sent.seq) + u64::from(len) == self.snd.buf.end() {
            flags = flags | TcpFlags::PSH;
        }
        let sack = len + self.sack_room() <= self.snd.mss;
        self.build(
            cx,
            Plan { seq: sent.seq, len, flags, why, origin: (sent.event, sent.sent_at), sack, fresh: false },
        )
    }

    fn next_new(&mut self, cx: Cx) -> Option<Segment> {
        match self.new_data(cx) {
            NewData::Nothing => {
                let full = self.snd.wants_room && self.snd.unsent() == 0;
                self.block(cx, full.then_some(Blocked::SendBuffer));
                self.no_longer(cx.now, Sending::PeerWindow);
                None
            }
            NewData::Wait(reason) => {
                self.block(cx, Some(reason));
                let free = self.snd.flight.pipe() < self.recovery.window.cwnd;
                if reason == Blocked::PeerWindow && free {
                    self.held_up(cx.now, Sending::PeerWindow);
                } else {
                    self.no_longer(cx.now, Sending::PeerWindow);
                }
                if matches!(reason, Blocked::PeerWindow | Blocked::Cork) && self.snd.flight.is_empty() {
                    self.arm_persist(cx);
                }
                None
            }
            NewData::Send { len, fin } => Some(self.send_new(cx, len, fin, SendWhy::NewData)),
        }
    }

    /// What a full segment takes now, with the SACK blocks that it has to carry.
    fn full(&self) -> u32 {
        self.snd.mss - self.sack_room().min(self.snd.mss / 2)
    }

    /// What the peer's window still takes. The one in a SYN begins behind the answer to it (RFC 7413).
    pub(super) fn usable(&self) -> u32 {
        let answered = !matches!(self.state, State::SynReceived(_)) || self.snd.una != self.snd.iss;
        if answered || self.config.family != Family::Linux {
            return self.snd.usable();
        }
        (self.snd.wnd + 1).saturating_sub(self.snd.nxt - self.snd.una)
    }

    /// How many bytes of a segment of at most `full` the peer's window lets leave, and whether the FIN goes along.
    fn sendable(&self, full: u32) -> (u32, bool) {
        let unsent = self.snd.unsent();
        let fin = self.snd.fin_queued && !self.snd.fin_sent;
        let usable = self.usable();
        let len = unsent.min(full).min(usable);
        (len, fin && len == unsent && len < usable)
    }

    /// How much new data may leave: the peer's window, the congestion window, silly windows, Nagle.
    fn new_data(&mut self, cx: Cx) -> NewData {
        let unsent = self.snd.unsent();
        if unsent == 0 && (!self.snd.fin_queued || self.snd.fin_sent) {
            return NewData::Nothing;
        }
        let full = self.full();
        let (len, takes_fin) = self.sendable(full);
        if len == 0 && !takes_fin {
            return NewData::Wait(Blocked::PeerWindow);
        }
        if self.snd.flight.is_empty() {
            self.on_restart_after_idle(cx);
        }
        // A FIN alone is not worth waiting for, the window is about data (Linux for long thought so too).
        if len > 0 && self.snd.flight.pipe() >= self.recovery.window.cwnd {
            return NewData::Wait(Blocked::Cwnd);
        }
        if !self.may_burst(cx) {
            return NewData::Wait(Blocked::Pacing);
        }
        if len == unsent && unsent < full && !takes_fin {
            if self.corked() {
                return NewData::Wait(Blocked::Cork);
            }
            if self.nagle_holds() {
                return NewData::Wait(Blocked::Nagle);
            }
        }
        //= rfc9293#3.8.6.2.1
        // The window cuts a full segment short: wait for more of it, unless it is half of all the peer ever offered,
        // or the persist timer overrides.
        let silly = len < unsent && len < full && len < self.snd.max_wnd / 2;
        if silly && !core::mem::take(&mut self.pending.window_probe) {
            return NewData::Wait(Blocked::PeerWindow);
        }
        NewData::Send { len, fin: takes_fin }
    }

    /// RFC 896 in Minshall's form, as in Linux: a small segment waits only while another small one is unacknowledged.
    fn nagle_holds(&self) -> bool {
        //= rfc9293#3.7.4
        !self.nodelay && self.snd.small.gt(self.snd.una)
    }

    fn send_new(&mut self, cx: Cx, len: u32, fin: bool, why: SendWhy) -> Segment {
        let seq = self.snd.nxt;
        let taken = len + u32::from(fin);
        let end = self.snd.offset(seq) + u64::from(len);
        let mut flags = TcpFlags::ACK;
        if len > 0 && end == self.snd.buf.end() && self.snd.cork.ends() {
            flags = flags | TcpFlags::PSH;
        }
        self.snd.cork.sent();
        if fin {
            flags = flags | TcpFlags::FIN;
            self.snd.fin_sent = true;
        }
        let idle = self.snd.flight.is_empty();
        self.snd.flight.push(seq, taken, fin, cx.now, self.recovery.counts.delivered);
        self.snd.nxt += taken;
        self.snd.last_sent = cx.now;
        if len < self.snd.mss {
            self.snd.small = self.snd.nxt;
        }
        self.pending.window_probe = false;
        self.blocked = None;
        self.recovery.usage.sent = true;
        if self.recovery.reducing() {
            self.recovery.prr.out += 1;
        }
        if !self.schedule_probe(cx, false) && (idle || self.timers.is(Slot::Retransmit, TimerKind::Tlp)) {
            //= rfc6298#5.1
            self.restart_rto(cx);
        }
        if !self.burst.is_over() {
            self.snd.flight.join_last();
        }
        if self.ends_burst(cx, len, Connection::followers) {
            flags = flags | TcpFlags::PSH;
        }
        let (why, origin) = match len {
            0 => (SendWhy::Fin, (EventId::NONE, Time::ZERO)),
            _ if cx.recording => (why, self.snd.buf.origin(end)),
            _ => (why, (EventId::NONE, Time::ZERO)),
        };
        self.build(cx, Plan { seq, len, flags, why, origin, sack: true, fresh: len > 0 })
    }

    /// New segments that could follow the one just sent, at once.
    fn followers(&self) -> u32 {
        let Window { cwnd, .. } = self.recovery.window;
        // No more than half a window at once.
        let room = cwnd.saturating_sub(self.snd.flight.pipe()).min((cwnd / 2).max(1) - 1);
        let full = self.full().max(1);
        let ready = self.snd.unsent().min(self.usable());
        // The short rest goes along unless Nagle holds it.
        let rest = !ready.is_multiple_of(full)
            && ready == self.snd.unsent()
            && !self.nagle_holds()
            && !self.corked();
        room.min(ready / full + u32::from(rest))
    }

    /// A zero-window probe or a keepalive: both are an old byte's number without the byte, so that any TCP answers.
    fn next_probe(&mut self, cx: Cx) -> Option<Segment> {
        let window = core::mem::take(&mut self.pending.window_probe);
        let keepalive = core::mem::take(&mut self.pending.keepalive);
        let why = match (window, keepalive) {
            (true, _) => SendWhy::WindowProbe,
            (_, true) => SendWhy::Keepalive,
            _ => return None,
        };
        //= rfc9293#3.8.6.1
        //= rfc9293#3.8.4
        let none = (EventId::NONE, Time::ZERO);
        let seq = self.snd.una - 1;
        Some(self.build(
            cx,
            Plan { seq, len: 0, flags: TcpFlags::ACK, why, origin: none, sack: false, fresh: false },
        ))
    }

    fn next_ack(&mut self, cx: Cx) -> Option<Segment> {
        let why = match (self.ack.due, core::mem::take(&mut self.pending.challenge)) {
            (Due::Now, _) => SendWhy::Ack,
            (Due::TimerFired, _) => SendWhy::DelayedAck,
            (_, true) => SendWhy::ChallengeAck,
            _ => return None,
        };
        let none = (EventId::NONE, Time::ZERO);
        let (seq, flags) = self.bare_ack(why);
        Some(self.build(cx, Plan { seq, len: 0, flags, why, origin: none, sack: true, fresh: false }))
    }

    /// Number and flags of an ACK without text. The Berkeley stacks repeat a FIN that waits for its ACK in all of them
    /// but challenges.
    fn bare_ack(&self, why: SendWhy) -> (Seq, TcpFlags) {
        let repeats = self.config.family == Family::Bsd && self.snd.fin_sent && why != SendWhy::ChallengeAck;
        if repeats && self.snd.una.lt(self.snd.nxt) && self.state.may_send() {
            return (self.snd.nxt - 1, TcpFlags::FIN | TcpFlags::ACK);
        }
        (self.snd.nxt, TcpFlags::ACK)
    }

    #[inline]
    fn build(&mut self, cx: Cx, plan: Plan) -> Segment {
        let mut header = self.header(cx, plan.seq, plan.flags, plan.sack);
        let (flags, ecn) = self.ecn_sent(plan.fresh);
        header.flags = header.flags | flags;
        let offset = self.snd.offset(plan.seq.max(self.snd.una));
        self.totals.sent(plan.len, !plan.fresh);
        let mut segment = self.segment(header, plan.len, offset, plan.why, plan.origin);
        segment.ecn = ecn;
        if plan.len > 0 || plan.flags.has(TcpFlags::FIN) {
            segment.token = SegmentToken(Some(plan.seq.0));
        }
        segment
    }

    /// A header with everything that the receiving side has to say; whatever was owed is said by it.
    #[inline]
    pub(super) fn header(&mut self, cx: Cx, seq: Seq, flags: TcpFlags, sack: bool) -> TcpHeader {
        let mut options = TcpOptions::default();
        self.ts.option(cx.now, &mut options);
        if sack && self.rcv.sack && (self.rcv.dsack.is_some() || self.has_holes()) {
            self.push_sack(&mut options);
        }
        let window = self.window_field(!flags.has(TcpFlags::SYN));
        if flags.has(TcpFlags::ACK) {
            let data = self.snd.nxt.gt(seq);
            self.ack.sent(&self.config, cx.now, self.rcv.nxt, data);
            self.timers.disarm(Slot::Ack);
        }
        TcpHeader { src: 0, dst: 0, seq, ack: self.rcv.nxt, flags, window, urgent: 0, options }
    }

    /// The duplicate first (RFC 2883), then the ranges beyond holes, newest first (RFC 2018).
    fn push_sack(&mut self, options: &mut TcpOptions) {
        //= rfc2018#4
        if let Some((left, right)) = self.rcv.dsack.take() {
            options.push_sack(left, right);
        }
        self.sack_blocks(|left, right| {
            options.push_sack(left, right);
        });
    }

    /// Whether something came that follows what is missing.
    fn has_holes(&self) -> bool {
        self.rcv.buf.has_holes() || self.early_fin().is_some()
    }

    /// The number of a FIN that came before what it follows. Linux counts it in SACK blocks, BSD does not.
    fn early_fin(&self) -> Option<Seq> {
        let next = self.rcv.buf.next();
        let fin = self.rcv.fin.filter(|fin| *fin > next && self.config.family == Family::Linux)?;
        Some(self.rcv.nxt + (fin - next) as u32)
    }

    /// The ranges beyond holes.
    fn sack_blocks(&self, mut each: impl FnMut(Seq, Seq)) {
        let (fin, mut told, mut count) = (self.early_fin(), false, 0);
        self.rcv.buf.sack_blocks(self.rcv.nxt, 4, |left, right| {
            let last = fin == Some(right);
            told |= last;
            count += 1;
            each(left, right + u32::from(last));
        });
        if let Some(fin) = fin.filter(|_| !told && count < 4) {
            each(fin, fin + 1);
        }
    }

    /// Bytes that SACK blocks will take from a data segment.
    fn sack_room(&self) -> u32 {
        if !self.rcv.sack || !(self.rcv.dsack.is_some() || self.has_holes()) {
            return 0;
        }
        let mut blocks = u32::from(self.rcv.dsack.is_some());
        self.sack_blocks(|_, _| blocks += 1);
        4 + 8 * blocks.min(if self.ts.on { 3 } else { 4 })
    }

    #[inline]
    pub(super) fn segment(
        &self,
        header: TcpHeader,
        len: u32,
        offset: u64,
        why: SendWhy,
        origin: (EventId, Time),
    ) -> Segment {
        Segment {
            header,
            len,
            offset,
            why,
            origin: origin.0,
            origin_at: origin.1,
            cwnd: self.recovery.window.bytes().0,
            in_flight: self.pipe(),
            ecn: Ecn::NotEct,
            token: SegmentToken(None),
        }
    }

    fn reset_segment(&mut self, cx: Cx, seq: Seq, ack: Option<Seq>) -> Segment {
        let flags = if ack.is_some() { TcpFlags::RST | TcpFlags::ACK } else { TcpFlags::RST };
        let own = self.pending.reset_window.filter(|_| ack.is_some());
        let mut options = TcpOptions::default();
        if own.is_some() {
            //= rfc7323#3.2
            self.ts.option(cx.now, &mut options);
        }
        let window = own.unwrap_or(0);
        let header =
            TcpHeader { seq, ack: ack.unwrap_or(Seq(0)), flags, window, options, ..TcpHeader::default() };
        self.segment(header, 0, 0, SendWhy::Reset, (EventId::NONE, Time::ZERO))
    }

    /// Notes why data waits, once until something is sent.
    pub(super) fn block(&mut self, cx: Cx, reason: Option<Blocked>) {
        if self.blocked == reason {
            return;
        }
        self.blocked = reason;
        if let Some(reason) = reason
            && cx.recording
        {
            self.records.push(What::TcpBlocked { conn: self.conn, reason });
        }
    }

    fn arm_persist(&mut self, cx: Cx) {
        if !self.timers.is(Slot::Retransmit, TimerKind::Persist) {
            let at = cx.now + self.rtt.rto(&self.config);
            self.timers.arm(cx, Slot::Retransmit, TimerKind::Persist, at);
        }
    }
}
