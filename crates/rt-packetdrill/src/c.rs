//! What C calls things: the table of packetdrill's interface, and the structures that go through it.

use std::ffi::{c_char, c_int, c_long, c_longlong, c_short, c_uint, c_ulong, c_void};
use std::net::{Ipv4Addr, SocketAddrV4};

use rt_drill::machine::{Errno, numbers as n};

/// `struct sockaddr_in`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SockAddrIn {
    /// `AF_INET`.
    pub family: u16,
    /// Port, big-endian.
    pub port: [u8; 2],
    /// Address, big-endian.
    pub addr: [u8; 4],
    /// Padding.
    pub zero: [u8; 8],
}

impl From<SocketAddrV4> for SockAddrIn {
    fn from(address: SocketAddrV4) -> SockAddrIn {
        SockAddrIn {
            family: n::AF_INET as u16,
            port: address.port().to_be_bytes(),
            addr: address.ip().octets(),
            zero: [0; 8],
        }
    }
}

/// Reads a socket address: `None` for family `AF_UNSPEC`.
///
/// # Safety
/// `address` is null or points to `len` readable bytes.
pub(crate) unsafe fn read_address(address: *const c_void, len: u32) -> Result<Option<SocketAddrV4>, Errno> {
    if address.is_null() {
        return Err(Errno::EFAULT);
    }
    if len < 2 {
        return Err(Errno::EINVAL);
    }
    // SAFETY: at least two bytes are readable, says the caller.
    let family = unsafe { address.cast::<u16>().read_unaligned() };
    match i32::from(family) {
        n::AF_UNSPEC => Ok(None),
        n::AF_INET if (len as usize) < size_of::<SockAddrIn>() => Err(Errno::EINVAL),
        n::AF_INET => {
            // SAFETY: as many bytes as the structure has are readable, says the caller by `len`.
            let read = unsafe { address.cast::<SockAddrIn>().read_unaligned() };
            Ok(Some(SocketAddrV4::new(Ipv4Addr::from(read.addr), u16::from_be_bytes(read.port))))
        }
        _ => Err(Errno::EAFNOSUPPORT),
    }
}

/// Writes a socket address as `accept` does: as much as there is room for, and the whole length.
///
/// # Safety
/// `to` is null or points to `*len` writable bytes; `len` is null or points to a length.
pub(crate) unsafe fn write_address(address: SocketAddrV4, to: *mut c_void, len: *mut u32) {
    if to.is_null() || len.is_null() {
        return;
    }
    let whole = SockAddrIn::from(address);
    let size = size_of::<SockAddrIn>();
    // SAFETY: `len` points to a length, and that many bytes at `to` are writable, says the caller.
    unsafe {
        let room = (len.read() as usize).min(size);
        to.cast::<u8>().copy_from_nonoverlapping((&raw const whole).cast::<u8>(), room);
        len.write(size as u32);
    }
}

/// `struct iovec`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct IoVec {
    /// First byte.
    pub base: *mut c_void,
    /// Bytes.
    pub len: usize,
}

/// `struct msghdr`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct MsgHdr {
    /// Address.
    pub name: *mut c_void,
    /// Its bytes.
    pub namelen: u32,
    /// Buffers.
    pub iov: *mut IoVec,
    /// How many.
    pub iovlen: usize,
    /// Ancillary data.
    pub control: *mut c_void,
    /// Its bytes.
    pub controllen: usize,
    /// `MSG_TRUNC`...
    pub flags: c_int,
}

/// `struct pollfd`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct PollFd {
    /// Descriptor.
    pub fd: c_int,
    /// What is asked for.
    pub events: c_short,
    /// What is.
    pub revents: c_short,
}

/// `struct epoll_event`, packed on x86-64 as Linux has it.
#[cfg_attr(target_arch = "x86_64", repr(C, packed))]
#[cfg_attr(not(target_arch = "x86_64"), repr(C))]
#[derive(Clone, Copy, Debug)]
pub struct EpollEvent {
    /// `EPOLLIN`...
    pub events: u32,
    /// What the caller gave.
    pub data: u64,
}

/// `struct timeval`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TimeVal {
    /// Seconds.
    pub sec: c_long,
    /// Microseconds.
    pub usec: c_long,
}

/// The bytes of all buffers, one after the other.
///
/// # Safety
/// `iov` is null or points to `count` buffers whose bytes are readable.
pub(crate) unsafe fn gather(iov: *const IoVec, count: usize) -> Result<Vec<u8>, Errno> {
    let mut bytes = Vec::new();
    // SAFETY: the caller's promise.
    for vec in unsafe { vectors(iov, count)? } {
        if vec.len > 0 && vec.base.is_null() {
            return Err(Errno::EFAULT);
        }
        if vec.len > 0 {
            // SAFETY: not null, and readable by the caller's promise.
            bytes.extend_from_slice(unsafe { std::slice::from_raw_parts(vec.base.cast::<u8>(), vec.len) });
        }
    }
    Ok(bytes)
}

/// Room in all buffers together.
///
/// # Safety
/// `iov` is null or points to `count` buffers.
pub(crate) unsafe fn room(iov: *const IoVec, count: usize) -> Result<usize, Errno> {
    // SAFETY: the caller's promise.
    let vectors = unsafe { vectors(iov, count)? };
    Ok(vectors.iter().fold(0, |sum, vec| vec.len.saturating_add(sum)))
}

/// Spreads `bytes` over the buffers.
///
/// # Safety
/// `iov` is null or points to `count` buffers whose bytes are writable.
pub(crate) unsafe fn scatter(bytes: &[u8], iov: *const IoVec, count: usize) -> Result<(), Errno> {
    let mut rest = bytes;
    // SAFETY: the caller's promise.
    for vec in unsafe { vectors(iov, count)? } {
        let (now, later) = rest.split_at(vec.len.min(rest.len()));
        if !now.is_empty() {
            if vec.base.is_null() {
                return Err(Errno::EFAULT);
            }
            // SAFETY: not null, and writable for `vec.len >= now.len()` bytes by the caller's promise.
            unsafe { vec.base.cast::<u8>().copy_from_nonoverlapping(now.as_ptr(), now.len()) };
        }
        rest = later;
    }
    Ok(())
}

/// # Safety
/// `iov` is null or points to `count` buffers.
unsafe fn vectors<'a>(iov: *const IoVec, count: usize) -> Result<&'a [IoVec], Errno> {
    /// `UIO_MAXIOV`.
    const MOST: usize = 1_024;
    match count {
        0 => Ok(&[]),
        _ if iov.is_null() => Err(Errno::EFAULT),
        1..=MOST => {
            // SAFETY: not null, and `count` long by the caller's promise.
            Ok(unsafe { std::slice::from_raw_parts(iov, count) })
        }
        _ => Err(Errno::EMSGSIZE),
    }
}

unsafe extern "C" {
    fn __errno_location() -> *mut c_int;
}

/// Sets the calling thread's `errno`.
pub(crate) fn set_errno(errno: Errno) {
    // SAFETY: the C library gives the address of the calling thread's own variable.
    unsafe { __errno_location().write(errno.0) };
}

type UserData = *mut c_void;
type Fd = c_int;

/// `struct packetdrill_interface`: the tool gives it empty, and calls what it finds in it afterwards.
#[repr(C)]
#[allow(missing_docs, reason = "the names are those of the C functions")]
#[derive(Clone, Copy)]
pub struct Interface {
    /// Given back with every call.
    pub userdata: UserData,
    pub free: unsafe extern "C" fn(UserData),
    pub socket: unsafe extern "C" fn(UserData, c_int, c_int, c_int) -> c_int,
    pub bind: unsafe extern "C" fn(UserData, Fd, *const c_void, u32) -> c_int,
    pub listen: unsafe extern "C" fn(UserData, Fd, c_int) -> c_int,
    pub accept: unsafe extern "C" fn(UserData, Fd, *mut c_void, *mut u32) -> c_int,
    pub connect: unsafe extern "C" fn(UserData, Fd, *const c_void, u32) -> c_int,
    pub read: unsafe extern "C" fn(UserData, Fd, *mut c_void, usize) -> isize,
    pub readv: unsafe extern "C" fn(UserData, Fd, *const IoVec, c_int) -> isize,
    pub recv: unsafe extern "C" fn(UserData, Fd, *mut c_void, usize, c_int) -> isize,
    pub recvfrom:
        unsafe extern "C" fn(UserData, Fd, *mut c_void, usize, c_int, *mut c_void, *mut u32) -> isize,
    pub recvmsg: unsafe extern "C" fn(UserData, Fd, *mut MsgHdr, c_int) -> isize,
    pub write: unsafe extern "C" fn(UserData, Fd, *const c_void, usize) -> isize,
    pub writev: unsafe extern "C" fn(UserData, Fd, *const IoVec, c_int) -> isize,
    pub send: unsafe extern "C" fn(UserData, Fd, *const c_void, usize, c_int) -> isize,
    pub sendto: unsafe extern "C" fn(UserData, Fd, *const c_void, usize, c_int, *const c_void, u32) -> isize,
    pub sendmsg: unsafe extern "C" fn(UserData, Fd, *const MsgHdr, c_int) -> isize,
    pub fcntl: unsafe extern "C" fn(UserData, Fd, c_int, c_long) -> c_int,
    pub ioctl: unsafe extern "C" fn(UserData, Fd, c_ulong, *mut c_int) -> c_int,
    pub close: unsafe extern "C" fn(UserData, Fd) -> c_int,
    pub shutdown: unsafe extern "C" fn(UserData, Fd, c_int) -> c_int,
    pub getsockopt: unsafe extern "C" fn(UserData, Fd, c_int, c_int, *mut c_void, *mut u32) -> c_int,
    pub setsockopt: unsafe extern "C" fn(UserData, Fd, c_int, c_int, *const c_void, u32) -> c_int,
    pub poll: unsafe extern "C" fn(UserData, *mut PollFd, c_ulong, c_int) -> c_int,
    pub netdev_send: unsafe extern "C" fn(UserData, *const c_void, usize) -> c_int,
    pub netdev_receive: unsafe extern "C" fn(UserData, *mut c_void, *mut usize, *mut c_longlong) -> c_int,
    pub usleep: unsafe extern "C" fn(UserData, c_uint) -> c_int,
    pub gettimeofday: unsafe extern "C" fn(UserData, *mut TimeVal, *mut c_void) -> c_int,
    pub epoll_create: unsafe extern "C" fn(UserData, c_int) -> c_int,
    pub epoll_ctl: unsafe extern "C" fn(UserData, Fd, c_int, Fd, *mut EpollEvent) -> c_int,
    pub epoll_wait: unsafe extern "C" fn(UserData, Fd, *mut EpollEvent, c_int, c_int) -> c_int,
    pub pipe: unsafe extern "C" fn(UserData, *mut c_int) -> c_int,
    pub splice: unsafe extern "C" fn(UserData, Fd, *mut i64, Fd, *mut i64, usize, c_uint) -> isize,
}

/// The tool's flags as text; empty for null.
///
/// # Safety
/// `flags` is null or a C string.
pub(crate) unsafe fn text(flags: *const c_char) -> String {
    if flags.is_null() {
        return String::new();
    }
    // SAFETY: not null, and ended by a zero by the caller's promise.
    unsafe { std::ffi::CStr::from_ptr(flags) }.to_string_lossy().into_owned()
}
