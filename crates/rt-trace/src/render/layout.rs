//! Columns, wrapping and rules for text of at most 100 columns. Widths count characters: the story uses no wide ones.

/// Columns.
pub(crate) const WIDTH: usize = 100;

/// A text under construction.
pub(crate) struct Page {
    out: String,
}

impl Page {
    pub(crate) fn new() -> Page {
        Page { out: String::new() }
    }

    /// The text, with one newline at its end.
    pub(crate) fn finish(self) -> String {
        format!("{}\n", self.out.trim_end())
    }

    /// A finished text.
    pub(crate) fn append(&mut self, text: &str) {
        self.out.push_str(text.trim_start_matches('\n'));
    }

    /// An empty line, never two.
    pub(crate) fn blank(&mut self) {
        if !self.out.is_empty() && !self.out.ends_with("\n\n") {
            self.out.push('\n');
        }
    }

    /// One line as it is.
    pub(crate) fn plain(&mut self, indent: usize, text: &str) {
        self.line(&format!("{:indent$}{text}", ""));
    }

    /// Wrapped text.
    pub(crate) fn prose(&mut self, indent: usize, text: &str) {
        for line in wrap(text, WIDTH - indent) {
            self.line(&format!("{:indent$}{line}", ""));
        }
    }

    /// Wrapped text with a bar beside it: an explanation for those who want it.
    pub(crate) fn aside(&mut self, indent: usize, text: &str) {
        for line in wrap(text, WIDTH - indent - 2) {
            self.line(&format!("{:indent$}│ {line}", ""));
        }
    }

    /// Text at the left and text at the right edge.
    pub(crate) fn split(&mut self, left: &str, right: &str) {
        let lines = wrap_hanging(left, WIDTH - right.chars().count().min(WIDTH / 2) - 2);
        for (i, line) in lines.iter().enumerate() {
            let line = if i == 0 { edge(line, right) } else { line.clone() };
            self.line(&line);
        }
    }

    /// Text at the left, a remark beside it when there is room (else below), text at the right edge.
    pub(crate) fn titled(&mut self, left: &str, remark: &str, right: &str) {
        let all = left.chars().count() + remark.chars().count() + right.chars().count();
        if remark.is_empty() || all + 6 > WIDTH {
            self.split(left, right);
            if !remark.is_empty() {
                self.right(remark);
            }
        } else {
            self.split(left, &format!("{remark}  {right:>12}"));
        }
    }

    /// Text at the right edge alone.
    pub(crate) fn right(&mut self, text: &str) {
        self.line(&edge("", text));
    }

    /// A heading with a rule above it.
    pub(crate) fn ruled(&mut self, left: &str, right: &str) {
        self.blank();
        let right = if right.is_empty() { "━━━" } else { right };
        let room = WIDTH - right.chars().count() - 4;
        let left = cut(left, room.saturating_sub(3));
        let rule = "━".repeat(room.saturating_sub(left.chars().count() + 1));
        self.line(&format!("━━ {left} {rule} {right}"));
    }

    /// A label in its column, wrapped text beside it, something at the margin of the first line.
    pub(crate) fn entry(&mut self, indent: usize, column: usize, label: &str, text: &str, margin: &str) {
        // A long margin (a rule's origin with an explanation) would leave no room for the text: it goes below.
        let (margin, below) = if margin.chars().count() > 30 { ("", margin) } else { (margin, "") };
        let start = indent + column.max(label.chars().count()) + 2;
        let margin_room = if margin.is_empty() { 0 } else { margin.chars().count() + 2 };
        let first = WIDTH.saturating_sub(start + margin_room).max(20);
        let rest = WIDTH.saturating_sub(indent + column + 2 + margin_room).max(20);
        let lines = wrap_two(text, first, rest);
        for (i, line) in lines.iter().enumerate() {
            let line = if i == 0 {
                edge(&format!("{:indent$}{label:<column$}  {line}", ""), margin)
            } else {
                format!("{:width$}{line}", "", width = indent + column + 2)
            };
            self.line(&line);
        }
        if !below.is_empty() {
            for line in wrap(below, WIDTH - indent) {
                self.right(&line);
            }
        }
    }

    /// Cells of fixed width (negative: right-aligned), then wrapped text.
    pub(crate) fn row(&mut self, indent: usize, cells: &[(isize, &str)], text: &str) {
        let mut head = format!("{:indent$}", "");
        for (width, cell) in cells {
            let room = width.unsigned_abs();
            let cell = cut(cell, room);
            head += &if *width < 0 { format!("{cell:>room$}  ") } else { format!("{cell:<room$}  ") };
        }
        let start = head.chars().count();
        for (i, line) in wrap(text, WIDTH - start).iter().enumerate() {
            let line = if i == 0 { format!("{head}{line}") } else { format!("{:start$}{line}", "") };
            self.line(&line);
        }
    }

    fn line(&mut self, text: &str) {
        self.out.push_str(text.trim_end());
        self.out.push('\n');
    }
}

/// `left`, then `right` so that it ends at the edge (or two spaces further when there is no room).
fn edge(left: &str, right: &str) -> String {
    let room = WIDTH.saturating_sub(left.chars().count() + right.chars().count()).max(if right.is_empty() {
        0
    } else {
        2
    });
    format!("{left}{:room$}{right}", "")
}

fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_string();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    format!("{kept}…")
}

/// Breaks at spaces; a word longer than a line is broken anywhere. At least one line.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    wrap_two(text, width, width)
}

/// Like [`wrap`], keeping the indent of the text on every line.
fn wrap_hanging(text: &str, width: usize) -> Vec<String> {
    let indent = text.chars().take_while(|c| *c == ' ').count();
    let lines = wrap(text.trim_start(), width.saturating_sub(indent));
    let hang = |(i, l): (usize, &String)| {
        let indent = if i == 0 { indent } else { indent + 3 };
        format!("{:indent$}{l}", "")
    };
    lines.iter().enumerate().map(hang).collect()
}

/// The first line may be shorter than the others. Runs of spaces inside a line are kept.
fn wrap_two(text: &str, first: usize, rest: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::new();
    let mut used = 0;
    for word in text.split(' ') {
        let mut word = word;
        let room = if lines.is_empty() { first } else { rest }.max(8);
        let len = word.chars().count();
        if used > 0 && used + 1 + len > room {
            lines.push(std::mem::take(&mut line));
            used = 0;
        }
        loop {
            let room = if lines.is_empty() { first } else { rest }.max(8);
            let fits = room - if used > 0 { used + 1 } else { 0 };
            if word.chars().count() <= fits || used > 0 {
                break;
            }
            let at = word.char_indices().nth(room).map_or(word.len(), |(i, _)| i);
            lines.push(word[..at].to_string());
            word = &word[at..];
        }
        if used > 0 {
            line.push(' ');
            used += 1;
        }
        line.push_str(word);
        used += word.chars().count();
    }
    if !line.is_empty() || lines.is_empty() {
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::{Page, WIDTH, wrap};

    #[test]
    fn no_line_is_longer_than_the_page() {
        let mut page = Page::new();
        let long = "word ".repeat(60) + &"x".repeat(250);
        page.prose(3, &long);
        page.aside(5, &long);
        page.split(&long, "12.345 ms");
        page.ruled(&long, "12.345 ms");
        page.ruled(&long, "");
        page.titled(&long, "1 round trip", "12.345 ms");
        page.titled("short", "1 round trip", "12.345 ms");
        page.entry(7, 12, "label", &long, "web-browsing.yaml:9");
        page.entry(7, 12, &"label".repeat(8), &long, "+12.345 ms");
        page.row(7, &[(26, "cell"), (-16, "12.345678 ms")], &long);
        for line in page.finish().lines() {
            assert!(line.chars().count() <= WIDTH, "{} columns: {line}", line.chars().count());
        }
    }

    #[test]
    fn words_are_kept() {
        assert_eq!(wrap("aaaa bbbb cc", 9), ["aaaa bbbb", "cc"]);
        assert_eq!(wrap("", 4), [""]);
        assert_eq!(wrap("12345678901", 8), ["12345678", "901"]);
    }
}
