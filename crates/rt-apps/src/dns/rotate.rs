//! The order of several addresses in an answer: by turns, as BIND's `rrset-order cyclic`.
//!
//! The first answer about a name has its addresses in the zone's order, the next begins with the second address, and so on
//! round. Turns are counted for each name, so what else is asked does not matter. Nobody looks whether an address lives:
//! this spreads load, and a dead server gets its share of it. (BIND's own default has become `random`, which spreads as
//! well and cannot be told in advance.)

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use domain::base::iana::Rtype;

use super::message::{Name, Record};

/// Names whose turn is remembered; when there are more, all begin again.
const MOST: usize = 10_000;

/// Whose turn it is, by name.
#[derive(Debug, Default)]
pub(crate) struct Rotation {
    fixed: bool,
    turns: Mutex<BTreeMap<Name, usize>>,
}

impl Rotation {
    /// Leaves answers as they are when `fixed`.
    pub(crate) fn new(fixed: bool) -> Rotation {
        Rotation { fixed, turns: Mutex::default() }
    }

    /// Turns each set of several addresses in an answer section by one more than last time.
    pub(crate) fn turn(&self, answer: &mut [Record]) {
        if self.fixed {
            return;
        }
        let mut rest = answer;
        while let Some(first) = rest.first() {
            let (name, rtype) = (first.name.clone(), first.rtype());
            let set = rest.iter().take_while(|r| r.rtype() == rtype && r.name == name).count();
            let (same, behind) = rest.split_at_mut(set);
            if set > 1 && matches!(rtype, Rtype::A | Rtype::AAAA) {
                same.rotate_left(self.next(name) % set);
            }
            rest = behind;
        }
    }

    /// How often `name` was answered before.
    fn next(&self, name: Name) -> usize {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        if turns.len() >= MOST && !turns.contains_key(&name) {
            turns.clear();
        }
        let turn = turns.entry(name).or_default();
        let now = *turn;
        *turn = turn.wrapping_add(1);
        now
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::dns::zone::Zone;

    fn zone(addresses: &[u8]) -> (Zone, Name) {
        let lines: String = addresses.iter().map(|a| format!("x.test. 60 IN A 192.0.2.{a}\n")).collect();
        (Zone::parse("x.test", &lines).unwrap(), Name::bytes_from_str("x.test").unwrap())
    }

    fn shown(records: &[Record]) -> Vec<String> {
        records.iter().map(Record::shown).collect()
    }

    #[test]
    fn each_answer_begins_one_further() {
        let (zone, name) = zone(&[1, 2, 3]);
        let records = zone.records(&name, Rtype::A);
        let rotation = Rotation::default();
        let orders: Vec<String> = (0..4)
            .map(|_| {
                let mut answer = records.to_vec();
                rotation.turn(&mut answer);
                shown(&answer).iter().map(|a| a.rsplit('.').next().unwrap().to_owned()).collect()
            })
            .collect();
        assert_eq!(orders, ["123", "231", "312", "123"]);
        let mut answer = records.to_vec();
        Rotation::new(true).turn(&mut answer);
        assert_eq!(answer, records);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

        /// Every address comes first equally often (to within one), nothing is lost or invented, and what is asked in between
        /// about other names changes nothing.
        #[test]
        fn turns_are_fair(count in 1u8..12, asked in 0usize..100, others in prop::collection::vec(0usize..4, 0..100)) {
            let (zone, name) = zone(&(1..=count).collect::<Vec<_>>());
            let records = zone.records(&name, Rtype::A);
            let all: std::collections::BTreeSet<String> = shown(records).into_iter().collect();
            let rotation = Rotation::default();
            let mut first: BTreeMap<String, usize> = all.iter().map(|a| (a.clone(), 0)).collect();
            for turn in 0..asked {
                for other in 0..others.get(turn).copied().unwrap_or(0) {
                    rotation.next(Name::bytes_from_str(&format!("other-{other}.test")).unwrap());
                }
                let mut answer = records.to_vec();
                rotation.turn(&mut answer);
                prop_assert_eq!(&shown(&answer).into_iter().collect::<std::collections::BTreeSet<_>>(), &all);
                *first.get_mut(&answer[0].shown()).unwrap() += 1;
            }
            let (least, most) = (first.values().min().unwrap(), first.values().max().unwrap());
            prop_assert!(most - least <= 1, "{:?}", first);
        }
    }
}
