//! iperf3 against a real iperf3, over 20 Mbit/s, 4 ms there and back.
//!
//! Upper bounds are what the link can carry, with headers; lower ones allow for a machine that is busy with other things.

use std::path::Path;

use serde_json::Value;

use super::group;
use crate::play::{Group, Row};

/// Of 20 Mbit/s, TCP can bring 1,448 bytes of 1,538.
const MOST: f64 = 20e6 * 1_448.0 / 1_538.0;

group! {
    Group {
        scenario: "rates.yaml",
        files: &[("rates.yaml", include_str!("../rates.yaml"))],
        others: &[("bench", "iperf3 -s"), ("lossy", "iperf3 -s")],
        // What the lossy link or a full queue threw away is missing, and comes again.
        explained: &[
            r"[|,]Previous segment\(s\) not captured",
            r"out-of-order segment",
            r"[|,]D-SACK Sequence",
            // A receiver that waits for one lost segment cannot take more.
            r"\|TCP window specified by the receiver is now completely full",
            r"^\|6291456\|Connection reset \(RST\)\|\d+ → 5201 \[RST|^\|6291456\|Connection reset \(RST\)\|5201 → ",
        ],
        ..Group::NONE
    };
    iperf3_tcp: Row {
        client: "iperf3",
        asked: "iperf3 -J --repeating-payload -t 3 -c 10.0.0.2",
        came: "most of 20 Mbit/s, and never more than fits",
        check: Some(|_, said| tcp(said, 0.5 * MOST)),
        ..Row::NONE
    },
    iperf3_tcp_reverse: Row {
        client: "iperf3",
        asked: "iperf3 -J --repeating-payload -t 3 -R -c 10.0.0.2",
        came: "the same in the other direction",
        check: Some(|_, said| tcp(said, 0.5 * MOST)),
        ..Row::NONE
    },
    iperf3_tcp_lossy: Row {
        client: "iperf3",
        asked: "iperf3 -J --repeating-payload -t 3 -c 10.0.0.3",
        came: "what is left at 1 % loss, with retransmissions",
        check: Some(|_, said| {
            tcp(said, 0.02 * MOST)?;
            let again = number(said, "/end/sum_sent/retransmits")?;
            if again > 0.0 { Ok(()) } else { Err("nothing was sent again".into()) }
        }),
        ..Row::NONE
    },
    iperf3_udp: Row {
        client: "iperf3",
        asked: "iperf3 -J --repeating-payload -u -b 8M -t 3 -c 10.0.0.2",
        came: "8 Mbit/s without loss",
        check: Some(|_, said| udp(said, 0.0..=0.2)),
        ..Row::NONE
    },
    iperf3_udp_reverse: Row {
        client: "iperf3",
        asked: "iperf3 -J --repeating-payload -u -b 8M -t 3 -R -c 10.0.0.2",
        came: "the same in the other direction",
        check: Some(|_, said| udp(said, 0.0..=0.2)),
        ..Row::NONE
    },
    iperf3_udp_lossy: Row {
        client: "iperf3",
        asked: "iperf3 -J --repeating-payload -u -b 8M -t 3 -c 10.0.0.3",
        came: "1 % lost",
        // 2,000 datagrams: four standard deviations are 0.9 %.
        check: Some(|_, said| udp(said, 0.1..=2.0)),
        ..Row::NONE
    },
    iperf3_udp_lossy_reverse: Row {
        client: "iperf3",
        asked: "iperf3 -J --repeating-payload -u -b 8M -t 3 -R -c 10.0.0.3",
        came: "1 % lost",
        check: Some(|folder, said| {
            both_ways(folder)?;
            udp(said, 0.1..=2.0)
        }),
        ..Row::NONE
    },
}

fn number(said: &str, place: &str) -> Result<f64, String> {
    let value: Value = serde_json::from_str(said).map_err(|e| format!("not JSON: {e}"))?;
    value.pointer(place).and_then(Value::as_f64).ok_or_else(|| format!("no {place}"))
}

/// What arrived, between `least` and what the link can carry (and iperf3's own idea of a second may be off by 2 %).
fn tcp(said: &str, least: f64) -> Result<(), String> {
    let rate = number(said, "/end/sum_received/bits_per_second")?;
    let found = (least..MOST * 1.02).contains(&rate);
    if found { Ok(()) } else { Err(format!("{:.2} Mbit/s", rate / 1e6)) }
}

fn udp(said: &str, lost: std::ops::RangeInclusive<f64>) -> Result<(), String> {
    let rate = number(said, "/end/sum/bits_per_second")?;
    let percent = number(said, "/end/sum/lost_percent")?;
    let found = (7.0e6..8.3e6).contains(&rate) && lost.contains(&percent);
    if found { Ok(()) } else { Err(format!("{:.2} Mbit/s, {percent} % lost", rate / 1e6)) }
}

/// Whether both machines have captures: two real kernels spoke with each other here.
fn both_ways(folder: &Path) -> Result<(), String> {
    let missing = ["laptop", "bench", "lossy"]
        .into_iter()
        .find(|node| !folder.join(format!("run/captures/{node}-eth0.pcapng")).exists());
    missing.map_or(Ok(()), |node| Err(format!("no capture of {node}")))
}
