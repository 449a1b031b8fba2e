//! What comes next: keys in total order behind one trait.
//!
//! An entry says *when* and *what kind* by its key and *which* by a small index; frames and commands themselves stay where
//! they are (a link's own line, a table of controls). A link puts only its earliest frame here, so the queue stays small
//! however many frames are on their way.
//!
//! Ten thousand hosts with a timer each are no reason for more than a heap behind it: a push and pop stay far below what
//! the nodes themselves cost. A calendar of heads would be another [`EventQueue`].

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
    fn peek(&self) -> Option<Entry>;

    /// Removes the earliest entry (there is one) and adds `next` instead, if any.
    fn advance(&mut self, next: Option<Entry>);
}

/// The heads of a few links in a small sorted ring, all else in std's binary heap; the earlier of the two is next.
///
/// Busy links take turns: the entry that replaces the earliest one is nearly always the latest, so a ring sorted from its
/// far end needs a comparison or two where a heap sifts through all its levels (a fifth of the time of a hop in a chain
/// of routers). Timers, far ahead and many, would stand in the way there.
#[derive(Default)]
pub(crate) struct TwoQueues {
    heads: Heads,
    heap: BinaryHeap<Entry>,
}

impl TwoQueues {
    /// Whether the earliest entry is in the ring.
    #[inline]
    fn head_is_next(&self) -> bool {
        match (self.heads.first(), self.heap.peek()) {
            (Some(head), Some(other)) => head.key < other.key,
            (head, _) => head.is_some(),
        }
    }
}

impl EventQueue for TwoQueues {
    #[inline]
    fn push(&mut self, entry: Entry) {
        if entry.key.class() == Class::Frame && self.heads.len < HEADS {
            self.heads.insert(entry);
        } else {
            self.heap.push(entry);
        }
    }

    #[inline]
    fn peek(&self) -> Option<Entry> {
        if self.head_is_next() { self.heads.first() } else { self.heap.peek().copied() }
    }

    #[inline]
    fn advance(&mut self, next: Option<Entry>) {
        if self.head_is_next() {
            self.heads.remove_first();
        } else if let Some(next) = next
            && let Some(mut top) = self.heap.peek_mut()
        {
            *top = next;
            return;
        } else {
            self.heap.pop();
        }
        if let Some(next) = next {
            self.push(next);
        }
    }
}

/// Room of the ring; a power of two.
const HEADS: usize = 16;

/// A sorted ring.
struct Heads {
    ring: [Entry; HEADS],
    head: usize,
    len: usize,
}

impl Default for Heads {
    fn default() -> Heads {
        Heads { ring: [Entry { key: Key { time: Time::ZERO, rest: 0 }, target: 0 }; HEADS], head: 0, len: 0 }
    }
}

impl Heads {
    /// Adds an entry where it belongs, looking from the far end. There is room.
    #[inline]
    fn insert(&mut self, entry: Entry) {
        let mut free = self.head + self.len;
        while free > self.head && self.ring[(free - 1) % HEADS].key > entry.key {
            self.ring[free % HEADS] = self.ring[(free - 1) % HEADS];
            free -= 1;
        }
        self.ring[free % HEADS] = entry;
        self.len += 1;
    }

    #[inline]
    fn first(&self) -> Option<Entry> {
        (self.len > 0).then(|| self.ring[self.head])
    }

    /// There is one.
    #[inline]
    fn remove_first(&mut self) {
        self.head = (self.head + 1) % HEADS;
        self.len -= 1;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use proptest::test_runner::{Config, RngSeed};

    use super::*;

    /// The oracle: an ordered map from key to target and how many times.
    #[derive(Default)]
    struct MapQueue(BTreeMap<(Key, u32), u32>);

    impl EventQueue for MapQueue {
        fn push(&mut self, entry: Entry) {
            *self.0.entry((entry.key, entry.target)).or_default() += 1;
        }

        fn peek(&self) -> Option<Entry> {
            self.0.first_key_value().map(|((key, target), _)| Entry { key: *key, target: *target })
        }

        fn advance(&mut self, next: Option<Entry>) {
            let mut first = self.0.first_entry().expect("there is one");
            *first.get_mut() -= 1;
            if *first.get() == 0 {
                first.remove();
            }
            next.into_iter().for_each(|entry| self.push(entry));
        }
    }

    fn any_entry() -> impl Strategy<Value = Entry> {
        (0u64..50, 0u8..4, 0u32..4, 1u64..4).prop_map(|(time, class, node, counter)| {
            let class = [Class::LinkChange, Class::Command, Class::Frame, Class::Timer][usize::from(class)];
            // The key says all, so equal keys are the same entry twice.
            Entry { key: Key::new(Time(time), class, NodeId(node), counter), target: node }
        })
    }

    proptest! {
        #![proptest_config(Config { cases: 64, rng_seed: RngSeed::Fixed(4), failure_persistence: None, ..Config::default() })]

        #[test]
        fn it_is_an_ordered_map(calls in proptest::collection::vec((0u8..5, any_entry()), 0..400)) {
            let (mut ours, mut map) = (TwoQueues::default(), MapQueue::default());
            for (call, entry) in calls {
                prop_assert_eq!(ours.peek(), map.peek());
                let full = map.peek().is_some();
                let queues: [&mut dyn EventQueue; 2] = [&mut ours, &mut map];
                for queue in queues {
                    match call {
                        1 if full => queue.advance(None),
                        2 if full => queue.advance(Some(entry)),
                        _ => queue.push(entry),
                    }
                }
            }
            while map.peek().is_some() {
                prop_assert_eq!(ours.peek(), map.peek());
                ours.advance(None);
                map.advance(None);
            }
            prop_assert_eq!(ours.peek(), None);
        }
    }

    #[test]
    fn time_then_class_then_node_then_counter() {
        let key = |time, class, node, counter| Key::new(Time(time), class, NodeId(node), counter);
        let ordered = [
            key(1, Class::Timer, 9, 9),
            key(2, Class::LinkChange, 9, 9),
            key(2, Class::Command, 0, 1),
            key(2, Class::Frame, (1 << 24) - 1, (1 << 36) - 1),
            key(2, Class::Timer, 0, 5),
            key(2, Class::Timer, 1, 1),
            key(2, Class::Timer, 1, 2),
        ];
        assert!(ordered.is_sorted());
        assert!(ordered.iter().all(|k| Class::Timer >= k.class()));
        assert_eq!(ordered.map(Key::class)[1..4], [Class::LinkChange, Class::Command, Class::Frame]);
    }
}
