//! Whole stacks, joined in memory.
#![allow(clippy::unwrap_used, reason = "tests")]

mod capture;
mod drops;
mod filter;
mod fixture;
mod fragments;
mod icmp;
mod nat;
mod nat_behaviour;
mod neighbor;
mod policy;
mod properties;
mod reference;
mod rules;
mod sockets;
mod tcp;
mod wrap;
