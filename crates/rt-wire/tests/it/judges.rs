//! tshark and tcpdump read a capture of one frame of each kind.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use rt_wire::summary;

use crate::packets::assorted;

/// Writes a classic pcap file (Ethernet, microseconds).
fn capture(name: &str, frames: &[Vec<u8>]) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let mut bytes = Vec::new();
    for word in [0xa1b2_c3d4u32, 0x0004_0002, 0, 0, 65_535, 1] {
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    for (i, frame) in frames.iter().enumerate() {
        for word in [1, i as u32, frame.len() as u32, frame.len() as u32] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes.extend_from_slice(frame);
    }
    fs::write(&path, bytes).expect("the target folder can be written");
    path
}

fn run(program: &str, args: &[&str], file: &PathBuf) -> String {
    let output = Command::new(program).args(args).arg("-r").arg(file).output();
    let output = output.unwrap_or_else(|e| panic!("{program}: {e}: apt-get install tshark tcpdump"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn tshark_finds_no_fault() {
    let file = capture("assorted.pcap", &assorted());
    let checks = ["ip.check_checksum:TRUE", "udp.check_checksum:TRUE", "tcp.check_checksum:TRUE"];
    let mut args = vec!["-n"];
    checks.iter().for_each(|check| args.extend(["-o", check]));
    let good = "frame && !(_ws.malformed || _ws.expert.severity >= 8388608 || _ws.expert.group == 16777216)";
    let bad = "_ws.malformed || ip.checksum.status == 0 || udp.checksum.status == 0 || tcp.checksum.status == 0 \
               || icmp.checksum.status == 0 || _ws.expert.group == 16777216";
    assert_eq!(run("tshark", &[&args[..], &["-Y", bad]].concat(), &file), "");
    // The judge is awake: one flipped bit in each kind is found.
    let mut damaged = assorted();
    damaged.drain(..2);
    damaged.iter_mut().for_each(|frame| frame[30] ^= 1);
    let damaged_file = capture("damaged.pcap", &damaged);
    let found = run("tshark", &[&args[..], &["-Y", bad]].concat(), &damaged_file);
    assert_eq!(found.lines().count(), damaged.len());
    assert_eq!(run("tshark", &[&args[..], &["-Y", good]].concat(), &file).lines().count(), assorted().len());
}

#[test]
fn our_line_is_tcpdumps_line() {
    let file = capture("lines.pcap", &assorted());
    let theirs = run("tcpdump", &["-n", "-S", "-t"], &file);
    let ours: Vec<String> = assorted().iter().map(|frame| summary(frame)).collect();
    assert_eq!(ours, theirs.lines().map(str::trim_end).collect::<Vec<_>>());
}
