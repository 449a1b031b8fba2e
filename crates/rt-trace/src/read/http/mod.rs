//! HTTP exchanges: request, response, bodies, each with the frames that carried it.

mod body;
mod frames;
mod grpc;
mod h1;
mod h2;
mod hpack;
mod huffman;

pub(crate) use grpc::show_fields;
pub use grpc::{GrpcCall, GrpcMessage, GrpcStatus, ProtoField, ProtoValue};
pub(crate) use h1::{Behind, H1, Pieces};
pub(crate) use h2::H2;
use serde::{Deserialize, Serialize};

use super::{Mark, Side, Span};

/// A request and its response on one connection.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct HttpExchange {
    /// HTTP version.
    pub version: HttpVersion,
    /// Number of the request on its connection, from 0.
    pub ordinal: u32,
    /// HTTP/2 stream id; 0 in HTTP/1.
    pub stream: u32,
    /// The request.
    pub request: Request,
    /// Responses 1xx before the final one.
    pub interim: Vec<InterimResponse>,
    /// The final response.
    pub response: Option<Response>,
    /// HTTP/2: the stream was reset.
    pub reset: Option<HttpReset>,
}

impl HttpExchange {
    /// The absolute URL as far as the request tells it.
    #[must_use]
    pub fn url(&self, tls: bool) -> String {
        let target = &self.request.target;
        if target.contains("://") || self.request.method == "CONNECT" {
            return target.clone();
        }
        let scheme = match self.request.scheme.as_deref() {
            Some(scheme) => scheme,
            None if tls => "https",
            None => "http",
        };
        format!("{scheme}://{}{target}", self.request.authority.as_deref().unwrap_or(""))
    }
}

/// HTTP version of an exchange.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum HttpVersion {
    /// HTTP/1.0.
    #[serde(rename = "HTTP/1.0")]
    Http10,
    /// HTTP/1.1.
    #[serde(rename = "HTTP/1.1")]
    Http11,
    /// HTTP/2.
    #[serde(rename = "HTTP/2")]
    Http2,
}

impl HttpVersion {
    /// `HTTP/1.0`, `HTTP/1.1` or `HTTP/2`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            HttpVersion::Http10 => "HTTP/1.0",
            HttpVersion::Http11 => "HTTP/1.1",
            HttpVersion::Http2 => "HTTP/2",
        }
    }
}

/// One header field. Bytes that are not UTF-8 are replaced.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HttpHeader {
    /// Name as on the wire.
    pub name: String,
    /// Value.
    pub value: String,
}

/// A request.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Request {
    /// `GET`, `POST`...
    pub method: String,
    /// Request target as on the wire: `/`, `/search?q=x`.
    pub target: String,
    /// `:scheme`, HTTP/2 only.
    pub scheme: Option<String>,
    /// `:authority` or the Host field.
    pub authority: Option<String>,
    /// Fields in order, pseudo fields not among them.
    pub headers: Vec<HttpHeader>,
    /// The bytes of the head on the wire.
    pub head: Span,
    /// Bytes of the head as HTTP framed it (HTTP/1: with the empty line; HTTP/2: header block without frame heads).
    pub head_bytes: u64,
    /// The body.
    pub body: Body,
    /// Whether the whole request was seen.
    pub complete: bool,
}

/// A final response.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Reason phrase, HTTP/1 only.
    pub reason: String,
    /// Fields in order, pseudo fields not among them.
    pub headers: Vec<HttpHeader>,
    /// The bytes of the head on the wire.
    pub head: Span,
    /// Bytes of the head as HTTP framed it.
    pub head_bytes: u64,
    /// The body.
    pub body: Body,
    /// Trailer fields.
    pub trailers: Vec<HttpHeader>,
    /// Whether the whole response was seen.
    pub complete: bool,
}

/// A response 1xx.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct InterimResponse {
    /// Status code.
    pub status: u16,
    /// Its bytes.
    pub head: Span,
}

/// A message body.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Body {
    /// From the first to the last byte on the wire; `None` without a body.
    pub span: Option<Span>,
    /// Bytes as transferred: after chunk or frame removal, before decompression.
    pub encoded_bytes: u64,
    /// Bytes after decompression; the same as `encoded_bytes` without a content coding.
    pub decoded_bytes: u64,
    /// Content codings in the order applied: `gzip`, `br`, `deflate`.
    pub codings: Vec<String>,
    /// The decoded bytes, at most [`super::Limits::body`]; not serialised.
    #[serde(skip)]
    pub content: Vec<u8>,
    /// Whether `content` is shorter than the body.
    pub cut: bool,
    /// Why decoding failed.
    pub problem: Option<String>,
}

/// The end of a stream by RST_STREAM.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HttpReset {
    /// Who reset it.
    pub from: Side,
    /// Error code (RFC 9113, 7).
    pub code: u32,
    /// Where.
    pub mark: Mark,
}

/// What HTTP/2 says beside the exchanges.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Http2Session {
    /// The client's last settings.
    pub client_settings: Http2Settings,
    /// The server's last settings.
    pub server_settings: Http2Settings,
    /// Every frame, in the order seen.
    pub frames: Vec<Http2Frame>,
    /// Calls of gRPC, in the order of their requests.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<GrpcCall>,
    /// Why reading stopped, if it did.
    pub problem: Option<String>,
}

/// SETTINGS of one end (RFC 9113, 6.5.2) with the protocol's initial values.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Http2Settings {
    /// SETTINGS_HEADER_TABLE_SIZE.
    pub header_table_size: u32,
    /// SETTINGS_ENABLE_PUSH.
    pub enable_push: bool,
    /// SETTINGS_MAX_CONCURRENT_STREAMS; `None` is unlimited.
    pub max_concurrent_streams: Option<u32>,
    /// SETTINGS_INITIAL_WINDOW_SIZE.
    pub initial_window_size: u32,
    /// SETTINGS_MAX_FRAME_SIZE.
    pub max_frame_size: u32,
    /// SETTINGS_MAX_HEADER_LIST_SIZE; `None` is unlimited.
    pub max_header_list_size: Option<u32>,
}

impl Default for Http2Settings {
    fn default() -> Http2Settings {
        Http2Settings {
            header_table_size: 4_096,
            enable_push: true,
            max_concurrent_streams: None,
            initial_window_size: 65_535,
            max_frame_size: 16_384,
            max_header_list_size: None,
        }
    }
}

/// One HTTP/2 frame.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Http2Frame {
    /// Who sent it.
    pub from: Side,
    /// `DATA`, `HEADERS`, `SETTINGS`, ..., `TYPE 99`.
    pub kind: String,
    /// Stream id; 0 for the connection.
    pub stream: u32,
    /// Flags byte.
    pub flags: u8,
    /// Payload bytes.
    pub len: u32,
    /// What it says in a few words: `ack`, `window +65535`, `END_STREAM`, the settings.
    pub note: String,
    /// Its bytes.
    pub span: Span,
}
