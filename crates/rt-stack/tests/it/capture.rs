//! An outside judge: tshark reads what whole stacks put on the wire and finds nothing wrong with it.

use std::io::Write as _;
use std::process::{Command, Stdio};

use rt_base::Nanos;

use crate::fixture::*;

/// A busy minute behind a NAT: TCP with loss, fragments, pings, errors of every kind.
fn busy() -> World {
    let mut w = natted();
    let listener = w.app(2, |s| s.tcp_listen(443, 5)).unwrap();
    let server = w.udp(2, 7_000);
    let c = w.connect(0, "203.0.113.1:443");
    w.run();
    let s = w.app(2, |s| s.tcp_accept(listener)).unwrap();
    let client = w.udp(0, 0);
    w.say(0, client, "203.0.113.1:7000", &[1; 4_000]);
    w.run();
    let (_, from) = w.hear(2, server).unwrap();
    w.say(2, server, &from, b"odd");
    w.app(0, |s| s.icmp_echo(ip("203.0.113.1"), 7, 1, vec![0; 3_001])).unwrap();
    for to in ["203.0.113.1:7001", "8.8.8.8:7000", "203.0.113.77:7002"] {
        w.say(0, client, to, b"lost");
    }
    w.app(0, |st| st.tcp_write(c, &[7; 60_001])).unwrap();
    for _ in 0..20 {
        w.run_for(Nanos::from_millis(20));
        w.read(2, s);
    }
    w.app(0, |st| st.tcp_close(c));
    w.app(2, |st| st.tcp_close(s));
    w.run();
    w
}

fn pcap(w: &World) -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xa1b2_3c4d_u32, 0x0004_0002, 0, 0, 65_535, 1] {
        file.extend_from_slice(&word.to_le_bytes());
    }
    for seen in &w.wire {
        let len = seen.bytes.len() as u32;
        for word in [(seen.at.0 / 1_000_000_000) as u32, (seen.at.0 % 1_000_000_000) as u32, len, len] {
            file.extend_from_slice(&word.to_le_bytes());
        }
        file.extend_from_slice(&seen.bytes);
    }
    file
}

#[test]
fn tshark_finds_no_malformed_packet_and_no_bad_checksum() {
    let world = busy();
    let options = ["ip.check_checksum", "tcp.check_checksum", "udp.check_checksum"];
    let bad = "_ws.malformed || ip.checksum.status == \"Bad\" || tcp.checksum.status == \"Bad\" \
               || udp.checksum.status == \"Bad\" || icmp.checksum.status == \"Bad\" || _ws.expert.severity == 8388608";
    let mut tshark = Command::new("tshark");
    tshark.args(["-r", "-"]).args(options.iter().flat_map(|o| ["-o".to_owned(), format!("{o}:TRUE")]));
    tshark.args(["-Y", bad]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = tshark.spawn().expect("tshark is installed (cargo xtask ci says how)");
    child.stdin.take().unwrap().write_all(&pcap(&world)).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
    assert!(world.wire.len() > 80);
}
