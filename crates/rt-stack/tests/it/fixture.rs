//! A few stacks joined by links of one millisecond, in memory, without the simulator: what a test says is data, and this is
//! the only place that knows how to drive a stack.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use rt_base::{
    DropReason, Event, EventId, Frame, HookPoint, MacAddr, Nanos, NodeId, Outbox, Place, PortId, Time, What,
};
use rt_rules::{
    Action, Chain, Filter, Match, NatAction, NatBehaviour, NatPorts, NatRule, Origin, Policy, PortRange,
    Route, RouteKind,
};
use rt_stack::{ConnectOptions, IfaceConfig, PortPolicy, SocketId, Stack, StackConfig, TcpRead};

pub(crate) const LINK_DELAY: Nanos = Nanos::from_millis(1);

/// A frame seen on a link.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) at: Time,
    pub(crate) from: usize,
    pub(crate) bytes: Vec<u8>,
}

type Tamper = Box<dyn FnMut(&mut Frame) -> bool>;

/// Machines, links and what happened.
pub(crate) struct World {
    pub(crate) stacks: Vec<Stack>,
    counters: Vec<(u64, u64)>,
    links: BTreeMap<(usize, u16), (usize, u16)>,
    queue: BTreeMap<(Time, u64), (usize, PortId, Frame)>,
    pushed: u64,
    pub(crate) now: Time,
    pub(crate) events: Vec<Event>,
    pub(crate) wire: Vec<Seen>,
    /// Returns whether the frame goes on.
    pub(crate) tamper: Option<Tamper>,
}

impl World {
    pub(crate) fn new(configs: Vec<(&str, StackConfig)>) -> World {
        let stacks: Vec<Stack> =
            configs.into_iter().map(|(name, config)| Stack::new(config, 1, name)).collect();
        World {
            counters: vec![(0, 0); stacks.len()],
            stacks,
            links: BTreeMap::new(),
            queue: BTreeMap::new(),
            pushed: 0,
            now: Time::ZERO,
            events: Vec::new(),
            wire: Vec::new(),
            tamper: None,
        }
    }

    pub(crate) fn link(mut self, a: (usize, u16), b: (usize, u16)) -> World {
        self.links.insert(a, b);
        self.links.insert(b, a);
        self
    }

    /// One input of one machine; what it sends is on its way afterwards.
    fn handle<T>(&mut self, node: usize, act: impl FnOnce(&mut Stack, Time, &mut Outbox) -> T) -> T {
        let mut out = Outbox::new(true);
        out.begin(NodeId(node as u32), self.now, EventId::NONE, self.counters[node]);
        let stack = &mut self.stacks[node];
        stack.begin(&out);
        let result = act(stack, self.now, &mut out);
        stack.send(self.now, &mut out);
        assert!(!stack.has_work(), "send leaves nothing behind");
        self.counters[node] = out.counters();
        self.events.append(&mut out.events);
        for (port, mut frame) in out.frames.drain(..) {
            self.wire.push(Seen { at: self.now, from: node, bytes: frame.bytes.clone() });
            let passes = self.tamper.as_mut().is_none_or(|tamper| tamper(&mut frame));
            if let Some(&(to, to_port)) = self.links.get(&(node, port.0)).filter(|_| passes) {
                self.pushed += 1;
                self.queue.insert((self.now + LINK_DELAY, self.pushed), (to, PortId(to_port), frame));
            }
        }
        result
    }

    /// What an application does, now.
    pub(crate) fn app<T>(&mut self, node: usize, act: impl FnOnce(&mut Stack) -> T) -> T {
        self.handle(node, |stack, _, _| act(stack))
    }

    /// A frame from outside arrives now.
    pub(crate) fn inject(&mut self, node: usize, port: u16, bytes: Vec<u8>) {
        self.handle(node, |stack, now, out| {
            let frame = out.new_frame(bytes, rt_base::FrameId::NONE);
            stack.receive(now, PortId(port), frame, out);
        });
    }

    /// Runs until nothing is on its way, and no timer is due before `limit`.
    pub(crate) fn run_until(&mut self, limit: Time) {
        for _ in 0..200_000 {
            let frame_at = self.queue.first_key_value().map_or(Time::MAX, |((at, _), _)| *at);
            let timers = self.stacks.iter().enumerate().map(|(node, stack)| (stack.next_deadline(), node));
            let (timer_at, node) = timers.min().expect("a machine");
            let next = frame_at.min(timer_at);
            if next > limit {
                self.now = limit;
                return;
            }
            assert!(next >= self.now, "time went back");
            self.now = next;
            if frame_at <= timer_at {
                let (_, (to, port, frame)) = self.queue.pop_first().expect("peeked");
                self.handle(to, |stack, now, out| {
                    stack.receive(now, port, frame, out);
                });
            } else {
                self.handle(node, |stack, now, out| stack.fire_next(now, out));
            }
        }
        panic!("the world does not come to rest");
    }

    pub(crate) fn run_for(&mut self, span: Nanos) {
        self.run_until(self.now + span);
    }

    pub(crate) fn run(&mut self) {
        self.run_for(Nanos::from_secs(10));
    }

    /// All drops: (machine, reason, place, rule).
    pub(crate) fn drops(&self) -> Vec<(u32, DropReason, Place, u32)> {
        let drop = |e: &Event| match e.what {
            What::Drop { reason, place, rule, .. } => Some((e.node().0, reason, place, rule)),
            _ => None,
        };
        self.events.iter().filter_map(drop).collect()
    }

    pub(crate) fn drop_reasons(&self) -> Vec<DropReason> {
        self.drops().into_iter().map(|(_, reason, ..)| reason).collect()
    }

    /// Events of one machine as the debug text of what they are, for those that `pick` likes.
    pub(crate) fn count(&self, node: u32, pick: impl Fn(&What) -> bool) -> usize {
        self.events.iter().filter(|e| e.node().0 == node && pick(&e.what)).count()
    }

    /// The frames on the wire as tcpdump lines, with the sending machine.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.wire.iter().map(|seen| format!("{}: {}", seen.from, rt_wire::summary(&seen.bytes))).collect()
    }

    pub(crate) fn udp(&mut self, node: usize, port: u16) -> SocketId {
        self.app(node, |stack| stack.udp_open(None, port, None)).expect("a free port")
    }

    pub(crate) fn say(&mut self, node: usize, socket: SocketId, to: &str, text: &[u8]) {
        self.app(node, |stack| stack.udp_send_to(socket, to.parse().expect("an address"), text))
            .expect("sent");
    }

    pub(crate) fn hear(&mut self, node: usize, socket: SocketId) -> Option<(Vec<u8>, String)> {
        self.app(node, |stack| stack.udp_recv_from(socket)).map(|(text, from)| (text, from.to_string()))
    }

    pub(crate) fn connect(&mut self, node: usize, to: &str) -> SocketId {
        let to: SocketAddr = to.parse().expect("an address");
        self.app(node, |stack| stack.tcp_connect(to, ConnectOptions::default())).expect("a way")
    }

    pub(crate) fn read(&mut self, node: usize, socket: SocketId) -> Vec<u8> {
        let mut all = Vec::new();
        let mut buf = [0; 4096];
        while let Ok(TcpRead::Data(n)) = self.app(node, |stack| stack.tcp_read(socket, &mut buf)) {
            all.extend_from_slice(&buf[..n]);
        }
        all
    }
}

pub(crate) fn origin() -> Origin {
    Origin::Line { file: "test.yaml".into(), line: 7 }
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

pub(crate) fn net(text: &str) -> IpNet {
    text.parse().expect("a prefix")
}

/// The MAC of interface `port` of machine `node`.
pub(crate) fn mac(node: u8, port: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, node, port])
}

pub(crate) fn route(prefix: &str, via: Option<&str>, out: u16) -> Route {
    Route {
        prefix: net(prefix),
        via: via.map(ip),
        out: PortId(out),
        kind: RouteKind::Unicast,
        metric: 0,
        source: None,
        origin: origin(),
    }
}

/// A machine with these addresses, one interface each.
pub(crate) fn machine(node: u8, addresses: &[&str], routes: Vec<Route>) -> StackConfig {
    let iface = |(port, address): (usize, &&str)| IfaceConfig {
        name: format!("eth{port}"),
        mac: mac(node, port as u8),
        addresses: vec![net(address)],
        mtu: 1_500,
    };
    StackConfig {
        interfaces: addresses.iter().enumerate().map(iface).collect(),
        routes,
        port_policy: PortPolicy::Sequential,
        ports: PortRange { first: 52_431, last: 60_999 },
        ..StackConfig::default()
    }
}

/// Two hosts on one link.
pub(crate) fn pair() -> World {
    pair_of(|_| {})
}

pub(crate) fn pair_of(change: impl Fn(&mut StackConfig)) -> World {
    let mut a = machine(0, &["10.0.0.1/24"], vec![]);
    let mut b = machine(1, &["10.0.0.2/24"], vec![]);
    change(&mut a);
    change(&mut b);
    World::new(vec![("a", a), ("b", b)]).link((0, 0), (1, 0))
}

/// Host 0 (192.168.1.10), router 1 (192.168.1.1, 203.0.113.50), host 2 (203.0.113.1, which knows no way back inside).
pub(crate) fn routed(change: impl FnOnce(&mut StackConfig)) -> World {
    let inside = machine(0, &["192.168.1.10/24"], vec![route("0.0.0.0/0", Some("192.168.1.1"), 0)]);
    let mut router = machine(1, &["192.168.1.1/24", "203.0.113.50/24"], vec![]);
    router.forwarding = true;
    change(&mut router);
    let nat = router.nat.is_empty();
    let back = if nat { vec![route("192.168.1.0/24", Some("203.0.113.50"), 0)] } else { vec![] };
    let outside = machine(2, &["203.0.113.1/24"], back);
    World::new(vec![("inside", inside), ("router", router), ("outside", outside)])
        .link((0, 0), (1, 0))
        .link((1, 1), (2, 0))
}

pub(crate) fn snat_rule() -> NatRule {
    let ports = NatPorts::Sequential(PortRange { first: 10_001, last: 65_535 });
    NatRule {
        when: Match { src: vec![net("192.168.1.0/24")], out_port: Some(PortId(1)), ..Match::default() },
        action: NatAction::Masquerade { ports },
        behaviour: NatBehaviour::default(),
        origin: origin(),
    }
}

/// The router of [`routed`] translates.
pub(crate) fn natted() -> World {
    routed(|router| router.nat = vec![snat_rule()])
}

pub(crate) fn chain(hook: HookPoint, rules: Vec<(Match, Action)>, policy: Action) -> Chain {
    let rules = rules.into_iter().map(|(when, action)| Filter::new(when, action, origin())).collect();
    Chain { hook, rules, policy: Policy::new(policy, origin()) }
}
