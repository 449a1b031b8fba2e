//! Running other programs from the root of the tree, and finding those that tests need.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The root of the tree.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// Runs a program in the root; its failure is an error that names it.
pub(crate) fn run(program: &str, args: &[&str]) -> Result<(), String> {
    run_with(program, args, &[])
}

/// The same with environment variables.
pub(crate) fn run_with(program: &str, args: &[&str], env: &[(&str, &str)]) -> Result<(), String> {
    let mut command = Command::new(program);
    command.args(args).current_dir(root()).envs(env.iter().copied());
    let status = command.status().map_err(|e| format!("cannot start {program}: {e}"))?;
    if status.success() { Ok(()) } else { Err(format!("failed: {program} {}", args.join(" "))) }
}

/// Runs a program in the root and returns what it printed.
pub(crate) fn output(program: &str, args: &[&str]) -> Result<String, String> {
    output_with(program, args, &[])
}

/// The same with environment variables.
pub(crate) fn output_with(program: &str, args: &[&str], env: &[(&str, &str)]) -> Result<String, String> {
    let out = Command::new(program)
        .args(args)
        .envs(env.iter().copied())
        .current_dir(root())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|e| format!("cannot start {program}: {e}"))?;
    if !out.status.success() {
        return Err(format!("failed: {program} {}", args.join(" ")));
    }
    String::from_utf8(out.stdout).map_err(|e| format!("{program}: {e}"))
}

/// Whether a program can be started. Some are where only root's path leads.
pub(crate) fn has(program: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    let places = path.split(':').chain(["/usr/sbin", "/sbin"]);
    places.filter(|place| !place.is_empty()).any(|place| Path::new(place).join(program).is_file())
}

/// Makes sure that this system gives namespaces, which real programs are put into.
pub(crate) fn need_namespaces() -> Result<(), String> {
    let is_root = output("id", &["-u"]).is_ok_and(|id| id.trim() == "0");
    let user: &[&str] = if is_root { &[] } else { &["--user", "--map-root-user"] };
    run("unshare", &[user, &["--net", "--mount", "--", "true"]].concat()).map_err(|_| {
        "this system refuses namespaces (see what unshare says above), which real programs need; --no-attach leaves them out"
            .into()
    })
}

/// Makes sure that programs are there, from the distribution's packages: installs them when run as root, else says
/// what to type.
pub(crate) fn need(programs: &[(&str, &str)]) -> Result<(), String> {
    let missing: Vec<&str> = programs.iter().filter(|(p, _)| !has(p)).map(|(_, package)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let line =
        format!("apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y {}", missing.join(" "));
    let is_root = output("id", &["-u"]).is_ok_and(|id| id.trim() == "0");
    if !is_root || !has("apt-get") {
        return Err(format!(
            "These packages are needed: {}. Type:\n  sudo sh -c '{line}'",
            missing.join(" ")
        ));
    }
    eprintln!("installing {}", missing.join(" "));
    run("sh", &["-c", &format!("({line}) >&2")])
}
