//! Formats that other tools read: captures (pcapng), page loads (HAR), time lines (Perfetto), test reports (JUnit); and the
//! event store's own file, and that of recorded inputs. Captures made elsewhere are read by [`foreign`].
//!
//! Every writer takes plain values and an `io::Write`, or gives back a string: no files, no clock, nothing of the network.
//! Which packets and spans there are is decided in `rt-trace`; where they are written, in `rt-lab`.

pub mod events;
pub mod foreign;
pub mod har;
pub mod inputs;
pub mod junit;
pub mod pcapng;
pub mod perfetto;
