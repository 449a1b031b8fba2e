//! tshark and tcpdump open every capture.

use std::collections::BTreeSet;

use crate::support::{Folder, captures, faults, outside, run_in, tshark};

/// Expert items of severity Warn or above that a scenario's story explains, by tshark's own words.
const EXPLAINED: &[(&str, &str)] = &[
    // A refused connection, or one that is given up: the story has the reset and its reason.
    ("port-closed", "Connection reset (RST)"),
    ("server-silent", "Connection reset (RST)"),
    ("resolver-down", "DNS query retransmission"),
    ("resolver-down", "DNS response missing"),
    // What the cut swallowed is missing; after the timeout new data goes first (F-RTO), then what is lost.
    ("cable-cut", "Previous segment(s) not captured"),
    ("cable-cut", "out-of-order segment"),
    // A copy that had arrived after all: the story says so of that resend.
    ("cable-cut", "D-SACK Sequence"),
    // The far link has jitter: an ACK may overtake the FIN before it.
    ("example-com", "Previous segment(s) not captured"),
    // What keepalive gives up is reset.
    ("keepalive", "Connection reset (RST)"),
    // tshark takes forged segments for the connection's own, which is what they are made for.
    ("spoofed-reset", "Connection reset (RST)"),
    ("spoofed-reset", "ACKed segment that wasn't captured"),
    ("spoofed-reset", "Previous segment(s) not captured"),
    // tshark 4.0 reads the name of an Ed25519 signature and not the signature; it says the same of two real OpenSSH (9.2).
    ("bastion", "Decoded 19 bytes, but packet legnth is 83 bytes"),
    // The true answer comes after the forged one, which the capture cannot tell from it.
    ("spoofing", "DNS response retransmission"),
    // What a queue, a lossy link or a router threw away, and what came again: the story says why of each.
    ("slow-start", "Previous segment(s) not captured"),
    ("slow-start", "out-of-order segment"),
    ("slow-start", "D-SACK Sequence"),
    ("udp-or-tcp", "Previous segment(s) not captured"),
    ("udp-or-tcp", "out-of-order segment"),
    ("vpn", "Previous segment(s) not captured"),
    ("vpn", "out-of-order segment"),
    // tshark sums the part of a segment that an ICMP error quotes as if it were the whole.
    ("pmtu-black-hole", "Destination unreachable (Fragmentation needed)"),
    ("pmtu-black-hole", "Previous segment(s) not captured"),
    ("pmtu-black-hole", "out-of-order segment"),
    ("mtu-trouble", "Destination unreachable (Fragmentation needed)"),
    ("mtu-trouble", "Previous segment(s) not captured"),
    ("mtu-trouble", "out-of-order segment"),
    ("frame-size", "Previous segment(s) not captured"),
    ("frame-size", "out-of-order segment"),
    ("frame-size", "D-SACK Sequence"),
    // Seven jumbo segments fill the receiver's first window.
    ("frame-size", "TCP window specified by the receiver is now completely full"),
    // A short queue overflows; windows that cannot be scaled are full; and tshark sees what a box has taken away.
    ("ossification", "Previous segment(s) not captured"),
    ("ossification", "out-of-order segment"),
    ("ossification", "TCP window specified by the receiver is now completely full"),
    ("ossification", "4 NOP in a row - a router may have removed some options"),
    // Alice's line loses every fiftieth packet before it comes here.
    ("alice-and-bob", "Previous segment(s) not captured"),
];

fn explained(scenario: &str, line: &str) -> bool {
    EXPLAINED.iter().any(|(name, words)| *name == scenario && line.contains(words))
}

#[test]
fn tshark_finds_nothing_malformed_in_any_capture_of_any_scenario() {
    let mut found = Vec::new();
    for shipped in rt_lab::shipped() {
        let folder = Folder::new(&format!("tshark-{}", shipped.name));
        let run = run_in(&folder.0, shipped.name, 1);
        let map = &run.trace().map;
        let name =
            |f: &rt_trace::Captured| format!("{}-{}", map.node_name(f.node), map.port_name(f.node, f.port));
        let seen: BTreeSet<String> = run.trace().frames.iter().map(name).collect();
        let mut packets = 0;
        for capture in
            captures(&folder.0).iter().filter(|c| seen.contains(&*c.file_stem().unwrap().to_string_lossy()))
        {
            let (count, bad) = faults(capture);
            packets += count;
            let bad: Vec<&String> = bad.iter().filter(|l| !explained(shipped.name, l)).collect();
            if !bad.is_empty() {
                found.push(format!("{}: {}:\n{bad:#?}", shipped.name, capture.display()));
            }
        }
        assert!(packets > 0, "{}: no packet in any capture", shipped.name);
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn the_request_is_readable_without_a_key_file() {
    let folder = Folder::new("decrypt");
    run_in(&folder.0, "web-browsing", 1);
    for capture in ["home.laptop-eth0.pcapng", "internet.paris-to-isp.pcapng", "world.pcapng"] {
        let path = folder.0.join("captures").join(capture);
        let fields = ["-T", "fields", "-e", "http2.headers.authority", "-e", "http2.headers.path"];
        let found = tshark(&path, &[&["-Y", "http2.headers.method == \"GET\""], &fields[..]].concat());
        assert!(found.lines().any(|l| l == "google.com\t/"), "{capture}:\n{found}");
    }
}

#[test]
fn tcpdump_prints_the_handshake_as_of_real_machines() {
    let folder = Folder::new("tcpdump");
    run_in(&folder.0, "web-browsing", 1);
    let capture = folder.0.join("captures/home.laptop-eth0.pcapng").display().to_string();
    let text = outside("tcpdump", &["-n", "-v", "-r", &capture, "tcp port 52432"]);
    let lines: Vec<&str> = text.lines().filter(|l| l.contains("Flags")).take(3).collect();
    let expected = [
        "192.168.1.10.52432 > 142.250.190.46.443: Flags [S], cksum [..] (correct), seq 100, win 64240, options \
         [mss 1460,sackOK,TS val [..] ecr 0,nop,wscale 7], length 0",
        "142.250.190.46.443 > 192.168.1.10.52432: Flags [S.], cksum [..] (correct), seq 300, ack 101, win 65160, options \
         [mss 1460,sackOK,TS val [..] ecr [..],nop,wscale 7], length 0",
        "192.168.1.10.52432 > 142.250.190.46.443: Flags [.], cksum [..] (correct), ack 1, win [..], options [nop,nop,TS \
         val [..] ecr [..]], length 0",
    ];
    for (line, pattern) in lines.iter().zip(expected) {
        let mut rest = line.trim();
        for part in pattern.split("[..]") {
            let at = rest.find(part).unwrap_or_else(|| panic!("{line}\nis not\n{pattern}"));
            rest = &rest[at + part.len()..];
        }
    }
    assert_eq!(lines.len(), 3, "{text}");
}

#[test]
fn the_numbers_of_the_textbook_are_on_the_wire() {
    let folder = Folder::new("numbers");
    run_in(&folder.0, "web-browsing", 1);
    let at = |name: &str| folder.0.join("captures").join(name);
    let fields = ["-T", "fields", "-E", "separator= ", "-e", "ip.src", "-e", "udp.srcport", "-e", "ip.dst"];
    let query = ["-Y", "dns.flags.response == 0 and dns.qry.name == \"google.com\""];
    let inside = tshark(&at("home.laptop-eth0.pcapng"), &[&query[..], &fields[..]].concat());
    assert_eq!(inside.lines().next(), Some("192.168.1.10 52431 8.8.8.8"));
    let outside = tshark(&at("home.router-wan.pcapng"), &[&query[..], &fields[..]].concat());
    assert_eq!(outside.lines().next(), Some("203.0.113.50 10001 8.8.8.8"));
    let fields = [
        "-T",
        "fields",
        "-E",
        "separator= ",
        "-e",
        "ip.src",
        "-e",
        "tcp.srcport",
        "-e",
        "ip.dst",
        "-e",
        "ip.ttl",
    ];
    let syn = ["-Y", "tcp.flags.syn == 1 and tcp.flags.ack == 0"];
    let outside = tshark(&at("home.router-wan.pcapng"), &[&syn[..], &fields[..]].concat());
    assert_eq!(outside.lines().next(), Some("203.0.113.50 10002 142.250.190.46 63"));
    let dhcp =
        tshark(&at("home.laptop-eth0.pcapng"), &["-Y", "dhcp", "-T", "fields", "-e", "dhcp.option.dhcp"]);
    assert_eq!(dhcp.lines().take(4).collect::<Vec<_>>(), ["1", "2", "3", "5"]);
}
