//! Programs that nobody here wrote, each asked for something inside the simulated internet: what came back is judged by its
//! meaning, the captures by tshark, the story by what it tells of the request. `docs/clients.md` is the table of all rows.
//!
//! Rows of a group share a run, which the first of them to be judged makes. Nothing is skipped: a client that is missing, or
//! namespaces that are refused, fail their rows. `cargo xtask ci` installs the clients; its `--no-attach` leaves all of this
//! out (everything in `attached`).
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod attached;
mod page;
mod picture;
mod play;
#[allow(dead_code, reason = "shared with the tests of rt-lab, which use all of it")]
#[path = "../../../rt-lab/tests/it/support.rs"]
mod support;
