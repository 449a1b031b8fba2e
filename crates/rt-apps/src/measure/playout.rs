//! What a listener would have noticed: frames with a time to be played at, and when each came.
//!
//! Two players watch the same frames. One never waits: what is not there at its time is skipped (lost, or late, which is
//! the same to the ear). The other waits for what is late and goes on from there (a video that stands still): it counts
//! how often and how long. Lost frames stop neither.

use std::collections::BTreeMap;

use rt_base::{Nanos, Time};

use super::wire::Numbers;

/// Most frames that are remembered.
const MOST_FRAMES: u32 = 1_000_000;

/// A frame as far as it has come.
#[derive(Clone, Copy, Debug)]
struct Frame {
    /// Which parts are still missing, a bit each.
    missing: u64,
    /// When the last part came.
    whole: Option<Time>,
}

/// The frames of one stream, and the jitter of its packets.
#[derive(Debug, Default)]
pub(super) struct Playout {
    frames: BTreeMap<u32, Frame>,
    pub(super) interval: Nanos,
    pub(super) playout: Nanos,
    pub(super) packets: u64,
    pub(super) bytes: u64,
    /// Interarrival jitter times 16 (RFC 3550, 6.4.1), nanoseconds.
    jitter: u64,
    transit: Option<i64>,
    highest: Option<u32>,
    pub(super) overtaken: u64,
    pub(super) first: Option<Time>,
    pub(super) last: Time,
}

impl Playout {
    /// A packet came.
    pub(super) fn packet(&mut self, now: Time, number: u32, sent: Nanos, len: usize) {
        self.packets += 1;
        self.bytes += len as u64;
        self.first.get_or_insert(now);
        self.last = now;
        self.overtaken += u64::from(self.highest.is_some_and(|highest| number < highest));
        self.highest = self.highest.max(Some(number));
        //= rfc3550#6.4.1
        // J += (|D| - J) / 16, kept times 16 so that integers lose nothing that matters.
        let transit = (now.0 as i64).wrapping_sub(sent.0 as i64);
        if let Some(before) = self.transit.replace(transit) {
            let d = transit.abs_diff(before).min(1 << 40);
            self.jitter = self.jitter + d - (self.jitter + 8) / 16;
        }
    }

    /// Part of a frame came.
    pub(super) fn part(&mut self, now: Time, number: u32, (part, parts): (u8, u8)) {
        if number >= MOST_FRAMES || part >= parts || parts > 64 {
            return;
        }
        let all = u64::MAX >> (64 - u32::from(parts));
        let frame = self.frames.entry(number).or_insert(Frame { missing: all, whole: None });
        frame.missing &= !(1 << part);
        if frame.missing == 0 && frame.whole.is_none() {
            frame.whole = Some(now);
        }
    }

    /// What the players noticed of `total` frames.
    pub(super) fn numbers(&self, total: u32) -> Numbers {
        let whole = |n: u32| self.frames.get(&n).and_then(|frame| frame.whole);
        let first = self.frames.iter().find_map(|(n, frame)| Some((*n, frame.whole?)));
        let (mut lost, mut late, mut stalls, mut stalled, mut worst) = (0, 0, 0, Nanos::ZERO, Nanos::ZERO);
        for number in 0..total {
            let (Some(came), Some((origin, start))) = (whole(number), first) else {
                lost += 1;
                continue;
            };
            let since = u64::from(number.saturating_sub(origin)).saturating_mul(self.interval.0);
            let due = start + self.playout + Nanos(since);
            if came > due {
                late += 1;
                worst = worst.max(came.since(due));
            }
            if came > due + stalled {
                stalls += 1;
                stalled += came.since(due + stalled);
            }
        }
        let mut numbers = Numbers::default();
        let span = self.first.map_or(Nanos::ZERO, |first| self.last.since(first));
        for (name, value) in [
            ("frames", u64::from(total)),
            ("frames-lost", lost),
            ("frames-late", late),
            ("worst-ns", worst.0),
            ("stalls", stalls),
            ("stalled-ns", stalled.0),
            ("packets", self.packets),
            ("bytes", self.bytes),
            ("overtaken", self.overtaken),
            ("jitter-ns", self.jitter / 16),
            ("span-ns", span.0),
        ] {
            numbers.set(name, value);
        }
        numbers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Time {
        Time::ZERO + Nanos::from_millis(n)
    }

    #[test]
    fn late_lost_and_stalled() {
        let mut p = Playout {
            interval: Nanos::from_millis(20),
            playout: Nanos::from_millis(50),
            ..Playout::default()
        };
        // Frame 1 is lost, frame 2 comes 30 ms after its time, frame 3 with it, frame 4 on its way.
        for (frame, at) in [(0, 100), (2, 220), (3, 220), (4, 181)] {
            p.part(ms(at), frame, (0, 1));
        }
        let n = p.numbers(5);
        let of = |names: [&str; 4]| names.map(|name| n.get(name));
        assert_eq!(of(["frames", "frames-lost", "frames-late", "stalls"]), [5, 1, 2, 1]);
        assert_eq!(
            (n.span("stalled-ns"), n.span("worst-ns")),
            (Nanos::from_millis(30), Nanos::from_millis(30))
        );
    }

    #[test]
    fn a_frame_is_whole_with_its_last_part_and_never_again() {
        let mut p = Playout { interval: Nanos::from_millis(20), ..Playout::default() };
        p.part(ms(1), 0, (0, 1));
        for (part, at) in [(2, 10), (0, 12), (2, 13), (1, 90), (1, 95)] {
            p.part(ms(at), 1, (part, 3));
        }
        assert_eq!(p.numbers(2).span("worst-ns"), Nanos::from_millis(90 - 21));
        p.part(ms(1), 3, (64, 64));
        assert_eq!(p.numbers(2).get("frames-lost"), 0);
    }

    #[test]
    fn jitter_goes_towards_the_mean_difference() {
        let mut p = Playout::default();
        for n in 0..1_000u32 {
            let sent = Nanos::from_millis(20 * u64::from(n));
            p.packet(Time::ZERO + sent + Nanos::from_millis(u64::from(n % 2) * 4), n, sent, 100);
        }
        let jitter = p.numbers(0).get("jitter-ns");
        assert!(jitter.abs_diff(4_000_000) < 10_000, "{jitter}");
    }
}
