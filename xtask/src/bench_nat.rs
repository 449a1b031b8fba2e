//! `cargo xtask bench nat`: what NAT adds to a forwarded packet, with 1,000 flows in the table, and the kernel's figure beside it.
//!
//! Ours is `crates/rt-stack/benches/nat.rs`: one stack by hand, so a figure in nanoseconds means this machine in this minute; the
//! two ways of ours run in turns, and their difference is what counts. The kernel's is a whole packet through veth pairs and
//! three namespaces with a masquerade rule (`nat` of the kernel's runner): not the same thing, only the same order of thing.

use std::path::Path;
use std::process::Command;

use crate::tools;

/// Nanoseconds that NAT may add to a packet.
const MOST: f64 = 80.0;

/// Runs it; an error when NAT costs more than it may.
pub(crate) fn run(peers: &Path) -> Result<(), String> {
    let text = tools::output("cargo", &["bench", "--quiet", "--package", "rt-stack", "--bench", "nat"])?;
    let figures = crate::bench::key_values(&text);
    let figure =
        |name: &str| figures.get(name).copied().ok_or(format!("the bench did not print {name}: {text}"));
    let (plain, nat, added) = (figure("plain_ns")?, figure("nat_ns")?, figure("added_ns")?);
    println!(
        "nat   ns a packet: {plain:.1} without, {nat:.1} with ({:.2} x); added {added:.1}, limit {MOST}",
        nat / plain
    );
    match kernel(peers) {
        Ok(ns) => println!("      the kernel, whole packets through three namespaces: {ns:.0} ns a packet"),
        Err(why) => eprintln!("nat: no kernel figure: {why}"),
    }
    if added > MOST {
        return Err(format!("NAT adds {added:.1} ns to a packet; {MOST} are allowed"));
    }
    Ok(())
}

/// Small UDP packets that the kernel forwards with NAT, as nanoseconds each.
fn kernel(peers: &Path) -> Result<f64, String> {
    let script = peers.join("run.sh");
    if !script.exists() {
        return Err(format!("{} is not there (give --kernel DIR)", script.display()));
    }
    tools::need(&[("/usr/sbin/nft", "nftables"), ("/usr/bin/iperf3", "iperf3"), ("/usr/bin/gcc", "gcc")])?;
    let out = Command::new("bash")
        .arg(&script)
        .arg("nat")
        .envs([("SECS", "3"), ("REPS", "1"), ("QUIET_WAIT", "3"), ("TCP_ONLY", "1")])
        .output()
        .map_err(|e| format!("cannot start the kernel's runner: {e}"))?;
    let text = String::from_utf8_lossy(&out.stdout);
    let line = text.lines().find(|line| line.contains("bench=nat_udp_small"));
    let rate = line.and_then(|line| crate::bench::key_values(line).get("forwarded_pps").copied());
    match rate.filter(|rate| *rate > 0.0) {
        Some(rate) => Ok(1e9 / rate),
        None => Err(format!("its runner did not say: {}", String::from_utf8_lossy(&out.stderr).trim())),
    }
}
