//! The published schema: every key is described, and every shipped scenario fits it.

use rt_scenario::{load, schema, views};
use serde_json::Value;

use crate::shipped::all;

/// A validator for the part of JSON Schema that our schema uses.
fn fits(root: &Value, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    if let Some(name) = schema["$ref"].as_str() {
        let name = name.strip_prefix("#/$defs/").expect("a reference into $defs");
        return fits(root, &root["$defs"][name], value, at);
    }
    for (key, rule) in schema.as_object().expect("a schema is an object") {
        let no = |why: String| Err(format!("{at}: {why}"));
        match key.as_str() {
            "anyOf" | "oneOf" => {
                let all: Vec<_> =
                    rule.as_array().expect("a list").iter().map(|s| fits(root, s, value, at)).collect();
                let good = all.iter().filter(|r| r.is_ok()).count();
                if good == 0 || (key == "oneOf" && good != 1) {
                    let why: Vec<String> = all.into_iter().filter_map(Result::err).collect();
                    return no(format!("{good} of {key} fit: {}", why.join("; ")));
                }
            }
            "type" => {
                let kind = match value {
                    Value::Null => "null",
                    Value::Bool(_) => "boolean",
                    Value::Number(n) if n.is_u64() || n.is_i64() => "integer",
                    Value::Number(_) => "number",
                    Value::String(_) => "string",
                    Value::Array(_) => "array",
                    Value::Object(_) => "object",
                };
                let fine = |t: &Value| t == kind || (t == "number" && kind == "integer");
                if !rule.as_array().map_or_else(|| fine(rule), |l| l.iter().any(fine)) {
                    return no(format!("{kind} is not {rule}"));
                }
            }
            "enum" if !rule.as_array().expect("a list").contains(value) => {
                return no(format!("{value} not in {rule}"));
            }
            "const" if rule != value => return no(format!("{value} is not {rule}")),
            "minimum" if value.as_u64() < rule.as_u64() => return no(format!("{value} below {rule}")),
            "maximum" if value.as_u64() > rule.as_u64() => return no(format!("{value} above {rule}")),
            "required" => {
                for name in rule.as_array().expect("a list") {
                    if value.get(name.as_str().expect("text")).is_none() {
                        return no(format!("{name} is missing"));
                    }
                }
            }
            "items" => {
                for (i, item) in value.as_array().into_iter().flatten().enumerate() {
                    fits(root, rule, item, &format!("{at}[{i}]"))?;
                }
            }
            "properties" | "additionalProperties" => {
                for (name, inner) in value.as_object().into_iter().flatten() {
                    let known = schema["properties"].get(name);
                    let at = format!("{at}.{name}");
                    match (key.as_str(), known) {
                        ("properties", Some(known)) => fits(root, known, inner, &at)?,
                        ("additionalProperties", None) if rule == false => {
                            return Err(format!("{at}: unknown"));
                        }
                        ("additionalProperties", None) => fits(root, rule, inner, &at)?,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// YAML text as the JSON that an editor's language server sees.
fn as_editor_sees(text: &str) -> Value {
    rt_scenario::yaml_as_json(text).expect("YAML")
}

#[test]
fn shipped_scenarios_and_their_plain_level_fit() {
    let schema = schema();
    for (name, text) in all() {
        fits(&schema, &schema, &as_editor_sees(&text), &name).unwrap_or_else(|why| panic!("{why}"));
        let plain = views::plain_yaml(&load("x.yaml", &text).expect("loads").model);
        fits(&schema, &schema, &as_editor_sees(&plain), &name).unwrap_or_else(|why| panic!("{why}\n{plain}"));
    }
}

#[test]
fn mistakes_do_not_fit() {
    let schema = schema();
    let cases = [
        "name: t\ntopolgy: {}",
        "name: t\nsites: { home: { kind: hom } }",
        "name: t\nsteps: [ { doo: x } ]",
        "name: t\nexpect: [ { step 1: { status: 99 } } ]",
        "name: t\ntopology: { nodes: { a: { ttl: 300 } } }",
        "about: x",
    ];
    for text in cases {
        assert!(fits(&schema, &schema, &as_editor_sees(text), "").is_err(), "{text}");
    }
}

#[test]
fn every_key_is_described() {
    fn walk(value: &Value, at: &str, count: &mut usize) {
        if let Some(properties) = value["properties"].as_object() {
            let bare = value["maxProperties"] == 1;
            for (name, inner) in properties {
                let about = inner["description"].as_str().unwrap_or("");
                assert!(bare || about.len() > 8, "{at}.{name} is not described");
                *count += 1;
            }
        }
        match value {
            Value::Object(map) => map.iter().for_each(|(k, v)| walk(v, &format!("{at}.{k}"), count)),
            Value::Array(items) => items.iter().for_each(|v| walk(v, at, count)),
            _ => {}
        }
    }
    let mut count = 0;
    walk(&schema(), "", &mut count);
    assert!(count > 150, "only {count} keys");
}

/// `docs/scenario-file.md` is what the tables say. `INSTA_UPDATE=always` writes it anew.
#[test]
fn the_reference_page_is_current() {
    let path = format!("{}/../../docs/scenario-file.md", env!("CARGO_MANIFEST_DIR"));
    if std::env::var("INSTA_UPDATE").is_ok_and(|v| v == "always") {
        std::fs::write(&path, rt_scenario::reference()).expect("written");
    }
    let page = std::fs::read_to_string(&path).expect("docs/scenario-file.md");
    assert!(page == rt_scenario::reference(), "run the test with INSTA_UPDATE=always");
}
