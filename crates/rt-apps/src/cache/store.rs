//! The stored responses: by key, several per key where Vary says so; the least recently used go first.

use std::collections::BTreeMap;

use http::header::{CONTENT_LENGTH, ETAG, HeaderName, LAST_MODIFIED};
use http::{HeaderMap, StatusCode};

use super::CacheOptions;
use super::directives::values;
use super::entry::{Entry, Times, is_weak, weak_eq};
use super::question::combined;

/// Variants kept under one key at most: a client that varies a field at will must not fill the cache with one URI.
const VARIANTS: usize = 64;

/// Values of a field that are told of.
const TOLD: usize = 3;

const CACHE_TAG: HeaderName = HeaderName::from_static("cache-tag");
const SURROGATE_KEY: HeaderName = HeaderName::from_static("surrogate-key");

/// See the module.
#[derive(Debug)]
pub(super) struct Store {
    capacity: u64,
    bytes: u64,
    by_key: BTreeMap<String, Vec<Entry>>,
    /// Key and number of each entry by its last use.
    by_use: BTreeMap<u64, (String, u64)>,
    counter: u64,
    /// Keys of those that made room since the last one was kept.
    forgotten: Vec<String>,
}

impl Store {
    pub(super) fn new(capacity: u64) -> Store {
        Store {
            capacity,
            bytes: 0,
            by_key: BTreeMap::new(),
            by_use: BTreeMap::new(),
            counter: 0,
            forgotten: Vec::new(),
        }
    }

    fn count(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    pub(super) fn knows(&self, key: &str) -> bool {
        self.by_key.contains_key(key)
    }

    /// The response that fits a request with these fields; of several the most recent by Date.
    //= rfc9111#section-4
    //= rfc9111#section-4.1
    pub(super) fn select(&self, key: &str, request: &HeaderMap) -> Option<&Entry> {
        let fitting = self.by_key.get(key)?.iter().filter(|entry| entry.fits(request));
        fitting.max_by_key(|entry| (entry.date(), entry.number))
    }

    pub(super) fn by_number(&self, key: &str, number: u64) -> Option<&Entry> {
        self.by_key.get(key)?.iter().find(|entry| entry.number == number)
    }

    /// What requests have in common that would get the same stored response: the key and the values of all fields that
    /// Vary is known to name there.
    pub(super) fn place(&self, key: &str, request: &HeaderMap) -> String {
        let entries = self.by_key.get(key).map(Vec::as_slice).unwrap_or_default();
        let mut names: Vec<&HeaderName> =
            entries.iter().flat_map(|entry| entry.nominated.iter().map(|(name, _)| name)).collect();
        names.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        names.dedup();
        let mut place = key.to_owned();
        for name in names {
            place.push_str(&format!(" {name}:{:?}", combined(request, name)));
        }
        place
    }

    /// It was used just now.
    pub(super) fn touch(&mut self, key: &str, number: u64) {
        let used = self.count();
        let entries = self.by_key.get_mut(key);
        if let Some(entry) = entries.and_then(|all| all.iter_mut().find(|entry| entry.number == number)) {
            if let Some(place) = self.by_use.remove(&entry.used) {
                self.by_use.insert(used, place);
            }
            entry.used = used;
        }
    }

    /// Keeps a response in place of one for the same requests, and forgets what has not been used for longest when
    /// it becomes too much.
    pub(super) fn insert(&mut self, key: &str, mut entry: Entry) {
        self.forgotten.clear();
        let same = |old: &&Entry| old.nominated == entry.nominated;
        let replaced = self.by_key.get(key).and_then(|all| all.iter().find(same)).map(|old| old.number);
        if let Some(number) = replaced {
            self.remove(key, number);
        }
        while self.by_key.get(key).is_some_and(|all| all.len() >= VARIANTS) {
            let oldest = self.by_key[key].iter().min_by_key(|entry| entry.used).map(|entry| entry.number);
            self.remove(key, oldest.unwrap_or_default());
        }
        let size = entry.size(key);
        if size > self.capacity {
            return;
        }
        self.make_room(size);
        entry.number = self.count();
        entry.used = entry.number;
        self.bytes += size;
        self.by_use.insert(entry.used, (key.to_owned(), entry.number));
        self.by_key.entry(key.to_owned()).or_default().push(entry);
    }

    pub(super) fn remove(&mut self, key: &str, number: u64) {
        let Some(all) = self.by_key.get_mut(key) else { return };
        let Some(at) = all.iter().position(|entry| entry.number == number) else { return };
        let entry = all.remove(at);
        if all.is_empty() {
            self.by_key.remove(key);
        }
        self.bytes -= entry.size(key);
        self.by_use.remove(&entry.used);
    }

    pub(super) fn remove_where(&mut self, matches: impl Fn(&str, &Entry) -> bool) -> usize {
        let all = self.by_key.iter().flat_map(|(key, all)| all.iter().map(move |entry| (key, entry)));
        let found: Vec<(String, u64)> =
            all.filter(|(key, entry)| matches(key, entry)).map(|(key, e)| (key.clone(), e.number)).collect();
        for (key, number) in &found {
            self.remove(key, *number);
        }
        found.len()
    }

    /// Changes an entry, whose size may change with it.
    fn update(&mut self, key: &str, number: u64, change: impl FnOnce(&mut Entry)) {
        let entries = self.by_key.get_mut(key);
        if let Some(entry) = entries.and_then(|all| all.iter_mut().find(|entry| entry.number == number)) {
            self.bytes -= entry.size(key);
            change(entry);
            self.bytes += entry.size(key);
        }
        self.make_room(0);
    }

    /// Forgets what has not been used for longest until so much more fits.
    fn make_room(&mut self, size: u64) {
        while self.bytes + size > self.capacity {
            let Some((key, number)) = self.by_use.first_key_value().map(|(_, place)| place.clone()) else {
                break;
            };
            self.remove(&key, number);
            self.forgotten.push(key);
        }
    }

    /// A 304 came to a request with these fields that asked about the response `asked`: renews those that it means and
    /// returns their numbers.
    //= rfc9111#section-4.3.4
    pub(super) fn renew(
        &mut self,
        (key, request): (&str, &HeaderMap),
        asked: u64,
        newer: &HeaderMap,
        times: Times,
        options: &CacheOptions,
    ) -> Vec<u64> {
        let text = |name: &HeaderName| newer.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
        let (tag, modified) = (text(&ETAG), text(&LAST_MODIFIED));
        let all = self.by_key.get(key).map(Vec::as_slice).unwrap_or_default();
        let fitting = all.iter().filter(|entry| entry.fits(request));
        let latest = |entry: &&Entry| (entry.date(), entry.number);
        let meant: Vec<u64> = match (tag, modified) {
            // A strong validator means all that have it.
            (Some(tag), _) if !is_weak(tag) => {
                fitting.filter(|entry| entry.etag() == Some(tag)).map(|entry| entry.number).collect()
            }
            // A weak one the most recent of those that have it.
            (Some(tag), _) => {
                let same = |entry: &&Entry| entry.etag().is_some_and(|own| weak_eq(own, tag));
                fitting.filter(same).max_by_key(latest).map(|entry| entry.number).into_iter().collect()
            }
            (None, Some(at)) => {
                let same = |entry: &&Entry| entry.last_modified() == Some(at);
                fitting.filter(same).max_by_key(latest).map(|entry| entry.number).into_iter().collect()
            }
            // Without any it can only be about the one that was asked about, as nginx and Varnish take it.
            (None, None) => vec![asked],
        };
        for number in &meant {
            self.update(key, *number, |entry| entry.renew(newer, times, options));
        }
        meant
    }

    /// A HEAD's response: what it agrees with is renewed, the rest must be validated.
    //= rfc9111#section-4.3.5
    pub(super) fn freshen(
        &mut self,
        (key, request): (&str, &HeaderMap),
        head: &HeaderMap,
        times: Times,
        options: &CacheOptions,
    ) {
        let all = self.by_key.get(key).map(Vec::as_slice).unwrap_or_default();
        let fitting = all.iter().filter(|entry| entry.fits(request) && entry.status == StatusCode::OK);
        let numbers: Vec<u64> = fitting.map(|entry| entry.number).collect();
        let same = |name: &HeaderName, own: Option<&str>| {
            head.get(name).is_none_or(|value| value.to_str().ok() == own)
        };
        for number in numbers {
            self.update(key, number, |entry| {
                let length = entry.body.len().to_string();
                let holds = same(&ETAG, entry.etag())
                    && same(&LAST_MODIFIED, entry.last_modified())
                    && same(&CONTENT_LENGTH, Some(&length));
                if holds {
                    entry.renew(head, times, options);
                } else {
                    entry.doubtful = true;
                }
            });
        }
    }

    /// Takes the keys of those that were forgotten to make room for the last one that was kept.
    pub(super) fn take_forgotten(&mut self) -> Vec<String> {
        std::mem::take(&mut self.forgotten)
    }

    /// The fields that Vary names for what is stored under a key, with the values that a request has and those that are stored.
    pub(super) fn variants(&self, key: &str, request: &HeaderMap) -> String {
        let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".to_owned());
        let mut stored: BTreeMap<String, (String, Vec<String>)> = BTreeMap::new();
        for (name, value) in self.by_key.get(key).into_iter().flatten().flat_map(|entry| &entry.nominated) {
            let asked = || (shown(&combined(request, name)), Vec::new());
            let (_, values) = stored.entry(name.as_str().to_owned()).or_insert_with(asked);
            let value = shown(value);
            if values.len() < TOLD && !values.contains(&value) {
                values.push(value);
            }
        }
        let other = |(name, (asked, values)): (String, (String, Vec<String>))| {
            (!values.contains(&asked))
                .then(|| format!("{name} is {asked} here, and {} there", values.join(" or ")))
        };
        stored.into_iter().filter_map(other).collect::<Vec<_>>().join("; ")
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn len(&self) -> usize {
        self.by_use.len()
    }
}

/// Whether a response has this tag.
pub(super) fn has_tag(headers: &HeaderMap, tag: &str) -> bool {
    let words = headers.get_all(SURROGATE_KEY).iter().filter_map(|value| value.to_str().ok());
    values(headers, &CACHE_TAG).any(|known| known == tag)
        || words.flat_map(str::split_ascii_whitespace).any(|known| known == tag)
}
