//! What a run leaves: processes, namespaces, mounts, interfaces, files.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::guest::{Place, Said, end, until};

/// In the environment of everything that a run starts.
const MARK: &str = "ROUNDTRIP_TEST_MARK";

/// The machine before a run; the run's own mark and its own folder for temporary files.
pub(crate) struct Before {
    mark: String,
    temporary: PathBuf,
    mounts: BTreeSet<String>,
    interfaces: BTreeSet<String>,
}

impl Before {
    pub(crate) fn look(place: &Place) -> Before {
        let temporary = place.path("tmp");
        std::fs::create_dir_all(&temporary).unwrap();
        let mark = place.path("").display().to_string();
        Before { mark, temporary, mounts: mounts(), interfaces: interfaces() }
    }

    /// Marks what `command` will start.
    pub(crate) fn mark(&self, command: &mut Command) {
        command.env(MARK, &self.mark).env("TMPDIR", &self.temporary);
    }

    /// Starts it marked, waits for its end, and looks whether it left anything.
    pub(crate) fn run(&self, command: &mut Command, limit: u64) -> Said {
        self.mark(command);
        let said = end(command.spawn().unwrap(), Duration::from_secs(limit));
        self.nothing_is_left();
        said
    }

    /// The processes of the run that live: those with its mark.
    pub(crate) fn processes(&self) -> Vec<u32> {
        let wanted = format!("{MARK}={}", self.mark);
        let all = std::fs::read_dir("/proc").unwrap();
        let pids = all.filter_map(|e| e.unwrap().file_name().to_str()?.parse::<u32>().ok());
        let is_ours = |pid: &u32| {
            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|b| *b == 0).any(|word| word == wanted.as_bytes())
        };
        pids.filter(is_ours).collect()
    }

    /// The network namespaces that the run's processes are in, besides ours.
    pub(crate) fn namespaces(&self) -> BTreeSet<PathBuf> {
        let of = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/net")).ok();
        let ours = of("self");
        let all = self.processes().into_iter().filter_map(|pid| of(&pid.to_string()));
        all.filter(|n| Some(n) != ours.as_ref()).collect()
    }

    /// Nothing is left. A namespace lives by a process, a mount or a descriptor; descriptors end with processes.
    #[track_caller]
    pub(crate) fn nothing_is_left(&self) {
        until("all its processes are gone", || self.processes().is_empty());
        // Somebody else's may come and go meanwhile; ours would stay.
        until("all its mounts are gone", || new(&self.mounts, mounts()).is_empty());
        until("all its interfaces are gone", || new(&self.interfaces, interfaces()).is_empty());
        assert_eq!(names(&self.temporary), Vec::<String>::new(), "temporary files");
    }
}

fn new(before: &BTreeSet<String>, after: BTreeSet<String>) -> Vec<String> {
    after.into_iter().filter(|line| !before.contains(line)).collect()
}

/// Mount points and what is mounted there, without numbers. Namespaces that somebody has given a name (`ip netns`) are not ours.
fn mounts() -> BTreeSet<String> {
    let all = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let lines = all.lines().filter(|line| !line.contains(" /run/netns"));
    lines.map(|line| line.split(' ').skip(3).collect::<Vec<_>>().join(" ")).collect()
}

fn interfaces() -> BTreeSet<String> {
    names(Path::new("/sys/class/net")).into_iter().collect()
}

/// The names of what is in a folder.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}
