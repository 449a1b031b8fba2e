//! The walk on hand-built chains of causes: what was put in must come out, to the nanosecond.

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use rt_base::{
    AppRecord, Blocked, ConnId, Event, EventId, FrameId, LinkId, Nanos, NodeId, PortId, SendWhy,
    TcpSendRecord, Time, TimerKind, Wait, What,
};

use super::{Cause, ProblemKind, walk};
use crate::{Trace, TraceMap};

const CONN: ConnId = ConnId(3);

/// A tape on which a test writes what happens. The head is the input being handled.
struct Tape {
    events: Vec<Event>,
    counters: Vec<u64>,
    frames: u64,
    node: NodeId,
    now: Time,
    input: EventId,
    /// What the walk must find, in order of time.
    expect: Vec<(Cause, u64)>,
}

impl Tape {
    fn start(at: u64) -> Tape {
        let mut tape = Tape {
            events: Vec::new(),
            counters: vec![0; 8],
            frames: 0,
            node: NodeId(0),
            now: Time(at),
            input: EventId::NONE,
            expect: Vec::new(),
        };
        tape.input = tape.record(FrameId::NONE, What::Command { step: 0 });
        tape
    }

    fn record(&mut self, frame: FrameId, what: What) -> EventId {
        let counter = &mut self.counters[self.node.index()];
        *counter += 1;
        let id = EventId::new(self.node, *counter);
        self.events.push(Event { id, because: self.input, at: self.now, frame, what });
        id
    }

    fn spend(&mut self, cause: Cause, span: u64) {
        if span > 0 {
            self.expect.push((cause, span));
        }
    }

    fn frame(&mut self) -> FrameId {
        self.frames += 1;
        FrameId::new(self.node, self.frames)
    }

    /// The frame crosses a link: processing, queue, bits, distance.
    fn hop(&mut self, frame: FrameId, to: u32, [processing, queue, bits, distance]: [u32; 4]) {
        let start = self.now + Nanos(u64::from(processing) + u64::from(queue));
        let done = start + Nanos(u64::from(bits));
        let arrive = done + Nanos(u64::from(distance));
        let (link, port) = (LinkId(to), PortId(0));
        self.input = self.record(frame, What::Transmit { link, port, processing, start, done, arrive });
        for (cause, span) in [
            (Cause::Processing, processing),
            (Cause::Queue, queue),
            (Cause::Serialisation, bits),
            (Cause::Propagation, distance),
        ] {
            self.spend(cause, u64::from(span));
        }
        (self.node, self.now) = (NodeId(to), arrive);
    }

    fn timer(&mut self, kind: TimerKind, span: u64) {
        let (armed_by, armed_at) = (self.input, self.now);
        self.now += Nanos(span);
        self.input = self.record(FrameId::NONE, What::TimerFired { kind, conn: CONN, armed_by, armed_at });
        self.spend(Cause::Timer(kind), span);
    }

    /// Another input at another time, of which nothing is expected on the path.
    fn elsewhere(&mut self, at: u64) {
        self.now = Time(at);
        self.input = self.record(FrameId::NONE, What::Boot);
    }

    fn tcp_send(&mut self, frame: FrameId, why: SendWhy, origin: (EventId, u64)) -> EventId {
        let record = TcpSendRecord {
            conn: CONN,
            seq: 1,
            ack: 1,
            len: 100,
            flags: 0x18,
            offset: 0,
            why,
            origin: origin.0,
            origin_at: Time(origin.1),
            cwnd: 14_600,
            in_flight: 100,
        };
        self.record(frame, What::TcpSend(Box::new(record)))
    }

    fn blocked(&mut self, reason: Blocked) {
        self.record(FrameId::NONE, What::TcpBlocked { conn: CONN, reason });
    }

    fn end(&mut self) -> EventId {
        self.record(
            FrameId::NONE,
            What::App(Box::new(AppRecord::StepEnd { step: 0, ok: true, summary: String::new() })),
        )
    }

    fn trace(self) -> Trace {
        Trace::new(TraceMap::default(), self.events, Vec::new())
    }
}

/// Runs the walk over the whole tape and compares; zero-length slices are never there.
#[track_caller]
fn check(mut tape: Tape, start: u64) {
    let end = tape.end();
    let expect = std::mem::take(&mut tape.expect);
    let budget = walk(&tape.trace(), end, Time(start));
    let got: Vec<(Cause, u64)> = budget.slices.iter().map(|s| (s.cause, s.len().0)).collect();
    assert_eq!(got, expect);
    assert!(budget.problems.is_empty(), "{:?}", budget.problems);
    assert!(budget.is_exact());
    assert_eq!(budget.totals().iter().map(|t| t.time.0).sum::<u64>(), budget.duration().0);
}

#[test]
fn a_packet_through_two_machines_and_a_thinking_server() {
    let mut tape = Tape::start(1_000);
    let frame = tape.frame();
    tape.hop(frame, 1, [10, 0, 5, 4_000]);
    tape.hop(frame, 2, [20, 300, 5, 6_000]);
    tape.timer(TimerKind::App(Wait::ServerThink), 20_000);
    let reply = tape.frame();
    tape.hop(reply, 1, [10, 0, 50, 6_000]);
    check(tape, 1_000);
}

#[test]
fn what_happened_before_the_start_is_cut_off() {
    let mut tape = Tape::start(0);
    tape.timer(TimerKind::App(Wait::Person), 5_000);
    let frame = tape.frame();
    tape.hop(frame, 1, [10, 20, 30, 40]);
    tape.expect = vec![(Cause::Timer(TimerKind::App(Wait::Person)), 500)];
    tape.expect.extend([
        (Cause::Processing, 10),
        (Cause::Queue, 20),
        (Cause::Serialisation, 30),
        (Cause::Propagation, 40),
    ]);
    check(tape, 4_500);
}

#[test]
fn data_that_waited_is_split_by_the_reasons() {
    let mut tape = Tape::start(0);
    let written = (tape.input, 0);
    tape.blocked(Blocked::Cwnd);
    tape.spend(Cause::Blocked(Blocked::Cwnd), 700);
    tape.elsewhere(700);
    tape.blocked(Blocked::PeerWindow);
    tape.spend(Cause::Blocked(Blocked::PeerWindow), 300);
    tape.elsewhere(1_000);
    let frame = tape.frame();
    tape.tcp_send(frame, SendWhy::NewData, written);
    tape.hop(frame, 1, [1, 2, 3, 4]);
    check(tape, 0);
}

#[test]
fn a_reason_given_before_the_bytes_were_written_holds() {
    let mut tape = Tape::start(0);
    tape.blocked(Blocked::Nagle);
    tape.spend(Cause::Timer(TimerKind::App(Wait::PageWork)), 100);
    tape.expect.clear();
    tape.timer(TimerKind::App(Wait::PageWork), 100);
    let written = (tape.input, 100);
    tape.spend(Cause::Blocked(Blocked::Nagle), 900);
    tape.elsewhere(1_000);
    let frame = tape.frame();
    tape.tcp_send(frame, SendWhy::NewData, written);
    tape.hop(frame, 1, [0, 0, 3, 4]);
    check(tape, 0);
}

#[test]
fn a_lost_segment_leads_to_its_first_sending_and_on_to_the_writing() {
    let mut tape = Tape::start(0);
    tape.timer(TimerKind::App(Wait::PageWork), 50);
    let written = (tape.input, 50);
    tape.blocked(Blocked::Cwnd);
    tape.elsewhere(80);
    let first = tape.frame();
    let sent = tape.tcp_send(first, SendWhy::NewData, written);
    tape.spend(Cause::Blocked(Blocked::Cwnd), 30);
    tape.elsewhere(200_000_080);
    tape.spend(Cause::Lost(SendWhy::RtoRetransmit), 200_000_000);
    let second = tape.frame();
    let again = tape.tcp_send(second, SendWhy::RtoRetransmit, (sent, 80));
    tape.elsewhere(200_000_300);
    tape.spend(Cause::Lost(SendWhy::FastRetransmit), 220);
    let third = tape.frame();
    tape.tcp_send(third, SendWhy::FastRetransmit, (again, 200_000_080));
    tape.hop(third, 1, [5, 0, 9, 1_000]);
    check(tape, 0);
}

/// New data waits for the window, but the window is full because something was lost.
#[test]
fn a_full_window_behind_a_loss_is_the_loss() {
    let mut tape = Tape::start(0);
    let first = tape.frame();
    let sent = tape.tcp_send(first, SendWhy::NewData, (EventId::NONE, 0));
    let written = (tape.input, 0);
    tape.blocked(Blocked::Cwnd);
    tape.now = Time(200_000);
    let (armed_by, armed_at) = (tape.input, Time(0));
    let fired = What::TimerFired { kind: TimerKind::Rto, conn: CONN, armed_by, armed_at };
    tape.input = tape.record(FrameId::NONE, fired);
    let again = tape.frame();
    tape.tcp_send(again, SendWhy::RtoRetransmit, (sent, 0));
    tape.spend(Cause::Lost(SendWhy::RtoRetransmit), 200_000);
    tape.elsewhere(260_000);
    tape.spend(Cause::Blocked(Blocked::Cwnd), 60_000);
    let frame = tape.frame();
    tape.tcp_send(frame, SendWhy::NewData, written);
    tape.hop(frame, 1, [1, 2, 3, 4]);
    check(tape, 0);
}

/// A real program on node 0 asks, the answer comes, it thinks and asks again on another connection; what it does is its own
/// time, and its causes are what reached it last.
#[test]
fn a_real_program_is_a_slice_between_what_reached_it_and_what_it_sent() {
    let mut tape = Tape::start(0);
    (tape.events, tape.counters[0], tape.input) = (Vec::new(), 0, EventId::NONE);
    let text = "curl".into();
    tape.record(FrameId::NONE, What::App(Box::new(AppRecord::StepBegin { step: 0, text })));
    for think in [700, 50] {
        tape.now += Nanos(think);
        tape.spend(Cause::Outside, think);
        tape.input = EventId::NONE;
        tape.input = tape.record(FrameId::NONE, What::FromOutside { port: PortId(0) });
        let query = tape.frame();
        tape.hop(query, 1, [1, 0, 2, 30]);
        tape.timer(TimerKind::App(Wait::DnsThink), 9);
        let answer = tape.frame();
        tape.hop(answer, 0, [1, 0, 2, 30]);
        tape.record(answer, What::ToOutside { port: PortId(0) });
    }
    // Its end has no cause either.
    (tape.now, tape.input) = (tape.now + Nanos(11), EventId::NONE);
    tape.spend(Cause::Outside, 11);
    check(tape, 0);
}

/// Bugs in a trace are told loudly, and even then the sum is exact.
#[test]
fn what_cannot_be_named_is_a_problem() {
    let kinds = |tape: Tape, end: EventId| {
        let budget = walk(&tape.trace(), end, Time(0));
        assert!(budget.is_exact());
        assert!(budget.slices.iter().any(|s| s.cause == Cause::Unnamed));
        budget.problems.iter().map(|p| p.kind).collect::<Vec<_>>()
    };
    let mut tape = Tape::start(0);
    tape.now = Time(100);
    let end = tape.end();
    assert_eq!(kinds(tape, end), [ProblemKind::Gap]);

    let mut tape = Tape::start(0);
    tape.now = Time(100);
    tape.input = EventId::NONE;
    let end = tape.end();
    assert_eq!(kinds(tape, end), [ProblemKind::NoCause]);

    let mut tape = Tape::start(0);
    tape.now = Time(100);
    tape.input = EventId::new(NodeId(7), 99);
    let end = tape.end();
    assert_eq!(kinds(tape, end), [ProblemKind::NotKept]);

    let mut tape = Tape::start(0);
    let written = (tape.input, 0);
    tape.elsewhere(500);
    let frame = tape.frame();
    tape.tcp_send(frame, SendWhy::NewData, written);
    tape.hop(frame, 1, [1, 1, 1, 1]);
    let end = tape.end();
    assert_eq!(kinds(tape, end), [ProblemKind::NoReason]);

    let mut tape = Tape::start(10);
    let end = tape.end();
    assert_eq!(kinds(tape, end), [ProblemKind::NoCause], "the chain ends after the asked-for start");
}

/// One random thing on the path.
#[derive(Clone, Debug)]
enum Do {
    Hop(u32, [u32; 4]),
    Timer(u64),
    Held(u64, u64),
    Lost(u64),
}

fn any_do() -> impl Strategy<Value = Do> {
    prop_oneof![
        (0..8_u32, prop::array::uniform4(0..5_000_u32)).prop_map(|(to, spans)| Do::Hop(to, spans)),
        (0..3_000_000_u64).prop_map(Do::Timer),
        (0..500_000_u64, 0..500_000_u64).prop_map(|(a, b)| Do::Held(a, b)),
        (1..300_000_000_u64).prop_map(Do::Lost),
    ]
}

/// Puts one thing on the tape; held and lost segments then cross a link so that the walk meets them.
fn play(tape: &mut Tape, action: &Do) {
    match *action {
        Do::Hop(to, spans) => {
            let frame = tape.frame();
            tape.hop(frame, to, spans);
        }
        Do::Timer(span) => tape.timer(TimerKind::App(Wait::DnsThink), span),
        Do::Held(first, second) => {
            let written = (tape.input, tape.now.0);
            tape.blocked(Blocked::Cwnd);
            tape.spend(Cause::Blocked(Blocked::Cwnd), first);
            tape.elsewhere(tape.now.0 + first);
            tape.blocked(Blocked::PeerWindow);
            tape.spend(Cause::Blocked(Blocked::PeerWindow), second);
            tape.elsewhere(tape.now.0 + second);
            let frame = tape.frame();
            tape.tcp_send(frame, SendWhy::NewData, written);
            tape.hop(frame, (tape.node.0 + 1) % 8, [1, 2, 3, 4]);
        }
        Do::Lost(span) => {
            let frame = tape.frame();
            let sent = tape.tcp_send(frame, SendWhy::NewData, (EventId::NONE, 0));
            let first = tape.now.0;
            tape.elsewhere(first + span);
            tape.spend(Cause::Lost(SendWhy::FastRetransmit), span);
            let again = tape.frame();
            tape.tcp_send(again, SendWhy::FastRetransmit, (sent, first));
            tape.hop(again, (tape.node.0 + 1) % 8, [4, 3, 2, 1]);
        }
    }
}

#[test]
fn any_chain_of_causes_comes_out_as_it_went_in() {
    let config = Config { cases: 200, failure_persistence: None, ..Config::default() };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let actions = prop::collection::vec(any_do(), 0..40);
    let outcome = runner.run(&(actions, 0..10_000_u64), |(actions, start)| {
        let mut tape = Tape::start(start);
        for action in &actions {
            play(&mut tape, action);
        }
        check(tape, start);
        Ok(())
    });
    outcome.unwrap();
}
