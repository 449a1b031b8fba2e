//! `cargo xtask tidy`: the house rules that a compiler does not check. Each check returns the complaints it has; all are
//! printed, so that one run shows everything.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::tools::root;

/// Which of our crates each crate may use: DESIGN section 3 as data. `rt-base` and `rt-wire` are open to all above them.
const ARROWS: &[(&str, &[&str])] = &[
    ("rt-wire", &[]),
    ("rt-base", &["rt-wire"]),
    ("rt-rules", &["rt-base", "rt-wire"]),
    ("rt-sim", &["rt-base", "rt-wire"]),
    ("rt-stack", &["rt-base", "rt-wire", "rt-rules"]),
    ("rt-trace", &["rt-base", "rt-wire"]),
    ("rt-apps", &["rt-base", "rt-wire", "rt-rules", "rt-stack"]),
    ("rt-scenario", &["rt-base", "rt-wire", "rt-rules"]),
    ("rt-files", &["rt-base", "rt-wire", "rt-trace"]),
    ("rt-devices", &["rt-base", "rt-wire", "rt-sim", "rt-stack", "rt-apps"]),
    ("rt-drill", &["rt-base", "rt-wire", "rt-rules", "rt-stack"]),
    ("rt-packetdrill", &["rt-base", "rt-wire", "rt-drill"]),
    ("rt-attach", &["rt-base", "rt-wire"]),
    (
        "rt-lab",
        &[
            "rt-base",
            "rt-wire",
            "rt-rules",
            "rt-sim",
            "rt-stack",
            "rt-trace",
            "rt-apps",
            "rt-scenario",
            "rt-files",
            "rt-devices",
            "rt-drill",
            "rt-attach",
        ],
    ),
    ("roundtrip", &["rt-lab"]),
    ("xtask", &[]),
];

/// Longest file, without its test module.
const FILE_LINES: usize = 600;
/// Longest function, signature to closing brace.
const FUNCTION_LINES: usize = 70;
/// Longest map.
const MAP_LINES: usize = 250;

/// Runs every check.
pub(crate) fn run() -> Result<(), String> {
    let mut complaints = Vec::new();
    arrows(&mut complaints);
    map(&mut complaints);
    dependencies_explained(&mut complaints);
    drop_reasons_tested(&mut complaints);
    for file in rust_files() {
        source(&file, &mut complaints);
    }
    if complaints.is_empty() {
        eprintln!("tidy: {} Rust files, all in order", rust_files().len());
        return Ok(());
    }
    Err(format!("tidy has {} complaints:\n  {}", complaints.len(), complaints.join("\n  ")))
}

fn manifest(name: &str) -> PathBuf {
    if name == "xtask" {
        root().join("xtask/Cargo.toml")
    } else {
        root().join("crates").join(name).join("Cargo.toml")
    }
}

fn arrows(complaints: &mut Vec<String>) {
    let known: BTreeSet<&str> = ARROWS.iter().map(|(name, _)| *name).collect();
    for entry in fs::read_dir(root().join("crates")).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !known.contains(name.as_str()) {
            complaints.push(format!("crates/{name}: not in the table of arrows (xtask/src/tidy.rs)"));
        }
    }
    for (name, may) in ARROWS {
        let Ok(text) = fs::read_to_string(manifest(name)) else {
            complaints.push(format!("{name}: in the table of arrows but gone"));
            continue;
        };
        let mut section = "";
        for line in text.lines() {
            if line.starts_with('[') {
                section = line.trim();
                continue;
            }
            let dep = line.split(['.', '=', ' ']).next().unwrap_or_default();
            let ours = dep.starts_with("rt-") || dep == "roundtrip";
            if section == "[dependencies]" && ours && !may.contains(&dep) {
                complaints.push(format!("{name} -> {dep}: this arrow is forbidden (DESIGN section 3)"));
            }
        }
    }
}

fn map(complaints: &mut Vec<String>) {
    let Ok(text) = fs::read_to_string(root().join("ARCHITECTURE.md")) else {
        complaints.push("ARCHITECTURE.md is missing".into());
        return;
    };
    if text.lines().count() > MAP_LINES {
        complaints.push(format!("ARCHITECTURE.md has more than {MAP_LINES} lines"));
    }
    for (name, _) in ARROWS {
        if !text.contains(&format!("`{name}`")) {
            complaints.push(format!("ARCHITECTURE.md does not name `{name}`"));
        }
    }
    for word in text.split('`').filter(|w| w.starts_with("rt-") && !w.contains([' ', '/', ':'])) {
        if !manifest(word).exists() {
            complaints.push(format!("ARCHITECTURE.md names `{word}`, which is gone"));
        }
    }
}

fn dependencies_explained(complaints: &mut Vec<String>) {
    let read = |path: &str| fs::read_to_string(root().join(path)).unwrap_or_default();
    let (manifest, page) = (read("Cargo.toml"), read("docs/dependencies.md"));
    let mut inside = false;
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line == "[workspace.dependencies]";
            continue;
        }
        let Some((name, _)) = line.split_once('=').filter(|_| inside) else { continue };
        let name = name.trim();
        if !name.starts_with("rt-") && !page.contains(&format!("`{name}`")) {
            complaints.push(format!("docs/dependencies.md does not say what `{name}` is for"));
        }
    }
}

/// House style 6: a drop reason that no test produces is a reason that nobody has seen.
fn drop_reasons_tested(complaints: &mut Vec<String>) {
    let path = root().join("crates/rt-base/src/drop_reason.rs");
    let text = fs::read_to_string(path).unwrap_or_default();
    let names: Vec<&str> = text
        .lines()
        .filter_map(|line| line.trim().split_once(" = \"").map(|(name, _)| name))
        .filter(|name| name.chars().all(char::is_alphanumeric))
        .collect();
    let tests: String = rust_files()
        .iter()
        .filter_map(|f| fs::read_to_string(f).ok().map(|t| (is_test_file(f), t)))
        .map(|(all, text)| {
            if all {
                text
            } else {
                text.split_once("#[cfg(test)]").map_or_else(String::new, |(_, t)| t.into())
            }
        })
        .collect();
    for name in names {
        if !tests.contains(&format!("DropReason::{name}")) {
            complaints.push(format!("no test produces DropReason::{name}"));
        }
    }
}

/// Every Rust file of ours.
fn rust_files() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join("crates"), root().join("xtask")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() && entry.file_name() != "target" {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn is_test_file(path: &Path) -> bool {
    path.components().any(|c| ["tests", "benches", "examples"].iter().any(|t| c.as_os_str() == *t))
        || path.file_name().is_some_and(|n| n == "tests.rs")
}

fn source(path: &Path, complaints: &mut Vec<String>) {
    let name = path.strip_prefix(root()).unwrap_or(path).display().to_string();
    let Ok(text) = fs::read_to_string(path) else { return };
    // Made by a generator and not ours to shape.
    if text.starts_with("// This file is @generated") {
        return;
    }
    if !text.starts_with("//!") {
        complaints.push(format!("{name}: begins without a `//!` header"));
    }
    if is_test_file(path) {
        return;
    }
    let lines: Vec<&str> = text.lines().collect();
    let end = lines.iter().position(|l| *l == "#[cfg(test)]").unwrap_or(lines.len());
    let code = &lines[..end];
    if code.len() > FILE_LINES {
        complaints.push(format!(
            "{name}: {} lines, more than {FILE_LINES}: the design wants a new home",
            code.len()
        ));
    }
    for (number, line) in code.iter().enumerate() {
        if line.contains(concat!(".unwrap", "()")) && !line.trim_start().starts_with("//") {
            complaints.push(format!("{name}:{}: bare unwrap outside tests", number + 1));
        }
    }
    functions(&name, code, complaints);
}

/// Relies on the formatter: a function ends at the closing brace with its own indentation.
fn functions(name: &str, code: &[&str], complaints: &mut Vec<String>) {
    for (start, line) in code.iter().enumerate() {
        let body = line.trim_start();
        let indent = line.len() - body.len();
        let is_fn =
            ["fn ", "pub fn ", "pub(crate) fn ", "pub(super) fn ", "async fn ", "pub async fn ", "const fn "]
                .iter()
                .any(|p| body.starts_with(p));
        if !is_fn || line.ends_with('}') || line.ends_with(';') {
            continue;
        }
        let closing = format!("{}}}", " ".repeat(indent));
        let length = code[start..].iter().position(|l| *l == closing).map_or(0, |n| n + 1);
        let allowed = code[..start].iter().rev().take(4).any(|l| l.contains("clippy::too_many_lines"));
        if length > FUNCTION_LINES && !allowed {
            complaints.push(format!(
                "{name}:{}: a function of {length} lines, more than {FUNCTION_LINES}",
                start + 1
            ));
        }
    }
}
