//! A machine with a shared cache: what [`SharedCache`] decides, done with real connections.
//!
//! Not for: the decisions ([`crate::cache`]), nor how responses are fetched and passed on: that is a [`Source`]'s, of which
//! there is one for proxies in front of servers and one for proxies in front of clients.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use rt_base::{AppRecord, CacheDecision, CacheVerdict, Nanos, ReqId, Time, Wait};
use tokio::sync::Notify;

use crate::cache::{
    Arrival, Asker, CacheOptions, Course, Forget, Presented, Question, SharedCache, Ticket, Verdict,
    cache_status, cf_cache_status,
};
use crate::http::{Body, Relayed};
use crate::net::Net;
use crate::proxy::append;
use crate::server::{page, put};

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
const CF_CACHE_STATUS: HeaderName = HeaderName::from_static("cf-cache-status");

/// Bytes of an error page that are read to keep the connection.
const ERROR_PAGE: u64 = 1 << 16;

/// One request's way to what is not stored, and back to its client.
pub(crate) trait Source: Clone + Send + Sync + 'static {
    /// A response of which the head is there.
    type Fetched: Send;
    /// Why there is none.
    type Refusal: Send;

    /// Whose request it is: the connection, and the request's ordinal on it.
    fn client(&self) -> (SocketAddr, u32);

    /// Asks until the head of a response is there.
    fn fetch(
        &self,
        req: ReqId,
        parts: &Parts,
        body: Bytes,
    ) -> impl Future<Output = Result<Self::Fetched, Self::Refusal>> + Send;

    /// The head of a response.
    fn head(fetched: &Self::Fetched) -> &http::response::Parts;

    /// Why there is none, in words.
    fn why(refusal: &Self::Refusal) -> &str;

    /// The response as the client gets it; `on_end` hears when its body is over, and gets it when it is no longer than `keep`.
    fn relay(
        &self,
        fetched: Self::Fetched,
        keep: Option<u64>,
        on_end: impl FnOnce(Relayed) + Send + 'static,
    ) -> Response<Body>;

    /// Takes a response's body whole, if it is no longer than `most` bytes.
    fn take(
        &self,
        fetched: Self::Fetched,
        most: u64,
        note: &str,
    ) -> impl Future<Output = Option<Bytes>> + Send;

    /// What the client is told that gets nothing.
    fn refuse(&self, refusal: &Self::Refusal) -> Response<Body>;

    /// The same, for a reason of the cache's own.
    fn fail(&self, lack: Lack, why: &str) -> Response<Body>;

    /// A response out of the store, before it is signed.
    fn dress(&self, how: From, response: &mut Response<Body>);
}

/// Why a client gets nothing, although nobody refused it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Lack {
    /// It wanted a stored response only, and there is none: 504 (RFC 9111, 5.2.1.7).
    NotStored,
    /// The body broke off, or is longer than what is kept: 502.
    Broken,
}

impl Lack {
    pub(crate) const fn status(self) -> StatusCode {
        match self {
            Lack::NotStored => StatusCode::GATEWAY_TIMEOUT,
            Lack::Broken => StatusCode::BAD_GATEWAY,
        }
    }
}

/// How a response came to be given out of the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum From {
    /// It lay there.
    Stored,
    /// It came just now.
    Fetched,
    /// It lay there, and was found to be still good.
    Revalidated,
    /// It lay there, and nothing newer was to be had.
    OnError,
}

/// One port's way to a cache.
pub(crate) struct Cached {
    net: Net,
    store: CacheStore,
    /// Whether it speaks as the largest CDN does.
    signs: bool,
}

/// A cache, and those who wait for it. Every clone is the same one: the ports of one proxy keep things together. What came by
/// http and what came by https have keys of their own.
#[derive(Clone)]
pub struct CacheStore(Arc<Stored>);

struct Stored {
    state: Mutex<State>,
    /// A request that others may wait for is over.
    over: Notify,
    /// Whether somebody may purge; else the method is passed on as any other.
    purges: bool,
}

/// What a cache forgets at a moment, without being asked by a client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlannedPurge {
    /// When.
    pub at: Time,
    /// What.
    pub what: Forget,
}

impl std::fmt::Debug for CacheStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CacheStore({} bytes)", self.state().cache.bytes())
    }
}

impl CacheStore {
    /// An empty one.
    #[must_use]
    pub fn new(options: CacheOptions) -> CacheStore {
        let purges = !options.purge_from.is_empty();
        let state = State { cache: SharedCache::new(options), askers: 0, leaders: BTreeMap::new() };
        CacheStore(Arc::new(Stored { state: Mutex::new(state), over: Notify::new(), purges }))
    }

    /// Carries out what is planned, in the order of time.
    pub fn plan(&self, net: &Net, plan: Vec<PlannedPurge>) {
        if plan.is_empty() {
            return;
        }
        let (store, net) = (self.clone(), net.clone());
        drop(net.clone().spawn(async move {
            for PlannedPurge { at, what } in plan {
                net.sleep_until(at, Wait::Housekeeping).await;
                let forgotten = store.state().cache.forget(&what);
                let stored = match forgotten {
                    0 => "nothing of it was stored".to_owned(),
                    n => rt_base::count(n as u64, "stored response"),
                };
                let text = format!("is told to forget {what}: {stored}");
                net.say(AppRecord::Note { req: ReqId(0), code: "cache.purged".to_owned(), text });
            }
        }));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As varnish and nginx have it.
const PURGE: &str = "PURGE";

struct State {
    cache: SharedCache,
    askers: Asker,
    /// Whose request leads: connection and ordinal.
    leaders: BTreeMap<Asker, (SocketAddr, u32)>,
}

/// A request to the origin whose end those who wait must hear of.
struct Lead {
    cached: Arc<Cached>,
    asker: Asker,
    ticket: Ticket,
}

impl Drop for Lead {
    fn drop(&mut self) {
        let mut state = self.cached.state();
        state.cache.give_up(&self.ticket);
        state.leaders.remove(&self.asker);
        drop(state);
        self.cached.store.0.over.notify_waiters();
    }
}

impl Cached {
    /// `signs`: whether it speaks as the largest CDN does.
    pub(crate) fn new(net: &Net, store: CacheStore, signs: bool) -> Cached {
        Cached { net: net.clone(), store, signs }
    }

    /// Answers one request, from the store or from its source; `question` is the request as the client made it.
    pub(crate) async fn serve<S: Source>(
        self: Arc<Cached>,
        way: &S,
        question: Question,
        parts: &Parts,
        body: Bytes,
    ) -> Response<Body> {
        let caller = way.client();
        if parts.method.as_str() == PURGE && self.store.0.purges {
            return self.purge(&question, caller);
        }
        let mut waited: Option<CacheDecision> = None;
        let mut again = false;
        loop {
            let (asker, verdict, decision) = self.ask(&question, caller, again || waited.is_some());
            match verdict {
                Verdict::Serve(presented) => {
                    self.say(ReqId(0), caller, None, &decision);
                    let course = match &waited {
                        Some(first) => Course { asked: first, then: Some((&decision, 0)), collapsed: true },
                        None => Course { asked: &decision, then: None, collapsed: false },
                    };
                    return self.present(way, presented, From::Stored, course);
                }
                Verdict::ServeAndRevalidate(presented, ticket, fields) => {
                    let req = self.net.new_req();
                    self.say(req, caller, None, &decision);
                    let lead = Lead { cached: Arc::clone(&self), asker, ticket: *ticket };
                    aside(way, req, with_fields(parts, fields), lead);
                    let course = Course { asked: &decision, then: None, collapsed: false };
                    return self.present(way, presented, From::Stored, course);
                }
                Verdict::Wait { leader } => {
                    let whose = self.state().leaders.get(&leader).copied();
                    self.say(ReqId(0), caller, whose, &decision);
                    waited = Some(decision);
                    self.wait(leader).await;
                }
                Verdict::Refuse => {
                    self.say(ReqId(0), caller, None, &decision);
                    let mut response = way.fail(Lack::NotStored, &decision.why);
                    let course = Course { asked: &decision, then: None, collapsed: false };
                    self.sign(response.headers_mut(), course);
                    return response;
                }
                Verdict::Forward(ticket, fields) => {
                    let req = self.net.new_req();
                    self.say(req, caller, None, &decision);
                    let lead = Lead { cached: Arc::clone(&self), asker, ticket: *ticket };
                    let parts = with_fields(parts, fields);
                    match self.forward(way, req, (&parts, &body), lead, &decision).await {
                        Some(response) => return response,
                        None => again = true,
                    }
                }
            }
        }
    }

    /// Forgets what a URI stands for, when a client asks that may. The origin is not told.
    fn purge(&self, question: &Question, caller: (SocketAddr, u32)) -> Response<Body> {
        let from = caller.0.ip();
        let (may, key, forgotten) = self.state().cache.purge_asked(question, from);
        let stored = rt_base::count(forgotten as u64, "stored response");
        let why = if may {
            format!("{from} asked for it: {stored}")
        } else {
            format!("{from} may not ask for that")
        };
        let verdict = if may { CacheVerdict::Purged } else { CacheVerdict::PurgeRefused };
        let decision = CacheDecision {
            verdict,
            key,
            age: None,
            fresh_for: None,
            lifetime_from: String::new(),
            validator: String::new(),
            forward: String::new(),
            why,
        };
        self.say(ReqId(0), caller, None, &decision);
        match may {
            true => page(StatusCode::OK, &format!("Forgotten: {stored}.")),
            false => page(StatusCode::FORBIDDEN, "You may not purge here."),
        }
    }

    /// Asks upstream; `None` when the cache is to be asked again.
    async fn forward<S: Source>(
        &self,
        way: &S,
        req: ReqId,
        (parts, body): (&Parts, &Bytes),
        lead: Lead,
        asked: &CacheDecision,
    ) -> Option<Response<Body>> {
        let caller = way.client();
        let fetched = match way.fetch(req, parts, body.clone()).await {
            Ok(fetched) => fetched,
            Err(refusal) => {
                let now = self.now();
                let saved = self.state().cache.failed(&lead.ticket, S::why(&refusal), now);
                let Some((presented, then)) = saved else {
                    let mut response = way.refuse(&refusal);
                    let course = Course { asked, then: None, collapsed: false };
                    self.sign(response.headers_mut(), course);
                    return Some(response);
                };
                self.say(req, caller, None, &then);
                return Some(self.present(way, presented, From::OnError, ended(asked, &then, 0)));
            }
        };
        let (status, came) = (S::head(&fetched).status, self.now());
        let (arrival, then) =
            self.state().cache.answered(&lead.ticket, status, &S::head(&fetched).headers, came);
        if !matches!(then.verdict, CacheVerdict::Dynamic | CacheVerdict::Bypass) {
            self.say(req, caller, None, &then);
        }
        let course = ended(asked, &then, status.as_u16());
        match arrival {
            Arrival::Pass => {
                let mut response = way.relay(fetched, None, |_| {});
                self.sign(response.headers_mut(), course);
                Some(response)
            }
            Arrival::Keep if lead.ticket.needs_whole() => {
                let presented = self.keep_whole(way, fetched, &lead, came).await;
                Some(match presented {
                    Some(presented) => self.present(way, presented, From::Fetched, course),
                    None => way.fail(Lack::Broken, "The server's response broke off or is too long."),
                })
            }
            Arrival::Keep => {
                let (longest, stored) = (self.state().cache.longest(), S::head(&fetched).headers.clone());
                let mut response = way.relay(fetched, Some(longest), move |relayed| {
                    if let Some(body) = relayed.kept {
                        lead.store(status, &stored, body, came);
                    }
                });
                self.sign(response.headers_mut(), course);
                Some(response)
            }
            Arrival::Renewed(presented) => {
                way.take(fetched, ERROR_PAGE, "the stored response is used").await;
                Some(self.present(way, presented, From::Revalidated, course))
            }
            Arrival::Stale(presented) => {
                way.take(fetched, ERROR_PAGE, "the stored response is used").await;
                Some(self.present(way, presented, From::OnError, course))
            }
            Arrival::Again => {
                way.take(fetched, ERROR_PAGE, "a 304 for what is not stored").await;
                None
            }
        }
    }

    async fn keep_whole<S: Source>(
        &self,
        way: &S,
        fetched: S::Fetched,
        lead: &Lead,
        came: Nanos,
    ) -> Option<Presented> {
        let (status, headers) = (S::head(&fetched).status, S::head(&fetched).headers.clone());
        let longest = self.state().cache.longest();
        let body = way.take(fetched, longest, "kept").await?;
        Some(lead.store(status, &headers, body, came))
    }

    fn ask(
        &self,
        question: &Question,
        caller: (SocketAddr, u32),
        waited: bool,
    ) -> (Asker, Verdict, CacheDecision) {
        let now = self.now();
        let mut state = self.state();
        state.askers += 1;
        let asker = state.askers;
        let (verdict, decision) = state.cache.ask(question, asker, waited, now);
        if matches!(verdict, Verdict::Forward(..) | Verdict::ServeAndRevalidate(..)) {
            state.leaders.insert(asker, caller);
        }
        (asker, verdict, decision)
    }

    /// Until the request that leads is over.
    async fn wait(&self, leader: Asker) {
        loop {
            let mut over = pin!(self.store.0.over.notified());
            over.as_mut().enable();
            if !self.state().cache.is_under_way(leader) {
                return;
            }
            over.await;
        }
    }

    /// A response out of the store.
    fn present<S: Source>(
        &self,
        way: &S,
        presented: Presented,
        how: From,
        course: Course<'_>,
    ) -> Response<Body> {
        let mut response = Response::new(Body::from(presented.body));
        *response.status_mut() = presented.status;
        *response.headers_mut() = presented.headers;
        way.dress(how, &mut response);
        self.sign(response.headers_mut(), course);
        response
    }

    fn sign(&self, headers: &mut HeaderMap, course: Course<'_>) {
        append(headers, CACHE_STATUS, &cache_status(&self.net.name(), course), ", ");
        if self.signs {
            put(headers, CF_CACHE_STATUS, cf_cache_status(course));
        }
    }

    fn say(
        &self,
        req: ReqId,
        caller: (SocketAddr, u32),
        leader: Option<(SocketAddr, u32)>,
        decision: &CacheDecision,
    ) {
        self.net.say(AppRecord::SharedCache {
            req,
            downstream: caller.0,
            downstream_ordinal: caller.1,
            leader,
            decision: decision.clone(),
        });
    }

    /// Civil time in nanoseconds since 1970.
    fn now(&self) -> Nanos {
        Nanos::from_secs(self.net.epoch()) + Nanos(self.net.now().0)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.store.state()
    }
}

/// How a request that went upstream ended.
fn ended<'a>(asked: &'a CacheDecision, then: &'a CacheDecision, status: u16) -> Course<'a> {
    Course { asked, then: Some((then, status)), collapsed: false }
}

impl Lead {
    fn store(&self, status: StatusCode, headers: &HeaderMap, body: Bytes, came: Nanos) -> Presented {
        let now = self.cached.now();
        let mut state = self.cached.state();
        let presented = state.cache.store(&self.ticket, (status, headers, body), came, now);
        let (forgotten, bytes) = (state.cache.take_forgotten(), state.cache.bytes());
        let caller = state.leaders.get(&self.asker).copied();
        drop(state);
        let Some(caller) = caller else { return presented };
        for key in forgotten {
            let decision = CacheDecision {
                verdict: CacheVerdict::Evicted,
                key,
                why: format!("used longest ago, and its room was needed ({bytes} bytes are taken now)"),
                ..CacheDecision::default()
            };
            self.cached.say(ReqId(0), caller, None, &decision);
        }
        presented
    }
}

/// The request with these fields.
fn with_fields(parts: &Parts, fields: HeaderMap) -> Parts {
    let mut parts = parts.clone();
    parts.headers = fields;
    parts
}

/// Asks upstream while the client has its answer already (RFC 5861, 3).
fn aside<S: Source>(way: &S, req: ReqId, mut parts: Parts, lead: Lead) {
    parts.method = Method::GET;
    let way = way.clone();
    let net = lead.cached.net.clone();
    drop(net.spawn(async move {
        let cached = Arc::clone(&lead.cached);
        let Ok(fetched) = way.fetch(req, &parts, Bytes::new()).await else { return };
        let (status, came) = (S::head(&fetched).status, cached.now());
        let (arrival, then) =
            cached.state().cache.answered(&lead.ticket, status, &S::head(&fetched).headers, came);
        cached.say(req, way.client(), None, &then);
        if matches!(arrival, Arrival::Keep) {
            cached.keep_whole(&way, fetched, &lead, came).await;
        } else {
            way.take(fetched, ERROR_PAGE, "asked aside").await;
        }
    }));
}
