//! What a new process does before the program starts, as data: made by us, in peace, and carried out by [`Script::run`]
//! in the new process, where nothing may be allocated (see `sys`). A step that fails is told by its number, and only we
//! put it into words.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use rustix::process::WaitOptions;
use rustix::thread::{ThreadNameSpaceType, UnshareFlags};

use super::identity::Identity;
use super::netlink;
use super::sys::{self, End, Fork, Strings};

/// The most interfaces that a guest can have: what fits into one message of descriptors.
pub(super) const MAX_DEVICES: usize = 16;

/// One thing to do.
pub(super) enum Step {
    /// Write to a file that is there: a setting.
    Write { path: CString, bytes: Vec<u8> },
    /// Make a file.
    Create { path: CString, bytes: Vec<u8> },
    /// Make a folder; one that is there is fine.
    Folder { path: CString, mode: u32 },
    /// Give a file or folder to somebody.
    Own { path: CString, uid: u32, gid: u32 },
    /// Keep mounts from spreading, either way.
    PrivateMounts,
    /// Mount something new.
    Mount { kind: &'static CStr, target: CString, options: Option<CString> },
    /// Show one file or folder at the place of another.
    Bind { from: CString, to: CString },
    /// Take a mount away.
    Unmount { path: CString },
    /// Name the machine.
    Hostname { name: Vec<u8> },
    /// Tell the kernel about an interface, address or route.
    Netlink(netlink::Message),
    /// Make a TAP: a device.
    Tap { name: Vec<u8>, index: u32, offload: bool },
    /// Make a second network namespace, for the program; the first one is for our end of its cables.
    SplitNetwork,
    /// Go to our end's network namespace, or back to the program's.
    Cross { ours: bool },
    /// Open our end: a device.
    Packets { index: u32, offload: bool },
    /// Leave nothing to the card.
    OffloadsOff { name: Vec<u8> },
    /// Run a program to its end, silently, as the guest's user.
    Run(Program),
    /// The first list or, if one of it fails, the second.
    Either(Vec<Action>, Vec<Action>),
}

/// A step, its number, and whether we can do without it.
pub(super) struct Action {
    pub(super) step: Step,
    pub(super) number: u32,
    pub(super) optional: bool,
}

/// All steps, and what each number means in words that follow "cannot".
#[derive(Default)]
pub(super) struct Script {
    pub(super) actions: Vec<Action>,
    pub(super) words: Vec<String>,
    /// Numbers of the steps that make a TAP.
    pub(super) taps: Vec<u32>,
    /// What is known beforehand to be missing, in the same words.
    pub(super) missing: Vec<String>,
}

impl Script {
    /// A step to be added where the caller likes.
    pub(super) fn action(&mut self, words: impl Into<String>, step: Step) -> Action {
        let number = u32::try_from(self.words.len()).expect("invariant: a plan has few steps");
        self.words.push(words.into());
        if matches!(step, Step::Tap { .. }) {
            self.taps.push(number);
        }
        Action { step, number, optional: false }
    }

    /// Adds a step that must work.
    pub(super) fn must(&mut self, words: impl Into<String>, step: Step) {
        let action = self.action(words, step);
        self.actions.push(action);
    }

    /// Adds a step that we can do without.
    pub(super) fn may(&mut self, words: impl Into<String>, step: Step) {
        let action = self.action(words, step);
        self.actions.push(Action { optional: true, ..action });
    }

    /// Carries out all steps. For a new process.
    pub(super) fn run(&self, place: &mut Place<'_>) -> Result<(), Failure> {
        run_all(&self.actions, place)
    }
}

/// A step that failed.
#[derive(Clone, Copy)]
pub(super) struct Failure {
    pub(super) number: u32,
    pub(super) error: Errno,
}

/// Where the steps are carried out, and what they made.
pub(super) struct Place<'a> {
    pub(super) identity: &'a Identity,
    pub(super) devices: [Option<OwnedFd>; MAX_DEVICES],
    /// Namespaces of our ends and of the program's, once they are two.
    networks: Option<(OwnedFd, OwnedFd)>,
    /// Told about each optional step that failed.
    note: &'a dyn Fn(Failure),
}

impl<'a> Place<'a> {
    pub(super) fn new(identity: &'a Identity, note: &'a dyn Fn(Failure)) -> Place<'a> {
        Place { identity, devices: [const { None }; MAX_DEVICES], networks: None, note }
    }

    fn keep(&mut self, device: OwnedFd) -> Result<(), Errno> {
        match self.devices.iter_mut().find(|d| d.is_none()) {
            Some(free) => *free = Some(device),
            None => return Err(Errno::NFILE),
        }
        Ok(())
    }
}

fn run_all(actions: &[Action], place: &mut Place<'_>) -> Result<(), Failure> {
    for action in actions {
        let result = match &action.step {
            Step::Either(first, second) => match run_all(first, place) {
                Ok(()) => Ok(()),
                Err(failure) => {
                    (place.note)(failure);
                    run_all(second, place)
                }
            },
            step => run_one(step, place).map_err(|error| Failure { number: action.number, error }),
        };
        match result {
            Err(failure) if action.optional => (place.note)(failure),
            other => other?,
        }
    }
    Ok(())
}

fn run_one(step: &Step, place: &mut Place<'_>) -> Result<(), Errno> {
    match step {
        Step::Write { path, bytes } => write(path, OFlags::WRONLY, bytes),
        Step::Create { path, bytes } => {
            write(path, OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW, bytes)
        }
        Step::Folder { path, mode } => match rustix::fs::mkdir(path, Mode::from_raw_mode(*mode)) {
            Err(Errno::EXIST) => Ok(()),
            other => other,
        },
        Step::Own { path, uid, gid } => {
            let (uid, gid) = (rustix::fs::Uid::from_raw(*uid), rustix::fs::Gid::from_raw(*gid));
            rustix::fs::chown(path, Some(uid), Some(gid))
        }
        Step::PrivateMounts => {
            let flags = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
            rustix::mount::mount_change(c"/", flags)
        }
        Step::Mount { kind, target, options } => {
            let flags = MountFlags::NOSUID | MountFlags::NODEV;
            rustix::mount::mount(*kind, target, *kind, flags, options.as_deref())
        }
        Step::Bind { from, to } => rustix::mount::mount_bind(from, to),
        Step::Unmount { path } => rustix::mount::unmount(path, UnmountFlags::DETACH),
        Step::Hostname { name } => rustix::system::sethostname(name),
        Step::Netlink(message) => tell(message, place),
        Step::Tap { name, index, offload } => {
            let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK;
            let tun = rustix::fs::open(c"/dev/net/tun", flags, Mode::empty())?;
            sys::make_tap(tun.as_fd(), name, *index, *offload)?;
            place.keep(tun)
        }
        Step::SplitNetwork => split(place),
        Step::Cross { ours } => {
            let (one, other) = place.networks.as_ref().ok_or(Errno::INVAL)?;
            enter(if *ours { one } else { other }.as_fd(), ThreadNameSpaceType::NETWORK)
        }
        Step::Packets { index, offload } => place.keep(sys::packet_socket(*index, *offload)?),
        Step::OffloadsOff { name } => {
            let (family, kind) = (rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM);
            let socket = rustix::net::socket(family, kind, None)?;
            sys::offloads_off(socket.as_fd(), name)
        }
        Step::Run(program) => program.run_silently(place.identity),
        Step::Either(..) => Ok(()),
    }
}

/// Joins a namespace. For a new process.
pub(super) fn enter(namespace: BorrowedFd<'_>, kinds: ThreadNameSpaceType) -> Result<(), Errno> {
    rustix::thread::move_into_thread_name_spaces(namespace, kinds).or_else(|error| {
        // A descriptor of a namespace, not of a process, is taken by another name of the same call.
        if error == Errno::INVAL && kinds == ThreadNameSpaceType::NETWORK {
            let kind = Some(rustix::thread::LinkNameSpaceType::Network);
            return rustix::thread::move_into_link_name_space(namespace, kind);
        }
        Err(error)
    })
}

/// Whether a file cannot even be seen. For a new process.
fn hidden(path: &CStr) -> bool {
    rustix::fs::access(path, rustix::fs::Access::EXISTS).is_err()
}

fn write(path: &CStr, flags: OFlags, bytes: &[u8]) -> Result<(), Errno> {
    let file = rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::from_raw_mode(0o644))?;
    let mut rest = bytes;
    while !rest.is_empty() {
        let n = rustix::io::write(&file, rest)?;
        rest = rest.get(n..).unwrap_or_default();
        if n == 0 {
            return Err(Errno::IO);
        }
    }
    Ok(())
}

fn split(place: &mut Place<'_>) -> Result<(), Errno> {
    let open = || rustix::fs::open(c"/proc/self/ns/net", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let ours = open()?;
    // SAFETY: we share no table of descriptors with anybody, and this unshares none.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET)? };
    place.networks = Some((ours, open()?));
    Ok(())
}

/// Longer than any message of ours.
const MESSAGE: usize = 512;

fn tell(message: &netlink::Message, place: &Place<'_>) -> Result<(), Errno> {
    let mut copy = [0u8; MESSAGE];
    let bytes = copy.get_mut(..message.bytes.len()).ok_or(Errno::MSGSIZE)?;
    bytes.copy_from_slice(&message.bytes);
    if let Some(at) = message.namespace_at {
        let (ours, _) = place.networks.as_ref().ok_or(Errno::INVAL)?;
        let number = std::os::fd::AsRawFd::as_raw_fd(ours).to_ne_bytes();
        bytes.get_mut(at..).and_then(|b| b.get_mut(..4)).ok_or(Errno::MSGSIZE)?.copy_from_slice(&number);
    }
    netlink::ask(bytes)
}

/// A program to be started: where it may be, what it is given.
pub(super) struct Program {
    /// Files to try, in order; with the arguments for a shell, if it is a script without a first line that says so.
    pub(super) candidates: Vec<(CString, Strings)>,
    pub(super) arguments: Strings,
    pub(super) environment: Strings,
    pub(super) folder: Option<CString>,
}

impl Program {
    /// Becomes that program, with all signals as a shell leaves them; returns only if it cannot. For a new process.
    pub(super) fn become_it(&self, identity: &Identity) -> Errno {
        if let Err(error) = identity.take_on() {
            return error;
        }
        if let Some(folder) = &self.folder {
            // A folder that is hidden inside, or not ours to enter: the program starts where it can.
            let _ = rustix::process::chdir(folder).or_else(|_| rustix::process::chdir(c"/"));
        }
        sys::block_signals(false);
        let mut worst = Errno::NOENT;
        for (path, script) in &self.candidates {
            match sys::exec(path, &self.arguments, &self.environment) {
                Errno::NOENT | Errno::NOTDIR => {}
                Errno::NOEXEC => return sys::exec(c"/bin/sh", script, &self.environment),
                // A folder of the path into which we may not look has nothing for us.
                Errno::ACCESS if self.candidates.len() > 1 && hidden(path) => {}
                // Maybe the next folder of the path has one that can be run.
                error => worst = error,
            }
        }
        worst
    }

    /// Runs it to its end without a terminal; any exit code but 0 is an error. For a new process.
    fn run_silently(&self, identity: &Identity) -> Result<(), Errno> {
        // SAFETY: the new process only opens, duplicates and executes.
        match unsafe { sys::fork(0, End::Told)? } {
            Fork::New => {
                if let Ok(null) = rustix::fs::open(c"/dev/null", OFlags::RDWR, Mode::empty()) {
                    let _ = rustix::stdio::dup2_stdin(&null);
                    let _ = rustix::stdio::dup2_stdout(&null);
                    let _ = rustix::stdio::dup2_stderr(&null);
                }
                self.become_it(identity);
                sys::exit(127)
            }
            Fork::Old { pid, .. } => loop {
                match rustix::process::waitpid(rustix::process::Pid::from_raw(pid), WaitOptions::empty()) {
                    Err(Errno::INTR) => {}
                    Ok(Some((_, status))) if status.exit_status() == Some(0) => return Ok(()),
                    Ok(_) => return Err(Errno::IO),
                    Err(error) => return Err(error),
                }
            },
        }
    }
}
