//! Readiness: `poll` and `epoll`.

use super::{Call, Errno, Fd, Machine};

/// `struct pollfd`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PollFd {
    /// Descriptor; negative ones are passed over.
    pub fd: Fd,
    /// What is asked for (`POLLIN`...).
    pub events: i16,
    /// What is.
    pub revents: i16,
}

/// `struct epoll_event`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EpollEvent {
    /// `EPOLLIN`...
    pub events: u32,
    /// What the caller gave with the descriptor.
    pub data: u64,
}

impl Machine {
    /// `poll(fds, n, timeout)`: how many have something to tell. With none and a `timeout_ms` other than 0 it waits; the
    /// caller keeps the time and asks with 0 when it is up.
    pub fn poll(&mut self, fds: &mut [PollFd], timeout_ms: i32) -> Call<usize> {
        let _ = (fds, timeout_ms);
        Call::Done(Err(Errno::ENOSYS))
    }

    /// `epoll_create(size)`.
    ///
    /// # Errors
    /// `EINVAL` for a size below 1.
    pub fn epoll_create(&mut self, size: i32) -> Result<Fd, Errno> {
        let _ = size;
        Err(Errno::ENOSYS)
    }

    /// `epoll_ctl(epfd, op, fd, event)`.
    ///
    /// # Errors
    /// `EEXIST`, `ENOENT`, `EINVAL`, `EBADF`, `EPERM`.
    pub fn epoll_ctl(&mut self, epfd: Fd, op: i32, fd: Fd, event: EpollEvent) -> Result<(), Errno> {
        let _ = (epfd, op, fd, event);
        Err(Errno::ENOSYS)
    }

    /// `epoll_wait(epfd, ..., most, timeout)`: the events, at most `most`. Waits like [`Machine::poll`].
    pub fn epoll_wait(&mut self, epfd: Fd, most: usize, timeout_ms: i32) -> Call<Vec<EpollEvent>> {
        let _ = (epfd, most, timeout_ms);
        Call::Done(Err(Errno::ENOSYS))
    }
}
