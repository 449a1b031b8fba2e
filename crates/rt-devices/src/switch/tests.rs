//! Frames in, ports out; then a real loop in the engine.

use rt_base::{EventId, NodeId};
use rt_sim::{DirectionSpec, LinkSpec, Sim, StopReason};

use super::*;

const A: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xa]);
const B: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xb]);
const ALL: MacAddr = MacAddr::BROADCAST;
const GROUP: MacAddr = MacAddr([1, 0, 0x5e, 0, 0, 1]);

fn ethernet(dst: MacAddr, src: MacAddr) -> Vec<u8> {
    let mut bytes = Vec::new();
    EthernetHeader { dst, src, ethertype: 0x88b5 }.emit(&mut bytes);
    bytes.resize(60, 0);
    bytes
}

/// (seconds, port, dst, src, ports it leaves by or why not).
type Step<'a> = (u64, u16, MacAddr, MacAddr, Result<&'a [u16], DropReason>);

/// Gives the frames to a switch of three ports, one after the other.
#[track_caller]
fn check(steps: &[Step<'_>]) {
    let mut switch = Switch::new(3);
    let mut out = Outbox::new(true);
    for (i, (seconds, port, dst, src, expected)) in steps.iter().enumerate() {
        let now = Time::ZERO + Nanos::from_secs(*seconds);
        out.begin(NodeId(0), now, EventId::NONE, (i as u64, 0));
        let frame = out.new_frame(ethernet(*dst, *src), FrameId::NONE);
        switch.handle(now, Input::Frame { port: PortId(*port), frame }, &mut out);
        let ports: Vec<u16> = out.frames.drain(..).map(|(port, _)| port.0).collect();
        let dropped = out.events.drain(..).find_map(|e| match e.what {
            What::Drop { reason, .. } => Some(reason),
            _ => None,
        });
        match expected {
            Ok(expected) => assert_eq!((ports.as_slice(), dropped), (*expected, None), "step {i}"),
            Err(reason) => assert_eq!((ports.as_slice(), dropped), (&[][..], Some(*reason)), "step {i}"),
        }
    }
}

#[test]
fn learns_and_forgets() {
    check(&[
        (0, 0, ALL, A, Ok(&[1, 2])),
        (0, 1, A, B, Ok(&[0])),
        (1, 0, B, A, Ok(&[1])),
        (1, 2, GROUP, MacAddr([2, 9, 9, 9, 9, 9]), Ok(&[0, 1])),
        // The station moved.
        (2, 2, A, B, Ok(&[0])),
        (3, 0, B, A, Ok(&[2])),
        // 300 s after B last spoke it is still known, a second later not.
        (302, 0, B, A, Ok(&[2])),
        (303, 0, B, A, Ok(&[1, 2])),
    ]);
}

#[test]
fn refuses_what_cannot_be() {
    check(&[
        (0, 0, ALL, A, Ok(&[1, 2])),
        (0, 0, A, B, Err(DropReason::SamePort)),
        (0, 1, A, GROUP, Err(DropReason::BadSource)),
        // The group address was not learnt.
        (0, 0, GROUP, A, Ok(&[1, 2])),
        (0, 1, A, MacAddr::default(), Err(DropReason::BadSource)),
    ]);
}

#[test]
fn short_frames_are_malformed() {
    let (mut switch, mut out) = (Switch::new(2), Outbox::new(true));
    let frame = out.new_frame(vec![1, 2, 3], FrameId::NONE);
    switch.handle(Time::ZERO, Input::Frame { port: PortId(0), frame }, &mut out);
    assert!(out.frames.is_empty());
    assert!(matches!(out.events[0].what, What::Drop { reason: DropReason::Malformed, .. }));
}

/// Sends one broadcast at boot and counts what arrives.
#[derive(Default)]
struct Speaker {
    speaks: bool,
    heard: u32,
}

impl Node for Speaker {
    fn handle(&mut self, _: Time, input: Input, out: &mut Outbox) {
        match input {
            Input::Boot if self.speaks => {
                let frame = out.new_frame(ethernet(ALL, A), FrameId::NONE);
                out.send(PortId(0), frame);
            }
            Input::Frame { .. } => self.heard += 1,
            _ => {}
        }
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

#[test]
fn a_loop_is_cut_short() {
    let mut sim = Sim::new(1, true);
    let speaker = sim.add_node("a", Box::new(Speaker { speaks: true, heard: 0 }), Nanos::ZERO);
    let listener = sim.add_node("b", Box::new(Speaker::default()), Nanos::ZERO);
    let ring: Vec<NodeId> =
        (0..3).map(|i| sim.add_node(&format!("s{i}"), Box::new(Switch::new(3)), Nanos(500))).collect();
    let d = DirectionSpec::default();
    let mut link = |a, b| sim.add_link(LinkSpec { a, b, ab: d, ba: d, mtu: 1_500 });
    link((speaker, PortId(0)), (ring[0], PortId(2)));
    link((listener, PortId(0)), (ring[1], PortId(2)));
    for i in 0..3 {
        link((ring[i], PortId(0)), (ring[(i + 1) % 3], PortId(1)));
    }
    // The third port of the last switch leads nowhere: whatever goes there is counted as lost.
    sim.boot();
    assert_eq!(sim.run_until(Time::ZERO + Nanos::from_secs(10)), StopReason::Idle);
    let stats = sim.stats();
    assert!(stats.holds() && stats.in_flight == 0 && stats.events < 100, "{stats:?}");
    let heard = sim.node_mut::<Speaker>(listener).map(|s| s.heard);
    assert!(heard.is_some_and(|n| (1..10).contains(&n)), "{heard:?}");
}

#[test]
fn a_frame_that_circles_is_told_once() {
    let (mut switch, mut out) = (Switch::new(3), Outbox::new(true));
    out.begin(NodeId(4), Time::ZERO, EventId::NONE, (0, 0));
    let frame = out.new_frame(ethernet(ALL, A), FrameId::NONE);
    for port in [0, 1, 2, 1, 2, 1] {
        switch.handle(Time::ZERO, Input::Frame { port: PortId(port), frame: frame.clone() }, &mut out);
    }
    let count = |want: fn(&What) -> bool| out.events.iter().filter(|e| want(&e.what)).count();
    assert_eq!(count(|w| matches!(w, What::Drop { reason: DropReason::BridgeLoop, .. })), 3);
    assert_eq!(count(|w| matches!(w, What::App(_))), 1);
}

/// Port 0 is an access port of VLAN 10, port 1 of 20, port 2 a trunk of both, port 3 a trunk of 20 with 10 native.
#[test]
fn vlans_are_kept_apart_and_tags_come_and_go() {
    let trunk = |allowed: &[u16], native| Some(SwitchPort::Trunk { allowed: allowed.to_vec(), native });
    let vlans = vec![
        Some(SwitchPort::Access(10)),
        Some(SwitchPort::Access(20)),
        trunk(&[10, 20], None),
        trunk(&[20], Some(10)),
    ];
    let mut switch = Switch::with_vlans(4, vlans);
    let mut out = Outbox::new(true);
    let mut give = |port: u16, dst, src, tag: Option<u16>| {
        out.begin(NodeId(0), Time::ZERO, EventId::NONE, (u64::from(port) + 1, 0));
        let mut frame = out.new_frame(ethernet(dst, src), FrameId::NONE);
        if let Some(tag) = tag {
            put_tag(&mut frame, tag);
        }
        switch.handle(Time::ZERO, Input::Frame { port: PortId(port), frame }, &mut out);
        let tag_of =
            |bytes: &[u8]| (bytes[12..14] == [0x81, 0]).then(|| u16::from_be_bytes([bytes[14], bytes[15]]));
        let sent: Vec<(u16, Option<u16>)> =
            out.frames.drain(..).map(|(port, frame)| (port.0, tag_of(&frame.bytes))).collect();
        let dropped =
            out.events.drain(..).any(|e| matches!(e.what, What::Drop { reason: DropReason::NoTunnel, .. }));
        (sent, dropped)
    };
    assert_eq!(give(0, ALL, A, None), (vec![(2, Some(10)), (3, None)], false), "flooded within VLAN 10");
    assert_eq!(give(2, A, B, Some(10)), (vec![(0, None)], false), "learnt in VLAN 10");
    assert_eq!(give(2, A, B, Some(20)), (vec![(1, None), (3, Some(20))], false), "A is not known in VLAN 20");
    assert_eq!(give(1, ALL, A, Some(20)), (vec![], true), "an access port takes no tags");
    assert_eq!(give(2, ALL, A, None), (vec![], true), "a trunk without a native VLAN takes nothing else");
    assert_eq!(give(3, ALL, A, Some(10)), (vec![], true), "not one of its VLANs");
}
