//! What one believes about TCP, written down and checked: packetdrill's language, an interpreter for it, and the machine
//! that both our interpreter and the original tool drive.
//!
//! - [`machine`]: one host as a C program sees it (descriptors, socket options, errno, sysctls), round `rt-stack`, with a
//!   virtual clock and a wire on which IPv4 packets are put and taken.
//! - [`language`]: text to syntax tree, with the place of every mistake.
//! - [`runner`]: plays a script against a machine and tells what was expected beside what came.

pub mod language;
pub mod machine;
pub mod runner;
