//! "The packet at each layer": every field of a frame by name, for people and for comparing before and after a rewrite.

use core::ops::Range;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::tcp::RawOptions;
use crate::{
    ArpOperation, ArpPacket, Error, EthernetHeader, Icmpv4, Ipv4Header, TcpHeader, UdpHeader, be16, be32,
    checksum, ethertype, protocol,
};

/// One layer of a frame.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LayerView {
    /// `Ethernet`, `ARP`, `IPv4`, `ICMP`, `UDP`, `TCP`, `Payload`; `Malformed` where reading ended.
    pub name: String,
    /// Field names and values in the order of the wire. The same layer always has the same fields.
    pub fields: Vec<(String, String)>,
    /// Its bytes in the frame (of a header: without what it carries).
    pub range: Range<usize>,
}

/// All layers of a frame from the outside in, the quoted packet of an ICMP error included. Never fails: where the bytes
/// cease to make sense there is a last layer `Malformed` that says why.
#[must_use]
pub fn layers(frame: &[u8]) -> Vec<LayerView> {
    let mut views = Views { all: Vec::new() };
    if let Err(error) = views.ethernet(frame, 0) {
        let start = views.all.last().map_or(0, |v| v.range.end);
        views.add("Malformed", start..frame.len(), vec![("reason", error.to_string())]);
    }
    views.all
}

/// UDP port of VXLAN (RFC 7348, 5).
const VXLAN_PORT: u16 = 4_789;
/// Layers at most before what is wrapped further is shown as bytes.
const MOST_LAYERS: usize = 24;

struct Views {
    all: Vec<LayerView>,
}

impl Views {
    fn add(&mut self, name: &str, range: Range<usize>, fields: Vec<(&str, String)>) {
        let fields = fields.into_iter().map(|(n, v)| (n.to_string(), v)).collect();
        self.all.push(LayerView { name: name.to_string(), fields, range });
    }

    fn payload(&mut self, at: usize, payload: &[u8]) {
        if !payload.is_empty() {
            let fields = vec![("length", payload.len().to_string())];
            self.add("Payload", at..at + payload.len(), fields);
        }
    }

    /// `start` is where the frame begins: behind 0 when it is wrapped itself.
    fn ethernet(&mut self, frame: &[u8], start: usize) -> Result<(), Error> {
        let (h, payload) = EthernetHeader::parse(frame)?;
        let kind = match h.ethertype {
            ethertype::IPV4 => "IPv4 (0x0800)".to_string(),
            ethertype::ARP => "ARP (0x0806)".to_string(),
            ethertype::IPV6 => "IPv6 (0x86dd)".to_string(),
            ethertype::VLAN => "VLAN (0x8100)".to_string(),
            ethertype::PPPOE_DISCOVERY => "PPPoE discovery (0x8863)".to_string(),
            ethertype::PPPOE_SESSION => "PPPoE session (0x8864)".to_string(),
            other => format!("{other:#06x}"),
        };
        let fields = vec![("destination", h.dst.to_string()), ("source", h.src.to_string()), ("type", kind)];
        let at = start + EthernetHeader::LEN;
        self.add("Ethernet", start..at, fields);
        self.behind(h.ethertype, payload, at)
    }

    /// What an EtherType announces.
    fn behind(&mut self, kind: u16, payload: &[u8], at: usize) -> Result<(), Error> {
        match (kind, payload) {
            (ethertype::IPV4, _) => self.ipv4(payload, at, false),
            (ethertype::ARP, _) => self.arp(payload, at),
            (ethertype::VLAN, [a, b, c, d, rest @ ..]) if self.room() => {
                let (tci, inner) = (u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d]));
                let fields = vec![
                    ("priority", (tci >> 13).to_string()),
                    ("VLAN", (tci & 0x0fff).to_string()),
                    ("type", format!("{inner:#06x}")),
                ];
                self.add("VLAN", at..at + 4, fields);
                self.behind(inner, rest, at + 4)
            }
            (ethertype::PPPOE_DISCOVERY | ethertype::PPPOE_SESSION, [_, code, a, b, c, d, rest @ ..]) => {
                self.pppoe(kind, *code, ([*a, *b], [*c, *d]), (rest, at));
                Ok(())
            }
            _ => {
                self.payload(at, payload);
                Ok(())
            }
        }
    }

    /// RFC 2516, 4.
    fn pppoe(&mut self, kind: u16, code: u8, (id, len): ([u8; 2], [u8; 2]), (rest, at): (&[u8], usize)) {
        let name = match code {
            0x00 => "session data",
            0x09 => "PADI",
            0x07 => "PADO",
            0x19 => "PADR",
            0x65 => "PADS",
            0xa7 => "PADT",
            _ => "unknown",
        };
        let len = u16::from_be_bytes(len);
        let fields = vec![
            ("code", format!("{name} ({code:#04x})")),
            ("session", u16::from_be_bytes(id).to_string()),
            ("length", len.to_string()),
        ];
        self.add("PPPoE", at..at + 6, fields);
        let body = &rest[..usize::from(len).min(rest.len())];
        match (kind, body) {
            (ethertype::PPPOE_SESSION, [a, b, inner @ ..]) => {
                let protocol = u16::from_be_bytes([*a, *b]);
                let name = match protocol {
                    0x0021 => " (IPv4)",
                    0x8021 => " (IPCP)",
                    0xc021 => " (LCP)",
                    _ => "",
                };
                self.add("PPP", at + 6..at + 8, vec![("protocol", format!("{protocol:#06x}{name}"))]);
                if protocol != 0x0021 || self.ipv4(inner, at + 8, false).is_err() {
                    self.payload(at + 8, inner);
                }
            }
            _ => self.payload(at + 6, body),
        }
    }

    /// RFC 2784, 2, with the key of RFC 2890.
    fn gre(&mut self, bytes: &[u8], at: usize) -> Result<(), Error> {
        let ([flags, _, a, b], rest) = bytes.split_first_chunk::<4>().unwrap_or((&[0; 4], &[]));
        let (key, len) = match rest.first_chunk::<4>() {
            Some(key) if flags & 0x20 != 0 => (Some(u32::from_be_bytes(*key)), 8),
            _ => (None, 4),
        };
        let kind = u16::from_be_bytes([*a, *b]);
        let key = key.map_or_else(|| "none".to_string(), |key| key.to_string());
        let fields = vec![("key", key), ("type", format!("{kind:#06x}"))];
        let end = len.min(bytes.len());
        self.add("GRE", at..at + end, fields);
        match kind {
            ethertype::IPV4 if self.room() && flags & 0x90 == 0 => self.ipv4(&bytes[end..], at + end, false),
            _ => {
                self.payload(at + end, &bytes[end..]);
                Ok(())
            }
        }
    }

    /// RFC 7348, 5.
    fn vxlan(&mut self, bytes: &[u8], at: usize) -> Result<(), Error> {
        let vni = u32::from_be_bytes([0, bytes[4], bytes[5], bytes[6]]);
        let fields = vec![("flags", format!("{:#04x}", bytes[0])), ("network", vni.to_string())];
        self.add("VXLAN", at..at + 8, fields);
        self.ethernet(&bytes[8..], at + 8)
    }

    /// Whether there is room for more layers: what is wrapped a hundred times is not looked into.
    fn room(&self) -> bool {
        self.all.len() < MOST_LAYERS
    }

    fn arp(&mut self, bytes: &[u8], at: usize) -> Result<(), Error> {
        let (p, _) = ArpPacket::parse(bytes)?;
        let operation = match p.operation {
            ArpOperation::Request => "request (1)",
            ArpOperation::Reply => "reply (2)",
        };
        let fields = vec![
            ("operation", operation.to_string()),
            ("sender MAC", p.sender_mac.to_string()),
            ("sender address", p.sender_ip.to_string()),
            ("target MAC", p.target_mac.to_string()),
            ("target address", p.target_ip.to_string()),
        ];
        self.add("ARP", at..at + ArpPacket::LEN, fields);
        Ok(())
    }

    /// `quoted` packets are cut short and their checksums are history.
    fn ipv4(&mut self, bytes: &[u8], at: usize, quoted: bool) -> Result<(), Error> {
        let (h, rest) = if quoted { Ipv4Header::parse_unchecked(bytes)? } else { Ipv4Header::parse(bytes)? };
        let flags = match (h.df, h.mf) {
            (true, true) => "DF, MF",
            (true, false) => "DF",
            (false, true) => "MF",
            (false, false) => "none",
        };
        let kind = match h.protocol {
            protocol::ICMP => "ICMP (1)".to_string(),
            protocol::TCP => "TCP (6)".to_string(),
            protocol::UDP => "UDP (17)".to_string(),
            protocol::IPIP => "IP in IP (4)".to_string(),
            protocol::GRE => "GRE (47)".to_string(),
            other => other.to_string(),
        };
        let fields = vec![
            ("header length", h.header_len.to_string()),
            ("DSCP and ECN", format!("{:#04x}", h.dscp_ecn)),
            ("total length", h.total_len.to_string()),
            ("identification", h.id.to_string()),
            ("flags", flags.to_string()),
            ("fragment offset", h.frag_offset.to_string()),
            ("time to live", h.ttl.to_string()),
            ("protocol", kind),
            ("checksum", format!("{:#06x}", be16(bytes, 10))),
            ("source", h.src.to_string()),
            ("destination", h.dst.to_string()),
        ];
        let len = usize::from(h.header_len);
        self.add(if quoted { "IPv4 (quoted)" } else { "IPv4" }, at..at + len, fields);
        if h.frag_offset != 0 {
            self.payload(at + len, rest);
            return Ok(());
        }
        let addresses = (!quoted && !h.mf).then_some((IpAddr::V4(h.src), IpAddr::V4(h.dst)));
        match h.protocol {
            protocol::ICMP => self.icmp(rest, at + len, quoted),
            protocol::UDP => self.udp(rest, at + len, addresses),
            protocol::TCP => self.tcp(rest, at + len, addresses),
            protocol::GRE if !quoted && !h.mf && rest.len() >= 4 => self.gre(rest, at + len),
            protocol::IPIP if !quoted && !h.mf && self.room() => self.ipv4(rest, at + len, false),
            _ => {
                self.payload(at + len, rest);
                Ok(())
            }
        }
    }

    fn icmp(&mut self, bytes: &[u8], at: usize, quoted: bool) -> Result<(), Error> {
        let message = match bytes.first_chunk::<8>() {
            Some(head) if quoted => Icmpv4::of_head(head),
            _ => Icmpv4::parse(bytes)?.0,
        };
        let (kind, code) = message.kind_and_code();
        let name = match kind {
            0 => " (echo reply)",
            3 => " (destination unreachable)",
            8 => " (echo request)",
            11 => " (time exceeded)",
            _ => "",
        };
        let mut fields = vec![
            ("type", format!("{kind}{name}")),
            ("code", code.to_string()),
            ("checksum", format!("{:#06x}", be16(bytes, 2))),
        ];
        match message {
            Icmpv4::EchoRequest { id, seq } | Icmpv4::EchoReply { id, seq } => {
                fields.push(("identifier", id.to_string()));
                fields.push(("sequence number", seq.to_string()));
            }
            Icmpv4::Unreachable { code: 4, mtu } => fields.push(("next-hop MTU", mtu.to_string())),
            _ => {}
        }
        self.add(if quoted { "ICMP (quoted)" } else { "ICMP" }, at..at + Icmpv4::LEN, fields);
        let rest = &bytes[Icmpv4::LEN..];
        if message.is_error() && !quoted {
            return self.ipv4(rest, at + Icmpv4::LEN, true);
        }
        self.payload(at + Icmpv4::LEN, rest);
        Ok(())
    }

    fn udp(&mut self, bytes: &[u8], at: usize, addresses: Option<(IpAddr, IpAddr)>) -> Result<(), Error> {
        let Some(b) = bytes.first_chunk::<8>() else {
            return UdpHeader::parse(bytes).map(|_| ());
        };
        let (check, verdict) = (be16(b, 6), verdict(addresses, protocol::UDP, bytes, be16(b, 6)));
        let fields = vec![
            ("source port", be16(b, 0).to_string()),
            ("destination port", be16(b, 2).to_string()),
            ("length", be16(b, 4).to_string()),
            ("checksum", format!("{check:#06x}{verdict}")),
        ];
        self.add("UDP", at..at + UdpHeader::LEN, fields);
        let end = usize::from(be16(b, 4)).clamp(UdpHeader::LEN, bytes.len());
        let inside = &bytes[UdpHeader::LEN..end];
        if be16(b, 2) == VXLAN_PORT
            && addresses.is_some()
            && inside.len() > 22
            && inside[0] == 8
            && self.room()
        {
            return self.vxlan(inside, at + UdpHeader::LEN);
        }
        self.payload(at + UdpHeader::LEN, &bytes[UdpHeader::LEN..end]);
        Ok(())
    }

    fn tcp(&mut self, bytes: &[u8], at: usize, addresses: Option<(IpAddr, IpAddr)>) -> Result<(), Error> {
        if let Some(b) = bytes.first_chunk::<8>().filter(|_| addresses.is_none() && bytes.len() < 20) {
            // A quoted TCP header is often only its first eight bytes (RFC 792).
            let fields = vec![
                ("source port", be16(b, 0).to_string()),
                ("destination port", be16(b, 2).to_string()),
                ("sequence number", be32(b, 4).to_string()),
            ];
            self.add("TCP", at..at + bytes.len(), fields);
            return Ok(());
        }
        let (h, payload) = TcpHeader::parse(bytes)?;
        let len = bytes.len() - payload.len();
        let (check, verdict) = (be16(bytes, 16), verdict(addresses, protocol::TCP, bytes, be16(bytes, 16)));
        let fields = vec![
            ("source port", h.src.to_string()),
            ("destination port", h.dst.to_string()),
            ("sequence number", h.seq.to_string()),
            ("acknowledgement number", h.ack.to_string()),
            ("header length", len.to_string()),
            ("flags", flag_names(h.flags.0)),
            ("window", h.window.to_string()),
            ("checksum", format!("{check:#06x}{verdict}")),
            ("urgent pointer", h.urgent.to_string()),
            ("options", options_text(&bytes[TcpHeader::LEN..len])),
        ];
        self.add("TCP", at..at + len, fields);
        self.payload(at + len, payload);
        Ok(())
    }
}

fn verdict(addresses: Option<(IpAddr, IpAddr)>, protocol: u8, bytes: &[u8], check: u16) -> &'static str {
    match addresses {
        Some(_) if protocol == protocol::UDP && check == 0 => " (none)",
        Some((src, dst)) if !checksum::transport_holds(src, dst, protocol, bytes) => " (wrong)",
        _ => "",
    }
}

fn flag_names(flags: u8) -> String {
    let names = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"];
    let set: Vec<&str> = (0..8).filter(|bit| flags & (1 << bit) != 0).map(|bit| names[bit]).collect();
    if set.is_empty() { "none".to_string() } else { set.join(", ") }
}

/// Options as tcpdump prints them, NOPs included: `mss 1460,sackOK,TS val 1 ecr 0,nop,wscale 7`.
pub(crate) fn options_text(bytes: &[u8]) -> String {
    let mut parts: Vec<String> = Vec::new();
    for (kind, body) in RawOptions(bytes) {
        parts.push(match (kind, body.len()) {
            (1, _) => "nop".to_string(),
            (2, 2) => format!("mss {}", be16(body, 0)),
            (3, 1) => format!("wscale {}", body[0]),
            (4, 0) => "sackOK".to_string(),
            (5, n @ 8..=32) if n % 8 == 0 => {
                let blocks: Vec<String> =
                    body.chunks_exact(8).map(|b| format!("{{{}:{}}}", be32(b, 0), be32(b, 4))).collect();
                format!("sack {} {}", blocks.len(), blocks.concat())
            }
            (8, 8) => format!("TS val {} ecr {}", be32(body, 0), be32(body, 4)),
            (kind, _) => format!("unknown-{kind}"),
        });
    }
    // End-of-options is an option in its own right; tcpdump shows it once.
    let walked: usize =
        RawOptions(bytes).map(|(kind, body)| if kind == 1 { 1 } else { 2 + body.len() }).sum();
    if bytes.get(walked) == Some(&0) {
        parts.push("eol".to_string());
    }
    if parts.is_empty() { "none".to_string() } else { parts.join(",") }
}
