//! What a capture says about one direction of a connection: was anything late that no timer explains?

use std::collections::BTreeMap;

use super::capture::{ACK, CWR, ECE, FIN, RST, SACK, SACK_PERMITTED, SCALE, SYN, Segment, TIMESTAMPS};

/// Linux's smallest retransmission timeout, ours too: it is added to the smoothed round trip.
const RTO_MIN: u64 = 200_000_000;

/// One direction of a connection, seen where it is sent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flow {
    /// Bytes, segments with data, and how many of them came behind later ones: sent again, mostly.
    pub(crate) bytes: u64,
    pub(crate) segments: usize,
    pub(crate) again: usize,
    /// The longest silence between two segments with data, in nanoseconds, and the longest that timers explain there.
    pub(crate) silence: u64,
    pub(crate) explained: u64,
    /// From the first segment with data to the last.
    pub(crate) span: u64,
    /// The shortest and longest round trip.
    pub(crate) rtt: (u64, u64),
}

impl Flow {
    /// Whether a silence is longer than the timers explain. The machine that judges is busy: frames that were `late`
    /// waited so long on either way.
    pub(crate) fn stalls(&self, late: u64) -> bool {
        self.silence > self.explained + 2 * late + 30_000_000
    }

    /// Bits per second.
    pub(crate) fn rate(&self) -> f64 {
        self.bytes as f64 * 8e9 / self.span.max(1) as f64
    }
}

/// RFC 6298's estimator with Linux's floor, over the flow's own round trips.
struct Rto {
    smooth: f64,
    deviation: f64,
}

impl Rto {
    fn sample(&mut self, rtt: f64) {
        if self.smooth == 0.0 {
            (self.smooth, self.deviation) = (rtt, rtt / 2.0);
        } else {
            self.deviation += ((self.smooth - rtt).abs() - self.deviation) / 4.0;
            self.smooth += (rtt - self.smooth) / 8.0;
        }
    }

    fn value(&self) -> u64 {
        (self.smooth + (4.0 * self.deviation).max(RTO_MIN as f64)) as u64
    }
}

/// The segments of one connection, in order, as the sender saw them; `of_guest` is who sends.
pub(crate) fn flow(segments: &[Segment], of_guest: bool) -> Flow {
    let mut flow = Flow { rtt: (u64::MAX, 0), ..Flow::default() };
    let mut rto = Rto { smooth: 0.0, deviation: 0.0 };
    let isn = segments.iter().find(|s| s.of_guest == of_guest && s.flags & SYN != 0).map_or(0, |s| s.seq);
    let (mut last, mut begin, mut top, mut acked) = (None, None, 0u32, 0u32);
    // Ends that are waited for: when they were first sent, unless they were sent again (Karn).
    let mut open: BTreeMap<u32, Option<u64>> = BTreeMap::new();
    let mut sent: BTreeMap<u32, u32> = BTreeMap::new();
    for segment in segments {
        if segment.of_guest != of_guest {
            let ack = segment.ack.wrapping_sub(isn);
            if segment.flags & ACK != 0 && ack > acked && ack < 1 << 31 {
                let rest = open.split_off(&(ack + 1));
                if let Some(at) = std::mem::replace(&mut open, rest).into_values().next_back().flatten() {
                    let rtt = segment.at - at;
                    flow.rtt = (flow.rtt.0.min(rtt), flow.rtt.1.max(rtt));
                    rto.sample(rtt as f64);
                }
                acked = ack;
            }
            continue;
        }
        if segment.len == 0 {
            continue;
        }
        let seq = segment.seq.wrapping_sub(isn);
        let end = seq + segment.len;
        let times = sent.entry(seq).or_insert(0);
        if let Some(last) = last.filter(|last| segment.at - last > flow.silence) {
            // A timeout that came to nothing doubles the next one.
            (flow.silence, flow.explained) =
                (segment.at - last, rto.value() << times.saturating_sub(1).min(10));
        }
        *times += 1;
        open.entry(end).and_modify(|at| *at = None).or_insert((end > top).then_some(segment.at));
        flow.again += usize::from(end <= top);
        flow.segments += 1;
        top = top.max(end);
        last = Some(segment.at);
        flow.span = segment.at - *begin.get_or_insert(segment.at);
    }
    // What the sender's own queue had no room for is not in its capture the first time.
    flow.bytes = u64::from(top.saturating_sub(1));
    flow
}

/// What a connection has agreed on, read from the bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Agreed {
    pub(crate) sack: bool,
    pub(crate) timestamps: bool,
    pub(crate) scale: bool,
    pub(crate) ecn: bool,
    /// Data came with the SYN and was acknowledged at once.
    pub(crate) fast_open: bool,
}

/// What was agreed, and an error where somebody does not keep to it.
pub(crate) fn agreed(segments: &[Segment]) -> Result<Agreed, String> {
    let syn = segments.iter().rfind(|s| s.flags & (SYN | ACK) == SYN).ok_or("no SYN")?;
    let reply = segments.iter().find(|s| s.flags & (SYN | ACK) == SYN | ACK).ok_or("no SYN-ACK")?;
    let both = |kind: u8| syn.options.contains(&kind) && reply.options.contains(&kind);
    for kind in [SACK_PERMITTED, TIMESTAMPS, SCALE] {
        if reply.options.contains(&kind) && !syn.options.contains(&kind) {
            return Err(format!("the SYN-ACK has option {kind}, which the SYN has not"));
        }
    }
    let ecn = syn.flags & (ECE | CWR) == ECE | CWR && reply.flags & (ECE | CWR) == ECE;
    let agreed = Agreed {
        sack: both(SACK_PERMITTED),
        timestamps: both(TIMESTAMPS),
        scale: both(SCALE),
        ecn,
        fast_open: syn.len > 0 && reply.ack == syn.seq.wrapping_add(1 + syn.len),
    };
    let rest = || segments.iter().filter(|s| s.flags & (SYN | RST) == 0);
    if let Some(bad) = rest().find(|s| !agreed.sack && s.options.contains(&SACK)) {
        return Err(format!("SACK blocks that were not agreed on: {bad:?}"));
    }
    if let Some(bad) = rest().find(|s| s.options.contains(&TIMESTAMPS) != agreed.timestamps) {
        return Err(format!("timestamps against what was agreed on: {bad:?}"));
    }
    let first = rest().filter(|s| s.len > 0);
    if let Some(bad) = first.clone().find(|s| !ecn && s.ecn != 0) {
        return Err(format!("ECN that was not agreed on: {bad:?}"));
    }
    if ecn && !first.clone().any(|s| s.ecn == 2) {
        return Err("ECN was agreed on, and no segment says so".into());
    }
    // Once both have said their last, a late acknowledgement may find nobody.
    if let Some(reset) = segments.iter().position(|s| s.flags & RST != 0) {
        let ended = |of_guest| segments[..reset].iter().any(|s| s.of_guest == of_guest && s.flags & FIN != 0);
        if !(ended(true) && ended(false)) {
            return Err(format!("somebody gave the connection up: {:?}", segments[reset]));
        }
    }
    Ok(agreed)
}
