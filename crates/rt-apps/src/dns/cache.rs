//! A cache of answers with their TTLs, positive and negative (RFC 2308): the operating system's, a browser's, a
//! resolver's.
//!
//! Bounded: when it is full, the entry that ends soonest makes room.

use std::collections::BTreeMap;

use domain::base::iana::Rtype;
use ipnet::IpNet;
use rt_base::{Nanos, Time};

use super::message::{Data, Name, Record};

/// Entries at most.
const CAPACITY: usize = 10_000;

/// Nothing is kept longer than a day, not even when its TTL says so.
const LONGEST: u32 = 86_400;

/// What is known about (name, type).
#[derive(Clone, PartialEq, Debug)]
pub enum Known {
    /// These records answer it (a CNAME chain first, where there is one).
    Records(Vec<Record>),
    /// The name does not exist; the SOA says for how long that holds.
    NoName(Option<Record>),
    /// The name exists, without such records.
    NoData(Option<Record>),
}

#[derive(Clone, Debug)]
struct Entry {
    known: Known,
    stored: Time,
    until: Time,
}

/// What a cache says when asked.
#[derive(Clone, PartialEq, Debug)]
pub struct Found {
    /// The answer, with TTLs counted down.
    pub known: Known,
    /// Since it was stored.
    pub age: Nanos,
    /// How long it stays fresh.
    pub fresh_for: Nanos,
}

/// The cache.
#[derive(Clone, Debug, Default)]
pub struct NameCache {
    entries: BTreeMap<(Name, Rtype, Option<IpNet>), Entry>,
}

impl NameCache {
    /// What is known and still fresh at `now`.
    #[must_use]
    pub fn get(&self, now: Time, name: &Name, rtype: Rtype) -> Option<Found> {
        self.get_for(now, name, rtype, None)
    }

    /// The same of what is known for clients of one network only (RFC 7871, 7.3).
    #[must_use]
    pub fn get_for(&self, now: Time, name: &Name, rtype: Rtype, subnet: Option<IpNet>) -> Option<Found> {
        let entry = self.entries.get(&(name.clone(), rtype, subnet)).filter(|e| e.until > now)?;
        let age = now.since(entry.stored);
        let passed = u32::try_from(age.0 / 1_000_000_000).unwrap_or(u32::MAX);
        let mut known = entry.known.clone();
        let records: &mut [Record] = match &mut known {
            Known::Records(records) => records,
            Known::NoName(soa) | Known::NoData(soa) => soa.as_mut_slice(),
        };
        for record in records {
            record.ttl = record.ttl.saturating_sub(passed);
        }
        Some(Found { known, age, fresh_for: entry.until.since(now) })
    }

    /// Stores an answer; returns how long it will stay fresh (zero: it was not stored).
    pub fn put(&mut self, now: Time, name: Name, rtype: Rtype, known: Known) -> Nanos {
        self.put_for(now, name, rtype, (known, None))
    }

    /// The same of an answer that is for clients of one network only.
    pub fn put_for(
        &mut self,
        now: Time,
        name: Name,
        rtype: Rtype,
        (known, subnet): (Known, Option<IpNet>),
    ) -> Nanos {
        let fresh_for = Nanos::from_secs(u64::from(lifetime(&known).min(LONGEST)));
        if fresh_for == Nanos::ZERO {
            return fresh_for;
        }
        if self.entries.len() >= CAPACITY {
            self.make_room(now);
        }
        self.entries.insert((name, rtype, subnet), Entry { known, stored: now, until: now + fresh_for });
        fresh_for
    }

    fn make_room(&mut self, now: Time) {
        self.entries.retain(|_, e| e.until > now);
        if self.entries.len() >= CAPACITY {
            let first = self.entries.iter().min_by_key(|(_, e)| e.until).map(|(key, _)| key.clone());
            first.and_then(|key| self.entries.remove(&key));
        }
    }

    /// Number of entries, stale ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// Seconds that an answer may be kept: the smallest TTL; for a negative one the smaller of the SOA's TTL and its
/// MINIMUM field (RFC 2308, 5), or not at all without SOA.
fn lifetime(known: &Known) -> u32 {
    match known {
        Known::Records(records) => records.iter().map(|r| r.ttl).min().unwrap_or(0),
        Known::NoName(soa) | Known::NoData(soa) => soa.as_ref().map_or(0, |record| match &record.data {
            Data::Soa(soa) => record.ttl.min(soa.minimum().as_secs()),
            _ => 0,
        }),
    }
}

#[cfg(test)]
mod tests {
    use rt_base::{Nanos, Time};

    use super::{Known, NameCache};
    use crate::dns::zone::Zone;
    use crate::dns::{Name, RecordType};

    fn seconds(s: u64) -> Time {
        Time::ZERO + Nanos::from_secs(s)
    }

    #[test]
    fn entries_count_down_and_end() {
        let zone = Zone::parse(
            "x.example",
            "x.example. 300 IN A 192.0.2.1\nx.example. 600 IN SOA a. b. 1 2 3 4 60\n",
        );
        let zone = zone.unwrap();
        let name = Name::bytes_from_str("X.example").unwrap();
        let a = zone.records(&name, RecordType::A).to_vec();
        let soa = zone.records(&name, RecordType::SOA)[0].clone();
        let mut cache = NameCache::default();
        assert_eq!(
            cache.put(seconds(10), name.clone(), RecordType::A, Known::Records(a)),
            Nanos::from_secs(300)
        );
        assert_eq!(
            cache.put(seconds(10), name.clone(), RecordType::MX, Known::NoData(Some(soa))),
            Nanos::from_secs(60)
        );
        let found = cache.get(seconds(110), &name, RecordType::A).unwrap();
        let Known::Records(records) = &found.known else { panic!("records") };
        assert_eq!(
            (records[0].ttl, found.age, found.fresh_for),
            (200, Nanos::from_secs(100), Nanos::from_secs(200))
        );
        assert!(cache.get(seconds(69), &name, RecordType::MX).is_some());
        assert!(cache.get(seconds(70), &name, RecordType::MX).is_none());
        assert!(cache.get(seconds(310), &name, RecordType::A).is_none());
    }
}
