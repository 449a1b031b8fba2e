//! The functions of the table. Each turns C's arguments into Rust's, asks the host, and turns the answer back: -1 and
//! `errno` on failure.
//!
//! What holds for all of them (the tool keeps it, as it does towards the kernel): `userdata` is what the table has, every
//! pointer is null or valid for the length given with it. Each `SAFETY` remark rests on that.

use std::ffi::{c_char, c_int, c_long, c_longlong, c_short, c_uint, c_ulong, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};

use rt_base::Nanos;
use rt_drill::machine::{self, Call, Errno, Machine, Settings, numbers as n};

use crate::c::{self, EpollEvent, Interface, PollFd, TimeVal};
use crate::data::{read, readv, recv, recvfrom, recvmsg, send, sendmsg, sendto, splice, write, writev};
use crate::host::Host;

/// What the tool looks up in the library: fills `table`.
///
/// `flags` is packetdrill's `--so_flags`: `name=value,name=value` (see `docs/packetdrill.md`). Unknown names are warned
/// about on stderr; an impossible value ends the process.
///
/// # Safety
/// `flags` is null or a C string, `table` points to a `struct packetdrill_interface`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn packetdrill_interface_init(flags: *const c_char, table: *mut Interface) {
    if table.is_null() {
        return;
    }
    // SAFETY: `flags` is null or a C string, says the caller.
    let flags = unsafe { c::text(flags) };
    let made = catch_unwind(|| {
        let mut settings = Settings::default();
        settings.parse_flags(&flags).map(|unknown| (settings, unknown))
    });
    let settings = match made {
        Ok(Ok((settings, unknown))) => {
            for name in unknown {
                eprintln!("roundtrip: nothing is known about the setting '{name}': ignored");
            }
            settings
        }
        Ok(Err(error)) => {
            eprintln!("roundtrip: {error}");
            std::process::exit(1);
        }
        // The panic has told about itself.
        Err(_) => std::process::exit(1),
    };
    let host = Box::new(Host::new(Machine::new(settings)));
    // SAFETY: not null, and ours to fill, says the caller. `free` takes the box back.
    unsafe { table.write(interface(Box::into_raw(host).cast())) };
}

fn interface(userdata: *mut c_void) -> Interface {
    Interface {
        userdata,
        free,
        socket,
        bind,
        listen,
        accept,
        connect,
        read,
        readv,
        recv,
        recvfrom,
        recvmsg,
        write,
        writev,
        send,
        sendto,
        sendmsg,
        fcntl,
        ioctl,
        close,
        shutdown,
        getsockopt,
        setsockopt,
        poll,
        netdev_send,
        netdev_receive,
        usleep,
        gettimeofday,
        epoll_create,
        epoll_ctl,
        epoll_wait,
        pipe,
        splice,
    }
}

/// What C gets for a result.
pub(crate) trait Return {
    /// -1.
    const FAILURE: Self;
}

impl Return for c_int {
    const FAILURE: c_int = -1;
}

impl Return for isize {
    const FAILURE: isize = -1;
}

/// The border: no panic crosses it, an error becomes -1 and `errno`.
pub(crate) fn border<R: Return>(userdata: *mut c_void, call: impl FnOnce(&Host) -> Result<R, Errno>) -> R {
    // SAFETY: `userdata` is null or what `packetdrill_interface_init` put into the table: a `Host` that lives until `free`.
    let Some(host) = (unsafe { userdata.cast::<Host>().as_ref() }) else {
        c::set_errno(Errno::EFAULT);
        return R::FAILURE;
    };
    match catch_unwind(AssertUnwindSafe(|| call(host))) {
        Ok(Ok(result)) => result,
        Ok(Err(errno)) => {
            c::set_errno(errno);
            R::FAILURE
        }
        Err(_) => {
            eprintln!("roundtrip: this is a mistake in the library (see above), not in the script");
            c::set_errno(Errno::EPROTO);
            R::FAILURE
        }
    }
}

/// A buffer to be read from.
///
/// # Safety
/// `buf` is null or points to `len` readable bytes.
pub(crate) unsafe fn bytes<'a>(buf: *const c_void, len: usize) -> Result<&'a [u8], Errno> {
    match len {
        0 => Ok(&[]),
        _ if buf.is_null() => Err(Errno::EFAULT),
        // SAFETY: not null, `len` bytes are readable.
        _ => Ok(unsafe { std::slice::from_raw_parts(buf.cast(), len) }),
    }
}

/// Copies `from` into a buffer that has room for it.
///
/// # Safety
/// `to` is null or points to `from.len()` writable bytes.
pub(crate) unsafe fn copy(from: &[u8], to: *mut c_void) -> Result<(), Errno> {
    if from.is_empty() {
        return Ok(());
    }
    if to.is_null() {
        return Err(Errno::EFAULT);
    }
    // SAFETY: not null, so many bytes are writable.
    unsafe { to.cast::<u8>().copy_from_nonoverlapping(from.as_ptr(), from.len()) };
    Ok(())
}

pub(crate) fn signed(len: usize) -> Result<isize, Errno> {
    isize::try_from(len).map_err(|_| Errno::EINVAL)
}

unsafe extern "C" fn free(userdata: *mut c_void) {
    if !userdata.is_null() {
        // SAFETY: the box that `packetdrill_interface_init` made; the tool frees it once, at the end.
        let host = unsafe { Box::from_raw(userdata.cast::<Host>()) };
        let _ = catch_unwind(AssertUnwindSafe(|| drop(host)));
    }
}

unsafe extern "C" fn socket(userdata: *mut c_void, domain: c_int, kind: c_int, protocol: c_int) -> c_int {
    border(userdata, |host| {
        host.call(|state| {
            let fd = state.machine.socket(domain, kind, protocol)?;
            state.expose(fd)
        })
    })
}

unsafe extern "C" fn bind(userdata: *mut c_void, fd: c_int, address: *const c_void, len: u32) -> c_int {
    border(userdata, |host| {
        // SAFETY: see the module.
        let local = unsafe { c::read_address(address, len) }?.ok_or(Errno::EAFNOSUPPORT)?;
        host.call(|state| {
            let fd = state.inner(fd)?;
            let ip = *local.ip();
            // The tool draws the local address by lot and does not tell: who is bound to is who we are.
            let possible =
                !(ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() || ip.is_broadcast());
            if possible && ip != state.machine.settings().remote_ip {
                state.machine.add_address(ip);
            }
            state.machine.bind(fd, local).map(|()| 0)
        })
    })
}

unsafe extern "C" fn listen(userdata: *mut c_void, fd: c_int, backlog: c_int) -> c_int {
    border(userdata, |host| {
        host.call(|state| {
            let fd = state.inner(fd)?;
            state.machine.listen(fd, backlog).map(|()| 0)
        })
    })
}

unsafe extern "C" fn accept(userdata: *mut c_void, fd: c_int, address: *mut c_void, len: *mut u32) -> c_int {
    border(userdata, |host| {
        let (real, peer) = host.blocking(None, |state, _| match state.inner(fd) {
            Err(errno) => Call::Done(Err(errno)),
            Ok(fd) => match state.machine.accept(fd, 0) {
                Call::Done(Ok((fd, peer))) => Call::Done(state.expose(fd).map(|real| (real, peer))),
                Call::Done(Err(errno)) => Call::Done(Err(errno)),
                Call::Pending => Call::Pending,
            },
        })?;
        // SAFETY: see the module.
        unsafe { c::write_address(peer, address, len) };
        Ok(real)
    })
}

unsafe extern "C" fn connect(userdata: *mut c_void, fd: c_int, address: *const c_void, len: u32) -> c_int {
    border(userdata, |host| {
        // SAFETY: see the module.
        let to = unsafe { c::read_address(address, len) }?;
        host.blocking(None, |state, _| match state.inner(fd) {
            Ok(fd) => state.machine.connect(fd, to),
            Err(errno) => Call::Done(Err(errno)),
        })
        .map(|()| 0)
    })
}

/// C declares it with `...`; on x86-64 and AArch64 Linux a fixed third argument is passed alike.
unsafe extern "C" fn fcntl(userdata: *mut c_void, fd: c_int, command: c_int, argument: c_long) -> c_int {
    border(userdata, |host| {
        host.call(|state| {
            let fd = state.inner(fd)?;
            // Flags are an int.
            state.machine.fcntl(fd, command, argument as c_int)
        })
    })
}

/// As for [`fcntl`].
unsafe extern "C" fn ioctl(
    userdata: *mut c_void,
    fd: c_int,
    request: c_ulong,
    argument: *mut c_int,
) -> c_int {
    border(userdata, |host| {
        // SAFETY: null or an int.
        let argument = unsafe { argument.as_mut() }.ok_or(Errno::EFAULT)?;
        let value = host.call(|state| {
            let fd = state.inner(fd)?;
            state.machine.ioctl(fd, request, *argument)
        })?;
        if request != n::FIONBIO as u64 {
            *argument = value;
        }
        Ok(0)
    })
}

unsafe extern "C" fn close(userdata: *mut c_void, fd: c_int) -> c_int {
    border(userdata, |host| {
        let closed = host.blocking(None, |state, _| match state.inner(fd) {
            Ok(fd) => state.machine.close(fd),
            Err(errno) => Call::Done(Err(errno)),
        });
        if closed.is_ok() {
            host.lock().retire(fd);
        }
        closed.map(|()| 0)
    })
}

unsafe extern "C" fn shutdown(userdata: *mut c_void, fd: c_int, how: c_int) -> c_int {
    border(userdata, |host| {
        host.call(|state| {
            let fd = state.inner(fd)?;
            state.machine.shutdown(fd, how).map(|()| 0)
        })
    })
}

unsafe extern "C" fn getsockopt(
    userdata: *mut c_void,
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *mut c_void,
    len: *mut u32,
) -> c_int {
    border(userdata, |host| {
        // SAFETY: null or a length.
        let len = unsafe { len.as_mut() }.ok_or(Errno::EFAULT)?;
        let got = host.call(|state| {
            let fd = state.inner(fd)?;
            state.machine.getsockopt(fd, level, name, *len as usize)
        })?;
        // SAFETY: at most `*len` bytes.
        unsafe { copy(&got, value) }?;
        *len = got.len() as u32;
        Ok(0)
    })
}

unsafe extern "C" fn setsockopt(
    userdata: *mut c_void,
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *const c_void,
    len: u32,
) -> c_int {
    border(userdata, |host| {
        // SAFETY: see the module.
        let value = unsafe { bytes(value, len as usize) }?;
        host.call(|state| {
            let fd = state.inner(fd)?;
            state.machine.setsockopt(fd, level, name, value).map(|()| 0)
        })
    })
}

/// A time-out in milliseconds; negative is none.
fn timeout(ms: c_int) -> Option<Nanos> {
    u64::try_from(ms).ok().map(Nanos::from_millis)
}

unsafe extern "C" fn poll(
    userdata: *mut c_void,
    fds: *mut PollFd,
    count: c_ulong,
    timeout_ms: c_int,
) -> c_int {
    border(userdata, |host| {
        let count = usize::try_from(count).ok().filter(|count| *count <= 65_536).ok_or(Errno::EINVAL)?;
        let fds: &mut [PollFd] = match count {
            0 => &mut [],
            _ if fds.is_null() => return Err(Errno::EFAULT),
            // SAFETY: not null, and `count` entries long.
            _ => unsafe { std::slice::from_raw_parts_mut(fds, count) },
        };
        host.blocking(timeout(timeout_ms), |state, up| {
            let mut inner: Vec<machine::PollFd> = fds
                .iter()
                .map(|entry| {
                    // A descriptor that is not ours is one that the machine does not have either.
                    let fd = if entry.fd < 0 { -1 } else { state.inner(entry.fd).unwrap_or(c_int::MAX) };
                    machine::PollFd { fd, events: entry.events, revents: 0 }
                })
                .collect();
            let answer = state.machine.poll(&mut inner, if up { 0 } else { timeout_ms });
            for (entry, inner) in fds.iter_mut().zip(&inner) {
                entry.revents = inner.revents as c_short;
            }
            answer
        })
        .and_then(|telling| c_int::try_from(telling).map_err(|_| Errno::EINVAL))
    })
}

unsafe extern "C" fn netdev_send(userdata: *mut c_void, buf: *const c_void, len: usize) -> c_int {
    border(userdata, |host| {
        // SAFETY: see the module.
        host.inject(unsafe { bytes(buf, len) }?);
        Ok(0)
    })
}

/// The tool wants a packet and does not say until when: the clock moves until one comes. When none can ever come (no timer
/// is armed), it gets an empty one, which it takes for a bad packet: the script fails there, by the tool's own report.
unsafe extern "C" fn netdev_receive(
    userdata: *mut c_void,
    buf: *mut c_void,
    len: *mut usize,
    time: *mut c_longlong,
) -> c_int {
    border(userdata, |host| {
        // SAFETY: null or a length and a time.
        let (len, time) =
            unsafe { (len.as_mut().ok_or(Errno::EFAULT)?, time.as_mut().ok_or(Errno::EFAULT)?) };
        let Some((packet, at)) = host.next_packet() else {
            eprintln!(
                "roundtrip: timed out waiting for packet: no timer is armed, so none will ever be sent (at {:.6} s)",
                host.lock().machine.now().as_secs_f64()
            );
            *len = 0;
            return Ok(0);
        };
        let cut = packet.get(..*len).unwrap_or(&packet);
        // SAFETY: at most `*len` bytes.
        unsafe { copy(cut, buf) }?;
        (*len, *time) = (cut.len(), at);
        Ok(0)
    })
}

unsafe extern "C" fn usleep(userdata: *mut c_void, micros: c_uint) -> c_int {
    border(userdata, |host| {
        host.sleep(micros.into());
        Ok(0)
    })
}

unsafe extern "C" fn gettimeofday(userdata: *mut c_void, to: *mut TimeVal, _zone: *mut c_void) -> c_int {
    border(userdata, |host| {
        let (sec, usec) = host.time_of_day();
        // SAFETY: null or a `struct timeval`.
        if let Some(to) = unsafe { to.as_mut() } {
            *to = TimeVal { sec, usec };
        }
        Ok(0)
    })
}

unsafe extern "C" fn epoll_create(userdata: *mut c_void, size: c_int) -> c_int {
    border(userdata, |host| {
        host.call(|state| {
            let fd = state.machine.epoll_create(size)?;
            state.expose(fd)
        })
    })
}

unsafe extern "C" fn epoll_ctl(
    userdata: *mut c_void,
    epfd: c_int,
    op: c_int,
    fd: c_int,
    event: *mut EpollEvent,
) -> c_int {
    border(userdata, |host| {
        // SAFETY: null or an event; it may be unaligned, so it is copied.
        let event = if event.is_null() { None } else { Some(unsafe { event.read_unaligned() }) };
        let event = match event {
            Some(event) => machine::EpollEvent { events: event.events, data: event.data },
            None if op == n::EPOLL_CTL_DEL => machine::EpollEvent { events: 0, data: 0 },
            None => return Err(Errno::EFAULT),
        };
        host.call(|state| {
            let (epfd, fd) = (state.inner(epfd)?, state.inner(fd)?);
            state.machine.epoll_ctl(epfd, op, fd, event).map(|()| 0)
        })
    })
}

unsafe extern "C" fn epoll_wait(
    userdata: *mut c_void,
    epfd: c_int,
    events: *mut EpollEvent,
    most: c_int,
    timeout_ms: c_int,
) -> c_int {
    border(userdata, |host| {
        let most = usize::try_from(most).ok().filter(|most| *most > 0).ok_or(Errno::EINVAL)?;
        let found = host.blocking(timeout(timeout_ms), |state, up| match state.inner(epfd) {
            Ok(epfd) => state.machine.epoll_wait(epfd, most, if up { 0 } else { timeout_ms }),
            Err(errno) => Call::Done(Err(errno)),
        })?;
        if events.is_null() && !found.is_empty() {
            return Err(Errno::EFAULT);
        }
        for (at, event) in found.iter().enumerate() {
            let event = EpollEvent { events: event.events, data: event.data };
            // SAFETY: not null, and there is room for `most` of them, says the caller.
            unsafe { events.add(at).write_unaligned(event) };
        }
        c_int::try_from(found.len()).map_err(|_| Errno::EINVAL)
    })
}

unsafe extern "C" fn pipe(userdata: *mut c_void, fds: *mut c_int) -> c_int {
    border(userdata, |host| {
        if fds.is_null() {
            return Err(Errno::EFAULT);
        }
        let (reader, writer) = host.call(|state| {
            let (reader, writer) = state.machine.pipe()?;
            Ok((state.expose(reader)?, state.expose(writer)?))
        })?;
        // SAFETY: not null: two descriptors.
        unsafe {
            fds.write(reader);
            fds.add(1).write(writer);
        }
        Ok(0)
    })
}
