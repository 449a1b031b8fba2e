//! What comes next: keys in total order behind one trait.
//!
//! An entry says *when* and *what kind* by its key and *which* by a small index; frames and commands themselves stay where
//! they are (a link's own line, a table of controls). A link puts only its earliest frame here, so the queue stays small
//! however many frames are on their way.
//!
//! A binary heap is enough: it holds a dozen entries in a chain of routers, where a sorted ring of the few heads measured
//! the same (within 1%), and some ten thousand when as many hosts have a timer each, where a push and a pop cost a
//! fraction of what the nodes do. A calendar of heads would be another [`EventQueue`].

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

        fn peek(&mut self) -> Option<Entry> {
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
        fn the_heap_is_an_ordered_map(calls in proptest::collection::vec((0u8..3, any_entry()), 0..300)) {
            let (mut heap, mut map) = (HeapQueue::default(), MapQueue::default());
            for (call, entry) in calls {
                prop_assert_eq!(heap.peek(), map.peek());
                let full = map.peek().is_some();
                let queues: [&mut dyn EventQueue; 2] = [&mut heap, &mut map];
                for queue in queues {
                    match call {
                        1 if full => queue.advance(None),
                        2 if full => queue.advance(Some(entry)),
                        _ => queue.push(entry),
                    }
                }
            }
            while map.peek().is_some() {
                prop_assert_eq!(heap.peek(), map.peek());
                heap.advance(None);
                map.advance(None);
            }
            prop_assert_eq!(heap.peek(), None);
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
