//! The body of a message we send: bytes at hand, bytes made as they are sent, or another message's body passed on.
//!
//! What is passed on is gathered into pieces of 8 KiB, as nginx's proxy buffers do: sent on packet by packet it would
//! leave in packets that are a little too long for one segment and cost two.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use rt_base::{Nanos, Wait};

use crate::executor::BoxFuture;
use crate::net::Net;

/// Bytes gathered before they are passed on; the end passes on what is there.
const PIECE: usize = 8_192;

/// A body that was passed on.
pub(crate) struct Relayed {
    /// Bytes that went through.
    pub(crate) bytes: u64,
    /// Whether it came to its end.
    pub(crate) whole: bool,
    /// It was given up because nothing came for so long.
    pub(crate) silent: Option<Nanos>,
    /// All of it, if it was to be kept and is whole and not too long.
    pub(crate) kept: Option<Bytes>,
}

impl Relayed {
    /// How it ended, for the record.
    pub(crate) fn note(&self) -> String {
        match (self.whole, self.silent) {
            (true, _) => "passed on".to_owned(),
            (false, None) => "broke off".to_owned(),
            (false, Some(span)) => format!("nothing came for {span}: given up"),
        }
    }
}

/// Called once when a body that is passed on is over.
type OnEnd = Box<dyn FnOnce(Relayed) + Send>;

/// See the module.
#[derive(Default)]
pub(crate) struct Body(Kind);

#[derive(Default)]
enum Kind {
    #[default]
    Empty,
    Full(Bytes),
    Made(Made),
    Relay(Box<Relay>),
}

impl Body {
    /// `length` bytes that are the same for everybody: see [`made_byte`].
    pub(crate) fn made(length: u64) -> Body {
        Body(Kind::Made(Made { sent: 0, length }))
    }

    /// Passes `incoming` on, `at_once` or gathered, and keeps a copy if it is no longer than `keep`; `on_end` hears when it
    /// is over or given up, which it is when nothing comes for as long as `patience` says (nginx's `proxy_read_timeout`).
    pub(crate) fn relay(
        incoming: Incoming,
        keep: Option<u64>,
        at_once: bool,
        patience: Option<(Net, Nanos)>,
        on_end: impl FnOnce(Relayed) + Send + 'static,
    ) -> Body {
        Body(Kind::Relay(Box::new(Relay {
            piece: if at_once { 1 } else { PIECE },
            incoming,
            gathered: BytesMut::new(),
            last: None,
            passed: 0,
            kept: keep.map(|limit| (BytesMut::new(), limit)),
            whole: false,
            patience,
            timer: None,
            silent: None,
            on_end: Some(Box::new(on_end)),
        })))
    }
}

impl Body {
    /// Passes `incoming` on as it comes.
    pub(crate) fn at_once(incoming: Incoming) -> Body {
        Body::relay(incoming, None, true, None, |_| {})
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Body {
        Body(if bytes.is_empty() { Kind::Empty } else { Kind::Full(bytes) })
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if let Kind::Relay(relay) = &mut self.0 {
            return relay.poll(cx);
        }
        if let Kind::Made(made) = &mut self.0 {
            return Poll::Ready(made.next().map(|bytes| Ok(Frame::data(bytes))));
        }
        match std::mem::take(&mut self.0) {
            Kind::Full(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            _ => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Empty => true,
            Kind::Full(_) => false,
            Kind::Made(made) => made.sent == made.length,
            Kind::Relay(relay) => relay.is_over(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Made(made) => SizeHint::with_exact(made.length - made.sent),
            Kind::Relay(relay) => {
                let (hint, gathered) = (relay.incoming.size_hint(), relay.gathered.len() as u64);
                hint.exact().map_or_else(SizeHint::new, |rest| SizeHint::with_exact(rest + gathered))
            }
        }
    }
}

/// A long body of which only a piece is in memory at a time.
struct Made {
    sent: u64,
    length: u64,
}

/// Bytes made at a time.
const MADE_PIECE: u64 = 65_536;

impl Iterator for Made {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let end = self.length.min(self.sent + MADE_PIECE);
        let piece: BytesMut = (self.sent..end).map(made_byte).collect();
        self.sent = end;
        (!piece.is_empty()).then(|| piece.freeze())
    }
}

/// The byte at this place of a made body: the upper byte of the place times 2^32 over the golden ratio (Knuth's multiplicative hash), so
/// that no two neighbourhoods look alike and anybody can compute it again.
pub(crate) fn made_byte(at: u64) -> u8 {
    ((at as u32).wrapping_mul(0x9e37_79b1) >> 24) as u8
}

struct Relay {
    incoming: Incoming,
    /// Bytes that are gathered before they go on.
    piece: usize,
    /// Came, but is not passed on yet.
    gathered: BytesMut,
    /// What comes after that: trailers or an error.
    last: Option<io::Result<Frame<Bytes>>>,
    passed: u64,
    /// A copy of what was passed on, and the most bytes that it may have.
    kept: Option<(BytesMut, u64)>,
    whole: bool,
    /// How long the next part may take.
    patience: Option<(Net, Nanos)>,
    /// Runs while the next part is awaited.
    timer: Option<BoxFuture<()>>,
    silent: Option<Nanos>,
    on_end: Option<OnEnd>,
}

impl Relay {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        while self.gathered.len() < self.piece && self.last.is_none() && !self.incoming.is_end_stream() {
            let Poll::Ready(part) = Pin::new(&mut self.incoming).poll_frame(cx) else {
                std::task::ready!(self.wait(cx));
                break;
            };
            self.timer = None;
            match part {
                None => break,
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.gathered.extend_from_slice(&data),
                    Err(trailers) => self.last = Some(Ok(trailers)),
                },
                Some(Err(error)) => self.last = Some(Err(io::Error::other(error))),
            }
        }
        let piece = if self.gathered.is_empty() {
            self.last.take()
        } else {
            self.passed += self.gathered.len() as u64;
            self.keep();
            Some(Ok(Frame::data(self.gathered.split().freeze())))
        };
        let over = match &piece {
            None | Some(Err(_)) => true,
            // Trailers are the last thing (RFC 9110, 6.5).
            Some(Ok(frame)) => frame.is_trailers() || self.is_over(),
        };
        if over {
            self.whole = !matches!(piece, Some(Err(_)));
            self.end();
        }
        Poll::Ready(piece)
    }

    /// Waits for the next part, which is an error after too long; what was gathered goes on before it.
    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some((net, most)) = &self.patience else { return Poll::Pending };
        let most = *most;
        let timer = self.timer.get_or_insert_with(|| {
            let net = net.clone();
            Box::pin(async move { net.sleep(most, Wait::Timeout).await })
        });
        std::task::ready!(timer.as_mut().poll(cx));
        self.timer = None;
        self.silent = Some(most);
        self.last = Some(Err(io::Error::new(io::ErrorKind::TimedOut, format!("nothing came for {most}"))));
        Poll::Ready(())
    }

    fn keep(&mut self) {
        if let Some((copy, limit)) = &mut self.kept {
            if (copy.len() + self.gathered.len()) as u64 <= *limit {
                copy.extend_from_slice(&self.gathered);
            } else {
                self.kept = None;
            }
        }
    }

    fn is_over(&self) -> bool {
        self.gathered.is_empty() && self.last.is_none() && self.incoming.is_end_stream()
    }

    fn end(&mut self) {
        if let Some(on_end) = self.on_end.take() {
            let copy = self.kept.take().filter(|_| self.whole);
            let kept = copy.map(|(copy, _)| copy.freeze());
            on_end(Relayed { bytes: self.passed, whole: self.whole, silent: self.silent, kept });
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // hyper does not poll a body that says it is over from the start (length 0, HEAD, 304).
        self.whole |= self.is_over();
        self.end();
    }
}
