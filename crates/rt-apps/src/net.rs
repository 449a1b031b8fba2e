//! [`Net`]: one host as its applications see it. Sockets, clock, dice, tasks, and a way to say what bytes cannot show.
//!
//! A `Net` is a cheap handle (clone it freely) to the host's [`HostCore`]: stack, timers, waiting tasks. The core stands
//! behind a lock that is taken for a moment inside each call and never held across an await; it is there because
//! libraries want `Send`, not because anything runs in parallel.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use ipnet::IpNet;
use rt_base::{AppRecord, EventId, PortId, ReqId, Rng, Signal, Time};
use rt_stack::{EchoAnswer, SocketId, Stack};

use crate::clock::Timers;
use crate::dns::OsResolver;
use crate::executor::{BoxFuture, Forgotten, JoinHandle};
use crate::runtime::is_open;

/// One host's sockets, clock, dice and tasks.
#[derive(Clone)]
pub struct Net(Arc<Mutex<HostCore>>);

/// What all tasks of a host share.
pub(crate) struct HostCore {
    /// The host's stack.
    pub(crate) stack: Stack,
    /// The time of the input being handled.
    pub(crate) now: Time,
    /// The input event being handled: what timers are armed by.
    pub(crate) cause: EventId,
    /// Waits of applications.
    pub(crate) timers: Timers,
    /// Tasks that wait for a socket.
    pub(crate) waiting: BTreeMap<SocketId, Vec<Waker>>,
    /// Tasks spawned since the executor looked last.
    pub(crate) spawned: Vec<BoxFuture<()>>,
    /// Whether anybody listens to what is said.
    pub(crate) recording: bool,
    /// Records not yet in the outbox.
    pub(crate) said: Vec<AppRecord>,
    /// Signals not yet in the outbox.
    pub(crate) signals: Vec<Signal>,
    /// How the machine resolves names.
    pub(crate) resolver: OsResolver,
    /// TCP connections that were open when last looked at.
    pub(crate) open: Vec<SocketId>,
    /// How many things still stand between this host and [`Signal::Ready`].
    pub(crate) holds: u32,
    /// Answers to pings that nobody has asked for yet.
    pub(crate) echoes: Vec<EchoAnswer>,
    /// Whether connections are opened with Fast Open.
    pub(crate) fast_open: bool,
    /// Results of steps that are over, by step.
    pub(crate) results: BTreeMap<u32, crate::StepResult>,
    name: Arc<str>,
    seed: u64,
    epoch: u64,
    requests: u32,
}

impl HostCore {
    pub(crate) fn new(stack: Stack, seed: u64, name: &str, epoch: u64) -> HostCore {
        HostCore {
            stack,
            now: Time::ZERO,
            cause: EventId::NONE,
            timers: Timers::default(),
            waiting: BTreeMap::new(),
            spawned: Vec::new(),
            recording: true,
            said: Vec::new(),
            signals: Vec::new(),
            resolver: OsResolver::default(),
            open: Vec::new(),
            holds: 0,
            echoes: Vec::new(),
            fast_open: false,
            results: BTreeMap::new(),
            name: name.into(),
            seed,
            epoch,
            requests: 0,
        }
    }

    /// Remembers a new connection. The list is swept whenever it would grow, so it stays in proportion to what is open.
    pub(crate) fn note_connection(&mut self, id: SocketId) {
        if self.open.len() == self.open.capacity() {
            let stack = &self.stack;
            self.open.retain(|&id| is_open(stack, id));
        }
        self.open.push(id);
    }

    /// Wakes `waker`'s task when the readiness of `socket` changes.
    pub(crate) fn wait_for(&mut self, socket: SocketId, waker: &Waker) {
        let waiting = self.waiting.entry(socket).or_default();
        if !waiting.iter().any(|w| w.will_wake(waker)) {
            waiting.push(waker.clone());
        }
    }
}

impl Net {
    pub(crate) fn new(core: HostCore) -> Net {
        Net(Arc::new(Mutex::new(core)))
    }

    /// The core, for a moment: never across an await, never while user code runs.
    pub(crate) fn core(&self) -> MutexGuard<'_, HostCore> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Virtual time.
    #[must_use]
    pub fn now(&self) -> Time {
        self.core().now
    }

    /// Civil time: whole seconds since 1970.
    #[must_use]
    pub fn unix_time(&self) -> u64 {
        let core = self.core();
        core.epoch + core.now.0 / 1_000_000_000
    }

    /// Civil time at the start of the run: seconds since 1970.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.core().epoch
    }

    /// The machine's name.
    #[must_use]
    pub fn name(&self) -> Arc<str> {
        Arc::clone(&self.core().name)
    }

    /// A fresh random stream for `purpose`: the same purpose gives the same stream again, so use one per purpose (put
    /// a counter into it where needed).
    #[must_use]
    pub fn rng(&self, purpose: &str) -> Rng {
        let core = self.core();
        Rng::stream(core.seed, &core.name, purpose)
    }

    /// Starts a task. It runs for the first time when the tasks that are ready now have run.
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let (task, handle) = JoinHandle::split(future);
        self.core().spawned.push(task);
        handle
    }

    /// The same for whose end nobody waits.
    pub(crate) fn launch<F>(&self, future: F)
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.core().spawned.push(Box::pin(Forgotten::new(future)));
    }

    /// Starts a service that runs until the end. If it cannot (its port is taken), the record says so.
    pub fn serve<F>(&self, name: &str, service: F)
    where
        F: Future<Output = std::io::Result<()>> + Send + 'static,
    {
        let (net, name) = (self.clone(), name.to_string());
        self.spawn(async move {
            if let Err(error) = service.await {
                let (req, code) = (ReqId(0), "app.failed".to_string());
                net.say(AppRecord::Note { req, code, text: format!("{name}: {error}") });
            }
        });
    }

    /// Records what bytes cannot show.
    pub fn say(&self, record: AppRecord) {
        self.tell(|| record);
    }

    /// Whether anybody listens to what is said.
    pub(crate) fn is_recording(&self) -> bool {
        self.core().recording
    }

    /// The same for what is said so often that it should only be put into words when somebody listens.
    pub(crate) fn tell(&self, record: impl FnOnce() -> AppRecord) {
        // Not under the lock: words may ask for the time.
        if self.core().recording {
            let record = record();
            self.core().said.push(record);
        }
    }

    /// Tells the laboratory something.
    pub fn signal(&self, signal: Signal) {
        self.core().signals.push(signal);
    }

    /// A number for a new request of this machine.
    #[must_use]
    pub fn new_req(&self) -> ReqId {
        let mut core = self.core();
        core.requests += 1;
        ReqId(core.requests)
    }

    /// Keeps the host from signalling [`Signal::Ready`] until the hold is dropped. Take it before the run begins.
    #[must_use]
    pub fn hold_ready(&self) -> ReadyHold {
        self.core().holds += 1;
        ReadyHold(self.clone())
    }

    /// Gives an interface an address (with its connected route).
    pub fn add_address(&self, port: PortId, address: IpNet) {
        self.core().stack.add_address(port, address);
    }

    /// Takes all addresses from an interface.
    pub fn remove_addresses(&self, port: PortId) {
        self.core().stack.remove_addresses(port);
    }

    /// Adds a default route that `from` told us of; returns its index in the machine's table.
    pub fn learn_default_route(&self, out: PortId, via: Ipv4Addr, source: Ipv4Addr, from: String) -> u32 {
        self.core().stack.learn_default_route(out, via, source, from)
    }

    /// The first address of an interface.
    #[must_use]
    pub fn address_of(&self, port: PortId) -> Option<IpAddr> {
        self.core().stack.address_of(port)
    }

    /// The address that this machine would send from to reach `to`.
    #[must_use]
    pub fn source_for(&self, to: IpAddr) -> Option<IpAddr> {
        self.core().stack.source_for(to)
    }

    /// Asks the link whether somebody uses `address` (RFC 5227, 2.1.1); see [`Net::arp_conflict`].
    pub fn arp_probe(&self, port: PortId, address: IpAddr) {
        self.core().stack.arp_probe(port, address);
    }

    /// Tells the link that `address` is ours (RFC 5227, 2.3).
    pub fn arp_announce(&self, port: PortId, address: IpAddr) {
        self.core().stack.arp_announce(port, address);
    }

    /// Whether somebody has claimed `address` since the last probe for it.
    #[must_use]
    pub fn arp_conflict(&self, port: PortId, address: IpAddr) -> bool {
        self.core().stack.arp_conflict(port, address)
    }
}

/// Something that must happen before the host is ready; see [`Net::hold_ready`].
pub struct ReadyHold(Net);

impl Drop for ReadyHold {
    fn drop(&mut self) {
        self.0.core().holds -= 1;
    }
}
