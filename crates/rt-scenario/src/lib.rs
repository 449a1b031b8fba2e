//! The scenario language: YAML to a checked, lowered [`Model`], with diagnostics for everything that is wrong.
//!
//! [`load()`] is pure: text in, model or problems out; it touches no file. A model is plain data: nothing here runs TCP.
//!
//! The walk, top to bottom: `tree` (YAML to values with places) - `shape` and `language` (the words, as tables) -
//! `sites`, `plain`, `machine`, `apps`, `dns` (values to drafts in a `world`) - `routing` (what nobody has to write) -
//! `check` (what only the whole can show) - [`model`]. [`views`] print a model; [`schema()`] prints the language.

mod airports;
mod apps;
mod balancer;
mod calls;
mod check;
mod cities;
mod diag;
mod dns;
mod expect;
mod forward;
mod grpc;
mod guard;
mod http_words;
mod idle;
pub mod import;
mod interfaces;
mod language;
mod load;
mod lookup;
mod machine;
mod measure;
pub mod model;
mod names;
mod nat;
mod pages;
mod plain;
mod proxy;
mod purges;
mod reference;
mod routes;
mod routing;
mod rules_text;
mod schema;
mod shape;
mod sites;
mod ssh;
mod steps;
mod tcp;
pub mod templates;
mod token_keys;
mod tree;
mod tunnels;
mod units;
mod upstreams;
pub mod views;
mod ways;
mod websocket;
mod world;

pub use diag::{Code, Diagnostic, Severity, Snippet, Span, render_all};
pub use load::{DEFAULT_EPOCH, Loaded, NoFolders, PageFolders, load, load_with, yaml_as_json};
pub use model::Model;
pub use reference::reference;
pub use schema::schema;

/// Reads a span of time as scenarios write it: `4ms`, `50us`, `1.2s`, `2min`.
#[must_use]
pub fn parse_span(text: &str) -> Option<rt_base::Nanos> {
    units::duration(text).ok()
}

/// What an expectation about something measured says, as scenarios write it: `latency-median 40ms..45ms`.
#[must_use]
pub fn figure_words(name: &str, least: u64, most: u64) -> String {
    let measure = expect::figure_measure(name).unwrap_or(units::Measure::Count);
    format!("{name} {}", units::show_between((least, most), measure))
}
