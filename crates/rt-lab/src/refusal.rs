//! Why the laboratory could not answer.

use std::fmt;
use std::path::Path;

use rt_scenario::Diagnostic;
use serde_json::{Value, json};

/// Why there is no answer. The program's exit code is [`Refusal::exit_code`].
#[derive(Debug)]
#[non_exhaustive]
pub enum Refusal {
    /// The scenario has mistakes.
    Faulty {
        /// All of them.
        diagnostics: Vec<Diagnostic>,
    },
    /// There is no such scenario, node, request, packet...
    Unknown {
        /// What kind of thing was asked for.
        what: &'static str,
        /// As it was asked for.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// A file could not be read or written.
    Io {
        /// What was tried.
        doing: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// A file is not what it should be.
    Malformed {
        /// Which.
        file: String,
        /// Why.
        why: String,
    },
    /// A real program could not be started inside.
    Attach(rt_attach::AttachError),
    /// The request makes no sense.
    Misuse {
        /// Why, in one sentence.
        why: String,
    },
}

impl Refusal {
    /// There is no such thing; `known` is what there is.
    #[must_use]
    pub fn unknown(what: &'static str, name: &str, known: &[&str]) -> Refusal {
        Refusal::Unknown {
            what,
            name: name.to_owned(),
            known: known.iter().map(|k| (*k).to_owned()).collect(),
        }
    }

    /// A system error on `path`.
    #[must_use]
    pub fn io(doing: &str, path: &Path, error: std::io::Error) -> Refusal {
        Refusal::Io { doing: format!("{doing} {}", path.display()), error }
    }

    /// The program's exit code: 2, or what a shell gives for a command that is not there or cannot be run.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Refusal::Attach(error) => u8::try_from(error.exit_code()).unwrap_or(2),
            _ => 2,
        }
    }

    /// A run without a TCP connection has no curves.
    pub(crate) fn nothing_to_plot(source: &str) -> Refusal {
        let why = format!(
            "no TCP connection in this run, so there is nothing to plot\nhelp: plots show TCP's sequence numbers, congestion window, \
             round-trip times and queues; what the run did do is told by `roundtrip follow {source}`"
        );
        Refusal::Misuse { why }
    }

    /// The problems as JSON, one object each.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match self {
            Refusal::Faulty { diagnostics } => json!(diagnostics),
            other => json!([{ "message": other.to_string() }]),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Faulty { diagnostics } => {
                for diagnostic in diagnostics {
                    writeln!(f, "{diagnostic}")?;
                }
                let n = diagnostics.len();
                write!(f, "{} found", rt_base::count(n as u64, "problem"))
            }
            Refusal::Unknown { what, name, known } => {
                write!(f, "there is no {what} called `{name}`")?;
                if known.is_empty() { Ok(()) } else { write!(f, "; there are: {}", known.join(", ")) }
            }
            Refusal::Io { doing, error } => write!(f, "cannot {doing}: {error}"),
            Refusal::Malformed { file, why } => write!(f, "{file}: {why}"),
            Refusal::Attach(error) => error.fmt(f),
            Refusal::Misuse { why } => f.write_str(why),
        }
    }
}

impl std::error::Error for Refusal {}
