//! Why a guest could not be started.

use std::fmt;
use std::io;

/// Why a guest could not be started or joined.
#[derive(Debug)]
#[non_exhaustive]
pub enum AttachError {
    /// This operating system has no network namespaces.
    NotHere,
    /// The plan cannot be carried out by anybody.
    Misuse {
        /// What is wrong with it.
        what: String,
    },
    /// Namespaces are refused to us.
    Refused {
        /// The setting that refuses, and how to allow it.
        why: String,
    },
    /// The program could not be started inside.
    Command {
        /// Its name.
        program: String,
        /// Why.
        error: io::Error,
    },
    /// A step of the preparation failed.
    Step {
        /// What was tried.
        what: String,
        /// Why it failed.
        error: io::Error,
    },
}

impl fmt::Display for AttachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AttachError::NotHere => {
                write!(f, "attaching real programs needs Linux: this system has no network namespaces")
            }
            AttachError::Misuse { what } => write!(f, "{what}"),
            AttachError::Refused { why } => write!(f, "{why}"),
            AttachError::Command { program, error } => write!(f, "cannot run `{program}`: {error}"),
            AttachError::Step { what, error } => write!(f, "cannot {what}: {error}"),
        }
    }
}

impl std::error::Error for AttachError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            AttachError::Command { error, .. } | AttachError::Step { error, .. } => Some(error),
            _ => None,
        }
    }
}

impl AttachError {
    /// The exit code that a shell would give: 127 for a program that is not there, 126 for one that cannot be run, else 2.
    #[must_use]
    pub fn exit_code(&self) -> i32 {
        match self {
            AttachError::Command { error, .. } if error.kind() == io::ErrorKind::NotFound => 127,
            AttachError::Command { .. } => 126,
            _ => 2,
        }
    }
}
