//! Servers that fail are left alone for a while; retries stay a small part of what is asked.

use std::fmt;

use rt_base::{Nanos, Time};

use super::CircuitRules;

/// The circuit to one server.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Circuit {
    /// Failures in a row.
    failures: u32,
    /// How often it has opened since it last was well.
    opened: u32,
    /// It is open until then.
    until: Option<Time>,
    /// One request tries it out.
    trial: bool,
}

/// What an outcome changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// Nothing.
    None,
    /// It opened, for this long.
    Opened(Nanos),
    /// The trial went well.
    Closed,
}

impl Circuit {
    /// Why nothing may be sent there; `None` when it may.
    #[must_use]
    pub fn refuses(&self, now: Time) -> Option<String> {
        let until = self.until?;
        if now < until {
            return Some(format!("circuit open for {} more", until.since(now)));
        }
        self.trial.then(|| "circuit half open: one request tries it".to_owned())
    }

    /// A request goes there.
    pub fn begin(&mut self) {
        self.trial |= self.until.is_some();
    }

    /// A request that went there was given up before anything came of it.
    pub fn forget(&mut self) {
        self.trial = false;
    }

    /// What came of a request.
    pub fn report(&mut self, rules: &CircuitRules, good: bool, now: Time) -> Change {
        let was_open = self.until.is_some();
        if good {
            // A success of a request that was under way when it opened proves nothing.
            if was_open && !self.trial {
                return Change::None;
            }
            *self = Circuit::default();
            return if was_open { Change::Closed } else { Change::None };
        }
        self.failures = self.failures.saturating_add(1);
        if (was_open && !self.trial) || (!was_open && self.failures < rules.failures) {
            return Change::None;
        }
        self.opened = self.opened.saturating_add(1);
        let span = Nanos(rules.open_for.0.saturating_mul(u64::from(self.opened)));
        (self.until, self.trial) = (Some(now + span), false);
        Change::Opened(span)
    }
}

/// Seconds that a budget looks back.
const WINDOW: u64 = 10;
/// Retries in those seconds that are always allowed.
const ALWAYS_RETRIES: u32 = 3;

/// Retries in proportion to requests, over the last 10 s: a pool that fails as a whole must not get a multiple of its load
/// on top (Finagle's and Envoy's retry budgets).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RetryBudget {
    /// Second, requests, retries.
    seconds: Vec<(u64, u32, u32)>,
}

impl RetryBudget {
    /// A request came.
    pub fn request(&mut self, now: Time) {
        self.now(now).1 += 1;
    }

    /// Takes a retry of `percent` of the requests if there is one; else says how many of how many there were.
    ///
    /// # Errors
    /// What was asked and tried again in the last 10 s.
    pub fn retry(&mut self, percent: u32, now: Time) -> Result<(), BudgetSpent> {
        self.now(now);
        let requests: u32 = self.seconds.iter().map(|(_, requests, _)| *requests).sum();
        let retries: u32 = self.seconds.iter().map(|(_, _, retries)| *retries).sum();
        let allowed = u64::from(requests) * u64::from(percent) / 100;
        if u64::from(retries) >= allowed.max(u64::from(ALWAYS_RETRIES)) {
            return Err(BudgetSpent { retries, requests, percent });
        }
        self.now(now).2 += 1;
        Ok(())
    }

    fn now(&mut self, now: Time) -> &mut (u64, u32, u32) {
        let second = now.0 / 1_000_000_000;
        self.seconds.retain(|(at, ..)| at + WINDOW > second);
        if self.seconds.last().is_none_or(|(at, ..)| *at != second) {
            self.seconds.push((second, 0, 0));
        }
        self.seconds.last_mut().expect("invariant: pushed above")
    }
}

/// A budget of retries that allows no more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BudgetSpent {
    /// Retries in the last 10 s.
    pub retries: u32,
    /// Requests in the last 10 s.
    pub requests: u32,
    /// The share of them that may be tried again.
    pub percent: u32,
}

impl fmt::Display for BudgetSpent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BudgetSpent { retries, requests, percent } = *self;
        let tried = if retries == 1 { "1 retry".to_owned() } else { format!("{retries} retries") };
        let asked = rt_base::count(u64::from(requests), "request");
        write!(f, "{tried} for {asked} in the last {WINDOW} s; ")?;
        // Where few requests come, their share is not what decides.
        if u64::from(requests) * u64::from(percent) / 100 < u64::from(ALWAYS_RETRIES) {
            write!(
                f,
                "the first {ALWAYS_RETRIES} are always allowed, more only as {percent} % of the requests"
            )
        } else {
            write!(f, "{percent} % of the requests is what is allowed")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: CircuitRules = CircuitRules { failures: 2, open_for: Nanos::from_secs(5), requests: None };

    fn at(secs: u64) -> Time {
        Time::ZERO + Nanos::from_secs(secs)
    }

    #[test]
    fn opens_tries_once_and_closes() {
        let mut circuit = Circuit::default();
        assert_eq!(circuit.report(&RULES, false, at(0)), Change::None);
        assert_eq!(circuit.report(&RULES, true, at(0)), Change::None, "counts from the beginning");
        assert_eq!(circuit.report(&RULES, false, at(0)), Change::None);
        assert_eq!(circuit.report(&RULES, false, at(1)), Change::Opened(Nanos::from_secs(5)));
        assert_eq!(circuit.refuses(at(2)).as_deref(), Some("circuit open for 4.000 s more"));
        assert_eq!(circuit.report(&RULES, true, at(3)), Change::None, "it was sent before");
        assert_eq!(circuit.refuses(at(6)), None);
        circuit.begin();
        assert!(circuit.refuses(at(6)).is_some(), "one trial at a time");
        assert_eq!(
            circuit.report(&RULES, false, at(7)),
            Change::Opened(Nanos::from_secs(10)),
            "longer each time"
        );
        circuit.begin();
        circuit.forget();
        assert_eq!(circuit.refuses(at(17)), None);
        circuit.begin();
        assert_eq!(circuit.report(&RULES, true, at(18)), Change::Closed);
        assert_eq!(circuit, Circuit::default());
    }

    #[test]
    fn retries_stay_a_part_of_the_requests() {
        let mut budget = RetryBudget::default();
        for _ in 0..100 {
            budget.request(at(1));
        }
        let granted = (0..100).filter(|_| budget.retry(20, at(2)).is_ok()).count();
        assert_eq!(granted, 20);
        assert_eq!(budget.retry(20, at(3)), Err(BudgetSpent { retries: 20, requests: 100, percent: 20 }));
        assert_eq!(budget.retry(20, at(20)), Ok(()), "three are always allowed");
    }
}
