//! The MTU budget of a packet's way: what each link carries, what is put around the packet there, and what room is left.
//!
//! Inside a TCP stream no link's MTU counts: the stream is cut as its own TCP likes. What counts there is the tunnel interface.

use rt_base::{DropReason, Event, FrameId, What};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::model::Line;
use super::view::{Leg, View};
use crate::TraceMap;

/// One link on the way, or the interface that the packet did not fit into.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Room {
    /// Machine and interface: `home.router:line`.
    pub at: String,
    /// The longest IP packet that interface and link carry.
    pub mtu: u16,
    /// What is around the packet there, from the inside out: `PPPoE`, with its bytes.
    pub around: Vec<(String, u16)>,
    /// What is left for the packet.
    pub room: u16,
    /// Whether this packet fits.
    pub fits: bool,
    /// Whether it is a part of a TCP stream there, which is cut as TCP likes: then only what is outside the stream counts.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub stream: bool,
}

/// What is around a packet at some point of its way.
#[derive(Clone, Debug)]
struct Wrap {
    name: String,
    bytes: u16,
    /// The longest that the interface takes which put it around.
    mtu: u16,
    stream: bool,
}

/// The budget along the legs of a frame; empty when nothing is around it and all links carry the same.
pub(crate) fn budget(view: &View<'_>, frame: FrameId, way: &[Leg<'_>]) -> Vec<Room> {
    let map = &view.trace.map;
    let mut around: Vec<Wrap> = Vec::new();
    let mut rows: Vec<Room> = Vec::new();
    let mut route = None;
    for event in view.events_along(frame, way) {
        let node = event.node();
        match &event.what {
            What::Wrapped { port, overhead, mtu, .. } => {
                let program = map.program_of(node, *port);
                let least = program.map_or_else(|| map.kind_of(node, *port).overhead(), |p| p.overhead);
                around.push(Wrap {
                    name: map.wrapping(node, *port).to_string(),
                    bytes: least.min(*overhead),
                    mtu: *mtu,
                    stream: program.is_some_and(|p| p.stream),
                });
            }
            What::Unwrapped { .. } => drop(around.pop()),
            What::Route { out, .. } => route = Some((node, *out)),
            What::Transmit { link, port, .. } if way.iter().any(|leg| leg.event.id == event.id) => {
                let of_link = map.links.get(link.index()).map_or(u16::MAX, |l| l.mtu);
                rows.push(row(map.end_name((node, *port)), of_link.min(map.mtu_of(node, *port)), &around));
            }
            What::Drop { reason: DropReason::FragmentationNeeded, .. } => {
                let Some(end) = route.filter(|(at, _)| *at == node) else { continue };
                let narrow = row(map.end_name(end), map.mtu_of(end.0, end.1), &around);
                rows.push(Room { fits: false, ..narrow });
            }
            _ => {}
        }
    }
    let plain = rows.iter().all(|r| r.fits && r.around.is_empty() && r.mtu == rows[0].mtu);
    if plain { Vec::new() } else { rows }
}

/// Each interface that wrapped the packet takes so much of what was inside it, and so does the link.
fn row(at: String, mtu: u16, around: &[Wrap]) -> Room {
    let (mut room, mut inside) = (u16::MAX, 0_u16);
    for wrap in around {
        room = room.min(wrap.mtu.saturating_sub(inside));
        inside = inside.saturating_add(wrap.bytes);
        if wrap.stream {
            break;
        }
    }
    let stream = around.iter().any(|w| w.stream);
    if !stream {
        room = room.min(mtu.saturating_sub(inside));
    }
    let around = around.iter().map(|w| (w.name.clone(), w.bytes)).collect();
    Room { at, mtu, around, room, fits: true, stream }
}

/// The least room on the way.
pub(crate) fn narrowest(rooms: &[Room]) -> Option<u16> {
    rooms.iter().map(|r| r.room).min()
}

/// `1500 - 60 WireGuard = 1440  the narrowest`, among these.
pub(crate) fn words(room: &Room, all: &[Room]) -> String {
    let narrowest = narrowest(all).filter(|least| all.iter().any(|r| r.room > *least));
    let around: Vec<String> =
        room.around.iter().rev().map(|(kind, bytes)| format!(" - {bytes} {kind}")).collect();
    let left: u16 = room.around.iter().map(|(_, bytes)| *bytes).fold(room.mtu, u16::saturating_sub);
    let sum = match (room.around.is_empty(), room.stream) {
        (true, _) => String::new(),
        (false, true) => format!(", cut as its stream likes; the tunnel takes {}", room.room),
        (false, false) if left > room.room => format!(" = {left}, and the tunnel takes {}", room.room),
        (false, false) => format!(" = {}", room.room),
    };
    let mark = match (room.fits, Some(room.room) == narrowest) {
        (false, _) => "  it does not fit",
        (true, true) => "  the narrowest",
        (true, false) => "",
    };
    let around = if room.stream { String::new() } else { around.concat() };
    format!("{}{around}{sum}{mark}", room.mtu)
}

/// `1450 bytes get through in one piece, which is 1410 bytes of TCP's data`.
pub(crate) fn together(narrowest: u16) -> String {
    let segment = narrowest.saturating_sub(40);
    format!("{narrowest} bytes get through in one piece, which is {segment} bytes of TCP's data")
}

/// The budget of a frame's way as lines of the story, when something is around the packet somewhere, or when what two ends
/// agreed on does not get through: `segment` is the least MSS that they offered.
pub(crate) fn lines(view: &View<'_>, frame: FrameId, segment: Option<u16>) -> Vec<Line> {
    let rooms = budget(view, frame, &view.way(frame));
    let Some(least) = narrowest(&rooms) else { return Vec::new() };
    let over = segment.and_then(|mss| too_long(mss, least));
    if over.is_none() && rooms.iter().all(|room| room.around.is_empty()) {
        return Vec::new();
    }
    let head = "what each link carries, less what is around the packet there";
    let mut lines = vec![Line::new("mtu.budget", "the MTU budget", head).with("room", least)];
    for room in &rooms {
        let around: Vec<String> = room.around.iter().map(|(name, bytes)| format!("{bytes} {name}")).collect();
        lines.push(
            Line::new("mtu.room", room.at.clone(), words(room, &rooms))
                .deep(1)
                .with("mtu", room.mtu)
                .with("around", around.join(", "))
                .with("room", room.room),
        );
    }
    lines.push(Line::new("mtu.together", "together", together(least)).deep(1));
    lines.extend(over);
    lines
}

/// What two ends agreed on that does not get through.
fn too_long(segment: u16, least: u16) -> Option<Line> {
    let longest = segment.saturating_add(40);
    let over = longest.checked_sub(least).filter(|over| *over > 0)?;
    let text = format!(
        "the ends agreed on segments of up to {segment} bytes (MSS): packets of {longest}, {over} more than get through. \
         Whoever sends one must be told by ICMP (fragmentation needed), or it vanishes"
    );
    Some(Line::new("mtu.over", "too long", text).deep(1).with("segment", segment).with("over", over))
}

/// The interface that a dropped packet was too long for: `1500 bytes, and rack:vx0 takes 1450`.
pub(crate) fn too_narrow(
    map: &TraceMap,
    drop: &Event,
    events: &[&Event],
    len: Option<usize>,
) -> Option<String> {
    let What::Drop { reason: DropReason::FragmentationNeeded, .. } = drop.what else { return None };
    let before = events.iter().rev().filter(|e| e.id < drop.id || e.node() != drop.node());
    let out = before.filter(|e| e.node() == drop.node()).find_map(|e| match e.what {
        What::Route { out, .. } => Some(out),
        _ => None,
    })?;
    let bytes = len.map_or(String::new(), |len| format!("{len} bytes, and "));
    Some(format!("{bytes}{} takes {}", map.end_name((drop.node(), out)), map.mtu_of(drop.node(), out)))
}
