//! Tun interfaces: packets that are routed to one wait for a program of the machine, and what the program writes arrives by it.

use std::collections::VecDeque;

use rt_base::{ConnId, DropReason, Frame, FrameId, InterfaceKind, Outbox, Place, PortId, Way, What};
use rt_wire::Ipv4Header;

use crate::error::SocketError;
use crate::output::Pending;
use crate::packet::{EMPTY_ETHERNET, ETHERNET, Packet};
use crate::socket::SocketId;
use crate::stack::Stack;

/// Packets that wait for the program at most (Linux: `txqueuelen` of a tun).
const MOST_WAITING: usize = 500;

/// A packet that was routed to a tun interface, in the hands of its program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Carried {
    /// The interface.
    pub port: PortId,
    /// The packet's frame ([`Stack::tun_read`]).
    pub frame: FrameId,
    /// The packet's length.
    pub len: u16,
}

/// How a packet came to the program that gives it to the machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CameBy {
    /// The program made it itself.
    Program,
    /// In a datagram of its own.
    Datagram {
        /// The frame that brought it ([`Stack::udp_recv_carrying`]).
        frame: FrameId,
        /// Bytes around the packet, from the outer IP header on.
        around: u16,
    },
    /// In a TCP stream.
    Stream {
        /// The connection.
        conn: ConnId,
        /// Stream offset of the packet's first byte.
        offset: u64,
        /// Bytes that the program put before it.
        around: u16,
    },
}

/// A tun interface whose program is there.
#[derive(Debug, Default)]
pub(crate) struct Tun {
    waiting: VecDeque<(Vec<u8>, FrameId)>,
    /// The socket by which the program sends what it wraps.
    outer: Option<SocketId>,
}

/// Tun interfaces.
impl Stack {
    /// A program takes the tun interface of that name; what is routed to it from now on is kept for [`Stack::tun_read`].
    /// Its packets wake [`SocketId::tun`].
    ///
    /// # Errors
    /// `AddrNotAvailable` when there is no tun interface of that name, `AddrInUse` when a program has it.
    pub fn tun_open(&mut self, name: &str) -> Result<PortId, SocketError> {
        let found = self.nics.iter().position(|nic| nic.name == name && nic.kind == InterfaceKind::Tun);
        let port = PortId(found.ok_or(SocketError::AddrNotAvailable)? as u16);
        let virtuals = self.virtuals.get_or_insert_default();
        if virtuals.tuns.contains_key(&port) {
            return Err(SocketError::AddrInUse);
        }
        virtuals.tuns.insert(port, Tun::default());
        Ok(port)
    }

    /// The program sends what it wraps by this socket. What the socket sends must not be routed to the interface: it would
    /// be wrapped again without end (Linux's WireGuard says `ELOOP`).
    pub fn tun_outer(&mut self, port: PortId, socket: SocketId) {
        if let Some(tun) = self.virtuals.as_mut().and_then(|virtuals| virtuals.tuns.get_mut(&port)) {
            tun.outer = Some(socket);
        }
    }

    /// The next IP packet that was routed to the interface, and its frame's id: what carries the packet on bears it too
    /// ([`Stack::udp_send_carrying`]), so that both are one journey.
    pub fn tun_read(&mut self, port: PortId) -> Option<(Vec<u8>, FrameId)> {
        self.virtuals.as_mut()?.tuns.get_mut(&port)?.waiting.pop_front()
    }

    /// An IP packet from the program arrives by the interface. Bytes that are no IP packet are dropped as malformed.
    pub fn tun_write(&mut self, port: PortId, packet: &[u8], by: CameBy) {
        if !self.virtuals.as_ref().is_some_and(|v| v.tuns.contains_key(&port)) {
            return;
        }
        let mut bytes = Vec::with_capacity(ETHERNET + packet.len());
        bytes.extend_from_slice(&EMPTY_ETHERNET);
        bytes.extend_from_slice(packet);
        self.pending.push_back(Pending::FromTun { port, bytes, by });
    }

    /// The program has begun to write a packet, behind `header` bytes of its own, into a TCP stream; the packet's first
    /// byte is the stream's byte `offset`. The stream is cut into segments as TCP likes: frames' ids do not travel in it, so
    /// what comes out at the other end ([`CameBy::Stream`]) is joined with this by the offset.
    pub fn tun_streamed(&mut self, carried: Carried, conn: ConnId, offset: u64, header: u16) {
        let wrapped = self.wrapped_by_program(carried, header);
        let within = What::InStream { conn, offset, len: u32::from(carried.len), inward: false };
        self.pending.push_back(Pending::Tell { frame: carried.frame, what: vec![wrapped, within] });
    }

    /// The program throws away a packet that was routed to its interface (outward), or what a datagram brought.
    pub fn tun_refuse(&mut self, carried: Carried, reason: DropReason, outward: bool) {
        let place = if outward { Place::Link } else { Place::Ingress };
        let what = What::Drop { reason, place, port: carried.port, rule: u32::MAX };
        self.pending.push_back(Pending::Tell { frame: carried.frame, what: vec![what] });
    }

    /// What is recorded of a packet that the program wraps.
    pub(crate) fn wrapped_by_program(&self, carried: Carried, overhead: u16) -> What {
        let Carried { port, len, .. } = carried;
        let mtu = self.nics.get(port.index()).map_or(u16::MAX, |nic| nic.mtu);
        What::Wrapped { port, overhead, len, mtu }
    }

    /// The program lets go of the interface.
    pub fn tun_close(&mut self, port: PortId) {
        if let Some(virtuals) = &mut self.virtuals {
            virtuals.tuns.remove(&port);
        }
    }

    /// What the program wrote.
    pub(crate) fn take_from_program(&mut self, port: PortId, bytes: Vec<u8>, by: CameBy, out: &mut Outbox) {
        let len = (bytes.len() - ETHERNET) as u32;
        let frame = match by {
            CameBy::Datagram { frame, .. } if !frame.is_none() => {
                Frame { id: frame, parent: FrameId::NONE, bytes }
            }
            _ => out.new_frame(bytes, FrameId::NONE),
        };
        if let CameBy::Datagram { around: overhead, .. } | CameBy::Stream { around: overhead, .. } = by {
            out.record(frame.id, || What::Unwrapped { port, overhead });
        }
        if let CameBy::Stream { conn, offset, .. } = by {
            out.record(frame.id, || What::InStream { conn, offset, len, inward: true });
        }
        let event = out.record(frame.id, || What::Tun { port, inward: true });
        out.show_inside(port, Way::In, &frame, event);
        match Ipv4Header::parse(&frame.bytes[ETHERNET..]) {
            Ok((ip, _)) => self.loopback.push_back(Packet::arrived(frame, ip, port, false)),
            Err(_) => out.drop_frame(frame, DropReason::Malformed, Place::Ingress, port, None),
        }
    }

    /// A packet for the program.
    pub(super) fn hand_to_program(&mut self, port: PortId, packet: Packet, out: &mut Outbox) {
        let tun = self.virtuals.as_mut().and_then(|virtuals| virtuals.tuns.get_mut(&port));
        let Some(tun) = tun else {
            return out.drop_frame(packet.frame, DropReason::InterfaceDown, Place::Link, port, None);
        };
        if tun.outer.is_some_and(|outer| outer.conn() == packet.socket) {
            return out.drop_frame(packet.frame, DropReason::TunnelLoop, Place::Route, port, None);
        }
        if tun.waiting.len() >= MOST_WAITING {
            return out.drop_frame(packet.frame, DropReason::QueueFull, Place::Queue, port, None);
        }
        tun.waiting.push_back((packet.datagram().to_vec(), packet.frame.id));
        let event = out.record(packet.frame.id, || What::Tun { port, inward: false });
        out.show_inside(port, Way::Out, &packet.frame, event);
        out.recycle(packet.frame.bytes);
        self.sockets.wake(SocketId::tun(port));
    }
}
