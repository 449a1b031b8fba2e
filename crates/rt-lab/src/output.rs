//! A run's folder: what is written where. Captures and the event store are written as things happen; everything else
//! appears whole or not at all (written beside, then renamed).

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rt_base::{Event, EventId, Frame, NodeId, PortId, Recorder, Time, Way};
use rt_files::{junit, perfetto};
use rt_scenario::Model;
use rt_trace::Trace;
use rt_trace::story::Story;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::attach::{INPUTS_FILE, is_key_log};
use crate::expect::{self, Checked};
use crate::record::{CAPTURES, Files};
use crate::{Comments, Refusal, StepOutcome, annotate, export, html};

/// The file that says what a folder holds.
pub(crate) const RUN_FILE: &str = "run.json";
/// The lowered model that was run, so that the folder alone is enough to make the run again.
pub(crate) const MODEL_FILE: &str = "model.json";
/// Version of `run.json`.
const RUN_VERSION: u32 = 1;

/// Says who is writing, while somebody is.
const WRITER_FILE: &str = ".writer";

/// The folder being written. Nobody else of ours writes to it meanwhile.
pub(crate) struct Folder {
    path: PathBuf,
    _lock: Lock,
    files: Arc<Mutex<Files>>,
}

/// What there is to write at the end.
pub(crate) struct Told<'a> {
    pub(crate) model: &'a Model,
    pub(crate) trace: &'a Trace,
    pub(crate) story: &'a Story,
    pub(crate) outcomes: &'a [StepOutcome],
    pub(crate) checks: &'a [Checked],
    pub(crate) until: Option<Time>,
    /// What there is to say of real programs in it.
    pub(crate) attached: Option<Value>,
}

/// The recorder's half of a folder's files.
struct Shared(Arc<Mutex<Files>>);

impl Recorder for Shared {
    fn event(&mut self, event: &Event) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).event(event);
    }

    fn frame(&mut self, at: Time, node: NodeId, port: PortId, way: Way, frame: &Frame, event: EventId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).frame(at, node, port, way, frame, event);
    }
}

impl Folder {
    /// Makes the folder and opens what is written during the run. The recording of an earlier run is taken away, that of one
    /// under way is not.
    ///
    /// # Errors
    /// [`Refusal::Misuse`] when it is no folder or another run writes to it, [`Refusal::Io`] when it cannot be written.
    pub(crate) fn open(path: &Path, model: &Model) -> Result<Folder, Refusal> {
        let lock = clear(path)?;
        let files = Files::open(path, model).map_err(|e| Refusal::io("write to", path, e))?;
        Ok(Folder { path: path.to_path_buf(), _lock: lock, files: Arc::new(Mutex::new(files)) })
    }

    pub(crate) fn recorder(&self) -> Box<dyn Recorder> {
        Box::new(Shared(Arc::clone(&self.files)))
    }

    /// Closes the captures and writes the rest.
    pub(crate) fn finish(self, told: &Told<'_>, comments: Comments) -> Result<(), Refusal> {
        let result = self.files.lock().unwrap_or_else(PoisonError::into_inner).finish();
        result.map_err(|(what, e)| Refusal::io("write", &self.path.join(what), e))?;
        if comments != Comments::None && told.trace.frames_lost == 0 {
            annotate::captures(&self.path.join(CAPTURES), told, comments)?;
        }
        let version = env!("CARGO_PKG_VERSION");
        let model = serde_json::to_string(told.model).map_or_else(|e| e.to_string(), |text| text + "\n");
        let whole: [(&str, String); 7] = [
            (MODEL_FILE, model),
            ("story.txt", rt_trace::render::text(told.story)),
            ("story.json", story_json(told.story)),
            ("story.html", html::page(told.trace, told.story)),
            ("page.har", export::har(version, told)),
            ("trace.json", perfetto::document(&export::tracks(told))),
            ("junit.xml", junit::document(&told.model.name, &expect::cases(told.checks, told.story))),
        ];
        for (name, text) in &whole {
            write_whole(&self.path.join(name), text.as_bytes())?;
        }
        for (node, text) in crate::forward::access_logs(told.trace) {
            write_whole(&self.path.join(format!("access-{node}.log")), text.as_bytes())?;
        }
        for (node, text) in crate::forward::web_logs(told.trace) {
            write_whole(&self.path.join(format!("web-access-{node}.log")), text.as_bytes())?;
        }
        let run = run_json(&self.path, told)?;
        write_whole(&self.path.join(RUN_FILE), format!("{run:#}\n").as_bytes())
    }
}

/// The story as its file has it.
pub(crate) fn story_json(story: &Story) -> String {
    serde_json::to_string_pretty(story).map_or_else(|e| e.to_string(), |text| text + "\n")
}

/// Writes beside, then renames.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), Refusal> {
    let name = path.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
    let part = path.with_file_name(format!(".{name}.part"));
    let written = fs::write(&part, bytes).and_then(|()| fs::rename(&part, path));
    written.map_err(|e| Refusal::io("write", path, e))
}

/// Makes a folder, for what may be no whole run, and takes the right to write to it. An earlier run in it is one no more.
pub(crate) fn clear(path: &Path) -> Result<Lock, Refusal> {
    let io = |e| Refusal::io("write to", path, e);
    if path.exists() && !path.is_dir() {
        let why = format!("{} is a file, not a folder: name a folder with --out", path.display());
        return Err(Refusal::Misuse { why });
    }
    fs::create_dir_all(path).map_err(io)?;
    let lock = Lock::take(path)?;
    remove_earlier(path).map_err(io)?;
    Ok(lock)
}

/// The right to write to a folder: a lock on the folder itself, which ends with the process at the latest.
///
/// Simplification: where the system locks no folders (Windows, some network file systems), nobody is kept out.
pub(crate) struct Lock {
    writer: PathBuf,
    _folder: Option<File>,
}

impl Lock {
    fn take(path: &Path) -> Result<Lock, Refusal> {
        let writer = path.join(WRITER_FILE);
        let folder = File::open(path).ok();
        if let Some(Err(TryLockError::WouldBlock)) = folder.as_ref().map(File::try_lock) {
            let who = fs::read_to_string(&writer).unwrap_or_default();
            let who = who.trim().parse::<u32>().map_or(String::new(), |id| format!(", process {id}"));
            let why = format!(
                "a run that is not over yet writes to {} (roundtrip{who}): wait for its end, or write elsewhere with --out DIR",
                path.display()
            );
            return Err(Refusal::Misuse { why });
        }
        // Only for the message above: who cannot be told is not told.
        let _ = fs::write(&writer, format!("{}\n", std::process::id()));
        Ok(Lock { writer, _folder: folder })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.writer);
    }
}

/// Takes away the recording of an earlier run, but only in a folder that is one of ours: its captures, the inputs that belong
/// to them, access logs, and the key logs of programs whose run was killed.
fn remove_earlier(path: &Path) -> std::io::Result<()> {
    let earlier = |name: &str| path.join(name).exists();
    if !earlier(RUN_FILE) && !earlier(INPUTS_FILE) {
        return Ok(());
    }
    for name in [RUN_FILE, INPUTS_FILE] {
        match fs::remove_file(path.join(name)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_access_log =
            ["access-", "web-access-"].iter().any(|kind| name.starts_with(kind)) && name.ends_with(".log");
        if is_key_log(&name) || is_access_log {
            fs::remove_file(entry.path())?;
        }
    }
    for entry in fs::read_dir(path.join(CAPTURES)).into_iter().flatten() {
        let file = entry?.path();
        if file.extension().is_some_and(|e| e == "pcapng") {
            fs::remove_file(file)?;
        }
    }
    Ok(())
}

fn run_json(path: &Path, told: &Told<'_>) -> Result<Value, Refusal> {
    let mut run = json!({
        "version": RUN_VERSION,
        "program": format!("roundtrip {}", env!("CARGO_PKG_VERSION")),
        "scenario": told.model.name,
        "file": told.model.file,
        "seed": told.story.seed,
        "until_ns": told.until.map(|t| t.0),
        "complete": told.story.complete,
        "steps": told.outcomes,
        "expectations": told.checks,
        "digests": digests(path)?,
    });
    if let (Some(attached), Some(run)) = (&told.attached, run.as_object_mut()) {
        run.insert("attached".into(), attached.clone());
    }
    Ok(run)
}

/// SHA-256 of every file of the folder, by name.
fn digests(path: &Path) -> Result<Value, Refusal> {
    let mut files = Vec::new();
    for folder in [path.to_path_buf(), path.join(CAPTURES)] {
        let entries = fs::read_dir(&folder).map_err(|e| Refusal::io("read", &folder, e))?;
        files.extend(entries.filter_map(Result::ok).map(|e| e.path()).filter(|p| p.is_file()));
    }
    files.sort();
    let mut digests = serde_json::Map::new();
    for file in files {
        let name = file.strip_prefix(path).unwrap_or(&file).display().to_string();
        if name.starts_with('.') || name == RUN_FILE || name == crate::attach::CA_FILE {
            continue;
        }
        let bytes = fs::read(&file).map_err(|e| Refusal::io("read", &file, e))?;
        digests.insert(name, json!(hex(&Sha256::digest(&bytes))));
    }
    Ok(Value::Object(digests))
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_run_writes_to_a_folder_at_a_time() {
        let path = std::env::temp_dir().join(format!("roundtrip-folder-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        let model = crate::Scenario::load("two-hosts").unwrap().model().clone();
        let refused = || Folder::open(&path, &model).err().map(|e| e.to_string());
        let first = Folder::open(&path, &model).unwrap();
        fs::write(path.join(INPUTS_FILE), "of the first").unwrap();
        let why = refused().unwrap();
        let process = format!("process {}", std::process::id());
        assert!(why.contains(&path.display().to_string()) && why.contains(&process), "{why}");
        assert!(why.contains("--out"), "{why}");
        assert_eq!(fs::read(path.join(INPUTS_FILE)).unwrap(), b"of the first");

        drop(first);
        fs::write(path.join(".keys-laptop.log"), "left by a run that was killed").unwrap();
        drop(Folder::open(&path, &model).unwrap());
        for name in [INPUTS_FILE, ".keys-laptop.log", WRITER_FILE] {
            assert!(!path.join(name).exists(), "{name}");
        }
        fs::remove_dir_all(&path).unwrap();
        fs::write(&path, "a file").unwrap();
        assert!(refused().unwrap().contains("is a file, not a folder"));
        fs::remove_file(&path).unwrap();
    }
}
