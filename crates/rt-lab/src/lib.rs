//! The laboratory as a library: load a scenario, build its world, carry out steps, tell the story, follow a packet, ask what
//! blocks, export. All that the program can do, `cargo test` can do.
//!
//! ```no_run
//! use rt_lab::{RunOptions, Scenario};
//!
//! let scenario = Scenario::load("web-browsing")?;
//! let run = scenario.run(RunOptions::new(1))?;
//! assert!(run.passed());
//! assert_eq!(run.story().steps[0].requests[1].protocol, "HTTP/2");
//! # Ok::<(), rt_lab::Refusal>(())
//! ```
//!
//! Main types: [`Scenario`] (a checked model), [`World`] (it runs), [`Run`] (it ran). The examples in `examples/` build a
//! world in code, from YAML, and compare two networks. Not for: printing and arguments (the program), or anything a
//! packet does (the crates below).

/// Name and version, as files carry it.
pub(crate) const APPLICATION: &str = concat!("roundtrip ", env!("CARGO_PKG_VERSION"));

mod annotate;
mod apps;
mod attach;
mod balancer;
mod build;
mod calls;
mod can;
mod diff;
mod drill;
mod expect;
mod export;
mod facts;
mod follow;
mod forward;
mod grpc;
mod html;
mod import;
mod ip;
mod network;
mod output;
mod plot;
mod proxies;
mod record;
mod refusal;
mod run;
mod scenario;
mod shipped;
mod source;
mod ssh;
mod tables;
mod tcp;
mod websocket;
mod world;

pub use attach::{
    AttachOptions, BridgeCall, BridgeKind, ExecOptions, Executed, ProgramCall, Record, ReplayOptions,
    Replayed, UpOptions, WhenUp, join, replay,
};
pub use can::{
    Answers, Beyond, Blocker, CanQuery, Cell, Column, Mark, Matrix, MatrixQuery, Protocol, Verdict, can,
    matrix,
};
pub use diff::{Difference, Lines, MachineDiff, ReachDiff, RequestDiff, StepDiff, TimeDiff, diff};
pub use drill::{DrillQuery, Drilled, drill};
pub use expect::Checked;
pub use follow::{FollowQuery, Followed, follow};
pub use import::{Imported, import_terraform};
pub use ip::{IpAnswer, IpQuery, ip};
pub use network::Network;
pub use plot::{PlotQuery, plot};
pub use refusal::Refusal;
pub use rt_attach::{DeviceChoice, Finding, survey};
pub use rt_base::text::printable;
pub use rt_base::{Nanos, Time};
pub use rt_scenario::{Diagnostic, Model, model};
pub use rt_trace::read::Side;
pub use rt_trace::render::PlotKind;
pub use rt_trace::{Trace, story};
pub use run::{Comments, Run, RunOptions};
pub use scenario::{Scenario, ShowFormat, default_out, parse_time, schema, write_new, write_over};
pub use shipped::{Shipped, shipped, template};
pub use tables::{Shown, TableKind, TablesQuery, tables};
pub use world::{Progress, StepOutcome, Watch, World};
