//! What runs, what people do, and what must hold.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ipnet::IpNet;
use rt_base::{MacAddr, Nanos, NodeId, PortId};
use rt_rules::Origin;
use serde::{Deserialize, Serialize};

use super::names::Steering;
use super::web::{Hosting, Pages};
use super::{GrpcCalls, GrpcServer, Talk};

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
        /// Names that it answers itself, with their addresses: a private zone.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        own: Vec<(String, IpAddr)>,
        /// Several addresses of a name stay in their order, instead of by turns.
        #[serde(default)]
        fixed_order: bool,
        /// It tells name servers the network of its client (RFC 7871).
        #[serde(default)]
        client_subnet: bool,
    },
    /// Authoritative server.
    DnsServer {
        /// Indices into [`super::Model::zones`].
        zones: Vec<usize>,
        /// Time per question.
        think: Nanos,
        /// Takes questions and never answers.
        silent: bool,
        /// Several addresses of a name stay in their order, instead of by turns.
        #[serde(default)]
        fixed_order: bool,
        /// Names whose answer depends on where the asker is.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        steering: Vec<Steering>,
    },
    /// Web server.
    HttpServer {
        /// TCP port.
        port: u16,
        /// Index into [`super::Model::certificates`] when it speaks TLS.
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
        /// Other sites at its address.
        #[serde(default)]
        hosting: Box<Hosting>,
    },
    /// An SSH server.
    Ssh {
        /// TCP port.
        port: u16,
        /// Users with the keys that let them in: names of keys, or public keys as OpenSSH writes them.
        users: Vec<(String, Vec<String>)>,
        /// Whether it makes connections for its users.
        tcp_forwarding: bool,
        /// If not empty, to these only.
        permit_open: Vec<(String, u16)>,
        /// Whether programs on it may ask a client's agent.
        agent_forwarding: bool,
    },
    /// Works for others over gRPC.
    Grpc(GrpcServer),
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
    /// Sends back what comes, on TCP and UDP (RFC 862).
    Echo {
        /// TCP and UDP port.
        port: u16,
    },
    /// Throws away what comes, on TCP and UDP (RFC 863).
    Discard {
        /// TCP and UDP port.
        port: u16,
    },
    /// Sends text without end over TCP (RFC 864).
    Chargen {
        /// TCP port.
        port: u16,
    },
    /// Tells the time by NTP (UDP port 123).
    Ntp,
    /// Split-TCP proxy: destination NAT brings connections here, it makes its own to where they wanted to go.
    SplitTcp {
        /// TCP port.
        port: u16,
    },
    /// WireGuard: seals what is routed to a tun interface, and carries it over UDP.
    Wireguard {
        /// The tun interface.
        on: PortId,
        /// UDP port.
        port: u16,
        /// Whom it talks to.
        peers: Vec<WireguardPeer>,
    },
    /// A tunnel inside one TCP connection: what is routed to a tun interface goes as length and packet.
    TcpTunnel {
        /// The tun interface.
        on: PortId,
        /// TCP port on which it waits, if it does not connect.
        port: u16,
        /// Whom it connects to.
        to: Option<SocketAddr>,
    },
    /// A balancer of connections.
    L4Balancer(super::L4Balancer),
    /// A forward proxy.
    ForwardProxy(Box<super::ForwardProxy>),
    /// TLS-terminating load balancer.
    Edge {
        /// TCP port.
        port: u16,
        /// Index into [`super::Model::certificates`].
        certificate: Option<usize>,
        /// Whether h2 is offered to clients.
        http2: bool,
        /// Upstreams: node name and address.
        upstreams: Vec<(String, SocketAddr)>,
        /// How one is picked.
        balance: rt_rules::Spread,
        /// Time per request.
        think: Nanos,
        /// What else it does.
        #[serde(default)]
        options: Box<super::ProxyOptions>,
    },
}

/// Another machine with WireGuard.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WireguardPeer {
    /// Its full name. Its key follows from it.
    pub name: String,
    /// Where it is; else its first message tells.
    pub endpoint: Option<SocketAddr>,
    /// Addresses behind it.
    pub allowed: Vec<IpNet>,
    /// Sends an empty packet when nothing went either way for so long.
    pub keepalive: Option<Nanos>,
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
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Forgery {
    /// The connection is over.
    Rst,
    /// A connection begins.
    Syn,
    /// A datagram.
    Udp,
    /// The answer to a question of DNS.
    Answer {
        /// The name that was asked for.
        name: String,
        /// The address that it is said to have.
        address: Ipv4Addr,
    },
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
    /// Ask a cache to forget a URL (the method PURGE).
    Purge {
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
    /// Calls a gRPC server.
    Grpc(GrpcCalls),
    /// Opens a WebSocket and converses.
    WebSocket(Talk),
    /// `ssh`, with these arguments.
    Ssh {
        /// As they were typed.
        arguments: String,
        /// Lines typed at the far shell's prompts.
        types: Vec<String>,
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
    /// Forged segments against a connection of others, forged datagrams and answers.
    Spoof {
        /// What they say.
        what: Forgery,
        /// In whose name.
        from: SocketAddr,
        /// To whom.
        to: SocketAddr,
        /// The first sequence number, or id, that is tried.
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

/// Again and again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Repeat {
    /// From the beginning of one to that of the next; one that takes longer is followed by the next at once.
    pub every: Nanos,
    /// None begins later than this after the first.
    pub lasts: Nanos,
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
    /// Fields of its requests, in place of the browser's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<(String, String)>,
    /// Done again and again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeat: Option<Repeat>,
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
    /// The page's response has this field.
    Field {
        /// Its name.
        name: String,
        /// What it contains.
        value: String,
    },
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
    /// One of the lines on the screen contains this.
    Prints(String),
    /// Exactly so many resources from the browser's cache or revalidated.
    FromCache(u32),
    /// So many of its requests were answered by this server behind a proxy or a balancer, ends included.
    AnsweredBy {
        /// Its name among the proxy's upstreams.
        server: String,
        /// At least.
        least: u64,
        /// At most; `u64::MAX` for no limit.
        most: u64,
    },
    /// What the step measured, or its story counts, under this name lies between these, ends included.
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
