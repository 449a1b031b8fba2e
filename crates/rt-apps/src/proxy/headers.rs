//! Fields on their way through a proxy.

use bytes::Bytes;
use http::header::{CONNECTION, COOKIE, FORWARDED, HOST, HeaderName, HeaderValue, TE, VIA};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, Request, Uri, Version};
use rt_rules::http::{Forwarding, Rewrite};

use super::{FORWARDED_FOR, FORWARDED_PROTO};
use crate::http::Body;
use crate::server::{Client, put};

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

/// What a request gets on its way to an upstream.
#[derive(Clone, Copy)]
pub(super) struct Dress<'a> {
    /// The proxy's name.
    pub(super) proxy: &'a str,
    pub(super) client: Client,
    pub(super) forwarding: Forwarding,
    /// How the upstream is spoken to.
    pub(super) http2: bool,
    pub(super) secure: bool,
}

impl Dress<'_> {
    /// The request as the upstream gets it, with what the proxy knows of the client.
    pub(super) fn request(self, parts: &Parts, body: Body) -> Request<Body> {
        let mut headers = HeaderMap::with_capacity(parts.headers.len() + 4);
        let authority = parts.uri.authority().and_then(|name| HeaderValue::from_str(name.as_str()).ok());
        let host = authority.or_else(|| parts.headers.get(HOST).cloned());
        // RFC 9110, 7.2: Host first. RFC 9113, 8.3.1: h2 has :authority in its place.
        if let Some(host) = host.clone().filter(|_| !self.http2) {
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
        let trailers = headers.get(TE).is_some_and(|te| te == "trailers");
        strip_hop_by_hop(&mut headers);
        if trailers && self.http2 {
            // RFC 9113, 8.2.2: the one value that h2 knows; gRPC asks for it.
            put(&mut headers, TE, "trailers");
        }
        let version = if parts.version == Version::HTTP_2 { "2.0" } else { "1.1" };
        append(&mut headers, VIA, &format!("{version} {}", self.proxy), ", ");
        self.forward(&mut headers, host.as_ref());
        let target = parts.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        let mut request = Request::new(body);
        *request.method_mut() = parts.method.clone();
        *request.uri_mut() = self.uri(target, host);
        *request.version_mut() = if self.http2 { Version::HTTP_2 } else { Version::HTTP_11 };
        *request.headers_mut() = headers;
        request
    }

    fn uri(self, target: PathAndQuery, host: Option<HeaderValue>) -> Uri {
        let plain = Uri::from(target.clone());
        let Some(host) = host.filter(|_| self.http2) else { return plain };
        let Ok(host) = host.to_str().unwrap_or_default().parse::<http::uri::Authority>() else {
            return plain;
        };
        let scheme = if self.secure { "https" } else { "http" };
        Uri::builder().scheme(scheme).authority(host).path_and_query(target).build().unwrap_or(plain)
    }

    /// Tells who asks.
    fn forward(self, headers: &mut HeaderMap, host: Option<&HeaderValue>) {
        let (peer, proto) = (self.client.peer.ip(), if self.client.tls { "https" } else { "http" });
        if matches!(self.forwarding, Forwarding::XForwarded | Forwarding::Both) {
            append(headers, FORWARDED_FOR, &peer.to_string(), ", ");
            put(headers, FORWARDED_PROTO, proto);
        }
        if matches!(self.forwarding, Forwarding::Forwarded | Forwarding::Both) {
            // RFC 7239, 6: an IPv6 address stands in brackets and quotes, a host with a port in quotes.
            let peer = if peer.is_ipv6() { format!("\"[{peer}]\"") } else { peer.to_string() };
            let mut element = format!("for={peer};proto={proto}");
            if let Some(host) = host.and_then(|host| host.to_str().ok()) {
                let quote = if host.contains(':') { "\"" } else { "" };
                element += &format!(";host={quote}{host}{quote}");
            }
            append(headers, FORWARDED, &format!("{element};by=_{}", as_token(self.proxy)), ", ");
        }
    }
}

/// A name as a token (RFC 9110, 5.6.2) that may also stand for an obfuscated node (RFC 7239, 6.3).
pub(crate) fn as_token(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' }).collect()
}

/// A route's changes to a request.
pub(super) fn rewrite(parts: &mut Parts, rules: &Rewrite) {
    let old = parts.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    let mut path = old.path().to_owned();
    if let Some(strip) = &rules.strip {
        let rest = path.strip_prefix(strip.trim_end_matches('/')).map(str::to_owned);
        path = rest.filter(|rest| rest.is_empty() || rest.starts_with('/')).unwrap_or(path);
    }
    if let Some(prefix) = &rules.prefix {
        path = format!("{}{path}", prefix.trim_end_matches('/'));
    }
    if !path.starts_with('/') {
        path.insert(0, '/');
    }
    let target = old.query().map_or(path.clone(), |query| format!("{path}?{query}"));
    let mut uri = parts.uri.clone().into_parts();
    if let Ok(target) = target.parse() {
        uri.path_and_query = Some(target);
    }
    if let Some(host) = &rules.host {
        put(&mut parts.headers, HOST, host);
        if uri.authority.is_some() {
            uri.authority = host.parse().ok().or(uri.authority);
        }
    }
    parts.uri = Uri::from_parts(uri).unwrap_or_else(|_| parts.uri.clone());
    change(&mut parts.headers, &rules.set, &rules.remove);
}

/// Sets and removes fields. A name that no field may have changes nothing.
pub(super) fn change(headers: &mut HeaderMap, set: &[(String, String)], remove: &[String]) {
    for name in remove {
        headers.remove(name.as_str());
    }
    for (name, value) in set {
        if let Ok(name) = name.parse::<HeaderName>() {
            put(headers, name, value);
        }
    }
}

/// A response's fields on their way to the client.
pub(super) fn dress_response(headers: &mut HeaderMap, proxy: &str) {
    strip_hop_by_hop(headers);
    append(headers, VIA, &format!("1.1 {proxy}"), ", ");
}

pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) {
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
pub(crate) fn append(headers: &mut HeaderMap, name: HeaderName, value: &str, separator: &str) {
    let whole = match headers.get(&name).and_then(|before| before.to_str().ok()) {
        Some(before) => format!("{before}{separator}{value}"),
        None => value.to_owned(),
    };
    put(headers, name, &whole);
}

/// What goes up with a request.
pub(super) enum Payload {
    /// All of it, as often as it is needed.
    Whole(Bytes),
    /// As it comes, once.
    Stream(Option<hyper::body::Incoming>),
}

impl Payload {
    /// For one try; `None` when it was used up by the one before.
    pub(super) fn take(&mut self) -> Option<Body> {
        match self {
            Payload::Whole(bytes) => Some(Body::from(bytes.clone())),
            Payload::Stream(body) => body.take().map(Body::at_once),
        }
    }
}
