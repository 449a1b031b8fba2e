//! DNS messages (RFC 1035) over UDP and TCP: each query with its response, in words.

mod message;
mod table;

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::{Mark, Span};
pub(crate) use table::{DnsEnds, DnsStream, DnsTable};

/// A query and, if it came, its response.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct DnsExchange {
    /// UDP or TCP.
    pub transport: DnsTransport,
    /// Who asks.
    pub client: SocketAddr,
    /// Who is asked.
    pub server: SocketAddr,
    /// Whether the query left this node.
    pub outgoing: bool,
    /// Message id.
    pub id: u16,
    /// What is asked (one in practice).
    pub questions: Vec<DnsQuestion>,
    /// Whether recursion is desired (RD).
    pub recursion_desired: bool,
    /// UDP payload size the client offers by EDNS (RFC 6891).
    pub edns_size: Option<u16>,
    /// The query's bytes; `None` when only the response was seen.
    pub query: Option<Span>,
    /// Later copies of the same query (same addresses, id and question).
    pub again: Vec<Mark>,
    /// The response.
    pub answer: Option<DnsAnswer>,
}

/// Over what a DNS message travelled.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DnsTransport {
    /// One datagram.
    Udp,
    /// Length-prefixed in a stream.
    Tcp,
}

/// One question.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DnsQuestion {
    /// The name without the final dot (`.` for the root).
    pub name: String,
    /// `A`, `AAAA`, `MX`...
    pub rtype: String,
}

/// A response.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DnsAnswer {
    /// Its bytes.
    pub span: Span,
    /// Response code.
    pub rcode: u8,
    /// Response code in words: `NOERROR`, `NXDOMAIN`.
    pub rcode_name: String,
    /// What it amounts to.
    pub outcome: DnsOutcome,
    /// AA: from the zone's own server.
    pub authoritative: bool,
    /// TC: cut off, ask again over TCP.
    pub truncated: bool,
    /// RA: the server walks the tree for its clients.
    pub recursion_available: bool,
    /// Answer section.
    pub answers: Vec<DnsRecord>,
    /// Authority section.
    pub authority: Vec<DnsRecord>,
    /// Additional section (without the EDNS pseudo record).
    pub additional: Vec<DnsRecord>,
}

/// What a response amounts to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DnsOutcome {
    /// Records that answer the question.
    Answer,
    /// "Ask these servers": no answer, not authoritative, NS records in the authority section.
    Referral,
    /// The name exists, this type does not.
    NoData,
    /// No such name.
    NxDomain,
    /// Cut off.
    Truncated,
    /// SERVFAIL, REFUSED and other errors.
    Failure,
}

/// One resource record in words.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DnsRecord {
    /// Owner name without the final dot (`.` for the root).
    pub name: String,
    /// `A`, `NS`, `CNAME`...
    pub rtype: String,
    /// Time to live, seconds.
    pub ttl: u32,
    /// The data as a zone file writes it: `142.250.190.46`, `ns1.google.com`.
    pub data: String,
}
