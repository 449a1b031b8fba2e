//! Where a rule comes from, so that every decision can be shown with its line.

use core::fmt;

use serde::{Deserialize, Serialize};

/// The origin of a rule, route or value.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// Written here.
    Line {
        /// File name as the user gave it.
        file: String,
        /// From 1.
        line: u32,
    },
    /// A cloud or cluster resource.
    Resource {
        /// Its address, such as `aws.sg/app`.
        address: String,
    },
    /// Not written: what the thing at this line does by default.
    DefaultOf {
        /// File name.
        file: String,
        /// From 1.
        line: u32,
        /// Which default, in a few words.
        what: String,
    },
    /// Learnt during the run (DHCP, routing protocol).
    Learned {
        /// From whom or what.
        from: String,
    },
    /// Decided by the absence of a rule.
    Absence {
        /// The table that was searched.
        table: String,
        /// The rule that came nearest, in words.
        nearest: Option<String>,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Line { file, line } => write!(f, "{file}:{line}"),
            Origin::Resource { address } => f.write_str(address),
            Origin::DefaultOf { file, line, what } => write!(f, "{file}:{line} (by default: {what})"),
            Origin::Learned { from } => write!(f, "learnt from {from}"),
            Origin::Absence { table, nearest: None } => write!(f, "no rule in {table}"),
            Origin::Absence { table, nearest: Some(n) } => write!(f, "no rule in {table} (nearest: {n})"),
        }
    }
}
