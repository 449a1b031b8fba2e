//! The machine behind a mutex: its clock, its real descriptors, and calls that block.
//!
//! packetdrill runs a script on one thread and calls that block on a second, which also waits for the time of such a call
//! while the first stands still. So either moves the clock, but a thread inside of a blocked call does not. Whenever
//! something has happened that may end a blocked call, the other thread waits until it has looked again and, if its call is
//! over, has taken down the time. So virtual time cannot run away from a call that returns, whatever the scheduler of the
//! real machine does.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;
use std::time::Duration;

use rt_base::{Nanos, Time};
use rt_drill::machine::{Call, Errno, Fd, Machine};

/// The first second of the virtual clock, as `gettimeofday` counts: any number will do, if it is always the same.
const EPOCH_SECONDS: i64 = 1_000_000_000;

/// How long, by the wall clock, the first thread waits for the second to look again. It is only reached when the second
/// thread has died.
const PATIENCE: Duration = Duration::from_secs(2);

thread_local! {
    /// When the blocked call of this thread ended; the next look at the clock on this thread says so.
    static ENDED_AT: Cell<Option<Time>> = const { Cell::new(None) };
}

/// What `userdata` points to.
pub(crate) struct Host {
    state: Mutex<State>,
    /// Something has happened: who waits looks again.
    happened: Condvar,
    /// Who waits has looked again, or has gone.
    looked: Condvar,
    /// The thread that runs the script.
    first: ThreadId,
}

/// What the mutex guards.
pub(crate) struct State {
    pub(crate) machine: Machine,
    /// Real descriptors (each is `/dev/null`) and those of the machine.
    descriptors: BTreeMap<RawFd, Fd>,
    /// Counts what has happened.
    news: u64,
    /// Blocked calls, each with when its own time-out is up.
    blocked: Vec<Blocked>,
    /// Calls that are over, on threads that have not looked at the clock since.
    returning: usize,
    /// Where Linux tells about threads whose blocked call has ended since the last sleep.
    returned: Vec<PathBuf>,
    /// Nothing has happened since somebody looked at the clock.
    looked_at: bool,
}

/// A call that waits on the second thread.
struct Blocked {
    thread: ThreadId,
    until: Time,
    /// Up to which news it has looked.
    seen: u64,
}

type Guard<'a> = MutexGuard<'a, State>;

impl Host {
    pub(crate) fn new(machine: Machine) -> Host {
        let state = State {
            machine,
            descriptors: BTreeMap::new(),
            news: 0,
            blocked: Vec::new(),
            returning: 0,
            returned: Vec::new(),
            looked_at: false,
        };
        Host {
            state: Mutex::new(state),
            happened: Condvar::new(),
            looked: Condvar::new(),
            first: std::thread::current().id(),
        }
    }

    /// The state; a panic inside of a call has been told about already.
    pub(crate) fn lock(&self) -> Guard<'_> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call that never waits.
    pub(crate) fn call<T>(&self, what: impl FnOnce(&mut State) -> Result<T, Errno>) -> Result<T, Errno> {
        let mut guard = self.lock();
        guard.looked_at = false;
        let result = what(&mut guard);
        drop(self.settle(guard));
        result
    }

    /// A call that may wait. `timeout` bounds the waiting; at its end `what` is asked once more, with `true`.
    pub(crate) fn blocking<T>(
        &self,
        timeout: Option<Nanos>,
        mut what: impl FnMut(&mut State, bool) -> Call<T>,
    ) -> Result<T, Errno> {
        let mut guard = self.lock();
        guard.looked_at = false;
        let until = timeout.map_or(Time::MAX, |timeout| guard.machine.now() + timeout);
        let this = std::thread::current().id();
        let mut waited = false;
        loop {
            let up = guard.machine.now() >= until;
            if let Call::Done(result) = what(&mut guard, up) {
                if waited && this != self.first {
                    ENDED_AT.set(Some(guard.machine.now()));
                    guard.blocked.retain(|blocked| blocked.thread != this);
                    guard.returning += 1;
                    guard.returned.extend(own_state());
                    self.looked.notify_all();
                } else {
                    drop(self.settle(guard));
                }
                return result;
            }
            waited = true;
            if this == self.first {
                // Nobody else moves the clock.
                let (after, moved) = self.step(guard, until);
                guard = after;
                if !moved {
                    eprintln!(
                        "roundtrip: a call on the script's own thread would block for ever (no timer is armed)"
                    );
                    return Err(Errno::EINTR);
                }
                continue;
            }
            let seen = guard.news;
            guard.blocked.retain(|blocked| blocked.thread != this);
            guard.blocked.push(Blocked { thread: this, until, seen });
            self.looked.notify_all();
            while guard.news == seen {
                guard = self.happened.wait(guard).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// Lets blocked calls look at what has happened, and those that are over take down the time.
    fn settle<'a>(&'a self, mut guard: Guard<'a>) -> Guard<'a> {
        if guard.blocked.is_empty() && guard.returning == 0 {
            return guard;
        }
        guard.news += 1;
        self.happened.notify_all();
        while guard.returning > 0 || guard.blocked.iter().any(|blocked| blocked.seen < guard.news) {
            let (after, timeout) =
                self.looked.wait_timeout(guard, PATIENCE).unwrap_or_else(PoisonError::into_inner);
            guard = after;
            if timeout.timed_out() {
                guard.returning = 0;
                break;
            }
        }
        guard
    }

    /// Moves the clock to the next thing that happens by itself, at most to `limit`, and lets blocked calls look; false
    /// when nothing is left to happen until then (the clock stays).
    fn step<'a>(&'a self, mut guard: Guard<'a>, limit: Time) -> (Guard<'a>, bool) {
        let now = guard.machine.now();
        let timeouts = guard.blocked.iter().map(|blocked| blocked.until).filter(|until| *until > now);
        let limit = timeouts.min().unwrap_or(Time::MAX).min(limit);
        let mut moved = guard.machine.step(limit);
        if !moved && limit != Time::MAX && limit > now {
            guard.machine.run_until(limit);
            moved = true;
        }
        (self.settle(guard), moved)
    }

    /// Moves the clock to `until`.
    fn advance<'a>(&'a self, mut guard: Guard<'a>, until: Time) -> Guard<'a> {
        loop {
            let (after, moved) = self.step(guard, until);
            guard = after;
            if !moved {
                return guard;
            }
        }
    }

    /// `usleep`.
    pub(crate) fn sleep(&self, micros: u64) {
        let mut guard = self.lock();
        guard.looked_at = false;
        let returned = std::mem::take(&mut guard.returned);
        drop(guard);
        // The tool holds no lock of its own now: a call that has ended on the other thread can be checked.
        for state in returned {
            await_sleep(&state);
        }
        let guard = self.lock();
        let until = guard.machine.now() + Nanos::from_micros(micros);
        drop(self.advance(guard, until));
    }

    /// `gettimeofday`: seconds and microseconds. The clock creeps a microsecond when somebody looks again and nothing has
    /// happened since, because the tool spins on it for the last twenty before an event.
    pub(crate) fn time_of_day(&self) -> (i64, i64) {
        let mut guard = self.lock();
        let now = match ENDED_AT.take() {
            Some(ended) => {
                guard.returning = guard.returning.saturating_sub(1);
                self.looked.notify_all();
                ended
            }
            None => {
                if std::mem::replace(&mut guard.looked_at, true) {
                    let until = guard.machine.now() + Nanos::from_micros(1);
                    guard = self.advance(guard, until);
                }
                guard.machine.now()
            }
        };
        let micros = micros(now);
        (micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000))
    }

    /// A packet from the wire.
    pub(crate) fn inject(&self, packet: &[u8]) {
        let mut guard = self.lock();
        // The tool draws the local address by lot and does not tell: who is spoken to is who we are.
        if let Some(destination) = destination(packet)
            && !guard.machine.has_address(destination)
        {
            guard.machine.add_address(destination);
        }
        guard.looked_at = false;
        guard.machine.inject(packet);
        drop(self.settle(guard));
    }

    /// The next packet that the machine sends and the time, in microseconds of `gettimeofday`; the clock moves as far as
    /// it must. `None` when none will ever come.
    pub(crate) fn next_packet(&self) -> Option<(Vec<u8>, i64)> {
        let mut guard = self.lock();
        guard.looked_at = false;
        loop {
            if let Some(packet) = guard.machine.take_packet() {
                return Some((packet.bytes, micros(packet.at)));
            }
            let (after, moved) = self.step(guard, Time::MAX);
            guard = after;
            if !moved {
                return None;
            }
        }
    }
}

/// Where Linux tells what the calling thread does.
fn own_state() -> Option<PathBuf> {
    let thread = std::fs::read_link("/proc/thread-self").ok()?;
    Some(PathBuf::from("/proc").join(thread).join("stat"))
}

/// Waits by the wall clock until a thread sleeps: it has done all that it can do by itself. Gives up after a while.
fn await_sleep(state: &Path) {
    for _ in 0..500 {
        std::thread::sleep(Duration::from_micros(100));
        // PID (NAME) STATE ...: a name may have anything in it but is the last thing in parentheses.
        let sleeps = std::fs::read_to_string(state)
            .is_ok_and(|text| text.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('S')));
        if sleeps {
            return;
        }
    }
}

/// Microseconds of `gettimeofday`.
fn micros(time: Time) -> i64 {
    EPOCH_SECONDS * 1_000_000 + i64::try_from(time.0 / 1_000).unwrap_or(i64::MAX / 2)
}

/// Where an IPv4 packet goes, if that can be one machine's address.
fn destination(packet: &[u8]) -> Option<std::net::Ipv4Addr> {
    if packet.len() < 20 || packet[0] >> 4 != 4 {
        return None;
    }
    let octets: [u8; 4] = packet[16..20].try_into().ok()?;
    let address = std::net::Ipv4Addr::from(octets);
    let possible = !(address.is_unspecified()
        || address.is_loopback()
        || address.is_multicast()
        || address.is_broadcast());
    possible.then_some(address)
}

impl State {
    /// A real descriptor for one of the machine's: the tool closes it as if it were a socket of the kernel.
    pub(crate) fn expose(&mut self, fd: Fd) -> Result<RawFd, Errno> {
        let null = File::options().read(true).write(true).open("/dev/null").map_err(|_| Errno::EMFILE)?;
        let real = null.into_raw_fd();
        self.descriptors.insert(real, fd);
        Ok(real)
    }

    /// The machine's descriptor behind a real one.
    pub(crate) fn inner(&self, real: RawFd) -> Result<Fd, Errno> {
        self.descriptors.get(&real).copied().ok_or(Errno::EBADF)
    }

    /// Closes a real descriptor that [`State::expose`] made.
    pub(crate) fn retire(&mut self, real: RawFd) {
        if self.descriptors.remove(&real).is_some() {
            // SAFETY: `expose` opened it, nobody else owns it, and it was in the table until now, so it was not closed.
            drop(unsafe { OwnedFd::from_raw_fd(real) });
        }
    }
}
