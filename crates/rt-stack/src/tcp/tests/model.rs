//! A second, simple model of what a receiver does, written from RFC 9293 3.10.7, RFC 2018 and RFC 2883 and not from our
//! code, beside which ours must say the same: the next state, RCV.NXT, and what comes back.
//!
//! Where Linux, which is our default, differs from the RFC, the model says so with "Deviation".

use std::sync::Arc;

use proptest::prelude::*;
use rt_base::{ConnId, TcpPhase, Time};
use rt_wire::{Seq, TcpFlags, TcpHeader, TcpOptions};

use super::pipe::{cases, seed};
use crate::tcp::{Connection, Cx, Ecn, OpenParams, Outcome, Read, TcpConfig};

const ISS: Seq = Seq(u32::MAX - 1);
const IRS: Seq = Seq(u32::MAX - 2);
const MAX_WINDOW: u32 = 20_000;

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

/// What comes back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Answer {
    Nothing,
    Ack,
    Reset,
    /// An ACK now or later, or none: the RFC leaves it open.
    Any,
}

#[derive(Clone, Copy, Debug)]
struct Probe {
    flags: u8,
    seq: Seq,
    ack: Seq,
    len: u32,
}

impl Probe {
    fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// RFC 9293 3.3.1, as far as the table needs it.
#[derive(Clone, Copy, Debug)]
struct Variables {
    una: Seq,
    nxt: Seq,
    rcv_nxt: Seq,
    rcv_wnd: u32,
}

/// Every state by the shortest road.
fn reach(state: TcpPhase, simultaneous: bool, sack: bool) -> Connection {
    let config =
        Arc::new(TcpConfig { timestamps: false, window_scaling: false, sack, ..TcpConfig::default() });
    let open =
        OpenParams { conn: ConnId(1), isn: ISS, mss: 1460, ts_offset: 0, nodelay: false, path_mtu: None };
    let at = Cx::quiet(Time::ZERO);
    let mut options = TcpOptions::default();
    (options.mss, options.sack_permitted) = (Some(1460), sack);
    let syn = header(Probe { flags: SYN, seq: IRS, ack: Seq(0), len: 0 }, options);
    if state == TcpPhase::SynReceived && !simultaneous {
        let mut conn = Connection::accept(at, &config, &open, &syn);
        let _ = answers(&mut conn);
        return conn;
    }
    let mut conn = Connection::connect(at, &config, &open);
    let _ = answers(&mut conn);
    let mut feed = |flags: u8, seq: Seq, ack: Seq| {
        let probe = Probe { flags, seq, ack, len: 0 };
        let _ = conn.on_segment(at, &header(probe, options), &[], Ecn::NotEct);
        let _ = answers(&mut conn);
    };
    match state {
        TcpPhase::SynSent => return conn,
        TcpPhase::SynReceived => {
            feed(SYN, IRS, Seq(0));
            return conn;
        }
        _ => feed(SYN | ACK, IRS, ISS + 1),
    }
    let first = matches!(state, TcpPhase::CloseWait | TcpPhase::LastAck);
    if first {
        feed(FIN | ACK, IRS + 1, ISS + 1);
    }
    if !matches!(state, TcpPhase::Established | TcpPhase::CloseWait) {
        conn.shutdown(at);
        let _ = answers(&mut conn);
    }
    let mut feed = |flags: u8, seq: Seq, ack: Seq| {
        let probe = Probe { flags, seq, ack, len: 0 };
        let _ = conn.on_segment(at, &header(probe, TcpOptions::default()), &[], Ecn::NotEct);
        let _ = answers(&mut conn);
    };
    match state {
        TcpPhase::FinWait2 => feed(ACK, IRS + 1, ISS + 2),
        TcpPhase::Closing => feed(FIN | ACK, IRS + 1, ISS + 1),
        TcpPhase::TimeWait => feed(FIN | ACK, IRS + 1, ISS + 2),
        _ => {}
    }
    conn
}

fn header(probe: Probe, options: TcpOptions) -> TcpHeader {
    let flags = TcpFlags(probe.flags);
    let window = MAX_WINDOW as u16;
    TcpHeader { seq: probe.seq, ack: probe.ack, flags, window, options, ..TcpHeader::default() }
}

/// All that leaves now.
fn answers(conn: &mut Connection) -> Vec<TcpHeader> {
    std::iter::from_fn(|| conn.next_segment(Cx::quiet(Time::ZERO))).map(|segment| segment.header).collect()
}

/// The four cases of the table in 3.10.7.4.
fn acceptable(v: &Variables, seq: Seq, len: u32) -> bool {
    let inside = |s: Seq| v.rcv_nxt.le(s) && s.lt(v.rcv_nxt + v.rcv_wnd);
    match (len, v.rcv_wnd) {
        (0, 0) => seq == v.rcv_nxt,
        (0, _) => inside(seq),
        (_, 0) => false,
        (_, _) => inside(seq) || inside(seq + (len - 1)),
    }
}

/// 3.10.7.3.
fn syn_sent(v: &Variables, p: &Probe) -> (TcpPhase, Answer) {
    let stay = TcpPhase::SynSent;
    let good_ack = ISS.lt(p.ack) && p.ack.le(v.nxt);
    match (p.has(ACK), p.has(RST), p.has(SYN)) {
        (true, false, _) if !good_ack => (stay, Answer::Reset),
        (true, true, _) if good_ack => (TcpPhase::Closed, Answer::Nothing),
        (_, true, _) | (_, _, false) => (stay, Answer::Nothing),
        // Deviation: text and FIN of a SYN-ACK are left to be repeated (outside of Fast Open).
        (true, false, true) => (TcpPhase::Established, Answer::Ack),
        // Text and FIN of the SYN "queue for processing later": they come again.
        (false, false, true) => (TcpPhase::SynReceived, Answer::Ack),
    }
}

/// Deviation: TIME-WAIT has no window; all but a repetition of the last ACK is answered, a RST is ignored (RFC 1337),
/// and a newer SYN begins another connection (3.6.1), which is the listener's business.
fn time_wait(v: &Variables, p: &Probe) -> (TcpPhase, Answer) {
    let newer = p.has(SYN) && !p.has(ACK) && p.seq.gt(v.rcv_nxt);
    let last = !p.has(SYN) && !p.has(FIN) && p.len == 0 && p.seq == v.rcv_nxt;
    let silent = p.has(RST) || newer || last;
    (TcpPhase::TimeWait, if silent { Answer::Nothing } else { Answer::Ack })
}

/// 3.10.7.4 from SYN-RECEIVED to LAST-ACK.
fn synchronised(state: TcpPhase, v: &Variables, p: &Probe) -> (TcpPhase, Answer) {
    let half_open = state == TcpPhase::SynReceived;
    // RFC 9293 figure 8: the SYN-ACK of a simultaneous open is taken though it begins before the window.
    let crossing = half_open && p.has(SYN) && p.has(ACK) && !p.has(RST) && p.seq == IRS && p.ack == v.nxt;
    let seq = p.seq + u32::from(crossing);
    // First. Deviation: a SYN does not count here, only text and FIN.
    let len = p.len + u32::from(p.has(FIN));
    // Deviation: Linux hears a bare ACK at the window's right edge too.
    let at_edge = len == 0 && !p.has(RST) && seq == v.rcv_nxt + v.rcv_wnd;
    if !at_edge && !acceptable(v, seq, len) {
        return (state, if p.has(RST) { Answer::Nothing } else { Answer::Ack });
    }
    // Second.
    if p.has(RST) && seq == v.rcv_nxt {
        return (TcpPhase::Closed, Answer::Nothing);
    }
    // Fourth. Deviation: SYN-RECEIVED does not go back to LISTEN but answers as the other states.
    if p.has(RST) || (p.has(SYN) && !crossing) {
        return (state, Answer::Ack);
    }
    // Fifth.
    if !p.has(ACK) {
        return (state, Answer::Nothing);
    }
    if half_open && !(v.una.lt(p.ack) && p.ack.le(v.nxt)) {
        return (state, Answer::Reset);
    }
    if p.ack.gt(v.nxt) && state == TcpPhase::Established {
        // Deviation: `tcp_rcv_established` drops an ACK of what was never sent without a word.
        return (state, Answer::Nothing);
    }
    if p.ack.gt(v.nxt) || p.ack.lt(v.una - MAX_WINDOW) {
        return (state, Answer::Ack);
    }
    let fin_sent =
        matches!(state, TcpPhase::FinWait1 | TcpPhase::Closing | TcpPhase::LastAck) && p.ack == v.nxt;
    let state = match state {
        TcpPhase::SynReceived => TcpPhase::Established,
        TcpPhase::FinWait1 if fin_sent => TcpPhase::FinWait2,
        TcpPhase::Closing if fin_sent => TcpPhase::TimeWait,
        TcpPhase::LastAck if fin_sent => return (TcpPhase::Closed, Answer::Nothing),
        other => other,
    };
    text_and_fin(state, v, p, seq)
}

/// Seventh and eighth.
fn text_and_fin(state: TcpPhase, v: &Variables, p: &Probe, seq: Seq) -> (TcpPhase, Answer) {
    let receives = matches!(state, TcpPhase::Established | TcpPhase::FinWait1 | TcpPhase::FinWait2);
    if !receives {
        // "This should not occur", "remain in the state".
        return (state, Answer::Any);
    }
    let in_order = seq.le(v.rcv_nxt);
    if !p.has(FIN) || !in_order {
        let quiet = p.len == 0 && !p.has(FIN);
        return (state, if quiet { Answer::Nothing } else { Answer::Any });
    }
    let next = match state {
        TcpPhase::FinWait1 => TcpPhase::Closing,
        TcpPhase::FinWait2 => TcpPhase::TimeWait,
        _ => TcpPhase::CloseWait,
    };
    (next, Answer::Ack)
}

const STATES: [TcpPhase; 9] = [
    TcpPhase::SynSent,
    TcpPhase::SynReceived,
    TcpPhase::Established,
    TcpPhase::FinWait1,
    TcpPhase::FinWait2,
    TcpPhase::CloseWait,
    TcpPhase::Closing,
    TcpPhase::LastAck,
    TcpPhase::TimeWait,
];

//= rfc9293#3.10.7.3
//= type=test
//= rfc9293#3.10.7.4
//= type=test
#[test]
fn every_state_meets_every_segment() {
    let flags = |bits: u8| {
        [FIN, SYN, RST, ACK]
            .iter()
            .enumerate()
            .map(move |(i, f)| if bits >> i & 1 == 1 { *f } else { 0 })
            .sum()
    };
    for (state, simultaneous) in STATES.map(|s| (s, false)).into_iter().chain([(TcpPhase::SynReceived, true)])
    {
        let conn = reach(state, simultaneous, false);
        assert_eq!(conn.phase(), state);
        let v = Variables {
            una: conn.snd.una,
            nxt: conn.snd.nxt,
            rcv_nxt: conn.rcv.nxt,
            rcv_wnd: conn.rcv.adv - conn.rcv.nxt,
        };
        let edge = v.rcv_nxt + v.rcv_wnd;
        let seqs = [v.rcv_nxt - 2, v.rcv_nxt - 1, v.rcv_nxt, v.rcv_nxt + 1, edge - 1, edge, edge + 70_000];
        let acks = [v.una - 90_000, v.una - 1, v.una, v.nxt, v.nxt + 1, v.nxt + 90_000];
        for (bits, seq, ack, len) in (0u8..16).flat_map(|b| {
            seqs.into_iter()
                .flat_map(move |s| acks.into_iter().flat_map(move |a| [0, 1, 2].map(move |l| (b, s, a, l))))
        }) {
            let probe = Probe { flags: flags(bits), seq, ack, len };
            let want = match state {
                TcpPhase::SynSent => syn_sent(&v, &probe),
                TcpPhase::TimeWait => time_wait(&v, &probe),
                _ => synchronised(state, &v, &probe),
            };
            meet(reach(state, simultaneous, false), probe, state, want);
        }
    }
}

fn meet(mut conn: Connection, probe: Probe, state: TcpPhase, want: (TcpPhase, Answer)) {
    let text = vec![7; probe.len as usize];
    let header = header(probe, TcpOptions::default());
    let outcome = conn.on_segment(Cx::quiet(Time::ZERO), &header, &text, Ecn::NotEct);
    let out = answers(&mut conn);
    let got = if out.iter().any(|h| h.flags.has(TcpFlags::RST)) {
        Answer::Reset
    } else if out.is_empty() {
        Answer::Nothing
    } else {
        Answer::Ack
    };
    assert!(out.len() <= 1, "{state:?} meets {probe:?}: {out:?}");
    assert_eq!(conn.phase(), want.0, "{state:?} meets {probe:?}: {outcome:?}, {out:?}");
    let fits = got == want.1 || (want.1 == Answer::Any && got != Answer::Reset);
    assert!(fits, "{state:?} meets {probe:?}: {want:?}, {outcome:?}, {out:?}");
}

/// One slot per byte of the peer's stream.
struct Receiver {
    conn: Connection,
    held: Vec<bool>,
    /// One past the last byte that the peer may send, by what segments said.
    edge: usize,
    read: usize,
    /// There were more stretches than are remembered.
    crowded: bool,
}

const SPAN: usize = 40_000;

fn byte(at: usize) -> u8 {
    (at ^ (at >> 7)) as u8
}

impl Receiver {
    fn next(&self) -> usize {
        self.held.iter().position(|held| !held).unwrap_or(SPAN)
    }

    fn place(&self, seq: Seq) -> usize {
        (seq - (IRS + 1)) as usize
    }

    /// The stretch of held bytes around `at`.
    fn range(&self, at: usize) -> (usize, usize) {
        let low = self.held[..at].iter().rposition(|held| !held).map_or(0, |i| i + 1);
        (low, at + self.held[at..].iter().position(|held| !held).unwrap_or(SPAN - at))
    }

    fn take(&mut self, at: usize, len: usize) {
        let before = self.held.clone();
        let nxt = self.next();
        let end = at + len;
        // The table with a window: Deviation: what begins at RCV.NXT is heard even when the window is closed.
        let inside = |byte: usize| nxt <= byte && byte < self.edge;
        let heard = at == nxt || inside(at) || inside(end - 1);
        let last = end.min(self.edge);
        if heard && nxt < last.max(at) + 1 && at < last {
            self.held[at..last].fill(true);
        }
        let text: Vec<u8> = (at..end).map(byte).collect();
        let probe = Probe { flags: ACK, seq: IRS + 1 + at as u32, ack: ISS + 1, len: len as u32 };
        let header = header(probe, TcpOptions::default());
        let _: Outcome = self.conn.on_segment(Cx::quiet(Time::ZERO), &header, &text, Ecn::NotEct);
        let out = answers(&mut self.conn);
        assert_eq!(self.place(self.conn.rcv.nxt), self.next(), "RCV.NXT after {at}..{end}");
        let disorder =
            at != nxt || self.next() < self.held.iter().rposition(|held| *held).map_or(0, |i| i + 1);
        assert!(out.len() <= 1 && !(disorder && out.is_empty()), "disorder is answered at once: {out:?}");
        for answer in &out {
            self.check_answer(answer, &before, (at, end));
        }
    }

    fn check_answer(&mut self, answer: &TcpHeader, before: &[bool], arrived: (usize, usize)) {
        let nxt = self.next();
        assert_eq!(self.place(answer.ack), nxt, "the ACK number is the first byte missing");
        self.edge = self.edge.max(nxt + usize::from(answer.window));
        let mut blocks: Vec<(usize, usize)> =
            answer.options.sack().iter().map(|b| (self.place(b.0), self.place(b.1))).collect();
        if let Some(&(left, right)) = blocks.first() {
            let more = blocks.get(1).is_some_and(|b| b.0 <= left && right <= b.1);
            if left < nxt || more {
                //= rfc2883#4
                //= type=test
                assert!(left < right && arrived.0 <= left && right <= arrived.1, "of another segment");
                assert!(before[left..right].iter().all(|held| *held), "{left}..{right} came but once");
                blocks.remove(0);
            }
        }
        //= rfc2018#4
        //= type=test
        for (i, block) in blocks.iter().enumerate() {
            assert!(block.0 > nxt && self.held[block.0], "{block:?} after {nxt}");
            assert_eq!(*block, self.range(block.0), "not the whole stretch");
            assert!(!blocks[..i].contains(block), "told twice");
        }
        let newest = arrived.0.max(nxt);
        if newest > nxt && newest < arrived.1 && self.held[newest] {
            assert_eq!(blocks.first(), Some(&self.range(newest)), "the newest comes first");
        }
        // Deviation: of more than four stretches at a time the oldest are forgotten.
        let stretches = (nxt + 1..self.held.len()).filter(|&i| self.held[i] && !self.held[i - 1]).count();
        self.crowded |= stretches > 4;
        assert!(self.crowded || blocks.is_empty() == (stretches == 0), "holes are told");
    }

    fn read(&mut self, n: usize) {
        let mut buf = vec![0; n];
        if let Ok(Read::Data(n)) = self.conn.read(Cx::quiet(Time::ZERO), &mut buf) {
            assert!(buf[..n].iter().enumerate().all(|(i, b)| *b == byte(self.read + i)));
            self.read += n;
        }
        for answer in answers(&mut self.conn) {
            assert_eq!(self.place(answer.ack), self.next());
            self.edge = self.edge.max(self.next() + usize::from(answer.window));
        }
    }
}

#[derive(Clone, Debug)]
enum Event {
    /// From so many bytes beside RCV.NXT on, so many bytes.
    Text(i32, usize),
    Read(usize),
}

/// Four stretches of which two grow together, and a new one: four again, of which none may be forgotten.
#[test]
fn stretches_that_grow_together_make_room_for_others() {
    let conn = reach(TcpPhase::Established, false, true);
    let edge = (conn.rcv.adv - conn.rcv.nxt) as usize;
    let mut receiver = Receiver { conn, held: vec![false; SPAN + 70_000], edge, read: 0, crowded: false };
    for (at, len) in [(9000, 10), (1000, 10), (3000, 10), (5000, 10), (1010, 1990), (7000, 10)] {
        receiver.take(at, len);
    }
    // Whatever arrives first goes again: the one that was touched longest ago is still told.
    for (at, len) in [(0, 1000), (3010, 1990), (5010, 1990)] {
        receiver.take(at, len);
    }
    assert!(!receiver.crowded);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(60), failure_persistence: None,
        rng_seed: seed(2883), ..ProptestConfig::default() })]

    #[test]
    fn a_map_of_bytes_receives_the_same(events in prop::collection::vec(prop_oneof![
        9 => (prop_oneof![3 => Just(0i32), 2 => -3i32..3000, 1 => -2000i32..9000], 1usize..1460)
            .prop_map(|(at, len)| Event::Text(at, len)),
        1 => (0usize..9000).prop_map(Event::Read),
    ], 1..40)) {
        let conn = reach(TcpPhase::Established, false, true);
        let edge = (conn.rcv.adv - conn.rcv.nxt) as usize;
        let mut receiver = Receiver { conn, held: vec![false; SPAN + 70_000], edge, read: 0, crowded: false };
        for event in events {
            match event {
                Event::Text(at, len) => {
                    let at = (receiver.next() as i64 + i64::from(at)).max(0) as usize;
                    receiver.take(at, len);
                }
                Event::Read(n) => receiver.read(n),
            }
        }
    }
}
