//! What a response says about the cache: Cache-Status (RFC 9211), and the fields of the largest CDN.

use rt_base::{CacheDecision, CacheVerdict, Nanos};

/// How a request ended: what was decided first, and what the origin's response brought.
#[derive(Clone, Copy, Debug)]
pub struct Course<'a> {
    /// When the request came.
    pub asked: &'a CacheDecision,
    /// When the origin had answered, with its status code, or 0 when it did not answer.
    pub then: Option<(&'a CacheDecision, u16)>,
    /// Whether it waited for another request's response.
    pub collapsed: bool,
}

/// A cache's member of Cache-Status.
//= rfc9211#section-2
#[must_use]
pub fn cache_status(name: &str, course: Course<'_>) -> String {
    let Course { asked, then, collapsed } = course;
    let mut out = token(name);
    let last = then.map_or(asked, |(decision, _)| decision);
    if !asked.forward.is_empty() {
        //= rfc9211#section-2.2
        out.push_str(&format!("; fwd={}", asked.forward));
        if let Some((_, status @ 1..)) = then {
            //= rfc9211#section-2.3
            out.push_str(&format!("; fwd-status={status}"));
        }
    } else if matches!(asked.verdict, CacheVerdict::Hit | CacheVerdict::Updating) {
        //= rfc9211#section-2.1
        out.push_str("; hit");
    }
    if let (Some(age), Some(fresh_for)) = (last.age, last.fresh_for)
        && last.verdict != CacheVerdict::NotStored
    {
        //= rfc9211#section-2.4
        out.push_str(&format!("; ttl={}", ttl(age, fresh_for)));
    }
    if last.verdict == CacheVerdict::Stored {
        //= rfc9211#section-2.5
        out.push_str("; stored");
    }
    if collapsed {
        //= rfc9211#section-2.6
        out.push_str("; collapsed");
    }
    match last.verdict {
        CacheVerdict::StaleOnError => out.push_str("; detail=stale-if-error"),
        CacheVerdict::Updating => out.push_str("; detail=stale-while-revalidate"),
        CacheVerdict::Refused => out.push_str("; detail=only-if-cached"),
        _ => {}
    }
    out
}

/// What is left of the freshness lifetime in whole seconds; negative when stale.
fn ttl(age: Nanos, fresh_for: Nanos) -> i64 {
    let seconds = |span: Nanos| i64::try_from(span.0.div_ceil(1_000_000_000)).unwrap_or(i64::MAX);
    if fresh_for >= age { (fresh_for - age).0 as i64 / 1_000_000_000 } else { -seconds(age - fresh_for) }
}

/// RFC 8941, 3.3.4, or as a string where it is no token.
fn token(name: &str) -> String {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(&byte);
    if name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '*') && name.bytes().all(good) {
        return name.to_owned();
    }
    let printable = name.chars().filter(|char| (' '..='~').contains(char));
    let escaped: String =
        printable.flat_map(|c| matches!(c, '"' | '\\').then_some('\\').into_iter().chain([c])).collect();
    format!("\"{escaped}\"")
}

/// CF-Cache-Status, by Cloudflare's own descriptions of its words.
#[must_use]
pub fn cf_cache_status(course: Course<'_>) -> &'static str {
    let Course { asked, then, .. } = course;
    match (asked.verdict, then.map(|(decision, status)| (decision.verdict, status))) {
        (CacheVerdict::Hit, _) | (CacheVerdict::Collapsed, Some((CacheVerdict::Hit, _))) => "HIT",
        (CacheVerdict::Updating, _) => "UPDATING",
        (CacheVerdict::Dynamic, _) => "DYNAMIC",
        (CacheVerdict::Bypass, _) => "BYPASS",
        (_, Some((CacheVerdict::Revalidated, _))) => "REVALIDATED",
        (_, Some((CacheVerdict::StaleOnError, _))) => "STALE",
        (CacheVerdict::Stale, Some(_)) => "EXPIRED",
        // The origin's own fields say that it must not be kept.
        (_, Some((CacheVerdict::NotStored, 200..400))) => "BYPASS",
        _ => "MISS",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decision(verdict: CacheVerdict, forward: &str, times: Option<(u64, u64)>) -> CacheDecision {
        CacheDecision {
            verdict,
            forward: forward.to_owned(),
            age: times.map(|(age, _)| Nanos::from_secs(age)),
            fresh_for: times.map(|(_, fresh)| Nanos::from_secs(fresh)),
            ..CacheDecision::default()
        }
    }

    #[test]
    //= rfc9211#section-2
    fn a_member_says_what_the_cache_did() {
        let hit = decision(CacheVerdict::Hit, "", Some((10, 60)));
        let stale = decision(CacheVerdict::Stale, "stale", Some((70, 60)));
        let miss = decision(CacheVerdict::Miss, "uri-miss", None);
        let stored = decision(CacheVerdict::Stored, "", Some((0, 60)));
        let not_stored = decision(CacheVerdict::NotStored, "", None);
        let revalidated = decision(CacheVerdict::Revalidated, "", Some((0, 60)));
        let updating = decision(CacheVerdict::Updating, "", Some((62, 60)));
        let on_error = decision(CacheVerdict::StaleOnError, "", Some((65, 60)));
        let dynamic = decision(CacheVerdict::Dynamic, "method", None);
        let collapsed = decision(CacheVerdict::Collapsed, "uri-miss", None);
        let rows = [
            (&hit, None, false, "e; hit; ttl=50", "HIT"),
            (&collapsed, Some((&hit, 0)), true, "e; fwd=uri-miss; ttl=50; collapsed", "HIT"),
            (&miss, Some((&stored, 200)), false, "e; fwd=uri-miss; fwd-status=200; ttl=60; stored", "MISS"),
            (&miss, Some((&not_stored, 200)), false, "e; fwd=uri-miss; fwd-status=200", "BYPASS"),
            (&miss, Some((&not_stored, 404)), false, "e; fwd=uri-miss; fwd-status=404", "MISS"),
            (&stale, Some((&revalidated, 304)), false, "e; fwd=stale; fwd-status=304; ttl=60", "REVALIDATED"),
            (&stale, Some((&stored, 200)), false, "e; fwd=stale; fwd-status=200; ttl=60; stored", "EXPIRED"),
            (&stale, Some((&on_error, 0)), false, "e; fwd=stale; ttl=-5; detail=stale-if-error", "STALE"),
            (&updating, None, false, "e; hit; ttl=-2; detail=stale-while-revalidate", "UPDATING"),
            (&dynamic, None, false, "e; fwd=method", "DYNAMIC"),
        ];
        for (asked, then, collapsed, status, cf) in rows {
            let course = Course { asked, then, collapsed };
            assert_eq!(cache_status("e", course), status);
            assert_eq!(cf_cache_status(course), cf, "{status}");
        }
        assert_eq!(token("my \"edge\""), "\"my \\\"edge\\\"\"");
        assert_eq!(token("cdn.tokyo"), "cdn.tokyo");
        assert_eq!(token("1st"), "\"1st\"");
    }
}
