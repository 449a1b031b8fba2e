//! One request: judged, answered from the store or by the server, and passed back.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{DATE, HOST, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHENTICATE, SERVER, VIA};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Method, Request, Response, StatusCode, Uri, Version};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use rt_base::{AppRecord, ReqId, ReqKind, Wait};

use super::log::{Access, Ended, kind_of};
use super::policy::{self, FORWARDED, FORWARDED_FOR, Refusal, Reveals, Wanted};
use super::pool::Connection;
use super::{Caller, Desk};
use crate::http::{Body, Relayed, date};
use crate::proxy::{append, strip_hop_by_hop};
use crate::server::{collect, page, put};

const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// A server's response of which the head is there.
pub(super) struct Fetched {
    begun: Begun,
    wanted: Wanted,
    connection: Connection,
    pub(super) parts: http::response::Parts,
    pub(super) body: Incoming,
}

impl Desk {
    /// Answers one request of a client.
    pub(super) async fn answer(
        self: Arc<Desk>,
        caller: Caller,
        request: Request<Incoming>,
    ) -> Response<Body> {
        if request.method() == Method::CONNECT && caller.inside.is_none() {
            return self.open_tunnel(caller, request).await;
        }
        let (mut parts, body) = request.into_parts();
        let user = policy::user_of(&self.config, &parts.headers).map(str::to_owned);
        let wanted = match &caller.inside {
            Some(inside) => Some(inside.clone()),
            None => Wanted::of_absolute(&parts.uri),
        };
        let Some(wanted) = wanted.filter(|_| parts.method != Method::CONNECT) else {
            let why =
                "a proxy wants to be told whole http addresses, as `GET http://shop.example/`, or CONNECT";
            let refusal = Refusal::new(StatusCode::BAD_REQUEST, "http_request_error", why);
            let target = parts.uri.to_string();
            let access = Access::begin(&self, caller.peer.ip(), parts.method.as_str(), &target, None);
            return self.refuse(&caller, access, parts.method.as_str(), &target, &refusal);
        };
        let path = parts.uri.path_and_query().map_or("/", PathAndQuery::as_str).to_owned();
        let (method, url) = (parts.method.to_string(), wanted.url(&path));
        let access = Access::begin(&self, caller.peer.ip(), &method, &url, user.as_deref());
        self.net.sleep(self.config.think, Wait::ProxyThink).await;
        let asked = (Some(path.as_str()), &parts.headers);
        let why = match policy::judge(&self.config, caller.peer.ip(), &wanted, asked, &self.name) {
            Ok(why) => why,
            Err(refusal) => return self.refuse(&caller, access, &method, &url, &refusal),
        };
        self.say_forward(&caller, (&method, &url), "pass", &why);
        let body = match collect(body).await {
            Ok(body) => body,
            Err(refusal) => return refusal,
        };
        // RFC 9112, 3.2.2: the target decides, whatever Host says.
        self.rewrite(&mut parts, &wanted, &caller);
        match &self.store {
            Some(store) => Arc::clone(store).serve(&self, (caller, access), wanted, &parts, body).await,
            None => {
                let req = self.net.new_req();
                match self.fetch(req, &caller, &wanted, &parts, &body).await {
                    Ok(fetched) => self.relay(fetched, access, "TCP_MISS", None, |_| {}),
                    Err(refusal) => self.fail(access, &refusal),
                }
            }
        }
    }

    /// The request as the server gets it, but for the form of its target.
    fn rewrite(&self, parts: &mut Parts, wanted: &Wanted, caller: &Caller) {
        let path = parts.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        parts.uri = wanted.url(path.as_str()).parse().unwrap_or_else(|_| Uri::from(path));
        let headers = &mut parts.headers;
        strip_hop_by_hop(headers);
        if self.config.via {
            let version = if parts.version == Version::HTTP_10 { "1.0" } else { "1.1" };
            append(headers, VIA, &format!("{version} {}", self.name), ", ");
        }
        let client = caller.peer.ip();
        match self.config.reveals {
            Reveals::On => append(headers, FORWARDED_FOR, &client.to_string(), ", "),
            Reveals::Off => append(headers, FORWARDED_FOR, "unknown", ", "),
            Reveals::Transparent => {}
            Reveals::Delete => drop(headers.remove(FORWARDED_FOR)),
            //= rfc7239#section-4
            Reveals::Forwarded => {
                headers.remove(FORWARDED_FOR);
                let node = if client.is_ipv6() { format!("\"[{client}]\"") } else { client.to_string() };
                let proto = if wanted.secure { "https" } else { "http" };
                append(
                    headers,
                    FORWARDED,
                    &format!("for={node};by=_{};proto={proto}", token(&self.name)),
                    ", ",
                );
            }
        }
    }

    /// Asks the server until the head of a response is there.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) async fn fetch(
        &self,
        req: ReqId,
        caller: &Caller,
        wanted: &Wanted,
        parts: &Parts,
        body: &Bytes,
    ) -> Result<Fetched, Refusal> {
        let method = parts.method.to_string();
        self.net.say(AppRecord::RequestBegin {
            req,
            parent: ReqId(0),
            kind: ReqKind::Upstream,
            method,
            target: parts.uri.to_string(),
        });
        let mut begun = Begun { net: self.net.clone(), req, over: false };
        match self.ask(req, caller, wanted, parts, body).await {
            Ok((connection, response)) => {
                let (parts, body) = response.into_parts();
                Ok(Fetched { begun, wanted: wanted.clone(), connection, parts, body })
            }
            Err(refusal) => {
                begun.end(refusal.status.as_u16(), &refusal.why);
                Err(refusal)
            }
        }
    }

    async fn ask(
        &self,
        req: ReqId,
        caller: &Caller,
        wanted: &Wanted,
        parts: &Parts,
        body: &Bytes,
    ) -> Result<(Connection, Response<Incoming>), Refusal> {
        let mut fresh = false;
        loop {
            let kept = if fresh { None } else { self.pool.kept(wanted).await };
            let mut connection = match kept {
                Some(connection) => {
                    self.say_chosen(req, caller, wanted, &connection, Vec::new());
                    connection
                }
                None => {
                    let reached = self.pool.reach(req, wanted, None).await?;
                    let remote = reached.stream.peer_addr();
                    self.say_uses(req, reached.stream.local_addr(), remote, false);
                    let connection = self.pool.speak(req, wanted, reached.stream).await?;
                    self.say_chosen(req, caller, wanted, &connection, reached.candidates);
                    connection
                }
            };
            self.say_uses(req, connection.local, connection.remote, connection.reused);
            let sending = connection.sender.send_request(outgoing(parts, body.clone()));
            match self.net.timeout(self.config.timeout, Wait::Timeout, sending).await {
                Ok(Ok(response)) => return Ok((connection, response)),
                Err(_) => {
                    let why = format!("{} did not answer within {}", wanted.host, self.config.timeout);
                    let status = StatusCode::GATEWAY_TIMEOUT;
                    return Err(Refusal::new(status, "http_response_timeout", why));
                }
                // RFC 9110, 9.2.2: what may be done twice is asked again.
                Ok(Err(_)) if connection.reused && parts.method.is_idempotent() => {
                    fresh = true;
                    let why = "the kept connection was closed by the server".to_owned();
                    self.net.say(AppRecord::Retry { req, attempt: 2, why });
                }
                Ok(Err(error)) => {
                    let status = StatusCode::BAD_GATEWAY;
                    return Err(Refusal::new(status, "http_response_incomplete", error.to_string()));
                }
            }
        }
    }

    /// The server's response as the client gets it; `on_end` hears when the body is over, and gets it when it is to be kept
    /// and no longer than `keep`.
    pub(super) fn relay(
        self: &Arc<Desk>,
        fetched: Fetched,
        access: Access,
        result: &'static str,
        keep: Option<u64>,
        on_end: impl FnOnce(Relayed) + Send + 'static,
    ) -> Response<Body> {
        let Fetched { mut begun, wanted, connection, mut parts, body } = fetched;
        begun.over = true;
        let (req, status) = (begun.req, parts.status.as_u16());
        let (server, kind) = (Some(connection.remote.ip()), kind_of(&parts.headers));
        self.dress(&mut parts.headers);
        parts.version = Version::default();
        let desk = Arc::clone(self);
        let body = Body::relay(body, keep, false, move |relayed| {
            let (bytes, whole) = (relayed.bytes, relayed.whole);
            if whole {
                desk.pool.park(&wanted, connection);
            }
            on_end(relayed);
            let note = if whole { "passed on" } else { "broke off" }.to_owned();
            desk.net.say(AppRecord::RequestEnd { req, status, ok: whole, body_bytes: bytes, note });
            access.end(&desk, &Ended { result, status, bytes, server, kind });
        });
        Response::from_parts(parts, body)
    }

    /// Takes a response's body whole, if it is no longer than `most`; the connection waits for the next request then.
    pub(super) async fn take(&self, fetched: Fetched, most: u64, note: &str) -> Option<Bytes> {
        let Fetched { mut begun, wanted, connection, parts, body } = fetched;
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let body = Limited::new(body, most).collect().await.ok()?.to_bytes();
        self.pool.park(&wanted, connection);
        begun.over = true;
        let (status, body_bytes) = (parts.status.as_u16(), body.len() as u64);
        let (req, note) = (begun.req, note.to_owned());
        self.net.say(AppRecord::RequestEnd { req, status, ok: true, body_bytes, note });
        Some(body)
    }

    /// A response's fields on their way to the client.
    pub(super) fn dress(&self, headers: &mut HeaderMap) {
        strip_hop_by_hop(headers);
        if self.config.via {
            append(headers, VIA, &format!("1.1 {}", self.name), ", ");
        }
    }

    /// What the client is told that gets nothing, said to the story as well.
    pub(super) fn refuse(
        &self,
        caller: &Caller,
        access: Access,
        method: &str,
        url: &str,
        refusal: &Refusal,
    ) -> Response<Body> {
        self.say_forward(caller, (method, url), "refuse", &refusal.why);
        self.fail(access, refusal)
    }

    /// A page that says why, with the reason for programs in Proxy-Status (RFC 9209).
    pub(super) fn fail(&self, access: Access, refusal: &Refusal) -> Response<Body> {
        let mut response = page(refusal.status, &escape(&refusal.why));
        let headers = response.headers_mut();
        put(headers, DATE, &date(self.net.unix_time()));
        put(headers, SERVER, crate::server::SERVER);
        put(headers, PROXY_STATUS, &format!("{}; error={}", token(&self.name), refusal.error));
        if refusal.status == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
            put(headers, PROXY_AUTHENTICATE, &format!("Basic realm=\"{}\"", token(&self.name)));
        }
        let denied =
            matches!(refusal.status, StatusCode::FORBIDDEN | StatusCode::PROXY_AUTHENTICATION_REQUIRED);
        let bytes = hyper::body::Body::size_hint(response.body()).exact().unwrap_or(0);
        let ended = Ended {
            result: if denied { "TCP_DENIED" } else { "NONE" },
            status: refusal.status.as_u16(),
            bytes,
            server: None,
            kind: Some("text/html".to_owned()),
        };
        access.end(self, &ended);
        response
    }

    /// What was decided about a client's request.
    pub(super) fn say_forward(&self, caller: &Caller, (method, url): (&str, &str), verdict: &str, why: &str) {
        let shown: String = url.chars().take(2_048).collect();
        self.net.say(AppRecord::Forward {
            downstream: caller.peer,
            downstream_ordinal: caller.ordinal,
            what: format!("{method} {shown}"),
            verdict: verdict.to_owned(),
            why: why.to_owned(),
        });
    }

    fn say_chosen(
        &self,
        req: ReqId,
        caller: &Caller,
        wanted: &Wanted,
        connection: &Connection,
        candidates: Vec<rt_base::Candidate>,
    ) {
        self.net.say(AppRecord::ChoseUpstream {
            req,
            downstream: caller.peer,
            downstream_ordinal: caller.ordinal,
            chosen: wanted.host.clone(),
            address: connection.remote,
            policy: "forward".to_owned(),
            candidates,
        });
    }

    fn say_uses(&self, req: ReqId, local: std::net::SocketAddr, remote: std::net::SocketAddr, reused: bool) {
        let protocol = "http/1.1".to_owned();
        self.net.say(AppRecord::UsesConnection { req, local, remote, reused, protocol });
    }
}

/// A request whose end must be said, also when the client goes away in the middle of it.
struct Begun {
    net: crate::net::Net,
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
}

impl Drop for Begun {
    fn drop(&mut self) {
        if !self.over {
            self.end(0, "the client went away");
        }
    }
}

/// In origin form (RFC 9112, 3.2.1), Host first.
fn outgoing(parts: &Parts, body: Bytes) -> Request<Body> {
    let mut headers = HeaderMap::with_capacity(parts.headers.len() + 1);
    let authority = parts.uri.authority().and_then(|name| HeaderValue::from_str(name.as_str()).ok());
    if let Some(host) = authority.or_else(|| parts.headers.get(HOST).cloned()) {
        headers.insert(HOST, host);
    }
    for (name, value) in &parts.headers {
        if name != HOST {
            headers.append(name.clone(), value.clone());
        }
    }
    let target = parts.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    let bodiless = parts.method == Method::HEAD;
    let mut request = Request::new(if bodiless { Body::default() } else { Body::from(body) });
    *request.method_mut() = parts.method.clone();
    *request.uri_mut() = Uri::from(target);
    *request.headers_mut() = headers;
    request
}

/// A name as a token (RFC 9110, 5.6.2).
fn token(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || "-._".contains(c) { c } else { '-' }).collect()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}
