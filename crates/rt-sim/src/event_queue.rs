//! What comes next: keys in total order behind one trait.
//!
//! An entry says *when* and *what kind* by its key and *which* by a small index; frames and commands themselves stay where
//! they are (a link's own line, a table of controls). A link puts only its earliest frame here, so the queue stays small
//! however many frames are on their way.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use rt_base::{NodeId, Time};

/// Kinds of events in the order in which they happen at the same instant.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Class {
    /// The timeline changes a link.
    LinkChange = 0,
    /// A step begins.
    Command = 1,
    /// A frame arrives.
    Frame = 2,
    /// A node's timer.
    Timer = 3,
}

/// The total order: time, class, node, counter of that node. No two events have the same key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Key {
    pub(crate) time: Time,
    /// Class (4 bits), node (24), counter (36), from the top.
    rest: u64,
}

const NODE_BITS: u32 = 24;
const COUNTER_BITS: u32 = 36;

impl Key {
    /// The key of the `counter`-th event that `node` made.
    ///
    /// # Panics
    /// When a node has made 2^36 events: the order would no longer be total.
    #[inline]
    pub(crate) fn new(time: Time, class: Class, node: NodeId, counter: u64) -> Key {
        assert!(counter >> COUNTER_BITS == 0, "invariant: a node makes fewer than 2^36 events");
        let rest = (class as u64) << (NODE_BITS + COUNTER_BITS) | u64::from(node.0) << COUNTER_BITS | counter;
        Key { time, rest }
    }

    #[inline]
    pub(crate) fn class(self) -> Class {
        match self.rest >> (NODE_BITS + COUNTER_BITS) {
            0 => Class::LinkChange,
            1 => Class::Command,
            2 => Class::Frame,
            _ => Class::Timer,
        }
    }

    #[inline]
    fn as_u128(self) -> u128 {
        u128::from(self.time.0) << 64 | u128::from(self.rest)
    }
}

/// A key and what it is about: an index into directions (frames), nodes (timers) or controls, by the key's class.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Entry {
    pub(crate) key: Key,
    pub(crate) target: u32,
}

impl Ord for Entry {
    /// Reversed: the greatest entry of a max-heap is the earliest event.
    #[inline]
    fn cmp(&self, other: &Entry) -> Ordering {
        other.key.as_u128().cmp(&self.key.as_u128())
    }
}

impl PartialOrd for Entry {
    #[inline]
    fn partial_cmp(&self, other: &Entry) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The queue as the engine needs it. Equal keys may be pushed (a stale entry and its renewal); the engine tells them apart.
pub(crate) trait EventQueue {
    /// Adds an entry.
    fn push(&mut self, entry: Entry);

    /// The earliest entry.
    fn peek(&mut self) -> Option<Entry>;

    /// Removes the earliest entry (there is one) and adds `next` instead, if any.
    fn advance(&mut self, next: Option<Entry>);
}

/// std's binary heap; replacing its top costs one sift.
#[derive(Default)]
pub(crate) struct HeapQueue {
    heap: BinaryHeap<Entry>,
}

impl EventQueue for HeapQueue {
    #[inline]
    fn push(&mut self, entry: Entry) {
        self.heap.push(entry);
    }

    #[inline]
    fn peek(&mut self) -> Option<Entry> {
        self.heap.peek().copied()
    }

    #[inline]
    fn advance(&mut self, next: Option<Entry>) {
        match next {
            None => drop(self.heap.pop()),
            Some(next) => {
                if let Some(mut top) = self.heap.peek_mut() {
                    *top = next;
                }
            }
        }
    }
}
