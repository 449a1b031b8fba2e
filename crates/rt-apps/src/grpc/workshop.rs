//! The server's workers. Calls are independent of each other on the wire; here they are not: there are so many workers, and who
//! finds none free waits in a queue, first come, first served. A slow call holds one worker, however many streams there are.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rt_base::{AppRecord, Nanos, Time, Wait, WorkStep, WorkStop, count};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;

use super::MOST_WORK;
use crate::net::Net;

/// A call, as its server knows it.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) peer: SocketAddr,
    /// The number of the request on its connection.
    pub(super) ordinal: u32,
    /// When it is given up, by this server's clock.
    pub(super) deadline: Option<Time>,
}

/// The workers of a server.
pub(super) struct Workshop {
    net: Net,
    unit: Nanos,
    /// Calls that may wait.
    room: u32,
    waiting: AtomicU32,
    benches: Arc<Semaphore>,
    /// Workers at rest.
    free: Mutex<BTreeSet<u32>>,
}

/// A job in the hands of a worker, or on its way there. Dropping it before it is done stops the work.
pub(super) struct Work {
    shop: Arc<Workshop>,
    caller: Caller,
    units: u32,
    done: u32,
    began: Option<Time>,
    bench: Option<(u32, OwnedSemaphorePermit)>,
    stop: WorkStop,
    over: bool,
    /// Set when nobody waits for the result any more, for work that goes on.
    unwanted: Option<Arc<Mutex<Option<Time>>>>,
}

impl Workshop {
    pub(super) fn new(net: &Net, workers: u32, unit: Nanos, room: u32) -> Arc<Workshop> {
        let workers = workers.max(1);
        Arc::new(Workshop {
            net: net.clone(),
            unit,
            room,
            waiting: AtomicU32::new(0),
            benches: Arc::new(Semaphore::new(workers as usize)),
            free: Mutex::new((1..=workers).collect()),
        })
    }

    pub(super) fn net(&self) -> &Net {
        &self.net
    }

    fn span(&self, units: u32) -> Nanos {
        Nanos(self.unit.0.saturating_mul(u64::from(units)))
    }

    fn say(&self, caller: &Caller, step: WorkStep) {
        let (downstream, downstream_ordinal) = (caller.peer, caller.ordinal);
        self.net.say(AppRecord::Work { downstream, downstream_ordinal, step });
    }

    /// Waits for `future` until the call's deadline.
    pub(super) async fn in_time<F: Future>(&self, caller: &Caller, future: F) -> Result<F::Output, Status> {
        let Some(deadline) = caller.deadline else { return Ok(future.await) };
        let left = deadline.since(self.net.now());
        let outcome = self.net.timeout(left, Wait::Timeout, future).await;
        outcome.map_err(|_| Status::deadline_exceeded("the deadline passed at the server"))
    }

    /// Takes a job in and waits for a worker.
    pub(super) async fn take(self: &Arc<Self>, caller: &Caller, units: u32) -> Result<Work, Status> {
        if units > MOST_WORK {
            let text = format!("a job of {units} units; {MOST_WORK} at most");
            return Err(Status::invalid_argument(text));
        }
        let mut work = Work {
            shop: Arc::clone(self),
            caller: caller.clone(),
            units,
            done: 0,
            began: None,
            bench: None,
            stop: WorkStop::Gone,
            over: false,
            unwanted: None,
        };
        let permit = match Arc::clone(&self.benches).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => self.queue(&mut work).await?,
        };
        work.begin(permit);
        Ok(work)
    }

    async fn queue(self: &Arc<Self>, work: &mut Work) -> Result<OwnedSemaphorePermit, Status> {
        let ahead = self.waiting.load(Ordering::Relaxed);
        if ahead >= self.room {
            work.over = true;
            self.say(&work.caller, WorkStep::Refused { waiting: ahead });
            let text = format!("{} before this one", count(u64::from(ahead), "call"));
            return Err(Status::resource_exhausted(format!("the queue is full: {text}")));
        }
        self.say(&work.caller, WorkStep::Queued { ahead });
        let _place = Place::take(&self.waiting);
        let benches = Arc::clone(&self.benches);
        match self.in_time(&work.caller, benches.acquire_owned()).await {
            // A worker that is free too late begins nothing.
            Ok(_) if work.caller.deadline.is_some_and(|at| at <= self.net.now()) => {
                work.stop = WorkStop::Deadline;
                Err(Status::deadline_exceeded("the deadline passed in the queue"))
            }
            Ok(permit) => Ok(permit.expect("invariant: the semaphore is never closed")),
            Err(status) => {
                work.stop = WorkStop::Deadline;
                Err(status)
            }
        }
    }
}

/// A place in the queue.
struct Place<'w>(&'w AtomicU32);

impl<'w> Place<'w> {
    fn take(waiting: &'w AtomicU32) -> Place<'w> {
        waiting.fetch_add(1, Ordering::Relaxed);
        Place(waiting)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Work {
    fn begin(&mut self, permit: OwnedSemaphorePermit) {
        let free = || self.shop.free.lock().unwrap_or_else(PoisonError::into_inner);
        let worker = free().pop_first().expect("invariant: as many workers as permits");
        self.bench = Some((worker, permit));
        self.began = Some(self.shop.net.now());
        let (units, takes) = (self.units, self.shop.span(self.units));
        self.shop.say(&self.caller, WorkStep::Begun { worker, units, takes });
    }

    /// Works on: so many units more, or what is left.
    ///
    /// # Errors
    /// The call's deadline has passed; the work is stopped.
    pub(super) async fn go_on(&mut self, units: u32) -> Result<u32, Status> {
        let units = units.min(self.units - self.done);
        let (shop, caller) = (Arc::clone(&self.shop), self.caller.clone());
        let pause = shop.net.sleep(shop.span(units), Wait::ServerThink);
        if let Err(status) = shop.in_time(&caller, pause).await {
            self.stop = WorkStop::Deadline;
            return Err(status);
        }
        self.done += units;
        Ok(self.done)
    }

    /// All is done: the worker is free.
    pub(super) fn finish(mut self) {
        let worked = self.worked();
        let unwanted = self.unwanted.take();
        let since = unwanted.and_then(|at| *at.lock().unwrap_or_else(PoisonError::into_inner));
        let step = match since {
            Some(since) => WorkStep::Wasted { worked, in_vain: self.shop.net.now().since(since).min(worked) },
            None => WorkStep::Done { worked },
        };
        self.over = true;
        self.shop.say(&self.caller, step);
    }

    /// Remembers where it can be read since when nobody waits any more.
    pub(super) fn unless_unwanted(&mut self, at: Arc<Mutex<Option<Time>>>) {
        self.unwanted = Some(at);
    }

    fn worked(&self) -> Nanos {
        self.began.map_or(Nanos::ZERO, |began| self.shop.net.now().since(began))
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if !self.over {
            let (worked, all, why) = (self.worked(), self.shop.span(self.units), self.stop);
            let saved = Nanos(all.0.saturating_sub(worked.0));
            let step = match self.began {
                Some(_) => WorkStep::Stopped { worked, saved, why },
                None => WorkStep::Left { saved, why },
            };
            self.shop.say(&self.caller, step);
        }
        if let Some((worker, permit)) = self.bench.take() {
            self.shop.free.lock().unwrap_or_else(PoisonError::into_inner).insert(worker);
            drop(permit);
        }
    }
}

/// Tells work that goes on by itself when its call is gone.
pub(super) struct Wanted {
    net: Net,
    answered: AtomicBool,
    gone: Arc<Mutex<Option<Time>>>,
}

impl Wanted {
    pub(super) fn new(net: &Net) -> Wanted {
        Wanted { net: net.clone(), answered: AtomicBool::new(false), gone: Arc::default() }
    }

    pub(super) fn gone(&self) -> Arc<Mutex<Option<Time>>> {
        Arc::clone(&self.gone)
    }

    pub(super) fn answered(&self) {
        self.answered.store(true, Ordering::Relaxed);
    }
}

impl Drop for Wanted {
    fn drop(&mut self) {
        if !self.answered.load(Ordering::Relaxed) {
            *self.gone.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.net.now());
        }
    }
}
