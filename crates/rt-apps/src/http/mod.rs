//! What hyper needs to run on a simulated host, and the small shared parts of clients and servers.
//!
//! hyper's low-level connections ([`hyper::client::conn`], [`hyper::server::conn`]) run over [`HyperIo`] with
//! [`NetExecutor`]; pools and timeouts are ours (`browser`, `server`), because hyper-util's reach for a real runtime.
//! No timer is given to hyper: its keep-alive pings stay off and all timeouts are [`crate::Net::timeout`], so that every
//! wait has its reason in the record.
//!
//! Deliberate simplifications: no server push, no h2c, no CONNECT, no trailers made by us; HTTP/2 pseudo-headers go out
//! in h2's order (`:method :scheme :authority :path`), Chrome's is `:method :authority :scheme :path`.

mod begun;
mod body;
mod coding;
mod idle;
mod io;
mod linger;
mod through;

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

pub(crate) use begun::Begun;
pub(crate) use body::{Body, Relayed};
pub(crate) use coding::{Coding, DECODED_LIMIT, decode};
pub use idle::IdleLimits;
pub(crate) use idle::{Delays, IdleEnd, LateEnd};
pub(crate) use io::{HyperIo, UpgradedIo};
pub(crate) use linger::Linger;
pub(crate) use through::writes_through;

use crate::net::Net;

/// A date as HTTP writes it (RFC 9110, 5.6.7), from seconds since 1970; past the year 9999 its last second.
#[must_use]
pub(crate) fn date(unix: u64) -> String {
    const LAST: u64 = 253_402_300_799;
    httpdate::fmt_http_date(std::time::UNIX_EPOCH + std::time::Duration::from_secs(unix.min(LAST)))
}

/// Seconds since 1970 of a date as HTTP writes it (all three forms).
pub(crate) fn parse_date(text: &str) -> Option<u64> {
    let at = httpdate::parse_http_date(text).ok()?;
    at.duration_since(std::time::UNIX_EPOCH).ok().map(|span| span.as_secs())
}

/// Spawns what hyper wants to run on the side onto the host.
#[derive(Clone)]
pub(crate) struct NetExecutor(pub(crate) Net);

impl<F> hyper::rt::Executor<F> for NetExecutor
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.launch(future);
    }
}

/// Runs futures side by side in one task and gives their results in order.
pub(crate) async fn join_all<T>(futures: Vec<impl Future<Output = T> + Send>) -> Vec<T> {
    let mut running: Vec<_> = futures.into_iter().map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|cx: &mut Context<'_>| {
        let mut all = true;
        for (future, value) in &mut running {
            if value.is_none() {
                match Pin::new(future).poll(cx) {
                    Poll::Ready(done) => *value = Some(done),
                    Poll::Pending => all = false,
                }
            }
        }
        if all { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    running.into_iter().filter_map(|(_, value)| value).collect()
}
