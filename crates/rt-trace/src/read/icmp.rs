//! ICMP (RFC 792): echo with its reply, and errors with what they quote.

use std::net::{IpAddr, SocketAddr};

use rt_wire::{Icmpv4, Ipv4Header, protocol};
use serde::{Deserialize, Serialize};

use super::packet::Packet;
use super::{Mark, NodeExchanges};

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

/// Echo requests that a later reply may still find.
const OPEN: usize = 4_096;

impl IcmpExchange {
    /// Takes an ICMP message; tells whether it is one that is shown.
    pub(crate) fn take(out: &mut NodeExchanges, packet: &Packet<'_>, mark: Mark, outgoing: bool) -> bool {
        let Ok((message, rest)) = Icmpv4::parse(&packet.payload) else { return false };
        match message {
            Icmpv4::EchoRequest { id, seq } => out.echo.push(IcmpExchange {
                client: packet.src,
                server: packet.dst,
                outgoing,
                id,
                seq,
                len: rest.len() as u32,
                ttl: packet.ttl,
                request: mark,
                reply: None,
                reply_ttl: None,
            }),
            Icmpv4::EchoReply { id, seq } => {
                let asked = out.echo.iter_mut().rev().take(OPEN).find(|e| {
                    (e.id, e.seq, e.server, e.client) == (id, seq, packet.src, packet.dst)
                        && e.reply.is_none()
                });
                let Some(asked) = asked else { return false };
                asked.reply = Some(mark);
                asked.reply_ttl = Some(packet.ttl);
            }
            other if other.is_error() => out.icmp_errors.push(error(&other, rest, packet, mark, outgoing)),
            _ => return false,
        }
        true
    }
}

fn error(message: &Icmpv4, rest: &[u8], packet: &Packet<'_>, mark: Mark, outgoing: bool) -> IcmpError {
    let (kind, code) = message.kind_and_code();
    let mtu = match message {
        Icmpv4::Unreachable { code: 4, mtu } => Some(*mtu),
        _ => None,
    };
    IcmpError {
        mark,
        outgoing,
        from: packet.src,
        to: packet.dst,
        kind,
        code,
        text: say(kind, code),
        mtu,
        quoted: quoted(rest),
    }
}

fn quoted(bytes: &[u8]) -> Option<QuotedPacket> {
    let (header, rest) = Ipv4Header::parse_unchecked(bytes).ok()?;
    let has_ports = matches!(header.protocol, protocol::TCP | protocol::UDP) && header.frag_offset == 0;
    let ports = rest.first_chunk::<4>().filter(|_| has_ports).copied().unwrap_or_default();
    let port = |at: usize| u16::from_be_bytes([ports[at], ports[at + 1]]);
    Some(QuotedPacket {
        protocol: header.protocol,
        src: SocketAddr::new(header.src.into(), port(0)),
        dst: SocketAddr::new(header.dst.into(), port(2)),
        ip_id: header.id,
    })
}

/// Type and code in words (RFC 792, RFC 1812).
fn say(kind: u8, code: u8) -> String {
    let text = match (kind, code) {
        (3, 0) => "network unreachable",
        (3, 1) => "host unreachable",
        (3, 2) => "protocol unreachable",
        (3, 3) => "port unreachable",
        (3, 4) => "fragmentation needed",
        (3, 9 | 10 | 13) => "administratively prohibited",
        (11, 0) => "TTL exceeded in transit",
        (11, 1) => "reassembly time exceeded",
        (4, _) => "source quench",
        (5, _) => "redirect",
        (12, _) => "parameter problem",
        _ => return format!("ICMP type {kind} code {code}"),
    };
    text.to_owned()
}
