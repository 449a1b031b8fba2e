//! What comes within the next few milliseconds, by time: a ring of slots, each of a couple of microseconds.
//!
//! Not a queue of its own: [`crate::event_queue`] puts here what is near once its heap has grown, and keeps what is far, or
//! finds its slot full, in the heap. So nothing here ever takes long, whatever the times are: a look for the first entry
//! is two words of bits and a list of at most [`MOST`] entries.

use rt_base::Time;

use crate::event_queue::{Entry, Key};

/// Slots of the ring: 64 words of 64 bits, so that one more word says which of them have any.
const SLOTS: usize = 4_096;
/// A slot is so many nanoseconds long, as a power of two: some eight milliseconds altogether.
const SHIFT: u32 = 11;
/// Entries of one slot at most.
const MOST: u32 = 8;
/// The end of a list, and no node.
pub(crate) const NONE: u32 = u32::MAX;

/// The ring.
#[derive(Default)]
pub(crate) struct Wheel {
    /// First node and length of each slot's list; empty until the first entry comes.
    slots: Vec<(u32, u32)>,
    /// Which slots have entries, and which words of these bits are not zero.
    bits: Vec<u64>,
    words: u64,
    nodes: Vec<Node>,
    /// Nodes to be used again.
    free: Vec<u32>,
    /// No entry is before this slot, counted from time zero, nor a whole turn behind it.
    base: u64,
    len: usize,
}

/// An entry by its parts: built and read as such, they stay in registers.
#[derive(Clone, Copy)]
struct Node {
    time: Time,
    rest: u64,
    target: u32,
    next: u32,
}

impl Node {
    #[inline(always)]
    fn key(&self) -> Key {
        Key { time: self.time, rest: self.rest }
    }
}

fn slot_of(time: Time) -> u64 {
    time.0 >> SHIFT
}

impl Wheel {
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Takes an entry, unless it is too far away or its slot is full. It is not before any that was removed.
    #[inline(always)]
    pub(crate) fn push(&mut self, time: Time, rest: u64, target: u32) -> bool {
        let slot = slot_of(time);
        if slot.wrapping_sub(self.base) >= SLOTS as u64 {
            return false;
        }
        if self.slots.is_empty() {
            self.slots = vec![(NONE, 0); SLOTS];
            self.bits = vec![0; SLOTS / 64];
        }
        let at = slot as usize % SLOTS;
        let (first, count) = self.slots[at];
        if count == MOST {
            return false;
        }
        let node = Node { time, rest, target, next: first };
        let index = match self.free.pop() {
            Some(index) => {
                self.nodes[index as usize] = node;
                index
            }
            None => {
                self.nodes.push(node);
                (self.nodes.len() - 1) as u32
            }
        };
        self.slots[at] = (index, count + 1);
        self.bits[at / 64] |= 1 << (at % 64);
        self.words |= 1 << (at / 64);
        self.len += 1;
        true
    }

    /// Where the earliest entry stands, or [`NONE`]: valid until something changes. (A number, not the entry: it comes back
    /// in a register, whereas a structure would be written in parts, read as a whole, and waited for.)
    #[inline]
    pub(crate) fn first(&self) -> u32 {
        if self.len == 0 {
            return NONE;
        }
        let mut least = self.slots[self.first_slot()].0;
        let Some(mut best) = self.nodes.get(least as usize) else { return NONE };
        let mut next = best.next;
        while let Some(node) = self.nodes.get(next as usize) {
            if node.key() < best.key() {
                (least, best) = (next, node);
            }
            next = node.next;
        }
        least
    }

    /// The entry that stands there.
    #[inline(always)]
    pub(crate) fn get(&self, node: u32) -> Option<Entry> {
        self.nodes.get(node as usize).map(|node| Entry { key: node.key(), target: node.target })
    }

    /// The first slot with entries from `base` on, once around.
    #[inline]
    fn first_slot(&self) -> usize {
        let from = self.base as usize % SLOTS;
        let here = self.bits[from / 64] >> (from % 64);
        if here != 0 {
            return from + here.trailing_zeros() as usize;
        }
        // The words behind this one, then those before it, then this one again.
        let word = (from / 64) as u32;
        let behind = self.words.rotate_right(word) & !1;
        let word = if behind == 0 { word } else { (word + behind.trailing_zeros()) % 64 } as usize;
        word * 64 + self.bits[word].trailing_zeros() as usize
    }

    /// Removes the entry that [`Self::first`] has just found.
    #[inline]
    pub(crate) fn remove(&mut self, first: u32) {
        let Node { time, next, .. } = self.nodes[first as usize];
        let slot = slot_of(time);
        self.base = slot;
        let at = slot as usize % SLOTS;
        let (head, count) = self.slots[at];
        if head == first {
            self.slots[at] = (next, count - 1);
        } else {
            let mut before = head as usize;
            while self.nodes[before].next != first {
                before = self.nodes[before].next as usize;
            }
            self.nodes[before].next = next;
            self.slots[at].1 = count - 1;
        }
        if count == 1 {
            self.bits[at / 64] &= !(1 << (at % 64));
            if self.bits[at / 64] == 0 {
                self.words &= !(1 << (at / 64));
            }
        }
        self.free.push(first);
        self.len -= 1;
    }

    /// Nothing before `key` will come any more: what is near counts from there.
    #[inline]
    pub(crate) fn turn(&mut self, now: Time) {
        self.base = slot_of(now);
    }
}
