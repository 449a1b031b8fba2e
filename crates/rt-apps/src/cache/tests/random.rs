//! Random requests and responses at random times: the cache and the slow reference do the same.

use bytes::Bytes;
use http::header::{AGE, CONTENT_LENGTH, CONTENT_RANGE, IF_MODIFIED_SINCE, IF_NONE_MATCH};
use http::{HeaderMap, Method, StatusCode};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::RngSeed;
use rt_base::Nanos;

use super::reference::{Answer, Ask, Fields, First, Options, Reference, Validators};
use super::{EPOCH, fields};
use crate::cache::{Arrival, CacheOptions, Presented, Question, SharedCache, Ticket, Verdict};
use crate::http::date;

/// One turn: a pause, a request, and what the origin says if it is asked.
#[derive(Clone, Debug)]
struct Turn {
    /// Milliseconds since the turn before.
    pause: u64,
    method: &'static str,
    target: &'static str,
    request: Fields,
    /// Milliseconds until the response.
    delay: u64,
    status: u16,
    /// Whether the origin answers 304 where it may.
    unchanged: bool,
    response: Vec<Field>,
    body: String,
}

/// A field of the response; dates are seconds before or after the time of the response.
#[derive(Clone, Debug)]
enum Field {
    Text(&'static str, String),
    Date(&'static str, i64),
}

fn seconds() -> impl Strategy<Value = u64> {
    select(vec![0, 1, 2, 5, 10, 30, 60])
}

fn tag() -> impl Strategy<Value = String> {
    select(vec!["\"a\"", "\"b\"", "W/\"a\"", "W/\"b\""]).prop_map(str::to_owned)
}

fn directives_of_responses() -> impl Strategy<Value = String> {
    let spans = ["max-age", "s-maxage", "stale-while-revalidate", "stale-if-error"];
    let span = (select(spans.to_vec()), seconds()).prop_map(|(name, seconds)| format!("{name}={seconds}"));
    let quoted = (select(spans.to_vec()), seconds()).prop_map(|(name, s)| format!("{name}=\"{s}\""));
    let flags = vec![
        "no-cache",
        "no-store",
        "private",
        "public",
        "must-revalidate",
        "proxy-revalidate",
        "must-understand",
        "Max-Age=x",
        "max-age",
    ];
    let flag = select(flags).prop_map(str::to_owned);
    prop::collection::vec(prop_oneof![5 => span, 1 => quoted, 2 => flag], 0..4).prop_map(|all| all.join(", "))
}

fn directives_of_requests() -> impl Strategy<Value = String> {
    let span = (select(vec!["max-age", "min-fresh", "max-stale", "stale-if-error"]), seconds())
        .prop_map(|(name, seconds)| format!("{name}={seconds}"));
    let flag = select(vec!["no-cache", "no-store", "max-stale", "only-if-cached"]).prop_map(str::to_owned);
    prop::collection::vec(prop_oneof![3 => span, 1 => flag], 1..3).prop_map(|all| all.join(", "))
}

fn text(name: &'static str, value: impl Strategy<Value = String>) -> impl Strategy<Value = (String, String)> {
    value.prop_map(move |value| (name.to_owned(), value))
}

fn one_of(values: &[&'static str]) -> impl Strategy<Value = String> + use<> {
    select(values.to_vec()).prop_map(str::to_owned)
}

fn request() -> impl Strategy<Value = Fields> {
    let when = (0..200_u64).prop_map(|before| date(EPOCH - before + 100));
    let field = prop_oneof![
        3 => text("accept-language", one_of(&["de", "en", "de,en", "de, en"])),
        2 => text("accept-encoding", one_of(&["gzip", "br"])),
        3 => text("cache-control", directives_of_requests()),
        1 => text("pragma", one_of(&["no-cache"])),
        1 => text("authorization", one_of(&["Basic eDp5"])),
        2 => text("if-none-match", prop_oneof![tag(), one_of(&["*", "\"a\", \"b\""])]),
        1 => text("if-modified-since", when.clone()),
        2 => text("range", one_of(&["bytes=0-2", "bytes=3-", "bytes=-4", "bytes=90-", "bytes=4-2", "bytes=0-1,3-4", "bytes=-0"])),
        1 => text("if-range", prop_oneof![tag(), when]),
        1 => text("if-match", tag()),
    ];
    prop::collection::vec(field, 0..4)
}

fn response() -> impl Strategy<Value = Vec<Field>> {
    let text = |name: &'static str, value: BoxedStrategy<String>| {
        value.prop_map(move |value| Field::Text(name, value)).boxed()
    };
    let when = |name: &'static str, span: std::ops::Range<i64>| {
        span.prop_map(move |seconds| Field::Date(name, seconds)).boxed()
    };
    let field = prop_oneof![
        6 => text("cache-control", directives_of_responses().boxed()),
        4 => text("etag", tag().boxed()),
        3 => when("date", -20..3),
        3 => when("last-modified", -300..0),
        2 => when("expires", -20..60),
        1 => text("expires", one_of(&["0"]).boxed()),
        1 => text("age", one_of(&["0", "7", "40", "x", "3, 9"]).boxed()),
        3 => text("vary", one_of(&["Accept-Language", "accept-encoding, Accept-Language", "*"]).boxed()),
        1 => text("set-cookie", one_of(&["a=b"]).boxed()),
        1 => text("content-location", one_of(&["/a", "/b?x=1"]).boxed()),
    ];
    prop::collection::vec(field, 1..6)
}

fn turn() -> impl Strategy<Value = Turn> {
    let pause = prop_oneof![3 => 0..3_000_u64, 3 => 0..40_000_u64, 1 => Just(0)];
    let method = prop_oneof![12 => Just("GET"), 2 => Just("HEAD"), 1 => Just("POST")];
    let target = select(vec!["/a", "/a", "/a", "/b?x=1"]);
    let status = prop_oneof![12 => Just(200), 1 => Just(404), 1 => Just(302), 1 => Just(500), 2 => Just(503), 1 => Just(204)];
    (pause, method, target, request(), 0..2_500_u64, status, any::<bool>(), response(), "[a-z]{0,12}")
        .prop_map(|(pause, method, target, request, delay, status, unchanged, response, body)| Turn {
            pause,
            method,
            target,
            request,
            delay,
            status,
            unchanged,
            response,
            body,
        })
}

/// The cache's side, told in the reference's words.
struct Judged(SharedCache);

fn shown(presented: &Presented, head: bool) -> String {
    let text = |name| presented.headers.get(name).map_or("", |v: &http::HeaderValue| v.to_str().unwrap());
    let (age, body) = (text(AGE), String::from_utf8_lossy(&presented.body).into_owned());
    match presented.status.as_u16() {
        304 => format!("304 age={age}"),
        416 => format!("416 {} age={age}", text(CONTENT_RANGE)),
        206 => format!("206 {body} {} age={age}", text(CONTENT_RANGE)),
        // A 204 has no length to tell.
        status if head => {
            assert!(body.is_empty());
            let length = if status == 204 { "0" } else { text(CONTENT_LENGTH) };
            format!("{status} length={length} age={age}")
        }
        status => format!("{status} {body} age={age}"),
    }
}

fn asked_with(headers: &HeaderMap) -> Validators {
    let text = |name| headers.get(name).map(|v: &http::HeaderValue| v.to_str().unwrap().to_owned());
    (text(IF_NONE_MATCH), text(IF_MODIFIED_SINCE))
}

fn pairs(fields: &Fields) -> HeaderMap {
    let lines: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    super::fields(&lines)
}

impl Judged {
    fn ask(&mut self, question: &Question, now: Nanos) -> (First, Option<Ticket>) {
        let head = question.method == Method::HEAD;
        match self.0.ask(question, 1, false, now).0 {
            Verdict::Serve(presented) => (First::Serve(shown(&presented, head)), None),
            Verdict::ServeAndRevalidate(presented, ticket, fields) => {
                (First::ServeAndAsk(shown(&presented, head), asked_with(&fields)), Some(*ticket))
            }
            Verdict::Forward(ticket, fields) => (First::Forward(asked_with(&fields)), Some(*ticket)),
            Verdict::Wait { .. } => panic!("nobody else asks"),
            Verdict::Refuse => (First::Refuse, None),
        }
    }

    fn answered(&mut self, ticket: &Ticket, answer: &Answer, head: bool) -> String {
        let (status, headers) = (StatusCode::from_u16(answer.status).unwrap(), pairs(&answer.fields));
        let now = Nanos::from_millis(answer.at);
        match self.0.answered(ticket, status, &headers, now).0 {
            Arrival::Pass => "passed".to_owned(),
            Arrival::Keep => {
                self.0.store(ticket, (status, &headers, Bytes::from(answer.body.clone())), now, now);
                "kept".to_owned()
            }
            Arrival::Renewed(presented) => format!("renewed {}", shown(&presented, head)),
            Arrival::Stale(presented) => format!("stale {}", shown(&presented, head)),
            Arrival::Again => "again".to_owned(),
        }
    }
}

/// The origin's response to a turn's request, as it comes.
fn answer_of(turn: &Turn, validators: &Validators, at: u64) -> Answer {
    let asked_about = *validators != (None, None) && turn.method != "POST";
    let status = if asked_about && turn.unchanged { 304 } else { turn.status };
    let fields = turn.response.iter().map(|field| match field {
        Field::Text(name, value) => ((*name).to_owned(), value.clone()),
        Field::Date(name, seconds) => {
            ((*name).to_owned(), date((at / 1_000).saturating_add_signed(*seconds)))
        }
    });
    let mut fields: Fields = fields.collect();
    // A 304 mostly says what was asked about: as it does when it has no tag of its own.
    if status == 304 && !turn.body.len().is_multiple_of(3) {
        fields.retain(|(name, _)| name != "etag" && name != "last-modified");
        let (tag, modified) = validators.clone();
        fields.extend(tag.map(|tag| ("etag".to_owned(), tag)));
        fields.extend(modified.map(|at| ("last-modified".to_owned(), at)));
    }
    let body = if [204, 304].contains(&status) { String::new() } else { turn.body.clone() };
    Answer { status, fields, body, at }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2_000, rng_seed: RngSeed::Fixed(9111), failure_persistence: None, ..ProptestConfig::default()
    })]

    //= rfc9111#section-3
    //= rfc9111#section-4
    #[test]
    fn the_cache_does_what_the_rfc_says(
        turns in prop::collection::vec(turn(), 1..16),
        keep_cookies: bool, obey_clients: bool, stale_after_s_maxage: bool,
    ) {
        let options = CacheOptions { keep_cookies, obey_clients, stale_after_s_maxage, ..CacheOptions::default() };
        let mut judged = Judged(SharedCache::new(options));
        let mut reference = Reference::new(Options { keep_cookies, obey_clients, stale_after_s_maxage });
        let mut now = EPOCH * 1_000;
        for turn in &turns {
            now += turn.pause;
            let ask = Ask {
                method: turn.method,
                uri: format!("https://a.example{}", turn.target),
                fields: turn.request.clone(),
                at: now,
            };
            let mut question = Question::new(turn.method.parse().unwrap(), "https", "a.example", turn.target);
            question.headers = pairs(&turn.request);
            let (first, ticket) = judged.ask(&question, Nanos::from_millis(now));
            prop_assert_eq!(&first, &reference.ask(&ask), "{:?}", turn);
            let Some(ticket) = ticket else { continue };
            let (validators, aside) = match &first {
                First::ServeAndAsk(_, validators) => (validators, true),
                First::Forward(validators) => (validators, false),
                _ => unreachable!("there is a ticket"),
            };
            now += turn.delay;
            let answer = answer_of(turn, validators, now);
            let head = turn.method == "HEAD" && !aside;
            let told = judged.answered(&ticket, &answer, head);
            prop_assert_eq!(told, reference.answered(&ask, &answer, aside), "{:?} {:?}", turn, answer);
        }
    }
}

/// The random sequences must reach what they are for: each kind of end is seen.
#[test]
fn random_sequences_reach_every_end() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..400 {
        let turns = prop::collection::vec(turn(), 1..16).new_tree(&mut runner).unwrap().current();
        let mut judged = Judged(SharedCache::new(CacheOptions::default()));
        let mut now = EPOCH * 1_000;
        for turn in &turns {
            now += turn.pause;
            let mut question = Question::new(turn.method.parse().unwrap(), "https", "a.example", turn.target);
            question.headers = pairs(&turn.request);
            let (first, ticket) = judged.ask(&question, Nanos::from_millis(now));
            let (word, validators) = match &first {
                First::Serve(shown) => (format!("serve {}", &shown[..3]), None),
                First::ServeAndAsk(_, validators) => ("aside".to_owned(), Some(validators)),
                First::Forward(validators) => ("forward".to_owned(), Some(validators)),
                First::Refuse => ("refuse".to_owned(), None),
            };
            seen.insert(word);
            let (Some(ticket), Some(validators)) = (ticket, validators) else { continue };
            now += turn.delay;
            let answer = answer_of(turn, validators, now);
            let head = turn.method == "HEAD" && !matches!(first, First::ServeAndAsk(..));
            let told = judged.answered(&ticket, &answer, head);
            seen.insert(told.split(' ').next().unwrap().to_owned());
        }
    }
    let want = [
        "again",
        "aside",
        "forward",
        "kept",
        "passed",
        "refuse",
        "renewed",
        "serve 200",
        "serve 206",
        "serve 304",
        "serve 404",
        "serve 416",
        "stale",
    ];
    let missing: Vec<_> = want.iter().filter(|word| !seen.contains(**word)).collect();
    assert!(missing.is_empty(), "{missing:?} not in {seen:?}");
}

#[test]
fn the_reference_reads_dates() {
    let pair = fields(&[("date", &date(EPOCH))]);
    assert_eq!(pair["date"], "Sat, 21 Nov 2026 00:00:00 GMT");
}
