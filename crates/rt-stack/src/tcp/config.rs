//! What differs between one TCP and another, as plain data.

use rt_base::Nanos;

/// The options of one machine's TCP. The default behaves like Linux.
#[derive(Clone, PartialEq, Debug)]
pub struct TcpConfig {
    /// Which congestion control.
    pub congestion: CongestionKind,
    /// Initial congestion window in segments (RFC 6928).
    pub initial_cwnd: u32,
    /// Most bytes that wait in the send buffer.
    pub send_buffer: u32,
    /// Widest receive window in bytes; the window scale follows from it.
    pub recv_buffer: u32,
    /// The receive window starts at the multiple of the MSS below this.
    pub initial_window: u32,
    /// Offer and accept timestamps (RFC 7323).
    pub timestamps: bool,
    /// Offer and accept window scaling (RFC 7323).
    pub window_scaling: bool,
    /// Offer and accept SACK (RFC 2018).
    pub sack: bool,
    /// Explicit congestion notification (RFC 3168).
    pub ecn: EcnMode,
    /// New sockets send small segments at once (no Nagle).
    pub nodelay: bool,
    /// How often a SYN is repeated before the connect fails.
    pub syn_retries: u8,
    /// How often a SYN-ACK is repeated before the half-open connection is forgotten.
    pub synack_retries: u8,
    /// How often data is repeated by timeout before the connection fails (R2 of RFC 9293 3.8.3).
    pub data_retries: u8,
    /// The same once the application has closed the socket.
    pub orphan_retries: u8,
    /// RTO before the first measurement (RFC 6298 2.1).
    pub rto_initial: Nanos,
    /// Smallest RTO. RFC 6298 2.4 asks for 1 s; Linux has 200 ms.
    pub rto_min: Nanos,
    /// Largest RTO (RFC 6298 2.5).
    pub rto_max: Nanos,
    /// How long an ACK may wait for company.
    pub delayed_ack: Nanos,
    /// So many first data segments are acknowledged at once ("quickack").
    pub quickack_segments: u8,
    /// Probes of idle connections, if wanted.
    pub keepalive: Option<KeepaliveConfig>,
    /// TIME-WAIT: twice the maximum segment lifetime.
    pub time_wait: Nanos,
    /// FIN-WAIT-2 of a socket that the application has closed ends after this.
    pub fin_wait2: Nanos,
    /// Least time between two challenge ACKs of a connection (RFC 5961 section 7).
    pub challenge_interval: Nanos,
}

/// The congestion control algorithms.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CongestionKind {
    /// RFC 9438.
    Cubic,
    /// RFC 5681.
    Reno,
}

/// What to do about ECN (RFC 3168) in a handshake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EcnMode {
    /// Never.
    Off,
    /// Ask for it and accept it (Linux's `tcp_ecn` = 1).
    On,
    /// Accept it when the peer asks (2, Linux's default).
    Passive,
}

/// When to probe an idle connection (RFC 9293 3.8.4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeepaliveConfig {
    /// Idle for so long before the first probe.
    pub idle: Nanos,
    /// Between probes.
    pub interval: Nanos,
    /// Unanswered probes before the connection fails.
    pub count: u8,
}

impl Default for KeepaliveConfig {
    /// Linux: two hours, 75 s, 9 probes.
    fn default() -> KeepaliveConfig {
        KeepaliveConfig { idle: Nanos::from_secs(7200), interval: Nanos::from_secs(75), count: 9 }
    }
}

impl Default for TcpConfig {
    fn default() -> TcpConfig {
        TcpConfig {
            congestion: CongestionKind::Cubic,
            initial_cwnd: 10,
            send_buffer: 4 << 20,
            recv_buffer: 6 << 20,
            initial_window: 65_535,
            timestamps: true,
            window_scaling: true,
            sack: true,
            ecn: EcnMode::Passive,
            nodelay: false,
            syn_retries: 6,
            synack_retries: 5,
            data_retries: 15,
            orphan_retries: 8,
            rto_initial: Nanos::from_secs(1),
            rto_min: Nanos::from_millis(200),
            rto_max: Nanos::from_secs(120),
            delayed_ack: Nanos::from_millis(40),
            quickack_segments: 16,
            keepalive: None,
            time_wait: Nanos::from_secs(60),
            fin_wait2: Nanos::from_secs(60),
            challenge_interval: Nanos::from_millis(500),
        }
    }
}

impl TcpConfig {
    /// The shift that lets 16 bits of window cover [`TcpConfig::recv_buffer`] (RFC 7323 2.2; at most 14).
    #[must_use]
    pub fn window_shift(&self) -> u8 {
        //= rfc7323#2.3
        (0..14).find(|s| (65_535u64 << s) >= u64::from(self.recv_buffer)).unwrap_or(14)
    }
}
