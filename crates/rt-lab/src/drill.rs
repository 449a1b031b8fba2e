//! `roundtrip drill`: packetdrill scripts, found, played and reported.
//!
//! [`drill`] reads files and folders, plays each script by `rt-drill` and gives [`Drilled`]: a text, JSON, captures. Not for:
//! the language or what passes (`rt-drill`).

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use rt_base::text::{excerpt, printable};
use rt_base::{MacAddr, Time, Way};
use rt_drill::language::LONGEST;
use rt_drill::machine::{Applied, Settings};
use rt_drill::runner::{Options, Outcome, Verdict, run};
use rt_files::pcapng::{Capture, Interface, Packet};
use serde_json::{Value, json};

use crate::{APPLICATION, Refusal};

/// What is asked of `drill`.
#[derive(Clone, Debug, Default)]
pub struct DrillQuery {
    /// Scripts and folders; below a folder every `*.pkt` is taken, in the order of their names.
    pub paths: Vec<PathBuf>,
    /// `linux`, `freebsd`, `macos`, `constrained`, or none for `linux`.
    pub personality: Option<String>,
    /// `name=value` each.
    pub sysctls: Vec<String>,
    /// How far a time may be off (`1ms`); none for exact.
    pub tolerance: Option<String>,
    /// Windows and options of outbound segments are left unchecked.
    pub relaxed: bool,
    /// Packets after the last line are no failure.
    pub lenient_end: bool,
    /// How long after the last line nothing may be sent (`5ms` without it).
    pub horizon: Option<String>,
    /// Compare the echoed timestamps of outbound segments too.
    pub check_echo: bool,
    /// `NAME=value` each: words to be replaced in the scripts.
    pub defines: Vec<String>,
    /// Put what happened into the text.
    pub trace: bool,
    /// Where the packets of the (only) script are written as pcapng.
    pub pcap: Option<PathBuf>,
}

/// What came of it.
#[derive(Debug)]
pub struct Drilled {
    /// For people: a line per script, failures in full, a summary.
    pub text: String,
    /// The same for programs.
    pub json: Value,
    /// Scripts that passed.
    pub passed: usize,
    /// Scripts that failed.
    pub failed: usize,
    /// Scripts that could not be read or ask for what is not here.
    pub unanswered: usize,
}

impl Drilled {
    /// 0 all pass, 1 one fails, 2 none fails but one could not be judged.
    #[must_use]
    pub fn exit(&self) -> u8 {
        match (self.failed, self.unanswered) {
            (0, 0) => 0,
            (0, _) => 2,
            _ => 1,
        }
    }
}

/// Plays every script.
///
/// # Errors
/// When a path cannot be read, there is no script, or a setting is impossible.
pub fn drill(query: &DrillQuery) -> Result<Drilled, Refusal> {
    let options = options(query)?;
    let mut search = Search::default();
    for path in &query.paths {
        // Who names a script means that one: a wrong name is no script that fails.
        if !path.is_dir() {
            read(path).map_err(|why| Refusal::Malformed { file: path.display().to_string(), why })?;
        }
        search.find(path, 0)?;
    }
    let scripts = search.scripts;
    if scripts.is_empty() && search.unreadable.is_empty() {
        let why = "no script: name files, or folders with *.pkt in them".to_owned();
        return Err(Refusal::Misuse { why });
    }
    if query.pcap.is_some() && scripts.len() > 1 {
        let why = format!("--pcap is for one script, and there are {}", scripts.len());
        return Err(Refusal::Misuse { why });
    }
    let mut drilled = Drilled { text: String::new(), json: Value::Null, passed: 0, failed: 0, unanswered: 0 };
    let mut rows = Vec::new();
    for (path, why) in &search.unreadable {
        rows.push(unreadable(&mut drilled, path, why));
    }
    for path in &scripts {
        let text = match read(path) {
            Ok(text) => text,
            Err(why) => {
                rows.push(unreadable(&mut drilled, path, &why));
                continue;
            }
        };
        let outcome = run(&text, &options);
        rows.push(report(&mut drilled, path, &text, &outcome, query.trace));
        if let Some(file) = &query.pcap {
            let bytes = capture(&outcome).map_err(|e| Refusal::io("write", file, e))?;
            crate::output::write_whole(file, &bytes)?;
        }
    }
    let (passed, failed, unanswered) = (drilled.passed, drilled.failed, drilled.unanswered);
    let all = rt_base::count((scripts.len() + search.unreadable.len()) as u64, "script");
    let _ = write!(drilled.text, "{all}: {passed} pass, {failed} fail");
    if unanswered > 0 {
        let _ = write!(drilled.text, ", {unanswered} not judged");
    }
    drilled.text.push('\n');
    let summary = json!({ "passed": passed, "failed": failed, "not_judged": unanswered });
    drilled.json = json!({ "scripts": rows, "summary": summary });
    Ok(drilled)
}

fn options(query: &DrillQuery) -> Result<Options, Refusal> {
    let mut options =
        Options { relaxed: query.relaxed, lenient_end: query.lenient_end, ..Options::default() };
    options.check_echo = query.check_echo;
    let span = |text: &String| crate::parse_time(text).map(|t| t.since(Time::ZERO));
    if let Some(tolerance) = &query.tolerance {
        options.tolerance = span(tolerance)?;
    }
    if let Some(horizon) = &query.horizon {
        options.horizon = span(horizon)?;
    }
    let personality = query.personality.iter().map(|p| ("personality", p.as_str()));
    let mut pairs: Vec<(&str, &str)> = personality.collect();
    for given in &query.sysctls {
        let why = || Refusal::Misuse { why: format!("`{given}` is not NAME=VALUE") };
        pairs.push(given.split_once('=').ok_or_else(why)?);
    }
    for (name, value) in pairs {
        set(&mut options.settings, name, value)?;
    }
    for given in &query.defines {
        let why = || Refusal::Misuse { why: format!("`{given}` is not NAME=VALUE") };
        let (name, value) = given.split_once('=').ok_or_else(why)?;
        options.defines.push((name.to_owned(), value.to_owned()));
    }
    Ok(options)
}

fn set(settings: &mut Settings, name: &str, value: &str) -> Result<(), Refusal> {
    match settings.set(name, value) {
        Ok(Applied::Yes | Applied::Ignored) => Ok(()),
        Ok(Applied::Unknown) => Err(Refusal::unknown("setting", name, &[])),
        Err(error) => Err(Refusal::Misuse { why: error.to_string() }),
    }
}

/// So much of a line is printed, in characters.
const TRACED: usize = 400;
/// Deepest folder below the one that was named.
const DEEPEST: usize = 32;

/// What was found under the paths that were named.
#[derive(Default)]
struct Search {
    scripts: Vec<PathBuf>,
    /// Folders that were looked into: links may lead back to them.
    seen: BTreeSet<PathBuf>,
    /// What is below a named folder and cannot be read, and why: the others are played all the same.
    unreadable: Vec<(PathBuf, String)>,
}

impl Search {
    fn find(&mut self, path: &Path, depth: usize) -> Result<(), Refusal> {
        if !path.is_dir() {
            self.scripts.push(path.to_owned());
            return Ok(());
        }
        let whole = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        if depth > DEEPEST || !self.seen.insert(whole) {
            return Ok(());
        }
        let entries = match std::fs::read_dir(path) {
            Ok(entries) => entries,
            Err(error) if depth == 0 => return Err(Refusal::io("read", path, error)),
            Err(error) => {
                self.unreadable.push((path.to_owned(), error.to_string()));
                return Ok(());
            }
        };
        let mut below: Vec<PathBuf> = entries.filter_map(|e| e.ok().map(|e| e.path())).collect();
        below.sort();
        for path in below {
            if path.is_dir() || path.extension().is_some_and(|e| e == "pkt") {
                self.find(&path, depth + 1)?;
            }
        }
        Ok(())
    }
}

/// A script's text, or in a few words why there is none.
fn read(path: &Path) -> Result<String, String> {
    let metadata = std::fs::metadata(path).map_err(|e| e.to_string())?;
    if !metadata.is_file() {
        return Err("it is a device or a pipe, not a script".to_owned());
    }
    let size = metadata.len();
    if size > LONGEST as u64 {
        return Err(format!("{size} bytes are too many for a script ({LONGEST} at most)"));
    }
    let bytes = std::fs::read(path).map_err(|e| e.to_string())?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Notes a script that could not even be read.
fn unreadable(drilled: &mut Drilled, path: &Path, why: &str) -> Value {
    drilled.unanswered += 1;
    let file = path.display().to_string();
    let _ = writeln!(drilled.text, "????  {}: cannot read it: {why}", printable(&file));
    json!({ "file": file, "verdict": "unreadable", "failure": { "what": why } })
}

/// Adds a script's lines to the text; its row of the JSON.
fn report(drilled: &mut Drilled, path: &Path, text: &str, outcome: &Outcome, trace: bool) -> Value {
    let file = path.display().to_string();
    let out = &mut drilled.text;
    let mut row = json!({ "file": file });
    if trace {
        for line in &outcome.trace {
            let _ = writeln!(
                out,
                "{}.{:06}  {}",
                line.at.0 / 1_000_000_000,
                line.at.0 / 1_000 % 1_000_000,
                excerpt(&line.text, TRACED)
            );
        }
        let lines = outcome.trace.iter().map(|l| json!({ "micros": l.at.0 / 1_000, "text": l.text }));
        row["trace"] = lines.collect();
    }
    let verdict = match &outcome.verdict {
        Verdict::Passed => {
            drilled.passed += 1;
            let _ = writeln!(out, "pass  {}", printable(&file));
            "pass"
        }
        Verdict::Failed(failure) => {
            drilled.failed += 1;
            let _ = write!(out, "FAIL  {}", failure.show(&file, text));
            row["failure"] = json!({
                "line": failure.lines.0, "what": failure.what, "fields": failure.fields,
                "expected": failure.expected, "actual": failure.actual, "hints": failure.hints,
                "before": failure.before, "state": failure.state,
            });
            "fail"
        }
        Verdict::Unsupported { line, what } => {
            drilled.unanswered += 1;
            let _ = writeln!(out, "????  {}:{line}: not judged: {}", printable(&file), excerpt(what, TRACED));
            row["failure"] = json!({ "line": line, "what": what });
            "not judged"
        }
        Verdict::Unreadable(mistakes) => {
            drilled.unanswered += 1;
            let _ = writeln!(out, "????  {}: not packetdrill's language", printable(&file));
            for mistake in mistakes {
                let _ = writeln!(out, "{}", mistake.show(&file, text));
            }
            let all = mistakes.iter().map(|m| {
                json!({ "line": m.place.line, "column": m.place.column, "expected": m.expected, "found": m.found })
            });
            row["mistakes"] = all.collect();
            "unreadable"
        }
    };
    for (line, note) in &outcome.notes {
        let _ = writeln!(out, "      {}:{line}: {}", printable(&file), excerpt(note, TRACED));
    }
    row["notes"] = outcome.notes.iter().map(|(line, what)| json!({ "line": line, "what": what })).collect();
    row["verdict"] = json!(verdict);
    row
}

/// The machine's and the wire's MAC in captures.
const MACHINE: MacAddr = MacAddr([0x02, 0, 0, 0, 0, 0x01]);
const WIRE: MacAddr = MacAddr([0x02, 0, 0, 0, 0, 0x02]);

/// All packets of a script as pcapng, as the machine's interface saw them.
fn capture(outcome: &Outcome) -> std::io::Result<Vec<u8>> {
    let description = "the machine under test".to_owned();
    let interface = Interface { name: "eth0".into(), description, mac: MACHINE, ..Interface::default() };
    let mut capture = Capture::new(Vec::new(), APPLICATION, 0, &[interface])?;
    for packet in &outcome.packets {
        let (to, from, way) =
            if packet.outbound { (WIRE, MACHINE, Way::Out) } else { (MACHINE, WIRE, Way::In) };
        let bytes = [to.0.as_slice(), from.0.as_slice(), &[0x08, 0x00], packet.bytes.as_slice()].concat();
        let written = Packet { at: packet.at, interface: 0, way, bytes: &bytes, comment: None };
        capture.push(packet.at, &written)?;
    }
    capture.finish()
}
