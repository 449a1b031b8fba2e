//! The kernel as judge of cutting and joining: bulk data from one guest to another over a wire that carries frames of 1,514
//! bytes, with offload at both ends, at one, and at none. A wrong byte, number or checksum would be counted by a kernel.

use std::io::Read;
use std::time::{Duration, Instant};

use rt_attach::offload::Segments;
use rt_attach::{Device, DeviceChoice, Guest, MAX_FRAME, Poller};

use crate::network::kinds;
use crate::roles;
use crate::world::{self, PATIENCE, interface, laptop};

const SIZE: usize = 5_000_003;

fn guest(role: &str, n: u8, kind: DeviceChoice, offload: bool) -> (Guest, std::io::PipeReader) {
    let mut plan = laptop("");
    plan.command = roles::command(role);
    plan.interfaces = vec![interface(n)];
    plan.device = kind;
    plan.offload = offload;
    plan.env.push(("SIZE".into(), SIZE.to_string().into()));
    world::start(&plan)
}

/// One direction of a wire: frames that were longer than it carries, frames on it, and room for them.
struct Wire {
    long: u64,
    wire: u64,
    read: Vec<u8>,
    frame: Vec<u8>,
}

impl Wire {
    fn new() -> Wire {
        Wire { long: 0, wire: 0, read: vec![0; MAX_FRAME + 10], frame: Vec::new() }
    }
}

/// Carries what one guest sends to the other, at most so many reads.
fn carry(from: &mut Device, to: &mut Device, offload: bool, counts: &mut Wire) {
    let Wire { read, frame, .. } = counts;
    for _ in 0..64 {
        let Ok(length) = from.read(read) else { break };
        if !offload {
            assert!(length <= 1514, "{length}");
            counts.wire += 1;
            to.queue(&read[..length]).unwrap();
            continue;
        }
        counts.long += u64::from(length > 1524);
        let mut segments = Segments::parse(&read[..length]).unwrap();
        while segments.next_into(frame) {
            assert!(frame.len() <= 1514, "{}", frame.len());
            counts.wire += 1;
            to.queue(frame).unwrap();
        }
    }
    to.flush().unwrap();
}

fn transfer(kind: DeviceChoice, from: bool, to: bool) {
    let (mut sink, mut sink_out) = guest("sink", 8, kind, to);
    let (mut source, mut source_out) = guest("source", 7, kind, from);
    let mut poller = Poller::new();
    let (mut there, mut back) = (Wire::new(), Wire::new());
    let mut codes = (None, None);
    let start = Instant::now();
    while codes.0.is_none() || codes.1.is_none() {
        assert!(start.elapsed() < PATIENCE, "{codes:?}");
        let watched = [source.devices[0].watch(), sink.devices[0].watch(), source.watch(), sink.watch()];
        poller.wait(&watched, Some(Duration::from_millis(100))).unwrap();
        carry(&mut source.devices[0], &mut sink.devices[0], from, &mut there);
        carry(&mut sink.devices[0], &mut source.devices[0], to, &mut back);
        codes = (source.try_wait().unwrap(), sink.try_wait().unwrap());
    }
    let (mut said, mut heard) = (String::new(), String::new());
    source_out.read_to_string(&mut said).unwrap();
    sink_out.read_to_string(&mut heard).unwrap();
    assert_eq!(codes, (Some(0), Some(0)), "{said}{heard}");
    let line =
        |text: &str| text.lines().find(|l| l.contains("InErrs")).map(str::to_owned).unwrap_or_default();
    println!(
        "{kind:?} from {from} to {to}: {} | {} | {} long, {} frames",
        line(&said),
        line(&heard),
        there.long,
        there.wire
    );
    assert!(heard.contains("received; InErrs 0 InCsumErrors 0"), "{heard}");
    assert!(said.contains("InErrs 0 InCsumErrors 0"), "{said}");
    assert_eq!(there.long > 0, from, "long frames come from a kernel that may send them");
    assert!(there.wire >= SIZE as u64 / 1460, "{}", there.wire);
    // Not the kernels' count of retransmissions: on a busy machine they also repeat what is only late.
    if kind == DeviceChoice::Tap {
        assert_eq!((source.devices[0].lost(), sink.devices[0].lost()), (0, 0));
    }
}

#[test]
fn kernels_understand_each_other_through_cutting_and_joining() {
    for kind in kinds() {
        for (from, to) in [(true, true), (true, false), (false, true), (false, false)] {
            transfer(kind, from, to);
        }
    }
}
