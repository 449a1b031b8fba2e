//! A shared HTTP cache by RFC 9111, with RFC 5861 (stale while revalidating, stale on errors) and RFC 9211
//! (Cache-Status): what a CDN's edge or a caching proxy keeps.
//!
//! Not for: the network. [`SharedCache`] is a value: requests, responses and civil time (nanoseconds since 1970) come in,
//! decisions with their reasons go out ([`rt_base::CacheDecision`]). The browser's private cache is another one
//! (`browser/cache`). Each answer of the origin goes through [`SharedCache::answered`], whole bodies come in by
//! [`SharedCache::store`]; a request that was forwarded and came to nothing is ended with [`SharedCache::give_up`].
//!
//! Deliberate simplifications, and how to notice them: only complete responses to GET are kept (206 is made here, never
//! kept); several ranges in one request bring the whole; `private="field"` and `no-cache="field"` count as without their
//! fields; `must-understand` knows the status codes that may be kept without being told.

mod directives;
mod entry;
mod flights;
mod forget;
mod freshness;
mod policy;
mod present;
mod question;
mod status;
mod store;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use bytes::Bytes;
use http::header::{
    CONTENT_LENGTH, CONTENT_LOCATION, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, LOCATION,
    RANGE,
};
use http::{HeaderMap, Method, StatusCode};
use ipnet::IpNet;
use rt_base::{CacheDecision, CacheVerdict, Nanos};

pub use crate::cached::{CacheStore, PlannedPurge};
use entry::{Entry, Times};
use flights::Flights;
pub use forget::Forget;
use policy::Reuse;
pub use present::Presented;
pub use question::Question;
pub use status::{Course, cache_status, cf_cache_status};
use store::Store;

/// How a cache behaves.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CacheOptions {
    /// Bytes kept at most, fields and keys counted; the least recently used go first.
    pub capacity: u64,
    /// Bytes of the largest body that is kept.
    pub largest: u64,
    /// Whether `/a?x=1` and `/a?x=2` are the same.
    pub ignore_query: bool,
    /// Request fields that are part of the key.
    pub key_headers: Vec<String>,
    /// Only paths with one of these endings are looked for and kept, as `.png`; all when empty.
    pub only: Vec<String>,
    /// How long a response is fresh that says nothing about it, instead of a tenth of its age.
    pub default_lifetime: Option<Nanos>,
    /// Whether responses with Set-Cookie are kept, as RFC 9111 allows.
    pub keep_cookies: bool,
    /// Whether Cache-Control in requests counts (RFC 9111, 5.2.1: it need not).
    pub obey_clients: bool,
    /// Whether a response with `s-maxage` may be used stale where stale-while-revalidate or stale-if-error says so.
    /// RFC 9111, 5.2.2.10, forbids it; CDNs do it.
    pub stale_after_s_maxage: bool,
    /// Whether requests for the same thing wait for the first one's response (RFC 9111, 4).
    pub collapse: bool,
    /// Networks whose clients may purge (the method PURGE); nobody when empty.
    pub purge_from: Vec<IpNet>,
}

impl Default for CacheOptions {
    fn default() -> CacheOptions {
        CacheOptions {
            capacity: 64 << 20,
            largest: 16 << 20,
            ignore_query: false,
            key_headers: Vec::new(),
            only: Vec::new(),
            default_lifetime: None,
            keep_cookies: false,
            obey_clients: true,
            stale_after_s_maxage: false,
            collapse: true,
            purge_from: Vec::new(),
        }
    }
}

/// What is to be done with a request.
#[derive(Debug)]
pub enum Verdict {
    /// Answer with this; nobody is asked.
    Serve(Presented),
    /// Answer with this, and ask the origin aside with the ticket and these fields.
    ServeAndRevalidate(Presented, Box<Ticket>, HeaderMap),
    /// Ask the origin with these fields.
    Forward(Box<Ticket>, HeaderMap),
    /// Somebody is asking for the same: when that is over, ask again with `waited`.
    Wait {
        /// Who asks the origin.
        leader: Asker,
    },
    /// 504: the client wants it from the cache or not at all.
    Refuse,
}

/// Who sent a request, in the caller's numbers: told back as the leader of a collapsed request.
pub type Asker = u64;

/// A request that is under way to the origin.
#[derive(Clone, Debug)]
pub struct Ticket {
    question: Question,
    key: String,
    asked: Nanos,
    /// The stored response that the origin was asked about.
    validates: Option<u64>,
    /// Where others wait for this one, if they may.
    flight: Option<(String, Asker)>,
    /// Its response is neither looked for nor kept.
    passes: Option<CacheVerdict>,
    /// Range and preconditions of the client were left out, so that the whole comes.
    cleared: bool,
    /// Purges so far.
    purges: u64,
}

impl Ticket {
    /// Whether the client asked for a part or for a change only, while the origin was asked for the whole: the response
    /// is made from the stored one when it is whole.
    #[must_use]
    pub fn needs_whole(&self) -> bool {
        self.cleared
    }
}

/// What a response of the origin means.
#[derive(Debug)]
pub enum Arrival {
    /// Pass it on; it is not kept.
    Pass,
    /// Pass it on and bring it with [`SharedCache::store`] when it is whole.
    Keep,
    /// The stored response holds, renewed.
    Renewed(Presented),
    /// The origin fails; the stored response may be used although it is stale.
    Stale(Presented),
    /// A 304 for a response that is not there (any more): ask again, with `waited`.
    Again,
}

/// A shared cache; see the module.
#[derive(Debug)]
pub struct SharedCache {
    options: CacheOptions,
    store: Store,
    flights: Flights,
    /// How often somebody made it forget.
    purges: u64,
}

impl SharedCache {
    /// An empty one.
    #[must_use]
    pub fn new(options: CacheOptions) -> SharedCache {
        SharedCache { store: Store::new(options.capacity), flights: Flights::default(), options, purges: 0 }
    }

    /// What becomes of a request. `waited` says that it has waited for another one before: it does not wait again.
    pub fn ask(
        &mut self,
        question: &Question,
        asker: Asker,
        waited: bool,
        now: Nanos,
    ) -> (Verdict, CacheDecision) {
        let key = question.key(&self.options);
        let mut decision = CacheDecision { key: key.clone(), ..CacheDecision::default() };
        if let Some((verdict, forward, why)) = self.passes_by(question) {
            (decision.verdict, decision.forward, decision.why) = (verdict, forward.to_owned(), why);
            let ticket = Ticket { passes: Some(verdict), ..self.ticket(question, key, now) };
            return (Verdict::Forward(Box::new(ticket), question.headers.clone()), decision);
        }
        let asked = question.directives();
        let Some(entry) = self.store.select(&key, &question.headers) else {
            let (forward, why) = if self.store.knows(&key) {
                let others = self.store.variants(&key, &question.headers);
                ("vary-miss", format!("stored only for other values of what Vary names: {others}"))
            } else {
                ("uri-miss", "nothing is stored under this key".to_owned())
            };
            (decision.forward, decision.why) = (forward.to_owned(), why);
            return self.ask_origin(question, (asker, waited), now, decision);
        };
        describe(&mut decision, entry, now);
        let entry_number = entry.number;
        match policy::reuse(entry, &asked, now, &self.options) {
            Reuse::Serve(why) => {
                (decision.verdict, decision.why) = (CacheVerdict::Hit, why);
                let presented = present::present(entry, question, now);
                self.store.touch(&key, entry_number);
                (Verdict::Serve(presented), decision)
            }
            Reuse::Background(why) => {
                (decision.verdict, decision.why) = (CacheVerdict::Updating, why);
                let presented = present::present(entry, question, now);
                let fields = validating(entry, &question.headers);
                let asked_about = entry.has_validator().then_some(entry_number);
                self.store.touch(&key, entry_number);
                let verdict = match self.background(question, key, asked_about, (asker, now)) {
                    Some(ticket) => Verdict::ServeAndRevalidate(presented, Box::new(ticket), fields),
                    None => Verdict::Serve(presented),
                };
                (verdict, decision)
            }
            Reuse::Validate(why) => {
                let forward = if entry.is_fresh(now) { "request" } else { "stale" };
                (decision.verdict, decision.forward, decision.why) =
                    (CacheVerdict::Stale, forward.to_owned(), why);
                self.ask_origin(question, (asker, waited), now, decision)
            }
        }
    }

    /// Why a request goes by the cache, if it does.
    fn passes_by(&self, question: &Question) -> Option<(CacheVerdict, &'static str, String)> {
        let only = &self.options.only;
        if !only.is_empty() && !only.iter().any(|ending| question.path().ends_with(ending.as_str())) {
            let why = "no path that this cache looks after".to_owned();
            return Some((CacheVerdict::Dynamic, "bypass", why));
        }
        if !matches!(question.method, Method::GET | Method::HEAD) {
            let why = format!("{} is for the origin", question.method);
            return Some((CacheVerdict::Dynamic, "method", why));
        }
        let why = "If-Match and If-Unmodified-Since are for the origin";
        question.asks_origin().then(|| (CacheVerdict::Bypass, "request", why.to_owned()))
    }

    fn ticket(&self, question: &Question, key: String, now: Nanos) -> Ticket {
        Ticket {
            question: question.clone(),
            key,
            asked: now,
            validates: None,
            flight: None,
            passes: None,
            cleared: false,
            purges: self.purges,
        }
    }

    /// The origin is asked, unless somebody does so already or the client does not want it.
    fn ask_origin(
        &mut self,
        question: &Question,
        (asker, waited): (Asker, bool),
        now: Nanos,
        mut decision: CacheDecision,
    ) -> (Verdict, CacheDecision) {
        let asked = question.directives();
        //= rfc9111#section-5.2.1.7
        if self.options.obey_clients && asked.has("only-if-cached") {
            decision.why = format!("only-if-cached, and: {}", decision.why);
            decision.verdict = CacheVerdict::Refused;
            return (Verdict::Refuse, decision);
        }
        let key = decision.key.clone();
        let entry = self.store.select(&key, &question.headers);
        let mut ticket = self.ticket(question, key, now);
        let mut fields = question.headers.clone();
        if question.method == Method::GET {
            //= rfc9111#section-4.3.2
            for name in [RANGE, IF_RANGE, IF_NONE_MATCH, IF_MODIFIED_SINCE] {
                ticket.cleared |= fields.remove(name).is_some();
            }
            if let Some(entry) = entry.filter(|entry| entry.has_validator()) {
                fields = validating(entry, &fields);
                ticket.validates = Some(entry.number);
            }
        }
        if self.may_collapse(question) {
            let place = self.store.place(&ticket.key, &question.headers);
            match self.flights.leader(&place) {
                Some(leader) if !waited => {
                    decision.verdict = CacheVerdict::Collapsed;
                    decision.why = format!("{}, and it is being asked for", decision.why);
                    return (Verdict::Wait { leader }, decision);
                }
                Some(_) => {}
                None => {
                    self.flights.begin(&place, asker);
                    ticket.flight = Some((place, asker));
                }
            }
        }
        (Verdict::Forward(Box::new(ticket), fields), decision)
    }

    /// A request may share another one's response if the rules could let it: not when the client wants its own.
    //= rfc9111#section-4
    fn may_collapse(&self, question: &Question) -> bool {
        let asked = question.directives();
        let own = ["no-cache", "no-store", "max-age", "min-fresh"];
        self.options.collapse
            && question.method == Method::GET
            && !question.authorized()
            && !(self.options.obey_clients && own.iter().any(|directive| asked.has(directive)))
    }

    /// One question aside for a response that is served stale; none when somebody asks already.
    fn background(
        &mut self,
        question: &Question,
        key: String,
        entry: Option<u64>,
        (asker, now): (Asker, Nanos),
    ) -> Option<Ticket> {
        let place = self.store.place(&key, &question.headers);
        if self.flights.leader(&place).is_some() {
            return None;
        }
        self.flights.begin(&place, asker);
        let mut question = question.clone();
        question.method = Method::GET;
        let ticket = self.ticket(&question, key, now);
        Some(Ticket { validates: entry, flight: Some((place, asker)), ..ticket })
    }

    /// The head of the origin's response to a ticket is there.
    pub fn answered(
        &mut self,
        ticket: &Ticket,
        status: StatusCode,
        headers: &HeaderMap,
        now: Nanos,
    ) -> (Arrival, CacheDecision) {
        let mut decision = CacheDecision { key: ticket.key.clone(), ..CacheDecision::default() };
        self.invalidate(ticket, status, headers);
        if let Some(verdict) = ticket.passes {
            decision.verdict = verdict;
            return (Arrival::Pass, decision);
        }
        let question = &ticket.question;
        if status == StatusCode::NOT_MODIFIED && ticket.validates.is_some() {
            return self.renewed(ticket, headers, now, decision);
        }
        if matches!(status.as_u16(), 500 | 502 | 503 | 504)
            && let Some((presented, decision)) =
                self.failed(ticket, &format!("the origin says {}", status.as_u16()), now)
        {
            return (Arrival::Stale(presented), decision);
        }
        let fresh_head = question.method == Method::HEAD && status == StatusCode::OK;
        if fresh_head {
            self.freshen(ticket, headers, now);
        }
        if let Some(why) = policy::refusal(question, status, headers, &self.options) {
            (decision.verdict, decision.why) = (CacheVerdict::NotStored, why);
            self.drop_validated(ticket, status);
            self.end_flight(ticket);
            return (Arrival::Pass, decision);
        }
        let times = Times { asked: ticket.asked, came: now };
        let entry = Entry::new(&question.headers, (status, headers), Bytes::new(), times, &self.options);
        let too_long = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        describe(&mut decision, &entry, now);
        decision.verdict = CacheVerdict::NotStored;
        if policy::is_useless(&entry) {
            decision.why = "it could never be used again: not fresh, no validator".to_owned();
        } else if too_long.is_some_and(|length: u64| length > self.longest()) {
            decision.why = "too long for this cache".to_owned();
        } else {
            decision.verdict = CacheVerdict::Stored;
            return (Arrival::Keep, decision);
        }
        self.drop_validated(ticket, status);
        self.end_flight(ticket);
        (Arrival::Pass, decision)
    }

    /// A 304: the responses that it means are renewed, the one that was asked about is used.
    //= rfc9111#section-4.3.3
    //= rfc9111#section-4.3.4
    fn renewed(
        &mut self,
        ticket: &Ticket,
        headers: &HeaderMap,
        now: Nanos,
        mut decision: CacheDecision,
    ) -> (Arrival, CacheDecision) {
        let times = Times { asked: ticket.asked, came: now };
        self.end_flight(ticket);
        let asked_about = ticket.validates.unwrap_or_default();
        let place = (ticket.key.as_str(), &ticket.question.headers);
        let renewed = self.store.renew(place, asked_about, headers, times, &self.options);
        let own = self.store.by_number(&ticket.key, asked_about).filter(|_| renewed.contains(&asked_about));
        let Some(entry) = own else {
            // Gone meanwhile, or the origin means another response than the one that it was asked about.
            self.store.remove(&ticket.key, asked_about);
            decision.why = "a 304 for a response that is not here".to_owned();
            return (Arrival::Again, decision);
        };
        describe(&mut decision, entry, now);
        decision.verdict = CacheVerdict::Revalidated;
        decision.why = "304: the stored body holds".to_owned();
        let presented = present::present(entry, &ticket.question, now);
        self.store.touch(&ticket.key, asked_about);
        (Arrival::Renewed(presented), decision)
    }

    /// The origin did not answer, or with an error: the stored response, if it may be used then. Ends the request.
    pub fn failed(&mut self, ticket: &Ticket, how: &str, now: Nanos) -> Option<(Presented, CacheDecision)> {
        if ticket.passes.is_some() {
            return None;
        }
        let asked = ticket.question.directives();
        let entry = self.store.select(&ticket.key, &ticket.question.headers)?;
        let why = policy::stale_on_error(entry, &asked, now, &self.options)?;
        let mut decision = CacheDecision { key: ticket.key.clone(), ..CacheDecision::default() };
        describe(&mut decision, entry, now);
        decision.verdict = CacheVerdict::StaleOnError;
        decision.why = format!("{how}; {why}");
        let presented = present::present(entry, &ticket.question, now);
        self.end_flight(ticket);
        Some((presented, decision))
    }

    /// Keeps a whole response for which [`SharedCache::answered`] said so, and makes the client's answer of it.
    /// `answered_at` is when its head came.
    pub fn store(
        &mut self,
        ticket: &Ticket,
        (status, headers, body): (StatusCode, &HeaderMap, Bytes),
        answered_at: Nanos,
        now: Nanos,
    ) -> Presented {
        // What a renewal made room for belongs to none that is stored now.
        self.take_forgotten();
        let times = Times { asked: ticket.asked, came: answered_at };
        let fits = body.len() as u64 <= self.longest();
        let mut entry = Entry::new(&ticket.question.headers, (status, headers), body, times, &self.options);
        let presented = present::present(&entry, &ticket.question, now);
        let doomed = match &ticket.flight {
            Some((place, asker)) => self.flights.is_doomed(place, *asker),
            // Nobody knows it was under way: any purge since may have meant it.
            None => ticket.purges != self.purges,
        };
        if fits && !doomed {
            if let Some(number) = ticket.validates {
                self.store.remove(&ticket.key, number);
            }
            entry.used = 0;
            self.store.insert(&ticket.key, entry);
        }
        self.end_flight(ticket);
        presented
    }

    /// The request came to nothing: the client went away, or the response broke off. Those who wait go on.
    pub fn give_up(&mut self, ticket: &Ticket) {
        self.end_flight(ticket);
    }

    fn end_flight(&mut self, ticket: &Ticket) {
        if let Some((place, asker)) = &ticket.flight {
            self.flights.end(place, *asker);
        }
    }

    /// Whether a request that others wait for is under way.
    #[must_use]
    pub fn is_under_way(&self, leader: Asker) -> bool {
        self.flights.is_under_way(leader)
    }

    /// A full response to a conditional request: the one that was asked about is not the right one any more.
    //= rfc9111#section-4.3.3
    fn drop_validated(&mut self, ticket: &Ticket, status: StatusCode) {
        if let Some(number) = ticket.validates
            && !status.is_server_error()
        {
            self.store.remove(&ticket.key, number);
        }
    }

    /// A HEAD's response says what the origin has now.
    //= rfc9111#section-4.3.5
    fn freshen(&mut self, ticket: &Ticket, headers: &HeaderMap, now: Nanos) {
        let times = Times { asked: ticket.asked, came: now };
        self.store.freshen((&ticket.key, &ticket.question.headers), headers, times, &self.options);
    }

    /// An unsafe method that succeeded changed something: what is stored for its URI is forgotten, and for those of
    /// the same origin that the response names.
    //= rfc9111#section-4.4
    fn invalidate(&mut self, ticket: &Ticket, status: StatusCode, headers: &HeaderMap) {
        let safe =
            matches!(ticket.question.method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE);
        if safe || !(status.is_success() || status.is_redirection()) {
            return;
        }
        self.purge(&ticket.question.uri(&self.options));
        for name in [LOCATION, CONTENT_LOCATION] {
            let named = headers.get(name).and_then(|value| value.to_str().ok());
            if let Some(named) = named.and_then(|uri| ticket.question.same_origin(uri)) {
                self.purge(&named.uri(&self.options));
            }
        }
    }

    /// Forgets all that is stored under a URI; returns how many responses that were.
    pub fn purge(&mut self, uri: &str) -> usize {
        self.purge_where(|key| key.split(' ').next() == Some(uri))
    }

    /// A request that asks to forget what its URI stands for: whether `from` may, the URI, and how many responses that were.
    pub fn purge_asked(&mut self, question: &Question, from: IpAddr) -> (bool, String, usize) {
        let uri = question.uri(&self.options);
        let may = self.options.purge_from.iter().any(|network| network.contains(&from));
        let forgotten = if may { self.purge(&uri) } else { 0 };
        (may, uri, forgotten)
    }

    /// Forgets all whose URI begins so.
    pub fn purge_prefix(&mut self, prefix: &str) -> usize {
        self.purge_where(|key| key.starts_with(prefix))
    }

    /// Forgets all that have this tag: a member of `Cache-Tag`, or a word of `Surrogate-Key`.
    pub fn purge_tag(&mut self, tag: &str) -> usize {
        self.purges += 1;
        // What is under way may have the tag: nobody knows yet.
        self.flights.doom(|_| true);
        self.store.remove_where(|_, entry| store::has_tag(&entry.headers, tag))
    }

    /// Forgets everything.
    pub fn purge_all(&mut self) -> usize {
        self.purge_where(|_| true)
    }

    fn purge_where(&mut self, matches: impl Fn(&str) -> bool) -> usize {
        self.purges += 1;
        self.flights.doom(&matches);
        self.store.remove_where(|key, _| matches(key))
    }

    /// Bytes of the longest body that is kept.
    #[must_use]
    pub fn longest(&self) -> u64 {
        self.options.largest.min(self.options.capacity)
    }

    /// Bytes kept now.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.store.bytes()
    }

    /// Responses kept now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.store.len()
    }

    /// Whether nothing is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Puts what is known of a stored response into the decision.
fn describe(decision: &mut CacheDecision, entry: &Entry, now: Nanos) {
    decision.age = Some(entry.age(now));
    decision.fresh_for = Some(entry.lifetime.span);
    decision.lifetime_from = entry.lifetime.from.clone();
    decision.validator = entry.validator();
}

/// The request's fields with the validators of a stored response in place of the client's own preconditions.
//= rfc9111#section-4.3.1
fn validating(entry: &Entry, request: &HeaderMap) -> HeaderMap {
    let mut fields = request.clone();
    for name in [RANGE, IF_RANGE, IF_NONE_MATCH, IF_MODIFIED_SINCE] {
        fields.remove(name);
    }
    let validators = [(IF_NONE_MATCH, entry.etag()), (IF_MODIFIED_SINCE, entry.last_modified())];
    for (name, value) in validators {
        if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
            fields.insert(name, value);
        }
    }
    fields
}
