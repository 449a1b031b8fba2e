//! etherparse as an independent reader and writer.

use std::net::IpAddr;

use etherparse::{Icmpv4Type, NetHeaders, PacketBuilder, PacketHeaders, TcpOptionElement, TransportHeader};
use proptest::prelude::*;
use rt_wire::{EthernetHeader, Icmpv4, Ipv4Header, TcpHeader, UdpHeader, checksum, ethertype, protocol};

use crate::cases;
use crate::packets::{
    any_icmp, any_ip, any_payload, any_tcp, ethernet, icmp, ip, plain, tcp_segment, udp_segment,
};

/// etherparse reads what we wrote: its IPv4 header, transport header and payload.
fn read(frame: &[u8]) -> (etherparse::Ipv4Header, TransportHeader, Vec<u8>) {
    let packet = PacketHeaders::from_ethernet_slice(frame).expect("etherparse accepts our bytes");
    let Some(NetHeaders::Ipv4(ipv4, _)) = packet.net else { panic!("not IPv4") };
    assert_eq!(ipv4.calc_header_checksum(), ipv4.header_checksum);
    let transport = packet.transport.expect("a transport header");
    (ipv4, transport, packet.payload.slice().to_vec())
}

proptest! {
    #![proptest_config(cases(128))]

    #[test]
    fn it_reads_our_udp(src in any_ip(), dst in any_ip(), ports: (u16, u16), payload in any_payload()) {
        let header = Ipv4Header { src, dst, ..plain(protocol::UDP) };
        let frame = ethernet(ethertype::IPV4, &ip(header, &udp_segment(&header, ports.0, ports.1, &payload)));
        let (ipv4, transport, rest) = read(&frame);
        prop_assert_eq!((ipv4.source, ipv4.destination), (src.octets(), dst.octets()));
        let udp = transport.udp().expect("UDP");
        prop_assert_eq!((udp.source_port, udp.destination_port), ports);
        let check = udp.calc_checksum_ipv4(&ipv4, &payload).expect("short enough");
        prop_assert_eq!((udp.checksum, rest), (check, payload));
    }

    #[test]
    fn it_reads_our_tcp(header in any_tcp(), payload in any_payload()) {
        let ip4 = plain(protocol::TCP);
        let frame = ethernet(ethertype::IPV4, &ip(ip4, &tcp_segment(&ip4, &header, &payload)));
        let (ipv4, transport, rest) = read(&frame);
        let tcp = transport.tcp().expect("TCP");
        let check = tcp.calc_checksum_ipv4(&ipv4, &payload).expect("short enough");
        prop_assert_eq!((tcp.checksum, rest), (check, payload));
        let numbers = (tcp.source_port, tcp.destination_port, tcp.sequence_number, tcp.acknowledgment_number);
        prop_assert_eq!(numbers, (header.src, header.dst, header.seq.0, header.ack.0));
        let (mut mss, mut shift, mut permitted, mut stamps, mut sack) = (None, None, false, None, Vec::new());
        for element in tcp.options_iterator() {
            match element.expect("well formed") {
                TcpOptionElement::Noop => {}
                TcpOptionElement::MaximumSegmentSize(n) => mss = Some(n),
                TcpOptionElement::WindowScale(n) => shift = Some(n),
                TcpOptionElement::SelectiveAcknowledgementPermitted => permitted = true,
                TcpOptionElement::SelectiveAcknowledgement(first, more) => {
                    sack.push(first);
                    sack.extend(more.into_iter().flatten());
                }
                TcpOptionElement::Timestamp(a, b) => stamps = Some((a, b)),
            }
        }
        let o = header.options;
        prop_assert_eq!((mss, shift, permitted, stamps), (o.mss, o.window_scale, o.sack_permitted, o.timestamps));
        prop_assert_eq!(sack, o.sack().iter().map(|(l, r)| (l.0, r.0)).collect::<Vec<_>>());
    }

    #[test]
    fn it_reads_our_icmp(message in any_icmp(), payload in any_payload()) {
        let frame = ethernet(ethertype::IPV4, &ip(plain(protocol::ICMP), &icmp(message, &payload)));
        // etherparse refuses to call some errors by name; the checksum is what it can always judge.
        let (_, transport, rest) = read(&frame);
        let header = transport.icmpv4().expect("ICMP");
        prop_assert_eq!(header.checksum, header.icmp_type.calc_checksum(&rest));
        if let Icmpv4::EchoRequest { id, seq } = message {
            prop_assert_eq!(header.icmp_type, Icmpv4Type::EchoRequest(etherparse::IcmpEchoHeader { id, seq }));
        }
    }

    #[test]
    fn we_read_its_packets(
        ends in (any_ip(), any_ip()), ports: (u16, u16), ttl: u8, numbers: (u32, u32), payload in any_payload(),
    ) {
        let start = || PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4(ends.0.octets(), ends.1.octets(), ttl);
        let mut udp = Vec::new();
        start().udp(ports.0, ports.1).write(&mut udp, &payload).expect("writes");
        let mut tcp = Vec::new();
        start().tcp(ports.0, ports.1, numbers.0, 77).ack(numbers.1).psh().write(&mut tcp, &payload).expect("writes");
        let mut echo = Vec::new();
        start().icmpv4_echo_request(ports.0, ports.1).write(&mut echo, &payload).expect("writes");
        for frame in [&udp, &tcp, &echo] {
            let (ethernet, packet) = EthernetHeader::parse(frame).expect("Ethernet");
            prop_assert_eq!((ethernet.src.0, ethernet.ethertype), ([2; 6], ethertype::IPV4));
            let (ip, segment) = Ipv4Header::parse(packet).expect("IPv4");
            prop_assert_eq!((ip.src, ip.dst, ip.ttl), (ends.0, ends.1, ttl));
            let rest = match ip.protocol {
                protocol::ICMP => {
                    let (message, rest) = Icmpv4::parse(segment).expect("ICMP");
                    prop_assert_eq!(message, Icmpv4::EchoRequest { id: ports.0, seq: ports.1 });
                    rest
                }
                other => {
                    let (src, dst) = (IpAddr::V4(ip.src), IpAddr::V4(ip.dst));
                    prop_assert!(checksum::transport_holds(src, dst, other, segment));
                    if other == protocol::UDP {
                        let (header, rest) = UdpHeader::parse(segment).expect("UDP");
                        prop_assert_eq!((header.src, header.dst), ports);
                        rest
                    } else {
                        let (header, rest) = TcpHeader::parse(segment).expect("TCP");
                        prop_assert_eq!((header.seq.0, header.ack.0, header.flags.0), (numbers.0, numbers.1, 0x18));
                        rest
                    }
                }
            };
            prop_assert_eq!(rest, payload.as_slice());
        }
    }
}
