//! Reads requests from bytes: from the frames seen at one node and the key log to typed exchanges.
//!
//! For: TCP conversations with their segments, TLS handshakes with what each message carries, HTTP/1.1 and HTTP/2
//! exchanges, DNS, DHCP, ARP and ICMP, each part with the frame and the time that carried it. The same code reads the
//! frames of a simulated host, of a real curl in an attached run and of a foreign capture: nothing here assumes that a
//! frame came from our simulator ([`rt_base::FrameId::NONE`] is fine).
//!
//! Not for: joining what two nodes saw (that is `rt-trace`'s story) or reading capture files (`rt-files`).
//!
//! The main entry is [`read_node`]; [`NodeReader`] is the same fed frame by frame.
//!
//! Hostile input: every reader here is bounded ([`Limits`]) and never panics; what cannot be read is said in a
//! `problems` list, never guessed. Deliberate simplifications: QUIC, WebSocket extensions, TLS CBC and CCM suites, zstd bodies and
//! IPv6 extension headers other than none are not read (reported as sealed or unknown); a capture that starts in the
//! middle of a connection gives segments and byte counts but no exchanges of HTTP/2 (HPACK needs the start).

mod app;
mod arp;
mod dhcp;
mod dns;
mod http;
mod icmp;
mod limits;
mod mark;
mod node;
mod packet;
mod ssh;
mod tcp;
mod tls;
mod udp;
mod websocket;

pub use arp::ArpExchange;
pub use dhcp::{DhcpExchange, DhcpMessage, DhcpOptionText};
pub use dns::{DnsAnswer, DnsExchange, DnsOutcome, DnsQuestion, DnsRecord, DnsTransport};
pub(crate) use http::show_fields;
pub use http::{
    Body, GrpcCall, GrpcMessage, GrpcStatus, Http2Frame, Http2Session, Http2Settings, HttpExchange,
    HttpHeader, HttpReset, HttpVersion, InterimResponse, ProtoField, ProtoValue, Request, Response,
};
pub use icmp::{IcmpError, IcmpExchange, QuotedPacket};
pub use limits::Limits;
pub use mark::{Mark, Side, Span};
pub use node::{NodeReader, SeenFrame, read_node};
pub use ssh::{SshChannel, SshMessage, SshSession};
pub use tcp::{Segment, SegmentKind, SynFacts, TcpApplication, TcpConversation, TcpDirection, TcpReset};
pub use tls::{
    CertificateInfo, EarlyData, Secrets, TlsDirection, TlsMessage, TlsMessageKind, TlsSession, TlsVersion,
};
pub use udp::{Datagram, UdpConversation};
pub(crate) use websocket::accept as websocket_accept;
pub use websocket::{WebSocketFrame, WebSocketSession};

use serde::{Deserialize, Serialize};

/// Everything that was read from the frames at one node, each list in order of its first frame.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct NodeExchanges {
    /// TCP connections.
    pub tcp: Vec<TcpConversation>,
    /// UDP conversations that are not DHCP (DNS ones carry their exchanges).
    pub udp: Vec<UdpConversation>,
    /// DHCP exchanges by transaction id.
    pub dhcp: Vec<DhcpExchange>,
    /// ARP questions with their answers, announcements and probes.
    pub arp: Vec<ArpExchange>,
    /// Echo requests with their replies.
    pub echo: Vec<IcmpExchange>,
    /// ICMP errors.
    pub icmp_errors: Vec<IcmpError>,
    /// Frames given in.
    pub frames: u64,
    /// Frames that belong to none of the above, or whose headers could not be read.
    pub unread_frames: u64,
    /// What could not be read or was cut off by a limit, in words.
    pub problems: Vec<String>,
}

#[cfg(test)]
mod tests;
