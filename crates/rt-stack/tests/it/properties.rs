//! Properties that hold for any bytes: no panic, every frame ends, NAT there and back is the identity.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, RngSeed, TestCaseError, TestRunner};
use rt_base::{FrameId, Nanos, What};
use rt_rules::{NatAction, NatPorts, NatRule, PortRange};
use rt_wire::{Ipv4Header, checksum};

use crate::fixture::*;
use crate::nat::udp_frame;

fn runner(cases: u32) -> TestRunner {
    let config = Config {
        cases,
        failure_persistence: None,
        rng_algorithm: RngAlgorithm::ChaCha,
        rng_seed: RngSeed::Fixed(7),
        ..Config::default()
    };
    TestRunner::new(config)
}

/// Bytes that get past the first checks: right MAC and type, and often a right IP header before the rest.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    let payload = vec(any::<u8>(), 0..120);
    let head = (
        prop_oneof![Just(0x0800u16), Just(0x0806), any::<u16>()],
        prop_oneof![Just(1u8), Just(6), Just(17), any::<u8>()],
        prop_oneof![Just("203.0.113.1"), Just("192.168.1.1"), Just("203.0.113.50"), Just("255.255.255.255")],
        any::<(u8, bool, bool, u8)>(),
        any::<bool>(),
    );
    (head, payload).prop_map(|((ethertype, protocol, dst, (ttl, df, mf, frag), raw), payload)| {
        let mut bytes = Vec::new();
        rt_wire::EthernetHeader { dst: mac(1, 0), src: mac(0, 0), ethertype }.emit(&mut bytes);
        if !raw && ethertype == 0x0800 {
            let (src, dst) = ("192.168.1.10".parse().unwrap(), dst.parse().unwrap());
            let mut header = Ipv4Header::new(src, dst, protocol, ttl, payload.len());
            (header.df, header.mf) = (df, mf);
            header.frag_offset = if frag < 128 { 0 } else { u16::from(frag) * 8 };
            header.emit(&mut bytes);
            let at = bytes.len();
            bytes.extend_from_slice(&payload);
            if ttl % 2 == 0 && protocol != 1 {
                checksum::fill_transport(src.into(), dst.into(), protocol, &mut bytes[at..]);
            } else if ttl % 2 == 0 && payload.len() > 4 {
                bytes[at + 2..at + 4].fill(0);
                let sum = checksum::of_sum(checksum::ones_sum(&bytes[at..]));
                bytes[at + 2..at + 4].copy_from_slice(&sum.to_be_bytes());
            }
        } else {
            bytes.extend_from_slice(&payload);
        }
        bytes
    })
}

/// How often an injected frame ended or moved on.
fn ends(w: &World, id: FrameId) -> usize {
    let ends = |e: &&rt_base::Event| {
        let end = matches!(e.what, What::Drop { .. } | What::Deliver { .. } | What::NeighborWait { .. });
        e.frame == id && end
    };
    w.events.iter().filter(ends).count()
}

fn any_world(kind: u8) -> World {
    let mut w = match kind {
        0 => pair(),
        1 => routed(|_| {}),
        _ => natted(),
    };
    w.app(1, |s| s.tcp_listen(80, 5)).unwrap();
    w.udp(1, 53);
    w
}

#[test]
fn no_frame_panics_and_every_frame_ends() {
    let strategy = (0u8..3, vec(frame(), 1..6));
    runner(400)
        .run(&strategy, |(kind, frames)| {
            let mut w = any_world(kind);
            for bytes in frames {
                let is_arp = bytes[12..14] == [8, 6] && bytes.len() >= 42;
                let before = (w.events.len(), w.wire.len());
                w.inject(1, 0, bytes.clone());
                let fragment = bytes.len() > 22 && (bytes[20] & 0x3f, bytes[21]) != (0, 0);
                let first = w.events[before.0..].iter().map(|e| e.frame).find(|f| !f.is_none());
                let ended = first.is_some_and(|id| ends(&w, id) > 0);
                let moved = w.wire.len() > before.1;
                prop_assert!(ended || moved || is_arp || fragment, "{bytes:02x?}");
            }
            w.run_for(Nanos::from_secs(40));
            Ok::<(), TestCaseError>(())
        })
        .unwrap();
}

#[test]
fn bytes_without_any_shape_never_panic() {
    runner(400)
        .run(&vec(any::<u8>(), 0..200), |bytes| {
            for kind in 0..3 {
                any_world(kind).inject(1, 0, bytes.clone());
            }
            Ok(())
        })
        .unwrap();
}

#[test]
fn nat_there_and_back_gives_the_addresses_back() {
    let ports = prop_oneof![
        Just(NatPorts::Sequential(PortRange { first: 10_001, last: 65_535 })),
        Just(NatPorts::Random(PortRange { first: 1_024, last: 65_535 })),
        Just(NatPorts::Preserve(PortRange { first: 1_024, last: 65_535 })),
    ];
    let strategy = (ports, 2u8..255, 1u16.., 1u16.., vec(any::<u8>(), 0..80), any::<bool>());
    runner(200)
        .run(&strategy, |(ports, host, sport, dport, text, no_checksum)| {
            let rule = NatRule { action: NatAction::Masquerade { ports }, ..snat_rule() };
            let mut w = routed(|router| router.nat = vec![rule]);
            let inner = format!("192.168.1.{host}");
            let mut question = udp_frame(mac(1, 0), (&inner, sport), ("203.0.113.1", dport), &text);
            if no_checksum {
                question[40..42].fill(0);
            }
            w.inject(1, 0, question);
            w.run_for(Nanos::from_millis(20));
            let Some(out) = w.wire.iter().rfind(|s| s.from == 1 && s.bytes[12..14] == [8, 0]).cloned() else {
                // The host took the address of the router itself.
                prop_assert_eq!(host, 255);
                return Ok(());
            };
            let (ip_out, segment) = Ipv4Header::parse(&out.bytes[14..]).unwrap();
            prop_assert_eq!(ip_out.src.to_string(), "203.0.113.50");
            prop_assert!(checksum::transport_holds(ip_out.src.into(), ip_out.dst.into(), 17, segment));
            let external = u16::from_be_bytes([segment[0], segment[1]]);
            let answer = udp_frame(mac(1, 1), ("203.0.113.1", dport), ("203.0.113.50", external), &text);
            w.inject(1, 1, answer);
            let told = w.events.iter().rev().find_map(|e| match &e.what {
                What::Nat(record) => Some(record.dst_after),
                _ => None,
            });
            prop_assert_eq!(told.map(|a| a.to_string()), Some(format!("{inner}:{sport}")));
            Ok::<(), TestCaseError>(())
        })
        .unwrap();
}

/// A router that has just forwarded the like does with a frame what a fresh one does.
#[test]
fn the_remembered_way_is_the_long_way() {
    let outcome = |warm: bool, frame: &[u8]| {
        let mut w = router_with_neighbor();
        if warm {
            for _ in 0..2 {
                w.inject(1, 0, forwarded());
            }
        }
        let before = (w.events.len(), w.wire.len());
        w.inject(1, 0, frame.to_vec());
        let what: Vec<_> = w.events[before.0..].iter().map(|e| e.what.clone()).collect();
        let wire: Vec<_> = w.wire[before.1..].iter().map(|seen| seen.bytes.clone()).collect();
        (what, wire)
    };
    let strategy = vec((prop_oneof![3 => 0usize..40, 1 => 40usize..58], any::<u8>()), 0..3);
    runner(400)
        .run(&(strategy, any::<bool>(), 0usize..60), |(changes, mend, cut)| {
            let mut frame = forwarded();
            for (at, value) in changes {
                frame[at] = value;
            }
            if mend {
                frame[24..26].fill(0);
                let sum = checksum::of_sum(checksum::ones_sum(&frame[14..34]));
                frame[24..26].copy_from_slice(&sum.to_be_bytes());
            }
            frame.resize(if cut < 20 { 58 - cut } else { 58 + cut.saturating_sub(50) }, 0);
            prop_assert_eq!(outcome(true, &frame), outcome(false, &frame));
            Ok::<(), TestCaseError>(())
        })
        .unwrap();
}

fn forwarded() -> Vec<u8> {
    udp_frame(mac(1, 0), ("192.168.1.10", 5_000), ("203.0.113.1", 53), b"forwarded before")
}

fn router_with_neighbor() -> World {
    let mut w = routed(|router| router.interfaces[1].mtu = 600);
    w.inject(1, 1, {
        let mut bytes = Vec::new();
        let dst = mac(1, 1);
        rt_wire::EthernetHeader { dst, src: mac(2, 0), ethertype: 0x0806 }.emit(&mut bytes);
        rt_wire::ArpPacket {
            operation: rt_wire::ArpOperation::Request,
            sender_mac: mac(2, 0),
            sender_ip: "203.0.113.1".parse().unwrap(),
            target_mac: dst,
            target_ip: "203.0.113.50".parse().unwrap(),
        }
        .emit(&mut bytes);
        bytes
    });
    w
}

/// What was remembered dies with every change that it could depend on.
#[test]
fn changes_are_seen_by_the_very_next_packet() {
    type Change = fn(&mut rt_stack::Stack);
    let changes: &[(&str, Change, usize)] = &[
        ("nothing", |_| {}, 1),
        (
            "a route",
            |s| {
                _ = s.add_route(rt_rules::Route {
                    kind: rt_rules::RouteKind::Blackhole,
                    ..route("203.0.113.1/32", None, 1)
                })
            },
            0,
        ),
        ("an address", |s| s.add_address(rt_base::PortId(0), net("203.0.113.1/32")), 0),
        ("no address", |s| s.remove_addresses(rt_base::PortId(1)), 0),
        (
            "a rule",
            |s| s.set_rules(vec![chain(rt_base::HookPoint::Forward, vec![], rt_rules::Action::Drop)], vec![]),
            0,
        ),
    ];
    for (what, change, expected) in changes {
        let mut w = router_with_neighbor();
        w.inject(1, 0, forwarded());
        w.inject(1, 0, forwarded());
        w.app(1, change);
        let before = w.wire.len();
        w.inject(1, 0, forwarded());
        let to_host = w.wire[before..].iter().filter(|seen| seen.bytes[..6] == mac(2, 0).0).count();
        assert_eq!(to_host, *expected, "{what}");
    }
}
