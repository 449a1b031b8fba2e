//! TCP sequence numbers: arithmetic and order modulo 2^32 (RFC 9293, 3.4).

use core::fmt;
use core::ops::{Add, AddAssign, Sub};

use serde::{Deserialize, Serialize};

/// A sequence number. It has no total order: `lt` and its kin compare within half the space, as RFC 9293 says.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Seq(pub u32);

impl Seq {
    /// Whether `self` stands before `other`.
    #[must_use]
    pub fn lt(self, other: Seq) -> bool {
        (self.0.wrapping_sub(other.0) as i32) < 0
    }

    /// Whether `self` stands before or at `other`.
    #[must_use]
    pub fn le(self, other: Seq) -> bool {
        (self.0.wrapping_sub(other.0) as i32) <= 0
    }

    /// Whether `self` stands after `other`.
    #[must_use]
    pub fn gt(self, other: Seq) -> bool {
        (self.0.wrapping_sub(other.0) as i32) > 0
    }

    /// Whether `self` stands at or after `other`.
    #[must_use]
    pub fn ge(self, other: Seq) -> bool {
        (self.0.wrapping_sub(other.0) as i32) >= 0
    }

    /// Whether `low <= self < high`, walking forward from `low` (right also for windows of more than 2^31).
    #[must_use]
    pub fn between(self, low: Seq, high: Seq) -> bool {
        self.0.wrapping_sub(low.0) < high.0.wrapping_sub(low.0)
    }

    /// The later of two.
    #[must_use]
    pub fn max(self, other: Seq) -> Seq {
        if self.ge(other) { self } else { other }
    }

    /// The earlier of two.
    #[must_use]
    pub fn min(self, other: Seq) -> Seq {
        if self.le(other) { self } else { other }
    }
}

impl Add<u32> for Seq {
    type Output = Seq;
    fn add(self, n: u32) -> Seq {
        Seq(self.0.wrapping_add(n))
    }
}

impl AddAssign<u32> for Seq {
    fn add_assign(&mut self, n: u32) {
        *self = *self + n;
    }
}

impl Sub<u32> for Seq {
    type Output = Seq;
    fn sub(self, n: u32) -> Seq {
        Seq(self.0.wrapping_sub(n))
    }
}

impl Sub for Seq {
    /// How far `self` stands ahead of the other, modulo 2^32.
    type Output = u32;
    fn sub(self, other: Seq) -> u32 {
        self.0.wrapping_sub(other.0)
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Debug for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::Seq;

    #[test]
    fn order_wraps() {
        let (a, b) = (Seq(u32::MAX - 1), Seq(3));
        assert!(a.lt(b) && a.le(b) && b.gt(a) && b.ge(a) && a.le(a) && a.ge(a) && !a.lt(a));
        assert_eq!((b - a, a + 5, b - 5), (5, b, a));
        assert!(Seq(0).between(a, b) && a.between(a, b) && !b.between(a, b) && !Seq(9).between(a, b));
        assert_eq!((a.max(b), a.min(b)), (b, a));
    }
}
