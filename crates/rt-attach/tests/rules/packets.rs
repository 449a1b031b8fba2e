//! Packets, made and looked at.

use std::net::{IpAddr, Ipv4Addr};

use rt_wire::{Icmpv4, Ipv4Header, Seq, TcpFlags, TcpHeader, UdpHeader, checksum, protocol};

use crate::cases::{GATEWAY, INSIDE, OUTSIDE, ROUTER};

pub(crate) fn router_mac(port: usize) -> [u8; 6] {
    [2, 0, 0, 0, 1, port as u8]
}

/// Whoever has this address, and the gateway for those behind it.
pub(crate) fn mac_of(address: Ipv4Addr) -> [u8; 6] {
    let near = INSIDE.contains(&address) || OUTSIDE[..2].contains(&address);
    let [_, _, c, d] = if near { address } else { GATEWAY }.octets();
    [2, 0, 0, 1, c, d]
}

/// An ARP question for the router's address on a port; who asks has no address.
pub(crate) fn question(port: usize) -> Vec<u8> {
    let asker = [2, 0, 0, 9, 9, 9];
    let mut frame = vec![0xff; 6];
    frame.extend(asker);
    frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend(asker);
    frame.extend([0; 4]);
    frame.extend([0; 6]);
    frame.extend(ROUTER[port].octets());
    frame
}

/// The ends of a packet; for ICMP echoes the first port is the identifier.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ends {
    pub(crate) protocol: u8,
    pub(crate) src: Ipv4Addr,
    pub(crate) sport: u16,
    pub(crate) dst: Ipv4Addr,
    pub(crate) dport: u16,
}

impl Ends {
    pub(crate) fn back(self) -> Ends {
        Ends { src: self.dst, sport: self.dport, dst: self.src, dport: self.sport, ..self }
    }
}

/// What a packet says above IP.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Says {
    /// UDP, or TCP with these flags and numbers, or an echo.
    Udp(u8),
    Tcp {
        flags: u8,
        seq: u32,
        ack: u32,
        bytes: u8,
    },
    Echo {
        reply: bool,
        seq: u16,
    },
}

/// An Ethernet frame for the router's port.
pub(crate) fn frame(port: usize, ends: Ends, says: Says, (id, ttl): (u16, u8)) -> Vec<u8> {
    let mut body = Vec::new();
    match says {
        Says::Udp(len) => {
            let length = 8 + u16::from(len);
            UdpHeader { src: ends.sport, dst: ends.dport, len: length, checksum: 0 }.emit(&mut body);
            body.extend((0..len).map(|b| b ^ 0x55));
        }
        Says::Tcp { flags, seq, ack, bytes } => {
            let (flags, seq, ack) = (TcpFlags(flags), Seq(seq), Seq(ack));
            let header = TcpHeader {
                src: ends.sport,
                dst: ends.dport,
                seq,
                ack,
                flags,
                window: 60_000,
                ..TcpHeader::default()
            };
            header.emit(&mut body);
            body.extend((0..bytes).map(|b| b ^ 0xaa));
        }
        Says::Echo { reply, seq } => {
            // Whichever end asks has the identifier.
            let message = match reply {
                false => Icmpv4::EchoRequest { id: ends.sport, seq },
                true => Icmpv4::EchoReply { id: ends.sport.max(ends.dport), seq },
            };
            message.emit(b"echo, echo", &mut body);
        }
    }
    if ends.protocol != protocol::ICMP {
        checksum::fill_transport(IpAddr::V4(ends.src), IpAddr::V4(ends.dst), ends.protocol, &mut body);
    }
    packet(port, (ends.src, ends.dst, ends.protocol), &body, (id, ttl))
}

/// An ICMP error about `about` (an IP packet) from `from` to its sender.
pub(crate) fn error(port: usize, from: Ipv4Addr, message: Icmpv4, about: &[u8], id: u16) -> Vec<u8> {
    let to = Ipv4Addr::from(<[u8; 4]>::try_from(&about[12..16]).unwrap());
    let mut body = Vec::new();
    message.emit(about, &mut body);
    packet(port, (from, to, protocol::ICMP), &body, (id, 64))
}

fn packet(
    port: usize,
    (src, dst, protocol): (Ipv4Addr, Ipv4Addr, u8),
    body: &[u8],
    (id, ttl): (u16, u8),
) -> Vec<u8> {
    let mut frame = router_mac(port).to_vec();
    frame.extend(mac_of(src));
    frame.extend([8, 0]);
    let header = Ipv4Header { id, df: true, ..Ipv4Header::new(src, dst, protocol, ttl, body.len()) };
    header.emit(&mut frame);
    frame.extend(body);
    frame
}

/// A frame that left a router: taken apart, its checksums tried.
pub(crate) struct Left {
    pub(crate) port: usize,
    pub(crate) header: Ipv4Header,
    pub(crate) ends: Ends,
    /// The frame without checksums, and without what a router may choose for its own packets.
    pub(crate) plain: Vec<u8>,
    pub(crate) packet: Vec<u8>,
}

impl Left {
    pub(crate) fn read((port, frame): (usize, Vec<u8>)) -> Result<Left, String> {
        let bad = |why: &str| format!("{why}: {}", rt_wire::summary(&frame));
        let (header, body) = Ipv4Header::parse(&frame[14..]).map_err(|_| bad("a bad IP header"))?;
        let (src, dst) = (IpAddr::V4(header.src), IpAddr::V4(header.dst));
        let right = match header.protocol {
            protocol::ICMP => Icmpv4::parse(body).is_ok(),
            other => checksum::transport_holds(src, dst, other, body),
        };
        if !right {
            return Err(bad("a bad checksum"));
        }
        let be = |at: usize| u16::from_be_bytes([body[at], body[at + 1]]);
        let (sport, dport) = match header.protocol {
            protocol::ICMP if matches!(body[0], 0 | 8) => (be(4), be(4)),
            protocol::ICMP => (0, 0),
            _ => (be(0), be(2)),
        };
        let ends = Ends { protocol: header.protocol, src: header.src, sport, dst: header.dst, dport };
        let mut plain = frame.clone();
        mask(&mut plain, &header);
        Ok(Left { port, header, ends, plain, packet: frame[14..14 + usize::from(header.total_len)].to_vec() })
    }

    /// `tcpdump` says of it.
    pub(crate) fn say(&self) -> String {
        format!(
            "eth{} ttl {} tos {:#x} df {}: {}",
            self.port,
            self.header.ttl,
            self.header.dscp_ecn,
            self.header.df,
            rt_wire::summary(&self.plain_with_sums())
        )
    }

    fn plain_with_sums(&self) -> Vec<u8> {
        [&self.plain[..14], &self.packet].concat()
    }

    /// Writes one port in place of another wherever this end is named, in what an ICMP error quotes as well.
    pub(crate) fn rename(&mut self, (address, old): (Ipv4Addr, u16), new: u16) {
        rename(&mut self.plain[14..], (address, old), new);
    }
}

/// Checksums, and the identification and class of service of a router's own messages.
fn mask(plain: &mut Vec<u8>, header: &Ipv4Header) {
    let own = [ROUTER[0], ROUTER[1], ROUTER[2]].contains(&header.src);
    plain.truncate(14 + usize::from(header.total_len));
    sums(&mut plain[14..]);
    let body = 14 + usize::from(header.header_len);
    let reset = header.protocol == protocol::TCP && plain[body + 13] & 4 != 0;
    let message = header.protocol == protocol::ICMP || reset;
    if own && message {
        plain[18..20].fill(0);
    }
}

/// Zeros the checksums of a packet, and of the packet that it quotes.
fn sums(packet: &mut [u8]) {
    if packet.len() < 20 {
        return;
    }
    packet[10..12].fill(0);
    let (protocol, body) = (packet[9], usize::from(packet[0] & 15) * 4);
    let at = match protocol {
        protocol::ICMP => 2,
        protocol::UDP => 6,
        _ => 16,
    };
    if let Some(sum) = packet.get_mut(body + at..body + at + 2) {
        sum.fill(0);
    }
    if protocol == protocol::ICMP && packet.get(body).is_some_and(|kind| matches!(kind, 3 | 11)) {
        sums(&mut packet[body + 8..]);
    }
}

fn rename(packet: &mut [u8], (address, old): (Ipv4Addr, u16), new: u16) {
    if packet.len() < 28 {
        return;
    }
    let (protocol, body) = (packet[9], usize::from(packet[0] & 15) * 4);
    let kind = packet[body];
    if protocol == protocol::ICMP && matches!(kind, 3 | 11) {
        return rename(&mut packet[body + 8..], (address, old), new);
    }
    for (at, end) in [(12, 0), (16, 2)] {
        let port = body + if protocol == protocol::ICMP { 4 } else { end };
        if packet[at..at + 4] == address.octets() && packet[port..port + 2] == old.to_be_bytes() {
            packet[port..port + 2].copy_from_slice(&new.to_be_bytes());
        }
    }
}
