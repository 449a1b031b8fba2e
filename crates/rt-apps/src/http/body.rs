//! The body of a message we send: bytes at hand, or another message's body passed on as it comes.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body as _, Frame, Incoming, SizeHint};

/// Called once with the bytes that went through, and whether the body was whole.
type OnEnd = Box<dyn FnOnce(u64, bool) + Send>;

/// See the module.
#[derive(Default)]
pub(crate) struct Body(Kind);

#[derive(Default)]
enum Kind {
    #[default]
    Empty,
    Full(Bytes),
    Relay(Relay),
}

impl Body {
    /// Passes `incoming` on; `on_end` hears when it is over or given up.
    pub(crate) fn relay(incoming: Incoming, on_end: impl FnOnce(u64, bool) + Send + 'static) -> Body {
        Body(Kind::Relay(Relay { incoming, passed: 0, whole: false, on_end: Some(Box::new(on_end)) }))
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Body {
        Body(if bytes.is_empty() { Kind::Empty } else { Kind::Full(bytes) })
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if let Kind::Relay(relay) = &mut self.0 {
            return relay.poll(cx);
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
            Kind::Relay(relay) => relay.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Relay(relay) => relay.incoming.size_hint(),
        }
    }
}

struct Relay {
    incoming: Incoming,
    passed: u64,
    whole: bool,
    on_end: Option<OnEnd>,
}

impl Relay {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.incoming).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => self.passed += frame.data_ref().map_or(0, |data| data.len() as u64),
            Some(Err(_)) => {}
            None => self.whole = true,
        }
        if frame.is_none() || self.incoming.is_end_stream() {
            self.whole = !matches!(frame, Some(Err(_)));
            self.end();
        }
        Poll::Ready(frame)
    }

    fn end(&mut self) {
        if let Some(on_end) = self.on_end.take() {
            on_end(self.passed, self.whole);
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // hyper does not poll a body that says it is over from the start (length 0, HEAD, 304).
        self.whole |= self.incoming.is_end_stream();
        self.end();
    }
}
