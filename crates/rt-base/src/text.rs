//! Foreign text on its way to a terminal: what would move the cursor, ring the bell or turn the writing around is shown
//! instead of sent.
//!
//! Not for data in files of other formats, which have their own escapes.

use std::borrow::Cow;

/// Stands for a character that has no picture of its own.
const HIDDEN: char = '\u{fffd}';

/// A character as it may be printed, one column wide: a picture of a control character (`␛` for ESC, `␀` for NUL), a blank
/// for a tab, everything else as it is.
#[must_use]
pub fn visible(c: char) -> char {
    match c {
        '\t' => ' ',
        '\0'..='\x1f' => char::from_u32(0x2400 + u32::from(c)).unwrap_or(HIDDEN),
        '\x7f' => '\u{2421}',
        // C1 controls, line and paragraph separators, and what changes the direction of writing.
        '\u{80}'..='\u{9f}'
        | '\u{61c}'
        | '\u{200e}'
        | '\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2066}'..='\u{2069}' => HIDDEN,
        c => c,
    }
}

/// Whole text as it may be printed: lines and tabs stay.
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    let stays = |c: char| matches!(c, '\n' | '\t') || visible(c) == c;
    if text.chars().all(stays) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().map(|c| if stays(c) { c } else { visible(c) }).collect())
}

/// The beginning of a text, in at most `most` characters and in one line.
#[must_use]
pub fn excerpt(text: &str, most: usize) -> String {
    let mut out: String = text.chars().take(most).map(visible).collect();
    if text.chars().nth(most).is_some() {
        out.push_str("...");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_reaches_the_terminal_but_text() {
        assert_eq!(printable("a\tb\nc é"), "a\tb\nc é");
        assert_eq!(printable("\u{1b}[31m\u{7}\0\u{7f}\u{9b}\u{202e}"), "␛[31m␇␀␡\u{fffd}\u{fffd}");
        assert_eq!(printable("a\r\n"), "a␍\n");
        assert_eq!(excerpt("a\nb\tc", 4), "a␊b ...");
        assert_eq!(excerpt("abcd", 4), "abcd");
    }
}
