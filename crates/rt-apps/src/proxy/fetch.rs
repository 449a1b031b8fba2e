//! One client request on its way up: tries at upstreams until one answers, and the response on its way back.
//!
//! Not for: whether and where a request goes ([`super::edge`]), connections ([`super::pool`]).

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue, SET_COOKIE};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Response, StatusCode, Version};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use rt_base::{AppRecord, Candidate, Nanos, ReqId, ReqKind, Wait};
use rt_rules::http::{Retry, RetryOn};

use super::SERVED_BY;
use super::edge::{Caller, Proxy, Upstream};
use super::headers::{Dress, Payload, dress_response};
use super::pool::{Busy, Choice, Connection, Pool};
use super::upgrade;
use crate::cached::{From, Lack, Source};
use crate::http::{Begun, Body, Relayed};
use crate::net::Net;
use crate::server::{page, put};

/// Where a request goes, and under which terms.
#[derive(Clone)]
pub(super) struct Way {
    pub(super) proxy: Arc<Proxy>,
    pub(super) caller: Caller,
    pub(super) pool: Arc<Pool>,
    /// The server that the client had before.
    pub(super) wanted: Option<usize>,
    /// How long one try may take until the response begins.
    pub(super) timeout: Nanos,
    pub(super) retry: Arc<Retry>,
    /// To go on with WebSocket: over an HTTP/1.1 connection of its own.
    pub(super) upgrades: bool,
}

/// Why an upstream gave no response that the client gets.
enum Trouble {
    /// No connection: nothing was sent.
    Unreachable(String),
    /// It broke off.
    Broken(String),
    /// It took too long.
    Late,
    /// It answered, but not well.
    Status(u16),
}

/// No upstream gave a response: what the client is told.
pub(super) struct Refusal {
    status: StatusCode,
    why: String,
}

impl Refusal {
    pub(super) fn after(begun: &mut Begun, status: StatusCode, why: String) -> Refusal {
        begun.end(status.as_u16(), &why);
        Refusal { status, why }
    }

    pub(super) fn page(&self) -> Response<Body> {
        page(self.status, &self.why)
    }
}

/// An upstream's response of which the head is there.
pub(super) struct Fetched {
    pub(super) begun: Begun,
    pub(super) busy: Busy,
    pub(super) connection: Connection,
    pub(super) parts: http::response::Parts,
    body: Incoming,
}

/// What happened so far.
#[derive(Default)]
struct Course {
    tries: u32,
    /// Servers that are out for this request, and why.
    failed: Vec<(usize, String)>,
    reasons: Vec<String>,
    /// The last try took too long.
    late: bool,
}

impl Way {
    pub(super) fn net(&self) -> &Net {
        &self.proxy.net
    }

    /// Asks upstream and passes the response on.
    pub(super) async fn forward(&self, parts: &Parts, payload: Payload) -> Response<Body> {
        match self.ask(self.net().new_req(), parts, payload).await {
            Ok(fetched) => self.relay(fetched, None, |_| {}),
            Err(refusal) => self.answer_itself(&refusal),
        }
    }

    /// What the client gets when no upstream gave anything, said as the proxy's own doing.
    pub(super) fn answer_itself(&self, refusal: &Refusal) -> Response<Body> {
        let text = format!("answers {} itself: {}", refusal.status.as_u16(), refusal.why);
        self.proxy.step(self.caller, "fails", text, Vec::new());
        refusal.page()
    }

    /// Tries until the head of a response is there.
    pub(super) async fn ask(
        &self,
        req: ReqId,
        parts: &Parts,
        mut payload: Payload,
    ) -> Result<Fetched, Refusal> {
        let mut begun = Begun::new(self.net(), req);
        let mut course = Course::default();
        self.pool.state().budget.request(self.net().now());
        loop {
            let Choice { busy, policy, candidates } = self.choose(&mut course);
            if course.tries == 0 {
                self.say_begin(req, parts, busy.as_ref().map(|busy| busy.index));
            }
            let Some(mut busy) = busy else { return Err(self.nobody(&mut begun, &course, candidates)) };
            let index = busy.index;
            self.say_chosen(req, index, policy, candidates);
            course.tries += 1;
            let trouble = match self.attempt(req, index, parts, &mut payload).await {
                Ok((connection, response)) => {
                    let status = response.status().as_u16();
                    busy.report(status < 500);
                    let trouble = Trouble::Status(status);
                    if !self.may_retry(&trouble, parts, &payload, &course) {
                        let (parts, body) = response.into_parts();
                        return Ok(Fetched { begun, busy, connection, parts, body });
                    }
                    trouble
                }
                Err(trouble) => {
                    busy.report(false);
                    trouble
                }
            };
            drop(busy);
            let why = trouble.why(&self.pool.upstream(index).name);
            course.reasons.push(format!("{}: {why}", self.pool.upstream(index).name));
            course.failed.push((index, why.clone()));
            course.late = matches!(trouble, Trouble::Late);
            if !matches!(trouble, Trouble::Status(_)) && !self.may_retry(&trouble, parts, &payload, &course) {
                return Err(self.give_up(&mut begun, &course));
            }
            self.again(req, why, &course).await;
        }
    }

    fn choose(&self, course: &mut Course) -> Choice {
        let client = self.caller.client.peer.ip();
        let choice = self.pool.choose(client, self.wanted, &course.failed);
        if choice.busy.is_some() || course.failed.is_empty() || self.retry.times == u32::MAX {
            return choice;
        }
        // All that are in service had their turn: the same one may do better now.
        course.failed.clear();
        self.pool.choose(client, self.wanted, &[])
    }

    /// Whether the request is tried again after this; a budget's refusal is said.
    fn may_retry(&self, trouble: &Trouble, parts: &Parts, payload: &Payload, course: &Course) -> bool {
        let retry = &self.retry;
        let on = match trouble {
            Trouble::Unreachable(_) => RetryOn::Connect,
            Trouble::Broken(_) => RetryOn::Reset,
            Trouble::Late => RetryOn::Timeout,
            Trouble::Status(status) => RetryOn::Status(*status),
        };
        let usual = retry.times == u32::MAX;
        let left = if usual { course.failed.len() < self.pool.len() } else { course.tries <= retry.times };
        // RFC 9110, 9.2.2: what may have changed something is not done twice, unless nothing was sent.
        let safe = parts.method.is_idempotent() || retry.unsafe_methods || on == RetryOn::Connect;
        let at_hand = matches!(payload, Payload::Whole(_) | Payload::Stream(Some(_)));
        if !retry.on.contains(&on) || !left || !safe || !at_hand {
            return false;
        }
        let Some(percent) = retry.budget else { return true };
        match self.pool.state().budget.retry(percent, self.net().now()) {
            Ok(()) => true,
            Err(spent) => {
                let text = format!("does not try again: {spent}");
                self.proxy.step(self.caller, "budget", text, Vec::new());
                false
            }
        }
    }

    /// Before the next try.
    async fn again(&self, req: ReqId, why: String, course: &Course) {
        let attempt = course.tries + 1;
        self.net().say(AppRecord::Retry { req, attempt, why });
        let most = self.retry.backoff.0.saturating_mul(1 << (course.tries - 1).min(6));
        if most > 0 {
            let pause = Nanos(self.proxy.dice().below(most));
            self.net().sleep(pause, Wait::Backoff).await;
        }
    }

    /// The last try says whether nobody was in time (504) or somebody failed (502), as with nginx and Envoy.
    fn give_up(&self, begun: &mut Begun, course: &Course) -> Refusal {
        if let (true, [only]) = (course.late, &course.failed[..]) {
            let why = format!("{} did not answer in time", self.pool.upstream(only.0).name);
            return Refusal::after(begun, StatusCode::GATEWAY_TIMEOUT, why);
        }
        let status = if course.late { StatusCode::GATEWAY_TIMEOUT } else { StatusCode::BAD_GATEWAY };
        let why = format!("no upstream took the request ({})", course.reasons.join("; "));
        Refusal::after(begun, status, why)
    }

    /// Nobody is left to ask.
    fn nobody(&self, begun: &mut Begun, course: &Course, candidates: Vec<Candidate>) -> Refusal {
        let again = if course.tries > 0 { "else " } else { "" };
        let text = format!("has nobody {again}in {} to send it to", self.pool.name);
        self.proxy.step(self.caller, "nobody", text, candidates);
        if course.tries > 0 {
            return self.give_up(begun, course);
        }
        Refusal::after(begun, StatusCode::SERVICE_UNAVAILABLE, "no upstream is in service".to_owned())
    }

    /// One try with one upstream; a kept connection that turns out dead is replaced once, since nothing was answered.
    async fn attempt(
        &self,
        req: ReqId,
        index: usize,
        parts: &Parts,
        payload: &mut Payload,
    ) -> Result<(Connection, Response<Incoming>), Trouble> {
        let (net, pool) = (self.net(), &self.pool);
        let mut fresh = false;
        loop {
            let connecting = async {
                if self.upgrades { pool.own(index, req).await } else { pool.connect(index, fresh, req).await }
            };
            let connected = net.timeout(pool.rules.connect_timeout, Wait::Timeout, connecting).await;
            let mut connection = connected
                .map_err(|_| Trouble::Unreachable("no answer to SYN".into()))?
                .map_err(|error| Trouble::Unreachable(error.to_string()))?;
            net.tell(|| AppRecord::UsesConnection {
                req,
                local: connection.local,
                remote: pool.upstream(index).address,
                reused: connection.reused,
                protocol: connection.protocol().into(),
            });
            let dress = Dress {
                proxy: &net.name(),
                client: self.caller.client,
                forwarding: self.proxy.forwarding,
                http2: connection.protocol() == "h2",
                secure: pool.is_secure(),
            };
            let Some(body) = payload.take() else {
                return Err(Trouble::Broken("its body was sent already".to_owned()));
            };
            let mut request = dress.request(parts, body);
            if self.upgrades {
                upgrade::ask(request.headers_mut());
            }
            let sending = connection.send(request);
            match net.timeout(self.timeout, Wait::Timeout, sending).await {
                Err(_) => return Err(Trouble::Late),
                Ok(Ok(response)) => return Ok((connection, response)),
                Ok(Err(error))
                    if connection.reused && (parts.method.is_idempotent() || error.is_canceled()) =>
                {
                    fresh = true;
                    let why = "the kept connection was closed by the upstream".to_owned();
                    net.say(AppRecord::Retry { req, attempt: 2, why });
                }
                Ok(Err(error)) => return Err(Trouble::Broken(error.to_string())),
            }
        }
    }

    /// An upstream's head on its way to the client.
    pub(super) fn dress_back(&self, parts: &mut http::response::Parts, index: usize) {
        dress_response(&mut parts.headers, &self.net().name());
        let served_by = &self.pool.upstream(index).name;
        put(&mut parts.headers, SERVED_BY, served_by);
        if let Some(cookie) = self.pool.rules.sticky.as_ref().filter(|_| self.wanted != Some(index))
            && let Ok(value) = HeaderValue::from_str(&format!("{cookie}={served_by}; Path=/; HttpOnly"))
        {
            parts.headers.append(SET_COOKIE, value);
        }
        parts.version = Version::default();
    }

    fn say_begin(&self, req: ReqId, parts: &Parts, index: Option<usize>) {
        self.net().tell(|| {
            let path = parts.uri.path_and_query().map_or("/", PathAndQuery::as_str);
            let scheme = if self.pool.is_secure() { "https" } else { "http" };
            let to = index.map_or_else(
                || self.pool.name.clone(),
                |index| self.pool.upstream(index).address.to_string(),
            );
            AppRecord::RequestBegin {
                req,
                parent: ReqId(0),
                kind: ReqKind::Upstream,
                method: parts.method.to_string(),
                target: format!("{scheme}://{to}{path}"),
            }
        });
    }

    fn say_chosen(&self, req: ReqId, index: usize, policy: &str, candidates: Vec<Candidate>) {
        let Upstream { name, address } = self.pool.upstream(index);
        self.net().tell(|| AppRecord::ChoseUpstream {
            req,
            downstream: self.caller.client.peer,
            downstream_ordinal: self.caller.ordinal,
            chosen: name.clone(),
            address: *address,
            policy: policy.into(),
            candidates,
        });
    }
}

impl Trouble {
    fn why(&self, name: &str) -> String {
        match self {
            Trouble::Unreachable(why) | Trouble::Broken(why) => why.clone(),
            Trouble::Late => format!("{name} did not answer in time"),
            Trouble::Status(status) => format!("{name} answered {status}"),
        }
    }
}

/// Whether what a body says counts message by message: gathering it would hold messages back.
pub(super) fn comes_in_messages(headers: &http::HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.starts_with("application/grpc") || kind.starts_with("text/event-stream")
}

impl Source for Way {
    type Fetched = Fetched;
    type Refusal = Refusal;

    fn client(&self) -> (SocketAddr, u32) {
        (self.caller.client.peer, self.caller.ordinal)
    }

    async fn fetch(&self, req: ReqId, parts: &Parts, body: Bytes) -> Result<Fetched, Refusal> {
        self.ask(req, parts, Payload::Whole(body)).await
    }

    fn head(fetched: &Fetched) -> &http::response::Parts {
        &fetched.parts
    }

    fn why(refusal: &Refusal) -> &str {
        &refusal.why
    }

    fn relay(
        &self,
        fetched: Fetched,
        keep: Option<u64>,
        on_end: impl FnOnce(Relayed) + Send + 'static,
    ) -> Response<Body> {
        let Fetched { mut begun, busy, connection, mut parts, body } = fetched;
        begun.handed_on();
        let (req, status) = (begun.req(), parts.status.as_u16());
        let net = self.net().clone();
        self.dress_back(&mut parts, busy.index);
        let pool = Arc::clone(&self.pool);
        let at_once = comes_in_messages(&parts.headers);
        let (proxy, caller) = (Arc::clone(&self.proxy), self.caller);
        let body = Body::relay(body, keep, at_once, Some((net.clone(), self.timeout)), move |relayed| {
            let (body_bytes, whole, note) = (relayed.bytes, relayed.whole, relayed.note());
            if let Some(span) = relayed.silent {
                let name = &pool.upstream(busy.index).name;
                let text = format!("breaks the response off: nothing came from {name} for {span}");
                proxy.step(caller, "silent", text, Vec::new());
            }
            if whole {
                pool.park(busy.index, connection);
            }
            drop(busy);
            on_end(relayed);
            net.tell(|| AppRecord::RequestEnd { req, status, ok: whole, body_bytes, note });
        });
        Response::from_parts(parts, body)
    }

    async fn take(&self, fetched: Fetched, most: u64, note: &str) -> Option<Bytes> {
        let Fetched { mut begun, busy, connection, parts, body } = fetched;
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let body = Limited::new(body, most).collect().await.ok()?.to_bytes();
        self.pool.park(busy.index, connection);
        begun.taken(parts.status.as_u16(), body.len() as u64, note);
        Some(body)
    }

    fn refuse(&self, refusal: &Refusal) -> Response<Body> {
        self.answer_itself(refusal)
    }

    fn fail(&self, lack: Lack, why: &str) -> Response<Body> {
        self.answer_itself(&Refusal { status: lack.status(), why: why.to_owned() })
    }

    fn dress(&self, _: From, response: &mut Response<Body>) {
        dress_response(response.headers_mut(), &self.net().name());
    }
}
