//! The MTU budget of a packet's way: what each link carries, what is put around the packet there, and what room is left.

use rt_base::{DropReason, FrameId, What};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::story::view::{Leg, View};

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
}

/// The budget along the legs of a frame; empty when nothing is around it and all links carry the same.
pub(super) fn budget(view: &View<'_>, frame: FrameId, way: &[Leg<'_>]) -> Vec<Room> {
    let map = &view.trace.map;
    let mut around: Vec<(String, u16, u16)> = Vec::new();
    let mut rows: Vec<Room> = Vec::new();
    let mut route = None;
    for event in view.trace.events_of(frame) {
        let node = event.node();
        match &event.what {
            What::Wrapped { port, overhead, mtu, .. } => {
                let kind = map.kind_of(node, *port);
                around.push((kind.say().to_string(), kind.overhead().min(*overhead), *mtu));
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

fn row(at: String, mtu: u16, around: &[(String, u16, u16)]) -> Room {
    let bytes: u16 = around.iter().map(|(_, bytes, _)| bytes).sum();
    let inner = around.iter().map(|(_, _, mtu)| *mtu).min().unwrap_or(u16::MAX);
    let around = around.iter().map(|(kind, bytes, _)| (kind.clone(), *bytes)).collect();
    Room { at, mtu, around, room: mtu.saturating_sub(bytes).min(inner), fits: true }
}
