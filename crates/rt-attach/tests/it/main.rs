//! Real programs in real namespaces. Nothing is skipped: where namespaces are refused, these tests fail with the line that
//! says which setting refuses them.
//!
//! As root, everything that an ordinary user can do is done by one as well: [`ordinary`] starts this program again as
//! `nobody`.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod ends;
mod files;
mod network;
mod offload;
mod ordinary;
mod refused;
mod roles;
mod shell;
mod world;
