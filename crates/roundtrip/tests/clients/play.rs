//! One run for the rows of a group, and the judging of each.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use regex_lite::{Regex, RegexBuilder};

use crate::support::{Folder, captures, faults, tshark};

/// A whole group must be done after so long, on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(400);
/// Users and groups have this number on every distribution: `nobody`.
const NOBODY: u32 = 65_534;

/// Some clients lie where only root's path leads.
const PATH: &str = "PATH=$PATH:/usr/sbin:/sbin\n";

/// What is looked at besides: the group's folder (with `run/`, and `work/` where the programs ran), and what the row said.
pub(crate) type Check = fn(&Path, &str) -> Result<(), String>;

/// One line of the table.
pub(crate) struct Row {
    /// The program, as in the page's list of versions.
    pub(crate) client: &'static str,
    /// A shell command on the laptop.
    pub(crate) asked: &'static str,
    /// What the page says of the answer.
    pub(crate) came: &'static str,
    /// The exit code.
    pub(crate) exit: i32,
    /// Patterns of lines that it must print, on stdout or stderr.
    pub(crate) said: &'static [&'static str],
    /// Patterns of lines that the story must have.
    pub(crate) told: &'static [&'static str],
    /// What else must hold.
    pub(crate) check: Option<Check>,
    /// Whether it runs outside, in the group's folder, once the run is over.
    pub(crate) after: bool,
}

impl Row {
    pub(crate) const NONE: Row =
        Row { client: "", asked: "", came: "", exit: 0, said: &[], told: &[], check: None, after: false };
}

/// Who runs the programs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum User {
    /// Whoever runs this test.
    Caller,
    /// Somebody without any rights.
    Ordinary,
}

/// Rows that share a run.
pub(crate) struct Group {
    /// The scenario's name, or a file's beside this one.
    pub(crate) scenario: &'static str,
    pub(crate) user: User,
    /// What runs in the background on other machines meanwhile.
    pub(crate) others: &'static [(&'static str, &'static str)],
    /// Files for the working directory.
    pub(crate) files: &'static [(&'static str, &'static str)],
    /// Patterns of tshark's warnings that a row explains.
    pub(crate) explained: &'static [&'static str],
    pub(crate) rows: &'static [(&'static str, Row)],
}

impl Group {
    pub(crate) const NONE: Group = Group {
        scenario: "playground",
        user: User::Caller,
        others: &[],
        files: &[],
        explained: &[],
        rows: &[],
    };
}

/// What became of a row.
struct Said {
    code: Option<i32>,
    text: String,
    checked: Result<(), String>,
}

/// What is left of a run.
pub(crate) struct Played {
    rows: BTreeMap<&'static str, Said>,
    story: String,
    /// What `exec` itself said, and how it ended.
    talk: String,
    ended_well: bool,
    packets: usize,
    faults: Vec<String>,
}

/// Plays a group's rows, in their order.
pub(crate) fn play(name: &str, group: &Group) -> Played {
    let folder = Folder::new(&format!("clients-{name}"));
    let work = folder.0.join("work");
    fs::create_dir_all(&work).unwrap();
    for (file, text) in group.files {
        fs::write(work.join(file), text).unwrap();
    }
    write_scripts(&work, group);
    let program = program(&folder.0, group.user);
    let mut command = Command::new(&program);
    command.args(["exec", group.scenario, "--out", "../run", "--as", "laptop", "--", "sh", "laptop.sh"]);
    for (node, _) in group.others {
        command.args(["--as", node, "--", "sh", &format!("{node}.sh")]);
    }
    if is_somebody_else(group.user) {
        command.gid(NOBODY).uid(NOBODY).env("HOME", "/").env_remove("SUDO_UID");
    }
    let (ended_well, talk) = run(command.current_dir(&work), &folder.0.join("talk"));
    let story = Command::new(&program).args(["follow", "run"]).current_dir(&folder.0).output().unwrap();
    for (name, _) in group.rows.iter().filter(|(_, row)| row.after) {
        let script = work.join(format!("{name}.sh"));
        let out = Command::new("sh").arg(&script).current_dir(&folder.0).output().unwrap();
        keep(&work, name, out.status.code(), &[out.stdout, out.stderr].concat());
    }
    let mut played = Played {
        rows: BTreeMap::new(),
        story: String::from_utf8_lossy(&story.stdout).into_owned(),
        talk,
        ended_well,
        packets: 0,
        faults: Vec::new(),
    };
    for (name, row) in group.rows {
        played.rows.insert(name, said(&folder.0, name, row));
    }
    if folder.0.join("run/captures").is_dir() {
        judge_captures(&folder.0, group, &mut played);
    }
    if std::env::var_os("KEEP_RUNS").is_some() {
        std::mem::forget(folder);
    }
    played
}

fn keep(work: &Path, name: &str, code: Option<i32>, text: &[u8]) {
    fs::write(work.join(format!("{name}.said")), text).unwrap();
    fs::write(work.join(format!("{name}.code")), format!("{}", code.unwrap_or(-1))).unwrap();
}

/// A script for every row and for every machine.
fn write_scripts(work: &Path, group: &Group) {
    let mut laptop = PATH.to_owned();
    for (node, _) in group.others {
        laptop += &format!("until [ -e {node}.ready ]; do sleep 0.1; done\n");
    }
    for (name, row) in group.rows {
        fs::write(work.join(format!("{name}.sh")), format!("{}\n", row.asked)).unwrap();
        if !row.after {
            laptop +=
                &format!("timeout 90 sh {name}.sh >{name}.said 2>&1 </dev/null; echo $? >{name}.code\n");
        }
    }
    laptop += "touch done\n";
    fs::write(work.join("laptop.sh"), laptop).unwrap();
    for (node, servers) in group.others {
        let text = format!(
            "{PATH}({servers}) >{node}.said 2>&1 </dev/null &\nsleep 1; touch {node}.ready\n\
             until [ -e done ]; do sleep 0.1; done\n"
        );
        fs::write(work.join(format!("{node}.sh")), text).unwrap();
    }
}

/// Whether this test has to become somebody else.
fn is_somebody_else(user: User) -> bool {
    let root = fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0);
    user == User::Ordinary && root
}

/// The program to be run: somebody else may not look where it lies.
fn program(folder: &Path, user: User) -> PathBuf {
    let own = PathBuf::from(env!("CARGO_BIN_EXE_roundtrip"));
    if !is_somebody_else(user) {
        return own;
    }
    let copy = folder.join("roundtrip");
    fs::copy(own, &copy).unwrap();
    for (path, mode) in [(folder, 0o777), (&folder.join("work"), 0o777), (&copy, 0o755)] {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }
    copy
}

/// Runs `exec`; whether it ended well, and what it said.
fn run(command: &mut Command, talk: &Path) -> (bool, String) {
    let file = File::create(talk).unwrap();
    let mut child =
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file).spawn().unwrap();
    let begun = Instant::now();
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break Some(status),
            None if begun.elapsed() > PATIENCE => break None,
            None => std::thread::sleep(Duration::from_millis(50)),
        }
    };
    if status.is_none() {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let talk = String::from_utf8_lossy(&fs::read(talk).unwrap()).into_owned();
    (status.is_some_and(|s| s.success()), talk)
}

fn said(folder: &Path, name: &str, row: &Row) -> Said {
    let work = folder.join("work");
    let read = |end: &str| fs::read(work.join(format!("{name}.{end}"))).unwrap_or_default();
    let text = String::from_utf8_lossy(&read("said")).into_owned();
    let code = String::from_utf8_lossy(&read("code")).trim().parse().ok();
    let checked = row.check.map_or(Ok(()), |check| check(folder, &text));
    Said { code, text, checked }
}

fn judge_captures(folder: &Path, group: &Group, played: &mut Played) {
    let explained: Vec<Regex> = group.explained.iter().map(|p| pattern(p)).collect();
    for capture in captures(&folder.join("run")).iter().filter(|c| has_packets(&fs::read(c).unwrap())) {
        let (packets, bad) = faults(capture);
        played.packets += packets;
        let copies = bad.iter().filter(|line| is_copy(line)).count();
        let real = copies > 0 && retransmissions(capture) >= copies;
        let is_explained = |line: &str| real && is_copy(line) || explained.iter().any(|p| p.is_match(line));
        let bad = bad.iter().filter(|line| !is_explained(line));
        let name = capture.file_name().unwrap().to_string_lossy();
        played.faults.extend(bad.map(|line| format!("{name}: {line}")));
    }
}

/// Whether tshark says so of a D-SACK; a packet's comment may stand before it.
fn is_copy(line: &str) -> bool {
    line.contains("|D-SACK Sequence") || line.contains(",D-SACK Sequence")
}

/// How often something was sent again. When this computer is late, a real kernel's probe repeats what had arrived already, and
/// the other end says so with a D-SACK: as many of these may be there.
fn retransmissions(capture: &Path) -> usize {
    let again = "tcp.analysis.retransmission or tcp.analysis.spurious_retransmission";
    tshark(capture, &["-Y", again]).lines().count()
}

/// Whether a pcapng file has an enhanced packet block.
fn has_packets(mut bytes: &[u8]) -> bool {
    let number = |bytes: &[u8], at| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    while bytes.len() >= 12 {
        if number(bytes, 0) == 6 {
            return true;
        }
        bytes = bytes.get((number(bytes, 4) as usize).max(12)..).unwrap_or_default();
    }
    false
}

/// `^` and `$` mean lines.
pub(crate) fn pattern(text: &str) -> Regex {
    RegexBuilder::new(text).multi_line(true).build().unwrap_or_else(|e| panic!("{text}: {e}"))
}

/// Judges one row.
#[track_caller]
pub(crate) fn judge(group: &Group, played: &Played, name: &str) {
    let (_, row) = group.rows.iter().find(|(n, _)| *n == name).unwrap();
    let said = &played.rows[name];
    let mut wrong = Vec::new();
    if said.code != Some(row.exit) {
        wrong.push(format!("exit code {:?} instead of {}", said.code, row.exit));
    }
    wrong.extend(row.said.iter().filter(|p| !pattern(p).is_match(&said.text)).map(|p| format!("no {p:?}")));
    let untold = row.told.iter().filter(|p| !pattern(p).is_match(&played.story));
    wrong.extend(untold.map(|p| format!("the story has no {p:?}")));
    wrong.extend(said.checked.clone().err());
    assert!(
        wrong.is_empty(),
        "$ {}\n{}\nwrong: {}\n{}",
        row.asked,
        said.text,
        wrong.join("\n       "),
        played.talk
    );
}

/// Judges the run as a whole.
#[track_caller]
pub(crate) fn judge_run(played: &Played) {
    assert!(played.ended_well, "exec failed:\n{}", played.talk);
    assert!(played.packets > 0, "no packet in any capture");
    assert!(
        played.faults.is_empty(),
        "tshark says of {} packets:\n{}",
        played.faults.len(),
        played.faults.join("\n")
    );
}
