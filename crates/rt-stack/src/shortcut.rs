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

/// Entries, found by a few address bits: room for some flows in both directions.
const ENTRIES: usize = 16;

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
}

/// The shortcuts of a machine; empty until it forwards something.
#[derive(Debug, Default)]
pub(crate) struct Shortcuts {
    entries: Option<Box<[Option<Shortcut>; ENTRIES]>>,
}

impl Shortcuts {
    /// Remembers a verdict.
    pub(crate) fn insert(&mut self, shortcut: Shortcut) {
        let index = index(shortcut.in_port, shortcut.src, shortcut.dst);
        self.entries.get_or_insert_default()[index] = Some(shortcut);
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.entries = None;
    }

    /// Sends a frame the remembered way: TTL and MACs are rewritten. `None` leaves the frame as it was.
    #[inline]
    pub(crate) fn apply(&self, now: Time, in_port: PortId, frame: &mut Frame) -> Option<Hop> {
        let entries = self.entries.as_ref()?;
        let len = frame.bytes.len().checked_sub(ETHERNET)?;
        let bytes = frame.bytes.first_chunk_mut::<34>()?;
        let src = [bytes[26], bytes[27], bytes[28], bytes[29]];
        let dst = [bytes[30], bytes[31], bytes[32], bytes[33]];
        let shortcut = entries[index(in_port, src, dst)].as_ref()?;
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
        rewrite::decrement_ttl(&mut bytes[ETHERNET..]);
        rewrite::set_macs(bytes, shortcut.macs.0, shortcut.macs.1);
        Some(shortcut.hop)
    }
}

fn index(in_port: PortId, src: [u8; 4], dst: [u8; 4]) -> usize {
    let mix = usize::from(src[3]) ^ usize::from(dst[3]) ^ usize::from(src[2]) ^ usize::from(dst[2]);
    (mix ^ usize::from(in_port.0)) % ENTRIES
}
