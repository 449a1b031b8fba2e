//! Every command in README.md and docs/ is run and its output compared.
//!
//! A page is a script: a fenced `yaml file=NAME` or `text file=NAME` block is written to a fresh folder, a fenced `console` block holds commands
//! after `$ ` and what they print (stdout and stderr as a terminal would show them). `...` alone on a line stands for any
//! lines, `[..]` inside a line for anything. A last line `[exit 1]` is the exit code when it is not 0.
//! `UPDATE_DOCS=1 cargo test -p roundtrip docs` rewrites the pages with what was printed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Commands that a page may show and this test cannot run, with the reason.
const NOT_RUN: &[(&str, &str)] = &[
    ("cargo xtask ci", "it runs this test"),
    ("cargo xtask bench", "it takes minutes, and figures differ from machine to machine"),
    ("cargo bench", "the same"),
    ("CARGO_PROFILE_BENCH_DEBUG=", "the same"),
    ("valgrind", "the same"),
    ("cargo xtask goodput", "the same"),
    ("cargo xtask interop", "the same"),
    ("cargo test", "it runs this test"),
    ("cargo install", "it builds the tree again"),
    ("git clone", "there is no network in a test"),
    ("sudo ", "a test does not become root"),
    ("wireshark", "it opens a window"),
    ("cargo build --release", "it builds the tree again"),
    ("cd packetdrill", "the tool is not part of this repository"),
    ("./packetdrill", "the same"),
];

/// Whether a page runs real programs and `cargo xtask ci --no-attach` asked to leave those out.
fn is_left_out(page: &Path) -> bool {
    std::env::var_os("ROUNDTRIP_NO_ATTACH").is_some()
        && fs::read_to_string(page).is_ok_and(|text| text.contains("$ roundtrip exec "))
}

/// One fenced block of a page.
#[derive(Debug)]
struct Block {
    /// What stands after the fence: `console`, `yaml file=lab.yaml`.
    info: String,
    /// Line number of the first line inside, from 0.
    start: usize,
    /// The lines inside.
    lines: Vec<String>,
}

#[test]
fn every_command_in_the_pages_prints_what_they_say() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut failures = Vec::new();
    let mut commands = 0;
    for page in pages(&root).iter().filter(|page| !is_left_out(page)) {
        commands += check_page(page, &mut failures);
    }
    assert!(commands > 0, "no page has a command: the reader of pages is broken");
    assert!(
        failures.is_empty(),
        "{} of {commands} commands differ:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

#[test]
fn every_page_of_the_lab_has_a_network_or_names_one() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for page in pages(&root).iter().filter(|p| p.parent().is_some_and(|d| d.ends_with("lab"))) {
        let text = fs::read_to_string(page).unwrap();
        assert!(text.contains("```console"), "{}: a page of the lab without a command", page.display());
    }
}

#[test]
fn every_line_of_rust_in_the_pages_is_compiled() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let compiled = fs::read_to_string(root.join("crates/roundtrip/tests/it/library.rs")).unwrap();
    for page in pages(&root) {
        let text = fs::read_to_string(&page).unwrap();
        for block in blocks(&text).into_iter().filter(|b| b.info == "rust") {
            let code = block.lines.join("\n");
            assert!(
                compiled.contains(&code),
                "{}:{}: this code is not in tests/it/library.rs, so nobody knows whether it compiles",
                page.display(),
                block.start
            );
        }
    }
}

#[test]
fn every_link_between_the_pages_leads_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut broken = Vec::new();
    for page in pages(&root) {
        let text = fs::read_to_string(&page).unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(t, _)| t) {
            let path = target.split('#').next().unwrap_or_default();
            let elsewhere = target.contains("://") || path.is_empty();
            if !elsewhere && !page.parent().unwrap().join(path).exists() {
                broken.push(format!("{}: {target}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "links that lead nowhere:\n{}", broken.join("\n"));
}

fn pages(root: &Path) -> Vec<PathBuf> {
    let mut pages = vec![root.join("README.md"), root.join("CONTRIBUTING.md")];
    let mut folders = vec![root.join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "md") {
                pages.push(path);
            }
        }
    }
    pages.sort();
    pages
}

/// Runs one page in a folder of its own; returns how many commands it ran.
fn check_page(page: &Path, failures: &mut Vec<String>) -> usize {
    let text = fs::read_to_string(page).unwrap();
    let folder =
        std::env::temp_dir().join(format!("roundtrip-docs-{}-{}", std::process::id(), page_name(page)));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    // Pages use the shipped examples by the path that they have in a checkout.
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    std::os::unix::fs::symlink(examples.canonicalize().unwrap(), folder.join("examples")).unwrap();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let mut run = 0;
    for block in blocks(&text) {
        let name = block.info.strip_prefix("yaml file=").or(block.info.strip_prefix("text file="));
        if let Some(name) = name {
            fs::write(folder.join(name), block.lines.join("\n") + "\n").unwrap();
        }
    }
    let mut replaced = Vec::new();
    for block in blocks(&text).into_iter().filter(|b| b.info == "console") {
        let mut printed = Vec::new();
        for (command, expected) in commands(&block.lines) {
            let shown = if NOT_RUN.iter().any(|(prefix, _)| command.starts_with(prefix)) {
                expected.clone()
            } else {
                run += 1;
                outcome(&command, &folder)
            };
            if !matches(&expected, &shown) {
                let (want, got) = (expected.join("\n"), shown.join("\n"));
                failures.push(format!(
                    "{}: $ {command}\n--- the page\n{want}\n+++ printed\n{got}",
                    page.display()
                ));
            }
            printed.push(format!("$ {command}"));
            printed.extend(if matches(&expected, &shown) { expected } else { shown });
        }
        replaced.push((block.start, block.lines.len(), printed));
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        for (start, count, printed) in replaced.into_iter().rev() {
            lines.splice(start..start + count, printed);
        }
        fs::write(page, lines.join("\n") + "\n").unwrap();
        failures.clear();
    }
    let _ = fs::remove_dir_all(&folder);
    run
}

fn page_name(page: &Path) -> String {
    page.file_stem().map_or_else(String::new, |s| s.to_string_lossy().into_owned())
}

fn blocks(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (number, line) in text.lines().enumerate() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(info)) => {
                open = Some(Block { info: info.trim().into(), start: number + 1, lines: Vec::new() })
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(block), None) => block.lines.push(line.to_owned()),
            (None, None) => {}
        }
    }
    blocks
}

/// Commands of a console block with the lines after each.
fn commands(lines: &[String]) -> Vec<(String, Vec<String>)> {
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    for line in lines {
        match (line.strip_prefix("$ "), found.last_mut()) {
            (Some(command), _) => found.push((command.to_owned(), Vec::new())),
            (None, Some((_, expected))) => expected.push(line.clone()),
            (None, None) => {}
        }
    }
    found
}

/// What a terminal would show, line by line.
fn outcome(command: &str, folder: &Path) -> Vec<String> {
    let command = command.replace("cargo run --release -- ", "roundtrip ");
    let program = Path::new(env!("CARGO_BIN_EXE_roundtrip"));
    let path =
        format!("{}:{}", program.parent().unwrap().display(), std::env::var("PATH").unwrap_or_default());
    let out = Command::new("sh")
        .args(["-c", &format!("{{ {command}\n}} 2>&1")])
        .current_dir(folder)
        .env("PATH", path)
        .env("NO_COLOR", "1")
        .env("COLUMNS", "100")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let mut lines: Vec<String> = text.lines().map(|l| l.trim_end().to_owned()).collect();
    if let Some(code) = out.status.code().filter(|c| *c != 0) {
        lines.push(format!("[exit {code}]"));
    }
    lines
}

/// Whether what was printed is what the page says, with `...` and `[..]`.
fn matches(expected: &[String], printed: &[String]) -> bool {
    match expected.split_first() {
        None => printed.is_empty(),
        Some((first, rest)) if first.trim() == "..." => {
            (0..=printed.len()).any(|n| matches(rest, &printed[n..]))
        }
        Some((first, rest)) => printed
            .split_first()
            .is_some_and(|(line, others)| line_matches(first.trim_end(), line) && matches(rest, others)),
    }
}

fn line_matches(pattern: &str, line: &str) -> bool {
    let Some((head, tail)) = pattern.split_once("[..]") else { return pattern == line };
    let Some(rest) = line.strip_prefix(head) else { return false };
    (0..=rest.len()).any(|n| rest.is_char_boundary(n) && line_matches(tail, &rest[n..]))
}

#[test]
fn the_reader_of_pages_tells_same_from_different() {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let check = |page: &str, printed: &str, same: bool| {
        assert_eq!(matches(&lines(page), &lines(printed)), same, "{page:?} against {printed:?}");
    };
    check("a\nb", "a\nb", true);
    check("a\nb", "a\nc", false);
    check("a\n...\nd", "a\nb\nc\nd", true);
    check("a\n...", "a", true);
    check("took [..] ms", "took 12 ms", true);
    check("took [..] ms", "took 12 s", false);
    check("", "a", false);
}
