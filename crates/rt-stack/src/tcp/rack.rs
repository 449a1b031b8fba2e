//! Loss detection by time: RACK (RFC 8985), with the reordering window that grows by DSACK, and the timer that waits for
//! reordered segments. The tail loss probe of the same RFC is in `probe`.
//!
//! A segment is lost when one that was sent later has arrived and more than a round-trip time and a "reordering window"
//! have passed since its own sending. That holds for retransmissions too, so a lost one is found without a timeout.

use rt_base::{Nanos, Time};
use rt_wire::Seq;

use super::rtt::RttEstimator;

/// RACK's variables (RFC 8985 5.2), names in brackets.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rack {
    /// When the latest of the delivered segments was sent (RACK.xmit_ts).
    pub(super) sent_at: Time,
    /// Its end (RACK.end_seq).
    pub(super) end: Seq,
    /// How long it took (RACK.rtt).
    pub(super) rtt: Nanos,
    /// Something was delivered since losses were looked for.
    pub(super) advanced: bool,
    /// A DSACK came that may come from reordering.
    pub(super) dsack: bool,
    /// The reordering window in quarters of the smallest round-trip time, less one (RACK.reo_wnd_mult - 1).
    extra: u8,
    /// Recoveries for which a grown window stays (RACK.reo_wnd_persist).
    persist: u8,
    /// DSACKs before this is acknowledged belong to the round that was judged (RACK.dsack_round).
    round: Option<Seq>,
}

/// RFC 8985 6.2: a grown window stays for so many recoveries.
const PERSIST: u8 = 16;

impl Rack {
    /// A segment that ends at `end` and was sent at `sent_at` was delivered. When it was `repeated` and came too fast, it
    /// may have been the first copy that arrived, and tells nothing.
    pub(super) fn advance(&mut self, now: Time, min_rtt: Nanos, repeated: bool, sent_at: Time, end: Seq) {
        //= rfc8985#6.2
        let rtt = now.since(sent_at);
        if repeated && rtt < min_rtt {
            return;
        }
        self.advanced = true;
        self.rtt = rtt;
        if later((sent_at, end), (self.sent_at, self.end)) {
            (self.sent_at, self.end) = (sent_at, end);
        }
    }

    /// Whether what was delivered was sent after a segment that ends at `end` and was sent at `sent_at`.
    pub(super) fn is_after(&self, sent_at: Time, end: Seq) -> bool {
        later((self.sent_at, self.end), (sent_at, end))
    }

    /// How much longer a segment sent at `sent_at` may take before it counts as lost; 0 for no longer.
    pub(super) fn remaining(&self, now: Time, sent_at: Time, window: Nanos) -> Nanos {
        Nanos((self.rtt.0 + window.0).saturating_sub(now.since(sent_at).0))
    }

    /// The reordering window. `eager` when a loss is known or as good as known: while no reordering was ever seen on this
    /// connection, nothing is waited for then.
    pub(super) fn window(&self, rtt: &RttEstimator, reordering_seen: bool, eager: bool) -> Nanos {
        //= rfc8985#6.2
        if eager && !reordering_seen {
            return Nanos::ZERO;
        }
        Nanos((rtt.min().0 / 4 * (1 + u64::from(self.extra))).min(rtt.srtt().0))
    }

    /// Grows the window once per round in which a DSACK came, and shrinks it after [`PERSIST`] recoveries.
    pub(super) fn adapt(&mut self, una: Seq, nxt: Seq) {
        //= rfc8985#6.2
        if self.round.is_some_and(|round| una.ge(round)) {
            self.round = None;
        }
        if self.dsack && self.round.is_none() {
            self.round = Some(nxt);
            self.extra = self.extra.saturating_add(1).min(u8::MAX - 1);
            self.persist = PERSIST;
        } else if self.persist == 0 {
            self.extra = 0;
        }
        self.dsack = false;
    }

    /// A recovery ended; `spurious` when it turned out needless.
    pub(super) fn recovered(&mut self, spurious: bool) {
        self.persist =
            if spurious { (self.persist + 1).min(PERSIST) } else { self.persist.saturating_sub(1) };
    }
}

/// RFC 8985 6.2 RACK_sent_after: of segments sent at the same instant the one with the higher number is the later one.
fn later(a: (Time, Seq), b: (Time, Seq)) -> bool {
    a.0 > b.0 || (a.0 == b.0 && a.1.gt(b.1))
}
