//! A stored response: what is kept of it, whether it fits a request, how a 304 or HEAD renews it.

use bytes::Bytes;
use http::header::{
    AGE, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, DATE, ETAG, HeaderName, HeaderValue,
    LAST_MODIFIED, TRANSFER_ENCODING, VARY,
};
use http::{HeaderMap, StatusCode};
use rt_base::Nanos;

use super::CacheOptions;
use super::directives::{Directives, values};
use super::freshness::{self, Lifetime};
use super::question::combined;
use crate::http::date;

/// RFC 9111, 3.1: never kept.
const NEVER_KEPT: [&str; 11] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "age",
];

/// RFC 9111, 3.2: a newer response's fields replace the stored ones, but not these, on which the stored bytes depend.
const OF_THE_BYTES: [HeaderName; 4] = [CONTENT_LENGTH, CONTENT_ENCODING, CONTENT_RANGE, TRANSFER_ENCODING];

/// A field that a stored response depends on, with the value that the request had.
type Nominated = (HeaderName, Option<String>);

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) number: u64,
    /// The fields of the request that caused it to be kept: a 304 may bring another Vary.
    request: HeaderMap,
    pub(super) nominated: Vec<Nominated>,
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) response_time: Nanos,
    pub(super) initial_age: Nanos,
    pub(super) lifetime: Lifetime,
    pub(super) directives: Directives,
    /// It must be validated whatever its age: a HEAD showed that the origin has another one.
    pub(super) doubtful: bool,
    /// When it was last used, as a running number.
    pub(super) used: u64,
}

/// When a response was asked for and when it came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) asked: Nanos,
    pub(super) came: Nanos,
}

impl Entry {
    /// What is kept of a response to a request with these fields.
    pub(super) fn new(
        request: &HeaderMap,
        (status, headers): (StatusCode, &HeaderMap),
        body: Bytes,
        times: Times,
        options: &CacheOptions,
    ) -> Entry {
        let directives = Directives::of(headers);
        let lifetime =
            freshness::lifetime(status, headers, &directives, times.came, options.default_lifetime);
        let mut entry = Entry {
            number: 0,
            request: request.clone(),
            nominated: nominate(request, headers),
            status,
            headers: headers.clone(),
            body,
            response_time: times.came,
            initial_age: freshness::initial_age(headers, times.asked, times.came),
            lifetime,
            directives,
            doubtful: false,
            used: 0,
        };
        entry.clean();
        entry
    }

    fn clean(&mut self) {
        //= rfc9111#section-3.1
        let named: Vec<HeaderName> =
            values(&self.headers, &CONNECTION).filter_map(|name| name.parse().ok()).collect();
        for name in NEVER_KEPT.into_iter().map(HeaderName::from_static).chain(named) {
            self.headers.remove(name);
        }
        // RFC 9110, 6.6.1: who receives a response without Date and keeps it, dates it.
        if !self.headers.contains_key(DATE)
            && let Ok(now) = HeaderValue::from_str(&date(freshness::seconds(self.response_time)))
        {
            self.headers.insert(DATE, now);
        }
    }

    /// Whether the stored response may answer a request with these fields.
    //= rfc9111#section-4.1
    pub(super) fn fits(&self, request: &HeaderMap) -> bool {
        self.nominated.iter().all(|(name, value)| combined(request, name) == *value)
    }

    /// `current_age`.
    //= rfc9111#section-4.2.3
    pub(super) fn age(&self, now: Nanos) -> Nanos {
        self.initial_age + (now - self.response_time)
    }

    /// How long it has been stale.
    pub(super) fn staleness(&self, now: Nanos) -> Nanos {
        self.age(now) - self.lifetime.span
    }

    /// `response_is_fresh`.
    //= rfc9111#section-4.2
    pub(super) fn is_fresh(&self, now: Nanos) -> bool {
        self.lifetime.span > self.age(now)
    }

    pub(super) fn etag(&self) -> Option<&str> {
        self.headers.get(ETAG)?.to_str().ok().map(str::trim)
    }

    pub(super) fn last_modified(&self) -> Option<&str> {
        self.headers.get(LAST_MODIFIED)?.to_str().ok()
    }

    /// Its date: when the origin made it.
    pub(super) fn date(&self) -> u64 {
        freshness::date_of(&self.headers, DATE).unwrap_or(0)
    }

    /// Whether the origin can be asked for changes only.
    pub(super) fn has_validator(&self) -> bool {
        self.etag().is_some() || self.last_modified().is_some()
    }

    /// The validator that is sent, as told in the story.
    pub(super) fn validator(&self) -> String {
        let modified = || self.last_modified().map(|at| format!("Last-Modified {at}"));
        self.etag().map(|tag| format!("ETag {tag}")).or_else(modified).unwrap_or_default()
    }

    /// Bytes that it takes: body, fields, key.
    pub(super) fn size(&self, key: &str) -> u64 {
        let all = self.headers.iter().chain(&self.request);
        let fields: usize = all.map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
        (self.body.len() + fields + key.len()) as u64
    }

    /// Takes the fields of a 304 or of a HEAD's response, and its time.
    //= rfc9111#section-3.2
    //= rfc9111#section-4.3.4
    pub(super) fn renew(&mut self, newer: &HeaderMap, times: Times, options: &CacheOptions) {
        let dated = newer.contains_key(DATE);
        let mut seen = Vec::new();
        for (name, value) in newer {
            if OF_THE_BYTES.contains(name) {
                continue;
            }
            if seen.contains(&name) {
                self.headers.append(name, value.clone());
            } else {
                self.headers.insert(name, value.clone());
                seen.push(name);
            }
        }
        if !dated {
            self.headers.remove(DATE);
        }
        self.initial_age = freshness::initial_age(newer, times.asked, times.came);
        self.response_time = times.came;
        self.doubtful = false;
        self.clean();
        //= rfc9111#section-4.1
        self.nominated = nominate(&self.request, &self.headers);
        self.directives = Directives::of(&self.headers);
        self.lifetime = freshness::lifetime(
            self.status,
            &self.headers,
            &self.directives,
            times.came,
            options.default_lifetime,
        );
    }
}

pub(super) fn is_weak(tag: &str) -> bool {
    tag.starts_with("W/")
}

/// RFC 9110, 8.8.3.2: weakness does not matter.
pub(super) fn weak_eq(a: &str, b: &str) -> bool {
    a.strip_prefix("W/").unwrap_or(a) == b.strip_prefix("W/").unwrap_or(b)
}

/// The fields that Vary names, with the request's values.
//= rfc9111#section-4.1
fn nominate(request: &HeaderMap, response: &HeaderMap) -> Vec<Nominated> {
    let mut names: Vec<HeaderName> = values(response, &VARY).filter_map(|name| name.parse().ok()).collect();
    names.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    names.dedup();
    names.into_iter().map(|name| (name.clone(), combined(request, &name))).collect()
}

/// Whether no request ever fits: `Vary: *`.
//= rfc9111#section-4.1
pub(super) fn fits_nobody(headers: &HeaderMap) -> bool {
    values(headers, &VARY).any(|name| name == "*")
}

/// The time of a response that is made now out of a stored one, in whole seconds.
pub(super) fn age_field(age: Nanos) -> (HeaderName, HeaderValue) {
    (AGE, HeaderValue::from(freshness::seconds(age)))
}
