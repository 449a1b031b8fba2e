//! Counters of a run. Frames obey a conservation law: see [`Stats::holds`].

use std::collections::BTreeMap;

use rt_base::DropReason;

/// What happened so far, in numbers.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Stats {
    /// Inputs handled: frames, timers, commands, boots, link changes.
    pub events: u64,
    /// Frames that nodes sent.
    pub sent: u64,
    /// Copies that links made.
    pub duplicated: u64,
    /// Frames given to nodes.
    pub delivered: u64,
    /// Frames dropped by links, by reason. (What nodes drop is theirs to record.)
    pub dropped: BTreeMap<DropReason, u64>,
    /// Frames queued before or travelling on links now, counted one by one.
    pub in_flight: u64,
}

impl Stats {
    /// Frames that links dropped.
    #[must_use]
    pub fn dropped_total(&self) -> u64 {
        self.dropped.values().sum()
    }

    /// The law: every frame sent (or copied) is delivered, dropped with a reason, or still on its way.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.sent + self.duplicated == self.delivered + self.dropped_total() + self.in_flight
    }
}
