//! Segments in somebody else's name: what a forger sent against a connection, what the machine that got it made of each, and
//! which one hit (RFC 5961, RFC 9293 3.10.7).
//!
//! Deliberate simplification: only segments with the connection's own addresses and ports count; a forger who has the wrong
//! port talks to nobody, and that is told where the packet ends.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use rt_base::{DropReason, Event, EventId, FrameId, NodeId, SendWhy, TcpPhase, Time, What};

use super::again::Asked;
use super::model::Line;
use super::tell::Step;
use super::view::View;
use super::words;
use crate::read::{Segment, Side};

/// What a machine made of a forged segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    /// Dropped without a word: outside the window.
    Silent,
    /// Answered with a challenge ACK.
    Challenged,
    /// Believed: the connection is over.
    Hit,
    /// There was no such connection any more.
    TooLate,
    /// It was taken like any segment, with no harm.
    Taken,
    /// It never got there.
    Lost,
}

/// One forged segment.
struct Shot<'v> {
    at: Time,
    forger: NodeId,
    victim: NodeId,
    segment: &'v Segment,
    src: SocketAddr,
    fate: Fate,
}

/// What was forged against a connection, in order of time.
fn shots<'v>(view: &'v View<'_>, conn: usize) -> Vec<Shot<'v>> {
    let c = view.conns[conn];
    let mut all = Vec::new();
    for (end, against) in [(c.server, Side::Server), (Some(c.client), Side::Client)] {
        let Some(end) = end else { continue };
        let tcp = view.tcp(end);
        let (src, dst) =
            if against == Side::Server { (tcp.client, tcp.server) } else { (tcp.server, tcp.client) };
        let forged = view.forged_as(src, dst);
        if forged.is_empty() {
            continue;
        }
        let effects = effects(view, end.node);
        let from = view.tcp(c.client).syn.as_ref().map_or(Time::ZERO, |s| s.mark.at);
        for &other in forged.iter().filter(|o| **o != conn) {
            let sender = view.conns[other].client;
            let own = view.tcp(sender).segments.iter().filter(|s| s.from == Side::Client);
            all.extend(own.filter(|s| s.mark.at >= from).map(|segment| Shot {
                at: segment.mark.at,
                forger: sender.node,
                victim: end.node,
                segment,
                src,
                fate: fate(view, (segment.mark.frame, end.node), &effects),
            }));
        }
    }
    all.sort_by_key(|s| (s.at, s.segment.mark.frame));
    all
}

/// What a machine sent and which states it left, by the input that made it do so.
fn effects<'t>(view: &View<'t>, node: NodeId) -> BTreeMap<EventId, Vec<&'t Event>> {
    let mut all: BTreeMap<EventId, Vec<&Event>> = BTreeMap::new();
    for event in view.trace.events_at(node) {
        if matches!(event.what, What::TcpSend(_) | What::TcpState { .. }) {
            all.entry(event.because).or_default().push(event);
        }
    }
    all
}

fn fate(
    view: &View<'_>,
    (frame, victim): (FrameId, NodeId),
    effects: &BTreeMap<EventId, Vec<&Event>>,
) -> Fate {
    let ended = view
        .trace
        .events_of(frame)
        .find(|e| e.node() == victim && matches!(e.what, What::Deliver { .. } | What::Drop { .. }));
    let Some(ended) = ended else { return Fate::Lost };
    let then = effects.get(&ended.because).map_or(&[][..], Vec::as_slice);
    let closes = |e: &&Event| matches!(e.what, What::TcpState { to: TcpPhase::Closed, .. });
    let answers = |e: &&Event| match &e.what {
        What::TcpSend(record) => matches!(record.why, SendWhy::ChallengeAck | SendWhy::Ack),
        _ => false,
    };
    match ended.what {
        _ if then.iter().any(closes) => Fate::Hit,
        What::Drop { reason: DropReason::NoSocket, .. } => Fate::TooLate,
        _ if then.iter().any(answers) => Fate::Challenged,
        What::Drop { .. } => Fate::Silent,
        _ => Fate::Taken,
    }
}

/// `RST`, `SYN`: what the segment pretends to be.
fn kind(segment: &Segment) -> String {
    words::flags(segment.flags).replace(" ACK", "")
}

/// `a forged RST, seq 7` or `200 forged RSTs, seq 1 to 200`.
fn many(shots: &[&Shot<'_>]) -> String {
    let seqs = || shots.iter().map(|s| s.segment.seq);
    let (first, last) = (seqs().next().unwrap_or(0), seqs().next_back().unwrap_or(0));
    let kind = kind(shots[0].segment);
    if shots.len() == 1 {
        return format!("a forged {kind} with seq {first}");
    }
    format!("{} with seq {first} to {last}", words::count(shots.len() as u64, &format!("forged {kind}")))
}

/// The other machine of the connection, as seen from a victim.
fn peer_of(view: &View<'_>, conn: usize, victim: NodeId) -> String {
    let c = view.conns[conn];
    let other = if c.client.node == victim { c.server.map(|e| e.node) } else { Some(c.client.node) };
    other.map_or_else(|| "the other end".into(), |n| view.name(n))
}

/// One line for each run of segments that fared alike.
pub(super) fn tell(view: &View<'_>, asked: Asked, explained: &mut BTreeSet<FrameId>) -> Vec<(Time, Line)> {
    let all = shots(view, asked.conn);
    explained.extend(all.iter().map(|s| s.segment.mark.frame));
    let within: Vec<&Shot<'_>> = all.iter().filter(|s| s.at > asked.after && s.at <= asked.until).collect();
    let alike = |a: &&Shot<'_>, b: &&Shot<'_>| {
        (a.fate, a.segment.flags, a.victim, a.forger) == (b.fate, b.segment.flags, b.victim, b.forger)
    };
    let line = |run: &[&Shot<'_>]| {
        let shot = run[0];
        let (forger, victim) = (view.name(shot.forger), view.name(shot.victim));
        let peer = peer_of(view, asked.conn, shot.victim);
        let one = run.len() == 1;
        let it = if one { "it" } else { "them" };
        let (code, what) = match shot.fate {
            Fate::Silent => (
                "tcp.forged.silent",
                format!(
                    "and {victim} drops {it} without a word: what lies outside the window is no business of the \
                     connection's"
                ),
            ),
            Fate::Challenged => (
                "tcp.forged.challenged",
                format!(
                    "and {victim} does not believe {it}: it sends {peer} a challenge ACK (RFC 5961), and only a {peer} \
                     that meant it would answer that with a RST of the exact number"
                ),
            ),
            Fate::Hit => (
                "tcp.forged.hit",
                format!(
                    "and that is exactly the number that {victim} expects next (RCV.NXT): {victim} believes it, and the \
                     connection is over"
                ),
            ),
            Fate::TooLate => ("tcp.forged.late", "too late: there is no connection any more".into()),
            Fate::Taken => ("tcp.forged.taken", format!("and {victim} takes {it}, with no harm done")),
            Fate::Lost => ("tcp.forged.lost", format!("and {victim} never sees {it}")),
        };
        let last = run[run.len() - 1].at;
        let until =
            if one { String::new() } else { format!(", the last {}", words::after(asked.zero, last)) };
        let text = format!("sends {} in the name of {}, {what}{until}", many(run), shot.src);
        let line = Line::new(code, forger.clone(), text)
            .at(shot.at)
            .on(forger)
            .margin(words::after(asked.zero, shot.at))
            .with("count", run.len())
            .with("seq", shot.segment.seq)
            .with("victim", victim);
        (shot.at, line)
    };
    within.chunk_by(alike).map(line).collect()
}

/// Why a connection ended, if a forged segment ended it.
pub(super) fn why(step: &Step<'_, '_>, conn: usize) -> Option<Line> {
    let view = step.view;
    let all = shots(view, conn);
    let hit = all.iter().position(|s| s.fate == Fate::Hit && s.at <= step.last)?;
    let shot = &all[hit];
    let (forger, victim) = (view.name(shot.forger), view.name(shot.victim));
    let counted = |fate: Fate| all[..hit].iter().filter(|s| s.fate == fate).count() as u64;
    let (silent, challenged) = (counted(Fate::Silent), counted(Fate::Challenged));
    let mut before = Vec::new();
    if silent > 0 {
        before.push(format!("dropped {silent} that lay outside its window in silence"));
    }
    if challenged > 0 {
        before.push(format!(
            "turned {challenged} away with a challenge ACK{} (RFC 5961)",
            if challenged == 1 { "" } else { " each" }
        ));
    }
    let before = match before.as_slice() {
        [] => String::new(),
        some => format!(". Of those before it {victim} {}", words::list(some)),
    };
    let text = format!(
        "a forged {} ended the connection: {forger} sent it at {} in the name of {}, with seq {}, exactly the number that \
         {victim} expected next (RCV.NXT), and {victim} believed it{before}. When {} spoke again, {victim} knew of no \
         connection and answered with RST",
        kind(shot.segment),
        words::after(step.start(), shot.at),
        shot.src,
        shot.segment.seq,
        peer_of(view, conn, shot.victim)
    );
    let line = Line::new("tcp.forged", "why", text).at(shot.at).with("seq", shot.segment.seq);
    Some(line.with("silent", silent).with("challenged", challenged))
}
