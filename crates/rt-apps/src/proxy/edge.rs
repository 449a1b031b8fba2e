//! The edge balancer: ends the client's TLS, picks an upstream server for each request and passes it on over plain
//! HTTP/1.1, on connections that stay open.
//!
//! Simplifications: request bodies are taken whole before they are passed on (nginx's default as well), response bodies
//! flow through; no health checks, an upstream that cannot be reached is left out for that request only. With a cache
//! (`cached`), a client that goes away takes the fetch with it, and those who wait for its response begin anew.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONNECTION, COOKIE, DATE, HOST, HeaderName, HeaderValue, SERVER, VIA};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use rt_base::{AppRecord, Candidate, Nanos, ReqId, ReqKind, Wait};
use rustls::pki_types::CertificateDer;

use super::cached::Cached;
use super::cdn::{CdnPlace, Rays};
use super::pool::{Busy, Choice, Connection, Pool};
use crate::cache::CacheOptions;
use crate::http::{Body, IdleLimits, Relayed, date};
use crate::net::Net;
use crate::server::{Client, serve};
use crate::server::{collect, open};
use crate::server::{page, put};
use crate::tls::Identity;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const SERVED_BY: HeaderName = HeaderName::from_static("x-served-by");

/// RFC 9110, 7.6.1: about this connection, not about the message.
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// A server behind the balancer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Upstream {
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
}

/// How an upstream is picked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Balance {
    /// In turn.
    #[default]
    RoundRobin,
    /// The one with the fewest requests under way, in turn among equals.
    LeastRequests,
}

impl Balance {
    fn name(self) -> &'static str {
        match self {
            Balance::RoundRobin => "round-robin",
            Balance::LeastRequests => "least-requests",
        }
    }
}

/// How a proxy speaks TLS to its upstreams.
#[derive(Clone, Debug)]
pub struct UpstreamTls {
    /// The name that their certificates must have.
    pub name: String,
    /// Whom it trusts.
    pub roots: Vec<CertificateDer<'static>>,
}

/// What a proxy does beside choosing an upstream.
#[derive(Clone, Debug, Default)]
pub struct ProxyOptions {
    /// Keeps responses.
    pub cache: Option<CacheOptions>,
    /// Says where it stands and where its clients are, as CDNs do.
    pub cdn: Option<CdnPlace>,
    /// Speaks TLS to its upstreams.
    pub upstream_tls: Option<UpstreamTls>,
}

/// A balancer, as configured.
#[derive(Clone, Debug)]
pub struct Edge {
    /// TCP port.
    pub port: u16,
    /// Its certificate when it speaks TLS.
    pub identity: Option<Identity>,
    /// Whether h2 is offered to clients (over TLS only).
    pub http2: bool,
    /// The servers behind it.
    pub upstreams: Vec<Upstream>,
    /// How one is picked.
    pub balance: Balance,
    /// Time per request.
    pub think: Nanos,
    /// How long an idle connection to an upstream is kept.
    pub idle: Nanos,
    /// How long an upstream may take until its response begins.
    pub timeout: Nanos,
    /// What else it does.
    pub options: ProxyOptions,
}

impl Edge {
    /// A balancer with the usual limits: idle connections are kept for 10 s, an upstream has 30 s to answer.
    #[must_use]
    pub fn new(port: u16, upstreams: Vec<Upstream>) -> Edge {
        Edge {
            port,
            identity: None,
            http2: true,
            upstreams,
            balance: Balance::RoundRobin,
            think: Nanos::ZERO,
            idle: Nanos::from_secs(10),
            timeout: Nanos::from_secs(30),
            options: ProxyOptions::default(),
        }
    }

    /// Listens and serves for ever.
    pub async fn run(self, net: Net) {
        let Some((listener, tls)) = open(&net, self.port, self.identity.as_slice(), self.http2) else {
            return;
        };
        let ProxyOptions { cache, cdn, upstream_tls } = self.options;
        let pool = Pool::new(&net, self.upstreams, self.balance, self.idle).over_tls(upstream_tls.as_ref());
        let rays = cdn.map(|place| Arc::new(Rays::new(&net, place, self.port)));
        let cached = cache.map(|options| Arc::new(Cached::new(&net, options, rays.clone())));
        let proxy = Proxy {
            net,
            pool: Arc::new(pool),
            policy: self.balance.name(),
            think: self.think,
            timeout: self.timeout,
            cached,
            rays,
        };
        while let Ok((stream, _)) = listener.accept().await {
            let (proxy, tls) = (proxy.clone(), tls.clone());
            drop(proxy.net.clone().spawn(async move {
                let passer = proxy.clone();
                let handler = move |client, ordinal, request| passer.clone().pass(client, ordinal, request);
                serve(&proxy.net, stream, tls.as_ref(), IdleLimits::default(), handler).await;
            }));
        }
    }
}

#[derive(Clone)]
pub(super) struct Proxy {
    pub(super) net: Net,
    pool: Arc<Pool>,
    policy: &'static str,
    think: Nanos,
    timeout: Nanos,
    cached: Option<Arc<Cached>>,
    rays: Option<Arc<Rays>>,
}

/// Whose request it is: the connection, and the request's ordinal on it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller {
    pub(super) client: Client,
    pub(super) ordinal: u32,
}

/// Why an upstream gave no response.
enum Trouble {
    /// It could not be reached, or broke off.
    Broken(String),
    /// It took too long.
    Late,
}

/// No upstream gave a response: what the client is told.
pub(super) struct Refusal {
    status: StatusCode,
    pub(super) why: String,
}

impl Refusal {
    pub(super) fn page(&self) -> Response<Body> {
        page(self.status, &self.why)
    }
}

/// An upstream's response of which the head is there.
pub(super) struct Fetched {
    begun: Begun,
    busy: Busy,
    connection: Connection,
    pub(super) parts: http::response::Parts,
    pub(super) body: Incoming,
}

impl Proxy {
    /// Passes one request of a client on and its response back.
    async fn pass(self, client: Client, ordinal: u32, request: Request<Incoming>) -> Response<Body> {
        let (mut parts, body) = request.into_parts();
        let caller = Caller { client, ordinal };
        let ray = self.rays.as_ref().map(|rays| rays.mark(&mut parts.headers, client));
        let mut response = match collect(body).await {
            Ok(body) => {
                self.net.sleep(self.think, Wait::ProxyThink).await;
                match &self.cached {
                    Some(cached) => Arc::clone(cached).serve(&self, caller, &parts, body).await,
                    None => self.forward(caller, &parts, body).await,
                }
            }
            Err(refusal) => refusal,
        };
        // Our own error pages lack them; an upstream's response has its own.
        let headers = response.headers_mut();
        if !headers.contains_key(DATE) {
            put(headers, DATE, &date(self.net.unix_time()));
            put(headers, SERVER, crate::server::SERVER);
        }
        if let Some(ray) = ray {
            Rays::sign(headers, &ray);
        }
        response
    }

    async fn forward(&self, caller: Caller, parts: &Parts, body: Bytes) -> Response<Body> {
        match self.fetch(self.net.new_req(), caller, parts, &body).await {
            Ok(fetched) => self.relay(fetched, None, |_| {}),
            Err(refusal) => refusal.page(),
        }
    }

    /// Asks the upstreams, one after the other while they break, until the head of a response is there.
    pub(super) async fn fetch(
        &self,
        req: ReqId,
        caller: Caller,
        parts: &Parts,
        body: &Bytes,
    ) -> Result<Fetched, Refusal> {
        let mut begun = Begun { net: self.net.clone(), req, over: false };
        let mut failed = Vec::new();
        while let Some(Choice { busy, candidates }) = self.pool.choose(&failed) {
            let index = busy.index;
            if failed.is_empty() {
                self.say_begin(req, parts, index);
            }
            self.say_chosen(req, caller, index, candidates);
            match self.attempt(req, index, caller.client, parts, body).await {
                Ok((connection, response)) => {
                    let (parts, body) = response.into_parts();
                    return Ok(Fetched { begun, busy, connection, parts, body });
                }
                Err(Trouble::Late) => {
                    let name = &self.pool.upstream(index).name;
                    let why = format!("{name} did not answer in time");
                    return Err(begun.give_up(StatusCode::GATEWAY_TIMEOUT, why));
                }
                Err(Trouble::Broken(why)) => {
                    failed.push((index, why.clone()));
                    let attempt = failed.len() as u32 + 1;
                    if failed.len() < self.pool.len() {
                        self.net.say(AppRecord::Retry { req, attempt, why });
                    }
                }
            }
        }
        let reasons: Vec<_> =
            failed.iter().map(|(index, why)| format!("{}: {why}", self.pool.upstream(*index).name)).collect();
        let why = format!("no upstream took the request ({})", reasons.join("; "));
        Err(begun.give_up(StatusCode::BAD_GATEWAY, why))
    }

    /// One try with one upstream; a kept connection that turns out dead is replaced once, since nothing was answered.
    async fn attempt(
        &self,
        req: ReqId,
        index: usize,
        client: Client,
        parts: &Parts,
        body: &Bytes,
    ) -> Result<(Connection, Response<Incoming>), Trouble> {
        let mut fresh = false;
        loop {
            let connecting =
                self.net.timeout(self.timeout, Wait::Timeout, self.pool.connect(index, fresh, req)).await;
            let mut connection = connecting
                .map_err(|_| Trouble::Broken("no answer to SYN".into()))?
                .map_err(|error| Trouble::Broken(error.to_string()))?;
            self.net.say(AppRecord::UsesConnection {
                req,
                local: connection.local,
                remote: self.pool.upstream(index).address,
                reused: connection.reused,
                protocol: "http/1.1".into(),
            });
            let request = upstream_request(&self.net.name(), client, parts, body.clone());
            let sending = connection.sender.send_request(request);
            match self.net.timeout(self.timeout, Wait::Timeout, sending).await {
                Err(_) => return Err(Trouble::Late),
                Ok(Ok(response)) => return Ok((connection, response)),
                Ok(Err(_)) if connection.reused => {
                    fresh = true;
                    let why = "the kept connection was closed by the upstream".to_owned();
                    self.net.say(AppRecord::Retry { req, attempt: 2, why });
                }
                Ok(Err(error)) => return Err(Trouble::Broken(error.to_string())),
            }
        }
    }

    /// The upstream's response as the client gets it; `on_end` hears when the body is over, and gets it when it is to be
    /// kept and no longer than `keep`.
    pub(super) fn relay(
        &self,
        fetched: Fetched,
        keep: Option<u64>,
        on_end: impl FnOnce(Relayed) + Send + 'static,
    ) -> Response<Body> {
        let Fetched { mut begun, busy, connection, mut parts, body } = fetched;
        begun.over = true;
        let (req, status) = (begun.req, parts.status.as_u16());
        self.dress(&mut parts.headers);
        put(&mut parts.headers, SERVED_BY, &self.pool.upstream(busy.index).name);
        parts.version = Version::default();
        let (net, pool) = (self.net.clone(), Arc::clone(&self.pool));
        let body = Body::relay(body, keep, move |relayed| {
            let (body_bytes, whole) = (relayed.bytes, relayed.whole);
            if whole {
                pool.park(busy.index, connection);
            }
            drop(busy);
            on_end(relayed);
            let note = if whole { "passed on" } else { "broke off" };
            net.say(AppRecord::RequestEnd { req, status, ok: whole, body_bytes, note: note.into() });
        });
        Response::from_parts(parts, body)
    }

    /// Takes a response's body whole, if it is no longer than `most`; the connection waits for the next request then.
    pub(super) async fn take(&self, fetched: Fetched, most: u64, note: &str) -> Option<Bytes> {
        let Fetched { mut begun, busy, connection, parts, body } = fetched;
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let body = Limited::new(body, most).collect().await.ok()?.to_bytes();
        self.pool.park(busy.index, connection);
        begun.over = true;
        self.net.say(AppRecord::RequestEnd {
            req: begun.req,
            status: parts.status.as_u16(),
            ok: true,
            body_bytes: body.len() as u64,
            note: note.to_owned(),
        });
        Some(body)
    }

    /// A response's fields on their way to the client.
    pub(super) fn dress(&self, headers: &mut HeaderMap) {
        strip_hop_by_hop(headers);
        append(headers, VIA, &format!("1.1 {}", self.net.name()), ", ");
    }

    fn say_begin(&self, req: ReqId, parts: &Parts, index: usize) {
        let path = parts.uri.path_and_query().map_or("/", PathAndQuery::as_str);
        let scheme = if self.pool.is_secure() { "https" } else { "http" };
        self.net.say(AppRecord::RequestBegin {
            req,
            parent: ReqId(0),
            kind: ReqKind::Upstream,
            method: parts.method.to_string(),
            target: format!("{scheme}://{}{path}", self.pool.upstream(index).address),
        });
    }

    fn say_chosen(&self, req: ReqId, caller: Caller, index: usize, candidates: Vec<Candidate>) {
        let Upstream { name, address } = self.pool.upstream(index).clone();
        self.net.say(AppRecord::ChoseUpstream {
            req,
            downstream: caller.client.peer,
            downstream_ordinal: caller.ordinal,
            chosen: name,
            address,
            policy: self.policy.into(),
            candidates,
        });
    }
}

/// A request whose end must be said, also when the client goes away in the middle of it.
struct Begun {
    net: Net,
    req: ReqId,
    /// Its end was said, or the response's body will say it.
    over: bool,
}

impl Begun {
    fn end(&mut self, status: u16, note: &str) {
        let (req, note) = (self.req, note.to_owned());
        self.net.say(AppRecord::RequestEnd { req, status, ok: false, body_bytes: 0, note });
        self.over = true;
    }

    fn give_up(&mut self, status: StatusCode, why: String) -> Refusal {
        self.end(status.as_u16(), &why);
        Refusal { status, why }
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        if !self.over {
            self.end(0, "the client went away");
        }
    }
}

/// The request as the upstream gets it: HTTP/1.1, with what the proxy knows of the client.
fn upstream_request(proxy: &str, client: Client, parts: &Parts, body: Bytes) -> Request<Body> {
    let mut headers = HeaderMap::with_capacity(parts.headers.len() + 4);
    // RFC 9110, 7.2: Host first.
    let authority = parts.uri.authority().and_then(|name| HeaderValue::from_str(name.as_str()).ok());
    if let Some(host) = authority.or_else(|| parts.headers.get(HOST).cloned()) {
        headers.insert(HOST, host);
    }
    for (name, value) in &parts.headers {
        if name == COOKIE && headers.contains_key(COOKIE) {
            // RFC 9113, 8.2.3: h2 may split the cookies, HTTP/1.1 wants one field.
            append(&mut headers, COOKIE, value.to_str().unwrap_or_default(), "; ");
        } else if name != HOST {
            headers.append(name.clone(), value.clone());
        }
    }
    strip_hop_by_hop(&mut headers);
    let version = if parts.version == Version::HTTP_2 { "2.0" } else { "1.1" };
    append(&mut headers, VIA, &format!("{version} {proxy}"), ", ");
    append(&mut headers, FORWARDED_FOR, &client.peer.ip().to_string(), ", ");
    put(&mut headers, FORWARDED_PROTO, if client.tls { "https" } else { "http" });
    let target = parts.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    let mut request = Request::new(Body::from(body));
    *request.method_mut() = parts.method.clone();
    *request.uri_mut() = Uri::from(target);
    *request.headers_mut() = headers;
    if parts.method == Method::HEAD {
        *request.body_mut() = Body::default();
    }
    request
}

fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in HOP_BY_HOP.into_iter().map(HeaderName::from_static).chain(named) {
        headers.remove(name);
    }
}

/// Adds to a list field, keeping what is there.
pub(super) fn append(headers: &mut HeaderMap, name: HeaderName, value: &str, separator: &str) {
    let whole = match headers.get(&name).and_then(|before| before.to_str().ok()) {
        Some(before) => format!("{before}{separator}{value}"),
        None => value.to_owned(),
    };
    put(headers, name, &whole);
}
