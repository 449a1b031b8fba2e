//! Any segments, calls and waits in any order: what must hold for a connection of every system, in every state, whatever
//! a stranger does. `ROUNDTRIP_CASES` and `ROUNDTRIP_SEED` at build time make the campaign longer and another one.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use proptest::prelude::*;
use rt_base::{ConnId, Nanos, Time, TimerKind};
use rt_wire::{FastOpenOption, Seq, TcpFlags, TcpHeader, TcpOptions};

use super::pipe::{cases, seed};
use crate::tcp::timers::Slot;
use crate::tcp::{
    CongestionKind, Connection, Cx, Ecn, EcnMode, FastOpenStart, HystartKind, IcmpError, Insecure,
    KeepaliveConfig, OpenParams, Read, Segment, SocketOptions, TcpConfig,
};

/// How the connection begins.
#[derive(Clone, Copy, Debug)]
enum Start {
    Connect,
    ConnectFastOpen,
    Listen,
    ListenFastOpen,
    /// With the handshake done.
    Established,
    Accepted,
}

/// A number of a segment, relative to a variable of the connection.
#[derive(Clone, Copy, Debug)]
enum Near {
    /// RCV.NXT, or SND.UNA.
    Low(i32),
    /// The right edge of the window, or SND.NXT.
    High(i32),
    /// IRS, or ISS.
    First(i32),
}

#[derive(Clone, Debug)]
struct Strange {
    flags: u8,
    seq: Near,
    ack: Near,
    window: u16,
    len: usize,
    /// Relative to TS.Recent and to our clock.
    timestamps: Option<(i32, i32)>,
    sack: Vec<(Near, u32)>,
    syn_options: (bool, bool, u8),
    cookie: bool,
    ecn: u8,
}

/// What a stranger or the application does next.
#[derive(Clone, Debug)]
enum Step {
    Segment(Box<Strange>),
    Write(usize),
    Read(usize),
    Discard(usize),
    Shutdown,
    Close,
    Abort,
    Wait(u64),
    Icmp(u8, u16, u32),
    Options(u32, u32),
}

fn near() -> impl Strategy<Value = Near> {
    let delta = prop_oneof![8 => -2i32..3, 2 => -1500i32..1500, 2 => -70_000i32..70_000, 1 => any::<i32>()];
    (0u8..7, delta).prop_map(|(which, delta)| match which {
        0..=3 => Near::Low(delta),
        4 | 5 => Near::High(delta),
        _ => Near::First(delta),
    })
}

fn strange() -> impl Strategy<Value = Step> {
    let (ack, fin_ack, syn, syn_ack, rst) = (Just(0x10u8), Just(0x11), Just(0x02), Just(0x12), Just(0x04));
    let flags = prop_oneof![8 => ack, 1 => Just(0x18u8), 3 => fin_ack, 1 => syn, 1 => syn_ack, 1 => rst,
        1 => Just(0x50), 3 => any::<u8>()];
    let len = prop_oneof![3 => Just(0usize), 3 => 1usize..3, 3 => Just(1000), 1 => 0usize..9000];
    let stamp = || prop_oneof![4 => -3i32..4, 1 => -100_000i32..100_000, 1 => any::<i32>()];
    let timestamps = prop_oneof![1 => Just(None), 3 => (stamp(), stamp()).prop_map(Some)];
    let sack = prop::collection::vec((near(), prop_oneof![1u32..3000, any::<u32>()]), 0..4);
    let window = prop_oneof![3 => any::<u16>(), 1 => Just(0u16), 1 => 0u16..2000];
    let rest = (any::<(bool, bool, u8)>(), any::<bool>(), 0u8..4);
    (flags, (near(), near()), window, len, timestamps, sack, rest).prop_map(
        |(flags, (seq, ack), window, len, timestamps, sack, (syn_options, cookie, ecn))| {
            let sack = if flags & 8 == 0 { sack } else { Vec::new() };
            Step::Segment(Box::new(Strange {
                flags,
                seq,
                ack,
                window,
                len,
                timestamps,
                sack,
                syn_options,
                cookie,
                ecn,
            }))
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let wait = prop_oneof![3 => 0u64..50, 3 => 0u64..3000, 1 => 0u64..400_000, 1 => Just(30 * 86_400_000)];
    prop_oneof![
        24 => strange(),
        5 => (0usize..20_000).prop_map(Step::Write),
        3 => (0usize..20_000).prop_map(Step::Read),
        1 => (0usize..20_000).prop_map(Step::Discard),
        1 => Just(Step::Shutdown),
        1 => Just(Step::Close),
        1 => prop_oneof![3 => Just(Step::Write(1)), 1 => Just(Step::Abort)],
        6 => wait.prop_map(Step::Wait),
        1 => (0u8..5, any::<u16>(), 0u32..3000).prop_map(|(kind, mtu, at)| Step::Icmp(kind, mtu, at)),
        2 => (any::<u32>(), 0u32..100_000).prop_map(|(bits, size)| Step::Options(bits, size)),
    ]
}

fn config() -> impl Strategy<Value = TcpConfig> {
    let buffer = prop_oneof![3 => Just(None), 1 => (1000u32..200_000).prop_map(Some)];
    (0u8..4, 0u8..3, any::<[bool; 16]>(), buffer).prop_map(|(system, kind, switches, buffer)| {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = switches;
        let base = match system {
            0 => TcpConfig::linux(),
            1 => TcpConfig::freebsd(),
            2 => TcpConfig::macos(),
            _ => TcpConfig::constrained(),
        };
        TcpConfig {
            congestion: [CongestionKind::Cubic, CongestionKind::Reno, CongestionKind::Bbr][usize::from(kind)],
            timestamps: a,
            window_scaling: b,
            sack: c || d,
            rack: e,
            tail_probe: f,
            frto: g,
            pacing: h,
            ecn: if i { EcnMode::On } else { EcnMode::Passive },
            insecure: Insecure { rst: j, syn: j && k, ack: k },
            time_wait_ignores_reset: l,
            timestamps_required: m,
            hystart: if n { HystartKind::PlusPlus } else { base.hystart },
            nodelay: o,
            keepalive: p.then(KeepaliveConfig::default),
            recv_buffer: buffer.unwrap_or(base.recv_buffer),
            send_buffer: buffer.unwrap_or(base.send_buffer),
            ..base
        }
    })
}

fn start() -> impl Strategy<Value = Start> {
    prop_oneof![
        1 => Just(Start::Connect),
        1 => Just(Start::ConnectFastOpen),
        1 => Just(Start::Listen),
        1 => Just(Start::ListenFastOpen),
        3 => Just(Start::Established),
        3 => Just(Start::Accepted),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(300), failure_persistence: None, max_shrink_iters: 4000,
        rng_seed: seed(793), ..ProptestConfig::default() })]

    #[test]
    fn whatever_a_stranger_does(
        config in config(),
        start in start(),
        isn in prop_oneof![Just(u32::MAX - 3000), any::<u32>()],
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let first = Run::new(config.clone(), start, isn).suffer(&steps);
        let second = Run::new(config, start, isn).suffer(&steps);
        prop_assert_eq!(first, second, "the same inputs, other outputs");
    }
}

/// A round-trip time of minutes, as far as an ACK says, while the RTO of what is in flight is overdue.
#[test]
fn a_probe_waits_no_longer_than_the_longest_timeout() {
    let config =
        TcpConfig { timestamps: false, tail_probe: true, frto: true, pacing: true, ..TcpConfig::freebsd() };
    let ack = |flags, seq, ack, window| {
        Step::Segment(Box::new(Strange {
            flags,
            seq,
            ack,
            window,
            len: 0,
            timestamps: None,
            sack: Vec::new(),
            syn_options: (false, false, 0),
            cookie: false,
            ecn: 0,
        }))
    };
    let steps = [
        Step::Write(2401),
        Step::Write(9954),
        Step::Wait(158_091),
        ack(16, Near::Low(0), Near::High(-1), 12),
        ack(16, Near::Low(0), Near::Low(1), 0),
        Step::Write(14_404),
        ack(120, Near::First(-803), Near::Low(2), 1723),
        Step::Wait(2_592_000_000),
    ];
    Run::new(config, Start::Accepted, u32::MAX - 3000).suffer(&steps);
}

/// The byte that the peer's stream has at `seq`, so that a byte in a wrong place is seen.
fn theirs(seq: Seq) -> u8 {
    (seq.0.wrapping_mul(0x9e37_79b1) >> 24) as u8
}

fn ours(offset: u64) -> u8 {
    (offset.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

struct Run {
    conn: Connection,
    machine: Arc<TcpConfig>,
    now: Time,
    written: u64,
    read: u64,
    /// RCV.WND's right edge as segments said it, and as the connection has it.
    edge: Option<Seq>,
    adv: Option<Seq>,
    una: Seq,
    /// All that came out, for the second run.
    log: DefaultHasher,
}

const PEER: Seq = Seq(u32::MAX - 400);

impl Run {
    fn new(config: TcpConfig, start: Start, isn: u32) -> Run {
        let machine = Arc::new(config);
        let open = OpenParams {
            conn: ConnId(1),
            isn: Seq(isn),
            mss: 1460,
            ts_offset: isn / 3,
            nodelay: false,
            path_mtu: None,
        };
        let cx = Run::cx(Time::ZERO);
        let mut options = TcpOptions::default();
        (options.mss, options.window_scale, options.sack_permitted) = (Some(1200), Some(5), true);
        options.timestamps = Some((1000, 0));
        let flags = TcpFlags::SYN | TcpFlags::ECE | TcpFlags::CWR;
        let syn = TcpHeader { seq: PEER, flags, window: 30_000, options, ..TcpHeader::default() };
        let text: Vec<u8> = (0..700).map(|i| theirs(PEER + 1 + i)).collect();
        let cookie = FastOpenOption::new(&[5; 8], false);
        let mut conn = match start {
            Start::Connect | Start::ConnectFastOpen | Start::Established => {
                Connection::connect(cx, &machine, &open)
            }
            Start::Listen | Start::Accepted => Connection::accept(cx, &machine, &open, &syn),
            Start::ListenFastOpen => Connection::accept_with_text(cx, &machine, &open, (&syn, &text), cookie),
        };
        if matches!(start, Start::ConnectFastOpen) {
            let start = FastOpenStart {
                option: cookie,
                text: true,
                mss: Some(1000),
                deferred: isn.is_multiple_of(2),
            };
            let _ = conn.start_fast_open(start);
        }
        let mut run = Run {
            una: conn.snd.una,
            conn,
            machine,
            now: Time::ZERO,
            written: 0,
            read: 0,
            edge: None,
            adv: None,
            log: DefaultHasher::new(),
        };
        run.drain();
        run.shake_hands(start, &syn);
        run
    }

    fn shake_hands(&mut self, start: Start, syn: &TcpHeader) {
        let ack = self.conn.snd.iss + 1;
        let echo = self.conn.ts.value(self.now);
        let mut options = syn.options;
        options.timestamps = Some((1001, echo));
        let mut plain = TcpOptions::default();
        plain.timestamps = options.timestamps;
        let (seq, flags, options) = match start {
            Start::Established => (PEER, TcpFlags::SYN | TcpFlags::ACK, options),
            Start::Accepted => (PEER + 1, TcpFlags::ACK, plain),
            _ => return,
        };
        let header = TcpHeader { seq, ack, flags, options, ..*syn };
        let _ = self.conn.on_segment(Run::cx(self.now), &header, &[], Ecn::NotEct);
        self.settle();
    }

    fn cx(now: Time) -> Cx {
        Cx { recording: true, ..Cx::quiet(now) }
    }

    /// All steps; what came out as one number.
    fn suffer(mut self, steps: &[Step]) -> u64 {
        for step in steps {
            match step {
                Step::Segment(strange) => self.inject(strange),
                Step::Wait(ms) => self.wait(Nanos::from_millis(*ms)),
                other => self.call(other),
            }
            self.settle();
        }
        self.read_all();
        self.settle();
        self.log.finish()
    }

    fn inject(&mut self, s: &Strange) {
        let c = &self.conn;
        let seq_of = |near| match near {
            Near::Low(d) => c.rcv.nxt + d as u32,
            Near::High(d) => c.rcv.adv + d as u32,
            Near::First(d) => c.rcv.irs + d as u32,
        };
        let ack_of = |near| match near {
            Near::Low(d) => c.snd.una + d as u32,
            Near::High(d) => c.snd.nxt + d as u32,
            Near::First(d) => c.snd.iss + d as u32,
        };
        let mut options = TcpOptions::default();
        let clock = c.ts.value(self.now);
        options.timestamps =
            s.timestamps.map(|(v, e)| (c.ts.recent.wrapping_add(v as u32), clock.wrapping_add(e as u32)));
        if s.flags & 2 != 0 {
            options.mss = s.syn_options.0.then_some(s.window);
            options.sack_permitted = s.syn_options.1;
            options.window_scale = (s.syn_options.2 > 100).then_some(s.syn_options.2);
            options
                .set_fast_open(FastOpenOption::new(&[9; 16][..usize::from(s.syn_options.2 % 17)], s.cookie));
        }
        for &(near, len) in &s.sack {
            options.push_sack(ack_of(near), ack_of(near) + len);
        }
        let (seq, ack) = (seq_of(s.seq), ack_of(s.ack));
        let flags = TcpFlags(s.flags);
        let header = TcpHeader { seq, ack, flags, window: s.window, options, ..TcpHeader::default() };
        let first = seq + u32::from(flags.has(TcpFlags::SYN));
        let text: Vec<u8> = (0..s.len as u32).map(|i| theirs(first + i)).collect();
        let opening = self.conn.rcv.adv == Seq(0) || self.conn.rcv.irs != PEER;
        let outcome = self.conn.on_segment(Run::cx(self.now), &header, &text, Ecn::from_byte(s.ecn));
        if opening {
            // A SYN made a new window.
            (self.edge, self.adv) = (None, None);
        }
        format!("{outcome:?}").hash(&mut self.log);
    }

    fn call(&mut self, step: &Step) {
        let cx = Run::cx(self.now);
        match *step {
            Step::Write(n) => {
                let bytes: Vec<u8> = (0..n as u64).map(|i| ours(self.written + i)).collect();
                let result = self.conn.write(cx, &bytes);
                format!("{result:?}").hash(&mut self.log);
                self.written += result.unwrap_or(0) as u64;
            }
            Step::Read(n) => {
                let _ = self.read(n);
            }
            Step::Discard(n) => {
                if let Ok(Read::Data(n)) = self.conn.discard(cx, n) {
                    self.read += n as u64;
                }
            }
            Step::Shutdown => self.conn.shutdown(cx),
            Step::Close | Step::Abort => {
                // What is unread is lost to this reader.
                let unread = self.conn.rcv.buf.readable();
                if matches!(step, Step::Close) {
                    self.conn.close(cx)
                } else {
                    self.conn.abort(cx)
                }
                self.read += u64::from(unread - self.conn.rcv.buf.readable());
            }
            Step::Icmp(kind, mtu, at) => {
                let error = match kind {
                    0 => IcmpError::HostUnreachable,
                    1 => IcmpError::Refused,
                    2 => IcmpError::NetUnreachable,
                    3 => IcmpError::TtlExceeded,
                    _ => IcmpError::TooBig { mtu },
                };
                self.conn.on_icmp(cx, self.conn.snd.una + at, error);
            }
            Step::Options(bits, size) => self.set_options(bits, size),
            Step::Segment(_) | Step::Wait(_) => {}
        }
    }

    fn set_options(&mut self, bits: u32, size: u32) {
        let bit = |n: u32| bits >> n & 1 == 1;
        let options = SocketOptions {
            nodelay: bit(0),
            cork: bit(1),
            keepalive: bit(2),
            user_timeout: Nanos::from_millis(if bit(3) { u64::from(size) } else { 0 }),
            window_clamp: bit(4).then_some(size),
            receive_buffer: bit(5).then_some(size),
            send_buffer: bit(6).then_some(size),
            max_segment: bit(7).then_some(size as u16),
            not_sent_low_water: bit(8).then_some(size),
            congestion: [
                None,
                Some(CongestionKind::Reno),
                Some(CongestionKind::Cubic),
                Some(CongestionKind::Bbr),
            ][(bits >> 9 & 3) as usize],
            fin_wait2: bit(11).then_some(Nanos::from_millis(u64::from(size))),
            ..SocketOptions::default()
        };
        self.conn.set_options(Run::cx(self.now), &self.machine, options);
        self.conn.set_quickack(bit(12));
        self.conn.expect_write(bit(13));
    }

    fn read(&mut self, n: usize) -> bool {
        let mut buf = vec![0; n];
        let result = self.conn.read(Run::cx(self.now), &mut buf);
        format!("{result:?}").hash(&mut self.log);
        let Ok(Read::Data(n)) = result else { return false };
        let first = self.conn.rcv.irs + 1 + self.read as u32;
        let good = buf[..n].iter().enumerate().all(|(i, b)| *b == theirs(first + i as u32));
        assert!(good, "wrong bytes after {}", self.read);
        self.read += n as u64;
        true
    }

    fn read_all(&mut self) {
        while self.read(10_000) {}
        let in_order = self.conn.rcv.buf.next();
        assert_eq!(self.read, in_order, "not all that came in order can be read");
    }

    /// Time passes, every timer at its own moment.
    fn wait(&mut self, time: Nanos) {
        let end = self.now + time;
        for count in 0.. {
            let due = self.conn.deadline();
            if due > end {
                break;
            }
            assert!(count < 200_000, "timers without end, {:?}", self.conn.due(due));
            self.now = self.now.max(due);
            let timer = self.conn.due(self.now).expect("a deadline has a timer");
            self.conn.on_timer(Run::cx(self.now), timer.kind);
            self.settle();
        }
        self.now = end;
    }

    /// Lets out what is due, until there is nothing.
    fn settle(&mut self) {
        self.drain();
        for round in 0.. {
            let Some(timer) = self.conn.due(self.now) else { break };
            assert!(round < 1000, "timers without end at {}: {timer:?}", self.now);
            self.conn.on_timer(Run::cx(self.now), timer.kind);
            self.drain();
        }
        self.check_state();
        self.check_timers();
    }

    fn drain(&mut self) {
        let mut count = 0;
        while let Some(segment) = self.conn.next_segment(Run::cx(self.now)) {
            count += 1;
            assert!(count < 20_000, "segments without end");
            self.check_segment(&segment);
            (segment.header.seq.0, segment.header.ack.0, segment.header.flags.0).hash(&mut self.log);
            (segment.len, segment.header.window, segment.ecn.bits(), self.now.0).hash(&mut self.log);
        }
        let mut records = Vec::new();
        self.conn.take_records(&mut records);
        records.len().hash(&mut self.log);
        assert!(records.len() < 20_000, "records without end");
    }

    fn check_segment(&mut self, segment: &Segment) {
        let h = &segment.header;
        let text = self.conn.payload(segment).collect::<Vec<_>>().concat();
        assert_eq!(text.len(), segment.len as usize);
        assert!(text.iter().enumerate().all(|(i, b)| *b == ours(segment.offset + i as u64)));
        if segment.len > 0 {
            let at = self.conn.snd.iss + 1 + segment.offset as u32;
            assert_eq!(h.seq + u32::from(h.flags.has(TcpFlags::SYN)), at, "a byte's number is its place");
            assert!(segment.offset + u64::from(segment.len) <= self.written, "more than was written");
        }
        assert!(h.options.emit_len() <= TcpOptions::ROOM);
        if !h.flags.has(TcpFlags::ACK) || h.flags.has(TcpFlags::RST) {
            return;
        }
        assert_eq!(h.ack, self.conn.rcv.nxt, "the ACK field is the first byte missing");
        if h.flags.has(TcpFlags::SYN) && h.window == u16::MAX {
            return; // A SYN cannot say more.
        }
        let shift = if h.flags.has(TcpFlags::SYN) { 0 } else { self.conn.rcv.shift };
        let edge = h.ack + (u32::from(h.window) << shift);
        let before = self.edge.unwrap_or(edge);
        assert!((edge + (1 << self.conn.rcv.shift)).gt(before), "the window shrank from {before} to {edge}");
        self.edge = Some(edge.max(before));
    }

    fn check_state(&mut self) {
        let c = &self.conn;
        c.snd.flight.check();
        assert!(c.snd.una.le(c.snd.nxt), "SND.UNA is beyond SND.NXT");
        assert!(self.una.le(c.snd.una), "SND.UNA went back");
        self.una = c.snd.una;
        assert!(u64::from(c.snd.nxt - c.snd.una) <= self.written + 2, "more in flight than written");
        let info = c.info();
        assert!(info.cwnd_segments >= 1, "no congestion window: {info:?}");
        assert!(info.in_flight <= info.unacked, "{info:?}");
        assert!(c.snd.mss >= 1, "{info:?}");
        if let Some(adv) = self.adv {
            assert!(adv.le(c.rcv.adv), "the right edge went back");
        }
        self.adv = Some(c.rcv.adv).filter(|_| c.rcv.irs == PEER);
        assert!(c.rcv.nxt.le(c.rcv.adv) || c.rcv.adv == Seq(0), "RCV.NXT is beyond the window");
        let widest = c.config.recv_buffer.max(self.machine.recv_buffer).max(200_000) as usize;
        assert!(c.rcv.buf.memory() <= 8 * widest, "{} bytes held", c.rcv.buf.memory());
        assert!(c.snd.buf.len() as u64 <= self.written);
        assert!(c.snd.buf.len() <= 2 * (self.machine.send_buffer.max(65_536) as usize));
        if matches!(c.state, crate::tcp::states::State::Closed(_)) {
            assert_eq!(c.deadline(), Time::MAX, "a closed connection has timers");
        }
    }

    /// No timer is armed for longer than its kind may take.
    fn check_timers(&self) {
        let (c, config) = (&self.conn, &self.conn.config);
        let keepalive = c.keepalive.unwrap_or_default();
        let limits = [
            (Slot::Retransmit, config.rto_max + config.rto_slop),
            (Slot::Ack, Nanos::from_millis(500)),
            (
                Slot::Keepalive,
                keepalive.idle.max(keepalive.interval).max(config.connect_timeout.unwrap_or_default()),
            ),
            (Slot::Linger, config.time_wait.max(config.fin_wait2).max(self.machine.fin_wait2)),
            (Slot::Pacing, config.rto_max),
        ];
        for (slot, limit) in limits {
            let at = c.timers.at(slot);
            let lasting = slot == Slot::Linger && c.timers.is(slot, TimerKind::FinWait2);
            let limit = if lasting { limit.max(Nanos::from_secs(100)) } else { limit };
            assert!(at == Time::MAX || at <= self.now + limit, "{slot:?} in {:?}", at.since(self.now));
        }
    }
}
