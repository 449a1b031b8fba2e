//! A NAT of plain lists that are searched from one end to the other, written from RFC 4787, 5382 and 5508 and from what
//! `NatBehaviour` and `ConntrackOptions` promise: slow, and without a line of the stack's own.

use rt_base::{DropReason, Nanos, Time};
use rt_rules::{ConntrackOptions, NatBehaviour, NatDepends};
use rt_wire::TcpFlags;

/// An address (its last two bytes tell all of them apart here) and a port or echo identifier.
pub(super) type End = ([u8; 4], u16);

/// The NAT's outer address.
pub(super) const OUTER: [u8; 4] = [203, 0, 113, 50];
/// External ports.
pub(super) const PORTS: (u16, u16) = (10_001, 10_006);
/// The forwarded port and where it leads.
pub(super) const FORWARDED: u16 = 80;
pub(super) const SERVER: End = ([192, 168, 1, 10], 8_080);

/// What a packet is, as far as a NAT cares.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Udp,
    Tcp(TcpFlags),
    /// An echo request or (false) reply; its identifier is the port of both ends.
    Echo(bool),
    /// An ICMP error about a packet of this protocol from the first to the second end.
    Error(u8, End, End),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Seen {
    pub(super) kind: Kind,
    pub(super) src: End,
    pub(super) dst: End,
    pub(super) from_inside: bool,
}

/// What must become of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fate {
    /// It leaves so.
    Leaves { kind: Kind, src: End, dst: End, to_inside: bool },
    /// It ends so.
    Ends(DropReason),
}

#[derive(Clone, Debug)]
struct Flow {
    protocol: u8,
    /// Its first packet as it came, and its answers as they come.
    first: (End, End),
    answer: (End, End),
    /// Whether packets that look like an answer belong to it: when it began, nobody else's did.
    answers_are_its: bool,
    answered: bool,
    tcp: Tcp,
    until: Time,
    /// Mappings that it uses, with the other end's address.
    uses: Vec<(usize, [u8; 4])>,
}

#[derive(Clone, Debug)]
struct Map {
    id: usize,
    protocol: u8,
    inner: End,
    outer: u16,
    remote: (Option<[u8; 4]>, Option<u16>),
}

pub(super) struct Model {
    behaviour: NatBehaviour,
    preserve: bool,
    options: ConntrackOptions,
    flows: Vec<Flow>,
    maps: Vec<Map>,
    made: usize,
    next: u16,
}

fn is_inner(address: [u8; 4]) -> bool {
    address[..3] == [192, 168, 1]
}

impl Model {
    pub(super) fn new(behaviour: NatBehaviour, preserve: bool, options: ConntrackOptions) -> Model {
        Model { behaviour, preserve, options, flows: vec![], maps: vec![], made: 0, next: PORTS.0 }
    }

    /// Flows and mappings that live.
    pub(super) fn counts(&mut self, now: Time) -> (usize, usize) {
        self.forget(now);
        (self.flows.len(), self.maps.len())
    }

    fn forget(&mut self, now: Time) {
        self.flows.retain(|flow| flow.until > now);
        let used = |map: &Map| self.flows.iter().any(|f| f.uses.iter().any(|u| u.0 == map.id));
        self.maps.retain(used);
    }

    /// What becomes of a packet.
    pub(super) fn packet(&mut self, now: Time, seen: Seen) -> Fate {
        self.forget(now);
        match seen.kind {
            Kind::Error(protocol, src, dst) => self.error(seen, (protocol, src, dst)),
            _ => self.of_flow(now, seen),
        }
    }

    fn protocol(kind: Kind) -> u8 {
        match kind {
            Kind::Udp => 17,
            Kind::Tcp(_) => 6,
            Kind::Echo(_) | Kind::Error(..) => 1,
        }
    }

    /// The flow of a packet from `src` to `dst`, and whether it goes the way of the flow's first. An echo reply is no request.
    fn find(&self, protocol: u8, (src, dst): (End, End), request: Option<bool>) -> Option<(usize, bool)> {
        for (index, flow) in self.flows.iter().enumerate() {
            if flow.protocol == protocol && flow.first == (src, dst) && request != Some(false) {
                return Some((index, true));
            }
            let its = flow.answers_are_its && request != Some(true);
            if flow.protocol == protocol && its && flow.answer == (src, dst) {
                return Some((index, false));
            }
        }
        None
    }

    /// Whether some flow calls such packets its own.
    fn knows(&self, protocol: u8, ends: (End, End), request: Option<bool>) -> bool {
        self.find(protocol, ends, request).is_some()
    }

    fn of_flow(&mut self, now: Time, seen: Seen) -> Fate {
        let protocol = Model::protocol(seen.kind);
        let request = match seen.kind {
            Kind::Echo(request) => Some(request),
            _ => None,
        };
        let Some((index, forward)) = self.find(protocol, (seen.src, seen.dst), request) else {
            return self.begins(now, seen);
        };
        let before = self.flows[index].clone();
        let mut refreshed = true;
        if let Kind::Tcp(flags) = seen.kind {
            match before.tcp.sees(forward, flags) {
                Verdict::Goes(tcp) => self.flows[index].tcp = tcp,
                Verdict::Ignored(tcp) => (self.flows[index].tcp, refreshed) = (tcp, false),
                Verdict::Invalid => return self.stray(seen),
                Verdict::Anew => {
                    self.flows.remove(index);
                    self.forget(now);
                    return self.begins(now, seen);
                }
            }
        }
        let flow = &mut self.flows[index];
        flow.answered |= !forward;
        if refreshed
            && protocol == 6
            && flow.tcp.state == "CL"
            && flow.tcp.last.1 == "rst"
            && !before.answered
        {
            // A connection that was refused leaves nothing behind.
            flow.until = now;
        } else if refreshed {
            flow.until = now + lifetime(flow, &self.options);
        }
        let flow = &self.flows[index];
        let (src, dst) = if forward { mirror(flow.answer) } else { mirror(flow.first) };
        Fate::Leaves { kind: seen.kind, src, dst, to_inside: is_inner(dst.0) }
    }

    fn error(&self, seen: Seen, (protocol, src, dst): (u8, End, End)) -> Fate {
        // It travels against what it quotes. Of echoes only requests are quoted here: the error goes as the reply.
        let request = (protocol == 1).then_some(false);
        let Some((index, forward)) = self.find(protocol, (dst, src), request) else {
            return self.stray(seen);
        };
        let flow = &self.flows[index];
        let (came, goes) = match forward {
            true => (flow.first, mirror(flow.answer)),
            false => (flow.answer, mirror(flow.first)),
        };
        let sender = if came.0.0 == goes.0.0 { seen.src.0 } else { goes.0.0 };
        let kind = Kind::Error(protocol, goes.1, goes.0);
        Fate::Leaves { kind, src: (sender, 0), dst: (goes.1.0, 0), to_inside: is_inner(goes.1.0) }
    }

    /// What belongs to nothing and begins nothing.
    fn stray(&self, seen: Seen) -> Fate {
        Fate::Ends(match (seen.dst.0 == OUTER, self.behaviour.exclusive) {
            (true, true) => DropReason::NatNoMapping,
            (true, false) => DropReason::Filtered,
            _ => DropReason::ConntrackInvalid,
        })
    }

    fn begins(&mut self, now: Time, seen: Seen) -> Fate {
        let may = match seen.kind {
            Kind::Udp => true,
            Kind::Echo(request) => request,
            Kind::Tcp(flags) => word(flags) == "syn",
            Kind::Error(..) => false,
        };
        if !may {
            return self.stray(seen);
        }
        if seen.dst.0 == OUTER {
            return self.called(now, seen);
        }
        match seen.from_inside {
            true => self.goes_out(now, seen, seen.dst, None),
            false => self.enter(now, seen, mirror((seen.src, seen.dst)), vec![]),
        }
    }

    /// A new flow to the outer address.
    fn called(&mut self, now: Time, seen: Seen) -> Fate {
        let protocol = Model::protocol(seen.kind);
        if protocol == 6 && seen.dst.1 == FORWARDED && !seen.from_inside {
            return self.enter(now, seen, (SERVER, seen.src), vec![]);
        }
        if protocol == 6 && seen.dst.1 == FORWARDED && self.behaviour.hairpin {
            return self.goes_out(now, seen, SERVER, None);
        }
        let found =
            self.maps.iter().find(|m| m.protocol == protocol && m.outer == seen.dst.1 && protocol != 1);
        let Some(map) = found.cloned() else { return self.stray(seen) };
        let wrote_to = |address| {
            self.flows.iter().any(|f| f.uses.iter().any(|(id, other)| *id == map.id && *other == address))
        };
        let admitted = match self.behaviour.filtering {
            _ if seen.from_inside => self.behaviour.hairpin,
            NatDepends::EndpointIndependent => true,
            NatDepends::AddressDependent => wrote_to(seen.src.0),
            NatDepends::AddressAndPortDependent => false,
        };
        match (admitted, seen.from_inside, self.behaviour.exclusive) {
            (false, _, true) => Fate::Ends(DropReason::NatFiltered),
            (false, _, false) => Fate::Ends(DropReason::Filtered),
            (true, true, _) => self.goes_out(now, seen, map.inner, Some(map.id)),
            (true, false, _) => self.enter(now, seen, (map.inner, seen.src), vec![(map.id, seen.src.0)]),
        }
    }

    /// A new flow of an inner host to `dst`, which it called `seen.dst`; `through` is the mapping that led there.
    fn goes_out(&mut self, now: Time, seen: Seen, dst: End, through: Option<usize>) -> Fate {
        let protocol = Model::protocol(seen.kind);
        let echo = protocol == 1;
        let remote_port = if echo { 0 } else { seen.dst.1 };
        let remote = match self.behaviour.mapping {
            NatDepends::EndpointIndependent => (None, None),
            NatDepends::AddressDependent => (Some(seen.dst.0), None),
            NatDepends::AddressAndPortDependent => (Some(seen.dst.0), Some(remote_port)),
        };
        let known =
            self.maps.iter().find(|m| m.protocol == protocol && m.inner == seen.src && m.remote == remote);
        let (id, outer) = match known {
            Some(map) => (map.id, map.outer),
            None => {
                let Some(outer) = self.port(protocol, seen.src.1, dst) else {
                    return Fate::Ends(DropReason::NatExhausted);
                };
                self.made += 1;
                self.maps.push(Map { id: self.made, protocol, inner: seen.src, outer, remote });
                (self.made, outer)
            }
        };
        let other = if echo { (dst.0, outer) } else { dst };
        let mut uses: Vec<(usize, [u8; 4])> = vec![(id, dst.0)];
        uses.extend(through.map(|through| (through, seen.src.0)));
        self.enter(now, seen, (other, (OUTER, outer)), uses)
    }

    /// A port that no mapping has and on which no flow with the other end is.
    fn port(&mut self, protocol: u8, wished: u16, dst: End) -> Option<u16> {
        let echo = protocol == 1;
        let free = |model: &Model, port: u16| {
            let other = if echo { (dst.0, port) } else { dst };
            !model.maps.iter().any(|m| m.protocol == protocol && m.outer == port)
                && !model.knows(protocol, (other, (OUTER, port)), echo.then_some(false))
        };
        if (echo || self.preserve) && free(self, wished) {
            return Some(wished);
        }
        let start = if self.preserve { wished } else { self.next };
        let count = PORTS.1 - PORTS.0 + 1;
        let start = if (PORTS.0..=PORTS.1).contains(&start) { start - PORTS.0 } else { 0 };
        let port = (0..count).map(|n| PORTS.0 + (start + n) % count).find(|port| free(self, *port))?;
        if !self.preserve {
            self.next = PORTS.0 + (port - PORTS.0 + 1) % count;
        }
        Some(port)
    }

    /// Enters a flow whose answers come so, if there is room.
    fn enter(&mut self, now: Time, seen: Seen, answer: (End, End), uses: Vec<(usize, [u8; 4])>) -> Fate {
        let protocol = Model::protocol(seen.kind);
        let begun = self.flows.iter().filter(|f| f.first.0.0 == seen.src.0).count();
        let full = self.flows.len() >= self.options.max as usize;
        if full || self.options.per_source.is_some_and(|most| begun >= most as usize) {
            self.forget(now);
            return Fate::Ends(if full { DropReason::ConntrackFull } else { DropReason::ConntrackLimit });
        }
        let reply = (protocol == 1).then_some(false);
        let mut answer = answer;
        if answer.1.0 != OUTER && protocol != 1 && self.knows(protocol, answer, reply) {
            // Its answers would be taken for another's: it leaves from another port.
            let (own, (first, count)) = (u32::from(answer.1.1), (1_024, 64_511));
            let others = (1..=count).map(|n| (first + (own % count + n) % count) as u16);
            let free = |port: &u16| !self.knows(protocol, (answer.0, (answer.1.0, *port)), reply);
            answer.1.1 = others.into_iter().find(free).unwrap_or(answer.1.1);
        }
        let itself = protocol != 1 && answer == (seen.src, seen.dst);
        let answers_are_its = !itself && !self.knows(protocol, answer, reply);
        let mut flow = Flow {
            protocol,
            first: (seen.src, seen.dst),
            answer,
            answers_are_its,
            answered: false,
            tcp: Tcp { state: "SS", ending: false, both: false, last: (true, "syn") },
            until: now,
            uses,
        };
        flow.until = now + lifetime(&flow, &self.options);
        self.flows.push(flow);
        let (src, dst) = mirror(answer);
        Fate::Leaves { kind: seen.kind, src, dst, to_inside: is_inner(dst.0) }
    }
}

fn mirror((src, dst): (End, End)) -> (End, End) {
    (dst, src)
}

fn lifetime(flow: &Flow, options: &ConntrackOptions) -> Nanos {
    match (flow.protocol, flow.tcp.state) {
        (17, _) if flow.answered => options.udp_answered,
        (17, _) => options.udp,
        (1, _) => options.icmp,
        (_, "SS" | "S2") => options.tcp_syn_sent,
        (_, "SR") => options.tcp_syn_received,
        (_, "ES") => options.tcp_established,
        (_, "FW" | "CW") => options.tcp_fin_wait,
        (_, "LA") => options.tcp_last_ack,
        (_, "TW") => options.tcp_time_wait,
        _ => options.tcp_closed,
    }
}

/// A TCP connection by the letters of Linux's table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Tcp {
    state: &'static str,
    /// A FIN has been believed.
    ending: bool,
    /// Both sides sent a SYN.
    both: bool,
    /// The last segment: which way, and what.
    last: (bool, &'static str),
}

enum Verdict {
    Goes(Tcp),
    Ignored(Tcp),
    Anew,
    Invalid,
}

const STATES: &str = "SS SR ES FW CW LA TW CL S2";
/// What becomes of a connection in each of these states: forward, then backward (`nf_conntrack_proto_tcp.c`).
const TABLE: [(&str, &str, &str); 5] = [
    ("syn", "SS IG IG IG IG IG SS SS S2", "S2 IV IV IV IV IV SS IV S2"),
    ("synack", "IV SR IV IV IV IV IV IV SR", "SR IG IG IG IG IG IG IG SR"),
    ("fin", "IV FW FW LA LA LA TW CL IV", "IV FW FW LA LA LA TW CL IV"),
    ("ack", "IV ES ES CW CW TW TW CL IV", "IG SR ES CW CW TW TW CL IG"),
    ("rst", "CL CL CL CL CL CL CL CL CL", "CL CL CL CL CL CL CL CL CL"),
];

/// What the table calls a segment.
fn word(flags: TcpFlags) -> &'static str {
    let has = |flag| flags.has(flag);
    match (has(TcpFlags::SYN), has(TcpFlags::ACK), has(TcpFlags::FIN), has(TcpFlags::RST)) {
        (true, false, false, false) => "syn",
        (true, true, false, false) => "synack",
        (false, true, true, false) => "fin",
        (false, true, false, false) => "ack",
        (false, _, false, true) => "rst",
        _ => "none",
    }
}

impl Tcp {
    fn sees(self, forward: bool, flags: TcpFlags) -> Verdict {
        let word = word(flags);
        let Some((_, there, back)) = TABLE.iter().find(|row| row.0 == word) else { return Verdict::Invalid };
        let column = STATES.split(' ').position(|state| state == self.state).expect("a state");
        let mut to = if forward { there } else { back }.split(' ').nth(column).expect("a cell");
        let last = (forward, word);
        if to == "IV" {
            return Verdict::Invalid;
        }
        if to == "SS" && matches!(self.state, "TW" | "CL") {
            let reopened = self.ending || self.last == (forward, "rst");
            return if reopened { Verdict::Anew } else { Verdict::Ignored(Tcp { last, ..self }) };
        }
        if to == "IG" {
            if word != "synack" || self.last != (!forward, "syn") {
                return Verdict::Ignored(Tcp { last, ..self });
            }
            to = "SR";
        }
        let both = self.both || to == "S2";
        if both && to == "SR" && last == (false, "ack") {
            to = "ES";
        }
        let ending = self.ending || to == "FW";
        Verdict::Goes(Tcp { state: to, ending, both, last })
    }
}
