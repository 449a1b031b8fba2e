//! Two judgements with their reasons: whether a response may be kept, and whether a kept one may be used.

use http::header::{EXPIRES, SET_COOKIE};
use http::{HeaderMap, Method, StatusCode};
use rt_base::Nanos;

use super::CacheOptions;
use super::directives::{Directives, Seconds};
use super::entry::{Entry, fits_nobody};
use super::freshness::heuristically_cacheable;
use super::question::Question;

/// How a stored response that fits may be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Reuse {
    /// As it is; why.
    Serve(String),
    /// As it is, while the origin is asked aside (RFC 5861, 3).
    Background(String),
    /// Only when the origin says that it still holds; why.
    Validate(String),
}

/// Why a response to `question` may not be kept; `None` when it may.
//= rfc9111#section-3
pub(super) fn refusal(
    question: &Question,
    status: StatusCode,
    headers: &HeaderMap,
    options: &CacheOptions,
) -> Option<String> {
    let said = Directives::of(headers);
    let asked = question.directives();
    let understood = heuristically_cacheable(status) || matches!(status.as_u16(), 302 | 307);
    //= rfc9111#section-5.2.2.3
    let must_understand = said.has("must-understand");
    let shown = status.as_u16();
    let rules = [
        (question.method != Method::GET, format!("a response to {} is not kept", question.method)),
        (matches!(shown, 100..200 | 206 | 304), format!("a {shown} is not a whole response")),
        (must_understand && !understood, format!("must-understand, and {shown} is not understood")),
        //= rfc9111#section-5.2.1.5
        (options.obey_clients && asked.has("no-store"), "the client says no-store".to_owned()),
        //= rfc9111#section-5.2.2.5
        (said.has("no-store") && !must_understand, "no-store".to_owned()),
        //= rfc9111#section-5.2.2.7
        (said.has("private"), "private: not for a shared cache".to_owned()),
        //= rfc9111#section-3.5
        (
            question.authorized() && !["public", "must-revalidate", "s-maxage"].iter().any(|d| said.has(d)),
            "the request has Authorization, and nothing makes the response public".to_owned(),
        ),
        //= rfc9111#section-4.1
        (fits_nobody(headers), "Vary: * fits no other request".to_owned()),
        //= rfc9111#section-7.3
        (headers.contains_key(SET_COOKIE) && !options.keep_cookies, "it sets a cookie".to_owned()),
        (
            !["public", "max-age", "s-maxage"].iter().any(|d| said.has(d))
                && !headers.contains_key(EXPIRES)
                && !heuristically_cacheable(status),
            format!("nothing says that a {shown} may be kept"),
        ),
    ];
    rules.into_iter().find(|(applies, _)| *applies).map(|(_, why)| why)
}

/// Whether keeping it would be for nothing: it is never fresh, cannot be validated and may not be used stale. RFC 9111
/// would allow to keep it.
pub(super) fn is_useless(entry: &Entry) -> bool {
    let never_fresh = entry.lifetime.span == Nanos::ZERO || entry.directives.has("no-cache");
    let stale = ["stale-while-revalidate", "stale-if-error"].iter().any(|d| entry.directives.has(d));
    never_fresh && !entry.has_validator() && !stale
}

/// Whether the entry may answer a request with these directives now.
//= rfc9111#section-4
pub(super) fn reuse(entry: &Entry, asked: &Directives, now: Nanos, options: &CacheOptions) -> Reuse {
    let validate = |why: &str| Reuse::Validate(why.to_owned());
    if entry.doubtful {
        //= rfc9111#section-4.3.5
        return validate("a HEAD showed that the origin has another one");
    }
    //= rfc9111#section-5.2.2.4
    if entry.directives.has("no-cache") {
        return validate("no-cache: never without asking");
    }
    let age = entry.age(now);
    if options.obey_clients
        && let Some(why) = client_refuses(entry, asked, age)
    {
        return validate(why);
    }
    if entry.is_fresh(now) {
        return Reuse::Serve("fresh".to_owned());
    }
    let staleness = entry.staleness(now);
    //= rfc9111#section-4.2.4
    if let Some(directive) = forbids_stale(entry, options) {
        return Reuse::Validate(format!("stale, and {directive} forbids to use it so"));
    }
    //= rfc9111#section-5.2.1.2
    if options.obey_clients && asked.has("max-stale") {
        match asked.seconds("max-stale") {
            Some(Seconds::Good(most)) if staleness <= Nanos::from_secs(most) => {
                return Reuse::Serve(format!("stale, and the client takes up to {most} s"));
            }
            _ if asked.value("max-stale").is_none() => {
                return Reuse::Serve("stale, and the client takes it so".to_owned());
            }
            _ => {}
        }
    }
    //= rfc5861#section-3
    if let Some(window) = within(&entry.directives, "stale-while-revalidate", staleness) {
        return Reuse::Background(format!("stale, within stale-while-revalidate={window}"));
    }
    validate("stale")
}

/// RFC 9111, 5.2.1: what the client will not have.
fn client_refuses(entry: &Entry, asked: &Directives, age: Nanos) -> Option<&'static str> {
    //= rfc9111#section-5.2.1.4
    if asked.has("no-cache") {
        return Some("the client says no-cache");
    }
    //= rfc9111#section-5.2.1.1
    if let Some(Seconds::Good(most)) = asked.seconds("max-age")
        && age > Nanos::from_secs(most)
    {
        return Some("older than the client's max-age");
    }
    //= rfc9111#section-5.2.1.3
    if let Some(Seconds::Good(least)) = asked.seconds("min-fresh")
        && entry.lifetime.span - age < Nanos::from_secs(least)
    {
        return Some("less fresh than the client's min-fresh");
    }
    None
}

/// The directive that forbids to use the response stale, if one does.
//= rfc9111#section-4.2.4
fn forbids_stale(entry: &Entry, options: &CacheOptions) -> Option<&'static str> {
    //= rfc9111#section-5.2.2.10
    let applies = |directive: &&str| {
        entry.directives.has(directive) && (*directive != "s-maxage" || !options.stale_after_s_maxage)
    };
    ["no-cache", "must-revalidate", "proxy-revalidate", "s-maxage"].into_iter().find(applies)
}

/// Whether the entry may be used because the origin fails; why.
//= rfc5861#section-4
pub(super) fn stale_on_error(
    entry: &Entry,
    asked: &Directives,
    now: Nanos,
    options: &CacheOptions,
) -> Option<String> {
    if forbids_stale(entry, options).is_some() || entry.doubtful {
        return None;
    }
    let staleness = entry.staleness(now);
    let told = within(&entry.directives, "stale-if-error", staleness);
    let client = || options.obey_clients.then(|| within(asked, "stale-if-error", staleness)).flatten();
    told.or_else(client).map(|window| format!("within stale-if-error={window}"))
}

/// The directive's window in seconds, if the staleness is inside it.
fn within(directives: &Directives, name: &str, staleness: Nanos) -> Option<u64> {
    match directives.seconds(name)? {
        Seconds::Good(window) if staleness <= Nanos::from_secs(window) => Some(window),
        _ => None,
    }
}
