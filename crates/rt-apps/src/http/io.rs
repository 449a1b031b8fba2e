//! Any tokio stream as the I/O that hyper wants, and back again once hyper has let go of it.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::rt::ReadBufCursor;
use hyper::upgrade::Upgraded;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes read at once: a TLS record's worth.
const CHUNK: usize = 16_384;

thread_local! {
    /// The buffer of whoever reads just now: nothing in it outlives a read, so all connections can share it, and its bytes need
    /// not be zeroed again for each.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Wraps a stream. Reads go through a buffer of ours, because filling hyper's in place needs `unsafe`.
pub(crate) struct HyperIo<S> {
    stream: S,
}

impl<S> HyperIo<S> {
    pub(crate) fn new(stream: S) -> HyperIo<S> {
        HyperIo { stream }
    }

    /// The stream again: nothing is held back.
    pub(crate) fn into_inner(self) -> S {
        self.stream
    }
}

impl<S: AsyncRead + Unpin> hyper::rt::Read for HyperIo<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let mut scratch = SCRATCH.take();
        scratch.resize(CHUNK, 0);
        let room = cursor.remaining().min(CHUNK);
        let mut buf = ReadBuf::new(&mut scratch[..room]);
        let read = Pin::new(&mut self.get_mut().stream).poll_read(cx, &mut buf);
        if read.is_ready() {
            cursor.put_slice(buf.filled());
        }
        SCRATCH.set(scratch);
        read
    }
}

impl<S: AsyncWrite + Unpin> hyper::rt::Write for HyperIo<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let HyperIo { stream, .. } = &mut *self;
        ready!(Pin::new(stream).poll_shutdown(cx))?;
        Poll::Ready(Ok(()))
    }
}

/// A connection that speaks something else after a 101 or a CONNECT; what hyper had read too far comes first.
pub(crate) struct UpgradedIo(Upgraded);

impl From<Upgraded> for UpgradedIo {
    fn from(upgraded: Upgraded) -> UpgradedIo {
        UpgradedIo(upgraded)
    }
}

impl AsyncRead for UpgradedIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut own = hyper::rt::ReadBuf::new(buf.initialize_unfilled());
        ready!(hyper::rt::Read::poll_read(Pin::new(&mut self.0), cx, own.unfilled()))?;
        let filled = own.filled().len();
        buf.advance(filled);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for UpgradedIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        hyper::rt::Write::poll_write(Pin::new(&mut self.0), cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        hyper::rt::Write::poll_flush(Pin::new(&mut self.0), cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        hyper::rt::Write::poll_shutdown(Pin::new(&mut self.0), cx)
    }
}
