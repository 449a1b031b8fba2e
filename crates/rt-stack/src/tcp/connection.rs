//! One TCP connection: what the stack and the socket layer call, and what all its states share.
//!
//! The steps of a received segment are in `recv`, of a sent one in `send`, of a timer in `expiry`; this file has the
//! application's calls, the transitions between states, and the variables by their RFC names.

use std::sync::Arc;

use rt_base::{Blocked, ConnId, EventId, Nanos, TcpPhase, Time, TimerKind, What};
use rt_wire::{Seq, TcpHeader, TcpOptions};

use super::ack_policy::AckPolicy;
use super::config::{KeepaliveConfig, TcpConfig};
use super::flight::Flight;
use super::open::OpenParams;
use super::recovery::Recovery;
use super::recv_buffer::RecvBuffer;
use super::rtt::RttEstimator;
use super::segment::{Cx, IcmpError, Read, Segment, SegmentToken, TcpError};
use super::send_buffer::SendBuffer;
use super::states::{Closed, Road, State, SynReceived, SynSent, TimeWait};
use super::timers::{ArmedTimer, Slot, Timers};

/// One TCP connection.
#[derive(Debug)]
pub struct Connection {
    pub(super) config: Arc<TcpConfig>,
    pub(super) conn: ConnId,
    pub(super) state: State,
    pub(super) snd: SendHalf,
    pub(super) rcv: RecvHalf,
    pub(super) ts: Timestamps,
    pub(super) ack: AckPolicy,
    pub(super) rtt: RttEstimator,
    pub(super) recovery: Recovery,
    pub(super) timers: Timers,
    pub(super) pending: Pending,
    pub(super) keepalive: Option<KeepaliveConfig>,
    pub(super) error: Option<TcpError>,
    /// What ICMP said since the last progress: the reason to give if the connection times out.
    pub(super) soft: Option<TcpError>,
    /// Timeouts or probes in a row without an answer.
    pub(super) retries: u8,
    pub(super) nodelay: bool,
    /// The application has let go: what still arrives has no reader.
    pub(super) app_closed: bool,
    pub(super) woken: bool,
    /// What the last `TcpBlocked` said.
    pub(super) blocked: Option<Blocked>,
    pub(super) records: Vec<What>,
}

/// The send sequence variables of RFC 9293 3.3.1 and what goes with them.
#[derive(Debug)]
pub(super) struct SendHalf {
    /// ISS.
    pub(super) iss: Seq,
    /// SND.UNA.
    pub(super) una: Seq,
    /// SND.NXT.
    pub(super) nxt: Seq,
    /// SND.WND in bytes.
    pub(super) wnd: u32,
    /// SND.WL1.
    pub(super) wl1: Seq,
    /// SND.WL2.
    pub(super) wl2: Seq,
    /// The widest window the peer ever offered (MAX.SND.WND).
    pub(super) max_wnd: u32,
    /// The peer's window shift.
    pub(super) shift: u8,
    /// Payload of a full segment: MSS minus the options of every segment (RFC 6691).
    pub(super) mss: u32,
    pub(super) buf: SendBuffer,
    pub(super) flight: Flight,
    /// The application will write no more; the FIN stands after the buffer.
    pub(super) fin_queued: bool,
    pub(super) fin_sent: bool,
    /// End of the last small segment sent (Minshall's form of Nagle).
    pub(super) small: Seq,
    /// When data was sent last.
    pub(super) last_sent: Time,
    /// A write was cut short: say when there is room again.
    pub(super) wants_room: bool,
}

/// The receive sequence variables of RFC 9293 3.3.1 and what goes with them.
#[derive(Debug, Default)]
pub(super) struct RecvHalf {
    /// IRS.
    pub(super) irs: Seq,
    /// RCV.NXT.
    pub(super) nxt: Seq,
    /// The right edge of the window as offered: RCV.NXT + RCV.WND. Never goes back.
    pub(super) adv: Seq,
    /// How wide the window may be now; grows towards the configured limit while the application keeps up.
    pub(super) limit: u32,
    /// Our window shift.
    pub(super) shift: u8,
    /// The MSS that we announce.
    pub(super) mss: u16,
    pub(super) buf: RecvBuffer,
    /// Stream offset of the peer's FIN, once seen.
    pub(super) fin: Option<u64>,
    pub(super) fin_received: bool,
    pub(super) sack: bool,
    /// A duplicate to be reported with the next ACK (RFC 2883).
    pub(super) dsack: Option<(Seq, Seq)>,
    /// Where the last `TcpHole` stood.
    pub(super) hole_told: Option<u64>,
}

/// RFC 7323's variables.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Timestamps {
    /// Snd.TS.OK.
    pub(super) on: bool,
    pub(super) offset: u32,
    /// TS.Recent.
    pub(super) recent: u32,
    /// When TS.Recent was taken.
    pub(super) recent_at: Time,
}

/// Things to send that are neither data nor a plain ACK.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pending {
    /// A SYN or SYN-ACK, for the first time or again.
    pub(super) syn: bool,
    /// A reset: sequence number, and acknowledgement if any.
    pub(super) reset: Option<(Seq, Option<Seq>)>,
    pub(super) challenge: bool,
    pub(super) window_probe: bool,
    pub(super) keepalive: bool,
    /// When the last challenge ACK was granted.
    pub(super) challenged_at: Option<Time>,
    /// When the SYN or SYN-ACK was first sent.
    pub(super) syn_sent_at: Time,
}

/// A snapshot of what the connection knows, for people and tests (in the spirit of TCP_INFO).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Info {
    /// State.
    pub phase: TcpPhase,
    /// Congestion window, bytes.
    pub cwnd: u32,
    /// Slow start threshold, bytes; `u32::MAX` while unset.
    pub ssthresh: u32,
    /// Bytes thought to be in the network.
    pub in_flight: u32,
    /// Bytes sent and not acknowledged.
    pub unacked: u32,
    /// Of these selectively acknowledged.
    pub sacked: u32,
    /// Of these taken for lost.
    pub lost: u32,
    /// Bytes written and not sent.
    pub unsent: u32,
    /// Payload of a full segment, bytes.
    pub mss: u32,
    /// The peer's window, bytes.
    pub snd_wnd: u32,
    /// Our window as offered, bytes.
    pub rcv_wnd: u32,
    /// Smoothed round-trip time, 0 while unknown.
    pub srtt: Nanos,
    /// Its variation.
    pub rttvar: Nanos,
    /// Smallest round-trip time seen, 0 while unknown.
    pub min_rtt: Nanos,
    /// Retransmission timeout as it stands.
    pub rto: Nanos,
}

impl Connection {
    /// An active open (RFC 9293 3.10.1): SYN-SENT, the SYN is the next segment.
    #[must_use]
    pub fn connect(cx: Cx, config: &Arc<TcpConfig>, open: &OpenParams) -> Connection {
        let mut c = Connection::new(cx, config, open, SynSent.into());
        c.ts.on = config.timestamps;
        c.rcv.sack = config.sack;
        c.record_state(cx, TcpPhase::Closed);
        c
    }

    /// A passive open: a SYN for which [`super::on_listen`] said `Open`. SYN-RECEIVED, the SYN-ACK is the next
    /// segment. Data and FIN of the SYN are left to be repeated by the peer.
    #[must_use]
    pub fn accept(cx: Cx, config: &Arc<TcpConfig>, open: &OpenParams, syn: &TcpHeader) -> Connection {
        //= rfc9293#3.10.7.2
        let mut c = Connection::new(cx, config, open, SynReceived { road: Road::Passive }.into());
        c.negotiate(cx, syn);
        c.record_state(cx, TcpPhase::Listen);
        c
    }

    fn new(cx: Cx, config: &Arc<TcpConfig>, open: &OpenParams, state: State) -> Connection {
        let mss = u32::from(open.mss.max(MIN_MSS));
        Connection {
            config: Arc::clone(config),
            conn: open.conn,
            state,
            snd: SendHalf::new(open.isn, mss),
            rcv: RecvHalf { mss: open.mss.max(MIN_MSS), ..RecvHalf::default() }.with_limit(config, mss),
            ts: Timestamps { offset: open.ts_offset, ..Timestamps::default() },
            ack: AckPolicy::default(),
            rtt: RttEstimator::default(),
            recovery: Recovery::new(config.congestion, mss, config.initial_cwnd),
            timers: Timers::default(),
            pending: Pending { syn: true, syn_sent_at: cx.now, ..Pending::default() },
            keepalive: config.keepalive,
            error: None,
            soft: None,
            retries: 0,
            nodelay: open.nodelay || config.nodelay,
            app_closed: false,
            woken: false,
            blocked: None,
            records: Vec::new(),
        }
    }

    /// Takes as much of `bytes` into the send buffer as there is room for; 0 means: try again when woken.
    ///
    /// # Errors
    /// The connection's error, or `NotConnected` after a shutdown or close.
    pub fn write(&mut self, cx: Cx, bytes: &[u8]) -> Result<usize, TcpError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let open = matches!(
            self.state,
            State::SynSent(_) | State::SynReceived(_) | State::Established(_) | State::CloseWait(_)
        );
        if !open || self.snd.fin_queued {
            return Err(TcpError::NotConnected);
        }
        let n = bytes.len().min(self.room());
        self.snd.wants_room |= n < bytes.len();
        if n > 0 {
            let offset = self.snd.buf.end();
            self.snd.buf.push(&bytes[..n]);
            if cx.recording {
                self.snd.buf.mark(cx.cause, cx.now);
                self.records.push(What::TcpWrite { conn: self.conn, offset, len: n as u32 });
            }
        }
        Ok(n)
    }

    /// Copies what arrived in order into `buf`. Data that came before an error is still given out first.
    ///
    /// # Errors
    /// The connection's error once nothing is left to read.
    pub fn read(&mut self, cx: Cx, buf: &mut [u8]) -> Result<Read, TcpError> {
        let offset = self.rcv.buf.next() - u64::from(self.rcv.buf.readable());
        let n = self.rcv.buf.read_into(buf);
        if n > 0 {
            if cx.recording {
                self.records.push(What::TcpRead { conn: self.conn, offset, len: n as u32 });
            }
            self.offer_window_after_read();
            return Ok(Read::Data(n));
        }
        if self.rcv.buf.readable() > 0 {
            return Ok(Read::WouldBlock); // an empty `buf`
        }
        match (self.error, self.rcv.fin_received) {
            (Some(error), _) => Err(error),
            (None, true) => Ok(Read::Eof),
            (None, false) if matches!(self.state, State::Closed(_)) => Ok(Read::Eof),
            (None, false) => Ok(Read::WouldBlock),
        }
    }

    /// The application will write no more (a half close): a FIN follows the data written so far.
    pub fn shutdown(&mut self, cx: Cx) {
        //= rfc9293#3.10.4
        if self.snd.fin_queued || matches!(self.state, State::Closed(_) | State::TimeWait(_)) {
            return;
        }
        self.snd.fin_queued = true;
        // In SYN-SENT and SYN-RECEIVED it waits for ESTABLISHED.
        if let Some(next) = self.state.shutdown(self.fin_seq()) {
            self.enter(cx, next);
        }
    }

    /// The application lets go. What is written is still sent; what it did not read is answered with a reset.
    pub fn close(&mut self, cx: Cx) {
        if self.app_closed {
            return;
        }
        self.app_closed = true;
        match self.state {
            State::SynSent(_) => self.enter(cx, Closed.into()),
            //= rfc9293#3.6.1
            // Unread data: the peer must learn that it was not received.
            _ if self.rcv.buf.readable() > 0 => self.reset_now(cx, None),
            State::FinWait2(_) => self.await_fin(cx),
            _ => self.shutdown(cx),
        }
    }

    /// Ends the connection with a reset (RFC 9293 3.10.5).
    pub fn abort(&mut self, cx: Cx) {
        self.app_closed = true;
        self.rcv.buf.clear();
        match self.state {
            State::Closed(_) => {}
            State::SynSent(_) | State::Closing(_) | State::LastAck(_) | State::TimeWait(_) => {
                self.enter(cx, Closed.into());
            }
            _ => self.reset_now(cx, None),
        }
    }

    /// An ICMP error that quotes a segment of ours with sequence number `seq`.
    pub fn on_icmp(&mut self, cx: Cx, seq: Seq, error: IcmpError) {
        //= rfc5927#4.1
        // Only what is in flight can have caused it.
        if !(self.snd.una.le(seq) && seq.lt(self.snd.nxt)) {
            return;
        }
        let opening = matches!(self.state, State::SynSent(_) | State::SynReceived(_));
        match error {
            IcmpError::TooBig { mtu } => self.path_mtu(mtu),
            //= rfc5461#3
            // Soft errors end an attempt to connect; a connection only remembers why it may time out.
            IcmpError::HostUnreachable if !opening => self.soft = Some(TcpError::HostUnreachable),
            IcmpError::NetUnreachable if !opening => self.soft = Some(TcpError::NetUnreachable),
            IcmpError::Refused if !opening => {}
            IcmpError::Refused => self.fail(cx, TcpError::Refused),
            IcmpError::HostUnreachable => self.fail(cx, TcpError::HostUnreachable),
            IcmpError::NetUnreachable => self.fail(cx, TcpError::NetUnreachable),
        }
    }

    /// Switches Nagle off (or on).
    pub fn set_nodelay(&mut self, nodelay: bool) {
        self.nodelay = nodelay;
    }

    /// Switches keepalive on or off.
    pub fn set_keepalive(&mut self, cx: Cx, keepalive: Option<KeepaliveConfig>) {
        self.keepalive = keepalive;
        self.timers.disarm(Slot::Keepalive);
        self.alive(cx);
    }

    /// Whether the application should look again (something became readable or writable, the state or an error
    /// changed) since the last call.
    pub fn take_woken(&mut self) -> bool {
        core::mem::take(&mut self.woken)
    }

    /// Moves the events for the story into `into`, oldest first.
    pub fn take_records(&mut self, into: &mut Vec<What>) {
        if !self.records.is_empty() {
            into.append(&mut self.records);
            self.records = Vec::new();
        }
    }

    /// Tells which event recorded a segment that [`Connection::next_segment`] gave.
    pub fn segment_recorded(&mut self, token: SegmentToken, event: EventId) {
        if let Some(seq) = token.0 {
            self.snd.flight.record(Seq(seq), event);
        }
    }

    /// The payload of a segment, in two pieces. Ask before the next `on_segment`.
    #[must_use]
    pub fn payload(&self, segment: &Segment) -> (&[u8], &[u8]) {
        self.snd.buf.slices(segment.offset, segment.len)
    }

    /// When a timer is due next; `Time::MAX` for never.
    #[must_use]
    pub fn deadline(&self) -> Time {
        self.timers.deadline()
    }

    /// The next timer that is due.
    #[must_use]
    pub fn due(&self, now: Time) -> Option<ArmedTimer> {
        self.timers.due(now)
    }

    /// The state's name.
    #[must_use]
    pub fn phase(&self) -> TcpPhase {
        self.state.phase()
    }

    /// Whether `read` has something to say: data, end or error.
    #[must_use]
    pub fn readable(&self) -> bool {
        self.rcv.buf.readable() > 0
            || self.rcv.fin_received
            || self.error.is_some()
            || matches!(self.state, State::Closed(_))
    }

    /// Whether `write` has something to say: room or an error.
    #[must_use]
    pub fn writable(&self) -> bool {
        match self.state {
            State::Established(_) | State::CloseWait(_) if !self.snd.fin_queued => self.has_room(),
            State::SynSent(_) | State::SynReceived(_) => false,
            _ => true,
        }
    }

    /// Why the connection failed, if it did.
    #[must_use]
    pub fn error(&self) -> Option<TcpError> {
        self.error
    }

    /// Whether the connection may be forgotten: closed on both sides, nothing left to send or to read.
    #[must_use]
    pub fn finished(&self) -> bool {
        matches!(self.state, State::Closed(_)) && self.app_closed && self.pending.reset.is_none()
    }

    /// A snapshot.
    #[must_use]
    pub fn info(&self) -> Info {
        Info {
            phase: self.phase(),
            cwnd: self.recovery.window.cwnd,
            ssthresh: self.recovery.window.ssthresh,
            in_flight: self.pipe(),
            unacked: self.snd.flight.total(),
            sacked: self.snd.flight.sacked(),
            lost: self.snd.flight.lost(),
            unsent: self.snd.unsent(),
            mss: self.snd.mss,
            snd_wnd: self.snd.wnd,
            rcv_wnd: self.rcv.wnd(),
            srtt: self.rtt.srtt(),
            rttvar: self.rtt.rttvar(),
            min_rtt: self.rtt.min(),
            rto: self.rtt.rto(&self.config),
        }
    }
}

/// Transitions.
impl Connection {
    /// Goes to another state, does what entering it always means, and tells the story.
    pub(super) fn enter(&mut self, cx: Cx, next: State) {
        let from = self.phase();
        self.state = next;
        self.woken = true;
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
        self.snd.flight.clear();
        self.snd.buf.clear();
        self.rcv.buf.release();
        self.pending = Pending { reset: self.pending.reset, ..Pending::default() };
    }

    fn on_enter_time_wait(&mut self, cx: Cx, _: TimeWait) {
        //= rfc9293#3.10.7.4
        // Start the time-wait timer, turn off the others.
        let ack_due = self.timers.is(Slot::Ack, TimerKind::DelayedAck);
        self.timers.disarm_all();
        if ack_due {
            self.ack.at_once();
        }
        self.timers.arm(cx, Slot::Linger, TimerKind::TimeWait, cx.now + self.config.time_wait);
        self.snd.flight.clear();
        self.snd.buf.clear();
        self.rcv.buf.release();
    }

    /// FIN-WAIT-2 without an application does not wait for ever.
    fn await_fin(&mut self, cx: Cx) {
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
        self.error = self.error.or(error);
        self.rcv.buf.clear();
        self.enter(cx, Closed.into());
    }

    fn record_state(&mut self, cx: Cx, from: TcpPhase) {
        if cx.recording {
            self.records.push(What::TcpState { conn: self.conn, from, to: self.phase() });
        }
    }

    /// The handshake is over; `header` is the segment that ended it.
    pub(super) fn on_open(&mut self, cx: Cx, header: &TcpHeader) {
        let repeated = self.retries;
        if repeated == 0 {
            self.rtt.sample(cx.now.since(self.pending.syn_sent_at));
        } else if let Some(rtt) = self.ts.echoed(cx.now, header) {
            self.rtt.sample(rtt);
        }
        self.rtt.handshake_done(repeated > 0 && self.rtt.srtt() == Nanos::ZERO);
        self.retries = 0;
        self.pending.syn = false;
        self.timers.disarm(Slot::Retransmit);
        //= rfc6928#2
        // Several lost SYNs: the path is worse than ten segments.
        let initial = if repeated > 1 { 1 } else { self.config.initial_cwnd };
        self.recovery = Recovery::new(self.config.congestion, self.snd.mss, initial);
        self.ack.open(self.rcv.nxt);
        self.snd.last_sent = cx.now;
        self.alive(cx);
        if self.snd.fin_queued
            && let Some(next) = self.state.shutdown(self.fin_seq())
        {
            self.enter(cx, next);
        }
    }

    /// Takes what the peer's SYN or SYN-ACK says, as far as we offered or want it.
    pub(super) fn negotiate(&mut self, cx: Cx, syn: &TcpHeader) {
        let o = &syn.options;
        self.rcv.irs = syn.seq;
        self.rcv.nxt = syn.seq + 1;
        self.ack.last_sent = self.rcv.nxt;
        self.rcv.sack = self.config.sack && o.sack_permitted;
        self.ts.on = self.config.timestamps && o.timestamps.is_some();
        if let Some((value, _)) = o.timestamps {
            self.ts.recent = value;
            self.ts.recent_at = cx.now;
        }
        //= rfc9293#3.7.1
        //= rfc6691#2
        // 536 without the option; the options of every segment come out of it.
        let mss = o.mss.unwrap_or(DEFAULT_MSS).clamp(MIN_MSS, self.rcv.mss);
        self.snd.mss = u32::from(mss) - if self.ts.on { TIMESTAMPS_LEN } else { 0 };
        //= rfc7323#2.2
        match o.window_scale.filter(|_| self.config.window_scaling) {
            Some(shift) => {
                self.snd.shift = shift.min(14);
                self.rcv.shift = self.config.window_shift();
            }
            None => (self.snd.shift, self.rcv.shift) = (0, 0),
        }
        let full = u32::from(self.rcv.mss) - if self.ts.on { TIMESTAMPS_LEN } else { 0 };
        if self.rcv.adv == Seq(0) && matches!(self.state, State::SynReceived(_)) {
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
    fn path_mtu(&mut self, mtu: u16) {
        let overhead = HEADERS + if self.ts.on { TIMESTAMPS_LEN } else { 0 };
        let mss = u32::from(mtu.max(MIN_MTU)) - overhead;
        if mss < self.snd.mss {
            self.snd.mss = mss;
            self.recovery.window.mss = mss;
            // What was too long is lost for sure.
            self.snd.flight.all_lost();
            self.recovery.repeat_without_cut(self.snd.nxt);
        }
    }

    /// Where our FIN stands or will stand.
    fn fin_seq(&self) -> Seq {
        self.snd.una.max(self.snd.iss + 1) + self.snd.buf.len() as u32
    }

    /// The send buffer follows the congestion window, as Linux's does: two windows are enough to keep it full.
    fn send_limit(&self) -> usize {
        let want = (2 * self.recovery.window.cwnd as usize).max(MIN_SEND_LIMIT);
        want.min(self.config.send_buffer as usize)
    }

    fn room(&self) -> usize {
        self.send_limit().saturating_sub(self.snd.buf.len())
    }

    /// Whether it is worth to wake a writer: a third of the buffer is free.
    pub(super) fn has_room(&self) -> bool {
        self.room() * 3 >= self.send_limit()
    }

    /// Bytes thought to be in the network.
    pub(super) fn pipe(&self) -> u32 {
        self.snd.flight.pipe(self.recovery.left)
    }
}

impl SendHalf {
    fn new(iss: Seq, mss: u32) -> SendHalf {
        SendHalf {
            iss,
            una: iss,
            nxt: iss,
            wnd: 0,
            wl1: Seq(0),
            wl2: Seq(0),
            max_wnd: 0,
            shift: 0,
            mss,
            buf: SendBuffer::default(),
            flight: Flight::default(),
            fin_queued: false,
            fin_sent: false,
            small: iss,
            last_sent: Time::ZERO,
            wants_room: false,
        }
    }

    /// Stream offset of `seq`, which lies in the buffer.
    pub(super) fn offset(&self, seq: Seq) -> u64 {
        self.buf.base() + u64::from(seq - self.una)
    }

    /// Bytes written and not sent yet.
    pub(super) fn unsent(&self) -> u32 {
        let first = self.una.max(self.iss + 1).min(self.nxt);
        let sent = (self.nxt - first).saturating_sub(u32::from(self.fin_sent));
        (self.buf.len() as u32).saturating_sub(sent)
    }

    /// Bytes that the peer's window still takes.
    pub(super) fn usable(&self) -> u32 {
        self.wnd.saturating_sub(self.nxt - self.una)
    }
}

impl RecvHalf {
    fn with_limit(mut self, config: &TcpConfig, full: u32) -> RecvHalf {
        self.set_limit(config, full);
        self
    }

    /// The first window: full segments only (Linux: 44 * 1460 = 64240, or 45 * 1448 = 65160 with timestamps).
    fn set_limit(&mut self, config: &TcpConfig, full: u32) {
        let most = config.initial_window.min(config.recv_buffer).min(MAX_UNSCALED);
        self.limit = if most > full { most - most % full } else { most };
    }

    /// RCV.WND.
    pub(super) fn wnd(&self) -> u32 {
        self.adv - self.nxt
    }

    /// Stream offset of `seq`, at or after RCV.NXT.
    pub(super) fn offset(&self, seq: Seq) -> u64 {
        self.buf.next() + u64::from(seq - self.nxt)
    }
}

impl Timestamps {
    /// TSval now: a millisecond clock (RFC 7323 5.4).
    pub(super) fn value(&self, now: Time) -> u32 {
        (now.as_millis() as u32).wrapping_add(self.offset)
    }

    /// The option for a segment leaving now.
    pub(super) fn option(&self, now: Time, options: &mut TcpOptions) {
        if self.on {
            options.timestamps = Some((self.value(now), self.recent));
        }
    }

    /// Round-trip time by the echoed timestamp (RFC 7323 4.1), at least a millisecond.
    pub(super) fn echoed(&self, now: Time, header: &TcpHeader) -> Option<Nanos> {
        let (_, echo) = header.options.timestamps.filter(|t| self.on && t.1 != 0)?;
        let age = self.value(now).wrapping_sub(echo);
        (age < MAX_AGE_MS).then(|| Nanos::from_millis(u64::from(age.max(1))))
    }
}

/// IPv4 and TCP headers without options.
const HEADERS: u32 = 40;
/// Timestamps with their two NOPs.
pub(super) const TIMESTAMPS_LEN: u32 = 12;
/// RFC 9293 3.7.1: without the option.
const DEFAULT_MSS: u16 = 536;
/// Smaller offers are an attack or a mistake (Linux has the same floor).
const MIN_MSS: u16 = 88;
/// RFC 791: every link takes this much, and our floor for the MSS.
const MIN_MTU: u16 = 88 + 40;
/// The widest window without scaling.
pub(super) const MAX_UNSCALED: u32 = 65_535;
/// An echo older than this is not an echo of ours.
const MAX_AGE_MS: u32 = 1 << 24;
/// The send buffer never holds less than this (unless configured smaller).
const MIN_SEND_LIMIT: usize = 65_536;
