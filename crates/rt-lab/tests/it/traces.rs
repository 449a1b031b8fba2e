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
    let mut packet = mask_dns_id(packet);
    for mark in [", id ", "TS val ", " ecr ", "cksum 0x"] {
        packet = mask(&packet, mark);
    }
    // tcpdump prints the first sequence number of a direction as it is, all others relative to it.
    if packet.contains("Flags [S") {
        for mark in [" seq ", " ack "] {
            packet = mask(&packet, mark);
        }
    } else {
        packet = mask(&packet, " win ");
    }
    packet.split(": HTTP, length").next().unwrap_or_default().to_owned()
}

/// Client ports become `port1`, `port2` in the order in which they appear.
fn with_ports_by_order(packets: Vec<String>, client: &str) -> Vec<String> {
    let mut seen: Vec<String> = Vec::new();
    let mut done = Vec::new();
    for packet in packets {
        let at = packet.find(client).map(|at| at + client.len() + 1);
        let port: String =
            at.map(|at| packet[at..].chars().take_while(char::is_ascii_digit).collect()).unwrap_or_default();
        if !seen.contains(&port) {
            seen.push(port.clone());
        }
        let name = format!("{client}.port{}", seen.iter().position(|p| *p == port).unwrap() + 1);
        done.push(packet.replace(&format!("{client}.{port}"), &name));
    }
    done
}

/// The lines of HTTP that tcpdump shows, with values that can never be equal taken out. Field names count without case.
fn http_lines(text: &str) -> Vec<String> {
    let is_http = |line: &&str| {
        line.starts_with("GET ")
            || line.starts_with("HTTP/1.1 ")
            || line
                .split_once(": ")
                .filter(|(name, _)| *name != "tcpdump")
                .is_some_and(|(name, _)| name.chars().all(|c| c.is_ascii_alphabetic() || c == '-'))
    };
    let lines =
        text.lines().map(str::trim).filter(is_http).filter(|line| !is_time(line.get(..15).unwrap_or("")));
    lines
        .map(|line| match line.split_once(": ") {
            Some((name, value)) => {
                let name = name.to_lowercase();
                let made = ["date", "expires", "age", "server"].contains(&name.as_str());
                format!("{name}: {}", if made { "*" } else { value })
            }
            None => line.to_owned(),
        })
        .collect()
}

/// Every number after `mark` becomes `N`.
fn mask(text: &str, mark: &str) -> String {
    let mut parts = text.split(mark);
    let mut done = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        done.push_str(mark);
        done.push('N');
        let digit = |c: char| c.is_ascii_digit() || (mark.ends_with("0x") && c.is_ascii_hexdigit());
        done.push_str(part.trim_start_matches(digit));
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

const MAC: &str = "192.168.0.229";

/// A visit: its packets, and what of HTTP is in them.
struct Visit {
    packets: Vec<String>,
    http: Vec<String>,
}

impl Visit {
    fn of(text: &str) -> Visit {
        Visit { packets: with_ports_by_order(packets(text), MAC), http: http_lines(text) }
    }

    /// The proxy of the published traces acknowledged each request for the page twice within 0.2 ms; ours does it once. That
    /// is the one thing left out.
    fn published(name: &str) -> Visit {
        let mut visit = Visit::of(&published(name));
        let before = visit.packets.len();
        visit.packets.dedup_by(|b, a| a == b && a.contains("Flags [.]"));
        assert!(before - visit.packets.len() == 1, "one acknowledgement was repeated");
        visit
    }
}

/// Our capture of `example-com`, cut where the second visit begins.
fn both_visits(test: &str) -> (String, String) {
    let folder = Folder::new(&format!("trace-{test}"));
    run_in(&folder.0, "example-com", 1);
    let said = said_of(&folder.0.join("captures/mac-eth0.pcapng"), "tcp");
    let reload = said.rfind("Flags [S],").unwrap();
    let before = said[..reload].rfind("Flags [S],").unwrap();
    let cut = said[..before].rfind(" IP (").and_then(|at| said[..at].rfind('\n')).unwrap();
    (said[..cut].to_owned(), said[cut..].to_owned())
}

#[test]
fn the_first_visit_to_example_com() {
    let (first, _) = both_visits("first");
    let (ours, theirs) = (Visit::of(&first), Visit::published("example-com-first-visit.txt"));
    // The published trace ends after 100 s.
    let ours_so_far = &ours.packets[..theirs.packets.len().min(ours.packets.len())];
    assert_same(ours_so_far, &theirs.packets);
    assert_eq!(ours.http, theirs.http);
    // The issue's numbers: the used connection is closed after 180 s as well.
    let fins = ours.packets.iter().filter(|p| p.contains("Flags [F.]")).count();
    assert_eq!(fins, 4, "both ends of both connections");
}

#[test]
fn the_reload_of_example_com() {
    let (_, reload) = both_visits("reload");
    let (ours, theirs) = (Visit::of(&reload), Visit::published("example-com-reload.txt"));
    assert_same(&ours.packets, &theirs.packets);
    assert_eq!(ours.http, theirs.http);
}

/// What the trace shows and what we put there agree: ACKs come back within 15 ms, SYN-ACKs and answers after 200 ms.
#[test]
fn acks_come_from_near_and_answers_from_far() {
    let (first, _) = both_visits("near");
    for text in [first, published("example-com-first-visit.txt")] {
        let times: Vec<(f64, String)> = text
            .lines()
            .zip(text.lines().skip(1))
            .filter_map(|(line, below)| {
                let (time, _) = line.split_once(" IP (").filter(|(t, _)| is_time(t))?;
                Some((seconds(time), below.trim().to_owned()))
            })
            .collect();
        let after = |from: &str, to: &str| {
            let (begin, line) = times.iter().find(|(_, l)| l.contains(from)).unwrap();
            let port = line.split(" > ").find(|end| end.starts_with(MAC)).unwrap().trim_end_matches(':');
            let end =
                times.iter().find(|(t, l)| t > begin && l.contains(to) && l.contains(&format!("> {port}")));
            end.unwrap().0 - begin
        };
        assert!((0.19..0.26).contains(&after("Flags [S", "Flags [S.E]")), "the SYN-ACK comes from far");
        assert!(after("seq 1:445", "ack 445,") < 0.015, "the ACK comes from near");
        assert!((0.19..0.26).contains(&after("seq 1:445", "seq 1:1008")), "the answer comes from far");
    }
}

fn seconds(time: &str) -> f64 {
    time.split(':').fold(0.0, |sum, part| sum * 60.0 + part.parse::<f64>().unwrap())
}
