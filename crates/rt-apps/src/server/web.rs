//! The web server app.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::HOST;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use rt_base::{AppRecord, Nanos, ReqId, Wait};

use super::answer::{answer, page};
use super::inspect;
use super::pages::PageSet;
use super::serve::{Client, serve};
use crate::http::{Body, IdleLimits};
use crate::names;
use crate::net::Net;
use crate::socket::TcpListener;
use crate::tls::{Identity, ServerTls, TlsHooks};
use crate::websocket::Doors;

/// Longest request body that is read, bytes.
pub(super) const BODY_LIMIT: usize = 1 << 20;

/// A web server, as configured.
#[derive(Clone, Debug)]
pub struct WebServer {
    /// TCP port.
    pub port: u16,
    /// Its certificates when it speaks TLS; the name asked for chooses one, else it is the first.
    pub identities: Vec<Identity>,
    /// Whether h2 is offered (over TLS only).
    pub http2: bool,
    /// What it serves to who asks for a host that is none of `sites`.
    pub pages: PageSet,
    /// What it serves by the host asked for.
    pub sites: Vec<Site>,
    /// What it does when a name is asked for that it has nothing for.
    pub strict: Strict,
    /// Time per request.
    pub think: Nanos,
    /// Takes connections and requests, and never answers.
    pub silent: bool,
    /// How long it keeps connections on which nothing happens.
    pub idle: IdleLimits,
    /// Paths where it speaks WebSocket, of whichever site.
    pub doors: Doors,
}

/// One of several sites at an address.
#[derive(Clone, Debug)]
pub struct Site {
    /// Its host names; the first label may be `*`.
    pub names: Vec<String>,
    /// What it serves.
    pub pages: PageSet,
}

/// Which names a server refuses; by default none, as nginx does: whoever asks for a name that it does not know gets the
/// first certificate and the default site.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Strict {
    /// A name in the handshake (SNI) that no certificate is for: the alert unrecognized_name.
    pub sni: bool,
    /// A host in a request that the certificate of its connection is not for: 421 Misdirected Request.
    pub host: bool,
}

impl WebServer {
    /// A plain server of one site that answers at once.
    #[must_use]
    pub fn new(port: u16, pages: PageSet) -> WebServer {
        WebServer {
            port,
            identities: Vec::new(),
            http2: false,
            pages,
            sites: Vec::new(),
            strict: Strict::default(),
            think: Nanos::ZERO,
            silent: false,
            idle: IdleLimits::default(),
            doors: Doors::default(),
        }
    }

    /// Listens and serves for ever.
    pub async fn run(self, net: Net) {
        let Some((listener, tls)) = open(&net, self.port, &self.identities, self.http2) else { return };
        let tls = if self.strict.sni { tls.map(ServerTls::refusing_unknown_names) } else { tls };
        let config = Arc::new(self);
        while let Ok((stream, _)) = listener.accept().await {
            let (net, config, tls) = (net.clone(), Arc::clone(&config), tls.clone());
            net.clone().launch(async move {
                let (host, config, idle) = (net.clone(), Arc::clone(&config), config.idle);
                let certificates = tls.clone();
                let handler = move |client: Client, ordinal, request: Request<Incoming>| {
                    let chosen = config.choose(client, certificates.as_ref(), &request);
                    if config.hosts_several() {
                        host.say(chosen.record(client.peer, ordinal));
                    }
                    respond(host.clone(), Arc::clone(&config), chosen, request)
                };
                serve(&net, stream, tls.as_ref(), idle, handler).await;
            });
        }
    }

    fn hosts_several(&self) -> bool {
        !self.sites.is_empty() || self.identities.len() > 1
    }

    /// What a request gets by the name that it is for.
    fn choose<B>(&self, client: Client, tls: Option<&ServerTls>, request: &Request<B>) -> Chosen {
        let host = asked(request);
        let site = names::choose(self.sites.iter().map(|site| &site.names[..]), host);
        let named = |site: &Site| site.names.iter().find(|name| names::covers(name, host)).cloned();
        let shown = if tls.is_some() { client.shown as u32 + 1 } else { 0 };
        Chosen {
            host: host.to_owned(),
            site,
            name: site.and_then(|index| named(&self.sites[index])),
            sites: self.sites.len() as u32 + 1,
            certificate: (shown, self.identities.len() as u32),
            misdirected: self.strict.host && tls.is_some_and(|tls| !tls.is_for(client.shown, host)),
        }
    }
}

/// The site that a request is for.
struct Chosen {
    host: String,
    /// Its index; the default one when `None`.
    site: Option<usize>,
    name: Option<String>,
    sites: u32,
    certificate: (u32, u32),
    misdirected: bool,
}

impl Chosen {
    fn record(&self, downstream: SocketAddr, downstream_ordinal: u32) -> AppRecord {
        AppRecord::ChoseSite {
            downstream,
            downstream_ordinal,
            host: self.host.clone(),
            site: self.name.clone(),
            sites: self.sites,
            certificate: self.certificate,
            misdirected: self.misdirected,
        }
    }
}

/// The host that a request is for, without port: of its `:authority`, absolute target or Host field (RFC 9110, 7.2).
pub(super) fn asked<B>(request: &Request<B>) -> &str {
    host_of(request.uri(), request.headers())
}

/// The same of a request's parts.
pub(crate) fn host_of<'a>(uri: &'a http::Uri, headers: &'a http::HeaderMap) -> &'a str {
    let field = || headers.get(HOST).and_then(|host| host.to_str().ok());
    let host = uri.authority().map(http::uri::Authority::as_str).or_else(field).unwrap_or_default();
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

/// Listens on `port`, with TLS when there is a certificate. A failure becomes a note in the record.
pub(crate) fn open(
    net: &Net,
    port: u16,
    identities: &[Identity],
    http2: bool,
) -> Option<(TcpListener, Option<ServerTls>)> {
    let complain = |text: String| {
        net.say(AppRecord::Note { req: ReqId(0), code: "http.listen".into(), text });
    };
    let alpn: &[&str] = if http2 { &["h2", "http/1.1"] } else { &["http/1.1"] };
    let tls = if identities.is_empty() {
        None
    } else {
        let mut rng = net.rng("tls.ticket-key");
        match ServerTls::new(TlsHooks::of(net), identities, alpn, &mut rng) {
            Ok(tls) => Some(tls),
            Err(error) => {
                complain(format!("no TLS on port {port}: {error}"));
                return None;
            }
        }
    };
    match net.tcp_listen(port) {
        Ok(listener) => Some((listener, tls)),
        Err(error) => {
            complain(format!("cannot listen on port {port}: {error}"));
            None
        }
    }
}

/// Takes the whole body, or the answer that it is too long or broken.
pub(crate) async fn collect(body: Incoming) -> Result<Bytes, Response<Body>> {
    let too_large = || page(StatusCode::PAYLOAD_TOO_LARGE, "This server reads bodies of at most 1 MiB.");
    // Said at once when the length is told beforehand.
    if hyper::body::Body::size_hint(&body).lower() > BODY_LIMIT as u64 {
        return Err(too_large());
    }
    match Limited::new(body, BODY_LIMIT).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => Err(too_large()),
        Err(_) => Err(page(StatusCode::BAD_REQUEST, "The body broke off.")),
    }
}

/// Why [`collect`] answered so, in words.
pub(crate) fn unread(refusal: &Response<Body>) -> &'static str {
    match refusal.status() {
        StatusCode::PAYLOAD_TOO_LARGE => "it takes bodies of at most 1 MiB",
        _ => "the body broke off",
    }
}

async fn respond(
    net: Net,
    config: Arc<WebServer>,
    chosen: Chosen,
    request: Request<Incoming>,
) -> Response<Body> {
    if config.silent {
        return std::future::pending().await;
    }
    if chosen.misdirected {
        //= rfc9110#section-15.5.20 a request for an origin that this connection cannot speak for
        net.sleep(config.think, Wait::ServerThink).await;
        return page(
            StatusCode::MISDIRECTED_REQUEST,
            "The certificate of this connection is not for the host that was asked for.",
        );
    }
    if config.doors.has(request.uri().path()) {
        net.sleep(config.think, Wait::ServerThink).await;
        return config.doors.open(&net, request);
    }
    let pages = chosen.site.map_or(&config.pages, |index| &config.sites[index].pages);
    let (parts, body) = request.into_parts();
    if pages.inspects && inspect::is_call(&parts) {
        return Box::pin(inspect::answer(&net, &parts, body, config.think)).await;
    }
    let body = match collect(body).await {
        Ok(body) => body,
        Err(refusal) => return refusal,
    };
    net.sleep(config.think, Wait::ServerThink).await;
    answer(pages, &parts, &body, net.unix_time())
}
