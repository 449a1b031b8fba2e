//! One request: judged, answered from the store or by the server, and passed back.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{DATE, HOST, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHENTICATE, SERVER, VIA};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Method, Request, Response, StatusCode, Uri, Version};

use hyper::body::Incoming;
use rt_base::{AppRecord, ReqId, Wait};

use super::log::{Access, Ended, kind_of};
use super::policy::{self, FORWARDED, FORWARDED_FOR, Refusal, Reveals, Wanted};
use super::pool::Connection;
use super::store::Way;
use super::{Caller, Desk};
use crate::cache::Question;
use crate::cached::Source as _;
use crate::http::{Body, date};
use crate::proxy::{append, as_token, strip_hop_by_hop};
use crate::server::{collect, escape, page, put, unread};

const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

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
            Err(refusal) => return self.unread(&caller, access, refusal),
        };
        // RFC 9112, 3.2.2: the target decides, whatever Host says.
        self.rewrite(&mut parts, &wanted, &caller);
        let way = Way { desk: Arc::clone(&self), caller, access, wanted };
        match &self.store {
            Some(store) => {
                let question = Question::of(&parts, way.wanted.secure);
                Arc::clone(store).serve(&way, question, &parts, body).await
            }
            None => match way.fetch(self.net.new_req(), &parts, body).await {
                Ok(fetched) => way.relay(fetched, None, |_| {}),
                Err(refusal) => way.refuse(&refusal),
            },
        }
    }

    /// Our own answer to a body that cannot be taken, with its line in the log.
    fn unread(&self, caller: &Caller, access: Access, refusal: Response<Body>) -> Response<Body> {
        self.say_fails(
            caller,
            &format!("answers {} itself: {}", refusal.status().as_u16(), unread(&refusal)),
        );
        let bytes = hyper::body::Body::size_hint(refusal.body()).exact().unwrap_or(0);
        let (status, kind) = (refusal.status().as_u16(), kind_of(refusal.headers()));
        access.end(self, &Ended { result: "NONE", status, bytes, server: None, kind });
        refusal
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
                    &format!("for={node};by=_{};proto={proto}", as_token(&self.name)),
                    ", ",
                );
            }
        }
    }

    /// Asks the server until the head of a response is there.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) async fn ask(
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
                    self.pool.say_chosen(req, caller, wanted, connection.remote, &[]);
                    connection
                }
                None => {
                    let reached = self.pool.reach((req, caller), wanted, None).await?;
                    let remote = reached.stream.peer_addr();
                    self.say_uses(req, reached.stream.local_addr(), remote, false);
                    self.pool.speak(req, wanted, reached.stream).await?
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

    /// The same for what was let through and came to nothing.
    pub(super) fn answer_itself(&self, caller: &Caller, access: Access, refusal: &Refusal) -> Response<Body> {
        self.say_fails(caller, &format!("answers {} itself: {}", refusal.status.as_u16(), refusal.why));
        self.fail(access, refusal)
    }

    /// Says what became of a request that got no answer but the proxy's own.
    pub(super) fn say_fails(&self, caller: &Caller, text: &str) {
        self.net.say(AppRecord::ProxyStep {
            downstream: caller.peer,
            downstream_ordinal: caller.ordinal,
            code: "fails".to_owned(),
            text: text.to_owned(),
            candidates: Vec::new(),
        });
    }

    /// A page that says why, with the reason for programs in Proxy-Status (RFC 9209).
    pub(super) fn fail(&self, access: Access, refusal: &Refusal) -> Response<Body> {
        let mut response = page(refusal.status, &escape(&refusal.why));
        let headers = response.headers_mut();
        put(headers, DATE, &date(self.net.unix_time()));
        put(headers, SERVER, crate::server::SERVER);
        put(headers, PROXY_STATUS, &format!("{}; error={}", as_token(&self.name), refusal.error));
        if refusal.status == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
            put(headers, PROXY_AUTHENTICATE, &format!("Basic realm=\"{}\"", as_token(&self.name)));
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

    fn say_uses(&self, req: ReqId, local: std::net::SocketAddr, remote: std::net::SocketAddr, reused: bool) {
        let protocol = "http/1.1".to_owned();
        self.net.say(AppRecord::UsesConnection { req, local, remote, reused, protocol });
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
