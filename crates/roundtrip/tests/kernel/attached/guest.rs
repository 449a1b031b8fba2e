//! The program under test, started as a user starts it, and what it leaves.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// One run at a time: held by whoever has a [`Place`].
static ALONE: Mutex<()> = Mutex::new(());

/// A folder that is removed when dropped, and the right to run.
pub(crate) struct Place {
    folder: PathBuf,
    _alone: MutexGuard<'static, ()>,
}

impl Place {
    pub(crate) fn new(name: &str) -> Place {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = std::env::temp_dir().join(format!("roundtrip-kernel-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        Place { folder, _alone: alone }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Writes a file and says where.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// `roundtrip exec SCENARIO --as guest --out OUT -- sh -c SCRIPT`; its output goes to us.
    pub(crate) fn exec(&self, scenario: &Path, script: &str) -> Command {
        self.exec_as("guest", scenario, script)
    }

    /// The same on another machine.
    pub(crate) fn exec_as(&self, machine: &str, scenario: &Path, script: &str) -> Command {
        let mut command = roundtrip();
        command.arg("exec").arg(scenario).args(["--as", machine, "--out"]).arg(self.path("out"));
        command.args(["--", "sh", "-c", script]).current_dir(&self.folder);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

pub(crate) fn roundtrip() -> Command {
    Command::new(env!("CARGO_BIN_EXE_roundtrip"))
}

/// What a program said, and its end.
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Said {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Said { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    }
}

/// Runs to the end, which must come in time. What it says is short enough for a pipe or read by `wait_with_output`.
pub(crate) fn run(command: &mut Command, limit: Duration) -> Said {
    end(command.spawn().unwrap(), limit)
}

/// Waits for the end, which must come in time.
pub(crate) fn end(child: Child, limit: Duration) -> Said {
    let pid = child.id();
    let (done, over) = std::sync::mpsc::channel();
    std::thread::spawn(move || done.send(child.wait_with_output()));
    match over.recv_timeout(limit) {
        Ok(output) => output.unwrap().into(),
        Err(_) => {
            let state = std::fs::read_to_string(format!("/proc/{pid}/wchan")).unwrap_or_default();
            signal(pid, "KILL");
            panic!("it hangs (in {state})");
        }
    }
}

/// Sends a signal.
pub(crate) fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").args(["-s", name, "--", &pid.to_string()]).status().unwrap();
    assert!(status.success());
}

/// Waits until it is so.
pub(crate) fn until(what: &str, mut is: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is() {
        assert!(begin.elapsed() < Duration::from_secs(30), "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
