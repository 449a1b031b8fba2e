//! Answers of pure functions of a body, kept for the next who asks the same: thousands of browsers read the same page, and it is
//! unpacked and read once for all of them.
//!
//! What is kept is bounded, and it cannot be noticed but by the clock on the wall: the same bytes give the same answer,
//! whoever asked before.

use std::collections::VecDeque;

use bytes::Bytes;

/// Answers kept at most; the oldest goes first.
const MOST: usize = 32;
/// Bytes of the longest body whose answer is kept.
const LONGEST: usize = 128 << 10;

/// Answers of one function.
pub(crate) struct Memo<T>(VecDeque<(Bytes, T)>);

impl<T: Clone> Memo<T> {
    pub(crate) const fn new() -> Memo<T> {
        Memo(VecDeque::new())
    }

    /// The answer for this body, if it is there.
    pub(crate) fn get(&self, body: &[u8]) -> Option<T> {
        self.0.iter().find(|(known, _)| known == body).map(|(_, answer)| answer.clone())
    }

    /// Keeps an answer.
    pub(crate) fn put(&mut self, body: &[u8], answer: T) {
        if body.len() > LONGEST {
            return;
        }
        if self.0.len() >= MOST {
            self.0.pop_front();
        }
        // A copy of its own: the body may be a piece of a larger buffer.
        self.0.push_back((Bytes::copy_from_slice(body), answer));
    }
}

#[cfg(test)]
mod tests {
    use super::{LONGEST, MOST, Memo};

    #[test]
    fn it_keeps_few_and_none_that_are_long() {
        let mut memo = Memo::new();
        for n in 0..=MOST {
            assert_eq!(memo.get(&[n as u8]), None);
            memo.put(&[n as u8], n);
        }
        assert_eq!((memo.get(&[0]), memo.get(&[1]), memo.get(&[MOST as u8])), (None, Some(1), Some(MOST)));
        let long = vec![0; LONGEST + 1];
        memo.put(&long, 7);
        assert_eq!(memo.get(&long), None);
    }
}
