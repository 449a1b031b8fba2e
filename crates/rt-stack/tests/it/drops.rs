//! One frame for each reason that this crate can give, and the list of those that it cannot.

use std::collections::BTreeSet;

use rt_base::{DropReason, HookPoint, MacAddr};
use rt_rules::{Action, RouteKind};
use rt_wire::{EthernetHeader, Ipv4Header, TcpFlags, TcpHeader, TcpOptions, protocol};

use crate::fixture::*;
use crate::nat::{rewrite_ttl, udp_frame};

pub(crate) fn tcp_frame(src: &str, dst: &str, flags: TcpFlags) -> Vec<u8> {
    let mut bytes = Vec::new();
    EthernetHeader { dst: mac(1, 0), src: mac(0, 0), ethertype: 0x0800 }.emit(&mut bytes);
    let (from, to) = (src.parse().unwrap(), dst.parse().unwrap());
    Ipv4Header::new(from, to, protocol::TCP, 64, 20).emit(&mut bytes);
    let (seq, ack) = (rt_wire::Seq(1), rt_wire::Seq(1));
    let options = TcpOptions::default();
    TcpHeader { src: 5_000, dst: 80, seq, ack, flags, window: 0, urgent: 0, options }.emit(&mut bytes);
    rt_wire::checksum::fill_transport(from.into(), to.into(), protocol::TCP, &mut bytes[34..]);
    bytes
}

fn good() -> Vec<u8> {
    udp_frame(mac(1, 0), ("192.168.1.10", 5_000), ("203.0.113.1", 53), b"hello")
}

/// A datagram to the router from `src` to `dst`.
fn from_to(src: &str, dst: &str) -> Vec<u8> {
    udp_frame(mac(1, 0), (src, 5_000), (dst, 53), b"x")
}

fn changed(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut frame = good();
    change(&mut frame);
    frame
}

/// Writes a word of the IP header and mends its checksum.
fn patch(frame: &mut [u8], at: usize, word: u16) {
    let be16 = |frame: &[u8], at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
    let mended = rt_wire::checksum::update(be16(frame, 24), be16(frame, at), word);
    frame[at..at + 2].copy_from_slice(&word.to_be_bytes());
    frame[24..26].copy_from_slice(&mended.to_be_bytes());
}

/// Frames that the router of [`routed`] drops at once, and why.
fn frames() -> Vec<(&'static str, Vec<u8>, DropReason)> {
    let kind = |ethertype: u16| changed(|f| f[12..14].copy_from_slice(&ethertype.to_be_bytes()));
    vec![
        ("short Ethernet", vec![1, 2, 3], DropReason::Malformed),
        ("another station", changed(|f| f[5] ^= 1), DropReason::NotForThisStation),
        ("IPv6", kind(0x86dd), DropReason::UnknownEtherType),
        ("VLAN", kind(0x8100), DropReason::UnknownEtherType),
        ("short ARP", kind(0x0806)[..30].to_vec(), DropReason::Malformed),
        ("no IP header", good()[..20].to_vec(), DropReason::Malformed),
        ("version 5", changed(|f| f[14] = 0x55), DropReason::Malformed),
        ("total length too long", changed(|f| patch(f, 16, 0x0900)), DropReason::Malformed),
        ("header checksum", changed(|f| f[24] ^= 1), DropReason::BadChecksum),
        ("TTL", changed(|f| rewrite_ttl(f, 1)), DropReason::TtlExceeded),
        ("loopback source", from_to("127.0.0.1", "203.0.113.1"), DropReason::BadSource),
        ("group source", from_to("224.0.0.1", "203.0.113.1"), DropReason::BadSource),
        ("own source", from_to("203.0.113.50", "203.0.113.1"), DropReason::BadSource),
        ("broadcast source", from_to("192.168.1.255", "203.0.113.1"), DropReason::BadSource),
        ("unnamed source", from_to("0.0.0.0", "203.0.113.1"), DropReason::BadSource),
        ("loopback destination", from_to("192.168.1.10", "127.0.0.1"), DropReason::BadSource),
        ("multicast", from_to("192.168.1.10", "239.1.1.1"), DropReason::NotForThisStation),
        ("no route", from_to("192.168.1.10", "8.8.8.8"), DropReason::NoRoute),
        ("blackhole", from_to("192.168.1.10", "10.1.0.1"), DropReason::Blackhole),
        ("unreachable", from_to("192.168.1.10", "10.2.0.1"), DropReason::RouteUnreachable),
        (
            "broadcast frame",
            changed(|f| f[..6].copy_from_slice(&MacAddr::BROADCAST.0)),
            DropReason::NotForThisStation,
        ),
        ("no socket", from_to("192.168.1.10", "192.168.1.1"), DropReason::NoSocket),
        (
            "UDP checksum",
            {
                let mut frame = from_to("192.168.1.10", "192.168.1.1");
                frame[41] ^= 1;
                frame
            },
            DropReason::BadChecksum,
        ),
        (
            "short UDP",
            {
                let mut frame = from_to("192.168.1.10", "192.168.1.1");
                frame[38] = 9;
                frame
            },
            DropReason::Malformed,
        ),
        ("no connection", tcp_frame("192.168.1.10", "192.168.1.1", TcpFlags::ACK), DropReason::NoSocket),
        (
            "DF and too long",
            {
                let mut frame = udp_frame(mac(1, 0), ("192.168.1.10", 1), ("203.0.113.1", 53), &[0; 1_400]);
                patch(&mut frame, 20, 0x4000);
                frame
            },
            DropReason::FragmentationNeeded,
        ),
    ]
}

fn router() -> World {
    routed(|router| {
        let mut blackhole = route("10.1.0.0/16", None, 1);
        let mut unreachable = route("10.2.0.0/16", None, 1);
        (blackhole.kind, unreachable.kind) = (RouteKind::Blackhole, RouteKind::Unreachable);
        router.routes = vec![blackhole, unreachable];
        router.interfaces[1].mtu = 1_000;
    })
}

#[test]
fn every_bad_frame_ends_with_its_reason() {
    for (what, frame, reason) in frames() {
        let mut w = router();
        w.inject(1, 0, frame);
        assert_eq!(w.drop_reasons(), [reason], "{what}");
    }
}

#[test]
fn a_host_forwards_nothing() {
    let mut w = pair();
    w.inject(1, 0, udp_frame(mac(1, 0), ("10.0.0.1", 1), ("8.8.8.8", 53), b"x"));
    assert_eq!((w.drop_reasons(), w.wire.len()), (vec![DropReason::NotARouter], 0));
}

#[test]
fn a_frame_on_a_port_that_is_not_there() {
    let mut w = pair();
    w.inject(1, 9, good());
    assert_eq!(w.drop_reasons(), [DropReason::LinkDown]);
}

#[test]
fn an_unacceptable_segment() {
    let mut w = pair();
    w.app(1, |s| s.tcp_listen(80, 5)).unwrap();
    let c = w.connect(0, "10.0.0.2:80");
    w.run();
    let local = w.stacks[0].local_addr(c).unwrap();
    let mut stray = tcp_frame("10.0.0.1", "10.0.0.2", TcpFlags::ACK);
    stray[34..36].copy_from_slice(&local.port().to_be_bytes());
    rt_wire::checksum::fill_transport(ip("10.0.0.1"), ip("10.0.0.2"), protocol::TCP, &mut stray[34..]);
    w.inject(1, 0, stray);
    assert_eq!(w.drop_reasons(), [DropReason::TcpUnacceptable]);
}

#[test]
fn a_translating_router_does_not_leak_what_it_does_not_know() {
    let mut w = natted();
    w.inject(1, 0, tcp_frame("192.168.1.10", "203.0.113.1", TcpFlags::ACK));
    assert_eq!(w.drop_reasons(), [DropReason::ConntrackInvalid]);
}

#[test]
fn a_full_connection_table() {
    let mut w = routed(|router| {
        router.chains = vec![chain(HookPoint::Forward, vec![], Action::Accept)];
        router.conntrack.max = 1;
    });
    w.inject(1, 0, good());
    w.inject(1, 0, udp_frame(mac(1, 0), ("192.168.1.10", 5_001), ("203.0.113.1", 53), b"x"));
    assert_eq!(w.drop_reasons(), [DropReason::ConntrackFull]);
}

/// RFC 6888 REQ-4: one inner host must not fill the table for all.
#[test]
fn a_source_with_too_many_flows() {
    let mut w = routed(|router| {
        router.chains = vec![chain(HookPoint::Forward, vec![], Action::Accept)];
        router.conntrack.per_source = Some(2);
    });
    let begins = |host: &str, port: u16| udp_frame(mac(1, 0), (host, port), ("203.0.113.1", 53), b"x");
    for port in [5_001, 5_002, 5_003] {
        w.inject(1, 0, begins("192.168.1.10", port));
    }
    assert_eq!(w.drop_reasons(), [DropReason::ConntrackLimit]);
    w.inject(1, 0, begins("192.168.1.11", 5_001));
    assert_eq!(w.drop_reasons(), [DropReason::ConntrackLimit], "another source has its own count");
    // When the flows are over (30 s without an answer), it may begin others.
    w.run_for(rt_base::Nanos::from_secs(31));
    w.inject(1, 0, begins("192.168.1.10", 5_004));
    let refused = w.drop_reasons().into_iter().filter(|r| *r == DropReason::ConntrackLimit).count();
    assert_eq!(refused, 1, "{:?}", w.drops());
}

/// Reasons that other parts of the laboratory give: links, queues, switches, the end of the run.
const NOT_OURS: &[DropReason] = &[
    DropReason::QueueFull,
    DropReason::LinkLoss,
    DropReason::FrameCheck,
    DropReason::TooLongForLink,
    DropReason::SamePort,
    DropReason::BridgeLoop,
    DropReason::RunEnded,
];

/// Reasons with a test of their own elsewhere in this folder.
const ELSEWHERE: &[DropReason] = &[
    DropReason::LinkDown,
    DropReason::NotARouter,
    DropReason::NeighborUnreachable,
    DropReason::NeighborQueueFull,
    DropReason::Filtered,
    DropReason::Ossified,
    DropReason::Rejected,
    DropReason::ReversePath,
    DropReason::ConntrackInvalid,
    DropReason::ConntrackFull,
    DropReason::ConntrackLimit,
    DropReason::NatExhausted,
    DropReason::NatNoMapping,
    DropReason::NatFiltered,
    DropReason::ReassemblyTimeout,
    DropReason::ReassemblyRefused,
    DropReason::UnknownProtocol,
    DropReason::SocketBufferFull,
    DropReason::AcceptQueueFull,
    DropReason::SynQueueFull,
    DropReason::AcceptDeferred,
    DropReason::TcpUnacceptable,
    DropReason::NoAddress,
    DropReason::TunnelLoop,
    DropReason::NoTunnel,
    DropReason::CongestionUnsayable,
    DropReason::TunnelRefused,
    DropReason::InterfaceDown,
    DropReason::AnswersNobody,
];

#[test]
fn no_reason_is_forgotten() {
    let here = frames().into_iter().map(|(_, _, reason)| reason);
    let known: BTreeSet<_> = here.chain(NOT_OURS.iter().copied()).chain(ELSEWHERE.iter().copied()).collect();
    let missing: Vec<_> = DropReason::ALL.iter().filter(|reason| !known.contains(reason)).collect();
    assert!(missing.is_empty(), "no test for {missing:?}");
}
