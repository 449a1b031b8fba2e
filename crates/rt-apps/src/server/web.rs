//! The web server app.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use rt_base::{AppRecord, Nanos, ReqId, Wait};

use super::answer::{answer, page};
use super::inspect;
use super::pages::PageSet;
use super::serve::serve;
use crate::http::{Body, IdleLimits};
use crate::net::Net;
use crate::socket::TcpListener;
use crate::tls::{Identity, ServerTls, TlsHooks};

/// Longest request body that is read, bytes.
pub(super) const BODY_LIMIT: usize = 1 << 20;

/// A web server, as configured.
#[derive(Clone, Debug)]
pub struct WebServer {
    /// TCP port.
    pub port: u16,
    /// Its certificate when it speaks TLS.
    pub identity: Option<Identity>,
    /// Whether h2 is offered (over TLS only).
    pub http2: bool,
    /// What it serves.
    pub pages: PageSet,
    /// Time per request.
    pub think: Nanos,
    /// Takes connections and requests, and never answers.
    pub silent: bool,
    /// How long it keeps connections on which nothing happens.
    pub idle: IdleLimits,
}

impl WebServer {
    /// Listens and serves for ever.
    pub async fn run(self, net: Net) {
        let Some((listener, tls)) = open(&net, self.port, self.identity.as_ref(), self.http2) else { return };
        let config = Arc::new(self);
        while let Ok((stream, _)) = listener.accept().await {
            let (net, config, tls) = (net.clone(), Arc::clone(&config), tls.clone());
            drop(net.clone().spawn(async move {
                let (host, config, idle) = (net.clone(), Arc::clone(&config), config.idle);
                let handler = move |_, _, request| respond(host.clone(), Arc::clone(&config), request);
                serve(&net, stream, tls.as_ref(), idle, handler).await;
            }));
        }
    }
}

/// Listens on `port`, with TLS when there is a certificate. A failure becomes a note in the record.
pub(crate) fn open(
    net: &Net,
    port: u16,
    identity: Option<&Identity>,
    http2: bool,
) -> Option<(TcpListener, Option<ServerTls>)> {
    let complain = |text: String| {
        net.say(AppRecord::Note { req: ReqId(0), code: "http.listen".into(), text });
    };
    let alpn: &[&str] = if http2 { &["h2", "http/1.1"] } else { &["http/1.1"] };
    let tls = match identity {
        None => None,
        Some(identity) => {
            let mut rng = net.rng("tls.ticket-key");
            match ServerTls::new(TlsHooks::of(net), identity, alpn, &mut rng) {
                Ok(tls) => Some(tls),
                Err(error) => {
                    complain(format!("no TLS on port {port}: {error}"));
                    return None;
                }
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

async fn respond(net: Net, config: Arc<WebServer>, request: Request<Incoming>) -> Response<Body> {
    if config.silent {
        return std::future::pending().await;
    }
    let (parts, body) = request.into_parts();
    if config.pages.inspects && inspect::is_call(&parts) {
        return inspect::answer(&net, &parts, body, config.think).await;
    }
    let body = match collect(body).await {
        Ok(body) => body,
        Err(refusal) => return refusal,
    };
    net.sleep(config.think, Wait::ServerThink).await;
    answer(&config.pages, &parts, &body, net.unix_time())
}
