//! Ends a TCP connection as a polite program does: FIN, then read until the peer's FIN, and only then let go.
//!
//! hyper and rustls drop their stream as soon as they have said goodbye themselves. Dropped then, a socket answers the
//! peer's own goodbye (its close_notify) with RST. [`Linger`] sits between them and the socket, and when it is dropped a
//! task of the host does the rest.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use rt_base::{Nanos, Wait};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

use crate::net::Net;

/// How long the peer's FIN is waited for.
const PATIENCE: Nanos = Nanos::from_secs(10);

/// A stream that lingers when dropped.
pub(crate) struct Linger<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> {
    stream: Option<S>,
    net: Net,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Linger<S> {
    pub(crate) fn new(net: &Net, stream: S) -> Linger<S> {
        Linger { stream: Some(stream), net: net.clone() }
    }

    fn stream(&mut self) -> Pin<&mut S> {
        Pin::new(self.stream.as_mut().expect("invariant: the stream is only taken in drop"))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Drop for Linger<S> {
    fn drop(&mut self) {
        let Some(mut stream) = self.stream.take() else { return };
        let net = self.net.clone();
        let farewell = async move {
            let drain = async {
                if stream.shutdown().await.is_err() {
                    return;
                }
                let mut rest = [0; 2048];
                while stream.read(&mut rest).await.is_ok_and(|n| n > 0) {}
            };
            let _ = net.timeout(PATIENCE, Wait::Housekeeping, drain).await;
            drop(stream);
        };
        drop(self.net.spawn(farewell));
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> AsyncRead for Linger<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream().poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> AsyncWrite for Linger<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.stream().poll_write(cx, data)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream().poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_shutdown(cx)
    }
}
