//! Options of descriptors: `fcntl`, `ioctl`, `getsockopt`, `setsockopt`, with Linux's numbers and layouts.

use super::{Errno, Fd, Machine};

impl Machine {
    /// `fcntl(fd, F_GETFL)` and `fcntl(fd, F_SETFL, argument)`.
    ///
    /// # Errors
    /// `EBADF`, `EINVAL` for other commands.
    pub fn fcntl(&mut self, fd: Fd, command: i32, argument: i32) -> Result<i32, Errno> {
        let _ = (fd, command, argument);
        Err(Errno::ENOSYS)
    }

    /// `ioctl(fd, request, &int)` for requests that give a number (`SIOCINQ`, `SIOCOUTQ`, `SIOCOUTQNSD`) and `FIONBIO`,
    /// which takes `argument`.
    ///
    /// # Errors
    /// `EBADF`, `ENOTTY`, `EINVAL` (`SIOCINQ` of a listener).
    pub fn ioctl(&mut self, fd: Fd, request: u64, argument: i32) -> Result<i32, Errno> {
        let _ = (fd, request, argument);
        Err(Errno::ENOSYS)
    }

    /// `getsockopt(fd, level, name, ..., &len)`: the value as the bytes that Linux gives (native byte order), at most `len`
    /// of them.
    ///
    /// # Errors
    /// `EBADF`, `ENOTSOCK`, `ENOPROTOOPT`, `EINVAL`.
    pub fn getsockopt(&mut self, fd: Fd, level: i32, name: i32, len: usize) -> Result<Vec<u8>, Errno> {
        let _ = (fd, level, name, len);
        Err(Errno::ENOSYS)
    }

    /// `setsockopt(fd, level, name, value, len)`.
    ///
    /// # Errors
    /// `EBADF`, `ENOTSOCK`, `ENOPROTOOPT`, `EINVAL`.
    pub fn setsockopt(&mut self, fd: Fd, level: i32, name: i32, value: &[u8]) -> Result<(), Errno> {
        let _ = (fd, level, name, value);
        Err(Errno::ENOSYS)
    }
}
