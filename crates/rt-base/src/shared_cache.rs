//! What a shared cache decides about a request, as data for the story.

use serde::{Deserialize, Serialize};

use crate::Nanos;

/// A decision in one word (RFC 9111; the words are those of the largest CDN where it has one).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CacheVerdict {
    /// Nothing that fits is stored: the origin is asked.
    #[default]
    Miss,
    /// Answered from the store.
    Hit,
    /// Stored, but the origin must be asked first.
    Stale,
    /// Answered from the store although stale, while the origin is asked aside (RFC 5861, 3).
    Updating,
    /// Waits for the response to another request for the same.
    Collapsed,
    /// 504: the client wanted it from the cache or not at all.
    Refused,
    /// The cache is not asked, because of how the request is made.
    Bypass,
    /// The cache is not asked: nothing of this kind is kept.
    Dynamic,
    /// A 304 came: what is stored holds.
    Revalidated,
    /// The origin failed, and what is stored may be used (RFC 5861, 4).
    StaleOnError,
    /// The origin's response is kept.
    Stored,
    /// It is not kept.
    NotStored,
    /// What was stored was forgotten, because somebody asked for that.
    Purged,
    /// It was not forgotten, because of who asked for that.
    PurgeRefused,
    /// What was stored was forgotten, because something else needed its room.
    Evicted,
}

/// A decision of a shared cache with all that it was made from.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct CacheDecision {
    /// What was decided.
    pub verdict: CacheVerdict,
    /// The key: URI, and the fields that count as part of it.
    pub key: String,
    /// `current_age` of the stored response (RFC 9111, 4.2.3).
    pub age: Option<Nanos>,
    /// Its freshness lifetime (RFC 9111, 4.2.1).
    pub fresh_for: Option<Nanos>,
    /// What the lifetime follows from: `s-maxage=60`, `Expires`, a rule of thumb.
    pub lifetime_from: String,
    /// What the origin can be asked with: `ETag "x"`, `Last-Modified ...`, or nothing.
    pub validator: String,
    /// Why the origin is asked, in the words of RFC 9211, 2.2: `uri-miss`, `vary-miss`, `stale`, `request`, `method`,
    /// `bypass`; empty when it is not.
    pub forward: String,
    /// The reason in a few words.
    pub why: String,
}
