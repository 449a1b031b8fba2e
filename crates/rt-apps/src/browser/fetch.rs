//! The way of one resource: cache, cookies, connection, request, response, cache again. Redirects are new requests whose
//! parent is the one that was redirected.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE,
    COOKIE, HOST, HeaderName, HeaderValue, LOCATION, ORIGIN, REFERER, SET_COOKIE, UPGRADE_INSECURE_REQUESTS,
    USER_AGENT,
};
use http::request::Parts as RequestParts;
use http::response::Parts as ResponseParts;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use rt_base::{AppRecord, CacheKind, CacheOutcome, ReqId, ReqKind, Wait};

use super::Shared;
use super::cache::Found;
use super::failure::{Failure, Phase};
use super::html::Kind;
use super::pool::{Asker, Lease, Wire};
use super::url::Url;
use super::via::Via;
use crate::http::{Body, DECODED_LIMIT, decode};

/// Redirects followed at most: as many as Chrome follows.
const REDIRECTS: u32 = 20;

/// What to get.
#[derive(Clone)]
pub(super) struct Job {
    /// The request that made it necessary, or 0.
    pub(super) parent: ReqId,
    pub(super) kind: Kind,
    pub(super) url: Url,
    /// The page that names it.
    pub(super) referer: Option<String>,
    /// JSON to post; GET without.
    pub(super) body: Option<Bytes>,
    /// The server is to be asked whatever the cache says.
    pub(super) again: bool,
    /// The method is PURGE.
    pub(super) purge: bool,
}

impl Job {
    /// A plain GET.
    pub(super) fn new(parent: ReqId, kind: Kind, url: Url) -> Job {
        Job { parent, kind, url, referer: None, body: None, again: false, purge: false }
    }
}

/// What came.
pub(super) struct Loaded {
    /// The last request's number, after redirects.
    pub(super) req: ReqId,
    /// Where it was found, after redirects.
    pub(super) url: Url,
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// Decoded.
    pub(super) body: Bytes,
    pub(super) source: Source,
}

/// Where a body came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Source {
    /// From the network, over this protocol.
    Network(&'static str),
    /// From the cache, nobody was asked.
    Cache,
    /// From the cache, after the server said over this protocol that it is still good.
    Revalidated(&'static str),
}

impl Shared {
    /// Gets a resource, following redirects; `first` is the number of the first request.
    pub(super) async fn load(&self, first: ReqId, mut job: Job) -> Result<Loaded, Failure> {
        let mut req = first;
        for _ in 0..=REDIRECTS {
            let loaded = self.one_hop(req, &job).await?;
            let Some(target) = redirect_target(&loaded) else { return Ok(loaded) };
            let url = job.url.join(&target).map_err(|why| Failure::new("http.bad_redirect", why))?;
            let text = format!("{} {} leads to {url}", loaded.status.as_u16(), job.url);
            self.net.say(AppRecord::Note { req, code: "http.redirect".into(), text });
            // RFC 9110, 15.4: 307 and 308 keep method and body, the others become GET.
            if !matches!(loaded.status.as_u16(), 307 | 308) {
                job.body = None;
            }
            (job.url, job.parent) = (url, req);
            req = self.net.new_req();
        }
        Err(Failure::new("http.too_many_redirects", format!("{} redirects for {}", REDIRECTS, job.url)))
    }

    /// One request with its begin and end in the record.
    async fn one_hop(&self, req: ReqId, job: &Job) -> Result<Loaded, Failure> {
        let method = match job {
            Job { purge: true, .. } => Method::from_bytes(b"PURGE").unwrap_or_default(),
            Job { body: Some(_), .. } => Method::POST,
            _ => Method::GET,
        };
        let kind = if matches!(job.kind, Kind::Document | Kind::Call) {
            ReqKind::Page
        } else {
            ReqKind::Subresource
        };
        self.net.say(AppRecord::RequestBegin {
            req,
            parent: job.parent,
            kind,
            method: method.to_string(),
            target: job.url.to_string(),
        });
        let result = self.answer(req, job, method).await;
        let (status, ok, body_bytes, note) = match &result {
            Ok(loaded) => {
                let status = loaded.status;
                (status.as_u16(), status.as_u16() < 400, loaded.body.len() as u64, loaded.source.to_string())
            }
            Err(failure) => (0, false, 0, failure.to_string()),
        };
        self.net.say(AppRecord::RequestEnd { req, status, ok, body_bytes, note });
        result
    }

    async fn answer(&self, req: ReqId, job: &Job, method: Method) -> Result<Loaded, Failure> {
        let key = format!("GET {}", job.url);
        let mut request = self.request(job, method)?;
        if job.body.is_some() || job.purge {
            self.state().cache.remove(&key);
        } else {
            let found = self.state().cache.find(&key, &request, self.civil_time());
            match found {
                Found::Fresh { response, body, age, fresh_for } => {
                    self.say_cache(
                        req,
                        &key,
                        CacheOutcome::Hit { age, fresh_for },
                        "no need to ask the server",
                    );
                    let (status, headers) = (response.status, response.headers);
                    return Ok(Loaded {
                        req,
                        url: job.url.clone(),
                        status,
                        headers,
                        body,
                        source: Source::Cache,
                    });
                }
                Found::Stale { age, request: conditional } => {
                    self.say_cache(req, &key, CacheOutcome::Stale { age }, "the server must be asked");
                    request = *conditional;
                }
                Found::Nothing => self.say_cache(req, &key, CacheOutcome::Miss, ""),
            }
        }
        self.say_cookies(req, &request, job);
        let (response, raw, protocol) = self.over_network(req, job, &request).await?;
        self.take_cookies(req, job, &response);
        self.conclude(req, job, &key, Exchange { request, response, raw, protocol })
    }

    /// Asks the server, with the browser's patience, once more if a kept connection turns out dead.
    async fn over_network(
        &self,
        req: ReqId,
        job: &Job,
        request: &RequestParts,
    ) -> Result<(ResponseParts, Bytes, &'static str), Failure> {
        let phase = Mutex::new(Phase::Queue);
        let names = self.state().names.clone();
        let asker = Asker { req, names: &names, phase: &phase };
        let host = job.url.host();
        let work = async {
            let mut fresh = false;
            loop {
                asker.at(Phase::Queue);
                let mut lease = self.pool.acquire(&job.url.origin(), &asker, fresh).await?;
                asker.at(Phase::Response);
                let protocol = lease.protocol();
                let waiting = self.net.outstanding(&host, lease.remote());
                let via = self.pool.proxy_of(&lease);
                match send(&mut lease, request, job, via).await {
                    Ok(response) => {
                        let (parts, body) = response.into_parts();
                        let body = read(&host, body).await?;
                        lease.give_back();
                        waiting.done();
                        return Ok((parts, body, protocol));
                    }
                    // RFC 9112, 9.3.1: the server may have closed just then. A POST might have been done: not again.
                    Err(error) if lease.reused && job.body.is_none() => {
                        let why = Failure::http(&host, &error).text;
                        self.net.say(AppRecord::Retry { req, attempt: 2, why });
                        fresh = true;
                    }
                    Err(error) => return Err(Failure::http(&host, &error)),
                }
            }
        };
        match self.net.timeout(self.options.timeout, Wait::Timeout, work).await {
            Ok(result) => result,
            Err(_) => {
                let phase = *phase.lock().unwrap_or_else(PoisonError::into_inner);
                Err(Failure::timeout(&host, phase, self.options.timeout))
            }
        }
    }

    /// What the response means: a 304 brings the stored body, anything else is decoded and kept if it may be.
    fn conclude(&self, req: ReqId, job: &Job, key: &str, exchange: Exchange) -> Result<Loaded, Failure> {
        let Exchange { request, response, raw, protocol } = exchange;
        let now = self.civil_time();
        if response.status == StatusCode::NOT_MODIFIED {
            let known = self.state().cache.revalidate(key, &request, &response, now);
            let (parts, body) = known.ok_or_else(|| {
                Failure::new(
                    "http.unexpected_304",
                    format!("{} is said to be unchanged, but it is not stored", job.url),
                )
            })?;
            self.say_cache(req, key, CacheOutcome::Revalidated, "304: the stored body is used");
            let source = Source::Revalidated(protocol);
            let (status, headers) = (parts.status, parts.headers);
            return Ok(Loaded { req, url: job.url.clone(), status, headers, body, source });
        }
        let coding = text(&response.headers, &CONTENT_ENCODING);
        let body = decode(coding, raw).map_err(|why| Failure::new("http.bad_body", why))?;
        if request.method == Method::GET {
            let stored = self.state().cache.store(key, &request, &response, &body, now);
            let rule = text(&response.headers, &http::header::CACHE_CONTROL);
            let outcome =
                stored.map_or(CacheOutcome::NotStored, |fresh_for| CacheOutcome::Stored { fresh_for });
            self.say_cache(req, key, outcome, rule);
        }
        let (status, headers) = (response.status, response.headers);
        Ok(Loaded { req, url: job.url.clone(), status, headers, body, source: Source::Network(protocol) })
    }

    /// The request in Chrome's order of fields.
    fn request(&self, job: &Job, method: Method) -> Result<RequestParts, Failure> {
        let uri: Uri =
            job.url.to_string().parse().map_err(|_| Failure::new("url.invalid", job.url.to_string()))?;
        let (mut parts, ()) = Request::new(()).into_parts();
        (parts.method, parts.uri) = (method, uri);
        let cookie = self.state().cookies.field(&job.url, self.net.unix_time());
        let origin =
            job.body.is_some().then(|| job.url.to_string().trim_end_matches(job.url.target()).to_owned());
        let chrome = self.options.habits.like_chrome;
        let language = &self.options.habits.language;
        let upgrade = chrome && job.kind == Kind::Document;
        // Chrome offers Brotli only where no middlebox can read it.
        let codings = if chrome && !job.url.origin().secure { "gzip, deflate" } else { "gzip, br" };
        let fields = [
            (CONTENT_TYPE, job.body.is_some().then(|| "application/json".to_owned())),
            (CACHE_CONTROL, job.again.then(|| "max-age=0".to_owned())),
            (UPGRADE_INSECURE_REQUESTS, upgrade.then(|| "1".to_owned())),
            (USER_AGENT, Some(self.options.user_agent.clone())),
            (ACCEPT, Some(accept(job.kind, chrome))),
            (ORIGIN, origin),
            (REFERER, job.referer.clone()),
            (ACCEPT_ENCODING, Some(codings.to_owned())),
            (ACCEPT_LANGUAGE, (!language.is_empty()).then(|| language.clone())),
            (COOKIE, cookie),
        ];
        for (name, value) in fields {
            if let Some(value) = value.and_then(|value| HeaderValue::from_str(&value).ok()) {
                parts.headers.insert(name, value);
            }
        }
        for (name, value) in &self.state().fields {
            if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value)) {
                parts.headers.insert(name, value);
            }
        }
        Ok(parts)
    }

    fn say_cache(&self, req: ReqId, key: &str, outcome: CacheOutcome, note: &str) {
        let (cache, key) = (CacheKind::BrowserHttp, key.to_owned());
        self.net.say(AppRecord::Cache { req, cache, key, outcome, note: note.to_owned() });
    }

    fn say_cookies(&self, req: ReqId, request: &RequestParts, job: &Job) {
        let field = text(&request.headers, &COOKIE);
        let outcome = if field.is_empty() {
            CacheOutcome::Miss
        } else {
            CacheOutcome::Hit { age: rt_base::Nanos::ZERO, fresh_for: rt_base::Nanos::ZERO }
        };
        let note = field.to_owned();
        self.net.say(AppRecord::Cache { req, cache: CacheKind::Cookies, key: job.url.host(), outcome, note });
    }

    fn take_cookies(&self, req: ReqId, job: &Job, response: &ResponseParts) {
        for value in response.headers.get_all(SET_COOKIE) {
            let field = value.to_str().unwrap_or_default();
            let kept = self.state().cookies.store(&job.url, field, self.net.unix_time());
            let (outcome, note) = match kept {
                Some(name) => (CacheOutcome::Stored { fresh_for: rt_base::Nanos::ZERO }, name),
                None => (CacheOutcome::NotStored, field.to_owned()),
            };
            self.net.say(AppRecord::Cache {
                req,
                cache: CacheKind::Cookies,
                key: job.url.host(),
                outcome,
                note,
            });
        }
    }
}

/// A request and its whole response.
struct Exchange {
    request: RequestParts,
    response: ResponseParts,
    raw: Bytes,
    protocol: &'static str,
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Source::Network(protocol) => f.write_str(protocol),
            Source::Cache => f.write_str("from the browser's cache"),
            Source::Revalidated(protocol) => write!(f, "{protocol}, 304: the stored body is used"),
        }
    }
}

async fn send(
    lease: &mut Lease,
    request: &RequestParts,
    job: &Job,
    via: Option<&Via>,
) -> hyper::Result<Response<Incoming>> {
    let mut message = Request::new(Body::from(job.body.clone().unwrap_or_default()));
    *message.method_mut() = request.method.clone();
    match &mut lease.wire {
        Wire::H2(sender) => {
            // Scheme and authority become pseudo-fields.
            *message.uri_mut() = request.uri.clone();
            *message.headers_mut() = request.headers.clone();
            sender.send_request(message).await
        }
        Wire::H1(sender, _) => {
            *message.uri_mut() = match via {
                //= rfc9112#section-3.2.2
                Some(_) => request.uri.clone(),
                None => job.url.target().parse().unwrap_or_else(|_| Uri::from_static("/")),
            };
            let headers = message.headers_mut();
            if let Ok(host) = HeaderValue::from_str(job.url.authority()) {
                headers.insert(HOST, host);
            }
            match via {
                Some(via) => via.fields(headers),
                None => drop(headers.insert(CONNECTION, HeaderValue::from_static("keep-alive"))),
            }
            headers.extend(request.headers.clone());
            sender.ready().await?;
            sender.send_request(message).await
        }
    }
}

async fn read(host: &str, body: Incoming) -> Result<Bytes, Failure> {
    let limit = usize::try_from(DECODED_LIMIT).unwrap_or(usize::MAX);
    match Limited::new(body, limit).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) => Err(match error.downcast_ref::<hyper::Error>() {
            Some(error) => Failure::http(host, error),
            None => Failure::new("http.too_long", format!("{host}: the body is longer than 64 MiB")),
        }),
    }
}

fn redirect_target(loaded: &Loaded) -> Option<String> {
    matches!(loaded.status.as_u16(), 301 | 302 | 303 | 307 | 308)
        .then(|| text(&loaded.headers, &LOCATION).to_owned())
        .filter(|target| !target.is_empty())
}

/// What Chrome accepts for each kind.
fn accept(kind: Kind, signed: bool) -> String {
    let mut field = match kind {
        Kind::Document => {
            "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8"
        }
        Kind::Style => "text/css,*/*;q=0.1",
        Kind::Image => "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8",
        Kind::Script | Kind::Call => "*/*",
    }
    .to_owned();
    if signed && kind == Kind::Document {
        field.push_str(",application/signed-exchange;v=b3;q=0.7");
    }
    field
}

pub(super) fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}
