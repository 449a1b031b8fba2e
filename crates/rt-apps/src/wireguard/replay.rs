//! Which counters have been received already (whitepaper, 5.4.6; the algorithm of RFC 6479).

//= rfc6479#section-2

const WORDS: usize = 128;
/// Counters that far behind the newest are refused (Linux's 8192 bits less one word).
const SIZE: u64 = (WORDS as u64 - 1) * 64;

/// A sliding window over a session's counters.
#[derive(Clone, Debug)]
pub(super) struct Window {
    /// One more than the greatest counter received.
    next: u64,
    seen: [u64; WORDS],
}

impl Default for Window {
    fn default() -> Window {
        Window { next: 0, seen: [0; WORDS] }
    }
}

impl Window {
    /// Whether a message with this counter may be taken; it is noted. Ask only about messages that were authentic.
    pub(super) fn take(&mut self, counter: u64) -> bool {
        if counter.saturating_add(SIZE) < self.next || counter == u64::MAX {
            return false;
        }
        let word = counter / 64;
        if counter >= self.next {
            let newest = self.next.saturating_sub(1) / 64;
            // Words between the newest and this one are new, and so is the first of all.
            let fresh = if self.next == 0 { word + 1 } else { word - newest };
            for back in 0..fresh.min(WORDS as u64) {
                self.seen[((word - back) % WORDS as u64) as usize] = 0;
            }
            self.next = counter + 1;
        }
        let (slot, bit) = ((word % WORDS as u64) as usize, 1 << (counter % 64));
        let new = self.seen[slot] & bit == 0;
        self.seen[slot] |= bit;
        new
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::{SIZE, Window};

    #[test]
    fn a_counter_is_taken_once_and_not_when_it_is_old() {
        let mut window = Window::default();
        assert!(window.take(0) && !window.take(0));
        assert!(window.take(SIZE + 5) && window.take(6) && !window.take(6));
        assert!(!window.take(5), "behind the window");
        assert!(window.take(1 << 40) && !window.take(SIZE + 5));
        assert!(!window.take(u64::MAX));
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_set(steps in prop::collection::vec((0_u64..3, 0_u64..9_000), 1..400)) {
            let (mut window, mut all, mut newest) = (Window::default(), BTreeSet::new(), 0_u64);
            for (how, by) in steps {
                let counter = match how { 0 => newest + by % 70, 1 => newest.saturating_sub(by), _ => newest + by };
                let expected = counter + SIZE > newest && all.insert(counter);
                if expected { newest = newest.max(counter); }
                prop_assert_eq!(window.take(counter), expected, "{} after {}", counter, newest);
            }
        }
    }
}
