//! A frame in one line, as `tcpdump -n -S -t` prints it, and `Display` for the header types.

use core::fmt;

use crate::layers::options_text;
use crate::{
    ArpOperation, ArpPacket, Error, EthernetHeader, Icmpv4, Ipv4Header, TcpFlags, TcpHeader, UdpHeader, be16,
    ethertype, protocol, unreachable_code,
};

/// One line about a frame. Protocols above UDP and TCP are not decoded (`UDP, length 28`); what cannot be read is named
/// with its reason.
#[must_use]
pub fn summary(frame: &[u8]) -> String {
    let (ethernet, payload) = match EthernetHeader::parse(frame) {
        Ok(parsed) => parsed,
        Err(error) => return error.to_string(),
    };
    match ethernet.ethertype {
        ethertype::ARP => match ArpPacket::parse(payload) {
            Ok((arp, _)) => format!("{arp}, length {}", payload.len()),
            Err(error) => format!("ARP, {error}"),
        },
        ethertype::IPV4 => ipv4(payload),
        _ => format!("{ethernet}, length {}", frame.len()),
    }
}

fn ipv4(bytes: &[u8]) -> String {
    let (ip, payload) = match Ipv4Header::parse(bytes) {
        Ok(parsed) => parsed,
        Err(error) => return format!("IP, {error}"),
    };
    let (src, dst) = (ip.src, ip.dst);
    if ip.frag_offset != 0 {
        return format!("{ip}");
    }
    let upper = match ip.protocol {
        protocol::UDP => udp(payload, ip.mf).map(|h| {
            format!("IP {src}.{} > {dst}.{}: UDP, length {}", h.src, h.dst, h.len.saturating_sub(8))
        }),
        protocol::TCP => TcpHeader::parse(payload).map(|(h, data)| {
            let options = &payload[TcpHeader::LEN..payload.len() - data.len()];
            format!("IP {src}.{} > {dst}.{}: {}", h.src, h.dst, segment(&h, options, data.len()))
        }),
        protocol::ICMP => Icmpv4::parse(payload)
            .map(|(m, rest)| format!("IP {src} > {dst}: {}, length {}", icmp(&m, rest), payload.len())),
        _ => return format!("{ip} {}", payload.len()),
    };
    upper.unwrap_or_else(|error| if ip.mf { format!("{ip}") } else { format!("IP {src} > {dst}: {error}") })
}

/// The first of several fragments holds less than its UDP header says.
fn udp(bytes: &[u8], more_fragments: bool) -> Result<UdpHeader, Error> {
    match bytes.first_chunk::<8>() {
        Some(b) if more_fragments => {
            Ok(UdpHeader { src: be16(b, 0), dst: be16(b, 2), len: be16(b, 4), checksum: be16(b, 6) })
        }
        _ => UdpHeader::parse(bytes).map(|(header, _)| header),
    }
}

fn segment(h: &TcpHeader, options: &[u8], len: usize) -> String {
    let mut line = format!("Flags [{}]", h.flags);
    if len > 0 {
        line += &format!(", seq {}:{}", h.seq, h.seq + len as u32);
    } else if h.flags.any(TcpFlags::SYN | TcpFlags::FIN | TcpFlags::RST) {
        line += &format!(", seq {}", h.seq);
    }
    if h.flags.has(TcpFlags::ACK) {
        line += &format!(", ack {}", h.ack);
    }
    line += &format!(", win {}", h.window);
    if h.flags.has(TcpFlags::URG) {
        line += &format!(", urg {}", h.urgent);
    }
    if !options.is_empty() {
        line += &format!(", options [{}]", options_text(options));
    }
    line + &format!(", length {len}")
}

fn icmp(message: &Icmpv4, rest: &[u8]) -> String {
    let quoted = Ipv4Header::parse_unchecked(rest).ok();
    let dst = quoted.map_or_else(|| "?".to_string(), |(h, _)| h.dst.to_string());
    match *message {
        Icmpv4::Unreachable { code, mtu } => match code {
            unreachable_code::NET => format!("ICMP net {dst} unreachable"),
            unreachable_code::HOST => format!("ICMP host {dst} unreachable"),
            unreachable_code::PROTOCOL => {
                format!("ICMP {dst} protocol {} unreachable", quoted.map_or(0, |(h, _)| h.protocol))
            }
            unreachable_code::PORT => match quoted {
                Some((h, [_, _, hi, lo, ..])) => {
                    let name = match h.protocol {
                        protocol::UDP => "udp",
                        protocol::TCP => "tcp",
                        _ => "protocol",
                    };
                    format!("ICMP {dst} {name} port {} unreachable", u16::from_be_bytes([*hi, *lo]))
                }
                _ => format!("ICMP {dst} port unreachable"),
            },
            unreachable_code::FRAGMENTATION_NEEDED => {
                format!("ICMP {dst} unreachable - need to frag (mtu {mtu})")
            }
            unreachable_code::ADMIN_PROHIBITED => {
                format!("ICMP host {dst} unreachable - admin prohibited filter")
            }
            code => format!("ICMP {dst} unreachable - #{code}"),
        },
        ref other => other.to_string(),
    }
}

impl fmt::Display for EthernetHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} > {}, ethertype {:#06x}", self.src, self.dst, self.ethertype)
    }
}

impl fmt::Display for ArpPacket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.operation {
            ArpOperation::Request => {
                write!(f, "ARP, Request who-has {} tell {}", self.target_ip, self.sender_ip)
            }
            ArpOperation::Reply => write!(f, "ARP, Reply {} is-at {}", self.sender_ip, self.sender_mac),
        }
    }
}

impl fmt::Display for Ipv4Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IP {} > {}: ip-proto-{}", self.src, self.dst, self.protocol)
    }
}

impl fmt::Display for UdpHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} > {}: UDP, length {}", self.src, self.dst, self.len.saturating_sub(8))
    }
}

impl fmt::Display for TcpHeader {
    /// Without the payload length, which the header does not know.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} > {}: Flags [{}], seq {}", self.src, self.dst, self.flags, self.seq)?;
        if self.flags.has(TcpFlags::ACK) {
            write!(f, ", ack {}", self.ack)?;
        }
        write!(f, ", win {}", self.window)?;
        let mut options = Vec::new();
        self.options.emit(&mut options);
        if options.is_empty() { Ok(()) } else { write!(f, ", options [{}]", options_text(&options)) }
    }
}

impl fmt::Display for Icmpv4 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Icmpv4::EchoRequest { id, seq } => write!(f, "ICMP echo request, id {id}, seq {seq}"),
            Icmpv4::EchoReply { id, seq } => write!(f, "ICMP echo reply, id {id}, seq {seq}"),
            Icmpv4::Unreachable { code, .. } => write!(f, "ICMP unreachable, code {code}"),
            Icmpv4::TimeExceeded { code: 0 } => f.write_str("ICMP time exceeded in-transit"),
            Icmpv4::TimeExceeded { code: 1 } => f.write_str("ICMP ip reassembly time exceeded"),
            Icmpv4::TimeExceeded { code } => write!(f, "ICMP time exceeded-#{code}"),
            Icmpv4::Other { kind, code, .. } => write!(f, "ICMP type-#{kind} code {code}"),
        }
    }
}
