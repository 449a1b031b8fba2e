//! The functions of the table that carry data. What [`calls`](crate::calls) says of arguments holds here too.

use std::ffi::{c_int, c_uint, c_void};

use rt_drill::machine::{self, Call, Errno, numbers as n};

use crate::c::{self, IoVec, MsgHdr};
use crate::calls::{border, bytes, copy, signed};
use crate::host::{Host, State};

/// All receiving calls.
fn take(host: &Host, fd: c_int, len: usize, flags: c_int) -> Result<(Vec<u8>, machine::Received), Errno> {
    let mut bytes = vec![0; len.min(1 << 30)];
    let received = host.blocking(None, |state, _| match state.inner(fd) {
        Ok(fd) => state.machine.recv(fd, &mut bytes, flags),
        Err(errno) => Call::Done(Err(errno)),
    })?;
    bytes.truncate(received.len);
    Ok((bytes, received))
}

/// [`take`] for a caller without a buffer: `EFAULT` when there is something to receive, which stays where it is.
fn take_into(
    host: &Host,
    fd: c_int,
    buf: *mut c_void,
    len: usize,
    flags: c_int,
) -> Result<(Vec<u8>, machine::Received), Errno> {
    if !buf.is_null() || len == 0 {
        return take(host, fd, len, flags);
    }
    let (bytes, received) = take(host, fd, 1, flags | n::MSG_PEEK)?;
    if bytes.is_empty() { Ok((bytes, received)) } else { Err(Errno::EFAULT) }
}

pub(crate) unsafe extern "C" fn read(
    userdata: *mut c_void,
    fd: c_int,
    buf: *mut c_void,
    len: usize,
) -> isize {
    // SAFETY: the same arguments.
    unsafe { recv(userdata, fd, buf, len, 0) }
}

pub(crate) unsafe extern "C" fn readv(
    userdata: *mut c_void,
    fd: c_int,
    iov: *const IoVec,
    count: c_int,
) -> isize {
    border(userdata, |host| {
        let count = usize::try_from(count).map_err(|_| Errno::EINVAL)?;
        // SAFETY: see the module.
        let (bytes, received) = take(host, fd, unsafe { c::room(iov, count) }?, 0)?;
        // SAFETY: see the module.
        unsafe { c::scatter(&bytes, iov, count) }?;
        signed(received.len)
    })
}

pub(crate) unsafe extern "C" fn recv(
    userdata: *mut c_void,
    fd: c_int,
    buf: *mut c_void,
    len: usize,
    flags: c_int,
) -> isize {
    border(userdata, |host| {
        let (bytes, received) = take_into(host, fd, buf, len, flags)?;
        // SAFETY: at most `len` bytes.
        unsafe { copy(&bytes, buf) }?;
        signed(received.len)
    })
}

pub(crate) unsafe extern "C" fn recvfrom(
    userdata: *mut c_void,
    fd: c_int,
    buf: *mut c_void,
    len: usize,
    flags: c_int,
    address: *mut c_void,
    address_len: *mut u32,
) -> isize {
    border(userdata, |host| {
        let (bytes, received) = take_into(host, fd, buf, len, flags)?;
        // SAFETY: at most `len` bytes; for the address see the module.
        unsafe {
            copy(&bytes, buf)?;
            if let Some(from) = received.from {
                c::write_address(from, address, address_len);
            }
        }
        signed(received.len)
    })
}

pub(crate) unsafe extern "C" fn recvmsg(
    userdata: *mut c_void,
    fd: c_int,
    message: *mut MsgHdr,
    flags: c_int,
) -> isize {
    border(userdata, |host| {
        // SAFETY: null or a message header.
        let message = unsafe { message.as_mut() }.ok_or(Errno::EFAULT)?;
        // SAFETY: see the module.
        let room = unsafe { c::room(message.iov, message.iovlen) }?;
        let (bytes, received) = take(host, fd, room, flags)?;
        // SAFETY: see the module.
        unsafe {
            c::scatter(&bytes, message.iov, message.iovlen)?;
            match received.from {
                Some(from) => c::write_address(from, message.name, &raw mut message.namelen),
                None => message.namelen = 0,
            }
        }
        message.flags = 0;
        let unread = host.call(|state| Ok(unread_wanted(state, fd)))?;
        let mut used = 0;
        if let Some(unread) = unread
            && !message.control.is_null()
            && message.controllen >= CMSG_INT.div_ceil(8) * 8
        {
            let mut note = Vec::with_capacity(24);
            note.extend_from_slice(&CMSG_INT.to_ne_bytes());
            note.extend_from_slice(&n::SOL_TCP.to_ne_bytes());
            note.extend_from_slice(&n::TCP_CM_INQ.to_ne_bytes());
            note.extend_from_slice(&unread.to_ne_bytes());
            note.resize(CMSG_INT.div_ceil(8) * 8, 0);
            // SAFETY: `controllen` says that there is room for it.
            unsafe { copy(&note, message.control) }?;
            used = note.len();
        }
        message.controllen = used;
        signed(received.len)
    })
}

/// `CMSG_LEN(sizeof(int))`.
const CMSG_INT: usize = 20;

/// What is left to read, if the program has asked to be told with every `recvmsg` (`TCP_INQ`).
fn unread_wanted(state: &mut State, fd: c_int) -> Option<c_int> {
    let fd = state.inner(fd).ok()?;
    let wanted = state.machine.getsockopt(fd, n::IPPROTO_TCP, n::TCP_INQ, 4).ok()?;
    if wanted.iter().all(|byte| *byte == 0) {
        return None;
    }
    state.machine.ioctl(fd, n::SIOCINQ as u64, 0).ok()
}

/// All sending calls.
fn put(
    host: &Host,
    fd: c_int,
    bytes: &[u8],
    flags: c_int,
    to: Option<std::net::SocketAddrV4>,
) -> Result<isize, Errno> {
    let sent = host.blocking(None, |state, _| match state.inner(fd) {
        Ok(fd) => state.machine.send(fd, bytes, flags, to),
        Err(errno) => Call::Done(Err(errno)),
    })?;
    signed(sent)
}

pub(crate) unsafe extern "C" fn write(
    userdata: *mut c_void,
    fd: c_int,
    buf: *const c_void,
    len: usize,
) -> isize {
    // SAFETY: the same arguments.
    unsafe { send(userdata, fd, buf, len, 0) }
}

pub(crate) unsafe extern "C" fn writev(
    userdata: *mut c_void,
    fd: c_int,
    iov: *const IoVec,
    count: c_int,
) -> isize {
    border(userdata, |host| {
        let count = usize::try_from(count).map_err(|_| Errno::EINVAL)?;
        // SAFETY: see the module.
        let bytes = unsafe { c::gather(iov, count) }?;
        put(host, fd, &bytes, 0, None)
    })
}

pub(crate) unsafe extern "C" fn send(
    userdata: *mut c_void,
    fd: c_int,
    buf: *const c_void,
    len: usize,
    flags: c_int,
) -> isize {
    // SAFETY: see the module.
    border(userdata, |host| put(host, fd, unsafe { bytes(buf, len) }?, flags, None))
}

pub(crate) unsafe extern "C" fn sendto(
    userdata: *mut c_void,
    fd: c_int,
    buf: *const c_void,
    len: usize,
    flags: c_int,
    address: *const c_void,
    address_len: u32,
) -> isize {
    border(userdata, |host| {
        // SAFETY: see the module.
        let to = if address.is_null() { None } else { unsafe { c::read_address(address, address_len) }? };
        // Fast Open is a connect, which an address of no family would undo.
        if !address.is_null() && to.is_none() && flags & n::MSG_FASTOPEN != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        // SAFETY: see the module.
        put(host, fd, unsafe { bytes(buf, len) }?, flags, to)
    })
}

pub(crate) unsafe extern "C" fn sendmsg(
    userdata: *mut c_void,
    fd: c_int,
    message: *const MsgHdr,
    flags: c_int,
) -> isize {
    border(userdata, |host| {
        // SAFETY: null or a message header.
        let message = unsafe { message.as_ref() }.ok_or(Errno::EFAULT)?;
        // SAFETY: see the module.
        let bytes = unsafe { c::gather(message.iov, message.iovlen) }?;
        let to = if message.name.is_null() || message.namelen == 0 {
            None
        } else {
            // SAFETY: see the module.
            unsafe { c::read_address(message.name, message.namelen) }?
        };
        put(host, fd, &bytes, flags, to)
    })
}

pub(crate) unsafe extern "C" fn splice(
    userdata: *mut c_void,
    from: c_int,
    from_offset: *mut i64,
    to: c_int,
    to_offset: *mut i64,
    len: usize,
    flags: c_uint,
) -> isize {
    border(userdata, |host| {
        if !from_offset.is_null() || !to_offset.is_null() {
            return Err(Errno::ESPIPE);
        }
        let moved = host.blocking(None, |state, _| match (state.inner(from), state.inner(to)) {
            (Ok(from), Ok(to)) => state.machine.splice(from, to, len, flags as c_int),
            (Err(errno), _) | (_, Err(errno)) => Call::Done(Err(errno)),
        })?;
        signed(moved)
    })
}
