//! What applications say because bytes cannot show it: cache decisions, which page asked for which resource, which
//! upstream serves which downstream request, why something is tried again. A closed enum; the story is made from it.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::{CacheDecision, Nanos, ReqId, Time, WorkStep};

/// The kind of a request in an application's own words.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReqKind {
    /// What a person asked for: a page, a POST.
    Page,
    /// A resource that a page names.
    Subresource,
    /// A name look-up.
    Lookup,
    /// One question of a recursive resolver to an authoritative server.
    ResolverQuery,
    /// A proxy's request to its upstream.
    Upstream,
    /// Anything else (ping, probe).
    Probe,
}

/// Which store was asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CacheKind {
    /// The browser's HTTP cache (RFC 9111).
    BrowserHttp,
    /// The browser's own name cache.
    BrowserDns,
    /// The operating system's name cache.
    OsDns,
    /// The hosts file.
    HostsFile,
    /// A recursive resolver's cache.
    Resolver,
    /// TLS session tickets.
    TlsSession,
    /// Connections kept open.
    ConnectionPool,
    /// The cookie jar.
    Cookies,
}

/// What the store answered.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CacheOutcome {
    /// Found and fresh.
    Hit {
        /// Since it was stored.
        age: Nanos,
        /// How long it stays fresh.
        fresh_for: Nanos,
    },
    /// Nothing there.
    Miss,
    /// Found, but it must be revalidated.
    Stale {
        /// Since it was stored.
        age: Nanos,
    },
    /// Revalidated by a 304: the stored body is used.
    Revalidated,
    /// Stored now.
    Stored {
        /// How long it will stay fresh.
        fresh_for: Nanos,
    },
    /// Not stored, by rule.
    NotStored,
}

/// One candidate that a chooser looked at.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Candidate {
    /// Its name or address.
    pub name: String,
    /// Why it was or was not taken.
    pub note: String,
}

/// What a [`Figure`] counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FigureUnit {
    /// Nanoseconds.
    Nanos,
    /// Things.
    Count,
    /// Bytes.
    Bytes,
    /// Bits per second.
    BitsPerSecond,
    /// Parts per million.
    Ppm,
}

/// One measured result of a step, such as the median latency of its calls.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Figure {
    /// Its name, as expectations use it: `latency-median`.
    pub name: String,
    /// How much.
    pub value: u64,
    /// Of what.
    pub unit: FigureUnit,
}

impl Figure {
    /// A span of time.
    #[must_use]
    pub fn span(name: &str, span: Nanos) -> Figure {
        Figure { name: name.into(), value: span.0, unit: FigureUnit::Nanos }
    }

    /// A number of things.
    #[must_use]
    pub fn count(name: &str, value: u64) -> Figure {
        Figure { name: name.into(), value, unit: FigureUnit::Count }
    }
}

/// One thing an application says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AppRecord {
    /// A step of the scenario starts on this node.
    StepBegin {
        /// Index in the scenario.
        step: u32,
        /// The step as written.
        text: String,
    },
    /// The step is over.
    StepEnd {
        /// Index in the scenario.
        step: u32,
        /// Whether it reached its aim.
        ok: bool,
        /// One line: `200 HTTP/2, 41.2 kB` or the error.
        summary: String,
    },
    /// What a step measured.
    StepFigures {
        /// Index in the scenario.
        step: u32,
        /// The results, in the order in which a person would read them.
        figures: Vec<Figure>,
    },
    /// A request begins.
    RequestBegin {
        /// Its number on this node.
        req: ReqId,
        /// The request that made it necessary (page of a subresource, downstream of an upstream), or 0.
        parent: ReqId,
        /// Its kind.
        kind: ReqKind,
        /// `GET`, `POST`, `A`, `AAAA`.
        method: String,
        /// URL or name.
        target: String,
    },
    /// A request is over.
    RequestEnd {
        /// Which.
        req: ReqId,
        /// Status code, RCODE or 0.
        status: u16,
        /// Whether it succeeded in its own terms.
        ok: bool,
        /// Body bytes as the application got them (decoded).
        body_bytes: u64,
        /// One line about the end.
        note: String,
    },
    /// A store was asked or filled.
    Cache {
        /// For which request.
        req: ReqId,
        /// Which store.
        cache: CacheKind,
        /// The key asked for.
        key: String,
        /// What came of it.
        outcome: CacheOutcome,
        /// The answer or the reason in a few words.
        note: String,
    },
    /// A shared cache decided about a client's request.
    SharedCache {
        /// The proxy's own request that the decision led to or came from, or 0.
        req: ReqId,
        /// The client's connection: its other end.
        downstream: SocketAddr,
        /// The ordinal of the request on that connection, from 0.
        downstream_ordinal: u32,
        /// For a collapsed request: connection and ordinal of the one that it waits for.
        leader: Option<(SocketAddr, u32)>,
        /// What was decided, and why.
        decision: CacheDecision,
    },
    /// A server of several sites at one address took one for a request, by the host asked for.
    ChoseSite {
        /// The client's connection: its other end.
        downstream: SocketAddr,
        /// The ordinal of the request on that connection, from 0.
        downstream_ordinal: u32,
        /// The host asked for, without port.
        host: String,
        /// The name of the site; the default one when `None`.
        site: Option<String>,
        /// Sites at the address, the default one included.
        sites: u32,
        /// Which certificate the connection was shown, from 1, and out of how many; 0 of 0 without TLS.
        certificate: (u32, u32),
        /// That certificate is not for the host, and the server answers nothing but that.
        misdirected: bool,
    },
    /// A name server chose which address an asker gets, by where that is.
    Steered {
        /// Who asked: a resolver.
        asker: SocketAddr,
        /// The id of its question.
        id: u16,
        /// The name.
        name: String,
        /// The address; all of them when `None`.
        chosen: Option<IpAddr>,
        /// One sentence.
        why: String,
    },
    /// A request travels on this connection (`stream` as in HTTP/2; 0 for protocols without streams).
    UsesConnection {
        /// Which request.
        req: ReqId,
        /// This end.
        local: SocketAddr,
        /// The other end.
        remote: SocketAddr,
        /// Whether the connection was there before.
        reused: bool,
        /// `h2`, `http/1.1`, `dns`.
        protocol: String,
    },
    /// A proxy chose where to send a request.
    ChoseUpstream {
        /// The proxy's own (upstream) request.
        req: ReqId,
        /// The downstream connection's peer (who asked).
        downstream: SocketAddr,
        /// The ordinal of the request on the downstream connection, from 0.
        downstream_ordinal: u32,
        /// The one taken.
        chosen: String,
        /// Its address.
        address: SocketAddr,
        /// How: `round-robin`, `least-connections`, `hash`.
        policy: String,
        /// All that were looked at, the chosen one too.
        candidates: Vec<Candidate>,
    },
    /// A proxy decided something about a client's request that its bytes do not show: a route, a refusal, a share.
    ProxyStep {
        /// The downstream connection's peer (who asked).
        downstream: SocketAddr,
        /// The ordinal of the request on the downstream connection, from 0.
        downstream_ordinal: u32,
        /// Machine code: `route`, `key`, `auth`, `limit`, `canary`, `rewrite`, `redirect`, `answer`, `budget`, `nobody`.
        code: String,
        /// What it did, as a sentence whose subject is the proxy.
        text: String,
        /// What was looked at, if several things were.
        candidates: Vec<Candidate>,
    },
    /// A machine that looks no further than TCP goes on with a client's connection over one of its own; bytes pass unread.
    Balanced {
        /// The client's connection: its other end.
        downstream: SocketAddr,
        /// This end of its own connection; `None` when nobody could be reached.
        upstream: Option<SocketAddr>,
        /// The server taken.
        chosen: String,
        /// Its address.
        address: SocketAddr,
        /// How: `round-robin`, `least-connections`, `source-hash`, `maglev`, `random-of-two`, `sticky`.
        policy: String,
        /// All that were looked at, the chosen one too.
        candidates: Vec<Candidate>,
        /// Whether the connection stood ready.
        warm: bool,
    },
    /// A forward proxy decided about a client's request.
    Forward {
        /// The client's connection: its other end.
        downstream: SocketAddr,
        /// The ordinal of the request on that connection, or in the tunnel on it, from 0.
        downstream_ordinal: u32,
        /// `GET http://shop.example/` or `CONNECT shop.example:443`.
        what: String,
        /// `pass`, `tunnel`, `inspect` or `refuse`.
        verdict: String,
        /// By which rule, or why not.
        why: String,
    },
    /// A server carries a connection of its own making for whoever is at the other end of another one (SSH).
    Relayed {
        /// The peer of the connection that asked for it.
        downstream: SocketAddr,
        /// The channel of that connection, by this server's number.
        channel: u32,
        /// `direct-tcpip`, or `session` when a program that runs there connected.
        what: String,
        /// This end.
        local: SocketAddr,
        /// The other end.
        remote: SocketAddr,
    },
    /// A server says how far it is with a client's call.
    Work {
        /// The client's connection: its other end.
        downstream: SocketAddr,
        /// The ordinal of the request on that connection, from 0.
        downstream_ordinal: u32,
        /// How far.
        step: WorkStep,
    },
    /// A line of the key log (SSLKEYLOGFILE, RFC 9850, or Wireshark's for SSH), as soon as the secret exists.
    Secret {
        /// The whole line without its end.
        line: String,
    },
    /// Something is done again.
    Retry {
        /// Which request.
        req: ReqId,
        /// From 2.
        attempt: u32,
        /// Why.
        why: String,
    },
    /// A certificate chain was judged.
    CertificateChecked {
        /// For which request, or 0.
        req: ReqId,
        /// The name asked for.
        name: String,
        /// Subjects from leaf to root.
        chain: Vec<String>,
        /// Whether it holds.
        ok: bool,
        /// Why not, or against what it was verified.
        note: String,
    },
    /// An interface got its address.
    AddressAssigned {
        /// Interface name.
        interface: String,
        /// The address.
        address: IpAddr,
        /// Prefix length.
        prefix: u8,
        /// `dhcp`, `link-local` or `static`.
        how: String,
        /// Default gateway, if told.
        gateway: Option<IpAddr>,
        /// Resolvers, if told.
        resolvers: Vec<IpAddr>,
        /// End of the lease.
        lease_until: Option<Time>,
    },
    /// The page is drawn.
    Rendered {
        /// The page's request.
        req: ReqId,
        /// Resources loaded, the page included.
        resources: u32,
        /// Of these from the browser's cache.
        from_cache: u32,
    },
    /// A line of what a measurement found, as its tool would print it.
    Measured {
        /// For which request.
        req: ReqId,
        /// Machine code, such as `trace.hop`.
        code: String,
        /// What it is about, in a word or two.
        label: String,
        /// The line.
        text: String,
        /// Exact values by name.
        data: Vec<(String, String)>,
    },
    /// Anything else worth telling, with a stable code.
    Note {
        /// For which request, or 0.
        req: ReqId,
        /// Machine code, such as `http.redirect`.
        code: String,
        /// One sentence.
        text: String,
    },
}
