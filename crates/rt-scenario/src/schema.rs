//! The JSON Schema (draft 2020-12) of the scenario file, made from the same tables that check it.
//!
//! Editors complete and check with it. It is looser than [`crate::load()`]: it knows shapes and words, not whether an
//! address lies in its network. YAML's plain scalars may reach an editor as numbers or booleans, so those are allowed
//! wherever text is.

use serde_json::{Map, Value, json};

use crate::language;
use crate::shape::{Shape, Ty};

/// The schema as a JSON value.
#[must_use]
pub fn schema() -> Value {
    let mut definitions = Map::new();
    let mut root = object(&language::SCENARIO, &mut definitions);
    root["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    root["title"] = "roundtrip scenario".into();
    root["$defs"] = Value::Object(definitions);
    root
}

/// The key of a shape under `$defs`: its name without the article.
pub(crate) fn definition_name(shape: &Shape) -> String {
    let name = shape.name;
    let bare = ["a ", "an ", "the "].iter().find_map(|article| name.strip_prefix(article)).unwrap_or(name);
    bare.replace(' ', "-")
}

fn object(shape: &Shape, definitions: &mut Map<String, Value>) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for key in shape.all() {
        let mut inner = of(&key.ty, definitions);
        inner["description"] = key.about.into();
        if key.required {
            required.push(key.name);
        } else {
            inner = json!({ "description": key.about, "anyOf": [strip(inner), { "type": "null" }] });
        }
        properties.insert(key.name.to_owned(), inner);
    }
    let mut out = json!({
        "type": "object",
        "description": shape.about,
        "properties": properties,
        "additionalProperties": false,
    });
    if !required.is_empty() {
        out["required"] = json!(required);
    }
    out
}

/// Without the description, which stands one level up.
fn strip(mut value: Value) -> Value {
    if let Some(map) = value.as_object_mut() {
        map.remove("description");
    }
    value
}

/// A reference to a shape, which is defined on first use.
fn reference(shape: &Shape, definitions: &mut Map<String, Value>) -> Value {
    let name = definition_name(shape);
    if !definitions.contains_key(&name) {
        definitions.insert(name.clone(), Value::Null);
        let made = object(shape, definitions);
        definitions.insert(name.clone(), made);
    }
    json!({ "$ref": format!("#/$defs/{name}") })
}

fn of(ty: &Ty, definitions: &mut Map<String, Value>) -> Value {
    match ty {
        Ty::List(inner) => json!({ "type": "array", "items": of(inner, definitions) }),
        Ty::Map(keys, inner) => {
            let description = format!("Keys: {keys}.");
            json!({ "type": "object", "description": description, "additionalProperties": of(inner, definitions) })
        }
        Ty::Object(shape) => reference(shape, definitions),
        Ty::ByKind(kinds) => {
            let one = |(kind, shape): &(&str, &Shape), definitions: &mut Map<String, Value>| {
                let name = definition_name(shape);
                let _ = reference(shape, definitions);
                if let Some(made) = definitions.get_mut(&name) {
                    made["properties"]["kind"]["const"] = (*kind).into();
                }
                json!({ "$ref": format!("#/$defs/{name}") })
            };
            let all: Vec<Value> = kinds.iter().map(|k| one(k, definitions)).collect();
            json!({ "oneOf": all })
        }
        Ty::OneKey(kinds) => {
            let words: Vec<&str> = kinds.iter().map(|(n, _)| *n).collect();
            let mut properties = Map::new();
            for (name, shape) in *kinds {
                let inner = json!({ "anyOf": [reference(shape, definitions), { "type": "null" }] });
                properties.insert((*name).to_owned(), inner);
            }
            let object = json!({
                "type": "object", "properties": properties, "additionalProperties": false,
                "minProperties": 1, "maxProperties": 1,
            });
            json!({ "anyOf": [{ "enum": words }, object] })
        }
        Ty::Either(one, bigger) => json!({ "anyOf": [of(one, definitions), of(bigger, definitions)] }),
        Ty::OrNothing(inner) => json!({ "anyOf": [of(inner, definitions), { "type": "null" }] }),
        Ty::Json => json!({}),
        _ => scalar(ty),
    }
}

fn scalar(ty: &Ty) -> Value {
    let text = |pattern: &str| json!({ "type": "string", "pattern": pattern });
    match ty {
        Ty::Flag => json!({ "enum": [true, false, "yes", "no", "on", "off", "true", "false"] }),
        Ty::Whole(low, high) => json!({ "type": "integer", "minimum": low, "maximum": high }),
        Ty::Port => json!({ "type": "integer", "minimum": 1, "maximum": 65535 }),
        Ty::Name => text("^[A-Za-z0-9][A-Za-z0-9._-]*$"),
        Ty::Rate => text("^[0-9._]+ *([kMGT]?bit/s|[kMG]?bps)$"),
        Ty::Duration | Ty::Span(..) => {
            json!({ "anyOf": [text("^[0-9._]+ *(ns|us|µs|ms|s|min|h|d)$"), { "const": 0 }] })
        }
        Ty::Loss => {
            json!({ "anyOf": [text("^([0-9._]+ *(%|ppm)|every [0-9_]+(st|nd|rd|th)?)$"), { "const": 0 }] })
        }
        Ty::BitErrors => json!({ "type": ["string", "number"] }),
        Ty::Share => json!({ "anyOf": [text("^[0-9._]+ *(%|ppm)$"), { "const": 0 }] }),
        Ty::Size | Ty::Bytes(..) => {
            json!({ "anyOf": [text("^[0-9._]+ *([kMG]?B|[KMG]iB)?$"), { "type": "integer", "minimum": 0 }] })
        }
        Ty::Between(_) => {
            json!({ "anyOf": [text("^([0-9].*|\\.\\.[0-9].*)$"), { "type": "integer", "minimum": 0 }] })
        }
        Ty::Queue => text("^[0-9._]+ *(packets|packet|p|[kMG]?B|[KMG]iB)$"),
        Ty::Ports => {
            json!({ "anyOf": [text("^[0-9]+(-[0-9]*)?$"), { "type": "integer", "minimum": 1, "maximum": 65535 }] })
        }
        Ty::Address => text("^[0-9]{1,3}(\\.[0-9]{1,3}){3}$"),
        Ty::Host => text("^[0-9]{1,3}(\\.[0-9]{1,3}){3}(/[0-9]{1,2})?$"),
        Ty::Net => text("^[0-9]{1,3}(\\.[0-9]{1,3}){3}/[0-9]{1,2}$"),
        Ty::Mac => text("^[0-9A-Fa-f][02468ACEace]([:-][0-9A-Fa-f]{2}){5}$"),
        Ty::Instant => {
            json!({ "anyOf": [text("^[0-9]{4}-[0-9]{2}-[0-9]{2}"), { "type": "integer", "minimum": 0 }] })
        }
        Ty::OneOf(words) => json!({ "enum": words }),
        _ => json!({ "type": ["string", "number", "boolean"] }),
    }
}
