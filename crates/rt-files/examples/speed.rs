//! How fast captures and events are written: `cargo run --release -p rt-files --example speed`.
//!
//! Prints MB/s of a capture written to memory that is thrown away (full frames and small ones, with and without
//! comments) and nanoseconds per event.

#![allow(clippy::disallowed_methods, reason = "a measurement needs the clock")]

use std::hint::black_box;
use std::io::{self, Write};
use std::time::Instant;

use rt_base::{Event, EventId, FrameId, LinkId, NodeId, PortId, Time, Way, What};
use rt_files::events::EventWriter;
use rt_files::pcapng::{Capture, Interface, Packet};

/// Counts and forgets.
#[derive(Debug, Default)]
struct Sink(u64);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += black_box(bytes).len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn capture(len: usize, packets: u64, ahead: u64, comment: Option<&str>) -> io::Result<()> {
    let interface = Interface { name: "r:eth0".into(), ..Interface::default() };
    let mut out = Capture::new(Sink::default(), "speed", 0, &[interface])?;
    let bytes = vec![7; len];
    let start = Instant::now();
    for i in 0..packets {
        let now = Time(i * 1_000);
        let at = Time(now.0 + if i % 2 == 0 { 0 } else { ahead });
        let way = if ahead > 0 && i % 2 == 1 { Way::Out } else { Way::In };
        out.push(now, &Packet { at, interface: 0, way, bytes: &bytes, comment })?;
    }
    let written = out.finish()?.0;
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "capture, {len} B frames, {ahead} ns ahead, comment {}: {:.0} MB/s, {:.1} ns per packet",
        comment.is_some(),
        written as f64 / 1e6 / seconds,
        seconds * 1e9 / packets as f64,
    );
    Ok(())
}

/// The best of many rounds: other programs on the machine only ever make it slower.
fn events(rounds: u32) -> io::Result<()> {
    const EACH: u64 = 50_000;
    let mut out = EventWriter::new(Sink::default())?;
    let list: Vec<Event> = (0..EACH).map(event).collect();
    let mut best = f64::MAX;
    for _ in 0..rounds {
        let start = Instant::now();
        for event in &list {
            out.push(black_box(event))?;
        }
        best = best.min(start.elapsed().as_secs_f64() * 1e9 / EACH as f64);
    }
    let written = out.finish()?.0;
    println!("events: {best:.1} ns each, {:.1} B each", written as f64 / (EACH * u64::from(rounds)) as f64);
    Ok(())
}

/// What a router records for a packet: a look-up and two transmissions' worth.
fn event(i: u64) -> Event {
    let what = match i % 3 {
        0 => {
            What::Route { rule: 3, out: PortId(1), next_hop: std::net::IpAddr::from([10, 0, 3, 2]), ttl: 61 }
        }
        _ => What::Transmit {
            link: LinkId(4),
            port: PortId(1),
            processing: 20_000,
            start: Time(i * 1_000 + 5_000_000_000),
            done: Time(i * 1_000 + 5_000_008_320),
            arrive: Time(i * 1_000 + 5_001_008_320),
        },
    };
    let node = NodeId((i % 12) as u32);
    let because = EventId::new(node, i.saturating_sub(1));
    Event { id: EventId::new(node, i), because, at: Time(i * 1_000 + 5_000_000_000), frame: FrameId(i), what }
}

fn main() -> io::Result<()> {
    capture(1_514, 1_000_000, 0, None)?;
    capture(1_514, 1_000_000, 20_000, None)?;
    capture(1_514, 1_000_000, 20_000, Some("GET https://google.com/: response, part 3 of 30"))?;
    capture(66, 4_000_000, 0, None)?;
    capture(66, 4_000_000, 20_000, None)?;
    events(100)
}
