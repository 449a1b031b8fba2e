//! The story as data: what `story.json` holds and every view draws. Versioned; its JSON Schema is made from these types.
//!
//! Times are whole nanoseconds of virtual time since the start of the run, spans whole nanoseconds. Everything that is
//! said in prose stands in a [`Line`] with a stable machine code underneath.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::tables::NatTable;

/// Version of this format: raised whenever a field changes its meaning or goes away.
pub const STORY_VERSION: u32 = 1;

/// The story of a run.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Story {
    /// [`STORY_VERSION`].
    pub version: u32,
    /// Short name of the scenario.
    pub scenario: String,
    /// One line about it.
    pub about: String,
    /// The scenario's file.
    pub file: String,
    /// The run's seed.
    pub seed: u64,
    /// Whether everything that happened was kept.
    pub complete: bool,
    /// What happened before the first step: machines get their addresses.
    pub prologue: Vec<Chapter>,
    /// What people did.
    pub steps: Vec<StepStory>,
    /// What the timeline did to the network.
    pub timeline: Vec<Line>,
    /// What each machine wrote into its NAT table, over the whole run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nat: Vec<NatTable>,
}

/// One step and everything that came of it.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct StepStory {
    /// From 1.
    pub number: u32,
    /// As written.
    pub text: String,
    /// Where it was written.
    pub origin: String,
    /// Who did it.
    pub node: String,
    /// Whether it ended (a run may end first).
    pub ended: bool,
    /// Whether it reached its aim.
    pub ok: bool,
    /// One line: `200 HTTP/2, 41.2 kB` or the error.
    pub summary: String,
    /// For a failure: what happened, in sentences.
    pub outcome: Vec<Line>,
    /// What it measured, in the order in which a person would read it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub figures: Vec<FigureStory>,
    /// Start.
    pub start_ns: u64,
    /// End.
    pub end_ns: u64,
    /// End minus start.
    pub duration_ns: u64,
    /// What happened, in order.
    pub chapters: Vec<Chapter>,
    /// Requests that a person would count, numbered through the whole story.
    pub requests: Vec<RequestStory>,
    /// Name look-ups.
    pub lookups: Vec<LookupStory>,
    /// TCP connections used.
    pub connections: Vec<ConnectionStory>,
    /// Losses, retransmissions, ICMP errors, drops and cuts during the step.
    pub trouble: Vec<Line>,
    /// What TCP waited for while it had data to send.
    pub waits: Vec<Line>,
    /// Where the time went.
    pub budget: BudgetStory,
    /// Against an earlier step that asked for the same.
    pub saved: Option<Saved>,
}

/// One measured result of a step.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct FigureStory {
    /// Its name, as expectations use it: `latency-median`.
    pub name: String,
    /// How much.
    pub value: u64,
    /// Of what: `ns`, `count`, `bytes`, `bit/s`, `ppm`.
    pub unit: String,
    /// For people: `40.2 ms`.
    pub text: String,
}

/// One part of a step's story.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Chapter {
    /// `address`, `dns`, `connect`, `tls`, `http`, `resources`, `page`, `close`, `echo`, `probe`.
    pub code: String,
    /// What is done, in words: `find the address`.
    pub title: String,
    /// To what: `google.com`.
    pub subject: String,
    /// Start.
    pub start_ns: u64,
    /// End.
    pub end_ns: u64,
    /// A remark beside the time: `1 round trip`.
    pub remark: String,
    /// For a reader new to this: what it is and why it is needed.
    pub explain: String,
    /// What happened.
    pub lines: Vec<Line>,
}

/// One fact with a sentence on top.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Line {
    /// Stable machine code: `nat.snat`, `dns.referral`, `cache.hit`.
    pub code: String,
    /// When, if it is one moment.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub at_ns: Option<u64>,
    /// Where, if on one machine.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub node: String,
    /// What it is about, in a word or two.
    pub label: String,
    /// The sentence.
    pub text: String,
    /// At the margin: a time, or where the rule is written.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub margin: String,
    /// How deep it is nested.
    pub depth: u8,
    /// The packet concerned, numbered as in `follow`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub packet: Option<u32>,
    /// Exact values by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub data: BTreeMap<String, String>,
}

/// A request that a person would count: a page, a resource, a POST, a ping, a look-up, a probe.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct RequestStory {
    /// Through the whole story, from 1.
    pub number: u32,
    /// The number of the request that made it necessary.
    pub parent: Option<u32>,
    /// `page`, `subresource`, `lookup`, `probe`.
    pub kind: String,
    /// `GET`, `POST`, `A`.
    pub method: String,
    /// URL or name.
    pub target: String,
    /// Start.
    pub start_ns: u64,
    /// End.
    pub end_ns: u64,
    /// Status code, RCODE or 0.
    pub status: u16,
    /// Whether it succeeded in its own terms.
    pub ok: bool,
    /// One line about the end.
    pub note: String,
    /// `HTTP/2`, `HTTP/1.1`, `DNS`.
    pub protocol: String,
    /// Index into the step's connections.
    pub connection: Option<u32>,
    /// Whether that connection was there before.
    pub reused: bool,
    /// HTTP/2 stream.
    pub stream: u32,
    /// Body bytes as the application got them.
    pub body_bytes: u64,
    /// Body bytes on the wire, before decompression.
    pub transferred_bytes: u64,
    /// Bytes of the head of the response on the wire.
    pub head_bytes: u64,
    /// What the caches said: `hit`, `revalidated`, `miss`, empty when none was asked.
    pub cache: String,
    /// Fields of the request.
    pub request_headers: Vec<Field>,
    /// Fields of the response.
    pub response_headers: Vec<Field>,
    /// How the time was spent, as HAR has it.
    pub timings: Timings,
    /// What the proxy did, if one answered.
    pub upstream: Option<super::UpstreamStory>,
    /// How much longer it could have taken without making the step longer.
    pub slack_ns: u64,
    /// Its packets, in the order in which they were first sent.
    pub packets: Vec<PacketStory>,
    /// Packets that are not listed because there are too many.
    pub packets_left_out: u32,
}

/// A header field.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Field {
    /// Name.
    pub name: String,
    /// Value.
    pub value: String,
}

/// The parts of a request's time, HAR 1.2 fashion. Absent parts did not happen; the present ones add up to the whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Timings {
    /// Waiting for its turn.
    pub blocked_ns: u64,
    /// Finding the address.
    pub dns_ns: Option<u64>,
    /// Opening the connection (without TLS).
    pub connect_ns: Option<u64>,
    /// Agreeing on secrets.
    pub tls_ns: Option<u64>,
    /// Sending the request.
    pub send_ns: u64,
    /// Waiting for the first byte of the answer.
    pub wait_ns: u64,
    /// Receiving the answer.
    pub receive_ns: u64,
}

/// A name look-up.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct LookupStory {
    /// The name.
    pub name: String,
    /// `A`, `MX`.
    pub rtype: String,
    /// Start.
    pub start_ns: u64,
    /// End.
    pub end_ns: u64,
    /// Whether it found anything.
    pub ok: bool,
    /// Caches asked, in order: (cache, outcome).
    pub caches: Vec<Field>,
    /// The resolver's name.
    pub resolver: String,
    /// Asked from and to.
    pub question: Option<Ends>,
    /// Referrals and answers that the resolver got on its walk.
    pub walk: Vec<ReferralStory>,
    /// The answer's data.
    pub answer: Vec<String>,
    /// Response code.
    pub rcode: String,
    /// How often it was asked again.
    pub retries: u32,
}

/// Two socket addresses.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Ends {
    /// From.
    pub from: String,
    /// To.
    pub to: String,
}

/// One question of a resolver on its walk down the tree.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct ReferralStory {
    /// The server's machine.
    pub server: String,
    /// Its address.
    pub address: String,
    /// What it said.
    pub said: String,
    /// Sent.
    pub start_ns: u64,
    /// Answered.
    pub end_ns: u64,
}

/// A TCP connection.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct ConnectionStory {
    /// Through the whole run, from 1, in the order of the first SYNs (forged ones behind all others): what `plot` and `follow --connection` take.
    pub number: u32,
    /// The machine that opened it.
    pub client: String,
    /// The machine at the other end.
    pub server: String,
    /// Addresses as the client sees them.
    pub ends: Ends,
    /// Addresses as the server sees them.
    pub seen_by_server: Option<Ends>,
    /// First segment.
    pub start_ns: u64,
    /// Last segment at either end; what is left of TIME-WAIT after it does not count.
    pub end_ns: u64,
    /// Handshake over at the client.
    pub established_ns: Option<u64>,
    /// `TLS 1.3`, or empty.
    pub tls_version: String,
    /// Cipher suite.
    pub tls_suite: String,
    /// Key exchange group.
    pub tls_group: String,
    /// Application protocol.
    pub alpn: String,
    /// Whether a TLS session was resumed.
    pub tls_resumed: bool,
    /// TLS handshake over at the client.
    pub tls_done_ns: Option<u64>,
    /// Machines on the way of the SYN.
    pub path: Vec<HopStory>,
    /// Machines that bear the same address and were not reached (anycast).
    pub alternatives: Vec<Alternative>,
    /// Segments from the client and from the server.
    pub segments: [u64; 2],
    /// Stream bytes from the client and from the server.
    pub bytes: [u64; 2],
    /// Retransmissions seen at either end.
    pub retransmissions: u32,
    /// How it ended: `closed`, `reset`, `open`, `never opened`.
    pub ended: String,
    /// What the machine at its other end did with it, if it is a balancer of connections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relay: Option<RelayStory>,
    /// The states that both ends went through, the client's first.
    pub life: Vec<StateStory>,
}

/// What a balancer of connections did with one.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct RelayStory {
    /// The balancer.
    pub balancer: String,
    /// Who was chosen; empty when nobody could be.
    pub chosen: String,
    /// Its address.
    pub address: String,
    /// How.
    pub policy: String,
    /// All that were looked at: name and note.
    pub candidates: Vec<Field>,
    /// Whether the balancer's own connection stood ready.
    pub warm: bool,
    /// The number of that connection.
    pub behind: Option<u32>,
    /// Who is at the end of it, behind all such machines; empty when nobody could be chosen.
    #[serde(default)]
    pub server: String,
}

/// A connection by itself, whole: the answer of `follow --connection`.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct ConnectionReport {
    /// Its facts.
    pub connection: ConnectionStory,
    /// What TCP waited for while it had data to send.
    pub waits: Vec<Line>,
    /// What was sent again, and what congestion control decided.
    pub trouble: Vec<Line>,
}

/// A state of one end of a connection (RFC 9293 3.3.2).
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct StateStory {
    /// `client` or `server`.
    pub side: String,
    /// The machine.
    pub node: String,
    /// `ESTABLISHED`.
    pub state: String,
    /// Since when.
    pub from_ns: u64,
    /// Until when; absent for the last one.
    pub to_ns: Option<u64>,
    /// What brought it there: a segment, a call, a timer.
    pub by: String,
}

/// One machine on the way of a packet.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct HopStory {
    /// Machine.
    pub node: String,
    /// What it is.
    pub role: String,
    /// Where it stands.
    pub place: String,
    /// Arrival; the start at the first machine.
    pub in_ns: u64,
    /// Offered to the next link; the arrival at the last machine.
    pub out_ns: u64,
    /// Machine codes and words of what it did.
    pub did: Vec<Line>,
}

/// A machine that bears the same address.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Alternative {
    /// Machine.
    pub node: String,
    /// Place.
    pub place: String,
    /// One-way distance from the client by the shortest way.
    pub distance_ns: Option<u64>,
}

/// One packet of a request.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct PacketStory {
    /// Within the request, from 1.
    pub number: u32,
    /// The frame's identity: (node, counter) as `f3.17`.
    pub frame: String,
    /// Sent by.
    pub from: String,
    /// Last seen at.
    pub to: String,
    /// First offered to a link.
    pub sent_ns: u64,
    /// Arrived at the last machine; absent when it was lost.
    pub arrived_ns: Option<u64>,
    /// Bytes of the frame.
    pub len: u32,
    /// One line as tcpdump prints it.
    pub summary: String,
    /// What it carries: `SYN`, `ClientHello`, `GET /`.
    pub carries: String,
    /// Why it ended early.
    pub dropped: String,
}

/// Where the time went.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct BudgetStory {
    /// Contiguous, from the step's start to its end.
    pub slices: Vec<SliceStory>,
    /// Sums by cause; they add up to the duration.
    pub totals: Vec<TotalStory>,
    /// Sums by single cause, for groups in which it matters which (TCP holding back, losses, time-outs).
    pub causes: Vec<TotalStory>,
    /// Sums by phase; they add up to the duration.
    pub phases: Vec<PhaseStory>,
    /// What could not be named: a bug of roundtrip, or a trace cut short.
    pub problems: Vec<String>,
}

/// One stretch of the critical path.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct SliceStory {
    /// From.
    pub start_ns: u64,
    /// To.
    pub end_ns: u64,
    /// Machine code of the cause.
    pub cause: String,
    /// The cause in words.
    pub say: String,
    /// Code of the group it is added up under.
    pub group: String,
    /// `dns`, `connect`, `tls`, `request`, `server`, `response`, `resources`, `page`, `close`.
    pub phase: String,
    /// The machine, or the sending end of the link.
    pub node: String,
    /// The other end of the link, for what happens on links.
    pub to: String,
    /// The event that ended it.
    pub event: String,
    /// The frame that moved or waited, or empty.
    pub frame: String,
}

/// One sum.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct TotalStory {
    /// Machine code.
    pub group: String,
    /// In words.
    pub say: String,
    /// For a reader new to this.
    pub explain: String,
    /// The sum.
    pub time_ns: u64,
}

/// The time of one phase.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct PhaseStory {
    /// Machine code.
    pub phase: String,
    /// In words.
    pub say: String,
    /// The sum.
    pub time_ns: u64,
    /// Of which, by group.
    pub totals: Vec<TotalStory>,
}

/// What a step saved against an earlier one.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Saved {
    /// The earlier step.
    pub step: u32,
    /// Its duration.
    pub before_ns: u64,
    /// This step's duration.
    pub now_ns: u64,
    /// What was saved and why.
    pub lines: Vec<Line>,
}

impl Line {
    /// A line with a code, a label and a sentence.
    #[must_use]
    pub fn new(code: &str, label: impl Into<String>, text: impl Into<String>) -> Line {
        Line { code: code.to_string(), label: label.into(), text: text.into(), ..Line::default() }
    }

    /// The same, nested.
    #[must_use]
    pub fn deep(mut self, depth: u8) -> Line {
        self.depth = depth;
        self
    }

    /// The same with something at the margin.
    #[must_use]
    pub fn margin(mut self, margin: impl Into<String>) -> Line {
        self.margin = margin.into();
        self
    }

    /// The same with its moment.
    #[must_use]
    pub fn at(mut self, at: rt_base::Time) -> Line {
        self.at_ns = Some(at.0);
        self
    }

    /// The same with its machine.
    #[must_use]
    pub fn on(mut self, node: impl Into<String>) -> Line {
        self.node = node.into();
        self
    }

    /// The same with an exact value.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl ToString) -> Line {
        self.data.insert(name.to_string(), value.to_string());
        self
    }
}

impl Field {
    /// A name with its value.
    #[must_use]
    pub fn new(name: impl Into<String>, value: impl Into<String>) -> Field {
        Field { name: name.into(), value: value.into() }
    }
}
