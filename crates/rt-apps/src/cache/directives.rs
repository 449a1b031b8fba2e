//! Lists and Cache-Control: field values as their members, directives as names with values.

use http::HeaderMap;
use http::header::{CACHE_CONTROL, HeaderName, PRAGMA};

/// RFC 9111, 1.2.2: what a number of seconds that is too large counts as.
const MOST_SECONDS: u64 = 1 << 31;

/// The directives of a Cache-Control field, in the order in which they were sent.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Directives(Vec<(String, Option<String>)>);

/// A directive's number of seconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Seconds {
    /// As written.
    Good(u64),
    /// The directive is there without a number that can be read.
    Bad,
}

impl Directives {
    /// Those of all lines of Cache-Control.
    //= rfc9111#section-5.2
    pub(super) fn of(headers: &HeaderMap) -> Directives {
        let all = headers.get_all(CACHE_CONTROL).iter().filter_map(|line| line.to_str().ok());
        Directives(all.flat_map(members).map(read).collect())
    }

    /// A request's: without Cache-Control, `Pragma: no-cache` says the same as `no-cache`.
    //= rfc9111#section-5.4
    pub(super) fn of_request(headers: &HeaderMap) -> Directives {
        let mut found = Directives::of(headers);
        let pragma = || values(headers, &PRAGMA).any(|value| value.eq_ignore_ascii_case("no-cache"));
        if !headers.contains_key(CACHE_CONTROL) && pragma() {
            found.0.push(("no-cache".to_owned(), None));
        }
        found
    }

    /// Whether the directive is there, with or without a value.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| known == name)
    }

    /// The value of the directive's first occurrence.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name)?.1.as_deref()
    }

    /// The seconds of the directive's first occurrence; `None` when it is not there.
    //= rfc9111#section-1.2.2
    //= rfc9111#section-4.2.1
    pub(super) fn seconds(&self, name: &str) -> Option<Seconds> {
        if !self.has(name) {
            return None;
        }
        Some(self.value(name).and_then(delta_seconds).map_or(Seconds::Bad, Seconds::Good))
    }
}

/// A number of seconds; too large a one counts as 2^31.
pub(super) fn delta_seconds(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().map_or(MOST_SECONDS, |number: u64| number.min(MOST_SECONDS)))
}

/// All members of a list field, over all its lines.
pub(super) fn values<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers.get_all(name).iter().filter_map(|line| line.to_str().ok()).flat_map(members)
}

/// The members of a list, trimmed; commas between quotes do not part them, empty members do not count.
//= rfc9110#section-5.6.1
pub(super) fn members(text: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    let mut escaped = false;
    text.split(move |char: char| {
        let parts = char == ',' && !quoted;
        match char {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => {}
        }
        parts
    })
    .map(str::trim)
    .filter(|member| !member.is_empty())
}

fn read(member: &str) -> (String, Option<String>) {
    match member.split_once('=') {
        None => (member.to_ascii_lowercase(), None),
        Some((name, value)) => (name.trim_end().to_ascii_lowercase(), Some(unquoted(value.trim_start()))),
    }
}

/// RFC 9111, 5.2: a value may come as a token or quoted.
fn unquoted(value: &str) -> String {
    let Some(inner) = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return value.to_owned();
    };
    let mut out = String::with_capacity(inner.len());
    let mut escaped = false;
    for char in inner.chars() {
        if char == '\\' && !escaped {
            escaped = true;
        } else {
            out.push(char);
            escaped = false;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directives(text: &str) -> Directives {
        Directives(members(text).map(read).collect())
    }

    #[test]
    //= rfc9111#section-5.2
    fn directives_are_read_as_tokens_and_quoted_strings() {
        let found = directives("Max-Age=60, private=\"set-cookie, x\" ,no-cache,, s-maxage=\"7\"");
        assert_eq!(found.seconds("max-age"), Some(Seconds::Good(60)));
        assert_eq!(found.value("private"), Some("set-cookie, x"));
        assert!(found.has("no-cache") && !found.has("x") && !found.has("set-cookie"));
        assert_eq!(found.seconds("s-maxage"), Some(Seconds::Good(7)));
        assert_eq!(directives("extension=\"a\\\"b,c\"").value("extension"), Some("a\"b,c"));
    }

    #[test]
    //= rfc9111#section-1.2.2
    fn seconds_are_whole_numbers_and_have_a_greatest() {
        for (text, want) in [
            ("max-age=99999999999999999999", Seconds::Good(1 << 31)),
            ("max-age=4294967296", Seconds::Good(1 << 31)),
            ("max-age=-1", Seconds::Bad),
            ("max-age=1.5", Seconds::Bad),
            ("max-age", Seconds::Bad),
            ("max-age=", Seconds::Bad),
            ("max-age=1, max-age=2", Seconds::Good(1)),
        ] {
            assert_eq!(directives(text).seconds("max-age"), Some(want), "{text}");
        }
        assert_eq!(directives("no-store").seconds("max-age"), None);
    }
}
