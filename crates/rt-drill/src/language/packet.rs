//! Packet lines: `< [ect0] P. 1:1001(1000) ack 1 win 257 <nop,nop,TS val 100 ecr 200>`.

use super::Mistake;
use super::ast::{About, Body, Direction, Icmp, IpInfo, Packet, Segment, TcpOption, Tos};
use super::parser::{Parsed, Parser};
use super::token::Token;

/// Bit of AE (AccECN) in [`Segment::flags`].
pub(crate) const AE: u16 = 0x100;
/// Room for options in a TCP header, in bytes.
const OPTION_ROOM: usize = 40;
/// Headers in front of a packet.
const MOST_OUTER: usize = 8;

/// Names of the codes of ICMP's "destination unreachable".
const UNREACHABLE: [(&str, u8); 16] = [
    ("net_unreachable", 0),
    ("host_unreachable", 1),
    ("protocol_unreachable", 2),
    ("port_unreachable", 3),
    ("frag_needed", 4),
    ("source_route_failed", 5),
    ("net_unknown", 6),
    ("host_unknown", 7),
    ("source_host_isolated", 8),
    ("net_prohibited", 9),
    ("host_prohibited", 10),
    ("net_unreachable_for_tos", 11),
    ("host_unreachable_for_tos", 12),
    ("packet_filtered", 13),
    ("precedence_violation", 14),
    ("precedence_cutoff", 15),
];

/// Names of the codes of ICMP's "time exceeded", in FreeBSD's and nplab's dialect.
const TIME_EXCEEDED: [(&str, u8); 2] = [("ttl_exceeded_in_transit", 0), ("frag_reass_exceeded", 1)];

/// Names of ICMP's types.
const ICMP_TYPES: [(&str, u8); 13] = [
    ("echo_reply", 0),
    ("unreachable", 3),
    ("source_quench", 4),
    ("redirect", 5),
    ("echo_request", 8),
    ("time_exceeded", 11),
    ("parameter_problem", 12),
    ("timestamp_request", 13),
    ("timestamp_reply", 14),
    ("information_request", 15),
    ("information_reply", 16),
    ("address_mask_request", 17),
    ("address_mask_reply", 18),
];

impl Parser {
    pub(super) fn packet(&mut self) -> Parsed<Packet> {
        let direction = if self.eat('<') {
            Direction::In
        } else {
            self.need('>')?;
            Direction::Out
        };
        let outer = self.outer()?;
        let place = self.place();
        let ip = self.ip_info()?;
        if ip.tos == Tos::Ect01 && direction == Direction::In {
            return Err(Mistake::new(
                place,
                "one ECN codepoint ('ect01' is for outbound packets)",
                "'ect01'",
            ));
        }
        let body = if self.eat_word("icmp") {
            Body::Icmp(self.icmp()?)
        } else if self.eat_word("udp") {
            let ports = self.ports()?;
            self.need('(')?;
            let len = self.number16("the number of bytes in the datagram")?;
            self.need(')')?;
            Body::Udp { len, ports }
        } else {
            Body::Tcp(self.segment(direction)?)
        };
        Ok(Packet { direction, outer, ip, body })
    }

    /// Headers of tunnels, kept by name only.
    fn outer(&mut self) -> Parsed<Vec<String>> {
        let mut outer = Vec::new();
        while let Token::Word(word) = &self.peek().token {
            if !matches!(word.as_str(), "ipv4" | "ipv6" | "gre" | "GREv0" | "mpls") {
                break;
            }
            if outer.len() == MOST_OUTER {
                return Err(self.unexpected("at most 8 headers in front of a packet"));
            }
            outer.push(word.clone());
            self.next();
            while !self.eat(':') {
                if self.peek().first || self.peek().token == Token::End {
                    return Err(self.unexpected("':' after the header of a tunnel"));
                }
                self.next();
            }
        }
        Ok(outer)
    }

    fn ip_info(&mut self) -> Parsed<IpInfo> {
        let close = match self.peek().token {
            Token::Sign('[') => ']',
            Token::Sign('(') => ')',
            _ => return Ok(IpInfo::default()),
        };
        self.next();
        let mut info = IpInfo::default();
        loop {
            let Token::Word(word) = self.peek().token.clone() else {
                return Err(self.unexpected("noecn, ect0, ect1, ce, ect01, tos, ttl or flowlabel"));
            };
            let tos = match word.as_str() {
                "noecn" => Some(Tos::Ecn(0)),
                "ect1" => Some(Tos::Ecn(1)),
                "ect0" => Some(Tos::Ecn(2)),
                "ce" => Some(Tos::Ecn(3)),
                "ect01" => Some(Tos::Ect01),
                "tos" | "ttl" | "flowlabel" => None,
                _ => return Err(self.unexpected("noecn, ect0, ect1, ce, ect01, tos, ttl or flowlabel")),
            };
            self.next();
            match (tos, word.as_str()) {
                (Some(tos), _) => info.tos = tos,
                (_, "tos") => info.tos = Tos::Byte(self.number("the traffic class", 255)? as u8),
                (_, "ttl") => info.ttl = Some(self.number("the time to live", 255)? as u8),
                _ => info.flow_label = Some(self.number("the flow label", 0xf_ffff)? as u32),
            }
            if !self.eat(',') {
                break;
            }
        }
        self.need(close)?;
        Ok(info)
    }

    fn ports(&mut self) -> Parsed<Option<(u16, u16)>> {
        if !matches!(self.peek().token, Token::Number(..)) || *self.peek_second() != Token::Sign('>') {
            return Ok(None);
        }
        let source = self.number16("the source port")?;
        self.need('>')?;
        Ok(Some((source, self.number16("the destination port")?)))
    }

    fn segment(&mut self, direction: Direction) -> Parsed<Segment> {
        let ports = self.ports()?;
        let (flags, ace) = self.flags()?;
        let (seq, len) = self.sequence()?;
        let ack = if self.eat_word("ack") { self.number32("an acknowledgement number")? } else { 0 };
        let window = if self.eat_word("win") { Some(self.number16("a window")?) } else { None };
        let urgent = if self.eat_word("urg") { self.number16("an urgent pointer")? } else { 0 };
        let place = self.place();
        let options = self.options_list()?;
        if options.is_none() && direction == Direction::In {
            return Err(Mistake::new(
                place,
                "the options of an inbound packet ('<...>' is for outbound ones)",
                "'<...>'",
            ));
        }
        Ok(Segment { ports, flags, ace, seq, len, ack, window, urgent, options })
    }

    fn flags(&mut self) -> Parsed<(u16, Option<u8>)> {
        const EXPECTED: &str =
            "TCP flags: letters of FSRPUEWA, '.' for ACK (with an ACE digit if need be), or '-' for none";
        if self.eat('-') {
            return Ok((0, None));
        }
        let mut flags = 0;
        let mut any = false;
        if let Token::Word(word) = self.peek().token.clone() {
            for c in word.chars() {
                flags |= match c {
                    'F' => 0x01,
                    'S' => 0x02,
                    'R' => 0x04,
                    'P' => 0x08,
                    'U' => 0x20,
                    'E' => 0x40,
                    'W' => 0x80,
                    'A' => AE,
                    _ => return Err(self.unexpected(EXPECTED)),
                };
            }
            self.next();
            any = true;
        }
        if let Token::Float(text) = &self.peek().token {
            let digit = text.strip_prefix('.').and_then(|d| d.parse::<u8>().ok()).filter(|d| *d < 8);
            let Some(digit) = digit else { return Err(self.unexpected("an ACE digit from .0 to .7")) };
            self.next();
            return Ok((flags | 0x10, Some(digit)));
        }
        if self.eat('.') {
            flags |= 0x10;
            any = true;
        }
        if any { Ok((flags, None)) } else { Err(self.unexpected(EXPECTED)) }
    }

    /// `start:end(len)`.
    fn sequence(&mut self) -> Parsed<(u32, u16)> {
        let place = self.place();
        let start = self.number32("a sequence number, as in 1:1001(1000)")?;
        self.need(':')?;
        let end = self.number32("the sequence number of the end")?;
        self.need('(')?;
        let len = self.number16("the number of bytes")?;
        self.need(')')?;
        if start.wrapping_add(u32::from(len)) != end {
            let found = format!("{start}:{end}({len})");
            return Err(Mistake::new(place, "start + length = end", found));
        }
        Ok((start, len))
    }

    fn options_list(&mut self) -> Parsed<Option<Vec<TcpOption>>> {
        // `<` begins options only if it does not begin the next event's packet, which has a time before it.
        if !self.eat('<') {
            return Ok(Some(Vec::new()));
        }
        let place = self.place();
        if self.peek().token == Token::Ellipsis {
            self.next();
            self.need('>')?;
            return Ok(None);
        }
        let mut options = Vec::new();
        loop {
            options.push(self.option()?);
            if !self.eat(',') {
                break;
            }
        }
        self.need('>')?;
        let bytes: usize = options.iter().map(TcpOption::emit_len).sum();
        if bytes > OPTION_ROOM {
            return Err(Mistake::new(place, "at most 40 bytes of options", format!("{bytes}")));
        }
        if !bytes.is_multiple_of(4) {
            let say = format!("options of a multiple of 4 bytes (add nop or eol: {} short)", 4 - bytes % 4);
            return Err(Mistake::new(place, say, format!("{bytes}")));
        }
        Ok(Some(options))
    }

    fn option(&mut self) -> Parsed<TcpOption> {
        let Token::Word(word) = self.peek().token.clone() else {
            return Err(self.unexpected("a TCP option"));
        };
        let known = ["nop", "eol", "mss", "wscale", "sackOK", "sack", "TS", "md5", "FO", "FOEXP", "ECN"];
        if !known.contains(&word.as_str()) {
            return Err(self.unexpected(&format!("a TCP option: {}", known.join(", "))));
        }
        self.next();
        Ok(match word.as_str() {
            "nop" => TcpOption::Nop,
            "eol" => TcpOption::End,
            "mss" => TcpOption::Mss(self.number16("a segment size")?),
            "wscale" => TcpOption::WindowScale(self.number("a shift", 255)? as u8),
            "sackOK" => TcpOption::SackPermitted,
            "sack" => TcpOption::Sack(self.sack_blocks()?),
            "TS" => {
                self.keyword("val")?;
                let value = self.number32("a timestamp")?;
                self.keyword("ecr")?;
                TcpOption::Timestamps(value, self.number32("an echoed timestamp")?)
            }
            "md5" => TcpOption::Md5(self.bytes("a digest of at most 16 bytes in hexadecimal", 16)?),
            "FO" => TcpOption::FastOpen(self.bytes("a cookie of at most 16 bytes in hexadecimal", 38)?),
            "FOEXP" => TcpOption::FastOpenExperimental(self.bytes("a cookie of at most 16 bytes", 36)?),
            _ => self.acc_ecn()?,
        })
    }

    fn keyword(&mut self, word: &str) -> Parsed<()> {
        if self.eat_word(word) { Ok(()) } else { Err(self.unexpected(&format!("'{word}'"))) }
    }

    fn sack_blocks(&mut self) -> Parsed<Vec<(u32, u32)>> {
        let mut blocks = Vec::new();
        while matches!(self.peek().token, Token::Number(..)) && blocks.len() < 5 {
            let left = self.number32("the left edge of a SACK block")?;
            self.need(':')?;
            blocks.push((left, self.number32("the right edge of a SACK block")?));
        }
        if blocks.is_empty() { Err(self.unexpected("a SACK block, as in 1001:2001")) } else { Ok(blocks) }
    }

    /// Hexadecimal digits, perhaps none.
    fn bytes(&mut self, what: &str, most: usize) -> Parsed<Vec<u8>> {
        let digits = match &self.peek().token {
            Token::Word(word) => word.clone(),
            Token::Number(_, text) => text.clone(),
            _ => return Ok(Vec::new()),
        };
        let even = digits.len() % 2 == 0 && digits.len() / 2 <= most;
        if !even || !digits.chars().all(|c| c.is_ascii_hexdigit()) {
            return Err(self.unexpected(what));
        }
        self.next();
        let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap_or(0);
        Ok((0..digits.len()).step_by(2).map(byte).collect())
    }

    /// `ECN e1b N ceb N e0b N` or the other way round: the order says which of the two kinds it is.
    fn acc_ecn(&mut self) -> Parsed<TcpOption> {
        //= rfc9768#3.2.3
        //# kind 172 (0xAC) begins with the ECT(0) counter, kind 174 (0xAE) with the ECT(1) counter
        let (kind, order) =
            if self.is_word("e1b") { (174, ["e1b", "ceb", "e0b"]) } else { (172, ["e0b", "ceb", "e1b"]) };
        let mut counters = Vec::new();
        for name in order {
            if !self.eat_word(name) {
                break;
            }
            counters.push(self.number("a counter of 24 bits", 0xff_ffff)? as u32);
        }
        Ok(TcpOption::AccEcn(kind, counters))
    }

    fn icmp(&mut self) -> Parsed<Icmp> {
        let kind = self.icmp_name("an ICMP type, such as unreachable or type_3", "type_", &ICMP_TYPES)?;
        let names_code = matches!(&self.peek().token, Token::Word(w) if w != "mtu" && w != "id");
        let code = if names_code && !self.peek().first {
            let names: &[_] = match kind {
                3 => &UNREACHABLE,
                11 => &TIME_EXCEEDED,
                _ => &[],
            };
            self.icmp_name("an ICMP code, such as port_unreachable or code_3", "code_", names)?
        } else {
            0
        };
        let place = self.place();
        let mtu = if self.eat_word("mtu") { Some(self.number16("a packet size")?) } else { None };
        if mtu.is_some() && (kind, code) != (3, 4) {
            return Err(Mistake::new(place, "'mtu' only with 'unreachable frag_needed'", "'mtu'"));
        }
        let id = if self.eat_word("id") { Some(self.number16("an echo's identifier")?) } else { None };
        let mut about = About::Tcp(0, 0);
        if self.eat('[') {
            let sized = ["udp", "raw"].into_iter().find(|w| self.is_word(w));
            about = if let Some(word) = sized {
                self.next();
                self.need('(')?;
                let len = self.number16("a number of bytes")?;
                self.need(')')?;
                if word == "udp" { About::Udp(len) } else { About::Raw(len) }
            } else {
                let (seq, len) = self.sequence()?;
                About::Tcp(seq, len)
            };
            self.need(']')?;
        }
        Ok(Icmp { kind, code, mtu, id, about })
    }

    fn icmp_name(&mut self, what: &str, prefix: &str, names: &[(&str, u8)]) -> Parsed<u8> {
        let Token::Word(word) = &self.peek().token else { return Err(self.unexpected(what)) };
        let named = names.iter().find(|(name, _)| name == word).map(|(_, number)| *number);
        let number = named.or_else(|| word.strip_prefix(prefix).and_then(|n| n.parse().ok()));
        let Some(number) = number else { return Err(self.unexpected(what)) };
        self.next();
        Ok(number)
    }
}

impl TcpOption {
    /// Bytes that it takes.
    #[must_use]
    pub fn emit_len(&self) -> usize {
        match self {
            TcpOption::End | TcpOption::Nop => 1,
            TcpOption::Mss(_) => 4,
            TcpOption::WindowScale(_) => 3,
            TcpOption::SackPermitted => 2,
            TcpOption::Sack(blocks) => 2 + 8 * blocks.len(),
            TcpOption::Timestamps(..) => 10,
            TcpOption::Md5(bytes) | TcpOption::FastOpen(bytes) => 2 + bytes.len(),
            TcpOption::FastOpenExperimental(bytes) => 4 + bytes.len(),
            TcpOption::AccEcn(_, counters) => 2 + 3 * counters.len(),
        }
    }
}
