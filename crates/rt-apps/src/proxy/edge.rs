//! The proxy itself: ends the client's TLS, finds a request's route, checks what must hold, changes what is to be changed
//! and passes it on.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::header::{
    CONTENT_TYPE, DATE, HOST, HeaderMap, HeaderName, HeaderValue, LOCATION, SERVER, SET_COOKIE, VIA,
};
use http::request::Parts;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use rt_base::{AppRecord, Candidate, Nanos, Rng, Wait};
use rt_rules::Spread;
use rt_rules::http::{Asked, Forwarding, HttpRoute, PoolRules, Retry, Rewrite, Then, Tokens, normal_path};
use rustls::pki_types::CertificateDer;

use super::cdn::{CdnPlace, Rays};
use super::fetch::{Way, comes_in_messages};
use super::gate::{self, Denied};
use super::headers::{Payload, change, rewrite};
use super::pool::Pool;
use super::{upgrade, watch};
use crate::balance::Shift;
use crate::cache::{CacheStore, Question};
use crate::cached::Cached;
use crate::http::{Body, IdleLimits, date};
use crate::net::Net;
use crate::server::{self, Client, collect, open, page, put, serve, unread};
use crate::tls::Identity;

/// A server behind the proxy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Upstream {
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
}

/// How a proxy speaks TLS to its upstreams.
#[derive(Clone, Debug)]
pub struct UpstreamTls {
    /// The name that their certificates must have.
    pub name: String,
    /// Whom it trusts.
    pub roots: Vec<CertificateDer<'static>>,
}

/// Servers among which a request may choose.
#[derive(Clone, Debug)]
pub struct PoolConfig {
    /// Its name.
    pub name: String,
    /// The servers.
    pub upstreams: Vec<Upstream>,
    /// How one is picked.
    pub spread: Spread,
    /// Speaks TLS to them.
    pub tls: Option<UpstreamTls>,
    /// Connections, checks, time-outs.
    pub rules: PoolRules,
    /// Comings and goings, in the order of time.
    pub shifts: Vec<Shift>,
}

impl PoolConfig {
    /// In turn, over plain HTTP/1.1.
    #[must_use]
    pub fn new(name: &str, upstreams: Vec<Upstream>) -> PoolConfig {
        PoolConfig {
            name: name.to_owned(),
            upstreams,
            spread: Spread::RoundRobin,
            tls: None,
            rules: PoolRules::default(),
            shifts: Vec::new(),
        }
    }
}

/// A proxy, as configured.
#[derive(Clone, Debug)]
pub struct Edge {
    /// TCP port.
    pub port: u16,
    /// Its certificates when it speaks TLS; the name asked for chooses one, else it is the first.
    pub identities: Vec<Identity>,
    /// Whether h2 is offered to clients (over TLS only).
    pub http2: bool,
    /// The servers behind it. Without routes all goes to the first pool.
    pub pools: Vec<PoolConfig>,
    /// Where requests go. What none fits gets 404.
    pub routes: Vec<HttpRoute>,
    /// How it tells upstreams who asks.
    pub forwarding: Forwarding,
    /// Time per request.
    pub think: Nanos,
    /// Keeps responses; several ports may share a store.
    pub cache: Option<CacheStore>,
    /// Says where it stands and where its clients are, as CDNs do.
    pub cdn: Option<CdnPlace>,
}

impl Edge {
    /// A balancer that takes turns, without TLS.
    #[must_use]
    pub fn new(port: u16, upstreams: Vec<Upstream>) -> Edge {
        Edge {
            port,
            identities: Vec::new(),
            http2: true,
            pools: vec![PoolConfig::new("upstreams", upstreams)],
            routes: Vec::new(),
            forwarding: Forwarding::default(),
            think: Nanos::ZERO,
            cache: None,
            cdn: None,
        }
    }

    /// Listens and serves for ever.
    pub async fn run(self, net: Net) {
        let Some((listener, tls)) = open(&net, self.port, &self.identities, self.http2) else { return };
        let proxy = Arc::new(Proxy::new(net, self));
        while let Ok((stream, _)) = listener.accept().await {
            let (proxy, tls) = (Arc::clone(&proxy), tls.clone());
            drop(proxy.net.clone().spawn(async move {
                let passer = Arc::clone(&proxy);
                let handler = move |client, ordinal, request| {
                    Arc::clone(&passer).pass(Caller { client, ordinal }, request)
                };
                serve(&proxy.net, stream, tls.as_ref(), IdleLimits::default(), handler).await;
            }));
        }
    }
}

/// Times that a request may come by: a circle of proxies would otherwise go on until all memory is used.
const MOST_PASSES: usize = 5;

/// What all requests of a proxy share.
pub(super) struct Proxy {
    pub(super) net: Net,
    pub(super) pools: Vec<Arc<Pool>>,
    routes: Vec<HttpRoute>,
    retries: Vec<Arc<Retry>>,
    usual: Arc<Retry>,
    pub(super) forwarding: Forwarding,
    think: Nanos,
    /// Whether it tells upstreams who asks by fields that no client may set.
    finds_out: bool,
    cached: Option<Arc<Cached>>,
    rays: Option<Arc<Rays>>,
    /// By route.
    pub(super) tokens: Mutex<Vec<Tokens>>,
    dice: Mutex<Rng>,
}

/// Whose request it is: the connection, and the request's ordinal on it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller {
    pub(super) client: Client,
    pub(super) ordinal: u32,
}

impl Proxy {
    fn new(net: Net, config: Edge) -> Proxy {
        let rays = config.cdn.map(|place| Arc::new(Rays::new(&net, place, config.port)));
        let cached = config.cache.map(|store| Arc::new(Cached::new(&net, store, rays.is_some())));
        let pool = |config: PoolConfig| {
            let shifts = config.shifts.clone();
            let pool = Arc::new(Pool::new(&net, config));
            watch::start(&pool, shifts);
            pool
        };
        let usual = Arc::new(Retry::default());
        let retry = |route: &HttpRoute| route.retry.clone().map_or(Arc::clone(&usual), Arc::new);
        Proxy {
            pools: config.pools.into_iter().map(pool).collect(),
            retries: config.routes.iter().map(retry).collect(),
            tokens: Mutex::new(config.routes.iter().map(|_| Tokens::default()).collect()),
            finds_out: config.routes.iter().any(|r| r.gate.auth.is_some() || r.gate.keys.is_some()),
            routes: config.routes,
            usual: Arc::clone(&usual),
            forwarding: config.forwarding,
            think: config.think,
            cached,
            rays,
            dice: Mutex::new(net.rng(&format!("proxy {}", config.port))),
            net,
        }
    }

    /// Passes one request of a client on and its response back.
    async fn pass(self: Arc<Proxy>, caller: Caller, request: Request<Incoming>) -> Response<Body> {
        let (mut parts, body) = request.into_parts();
        let ray = self.rays.as_ref().map(|rays| rays.mark(&mut parts.headers, caller.client));
        let grpc = parts
            .headers
            .get(CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
        let mut response = Arc::clone(&self).answer(caller, parts, body).await;
        // Our own error pages lack them; an upstream's response has its own.
        let headers = response.headers_mut();
        if !headers.contains_key(DATE) {
            if grpc {
                as_grpc(&mut response);
            }
            let headers = response.headers_mut();
            put(headers, DATE, &date(self.net.unix_time()));
            put(headers, SERVER, server::SERVER);
        }
        if let Some(ray) = ray {
            Rays::sign(response.headers_mut(), &ray);
        }
        response
    }

    async fn answer(self: Arc<Proxy>, caller: Caller, mut parts: Parts, body: Incoming) -> Response<Body> {
        if parts.headers.contains_key(VIA) && passed(&parts.headers, &self.net.name()) >= MOST_PASSES {
            return self.looped(caller);
        }
        if self.finds_out {
            gate::forget(&mut parts.headers);
        }
        let routed = if self.routes.is_empty() { None } else { Some(self.route(caller, &parts)) };
        let index = match &routed {
            None => None,
            Some((_, Some(index))) => Some(*index),
            Some((_, None)) => {
                self.net.sleep(self.think, Wait::ProxyThink).await;
                return page(StatusCode::NOT_FOUND, "No route of this proxy fits the request.");
            }
        };
        let route = index.map(|index| &self.routes[index]);
        let mut user = None;
        if let (Some(route), Some((asked, _))) = (route, &routed) {
            match self.check(caller, (index.unwrap_or(0), route), asked, &mut parts) {
                Ok(found) => user = found,
                Err(denied) => {
                    self.net.sleep(self.think, Wait::ProxyThink).await;
                    return denied.response();
                }
            }
        }
        let most = route.and_then(|route| route.gate.largest);
        let payload = if comes_in_messages(&parts.headers) {
            Payload::Stream(Some(body))
        } else {
            match self.whole(caller, body, most).await {
                Ok(bytes) => Payload::Whole(bytes),
                Err(refusal) => return refusal,
            }
        };
        self.net.sleep(self.think, Wait::ProxyThink).await;
        let (pool, cookie) = match (route, &routed) {
            (Some(HttpRoute { then: Then::Redirect { to, status }, .. }), _) => {
                return self.redirect(caller, &parts, to, *status);
            }
            (Some(HttpRoute { then: Then::Answer { status, text }, .. }), _) => {
                return self.said(caller, *status, text);
            }
            (Some(route), Some((asked, _))) => self.share(caller, route, asked, user.as_deref()),
            _ => (Some(0), None),
        };
        let Some(pool) = pool.and_then(|pool| self.pools.get(pool)) else {
            return page(StatusCode::SERVICE_UNAVAILABLE, "This route leads nowhere.");
        };
        let way = self.way(caller, index, pool, &parts);
        let question =
            self.cached.as_ref().map(|_| (Question::of(&parts, caller.client.tls), target(&parts)));
        if let Some(route) = route {
            self.rewrite(caller, &mut parts, &route.rewrite);
        }
        let question = question.map(|(question, before)| self.answered_by(question, pool, before, &parts));
        let mut response = match (self.cached.as_ref().zip(question), payload) {
            _ if upgrade::is_asked(&parts) => Box::pin(way.upgrade(parts)).await,
            (Some((cached, question)), Payload::Whole(body)) => {
                Box::pin(Arc::clone(cached).serve(&way, question, &parts, body)).await
            }
            (_, payload) => way.forward(&parts, payload).await,
        };
        if let Some(Rewrite { reply_set, reply_remove, .. }) = route.map(|route| &route.rewrite) {
            change(response.headers_mut(), reply_set, reply_remove);
        }
        response.headers_mut().extend(cookie.map(|cookie| (SET_COOKIE, cookie)));
        response
    }

    /// What its cache is asked: the client's own words, and whatever else decides who answers: the pool where there are several,
    /// and what a route made of the target.
    fn answered_by(
        &self,
        question: Question,
        pool: &Pool,
        before: (String, Option<HeaderValue>),
        parts: &Parts,
    ) -> Question {
        if self.routes.is_empty() {
            return question;
        }
        let after = target(parts);
        let question = question.with_fields(parts.headers.clone());
        let changed = after != before;
        match (self.pools.len() > 1, changed) {
            (false, false) => question,
            (true, false) => question.answered_by(&pool.name),
            (_, true) => {
                let host = after.1.as_ref().and_then(|host| host.to_str().ok()).unwrap_or_default();
                question.answered_by(&format!("{} as {host}{}", pool.name, after.0))
            }
        }
    }

    /// A request that goes in a circle.
    fn looped(&self, caller: Caller) -> Response<Body> {
        let text = format!(
            "refuses with 508: Via names it {MOST_PASSES} times already, the request goes in a circle"
        );
        self.step(caller, "loop", text, Vec::new());
        page(StatusCode::LOOP_DETECTED, "This request goes in a circle.")
    }

    fn way(self: &Arc<Proxy>, caller: Caller, route: Option<usize>, pool: &Arc<Pool>, parts: &Parts) -> Way {
        let timeout = route.and_then(|index| self.routes[index].timeout).unwrap_or(pool.rules.timeout);
        let retry = route.map_or(&self.usual, |index| &self.retries[index]);
        let wanted = pool.rules.sticky.as_ref().and_then(|cookie| pool.named(&cookie_of(parts, cookie)?));
        Way {
            proxy: Arc::clone(self),
            caller,
            pool: Arc::clone(pool),
            wanted,
            timeout,
            retry: Arc::clone(retry),
            upgrades: false,
        }
    }

    /// The request as routes see it, and the route that it takes.
    fn route(&self, caller: Caller, parts: &Parts) -> (Asked, Option<usize>) {
        let asked = asked(parts);
        let picked = asked.pick(&self.routes);
        let missed: Vec<Candidate> = picked
            .missed
            .iter()
            .enumerate()
            .map(|(index, why)| Candidate { name: format!("route {}", index + 1), note: why.clone() })
            .collect();
        let text = match picked.route {
            Some(index) => format!("takes route {} ({})", index + 1, self.routes[index].origin),
            None => "finds no route".to_owned(),
        };
        self.step(caller, "route", text, missed);
        (asked, picked.route)
    }

    fn rewrite(&self, caller: Caller, parts: &mut Parts, rules: &Rewrite) {
        let before = parts.uri.path_and_query().map_or_else(String::new, ToString::to_string);
        rewrite(parts, rules);
        let after = parts.uri.path_and_query().map_or_else(String::new, ToString::to_string);
        if before != after {
            self.step(caller, "rewrite", format!("asks for {after} instead of {before}"), Vec::new());
        }
        if let Some(host) = &rules.host {
            self.step(caller, "rewrite", format!("asks for the host {host}"), Vec::new());
        }
    }

    fn redirect(&self, caller: Caller, parts: &Parts, to: &str, status: u16) -> Response<Body> {
        let asked = asked(parts);
        let query = parts.uri.query().map_or_else(String::new, |query| format!("?{query}"));
        let path = parts.uri.path();
        let to = to.replace("{host}", &asked.host).replace("{path}", path).replace("{query}", &query);
        self.step(caller, "redirect", format!("sends the client to {to} ({status})"), Vec::new());
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::FOUND);
        let mut response = page(status, "The page is elsewhere.");
        put(response.headers_mut(), LOCATION, &to);
        response
    }

    fn said(&self, caller: Caller, status: u16, text: &str) -> Response<Body> {
        self.step(caller, "answer", format!("answers {status} itself"), Vec::new());
        said(status, text)
    }

    /// The whole body, if it is not longer than the route lets in.
    async fn whole(
        &self,
        caller: Caller,
        body: Incoming,
        most: Option<u64>,
    ) -> Result<bytes::Bytes, Response<Body>> {
        let told = hyper::body::Body::size_hint(&body).lower();
        let bytes = if most.is_some_and(|most| told > most) {
            None
        } else {
            Some(collect(body).await.inspect_err(|refusal| {
                let text = format!("answers {} itself: {}", refusal.status().as_u16(), unread(refusal));
                self.step(caller, "fails", text, Vec::new());
            })?)
        };
        match (bytes, most) {
            (Some(bytes), Some(most)) if bytes.len() as u64 <= most => Ok(bytes),
            (Some(bytes), None) => Ok(bytes),
            (bytes, most) => {
                let long = bytes.map_or(told, |bytes| bytes.len() as u64);
                let why = format!(
                    "a body of {long} bytes is longer than the {} that are let in",
                    most.unwrap_or(0)
                );
                Err(self.deny(caller, "size", Denied::new(StatusCode::PAYLOAD_TOO_LARGE, why)).response())
            }
        }
    }

    /// Says a decision about a client's request.
    pub(super) fn step(&self, caller: Caller, code: &str, text: String, candidates: Vec<Candidate>) {
        self.net.say(AppRecord::ProxyStep {
            downstream: caller.client.peer,
            downstream_ordinal: caller.ordinal,
            code: code.to_owned(),
            text,
            candidates,
        });
    }

    pub(super) fn dice(&self) -> MutexGuard<'_, Rng> {
        self.dice.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A response of the proxy's own with this text, where the status allows one.
fn said(status: u16, text: &str) -> Response<Body> {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    //= rfc9110#section-15.3.5
    //# A 204 response is terminated by the end of the header section; it
    //# cannot contain content or trailers.
    let bare = [StatusCode::NO_CONTENT, StatusCode::RESET_CONTENT, StatusCode::NOT_MODIFIED];
    let text = if bare.contains(&status) { "" } else { text };
    let mut response = Response::new(Body::from(bytes::Bytes::copy_from_slice(text.as_bytes())));
    *response.status_mut() = status;
    if !text.is_empty() {
        put(response.headers_mut(), http::header::CONTENT_TYPE, "text/plain; charset=utf-8");
    }
    response
}

fn asked(parts: &Parts) -> Asked {
    let fields = parts.headers.iter().map(|(name, value)| {
        (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    });
    Asked {
        method: parts.method.to_string(),
        host: server::host_of(&parts.uri, &parts.headers).to_ascii_lowercase(),
        path: normal_path(parts.uri.path()),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        fields: fields.collect(),
    }
}

/// How often a proxy of this name has passed a request on, by Via (RFC 9110, 7.6.3).
fn passed(headers: &HeaderMap, name: &str) -> usize {
    let all = headers.get_all(VIA).iter().filter_map(|value| value.to_str().ok());
    all.flat_map(|value| value.split(',')).filter(|hop| hop.split_whitespace().nth(1) == Some(name)).count()
}

/// An error page of the proxy's own, for a caller that understands gRPC only: trailers alone, with the status that belongs to the HTTP
/// one (gRPC, "HTTP to gRPC Status Code Mapping").
fn as_grpc(response: &mut Response<Body>) {
    let http = response.status();
    if http.is_success() {
        return;
    }
    let code = match http.as_u16() {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    };
    let mut headers = HeaderMap::new();
    put(&mut headers, CONTENT_TYPE, "application/grpc");
    put(&mut headers, HeaderName::from_static("grpc-status"), &code.to_string());
    let reason = http.canonical_reason().unwrap_or("an error");
    put(
        &mut headers,
        HeaderName::from_static("grpc-message"),
        &format!("the proxy answered {} {reason}", http.as_u16()),
    );
    *response = Response::new(Body::default());
    *response.headers_mut() = headers;
}

/// Path and host, as far as a route may change them.
fn target(parts: &Parts) -> (String, Option<HeaderValue>) {
    (parts.uri.path().to_owned(), parts.headers.get(HOST).cloned())
}

fn cookie_of(parts: &Parts, name: &str) -> Option<String> {
    asked(parts).cookies().into_iter().find(|(known, _)| known == name).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use hyper::body::Body as _;

    use super::said;

    #[test]
    fn answers_without_content_have_none() {
        for (status, length) in [(204, 0), (205, 0), (304, 0), (200, 5), (404, 5)] {
            let response = said(status, "hello");
            assert_eq!(response.status().as_u16(), status);
            assert_eq!(response.body().size_hint().exact(), Some(length), "{status}");
            assert_eq!(response.headers().contains_key("content-type"), length > 0, "{status}");
        }
    }
}
