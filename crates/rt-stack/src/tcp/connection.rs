//! One TCP connection: what the stack and the socket layer call, and what all its states share.
//!
//! The steps of a received segment are in `recv`, of a sent one in `send`, of a timer in `expiry`; this file has the
//! application's calls, the transitions between states, and the variables by their RFC names.

use std::sync::Arc;

use bytes::Bytes;
use rt_base::{Blocked, ConnId, EventId, TcpPhase, Time, TimerKind, What};
use rt_wire::{Seq, TcpHeader};

use super::ack_policy::{AckPolicy, Due};
use super::chrono::Sending;
use super::config::{Family, KeepaliveConfig, TcpConfig};
use super::ecn::EcnState;
use super::fast_open::FastOpen;
use super::info::Totals;
use super::open::OpenParams;
use super::options::{MtuDiscovery, SocketOptions};
use super::pacing::Burst;
use super::recovery::Recovery;
use super::rtt::RttEstimator;
use super::segment::{Cx, IcmpError, Read, Segment, SegmentToken, TcpError};
use super::send_buffer::{SendBuffer, Text};
use super::states::{Closed, Road, State, SynReceived, SynSent};
use super::timers::{ArmedTimer, Slot, Timers};
use super::transitions::path_mss;
use super::variables::{Pending, RecvHalf, SendHalf, Timestamps};

/// One TCP connection.
#[derive(Debug)]
pub struct Connection {
    pub(super) config: Arc<TcpConfig>,
    /// What the application set, if anything.
    pub(super) options: Option<Box<SocketOptions>>,
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
    pub(super) ecn: EcnState,
    pub(super) totals: Totals,
    pub(super) burst: Burst,
    pub(super) keepalive: Option<KeepaliveConfig>,
    pub(super) error: Option<TcpError>,
    /// What ICMP said since the last progress: the reason to give if the connection times out.
    pub(super) soft: Option<TcpError>,
    pub(super) fast_open: Option<Box<FastOpen>>,
    /// An application waits to write as soon as the connection is open.
    pub(super) write_waits: bool,
    /// The SYN had to be sent again.
    pub(super) rtt_was_repeated: bool,
    /// When the user timeout ends a stall (RFC 5482); `Time::MAX` while nothing stalls.
    pub(super) give_up_at: Time,
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

impl Connection {
    /// An active open (RFC 9293 3.10.1): SYN-SENT, the SYN is the next segment.
    #[must_use]
    pub fn connect(cx: Cx, config: &Arc<TcpConfig>, open: &OpenParams) -> Connection {
        let mut c = Connection::new(cx, config, open, SynSent.into());
        c.watch_rate(cx);
        c.ts.on = config.timestamps && !config.no_options;
        c.rcv.sack = config.sack && !config.no_options;
        if let Some(limit) = config.connect_timeout {
            c.timers.arm(cx, Slot::Keepalive, TimerKind::Keepalive, cx.now + limit);
        }
        c.record_state(cx, TcpPhase::Closed);
        c
    }

    /// A passive open: a SYN for which [`super::on_listen`] said `Open`. SYN-RECEIVED, the SYN-ACK is the next
    /// segment. Data and FIN of the SYN are left to be repeated by the peer.
    #[must_use]
    pub fn accept(cx: Cx, config: &Arc<TcpConfig>, open: &OpenParams, syn: &TcpHeader) -> Connection {
        //= rfc9293#3.10.7.2
        let mut c = Connection::new(cx, config, open, SynReceived { road: Road::Passive }.into());
        c.watch_rate(cx);
        c.negotiate(cx, syn);
        c.record_state(cx, TcpPhase::Listen);
        c
    }

    /// Keeps the SYN-ACK back until [`Connection::admit`]: a middlebox asks the other side first.
    pub fn hold(&mut self) {
        self.pending.held = true;
    }

    /// Lets a held handshake go on: the SYN-ACK is the next segment.
    pub fn admit(&mut self) {
        if core::mem::take(&mut self.pending.held) {
            self.pending.syn = true;
        }
    }

    pub(super) fn new(cx: Cx, config: &Arc<TcpConfig>, open: &OpenParams, state: State) -> Connection {
        let announced = open.mss.min(config.max_segment.unwrap_or(u16::MAX)).max(MIN_MSS);
        let mss = u32::from(announced);
        let path = open.path_mtu.filter(|_| config.path_mtu_discovery).map_or(u16::MAX, path_mss);
        Connection {
            config: Arc::clone(config),
            options: None,
            conn: open.conn,
            state,
            snd: SendHalf::new(open.isn, mss, path),
            rcv: RecvHalf { mss: announced, ..RecvHalf::default() }.with_limit(config, mss),
            ts: Timestamps { offset: open.ts_offset, ..Timestamps::default() },
            ack: AckPolicy::default(),
            rtt: RttEstimator::default(),
            recovery: Recovery::new(config, mss, config.initial_cwnd, open.isn.0),
            timers: Timers::new(config.timer_tick),
            pending: Pending { syn: true, syn_sent_at: cx.now, ..Pending::default() },
            ecn: EcnState::default(),
            totals: Totals::default(),
            burst: Burst::default(),
            keepalive: config.keepalive,
            error: None,
            soft: None,
            fast_open: None,
            write_waits: false,
            give_up_at: Time::MAX,
            rtt_was_repeated: false,
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
        self.write_with(cx, bytes.len(), |buffer, n| buffer.push(&bytes[..n]))
    }

    /// [`Connection::write`] without a copy: the connection shares `bytes` until they are acknowledged.
    ///
    /// # Errors
    /// As [`Connection::write`].
    pub fn write_shared(&mut self, cx: Cx, bytes: &Bytes) -> Result<usize, TcpError> {
        self.write_with(cx, bytes.len(), |buffer, n| buffer.push_shared(bytes.slice(..n)))
    }

    /// Lets `push` put as many of `len` bytes into the send buffer as there is room for.
    fn write_with(
        &mut self,
        cx: Cx,
        len: usize,
        push: impl FnOnce(&mut SendBuffer, usize),
    ) -> Result<usize, TcpError> {
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
        self.note_application_limited();
        let n = len.min(self.admitted());
        self.snd.wants_room |= n < len;
        if n > 0 {
            let offset = self.snd.buf.end();
            push(&mut self.snd.buf, n);
            self.held_up(cx.now, Sending::Busy);
            self.wake_deferred();
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
        let n = self.rcv.buf.read_into(buf);
        self.was_read(cx, n)
    }

    /// Throws up to `most` bytes away that arrived in order, as `recv` with `MSG_TRUNC` does on Linux: what `read` does,
    /// without a copy.
    ///
    /// # Errors
    /// As [`Connection::read`].
    pub fn discard(&mut self, cx: Cx, most: usize) -> Result<Read, TcpError> {
        let n = self.rcv.buf.skip(most);
        self.was_read(cx, n)
    }

    /// The application has just taken `n` bytes.
    fn was_read(&mut self, cx: Cx, n: usize) -> Result<Read, TcpError> {
        if n > 0 {
            let offset = self.rcv.buf.next() - u64::from(self.rcv.buf.readable()) - n as u64;
            if cx.recording {
                self.records.push(What::TcpRead { conn: self.conn, offset, len: n as u32 });
            }
            self.ack.on_read(&self.config, self.rcv.nxt, self.rcv.buf.readable() == 0);
            self.offer_window_after_read();
            if self.rcv.fin_received {
                self.rcv.buf.release();
            }
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

    /// Whether an ACK is to be sent at once.
    #[must_use]
    pub fn owes_ack(&self) -> bool {
        matches!(self.ack.due, Due::Now | Due::TimerFired)
    }

    /// Copies what `read` would give into `buf` and leaves it there; how many bytes.
    #[must_use]
    pub fn peek(&self, buf: &mut [u8]) -> usize {
        self.rcv.buf.peek_into(buf)
    }

    /// Room for what the application has not read yet, at most, in bytes.
    #[must_use]
    pub fn receive_buffer(&self) -> u32 {
        self.rcv.limit
    }

    /// Bytes that `read` can give.
    #[must_use]
    pub fn unread(&self) -> usize {
        self.rcv.buf.readable() as usize
    }

    /// The application will write no more (a half close): a FIN follows the data written so far.
    pub fn shutdown(&mut self, cx: Cx) {
        //= rfc9293#3.10.4
        if self.snd.fin_queued || matches!(self.state, State::Closed(_) | State::TimeWait(_)) {
            return;
        }
        self.snd.fin_queued = true;
        self.held_up(cx.now, Sending::Busy);
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
            State::SynReceived(_) if self.config.family == Family::Bsd => self.enter(cx, Closed.into()),
            // The Berkeley stacks throw away what was not read and say nothing of it.
            _ if self.config.family == Family::Bsd => {
                self.rcv.buf.clear();
                self.shutdown(cx);
                if matches!(self.state, State::FinWait2(_)) {
                    self.await_fin(cx);
                }
            }
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
        match (error, self.config.family) {
            (IcmpError::TooBig { mtu }, _) => {
                let probing = self.options.as_ref().and_then(|o| o.mtu_discovery);
                if self.config.path_mtu_discovery && probing != Some(MtuDiscovery::Probe) {
                    self.path_mtu(mtu);
                }
            }
            (error, Family::Linux) => self.on_icmp_linux(cx, error),
            (error, Family::Bsd) => self.on_icmp_bsd(cx, error),
        }
    }

    fn on_icmp_linux(&mut self, cx: Cx, error: IcmpError) {
        //= rfc5461#3
        // Any error ends an attempt to connect; a connection only remembers why it may time out.
        let opening = matches!(self.state, State::SynSent(_) | State::SynReceived(_));
        let meaning = match error {
            IcmpError::NetUnreachable => TcpError::NetUnreachable,
            IcmpError::Refused => TcpError::Refused,
            _ => TcpError::HostUnreachable,
        };
        if opening {
            self.fail(cx, meaning);
        } else if error != IcmpError::Refused {
            self.soft = Some(meaning);
        }
    }

    fn on_icmp_bsd(&mut self, cx: Cx, error: IcmpError) {
        //= rfc5461#3
        // Hard errors end an attempt to connect, soft ones only when SYNs have been repeated for a while.
        let meaning = match error {
            IcmpError::Refused => TcpError::Refused,
            IcmpError::NetUnreachable => TcpError::NetUnreachable,
            _ => TcpError::HostUnreachable,
        };
        let hard = matches!(error, IcmpError::Refused | IcmpError::TtlExceeded) && self.config.icmp_may_reset;
        let opening = matches!(self.state, State::SynSent(_) | State::SynReceived(_));
        let long_enough = opening && self.retries > 3 && self.soft.is_some();
        if (hard && matches!(self.state, State::SynSent(_))) || (!hard && long_enough) {
            self.fail(cx, meaning);
        } else if !hard {
            self.soft = Some(meaning);
        }
    }

    /// What the application set on this socket.
    #[must_use]
    pub fn options(&self) -> SocketOptions {
        let asked = self.options.as_deref().cloned().unwrap_or_default();
        SocketOptions { nodelay: self.nodelay, keepalive: self.keepalive.is_some(), ..asked }
    }

    /// The same without a copy; `None` when the application set nothing.
    #[must_use]
    pub fn own_options(&self) -> Option<&SocketOptions> {
        self.options.as_deref()
    }

    /// Keeps what the application set before the connection was opened; its configuration has it in already.
    pub fn keep_options(&mut self, options: SocketOptions) {
        self.options = (options != SocketOptions::default()).then(|| Box::new(options));
    }

    /// Sets all options of this socket; `machine` is what it runs on without them.
    pub fn set_options(&mut self, cx: Cx, machine: &Arc<TcpConfig>, options: SocketOptions) {
        let config = options.apply(machine);
        let algorithm = self.config.congestion;
        self.config = if config == **machine { Arc::clone(machine) } else { Arc::new(config) };
        if self.config.congestion != algorithm {
            self.change_congestion_control(cx);
        }
        self.nodelay = options.nodelay;
        if self.keepalive != self.config.keepalive {
            self.set_keepalive(cx, self.config.keepalive);
        }
        self.keep_options(options);
    }

    /// The machine's configuration changed: takes it over.
    pub fn set_machine(&mut self, cx: Cx, machine: &Arc<TcpConfig>) {
        match self.options.take() {
            Some(options) => self.set_options(cx, machine, *options),
            None => self.config = Arc::clone(machine),
        }
    }

    /// Says that an application waits to write as soon as the connection is open: its text carries the last ACK of the
    /// handshake then.
    pub fn expect_write(&mut self, waits: bool) {
        self.write_waits = waits;
    }

    /// TCP_QUICKACK: switched off, ACKs wait for an answer to carry them; switched on, one that waits leaves now.
    pub fn set_quickack(&mut self, on: bool) {
        self.ack.set_quick(on);
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
        match token.0 {
            Some(seq) if Seq(seq) == self.snd.iss => self.pending.syn_origin.0 = event,
            Some(seq) => self.snd.flight.record(Seq(seq), event),
            None => {}
        }
    }

    /// The payload of a segment. Ask before the next `on_segment`.
    #[must_use]
    pub fn payload(&self, segment: &Segment) -> Text<'_> {
        self.snd.buf.text(segment.offset, segment.len)
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
            State::Established(_) | State::CloseWait(_) if !self.snd.fin_queued => {
                let low = self.config.not_sent_low_water.unwrap_or(u32::MAX);
                self.has_room() && self.snd.unsent() < low
            }
            State::SynReceived(SynReceived { road: Road::FastOpen }) => self.has_room(),
            State::SynSent(_) => self.is_deferred(),
            State::SynReceived(_) => false,
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
}

/// Room.
impl Connection {
    /// The send buffer follows the congestion window, as Linux's does: two windows are enough to keep it full.
    fn send_limit(&self) -> usize {
        if let Some(fixed) = self.config.send_buffer_fixed {
            return fixed as usize;
        }
        let want = (2 * self.recovery.window.bytes().0 as usize).max(MIN_SEND_LIMIT);
        want.min(self.config.send_buffer as usize)
    }

    fn room(&self) -> usize {
        self.send_limit().saturating_sub(self.snd.buf.len())
    }

    /// How much a write may put in now. With a buffer of fixed size Linux asks for room only when it begins a new piece, as
    /// large as an interface takes it (at most half of the peer's largest window): the piece begun last is always filled,
    /// and so is the one begun with the last room. What leaves of the first piece at once makes way for as much.
    fn admitted(&self) -> usize {
        if self.config.send_buffer_fixed.is_none() || self.config.family != Family::Linux {
            return self.room();
        }
        let mss = self.snd.mss.max(1);
        let piece = (self.snd.max_wnd / 2).min(u32::from(u16::MAX)) / mss * mss;
        let piece = piece.max(mss) as usize;
        let (limit, held, unsent) = (self.send_limit(), self.snd.buf.len(), self.snd.unsent() as usize);
        let mut room = unsent.next_multiple_of(piece) - unsent;
        if unsent == 0 && held < limit {
            let cwnd = self.recovery.window.cwnd.saturating_sub(self.snd.flight.pipe());
            let leaves = u64::from(cwnd) * u64::from(mss);
            room = piece + leaves.min(u64::from(self.usable())).min(piece as u64) as usize;
        }
        while held + room < limit {
            room += piece;
        }
        room
    }

    /// Whether it is worth to wake a writer: a third of the buffer is free.
    pub(super) fn has_room(&self) -> bool {
        self.room() * 3 >= self.send_limit()
    }

    /// Bytes thought to be in the network.
    pub(super) fn pipe(&self) -> u32 {
        self.snd.flight.pipe().saturating_mul(self.snd.mss).min(self.snd.nxt - self.snd.una)
    }
}

/// Not even the smallest MTU (68 bytes, RFC 791) announces less.
const MIN_MSS: u16 = 28;
/// The send buffer never holds less than this (unless configured smaller).
const MIN_SEND_LIMIT: usize = 65_536;
