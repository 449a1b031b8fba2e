//! Flows whose packets need no more questions: what was done with the last packet of a flow is done with the next, in one step
//! (as Linux's flowtables do).
//!
//! Nothing is decided here. A flow's [`Way`] is remembered when a packet of it has gone the whole way (`stack.rs`, `remember`), and
//! holds for packets that differ in nothing that the walk looks at: plain headers, not a fragment, room in the TTL and in the
//! MTU, the flow in the same state for its filters. It dies with every change of addresses, routes, neighbours or rules (the
//! `era`) and with its flow. What is verified on the long way is verified here. Events are not made here: while they are
//! recorded, every packet goes the long way. `tests/it/reference` holds both ways against each other.
//!
//! Many flows go few ways, so a flow has only the number of its way in its line (`line.rs`), and [`Ways`] has the ways.

use rt_base::{FixedMap, PortId, Time};
use rt_wire::{MacAddr, TcpFlags, checksum, rewrite};

use super::line::Key;
use crate::packet::{ETHERNET, protocol};

/// How packets came and left, below IP.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Way {
    pub(crate) in_port: PortId,
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

/// The filter rule that let packets pass, `u32::MAX` for the policy; `None` without a chain.
pub(crate) type Rule = Option<u32>;

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
    pub(crate) fn read(bytes: &[u8]) -> Option<Head> {
        let head = bytes.first_chunk::<42>()?;
        let word = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
        let address = |at: usize| std::net::Ipv4Addr::new(head[at], head[at + 1], head[at + 2], head[at + 3]);
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
        let key = Key::new(head[23], (address(26), word(34)), (address(30), word(36)));
        Some(Head { key, total, flags })
    }
}

/// Writes what the flow's packets leave with.
#[inline]
pub(crate) fn send_on(way: &Way, (came, left): (Key, Key), bytes: &mut [u8]) {
    let ip = &mut bytes[ETHERNET..];
    if came != left {
        let ((from, to), (src, dst)) = (came.ends(), left.ends());
        if from != src {
            rewrite::rewrite_v4_src(ip, src.0, Some(src.1));
        }
        if to != dst {
            rewrite::rewrite_v4_dst(ip, dst.0, Some(dst.1));
        }
    }
    rewrite::decrement_ttl(ip);
    rewrite::set_macs(bytes, way.macs.0, way.macs.1);
}

/// Numbers at most at a time; beyond them all ways are remembered anew.
const MOST: usize = 1 << 18;

/// All of them, each with the rules that let packets go it. Their numbers are never used twice: those of a former era, and 0, are
/// nobody's.
#[derive(Debug, Default)]
pub(crate) struct Ways {
    /// By number: a short entry for each rule, because rules are many.
    ruled: Vec<(u32, Rule)>,
    ways: Vec<Way>,
    numbers: FixedMap<(u32, Rule), u32>,
    places: FixedMap<Way, u32>,
    /// The number of the first is one more.
    before: u32,
    /// Of the decisions that led here.
    era: u32,
}

impl Ways {
    /// The way and the rule with this number, if they were remembered in this era.
    #[inline]
    pub(crate) fn get(&self, era: u32, number: u32) -> Option<(&Way, Rule)> {
        let at = number.wrapping_sub(self.before).wrapping_sub(1);
        let (way, rule) = self.ruled.get(at as usize).filter(|_| self.era == era)?;
        Some((self.ways.get(*way as usize)?, *rule))
    }

    /// The number of a way with a rule; 0, which says that it is not remembered, when all numbers have been used.
    pub(crate) fn number(&mut self, era: u32, way: Way, rule: Rule) -> u32 {
        if self.era != era || self.ruled.len() >= MOST {
            let before = self.before.saturating_add(self.ruled.len() as u32);
            *self = Ways { before, era, ..Ways::default() };
        }
        let place = self.places.get(&way).copied().unwrap_or_else(|| {
            self.ways.push(way);
            self.places.insert(way, self.ways.len() as u32 - 1);
            self.ways.len() as u32 - 1
        });
        if let Some(number) = self.numbers.get(&(place, rule)) {
            return *number;
        }
        let Some(number) = self.before.checked_add(self.ruled.len() as u32 + 1) else { return 0 };
        self.ruled.push((place, rule));
        self.numbers.insert((place, rule), number);
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(out: u16) -> Way {
        Way {
            in_port: PortId(0),
            arrived_at: MacAddr([0; 6]),
            macs: (MacAddr([0; 6]), MacAddr([0; 6])),
            out: PortId(out),
            mtu: 1_500,
            route: 0,
            until: Time::MAX,
        }
    }

    #[test]
    fn ways_are_found_until_the_era_ends() {
        let mut ways = Ways::default();
        let each = |n: u32| (way(n as u16 % 3), (n > 4).then_some(n));
        let mut number = |n| ways.number(1, each(n).0, each(n).1);
        let numbers: Vec<u32> = (0..10).chain(0..10).map(&mut number).collect();
        assert_eq!(numbers[..10], numbers[10..], "one way has one number");
        let found = |ways: &Ways, era| {
            let is = |n: &u32| ways.get(era, numbers[*n as usize]) == Some((&each(*n).0, each(*n).1));
            (0..10).filter(is).count()
        };
        assert_eq!((found(&ways, 1), found(&ways, 2)), (10, 0));
        let again = ways.number(2, way(7), None);
        assert!(!numbers.contains(&again), "a number of a former era must not come to mean something else");
        assert_eq!((found(&ways, 1), found(&ways, 2)), (0, 0));
        assert_eq!((ways.get(2, again), ways.get(2, 0)), (Some((&way(7), None)), None));
    }

    #[test]
    fn more_ways_than_fit_give_way() {
        let mut ways = Ways::default();
        for rule in 0..MOST as u32 + 10 {
            let number = ways.number(1, way(0), Some(rule));
            assert_eq!(ways.get(1, number), Some((&way(0), Some(rule))));
        }
        assert_eq!((ways.ruled.len(), ways.ways.len()), (10, 1));
    }

    #[test]
    fn when_the_numbers_end_nothing_is_remembered() {
        let mut ways = Ways { before: u32::MAX - 2, ..Ways::default() };
        let numbers: Vec<u32> = (0..5).map(|rule| ways.number(0, way(0), Some(rule))).collect();
        assert_eq!(numbers, [u32::MAX - 1, u32::MAX, 0, 0, 0]);
        assert_eq!(ways.get(0, 0), None);
        assert_eq!(ways.number(1, way(0), None), 0);
    }
}
