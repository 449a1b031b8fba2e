//! System calls that neither std nor `rustix` has, each behind a small function. Most of this crate's `unsafe` is here.
//!
//! What is marked "for a new process" is called between `clone` and `exec`: it allocates nothing, takes no lock and cannot
//! panic, since another thread of ours may have held any lock when we were copied.

use std::ffi::{CStr, CString, c_char, c_int};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use rustix::io::Errno;

/// Both sides of a [`fork`].
pub(super) enum Fork {
    /// We are the new process.
    New,
    /// We are the old one: the new one's id and a descriptor of it.
    Old { pid: i32, pidfd: OwnedFd },
}

/// The calling thread's error number.
fn errno() -> Errno {
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)
}

fn checked(result: c_int) -> Result<c_int, Errno> {
    if result < 0 { Err(errno()) } else { Ok(result) }
}

/// How a new process ends: told to its parent by a signal, or found only by who looks for it with `__WALL`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// SIGCHLD, as usual.
    Told,
    /// Nothing: whoever ignores SIGCHLD, or waits for any child, does not take the exit code away.
    Silent,
}

/// Copies this process, with only the calling thread, into new namespaces (`CLONE_NEW...`, or 0). For a new process too.
///
/// # Safety
///
/// The new process must do nothing but what a signal handler may: no allocation, no lock, no panic, until it calls
/// [`exec`] or [`exit`].
pub(super) unsafe fn fork(namespaces: c_int, end: End) -> Result<Fork, Errno> {
    let signal = if end == End::Told { libc::SIGCHLD } else { 0 };
    let flags = libc::c_long::from(namespaces | libc::CLONE_PIDFD | signal);
    let mut pidfd: RawFd = -1;
    // SAFETY: without CLONE_VM the new process has its own copy of our memory, and a null stack means ours. The kernel writes
    // the descriptor to `pidfd`, which lives here. The order of the last arguments differs between processors; all are 0.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0usize, &raw mut pidfd, 0usize, 0usize) };
    match pid {
        0 => Ok(Fork::New),
        1.. => {
            // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Fork::Old { pid: i32::try_from(pid).unwrap_or(i32::MAX), pidfd })
        }
        _ => Err(errno()),
    }
}

/// Ends this process at once: no destructor, no flush. For a new process.
pub(super) fn exit(code: i32) -> ! {
    // SAFETY: `_exit` may be called at any time.
    unsafe { libc::_exit(code) }
}

/// Strings as C wants them: an array of pointers that ends with null.
pub(super) struct Strings {
    /// What the pointers point to; never changed after they are made.
    owned: Vec<CString>,
    pointers: Vec<*const c_char>,
}

impl Strings {
    pub(super) fn new(owned: Vec<CString>) -> Strings {
        let pointers = owned.iter().map(|s| s.as_ptr()).chain([ptr::null()]).collect();
        Strings { owned, pointers }
    }

    /// The same with two more strings in front of all but the first: how a shell is asked to run a script.
    pub(super) fn script(&self, shell: &CStr, script: &CStr) -> Strings {
        let front = [shell.to_owned(), script.to_owned()];
        Strings::new(front.into_iter().chain(self.owned.iter().skip(1).cloned()).collect())
    }
}

/// Replaces this process by a program; returns only if that fails. For a new process.
pub(super) fn exec(path: &CStr, arguments: &Strings, environment: &Strings) -> Errno {
    // SAFETY: both arrays end with null and point to strings that `Strings` owns, as does `path`.
    unsafe { libc::execve(path.as_ptr(), arguments.pointers.as_ptr(), environment.pointers.as_ptr()) };
    errno()
}

/// The set of all signals, or of none.
fn signals(all: bool) -> libc::sigset_t {
    // SAFETY: a set of signals is plain numbers, for which zeroes are valid; both calls write nothing else.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        if all {
            libc::sigfillset(&raw mut set)
        } else {
            libc::sigemptyset(&raw mut set)
        };
        set
    }
}

/// All signals blocked in this thread until it is dropped.
pub(super) struct Blocked(libc::sigset_t);

impl Blocked {
    pub(super) fn all() -> Blocked {
        let mut old = signals(false);
        let all = signals(true);
        // SAFETY: reads one set and writes the other, both ours.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut old) };
        Blocked(old)
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        // SAFETY: reads one set of ours.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, ptr::null_mut()) };
    }
}

/// Blocks all signals, or none. For a new process.
pub(super) fn block_signals(all: bool) {
    let set = signals(all);
    // SAFETY: reads one set of ours.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const set, ptr::null_mut()) };
}

/// Takes away every signal handler, since our memory is no longer what they expect. SIGPIPE, which Rust ignores, becomes
/// deadly again, SIGCHLD is needed, and what else was ignored stays so (`nohup`). For a new process, with signals blocked.
pub(super) fn reset_signals() {
    for signal in 1..=64 {
        // SAFETY: zeroes are a valid `sigaction` (the default action); both calls read and write ours only, and a number that is
        // no signal gives an error that does not matter.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            libc::sigaction(signal, ptr::null(), &raw mut action);
            let ignored =
                action.sa_sigaction == libc::SIG_IGN && signal != libc::SIGPIPE && signal != libc::SIGCHLD;
            if action.sa_sigaction != libc::SIG_DFL && !ignored {
                let default: libc::sigaction = std::mem::zeroed();
                libc::sigaction(signal, &raw const default, ptr::null_mut());
            }
        }
    }
}

/// A descriptor that is readable while a child has news. SIGCHLD must be blocked. For a new process.
pub(super) fn child_news() -> Result<OwnedFd, Errno> {
    let mut set = signals(false);
    // SAFETY: writes our set and reads it; the descriptor returned is new and ours.
    unsafe {
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        let fd = checked(libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK))?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// Closes all descriptors but two. For a new process that will never use another.
pub(super) fn close_all_but(one: RawFd, two: RawFd) {
    let (low, high) = (one.min(two), one.max(two));
    let ranges = [(0, low - 1), (low + 1, high - 1), (high + 1, c_int::MAX)];
    for (first, last) in ranges.into_iter().filter(|(first, last)| first <= last) {
        // SAFETY: nobody in this process uses those descriptors any more.
        let done = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
        if done != 0 {
            // Kernels before 5.9.
            for fd in first..=last.min(65_536) {
                // SAFETY: as above.
                unsafe { libc::close(fd) };
            }
        }
    }
}

/// `_IOW('T', n, int)`: the kernel's numbers for TUN and TAP.
const TUNSETIFF: u32 = 0x4004_54ca;
const TUNSETOFFLOAD: u32 = 0x4004_54d0;
const TUNSETIFINDEX: u32 = 0x4004_54da;
/// Checksums may be unfinished; TCP over IPv4 may come in one piece, also with ECN.
const OFFLOADS: libc::c_ulong = 0x01 | 0x02 | 0x08;

/// A request about an interface: its name and 24 bytes of arguments.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; 16],
    argument: [u64; 3],
}

impl InterfaceRequest {
    fn new(name: &[u8]) -> InterfaceRequest {
        let mut request = InterfaceRequest { name: [0; 16], argument: [0; 3] };
        for (to, from) in request.name.iter_mut().take(15).zip(name) {
            *to = *from;
        }
        request
    }
}

/// Makes the TAP of that name and index in our network namespace. For a new process.
pub(super) fn make_tap(tun: BorrowedFd<'_>, name: &[u8], index: u32, offload: bool) -> Result<(), Errno> {
    let mut flags = libc::IFF_TAP | libc::IFF_NO_PI;
    if offload {
        flags |= libc::IFF_VNET_HDR;
    }
    let mut request = InterfaceRequest::new(name);
    // The flags are a 16-bit number at the start of the argument.
    let low = u16::try_from(flags & 0xffff).unwrap_or_default().to_ne_bytes();
    request.argument[0] = u64::from_ne_bytes([low[0], low[1], 0, 0, 0, 0, 0, 0]);
    let index = c_int::try_from(index).unwrap_or(0);
    // SAFETY: the kernel reads an integer, then reads and writes one request of at least the size of its own `ifreq`.
    unsafe {
        checked(libc::ioctl(tun.as_raw_fd(), TUNSETIFINDEX as _, &raw const index))?;
        checked(libc::ioctl(tun.as_raw_fd(), TUNSETIFF as _, &raw mut request))?;
    }
    if offload {
        // SAFETY: takes a number, no pointer.
        checked(unsafe { libc::ioctl(tun.as_raw_fd(), TUNSETOFFLOAD as _, OFFLOADS) })?;
    }
    Ok(())
}

/// Checksums on the way in and out, scatter-gather, segmentation of TCP, generic segmentation, generic joining.
const ETHTOOL_SETTERS: [u32; 6] = [0x15, 0x17, 0x19, 0x1f, 0x24, 0x2c];

/// Switches off what the interface leaves to a card that is not there. For a new process.
pub(super) fn offloads_off(socket: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
    for command in ETHTOOL_SETTERS {
        let value: [u32; 2] = [command, 0];
        let mut request = InterfaceRequest::new(name);
        request.argument[0] = value.as_ptr().expose_provenance() as u64;
        // SAFETY: the kernel reads the request and, behind its pointer, the two numbers of an `ethtool_value`, both alive here.
        let done =
            checked(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL as _, &raw mut request) });
        match done {
            // What the interface does not have is off.
            Ok(_) | Err(Errno::OPNOTSUPP) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

const PACKET_STATISTICS: c_int = 6;
const PACKET_VNET_HDR: c_int = 15;
const PACKET_QDISC_BYPASS: c_int = 20;
const PACKET_IGNORE_OUTGOING: c_int = 23;

/// A socket that sees every frame of the interface with that index, and none that it sends. For a new process.
pub(super) fn packet_socket(index: u32, offload: bool) -> Result<OwnedFd, Errno> {
    let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: makes a descriptor, which is ours.
    let socket = unsafe { OwnedFd::from_raw_fd(checked(libc::socket(libc::AF_PACKET, kind, 0))?) };
    let level = libc::SOL_PACKET;
    set_option(&socket, level, PACKET_IGNORE_OUTGOING, 1)?;
    set_option(&socket, level, PACKET_QDISC_BYPASS, 1)?;
    if offload {
        set_option(&socket, level, PACKET_VNET_HDR, 1)?;
    }
    // As much as is allowed: a guest's burst waits here. The first is for the machine's root only.
    let bytes = 16 << 20;
    if set_option(&socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, bytes).is_err() {
        let _ = set_option(&socket, libc::SOL_SOCKET, libc::SO_RCVBUF, bytes);
    }
    // SAFETY: zeroes are a valid address of this kind; the kernel reads it with its own length.
    unsafe {
        let mut address: libc::sockaddr_ll = std::mem::zeroed();
        address.sll_family = u16::try_from(libc::AF_PACKET).unwrap_or_default();
        address.sll_protocol = u16::try_from(libc::ETH_P_ALL).unwrap_or_default().to_be();
        address.sll_ifindex = c_int::try_from(index).unwrap_or(0);
        let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        checked(libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length))?;
    }
    Ok(socket)
}

/// Frames that a packet socket had no room for since it was last asked.
pub(super) fn dropped(socket: BorrowedFd<'_>) -> u32 {
    // Packets and drops.
    let mut statistics = [0u32; 2];
    let mut length = size_of_val(&statistics) as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes, which is the size of what it is given.
    let done = unsafe {
        let value = statistics.as_mut_ptr().cast();
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_PACKET, PACKET_STATISTICS, value, &raw mut length)
    };
    if done == 0 { statistics[1] } else { 0 }
}

fn set_option(socket: &OwnedFd, level: c_int, option: c_int, value: c_int) -> Result<(), Errno> {
    let length = size_of::<c_int>() as libc::socklen_t;
    // SAFETY: the kernel reads one integer.
    checked(unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const value).cast(), length)
    })?;
    Ok(())
}
