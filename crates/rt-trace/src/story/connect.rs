//! "Connect" and "close": the way of the SYN, NAT, the other edges, the handshake's numbers, and the FINs.

use rt_base::{AppRecord, Event, FrameId, TcpPhase, Time, What};

use super::model::{Chapter, ConnectionStory, Ends, Line};
use super::tell::{self, Step};
use super::view::{Conn, View};
use super::{forward, relay, room, unanswered, words};
use crate::read::{Mark, Segment, Side, SynFacts, TcpConversation};

const EXPLAIN: &str = "TCP makes a reliable pipe out of packets that may get lost. Both ends first agree on where they \
                       start to count bytes: SYN, SYN-ACK, ACK (the three-way handshake).";

/// Bits of the flags byte.
const ACK: u8 = 16;
const ECE: u8 = 64;
const CWR: u8 = 128;

/// The chapter of opening a connection.
pub(crate) fn tell(step: &Step<'_, '_>, conn: usize) -> Chapter {
    let view = step.view;
    let tcp = view.tcp(view.conns[conn].client);
    let start = tcp.syn.as_ref().map_or(step.start(), |s| s.mark.at);
    let end = tcp.established.map(|m| m.at).or(tcp.reset.map(|r| r.mark.at)).or(given_up(view, conn));
    let server = view.conns[conn].server.map(|e| view.name(e.node));
    let mut lines = vec![Line::new("tcp.connect", "from → to", format!("{} → {}", tcp.client, tcp.server))];
    lines.extend(picked(step, tcp));
    lines.extend(tell::nat_lines(view, tcp.syn_frame(), 1));
    lines.extend(handshake(view, conn, start));
    let way = tell::way_lines(view, arrived_syn(view, conn), 1);
    if !way.is_empty() {
        lines.push(Line::new("path", "the SYN's way", "machine by machine, with the time since it left"));
        lines.extend(way);
    }
    lines.extend(way_back(view, conn));
    let offered = [tcp.syn.as_ref(), tcp.syn_ack.as_ref()].into_iter().flatten().filter_map(|s| s.mss);
    lines.extend(room::lines(view, arrived_syn(view, conn), offered.min()));
    lines.extend(split(view, conn));
    let mut beyond = forward::opening(view, conn, start);
    beyond.extend(relay::opening(view, conn, start));
    beyond.sort_by_key(|line| line.at_ns);
    lines.extend(beyond);
    lines.extend(anycast(step, conn));
    let subject = match server {
        Some(server) => format!("{} ({server})", tcp.server),
        None => tcp.server.to_string(),
    };
    Chapter {
        code: "connect".into(),
        title: "connect".into(),
        subject,
        start_ns: start.0,
        end_ns: end.unwrap_or(step.last).0,
        remark: if tcp.established.is_some() { "1 round trip".into() } else { "no connection".into() },
        explain: EXPLAIN.into(),
        lines,
    }
}

/// Which of a name's several addresses this is, and why.
fn picked(step: &Step<'_, '_>, tcp: &TcpConversation) -> Option<Line> {
    let syn = tcp.syn.as_ref()?.mark.at;
    let said = step.requests.iter().flat_map(|req| &req.said).filter_map(|(event, record)| match record {
        AppRecord::Note { code, text, .. } if code == "tcp.address" && event.at <= syn => {
            Some((event.at, text))
        }
        _ => None,
    });
    let prefix = format!("{} ", tcp.server.ip());
    let comma = format!("{},", tcp.server.ip());
    let mine = said.filter(|(_, text)| text.starts_with(&prefix) || text.starts_with(&comma));
    let (at, text) = mine.max_by_key(|(at, _)| *at)?;
    Some(Line::new("tcp.address", "address", text.clone()).at(at))
}

/// When the client ended a connection that never opened.
fn given_up(view: &View<'_>, conn: usize) -> Option<Time> {
    let closed = |e: &&Event| matches!(e.what, What::TcpState { to: TcpPhase::Closed, .. });
    view.tcp_events(conn, Side::Client).find(closed).map(|e| e.at)
}

/// The copy of the SYN that arrived, else the first.
fn arrived_syn(view: &View<'_>, conn: usize) -> FrameId {
    let first = view.tcp(view.conns[conn].client).syn_frame();
    view.conns[conn].server.map_or(first, |end| view.tcp(end).syn_frame())
}

/// The way of the SYN-ACK, where it is not the SYN's backwards.
fn way_back(view: &View<'_>, conn: usize) -> Vec<Line> {
    let Some(server) = view.conns[conn].server else { return Vec::new() };
    let arrived = view.tcp(view.conns[conn].client).syn_ack.as_ref();
    let Some(answer) = arrived.or(view.tcp(server).syn_ack.as_ref()) else { return Vec::new() };
    let machines = |frame: FrameId| {
        let way = view.way(frame);
        let first = way.first().map(|leg| leg.from);
        first.into_iter().chain(way.iter().map(|leg| leg.to)).collect::<Vec<_>>()
    };
    let (there, back) = (machines(arrived_syn(view, conn)), machines(answer.mark.frame));
    // One that was lost on the way is on the SYN's way too.
    if back.iter().eq(there.iter().rev().take(back.len())) {
        return Vec::new();
    }
    let head =
        Line::new("path.back", "the answer's way", "not the SYN's way backwards; since the SYN-ACK left");
    std::iter::once(head).chain(tell::way_lines(view, answer.mark.frame, 1)).collect()
}

fn handshake(view: &View<'_>, conn: usize, start: Time) -> Vec<Line> {
    let tcp = view.tcp(view.conns[conn].client);
    let mut lines = Vec::new();
    let at = |mark: &Mark| words::after(start, mark.at);
    if let Some(syn) = &tcp.syn {
        let carried = tcp.segments.iter().find(|s| s.mark == syn.mark).map_or(0, |s| s.len);
        let early = match carried {
            0 => String::new(),
            n => format!(" · and already {n} bytes of the stream (Fast Open, RFC 7413)"),
        };
        let text = format!("seq {} · {}{early}", syn.isn, options(syn));
        lines.push(
            Line::new("tcp.syn", "SYN →", text)
                .at(syn.mark.at)
                .margin(at(&syn.mark))
                .with("seq", syn.isn)
                .with("win", syn.window),
        );
        for (i, mark) in syn.again.iter().enumerate() {
            let text = format!("no answer yet, sent again (try {}){}", i + 2, plainer(tcp, syn, *mark));
            lines.push(Line::new("tcp.syn.again", "SYN →", text).at(mark.at).margin(at(mark)));
        }
    }
    if let Some(syn_ack) = &tcp.syn_ack {
        let ack = syn_ack.ack;
        let text = format!("seq {} ack {ack} · {}", syn_ack.isn, options(syn_ack));
        lines.push(
            Line::new("tcp.syn_ack", "SYN-ACK ←", text)
                .at(syn_ack.mark.at)
                .margin(at(&syn_ack.mark))
                .with("seq", syn_ack.isn)
                .with("ack", ack)
                .with("win", syn_ack.window),
        );
    }
    if let Some(ack) = tcp.established {
        let segment = tcp.segments.iter().find(|s| s.mark == ack && s.from == Side::Client);
        let text = segment.map_or(String::new(), |s| format!("seq {} ack {}", s.seq, s.ack));
        lines.push(Line::new("tcp.ack", "ACK →", text).at(ack.at).margin(at(&ack)));
    }
    if let Some(reset) = tcp.reset.filter(|_| tcp.established.is_none()) {
        let text = match unanswered::somebody_else(view, conn, reset.mark.frame) {
            Some(other) if reset.from == Side::Server => {
                format!("made by {other}, which refuses: RST (connection refused)")
            }
            _ => "the machine is there, but no program listens on that port: RST (connection refused)"
                .to_owned(),
        };
        let arrow = if reset.from == Side::Server { "RST ←" } else { "RST →" };
        lines.push(Line::new("tcp.refused", arrow, text).at(reset.mark.at).margin(at(&reset.mark)));
    }
    lines
}

/// What a SYN sent again goes without: a machine on the way may have dropped the first one for it.
fn plainer(tcp: &TcpConversation, syn: &SynFacts, again: Mark) -> String {
    let asked = |flags: u8| flags & (ECE | CWR) == ECE | CWR;
    let copy = tcp.segments.iter().find(|s| s.mark == again).map_or(syn.flags, |s| s.flags);
    let mut without = String::new();
    //= rfc3168#6.1.1.1
    if asked(syn.flags) && !asked(copy) {
        without += ", no longer asking for ECN (RFC 3168, 6.1.1.1)";
    }
    //= rfc7413#4.1.3.1
    if syn.fast_open_dropped == Some(again) {
        without += ", without the Fast Open option (RFC 7413, 4.1.3.1)";
    }
    without
}

/// What a machine's own connection had to go without, as sentences of that machine, with when and a code: `syn`, sent again
/// and how, or `strip`, what a middlebox took from both ends' first segments. Nothing for one that was opened as wanted.
pub(crate) fn went_without(view: &View<'_>, conn: usize) -> Vec<(Time, &'static str, String)> {
    let tcp = view.tcp(view.conns[conn].client);
    let Some(syn) = &tcp.syn else { return Vec::new() };
    let mut all: Vec<(Time, &str, String)> = Vec::new();
    for (i, mark) in syn.again.iter().enumerate() {
        let text = format!("hears nothing, sends the SYN again (try {}){}", i + 2, plainer(tcp, syn, *mark));
        all.push((mark.at, "syn", text));
    }
    let agrees = tcp.syn_ack.as_ref().is_none_or(|answer| answer.flags & ECE == ECE);
    let asks = syn.flags & (ECE | CWR) == ECE | CWR;
    let refused = if asks && !agrees { ": ECN is asked for and not agreed" } else { "" };
    let marks = std::iter::once(&syn.mark).chain(&syn.again).chain(tcp.syn_ack.iter().map(|s| &s.mark));
    for event in marks.flat_map(|mark| view.trace.events_of(mark.frame)) {
        let Some(did) = tell::did(view, event).filter(|did| did.code == "middlebox.strip") else { continue };
        let rule = did.data.get("rule").cloned().unwrap_or_default();
        let text = format!("goes without what {} takes away on the way (`{rule}`){refused}", did.node);
        if !all.iter().any(|(_, _, told)| *told == text) {
            all.push((event.at, "strip", text));
        }
    }
    all.sort_by_key(|(at, ..)| *at);
    all
}

fn options(syn: &SynFacts) -> String {
    let mut all = Vec::new();
    all.extend(syn.mss.map(|m| format!("mss {m}")));
    all.extend(syn.window_scale.map(|w| format!("wscale {w}")));
    if syn.sack_permitted {
        all.push("SACK".into());
    }
    if syn.timestamps {
        all.push("timestamps".into());
    }
    let answer = syn.flags & ACK == ACK;
    all.extend(syn.fast_open.map(|cookie| match (cookie, answer) {
        (0, _) => "asks for a Fast Open cookie".into(),
        (n, false) => format!("Fast Open cookie of {n} bytes"),
        (n, true) => format!("gives a Fast Open cookie of {n} bytes"),
    }));
    //= rfc3168#6.1.1
    match (answer, syn.flags & (ECE | CWR)) {
        (false, both) if both == ECE | CWR => all.push("ECN asked for".into()),
        (true, ECE) => all.push("ECN agreed".into()),
        _ => {}
    }
    all.push(format!("window {}", syn.window));
    all.join(" · ")
}

/// A split-TCP proxy that answered in the server's name (RFC 3135): who it is, how near, and how far the server is behind it.
fn split(view: &View<'_>, conn: usize) -> Option<Line> {
    let end = view.conns[conn].server?;
    let near = view.tcp(end).client;
    let here = |e: &&rt_base::Event| e.node() == end.node;
    let note = view.trace.said().filter(|(e, _)| here(e)).find_map(|(event, record)| match record {
        AppRecord::Note { code, text, .. } if code == "split.connected" => {
            let words = || text.split([' ', ';']);
            words().any(|w| w == near.to_string()).then_some((event, text))
        }
        _ => None,
    });
    let (event, text) = note?;
    let proxy = view.name(end.node);
    let behind = view.conns.iter().position(|c| {
        let own = view.tcp(c.client).client.to_string();
        c.client.node == end.node && text.split([' ', ';']).any(|w| w == own)
    });
    let address = view.tcp(view.conns[conn].client).server.ip();
    let acks = fastest(view, conn, 1);
    let acks = acks.map_or(String::new(), |t| format!(": ACKs come back within {} from there", words::ms(t)));
    let far = behind.map(|b| {
        let server = view.conns[b].server.map_or_else(|| address.to_string(), |e| view.name(e.node));
        let away = fastest(view, b, 0)
            .map_or(String::new(), |t| format!(" is {} away, there and back", words::ms(t)));
        let tcp = view.tcp(view.conns[b].client);
        format!(
            "; the server itself, {server},{away}, on a connection of the proxy's own ({} → {})",
            tcp.client, tcp.server
        )
    });
    let text = format!(
        "{proxy}, a split-TCP proxy on the way (RFC 3135), answers in the name of {address}{acks}{}",
        far.unwrap_or_default()
    );
    let line = Line::new("tcp.split", "split TCP", text)
        .at(event.at)
        .on(proxy)
        .with("proxy_address", view.tcp(end).server);
    Some(match behind {
        Some(b) => line.with("behind", b + 1),
        None => line,
    })
}

/// The shortest time from a segment of the client's to its acknowledgement; the first `skip` samples (the SYN's) are left out.
fn fastest(view: &View<'_>, conn: usize, skip: usize) -> Option<rt_base::Nanos> {
    let samples = crate::plot::round_trip_samples(view, conn, Side::Client);
    samples.iter().skip(skip).map(|(_, took)| rt_base::Nanos(*took)).min()
}

fn anycast(step: &Step<'_, '_>, conn: usize) -> Option<Line> {
    let view = step.view;
    let server = view.conns[conn].server?;
    let address = view.tcp(view.conns[conn].client).server.ip();
    let others = tell::alternatives(view, step.node, address, server.node);
    if others.is_empty() {
        return None;
    }
    let other = |a: &super::model::Alternative| {
        let far = a
            .distance_ns
            .map_or(String::new(), |d| format!(", {} away one way", words::ms(rt_base::Nanos(d))));
        format!("{}{far}", a.node)
    };
    let others: Vec<String> = others.iter().map(other).collect();
    let near = view.trace.map.distances(step.node).get(server.node.index()).copied().flatten();
    let near = near.map_or(String::new(), |d| format!(" ({} away)", words::ms(d)));
    let text = format!(
        "{address} is announced from {} places; routing led to the nearest, {}{near}. The others: {}",
        others.len() + 1,
        view.name(server.node),
        others.join("; ")
    );
    Some(Line::new("route.anycast", "anycast", text))
}

/// The chapter of closing connections, if they closed before the next step.
pub(crate) fn close(step: &Step<'_, '_>, conns: &[usize]) -> Option<Chapter> {
    let mut lines = Vec::new();
    let (mut start, mut end) = (Time::MAX, Time::ZERO);
    for &conn in conns {
        let tcp = step.view.tcp(step.view.conns[conn].client);
        let mut marks: Vec<(Mark, &str, String, &str)> = Vec::new();
        for from in [Side::Client, Side::Server] {
            let (who, fin, ack) = match from {
                Side::Client => ("client", "FIN →", "ACK ←"),
                Side::Server => ("server", "FIN ←", "ACK →"),
            };
            let direction = tcp.direction(from);
            if let Some(mark) = direction.fin {
                let numbers = numbers(tcp, mark, from);
                marks.push((mark, fin, format!("the {who} has nothing more to say{numbers}"), "tcp.fin"));
            }
            if let Some(mark) = direction.fin_acked {
                let numbers = numbers(tcp, mark, from.other());
                marks.push((mark, ack, format!("understood{numbers}"), "tcp.fin_ack"));
            }
        }
        if let Some(reset) = tcp.reset.filter(|_| tcp.established.is_some()) {
            let arrow = if reset.from == Side::Client { "RST →" } else { "RST ←" };
            marks.push((reset.mark, arrow, "the connection is torn down at once".into(), "tcp.reset"));
        }
        marks.sort_by_key(|m| m.0);
        // A FIN often acknowledges the other's: said once.
        marks.dedup_by(|b, a| a.0 == b.0 && b.3 == "tcp.fin_ack");
        let Some(first) = marks.first().map(|m| m.0.at).filter(|_| !marks.is_empty()) else { continue };
        if conns.len() > 1 {
            lines.push(Line::new("tcp.close", "connection", format!("{} → {}", tcp.client, tcp.server)));
        }
        start = start.min(first);
        end = end.max(marks.last().map_or(first, |m| m.0.at));
        for (mark, label, text, code) in marks {
            lines.push(Line::new(code, label, text).at(mark.at).margin(words::after(first, mark.at)));
        }
    }
    if lines.is_empty() {
        return None;
    }
    Some(Chapter {
        code: "close".into(),
        title: "hang up".into(),
        subject: String::new(),
        start_ns: start.0,
        end_ns: end.0,
        remark: if end > step.last { "after the step was done".into() } else { String::new() },
        explain: "Each side says FIN when it has nothing more to send, and each FIN is acknowledged.".into(),
        lines,
    })
}

fn numbers(tcp: &TcpConversation, mark: Mark, from: Side) -> String {
    let found: Option<&Segment> = tcp.segments.iter().find(|s| s.mark == mark && s.from == from);
    found.map_or(String::new(), |s| format!(" · seq {} ack {}", s.seq, s.ack))
}

/// First and last segment of a connection, at either end: what its duration is everywhere.
fn span(near: &TcpConversation, far: Option<&TcpConversation>) -> (Time, Time) {
    let ends = [Some(near), far].into_iter().flatten();
    let marks = ends.flat_map(|t| [t.segments.first(), t.segments.last()].into_iter().flatten());
    let times = marks.map(|s| s.mark.at);
    times.fold((Time::MAX, Time::ZERO), |(a, b), at| (a.min(at), b.max(at)))
}

/// The facts of a connection.
pub(crate) fn story(view: &View<'_>, number: usize) -> ConnectionStory {
    let conn: &Conn = &view.conns[number];
    let tcp = view.tcp(conn.client);
    let far = conn.server.map(|end| view.tcp(end));
    let tls = tcp.tls.as_ref();
    let syn = far.map_or(tcp.syn_frame(), TcpConversation::syn_frame);
    let reached = conn.server.map(|e| e.node);
    let span = span(tcp, far);
    let closed = tcp.from_client.fin_acked.is_some() && tcp.from_server.fin_acked.is_some();
    ConnectionStory {
        number: u32::try_from(number + 1).unwrap_or(u32::MAX),
        client: view.name(conn.client.node),
        server: reached.map_or_else(String::new, |n| view.name(n)),
        ends: Ends { from: tcp.client.to_string(), to: tcp.server.to_string() },
        seen_by_server: far.map(|f| Ends { from: f.client.to_string(), to: f.server.to_string() }),
        start_ns: span.0.0,
        end_ns: span.1.0,
        established_ns: tcp.established.map(|m| m.at.0),
        tls_version: tls
            .and_then(|t| t.version)
            .map_or_else(String::new, |v| super::tls::version_name(v).into()),
        tls_suite: tls.map_or_else(String::new, |t| t.suite_name.clone()),
        tls_group: tls.and_then(|t| t.group.clone()).unwrap_or_default(),
        alpn: tls.and_then(|t| t.alpn.clone()).unwrap_or_default(),
        tls_resumed: tls.is_some_and(|t| t.resumed),
        tls_done_ns: tls.and_then(|t| t.handshake_done).map(|m| m.at.0),
        path: tell::hops(view, syn),
        alternatives: reached
            .map_or_else(Vec::new, |n| tell::alternatives(view, conn.client.node, tcp.server.ip(), n)),
        segments: [tcp.from_client.segments, tcp.from_server.segments],
        bytes: [tcp.from_client.bytes, tcp.from_server.bytes],
        retransmissions: super::trouble::retransmissions(view, number),
        relay: relay::story(view, number),
        life: super::life::tell(view, number),
        ended: match (tcp.reset, closed) {
            (Some(_), _) => "reset",
            (None, true) => "closed",
            (None, false) if tcp.established.is_none() && given_up(view, number).is_some() => "never opened",
            (None, false) => "open",
        }
        .into(),
    }
}
