//! Incremental checksums equal those of a packet built anew with the new numbers.

use std::net::Ipv4Addr;

use proptest::prelude::*;
use rt_wire::{Icmpv4, Ipv4Header, protocol, rewrite};

use crate::cases;
use crate::packets::{any_icmp, any_ip, any_payload, any_tcp, icmp, ip, plain, tcp_segment, udp_segment};

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn ttl(src in any_ip(), dst in any_ip(), id: u16, ttl: u8) {
        let header = Ipv4Header { src, dst, id, ttl, ..plain(protocol::UDP) };
        let mut bytes = ip(header, b"");
        let left = ttl.saturating_sub(1);
        prop_assert_eq!(rewrite::decrement_ttl(&mut bytes), left);
        prop_assert_eq!(bytes, ip(Ipv4Header { ttl: left, ..header }, b""));
    }

    #[test]
    fn udp(
        ends in (any_ip(), any_ip()), ports: (u16, u16), new in (any_ip(), any::<u16>()), payload in any_payload(),
    ) {
        let before = Ipv4Header { src: ends.0, dst: ends.1, ..plain(protocol::UDP) };
        let mut bytes = ip(before, &udp_segment(&before, ports.0, ports.1, &payload));
        rewrite::rewrite_v4_src(&mut bytes, new.0, Some(new.1));
        let after = Ipv4Header { src: new.0, ..before };
        prop_assert_eq!(&bytes, &ip(after, &udp_segment(&after, new.1, ports.1, &payload)));
        rewrite::rewrite_v4_dst(&mut bytes, new.0, Some(new.1));
        let after = Ipv4Header { dst: new.0, ..after };
        prop_assert_eq!(bytes, ip(after, &udp_segment(&after, new.1, new.1, &payload)));
    }

    #[test]
    fn tcp(header in any_tcp(), new in (any_ip(), any::<u16>()), payload in any_payload()) {
        let before = plain(protocol::TCP);
        let mut bytes = ip(before, &tcp_segment(&before, &header, &payload));
        rewrite::rewrite_v4_dst(&mut bytes, new.0, Some(new.1));
        let (after, mut moved) = (Ipv4Header { dst: new.0, ..before }, header);
        moved.dst = new.1;
        prop_assert_eq!(&bytes, &ip(after, &tcp_segment(&after, &moved, &payload)));
        rewrite::rewrite_v4_src(&mut bytes, new.0, None);
        let after = Ipv4Header { src: new.0, ..after };
        prop_assert_eq!(bytes, ip(after, &tcp_segment(&after, &moved, &payload)));
    }

    #[test]
    fn echo(message in any_icmp(), new in (any_ip(), any::<u16>()), payload in any_payload()) {
        let before = plain(protocol::ICMP);
        let mut bytes = ip(before, &icmp(message, &payload));
        rewrite::rewrite_v4_src(&mut bytes, new.0, Some(new.1));
        let message = match message {
            Icmpv4::EchoRequest { seq, .. } => Icmpv4::EchoRequest { id: new.1, seq },
            Icmpv4::EchoReply { seq, .. } => Icmpv4::EchoReply { id: new.1, seq },
            other => other,
        };
        prop_assert_eq!(bytes, ip(Ipv4Header { src: new.0, ..before }, &icmp(message, &payload)));
    }

    #[test]
    fn quoted(
        ends in (any_ip(), any_ip()), ports: (u16, u16), new in (any_ip(), any::<u16>()),
        cut in 28usize..60, payload in any_payload(),
    ) {
        let inner = |src, port| {
            let header = Ipv4Header { src, dst: ends.1, ..plain(protocol::UDP) };
            let mut bytes = ip(header, &udp_segment(&header, port, ports.1, &payload));
            bytes.truncate(cut);
            bytes
        };
        let outer = |quoted: &[u8]| ip(plain(protocol::ICMP), &icmp(Icmpv4::TimeExceeded { code: 0 }, quoted));
        let mut bytes = outer(&inner(ends.0, ports.0));
        rewrite::rewrite_quoted_src(&mut bytes, new.0, Some(new.1));
        prop_assert_eq!(bytes, outer(&inner(new.0, new.1)));
    }
}

#[test]
fn what_stays() {
    let new = Ipv4Addr::new(203, 0, 113, 50);
    // A UDP checksum of zero is "none" and stays so.
    let header = plain(protocol::UDP);
    let mut segment = udp_segment(&header, 1, 2, b"x");
    segment[6..8].fill(0);
    let mut bytes = ip(header, &segment);
    rewrite::rewrite_v4_src(&mut bytes, new, Some(7));
    assert_eq!(bytes[26..28], [0, 0]);
    // A later fragment has no ports: its payload is not touched.
    let later = Ipv4Header { frag_offset: 1_480, ..header };
    let mut bytes = ip(later, b"not a UDP header");
    rewrite::rewrite_v4_src(&mut bytes, new, Some(7));
    assert_eq!(bytes, ip(Ipv4Header { src: new, ..later }, b"not a UDP header"));
    // A checksum that was wrong before stays wrong.
    let mut bytes = ip(header, &udp_segment(&header, 1, 2, b"x"));
    bytes[10] ^= 0x40;
    rewrite::decrement_ttl(&mut bytes);
    assert!(Ipv4Header::parse(&bytes).is_err_and(|e| e.is_checksum()));
}
