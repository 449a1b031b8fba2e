//! Web servers of the simulated internet: [`WebServer`] (pages, JSON, caching rules).
//!
//! Not for: TLS itself ([`crate::tls`]), sockets, or passing requests on ([`crate::proxy`]). `answer` decides what a
//! request gets, as a pure function; `serve` runs hyper over one connection; the app joins them with a listener.
//!
//! Deliberate simplifications, and how to notice them: no idle or header timeout for clients (a client that never closes
//! keeps its connection), no range requests (the whole file comes back with 200), request bodies of at most 1 MiB (the set `httpbin` reads any), and an
//! HTTP/1.1 client gets h2 never by Upgrade, only by ALPN.

mod answer;
mod built_in;
mod inspect;
mod log;
mod pages;
mod png;
mod recorded;
mod serve;
mod web;

pub use crate::http::IdleLimits;
pub(crate) use answer::{escape, page, put};
pub use pages::{PageFile, PageSet, Resource};
pub(crate) use serve::{Client, serve};
pub use web::{Site, Strict, WebServer};
pub(crate) use web::{collect, host_of, open, unread};

/// What a server says it is, unless its pages say otherwise.
pub(crate) const SERVER: &str = "roundtrip";
