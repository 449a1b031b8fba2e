//! Where a script is wrong, and how.

use core::fmt;

use rt_base::text::{printable, visible};

/// A place in a script, counted from 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Place {
    /// Line.
    pub line: u32,
    /// Column, in characters.
    pub column: u32,
}

impl Place {
    /// Where a script begins.
    pub const START: Place = Place { line: 1, column: 1 };
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// Longer lines are cut around the place, in characters.
const LINE_SHOWN: usize = 110;

/// Something that is not packetdrill's language.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mistake {
    /// Where.
    pub place: Place,
    /// What could have stood there.
    pub expected: String,
    /// What stood there.
    pub found: String,
}

impl Mistake {
    pub(super) fn new(place: Place, expected: impl Into<String>, found: impl Into<String>) -> Mistake {
        Mistake { place, expected: expected.into(), found: found.into() }
    }

    /// The mistake with the line that it is in and a caret under the place; `file` names the script.
    #[must_use]
    pub fn show(&self, file: &str, text: &str) -> String {
        let line = text.lines().nth(self.place.line.saturating_sub(1) as usize).unwrap_or_default();
        let number = self.place.line.to_string();
        // Of a long line only what stands around the place.
        let column = self.place.column.saturating_sub(1) as usize;
        let long = line.chars().nth(LINE_SHOWN).is_some();
        let skip = if long { column.saturating_sub(LINE_SHOWN / 3) } else { 0 };
        let shown: String = line.chars().skip(skip).take(LINE_SHOWN).map(visible).collect();
        let pad = " ".repeat(number.len());
        let caret = " ".repeat(column - skip);
        format!("{}:{}: {self}\n {number} | {shown}\n {pad} | {caret}^", printable(file), self.place)
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {}, found {}", self.expected, self.found)
    }
}
