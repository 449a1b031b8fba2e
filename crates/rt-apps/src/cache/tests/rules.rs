//! Rules of RFC 9111 one by one, as a reader of the RFC would ask for them.

use super::{Pair, Verdict, at, fields, question};
use crate::cache::{Arrival, CacheOptions};
use rt_base::{CacheVerdict, Nanos};

/// Fields of a response.
type Lines<'a> = &'a [(&'a str, &'a str)];

/// Fills with a response and asks again later: the decision's word, age and lifetime in seconds, and its reason.
fn again(response: &[(&str, &str)], later: u64) -> String {
    let mut pair = Pair::new(CacheOptions::default());
    let asked = question("GET", "/x", &[]);
    let kept = pair.fill(&asked, 0, response, "body");
    if kept.verdict == CacheVerdict::NotStored {
        return format!("not kept: {}", kept.why);
    }
    let (_, decision) = pair.ask(&asked, later);
    let seconds = |span: Option<Nanos>| span.map_or(0, |span| span.0 / 1_000_000_000);
    let (age, fresh) = (seconds(decision.age), seconds(decision.fresh_for));
    format!("{:?} {age}/{fresh} {}: {}", decision.verdict, decision.lifetime_from, decision.why)
}

//= rfc9111#section-4.2.1
#[test]
fn a_lifetime_comes_from_the_first_rule_that_applies() {
    let expires = crate::http::date(super::EPOCH + 30);
    let modified = crate::http::date(super::EPOCH - 1_000);
    let rows: &[(Lines, u64, &str)] = &[
        (&[("cache-control", "s-maxage=20, max-age=60")], 10, "Hit 10/20 s-maxage=20: fresh"),
        (&[("cache-control", "max-age=60"), ("expires", &expires)], 40, "Hit 40/60 max-age=60: fresh"),
        (&[("expires", &expires)], 29, "Hit 29/30 Expires: fresh"),
        (&[("expires", &expires)], 30, "Stale 30/30 Expires: stale"),
        (&[("last-modified", &modified)], 99, "Hit 99/100 10 % of the time since Last-Modified: fresh"),
        (&[("expires", "0"), ("etag", "\"e\"")], 0, "Stale 0/0 an Expires that is no date: stale"),
        (&[("age", "50"), ("cache-control", "max-age=60")], 9, "Hit 59/60 max-age=60: fresh"),
        (&[("cache-control", "max-age=60, max-age=1")], 9, "Hit 9/60 max-age=60: fresh"),
        (
            &[("cache-control", "max-age=junk"), ("etag", "\"e\"")],
            0,
            "Stale 0/0 max-age without a number: stale",
        ),
        (&[("etag", "\"e\"")], 1, "Stale 1/0 nothing: stale"),
        (&[], 1, "not kept: it could never be used again: not fresh, no validator"),
    ];
    for (response, later, want) in rows {
        assert_eq!(again(response, *later), *want, "{response:?}");
    }
}

//= rfc9111#section-3
#[test]
fn what_may_not_be_kept_says_why() {
    let rows: &[(Lines, &str)] = &[
        (&[("cache-control", "no-store, max-age=60")], "no-store"),
        (&[("cache-control", "private=\"x\", max-age=60")], "private: not for a shared cache"),
        (&[("cache-control", "max-age=60"), ("vary", "accept, *")], "Vary: * fits no other request"),
        (&[("cache-control", "max-age=60"), ("set-cookie", "a=b")], "it sets a cookie"),
    ];
    for (response, want) in rows {
        assert_eq!(again(response, 0), format!("not kept: {want}"));
    }
    let mut pair = Pair::new(CacheOptions::default());
    let secret = question("GET", "/x", &[("authorization", "Bearer t")]);
    let decision = pair.fill(&secret, 0, &[("cache-control", "max-age=60")], "");
    assert_eq!(decision.why, "the request has Authorization, and nothing makes the response public");
    let decision = pair.fill(&secret, 0, &[("cache-control", "public, max-age=60")], "");
    assert_eq!(decision.verdict, CacheVerdict::Stored);
}

//= rfc9111#section-4.2.4
//= rfc9111#section-5.2.2.10
#[test]
fn s_maxage_forbids_what_stale_while_revalidate_allows_unless_configured() {
    let strict = "stale, and s-maxage forbids to use it so";
    let response = [("cache-control", "s-maxage=10, stale-while-revalidate=30"), ("etag", "\"e\"")];
    assert_eq!(again(&response, 20), format!("Stale 20/10 s-maxage=10: {strict}"));
    let mut pair = Pair::new(CacheOptions { stale_after_s_maxage: true, ..CacheOptions::default() });
    let asked = question("GET", "/x", &[]);
    pair.fill(&asked, 0, &response, "body");
    let (verdict, decision) = pair.ask(&asked, 20);
    assert_eq!(decision.why, "stale, within stale-while-revalidate=30");
    let Verdict::ServeAndRevalidate(presented, _, aside) = verdict else { panic!("{decision:?}") };
    assert_eq!(
        (presented.headers["age"].to_str().unwrap(), &aside["if-none-match"]),
        ("20", &"\"e\"".parse().unwrap())
    );
    // One question aside at a time.
    assert!(matches!(pair.ask(&asked, 21).0, Verdict::Serve(_)));
}

//= rfc9111#section-4.3.4
#[test]
fn a_304_renews_fields_and_age_and_keeps_the_bytes() {
    let mut pair = Pair::new(CacheOptions::default());
    let asked = question("GET", "/x", &[]);
    pair.fill(
        &asked,
        0,
        &[("cache-control", "max-age=10"), ("etag", "\"e\""), ("x-old", "1"), ("age", "5")],
        "body",
    );
    let (Verdict::Forward(ticket, fields_sent), decision) = pair.ask(&asked, 20) else { panic!() };
    assert_eq!(
        (decision.validator.as_str(), &fields_sent["if-none-match"]),
        ("ETag \"e\"", &"\"e\"".parse().unwrap())
    );
    let date = crate::http::date(super::EPOCH + 20);
    let headers = fields(&[
        ("etag", "\"e\""),
        ("cache-control", "max-age=99"),
        ("date", &date),
        ("content-length", "0"),
    ]);
    let (arrival, decision) = pair.cache.answered(&ticket, http::StatusCode::NOT_MODIFIED, &headers, at(20));
    let Arrival::Renewed(presented) = arrival else { panic!("{decision:?}") };
    assert_eq!((presented.status.as_u16(), &presented.body[..]), (200, &b"body"[..]));
    let text = |name: &str| presented.headers[name].to_str().unwrap();
    assert_eq!((text("age"), text("x-old"), text("content-length")), ("0", "1", "4"));
    assert_eq!(pair.ask(&asked, 100).1.verdict, CacheVerdict::Hit);
}

//= rfc5861#section-4
#[test]
fn an_error_of_the_origin_is_covered_for_a_while() {
    let response = [("cache-control", "max-age=10, stale-if-error=30")];
    for (later, covered) in [(40, true), (41, false)] {
        let mut pair = Pair::new(CacheOptions::default());
        let asked = question("GET", "/x", &[]);
        pair.fill(&asked, 0, &response, "body");
        let (Verdict::Forward(ticket, _), _) = pair.ask(&asked, later) else { panic!() };
        let told = pair.cache.failed(&ticket, "no answer", at(later));
        assert_eq!(told.is_some(), covered);
        if let Some((_, decision)) = told {
            assert_eq!(decision.why, "no answer; within stale-if-error=30");
        }
    }
}

//= rfc9111#section-4.4
#[test]
fn a_post_that_succeeds_invalidates() {
    for (status, gone) in [(200, true), (302, true), (404, false), (500, false)] {
        let mut pair = Pair::new(CacheOptions::default());
        for target in ["/x", "/y", "/z"] {
            pair.fill(&question("GET", target, &[]), 0, &[("cache-control", "max-age=60")], "body");
        }
        let (Verdict::Forward(ticket, _), decision) = pair.ask(&question("POST", "/x", &[]), 1) else {
            panic!()
        };
        assert_eq!((decision.verdict, decision.forward.as_str()), (CacheVerdict::Dynamic, "method"));
        let named = [("location", "/y"), ("content-location", "https://b.example/z")];
        pair.answer(&ticket, 1, (status, &named), "");
        let there: Vec<bool> = ["/x", "/y", "/z"]
            .map(|target| matches!(pair.ask(&question("GET", target, &[]), 2).0, Verdict::Serve(_)))
            .to_vec();
        assert_eq!(there, [!gone, !gone, true], "{status}");
    }
}
