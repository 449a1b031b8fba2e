//! Hostile input, with a corpus: every committed file in `tests/corpus/` is replayed, then mutated with seeded dice for a
//! bounded number of rounds, against all that reads bytes. Nothing may panic; every frame given to a stack must end.
//!
//! `UPDATE_CORPUS=1 cargo test -p rt-lab --test it hostile` makes the frames anew from the main scenario. A crash that is
//! found becomes a file here. Longer runs: `ROUNDTRIP_ROUNDS=100000`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use rt_base::{EventId, FrameId, NodeId, Outbox, PortId, Rng, Time, Way, What};
use rt_lab::Scenario;
use rt_stack::{IfaceConfig, Stack, StackConfig};
use rt_trace::read::{Secrets, SeenFrame, read_node};

use crate::support::{Folder, run_in};

/// Mutations of each corpus file.
const ROUNDS: u64 = 60;

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(target)
}

fn files(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(corpus(target)).unwrap().map(|e| e.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "no corpus for {target}");
    paths.into_iter().map(|p| (p.clone(), std::fs::read(&p).unwrap())).collect()
}

/// Runs `try_one` on every file as it is and on mutations of it.
fn smoke(target: &str, mut try_one: impl FnMut(&[u8])) {
    let rounds = std::env::var("ROUNDTRIP_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(ROUNDS);
    for (path, bytes) in files(target) {
        try_one(&bytes);
        let mut dice = Rng::stream(1, &path.file_name().unwrap().to_string_lossy(), target);
        for _ in 0..rounds {
            try_one(&mutate(&bytes, &mut dice));
        }
    }
}

/// Flips, sets, cuts, repeats or inserts a few bytes.
fn mutate(bytes: &[u8], dice: &mut Rng) -> Vec<u8> {
    let mut out = bytes.to_vec();
    for _ in 0..=dice.below(4) {
        let at = dice.below(out.len() as u64 + 1) as usize;
        let more = dice.below(16) as usize;
        match dice.below(6) {
            0 if at < out.len() => out[at] ^= 1 << dice.below(8),
            1 if at < out.len() => out[at] = [0, 1, 0x7f, 0x80, 0xff][dice.below(5) as usize],
            2 => out.truncate(at),
            3 => drop(out.drain(at..(at + more).min(out.len()))),
            4 => out.splice(at..at, (0..more).map(|_| dice.next_u32() as u8)).for_each(drop),
            _ => {
                let copy = out[at..(at + more * 8).min(out.len())].to_vec();
                out.splice(at..at, copy).for_each(drop);
            }
        }
    }
    out
}

fn stack() -> Stack {
    let interface = |n: u8, address: &str| IfaceConfig {
        name: format!("eth{n}"),
        mac: rt_base::MacAddr([0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xf0 + n]),
        addresses: vec![address.parse().unwrap()],
        mtu: 1_500,
    };
    let interfaces = vec![interface(0, "192.168.1.10/24"), interface(1, "10.9.0.1/24")];
    let config = StackConfig { interfaces, forwarding: true, ..StackConfig::default() };
    Stack::new(config, 1, "hostile")
}

#[test]
fn frames() {
    let mut machine = stack();
    machine.tcp_listen(80, 16).unwrap();
    machine.udp_open(None, 53, None).unwrap();
    let (mut out, mut now, mut counters) = (Outbox::new(true), Time::ZERO, (0, 0));
    smoke("frames", |bytes| {
        let _ = (rt_wire::summary(bytes), rt_wire::layers(bytes));
        let seen = SeenFrame { at: now, port: PortId(0), way: Way::In, frame: FrameId::NONE, bytes };
        let _ = read_node([seen], &Secrets::default());
        now += rt_base::Nanos::from_millis(1);
        out.begin(NodeId(1), now, EventId::NONE, counters);
        let frame = rt_base::Frame {
            id: FrameId::new(NodeId(2), 1 + now.0),
            parent: FrameId::NONE,
            bytes: bytes.into(),
        };
        machine.receive(now, PortId(0), frame, &mut out);
        machine.send(now, &mut out);
        while machine.fire_next(now, &mut out) {}
        counters = out.counters();
        out.frames.clear();
        out.events.clear();
    });
}

#[test]
fn conversations() {
    // Whole captures: frames one after the other, each with a length before it.
    smoke("conversations", |bytes| {
        let (mut rest, mut frames) = (bytes, Vec::new());
        while let Some((len, more)) = rest.split_first_chunk::<2>() {
            let (frame, more) = more.split_at(usize::from(u16::from_le_bytes(*len)).min(more.len()));
            frames.push(frame);
            rest = more;
        }
        let seen = frames.iter().enumerate().map(|(n, bytes)| SeenFrame {
            at: Time(n as u64 * 1_000),
            port: PortId(0),
            way: if n % 2 == 0 { Way::Out } else { Way::In },
            frame: FrameId::NONE,
            bytes,
        });
        let _ = read_node(seen, &Secrets::default());
    });
}

#[test]
fn scenarios() {
    smoke("scenarios", |bytes| {
        let _ = Scenario::of_text("hostile.yaml", &String::from_utf8_lossy(bytes));
    });
}

#[test]
fn event_files() {
    smoke("events", |bytes| {
        let _ = rt_files::events::read(bytes, 10_000);
    });
}

/// Makes the corpus of frames from real runs; each kind of packet once.
#[test]
fn update() {
    if std::env::var_os("UPDATE_CORPUS").is_none() {
        return;
    }
    for target in ["frames", "conversations", "scenarios", "events"] {
        std::fs::create_dir_all(corpus(target)).unwrap();
    }
    let folder = Folder::new("corpus");
    let mut kinds = BTreeSet::new();
    for scenario in ["web-browsing", "no-route", "routing-loop", "port-closed"] {
        let run = run_in(&folder.0, scenario, 1);
        let trace = run.trace();
        let mut conversation = Vec::new();
        for frame in trace.frames.iter().filter(|f| f.node == trace.map.steps[0].node) {
            let summary = rt_wire::summary(&frame.bytes);
            let kind: String = summary.chars().filter(|c| !c.is_ascii_digit()).take(60).collect();
            if kinds.insert(kind) {
                std::fs::write(corpus("frames").join(format!("{scenario}-{:03}", kinds.len())), &frame.bytes)
                    .unwrap();
            }
            conversation.extend(u16::try_from(frame.bytes.len()).unwrap().to_le_bytes());
            conversation.extend(&frame.bytes[..]);
        }
        std::fs::write(corpus("conversations").join(scenario), conversation).unwrap();
        let few: Vec<_> =
            trace.events.iter().filter(|e| !matches!(e.what, What::Transmit { .. })).take(60).collect();
        let mut writer = rt_files::events::EventWriter::new(Vec::new()).unwrap();
        few.iter().for_each(|e| writer.push(e).unwrap());
        std::fs::write(corpus("events").join(scenario), writer.finish().unwrap()).unwrap();
    }
    for shipped in rt_lab::shipped() {
        std::fs::write(corpus("scenarios").join(format!("{}.yaml", shipped.name)), shipped.text).unwrap();
    }
}

/// What cannot be read is told beside what can; a link that leads back is followed once.
#[test]
#[cfg(unix)]
fn a_folder_of_drills_is_played_whatever_is_in_it() {
    let folder = Folder::new("drills");
    let at = |name: &str| folder.0.join(name);
    std::fs::write(at("good.pkt"), "0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3\n").unwrap();
    std::fs::write(at("long.pkt"), vec![b' '; 5 << 20]).unwrap();
    std::fs::write(at("\u{1b}[2J.pkt"), [0, 0xff, 0x1b, 7]).unwrap();
    std::os::unix::fs::symlink("/nowhere", at("dangling.pkt")).unwrap();
    std::os::unix::fs::symlink(".", at("again")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", at("zero.pkt")).unwrap();
    let query = |paths: Vec<PathBuf>| rt_lab::DrillQuery { paths, ..rt_lab::DrillQuery::default() };
    let drilled = rt_lab::drill(&query(vec![folder.0.clone()])).unwrap();
    assert_eq!((drilled.passed, drilled.failed, drilled.unanswered, drilled.exit()), (1, 0, 4, 2));
    assert!(!drilled.text.contains('\u{1b}') && !drilled.text.contains('\u{7}'), "{}", drilled.text);
    assert!(drilled.text.contains("dangling.pkt: cannot read it"), "{}", drilled.text);
    assert!(rt_lab::drill(&query(vec![at("nothing.pkt")])).is_err());
}

/// A machine that runs nothing takes nothing, over TCP as over UDP, and the story says why. A flood in the name of one
/// address has that address; a thousand callers with long requests do not hold them all.
#[test]
fn nobody_takes_what_nobody_listens_for() {
    let text = "
name: nobody
topology:
  defaults: { rate: 10Mbit/s, delay: 1ms }
  nodes:
    a: { address: 10.0.0.1/24 }
    b: { address: 10.0.0.2/24 }
  links:
    - endpoints: [\"a:eth0\", \"b:eth0\"]
steps:
  - a sends 100kB to b over TCP
  - a streams 100kbit/s for 200ms to b over UDP
  - { do: a floods b:80 with SYNs at 10/s for 1s, sources: 10.9.9.9/32 }
  - { do: a calls b:7000 1000 times, at-once: 1000, request: 4MB, timeout: 1s }
";
    let scenario = Scenario::of_text("nobody.yaml", text).unwrap();
    assert_eq!(scenario.warnings_text().join("").matches("W004").count(), 3);
    let mut options = rt_lab::RunOptions::new(1);
    options.out = None;
    let run = scenario.run(options).unwrap();
    let said: Vec<(bool, &str)> = run.outcomes().iter().map(|o| (o.ok, o.summary.as_str())).collect();
    assert!(!said[0].0 && said[0].1.contains("connection refused"), "{said:?}");
    assert!(!said[1].0 && said[1].1.contains("connection refused"), "{said:?}");
    assert!(said[2].0 && !said[3].0, "{said:?}");
    let story = run.story_text();
    assert!(story.contains("port unreachable (ICMP type 3 code 3)"), "{story}");
    assert!(story.contains("in the name of addresses of 10.9.9.9/32"), "{story}");
}
