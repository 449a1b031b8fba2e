//! Every shipped scenario and template loads without a warning, expands to a plain level that loads to the same model,
//! and can be drawn; the numbers that `web-browsing` promises are in its model.

use std::fs;

use rt_scenario::{Model, load, render_all, templates, views};
use serde_json::Value;

/// Names and texts of all files in `scenarios/`, and the templates.
pub(crate) fn all() -> Vec<(String, String)> {
    let folder = format!("{}/../../scenarios", env!("CARGO_MANIFEST_DIR"));
    let mut out: Vec<(String, String)> = fs::read_dir(folder)
        .expect("the folder of scenarios")
        .map(|entry| {
            let path = entry.expect("an entry").path();
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            (name, fs::read_to_string(path).expect("text"))
        })
        .collect();
    out.push(("my-home".into(), templates::HOME.into()));
    out.push(("my-network".into(), templates::TWO_HOSTS.into()));
    out.sort();
    out
}

pub(crate) fn model(name: &str, text: &str) -> Model {
    match load(&format!("{name}.yaml"), text) {
        Ok(loaded) => {
            assert_eq!(render_all(&loaded.warnings), "", "{name} has warnings");
            loaded.model
        }
        Err(problems) => panic!("{name}\n{}", render_all(&problems)),
    }
}

/// The model without what depends on the file it came from.
pub(crate) fn essence(model: &Model) -> Value {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(map) => {
                map.retain(|key, _| !["origin", "file", "construct"].contains(&key.as_str()));
                map.values_mut().for_each(strip);
            }
            Value::Array(items) => items.iter_mut().for_each(strip),
            _ => {}
        }
    }
    let mut value = serde_json::to_value(model).expect("a model is JSON");
    strip(&mut value);
    value
}

#[test]
fn all_load_and_are_named_after_their_files() {
    for (name, text) in all() {
        assert_eq!(model(&name, &text).name, name);
        assert!(text.lines().count() <= 80, "{name} is longer than 80 lines");
        assert!(
            text.lines().all(|l| l.chars().count() <= 120),
            "{name} has lines that do not fit on a screen"
        );
        assert!(text.contains("\nexpect:"), "{name} says no end");
    }
    assert!(all().len() >= 19);
}

#[test]
fn the_plain_level_loads_to_the_same_model() {
    for (name, text) in all() {
        let first = model(&name, &text);
        let plain = views::plain_yaml(&first);
        let second = match load("expanded.yaml", &plain) {
            Ok(loaded) => loaded.model,
            Err(problems) => panic!("{name}\n{plain}\n{}", render_all(&problems)),
        };
        assert_eq!(essence(&first), essence(&second), "{name}\n{plain}");
        assert_eq!(plain, views::plain_yaml(&second), "{name}");
    }
}

#[test]
fn the_json_view_is_the_model() {
    for (name, text) in all() {
        let first = model(&name, &text);
        let second: Model = serde_json::from_str(&views::json(&first)).expect("the JSON of a model");
        assert_eq!(first, second);
    }
}
