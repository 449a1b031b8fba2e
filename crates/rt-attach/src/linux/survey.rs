//! What attaching needs of the system, and which of its settings refuse it: a bare "operation not permitted" helps nobody.

use std::fs;
use std::io;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::sys::{self, End, Fork};
use super::{Blocked, NAMESPACES};
use crate::{AttachError, Finding};

/// Whether an error of `clone` means that somebody does not want us to have namespaces.
pub(super) fn is_refusal(error: Errno) -> bool {
    matches!(error, Errno::PERM | Errno::ACCESS | Errno::NOSPC | Errno::USERS | Errno::INVAL | Errno::NOSYS)
}

/// What a failed `clone` means.
pub(super) fn refused(error: Errno) -> AttachError {
    if is_refusal(error) {
        return AttachError::Refused { why: why_no_namespaces(error) };
    }
    AttachError::Step { what: "start a process in new namespaces".to_owned(), error: error.into() }
}

/// What a failed step means.
pub(super) fn failed(what: String, error: Errno, tap: bool) -> AttachError {
    if tap {
        let why = format!("{} (/dev/net/tun {})", io::Error::from(error), tun_state());
        return AttachError::Step { what, error: io::Error::new(io::Error::from(error).kind(), why) };
    }
    if matches!(error, Errno::PERM | Errno::ACCESS) {
        // Some systems grant a namespace without rights in it.
        if let Some(why) = setting() {
            return AttachError::Refused { why: format!("cannot {what}: {error}. {why}") };
        }
    }
    AttachError::Step { what, error: error.into() }
}

/// What attaching needs, and whether it is to be had here.
#[must_use]
pub fn survey() -> Vec<Finding> {
    let root = rustix::process::geteuid().is_root();
    let mut findings = vec![try_namespaces(root)];
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let tun = rustix::fs::open(c"/dev/net/tun", flags, Mode::empty());
    findings.push(Finding {
        what: "TAP devices",
        found: tun.is_ok(),
        essential: false,
        detail: match tun {
            Ok(_) => "/dev/net/tun can be opened".to_owned(),
            Err(error) => format!(
                "/dev/net/tun {}: {}. A veth pair is used instead, at about half the speed",
                tun_state(),
                io::Error::from(error)
            ),
        },
    });
    let overlay = fs::read_to_string("/proc/filesystems").unwrap_or_default().contains("overlay");
    findings.push(Finding {
        what: "overlay file system",
        found: overlay,
        essential: false,
        detail: if overlay {
            "the kernel has it: files under /etc can be changed inside".to_owned()
        } else {
            "not loaded: files under /etc are covered one by one and cannot be replaced inside".to_owned()
        },
    });
    let path = std::env::var_os("PATH").unwrap_or_default();
    let certutil = std::env::split_paths(&path).any(|folder| folder.join("certutil").is_file());
    findings.push(Finding {
        what: "certutil",
        found: certutil,
        essential: false,
        detail: if certutil {
            "found: browsers can be made to trust the simulated authorities".to_owned()
        } else {
            "missing (package libnss3-tools): Chromium will not trust the simulated authorities".to_owned()
        },
    });
    findings
}

/// Makes namespaces as a launch does, and lets them go.
fn try_namespaces(root: bool) -> Finding {
    let mut result = probe(NAMESPACES | libc::CLONE_NEWUSER);
    let mut detail = "user, network, mount and process namespaces can be made".to_owned();
    if root && result.is_err() {
        result = probe(NAMESPACES);
        detail =
            "network, mount and process namespaces can be made, without user namespaces, as root".to_owned();
    }
    let restricted =
        result.is_ok() && !root && is_one("/proc/sys/kernel/apparmor_restrict_unprivileged_userns");
    let (found, detail) = match result {
        Ok(()) if restricted => (false, setting().unwrap_or(detail)),
        Ok(()) => (true, detail),
        Err(error) => (false, why_no_namespaces(error)),
    };
    Finding { what: "namespaces", found, essential: true, detail }
}

fn probe(namespaces: std::ffi::c_int) -> Result<(), Errno> {
    let _blocked = Blocked::all();
    // SAFETY: the new process does nothing but end.
    match unsafe { sys::fork(namespaces, End::Silent)? } {
        Fork::New => sys::exit(0),
        Fork::Old { pidfd, .. } => {
            let id = rustix::process::WaitId::PidFd(std::os::fd::AsFd::as_fd(&pidfd));
            rustix::process::waitid(id, rustix::process::WaitIdOptions::EXITED | super::guest::SILENT)?;
            Ok(())
        }
    }
}

fn why_no_namespaces(error: Errno) -> String {
    let why = setting().unwrap_or_else(|| {
        format!(
            "{}, though no setting of the kernel forbids them: it is probably the filter of a container (seccomp) or of a \
             service manager. In Docker, `--cap-add SYS_ADMIN --security-opt seccomp=unconfined` allows them.",
            io::Error::from(error)
        )
    });
    let rest = "Everything that needs no real program (`roundtrip run`, `follow`, `replay`) works as it is.";
    format!("Namespaces, in which real programs run, are refused. {why} {rest}")
}

/// The setting that forbids namespaces to us, with what to type, if there is one.
fn setting() -> Option<String> {
    let path = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns";
    let root = rustix::process::geteuid().is_root();
    if !root && is_one(path) {
        return Some(
            "AppArmor allows user namespaces only to programs that it knows: \
             `sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0` allows them to all, `sudo roundtrip ...` \
             works without."
                .to_owned(),
        );
    }
    if !root && is("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        return Some(
            "User namespaces are for root only: `sudo sysctl kernel.unprivileged_userns_clone=1` allows them, \
             `sudo roundtrip ...` works without."
                .to_owned(),
        );
    }
    let off: Vec<String> = ["user", "net", "mnt", "pid", "uts", "ipc"]
        .iter()
        .filter(|name| is(&format!("/proc/sys/user/max_{name}_namespaces"), "0"))
        .map(|name| format!("user.max_{name}_namespaces=10000"))
        .collect();
    if !off.is_empty() {
        return Some(format!("They are switched off: `sudo sysctl {}` allows them.", off.join(" ")));
    }
    if !Path::new("/proc/self/ns/user").exists() {
        return Some("This kernel was built without user namespaces; `sudo roundtrip ...` works.".to_owned());
    }
    None
}

fn is_one(path: &str) -> bool {
    is(path, "1")
}

fn is(path: &str, value: &str) -> bool {
    fs::read_to_string(path).is_ok_and(|text| text.trim() == value)
}

fn tun_state() -> String {
    use std::os::unix::fs::MetadataExt;
    match fs::metadata("/dev/net/tun") {
        Ok(data) => format!("has mode {:04o} and belongs to user {}", data.mode() & 0o7777, data.uid()),
        Err(_) => "is not there".to_owned(),
    }
}
