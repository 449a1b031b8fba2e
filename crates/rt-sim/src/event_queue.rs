//! What comes next: keys in total order behind one trait.
//!
//! An entry says *when* and *what kind* by its key and *which* by a small index; frames and commands themselves stay where
//! they are (a link's own line, a table of controls). A link puts only its earliest frame here, so the queue stays small
//! however many frames are on their way.
//!
//! For the dozen entries of a chain of routers a heap is best. What is removed leaves a hole at its top for the next entry,
//! because a frame that arrived is mostly answered or passed on. When hundreds of links have a frame on its way and as many
//! hosts a timer each, a heap's few levels of comparisons are a tenth of all time: then what is near goes to a ring of slots
//! ([`crate::wheel`]), and the heap keeps the rest. Each is asked for its first, so the order is exact whoever has what.

use rt_base::{NodeId, Time};

use crate::wheel::{NONE, Wheel};

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
    pub(crate) rest: u64,
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

/// The queue as the engine needs it. Equal keys may be pushed (a stale entry and its renewal); the engine tells them apart.
pub(crate) trait EventQueue {
    /// Adds an entry.
    fn push(&mut self, entry: Entry);

    /// The earliest entry.
    fn peek(&mut self) -> Option<Entry>;

    /// Removes the earliest entry (there is one) and adds `next` instead, if any.
    fn advance(&mut self, next: Option<Entry>);
}

/// A heap with four children a node: half the levels of a binary one, and the four lie side by side in memory.
#[derive(Default)]
pub(crate) struct HeapQueue {
    heap: Vec<Entry>,
    /// The entry at the top was removed.
    hole: bool,
}

/// A heap of this size and less takes everything: it is as fast then.
const SMALL: usize = 48;

/// The queue of the engine: a heap, and beside a large one a ring for what is near.
pub(crate) struct Queue {
    heap: HeapQueue,
    near: Wheel,
    /// Where in the ring what was looked at last stands, if it stands there and nothing was added since.
    seen: u32,
}

impl Default for Queue {
    fn default() -> Queue {
        Queue { heap: HeapQueue::default(), near: Wheel::default(), seen: NONE }
    }
}

impl Queue {
    /// Whether the heap has everything and is to take what comes: then nothing was seen in the ring either.
    #[inline(always)]
    fn is_small(&self) -> bool {
        self.near.is_empty() && self.heap.heap.len() <= SMALL
    }

    /// By its parts, which stay in registers: an entry just written to memory in parts and read as a whole would wait
    /// until all that was written before is through.
    #[inline(never)]
    fn push_to_both(&mut self, time: Time, rest: u64, target: u32) {
        self.seen = NONE;
        if self.heap.heap.len() <= SMALL || !self.near.push(time, rest, target) {
            self.heap.push(Entry { key: Key { time, rest }, target });
        }
    }

    /// Where in the ring the first of all stands, if it does.
    #[inline(never)]
    fn peek_near(&mut self) -> u32 {
        let (near, top) = (self.near.first(), self.heap.heap.first());
        let later = top.is_some_and(|top| self.near.get(near).is_none_or(|near| top.key < near.key));
        self.seen = if later { NONE } else { near };
        self.seen
    }

    #[inline(never)]
    fn advance_both(&mut self, next: Option<Entry>) {
        if self.seen == NONE {
            self.peek();
        }
        let near = core::mem::replace(&mut self.seen, NONE);
        if near != NONE {
            self.near.remove(near);
        } else {
            if let Some(top) = self.heap.peek() {
                self.near.turn(top.key.time);
            }
            self.heap.advance(None);
        }
        if let Some(Entry { key, target }) = next {
            self.push_to_both(key.time, key.rest, target);
        }
    }
}

impl EventQueue for Queue {
    #[inline(always)]
    fn push(&mut self, entry: Entry) {
        if self.is_small() {
            self.heap.push(entry);
        } else {
            self.push_to_both(entry.key.time, entry.key.rest, entry.target);
        }
    }

    #[inline(always)]
    fn peek(&mut self) -> Option<Entry> {
        self.heap.mend();
        let near = if self.near.is_empty() { NONE } else { self.peek_near() };
        self.near.get(near).or_else(|| self.heap.heap.first().copied())
    }

    #[inline(always)]
    fn advance(&mut self, next: Option<Entry>) {
        if self.is_small() { self.heap.advance(next) } else { self.advance_both(next) }
    }
}

/// Children of a node.
const ARITY: usize = 4;

impl HeapQueue {
    /// Puts `entry` where the hole at `at` or one of its ancestors is.
    #[inline]
    fn sift_up(&mut self, mut at: usize, entry: Entry) {
        while at > 0 {
            let parent = (at - 1) / ARITY;
            if self.heap[parent].key.as_u128() <= entry.key.as_u128() {
                break;
            }
            self.heap[at] = self.heap[parent];
            at = parent;
        }
        self.heap[at] = entry;
    }

    /// Makes the top the first entry.
    #[inline(always)]
    fn mend(&mut self) {
        if core::mem::take(&mut self.hole) {
            self.fill_hole();
        }
    }

    /// Nothing has come for the hole at the top: the last entry fills it.
    #[inline(never)]
    fn fill_hole(&mut self) {
        if let Some(last) = self.heap.pop()
            && !self.heap.is_empty()
        {
            self.sift_down(last.key.time, last.key.rest, last.target);
        }
    }

    /// Puts `entry` where the hole at the top or one of its descendants is.
    #[inline(never)]
    fn sift_down(&mut self, time: Time, rest: u64, target: u32) {
        let entry = Entry { key: Key { time, rest }, target };
        let heap = self.heap.as_mut_slice();
        let (key, mut at) = (entry.key.as_u128(), 0);
        loop {
            let first = at * ARITY + 1;
            let least = match heap.get(first..first + ARITY) {
                Some([a, b, c, d]) => {
                    let (ab, cd) =
                        (earlier((a, first), (b, first + 1)), earlier((c, first + 2), (d, first + 3)));
                    earlier(ab, cd)
                }
                _ => {
                    match heap.get(first..).and_then(|last| last.iter().zip(first..).min_by_key(|c| c.0.key))
                    {
                        Some(least) => least,
                        None => break,
                    }
                }
            };
            if least.0.key.as_u128() >= key {
                break;
            }
            let (entry, from) = (*least.0, least.1);
            heap[at] = entry;
            at = from;
        }
        heap[at] = entry;
    }
}

/// Which of two comes first; written so that no jump depends on it.
#[inline(always)]
fn earlier<'h>(a: (&'h Entry, usize), b: (&'h Entry, usize)) -> (&'h Entry, usize) {
    if b.0.key.as_u128() < a.0.key.as_u128() { b } else { a }
}

impl EventQueue for HeapQueue {
    #[inline]
    fn push(&mut self, entry: Entry) {
        if core::mem::take(&mut self.hole) {
            return self.sift_down(entry.key.time, entry.key.rest, entry.target);
        }
        self.heap.push(entry);
        self.sift_up(self.heap.len() - 1, entry);
    }

    #[inline]
    fn peek(&mut self) -> Option<Entry> {
        self.mend();
        self.heap.first().copied()
    }

    #[inline]
    fn advance(&mut self, next: Option<Entry>) {
        self.mend();
        match next {
            Some(next) => self.sift_down(next.key.time, next.key.rest, next.target),
            None => self.hole = true,
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

    /// The same calls of a queue and the oracle; `make` makes the entry of a call that is made at a time.
    fn compare<T: Copy>(
        mut queue: impl EventQueue,
        calls: Vec<(u8, T)>,
        make: impl Fn(Time, T) -> Entry,
    ) -> Result<(), TestCaseError> {
        let (mut map, mut now) = (MapQueue::default(), Time::ZERO);
        for (call, entry) in calls {
            let first = map.peek();
            prop_assert_eq!(queue.peek(), first);
            if let Some(first) = first.filter(|_| (1..3).contains(&call)) {
                now = first.key.time;
            }
            let entry = make(now, entry);
            let queues: [&mut dyn EventQueue; 2] = [&mut queue, &mut map];
            for queue in queues {
                match call {
                    1 if first.is_some() => queue.advance(None),
                    2 if first.is_some() => queue.advance(Some(entry)),
                    _ => queue.push(entry),
                }
            }
        }
        while map.peek().is_some() {
            prop_assert_eq!(queue.peek(), map.peek());
            queue.advance(None);
            map.advance(None);
        }
        prop_assert_eq!(queue.peek(), None);
        Ok(())
    }

    proptest! {
        #![proptest_config(Config { cases: 64, rng_seed: RngSeed::Fixed(4), failure_persistence: None, ..Config::default() })]

        #[test]
        fn the_heap_is_an_ordered_map(calls in proptest::collection::vec((0u8..3, any_entry()), 0..300)) {
            compare(HeapQueue::default(), calls, |_, entry| entry)?;
        }

        /// As the engine uses it, which never adds what is before the present: many entries at once, near and far, more of
        /// them than one slot takes.
        #[test]
        fn heap_and_wheel_together_are_an_ordered_map(
            calls in proptest::collection::vec((0u8..4, any_entry(), 0u32..26), 0..1_500),
        ) {
            let later = |now: Time, (entry, scale): (Entry, u32)| {
                let Entry { key, target } = entry;
                let time = Time(now.0 + (key.time.0 << scale >> 2));
                Entry { key: Key { time, ..key }, target }
            };
            compare(Queue::default(), calls.into_iter().map(|(c, e, s)| (c, (e, s))).collect(), later)?;
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
