//! Joins the shared cache ([`crate::cache`]) with connections to servers: what it decides is done here.

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

use super::log::{Access, Ended, kind_of};
use super::pass::Fetched;
use super::policy::{Refusal, Wanted};
use super::{Caller, Desk};
use crate::cache::{
    Arrival, Asker, CacheOptions, Course, Presented, Question, SharedCache, Ticket, Verdict, cache_status,
};
use crate::http::Body;
use crate::net::Net;
use crate::proxy::append;

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// Bytes of an error page that are read to keep the connection.
const ERROR_PAGE: u64 = 1 << 16;

/// A cache, and those who wait for it.
pub(super) struct Store {
    net: Net,
    state: Mutex<State>,
    /// A request that others may wait for is over.
    over: Notify,
}

struct State {
    cache: SharedCache,
    askers: Asker,
    /// Whose request leads: connection and ordinal.
    leaders: BTreeMap<Asker, (SocketAddr, u32)>,
}

/// A request to the server whose end those who wait must hear of.
struct Lead {
    store: Arc<Store>,
    asker: Asker,
    ticket: Ticket,
}

impl Drop for Lead {
    fn drop(&mut self) {
        let mut state = self.store.state();
        state.cache.give_up(&self.ticket);
        state.leaders.remove(&self.asker);
        drop(state);
        self.store.over.notify_waiters();
    }
}

/// A request on its way through the store.
struct Way<'a> {
    desk: &'a Arc<Desk>,
    caller: Caller,
    access: Access,
    wanted: Wanted,
}

impl Store {
    pub(super) fn new(net: &Net, options: CacheOptions) -> Store {
        let state = State { cache: SharedCache::new(options), askers: 0, leaders: BTreeMap::new() };
        Store { net: net.clone(), state: Mutex::new(state), over: Notify::new() }
    }

    /// Answers one request, from the store or by the server.
    pub(super) async fn serve(
        self: Arc<Store>,
        desk: &Arc<Desk>,
        (caller, access): (Caller, Access),
        wanted: Wanted,
        parts: &Parts,
        body: Bytes,
    ) -> Response<Body> {
        let question = Question::of(parts, wanted.secure);
        let mut way = Way { desk, caller, access, wanted };
        let mut waited: Option<CacheDecision> = None;
        let mut again = false;
        loop {
            let (asker, verdict, decision) = self.ask(&question, &way.caller, again || waited.is_some());
            match verdict {
                Verdict::Serve(presented) => {
                    self.say(ReqId(0), &way.caller, None, &decision);
                    let course = match &waited {
                        Some(first) => Course { asked: first, then: Some((&decision, 0)), collapsed: true },
                        None => Course { asked: &decision, then: None, collapsed: false },
                    };
                    return self.present(way, presented, course, "TCP_HIT");
                }
                Verdict::ServeAndRevalidate(presented, ticket, fields) => {
                    let req = self.net.new_req();
                    self.say(req, &way.caller, None, &decision);
                    let lead = Lead { store: Arc::clone(&self), asker, ticket: *ticket };
                    aside(&way, req, with_fields(parts, fields), lead);
                    let course = Course { asked: &decision, then: None, collapsed: false };
                    return self.present(way, presented, course, "TCP_REFRESH_FAIL_OLD");
                }
                Verdict::Wait { leader } => {
                    let whose = self.state().leaders.get(&leader).copied();
                    self.say(ReqId(0), &way.caller, whose, &decision);
                    waited = Some(decision);
                    self.wait(leader).await;
                }
                Verdict::Refuse => {
                    self.say(ReqId(0), &way.caller, None, &decision);
                    let status = StatusCode::GATEWAY_TIMEOUT;
                    return desk
                        .fail(way.access, &Refusal::new(status, "http_request_error", &*decision.why));
                }
                Verdict::Forward(ticket, fields) => {
                    let req = self.net.new_req();
                    self.say(req, &way.caller, None, &decision);
                    let lead = Lead { store: Arc::clone(&self), asker, ticket: *ticket };
                    let parts = with_fields(parts, fields);
                    match self.forward(way, req, (&parts, &body), lead, &decision).await {
                        Ok(response) => return response,
                        Err(back) => (way, again) = (*back, true),
                    }
                }
            }
        }
    }

    /// Asks the server; gives the way back when the cache is to be asked again.
    async fn forward<'a>(
        &self,
        way: Way<'a>,
        req: ReqId,
        (parts, body): (&Parts, &Bytes),
        lead: Lead,
        asked: &CacheDecision,
    ) -> Result<Response<Body>, Box<Way<'a>>> {
        let desk = way.desk;
        let fetched = match desk.fetch(req, &way.caller, &way.wanted, parts, body).await {
            Ok(fetched) => fetched,
            Err(refusal) => {
                let now = self.now();
                let saved = self.state().cache.failed(&lead.ticket, &refusal.why, now);
                let Some((presented, then)) = saved else { return Ok(desk.fail(way.access, &refusal)) };
                self.say(req, &way.caller, None, &then);
                return Ok(self.present(way, presented, ended(asked, &then, 0), "TCP_REFRESH_FAIL_OLD"));
            }
        };
        let (status, came) = (fetched.parts.status, self.now());
        let (arrival, then) = self.state().cache.answered(&lead.ticket, status, &fetched.parts.headers, came);
        if !matches!(then.verdict, CacheVerdict::Dynamic | CacheVerdict::Bypass) {
            self.say(req, &way.caller, None, &then);
        }
        let course = ended(asked, &then, status.as_u16());
        match arrival {
            Arrival::Pass => {
                let mut response = desk.relay(fetched, way.access, "TCP_MISS", None, |_| {});
                self.sign(response.headers_mut(), course);
                Ok(response)
            }
            Arrival::Keep if lead.ticket.needs_whole() => {
                match self.keep_whole(desk, fetched, &lead, came).await {
                    Some(presented) => Ok(self.present(way, presented, course, "TCP_MISS")),
                    None => {
                        let why = "the server's response broke off or is too long";
                        let status = StatusCode::BAD_GATEWAY;
                        Ok(desk.fail(way.access, &Refusal::new(status, "http_response_incomplete", why)))
                    }
                }
            }
            Arrival::Keep => {
                let (longest, stored) = (self.state().cache.longest(), fetched.parts.headers.clone());
                let on_end = move |relayed: crate::http::Relayed| {
                    if let Some(body) = relayed.kept {
                        lead.store(status, &stored, body, came);
                    }
                };
                let mut response = desk.relay(fetched, way.access, "TCP_MISS", Some(longest), on_end);
                self.sign(response.headers_mut(), course);
                Ok(response)
            }
            Arrival::Renewed(presented) | Arrival::Stale(presented) => {
                desk.take(fetched, ERROR_PAGE, "the stored response is used").await;
                Ok(self.present(way, presented, course, "TCP_REFRESH_UNMODIFIED"))
            }
            Arrival::Again => {
                desk.take(fetched, ERROR_PAGE, "a 304 for what is not stored").await;
                Err(Box::new(way))
            }
        }
    }

    async fn keep_whole(
        &self,
        desk: &Arc<Desk>,
        fetched: Fetched,
        lead: &Lead,
        came: Nanos,
    ) -> Option<Presented> {
        let (status, headers) = (fetched.parts.status, fetched.parts.headers.clone());
        let longest = self.state().cache.longest();
        let body = desk.take(fetched, longest, "kept").await?;
        Some(lead.store(status, &headers, body, came))
    }

    fn ask(&self, question: &Question, caller: &Caller, waited: bool) -> (Asker, Verdict, CacheDecision) {
        let now = self.now();
        let mut state = self.state();
        state.askers += 1;
        let asker = state.askers;
        let (verdict, decision) = state.cache.ask(question, asker, waited, now);
        if matches!(verdict, Verdict::Forward(..) | Verdict::ServeAndRevalidate(..)) {
            state.leaders.insert(asker, (caller.peer, caller.ordinal));
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
    fn present(
        &self,
        way: Way<'_>,
        presented: Presented,
        course: Course<'_>,
        result: &str,
    ) -> Response<Body> {
        let (status, bytes) = (presented.status.as_u16(), presented.body.len() as u64);
        let kind = kind_of(&presented.headers);
        way.access.end(way.desk, &Ended { result, status, bytes, server: None, kind });
        let mut response = Response::new(Body::from(presented.body));
        *response.status_mut() = presented.status;
        *response.headers_mut() = presented.headers;
        way.desk.dress(response.headers_mut());
        self.sign(response.headers_mut(), course);
        response
    }

    fn sign(&self, headers: &mut HeaderMap, course: Course<'_>) {
        append(headers, CACHE_STATUS, &cache_status(&self.net.name(), course), ", ");
    }

    fn say(&self, req: ReqId, caller: &Caller, leader: Option<(SocketAddr, u32)>, decision: &CacheDecision) {
        self.net.say(AppRecord::SharedCache {
            req,
            downstream: caller.peer,
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

/// How a request that went to the server ended.
fn ended<'a>(asked: &'a CacheDecision, then: &'a CacheDecision, status: u16) -> Course<'a> {
    Course { asked, then: Some((then, status)), collapsed: false }
}

impl Lead {
    fn store(&self, status: StatusCode, headers: &HeaderMap, body: Bytes, came: Nanos) -> Presented {
        let now = self.store.now();
        self.store.state().cache.store(&self.ticket, (status, headers, body), came, now)
    }
}

/// The request with these fields.
fn with_fields(parts: &Parts, fields: HeaderMap) -> Parts {
    let mut parts = parts.clone();
    parts.headers = fields;
    parts
}

/// Asks the server while the client has its answer already (RFC 5861, 3).
fn aside(way: &Way<'_>, req: ReqId, mut parts: Parts, lead: Lead) {
    parts.method = Method::GET;
    let (desk, caller, wanted) = (Arc::clone(way.desk), way.caller.clone(), way.wanted.clone());
    drop(desk.net.clone().spawn(async move {
        let store = Arc::clone(&lead.store);
        let Ok(fetched) = desk.fetch(req, &caller, &wanted, &parts, &Bytes::new()).await else { return };
        let (status, came) = (fetched.parts.status, store.now());
        let (arrival, then) =
            store.state().cache.answered(&lead.ticket, status, &fetched.parts.headers, came);
        store.say(req, &caller, None, &then);
        if matches!(arrival, Arrival::Keep) {
            store.keep_whole(&desk, fetched, &lead, came).await;
        } else {
            desk.take(fetched, ERROR_PAGE, "asked aside").await;
        }
    }));
}
