//! A guest's first process: it prepares the namespaces that it is in, starts the program, and stays as the parent of whatever
//! runs in there. It ends when the program ends or when we end (we hold the other end of its socket, and the kernel closes
//! that however we die); the kernel then kills everything else in the guest.
//!
//! All of this runs in a new process: see `sys` for what it must not do.

use std::fs::File;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, IoSlice};
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use rustix::process::{Pid, Signal, WaitOptions};

use super::identity::{Identity, Map};
use super::script::{Failure, MAX_DEVICES, Place, Program, Script};
use super::sys::{self, End, Fork};

/// Everything that the first process needs, made before it is.
pub(super) struct Setup {
    pub(super) identity: Identity,
    pub(super) script: Script,
    pub(super) program: Option<Program>,
    pub(super) streams: Streams,
}

/// What the program's standard streams are to be: files that stay open here until it runs, or as they are.
pub(super) type Streams = [Option<Arc<File>>; 3];

/// What the first process tells us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Report {
    /// An optional step failed.
    Without(u32, i32),
    /// A step failed, and with it the guest.
    Failed(u32, i32),
    /// The ids could not be mapped.
    Unmapped(i32),
    /// All is prepared; the devices come with this.
    Ready,
    /// The program runs.
    Started,
    /// The program does not.
    NotStarted(i32),
}

/// Bytes of a report.
pub(super) const REPORT: usize = 12;

/// What we tell the first process: to go on, and to send a signal to the program (a second byte says which).
pub(super) const GO: u8 = b'g';
pub(super) const SIGNAL: u8 = b's';

impl Report {
    fn emit(self) -> [u8; REPORT] {
        let (kind, number, error) = match self {
            Report::Without(number, error) => (0u32, number, error),
            Report::Failed(number, error) => (1, number, error),
            Report::Unmapped(error) => (2, 0, error),
            Report::Ready => (3, 0, 0),
            Report::Started => (4, 0, 0),
            Report::NotStarted(error) => (5, 0, error),
        };
        let mut bytes = [0; REPORT];
        let words = kind.to_ne_bytes().into_iter().chain(number.to_ne_bytes()).chain(error.to_ne_bytes());
        for (to, from) in bytes.iter_mut().zip(words) {
            *to = from;
        }
        bytes
    }

    /// Reads a report; `None` for what is none.
    pub(super) fn parse(bytes: &[u8]) -> Option<Report> {
        let word = |at: usize| bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes);
        let (kind, number, error) = (word(0)?, word(4)?, word(8)?.cast_signed());
        Some(match kind {
            0 => Report::Without(number, error),
            1 => Report::Failed(number, error),
            2 => Report::Unmapped(error),
            3 => Report::Ready,
            4 => Report::Started,
            5 => Report::NotStarted(error),
            _ => return None,
        })
    }
}

/// The whole life of a guest's first process.
pub(super) fn live(setup: &Setup, control: BorrowedFd<'_>) -> ! {
    sys::reset_signals();
    let _ = rustix::thread::set_name(c"rt-guest");
    // First word: whoever maps ids for us has done so.
    hear_go(control);
    if let Err(error) = map_ids(&setup.identity) {
        tell(control, Report::Unmapped(error.raw_os_error()));
        sys::exit(1);
    }
    let note = |failure: Failure| {
        tell(control, Report::Without(failure.number, failure.error.raw_os_error()));
    };
    // What is made has exactly the modes that the script says, whatever our caller prefers.
    let umask = rustix::process::umask(Mode::empty());
    let mut place = Place::new(&setup.identity, &note);
    if let Err(failure) = setup.script.run(&mut place) {
        tell(control, Report::Failed(failure.number, failure.error.raw_os_error()));
        sys::exit(1);
    }
    hand_over(control, &place.devices);
    place.devices = [const { None }; MAX_DEVICES];
    rustix::process::umask(umask);
    // Second word: start.
    hear_go(control);
    let program = setup.program.as_ref().map(|p| start(p, &setup.identity, &setup.streams, control, false));
    supervise(control, program)
}

/// Sends a report; whether anybody hears it is found out later.
pub(super) fn tell(control: BorrowedFd<'_>, report: Report) {
    let _ = rustix::net::send(control, &report.emit(), SendFlags::NOSIGNAL);
}

/// Waits for the word to go on; ends when nobody is there to say it.
pub(super) fn hear_go(control: BorrowedFd<'_>) {
    let mut word = [0u8; 2];
    loop {
        match rustix::net::recv(control, &mut word[..], RecvFlags::empty()) {
            Ok((_, n)) if n > 0 && word[0] == GO => return,
            Err(Errno::INTR) => {}
            Ok((_, 0)) | Err(_) => sys::exit(1),
            // A signal for a program that does not run yet.
            Ok(_) => {}
        }
    }
}

fn map_ids(identity: &Identity) -> Result<(), Errno> {
    let Map::Single { users, groups } = &identity.map else { return Ok(()) };
    for (path, bytes) in [
        (c"/proc/self/setgroups", &b"deny"[..]),
        (c"/proc/self/uid_map", users),
        (c"/proc/self/gid_map", groups),
    ] {
        let file = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
        rustix::io::write(&file, bytes)?;
    }
    Ok(())
}

/// Sends the devices with the report that all is ready.
fn hand_over(control: BorrowedFd<'_>, devices: &[Option<OwnedFd>; MAX_DEVICES]) {
    let mut fds = [control; MAX_DEVICES];
    let mut count = 0;
    for (to, from) in fds.iter_mut().zip(devices.iter().flatten()) {
        *to = from.as_fd();
        count += 1;
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DEVICES))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if let Some(fds) = fds.get(..count).filter(|fds| !fds.is_empty()) {
        ancillary.push(SendAncillaryMessage::ScmRights(fds));
    }
    let bytes = Report::Ready.emit();
    if rustix::net::sendmsg(control, &[IoSlice::new(&bytes)], &mut ancillary, SendFlags::NOSIGNAL).is_err() {
        sys::exit(1);
    }
}

/// Starts the program and says whether it runs; its process id. `die_with_us` is for a parent that is not the
/// first process of the namespace.
pub(super) fn start(
    program: &Program,
    identity: &Identity,
    streams: &Streams,
    control: BorrowedFd<'_>,
    die_with_us: bool,
) -> Pid {
    let Ok((news, said)) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC) else { sys::exit(1) };
    // SAFETY: the new process only sets up its descriptors and its user, and executes.
    let pid = match unsafe { sys::fork(0, End::Told) } {
        Ok(Fork::New) => {
            if die_with_us {
                let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
            }
            let error = connect(streams).err().unwrap_or_else(|| program.become_it(identity));
            let _ = rustix::io::write(&said, &error.raw_os_error().to_ne_bytes());
            sys::exit(127)
        }
        Ok(Fork::Old { pid, .. }) => Pid::from_raw(pid),
        Err(error) => {
            tell(control, Report::NotStarted(error.raw_os_error()));
            None
        }
    };
    let Some(pid) = pid else { sys::exit(1) };
    drop(said);
    let mut error = [0u8; 4];
    // The other end is closed by a program that starts.
    let heard = loop {
        match rustix::io::read(&news, &mut error[..]) {
            Err(Errno::INTR) => {}
            other => break other,
        }
    };
    if heard == Ok(4) {
        tell(control, Report::NotStarted(i32::from_ne_bytes(error)));
        sys::exit(127);
    }
    tell(control, Report::Started);
    pid
}

fn connect(streams: &Streams) -> Result<(), Errno> {
    for (to, from) in streams.iter().enumerate() {
        let Some(from) = from else { continue };
        let from = from.as_fd();
        match to {
            0 => rustix::stdio::dup2_stdin(from)?,
            1 => rustix::stdio::dup2_stdout(from)?,
            _ => rustix::stdio::dup2_stderr(from)?,
        }
    }
    Ok(())
}

/// Waits for the program to end, and for us to go, and buries whoever else dies; never returns.
pub(super) fn supervise(control: BorrowedFd<'_>, program: Option<Pid>) -> ! {
    let Ok(news) = sys::child_news() else { sys::exit(1) };
    sys::close_all_but(control.as_raw_fd(), news.as_raw_fd());
    loop {
        bury(program);
        let mut fds = [PollFd::new(&control, PollFlags::IN), PollFd::new(&news, PollFlags::IN)];
        if rustix::event::poll(&mut fds, None).is_err() {
            continue;
        }
        let mut bytes = [0u8; 128];
        let _ = rustix::io::read(&news, &mut bytes[..]);
        match rustix::net::recv(control, &mut bytes[..], RecvFlags::DONTWAIT) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            Ok((_, 2)) if bytes[0] == SIGNAL => {
                if let (Some(pid), Some(signal)) = (program, Signal::from_named_raw(i32::from(bytes[1]))) {
                    let _ = rustix::process::kill_process(pid, signal);
                }
            }
            // Nobody is there any more.
            Ok((_, 0)) | Err(_) => {
                if let Some(pid) = program {
                    let _ = rustix::process::kill_process(pid, Signal::KILL);
                }
                sys::exit(128 + 9);
            }
            Ok(_) => {}
        }
    }
}

/// Takes note of every child that has ended; ends with the program.
fn bury(program: Option<Pid>) {
    while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
        if Some(pid) == program {
            let code = status.exit_status().or_else(|| status.terminating_signal().map(|n| 128 + n));
            sys::exit(code.unwrap_or(1));
        }
    }
}
