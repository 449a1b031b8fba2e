//! The loop: take the earliest event, let its node handle it, carry what it sends.

use rt_base::{
    AppRecord, DropReason, EventId, Frame, FrameId, Input, LinkId, Nanos, NodeId, Outbox, Place, PortId,
    Recorder, Signal, Time, Way, What,
};

use crate::event_queue::{Class, Entry, EventQueue, Key, Queue};
use crate::flight::InFlight;
use crate::link::{Direction, LinkChange, LinkSpec, Sent};
use crate::node::Node;
use crate::stats::Stats;

/// Why [`Sim::run_until`] came back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StopReason {
    /// Nothing will ever happen again without a new command.
    Idle,
    /// The time limit was reached; later events stay queued.
    Limit,
    /// A node signalled: see [`Sim::take_signals`].
    Signals,
}

/// A network of nodes and links in virtual time.
///
/// A run is a pure function of the seed and the calls made: the same calls give the same events with the same ids.
pub struct Sim {
    now: Time,
    /// The key of the last event handled: time never goes back, no two keys are equal.
    last: Option<Key>,
    queue: Queue,
    nodes: Vec<Slot>,
    /// Two per link: 2n from a to b, 2n + 1 from b to a.
    directions: Vec<Direction>,
    controls: Vec<Option<Control>>,
    /// Entries of `controls` that are over.
    free: Vec<u32>,
    out: Outbox,
    signals: Vec<(Time, NodeId, Signal)>,
    recorder: Option<Box<dyn Recorder>>,
    stats: Stats,
    recording: bool,
    /// Whether the recorder wants frames too.
    shows_frames: bool,
    seed: u64,
}

/// A node and what the engine keeps for it.
struct Slot {
    node: Box<dyn Node>,
    processing: Nanos,
    /// Frames and events made so far: the counters of ids.
    counters: (u64, u64),
    /// Keys made so far.
    keys: u64,
    /// When it wants its next timer, or `Time::MAX`.
    wish: Time,
    /// The timer entry in the queue that counts, or `Time::MAX`; never later than `wish`. Others are stale.
    queued: Option<Key>,
    /// Direction that leaves by each port, or `NO_LINK`.
    ports: Vec<u32>,
    /// Timers served at the same instant, against a node that never lets time pass.
    timers_now: (Time, u32),
    name: Box<str>,
}

const NO_LINK: u32 = u32::MAX;
/// So many timers of one node at one instant are a bug in the node.
const TIMERS_PER_INSTANT: u32 = 1_000_000;

enum Control {
    Command { node: NodeId, step: u32 },
    Link { link: LinkId, change: LinkChange },
    Outside { node: NodeId, port: PortId, bytes: Vec<u8> },
    Said { node: NodeId, record: Box<AppRecord> },
    Rebind { node: NodeId, change: bool },
}

/// Building.
impl Sim {
    /// An empty network. `seed` rules all dice of the links; `recording` decides whether events are made at all.
    #[must_use]
    pub fn new(seed: u64, recording: bool) -> Sim {
        Sim {
            now: Time::ZERO,
            last: None,
            queue: Queue::default(),
            nodes: Vec::new(),
            directions: Vec::new(),
            controls: Vec::new(),
            free: Vec::new(),
            out: Outbox::new(recording),
            signals: Vec::new(),
            recorder: None,
            stats: Stats::default(),
            recording,
            shows_frames: false,
            seed,
        }
    }

    /// Adds a node. Each frame it sends is offered to its link `processing` after the input that caused it.
    ///
    /// # Panics
    /// Beyond 2^24 - 1 nodes, the room in ids.
    pub fn add_node(&mut self, name: &str, node: Box<dyn Node>, processing: Nanos) -> NodeId {
        let id = NodeId(self.nodes.len() as u32);
        assert!(id.0 < (1 << 24) - 1, "at most 2^24 - 1 nodes");
        self.nodes.push(Slot {
            node,
            processing,
            counters: (0, 0),
            keys: 0,
            wish: Time::MAX,
            queued: None,
            ports: Vec::new(),
            timers_now: (Time::ZERO, 0),
            name: name.into(),
        });
        id
    }

    /// Connects two interfaces.
    ///
    /// # Panics
    /// When a node does not exist or an interface already has a link: the model was checked before.
    pub fn add_link(&mut self, spec: LinkSpec) -> LinkId {
        let link = LinkId((self.directions.len() / 2) as u32);
        for (from, to, direction) in [(spec.a, spec.b, &spec.ab), (spec.b, spec.a, &spec.ba)] {
            let index = self.directions.len() as u32;
            let slot = &mut self.nodes[from.0.index()];
            if slot.ports.len() <= from.1.index() {
                slot.ports.resize(from.1.index() + 1, NO_LINK);
            }
            let port = &mut slot.ports[from.1.index()];
            assert!(*port == NO_LINK, "{} port {} has two links", slot.name, from.1.0);
            *port = index;
            let mut direction = Direction::new(direction, link.0, from, to, spec.mtu);
            direction.arm(self.seed, || direction_name(&slot.name, from.1));
            self.directions.push(direction);
        }
        link
    }

    /// Who listens from now on. It is called only when this simulation records; whether it wants frames is asked now.
    pub fn set_recorder(&mut self, recorder: Box<dyn Recorder>) {
        self.shows_frames = self.recording && recorder.wants_frames();
        self.recorder = Some(recorder);
    }

    /// Gives the recorder back.
    pub fn take_recorder(&mut self) -> Option<Box<dyn Recorder>> {
        self.shows_frames = false;
        self.recorder.take()
    }

    /// The node, when it is a `T`.
    pub fn node_mut<T: 'static>(&mut self, id: NodeId) -> Option<&mut T> {
        self.nodes.get_mut(id.index())?.node.as_any_mut().downcast_mut()
    }

    /// The time of the last event, or the limit of the last [`Sim::run_until`] that reached it.
    #[must_use]
    pub fn now(&self) -> Time {
        self.now
    }

    /// Counters of the run.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let in_flight = self.directions.iter().map(|d| d.flight.len() as u64).sum();
        Stats { in_flight, ..self.stats.clone() }
    }

    /// Signals since the last call, in order.
    pub fn take_signals(&mut self) -> Vec<(Time, NodeId, Signal)> {
        std::mem::take(&mut self.signals)
    }
}

/// Running.
impl Sim {
    /// Switches every node on, in order, now.
    pub fn boot(&mut self) {
        for index in 0..self.nodes.len() as u32 {
            self.handle_with(NodeId(index), Input::Boot, What::Boot);
        }
    }

    /// Tells `node` at `at` (or now, if that is past) to start a step.
    pub fn command(&mut self, at: Time, node: NodeId, step: u32) {
        self.control(at, Class::Command, node, Control::Command { node, step });
    }

    /// Changes a link at `at` (or now, if that is past).
    ///
    /// # Panics
    /// When there is no such link.
    pub fn change_link(&mut self, at: Time, link: LinkId, change: LinkChange) {
        let node = self.directions[link.index() * 2].from.0;
        self.control(at, Class::LinkChange, node, Control::Link { link, change });
    }

    /// A node forgets its NAT mappings at `at` (or now, if that is past).
    pub fn rebind(&mut self, at: Time, node: NodeId, change: bool) {
        self.control(at, Class::LinkChange, node, Control::Rebind { node, change });
    }

    /// A frame comes from the real program that plays `node`, at `at` (or now, if that is past). Frames for the same
    /// instant keep the order of the calls.
    ///
    /// The same calls at the same point (everything up to `at` handled) give the same run, which is how a recorded run
    /// is made again.
    pub fn inject(&mut self, at: Time, node: NodeId, port: PortId, bytes: Vec<u8>) {
        self.control(at, Class::Command, node, Control::Outside { node, port, bytes });
    }

    /// Records at `at` (or now, if that is past) what is known of the real program that plays `node`, as if it had said
    /// so itself.
    pub fn say(&mut self, at: Time, node: NodeId, record: AppRecord) {
        let record = Box::new(record);
        self.control(at, Class::Command, node, Control::Said { node, record });
    }

    /// When something happens next without a new command, or a little earlier: an entry may turn out to be stale.
    pub fn next_time(&mut self) -> Option<Time> {
        self.queue.peek().map(|entry| entry.key.time)
    }

    fn control(&mut self, at: Time, class: Class, node: NodeId, control: Control) {
        let target = self.free.pop().unwrap_or(self.controls.len() as u32);
        match self.controls.get_mut(target as usize) {
            Some(slot) => *slot = Some(control),
            None => self.controls.push(Some(control)),
        }
        let key = Key::new(at.max(self.now), class, node, self.nodes[node.index()].next_key());
        self.queue.push(Entry { key, target });
    }

    /// Handles one event; returns its time, or `None` when there is none.
    pub fn step(&mut self) -> Option<Time> {
        match self.next(Time::MAX) {
            Next::Done => Some(self.now),
            Next::Idle | Next::Limit => None,
        }
    }

    /// Handles events up to and including `limit`, or until a node signals.
    pub fn run_until(&mut self, limit: Time) -> StopReason {
        loop {
            match self.next(limit) {
                Next::Done if self.signals.is_empty() => {}
                Next::Done => return StopReason::Signals,
                Next::Idle => return StopReason::Idle,
                Next::Limit => {
                    self.now = self.now.max(limit);
                    return StopReason::Limit;
                }
            }
        }
    }

    /// The earliest event that is not stale and not after `limit`.
    #[inline]
    fn next(&mut self, limit: Time) -> Next {
        loop {
            let Some(entry) = self.queue.peek() else { return Next::Idle };
            if entry.key.time > limit {
                return Next::Limit;
            }
            let done = match entry.key.class() {
                Class::Frame => self.arrival(entry),
                Class::Timer => self.timer(entry),
                Class::Command | Class::LinkChange => self.controlled(entry),
            };
            if done {
                return Next::Done;
            }
        }
    }

    /// Moves the clock to an event that is not stale.
    #[inline]
    fn advance_clock(&mut self, key: Key) {
        assert!(key.time >= self.now, "time went back from {} to {}", self.now, key.time);
        assert!(self.last.is_none_or(|last| last != key), "two events have the key {key:?}");
        self.last = Some(key);
        self.now = key.time;
        self.stats.events += 1;
    }

    /// Delivers the first frame of a direction; false when the entry is stale (overtaken, or lost in a cut).
    #[inline(always)]
    fn arrival(&mut self, entry: Entry) -> bool {
        let direction = &mut self.directions[entry.target as usize];
        let Some(InFlight { event, frame, .. }) = direction.flight.take(entry.key) else {
            self.queue.advance(None);
            return false;
        };
        direction.flight.warm_up();
        let next = direction.flight.head().map(|key| Entry { key, target: entry.target });
        let (node, port) = direction.to;
        self.queue.advance(next);
        self.advance_clock(entry.key);
        self.stats.delivered += 1;
        if self.shows_frames {
            self.show(self.now, (node, port), Way::In, &frame, event);
        }
        let slot = &mut self.nodes[node.index()];
        self.out.begin(node, self.now, event, slot.counters);
        slot.node.handle(self.now, Input::Frame { port, frame }, &mut self.out);
        self.drain(node);
        true
    }

    /// Fires a node's timer if its wish is due; false when the entry is stale or the wish has moved on.
    fn timer(&mut self, entry: Entry) -> bool {
        let node = NodeId(entry.target);
        let slot = &mut self.nodes[node.index()];
        if slot.queued != Some(entry.key) {
            self.queue.advance(None);
            return false;
        }
        slot.queued = None;
        if slot.wish > entry.key.time {
            // The wish moved to later while this entry waited: ask again then.
            let next = slot.queue_timer(node);
            self.queue.advance(next);
            return false;
        }
        slot.wish = Time::MAX;
        slot.count_timer(entry.key.time);
        self.queue.advance(None);
        self.advance_clock(entry.key);
        self.handle(node, Input::Timer, EventId::NONE);
        true
    }

    fn controlled(&mut self, entry: Entry) -> bool {
        self.queue.advance(None);
        self.advance_clock(entry.key);
        self.free.push(entry.target);
        match self.controls[entry.target as usize].take() {
            Some(Control::Command { node, step }) => {
                self.handle_with(node, Input::Command { step }, What::Command { step })
            }
            Some(Control::Link { link, change }) => self.apply(link, change),
            Some(Control::Rebind { node, change }) => {
                self.handle(node, Input::Rebind { change }, EventId::NONE);
            }
            Some(Control::Outside { node, port, bytes }) => {
                self.handle_with(node, Input::Outside { port, bytes }, What::FromOutside { port })
            }
            Some(Control::Said { node, record }) => self.said(node, record),
            None => {}
        }
        true
    }

    /// Records what somebody outside knows of a node.
    fn said(&mut self, node: NodeId, record: Box<AppRecord>) {
        self.out.begin(node, self.now, EventId::NONE, self.nodes[node.index()].counters);
        self.out.record(FrameId::NONE, || What::App(record));
        self.nodes[node.index()].counters = self.out.counters();
        self.tell();
    }

    /// Handles an input that is an event itself: records it and makes it the cause.
    fn handle_with(&mut self, node: NodeId, input: Input, what: What) {
        self.out.begin(node, self.now, EventId::NONE, self.nodes[node.index()].counters);
        let cause = self.out.record(FrameId::NONE, || what);
        self.nodes[node.index()].counters = self.out.counters();
        self.handle(node, input, cause);
    }

    /// One input of one node that is not a frame. ([`Self::arrival`] says the same in place: a frame is moved once less.)
    fn handle(&mut self, node: NodeId, input: Input, cause: EventId) {
        let slot = &mut self.nodes[node.index()];
        self.out.begin(node, self.now, cause, slot.counters);
        slot.node.handle(self.now, input, &mut self.out);
        self.drain(node);
    }

    /// All that follows now from what the node put into the outbox.
    #[inline(always)]
    fn drain(&mut self, node: NodeId) {
        if let Some(wish) = self.out.wake.take() {
            self.wish(node, wish);
        }
        if !self.out.frames.is_empty() {
            self.carry(node);
        }
        self.nodes[node.index()].counters = self.out.counters();
        if self.recording {
            self.tell();
        }
        if !self.out.signals.is_empty() {
            let (now, signals) = (self.now, &mut self.signals);
            signals.extend(self.out.signals.drain(..).map(|signal| (now, node, signal)));
        }
    }

    /// Notes when a node wants its timer. A later wish than the queued one waits until that entry comes up.
    fn wish(&mut self, node: NodeId, wish: Time) {
        let now = self.now;
        let slot = &mut self.nodes[node.index()];
        slot.wish = if wish == Time::MAX { wish } else { wish.max(now) };
        if slot.queued.is_none_or(|queued| slot.wish < queued.time)
            && let Some(entry) = slot.queue_timer(node)
        {
            self.queue.push(entry);
        }
    }

    /// Offers what the node sent to its links.
    #[inline(always)]
    fn carry(&mut self, node: NodeId) {
        if self.out.frames.len() == 1
            && let Some((port, frame)) = self.out.frames.pop()
        {
            return self.offer(node, port, frame);
        }
        let mut frames = std::mem::take(&mut self.out.frames);
        for (port, frame) in frames.drain(..) {
            self.offer(node, port, frame);
        }
        self.out.frames = frames;
    }

    #[inline(always)]
    fn offer(&mut self, node: NodeId, port: PortId, frame: Frame) {
        self.stats.sent += 1;
        let slot = &mut self.nodes[node.index()];
        let index = slot.ports.get(port.index()).copied().unwrap_or(NO_LINK);
        let Some(direction) = self.directions.get_mut(index as usize) else {
            return self.lose(port, frame, DropReason::LinkDown);
        };
        match direction.offer(self.now + slot.processing, frame.len(), tag_len(&frame)) {
            Ok(sent) if self.recording || direction.faulty() => self.watched(port, index, sent, frame),
            Ok(sent) => {
                let key = Key::new(sent.arrive, Class::Frame, node, slot.next_key());
                if direction.flight.insert(InFlight { key, event: EventId::NONE, frame }) {
                    self.queue.push(Entry { key, target: index });
                }
            }
            Err(reason) => self.lose(port, frame, reason),
        }
    }
}

/// Bytes of a VLAN tag, which links carry on top of their MTU (IEEE 802.3ac).
#[inline]
fn tag_len(frame: &Frame) -> usize {
    if frame.bytes.get(12..14) == Some(&[0x81, 0x00]) { 4 } else { 0 }
}

enum Next {
    Done,
    Idle,
    Limit,
}

/// What is not on the steady path.
impl Sim {
    /// A frame that is recorded, or that the link may delay, lose, damage or copy.
    fn watched(&mut self, port: PortId, index: u32, sent: Sent, mut frame: Frame) {
        let event = if self.recording { self.transmitted(port, index, sent, &frame) } else { EventId::NONE };
        let fate = self.directions[index as usize].roll(sent.arrive, frame.len());
        if let Some(again) = fate.again {
            self.stats.duplicated += 1;
            self.launch(index, again, event, frame.clone());
        }
        if fate.lost || fate.damaged {
            let reason = if fate.lost { DropReason::LinkLoss } else { DropReason::FrameCheck };
            return self.lose(port, frame, reason);
        }
        if let Some(bit) = fate.flip
            && let Some(byte) = frame.bytes.get_mut((bit / 8) as usize)
        {
            *byte ^= 1 << (bit % 8);
        }
        self.launch(index, sent.arrive + fate.late, event, frame);
    }

    /// Puts a frame on its way; its key is made by the sender.
    fn launch(&mut self, index: u32, arrive: Time, event: EventId, frame: Frame) {
        let direction = &mut self.directions[index as usize];
        let node = direction.from.0;
        let key = Key::new(arrive, Class::Frame, node, self.nodes[node.index()].next_key());
        if direction.flight.insert(InFlight { key, event, frame }) {
            self.queue.push(Entry { key, target: index });
        }
    }

    /// Ends a frame at its sender, whose outbox is open.
    #[cold]
    fn lose(&mut self, port: PortId, frame: Frame, reason: DropReason) {
        *self.stats.dropped.entry(reason).or_default() += 1;
        let place = if reason == DropReason::QueueFull { Place::Queue } else { Place::Link };
        self.out.drop_frame(frame, reason, place, port, None);
    }

    fn apply(&mut self, link: LinkId, change: LinkChange) {
        let pair = [link.0 * 2, link.0 * 2 + 1];
        let mut lost = Vec::new();
        for index in pair {
            let direction = &mut self.directions[index as usize];
            let (node, port) = direction.from;
            lost.extend(direction.change(self.now, change).into_iter().map(|f| (node, port, f.frame)));
            let slot = &self.nodes[node.index()];
            direction.arm(self.seed, || direction_name(&slot.name, port));
        }
        let first = &self.directions[pair[0] as usize];
        let ((up, loss_ppm), node) = (first.condition(), first.from.0);
        self.out.begin(node, self.now, EventId::NONE, self.nodes[node.index()].counters);
        let cause = self.out.record(FrameId::NONE, || What::LinkChanged { link, up, loss_ppm });
        self.nodes[node.index()].counters = self.out.counters();
        for (node, port, frame) in lost {
            self.out.begin(node, self.now, cause, self.nodes[node.index()].counters);
            self.lose(port, frame, DropReason::LinkDown);
            self.nodes[node.index()].counters = self.out.counters();
        }
        self.tell();
    }

    /// Records that a frame was given to its link, then shows it to captures.
    fn transmitted(&mut self, port: PortId, index: u32, sent: Sent, frame: &Frame) -> EventId {
        let node = self.out.node();
        let link = LinkId(self.directions[index as usize].link);
        let processing = self.nodes[node.index()].processing;
        let Sent { start, done, arrive } = sent;
        let event = self.out.record(frame.id, || What::Transmit {
            link,
            port,
            processing: u32::try_from(processing.0).unwrap_or(u32::MAX),
            start,
            done,
            arrive,
        });
        if self.shows_frames {
            self.tell();
            self.show(self.now + processing, (node, port), Way::Out, frame, event);
        }
        event
    }

    /// Hands recorded events on.
    fn tell(&mut self) {
        if let Some(recorder) = &mut self.recorder {
            self.out.events.iter().for_each(|event| recorder.event(event));
            self.out.inside.iter().filter(|_| self.shows_frames).for_each(|seen| recorder.inside(seen));
        }
        self.out.events.clear();
        self.out.inside.clear();
    }

    /// Hands a frame that passes an interface on.
    fn show(&mut self, at: Time, (node, port): (NodeId, PortId), way: Way, frame: &Frame, event: EventId) {
        if let Some(recorder) = &mut self.recorder {
            recorder.frame(at, node, port, way, frame, event);
        }
    }
}

impl Slot {
    #[inline]
    fn next_key(&mut self) -> u64 {
        self.keys += 1;
        self.keys
    }

    /// The queue entry for the present wish, if there is one.
    fn queue_timer(&mut self, node: NodeId) -> Option<Entry> {
        if self.wish == Time::MAX {
            return None;
        }
        let key = Key::new(self.wish, Class::Timer, node, self.next_key());
        self.queued = Some(key);
        Some(Entry { key, target: node.0 })
    }

    fn count_timer(&mut self, now: Time) {
        self.timers_now = if self.timers_now.0 == now { (now, self.timers_now.1 + 1) } else { (now, 1) };
        assert!(self.timers_now.1 < TIMERS_PER_INSTANT, "{} asks for timers at {now} without end", self.name);
    }
}

/// Whose dice a direction rolls.
fn direction_name(node: &str, port: PortId) -> String {
    format!("{node}:{}", port.0)
}
