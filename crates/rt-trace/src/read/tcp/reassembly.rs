//! One direction of a TCP connection put in order: 64-bit stream offsets from the SYN, each piece with the frame that
//! carried it and the frame that made it readable.
//!
//! Bounded: bytes beyond a hole are held up to a limit, then refused (and counted as implausible). Of delivered bytes
//! only the last [`RECENT`] are kept, to notice a retransmission that says something else.

use std::collections::BTreeMap;

use super::SegmentKind;
use crate::read::{Mark, Span};

/// Delivered bytes kept to compare retransmissions with.
const RECENT: usize = 64 << 10;
/// A distance that no window allows (RFC 7323 2.3: windows stay below 2^30).
const FAR: i64 = 1 << 30;

/// One direction.
#[derive(Debug, Default)]
pub(crate) struct Reassembler {
    /// Sequence number of the first byte of the stream.
    base: Option<u32>,
    /// Offset of the next byte to deliver.
    next: u64,
    /// Pieces beyond a hole, by offset; they do not overlap.
    held: BTreeMap<u64, Held>,
    held_bytes: usize,
    /// The last bytes delivered.
    recent: Vec<u8>,
    /// Offset just after the last byte, once a FIN was seen.
    end: Option<u64>,
}

#[derive(Debug)]
struct Held {
    bytes: Vec<u8>,
    mark: Mark,
}

/// What became of one segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Placed {
    pub(crate) offset: u64,
    pub(crate) kind: SegmentKind,
    pub(crate) repeated: u64,
    pub(crate) conflicting: u64,
}

impl Reassembler {
    /// The SYN fixes where the stream starts. A later SYN with the same number changes nothing.
    pub(crate) fn on_syn(&mut self, seq: u32) {
        if self.base.is_none() {
            self.base = Some(seq.wrapping_add(1));
        }
    }

    /// Whether the start of the stream is known.
    pub(crate) fn synced(&self) -> bool {
        self.base.is_some()
    }

    /// Bytes delivered.
    pub(crate) fn delivered(&self) -> u64 {
        self.next
    }

    /// Bytes held beyond a hole.
    pub(crate) fn beyond_hole(&self) -> u64 {
        self.held_bytes as u64
    }

    /// Whether the FIN has been reached in order.
    pub(crate) fn ended(&self) -> bool {
        self.end.is_some_and(|end| end <= self.next)
    }

    /// The stream offset of `seq`, or `None` when it lies before the stream or too far away.
    pub(crate) fn offset_of(&mut self, seq: u32) -> Option<u64> {
        let base = *self.base.get_or_insert(seq);
        let expected = base.wrapping_add(self.next as u32);
        let delta = i64::from(seq.wrapping_sub(expected) as i32);
        if delta.abs() > FAR {
            return None;
        }
        self.next.checked_add_signed(delta)
    }

    /// A FIN after `offset`.
    pub(crate) fn on_fin(&mut self, offset: u64) {
        self.end.get_or_insert(offset);
    }

    /// Takes the payload of a segment; calls `deliver` with each piece that is in order now.
    pub(crate) fn push(
        &mut self,
        seq: u32,
        payload: &[u8],
        mark: Mark,
        limit: usize,
        deliver: &mut dyn FnMut(&[u8], Span),
    ) -> Placed {
        let implausible = Placed { offset: 0, kind: SegmentKind::Implausible, repeated: 0, conflicting: 0 };
        let base_known = self.base.is_some();
        let Some(offset) = self.offset_of(seq) else {
            // A keepalive probe repeats the byte before the stream (RFC 9293 3.8.4).
            let before = base_known && self.next <= 1 && payload.len() <= 1;
            let kind = if before { SegmentKind::Repeated } else { SegmentKind::Implausible };
            return Placed { kind, repeated: if before { payload.len() as u64 } else { 0 }, ..implausible };
        };
        if offset.checked_add(payload.len() as u64).is_none() {
            return implausible;
        }
        if offset > self.next {
            return self.hold(offset, payload, mark, limit);
        }
        let old = usize::try_from(self.next - offset).unwrap_or(usize::MAX).min(payload.len());
        let conflicting = self.conflicts(offset, &payload[..old]);
        let fresh = &payload[old..];
        let had_hole = !self.held.is_empty();
        let kind = match (old > 0, fresh.is_empty(), had_hole) {
            (_, true, _) => SegmentKind::Repeated,
            (true, false, _) => SegmentKind::Overlap,
            (false, false, true) => SegmentKind::FillsHole,
            (false, false, false) => SegmentKind::InOrder,
        };
        let mut repeated = old as u64;
        if !fresh.is_empty() {
            let start = self.next;
            self.deliver_fresh(fresh, Span::of_frame(start, fresh.len() as u64, mark), deliver);
            repeated += self.deliver_held(mark, deliver);
        }
        Placed { offset, kind, repeated, conflicting }
    }

    fn deliver_fresh(&mut self, bytes: &[u8], span: Span, deliver: &mut dyn FnMut(&[u8], Span)) {
        self.next += bytes.len() as u64;
        if self.recent.len() + bytes.len() > 2 * RECENT {
            let keep = RECENT.min(self.recent.len());
            self.recent.drain(..self.recent.len() - keep);
        }
        self.recent.extend_from_slice(&bytes[bytes.len().saturating_sub(RECENT)..]);
        deliver(bytes, span);
    }

    /// Delivers what is held and in order now; returns how many held bytes had come otherwise meanwhile.
    fn deliver_held(&mut self, now: Mark, deliver: &mut dyn FnMut(&[u8], Span)) -> u64 {
        let mut repeated = 0;
        while let Some(entry) = self.held.first_entry() {
            if *entry.key() > self.next {
                break;
            }
            let (offset, held) = entry.remove_entry();
            self.held_bytes -= held.bytes.len();
            let old = usize::try_from(self.next - offset).unwrap_or(usize::MAX).min(held.bytes.len());
            repeated += old as u64;
            let fresh = &held.bytes[old..];
            if !fresh.is_empty() {
                let span = Span { readable: now, ..Span::of_frame(self.next, fresh.len() as u64, held.mark) };
                self.deliver_fresh(fresh, span, deliver);
            }
        }
        repeated
    }

    /// Keeps a piece beyond the hole; overlapping parts keep what came first.
    fn hold(&mut self, offset: u64, payload: &[u8], mark: Mark, limit: usize) -> Placed {
        let mut placed = Placed { offset, kind: SegmentKind::BeyondHole, repeated: 0, conflicting: 0 };
        if self.held_bytes + payload.len() > limit {
            placed.kind = SegmentKind::Implausible;
            return placed;
        }
        let end = offset + payload.len() as u64;
        // The free ranges between pieces already held, inside offset..end.
        let mut free = Vec::new();
        let mut at = offset;
        if let Some((&start, held)) = self.held.range(..=offset).next_back() {
            at = at.max((start + held.bytes.len() as u64).min(end));
        }
        for (&start, held) in self.held.range(offset..end) {
            if start > at {
                free.push((at, start));
            }
            at = at.max((start + held.bytes.len() as u64).min(end));
        }
        if at < end {
            free.push((at, end));
        }
        let mut taken = 0;
        for (from, to) in free {
            let bytes = payload[(from - offset) as usize..(to - offset) as usize].to_vec();
            taken += bytes.len();
            self.held_bytes += bytes.len();
            self.held.insert(from, Held { bytes, mark });
        }
        placed.repeated = (payload.len() - taken) as u64;
        if taken == 0 && !payload.is_empty() {
            placed.kind = SegmentKind::Repeated;
        }
        placed
    }

    /// How many of `old`, at `offset` of the stream, differ from what was delivered (as far as that is kept).
    fn conflicts(&self, offset: u64, old: &[u8]) -> u64 {
        let kept_from = self.next - self.recent.len() as u64;
        let skip = usize::try_from(kept_from.saturating_sub(offset)).unwrap_or(usize::MAX).min(old.len());
        let at =
            usize::try_from(offset.saturating_sub(kept_from)).unwrap_or(usize::MAX).min(self.recent.len());
        let differ = old[skip..].iter().zip(&self.recent[at..]).filter(|(a, b)| a != b).count();
        differ as u64
    }
}

#[cfg(test)]
mod tests {
    use rt_base::{FrameId, Time};

    use super::*;

    fn mark(n: u64) -> Mark {
        Mark { at: Time(n), frame: FrameId(n) }
    }

    /// Pushes (offset, bytes) in order; returns stream, kinds, and the spans delivered.
    fn run(isn: u32, pushes: &[(u64, &str)]) -> (String, Vec<SegmentKind>, Vec<Span>, Reassembler) {
        let mut r = Reassembler::default();
        r.on_syn(isn);
        let (mut text, mut kinds, mut spans) = (String::new(), Vec::new(), Vec::new());
        for (i, (offset, bytes)) in pushes.iter().enumerate() {
            let seq = isn.wrapping_add(1).wrapping_add(*offset as u32);
            let placed = r.push(seq, bytes.as_bytes(), mark(i as u64), 1 << 20, &mut |b, s| {
                text.push_str(std::str::from_utf8(b).unwrap());
                spans.push(s);
            });
            kinds.push(placed.kind);
        }
        (text, kinds, spans, r)
    }

    #[test]
    fn orders_across_the_wrap_and_names_each_segment() {
        use SegmentKind::*;
        let (text, kinds, spans, r) = run(
            u32::MAX - 3,
            &[(0, "ab"), (4, "ef"), (6, "gh"), (2, "cd"), (0, "ab"), (7, "hi"), (5, "XghZ"), (20, "zz")],
        );
        assert_eq!(text, "abcdefghi");
        assert_eq!(
            kinds,
            [InOrder, BeyondHole, BeyondHole, FillsHole, Repeated, Overlap, Repeated, BeyondHole]
        );
        assert_eq!(spans[2].first, mark(1));
        assert_eq!(spans[2].readable, mark(3));
        assert_eq!((r.delivered(), r.beyond_hole()), (9, 2));
    }

    #[test]
    fn notices_bytes_that_changed() {
        let mut r = Reassembler::default();
        r.on_syn(0);
        r.push(1, b"abcdef", mark(1), 1 << 20, &mut |_, _| {});
        let placed = r.push(3, b"cXeYgh", mark(2), 1 << 20, &mut |_, _| {});
        assert_eq!((placed.kind, placed.repeated, placed.conflicting), (SegmentKind::Overlap, 4, 2));
    }

    #[test]
    fn refuses_what_is_beyond_its_limit() {
        let mut r = Reassembler::default();
        r.on_syn(0);
        let kind = |r: &mut Reassembler, seq| r.push(seq, &[0; 100], mark(1), 150, &mut |_, _| {}).kind;
        assert_eq!(kind(&mut r, 1000), SegmentKind::BeyondHole);
        assert_eq!(kind(&mut r, 2000), SegmentKind::Implausible);
        assert_eq!(kind(&mut r, 0x7000_0000), SegmentKind::Implausible);
    }
}
