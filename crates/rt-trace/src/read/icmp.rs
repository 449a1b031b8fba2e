//! ICMP (RFC 792): echo with its reply, and errors with what they quote.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::Mark;

/// An echo request and its reply.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct IcmpExchange {
    /// Who asked.
    pub client: IpAddr,
    /// Who was asked.
    pub server: IpAddr,
    /// Whether the request left this node.
    pub outgoing: bool,
    /// Identifier.
    pub id: u16,
    /// Sequence number.
    pub seq: u16,
    /// Payload bytes.
    pub len: u32,
    /// TTL of the request as seen here.
    pub ttl: u8,
    /// The request.
    pub request: Mark,
    /// The reply.
    pub reply: Option<Mark>,
    /// TTL of the reply as seen here.
    pub reply_ttl: Option<u8>,
}

/// An ICMP error message.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct IcmpError {
    /// Where it was seen.
    pub mark: Mark,
    /// Whether it left this node.
    pub outgoing: bool,
    /// Who complains.
    pub from: IpAddr,
    /// To whom.
    pub to: IpAddr,
    /// ICMP type.
    pub kind: u8,
    /// ICMP code.
    pub code: u8,
    /// In words: `port unreachable`, `TTL exceeded in transit`.
    pub text: String,
    /// Next-hop MTU of "fragmentation needed" (RFC 1191).
    pub mtu: Option<u16>,
    /// The packet it is about.
    pub quoted: Option<QuotedPacket>,
}

/// The head of a packet quoted inside an ICMP error.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct QuotedPacket {
    /// IP protocol number.
    pub protocol: u8,
    /// Source; port 0 when the protocol has none.
    pub src: SocketAddr,
    /// Destination.
    pub dst: SocketAddr,
    /// IP identification.
    pub ip_id: u16,
}
