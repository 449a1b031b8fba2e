//! What the RFC leaves to the cache: keys, collapsing, size, purging.

use super::{Pair, Verdict, at, question};
use crate::cache::{CacheOptions, SharedCache};
use bytes::Bytes;
use rt_base::CacheVerdict;

const FRESH: &[(&str, &str)] = &[("cache-control", "max-age=60")];

fn serves(pair: &mut Pair, target: &str, lines: &[(&str, &str)]) -> bool {
    let (verdict, _) = pair.ask(&question("GET", target, lines), 1);
    if let Verdict::Forward(ticket, _) = &verdict {
        pair.cache.give_up(ticket);
    }
    matches!(verdict, Verdict::Serve(_))
}

//= rfc9111#section-2
#[test]
fn the_key_is_what_the_options_say() {
    let mut pair =
        Pair::new(CacheOptions { key_headers: vec!["X-Device".into()], ..CacheOptions::default() });
    pair.fill(&question("GET", "/a?x=1", &[("x-device", "phone")]), 0, FRESH, "");
    assert!(serves(&mut pair, "/a?x=1", &[("x-device", "phone")]));
    assert!(!serves(&mut pair, "/a?x=1", &[("x-device", "desk")]));
    assert!(!serves(&mut pair, "/a?x=2", &[("x-device", "phone")]));
    let mut pair = Pair::new(CacheOptions { ignore_query: true, ..CacheOptions::default() });
    pair.fill(&question("GET", "/a?x=1", &[]), 0, FRESH, "");
    assert!(serves(&mut pair, "/a?x=2", &[]) && serves(&mut pair, "/a", &[]));
    // A field's value cannot look like another field.
    let options = CacheOptions { key_headers: vec!["a".into(), "b".into()], ..CacheOptions::default() };
    let key = |a: &str, b: &str| question("GET", "/", &[("a", a), ("b", b)]).key(&options);
    assert_ne!(key("1\" b=\"2", ""), key("1", "2\" b=\""));
    let upper = super::Question::new(http::Method::GET, "https", "A.example:443", "");
    assert_eq!(upper.key(&CacheOptions::default()), "https://a.example/");
}

#[test]
fn only_some_paths_can_be_asked_for() {
    let mut pair = Pair::new(CacheOptions { only: vec![".png".into()], ..CacheOptions::default() });
    let (_, decision) = pair.ask(&question("GET", "/index.html", &[]), 0);
    assert_eq!((decision.verdict, decision.forward.as_str()), (CacheVerdict::Dynamic, "bypass"));
    assert_eq!(pair.ask(&question("GET", "/logo.png", &[]), 0).1.verdict, CacheVerdict::Miss);
}

//= rfc9111#section-4
#[test]
fn requests_for_the_same_wait_for_the_first() {
    let mut cache = SharedCache::new(CacheOptions::default());
    let asked = question("GET", "/a", &[]);
    let (Verdict::Forward(ticket, _), _) = cache.ask(&asked, 7, false, at(0)) else { panic!() };
    let (verdict, decision) = cache.ask(&asked, 8, false, at(0));
    assert!(matches!(verdict, Verdict::Wait { leader: 7 }));
    assert_eq!(decision.why, "nothing is stored under this key, and it is being asked for");
    assert!(cache.is_under_way(7));
    // Another thing, another method, a client that wants its own: these go.
    let own = question("GET", "/a", &[("cache-control", "no-cache")]);
    for other in [question("GET", "/b", &[]), question("HEAD", "/a", &[]), own] {
        assert!(matches!(cache.ask(&other, 9, false, at(0)).0, Verdict::Forward(..)));
    }
    // It is told at once when the response is for nobody else.
    let private = super::fields(&[("cache-control", "private")]);
    cache.answered(&ticket, http::StatusCode::OK, &private, at(1));
    assert!(!cache.is_under_way(7));
    assert!(matches!(cache.ask(&asked, 8, true, at(1)).0, Verdict::Forward(..)));
}

#[test]
fn those_who_waited_are_served_or_go_themselves() {
    let mut pair = Pair::new(CacheOptions::default());
    let asked = question("GET", "/a", &[]);
    let (Verdict::Forward(ticket, _), _) = pair.ask(&asked, 0) else { panic!() };
    assert!(matches!(pair.ask(&asked, 0).0, Verdict::Wait { .. }));
    pair.answer(&ticket, 1, (200, FRESH), "body");
    assert!(matches!(pair.cache.ask(&asked, 2, true, at(1)).0, Verdict::Serve(_)));
    // Where nothing came, the first who waited leads, and nobody waits twice.
    let other = question("GET", "/b", &[]);
    let (Verdict::Forward(ticket, _), _) = pair.ask(&other, 2) else { panic!() };
    pair.cache.give_up(&ticket);
    assert!(matches!(pair.cache.ask(&other, 3, true, at(2)).0, Verdict::Forward(..)));
    assert!(matches!(pair.cache.ask(&other, 4, true, at(2)).0, Verdict::Forward(..)));
}

#[test]
fn the_least_recently_used_goes_first() {
    let mut pair = Pair::new(CacheOptions { capacity: 1_000, ..CacheOptions::default() });
    let body = "x".repeat(200);
    for target in ["/1", "/2", "/3"] {
        pair.fill(&question("GET", target, &[]), 0, FRESH, &body);
    }
    assert_eq!(pair.cache.len(), 3);
    assert!(serves(&mut pair, "/1", &[]));
    pair.fill(&question("GET", "/4", &[]), 0, FRESH, &body);
    let there: Vec<bool> = ["/1", "/2", "/3", "/4"].map(|target| serves(&mut pair, target, &[])).to_vec();
    assert_eq!(there, [true, false, true, true]);
    assert!(pair.cache.bytes() <= 1_000);
    // What is longer than everything is not kept, told beforehand or not.
    let decision = pair.fill(&question("GET", "/5", &[]), 0, &[FRESH[0], ("content-length", "5000")], "");
    assert_eq!(decision.why, "too long for this cache");
    pair.fill(&question("GET", "/6", &[]), 0, FRESH, &"x".repeat(5_000));
    assert!(!serves(&mut pair, "/6", &[]));
    for number in 0..500 {
        pair.fill(&question("GET", "/v", &[("x", &number.to_string())]), 0, &[FRESH[0], ("vary", "x")], "");
    }
    assert!(pair.cache.len() <= 64 && pair.cache.bytes() <= 1_000);
    let counted = pair.cache.bytes();
    assert!(pair.cache.purge_all() > 0 && counted > 0);
    assert_eq!((pair.cache.bytes(), pair.cache.len()), (0, 0));
}

#[test]
fn purging_by_uri_prefix_and_tag() {
    let mut pair = Pair::new(CacheOptions::default());
    for (target, tags) in [("/a/1", "red, blue"), ("/a/2", "blue"), ("/b/1", "redder")] {
        pair.fill(&question("GET", target, &[]), 0, &[FRESH[0], ("cache-tag", tags)], "");
    }
    assert_eq!(pair.cache.purge_tag("red"), 1);
    assert_eq!(pair.cache.purge("https://a.example/a"), 0);
    assert_eq!(pair.cache.purge_prefix("https://a.example/a/"), 1);
    assert_eq!(pair.cache.purge("https://a.example/b/1"), 1);
    assert!(pair.cache.is_empty());
    // What is under way while it is purged is not kept.
    let asked = question("GET", "/a/1", &[]);
    let (Verdict::Forward(ticket, _), _) = pair.ask(&asked, 0) else { panic!() };
    pair.cache.purge("https://a.example/a/1");
    let headers = super::fields(FRESH);
    pair.cache.answered(&ticket, http::StatusCode::OK, &headers, at(0));
    pair.cache.store(&ticket, (http::StatusCode::OK, &headers, Bytes::new()), at(0), at(0));
    assert!(pair.cache.is_empty());
}
