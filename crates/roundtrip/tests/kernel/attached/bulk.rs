//! The kernel's TCP against ours: bytes both ways, equal checksums, and no silence that timers do not explain.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::capture::{self, Segment};
use super::cases::{self, CLEAN, Case, FEATURES, Feature, LINKS, LOSSY};
use super::guest::{Place, run};
use super::judge::{Agreed, Flow, agreed, flow};

const GUEST: [u8; 4] = [10, 0, 0, 1];
/// Bytes in each direction of each case.
const BYTES: u64 = 10_000_000;

/// What came of a case, down (ours sends) and up (the kernel sends).
struct Verdict {
    flows: [Flow; 2],
    /// The latest frame, nanoseconds.
    late: u64,
    wrong: Vec<String>,
}

/// The bytes that the simulated server makes, computed again: the upper byte of the place times 2^32 over the golden ratio.
fn made(bytes: u64) -> Vec<u8> {
    (0..bytes).map(|at| ((at * 2_654_435_761) >> 24) as u8).collect()
}

/// By a program that shares nothing with ours.
fn sha256(file: &Path) -> String {
    let output = Command::new("sha256sum").arg(file).output().unwrap();
    String::from_utf8(output.stdout).unwrap()[..64].to_owned()
}

/// Runs one case and judges it.
fn judge(case: &Case) -> Verdict {
    let place = Place::new("bulk");
    let scenario = place.write("kernel.yaml", case.scenario());
    let content = made(case.bytes);
    let up = place.write("up", &content);
    // The first visit of a client that knows Fast Open brings a cookie.
    let script = format!(
        "set -e\n{}\
         ask() {{ curl -sS --fail --tcp-fastopen -H Expect: --max-time 120 \"$@\"; }}\n\
         ask http://10.0.1.2/status/200\n\
         ask -o down http://10.0.1.2/bytes/{}\n\
         ask -o answer --data-binary @up http://10.0.1.2/post\n",
        case.sysctls(),
        case.bytes
    );
    let said = run(&mut place.exec(&scenario, &script), Duration::from_secs(600));
    let mut wrong = Vec::new();
    if said.code != Some(0) {
        wrong.push(format!("exit code {:?}: {}", said.code, said.err.trim()));
        return Verdict { flows: Default::default(), late: 0, wrong };
    }
    if std::fs::read(place.path("down")).unwrap() != content {
        wrong.push("what came down is not what was asked for".into());
    }
    let answer: Value = serde_json::from_slice(&std::fs::read(place.path("answer")).unwrap()).unwrap();
    if answer["sha256"] != sha256(&up) || answer["length"] != case.bytes {
        wrong.push(format!("what came up is something else: {answer}"));
    }
    let late = lateness(&place);
    let flows = flows(&place, case, late, &mut wrong);
    Verdict { flows, late, wrong }
}

/// How late the latest frame was, nanoseconds, as the run itself says.
fn lateness(place: &Place) -> u64 {
    let told: Value = serde_json::from_slice(&std::fs::read(place.path("out/run.json")).unwrap()).unwrap();
    told["attached"]["late_ns"]["max"].as_u64().unwrap()
}

/// Judges the connections of the second and third call, each where its sender stands.
fn flows(place: &Place, case: &Case, late: u64, wrong: &mut Vec<String>) -> [Flow; 2] {
    let mut flows =
        [(1, false, "down", "server"), (2, true, "up", "guest")].map(|(index, of_guest, way, at)| {
            let file = place.path(&format!("out/captures/{at}-eth0.pcapng"));
            let segments = capture::read(&file, GUEST);
            let connection = connection(&segments, index);
            let wanted = Agreed {
                sack: case.has(Feature::Sack),
                timestamps: case.has(Feature::Timestamps),
                scale: case.has(Feature::Scale),
                ecn: case.has(Feature::Ecn),
                fast_open: case.has(Feature::FastOpen),
            };
            match agreed(&connection) {
                Ok(agreed) if agreed == wanted => {}
                Ok(agreed) => wrong.push(format!("{way}: {agreed:?}, not {wanted:?}")),
                Err(why) => wrong.push(format!("{way}: {why}")),
            }
            let flow = flow(&connection, of_guest);
            if flow.bytes < case.bytes {
                wrong.push(format!("{way}: only {} bytes in the capture", flow.bytes));
            }
            if flow.stalls(late) {
                wrong.push(format!(
                    "{way}: silent for {} ms, and timers explain {} ms",
                    ms(flow.silence),
                    ms(flow.explained)
                ));
            }
            flow
        });
    flows.iter_mut().for_each(|f| f.rtt.0 = f.rtt.0.min(f.rtt.1));
    flows
}

/// The segments of the connection that was opened as number `index`.
fn connection(segments: &[Segment], index: usize) -> Vec<Segment> {
    let mut ports: Vec<(u16, u16)> = Vec::new();
    for segment in segments.iter().filter(|s| s.flags & capture::SYN != 0) {
        if !ports.contains(&segment.ports) {
            ports.push(segment.ports);
        }
    }
    segments.iter().filter(|s| Some(&s.ports) == ports.get(index)).cloned().collect()
}

fn ms(nanos: u64) -> String {
    format!("{:.1}", nanos as f64 / 1e6)
}

fn cell(flow: &Flow) -> String {
    format!(
        " |{:>7.1} Mbit/s{:>5} again, silent{:>6} of{:>6} ms, rtt{:>4} to{:>6} ms",
        flow.rate() / 1e6,
        flow.again,
        ms(flow.silence),
        ms(flow.explained),
        ms(flow.rtt.0),
        ms(flow.rtt.1),
    )
}

fn row(case: &Case, verdict: &Verdict) -> String {
    let [down, up] = &verdict.flows;
    let end = if verdict.wrong.is_empty() { "" } else { " WRONG" };
    format!("{:<48}{}{} | late {} ms{end}", case.name(), cell(down), cell(up), ms(verdict.late))
}

/// Judges cases one by one and prints the table; every fault is told at the end.
fn judge_all(cases: &[Case]) {
    let mut wrong = Vec::new();
    for case in cases {
        let verdict = judge(case);
        println!("{}", row(case, &verdict));
        wrong.extend(verdict.wrong.iter().map(|why| format!("{}: {why}", case.name())));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_link() {
    judge_all(&LINKS.map(|link| Case::new(link, BYTES)));
}

#[test]
fn the_kernel_does_without() {
    judge_all(&FEATURES.map(|feature| Case { kernel_without: vec![feature], ..Case::new(CLEAN, BYTES) }));
}

#[test]
fn our_stack_does_without() {
    judge_all(&FEATURES.map(|feature| Case { ours_without: vec![feature], ..Case::new(CLEAN, BYTES) }));
}

/// Where a lost segment is told of, and how round trips are measured, matters most where segments are lost.
#[test]
fn losses_without_sack_timestamps_or_scale() {
    let mut cases = Vec::new();
    for feature in [Feature::Sack, Feature::Timestamps, Feature::Scale] {
        cases.push(Case { kernel_without: vec![feature], ..Case::new(LOSSY, BYTES) });
        cases.push(Case { ours_without: vec![feature], ..Case::new(LOSSY, BYTES) });
    }
    judge_all(&cases);
}

/// Listens, checks that what comes is zeros, and answers as a sink of ours does.
const SINK: &str = r#"
import hashlib, socket, sys
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.setsockopt(socket.IPPROTO_TCP, 23, 16)
listener.bind(("", 5001))
listener.listen()
for _ in range(2):
    stream, _ = listener.accept()
    hello, digest, length = b"", hashlib.sha256(), 0
    while len(hello) < 24:
        hello += stream.recv(24 - len(hello))
    while data := stream.recv(65536):
        digest.update(data)
        length += len(data)
    print(length, digest.hexdigest(), flush=True)
    stream.sendall(b"bytes %d\nspan-ns 1\n" % length)
    stream.close()
"#;

/// The other way round: our stack opens, the kernel listens.
#[test]
fn our_stack_opens() {
    let mut wrong = Vec::new();
    for link in LINKS {
        let place = Place::new("opens");
        let scenario = place.write("kernel.yaml", cases::opening(link, BYTES));
        place.write("sink.py", SINK);
        let zeros = place.write("zeros", vec![0; usize::try_from(BYTES).unwrap()]);
        let script = "echo 3 > /proc/sys/net/ipv4/tcp_fastopen; exec python3 sink.py";
        let said = run(&mut place.exec(&scenario, script), Duration::from_secs(300));
        let line = format!("{BYTES} {}\n", sha256(&zeros));
        if said.code != Some(0) || said.out != line.repeat(2) {
            wrong.push(format!("{}: {:?} {} {}", link.name, said.code, said.out, said.err));
            continue;
        }
        let late = lateness(&place);
        for index in 0..2 {
            let segments = capture::read(&place.path("out/captures/server-eth0.pcapng"), GUEST);
            let connection = connection(&segments, index);
            let all = Agreed { sack: true, timestamps: true, scale: true, ecn: true, fast_open: index > 0 };
            let flow = flow(&connection, false);
            println!("{:<58}{}", format!("{}, ours opens", link.name), cell(&flow));
            if agreed(&connection) != Ok(all) || flow.stalls(late) {
                wrong.push(format!("{}, ours opens: {:?}, {}", link.name, agreed(&connection), cell(&flow)));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// `cargo xtask interop`: every link, every set of features, either side without them, 100 MB both ways. The environment says
/// otherwise: `INTEROP_BYTES`, and `INTEROP_ONLY`, words that all stand in a case's name.
#[test]
#[ignore = "takes hours; `cargo xtask interop` runs it"]
fn every_combination() {
    let bytes = std::env::var("INTEROP_BYTES").map_or(100_000_000, |b| b.parse().unwrap());
    let only = std::env::var("INTEROP_ONLY").unwrap_or_default();
    let cases: Vec<Case> = cases::cross_product(bytes)
        .into_iter()
        .filter(|case| only.split_whitespace().all(|word| case.name().contains(word)))
        .collect();
    let mut rows = Vec::new();
    let mut wrong = Vec::new();
    for (index, case) in cases.iter().enumerate() {
        eprint!("{} of {}: {} ... ", index + 1, cases.len(), case.name());
        let verdict = judge(case);
        eprintln!("{}", if verdict.wrong.is_empty() { "good".into() } else { verdict.wrong.join("; ") });
        wrong.extend(verdict.wrong.iter().map(|why| format!("{}: {why}", case.name())));
        rows.push(row(case, &verdict));
    }
    println!("{}", rows.join("\n"));
    println!("{} cases of {bytes} bytes each way, {} faults", cases.len(), wrong.len());
    assert!(!cases.is_empty(), "no case is called so");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
