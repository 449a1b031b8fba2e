//! Linux: namespaces, TAP or veth, mounts and processes.
//!
//! A launch in order: [`prepare`] turns the plan into a [`script`] and checks it; we are copied into new namespaces
//! ([`sys::fork`]); the copy, [`init`], carries the script out, sends back the devices and starts the program.
//!
//! # Why a copy, and not a program of our own that is started
//!
//! `clone` takes the namespaces as flags, the user namespace included, so a process with threads can do it (`unshare` refuses
//! those). In exchange the copy must behave like a signal handler until it executes something: hence the script, made
//! beforehand. A helper program would have to be found and installed, and starting ourselves again is impossible for a library.

mod device;
mod door;
mod files;
mod guest;
mod identity;
mod init;
mod join;
mod loopback;
mod netlink;
mod poller;
mod prepare;
mod script;
mod survey;
mod sys;

use std::ffi::c_int;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, SocketFlags, SocketType,
};

pub use device::Device;
pub use door::{Door, Visitor};
pub use guest::Guest;
pub use join::join;
pub use loopback::Loopback;
pub use poller::{Interrupts, Poller, Watch};
pub use survey::survey;

use crate::{AttachError, DeviceChoice, DeviceKind, GuestStdio, Plan};
use guest::{Process, Terminal};
use identity::{Identity, Map};
use init::{GO, REPORT, Report, Setup};
use script::MAX_DEVICES;
use sys::{Blocked, End, Fork};

/// Longer than any preparation takes on a busy machine; `certutil` is the slowest part of it.
const PATIENCE: Duration = Duration::from_secs(30);

const NAMESPACES: c_int =
    libc::CLONE_NEWNET | libc::CLONE_NEWNS | libc::CLONE_NEWUTS | libc::CLONE_NEWIPC | libc::CLONE_NEWPID;

/// Starts a guest. It ends with us: when the [`Guest`] is dropped and when this process ends, be it by `kill -9`.
///
/// May be called from any thread of a process with many. Descriptors from 3 on that are not marked close-on-exec
/// are the program's too (Rust marks all that it opens).
///
/// # Errors
///
/// See [`AttachError`].
pub fn launch(plan: &Plan) -> Result<Guest, AttachError> {
    let first = match plan.device {
        DeviceChoice::Auto | DeviceChoice::Tap => DeviceKind::Tap,
        DeviceChoice::Veth => DeviceKind::Veth,
    };
    match attempt(plan, first) {
        Err(Attempt { tap: true, error }) if plan.device == DeviceChoice::Auto => {
            let mut guest = attempt(plan, DeviceKind::Veth).map_err(|attempt| attempt.error)?;
            guest.notes.insert(0, format!("{error}: using a veth pair instead, which is slower"));
            Ok(guest)
        }
        other => other.map_err(|attempt| attempt.error),
    }
}

/// Why an attempt failed, and whether a TAP was to blame.
struct Attempt {
    error: AttachError,
    tap: bool,
}

impl From<AttachError> for Attempt {
    fn from(error: AttachError) -> Attempt {
        Attempt { error, tap: false }
    }
}

fn attempt(plan: &Plan, kind: DeviceKind) -> Result<Guest, Attempt> {
    let mut setup = prepare::setup(plan, kind, Identity::new(plan.user, true))?;
    let terminal = matches!(plan.stdio[0], GuestStdio::Inherit).then(Terminal::lend).flatten();
    let mut process = match copy(NAMESPACES | libc::CLONE_NEWUSER, |control| init::live(&setup, control)) {
        Err(error) if rustix::process::geteuid().is_root() && survey::is_refusal(error) => {
            // Root needs no user namespace where there are none.
            setup = prepare::setup(plan, kind, Identity::new(plan.user, false))?;
            copy(NAMESPACES, |control| init::live(&setup, control))
        }
        other => other,
    }
    .map_err(survey::refused)?;
    map_ids(&setup.identity, process.pid)
        .map_err(|error| AttachError::Step { what: "map user ids into the guest".to_owned(), error })?;
    go(&process)?;
    let (mut notes, fds) = prepared(&mut process, &setup)?;
    if !plan.command.is_empty() {
        go(&process)?;
        started(&mut process, &plan.command[0])?;
    } else {
        go(&process)?;
    }
    notes.extend(setup.script.missing.iter().map(|words| format!("cannot {words}")));
    let devices = fds.into_iter().map(|fd| Device::new(fd, kind, plan.offload)).collect();
    Ok(Guest { devices, notes, process, terminal })
}

/// Copies this process into new namespaces, where it lives on as `life` says.
fn copy(namespaces: c_int, life: impl Fn(std::os::fd::BorrowedFd<'_>)) -> Result<Process, Errno> {
    let (kind, flags) = (SocketType::SEQPACKET, SocketFlags::CLOEXEC);
    let (control, theirs) = rustix::net::socketpair(AddressFamily::UNIX, kind, flags, None)?;
    // A handler of ours must not run in the copy.
    let blocked = Blocked::all();
    // SAFETY: `life` is `init::live` or `join::live`, which are written for a new process and never return.
    match unsafe { sys::fork(namespaces, End::Silent)? } {
        Fork::New => {
            life(theirs.as_fd());
            sys::exit(1)
        }
        Fork::Old { pid, pidfd } => {
            drop(blocked);
            Ok(Process { pid: pid.unsigned_abs(), pidfd, control, code: None })
        }
    }
}

fn map_ids(identity: &Identity, pid: u32) -> io::Result<()> {
    if let Map::All { users, groups } = &identity.map {
        std::fs::write(format!("/proc/{pid}/uid_map"), users)?;
        std::fs::write(format!("/proc/{pid}/gid_map"), groups)?;
    }
    Ok(())
}

fn go(process: &Process) -> Result<(), AttachError> {
    rustix::net::send(&process.control, &[GO], SendFlags::NOSIGNAL).map(|_| ()).map_err(|_| ended())
}

fn ended() -> AttachError {
    let error = io::Error::new(io::ErrorKind::UnexpectedEof, "its first process was killed or hangs");
    AttachError::Step { what: "prepare the guest".to_owned(), error }
}

/// Listens until the guest is prepared: what it does without, and its devices.
fn prepared(process: &mut Process, setup: &Setup) -> Result<(Vec<String>, Vec<OwnedFd>), Attempt> {
    let words = |number: u32| setup.script.words.get(number as usize).cloned().unwrap_or_default();
    let mut notes = Vec::new();
    loop {
        let (report, fds) = hear(process).ok_or_else(ended)?;
        match report {
            Report::Without(number, error) => {
                notes.push(format!("cannot {}: {}", words(number), io::Error::from_raw_os_error(error)));
            }
            Report::Failed(number, error) => {
                let tap = setup.script.taps.contains(&number);
                let error = survey::failed(words(number), Errno::from_raw_os_error(error), tap);
                return Err(Attempt { error, tap });
            }
            Report::Unmapped(error) => {
                let what = "map user ids into the guest".to_owned();
                return Err(survey::failed(what, Errno::from_raw_os_error(error), false).into());
            }
            Report::Ready => return Ok((notes, fds)),
            Report::Started | Report::NotStarted(_) => return Err(ended().into()),
        }
    }
}

/// Listens until the program runs, or cannot.
fn started(process: &mut Process, program: &std::ffi::OsStr) -> Result<(), AttachError> {
    match hear(process) {
        Some((Report::Started, _)) => Ok(()),
        Some((Report::NotStarted(error), _)) => Err(AttachError::Command {
            program: program.to_string_lossy().into_owned(),
            error: io::Error::from_raw_os_error(error),
        }),
        _ => Err(ended()),
    }
}

/// The next report, with the descriptors that came with it; `None` when there will be none.
fn hear(process: &mut Process) -> Option<(Report, Vec<OwnedFd>)> {
    let mut poller = Poller::new();
    let start = std::time::Instant::now();
    loop {
        let left = PATIENCE.checked_sub(start.elapsed())?;
        if poller.wait(&[process.control.as_fd()], Some(left)).ok()?.first() == Some(&true) {
            break;
        }
    }
    let mut bytes = [0u8; REPORT];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DEVICES))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let length = rustix::net::recvmsg(&process.control, &mut parts, &mut ancillary, flags).ok()?.bytes;
    let fds = ancillary
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds.collect::<Vec<_>>()),
            _ => None,
        })
        .flatten()
        .collect();
    Some((Report::parse(bytes.get(..length)?)?, fds))
}
