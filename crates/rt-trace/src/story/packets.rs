//! The packets of a request, numbered in the order in which they were first sent: what `follow --packet N` counts.

use std::collections::BTreeSet;

use rt_base::{FrameId, ReqKind, Time, What};

use super::http::Place;
use super::lookup;
use super::model::PacketStory;
use super::tell::Step;
use super::view::{End, Req, View};
use super::{relay, upstream};
use crate::read::{HttpExchange, Segment, Side, Span, TlsMessageKind};

/// Packets listed per request at most.
const LIMIT: usize = 400;
/// Proxies in a row that are followed at most.
const MOST_PROXIES: usize = 16;

/// The frames of a request in the order of their first sighting: its look-ups with the resolver's walk, its connection
/// when it opened one, and what carried it, on to the upstream of a proxy.
pub(crate) fn frames_of(step: &Step<'_, '_>, req: &Req<'_>, place: Option<Place>) -> Vec<FrameId> {
    let view = step.view;
    let mut frames = BTreeSet::new();
    dns_frames(view, req, &mut frames);
    for child in step.children(req.id).iter().filter(|r| r.kind == ReqKind::Lookup) {
        dns_frames(view, child, &mut frames);
    }
    match place {
        Some(place) => {
            let to = req.end_at().unwrap_or(step.last);
            conn_frames(view, place, to, &mut frames);
            let next = |at: &Place| relay::behind(view, *at).or_else(|| upstream::behind(view, *at));
            for behind in std::iter::successors(Some(place), next).skip(1).take(MOST_PROXIES) {
                let (_, exchange) = super::http::exchange_of(view, behind);
                // What follows a 101 belongs to it.
                let response = exchange.response.as_ref().filter(|r| r.status != 101);
                let end = response.map(|r| r.body.span.unwrap_or(r.head).readable.at);
                conn_frames(view, behind, end.unwrap_or(to), &mut frames);
            }
        }
        None => {
            for used in req.used().filter(|u| u.protocol != "dns") {
                let Some(conn) = view.conn_used(req.node, &used) else { continue };
                let tcp = view.tcp(view.conns[conn].client);
                frames
                    .extend(tcp.segments.iter().filter(|s| s.mark.at >= req.begin.at).map(|s| s.mark.frame));
                // Copies that were lost on the way back are known only to the other end.
                if let Some(end) = view.conns[conn].server {
                    frames.extend(view.tcp(end).segments.iter().map(|s| s.mark.frame));
                }
            }
        }
    }
    echo_frames(step, req, &mut frames);
    let mut all: Vec<(Time, FrameId)> =
        frames.into_iter().filter_map(|f| view.trace.sightings(f).next().map(|c| (c.at, f))).collect();
    all.sort();
    all.into_iter().map(|(_, f)| f).collect()
}

fn dns_frames(view: &View<'_>, req: &Req<'_>, frames: &mut BTreeSet<FrameId>) {
    for exchange in lookup::asked(view, req) {
        if let Some((node, work)) = exchange.query.and_then(|q| lookup::resolver_work(view, q.first.frame)) {
            for question in view.children(node, work.id) {
                dns_frames(view, question, frames);
            }
        }
        frames.extend(exchange.query.map(|q| q.first.frame));
        frames.extend(exchange.again.iter().map(|m| m.frame));
        frames.extend(exchange.answer.as_ref().map(|a| a.span.last.frame));
    }
}

/// Frames of the exchange's connection until `to`. The request that opened the connection owns its handshake and all
/// that came before its end; a later one owns what carried it, and the bare acknowledgements meanwhile.
fn conn_frames(view: &View<'_>, place: Place, to: Time, frames: &mut BTreeSet<FrameId>) {
    let conn = view.conns[place.conn];
    let exchange = &view.tcp(conn.client).http[place.exchange];
    let from = if place.reused { exchange.request.head.first.at } else { Time::ZERO };
    for end in [Some(conn.client), conn.server].into_iter().flatten() {
        let segments = &view.tcp(end).segments;
        for segment in view.index.end(view, end).sent_within(from, to).map(|at| &segments[at]) {
            if !place.reused || concerns(segment, exchange) {
                frames.insert(segment.mark.frame);
            }
        }
    }
}

/// Whether a segment carries bytes of the exchange, or none at all.
fn concerns(segment: &Segment, exchange: &HttpExchange) -> bool {
    let (start, end) = (segment.offset, segment.offset + u64::from(segment.len));
    let touches = |span: Span| span.start < end && span.end > start;
    let request = [Some(exchange.request.head), exchange.request.body.span];
    let response = exchange.response.as_ref().map_or([None, None], |r| [Some(r.head), r.body.span]);
    let spans = if segment.from == Side::Client { request } else { response };
    segment.len == 0 || spans.into_iter().flatten().any(touches)
}

fn echo_frames(step: &Step<'_, '_>, req: &Req<'_>, frames: &mut BTreeSet<FrameId>) {
    if req.kind != ReqKind::Probe || req.used().next().is_some() {
        return;
    }
    let Some(read) = step.view.read.get(&req.node) else { return };
    let within = |at: Time| at >= req.begin.at && req.end_at().is_none_or(|end| at <= end);
    for echo in read.echo.iter().filter(|e| e.outgoing && within(e.request.at)) {
        frames.insert(echo.request.frame);
        frames.extend(echo.reply.map(|m| m.frame));
    }
    frames.extend(read.icmp_errors.iter().filter(|e| !e.outgoing && within(e.mark.at)).map(|e| e.mark.frame));
}

/// The packets themselves, and how many were left out.
pub(crate) fn tell(step: &Step<'_, '_>, req: &Req<'_>, place: Option<Place>) -> (Vec<PacketStory>, u32) {
    let frames = frames_of(step, req, place);
    let left_out = u32::try_from(frames.len().saturating_sub(LIMIT)).unwrap_or(u32::MAX);
    let numbered = frames.into_iter().take(LIMIT).enumerate();
    let packets =
        numbered.map(|(i, frame)| packet(step.view, u32::try_from(i + 1).unwrap_or(u32::MAX), frame));
    (packets.collect(), left_out)
}

fn packet(view: &View<'_>, number: u32, frame: FrameId) -> PacketStory {
    let first = view.trace.sightings(frame).next();
    let way = view.way(frame);
    let dropped = view.trace.events_of(frame).filter(|e| !is_copy(&e.what)).find_map(|e| match e.what {
        What::Drop { reason, .. } => Some((e, reason)),
        _ => None,
    });
    let delivered = view.delivered(frame).is_some();
    let dropped = dropped.filter(|_| !delivered);
    let to = dropped.map(|(e, _)| e.node()).or(way.last().map(|l| l.to));
    PacketStory {
        number,
        frame: format!("{frame:?}"),
        from: first.map_or_else(String::new, |c| view.name(c.node)),
        to: to.map_or_else(String::new, |n| view.name(n)),
        sent_ns: first.map_or(0, |c| c.at.0),
        arrived_ns: if dropped.is_some() { None } else { way.last().map(|l| l.arrive.0) },
        len: first.map_or(0, |c| u32::try_from(c.len()).unwrap_or(u32::MAX)),
        summary: first.map_or_else(String::new, |c| rt_wire::summary(&c.bytes)),
        carries: carries(view, frame),
        dropped: dropped
            .map_or_else(String::new, |(e, reason)| format!("{} at {}", reason.say(), view.name(e.node()))),
    }
}

/// Drops of copies that a switch flooded to the wrong machines.
fn is_copy(what: &What) -> bool {
    matches!(what, What::Drop { reason: rt_base::DropReason::NotForThisStation, .. })
}

/// What a frame carries, in a few words: `SYN`, `ClientHello`, `GET /`, `A google.com?`.
pub(crate) fn carries(view: &View<'_>, frame: FrameId) -> String {
    let mut parts = Vec::new();
    if let Some((conn, from)) = view.conn_of(frame) {
        let conn = view.conns[conn];
        // The end that sent it knows it best: a copy may never have arrived.
        let sender = if from == Side::Client { Some(conn.client) } else { conn.server };
        tcp_carries(view, sender.unwrap_or(conn.client), frame, &mut parts);
    } else {
        for exchange in view.read.values().flat_map(|r| &r.udp).flat_map(|u| &u.dns) {
            let question =
                exchange.questions.first().map_or(String::new(), |q| format!("{} {}", q.rtype, q.name));
            if exchange.query.is_some_and(|q| q.first.frame == frame) {
                parts.push(format!("DNS: {question}?"));
            }
            if let Some(answer) = exchange.answer.as_ref().filter(|a| a.span.last.frame == frame) {
                parts.push(format!("DNS: {question} → {}", lookup::answer_words(answer)));
            }
            if !parts.is_empty() {
                break;
            }
        }
    }
    if parts.is_empty() {
        parts.extend(icmp_carries(view, frame));
    }
    parts.dedup();
    parts.join(", ")
}

fn icmp_carries(view: &View<'_>, frame: FrameId) -> Option<String> {
    for read in view.read.values() {
        for echo in &read.echo {
            if echo.request.frame == frame {
                return Some(format!("ping {}", echo.seq));
            }
            if echo.reply.is_some_and(|r| r.frame == frame) {
                return Some(format!("answer to ping {}", echo.seq));
            }
        }
        if let Some(error) = read.icmp_errors.iter().find(|e| e.mark.frame == frame) {
            return Some(format!("ICMP: {}", error.text));
        }
    }
    None
}

fn tcp_carries(view: &View<'_>, end: End, frame: FrameId, parts: &mut Vec<String>) {
    let (tcp, index) = (view.tcp(end), view.index.end(view, end));
    let Some(segment) = index.segment(frame).map(|at| &tcp.segments[at]) else { return };
    let (start, end) = (segment.offset, segment.offset + u64::from(segment.len));
    if segment.len == 0 {
        let flags = super::words::flags(segment.flags);
        parts.push(match flags.as_str() {
            "SYN ACK" => "SYN-ACK".into(),
            "ACK" => "ACK".into(),
            other => other.replace(" ACK", ""),
        });
        return;
    }
    let touches = |from: Side, span: Span| from == segment.from && span.start < end && span.end > start;
    if let Some(tls) = &tcp.tls {
        let names = index.messages(segment).into_iter().filter_map(|at| message_name(&tls.messages[at].what));
        parts.extend(names.map(str::to_string));
    }
    for at in index.exchanges(segment) {
        http_carries(&tcp.http[at], &touches, parts);
    }
    if let Some(http2) = tcp.http2.as_ref().filter(|_| parts.is_empty()) {
        let frames = index.http2_frames(segment).into_iter().map(|at| &http2.frames[at]);
        parts.extend(frames.map(|frame| format!("HTTP/2 {}", frame.kind)));
        parts.dedup();
    }
    let frames = tcp.websocket.iter().flat_map(|w| &w.frames);
    parts.extend(frames.filter(|f| touches(f.from, f.span)).map(super::websocket::carried).take(8));
    if parts.is_empty() {
        parts.push(format!("{} bytes of the stream", segment.len));
    }
    if segment.flags & 1 == 1 {
        parts.push("FIN".into());
    }
}

fn http_carries(exchange: &HttpExchange, touches: &dyn Fn(Side, Span) -> bool, parts: &mut Vec<String>) {
    let name = format!("{} {}", exchange.request.method, exchange.request.target);
    if touches(Side::Client, exchange.request.head) {
        parts.push(name.clone());
    }
    if exchange.request.body.span.is_some_and(|s| touches(Side::Client, s)) {
        parts.push(format!("body of {name}"));
    }
    if let Some(response) = &exchange.response {
        if touches(Side::Server, response.head) {
            parts.push(format!("{} for {name}", response.status));
        }
        if response.body.span.is_some_and(|s| touches(Side::Server, s)) {
            parts.push(format!("content of {}", exchange.request.target));
        }
    }
}

fn message_name(what: &TlsMessageKind) -> Option<&'static str> {
    Some(match what {
        TlsMessageKind::ClientHello { .. } => "ClientHello",
        TlsMessageKind::ServerHello { .. } => "ServerHello",
        TlsMessageKind::HelloRetryRequest { .. } => "HelloRetryRequest",
        TlsMessageKind::EncryptedExtensions { .. } => "EncryptedExtensions",
        TlsMessageKind::CertificateRequest => "CertificateRequest",
        TlsMessageKind::Certificate { .. } => "Certificate",
        TlsMessageKind::CertificateVerify { .. } => "CertificateVerify",
        TlsMessageKind::Finished { .. } => "Finished",
        TlsMessageKind::NewSessionTicket { .. } => "NewSessionTicket",
        TlsMessageKind::KeyUpdate { .. } => "KeyUpdate",
        TlsMessageKind::Alert { .. } => "Alert",
        TlsMessageKind::ServerKeyExchange { .. } => "ServerKeyExchange",
        TlsMessageKind::ClientKeyExchange => "ClientKeyExchange",
        _ => return None,
    })
}
