//! Which of several things at one address a host name means: a certificate, a site.
//!
//! Not for: resolving names (the `dns` module). A pattern is a host name, or one whose first label is `*`, which stands
//! for exactly one label, as in certificates (RFC 6125, 6.4.3). An exact name goes before a pattern; of two that fit
//! equally well the first counts.

/// Whether `pattern` is for `name`. Case and a final dot do not matter.
#[must_use]
pub fn covers(pattern: &str, name: &str) -> bool {
    let name = name.trim_end_matches('.');
    let pattern = pattern.trim_end_matches('.');
    match pattern.strip_prefix("*.") {
        None => pattern.eq_ignore_ascii_case(name),
        Some(parent) => name
            .split_once('.')
            .is_some_and(|(label, rest)| !label.is_empty() && rest.eq_ignore_ascii_case(parent)),
    }
}

/// The index of the list that has a pattern for `name`; `None` when none has.
pub fn choose<'a>(lists: impl Iterator<Item = &'a [String]>, name: &str) -> Option<usize> {
    let mut by_pattern = None;
    for (index, patterns) in lists.enumerate() {
        for pattern in patterns.iter().filter(|pattern| covers(pattern, name)) {
            if !pattern.starts_with("*.") {
                return Some(index);
            }
            by_pattern.get_or_insert(index);
        }
    }
    by_pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_one_label_and_an_exact_name_goes_first() {
        for (pattern, name, expected) in [
            ("example.com", "EXAMPLE.com", true),
            ("example.com", "example.com.", true),
            ("example.com", "www.example.com", false),
            ("*.example.com", "www.example.com", true),
            ("*.example.com", "a.b.example.com", false),
            ("*.example.com", "example.com", false),
            ("*.example.com", ".example.com", false),
            ("*", "localhost", false),
            ("*.", "", false),
        ] {
            assert_eq!(covers(pattern, name), expected, "{pattern} {name}");
        }
        let lists = [vec!["*.a.test".to_owned()], vec!["b.test".into(), "www.a.test".into()]];
        let choose = |name| choose(lists.iter().map(Vec::as_slice), name);
        assert_eq!(choose("www.a.test"), Some(1));
        assert_eq!(choose("blog.a.test"), Some(0));
        assert_eq!(choose("c.test"), None);
    }
}
