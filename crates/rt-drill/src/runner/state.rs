//! TCP_INFO as the names that scripts assert about, and as a sentence for people.

use std::collections::BTreeMap;

use crate::machine::{Fd, Machine, numbers};

/// Offset, bytes and name of each field of Linux's `struct tcp_info`.
const FIELDS: [(usize, usize, &str); 54] = [
    (0, 1, "state"),
    (1, 1, "ca_state"),
    (2, 1, "retransmits"),
    (3, 1, "probes"),
    (4, 1, "backoff"),
    (5, 1, "options"),
    (8, 4, "rto"),
    (12, 4, "ato"),
    (16, 4, "snd_mss"),
    (20, 4, "rcv_mss"),
    (24, 4, "unacked"),
    (28, 4, "sacked"),
    (32, 4, "lost"),
    (36, 4, "retrans"),
    (40, 4, "fackets"),
    (44, 4, "last_data_sent"),
    (48, 4, "last_ack_sent"),
    (52, 4, "last_data_recv"),
    (56, 4, "last_ack_recv"),
    (60, 4, "pmtu"),
    (64, 4, "rcv_ssthresh"),
    (68, 4, "rtt"),
    (72, 4, "rttvar"),
    (76, 4, "snd_ssthresh"),
    (80, 4, "snd_cwnd"),
    (84, 4, "advmss"),
    (88, 4, "reordering"),
    (92, 4, "rcv_rtt"),
    (96, 4, "rcv_space"),
    (100, 4, "total_retrans"),
    (104, 8, "pacing_rate"),
    (112, 8, "max_pacing_rate"),
    (120, 8, "bytes_acked"),
    (128, 8, "bytes_received"),
    (136, 4, "segs_out"),
    (140, 4, "segs_in"),
    (144, 4, "notsent_bytes"),
    (148, 4, "min_rtt"),
    (152, 4, "data_segs_in"),
    (156, 4, "data_segs_out"),
    (160, 8, "delivery_rate"),
    (168, 8, "busy_time"),
    (176, 8, "rwnd_limited"),
    (184, 8, "sndbuf_limited"),
    (192, 4, "delivered"),
    (196, 4, "delivered_ce"),
    (200, 8, "bytes_sent"),
    (208, 8, "bytes_retrans"),
    (216, 4, "dsack_dups"),
    (220, 4, "reord_seen"),
    (224, 4, "rcv_ooopack"),
    (228, 4, "snd_wnd"),
    (232, 4, "rcv_wnd"),
    (236, 4, "rehash"),
];

/// Names of numbers that scripts compare with.
const CONSTANTS: [(&str, i64); 38] = [
    ("TCP_ESTABLISHED", 1),
    ("TCP_SYN_SENT", 2),
    ("TCP_SYN_RECV", 3),
    ("TCP_FIN_WAIT1", 4),
    ("TCP_FIN_WAIT2", 5),
    ("TCP_TIME_WAIT", 6),
    ("TCP_CLOSE", 7),
    ("TCP_CLOSE_WAIT", 8),
    ("TCP_LAST_ACK", 9),
    ("TCP_LISTEN", 10),
    ("TCP_CLOSING", 11),
    // The names in scripts for FreeBSD.
    ("TCPI_ESTABLISHED", 1),
    ("TCPI_SYN_SENT", 2),
    ("TCPI_SYN_RECEIVED", 3),
    ("TCPI_FIN_WAIT_1", 4),
    ("TCPI_FIN_WAIT_2", 5),
    ("TCPI_TIME_WAIT", 6),
    ("TCPI_CLOSED", 7),
    ("TCPI_CLOSE_WAIT", 8),
    ("TCPI_LAST_ACK", 9),
    ("TCPI_LISTEN", 10),
    ("TCPI_CLOSING", 11),
    ("TCP_CA_Open", 0),
    ("TCP_CA_Disorder", 1),
    ("TCP_CA_CWR", 2),
    ("TCP_CA_Recovery", 3),
    ("TCP_CA_Loss", 4),
    ("TCPI_OPT_TIMESTAMPS", 1),
    ("TCPI_OPT_SACK", 2),
    ("TCPI_OPT_WSCALE", 4),
    ("TCPI_OPT_ECN", 8),
    ("TCPI_OPT_ECN_SEEN", 16),
    ("TCPI_OPT_SYN_DATA", 32),
    ("TCPI_OPT_USEC_TS", 64),
    ("TCPI_OPT_TFO_CHILD", 128),
    ("TCP_INFINITE_SSTHRESH", 0x7fff_ffff),
    ("TFO_STATUS_UNSPEC", 0),
    ("TFO_COOKIE_UNAVAILABLE", 1),
];

/// Names of the states.
const STATES: [&str; 12] = [
    "(none)",
    "ESTABLISHED",
    "SYN-SENT",
    "SYN-RECEIVED",
    "FIN-WAIT-1",
    "FIN-WAIT-2",
    "TIME-WAIT",
    "CLOSED",
    "CLOSE-WAIT",
    "LAST-ACK",
    "LISTEN",
    "CLOSING",
];
/// Names of the congestion control's states.
const CA_STATES: [&str; 5] = ["open", "disorder", "cwr", "recovery", "loss"];

fn info(machine: &mut Machine, fd: Fd) -> Option<Vec<u8>> {
    machine.getsockopt(fd, numbers::SOL_TCP, numbers::TCP_INFO, 512).ok().filter(|b| b.len() >= 8)
}

fn field(bytes: &[u8], at: usize, len: usize) -> Option<i64> {
    let bytes = bytes.get(at..at + len)?;
    Some(match len {
        1 => i64::from(bytes[0]),
        4 => i64::from(u32::from_ne_bytes(bytes.try_into().ok()?)),
        _ => u64::from_ne_bytes(bytes.try_into().ok()?) as i64,
    })
}

/// Everything that an assertion may name; `None` if the descriptor has no TCP_INFO.
pub(super) fn names(machine: &mut Machine, fd: Fd) -> Option<BTreeMap<String, i64>> {
    let bytes = info(machine, fd)?;
    let mut names: BTreeMap<String, i64> = CONSTANTS.iter().map(|(n, v)| ((*n).to_owned(), *v)).collect();
    for (at, len, name) in FIELDS {
        if let Some(value) = field(&bytes, at, len) {
            names.insert(format!("tcpi_{name}"), value);
        }
    }
    names.insert("tcpi_snd_wscale".into(), i64::from(bytes[6] & 15));
    names.insert("tcpi_rcv_wscale".into(), i64::from(bytes[6] >> 4));
    names.insert("tcpi_delivery_rate_app_limited".into(), i64::from(bytes[7] & 1));
    names.insert("tcpi_fastopen_client_fail".into(), i64::from(bytes[7] >> 1 & 3));
    Some(names)
}

/// How the connection stands.
pub(super) fn describe(machine: &mut Machine, fd: Fd) -> Vec<String> {
    let Some(names) = names(machine, fd) else { return Vec::new() };
    let get = |name: &str| names.get(&format!("tcpi_{name}")).copied().unwrap_or(0);
    let named = |list: &[&str], n: i64| list.get(n as usize).copied().unwrap_or("?").to_owned();
    let ssthresh = match get("snd_ssthresh") {
        n if n >= 0x7fff_ffff => "unlimited".to_owned(),
        n => n.to_string(),
    };
    let millis = |name: &str| format!("{}.{:03} ms", get(name) / 1_000, get(name) % 1_000);
    vec![
        format!(
            "the connection: {}, recovery state {}, cwnd {} and ssthresh {ssthresh} segments of {} bytes",
            named(&STATES, get("state")),
            named(&CA_STATES, get("ca_state")),
            get("snd_cwnd"),
            get("snd_mss"),
        ),
        format!(
            "in flight {}, SACKed {}, held lost {}, resent and not acknowledged {}; RTO {}, smoothed RTT {}",
            get("unacked"),
            get("sacked"),
            get("lost"),
            get("retrans"),
            millis("rto"),
            millis("rtt"),
        ),
    ]
}
