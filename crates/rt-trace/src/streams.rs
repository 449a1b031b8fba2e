//! Packets that a tunnel's program carries inside a TCP stream: what went in joined with what came out, and the segments that
//! carried it.
//!
//! In a datagram the packet inside and the one around it are one frame. In a stream they cannot be: a packet may lie in several
//! segments and several in one, and a segment that is sent again is another frame. So each end says which bytes of the
//! stream a packet is ([`What::InStream`]); here the two ends of the connection are joined by the segments that one sent and the
//! other took, and what came out gets the id of what went in, as if it had never been away.
//!
//! Deliberate simplification: a proxy on the way that ends the connection (split TCP) keeps the two ends from being joined; then
//! what comes out is a packet of its own.

use std::collections::{BTreeMap, BTreeSet};

use rt_base::{ConnId, Event, EventId, FixedMap, FrameId, NodeId, What};

use crate::Captured;
use crate::Trace;

type End = (NodeId, ConnId);

/// TCP's protocol number.
const TCP: u8 = 6;

/// Gives what came out of a stream the id of what went in, everywhere. Which ids events had before is put into `before`.
pub(crate) fn join(events: &mut [Event], frames: &mut [Captured], before: &mut FixedMap<EventId, FrameId>) {
    let same = same(events);
    if same.is_empty() {
        return;
    }
    before.extend(events.iter().filter(|e| same.contains_key(&e.frame)).map(|e| (e.id, e.frame)));
    let rename = |id: &mut FrameId| {
        if let Some(first) = same.get(id) {
            *id = *first;
        }
    };
    events.iter_mut().for_each(|event| rename(&mut event.frame));
    for frame in frames {
        rename(&mut frame.frame);
        rename(&mut frame.parent);
    }
}

/// What came out, with what went in.
fn same(events: &[Event]) -> FixedMap<FrameId, FrameId> {
    let mut same = FixedMap::default();
    let ends = ends(events);
    if ends.is_empty() {
        return same;
    }
    let mut sender: FixedMap<FrameId, End> = FixedMap::default();
    let mut peer: BTreeMap<End, End> = BTreeMap::new();
    let mut went: BTreeMap<(End, u64, u32), FrameId> = BTreeMap::new();
    for event in events {
        match &event.what {
            What::TcpSend(record) if ends.contains(&(event.node(), record.conn)) => {
                sender.insert(event.frame, (event.node(), record.conn));
            }
            What::Deliver { protocol: TCP, conn } => {
                let here = (event.node(), *conn);
                let from = sender.get(&event.frame).filter(|_| ends.contains(&here));
                if let Some(from) = from {
                    peer.insert(here, *from);
                }
            }
            What::InStream { conn, offset, len, inward } => {
                let here = (event.node(), *conn);
                if !inward {
                    went.insert((here, *offset, *len), event.frame);
                } else if let Some(from) = peer.get(&here)
                    && let Some(first) = went.get(&(*from, *offset, *len)).filter(|f| **f != event.frame)
                {
                    same.insert(event.frame, *first);
                }
            }
            _ => {}
        }
    }
    same
}

/// Connections that carry packets.
fn ends(events: &[Event]) -> BTreeSet<End> {
    let carrying = |e: &Event| match e.what {
        What::InStream { conn, .. } => Some((e.node(), conn)),
        _ => None,
    };
    events.iter().filter_map(carrying).collect()
}

/// Where in the list of events packets went into streams and came out of them, and what the streams' segments carried.
#[derive(Clone, Debug, Default)]
pub(crate) struct Streams {
    /// Went in, came out: positions in the list of events.
    passages: FixedMap<FrameId, Vec<(u32, Option<u32>)>>,
    /// Stream offset, length and position of the segments with data, by offset.
    segments: BTreeMap<End, Vec<(u64, u32, u32)>>,
}

impl Streams {
    /// Whether a connection carries a tunnel's packets, at one of its ends.
    pub(crate) fn carries(&self, end: (NodeId, ConnId)) -> bool {
        self.segments.contains_key(&end)
    }

    pub(crate) fn new(events: &[Event]) -> Streams {
        let (mut streams, ends) = (Streams::default(), ends(events));
        if ends.is_empty() {
            return streams;
        }
        for (event, at) in events.iter().zip(0_u32..) {
            match &event.what {
                What::InStream { inward: false, .. } => {
                    streams.passages.entry(event.frame).or_default().push((at, None));
                }
                What::InStream { .. } => {
                    let open = streams.passages.get_mut(&event.frame).and_then(|all| all.last_mut());
                    open.into_iter().for_each(|(_, out)| *out = out.or(Some(at)));
                }
                What::TcpSend(record) if record.len > 0 => {
                    let end = (event.node(), record.conn);
                    if ends.contains(&end) {
                        let list = streams.segments.entry(end).or_default();
                        list.push((record.offset, record.len, at));
                    }
                }
                _ => {}
            }
        }
        streams.segments.values_mut().for_each(|list| list.sort_unstable());
        streams
    }
}

/// A packet's passage through a stream.
#[derive(Clone, Debug)]
pub(crate) struct Passage<'t> {
    /// Its first byte went into the stream.
    pub(crate) entered: &'t Event,
    /// Its last byte, and all before, had come out of it.
    pub(crate) left: Option<&'t Event>,
    /// Segments that carried some of its bytes, copies too, in the order in which they were sent.
    pub(crate) segments: Vec<Carrying<'t>>,
}

/// A segment that carries bytes of a packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Carrying<'t> {
    /// When it was sent.
    pub(crate) sent: &'t Event,
    /// When it came to the other end.
    pub(crate) arrived: Option<&'t Event>,
    /// Whether it brought bytes of the packet that had not been there.
    pub(crate) needed: bool,
}

impl<'t> Passage<'t> {
    /// The segment that brought the last of its bytes.
    pub(crate) fn last(&self) -> Option<Carrying<'t>> {
        let needed = self.segments.iter().filter(|s| s.needed);
        needed.max_by_key(|s| s.arrived.map(|e| (e.at, e.id))).copied()
    }
}

impl Trace {
    /// The passages of a packet through streams, in order.
    pub(crate) fn in_streams(&self, frame: FrameId) -> Vec<Passage<'_>> {
        let all = self.streams().passages.get(&frame).map_or(&[][..], Vec::as_slice);
        all.iter().filter_map(|(entered, left)| self.passage(*entered, *left)).collect()
    }

    fn passage(&self, entered: u32, left: Option<u32>) -> Option<Passage<'_>> {
        let event = &self.events[entered as usize];
        let What::InStream { conn, offset, len, .. } = event.what else { return None };
        let (first, end) = (offset, offset + u64::from(len));
        let list = self.streams().segments.get(&(event.node(), conn)).map_or(&[][..], Vec::as_slice);
        // No segment is longer than an IP packet.
        let from = list.partition_point(|(at, ..)| at + 65_536 < first);
        let until = left.unwrap_or(u32::MAX);
        let near = list[from..].iter().take_while(|(at, ..)| *at < end);
        let mut touching: Vec<_> = near
            .filter(|(at, len, sent)| at + u64::from(*len) > first && *sent >= entered && *sent <= until)
            .collect();
        touching.sort_by_key(|(.., sent)| *sent);
        let left = left.map(|at| &self.events[at as usize]);
        let taken = |e: &&Event| {
            matches!(e.what, What::Deliver { protocol: TCP, .. })
                && e.node() != event.node()
                && left.is_none_or(|left| e.node() == left.node() && e.at <= left.at)
        };
        let mut segments: Vec<Carrying<'_>> = touching
            .iter()
            .map(|(.., sent)| &self.events[*sent as usize])
            .map(|sent| Carrying { sent, arrived: self.events_of(sent.frame).find(taken), needed: false })
            .collect();
        mark_needed(&mut segments, (first, end));
        Some(Passage { entered: event, left, segments })
    }
}

/// In the order of their arrival, which segments brought something new of these bytes.
fn mark_needed(segments: &mut [Carrying<'_>], bytes: (u64, u64)) {
    let mut order: Vec<usize> = (0..segments.len()).filter(|i| segments[*i].arrived.is_some()).collect();
    order.sort_by_key(|i| segments[*i].arrived.map(|e| (e.at, e.id)));
    let mut missing = vec![bytes];
    for i in order {
        let What::TcpSend(record) = &segments[i].sent.what else { continue };
        let (start, end) = (record.offset, record.offset + u64::from(record.len));
        let cut = |(a, b): (u64, u64)| {
            let before = (a, b.min(start).max(a));
            let behind = (a.max(end).min(b), b);
            [before, behind].into_iter().filter(|(a, b)| a < b)
        };
        let left: Vec<(u64, u64)> = missing.iter().copied().flat_map(cut).collect();
        segments[i].needed = left != missing;
        missing = left;
    }
}

#[cfg(test)]
mod tests {
    use rt_base::{SendWhy, TcpSendRecord, Time};

    use super::*;
    use crate::TraceMap;

    fn event(node: u32, at: u64, frame: FrameId, what: What) -> Event {
        let id = EventId::new(NodeId(node), at);
        Event { id, because: EventId::NONE, at: Time(at), frame, what }
    }

    fn sends(at: u64, frame: u64, offset: u64, len: u32) -> Event {
        let record = TcpSendRecord {
            conn: ConnId(1),
            seq: 100 + offset as u32,
            ack: 0,
            len,
            flags: 16,
            offset,
            why: SendWhy::NewData,
            origin: EventId::NONE,
            origin_at: Time(at),
            cwnd: 0,
            in_flight: 0,
        };
        event(0, at, FrameId::new(NodeId(0), frame), What::TcpSend(Box::new(record)))
    }

    fn takes(at: u64, frame: u64) -> Event {
        event(1, at, FrameId::new(NodeId(0), frame), What::Deliver { protocol: TCP, conn: ConnId(9) })
    }

    fn passes(node: u32, at: u64, frame: FrameId, offset: u64) -> Event {
        let (conn, inward) = if node == 0 { (ConnId(1), false) } else { (ConnId(9), true) };
        event(node, at, frame, What::InStream { conn, offset, len: 100, inward })
    }

    /// Two packets of 100 bytes in segments of 150: the first segment is lost and comes again, the second waits for it.
    #[test]
    fn what_comes_out_is_what_went_in() {
        let [p, q] = [5, 6].map(|n| FrameId::new(NodeId(0), n));
        let [p2, q2] = [5, 6].map(|n| FrameId::new(NodeId(1), n));
        let events = vec![
            passes(0, 1, p, 2),
            passes(0, 2, q, 104),
            sends(3, 10, 0, 150),
            sends(4, 11, 150, 54),
            takes(5, 11),
            sends(6, 12, 0, 150),
            takes(7, 12),
            passes(1, 8, p2, 2),
            passes(1, 9, q2, 104),
        ];
        let trace = Trace::new(TraceMap::default(), events, Vec::new());
        assert_eq!((trace.events[7].frame, trace.events[8].frame), (p, q), "both ends bear one id");
        let recorded: Vec<FrameId> = trace.recorded().map(|e| e.frame).collect();
        assert_eq!((recorded[0], recorded[7], recorded[8]), (p, p2, q2), "and what was recorded is known");
        let told = |frame| {
            let passages = trace.in_streams(frame);
            assert_eq!(passages.len(), 1);
            let passage = &passages[0];
            let carried: Vec<(u64, bool)> =
                passage.segments.iter().map(|s| (s.sent.at.0, s.needed)).collect();
            (carried, passage.last().and_then(|s| s.arrived).map(|e| e.at.0), passage.left.map(|e| e.at.0))
        };
        assert_eq!(told(p), (vec![(3, false), (6, true)], Some(7), Some(8)));
        assert_eq!(told(q), (vec![(3, false), (4, true), (6, true)], Some(7), Some(9)));
    }

    #[test]
    fn a_stream_without_another_end_joins_nothing() {
        let p = FrameId::new(NodeId(0), 5);
        let other = FrameId::new(NodeId(1), 5);
        let events = vec![passes(0, 1, p, 2), sends(3, 10, 0, 150), passes(1, 8, other, 2)];
        let trace = Trace::new(TraceMap::default(), events, Vec::new());
        assert_eq!(trace.events[2].frame, other);
        let passage = &trace.in_streams(p)[0];
        assert!(passage.left.is_none() && passage.last().is_none());
        assert!(trace.in_streams(other).is_empty());
    }
}
