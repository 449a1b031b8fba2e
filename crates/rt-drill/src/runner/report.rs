//! What a failure looks like.

use core::fmt::Write;

use rt_base::text::{excerpt, printable};

/// So much of a script's line is repeated, in characters.
const SHOWN: usize = 200;

/// A line of a script that did not come true.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Failure {
    /// First and last line of the event.
    pub lines: (u32, u32),
    /// One sentence.
    pub what: String,
    /// The expected packet or result, as a line.
    pub expected: Option<String>,
    /// What came, as a line; the same fields at the same places.
    pub actual: Option<String>,
    /// Carets under `actual` where it differs.
    pub marks: Option<String>,
    /// Names of the fields that differ.
    pub fields: Vec<&'static str>,
    /// What may help to understand it.
    pub hints: Vec<String>,
    /// The last packets and calls before it.
    pub before: Vec<String>,
    /// How the connection stood.
    pub state: Vec<String>,
}

impl Failure {
    /// All of it, for people; `file` names the script and `text` is it.
    #[must_use]
    pub fn show(&self, file: &str, text: &str) -> String {
        let (first, last) = self.lines;
        let mut out = format!("{}:{first}: {}\n", printable(file), cut(&self.what));
        let quoted = text.lines().enumerate().skip(first.saturating_sub(1) as usize);
        let width = last.to_string().len();
        for (i, line) in quoted.take((last.saturating_sub(first) + 1).min(12) as usize) {
            let _ = writeln!(out, "  {:width$} | {}", i + 1, excerpt(line.trim_end(), SHOWN));
        }
        if let Some(expected) = &self.expected {
            let _ = writeln!(out, "  expected  {}", cut(expected));
        }
        if let Some(actual) = &self.actual {
            let _ = writeln!(out, "  actual    {}", cut(actual));
        }
        if let Some(marks) = &self.marks {
            let _ = writeln!(out, "            {}", cut(marks));
        }
        for hint in &self.hints {
            let _ = writeln!(out, "  {}", cut(hint));
        }
        if !self.before.is_empty() {
            out.push_str("  before it:\n");
            for line in &self.before {
                let _ = writeln!(out, "    {}", cut(line));
            }
        }
        for line in &self.state {
            let _ = writeln!(out, "  {}", cut(line));
        }
        out
    }
}

/// A piece of a message in one line of a bearable length.
fn cut(text: &str) -> String {
    excerpt(text, 2 * SHOWN)
}

/// What a field that differs may mean.
pub(super) fn hint(field: &str, expected: &str, actual: &str) -> String {
    let say = match field {
        "time" => "",
        "flags" => {
            " (P marks the last segment of a write; E and W are ECN's; a digit after the dot is AccECN's)"
        }
        "window" => " (the raw 16 bits: shift by the window scale for bytes; never scaled in a SYN)",
        "ack" => " (the next byte that the machine waits for; a SYN and a FIN count as one)",
        "seq" => " (first:last+1(bytes), counted from the machine's own SYN)",
        "options" => " (order and padding count; write <...> to leave them unchecked)",
        "ecr" => " (must echo the TS val that the window was last advanced with: RFC 7323 section 4.3)",
        "ecn" | "tos" => {
            " (ECT on data only: not on SYNs, pure ACKs and retransmissions, RFC 3168 section 6.1)"
        }
        _ => "",
    };
    format!("{field}: expected {expected}, came {actual}{say}")
}
