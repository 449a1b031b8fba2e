//! Whatever the bytes: no panic, in any parser, view or rewrite. Damaged good packets reach deeper than noise.

use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;
use rt_wire::{
    ArpPacket, EthernetHeader, Icmpv4, Ipv4Header, MacAddr, TcpHeader, UdpHeader, checksum, layers, rewrite,
    summary,
};

use crate::cases;
use crate::packets::assorted;

/// Everything that takes foreign bytes.
fn all(bytes: &[u8]) {
    let _ = EthernetHeader::parse(bytes);
    let _ = ArpPacket::parse(bytes);
    let _ = Ipv4Header::parse(bytes);
    let _ = Ipv4Header::parse_unchecked(bytes);
    let _ = Icmpv4::parse(bytes);
    let _ = UdpHeader::parse(bytes);
    let _ = TcpHeader::parse(bytes).map(|(header, _)| header.to_string());
    let _ = summary(bytes);
    let views = layers(bytes);
    assert!(views.iter().all(|v| v.range.start <= v.range.end && v.range.end <= bytes.len()));
    let mut copy = bytes.to_vec();
    let any = Ipv4Addr::new(1, 2, 3, 4);
    rewrite::set_macs(&mut copy, MacAddr::BROADCAST, MacAddr::BROADCAST);
    for at in [0, 14.min(copy.len())] {
        let ip = &mut copy[at..];
        rewrite::decrement_ttl(ip);
        rewrite::rewrite_v4_src(ip, any, Some(9));
        rewrite::rewrite_v4_dst(ip, any, None);
        rewrite::rewrite_quoted_src(ip, any, Some(9));
        rewrite::rewrite_quoted_dst(ip, any, None);
        for protocol in [1, 6, 17, 200] {
            let _ = checksum::transport_holds(IpAddr::V4(any), IpAddr::V4(any), protocol, ip);
            checksum::fill_transport(IpAddr::V4(any), IpAddr::V4(any), protocol, ip);
        }
    }
}

proptest! {
    #![proptest_config(cases(512))]

    #[test]
    fn noise(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
        all(&bytes);
    }

    #[test]
    fn damaged_packets(which: prop::sample::Index, cut: prop::sample::Index, at: prop::sample::Index, byte: u8) {
        let packets = assorted();
        let packet = &packets[which.index(packets.len())];
        all(&packet[..cut.index(packet.len())]);
        let mut damaged = packet.clone();
        damaged[at.index(packet.len().min(80))] = byte;
        all(&damaged);
        // With the header checksum mended the damage gets past the first gate.
        let len = usize::from(damaged[14] & 15) * 4;
        if damaged.len() >= 14 + len && len >= 20 {
            damaged[24..26].fill(0);
            let check = checksum::of_sum(checksum::ones_sum(&damaged[14..14 + len]));
            damaged[24..26].copy_from_slice(&check.to_be_bytes());
            all(&damaged);
        }
    }

    #[test]
    fn tcp_options(options in proptest::collection::vec(any::<u8>(), 0..40)) {
        let mut bytes = vec![0; 20];
        bytes.extend_from_slice(&options);
        bytes.resize(20 + options.len().next_multiple_of(4), 0);
        bytes[12] = ((bytes.len() / 4) << 4) as u8;
        let (header, _) = TcpHeader::parse(&bytes).expect("the lengths are right");
        prop_assert!(header.emit_len() <= 60);
        let mut again = Vec::new();
        header.emit(&mut again);
        prop_assert_eq!(TcpHeader::parse(&again).map(|(h, _)| h), Ok(header));
    }
}
