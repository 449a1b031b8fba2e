//! The laboratory, judged from outside: whole runs of the shipped scenarios.

mod boundaries;
mod determinism;
mod hostile;
mod judges;
mod shipped;
mod support;
mod verdicts;
