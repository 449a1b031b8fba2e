//! The clock on the wall: how long since the start, by a clock that nobody can set.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use rt_base::Nanos;

/// Time since a start. Monotonic: setting the machine's clock does not move it.
#[derive(Clone, Copy, Debug)]
pub struct WallClock {
    start: Instant,
    epoch: Nanos,
}

impl WallClock {
    /// Starts now.
    #[must_use]
    pub fn start() -> WallClock {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        WallClock { start: Instant::now(), epoch: Nanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)) }
    }

    /// Nanoseconds since the start.
    #[must_use]
    pub fn elapsed(&self) -> Nanos {
        Nanos(u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// When the start was: nanoseconds since 1970, by the machine's clock.
    #[must_use]
    pub fn epoch(&self) -> Nanos {
        self.epoch
    }
}
