//! Every shipped scenario loads.

use rt_scenario::{load, render_all};

fn text_of(name: &str) -> String {
    let path = format!("{}/../../scenarios/{name}.yaml", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).expect("a shipped scenario")
}

#[test]
fn loads() {
    for name in ["web-browsing", "two-hosts"] {
        match load(&format!("{name}.yaml"), &text_of(name)) {
            Ok(loaded) => println!("{}", serde_json::to_string_pretty(&loaded.model).expect("json")),
            Err(problems) => panic!("{name}\n{}", render_all(&problems)),
        }
    }
}
