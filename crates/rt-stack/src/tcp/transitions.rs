//! From state to state: what entering one always means, what the handshake settles, and how a connection fails.

use rt_base::{Nanos, TcpPhase, TimerKind, What};
use rt_wire::{Seq, TcpFlags, TcpHeader, TcpOptions};

use super::ack_policy::Due;
use super::config::{EcnMode, Family, TcpConfig};
use super::connection::Connection;
use super::recovery::Recovery;
use super::segment::{Cx, TcpError};
use super::states::{Closed, Road, State, SynReceived, TimeWait};
use super::timers::Slot;
use super::variables::{MAX_UNSCALED, Pending, TIMESTAMPS_LEN};

impl Connection {
    /// Goes to another state, does what entering it always means, and tells the story.
    pub(super) fn enter(&mut self, cx: Cx, next: State) {
        let from = self.phase();
        self.state = next;
        self.woken = true;
        if matches!(self.state, State::Closed(_) | State::TimeWait(_)) {
            self.no_more_sending(cx.now);
        }
        self.record_state(cx, from);
        match self.state {
            State::Closed(_) => self.on_enter_closed(),
            State::TimeWait(s) => self.on_enter_time_wait(cx, s),
            State::FinWait2(_) if self.app_closed => self.await_fin(cx),
            _ => {}
        }
    }

    fn on_enter_closed(&mut self) {
        self.timers.disarm_all();
        self.ack.due = Due::Nothing;
        self.snd.flight.clear();
        self.snd.buf.clear();
        self.rcv.buf.release();
        let (reset, reset_window) = (self.pending.reset, self.pending.reset_window);
        self.pending = Pending { reset, reset_window, ..Pending::default() };
    }

    fn on_enter_time_wait(&mut self, cx: Cx, _: TimeWait) {
        //= rfc9293#3.10.7.4
        // Start the time-wait timer, turn off the others.
        let ack_due = self.timers.is(Slot::Ack, TimerKind::DelayedAck);
        self.timers.disarm_all();
        if ack_due {
            self.ack.at_once();
        }
        if self.config.family == Family::Bsd {
            // What is left of a connection knows nothing of marks. Two ends that echoed them would answer each other's ACKs,
            // each of which is more than the last ACK again, until their time is over.
            self.ecn.echo = false;
        }
        self.timers.arm(cx, Slot::Linger, TimerKind::TimeWait, cx.now + self.config.time_wait);
        self.snd.flight.clear();
        self.snd.buf.clear();
        self.rcv.buf.release();
    }

    /// FIN-WAIT-2 without an application does not wait for ever.
    pub(super) fn await_fin(&mut self, cx: Cx) {
        self.timers.disarm(Slot::Keepalive);
        self.timers.arm(cx, Slot::Linger, TimerKind::FinWait2, cx.now + self.config.fin_wait2);
    }

    /// The connection fails without a word to the peer.
    pub(super) fn fail(&mut self, cx: Cx, error: TcpError) {
        self.error = Some(error);
        self.enter(cx, Closed.into());
    }

    /// Resets the connection from our side.
    pub(super) fn reset_now(&mut self, cx: Cx, error: Option<TcpError>) {
        self.pending.reset = Some((self.snd.nxt, Some(self.rcv.nxt)));
        // Linux's own resets still offer the window, those of FreeBSD none.
        if self.config.family == Family::Linux {
            self.pending.reset_window = Some(self.window_field(true));
        }
        self.error = self.error.or(error);
        // A reader that is still there gets what came before.
        if self.app_closed {
            self.rcv.buf.clear();
        }
        self.enter(cx, Closed.into());
    }

    pub(super) fn record_state(&mut self, cx: Cx, from: TcpPhase) {
        if cx.recording {
            self.records.push(What::TcpState { conn: self.conn, from, to: self.phase() });
        }
    }

    /// A newer SYN takes the place of a connection in TIME-WAIT, which is forgotten.
    pub(crate) fn record_taken_over(&mut self, cx: Cx) {
        //= rfc6191#2
        if cx.recording {
            let (from, to) = (self.phase(), TcpPhase::Closed);
            self.records.push(What::TcpState { conn: self.conn, from, to });
        }
    }

    /// The handshake is over; `header` is the segment that ended it.
    pub(super) fn on_open(&mut self, cx: Cx, header: &TcpHeader, road: Option<Road>) {
        let repeated = self.retries;
        // The Berkeley stacks forget in their SYN cache when the SYN-ACK left: without timestamps nothing is measured.
        let forgotten = self.config.family == Family::Bsd && road == Some(Road::Passive);
        if repeated == 0 && !forgotten {
            self.first_sample(cx, cx.now.since(self.pending.syn_sent_at));
        } else if let Some(rtt) = self.ts.echoed(cx.now, header) {
            self.first_sample(cx, rtt);
        }
        self.rtt.handshake_done(repeated > 0 && self.rtt.srtt() == Nanos::ZERO);
        self.retries = 0;
        self.rtt_was_repeated = repeated > 0;
        self.pending.syn = false;
        self.timers.disarm(Slot::Retransmit);
        self.timers.disarm(Slot::Keepalive);
        //= rfc6928#2
        // Several lost SYNs: the path is worse than ten segments.
        let initial = if repeated > 1 { 1 } else { self.config.initial_cwnd };
        if road != Some(Road::FastOpen) {
            let syns = self.recovery.counts.repeated;
            self.recovery = Recovery::new(&self.config, self.snd.mss, initial, self.snd.iss.0);
            self.recovery.counts.repeated = syns;
        }
        self.watch_rate(cx);
        let (mss, window) = (self.snd.mss.min(self.rcv.mss.into()), self.rcv.wnd());
        self.ack.open(cx.now, self.rcv.nxt, mss, window);
        self.snd.last_sent = cx.now;
        self.alive(cx);
        if self.snd.fin_queued
            && let Some(next) = self.state.shutdown(self.fin_seq())
        {
            self.enter(cx, next);
        }
    }

    /// The ACK that opened the connection may cover text that went before: with the SYN, or from SYN-RECEIVED.
    pub(super) fn acked_with_syn(&mut self, cx: Cx, header: &TcpHeader) {
        if self.snd.flight.is_empty() {
            return;
        }
        self.restart_rto(cx);
        if header.ack != self.snd.una {
            // The window field of a SYN is not scaled, whatever was agreed in it.
            let (wnd, max_wnd) = (self.snd.wnd, self.snd.max_wnd);
            let _ = self.on_ack(cx, header, 0);
            (self.snd.wnd, self.snd.max_wnd) = (wnd, max_wnd);
        }
    }

    fn first_sample(&mut self, cx: Cx, rtt: Nanos) {
        self.rtt.note_min(rtt);
        self.rtt.sample(&self.config, rtt, self.snd.una, self.snd.nxt);
        self.tell_rtt(cx, rtt);
    }

    /// The segment size that both ends agreed on, options included (FreeBSD's `t_maxseg`).
    pub(super) fn agreed_mss(&self) -> u32 {
        self.snd.mss + if self.ts.on { TIMESTAMPS_LEN } else { 0 }
    }

    /// No single segment of the peer is longer, as far as this system knows.
    pub(super) fn largest_segment(&self) -> u32 {
        match self.config.family {
            Family::Linux => self.rcv.mss.into(),
            Family::Bsd => self.agreed_mss(),
        }
    }

    /// Takes what the peer's SYN or SYN-ACK says, as far as we offered or want it.
    pub(super) fn negotiate(&mut self, cx: Cx, syn: &TcpHeader) {
        let none = TcpOptions::default();
        let o = if self.config.no_options { &none } else { &syn.options };
        self.rcv.irs = syn.seq;
        self.rcv.nxt = syn.seq + 1;
        self.ack.last_sent = self.rcv.nxt;
        self.rcv.sack = self.config.sack && o.sack_permitted;
        self.ts.on = self.config.timestamps && o.timestamps.is_some();
        if let Some((value, _)) = o.timestamps {
            self.ts.recent = value;
            self.ts.recent_at = cx.now;
        }
        if let (State::SynReceived(_), true, Some(theirs)) =
            (&self.state, self.config.syn_habits.echoes_mss, o.mss)
        {
            self.rcv.mss = self.rcv.mss.min(theirs.max(self.config.min_mss));
        }
        //= rfc9293#3.7.1
        //= rfc6691#2
        // 536 without the option; the options of every segment come out of it.
        let mss = o.mss.unwrap_or(self.config.default_mss).max(self.config.min_mss).min(self.rcv.mss);
        //= rfc1191#6.4
        let mss = mss.min(self.snd.path_mss);
        let options = if self.ts.on { TIMESTAMPS_LEN } else { 0 };
        self.snd.mss = u32::from(mss).saturating_sub(options).max(MIN_PAYLOAD);
        //= rfc7323#2.2
        match o.window_scale.filter(|_| self.config.window_scaling) {
            Some(shift) => {
                self.snd.shift = shift.min(14);
                (self.rcv.shift, self.rcv.shift_agreed) = (self.config.window_shift(), true);
            }
            None => (self.snd.shift, self.rcv.shift, self.rcv.shift_agreed) = (0, 0, false),
        }
        self.negotiate_ecn(syn.flags);
        let full = u32::from(self.rcv.mss).saturating_sub(options).max(MIN_PAYLOAD);
        if matches!(self.state, State::SynReceived(_)) {
            self.rcv.set_limit(&self.config, full);
        }
        self.rcv.adv = self.rcv.nxt + self.rcv.limit.min(MAX_UNSCALED);
        //= rfc7323#2.2
        // The window field of a SYN is never scaled.
        self.snd.wnd = u32::from(syn.window);
        self.snd.max_wnd = self.snd.wnd;
        self.snd.wl1 = syn.seq;
        self.snd.wl2 = syn.ack;
    }

    /// ECN is on when one end asked and the other agreed; two that ask at the same time (simultaneous open) agree.
    fn negotiate_ecn(&mut self, flags: TcpFlags) {
        //= rfc3168#6.1.1
        let (ece, cwr) = (flags.has(TcpFlags::ECE), flags.has(TcpFlags::CWR));
        self.ecn.ok = match (flags.has(TcpFlags::ACK), self.state) {
            (true, _) => self.ecn.asked && ece && !cwr,
            (false, State::SynSent(_)) if self.config.family == Family::Linux => self.ecn.asked && ece && cwr,
            (false, _) => self.config.ecn != EcnMode::Off && ece && cwr,
        };
    }

    /// Something was heard from the peer (or sent to it): idle time starts anew.
    pub(super) fn alive(&mut self, cx: Cx) {
        if let Some(k) = self.keepalive
            && !matches!(self.state, State::SynSent(_) | State::SynReceived(_) | State::Closed(_))
            && !matches!(self.state, State::TimeWait(_))
        {
            self.timers.arm(cx, Slot::Keepalive, TimerKind::Keepalive, cx.now + k.idle);
        }
    }

    /// RFC 1191: the path takes no more than `mtu`; segments in flight that are longer are cut when repeated.
    pub(super) fn path_mtu(&mut self, mtu: u16) {
        let overhead = HEADERS + if self.ts.on { TIMESTAMPS_LEN } else { 0 };
        self.snd.path_mss = self.snd.path_mss.min(path_mss(mtu));
        let mss = u32::from(mtu.max(MIN_MTU)) - overhead;
        if matches!(self.state, State::SynSent(_)) && !self.snd.flight.is_empty() {
            // The text that went with the SYN was too much: the SYN goes again without it.
            self.pending.syn = true;
        }
        if mss < self.snd.mss {
            self.snd.mss = mss;
            self.recovery.window.mss = mss;
            self.repeat_too_long();
        }
    }

    /// The SYN-ACK of this passive open went out as a cookie: its round-trip time is not known.
    pub fn syn_ack_was_sent(&mut self) {
        self.pending.syn = false;
        self.snd.nxt = self.snd.iss + 1;
        self.retries = 1;
    }

    /// Whether this segment's ACK would end the handshake of a listener's connection.
    #[must_use]
    pub fn would_open(&self, header: &TcpHeader) -> bool {
        matches!(self.state, State::SynReceived(SynReceived { road: Road::Passive }))
            && header.ack == self.snd.iss + 1
    }

    /// A bare ACK would end the handshake: whether the listener still waits for data (TCP_DEFER_ACCEPT). It waits as long
    /// as its time takes in repetitions of the SYN-ACK.
    pub fn defer_accept(&mut self) -> bool {
        let wait = self.options.as_ref().map_or(Nanos::ZERO, |o| o.defer_accept);
        let repetitions = repetitions_within(&self.config, wait);
        let waits = self.retries < repetitions;
        self.pending.deferred = if waits { repetitions } else { 0 };
        waits
    }

    /// Where our FIN stands or will stand.
    pub(super) fn fin_seq(&self) -> Seq {
        self.snd.first() + self.snd.buf.len() as u32
    }
}

/// How many repetitions of a SYN-ACK `time` lasts.
fn repetitions_within(config: &TcpConfig, time: Nanos) -> u8 {
    let (mut count, mut timeout, mut passed) = (0, config.rto_initial.0, 0u64);
    while passed < time.0 && count < u8::MAX {
        count += 1;
        passed = passed.saturating_add(timeout.max(1));
        timeout = (timeout * 2).min(config.rto_max.0);
    }
    count
}

/// The longest segment that a path of `mtu` takes, its options included.
pub(super) fn path_mss(mtu: u16) -> u16 {
    mtu.max(MIN_MTU) - HEADERS as u16
}

/// IPv4 and TCP headers without options.
const HEADERS: u32 = 40;
/// Payload of a segment, whatever the options take.
const MIN_PAYLOAD: u32 = 8;
/// RFC 791: every link takes this much, and our floor for the MSS.
const MIN_MTU: u16 = 88 + 40;
