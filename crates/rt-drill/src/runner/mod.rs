//! Plays a script against a machine and tells what was expected beside what came.
//!
//! [`run`] takes a script's text and gives an [`Outcome`]: passed, failed (with the line, both packets, what went before and
//! how the connection stood), not playable here, or not readable. It is exact to the microsecond: without a tolerance a
//! packet that leaves a microsecond late has failed.
//!
//! The rules are those of the original tool, so that a script has the same verdict under both: relative numbers, echoed
//! timestamps mapped to what was really sent, segments added up to a line's length, unmentioned fields unchecked. Added:
//!
//! - **The strict end.** After the last event nothing may have been sent that no line mentions, up to
//!   [`Options::horizon`] later.
//! - **Ports choose a conversation.** A line with `5000 > 8080` speaks of the connection with these ports, so one script can
//!   play several peers.
//! - [`Options::check_echo`] also compares the `ecr` of outbound timestamps.
//!
//! Not for: what the words mean (`language`), sockets (`machine`).
//!
//! # Simplifications
//!
//! IPv4 only, no tunnels. Shell lines are never given to a shell: those that set sysctls are carried out on the machine,
//! others are listed as skipped.

mod calls;
mod flow;
mod play;
mod report;
mod segment;
mod shell;
mod state;
mod values;
mod wire;

#[cfg(test)]
mod tests;

use rt_base::{Nanos, Time};

use crate::language::{self, Mistake};
use crate::machine::Settings;

pub use report::Failure;

/// How to play.
#[derive(Clone, Debug)]
pub struct Options {
    /// The machine, before the script's own sysctls.
    pub settings: Settings,
    /// How far a time may be off. A script's own `--tolerance_usecs` widens it.
    pub tolerance: Nanos,
    /// Leave windows and options of outbound segments unchecked.
    pub relaxed: bool,
    /// Do not mind packets after the last event that no line mentions.
    pub lenient_end: bool,
    /// How long after the last event the machine must stay silent.
    pub horizon: Nanos,
    /// Compare the echoed timestamps of outbound segments.
    pub check_echo: bool,
    /// Words to be replaced in the script.
    pub defines: Vec<(String, String)>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            settings: Settings::default(),
            tolerance: Nanos::ZERO,
            relaxed: false,
            lenient_end: false,
            // Shorter than every timer of the personalities: it sees what was sent at once and not expected.
            horizon: Nanos::from_millis(5),
            check_echo: false,
            defines: Vec::new(),
        }
    }
}

/// What came of a script.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The verdict.
    pub verdict: Verdict,
    /// What was passed over, with its line: shell lines for a real host, sysctls that nobody knows.
    pub notes: Vec<(u32, String)>,
    /// Everything that happened, in order.
    pub trace: Vec<TraceLine>,
    /// Every packet on the wire, in order.
    pub packets: Vec<WirePacket>,
}

/// A packet on the wire.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WirePacket {
    /// When.
    pub at: Time,
    /// The machine sent it.
    pub outbound: bool,
    /// From the IPv4 header on.
    pub bytes: Vec<u8>,
}

/// A line of the trace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TraceLine {
    /// When.
    pub at: Time,
    /// What, in the language's words.
    pub text: String,
}

/// How it ended.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// All came true.
    Passed,
    /// Something did not.
    Failed(Box<Failure>),
    /// The script asks for something that this interpreter has not.
    Unsupported {
        /// Where.
        line: u32,
        /// What.
        what: String,
    },
    /// It is not packetdrill's language.
    Unreadable(Vec<Mistake>),
}

/// Plays the script.
#[must_use]
pub fn run(text: &str, options: &Options) -> Outcome {
    let script = match language::parse(text, &options.defines) {
        Ok(script) => script,
        Err(mistakes) => {
            let verdict = Verdict::Unreadable(mistakes);
            return Outcome { verdict, notes: Vec::new(), trace: Vec::new(), packets: Vec::new() };
        }
    };
    play::Player::play(&script, options)
}
