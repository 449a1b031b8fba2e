//! DNS (made by `domain`), ARP, ICMP and UDP.

use std::net::Ipv4Addr;

use domain::base::iana::{Class, Rcode, Rtype};
use domain::base::{MessageBuilder, Name, Ttl};
use domain::rdata::{A, Cname, Ns, Soa};
use rt_base::{MacAddr, Way};
use rt_wire::{ArpOperation, ArpPacket, EthernetHeader, Icmpv4, UdpHeader, ethertype, protocol};

use super::frames::{CLIENT, Made, SERVER, address, connection, ip, read};
use crate::read::{DnsOutcome, DnsTransport, NodeExchanges, Secrets, Side};

const ME: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 10);
const RESOLVER: Ipv4Addr = Ipv4Addr::new(8, 8, 8, 8);

fn name(text: &str) -> Name<Vec<u8>> {
    text.parse().unwrap()
}

fn query(id: u16, qname: &str) -> Vec<u8> {
    let mut m = MessageBuilder::new_vec();
    m.header_mut().set_id(id);
    m.header_mut().set_rd(true);
    let mut q = m.question();
    q.push((name(qname), Rtype::A)).unwrap();
    q.finish()
}

/// A response: its code and (section, owner, data) where the data tells the type.
fn response(id: u16, qname: &str, rcode: Rcode, records: &[(u8, &str, &str)]) -> Vec<u8> {
    let mut m = MessageBuilder::new_vec();
    m.header_mut().set_id(id);
    m.header_mut().set_qr(true);
    m.header_mut().set_rcode(rcode);
    let mut q = m.question();
    q.push((name(qname), Rtype::A)).unwrap();
    let mut an = q.answer();
    for (_, owner, data) in records.iter().filter(|r| r.0 == 1) {
        match data.parse::<Ipv4Addr>() {
            Ok(a) => {
                an.push((name(owner), Class::IN, Ttl::from_secs(300), A::new(a.octets().into()))).unwrap()
            }
            Err(_) => an.push((name(owner), Class::IN, Ttl::from_secs(300), Cname::new(name(data)))).unwrap(),
        }
    }
    let mut ns = an.authority();
    for (_, owner, data) in records.iter().filter(|r| r.0 == 2) {
        if let Some(primary) = data.strip_prefix("SOA ") {
            let secs = Ttl::from_secs(60);
            let soa = Soa::new(name(primary), name("admin.google.com"), 1.into(), secs, secs, secs, secs);
            ns.push((name(owner), Class::IN, Ttl::from_secs(60), soa)).unwrap();
        } else {
            ns.push((name(owner), Class::IN, Ttl::from_secs(172_800), Ns::new(name(data)))).unwrap();
        }
    }
    let mut ar = ns.additional();
    for (_, owner, data) in records.iter().filter(|r| r.0 == 3) {
        let a: Ipv4Addr = data.parse().unwrap();
        ar.push((name(owner), Class::IN, Ttl::from_secs(172_800), A::new(a.octets().into()))).unwrap();
    }
    ar.finish()
}

fn udp(way: Way, ports: (u16, u16), payload: &[u8]) -> Made {
    let (src, dst) = if way == Way::Out { (ME, RESOLVER) } else { (RESOLVER, ME) };
    let mut segment = Vec::new();
    UdpHeader { src: ports.0, dst: ports.1, len: payload.len() as u16 + 8, checksum: 0 }.emit(&mut segment);
    segment.extend_from_slice(payload);
    Made { way, bytes: ip(src, dst, protocol::UDP, segment) }
}

fn seen(frames: &[Made]) -> NodeExchanges {
    read(frames, &Secrets::default())
}

/// Reads one query with its response; returns the outcome and all records as lines.
#[track_caller]
fn check(rcode: Rcode, records: &[(u8, &str, &str)], outcome: DnsOutcome, lines: &[&str]) {
    let frames = [
        udp(Way::Out, (52431, 53), &query(7, "google.com")),
        udp(Way::Out, (52431, 53), &query(7, "google.com")),
        udp(Way::In, (53, 52431), &response(7, "google.com", rcode, records)),
    ];
    let all = seen(&frames);
    let dns = &all.udp[0].dns;
    assert_eq!((dns.len(), all.problems.len()), (1, 0));
    assert_eq!((dns[0].questions[0].name.as_str(), dns[0].questions[0].rtype.as_str()), ("google.com", "A"));
    assert_eq!((dns[0].again.len(), dns[0].outgoing, dns[0].transport), (1, true, DnsTransport::Udp));
    let answer = dns[0].answer.as_ref().unwrap();
    assert_eq!(answer.outcome, outcome);
    let got: Vec<String> = answer
        .answers
        .iter()
        .chain(&answer.authority)
        .chain(&answer.additional)
        .map(|r| format!("{} {} {} {}", r.name, r.ttl, r.rtype, r.data))
        .collect();
    assert_eq!(got, lines);
}

#[test]
fn what_dns_responses_amount_to() {
    check(
        Rcode::NOERROR,
        &[(1, "google.com", "www.google.com"), (1, "www.google.com", "142.250.190.46")],
        DnsOutcome::Answer,
        &["google.com 300 CNAME www.google.com", "www.google.com 300 A 142.250.190.46"],
    );
    check(
        Rcode::NOERROR,
        &[(2, "com", "x.gtld-servers.net"), (3, "x.gtld-servers.net", "192.5.6.30")],
        DnsOutcome::Referral,
        &["com 172800 NS x.gtld-servers.net", "x.gtld-servers.net 172800 A 192.5.6.30"],
    );
    let soa = "google.com 60 SOA ns1.google.com admin.google.com 1 60 60 60 60";
    check(Rcode::NXDOMAIN, &[(2, "google.com", "SOA ns1.google.com")], DnsOutcome::NxDomain, &[soa]);
    check(Rcode::NOERROR, &[(2, "google.com", "SOA ns1.google.com")], DnsOutcome::NoData, &[soa]);
    check(Rcode::SERVFAIL, &[], DnsOutcome::Failure, &[]);
    check(
        Rcode::NOERROR,
        &[(2, ".", "a.root-servers.net")],
        DnsOutcome::Referral,
        &[". 172800 NS a.root-servers.net"],
    );
}

#[test]
fn dns_over_tcp_in_pieces() {
    let framed = |m: Vec<u8>| [(m.len() as u16).to_be_bytes().to_vec(), m].concat();
    let ask = [framed(query(1, "a.example")), framed(query(2, "b.example"))].concat();
    let answer = [
        framed(response(2, "b.example", Rcode::NOERROR, &[(1, "b.example", "10.0.0.2")])),
        framed(response(1, "a.example", Rcode::NOERROR, &[(1, "a.example", "10.0.0.1")])),
    ]
    .concat();
    let mut frames = connection(&[(Side::Client, ask), (Side::Server, answer)], 7);
    for made in &mut frames {
        // Port 53 instead of 443; the checksum of what came must follow.
        for at in [34, 36] {
            if made.bytes[at..at + 2] == 443_u16.to_be_bytes() {
                made.bytes[at..at + 2].copy_from_slice(&53_u16.to_be_bytes());
            }
        }
        let (src, dst) = if made.way == Way::Out { (CLIENT, SERVER) } else { (SERVER, CLIENT) };
        made.bytes = ip(*src.ip(), *dst.ip(), protocol::TCP, zero_checksum(made.bytes[34..].to_vec()));
    }
    let c = &seen(&frames).tcp[0];
    let data: Vec<&str> = c.dns.iter().map(|d| d.answer.as_ref().unwrap().answers[0].data.as_str()).collect();
    assert_eq!((data.as_slice(), c.problems.len()), (["10.0.0.1", "10.0.0.2"].as_slice(), 0));
    assert_eq!(c.client, address(CLIENT));
}

fn zero_checksum(mut segment: Vec<u8>) -> Vec<u8> {
    segment[16..18].fill(0);
    segment
}

#[test]
fn arp_questions_answers_and_probes() {
    let arp = |way, operation, sender: [u8; 4], target: [u8; 4]| {
        let mut bytes = Vec::new();
        EthernetHeader { dst: MacAddr([0xff; 6]), src: MacAddr([2; 6]), ethertype: ethertype::ARP }
            .emit(&mut bytes);
        ArpPacket {
            operation,
            sender_mac: MacAddr([2, 0, 0, 0, 0, sender[3]]),
            sender_ip: sender.into(),
            target_mac: MacAddr([0; 6]),
            target_ip: target.into(),
        }
        .emit(&mut bytes);
        Made { way, bytes }
    };
    use ArpOperation::{Reply, Request};
    let all = seen(&[
        arp(Way::Out, Request, [10, 0, 0, 1], [10, 0, 0, 2]),
        arp(Way::Out, Request, [10, 0, 0, 1], [10, 0, 0, 2]),
        arp(Way::In, Reply, [10, 0, 0, 2], [10, 0, 0, 1]),
        arp(Way::Out, Request, [0, 0, 0, 0], [10, 0, 0, 9]),
        arp(Way::In, Reply, [10, 0, 0, 7], [10, 0, 0, 7]),
    ]);
    let lines: Vec<_> =
        all.arp.iter().map(|e| (e.asked.len(), e.announcement, e.answer.map(|a| a.0), e.outgoing)).collect();
    let mac = MacAddr([2, 0, 0, 0, 0, 2]);
    assert_eq!(lines, [(2, false, Some(mac), true), (1, true, None, true), (1, true, None, false)]);
}

#[test]
fn echo_and_errors() {
    let icmp = |way, message: Icmpv4, payload: &[u8]| {
        let mut segment = Vec::new();
        message.emit(payload, &mut segment);
        let (src, dst) = if way == Way::Out { (ME, RESOLVER) } else { (RESOLVER, ME) };
        Made { way, bytes: ip(src, dst, protocol::ICMP, segment) }
    };
    let lost = udp(Way::Out, (40_000, 9), b"hello");
    let all = seen(&[
        icmp(Way::Out, Icmpv4::EchoRequest { id: 1, seq: 1 }, b"ping"),
        icmp(Way::Out, Icmpv4::EchoRequest { id: 1, seq: 2 }, b"ping"),
        icmp(Way::In, Icmpv4::EchoReply { id: 1, seq: 2 }, b"ping"),
        icmp(Way::In, Icmpv4::Unreachable { code: 3, mtu: 0 }, &lost.bytes[14..42]),
    ]);
    assert_eq!(all.echo.iter().map(|e| e.reply.is_some()).collect::<Vec<_>>(), [false, true]);
    let error = &all.icmp_errors[0];
    assert_eq!(
        (error.text.as_str(), error.quoted.unwrap().dst.to_string().as_str()),
        ("port unreachable", "8.8.8.8:9")
    );
}

#[test]
fn fragments_become_one_datagram_and_damage_is_not_taken() {
    let whole = udp(Way::In, (5_000, 5_001), &[7; 1_000]);
    let (head, payload) = whole.bytes.split_at(34);
    let fragment = |from: usize, to: usize, more: bool| {
        let mut header = rt_wire::Ipv4Header::parse(&whole.bytes[14..]).unwrap().0;
        header.frag_offset = from as u16;
        header.mf = more;
        header.total_len = (to - from + 20) as u16;
        let mut bytes = head[..14].to_vec();
        header.emit(&mut bytes);
        bytes.extend_from_slice(&payload[from..to]);
        Made { way: Way::In, bytes }
    };
    let mut damaged = whole.clone();
    damaged.bytes[100] ^= 1;
    let all = seen(&[fragment(800, 1_008, false), damaged, fragment(0, 800, true)]);
    assert_eq!(all.udp[0].datagrams.iter().map(|d| d.len).collect::<Vec<_>>(), [1_000]);
    assert_eq!(all.problems, ["1 frames came with a wrong checksum and were not taken"]);
}
