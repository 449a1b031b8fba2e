//! A tun interface: the program's side of it. What the machine routes to the interface is read here as IP packets, and what is
//! written here arrives at the machine by the interface, as with Linux's `/dev/net/tun`.
//!
//! A tunnel that carries one packet in one datagram passes the frame's id along ([`UdpSocket::send_carrying`],
//! [`UdpSocket::recv_carrying`]): then the packet inside and the one around it are one journey in the story. One that carries
//! packets in a TCP stream says where in the stream they are ([`TunDevice::streamed`], [`CameBy::Stream`]).

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::task::Poll;

use rt_base::{DropReason, FrameId, PortId};
use rt_stack::{CameBy, Carried, SocketId};

use crate::net::Net;
use crate::socket::{UdpSocket, io_error};

/// A tun interface that this program has. Dropping it gives the interface back.
pub struct TunDevice {
    net: Net,
    port: PortId,
}

impl Net {
    /// Takes the tun interface of that name.
    ///
    /// # Errors
    /// `AddrNotAvailable` when the machine has no tun interface of that name, `AddrInUse` when a program has it.
    pub fn tun(&self, name: &str) -> io::Result<TunDevice> {
        let port = self.core().stack.tun_open(name).map_err(io_error)?;
        Ok(TunDevice { net: self.clone(), port })
    }
}

impl TunDevice {
    /// The interface.
    #[must_use]
    pub fn port(&self) -> PortId {
        self.port
    }

    /// The next IP packet that was routed to the interface, and its frame's id.
    pub async fn read(&self) -> (Vec<u8>, FrameId) {
        poll_fn(|cx| {
            let mut core = self.net.core();
            if let Some(packet) = core.stack.tun_read(self.port) {
                return Poll::Ready(packet);
            }
            core.wait_for(SocketId::tun(self.port), cx.waker());
            Poll::Pending
        })
        .await
    }

    /// An IP packet arrives at the machine by the interface.
    pub fn write(&self, packet: &[u8], by: CameBy) {
        self.net.core().stack.tun_write(self.port, packet, by);
    }

    /// What this socket sends carries what was read here, and must not come back.
    pub fn sends_by(&self, socket: &UdpSocket) {
        let outer = socket.with_stack(|_, id| id);
        self.net.core().stack.tun_outer(self.port, outer);
    }

    /// A packet of this length that was read here, or that the frame brought.
    #[must_use]
    pub fn carried(&self, frame: FrameId, len: usize) -> Carried {
        Carried { port: self.port, frame, len: u16::try_from(len).unwrap_or(u16::MAX) }
    }

    /// A packet, behind `header` bytes, begins to go into a stream; its first byte is the stream's byte `offset`.
    pub fn streamed(&self, carried: Carried, stream: SocketId, offset: u64, header: usize) {
        let header = u16::try_from(header).unwrap_or(u16::MAX);
        self.net.core().stack.tun_streamed(carried, stream.conn(), offset, header);
    }

    /// A packet that was read here (outward) or that a datagram brought is thrown away.
    pub fn refuse(&self, carried: Carried, reason: DropReason, outward: bool) {
        self.net.core().stack.tun_refuse(carried, reason, outward);
    }
}

impl Drop for TunDevice {
    fn drop(&mut self) {
        let mut core = self.net.core();
        core.waiting.remove(&SocketId::tun(self.port));
        core.stack.tun_close(self.port);
    }
}

impl UdpSocket {
    /// Sends a datagram that carries a packet of a tun interface: both are one journey.
    ///
    /// # Errors
    /// As [`UdpSocket::send_to`].
    pub fn send_carrying(&self, data: &[u8], to: SocketAddr, carries: Option<Carried>) -> io::Result<()> {
        self.with_stack(|stack, id| stack.udp_send_carrying(id, to, data, carries)).map_err(io_error)
    }

    /// The next datagram, who sent it, and the id of the frame that brought it.
    ///
    /// # Errors
    /// As [`UdpSocket::recv_from`].
    pub async fn recv_carrying(&self) -> io::Result<(Vec<u8>, SocketAddr, FrameId)> {
        poll_fn(|cx| self.poll_recv_carrying(cx)).await
    }
}
