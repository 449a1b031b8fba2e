//! What a connection tells for the story: why each segment was sent, what it follows from, what data waits for.

use std::fmt::Write as _;
use std::sync::Arc;

use rt_base::{ConnId, EventId, LossEvidence, Nanos, NodeId, TcpDecision, Time, What};
use rt_wire::{Seq, TcpFlags, TcpHeader, TcpOptions};

use crate::tcp::{Connection, Cx, Ecn, OpenParams, Outcome, TcpConfig};

/// One end, with a recorder that numbers events as the stack's spine does.
struct Teller {
    conn: Connection,
    events: u64,
    text: String,
    now: Time,
}

impl Teller {
    /// An input at `ms` milliseconds; its event is what everything inside follows from.
    fn input(&mut self, ms: u64, name: &str) -> Cx {
        self.now = Time(ms * 1_000_000);
        let cause = self.event(name.to_string());
        Cx { now: self.now, cause, recording: true }
    }

    fn event(&mut self, text: String) -> EventId {
        self.events += 1;
        writeln!(self.text, "{:>4} #{} {text}", self.now.as_millis(), self.events)
            .expect("a string takes it");
        EventId::new(NodeId(0), self.events)
    }

    fn settle(&mut self, cx: Cx) {
        loop {
            let segment = self.conn.next_segment(cx);
            let mut records = Vec::new();
            self.conn.take_records(&mut records);
            // Measured times are for plots; the curves are held against tshark's.
            for record in records.iter().filter(|r| !matches!(r, What::TcpRtt { .. })) {
                self.event(short(record));
            }
            let Some(segment) = segment else { return };
            let event = self.event(short(&segment.record(ConnId(1))));
            self.conn.segment_recorded(segment.token, event);
        }
    }

    fn write(&mut self, ms: u64, n: usize) {
        let cx = self.input(ms, "app");
        assert_eq!(self.conn.write(cx, &vec![0; n]), Ok(n));
        self.settle(cx);
    }

    fn ack(&mut self, ms: u64, ack: u32, window: u16, sack: &[(u32, u32)]) {
        let cx = self.input(ms, "frame");
        let mut options = TcpOptions::default();
        for (left, right) in sack {
            options.push_sack(Seq(*left), Seq(*right));
        }
        let header = TcpHeader {
            seq: Seq(301),
            ack: Seq(ack),
            flags: TcpFlags::ACK,
            window,
            options,
            ..TcpHeader::default()
        };
        assert_eq!(self.conn.on_segment(cx, &header, &[], Ecn::NotEct), Outcome::Accepted);
        self.settle(cx);
    }

    fn timer(&mut self) {
        self.now = self.conn.deadline();
        let timer = self.conn.due(self.now).expect("a deadline has a timer");
        let name = format!("timer {:?} armed by #{}", timer.kind, timer.armed_by.counter());
        let cx = self.input(self.now.as_millis(), &name);
        assert!(timer.armed_at < cx.now);
        self.conn.on_timer(cx, timer.kind);
        self.settle(cx);
    }
}

fn short(what: &What) -> String {
    match what {
        What::TcpSend(s) => format!(
            "send {}..{} {:?} origin #{} at {}",
            s.offset,
            s.offset + u64::from(s.len),
            s.why,
            s.origin.counter(),
            s.origin_at.as_millis()
        ),
        What::TcpState { from, to, .. } => format!("state {from:?} to {to:?}"),
        What::TcpWrite { offset, len, .. } => format!("write {offset}+{len}"),
        What::TcpBlocked { reason, .. } => format!("blocked {reason:?}"),
        What::TcpCwnd { cwnd, ssthresh, .. } => format!("cwnd {cwnd} ssthresh {ssthresh}"),
        What::TcpDecision { decision, .. } => decided(decision),
        other => format!("{other:?}"),
    }
}

fn decided(decision: &TcpDecision) -> String {
    match decision {
        TcpDecision::Lost {
            first,
            segments,
            by: LossEvidence::Later { end, sent_at, rtt_us, window_us, waited },
        } => format!(
            "lost {segments} from {first}: 0..{end} sent at {} took {} ms, window {} ms, waited {waited}",
            sent_at.as_millis(),
            rtt_us / 1000,
            window_us / 1000
        ),
        TcpDecision::Timeout { number, next_rto_us } => {
            format!("timeout {number}, next {} ms", next_rto_us / 1000)
        }
        other => format!("{other:?}"),
    }
}

fn open() -> Teller {
    let config = TcpConfig { timestamps: false, initial_cwnd: 4, ..TcpConfig::default() };
    let open = OpenParams {
        conn: ConnId(1),
        isn: Seq(100),
        mss: 1000,
        ts_offset: 0,
        nodelay: false,
        path_mtu: None,
    };
    let cause = EventId::NONE;
    let cx = Cx { now: Time::ZERO, cause, recording: true };
    let conn = Connection::connect(cx, &Arc::new(config), &open);
    let mut teller = Teller { conn, events: 0, text: String::new(), now: Time::ZERO };
    let cx = teller.input(0, "app");
    teller.settle(cx);
    let cx = teller.input(100, "frame");
    let mut options = TcpOptions::default();
    (options.mss, options.sack_permitted) = (Some(1000), true);
    let header = TcpHeader {
        seq: Seq(300),
        ack: Seq(101),
        flags: TcpFlags::SYN | TcpFlags::ACK,
        window: 60_000,
        options,
        ..TcpHeader::default()
    };
    assert_eq!(teller.conn.on_segment(cx, &header, &[], Ecn::NotEct), Outcome::EnterEstablished);
    teller.settle(cx);
    teller
}

#[track_caller]
fn check(teller: &Teller, expected: &str) {
    let lines = |s: &str| s.lines().map(str::trim).filter(|l| !l.is_empty()).collect::<Vec<_>>().join("\n");
    assert_eq!(lines(&teller.text), lines(expected));
}

#[test]
fn new_data_follows_from_its_write_and_a_retransmission_from_the_segment_before() {
    let mut t = open();
    t.write(200, 1500);
    t.write(210, 4000);
    t.ack(300, 101, 60_000, &[(1101, 2101)]);
    t.timer();
    t.timer();
    check(
        &t,
        "0 #1 app
         0 #2 state Closed to SynSent
         0 #3 send 0..0 Handshake origin #0 at 0
         100 #4 frame
         100 #5 state SynSent to Established
         100 #6 send 0..0 Ack origin #0 at 0
         200 #7 app
         200 #8 write 0+1500
         200 #9 send 0..1000 NewData origin #7 at 200
         200 #10 send 1000..1500 NewData origin #7 at 200
         210 #11 app
         210 #12 write 1500+4000
         210 #13 send 1500..2500 NewData origin #11 at 210
         210 #14 send 2500..3500 NewData origin #11 at 210
         210 #15 blocked Cwnd
         300 #16 frame
         300 #17 send 3500..4500 NewData origin #11 at 210
         300 #18 blocked Cwnd
         327 #19 timer Reorder armed by #16
         327 #20 cwnd 4000 ssthresh 4294967295
         327 #21 lost 1 from 0: 0..1500 sent at 200 took 100 ms, window 25 ms, waited true
         327 #22 cwnd 4000 ssthresh 2000
         327 #23 send 0..1000 FastRetransmit origin #9 at 200
         327 #24 blocked Cwnd
         627 #25 timer Rto armed by #19
         627 #26 timeout 1, next 600 ms
         627 #27 cwnd 1000 ssthresh 2000
         627 #28 send 0..1000 RtoRetransmit origin #23 at 327
         627 #29 blocked Cwnd",
    );
}

#[test]
fn a_repeated_syn_names_the_one_before() {
    let config = TcpConfig { timestamps: false, ..TcpConfig::default() };
    let open = OpenParams {
        conn: ConnId(1),
        isn: Seq(100),
        mss: 1000,
        ts_offset: 0,
        nodelay: false,
        path_mtu: None,
    };
    let cx = Cx { now: Time::ZERO, cause: EventId::NONE, recording: true };
    let conn = Connection::connect(cx, &Arc::new(config), &open);
    let mut t = Teller { conn, events: 0, text: String::new(), now: Time::ZERO };
    let cx = t.input(0, "app");
    t.settle(cx);
    t.timer();
    t.timer();
    check(
        &t,
        "0 #1 app
         0 #2 state Closed to SynSent
         0 #3 send 0..0 Handshake origin #0 at 0
         1000 #4 timer Rto armed by #1
         1000 #5 send 0..0 Handshake origin #3 at 0
         3000 #6 timer Rto armed by #4
         3000 #7 send 0..0 Handshake origin #5 at 1000",
    );
    assert_eq!(t.conn.info().total_retrans, 2);
}

#[test]
fn waiting_has_a_reason() {
    let mut t = open();
    t.write(200, 10);
    t.write(210, 10);
    t.ack(300, 111, 0, &[]);
    t.timer();
    t.ack(900, 111, 60_000, &[]);
    let told = t.text.split_once("#6").expect("the handshake").1;
    t.text = told.split_once('\n').expect("a line").1.to_string();
    check(
        &t,
        "200 #7 app
         200 #8 write 0+10
         200 #9 send 0..10 NewData origin #7 at 200
         210 #10 app
         210 #11 write 10+10
         210 #12 blocked Nagle
         300 #13 frame
         300 #14 blocked PeerWindow
         600 #15 timer Persist armed by #13
         600 #16 send 10..10 WindowProbe origin #0 at 0
         900 #17 frame
         900 #18 cwnd 4000 ssthresh 4294967295
         900 #19 send 10..20 NewData origin #10 at 210",
    );
}

#[test]
fn an_idle_connection_is_small() {
    assert!(size_of::<Connection>() <= 1_288, "{}", size_of::<Connection>());
    let mut t = open();
    t.write(200, 30_000);
    for (i, ack) in (1101..31_000).step_by(1000).enumerate() {
        t.ack(300 + i as u64, ack, 60_000, &[]);
    }
    assert_eq!((t.conn.info().unacked, t.conn.info().unsent), (0, 0));
    assert_eq!(t.conn.deadline(), Time::MAX, "nothing to do, no timer");
    assert!(t.conn.info().srtt > Nanos::ZERO);
}
