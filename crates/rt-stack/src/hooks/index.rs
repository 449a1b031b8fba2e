//! From the two ends of a flow's packets to the flow's place in the table.
//!
//! Main type: [`Index`], an open hash table with linear probing whose places are words of four bytes: where a map with the keys
//! inside has 50 bytes for a key, this one has five to ten, and it is that much likelier to be in a cache. The keys themselves
//! stand in the flows' lines (`line.rs`); the bits of a word that no number needs are bits of the hash, so that nearly every line
//! that is looked at is the right one. Law 5 is kept: nobody walks it in the order of the hashes.

/// See the module. A place has 0, or a number plus one in its lower bits.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// A power of two, or none.
    words: Box<[u32]>,
    used: usize,
    /// The bits that numbers have.
    numbers: u32,
}

const FEWEST: usize = 32;
/// Numbers are smaller: two bits at least are the hash's, and it is more than any memory has room for.
pub(crate) const NUMBERS: usize = (1 << 30) - 1;

impl Index {
    /// The number with this hash that `is` the one.
    #[inline]
    pub(crate) fn find(&self, hash: u64, mut is: impl FnMut(u32) -> bool) -> Option<u32> {
        let mask = self.words.len().wrapping_sub(1);
        let tag = hash as u32 & !self.numbers;
        let mut at = home(hash);
        loop {
            // Without places there is none to look at.
            let word = *self.words.get(at & mask)?;
            if word == 0 {
                return None;
            }
            let number = (word & self.numbers).wrapping_sub(1);
            if word & !self.numbers == tag && is(number) {
                return Some(number);
            }
            at += 1;
        }
    }

    /// Enters a number that is not there; `hash_of` tells the hash of any that is.
    pub(crate) fn insert(&mut self, hash: u64, number: u32, hash_of: impl Fn(u32) -> u64) {
        let full = (self.used + 1) * 16 > self.words.len() * 13;
        if full || number >= self.numbers {
            let room = if full { (self.words.len() * 2).max(FEWEST) } else { self.words.len() };
            self.rebuild(room, self.numbers.max((number + 2).next_power_of_two() - 1), &hash_of);
        }
        self.put(hash, number);
        self.used += 1;
    }

    /// Takes a number out, if it is there.
    pub(crate) fn remove(&mut self, hash: u64, number: u32, hash_of: impl Fn(u32) -> u64) {
        if self.words.is_empty() {
            return;
        }
        let (mask, word) = (self.words.len() - 1, self.word(hash, number));
        let mut hole = home(hash) & mask;
        while self.words[hole] != word {
            if self.words[hole] == 0 {
                return;
            }
            hole = (hole + 1) & mask;
        }
        // Whatever stands behind it and would be sought through the hole moves up.
        let mut next = hole;
        loop {
            next = (next + 1) & mask;
            let word = self.words[next];
            if word == 0 {
                break;
            }
            let from_home = next.wrapping_sub(home(hash_of(self.number(word)))) & mask;
            if from_home >= next.wrapping_sub(hole) & mask {
                self.words[hole] = word;
                hole = next;
            }
        }
        self.words[hole] = 0;
        self.used -= 1;
    }

    /// So many places, and so many bits for a number. All are put in again in their order, which is that of the lines in memory.
    fn rebuild(&mut self, room: usize, numbers: u32, hash_of: &impl Fn(u32) -> u64) {
        let mut there = vec![0_u64; (self.numbers as usize).div_ceil(64)];
        for word in self.words.iter().filter(|word| **word != 0) {
            let number = self.number(*word);
            there[number as usize / 64] |= 1 << (number % 64);
        }
        (self.words, self.numbers) = (vec![0; room].into(), numbers);
        for (block, bits) in (0_u32..).zip(there) {
            for number in (0..64).filter(|n| bits >> n & 1 == 1).map(|n| block * 64 + n) {
                self.put(hash_of(number), number);
            }
        }
    }

    fn put(&mut self, hash: u64, number: u32) {
        let mask = self.words.len() - 1;
        let mut at = home(hash) & mask;
        while self.words[at] != 0 {
            at = (at + 1) & mask;
        }
        self.words[at] = self.word(hash, number);
    }

    fn word(&self, hash: u64, number: u32) -> u32 {
        (hash as u32 & !self.numbers) | (number + 1)
    }

    fn number(&self, word: u32) -> u32 {
        (word & self.numbers) - 1
    }
}

/// The upper half of a hash says where, the lower half is compared.
fn home(hash: u64) -> usize {
    (hash >> 32) as usize
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// Few homes and few tags, so that there are clusters and tags that lie.
    fn hash_of(number: u32) -> u64 {
        let mixed = u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed & 0x0000_000f_0000_0000) | (mixed >> 60 << 28)
    }

    proptest! {
        #[test]
        fn it_has_what_was_put_in_and_not_taken_out(doings in vec((any::<bool>(), 0..300_u32), 1..600)) {
            let (mut index, mut model) = (Index::default(), BTreeMap::new());
            for (puts, number) in doings {
                let hash = hash_of(number);
                if !puts {
                    index.remove(hash, number, hash_of);
                    model.remove(&number);
                } else if model.insert(number, ()).is_none() {
                    index.insert(hash, number, hash_of);
                }
                prop_assert_eq!(index.used, model.len());
            }
            for number in 0..300 {
                let found = index.find(hash_of(number), |other| other == number);
                prop_assert_eq!(found, model.contains_key(&number).then_some(number));
            }
        }
    }

    #[test]
    fn it_is_ten_bytes_for_a_key_at_most() {
        let mut index = Index::default();
        let hash = |number: u32| u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for number in 0..100_000 {
            index.insert(hash(number), number, hash);
            assert!(index.words.len() * 4 <= index.used * 10 || index.words.len() == FEWEST);
        }
        for number in 0..100_000 {
            let mut asked = 0;
            let is = |other| {
                asked += 1;
                other == number
            };
            assert_eq!(index.find(hash(number), is), Some(number));
            assert!(asked <= 2, "number {number}: {asked} looked at");
        }
    }
}
