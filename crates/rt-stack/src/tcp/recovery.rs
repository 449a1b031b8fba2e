//! What an ACK means for the sender: what left the network, what is lost, how much may be sent.
//!
//! With SACK losses are found by RFC 6675's rule on the scoreboard, without it by counting duplicate ACKs (RFC 5681,
//! NewReno's partial ACKs of RFC 6582). Both spend the window by Proportional Rate Reduction (RFC 9937). Limited
//! transmit (RFC 3042) needs no code: an ACK that reports a departure makes room in the window for one new segment.
//!
//! The next step, RACK-TLP (RFC 8985), will replace `Flight::judge` as the judge of losses.

use rt_base::{Time, TimerKind, What};
use rt_wire::{Seq, TcpHeader};

use super::config::CongestionKind;
use super::congestion::{Acked, Algorithm, Controller, Window};
use super::connection::Connection;
use super::flight::Removed;
use super::segment::{Cx, Ignored};
use super::timers::Slot;

/// Where the sender stands between losses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// No loss known.
    Open,
    /// Fast recovery until this is acknowledged.
    Recovery {
        /// SND.NXT when the loss was found (RecoveryPoint).
        until: Seq,
    },
    /// After a retransmission timeout, until this is acknowledged.
    Loss {
        /// SND.NXT when the timer expired.
        until: Seq,
    },
    /// After ICMP said "too big", until this is acknowledged; the window is not cut.
    TooLong {
        /// SND.NXT when it said so.
        until: Seq,
    },
}

/// Congestion control's variables.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recovery {
    pub(super) window: Window,
    pub(super) controller: Controller,
    pub(super) phase: Phase,
    /// Duplicate ACKs in a row, without SACK.
    duplicates: u32,
    /// Bytes that these say have left the network.
    pub(super) left: u32,
    /// The first retransmission of a recovery is sent whatever the window says.
    pub(super) force: bool,
    /// The window, not the application, was the limit when something was sent last.
    pub(super) limited: bool,
    prr: Prr,
    /// cwnd as the story knows it.
    told: u32,
}

/// Proportional Rate Reduction's variables (RFC 9937 section 6).
#[derive(Clone, Copy, Debug, Default)]
struct Prr {
    delivered: u32,
    out: u32,
    recover_fs: u32,
}

/// Duplicate ACKs, or SACKed segments above, that make a loss (RFC 5681 3.2).
const DUP_THRESH: u32 = 3;

impl Recovery {
    pub(super) fn new(kind: CongestionKind, mss: u32, initial: u32) -> Recovery {
        Recovery {
            window: Window { cwnd: mss.saturating_mul(initial.max(1)), ssthresh: u32::MAX, mss },
            controller: Controller::new(kind),
            phase: Phase::Open,
            duplicates: 0,
            left: 0,
            force: false,
            limited: false,
            prr: Prr::default(),
            told: 0,
        }
    }

    /// Something left: it uses up what PRR allows.
    pub(super) fn on_sent(&mut self, bytes: u32) {
        self.force = false;
        if matches!(self.phase, Phase::Recovery { .. }) {
            self.prr.out = self.prr.out.saturating_add(bytes);
        }
    }

    /// RFC 9937 section 6.2 with the slow start reduction bound.
    fn prr_step(&mut self, delivered: u32, pipe: u32) {
        //= rfc9937#6.2
        let ssthresh = self.window.ssthresh;
        self.prr.delivered = self.prr.delivered.saturating_add(delivered);
        let room = if pipe > ssthresh {
            let share = u64::from(self.prr.delivered) * u64::from(ssthresh);
            let share = share.div_ceil(u64::from(self.prr.recover_fs.max(1)));
            (share as u32).saturating_sub(self.prr.out)
        } else {
            let burst = self.prr.delivered.saturating_sub(self.prr.out).max(delivered) + self.window.mss;
            burst.min(ssthresh - pipe)
        };
        let room = if self.force { room.max(self.window.mss) } else { room };
        self.window.cwnd = pipe + room;
    }

    /// Everything up to `nxt` is to be sent again for a reason that says nothing about congestion.
    pub(super) fn repeat_without_cut(&mut self, nxt: Seq) {
        self.phase = Phase::TooLong { until: nxt };
        self.reset_duplicates();
    }

    fn reset_duplicates(&mut self) {
        self.duplicates = 0;
        self.left = 0;
    }
}

impl Connection {
    /// The fifth step of RFC 9293 3.10.7.4: the ACK field and the window.
    pub(super) fn on_ack(&mut self, cx: Cx, header: &TcpHeader, payload_len: u32) -> Result<(), Ignored> {
        let ack = header.ack;
        //= rfc5961#5.2
        // SND.UNA - MAX.SND.WND <= SEG.ACK <= SND.NXT.
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
        if ack.lt(self.snd.una) {
            // Old: says nothing new about our data; its text still counts.
            return Ok(());
        }
        let before = self.snd.flight.total();
        let advanced = ack != self.snd.una;
        let same_window = !self.take_window(header);
        //= rfc5681#2
        // A duplicate ACK: nothing new, no data, same window, and something is in flight.
        let duplicate = !advanced && payload_len == 0 && same_window && before > 0;
        if !advanced && !duplicate && header.options.sack().is_empty() {
            self.on_idle_ack(before);
            return Ok(());
        }
        let (una, nxt) = (self.snd.una, self.snd.nxt);
        let (mut sacked, mut sacked_at) = (0, None);
        if self.rcv.sack && !header.options.sack().is_empty() {
            (sacked, sacked_at) = self.snd.flight.sack(header.options.sack(), una, nxt);
        }
        let removed = if advanced { self.advance(ack) } else { Removed::default() };
        self.measure(cx, header, &removed, sacked_at.filter(|_| sacked > 0));
        self.control(cx, before, &removed, sacked, duplicate);
        if advanced {
            self.retries = 0;
            self.soft = None;
            self.rtt.progress();
            self.restart_rto(cx);
        }
        Ok(())
    }

    /// An ACK that acknowledges nothing: the peer is alive, and perhaps its window is open again.
    fn on_idle_ack(&mut self, in_flight: u32) {
        if in_flight > 0 {
            return;
        }
        self.retries = 0;
        let opened = self.snd.usable() >= self.snd.unsent().min(self.snd.mss);
        if opened && self.timers.is(Slot::Retransmit, TimerKind::Persist) {
            self.rtt.progress();
        }
    }

    /// SND.WND, if the segment is newer than the one that set it. Whether it changed.
    fn take_window(&mut self, header: &TcpHeader) -> bool {
        //= rfc9293#3.10.7.4
        let s = &mut self.snd;
        if !(s.wl1.lt(header.seq) || (s.wl1 == header.seq && s.wl2.le(header.ack))) {
            return false;
        }
        (s.wl1, s.wl2) = (header.seq, header.ack);
        let wnd = u32::from(header.window) << s.shift;
        let changed = wnd != s.wnd;
        s.wnd = wnd;
        s.max_wnd = s.max_wnd.max(wnd);
        changed
    }

    /// Everything before `ack` has arrived.
    fn advance(&mut self, ack: Seq) -> Removed {
        let s = &mut self.snd;
        let removed = s.flight.ack(ack);
        let acked = ack - s.una;
        s.una = ack;
        // A FIN takes a sequence number but no byte of the buffer, which `advance` knows.
        s.buf.advance(acked);
        if self.snd.wants_room && self.has_room() {
            self.snd.wants_room = false;
            self.woken = true;
        }
        removed
    }

    /// Round-trip time: from a segment that was never repeated (Karn), else from the echoed timestamp.
    fn measure(&mut self, cx: Cx, header: &TcpHeader, removed: &Removed, sacked_at: Option<Time>) {
        //= rfc6298#3
        let sent_at = match removed.repeated {
            true => None,
            false => removed.sent_at.or(sacked_at),
        };
        if let Some(at) = sent_at {
            self.rtt.sample(cx.now.since(at));
        } else if removed.newly > 0
            && let Some(rtt) = self.ts.echoed(cx.now, header)
        {
            //= rfc7323#4.1
            self.rtt.sample(rtt);
        }
    }

    /// Loss detection and the congestion window. `before` was outstanding before this ACK.
    fn control(&mut self, cx: Cx, before: u32, removed: &Removed, sacked: u32, duplicate: bool) {
        let advanced = self.snd.flight.total() < before;
        if duplicate && !self.rcv.sack {
            self.recovery.duplicates += 1;
            let mss = self.recovery.window.mss;
            self.recovery.left = (self.recovery.left + mss).min(self.snd.flight.total().saturating_sub(mss));
        }
        let delivered = removed.newly + sacked;
        match self.recovery.phase {
            Phase::Open => {
                if self.finds_loss() {
                    self.enter_recovery(cx, delivered.max(u32::from(duplicate) * self.recovery.window.mss));
                    return;
                }
                if advanced {
                    self.recovery.reset_duplicates();
                    self.grow(cx, before, delivered);
                }
            }
            Phase::Recovery { until } if self.snd.una.ge(until) => {
                self.recovery.phase = Phase::Open;
                self.recovery.reset_duplicates();
                self.recovery.window.cwnd = self.recovery.window.ssthresh;
                self.tell_cwnd(cx, true);
                self.recover_anew(cx, delivered);
            }
            Phase::Recovery { .. } => self.on_ack_in_recovery(removed, delivered, advanced, duplicate),
            Phase::Loss { until } | Phase::TooLong { until } => {
                if self.snd.una.ge(until) {
                    self.recovery.phase = Phase::Open;
                    self.recovery.reset_duplicates();
                    self.recover_anew(cx, delivered);
                    return;
                }
                self.finds_loss_by_sack();
                if advanced {
                    self.recovery.limited = true;
                    self.grow(cx, before, delivered);
                }
            }
        }
    }

    /// Losses among what was sent during the recovery that just ended are a new congestion event.
    fn recover_anew(&mut self, cx: Cx, delivered: u32) {
        if self.finds_loss() {
            self.enter_recovery(cx, delivered);
        }
    }

    fn finds_loss_by_sack(&mut self) -> bool {
        self.rcv.sack && self.snd.flight.judge(DUP_THRESH)
    }

    fn finds_loss(&mut self) -> bool {
        if self.rcv.sack {
            return self.finds_loss_by_sack() || self.snd.flight.next_lost().is_some();
        }
        let found = self.recovery.duplicates >= DUP_THRESH && !self.snd.flight.is_empty();
        if found {
            self.snd.flight.head_lost();
        }
        found
    }

    /// Fast retransmit and the start of fast recovery.
    fn enter_recovery(&mut self, cx: Cx, delivered: u32) {
        //= rfc5681#3.2
        //= rfc6675#5
        let r = &mut self.recovery;
        r.window.ssthresh = r.controller.on_loss(&r.window);
        r.phase = Phase::Recovery { until: self.snd.nxt };
        r.force = true;
        r.prr = Prr { recover_fs: self.snd.flight.total().max(1), ..Prr::default() };
        let pipe = self.pipe();
        self.recovery.prr_step(delivered, pipe);
        self.tell_cwnd(cx, true);
    }

    fn on_ack_in_recovery(&mut self, removed: &Removed, delivered: u32, advanced: bool, duplicate: bool) {
        let mss = self.recovery.window.mss;
        let delivered = if self.rcv.sack {
            self.finds_loss_by_sack();
            delivered
        } else if advanced {
            //= rfc6582#3.2
            // A partial ACK: the next segment is lost too. What it acknowledged is no longer counted as having left by
            // the duplicate ACKs before.
            self.recovery.left = self.recovery.left.saturating_sub(removed.newly.saturating_sub(mss));
            self.snd.flight.head_lost();
            self.recovery.force = true;
            mss
        } else {
            u32::from(duplicate) * mss
        };
        if delivered > 0 {
            let pipe = self.pipe();
            self.recovery.prr_step(delivered, pipe);
        }
    }

    fn grow(&mut self, cx: Cx, before: u32, bytes: u32) {
        let r = &mut self.recovery;
        // A window that is not used is not validated (RFC 7661); in slow start half of it is enough.
        let slow_start = r.window.cwnd < r.window.ssthresh;
        if r.limited || (slow_start && r.window.cwnd < before.saturating_mul(2)) {
            r.controller.on_ack(&mut r.window, Acked { now: cx.now, bytes, srtt: self.rtt.srtt() });
            let crossed = slow_start && r.window.cwnd >= r.window.ssthresh;
            self.tell_cwnd(cx, crossed);
        }
    }

    /// The retransmission timer expired with data in flight.
    pub(super) fn on_rto(&mut self, cx: Cx) {
        let r = &mut self.recovery;
        //= rfc5681#3.1
        // The threshold is cut once for a loss, not again for the same.
        if matches!(r.phase, Phase::Open | Phase::TooLong { .. }) {
            r.window.ssthresh = r.controller.on_loss(&r.window);
        }
        r.window.cwnd = r.window.mss;
        r.phase = Phase::Loss { until: self.snd.nxt };
        r.reset_duplicates();
        r.force = true;
        self.snd.flight.all_lost();
        self.tell_cwnd(cx, true);
    }

    /// RFC 6298 5.2 and 5.3.
    pub(super) fn restart_rto(&mut self, cx: Cx) {
        //= rfc6298#5.2
        //= rfc6298#5.3
        if self.snd.flight.is_empty() {
            self.timers.disarm(Slot::Retransmit);
        } else {
            let at = cx.now + self.rtt.rto(&self.config);
            self.timers.arm(cx, Slot::Retransmit, TimerKind::Rto, at);
        }
    }

    /// After silence the path is no longer known (RFC 5681 4.1): the window halves for every RTO that passed.
    pub(super) fn on_restart_after_idle(&mut self, cx: Cx) {
        let idle = cx.now.since(self.snd.last_sent).0;
        let rto = self.rtt.rto(&self.config).0.max(1);
        let r = &mut self.recovery;
        let floor = r.window.mss.saturating_mul(self.config.initial_cwnd);
        if idle > rto && r.window.cwnd > floor {
            r.window.ssthresh = r.window.ssthresh.max(r.window.cwnd / 4 * 3);
            let halvings = (idle / rto).min(31);
            r.window.cwnd = (r.window.cwnd >> halvings).max(floor);
            r.controller.on_idle();
            self.tell_cwnd(cx, true);
        }
    }

    fn tell_cwnd(&mut self, cx: Cx, always: bool) {
        let Window { cwnd, ssthresh, .. } = self.recovery.window;
        if !cx.recording || (!always && cwnd.abs_diff(self.recovery.told) < self.recovery.told / 4) {
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
}
