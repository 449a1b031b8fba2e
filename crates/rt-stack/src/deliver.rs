//! What stays on this machine: the transports of a packet that came for it, as leaves that say which socket took it or why
//! nobody did.

use std::net::{IpAddr, SocketAddr};

use rt_base::{ConnId, DropReason, FrameId, Outbox, Place, Time, What};
use rt_wire::{Icmpv4, Ipv4Header, TcpFlags, TcpHeader, UdpHeader, checksum};

use crate::api::EchoAnswer;
use crate::icmp::{self, Complaint};
use crate::packet::{Packet, protocol};
use crate::probes;
use crate::socket::SocketId;
use crate::stack::{NOBODY, Stack, Stop};
use crate::tcp::{Blackhole, Ecn, Ignored, Outcome};
use crate::wrap;

pub(crate) type Delivered = Result<ConnId, Stop>;

impl Stack {
    /// The last thing hooks do to a packet that stays: its flow is entered.
    pub(crate) fn admit(&mut self, now: Time, packet: &mut Packet, out: &mut Outbox) -> Result<(), Stop> {
        let Some(hooks) = &mut self.hooks else { return Ok(()) };
        match hooks.deliver(now, packet) {
            Ok(opened) => {
                if let Some(src) = opened {
                    let protocol = packet.ip.protocol;
                    out.record(packet.frame.id, || What::ConntrackNew { protocol, src });
                }
                Ok(())
            }
            Err(refused) => Err(Stop::new(refused.reason, Place::Nat).by(refused.rule)),
        }
    }

    /// To the transport.
    pub(crate) fn deliver_transport(&mut self, packet: &Packet, out: &mut Outbox) -> Delivered {
        match packet.ip.protocol {
            protocol::UDP => self.deliver_udp(packet, out),
            protocol::TCP => self.deliver_tcp(packet, out),
            protocol::ICMP => self.deliver_icmp(packet, out),
            wrap::GRE | wrap::IPIP if self.virtuals.is_some() => self.unwrap_ip(packet, out),
            _ => Err(stop(DropReason::UnknownProtocol).complaining(Complaint::Protocol)),
        }
    }

    fn deliver_udp(&mut self, packet: &Packet, out: &mut Outbox) -> Delivered {
        let (udp, payload) = UdpHeader::parse(packet.payload()).map_err(|_| stop(DropReason::Malformed))?;
        check(packet, &packet.payload()[..usize::from(udp.len)])?;
        let Some(id) = self.sockets.find_udp(packet.dst(), udp.dst, packet.in_port) else {
            if let Some(taken) = self.unwrap_vxlan(packet, udp.dst, payload, out) {
                return taken;
            }
            if self.probe_datagram(SocketAddr::new(packet.src(), udp.src), udp.dst) {
                return Ok(NOBODY);
            }
            return Err(stop(DropReason::NoSocket).complaining(Complaint::Port));
        };
        let from = SocketAddr::new(packet.src(), udp.src);
        if self.sockets.udp_mut(id).is_some_and(|socket| socket.push(payload, from, packet.frame.id)) {
            self.sockets.wake(id);
            Ok(id.conn())
        } else {
            Err(stop(DropReason::SocketBufferFull))
        }
    }

    fn deliver_icmp(&mut self, packet: &Packet, out: &mut Outbox) -> Delivered {
        let (message, rest) = Icmpv4::parse(packet.payload()).map_err(|error| {
            stop(if error.is_checksum() { DropReason::BadChecksum } else { DropReason::Malformed })
        })?;
        match message {
            // RFC 1122 3.2.2.6 lets a host keep silent when everybody is asked.
            Icmpv4::EchoRequest { .. } if self.passed_unseen.is_some() => {
                Err(stop(DropReason::AnswersNobody))
            }
            Icmpv4::EchoRequest { id, seq } => {
                if !packet.from_group && !packet.ip.dst.is_broadcast() {
                    self.answer_echo(packet, id, seq, out);
                }
                Ok(NOBODY)
            }
            Icmpv4::EchoReply { id, seq } => {
                if self.probe_echo(packet.src(), id, seq) {
                    return Ok(NOBODY);
                }
                let (from, ttl, payload) = (packet.src(), packet.ip.ttl, rest.to_vec());
                self.push_echo(EchoAnswer { from, id, seq, ttl, payload, error: None });
                Ok(NOBODY)
            }
            Icmpv4::Unreachable { .. } | Icmpv4::TimeExceeded { .. } => {
                self.deliver_error(packet, &message, rest)
            }
            Icmpv4::Other { .. } => Ok(NOBODY),
        }
    }

    /// An ICMP error: to the socket whose packet it quotes. Believed only when it quotes something that this machine
    /// sends (RFC 5927; TCP checks the sequence number too).
    fn deliver_error(&mut self, packet: &Packet, message: &Icmpv4, rest: &[u8]) -> Delivered {
        let (quoted, payload) = Ipv4Header::parse_unchecked(rest).map_err(|_| stop(DropReason::Malformed))?;
        let (Some(error), [a, b, c, d, tail @ ..]) = (icmp::meaning(message), payload) else {
            return Ok(NOBODY);
        };
        if let Some((error, mtu)) = probes::meaning(message)
            && self.probe_error(quoted.protocol, payload, (packet.src(), error, mtu))
        {
            return Ok(NOBODY);
        }
        let local = SocketAddr::new(quoted.src.into(), u16::from_be_bytes([*a, *b]));
        let remote = SocketAddr::new(quoted.dst.into(), u16::from_be_bytes([*c, *d]));
        if let (Icmpv4::Unreachable { code: 4, mtu }, wrap::GRE | wrap::IPIP | protocol::UDP) =
            (message, quoted.protocol)
            && self.is_tunnel((quoted.src, quoted.dst))
        {
            // What is too long from now on is answered on this side (RFC 2003, 5).
            self.learn_path_mtu(quoted.dst.into(), *mtu, &quoted);
            return Ok(NOBODY);
        }
        let seq = tail.first_chunk().map(|b| u32::from_be_bytes(*b));
        let id = match quoted.protocol {
            protocol::TCP => self.sockets.find_tcp(local, remote),
            protocol::UDP => self.sockets.find_udp(local.ip(), local.port(), packet.in_port),
            protocol::ICMP if *a == 8 => {
                let [id, seq] = seq.map_or([0; 2], |both| [(both >> 16) as u16, both as u16]);
                self.push_echo(EchoAnswer::failed(packet.src(), id, seq, error));
                return Ok(NOBODY);
            }
            _ => None,
        };
        let Some(id) = id else { return Ok(NOBODY) };
        let too_big = match *message {
            Icmpv4::Unreachable { code: 4, mtu } => Some(self.learn_path_mtu(remote.ip(), mtu, &quoted)),
            _ => None,
        };
        // A UDP socket that was told of a smaller MTU just sends fragments from now on.
        if too_big.is_none() || quoted.protocol == protocol::TCP {
            self.socket_error(id, error, too_big, seq);
        }
        Ok(id.conn())
    }

    /// The MTU on the way to `dst`. Routers from before RFC 1191 send 0: then a step down from what was sent.
    fn learn_path_mtu(&mut self, dst: IpAddr, mtu: u16, quoted: &Ipv4Header) -> u16 {
        let mtu = if mtu == 0 { plateau_below(quoted.total_len) } else { mtu };
        self.path_mtu.get_or_insert_default().learn(self.cx.now, dst, mtu)
    }

    fn deliver_tcp(&mut self, packet: &Packet, out: &mut Outbox) -> Delivered {
        let (header, payload) =
            TcpHeader::parse(packet.payload()).map_err(|_| stop(DropReason::Malformed))?;
        check(packet, packet.payload())?;
        if self.tcp.drop_synfin && header.flags.has(TcpFlags::SYN | TcpFlags::FIN) {
            return Err(stop(DropReason::TcpUnacceptable));
        }
        let local = SocketAddr::new(packet.dst(), header.dst);
        let remote = SocketAddr::new(packet.src(), header.src);
        let Some(id) = self.sockets.find_tcp(local, remote) else {
            return self.deliver_tcp_new(packet, &header, payload, out);
        };
        let cx = self.cx;
        let Some(socket) = self.sockets.tcp_ref(id) else { return Err(stop(DropReason::NoSocket)) };
        if let Some(listener) = socket.listener
            && let Some(reason) = self.refuse_last_ack(id, listener, (&header, payload))
        {
            return Err(stop(reason));
        }
        let Some(socket) = self.sockets.touch_mut(id) else { return Err(stop(DropReason::NoSocket)) };
        let outcome = socket.connection.on_segment(cx, &header, payload, Ecn::from_byte(packet.ip.dscp_ecn));
        match outcome {
            Outcome::Reopen => {
                socket.connection.record_taken_over(cx);
                self.settle(id, FrameId::NONE, out);
                self.sockets.remove(id);
                self.sockets.wake(id);
                return self.deliver_tcp_new(packet, &header, payload, out);
            }
            // A probe of a peer that wants a sign of life: it was taken, and is answered.
            Outcome::Dropped(Ignored::Duplicate) if payload.is_empty() => {}
            Outcome::Dropped(_) => return Err(stop(DropReason::TcpUnacceptable)),
            Outcome::EnterEstablished => {
                if let Some(lesson) = socket.connection.take_lesson() {
                    self.fast_open_memory().learn(remote.ip(), &lesson);
                }
            }
            _ => {}
        }
        Ok(id.conn())
    }

    /// A segment that belongs to no connection: a listener's, or nobody's.
    fn deliver_tcp_new(
        &mut self,
        packet: &Packet,
        header: &TcpHeader,
        payload: &[u8],
        out: &mut Outbox,
    ) -> Delivered {
        self.probe_segment(packet.src(), header);
        let silent = match self.tcp.blackhole {
            Blackhole::Off => false,
            Blackhole::Syn => header.flags.has(TcpFlags::SYN),
            Blackhole::All => true,
        };
        let nobody = Err(Stop { reset: !silent, ..stop(DropReason::NoSocket) });
        let group = packet.from_group || packet.ip.dst.is_broadcast();
        let Some((listener, _)) = self.sockets.find_listener(header.dst).filter(|_| !group) else {
            return nobody;
        };
        self.deliver_to_listener(packet, (header, payload), listener, out)
    }

    /// Notes that a socket was opened, for the story.
    pub(crate) fn note_open(
        &mut self,
        id: SocketId,
        protocol: u8,
        active: bool,
        local: SocketAddr,
        remote: SocketAddr,
    ) {
        if self.cx.recording {
            self.records.push(What::ConnOpen { conn: id.conn(), protocol, active, local, remote });
        }
    }
}

pub(crate) fn stop(reason: DropReason) -> Stop {
    Stop::new(reason, Place::Socket)
}

fn check(packet: &Packet, segment: &[u8]) -> Result<(), Stop> {
    if checksum::transport_holds(packet.src(), packet.dst(), packet.ip.protocol, segment) {
        Ok(())
    } else {
        Err(stop(DropReason::BadChecksum))
    }
}

/// RFC 1191, 7.1: the next plateau below a datagram that was too long.
fn plateau_below(len: u16) -> u16 {
    const PLATEAUS: [u16; 9] = [32_000, 17_914, 8_166, 4_352, 2_002, 1_492, 1_006, 508, 296];
    PLATEAUS.into_iter().find(|plateau| *plateau < len).unwrap_or(68)
}
