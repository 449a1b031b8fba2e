//! Virtual interfaces: VLANs, tunnels over IP (GRE, IP-in-IP, VXLAN), PPPoE, and tun interfaces behind which a program sits.
//!
//! A packet that is routed to one is wrapped and, for tunnels over IP, walks through the pipeline again as this machine's own
//! packet, output hook included, as on Linux. It keeps its frame's id all the way: inside and outside are one journey. What is
//! unwrapped waits until the outer packet is delivered and then arrives by the virtual interface.
//!
//! Outer headers: TTL 64 (Linux's tunnels take the inner one by default, which makes traceroute show the path below), DSCP and
//! ECN of the packet inside (RFC 2983, 3.1; RFC 6040, normal mode). GRE and IP-in-IP set DF and learn the path's MTU (Linux's
//! default, RFC 2003, 3.1 and 5); VXLAN does not, so its packets can be cut on the way and are put together at the end (Linux;
//! RFC 7348, 4.3 would have the ends never cut). ICMP errors about outer packets are not relayed to the inner sender: only
//! "too big" is, by answering the next packet that is too long on this side (the soft state of RFC 2003, 5).
//!
//! Simplified: a VXLAN has one other end; no GRE checksums and sequence numbers; no tags inside tags.

mod input;
pub(crate) mod pppoe;
mod tun;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use rt_base::{DropReason, Frame, FrameId, InterfaceKind, MacAddr, Outbox, Place, PortId, Time, Way, What};
use rt_wire::{ArpPacket, EthernetHeader, Ipv4Header, UdpHeader, ethertype, rewrite};

use crate::hooks::EgressProof;
use crate::ip::destination::Hop;
use crate::nic::{self, Nic};
use crate::output::Pending;
use crate::packet::{ETHERNET, Packet, begin, protocol};
use crate::stack::{Stack, Stop};
use pppoe::Session;
use tun::Tun;

pub(crate) use rt_wire::protocol::{GRE, IPIP};
pub use tun::{CameBy, Carried};

/// Tunnels of one machine around a packet at most: more means that a tunnel leads into itself.
const DEEPEST: u8 = 4;
/// TTL of outer packets.
const OUTER_TTL: u8 = 64;
/// Between UDP and the frame inside (RFC 7348, 5).
const VXLAN_LEN: usize = 8;

/// What virtual interfaces remember.
#[derive(Debug, Default)]
pub(crate) struct Virtuals {
    sessions: BTreeMap<PortId, Session>,
    tuns: BTreeMap<PortId, Tun>,
}

impl Stack {
    /// Makes sessions ready to be asked for.
    pub(crate) fn start_virtuals(&mut self) {
        let Some(virtuals) = &mut self.virtuals else { return };
        for index in 0..self.nics.len() {
            let port = PortId(index as u16);
            let (parent, server) = match self.nics[index].kind {
                InterfaceKind::Pppoe { parent, server } => (parent, Some(server)),
                InterfaceKind::Vlan { parent, .. } => (parent, None),
                _ => continue,
            };
            // As on Linux, they speak in the name of the interface below.
            if let Some(below) = self.nics.get(parent.index()) {
                self.nics[index].mac = below.mac;
            }
            if let Some(server) = server {
                virtuals.sessions.insert(port, Session::new(server, u32::from(port.0)));
            }
        }
        for port in self.session_ports() {
            self.drive_session(port, |session, nic| session.begin(nic));
        }
    }

    /// The last step of a packet with a MAC to go to.
    pub(crate) fn leave(
        &mut self,
        mut frame: Frame,
        (port, wrapped): (PortId, u8),
        macs: (MacAddr, MacAddr),
        proof: EgressProof,
        out: &mut Outbox,
    ) {
        let nic = &self.nics[port.index()];
        if nic.kind.is_physical() {
            return nic::transmit(frame, port, macs, proof, out);
        }
        rewrite::set_macs(&mut frame.bytes, macs.0, macs.1);
        self.send_wrapped(port, frame, wrapped, out);
    }

    /// Sends an ARP packet.
    pub(crate) fn transmit_arp(&mut self, packet: &ArpPacket, dst: MacAddr, port: PortId, out: &mut Outbox) {
        let frame = nic::arp_frame(packet, dst, out);
        self.send_frame(port, frame, out);
    }

    /// Sends a whole frame: over the cable, or wrapped.
    pub(crate) fn send_frame(&mut self, port: PortId, frame: Frame, out: &mut Outbox) {
        match self.nics.get(port.index()) {
            Some(nic) if nic.kind.is_physical() => out.send(port, frame),
            _ => self.send_wrapped(port, frame, 0, out),
        }
    }

    fn send_wrapped(&mut self, port: PortId, mut frame: Frame, wrapped: u8, out: &mut Outbox) {
        match self.nics.get(port.index()).map(|nic| (nic.kind, nic.mtu)) {
            Some((InterfaceKind::Vlan { parent, id }, mtu)) if self.is_cable(parent) => {
                let len = frame.bytes.len().saturating_sub(ETHERNET) as u16;
                let event = out.record(frame.id, || What::Wrapped { port, overhead: 4, len, mtu });
                out.show_inside(port, Way::Out, &frame, event);
                let [a, b] = (id & 0x0fff).to_be_bytes();
                let [c, d] = ethertype::VLAN.to_be_bytes();
                frame.bytes.splice(12..12, [c, d, a, b]);
                out.send(parent, frame);
            }
            Some((InterfaceKind::Vxlan { vni, local, remote, port: to }, mtu)) => {
                let len = frame.bytes.len().saturating_sub(ETHERNET) as u16;
                let kind = InterfaceKind::Vxlan { vni, local, remote, port: to };
                let overhead = kind.overhead();
                let event = out.record(frame.id, || What::Wrapped { port, overhead, len, mtu });
                out.show_inside(port, Way::Out, &frame, event);
                let packet = self.vxlan(&frame, (vni, to), (local, remote), out);
                self.queue_outer(packet, frame, wrapped, out);
            }
            _ => out.drop_frame(frame, DropReason::InterfaceDown, Place::Link, port, None),
        }
    }

    fn is_cable(&self, port: PortId) -> bool {
        self.nics.get(port.index()).is_some_and(|nic| nic.kind.is_physical())
    }

    /// RFC 7348, 5: the frame without its checksum, behind a header with the network's number, in UDP without checksum.
    fn vxlan(
        &mut self,
        frame: &Frame,
        (vni, to): (u32, u16),
        (local, remote): (Ipv4Addr, Ipv4Addr),
        out: &mut Outbox,
    ) -> (Vec<u8>, Ipv4Header) {
        let inner = Ipv4Header::parse_unchecked(frame.bytes.get(ETHERNET..).unwrap_or_default()).ok();
        let is_ip = frame.bytes.get(12..14) == Some(&ethertype::IPV4.to_be_bytes());
        let inner = inner.filter(|_| is_ip);
        let len = UdpHeader::LEN + VXLAN_LEN + frame.bytes.len();
        let mut ip = self.header(local, remote, protocol::UDP, len);
        (ip.ttl, ip.dscp_ecn) = (OUTER_TTL, inner.map_or(0, |(h, _)| h.dscp_ecn));
        let mut bytes = begin(&ip, out);
        // 49152 to 65535, by the flow inside, so that ECMP on the way can tell flows apart.
        let src = 0xc000 | (flow_number(inner) & 0x3fff) as u16;
        UdpHeader { src, dst: to, len: len as u16, checksum: 0 }.emit(&mut bytes);
        let [_, a, b, c] = vni.to_be_bytes();
        bytes.extend_from_slice(&[0x08, 0, 0, 0, a, b, c, 0]);
        bytes.extend_from_slice(&frame.bytes);
        (bytes, ip)
    }

    /// A packet that is routed to an interface without neighbours.
    pub(crate) fn wrap_packet(
        &mut self,
        now: Time,
        packet: Packet,
        hop: Hop,
        proof: EgressProof,
        out: &mut Outbox,
    ) {
        let (port, nic) = (hop.out, &self.nics[hop.out.index()]);
        let (kind, mtu, len) = (nic.kind, nic.mtu, packet.ip.total_len);
        let wrapped = |out: &mut Outbox, frame: &Frame| {
            let event = out.record(frame.id, || What::Wrapped { port, overhead: kind.overhead(), len, mtu });
            out.show_inside(port, Way::Out, frame, event);
        };
        match kind {
            InterfaceKind::Gre { local, remote, key } => {
                wrapped(out, &packet.frame);
                let outer = self.gre(&packet, (local, remote), key, out);
                self.queue_outer(outer, packet.frame, packet.wrapped, out);
            }
            InterfaceKind::Ipip { local, remote } => {
                wrapped(out, &packet.frame);
                let outer = self.outer(&packet, (local, remote), IPIP, &[], out);
                self.queue_outer(outer, packet.frame, packet.wrapped, out);
            }
            InterfaceKind::Pppoe { .. } => self.enter_session(port, packet, proof, out),
            InterfaceKind::Tun => self.hand_to_program(port, packet, out),
            _ => {
                let stop = Stop::new(DropReason::InterfaceDown, Place::Link);
                self.refuse(now, packet, stop, out);
            }
        }
    }

    fn gre(
        &mut self,
        packet: &Packet,
        ends: (Ipv4Addr, Ipv4Addr),
        key: Option<u32>,
        out: &mut Outbox,
    ) -> (Vec<u8>, Ipv4Header) {
        //= rfc2784#2.1
        let mut head = vec![0, 0, 0x08, 0];
        if let Some(key) = key {
            head[0] = 0x20;
            head.extend_from_slice(&key.to_be_bytes());
        }
        self.outer(packet, ends, GRE, &head, out)
    }

    /// Outer IP header, this head, the packet.
    fn outer(
        &mut self,
        packet: &Packet,
        (local, remote): (Ipv4Addr, Ipv4Addr),
        protocol: u8,
        head: &[u8],
        out: &mut Outbox,
    ) -> (Vec<u8>, Ipv4Header) {
        let inner = packet.datagram();
        let len = (head.len() + inner.len()).min(65_535 - Ipv4Header::LEN);
        let mut ip = self.header(local, remote, protocol, len);
        (ip.ttl, ip.dscp_ecn, ip.df) = (OUTER_TTL, packet.ip.dscp_ecn, true);
        let mut bytes = begin(&ip, out);
        bytes.extend_from_slice(head);
        bytes.extend_from_slice(&inner[..len - head.len()]);
        (bytes, ip)
    }

    /// The outer packet walks as one of our own, after what is being done now.
    fn queue_outer(
        &mut self,
        (bytes, ip): (Vec<u8>, Ipv4Header),
        inner: Frame,
        wrapped: u8,
        out: &mut Outbox,
    ) {
        let wrapped = wrapped + 1;
        if wrapped > DEEPEST {
            out.recycle(bytes);
            return out.drop_frame(inner, DropReason::TunnelLoop, Place::Route, PortId::default(), None);
        }
        let frame = Frame { id: inner.id, parent: inner.parent, bytes };
        out.recycle(inner.bytes);
        let packet = Packet { wrapped, ..Packet::unparsed(frame, ip) };
        self.pending.push_back(Pending::Packet(Box::new(packet)));
    }

    /// How long a packet into this interface may be by what was learnt of the path of its outer packets.
    #[inline]
    pub(crate) fn tunnel_mtu(&self, now: Time, port: PortId) -> u16 {
        if self.virtuals.is_none() {
            return u16::MAX;
        }
        let kind = self.nics.get(port.index()).map(|nic| nic.kind);
        let (Some(InterfaceKind::Gre { remote, .. } | InterfaceKind::Ipip { remote, .. }), Some(hints)) =
            (kind, &self.path_mtu)
        else {
            return u16::MAX;
        };
        let overhead = kind.map_or(0, InterfaceKind::overhead);
        hints.lookup(now, remote.into()).map_or(u16::MAX, |mtu| mtu.saturating_sub(overhead).max(68))
    }

    /// Whether some tunnel of ours has these ends.
    pub(crate) fn is_tunnel(&self, ends: (Ipv4Addr, Ipv4Addr)) -> bool {
        self.virtuals.is_some() && self.nics.iter().any(|nic| nic.kind.ends() == Some(ends))
    }

    fn virtual_port(&self, fits: impl Fn(&Nic) -> bool) -> Option<PortId> {
        self.nics.iter().position(fits).map(|index| PortId(index as u16))
    }
}

/// A number that is the same for all packets of the flow inside.
fn flow_number(inner: Option<(Ipv4Header, &[u8])>) -> u32 {
    let Some((ip, rest)) = inner else { return 0 };
    let ports = match rest {
        [a, b, c, d, ..]
            if matches!(ip.protocol, protocol::TCP | protocol::UDP) && ip.frag_offset == 0 && !ip.mf =>
        {
            u32::from_be_bytes([*a, *b, *c, *d])
        }
        _ => 0,
    };
    let addresses = u64::from(u32::from(ip.src)) << 32 | u64::from(u32::from(ip.dst));
    let mixed =
        (addresses ^ u64::from(ports) << 8 ^ u64::from(ip.protocol)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 40) as u32
}

/// A whole Ethernet frame.
pub(crate) fn ethernet_frame(
    (dst, src): (MacAddr, MacAddr),
    kind: u16,
    payload: &[u8],
    id: FrameId,
    out: &mut Outbox,
) -> Frame {
    let mut bytes = out.buffer(ETHERNET + payload.len());
    EthernetHeader { dst, src, ethertype: kind }.emit(&mut bytes);
    bytes.extend_from_slice(payload);
    match id.is_none() {
        true => out.new_frame(bytes, FrameId::NONE),
        false => Frame { id, parent: FrameId::NONE, bytes },
    }
}
