//! What differs between one TCP and another, as plain data.

use rt_base::Nanos;
use rt_wire::OptionOrder;

/// The options of one machine's TCP. The default behaves like Linux.
#[derive(Clone, PartialEq, Debug)]
pub struct TcpConfig {
    /// Which congestion control.
    pub congestion: CongestionKind,
    /// What ends slow start before a loss does, with CUBIC.
    pub hystart: HystartKind,
    /// Losses are found by time (RACK, RFC 8985) when the peer knows SACK; else by RFC 6675.
    pub rack: bool,
    /// Tail loss probes (RFC 8985 section 7), with SACK.
    pub tail_probe: bool,
    /// Timeouts are checked for being spurious (F-RTO, RFC 5682).
    pub frto: bool,
    /// Duplicate ACKs, or SACKed segments, that make a loss at first (DupThresh of RFC 5681).
    pub reordering: u32,
    /// Segments are spread over the round trip instead of leaving a window at a time.
    pub pacing: bool,
    /// SO_MAX_PACING_RATE of a socket: bytes per second that pacing never exceeds.
    pub max_pacing_rate: Option<u64>,
    /// The pacing rate in percent of a window per round trip: in slow start, and else.
    pub pacing_percent: (u32, u32),
    /// Segments that may leave in one burst at least.
    pub min_burst: u32,
    /// The last segment of a burst of several has PSH, even if more waits in the send buffer.
    pub push_bursts: bool,
    /// The window shrinks while the connection is idle (RFC 5681 4.1).
    pub slow_start_after_idle: bool,
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
    /// Report duplicates in SACK options (RFC 2883): `tcp_dsack`.
    pub dsack: bool,
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
    /// Where the code of the systems differs in more than a number.
    pub family: Family,
    /// How lost segments are found and paid for once a loss is known, with SACK.
    pub recovery: RecoveryKind,
    /// How much window a segment offers.
    pub window_offer: WindowOffer,
    /// Timers run out at multiples of this (a kernel's tick), at the last before their time; zero for exactly then.
    pub timer_tick: Nanos,
    /// The order of a SYN's options.
    pub option_order: OptionOrder,
    /// What keepalive runs by on sockets that only switch it on.
    pub keepalive_times: KeepaliveConfig,
    /// How long an ACK may wait at most when the peer is slow; [`TcpConfig::delayed_ack`] is the least.
    pub delayed_ack_max: Nanos,
    /// How SYNs are repeated and answered.
    pub syn_habits: SynHabits,
    /// Added to every RTO but a connection's first (FreeBSD's `rexmit_slop`).
    pub rto_slop: Nanos,
    /// Give up connecting after this, however many SYNs were sent (FreeBSD's `keepinit`).
    pub connect_timeout: Option<Nanos>,
    /// Repeat a SYN that asked for ECN without asking, from the repetition after [`TcpConfig::ecn_retries`] on.
    pub ecn_fallback: bool,
    /// So often a SYN is repeated that still asks for ECN (FreeBSD's `ecn.maxretries`).
    pub ecn_retries: u8,
    /// Send no options, and ignore what the peer offers (TCP_NOOPT of a socket).
    pub no_options: bool,
    /// Fast Open (RFC 7413).
    pub fast_open: FastOpenConfig,
    /// SYN cookies (RFC 4987): `net.ipv4.tcp_syncookies`.
    pub syn_cookies: SynCookies,
    /// Half-open connections of a listener at most: `tcp_max_syn_backlog`.
    pub syn_backlog: u32,
    /// Longest accept queue whatever `listen` says: `somaxconn`.
    pub accept_backlog: u32,
    /// Reset a connection instead of dropping its last ACK when the accept queue is full: `tcp_abort_on_overflow`.
    pub abort_on_overflow: bool,
    /// Smallest MSS that is accepted from a peer.
    pub min_mss: u16,
    /// MSS of a peer that does not say.
    pub default_mss: u16,
    /// FreeBSD's `net.inet.tcp.insecure_*`.
    pub insecure: Insecure,
    /// Drop segments with SYN and FIN.
    pub drop_synfin: bool,
    /// How silent closed ports are.
    pub blackhole: Blackhole,
    /// RFC 1337: a RST does not end TIME-WAIT (Linux's `tcp_rfc1337`).
    pub time_wait_ignores_reset: bool,
    /// ICMP "too big" changes the segment size.
    pub path_mtu_discovery: bool,
    /// Hard ICMP errors reset attempts to connect: `net.inet.tcp.icmp_may_rst`.
    pub icmp_may_reset: bool,
    /// Drop segments without timestamps once they were agreed (RFC 7323 3.2).
    pub timestamps_required: bool,
    /// Timestamps begin at a random offset per pair of hosts.
    pub timestamp_offset: bool,
    /// RFC 5482, of a socket; zero is off.
    pub user_timeout: Nanos,
    /// TCP_MAXSEG of a socket.
    pub max_segment: Option<u16>,
    /// TCP_WINDOW_CLAMP of a socket.
    pub window_clamp: Option<u32>,
    /// A receive buffer that does not grow (SO_RCVBUF), as the system counts it.
    pub recv_buffer_fixed: Option<u32>,
    /// A send buffer that does not grow (SO_SNDBUF).
    pub send_buffer_fixed: Option<u32>,
    /// TCP_NOTSENT_LOWAT.
    pub not_sent_low_water: Option<u32>,
    /// Delivery rates are kept for TCP_INFO, whatever the congestion control; costs memory and time for each segment.
    pub delivery_rates: bool,
}

/// Whose code is followed where the differences are in the order of checks and not in numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    /// Linux.
    Linux,
    /// FreeBSD, and macOS which descends from it.
    Bsd,
}

/// How much window a segment offers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WindowOffer {
    /// The right edge moves by a segment at least.
    Steps,
    /// All that the buffer has room for, rounded up to what the window scale can say (FreeBSD from 13 on).
    AllRoundedUp,
    /// The same, rounded down (FreeBSD before 13).
    AllRoundedDown,
}

/// How a loss is repaired with SACK.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RecoveryKind {
    /// Losses by RACK or RFC 6675, the window by Proportional Rate Reduction (RFC 9937).
    Proportional,
    /// Every hole below the highest SACK is lost; the window collapses to one segment, and each duplicate ACK lets one
    /// more leave as long as less than half the old window is under way (FreeBSD before 13).
    Counted,
}

/// Checks of RFC 793 in place of those of RFC 5961 (FreeBSD's `net.inet.tcp.insecure_*`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Insecure {
    /// A RST anywhere in the window resets.
    pub rst: bool,
    /// A SYN anywhere in the window resets.
    pub syn: bool,
    /// Any ACK that is not of the future is taken.
    pub ack: bool,
}

/// How SYNs are repeated and answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SynHabits {
    /// So many at the same interval before it doubles (`tcp_syn_linear_timeouts`).
    pub linear: u8,
    /// From the fourth on without options but the MSS (FreeBSD's `rexmit_drop_options`).
    pub drops_options: bool,
    /// A SYN is answered with an MSS no larger than the peer's own.
    pub echoes_mss: bool,
    /// A passive open begins where a SYN cookie would, even when none is needed: the same SYN within 15 s gets the same
    /// number again.
    pub cookie_isn: bool,
}

/// When a listener answers with a cookie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SynCookies {
    /// Never: a full queue drops the SYN.
    Off,
    /// When the SYN queue is full.
    WhenFull,
    /// For every SYN.
    Always,
}

/// How silent closed ports are (FreeBSD's `net.inet.tcp.blackhole`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Blackhole {
    /// A RST answers.
    Off,
    /// No RST for a SYN.
    Syn,
    /// No RST at all.
    All,
}

/// Fast Open, as the bits of Linux's `tcp_fastopen` name it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FastOpenConfig {
    /// 0x1: connecting sockets may send data with the SYN.
    pub client: bool,
    /// 0x2: listeners that want it take data with the SYN.
    pub server: bool,
    /// 0x4: data goes with the SYN even without a cookie.
    pub client_no_cookie: bool,
    /// 0x200: data is taken even without a valid cookie.
    pub server_no_cookie: bool,
    /// 0x400: all listeners take it, without asking for it.
    pub all_listeners: bool,
    /// `tcp_fastopen_key`: its 16 bytes; drawn by the machine when `None`.
    pub key: Option<[u8; 16]>,
    /// The former key: its cookies are still taken.
    pub backup_key: Option<[u8; 16]>,
}

impl FastOpenConfig {
    /// From the bits of `net.ipv4.tcp_fastopen`.
    #[must_use]
    pub const fn from_bits(bits: u32) -> FastOpenConfig {
        FastOpenConfig {
            client: bits & 0x1 != 0,
            server: bits & 0x2 != 0,
            client_no_cookie: bits & 0x4 != 0,
            server_no_cookie: bits & 0x200 != 0,
            all_listeners: bits & 0x400 != 0,
            key: None,
            backup_key: None,
        }
    }
}

/// The congestion control algorithms.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CongestionKind {
    /// RFC 9438.
    Cubic,
    /// RFC 5681.
    Reno,
    /// BBR version 1, always paced.
    Bbr,
}

/// What may end slow start before a loss does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HystartKind {
    /// Nothing.
    Off,
    /// HyStart++ (RFC 9406).
    PlusPlus,
    /// HyStart as Linux has it: delay and ACK trains.
    Classic,
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

impl KeepaliveConfig {
    /// Linux: two hours, 75 s, 9 probes.
    const LINUX: KeepaliveConfig =
        KeepaliveConfig { idle: Nanos::from_secs(7200), interval: Nanos::from_secs(75), count: 9 };
}

impl Default for KeepaliveConfig {
    fn default() -> KeepaliveConfig {
        KeepaliveConfig::LINUX
    }
}

/// The default: Linux with the congestion control and the loss recovery of the RFCs.
const DEFAULT: TcpConfig = TcpConfig {
    congestion: CongestionKind::Cubic,
    hystart: HystartKind::PlusPlus,
    rack: true,
    tail_probe: true,
    frto: true,
    reordering: 3,
    pacing: false,
    max_pacing_rate: None,
    pacing_percent: (200, 120),
    push_bursts: true,
    min_burst: 2,
    slow_start_after_idle: true,
    initial_cwnd: 10,
    send_buffer: 4 << 20,
    recv_buffer: 6 << 20,
    initial_window: 65_535,
    timestamps: true,
    window_scaling: true,
    sack: true,
    dsack: true,
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
    family: Family::Linux,
    recovery: RecoveryKind::Proportional,
    window_offer: WindowOffer::Steps,
    timer_tick: Nanos::ZERO,
    option_order: OptionOrder::Linux,
    keepalive_times: KeepaliveConfig::LINUX,
    delayed_ack_max: Nanos::from_millis(200),
    syn_habits: SynHabits { linear: 0, drops_options: false, echoes_mss: false, cookie_isn: false },
    rto_slop: Nanos::ZERO,
    connect_timeout: None,
    ecn_fallback: true,
    ecn_retries: 0,
    no_options: false,
    fast_open: FastOpenConfig::from_bits(1),
    syn_cookies: SynCookies::WhenFull,
    syn_backlog: 1_024,
    accept_backlog: 4_096,
    abort_on_overflow: false,
    min_mss: 88,
    default_mss: 536,
    insecure: Insecure { rst: false, syn: false, ack: false },
    drop_synfin: false,
    blackhole: Blackhole::Off,
    time_wait_ignores_reset: true,
    path_mtu_discovery: true,
    icmp_may_reset: true,
    timestamps_required: false,
    timestamp_offset: true,
    user_timeout: Nanos::ZERO,
    max_segment: None,
    window_clamp: None,
    recv_buffer_fixed: None,
    send_buffer_fixed: None,
    not_sent_low_water: None,
    delivery_rates: false,
};

impl Default for TcpConfig {
    fn default() -> TcpConfig {
        DEFAULT
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
