//! JUnit XML, as CI servers read it: one test suite per run, one case per expectation.

use std::fmt::Write;

/// One expectation that was checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Case {
    /// What it is about: `step 1: laptop opens https://google.com/`.
    pub group: String,
    /// What must hold: `status 200`.
    pub name: String,
    /// Virtual time that the step took, in nanoseconds.
    pub took_ns: u64,
    /// Why it does not hold, or `None`.
    pub failure: Option<String>,
}

/// The whole document. Times are virtual seconds.
#[must_use]
pub fn document(suite: &str, cases: &[Case]) -> String {
    let failures = cases.iter().filter(|c| c.failure.is_some()).count();
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(
        out,
        "<testsuites><testsuite name=\"{}\" tests=\"{}\" failures=\"{failures}\">",
        escape(suite),
        cases.len()
    );
    for case in cases {
        let seconds = format!("{}.{:09}", case.took_ns / 1_000_000_000, case.took_ns % 1_000_000_000);
        let (group, name) = (escape(&case.group), escape(&case.name));
        let _ = write!(out, "  <testcase classname=\"{group}\" name=\"{name}\" time=\"{seconds}\"");
        match &case.failure {
            None => out.push_str("/>\n"),
            Some(why) => {
                let _ = writeln!(out, "><failure message=\"{}\"/></testcase>", escape(why));
            }
        }
    }
    out.push_str("</testsuite></testsuites>\n");
    out
}

/// Text for an XML attribute; characters that XML 1.0 forbids become U+FFFD.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' | '\r' => {
                let _ = write!(out, "&#{};", c as u32);
            }
            c if c < ' ' || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{Case, document};

    #[test]
    fn hostile_text_stays_inside_its_attribute() {
        let case = Case {
            group: "step 1: a \"b\" <c> & d".into(),
            name: "fails\u{1}\n".into(),
            took_ns: 1_000_000_001,
            failure: Some("it's > 1".into()),
        };
        let text = document("run", &[case]);
        assert!(text.contains("classname=\"step 1: a &quot;b&quot; &lt;c&gt; &amp; d\""), "{text}");
        assert!(text.contains("name=\"fails\u{fffd}&#10;\" time=\"1.000000001\""), "{text}");
        assert!(text.contains("failures=\"1\""), "{text}");
    }
}
