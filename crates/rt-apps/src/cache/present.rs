//! What a client gets of a stored response: all of it, a part, or "you have it".

use bytes::Bytes;
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_LOCATION, CONTENT_RANGE, CONTENT_TYPE, DATE, ETAG,
    EXPIRES, HeaderName, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, LAST_MODIFIED, RANGE, VARY,
};
use http::{HeaderMap, Method, StatusCode};
use rt_base::Nanos;

use super::directives::values;
use super::entry::{Entry, age_field, is_weak, weak_eq};
use super::freshness::{date_of, seconds};
use super::question::Question;
use crate::http::parse_date;

/// What a 304 says (RFC 9110, 15.4.5), and Last-Modified for clients that know no entity tags.
const OF_A_304: [HeaderName; 7] = [CACHE_CONTROL, CONTENT_LOCATION, DATE, ETAG, EXPIRES, VARY, LAST_MODIFIED];

/// A response made out of a stored one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Presented {
    /// 304 and 206 when the client asked so.
    pub status: StatusCode,
    /// With Age.
    pub headers: HeaderMap,
    /// Empty for HEAD and 304.
    pub body: Bytes,
    /// `current_age` (RFC 9111, 4.2.3).
    pub age: Nanos,
}

/// What of the body is wanted.
enum Part {
    Whole,
    Piece { first: usize, last: usize },
    None,
}

/// Answers `question` from `entry`; the rules have allowed it.
pub(super) fn present(entry: &Entry, question: &Question, now: Nanos) -> Presented {
    let age = entry.age(now);
    let (name, value) = age_field(age);
    let mut headers = entry.headers.clone();
    headers.insert(name, value);
    let mut presented = Presented { status: entry.status, headers, body: entry.body.clone(), age };
    if entry.status == StatusCode::OK && is_unchanged(entry, &question.headers) {
        presented.status = StatusCode::NOT_MODIFIED;
        presented.body = Bytes::new();
        let mut kept = HeaderMap::new();
        for (name, value) in &presented.headers {
            if OF_A_304.contains(name) || *name == http::header::AGE {
                kept.append(name, value.clone());
            }
        }
        presented.headers = kept;
        return presented;
    }
    let bodiless = entry.status == StatusCode::NO_CONTENT;
    if !bodiless {
        presented.headers.insert(CONTENT_LENGTH, HeaderValue::from(entry.body.len()));
    }
    if entry.status == StatusCode::OK && question.method == Method::GET {
        cut(entry, &question.headers, &mut presented);
    }
    if question.method == Method::HEAD {
        presented.body = Bytes::new();
    }
    presented
}

/// Whether the client has what is stored.
//= rfc9111#section-4.3.2
//= rfc9110#section-13.2.2
fn is_unchanged(entry: &Entry, request: &HeaderMap) -> bool {
    if request.contains_key(IF_NONE_MATCH) {
        return values(request, &IF_NONE_MATCH)
            .any(|tag| tag == "*" || entry.etag().is_some_and(|own| weak_eq(own, tag)));
    }
    let Some(since) = date_of(request, IF_MODIFIED_SINCE) else { return false };
    let modified = entry.last_modified().and_then(parse_date);
    modified.or_else(|| date_of(&entry.headers, DATE)).unwrap_or(seconds(entry.response_time)) <= since
}

/// 206 or 416 where the client asked for a part.
//= rfc9110#section-14.2
fn cut(entry: &Entry, request: &HeaderMap, presented: &mut Presented) {
    let length = entry.body.len();
    match part(entry, request) {
        Part::Whole => {}
        Part::Piece { first, last } => {
            presented.status = StatusCode::PARTIAL_CONTENT;
            presented.body = entry.body.slice(first..=last);
            let range = format!("bytes {first}-{last}/{length}");
            put(&mut presented.headers, CONTENT_RANGE, &range);
            presented.headers.insert(CONTENT_LENGTH, HeaderValue::from(presented.body.len()));
        }
        //= rfc9110#section-15.5.17
        Part::None => {
            presented.status = StatusCode::RANGE_NOT_SATISFIABLE;
            presented.body = Bytes::new();
            put(&mut presented.headers, CONTENT_RANGE, &format!("bytes */{length}"));
            presented.headers.insert(CONTENT_LENGTH, HeaderValue::from(0));
            for name in [CONTENT_TYPE, http::header::CONTENT_ENCODING, ACCEPT_RANGES] {
                presented.headers.remove(name);
            }
        }
    }
}

/// One range of bytes; what is no such range, or several, is as if it were not there (RFC 9110, 14.2, allows it).
fn part(entry: &Entry, request: &HeaderMap) -> Part {
    let Some(text) = request.get(RANGE).and_then(|range| range.to_str().ok()) else { return Part::Whole };
    if !if_range_holds(entry, request) {
        return Part::Whole;
    }
    let Some((unit, spec)) = text.split_once('=') else { return Part::Whole };
    let (true, Some((first, last))) =
        (unit.trim().eq_ignore_ascii_case("bytes"), spec.trim().split_once('-'))
    else {
        return Part::Whole;
    };
    let length = entry.body.len();
    match (position(first), position(last)) {
        (Some(Some(first)), Some(last)) => match last {
            Some(last) if last < first => Part::Whole,
            _ if first >= length => Part::None,
            last => Part::Piece { first, last: last.unwrap_or(usize::MAX).min(length - 1) },
        },
        (Some(None), Some(Some(0))) => Part::None,
        (Some(None), Some(Some(suffix))) if length > 0 => {
            Part::Piece { first: length.saturating_sub(suffix), last: length - 1 }
        }
        _ => Part::Whole,
    }
}

/// A position in a range: `Some(None)` when it is left out, `None` when it is no number.
fn position(text: &str) -> Option<Option<usize>> {
    let text = text.trim();
    if text.is_empty() {
        return Some(None);
    }
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| Some(text.parse().unwrap_or(usize::MAX)))
}

/// Whether the client's part belongs to the stored response.
//= rfc9110#section-13.1.5
fn if_range_holds(entry: &Entry, request: &HeaderMap) -> bool {
    let Some(condition) = request.get(IF_RANGE) else { return true };
    let Ok(condition) = condition.to_str() else { return false };
    if condition.contains('"') {
        return !is_weak(condition) && entry.etag() == Some(condition);
    }
    // A date is a strong validator only if the response was made at least a second later (RFC 9110, 8.8.2.2).
    let modified = entry.last_modified().and_then(parse_date);
    modified.is_some_and(|at| parse_date(condition) == Some(at) && at < entry.date())
}

fn put(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}
