//! Packet lines: what arrives is built and put on the wire, what must leave is waited for and compared.

use std::net::Ipv4Addr;

use rt_base::Time;

use super::flow::{Flow, Protocol, Stage};
use super::play::{Due, Played, Player, Stop, clock};
use super::report::hint;
use super::segment::{self, ACK, CWR, ECE, Ends, FIN, PSH, SYN, Seen, SeenBody, SeenSegment};
use crate::language::ast::{About, Body, Direction, Event, Icmp, Packet, Segment, Tos};
use crate::machine::Emitted;

/// First port of the peers that a script does not number.
const FIRST_REMOTE_PORT: u16 = 49_152;
/// Window of an inbound segment that gives none.
const DEFAULT_WINDOW: u16 = 65_535;

/// A field that is not as expected: its name, expected, actual.
type Difference = (&'static str, String, String);

impl Player<'_> {
    /// Puts a packet on the wire.
    pub(super) fn inbound(&mut self, event: &Event, packet: &Packet) -> Played {
        self.no_tunnel(event, packet)?;
        let at = self.flow_of(event, packet)?;
        let (now, text) = (self.machine.now(), segment::line(&segment::script_pieces(packet)));
        self.note(now, text);
        let bytes = match &packet.body {
            Body::Tcp(s) => self.inbound_segment(event, packet, s, at)?,
            Body::Udp { len, ports } => {
                let ends = self.ends_in(at, *ports);
                let total = 8 + len;
                let mut udp =
                    [ends.from.1.to_be_bytes(), ends.to.1.to_be_bytes(), total.to_be_bytes(), [0, 0]]
                        .concat();
                udp.resize(usize::from(total), 0);
                segment::ip_packet(ends, 17, &packet.ip, udp)
            }
            Body::Icmp(icmp) => {
                let ends = self.ends_in(at, None);
                let quoted = self.icmp_bytes(icmp, at);
                segment::ip_packet(ends, 1, &packet.ip, quoted)
            }
        };
        self.keep_packet(now, false, &bytes);
        self.machine.inject(&bytes);
        self.collect();
        Ok(())
    }

    fn no_tunnel(&mut self, event: &Event, packet: &Packet) -> Played {
        if packet.outer.is_empty() {
            return Ok(());
        }
        let what = format!("packets inside {} are not played here", packet.outer.join(" and "));
        Err(Stop::Unsupported(event.place.line, what))
    }

    fn inbound_segment(&mut self, event: &Event, packet: &Packet, s: &Segment, at: usize) -> Played<Vec<u8>> {
        let flow = &mut self.flows[at];
        let (syn, ack) = (s.flags & SYN != 0, s.flags & ACK != 0);
        match flow.stage {
            Stage::SynSent if syn => {
                flow.remote_isn = s.seq;
                if ack {
                    flow.stage = Stage::Open;
                }
            }
            // A new connection between the same ports: its SYN-ACK will say whether the machine took it.
            Stage::Open if syn && !ack => {
                flow.stage = Stage::Synchronising;
                flow.next_remote_isn = Some(s.seq);
            }
            _ => {}
        }
        if ack {
            let newer = s.ack.wrapping_sub(flow.acked_to) < 1 << 31;
            flow.acked_to = if newer { s.ack } else { flow.acked_to };
        }
        let mut live = SeenSegment {
            flags: s.flags,
            seq: s.seq,
            ack: s.ack,
            window: s.window.unwrap_or(DEFAULT_WINDOW),
            urgent: s.urgent,
            options: s.options.iter().flatten().map(segment::option_bytes).collect(),
            payload: vec![0; usize::from(s.len)],
        };
        if let Some(ace) = s.ace {
            live.flags |= u16::from(ace & 4) << 6 | u16::from(ace & 2) << 6 | u16::from(ace & 1) << 6;
        }
        let (scaled, lenient) = (self.ts_scaled, self.options.relaxed);
        if let Err(echo) = self.flows[at].to_live(&mut live, scaled, lenient) {
            let mut failure =
                self.failure(event, format!("TS ecr {echo} echoes a TS val that no outbound line has shown"));
            failure
                .hints
                .push("an outbound line with <...TS val N...> before it would say which one is meant".into());
            return Err(Stop::Failed(Box::new(failure)));
        }
        let ends = self.ends_in(at, s.ports);
        let bytes = segment::tcp_bytes((ends.from.1, ends.to.1), &live);
        Ok(segment::ip_packet(ends, 6, &packet.ip, bytes))
    }

    /// Where an inbound packet comes from and goes to.
    fn ends_in(&mut self, at: usize, ports: Option<(u16, u16)>) -> Ends {
        let own = self.machine.settings().local_ip;
        let peer = self.machine.settings().remote_ip;
        let fd = self.flows[at].fd;
        let name = fd.and_then(|(_, fd)| self.machine.local_name(fd).ok());
        let flow = &mut self.flows[at];
        let or = |a: Ipv4Addr, b| if a.is_unspecified() { b } else { a };
        if flow.local.1 == 0 {
            flow.local.1 =
                name.map_or(self.bind_port, |n| if n.port() == 0 { self.bind_port } else { n.port() });
        }
        if flow.remote.1 == 0 {
            flow.remote.1 = self.connect_port;
        }
        let (from, to) = ports.unwrap_or((flow.remote.1, flow.local.1));
        Ends { from: (or(flow.remote.0, peer), from), to: (or(flow.local.0, own), to) }
    }

    fn icmp_bytes(&mut self, icmp: &Icmp, at: usize) -> Vec<u8> {
        let mut bytes = vec![icmp.kind, icmp.code, 0, 0, 0, 0, 0, 0];
        if let Some(mtu) = icmp.mtu {
            bytes[6..8].copy_from_slice(&mtu.to_be_bytes());
        }
        if let Some(id) = icmp.id {
            bytes[4..6].copy_from_slice(&id.to_be_bytes());
        }
        let (protocol, len) = match icmp.about {
            About::Raw(len) => {
                bytes.resize(usize::from(len).max(8), 0);
                return bytes;
            }
            About::Tcp(_, len) => (6, 20 + usize::from(len)),
            About::Udp(len) => (17, 8 + usize::from(len)),
        };
        let ends = self.ends_in(at, None);
        let flow = &self.flows[at];
        let (from, to) = (ends.to, ends.from);
        // What the machine had sent: an IP header and the first 8 bytes after it.
        let total = (20 + len).min(usize::from(u16::MAX)) as u16;
        let mut quoted = vec![0x45, 0];
        quoted.extend_from_slice(&total.to_be_bytes());
        quoted.extend_from_slice(&[0, 0, 0x40, 0, 64, protocol, 0, 0]);
        quoted.extend_from_slice(&from.0.octets());
        quoted.extend_from_slice(&to.0.octets());
        let sum = rt_wire::checksum::of_sum(rt_wire::checksum::ones_sum(&quoted));
        quoted[10..12].copy_from_slice(&sum.to_be_bytes());
        quoted.extend_from_slice(&from.1.to_be_bytes());
        quoted.extend_from_slice(&to.1.to_be_bytes());
        match icmp.about {
            About::Tcp(seq, _) => {
                quoted.extend_from_slice(&seq.wrapping_add(flow.local_offset(false)).to_be_bytes())
            }
            About::Udp(len) => quoted.extend_from_slice(&[(8 + len).to_be_bytes(), [0, 0]].concat()),
            About::Raw(_) => {}
        }
        bytes.extend_from_slice(&quoted);
        bytes
    }

    /// The flow that a packet line speaks of.
    fn flow_of(&mut self, event: &Event, packet: &Packet) -> Played<usize> {
        let inbound = packet.direction == Direction::In;
        let stage = self.under_test.map(|i| self.flows[i].stage);
        if let Body::Tcp(s) = &packet.body {
            if let Some((from, to)) = s.ports {
                let (local, remote) = if inbound { (to, from) } else { (from, to) };
                return Ok(self.flow_with_ports(s, local, remote, inbound));
            }
            if inbound && matches!(stage, None | Some(Stage::Listening)) {
                let local = self.listening_port();
                let remote = FIRST_REMOTE_PORT + (self.flows.len() % 16_384) as u16;
                return Ok(self.peer_flow(s, local, remote));
            }
            if let (Some(Stage::Connecting), Some(at)) = (stage, self.under_test) {
                if !inbound && s.flags & (SYN | ACK) == SYN {
                    self.flows[at].stage = Stage::SynSent;
                    self.flows[at].script_isn = s.seq;
                }
                return Ok(at);
            }
        }
        let fits = |flow: &Flow| {
            matches!(
                (&packet.body, flow.protocol),
                (Body::Tcp(_), Protocol::Tcp) | (Body::Udp { .. }, Protocol::Udp) | (Body::Icmp(_), _)
            )
        };
        match self.under_test {
            Some(at) if fits(&self.flows[at]) => Ok(at),
            _ => Err(self.failed(event, "no socket of this script has to do with such a packet")),
        }
    }

    fn listening_port(&self) -> u16 {
        let listener = self.flows.iter().rev().find(|f| f.stage == Stage::Listening && f.local.1 != 0);
        listener.map_or(self.bind_port, |f| f.local.1)
    }

    /// A flow that a peer begins.
    fn peer_flow(&mut self, s: &Segment, local: u16, remote: u16) -> usize {
        let settings = self.machine.settings();
        let mut flow = Flow::new(Protocol::Tcp, Stage::Synchronising);
        flow.local = (settings.local_ip, local);
        flow.remote = (settings.remote_ip, remote);
        flow.remote_isn = s.seq;
        self.peers.insert((local, remote), self.flows.len());
        self.flows.push(flow);
        self.under_test = Some(self.flows.len() - 1);
        self.flows.len() - 1
    }

    fn flow_with_ports(&mut self, s: &Segment, local: u16, remote: u16, inbound: bool) -> usize {
        let fits = |f: &Flow| {
            f.protocol == Protocol::Tcp
                && f.stage != Stage::Listening
                && (f.local.1, f.remote.1) == (local, remote)
        };
        let peer = self.peers.get(&(local, remote)).copied().filter(|at| fits(&self.flows[*at]));
        let own = self.sockets.iter().rev().copied().find(|at| fits(&self.flows[*at]));
        if let Some(at) = peer.max(own) {
            return at;
        }
        let before = self.under_test;
        let from_peer = inbound && s.flags & (SYN | ACK) == SYN;
        let at = self.peer_flow(s, local, remote);
        let listens = before.is_none_or(|b| self.flows[b].stage == Stage::Listening);
        if let Some(before) = before.filter(|_| !from_peer) {
            // A stray segment: counted like the conversation under test.
            let like = self.flows[before].clone();
            let flow = &mut self.flows[at];
            (flow.live_isn, flow.script_isn) = (like.live_isn, like.script_isn);
            flow.remote_isn = like.remote_isn;
            flow.stage = Stage::Open;
        }
        if !(from_peer && listens) {
            self.under_test = before;
        }
        at
    }

    /// Waits for a packet and compares it with the line.
    pub(super) fn outbound(&mut self, event: &Event, packet: &Packet, due: Due) -> Played {
        self.no_tunnel(event, packet)?;
        let at = self.flow_of(event, packet)?;
        let limit = self.patience(due);
        let ports = match &packet.body {
            Body::Tcp(Segment { ports, .. }) | Body::Udp { ports, .. } => *ports,
            Body::Icmp(_) => None,
        };
        let Some((first, mut seen)) = self.wait_packet(limit, |p, seen| p.is_of(at, seen, ports))? else {
            return Err(self.nothing_came(event, packet, due, limit));
        };
        self.learn_isn(at, packet, &seen);
        if let SeenBody::Tcp(s) = &mut seen.what {
            self.flows[at].to_script(s);
        }
        let seen = self.add_up(at, packet, seen, limit)?;
        self.judge(event, packet, due, at, (first, seen))
    }

    fn nothing_came(&mut self, event: &Event, packet: &Packet, due: Due, limit: Time) -> Stop {
        let expected = segment::line(&segment::script_pieces(packet));
        let mut failure = self.failure(event, "no such packet was sent".into());
        failure.expected = Some(format!("{}  {expected}", due_text(due)));
        failure.actual = Some(format!("nothing until {}", clock(limit)));
        failure.fields = vec!["time"];
        if let Some((_, seen)) = self.unmentioned.front() {
            let mut seen = seen.clone();
            let ports = self.place_in_script(&mut seen);
            let other = segment::line(&segment::seen_pieces(&seen, Direction::Out, None));
            failure.hints.push(format!("a packet of another conversation waits: {other}{ports}"));
        }
        Stop::Failed(Box::new(failure))
    }

    /// Whether a packet that left belongs to flow `at`.
    fn is_of(&mut self, at: usize, seen: &Seen, ports: Option<(u16, u16)>) -> bool {
        let flow = &mut self.flows[at];
        let address = |known: Ipv4Addr, is: Ipv4Addr| known.is_unspecified() || known == is;
        let port = |known: u16, is: u16| known == 0 || known == is;
        if !address(flow.remote.0, seen.ends.to.0) || !address(flow.local.0, seen.ends.from.0) {
            return false;
        }
        match (&seen.what, flow.protocol) {
            (SeenBody::Icmp { .. }, _) => true,
            (SeenBody::Tcp(s), Protocol::Tcp) => {
                let first = flow.stage == Stage::SynSent && s.flags & (SYN | ACK) == SYN;
                if first && flow.local.1 == 0 && flow.remote.1 == seen.ends.to.1 {
                    flow.local = seen.ends.from;
                    flow.live_isn = s.seq;
                }
                flow.local.1 == seen.ends.from.1 && flow.remote.1 == seen.ends.to.1
            }
            (SeenBody::Udp { .. }, Protocol::Udp) => {
                let (from, to) = ports.unwrap_or((flow.local.1, flow.remote.1));
                let fits = port(from, seen.ends.from.1) && port(to, seen.ends.to.1);
                if fits && ports.is_none() {
                    (flow.local, flow.remote) = (seen.ends.from, seen.ends.to);
                }
                fits
            }
            _ => false,
        }
    }

    /// A first SYN or SYN-ACK tells how the machine counts.
    fn learn_isn(&mut self, at: usize, packet: &Packet, seen: &Seen) {
        let (Body::Tcp(s), SeenBody::Tcp(live)) = (&packet.body, &seen.what) else { return };
        let flow = &mut self.flows[at];
        let syn_ack = s.flags & (SYN | ACK) == SYN | ACK && live.flags & (SYN | ACK) == SYN | ACK;
        if flow.stage == Stage::SynSent && live.flags & SYN != 0 {
            flow.live_isn = live.seq;
        } else if flow.stage == Stage::Synchronising && syn_ack {
            flow.script_isn = s.seq;
            flow.live_isn = live.seq;
            flow.remote_isn = flow.next_remote_isn.take().unwrap_or(flow.remote_isn);
            flow.stage = Stage::Open;
            flow.sent_to = 0;
            flow.acked_to = 0;
        }
    }

    /// Takes further segments until there are as many bytes as the line has.
    fn add_up(&mut self, at: usize, packet: &Packet, first: Seen, limit: Time) -> Played<Seen> {
        let Body::Tcp(Segment { len, ports, .. }) = packet.body else { return Ok(first) };
        let (wanted, ports) = (usize::from(len), ports);
        let mut whole = first;
        let mut piece = whole.tcp().map_or(0, |s| s.payload.len());
        while !self.strict_segments && piece > 0 && whole.tcp().is_some_and(|s| s.payload.len() < wanted) {
            let Some(sum) = whole.tcp().cloned() else { break };
            let flow = self.flows[at].clone();
            let missing = wanted - sum.payload.len();
            let next = self.wait_packet(limit, |p, seen| {
                let Some(s) = seen.tcp().filter(|_| p.is_of(at, seen, ports)) else { return false };
                let mut s = s.clone();
                flow.to_script(&mut s);
                let last = s.payload.len();
                continues(&sum, &s) && (last == piece || last >= missing)
            });
            // A piece that does not fit ends the sum: the comparison will show it.
            let Some((_, next)) = next? else { break };
            let (SeenBody::Tcp(more), SeenBody::Tcp(sum)) = (next.what, &mut whole.what) else { break };
            let mut more = more;
            self.flows[at].to_script(&mut more);
            piece = more.payload.len();
            sum.flags = (sum.flags & !(PSH | FIN)) | (more.flags & (PSH | FIN));
            sum.payload.extend_from_slice(&more.payload);
        }
        Ok(whole)
    }

    fn judge(
        &mut self,
        event: &Event,
        packet: &Packet,
        due: Due,
        at: usize,
        (first, mut seen): (Emitted, Seen),
    ) -> Played {
        if let (SeenBody::Tcp(live), Body::Tcp(s)) = (&mut seen.what, &packet.body) {
            let script = s.options.iter().flatten().find_map(|o| match o {
                crate::language::ast::TcpOption::Timestamps(value, _) => Some(*value),
                _ => None,
            });
            let flow = &mut self.flows[at];
            flow.learn_timestamp(script, live);
            flow.sent_to = flow.sent_to.max(live.seq.wrapping_add(live.seq_len()));
        }
        let mut differences = self.compare(packet, &seen);
        let late = self.off(due, first.at);
        let pieces = segment::seen_pieces(&seen, Direction::Out, Some(packet));
        let actual = segment::line(&pieces);
        if let Some(late) = &late {
            differences.push(("time", due_text(due), format!("{} ({late})", clock(first.at))));
        }
        if differences.is_empty() {
            self.note(first.at, actual);
            return Ok(());
        }
        let names: Vec<&'static str> = differences.iter().map(|d| d.0).collect();
        let what = match names.as_slice() {
            ["time"] => format!("the packet is right, but {}", late.unwrap_or_default()),
            _ => format!("the packet differs in {}", names.join(", ")),
        };
        let mut failure = self.failure(event, what);
        let (when, came) = (due_text(due), clock(first.at));
        let expected = segment::line(&segment::script_pieces(packet));
        let width = when.len().max(came.len());
        failure.expected = Some(format!("{when:width$}  {expected}"));
        failure.actual = Some(format!("{came:width$}  {actual}"));
        let marked: Vec<&str> =
            names.iter().map(|n| if matches!(*n, "ecr" | "ts") { "options" } else { n }).collect();
        let below = segment::carets(&pieces, &marked);
        let time = if names.contains(&"time") { "^".repeat(came.len()) } else { String::new() };
        failure.marks = Some(format!("{time:width$}  {below}").trim_end().to_owned());
        failure.hints =
            differences.iter().map(|(name, expected, actual)| hint(name, expected, actual)).collect();
        failure.fields = names;
        Err(Stop::Failed(Box::new(failure)))
    }

    fn compare(&self, packet: &Packet, seen: &Seen) -> Vec<Difference> {
        let mut out: Vec<Difference> = Vec::new();
        if let Err(what) = seen.sound {
            out.push(("checksum", "a sound packet".into(), what.into()));
        }
        match packet.ip.tos {
            Tos::Ecn(bits) if seen.tos & 3 != bits => {
                out.push(("ecn", bits.to_string(), (seen.tos & 3).to_string()))
            }
            Tos::Ect01 if !matches!(seen.tos & 3, 1 | 2) => {
                out.push(("ecn", "1 or 2".into(), (seen.tos & 3).to_string()));
            }
            Tos::Byte(byte) if seen.tos != byte => {
                out.push(("tos", format!("{byte:#04x}"), format!("{:#04x}", seen.tos)));
            }
            _ => {}
        }
        if let Some(ttl) = packet.ip.ttl.filter(|ttl| *ttl != seen.ttl) {
            out.push(("ttl", ttl.to_string(), seen.ttl.to_string()));
        }
        match (&packet.body, &seen.what) {
            (Body::Tcp(s), SeenBody::Tcp(live)) => self.compare_segments(s, live, &mut out),
            (Body::Udp { len, .. }, SeenBody::Udp { len: live }) => {
                if usize::from(*len) != *live {
                    out.push(("length", len.to_string(), live.to_string()));
                }
            }
            (Body::Icmp(icmp), SeenBody::Icmp { kind, code, id }) => {
                let checks = [("type", icmp.kind, *kind), ("code", icmp.code, *code)];
                out.extend(
                    checks.iter().filter(|c| c.1 != c.2).map(|c| (c.0, c.1.to_string(), c.2.to_string())),
                );
                if let Some(want) = icmp.id.filter(|want| want != id) {
                    out.push(("id", want.to_string(), id.to_string()));
                }
            }
            (body, _) => {
                let want = match body {
                    Body::Tcp(_) => 6,
                    Body::Udp { .. } => 17,
                    Body::Icmp(_) => 1,
                };
                out.push(("protocol", want.to_string(), seen.protocol().to_string()));
            }
        }
        out
    }

    fn compare_segments(&self, s: &Segment, live: &SeenSegment, out: &mut Vec<Difference>) {
        let ecn = segment::AE | CWR | ECE;
        let want = match s.ace {
            Some(ace) => {
                (s.flags & !ecn)
                    | (u16::from(ace & 4) << 6 | u16::from(ace & 2) << 6 | u16::from(ace & 1) << 6)
            }
            None => s.flags,
        };
        if want != live.flags {
            let letters = |flags| segment::flag_letters(flags, s.ace.is_some());
            out.push(("flags", letters(want), letters(live.flags)));
        }
        if (s.seq, usize::from(s.len)) != (live.seq, live.payload.len()) {
            let text = |seq: u32, len: usize| format!("{seq}:{}({len})", seq.wrapping_add(len as u32));
            out.push(("seq", text(s.seq, s.len.into()), text(live.seq, live.payload.len())));
        }
        let ack = if live.flags & ACK != 0 { live.ack } else { 0 };
        if s.flags & ACK != 0 && s.ack != ack {
            out.push(("ack", s.ack.to_string(), ack.to_string()));
        }
        if s.urgent != live.urgent {
            out.push(("urgent", s.urgent.to_string(), live.urgent.to_string()));
        }
        if !self.wrote_text && live.payload.iter().any(|b| *b != 0) {
            out.push(("payload", "zeros, as written".into(), "other bytes".into()));
        }
        if self.options.relaxed {
            return;
        }
        if let Some(window) = s.window.filter(|w| *w != live.window) {
            out.push(("window", window.to_string(), live.window.to_string()));
        }
        let Some(options) = &s.options else { return };
        self.compare_options(&options.iter().map(segment::option_bytes).collect::<Vec<_>>(), live, out);
    }

    fn compare_options(&self, want: &[(u8, Vec<u8>)], live: &SeenSegment, out: &mut Vec<Difference>) {
        let same = want.len() == live.options.len()
            && want.iter().zip(&live.options).all(|(a, b)| a.0 == b.0 && (a.0 == 8 || a.1 == b.1));
        if !same {
            let text = |options: &[(u8, Vec<u8>)]| format!("<{}>", segment::options_text(options));
            out.push(("options", text(want), text(&live.options)));
            return;
        }
        let Some((_, data)) = want.iter().find(|(kind, _)| *kind == 8) else { return };
        let Some((value, echo)) = live.timestamps() else { return };
        let word = |at: usize| u32::from_be_bytes([data[at], data[at + 1], data[at + 2], data[at + 3]]);
        let off = u64::from((value.wrapping_sub(word(0)) as i32).unsigned_abs());
        if self.ts_tick > 0 && off * self.ts_tick > self.tolerance.0 / 1_000 {
            out.push(("ts", word(0).to_string(), value.to_string()));
        }
        if self.options.check_echo && live.flags & ACK != 0 && word(4) != echo {
            out.push(("ecr", word(4).to_string(), echo.to_string()));
        }
    }

    /// A packet that no line asked for, in the numbers of whatever flow it is of; the ports if it is of none.
    pub(super) fn place_in_script(&mut self, seen: &mut Seen) -> String {
        let at = (0..self.flows.len()).rev().find(|at| {
            let flow = &self.flows[*at];
            flow.local.1 == seen.ends.from.1 && flow.remote.1 == seen.ends.to.1
        });
        match (at, &mut seen.what) {
            (Some(at), SeenBody::Tcp(s)) => {
                self.flows[at].to_script(s);
                String::new()
            }
            _ => format!(" (port {} to port {})", seen.ends.from.1, seen.ends.to.1),
        }
    }
}

/// Whether `next` goes on where `sum` ends, with the same header.
fn continues(sum: &SeenSegment, next: &SeenSegment) -> bool {
    let fixed = !(PSH | FIN | CWR);
    next.seq == sum.seq.wrapping_add(sum.payload.len() as u32)
        && (next.flags & fixed, next.ack, next.window) == (sum.flags & fixed, sum.ack, sum.window)
        && next.options.len() == sum.options.len()
}

fn due_text(due: Due) -> String {
    match due {
        Due::At(t) => clock(t),
        Due::Between(a, b) => format!("{}~{}", clock(a), clock(b)),
        Due::Any => "*".into(),
    }
}
