//! One direction of a flow: what identifies it, and what its answers look like.

use core::hash::{Hash, Hasher};
use std::net::{IpAddr, SocketAddr};

use crate::packet::protocol;

/// One direction of a flow. ICMP echo has its identifier in `sport` and type and code in `dport`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Tuple {
    pub(crate) protocol: u8,
    pub(crate) src: IpAddr,
    pub(crate) dst: IpAddr,
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

    /// Of packets from `src` to `dst`.
    pub(crate) fn between(protocol: u8, src: SocketAddr, dst: SocketAddr) -> Tuple {
        Tuple { protocol, src: src.ip(), dst: dst.ip(), sport: src.port(), dport: dst.port() }
    }

    /// Source address and port.
    pub(crate) fn source(self) -> SocketAddr {
        SocketAddr::new(self.src, self.sport)
    }

    /// Destination address and port; for ICMP the port is the identifier, which belongs to both ends.
    pub(crate) fn destination(self) -> SocketAddr {
        let port = if self.protocol == protocol::ICMP { self.sport } else { self.dport };
        SocketAddr::new(self.dst, port)
    }

    /// Moves its source elsewhere.
    pub(crate) fn set_source(&mut self, to: SocketAddr) {
        (self.src, self.sport) = (to.ip(), to.port());
    }

    /// Moves its destination elsewhere.
    pub(crate) fn set_destination(&mut self, to: SocketAddr) {
        self.dst = to.ip();
        if self.protocol == protocol::ICMP {
            self.sport = to.port();
        } else {
            self.dport = to.port();
        }
    }
}

impl Hash for Tuple {
    /// Two words for IPv4: the derived hash would feed the hasher byte strings.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let low = (u64::from(self.sport) << 24) | (u64::from(self.dport) << 8) | u64::from(self.protocol);
        match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                state.write_u64((u64::from(src.to_bits()) << 32) | u64::from(dst.to_bits()));
            }
            (src, dst) => {
                src.hash(state);
                dst.hash(state);
            }
        }
        state.write_u64(low);
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

impl Direction {
    /// For tables with a place for each.
    pub(crate) fn index(self) -> usize {
        self as usize
    }
}
