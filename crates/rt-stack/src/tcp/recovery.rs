//! The state machine of loss recovery: what an ACK means for it, when it begins and ends.
//!
//! The states are Linux's (and TCP_INFO shows them): Open, Disorder, CWR, Recovery, Loss. With SACK losses are found by
//! time (`rack`, RFC 8985) or, where that is off, by RFC 6675's rule on the scoreboard; without SACK by counting
//! duplicate ACKs (RFC 5681, NewReno's partial ACKs of RFC 6582). The window is spent by Proportional Rate Reduction
//! (`cwnd`), a needless recovery is undone (`undo`). Limited transmit (RFC 3042) needs no code: an ACK that reports a
//! departure makes room in the window for one new segment.
//!
//! What is sent is not decided here but by `send`, which repeats what is lost as far as the window allows.

use rt_base::{LossEvidence, Nanos, TcpDecision, Time, What};
use rt_wire::Seq;

use super::config::{RecoveryKind, TcpConfig};
use super::congestion::{Algorithm, Controller, Window};
use super::connection::Connection;
use super::cwnd::{Prr, Usage};
use super::flight::Delivered;
use super::probe::TailProbe;
use super::rack::Rack;
use super::segment::Cx;
use super::timers::Slot;

/// Where the sender stands between losses.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum CongestionState {
    /// Nothing unusual.
    #[default]
    Open,
    /// Something is SACKed or duplicate ACKs came; no loss is known.
    Disorder,
    /// The window is being reduced for another reason than a loss: ECN.
    Cwr,
    /// Fast recovery.
    Recovery,
    /// After a retransmission timeout, or what the path does not take is being repeated.
    Loss,
}

/// Loss recovery's and congestion control's variables.
#[derive(Clone, Debug)]
pub(super) struct Recovery {
    pub(super) window: Window,
    pub(super) controller: Controller,
    pub(super) state: CongestionState,
    /// SND.NXT when the state was entered (RecoveryPoint).
    pub(super) high: Seq,
    pub(super) rack: Rack,
    pub(super) probe: TailProbe,
    pub(super) prr: Prr,
    pub(super) usage: Usage,
    pub(super) undo: Undo,
    /// Segments by which the network may reorder, as seen so far (DupThresh).
    pub(super) reordering: u32,
    /// How often reordering was seen.
    pub(super) reordering_seen: u32,
    /// F-RTO runs (RFC 5682).
    pub(super) frto: bool,
    /// What may be sent until the next ACK or timeout.
    pub(super) resend: Resend,
    /// In Loss because of a smaller path MTU, not of a timeout.
    pub(super) too_long: bool,
    /// The echoed timestamp of the ACK at hand.
    pub(super) echo: Option<u32>,
    pub(super) counts: Counts,
    /// cwnd in bytes as the story knows it.
    pub(super) told: u32,
    /// SRTT and RTO that the story knows, microseconds.
    pub(super) told_rtt: [u32; 2],
}

/// What is needed to take back a cut of the window.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Undo {
    /// SND.UNA when the window was cut, while that may be taken back.
    pub(super) marker: Option<Seq>,
    /// Repetitions since then that were not reported as duplicates; `None`: there were none.
    pub(super) repeated: Option<u32>,
    /// When the first of them left.
    pub(super) first_at: Option<Time>,
    /// ssthresh before; 0 when the cut must stand.
    pub(super) ssthresh: u32,
    /// cwnd before.
    pub(super) cwnd: u32,
}

/// Segments since the connection began.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) repeated: u32,
    pub(super) delivered: u32,
    pub(super) delivered_ce: u32,
    /// Reported as duplicates by the peer.
    pub(super) duplicates: u32,
}

/// What an ACK said, as recovery sees it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Heard {
    pub(super) said: Delivered,
    /// SND.UNA before.
    pub(super) una: Seq,
    /// SND.UNA moved.
    pub(super) advanced: bool,
    /// It cannot be a duplicate ACK: it has data, moves the window or acknowledges something.
    pub(super) not_duplicate: bool,
    /// The peer echoes a mark.
    pub(super) ece: bool,
    /// A duplicate SACK that counts.
    pub(super) dsack: bool,
    /// It ends a recovery after which the window must not grow yet.
    pub(super) recovered: bool,
    /// It answers the tail loss probe.
    pub(super) dsack_probe: bool,
    /// Segments delivered, duplicates among them.
    pub(super) delivered: u32,
    /// `Flight::found` before.
    pub(super) found: u32,
    /// The transmission timer starts anew.
    pub(super) arm: bool,
    /// A retransmission was found lost.
    pub(super) lost_again: bool,
    /// How long the latest of the delivered segments took.
    pub(super) rtt: Option<Nanos>,
    /// Segments in flight before.
    pub(super) prior_in_flight: u32,
}

/// What to send after an ACK.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Resend {
    /// What is lost, then new data.
    AsUsual,
    /// New data; what is lost only when there is none (F-RTO's step 2b).
    NewFirst,
    /// New data only: what looks lost may be just late.
    NewOnly,
}

impl Recovery {
    pub(super) fn new(config: &TcpConfig, mss: u32, initial: u32, seed: u32) -> Recovery {
        Recovery {
            window: Window { cwnd: initial.max(1), ssthresh: u32::MAX, mss, credit: 0 },
            controller: Controller::new(config.congestion, config.hystart, seed),
            state: CongestionState::Open,
            high: Seq(0),
            rack: Rack::default(),
            probe: TailProbe::default(),
            prr: Prr::default(),
            usage: Usage::default(),
            undo: Undo::default(),
            reordering: config.reordering,
            reordering_seen: 0,
            frto: false,
            resend: Resend::AsUsual,
            too_long: false,
            echo: None,
            counts: Counts::default(),
            told: 0,
            told_rtt: [0; 2],
        }
    }

    /// Whether PRR says how large the window is.
    pub(super) fn reducing(&self) -> bool {
        matches!(self.state, CongestionState::Cwr | CongestionState::Recovery)
    }

    /// The threshold that a cut now would take back: three quarters of the window at least.
    pub(super) fn current_ssthresh(&self) -> u32 {
        if self.reducing() {
            return self.window.ssthresh;
        }
        self.window.ssthresh.max(self.window.cwnd / 2 + self.window.cwnd / 4)
    }
}

impl Connection {
    /// RACK is the judge of losses.
    pub(super) fn by_time(&self) -> bool {
        self.config.rack && self.rcv.sack
    }

    /// Whether the ACK needs more than taking out what it acknowledges.
    pub(super) fn is_dubious(&self, heard: &Heard) -> bool {
        !heard.not_duplicate
            || heard.said.sacked > 0
            || heard.ece
            || heard.dsack
            || self.recovery.state != CongestionState::Open
    }

    /// The state machine.
    pub(super) fn alert(&mut self, cx: Cx, heard: &mut Heard) -> Resend {
        let duplicate = !heard.advanced && !heard.not_duplicate && !heard.dsack;
        if heard.ece {
            // The cut is due, whatever else turns out.
            self.recovery.undo.ssthresh = 0;
        }
        if heard.said.reneged && heard.advanced {
            self.wait_for_reneging(cx, heard);
            return Resend::NewOnly;
        }
        heard.recovered = self.is_counted()
            && self.recovery.state == CongestionState::Recovery
            && self.snd.una.ge(self.recovery.high);
        if self.recovery.state == CongestionState::Open {
            self.recovery.undo.first_at = None;
        } else if self.snd.una.ge(self.recovery.high) && self.leave_reduction(cx) {
            return Resend::AsUsual;
        }
        match self.recovery.state {
            CongestionState::Recovery => self.alert_in_recovery(cx, heard, duplicate),
            CongestionState::Loss => self.alert_in_loss(cx, heard, duplicate),
            _ => {
                self.alert_in_open(cx, heard, duplicate);
                Resend::AsUsual
            }
        }
    }

    /// All that was in flight when the state began is acknowledged. True when the state is to be kept all the same.
    fn leave_reduction(&mut self, cx: Cx) -> bool {
        match self.recovery.state {
            // Something above must be acknowledged, so that CWR has reached the peer.
            CongestionState::Cwr if self.snd.una != self.recovery.high => {
                self.end_reduction(cx);
                self.recovery.state = CongestionState::Open;
            }
            CongestionState::Recovery => {
                if !self.rcv.sack {
                    self.snd.flight.emulate(None);
                }
                if self.undo_recovery(cx) {
                    return true;
                }
                self.end_reduction(cx);
            }
            _ => {}
        }
        false
    }

    fn alert_in_recovery(&mut self, cx: Cx, heard: &mut Heard, duplicate: bool) -> Resend {
        if !heard.advanced {
            self.count_duplicate(heard, duplicate);
        } else if self.undo_partial(cx, heard) {
            return Resend::NewOnly;
        }
        if self.undo_by_duplicates(cx) {
            self.try_to_open(cx, heard);
        }
        self.find_losses(cx, heard);
        if self.recovery.state != CongestionState::Recovery && self.time_to_recover() {
            self.enter_recovery(cx, heard.ece);
        }
        Resend::AsUsual
    }

    fn alert_in_loss(&mut self, cx: Cx, heard: &mut Heard, duplicate: bool) -> Resend {
        let resend = self.process_loss(cx, heard, duplicate);
        self.find_losses(cx, heard);
        if self.recovery.state == CongestionState::Open || heard.lost_again {
            self.alert_in_open(cx, heard, duplicate);
        }
        resend
    }

    /// Open, Disorder and CWR, and what other states have become.
    fn alert_in_open(&mut self, cx: Cx, heard: &mut Heard, duplicate: bool) {
        if !self.rcv.sack {
            if heard.advanced {
                self.snd.flight.emulate(None);
            }
            self.count_duplicate(heard, duplicate);
        }
        if self.recovery.state <= CongestionState::Disorder {
            self.undo_by_duplicates(cx);
        }
        self.find_losses(cx, heard);
        if self.time_to_recover() {
            self.enter_recovery(cx, heard.ece);
        } else {
            self.try_to_open(cx, heard);
        }
    }

    /// Without SACK: a duplicate ACK is a segment that arrived.
    fn count_duplicate(&mut self, heard: &mut Heard, duplicate: bool) {
        if self.rcv.sack || !duplicate {
            return;
        }
        let (delivered, excess) = self.snd.flight.emulate(Some(1));
        self.reordered_without_sack(excess, 0);
        heard.delivered += delivered;
        self.count_delivered(delivered, heard.ece);
    }

    pub(super) fn count_delivered(&mut self, segments: u32, marked: bool) {
        let counts = &mut self.recovery.counts;
        counts.delivered = counts.delivered.wrapping_add(segments);
        if marked {
            counts.delivered_ce = counts.delivered_ce.wrapping_add(segments);
        }
    }

    /// More duplicate ACKs than segments could cause: the network reorders.
    pub(super) fn reordered_without_sack(&mut self, excess: bool, acked: u32) {
        if excess {
            self.recovery.reordering = (self.snd.flight.segments() + acked).min(MAX_REORDERING);
            self.recovery.reordering_seen = self.recovery.reordering_seen.saturating_add(1);
        }
    }

    /// A segment from `low` on, never repeated, arrived after later ones.
    pub(super) fn reordered(&mut self, low: Seq) {
        let high = self.snd.flight.high_sacked(self.snd.una);
        if low.ge(high) {
            return;
        }
        let mss = self.snd.mss.max(1);
        if high - low > self.recovery.reordering.saturating_mul(mss) {
            self.recovery.reordering = (high - low).div_ceil(mss).min(MAX_REORDERING);
        }
        self.recovery.reordering_seen = self.recovery.reordering_seen.saturating_add(1);
    }

    fn time_to_recover(&self) -> bool {
        self.snd.flight.lost() > 0
    }

    /// Looks for losses by whatever rule applies.
    fn find_losses(&mut self, cx: Cx, heard: &mut Heard) {
        if self.snd.flight.is_empty() {
            return;
        }
        let (found, repeated) = (self.snd.flight.found(), self.snd.flight.repeated());
        let evidence = if !self.rcv.sack {
            self.find_losses_without_sack(heard)
        } else if self.config.rack {
            let evidence = self.rack_evidence(false);
            if self.rack_mark(cx) {
                heard.arm = false;
            }
            evidence
        } else {
            // FreeBSD before 13 repeats every hole once it recovers (tcp_sack_output).
            let every = self.config.recovery == RecoveryKind::Counted
                && self.recovery.state == CongestionState::Recovery;
            self.snd.flight.judge(if every { 1 } else { self.recovery.reordering });
            LossEvidence::Sacks { sacked: self.snd.flight.sacked() }
        };
        heard.lost_again |= self.snd.flight.repeated() < repeated;
        self.tell_losses(cx, self.snd.flight.found().wrapping_sub(found), evidence);
    }

    fn find_losses_without_sack(&mut self, heard: &Heard) -> LossEvidence {
        let sacked = self.snd.flight.sacked();
        let state = self.recovery.state;
        //= rfc5681#3.2
        if state < CongestionState::Recovery && sacked >= self.recovery.reordering {
            self.snd.flight.head_lost();
            return LossEvidence::DuplicateAcks { count: sacked };
        }
        //= rfc6582#3.2
        // A partial ACK: the next segment is lost too.
        if state == CongestionState::Recovery && heard.advanced {
            self.snd.flight.head_lost();
        }
        LossEvidence::PartialAck
    }

    pub(super) fn tell_losses(&mut self, cx: Cx, segments: u32, by: LossEvidence) {
        if segments == 0 || !cx.recording {
            return;
        }
        self.tell_cwnd_before(cx);
        let first = self.snd.flight.next_lost().map_or(self.snd.una, |(_, e)| e.seq);
        let first = self.snd.offset(first);
        self.decided(cx, || TcpDecision::Lost { first, segments, by });
    }

    /// Notes a decision for the story.
    pub(super) fn decided(&mut self, cx: Cx, decision: impl FnOnce() -> TcpDecision) {
        if cx.recording {
            let decision = Box::new(decision());
            self.records.push(What::TcpDecision { conn: self.conn, decision });
        }
    }

    /// The start of fast recovery.
    pub(super) fn enter_recovery(&mut self, cx: Cx, ece: bool) {
        //= rfc5681#3.2
        //= rfc6675#5
        //= rfc8985#8
        self.tell_cwnd_before(cx);
        if !self.any_repeated() {
            self.recovery.undo.first_at = None;
        }
        self.recovery.undo.ssthresh = 0;
        self.begin_undo();
        if !self.recovery.reducing() {
            if !ece {
                self.recovery.undo.ssthresh = self.recovery.current_ssthresh();
            }
            self.begin_reduction();
        }
        self.recovery.state = CongestionState::Recovery;
        self.tell_cwnd(cx, true);
    }

    /// What can be undone starts here.
    fn begin_undo(&mut self) {
        let r = &mut self.recovery;
        // FreeBSD before 13 does not look for duplicates in SACK options.
        r.undo.marker = (self.config.recovery == RecoveryKind::Proportional).then_some(self.snd.una);
        // Copies that are still under way may cause duplicate SACKs later.
        let flying = self.snd.flight.repeated() + u32::from(r.probe.repeated());
        r.undo.repeated = (flying > 0).then_some(flying);
    }

    /// Whether a repeated segment is in flight, as far as one look tells.
    pub(super) fn any_repeated(&self) -> bool {
        let flight = &self.snd.flight;
        flight.repeated() > 0 || flight.front().is_some_and(|e| e.ever_repeated)
    }

    /// An ACK in Open, Disorder or CWR brought no loss.
    pub(super) fn try_to_open(&mut self, cx: Cx, heard: &Heard) {
        if !self.any_repeated() {
            self.recovery.undo.first_at = None;
        }
        if heard.ece {
            self.enter_cwr(cx);
        }
        if self.recovery.state != CongestionState::Cwr {
            self.keep_open();
        }
    }

    /// Open or Disorder.
    pub(super) fn keep_open(&mut self) {
        let flight = &self.snd.flight;
        let disorder = flight.sacked() + flight.lost() > 0 || self.any_repeated();
        let state = if disorder { CongestionState::Disorder } else { CongestionState::Open };
        if self.recovery.state != state {
            self.recovery.state = state;
            self.recovery.high = self.snd.nxt;
        }
    }

    /// The peer forgot what it had SACKed, or so it seems: a little patience, then a timeout that believes no SACK.
    fn wait_for_reneging(&mut self, cx: Cx, heard: &mut Heard) {
        //= rfc2018#8
        let patience = (self.rtt.srtt().0 / 2).max(RENEGING_PATIENCE_NS);
        self.timers.arm(cx, Slot::Retransmit, rt_base::TimerKind::Rto, cx.now + rt_base::Nanos(patience));
        heard.arm = false;
    }

    /// An ACK after a timeout (RFC 5682 in its SACK-enhanced form, RFC 6582 4, RFC 5681 3.1).
    fn process_loss(&mut self, cx: Cx, heard: &mut Heard, duplicate: bool) -> Resend {
        let recovered = self.snd.una.ge(self.recovery.high);
        if heard.advanced && self.undo_loss(cx, false) {
            return Resend::AsUsual;
        }
        if self.recovery.frto {
            //= rfc5682#3.1
            // Step 3b: never repeated data arrives, so not all was lost.
            if heard.said.original && self.undo_loss(cx, true) {
                return Resend::AsUsual;
            }
            if self.snd.nxt.gt(self.recovery.high) {
                // Step 3a: the loss was real.
                if heard.said.sacked > 0 || duplicate {
                    self.recovery.frto = false;
                }
            } else if heard.advanced && !recovered {
                // Step 2b: new data shows what the network does.
                self.recovery.high = self.snd.nxt;
                if self.snd.unsent() > 0 && self.snd.usable() > 0 {
                    return Resend::NewFirst;
                }
                self.recovery.frto = false;
            }
        }
        if recovered {
            self.undo_recovery(cx);
            return Resend::AsUsual;
        }
        if !self.rcv.sack {
            if self.snd.nxt.gt(self.recovery.high) && duplicate {
                self.count_duplicate(heard, duplicate);
            } else if heard.advanced {
                self.snd.flight.emulate(None);
            }
        }
        Resend::AsUsual
    }

    /// The retransmission timer expired with data in flight. `retries` timeouts came before it in a row.
    pub(super) fn on_rto(&mut self, cx: Cx, retries: u8) {
        self.tell_cwnd_before(cx);
        let fresh = self.recovery.state < CongestionState::Recovery;
        let rack = self.by_time().then_some(self.recovery.rack);
        self.snd.flight.all_lost(rack.as_ref(), cx.now);
        let r = &mut self.recovery;
        //= rfc5681#3.1
        // The threshold is cut once for a loss, not again for the same.
        let again = !self.snd.una.lt(r.high) || (r.state == CongestionState::Loss && retries == 0);
        if r.state <= CongestionState::Disorder || again {
            r.undo.ssthresh = r.current_ssthresh();
            r.undo.cwnd = r.window.cwnd;
            r.window.ssthresh = r.controller.on_loss(&mut r.window);
            self.begin_undo();
        }
        let pipe = self.snd.flight.pipe();
        let r = &mut self.recovery;
        r.window.cwnd = pipe + 1;
        r.window.credit = 0;
        r.controller.on_timeout();
        if fresh && self.snd.flight.sacked() >= self.config.reordering {
            r.reordering = r.reordering.min(self.config.reordering);
        }
        r.state = CongestionState::Loss;
        r.high = self.snd.nxt;
        r.probe.end();
        r.too_long = false;
        self.ecn.tell_cut = self.ecn.ok;
        //= rfc5682#2.1
        // Step 1: not while another recovery runs, but again for the same SND.UNA.
        r.frto = self.config.frto && (fresh || retries > 0);
        r.resend = Resend::AsUsual;
        let next_rto_us = self.rtt.rto(&self.config).0 / 1000;
        self.decided(cx, || TcpDecision::Timeout { number: retries.saturating_add(1), next_rto_us });
        self.tell_cwnd(cx, true);
    }

    /// The path takes no more than SND.MSS: longer segments are to be sent again, which says nothing about congestion.
    pub(super) fn repeat_too_long(&mut self) {
        self.repeat_without_cut(self.snd.mss);
    }

    /// Text of a SYN that its SYN-ACK did not acknowledge.
    pub(super) fn repeat_unanswered(&mut self) {
        self.repeat_without_cut(0);
    }

    /// What is longer than `most` bytes is lost, and not by congestion.
    fn repeat_without_cut(&mut self, most: u32) {
        self.snd.flight.too_long_lost(most);
        if self.snd.flight.lost() == 0 {
            return;
        }
        let r = &mut self.recovery;
        if r.state != CongestionState::Loss {
            r.high = self.snd.nxt;
            r.window.ssthresh = r.current_ssthresh();
            r.undo = Undo::default();
            r.state = CongestionState::Loss;
            r.frto = false;
        }
        r.too_long = true;
    }
}

/// Reordering beyond this is not believed (Linux's default).
const MAX_REORDERING: u32 = 300;
/// How long a receiver may take to put its SACK blocks right.
const RENEGING_PATIENCE_NS: u64 = 10_000_000;
