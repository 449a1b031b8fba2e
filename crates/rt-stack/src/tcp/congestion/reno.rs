//! Reno: RFC 5681 section 3.1.

use rt_base::Nanos;

use super::{Acked, Algorithm, Window};

/// Additive increase, multiplicative decrease by half.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reno;

impl Algorithm for Reno {
    fn on_ack(&mut self, window: &mut Window, acked: Acked) {
        let left = window.slow_start(acked.segments);
        if left > 0 {
            window.additive(u64::from(window.cwnd), left);
        }
    }

    fn on_loss(&mut self, window: &mut Window) -> u32 {
        window.credit = 0;
        //= rfc5681#3.1
        (window.cwnd / 2).max(2)
    }

    fn on_idle(&mut self, _idle: Nanos) {}
}
