//! Web servers of the simulated internet: [`WebServer`] (pages, JSON, caching rules) and [`Edge`] (a balancer that
//! terminates TLS and passes requests on to web servers).
//!
//! Not for: TLS itself ([`crate::tls`]) or sockets. `answer` decides what a request gets, as a pure function; `serve`
//! runs hyper over one connection; the two apps join them with a listener.
//!
//! Deliberate simplifications, and how to notice them: no idle or header timeout for clients (a client that never closes
//! keeps its connection), no range requests (the whole file comes back with 200), request bodies of at most 1 MiB (the set `httpbin` reads any), and an
//! HTTP/1.1 client gets h2 never by Upgrade, only by ALPN.

mod answer;
mod built_in;
mod cached;
mod cdn;
mod edge;
mod inspect;
mod pages;
mod png;
mod recorded;
mod serve;
mod upstream;
mod web;

pub use crate::http::IdleLimits;
pub use cdn::CdnPlace;
pub use edge::{Balance, Edge, ProxyOptions, Upstream, UpstreamTls};
pub use pages::{PageSet, Resource};
pub use web::WebServer;

/// What a server says it is, unless its pages say otherwise.
const SERVER: &str = "roundtrip";
