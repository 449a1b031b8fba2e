//! Bytes from one stream to another and back, until the inner one has said all.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

const AT_ONCE: usize = 16 << 10;

/// One direction.
struct Way {
    held: Vec<u8>,
    sent: usize,
    ended: bool,
    shut: bool,
}

impl Way {
    fn new() -> Way {
        Way { held: Vec::new(), sent: 0, ended: false, shut: false }
    }

    /// Carries what can be carried; ready when `from` has ended and everything is with `to`, or something broke.
    fn carry<R, W>(&mut self, cx: &mut Context<'_>, from: &mut R, to: &mut W) -> Poll<()>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        loop {
            while self.sent < self.held.len() {
                match Pin::new(&mut *to).poll_write(cx, &self.held[self.sent..]) {
                    Poll::Ready(Ok(n)) if n > 0 => self.sent += n,
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(_) => return Poll::Ready(()),
                }
            }
            self.held.clear();
            self.sent = 0;
            if self.ended {
                if !self.shut {
                    self.shut = true;
                    let _ = Pin::new(&mut *to).poll_shutdown(cx);
                }
                return Poll::Ready(());
            }
            let mut space = [0; AT_ONCE];
            let mut buffer = ReadBuf::new(&mut space);
            match Pin::new(&mut *from).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => self.held.extend(buffer.filled()),
                Poll::Pending => return Poll::Pending,
                Poll::Ready(_) => self.ended = true,
            }
        }
    }
}

/// Carries until `inner` has ended and `outer` has all of it. That `outer` has ended is told to `inner`, and no more.
pub(super) async fn relay<A, B>(outer: &mut A, inner: &mut B)
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let (mut down, mut up) = (Way::new(), Way::new());
    poll_fn(|cx| {
        let _ = down.carry(cx, outer, inner);
        // The end of the inner one is the program's end: the outer one is only told by whoever owns it.
        up.shut = true;
        up.carry(cx, inner, outer)
    })
    .await;
}

/// Carries until both have ended.
pub(super) async fn join<A, B>(one: &mut A, other: &mut B)
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let (mut there, mut back) = (Way::new(), Way::new());
    poll_fn(|cx| {
        let there = there.carry(cx, one, other);
        let back = back.carry(cx, other, one);
        if there.is_ready() && back.is_ready() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}
