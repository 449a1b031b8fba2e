//! UDP (RFC 768): one socket's state. Ports and look-up are `socket.rs`, walking is `stack.rs`.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use rt_base::{FrameId, PortId};

use crate::error::SocketError;

/// Longest payload of a UDP datagram over IPv4.
pub(crate) const LONGEST: usize = 65_507;

/// Charged for each waiting datagram beside its bytes, so that empty ones are bounded too.
const OVERHEAD: usize = 64;

/// A UDP socket.
#[derive(Debug)]
pub(crate) struct UdpSocket {
    /// The address it is bound to; `None` for all.
    pub(crate) local: Option<IpAddr>,
    pub(crate) port: u16,
    /// The interface it is bound to.
    pub(crate) device: Option<PortId>,
    /// What the network said, for the next call.
    pub(crate) error: Option<SocketError>,
    received: VecDeque<(Vec<u8>, SocketAddr, FrameId)>,
    waiting: usize,
    limit: usize,
}

impl UdpSocket {
    pub(crate) fn new(local: Option<IpAddr>, port: u16, device: Option<PortId>, limit: usize) -> UdpSocket {
        let received = VecDeque::new();
        UdpSocket { local, port, device, error: None, received, waiting: 0, limit }
    }

    /// How well it fits a datagram that came for `dst` on `port`; the best of a port gets it, `None` never.
    pub(crate) fn fits(&self, dst: IpAddr, port: Option<PortId>) -> Option<u8> {
        let address = match self.local {
            Some(local) if local == dst => 1,
            Some(_) => return None,
            None => 0,
        };
        let device = match self.device {
            Some(device) if Some(device) == port => 2,
            Some(_) => return None,
            None => 0,
        };
        Some(address + device)
    }

    /// Takes a datagram, unless the buffer is full.
    pub(crate) fn push(&mut self, payload: &[u8], from: SocketAddr, frame: FrameId) -> bool {
        let cost = payload.len() + OVERHEAD;
        let fits = self.waiting + cost <= self.limit;
        if fits {
            self.waiting += cost;
            self.received.push_back((payload.to_vec(), from, frame));
        }
        fits
    }

    /// The next datagram, who sent it, and the frame that brought it.
    pub(crate) fn pop(&mut self) -> Option<(Vec<u8>, SocketAddr, FrameId)> {
        let (payload, from, frame) = self.received.pop_front()?;
        self.waiting -= payload.len() + OVERHEAD;
        Some((payload, from, frame))
    }

    /// Whether a datagram or an error waits.
    pub(crate) fn is_readable(&self) -> bool {
        !self.received.is_empty() || self.error.is_some()
    }
}
