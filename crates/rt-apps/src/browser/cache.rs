//! The browser's HTTP cache (RFC 9111, private). http-cache-semantics decides; here is what is kept.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::request::Parts as RequestParts;
use http::response::Parts as ResponseParts;
use http_cache_semantics::{AfterResponse, BeforeRequest, CacheOptions, CachePolicy};
use rt_base::Nanos;

/// Bytes of bodies kept at most; the entries stored first go first.
const CAPACITY: usize = 64 << 20;

struct Entry {
    policy: CachePolicy,
    /// Decoded.
    body: Bytes,
    /// Running number of the store.
    number: u64,
}

/// The cache.
#[derive(Default)]
pub(super) struct HttpCache {
    entries: BTreeMap<String, Entry>,
    bytes: usize,
    stored: u64,
}

/// What the cache says to a request.
pub(super) enum Found {
    /// Good to use.
    Fresh { response: Box<ResponseParts>, body: Bytes, age: Nanos, fresh_for: Nanos },
    /// There, but the server must be asked; the request now has validators if there are any.
    Stale { age: Nanos, request: Box<RequestParts> },
    /// Not there.
    Nothing,
}

impl HttpCache {
    /// Looks for a response to `request`.
    pub(super) fn find(&self, key: &str, request: &RequestParts, now: SystemTime) -> Found {
        let Some(entry) = self.entries.get(key) else { return Found::Nothing };
        let age = nanos(entry.policy.age(now));
        match entry.policy.before_request(request, now) {
            BeforeRequest::Fresh(response) => Found::Fresh {
                response: Box::new(response),
                body: entry.body.clone(),
                age,
                fresh_for: nanos(entry.policy.time_to_live(now)),
            },
            BeforeRequest::Stale { request, matches: true } => {
                Found::Stale { age, request: Box::new(request) }
            }
            BeforeRequest::Stale { matches: false, .. } => Found::Nothing,
        }
    }

    /// A 304 came: the stored body with the renewed fields, if the stored response is the one that was meant.
    pub(super) fn revalidate(
        &mut self,
        key: &str,
        request: &RequestParts,
        response: &ResponseParts,
        now: SystemTime,
    ) -> Option<(ResponseParts, Bytes)> {
        let entry = self.entries.get_mut(key)?;
        match entry.policy.after_response(request, response, now) {
            AfterResponse::NotModified(policy, parts) => {
                entry.policy = policy;
                Some((parts, entry.body.clone()))
            }
            AfterResponse::Modified(..) => None,
        }
    }

    /// Keeps a response if the rules allow it; returns how long it is fresh.
    pub(super) fn store(
        &mut self,
        key: &str,
        request: &RequestParts,
        response: &ResponseParts,
        body: &Bytes,
        now: SystemTime,
    ) -> Option<Nanos> {
        let options = CacheOptions { shared: false, ..CacheOptions::default() };
        let policy = CachePolicy::new_options(request, response, now, options);
        if !policy.is_storable() || body.len() > CAPACITY {
            self.remove(key);
            return None;
        }
        self.remove(key);
        while self.bytes + body.len() > CAPACITY {
            let oldest =
                self.entries.iter().min_by_key(|(_, entry)| entry.number).map(|(key, _)| key.clone());
            let Some(oldest) = oldest else { break };
            self.remove(&oldest);
        }
        let fresh_for = nanos(policy.time_to_live(now));
        self.stored += 1;
        self.bytes += body.len();
        self.entries.insert(key.to_owned(), Entry { policy, body: body.clone(), number: self.stored });
        Some(fresh_for)
    }

    /// Forgets what a POST may have changed (RFC 9111, 4.4).
    pub(super) fn remove(&mut self, key: &str) {
        if let Some(entry) = self.entries.remove(key) {
            self.bytes -= entry.body.len();
        }
    }
}

fn nanos(span: Duration) -> Nanos {
    Nanos(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::{Found, HttpCache};

    /// Stores a response with these fields at second 1000 and asks again at `at`.
    fn ask(fields: &[(&str, &str)], at: u64) -> String {
        let request = || http::Request::get("https://a.example/x").body(()).unwrap().into_parts().0;
        let mut response = http::Response::builder().status(200).header("date", crate::http::date(1000));
        for (name, value) in fields {
            response = response.header(*name, *value);
        }
        let response = response.body(()).unwrap().into_parts().0;
        let mut cache = HttpCache::default();
        let time = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let stored = cache.store("k", &request(), &response, &"body".into(), time(1000));
        match cache.find("k", &request(), time(at)) {
            Found::Fresh { age, fresh_for, .. } => {
                format!("fresh {} {}", age.as_millis(), fresh_for.as_millis())
            }
            Found::Stale { request, .. } => {
                let tag = request.headers.get("if-none-match").map_or("-", |tag| tag.to_str().unwrap());
                format!("stale {tag}")
            }
            Found::Nothing => format!("nothing {}", stored.is_some()),
        }
    }

    #[test]
    fn rules_of_rfc_9111() {
        assert_eq!(ask(&[("cache-control", "public, max-age=60")], 1010), "fresh 10000 50000");
        assert_eq!(ask(&[("cache-control", "max-age=60"), ("etag", "\"e\"")], 1070), "stale \"e\"");
        assert_eq!(ask(&[("cache-control", "private, max-age=0")], 1001), "stale -");
        assert_eq!(ask(&[("cache-control", "no-cache"), ("etag", "\"e\"")], 1001), "stale \"e\"");
        assert_eq!(ask(&[("cache-control", "no-store")], 1001), "nothing false");
        assert_eq!(ask(&[("cache-control", "private, max-age=60")], 1001), "fresh 1000 59000");
    }
}
