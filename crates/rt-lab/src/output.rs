//! A run's folder: what is written where. Captures and the event store are written as things happen; everything else
//! appears whole or not at all (written beside, then renamed).

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rt_base::{Event, EventId, Frame, NodeId, PortId, Recorder, Time, Way};
use rt_files::{junit, perfetto};
use rt_scenario::Model;
use rt_trace::Trace;
use rt_trace::story::Story;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::expect::{self, Checked};
use crate::record::{CAPTURES, Files};
use crate::{Comments, Refusal, StepOutcome, annotate, export, html};

/// The file that says what a folder holds.
pub(crate) const RUN_FILE: &str = "run.json";
/// The lowered model that was run, so that the folder alone is enough to make the run again.
pub(crate) const MODEL_FILE: &str = "model.json";
/// Version of `run.json`.
const RUN_VERSION: u32 = 1;

/// The folder being written.
pub(crate) struct Folder {
    path: PathBuf,
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
    /// Makes the folder and opens what is written during the run. The captures of an earlier run are taken away.
    pub(crate) fn open(path: &Path, model: &Model) -> Result<Folder, Refusal> {
        clear(path)?;
        let files = Files::open(path, model).map_err(|e| Refusal::io("write to", path, e))?;
        Ok(Folder { path: path.to_path_buf(), files: Arc::new(Mutex::new(files)) })
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

/// Makes a folder for what is no whole run. An earlier run in it is one no more.
pub(crate) fn clear(path: &Path) -> Result<(), Refusal> {
    let io = |e| Refusal::io("write to", path, e);
    fs::create_dir_all(path).map_err(io)?;
    remove_earlier(path).map_err(io)
}

/// Takes away the captures of an earlier run, but only in a folder that is one of ours.
fn remove_earlier(path: &Path) -> std::io::Result<()> {
    if !path.join(RUN_FILE).exists() {
        return Ok(());
    }
    fs::remove_file(path.join(RUN_FILE))?;
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
