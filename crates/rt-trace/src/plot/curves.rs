//! What one end's interface saw of a connection, and what its TCP recorded, as points over time.

use std::collections::{BTreeMap, BTreeSet};

use rt_base::{DropReason, Event, FrameId, Place, SendWhy, TcpDecision, Time, What};
use serde::{Deserialize, Serialize};

use crate::read::{Segment, Side};
use crate::story::view::{End, View};

/// Everything that one side sent, and what came back to it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct TimeSequence {
    /// Every segment that it sent, in order; sequence numbers relative to its SYN's, without wrapping.
    pub sent: Vec<Sent>,
    /// Segments that never left the machine, because its own queue was full: no capture has them. Their `number` is that of the
    /// segment before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unsent: Vec<Sent>,
    /// Every segment that came to it.
    pub acks: Vec<AckPoint>,
    /// SACK blocks that came to it (RFC 2018).
    pub sacks: Vec<SackBlock>,
}

/// One segment.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Sent {
    /// Its place among the connection's segments at that interface, from 0.
    pub number: u32,
    /// Offered to the link.
    pub at: Time,
    /// First sequence number.
    pub seq: u64,
    /// One past the last one; SYN and FIN count.
    pub end: u64,
    /// Payload bytes.
    pub len: u32,
    /// TCP flags.
    pub flags: u8,
    /// Why.
    pub why: SentWhy,
    /// Why it never arrived, if it did not, or why the machine that it reached refused it.
    pub lost: Option<DropReason>,
    /// Whether it reached the machine that it was for (and was refused there, if `lost` says why).
    pub reached: bool,
}

/// Why a segment was sent, as far as a plot shows it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SentWhy {
    /// For the first time.
    First,
    /// Again: later acknowledgements showed a loss.
    FastRetransmit,
    /// Again: the retransmission timer.
    Timeout,
    /// Tail loss probe.
    TailProbe,
    /// Window probe or keepalive.
    Probe,
    /// Again, for another reason (path MTU, an answer to a repeated SYN).
    Again,
}

/// A segment that came back.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AckPoint {
    /// Its place among the connection's segments at that interface, from 0.
    pub number: u32,
    /// Its last bit was there.
    pub at: Time,
    /// What it acknowledges, relative to the sender's SYN; `None` without ACK flag.
    pub ack: Option<u64>,
    /// The window's right edge.
    pub edge: u64,
}

/// One block of a SACK option.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SackBlock {
    /// The number of the segment that carried it.
    pub number: u32,
    /// When it came.
    pub at: Time,
    /// Its left edge.
    pub left: u64,
    /// Its right edge.
    pub right: u64,
}

/// Congestion control over time. Points are (nanoseconds, bytes).
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Congestion {
    /// Congestion window.
    pub cwnd: Vec<(u64, u64)>,
    /// Slow start threshold, where it is set.
    pub ssthresh: Vec<(u64, u64)>,
    /// Bytes in flight as the capture shows them, after each segment either way.
    pub in_flight: Vec<(u64, u64)>,
    /// The peer's window as it was told.
    pub peer_window: Vec<(u64, u64)>,
    /// Cuts and what made them, in words.
    pub decisions: Vec<(u64, String)>,
}

/// Round-trip times. Points are (nanoseconds, nanoseconds).
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct RoundTrips {
    /// From a segment to the acknowledgement that names its end, as the capture shows them.
    pub samples: Vec<(u64, u64)>,
    /// What TCP makes of them (RFC 6298 SRTT).
    pub srtt: Vec<(u64, u64)>,
    /// The retransmission timeout (RFC 6298 RTO).
    pub rto: Vec<(u64, u64)>,
}

/// One end's capture of a connection with sequence numbers made relative and long.
struct Capture<'v> {
    segments: &'v [Segment],
    from: Side,
    isn: [u32; 2],
    /// What the peer's window field is shifted by.
    shift: u8,
}

impl<'v> Capture<'v> {
    fn of(view: &'v View<'_>, end: End, from: Side) -> Capture<'v> {
        let tcp = view.tcp(end);
        let first = |side: Side| tcp.segments.iter().find(|s| s.from == side).map_or(0, |s| s.seq);
        let isn = [
            tcp.syn.as_ref().map_or_else(|| first(Side::Client), |s| s.isn),
            tcp.syn_ack.as_ref().map_or_else(|| first(Side::Server), |s| s.isn),
        ];
        let scales = [&tcp.syn, &tcp.syn_ack].map(|s| s.as_ref().and_then(|s| s.window_scale));
        let shift = match (scales, from) {
            // RFC 7323 2.2: only when both offered it.
            ([Some(client), Some(server)], side) => {
                if side == Side::Client { server } else { client }.min(14)
            }
            _ => 0,
        };
        Capture { segments: &tcp.segments, from, isn, shift }
    }

    /// A number of the sender's stream, relative to its SYN and near `reference`.
    fn long(&self, seq: u32, reference: u64) -> u64 {
        let isn = self.isn[usize::from(self.from == Side::Server)];
        let low = seq.wrapping_sub(isn);
        let ahead = low.wrapping_sub(reference as u32) as i32;
        reference.checked_add_signed(i64::from(ahead)).unwrap_or(u64::from(low))
    }

    fn edge(&self, segment: &Segment, ack: u64) -> u64 {
        let shift = if segment.flags & 2 == 2 { 0 } else { self.shift };
        ack + (u64::from(segment.window) << shift)
    }
}

fn sack_blocks(view: &View<'_>, end: End, segment: &Segment) -> Vec<(u32, u32)> {
    let seen =
        view.trace.sightings(segment.mark.frame).find(|c| c.node == end.node && c.at == segment.mark.at);
    let blocks = || {
        let (_, packet) = rt_wire::EthernetHeader::parse(&seen?.bytes).ok()?;
        let (_, payload) = rt_wire::Ipv4Header::parse_unchecked(packet).ok()?;
        let (header, _) = rt_wire::TcpHeader::parse(payload).ok()?;
        Some(header.options.sack().iter().map(|(l, r)| (l.0, r.0)).collect())
    };
    blocks().unwrap_or_default()
}

pub(super) fn time_sequence(view: &View<'_>, conn: usize, from: Side) -> Option<TimeSequence> {
    let end = view.end(conn, from)?;
    let capture = Capture::of(view, end, from);
    let mut curve = TimeSequence::default();
    let (mut next, mut acked, mut edge) = (0, 0, 0);
    for (number, segment) in (0..).zip(capture.segments) {
        let at = segment.mark.at;
        if segment.from == from {
            let seq = capture.long(segment.seq, next);
            let phantom = u64::from(segment.flags & 2 == 2) + u64::from(segment.flags & 1 == 1);
            let last = seq + u64::from(segment.len) + phantom;
            let frame = segment.mark.frame;
            let why = why(view, frame, last > seq && last <= next);
            let (lost, reached) = lost(view, frame);
            let (len, flags) = (segment.len, segment.flags);
            curve.sent.push(Sent { number, at, seq, end: last, len, flags, why, lost, reached });
            next = next.max(last);
        } else {
            let ack = (segment.flags & 16 == 16).then(|| capture.long(segment.ack, acked));
            acked = acked.max(ack.unwrap_or(0));
            edge = ack.map_or(edge, |ack| capture.edge(segment, ack));
            curve.acks.push(AckPoint { number, at, ack, edge });
            for (left, right) in sack_blocks(view, end, segment) {
                let (left, right) = (capture.long(left, acked), capture.long(right, acked));
                curve.sacks.push(SackBlock { number, at, left, right });
            }
        }
    }
    curve.unsent = unsent(view, (conn, from), &capture, &curve.sent);
    Some(curve)
}

/// What TCP sent and the machine's own queue had no room for.
fn unsent(view: &View<'_>, (conn, from): (usize, Side), capture: &Capture<'_>, sent: &[Sent]) -> Vec<Sent> {
    let seen: BTreeSet<FrameId> = capture.segments.iter().map(|s| s.mark.frame).collect();
    let mut all = Vec::new();
    for event in view.tcp_events(conn, from) {
        let What::TcpSend(record) = &event.what else { continue };
        if seen.contains(&event.frame) {
            continue;
        }
        let (lost, reached) = lost(view, event.frame);
        if lost.is_none() {
            continue;
        }
        let before = sent[..sent.partition_point(|s| s.at <= event.at)].last();
        let seq = capture.long(record.seq, before.map_or(0, |s| s.end));
        let phantom = u64::from(record.flags & 2 == 2) + u64::from(record.flags & 1 == 1);
        let end = seq + u64::from(record.len) + phantom;
        let (at, len, flags) = (event.at, record.len, record.flags);
        let why = why(view, event.frame, false);
        all.push(Sent {
            number: before.map_or(0, |s| s.number),
            at,
            seq,
            end,
            len,
            flags,
            why,
            lost,
            reached,
        });
    }
    all
}

fn why(view: &View<'_>, frame: FrameId, repeats: bool) -> SentWhy {
    let record = view.trace.events_of(frame).find_map(|e| match &e.what {
        What::TcpSend(record) => Some(record),
        _ => None,
    });
    match record.map(|r| r.why) {
        Some(SendWhy::FastRetransmit) => SentWhy::FastRetransmit,
        Some(SendWhy::RtoRetransmit) => SentWhy::Timeout,
        Some(SendWhy::TailLossProbe) => SentWhy::TailProbe,
        Some(SendWhy::WindowProbe | SendWhy::Keepalive) => SentWhy::Probe,
        Some(SendWhy::Handshake) if repeats => SentWhy::Timeout,
        _ if repeats => SentWhy::Again,
        _ => SentWhy::First,
    }
}

/// Why a frame came to nothing, and whether it reached the machine that it was for. What TCP itself found no use for (a
/// keepalive's probe, a copy of what it had) has arrived.
fn lost(view: &View<'_>, frame: FrameId) -> (Option<DropReason>, bool) {
    let mut end = (None, true);
    for event in view.trace.events_of(frame) {
        match event.what {
            What::Deliver { .. } => return (None, true),
            What::Drop { reason: DropReason::TcpUnacceptable, place: Place::Socket, .. } => {
                return (None, true);
            }
            What::Drop { reason, place, .. } if reason != DropReason::NotForThisStation => {
                end = (Some(reason), place == Place::Socket);
            }
            _ => {}
        }
    }
    end
}

/// The bytes that SACK blocks cover beyond the acknowledged ones.
#[derive(Default)]
struct Sacked {
    blocks: BTreeMap<u64, u64>,
}

impl Sacked {
    fn add(&mut self, mut left: u64, mut right: u64) {
        let touching: Vec<u64> =
            self.blocks.range(..=right).filter(|(_, r)| **r >= left).map(|(l, _)| *l).collect();
        for key in touching {
            let end = self.blocks.remove(&key).unwrap_or(key);
            (left, right) = (left.min(key), right.max(end));
        }
        self.blocks.insert(left, right);
    }

    fn beyond(&mut self, ack: u64) -> u64 {
        self.blocks.retain(|_, r| *r > ack);
        self.blocks.iter().map(|(l, r)| r - (*l).max(ack)).sum()
    }
}

pub(super) fn congestion(view: &View<'_>, conn: usize, from: Side) -> Option<Congestion> {
    let mut curve = Congestion::default();
    let sequence = time_sequence(view, conn, from)?;
    in_flight(&sequence, &mut curve);
    for event in view.tcp_events(conn, from) {
        let at = event.at.0;
        match &event.what {
            What::TcpSend(record) => push(&mut curve.cwnd, at, u64::from(record.cwnd)),
            What::TcpCwnd { cwnd, ssthresh, .. } => {
                push(&mut curve.cwnd, at, u64::from(*cwnd));
                if *ssthresh < u32::MAX / 2 {
                    push(&mut curve.ssthresh, at, u64::from(*ssthresh));
                }
            }
            What::TcpDecision { decision, .. } => {
                curve.decisions.extend(decided(decision).map(|words| (at, words.to_string())));
            }
            _ => {}
        }
    }
    Some(curve)
}

fn decided(decision: &TcpDecision) -> Option<&'static str> {
    Some(match decision {
        TcpDecision::Lost { .. } => "segments taken for lost",
        TcpDecision::Timeout { .. } => "retransmission timeout (RTO)",
        TcpDecision::ProbeLoss => "the tail loss probe found a loss",
        TcpDecision::Undo { .. } => "the loss was none: window restored",
        TcpDecision::SlowStartCautious { .. } => "slow start slows down: the round trip grows (HyStart++)",
        TcpDecision::SlowStartResumed { .. } => "slow start goes on: the delay was a whim (HyStart++)",
        TcpDecision::SlowStartEnd { .. } => "slow start ends (HyStart)",
        TcpDecision::EcnCut => "congestion experienced (ECN)",
    })
}

fn push(points: &mut Vec<(u64, u64)>, at: u64, value: u64) {
    if points.last().is_none_or(|last| last.1 != value) {
        points.push((at, value));
    }
}

/// Bytes in flight after each segment either way.
fn in_flight(sequence: &TimeSequence, curve: &mut Congestion) {
    let mut sacked = Sacked::default();
    let first = sequence.sent.first().map_or(0, |s| s.seq);
    let (mut next, mut acked) = (first, first);
    let mut sent = sequence.sent.iter().peekable();
    let mut blocks = sequence.sacks.iter().peekable();
    for ack in &sequence.acks {
        while let Some(s) = sent.next_if(|s| s.number < ack.number) {
            next = next.max(s.end);
            curve.in_flight.push((s.at.0, (next - acked).saturating_sub(sacked.beyond(acked))));
        }
        acked = acked.max(ack.ack.unwrap_or(0)).min(next);
        while let Some(block) = blocks.next_if(|b| b.number <= ack.number) {
            if block.left >= acked && block.left < block.right && block.right <= next {
                sacked.add(block.left, block.right);
            }
        }
        curve.in_flight.push((ack.at.0, (next - acked).saturating_sub(sacked.beyond(acked))));
        push(&mut curve.peer_window, ack.at.0, ack.edge.saturating_sub(ack.ack.unwrap_or(acked)));
    }
    for s in sent {
        next = next.max(s.end);
        curve.in_flight.push((s.at.0, (next - acked).saturating_sub(sacked.beyond(acked))));
    }
}

pub(super) fn round_trips(view: &View<'_>, conn: usize, from: Side) -> Option<RoundTrips> {
    let mut curve = RoundTrips::default();
    let sequence = time_sequence(view, conn, from)?;
    samples(&sequence, &mut curve.samples);
    for event in view.tcp_events(conn, from) {
        estimate(event, &mut curve);
    }
    Some(curve)
}

/// The round-trip samples alone, (nanoseconds, nanoseconds).
pub(crate) fn round_trip_samples(view: &View<'_>, conn: usize, from: Side) -> Vec<(u64, u64)> {
    let mut out = Vec::new();
    if let Some(sequence) = time_sequence(view, conn, from) {
        samples(&sequence, &mut out);
    }
    out
}

fn estimate(event: &Event, curve: &mut RoundTrips) {
    let at = event.at.0;
    match &event.what {
        What::TcpRtt { srtt_us, rto_us, .. } => {
            push(&mut curve.srtt, at, u64::from(*srtt_us) * 1_000);
            push(&mut curve.rto, at, u64::from(*rto_us) * 1_000);
        }
        What::TcpDecision { decision, .. } => {
            if let TcpDecision::Timeout { next_rto_us, .. } = **decision {
                push(&mut curve.rto, at, next_rto_us.saturating_mul(1_000));
            }
        }
        _ => {}
    }
}

/// Each acknowledgement that names the end of a segment not sent again: the time since that was sent (Karn: a repeated
/// segment's acknowledgement could answer either copy).
fn samples(sequence: &TimeSequence, out: &mut Vec<(u64, u64)>) {
    let mut waiting: BTreeMap<u64, Option<Time>> = BTreeMap::new();
    let mut sent = sequence.sent.iter().filter(|s| s.end > s.seq).peekable();
    for ack in &sequence.acks {
        while let Some(s) = sent.next_if(|s| s.number < ack.number) {
            let again = s.why != SentWhy::First || waiting.contains_key(&s.end);
            waiting.insert(s.end, if again { None } else { Some(s.at) });
        }
        let Some(number) = ack.ack else { continue };
        if let Some(Some(at)) = waiting.get(&number) {
            out.push((ack.at.0, ack.at.since(*at).0));
        }
        waiting = waiting.split_off(&(number + 1));
    }
}

#[cfg(test)]
pub(super) mod tests_support {
    use rt_base::Time;

    use super::{AckPoint, Congestion, SackBlock, Sent, SentWhy, TimeSequence};

    pub(crate) type Ack = (AckPoint, Vec<SackBlock>);

    pub(crate) fn sent(number: u32, at: u64, (seq, end): (u64, u64)) -> Sent {
        let len = (end - seq) as u32;
        Sent {
            number,
            at: Time(at),
            seq,
            end,
            len,
            flags: 16,
            why: SentWhy::First,
            lost: None,
            reached: true,
        }
    }

    pub(crate) fn ack(number: u32, at: u64, ack: u64, blocks: &[(u64, u64)]) -> Ack {
        let at = Time(at);
        let block = |&(left, right): &(u64, u64)| SackBlock { number, at, left, right };
        (AckPoint { number, at, ack: Some(ack), edge: ack + 65_535 }, blocks.iter().map(block).collect())
    }

    fn sequence(sent: &[Sent], acks: &[Ack]) -> TimeSequence {
        TimeSequence {
            sent: sent.to_vec(),
            unsent: Vec::new(),
            acks: acks.iter().map(|a| a.0).collect(),
            sacks: acks.iter().flat_map(|a| a.1.clone()).collect(),
        }
    }

    pub(crate) fn in_flight_of(sent: &[Sent], acks: &[Ack]) -> Vec<(u64, u64)> {
        let mut curve = Congestion::default();
        super::in_flight(&sequence(sent, acks), &mut curve);
        curve.in_flight
    }

    pub(crate) fn samples_of(sent: &[Sent], acks: &[Ack]) -> Vec<(u64, u64)> {
        let mut out = Vec::new();
        super::samples(&sequence(sent, acks), &mut out);
        out
    }
}
