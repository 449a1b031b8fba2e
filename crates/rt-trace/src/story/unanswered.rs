//! Why nothing came back: no port to call from, SYNs that nobody answered, a connection that fell silent. Each names the
//! evidence: who holds the ports, which queue was full, where the packets ended.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use rt_base::{AppRecord, DropReason, Event, FrameId, NO_FREE_PORT, SendWhy, TcpPhase, Time, What};

use super::model::Line;
use super::tell::Step;
use super::view::View;
use super::words;
use super::{life, trouble};
use crate::read::{Side, TcpConversation};

/// Who holds the local ports, when a call found none.
pub(super) fn ports(step: &Step<'_, '_>) -> Option<Line> {
    let notes = step.requests.iter().flat_map(|r| &r.said);
    let noted = notes.filter_map(|(event, record)| match record {
        AppRecord::Note { text, .. } if text.contains(NO_FREE_PORT) => Some(event.at),
        _ => None,
    });
    let ended = step.end.filter(|e| e.summary.contains(NO_FREE_PORT)).map(|e| e.event.at);
    let at = noted.chain(ended).min()?;
    let view = step.view;
    // The connections of this machine to the same place, by the state that each was in.
    let mut held: BTreeMap<TcpPhase, Vec<(u16, Option<Time>)>> = BTreeMap::new();
    let remotes: Vec<_> = step.requests.iter().flat_map(|r| r.used()).map(|u| u.remote).collect();
    for (number, conn) in view.conns.iter().enumerate() {
        let tcp = view.tcp(conn.client);
        if conn.client.node != step.node || conn.forged || !remotes.contains(&tcp.server) {
            continue;
        }
        if let Some((state, until)) = state_at(view, number, at) {
            held.entry(state).or_default().push((tcp.client.port(), until));
        }
    }
    let all: usize = held.values().map(Vec::len).sum();
    let waiting = held.get(&TcpPhase::TimeWait).cloned().unwrap_or_default();
    let (low, high) = held.values().flatten().fold((u16::MAX, 0), |(a, b), (p, _)| (a.min(*p), b.max(*p)));
    let ports = match all {
        0 => return None,
        1 => format!("port {low}"),
        _ => format!("ports {low} to {high}"),
    };
    let who = view.name(step.node);
    let free = waiting.iter().filter_map(|(_, until)| *until).min();
    let free = free.map_or(String::new(), |t| {
        format!(". The first of them is free again at {}", words::after(step.start(), t))
    });
    let held: Vec<String> = match held.iter().next() {
        Some((state, _)) if held.len() == 1 => vec![format!("all in {}", life::name(*state))],
        _ => held.iter().map(|(s, conns)| format!("{} in {}", conns.len(), life::name(*s))).collect(),
    };
    let why = if waiting.is_empty() {
        String::new()
    } else {
        format!(
            ": {who} said FIN first, and whoever does that keeps the connection's port for 2 MSL, so that nothing old is \
             taken for new (RFC 9293 3.6.1)"
        )
    };
    let text = format!(
        "{who} has no port left to call from at {}: {} to the same place ({ports}) {} still there, {}{why}{free}",
        words::after(step.start(), at),
        words::count(all as u64, "connection"),
        if all == 1 { "is" } else { "are" },
        words::list(&held)
    );
    Some(Line::new("tcp.no_ports", "why", text).at(at).with("time_wait", waiting.len()).with("held", all))
}

/// The state of the client's end at an instant, and when it left that state; `None` before it was opened and when it is
/// closed.
fn state_at(view: &View<'_>, conn: usize, at: Time) -> Option<(TcpPhase, Option<Time>)> {
    let mut state = TcpPhase::Closed;
    for event in view.tcp_events(conn, Side::Client) {
        let What::TcpState { to, .. } = event.what else { continue };
        if event.at > at {
            return Some((state, Some(event.at))).filter(|s| s.0 != TcpPhase::Closed);
        }
        state = to;
    }
    Some((state, None)).filter(|s| s.0 != TcpPhase::Closed)
}

/// Connections that were never opened; those that failed alike are told once.
pub(super) fn connects(step: &Step<'_, '_>, conns: &[usize], trouble: &[Line]) -> Vec<Line> {
    let mut told: Vec<(String, u64, usize, Line)> = Vec::new();
    for &conn in conns {
        let tcp = step.view.tcp(step.view.conns[conn].client);
        if tcp.established.is_some() {
            continue;
        }
        let Some((code, fate)) =
            refused(step.view, conn, tcp).or_else(|| silent(step.view, conn, tcp, trouble))
        else {
            continue;
        };
        let syns = 1 + tcp.syn.as_ref().map_or(0, |s| s.again.len());
        let key = format!("{} {fate}", tcp.server);
        if let Some(same) = told.iter_mut().find(|t| t.0 == key) {
            (same.1, same.2) = (same.1 + 1, same.2 + syns);
            let syns = words::count(same.2 as u64, "SYN");
            let sent = match opened(step.view, conns, tcp.server) {
                0 => {
                    let all = words::count(same.1, "connection");
                    format!("{all} to {} were tried ({syns}), and none was opened", tcp.server)
                }
                others => {
                    let all = words::count(same.1 + others, "connection");
                    format!("{} of {all} to {} were never opened ({syns})", same.1, tcp.server)
                }
            };
            same.3.text = format!("{sent}: {fate}");
            same.3.data.insert("tries".into(), same.2.to_string());
            continue;
        }
        let text = match &tcp.syn {
            Some(syn) if code == "tcp.no_answer" => {
                let zero = syn.mark.at;
                let sent = std::iter::once(&syn.mark).chain(&syn.again);
                let sent: Vec<String> = sent.map(|m| words::after(zero, m.at)).collect();
                let syns = words::count(sent.len() as u64, "SYN");
                format!("{syns} sent to {} at {}: {fate}", tcp.server, words::list(&sent))
            }
            _ => fate.clone(),
        };
        let at = tcp.reset.filter(|_| code == "tcp.refused").map(|r| r.mark.at);
        let at = at.or(tcp.syn.as_ref().map(|s| s.mark.at)).unwrap_or(step.start());
        told.push((key, 1, syns, Line::new(code, "why", text).at(at).with("tries", syns)));
    }
    told.into_iter().map(|t| t.3).collect()
}

/// How many of these connections to a server were opened.
fn opened(view: &View<'_>, conns: &[usize], server: SocketAddr) -> u64 {
    let tcp = conns.iter().map(|&c| view.tcp(view.conns[c].client));
    tcp.filter(|t| t.server == server && t.established.is_some()).count() as u64
}

/// An answer to a SYN that came in the name of another than the one who was called.
#[derive(Clone, Debug)]
pub(super) struct Foreign {
    /// In whose name.
    pub(super) from: SocketAddr,
    /// The machine that had put this name in the place of the one that was called.
    pub(super) by: Option<String>,
    /// Whether the answer passed that machine again.
    pub(super) back: bool,
}

/// Whether the server's SYN-ACK reached the client in another name than the one that was called: the answer did not pass the
/// machine that had rewritten the question.
pub(super) fn foreign(view: &View<'_>, conn: usize) -> Option<Foreign> {
    let (client, server) = (view.conns[conn].client, view.conns[conn].server?);
    let (called, syn) = (view.tcp(client).server, view.tcp(server).syn_frame());
    let answer = view.tcp(server).syn_ack.as_ref()?.mark.frame;
    let drop = trouble::end_of(view, answer).filter(|d| d.node() == client.node)?;
    if !matches!(drop.what, What::Drop { reason: DropReason::NoSocket, .. }) {
        return None;
    }
    let (_, packet) = rt_wire::EthernetHeader::parse(trouble::as_seen(view, drop)?).ok()?;
    let (ip, payload) = rt_wire::Ipv4Header::parse_unchecked(packet).ok()?;
    let from = SocketAddr::new(ip.src.into(), rt_wire::TcpHeader::parse(payload).ok()?.0.src);
    let by = view.trace.events_of(syn).find_map(|e| match &e.what {
        What::Nat(nat) if nat.dst_before == called && nat.dst_after != called => Some(e.node()),
        _ => None,
    });
    let back = by.is_some_and(|by| view.way(answer).iter().any(|leg| leg.from == by));
    (from != called).then(|| Foreign { from, by: by.map(|n| view.name(n)), back })
}

fn foreign_words(view: &View<'_>, conn: usize, who: &str, foreign: &Foreign) -> String {
    let client = view.conns[conn].client;
    let (asker, called) = (view.name(client.node), view.tcp(client).server);
    let from = foreign.from;
    let how = match &foreign.by {
        Some(by) if !foreign.back => format!(
            ": {by} had put its own choice in the place of {called}, and the answers do not come back through {by}, which would \
             undo that (a hairpin rule, which puts the sender's address right too, would lead them there)"
        ),
        Some(by) => {
            format!(": {by} had rewritten {called} on the way there, and did not undo it on the way back")
        }
        None => String::new(),
    };
    format!(
        "they reached {who}, which answered as {from} and not as {called}. {asker} had called nobody of that name, and said RST{how}"
    )
}

fn refused(view: &View<'_>, conn: usize, tcp: &TcpConversation) -> Option<(&'static str, String)> {
    let reset = tcp.reset.filter(|r| r.from == Side::Server)?;
    let server = view.conns[conn].server;
    let who = server.map_or_else(|| view.bearer_name(tcp.server.ip()), |e| view.name(e.node));
    let text = match somebody_else(view, conn, reset.mark.frame) {
        Some(other) => format!("{other} on the way refused the SYN with a RST in the name of {who}"),
        None => {
            // Behind a port forward it is not the port that was asked for.
            let port = server.map_or(tcp.server.port(), |end| view.tcp(end).server.port());
            format!(
                "the SYN reached {who}, where no program listens on port {port}, so that machine answered with RST: \
                 connection refused"
            )
        }
    };
    Some(("tcp.refused", text))
}

/// Who made a segment that seems to come from a connection's server, when it was not that server: a filter that rejects.
pub(super) fn somebody_else(view: &View<'_>, conn: usize, frame: FrameId) -> Option<String> {
    let maker = frame.node();
    let server = view.conns[conn].server.map(|end| end.node);
    let by_server = server.map_or_else(
        || view.name(maker) == view.bearer_name(view.tcp(view.conns[conn].client).server.ip()),
        |server| server == maker,
    );
    (!frame.is_none() && !by_server).then(|| view.name(maker))
}

/// What became of SYNs that brought no SYN-ACK.
fn silent(
    view: &View<'_>,
    conn: usize,
    tcp: &TcpConversation,
    trouble: &[Line],
) -> Option<(&'static str, String)> {
    let syn = tcp.syn.as_ref()?;
    if tcp.syn_ack.is_some() {
        return None;
    }
    let Some(end) = view.conns[conn].server else {
        return Some(("tcp.no_answer", "none of them arrived".into()));
    };
    let who = view.name(end.node);
    let frames = std::iter::once(&syn.mark).chain(&syn.again).map(|m| m.frame);
    let refused = frames.flat_map(|f| view.trace.events_of(f)).find_map(|e| match e.what {
        What::Drop { reason: r @ (DropReason::SynQueueFull | DropReason::AcceptQueueFull), .. } => Some(r),
        _ => None,
    });
    if let Some(reason) = refused {
        let (code, queue, unit) = match reason {
            DropReason::SynQueueFull => ("tcp.syn_queue_full", "SYN", "half-open connection"),
            _ => ("tcp.accept_queue_full", "accept", "connection that nobody has accepted"),
        };
        let full = trouble.iter().find(|l| l.code == code && l.node == who);
        let count = full.and_then(|l| l.data.get(if queue == "SYN" { "syn_queue" } else { "accept_queue" }));
        let with = match count.and_then(|n| n.parse::<u64>().ok()) {
            Some(n) if queue == "SYN" => format!(" with {}", words::count(n, unit)),
            Some(1) => " with 1 connection that the program has not accepted".into(),
            Some(n) => format!(" with {n} connections that the program has not accepted"),
            None => String::new(),
        };
        let text = format!(
            "{who} got them and dropped them without an answer, because the {queue} queue of port {} was full{with}",
            tcp.server.port()
        );
        return Some(("tcp.no_answer", text));
    }
    if let Some(foreign) = foreign(view, conn) {
        return Some(("tcp.no_answer", foreign_words(view, conn, &who, &foreign)));
    }
    // The answer may have been lost on its way.
    let answer = view.tcp(end).syn_ack.as_ref().map(|s| s.mark);
    let lost = answer.filter(|m| trouble::died(view, m.frame));
    let text = match lost {
        Some(mark) => {
            format!("{who} answered, but {}", trouble::fate(view, mark.frame, mark.at, "its SYN-ACK"))
        }
        None => format!("they reached {who}, but no answer came back"),
    };
    Some(("tcp.no_answer", text))
}

/// A connection on which one side spoke to the end and nothing of that arrived.
pub(super) fn silence(step: &Step<'_, '_>, conn: usize) -> Option<Line> {
    let view = step.view;
    view.tcp(view.conns[conn].client).established?;
    [Side::Client, Side::Server].into_iter().find_map(|side| silent_side(step, conn, side))
}

fn silent_side(step: &Step<'_, '_>, conn: usize, side: Side) -> Option<Line> {
    let view = step.view;
    let (own, peer) = (view.end(conn, side)?, view.end(conn, side.other())?);
    let (own, peer) = (view.name(own.node), view.name(peer.node));
    let sent: Vec<&Event> = view
        .tcp_events(conn, side)
        .filter(|e| matches!(&e.what, What::TcpSend(r) if r.why != SendWhy::Reset) && e.at <= step.until)
        .collect();
    let lost = sent.iter().rev().take_while(|e| trouble::died(view, e.frame)).count();
    let (first, last) = (sent.get(sent.len().checked_sub(lost)?)?, sent.last()?);
    // One lost segment is an accident, which TCP mends.
    if lost < 2 {
        return None;
    }
    let probe = |e: &&&Event| matches!(&e.what, What::TcpSend(r) if r.why == SendWhy::Keepalive);
    let probes = sent[sent.len() - lost..].iter().filter(probe).count();
    let what = if probes == lost {
        words::count(lost as u64, "keepalive probe")
    } else {
        words::count(lost as u64, "segment")
    };
    let fate = trouble::fate(view, last.frame, last.at, "the last of them");
    let over = view.tcp_events(conn, side).filter(|e| e.at <= step.last).find_map(|e| match e.what {
        What::TcpState { to: TcpPhase::Closed, .. } => {
            let by = life::tell(view, conn).into_iter().find(|s| s.from_ns == e.at.0 && s.state == "CLOSED");
            Some((e.at, by.map_or(String::new(), |s| s.by)))
        }
        _ => None,
    });
    let over = over.map_or(String::new(), |(at, by)| {
        format!(". At {} {own} gave the connection up: {by}", words::after(step.start(), at))
    });
    let text = format!(
        "nothing that {own} sent from {} on reached {peer}: {what}; {fate}{over}",
        words::after(step.start(), first.at)
    );
    Some(Line::new("tcp.silence", "why", text).at(first.at).with("segments", lost))
}
