//! The spine: [`Stack::receive`] and [`Stack::send`], the whole walk of a packet through one machine.
//!
//! Read `walk` first: it runs a pipeline of `rt_rules` stage by stage. Each stage (`stages.rs`) and each transport
//! (`deliver.rs`) is a leaf that returns what it found; only what stands in this file decides where a packet goes next,
//! and every packet ends in one of three ways: delivered, sent, or dropped with a reason. What applications call is in
//! `api.rs`, what time brings in `timers.rs`, how own packets are built in `output.rs`.
//!
//! A router, a firewall, a NAT gateway and a host are this same code with different tables.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use rt_base::{ConnId, DropReason, EventId, Frame, FrameId, Outbox, Place, PortId, Rng, Time, What};
use rt_rules::{Chain, ConntrackOptions, FORWARDED, LOCAL_IN, Routes, Stage};
use rt_wire::{ArpPacket, EthernetHeader, Ipv4Header, MacAddr, ethertype};

use crate::api::EchoAnswer;
use crate::config::StackConfig;
use crate::fast_open::FastOpenMemory;
use crate::hooks::filter::Filters;
use crate::hooks::known::Way;
use crate::hooks::{EgressProof, Hooks};
use crate::icmp::{Complaint, Limiter};
use crate::ip::destination::{Destinations, Hop, Place as Where};
use crate::ip::fragment::fragment;
use crate::ip::path_mtu::PathMtu;
use crate::ip::reassembly::{Put, Reassembly};
use crate::isn::Isn;
use crate::middlebox::Mangling;
use crate::neighbor::{Neighbors, Wait, Waiting};
use crate::nic::{self, Nic};
use crate::output::Pending;
use crate::packet::{ETHERNET, LOOPBACK, Packet};
use crate::ports::Ports;
use crate::probes::Probes;
use crate::shortcut::{Shortcut, Shortcuts};
use crate::socket::Sockets;
use crate::syn_cookie::SynCookieJar;
use crate::tcp::{Cx, TcpConfig};
use crate::unseen::{Unseen, silenced};
use crate::wrap::Virtuals;

/// The TCP/IP of one machine, without I/O, clock or dice of its own.
#[derive(Debug)]
pub struct Stack {
    pub(crate) nics: Vec<Nic>,
    pub(crate) destinations: Destinations,
    pub(crate) neighbors: Neighbors,
    pub(crate) forwarding: bool,
    /// Of a machine that leaves TTLs alone: what it passed lately.
    pub(crate) passed_unseen: Option<Box<Unseen>>,
    /// The last source address that was found possible; dies with every change of addresses.
    pub(crate) good_source: Option<(Ipv4Addr, PortId)>,
    /// What was done with the last forwarded packets.
    pub(crate) shortcuts: Shortcuts,

    // Only on machines that need them: an idle host is small.
    pub(crate) hooks: Option<Box<Hooks>>,
    /// The stateless access lists.
    pub(crate) acls: Option<Box<Filters>>,
    pub(crate) reassembly: Option<Box<Reassembly>>,
    pub(crate) path_mtu: Option<Box<PathMtu>>,
    pub(crate) limiter: Option<Box<Limiter>>,
    pub(crate) virtuals: Option<Box<Virtuals>>,
    pub(crate) mangling: Option<Box<Mangling>>,
    pub(crate) fast_open: Option<Box<FastOpenMemory>>,
    pub(crate) syn_cookies: Option<Box<SynCookieJar>>,

    pub(crate) sockets: Sockets,
    pub(crate) ports: Ports,
    pub(crate) echoes: Vec<EchoAnswer>,
    pub(crate) probes: Option<Box<Probes>>,

    /// The time and cause of what applications do now.
    pub(crate) cx: Cx,
    /// Own packets that wait for `send`.
    pub(crate) pending: VecDeque<Pending>,
    /// Packets to this machine itself.
    pub(crate) loopback: VecDeque<Packet>,
    /// Events without an outbox yet.
    pub(crate) records: Vec<What>,

    pub(crate) tcp: Arc<TcpConfig>,
    pub(crate) ttl: u8,
    pub(crate) udp_buffer: usize,
    /// Limits and timeouts of connection tracking, where they are not the usual ones.
    pub(crate) conntrack: Option<Box<ConntrackOptions>>,
    pub(crate) next_ip_id: u16,
    pub(crate) listen_isns: VecDeque<u32>,
    pub(crate) isn: Isn,
    pub(crate) nat_rng: Rng,
}

/// How a stage ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub(crate) enum Step {
    /// On to the next stage.
    On,
    /// It is for this machine: on along `LOCAL_IN`.
    Here,
    /// It ends.
    Stop(Stop),
}

/// Why and where a packet ends, and who is to be told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Stop {
    pub(crate) reason: DropReason,
    pub(crate) place: Place,
    pub(crate) rule: Option<u32>,
    /// ICMP error to its source.
    pub(crate) complaint: Option<Complaint>,
    /// Reset to its source.
    pub(crate) reset: bool,
}

impl Stop {
    /// Ends silently.
    pub(crate) fn new(reason: DropReason, place: Place) -> Stop {
        Stop { reason, place, rule: None, complaint: None, reset: false }
    }

    /// Ends with an ICMP error to the source.
    pub(crate) fn complaining(self, complaint: Complaint) -> Stop {
        Stop { complaint: Some(complaint), ..self }
    }

    /// Ends by this rule.
    pub(crate) fn by(self, rule: Option<u32>) -> Stop {
        Stop { rule, ..self }
    }
}

/// Packets that one `send` passes to this machine itself at most; the next `send` goes on.
const LOOPBACK_LIMIT: usize = 4_096;

impl Stack {
    /// A machine's stack. Equal arguments give equal behaviour; `name` and `seed` choose its random streams.
    #[must_use]
    pub fn new(config: StackConfig, seed: u64, name: &str) -> Stack {
        let dice = |purpose: &str| Rng::stream(seed, name, purpose);
        let (acls, chains): (Vec<_>, Vec<_>) = config.chains.into_iter().partition(Chain::is_stateless);
        let has_hooks = !chains.is_empty() || !config.nat.is_empty();
        let hooks =
            has_hooks.then(|| Box::new(Hooks::new(chains, config.nat, config.conntrack, dice("stack.nat"))));
        let mut stack = Stack {
            nics: nic::all(config.interfaces, &config.reverse_path, &config.virtuals),
            destinations: Destinations::new(Routes::new(
                config.routes,
                config.tables,
                config.policies,
                dice("stack.multipath").next_u32(),
            )),
            neighbors: Neighbors::default(),
            forwarding: config.forwarding,
            passed_unseen: config.transparent.then(Box::default),
            good_source: None,
            shortcuts: Shortcuts::default(),
            hooks,
            acls: (!acls.is_empty()).then(|| Box::new(Filters::new(acls))),
            reassembly: None,
            path_mtu: None,
            limiter: None,
            mangling: Mangling::of(config.clamps, config.ossified),
            virtuals: (!config.virtuals.is_empty()).then(Box::default),
            fast_open: None,
            syn_cookies: None,
            sockets: Sockets::default(),
            ports: Ports::new(config.port_policy, config.ports, dice("stack.ports")),
            echoes: Vec::new(),
            probes: None,
            cx: Cx { now: Time::ZERO, cause: EventId::NONE, recording: true },
            pending: VecDeque::new(),
            loopback: VecDeque::new(),
            records: Vec::new(),
            tcp: Arc::new(config.tcp),
            ttl: config.ttl,
            udp_buffer: config.udp_buffer,
            conntrack: (!config.conntrack.is_default()).then(|| Box::new(config.conntrack)),
            next_ip_id: dice("stack.ip-id").next_u32() as u16,
            listen_isns: config.listen_isns.into(),
            isn: Isn::new(dice("stack.isn")),
            nat_rng: dice("stack.nat"),
        };
        stack.connect_networks();
        stack.start_virtuals();
        stack
    }

    /// Says which input is being handled; call it before application calls in each `handle`, and again when a timer
    /// changes the cause. [`Stack::receive`], [`Stack::send`] and [`Stack::fire_next`] do it themselves.
    pub fn begin(&mut self, out: &Outbox) {
        self.cx = Cx { now: out.now(), cause: out.cause(), recording: out.recording() };
    }

    /// A frame arrived. Everything that follows from it alone (forwarding, ARP and ICMP answers, TCP's ACKs) is in `out`
    /// when this returns; applications are found with [`Stack::take_woken`].
    ///
    /// Returns false when the frame was only passed on as the one before: then no socket and no deadline is concerned.
    pub fn receive(&mut self, now: Time, port: PortId, mut frame: Frame, out: &mut Outbox) -> bool {
        if let Some(hop) = self.shortcuts.apply(now, port, &mut frame) {
            let ttl = frame.bytes[ETHERNET + 8];
            out.record(frame.id, || What::Route { rule: hop.rule, out: hop.out, next_hop: hop.next, ttl });
            out.send(hop.out, frame);
            return false;
        }
        if let Some(hooks) = &mut self.hooks
            && !out.recording()
            && let Some((port, route)) = hooks.pass_on(now, (port, self.shortcuts.era()), &mut frame.bytes)
        {
            self.shortcuts.count(route);
            out.send(port, frame);
            return false;
        }
        self.begin(out);
        match self.accept_frame(port, &frame) {
            Err(reason) => out.drop_frame(frame, reason, Place::Ingress, port, None),
            Ok((ethertype::ARP, _)) => self.receive_arp(now, port, frame, out),
            Ok((ethertype::IPV4, from_group)) => self.receive_ip(now, port, frame, from_group, out),
            Ok((kind, _)) => self.receive_wrapped(now, port, kind, frame, out),
        }
        if self.has_work() {
            self.send(now, out);
        }
        true
    }

    /// Sends all that this machine has to say: answers, datagrams, TCP segments, and what it says to itself, until
    /// nothing is left (or a bound is reached: see [`Stack::has_work`]).
    pub fn send(&mut self, now: Time, out: &mut Outbox) {
        self.begin(out);
        self.flush_records(FrameId::NONE, out);
        for _ in 0..LOOPBACK_LIMIT {
            while let Some(pending) = self.pending.pop_front() {
                self.send_pending(now, pending, out);
            }
            if let Some(id) = self.sockets.next_touched() {
                self.send_segments(now, id, out);
                self.settle(id, FrameId::NONE, out);
            } else if let Some(packet) = self.loopback.pop_front() {
                self.note_unwrapped(&packet, out);
                self.arrive(now, packet, out);
            } else {
                return;
            }
        }
    }

    /// Whether `send` has something to do.
    #[must_use]
    pub fn has_work(&self) -> bool {
        !self.pending.is_empty()
            || !self.loopback.is_empty()
            || self.sockets.has_touched()
            || !self.records.is_empty()
    }

    /// Ethernet: is the frame for us, and what is in it? (type, came to a group address)
    pub(crate) fn accept_frame(&self, port: PortId, frame: &Frame) -> Result<(u16, bool), DropReason> {
        let nic = self.nics.get(port.index()).ok_or(DropReason::LinkDown)?;
        let (ethernet, _) = EthernetHeader::parse(&frame.bytes).map_err(|_| DropReason::Malformed)?;
        if !nic.accepts(ethernet.dst) {
            return Err(DropReason::NotForThisStation);
        }
        match ethernet.ethertype {
            kind @ (ethertype::IPV4 | ethertype::ARP) => Ok((kind, ethernet.dst.is_group())),
            kind if self.unwraps(port, kind) => Ok((kind, ethernet.dst.is_group())),
            _ => Err(DropReason::UnknownEtherType),
        }
    }

    /// An IP packet in a frame that this interface accepts.
    #[inline]
    pub(crate) fn receive_ip(
        &mut self,
        now: Time,
        port: PortId,
        frame: Frame,
        from_group: bool,
        out: &mut Outbox,
    ) {
        match Ipv4Header::parse(&frame.bytes[ETHERNET..]) {
            Ok((ip, _)) => self.arrive(now, Packet::arrived(frame, ip, port, from_group), out),
            Err(error) => {
                let reason =
                    if error.is_checksum() { DropReason::BadChecksum } else { DropReason::Malformed };
                out.drop_frame(frame, reason, Place::Ingress, port, None);
            }
        }
    }

    pub(crate) fn receive_arp(&mut self, now: Time, port: PortId, frame: Frame, out: &mut Outbox) {
        let arp = match ArpPacket::parse(frame.bytes.get(EthernetHeader::LEN..).unwrap_or_default()) {
            Ok((arp, _)) => arp,
            Err(_) => return out.drop_frame(frame, DropReason::Malformed, Place::Neighbor, port, None),
        };
        let lesson = self.neighbors.receive(now, port, &self.nics[port.index()], &arp);
        if let Some((address, mac)) = lesson.learned {
            self.shortcuts.clear();
            out.record(frame.id, || What::NeighborLearned { address, mac: mac.0 });
        }
        if let Some(reply) = lesson.reply {
            self.transmit_arp(&reply, arp.sender_mac, port, out);
        }
        for waiting in lesson.released {
            let macs = (arp.sender_mac, self.nics[port.index()].mac);
            let wrapped = waiting.packet.wrapped;
            self.leave(waiting.packet.frame, (port, wrapped), macs, waiting.proof, out);
        }
        out.recycle(frame.bytes);
    }

    /// An IP packet came in (from a link, or from this machine itself).
    #[inline]
    fn arrive(&mut self, now: Time, packet: Packet, out: &mut Outbox) {
        if let Some(stop) = self.impossible(&packet) {
            return self.refuse(now, packet, stop, out);
        }
        // Connection tracking needs whole datagrams (netfilter's defrag runs first as well).
        if packet.ip.is_fragment() && !self.is_open() {
            if let Some(whole) = self.reassemble(now, packet, out) {
                self.walk(now, FORWARDED, *whole, out);
            }
            return;
        }
        // Without hooks nothing stands between the route and the socket.
        if self.is_open() && self.destinations.lookup(packet.dst(), &self.nics) == Where::Here {
            return self.deliver(now, packet, out);
        }
        self.walk_in(now, packet, out);
    }

    /// Whether nobody here filters, tracks or translates.
    pub(crate) fn is_open(&self) -> bool {
        self.hooks.is_none() && self.acls.is_none()
    }

    /// A packet that arrived, on its long way.
    #[inline(never)]
    fn walk_in(&mut self, now: Time, packet: Packet, out: &mut Outbox) {
        self.walk(now, FORWARDED, packet, out);
    }

    /// The pipeline. A packet that arrives starts on `FORWARDED` and turns into `LOCAL_IN` when it is routed here.
    pub(crate) fn walk(&mut self, now: Time, path: &'static [Stage], mut packet: Packet, out: &mut Outbox) {
        let mut path = path;
        let mut proof = EgressProof::without_hooks(&self.hooks);
        let mut at = 0;
        while let Some(stage) = path.get(at) {
            at += 1;
            let step = match *stage {
                Stage::Acl(hook) => self.acl(now, hook, &packet, out),
                Stage::Conntrack => self.conntrack(now, &mut packet, out),
                Stage::Dnat => self.dnat(&mut packet, out),
                Stage::Route => self.route(&mut packet, out),
                Stage::Ttl => self.ttl(now, &mut packet),
                Stage::Filter(hook) => self.filter(now, hook, &mut packet, out),
                Stage::Mss => {
                    self.clamp_mss(&mut packet, out);
                    self.ossified(&mut packet, out)
                }
                Stage::Snat => self.snat(now, &mut packet, &mut proof, out),
                Stage::Deliver => return self.deliver(now, packet, out),
                Stage::Transmit => return self.transmit(now, packet, proof, out),
            };
            match step {
                Step::On => {}
                Step::Here => path = LOCAL_IN,
                Step::Stop(stop) => return self.refuse(now, packet, stop, out),
            }
        }
    }

    /// The end of a packet that stays here.
    fn deliver(&mut self, now: Time, mut packet: Packet, out: &mut Outbox) {
        if packet.ip.is_fragment() {
            match self.reassemble(now, packet, out) {
                Some(whole) => packet = *whole,
                None => return,
            }
        }
        let (id, protocol) = (packet.frame.id, packet.ip.protocol);
        let delivered = self.admit(now, &mut packet, out).and_then(|()| self.deliver_transport(&packet, out));
        match delivered {
            Ok(conn) => {
                out.record(id, || What::Deliver { protocol, conn });
                self.take_tcp_records(conn, id, out);
                out.recycle(packet.frame.bytes);
            }
            Err(stop) => self.refuse(now, packet, stop, out),
        }
    }

    /// The end of a packet that leaves: cut up if it must be, then to the neighbour.
    fn transmit(&mut self, now: Time, mut packet: Packet, proof: Option<EgressProof>, out: &mut Outbox) {
        let (Some(hop), Some(proof)) = (packet.hop, proof) else {
            unreachable!(
                "every pipeline that transmits routes and runs source NAT before (rt_rules tests it)"
            );
        };
        if hop.out == LOOPBACK {
            packet.in_port = Some(LOOPBACK);
            self.loopback.push_back(packet);
            return;
        }
        // Without a socket only probes have DF and a length that matters: they find out what others believe.
        let believes = packet.in_port.is_none() && !(packet.ip.df && packet.socket == ConnId(0));
        let mtu = if believes { self.mtu_towards(now, &hop, packet.dst()) } else { hop.mtu };
        let mtu = mtu.min(self.tunnel_mtu(now, hop.out));
        if packet.ip.total_len <= mtu {
            return self.hand_over(now, packet, hop, proof, out);
        }
        if packet.ip.df {
            let stop = Stop::new(DropReason::FragmentationNeeded, Place::Route)
                .complaining(Complaint::TooBig { mtu });
            return self.refuse(now, packet, stop, out);
        }
        for frame in fragment(&packet.frame, &packet.ip, mtu, out) {
            let mut piece = Packet::unparsed(frame, packet.ip);
            (piece.in_port, piece.socket, piece.hop) = (packet.in_port, packet.socket, packet.hop);
            piece.wrapped = packet.wrapped;
            self.hand_over(now, piece, hop, proof.for_fragment(), out);
        }
        out.recycle(packet.frame.bytes);
    }

    /// The last step: the neighbour's MAC, or a place in its queue.
    fn hand_over(&mut self, now: Time, packet: Packet, hop: Hop, proof: EgressProof, out: &mut Outbox) {
        if self.nics[hop.out.index()].kind.is_point_to_point() {
            return self.wrap_packet(now, packet, hop, proof, out);
        }
        let mac = self.neighbors.lookup(now, hop.out, hop.next).or(match hop.next {
            IpAddr::V4(Ipv4Addr::BROADCAST) => Some(MacAddr::BROADCAST),
            IpAddr::V4(group) if group.is_multicast() => Some(crate::neighbor::group_mac(group)),
            _ => None,
        });
        if let Some(mac) = mac {
            if self.nics[hop.out.index()].kind.is_physical() {
                self.remember(&packet, hop, mac);
            }
            let macs = (mac, self.nics[hop.out.index()].mac);
            return self.leave(packet.frame, (hop.out, packet.wrapped), macs, proof, out);
        }
        let Some(source) = self.nics[hop.out.index()].address_towards(hop.next) else {
            let stop = Stop::new(DropReason::NoAddress, Place::Neighbor).complaining(Complaint::Host);
            return self.refuse(now, packet, stop, out);
        };
        out.record(packet.frame.id, || What::NeighborWait { address: hop.next });
        let waiting = Waiting { packet, proof };
        let (lost, full) = match self.neighbors.wait(now, out.cause(), (hop.out, hop.next), waiting) {
            Wait::Waits { ask, pushed_out } => {
                if ask {
                    self.ask(hop.out, source, hop.next, out);
                }
                (pushed_out, DropReason::NeighborQueueFull)
            }
            Wait::Full(packet) => (Some(packet), DropReason::NeighborQueueFull),
        };
        if let Some(packet) = lost {
            self.refuse(now, *packet, Stop::new(full, Place::Neighbor), out);
        }
    }

    /// Remembers the way of a forwarded packet to which nothing was done but what every router does.
    fn remember(&mut self, packet: &Packet, hop: Hop, mac: MacAddr) {
        let plain = self.acls.is_none()
            && self.destinations.is_plain()
            && self.passed_unseen.is_none()
            && self.mangling.is_none()
            && usize::from(packet.ip.header_len) == Ipv4Header::LEN;
        let (Some(in_port), true, Some(until)) =
            (packet.in_port, plain, self.neighbors.good_until(hop.out, hop.next))
        else {
            return;
        };
        let Some(nic) = self.nics.get(in_port.index()) else { return };
        let (arrived_at, macs) = (nic.mac, (mac, self.nics[hop.out.index()].mac));
        if let Some(hooks) = &mut self.hooks {
            let (out, mtu, route) = (hop.out, hop.mtu, hop.rule);
            let way = Way { in_port, arrived_at, macs, out, mtu, route, until };
            return hooks.remember(self.shortcuts.era(), &packet.track, way);
        }
        let (src, dst) = (packet.ip.src.octets(), packet.ip.dst.octets());
        self.shortcuts.insert(Shortcut { in_port, arrived_at, src, dst, hop, macs, until, packets: 0 });
    }

    /// The end of a packet that goes no further: who must know is told, then it is dropped with its reason.
    pub(crate) fn refuse(&mut self, now: Time, mut packet: Packet, stop: Stop, out: &mut Outbox) {
        let unseen = self.passed_unseen.is_some() && packet.in_port.is_some();
        let stop = if unseen { silenced(stop) } else { stop };
        let port = packet.in_port.or(packet.hop.map(|hop| hop.out)).unwrap_or_default();
        if let Some(hooks) = self.hooks.as_mut().filter(|_| stop.reset || stop.complaint.is_some()) {
            // The answer quotes what the sender sent, and goes to the sender.
            hooks.restore(&mut packet);
            if stop.reset && stop.reason == DropReason::Rejected {
                hooks.close(&packet);
            }
        }
        if packet.in_port.is_none() {
            self.tell_socket(&packet, &stop);
        } else if stop.reset {
            self.answer_with_reset(&packet, stop.reason == DropReason::Rejected, out);
        } else if let Some(complaint) = stop.complaint {
            self.complain(now, &mut packet, complaint, out);
        }
        out.drop_frame(packet.frame, stop.reason, stop.place, port, stop.rule);
    }

    /// Takes a fragment; gives the datagram when it is whole.
    fn reassemble(&mut self, now: Time, packet: Packet, out: &mut Outbox) -> Option<Box<Packet>> {
        let port = packet.in_port.unwrap_or_default();
        match self.reassembly.get_or_insert_default().put(now, packet, out) {
            Put::Waits => None,
            Put::Whole(whole) => Some(whole),
            Put::Refused(frames) => {
                for frame in frames {
                    out.drop_frame(frame, DropReason::ReassemblyRefused, Place::Reassembly, port, None);
                }
                None
            }
        }
    }

    /// Records what was noted without an outbox.
    #[inline]
    pub(crate) fn flush_records(&mut self, frame: FrameId, out: &mut Outbox) {
        if !self.records.is_empty() {
            self.flush_some_records(frame, out);
        }
    }

    fn flush_some_records(&mut self, frame: FrameId, out: &mut Outbox) {
        for what in self.records.drain(..) {
            out.record(frame, || what);
        }
    }
}

/// No socket is concerned.
pub(crate) const NOBODY: ConnId = ConnId(0);

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten thousand hosts are to fit: everything that an idle one does not need is behind an `Option<Box>` or empty.
    #[test]
    fn an_idle_stack_is_small() {
        assert!(size_of::<Stack>() <= 1_328, "{} bytes", size_of::<Stack>());
        assert!(size_of::<Packet>() <= 128, "{} bytes", size_of::<Packet>());
        assert!(
            size_of::<crate::socket::TcpSocket>() <= 1_408,
            "{} bytes",
            size_of::<crate::socket::TcpSocket>()
        );
    }
}
