//! Reno: RFC 5681 section 3.1.

use super::{Acked, Algorithm, Window};

/// Additive increase, multiplicative decrease by half.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reno {
    credit: u64,
}

impl Algorithm for Reno {
    fn on_ack(&mut self, window: &mut Window, acked: Acked) {
        let left = window.slow_start(acked.bytes);
        if left > 0 {
            window.additive(&mut self.credit, left);
        }
    }

    fn on_loss(&mut self, window: &Window) -> u32 {
        //= rfc5681#3.1
        self.credit = 0;
        (window.cwnd / 2).max(2 * window.mss)
    }

    fn on_idle(&mut self) {
        self.credit = 0;
    }
}
