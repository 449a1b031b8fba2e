//! How long a response is fresh, and how old it is.

use http::header::{AGE, DATE, EXPIRES, HeaderName, LAST_MODIFIED};
use http::{HeaderMap, StatusCode};
use rt_base::Nanos;

use super::directives::{Directives, Seconds, delta_seconds, values};
use crate::http::parse_date;

/// Status codes that a cache may keep without being told for how long (RFC 9110, 15.1; 206 is not kept by this one).
const HEURISTIC: [u16; 11] = [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501];

/// How long a response is fresh, and by which rule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Lifetime {
    pub(super) span: Nanos,
    /// `s-maxage=60`, `Expires`, `10 % of the time since Last-Modified`.
    pub(super) from: String,
}

impl Lifetime {
    fn new(span: Nanos, from: impl Into<String>) -> Lifetime {
        Lifetime { span, from: from.into() }
    }
}

/// Whether a response with this status may be kept although nothing says for how long.
//= rfc9111#section-4.2.2
pub(super) fn heuristically_cacheable(status: StatusCode) -> bool {
    HEURISTIC.contains(&status.as_u16())
}

/// The freshness lifetime for a shared cache; `default` is for responses that say nothing.
//= rfc9111#section-4.2.1
pub(super) fn lifetime(
    status: StatusCode,
    headers: &HeaderMap,
    directives: &Directives,
    response_time: Nanos,
    default: Option<Nanos>,
) -> Lifetime {
    // Whatever else is said: never used without asking, so never fresh.
    //= rfc9111#section-5.2.2.4
    if directives.has("no-cache") {
        return Lifetime::new(Nanos::ZERO, "no-cache");
    }
    for name in ["s-maxage", "max-age"] {
        match directives.seconds(name) {
            Some(Seconds::Good(seconds)) => {
                return Lifetime::new(Nanos::from_secs(seconds), format!("{name}={seconds}"));
            }
            Some(Seconds::Bad) => return Lifetime::new(Nanos::ZERO, format!("{name} without a number")),
            None => {}
        }
    }
    let date = date_of(headers, DATE).unwrap_or(seconds(response_time));
    if headers.contains_key(EXPIRES) {
        //= rfc9111#section-5.3
        return match date_of(headers, EXPIRES) {
            Some(expires) => Lifetime::new(Nanos::from_secs(expires.saturating_sub(date)), "Expires"),
            None => Lifetime::new(Nanos::ZERO, "an Expires that is no date"),
        };
    }
    if !heuristically_cacheable(status) && !directives.has("public") {
        return Lifetime::new(Nanos::ZERO, "nothing");
    }
    if let Some(default) = default {
        return Lifetime::new(default, "the cache's own rule");
    }
    //= rfc9111#section-4.2.2
    match date_of(headers, LAST_MODIFIED) {
        Some(modified) if modified < date => {
            Lifetime::new(Nanos::from_secs(date - modified), "").tenth("10 % of the time since Last-Modified")
        }
        _ => Lifetime::new(Nanos::ZERO, "nothing"),
    }
}

impl Lifetime {
    fn tenth(self, from: &str) -> Lifetime {
        Lifetime::new(Nanos(self.span.0 / 10), from)
    }
}

/// `corrected_initial_age`: how old the response was when it came. The clocks behind Date count whole seconds, so
/// they are compared in whole seconds; the delay on the way is known exactly.
//= rfc9111#section-4.2.3
pub(super) fn initial_age(headers: &HeaderMap, request_time: Nanos, response_time: Nanos) -> Nanos {
    let date = date_of(headers, DATE).unwrap_or(seconds(response_time));
    let apparent_age = Nanos::from_secs(seconds(response_time).saturating_sub(date));
    //= rfc9111#section-5.1
    let age_value = values(headers, &AGE).next().and_then(delta_seconds).unwrap_or(0);
    let response_delay = response_time - request_time;
    let corrected_age_value = Nanos::from_secs(age_value) + response_delay;
    apparent_age.max(corrected_age_value)
}

/// Whole seconds since 1970.
pub(super) fn seconds(time: Nanos) -> u64 {
    time.0 / 1_000_000_000
}

/// The first date in a field, in seconds since 1970.
pub(super) fn date_of(headers: &HeaderMap, name: HeaderName) -> Option<u64> {
    headers.get(name)?.to_str().ok().and_then(parse_date)
}
