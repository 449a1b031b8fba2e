//! Streams with a sense of time: one that ends when nothing has come for long (a server's keep-alive timeout), and one
//! that notices its peer's end late (a browser that looks at its idle connections now and then).

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use rt_base::{Nanos, Wait};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::writes_through;
use crate::executor::BoxFuture;
use crate::net::Net;

/// How long a server keeps a connection on which nothing happens; `None` for ever.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct IdleLimits {
    /// Nothing was ever asked on it.
    pub unused: Option<Nanos>,
    /// Since the last byte.
    pub used: Option<Nanos>,
}

/// Says "end" by itself when nothing has come for the limit.
pub(crate) struct IdleEnd<S> {
    stream: S,
    net: Net,
    limits: IdleLimits,
    used: bool,
    timer: Option<BoxFuture<()>>,
}

impl<S> IdleEnd<S> {
    pub(crate) fn new(net: &Net, stream: S, limits: IdleLimits) -> IdleEnd<S> {
        IdleEnd { stream, net: net.clone(), limits, used: false, timer: None }
    }

    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(limit) = (if self.used { self.limits.used } else { self.limits.unused }) else {
            return false;
        };
        let net = &self.net;
        let timer = self.timer.get_or_insert_with(|| {
            let net = net.clone();
            Box::pin(async move { net.sleep(limit, Wait::Housekeeping).await })
        });
        timer.as_mut().poll(cx).is_ready()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for IdleEnd<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_read(cx, buf) {
            Poll::Pending if self.is_over(cx) => Poll::Ready(Ok(())),
            Poll::Pending => Poll::Pending,
            ready => {
                (self.used, self.timer) = (true, None);
                ready
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for IdleEnd<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        // Whoever writes may not read again before it is woken: the timer must run from here.
        self.timer = None;
        let _ = self.is_over(cx);
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// How late each end is noticed, in the order of the ends; the last holds for all that follow.
pub(crate) type Delays = Arc<Mutex<VecDeque<Nanos>>>;

/// Notices its peer's end late.
pub(crate) struct LateEnd<S> {
    stream: S,
    net: Net,
    delays: Delays,
    timer: Option<BoxFuture<()>>,
}

impl<S> LateEnd<S> {
    pub(crate) fn new(net: &Net, stream: S, delays: &Delays) -> LateEnd<S> {
        LateEnd { stream, net: net.clone(), delays: Arc::clone(delays), timer: None }
    }

    fn next_delay(&self) -> Nanos {
        let mut delays = self.delays.lock().unwrap_or_else(PoisonError::into_inner);
        if delays.len() > 1 { delays.pop_front() } else { delays.front().copied() }.unwrap_or(Nanos::ZERO)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for LateEnd<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(timer) = &mut self.timer {
            return timer.as_mut().poll(cx).map(Ok);
        }
        let before = buf.filled().len();
        match Pin::new(&mut self.stream).poll_read(cx, buf) {
            Poll::Ready(Ok(())) if buf.filled().len() == before => {
                let (net, delay) = (self.net.clone(), self.next_delay());
                let mut timer: BoxFuture<()> =
                    Box::pin(async move { net.sleep(delay, Wait::Housekeeping).await });
                let noticed = timer.as_mut().poll(cx);
                self.timer = Some(timer);
                noticed.map(Ok)
            }
            other => other,
        }
    }
}

writes_through!(LateEnd<S>);
