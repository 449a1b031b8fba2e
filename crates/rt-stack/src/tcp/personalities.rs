//! The systems that are known by name, as data.
//!
//! Each says what its system does without anybody's sysctl. What cannot be said in numbers hangs on
//! [`Family`] and on the switches of [`TcpConfig`].

use rt_base::Nanos;
use rt_wire::OptionOrder;

use super::config::{
    CongestionKind, EcnMode, Family, FastOpenConfig, HystartKind, KeepaliveConfig, RecoveryKind, SynCookies,
    SynHabits, TcpConfig, WindowOffer,
};

/// The systems that are known by name.
impl TcpConfig {
    /// Linux 6 with its usual sysctls.
    #[must_use]
    pub fn linux() -> TcpConfig {
        TcpConfig { hystart: HystartKind::Classic, ..TcpConfig::default() }
    }

    /// FreeBSD 14: ACKs are delayed from the start, no ACK of the peer's FIN is lost on unread data, connecting ends
    /// after 75 s.
    #[must_use]
    pub fn freebsd() -> TcpConfig {
        TcpConfig {
            family: Family::Bsd,
            rack: false,
            tail_probe: false,
            frto: false,
            push_bursts: false,
            option_order: OptionOrder::FreeBsd,
            send_buffer: 2 << 20,
            recv_buffer: 2 << 20,
            initial_window: 65_536,
            syn_retries: 12,
            synack_retries: 3,
            data_retries: 12,
            orphan_retries: 12,
            rto_min: Nanos::from_millis(230),
            rto_max: Nanos::from_secs(64),
            delayed_ack_max: Nanos::from_millis(40),
            quickack_segments: 0,
            keepalive_times: KeepaliveConfig { count: 8, ..KeepaliveConfig::default() },
            rto_slop: Nanos::from_millis(200),
            ecn_retries: 1,
            connect_timeout: Some(Nanos::from_secs(75)),
            fast_open: FastOpenConfig::from_bits(0),
            syn_cookies: SynCookies::WhenFull,
            syn_backlog: 15_360,
            accept_backlog: 128,
            min_mss: 216,
            timestamps_required: true,
            window_offer: WindowOffer::AllRoundedUp,
            syn_habits: SynHabits { cookie_isn: true, ..SynHabits::default() },
            ..TcpConfig::default()
        }
    }

    /// Linux before 5.4: PSH marks the end of what was written and not of every burst.
    #[must_use]
    pub fn linux_4() -> TcpConfig {
        TcpConfig { push_bursts: false, ..TcpConfig::linux() }
    }

    /// FreeBSD 11: three seconds before the first measurement (RFC 1122's), ACKs delayed by 100 ms, timers that run by
    /// a tick of 1 ms (`callout_reset` with `kern.hz` = 1000), NewReno (`cc_newreno`), recovery that counts duplicate
    /// ACKs, and an MSS that is no larger than the peer's (`syncache_respond`).
    #[must_use]
    pub fn freebsd_11() -> TcpConfig {
        TcpConfig {
            rto_initial: Nanos::from_secs(3),
            delayed_ack: Nanos::from_millis(100),
            delayed_ack_max: Nanos::from_millis(100),
            timer_tick: Nanos::from_millis(1),
            congestion: CongestionKind::Reno,
            recovery: RecoveryKind::Counted,
            window_offer: WindowOffer::AllRoundedDown,
            syn_habits: SynHabits { echoes_mss: true, cookie_isn: true, ..SynHabits::default() },
            ..TcpConfig::freebsd()
        }
    }

    /// macOS: FreeBSD's forebears with a short TIME-WAIT, and ACKs that are delayed (by 100 ms) only once data streams
    /// (`net.inet.tcp.delayed_ack=3`).
    #[must_use]
    pub fn macos() -> TcpConfig {
        TcpConfig {
            option_order: OptionOrder::MacOs,
            delayed_ack: Nanos::from_millis(100),
            delayed_ack_max: Nanos::from_millis(100),
            quickack_segments: 16,
            time_wait: Nanos::from_secs(30),
            ecn: EcnMode::On,
            window_offer: WindowOffer::Steps,
            syn_habits: SynHabits::default(),
            ..TcpConfig::freebsd()
        }
    }

    /// A small device: two segments of buffer, no options but the MSS, delayed ACKs of 250 ms.
    #[must_use]
    pub fn constrained() -> TcpConfig {
        TcpConfig {
            congestion: CongestionKind::Reno,
            frto: false,
            push_bursts: false,
            initial_cwnd: 2,
            send_buffer: 2_920,
            recv_buffer: 5_840,
            initial_window: 5_840,
            timestamps: false,
            window_scaling: false,
            sack: false,
            quickack_segments: 0,
            rto_initial: Nanos::from_secs(3),
            rto_min: Nanos::from_secs(1),
            rto_max: Nanos::from_secs(60),
            delayed_ack: Nanos::from_millis(250),
            delayed_ack_max: Nanos::from_millis(250),
            syn_retries: 5,
            synack_retries: 3,
            data_retries: 12,
            ecn: EcnMode::Off,
            fast_open: FastOpenConfig::from_bits(0),
            syn_cookies: SynCookies::Off,
            syn_backlog: 4,
            accept_backlog: 4,
            timestamp_offset: false,
            ..TcpConfig::default()
        }
    }
}
