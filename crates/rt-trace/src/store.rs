//! What happened in one run, with the indexes that every question needs.
//!
//! [`TraceRecorder`] listens to the engine and keeps; [`Trace`] is what it kept, together with the [`TraceMap`]. The
//! answers (time budget, story, follow) are queries over it and never a second tracer.
//!
//! Memory is bounded by [`StoreLimits`]: the first so many events and the first so many bytes of frames are kept, later ones
//! are counted. A story made from a trace that is not complete says so.

use std::borrow::Cow;
use std::sync::{Arc, Mutex};

use rt_base::{
    AppRecord, BRIDGE_PORT, ConnId, Event, EventId, FixedMap, Frame, FrameId, Inside, NodeId, PortId,
    Recorder, SendWhy, Time, Way, What,
};
use serde::{Deserialize, Serialize};

use crate::TraceMap;
use crate::streams::{self, Streams};

/// A frame as one interface saw it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Captured {
    /// `Out`: offered to the link; `In`: its last bit arrived.
    pub at: Time,
    /// Where.
    pub node: NodeId,
    /// At which interface.
    pub port: PortId,
    /// Which way.
    pub way: Way,
    /// The frame's identity; the same at every hop and through NAT.
    pub frame: FrameId,
    /// What it was derived from, or `NONE`.
    pub parent: FrameId,
    /// The [`What::Transmit`] that carried it; inside a tunnel (at a virtual interface), what tells of its passing.
    pub event: EventId,
    /// Ethernet bytes, shared between the two ends of a link when nothing was corrupted.
    #[serde(with = "hex")]
    pub bytes: Arc<[u8]>,
}

impl Captured {
    /// Whether it has no link layer: it passed an interface that has none, and the MACs are zeros.
    #[must_use]
    pub fn is_bare(&self) -> bool {
        self.bytes.get(..12) == Some(&[0; 12])
    }

    /// Its length with what link layer it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len().saturating_sub(if self.is_bare() { 14 } else { 0 })
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// How much a [`TraceRecorder`] keeps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StoreLimits {
    /// Events.
    pub events: usize,
    /// Bytes of frames.
    pub frame_bytes: usize,
}

impl Default for StoreLimits {
    /// Two million events and 256 MiB of frames: about half a gigabyte at most.
    fn default() -> StoreLimits {
        StoreLimits { events: 2_000_000, frame_bytes: 256 << 20 }
    }
}

/// Everything that is known about a run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Trace {
    /// Facts about the world.
    pub map: TraceMap,
    /// Events in the engine's total order.
    pub events: Vec<Event>,
    /// Frames in the engine's total order.
    pub frames: Vec<Captured>,
    /// Key-log lines with the time and node that told them.
    pub secrets: Vec<Secret>,
    /// Events that came after the store was full.
    pub events_lost: u64,
    /// Frames that came after the store was full.
    pub frames_lost: u64,
    /// Ids that events had before the two ends of streams were joined.
    #[serde(skip)]
    joined: FixedMap<EventId, FrameId>,
    #[serde(skip)]
    index: Index,
}

/// One line of the key log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Secret {
    /// When it became known.
    pub at: Time,
    /// Who told it.
    pub node: NodeId,
    /// The line (SSLKEYLOGFILE, RFC 9850).
    pub line: String,
}

/// Positions into the two lists, made once.
#[derive(Clone, Debug, Default)]
struct Index {
    event: FixedMap<EventId, u32>,
    events_of_frame: FixedMap<FrameId, Vec<u32>>,
    frames_of: FixedMap<FrameId, Vec<u32>>,
    frames_at: Vec<Vec<u32>>,
    events_at: Vec<Vec<u32>>,
    blocked: FixedMap<(NodeId, ConnId), Vec<u32>>,
    again: FixedMap<(NodeId, ConnId), Vec<u32>>,
    played: FixedMap<NodeId, Time>,
    streams: Streams,
}

impl Trace {
    /// A trace of these facts, indexed.
    #[must_use]
    pub fn new(map: TraceMap, events: Vec<Event>, frames: Vec<Captured>) -> Trace {
        let secrets = secrets_of(&events);
        let mut trace = Trace { map, events, frames, secrets, ..Trace::default() };
        trace.reindex();
        trace
    }

    /// Makes the indexes anew; needed after reading a trace from a file or changing its lists.
    pub fn reindex(&mut self) {
        streams::join(&mut self.events, &mut self.frames, &mut self.joined);
        let mut index = Index { streams: Streams::new(&self.events), ..Index::default() };
        for (i, event) in self.events.iter().enumerate() {
            let Ok(at) = u32::try_from(i) else { break };
            index.event.insert(event.id, at);
            push_at(&mut index.events_at, event.node(), at);
            if !event.frame.is_none() {
                index.events_of_frame.entry(event.frame).or_default().push(at);
            }
            if is_of_played(event) {
                index.played.entry(event.node()).or_insert(event.at);
            }
            if let What::TcpBlocked { conn, .. } = event.what {
                index.blocked.entry((event.node(), conn)).or_default().push(at);
            }
        }
        for (i, event) in self.events.iter().enumerate() {
            let (Ok(at), What::TcpSend(record)) = (u32::try_from(i), &event.what) else { continue };
            let noticed = match record.why {
                SendWhy::FastRetransmit | SendWhy::TailLossProbe => true,
                SendWhy::RtoRetransmit => {
                    let input = index.event.get(&event.because).map(|&b| &self.events[b as usize].what);
                    matches!(input, Some(What::TimerFired { .. }))
                }
                _ => false,
            };
            if noticed && !record.origin.is_none() {
                index.again.entry((event.node(), record.conn)).or_default().push(at);
            }
        }
        for (i, frame) in self.frames.iter().enumerate() {
            let Ok(at) = u32::try_from(i) else { break };
            index.frames_of.entry(frame.frame).or_default().push(at);
            push_at(&mut index.frames_at, frame.node, at);
        }
        self.index = index;
    }

    /// The events as they were recorded, and as `events.bin` has them: what came out of a tunnel's stream with an id of its own.
    pub fn recorded(&self) -> impl Iterator<Item = Cow<'_, Event>> {
        self.events.iter().map(|event| match self.joined.get(&event.id) {
            Some(frame) => Cow::Owned(Event { frame: *frame, ..event.clone() }),
            None => Cow::Borrowed(event),
        })
    }

    pub(crate) fn streams(&self) -> &Streams {
        &self.index.streams
    }

    /// Whether a sighting is one of a link, and not of what passed inside a tunnel.
    pub(crate) fn on_link(&self, seen: &Captured) -> bool {
        self.event(seen.event).is_none_or(|e| matches!(e.what, What::Transmit { .. }))
    }

    /// The event with this id.
    #[must_use]
    pub fn event(&self, id: EventId) -> Option<&Event> {
        self.index.event.get(&id).map(|&i| &self.events[i as usize])
    }

    /// The position of an event in the total order.
    #[must_use]
    pub fn position(&self, id: EventId) -> Option<usize> {
        self.index.event.get(&id).map(|&i| i as usize)
    }

    /// All events about a frame, in order.
    pub fn events_of(&self, frame: FrameId) -> impl Iterator<Item = &Event> {
        let list = self.index.events_of_frame.get(&frame).map_or(&[][..], Vec::as_slice);
        list.iter().map(|&i| &self.events[i as usize])
    }

    /// All events recorded by a node, in order.
    pub fn events_at(&self, node: NodeId) -> impl DoubleEndedIterator<Item = &Event> {
        let list = self.index.events_at.get(node.index()).map_or(&[][..], Vec::as_slice);
        list.iter().map(|&i| &self.events[i as usize])
    }

    /// Every [`What::TcpBlocked`] of a connection, in order.
    pub fn blocked_of(&self, node: NodeId, conn: ConnId) -> impl Iterator<Item = &Event> {
        let list = self.index.blocked.get(&(node, conn)).map_or(&[][..], Vec::as_slice);
        list.iter().map(|&i| &self.events[i as usize])
    }

    /// Every retransmission of a connection by which a loss was noticed, in order: by a timer or by later
    /// acknowledgements, not those that merely followed in the same recovery.
    pub fn noticed_losses(&self, node: NodeId, conn: ConnId) -> impl Iterator<Item = &Event> {
        let list = self.index.again.get(&(node, conn)).map_or(&[][..], Vec::as_slice);
        list.iter().map(|&i| &self.events[i as usize])
    }

    /// Every sighting of a frame, in order.
    pub fn sightings(&self, frame: FrameId) -> impl DoubleEndedIterator<Item = &Captured> {
        let list = self.index.frames_of.get(&frame).map_or(&[][..], Vec::as_slice);
        list.iter().map(|&i| &self.frames[i as usize])
    }

    /// All frames seen at a node's interfaces, in order.
    pub fn frames_at(&self, node: NodeId) -> impl DoubleEndedIterator<Item = &Captured> {
        let list = self.index.frames_at.get(node.index()).map_or(&[][..], Vec::as_slice);
        list.iter().map(|&i| &self.frames[i as usize])
    }

    /// Since when a real program has played this machine, if one has.
    #[must_use]
    pub fn played_since(&self, node: NodeId) -> Option<Time> {
        self.index.played.get(&node).copied()
    }

    /// Frames handed to the real program that plays the machine of an event, before that event, the latest first.
    pub fn reached_outside(&self, before: EventId) -> impl Iterator<Item = &Event> {
        let list = self.index.events_at.get(before.node().index()).map_or(&[][..], Vec::as_slice);
        let until = self.index.event.get(&before).copied().unwrap_or(0);
        let earlier = &list[..list.partition_point(|&i| i < until)];
        let all = earlier.iter().rev().map(|&i| &self.events[i as usize]);
        all.filter(|e| matches!(e.what, What::ToOutside { .. }))
    }

    /// The frame that a machine sent because of an input, as it left.
    pub fn sent_because(&self, input: EventId) -> Option<&Captured> {
        let list = self.index.events_at.get(input.node().index()).map_or(&[][..], Vec::as_slice);
        let from = self.index.event.get(&input).copied()?;
        let later = &list[list.partition_point(|&i| i <= from)..];
        let mut sent = later.iter().map(|&i| &self.events[i as usize]).take_while(|e| e.because == input);
        let sent = sent.find(|e| matches!(e.what, What::Transmit { .. }))?;
        self.sightings(sent.frame).next()
    }

    /// What applications said, in order.
    pub fn said(&self) -> impl Iterator<Item = (&Event, &AppRecord)> {
        self.events.iter().filter_map(|e| match &e.what {
            What::App(record) => Some((e, &**record)),
            _ => None,
        })
    }

    /// All key-log lines, one per line, ready for a reader.
    #[must_use]
    pub fn key_log(&self) -> String {
        self.secrets.iter().map(|s| format!("{}\n", s.line)).collect()
    }

    /// Whether everything was kept.
    #[must_use]
    pub fn complete(&self) -> bool {
        self.events_lost == 0 && self.frames_lost == 0
    }

    /// The time of the last event.
    #[must_use]
    pub fn end(&self) -> Time {
        self.events.iter().map(|e| e.at).max().unwrap_or(Time::ZERO)
    }
}

/// What is recorded only of machines that real programs play. Their steps begin without a command.
fn is_of_played(event: &Event) -> bool {
    match &event.what {
        // A bridge is an application of ours.
        What::FromOutside { port } => *port != BRIDGE_PORT,
        What::ToOutside { .. } => true,
        What::App(record) => event.because.is_none() && matches!(**record, AppRecord::StepBegin { .. }),
        _ => false,
    }
}

fn push_at(lists: &mut Vec<Vec<u32>>, node: NodeId, at: u32) {
    if lists.len() <= node.index() {
        lists.resize(node.index() + 1, Vec::new());
    }
    lists[node.index()].push(at);
}

fn secrets_of(events: &[Event]) -> Vec<Secret> {
    let secret = |e: &Event| match &e.what {
        What::App(record) => match &**record {
            AppRecord::Secret { line } => Some(Secret { at: e.at, node: e.node(), line: line.clone() }),
            _ => None,
        },
        _ => None,
    };
    events.iter().filter_map(secret).collect()
}

/// Listens to a run and keeps it. Clones share one store: give one to the engine and keep one.
#[derive(Clone, Debug)]
pub struct TraceRecorder {
    shared: Arc<Mutex<Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    limits: StoreLimits,
    events: Vec<Event>,
    frames: Vec<Captured>,
    frame_bytes: usize,
    events_lost: u64,
    frames_lost: u64,
    /// Bytes of frames on a link, so that the far end can share them.
    under_way: FixedMap<EventId, Arc<[u8]>>,
}

impl TraceRecorder {
    /// An empty store.
    #[must_use]
    pub fn new(limits: StoreLimits) -> TraceRecorder {
        TraceRecorder { shared: Arc::new(Mutex::new(Kept { limits, ..Kept::default() })) }
    }

    /// Takes what was kept so far out of the store.
    #[must_use]
    pub fn into_trace(self, map: TraceMap) -> Trace {
        let mut kept = self.lock();
        let mut trace = Trace::new(map, std::mem::take(&mut kept.events), std::mem::take(&mut kept.frames));
        trace.events_lost = kept.events_lost;
        trace.frames_lost = kept.frames_lost;
        trace
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.shared.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Recorder for TraceRecorder {
    fn event(&mut self, event: &Event) {
        let mut kept = self.lock();
        if kept.events.len() < kept.limits.events {
            kept.events.push(event.clone());
        } else {
            kept.events_lost += 1;
        }
    }

    fn frame(&mut self, at: Time, node: NodeId, port: PortId, way: Way, frame: &Frame, event: EventId) {
        let mut kept = self.lock();
        if kept.frame_bytes + frame.len() > kept.limits.frame_bytes {
            kept.frames_lost += 1;
            return;
        }
        let sent = if way == Way::In { kept.under_way.remove(&event) } else { None };
        let bytes = sent.filter(|sent| sent[..] == frame.bytes[..]).unwrap_or_else(|| {
            kept.frame_bytes += frame.len();
            Arc::from(&frame.bytes[..])
        });
        if way == Way::Out {
            kept.under_way.insert(event, Arc::clone(&bytes));
        }
        let (frame, parent) = (frame.id, frame.parent);
        kept.frames.push(Captured { at, node, port, way, frame, parent, event, bytes });
    }

    fn inside(&mut self, seen: &Inside) {
        let mut kept = self.lock();
        let Inside { at, node, port, way, ref frame, event } = *seen;
        if kept.frame_bytes + frame.len() > kept.limits.frame_bytes {
            kept.frames_lost += 1;
            return;
        }
        kept.frame_bytes += frame.len();
        let bytes = Arc::from(&frame.bytes[..]);
        let (frame, parent) = (frame.id, frame.parent);
        kept.frames.push(Captured { at, node, port, way, frame, parent, event, bytes });
    }
}

/// Bytes as a string of hexadecimal digits.
mod hex {
    use std::fmt::Write;
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(bytes: &Arc<[u8]>, to: S) -> Result<S::Ok, S::Error> {
        let mut text = String::with_capacity(bytes.len() * 2);
        for byte in bytes.iter() {
            let _ = write!(text, "{byte:02x}");
        }
        to.serialize_str(&text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Arc<[u8]>, D::Error> {
        let text = String::deserialize(from)?;
        let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
        let pair = |p: &[u8]| match p {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        };
        let bytes: Option<Vec<u8>> = text.as_bytes().chunks(2).map(pair).collect();
        bytes.map(Arc::from).ok_or_else(|| D::Error::custom("frame bytes are not hexadecimal"))
    }
}
