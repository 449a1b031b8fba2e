//! What a server that works on calls says of each, and the names of gRPC's status codes. No behaviour.
//!
//! Not for: how calls wait for a worker (`rt-apps`), what is told of it (`rt-trace`).

use serde::{Deserialize, Serialize};

use crate::Nanos;

/// How far a server is with a call. What it says last is [`WorkStep::Done`], [`WorkStep::Stopped`], [`WorkStep::Wasted`] or
/// [`WorkStep::Left`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WorkStep {
    /// All workers are busy: the call waits for one.
    Queued {
        /// Calls that wait before it.
        ahead: u32,
    },
    /// No room in the queue: the call is refused.
    Refused {
        /// How many wait already.
        waiting: u32,
    },
    /// A worker begins.
    Begun {
        /// Which, from 1.
        worker: u32,
        /// How much work it is.
        units: u32,
        /// How long it takes.
        takes: Nanos,
    },
    /// A worker is done.
    Done {
        /// How long it worked.
        worked: Nanos,
    },
    /// A worker stopped before the end, because nobody waits for the result any more.
    Stopped {
        /// How long it had worked.
        worked: Nanos,
        /// How much longer it would have.
        saved: Nanos,
        /// How it knew.
        why: WorkStop,
    },
    /// A worker worked to the end for nobody.
    Wasted {
        /// How long it worked.
        worked: Nanos,
        /// Of that, after nobody waited any more.
        in_vain: Nanos,
    },
    /// The call went before a worker was free for it.
    Left {
        /// How much work that saves.
        saved: Nanos,
        /// How the server knew.
        why: WorkStop,
    },
}

/// How a server knows that nobody waits any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WorkStop {
    /// The stream was reset, or its connection ended.
    Gone,
    /// By its own clock the call's deadline has passed.
    Deadline,
}

/// Name of a gRPC status code, as its specification writes it: `DEADLINE_EXCEEDED`.
#[must_use]
pub fn grpc_status(code: u32) -> String {
    const NAMES: [&str; 17] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];
    NAMES.get(code as usize).map_or_else(|| format!("code {code}"), |name| (*name).to_owned())
}

/// What `grpc-timeout` says: at most eight digits and a unit.
///
/// ```
/// use rt_base::{Nanos, grpc_timeout};
/// assert_eq!(grpc_timeout("200000u"), Some(Nanos::from_millis(200)));
/// assert_eq!(grpc_timeout("1S"), Some(Nanos::from_secs(1)));
/// assert_eq!(grpc_timeout("123456789n"), None);
/// assert_eq!(grpc_timeout("+1S"), None);
/// ```
#[must_use]
pub fn grpc_timeout(text: &str) -> Option<Nanos> {
    let unit = match text.as_bytes().last()? {
        b'H' => 3_600_000_000_000,
        b'M' => 60_000_000_000,
        b'S' => 1_000_000_000,
        b'm' => 1_000_000,
        b'u' => 1_000,
        b'n' => 1,
        _ => return None,
    };
    let digits = &text[..text.len() - 1];
    let plain = (1..=8).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    let number: u64 = digits.parse().ok().filter(|_| plain)?;
    // 99999999 hours are more than fit; nobody waits that long.
    Some(Nanos(number.saturating_mul(unit)))
}
