//! A connection that runs: a [`Peer`] behind a lock, a pump between it and a stream, and channels as streams.
//!
//! A channel is a stream, and a connection runs over any stream: so a connection inside a channel of another one is nothing
//! special.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use rt_base::AppRecord;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::channel::{Channel, Kind, Request};
use super::keys::PublicKey;
use super::peer::{Event, Peer};
use super::transport::Fault;
use crate::net::Net;

/// Bytes that wait for the wire, beyond which nothing more is read: a peer that asks and does not listen has to wait.
const MOST_UNSENT: usize = 1 << 20;
/// Bytes read at a time.
const AT_ONCE: usize = 32 << 10;

/// A handle to a running connection; clones are the same one.
#[derive(Clone)]
pub(super) struct Conn(Arc<Mutex<Shared>>);

struct Shared {
    peer: Peer,
    waiting: Vec<Waker>,
    pump: Option<Waker>,
}

impl Conn {
    /// Runs `peer` over `stream` until either ends.
    pub(super) fn start<S>(net: &Net, peer: Peer, stream: S) -> Conn
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let conn = Conn(Arc::new(Mutex::new(Shared { peer, waiting: Vec::new(), pump: None })));
        drop(net.spawn(pump(net.clone(), conn.clone(), stream)));
        conn
    }

    fn lock<T>(&self, act: impl FnOnce(&mut Shared) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Does something to the peer; what it says goes out.
    pub(super) fn act<T>(&self, act: impl FnOnce(&mut Peer) -> T) -> T {
        let (value, pump) = self.lock(|shared| {
            let value = act(&mut shared.peer);
            let idle = shared.peer.transport.output.is_empty() && shared.peer.ended.is_none();
            (value, if idle { None } else { shared.pump.take() })
        });
        if let Some(pump) = pump {
            pump.wake();
        }
        value
    }

    /// Polls `look`; when there is nothing, waits for news.
    fn poll<T>(&self, cx: &Context<'_>, look: impl FnOnce(&mut Peer) -> Option<T>) -> Poll<T> {
        match self.act(look) {
            Some(value) => Poll::Ready(value),
            None => {
                self.lock(|shared| {
                    if !shared.waiting.iter().any(|w| w.will_wake(cx.waker())) {
                        shared.waiting.push(cx.waker().clone());
                    }
                });
                Poll::Pending
            }
        }
    }

    async fn when<T>(&self, mut look: impl FnMut(&mut Peer) -> Option<T>) -> T {
        poll_fn(|cx| self.poll(cx, &mut look)).await
    }

    /// The next event, or why there will be none.
    pub(super) async fn event(&self) -> Result<Event, Fault> {
        self.when(|peer| match peer.events.pop_front() {
            Some(event) => Some(Ok(event)),
            None => peer.ended.clone().map(Err),
        })
        .await
    }

    /// Waits until no channel is open.
    pub(super) async fn quiet(&self) {
        self.when(|peer| (peer.ended.is_some() || peer.is_quiet()).then_some(())).await;
    }

    /// Opens a channel.
    pub(super) async fn open(&self, kind: &Kind) -> Result<ChannelStream, (u32, String)> {
        let id = self.act(|peer| peer.open(kind));
        let stream = ChannelStream { conn: self.clone(), id };
        self.when(|peer| {
            if let Some(fault) = &peer.ended {
                return Some(Err((0, fault.text.clone())));
            }
            match peer.channel(id) {
                Some(Channel { refused: Some(why), .. }) => Some(Err(why.clone())),
                Some(Channel { theirs: Some(_), .. }) => Some(Ok(())),
                _ => None,
            }
        })
        .await?;
        Ok(stream)
    }

    /// A channel that the peer has asked for, as a stream.
    pub(super) fn accept(&self, id: u32) -> ChannelStream {
        self.act(|peer| peer.confirm(id));
        ChannelStream { conn: self.clone(), id }
    }

    /// The host key that the server showed.
    pub(super) fn host_key(&self) -> Option<PublicKey> {
        self.act(|peer| peer.transport.host_key)
    }

    /// Says goodbye (RFC 4253, 11.1: `SSH_DISCONNECT_BY_APPLICATION`).
    pub(super) fn leave(&self) {
        self.act(|peer| peer.end(Fault::new(11, "disconnected by user")));
    }

    fn news(&self) {
        for waker in self.lock(|shared| std::mem::take(&mut shared.waiting)) {
            waker.wake();
        }
    }
}

/// Carries bytes between the wire and the peer.
async fn pump<S>(net: Net, conn: Conn, mut stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut out = VecDeque::new();
    let mut space = vec![0; AT_ONCE];
    let carried: io::Result<()> = poll_fn(|cx| {
        loop {
            let (bytes, secrets, over) = conn.lock(|shared| {
                shared.pump = Some(cx.waker().clone());
                let transport = &mut shared.peer.transport;
                // What waits here counts as room taken only while it is there: one load at a time.
                let bytes = if out.is_empty() { std::mem::take(&mut transport.output) } else { Vec::new() };
                (bytes, std::mem::take(&mut transport.secrets), shared.peer.ended.is_some())
            });
            secrets.into_iter().for_each(|line| net.say(AppRecord::Secret { line }));
            let (said, held) = (!bytes.is_empty(), !out.is_empty());
            out.extend(bytes);
            while !out.is_empty() {
                match Pin::new(&mut stream).poll_write(cx, out.as_slices().0) {
                    Poll::Ready(Ok(n)) => drop(out.drain(..n)),
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => break,
                }
            }
            // Somebody may wait for room on the wire.
            if (said || held) && out.is_empty() {
                conn.news();
            }
            if over {
                return if out.is_empty() { Poll::Ready(Ok(())) } else { Poll::Pending };
            }
            if !out.is_empty() && conn.lock(|shared| shared.peer.transport.output.len()) > MOST_UNSENT {
                return Poll::Pending;
            }
            let mut buffer = ReadBuf::new(&mut space);
            match Pin::new(&mut stream).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => {
                    return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                }
                Poll::Ready(Ok(())) => {
                    conn.lock(|shared| shared.peer.feed(buffer.filled()));
                    conn.news();
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending if conn.lock(|shared| shared.peer.transport.output.is_empty()) => {
                    return Poll::Pending;
                }
                Poll::Pending => {}
            }
        }
    })
    .await;
    if let Err(error) = carried {
        let text = match error.kind() {
            io::ErrorKind::UnexpectedEof => "the peer closed the connection".to_owned(),
            _ => error.to_string(),
        };
        conn.lock(|shared| shared.peer.cut(&text));
    }
    let _ = poll_fn(|cx| Pin::new(&mut stream).poll_shutdown(cx)).await;
    conn.news();
}

/// A channel as a stream. Dropping it closes the channel.
pub(super) struct ChannelStream {
    conn: Conn,
    id: u32,
}

impl ChannelStream {
    /// Asks something about it and waits for the answer.
    pub(super) async fn request(&self, what: &Request) -> bool {
        self.conn.act(|peer| peer.request(self.id, what, true));
        self.conn
            .when(|peer| {
                let over = peer.ended.is_some();
                let channel = peer.channel(self.id)?;
                channel.replies.pop_front().or_else(|| (over || channel.closed_in).then_some(false))
            })
            .await
    }

    /// Says something about it that needs no answer.
    pub(super) fn tell(&self, what: &Request) {
        self.conn.act(|peer| peer.request(self.id, what, false));
    }

    /// Writes all of `data` beside the ordinary output.
    pub(super) async fn write_errors(&self, mut data: &[u8]) -> io::Result<()> {
        while !data.is_empty() {
            let n = self.conn.when(|peer| written(peer, self.id, data, true)).await?;
            data = &data[n..];
        }
        Ok(())
    }

    /// What came beside the ordinary output so far.
    pub(super) fn take_errors(&self) -> Vec<u8> {
        self.conn.act(|peer| {
            let errors = peer.channel(self.id).map_or_else(VecDeque::new, |c| std::mem::take(&mut c.errors));
            peer.taken(self.id, errors.len());
            errors.into()
        })
    }

    /// The program's exit status, if it has told one.
    pub(super) fn exit(&self) -> Option<u32> {
        self.conn.act(|peer| peer.channel(self.id).and_then(|c| c.exit))
    }

    /// Waits until the peer has closed it.
    pub(super) async fn closed(&self) {
        let id = self.id;
        self.conn
            .when(|peer| (peer.ended.is_some() || peer.channel(id).is_none_or(|c| c.closed_in)).then_some(()))
            .await;
    }
}

fn written(peer: &mut Peer, id: u32, data: &[u8], errors: bool) -> Option<io::Result<usize>> {
    if peer.ended.is_some() {
        return Some(Err(io::ErrorKind::BrokenPipe.into()));
    }
    match peer.write(id, data, errors) {
        None => Some(Err(io::ErrorKind::BrokenPipe.into())),
        Some(0) => None,
        Some(n) => Some(Ok(n)),
    }
}

impl Drop for ChannelStream {
    fn drop(&mut self) {
        self.conn.act(|peer| peer.release(self.id));
    }
}

impl AsyncRead for ChannelStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.conn.poll(cx, |peer| {
            let over = peer.ended.is_some();
            let Some(channel) = peer.channel(self.id) else { return Some(Ok(())) };
            let front = channel.input.as_slices().0;
            let n = front.len().min(buf.remaining());
            if n == 0 {
                return (over || channel.eof_in || buf.remaining() == 0).then_some(Ok(()));
            }
            buf.put_slice(&front[..n]);
            channel.input.drain(..n);
            peer.taken(self.id, n);
            Some(Ok(()))
        })
    }
}

impl AsyncWrite for ChannelStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        if data.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.conn.poll(cx, |peer| written(peer, self.id, data, false))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.conn.act(|peer| peer.eof(self.id));
        Poll::Ready(Ok(()))
    }
}
