//! What is said about a machine's TCP.

use rt_base::Nanos;
use serde::{Deserialize, Serialize};

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
