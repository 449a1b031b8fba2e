//! Links: two directions, each with a transmitter, a queue, a delay and its own dice.
//!
//! The transmitter takes Ethernet's time: frames shorter than 60 bytes are padded, and preamble, start delimiter, FCS and
//! inter-frame gap add 24 bytes (IEEE 802.3). Fractions of a nanosecond are carried over while the transmitter stays busy,
//! so a long burst runs at exactly the rate.

use rt_base::{DropReason, Nanos, NodeId, PortId, Rng, Time};

use crate::flight::Flight;
use crate::qdisc::{Discipline, DropTail, Offer, QueueSpec};

/// What a direction of a link is like. Chances are in parts per million.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DirectionSpec {
    /// Bits per second; 0 is without limit (sending takes no time and nothing ever waits).
    pub rate_bps: u64,
    /// Propagation delay.
    pub delay: Nanos,
    /// Extra delay of each frame, evenly from zero to this; frames may overtake each other.
    pub jitter: Nanos,
    /// Chance that a frame is lost after it was sent.
    pub loss_ppm: u32,
    /// Every frame with a number divisible by this is lost, counted from 1 in this direction; 0 is none.
    pub loss_every: u64,
    /// Chance that a frame takes one more `delay`, so that later ones overtake it.
    pub reorder_ppm: u32,
    /// Chance that a frame arrives twice.
    pub duplicate_ppm: u32,
    /// Chance that one bit of a frame flips.
    pub corrupt_ppm: u32,
    /// Bits that flip, in parts per 10^15 (10^8 is a bit error rate of 10^-7). A frame with a wrong bit does not pass the
    /// receiver's frame check sequence, and longer frames meet one more often.
    pub bit_errors: u64,
    /// Room before the transmitter.
    pub queue: QueueSpec,
}

impl Default for DirectionSpec {
    /// 1 Gbit/s, no delay, no faults, room for 1,000 frames.
    fn default() -> DirectionSpec {
        DirectionSpec {
            rate_bps: 1_000_000_000,
            delay: Nanos::ZERO,
            jitter: Nanos::ZERO,
            loss_ppm: 0,
            loss_every: 0,
            reorder_ppm: 0,
            duplicate_ppm: 0,
            corrupt_ppm: 0,
            bit_errors: 0,
            queue: QueueSpec::Packets(1_000),
        }
    }
}

/// A full-duplex link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LinkSpec {
    /// One end.
    pub a: (NodeId, PortId),
    /// The other.
    pub b: (NodeId, PortId),
    /// From `a` to `b`.
    pub ab: DirectionSpec,
    /// From `b` to `a`.
    pub ba: DirectionSpec,
    /// Longest payload of a frame in bytes (the Ethernet header not counted).
    pub mtu: u16,
}

/// A change of a link at run time, both directions alike.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LinkChange {
    /// Carries nothing from now on; what is queued or in flight is lost.
    Cut,
    /// Carries frames again.
    Heal,
    /// Other properties from now on; `None` leaves one as it was. Frames already sent are not touched.
    Impair {
        /// Loss, ppm.
        loss_ppm: Option<u32>,
        /// Propagation delay.
        delay: Option<Nanos>,
        /// Bits per second; 0 is without limit.
        rate_bps: Option<u64>,
    },
}

/// Preamble and start delimiter (8), FCS (4) and inter-frame gap (12), bytes.
const OVERHEAD: u64 = 24;
/// The shortest frame without FCS, bytes.
const SHORTEST: u64 = 60;
/// An Ethernet header, bytes.
const ETHERNET: usize = 14;

/// When a frame leaves and arrives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Sent {
    pub(crate) start: Time,
    pub(crate) done: Time,
    pub(crate) arrive: Time,
}

/// What the link does to a frame besides carrying it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Fate {
    /// Later than planned by this.
    pub(crate) late: Nanos,
    pub(crate) lost: bool,
    /// The bit that flips.
    pub(crate) flip: Option<u64>,
    /// Some bit flipped, and the frame check sequence tells.
    pub(crate) damaged: bool,
    /// A second copy arrives then.
    pub(crate) again: Option<Time>,
}

/// The dice of a direction, one per purpose.
struct Dice {
    /// Frames so far, for periodic loss.
    frames: u64,
    loss: Rng,
    jitter: Rng,
    reorder: Rng,
    duplicate: Rng,
    corrupt: Rng,
    bits: Rng,
}

impl Dice {
    fn new(seed: u64, name: &str) -> Dice {
        let die = |purpose| Rng::stream(seed, name, purpose);
        Dice {
            frames: 0,
            loss: die("link.loss"),
            jitter: die("link.jitter"),
            reorder: die("link.reorder"),
            duplicate: die("link.duplicate"),
            corrupt: die("link.corrupt"),
            bits: die("link.bits"),
        }
    }
}

/// The chance that none of so many bits flips, as a share of 2^64: (1 - rate)^bits by squaring, in integers, so that it is
/// the same everywhere.
fn unharmed(errors: u64, bits: u64) -> u64 {
    const ONE: u128 = 1 << 64;
    let errors = u128::from(errors.min(PER));
    let mut base = ONE - ONE * errors / u128::from(PER);
    let (mut left, mut product) = (bits, ONE);
    let times = |a: u128, b: u128| {
        if b == ONE {
            a
        } else if a == ONE {
            b
        } else {
            (a * b) >> 64
        }
    };
    while left > 0 {
        if left & 1 == 1 {
            product = times(product, base);
        }
        base = times(base, base);
        left >>= 1;
    }
    u64::try_from(product).unwrap_or(u64::MAX)
}

/// Bit errors are counted in so many bits.
const PER: u64 = 1_000_000_000_000_000;

/// One direction.
pub(crate) struct Direction {
    pub(crate) to: (NodeId, PortId),
    pub(crate) from: (NodeId, PortId),
    pub(crate) link: u32,
    pub(crate) flight: Flight,
    rate_bps: u64,
    busy_until: Time,
    /// What the last frame took beyond `busy_until`: the remainder of bits * 10^9 / rate.
    carry: u64,
    delay: Nanos,
    mtu: usize,
    up: bool,
    queue: DropTail,
    /// Only for directions with faults.
    dice: Option<Box<Dice>>,
    faults: DirectionSpec,
}

impl Direction {
    pub(crate) fn new(
        spec: &DirectionSpec,
        link: u32,
        from: (NodeId, PortId),
        to: (NodeId, PortId),
        mtu: u16,
    ) -> Direction {
        Direction {
            to,
            from,
            link,
            flight: Flight::default(),
            rate_bps: spec.rate_bps,
            busy_until: Time::ZERO,
            carry: 0,
            delay: spec.delay,
            mtu: usize::from(mtu),
            up: true,
            queue: DropTail::new(spec.queue),
            dice: None,
            faults: *spec,
        }
    }

    /// Rolls dice from now on if this direction has faults. `name` says who sends: `node:port`.
    pub(crate) fn arm(&mut self, seed: u64, name: impl FnOnce() -> String) {
        let f = &self.faults;
        let chances = f.loss_ppm | f.reorder_ppm | f.duplicate_ppm | f.corrupt_ppm;
        let faulty = chances != 0 || f.bit_errors != 0 || f.loss_every != 0 || f.jitter > Nanos::ZERO;
        if faulty && self.dice.is_none() {
            self.dice = Some(Box::new(Dice::new(seed, &name())));
        }
    }

    /// Offers a frame of `len` bytes, `tag` of which are a VLAN tag, at `at`, never before an earlier offer.
    #[inline(always)]
    pub(crate) fn offer(&mut self, at: Time, len: usize, tag: usize) -> Result<Sent, DropReason> {
        if !self.up {
            return Err(DropReason::LinkDown);
        }
        if len > self.mtu + ETHERNET + tag {
            return Err(DropReason::TooLongForLink);
        }
        let Offer::Starts(start) = self.queue.offer(at, self.busy_until, len) else {
            return Err(DropReason::QueueFull);
        };
        let done = self.transmit(start, len);
        Ok(Sent { start, done, arrive: done + self.delay })
    }

    /// Occupies the transmitter from `start`; returns when the last bit is out.
    #[inline(always)]
    fn transmit(&mut self, start: Time, len: usize) -> Time {
        if self.rate_bps == 0 {
            return start;
        }
        let bits = ((len as u64).max(SHORTEST) + OVERHEAD) * 8;
        let carry = if start == self.busy_until { self.carry } else { 0 };
        let scaled = bits.saturating_mul(1_000_000_000).saturating_add(carry);
        self.carry = scaled % self.rate_bps;
        self.busy_until = start + Nanos(scaled / self.rate_bps);
        self.busy_until
    }

    /// Whether dice decide about its frames.
    #[inline]
    pub(crate) fn faulty(&self) -> bool {
        self.dice.is_some()
    }

    /// Rolls the dice for a frame of `len` bytes that arrives at `arrive`. Each fault has its own die, so that one does
    /// not move another's choices.
    pub(crate) fn roll(&mut self, arrive: Time, len: usize) -> Fate {
        let Some(dice) = self.dice.as_deref_mut() else { return Fate::default() };
        let f = &self.faults;
        let jitter = |die: &mut Rng| Nanos(die.below(f.jitter.0.saturating_add(1)));
        let mut fate = Fate { late: jitter(&mut dice.jitter), ..Fate::default() };
        if f.reorder_ppm > 0 && dice.reorder.chance_ppm(f.reorder_ppm) {
            fate.late += self.delay;
        }
        if f.duplicate_ppm > 0 && dice.duplicate.chance_ppm(f.duplicate_ppm) {
            fate.again = Some(arrive + jitter(&mut dice.duplicate));
        }
        if f.corrupt_ppm > 0 && dice.corrupt.chance_ppm(f.corrupt_ppm) {
            fate.flip = Some(dice.corrupt.below(len as u64 * 8));
        }
        if f.bit_errors > 0 {
            // The frame check sequence itself can be hit as well; preamble and gap cannot.
            let bits = (len as u64).max(SHORTEST) * 8 + 32;
            fate.damaged = dice.bits.next_u64() >= unharmed(f.bit_errors, bits);
        }
        fate.lost = f.loss_ppm > 0 && dice.loss.chance_ppm(f.loss_ppm);
        dice.frames += 1;
        fate.lost |= f.loss_every > 0 && dice.frames.is_multiple_of(f.loss_every);
        fate
    }

    /// Changes properties; returns the frames that a cut loses.
    pub(crate) fn change(&mut self, now: Time, change: LinkChange) -> Vec<crate::flight::InFlight> {
        match change {
            LinkChange::Cut => {
                self.up = false;
                self.queue.clear();
                self.busy_until = now;
                self.carry = 0;
                return self.flight.clear();
            }
            LinkChange::Heal => self.up = true,
            LinkChange::Impair { loss_ppm, delay, rate_bps } => {
                self.faults.loss_ppm = loss_ppm.unwrap_or(self.faults.loss_ppm);
                self.delay = delay.unwrap_or(self.delay);
                if let Some(rate) = rate_bps {
                    self.rate_bps = rate;
                    self.carry = 0;
                }
            }
        }
        Vec::new()
    }

    /// Whether it carries frames, and its loss.
    pub(crate) fn condition(&self) -> (bool, u32) {
        (self.up, self.faults.loss_ppm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// (1 - 10^-7)^(8 * 9018 + 32) is 0.99281...
    #[test]
    fn longer_frames_meet_a_wrong_bit_more_often() {
        let share = |errors, bits| unharmed(errors, bits) as f64 / 2f64.powi(64);
        for (errors, bits, expected) in
            [(100_000_000, 72_176, 0.992_808), (100_000_000, 12_144, 0.998_786), (PER, 1, 0.0), (0, 99, 1.0)]
        {
            assert!(
                (share(errors, bits) - expected).abs() < 1e-5,
                "{errors} {bits}: {}",
                share(errors, bits)
            );
        }
    }
}
