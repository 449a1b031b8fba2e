//! The current node's generator, for libraries whose randomness hook is a `&'static` thing without context (rustls).
//!
//! The runtime lends its host's generator to this thread while it polls that host's tasks, and takes it back after. So
//! a draw always comes from the stream of the node that runs, in whatever order nodes are served. Everything that can
//! take an argument uses [`crate::Net::rng`] instead.

use std::cell::RefCell;

use rt_base::Rng;

thread_local! {
    static CURRENT: RefCell<Option<Rng>> = const { RefCell::new(None) };
}

/// No host is being polled on this thread, so there is no generator to draw from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoCurrentNode;

/// Fills `buf` from the generator of the node whose task is being polled.
///
/// # Errors
/// [`NoCurrentNode`] outside of a poll.
pub fn fill(buf: &mut [u8]) -> Result<(), NoCurrentNode> {
    CURRENT.with_borrow_mut(|current| match current {
        Some(rng) => {
            rng.fill(buf);
            Ok(())
        }
        None => Err(NoCurrentNode),
    })
}

/// Makes `rng` the current one while `work` runs, then hands it back. Also useful to tests.
pub fn lend<T>(rng: &mut Rng, work: impl FnOnce() -> T) -> T {
    /// Puts the generator back also when `work` panics.
    struct Back<'a>(&'a mut Rng, Option<Rng>);
    impl Drop for Back<'_> {
        fn drop(&mut self) {
            let before = self.1.take();
            if let Some(ours) = CURRENT.with_borrow_mut(|current| std::mem::replace(current, before)) {
                *self.0 = ours;
            }
        }
    }
    let before = CURRENT.with_borrow_mut(|current| current.replace(rng.clone()));
    let _back = Back(rng, before);
    work()
}

#[cfg(test)]
mod tests {
    use rt_base::Rng;

    use super::{NoCurrentNode, fill, lend};

    #[test]
    fn draws_come_from_the_lent_stream_and_go_on_where_it_stopped() {
        let mut rng = Rng::stream(1, "a", "entropy");
        let mut expected = rng.clone();
        let mut got = [[0u8; 8]; 2];
        assert_eq!(fill(&mut got[0]), Err(NoCurrentNode));
        for buf in &mut got {
            lend(&mut rng, || fill(buf)).unwrap();
        }
        for buf in got {
            assert_eq!(buf, expected.next_u64().to_le_bytes());
        }
        assert_eq!(fill(&mut got[0]), Err(NoCurrentNode));
    }
}
