//! Proxies that understand HTTP: a request arrives on one connection and goes on over another.
//!
//! Not for: answering requests by oneself ([`crate::server`]), connections that are passed on unread ([`crate::l4`]).
//! `edge` takes requests, `pool` holds the connections to upstream servers, `cached` and `cdn` do what CDNs do.

mod cached;
mod cdn;
mod edge;
mod pool;

pub use cdn::CdnPlace;
pub use edge::{Balance, Edge, ProxyOptions, Upstream, UpstreamTls};
