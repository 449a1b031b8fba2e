//! Proxies that understand HTTP: a request arrives on one connection and goes on over another.
//!
//! Not for: answering requests by oneself ([`crate::server`]), connections that are passed on unread ([`crate::l4`]), what
//! a route or a circuit means ([`rt_rules::http`]).
//!
//! `edge` takes requests: route, gate (`gate`, `token`), rewriting (`headers`), then cache ([`crate::cached`], `cdn`) or upstream:
//! `fetch` tries until an upstream answers, `upgrade` joins connections for WebSocket, `pool` holds the connections to them, `watch` looks after who is in service.
//! Each decision that the bytes do not show is said as [`rt_base::AppRecord::ProxyStep`].
//!
//! Deliberate simplifications: request bodies are taken whole before they go on (nginx's default as well), gRPC's
//! excepted, which go as they come and are therefore never sent twice; with a cache, a client that goes away takes the
//! fetch with it, and those who wait for its response begin anew.

mod cdn;
mod edge;
mod fetch;
mod gate;
mod headers;
mod pool;
mod share;
mod token;
mod upgrade;
mod watch;

use http::header::HeaderName;

pub use cdn::CdnPlace;
pub use edge::{Edge, PoolConfig, Upstream, UpstreamTls};
pub(crate) use headers::{append, as_token, strip_hop_by_hop};
pub use token::sign as sign_token;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const SERVED_BY: HeaderName = HeaderName::from_static("x-served-by");
