//! One host as a C program sees it: descriptors, socket calls, options, errno, sysctls, over `rt-stack`, with a virtual
//! clock and a wire on which IPv4 packets are put and taken.
//!
//! Both packetdrills (our interpreter and the original tool, through `rt-packetdrill`) drive it. Main type: [`Machine`].
//! Not for: what a script says (`language`), whether it came true (`runner`).
//!
//! # How to drive it
//!
//! - Time stands still unless [`Machine::run_until`] (or [`Machine::run_to_packet`]) moves it; on the way every timer fires
//!   at its own time.
//! - [`Machine::inject`] puts a packet on the wire towards the machine, now. What the machine sends can be taken with
//!   [`Machine::take_packet`], each with the time at which it left.
//! - Calls happen now. One that would block on a blocking descriptor says [`Call::Pending`] and has done what it could
//!   (part of a long write, the SYN of a connect): move time, inject, and call again with the same arguments.
//!
//! # Simplifications
//!
//! IPv4 only. Descriptors count up and are not used twice.

mod calls;
mod errno;
pub mod numbers;
mod options;
mod poll;
mod settings;

use std::net::{Ipv4Addr, SocketAddrV4};

use rt_base::Time;

pub use errno::Errno;
pub use poll::{EpollEvent, PollFd};
pub use settings::{Applied, SettingError, Settings};

/// A descriptor of the machine; the first is 3.
pub type Fd = i32;

/// How a call that may block ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Call<T> {
    /// It is over.
    Done(Result<T, Errno>),
    /// The descriptor is blocking and the call waits: call again, with the same arguments, when something has happened.
    Pending,
}

impl<T> Call<T> {
    /// The result of a call that must not wait: waiting is `EAGAIN`.
    ///
    /// # Errors
    /// What the call says, or `EAGAIN`.
    pub fn now(self) -> Result<T, Errno> {
        match self {
            Call::Done(result) => result,
            Call::Pending => Err(Errno::EAGAIN),
        }
    }
}

/// An IPv4 packet that the machine has sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Emitted {
    /// When it left.
    pub at: Time,
    /// From the IPv4 header on.
    pub bytes: Vec<u8>,
}

/// What a receiving call found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Received {
    /// Bytes copied; 0 at the end of a stream. With `MSG_TRUNC` the whole length of a datagram.
    pub len: usize,
    /// Who sent it (datagrams only).
    pub from: Option<SocketAddrV4>,
}

/// One host with a virtual clock, a wire and descriptors.
#[derive(Debug)]
pub struct Machine {
    settings: Settings,
    now: Time,
}

/// The machine, its clock and its wire.
impl Machine {
    /// A machine that has just booted, at time zero.
    #[must_use]
    pub fn new(settings: Settings) -> Machine {
        Machine { settings, now: Time::ZERO }
    }

    /// What it is set to.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// A sysctl while it runs. As on a real machine most concern connections that begin later.
    ///
    /// # Errors
    /// As [`Settings::set`].
    pub fn set(&mut self, name: &str, value: &str) -> Result<Applied, SettingError> {
        self.settings.set(name, value)
    }

    /// Gives the machine a further address.
    pub fn add_address(&mut self, address: Ipv4Addr) {
        let _ = address;
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Time {
        self.now
    }

    /// When the next timer is due; `Time::MAX` for never. It may be early, never late.
    #[must_use]
    pub fn next_deadline(&self) -> Time {
        Time::MAX
    }

    /// Moves time to `until`. Every timer on the way fires at its own time.
    pub fn run_until(&mut self, until: Time) {
        self.now = self.now.max(until);
    }

    /// Moves time until there is a packet to take, at most to `limit`; says whether there is one. Without one the time
    /// is `limit` afterwards, or, when no timer is left at all, that of the last timer.
    pub fn run_to_packet(&mut self, limit: Time) -> bool {
        self.run_until(limit);
        false
    }

    /// An IPv4 packet arrives, now. Anything may be in it.
    pub fn inject(&mut self, packet: &[u8]) {
        let _ = packet;
    }

    /// The next packet that the machine has sent, in order.
    pub fn take_packet(&mut self) -> Option<Emitted> {
        None
    }

    /// The same without taking it.
    #[must_use]
    pub fn peek_packet(&self) -> Option<&Emitted> {
        None
    }
}
