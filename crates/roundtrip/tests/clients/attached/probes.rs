//! Clients that measure ways and look for ports.

use super::group;
use crate::play::{Group, Row};

/// The five hops to google.com as traceroute numbers them.
const HOPS: &[&str] = &[
    r"^ 1  192\.168\.1\.1 ",
    r"^ 2  203\.0\.113\.1 ",
    r"^ 3  198\.18\.0\.14 ",
    r"^ 4  198\.18\.0\.2 ",
    r"^ 5  142\.250\.190\.46 .* ms",
];

/// What runs on ports of guarded.example.
const PORTS: &[&str] = &[r"^22/tcp +filtered", r"^80/tcp +open", r"^443/tcp +closed", r"^8080/tcp +filtered"];

group! {
    Group {
        // Probes end without a handshake: what nobody listens on resets, and the prober's kernel resets what it did not ask for.
        explained: &[r"Connection reset \(RST\)\|\d+ → \d+ \[RST(, ACK)?\] Seq=1 "],
        ..Group::NONE
    };
    ping: Row {
        client: "ping",
        asked: "ping -n -c 3 -i 0.3 google.com",
        came: "three answers, TTL 60, from 15 ms on",
        said: &["3 packets transmitted, 3 received, 0% packet loss", "icmp_seq=3 ttl=60 time="],
        told: &[r"ping +142\.250\.190\.46", r"ping 3 .*came back"],
        check: Some(|_, said| at_least(said, "rtt min/avg/max/mdev = ", 14.9)),
        ..Row::NONE
    },
    traceroute_udp: Row {
        client: "traceroute",
        asked: "traceroute -n google.com",
        came: "the five hops, by UDP",
        said: HOPS,
        ..Row::NONE
    },
    nmap_connect: Row {
        client: "nmap",
        asked: "nmap -n -Pn -sT -p 22,80,443,8080 guarded.example",
        came: "80 open, 443 closed, 22 (refused by a rule) and 8080 filtered",
        said: PORTS,
        ..Row::NONE
    },
    nmap_syn: Row {
        client: "nmap",
        asked: "nmap -n -Pn -sS -p 22,80,443,8080 guarded.example",
        came: "the same by half-open connections",
        said: PORTS,
        ..Row::NONE
    },
    traceroute_icmp: Row {
        client: "traceroute",
        asked: "sleep 3; traceroute -n -I google.com",
        came: "the five hops, by ICMP",
        said: HOPS,
        ..Row::NONE
    },
    hping3_open: Row {
        client: "hping3",
        asked: "hping3 -S -p 80 -c 3 guarded.example",
        came: "SYN-ACK three times",
        said: &["3 packets transmitted, 3 packets received", "sport=80 flags=SA seq=2"],
        ..Row::NONE
    },
    hping3_closed: Row {
        client: "hping3",
        asked: "hping3 -S -p 443 -c 2 guarded.example",
        came: "RST twice",
        said: &["2 packets transmitted, 2 packets received", "sport=443 flags=RA seq=1"],
        ..Row::NONE
    },
    traceroute_tcp: Row {
        client: "traceroute",
        asked: "sleep 3; traceroute -n -T -p 443 google.com",
        came: "the five hops, by TCP",
        said: HOPS,
        ..Row::NONE
    },
    mtr: Row {
        client: "mtr",
        asked: "sleep 3; mtr -n -r -c 3 -i 1.5 google.com",
        came: "the five hops without loss",
        said: &[
            r"1\.\|-- 192\.168\.1\.1 +0\.0%",
            r"2\.\|-- 203\.0\.113\.1 +0\.0%",
            r"4\.\|-- 198\.18\.0\.2 +0\.0%",
            r"5\.\|-- 142\.250\.190\.46 +0\.0% +3 ",
        ],
        ..Row::NONE
    },
    tracepath: Row {
        client: "tracepath",
        asked: "tracepath -n narrow.example",
        came: "path MTU 1400, found by the router before it",
        said: &["pmtu 1400", "Resume: pmtu 1400 hops 5 back 5"],
        ..Row::NONE
    },
}

/// Whether the number after `words` is at least so much.
fn at_least(said: &str, words: &str, least: f64) -> Result<(), String> {
    let rest = said.split_once(words).map(|(_, rest)| rest).unwrap_or_default();
    let number =
        rest.split(|c: char| !c.is_ascii_digit() && c != '.').next().and_then(|n| n.parse::<f64>().ok());
    match number {
        Some(number) if number >= least => Ok(()),
        other => Err(format!("{other:?} is less than {least}")),
    }
}
