//! What an operator makes a cache forget, by path or by tag: whatever scheme, host and query it was asked for with.

use std::fmt;

use super::SharedCache;

/// What is to be forgotten.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Forget {
    /// All that is stored.
    Everything,
    /// What is stored for exactly this path, with any query.
    Path(String),
    /// What is stored for paths that begin so.
    Below(String),
    /// What has this tag: a member of `Cache-Tag`, or a word of `Surrogate-Key`.
    Tag(String),
}

impl fmt::Display for Forget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Forget::Everything => write!(f, "all that it keeps"),
            Forget::Path(path) => write!(f, "{path}"),
            Forget::Below(path) => write!(f, "{path}*"),
            Forget::Tag(tag) => write!(f, "what is tagged {tag}"),
        }
    }
}

impl SharedCache {
    /// What was forgotten to make room for the response that was stored last: keys, the one used longest ago first.
    pub fn take_forgotten(&mut self) -> Vec<String> {
        self.store.take_forgotten()
    }

    /// Forgets at once, as after an unsafe request (RFC 9111, 4.4); what is under way is passed on and not kept. Returns how many
    /// responses that were.
    //= rfc9111#section-4.4
    pub fn forget(&mut self, what: &Forget) -> usize {
        match what {
            Forget::Everything => self.purge_all(),
            Forget::Path(path) => self.purge_where(|key| path_of(key) == path),
            Forget::Below(path) => self.purge_where(|key| path_of(key).starts_with(path.as_str())),
            Forget::Tag(tag) => self.purge_tag(tag),
        }
    }
}

/// The path in a key, which begins with a URI.
fn path_of(key: &str) -> &str {
    let uri = key.split(' ').next().unwrap_or(key);
    let rest = uri.split_once("://").map_or(uri, |(_, rest)| rest);
    let path = rest.find('/').map_or("/", |at| &rest[at..]);
    path.split('?').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::path_of;

    #[test]
    fn a_key_has_a_path() {
        for (key, path) in [
            ("https://a.example/b/c.png?d=/e x=\"/f\"", "/b/c.png"),
            ("http://a.example:8080/", "/"),
            ("http://a.example/?b", "/"),
            ("http://a.example", "/"),
            ("/b", "/b"),
            ("", "/"),
        ] {
            assert_eq!(path_of(key), path, "{key}");
        }
    }
}
