//! Socket calls with C semantics.

use std::net::SocketAddrV4;

use super::{Call, Errno, Fd, Machine, Received};

/// Making and undoing descriptors.
impl Machine {
    /// `socket(domain, kind, protocol)`; `kind` may have `SOCK_NONBLOCK` and `SOCK_CLOEXEC` in it.
    ///
    /// # Errors
    /// `EAFNOSUPPORT` for anything but IPv4, `EPROTONOSUPPORT`, `ESOCKTNOSUPPORT`.
    pub fn socket(&mut self, domain: i32, kind: i32, protocol: i32) -> Result<Fd, Errno> {
        let _ = (domain, kind, protocol);
        Err(Errno::ENOSYS)
    }

    /// `close(fd)`. With `SO_LINGER` it may wait.
    pub fn close(&mut self, fd: Fd) -> Call<()> {
        let _ = fd;
        Call::Done(Err(Errno::ENOSYS))
    }

    /// `pipe()`: (the end to read, the end to write).
    ///
    /// # Errors
    /// `EMFILE`.
    pub fn pipe(&mut self) -> Result<(Fd, Fd), Errno> {
        Err(Errno::ENOSYS)
    }
}

/// Names and connections.
impl Machine {
    /// `bind(fd, local)`.
    ///
    /// # Errors
    /// `EADDRINUSE`, `EADDRNOTAVAIL`, `EINVAL` when it is bound already.
    pub fn bind(&mut self, fd: Fd, local: SocketAddrV4) -> Result<(), Errno> {
        let _ = (fd, local);
        Err(Errno::ENOSYS)
    }

    /// `listen(fd, backlog)`.
    ///
    /// # Errors
    /// `EADDRINUSE`, `EINVAL` for a connected socket, `EOPNOTSUPP`.
    pub fn listen(&mut self, fd: Fd, backlog: i32) -> Result<(), Errno> {
        let _ = (fd, backlog);
        Err(Errno::ENOSYS)
    }

    /// `accept4(fd, ..., flags)`: the new descriptor and the peer.
    pub fn accept(&mut self, fd: Fd, flags: i32) -> Call<(Fd, SocketAddrV4)> {
        let _ = (fd, flags);
        Call::Done(Err(Errno::ENOSYS))
    }

    /// `connect(fd, to)`; `None` for an address of family `AF_UNSPEC`, which dissolves the connection.
    pub fn connect(&mut self, fd: Fd, to: Option<SocketAddrV4>) -> Call<()> {
        let _ = (fd, to);
        Call::Done(Err(Errno::ENOSYS))
    }

    /// `shutdown(fd, how)`.
    ///
    /// # Errors
    /// `ENOTCONN`, `EINVAL`.
    pub fn shutdown(&mut self, fd: Fd, how: i32) -> Result<(), Errno> {
        let _ = (fd, how);
        Err(Errno::ENOSYS)
    }

    /// `getsockname(fd)`.
    ///
    /// # Errors
    /// `EBADF`, `ENOTSOCK`.
    pub fn local_name(&self, fd: Fd) -> Result<SocketAddrV4, Errno> {
        let _ = fd;
        Err(Errno::ENOSYS)
    }

    /// `getpeername(fd)`.
    ///
    /// # Errors
    /// `ENOTCONN`, `EBADF`, `ENOTSOCK`.
    pub fn peer_name(&self, fd: Fd) -> Result<SocketAddrV4, Errno> {
        let _ = fd;
        Err(Errno::ENOSYS)
    }
}

/// Data.
impl Machine {
    /// `send`, `sendto`, `write` (flags 0), and with concatenated buffers `writev` and `sendmsg`. `to` is the destination
    /// of `sendto` (a connect at the same time with `MSG_FASTOPEN`).
    pub fn send(&mut self, fd: Fd, bytes: &[u8], flags: i32, to: Option<SocketAddrV4>) -> Call<usize> {
        let _ = (fd, bytes, flags, to);
        Call::Done(Err(Errno::ENOSYS))
    }

    /// `recv`, `recvfrom`, `read` (flags 0), and with buffers to be filled one after the other `readv` and `recvmsg`.
    pub fn recv(&mut self, fd: Fd, into: &mut [u8], flags: i32) -> Call<Received> {
        let _ = (fd, into, flags);
        Call::Done(Err(Errno::ENOSYS))
    }

    /// `splice(from, NULL, to, NULL, len, flags)` between a pipe and a socket.
    pub fn splice(&mut self, from: Fd, to: Fd, len: usize, flags: i32) -> Call<usize> {
        let _ = (from, to, len, flags);
        Call::Done(Err(Errno::ENOSYS))
    }
}
