//! Where bytes were seen: the frame and the time, for single bytes and for ranges of a stream.

use rt_base::{FrameId, Time};
use serde::{Deserialize, Serialize};

/// A frame and the time at which it was seen at this node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
pub struct Mark {
    /// When: offered to the link when it left, last bit there when it came.
    pub at: Time,
    /// Which frame; `NONE` in foreign captures.
    pub frame: FrameId,
}

/// Which end of a conversation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// The end that opened it.
    Client,
    /// The other end.
    Server,
}

impl Side {
    /// The other end.
    #[must_use]
    pub fn other(self) -> Side {
        match self {
            Side::Client => Side::Server,
            Side::Server => Side::Client,
        }
    }

    pub(crate) fn index(self) -> usize {
        match self {
            Side::Client => 0,
            Side::Server => 1,
        }
    }
}

/// A range of one direction of a TCP connection (or one datagram) and the frames that carried it.
///
/// What was sealed in TLS records has the range of those records: a record can only be read when its last byte is
/// there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Span {
    /// Offset of the first byte in the direction's stream (0 is the first byte after the SYN); 0 for datagrams.
    pub start: u64,
    /// Offset just after the last byte.
    pub end: u64,
    /// The frame that first carried the first byte.
    pub first: Mark,
    /// The frame that first carried the last byte.
    pub last: Mark,
    /// The frame that made all bytes up to the end readable in order; later than `last` when an earlier hole was
    /// filled afterwards.
    pub readable: Mark,
}

impl Span {
    /// The span of one datagram or of a piece that one frame carried and that was readable at once.
    #[must_use]
    pub fn of_frame(start: u64, len: u64, mark: Mark) -> Span {
        Span { start, end: start.saturating_add(len), first: mark, last: mark, readable: mark }
    }

    /// From the start of `self` to the end of `later`.
    #[must_use]
    pub fn to(self, later: Span) -> Span {
        Span {
            start: self.start,
            end: later.end,
            first: self.first,
            last: later.last,
            readable: later.readable,
        }
    }

    /// Bytes on the wire.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// Whether it holds no byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Maps offsets of a derived stream (plaintext, or the TCP stream itself) back to spans: pieces in order, look-up by
/// binary search.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origins {
    /// (offset just after the piece, span that carried it).
    pieces: Vec<(u64, Span)>,
}

impl Origins {
    /// Appends a piece of `len` bytes carried by `span`.
    pub(crate) fn push(&mut self, len: u64, span: Span) {
        if len > 0 {
            let end = self.len() + len;
            self.pieces.push((end, span));
        }
    }

    /// Bytes so far.
    pub(crate) fn len(&self) -> u64 {
        self.pieces.last().map_or(0, |p| p.0)
    }

    /// The span of `start..end` (clipped to what is there); an empty range takes the piece around `start`.
    pub(crate) fn span(&self, start: u64, end: u64) -> Span {
        let (Some(first), Some(last)) = (self.piece(start), self.piece(end.saturating_sub(1).max(start)))
        else {
            return self.pieces.last().map_or_else(Span::default, |p| p.1);
        };
        let mut span = first.1.to(last.1);
        // Where the piece is the wire's own bytes (no record around it) the offsets can be exact.
        span.start = first.1.start + first.1.exact(start.saturating_sub(first.0), first.2).unwrap_or(0);
        if let Some(inner) = last.1.exact(end.saturating_sub(last.0), last.2) {
            span.end = last.1.start + inner;
        }
        span
    }

    /// (offset of the piece's first byte, its span, its length) of the piece that holds `offset`.
    fn piece(&self, offset: u64) -> Option<(u64, Span, u64)> {
        let i = self.pieces.partition_point(|p| p.0 <= offset);
        let (end, span) = *self.pieces.get(i)?;
        let start = if i == 0 { 0 } else { self.pieces[i - 1].0 };
        Some((start, span, end - start))
    }
}

impl Span {
    /// `inner` when a piece of `len` bytes lies in this span byte for byte.
    fn exact(&self, inner: u64, len: u64) -> Option<u64> {
        (self.len() == len && inner <= len).then_some(inner)
    }
}
