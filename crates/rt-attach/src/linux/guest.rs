//! A running guest, as its caller holds it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::SendFlags;
use rustix::process::{Signal, WaitId, WaitIdOptions};
use rustix::termios::{self, OptionalActions, Termios};

use super::device::Device;
use super::init::SIGNAL;
use super::sys::Blocked;
use crate::Watch;

/// A running guest. Dropping it kills whatever runs in it and waits until it is gone.
#[derive(Debug)]
pub struct Guest {
    /// Its network interfaces, in the order of the plan; none for a guest that was [joined](crate::join).
    pub devices: Vec<Device>,
    /// What could not be had and was done without, in words: things to say with `--verbose`.
    pub notes: Vec<String>,
    pub(super) process: Process,
    pub(super) terminal: Option<Terminal>,
}

/// The first process of a guest; dies with its holder.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) pid: u32,
    pub(super) pidfd: OwnedFd,
    pub(super) control: OwnedFd,
    pub(super) code: Option<i32>,
}

impl Guest {
    /// The guest's first process, as seen from here: what [`join`](crate::join) takes.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid
    }

    /// The exit code of the program if it has ended: its own, or 128 + n when signal n ended it. Never blocks; the
    /// answer stays the same once there is one. When it has ended, nothing of the guest runs any more.
    ///
    /// # Errors
    ///
    /// The guest cannot be waited for (somebody else has reaped it).
    pub fn try_wait(&mut self) -> io::Result<Option<i32>> {
        let code = self.process.wait(WaitIdOptions::NOHANG)?;
        if code.is_some() {
            // The terminal is ours again, in the state in which the program found it.
            self.terminal = None;
        }
        Ok(code)
    }

    /// Sends a signal to the program (not to its children).
    ///
    /// # Errors
    ///
    /// The guest has ended.
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        let number = u8::try_from(signal).map_err(|_| Errno::INVAL)?;
        // The other end of `control` may be open for a moment longer: another guest that began just now has a copy until it runs
        // its program.
        let mut ended = [PollFd::new(&self.process.pidfd, PollFlags::IN)];
        if rustix::event::poll(&mut ended, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))? > 0 {
            return Err(Errno::SRCH.into());
        }
        rustix::net::send(&self.process.control, &[SIGNAL, number], SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// Kills everything in the guest at once. [`try_wait`](Guest::try_wait) then gives 137.
    ///
    /// # Errors
    ///
    /// The guest cannot be signalled.
    pub fn kill(&mut self) -> io::Result<()> {
        self.process.kill()
    }

    /// To be handed to a [`Poller`](crate::Poller): ready when the guest has ended.
    #[must_use]
    pub fn watch(&self) -> Watch<'_> {
        self.process.pidfd.as_fd()
    }
}

impl AsFd for Guest {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.process.pidfd.as_fd()
    }
}

/// `__WALL`: also children that end without a signal, which guests are.
pub(super) const SILENT: WaitIdOptions = WaitIdOptions::from_bits_retain(0x4000_0000);

impl Process {
    fn wait(&mut self, options: WaitIdOptions) -> io::Result<Option<i32>> {
        if self.code.is_none() {
            let id = WaitId::PidFd(self.pidfd.as_fd());
            let status = loop {
                match rustix::process::waitid(id.clone(), options | WaitIdOptions::EXITED | SILENT) {
                    Err(Errno::INTR) => {}
                    other => break other?,
                }
            };
            self.code =
                status.and_then(|s| s.exit_status().or_else(|| s.terminating_signal().map(|n| 128 + n)));
        }
        Ok(self.code)
    }

    pub(super) fn kill(&mut self) -> io::Result<()> {
        if self.code.is_none() {
            rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL)?;
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.kill();
        let _ = self.wait(WaitIdOptions::empty());
    }
}

/// The terminal that a program was given: taken back on drop, as it was.
#[derive(Debug)]
pub(super) struct Terminal {
    fd: OwnedFd,
    modes: Termios,
}

impl Terminal {
    /// The terminal on our standard input, if we are in its foreground: the program then is too, since it stays in our
    /// process group.
    pub(super) fn lend() -> Option<Terminal> {
        let stdin = rustix::stdio::stdin();
        let modes = termios::tcgetattr(stdin).ok()?;
        let foreground = termios::tcgetpgrp(stdin).ok()? == rustix::process::getpgrp();
        let fd = rustix::io::fcntl_dupfd_cloexec(stdin, 3).ok()?;
        foreground.then_some(Terminal { fd, modes })
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // A shell inside may have left itself in the foreground; whoever is not there is stopped for asking, unless deaf.
        let _deaf = Blocked::all();
        if termios::tcgetpgrp(&self.fd) != Ok(rustix::process::getpgrp()) {
            let _ = termios::tcsetpgrp(&self.fd, rustix::process::getpgrp());
        }
        let _ = termios::tcsetattr(&self.fd, OptionalActions::Now, &self.modes);
    }
}
