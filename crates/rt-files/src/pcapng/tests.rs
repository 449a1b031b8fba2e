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
    let path = std::env::temp_dir().join(format!("roundtrip-pcapng-{}.pcapng", std::process::id()));
    #[allow(clippy::disallowed_methods, reason = "the judge reads a file")]
    std::fs::write(&path, sample()).unwrap();
    let fields =
        ["frame.time_epoch", "frame.interface_name", "frame.comment", "frame.packet_flags_direction"];
    let mut command = Command::new("tshark");
    command.args(["-n", "-T", "fields", "-E", "separator=|", "-r"]).arg(&path);
    for field in fields {
        command.args(["-e", field]);
    }
    let out = command.output().expect("tshark is needed: cargo xtask ci installs it");
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let _ = std::fs::remove_file(&path);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert!(lines[0].starts_with("1768478400.000000005|a:eth0|who has 10.0.0.2?|"), "{text}");
    assert!(lines[1].starts_with("1768478400.000000020|b:eth0||"), "{text}");
}
