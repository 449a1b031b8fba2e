//! One input, an outbox: all that a node may do in response to one input is pushed here, and the engine drains it.

use serde::{Deserialize, Serialize};

use crate::{
    AppRecord, ConnId, DropReason, Event, EventId, Frame, FrameId, Inside, NodeId, Place, PortId, Time,
    TimerKind, Way, What,
};

/// What a node is told.
#[derive(Debug)]
pub enum Input {
    /// Switched on, once, at the start of the run.
    Boot,
    /// A frame arrived (its last bit is there).
    Frame {
        /// On this interface.
        port: PortId,
        /// The frame.
        frame: Frame,
    },
    /// The time asked for with [`Outbox::wake_at`] has come.
    Timer,
    /// Start the step with this index (the node was given its steps beforehand).
    Command {
        /// Index of the step in the scenario.
        step: u32,
    },
    /// The real program that plays this node sent a frame. A node that no program plays ignores it.
    Outside {
        /// Through this interface.
        port: PortId,
        /// Ethernet bytes as they came; nobody has looked at them.
        bytes: Vec<u8>,
    },
    /// Forget every NAT mapping, as a router that was switched off and on. A node without NAT ignores it.
    Rebind {
        /// No inner end gets the external port back that it had.
        change: bool,
    },
}

/// What a node tells the laboratory beside frames. Not part of the network: no other node sees it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Signal {
    /// All interfaces have their addresses and all services listen.
    Ready,
    /// The step is over.
    StepDone {
        /// Index of the step.
        step: u32,
        /// Whether it reached its aim.
        ok: bool,
        /// One line.
        summary: String,
    },
    /// The last application task or connection of this node went quiet (all connections closed or in TIME-WAIT).
    Quiet,
}

/// Everything a node does in response to one [`Input`].
///
/// The engine calls [`Outbox::begin`] before and drains the public fields after each `handle`; nodes use the methods.
#[derive(Debug, Default)]
pub struct Outbox {
    /// Frames to send, in order.
    pub frames: Vec<(PortId, Frame)>,
    /// Events recorded, in order.
    pub events: Vec<Event>,
    /// Signals to the laboratory.
    pub signals: Vec<Signal>,
    /// Packets that passed virtual interfaces, in order.
    pub inside: Vec<Inside>,
    /// When the node wants its next [`Input::Timer`]: `None` leaves the wish as it was, `Some(Time::MAX)` takes it back.
    pub wake: Option<Time>,
    node: NodeId,
    now: Time,
    cause: EventId,
    recording: bool,
    frames_made: u64,
    events_made: u64,
    /// Short buffers and others apart: an ACK does not take a buffer along that a full frame needs, and a full frame gets
    /// the one that was read last, which is still in the cache.
    pools: [Vec<Vec<u8>>; 2],
}

/// Buffers of a kind kept for reuse; beyond that they are freed.
const POOL_LIMIT: usize = 64;
/// What a short buffer has room for.
const SHORT: usize = 128;

impl Outbox {
    /// An outbox; `recording` decides whether events are kept at all.
    #[must_use]
    pub fn new(recording: bool) -> Outbox {
        Outbox { recording, ..Outbox::default() }
    }

    /// Prepares for one input of `node`. `counters` are the node's (frames, events) so far.
    #[inline]
    pub fn begin(&mut self, node: NodeId, now: Time, cause: EventId, counters: (u64, u64)) {
        self.node = node;
        self.now = now;
        self.cause = cause;
        (self.frames_made, self.events_made) = counters;
    }

    /// The node's (frames, events) counters after the input; the engine keeps them.
    #[inline]
    #[must_use]
    pub fn counters(&self) -> (u64, u64) {
        (self.frames_made, self.events_made)
    }

    /// The node being handled.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// The time of this input.
    #[inline]
    #[must_use]
    pub fn now(&self) -> Time {
        self.now
    }

    /// The input event that everything recorded now is caused by.
    #[inline]
    #[must_use]
    pub fn cause(&self) -> EventId {
        self.cause
    }

    /// Whether events are kept. Build costly records only then.
    #[inline]
    #[must_use]
    pub fn recording(&self) -> bool {
        self.recording
    }

    /// An empty buffer with room for `capacity` bytes, reused when possible.
    #[inline]
    #[must_use]
    pub fn buffer(&mut self, capacity: usize) -> Vec<u8> {
        let pool = &mut self.pools[usize::from(capacity > SHORT)];
        match pool.pop() {
            Some(mut buf) => {
                buf.clear();
                buf.reserve(capacity);
                buf
            }
            None => Vec::with_capacity(capacity.max(SHORT)),
        }
    }

    /// Gives a buffer back for reuse.
    #[inline]
    pub fn recycle(&mut self, buf: Vec<u8>) {
        let pool = &mut self.pools[usize::from(buf.capacity() > SHORT)];
        if pool.len() < POOL_LIMIT && buf.capacity() > 0 {
            pool.push(buf);
        }
    }

    /// A new frame of this node with the given bytes; `parent` is what it is derived from, or `NONE`.
    #[inline]
    #[must_use]
    pub fn new_frame(&mut self, bytes: Vec<u8>, parent: FrameId) -> Frame {
        self.frames_made += 1;
        Frame { id: FrameId::new(self.node, self.frames_made), parent, bytes }
    }

    /// Sends `frame` out of `port`.
    #[inline]
    pub fn send(&mut self, port: PortId, frame: Frame) {
        self.frames.push((port, frame));
    }

    /// Asks for an [`Input::Timer`] at `at` (replaces the former wish; `Time::MAX` for none).
    #[inline]
    pub fn wake_at(&mut self, at: Time) {
        self.wake = Some(at);
    }

    /// Records what `make` returns, if recording; returns the event's id or `NONE`.
    #[inline]
    pub fn record(&mut self, frame: FrameId, make: impl FnOnce() -> What) -> EventId {
        if !self.recording {
            return EventId::NONE;
        }
        self.events_made += 1;
        let id = EventId::new(self.node, self.events_made);
        self.events.push(Event { id, because: self.cause, at: self.now, frame, what: make() });
        id
    }

    /// Shows a packet that passes a virtual interface, which no link shows, if recording; `event` says so.
    pub fn show_inside(&mut self, port: PortId, way: Way, frame: &Frame, event: EventId) {
        if self.recording {
            let (at, node, frame) = (self.now, self.node, frame.clone());
            self.inside.push(Inside { at, node, port, way, frame, event });
        }
    }

    /// Records that an application said something.
    pub fn say(&mut self, record: AppRecord) -> EventId {
        self.record(FrameId::NONE, || What::App(Box::new(record)))
    }

    /// Records that a timer fired, and makes it the cause of all that follows in this input.
    pub fn timer_fired(&mut self, kind: TimerKind, conn: ConnId, armed_by: EventId, armed_at: Time) {
        let id = self.record(FrameId::NONE, || What::TimerFired { kind, conn, armed_by, armed_at });
        if let Some(event) = self.events.last_mut().filter(|e| e.id == id) {
            event.because = armed_by;
        }
        self.cause = id;
    }

    /// Ends a frame with a reason; `rule` is the index of the deciding rule, if one decided.
    pub fn drop_frame(
        &mut self,
        frame: Frame,
        reason: DropReason,
        place: Place,
        port: PortId,
        rule: Option<u32>,
    ) {
        let rule = rule.unwrap_or(u32::MAX);
        self.record(frame.id, || What::Drop { reason, place, port, rule });
        self.recycle(frame.bytes);
    }

    /// Tells the laboratory something.
    pub fn signal(&mut self, signal: Signal) {
        self.signals.push(signal);
    }
}
