//! Which of several ends gets a flow, by its addresses alone: consistent hashing as Google's Maglev has it (Eisenbud et al.,
//! "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016, 3.4), and a plain hash.
//!
//! Not for: policies that need to know how busy somebody is (`rt-apps` has those).
//! Deliberate simplification: everybody has the same weight, and the hashes are not those of Google's code (which nobody knows),
//! so that tables differ from theirs in their entries, not in their properties.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// How a balancer picks a server.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Spread {
    /// In turn.
    #[default]
    RoundRobin,
    /// The one with the fewest open connections; of equals the one whose turn it is.
    LeastConnections,
    /// The one with the fewest requests under way; of equals the one whose turn it is.
    LeastRequests,
    /// By the client's address modulo the number of servers: when one comes or goes, most clients change.
    SourceHash,
    /// By the client's address through Maglev's table: when one comes or goes, few others change.
    Maglev,
    /// Of two picked by dice the less busy one.
    RandomOfTwo,
}

impl Spread {
    /// All, with their words.
    pub const WORDS: [(&'static str, Spread); 6] = [
        ("round-robin", Spread::RoundRobin),
        ("least-connections", Spread::LeastConnections),
        ("least-requests", Spread::LeastRequests),
        ("source-hash", Spread::SourceHash),
        ("maglev", Spread::Maglev),
        ("random-of-two", Spread::RandomOfTwo),
    ];

    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        Spread::WORDS.iter().find(|(_, spread)| *spread == self).map_or("", |(word, _)| word)
    }

    /// What `word` stands for.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Spread> {
        Spread::WORDS.iter().find(|(known, _)| *known == word).map(|(_, spread)| *spread)
    }
}

/// An entry that nobody has taken yet.
const FREE: u16 = u16::MAX;

/// Maglev's look-up table: each of its entries belongs to one end. All get about equally many, and when an end goes, few
/// entries but its own change hands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Maglev {
    table: Vec<u16>,
}

impl Maglev {
    /// The size of Google's smaller table. A prime, so that every skip visits every entry.
    pub const SIZE: u32 = 65_537;
    /// More ends than this get nothing: the table would be too small for them to be equal (the paper asks for a hundred entries
    /// each).
    pub const MOST: usize = (Maglev::SIZE / 100) as usize;

    /// The table for ends with these names; what it gives are positions in `names`. Empty for no names.
    #[must_use]
    pub fn new(names: &[&str]) -> Maglev {
        Maglev::of_size(names, Maglev::SIZE)
    }

    /// The same with a size of one's own, which must be a prime.
    #[must_use]
    pub fn of_size(names: &[&str], size: u32) -> Maglev {
        let names = &names[..names.len().min(Maglev::MOST)];
        if names.is_empty() || size < 3 {
            return Maglev { table: Vec::new() };
        }
        // Offset and skip of each name's permutation, and how far in it we are.
        let mut turns: Vec<(u64, u64)> = names
            .iter()
            .map(|name| {
                let skip = hash_bytes(name.as_bytes(), 2) % u64::from(size - 1) + 1;
                (hash_bytes(name.as_bytes(), 1) % u64::from(size), skip)
            })
            .collect();
        let mut table = vec![FREE; size as usize];
        let mut left = size;
        // Everybody in turn takes the first entry of its permutation that is still free.
        'full: loop {
            for (end, (next, skip)) in turns.iter_mut().enumerate() {
                while table[*next as usize] != FREE {
                    *next = (*next + *skip) % u64::from(size);
                }
                table[*next as usize] = end as u16;
                left -= 1;
                if left == 0 {
                    break 'full;
                }
            }
        }
        Maglev { table }
    }

    /// The end for a flow with this hash; `None` when there are no ends.
    #[must_use]
    pub fn pick(&self, hash: u64) -> Option<usize> {
        let size = self.table.len() as u64;
        (size > 0).then(|| usize::from(self.table[(hash % size) as usize]))
    }

    /// Whose each entry is.
    #[must_use]
    pub fn entries(&self) -> &[u16] {
        &self.table
    }
}

/// A number from an address: the same one for ever.
#[must_use]
pub fn hash_address(address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(v4) => hash_bytes(&v4.octets(), 3),
        IpAddr::V6(v6) => hash_bytes(&v6.octets(), 3),
    }
}

/// A number from a text: the same one for ever.
#[must_use]
pub fn hash_text(text: &str) -> u64 {
    hash_bytes(text.as_bytes(), 4)
}

/// FNV-1a with a finaliser (SplitMix64's): every bit of the input moves half of the output.
fn hash_bytes(bytes: &[u8], salt: u64) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64 ^ salt.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for byte in bytes {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(count: usize, salt: u32) -> Vec<String> {
        (0..count).map(|i| format!("server-{salt}-{i}")).collect()
    }

    fn table(names: &[String], size: u32) -> Maglev {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        Maglev::of_size(&names, size)
    }

    fn shares(table: &Maglev, ends: usize) -> Vec<u64> {
        let mut shares = vec![0; ends];
        table.entries().iter().for_each(|end| shares[usize::from(*end)] += 1);
        shares
    }

    #[test]
    fn nobody_and_one() {
        assert_eq!(Maglev::new(&[]).pick(7), None);
        let one = Maglev::new(&["a"]);
        assert!((0..1_000).all(|hash| one.pick(hash) == Some(0)));
    }

    /// The paper's worked example (figure 3, "M = 7") has permutations that are given; here the law behind it: an entry is
    /// whose permutation reached it first.
    #[test]
    fn an_entry_is_whose_permutation_came_first() {
        let names = names(3, 0);
        let (size, table) = (7, table(&names, 7));
        let permutation = |name: &String| {
            let offset = hash_bytes(name.as_bytes(), 1) % size;
            let skip = hash_bytes(name.as_bytes(), 2) % (size - 1) + 1;
            (0..size).map(|j| (offset + j * skip) % size).collect::<Vec<u64>>()
        };
        let all: Vec<Vec<u64>> = names.iter().map(permutation).collect();
        let mut expected = vec![None; size as usize];
        let mut next = [0; 3];
        for turn in 0..size as usize {
            let end = turn % 3;
            while expected[all[end][next[end]] as usize].is_some() {
                next[end] += 1;
            }
            expected[all[end][next[end]] as usize] = Some(end as u16);
        }
        assert_eq!(table.entries().iter().map(|e| Some(*e)).collect::<Vec<_>>(), expected);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// The population takes turns, so shares differ by one entry at most: better than the paper's bound of 1 % for a
        /// hundred entries each.
        #[test]
        fn shares_are_equal(count in 1_usize..200, salt in 0_u32..1_000) {
            let shares = shares(&table(&names(count, salt), Maglev::SIZE), count);
            let (least, most) = (shares.iter().min().unwrap(), shares.iter().max().unwrap());
            prop_assert!(most - least <= 1, "{least}..{most}");
        }

        /// When one of n goes, its 1/n of the entries must change hands. Of the others the paper (figure 12) saw under 2.5 %
        /// change at a table a hundred times as large as the number of ends, for up to 5 % of them failing.
        #[test]
        fn little_but_its_own_changes_when_an_end_goes(count in 2_usize..100, salt in 0_u32..1_000, which in 0_usize..100) {
            let all = names(count, salt);
            let gone = which % count;
            let mut rest = all.clone();
            rest.remove(gone);
            let (before, after) = (table(&all, Maglev::SIZE), table(&rest, Maglev::SIZE));
            let name = |end: u16| &rest[usize::from(end)];
            let pairs = before.entries().iter().zip(after.entries());
            let moved = pairs
                .filter(|(b, a)| usize::from(**b) != gone && all[usize::from(**b)] != *name(**a))
                .count();
            prop_assert!(moved as f64 <= 0.05 * f64::from(Maglev::SIZE), "{moved} of {}", Maglev::SIZE);
        }

        /// The table follows from the names alone.
        #[test]
        fn equal_names_give_equal_tables(count in 1_usize..50, salt in 0_u32..1_000, hash: u64) {
            let (a, b) = (table(&names(count, salt), 251), table(&names(count, salt), 251));
            prop_assert_eq!(a.pick(hash), b.pick(hash));
            prop_assert!(a.pick(hash).is_some_and(|end| end < count));
        }
    }
}
