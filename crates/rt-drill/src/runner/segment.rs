//! Packets as bytes and as what a line says of them: building what arrives, reading what left, and printing both alike.
//!
//! Main type: [`Seen`], a packet in the script's own numbers.

use core::fmt::Write;
use std::net::Ipv4Addr;

use rt_wire::checksum;

use crate::language::ast::{Body, Direction, IpInfo, Packet, Segment, TcpOption, Tos};

/// Bytes of an IPv4 header without options.
pub(super) const IP: usize = 20;
/// Bytes of a TCP header without options.
pub(super) const TCP: usize = 20;
/// Bits of [`Seen`]'s flags, as in the header; AE is bit 8, the three reserved ones above it.
pub(super) const FIN: u16 = 0x01;
pub(super) const SYN: u16 = 0x02;
pub(super) const RST: u16 = 0x04;
pub(super) const PSH: u16 = 0x08;
pub(super) const ACK: u16 = 0x10;
pub(super) const ECE: u16 = 0x40;
pub(super) const CWR: u16 = 0x80;
pub(super) const AE: u16 = 0x100;

/// The two ends of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Ends {
    pub(super) from: (Ipv4Addr, u16),
    pub(super) to: (Ipv4Addr, u16),
}

/// A packet that was seen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Seen {
    pub(super) ends: Ends,
    pub(super) tos: u8,
    pub(super) ttl: u8,
    /// IP header checksum, TCP or UDP checksum and lengths hold.
    pub(super) sound: Result<(), &'static str>,
    pub(super) what: SeenBody,
}

/// What it carried.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum SeenBody {
    Tcp(SeenSegment),
    Udp { len: usize },
    Icmp { kind: u8, code: u8, id: u16 },
    Other(u8),
}

/// A TCP segment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct SeenSegment {
    pub(super) flags: u16,
    pub(super) seq: u32,
    pub(super) ack: u32,
    pub(super) window: u16,
    pub(super) urgent: u16,
    /// Kind and data of each option.
    pub(super) options: Vec<(u8, Vec<u8>)>,
    pub(super) payload: Vec<u8>,
}

fn be16(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).map_or(0, |b| u16::from_be_bytes([b[0], b[1]]))
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from(be16(bytes, at)) << 16 | u32::from(be16(bytes, at + 2))
}

fn address(bytes: &[u8], at: usize) -> Ipv4Addr {
    Ipv4Addr::from(be32(bytes, at))
}

impl Seen {
    /// Reads an IPv4 packet; `None` if it is not one at all.
    pub(super) fn read(bytes: &[u8]) -> Option<Seen> {
        let header = usize::from(bytes.first()? & 0x0f) * 4;
        if bytes[0] >> 4 != 4 || header < IP || bytes.len() < header {
            return None;
        }
        let total = usize::from(be16(bytes, 2));
        let mut sound = Ok(());
        if !checksum::holds(checksum::ones_sum(&bytes[..header])) {
            sound = Err("the IP header's checksum is wrong");
        } else if total != bytes.len() {
            sound = Err("the IP total length is not that of the packet");
        } else if header != IP {
            sound = Err("the IP header has options");
        }
        let rest = &bytes[header..];
        let (source, destination) = (address(bytes, 12), address(bytes, 16));
        let protocol = bytes[9];
        let ports = match protocol {
            6 | 17 => (be16(rest, 0), be16(rest, 2)),
            _ => (0, 0),
        };
        let is_fragment = be16(bytes, 6) & 0x3fff != 0;
        if matches!(protocol, 6 | 17) && !is_fragment && sound.is_ok() {
            let off = protocol == 17 && be16(rest, 6) == 0;
            if !off && !checksum::transport_holds(source.into(), destination.into(), protocol, rest) {
                sound = Err("the transport checksum is wrong");
            }
        }
        let what = match protocol {
            6 => SeenBody::Tcp(SeenSegment::read(rest)?),
            17 => SeenBody::Udp { len: rest.len().saturating_sub(8) },
            1 => SeenBody::Icmp { kind: *rest.first()?, code: *rest.get(1)?, id: be16(rest, 4) },
            other => SeenBody::Other(other),
        };
        let ends = Ends { from: (source, ports.0), to: (destination, ports.1) };
        Some(Seen { ends, tos: bytes[1], ttl: bytes[8], sound, what })
    }

    pub(super) fn tcp(&self) -> Option<&SeenSegment> {
        match &self.what {
            SeenBody::Tcp(segment) => Some(segment),
            _ => None,
        }
    }

    pub(super) fn protocol(&self) -> u8 {
        match self.what {
            SeenBody::Tcp(_) => 6,
            SeenBody::Udp { .. } => 17,
            SeenBody::Icmp { .. } => 1,
            SeenBody::Other(n) => n,
        }
    }
}

impl SeenSegment {
    fn read(bytes: &[u8]) -> Option<SeenSegment> {
        let header = usize::from(bytes.get(12)? >> 4) * 4;
        if header < TCP || bytes.len() < header {
            return None;
        }
        let flags = u16::from(bytes[13]) | u16::from(bytes[12] & 0x0f) << 8;
        Some(SeenSegment {
            flags,
            seq: be32(bytes, 4),
            ack: be32(bytes, 8),
            window: be16(bytes, 14),
            urgent: be16(bytes, 18),
            options: read_options(&bytes[TCP..header]),
            payload: bytes[header..].to_vec(),
        })
    }

    /// TS val and ecr.
    pub(super) fn timestamps(&self) -> Option<(u32, u32)> {
        let (_, data) = self.options.iter().find(|(kind, data)| *kind == 8 && data.len() == 8)?;
        Some((be32(data, 0), be32(data, 4)))
    }

    /// Sequence numbers that it takes.
    pub(super) fn seq_len(&self) -> u32 {
        self.payload.len() as u32 + u32::from(self.flags & SYN != 0) + u32::from(self.flags & FIN != 0)
    }
}

fn read_options(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut options = Vec::new();
    while let Some(&kind) = bytes.first() {
        let len = match kind {
            0 | 1 => 1,
            _ => usize::from(bytes.get(1).copied().unwrap_or(0)),
        };
        if len == 0 || len > bytes.len() || (kind > 1 && len < 2) {
            // Not to be read further: what is left is one lump.
            options.push((kind, bytes[1..].to_vec()));
            break;
        }
        options.push((kind, bytes[len.min(2)..len].to_vec()));
        bytes = &bytes[len..];
    }
    options
}

/// Kind and data of a script's option.
pub(super) fn option_bytes(option: &TcpOption) -> (u8, Vec<u8>) {
    let words = |words: &[u32]| words.iter().flat_map(|w| w.to_be_bytes()).collect::<Vec<u8>>();
    match option {
        TcpOption::End => (0, Vec::new()),
        TcpOption::Nop => (1, Vec::new()),
        TcpOption::Mss(mss) => (2, mss.to_be_bytes().to_vec()),
        TcpOption::WindowScale(shift) => (3, vec![*shift]),
        TcpOption::SackPermitted => (4, Vec::new()),
        TcpOption::Sack(blocks) => (5, blocks.iter().flat_map(|(l, r)| words(&[*l, *r])).collect()),
        TcpOption::Timestamps(value, echo) => (8, words(&[*value, *echo])),
        TcpOption::Md5(digest) => (19, digest.clone()),
        TcpOption::FastOpen(cookie) => (34, cookie.clone()),
        TcpOption::FastOpenExperimental(cookie) => (254, [&[0xf9, 0x89], cookie.as_slice()].concat()),
        TcpOption::AccEcn(kind, counters) => {
            (*kind, counters.iter().flat_map(|c| c.to_be_bytes()[1..].to_vec()).collect())
        }
    }
}

fn emit_options(options: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (kind, data) in options {
        out.push(*kind);
        if *kind > 1 {
            out.push(data.len() as u8 + 2);
            out.extend_from_slice(data);
        }
    }
    out
}

/// A whole IPv4 packet round `payload`; the transport's checksum is filled in.
pub(super) fn ip_packet(ends: Ends, protocol: u8, ip: &IpInfo, mut payload: Vec<u8>) -> Vec<u8> {
    let (from, to) = (ends.from.0, ends.to.0);
    match protocol {
        1 => {
            let sum = checksum::of_sum(checksum::ones_sum(&payload));
            payload[2..4].copy_from_slice(&sum.to_be_bytes());
        }
        _ => checksum::fill_transport(from.into(), to.into(), protocol, &mut payload),
    }
    let tos = match ip.tos {
        Tos::Ecn(bits) => bits,
        Tos::Byte(byte) => byte,
        Tos::Any | Tos::Ect01 => 0,
    };
    let total = (IP + payload.len()).min(usize::from(u16::MAX)) as u16;
    let mut packet = vec![0x45, tos];
    packet.extend_from_slice(&total.to_be_bytes());
    packet.extend_from_slice(&[0, 0, 0, 0, ip.ttl.unwrap_or(255), protocol, 0, 0]);
    packet.extend_from_slice(&from.octets());
    packet.extend_from_slice(&to.octets());
    let sum = checksum::of_sum(checksum::ones_sum(&packet));
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend_from_slice(&payload);
    packet
}

/// The bytes of a segment.
pub(super) fn tcp_bytes(ports: (u16, u16), segment: &SeenSegment) -> Vec<u8> {
    let options = emit_options(&segment.options);
    let words = (TCP + options.len()) / 4;
    let mut out = Vec::with_capacity(words * 4 + segment.payload.len());
    out.extend_from_slice(&ports.0.to_be_bytes());
    out.extend_from_slice(&ports.1.to_be_bytes());
    out.extend_from_slice(&segment.seq.to_be_bytes());
    out.extend_from_slice(&segment.ack.to_be_bytes());
    out.push((words as u8) << 4 | (segment.flags >> 8) as u8 & 0x0f);
    out.push(segment.flags as u8);
    out.extend_from_slice(&segment.window.to_be_bytes());
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(&segment.urgent.to_be_bytes());
    out.extend_from_slice(&options);
    out.extend_from_slice(&segment.payload);
    out
}

/// The letters of flags, in the language's order; with `as_ace` the three ECN bits as a digit.
pub(super) fn flag_letters(flags: u16, as_ace: bool) -> String {
    let mut out = String::new();
    for (bit, letter) in [(FIN, 'F'), (SYN, 'S'), (RST, 'R'), (PSH, 'P'), (0x20, 'U')] {
        if flags & bit != 0 {
            out.push(letter);
        }
    }
    if !as_ace {
        for (bit, letter) in [(ECE, 'E'), (CWR, 'W'), (AE, 'A')] {
            if flags & bit != 0 {
                out.push(letter);
            }
        }
    }
    if flags & ACK != 0 {
        out.push('.');
    }
    if as_ace {
        let _ = write!(out, "{}", ace(flags));
    }
    if out.is_empty() { "-".into() } else { out }
}

/// AE, CWR and ECE as one number.
pub(super) fn ace(flags: u16) -> u8 {
    (u8::from(flags & AE != 0) << 2) | (u8::from(flags & CWR != 0) << 1) | u8::from(flags & ECE != 0)
}

/// One option in the language's words.
fn option_text(kind: u8, data: &[u8]) -> String {
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    match (kind, data.len()) {
        (0, _) => "eol".into(),
        (1, _) => "nop".into(),
        (2, 2) => format!("mss {}", be16(data, 0)),
        (3, 1) => format!("wscale {}", data[0]),
        (4, 0) => "sackOK".into(),
        (5, n) if n > 0 && n % 8 == 0 => {
            let blocks: Vec<String> =
                (0..n / 8).map(|i| format!("{}:{}", be32(data, i * 8), be32(data, i * 8 + 4))).collect();
            format!("sack {}", blocks.join(" "))
        }
        (8, 8) => format!("TS val {} ecr {}", be32(data, 0), be32(data, 4)),
        (19, _) => format!("md5 {}", hex(data)),
        (34, 0) => "FO".into(),
        (34, _) => format!("FO {}", hex(data)),
        (254, n) if n >= 2 && data[..2] == [0xf9, 0x89] => {
            format!("FOEXP {}", hex(&data[2..])).trim_end().into()
        }
        _ => format!("option-{kind} {}", hex(data)).trim_end().into(),
    }
}

/// All options in the language's words, without brackets.
pub(super) fn options_text(options: &[(u8, Vec<u8>)]) -> String {
    options.iter().map(|(kind, data)| option_text(*kind, data)).collect::<Vec<_>>().join(",")
}

/// A packet line in pieces: (name of the field, text). Both sides of a comparison are printed from such pieces, so that
/// what differs can be marked.
pub(super) type Pieces = Vec<(&'static str, String)>;

/// What the script says, in pieces.
pub(super) fn script_pieces(packet: &Packet) -> Pieces {
    let arrow = if packet.direction == Direction::In { "<" } else { ">" };
    let mut pieces = vec![("direction", arrow.to_owned())];
    pieces.extend(packet.outer.iter().map(|o| ("header", format!("{o}:"))));
    match packet.ip.tos {
        Tos::Any => {}
        Tos::Ecn(bits) => {
            pieces.push(("ecn", format!("[{}]", ["noecn", "ect1", "ect0", "ce"][usize::from(bits & 3)])))
        }
        Tos::Ect01 => pieces.push(("ecn", "[ect01]".into())),
        Tos::Byte(byte) => pieces.push(("tos", format!("[tos {byte:#04x}]"))),
    }
    pieces.extend(packet.ip.ttl.map(|ttl| ("ttl", format!("(ttl {ttl})"))));
    match &packet.body {
        Body::Tcp(s) => segment_pieces(s, &mut pieces),
        Body::Udp { len, .. } => pieces.push(("length", format!("udp ({len})"))),
        Body::Icmp(icmp) => {
            pieces.push(("type", format!("icmp type_{}", icmp.kind)));
            pieces.push(("code", format!("code_{}", icmp.code)));
            pieces.extend(icmp.mtu.map(|mtu| ("mtu", format!("mtu {mtu}"))));
        }
    }
    pieces
}

fn segment_pieces(s: &Segment, pieces: &mut Pieces) {
    pieces.extend(s.ports.map(|(a, b)| ("ports", format!("{a} > {b}"))));
    let mut letters = flag_letters(s.flags, false);
    if let Some(ace) = s.ace {
        let _ = write!(letters, "{ace}");
    }
    pieces.push(("flags", letters));
    pieces.push(("seq", format!("{}:{}({})", s.seq, s.seq.wrapping_add(u32::from(s.len)), s.len)));
    if s.flags & ACK != 0 || s.ack != 0 {
        pieces.push(("ack", format!("ack {}", s.ack)));
    }
    pieces.extend(s.window.map(|w| ("window", format!("win {w}"))));
    if s.urgent != 0 {
        pieces.push(("urgent", format!("urg {}", s.urgent)));
    }
    match &s.options {
        None => pieces.push(("options", "<...>".into())),
        Some(list) if list.is_empty() => {}
        Some(list) => {
            let bytes: Vec<_> = list.iter().map(option_bytes).collect();
            pieces.push(("options", format!("<{}>", options_text(&bytes))));
        }
    }
}

/// What was seen, in pieces, with the fields that `like` speaks of.
pub(super) fn seen_pieces(seen: &Seen, direction: Direction, like: Option<&Packet>) -> Pieces {
    let arrow = if direction == Direction::In { "<" } else { ">" };
    let mut pieces = vec![("direction", arrow.to_owned())];
    let tos = like.map_or(Tos::Any, |p| p.ip.tos);
    match tos {
        Tos::Any if seen.tos == 0 || like.is_some() => {}
        Tos::Byte(_) => pieces.push(("tos", format!("[tos {:#04x}]", seen.tos))),
        _ => {
            pieces.push(("ecn", format!("[{}]", ["noecn", "ect1", "ect0", "ce"][usize::from(seen.tos & 3)])))
        }
    }
    if like.is_some_and(|p| p.ip.ttl.is_some()) {
        pieces.push(("ttl", format!("(ttl {})", seen.ttl)));
    }
    match &seen.what {
        SeenBody::Tcp(s) => {
            let like = like.and_then(|p| match &p.body {
                Body::Tcp(s) => Some(s),
                _ => None,
            });
            if like.is_some_and(|l| l.ports.is_some()) {
                pieces.push(("ports", format!("{} > {}", seen.ends.from.1, seen.ends.to.1)));
            }
            pieces.push(("flags", flag_letters(s.flags, like.is_some_and(|l| l.ace.is_some()))));
            let len = s.payload.len();
            pieces.push(("seq", format!("{}:{}({len})", s.seq, s.seq.wrapping_add(len as u32))));
            if s.flags & ACK != 0 {
                pieces.push(("ack", format!("ack {}", s.ack)));
            }
            if like.is_none_or(|l| l.window.is_some()) {
                pieces.push(("window", format!("win {}", s.window)));
            }
            if s.urgent != 0 {
                pieces.push(("urgent", format!("urg {}", s.urgent)));
            }
            if !s.options.is_empty() {
                pieces.push(("options", format!("<{}>", options_text(&s.options))));
            }
        }
        SeenBody::Udp { len } => pieces.push(("length", format!("udp ({len})"))),
        SeenBody::Icmp { kind, code, .. } => {
            pieces.push(("type", format!("icmp type_{kind}")));
            pieces.push(("code", format!("code_{code}")));
        }
        SeenBody::Other(protocol) => pieces.push(("protocol", format!("IP protocol {protocol}"))),
    }
    pieces
}

/// Pieces as one line.
pub(super) fn line(pieces: &Pieces) -> String {
    pieces.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>().join(" ")
}

/// Under [`line()`]: carets below the pieces named in `marked`.
pub(super) fn carets(pieces: &Pieces, marked: &[&str]) -> String {
    let mut out = String::new();
    for (i, (name, text)) in pieces.iter().enumerate() {
        if i > 0 {
            out.push(' ');
        }
        let sign = if marked.contains(name) { "^" } else { " " };
        out.push_str(&sign.repeat(text.chars().count()));
    }
    out.trim_end().to_owned()
}
