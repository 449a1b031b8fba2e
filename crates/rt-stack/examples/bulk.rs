//! What two stacks cost for one bulk TCP connection, without the simulator: frames go from one to the other by hand, one
//! millisecond of virtual time for each exchange.
//!
//! `cargo run --release -p rt-stack --example bulk [MEGABYTES]`. Numbers are for comparing two builds on one machine in one
//! minute; nothing tests them.
#![allow(clippy::disallowed_methods, reason = "it measures wall time")]

use rt_base::{EventId, Frame, MacAddr, NodeId, Outbox, PortId, Time};
use rt_stack::{ConnectOptions, IfaceConfig, Stack, StackConfig, TcpRead};

const CHUNK: usize = 64 << 10;

struct Machine {
    stack: Stack,
    counters: (u64, u64),
    inbox: Vec<Frame>,
}

fn machine(n: u8) -> Machine {
    let iface = IfaceConfig {
        name: "eth0".into(),
        mac: MacAddr([2, 0, 0, 0, 0, n]),
        addresses: vec![format!("10.0.0.{n}/24").parse().expect("a prefix")],
        mtu: 1_500,
    };
    let config = StackConfig { interfaces: vec![iface], ..StackConfig::default() };
    Machine { stack: Stack::new(config, 1, &format!("m{n}")), counters: (0, 0), inbox: Vec::new() }
}

/// Everything that arrived at `to`, then its timers, then its application; what it sends goes to `peer`.
fn turn(now: Time, to: &mut Machine, peer: &mut Machine, out: &mut Outbox, app: &mut dyn FnMut(&mut Stack)) {
    out.begin(NodeId(0), now, EventId::NONE, to.counters);
    to.stack.begin(out);
    for frame in to.inbox.drain(..) {
        to.stack.receive(now, PortId(0), frame, out);
    }
    // What was just received may want to be sent, which also counts as due.
    while to.stack.next_deadline() <= now && to.stack.fire_next(now, out) {}
    app(&mut to.stack);
    to.stack.send(now, out);
    to.counters = out.counters();
    peer.inbox.extend(out.frames.drain(..).map(|(_, frame)| frame));
}

fn main() {
    let megabytes: usize = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(200);
    let (mut a, mut b) = (machine(1), machine(2));
    let mut out = Outbox::new(false);
    let listener = b.stack.tcp_listen(80, 1).expect("a free port");
    let client = a
        .stack
        .tcp_connect("10.0.0.2:80".parse().expect("an address"), ConnectOptions::default())
        .expect("a route");
    let (data, mut buf) = (vec![7u8; CHUNK], vec![0u8; 4 << 20]);
    let (mut got, mut server, mut now) = (0, None, Time::ZERO);
    let start = std::time::Instant::now();
    while got < megabytes << 20 {
        now += rt_base::Nanos::from_millis(1);
        turn(now, &mut a, &mut b, &mut out, &mut |s| {
            while s.tcp_write(client, &data).is_ok_and(|n| n > 0) {}
        });
        turn(now, &mut b, &mut a, &mut out, &mut |s| {
            server = server.or_else(|| s.tcp_accept(listener));
            let Some(id) = server else { return };
            while let Ok(TcpRead::Data(n)) = s.tcp_read(id, &mut buf) {
                got += n;
            }
        });
    }
    let seconds = start.elapsed().as_secs_f64();
    println!("{:.0} MB/s over two stacks", got as f64 / 1e6 / seconds);
}
