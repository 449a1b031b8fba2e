//! A ping through one router, written event by event as the engine would: the story, its text, `follow`, and the budget
//! against the stamps of the frames. Whole runs are judged in `rt-lab`.

use std::net::{IpAddr, Ipv4Addr};

use rt_base::{
    AppRecord, ConnId, Event, EventId, Frame, FrameId, LinkId, MacAddr, Nanos, NodeId, PortId, Recorder,
    ReqId, ReqKind, Time, Way, What,
};
use rt_trace::story::Story;
use rt_trace::{
    DirectionFacts, InterfaceFacts, LinkFacts, NodeClass, NodeFacts, RuleFacts, StepFacts, StoreLimits,
    Trace, TraceMap, TraceRecorder, budget, follow, render, story,
};
use rt_wire::{EthernetHeader, Icmpv4, Ipv4Header};

const A: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 1);
const B: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 1);
const START: u64 = 1_000_000;

/// Plays the engine: events with their counters, frames at both ends of a link.
struct Tape {
    recorder: TraceRecorder,
    counters: [u64; 3],
    node: u32,
    now: u64,
    input: EventId,
}

impl Tape {
    fn event(&mut self, frame: FrameId, what: What) -> EventId {
        let counter = &mut self.counters[self.node as usize];
        *counter += 1;
        let id = EventId::new(NodeId(self.node), *counter);
        self.recorder.event(&Event { id, because: self.input, at: Time(self.now), frame, what });
        id
    }

    fn say(&mut self, record: AppRecord) {
        self.event(FrameId::NONE, What::App(Box::new(record)));
    }

    /// Sends `frame` over `link` and goes on at the other end.
    fn hop(&mut self, frame: &Frame, link: u32, (from, to): (u16, u16), node: u32) {
        let (out, done, arrive) = (self.now + 5_000, self.now + 5_784, self.now + 1_005_784);
        let what = What::Transmit {
            link: LinkId(link),
            port: PortId(from),
            processing: 5_000,
            start: Time(out),
            done: Time(done),
            arrive: Time(arrive),
        };
        let id = self.event(frame.id, what);
        self.recorder.frame(Time(out), NodeId(self.node), PortId(from), Way::Out, frame, id);
        (self.node, self.now, self.input) = (node, arrive, id);
        self.recorder.frame(Time(arrive), NodeId(node), PortId(to), Way::In, frame, id);
    }

    fn route(&mut self, frame: &Frame, out: u16, next: Ipv4Addr, ttl: u8) {
        let what = What::Route { rule: u32::from(out), out: PortId(out), next_hop: IpAddr::V4(next), ttl };
        self.event(frame.id, what);
    }

    fn deliver(&mut self, frame: &Frame) {
        self.event(frame.id, What::Deliver { protocol: 1, conn: ConnId(0) });
    }
}

fn packet(id: FrameId, (src, dst): (Ipv4Addr, Ipv4Addr), ttl: u8, message: Icmpv4) -> Frame {
    let mut bytes = Vec::new();
    let (to, from) = (MacAddr([2, 0, 0, 0, ttl, 1]), MacAddr([2, 0, 0, 0, ttl, 2]));
    EthernetHeader { dst: to, src: from, ethertype: 0x0800 }.emit(&mut bytes);
    Ipv4Header::new(src, dst, 1, ttl, 8 + 32).emit(&mut bytes);
    message.emit(&[0xa5; 32], &mut bytes);
    Frame { id, parent: FrameId::NONE, bytes }
}

fn map() -> TraceMap {
    let interface = |name: &str, address: Ipv4Addr| InterfaceFacts {
        name: name.into(),
        addresses: vec![(IpAddr::V4(address), 24)],
        mtu: 1_500,
        reverse_path: None,
        ..InterfaceFacts::default()
    };
    let node = |name: &str, class: NodeClass, role: &str, interfaces: Vec<InterfaceFacts>| NodeFacts {
        name: name.into(),
        class,
        role: role.into(),
        processing: Nanos(5_000),
        interfaces,
        routes: vec![
            RuleFacts {
                text: "10.0.1.0/24 dev left".into(),
                origin: "ping.yaml:4".into(),
                ..RuleFacts::default()
            },
            RuleFacts {
                text: "10.0.2.0/24 dev right".into(),
                origin: "ping.yaml:5".into(),
                ..RuleFacts::default()
            },
        ],
        ..NodeFacts::default()
    };
    let delay = DirectionFacts { rate_bps: 1_000_000_000, delay: Nanos(1_000_000), loss_ppm: 0 };
    let link = |a: (u32, u16), b: (u32, u16)| LinkFacts {
        a: (NodeId(a.0), PortId(a.1)),
        b: (NodeId(b.0), PortId(b.1)),
        ab: delay,
        ba: delay,
        mtu: 1_500,
        origin: "ping.yaml:6".into(),
    };
    let step = StepFacts { node: NodeId(0), text: "a pings b".into(), origin: "ping.yaml:9".into() };
    TraceMap {
        scenario: "ping".into(),
        about: "One ping through one router.".into(),
        file: "ping.yaml".into(),
        seed: 1,
        epoch: 0,
        nodes: vec![
            node("a", NodeClass::Host, "laptop", vec![interface("eth0", A)]),
            node(
                "r",
                NodeClass::Router,
                "router",
                vec![
                    interface("left", Ipv4Addr::new(10, 0, 1, 254)),
                    interface("right", Ipv4Addr::new(10, 0, 2, 254)),
                ],
            ),
            node("b", NodeClass::Host, "server", vec![interface("eth0", B)]),
        ],
        links: vec![link((0, 0), (1, 0)), link((1, 1), (2, 0))],
        steps: vec![step],
    }
}

fn pinged() -> Trace {
    let recorder = TraceRecorder::new(StoreLimits::default());
    let kept = recorder.clone();
    let mut tape = Tape { recorder, counters: [0; 3], node: 0, now: START, input: EventId::NONE };
    tape.input = tape.event(FrameId::NONE, What::Command { step: 0 });
    tape.say(AppRecord::StepBegin { step: 0, text: "a pings b".into() });
    let (req, method, target) = (ReqId(1), "PING".to_string(), B.to_string());
    tape.say(AppRecord::RequestBegin { req, parent: ReqId(0), kind: ReqKind::Probe, method, target });
    let ask = |ttl| packet(FrameId::new(NodeId(0), 1), (A, B), ttl, Icmpv4::EchoRequest { id: 7, seq: 1 });
    let reply = |ttl| packet(FrameId::new(NodeId(2), 1), (B, A), ttl, Icmpv4::EchoReply { id: 7, seq: 1 });
    tape.route(&ask(64), 0, Ipv4Addr::new(10, 0, 1, 254), 0);
    tape.hop(&ask(64), 0, (0, 0), 1);
    tape.route(&ask(63), 1, B, 63);
    tape.hop(&ask(63), 1, (1, 0), 2);
    tape.deliver(&ask(63));
    tape.hop(&reply(64), 1, (0, 1), 1);
    tape.route(&reply(63), 0, A, 63);
    tape.hop(&reply(63), 0, (0, 0), 0);
    tape.deliver(&reply(63));
    let (status, body_bytes, note) = (0, 0, "1 of 1 answered".to_string());
    tape.say(AppRecord::RequestEnd { req, status, ok: true, body_bytes, note: note.clone() });
    tape.say(AppRecord::StepEnd { step: 0, ok: true, summary: note });
    kept.into_trace(map())
}

#[test]
fn the_story_of_a_ping() {
    insta::assert_snapshot!(render::text(&story::tell(&pinged())));
}

#[test]
fn one_packet_at_every_machine() {
    let trace = pinged();
    insta::assert_snapshot!(follow::packet_text(&follow::packet(&trace, 1, 1).unwrap()));
    insta::assert_snapshot!(follow::at_text(&follow::at(&trace, 1, "r").unwrap()));
}

#[test]
fn questions_without_an_answer_say_what_there_is() {
    let trace = pinged();
    let story = story::tell(&trace);
    let said = [
        follow::find(&story, "nowhere").unwrap_err().to_string(),
        follow::packet(&trace, 1, 3).unwrap_err().to_string(),
        follow::packet(&trace, 1, 0).unwrap_err().to_string(),
        follow::at(&trace, 1, "switch").unwrap_err().to_string(),
    ];
    insta::assert_snapshot!(said.join("\n"), @r"
    no request `nowhere`; there are: 1 (PING 10.0.2.1)
    no packet 3: they are numbered from 1 to 2
    no packet 0: they are numbered from 1 to 2
    `switch` is not a machine that saw this request; these did: a, r, b
    ");
}

/// Every crossing of the critical path is a frame that both ends saw at these nanoseconds.
#[test]
fn crossings_are_the_stamps_of_the_frames() {
    let trace = pinged();
    let end = trace.said().find(|(_, r)| matches!(r, AppRecord::StepEnd { .. })).unwrap().0.id;
    let budget = budget::walk(&trace, end, Time(START));
    assert!(budget.is_exact());
    assert_eq!(budget.problems, []);
    assert_eq!(budget.crossings.len(), 4);
    for crossing in &budget.crossings {
        let seen = |way: Way, at: Time| {
            trace.sightings(crossing.frame).any(|c| c.event == crossing.event && c.way == way && c.at == at)
        };
        assert!(seen(Way::Out, crossing.out) && seen(Way::In, crossing.arrive), "{crossing:?}");
    }
}

/// Story and trace survive their files, and the bytes of a frame are kept once for both ends of a link.
#[test]
fn what_is_written_can_be_read() {
    let trace = pinged();
    let told = story::tell(&trace);
    let read: Story = serde_json::from_str(&serde_json::to_string(&told).unwrap()).unwrap();
    assert_eq!(read, told);
    let mut again: Trace = serde_json::from_str(&serde_json::to_string(&trace).unwrap()).unwrap();
    again.reindex();
    assert_eq!(story::tell(&again), told);
    assert!(std::sync::Arc::ptr_eq(&trace.frames[0].bytes, &trace.frames[1].bytes));
}

#[test]
fn a_full_store_says_so() {
    let mut recorder = TraceRecorder::new(StoreLimits { events: 1, frame_bytes: 10 });
    let id = EventId::new(NodeId(0), 1);
    let event = Event { id, because: EventId::NONE, at: Time(1), frame: FrameId::NONE, what: What::Boot };
    recorder.event(&event);
    recorder.event(&event);
    let frame = Frame { id: FrameId::new(NodeId(0), 1), parent: FrameId::NONE, bytes: vec![0; 60] };
    recorder.frame(Time(1), NodeId(0), PortId(0), Way::Out, &frame, id);
    let trace = recorder.into_trace(TraceMap::default());
    assert_eq!((trace.events.len(), trace.events_lost, trace.frames_lost), (1, 1, 1));
    assert!(!story::tell(&trace).complete);
}
