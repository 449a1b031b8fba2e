//! Every shipped scenario ends as it says.

use rt_lab::{RunOptions, Scenario};

#[test]
fn every_scenario_in_the_folder_is_built_in() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios");
    let mut files: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().file_name().to_string_lossy().trim_end_matches(".yaml").to_owned())
        .collect();
    let mut names: Vec<String> = rt_lab::shipped().iter().map(|s| s.name.to_owned()).collect();
    files.sort();
    names.sort();
    assert_eq!(files, names);
}

#[test]
fn every_expectation_of_every_scenario_holds() {
    let mut failures = Vec::new();
    for shipped in rt_lab::shipped() {
        let run = Scenario::load(shipped.name).unwrap().run(RunOptions::new(1)).unwrap();
        assert!(!run.checks().is_empty(), "{} expects nothing", shipped.name);
        failures.extend(run.checks().iter().filter(|c| !c.holds).map(|c| format!("{}: {c:?}", shipped.name)));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn the_main_scenario_fits_on_a_screen_or_two() {
    let text = rt_lab::shipped().into_iter().find(|s| s.name == "web-browsing").unwrap().text;
    assert!(text.lines().count() <= 80, "{} lines", text.lines().count());
}

#[test]
fn a_failed_step_says_why_in_a_sentence() {
    for shipped in rt_lab::shipped() {
        let run = Scenario::load(shipped.name).unwrap().run(RunOptions::new(1)).unwrap();
        for step in run.story().steps.iter().filter(|s| s.ended && !s.ok) {
            assert!(
                !step.outcome.is_empty(),
                "{}: step {} failed without a sentence",
                shipped.name,
                step.number
            );
        }
    }
}
