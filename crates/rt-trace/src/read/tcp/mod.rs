//! TCP connections as seen at one node: who, how it opened and closed, each segment, and what was said inside.

mod conversation;
mod reassembly;

use std::net::SocketAddr;

use rt_base::FrameId;
use serde::{Deserialize, Serialize};

use super::{DnsExchange, Http2Session, HttpExchange, Mark, Side, TlsSession};

pub(crate) use conversation::{Conversation, TcpPacket};

/// One TCP connection as this node saw it (addresses before or after NAT, whichever side the node is on).
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct TcpConversation {
    /// The end that sent the SYN (or, when no SYN was seen, the one with the higher port).
    pub client: SocketAddr,
    /// The other end.
    pub server: SocketAddr,
    /// Whether the first frame seen left this node: on an end host, whether it is the client.
    pub outgoing: bool,
    /// The SYN. Its frame id is the same at both ends, whatever NAT did in between.
    pub syn: Option<SynFacts>,
    /// The SYN-ACK.
    pub syn_ack: Option<SynFacts>,
    /// The first ACK of the client after the SYN-ACK: the handshake is over.
    pub established: Option<Mark>,
    /// What the client sent.
    pub from_client: TcpDirection,
    /// What the server sent.
    pub from_server: TcpDirection,
    /// The first reset.
    pub reset: Option<TcpReset>,
    /// Every segment, in the order seen.
    pub segments: Vec<Segment>,
    /// What is spoken inside (inside TLS, if it is TLS).
    pub application: TcpApplication,
    /// The TLS session, if there is one.
    pub tls: Option<TlsSession>,
    /// The SSH connection, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh: Option<crate::read::SshSession>,
    /// HTTP exchanges in order of their requests; those inside a tunnel, if it became one.
    pub http: Vec<HttpExchange>,
    /// What was said to a proxy before the tunnel was open, the CONNECT that opened it last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tunnel: Vec<HttpExchange>,
    /// HTTP/2's own frames and settings.
    pub http2: Option<Http2Session>,
    /// What was said behind the last exchange, if that switched to WebSocket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub websocket: Option<Box<crate::read::WebSocketSession>>,
    /// DNS exchanges over TCP.
    pub dns: Vec<DnsExchange>,
    /// What could not be read and why, in words.
    pub problems: Vec<String>,
}

impl TcpConversation {
    /// The frame id of the SYN (the first one sent), by which two nodes' views of a connection join; `NONE` if not seen.
    #[must_use]
    pub fn syn_frame(&self) -> FrameId {
        self.syn.as_ref().map_or(FrameId::NONE, |s| s.mark.frame)
    }

    /// One direction.
    #[must_use]
    pub fn direction(&self, from: Side) -> &TcpDirection {
        match from {
            Side::Client => &self.from_client,
            Side::Server => &self.from_server,
        }
    }
}

/// What is spoken on a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TcpApplication {
    /// Nothing was said, or nothing that is known here.
    #[default]
    Unknown,
    /// TLS whose inside could not be read (no keys, or a suite that is not read).
    Sealed,
    /// HTTP/1.0 or HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
    /// DNS (RFC 7766).
    Dns,
    /// SSH (RFC 4253).
    Ssh,
}

/// A SYN or SYN-ACK and the options in it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SynFacts {
    /// The first one seen.
    pub mark: Mark,
    /// Later copies (retransmissions).
    pub again: Vec<Mark>,
    /// Initial sequence number.
    pub isn: u32,
    /// Window field as on the wire (not scaled).
    pub window: u16,
    /// Maximum segment size.
    pub mss: Option<u16>,
    /// Window scale shift.
    pub window_scale: Option<u8>,
    /// SACK permitted.
    pub sack_permitted: bool,
    /// Timestamps (RFC 7323).
    pub timestamps: bool,
    /// Bytes of the Fast Open cookie (RFC 7413); 0 where a client asks for one.
    #[serde(default)]
    pub fast_open: Option<u8>,
    /// The first of the later copies that went without the Fast Open option of the first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fast_open_dropped: Option<Mark>,
    /// Flags byte, as in [`Segment::flags`].
    #[serde(default)]
    pub flags: u8,
    /// Acknowledgement number on the wire (meaningless without the ACK flag).
    #[serde(default)]
    pub ack: u32,
}

/// What one end sent.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct TcpDirection {
    /// Segments seen, with or without payload.
    pub segments: u64,
    /// Bytes of the stream that are there without a hole.
    pub bytes: u64,
    /// Payload bytes carried a second time or more.
    pub repeated_bytes: u64,
    /// Bytes that came again with another content (an attack, or a broken sender).
    pub conflicting_bytes: u64,
    /// Bytes beyond a hole that was never filled.
    pub beyond_hole: u64,
    /// First segment with payload.
    pub first_data: Option<Mark>,
    /// Last segment with new payload.
    pub last_data: Option<Mark>,
    /// The first FIN.
    pub fin: Option<Mark>,
    /// The first segment of the other end that acknowledges the FIN.
    pub fin_acked: Option<Mark>,
}

/// A reset.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TcpReset {
    /// Who sent it.
    pub from: Side,
    /// Where it was seen.
    pub mark: Mark,
}

/// One segment as seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Segment {
    /// Where it was seen.
    pub mark: Mark,
    /// Who sent it.
    pub from: Side,
    /// Sequence number on the wire.
    pub seq: u32,
    /// Acknowledgement number on the wire (meaningless without the ACK flag).
    pub ack: u32,
    /// Flags byte: FIN 1, SYN 2, RST 4, PSH 8, ACK 16, URG 32, ECE 64, CWR 128.
    pub flags: u8,
    /// Window field as on the wire.
    pub window: u16,
    /// Stream offset of the first payload byte (0 is the first byte after the SYN).
    pub offset: u64,
    /// Payload bytes.
    pub len: u32,
    /// How it fits into the stream.
    pub kind: SegmentKind,
}

/// How a segment fits into what was there before.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SegmentKind {
    /// No payload: SYN, FIN, RST or a bare ACK.
    Control,
    /// New bytes, next in order.
    InOrder,
    /// New bytes beyond a hole.
    BeyondHole,
    /// New bytes that fill a hole, wholly or in part.
    FillsHole,
    /// Nothing new: all bytes were there.
    Repeated,
    /// Some bytes were there, some are new.
    Overlap,
    /// Outside any plausible window; not taken into the stream.
    Implausible,
}
