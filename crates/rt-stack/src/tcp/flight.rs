//! What was sent and is not acknowledged: one entry per segment, in order, with its fate so far. This is the scoreboard of
//! RFC 6675 and RFC 8985; without SACK the fates come from duplicate ACKs (RFC 6582).
//!
//! All sums are segments and are kept beside the entries, so what is in flight ("pipe") costs nothing to ask.

mod losses;

use std::collections::VecDeque;

use rt_base::{EventId, Nanos, Time};
use rt_wire::Seq;

use super::rack::Rack;
use super::rate::Rates;

/// A segment on its way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) seq: Seq,
    /// Sequence space that it takes: payload, and one for a FIN.
    pub(super) len: u32,
    pub(super) fin: bool,
    /// Selectively acknowledged.
    pub(super) sacked: bool,
    /// Taken for lost.
    pub(super) lost: bool,
    /// Repeated since it was taken for lost.
    pub(super) repeated: bool,
    /// Repeated at any time: useless for RTT measurement (Karn).
    pub(super) ever_repeated: bool,
    /// Left in the same burst as the one before.
    joined: bool,
    /// RACK took this copy for lost and does not look at it again.
    dismissed: bool,
    /// When it was sent last.
    pub(super) sent_at: Time,
    /// The event that recorded the last sending.
    pub(super) event: EventId,
}

/// The segments from SND.UNA to SND.NXT.
#[derive(Debug, Default)]
pub(super) struct Flight {
    queue: VecDeque<Sent>,
    /// Entries that ever left at the front: makes positions stable.
    popped: u64,
    sacked: u32,
    lost: u32,
    repeated: u32,
    /// Without SACK: segments that duplicate ACKs say have arrived.
    emulated: u32,
    /// Losses found since the connection began.
    found: u32,
    /// Position before which nothing waits to be repeated.
    hint: u64,
    /// Position before which the loss rule has been applied.
    judged: u64,
    /// Copies sent again, oldest first; some may be stale.
    again: VecDeque<(Time, Seq)>,
    /// Right edge of the highest SACKed entry, if any is SACKed.
    high_sacked: Option<Seq>,
    /// The blocks of the last ACK: what they cover need not be walked again.
    cache: [(Seq, Seq); 4],
    /// For congestion control that wants delivery rates.
    pub(super) rates: Option<Box<Rates>>,
}

/// What there is to know while an ACK takes segments out.
pub(super) struct Watch<'a> {
    pub(super) now: Time,
    /// Copies before this were sent before the loss that is being repaired was known (RecoveryPoint).
    pub(super) high: Seq,
    pub(super) min_rtt: Nanos,
    pub(super) rack: &'a mut Rack,
}

/// What one ACK said about segments in flight.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Delivered {
    /// Segments that left at the front.
    pub(super) acked: u32,
    /// Segments reported by SACK for the first time.
    pub(super) sacked: u32,
    /// Segments of both kinds that were not known to have arrived.
    pub(super) segments: u32,
    /// When the first and the last of those acknowledged, never repeated, were sent.
    pub(super) acked_at: Option<(Time, Time)>,
    /// The same of those SACKed.
    pub(super) sacked_at: Option<(Time, Time)>,
    /// A segment once repeated was acknowledged.
    pub(super) repeated: bool,
    /// A segment that was never repeated and sent before `Watch::high` arrived.
    pub(super) original: bool,
    /// The lowest of the never repeated segments that arrived after later ones.
    pub(super) late: Option<Seq>,
    /// Segments of a duplicate SACK block that had been repeated.
    pub(super) duplicates: u32,
    /// The first segment still in flight is SACKed: the receiver forgot it.
    pub(super) reneged: bool,
}

impl Flight {
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Segments between SND.UNA and SND.NXT.
    pub(super) fn segments(&self) -> u32 {
        self.queue.len() as u32
    }

    /// Of these reported to have arrived, by SACK or duplicate ACKs.
    pub(super) fn sacked(&self) -> u32 {
        self.sacked + self.emulated
    }

    /// Of these taken for lost.
    pub(super) fn lost(&self) -> u32 {
        self.lost
    }

    /// Of these sent again.
    pub(super) fn repeated(&self) -> u32 {
        self.repeated
    }

    /// Losses found since the connection began.
    pub(super) fn found(&self) -> u32 {
        self.found
    }

    /// Segments thought to be in the network (RFC 6675 section 4).
    pub(super) fn pipe(&self) -> u32 {
        //= rfc6675#4
        (self.segments() + self.repeated).saturating_sub(self.sacked + self.emulated + self.lost)
    }

    /// Right edge of the highest SACKed segment; `una` when there is none.
    pub(super) fn high_sacked(&self, una: Seq) -> Seq {
        self.high_sacked.filter(|_| self.sacked > 0).unwrap_or(una)
    }

    /// The oldest segment in flight.
    pub(super) fn front(&self) -> Option<&Sent> {
        self.queue.front()
    }

    /// The newest segment in flight, with its position.
    pub(super) fn back(&self) -> Option<(u64, Sent)> {
        let last = self.queue.len().checked_sub(1)?;
        Some((self.popped + last as u64, self.queue[last]))
    }

    /// A new segment leaves.
    pub(super) fn push(&mut self, seq: Seq, len: u32, fin: bool, now: Time, delivered: u32) {
        if let Some(rates) = &mut self.rates {
            rates.sent(now, delivered);
        }
        self.queue.push_back(Sent {
            seq,
            len,
            fin,
            sacked: false,
            lost: false,
            repeated: false,
            ever_repeated: false,
            joined: false,
            dismissed: false,
            sent_at: now,
            event: EventId::NONE,
        });
    }

    /// The segment that a retransmission would repeat next, with its position.
    pub(super) fn next_lost(&mut self) -> Option<(u64, Sent)> {
        if self.lost == self.repeated {
            return None;
        }
        self.hint = self.hint.max(self.popped);
        while let Some(e) = self.queue.get((self.hint - self.popped) as usize) {
            if e.lost && !e.repeated {
                return Some((self.hint, *e));
            }
            self.hint += 1;
        }
        None
    }

    /// The newest segment left in the same burst as the one before.
    pub(super) fn join_last(&mut self) {
        if let Some(e) = self.queue.back_mut() {
            e.joined = true;
        }
    }

    /// A burst of repetitions ended before `seq`.
    pub(super) fn part(&mut self, seq: Seq) {
        let i = self.index_of(seq);
        if let Some(e) = self.queue.get_mut(i) {
            e.joined = false;
        }
    }

    /// How many segments from `seq` on, at most `most`, are lost and wait to be repeated, without a gap, and left in one
    /// burst with the one before.
    pub(super) fn lost_run(&self, seq: Seq, most: u32) -> u32 {
        let first = self.index_of(seq).min(self.queue.len());
        let waits = |e: &&Sent| e.lost && !e.repeated && e.joined;
        self.queue.range(first..).take(most as usize).take_while(waits).count() as u32
    }

    /// Cuts the entry at `position` so that the first part is at most `most` long.
    pub(super) fn split(&mut self, position: u64, most: u32) {
        let i = (position - self.popped) as usize;
        if let Some(e) = self.queue.get_mut(i).filter(|e| e.len - u32::from(e.fin) > most) {
            let rest = Sent { seq: e.seq + most, len: e.len - most, ..*e };
            e.len = most;
            e.fin = false;
            self.sacked += u32::from(rest.sacked);
            self.lost += u32::from(rest.lost);
            self.repeated += u32::from(rest.repeated);
            self.queue.insert(i + 1, rest);
            if let Some(rates) = &mut self.rates {
                rates.split(i);
            }
            self.judged += u64::from(self.judged > position);
            self.hint += u64::from(self.hint > position);
        }
    }

    /// Cuts the entry at `position` so that the last part is at most `most` long.
    pub(super) fn split_back(&mut self, position: u64, most: u32) {
        if let Some(e) = self.queue.get((position - self.popped) as usize) {
            let payload = e.len - u32::from(e.fin);
            let first = payload.saturating_sub(1) / most.max(1) * most;
            if first > 0 {
                self.split(position, first);
            }
        }
    }

    /// The entry at `position` is sent again now.
    pub(super) fn repeat(&mut self, position: u64, now: Time, delivered: u32) {
        let index = (position - self.popped) as usize;
        if let Some(rates) = &mut self.rates {
            rates.sent_again(index, delivered);
        }
        if let Some(e) = self.queue.get_mut(index) {
            e.sent_at = now;
            e.ever_repeated = true;
            e.dismissed = false;
            if e.lost && !e.repeated {
                e.repeated = true;
                self.repeated += 1;
            }
            self.again.push_back((now, e.seq));
        }
    }

    /// Remembers the event that recorded the sending of the segment at `seq`.
    pub(super) fn record(&mut self, seq: Seq, event: EventId) {
        let i = match self.queue.back() {
            Some(e) if e.seq == seq => self.queue.len() - 1,
            _ => self.index_of(seq),
        };
        if let Some(e) = self.queue.get_mut(i).filter(|e| e.seq == seq) {
            e.event = event;
        }
    }

    /// Index of the first entry that ends after `seq`.
    fn index_of(&self, seq: Seq) -> usize {
        self.queue.partition_point(|e| (e.seq + e.len).le(seq))
    }

    /// Takes out what a cumulative ACK covers. `spurious` says of a time of sending whether the ACK's timestamp is older,
    /// so that an earlier copy arrived.
    pub(super) fn ack(
        &mut self,
        una: Seq,
        said: &mut Delivered,
        watch: &mut Watch<'_>,
        spurious: impl Fn(Time) -> bool,
    ) {
        let mut latest = None;
        while let Some(front) = self.queue.front_mut().filter(|e| e.seq.lt(una)) {
            let end = front.seq + front.len;
            if end.gt(una) {
                front.len = end - una;
                front.seq = una;
                break;
            }
            let e = *front;
            if let Some(rates) = &mut self.rates {
                rates.arrived(0, e.sent_at, end);
                rates.pop();
            }
            self.queue.pop_front();
            self.popped += 1;
            said.acked += 1;
            self.sacked -= u32::from(e.sacked);
            self.lost -= u32::from(e.lost);
            self.repeated -= u32::from(e.repeated);
            if e.ever_repeated {
                said.repeated = true;
                if !e.sacked && !spurious(e.sent_at) {
                    watch.rack.advance(watch.now, watch.min_rtt, true, e.sent_at, end);
                }
            } else if !e.sacked {
                said.acked_at = Some((said.acked_at.map_or(e.sent_at, |a| a.0), e.sent_at));
                said.late = said.late.or(Some(e.seq));
                said.original |= end.le(watch.high);
                latest = Some((e.sent_at, end));
            }
            said.segments += u32::from(!e.sacked);
        }
        if let Some((sent_at, end)) = latest {
            watch.rack.advance(watch.now, watch.min_rtt, false, sent_at, end);
        }
        match self.queue.front() {
            Some(e) => said.reneged = e.sacked,
            None => self.rest(),
        }
    }

    /// Nothing is in flight: gives memory back.
    fn rest(&mut self) {
        self.high_sacked = None;
        self.emulated = 0;
        self.queue = VecDeque::new();
        self.again = VecDeque::new();
    }

    /// Marks what a block of an ACK covers, which lies between SND.UNA and SND.NXT. `slot` is its place among the ACK's
    /// blocks; `marker` is where the data begins whose repetition may yet turn out needless, if the block reports a
    /// duplicate.
    pub(super) fn sack(
        &mut self,
        slot: usize,
        block: (Seq, Seq),
        marker: Option<Seq>,
        said: &mut Delivered,
        watch: &mut Watch<'_>,
    ) {
        if let Some(marker) = marker {
            self.count_duplicates(block, marker, said);
        }
        // What one of the last ACK's blocks covered inside this one is marked already.
        let known = self.cache.iter().find(|c| c.0.lt(c.1) && c.0.ge(block.0) && c.1.le(block.1)).copied();
        match known {
            Some(known) => {
                self.mark_sacked(block, (block.0, known.0), said, watch);
                self.mark_sacked(block, (known.1, block.1), said, watch);
            }
            None => self.mark_sacked(block, block, said, watch),
        }
        if let Some(cached) = self.cache.get_mut(slot) {
            *cached = block;
        }
    }

    /// The last ACK had only `blocks` blocks.
    pub(super) fn sack_done(&mut self, blocks: usize) {
        for slot in self.cache.iter_mut().skip(blocks) {
            *slot = (Seq(0), Seq(0));
        }
    }

    /// A duplicate SACK over segments still in flight: those once repeated were repeated needlessly.
    fn count_duplicates(&mut self, block: (Seq, Seq), marker: Seq, said: &mut Delivered) {
        let first = self.index_of(block.0);
        for e in self.queue.range(first..) {
            if e.seq.ge(block.1) || (e.seq + e.len).gt(block.1) {
                break;
            }
            if e.ever_repeated && e.seq.ge(block.0) && (e.seq + e.len).gt(marker) {
                said.duplicates += 1;
                if e.sacked {
                    said.late = Some(said.late.map_or(e.seq, |l| if e.seq.lt(l) { e.seq } else { l }));
                }
            }
        }
    }

    /// Marks the entries that `block` covers and that reach into `part` of it.
    fn mark_sacked(
        &mut self,
        block: (Seq, Seq),
        part: (Seq, Seq),
        said: &mut Delivered,
        watch: &mut Watch<'_>,
    ) {
        if part.0.ge(part.1) {
            return;
        }
        let first = self.index_of(part.0);
        for (i, e) in self.queue.range_mut(first..).enumerate() {
            let end = e.seq + e.len;
            if e.seq.ge(part.1) || end.gt(block.1) {
                break;
            }
            if e.sacked || e.seq.lt(block.0) {
                continue;
            }
            watch.rack.advance(watch.now, watch.min_rtt, e.ever_repeated, e.sent_at, end);
            if !e.ever_repeated {
                if self.high_sacked.is_some_and(|h| e.seq.lt(h)) && said.late.is_none_or(|l| e.seq.lt(l)) {
                    said.late = Some(e.seq);
                }
                said.original |= end.le(watch.high);
                said.sacked_at = Some((said.sacked_at.map_or(e.sent_at, |a| a.0), e.sent_at));
            }
            if let Some(rates) = &mut self.rates {
                rates.arrived(first + i, e.sent_at, end);
            }
            e.sacked = true;
            self.sacked += 1;
            self.lost -= u32::from(e.lost);
            self.repeated -= u32::from(e.repeated);
            (e.lost, e.repeated) = (false, false);
            said.sacked += 1;
            said.segments += 1;
            self.high_sacked = Some(self.high_sacked.map_or(end, |h| h.max(end)));
        }
    }

    /// Without SACK: `n` more duplicate ACKs, or `None` to forget them. At least the segments taken for lost (or one) did
    /// not arrive. Returns how many segments are known to have arrived now that were not, and whether there were more ACKs
    /// than segments could cause, which means reordering.
    pub(super) fn emulate(&mut self, n: Option<u32>) -> (u32, bool) {
        let before = self.emulated;
        self.emulated = n.map_or(0, |n| before + n);
        let excess = self.limit_emulated();
        (self.emulated.saturating_sub(before), excess)
    }

    /// Without SACK: `acked` segments were acknowledged; one filled the hole, the others account for duplicate ACKs.
    /// Returns the segments not known to have arrived before, and whether there were too many duplicate ACKs.
    pub(super) fn emulate_acked(&mut self, acked: u32) -> (u32, bool) {
        let delivered = if acked > 0 { acked.saturating_sub(self.emulated).max(1) } else { 0 };
        self.emulated = self.emulated.saturating_sub(acked.saturating_sub(1));
        (delivered, self.limit_emulated())
    }

    fn limit_emulated(&mut self) -> bool {
        let holes = self.lost.max(1).min(self.segments());
        let most = self.segments() - holes;
        let excess = self.emulated > most;
        self.emulated = self.emulated.min(most);
        excess
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        let mut rates = self.rates.take();
        if let Some(rates) = &mut rates {
            rates.forget();
        }
        *self = Flight { found: self.found, rates, ..Flight::default() };
    }

    /// Begins to keep delivery rates.
    pub(super) fn watch_rate(&mut self, now: Time) {
        let mut rates = Box::<Rates>::default();
        rates.begin(self.queue.len(), now);
        self.rates = Some(rates);
    }

    /// Recounts from the entries; for tests.
    #[cfg(test)]
    pub(super) fn check(&self) {
        let sum = |f: fn(&Sent) -> bool| self.queue.iter().filter(|e| f(e)).count() as u32;
        assert_eq!(self.sacked, sum(|e| e.sacked));
        assert_eq!(self.lost, sum(|e| e.lost));
        assert_eq!(self.repeated, sum(|e| e.repeated));
        assert!(self.sacked + self.emulated + self.lost <= self.segments());
        assert!(self.queue.iter().all(|e| !(e.sacked && e.lost) && (e.lost || !e.repeated) && e.len > 0));
        assert!(self.queue.iter().zip(self.queue.iter().skip(1)).all(|(a, b)| a.seq + a.len == b.seq));
    }
}
