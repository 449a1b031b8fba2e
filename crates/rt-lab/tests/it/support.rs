//! Runs in folders of their own, and outside programs.

use std::path::{Path, PathBuf};
use std::process::Command;

use rt_lab::{Run, RunOptions, Scenario};

/// A fresh folder that is removed when dropped.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("roundtrip-lab-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs a scenario with its files in `folder`.
pub(crate) fn run_in(folder: &Path, scenario: &str, seed: u64) -> Run {
    let mut options = RunOptions::new(seed);
    options.out = Some(folder.to_path_buf());
    Scenario::load(scenario).unwrap().run(options).unwrap()
}

/// What an outside program printed. Its absence is a failure: `cargo xtask ci` installs it.
pub(crate) fn outside(program: &str, args: &[&str]) -> String {
    let out =
        Command::new(program).args(args).output().unwrap_or_else(|e| panic!("{program} is needed: {e}"));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// tshark over one capture with every checksum checked.
pub(crate) fn tshark(capture: &Path, more: &[&str]) -> String {
    let path = capture.display().to_string();
    let mut args = vec!["-n", "-r", path.as_str()];
    for layer in ["ip", "tcp", "udp"] {
        args.push("-o");
        args.push(match layer {
            "ip" => "ip.check_checksum:TRUE",
            "tcp" => "tcp.check_checksum:TRUE",
            _ => "udp.check_checksum:TRUE",
        });
    }
    args.extend(more);
    outside("tshark", &args)
}

/// `_ws.expert.severity` of Warn.
const WARN: u32 = 6_291_456;

/// How many packets a capture has, and those that tshark calls malformed or has an expert item of severity Warn or above
/// for, as lines `malformed|severities|messages|info`.
pub(crate) fn faults(capture: &Path) -> (usize, Vec<String>) {
    let fields = ["-T", "fields", "-E", "separator=|", "-e", "_ws.malformed", "-e", "_ws.expert.severity"];
    let more = ["-e", "_ws.expert.message", "-e", "_ws.col.Info"];
    let all = tshark(capture, &[&fields[..], &more[..]].concat());
    let bad = all.lines().filter(|line| is_bad(line)).map(str::to_owned).collect();
    (all.lines().count(), bad)
}

fn is_bad(line: &str) -> bool {
    let mut fields = line.split('|');
    let malformed = fields.next().is_some_and(|f| !f.is_empty());
    let severities = fields.next().unwrap_or_default().split(',');
    malformed || severities.filter_map(|s| s.parse::<u32>().ok()).any(|s| s >= WARN)
}

/// All captures of one interface (not `world.pcapng`, where a packet appears once per interface).
pub(crate) fn captures(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder.join("captures")).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == "pcapng") && !p.ends_with("world.pcapng"));
    paths.sort();
    paths
}
