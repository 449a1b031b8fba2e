//! gRPC: servers with workers, and calls.

use rt_base::Nanos;
use serde::{Deserialize, Serialize};

/// A gRPC server that works for others.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GrpcServer {
    /// TCP port.
    pub port: u16,
    /// Index into the model's certificates; HTTP/2 in clear without one.
    pub certificate: Option<usize>,
    /// Jobs that are worked on at once.
    pub workers: u32,
    /// Time for one unit of work.
    pub unit: Nanos,
    /// Calls that may wait for a worker.
    pub queue: u32,
    /// Whether work stops when nobody waits for it any more.
    pub stops: bool,
}

/// Calls to a gRPC server.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GrpcCalls {
    /// Whether over TLS.
    pub secure: bool,
    /// Name or address.
    pub target: String,
    /// TCP port.
    pub port: u16,
    /// `/work.Worker/Compute`.
    pub path: String,
    /// How often.
    pub count: u32,
    /// So many calls at once.
    pub at_once: u32,
    /// Sizes of the jobs.
    pub jobs: Vec<u32>,
    /// Length of a job's input, bytes.
    pub request: u32,
    /// Pause between an answer and the next call, or between the jobs of a stream.
    pub every: Nanos,
    /// The call is given up then, and the server knows it.
    pub deadline: Option<Nanos>,
    /// The call is given up then.
    pub cancel_after: Option<Nanos>,
}
