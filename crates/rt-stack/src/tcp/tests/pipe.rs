//! Two connections and a path that delays, loses, repeats and reorders: whatever happens, the bytes arrive once, in
//! order, and both ends come to rest. And whatever segments a stranger invents, nothing panics.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use rt_base::{ConnId, Nanos, Rng, Time};
use rt_wire::{Seq, TcpFlags, TcpHeader, TcpOptions};

use crate::tcp::{
    CongestionKind, Connection, Cx, Ecn, EcnMode, IcmpError, ListenOutcome, OpenParams, Outcome, Read,
    TcpConfig, TcpError, on_listen, reset_for,
};

/// How the path treats segments, per thousand.
#[derive(Clone, Copy, Debug)]
struct Path {
    loss: u64,
    duplicate: u64,
    reorder: u64,
    delay_ms: u64,
    /// Marked instead of lost, where the segment allows it (RFC 3168).
    mark: u64,
}

/// What one side does.
#[derive(Clone, Debug)]
struct Plan {
    bytes: u64,
    /// Bytes read at a time; small ones close the window.
    read: usize,
    /// Milliseconds between reads.
    pause_ms: u64,
    config: TcpConfig,
}

struct Side {
    conn: Option<Connection>,
    config: Arc<TcpConfig>,
    plan: Plan,
    isn: u32,
    written: u64,
    read: u64,
    eof: bool,
    next_read: Time,
    /// The farthest right edge offered so far.
    edge: Option<Seq>,
    /// The peer's TIME-WAIT was over, in order, when something of this side's still arrived there.
    outlived: bool,
}

/// To whom, and what.
type Travelling = (usize, TcpHeader, Vec<u8>, Ecn);

struct World {
    sides: [Side; 2],
    path: Path,
    rng: Rng,
    now: Time,
    /// Segments on their way: arrival and number, then who gets what.
    wire: BTreeMap<(Time, u64), Travelling>,
    sent: u64,
    data_segments: u64,
}

fn pattern(side: usize, offset: u64) -> u8 {
    (offset.wrapping_mul(31) >> 3) as u8 ^ (side as u8)
}

impl World {
    fn new(path: Path, plans: [Plan; 2], seed: u64) -> World {
        let side = |(i, plan): (usize, Plan)| Side {
            conn: None,
            config: Arc::new(plan.config.clone()),
            isn: if i == 0 { u32::MAX - 5000 } else { 7 },
            written: 0,
            read: 0,
            eof: false,
            next_read: Time::ZERO,
            edge: None,
            outlived: false,
            plan,
        };
        let [a, b] = plans;
        let mut world = World {
            sides: [side((0, a)), side((1, b))],
            path,
            rng: Rng::stream(seed, "pipe", "path"),
            now: Time::ZERO,
            wire: BTreeMap::new(),
            sent: 0,
            data_segments: 0,
        };
        let open = world.sides[0].open();
        let config = Arc::clone(&world.sides[0].config);
        world.sides[0].conn = Some(Connection::connect(Cx::quiet(Time::ZERO), &config, &open));
        world
    }

    /// Runs until both connections are finished or failed; the number of steps is bounded.
    fn run(&mut self) {
        for _ in 0..2_000_000 {
            for side in 0..2 {
                self.app(side);
                self.flush(side);
            }
            let wire = self.wire.first_key_value().map_or(Time::MAX, |(k, _)| k.0);
            let next = self.sides.iter().fold(wire, |t, s| t.min(s.wish()));
            if next == Time::MAX {
                return;
            }
            assert!(next >= self.now);
            self.now = next;
            if wire == next {
                let (_, (to, header, bytes, ecn)) =
                    self.wire.pop_first().expect("invariant: it was seen above");
                self.deliver(to, &header, &bytes, ecn);
            } else {
                self.timers();
            }
        }
        panic!("no rest after two million steps at {}", self.now);
    }

    fn timers(&mut self) {
        let now = self.now;
        for side in 0..2 {
            while let Some(timer) = self.sides[side].conn.as_ref().and_then(|c| c.due(now)) {
                let conn = self.sides[side].conn.as_mut().expect("invariant: it was due");
                conn.on_timer(Cx::quiet(now), timer.kind);
                self.flush(side);
            }
        }
    }

    fn deliver(&mut self, to: usize, header: &TcpHeader, bytes: &[u8], ecn: Ecn) {
        let cx = Cx::quiet(self.now);
        let open = self.sides[to].open();
        let side = &mut self.sides[to];
        match &mut side.conn {
            Some(conn) if !conn.finished() => {
                let _ = conn.on_segment(cx, header, bytes, ecn);
                conn.snd.flight.check();
            }
            // Forgotten: its machine answers for it.
            Some(conn) => {
                let in_order = conn.error().is_none();
                self.sides[1 - to].outlived |= in_order;
                if let Some(reset) = reset_for(header, bytes.len() as u32) {
                    self.launch(1 - to, reset, Vec::new(), Ecn::NotEct);
                }
                return;
            }
            None => {
                if on_listen(header, bytes.len() as u32) == ListenOutcome::Open {
                    side.conn = Some(Connection::accept(cx, &side.config, &open, header));
                }
            }
        }
        self.flush(to);
    }

    /// Writes all it can, reads at its pace, closes when it has written and read everything.
    fn app(&mut self, i: usize) {
        let cx = Cx::quiet(self.now);
        let other = self.sides[1 - i].plan.bytes;
        let side = &mut self.sides[i];
        let Some(conn) = &mut side.conn else { return };
        while side.written < side.plan.bytes && conn.error().is_none() {
            let n = (side.plan.bytes - side.written).min(5000);
            let bytes: Vec<u8> = (0..n).map(|k| pattern(i, side.written + k)).collect();
            match conn.write(cx, &bytes) {
                Ok(0) | Err(_) => break,
                Ok(n) => side.written += n as u64,
            }
        }
        if side.written == side.plan.bytes {
            conn.shutdown(cx);
        }
        let mut buf = vec![0; side.plan.read];
        while self.now >= side.next_read && !side.eof {
            match conn.read(cx, &mut buf) {
                Ok(Read::Data(n)) => {
                    let good =
                        buf[..n].iter().enumerate().all(|(k, b)| *b == pattern(1 - i, side.read + k as u64));
                    assert!(good, "wrong bytes after {}", side.read);
                    side.read += n as u64;
                    side.next_read = self.now + Nanos::from_millis(side.plan.pause_ms);
                }
                Ok(Read::Eof) => {
                    side.eof = true;
                    assert_eq!(side.read, other, "an end too early");
                }
                Ok(Read::WouldBlock) => break,
                Err(_) => side.eof = true,
            }
        }
        if side.eof && (side.written == side.plan.bytes || conn.error().is_some()) {
            conn.close(cx);
        }
    }

    fn flush(&mut self, i: usize) {
        let cx = Cx::quiet(self.now);
        for count in 0.. {
            assert!(count < 100_000, "segments without end at {}", self.now);
            let Some(conn) = &mut self.sides[i].conn else { return };
            let Some(segment) = conn.next_segment(cx) else { return };
            let bytes = conn.payload(&segment).collect::<Vec<_>>().concat();
            assert_eq!(bytes.len(), segment.len as usize);
            conn.snd.flight.check();
            let shift = if segment.header.flags.has(TcpFlags::SYN) { 0 } else { conn.rcv.shift };
            self.check_window(i, &segment.header, shift);
            self.data_segments += u64::from(segment.len > 0);
            self.launch(1 - i, segment.header, bytes, segment.ecn);
        }
    }

    /// The window is never shrunk by as much as a unit of its scale.
    fn check_window(&mut self, i: usize, header: &TcpHeader, shift: u8) {
        if !header.flags.has(TcpFlags::ACK) || header.flags.has(TcpFlags::RST) {
            return;
        }
        let edge = header.ack + (u32::from(header.window) << shift);
        let before = self.sides[i].edge.unwrap_or(edge);
        assert!((edge + (1 << shift)).gt(before), "the window shrank from {before} to {edge}");
        self.sides[i].edge = Some(edge.max(before));
    }

    fn launch(&mut self, to: usize, header: TcpHeader, bytes: Vec<u8>, ecn: Ecn) {
        let roll = |rng: &mut Rng, thousandth: u64| rng.below(1000) < thousandth;
        self.sent += 1;
        if roll(&mut self.rng, self.path.loss) {
            return;
        }
        let marked = ecn != Ecn::NotEct && self.path.mark > 0 && roll(&mut self.rng, self.path.mark);
        let ecn = if marked { Ecn::Ce } else { ecn };
        let late = if roll(&mut self.rng, self.path.reorder) { self.rng.below(30) } else { 0 };
        let at = self.now + Nanos::from_millis(self.path.delay_ms + late);
        if roll(&mut self.rng, self.path.duplicate) {
            self.sent += 1;
            self.wire.insert((at + Nanos::from_millis(1), self.sent), (to, header, bytes.clone(), ecn));
        }
        self.sent += 1;
        self.wire.insert((at, self.sent), (to, header, bytes, ecn));
    }

    /// All bytes there, both ends closed in order; or one was reset that had everything but the ACK of its FIN, because
    /// its repetitions were lost or far apart for longer than the peer's TIME-WAIT (60 s at most of RTO against 60 s).
    fn check_complete(&self) {
        for (i, side) in self.sides.iter().enumerate() {
            let conn = side.conn.as_ref().expect("invariant: both opened");
            let late = side.outlived && side.eof && side.written == side.plan.bytes;
            let error = conn.error().filter(|e| !(late && *e == TcpError::Reset));
            assert_eq!(error, None, "side {i} at {}: {:?}", self.now, conn.info());
            assert_eq!(
                side.read,
                self.sides[1 - i].plan.bytes,
                "side {i} at {}: {:?}",
                self.now,
                conn.info()
            );
            assert!(conn.finished(), "side {i}: {:?}", conn.info());
        }
    }
}

impl Side {
    fn open(&self) -> OpenParams {
        OpenParams {
            conn: ConnId(1),
            isn: Seq(self.isn),
            mss: 1460,
            ts_offset: self.isn,
            nodelay: false,
            path_mtu: None,
        }
    }

    /// When it wants to be called: a timer, or a read that is due.
    fn wish(&self) -> Time {
        let Some(conn) = &self.conn else { return Time::MAX };
        let reads = !self.eof && conn.readable();
        conn.deadline().min(if reads { self.next_read } else { Time::MAX })
    }
}

fn plan(bytes: u64) -> Plan {
    Plan { bytes, read: 65_536, pause_ms: 0, config: TcpConfig::default() }
}

const CLEAN: Path = Path { loss: 0, duplicate: 0, reorder: 0, delay_ms: 10, mark: 0 };

#[test]
fn a_clean_path_needs_no_retransmission() {
    let mut world = World::new(CLEAN, [plan(3_000_000), plan(10)], 1);
    world.run();
    world.check_complete();
    // 3,000,000 / 1448 = 2071.8, and one segment for the other side.
    assert_eq!(world.data_segments, 2072 + 1);
    assert!(world.now < Time(62_000_000_000), "{}", world.now);
}

#[test]
fn loss_costs_little_more_than_what_was_lost() {
    let mut world = World::new(Path { loss: 20, ..CLEAN }, [plan(3_000_000), plan(10)], 1);
    world.run();
    world.check_complete();
    assert!((2073..2200).contains(&world.data_segments), "{}", world.data_segments);
}

/// Seconds that 3 MB take over 10 ms each way with this loss per thousand.
fn seconds(congestion: CongestionKind, loss: u64) -> f64 {
    let sender = Plan { config: TcpConfig { congestion, ..TcpConfig::default() }, ..plan(3_000_000) };
    let mut world = World::new(Path { loss, ..CLEAN }, [sender, plan(10)], 1);
    world.run();
    world.check_complete();
    world.now.0 as f64 / 1e9 - 60.0 // TIME-WAIT
}

#[test]
fn bbr_does_not_take_loss_for_congestion() {
    let (clean, lossy) = (seconds(CongestionKind::Bbr, 0), seconds(CongestionKind::Bbr, 20));
    assert!(lossy < 3.0 * clean, "{clean} {lossy}");
    let cubic = seconds(CongestionKind::Cubic, 20);
    assert!(cubic > 2.0 * lossy, "{cubic} {lossy}");
}

#[test]
fn a_slow_reader_closes_and_opens_the_window() {
    let slow = Plan { read: 3000, pause_ms: 20, ..plan(10) };
    let mut world = World::new(CLEAN, [plan(400_000), slow], 1);
    world.run();
    world.check_complete();
}

/// The systems that are known by name.
fn systems() -> impl Strategy<Value = TcpConfig> {
    prop_oneof![
        Just(TcpConfig::default()),
        Just(TcpConfig::linux()),
        Just(TcpConfig::freebsd()),
        Just(TcpConfig::macos()),
        Just(TcpConfig::constrained()),
    ]
}

fn configs() -> impl Strategy<Value = TcpConfig> {
    let buffers = prop_oneof![Just(6u32 << 20), Just(65_535), Just(8000), Just(1500)];
    (systems(), any::<[bool; 10]>(), buffers).prop_map(|(system, switches, buffer)| {
        let [ts, ws, sack, reno, nodelay, bbr, pacing, rack, ecn, frto] = switches;
        TcpConfig {
            ecn: if ecn { EcnMode::On } else { EcnMode::Off },
            frto,
            rto_max: Nanos::from_secs(60),
            connect_timeout: None,

            timestamps: ts,
            window_scaling: ws,
            sack,
            congestion: match (reno, bbr) {
                (true, false) => CongestionKind::Reno,
                (_, true) => CongestionKind::Bbr,
                _ => CongestionKind::Cubic,
            },
            pacing,
            rack,
            tail_probe: rack,
            nodelay,
            recv_buffer: buffer,
            send_buffer: buffer,
            data_retries: 30,
            orphan_retries: 30,
            syn_retries: 30,
            synack_retries: 30,
            fin_wait2: Nanos::from_secs(1_000_000),
            ..system
        }
    })
}

fn plans() -> impl Strategy<Value = Plan> {
    (0u64..120_000, prop_oneof![Just(65_536usize), Just(700), 1usize..5000], 0u64..30, configs())
        .prop_map(|(bytes, read, pause_ms, config)| Plan { bytes, read, pause_ms, config })
}

fn paths() -> impl Strategy<Value = Path> {
    (0u64..200, 0u64..100, 0u64..300, 0u64..60, 0u64..300).prop_map(
        |(loss, duplicate, reorder, delay_ms, mark)| Path { loss, duplicate, reorder, delay_ms, mark },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(40), failure_persistence: None,
        rng_seed: seed(9293), ..ProptestConfig::default() })]

    #[test]
    fn bytes_arrive_once_and_in_order(path in paths(), a in plans(), b in plans(), seed in any::<u64>()) {
        let mut world = World::new(path, [a, b], seed);
        world.run();
        world.check_complete();
        prop_assert!(world.now < PATIENCE, "{}", world.now);
    }

    #[test]
    fn strange_segments_never_panic(steps in prop::collection::vec(stranger(), 1..60), config in configs()) {
        suffer(&steps, config);
    }
}

/// No options but the MSS, and patience.
fn without_options(config: TcpConfig) -> TcpConfig {
    TcpConfig {
        timestamps: false,
        window_scaling: false,
        sack: false,
        frto: false,
        rto_max: Nanos::from_secs(60),
        data_retries: 30,
        orphan_retries: 30,
        fin_wait2: Nanos::from_secs(1_000_000),
        ..config
    }
}

/// Answers to a FIN are lost until its timeout has doubled so often that between two of its copies the peer's TIME-WAIT of
/// 60 s is over. FreeBSD reports the reset even in LAST-ACK.
#[test]
fn a_fin_may_outlive_the_time_wait_that_answers_it() {
    let path = Path { loss: 269, duplicate: 65, reorder: 158, delay_ms: 0, mark: 0 };
    let config = TcpConfig { recv_buffer: 6 << 20, ..without_options(TcpConfig::freebsd()) };
    let ours = Plan { config: TcpConfig { frto: true, pacing: true, ..config.clone() }, ..plan(3_661) };
    let theirs = Plan { read: 700, pause_ms: 4, config, ..plan(1461) };
    let mut world = World::new(path, [ours, theirs], 9_611_346_723_430_807_228);
    world.run();
    world.check_complete();
    assert!(world.sides[0].outlived);
    let errors = world.sides.each_ref().map(|s| s.conn.as_ref().and_then(Connection::error));
    assert_eq!(errors, [Some(TcpError::Reset), None]);
}

/// Windows of one segment: sooner or later both ends have sent 40 bytes and the 1420 that fill the window, and both lose the
/// latter. The ACK of the 40 bytes then stands at the edge of the peer's window.
#[test]
fn two_full_windows_whose_ends_are_lost_do_not_lock_each_other() {
    let path = Path { loss: 117, duplicate: 45, reorder: 48, delay_ms: 21, mark: 0 };
    let config = TcpConfig {
        congestion: CongestionKind::Bbr,
        recv_buffer: 1500,
        send_buffer: 1500,
        ..without_options(TcpConfig::default())
    };
    let ours = Plan { read: 1460, pause_ms: 11, config: config.clone(), ..plan(83_219) };
    let theirs = Plan { pause_ms: 22, config, ..plan(86_139) };
    let mut world = World::new(path, [ours, theirs], 11_705_816_451_704_242_865);
    world.run();
    world.check_complete();
    assert!(world.now < PATIENCE);
}

/// Every congestion control with every way to find losses, with and without ECN, timestamps and SACK, to every system.
#[test]
fn every_combination_arrives() {
    let path = Path { loss: 30, duplicate: 10, reorder: 30, delay_ms: 20, mark: 50 };
    let kinds = [CongestionKind::Cubic, CongestionKind::Reno, CongestionKind::Bbr];
    let peers = [TcpConfig::linux(), TcpConfig::freebsd(), TcpConfig::macos(), TcpConfig::constrained()];
    for (bits, congestion) in (0u32..16).flat_map(|bits| kinds.map(|kind| (bits, kind))) {
        let [rack, ecn, timestamps, sack] = [0, 1, 2, 3].map(|bit| bits >> bit & 1 == 1);
        let ecn = if ecn { EcnMode::On } else { EcnMode::Off };
        let config = TcpConfig {
            congestion,
            rack,
            tail_probe: rack,
            ecn,
            timestamps,
            sack,
            fin_wait2: Nanos::from_secs(1_000_000),
            ..TcpConfig::default()
        };
        let peer = TcpConfig { fin_wait2: Nanos::from_secs(1_000_000), ..peers[bits as usize % 4].clone() };
        let ends = [Plan { config, ..plan(60_000) }, Plan { config: peer, ..plan(20_000) }];
        let mut world = World::new(path, ends, u64::from(bits));
        world.run();
        world.check_complete();
        assert!(world.now < Time(120_000_000_000), "{congestion:?} {bits:04b}: {}", world.now);
    }
}

/// However bad the path of these tests is: everything is over by then.
const PATIENCE: Time = Time(3 * 3_600_000_000_000);

pub(super) fn seed(usual: u64) -> proptest::test_runner::RngSeed {
    let wanted = option_env!("ROUNDTRIP_SEED").and_then(|n| n.parse().ok());
    proptest::test_runner::RngSeed::Fixed(wanted.unwrap_or(usual))
}

pub(super) fn cases(usual: u32) -> u32 {
    option_env!("ROUNDTRIP_CASES").and_then(|n| n.parse().ok()).unwrap_or(usual)
}

/// What a stranger or the application does next.
#[derive(Clone, Debug)]
enum Strange {
    Segment {
        flags: u8,
        seq: i64,
        ack: i64,
        window: u16,
        len: usize,
        ts: Option<(u32, u32)>,
        sack: Vec<(i32, i32)>,
    },
    Write(usize),
    Read(usize),
    Shutdown,
    Close,
    Abort,
    Wait(u64),
    TooBig(u16, u32),
}

fn stranger() -> impl Strategy<Value = Strange> {
    let near = || prop_oneof![6 => -3i64..3, 3 => -70_000i64..70_000, 1 => any::<i32>().prop_map(i64::from)];
    let flags =
        prop_oneof![4 => Just(0x10u8), 2 => Just(0x11), 1 => Just(0x02), 1 => Just(0x12), 2 => any::<u8>()];
    let sack = prop::collection::vec((-3i32..5000, -3i32..5000), 0..4);
    let ts = prop_oneof![Just(None), (0u32..100, 0u32..100).prop_map(Some)];
    prop_oneof![
        8 => (flags, near(), near(), any::<u16>(), 0usize..3000, ts, sack).prop_map(
            |(flags, seq, ack, window, len, ts, sack)| Strange::Segment { flags, seq, ack, window, len, ts, sack }),
        2 => (0usize..20_000).prop_map(Strange::Write),
        1 => (0usize..20_000).prop_map(Strange::Read),
        1 => Just(Strange::Shutdown),
        1 => Just(Strange::Close),
        1 => Just(Strange::Abort),
        2 => (0u64..100_000).prop_map(Strange::Wait),
        1 => (any::<u16>(), 0u32..3000).prop_map(|(mtu, at)| Strange::TooBig(mtu, at)),
    ]
}

fn suffer(steps: &[Strange], config: TcpConfig) {
    let config = Arc::new(config);
    let open = OpenParams {
        conn: ConnId(1),
        isn: Seq(u32::MAX - 2),
        mss: 1460,
        ts_offset: 0,
        nodelay: false,
        path_mtu: None,
    };
    let mut conn = Connection::connect(Cx::quiet(Time::ZERO), &config, &open);
    let mut now = Time::ZERO;
    for step in steps {
        let cx = Cx::quiet(now);
        match step {
            Strange::Segment { flags, seq, ack, window, len, ts, sack } => {
                let mut options = TcpOptions::default();
                options.timestamps = *ts;
                if flags & 2 != 0 {
                    options.mss = Some(*window);
                    options.sack_permitted = len & 1 == 0;
                    options.window_scale = (len & 2 == 0).then_some(*window as u8);
                }
                for (a, b) in sack {
                    options.push_sack(conn.snd.una + *a as u32, conn.snd.una + *b as u32);
                }
                let header = TcpHeader {
                    seq: conn.rcv.nxt + *seq as u32,
                    ack: conn.snd.nxt + *ack as u32,
                    flags: TcpFlags(*flags),
                    window: *window,
                    options,
                    ..TcpHeader::default()
                };
                let _: Outcome = conn.on_segment(cx, &header, &vec![1; *len], Ecn::from_byte(*len as u8));
            }
            Strange::Write(n) => {
                let result = conn.write(cx, &vec![2; *n]);
                assert!(!matches!(result, Err(TcpError::HostUnreachable)));
            }
            Strange::Read(n) => {
                let _: Result<Read, TcpError> = conn.read(cx, &mut vec![0; *n]);
            }
            Strange::Shutdown => conn.shutdown(cx),
            Strange::Close => conn.close(cx),
            Strange::Abort => conn.abort(cx),
            Strange::Wait(ms) => now += Nanos::from_millis(*ms),
            Strange::TooBig(mtu, at) => {
                conn.on_icmp(cx, conn.snd.una + *at, IcmpError::TooBig { mtu: *mtu });
            }
        }
        settle(&mut conn, now);
        assert!(conn.rcv.buf.readable() <= config.recv_buffer.max(65_535) + 70_000);
    }
}

fn settle(conn: &mut Connection, now: Time) {
    for round in 0.. {
        assert!(round < 1000, "timers without end");
        let mut segments = 0;
        while let Some(segment) = conn.next_segment(Cx::quiet(now)) {
            let held: usize = conn.payload(&segment).map(<[u8]>::len).sum();
            assert_eq!(held, segment.len as usize);
            conn.snd.flight.check();
            segments += 1;
            assert!(segments < 10_000, "segments without end");
        }
        let Some(timer) = conn.due(now) else { return };
        conn.on_timer(Cx::quiet(now), timer.kind);
    }
}
