//! Tun interfaces: packets that are routed to one wait for a program of the machine, and what the program writes arrives by it.

use std::collections::VecDeque;

use rt_base::{DropReason, Frame, FrameId, InterfaceKind, Outbox, Place, PortId, What};
use rt_wire::Ipv4Header;

use crate::error::SocketError;
use crate::output::Pending;
use crate::packet::{EMPTY_ETHERNET, ETHERNET, Packet};
use crate::socket::SocketId;
use crate::stack::Stack;

/// Packets that wait for the program at most (Linux: `txqueuelen` of a tun).
const MOST_WAITING: usize = 500;

/// A tun interface whose program is there.
#[derive(Debug, Default)]
pub(crate) struct Tun {
    waiting: VecDeque<(Vec<u8>, FrameId)>,
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

    /// The next IP packet that was routed to the interface, and its frame's id: what carries the packet on bears it too
    /// ([`Stack::udp_send_carrying`]), so that both are one journey.
    pub fn tun_read(&mut self, port: PortId) -> Option<(Vec<u8>, FrameId)> {
        self.virtuals.as_mut()?.tuns.get_mut(&port)?.waiting.pop_front()
    }

    /// An IP packet from the program arrives by the interface. `frame` is the id of the frame that carried it
    /// ([`Stack::udp_recv_carrying`]), or `NONE`. Bytes that are no IP packet are dropped as malformed.
    pub fn tun_write(&mut self, port: PortId, packet: &[u8], frame: FrameId) {
        if !self.virtuals.as_ref().is_some_and(|v| v.tuns.contains_key(&port)) {
            return;
        }
        let mut bytes = Vec::with_capacity(ETHERNET + packet.len());
        bytes.extend_from_slice(&EMPTY_ETHERNET);
        bytes.extend_from_slice(packet);
        self.pending.push_back(Pending::FromTun { port, bytes, frame });
    }

    /// The program lets go of the interface.
    pub fn tun_close(&mut self, port: PortId) {
        if let Some(virtuals) = &mut self.virtuals {
            virtuals.tuns.remove(&port);
        }
    }

    /// What the program wrote.
    pub(crate) fn take_from_program(&mut self, port: PortId, bytes: Vec<u8>, id: FrameId, out: &mut Outbox) {
        let frame = match id.is_none() {
            true => out.new_frame(bytes, FrameId::NONE),
            false => Frame { id, parent: FrameId::NONE, bytes },
        };
        out.record(frame.id, || What::Tun { port, inward: true });
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
        if tun.waiting.len() >= MOST_WAITING {
            return out.drop_frame(packet.frame, DropReason::QueueFull, Place::Queue, port, None);
        }
        tun.waiting.push_back((packet.datagram().to_vec(), packet.frame.id));
        out.record(packet.frame.id, || What::Tun { port, inward: false });
        out.recycle(packet.frame.bytes);
        self.sockets.wake(SocketId::tun(port));
    }
}
