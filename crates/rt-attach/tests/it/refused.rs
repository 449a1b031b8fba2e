//! Where namespaces are refused: what is said, and what works without. The settings are those of a user namespace of our own
//! (`unshare` of util-linux), so those of the machine stay as they are.

use std::process::Command;

use crate::roles;

/// What a role says, played as root of a user namespace with such settings.
fn applicant(settings: &[&str]) -> String {
    let words = roles::command("applicant");
    let mut script = String::new();
    for setting in settings {
        script.push_str(&format!("echo 0 > /proc/sys/user/max_{setting}_namespaces && "));
    }
    script.push_str("exec \"$@\"");
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "sh", "-c", &script, "sh"]).args(words);
    let output = command.output().unwrap_or_else(|error| panic!("unshare (package util-linux): {error}"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said.split_once("ready\n").unwrap().1.to_owned()
}

#[test]
fn guests_nest() {
    let said = applicant(&[]);
    assert!(said.starts_with("true\nOk(0)\n"), "{said}");
}

#[test]
fn root_needs_no_user_namespace() {
    let said = applicant(&["user"]);
    assert!(said.starts_with("true\nOk(0)\n"), "{said}");
    assert!(said.contains("without user namespaces, as root"), "{said}");
}

#[test]
fn a_refusal_names_the_settings_and_what_still_works() {
    let said = applicant(&["user", "net"]);
    let line = "Namespaces, in which real programs run, are refused. They are switched off: `sudo sysctl \
                user.max_user_namespaces=10000 user.max_net_namespaces=10000` allows them. Everything that needs no \
                real program (`roundtrip run`, `follow`, `replay`) works as it is.";
    assert!(said.starts_with(&format!("false\nErr({line:?})\n{line}\n")), "{said}");
}
