//! A second program in a guest that is already there: `exec --join`.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags};
use rustix::thread::ThreadNameSpaceType;

use super::guest::{Guest, Terminal};
use super::identity::Identity;
use super::init::{self, Report, Streams};
use super::script::{Program, enter};
use super::{copy, files, go, hear, prepare, started, survey, sys};
use crate::{AttachError, GuestStdio, JoinPlan};

/// Runs a command in a guest that is already there, with the same rights: as the guest's caller (or root), from any
/// process of that user. The result has no devices, and ends with the guest or with us.
///
/// # Errors
///
/// See [`AttachError`]; a process that is no guest is a [`AttachError::Misuse`].
pub fn join(plan: &JoinPlan) -> Result<Guest, AttachError> {
    let pid = plan.pid;
    let no_guest = || prepare::misuse(format!("process {pid} is not a guest that can be joined"));
    let comm = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    if comm.trim_end() != "rt-guest" {
        return Err(no_guest());
    }
    let id = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(no_guest)?;
    let target = rustix::process::pidfd_open(id, PidfdFlags::empty()).map_err(|_| no_guest())?;
    let path = format!("/proc/{pid}/root{}", files::VARIABLES);
    let mut variables = fs::read(path).map(|bytes| files::unpack(&bytes)).unwrap_or_default();
    variables.extend(plan.env.iter().cloned());
    let joining = Joining {
        target,
        namespaces: namespaces(pid)?,
        identity: Identity::new(plan.user, false),
        program: prepare::program(&plan.command, files::merged(&variables))?,
        streams: prepare::streams(&plan.stdio)?,
    };
    let terminal = matches!(plan.stdio[0], GuestStdio::Inherit).then(Terminal::lend).flatten();
    let mut process = copy(0, |control| live(&joining, control)).map_err(survey::refused)?;
    go(&process)?;
    match hear(&mut process) {
        Some((Report::Ready, _)) => {}
        Some((Report::Failed(_, error), _)) => {
            let error = io::Error::from_raw_os_error(error);
            return Err(AttachError::Step { what: format!("enter the guest of process {pid}"), error });
        }
        _ => return Err(super::ended()),
    }
    started(&mut process, &plan.command[0])?;
    Ok(Guest { devices: Vec::new(), notes: Vec::new(), process, terminal })
}

/// What the process that joins needs, made before it is.
struct Joining {
    target: OwnedFd,
    namespaces: ThreadNameSpaceType,
    identity: Identity,
    program: Program,
    streams: Streams,
}

/// The namespaces in which the process differs from us: one's own user namespace cannot be entered.
fn namespaces(pid: u32) -> Result<ThreadNameSpaceType, AttachError> {
    let inode = |who: &str, name: &str| fs::metadata(format!("/proc/{who}/ns/{name}")).map(|m| m.ino());
    let differs =
        |name: &str| -> io::Result<bool> { Ok(inode(&pid.to_string(), name)? != inode("self", name)?) };
    let mut kinds = ThreadNameSpaceType::NETWORK
        | ThreadNameSpaceType::MOUNT
        | ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME
        | ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION
        | ThreadNameSpaceType::PROCESS_ID;
    let what = format!("look at the guest of process {pid}");
    match differs("user") {
        Ok(true) => kinds |= ThreadNameSpaceType::USER,
        Ok(false) => {}
        Err(error) => return Err(AttachError::Step { what, error }),
    }
    Ok(kinds)
}

/// The whole life of the process that joins. For a new process.
fn live(joining: &Joining, control: BorrowedFd<'_>) -> ! {
    sys::reset_signals();
    let _ = rustix::thread::set_name(c"rt-join");
    init::hear_go(control);
    if let Err(error) = enter_all(joining) {
        init::tell(control, Report::Failed(0, error.raw_os_error()));
        sys::exit(1);
    }
    init::tell(control, Report::Ready);
    let pid = init::start(&joining.program, &joining.identity, &joining.streams, control, true);
    init::supervise(control, Some(pid))
}

fn enter_all(joining: &Joining) -> Result<(), Errno> {
    enter(joining.target.as_fd(), joining.namespaces)
}
