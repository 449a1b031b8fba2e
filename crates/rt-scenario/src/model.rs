//! The lowered model: plain nodes, links, routes, rules and apps. What a site expands to; what `roundtrip show
//! --expanded` prints; the one thing that is simulated, proved and drawn. No behaviour lives here.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use rt_base::{MacAddr, Nanos, NodeId, PortId, Time};
use rt_rules::{Chain, NatRule, Origin, Route};
use serde::{Deserialize, Serialize};

/// A whole checked scenario. Indices are ids: `nodes[3]` is `NodeId(3)`, `links[2]` is `LinkId(2)`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Model {
    /// Short name, used for the output folder.
    pub name: String,
    /// One line about it.
    pub about: String,
    /// The file it came from, as the user named it.
    pub file: String,
    /// Civil time at virtual time zero, seconds since 1970 (certificates, Date headers).
    pub epoch: u64,
    /// All machines and switches.
    pub nodes: Vec<Node>,
    /// All links.
    pub links: Vec<Link>,
    /// DNS zones.
    pub zones: Vec<Zone>,
    /// Certificates that servers show.
    pub certificates: Vec<Certificate>,
    /// What people do, in order.
    pub steps: Vec<Step>,
    /// What must hold.
    pub expect: Vec<Expect>,
    /// What happens to the network meanwhile.
    pub timeline: Vec<Happening>,
}

/// The kind of a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodeKind {
    /// A machine with a stack; does not forward.
    Host,
    /// A machine with a stack that forwards.
    Router,
    /// A learning switch.
    Switch,
}

/// A machine or a switch.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Node {
    /// Full name, such as `home.laptop` (site, dot, short name) or `a`.
    pub name: String,
    /// Its kind.
    pub kind: NodeKind,
    /// What it is in a person's words: `laptop`, `home router`, `recursive resolver`, `load balancer`.
    pub role: String,
    /// The site it belongs to.
    pub site: Option<String>,
    /// Time it takes to process each frame it sends on.
    pub processing: Nanos,
    /// Its interfaces; `interfaces[0]` is `PortId(0)`.
    pub interfaces: Vec<Interface>,
    /// Static routes (connected ones included).
    pub routes: Vec<Route>,
    /// Filter chains (Input, Forward, Output; absent ones accept all).
    pub chains: Vec<Chain>,
    /// NAT rules.
    pub nat: Vec<NatRule>,
    /// Options of its stack.
    pub stack: StackOptions,
    /// How it resolves names.
    pub resolver: ResolverOptions,
    /// Its browser.
    pub browser: BrowserOptions,
    /// What runs on it.
    pub apps: Vec<App>,
    /// The city or place, for drawing.
    pub place: Option<String>,
    /// Where it was written.
    pub origin: Origin,
}

/// A network interface.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Interface {
    /// `eth0`, `wan`, `p1`.
    pub name: String,
    /// Its MAC.
    pub mac: MacAddr,
    /// Addresses with their prefix lengths.
    pub addresses: Vec<IpNet>,
    /// Largest IP packet.
    pub mtu: u16,
    /// Where it was written.
    pub origin: Origin,
}

/// One direction of a link.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Direction {
    /// Bits per second.
    pub rate_bps: u64,
    /// Propagation delay.
    pub delay: Nanos,
    /// Extra delay, evenly from zero to this.
    pub jitter: Nanos,
    /// Lost, in parts per million.
    pub loss_ppm: u32,
    /// Every so manieth frame is lost; 0 for none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub loss_every: u64,
    /// Delayed by one extra `delay` so that later ones overtake, ppm.
    pub reorder_ppm: u32,
    /// Sent twice, ppm.
    pub duplicate_ppm: u32,
    /// One bit flipped, ppm.
    pub corrupt_ppm: u32,
    /// Queue limit.
    pub queue: QueueLimit,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// How much waits at most before the link.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum QueueLimit {
    /// So many packets.
    Packets(u32),
    /// So many bytes.
    Bytes(u64),
}

/// A full-duplex link between two interfaces.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Link {
    /// One end.
    pub a: (NodeId, PortId),
    /// The other end.
    pub b: (NodeId, PortId),
    /// From a to b.
    pub ab: Direction,
    /// From b to a.
    pub ba: Direction,
    /// Longest IP packet it carries (Ethernet payload).
    pub mtu: u16,
    /// Where it was written.
    pub origin: Origin,
}

/// How local ports are chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PortPolicy {
    /// One counter shared by UDP and TCP.
    Sequential,
    /// Seeded dice (RFC 6056 algorithm 1).
    Random,
}

/// Congestion control.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Congestion {
    /// RFC 9438.
    Cubic,
    /// RFC 5681 with NewReno (RFC 6582).
    Reno,
    /// BBR version 1.
    Bbr,
}

/// Options of a machine's stack.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct StackOptions {
    /// How ephemeral ports are chosen.
    pub port_policy: PortPolicy,
    /// First ephemeral port.
    pub ports_first: u16,
    /// Last ephemeral port.
    pub ports_last: u16,
    /// TTL of own packets.
    pub ttl: u8,
    /// TCP.
    pub tcp: TcpOptions,
    /// Initial sequence numbers of the first passive opens, in order; random afterwards.
    pub listen_isns: Vec<u32>,
}

/// What is said about a machine's TCP. What is `None` is as its system has it.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct TcpOptions {
    /// Whose TCP it is.
    pub system: System,
    /// Congestion control.
    pub congestion: Option<Congestion>,
    /// Initial congestion window in segments (RFC 6928).
    pub initial_window: Option<u32>,
    /// HyStart++ (RFC 9406).
    pub hystart: Option<bool>,
    /// Pacing.
    pub pacing: Option<bool>,
    /// RACK (RFC 8985); RFC 6675 without.
    pub rack: Option<bool>,
    /// Tail loss probes (RFC 8985 section 7).
    pub tail_probes: Option<bool>,
    /// Nagle on sockets unless they ask otherwise.
    pub nagle: Option<bool>,
    /// TCP timestamps.
    pub timestamps: Option<bool>,
    /// Window scaling.
    pub window_scaling: Option<bool>,
    /// SACK.
    pub sack: Option<bool>,
    /// Explicit congestion notification (RFC 3168).
    pub ecn: Option<Ecn>,
    /// Fast Open (RFC 7413).
    pub fast_open: Option<FastOpen>,
    /// SYN cookies (RFC 4987).
    pub syn_cookies: Option<SynCookies>,
    /// Longest queue of half-open connections.
    pub syn_queue: Option<u32>,
    /// Longest queue of connections that wait to be accepted.
    pub accept_queue: Option<u32>,
    /// How long an ACK may wait for company.
    pub delayed_ack: Option<Nanos>,
    /// So many first segments are acknowledged at once.
    pub quick_acks: Option<u8>,
    /// RTO before the first measurement.
    pub rto_initial: Option<Nanos>,
    /// Smallest RTO.
    pub rto_min: Option<Nanos>,
    /// Probes of idle connections.
    pub keepalive: Option<Keepalive>,
    /// Unacknowledged data ends the connection after this (RFC 5482).
    pub user_timeout: Option<Nanos>,
    /// Largest segment offered and sent, bytes.
    pub max_segment: Option<u16>,
    /// Whether ICMP "too big" is believed (RFC 1191).
    pub path_mtu_discovery: Option<bool>,
    /// The receive window starts at the multiple of the MSS below this, bytes.
    pub initial_receive_window: Option<u32>,
    /// Send and receive buffer limits, bytes.
    pub buffers: Option<u32>,
    /// TIME-WAIT lasts twice this.
    pub msl: Option<Nanos>,
}

/// Whose TCP a machine has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum System {
    /// Linux.
    #[default]
    Linux,
    /// FreeBSD.
    Freebsd,
    /// macOS.
    Macos,
    /// A small device.
    Constrained,
}

/// What a machine does about ECN in a handshake.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ecn {
    /// Never.
    Off,
    /// Agrees when the peer asks.
    Accept,
    /// Asks for it.
    Ask,
}

/// Which side of Fast Open a machine knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FastOpen {
    /// Neither.
    Off,
    /// Its own connections may send data with the SYN.
    Client,
    /// Its listeners take data with the SYN.
    Server,
    /// Both.
    Both,
}

/// When a listener answers a SYN with a cookie.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SynCookies {
    /// Never: a full queue drops the SYN.
    Off,
    /// When the queue is full.
    WhenFull,
    /// Always.
    Always,
}

/// Probes of idle connections (RFC 9293, 3.8.4).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Keepalive {
    /// Idle for so long before the first.
    pub idle: Nanos,
    /// Between probes.
    pub interval: Nanos,
    /// Unanswered ones before the connection fails.
    pub count: u8,
}

/// How a machine resolves names.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct ResolverOptions {
    /// Resolvers; those learnt by DHCP are used when this is empty.
    pub servers: Vec<IpAddr>,
    /// The hosts file.
    pub hosts: Vec<(String, IpAddr)>,
    /// Wait for an answer this long.
    pub timeout: Nanos,
    /// Ask so many times.
    pub attempts: u32,
}

/// A machine's browser.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct BrowserOptions {
    /// User-Agent.
    pub user_agent: String,
    /// Whether it offers h2.
    pub http2: bool,
    /// Parallel HTTP/1.1 connections to one origin.
    pub connections: u32,
    /// Cookies at the start: (domain, name, value).
    pub cookies: Vec<(String, String, String)>,
    /// Time to parse the HTML before its resources are asked for.
    pub parse: Nanos,
    /// Time to lay out and paint after the last resource.
    pub render: Nanos,
    /// Give up on a request after this long.
    pub timeout: Nanos,
    /// Asks as Chrome does: all its fields, two connections to a new `http` origin, `/favicon.ico`.
    pub like_chrome: bool,
    /// Accept-Language.
    pub language: String,
    /// It is not closed after each step; idle connections close after this.
    pub stays_open: Option<Nanos>,
    /// How late it notices that a server closed an idle connection, in the order of these ends.
    pub notices_close: Vec<Nanos>,
}

/// A DNS zone as a master file (RFC 1035, 5).
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Zone {
    /// Its apex: `.`, `com`, `google.com`, without the final dot except for the root.
    pub apex: String,
    /// Master-file text with absolute names.
    pub text: String,
    /// Where it comes from.
    pub origin: Origin,
}

/// Which CA signed a certificate.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Issuer {
    /// leaf, intermediate CA, root CA that everybody trusts.
    PublicCa,
    /// A CA nobody trusts.
    UnknownCa,
}

/// A server certificate to be made for the run.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Certificate {
    /// DNS names in it.
    pub names: Vec<String>,
    /// Seconds since 1970.
    pub not_before: u64,
    /// Seconds since 1970.
    pub not_after: u64,
    /// Who signed it.
    pub issuer: Issuer,
}

/// What an HTTP server serves.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pages {
    /// A built-in set: `google-home`, `hello`, `shop`.
    BuiltIn(String),
    /// Files given with the scenario: (path, content type, bytes).
    Files(Vec<(String, String, Vec<u8>)>),
}

/// How a proxy picks an upstream.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Balance {
    /// In turn.
    RoundRobin,
    /// The one with the fewest requests under way.
    LeastRequests,
}

/// Something that runs on a machine.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum App {
    /// Asks for an address (RFC 2131); falls back to 169.254/16 (RFC 3927).
    DhcpClient {
        /// On this interface.
        port: PortId,
    },
    /// Gives out addresses.
    DhcpServer {
        /// On this interface.
        port: PortId,
        /// First address of the pool.
        first: IpAddr,
        /// Last address of the pool.
        last: IpAddr,
        /// Fixed addresses.
        reservations: Vec<(MacAddr, IpAddr)>,
        /// Default gateway.
        gateway: IpAddr,
        /// Resolvers.
        resolvers: Vec<IpAddr>,
        /// Lease time.
        lease: Nanos,
        /// Answers nothing: for the "DHCP silent" story.
        silent: bool,
    },
    /// Recursive resolver with a cache.
    DnsResolver {
        /// Root servers: name and address.
        roots: Vec<(String, IpAddr)>,
        /// Time per question.
        think: Nanos,
        /// Takes questions and never answers: for the "resolver down" story.
        silent: bool,
    },
    /// Authoritative server.
    DnsServer {
        /// Indices into [`Model::zones`].
        zones: Vec<usize>,
        /// Time per question.
        think: Nanos,
        /// Takes questions and never answers.
        silent: bool,
    },
    /// Web server.
    HttpServer {
        /// TCP port.
        port: u16,
        /// Index into [`Model::certificates`] when it speaks TLS.
        certificate: Option<usize>,
        /// Whether h2 is offered.
        http2: bool,
        /// What it serves.
        pages: Pages,
        /// Time per request.
        think: Nanos,
        /// Accepts and never answers.
        silent: bool,
        /// Closes a connection on which nothing was ever asked after this.
        idle_unused: Option<Nanos>,
        /// Closes a connection that was idle for this long.
        idle: Option<Nanos>,
    },
    /// Replies to calls (see [`Verb::Call`]).
    Rpc {
        /// TCP port.
        port: u16,
        /// Length of a reply, bytes.
        reply: u32,
        /// Time per call.
        think: Nanos,
        /// It closes after its first reply; else the caller closes.
        closes: bool,
        /// Connections that may wait to be accepted.
        backlog: u32,
        /// A reply is written in so many pieces.
        writes: u32,
        /// TCP_NODELAY.
        no_delay: bool,
        /// TCP_QUICKACK after each read.
        quick_ack: bool,
    },
    /// Takes what `sends` and `streams` send, on TCP and UDP, and says what came of it.
    Sink {
        /// TCP and UDP port.
        port: u16,
    },
    /// Split-TCP proxy: destination NAT brings connections here, it makes its own to where they wanted to go.
    SplitTcp {
        /// TCP port.
        port: u16,
    },
    /// TLS-terminating load balancer.
    Edge {
        /// TCP port.
        port: u16,
        /// Index into [`Model::certificates`].
        certificate: Option<usize>,
        /// Whether h2 is offered to clients.
        http2: bool,
        /// Upstreams: node name and address (plain HTTP/1.1).
        upstreams: Vec<(String, SocketAddr)>,
        /// How one is picked.
        balance: Balance,
        /// Time per request.
        think: Nanos,
    },
}

/// What becomes of a connection between calls.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Connections {
    /// Each call opens one and closes it.
    Each,
    /// Opened when first needed, and kept.
    Kept,
    /// All opened before the first call, and kept.
    Warmed,
}

/// What a forged segment says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Forgery {
    /// The connection is over.
    Rst,
    /// A connection begins.
    Syn,
}

/// What a person does.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verb {
    /// Open a page in the browser.
    Open {
        /// URL.
        url: String,
    },
    /// Open a page again, asking the server whatever the cache says.
    Reload {
        /// URL.
        url: String,
    },
    /// POST JSON from the page's script.
    Post {
        /// URL.
        url: String,
        /// JSON text.
        json: String,
    },
    /// ICMP echo.
    Ping {
        /// Name or address.
        target: String,
        /// How many.
        count: u32,
    },
    /// Resolve a name.
    Lookup {
        /// The name.
        name: String,
        /// `A`, `AAAA`, `MX`, `CNAME`...
        rtype: String,
    },
    /// Calls a server that runs `rpc`.
    Call {
        /// Name or address.
        target: String,
        /// TCP port.
        port: u16,
        /// How often.
        count: u32,
        /// Length of a request, bytes.
        request: u32,
        /// What becomes of connections.
        connections: Connections,
        /// So many calls at once.
        at_once: u32,
        /// Pause between a reply and the next call.
        every: Nanos,
        /// Give up on a call after this.
        timeout: Nanos,
        /// A request is written in so many pieces.
        writes: u32,
        /// TCP_NODELAY.
        no_delay: bool,
        /// TCP_QUICKACK after each read.
        quick_ack: bool,
    },
    /// SYNs in the name of others.
    Flood {
        /// Name or address.
        target: String,
        /// TCP port.
        port: u16,
        /// SYNs per second.
        rate: u64,
        /// For so long.
        lasts: Nanos,
        /// In the name of addresses of this network.
        sources: IpNet,
    },
    /// Forged segments against a connection of others.
    Spoof {
        /// What they say.
        what: Forgery,
        /// In whose name.
        from: SocketAddr,
        /// To whom.
        to: SocketAddr,
        /// The first sequence number that is tried.
        first: u32,
        /// From one guess to the next.
        stride: u32,
        /// How many.
        count: u32,
        /// Guesses per second.
        rate: u64,
    },
    /// TCP connect and close: can it be reached?
    Probe {
        /// Name or address.
        target: String,
        /// TCP port.
        port: u16,
    },
    /// Which routers are on the way?
    Trace {
        /// Name or address.
        target: String,
        /// With what.
        by: TraceBy,
        /// The port, for TCP the one that is asked, for UDP the first one.
        port: Option<u16>,
    },
    /// How long may a packet be?
    PathMtu {
        /// Name or address.
        target: String,
    },
    /// Send bytes as fast as TCP lets them go.
    Send {
        /// Name or address.
        target: String,
        /// The sink's port.
        port: u16,
        /// How many, over all connections.
        bytes: u64,
        /// Connections at a time.
        connections: u32,
        /// How often the sender's state is looked at, if at all.
        every: Option<Nanos>,
    },
    /// Send frames of sound or pictures at their own pace.
    Stream {
        /// Name or address.
        target: String,
        /// The sink's port.
        port: u16,
        /// Over what.
        over: Transport,
        /// Bits per second of payload.
        rate_bps: u64,
        /// How long.
        lasts: Nanos,
        /// From one frame to the next.
        frame: Nanos,
        /// A frame is played so long after it would have come without any delay in excess of the first one's.
        playout: Nanos,
    },
}

/// With which packets a route is traced.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TraceBy {
    /// Datagrams to ports where nobody listens, as traceroute.
    Udp,
    /// Echo requests.
    Icmp,
    /// SYNs.
    Tcp,
}

/// Over what something is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// Connections.
    Tcp,
}

/// One step.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Step {
    /// As written.
    pub text: String,
    /// Who.
    pub node: NodeId,
    /// What.
    pub verb: Verb,
    /// Wait this long after the step before is done (after the network is ready, for the first).
    pub after: Nanos,
    /// Source port of the first connection, if pinned.
    pub source_port: Option<u16>,
    /// Initial sequence number of the first connection, if pinned.
    pub isn: Option<u32>,
    /// The next step does not wait for its end.
    #[serde(default)]
    pub background: bool,
    /// Whether the connections of this step ask for ECN; as the machine does when `None`.
    pub ecn: Option<bool>,
    /// Where it was written.
    pub origin: Origin,
}

/// One thing that must hold of a step.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Check {
    /// HTTP status.
    Status(u16),
    /// `h2` or `http/1.1`.
    Protocol(String),
    /// Done within.
    Within(Nanos),
    /// The request's packets pass these nodes in this order.
    Through(Vec<String>),
    /// `cached` or `asked`.
    Dns(String),
    /// `resumed` or `full`.
    Tls(String),
    /// The step fails, and its summary or codes contain this.
    Fails(String),
    /// The step succeeds.
    Succeeds,
    /// At least so many TCP retransmissions.
    Retransmissions(u32),
    /// Exactly so many resources from the browser's cache or revalidated.
    FromCache(u32),
    /// What the step measured under this name lies between these, ends included.
    Figure {
        /// `latency-median` and so on.
        name: String,
        /// At least, in nanoseconds, things, bits per second or parts per million.
        least: u64,
        /// At most; `u64::MAX` for no limit.
        most: u64,
    },
}

/// What must hold of one step.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Expect {
    /// Index of the step (from 0).
    pub step: usize,
    /// All of these.
    pub checks: Vec<Check>,
    /// Where it was written.
    pub origin: Origin,
}

/// What happens to the network at a time.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Happening {
    /// When.
    pub at: Time,
    /// To which link (index into [`Model::links`]).
    pub link: usize,
    /// What.
    pub change: Change,
    /// Where it was written.
    pub origin: Origin,
}

/// A change of a link.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// No frame passes, those under way are lost.
    Cut,
    /// As before.
    Heal,
    /// Other properties from now on.
    Impair {
        /// Loss, ppm.
        loss_ppm: Option<u32>,
        /// Delay.
        delay: Option<Nanos>,
        /// Rate.
        rate_bps: Option<u64>,
    },
}
