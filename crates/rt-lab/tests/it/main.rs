//! The laboratory, judged from outside: whole runs of the shipped scenarios.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod boundaries;
mod cache;
mod clicking;
mod clouds;
mod determinism;
mod forward;
mod grpc;
mod guards;
mod hostile;
mod intercepted;
mod judges;
mod l4;
mod l7;
mod laws;
mod lifts;
mod no_loss;
mod ossified;
mod plots;
mod reasons;
mod rule_kinds;
mod server_logs;
mod shipped;
mod ssh;
mod steering;
mod stories;
mod support;
mod tables;
mod terraform;
mod tokens;
mod told;
mod traces;
mod tunnels;
mod verdicts;
mod websocket;
mod whys;
