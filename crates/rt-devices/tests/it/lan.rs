//! The fixture: machines on one switch, everything recorded, and a judge from outside (tshark).

use std::fmt::Write as _;
use std::future::Future;
use std::net::IpAddr;
use std::process::Command;
use std::sync::{Arc, Mutex};

use rt_apps::{Net, Runtime, StepResult};
use rt_base::{AppRecord, Event, EventId, Frame, MacAddr, Nanos, NodeId, PortId, Recorder, Time, Way, What};
use rt_devices::{Host, Switch};
use rt_sim::{DirectionSpec, LinkSpec, QueueSpec, Sim, StopReason};
use rt_stack::{IfaceConfig, Stack, StackConfig};

/// What a run left behind.
#[derive(Default)]
pub(crate) struct Log {
    pub(crate) events: Vec<Event>,
    /// Frames as they left a machine (not the switch).
    pub(crate) frames: Vec<(Time, Vec<u8>)>,
}

struct Keep {
    log: Arc<Mutex<Log>>,
    switch: NodeId,
}

impl Recorder for Keep {
    fn event(&mut self, event: &Event) {
        self.log.lock().unwrap().events.push(event.clone());
    }

    fn frame(&mut self, at: Time, node: NodeId, _: PortId, way: Way, frame: &Frame, _: EventId) {
        if node != self.switch && way == Way::Out {
            self.log.lock().unwrap().frames.push((at, frame.bytes.clone()));
        }
    }
}

type Start = Box<dyn FnOnce(&Runtime)>;

/// A machine to be.
pub(crate) struct Machine {
    name: String,
    address: Option<String>,
    apps: Vec<Start>,
    steps: Vec<rt_apps::StepFn>,
}

/// A machine with an address such as `10.0.0.1/24`, or none yet.
pub(crate) fn machine(name: &str, address: impl Into<Option<&'static str>>) -> Machine {
    let address = address.into().map(str::to_string);
    Machine { name: name.into(), address, apps: Vec::new(), steps: Vec::new() }
}

impl Machine {
    /// With this running from boot on.
    pub(crate) fn app(mut self, start: impl FnOnce(&Runtime) + 'static) -> Machine {
        self.apps.push(Box::new(start));
        self
    }

    /// With a step; the first is 0.
    pub(crate) fn step<F>(mut self, work: impl FnOnce(Net) -> F + Send + 'static) -> Machine
    where
        F: Future<Output = StepResult> + Send + 'static,
    {
        self.steps.push(Box::new(move |net| Box::pin(work(net))));
        self
    }
}

/// The network.
pub(crate) struct Lan {
    pub(crate) sim: Sim,
    pub(crate) log: Arc<Mutex<Log>>,
}

/// The MAC of the `index`-th machine.
pub(crate) fn mac(index: usize) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, index as u8 + 1])
}

/// One direction of every cable.
pub(crate) fn cable() -> DirectionSpec {
    DirectionSpec {
        rate_bps: 1_000_000_000,
        delay: Nanos::from_millis(1),
        jitter: Nanos::ZERO,
        loss_ppm: 0,
        loss_every: 0,
        reorder_ppm: 0,
        duplicate_ppm: 0,
        corrupt_ppm: 0,
        bit_errors: 0,
        queue: QueueSpec::Packets(1000),
    }
}

/// A stack with one interface.
pub(crate) fn stack(name: &str, mac: MacAddr, address: Option<&str>, seed: u64) -> Stack {
    let addresses = address.map(|a| a.parse().unwrap()).into_iter().collect();
    let interface = IfaceConfig { name: "eth0".into(), mac, addresses, mtu: 1500 };
    Stack::new(StackConfig { interfaces: vec![interface], ..StackConfig::default() }, seed, name)
}

impl Lan {
    /// Machines on a switch, in the order of their node ids.
    pub(crate) fn new(seed: u64, machines: Vec<Machine>) -> Lan {
        let log = Arc::new(Mutex::new(Log::default()));
        let mut sim = Sim::new(seed, true);
        let count = machines.len();
        for (index, machine) in machines.into_iter().enumerate() {
            let stack = stack(&machine.name, mac(index), machine.address.as_deref(), seed);
            let mut runtime = Runtime::new(stack, seed, &machine.name, 1_700_000_000);
            for app in machine.apps {
                app(&runtime);
            }
            for (index, step) in machine.steps.into_iter().enumerate() {
                runtime.set_step(index as u32, format!("step {index}"), step);
            }
            sim.add_node(&machine.name, Box::new(Host::with_apps(runtime)), Nanos::from_micros(10));
        }
        let switch = sim.add_node("switch", Box::new(Switch::new(count as u16)), Nanos::from_micros(1));
        for index in 0..count {
            let (a, b) = ((NodeId(index as u32), PortId(0)), (switch, PortId(index as u16)));
            sim.add_link(LinkSpec { a, b, ab: cable(), ba: cable(), mtu: 1500 });
        }
        sim.set_recorder(Box::new(Keep { log: Arc::clone(&log), switch }));
        sim.boot();
        Lan { sim, log }
    }

    /// Runs until `seconds` of virtual time.
    pub(crate) fn run_until(&mut self, seconds: u64) {
        let limit = Time::ZERO + Nanos::from_secs(seconds);
        while self.sim.run_until(limit) == StopReason::Signals {
            self.sim.take_signals();
        }
    }

    /// Carries out a step now; runs until it is done.
    pub(crate) fn step(&mut self, node: u32, step: u32) -> StepResult {
        let node = NodeId(node);
        self.sim.command(self.sim.now(), node, step);
        let limit = self.sim.now() + Nanos::from_secs(600);
        loop {
            if let Some(result) = self.host(node.0).step_result(step) {
                return result;
            }
            let reason = self.sim.run_until(limit);
            self.sim.take_signals();
            assert_eq!(reason, StopReason::Signals, "the step did not end");
        }
    }

    pub(crate) fn host(&mut self, node: u32) -> &mut Host {
        self.sim.node_mut(NodeId(node)).unwrap()
    }

    /// What applications of a machine said, one line each.
    pub(crate) fn said(&self, node: u32) -> String {
        let mut out = String::new();
        for event in &self.log.lock().unwrap().events {
            if let (true, What::App(record)) = (event.node() == NodeId(node), &event.what) {
                writeln!(out, "{:>12} {}", format!("{:.6}", event.at.as_secs_f64()), show(record)).unwrap();
            }
        }
        out
    }

    /// Everything that happened, as one number.
    pub(crate) fn digest(&self) -> u64 {
        let log = self.log.lock().unwrap();
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for byte in format!("{:?}{:?}", log.events, log.frames).bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        hash
    }

    /// The frames that machines sent, as tshark prints the fields; panics when it finds anything wrong.
    pub(crate) fn tshark(&self, name: &str, fields: &[&str]) -> String {
        let file = std::env::temp_dir().join(format!("rt-devices-{}-{name}.pcap", std::process::id()));
        std::fs::write(&file, self.pcap()).unwrap();
        let run = |args: &[&str]| {
            let checks = ["ip.check_checksum:TRUE", "udp.check_checksum:TRUE", "tcp.check_checksum:TRUE"];
            let mut command = Command::new("tshark");
            command.arg("-n").arg("-r").arg(&file).args(checks.iter().flat_map(|c| ["-o", c])).args(args);
            let output = command.output().expect("tshark is installed");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap()
        };
        // A reset is a warning to tshark by its mere existence; where one belongs, the tests' expectations say so.
        let warn = "_ws.malformed || (_ws.expert.severity >= 0x600000 && !tcp.flags.reset == 1) \
                    || ip.checksum.status == 0 || udp.checksum.status == 0 || tcp.checksum.status == 0";
        let wrong = run(&["-Y", warn]);
        let text = if fields.is_empty() {
            run(&[])
        } else {
            let mut args = vec!["-T", "fields", "-E", "separator=/s"];
            args.extend(fields.iter().flat_map(|f| ["-e", f]));
            run(&args)
        };
        std::fs::remove_file(&file).unwrap();
        assert_eq!(wrong, "");
        text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
    }

    /// libpcap's file format with nanoseconds.
    fn pcap(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for word in [0xa1b2_3c4d_u32, 0x0004_0002, 0, 0, 65_535, 1] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        let log = self.log.lock().unwrap();
        let mut frames: Vec<_> = log.frames.iter().collect();
        frames.sort_by_key(|(at, _)| *at);
        for (at, bytes) in frames {
            let len = bytes.len() as u32;
            for word in [(at.0 / 1_000_000_000) as u32, (at.0 % 1_000_000_000) as u32, len, len] {
                out.extend_from_slice(&word.to_le_bytes());
            }
            out.extend_from_slice(bytes);
        }
        out
    }
}

/// A record in a few words, as the tests compare it.
fn show(record: &AppRecord) -> String {
    match record {
        AppRecord::RequestBegin { req, parent, kind, method, target } => {
            format!("{}>{} {kind:?} {method} {target}", parent.0, req.0)
        }
        AppRecord::RequestEnd { req, status, ok, note, .. } => format!("{} end {status} {ok}: {note}", req.0),
        AppRecord::Cache { req, cache, key, outcome, note } => {
            format!("{} {cache:?} {key}: {outcome:?} {note}", req.0).trim_end().to_string()
        }
        AppRecord::UsesConnection { req, remote, .. } => format!("{} uses {remote}", req.0),
        AppRecord::Retry { req, attempt, why } => format!("{} try {attempt}: {why}", req.0),
        AppRecord::Note { req, code, text } => format!("{} {code}: {text}", req.0),
        AppRecord::AddressAssigned { address, prefix, how, gateway, resolvers, lease_until, .. } => {
            format!(
                "{how} {address}/{prefix} gateway {gateway:?} resolvers {resolvers:?} until {lease_until:?}"
            )
        }
        AppRecord::StepBegin { step, .. } => format!("step {step}"),
        AppRecord::StepEnd { step, ok, summary } => format!("step {step} {ok}: {summary}"),
        other => format!("{other:?}"),
    }
}

/// The address in a text.
pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}
