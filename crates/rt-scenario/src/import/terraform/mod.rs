//! Terraform's plans and states (`terraform show -json`) to scenarios: AWS networks with what stands in them.
//!
//! The walk, top to bottom: `json` (bytes to a document, limits) - `graph` (all resources, found by name and id) -
//! `resolve` (what an attribute means, also before it is known) - `reader` with `vpcs`, `routes`, `rules`, `machines` and
//! `joins` (resources to a [`cloud`]) - `yaml` (the scenario, for people). Main function: [`import`].
//!
//! Not for: running Terraform, reading its language (`.tf`), or other clouds. Nothing is dropped in silence: what cannot
//! be carried over, and what had to be chosen because it is known only after apply, is a [`Note`].

mod address;
mod cloud;
mod graph;
mod joins;
mod json;
mod machines;
mod names;
mod others;
mod reader;
mod resolve;
mod routes;
mod rules;
mod vpcs;
mod yaml;

use std::fmt;

use serde::Serialize;

/// What came of an import.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Import {
    /// The scenario file.
    pub scenario: String,
    /// Addresses of the resources that are part of it, in the order of the plan.
    pub carried: Vec<String>,
    /// What is not part of it, or only by an assumption.
    pub notes: Vec<Note>,
}

/// Something to know about the import.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Note {
    /// The resource's address.
    pub address: String,
    /// Its type; empty for a module.
    #[serde(rename = "type")]
    pub kind: String,
    /// What became of it.
    pub what: What,
    /// Why, in a few words.
    pub why: String,
}

/// What became of a resource.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// It, or what the note says of it, is missing in the scenario.
    LeftOut,
    /// It is there, with something that the plan does not say.
    Assumed,
    /// It is missing and sends no packet.
    Beside,
}

/// Why nothing was imported.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Refusal {
    /// Longer or fuller than is read.
    TooLarge {
        /// Of what there are too many.
        what: &'static str,
        /// How many there may be.
        most: usize,
    },
    /// Neither UTF-8 nor UTF-16.
    NotText {
        /// The first bad byte.
        at: usize,
    },
    /// Not JSON, or JSON of another shape.
    NotJson {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
        /// What is wrong.
        why: String,
        /// The text around it.
        near: String,
        /// It is a plan file, as `terraform plan -out` writes it.
        plan: bool,
    },
    /// A later major version of the format.
    Version {
        /// As written.
        found: String,
    },
    /// JSON, but neither a plan nor a state.
    NotAPlan,
    /// No VPC that could be carried over.
    NoVpc {
        /// What there is to say about that.
        notes: Vec<Note>,
    },
}

/// Makes a scenario of the JSON that `terraform show -json` prints. `name` is the scenario's, `source` what the file is
/// called in its first line.
///
/// # Errors
/// [`Refusal`], when there is nothing to make a scenario of.
pub fn import(bytes: &[u8], name: &str, source: &str) -> Result<Import, Refusal> {
    let document = json::read(bytes)?;
    let graph = graph::Graph::new(&document).ok_or(Refusal::NotAPlan)?;
    let mut reader = reader::Reader::new(graph);
    reader.read_all();
    let (cloud, notes, carried) = reader.finish();
    if cloud.vpcs.is_empty() {
        return Err(Refusal::NoVpc { notes });
    }
    let scenario = yaml::without_hopeless_steps(yaml::write(&cloud, &notes, name, source));
    Ok(Import { scenario, carried, notes })
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::TooLarge { what, most } => write!(f, "it has more than {most} {what}"),
            Refusal::NotText { at } => write!(f, "it is not text: byte {at} is not UTF-8"),
            Refusal::NotJson { plan: true, .. } => {
                f.write_str("it is a plan file, not its JSON\nhelp: terraform show -json FILE > plan.json")
            }
            Refusal::NotJson { line, column, why, near, .. } => {
                write!(f, "line {line}, column {column}: {why}")?;
                if !near.is_empty() {
                    write!(f, "\n  near `{near}`")?;
                }
                f.write_str("\nhelp: write it with: terraform show -json tfplan > plan.json")
            }
            Refusal::Version { found } => {
                write!(f, "its format_version is {found}, and only major versions 0 and 1 are known")
            }
            Refusal::NotAPlan => f.write_str(
                "it has no format_version with planned_values or values, so it is neither a plan nor a state\n\
                 help: terraform plan -out tfplan && terraform show -json tfplan > plan.json",
            ),
            Refusal::NoVpc { notes } => {
                f.write_str("there is no VPC in it that could be carried over")?;
                for note in notes.iter().take(20) {
                    write!(f, "\n  {}: {}", note.address, note.why)?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod refused_tests;
#[cfg(test)]
mod tests;
