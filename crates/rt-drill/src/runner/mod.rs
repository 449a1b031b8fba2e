//! Plays a script against a machine.
