//! Two published traces, line by line: what tcpdump says about our captures against what it said on a real machine.
//!
//! Taken out of both before they are compared ([`Normal`]): times, IP identifications, transport checksums, values of
//! timestamps, DNS ids, windows after the handshake. Initial sequence numbers become 0, everything after is relative in
//! tcpdump's output anyway.

use std::path::Path;

use crate::support::{Folder, outside, run_in};

/// What tcpdump says about a capture, filtered, without the lines of ARP.
fn said_of(capture: &Path, filter: &str) -> String {
    outside("tcpdump", &["-n", "-v", "-r", &capture.display().to_string(), filter])
}

/// A published trace without its prompts.
fn published(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/traces").join(name);
    std::fs::read_to_string(path).unwrap()
}

/// The packets of tcpdump's output, one line each: the IP line and the line below it, without what can never be equal.
fn packets(text: &str) -> Vec<String> {
    let mut lines = text.lines().map(str::trim).peekable();
    let mut packets = Vec::new();
    while let Some(line) = lines.next() {
        let Some((_, ip)) = line.split_once(" IP (").filter(|(time, _)| is_time(time)) else { continue };
        let below = lines.next_if(|l| l.contains(" > ")).unwrap_or_default();
        packets.push(normal(&format!("IP ({ip} {below}")));
    }
    packets
}

fn is_time(text: &str) -> bool {
    text.len() == 15
        && text.bytes().enumerate().all(|(at, b)| match at {
            2 | 5 => b == b':',
            8 => b == b'.',
            _ => b.is_ascii_digit(),
        })
}

/// `id 12345, ` and its like to `id N, `.
fn normal(packet: &str) -> String {
    let packet = mask(packet, ", id ");
    let packet = mask(&packet, "TS val ");
    let packet = mask(&packet, " ecr ");
    mask_dns_id(&packet)
}

/// Every number after `mark` becomes `N`.
fn mask(text: &str, mark: &str) -> String {
    let mut parts = text.split(mark);
    let mut done = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        done.push_str(mark);
        done.push('N');
        done.push_str(part.trim_start_matches(|c: char| c.is_ascii_digit()));
    }
    done
}

/// `53: 37528+ A?` and `61141: 37528 4/0/0`: the id after the colon that ends the address.
fn mask_dns_id(text: &str) -> String {
    let Some((before, after)) = text.split_once(": ").filter(|(b, _)| b.contains("UDP")) else {
        return text.to_owned();
    };
    format!("{before}: N{}", after.trim_start_matches(|c: char| c.is_ascii_digit()))
}

fn assert_same(ours: &[String], theirs: &[String]) {
    let at = ours.iter().zip(theirs).position(|(a, b)| a != b).unwrap_or(ours.len().min(theirs.len()));
    let line = |all: &[String]| all.get(at).cloned().unwrap_or_else(|| "(nothing)".to_owned());
    assert!(ours == theirs, "packet {}:\n  ours       {}\n  published  {}", at + 1, line(ours), line(theirs));
    assert!(!ours.is_empty(), "no packet at all");
}

#[test]
fn nslookup_of_pravin_dev() {
    let folder = Folder::new("trace-pravin-dev");
    run_in(&folder.0, "pravin-dev", 1);
    let capture = folder.0.join("captures/laptop-eth0.pcapng");
    let ours = packets(&said_of(&capture, "udp port 53"));
    assert_same(&ours, &packets(&published("pravin-dev-nslookup.txt")));
    // The question of ARP comes before the first packet, and ping before nslookup.
    let all = said_of(&capture, "");
    let at = |words: &str| all.find(words).unwrap_or_else(|| panic!("no `{words}` in\n{all}"));
    assert!(at("who-has 192.168.0.1 tell 192.168.0.229") < at("192.168.0.1 is-at"));
    assert!(
        at("192.168.0.1 is-at") < at("ICMP echo request") && at("ICMP echo reply") < at("A? pravin.dev.")
    );
}
