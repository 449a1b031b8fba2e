//! `parse(emit(x)) == x`, with whatever payload behind.

use std::net::Ipv4Addr;

use proptest::prelude::*;
use rt_wire::{
    ArpOperation, ArpPacket, EthernetHeader, Icmpv4, Ipv4Header, TcpHeader, TcpOptions, UdpHeader, checksum,
    protocol,
};

use crate::cases;
use crate::packets::{any_icmp, any_ip, any_ipv4, any_mac, any_payload, any_tcp};

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn ethernet(dst in any_mac(), src in any_mac(), ethertype: u16, payload in any_payload()) {
        let header = EthernetHeader { dst, src, ethertype };
        let mut bytes = Vec::new();
        header.emit(&mut bytes);
        bytes.extend_from_slice(&payload);
        prop_assert_eq!(EthernetHeader::parse(&bytes), Ok((header, payload.as_slice())));
    }

    #[test]
    fn arp(ask: bool, macs in (any_mac(), any_mac()), ips in (any_ip(), any_ip()), padding in any_payload()) {
        let operation = if ask { ArpOperation::Request } else { ArpOperation::Reply };
        let ((sender_mac, target_mac), (sender_ip, target_ip)) = (macs, ips);
        let packet = ArpPacket { operation, sender_mac, sender_ip, target_mac, target_ip };
        let mut bytes = Vec::new();
        packet.emit(&mut bytes);
        bytes.extend_from_slice(&padding);
        prop_assert_eq!(ArpPacket::parse(&bytes), Ok((packet, padding.as_slice())));
    }

    #[test]
    fn ipv4(header in any_ipv4(), payload in any_payload(), padding in any_payload()) {
        let header = Ipv4Header { total_len: header.total_len + payload.len() as u16, ..header };
        let mut bytes = Vec::new();
        header.emit(&mut bytes);
        bytes.extend_from_slice(&payload);
        bytes.extend_from_slice(&padding);
        prop_assert_eq!(Ipv4Header::parse(&bytes), Ok((header, payload.as_slice())));
        prop_assert_eq!(header.payload_len(), payload.len());
    }

    #[test]
    fn icmp(message in any_icmp(), payload in any_payload()) {
        let mut bytes = Vec::new();
        message.emit(&payload, &mut bytes);
        prop_assert_eq!(Icmpv4::parse(&bytes), Ok((message, payload.as_slice())));
    }

    #[test]
    fn udp(src: u16, dst: u16, checksum: u16, payload in any_payload(), padding in any_payload()) {
        let header = UdpHeader { src, dst, len: 8 + payload.len() as u16, checksum };
        let mut bytes = Vec::new();
        header.emit(&mut bytes);
        bytes.extend_from_slice(&payload);
        bytes.extend_from_slice(&padding);
        prop_assert_eq!(UdpHeader::parse(&bytes), Ok((header, payload.as_slice())));
    }

    #[test]
    fn tcp(header in any_tcp(), payload in any_payload()) {
        let mut bytes = Vec::new();
        header.emit(&mut bytes);
        prop_assert_eq!(bytes.len(), header.emit_len());
        prop_assert!(bytes.len() <= 60);
        bytes.extend_from_slice(&payload);
        prop_assert_eq!(TcpHeader::parse(&bytes), Ok((header, payload.as_slice())));
    }

    /// Summed from its fields or from its bytes: the same header, and a checksum that holds.
    #[test]
    fn tcp_summed(header in any_tcp(), payload in any_payload(), addresses: ([u8; 4], [u8; 4]), plain: bool) {
        let (src, dst) = (Ipv4Addr::from(addresses.0), Ipv4Addr::from(addresses.1));
        let mut options = if plain { TcpOptions::default() } else { header.options };
        options.timestamps = header.options.timestamps;
        let header = TcpHeader { options, ..header };
        let (mut summed, mut filled) = (Vec::new(), Vec::new());
        header.emit_summed((src, dst), (payload.len(), checksum::ones_sum(&payload)), &mut summed);
        header.emit(&mut filled);
        summed.extend_from_slice(&payload);
        filled.extend_from_slice(&payload);
        checksum::fill_transport(src.into(), dst.into(), protocol::TCP, &mut filled);
        prop_assert!(checksum::transport_holds(src.into(), dst.into(), protocol::TCP, &summed));
        prop_assert_eq!(summed, filled);
    }
}
