//! Clock, memory, a line of figures, and sinks that throw away.

use std::fmt::Write as _;
use std::io;
use std::time::Instant;

use rt_base::{Event, EventId, Frame, NodeId, PortId, Recorder, Time, Way};
use rt_files::events::EventWriter;
use rt_files::pcapng::{Capture, Interface, Packet};

/// A stop-watch.
pub(crate) struct Wall(Instant);

impl Wall {
    pub(crate) fn now() -> Wall {
        Wall(Instant::now())
    }

    pub(crate) fn seconds(&self) -> f64 {
        self.0.elapsed().as_secs_f64()
    }
}

/// Processor time of this process, which others on the machine do not lengthen (much: they take its caches).
pub(crate) struct Cpu(f64);

impl Cpu {
    pub(crate) fn now() -> Cpu {
        Cpu(Cpu::spent())
    }

    pub(crate) fn seconds(&self) -> f64 {
        Cpu::spent() - self.0
    }

    /// Nanoseconds on a processor are the first word of `schedstat`.
    fn spent() -> f64 {
        let text = std::fs::read_to_string("/proc/self/schedstat").expect("Linux tells");
        text.split_whitespace().next().and_then(|n| n.parse::<f64>().ok()).expect("a number") / 1e9
    }
}

/// One line of `key=value` words.
pub(crate) struct Report(String);

impl Report {
    pub(crate) fn new(bench: &str) -> Report {
        Report(format!("bench={bench}"))
    }

    pub(crate) fn put(mut self, key: &str, value: f64) -> Report {
        let _ = write!(self.0, " {key}={value:.4}");
        self
    }

    pub(crate) fn print(self) {
        println!("{} peak_rss_mib={:.1}", self.0, peak_rss_kib() as f64 / 1024.0);
    }
}

fn status(key: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find(|l| l.starts_with(key)).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// Resident memory now.
pub(crate) fn rss_kib() -> u64 {
    status("VmRSS:")
}

/// Resident memory at its highest.
pub(crate) fn peak_rss_kib() -> u64 {
    status("VmHWM:")
}

/// Encodes every event as `events.bin` has it, and throws the bytes away.
pub(crate) struct EventsToNowhere(EventWriter<io::Sink>);

impl EventsToNowhere {
    pub(crate) fn new() -> EventsToNowhere {
        EventsToNowhere(EventWriter::new(io::sink()).expect("a sink takes all"))
    }
}

impl Recorder for EventsToNowhere {
    fn event(&mut self, event: &Event) {
        self.0.push(event).expect("a sink takes all");
    }

    fn frame(&mut self, _: Time, _: NodeId, _: PortId, _: Way, _: &Frame, _: EventId) {}

    fn wants_frames(&self) -> bool {
        false
    }
}

/// MB/s of packets pushed, alternately held back and at once, to a file as a run writes it.
pub(crate) fn pcapng_throughput() -> f64 {
    const PACKETS: u64 = 700_000;
    let bytes = [0x55; 1_514];
    let interface = Interface { name: "a:eth0".into(), ..Interface::default() };
    let path = std::env::temp_dir().join(format!("roundtrip-bench-{}.pcapng", std::process::id()));
    let file = std::fs::File::create(&path).expect("room for 1 GB in the temporary folder");
    let out = io::BufWriter::with_capacity(1 << 16, file);
    let mut capture = Capture::new(out, "bench", 0, &[interface]).expect("the file can be written");
    let wall = Wall::now();
    for n in 0..PACKETS {
        let now = Time(n * 1_000);
        let (at, way) = if n % 2 == 0 { (now, Way::In) } else { (Time(n * 1_000 + 20_000), Way::Out) };
        let packet = Packet { at, interface: 0, way, bytes: &bytes, comment: None };
        capture.push(now, &packet).expect("the file can be written");
    }
    let written = capture.written();
    capture.finish().expect("the file can be written");
    let seconds = wall.seconds();
    let _ = std::fs::remove_file(&path);
    written as f64 / 1e6 / seconds
}
