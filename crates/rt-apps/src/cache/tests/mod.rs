//! The cache against an independent reading of the RFC, and its own arrangements one by one.

mod arrangements;
mod random;
mod reference;
mod rules;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use rt_base::{CacheDecision, Nanos};

use super::{Arrival, CacheOptions, Question, SharedCache, Ticket, Verdict};

/// When all tests begin: civil time in seconds.
const EPOCH: u64 = 1_795_219_200;

fn fields(lines: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
    }
    headers
}

fn question(method: &str, target: &str, lines: &[(&str, &str)]) -> Question {
    let method: Method = method.parse().unwrap();
    let mut question = Question::new(method, "https", "a.example", target);
    question.headers = fields(lines);
    question
}

/// A moment, in seconds after the beginning.
fn at(seconds: u64) -> Nanos {
    Nanos::from_secs(EPOCH + seconds)
}

/// A cache and an origin that answers at once.
struct Pair {
    cache: SharedCache,
}

impl Pair {
    fn new(options: CacheOptions) -> Pair {
        Pair { cache: SharedCache::new(options) }
    }

    fn ask(&mut self, question: &Question, second: u64) -> (Verdict, CacheDecision) {
        self.cache.ask(question, 1, false, at(second))
    }

    /// Asks for what is not there and keeps the answer, if it may be kept; returns the last decision.
    fn fill(
        &mut self,
        question: &Question,
        second: u64,
        response: &[(&str, &str)],
        body: &str,
    ) -> CacheDecision {
        let (verdict, decision) = self.ask(question, second);
        let Verdict::Forward(ticket, _) = verdict else { panic!("{decision:?}") };
        self.answer(&ticket, second, (200, response), body)
    }

    fn answer(
        &mut self,
        ticket: &Ticket,
        second: u64,
        (status, response): (u16, &[(&str, &str)]),
        body: &str,
    ) -> CacheDecision {
        let mut headers = fields(response);
        if !headers.contains_key("date") {
            headers.insert("date", HeaderValue::from_str(&crate::http::date(EPOCH + second)).unwrap());
        }
        let status = StatusCode::from_u16(status).unwrap();
        let (arrival, decision) = self.cache.answered(ticket, status, &headers, at(second));
        if matches!(arrival, Arrival::Keep) {
            let body = Bytes::from(body.to_owned());
            self.cache.store(ticket, (status, &headers, body), at(second), at(second));
        }
        decision
    }
}
