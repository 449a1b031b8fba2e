//! How late frames were when the real program got them: a histogram of fixed size.
//!
//! Simplification: within a power of two there are eight steps, so a figure is up to an eighth too high, never too low.

use rt_base::Nanos;
use rt_files::inputs::Lateness;

use super::TOO_LATE_NS;

/// Steps within a power of two.
const STEPS: usize = 8;
const BUCKETS: usize = 62 * STEPS;

/// A histogram of spans.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    counts: Box<[u64; BUCKETS]>,
    frames: u64,
    max: u64,
    too_late: u64,
}

impl Histogram {
    pub(crate) fn new() -> Histogram {
        Histogram { counts: Box::new([0; BUCKETS]), frames: 0, max: 0, too_late: 0 }
    }

    /// One more.
    pub(crate) fn add(&mut self, late: Nanos) {
        self.counts[bucket(late.0)] += 1;
        self.frames += 1;
        self.max = self.max.max(late.0);
        self.too_late += u64::from(late.0 > TOO_LATE_NS);
    }

    /// How many were later than [`TOO_LATE_NS`].
    pub(crate) fn too_late(&self) -> u64 {
        self.too_late
    }

    /// The figures so far.
    pub(crate) fn figures(&self) -> Lateness {
        Lateness { frames: self.frames, p50: self.quantile(50), p99: self.quantile(99), max: self.max }
    }

    /// So many of a hundred are not greater than this.
    fn quantile(&self, percent: u64) -> u64 {
        let wanted = (u128::from(self.frames) * u128::from(percent)).div_ceil(100);
        let mut seen = 0u128;
        for (index, count) in self.counts.iter().enumerate() {
            seen += u128::from(*count);
            if seen >= wanted && *count > 0 {
                return top(index).min(self.max);
            }
        }
        self.max
    }
}

/// Where a value is counted: the first sixteen one by one, then eight steps a power of two.
fn bucket(value: u64) -> usize {
    if value < 2 * STEPS as u64 {
        return value as usize;
    }
    let power = value.ilog2() as usize;
    (power - 2) * STEPS + (value >> (power - 3)) as usize % STEPS
}

/// The greatest value that is counted there.
fn top(index: usize) -> u64 {
    if index < 2 * STEPS {
        return index as u64;
    }
    let power = index / STEPS + 2;
    let step = (STEPS + index % STEPS) as u128 + 1;
    u64::try_from((step << (power - 3)) - 1).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_never_too_low_and_at_most_an_eighth_too_high() {
        for value in (0..2_000).chain([1 << 20, (1 << 40) + 12_345, u64::MAX - 1, u64::MAX]) {
            let top = top(bucket(value));
            assert!(top >= value && top - value <= value / 8, "{value}: {top}");
        }
        assert_eq!(Histogram::new().figures(), Lateness::default());
        let mut histogram = Histogram::new();
        for value in 1..=1_000 {
            histogram.add(Nanos(value));
        }
        let Lateness { frames, p50, p99, max } = histogram.figures();
        assert_eq!((frames, max), (1_000, 1_000));
        assert_eq!(histogram.too_late(), 0);
        histogram.add(Nanos(TOO_LATE_NS + 1));
        assert_eq!(histogram.too_late(), 1);
        assert!((500..563).contains(&p50) && (990..=1_000).contains(&p99), "{p50} {p99}");
    }
}
