//! Readiness: `poll` and `epoll`.
//!
//! Edges of an edge-triggered `epoll` are the moments at which the stack wakes the socket.

use rt_base::TcpPhase;

use super::descriptor::{Epoll, Interest, Kind, PIPE_CAPACITY, Stream, TcpDescriptor};
use super::numbers as n;
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
        let mut telling = 0;
        for entry in fds.iter_mut() {
            entry.revents = 0;
            if entry.fd < 0 {
                continue;
            }
            let asked = i32::from(entry.events) | n::POLLERR | n::POLLHUP | n::POLLNVAL;
            // All poll bits fit into 16.
            entry.revents = (self.readiness(entry.fd) & asked) as i16;
            telling += usize::from(entry.revents != 0);
        }
        if telling == 0 && timeout_ms != 0 { Call::Pending } else { Call::Done(Ok(telling)) }
    }

    /// Poll bits of a descriptor.
    fn readiness(&self, fd: Fd) -> i32 {
        let Ok(descriptor) = self.table.get(fd) else { return n::POLLNVAL };
        match &descriptor.kind {
            Kind::Tcp(tcp) => self.tcp_readiness(tcp),
            Kind::Udp(udp) => {
                let waiting = !udp.peeked.is_empty() || udp.id.is_some_and(|id| self.stack.is_readable(id));
                n::POLLOUT | n::POLLWRNORM | if waiting { n::POLLIN | n::POLLRDNORM } else { 0 }
            }
            Kind::PipeReader(pipe) if pipe.bytes.is_empty() => 0,
            Kind::PipeReader(_) => n::POLLIN | n::POLLRDNORM,
            Kind::PipeWriter { reader } => match self.table.get(*reader).map(|d| &d.kind) {
                Ok(Kind::PipeReader(pipe)) if pipe.bytes.len() >= PIPE_CAPACITY => 0,
                Ok(Kind::PipeReader(_)) => n::POLLOUT | n::POLLWRNORM,
                _ => n::POLLOUT | n::POLLWRNORM | n::POLLERR,
            },
            Kind::Epoll(_) => 0,
        }
    }

    /// As `tcp_poll` of Linux.
    fn tcp_readiness(&self, tcp: &TcpDescriptor) -> i32 {
        let (input, output) = (n::POLLIN | n::POLLRDNORM, n::POLLOUT | n::POLLWRNORM);
        let id = match tcp.stream {
            Stream::Fresh => return n::POLLHUP | output,
            Stream::Listening(id) => return if self.stack.is_readable(id) { input } else { 0 },
            Stream::Open(id) => id,
        };
        let phase = self.stack.tcp_phase(id);
        let ended = matches!(
            phase,
            TcpPhase::CloseWait
                | TcpPhase::LastAck
                | TcpPhase::Closing
                | TcpPhase::TimeWait
                | TcpPhase::Closed
        );
        let no_reading = ended || tcp.shut_read;
        let no_writing = tcp.shut_write || phase == TcpPhase::Closed;
        let mut ready = 0;
        if (no_reading && no_writing) || phase == TcpPhase::Closed {
            ready |= n::POLLHUP;
        }
        if no_reading {
            ready |= input | n::POLLRDHUP;
        }
        if !matches!(phase, TcpPhase::SynSent | TcpPhase::SynReceived) || self.is_fast_open(id) {
            if self.stack.tcp_unread(id) > 0 {
                ready |= input;
            }
            if no_writing || self.stack.is_writable(id) {
                ready |= output;
            }
        } else if self.is_deferred(id) {
            ready |= output;
        }
        if !tcp.error_told && self.stack.has_error(id) {
            ready |= n::POLLERR;
        }
        ready
    }

    /// `epoll_create(size)`.
    ///
    /// # Errors
    /// `EINVAL` for a size below 1.
    pub fn epoll_create(&mut self, size: i32) -> Result<Fd, Errno> {
        if size < 1 {
            return Err(Errno::EINVAL);
        }
        self.table.insert(Kind::Epoll(Epoll::default()), false)
    }

    /// `epoll_ctl(epfd, op, fd, event)`.
    ///
    /// # Errors
    /// `EEXIST`, `ENOENT`, `EINVAL`, `EBADF`.
    pub fn epoll_ctl(&mut self, epfd: Fd, op: i32, fd: Fd, event: EpollEvent) -> Result<(), Errno> {
        self.table.get(fd)?;
        let Kind::Epoll(epoll) = &mut self.table.get_mut(epfd)?.kind else { return Err(Errno::EINVAL) };
        if epfd == fd {
            return Err(Errno::EINVAL);
        }
        let interest = Interest { events: event.events, data: event.data, told: None, spent: false };
        match (op, epoll.interests.contains_key(&fd)) {
            (n::EPOLL_CTL_ADD, true) => return Err(Errno::EEXIST),
            (n::EPOLL_CTL_ADD, false) | (n::EPOLL_CTL_MOD, true) => {
                epoll.interests.insert(fd, interest);
            }
            (n::EPOLL_CTL_DEL, true) => {
                epoll.interests.remove(&fd);
            }
            (n::EPOLL_CTL_MOD | n::EPOLL_CTL_DEL, false) => return Err(Errno::ENOENT),
            _ => return Err(Errno::EINVAL),
        }
        Ok(())
    }

    /// `epoll_wait(epfd, ..., most, timeout)`: the events, at most `most`. Waits like [`Machine::poll`].
    pub fn epoll_wait(&mut self, epfd: Fd, most: usize, timeout_ms: i32) -> Call<Vec<EpollEvent>> {
        let interests = match self.table.get(epfd).map(|d| &d.kind) {
            Err(errno) => return Call::Done(Err(errno)),
            Ok(Kind::Epoll(epoll)) if most > 0 => epoll.interests.clone(),
            Ok(_) => return Call::Done(Err(Errno::EINVAL)),
        };
        let mut found = Vec::new();
        for (fd, mut interest) in interests {
            let asked = interest.events | (n::EPOLLERR | n::EPOLLHUP) as u32;
            let ready = self.readiness(fd) as u32 & asked;
            let edge = self.edges_of(fd);
            let edged = interest.events & n::EPOLLET as u32 != 0;
            if ready == 0 || interest.spent || (edged && interest.told == Some(edge)) || found.len() >= most {
                continue;
            }
            interest.told = Some(edge);
            interest.spent = interest.events & n::EPOLLONESHOT as u32 != 0;
            found.push(EpollEvent { events: ready, data: interest.data });
            if let Ok(Kind::Epoll(epoll)) = self.table.get_mut(epfd).map(|d| &mut d.kind) {
                epoll.interests.insert(fd, interest);
            }
        }
        if found.is_empty() && timeout_ms != 0 { Call::Pending } else { Call::Done(Ok(found)) }
    }

    fn edges_of(&self, fd: Fd) -> u64 {
        match self.table.get(fd).map(|d| &d.kind) {
            Ok(Kind::Tcp(tcp)) => match tcp.stream {
                Stream::Fresh => 0,
                Stream::Listening(id) | Stream::Open(id) => self.table.edges(id) + 1,
            },
            Ok(Kind::Udp(udp)) => udp.id.map_or(0, |id| self.table.edges(id)),
            _ => 0,
        }
    }
}
