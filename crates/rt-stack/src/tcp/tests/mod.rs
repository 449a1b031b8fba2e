//! TCP by packet scripts, a file per theme, and by property tests over a simulated pipe.

mod bsd;
mod close;
mod ecn;
mod fuzz;
mod handshake;
mod loss;
mod model;
mod options;
mod pipe;
mod reassembly;
mod receive;
mod script;
mod story;
mod transmit;
