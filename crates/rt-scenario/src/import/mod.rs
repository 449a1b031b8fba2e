//! Networks that other tools describe, turned into scenario files.
//!
//! Pure: bytes in, text and notes out. What is written is a scenario like any other, that a person reads, changes and
//! keeps; nothing of the source is needed to run it.

pub mod terraform;
