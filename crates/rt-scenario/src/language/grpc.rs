//! The keys of gRPC: a server, and what a step that calls may say.

use super::machine::CERTIFICATE;
use crate::grpc::MOST_WORK;
use crate::shape::{Key, Shape, Ty, key};

const HOUR: u64 = 3_600_000_000_000;
static JOB: Ty = Ty::Whole(0, MOST_WORK);

pub(super) static SERVER: Shape = Shape {
    name: "a gRPC server",
    about: "Works for thin clients: `work.Worker` with `Compute` (a job, a result), `Watch` (a job, reports), `Gather` (jobs, one \
            result) and `Converse` (jobs, results), and `grpc.health.v1.Health`.",
    keys: &[&[
        key("port", Ty::Port, "TCP port (50051)."),
        CERTIFICATE,
        key("workers", Ty::Whole(1, 1_000), "Jobs that are worked on at once (2 by default); others wait."),
        key(
            "unit",
            Ty::Span(1_000, HOUR),
            "Time that a worker takes for one unit of a job (1ms by default).",
        ),
        key(
            "queue",
            Ty::Whole(0, 100_000),
            "Calls that may wait for a worker (100 by default); one more is refused.",
        ),
        key(
            "stops",
            Ty::Flag,
            "Whether the work of a call ends with the call (yes). With `no`, `Compute` works on for nobody.",
        ),
    ]],
};

// Keys of a step, beside those that it shares with other calls.
pub(super) const JOBS: Key = key(
    "jobs",
    Ty::List(&JOB),
    "`calls https://...`: sizes of the jobs, units: one call after the other takes the next (`[1]` by default); `Gather` and \
     `Converse` send all in one call.",
);
pub(super) const DEADLINE: Key = key(
    "deadline",
    Ty::Span(1_000, HOUR),
    "`calls https://...`: the server is told (`grpc-timeout`), and the call is given up when it is not answered by then.",
);
pub(super) const CANCEL_AFTER: Key =
    key("cancel-after", Ty::Span(0, HOUR), "`calls https://...`: each call is given up after this.");
