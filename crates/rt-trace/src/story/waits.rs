//! What TCP waited for while it had data to send: the peer's window, its own congestion window, Nagle's rule, the other
//! end's delayed ACK, pacing. One line for each reason at each end, with the longest wait in detail; and where slow start
//! ended by itself.

use rt_base::{Blocked, Event, Nanos, SendWhy, SlowStartEvidence, TcpDecision, Time, TimerKind, What};

use super::again::Asked;
use super::model::Line;
use super::view::View;
use super::words;
use crate::read::Side;

/// Sums of waits shorter than this are nobody's business.
const WORTH_TELLING: Nanos = Nanos(100_000);

/// All waits of one end for one reason.
#[derive(Debug)]
struct Waits<'t> {
    reason: Blocked,
    count: u64,
    total: Nanos,
    longest: Wait<'t>,
}

/// One wait.
#[derive(Clone, Copy, Debug)]
struct Wait<'t> {
    from: Time,
    to: Time,
    /// The segment that ended it.
    ended: Option<&'t Event>,
    /// Written and not sent.
    held: u64,
    cwnd: u32,
    in_flight: u32,
}

impl Wait<'_> {
    fn took(&self) -> Nanos {
        self.to.since(self.from)
    }
}

/// What one connection waited for.
pub(crate) fn tell(view: &View<'_>, asked: Asked) -> Vec<(Time, Line)> {
    let mut lines = Vec::new();
    for side in [Side::Client, Side::Server] {
        for waits in waits_of(view, asked, side) {
            if waits.total >= WORTH_TELLING {
                lines.push((waits.longest.from, line(view, asked, side, &waits)));
            }
        }
        lines.extend(slow_start(view, asked, side));
    }
    lines.sort_by_key(|(at, _)| *at);
    lines
}

fn waits_of<'t>(view: &View<'t>, asked: Asked, side: Side) -> Vec<Waits<'t>> {
    let mut all: Vec<Waits<'t>> = Vec::new();
    let mut open: Option<(Blocked, Wait<'t>)> = None;
    let (mut written, mut sent, mut cwnd, mut in_flight) = (0u64, 0u64, 0, 0);
    let mut close = |open: &mut Option<(Blocked, Wait<'t>)>, to: Time, ended: Option<&'t Event>| {
        let Some((reason, wait)) = open.take() else { return };
        let wait = Wait { to, ended, ..wait };
        if reason == Blocked::Handshake || wait.from <= asked.after || wait.from > asked.until {
            return;
        }
        match all.iter_mut().find(|w| w.reason == reason) {
            Some(known) => {
                (known.count, known.total) = (known.count + 1, known.total + wait.took());
                if wait.took() > known.longest.took() {
                    known.longest = wait;
                }
            }
            None => all.push(Waits { reason, count: 1, total: wait.took(), longest: wait }),
        }
    };
    for event in view.tcp_events(asked.conn, side) {
        match &event.what {
            What::TcpWrite { offset, len, .. } => written = written.max(offset + u64::from(*len)),
            What::TcpCwnd { cwnd: now, in_flight: flight, .. } => (cwnd, in_flight) = (*now, *flight),
            What::TcpBlocked { reason, .. } => {
                close(&mut open, event.at, None);
                let held = written.saturating_sub(sent);
                let (from, to) = (event.at, event.at);
                open = Some((*reason, Wait { from, to, ended: None, held, cwnd, in_flight }));
            }
            What::TcpSend(record) if !matches!(record.why, SendWhy::Ack | SendWhy::DelayedAck) => {
                close(&mut open, event.at, Some(event));
                sent = sent.max(record.offset + u64::from(record.len));
                (cwnd, in_flight) = (record.cwnd, record.in_flight);
            }
            _ => {}
        }
    }
    all
}

fn line(view: &View<'_>, asked: Asked, side: Side, waits: &Waits<'_>) -> Line {
    let longest = &waits.longest;
    let node = view.end(asked.conn, side).map_or_else(String::new, |e| view.name(e.node));
    let bytes = |n: u32| words::bytes(u64::from(n));
    let held = words::bytes(longest.held);
    let (code, why) = match waits.reason {
        Blocked::Cwnd => (
            "tcp.wait.cwnd",
            format!(
                "the congestion window of {} was full, with {} in flight{}; an ACK had to make room",
                bytes(longest.cwnd),
                bytes(longest.in_flight),
                // The window counts segments, whatever they hold.
                if longest.in_flight < longest.cwnd / 10 * 9 {
                    " (short segments count as full ones)"
                } else {
                    ""
                }
            ),
        ),
        Blocked::PeerWindow => ("tcp.wait.peer_window", peer_window(view, asked, side, longest)),
        Blocked::Nagle => (
            "tcp.wait.nagle",
            format!(
                "Nagle's rule (RFC 896) held {held} back: less than a full segment, while {} were not acknowledged",
                bytes(longest.in_flight)
            ),
        ),
        Blocked::Pacing => ("tcp.wait.pacing", "pacing spaced the segments out over the round trip".into()),
        Blocked::Cork => {
            ("tcp.wait.cork", format!("the program asked to collect more (cork): {held} waited"))
        }
        Blocked::SendBuffer => (
            "tcp.wait.send_buffer",
            format!(
                "the send buffer was full, with {} in flight: the program may not write more until bytes are acknowledged",
                bytes(longest.in_flight)
            ),
        ),
        Blocked::Handshake => ("tcp.wait.handshake", "the handshake was not over".into()),
    };
    let ended = ended_by(view, longest);
    let times = if waits.count == 1 {
        String::new()
    } else {
        format!(" {} waits, {} together; this was the longest.", waits.count, words::ms(waits.total))
    };
    let text = format!(
        "{} at {}: {why}{ended}.{times}",
        words::ms(longest.took()),
        words::after(asked.zero, longest.from)
    );
    Line::new(code, node.clone(), text)
        .at(longest.from)
        .on(node)
        .margin(words::ms(waits.total))
        .with("count", waits.count)
        .with("total_ns", waits.total.0)
        .with("longest_ns", longest.took().0)
        .with("held", longest.held)
        .with("cwnd", longest.cwnd)
        .with("in_flight", longest.in_flight)
        .with("number", asked.conn + 1)
}

fn peer_window(view: &View<'_>, asked: Asked, side: Side, wait: &Wait<'_>) -> String {
    let peer = view.end(asked.conn, side.other()).map_or_else(|| "the peer".into(), |e| view.name(e.node));
    let told = view.end(asked.conn, side).and_then(|end| {
        let tcp = view.tcp(end);
        let until = tcp.segments.partition_point(|s| s.mark.at <= wait.from);
        let last =
            tcp.segments[..until].iter().rev().find(|s| s.from == side.other() && s.flags & 16 == 16)?;
        let scales = [&tcp.syn, &tcp.syn_ack].map(|s| s.as_ref().and_then(|s| s.window_scale));
        let own = scales[side.other().index()].filter(|_| scales.iter().all(Option::is_some)).unwrap_or(0);
        Some(u64::from(last.window) << own.min(14))
    });
    match told {
        Some(0) => format!("{peer}'s window was closed: its program had not read what it had"),
        Some(n) => format!("{peer}'s window of {} was full", words::bytes(n)),
        None => format!("{peer}'s window was full"),
    }
}

/// What came at the end of a wait, and what had kept that.
fn ended_by(view: &View<'_>, wait: &Wait<'_>) -> String {
    let Some(cause) = wait.ended.and_then(|e| view.trace.event(e.because)) else {
        return String::new();
    };
    match &cause.what {
        What::TimerFired { kind: TimerKind::Persist, .. } => "; a window probe asked".into(),
        What::TimerFired { kind: TimerKind::Rto | TimerKind::Tlp, .. } => "; then a timer ran out".into(),
        What::Transmit { .. } => {
            let answer = view.trace.events_of(cause.frame).find_map(|e| match &e.what {
                What::TcpSend(record) => Some((e, record)),
                _ => None,
            });
            let Some((sent, record)) = answer else { return String::new() };
            let who = view.name(sent.node());
            match (record.why, view.trace.event(sent.because).map(|e| &e.what)) {
                (SendWhy::DelayedAck, Some(What::TimerFired { armed_at, .. })) => format!(
                    "; {who} kept that ACK for {}, in case it had something to send with it (delayed ACK, RFC 9293 3.8.6.3)",
                    words::ms(sent.at.since(*armed_at))
                ),
                (SendWhy::NewData, _) => format!("; the ACK came with {who}'s own data"),
                _ => String::new(),
            }
        }
        _ => String::new(),
    }
}

/// Where slow start was slowed down, went on, or ended before a loss ended it.
fn slow_start(view: &View<'_>, asked: Asked, side: Side) -> Vec<(Time, Line)> {
    let mut cwnd = 0;
    let mut lines = Vec::new();
    for event in view.tcp_events(asked.conn, side) {
        match &event.what {
            What::TcpCwnd { cwnd: now, .. } => cwnd = *now,
            What::TcpSend(record) => cwnd = record.cwnd,
            What::TcpDecision { decision, .. } if event.at > asked.after && event.at <= asked.until => {
                let Some((code, text)) = slow_start_words(decision, cwnd) else { continue };
                let name = view.name(event.node());
                let line = Line::new(code, name.clone(), text)
                    .at(event.at)
                    .on(name)
                    .margin(words::after(asked.zero, event.at))
                    .with("cwnd", cwnd)
                    .with("number", asked.conn + 1);
                lines.push((event.at, line));
            }
            _ => {}
        }
    }
    lines
}

fn slow_start_words(decision: &TcpDecision, cwnd: u32) -> Option<(&'static str, String)> {
    let ms = |us: u64| words::ms(Nanos(us.saturating_mul(1000)));
    let window = words::bytes(u64::from(cwnd));
    Some(match *decision {
        TcpDecision::SlowStartCautious { rtt_us, base_us } => {
            let text = format!(
                "slows its slow start down at a window of {window}: the shortest round trip has grown from {} to {}, so a \
                 queue may be building up; the window grows by a quarter of what it did (Conservative Slow Start of \
                 HyStart++, RFC 9406)",
                ms(base_us),
                ms(rtt_us)
            );
            ("tcp.slow_start_cautious", text)
        }
        TcpDecision::SlowStartResumed { rtt_us } => {
            let text = format!(
                "goes back to full slow start with a window of {window}: the round trip is down to {} again, the delay was a \
                 whim (HyStart++, RFC 9406)",
                ms(rtt_us)
            );
            ("tcp.slow_start_resumed", text)
        }
        TcpDecision::SlowStartEnd { by } => {
            let by = match by {
                SlowStartEvidence::Delay { rtt_us, base_us } => {
                    format!(
                        "the round trip has grown from {} to {}: a queue builds up",
                        ms(base_us),
                        ms(rtt_us)
                    )
                }
                SlowStartEvidence::AckTrain => {
                    "closely spaced ACKs came for half a round trip: the path is full".into()
                }
            };
            ("tcp.slow_start_end", format!("ends slow start with a window of {window}: {by} (HyStart)"))
        }
        _ => return None,
    })
}
