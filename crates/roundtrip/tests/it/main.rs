//! Tests of the program as people use it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod attached;
mod docs;
mod library;
