//! Random packets through a NAT machine and through a slow model of one (`model.rs`), which must agree about every packet: how
//! it leaves, or by which reason it ends; and about how many flows and mappings there are. A second machine, whose events are
//! not recorded and which therefore may take short ways (`hooks/known.rs`), must do the same to the byte.

mod model;

use model::{End, FORWARDED, Fate, Kind, Model, OUTER, PORTS, SERVER, Seen};
use proptest::collection::vec;
use proptest::prelude::*;
use rt_base::{EventId, FrameId, HookPoint, MacAddr, Nanos, NodeId, Outbox, PortId, Time, What};
use rt_rules::{
    Action, ConntrackOptions, Match, NatAction, NatBehaviour, NatDepends, NatPorts, NatRule, PortRange,
};
use rt_stack::Stack;
use rt_wire::{
    EthernetHeader, Icmpv4, Ipv4Header, Seq, TcpFlags, TcpHeader, TcpOptions, UdpHeader, checksum, protocol,
};

use crate::fixture::*;

/// One thing that happens: after so many seconds, a packet or an error about one of the last packets that left.
#[derive(Clone, Debug)]
struct Happening {
    seconds: u64,
    what: Doing,
}

#[derive(Clone, Debug)]
enum Doing {
    /// (from inside, source host, source port, destination, destination port, kind)
    Packet(bool, u8, u8, u8, u8, u8),
    /// The same as so many before the last.
    Again(usize),
    /// About the packet so many before the last, from its destination or (true) from a router before it.
    Error(usize, bool),
}

fn happening() -> impl Strategy<Value = Happening> {
    let packet = (any::<bool>(), 0..3u8, 0..3u8, 0..5u8, 0..8u8, 0..24u8).prop_map(
        |(inside, host, port, to, to_port, kind)| Doing::Packet(inside, host, port, to, to_port, kind),
    );
    let error = (0..6usize, any::<bool>()).prop_map(|(back, router)| Doing::Error(back, router));
    let what = prop_oneof![6 => packet, 4 => (0..3usize).prop_map(Doing::Again), 1 => error];
    let seconds = prop_oneof![6 => Just(0), 4 => 1..20u64, 1 => 20..200u64];
    (seconds, what).prop_map(|(seconds, what)| Happening { seconds, what })
}

fn depends() -> impl Strategy<Value = NatDepends> {
    prop_oneof![
        Just(NatDepends::EndpointIndependent),
        Just(NatDepends::AddressDependent),
        Just(NatDepends::AddressAndPortDependent)
    ]
}

#[derive(Clone, Debug)]
struct Setting {
    behaviour: NatBehaviour,
    preserve: bool,
    max: u32,
    per_source: Option<u32>,
}

fn setting() -> impl Strategy<Value = Setting> {
    let limits = (prop_oneof![4 => Just(1_000), 1 => 1..12u32], prop::option::weighted(0.2, 1..6u32));
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    (depends(), depends(), flags, limits).prop_map(|(mapping, filtering, flags, (max, per_source))| {
        let (hairpin, exclusive, preserve) = flags;
        let behaviour = NatBehaviour { mapping, filtering, hairpin, exclusive, ..NatBehaviour::default() };
        Setting { behaviour, preserve, max, per_source }
    })
}

const ROUTER_BEFORE: [u8; 4] = [203, 0, 113, 9];

fn inner(host: u8) -> [u8; 4] {
    [192, 168, 1, 10 + host]
}

fn outer(host: u8) -> [u8; 4] {
    [203, 0, 113, 1 + host]
}

fn host_mac(address: [u8; 4]) -> MacAddr {
    MacAddr([2, 9, address[0], address[2], address[3], 1])
}

/// The machine: its rules, its neighbours, and what left it.
struct Machine {
    stack: Stack,
    sent: Vec<(bool, Vec<u8>)>,
    now: Time,
    counters: (u64, u64),
    /// Packets that took a short way.
    quick: usize,
}

impl Machine {
    fn new(setting: &Setting, options: ConntrackOptions) -> Machine {
        let range = PortRange { first: PORTS.0, last: PORTS.1 };
        let ports = if setting.preserve { NatPorts::Preserve(range) } else { NatPorts::Sequential(range) };
        let when = Match {
            protocol: Some(6),
            in_port: Some(PortId(1)),
            dport: Some(PortRange { first: FORWARDED, last: FORWARDED }),
            ..Match::default()
        };
        let forward = NatAction::Dnat { to: SERVER.0.into(), port: Some(SERVER.1) };
        let behaviour = setting.behaviour;
        let mut config = machine(1, &["192.168.1.1/24", "203.0.113.50/24"], vec![]);
        config.forwarding = true;
        config.conntrack = options;
        config.nat = vec![
            NatRule { behaviour, ..NatRule::new(when, forward, origin()) },
            NatRule { behaviour, action: NatAction::Masquerade { ports }, ..snat_rule() },
        ];
        // What is for the machine itself ends here, so that it says nothing of its own.
        config.chains = vec![chain(HookPoint::Input, vec![], Action::Drop)];
        let mut stack = Stack::new(config, 1, "nat");
        for host in 0..3 {
            stack.add_neighbor(PortId(0), inner(host).into(), host_mac(inner(host)));
            stack.add_neighbor(PortId(1), outer(host).into(), host_mac(outer(host)));
        }
        stack.add_neighbor(PortId(1), ROUTER_BEFORE.into(), host_mac(ROUTER_BEFORE));
        Machine { stack, sent: vec![], now: Time::ZERO, counters: (0, 0), quick: 0 }
    }

    /// The same without recording: the frame that leaves.
    fn receive_unseen(&mut self, bytes: Vec<u8>, from_inside: bool) -> Option<Vec<u8>> {
        let mut out = Outbox::new(false);
        out.begin(NodeId(0), self.now, EventId::NONE, self.counters);
        let frame = out.new_frame(bytes, FrameId::NONE);
        self.quick +=
            usize::from(!self.stack.receive(self.now, PortId(u16::from(!from_inside)), frame, &mut out));
        self.counters = out.counters();
        out.frames.pop().map(|(_, frame)| frame.bytes)
    }

    fn receive(&mut self, bytes: Vec<u8>, from_inside: bool) -> Fate {
        let mut out = Outbox::new(true);
        out.begin(NodeId(0), self.now, EventId::NONE, self.counters);
        let frame = out.new_frame(bytes, FrameId::NONE);
        self.stack.receive(self.now, PortId(u16::from(!from_inside)), frame, &mut out);
        self.counters = out.counters();
        if let Some((port, frame)) = out.frames.pop() {
            assert!(out.frames.is_empty(), "one goes in, one comes out");
            let to_inside = port == PortId(0);
            let (kind, src, dst) = read(&frame.bytes);
            self.sent.push((to_inside, frame.bytes));
            return Fate::Leaves { kind, src, dst, to_inside };
        }
        let reason = out.events.iter().find_map(|event| match &event.what {
            What::Drop { reason, .. } => Some(*reason),
            _ => None,
        });
        Fate::Ends(reason.expect("it ends by a reason"))
    }
}

/// The bytes of a packet.
fn write(seen: &Seen) -> Vec<u8> {
    let mut bytes = Vec::new();
    let dst = mac(1, u8::from(!seen.from_inside));
    EthernetHeader { dst, src: host_mac(seen.src.0), ethertype: 0x0800 }.emit(&mut bytes);
    let mut rest = Vec::new();
    let protocol = match seen.kind {
        Kind::Udp => {
            UdpHeader { src: seen.src.1, dst: seen.dst.1, len: 12, checksum: 0 }.emit(&mut rest);
            rest.extend_from_slice(b"text");
            protocol::UDP
        }
        Kind::Tcp(flags) => {
            let (seq, ack, options) = (Seq(1), Seq(2), TcpOptions::default());
            let (src, dst) = (seen.src.1, seen.dst.1);
            TcpHeader { src, dst, seq, ack, flags, window: 9, urgent: 0, options }.emit(&mut rest);
            protocol::TCP
        }
        Kind::Echo(true) => {
            Icmpv4::EchoRequest { id: seen.src.1, seq: 1 }.emit(b"ping", &mut rest);
            protocol::ICMP
        }
        Kind::Echo(false) => {
            Icmpv4::EchoReply { id: seen.src.1, seq: 1 }.emit(b"ping", &mut rest);
            protocol::ICMP
        }
        Kind::Error(..) => unreachable!("errors are made of what they quote"),
    };
    Ipv4Header::new(seen.src.0.into(), seen.dst.0.into(), protocol, 64, rest.len()).emit(&mut bytes);
    if protocol != protocol::ICMP {
        checksum::fill_transport(seen.src.0.into(), seen.dst.0.into(), protocol, &mut rest);
    }
    bytes.extend_from_slice(&rest);
    bytes
}

/// An error about a frame, from `src`.
fn write_error(about: &[u8], src: [u8; 4], from_inside: bool) -> Vec<u8> {
    let (ip, _) = Ipv4Header::parse(&about[14..]).unwrap();
    let mut bytes = Vec::new();
    let dst = mac(1, u8::from(!from_inside));
    EthernetHeader { dst, src: host_mac(src), ethertype: 0x0800 }.emit(&mut bytes);
    let quoted = &about[14..];
    Ipv4Header::new(src.into(), ip.src, protocol::ICMP, 64, 8 + quoted.len()).emit(&mut bytes);
    Icmpv4::Unreachable { code: 1, mtu: 0 }.emit(quoted, &mut bytes);
    bytes
}

fn ends(ip: &Ipv4Header, payload: &[u8]) -> (End, End) {
    let word = |at: usize| u16::from_be_bytes([payload[at], payload[at + 1]]);
    let (sport, dport) = if ip.protocol == protocol::ICMP { (word(4), word(4)) } else { (word(0), word(2)) };
    ((ip.src.octets(), sport), (ip.dst.octets(), dport))
}

/// What a frame that left is, with all its checksums right.
fn read(bytes: &[u8]) -> (Kind, End, End) {
    let (ip, payload) = Ipv4Header::parse(&bytes[14..]).expect("a right header");
    let (src, dst) = (ip.src.octets(), ip.dst.octets());
    if ip.protocol != protocol::ICMP {
        assert!(checksum::transport_holds(src.into(), dst.into(), ip.protocol, payload), "a right checksum");
        let (src, dst) = ends(&ip, payload);
        let kind = if ip.protocol == protocol::UDP { Kind::Udp } else { Kind::Tcp(TcpFlags(payload[13])) };
        return (kind, src, dst);
    }
    match Icmpv4::parse(payload).expect("a right ICMP checksum") {
        (Icmpv4::EchoRequest { id, .. }, _) => (Kind::Echo(true), (src, id), (dst, id)),
        (Icmpv4::EchoReply { id, .. }, _) => (Kind::Echo(false), (src, id), (dst, id)),
        (_, quoted) => {
            let (ip, payload) = Ipv4Header::parse(quoted).expect("a right header in the quotation");
            let (from, to) = ends(&ip, payload);
            (Kind::Error(ip.protocol, from, to), (src, 0), (dst, 0))
        }
    }
}

/// The packet that these numbers mean, given what left before.
fn packet(numbers: (bool, u8, u8, u8, u8, u8), sent: &[(bool, Vec<u8>)]) -> Option<Seen> {
    let (from_inside, host, port, to, to_port, kind) = numbers;
    // Half of them answer something that left.
    if kind >= 12 {
        let behind = usize::from(to) + 5 * usize::from(port);
        let (to_inside, bytes) = sent.iter().rev().nth(behind)?;
        let (kind_sent, src, dst) = read(bytes);
        let kind = match kind_sent {
            Kind::Udp => Kind::Udp,
            Kind::Tcp(_) => Kind::Tcp(flags(kind)),
            Kind::Echo(true) => Kind::Echo(false),
            _ => return None,
        };
        return Some(Seen { kind, src: dst, dst: src, from_inside: *to_inside });
    }
    let kind = match kind {
        0..=3 => Kind::Udp,
        4..=9 => Kind::Tcp(flags(kind)),
        10 => Kind::Echo(true),
        _ => Kind::Echo(false),
    };
    let src = (if from_inside { inner(host) } else { outer(host) }, 5_000 + u16::from(port));
    let dst = match (from_inside, to) {
        (_, 0..2) => OUTER,
        (true, n) => outer(n - 2),
        (false, n) => inner(n - 2),
    };
    let dport = match (dst == OUTER, to_port) {
        (true, 7) => FORWARDED,
        (true, n) => PORTS.0 + u16::from(n),
        (false, n) if from_inside => 53 + u16::from(n % 2),
        (false, n) => 5_000 + u16::from(n % 3),
    };
    let src = if matches!(kind, Kind::Echo(_)) { (src.0, dport) } else { src };
    Some(Seen { kind, src, dst: (dst, dport), from_inside })
}

fn flags(n: u8) -> TcpFlags {
    let all = [TcpFlags::SYN, TcpFlags::SYN | TcpFlags::ACK, TcpFlags::ACK, TcpFlags::FIN | TcpFlags::ACK];
    match n % 8 {
        n @ 0..4 => all[usize::from(n)],
        4 => TcpFlags::RST,
        5 => TcpFlags::FIN | TcpFlags::ACK,
        6 => TcpFlags::ACK,
        _ => TcpFlags::SYN,
    }
}

fn run(setting: &Setting, happenings: &[Happening]) -> Result<[usize; 3], TestCaseError> {
    let options = ConntrackOptions {
        max: setting.max,
        per_source: setting.per_source,
        tcp_established: Nanos::from_secs(150),
        ..ConntrackOptions::default()
    };
    let (mut machine, mut unseen) = (Machine::new(setting, options), Machine::new(setting, options));
    let mut model = Model::new(setting.behaviour, setting.preserve, options);
    let (mut ended, mut said) = ([0, 0, 0], Vec::new());
    for happening in happenings {
        machine.now += Nanos::from_secs(happening.seconds);
        let (seen, bytes) = match happening.what {
            Doing::Packet(inside, host, port, to, to_port, kind) => {
                let numbers = (inside, host, port, to, to_port, kind);
                let Some(seen) = packet(numbers, &machine.sent) else { continue };
                (seen, write(&seen))
            }
            Doing::Again(back) => {
                let Some(seen) = said.iter().rev().nth(back).copied() else { continue };
                (seen, write(&seen))
            }
            Doing::Error(back, router) => {
                let Some((to_inside, about)) = machine.sent.iter().rev().nth(back) else { continue };
                let (kind, src, dst) = read(about);
                let protocol = match kind {
                    Kind::Udp => protocol::UDP,
                    Kind::Tcp(_) => protocol::TCP,
                    Kind::Echo(true) => protocol::ICMP,
                    _ => continue,
                };
                let from = if router && !to_inside { ROUTER_BEFORE } else { dst.0 };
                let kind = Kind::Error(protocol, src, dst);
                let seen = Seen { kind, src: (from, 0), dst: (src.0, 0), from_inside: *to_inside };
                (seen, write_error(about, from, *to_inside))
            }
        };
        if !matches!(seen.kind, Kind::Error(..)) {
            said.push(seen);
        }
        let expected = model.packet(machine.now, seen);
        unseen.now = machine.now;
        let left = unseen.receive_unseen(bytes.clone(), seen.from_inside);
        let fate = machine.receive(bytes, seen.from_inside);
        prop_assert_eq!(fate, expected, "{:?} at {:?}", seen, machine.now);
        let tables = machine.stack.tables(machine.now);
        prop_assert_eq!((tables.flows.len(), tables.nat.len()), model.counts(machine.now));
        let sent = matches!(fate, Fate::Leaves { .. }).then(|| machine.sent.last().map(|(_, bytes)| bytes));
        prop_assert_eq!(left.as_ref(), sent.flatten(), "{:?} at {:?}", seen, machine.now);
        let other = unseen.stack.tables(machine.now);
        prop_assert_eq!((other.flows, other.nat, other.routes), (tables.flows, tables.nat, tables.routes));
        ended[usize::from(matches!(fate, Fate::Leaves { .. }))] += 1;
    }
    ended[2] = unseen.quick;
    Ok(ended)
}

#[test]
fn the_machine_and_a_slow_model_agree_about_every_packet() {
    let config = ProptestConfig {
        cases: 2_000,
        failure_persistence: None,
        rng_seed: proptest::test_runner::RngSeed::Fixed(4_787),
        ..ProptestConfig::default()
    };
    let counted = std::cell::Cell::new([0; 3]);
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let result = runner.run(&(setting(), vec(happening(), 1..60)), |(setting, happenings)| {
        let [ended, left, quick] = run(&setting, &happenings)?;
        let so_far = counted.get();
        counted.set([so_far[0] + ended, so_far[1] + left, so_far[2] + quick]);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
    let [ended, left, quick] = counted.get();
    let often = ended > 10_000 && left > 10_000 && quick > 2_000;
    assert!(often, "all of it happens often: {ended} ended, {left} left, {quick} the short way");
}
