//! A learning Ethernet switch (IEEE 802.1D transparent bridge): learns where a station lives from what it sends, floods
//! what it does not know, forgets after 300 seconds.
//!
//! VLANs (IEEE 802.1Q): access and trunk ports; each VLAN has its own stations.
//!
//! Not for: priorities, spanning tree, link aggregation (a layer-2 loop is a mistake in the network and is reported as one).
//!
//! A loop is found at run time: the same frame (by id and source MAC, which routers change and bridges do not) that keeps
//! arriving on other ports than at first is dropped with [`DropReason::BridgeLoop`], and the first such drop says so in a
//! note. So a loop costs a few copies of each broadcast and never melts down; a real switch without spanning tree would.
//! The memory for this is bounded: with more than a thousand frames in between, a circling frame gets another round.

use std::any::Any;
use std::collections::BTreeMap;

use rt_base::{
    AppRecord, DropReason, Frame, FrameId, Input, MacAddr, Nanos, Outbox, Place, PortId, ReqId, SwitchPort,
    Time, What,
};
use rt_sim::Node;
use rt_wire::EthernetHeader;

/// How long an address is remembered after it last sent something (IEEE 802.1D, table 7-5).
const AGEING: Nanos = Nanos::from_secs(300);
/// Addresses remembered at most; what does not fit is flooded.
const TABLE_LIMIT: usize = 8_192;
/// Slots of the loop memory.
const SEEN_SLOTS: usize = 1_024;
/// How often a frame may come back on another port before it counts as circling.
const LOOP_TOLERANCE: u8 = 2;
/// Flooded, in [`What::SwitchForward`].
const FLOODED: PortId = PortId(u16::MAX);

/// A switch.
pub struct Switch {
    ports: u16,
    /// The VLANs of each port; empty for a switch that knows none.
    vlans: Vec<Option<SwitchPort>>,
    table: BTreeMap<(u16, MacAddr), Station>,
    /// The frames seen lately, one slot for each hash of an id; made at the first frame.
    seen: Vec<Seen>,
    loop_told: bool,
}

#[derive(Clone, Copy)]
struct Station {
    port: PortId,
    last: Time,
}

#[derive(Clone, Copy, Default)]
struct Seen {
    frame: FrameId,
    src: MacAddr,
    port: PortId,
    /// Arrivals on other ports.
    elsewhere: u8,
}

/// What becomes of a frame.
enum Decision {
    Forward(PortId),
    Flood,
    Drop(DropReason),
}

impl Switch {
    /// A switch with interfaces 0 to `ports` - 1, all of them connected.
    #[must_use]
    pub fn new(ports: u16) -> Switch {
        Switch::with_vlans(ports, Vec::new())
    }

    /// The same with VLANs (IEEE 802.1Q), port by port. A port without a word about them carries what has no tag, as VLAN 0.
    #[must_use]
    pub fn with_vlans(ports: u16, vlans: Vec<Option<SwitchPort>>) -> Switch {
        let vlans = if vlans.iter().all(Option::is_none) { Vec::new() } else { vlans };
        Switch { ports, vlans, table: BTreeMap::new(), seen: Vec::new(), loop_told: false }
    }

    /// The VLAN of a frame that arrives, its tag taken off; `None` when the port does not carry it. Without VLANs all frames
    /// are alike and tags stay on.
    fn take_tag(&self, port: PortId, frame: &mut Frame) -> Option<u16> {
        if self.vlans.is_empty() {
            return Some(0);
        }
        let tag = match frame.bytes.get(12..16) {
            Some([0x81, 0x00, a, b]) => Some(u16::from_be_bytes([*a, *b]) & 0x0fff),
            _ => None,
        };
        let vlan = match self.vlans.get(port.index()).and_then(Option::as_ref) {
            Some(known) => known.vlan_in(tag)?,
            None => tag.is_none().then_some(0)?,
        };
        if tag.is_some() {
            frame.bytes.drain(12..16);
        }
        Some(vlan)
    }

    /// The tag with which a frame of this VLAN leaves by a port; `None` when the port does not carry it.
    fn tag_for(&self, port: PortId, vlan: u16) -> Option<Option<u16>> {
        match self.vlans.get(port.index()).and_then(Option::as_ref) {
            Some(known) => known.tag_out(vlan),
            None => (vlan == 0).then_some(None),
        }
    }

    fn receive(&mut self, now: Time, port: PortId, mut frame: Frame, out: &mut Outbox) {
        let Some(vlan) = self.take_tag(port, &mut frame) else {
            return out.drop_frame(frame, DropReason::NoTunnel, Place::Switch, port, None);
        };
        match self.decide(now, (port, vlan), &frame, out) {
            Decision::Forward(to) => {
                out.record(frame.id, || What::SwitchForward { out: to });
                if let Some(tag) = self.tag_for(to, vlan).flatten() {
                    put_tag(&mut frame, tag);
                }
                out.send(to, frame);
            }
            Decision::Flood => self.flood((port, vlan), frame, out),
            Decision::Drop(reason) => out.drop_frame(frame, reason, Place::Switch, port, None),
        }
    }

    fn decide(
        &mut self,
        now: Time,
        (port, vlan): (PortId, u16),
        frame: &Frame,
        out: &mut Outbox,
    ) -> Decision {
        let Ok((ethernet, _)) = EthernetHeader::parse(&frame.bytes) else {
            return Decision::Drop(DropReason::Malformed);
        };
        if ethernet.src.is_group() || ethernet.src == MacAddr::default() {
            return Decision::Drop(DropReason::BadSource);
        }
        if self.circles(frame.id, ethernet.src, port) {
            self.tell_loop(ethernet.src, port, out);
            return Decision::Drop(DropReason::BridgeLoop);
        }
        self.learn(now, (vlan, ethernet.src), port, frame.id, out);
        if ethernet.dst.is_group() {
            return Decision::Flood;
        }
        match self.table.get(&(vlan, ethernet.dst)) {
            Some(station) if now.since(station.last) > AGEING => Decision::Flood,
            Some(station) if station.port == port => Decision::Drop(DropReason::SamePort),
            Some(station) => Decision::Forward(station.port),
            None => Decision::Flood,
        }
    }

    fn learn(&mut self, now: Time, station: (u16, MacAddr), port: PortId, frame: FrameId, out: &mut Outbox) {
        let key = station;
        if let Some(station) = self.table.get_mut(&key) {
            let news = station.port != port || now.since(station.last) > AGEING;
            *station = Station { port, last: now };
            if !news {
                return;
            }
        } else {
            if self.table.len() >= TABLE_LIMIT {
                self.table.retain(|_, station| now.since(station.last) <= AGEING);
            }
            if self.table.len() >= TABLE_LIMIT {
                return;
            }
            self.table.insert(key, Station { port, last: now });
        }
        out.record(frame, || What::SwitchLearned { mac: key.1.0, port });
    }

    /// Whether this frame has come back on other ports too often.
    fn circles(&mut self, frame: FrameId, src: MacAddr, port: PortId) -> bool {
        if self.seen.is_empty() {
            self.seen = vec![Seen::default(); SEEN_SLOTS];
        }
        let hash = frame.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 54;
        let slot = &mut self.seen[hash as usize % SEEN_SLOTS];
        if (slot.frame, slot.src) != (frame, src) {
            *slot = Seen { frame, src, port, elsewhere: 0 };
        } else if slot.port != port {
            slot.elsewhere = slot.elsewhere.saturating_add(1);
        }
        slot.elsewhere > LOOP_TOLERANCE
    }

    fn tell_loop(&mut self, src: MacAddr, port: PortId, out: &mut Outbox) {
        if self.loop_told {
            return;
        }
        self.loop_told = true;
        let text = format!(
            "a frame from {src} keeps coming back, now on port {}: the links make a layer-2 loop; take one away",
            port.0
        );
        out.say(AppRecord::Note { req: ReqId::default(), code: "switch.loop".to_string(), text });
    }

    /// To all ports but the one it came from; copies keep the frame's id.
    fn flood(&self, (from, vlan): (PortId, u16), frame: Frame, out: &mut Outbox) {
        out.record(frame.id, || What::SwitchForward { out: FLOODED });
        let others = (0..self.ports).map(PortId).filter(|port| *port != from);
        let mut others = others.filter_map(|port| Some((port, self.tag_for(port, vlan)?)));
        let Some((last, last_tag)) = others.next_back() else {
            return out.drop_frame(frame, DropReason::SamePort, Place::Switch, from, None);
        };
        let mut frame = frame;
        for (port, tag) in others {
            let mut bytes = out.buffer(frame.bytes.len() + 4);
            bytes.extend_from_slice(&frame.bytes);
            let mut copy = Frame { id: frame.id, parent: frame.parent, bytes };
            if let Some(tag) = tag {
                put_tag(&mut copy, tag);
            }
            out.send(port, copy);
        }
        if let Some(tag) = last_tag {
            put_tag(&mut frame, tag);
        }
        out.send(last, frame);
    }
}

/// Puts a VLAN tag into a frame that has none.
fn put_tag(frame: &mut Frame, vlan: u16) {
    let [a, b] = vlan.to_be_bytes();
    if frame.bytes.len() >= 12 {
        frame.bytes.splice(12..12, [0x81, 0x00, a, b]);
    }
}

impl Node for Switch {
    fn handle(&mut self, now: Time, input: Input, out: &mut Outbox) {
        if let Input::Frame { port, frame } = input {
            self.receive(now, port, frame, out);
        }
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

#[cfg(test)]
mod tests;
