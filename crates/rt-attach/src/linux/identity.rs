//! Who a guest's program is: which user ids there are inside, which one is its own, and what it may do.
//!
//! | we are | ids inside | the program |
//! |---|---|---|
//! | an ordinary user | our own only | we, with the three capabilities of [`WANTED`] |
//! | an ordinary user, `GuestUser::Root` | our own only, named 0 | root of the namespaces |
//! | root through `sudo` | all | who called `sudo`, with the three capabilities |
//! | root, or `GuestUser::Root` | all | root of the namespaces, without rights over the machine |
//!
//! Root gets a user namespace too: its program could otherwise load modules or set the clock. Where user namespaces are off,
//! root does without.

use std::ffi::OsString;
use std::fs;

use rustix::fs::{Gid, Uid};
use rustix::io::Errno;
use rustix::thread::{self, CapabilitySet, CapabilitySets};

use crate::GuestUser;

/// What a program needs to capture, to configure its network, and to serve on a low port.
const WANTED: CapabilitySet =
    CapabilitySet::NET_RAW.union(CapabilitySet::NET_ADMIN).union(CapabilitySet::NET_BIND_SERVICE);

/// How ids inside relate to those outside.
pub(super) enum Map {
    /// As outside: no user namespace.
    Outside,
    /// One line for users and one for groups, which the new process writes itself.
    Single { users: Vec<u8>, groups: Vec<u8> },
    /// Lines that only we may write.
    All { users: Vec<u8>, groups: Vec<u8> },
}

/// Who a guest's program is.
pub(super) struct Identity {
    pub(super) map: Map,
    /// Who to become, if it is not who the new process is anyway.
    switch: Option<(Uid, Gid, Vec<Gid>)>,
    /// Whether capabilities must be raised, since the program is not root inside.
    raise: bool,
    /// Home folder and name, when it is not the caller.
    pub(super) account: Option<Account>,
}

/// An entry of `/etc/passwd`.
pub(super) struct Account {
    pub(super) name: String,
    pub(super) home: OsString,
}

impl Identity {
    /// Who a program is to be, started by this process.
    pub(super) fn new(user: GuestUser, user_namespace: bool) -> Identity {
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        if uid != 0 {
            let line = |outside: u32| match user {
                GuestUser::Caller => format!("{outside} {outside} 1").into_bytes(),
                GuestUser::Root => format!("0 {outside} 1").into_bytes(),
            };
            let map = Map::Single { users: line(uid), groups: line(gid) };
            return Identity { map, switch: None, raise: user == GuestUser::Caller, account: None };
        }
        let map = if user_namespace {
            Map::All { users: whole_map("/proc/self/uid_map"), groups: whole_map("/proc/self/gid_map") }
        } else {
            Map::Outside
        };
        match sudo_caller().filter(|_| user == GuestUser::Caller) {
            Some((uid, gid)) => {
                let account = account(uid);
                let groups = account.as_ref().map_or_else(Vec::new, |a| groups_of(&a.name));
                let groups = groups.into_iter().chain([gid]).map(Gid::from_raw).collect();
                let switch = Some((Uid::from_raw(uid), Gid::from_raw(gid), groups));
                Identity { map, switch, raise: true, account }
            }
            None => Identity { map, switch: None, raise: false, account: None },
        }
    }

    /// The ids that files made for the program must belong to, where they are not its own anyway.
    pub(super) fn owner(&self) -> Option<(u32, u32)> {
        self.switch.as_ref().map(|(uid, gid, _)| (uid.as_raw(), gid.as_raw()))
    }

    /// Whether the program is somebody else than root inside.
    pub(super) fn is_ordinary(&self) -> bool {
        self.raise
    }

    /// The range of groups that may ping without a capability: all that there are.
    pub(super) fn ping_groups(&self) -> Vec<u8> {
        match &self.map {
            Map::Single { groups, .. } => {
                let inside = groups.split(|b| *b == b' ').next().unwrap_or_default();
                [inside, b" ", inside].concat()
            }
            _ => b"0 2147483647".to_vec(),
        }
    }

    /// Becomes that user, with that user's rights. For a new process.
    pub(super) fn take_on(&self) -> Result<(), Errno> {
        if let Some((uid, gid, groups)) = &self.switch {
            thread::set_thread_groups(groups)?;
            thread::set_thread_res_gid(*gid, *gid, *gid)?;
            thread::set_keep_capabilities(true)?;
            thread::set_thread_res_uid(*uid, *uid, *uid)?;
        }
        if self.raise {
            let sets = CapabilitySets { effective: WANTED, permitted: WANTED, inheritable: WANTED };
            thread::set_capabilities(None, sets)?;
            for capability in
                [CapabilitySet::NET_RAW, CapabilitySet::NET_ADMIN, CapabilitySet::NET_BIND_SERVICE]
            {
                thread::configure_capability_in_ambient_set(capability, true)?;
            }
        }
        Ok(())
    }
}

/// Every id that we have, mapped to itself.
fn whole_map(path: &str) -> Vec<u8> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let mut map = String::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        if let (Some(inside), Some(_), Some(count)) = (words.next(), words.next(), words.next()) {
            map.push_str(&format!("{inside} {inside} {count}\n"));
        }
    }
    map.into_bytes()
}

/// Who called `sudo`, if it was not root.
fn sudo_caller() -> Option<(u32, u32)> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u32>().ok();
    let uid = number("SUDO_UID").filter(|uid| *uid != 0)?;
    Some((uid, number("SUDO_GID")?))
}

fn account(uid: u32) -> Option<Account> {
    let text = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let line = text.lines().find(|l| l.split(':').nth(2).is_some_and(|id| id.parse() == Ok(uid)))?;
    let (name, home) = (line.split(':').next()?, line.split(':').nth(5)?);
    Some(Account { name: name.to_owned(), home: home.into() })
}

fn groups_of(name: &str) -> Vec<u32> {
    let text = fs::read_to_string("/etc/group").unwrap_or_default();
    let member = |line: &&str| line.split(':').nth(3).is_some_and(|m| m.split(',').any(|n| n.trim() == name));
    text.lines().filter(member).filter_map(|l| l.split(':').nth(2)?.parse().ok()).collect()
}
