//! How often somebody may come: a bucket of tokens for each, bounded in number.

use std::collections::BTreeMap;

use rt_base::{Nanos, Time};

use super::RateLimit;

/// Buckets kept at most. When there are more, those that are full go first, which changes nothing; then no new ones are
/// made and all newcomers share one.
const MOST: usize = 65_536;

/// Buckets of one limit.
#[derive(Clone, Debug, Default)]
pub struct Tokens {
    /// By whom: tokens in billionths, and when they were counted.
    buckets: BTreeMap<String, (u128, Time)>,
}

/// What came of asking for a token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// Whether there was one.
    pub allowed: bool,
    /// Whole tokens that are left.
    pub left: u32,
    /// Until the next token when there was none.
    pub wait: Nanos,
}

const ONE: u128 = 1_000_000_000;

impl Tokens {
    /// Takes a token of `who` if there is one.
    pub fn take(&mut self, limit: &RateLimit, who: &str, now: Time) -> Verdict {
        let full = u128::from(limit.burst.max(1)) * ONE;
        let who = if self.room(limit, who, now) { who } else { "" };
        let (had, at) = self.buckets.get(who).copied().unwrap_or((full, now));
        let per = u128::from(limit.per.0.max(1));
        let came = u128::from(now.since(at).0) * u128::from(limit.requests) * ONE / per;
        let has = (had + came).min(full);
        let allowed = has >= ONE;
        let left = if allowed { has - ONE } else { has };
        self.buckets.insert(who.to_owned(), (left, now));
        let missing = ONE.saturating_sub(left);
        let wait = (missing * per).div_ceil(ONE * u128::from(limit.requests.max(1)));
        Verdict {
            allowed,
            left: u32::try_from(left / ONE).unwrap_or(u32::MAX),
            wait: if allowed { Nanos::ZERO } else { Nanos(u64::try_from(wait).unwrap_or(u64::MAX)) },
        }
    }

    fn room(&mut self, limit: &RateLimit, who: &str, now: Time) -> bool {
        if self.buckets.len() < MOST || self.buckets.contains_key(who) {
            return true;
        }
        let refill = u128::from(limit.per.0) * u128::from(limit.burst.max(1));
        let refill = refill / u128::from(limit.requests.max(1));
        self.buckets.retain(|_, (_, at)| u128::from(now.since(*at).0) < refill);
        self.buckets.len() < MOST
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::LimitOf;

    #[test]
    fn a_burst_and_then_the_rate() {
        let limit = RateLimit { requests: 5, per: Nanos::from_secs(1), burst: 2, of: LimitOf::Everybody };
        let mut tokens = Tokens::default();
        let at = |ms: u64| Time::ZERO + Nanos::from_millis(ms);
        let mut take = |who: &str, ms: u64| {
            let verdict = tokens.take(&limit, who, at(ms));
            (verdict.allowed, verdict.left, verdict.wait.0 / 1_000_000)
        };
        assert_eq!(take("a", 0), (true, 1, 0));
        assert_eq!(take("a", 0), (true, 0, 0));
        assert_eq!(take("a", 50), (false, 0, 150));
        assert_eq!(take("b", 50), (true, 1, 0));
        assert_eq!(take("a", 200), (true, 0, 0));
        assert_eq!(take("a", 10_000), (true, 1, 0), "no more than the burst");
    }

    #[test]
    fn many_strangers_do_not_fill_the_memory() {
        let limit = RateLimit { requests: 1, per: Nanos::from_secs(60), burst: 1, of: LimitOf::Address };
        let mut tokens = Tokens::default();
        for who in 0..MOST + 10 {
            tokens.take(&limit, &who.to_string(), Time::ZERO);
        }
        assert!(tokens.buckets.len() <= MOST + 1);
        assert!(!tokens.take(&limit, "somebody new", Time::ZERO).allowed, "newcomers share one bucket");
    }
}
