//! WebSocket: the handshake's proof, what each side said and when, and how it was closed. All of it is read from the bytes that
//! the client's interface saw.

use rt_base::Time;

use super::http::{Place, exchange_of};
use super::model::{Chapter, Line};
use super::tell::Step;
use super::view::{Req, View};
use super::{relay, upstream, words};
use crate::read::{HttpExchange, HttpHeader, Side, WebSocketFrame, WebSocketSession, websocket_accept};

const EXPLAIN: &str = "WebSocket begins as an HTTP request and then keeps the connection: both sides may speak at any time, in messages \
                       of any length. Each is a frame behind 2 to 10 bytes that say what it is and how long; a client also masks \
                       what it sends with 4 bytes of its own dice, so that no proxy takes it for something else.";

/// Things said that are told one by one.
const TOLD: usize = 16;
/// Pings and pongs behind those.
const ASIDES: usize = 4;
/// Characters of a text that are shown.
const SHOWN: usize = 60;
/// Machines in a row that pass it on.
const MOST_HOPS: usize = 8;

/// Whether a request opens a WebSocket.
pub(crate) fn is_one(req: &Req<'_>) -> bool {
    req.target.starts_with("ws://") || req.target.starts_with("wss://")
}

/// What a packet carries, in a few words.
pub(crate) fn carried(frame: &WebSocketFrame) -> String {
    format!("WebSocket {}", name(frame.opcode))
}

fn name(opcode: u8) -> &'static str {
    match opcode {
        0 => "continuation",
        1 => "text",
        2 => "binary",
        8 => "close",
        9 => "ping",
        10 => "pong",
        _ => "frame",
    }
}

/// The chapter of a conversation; `None` when there was none.
pub(crate) fn tell(step: &Step<'_, '_>, req: &Req<'_>, place: Place) -> Option<Chapter> {
    let view = step.view;
    let (tcp, exchange) = exchange_of(view, place);
    let response = exchange.response.as_ref().filter(|r| r.status == 101)?;
    let session = tcp.websocket.as_deref()?;
    let start = response.head.readable.at;
    let talk = Talk { session, client: view.name(req.node), server: server(view, place), start };
    let mut lines = vec![handshake(exchange, &talk)];
    lines.extend(told(talk.lines()));
    lines.push(talk.sums());
    lines.extend(session.problems.iter().map(|why| Line::new("websocket.problem", "not read", why)));
    let mut chapter = step.chapter_of(req, lines, ("websocket", "both ways", EXPLAIN));
    let [out, back] = session.messages;
    chapter.start_ns = start.0;
    chapter.remark = format!("{} out, {back} in", words::count(out, "message"));
    Some(chapter)
}

/// The lines that are told: the first, the last, and of those between the first that are not messages.
fn told(all: Vec<Line>) -> Vec<Line> {
    let end = all.len() - all.len().min(2);
    let (mut lines, mut left, mut asides) = (Vec::new(), 0_u64, 0);
    for (at, line) in all.into_iter().enumerate() {
        let aside = !matches!(line.code.as_str(), "websocket.out" | "websocket.in");
        asides += usize::from(aside && at >= TOLD);
        if at < TOLD || at >= end || (aside && asides <= ASIDES) {
            lines.push(line);
        } else {
            left += 1;
        }
    }
    if left > 0 {
        let text = format!("and {}", words::count(left, "more line of that kind"));
        let at = lines.len() - 2;
        lines.insert(at, Line::new("websocket.more", "", text));
    }
    lines
}

/// The machine at the far end, behind all that only pass it on.
fn server(view: &View<'_>, place: Place) -> String {
    let next = |at: &Place| upstream::behind(view, relay::way(view, *at).last().copied()?);
    let last = std::iter::successors(Some(place), next).take(MOST_HOPS).last().unwrap_or(place);
    relay::at_server(view, last).map_or_else(|| "the server".to_owned(), |(end, _)| view.name(end.node))
}

fn handshake(exchange: &HttpExchange, talk: &Talk<'_>) -> Line {
    let value = |all: &[HttpHeader], name: &str| {
        all.iter().find(|h| h.name.eq_ignore_ascii_case(name)).map(|h| h.value.trim().to_owned())
    };
    let key = value(&exchange.request.headers, "sec-websocket-key").unwrap_or_default();
    let response = exchange.response.as_ref().map_or(&[][..], |r| &r.headers);
    let given = value(response, "sec-websocket-accept").unwrap_or_default();
    let fits = websocket_accept(&key) == given;
    let text = if fits {
        format!(
            "{} answers the key {key} with {given}, which only follows from it and the RFC's own text: it speaks WebSocket; \
             from here on there are no requests any more, and both may speak at any time",
            talk.server
        )
    } else {
        format!("{given:?} is not the answer to the key {key}: whoever sent it did not read the request")
    };
    Line::new("websocket.handshake", "agreed", text).at(talk.start).with("fits", fits)
}

/// A conversation.
struct Talk<'s> {
    session: &'s WebSocketSession,
    client: String,
    server: String,
    start: Time,
}

/// A message of which more pieces come.
#[derive(Default)]
struct Pieces {
    opcode: u8,
    count: u64,
    bytes: u64,
    text: String,
}

impl Talk<'_> {
    fn who(&self, side: Side) -> &str {
        if side == Side::Client { &self.client } else { &self.server }
    }

    /// When the client sent a frame, or could read it.
    fn at(frame: &WebSocketFrame) -> Time {
        if frame.from == Side::Client { frame.span.first.at } else { frame.span.readable.at }
    }

    fn lines(&self) -> Vec<Line> {
        let mut open: [Option<Pieces>; 2] = Default::default();
        let mut lines: Vec<(Time, Line)> = Vec::new();
        // When the client spoke last without an answer so far.
        let mut asked: Option<Time> = None;
        let mut closed = false;
        for frame in &self.session.frames {
            let at = Talk::at(frame);
            let line = match frame.opcode {
                0..=2 => {
                    let pieces = open[frame.from.index()].get_or_insert_with(Pieces::default);
                    pieces.add(frame);
                    if !frame.fin {
                        continue;
                    }
                    let Some(pieces) = open[frame.from.index()].take() else { continue };
                    let after = if frame.from == Side::Server { asked.take() } else { None };
                    if frame.from == Side::Client {
                        asked = Some(at);
                    }
                    self.message(frame, &pieces, after)
                }
                8 => {
                    let line = self.close(frame, closed);
                    closed = true;
                    line
                }
                opcode => {
                    let (code, text) = match opcode {
                        9 => ("websocket.ping", "asks whether the other end is there"),
                        _ => ("websocket.pong", "is there"),
                    };
                    let with =
                        if frame.text.is_empty() { String::new() } else { format!(" ({})", frame.text) };
                    let text = format!("{} {text}{with}", self.who(frame.from));
                    Line::new(code, format!("{} {}", name(opcode), arrow(frame.from)), text)
                }
            };
            lines.push((at, line.at(at).margin(words::after(self.start, at))));
        }
        // Read when they were whole; told when they began.
        lines.sort_by_key(|(at, _)| *at);
        let mut lines: Vec<Line> = lines.into_iter().map(|(_, line)| line).collect();
        if !closed {
            let text = "the connection ended without a close frame: a browser would report 1006";
            lines.push(Line::new("websocket.broken", "ends", text));
        }
        lines
    }

    fn message(&self, frame: &WebSocketFrame, pieces: &Pieces, asked: Option<Time>) -> Line {
        let kind = if pieces.opcode == 1 { "text" } else { "data" };
        let what = match pieces.text.as_str() {
            "" => String::new(),
            text => format!("\"{}\", ", rt_base::text::excerpt(text, SHOWN)),
        };
        let frames = match pieces.count {
            1 => "one frame".to_owned(),
            n => format!("{n} frames"),
        };
        let masked = if frame.masked { ", masked" } else { "" };
        let mut text = format!("{what}{} of {kind} in {frames}{masked}", words::bytes(pieces.bytes));
        if let Some(asked) = asked {
            text += &format!(", {} after what was said last", words::between(asked, Talk::at(frame)));
        }
        let code = if frame.from == Side::Client { "websocket.out" } else { "websocket.in" };
        let line = Line::new(code, format!("message {}", arrow(frame.from)), text);
        let line = line.with("bytes", pieces.bytes).with("frames", pieces.count);
        match asked {
            Some(asked) => line.with("after_ns", Talk::at(frame).since(asked).0),
            None => line,
        }
    }

    fn close(&self, frame: &WebSocketFrame, again: bool) -> Line {
        let code = frame.code.map_or_else(
            || "no code".to_owned(),
            |code| match close_name(code) {
                "" => code.to_string(),
                name => format!("{code} ({name})"),
            },
        );
        let why = match frame.text.as_str() {
            "" => String::new(),
            text => format!(": {}", rt_base::text::excerpt(text, 2 * SHOWN)),
        };
        let verb = if again { "agrees" } else { "closes" };
        let text = format!("{} {verb} with {code}{why}", self.who(frame.from));
        Line::new("websocket.close", format!("close {}", arrow(frame.from)), text)
            .with("code", frame.code.unwrap_or(0))
    }

    fn sums(&self) -> Line {
        let WebSocketSession { count, messages, bytes, .. } = self.session;
        let one = |side: Side| {
            let at = side.index();
            let messages = words::count(messages[at], "message");
            format!("{} said {messages} of {}", self.who(side), words::bytes(bytes[at]))
        };
        let heads: u64 = self.session.frames.iter().map(head).sum();
        let frames = words::count(count[0] + count[1], "frame");
        let text = format!(
            "{}, {}; the heads and masks of {frames} took {}",
            one(Side::Client),
            one(Side::Server),
            words::bytes(heads)
        );
        Line::new("websocket.sums", "in all", text)
            .with("messages_out", messages[0])
            .with("messages_in", messages[1])
            .with("bytes_out", bytes[0])
            .with("bytes_in", bytes[1])
    }
}

impl Pieces {
    fn add(&mut self, frame: &WebSocketFrame) {
        if self.count == 0 {
            (self.opcode, self.text) = (frame.opcode, frame.text.clone());
        }
        self.count += 1;
        self.bytes = self.bytes.saturating_add(frame.len);
    }
}

/// Bytes before a frame's payload.
fn head(frame: &WebSocketFrame) -> u64 {
    let len = match frame.len {
        0..=125 => 2,
        126..=0xffff => 4,
        _ => 10,
    };
    len + if frame.masked { 4 } else { 0 }
}

fn arrow(from: Side) -> &'static str {
    if from == Side::Client { "→" } else { "←" }
}

/// RFC 6455, 7.4.1, and IANA's registry.
fn close_name(code: u16) -> &'static str {
    match code {
        1000 => "normal closure",
        1001 => "going away",
        1002 => "protocol error",
        1003 => "unsupported data",
        1007 => "invalid payload",
        1008 => "policy violation",
        1009 => "message too big",
        1010 => "extension needed",
        1011 => "internal error",
        1012 => "service restart",
        1013 => "try again later",
        _ => "",
    }
}
