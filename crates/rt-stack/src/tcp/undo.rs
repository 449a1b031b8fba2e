//! Taking back a cut of the window when the loss turns out to be none: by timestamps (Eifel, RFC 3522 and 4015), by
//! duplicate SACKs (RFC 3708), by forward progress after a timeout (F-RTO, RFC 5682; its steps are in `recovery`).

use rt_base::{TcpDecision, UndoEvidence};
use rt_wire::Seq;

use super::congestion::Algorithm;
use super::connection::Connection;
use super::recovery::{CongestionState, Heard};
use super::segment::Cx;

impl Connection {
    /// The ACK at hand answers a copy that left before the first repetition, or nothing was repeated yet.
    fn was_delayed(&self) -> Option<UndoEvidence> {
        let r = &self.recovery;
        match r.undo.first_at {
            //= rfc3522#3.2
            Some(first) => {
                let echo = r.echo.filter(|_| self.ts.on)?;
                Seq(echo).lt(Seq(self.ts.value(first))).then_some(UndoEvidence::Timestamp)
            }
            None if !self.rcv.sack && self.snd.una.ge(r.high) => None,
            None => Some(UndoEvidence::NothingRepeated),
        }
    }

    fn may_undo(&self) -> Option<UndoEvidence> {
        self.recovery.undo.marker?;
        match self.recovery.undo.repeated {
            Some(0) => Some(UndoEvidence::Duplicates),
            _ => self.was_delayed(),
        }
    }

    /// Back to the window before the cut.
    fn undo(&mut self, cx: Cx, by: UndoEvidence, none_lost: bool) {
        //= rfc4015#3.2
        if none_lost {
            self.snd.flight.none_lost();
        }
        let r = &mut self.recovery;
        if r.undo.ssthresh > 0 {
            r.window.cwnd = r.controller.undone(&r.window, r.undo.cwnd);
            if r.undo.ssthresh > r.window.ssthresh {
                r.window.ssthresh = r.undo.ssthresh;
                self.ecn.tell_cut = false;
            }
        }
        r.undo.marker = None;
        r.rack.advanced = true;
        self.decided(cx, || TcpDecision::Undo { by });
        self.tell_cwnd(cx, true);
    }

    /// Recovery or Loss is over, needless or not. True when its state is kept: without SACK something above must be
    /// acknowledged first, or late duplicate ACKs would look like a new loss (RFC 6582 section 4).
    pub(super) fn undo_recovery(&mut self, cx: Cx) -> bool {
        match self.may_undo() {
            Some(by) => self.undo(cx, by, false),
            None => self.recovery.rack.recovered(false),
        }
        if self.must_stay() {
            return true;
        }
        self.recovery.state = CongestionState::Open;
        false
    }

    fn must_stay(&mut self) -> bool {
        let stay = !self.rcv.sack && self.snd.una == self.recovery.high;
        if stay && !self.any_repeated() {
            self.recovery.undo.first_at = None;
        }
        stay
    }

    /// All that was repeated was reported as a duplicate.
    pub(super) fn undo_by_duplicates(&mut self, cx: Cx) -> bool {
        //= rfc3708#3
        let undo = &self.recovery.undo;
        let needless = undo.marker.is_some() && undo.repeated == Some(0);
        if needless {
            self.recovery.rack.recovered(true);
            self.undo(cx, UndoEvidence::Duplicates, false);
        }
        needless
    }

    /// After a timeout: `frto` when F-RTO says so, else when the ACK shows it.
    pub(super) fn undo_loss(&mut self, cx: Cx, frto: bool) -> bool {
        let by = if frto { Some(UndoEvidence::ForwardProgress) } else { self.may_undo() };
        let Some(by) = by else {
            return false;
        };
        self.undo(cx, by, true);
        self.retries = 0;
        if !self.must_stay() && (frto || self.rcv.sack) {
            self.recovery.state = CongestionState::Open;
        }
        true
    }

    /// An ACK moved SND.UNA within Recovery. True when nothing more is to be taken for lost or repeated now.
    pub(super) fn undo_partial(&mut self, cx: Cx, heard: &Heard) -> bool {
        let by = self.recovery.undo.marker.and_then(|_| self.was_delayed());
        let Some(by) = by else {
            return false;
        };
        // The hole was filled by a late segment, not by its repetition.
        self.reordered(heard.una);
        if self.snd.flight.repeated() > 0 {
            return true;
        }
        if !self.any_repeated() {
            self.recovery.undo.first_at = None;
        }
        self.undo(cx, by, true);
        self.keep_open();
        false
    }
}
