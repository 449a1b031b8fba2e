//! What a scenario says about a machine's TCP, in the stack's words.

use rt_base::Nanos;
use rt_scenario::model::{Congestion, Ecn, FastOpen, SynCookies, System, TcpOptions};
use rt_stack::tcp::{
    CongestionKind, EcnMode, FastOpenConfig, HystartKind, KeepaliveConfig, SynCookies as Cookies, TcpConfig,
};

/// No timer of a connection is shorter, whatever a file says: time has to pass.
const SHORTEST: Nanos = Nanos::from_millis(1);
/// No buffer is smaller: a segment has to fit (Linux: `SOCK_MIN_RCVBUF`).
const SMALLEST_BUFFER: u32 = 2_304;

/// The system's TCP with what was said about it.
pub(crate) fn config(said: &TcpOptions) -> TcpConfig {
    let mut config = match said.system {
        System::Linux => TcpConfig::default(),
        System::Freebsd => TcpConfig::freebsd(),
        System::Macos => TcpConfig::macos(),
        System::Constrained => TcpConfig::constrained(),
    };
    sending(said, &mut config);
    opening(said, &mut config);
    let c = &mut config;
    set(&mut c.timestamps, said.timestamps);
    set(&mut c.window_scaling, said.window_scaling);
    set(&mut c.sack, said.sack);
    set(&mut c.path_mtu_discovery, said.path_mtu_discovery);
    set(&mut c.quickack_segments, said.quick_acks);
    set(&mut c.initial_window, said.initial_receive_window);
    set(&mut c.user_timeout, said.user_timeout);
    if let Some(delay) = said.delayed_ack {
        (c.delayed_ack, c.delayed_ack_max) = (delay, delay);
    }
    if let Some(k) = said.keepalive {
        let (idle, interval) = (k.idle.max(SHORTEST), k.interval.max(SHORTEST));
        let probes = KeepaliveConfig { idle, interval, count: k.count };
        (c.keepalive, c.keepalive_times) = (Some(probes), probes);
    }
    if let Some(bytes) = said.buffers {
        let bytes = bytes.max(SMALLEST_BUFFER);
        (c.send_buffer, c.recv_buffer) = (bytes, bytes);
    }
    if let Some(msl) = said.msl {
        c.time_wait = msl + msl;
    }
    c.max_segment = said.max_segment.or(c.max_segment);
    config
}

/// How fast, and what when something is lost.
fn sending(said: &TcpOptions, c: &mut TcpConfig) {
    set(&mut c.initial_cwnd, said.initial_window);
    set(&mut c.pacing, said.pacing);
    set(&mut c.rack, said.rack);
    set(&mut c.tail_probe, said.tail_probes);
    set(&mut c.nodelay, said.nagle.map(|nagle| !nagle));
    set(&mut c.rto_initial, said.rto_initial.map(|rto| rto.max(SHORTEST)));
    set(&mut c.rto_min, said.rto_min.map(|rto| rto.max(SHORTEST)));
    if let Some(hystart) = said.hystart {
        c.hystart = if hystart { HystartKind::PlusPlus } else { HystartKind::Off };
    }
    if let Some(congestion) = said.congestion {
        c.congestion = match congestion {
            Congestion::Cubic => CongestionKind::Cubic,
            Congestion::Reno => CongestionKind::Reno,
            Congestion::Bbr => CongestionKind::Bbr,
        };
    }
}

/// The handshake and its queues.
fn opening(said: &TcpOptions, c: &mut TcpConfig) {
    set(&mut c.syn_backlog, said.syn_queue);
    set(&mut c.accept_backlog, said.accept_queue);
    if let Some(ecn) = said.ecn {
        c.ecn = match ecn {
            Ecn::Off => EcnMode::Off,
            Ecn::Accept => EcnMode::Passive,
            Ecn::Ask => EcnMode::On,
        };
    }
    if let Some(cookies) = said.syn_cookies {
        c.syn_cookies = match cookies {
            SynCookies::Off => Cookies::Off,
            SynCookies::WhenFull => Cookies::WhenFull,
            SynCookies::Always => Cookies::Always,
        };
    }
    if let Some(sides) = said.fast_open {
        // The bits of Linux's `tcp_fastopen`: 1 client, 2 server, 0x400 all listeners.
        c.fast_open = FastOpenConfig::from_bits(match sides {
            FastOpen::Off => 0,
            FastOpen::Client => 0x1,
            FastOpen::Server => 0x402,
            FastOpen::Both => 0x403,
        });
    }
}

fn set<T>(field: &mut T, said: Option<T>) {
    if let Some(value) = said {
        *field = value;
    }
}
