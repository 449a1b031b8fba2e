//! Which segments in flight are lost: by SACKed segments above (RFC 6675), by time (RACK), by timeout.

use rt_base::{Nanos, Time};

use super::{Flight, Sent};
use crate::tcp::rack::Rack;

impl Flight {
    /// IsLost of RFC 6675: unSACKed segments with at least `dup_thresh` SACKed ones above them are taken for lost.
    pub(in crate::tcp) fn judge(&mut self, dup_thresh: u32) {
        //= rfc6675#4
        let Some(high) = self.high_sacked else {
            return;
        };
        let mut i = self.queue.partition_point(|e| e.seq.lt(high));
        let mut above = 0;
        while i > 0 && above < dup_thresh {
            i -= 1;
            above += u32::from(self.queue[i].sacked);
        }
        if above < dup_thresh {
            return;
        }
        let from = self.judged.saturating_sub(self.popped) as usize;
        for k in from..i {
            if !self.queue[k].lost {
                self.mark_lost(k);
            }
        }
        self.judged = self.judged.max(self.popped + i as u64);
    }

    /// RACK_detect_loss of RFC 8985: copies sent before the latest one that arrived are lost when `window` has passed
    /// besides. Returns for how long the youngest of those that get more time must be waited for.
    pub(in crate::tcp) fn judge_by_time(&mut self, rack: &Rack, now: Time, window: Nanos) -> Option<Nanos> {
        //= rfc8985#6.2
        let mut wait: Option<Nanos> = None;
        self.judged = self.judged.max(self.popped);
        let mut decided = true;
        for i in (self.judged - self.popped) as usize..self.queue.len() {
            let e = &self.queue[i];
            if !(e.sacked || e.lost || e.ever_repeated || e.dismissed) {
                if !rack.is_after(e.sent_at, e.seq + e.len) {
                    break;
                }
                match rack.remaining(now, e.sent_at, window) {
                    Nanos::ZERO => {
                        self.mark_lost(i);
                        self.queue[i].dismissed = true;
                    }
                    more => {
                        wait = Some(wait.map_or(more, |w| w.max(more)));
                        decided = false;
                    }
                }
            }
            if decided {
                self.judged = self.popped + i as u64 + 1;
            }
        }
        self.judge_again(rack, now, window, wait)
    }

    /// The same for copies that were sent again.
    fn judge_again(&mut self, rack: &Rack, now: Time, window: Nanos, wait: Option<Nanos>) -> Option<Nanos> {
        let mut wait = wait;
        let mut k = 0;
        while let Some(&(sent_at, seq)) = self.again.get(k) {
            let i = self.index_of(seq);
            let current = |e: &&Sent| {
                let flying = !e.sacked && (!e.lost || e.repeated) && !e.dismissed;
                e.ever_repeated && e.sent_at == sent_at && flying && e.seq.le(seq)
            };
            let Some(e) = self.queue.get(i).filter(current) else {
                self.again.remove(k);
                continue;
            };
            if !rack.is_after(e.sent_at, e.seq + e.len) {
                break;
            }
            match rack.remaining(now, e.sent_at, window) {
                Nanos::ZERO => {
                    self.mark_lost(i);
                    self.queue[i].dismissed = true;
                    self.again.remove(k);
                }
                more => {
                    wait = Some(wait.map_or(more, |w| w.max(more)));
                    k += 1;
                }
            }
        }
        wait
    }

    /// Takes the entry for lost; a repeated one for lost again.
    fn mark_lost(&mut self, index: usize) {
        let Some(e) = self.queue.get_mut(index).filter(|e| !e.sacked) else {
            return;
        };
        if e.lost && !e.repeated {
            return;
        }
        self.repeated -= u32::from(e.repeated);
        self.lost += u32::from(!e.lost);
        (e.lost, e.repeated) = (true, false);
        self.found += 1;
        self.hint = self.hint.min(self.popped + index as u64);
    }

    /// Takes the oldest segment for lost unless it is already, repeated or not.
    pub(in crate::tcp) fn head_lost(&mut self) {
        if self.queue.front().is_some_and(|e| !e.lost) {
            self.mark_lost(0);
        }
    }

    /// The retransmission timer expired: all that is not SACKed is taken for lost, but what RACK says was sent too
    /// recently. A SACKed segment at the very front means that the receiver threw away what it had reported (RFC 2018
    /// section 8): then no report is believed.
    pub(in crate::tcp) fn all_lost(&mut self, rack: Option<&Rack>, now: Time) {
        let reneged = self.queue.front().is_some_and(|e| e.sacked);
        self.emulated = 0;
        if reneged {
            self.sacked = 0;
            self.high_sacked = None;
            self.cache = Default::default();
            for e in &mut self.queue {
                e.sacked = false;
            }
        }
        for i in 0..self.queue.len() {
            let sent_at = self.queue[i].sent_at;
            let recent = rack.is_some_and(|r| r.remaining(now, sent_at, Nanos::ZERO) > Nanos::ZERO);
            if i == 0 || reneged || !recent {
                self.mark_lost(i);
            }
        }
        self.hint = self.popped;
    }

    /// Takes segments with more than `most` bytes for lost: the path does not take them.
    pub(in crate::tcp) fn too_long_lost(&mut self, most: u32) {
        for i in 0..self.queue.len() {
            if self.queue[i].len - u32::from(self.queue[i].fin) > most {
                self.mark_lost(i);
            }
        }
    }

    /// The losses were none: nothing is taken for lost any more.
    pub(in crate::tcp) fn none_lost(&mut self) {
        for e in &mut self.queue {
            // A repeated copy is in flight beside the first one; only the first is counted.
            (e.lost, e.repeated) = (false, false);
        }
        (self.lost, self.repeated) = (0, 0);
        self.hint = self.popped;
    }
}
