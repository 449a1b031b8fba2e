//! When a peer has to do something by itself (whitepaper, 6.2 to 6.5): five alarms.

use rt_base::Time;

/// What is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Due {
    /// No answer to an initiation.
    Retransmit,
    /// Something was received and nothing sent.
    Keepalive,
    /// Something was sent and nothing received.
    Renew,
    /// Keys are too old to lie about.
    Forget,
    /// The interval that the user asked for.
    Persistent,
}

const ALL: [Due; 5] = [Due::Retransmit, Due::Keepalive, Due::Renew, Due::Forget, Due::Persistent];

/// The alarms of one peer.
#[derive(Clone, Debug, Default)]
pub(super) struct Alarms([Option<Time>; 5]);

impl Alarms {
    /// Sets an alarm, or moves it.
    pub(super) fn set(&mut self, due: Due, at: Time) {
        self.0[due as usize] = Some(at);
    }

    /// Whether it is set.
    pub(super) fn is_set(&self, due: Due) -> bool {
        self.0[due as usize].is_some()
    }

    /// Takes it away.
    pub(super) fn clear(&mut self, due: Due) {
        self.0[due as usize] = None;
    }

    /// The soonest.
    pub(super) fn next(&self) -> Option<Time> {
        self.0.iter().flatten().min().copied()
    }

    /// Takes one that is due.
    pub(super) fn take(&mut self, now: Time) -> Option<Due> {
        let due = ALL.into_iter().find(|due| self.0[*due as usize].is_some_and(|at| at <= now))?;
        self.clear(due);
        Some(due)
    }
}
