//! A proxy with a cache: what [`SharedCache`] decides, done with real connections.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use rt_base::{AppRecord, CacheDecision, CacheVerdict, Nanos, ReqId};
use tokio::sync::Notify;

use super::cdn::Rays;
use super::edge::Caller;
use super::fetch::{Fetched, Way};
use super::headers::{Payload, append, dress_response};
use crate::cache::{
    Arrival, Asker, CacheOptions, Course, Presented, Question, SharedCache, Ticket, Verdict, cache_status,
    cf_cache_status,
};
use crate::http::Body;
use crate::net::Net;
use crate::server::{page, put};

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
const CF_CACHE_STATUS: HeaderName = HeaderName::from_static("cf-cache-status");

/// Bytes of an error page that are read to keep the connection.
const ERROR_PAGE: u64 = 1 << 16;

/// A cache, and those who wait for it.
pub(super) struct Cached {
    net: Net,
    state: Mutex<State>,
    /// A request that others may wait for is over.
    over: Notify,
    /// Whether it speaks as the largest CDN does.
    signs: bool,
    /// Whether somebody may purge; else the method is passed on as any other.
    purges: bool,
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
        self.cached.over.notify_waiters();
    }
}

impl Cached {
    pub(super) fn new(net: &Net, options: CacheOptions, rays: Option<Arc<Rays>>) -> Cached {
        let purges = !options.purge_from.is_empty();
        let state = State { cache: SharedCache::new(options), askers: 0, leaders: BTreeMap::new() };
        Cached {
            net: net.clone(),
            state: Mutex::new(state),
            over: Notify::new(),
            signs: rays.is_some(),
            purges,
        }
    }

    /// Answers one request, from the store or from upstream.
    pub(super) async fn serve(self: Arc<Cached>, way: &Way, parts: &Parts, body: Bytes) -> Response<Body> {
        let caller = way.caller;
        let question = Question::of(parts, caller.client.tls);
        if parts.method.as_str() == PURGE && self.purges {
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
                    return self.present(presented, course);
                }
                Verdict::ServeAndRevalidate(presented, ticket, fields) => {
                    let req = self.net.new_req();
                    self.say(req, caller, None, &decision);
                    let lead = Lead { cached: Arc::clone(&self), asker, ticket: *ticket };
                    aside(way, req, with_fields(parts, fields), lead);
                    let course = Course { asked: &decision, then: None, collapsed: false };
                    return self.present(presented, course);
                }
                Verdict::Wait { leader } => {
                    let whose = self.state().leaders.get(&leader).copied();
                    self.say(ReqId(0), caller, whose, &decision);
                    waited = Some(decision);
                    self.wait(leader).await;
                }
                Verdict::Refuse => {
                    self.say(ReqId(0), caller, None, &decision);
                    let mut response = page(StatusCode::GATEWAY_TIMEOUT, &decision.why);
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
    fn purge(&self, question: &Question, caller: Caller) -> Response<Body> {
        let from = caller.client.peer.ip();
        let (may, key, forgotten) = self.state().cache.purge_asked(question, from);
        let stored = rt_base::count(forgotten as u64, "stored response");
        let why = if may {
            format!("{from} asked for it: {stored}")
        } else {
            format!("{from} may not ask for that")
        };
        let verdict = if may { CacheVerdict::Purged } else { CacheVerdict::Bypass };
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
    async fn forward(
        &self,
        way: &Way,
        req: ReqId,
        (parts, body): (&Parts, &Bytes),
        lead: Lead,
        asked: &CacheDecision,
    ) -> Option<Response<Body>> {
        let caller = way.caller;
        let fetched = match way.fetch(req, parts, Payload::Whole(body.clone())).await {
            Ok(fetched) => fetched,
            Err(refusal) => {
                let now = self.now();
                let saved = self.state().cache.failed(&lead.ticket, &refusal.why, now);
                let Some((presented, then)) = saved else {
                    let mut response = refusal.page();
                    let course = Course { asked, then: None, collapsed: false };
                    self.sign(response.headers_mut(), course);
                    return Some(response);
                };
                self.say(req, caller, None, &then);
                return Some(self.present(presented, ended(asked, &then, 0)));
            }
        };
        let (status, came) = (fetched.parts.status, self.now());
        let (arrival, then) = self.state().cache.answered(&lead.ticket, status, &fetched.parts.headers, came);
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
                    Some(presented) => self.present(presented, course),
                    None => page(StatusCode::BAD_GATEWAY, "The origin's response broke off or is too long."),
                })
            }
            Arrival::Keep => {
                let (longest, stored) = (self.state().cache.longest(), fetched.parts.headers.clone());
                let mut response = way.relay(fetched, Some(longest), move |relayed| {
                    if let Some(body) = relayed.kept {
                        lead.store(status, &stored, body, came);
                    }
                });
                self.sign(response.headers_mut(), course);
                Some(response)
            }
            Arrival::Renewed(presented) | Arrival::Stale(presented) => {
                way.take(fetched, ERROR_PAGE, "the stored response is used").await;
                Some(self.present(presented, course))
            }
            Arrival::Again => {
                way.take(fetched, ERROR_PAGE, "a 304 for what is not stored").await;
                None
            }
        }
    }

    async fn keep_whole(&self, way: &Way, fetched: Fetched, lead: &Lead, came: Nanos) -> Option<Presented> {
        let (status, headers) = (fetched.parts.status, fetched.parts.headers.clone());
        let longest = self.state().cache.longest();
        let body = way.take(fetched, longest, "kept").await?;
        Some(lead.store(status, &headers, body, came))
    }

    fn ask(&self, question: &Question, caller: Caller, waited: bool) -> (Asker, Verdict, CacheDecision) {
        let now = self.now();
        let mut state = self.state();
        state.askers += 1;
        let asker = state.askers;
        let (verdict, decision) = state.cache.ask(question, asker, waited, now);
        if matches!(verdict, Verdict::Forward(..) | Verdict::ServeAndRevalidate(..)) {
            state.leaders.insert(asker, (caller.client.peer, caller.ordinal));
        }
        (asker, verdict, decision)
    }

    /// Until the request that leads is over.
    async fn wait(&self, leader: Asker) {
        loop {
            let mut over = pin!(self.over.notified());
            over.as_mut().enable();
            if !self.state().cache.is_under_way(leader) {
                return;
            }
            over.await;
        }
    }

    /// A response out of the store.
    fn present(&self, presented: Presented, course: Course<'_>) -> Response<Body> {
        let mut response = Response::new(Body::from(presented.body));
        *response.status_mut() = presented.status;
        *response.headers_mut() = presented.headers;
        dress_response(response.headers_mut(), &self.net.name());
        self.sign(response.headers_mut(), course);
        response
    }

    fn sign(&self, headers: &mut HeaderMap, course: Course<'_>) {
        append(headers, CACHE_STATUS, &cache_status(&self.net.name(), course), ", ");
        if self.signs {
            put(headers, CF_CACHE_STATUS, cf_cache_status(course));
        }
    }

    fn say(&self, req: ReqId, caller: Caller, leader: Option<(SocketAddr, u32)>, decision: &CacheDecision) {
        self.net.say(AppRecord::SharedCache {
            req,
            downstream: caller.client.peer,
            downstream_ordinal: caller.ordinal,
            leader,
            decision: decision.clone(),
        });
    }

    /// Civil time in nanoseconds since 1970.
    fn now(&self) -> Nanos {
        Nanos::from_secs(self.net.epoch()) + Nanos(self.net.now().0)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a request that went upstream ended.
fn ended<'a>(asked: &'a CacheDecision, then: &'a CacheDecision, status: u16) -> Course<'a> {
    Course { asked, then: Some((then, status)), collapsed: false }
}

impl Lead {
    fn store(&self, status: StatusCode, headers: &HeaderMap, body: Bytes, came: Nanos) -> Presented {
        let now = self.cached.now();
        self.cached.state().cache.store(&self.ticket, (status, headers, body), came, now)
    }
}

/// The request with these fields.
fn with_fields(parts: &Parts, fields: HeaderMap) -> Parts {
    let mut parts = parts.clone();
    parts.headers = fields;
    parts
}

/// Asks upstream while the client has its answer already (RFC 5861, 3).
fn aside(way: &Way, req: ReqId, mut parts: Parts, lead: Lead) {
    parts.method = Method::GET;
    let way = way.clone();
    drop(way.net().clone().spawn(async move {
        let caller = way.caller;
        let cached = Arc::clone(&lead.cached);
        let Ok(fetched) = way.fetch(req, &parts, Payload::Whole(Bytes::new())).await else { return };
        let (status, came) = (fetched.parts.status, cached.now());
        let (arrival, then) =
            cached.state().cache.answered(&lead.ticket, status, &fetched.parts.headers, came);
        cached.say(req, caller, None, &then);
        if matches!(arrival, Arrival::Keep) {
            cached.keep_whole(&way, fetched, &lead, came).await;
        } else {
            way.take(fetched, ERROR_PAGE, "asked aside").await;
        }
    }));
}
