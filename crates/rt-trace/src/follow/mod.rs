//! Questions about one request and its packets: hop by hop, layer by layer, before and after each rewrite, or what one
//! machine saw of it all.
//!
//! A query over the events and frames of the trace, never a second tracer. Each answer is data (with a JSON Schema by
//! its types) and can be printed with [`packet_text`] and its siblings. The packet numbers are those of [`crate::story::RequestStory::packets`].

mod text;

use rt_base::{Event, FrameId, Nanos, NodeId, SendWhy, Time, Way, What};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::read::Side;
use crate::story::view::{Leg, View};
use crate::story::{self, Line, RequestStory, Story};
use crate::{Captured, Trace};

pub use crate::story::Room;
pub use text::{at_text, packet_text, request_text};

/// Why a question has no answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Unknown {
    /// No request of that number or URL; these there are.
    Request {
        /// What was asked for.
        asked: String,
        /// Numbers with method and target.
        known: Vec<String>,
    },
    /// The request has no packet of that number.
    Packet {
        /// What was asked for.
        asked: u32,
        /// Its packets are numbered from 1 to this.
        last: u32,
    },
    /// No machine of that name; these saw the request.
    Node {
        /// What was asked for.
        asked: String,
        /// Machines on the way.
        known: Vec<String>,
    },
}

impl core::fmt::Display for Unknown {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Unknown::Request { asked, known } => {
                write!(f, "no request `{asked}`; there are: {}", known.join(", "))
            }
            Unknown::Packet { asked, last: 0 } => {
                write!(f, "no packet {asked}: this request needed no packet")
            }
            Unknown::Packet { asked, last } => {
                write!(f, "no packet {asked}: they are numbered from 1 to {last}")
            }
            Unknown::Node { asked, known } => {
                write!(f, "`{asked}` is not a machine that saw this request; these did: {}", known.join(", "))
            }
        }
    }
}

impl std::error::Error for Unknown {}

/// One packet on its way.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct PacketPath {
    /// The request's number in the story.
    pub request: u32,
    /// The packet's number in the request.
    pub packet: u32,
    /// The frame's identity.
    pub frame: String,
    /// What it carries in a few words.
    pub carries: String,
    /// As tcpdump prints it, where it was sent.
    pub summary: String,
    /// Bytes of the frame.
    pub len: u32,
    /// Why it was sent.
    pub why: String,
    /// Machine by machine.
    pub hops: Vec<PacketHop>,
    /// How it ended: `delivered`, a drop code, or `under way`.
    pub end: String,
    /// What each link carries and what is around the packet there; empty when all links are alike and nothing is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub budget: Vec<Room>,
    /// Layer by layer, as sent and as it was at its end.
    pub layers: Vec<Layer>,
}

/// One machine on a packet's way.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct PacketHop {
    /// The machine.
    pub node: String,
    /// What it is.
    pub role: String,
    /// Where it stands.
    pub place: String,
    /// The interface it came in by; empty where it starts.
    pub in_by: String,
    /// Its last bit was there.
    pub in_ns: u64,
    /// The interface it left by; empty where it ended.
    pub out_by: String,
    /// It was offered to the link.
    pub out_ns: Option<u64>,
    /// What the machine did, in order: places, verdicts, rules and their origins.
    pub walk: Vec<Line>,
    /// Header fields that differ between coming in and going out.
    pub changed: Vec<Change>,
    /// The link it left by.
    pub link: Option<LinkTime>,
}

/// A header field that was rewritten.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// `IPv4`.
    pub layer: String,
    /// `TTL`.
    pub field: String,
    /// Value before.
    pub before: String,
    /// Value after.
    pub after: String,
}

/// Time spent on the way to the next machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct LinkTime {
    /// In the machine, before it was offered to the link.
    pub processing_ns: u64,
    /// Waiting behind other frames.
    pub queue_ns: u64,
    /// Putting the bits on the link.
    pub serialisation_ns: u64,
    /// On the link.
    pub propagation_ns: u64,
}

/// One layer of a packet at both ends of its way.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Layer {
    /// `Ethernet`, `IPv4`, `TCP`.
    pub name: String,
    /// Name, value as sent, value as last seen (absent when the same).
    pub fields: Vec<LayerField>,
}

/// One field of a layer.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct LayerField {
    /// Name.
    pub name: String,
    /// Value as sent.
    pub sent: String,
    /// Value as last seen, when it differs.
    pub arrived: Option<String>,
}

/// What one machine saw of a request.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct SeenAt {
    /// The request's number.
    pub request: u32,
    /// The machine.
    pub node: String,
    /// What it is.
    pub role: String,
    /// Packets in the order seen.
    pub packets: Vec<SeenPacket>,
}

/// One packet as a machine saw it.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct SeenPacket {
    /// Its number in the request.
    pub packet: u32,
    /// When it came (or was made).
    pub at_ns: u64,
    /// `in`, `out` or `through`.
    pub way: String,
    /// Interfaces: in and out.
    pub interfaces: Vec<String>,
    /// As it came, or as it left when it was made here.
    pub summary: String,
    /// What it carries.
    pub carries: String,
    /// What the machine did with it.
    pub walk: Vec<Line>,
    /// Header fields that it rewrote.
    pub changed: Vec<Change>,
}

/// The request of the story that a person means: by number, by URL, or by a part of it.
///
/// # Errors
/// [`Unknown::Request`] with those that there are.
pub fn find<'s>(story: &'s Story, wanted: &str) -> Result<&'s RequestStory, Unknown> {
    let all = || story.steps.iter().flat_map(|s| &s.requests);
    // A number is a number, also when no request has it: part of some address is not what was meant.
    let found = match wanted.parse::<u64>() {
        Ok(number) => all().find(|r| u64::from(r.number) == number),
        Err(_) => all()
            .find(|r| r.target == wanted)
            .or_else(|| all().find(|r| !wanted.is_empty() && r.target.contains(wanted))),
    };
    found.ok_or_else(|| {
        let known = all().map(|r| format!("{} ({} {})", r.number, r.method, r.target)).collect();
        Unknown::Request { asked: wanted.to_string(), known }
    })
}

/// One packet of a request, hop by hop.
///
/// # Errors
/// [`Unknown`] when there is no such request or packet.
pub fn packet(trace: &Trace, request: u32, packet: u32) -> Result<PacketPath, Unknown> {
    let view = View::new(trace);
    let frames = frames(&view, request)?;
    let last = u32::try_from(frames.len()).unwrap_or(u32::MAX);
    let index = (packet as usize).checked_sub(1);
    let frame = index.and_then(|i| frames.get(i)).ok_or(Unknown::Packet { asked: packet, last })?;
    Ok(path(&view, *frame, (request, packet)))
}

/// What a machine saw of a request.
///
/// # Errors
/// [`Unknown`] when there is no such request, or no such machine on its way.
pub fn at(trace: &Trace, request: u32, node: &str) -> Result<SeenAt, Unknown> {
    let view = View::new(trace);
    let frames = frames(&view, request)?;
    let found = trace.map.node_named(node);
    let passed = |node: NodeId| frames.iter().any(|f| trace.sightings(*f).any(|c| c.node == node));
    let Some(node_id) = found.filter(|n| passed(*n)) else {
        let all = (0..trace.map.nodes.len()).filter_map(|i| u32::try_from(i).ok()).map(NodeId);
        let known = all.filter(|n| passed(*n)).map(|n| view.name(n)).collect();
        return Err(Unknown::Node { asked: node.to_string(), known });
    };
    let numbered = frames.iter().enumerate();
    let seen = numbered.filter_map(|(i, f)| seen_packet(&view, *f, node_id, u32::try_from(i + 1).ok()?));
    let mut packets: Vec<SeenPacket> = seen.collect();
    packets.sort_by_key(|p| (p.at_ns, p.packet));
    let facts = trace.map.nodes.get(node_id.index());
    let role = facts.map_or_else(String::new, |f| f.role.clone());
    Ok(SeenAt { request, node: view.name(node_id), role, packets })
}

fn frames(view: &View<'_>, request: u32) -> Result<Vec<FrameId>, Unknown> {
    story::frames_of_request(view, request)
        .ok_or(Unknown::Request { asked: request.to_string(), known: Vec::new() })
}

fn path(view: &View<'_>, frame: FrameId, (request, packet): (u32, u32)) -> PacketPath {
    let trace = view.trace;
    let way = view.way(frame);
    let first = trace.sightings(frame).next();
    let last = way.last().map_or(first, |leg| sighting(trace, frame, leg.to, Way::In).or(first));
    let mut hops = Vec::new();
    for i in 0..=way.len() {
        let arrived = i.checked_sub(1).map(|i| &way[i]);
        let node = arrived.map(|l| l.to).or(way.first().map(|l| l.from)).or(first.map(|c| c.node));
        hops.extend(node.map(|node| hop(view, frame, node, (arrived, way.get(i)))));
    }
    let dropped = trace.events_of(frame).filter_map(|e| match e.what {
        What::Drop { reason, .. } if reason != rt_base::DropReason::NotForThisStation => Some(reason.code()),
        _ => None,
    });
    let delivered = view.delivered(frame).is_some();
    let budget = story::room::budget(view, frame, &way);
    PacketPath {
        request,
        packet,
        frame: format!("{frame:?}"),
        carries: story::carries(view, frame),
        summary: first.map_or_else(String::new, |c| rt_wire::summary(&c.bytes)),
        len: first.map_or(0, |c| u32::try_from(c.len()).unwrap_or(u32::MAX)),
        why: why(view, frame),
        hops,
        end: if delivered { "delivered".into() } else { dropped.last().unwrap_or("under way").into() },
        budget,
        layers: layers(first, last),
    }
}

fn sighting(trace: &Trace, frame: FrameId, node: NodeId, way: Way) -> Option<&Captured> {
    trace.sightings(frame).rev().find(|c| c.node == node && c.way == way)
}

fn hop(
    view: &View<'_>,
    frame: FrameId,
    node: NodeId,
    (came, goes): (Option<&Leg<'_>>, Option<&Leg<'_>>),
) -> PacketHop {
    let trace = view.trace;
    let facts = trace.map.nodes.get(node.index());
    let on_link = |leg: &Leg<'_>, way| {
        trace.sightings(leg.event.frame).rev().find(|c| c.node == node && c.way == way && trace.on_link(c))
    };
    let (before, after) = (came.and_then(|l| on_link(l, Way::In)), goes.and_then(|l| on_link(l, Way::Out)));
    let began = goes.filter(|_| came.is_none()).and_then(|_| view.began(frame, node));
    let sent = goes.map(|l| l.event.at);
    let start = came.map(|l| l.arrive).or(began).or(sent).unwrap_or(Time::ZERO);
    let end = goes.map_or(Time::MAX, |l| l.out);
    let legs: Vec<Leg<'_>> = [came, goes].into_iter().flatten().copied().collect();
    let here = view.events_along(frame, &legs).into_iter();
    let here = here.filter(|e| e.node() == node && e.at >= start && e.at <= end);
    // What a tunnel's end has before it wraps, or after it has unwrapped, is what can be compared.
    let inside = |way| {
        let mut of_node = trace.sightings(frame).filter(move |c| c.node == node && c.way == way);
        of_node.find(|c| !trace.on_link(c) && c.at >= start && c.at <= end)
    };
    let bare = (inside(Way::In).or(before), inside(Way::Out).or(after));
    let port = |c: Option<&Captured>| c.map_or_else(String::new, |c| trace.map.port_name(node, c.port));
    PacketHop {
        node: view.name(node),
        role: facts.map_or_else(String::new, |f| f.role.clone()),
        place: facts.and_then(|f| f.place.clone()).unwrap_or_default(),
        in_by: port(before),
        in_ns: start.0,
        out_by: port(after),
        out_ns: goes.map(|l| l.out.0),
        walk: here.filter_map(|e| story::did(view, e)).collect(),
        changed: match bare {
            (Some(before), Some(after)) if came.is_some() && goes.is_some() => changes(before, after),
            _ => Vec::new(),
        },
        link: goes.and_then(|l| link_time(l.event)),
    }
}

fn link_time(event: &Event) -> Option<LinkTime> {
    let What::Transmit { processing, start, done, arrive, .. } = event.what else { return None };
    let offered = event.at + Nanos(u64::from(processing));
    Some(LinkTime {
        processing_ns: u64::from(processing),
        queue_ns: start.since(offered).0,
        serialisation_ns: done.since(start).0,
        propagation_ns: arrive.since(done).0,
    })
}

fn changes(before: &Captured, after: &Captured) -> Vec<Change> {
    let mut all = Vec::new();
    for layer in layers(Some(before), Some(after)) {
        for field in layer.fields {
            if let Some(arrived) = field.arrived {
                all.push(Change {
                    layer: layer.name.clone(),
                    field: field.name,
                    before: field.sent,
                    after: arrived,
                });
            }
        }
    }
    all
}

fn layers(sent: Option<&Captured>, arrived: Option<&Captured>) -> Vec<Layer> {
    let of = |seen: Option<&Captured>| {
        let mut layers = seen.map_or_else(Vec::new, |c| rt_wire::layers(&c.bytes));
        layers.retain(|l| l.name != "Ethernet" || seen.is_none_or(|c| !c.is_bare()));
        layers
    };
    let (here, there) = (of(sent), of(arrived));
    let link_layers = |all: &[rt_wire::LayerView]| all.iter().take_while(|l| l.name == "Ethernet").count();
    let shift = (link_layers(&here), link_layers(&there));
    let layer = |(i, view): (usize, rt_wire::LayerView)| {
        // Where one of them has no link layer, the others are compared.
        let i = if shift.0 == shift.1 { Some(i) } else { (i + shift.1).checked_sub(shift.0) };
        let other = i.and_then(|i| there.get(i)).filter(|o| o.name == view.name);
        let field = |(name, value): (String, String)| {
            let now = other.and_then(|o| o.fields.iter().find(|f| f.0 == name)).map(|f| f.1.clone());
            LayerField { name, arrived: now.filter(|n| *n != value), sent: value }
        };
        Layer { name: view.name, fields: view.fields.into_iter().map(field).collect() }
    };
    here.into_iter().enumerate().map(layer).collect()
}

/// Why a packet was sent, as far as its sender says.
fn why(view: &View<'_>, frame: FrameId) -> String {
    let trace = view.trace;
    let sent = trace.events_of(frame).find_map(|e| match &e.what {
        What::TcpSend(record) => Some((e, record)),
        _ => None,
    });
    if let Some((event, record)) = sent {
        if let Some(told) = story::why_again(view, event) {
            return told;
        }
        let waited = event.at.since(record.origin_at);
        let held = !record.origin.is_none() && waited > Nanos::ZERO;
        return match record.why {
            SendWhy::Handshake if held => {
                format!("part of TCP's handshake, again: {waited} after the copy before")
            }
            SendWhy::Handshake => "part of TCP's handshake".into(),
            SendWhy::NewData if held => format!("data that the application wrote {waited} before"),
            SendWhy::NewData => "data that the application has just written".into(),
            SendWhy::Fin => "the application has nothing more to send".into(),
            SendWhy::Ack => "to acknowledge what has come".into(),
            SendWhy::DelayedAck => {
                "to acknowledge what has come, after waiting whether data could go along".into()
            }
            SendWhy::FastRetransmit => {
                format!(
                    "again: acknowledgements for later bytes showed, {waited} after the copy before, that it was lost"
                )
            }
            SendWhy::RtoRetransmit => {
                format!("again: no acknowledgement came for {waited} (retransmission timer)")
            }
            SendWhy::PathMtu => {
                "again, in smaller pieces: a router said that it is too long for the path".into()
            }
            SendWhy::TailLossProbe => {
                format!("again: the last packet stayed unanswered for {waited} (tail loss probe)")
            }
            SendWhy::WindowProbe => "to ask whether the closed window is open again".into(),
            SendWhy::Keepalive => "to ask whether the other end is still there".into(),
            SendWhy::Reset => "to tear the connection down".into(),
            SendWhy::ChallengeAck => "to check a suspicious segment (RFC 5961)".into(),
        };
    }
    let side = view.conn_of(frame).map(|(_, side)| side);
    let first = trace.sightings(frame).next();
    let parent = first.filter(|c| !c.parent.is_none()).map(|c| c.parent);
    match (parent, side) {
        (Some(parent), _) => format!("because of the packet {parent:?}"),
        (None, Some(Side::Client)) => "the client's side of the connection".into(),
        (None, Some(Side::Server)) => "the server's side of the connection".into(),
        (None, None) if view.is_dns(frame) => "a question to a name server, or its answer".into(),
        (None, None) => String::new(),
    }
}

fn seen_packet(view: &View<'_>, frame: FrameId, node: NodeId, number: u32) -> Option<SeenPacket> {
    let trace = view.trace;
    let (came, left) = (sighting(trace, frame, node, Way::In), sighting(trace, frame, node, Way::Out));
    let shown = came.or(left)?;
    let here = trace.events_of(frame).filter(|e| e.node() == node);
    let interfaces = [came, left].into_iter().flatten().map(|c| trace.map.port_name(node, c.port)).collect();
    Some(SeenPacket {
        packet: number,
        at_ns: shown.at.0,
        way: match (came, left) {
            (Some(_), Some(_)) => "through",
            (Some(_), None) => "in",
            _ => "out",
        }
        .into(),
        interfaces,
        summary: rt_wire::summary(&shown.bytes),
        carries: story::carries(view, frame),
        walk: here.filter_map(|e| story::did(view, e)).collect(),
        changed: match (came, left) {
            (Some(came), Some(left)) => changes(came, left),
            _ => Vec::new(),
        },
    })
}
