//! Every file in `faulty/` is refused or warned about; a snapshot beside it shows all that is said.

use std::collections::BTreeSet;
use std::fs;

use rt_scenario::{Code, load, render_all};

fn files() -> Vec<(String, String)> {
    let folder = format!("{}/tests/it/faulty", env!("CARGO_MANIFEST_DIR"));
    let mut out: Vec<(String, String)> = fs::read_dir(folder)
        .expect("the folder of faulty files")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|e| e == "yaml"))
        .map(|path| {
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            (name, fs::read_to_string(path).expect("text"))
        })
        .collect();
    out.sort();
    out
}

#[test]
fn every_mistake_is_explained() {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("faulty/snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let mut seen = BTreeSet::new();
    for (name, text) in files() {
        let problems = match load(&format!("{name}.yaml"), &text) {
            Ok(loaded) => loaded.warnings,
            Err(problems) => problems,
        };
        assert!(!problems.is_empty(), "{name} has no mistake");
        seen.extend(problems.iter().map(|p| p.code));
        settings.bind(|| insta::assert_snapshot!(name.as_str(), render_all(&problems)));
    }
    let unseen: Vec<&str> = Code::ALL.iter().filter(|c| !seen.contains(c)).map(|c| c.as_str()).collect();
    assert_eq!(unseen, Vec::<&str>::new(), "codes without a faulty file");
}

#[test]
fn codes_are_unique_and_sorted() {
    let codes: Vec<&str> = Code::ALL.iter().map(|c| c.as_str()).collect();
    assert!(codes.is_sorted());
    assert_eq!(codes.iter().collect::<BTreeSet<_>>().len(), codes.len());
}

#[test]
fn problems_are_data_too() {
    let (_, text) = files().into_iter().find(|(name, _)| name == "group-mac").expect("the file");
    let problems = load("group-mac.yaml", &text).expect_err("a group MAC is refused");
    insta::assert_json_snapshot!(problems);
}
