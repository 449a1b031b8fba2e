//! Bytes from one connection to another, both ways. Each way holds at most one piece besides the sockets' own buffers; when the
//! side that reads is slow, the side that writes is held back by its window.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::Poll;

use rt_base::{Nanos, Wait};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};

use super::Collect;
use crate::net::Net;

/// Bytes passed on in one go.
const PIECE: usize = 16_384;

type Way<'a> = Pin<Box<dyn Future<Output = io::Result<()>> + Send + 'a>>;

/// Until both ways have ended; an end is passed on as an end (a half close).
///
/// # Errors
/// A side broke.
pub(crate) async fn join<A, B>(net: &Net, near: A, far: B, collect: Option<Collect>) -> io::Result<()>
where
    A: AsyncRead + AsyncWrite + Unpin + Send,
    B: AsyncRead + AsyncWrite + Unpin + Send,
{
    let ((near_in, near_out), (far_in, far_out)) = (split(near), split(far));
    let (out, back): (Way<'_>, Way<'_>) =
        (Box::pin(pass(net, near_in, far_out, collect)), Box::pin(pass(net, far_in, near_out, collect)));
    let mut ways = [(out, false), (back, false)];
    poll_fn(|cx| {
        for (way, done) in &mut ways {
            if !*done && let Poll::Ready(end) = way.as_mut().poll(cx) {
                *done = true;
                end?;
            }
        }
        if ways.iter().all(|(_, done)| *done) { Poll::Ready(Ok(())) } else { Poll::Pending }
    })
    .await
}

async fn pass<R, W>(net: &Net, mut from: R, mut to: W, collect: Option<Collect>) -> io::Result<()>
where
    R: AsyncRead + Unpin + Send,
    W: AsyncWrite + Unpin + Send,
{
    let Collect { bytes, wait } = collect.unwrap_or(Collect { bytes: PIECE, wait: Nanos::ZERO });
    let mut piece = vec![0; bytes.max(1)];
    loop {
        let mut filled = from.read(&mut piece).await?;
        let mut ended = filled == 0;
        let until = net.now() + wait;
        while !ended && filled < piece.len() && until > net.now() {
            let left = until.since(net.now());
            match net.timeout(left, Wait::Collect, from.read(&mut piece[filled..])).await {
                Ok(more) => {
                    let more = more?;
                    ended = more == 0;
                    filled += more;
                }
                Err(_) => break,
            }
        }
        to.write_all(&piece[..filled]).await?;
        if ended {
            return to.shutdown().await;
        }
    }
}
