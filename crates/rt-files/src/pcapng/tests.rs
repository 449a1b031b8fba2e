//! The file is judged by pcap-parser and by tshark.

use std::process::Command;

use pcap_parser::{Block, PcapBlockOwned, PcapNGReader, traits::PcapReaderIterator};
use rt_base::{MacAddr, Time, Way};

use super::{Capture, Interface, Packet};

/// 2026-01-15 12:00:00 UTC.
const EPOCH: u64 = 1_768_478_400;

fn sample() -> Vec<u8> {
    let interface = |name: &str| Interface {
        name: name.into(),
        description: "a test".into(),
        mac: MacAddr([2, 0, 0, 0, 0, 1]),
        speed_bps: 1_000_000_000,
    };
    let mut capture =
        Capture::new(Vec::new(), "roundtrip test", EPOCH, &[interface("a:eth0"), interface("b:eth0")])
            .unwrap();
    let arp = [
        &[0xff; 6][..],
        &[
            2, 0, 0, 0, 0, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0,
            10, 0, 0, 2,
        ],
    ]
    .concat();
    let packet = |at, interface, way, comment| Packet { at: Time(at), interface, way, bytes: &arp, comment };
    // The second is stamped later than the third, and pushed before it.
    capture.push(Time(5), &packet(5, 0, Way::Out, Some("who has 10.0.0.2?"))).unwrap();
    capture.push(Time(6), &packet(30, 0, Way::Out, None)).unwrap();
    capture.secret("CLIENT_RANDOM 00 11").unwrap();
    capture.push(Time(20), &packet(20, 1, Way::In, None)).unwrap();
    capture.finish().unwrap()
}

#[test]
fn another_reader_finds_every_block_in_order_of_time() {
    let bytes = sample();
    let mut reader = PcapNGReader::new(65_536, &bytes[..]).unwrap();
    let (mut stamps, mut secrets, mut comments) = (Vec::new(), 0, 0);
    loop {
        match reader.next() {
            Ok((used, PcapBlockOwned::NG(block))) => {
                match block {
                    Block::EnhancedPacket(packet) => {
                        stamps.push(
                            (u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low))
                                - EPOCH * 1_000_000_000,
                        );
                        comments += packet.options.iter().filter(|o| o.code.0 == 1).count();
                    }
                    Block::DecryptionSecrets(block) => {
                        assert!(block.data.starts_with(b"CLIENT_RANDOM"));
                        secrets += 1;
                    }
                    _ => {}
                }
                reader.consume(used);
            }
            Ok((used, _)) => reader.consume(used),
            Err(pcap_parser::PcapError::Eof) => break,
            Err(pcap_parser::PcapError::Incomplete(_)) => reader.refill().unwrap(),
            Err(e) => panic!("{e:?}"),
        }
    }
    assert_eq!((stamps, secrets, comments), (vec![5, 20, 30], 1, 1));
}

#[test]
fn tshark_reads_names_nanoseconds_and_comments() {
    let mut arguments = vec!["-T", "fields", "-E", "separator=|"];
    for field in ["frame.time_epoch", "frame.interface_name", "frame.comment", "frame.packet_flags_direction"]
    {
        arguments.extend(["-e", field]);
    }
    let text = tshark("names", &sample(), &arguments);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert!(lines[0].starts_with("1768478400.000000005|a:eth0|who has 10.0.0.2?|"), "{text}");
    assert!(lines[1].starts_with("1768478400.000000020|b:eth0||"), "{text}");
}

/// A connection with TLS 1.3 and HTTP/2 as rustls and hyper made it: its secrets, then its frames.
const CONVERSATION: &str = include_str!("../../tests/data/tls13-h2.txt");

/// The conversation as a capture; secrets stand before the packets, as in a run.
fn conversation() -> Vec<u8> {
    let interface = Interface { name: "laptop:eth0".into(), ..Interface::default() };
    let mut capture = Capture::new(Vec::new(), "roundtrip test", EPOCH, &[interface]).unwrap();
    for (i, line) in CONVERSATION.lines().enumerate() {
        let (kind, rest) = line.split_once(' ').unwrap();
        if kind == "secret" {
            capture.secret(rest).unwrap();
            continue;
        }
        let bytes: Vec<u8> =
            (0..rest.len()).step_by(2).map(|i| u8::from_str_radix(&rest[i..i + 2], 16).unwrap()).collect();
        let at = Time(i as u64 * 1_000_000);
        let way = if kind == "in" { Way::In } else { Way::Out };
        capture.push(at, &Packet { at, interface: 0, way, bytes: &bytes, comment: None }).unwrap();
    }
    capture.finish().unwrap()
}

/// What tshark prints of `bytes`; panics when it complains of a packet.
fn tshark(name: &str, bytes: &[u8], arguments: &[&str]) -> String {
    let path = std::env::temp_dir().join(format!("roundtrip-{name}-{}.pcapng", std::process::id()));
    #[allow(clippy::disallowed_methods, reason = "the judge reads a file")]
    std::fs::write(&path, bytes).unwrap();
    let out = Command::new("tshark")
        .args(["-n", "-r"])
        .arg(&path)
        .args(arguments)
        .output()
        .expect("tshark is needed: cargo xtask ci installs it");
    let _ = std::fs::remove_file(&path);
    String::from_utf8_lossy(&out.stdout).into_owned()
}

#[test]
fn tshark_decrypts_with_no_key_file() {
    let fields =
        ["-Y", "http2.headers", "-T", "fields", "-e", "http2.headers.path", "-e", "http2.headers.status"];
    let text = tshark("decrypt", &conversation(), &fields);
    assert!(text.contains("/0") && text.contains("/1") && text.contains("200"), "{text}");
    let odd = tshark("odd", &conversation(), &["-Y", "_ws.malformed || tcp.checksum.status == 0"]);
    assert_eq!(odd, "");
}

#[test]
fn an_interrupted_capture_still_opens_and_decrypts() {
    let whole = conversation();
    // In the middle of the last packets: what stands before the cut counts.
    let cut = &whole[..whole.len() - 400];
    let text =
        tshark("cut", cut, &["-Y", "http2.headers.method", "-T", "fields", "-e", "http2.headers.method"]);
    assert!(text.contains("GET"), "{text}");
}
