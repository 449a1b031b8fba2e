//! The JSON of `terraform show -json` (and `tofu show -json`), as far as a network needs it.
//!
//! Everything else in it (resource changes, checks, drift) is skipped while reading, so that a plan of many megabytes
//! stays small. Names and shapes are those of "JSON Output Format" in Terraform's documentation; properties that are not
//! known are ignored, as that page asks, and another major version of the format is refused.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::Refusal;

/// Longest text that is read.
pub(super) const MOST_BYTES: usize = 64 << 20;
/// Most resources that are read.
const MOST_RESOURCES: usize = 20_000;

/// A plan or a state.
#[derive(Deserialize)]
pub(super) struct Document {
    format_version: Option<String>,
    /// Only in a plan: what will be.
    pub(super) planned_values: Option<Values>,
    /// Only in a state: what is.
    pub(super) values: Option<Values>,
    /// Only in a plan: what was there before; data sources that were read stand here.
    pub(super) prior_state: Option<State>,
    /// Only in a plan: what was written.
    #[serde(default)]
    pub(super) configuration: Configuration,
    /// Only in a plan: the root module's variables.
    #[serde(default)]
    pub(super) variables: BTreeMap<String, Variable>,
}

#[derive(Deserialize)]
pub(super) struct State {
    pub(super) values: Option<Values>,
}

#[derive(Deserialize)]
pub(super) struct Values {
    #[serde(default)]
    pub(super) root_module: Module,
}

#[derive(Deserialize, Default)]
pub(super) struct Module {
    /// `module.network["eu"]`; the root has none.
    #[serde(default)]
    pub(super) address: String,
    #[serde(default)]
    pub(super) resources: Vec<Resource>,
    #[serde(default)]
    pub(super) child_modules: Vec<Module>,
}

/// One instance of a resource.
#[derive(Deserialize)]
pub(super) struct Resource {
    pub(super) address: String,
    #[serde(default)]
    pub(super) mode: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) name: String,
    /// With `count` a number, with `for_each` a string.
    pub(super) index: Option<Value>,
    #[serde(default)]
    pub(super) values: Option<Map<String, Value>>,
}

#[derive(Deserialize, Default)]
pub(super) struct Variable {
    #[serde(default)]
    pub(super) value: Value,
}

#[derive(Deserialize, Default)]
pub(super) struct Configuration {
    #[serde(default)]
    pub(super) provider_config: BTreeMap<String, Provider>,
    #[serde(default)]
    pub(super) root_module: ConfigModule,
}

#[derive(Deserialize)]
pub(super) struct Provider {
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    pub(super) expressions: Map<String, Value>,
}

#[derive(Deserialize, Default)]
pub(super) struct ConfigModule {
    #[serde(default)]
    pub(super) resources: Vec<ConfigResource>,
    #[serde(default)]
    pub(super) module_calls: BTreeMap<String, ModuleCall>,
    #[serde(default)]
    pub(super) outputs: BTreeMap<String, Output>,
    #[serde(default)]
    pub(super) variables: BTreeMap<String, Declared>,
}

/// A declared input of a module.
#[derive(Deserialize, Default)]
pub(super) struct Declared {
    #[serde(default)]
    pub(super) default: Value,
}

/// A `resource` or `data` block.
#[derive(Deserialize)]
pub(super) struct ConfigResource {
    #[serde(default)]
    pub(super) mode: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) name: String,
    #[serde(default)]
    pub(super) expressions: Map<String, Value>,
    pub(super) for_each_expression: Option<Value>,
}

#[derive(Deserialize, Default)]
pub(super) struct ModuleCall {
    #[serde(default)]
    pub(super) expressions: Map<String, Value>,
    pub(super) for_each_expression: Option<Value>,
    #[serde(default)]
    pub(super) module: ConfigModule,
}

#[derive(Deserialize, Default)]
pub(super) struct Output {
    #[serde(default)]
    pub(super) expression: Value,
}

/// Reads the text: UTF-8, or UTF-16 with a byte order mark, as a shell of Windows writes it.
///
/// # Errors
/// [`Refusal`] with the place, when it is not this JSON.
pub(super) fn read(bytes: &[u8]) -> Result<Document, Refusal> {
    if bytes.len() > MOST_BYTES {
        return Err(Refusal::TooLarge { what: "megabytes", most: MOST_BYTES >> 20 });
    }
    let text = decode(bytes)?;
    let document: Document = serde_json::from_str(&text).map_err(|error| not_json(&text, &error))?;
    check_version(document.format_version.as_deref())?;
    let values = [document.planned_values.as_ref(), document.values.as_ref()];
    let count: usize = values.into_iter().flatten().map(|v| v.root_module.count()).sum();
    if count > MOST_RESOURCES {
        return Err(Refusal::TooLarge { what: "resources", most: MOST_RESOURCES });
    }
    Ok(document)
}

fn decode(bytes: &[u8]) -> Result<String, Refusal> {
    let wide = |from: fn([u8; 2]) -> u16| {
        let units: Vec<u16> = bytes[2..].chunks_exact(2).map(|pair| from([pair[0], pair[1]])).collect();
        String::from_utf16(&units).map_err(|_| Refusal::NotText { at: 2 })
    };
    match bytes {
        [0xff, 0xfe, ..] => wide(u16::from_le_bytes),
        [0xfe, 0xff, ..] => wide(u16::from_be_bytes),
        _ => {
            let bytes = bytes.strip_prefix(&[0xef, 0xbb, 0xbf]).unwrap_or(bytes);
            let text = std::str::from_utf8(bytes).map_err(|e| Refusal::NotText { at: e.valid_up_to() })?;
            Ok(text.to_owned())
        }
    }
}

fn not_json(text: &str, error: &serde_json::Error) -> Refusal {
    let line = text.lines().nth(error.line().saturating_sub(1)).unwrap_or_default();
    let near: String = line.chars().skip(error.column().saturating_sub(20)).take(40).collect();
    // The library ends its sentence with the place, which stands elsewhere here.
    let why = error.to_string();
    let why = why.rsplit_once(" at line ").map_or(why.as_str(), |(head, _)| head).to_owned();
    let plan = text.starts_with("PK");
    Refusal::NotJson { line: error.line(), column: error.column(), why, near: near.trim().to_owned(), plan }
}

/// Terraform 1.1 and later write major version 1, before that 0; OpenTofu the same.
fn check_version(version: Option<&str>) -> Result<(), Refusal> {
    let Some(version) = version else { return Err(Refusal::NotAPlan) };
    match version.split('.').next() {
        Some("0" | "1") => Ok(()),
        _ => Err(Refusal::Version { found: version.chars().take(20).collect() }),
    }
}

impl Module {
    fn count(&self) -> usize {
        self.resources.len() + self.child_modules.iter().map(Module::count).sum::<usize>()
    }
}
