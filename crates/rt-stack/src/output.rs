//! How this machine's own packets come about: answers, datagrams, TCP segments, ARP questions, ICMP errors; and who is
//! told when one of them fails.
//!
//! Identification (RFC 6864): one counter for each machine; segments and answers that cannot be fragmented and belong to
//! no connection have 0, as on Linux. TCP sets DF, UDP and ICMP do not.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use rt_base::{ConnId, DropReason, Frame, FrameId, ListenerStep, Outbox, PortId, TcpPhase, Time, What};
use rt_rules::LOCAL_OUT;
use rt_wire::{ArpPacket, Icmpv4, Ipv4Header, MacAddr, Seq, TcpHeader, UdpHeader, checksum};

use crate::SocketError;
use crate::api::EchoAnswer;
use crate::hooks::EgressProof;
use crate::hooks::conntrack::Track;
use crate::icmp::{self, Complaint, quote};
use crate::ip::destination::{Hop, Place as Where};
use crate::neighbor;
use crate::nic::{self, Nic};
use crate::packet::{LOOPBACK, Packet, begin, protocol, v4};
use crate::probes::Probe;
use crate::socket::{Socket, SocketId};
use crate::stack::{Stack, Stop};
use crate::tcp::{Family, IcmpError, MtuDiscovery, TcpError, reset_for};
use crate::wrap::{CameBy, Carried};

/// Something that waits for `send`.
#[derive(Debug)]
pub(crate) enum Pending {
    /// An answer, built.
    Packet(Box<Packet>),
    /// A datagram of a UDP socket.
    Datagram {
        socket: SocketId,
        device: Option<PortId>,
        src: SocketAddr,
        dst: SocketAddr,
        payload: Vec<u8>,
        /// The packet that travels inside, whose frame's id it bears then.
        carries: Option<Carried>,
    },
    /// An ICMP echo request.
    Echo { src: Ipv4Addr, dst: Ipv4Addr, id: u16, seq: u16, payload: Vec<u8> },
    /// A packet that a program built.
    Raw { ip: Ipv4Header, payload: Vec<u8> },
    /// A packet that asks the network.
    Probe { source: IpAddr, probe: Probe },
    /// A frame of a protocol below IP: its EtherType and what follows.
    Below { port: PortId, dst: MacAddr, kind: u16, payload: Vec<u8> },
    /// An IP packet from the program behind a tun interface, behind room for Ethernet.
    FromTun { port: PortId, bytes: Vec<u8>, by: CameBy },
    /// What a program did to a packet that it has.
    Tell { frame: FrameId, what: Vec<What> },
    /// An ARP packet to everybody.
    Arp { port: PortId, packet: ArpPacket },
}

/// DSCP of ICMP errors: internetwork control (RFC 1812, 4.3.2.5).
const CONTROL: u8 = 0xc0;

/// What connection tracking is to think of this machine's word about a packet (Linux's `nf_ct_attach`).
fn related(packet: &Packet) -> Track {
    match packet.track {
        Track::Known { .. } | Track::New(_) => Track::Related,
        _ => Track::Untracked,
    }
}

impl Stack {
    /// Sends what waited.
    pub(crate) fn send_pending(&mut self, now: Time, pending: Pending, out: &mut Outbox) {
        let packet = match pending {
            Pending::Arp { port, packet } => {
                return self.transmit_arp(&packet, MacAddr::BROADCAST, port, out);
            }
            Pending::Packet(packet) => *packet,
            Pending::Datagram { socket, device, src, dst, payload, carries } => {
                let Some(mut packet) = self.datagram(src, dst, &payload, out) else { return };
                (packet.socket, packet.device) = (socket.conn(), device);
                if let Some(carried) = carries {
                    packet.frame.id = carried.frame;
                    let around = packet.ip.total_len.saturating_sub(carried.len);
                    out.record(carried.frame, || self.wrapped_by_program(carried, around));
                }
                packet
            }
            Pending::Below { port, dst, kind, payload } => {
                return self.send_below(port, dst, (kind, payload), out);
            }
            Pending::FromTun { port, bytes, by } => {
                return self.take_from_program(port, bytes, by, out);
            }
            Pending::Tell { frame, what } => {
                for what in what {
                    out.record(frame, || what);
                }
                return;
            }
            Pending::Echo { src, dst, id, seq, payload } => {
                let ip = self.header(src, dst, protocol::ICMP, Icmpv4::LEN + payload.len());
                let mut bytes = begin(&ip, out);
                Icmpv4::EchoRequest { id, seq }.emit(&payload, &mut bytes);
                Packet::own(bytes, ip, FrameId::NONE, out)
            }
            Pending::Raw { ip, payload } => {
                let mut bytes = begin(&ip, out);
                bytes.extend_from_slice(&payload);
                Packet::own(bytes, ip, FrameId::NONE, out)
            }
            Pending::Probe { source, probe } => {
                let Some(packet) = self.probe_packet(source, probe, out) else { return };
                packet
            }
        };
        self.walk(now, LOCAL_OUT, packet, out);
    }

    /// An own IP header with the next identification.
    pub(crate) fn header(
        &mut self,
        src: Ipv4Addr,
        dst: Ipv4Addr,
        protocol: u8,
        payload_len: usize,
    ) -> Ipv4Header {
        self.next_ip_id = self.next_ip_id.wrapping_add(1);
        Ipv4Header { id: self.next_ip_id, ..Ipv4Header::new(src, dst, protocol, self.ttl, payload_len) }
    }

    fn datagram(
        &mut self,
        src: SocketAddr,
        dst: SocketAddr,
        payload: &[u8],
        out: &mut Outbox,
    ) -> Option<Packet> {
        let len = UdpHeader::LEN + payload.len();
        let ip = self.header(v4(src.ip())?, v4(dst.ip())?, protocol::UDP, len);
        let mut bytes = begin(&ip, out);
        UdpHeader { src: src.port(), dst: dst.port(), len: len as u16, checksum: 0 }.emit(&mut bytes);
        bytes.extend_from_slice(payload);
        Some(Packet::own(bytes, ip, FrameId::NONE, out))
    }

    /// All segments that a connection may send now. The way of the first is the way of all.
    pub(crate) fn send_segments(&mut self, now: Time, id: SocketId, out: &mut Outbox) {
        let mut way = None;
        while let Some((frame, ip)) = self.next_segment(id, out) {
            let way = *way.get_or_insert_with(|| self.plain_way(now, ip.dst));
            match (way, EgressProof::without_hooks(&self.hooks)) {
                // Here a packet is no more than its frame.
                (Some((hop, macs)), Some(proof)) if ip.total_len <= hop.mtu => {
                    let Hop { rule, out: port, next: next_hop, .. } = hop;
                    self.shortcuts.count(rule);
                    out.record(frame.id, || What::Route { rule, out: port, next_hop, ttl: 0 });
                    nic::transmit(frame, port, macs, proof, out);
                }
                _ => {
                    let packet = Packet { socket: id.conn(), ..Packet::unparsed(frame, ip) };
                    self.walk(now, LOCAL_OUT, packet, out);
                }
            }
        }
    }

    /// The way of packets of sockets without a device to `dst`, when all stages of the pipeline come down to two look-ups:
    /// there are no hooks, and the neighbour is known.
    fn plain_way(&mut self, now: Time, dst: Ipv4Addr) -> Option<(Hop, (MacAddr, MacAddr))> {
        if !self.is_open()
            || self.mangling.is_some()
            || self.path_mtu.is_some()
            || !self.destinations.is_plain()
        {
            return None;
        }
        let Where::Beyond(hop) = self.destinations.lookup(dst.into(), &self.nics) else { return None };
        if !self.nics[hop.out.index()].kind.is_physical() {
            return None;
        }
        let mac = self.neighbors.lookup(now, hop.out, hop.next)?;
        Some((hop, (mac, self.nics[hop.out.index()].mac)))
    }

    /// The next segment of a connection, if it may send one: its frame and its IP header.
    #[inline]
    fn next_segment(&mut self, id: SocketId, out: &mut Outbox) -> Option<(Frame, Ipv4Header)> {
        let cx = self.cx;
        let socket = self.sockets.tcp_mut(id)?;
        let segment = socket.connection.next_segment(cx)?;
        let (src, dst) = (v4(socket.local.ip())?, v4(socket.remote.ip())?);
        let locked = self.path_mtu.as_ref().is_some_and(|hints| hints.is_locked(cx.now, dst.into()));
        let header = TcpHeader { src: socket.local.port(), dst: socket.remote.port(), ..segment.header };
        let len = header.emit_len() + segment.len as usize;
        let mut ip = Ipv4Header::new(src, dst, protocol::TCP, self.ttl, len);
        self.next_ip_id = self.next_ip_id.wrapping_add(1);
        (ip.df, ip.id) = (!locked && self.tcp.path_mtu_discovery, self.next_ip_id);
        if let Some(own) = socket.connection.own_options() {
            ip.dscp_ecn = own.tos & !3;
            ip.ttl = own.ttl.unwrap_or(ip.ttl);
            ip.df = match own.mtu_discovery {
                None | Some(MtuDiscovery::Want) => ip.df,
                Some(MtuDiscovery::Off) => false,
                Some(MtuDiscovery::Always | MtuDiscovery::Probe) => true,
            };
        }
        ip.dscp_ecn |= segment.ecn.bits();
        let text = socket.connection.payload(&segment);
        // Before the copy, not in it: reading what was just written waits until it has been.
        let summed = text.clone().fold((0, 0), |(len, sum), piece| {
            (len + piece.len(), sum + checksum::ones_sum_behind(len, piece))
        });
        let mut bytes = begin(&ip, out);
        header.emit_summed((src, dst), summed, &mut bytes);
        text.for_each(|piece| bytes.extend_from_slice(piece));
        let frame = out.new_frame(bytes, FrameId::NONE);
        if cx.recording {
            socket.connection.take_records(&mut self.records);
            for what in self.records.drain(..) {
                out.record(FrameId::NONE, || what);
            }
            let event = out.record(frame.id, || segment.record(id.conn()));
            socket.connection.segment_recorded(segment.token, event);
        }
        Some((frame, ip))
    }

    /// The events that a segment caused in its connection, with the frame that brought it.
    pub(crate) fn take_tcp_records(&mut self, conn: ConnId, frame: FrameId, out: &mut Outbox) {
        if !out.recording() {
            self.records.clear();
            return;
        }
        if let Some(socket) = self.sockets.tcp_mut(SocketId(conn.0)) {
            socket.connection.take_records(&mut self.records);
        }
        self.flush_records(frame, out);
    }

    /// After a connection was touched: its events, its timer, who is to be woken, and whether it is over.
    pub(crate) fn settle(&mut self, id: SocketId, frame: FrameId, out: &mut Outbox) {
        let Some(socket) = self.sockets.tcp_mut(id) else { return };
        if out.recording() {
            socket.connection.take_records(&mut self.records);
        }
        socket.asked = self.cx.now;
        let (woken, finished) = (socket.connection.take_woken(), socket.connection.finished());
        let listener = socket.listener;
        let in_handshake = listener.is_some();
        if !finished && !in_handshake && socket.fast_open_of.is_none() {
            // Nearly always.
            let moved = socket.must_rearm();
            self.flush_records(frame, out);
            if woken {
                self.sockets.wake(id);
            }
            if moved {
                self.sockets.rearm(id);
            }
            return;
        }
        let phase = socket.connection.phase();
        // Nobody holds a half-open connection: when it fails it is gone.
        let failed = in_handshake && phase == TcpPhase::Closed;
        let forgotten = failed || (finished && socket.orphan);
        let fast_open_over = socket.fast_open_of.is_some() && phase != TcpPhase::SynReceived;
        self.flush_records(frame, out);
        if let Some(listener) = listener.filter(|_| !failed && phase != TcpPhase::SynReceived) {
            self.sockets.handshake_done(id);
            self.note_listener(listener, ListenerStep::AcceptQueued);
            self.flush_records(frame, out);
        }
        if fast_open_over {
            self.sockets.fast_open_done(id);
        }
        if woken && !in_handshake {
            self.sockets.wake(id);
        }
        if forgotten {
            self.sockets.remove(id);
        } else if finished {
            self.sockets.unlink(id);
        } else {
            self.sockets.rearm(id);
        }
    }

    /// An ICMP error about a packet, if one may be sent at all and now (RFC 1122, 3.2.2; RFC 1812, 4.3.2).
    pub(crate) fn complain(
        &mut self,
        now: Time,
        packet: &mut Packet,
        complaint: Complaint,
        out: &mut Outbox,
    ) {
        let place = self.destinations.lookup(packet.dst(), &self.nics);
        if !icmp::may_complain(packet, matches!(place, Where::Broadcast(_) | Where::Group)) {
            return;
        }
        // From the address that was talked to, else from the one towards the culprit (RFC 1812, 4.3.2.4).
        //= rfc1812#4.3.2.4 MUST
        let source = match place {
            Where::Here => Some(packet.ip.dst),
            _ => self.source_towards(packet.src(), None),
        };
        let Some(source) = source else { return };
        if packet.in_port != Some(LOOPBACK)
            && !self.limiter.get_or_insert_default().permit(now, packet.ip.src)
        {
            let to = packet.src();
            out.record(packet.frame.id, || What::IcmpWithheld { to });
            return;
        }
        let quoted = quote(packet.datagram());
        let mut ip = self.header(source, packet.ip.src, protocol::ICMP, Icmpv4::LEN + quoted.len());
        ip.dscp_ecn = CONTROL;
        let mut bytes = begin(&ip, out);
        complaint.message().emit(quoted, &mut bytes);
        let mut error = Packet::own(bytes, ip, packet.frame.id, out);
        error.track = related(packet);
        self.pending.push_back(Pending::Packet(Box::new(error)));
    }

    /// The answer to an echo request that came to an own address.
    pub(crate) fn answer_echo(&mut self, packet: &Packet, id: u16, seq: u16, out: &mut Outbox) {
        let data = packet.payload().get(Icmpv4::LEN..).unwrap_or_default();
        let mut ip = self.header(packet.ip.dst, packet.ip.src, protocol::ICMP, Icmpv4::LEN + data.len());
        ip.dscp_ecn = packet.ip.dscp_ecn;
        let mut bytes = begin(&ip, out);
        Icmpv4::EchoReply { id, seq }.emit(data, &mut bytes);
        let reply = Packet::own(bytes, ip, FrameId::NONE, out);
        self.pending.push_back(Pending::Packet(Box::new(reply)));
    }

    /// The RST that answers a segment for nobody, or one that a filter rejects.
    pub(crate) fn answer_with_reset(&mut self, packet: &Packet, by_filter: bool, out: &mut Outbox) {
        let Ok((header, payload)) = TcpHeader::parse(packet.payload()) else { return };
        let single = !packet.from_group && !packet.ip.dst.is_broadcast() && !packet.ip.dst.is_multicast();
        if let Some(reset) = reset_for(&header, payload.len() as u32).filter(|_| single) {
            self.push_reset(packet, &reset, out);
            if by_filter && let Some(Pending::Packet(reset)) = self.pending.back_mut() {
                reset.track = related(packet);
            }
        }
    }

    /// Queues a RST from the packet's destination to its source.
    pub(crate) fn push_reset(&mut self, packet: &Packet, reset: &TcpHeader, out: &mut Outbox) {
        let mut ip = Ipv4Header::new(packet.ip.dst, packet.ip.src, protocol::TCP, self.ttl, reset.emit_len());
        ip.df = true;
        let mut bytes = begin(&ip, out);
        reset.emit(&mut bytes);
        let reset = Packet::own(bytes, ip, FrameId::NONE, out);
        self.pending.push_back(Pending::Packet(Box::new(reset)));
    }

    /// Asks who has `target`.
    pub(crate) fn ask(&mut self, port: PortId, source: Ipv4Addr, target: IpAddr, out: &mut Outbox) {
        if let Some(question) = neighbor::question(&self.nics[port.index()], source, target) {
            self.transmit_arp(&question, MacAddr::BROADCAST, port, out);
        }
    }

    /// The own address to send from towards `dst` (RFC 1122, 3.3.4.3), from the route or its interface.
    pub(crate) fn source_towards(&mut self, dst: IpAddr, device: Option<PortId>) -> Option<Ipv4Addr> {
        let on = |nic: Option<&Nic>, peer: IpAddr| nic.and_then(|nic| nic.address_towards(peer));
        match (device, self.destinations.towards(Ipv4Addr::UNSPECIFIED, dst, &self.nics)) {
            (_, Where::Here) => v4(dst),
            (Some(device), _) => on(self.nics.get(device.index()), dst),
            (None, Where::Beyond(hop)) => {
                let route = self.destinations.route(hop.rule);
                let preferred = route.and_then(|route| route.source).and_then(v4);
                preferred.or_else(|| on(self.nics.get(hop.out.index()), hop.next))
            }
            (None, Where::Broadcast(port)) => on(self.nics.get(port.unwrap_or_default().index()), dst),
            (None, Where::Group) => on(self.nics.first(), dst),
            (None, _) => None,
        }
    }

    /// How long own packets to `dst` may be.
    pub(crate) fn mtu_towards(&self, now: Time, hop: &Hop, dst: IpAddr) -> u16 {
        let hint = self.path_mtu.as_ref().and_then(|hints| hints.lookup(now, dst));
        hint.map_or(hop.mtu, |mtu| mtu.min(hop.mtu))
    }

    /// An own packet went no further: its socket hears what the network would have said.
    pub(crate) fn tell_socket(&mut self, packet: &Packet, stop: &Stop) {
        // What stands outside the machine lets packets vanish; only a filter of its own can refuse the call (EPERM).
        let outside = || self.hooks.as_ref().is_some_and(|hooks| hooks.filters().is_outside(stop.place));
        let error = match stop.reason {
            DropReason::Filtered if outside() => None,
            DropReason::Filtered => Some(SocketError::Prohibited),
            _ => stop.complaint.map(Complaint::error),
        };
        let Some(error) = error else { return };
        if packet.socket == ConnId(0) {
            if self.probe_stopped(packet, stop, error) {
                return;
            }
            if let [8, _, _, _, a, b, c, d, ..] = *packet.payload()
                && packet.ip.protocol == protocol::ICMP
            {
                let (id, seq) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
                self.push_echo(EchoAnswer::failed(packet.src(), id, seq, error));
            }
            return;
        }
        let too_big = match stop.complaint {
            Some(Complaint::TooBig { mtu }) => Some(mtu),
            _ => None,
        };
        // A silently dropped segment is as good as lost; a datagram's sender is told (EPERM on Linux).
        let silent = stop.reason == DropReason::Filtered;
        let seq = packet.payload().get(4..8).and_then(|b| b.try_into().ok()).map(u32::from_be_bytes);
        self.socket_error(SocketId(packet.socket.0), error, too_big, seq.filter(|_| !silent));
    }

    /// The network has something to say about a packet that this socket sent. `seq` is the sequence number of the
    /// segment it is about.
    pub(crate) fn socket_error(
        &mut self,
        id: SocketId,
        error: SocketError,
        too_big: Option<u16>,
        seq: Option<u32>,
    ) {
        let cx = self.cx;
        let family = self.tcp.family;
        match self.sockets.lookup(id) {
            Some(Socket::Udp(_)) => {
                if let Some(socket) = self.sockets.udp_mut(id) {
                    socket.error = Some(error);
                }
                self.sockets.wake(id);
            }
            Some(Socket::Tcp(_)) => {
                let Some((socket, seq)) = self.sockets.tcp_mut(id).zip(seq) else { return };
                let said = match (too_big, error) {
                    (Some(mtu), _) => IcmpError::TooBig { mtu },
                    (_, SocketError::NetUnreachable) => IcmpError::NetUnreachable,
                    (
                        _,
                        SocketError::Refused | SocketError::ProtocolUnreachable | SocketError::Prohibited,
                    ) => IcmpError::Refused,
                    (_, SocketError::TtlExceeded) => IcmpError::TtlExceeded,
                    _ => IcmpError::HostUnreachable,
                };
                let open_before = socket.connection.error().is_none();
                socket.connection.on_icmp(cx, Seq(seq), said);
                // Linux tells the application what ICMP said, the Berkeley stacks what it means.
                if open_before && socket.connection.error().is_some() && family == Family::Linux {
                    socket.error = Some(error);
                }
                self.sockets.touch(id);
            }
            _ => {}
        }
    }

    /// An answer to a ping.
    pub(crate) fn push_echo(&mut self, answer: EchoAnswer) {
        if self.echoes.len() < MOST_ECHOES {
            self.echoes.push(answer);
        }
        self.sockets.wake(SocketId::ECHO);
    }
}

/// Answers to pings that nobody has fetched yet, at most.
const MOST_ECHOES: usize = 1_024;

impl From<TcpError> for SocketError {
    fn from(error: TcpError) -> SocketError {
        match error {
            TcpError::Refused => SocketError::Refused,
            TcpError::Reset => SocketError::Reset,
            TcpError::BrokenPipe => SocketError::BrokenPipe,
            TcpError::TimedOut => SocketError::TimedOut,
            TcpError::HostUnreachable => SocketError::HostUnreachable,
            TcpError::NetUnreachable => SocketError::NetUnreachable,
            TcpError::NotConnected => SocketError::NotConnected,
        }
    }
}
