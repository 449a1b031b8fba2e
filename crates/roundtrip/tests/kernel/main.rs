//! The Linux kernel as judge: its TCP against ours through the device, and everything that can go wrong around it.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod attached;
