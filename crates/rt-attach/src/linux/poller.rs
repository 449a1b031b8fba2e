//! Waiting: for devices, programs and signals.

use std::io;
use std::num::NonZeroU64;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::pipe::PipeFlags;

/// Something that a [`Poller`] can wait for.
pub type Watch<'a> = BorrowedFd<'a>;

/// Waits until something is ready.
#[derive(Debug, Default)]
pub struct Poller {
    ready: Vec<bool>,
}

impl Poller {
    /// A poller that waits for nothing yet. From now on this thread wakes when it asked for, not up to 50 microseconds later
    /// to save wake-ups (`PR_SET_TIMERSLACK`); programs started later inherit that.
    #[must_use]
    pub fn new() -> Poller {
        // Where it is refused, waiting is as exact as it was.
        let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
        Poller::default()
    }

    /// Waits until one of `watched` is ready, the time is over, or a signal came; says which are ready, in the same order.
    /// Without a timeout it waits for ever. The timeout is kept to the nanosecond as far as the kernel's timers allow.
    ///
    /// # Errors
    ///
    /// The kernel refuses (out of memory).
    pub fn wait(&mut self, watched: &[Watch<'_>], timeout: Option<Duration>) -> io::Result<&[bool]> {
        let timeout = timeout.map(|t| Timespec {
            tv_sec: i64::try_from(t.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(t.subsec_nanos()),
        });
        self.ready.clear();
        self.ready.resize(watched.len(), false);
        // Nearly always a handful, for which nothing is allocated.
        let mut few: [PollFd<'_>; FEW];
        let mut many;
        let fds: &mut [PollFd<'_>] = match (watched.first(), watched.len()) {
            (Some(first), ..=FEW) => {
                few = std::array::from_fn(|i| {
                    PollFd::from_borrowed_fd(*watched.get(i).unwrap_or(first), PollFlags::IN)
                });
                &mut few[..watched.len()]
            }
            _ => {
                many =
                    watched.iter().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect::<Vec<_>>();
                &mut many
            }
        };
        match rustix::event::poll(fds, timeout.as_ref()) {
            Ok(_) => {
                for (ready, fd) in self.ready.iter_mut().zip(fds) {
                    *ready = !fd.revents().is_empty();
                }
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(&self.ready)
    }
}

/// As many as a poller takes without allocating.
const FEW: usize = 8;

/// Ctrl-C and its like as something to wait for, instead of the end of this process. One at a time.
#[derive(Debug)]
pub struct Interrupts {
    news: OwnedFd,
    /// Kept open, since the handler writes to it.
    _said: OwnedFd,
    before: Vec<(i32, libc::sigaction)>,
}

const CAUGHT: [i32; 4] = [libc::SIGINT, libc::SIGQUIT, libc::SIGTERM, libc::SIGHUP];

/// Where the handler writes; -1 when nobody listens.
static PIPE: AtomicI32 = AtomicI32::new(-1);

extern "C" fn caught(signal: i32) {
    let fd: RawFd = PIPE.load(Ordering::Relaxed);
    if fd >= 0 {
        // SAFETY: the descriptor is open while the handler is installed (`Interrupts` owns it).
        let fd = unsafe { BorrowedFd::borrow_raw(fd) };
        // A full pipe is no loss: there is a signal to be taken already. A direct system call: `errno` stays as it was.
        let _ = rustix::io::write(fd, &[u8::try_from(signal).unwrap_or_default()]);
    }
}

impl Interrupts {
    /// From now on, SIGINT, SIGQUIT, SIGTERM and SIGHUP are kept for [`take`](Interrupts::take). A SIGHUP that this process
    /// ignores stays ignored (`nohup`); the others are taken even so, since a shell without job control has what it starts in the
    /// background ignore SIGINT, and `kill -INT` could not end it. Programs in guests get them as usual.
    ///
    /// # Errors
    ///
    /// There is one already, or the kernel refuses.
    pub fn catch() -> io::Result<Interrupts> {
        let (news, said) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        let raw = std::os::fd::AsRawFd::as_raw_fd(&said);
        if PIPE.compare_exchange(-1, raw, Ordering::SeqCst, Ordering::SeqCst).is_err() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "signals are being caught already"));
        }
        let mut interrupts = Interrupts { news, _said: said, before: Vec::new() };
        for signal in CAUGHT {
            // SAFETY: zeroes are a valid action; the handler only does what a handler may; both structures are ours.
            unsafe {
                let mut before: libc::sigaction = std::mem::zeroed();
                libc::sigaction(signal, std::ptr::null(), &raw mut before);
                if before.sa_sigaction != libc::SIG_IGN || signal != libc::SIGHUP {
                    let mut action: libc::sigaction = std::mem::zeroed();
                    action.sa_sigaction = caught as *const () as usize;
                    action.sa_flags = libc::SA_RESTART;
                    libc::sigaction(signal, &raw const action, std::ptr::null_mut());
                    interrupts.before.push((signal, before));
                }
            }
        }
        Ok(interrupts)
    }

    /// The signal that has come since the last call, if any.
    pub fn take(&mut self) -> Option<i32> {
        let mut signal = [0u8; 1];
        match rustix::io::read(&self.news, &mut signal[..]) {
            Ok(1) => Some(i32::from(signal[0])),
            _ => None,
        }
    }

    /// To be handed to a [`Poller`]: ready when a signal has come.
    #[must_use]
    pub fn watch(&self) -> Watch<'_> {
        self.news.as_fd()
    }
}

impl Drop for Interrupts {
    fn drop(&mut self) {
        for (signal, before) in &self.before {
            // SAFETY: gives back what `sigaction` gave us.
            unsafe { libc::sigaction(*signal, std::ptr::from_ref(before), std::ptr::null_mut()) };
        }
        PIPE.store(-1, Ordering::SeqCst);
    }
}
