//! Sysctls of Linux and FreeBSD: which of this stack's settings each name is.

use rt_base::Nanos;
use rt_stack::tcp::{Blackhole, EcnMode, FastOpenConfig, SynCookies, TcpConfig};

use super::settings::{Applied, Settings, congestion};

type Outcome = Result<Applied, &'static str>;

const SWITCH: &str = "0 or 1";
const NUMBER: &str = "a number";

/// Sets one sysctl. The error says what would have been right.
pub(super) fn set(settings: &mut Settings, name: &str, value: &str) -> Outcome {
    let dotted = name.trim_start_matches("/proc/sys/").replace('/', ".");
    if let Some(name) = dotted.strip_prefix("net.inet.tcp.") {
        return freebsd(settings, name, value);
    }
    if let Some(name) = dotted.strip_prefix("net.ipv4.") {
        return linux(settings, name, value);
    }
    if dotted.starts_with("tcp_") {
        return linux(settings, &dotted, value);
    }
    match dotted.as_str() {
        "net.core.somaxconn" | "kern.ipc.somaxconn" | "kern.ipc.soacceptqueue" => {
            put(&mut settings.tcp.accept_backlog, number(value))
        }
        // FreeBSD chooses the window scale so that it covers this.
        "kern.ipc.maxsockbuf" => put(&mut settings.tcp.recv_buffer, number(value)),
        _ if ["net.core.", "net.inet.", "net.inet6.", "net.ipv6.", "kern."]
            .iter()
            .any(|p| dotted.starts_with(p)) =>
        {
            Ok(Applied::Ignored)
        }
        _ => Ok(Applied::Unknown),
    }
}

/// `net.ipv4.`
fn linux(settings: &mut Settings, name: &str, value: &str) -> Outcome {
    let tcp = &mut settings.tcp;
    match name {
        "tcp_timestamps" => {
            // 1: with a random offset for each pair of hosts, 2: without.
            let mode = number(value)?;
            (tcp.timestamps, tcp.timestamp_offset) = (mode != 0, mode == 1);
            Ok(Applied::Yes)
        }
        "tcp_sack" => put(&mut tcp.sack, switch(value)),
        "tcp_dsack" => put(&mut tcp.dsack, switch(value)),
        "tcp_window_scaling" => put(&mut tcp.window_scaling, switch(value)),
        "tcp_ecn" => {
            tcp.ecn = match number(value)? {
                0 => EcnMode::Off,
                1 | 3 | 4 => EcnMode::On,
                _ => EcnMode::Passive,
            };
            Ok(Applied::Yes)
        }
        "tcp_ecn_fallback" => put(&mut tcp.ecn_fallback, switch(value)),
        "tcp_congestion_control" => {
            tcp.congestion = congestion(value).ok_or("the name of a congestion control of this stack")?;
            Ok(Applied::Yes)
        }
        "tcp_notsent_lowat" => {
            put(&mut tcp.not_sent_low_water, number(value).map(|n| (n != u32::MAX).then_some(n)))
        }
        "tcp_invalid_ratelimit" => put(&mut tcp.challenge_interval, millis(value)),
        "tcp_rfc1337" => put(&mut tcp.time_wait_ignores_reset, switch(value)),
        "tcp_rto_min_us" => put(&mut tcp.rto_min, number(value).map(|n| Nanos::from_micros(n.into()))),
        "tcp_rto_max_ms" => put(&mut tcp.rto_max, millis(value)),
        "tcp_min_snd_mss" => {
            put(&mut tcp.min_mss, number(value).map(|n| u16::try_from(n).unwrap_or(u16::MAX)))
        }
        "ip_no_pmtu_disc" => put(&mut tcp.path_mtu_discovery, switch(value).map(|off| !off)),
        "tcp_rmem" => {
            settings.rmem = three(value)?;
            receive_memory(settings);
            Ok(Applied::Yes)
        }
        "tcp_wmem" => {
            settings.wmem = three(value)?;
            settings.tcp.send_buffer = settings.wmem[2];
            Ok(Applied::Yes)
        }
        _ => opening(tcp, name, value),
    }
}

/// Names about listeners, cookies and Fast Open of `net.ipv4.`
fn opening(tcp: &mut TcpConfig, name: &str, value: &str) -> Outcome {
    match name {
        "tcp_syncookies" => {
            tcp.syn_cookies = match number(value)? {
                0 => SynCookies::Off,
                1 => SynCookies::WhenFull,
                _ => SynCookies::Always,
            };
            Ok(Applied::Yes)
        }
        "tcp_max_syn_backlog" => put(&mut tcp.syn_backlog, number(value)),
        "tcp_abort_on_overflow" => put(&mut tcp.abort_on_overflow, switch(value)),
        "tcp_fastopen" => {
            let (key, backup_key) = (tcp.fast_open.key, tcp.fast_open.backup_key);
            tcp.fast_open = FastOpenConfig { key, backup_key, ..FastOpenConfig::from_bits(number(value)?) };
            Ok(Applied::Yes)
        }
        "tcp_fastopen_key" => {
            let mut keys = value.split(',');
            let first = keys.next().unwrap_or_default();
            tcp.fast_open.key = Some(fast_open_key(first)?);
            tcp.fast_open.backup_key = keys.next().map(fast_open_key).transpose()?;
            Ok(Applied::Yes)
        }
        _ => counts(tcp, name, value),
    }
}

/// How often and when of `net.ipv4.`
fn counts(tcp: &mut TcpConfig, name: &str, value: &str) -> Outcome {
    match name {
        "tcp_syn_retries" => put(&mut tcp.syn_retries, small(value)),
        "tcp_synack_retries" => put(&mut tcp.synack_retries, small(value)),
        "tcp_retries2" => put(&mut tcp.data_retries, small(value)),
        "tcp_orphan_retries" => {
            put(&mut tcp.orphan_retries, small(value).map(|n| if n == 0 { 8 } else { n }))
        }
        "tcp_fin_timeout" => put(&mut tcp.fin_wait2, seconds(value)),
        "tcp_keepalive_time" => put(&mut tcp.keepalive_times.idle, seconds(value)),
        "tcp_keepalive_intvl" => put(&mut tcp.keepalive_times.interval, seconds(value)),
        "tcp_keepalive_probes" => put(&mut tcp.keepalive_times.count, small(value)),
        _ => recovery(tcp, name, value),
    }
}

/// Names about loss recovery and sending of `net.ipv4.`
fn recovery(tcp: &mut TcpConfig, name: &str, value: &str) -> Outcome {
    match name {
        // A bit field; bit 0 is RACK itself.
        "tcp_recovery" => put(&mut tcp.rack, number(value).map(|bits| bits & 1 != 0)),
        "tcp_early_retrans" => put(&mut tcp.tail_probe, number(value).map(|mode| mode >= 3)),
        "tcp_frto" => put(&mut tcp.frto, number(value).map(|mode| mode != 0)),
        "tcp_min_tso_segs" => put(&mut tcp.min_burst, number(value)),
        "tcp_pacing_ss_ratio" => put(&mut tcp.pacing_percent.0, number(value)),
        "tcp_pacing_ca_ratio" => put(&mut tcp.pacing_percent.1, number(value)),
        "tcp_reordering" => put(&mut tcp.reordering, number(value)),
        "tcp_slow_start_after_idle" => put(&mut tcp.slow_start_after_idle, switch(value)),
        _ if ["tcp_", "ip_", "icmp_"].iter().any(|prefix| name.starts_with(prefix)) => Ok(Applied::Ignored),
        _ => Ok(Applied::Unknown),
    }
}

/// What `tcp_rmem` means for windows: Linux gives half of a buffer to the window (`tcp_adv_win_scale` 1).
fn receive_memory(settings: &mut Settings) {
    let [_, first, largest] = settings.rmem;
    settings.tcp.recv_buffer = largest;
    settings.tcp.initial_window = first / 2;
}

/// `net.inet.tcp.`
fn freebsd(settings: &mut Settings, name: &str, value: &str) -> Outcome {
    let tcp = &mut settings.tcp;
    match name {
        "sack.enable" => put(&mut tcp.sack, switch(value)),
        "rfc1323" => {
            // 2: window scaling alone, 3: timestamps alone.
            let mode = number(value)?;
            (tcp.window_scaling, tcp.timestamps) = (mode == 1 || mode == 2, mode == 1 || mode == 3);
            Ok(Applied::Yes)
        }
        "ecn.enable" => {
            tcp.ecn = match number(value)? {
                0 => EcnMode::Off,
                1 | 3 => EcnMode::On,
                _ => EcnMode::Passive,
            };
            Ok(Applied::Yes)
        }
        "insecure_rst" => put(&mut tcp.insecure.rst, switch(value)),
        "insecure_syn" => put(&mut tcp.insecure.syn, switch(value)),
        "insecure_ack" => put(&mut tcp.insecure.ack, switch(value)),
        "ecn.maxretries" => put(&mut tcp.ecn_retries, small(value)),
        "rexmit_drop_options" => put(&mut tcp.syn_habits.drops_options, switch(value)),
        "drop_synfin" => put(&mut tcp.drop_synfin, switch(value)),
        "blackhole" => {
            tcp.blackhole = match number(value)? {
                0 => Blackhole::Off,
                1 => Blackhole::Syn,
                _ => Blackhole::All,
            };
            Ok(Applied::Yes)
        }
        "tolerate_missing_ts" => put(&mut tcp.timestamps_required, switch(value).map(|tolerate| !tolerate)),
        "ts_offset_per_conn" => put(&mut tcp.timestamp_offset, switch(value)),
        "path_mtu_discovery" => put(&mut tcp.path_mtu_discovery, switch(value)),
        "icmp_may_rst" => put(&mut tcp.icmp_may_reset, switch(value)),
        "syncookies" => {
            tcp.syn_cookies = if switch(value)? { SynCookies::WhenFull } else { SynCookies::Off };
            Ok(Applied::Yes)
        }
        "syncookies_only" => {
            tcp.syn_cookies = if switch(value)? { SynCookies::Always } else { SynCookies::WhenFull };
            Ok(Applied::Yes)
        }
        "fastopen.client_enable" => put(&mut tcp.fast_open.client, switch(value)),
        "fastopen.server_enable" => put(&mut tcp.fast_open.server, switch(value)),
        "fastopen.setkey" => {
            tcp.fast_open.key = Some(fast_open_key(value)?);
            Ok(Applied::Yes)
        }
        "cc.algorithm" => {
            tcp.congestion = congestion(value).ok_or("the name of a congestion control of this stack")?;
            Ok(Applied::Yes)
        }
        _ => freebsd_times(settings, name, value),
    }
}

/// Times, counts and sizes of `net.inet.tcp.`
fn freebsd_times(settings: &mut Settings, name: &str, value: &str) -> Outcome {
    let tcp = &mut settings.tcp;
    match name {
        "msl" => put(&mut tcp.time_wait, millis(value).map(|msl| msl.times(2))),
        "finwait2_timeout" => put(&mut tcp.fin_wait2, millis(value)),
        "rexmit_initial" => put(&mut tcp.rto_initial, millis(value)),
        "keepinit" => put(&mut tcp.connect_timeout, millis(value).map(Some)),
        "keepidle" => put(&mut tcp.keepalive_times.idle, millis(value)),
        "keepintvl" => put(&mut tcp.keepalive_times.interval, millis(value)),
        "keepcnt" => put(&mut tcp.keepalive_times.count, small(value)),
        "always_keepalive" => {
            let times = tcp.keepalive_times;
            put(&mut tcp.keepalive, switch(value).map(|on| on.then_some(times)))
        }
        "delacktime" => {
            let time = millis(value)?;
            (tcp.delayed_ack, tcp.delayed_ack_max) = (time, time);
            Ok(Applied::Yes)
        }
        "initcwnd_segments" => put(&mut tcp.initial_cwnd, number(value)),
        "mssdflt" => put(&mut tcp.default_mss, number(value).map(|n| u16::try_from(n).unwrap_or(u16::MAX))),
        "minmss" => put(&mut tcp.min_mss, number(value).map(|n| u16::try_from(n).unwrap_or(u16::MAX))),
        "recvspace" => {
            let space = number(value)?;
            settings.rmem[1] = space;
            tcp.initial_window = space;
            Ok(Applied::Yes)
        }
        "recvbuf_max" => {
            settings.rmem[2] = number(value)?;
            tcp.recv_buffer = settings.rmem[2];
            Ok(Applied::Yes)
        }
        "sendspace" => {
            settings.wmem[1] = number(value)?;
            Ok(Applied::Yes)
        }
        "sendbuf_max" => {
            settings.wmem[2] = number(value)?;
            tcp.send_buffer = settings.wmem[2];
            Ok(Applied::Yes)
        }
        // The retransmission timer's slack: the smallest RTO is rexmit_min plus it.
        "rexmit_slop" => {
            tcp.rto_slop = millis(value)?;
            tcp.rto_min = Nanos::from_millis(30) + tcp.rto_slop;
            Ok(Applied::Yes)
        }
        _ => Ok(Applied::Ignored),
    }
}

fn put<T>(place: &mut T, value: Result<T, &'static str>) -> Outcome {
    *place = value?;
    Ok(Applied::Yes)
}

/// Decimal or, with `0x`, hexadecimal; -1 is the largest.
fn number(value: &str) -> Result<u32, &'static str> {
    let value = value.trim();
    if value == "-1" {
        return Ok(u32::MAX);
    }
    match value.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16),
        None => value.parse(),
    }
    .map_err(|_| NUMBER)
}

fn small(value: &str) -> Result<u8, &'static str> {
    number(value).and_then(|n| u8::try_from(n).map_err(|_| "a number up to 255"))
}

fn switch(value: &str) -> Result<bool, &'static str> {
    number(value).map(|n| n != 0).map_err(|_| SWITCH)
}

fn seconds(value: &str) -> Result<Nanos, &'static str> {
    number(value).map(|n| Nanos::from_secs(n.into())).map_err(|_| "a number of seconds")
}

fn millis(value: &str) -> Result<Nanos, &'static str> {
    number(value).map(|n| Nanos::from_millis(n.into())).map_err(|_| "a number of milliseconds")
}

/// Three numbers with spaces (or tabs) between them.
fn three(value: &str) -> Result<[u32; 3], &'static str> {
    let expected = "three numbers with spaces between them";
    let numbers: Result<Vec<u32>, _> = value.split_whitespace().map(number).collect();
    numbers.ok().and_then(|numbers| <[u32; 3]>::try_from(numbers).ok()).ok_or(expected)
}

/// 32 hexadecimal digits, with dashes as Linux writes them or without: four words, each of which Linux keeps little end
/// first.
fn fast_open_key(value: &str) -> Result<[u8; 16], &'static str> {
    let digits: String = value.trim().chars().filter(|c| *c != '-').collect();
    if digits.len() != 32 || !digits.is_ascii() {
        return Err("32 hexadecimal digits");
    }
    let mut key = [0; 16];
    for (at, byte) in key.iter_mut().enumerate() {
        let pair = digits.get(2 * at..2 * at + 2).unwrap_or_default();
        *byte = u8::from_str_radix(pair, 16).map_err(|_| "32 hexadecimal digits")?;
    }
    for word in key.chunks_exact_mut(4) {
        word.reverse();
    }
    Ok(key)
}
