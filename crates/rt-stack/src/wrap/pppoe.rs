//! PPP over Ethernet: discovery (RFC 2516, 5), then LCP (RFC 1661) and IPCP (RFC 1332), then IP packets with eight bytes before
//! them.
//!
//! Main type: [`Session`], one end of one session, which says what is to be sent. Packets wait while it is opened (Linux: dial
//! on demand), 64 at most. Simplified: one session per interface; both ends take each other's options as they are; nobody
//! authenticates, compresses, sends echo requests or hangs up, so a session that is open stays open.

use std::collections::VecDeque;
use std::net::Ipv4Addr;

use rt_base::{
    DropReason, EventId, Frame, MacAddr, Nanos, Outbox, Place, PortId, Time, TimerKind, Way, What,
};
use rt_wire::ethertype;

use super::ethernet_frame;
use crate::hooks::EgressProof;
use crate::nic::Nic;
use crate::output::Pending;
use crate::packet::{EMPTY_ETHERNET, Packet, v4};
use crate::stack::{NOBODY, Stack};

const PADI: u8 = 0x09;
const PADO: u8 = 0x07;
const PADR: u8 = 0x19;
const PADS: u8 = 0x65;
const SERVICE_NAME: u16 = 0x0101;
const AC_NAME: u16 = 0x0102;
const HOST_UNIQ: u16 = 0x0103;
const IP: u16 = 0x0021;
const IPCP: u16 = 0x8021;
const LCP: u16 = 0xc021;
const REQUEST: u8 = 1;
const ACK: u8 = 2;
/// What the client is called towards the concentrator.
const UNIQUE: [u8; 4] = *b"rt-1";
/// Asked again after this long (RFC 1661, 4.6: the restart timer; RFC 2516 names none).
const RETRY: Nanos = Nanos::from_secs(3);
/// Packets that wait for the session at most.
const MOST_WAITING: usize = 64;

/// How far a session is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Nobody has answered.
    Discovery,
    /// The client has asked a concentrator.
    Requested,
    /// LCP or IPCP is negotiated: what was said and heard.
    Negotiates {
        protocol: u16,
        acked: bool,
        acks: bool,
    },
    Up,
}

/// One end of a session.
#[derive(Debug)]
pub(crate) struct Session {
    server: bool,
    phase: Phase,
    id: u16,
    peer: MacAddr,
    magic: u32,
    mtu: u16,
    address: Ipv4Addr,
    waiting: VecDeque<(Packet, EgressProof)>,
    next: Option<Time>,
    armed: (EventId, Time),
}

/// Something to be sent below IP.
#[derive(Debug)]
pub(crate) struct Say {
    dst: MacAddr,
    kind: u16,
    payload: Vec<u8>,
}

impl Session {
    pub(super) fn new(server: bool, number: u32) -> Session {
        Session {
            server,
            phase: Phase::Discovery,
            id: 0,
            peer: MacAddr::BROADCAST,
            // The two ends must differ (RFC 1661, 6.4).
            magic: 0x7274_0000 | number << 1 | u32::from(server),
            mtu: 1_492,
            address: Ipv4Addr::UNSPECIFIED,
            waiting: VecDeque::new(),
            next: None,
            armed: (EventId::NONE, Time::ZERO),
        }
    }

    pub(super) fn begin(&mut self, nic: &Nic) -> Vec<Say> {
        self.mtu = nic.mtu;
        self.address = nic.addresses.iter().find_map(|net| v4(net.addr())).unwrap_or(Ipv4Addr::UNSPECIFIED);
        self.ask()
    }

    /// What is due in this phase.
    fn ask(&self) -> Vec<Say> {
        match self.phase {
            Phase::Discovery if !self.server => {
                vec![self.discovery(PADI, &[(SERVICE_NAME, b""), (HOST_UNIQ, &UNIQUE)])]
            }
            Phase::Requested => vec![self.discovery(PADR, &[(SERVICE_NAME, b""), (HOST_UNIQ, &UNIQUE)])],
            Phase::Negotiates { protocol, acked: false, .. } => {
                vec![self.ppp(protocol, REQUEST, &self.options(protocol))]
            }
            _ => Vec::new(),
        }
    }

    fn discovery(&self, code: u8, tags: &[(u16, &[u8])]) -> Say {
        let mut body = Vec::new();
        for (kind, value) in tags {
            body.extend_from_slice(&kind.to_be_bytes());
            body.extend_from_slice(&(value.len() as u16).to_be_bytes());
            body.extend_from_slice(value);
        }
        let id = if code == PADS { self.id } else { 0 };
        Say { dst: self.peer, kind: ethertype::PPPOE_DISCOVERY, payload: pppoe(code, id, &body) }
    }

    /// A packet of LCP or IPCP with these options.
    fn ppp(&self, protocol: u16, code: u8, options: &[u8]) -> Say {
        let mut body = protocol.to_be_bytes().to_vec();
        body.extend_from_slice(&[code, 1]);
        body.extend_from_slice(&(4 + options.len() as u16).to_be_bytes());
        body.extend_from_slice(options);
        Say { dst: self.peer, kind: ethertype::PPPOE_SESSION, payload: pppoe(0, self.id, &body) }
    }

    fn options(&self, protocol: u16) -> Vec<u8> {
        let mut options = Vec::new();
        if protocol == LCP {
            options.extend_from_slice(&[1, 4]);
            options.extend_from_slice(&self.mtu.to_be_bytes());
            options.extend_from_slice(&[5, 6]);
            options.extend_from_slice(&self.magic.to_be_bytes());
        } else {
            options.extend_from_slice(&[3, 6]);
            options.extend_from_slice(&self.address.octets());
        }
        options
    }

    /// A discovery packet came.
    fn hear_discovery(&mut self, from: MacAddr, code: u8, id: u16, body: &[u8]) -> Vec<Say> {
        match (code, self.server, self.phase) {
            (PADI, true, _) => {
                self.peer = from;
                let unique = tag(body, HOST_UNIQ).unwrap_or_default();
                vec![
                    self.discovery(
                        PADO,
                        &[(AC_NAME, b"roundtrip"), (SERVICE_NAME, b""), (HOST_UNIQ, unique)],
                    ),
                ]
            }
            (PADO, false, Phase::Discovery) => {
                (self.peer, self.phase) = (from, Phase::Requested);
                self.ask()
            }
            (PADR, true, _) => {
                self.peer = from;
                self.id = self.id.checked_add(1).unwrap_or(1);
                let unique = tag(body, HOST_UNIQ).unwrap_or_default();
                let answer = self.discovery(PADS, &[(SERVICE_NAME, b""), (HOST_UNIQ, unique)]);
                self.negotiate(LCP, vec![answer])
            }
            (PADS, false, Phase::Requested) if from == self.peer && id != 0 => {
                self.id = id;
                self.negotiate(LCP, Vec::new())
            }
            _ => Vec::new(),
        }
    }

    fn negotiate(&mut self, protocol: u16, mut say: Vec<Say>) -> Vec<Say> {
        self.phase = Phase::Negotiates { protocol, acked: false, acks: false };
        say.extend(self.ask());
        say
    }

    /// A packet of LCP or IPCP came.
    fn hear_ppp(&mut self, protocol: u16, body: &[u8]) -> Vec<Say> {
        let [code, identifier, a, b, rest @ ..] = body else { return Vec::new() };
        let len = usize::from(u16::from_be_bytes([*a, *b])).saturating_sub(4);
        let options = &rest[..len.min(rest.len())];
        let mut say = Vec::new();
        if *code == REQUEST {
            let mut ack = self.ppp(protocol, ACK, options);
            // Behind PPPoE's six bytes, the protocol's two and the code.
            ack.payload[9] = *identifier;
            say.push(ack);
        }
        let Phase::Negotiates { protocol: wanted, acked, acks } = self.phase else { return say };
        if wanted != protocol {
            // What belongs to a phase that has not begun is thrown away (RFC 1661, 3.5).
            return Vec::new();
        }
        let (acked, acks) = (acked || *code == ACK, acks || *code == REQUEST);
        self.phase = match (acked && acks, protocol) {
            (true, LCP) => return self.negotiate(IPCP, say),
            (true, _) => Phase::Up,
            (false, _) => Phase::Negotiates { protocol, acked, acks },
        };
        say
    }
}

/// RFC 2516, 4: version and type 1, code, session, length.
fn pppoe(code: u8, id: u16, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x11, code];
    bytes.extend_from_slice(&id.to_be_bytes());
    bytes.extend_from_slice(&(body.len() as u16).to_be_bytes());
    bytes.extend_from_slice(body);
    bytes
}

/// The value of a tag.
fn tag(mut body: &[u8], wanted: u16) -> Option<&[u8]> {
    while let [a, b, c, d, rest @ ..] = body {
        let (kind, len) = (u16::from_be_bytes([*a, *b]), usize::from(u16::from_be_bytes([*c, *d])));
        let (value, after) = rest.split_at_checked(len)?;
        if kind == wanted {
            return Some(value);
        }
        body = after;
    }
    None
}

impl Stack {
    pub(super) fn session_ports(&self) -> Vec<PortId> {
        self.virtuals.as_ref().map(|v| v.sessions.keys().copied().collect()).unwrap_or_default()
    }

    fn below(&self, port: PortId) -> Option<PortId> {
        match self.nics.get(port.index())?.kind {
            rt_base::InterfaceKind::Pppoe { parent, .. } => Some(parent),
            _ => None,
        }
    }

    /// Lets a session act; what it says is sent and asked again after a while.
    pub(super) fn drive_session(&mut self, port: PortId, act: impl FnOnce(&mut Session, &Nic) -> Vec<Say>) {
        let Some(parent) = self.below(port) else { return };
        let (cx, Some(virtuals)) = (self.cx, &mut self.virtuals) else { return };
        let Some(session) = virtuals.sessions.get_mut(&port) else { return };
        let said = act(session, &self.nics[port.index()]);
        let quiet = session.phase == Phase::Up || (session.server && session.phase == Phase::Discovery);
        session.next = (!quiet).then(|| cx.now + RETRY);
        session.armed = (cx.cause, cx.now);
        for Say { dst, kind, payload } in said {
            self.pending.push_back(Pending::Below { port: parent, dst, kind, payload });
        }
    }

    /// Sends what a session says.
    pub(crate) fn send_below(
        &mut self,
        port: PortId,
        dst: MacAddr,
        (kind, payload): (u16, Vec<u8>),
        out: &mut Outbox,
    ) {
        let Some(nic) = self.nics.get(port.index()) else { return };
        let frame = ethernet_frame((dst, nic.mac), kind, &payload, rt_base::FrameId::NONE, out);
        self.send_frame(port, frame, out);
    }

    /// When the next session wants to ask again.
    pub(crate) fn session_deadline(&self) -> Time {
        let sessions = self.virtuals.as_ref().map(|v| v.sessions.values());
        sessions.into_iter().flatten().filter_map(|s| s.next).min().unwrap_or(Time::MAX)
    }

    /// Asks again for a session whose time has come.
    pub(crate) fn fire_session(&mut self, now: Time, out: &mut Outbox) -> bool {
        let Some(virtuals) = &self.virtuals else { return false };
        let due = virtuals.sessions.iter().find(|(_, s)| s.next.is_some_and(|at| at <= now));
        let Some((port, armed)) = due.map(|(port, session)| (*port, session.armed)) else { return false };
        out.timer_fired(TimerKind::Session, NOBODY, armed.0, armed.1);
        self.begin(out);
        self.drive_session(port, |session, _| session.ask());
        true
    }

    /// A frame of PPPoE that this interface accepts.
    pub(super) fn receive_pppoe(
        &mut self,
        now: Time,
        port: PortId,
        kind: u16,
        frame: Frame,
        out: &mut Outbox,
    ) {
        let fits =
            |nic: &Nic| matches!(nic.kind, rt_base::InterfaceKind::Pppoe { parent, .. } if parent == port);
        let Some(ppp) = self.virtual_port(fits) else {
            return out.drop_frame(frame, DropReason::NoTunnel, Place::Ingress, port, None);
        };
        let read = read(&frame.bytes);
        let Some((from, code, id, body)) = read else {
            return out.drop_frame(frame, DropReason::Malformed, Place::Ingress, port, None);
        };
        if kind == ethertype::PPPOE_DISCOVERY {
            self.drive_session(ppp, |session, _| session.hear_discovery(from, code, id, body));
            return out.recycle(frame.bytes);
        }
        let session = self.virtuals.as_ref().and_then(|v| v.sessions.get(&ppp));
        let (true, [a, b, body @ ..]) =
            (session.is_some_and(|s| s.id == id && s.peer == from && id != 0), body)
        else {
            return out.drop_frame(frame, DropReason::InterfaceDown, Place::Ingress, ppp, None);
        };
        let up = session.is_some_and(|s| s.phase == Phase::Up);
        match u16::from_be_bytes([*a, *b]) {
            IP if up => {
                let mut bytes = out.buffer(EMPTY_ETHERNET.len() + body.len());
                bytes.extend_from_slice(&EMPTY_ETHERNET);
                bytes.extend_from_slice(body);
                let inner = Frame { id: frame.id, parent: frame.parent, bytes };
                let event = out.record(inner.id, || What::Unwrapped { port: ppp, overhead: 8 });
                out.show_inside(ppp, Way::In, &inner, event);
                out.recycle(frame.bytes);
                self.receive_ip(now, ppp, inner, false, out);
            }
            protocol @ (LCP | IPCP) => {
                self.drive_session(ppp, |session, _| session.hear_ppp(protocol, body));
                out.recycle(frame.bytes);
                self.release_waiting(ppp, out);
            }
            _ => out.drop_frame(frame, DropReason::InterfaceDown, Place::Ingress, ppp, None),
        }
    }

    fn release_waiting(&mut self, port: PortId, out: &mut Outbox) {
        let session = self.virtuals.as_mut().and_then(|v| v.sessions.get_mut(&port));
        let Some(session) = session.filter(|s| s.phase == Phase::Up) else { return };
        for (packet, proof) in core::mem::take(&mut session.waiting) {
            self.enter_session(port, packet, proof, out);
        }
    }

    /// A packet that leaves by a session.
    pub(super) fn enter_session(
        &mut self,
        port: PortId,
        packet: Packet,
        proof: EgressProof,
        out: &mut Outbox,
    ) {
        let parent = self.below(port).unwrap_or_default();
        let (mac, mtu) = (self.nics[port.index()].mac, self.nics[port.index()].mtu);
        let session = self.virtuals.as_mut().and_then(|v| v.sessions.get_mut(&port));
        let Some(session) = session else {
            return out.drop_frame(packet.frame, DropReason::InterfaceDown, Place::Link, port, None);
        };
        if session.phase != Phase::Up {
            if session.waiting.len() < MOST_WAITING {
                return session.waiting.push_back((packet, proof));
            }
            return out.drop_frame(packet.frame, DropReason::InterfaceDown, Place::Link, port, None);
        }
        let len = packet.ip.total_len;
        let mut body = IP.to_be_bytes().to_vec();
        body.extend_from_slice(packet.datagram());
        let payload = pppoe(0, session.id, &body);
        let macs = (session.peer, mac);
        let frame = ethernet_frame(macs, ethertype::PPPOE_SESSION, &payload, packet.frame.id, out);
        let frame = Frame { parent: packet.frame.parent, ..frame };
        let event = out.record(frame.id, || What::Wrapped { port, overhead: 8, len, mtu });
        out.show_inside(port, Way::Out, &packet.frame, event);
        out.recycle(packet.frame.bytes);
        self.send_frame(parent, frame, out);
    }
}

/// Sender, code, session and body of a PPPoE frame; padding behind is cut off.
fn read(frame: &[u8]) -> Option<(MacAddr, u8, u16, &[u8])> {
    let from = MacAddr(*frame.get(6..12)?.first_chunk()?);
    let [0x11, code, a, b, c, d, rest @ ..] = frame.get(14..)? else { return None };
    let body = rest.get(..usize::from(u16::from_be_bytes([*c, *d])))?;
    Some((from, *code, u16::from_be_bytes([*a, *b]), body))
}
