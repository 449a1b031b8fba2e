//! HTTP/2 (RFC 9113): frames, streams, and which exchange each belongs to.
//!
//! Every header block of a direction is decoded in order, also of streams that are not kept, because HPACK has state.
//! A frame that cannot be framed or a block that cannot be decoded stops that direction with a word in `problem`.
//! Priority is read over, pushed streams become exchanges of their own.

use std::collections::BTreeMap;

use super::body::BodyBuilder;
use super::frames::{self, Payload};
use super::grpc::Calling;
use super::hpack::{Decoder, Field};
use super::{
    Body, Http2Frame, Http2Session, HttpExchange, HttpHeader, HttpReset, HttpVersion, InterimResponse,
    Request, Response,
};
use crate::read::app::H2_PREFACE;
use crate::read::mark::Origins;
use crate::read::tcp::TcpConversation;
use crate::read::{Limits, Side, Span};

/// Length of a frame head.
const HEAD: usize = 9;
/// A frame beyond this is not read (the largest SETTINGS_MAX_FRAME_SIZE is 2^24 - 1, few offer more than this).
const MAX_FRAME: usize = 1 << 22;

/// The reader of one HTTP/2 connection.
#[derive(Debug)]
pub(crate) struct H2 {
    limits: Limits,
    session: Http2Session,
    exchanges: Vec<HttpExchange>,
    streams: BTreeMap<u32, Stream>,
    /// Calls of gRPC, by their exchanges.
    calls: BTreeMap<usize, Calling>,
    sides: [Half; 2],
    room: usize,
}

/// One direction.
#[derive(Debug, Default)]
struct Half {
    buf: Vec<u8>,
    /// Stream offset of `buf[0]`.
    base: u64,
    origins: Origins,
    hpack: Decoder,
    /// A header block of which CONTINUATION frames are missing.
    block: Option<Block>,
    preface_read: bool,
    stopped: bool,
}

/// A header block being put together.
#[derive(Debug)]
struct Block {
    stream: u32,
    /// For PUSH_PROMISE: the promised stream.
    promised: Option<u32>,
    end_stream: bool,
    bytes: Vec<u8>,
    span: Span,
}

/// A stream that is not over.
#[derive(Debug)]
struct Stream {
    exchange: usize,
    bodies: [BodyBuilder; 2],
    ended: [bool; 2],
}

impl H2 {
    pub(crate) fn new(limits: Limits) -> H2 {
        let mut sides: [Half; 2] = Default::default();
        sides[Side::Server.index()].preface_read = true;
        H2 {
            limits,
            session: Http2Session::default(),
            exchanges: Vec::new(),
            streams: BTreeMap::new(),
            calls: BTreeMap::new(),
            sides,
            room: limits.all_bodies,
        }
    }

    /// The next bytes of one side.
    pub(crate) fn feed(&mut self, from: Side, bytes: &[u8], span: Span) {
        let half = &mut self.sides[from.index()];
        if half.stopped {
            return;
        }
        half.origins.push(bytes.len() as u64, span);
        half.buf.extend_from_slice(bytes);
        let mut used = 0;
        if !half.preface_read {
            if half.buf.len() < H2_PREFACE.len() {
                return;
            }
            used = H2_PREFACE.len();
            half.preface_read = true;
        }
        while let Some(frame) = self.next_frame(from, used) {
            let end = used + HEAD + frame.len as usize;
            let start = self.sides[from.index()].base + used as u64;
            let span = self.sides[from.index()].origins.span(start, start + (end - used) as u64);
            let payload = self.sides[from.index()].buf[used + HEAD..end].to_vec();
            used = end;
            self.frame(from, frame, &payload, span);
            if self.sides[from.index()].stopped {
                return;
            }
        }
        let half = &mut self.sides[from.index()];
        let used = used.min(half.buf.len());
        half.buf.drain(..used);
        half.base += used as u64;
    }

    /// The head of the frame at `used`, if the whole frame is there.
    fn next_frame(&mut self, from: Side, used: usize) -> Option<frames::Head> {
        let half = &self.sides[from.index()];
        let head = frames::Head::parse(half.buf.get(used..)?)?;
        if head.len as usize > MAX_FRAME {
            self.stop(from, "a frame is too long");
            return None;
        }
        (half.buf.len() - used >= HEAD + head.len as usize).then_some(head)
    }

    fn frame(&mut self, from: Side, head: frames::Head, payload: &[u8], span: Span) {
        let open_block = self.sides[from.index()].block.as_ref().map(|b| b.stream);
        if open_block.is_some_and(|stream| head.kind != frames::CONTINUATION || head.stream != stream) {
            self.stop(from, "a header block is interrupted by another frame");
            return;
        }
        let payload = match Payload::parse(&head, payload) {
            Ok(payload) => payload,
            Err(why) => {
                self.stop(from, why);
                return;
            }
        };
        self.note(from, &head, &payload, span);
        match payload {
            Payload::Data { data } => self.data(from, &head, data, span),
            Payload::Headers { block, promised } => {
                let end_stream = promised.is_none() && head.flags & frames::END_STREAM != 0;
                let block = Block { stream: head.stream, promised, end_stream, bytes: block.to_vec(), span };
                self.sides[from.index()].block = Some(block);
                self.block_if_whole(from, &head);
            }
            Payload::Continuation { block } => {
                let limit = self.limits.head;
                let Some(open) = self.sides[from.index()].block.as_mut() else {
                    self.stop(from, "a CONTINUATION frame continues nothing");
                    return;
                };
                open.bytes.extend_from_slice(block);
                open.span = open.span.to(span);
                if open.bytes.len() > limit {
                    self.stop(from, "a header block is too long");
                    return;
                }
                self.block_if_whole(from, &head);
            }
            Payload::Settings { settings } => self.settings(from, &settings),
            Payload::Reset { code } => self.reset(from, head.stream, code, span),
            Payload::Words(_) => {}
        }
    }

    fn block_if_whole(&mut self, from: Side, head: &frames::Head) {
        if head.flags & frames::END_HEADERS == 0 {
            return;
        }
        let budget = self.limits.header_list;
        let half = &mut self.sides[from.index()];
        let Some(block) = half.block.take() else { return };
        match half.hpack.decode(&block.bytes, budget) {
            Ok(fields) => self.fields(from, &block, fields),
            Err(why) => self.stop(from, why.say()),
        }
    }

    /// A decoded header block: a request, an interim or final response, or trailers.
    fn fields(&mut self, from: Side, block: &Block, fields: Vec<Field>) {
        let (pseudo, headers) = split(fields);
        match (block.promised, from) {
            (Some(promised), _) => {
                self.request(promised, block, &pseudo, headers);
                self.end_stream(promised, Side::Client);
            }
            (None, Side::Client) if !self.streams.contains_key(&block.stream) => {
                self.request(block.stream, block, &pseudo, headers);
            }
            // Trailers of a request say nothing that is shown.
            (None, Side::Client) => {}
            (None, Side::Server) => self.response(block, &pseudo, headers),
        }
        if block.end_stream {
            self.end_stream(block.stream, from);
        }
    }

    fn request(&mut self, stream: u32, block: &Block, pseudo: &Pseudo, headers: Vec<HttpHeader>) {
        if self.exchanges.len() >= self.limits.items || self.streams.len() >= self.limits.streams {
            self.problem("too many streams: some are not listed");
            return;
        }
        let exchange = self.exchanges.len();
        let calling = Calling::of(stream, pseudo.path.as_deref().unwrap_or_default(), &headers);
        self.calls.extend(calling.map(|calling| (exchange, calling)));
        self.exchanges.push(HttpExchange {
            version: HttpVersion::Http2,
            ordinal: exchange as u32,
            stream,
            request: Request {
                method: pseudo.method.clone().unwrap_or_default(),
                target: pseudo.path.clone().unwrap_or_default(),
                scheme: pseudo.scheme.clone(),
                authority: pseudo.authority.clone(),
                headers,
                head: block.span,
                head_bytes: block.bytes.len() as u64,
                body: Body::default(),
                complete: false,
            },
            interim: Vec::new(),
            response: None,
            reset: None,
        });
        self.streams.insert(stream, Stream { exchange, bodies: Default::default(), ended: [false; 2] });
    }

    fn response(&mut self, block: &Block, pseudo: &Pseudo, headers: Vec<HttpHeader>) {
        let Some(stream) = self.streams.get(&block.stream) else { return };
        if let Some(calling) = self.calls.get_mut(&stream.exchange) {
            let only = self.exchanges[stream.exchange].response.is_none();
            calling.fields(&headers, only, block.span);
        }
        let exchange = &mut self.exchanges[stream.exchange];
        if let Some(response) = &mut exchange.response {
            response.trailers = headers;
            return;
        }
        let status = pseudo.status.unwrap_or_default();
        if (100..200).contains(&status) {
            if exchange.interim.len() < 64 {
                exchange.interim.push(InterimResponse { status, head: block.span });
            }
            return;
        }
        exchange.response = Some(Response {
            status,
            reason: String::new(),
            headers,
            head: block.span,
            head_bytes: block.bytes.len() as u64,
            body: Body::default(),
            trailers: Vec::new(),
            complete: false,
        });
    }

    fn data(&mut self, from: Side, head: &frames::Head, data: &[u8], span: Span) {
        if let Some(stream) = self.streams.get_mut(&head.stream) {
            if let Some(calling) = self.calls.get_mut(&stream.exchange) {
                calling.data(from, data, span);
            }
            let body = &mut stream.bodies[from.index()];
            // An empty DATA frame only ends the stream: it makes no body.
            if !data.is_empty() || body.len() > 0 {
                body.push(data, span, self.limits.body, &mut self.room);
            }
        }
        if head.flags & frames::END_STREAM != 0 {
            self.end_stream(head.stream, from);
        }
    }

    fn end_stream(&mut self, id: u32, from: Side) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        if std::mem::replace(&mut stream.ended[from.index()], true) {
            return;
        }
        let body = std::mem::take(&mut stream.bodies[from.index()]);
        let exchange = &mut self.exchanges[stream.exchange];
        put_body(exchange, from, body, true, &self.limits);
        if stream.ended == [true; 2] {
            self.streams.remove(&id);
        }
    }

    fn reset(&mut self, from: Side, id: u32, code: u32, span: Span) {
        let Some(mut stream) = self.streams.remove(&id) else { return };
        let exchange = &mut self.exchanges[stream.exchange];
        exchange.reset = Some(HttpReset { from, code, mark: span.readable });
        for side in [Side::Client, Side::Server] {
            if !stream.ended[side.index()] {
                let body = std::mem::take(&mut stream.bodies[side.index()]);
                put_body(exchange, side, body, false, &self.limits);
            }
        }
    }

    fn settings(&mut self, from: Side, settings: &[(u16, u32)]) {
        let slot = match from {
            Side::Client => &mut self.session.client_settings,
            Side::Server => &mut self.session.server_settings,
        };
        for &(id, value) in settings {
            match id {
                1 => slot.header_table_size = value,
                2 => slot.enable_push = value != 0,
                3 => slot.max_concurrent_streams = Some(value),
                4 => slot.initial_window_size = value,
                5 => slot.max_frame_size = value,
                6 => slot.max_header_list_size = Some(value),
                _ => {}
            }
        }
        // What one end announces limits the table of what it receives.
        let size = slot.header_table_size;
        self.sides[from.other().index()].hpack.allow(size);
    }

    fn note(&mut self, from: Side, head: &frames::Head, payload: &Payload<'_>, span: Span) {
        if self.session.frames.len() < self.limits.items {
            self.session.frames.push(Http2Frame {
                from,
                kind: frames::kind_name(head.kind),
                stream: head.stream,
                flags: head.flags,
                len: head.len,
                note: payload.say(head),
                span,
            });
        }
    }

    fn stop(&mut self, side: Side, why: &str) {
        let half = &mut self.sides[side.index()];
        half.stopped = true;
        half.buf = Vec::new();
        let who = if side == Side::Client { "client" } else { "server" };
        self.problem(&format!("HTTP/2 of the {who} was not read on: {why}"));
    }

    fn problem(&mut self, text: &str) {
        self.session.problem.get_or_insert_with(|| text.to_owned());
    }

    /// Puts what was read into the conversation.
    pub(crate) fn finish(mut self, into: &mut TcpConversation) {
        for (_, mut stream) in std::mem::take(&mut self.streams) {
            for side in [Side::Client, Side::Server] {
                if !stream.ended[side.index()] {
                    let body = std::mem::take(&mut stream.bodies[side.index()]);
                    put_body(&mut self.exchanges[stream.exchange], side, body, false, &self.limits);
                }
            }
        }
        self.session.calls = self.calls.into_values().map(Calling::finish).collect();
        into.problems.extend(self.session.problem.clone());
        into.http = self.exchanges;
        into.http2 = Some(self.session);
    }
}

fn put_body(exchange: &mut HttpExchange, side: Side, body: BodyBuilder, complete: bool, limits: &Limits) {
    match (side, &mut exchange.response) {
        (Side::Client, _) => {
            exchange.request.body = body.finish(&exchange.request.headers, limits);
            exchange.request.complete = complete;
        }
        (Side::Server, Some(response)) => {
            response.body = body.finish(&response.headers, limits);
            response.complete = complete;
        }
        (Side::Server, None) => {}
    }
}

/// Pseudo fields (RFC 9113, 8.3).
#[derive(Debug, Default)]
struct Pseudo {
    method: Option<String>,
    scheme: Option<String>,
    authority: Option<String>,
    path: Option<String>,
    status: Option<u16>,
}

fn split(fields: Vec<Field>) -> (Pseudo, Vec<HttpHeader>) {
    let mut pseudo = Pseudo::default();
    let mut headers = Vec::with_capacity(fields.len());
    for (name, value) in fields {
        let value = String::from_utf8_lossy(&value).into_owned();
        match name.as_slice() {
            b":method" => pseudo.method = Some(value),
            b":scheme" => pseudo.scheme = Some(value),
            b":authority" => pseudo.authority = Some(value),
            b":path" => pseudo.path = Some(value),
            b":status" => pseudo.status = value.parse().ok(),
            _ => headers.push(HttpHeader { name: String::from_utf8_lossy(&name).into_owned(), value }),
        }
    }
    (pseudo, headers)
}

#[cfg(test)]
mod tests;
