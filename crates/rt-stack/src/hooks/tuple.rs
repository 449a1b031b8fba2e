//! One direction of a flow: what identifies it, and what its answers look like.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::packet::{protocol, v4};

/// One direction of a flow. ICMP echo has its identifier in `sport` and type and code in `dport`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Tuple {
    pub(crate) protocol: u8,
    pub(crate) src: Ipv4Addr,
    pub(crate) dst: Ipv4Addr,
    pub(crate) sport: u16,
    pub(crate) dport: u16,
}

impl Tuple {
    /// What an answer to it looks like.
    pub(crate) fn reversed(self) -> Tuple {
        let (sport, dport) = match self.protocol {
            protocol::ICMP => (self.sport, reversed_echo(self.dport)),
            _ => (self.dport, self.sport),
        };
        Tuple { protocol: self.protocol, src: self.dst, dst: self.src, sport, dport }
    }

    /// Of packets from `src` to `dst`; `None` for IPv6, which the stack does not speak.
    pub(crate) fn between(protocol: u8, src: SocketAddr, dst: SocketAddr) -> Option<Tuple> {
        let (from, to) = (v4(src.ip())?, v4(dst.ip())?);
        Some(Tuple { protocol, src: from, dst: to, sport: src.port(), dport: dst.port() })
    }

    /// Source address and port.
    pub(crate) fn source(self) -> SocketAddr {
        SocketAddr::new(self.src.into(), self.sport)
    }

    /// Destination address and port; for ICMP the port is the identifier, which belongs to both ends.
    pub(crate) fn destination(self) -> SocketAddr {
        let port = if self.protocol == protocol::ICMP { self.sport } else { self.dport };
        SocketAddr::new(self.dst.into(), port)
    }

    /// Moves its source elsewhere; to an IPv6 address nothing is moved, as in a packet.
    pub(crate) fn set_source(&mut self, to: SocketAddr) {
        let IpAddr::V4(address) = to.ip() else { return };
        (self.src, self.sport) = (address, to.port());
    }

    /// Moves its destination elsewhere, likewise.
    pub(crate) fn set_destination(&mut self, to: SocketAddr) {
        let IpAddr::V4(address) = to.ip() else { return };
        self.dst = address;
        if self.protocol == protocol::ICMP {
            self.sport = to.port();
        } else {
            self.dport = to.port();
        }
    }
}

/// Type and code of an echo request, as a tuple has them.
pub(crate) const ECHO_REQUEST: u16 = 8 << 8;
const ECHO_REPLY: u16 = 0;

fn reversed_echo(kind: u16) -> u16 {
    if kind == ECHO_REQUEST { ECHO_REPLY } else { ECHO_REQUEST }
}

/// Which way a packet of a flow goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Direction {
    /// As the first packet.
    Original,
    /// Back.
    Reply,
}

/// Both, in the order of [`Direction::index`].
pub(crate) const DIRECTIONS: [Direction; 2] = [Direction::Original, Direction::Reply];

impl Direction {
    /// The other one.
    #[inline]
    pub(crate) fn opposite(self) -> Direction {
        match self {
            Direction::Original => Direction::Reply,
            Direction::Reply => Direction::Original,
        }
    }

    /// For tables with a place for each.
    pub(crate) fn index(self) -> usize {
        self as usize
    }
}
