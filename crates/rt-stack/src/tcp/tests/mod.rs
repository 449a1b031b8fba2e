//! TCP by packet scripts, a file per theme, and by property tests over a simulated pipe.

mod handshake;
mod pipe;
mod script;
