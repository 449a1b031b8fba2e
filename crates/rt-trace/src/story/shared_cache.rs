//! What a proxy's cache decided about a request, and why.

use rt_base::{AppRecord, CacheDecision, CacheVerdict, Nanos, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::model::Line;
use super::upstream::{ProxyStepStory, UpstreamStory};
use super::view::{End, View};
use super::words;
use crate::read::{HttpExchange, HttpHeader};

/// A decision of a proxy's cache.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct CacheStory {
    /// When.
    pub at_ns: u64,
    /// `hit`, `miss`, `stale`, `updating`, `collapsed`, `refused`, `bypass`, `dynamic`, `revalidated`, `stale-on-error`,
    /// `stored`, `not-stored`, `purged`, `purge-refused`, `evicted`.
    pub verdict: String,
    /// The key: URI, and the fields that count as part of it.
    pub key: String,
    /// How old the stored response was (RFC 9111, 4.2.3).
    pub age_ns: Option<u64>,
    /// For how long it is fresh (RFC 9111, 4.2.1).
    pub fresh_for_ns: Option<u64>,
    /// What that follows from.
    pub lifetime_from: String,
    /// What the origin can be asked with.
    pub validator: String,
    /// Whose request it waited for.
    pub leader: String,
    /// The reason.
    pub why: String,
}

/// The decisions of the proxy at `end` about the request that it had by `got`, in order.
pub(crate) fn decisions(view: &View<'_>, (end, there): (End, &HttpExchange), got: Time) -> Vec<CacheStory> {
    let said = super::upstream::said(view, (end, there), got);
    let step = |(event, record): &(&rt_base::Event, &AppRecord)| match record {
        AppRecord::SharedCache { leader, decision, .. } => {
            let leader = leader.map(|(peer, ordinal)| {
                format!(
                    "{} (request {} of its connection from {peer})",
                    view.bearer_name(peer.ip()),
                    ordinal + 1
                )
            });
            Some(story(event.at, decision, leader.unwrap_or_default()))
        }
        _ => None,
    };
    said.filter_map(|said| step(&said)).collect()
}

fn story(at: Time, decision: &CacheDecision, leader: String) -> CacheStory {
    CacheStory {
        at_ns: at.0,
        verdict: word(decision.verdict).to_owned(),
        key: decision.key.clone(),
        age_ns: decision.age.map(|age| age.0),
        fresh_for_ns: decision.fresh_for.map(|span| span.0),
        lifetime_from: decision.lifetime_from.clone(),
        validator: decision.validator.clone(),
        leader,
        why: decision.why.clone(),
    }
}

fn word(verdict: CacheVerdict) -> &'static str {
    match verdict {
        CacheVerdict::Miss => "miss",
        CacheVerdict::Hit => "hit",
        CacheVerdict::Stale => "stale",
        CacheVerdict::Updating => "updating",
        CacheVerdict::Collapsed => "collapsed",
        CacheVerdict::Refused => "refused",
        CacheVerdict::Bypass => "bypass",
        CacheVerdict::Dynamic => "dynamic",
        CacheVerdict::Revalidated => "revalidated",
        CacheVerdict::StaleOnError => "stale-on-error",
        CacheVerdict::Stored => "stored",
        CacheVerdict::NotStored => "not-stored",
        CacheVerdict::Purged => "purged",
        CacheVerdict::PurgeRefused => "purge-refused",
        CacheVerdict::Evicted => "evicted",
    }
}

/// What a cache gave of something whole to a client that asked for a part of it (RFC 9110, 14.2).
pub(crate) fn cut(there: &HttpExchange, cache: &[CacheStory]) -> Option<ProxyStepStory> {
    let response = there.response.as_ref()?;
    let range = field(&there.request.headers, "range")?;
    let whole =
        |step: &CacheStory| matches!(step.verdict.as_str(), "hit" | "updating" | "stored" | "revalidated");
    if !cache.iter().any(whole) {
        return None;
    }
    let told = field(&response.headers, "content-range")
        .and_then(|told| told.strip_prefix("bytes ")?.split_once('/'));
    let text = match (response.status, told) {
        (206, Some((part, all))) => {
            format!("cuts bytes {part} out of the {all} that it has (Range: {range})")
        }
        (416, Some((_, all))) => format!("has {all} bytes, and none of those that Range asks for: {range}"),
        (200, _) if field(&there.request.headers, "if-range").is_some() => {
            format!("gives the whole and not the part (Range: {range}): If-Range does not name what it has")
        }
        (200, _) if range.contains(',') => {
            format!("gives the whole: of several ranges it cuts none (Range: {range})")
        }
        _ => return None,
    };
    let (at_ns, code) = (response.head.first.at.0, "cut".to_owned());
    Some(ProxyStepStory { at_ns, code, text, candidates: Vec::new() })
}

fn field<'h>(headers: &'h [HttpHeader], name: &str) -> Option<&'h str> {
    headers.iter().find(|h| h.name.eq_ignore_ascii_case(name)).map(|h| h.value.as_str())
}

/// Whether it was decided before anybody upstream was asked.
pub(crate) fn comes_first(step: &CacheStory) -> bool {
    !matches!(step.verdict.as_str(), "revalidated" | "stale-on-error" | "stored" | "not-stored" | "evicted")
}

/// One decision as a line.
pub(crate) fn line(up: &UpstreamStory, step: &CacheStory, (start, deep): (Time, u8)) -> Line {
    let at = Time(step.at_ns);
    let code = format!("shared_cache.{}", step.verdict.replace('-', "_"));
    let mut line = Line::new(&code, up.proxy.clone(), text(step))
        .deep(deep)
        .at(at)
        .margin(words::after(start, at))
        .with("key", &step.key)
        .with("why", &step.why);
    if let (Some(age), Some(fresh_for)) = (step.age_ns, step.fresh_for_ns) {
        line = line
            .with("age_ns", age)
            .with("fresh_for_ns", fresh_for)
            .with("lifetime_from", &step.lifetime_from);
    }
    if !step.validator.is_empty() {
        line = line.with("validator", &step.validator);
    }
    line
}

/// What was decided, as a sentence whose subject is the proxy.
pub(crate) fn text(step: &CacheStory) -> String {
    let CacheStory { key, lifetime_from: from, validator, leader, why, .. } = step;
    let age = words::about(Nanos(step.age_ns.unwrap_or(0)));
    let span = words::about(Nanos(step.fresh_for_ns.unwrap_or(0)));
    let fresh = if step.fresh_for_ns == Some(0) {
        "never fresh without asking".to_owned()
    } else {
        format!("fresh for {span} by {from}")
    };
    let with = if validator.is_empty() { String::new() } else { format!(", asking with {validator}") };
    match step.verdict.as_str() {
        "miss" => format!("cache MISS for {key}: {why}"),
        "hit" => format!("cache HIT for {key}: {age} old, {fresh}; nobody is asked"),
        "stale" if step.fresh_for_ns == Some(0) => {
            format!("has {key}, {age} old, but must ask first: {why}{with}")
        }
        "stale" => format!("has {key}, {age} old, {fresh}, but must ask first: {why}{with}"),
        "updating" => {
            format!("cache HIT for {key}, although {age} old, {fresh}: {why}; the origin is asked aside")
        }
        "collapsed" => format!("waits for the answer to {leader}: {why}"),
        "refused" => format!("may not ask anybody: {why}"),
        "bypass" | "dynamic" => format!("does not ask its cache: {why}"),
        "revalidated" => format!("{why}, {fresh} again"),
        "stale-on-error" => format!("uses what it has, {age} old, {fresh}: {why}"),
        "stored" => {
            let validator = if validator.is_empty() { "no validator".to_owned() } else { validator.clone() };
            format!("keeps it, {fresh}, {validator}")
        }
        "purged" | "evicted" => format!("forgets {key}: {why}"),
        "purge-refused" => format!("does not forget {key}: {why}"),
        _ => format!("does not keep it: {why}"),
    }
}
