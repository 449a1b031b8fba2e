//! Every script below `drills/` at the root comes true. `DRILLS=word cargo test -p rt-drill --test drills` plays only those
//! whose path has the word in it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(clippy::disallowed_methods, reason = "the scripts are files")]

use std::fs;
use std::path::{Path, PathBuf};

use rt_drill::runner::{Options, Verdict, run};

fn scripts(folder: &Path, into: &mut Vec<PathBuf>) {
    let mut below: Vec<PathBuf> =
        fs::read_dir(folder).expect("a folder").map(|e| e.expect("an entry").path()).collect();
    below.sort();
    for path in below {
        if path.is_dir() {
            scripts(&path, into);
        } else if path.extension().is_some_and(|e| e == "pkt") {
            into.push(path);
        }
    }
}

fn all() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../drills");
    let mut paths = Vec::new();
    scripts(&root, &mut paths);
    paths
}

#[test]
fn every_drill_comes_true() {
    let word = std::env::var("DRILLS").unwrap_or_default();
    let paths: Vec<PathBuf> = all().into_iter().filter(|p| p.to_string_lossy().contains(&word)).collect();
    let options = Options { check_echo: true, ..Options::default() };
    let mut failures = Vec::new();
    for path in &paths {
        let text = fs::read_to_string(path).unwrap();
        let file = path.to_string_lossy().rsplit("drills/").next().unwrap_or_default().to_owned();
        let outcome = run(&text, &options);
        match outcome.verdict {
            Verdict::Passed => {}
            Verdict::Failed(failure) => failures.push(failure.show(&file, &text)),
            Verdict::Unsupported { line, what } => {
                failures.push(format!("{file}:{line}: not judged: {what}\n"))
            }
            Verdict::Unreadable(mistakes) => failures.push(mistakes[0].show(&file, &text)),
        }
        for (line, note) in outcome.notes {
            failures.push(format!("{file}:{line}: a drill needs no real host: {note}\n"));
        }
    }
    assert!(
        failures.is_empty(),
        "{} failures in {} drills:\n{}",
        failures.len(),
        paths.len(),
        failures.join("\n")
    );
}

#[test]
fn every_drill_says_what_is_believed_and_where_it_is_written() {
    for path in all() {
        let text = fs::read_to_string(&path).unwrap();
        let head: Vec<&str> = text.lines().take_while(|l| l.starts_with("//")).collect();
        let said = head.join(" ");
        assert!(
            !head.is_empty() && (said.contains("RFC ") || said.contains("Linux") || said.contains("FreeBSD")),
            "{}: begin with a comment that says what is believed and names the RFC's section",
            path.display()
        );
    }
}
