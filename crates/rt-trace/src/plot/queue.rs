//! The queues before links over time: how many frames and bytes stand there, and what was dropped because there was no room.

use std::collections::{BTreeMap, BTreeSet};

use rt_base::{DropReason, FixedMap, LinkId, Nanos, NodeId, Place, PortId, What};
use serde::{Deserialize, Serialize};

use crate::read::Side;
use crate::story::view::View;

/// One direction of a link: what waited before it. All traffic counts, not only the connection's.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct QueueCurve {
    /// The sending interface, `home.router:wan`.
    pub from: String,
    /// The machine at the other end.
    pub to: String,
    /// Bits per second; 0 is without limit.
    pub rate_bps: u64,
    /// (nanoseconds, frames that wait).
    pub packets: Vec<(u64, u64)>,
    /// (nanoseconds, bytes that wait).
    pub bytes: Vec<(u64, u64)>,
    /// Frames that found no room.
    pub overflows: Vec<Overflow>,
    /// The longest that a frame waited, nanoseconds.
    pub longest_ns: u64,
}

/// A frame that found no room in a queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Overflow {
    /// When.
    pub at_ns: u64,
    /// Whether it was the connection's.
    pub own: bool,
}

/// Directions of links that segments of one side crossed (or died before), in the order of the way.
pub(super) fn on_the_way(view: &View<'_>, conn: usize, from: Side) -> Vec<QueueCurve> {
    let mut frames = BTreeSet::new();
    for side in [Side::Client, Side::Server] {
        if let Some(end) = view.end(conn, side) {
            let own = view.tcp(end).segments.iter().filter(|s| s.from == from);
            frames.extend(own.map(|s| s.mark.frame));
        }
    }
    // What its own machine's queue had no room for was seen at no interface.
    let sent = view.tcp_events(conn, from).filter(|e| matches!(e.what, What::TcpSend(_)));
    frames.extend(sent.map(|e| e.frame));
    // Ways may change: each direction stands where the first frame to cross it crossed it.
    let mut place: BTreeMap<(NodeId, PortId), (usize, LinkId)> = BTreeMap::new();
    for frame in &frames {
        let legs = view.trace.events_of(*frame).filter_map(|e| match e.what {
            What::Transmit { link, port, .. } => Some((e.node(), port, link)),
            _ => None,
        });
        for (i, (node, port, link)) in legs.enumerate() {
            place.entry((node, port)).or_insert((i, link));
        }
    }
    let mut order: Vec<((NodeId, PortId), (usize, LinkId))> = place.into_iter().collect();
    order.sort_by_key(|(end, (i, _))| (*i, *end));
    let lengths = lengths(view);
    let known = Known { own: &frames, lengths: &lengths, life: life(view, conn) };
    order.into_iter().map(|(end, (_, link))| curve(view, end, link, &known)).collect()
}

/// Bytes of the frame of each crossing.
fn lengths(view: &View<'_>) -> FixedMap<rt_base::EventId, u64> {
    let mut all = FixedMap::default();
    for frame in view.trace.frames.iter().filter(|f| f.way == rt_base::Way::Out) {
        all.insert(frame.event, frame.bytes.len() as u64);
    }
    all
}

/// What a queue's curve is made from besides the events.
struct Known<'a> {
    /// The connection's frames.
    own: &'a BTreeSet<rt_base::FrameId>,
    /// Bytes of the frame of each crossing.
    lengths: &'a FixedMap<rt_base::EventId, u64>,
    /// First and last segment of the connection: what waited before and after is none of its business.
    life: (u64, u64),
}

fn life(view: &View<'_>, conn: usize) -> (u64, u64) {
    let story = crate::story::connection(view, conn);
    (story.start_ns, story.end_ns)
}

fn curve(view: &View<'_>, (node, port): (NodeId, PortId), link: LinkId, known: &Known<'_>) -> QueueCurve {
    let (from, to) = known.life;
    let map = &view.trace.map;
    let mut queue = QueueCurve { from: map.end_name((node, port)), ..QueueCurve::default() };
    queue.to = map.other_end(link, node).map_or_else(String::new, |(n, _)| map.node_name(n));
    if let Some(facts) = map.links.get(link.index()) {
        queue.rate_bps = if facts.a == (node, port) { facts.ab.rate_bps } else { facts.ba.rate_bps };
    }
    // (when, +1 or -1, bytes): a frame waits from its offer to its first bit.
    let mut changes: Vec<(u64, i64, i64)> = Vec::new();
    for event in view.trace.events_at(node) {
        match event.what {
            What::Transmit { port: p, processing, start, .. } if p == port => {
                let offered = event.at + Nanos(u64::from(processing));
                let bytes = known.lengths.get(&event.id).map_or(0, |b| i64::try_from(*b).unwrap_or(0));
                if start > offered && start.0 >= from && offered.0 <= to {
                    changes.push((offered.0, 1, bytes));
                    changes.push((start.0, -1, -bytes));
                    queue.longest_ns = queue.longest_ns.max(start.since(offered).0);
                }
            }
            What::Drop { reason: DropReason::QueueFull, place: Place::Queue, port: p, .. } if p == port => {
                let (at_ns, own) = (event.at.0, known.own.contains(&event.frame));
                queue.overflows.extend((at_ns >= from && at_ns <= to).then_some(Overflow { at_ns, own }));
            }
            _ => {}
        }
    }
    changes.sort_unstable();
    let (mut packets, mut bytes) = (0i64, 0i64);
    for (i, change) in changes.iter().enumerate() {
        (packets, bytes) = (packets + change.1, bytes + change.2);
        if changes.get(i + 1).is_none_or(|next| next.0 != change.0) {
            queue.packets.push((change.0, packets.unsigned_abs()));
            queue.bytes.push((change.0, bytes.unsigned_abs()));
        }
    }
    queue
}
