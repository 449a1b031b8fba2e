//! HTTP/1.0 and HTTP/1.1 (RFC 9112): heads by `httparse`, framing here.
//!
//! A response waits for its request's head, because the method decides whether it has a body. What cannot be framed
//! stops that direction with a word in `problems`; nothing is guessed after it. After a successful CONNECT, and after
//! `101` to WebSocket, the rest is for another reader ([`H1::take_behind`]); after another `101` it is only counted by TCP.

use std::collections::VecDeque;

use super::body::BodyBuilder;
use super::{Body, HttpExchange, HttpHeader, HttpVersion, InterimResponse, Request, Response};
use crate::read::mark::Origins;
use crate::read::tcp::TcpConversation;
use crate::read::{Limits, Side, Span};

/// Most fields in one head.
const MAX_FIELDS: usize = 1_024;

/// The reader of one HTTP/1 connection.
#[derive(Debug)]
pub(crate) struct H1 {
    limits: Limits,
    exchanges: Vec<HttpExchange>,
    /// Exchanges whose final response has not begun.
    waiting: VecDeque<usize>,
    sides: [Half; 2],
    room: usize,
    problems: Vec<String>,
}

/// One direction.
#[derive(Debug, Default)]
struct Half {
    buf: Vec<u8>,
    /// Stream offset of `buf[0]`.
    base: u64,
    origins: Origins,
    state: State,
    /// Bytes of the head already searched for its end.
    searched: usize,
    body: BodyBuilder,
    /// The exchange whose message is being read.
    current: usize,
    ended: bool,
}

/// Where in a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum State {
    #[default]
    Head,
    /// A body of known length; so many bytes to come.
    Fixed(u64),
    /// A line with a chunk's size.
    ChunkSize,
    /// A chunk's bytes.
    Chunk(u64),
    /// The line end after a chunk.
    ChunkEnd,
    Trailers,
    /// A body that ends with the connection.
    UntilClose,
    /// No longer HTTP, or not readable.
    Stopped,
    /// Behind HTTP.
    Behind(Behind),
}

/// Bytes of either side with what carried them.
pub(crate) type Pieces = Vec<(Side, Vec<u8>, Span)>;

/// What is spoken when HTTP is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Behind {
    /// Whatever client and server like (RFC 9110, 9.3.6).
    Tunnel,
    /// RFC 6455.
    WebSocket,
}

/// How the body of a message is framed.
enum Framing {
    None,
    Fixed(u64),
    Chunked,
    UntilClose,
}

impl H1 {
    pub(crate) fn new(limits: Limits) -> H1 {
        H1 {
            limits,
            exchanges: Vec::new(),
            waiting: VecDeque::new(),
            sides: Default::default(),
            room: limits.all_bodies,
            problems: Vec::new(),
        }
    }

    /// The next bytes of one side.
    pub(crate) fn feed(&mut self, from: Side, bytes: &[u8], span: Span) {
        let half = &mut self.sides[from.index()];
        if half.state == State::Stopped {
            return;
        }
        half.origins.push(bytes.len() as u64, span);
        half.buf.extend_from_slice(bytes);
        self.run(from);
        // A request's head may have freed waiting response bytes.
        if from == Side::Client {
            self.run(Side::Server);
        }
        let half = &mut self.sides[from.index()];
        if half.state == State::Head && half.buf.len() > self.limits.head {
            self.stop(from, "the head is too long");
        }
    }

    /// One side will send no more.
    pub(crate) fn end(&mut self, side: Side) {
        let half = &mut self.sides[side.index()];
        half.ended = true;
        if half.state == State::UntilClose {
            half.state = State::Stopped;
            self.finish_message(side, true);
            self.sides[side.index()].state = State::Stopped;
        }
    }

    /// What came behind HTTP, as soon as it is over: the rest is for another reader.
    pub(crate) fn take_behind(&mut self) -> Option<(Behind, Pieces)> {
        let State::Behind(what) = self.sides[Side::Server.index()].state else { return None };
        let rest = [Side::Client, Side::Server].map(|side| {
            let half = &mut self.sides[side.index()];
            let bytes = std::mem::take(&mut half.buf);
            (side, half.origins.span(half.base, half.base + bytes.len() as u64), bytes)
        });
        let filled = rest.into_iter().filter(|(_, _, bytes)| !bytes.is_empty());
        Some((what, filled.map(|(side, span, bytes)| (side, bytes, span)).collect()))
    }

    /// Puts what was read into the conversation.
    pub(crate) fn finish(mut self, into: &mut TcpConversation) {
        for side in [Side::Client, Side::Server] {
            if !matches!(self.sides[side.index()].state, State::Head | State::Stopped | State::Behind(_)) {
                self.finish_message(side, false);
            }
        }
        into.http = self.exchanges;
        into.problems.append(&mut self.problems);
    }

    /// Reads as many parts of messages as are there.
    fn run(&mut self, side: Side) {
        let mut used = 0;
        loop {
            let half = &self.sides[side.index()];
            let state = half.state;
            let rest = &half.buf[used..];
            let step = match state {
                State::Head if rest.is_empty() => None,
                State::Head => self.head(side, used),
                State::Fixed(left) => self.take_body(side, used, left, State::Fixed),
                State::Chunk(left) => self.take_body(side, used, left, State::Chunk),
                State::UntilClose if rest.is_empty() => None,
                State::UntilClose => self.take_body(side, used, u64::MAX, |_| State::UntilClose),
                State::ChunkSize => self.chunk_size(side, used),
                State::ChunkEnd => self.chunk_end(side, used),
                State::Trailers => self.trailers(side, used),
                State::Behind(_) => None,
                State::Stopped => {
                    used = half.buf.len();
                    None
                }
            };
            match step {
                Some(n) => used += n,
                None => break,
            }
        }
        let half = &mut self.sides[side.index()];
        let used = used.min(half.buf.len());
        half.buf.drain(..used);
        half.base += used as u64;
    }

    /// A head, if it is there whole. Returns the bytes used.
    fn head(&mut self, side: Side, used: usize) -> Option<usize> {
        if side == Side::Server && self.waiting.is_empty() {
            return None;
        }
        let half = &mut self.sides[side.index()];
        let rest = &half.buf[used..];
        let Some(end) = head_end(rest, half.searched) else {
            half.searched = rest.len().saturating_sub(3);
            return None;
        };
        half.searched = 0;
        let start = half.base + used as u64;
        let span = half.origins.span(start, start + end as u64);
        let head = rest[..end].to_vec();
        let read = match side {
            Side::Client => self.request(&head, span),
            Side::Server => self.response(&head, span),
        };
        match read {
            Ok(()) => Some(end),
            Err(why) => {
                self.stop(side, &why);
                None
            }
        }
    }

    fn request(&mut self, head: &[u8], span: Span) -> Result<(), String> {
        let (method, target, version, headers) = parse_request(head)?;
        if self.exchanges.len() >= self.limits.items {
            return Err("too many requests".to_owned());
        }
        let framing = request_framing(&headers)?;
        let authority = value(&headers, "host").map(str::to_owned);
        let index = self.exchanges.len();
        self.exchanges.push(HttpExchange {
            version,
            ordinal: index as u32,
            stream: 0,
            request: Request {
                method,
                target,
                scheme: None,
                authority,
                headers,
                head: span,
                head_bytes: head.len() as u64,
                body: Body::default(),
                complete: false,
            },
            interim: Vec::new(),
            response: None,
            reset: None,
        });
        self.waiting.push_back(index);
        self.sides[Side::Client.index()].current = index;
        self.begin_body(Side::Client, &framing);
        Ok(())
    }

    fn response(&mut self, head: &[u8], span: Span) -> Result<(), String> {
        let (status, reason, version, headers) = parse_response(head)?;
        let Some(&index) = self.waiting.front() else {
            return Err("a response without a request".to_owned());
        };
        let method = self.exchanges[index].request.method.clone();
        if (100..200).contains(&status) && status != 101 {
            let interim = &mut self.exchanges[index].interim;
            if interim.len() < 64 {
                interim.push(InterimResponse { status, head: span });
            }
            return Ok(());
        }
        let framing = response_framing(&method, status, version, &headers)?;
        let speaks = value(&headers, "upgrade").is_some_and(|v| v.trim().eq_ignore_ascii_case("websocket"));
        self.waiting.pop_front();
        self.exchanges[index].response = Some(Response {
            status,
            reason,
            headers,
            head: span,
            head_bytes: head.len() as u64,
            body: Body::default(),
            trailers: Vec::new(),
            complete: false,
        });
        self.sides[Side::Server.index()].current = index;
        self.begin_body(Side::Server, &framing);
        if status == 101 {
            let state = if speaks { State::Behind(Behind::WebSocket) } else { State::Stopped };
            self.sides.iter_mut().for_each(|half| half.state = state);
        }
        if method == "CONNECT" && (200..300).contains(&status) {
            self.sides.iter_mut().for_each(|half| half.state = State::Behind(Behind::Tunnel));
        }
        Ok(())
    }

    fn begin_body(&mut self, side: Side, framing: &Framing) {
        let half = &mut self.sides[side.index()];
        half.body = BodyBuilder::default();
        half.state = match framing {
            Framing::None | Framing::Fixed(0) => {
                self.finish_message(side, true);
                return;
            }
            Framing::Fixed(n) => State::Fixed(*n),
            Framing::Chunked => State::ChunkSize,
            Framing::UntilClose if half.ended => State::Stopped,
            Framing::UntilClose => State::UntilClose,
        };
    }

    /// Body bytes; `next` makes the state from what is left.
    fn take_body(&mut self, side: Side, used: usize, left: u64, next: fn(u64) -> State) -> Option<usize> {
        let half = &mut self.sides[side.index()];
        let available = half.buf.len() - used;
        let n = usize::try_from(left).unwrap_or(usize::MAX).min(available);
        if n == 0 {
            return None;
        }
        let start = half.base + used as u64;
        let span = half.origins.span(start, start + n as u64);
        half.body.push(&half.buf[used..used + n], span, self.limits.body, &mut self.room);
        let left = left - n as u64;
        half.state = match (next(left), left) {
            (State::Chunk(_), 0) => State::ChunkEnd,
            (state, _) => state,
        };
        if half.state == State::Fixed(0) {
            self.finish_message(side, true);
        }
        Some(n)
    }

    fn chunk_size(&mut self, side: Side, used: usize) -> Option<usize> {
        let half = &mut self.sides[side.index()];
        let rest = &half.buf[used..];
        match httparse::parse_chunk_size(rest) {
            Ok(httparse::Status::Complete((n, size))) => {
                let start = half.base + used as u64;
                half.body.touch(half.origins.span(start, start + n as u64));
                half.state = if size == 0 { State::Trailers } else { State::Chunk(size) };
                Some(n)
            }
            Ok(httparse::Status::Partial) if rest.len() < self.limits.head => None,
            _ => {
                self.stop(side, "a chunk size that is none");
                None
            }
        }
    }

    fn chunk_end(&mut self, side: Side, used: usize) -> Option<usize> {
        let half = &mut self.sides[side.index()];
        match &half.buf[used..] {
            [b'\r', b'\n', ..] => {
                half.state = State::ChunkSize;
                Some(2)
            }
            [] | [b'\r'] => None,
            _ => {
                self.stop(side, "a chunk is longer than it says");
                None
            }
        }
    }

    fn trailers(&mut self, side: Side, used: usize) -> Option<usize> {
        let half = &mut self.sides[side.index()];
        let rest = &half.buf[used..];
        let end = if rest.starts_with(b"\r\n") { 2 } else { head_end(rest, 0)? };
        let trailers = parse_fields(&rest[..end]).unwrap_or_default();
        let start = half.base + used as u64;
        half.body.touch(half.origins.span(start, start + end as u64));
        let current = half.current;
        if side == Side::Server
            && let Some(response) = self.exchanges.get_mut(current).and_then(|e| e.response.as_mut())
        {
            response.trailers = trailers;
        }
        self.finish_message(side, true);
        Some(end)
    }

    /// The message of `side` is over.
    fn finish_message(&mut self, side: Side, complete: bool) {
        let half = &mut self.sides[side.index()];
        let body = std::mem::take(&mut half.body);
        half.state = State::Head;
        let Some(exchange) = self.exchanges.get_mut(half.current) else { return };
        match (side, &mut exchange.response) {
            (Side::Client, _) => {
                exchange.request.body = body.finish(&exchange.request.headers, &self.limits);
                exchange.request.complete = complete;
            }
            (Side::Server, Some(response)) => {
                response.body = body.finish(&response.headers, &self.limits);
                response.complete = complete;
            }
            (Side::Server, None) => {}
        }
    }

    fn stop(&mut self, side: Side, why: &str) {
        let who = if side == Side::Client { "client" } else { "server" };
        if !matches!(self.sides[side.index()].state, State::Head) {
            self.finish_message(side, false);
        }
        let half = &mut self.sides[side.index()];
        half.state = State::Stopped;
        half.buf = Vec::new();
        self.problems.push(format!("HTTP/1 of the {who} was not read on: {why}"));
    }
}

/// Length of the head with its empty line, searching from `from`.
fn head_end(bytes: &[u8], from: usize) -> Option<usize> {
    let window = &bytes[from.min(bytes.len())..];
    window.windows(4).position(|w| w == b"\r\n\r\n").map(|at| from + at + 4)
}

type RequestHead = (String, String, HttpVersion, Vec<HttpHeader>);
type ResponseHead = (u16, String, HttpVersion, Vec<HttpHeader>);

fn parse_request(head: &[u8]) -> Result<RequestHead, String> {
    with_fields(|fields| {
        let mut request = httparse::Request::new(fields);
        match request.parse(head) {
            Ok(httparse::Status::Complete(_)) => Ok((
                request.method.unwrap_or_default().to_owned(),
                request.path.unwrap_or_default().to_owned(),
                version(request.version),
                owned(request.headers),
            )),
            Ok(httparse::Status::Partial) => Err(httparse::Error::Status),
            Err(e) => Err(e),
        }
    })
}

fn parse_response(head: &[u8]) -> Result<ResponseHead, String> {
    with_fields(|fields| {
        let mut response = httparse::Response::new(fields);
        match response.parse(head) {
            Ok(httparse::Status::Complete(_)) => Ok((
                response.code.unwrap_or_default(),
                response.reason.unwrap_or_default().to_owned(),
                version(response.version),
                owned(response.headers),
            )),
            Ok(httparse::Status::Partial) => Err(httparse::Error::Status),
            Err(e) => Err(e),
        }
    })
}

fn parse_fields(bytes: &[u8]) -> Option<Vec<HttpHeader>> {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    match httparse::parse_headers(bytes, &mut fields) {
        Ok(httparse::Status::Complete((_, fields))) => Some(owned(fields)),
        _ => None,
    }
}

/// Parses with room for 64 fields, then with more.
fn with_fields<'b, T>(
    parse: impl Fn(&mut [httparse::Header<'b>]) -> Result<T, httparse::Error>,
) -> Result<T, String> {
    let mut few = [httparse::EMPTY_HEADER; 64];
    let first = parse(&mut few);
    let read = match first {
        Err(httparse::Error::TooManyHeaders) => parse(&mut vec![httparse::EMPTY_HEADER; MAX_FIELDS]),
        other => other,
    };
    read.map_err(|e| format!("the head cannot be read ({e})"))
}

fn version(minor: Option<u8>) -> HttpVersion {
    if minor == Some(0) { HttpVersion::Http10 } else { HttpVersion::Http11 }
}

fn owned(fields: &[httparse::Header<'_>]) -> Vec<HttpHeader> {
    fields
        .iter()
        .map(|f| HttpHeader { name: f.name.to_owned(), value: String::from_utf8_lossy(f.value).into_owned() })
        .collect()
}

/// The first value of a field.
fn value<'h>(headers: &'h [HttpHeader], name: &str) -> Option<&'h str> {
    headers.iter().find(|h| h.name.eq_ignore_ascii_case(name)).map(|h| h.value.as_str())
}

fn is_chunked(headers: &[HttpHeader]) -> bool {
    headers
        .iter()
        .rev()
        .find(|h| h.name.eq_ignore_ascii_case("transfer-encoding"))
        .is_some_and(|h| h.value.rsplit(',').next().is_some_and(|c| c.trim().eq_ignore_ascii_case("chunked")))
}

fn content_length(headers: &[HttpHeader]) -> Result<Option<u64>, String> {
    value(headers, "content-length")
        .map(|v| v.trim().parse().map_err(|_| format!("Content-Length {v:?} is no number")))
        .transpose()
}

/// RFC 9112, 6.3, for a request.
fn request_framing(headers: &[HttpHeader]) -> Result<Framing, String> {
    if is_chunked(headers) {
        return Ok(Framing::Chunked);
    }
    Ok(content_length(headers)?.map_or(Framing::None, Framing::Fixed))
}

/// RFC 9112, 6.3, for a response.
fn response_framing(
    method: &str,
    status: u16,
    version: HttpVersion,
    headers: &[HttpHeader],
) -> Result<Framing, String> {
    let bodiless = method == "HEAD" || matches!(status, 100..=199 | 204 | 304);
    if bodiless || (method == "CONNECT" && (200..300).contains(&status)) {
        return Ok(Framing::None);
    }
    if is_chunked(headers) && version != HttpVersion::Http10 {
        return Ok(Framing::Chunked);
    }
    Ok(content_length(headers)?.map_or(Framing::UntilClose, Framing::Fixed))
}

#[cfg(test)]
mod tests;
