//! The same tests by an ordinary user, when these are run by root.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::roles;

/// Users and groups have this number on every distribution: `nobody`.
const NOBODY: u32 = 65_534;

#[test]
fn an_ordinary_user_can_do_all_of_it() {
    if !rustix::process::geteuid().is_root() {
        // Then every other test is that already.
        return;
    }
    let null = fs::metadata("/dev/null").unwrap().permissions().mode() & 0o777;
    assert_eq!(null, 0o666, "ordinary users cannot run programs on this machine: chmod 666 /dev/null");
    // What we are may lie where only root can look.
    let folder = std::env::temp_dir().join(format!("rt-attach-{}-ordinary", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    let program = folder.join("it");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new(&program);
    command.current_dir("/").gid(NOBODY).uid(NOBODY).env("HOME", "/").env_remove("SUDO_UID");
    let output = command.output().unwrap();
    fs::remove_dir_all(&folder).unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(!said.contains(" 0 passed"), "{said}");
}

/// Who calls `sudo` stays who they are inside, with what a guest needs.
#[test]
fn under_sudo_the_program_is_the_caller() {
    let user = NOBODY.to_string();
    let (_child, mut output) = roles::play("somebody", &[("SUDO_UID", &user), ("SUDO_GID", &user)]);
    let mut said = String::new();
    output.read_to_string(&mut said).unwrap();
    // Without being root, the variables mean nothing, and we are that user or another one anyway.
    let own = rustix::process::geteuid();
    let uid = if own.is_root() { NOBODY } else { own.as_raw() };
    let gid = if own.is_root() { NOBODY } else { rustix::process::getegid().as_raw() };
    let wanted = format!("0077\n{uid}\n{gid}\n{uid}\nCapEff:\t0000000000003400\n1 received\n");
    assert!(said.starts_with(&wanted), "{said}");
}
