//! Verdicts of the walk, remembered: a machine without hooks that has just forwarded a packet does the same with the next one
//! between the same two addresses, without asking the same questions.
//!
//! Nothing is decided here. An entry is made when a packet has gone the whole way (`stack.rs`), holds for packets that differ
//! in nothing that the walk looks at (a plain header, room in the TTL and in the MTU), and dies with every change of addresses,
//! routes, neighbours or rules. What is verified on the long way is verified here: the MAC, the lengths, the header checksum.
//! `tests/it/properties.rs` holds both ways against each other.

use rt_base::{Frame, MacAddr, PortId, Time};
use rt_wire::{checksum, rewrite};

use crate::ip::destination::Hop;
use crate::packet::ETHERNET;
use crate::tables::Counters;

/// Entries of a new table: room for some flows in both directions.
const FEWEST: usize = 16;
/// Entries at most: beyond so many flows at once, some take the long way.
const MOST: usize = 4_096;

/// What became of packets from `src` to `dst` that arrived by `in_port`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shortcut {
    pub(crate) in_port: PortId,
    /// The MAC that they were addressed to.
    pub(crate) arrived_at: MacAddr,
    pub(crate) src: [u8; 4],
    pub(crate) dst: [u8; 4],
    pub(crate) hop: Hop,
    /// Destination and source MAC on the way out.
    pub(crate) macs: (MacAddr, MacAddr),
    /// The neighbour must be asked for anew then.
    pub(crate) until: Time,
    /// Packets that took it.
    pub(crate) packets: u64,
}

/// The shortcuts of a machine: a direct-mapped table, empty until it forwards something. It doubles when two flows want the
/// same place, so that a router at a bottleneck remembers all of them and one on a quiet road stays small.
#[derive(Debug, Default)]
pub(crate) struct Shortcuts {
    /// A power of two, or none.
    entries: Box<[Option<Shortcut>]>,
    /// Goes up whenever what was decided no longer holds.
    era: u32,
    /// Packets that took each route the long way, or by shortcuts that are gone.
    counted: Counters,
}

impl Shortcuts {
    /// Remembers a verdict.
    pub(crate) fn insert(&mut self, shortcut: Shortcut) {
        if self.entries.is_empty() {
            self.entries = vec![None; FEWEST].into();
        }
        loop {
            let index = self.index(shortcut.in_port, shortcut.src, shortcut.dst);
            let place = &mut self.entries[index];
            let taken = place.as_ref().is_some_and(|there| there.key() != shortcut.key());
            if !taken || self.entries.len() >= MOST {
                if let Some(old) = self.entries[index].replace(shortcut) {
                    self.counted.add(old.hop.rule, old.packets);
                }
                return;
            }
            self.double();
        }
    }

    fn double(&mut self) {
        let twice = vec![None; self.entries.len() * 2].into();
        for shortcut in std::mem::replace(&mut self.entries, twice).into_iter().flatten() {
            let index = self.index(shortcut.in_port, shortcut.src, shortcut.dst);
            if let Some(old) = self.entries[index].replace(shortcut) {
                self.counted.add(old.hop.rule, old.packets);
            }
        }
    }

    /// Counts a packet that takes a route the long way.
    #[inline]
    pub(crate) fn count(&mut self, rule: u32) {
        self.counted.add(rule, 1);
    }

    /// Packets that took each route.
    pub(crate) fn hits(&self) -> Counters {
        let mut hits = self.counted.clone();
        for shortcut in self.entries.iter().flatten() {
            hits.add(shortcut.hop.rule, shortcut.packets);
        }
        hits
    }

    /// Fibonacci hashing: the topmost bits of the product depend on all bits of the addresses.
    #[inline]
    fn index(&self, in_port: PortId, src: [u8; 4], dst: [u8; 4]) -> usize {
        let flow = u64::from(u32::from_be_bytes(src)) << 32 | u64::from(u32::from_be_bytes(dst));
        let mixed = (flow ^ u64::from(in_port.0)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> 32) as usize & (self.entries.len() - 1)
    }

    /// Which decisions hold: those of a former era do not.
    pub(crate) fn era(&self) -> u32 {
        self.era
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.era = self.era.wrapping_add(1);
        if !self.entries.is_empty() {
            self.counted = self.hits();
            self.entries = Box::default();
        }
    }

    /// Sends a frame the remembered way: TTL and MACs are rewritten. `None` leaves the frame as it was.
    #[inline]
    pub(crate) fn apply(&mut self, now: Time, in_port: PortId, frame: &mut Frame) -> Option<Hop> {
        if self.entries.is_empty() {
            return None;
        }
        let len = frame.bytes.len().checked_sub(ETHERNET)?;
        let bytes = frame.bytes.first_chunk_mut::<34>()?;
        let src = [bytes[26], bytes[27], bytes[28], bytes[29]];
        let dst = [bytes[30], bytes[31], bytes[32], bytes[33]];
        let index = self.index(in_port, src, dst);
        let shortcut = self.entries[index].as_mut()?;
        let same = shortcut.src == src
            && shortcut.dst == dst
            && shortcut.in_port == in_port
            && bytes[..6] == shortcut.arrived_at.0
            && bytes[12..15] == [0x08, 0x00, 0x45]
            && shortcut.until > now;
        let total = u16::from_be_bytes([bytes[16], bytes[17]]);
        let fits = usize::from(total) == len && total <= shortcut.hop.mtu && total >= 20 && bytes[22] > 1;
        if !same || !fits || !checksum::holds(checksum::ones_sum(&bytes[ETHERNET..])) {
            return None;
        }
        shortcut.packets += 1;
        rewrite::decrement_ttl(&mut bytes[ETHERNET..]);
        rewrite::set_macs(bytes, shortcut.macs.0, shortcut.macs.1);
        Some(shortcut.hop)
    }
}

impl Shortcut {
    fn key(&self) -> (PortId, [u8; 4], [u8; 4]) {
        (self.in_port, self.src, self.dst)
    }
}
