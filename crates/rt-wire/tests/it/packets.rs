//! Whole frames in one call, and how proptest makes headers.

use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;
use rt_wire::{
    ArpOperation, ArpPacket, EthernetHeader, Icmpv4, Ipv4Header, MacAddr, Seq, TcpFlags, TcpHeader,
    TcpOptions, UdpHeader, checksum, ethertype, protocol,
};

pub(crate) const LAPTOP: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 10);
pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(142, 250, 190, 46);
const LAPTOP_MAC: MacAddr = MacAddr([0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff]);
const ROUTER_MAC: MacAddr = MacAddr([0x10, 0x22, 0x33, 0x44, 0x55, 0x66]);

pub(crate) fn ethernet(kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    EthernetHeader { dst: ROUTER_MAC, src: LAPTOP_MAC, ethertype: kind }.emit(&mut bytes);
    bytes.extend_from_slice(payload);
    bytes
}

/// An IPv4 packet; the header's length field is set here.
pub(crate) fn ip(header: Ipv4Header, payload: &[u8]) -> Vec<u8> {
    let total_len = (usize::from(header.header_len) + payload.len()) as u16;
    let mut bytes = Vec::new();
    Ipv4Header { total_len, ..header }.emit(&mut bytes);
    bytes.extend_from_slice(payload);
    bytes
}

pub(crate) fn plain(protocol: u8) -> Ipv4Header {
    Ipv4Header { id: 7, df: true, ..Ipv4Header::new(LAPTOP, SERVER, protocol, 64, 0) }
}

pub(crate) fn udp_segment(header: &Ipv4Header, src: u16, dst: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    UdpHeader { src, dst, len: (8 + payload.len()) as u16, checksum: 0 }.emit(&mut bytes);
    bytes.extend_from_slice(payload);
    checksum::fill_transport(IpAddr::V4(header.src), IpAddr::V4(header.dst), protocol::UDP, &mut bytes);
    bytes
}

pub(crate) fn tcp_segment(ip: &Ipv4Header, header: &TcpHeader, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    header.emit(&mut bytes);
    bytes.extend_from_slice(payload);
    checksum::fill_transport(IpAddr::V4(ip.src), IpAddr::V4(ip.dst), protocol::TCP, &mut bytes);
    bytes
}

pub(crate) fn icmp(message: Icmpv4, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.emit(payload, &mut bytes);
    bytes
}

pub(crate) fn udp(src: u16, dst: u16, payload: &[u8]) -> Vec<u8> {
    let header = plain(protocol::UDP);
    ethernet(ethertype::IPV4, &ip(header, &udp_segment(&header, src, dst, payload)))
}

pub(crate) fn tcp(header: &TcpHeader, payload: &[u8]) -> Vec<u8> {
    let ip4 = plain(protocol::TCP);
    ethernet(ethertype::IPV4, &ip(ip4, &tcp_segment(&ip4, header, payload)))
}

pub(crate) fn ping(message: Icmpv4, payload: &[u8]) -> Vec<u8> {
    ethernet(ethertype::IPV4, &ip(plain(protocol::ICMP), &icmp(message, payload)))
}

pub(crate) fn arp(operation: ArpOperation) -> Vec<u8> {
    let packet = match operation {
        ArpOperation::Request => ArpPacket {
            operation,
            sender_mac: LAPTOP_MAC,
            sender_ip: LAPTOP,
            target_mac: MacAddr::default(),
            target_ip: Ipv4Addr::new(192, 168, 1, 1),
        },
        ArpOperation::Reply => ArpPacket {
            operation,
            sender_mac: ROUTER_MAC,
            sender_ip: Ipv4Addr::new(192, 168, 1, 1),
            target_mac: LAPTOP_MAC,
            target_ip: LAPTOP,
        },
    };
    let mut bytes = Vec::new();
    packet.emit(&mut bytes);
    ethernet(ethertype::ARP, &bytes)
}

/// The SYN of the handshake that the documents show.
pub(crate) fn syn() -> TcpHeader {
    let mut options = TcpOptions::default();
    options.mss = Some(1_460);
    options.sack_permitted = true;
    options.timestamps = Some((1_000, 0));
    options.window_scale = Some(7);
    TcpHeader {
        src: 52_432,
        dst: 443,
        seq: Seq(100),
        flags: TcpFlags::SYN,
        window: 64_240,
        options,
        ..Default::default()
    }
}

/// An established connection's segment.
pub(crate) fn data(seq: u32, ack: u32, flags: TcpFlags) -> TcpHeader {
    let mut options = TcpOptions::default();
    options.timestamps = Some((1_024, 990));
    let (seq, ack) = (Seq(seq), Seq(ack));
    TcpHeader { src: 52_432, dst: 443, seq, ack, flags, window: 502, options, ..Default::default() }
}

/// One of each kind that tshark and tcpdump shall judge; every frame is well formed.
pub(crate) fn assorted() -> Vec<Vec<u8>> {
    let quoted = |protocol, segment: &[u8]| ip(plain(protocol), segment);
    let ip4 = plain(protocol::UDP);
    let lost_udp = quoted(protocol::UDP, &udp_segment(&ip4, 5_000, 33_434, b"where are you"));
    let lost_tcp = quoted(protocol::TCP, &tcp_segment(&ip4, &syn(), b""));
    let mut sacked = data(101, 301, TcpFlags::ACK);
    sacked.options.push_sack(Seq(1_749), Seq(3_197));
    sacked.options.push_sack(Seq(4_645), Seq(6_093));
    let big = udp_segment(&ip4, 5_000, 6_000, &[0x5a; 1_800]);
    let fragment = |at: usize, to: usize, mf| {
        let header = Ipv4Header { df: false, mf, frag_offset: at as u16, id: 9, ..ip4 };
        ethernet(ethertype::IPV4, &ip(header, &big[at..to]))
    };
    let syn_ack = TcpHeader { ack: Seq(101), seq: Seq(300), flags: TcpFlags::SYN | TcpFlags::ACK, ..syn() };
    vec![
        arp(ArpOperation::Request),
        arp(ArpOperation::Reply),
        udp(52_431, 6_000, b"a datagram"),
        udp(52_431, 6_000, b""),
        tcp(&syn(), b""),
        tcp(&syn_ack, b""),
        tcp(&data(101, 301, TcpFlags::ACK), b""),
        tcp(&data(101, 301, TcpFlags::PSH | TcpFlags::ACK), &[0x17; 517]),
        tcp(&sacked, b""),
        tcp(&data(618, 301, TcpFlags::FIN | TcpFlags::ACK), b""),
        tcp(&TcpHeader { options: TcpOptions::default(), ..data(619, 0, TcpFlags::RST) }, b""),
        ping(Icmpv4::EchoRequest { id: 1, seq: 2 }, b"0123456789abcdef"),
        ping(Icmpv4::EchoReply { id: 1, seq: 2 }, b"0123456789abcdef"),
        ping(Icmpv4::Unreachable { code: 0, mtu: 0 }, &lost_udp),
        ping(Icmpv4::Unreachable { code: 1, mtu: 0 }, &lost_udp),
        ping(Icmpv4::Unreachable { code: 3, mtu: 0 }, &lost_udp),
        ping(Icmpv4::Unreachable { code: 4, mtu: 1_400 }, &lost_tcp),
        ping(Icmpv4::Unreachable { code: 13, mtu: 0 }, &lost_tcp),
        ping(Icmpv4::TimeExceeded { code: 0 }, &lost_udp[..28]),
        fragment(0, 1_480, true),
        fragment(1_480, 1_808, false),
    ]
}

pub(crate) fn any_ip() -> impl Strategy<Value = Ipv4Addr> {
    any::<u32>().prop_map(Ipv4Addr::from)
}

pub(crate) fn any_mac() -> impl Strategy<Value = MacAddr> {
    any::<[u8; 6]>().prop_map(MacAddr)
}

pub(crate) fn any_ipv4() -> impl Strategy<Value = Ipv4Header> {
    (any::<(u8, u16, bool, bool, u8, u8)>(), 0u16..8192, 5u8..=15, any_ip(), any_ip()).prop_map(
        |((dscp_ecn, id, df, mf, ttl, protocol), offset, words, src, dst)| Ipv4Header {
            header_len: words * 4,
            dscp_ecn,
            total_len: u16::from(words) * 4,
            id,
            df,
            mf,
            frag_offset: offset * 8,
            ttl,
            protocol,
            src,
            dst,
        },
    )
}

pub(crate) fn any_tcp() -> impl Strategy<Value = TcpHeader> {
    let options = (
        any::<(Option<u16>, Option<u8>, bool, Option<(u32, u32)>)>(),
        proptest::collection::vec(any::<(u32, u32)>(), 0..5),
    );
    (any::<(u16, u16, u32, u32, u8, u16, u16)>(), options).prop_map(
        |(
            (src, dst, seq, ack, flags, window, urgent),
            ((mss, window_scale, sack_permitted, timestamps), sack),
        )| {
            let mut options = TcpOptions::default();
            options.mss = mss;
            options.window_scale = window_scale;
            options.sack_permitted = sack_permitted;
            options.timestamps = timestamps;
            for (left, right) in sack {
                options.push_sack(Seq(left), Seq(right));
            }
            let (seq, ack, flags) = (Seq(seq), Seq(ack), TcpFlags(flags));
            TcpHeader { src, dst, seq, ack, flags, window, urgent, options }
        },
    )
}

pub(crate) fn any_icmp() -> impl Strategy<Value = Icmpv4> {
    prop_oneof![
        any::<(u16, u16)>().prop_map(|(id, seq)| Icmpv4::EchoRequest { id, seq }),
        any::<(u16, u16)>().prop_map(|(id, seq)| Icmpv4::EchoReply { id, seq }),
        any::<u16>().prop_map(|mtu| Icmpv4::Unreachable { code: 4, mtu }),
        (0u8..4).prop_map(|code| Icmpv4::Unreachable { code, mtu: 0 }),
        any::<u8>().prop_map(|code| Icmpv4::TimeExceeded { code }),
        any::<(u8, [u8; 4])>().prop_map(|(code, rest)| Icmpv4::Other { kind: 5, code, rest }),
    ]
}

pub(crate) fn any_payload() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..80)
}
