//! Virtual interfaces: what is put around packets, what is taken off, what is too long, and what belongs to nobody.

use std::net::Ipv4Addr;

use rt_base::{ConnId, DropReason, InterfaceKind, Nanos, PortId, What};
use rt_rules::Action;
use rt_stack::{CameBy, Carried, IfaceConfig, SocketId, StackConfig};
use rt_wire::Ipv4Header;

use crate::fixture::*;

fn v4(text: &str) -> Ipv4Addr {
    text.parse().expect("an address")
}

/// Adds a virtual interface; returns its port.
fn add(config: &mut StackConfig, address: &str, mtu: u16, kind: InterfaceKind) -> PortId {
    let port = PortId(config.interfaces.len() as u16);
    let addresses = if address.is_empty() { vec![] } else { vec![net(address)] };
    let mac = mac(90 + config.interfaces[0].mac.0[4], port.0 as u8);
    config.interfaces.push(IfaceConfig { name: format!("v{}", port.0), mac, addresses, mtu });
    config.virtuals.push((port, kind));
    port
}

/// a (10.0.0.1) -- b (10.0.0.2, 10.1.0.2) -- c (10.1.0.3), with a tunnel of this kind between a and c: 172.16.0.1 and .3.
fn tunnel(mtu: u16, kind: impl Fn(Ipv4Addr, Ipv4Addr) -> InterfaceKind) -> World {
    let mut a = machine(0, &["10.0.0.1/24"], vec![route("0.0.0.0/0", Some("10.0.0.2"), 0)]);
    let mut b = machine(1, &["10.0.0.2/24", "10.1.0.2/24"], vec![]);
    b.forwarding = true;
    let mut c = machine(2, &["10.1.0.3/24"], vec![route("0.0.0.0/0", Some("10.1.0.2"), 0)]);
    add(&mut a, "172.16.0.1/24", mtu, kind(v4("10.0.0.1"), v4("10.1.0.3")));
    add(&mut c, "172.16.0.3/24", mtu, kind(v4("10.1.0.3"), v4("10.0.0.1")));
    World::new(vec![("a", a), ("b", b), ("c", c)]).link((0, 0), (1, 0)).link((1, 1), (2, 0))
}

type Between = fn(Ipv4Addr, Ipv4Addr) -> InterfaceKind;

fn kinds() -> Vec<(u16, Between)> {
    vec![
        (1_476, |local, remote| InterfaceKind::Gre { local, remote, key: None }),
        (1_472, |local, remote| InterfaceKind::Gre { local, remote, key: Some(7) }),
        (1_480, |local, remote| InterfaceKind::Ipip { local, remote }),
        (1_450, |local, remote| InterfaceKind::Vxlan { vni: 42, local, remote, port: 4_789 }),
    ]
}

#[test]
fn packets_pass_and_keep_their_id_inside_and_outside() {
    for (mtu, kind) in kinds() {
        let mut world = tunnel(mtu, kind);
        let (from, to) = (world.udp(0, 1_000), world.udp(2, 2_000));
        world.say(0, from, "172.16.0.3:2000", b"through");
        world.run();
        assert_eq!(world.hear(2, to), Some((b"through".to_vec(), "172.16.0.1:1000".into())));
        world.say(2, to, "172.16.0.1:1000", b"and back");
        world.run();
        assert_eq!(world.hear(0, from), Some((b"and back".to_vec(), "172.16.0.3:2000".into())));
        assert!(world.drops().is_empty(), "{:?}", world.drops());
        let overhead = kind(v4("1.1.1.1"), v4("2.2.2.2")).overhead();
        let datagrams = world
            .events
            .iter()
            .filter(|e| matches!(e.what, What::Deliver { protocol: 17, conn } if conn.0 != 0));
        let journey = datagrams.map(|e| e.frame).next().expect("delivered");
        let of = |pick: fn(&What) -> Option<u16>| {
            world
                .events
                .iter()
                .filter(|e| e.frame == journey)
                .filter_map(|e| pick(&e.what))
                .collect::<Vec<u16>>()
        };
        let wrapped = of(|w| match w {
            What::Wrapped { overhead, .. } => Some(*overhead),
            _ => None,
        });
        let unwrapped = of(|w| match w {
            What::Unwrapped { overhead, .. } => Some(*overhead),
            _ => None,
        });
        assert_eq!((wrapped, unwrapped), (vec![overhead], vec![overhead]));
        let outer =
            world.wire.iter().filter(|s| s.from == 0 && s.bytes.len() > 60).map(|s| s.bytes.len()).max();
        assert_eq!(outer, Some(14 + usize::from(overhead) + 20 + 8 + 7));
    }
}

#[test]
fn tcp_fills_the_tunnel_and_nothing_is_cut() {
    for (mtu, kind) in kinds() {
        let mut world = tunnel(mtu, kind);
        let listener = world.app(2, |s| s.tcp_listen(80, 5)).expect("a free port");
        let client = world.connect(0, "172.16.0.3:80");
        world.run_for(Nanos::from_millis(50));
        let server = world.app(2, |s| s.tcp_accept(listener)).expect("a connection");
        assert_eq!(world.app(0, |s| s.tcp_write(client, &[7; 60_000])), Ok(60_000));
        let mut got = 0;
        for _ in 0..200 {
            world.run_for(Nanos::from_millis(10));
            got += world.read(2, server).len();
        }
        assert_eq!(got, 60_000);
        let longest = world.wire.iter().map(|s| s.bytes.len()).max();
        assert_eq!(longest, Some(1_514), "{kind:?}: full frames");
        assert!(
            world
                .wire
                .iter()
                .filter(|s| s.bytes[12..14] == [8, 0])
                .all(|s| s.bytes[20] & 0x3f == 0 && s.bytes[21] == 0)
        );
    }
}

/// RFC 2003, 5 and RFC 1191: the path of the outer packet is narrow; the inner sender learns it from its own side.
#[test]
fn the_paths_mtu_reaches_the_sender_inside() {
    for (mtu, kind) in &kinds()[..3] {
        let mut world = tunnel(*mtu, kind);
        // The tunnel's end is a router for the host at its other side.
        let overhead = kind(v4("1.1.1.1"), v4("2.2.2.2")).overhead();
        let listener = world.app(2, |s| s.tcp_listen(80, 5)).expect("a free port");
        let client = world.connect(0, "172.16.0.3:80");
        world.run_for(Nanos::from_millis(50));
        let server = world.app(2, |s| s.tcp_accept(listener)).expect("a connection");
        // From now on b's second link takes 1400 bytes.
        narrow(&mut world);
        assert_eq!(world.app(0, |s| s.tcp_write(client, &[7; 30_000])), Ok(30_000));
        let mut got = 0;
        for _ in 0..1_000 {
            world.run_for(Nanos::from_millis(10));
            got += world.read(2, server).len();
        }
        assert_eq!(got, 30_000, "{:?}", world.drop_reasons());
        let longest = |from: usize| {
            world.wire.iter().rev().take(60).filter(|s| s.from == from).map(|s| s.bytes.len()).max()
        };
        assert!(longest(0).is_some_and(|n| n <= 1_414), "{:?}", longest(0));
        assert!(overhead > 0);
    }
}

/// Frames from b to c longer than 1400 bytes of IP are answered as a router would.
fn narrow(world: &mut World) {
    let narrow = |config: &mut StackConfig| config.interfaces[1].mtu = 1_400;
    let mut b = machine(1, &["10.0.0.2/24", "10.1.0.2/24"], vec![]);
    b.forwarding = true;
    narrow(&mut b);
    world.stacks[1] = rt_stack::Stack::new(b, 1, "b");
}

#[test]
fn whoever_has_no_such_tunnel_says_so() {
    let gre = |key| move |local, remote| InterfaceKind::Gre { local, remote, key };
    let mut world = tunnel(1_476, gre(Some(1)));
    let mut other = machine(2, &["10.1.0.3/24"], vec![route("0.0.0.0/0", Some("10.1.0.2"), 0)]);
    add(&mut other, "172.16.0.3/24", 1_476, gre(Some(2))(v4("10.1.0.3"), v4("10.0.0.1")));
    world.stacks[2] = rt_stack::Stack::new(other, 1, "c");
    let from = world.udp(0, 1_000);
    world.say(0, from, "172.16.0.3:2000", b"x");
    world.run();
    assert_eq!(world.drop_reasons(), [DropReason::NoTunnel]);
}

#[test]
fn a_tunnel_through_itself_ends() {
    let mut a = machine(0, &["10.0.0.1/24"], vec![]);
    let kind = InterfaceKind::Ipip { local: v4("10.0.0.1"), remote: v4("192.0.2.9") };
    let port = add(&mut a, "172.16.0.1/24", 1_480, kind);
    a.routes = vec![route("192.0.2.0/24", None, port.0)];
    let mut world = World::new(vec![("a", a)]);
    let from = world.udp(0, 1_000);
    world.say(0, from, "172.16.0.3:2000", b"x");
    world.run();
    assert_eq!(world.drop_reasons(), [DropReason::TunnelLoop]);
}

#[test]
fn congestion_that_cannot_be_said_inside_ends_the_packet() {
    let mut world = tunnel(1_480, |local, remote| InterfaceKind::Ipip { local, remote });
    let (from, to) = (world.udp(0, 1_000), world.udp(2, 2_000));
    world.tamper = Some(Box::new(|frame| {
        if frame.bytes[12..14] == [8, 0] && frame.bytes[23] == 4 {
            let sum = u16::from_be_bytes([frame.bytes[24], frame.bytes[25]]);
            let mended = rt_wire::checksum::update(sum, 0x4500 | u16::from(frame.bytes[15]), 0x4503);
            frame.bytes[15] = 3;
            frame.bytes[24..26].copy_from_slice(&mended.to_be_bytes());
        }
        true
    }));
    world.say(0, from, "172.16.0.3:2000", b"x");
    world.run();
    assert_eq!(world.hear(2, to), None);
    assert!(world.drop_reasons().contains(&DropReason::CongestionUnsayable), "{:?}", world.drop_reasons());
}

#[test]
fn the_outer_packet_walks_through_the_output_hook() {
    let mut world = {
        let mut a = machine(0, &["10.0.0.1/24"], vec![]);
        add(
            &mut a,
            "172.16.0.1/24",
            1_480,
            InterfaceKind::Ipip { local: v4("10.0.0.1"), remote: v4("10.0.0.2") },
        );
        let when = rt_rules::Match { protocol: Some(4), ..rt_rules::Match::default() };
        a.chains = vec![chain(rt_base::HookPoint::Output, vec![(when, Action::Drop)], Action::Accept)];
        World::new(vec![("a", a), ("b", machine(1, &["10.0.0.2/24"], vec![]))]).link((0, 0), (1, 0))
    };
    let from = world.udp(0, 1_000);
    world.say(0, from, "172.16.0.3:2000", b"x");
    world.run();
    assert_eq!(world.drop_reasons(), [DropReason::Filtered]);
    assert_eq!(world.count(0, |w| matches!(w, What::Filter { .. })), 2, "inside and outside");
}

#[test]
fn hosts_in_one_vlan_hear_each_other_and_others_do_not() {
    let tagged = |node: u8, address: &str, id: u16| {
        let mut config = machine(node, &["192.0.2.9/32"], vec![]);
        config.interfaces[0].addresses.clear();
        add(&mut config, address, 1_500, InterfaceKind::Vlan { parent: PortId(0), id });
        config
    };
    let with = |id| {
        World::new(vec![("a", tagged(0, "10.0.0.1/24", 10)), ("b", tagged(1, "10.0.0.2/24", id))])
            .link((0, 0), (1, 0))
    };
    let mut world = with(10);
    let (from, to) = (world.udp(0, 1_000), world.udp(1, 2_000));
    world.say(0, from, "10.0.0.2:2000", &[1; 1_472]);
    world.run();
    assert_eq!(world.hear(1, to).map(|(text, _)| text.len()), Some(1_472));
    let last = world.wire.last().expect("a frame");
    assert_eq!((&last.bytes[12..18], last.bytes.len()), ([0x81, 0, 0, 10, 8, 0].as_slice(), 1_518));

    let mut world = with(11);
    let from = world.udp(0, 1_000);
    world.say(0, from, "10.0.0.2:2000", b"x");
    world.run();
    assert!(world.drop_reasons().contains(&DropReason::NoTunnel), "{:?}", world.drop_reasons());
}

/// A client and a concentrator.
fn pppoe() -> World {
    let end = |node: u8, address: &str, server| {
        let mut config = machine(node, &["192.0.2.9/32"], vec![]);
        config.interfaces[0].addresses.clear();
        let port = add(&mut config, address, 1_492, InterfaceKind::Pppoe { parent: PortId(0), server });
        config.routes = vec![route("0.0.0.0/0", None, port.0)];
        config
    };
    World::new(vec![("client", end(0, "203.0.113.5/32", false)), ("server", end(1, "203.0.113.1/32", true))])
        .link((0, 0), (1, 0))
}

#[test]
fn pppoe_opens_a_session_and_carries_packets() {
    let mut world = pppoe();
    let (from, to) = (world.udp(0, 1_000), world.udp(1, 2_000));
    // It waits for the session.
    world.say(0, from, "203.0.113.1:2000", &[1; 1_464]);
    world.run();
    assert_eq!(
        world.hear(1, to).map(|(text, from)| (text.len(), from)),
        Some((1_464, "203.0.113.5:1000".into()))
    );
    world.say(1, to, "203.0.113.5:1000", b"back");
    world.run();
    assert_eq!(world.hear(0, from), Some((b"back".to_vec(), "203.0.113.1:2000".into())));
    assert!(world.drops().is_empty(), "{:?}", world.drops());
    let codes: Vec<u8> =
        world.wire.iter().filter(|s| s.bytes[12..14] == [0x88, 0x63]).map(|s| s.bytes[15]).collect();
    assert_eq!(codes, [0x09, 0x07, 0x19, 0x65], "PADI, PADO, PADR, PADS");
    assert_eq!(world.wire.iter().map(|s| s.bytes.len()).max(), Some(1_514));
}

#[test]
fn pppoe_asks_again_when_frames_are_lost() {
    let mut world = pppoe();
    let mut count = 0;
    world.tamper = Some(Box::new(move |_| {
        count += 1;
        count % 3 == 0 || count > 30
    }));
    world.run_for(Nanos::from_secs(120));
    let (from, to) = (world.udp(0, 1_000), world.udp(1, 2_000));
    world.say(0, from, "203.0.113.1:2000", b"after all");
    world.run();
    assert_eq!(world.hear(1, to).map(|(text, _)| text), Some(b"after all".to_vec()));
}

#[test]
fn a_session_that_nobody_answers_lets_packets_wait_and_then_drops_them() {
    let mut world = pppoe();
    world.tamper = Some(Box::new(|_| false));
    let from = world.udp(0, 1_000);
    for _ in 0..70 {
        world.say(0, from, "203.0.113.1:2000", b"x");
    }
    assert_eq!(world.drop_reasons(), [DropReason::InterfaceDown; 6]);
}

#[test]
fn a_program_reads_and_writes_packets_of_a_tun() {
    let mut a = machine(0, &["10.0.0.1/24"], vec![]);
    add(&mut a, "172.16.0.1/24", 1_420, InterfaceKind::Tun);
    let mut world = World::new(vec![("a", a)]);
    let socket = world.udp(0, 1_000);
    world.say(0, socket, "172.16.0.9:5", b"nobody");
    assert_eq!(world.drop_reasons(), [DropReason::InterfaceDown], "no program yet");
    let port = world.app(0, |s| s.tun_open("v1")).expect("a tun");
    assert!(world.app(0, |s| s.tun_open("v1").is_err() && s.tun_open("eth0").is_err()));
    world.say(0, socket, "172.16.0.9:5", b"hello");
    let mut woken = Vec::new();
    world.app(0, |s| s.take_woken(&mut woken));
    assert!(woken.contains(&SocketId::tun(port)));
    let (packet, frame) = world.app(0, |s| s.tun_read(port)).expect("a packet");
    let (ip, rest) = Ipv4Header::parse(&packet).expect("IP");
    assert_eq!((ip.src, ip.dst, &rest[8..]), (v4("172.16.0.1"), v4("172.16.0.9"), b"hello".as_slice()));
    assert!(!frame.is_none());
    // The answer: ends swapped, so the checksum holds.
    let mut answer = Vec::new();
    Ipv4Header { src: ip.dst, dst: ip.src, ..ip }.emit(&mut answer);
    answer.extend_from_slice(&[0, 5, 0x03, 0xe8]);
    answer.extend_from_slice(&rest[4..]);
    world.app(0, |s| s.tun_write(port, &answer, CameBy::Program));
    assert_eq!(world.hear(0, socket), Some((b"hello".to_vec(), "172.16.0.9:5".into())));
    world.app(0, |s| s.tun_write(port, b"junk", CameBy::Program));
    assert_eq!(world.drop_reasons().last(), Some(&DropReason::Malformed));
    world.app(0, |s| s.tun_outer(port, socket));
    world.say(0, socket, "172.16.0.9:5", b"again");
    assert_eq!(world.drop_reasons().last(), Some(&DropReason::TunnelLoop), "the program's own socket");
    let other = world.udp(0, 1_001);
    world.app(0, |s| s.tun_outer(port, other));
    let carried = Carried { port, frame, len: packet.len() as u16 };
    world.app(0, |s| s.tun_streamed(carried, ConnId(7), 2, 2));
    let came = CameBy::Stream { conn: ConnId(7), offset: 40, around: 2 };
    world.app(0, |s| s.tun_write(port, &answer, came));
    let tells = |what: &What| match what {
        What::InStream { offset, len, inward, .. } => Some((*offset, *len, *inward)),
        _ => None,
    };
    let told: Vec<_> = world.events.iter().filter_map(|e| Some((e.frame, tells(&e.what)?))).collect();
    assert_eq!(told[0], (frame, (2, 33, false)), "the packet's place in the stream");
    assert_eq!(told[1].1, (40, 33, true));
    assert_ne!(told[1].0, frame, "what comes out has a frame of its own until the run is over");
    world.app(0, |s| s.tun_refuse(carried, DropReason::TunnelRefused, true));
    assert_eq!(world.drop_reasons().last(), Some(&DropReason::TunnelRefused));
    for _ in 0..501 {
        world.say(0, socket, "172.16.0.9:5", b"x");
    }
    assert_eq!(world.drop_reasons().last(), Some(&DropReason::QueueFull));
}
