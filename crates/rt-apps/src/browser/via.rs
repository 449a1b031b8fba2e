//! The browser's way through a forward proxy: `http` is asked of it in absolute form, for `https` it is asked for a tunnel.

use http::header::{HOST, HeaderMap, HeaderName, PROXY_AUTHORIZATION, USER_AGENT};
use http::{Method, Request, StatusCode, Uri};
use hyper::client::conn::http1;

use super::failure::Failure;
use super::url::Origin;
use crate::forward::{Rewound, basic, matches};
use crate::http::{Body, HyperIo, Linger};
use crate::net::Net;
use crate::server::put;
use crate::socket::TcpStream;

/// What Chrome says to proxies beside `Connection`.
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const PROXY_STATUS: &str = "proxy-status";

/// A proxy that a browser is told to use.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BrowserProxy {
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// What the browser says without being asked (as curl does): name and password.
    pub credentials: Option<(String, String)>,
    /// Hosts that are asked directly: `intranet.example`, `.corp.example` (and all below it), `*`.
    pub except: Vec<String>,
}

impl BrowserProxy {
    /// Whether it is asked for connections to `host`.
    pub(crate) fn is_for(&self, host: &str) -> bool {
        !self.except.iter().any(|pattern| matches(pattern, host, None))
    }

    /// A tunnel through it, for another program of the same machine.
    ///
    /// # Errors
    /// What the proxy said instead.
    pub(crate) async fn tunnel(
        &self,
        net: &Net,
        stream: Linger<TcpStream>,
        agent: &str,
        (host, port): (&str, u16),
    ) -> Result<Rewound<Linger<TcpStream>>, String> {
        let via = Via { proxy: self.clone(), agent: agent.to_owned() };
        let origin = Origin { secure: true, host: host.to_owned(), port };
        via.tunnel(net, stream, &origin).await.map_err(|failure| failure.text)
    }
}

/// A proxy with what is said to it of the browser.
pub(super) struct Via {
    pub(super) proxy: BrowserProxy,
    pub(super) agent: String,
}

impl Via {
    /// Whether requests to `origin` go through it.
    pub(super) fn serves(&self, origin: &Origin) -> bool {
        self.proxy.is_for(&origin.host)
    }

    /// The proxy, as connections see it.
    pub(super) fn origin(&self) -> Origin {
        Origin { secure: false, host: self.proxy.host.clone(), port: self.proxy.port }
    }

    /// Fields for the proxy.
    pub(super) fn fields(&self, headers: &mut HeaderMap) {
        put(headers, PROXY_CONNECTION, "keep-alive");
        if let Some((user, password)) = &self.proxy.credentials {
            put(headers, PROXY_AUTHORIZATION, &format!("Basic {}", basic(user, password)));
        }
    }

    /// Asks for a tunnel to `origin` over a new connection to the proxy.
    ///
    /// # Errors
    /// What the proxy said instead.
    pub(super) async fn tunnel(
        &self,
        net: &Net,
        stream: Linger<TcpStream>,
        origin: &Origin,
    ) -> Result<Rewound<Linger<TcpStream>>, Failure> {
        let proxy = &self.proxy.host;
        let broken = |error: hyper::Error| Failure::http(proxy, &error);
        let mut builder = http1::Builder::new();
        let handshake = builder.title_case_headers(true).handshake(HyperIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(broken)?;
        drop(net.spawn(async move {
            let _ = connection.with_upgrades().await;
        }));
        let mut request = Request::new(Body::default());
        *request.method_mut() = Method::CONNECT;
        let target = if origin.host.contains(':') {
            format!("[{}]:{}", origin.host, origin.port)
        } else {
            format!("{}:{}", origin.host, origin.port)
        };
        *request.uri_mut() = target.parse().unwrap_or_else(|_| Uri::from_static("invalid:0"));
        let headers = request.headers_mut();
        put(headers, HOST, &target);
        self.fields(headers);
        put(headers, USER_AGENT, &self.agent);
        let response = sender.send_request(request).await.map_err(broken)?;
        let status = response.status();
        if !status.is_success() {
            let code = match status {
                StatusCode::PROXY_AUTHENTICATION_REQUIRED => "proxy.authentication",
                _ => "proxy.refused",
            };
            let said = response.headers().get(PROXY_STATUS).and_then(|value| value.to_str().ok());
            let why = said.and_then(|text| text.split("error=").nth(1)).map(|e| format!(" ({e})"));
            let text = format!("{proxy} opens no tunnel to {target}: {status}{}", why.unwrap_or_default());
            return Err(Failure::new(code, text));
        }
        let upgraded = hyper::upgrade::on(response).await.map_err(broken)?;
        let parts = upgraded.downcast::<HyperIo<Linger<TcpStream>>>();
        let parts =
            parts.map_err(|_| Failure::new("proxy.refused", format!("{proxy}: the tunnel is closed")))?;
        Ok(Rewound { first: parts.read_buf, stream: parts.io.into_inner() })
    }
}
