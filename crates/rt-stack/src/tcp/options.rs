//! What an application sets on one socket, by the names of its socket calls.
//!
//! Most options change a copy of the machine's [`TcpConfig`] that the connection then runs on, so the code that decides
//! reads one place. Sockets without options of their own share the machine's.

use rt_base::Nanos;

use super::config::{CongestionKind, EcnMode, KeepaliveConfig, TcpConfig};

/// The options of one socket. The default changes nothing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SocketOptions {
    /// TCP_NODELAY: no Nagle.
    pub nodelay: bool,
    /// TCP_CORK: only full segments leave, until it is taken off or 200 ms have passed.
    pub cork: bool,
    /// SO_KEEPALIVE.
    pub keepalive: bool,
    /// TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT, where they differ from the machine's.
    pub keepalive_times: Option<KeepaliveConfig>,
    /// TCP_USER_TIMEOUT (RFC 5482): how long sent data may stay unacknowledged, or a closed window closed; zero is off.
    pub user_timeout: Nanos,
    /// TCP_SYNCNT.
    pub syn_retries: Option<u8>,
    /// TCP_KEEPINIT (FreeBSD): connecting fails after this.
    pub connect_timeout: Option<Nanos>,
    /// TCP_NOOPT (FreeBSD): no options are sent, and what the peer offers is ignored.
    pub no_options: bool,
    /// SO_LINGER: how long `close` may wait; zero resets.
    pub linger: Option<Nanos>,
    /// TCP_LINGER2: the life of FIN-WAIT-2 without an application. `Some(Nanos::ZERO)` ends it at once.
    pub fin_wait2: Option<Nanos>,
    /// TCP_MAXSEG: segments are never longer, and the SYN says so.
    pub max_segment: Option<u16>,
    /// TCP_WINDOW_CLAMP in bytes.
    pub window_clamp: Option<u32>,
    /// SO_RCVBUF as the system counts it (Linux doubles what the application says); switches autotuning off.
    pub receive_buffer: Option<u32>,
    /// SO_SNDBUF, likewise.
    pub send_buffer: Option<u32>,
    /// TCP_DEFER_ACCEPT of a listener: wait so long for data before `accept` gives the connection.
    pub defer_accept: Nanos,
    /// TCP_FASTOPEN of a listener: how many connections with data in their SYN may be unacknowledged.
    pub fast_open_queue: u32,
    /// TCP_FASTOPEN_CONNECT: the SYN waits for the first text if a cookie is known.
    pub fast_open_connect: bool,
    /// TCP_FASTOPEN_NO_COOKIE.
    pub fast_open_no_cookie: bool,
    /// TCP_NOTSENT_LOWAT: writable only while less than this waits unsent.
    pub not_sent_low_water: Option<u32>,
    /// SO_MAX_PACING_RATE in bytes per second: switches pacing on.
    pub max_pacing_rate: Option<u64>,
    /// What it does about ECN, where it differs from the machine.
    pub ecn: Option<EcnMode>,
    /// TCP_CONGESTION.
    pub congestion: Option<CongestionKind>,
    /// IP_TOS: the whole octet; its ECN bits are not the application's.
    pub tos: u8,
    /// IP_TTL.
    pub ttl: Option<u8>,
    /// IP_MTU_DISCOVER.
    pub mtu_discovery: Option<MtuDiscovery>,
}

/// The values of IP_MTU_DISCOVER.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MtuDiscovery {
    /// IP_PMTUDISC_DONT: no DF.
    Off,
    /// IP_PMTUDISC_WANT: the machine's habit.
    Want,
    /// IP_PMTUDISC_DO: always DF.
    Always,
    /// IP_PMTUDISC_PROBE: DF, and what ICMP says of the path is ignored.
    Probe,
}

impl SocketOptions {
    /// The configuration that a connection with these options runs on.
    #[must_use]
    pub fn apply(&self, machine: &TcpConfig) -> TcpConfig {
        let times = self.keepalive_times.unwrap_or(machine.keepalive_times);
        TcpConfig {
            nodelay: self.nodelay || machine.nodelay,
            keepalive: if self.keepalive { Some(times) } else { machine.keepalive },
            user_timeout: self.user_timeout,
            syn_retries: self.syn_retries.unwrap_or(machine.syn_retries),
            connect_timeout: self.connect_timeout.or(machine.connect_timeout),
            no_options: self.no_options,
            fin_wait2: self.fin_wait2.unwrap_or(machine.fin_wait2),
            max_segment: self.max_segment,
            window_clamp: self.window_clamp,
            recv_buffer_fixed: self.receive_buffer.or(machine.recv_buffer_fixed),
            send_buffer_fixed: self.send_buffer.or(machine.send_buffer_fixed),
            not_sent_low_water: self.not_sent_low_water.or(machine.not_sent_low_water),
            congestion: self.congestion.unwrap_or(machine.congestion),
            pacing: machine.pacing || self.max_pacing_rate.is_some(),
            max_pacing_rate: self.max_pacing_rate.or(machine.max_pacing_rate),
            ecn: self.ecn.unwrap_or(machine.ecn),
            ..machine.clone()
        }
    }
}
