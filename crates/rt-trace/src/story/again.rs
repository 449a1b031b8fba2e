//! Why something was sent again: which timer, or which later segments gave the loss away; what became of the copy before;
//! what was in flight; what the congestion window did. And the other decisions of congestion control that a loss (or what
//! looked like one) made.

use std::collections::BTreeSet;

use rt_base::{
    Event, FrameId, LossEvidence, Nanos, SendWhy, TcpDecision, TcpSendRecord, Time, TimerKind, UndoEvidence,
    What,
};

use super::model::Line;
use super::trouble::{fate, goes_again};
use super::view::View;
use super::words;
use crate::read::Side;

/// What is asked: a connection, the time to tell of, and the instant from which times at the margin count.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) conn: usize,
    pub(crate) after: Time,
    pub(crate) until: Time,
    pub(crate) zero: Time,
}

/// One end while its events are read in order.
struct Teller<'v, 't> {
    view: &'v View<'t>,
    asked: Asked,
    side: Side,
    events: Vec<&'t Event>,
    /// Congestion window as last heard of.
    cwnd: u32,
    /// The last loss and the last timeout: where in the list, and the congestion window before.
    lost: Option<(usize, u32)>,
    timeout: Option<(usize, u32)>,
    /// Decisions whose cost was told.
    told: BTreeSet<usize>,
}

/// Everything that one connection sent again, both ends, with reasons. Frames whose end is told here go to `explained`.
pub(crate) fn tell(view: &View<'_>, asked: Asked, explained: &mut BTreeSet<FrameId>) -> Vec<(Time, Line)> {
    let mut lines = Vec::new();
    for side in [Side::Client, Side::Server] {
        let events = view.tcp_events(asked.conn, side).collect();
        let (lost, timeout, told) = (None, None, BTreeSet::new());
        let mut teller = Teller { view, asked, side, events, cwnd: 0, lost, timeout, told };
        for i in 0..teller.events.len() {
            lines.extend(teller.event(i, explained).map(|line| (teller.events[i].at, line)));
        }
    }
    lines
}

impl<'t> Teller<'_, 't> {
    fn event(&mut self, i: usize, explained: &mut BTreeSet<FrameId>) -> Option<Line> {
        let event = self.events[i];
        let within = event.at > self.asked.after && event.at <= self.asked.until;
        match &event.what {
            What::TcpCwnd { cwnd, .. } => {
                self.cwnd = *cwnd;
                None
            }
            What::TcpDecision { decision, .. } => {
                let before = self.cwnd;
                match **decision {
                    TcpDecision::Lost { .. } => self.lost = Some((i, before)),
                    TcpDecision::Timeout { .. } => self.timeout = Some((i, before)),
                    _ => {}
                }
                self.decided(i, decision).filter(|_| within)
            }
            What::TcpSend(record) => {
                let line = (goes_again(record) && within).then(|| self.again(i, record, explained));
                self.cwnd = record.cwnd;
                line
            }
            _ => None,
        }
    }

    fn line(&self, code: &str, event: &Event, text: String) -> Line {
        let name = self.view.name(event.node());
        let tcp = self.view.tcp(self.view.conns[self.asked.conn].client);
        Line::new(code, name.clone(), text)
            .at(event.at)
            .on(name)
            .margin(words::after(self.asked.zero, event.at))
            .with("connection", format!("{} → {}", tcp.client, tcp.server))
            .with("number", self.asked.conn + 1)
    }

    /// The window that TCP announced while handling the same input as the `i`-th event, with the threshold.
    fn window_after(&self, i: usize) -> Option<(u32, u32)> {
        let same = |e: &&&Event| e.because == self.events[i].because;
        self.events[i..].iter().take_while(same).find_map(|e| match e.what {
            What::TcpCwnd { cwnd, ssthresh, .. } => Some((cwnd, ssthresh)),
            _ => None,
        })
    }

    /// What a decision did to the congestion window, `now` where that is known; empty when it did nothing.
    fn cost(&self, (i, before): (usize, u32), now: Option<u32>) -> String {
        let announced = self.window_after(i);
        let Some(cwnd) = now.or(announced.map(|a| a.0)).filter(|cwnd| *cwnd != before) else {
            return String::new();
        };
        let ssthresh = announced.map_or(u32::MAX, |a| a.1);
        let (before, now) = (words::bytes(u64::from(before)), words::bytes(u64::from(cwnd)));
        let threshold = if ssthresh < u32::MAX / 2 && ssthresh != cwnd {
            format!(" (threshold {})", words::bytes(u64::from(ssthresh)))
        } else {
            String::new()
        };
        format!("; the congestion window goes from {before} to {now}{threshold}")
    }

    /// Decisions that are not told with a retransmission.
    fn decided(&self, i: usize, decision: &TcpDecision) -> Option<Line> {
        let event = self.events[i];
        let (code, text) = match decision {
            TcpDecision::Lost { .. }
            | TcpDecision::Timeout { .. }
            | TcpDecision::SlowStartCautious { .. }
            | TcpDecision::SlowStartResumed { .. }
            | TcpDecision::SlowStartEnd { .. } => return None,
            TcpDecision::ProbeLoss => {
                ("tcp.probe_loss", "the tail loss probe had repaired a loss: that counts as congestion (RFC 8985 7.4)".into())
            }
            TcpDecision::Undo { by } => {
                ("tcp.undo", format!("what was sent again had not been lost ({}): the cut is taken back", undo_words(*by)))
            }
            TcpDecision::EcnCut => (
                "tcp.ecn",
                "the peer says that a router marked a packet instead of dropping it (ECN, RFC 3168): one cut each round trip".into(),
            ),
        };
        Some(self.line(code, event, format!("{text}{}", self.cost((i, self.cwnd), None))))
    }

    /// One retransmission.
    fn again(&mut self, i: usize, record: &TcpSendRecord, explained: &mut BTreeSet<FrameId>) -> Line {
        let (view, event) = (self.view, self.events[i]);
        let sent = |e: &&Event| matches!(e.what, What::TcpSend(_));
        let before = view.trace.event(record.origin).filter(sent);
        let first = first_copy(view, event);
        let copy =
            if before.map(|b| b.id) == first.map(|f| f.id) { "the first copy" } else { "the copy before" };
        // Whoever refused a SYN for good is told with its rule; what was merely lost is told here alone.
        let told_here =
            |b: &&Event| record.why != SendWhy::Handshake || super::trouble::died_on_wire(view, b.frame);
        explained.extend(before.filter(told_here).map(|b| b.frame));
        if before.is_some_and(|b| super::trouble::arrived(view, b.frame)) {
            // The needless copy's end needs no line of its own.
            explained.insert(event.frame);
        }
        let what = if record.len > 0 {
            let tunnel = view.conn_of(event.frame).is_some_and(|(conn, _)| view.carries_tunnel(conn));
            let stream = match self.side {
                _ if tunnel => "tunnel",
                Side::Client => "request",
                Side::Server => "answer",
            };
            let to = record.offset + u64::from(record.len);
            format!("bytes {} to {to} of the {stream}'s stream", record.offset + 1)
        } else {
            format!("{} seq {}", words::flags(record.flags), record.seq)
        };
        let waited =
            before.map_or(String::new(), |b| format!(", {} after {copy}", words::between(b.at, event.at)));
        let fate = before.map_or(String::new(), |b| match self.strange_answer(b, event.at) {
            Some(answer) => format!("{copy} did arrive, {answer}"),
            None => fate(view, b.frame, event.at, copy),
        });
        let (code, noticed, decision) = self.noticed(event, record, before);
        let cost = decision
            .filter(|d| self.told.insert(d.0))
            .map_or(String::new(), |d| self.cost(d, Some(record.cwnd)));
        let flight = if record.len > 0 {
            format!("; {} in flight now", words::bytes(u64::from(record.in_flight)))
        } else {
            String::new()
        };
        let short = match before {
            Some(_) => format!("sends {what} again{waited}"),
            // A probe may be new data.
            None => format!("sends {what} for the first time, as a probe"),
        };
        let sep = if fate.is_empty() { "" } else { ": " };
        let text = format!("{short}{sep}{fate}; {noticed}{cost}{flight}");
        let frame = |e: Option<&Event>| e.map_or(String::new(), |e| format!("{:?}", e.frame));
        let decided = decision.map_or(String::new(), |d| format!("{:?}", self.events[d.0].id));
        self.line(code, event, text)
            .with("seq", record.seq)
            .with("len", record.len)
            .with("offset", record.offset)
            .with("cwnd", record.cwnd)
            .with("in_flight", record.in_flight)
            .with("frame", format!("{:?}", event.frame))
            .with("first_copy", frame(first))
            .with("copy_before", frame(before))
            .with("decision", decided)
            .with("short", short)
            .with("fate", fate.split_once(": ").map_or(fate.as_str(), |(place, _)| place))
    }

    /// What a SYN was answered with, when the answer came in another name than the one that was called.
    fn strange_answer(&self, copy: &Event, again: Time) -> Option<String> {
        let arrived = self.view.delivered(copy.frame).is_some_and(|e| e.at <= again);
        let foreign = super::unanswered::foreign(self.view, self.asked.conn);
        let foreign = foreign.filter(|_| self.side == Side::Client && arrived)?;
        Some(format!("but the answer came in the name of {}, whom nobody had called", foreign.from))
    }

    /// What made the sender send again: a line's code, words, and the decision behind it.
    fn noticed(
        &self,
        event: &Event,
        record: &TcpSendRecord,
        before: Option<&Event>,
    ) -> (&'static str, String, Option<(usize, u32)>) {
        let input = self.view.trace.event(event.because).map(|e| &e.what);
        let (by_timer, waited) = match input {
            Some(What::TimerFired { kind, armed_at, .. }) => (Some(*kind), event.at.since(*armed_at)),
            _ => (None, Nanos::ZERO),
        };
        match record.why {
            SendWhy::FastRetransmit => {
                let words = self.lost.map_or_else(
                    || "acknowledgements for later bytes gave it away (fast retransmit)".into(),
                    |(i, _)| self.evidence(i, before),
                );
                ("tcp.retransmit.fast", words, self.lost)
            }
            SendWhy::Handshake if by_timer.is_none() => {
                ("tcp.retransmit.handshake", "the SYN came again, so it is answered again".into(), None)
            }
            SendWhy::Handshake => {
                let text =
                    format!("no answer came for {} (retransmission timer of the SYN)", words::ms(waited));
                ("tcp.retransmit.rto", text, None)
            }
            SendWhy::RtoRetransmit if by_timer.is_none() => (
                "tcp.retransmit.rto",
                "it is part of what the timeout gave up for lost (RTO)".into(),
                self.timeout,
            ),
            SendWhy::RtoRetransmit => ("tcp.retransmit.rto", self.timeout_words(waited), self.timeout),
            SendWhy::PathMtu => (
                "tcp.retransmit.path_mtu",
                "a router said that it is too long for the path (path MTU)".into(),
                None,
            ),
            _ => {
                let timer = if by_timer == Some(TimerKind::Tlp) {
                    format!(" for {}", words::ms(waited))
                } else {
                    String::new()
                };
                let text = format!(
                    "nothing came back{timer}, and TCP probes before the retransmission timer runs out (tail loss probe, \
                     RFC 8985)"
                );
                ("tcp.retransmit.probe", text, None)
            }
        }
    }

    fn timeout_words(&self, waited: Nanos) -> String {
        let decision = self.timeout.and_then(|(i, _)| match &self.events[i].what {
            What::TcpDecision { decision, .. } => Some(&**decision),
            _ => None,
        });
        let nth = match decision {
            Some(TcpDecision::Timeout { number, next_rto_us }) => {
                let next = words::about(Nanos(next_rto_us.saturating_mul(1000)));
                let nth = if *number > 1 {
                    format!(", for the {} time in a row", nth(*number))
                } else {
                    String::new()
                };
                format!("{nth}; the next wait would be {next}")
            }
            _ => String::new(),
        };
        format!("no acknowledgement came for {}: the timer ran out (RTO){nth}", words::ms(waited))
    }

    /// What gave a loss away, from the decision at `i`.
    fn evidence(&self, i: usize, before: Option<&Event>) -> String {
        let What::TcpDecision { decision, .. } = &self.events[i].what else { return String::new() };
        let TcpDecision::Lost { segments, by, .. } = &**decision else { return String::new() };
        let several = if *segments > 1 {
            format!("; {segments} segments were found lost at once")
        } else {
            String::new()
        };
        let text = match by {
            LossEvidence::Later { end, sent_at, rtt_us, window_us, waited } => {
                let later = before.filter(|b| *sent_at > b.at);
                let later =
                    later.map_or("later".into(), |b| format!("{} later", words::between(b.at, *sent_at)));
                let took = words::ms(Nanos(rtt_us.saturating_mul(1000)));
                let window = words::ms(Nanos(window_us.saturating_mul(1000)));
                let patience = match (waited, window_us) {
                    (true, _) => {
                        format!(
                            "and did not come within the {window} that packets may be out of order, and 2 ms more: the timer's slack"
                        )
                    }
                    (false, 0) => "and too much has arrived to wait for packets out of order".into(),
                    (false, _) => format!("longer ago than the {window} that packets may be out of order"),
                };
                format!(
                    "what was sent {later} (up to byte {end}) has arrived, says an ACK after {took}, {patience} (RACK, RFC 8985)"
                )
            }
            LossEvidence::Sacks { sacked } => {
                format!(
                    "{} after it had arrived, say the SACK blocks (RFC 6675)",
                    words::count(u64::from(*sacked), "segment")
                )
            }
            LossEvidence::DuplicateAcks { count } => {
                format!(
                    "{} asked for it (fast retransmit, RFC 5681)",
                    words::count(u64::from(*count), "duplicate ACK")
                )
            }
            LossEvidence::PartialAck => {
                "an ACK covered what was sent again before and stopped here (RFC 6582)".into()
            }
        };
        format!("{text}{several}")
    }
}

fn undo_words(by: UndoEvidence) -> &'static str {
    match by {
        UndoEvidence::Timestamp => "the ACK's timestamp answers an earlier copy: Eifel, RFC 3522",
        UndoEvidence::NothingRepeated => "the data was acknowledged before any of it was sent again",
        UndoEvidence::Duplicates => "every copy was reported as a duplicate: DSACK, RFC 3708",
        UndoEvidence::ForwardProgress => "data that was never sent again was acknowledged: F-RTO, RFC 5682",
    }
}

fn nth(number: u8) -> String {
    match number {
        2 => "2nd".into(),
        3 => "3rd".into(),
        n => format!("{n}th"),
    }
}

/// The sending that a retransmission repeats, however often it was repeated since.
fn first_copy<'t>(view: &View<'t>, event: &Event) -> Option<&'t Event> {
    let before = |e: &Event| match &e.what {
        What::TcpSend(record) if goes_again(record) => view.trace.event(record.origin),
        _ => None,
    };
    let mut first = before(event)?;
    while let Some(earlier) = before(first) {
        first = earlier;
    }
    Some(first)
}
