//! Packets that ask the network and not a program: what `traceroute`, `tracepath` and `mtr` send. One packet with a TTL, a
//! size and perhaps DF of one's own, and whatever comes back about it: an ICMP error with its author, an echo, or what a
//! closed or open port answers.
//!
//! Not for: connections and datagrams of programs (`api`). On a real system these are raw sockets; here too nothing about
//! them changes a socket, and a SYN-ACK that a probe provoked gets the RST that the rules ask for.
//! Probes with DF ignore what was learnt about the path's MTU: finding that out is what they are for.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use rt_base::{FrameId, Outbox};
use rt_wire::{Icmpv4, Ipv4Header, Seq, TcpFlags, TcpHeader, TcpOptions, UdpHeader, unreachable_code};

use crate::error::SocketError;
use crate::icmp::{self, Complaint};
use crate::ip::destination::Place as Where;
use crate::output::Pending;
use crate::packet::{Packet, begin, protocol, v4};
use crate::socket::SocketId;
use crate::stack::{Stack, Stop};

/// What kind of packet asks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum ProbeKind {
    /// An ICMP echo request.
    Icmp,
    /// A UDP datagram, most often to a port where nobody listens.
    Udp,
    /// A TCP SYN.
    Tcp,
}

impl ProbeKind {
    fn protocol(self) -> u8 {
        match self {
            ProbeKind::Icmp => protocol::ICMP,
            ProbeKind::Udp => protocol::UDP,
            ProbeKind::Tcp => protocol::TCP,
        }
    }
}

/// One packet to send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Probe {
    /// Its kind.
    pub kind: ProbeKind,
    /// Our port or ICMP identifier, from [`Stack::probe_open`].
    pub own: u16,
    /// To whom; the port means nothing to ICMP.
    pub to: SocketAddr,
    /// What tells probes apart: ICMP's sequence number, the low half of TCP's. UDP is told apart by `to`'s port.
    pub mark: u16,
    /// TTL.
    pub ttl: u8,
    /// Do not fragment.
    pub df: bool,
    /// Length of the IP packet in bytes; taken for longer when the headers alone are. A SYN is always as short as can
    /// be: data in it would be acknowledged or not, and the mark with it.
    pub len: u16,
}

/// What came back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProbeAnswer {
    /// The kind of the probe.
    pub kind: ProbeKind,
    /// Our port or ICMP identifier.
    pub own: u16,
    /// Who says it: a router, the target, or this machine itself.
    pub from: IpAddr,
    /// The port that was probed (0 for ICMP).
    pub port: u16,
    /// The mark of the probe; 0 when the answer does not tell.
    pub mark: u16,
    /// What it says.
    pub verdict: ProbeVerdict,
}

/// What an answer says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProbeVerdict {
    /// The target answered the echo, or a program answered the datagram, or a SYN-ACK came.
    Answered,
    /// The target has nobody on this port (ICMP port unreachable, or RST).
    Closed,
    /// Too long for the next link, which carries so many bytes (RFC 1191; 0 when the router does not say).
    TooBig {
        /// Bytes of an IP packet.
        mtu: u16,
    },
    /// Any other error on the way.
    Failed(SocketError),
}

/// Who waits for answers, and which there are.
#[derive(Debug, Default)]
pub(crate) struct Probes {
    open: BTreeSet<(ProbeKind, u16)>,
    answers: Vec<ProbeAnswer>,
}

/// Answers that nobody has fetched yet, at most.
const MOST_ANSWERS: usize = 1_024;

impl Stack {
    /// Reserves a port (an identifier for ICMP) for probes. Answers wake [`SocketId::ECHO`].
    ///
    /// # Errors
    /// `NoPorts`.
    pub fn probe_open(&mut self, kind: ProbeKind) -> Result<u16, SocketError> {
        let (sockets, taken) = (&self.sockets, &self.probes);
        let free = |port| {
            let fresh = taken.as_ref().is_none_or(|probes| !probes.open.contains(&(kind, port)));
            fresh && sockets.udp_port_is_free(port) && !sockets.has_tcp_port(port)
        };
        let own = self.ports.choose(free).ok_or(SocketError::NoPorts)?;
        self.probes.get_or_insert_default().open.insert((kind, own));
        Ok(own)
    }

    /// No more answers are wanted.
    pub fn probe_close(&mut self, kind: ProbeKind, own: u16) {
        if let Some(probes) = &mut self.probes {
            probes.open.remove(&(kind, own));
            probes.answers.retain(|answer| (answer.kind, answer.own) != (kind, own));
        }
    }

    /// Sends one.
    ///
    /// # Errors
    /// As [`Stack::udp_send_to`].
    pub fn probe_send(&mut self, probe: Probe) -> Result<(), SocketError> {
        v4(probe.to.ip()).ok_or(SocketError::AddressFamily)?;
        let source = self.datagram_source(probe.to.ip(), None)?;
        self.pending.push_back(Pending::Probe { source, probe });
        Ok(())
    }

    /// The next answer for this port.
    pub fn probe_answer(&mut self, kind: ProbeKind, own: u16) -> Option<ProbeAnswer> {
        let answers = &mut self.probes.as_mut()?.answers;
        let at = answers.iter().position(|answer| (answer.kind, answer.own) == (kind, own))?;
        Some(answers.remove(at))
    }

    /// Bytes that the first link towards `to` carries.
    pub fn link_mtu(&mut self, to: IpAddr) -> Option<u16> {
        match self.destinations.lookup(to, &self.nics) {
            Where::Beyond(hop) => Some(hop.mtu),
            Where::Here => Some(u16::MAX),
            _ => None,
        }
    }

    /// The packet of a probe.
    pub(crate) fn probe_packet(&mut self, source: IpAddr, probe: Probe, out: &mut Outbox) -> Option<Packet> {
        let (src, dst) = (v4(source)?, v4(probe.to.ip())?);
        let least = match probe.kind {
            ProbeKind::Icmp => Icmpv4::LEN,
            ProbeKind::Udp => UdpHeader::LEN,
            ProbeKind::Tcp => 20,
        };
        let wanted = if probe.kind == ProbeKind::Tcp { 0 } else { usize::from(probe.len) };
        let len = wanted.saturating_sub(Ipv4Header::LEN).max(least);
        let mut ip = self.header(src, dst, probe.kind.protocol(), len);
        (ip.ttl, ip.df) = (probe.ttl, probe.df);
        let mut bytes = begin(&ip, out);
        let padding = vec![0; len - least];
        match probe.kind {
            ProbeKind::Icmp => {
                Icmpv4::EchoRequest { id: probe.own, seq: probe.mark }.emit(&padding, &mut bytes)
            }
            ProbeKind::Udp => {
                UdpHeader { src: probe.own, dst: probe.to.port(), len: len as u16, checksum: 0 }
                    .emit(&mut bytes);
                bytes.extend_from_slice(&padding);
            }
            ProbeKind::Tcp => {
                let seq = Seq(u32::from(probe.mark));
                let ends = (probe.own, probe.to.port());
                syn(ends, seq).emit(&mut bytes);
            }
        }
        Some(Packet::own(bytes, ip, FrameId::NONE, out))
    }

    /// An ICMP error about a packet whose transport header begins with these bytes: was it a probe of ours?
    pub(crate) fn probe_error(
        &mut self,
        protocol: u8,
        quoted: &[u8],
        (from, error, mtu): (IpAddr, SocketError, u16),
    ) -> bool {
        let Some((kind, own, port, mark)) = self.probe_of(protocol, quoted) else { return false };
        let verdict = match error {
            SocketError::MessageTooLong => ProbeVerdict::TooBig { mtu },
            SocketError::Refused => ProbeVerdict::Closed,
            other => ProbeVerdict::Failed(other),
        };
        self.push_probe_answer(ProbeAnswer { kind, own, from, port, mark, verdict })
    }

    /// The same for a packet that did not even leave.
    pub(crate) fn probe_stopped(&mut self, packet: &Packet, stop: &Stop, error: SocketError) -> bool {
        let mtu = match stop.complaint {
            Some(Complaint::TooBig { mtu }) => mtu,
            _ => 0,
        };
        self.probe_error(packet.ip.protocol, packet.payload(), (packet.src(), error, mtu))
    }

    fn probe_of(&self, protocol: u8, quoted: &[u8]) -> Option<(ProbeKind, u16, u16, u16)> {
        let open = &self.probes.as_ref()?.open;
        let [a, b, c, d, e, f, g, h, ..] = *quoted else { return None };
        let (kind, own, port, mark) = match protocol {
            protocol::ICMP if a == 8 => (ProbeKind::Icmp, [e, f], [0, 0], [g, h]),
            protocol::UDP => (ProbeKind::Udp, [a, b], [c, d], [0, 0]),
            protocol::TCP => (ProbeKind::Tcp, [a, b], [c, d], [g, h]),
            _ => return None,
        };
        let own = u16::from_be_bytes(own);
        open.contains(&(kind, own)).then(|| (kind, own, u16::from_be_bytes(port), u16::from_be_bytes(mark)))
    }

    /// An echo reply came.
    pub(crate) fn probe_echo(&mut self, from: IpAddr, own: u16, mark: u16) -> bool {
        let verdict = ProbeVerdict::Answered;
        self.push_probe_answer(ProbeAnswer { kind: ProbeKind::Icmp, own, from, port: 0, mark, verdict })
    }

    /// A datagram came for a port where no socket is.
    pub(crate) fn probe_datagram(&mut self, from: SocketAddr, own: u16) -> bool {
        let (kind, verdict) = (ProbeKind::Udp, ProbeVerdict::Answered);
        let answer = ProbeAnswer { kind, own, from: from.ip(), port: from.port(), mark: 0, verdict };
        self.push_probe_answer(answer)
    }

    /// A segment came for no connection: the answer to a SYN of ours? It is still answered as the rules say.
    pub(crate) fn probe_segment(&mut self, from: IpAddr, header: &TcpHeader) {
        if self.probes.is_none() || !header.flags.has(TcpFlags::ACK) {
            return;
        }
        let reset = header.flags.has(TcpFlags::RST);
        let verdict = if reset { ProbeVerdict::Closed } else { ProbeVerdict::Answered };
        let mark = (header.ack.0.wrapping_sub(1) & 0xffff) as u16;
        let (kind, own, port) = (ProbeKind::Tcp, header.dst, header.src);
        self.push_probe_answer(ProbeAnswer { kind, own, from, port, mark, verdict });
    }

    fn push_probe_answer(&mut self, answer: ProbeAnswer) -> bool {
        let Some(probes) = &mut self.probes else { return false };
        if !probes.open.contains(&(answer.kind, answer.own)) {
            return false;
        }
        if probes.answers.len() < MOST_ANSWERS {
            probes.answers.push(answer);
        }
        self.sockets.wake(SocketId::ECHO);
        true
    }
}

/// A SYN that offers nothing.
fn syn((src, dst): (u16, u16), seq: Seq) -> TcpHeader {
    let flags = TcpFlags::SYN;
    TcpHeader { src, dst, seq, ack: Seq(0), flags, window: 5_840, urgent: 0, options: TcpOptions::default() }
}

/// What an ICMP message means to a probe, and the MTU that it tells.
pub(crate) fn meaning(message: &Icmpv4) -> Option<(SocketError, u16)> {
    let mtu = match *message {
        Icmpv4::Unreachable { code: unreachable_code::FRAGMENTATION_NEEDED, mtu } => mtu,
        _ => 0,
    };
    Some((icmp::meaning(message)?, mtu))
}
