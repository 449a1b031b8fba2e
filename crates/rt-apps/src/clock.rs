//! The host's clock for applications: sleeping and timing out in virtual time, always with the reason for the wait, so
//! that the story can name it.
//!
//! Each wait is one logical timer with the input event that armed it. It ends only when the runtime fires it, never
//! because somebody else happened to be served at the same instant: so what follows has the right cause.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use rt_base::{EventId, Nanos, Time, Wait};

use crate::net::Net;

/// A wait that is under way.
#[derive(Debug)]
pub(crate) struct Armed {
    /// Why the application waits.
    pub(crate) wait: Wait,
    /// The input event in whose handling it was armed.
    pub(crate) armed_by: EventId,
    /// When it was armed.
    pub(crate) armed_at: Time,
    waker: Option<Waker>,
}

/// All waits of a host, soonest first; equal times in the order of arming.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    entries: BTreeMap<(Time, u64), Armed>,
    made: u64,
}

impl Timers {
    fn arm(&mut self, at: Time, armed: Armed) -> (Time, u64) {
        self.made += 1;
        self.entries.insert((at, self.made), armed);
        (at, self.made)
    }

    /// When the soonest ends; `Time::MAX` when there is none.
    pub(crate) fn next_deadline(&self) -> Time {
        self.entries.first_key_value().map_or(Time::MAX, |(&(at, _), _)| at)
    }

    /// Takes the soonest wait that ends at or before `now` and wakes its task.
    pub(crate) fn fire_next(&mut self, now: Time) -> Option<Armed> {
        if self.next_deadline() > now {
            return None;
        }
        let (_, mut armed) = self.entries.pop_first()?;
        if let Some(waker) = armed.waker.take() {
            waker.wake();
        }
        Some(armed)
    }
}

/// The time given to [`Net::timeout`] ran out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Elapsed;

impl std::fmt::Display for Elapsed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("timed out")
    }
}

impl std::error::Error for Elapsed {}

impl From<Elapsed> for std::io::Error {
    fn from(_: Elapsed) -> std::io::Error {
        std::io::ErrorKind::TimedOut.into()
    }
}

/// A wait; made by [`Net::sleep`]. Dropping it disarms the timer.
#[must_use = "a sleep does nothing unless awaited"]
pub struct Sleep {
    net: Net,
    key: Option<(Time, u64)>,
}

impl Sleep {
    /// Arms a timer for `at`; a time that has come needs none.
    pub(crate) fn until(net: &Net, at: Time, wait: Wait) -> Sleep {
        let mut core = net.core();
        let (now, cause) = (core.now, core.cause);
        let key = (at > now)
            .then(|| core.timers.arm(at, Armed { wait, armed_by: cause, armed_at: now, waker: None }));
        drop(core);
        Sleep { net: net.clone(), key }
    }

    /// When it ends: `None` if it has already been served.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        self.key.map(|(at, _)| at)
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(key) = self.key else { return Poll::Ready(()) };
        let net = self.net.clone();
        let mut core = net.core();
        match core.timers.entries.get_mut(&key) {
            Some(armed) => {
                armed.waker = Some(cx.waker().clone());
                Poll::Pending
            }
            None => {
                self.key = None;
                Poll::Ready(())
            }
        }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.net.core().timers.entries.remove(&key);
        }
    }
}

impl Net {
    /// Waits for `span` of virtual time, for the reason `wait`. A zero span does not wait at all.
    pub fn sleep(&self, span: Nanos, wait: Wait) -> Sleep {
        Sleep::until(self, self.now() + span, wait)
    }

    /// Waits until `at`, for the reason `wait`; returns at once when it is past.
    pub fn sleep_until(&self, at: Time, wait: Wait) -> Sleep {
        Sleep::until(self, at, wait)
    }

    /// Waits for `future` at most for `span`.
    ///
    /// # Errors
    /// [`Elapsed`] when the time ran out first; `future` is dropped then.
    pub async fn timeout<F: Future>(&self, span: Nanos, wait: Wait, future: F) -> Result<F::Output, Elapsed> {
        let mut future = std::pin::pin!(future);
        let at = self.now() + span;
        // Armed only when the future does not come at once.
        let mut sleep = None;
        std::future::poll_fn(move |cx| {
            if let Poll::Ready(value) = future.as_mut().poll(cx) {
                return Poll::Ready(Ok(value));
            }
            let sleep = sleep.get_or_insert_with(|| self.sleep_until(at, wait));
            Pin::new(sleep).poll(cx).map(|()| Err(Elapsed))
        })
        .await
    }
}
