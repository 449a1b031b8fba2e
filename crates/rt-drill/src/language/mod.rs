//! The language of packetdrill scripts: text to syntax tree, with the place of every mistake.
//!
//! A script is a list of events, each a time and something that happens at it: a packet that arrives (`<`), a packet that
//! must leave (`>`), a system call with its result, a shell line in back quotes, or a piece of Python in `%{ }%`. White
//! space, line ends included, only separates. [`parse`] gives the tree ([`Script`]) or every [`Mistake`] that it found;
//! after one it goes on at the next line that looks like an event.
//!
//! Not for: what a script means for a machine; that is `runner`.
//!
//! # Simplifications
//!
//! The Python blocks are read as what they nearly always are, assertions about numbers ([`code`]); anything else in them
//! is kept as text and reported when the script is played. IPv6 literals are known only in options and strings. The
//! fuzzing annotations `{ mut ... }` after a packet are not read.

pub mod ast;
mod call;
pub mod code;
mod mistake;
mod packet;
mod parser;
mod token;

#[cfg(test)]
mod tests;

pub use ast::Script;
pub use mistake::{Mistake, Place};

/// Longest script that is read, in bytes.
pub const LONGEST: usize = 4 << 20;

/// Reads a script. `defines` are words to be replaced (`-D NAME=value`): by a word or number as it stands, by a string if
/// the value is in double quotes, by a shell line if it is in back quotes.
///
/// # Errors
/// Every mistake that was found, in the order of the text (at most a hundred).
pub fn parse(text: &str, defines: &[(String, String)]) -> Result<Script, Vec<Mistake>> {
    // Some editors begin a file with a mark of its encoding.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.len() > LONGEST {
        return Err(vec![Mistake::new(Place::START, "a script of at most 4 MiB", "more")]);
    }
    parser::script(text, defines)
}
