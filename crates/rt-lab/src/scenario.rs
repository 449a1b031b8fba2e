//! A scenario: a checked model from a file, a built-in name or a text.

use std::fs;
use std::path::{Path, PathBuf};

use rt_base::Time;
use rt_scenario::{Diagnostic, Model, PageFolders};
use serde_json::{Value, json};

use crate::{Refusal, World, shipped};

/// A file longer than this is no scenario.
const LONGEST_FILE: u64 = 16 << 20;
/// A folder of pages may hold so much.
const LONGEST_PAGES: u64 = 64 << 20;

/// A checked scenario, ready to run.
#[derive(Clone, Debug)]
pub struct Scenario {
    model: Model,
    warnings: Vec<Diagnostic>,
}

/// How [`Scenario::show`] draws.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ShowFormat {
    /// For people.
    Text,
    /// The lowered model.
    Json,
    /// A Mermaid diagram.
    Mermaid,
    /// A Graphviz graph.
    Dot,
}

impl Scenario {
    /// Loads a file, or a built-in scenario by name. What exists as a file wins.
    ///
    /// # Errors
    /// [`Refusal::Unknown`] when it is neither, [`Refusal::Faulty`] with every mistake in it.
    pub fn load(source: &str) -> Result<Scenario, Refusal> {
        let path = Path::new(source);
        if path.is_file() {
            return Scenario::of_file(path);
        }
        if path.exists() {
            let why = "a folder or a device, not a scenario file".to_owned();
            return Err(Refusal::Malformed { file: source.to_owned(), why });
        }
        let all = shipped();
        match all.iter().find(|s| s.name == source) {
            Some(found) => Scenario::of_text(&format!("{}.yaml", found.name), found.text),
            None if source.contains(['/', '.']) => {
                Err(Refusal::io("read", path, std::io::Error::from(std::io::ErrorKind::NotFound)))
            }
            None => {
                let names: Vec<&str> = all.iter().map(|s| s.name).collect();
                Err(Refusal::unknown("scenario", source, &names))
            }
        }
    }

    /// Checks a text; `file` is the name that diagnostics show.
    ///
    /// # Errors
    /// [`Refusal::Faulty`] with every mistake in it.
    pub fn of_text(file: &str, text: &str) -> Result<Scenario, Refusal> {
        Scenario::checked(file, text, Path::new("."))
    }

    fn of_file(path: &Path) -> Result<Scenario, Refusal> {
        let io = |e| Refusal::io("read", path, e);
        if fs::metadata(path).map_err(io)?.len() > LONGEST_FILE {
            let why = format!("longer than {} MiB: not a scenario", LONGEST_FILE >> 20);
            return Err(Refusal::Malformed { file: path.display().to_string(), why });
        }
        let bytes = fs::read(path).map_err(io)?;
        let file = path.display().to_string();
        let text = String::from_utf8(bytes).map_err(|e| {
            let why = format!("not UTF-8 at byte {}", e.utf8_error().valid_up_to());
            Refusal::Malformed { file: file.clone(), why }
        })?;
        Scenario::checked(&file, &text, path.parent().unwrap_or(Path::new(".")))
    }

    fn checked(file: &str, text: &str, folder: &Path) -> Result<Scenario, Refusal> {
        match rt_scenario::load_with(file, text, &Folders(folder)) {
            Ok(loaded) => Ok(Scenario { model: loaded.model, warnings: loaded.warnings }),
            Err(diagnostics) => Err(Refusal::Faulty { diagnostics }),
        }
    }

    /// Its short name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.model.name
    }

    /// The file it came from.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.model.file
    }

    /// The lowered model.
    #[must_use]
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// A world of it, switched off: carry out steps one by one.
    #[must_use]
    pub fn world(&self, seed: u64) -> World {
        World::of_model(&self.model, seed)
    }

    /// What is odd but not wrong, for people.
    #[must_use]
    pub fn warnings_text(&self) -> Vec<String> {
        self.warnings.iter().map(ToString::to_string).collect()
    }

    /// What is odd but not wrong, for programs.
    #[must_use]
    pub fn warnings_json(&self) -> Value {
        json!(self.warnings)
    }

    /// `14 nodes, 15 links, 2 steps, 6 expectations`.
    #[must_use]
    pub fn facts(&self) -> String {
        let count = |n: usize, what: &str| rt_base::count(n as u64, what);
        let m = &self.model;
        let checks = m.expect.iter().map(|e| e.checks.len()).sum();
        let parts = [
            (m.nodes.len(), "node"),
            (m.links.len(), "link"),
            (m.steps.len(), "step"),
            (checks, "expectation"),
        ];
        parts.map(|(n, what)| count(n, what)).join(", ")
    }

    /// The network, drawn or written out.
    #[must_use]
    pub fn show(&self, format: ShowFormat, expanded: bool) -> String {
        use rt_scenario::views;
        match (format, expanded) {
            (ShowFormat::Text, false) => views::text(&self.model),
            (ShowFormat::Text, true) => views::plain_yaml(&self.model),
            (ShowFormat::Json, _) => views::json(&self.model),
            (ShowFormat::Mermaid, _) => views::mermaid(&self.model),
            (ShowFormat::Dot, _) => views::dot(&self.model),
        }
    }
}

/// Page folders beside the scenario's file.
struct Folders<'a>(&'a Path);

impl PageFolders for Folders<'_> {
    fn read(&self, folder: &str) -> Result<Vec<(String, Vec<u8>)>, String> {
        let folder = self.0.join(folder);
        let mut files = Vec::new();
        let mut open = vec![folder.clone()];
        let mut total = 0;
        while let Some(here) = open.pop() {
            let entries = fs::read_dir(&here).map_err(|e| format!("cannot read {}: {e}", here.display()))?;
            for entry in entries.filter_map(Result::ok) {
                let path = entry.path();
                // A link could lead in a circle or out of the folder.
                let Ok(kind) = entry.file_type() else { continue };
                if kind.is_dir() {
                    open.push(path);
                } else if kind.is_file() {
                    total += entry.metadata().map_or(0, |m| m.len());
                    if total > LONGEST_PAGES {
                        return Err(format!("it holds more than {} MiB", LONGEST_PAGES >> 20));
                    }
                    let bytes =
                        fs::read(&path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
                    let name = path.strip_prefix(&folder).unwrap_or(&path).display().to_string();
                    files.push((format!("/{name}"), bytes));
                }
            }
        }
        files.sort();
        Ok(files)
    }
}

/// Where a run is written unless told: `roundtrip-out/NAME`.
#[must_use]
pub fn default_out(name: &str) -> PathBuf {
    Path::new("roundtrip-out").join(name)
}

/// Writes a new file; an existing one is left alone.
///
/// # Errors
/// [`Refusal::Io`].
pub fn write_new(path: &Path, text: &str) -> Result<(), Refusal> {
    use std::io::Write;
    let open = fs::OpenOptions::new().write(true).create_new(true).open(path);
    open.and_then(|mut file| file.write_all(text.as_bytes())).map_err(|e| Refusal::io("write", path, e))
}

/// Writes a file; an existing one is replaced as a whole.
///
/// # Errors
/// [`Refusal::Io`].
pub fn write_over(path: &Path, text: &str) -> Result<(), Refusal> {
    crate::output::write_whole(path, text.as_bytes())
}

/// A virtual time such as `1.5s`, `300ms`, `20us`.
///
/// # Errors
/// [`Refusal::Misuse`] with an example.
pub fn parse_time(text: &str) -> Result<Time, Refusal> {
    let why = || Refusal::Misuse { why: format!("`{text}` is not a time; write 1.5s, 300ms or 20us") };
    rt_scenario::parse_span(text).map(|span| Time::ZERO + span).ok_or_else(why)
}

/// The JSON Schema of the scenario file or of `story.json`.
#[must_use]
pub fn schema(which: &str) -> String {
    let schema = if which == "story" { rt_trace::story::schema() } else { rt_scenario::schema() };
    format!("{schema:#}\n")
}
