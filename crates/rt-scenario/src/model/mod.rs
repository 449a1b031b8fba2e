//! The lowered model: plain nodes, links, routes, rules and apps. What a site expands to; what `roundtrip show
//! --expanded` prints; the one thing that is simulated, proved and drawn. No behaviour lives here.

use std::net::IpAddr;

use ipnet::IpNet;
use rt_base::{InterfaceKind, MacAddr, Nanos, NodeId, PortId, SwitchPort};
use rt_rules::{
    Chain, ConntrackOptions, MssClamp, NatRule, Origin, Ossified, Route, RoutePolicy, SourceCheck,
};
use serde::{Deserialize, Serialize};

mod balancer;
mod forward;
mod grpc;
mod names;
mod proxy;
mod ssh;
mod story;
mod tcp;
mod timeline;
mod web;
mod websocket;

pub use balancer::*;
pub use forward::*;
pub use grpc::*;
pub use names::*;
pub use proxy::*;
pub use ssh::*;
pub use story::*;
pub use tcp::*;
pub use timeline::*;
pub use web::*;
pub use websocket::*;

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
    /// Other tables of routes; `tables[0]` is the table 1 of the policies.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tables: Vec<RouteTableModel>,
    /// Rules of policy routing, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<RoutePolicy>,
    /// Rules that lower the MSS of SYNs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clamps: Vec<MssClamp>,
    /// What it does not know, and treats as an error in packets that pass.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ossified: Vec<Ossified>,
    /// Filter chains (Input, Forward, Output), and the access lists of all interfaces (Prerouting, Postrouting); absent ones
    /// accept all.
    pub chains: Vec<Chain>,
    /// NAT rules.
    pub nat: Vec<NatRule>,
    /// Options of its stack.
    pub stack: StackOptions,
    /// Where the limits of its connection table were written.
    #[serde(default, skip_serializing_if = "LimitOrigins::is_default")]
    pub limits: LimitOrigins,
    /// How it resolves names.
    pub resolver: ResolverOptions,
    /// Its browser.
    pub browser: BrowserOptions,
    /// What its user has in `~/.ssh`.
    #[serde(default, skip_serializing_if = "SshHome::is_empty")]
    pub ssh: SshHome,
    /// What runs on it.
    pub apps: Vec<App>,
    /// A real program that plays it when that is allowed: program and arguments. Nothing here runs it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exec: Vec<String>,
    /// The city or place, for drawing.
    pub place: Option<String>,
    /// Where it was written.
    pub origin: Origin,
}

/// Where the limits of a machine's connection table (`StackOptions::conntrack`) were written; what nobody wrote is the usual.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct LimitOrigins {
    /// Of the flows of all together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<Origin>,
    /// Of the flows of one source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_source: Option<Origin>,
}

impl LimitOrigins {
    /// Whether nobody wrote any.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == LimitOrigins::default()
    }
}

/// A table of routes besides the main one.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RouteTableModel {
    /// What people call it.
    pub name: String,
    /// Its routes. Nothing is added to them.
    pub routes: Vec<Route>,
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
    /// What it is, if it is no port with a cable.
    #[serde(default, skip_serializing_if = "is_cable")]
    pub kind: InterfaceKind,
    /// Of a switch: which VLANs the port carries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlans: Option<SwitchPort>,
    /// Its reverse-path check; none is off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reverse_path: Option<SourceCheck>,
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
    /// Bits that flip, in parts per 10^15.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub bit_errors: u64,
    /// Queue limit.
    pub queue: QueueLimit,
}

fn is_cable(kind: &InterfaceKind) -> bool {
    kind.is_physical()
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
fn is_no(flag: &bool) -> bool {
    !*flag
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
    /// Passes packets on unseen: takes nothing from their TTL, answers no ping, and complains only of packets that are too long.
    #[serde(default, skip_serializing_if = "is_no")]
    pub transparent: bool,
    /// How long its filters and NAT remember an open TCP connection on which nothing is said.
    pub flow_timeout: Nanos,
    /// How its filters and NAT remember flows. (Of an open TCP connection `flow_timeout` says it.)
    #[serde(default, skip_serializing_if = "ConntrackOptions::is_default")]
    pub conntrack: ConntrackOptions,
    /// TCP.
    pub tcp: TcpOptions,
    /// Initial sequence numbers of the first passive opens, in order; random afterwards.
    pub listen_isns: Vec<u32>,
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
    /// Ids of questions count up from here; dice when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ids: Option<u16>,
    /// Names whose addresses it picks among itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub balance: Vec<ClientBalance>,
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
    /// An address that does not answer is given up after this, and the name's next one tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect_timeout: Option<Nanos>,
    /// A forward proxy that it asks instead of servers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<BrowserProxy>,
    /// Authorities that it trusts beside the public one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trusts: Vec<String>,
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
