//! gRPC on HTTP/2 streams: messages behind their five bytes, what is in them as far as the wire tells (field numbers and wire
//! types), deadlines, and the status in the trailers.
//!
//! Not for names of fields: those are in `.proto` files that no packet carries. Simplification: bytes that are no text are taken
//! for a message inside when they can be read as one to the end, with small field numbers in order as serialisers write them;
//! a few bytes of anything else can look like that too.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::HttpHeader;
use crate::read::{Mark, Side, Span};

/// Bytes in front of a message: a flag and the length.
const HEAD: usize = 5;
/// Messages listed per call.
const LISTED: usize = 256;
/// Bytes of a message that are looked at.
const LOOKED_AT: usize = 4_096;
/// Fields listed per message, those inside counted too.
const FIELDS: usize = 32;
/// The largest field number of what is taken for a message inside.
const PLAUSIBLE: u32 = 100;
/// Messages inside messages that are looked into.
const DEEPEST: u8 = 3;

/// A call on a stream.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct GrpcCall {
    /// HTTP/2 stream.
    pub stream: u32,
    /// `work.Worker`.
    pub service: String,
    /// `Compute`.
    pub method: String,
    /// `grpc-timeout` as on the wire.
    pub timeout: Option<String>,
    /// The first messages of both sides, in the order in which they were whole.
    pub messages: Vec<GrpcMessage>,
    /// Messages of the client and of the server.
    pub count: [u64; 2],
    /// Their bytes, without the five before each.
    pub bytes: [u64; 2],
    /// The status, if one came.
    pub status: Option<GrpcStatus>,
    /// What does not fit.
    pub problem: Option<String>,
}

/// A message.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct GrpcMessage {
    /// Who sent it.
    pub from: Side,
    /// Whether its flag says that it is compressed.
    pub compressed: bool,
    /// Its length.
    pub len: u32,
    /// The DATA frames that carried it.
    pub span: Span,
    /// Its first fields; empty when it is compressed or no protobuf.
    pub fields: Vec<ProtoField>,
}

/// One field of a message.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ProtoField {
    /// Its number.
    pub number: u32,
    /// Its value.
    pub value: ProtoValue,
}

/// What a field holds, by its wire type.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProtoValue {
    /// A number.
    Varint(u64),
    /// Eight bytes.
    Fixed64(u64),
    /// Four bytes.
    Fixed32(u32),
    /// Bytes that are text.
    Text(String),
    /// Bytes that are no text: how many.
    Bytes(u64),
    /// Bytes that are a message.
    Message(Vec<ProtoField>),
}

/// How a call ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GrpcStatus {
    /// `grpc-status`.
    pub code: u32,
    /// `grpc-message`, decoded.
    pub message: String,
    /// Whether it came in the only header block of the response.
    pub trailers_only: bool,
    /// When it could be read.
    pub mark: Mark,
}

impl fmt::Display for ProtoField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.number)?;
        match &self.value {
            ProtoValue::Varint(n) | ProtoValue::Fixed64(n) => write!(f, "{n}"),
            ProtoValue::Fixed32(n) => write!(f, "{n}"),
            ProtoValue::Text(text) => write!(f, "{text:?}"),
            ProtoValue::Bytes(n) => write!(f, "{n} bytes"),
            ProtoValue::Message(fields) => f.write_str(&show_fields(fields)),
        }
    }
}

/// `{1: 7, 2: 20, 3: 100 bytes}`.
pub(crate) fn show_fields(fields: &[ProtoField]) -> String {
    let all: Vec<String> = fields.iter().map(ToString::to_string).collect();
    format!("{{{}}}", all.join(", "))
}

/// A call while it goes on.
#[derive(Debug)]
pub(super) struct Calling {
    call: GrpcCall,
    sides: [Framer; 2],
}

/// The messages of one side.
#[derive(Debug, Default)]
struct Framer {
    head: Vec<u8>,
    /// Bytes of the message that are missing.
    missing: u32,
    start: Vec<u8>,
    span: Option<Span>,
}

impl Calling {
    /// If a request is one of gRPC.
    pub(super) fn of(stream: u32, path: &str, headers: &[HttpHeader]) -> Option<Calling> {
        let field = |name: &str| headers.iter().find(|h| h.name == name).map(|h| h.value.as_str());
        let kind = field("content-type")?.strip_prefix("application/grpc")?;
        if !(kind.is_empty() || kind.starts_with(['+', ';'])) {
            return None;
        }
        let (service, method) = path.trim_start_matches('/').rsplit_once('/').unwrap_or((path, ""));
        let call = GrpcCall {
            stream,
            service: service.to_owned(),
            method: method.to_owned(),
            timeout: field("grpc-timeout").map(str::to_owned),
            messages: Vec::new(),
            count: [0; 2],
            bytes: [0; 2],
            status: None,
            problem: None,
        };
        Some(Calling { call, sides: Default::default() })
    }

    /// The next bytes of one side.
    pub(super) fn data(&mut self, from: Side, mut bytes: &[u8], span: Span) {
        let framer = &mut self.sides[from.index()];
        while !bytes.is_empty() {
            framer.span = Some(framer.span.map_or(span, |s| s.to(span)));
            if framer.head.len() < HEAD {
                let (head, rest) = bytes.split_at(bytes.len().min(HEAD - framer.head.len()));
                framer.head.extend_from_slice(head);
                bytes = rest;
                let &[_, a, b, c, d] = framer.head.as_slice() else { continue };
                framer.missing = u32::from_be_bytes([a, b, c, d]);
            }
            let take = bytes.len().min(framer.missing as usize);
            let (message, rest) = bytes.split_at(take);
            let room = LOOKED_AT.saturating_sub(framer.start.len());
            framer.start.extend_from_slice(&message[..take.min(room)]);
            framer.missing -= take as u32;
            bytes = rest;
            if framer.missing == 0 {
                framer.close(from, &mut self.call);
            }
        }
    }

    /// A header block of the server: the status, if it has one.
    pub(super) fn fields(&mut self, headers: &[HttpHeader], only: bool, span: Span) {
        let field = |name: &str| headers.iter().find(|h| h.name == name).map(|h| h.value.as_str());
        let Some(code) = field("grpc-status") else { return };
        let Ok(code) = code.parse() else {
            self.call.problem = Some("grpc-status is no number".into());
            return;
        };
        let message = unescape(field("grpc-message").unwrap_or_default());
        self.call.status = Some(GrpcStatus { code, message, trailers_only: only, mark: span.readable });
    }

    pub(super) fn finish(mut self) -> GrpcCall {
        let open = self.sides.iter().any(|side| !side.head.is_empty());
        if open && self.call.problem.is_none() {
            self.call.problem = Some("a message is not whole".into());
        }
        self.call
    }
}

impl Framer {
    fn close(&mut self, from: Side, call: &mut GrpcCall) {
        let Framer { head, start, span, .. } = std::mem::take(self);
        let (Some(&[flag, a, b, c, d]), Some(span)) = (head.first_chunk::<HEAD>(), span) else { return };
        let len = u32::from_be_bytes([a, b, c, d]);
        call.count[from.index()] += 1;
        call.bytes[from.index()] += u64::from(len);
        if call.messages.len() < LISTED {
            let readable = flag == 0 && start.len() == len as usize;
            let mut left = FIELDS;
            let fields = if readable { message(&start, DEEPEST, &mut left) } else { None };
            let fields = fields.unwrap_or_default();
            call.messages.push(GrpcMessage { from, compressed: flag != 0, len, span, fields });
        }
    }
}

/// The fields of a message; `None` if it is none. At most `left` are listed.
fn message(mut bytes: &[u8], depth: u8, left: &mut usize) -> Option<Vec<ProtoField>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        let number = u32::try_from(tag >> 3).ok().filter(|n| (1..1 << 29).contains(n))?;
        let value = match tag & 7 {
            0 => ProtoValue::Varint(varint(&mut bytes)?),
            1 => ProtoValue::Fixed64(u64::from_le_bytes(*take(&mut bytes, 8)?.first_chunk()?)),
            2 => {
                let len = usize::try_from(varint(&mut bytes)?).ok()?;
                inside(take(&mut bytes, len)?, depth, left)
            }
            5 => ProtoValue::Fixed32(u32::from_le_bytes(*take(&mut bytes, 4)?.first_chunk()?)),
            _ => return None,
        };
        if *left > 0 {
            *left -= 1;
            fields.push(ProtoField { number, value });
        }
    }
    Some(fields)
}

fn inside(bytes: &[u8], depth: u8, left: &mut usize) -> ProtoValue {
    let is_text = |text: &&str| text.len() <= 64 && !text.contains(char::is_control);
    if let Some(text) = std::str::from_utf8(bytes).ok().filter(is_text) {
        return ProtoValue::Text(text.to_owned());
    }
    let fields = if depth > 0 { message(bytes, depth - 1, left) } else { None };
    let plausible = |fields: &Vec<ProtoField>| {
        fields.iter().all(|f| f.number <= PLAUSIBLE) && fields.is_sorted_by_key(|f| f.number)
    };
    fields.filter(plausible).map_or(ProtoValue::Bytes(bytes.len() as u64), ProtoValue::Message)
}

fn take<'b>(bytes: &mut &'b [u8], len: usize) -> Option<&'b [u8]> {
    let (head, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(head)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Undoes the percent-encoding of `grpc-message`; what cannot be undone stays.
fn unescape(text: &str) -> String {
    let (mut out, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((&byte, tail)) = rest.split_first() {
        let hex = tail.first_chunk::<2>().filter(|_| byte == b'%');
        let value = hex.and_then(|h| u8::from_str_radix(std::str::from_utf8(h).ok()?, 16).ok());
        out.push(value.unwrap_or(byte));
        rest = if value.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(name: &str, value: &str) -> HttpHeader {
        HttpHeader { name: name.into(), value: value.into() }
    }

    fn calling(kind: &str) -> Option<Calling> {
        Calling::of(
            5,
            "/work.Worker/Compute",
            &[header("content-type", kind), header("grpc-timeout", "150m")],
        )
    }

    fn read(bytes: &[u8], piece: usize) -> GrpcCall {
        let mut calling = calling("application/grpc").unwrap();
        for part in bytes.chunks(piece) {
            calling.data(Side::Client, part, Span::default());
        }
        let fields = [header("grpc-status", "8"), header("grpc-message", "no room%20%E2%82%AC %4")];
        calling.fields(&fields, false, Span::default());
        calling.finish()
    }

    #[test]
    fn messages_fields_and_status() {
        let inner = [0, 0, 0, 0, 9, 8, 150, 1, 26, 4, 8, 1, 16, 2];
        for piece in [1, 3, 1000] {
            let call = read(&[&inner[..], &[1, 0, 0, 0, 2, 0xff, 0xff], &[0, 0, 0, 0, 0]].concat(), piece);
            let shown: Vec<String> = call.messages.iter().map(|m| show_fields(&m.fields)).collect();
            assert_eq!(shown, ["{1: 150, 3: {1: 1, 2: 2}}", "{}", "{}"]);
            assert_eq!(inside(&[16, 2, 8, 1, 0xff, 0xff, 1], 1, &mut 9), ProtoValue::Bytes(7));
            assert_eq!((call.count, call.bytes, call.messages[1].compressed), ([3, 0], [11, 0], true));
            let status = call.status.unwrap();
            assert_eq!((status.code, status.message.as_str()), (8, "no room € %4"));
            assert_eq!((call.service.as_str(), call.method.as_str()), ("work.Worker", "Compute"));
            assert_eq!((call.timeout.as_deref(), call.problem), (Some("150m"), None));
        }
        assert_eq!(read(&inner[..7], 2).problem.as_deref(), Some("a message is not whole"));
    }

    #[test]
    fn other_content_is_none_of_it() {
        assert!(calling("application/grpc+proto").is_some());
        assert!(calling("application/grpc-web").is_none());
        assert!(calling("application/json").is_none());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_within_bounds(bytes in prop::collection::vec(any::<u8>(), 0..600), piece in 1usize..50) {
            let call = read(&bytes, piece);
            prop_assert!(call.messages.len() <= LISTED);
            for message in &call.messages {
                prop_assert!(message.fields.len() <= FIELDS);
            }
        }

        #[test]
        fn pieces_make_no_difference(bytes in prop::collection::vec(any::<u8>(), 0..200), piece in 1usize..50) {
            prop_assert_eq!(read(&bytes, piece), read(&bytes, 1000));
        }
    }
}
