//! The Linux kernel as judge: its TCP against ours through the device, and everything that can go wrong around it.
//!
//! Nothing is skipped: where namespaces are refused, these tests fail with the line that says which setting refuses them.
//! They run one at a time, since what they judge is time and what is left of them.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod bulk;
mod capture;
mod cases;
mod guest;
mod judge;
