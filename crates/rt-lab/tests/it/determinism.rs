//! A run is a pure function of (scenario, seed): every output file has the same bytes, here and in another process.

use std::collections::BTreeMap;
use std::path::Path;

use crate::support::{Folder, outside, run_in};

/// Every file of a folder with its bytes.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    for sub in [folder.to_path_buf(), folder.join("captures")] {
        for entry in std::fs::read_dir(sub).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                let name = path.strip_prefix(folder).unwrap().display().to_string();
                all.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    all
}

/// The names of files that differ.
fn differing(a: &BTreeMap<String, Vec<u8>>, b: &BTreeMap<String, Vec<u8>>) -> Vec<String> {
    let names: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    names.into_iter().filter(|n| a.get(*n) != b.get(*n)).cloned().collect()
}

#[test]
fn the_same_scenario_and_seed_give_the_same_bytes() {
    for scenario in ["web-browsing", "lossy", "dhcp-silent", "post-json", "bastion", "rpc", "websocket"] {
        let (one, two) = (Folder::new("same-1"), Folder::new("same-2"));
        run_in(&one.0, scenario, 7);
        run_in(&two.0, scenario, 7);
        assert_eq!(differing(&files(&one.0), &files(&two.0)), Vec::<String>::new(), "{scenario}");
    }
}

#[test]
fn another_process_gives_the_same_bytes() {
    let (here, there) = (Folder::new("here"), Folder::new("there"));
    run_in(&here.0, "web-browsing", 3);
    if std::env::var_os("ROUNDTRIP_RUN_INTO").is_some() {
        return;
    }
    let exe = std::env::current_exe().unwrap().display().to_string();
    let into = there.0.display().to_string();
    outside(
        "env",
        &[&format!("ROUNDTRIP_RUN_INTO={into}"), &exe, "--exact", "determinism::run_into_a_folder"],
    );
    assert_eq!(differing(&files(&here.0), &files(&there.0)), Vec::<String>::new());
}

/// The other process of the test above; does nothing on its own.
#[test]
fn run_into_a_folder() {
    if let Some(into) = std::env::var_os("ROUNDTRIP_RUN_INTO") {
        run_in(Path::new(&into), "web-browsing", 3);
    }
}

#[test]
fn another_seed_gives_other_bytes_and_the_same_story() {
    let (one, two) = (Folder::new("seed-1"), Folder::new("seed-2"));
    let first = run_in(&one.0, "web-browsing", 1);
    let second = run_in(&two.0, "web-browsing", 2);
    let changed = differing(&files(&one.0), &files(&two.0));
    assert!(changed.iter().any(|n| n == "captures/home.laptop-eth0.pcapng"), "{changed:?}");
    for (a, b) in first.story().steps.iter().zip(&second.story().steps) {
        let titles =
            |s: &rt_lab::story::StepStory| s.chapters.iter().map(|c| c.title.clone()).collect::<Vec<_>>();
        assert_eq!((titles(a), &a.summary), (titles(b), &b.summary));
    }
    assert!(first.passed() && second.passed());
}
