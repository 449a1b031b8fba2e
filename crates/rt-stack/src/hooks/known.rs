//! Flows whose packets need no more questions: what was done with the last packet of a flow is done with the next, in one step
//! (as Linux's flowtables do).
//!
//! Nothing is decided here. A place is taken when a packet of a known flow has gone the whole way (`stack.rs`, `remember`), and
//! holds for packets that differ in nothing that the walk looks at: plain headers, not a fragment, room in the TTL and in the
//! MTU, the flow in the same state for its filters. It dies with every change of addresses, routes, neighbours or rules (the
//! `era`) and with its flow. What is verified on the long way is verified here. Events are not made here: while they are
//! recorded, every packet goes the long way. `tests/it/reference` holds both ways against each other.

use std::net::Ipv4Addr;

use rt_base::{PortId, Time};
use rt_wire::{MacAddr, TcpFlags, checksum, rewrite};

use super::conntrack::Direction;
use crate::packet::{ETHERNET, protocol};

/// What became of the last packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    pub(crate) key: Key,
    pub(crate) entry: u32,
    /// Which flow of those that had this place in the table.
    pub(crate) serial: u32,
    pub(crate) direction: Direction,
    /// Whether the flow had been answered.
    pub(crate) answered: bool,
    /// The filter rule that let it pass, `u32::MAX` for the policy; `None` without a chain.
    pub(crate) rule: Option<u32>,
    /// Source and destination as it left.
    pub(crate) left: ((Ipv4Addr, u16), (Ipv4Addr, u16)),
    pub(crate) way: Way,
}

/// How it came and left, below IP.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    /// The MAC that it was addressed to.
    pub(crate) arrived_at: MacAddr,
    /// Destination and source MAC on the way out.
    pub(crate) macs: (MacAddr, MacAddr),
    pub(crate) out: PortId,
    pub(crate) mtu: u16,
    pub(crate) route: u32,
    /// The neighbour must be asked for anew then.
    pub(crate) until: Time,
}

/// Addresses; ports, protocol and the interface of arrival.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Key(u64, u64);

impl Key {
    /// Of the packets of a flow.
    pub(crate) fn new(in_port: PortId, protocol: u8, src: (Ipv4Addr, u16), dst: (Ipv4Addr, u16)) -> Key {
        let addresses = u64::from(src.0.to_bits()) << 32 | u64::from(dst.0.to_bits());
        let ports = u64::from(src.1) << 48 | u64::from(dst.1) << 32;
        Key(addresses, ports | u64::from(protocol) << 16 | u64::from(in_port.0))
    }

    /// Source and destination.
    fn ends(self) -> ((Ipv4Addr, u16), (Ipv4Addr, u16)) {
        let address = |bits: u64| Ipv4Addr::from_bits(bits as u32);
        ((address(self.0 >> 32), (self.1 >> 48) as u16), (address(self.0), (self.1 >> 32) as u16))
    }

    /// All bits of the key move all bits of the result.
    #[inline]
    fn mixed(self) -> u64 {
        let product = u128::from(self.0 ^ 0x9e37_79b9_7f4a_7c15) * u128::from(self.1 ^ 0xd6e8_feb8_6659_fd93);
        (product >> 64) as u64 ^ product as u64
    }
}

/// What a frame must have to be looked up at all.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    pub(crate) key: Key,
    /// Length of the datagram.
    pub(crate) total: u16,
    pub(crate) flags: Option<TcpFlags>,
}

impl Head {
    /// Reads a UDP or TCP datagram that is no fragment, without IP options, unharmed and with hops to go.
    #[inline]
    pub(crate) fn read(in_port: PortId, bytes: &[u8]) -> Option<Head> {
        let head = bytes.first_chunk::<42>()?;
        let word = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
        let address = |at: usize| Ipv4Addr::new(head[at], head[at + 1], head[at + 2], head[at + 3]);
        let total = word(16);
        let flags = match head[23] {
            protocol::UDP => None,
            protocol::TCP if total >= 40 => Some(TcpFlags(*bytes.get(47)?)),
            _ => return None,
        };
        let plain = head[12..15] == [0x08, 0x00, 0x45] && word(20) & 0x3fff == 0;
        let whole = usize::from(total) == bytes.len() - ETHERNET && total >= 28;
        if !plain || !whole || head[22] <= 1 || !checksum::holds(checksum::ones_sum(&head[ETHERNET..34])) {
            return None;
        }
        let key = Key::new(in_port, head[23], (address(26), word(34)), (address(30), word(36)));
        Some(Head { key, total, flags })
    }
}

/// Writes what the flow's packets leave with.
#[inline]
pub(crate) fn send_on(known: &Known, bytes: &mut [u8]) {
    let ip = &mut bytes[ETHERNET..];
    let (src, dst) = known.left;
    let (from, to) = known.key.ends();
    if from != src {
        rewrite::rewrite_v4_src(ip, src.0, Some(src.1));
    }
    if to != dst {
        rewrite::rewrite_v4_dst(ip, dst.0, Some(dst.1));
    }
    rewrite::decrement_ttl(ip);
    rewrite::set_macs(bytes, known.way.macs.0, known.way.macs.1);
}

/// Places at first, and at most.
const FEWEST: usize = 64;
const MOST: usize = 1 << 18;
/// How far from its own place a flow may stand.
const REACH: usize = 8;

/// All of them: an open hash table that is at most half full and forgets at will.
#[derive(Debug, Default)]
pub(crate) struct KnownFlows {
    /// A power of two, or none.
    places: Box<[Option<Known>]>,
    used: usize,
    /// Of the decisions that led here.
    era: u32,
}

impl KnownFlows {
    /// The flow of such packets, if it was remembered in this era.
    #[inline]
    pub(crate) fn find(&self, era: u32, key: Key) -> Option<&Known> {
        if self.era != era || self.places.is_empty() {
            return None;
        }
        let mask = self.places.len() - 1;
        let at = key.mixed() as usize;
        (0..REACH).map_while(|step| self.places[(at + step) & mask].as_ref()).find(|known| known.key == key)
    }

    /// Remembers a flow; `lives` says which of those remembered before are still there.
    pub(crate) fn insert(&mut self, era: u32, known: Known, lives: impl Fn(&Known) -> bool) {
        if self.era != era || self.places.is_empty() {
            (self.places, self.used, self.era) = (vec![None; FEWEST].into(), 0, era);
        }
        if self.used * 2 >= self.places.len() {
            self.rebuild(&lives);
        }
        while !self.put(known) {
            if self.places.len() >= MOST {
                return;
            }
            self.grow(self.places.len() * 2, &lives);
        }
    }

    fn rebuild(&mut self, lives: &impl Fn(&Known) -> bool) {
        let live = self.places.iter().flatten().filter(|known| lives(known)).count();
        let room = (live * 4).next_power_of_two().clamp(FEWEST, MOST);
        self.grow(room, lives);
        if self.used * 2 >= self.places.len() {
            // More flows than there are places: begin again.
            (self.places, self.used) = (vec![None; MOST].into(), 0);
        }
    }

    fn grow(&mut self, room: usize, lives: &impl Fn(&Known) -> bool) {
        self.used = 0;
        let old = std::mem::replace(&mut self.places, vec![None; room].into());
        for known in old.into_iter().flatten().filter(|known| lives(known)) {
            self.put(known);
        }
    }

    /// Puts it where there is room within reach; whether there was.
    fn put(&mut self, known: Known) -> bool {
        let mask = self.places.len() - 1;
        let at = known.key.mixed() as usize;
        for step in 0..REACH {
            let place = &mut self.places[(at + step) & mask];
            if place.is_none_or(|there| there.key == known.key) {
                self.used += usize::from(place.is_none());
                *place = Some(known);
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(n: u32) -> Known {
        let (src, dst) = ((Ipv4Addr::from_bits(n), 1), (Ipv4Addr::new(8, 8, 8, 8), 53));
        Known {
            key: Key::new(PortId(0), protocol::UDP, src, dst),
            entry: n,
            serial: 0,
            direction: Direction::Original,
            answered: false,
            rule: None,
            left: (src, dst),
            way: Way {
                arrived_at: MacAddr([0; 6]),
                macs: (MacAddr([0; 6]), MacAddr([0; 6])),
                out: PortId(0),
                mtu: 1_500,
                route: 0,
                until: Time::MAX,
            },
        }
    }

    #[test]
    fn flows_are_found_until_the_era_ends() {
        let mut flows = KnownFlows::default();
        for n in 0..10_000 {
            flows.insert(1, known(n), |_| true);
        }
        let found = |flows: &KnownFlows, era| {
            (0..10_000).filter(|n| flows.find(era, known(*n).key).is_some_and(|k| k.entry == *n)).count()
        };
        assert_eq!(found(&flows, 1), 10_000);
        assert_eq!(found(&flows, 2), 0);
        flows.insert(2, known(7), |_| true);
        assert_eq!((found(&flows, 1), found(&flows, 2)), (0, 1));
    }

    /// A scan makes flows that end: they do not fill the memory.
    #[test]
    fn dead_flows_give_way() {
        let mut flows = KnownFlows::default();
        for n in 0..100_000 {
            flows.insert(1, known(n), |known| known.entry + 100 > n);
        }
        assert!(flows.places.len() <= 1_024, "{} places", flows.places.len());
    }
}
