//! The timers of a connection: a few slots, each with its story (armed when, by what). Arming is two stores, so it may
//! happen on every ACK; nobody keeps a heap of these, the stack only asks for the earliest.

use rt_base::{EventId, Nanos, Time, TimerKind};

use super::segment::Cx;

/// A timer that is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ArmedTimer {
    /// Which.
    pub kind: TimerKind,
    /// The input event in whose handling it was armed.
    pub armed_by: EventId,
    /// When it was armed.
    pub armed_at: Time,
}

/// Timers that never run at the same time share a slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Slot {
    /// RTO, tail loss probe, RACK's wait for reordered segments, or persist.
    Retransmit,
    /// Delayed ACK.
    Ack,
    /// Keepalive.
    Keepalive,
    /// FIN-WAIT-2 or TIME-WAIT.
    Linger,
    /// Pacing.
    Pacing,
}

const SLOTS: usize = 5;

#[derive(Clone, Copy, Debug)]
struct Entry {
    at: Time,
    armed_by: EventId,
    armed_at: Time,
    kind: TimerKind,
    /// [`super::config::TcpConfig::timer_tick`] in microseconds; every slot has it, because there is room for it here.
    tick_us: u32,
}

/// All of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timers {
    slots: [Entry; SLOTS],
}

impl Default for Timers {
    fn default() -> Timers {
        Timers::new(Nanos::ZERO)
    }
}

impl Timers {
    /// None armed; `tick` is [`super::config::TcpConfig::timer_tick`].
    pub(super) fn new(tick: Nanos) -> Timers {
        let off = Entry {
            at: Time::MAX,
            armed_by: EventId::NONE,
            armed_at: Time::ZERO,
            kind: TimerKind::Rto,
            tick_us: u32::try_from(tick.0 / 1_000).unwrap_or(u32::MAX),
        };
        Timers { slots: [off; SLOTS] }
    }

    /// Arms `slot` for `at`, in place of what was there.
    pub(super) fn arm(&mut self, cx: Cx, slot: Slot, kind: TimerKind, at: Time) {
        let entry = &mut self.slots[slot as usize];
        let at = if entry.tick_us == 0 { at } else { on_tick(cx.now, at, entry.tick_us) };
        *entry = Entry { at, armed_by: cx.cause, armed_at: cx.now, kind, ..*entry };
    }

    pub(super) fn disarm(&mut self, slot: Slot) {
        self.slots[slot as usize].at = Time::MAX;
    }

    pub(super) fn disarm_all(&mut self) {
        self.slots.iter_mut().for_each(|entry| entry.at = Time::MAX);
    }

    /// When `slot` is due; `Time::MAX` for never.
    pub(super) fn at(&self, slot: Slot) -> Time {
        self.slots[slot as usize].at
    }

    pub(super) fn armed(&self, slot: Slot) -> bool {
        self.slots[slot as usize].at != Time::MAX
    }

    pub(super) fn is(&self, slot: Slot, kind: TimerKind) -> bool {
        self.armed(slot) && self.slots[slot as usize].kind == kind
    }

    /// The slot in which `kind` runs and is due, disarmed by this.
    pub(super) fn take_due(&mut self, now: Time, kind: TimerKind) -> bool {
        match self.slots.iter_mut().find(|e| e.at <= now && e.kind == kind) {
            Some(entry) => {
                entry.at = Time::MAX;
                true
            }
            None => false,
        }
    }

    /// The earliest of all.
    pub(super) fn deadline(&self) -> Time {
        self.slots.iter().fold(Time::MAX, |least, e| least.min(e.at))
    }

    /// The first that is due; of equals the first slot.
    pub(super) fn due(&self, now: Time) -> Option<ArmedTimer> {
        let e = self.slots.iter().filter(|e| e.at <= now && e.at != Time::MAX).min_by_key(|e| e.at)?;
        Some(ArmedTimer { kind: e.kind, armed_by: e.armed_by, armed_at: e.armed_at })
    }
}

/// As many whole ticks after the last one as lie between `now` and `at`, but one at least: a kernel that counts ticks does
/// not know how much of the current one is over.
fn on_tick(now: Time, at: Time, tick_us: u32) -> Time {
    if at == Time::MAX {
        return at;
    }
    let tick = u64::from(tick_us) * 1_000;
    let ticks = (at.since(now).0 / tick).max(1);
    Time((now.0 / tick).saturating_add(ticks).saturating_mul(tick))
}
