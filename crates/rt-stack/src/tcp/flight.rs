//! What was sent and is not acknowledged: one entry per segment, in order, with its fate so far. This is the
//! scoreboard of RFC 6675; without SACK the fates come from duplicate ACKs (RFC 6582).
//!
//! Sums are kept beside the entries, so bytes in flight ("pipe") cost nothing to ask.

use std::collections::VecDeque;

use rt_base::{EventId, Time};
use rt_wire::Seq;

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
    /// Bytes of all entries.
    total: u32,
    sacked: u32,
    lost: u32,
    repeated: u32,
    /// Position before which nothing waits to be repeated.
    hint: u64,
    /// Position before which the loss rule has been applied.
    judged: u64,
    /// Right edge of the highest SACKed entry, if any is SACKed.
    high_sacked: Option<Seq>,
    /// The blocks of the last ACK: what they cover need not be walked again.
    cache: [(Seq, Seq); 4],
}

/// What a cumulative ACK took out.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Removed {
    /// Bytes that no SACK had reported before.
    pub(super) newly: u32,
    /// When the oldest never repeated segment of them was sent.
    pub(super) sent_at: Option<Time>,
    /// A repeated segment was among them.
    pub(super) repeated: bool,
}

impl Flight {
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Bytes between SND.UNA and SND.NXT.
    pub(super) fn total(&self) -> u32 {
        self.total
    }

    pub(super) fn sacked(&self) -> u32 {
        self.sacked
    }

    pub(super) fn lost(&self) -> u32 {
        self.lost
    }

    /// Bytes thought to be in the network (RFC 6675 section 4), less `left` that duplicate ACKs say have left it.
    pub(super) fn pipe(&self, left: u32) -> u32 {
        //= rfc6675#4
        (self.total - self.sacked - self.lost + self.repeated).saturating_sub(left)
    }

    pub(super) fn push(&mut self, sent: Sent) {
        self.total += sent.len;
        self.queue.push_back(sent);
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

    /// Cuts the entry at `position` so that the first part is at most `most` long.
    pub(super) fn split(&mut self, position: u64, most: u32) {
        let i = (position - self.popped) as usize;
        if let Some(e) = self.queue.get_mut(i).filter(|e| e.len - u32::from(e.fin) > most) {
            let rest = Sent { seq: e.seq + most, len: e.len - most, ..*e };
            e.len = most;
            e.fin = false;
            self.queue.insert(i + 1, rest);
            self.judged += u64::from(self.judged > position);
        }
    }

    /// The entry at `position` is sent again now.
    pub(super) fn repeat(&mut self, position: u64, now: Time) {
        if let Some(e) = self.queue.get_mut((position - self.popped) as usize) {
            e.sent_at = now;
            e.ever_repeated = true;
            if e.lost && !e.repeated {
                e.repeated = true;
                self.repeated += e.len;
            }
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

    /// Takes out what a cumulative ACK covers.
    pub(super) fn ack(&mut self, una: Seq) -> Removed {
        let mut removed = Removed::default();
        while let Some(front) = self.queue.front_mut() {
            let gone = if (front.seq + front.len).le(una) { front.len } else { una - front.seq };
            if front.seq.ge(una) {
                break;
            }
            let e = *front;
            self.total -= gone;
            self.sacked -= if e.sacked { gone } else { 0 };
            self.lost -= if e.lost { gone } else { 0 };
            self.repeated -= if e.repeated { gone } else { 0 };
            if !e.sacked {
                removed.newly += gone;
                removed.repeated |= e.ever_repeated;
                if !e.ever_repeated && removed.sent_at.is_none() {
                    removed.sent_at = Some(e.sent_at);
                }
            }
            if gone < e.len {
                front.seq = una;
                front.len -= gone;
                break;
            }
            self.queue.pop_front();
            self.popped += 1;
        }
        if self.queue.is_empty() {
            self.high_sacked = None;
            self.queue = VecDeque::new();
        }
        removed
    }

    /// Marks what the blocks of an ACK cover; blocks at or below `una` (duplicate SACKs) and beyond `nxt` say nothing
    /// here. Returns the bytes reported for the first time and when the newest of them was sent, if never repeated.
    pub(super) fn sack(&mut self, blocks: &[(Seq, Seq)], una: Seq, nxt: Seq) -> (u32, Option<Time>) {
        let mut newly = 0;
        let mut sent_at = None;
        let before = self.cache;
        for (slot, &(left, right)) in blocks.iter().enumerate().take(4) {
            self.cache[slot] = (left, right);
            if left.lt(una) || right.gt(nxt) || left.ge(right) {
                self.cache[slot] = (una, una);
                continue;
            }
            // What the last ACK's block covered inside this one is marked already.
            match before.iter().find(|c| c.0.lt(c.1) && c.0.ge(left) && c.1.le(right)) {
                Some(known) => {
                    newly += self.mark_sacked((left, right), (left, known.0), &mut sent_at);
                    newly += self.mark_sacked((left, right), (known.1, right), &mut sent_at);
                }
                None => newly += self.mark_sacked((left, right), (left, right), &mut sent_at),
            }
        }
        for slot in &mut self.cache[blocks.len().min(4)..] {
            *slot = (una, una);
        }
        (newly, sent_at)
    }

    /// Marks the entries that `block` covers and that reach into `part` of it.
    fn mark_sacked(&mut self, block: (Seq, Seq), part: (Seq, Seq), sent_at: &mut Option<Time>) -> u32 {
        let mut newly = 0;
        if part.0.ge(part.1) {
            return 0;
        }
        let first = self.index_of(part.0);
        for e in self.queue.range_mut(first..) {
            if e.seq.ge(part.1) || (e.seq + e.len).gt(block.1) {
                break;
            }
            if e.sacked || e.seq.lt(block.0) {
                continue;
            }
            e.sacked = true;
            self.sacked += e.len;
            self.lost -= if e.lost { e.len } else { 0 };
            self.repeated -= if e.repeated { e.len } else { 0 };
            e.lost = false;
            e.repeated = false;
            newly += e.len;
            if !e.ever_repeated {
                *sent_at = Some(e.sent_at);
            }
            let end = e.seq + e.len;
            self.high_sacked = Some(self.high_sacked.map_or(end, |h| h.max(end)));
        }
        newly
    }

    /// IsLost of RFC 6675: unSACKed segments with at least `dup_thresh` SACKed ones above them are taken for lost.
    /// Whether there are new ones.
    pub(super) fn judge(&mut self, dup_thresh: u32) -> bool {
        //= rfc6675#4
        let Some(high) = self.high_sacked else {
            return false;
        };
        let mut i = self.queue.partition_point(|e| e.seq.lt(high));
        let mut above = 0;
        while i > 0 && above < dup_thresh {
            i -= 1;
            above += u32::from(self.queue[i].sacked);
        }
        if above < dup_thresh {
            return false;
        }
        let from = self.judged.saturating_sub(self.popped) as usize;
        let mut found = false;
        for k in from..i {
            found |= self.mark_lost(k);
        }
        self.judged = self.judged.max(self.popped + i as u64);
        found
    }

    fn mark_lost(&mut self, index: usize) -> bool {
        match self.queue.get_mut(index) {
            Some(e) if !e.sacked && !e.lost => {
                e.lost = true;
                self.lost += e.len;
                self.hint = self.hint.min(self.popped + index as u64);
                true
            }
            _ => false,
        }
    }

    /// Takes the oldest segment for lost; it will be repeated, even if it was before.
    pub(super) fn head_lost(&mut self) {
        if let Some(e) = self.queue.front_mut().filter(|e| e.repeated) {
            e.repeated = false;
            self.repeated -= e.len;
            self.hint = self.popped;
        }
        self.mark_lost(0);
    }

    /// The retransmission timer expired: all that is not SACKed is taken for lost. A SACKed segment at the very front
    /// means that the receiver threw away what it had reported (RFC 2018 section 8): then no report is believed.
    pub(super) fn all_lost(&mut self) {
        let reneged = self.queue.front().is_some_and(|e| e.sacked);
        (self.sacked, self.lost, self.repeated) = (0, 0, 0);
        for e in &mut self.queue {
            e.sacked &= !reneged;
            e.lost = !e.sacked;
            e.repeated = false;
            if e.sacked {
                self.sacked += e.len;
            } else {
                self.lost += e.len;
            }
        }
        if reneged {
            self.high_sacked = None;
        }
        self.hint = self.popped;
        self.cache = [(Seq(0), Seq(0)); 4];
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        *self = Flight::default();
    }

    /// Recounts from the entries; for tests.
    #[cfg(test)]
    pub(super) fn check(&self) {
        let sum = |f: fn(&Sent) -> bool| self.queue.iter().filter(|e| f(e)).map(|e| e.len).sum::<u32>();
        assert_eq!(self.total, sum(|_| true));
        assert_eq!(self.sacked, sum(|e| e.sacked));
        assert_eq!(self.lost, sum(|e| e.lost));
        assert_eq!(self.repeated, sum(|e| e.repeated));
        assert!(self.queue.iter().all(|e| !(e.sacked && e.lost) && (e.lost || !e.repeated) && e.len > 0));
        assert!(self.queue.iter().zip(self.queue.iter().skip(1)).all(|(a, b)| a.seq + a.len == b.seq));
    }
}
