//! What every packet of a flow touches, in one line of the cache.
//!
//! A router with 100,000 flows spends its time waiting for memory, so what a packet needs is kept together and all else
//! elsewhere (`conntrack.rs`, `Rest`). Main types: [`Line`] and, as it is compared and hashed, [`Key`].

use std::net::Ipv4Addr;

use rt_base::Time;

use super::tcp_track::TcpTrack;
use super::tuple::{DIRECTIONS, Direction, Tuple};
use crate::packet::protocol;

/// A [`Tuple`] as two words and a byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Key {
    addresses: u64,
    ports: u32,
    protocol: u8,
}

impl Key {
    /// Of packets from `src` to `dst`.
    #[inline]
    pub(crate) fn new(protocol: u8, src: (Ipv4Addr, u16), dst: (Ipv4Addr, u16)) -> Key {
        let addresses = u64::from(src.0.to_bits()) << 32 | u64::from(dst.0.to_bits());
        Key { addresses, ports: u32::from(src.1) << 16 | u32::from(dst.1), protocol }
    }

    /// Of a flow's direction.
    pub(crate) fn of(tuple: &Tuple) -> Key {
        Key::new(tuple.protocol, (tuple.src, tuple.sport), (tuple.dst, tuple.dport))
    }

    /// Source and destination.
    #[inline]
    pub(crate) fn ends(self) -> ((Ipv4Addr, u16), (Ipv4Addr, u16)) {
        let source = (Ipv4Addr::from_bits((self.addresses >> 32) as u32), (self.ports >> 16) as u16);
        (source, (Ipv4Addr::from_bits(self.addresses as u32), self.ports as u16))
    }

    fn tuple(self) -> Tuple {
        let ((src, sport), (dst, dport)) = self.ends();
        Tuple { protocol: self.protocol, src, dst, sport, dport }
    }

    /// The same for what goes there and for what comes back. All bits of the key move all bits of the result, but for ICMP's
    /// type.
    #[inline]
    pub(crate) fn hash(self) -> u64 {
        let sport = self.ports >> 16;
        let dport = if self.protocol == protocol::ICMP { sport } else { self.ports & 0xffff };
        let end = |address: u64, port: u32| address << 16 | u64::from(port);
        let (src, dst) = (end(self.addresses >> 32, sport), end(self.addresses & 0xffff_ffff, dport));
        let (low, high) = (src.min(dst), src.max(dst) | u64::from(self.protocol) << 48);
        let product = u128::from(low ^ 0x9e37_79b9_7f4a_7c15) * u128::from(high ^ 0xd6e8_feb8_6659_fd93);
        (product >> 64) as u64 ^ product as u64
    }
}

/// See the module.
#[derive(Clone, Debug)]
#[repr(align(64))]
pub(crate) struct Line {
    pub(crate) expires: Time,
    /// Indexed by [`Direction`], as all below.
    addresses: [u64; 2],
    ports: [u32; 2],
    /// Packets and bytes since [`Line::take_counted`].
    packets: [u32; 2],
    bytes: [u32; 2],
    /// How packets go on (`known.rs`); 0 for the long way.
    pub(crate) ways: [u32; 2],
    protocol: u8,
    /// See the constants.
    flags: u8,
    pub(crate) tcp: Option<TcpTrack>,
}

/// The flow is in the table.
const LIVE: u8 = 1;
/// It was answered.
const REPLIED: u8 = 2;
/// Packets with the original's key belong to it, and those with the reply's.
const OWNS: [u8; 2] = [4, 8];

impl Line {
    /// Of a flow with these directions, of which nothing has been seen.
    pub(crate) fn new([original, reply]: [Key; 2], tcp: Option<TcpTrack>, expires: Time) -> Line {
        Line {
            expires,
            addresses: [original.addresses, reply.addresses],
            ports: [original.ports, reply.ports],
            packets: [0; 2],
            bytes: [0; 2],
            ways: [0; 2],
            protocol: original.protocol,
            flags: LIVE,
            tcp,
        }
    }

    /// Of both directions.
    #[inline]
    pub(crate) fn protocol(&self) -> u8 {
        self.protocol
    }

    /// Whether the flow is in the table.
    #[inline]
    pub(crate) fn is_live(&self) -> bool {
        self.flags & LIVE != 0
    }

    /// It is taken out of the table.
    pub(crate) fn end(&mut self) {
        self.flags = 0;
    }

    /// Whether it was answered.
    #[inline]
    pub(crate) fn is_replied(&self) -> bool {
        self.flags & REPLIED != 0
    }

    /// It is answered, and its packets are in another state from now on.
    pub(crate) fn reply(&mut self) {
        self.flags |= REPLIED;
        self.ways = [0; 2];
    }

    /// Packets with this direction's key belong to it.
    pub(crate) fn own(&mut self, direction: Direction) {
        self.flags |= OWNS[direction.index()];
    }

    /// Whether packets with this direction's key belong to it.
    pub(crate) fn owns(&self, direction: Direction) -> bool {
        self.flags & OWNS[direction.index()] != 0
    }

    /// The direction of packets with this key, if they belong to it.
    #[inline]
    pub(crate) fn direction(&self, key: Key) -> Option<Direction> {
        let is = |direction| self.owns(direction) && self.key(direction) == key;
        DIRECTIONS.into_iter().find(|direction| is(*direction))
    }

    /// What packets of this direction look like when they come in.
    #[inline]
    pub(crate) fn key(&self, direction: Direction) -> Key {
        let at = direction.index();
        Key { addresses: self.addresses[at], ports: self.ports[at], protocol: self.protocol }
    }

    /// The same.
    pub(crate) fn tuple(&self, direction: Direction) -> Tuple {
        self.key(direction).tuple()
    }

    /// What packets of this direction look like when they leave, of a protocol with ports.
    #[inline]
    pub(crate) fn left(&self, direction: Direction) -> Key {
        let back = self.key(direction.opposite());
        Key { addresses: back.addresses.rotate_left(32), ports: back.ports.rotate_left(16), ..back }
    }

    /// Counts a packet; false, and it is not counted, when there is no room for it.
    #[inline]
    pub(crate) fn count(&mut self, direction: Direction, len: u16) -> bool {
        let at = direction.index();
        let (packets, bytes) = (self.packets[at].checked_add(1), self.bytes[at].checked_add(u32::from(len)));
        let (Some(packets), Some(bytes)) = (packets, bytes) else { return false };
        (self.packets[at], self.bytes[at]) = (packets, bytes);
        true
    }

    /// Packets and bytes of each direction.
    pub(crate) fn counted(&self) -> [(u64, u64); 2] {
        [0, 1].map(|at| (u64::from(self.packets[at]), u64::from(self.bytes[at])))
    }

    /// The same, and they begin at 0 again.
    pub(crate) fn take_counted(&mut self) -> [(u64, u64); 2] {
        let counted = self.counted();
        (self.packets, self.bytes) = ([0; 2], [0; 2]);
        counted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_is_one_line() {
        assert_eq!(size_of::<Line>(), 64);
    }

    #[test]
    fn there_and_back_have_one_hash() {
        for (protocol, sport, dport) in [(6, 1_000, 80), (17, 53, 53), (1, 7, 8 << 8), (1, 7, 0), (47, 0, 0)]
        {
            let (src, dst) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(8, 8, 8, 8));
            let there = Tuple { protocol, src, dst, sport, dport };
            let (key, back) = (Key::of(&there), Key::of(&there.reversed()));
            assert_eq!(key.tuple(), there);
            assert_eq!(key.hash(), back.hash());
            let other = Tuple { sport: sport + 1, ..there };
            assert_ne!(key.hash(), Key::of(&other).hash());
        }
    }

    #[test]
    fn what_does_not_fit_is_not_counted() {
        let key = Key::new(17, (Ipv4Addr::new(10, 0, 0, 1), 1), (Ipv4Addr::new(10, 0, 0, 2), 2));
        let mut line = Line::new([key, key], None, Time::ZERO);
        let (mut all, most) = (0_u64, u64::from(u32::MAX) / 65_535 * 65_535);
        while line.count(Direction::Original, u16::MAX) {
            all += u64::from(u16::MAX);
        }
        assert_eq!(all, most);
        assert_eq!(line.take_counted()[0], (most / 65_535, most));
        assert!(line.count(Direction::Original, u16::MAX));
        assert_eq!(line.counted(), [(1, 65_535), (0, 0)]);
    }
}
