//! Views of a lowered model: text for people, diagrams, JSON, and the plain level of the language.

mod diagram;
mod plain_yaml;
mod text;

pub use diagram::{dot, mermaid};
pub use plain_yaml::plain_yaml;
pub use text::text;

use crate::model::{Model, NodeKind};

/// The model as JSON, indented.
#[must_use]
pub fn json(model: &Model) -> String {
    let mut out = serde_json::to_string_pretty(model).expect("invariant: a model has only text keys");
    out.push('\n');
    out
}

/// `host`, `router` or `switch`.
fn kind_word(kind: NodeKind) -> &'static str {
    match kind {
        NodeKind::Host => "host",
        NodeKind::Router => "router",
        NodeKind::Switch => "switch",
    }
}
