//! URLs as a browser needs them: `http` and `https` only, read by the rules of browsers (WHATWG) through the `url` crate.

use std::fmt;

/// Longest URL taken, bytes.
const LONGEST: usize = 65_534;

/// An absolute `http` or `https` URL with a host and a path, without user name and fragment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Url(url::Url);

/// Where connections go: scheme, host and port (RFC 6454).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Origin {
    pub(super) secure: bool,
    /// Lower case; brackets of an IPv6 literal are taken off.
    pub(super) host: String,
    pub(super) port: u16,
}

impl Url {
    /// Reads what a person types; without a scheme it is `https`.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn parse(text: &str) -> Result<Url, String> {
        let text = text.trim();
        let whole = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
        let parsed = url::Url::parse(&whole).map_err(|error| format!("`{text}` is not a URL: {error}"))?;
        Url::accept(parsed)
    }

    /// The URL that a reference in a page of this URL means.
    ///
    /// # Errors
    /// When it is no URL, or leads to another scheme.
    pub fn join(&self, reference: &str) -> Result<Url, String> {
        let wrong = |error: url::ParseError| format!("`{reference}` is not a URL: {error}");
        Url::accept(self.0.join(reference).map_err(wrong)?)
    }

    fn accept(mut url: url::Url) -> Result<Url, String> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(format!("this browser speaks http and https, not {}", url.scheme()));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(format!("{url}: this browser sends no user names and passwords"));
        }
        if url.port() == Some(0) {
            return Err(format!("{url}: nobody listens on port 0"));
        }
        if url.as_str().len() > LONGEST {
            return Err(format!("a URL of {} bytes is too long", url.as_str().len()));
        }
        url.set_fragment(None);
        Ok(Url(url))
    }

    /// Host, lower case, without brackets; names in other scripts in their ASCII form.
    #[must_use]
    pub fn host(&self) -> String {
        let host = self.0.host_str().unwrap_or_default();
        host.trim_start_matches('[').trim_end_matches(']').to_owned()
    }

    /// Path without query; at least `/`.
    #[must_use]
    pub fn path(&self) -> &str {
        self.0.path()
    }

    /// Path with query, as the request line has it.
    #[must_use]
    pub fn target(&self) -> &str {
        &self.0[url::Position::BeforePath..]
    }

    /// Whether it is `https`.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// Host and port as in the Host field: the default port is left out.
    pub(super) fn authority(&self) -> &str {
        &self.0[url::Position::BeforeHost..url::Position::AfterPort]
    }

    pub(super) fn origin(&self) -> Origin {
        let port = self.0.port_or_known_default().unwrap_or_default();
        Origin { secure: self.is_secure(), host: self.host(), port }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::Url;

    #[test]
    fn urls_are_read_as_people_type_them() {
        let cases = [
            ("https://google.com/", Ok("https://google.com/")),
            ("google.com", Ok("https://google.com/")),
            ("HTTP://Example.COM:80/a?b=c#d", Ok("http://example.com/a?b=c")),
            ("http://10.0.0.2:8080", Ok("http://10.0.0.2:8080/")),
            ("http://[2001:db8::1]:8080/x", Ok("http://[2001:db8::1]:8080/x")),
            ("ftp://example.com/", Err("this browser speaks http and https, not ftp")),
            ("https://", Err("`https://` is not a URL: empty host")),
            ("http://a:0/", Err("http://a:0/: nobody listens on port 0")),
            ("http://me@a/", Err("http://me@a/: this browser sends no user names and passwords")),
            ("http://a:70000/", Err("`http://a:70000/` is not a URL: invalid port number")),
            ("http://f\u{e4}hre.example/", Ok("http://xn--fhre-loa.example/")),
        ];
        for (text, expected) in cases {
            let got = Url::parse(text).map(|url| url.to_string());
            assert_eq!(got.as_deref().map_err(String::as_str), expected, "{text}");
        }
    }

    #[test]
    fn references_are_resolved_as_rfc_3986_5_4_says() {
        let cases = [
            ("g", "http://a/b/c/g"),
            ("./g", "http://a/b/c/g"),
            ("/g", "http://a/g"),
            ("//g", "http://g/"),
            ("?y", "http://a/b/c/d;p?y"),
            ("#s", "http://a/b/c/d;p?q"),
            ("../../../g", "http://a/g"),
            ("https://b.example/x", "https://b.example/x"),
        ];
        let base = Url::parse("http://a/b/c/d;p?q").unwrap();
        for (reference, expected) in cases {
            assert_eq!(base.join(reference).unwrap().to_string(), expected, "{reference}");
        }
        assert!(base.join("data:text/plain,x").is_err());
        assert_eq!(base.join("with space").unwrap().to_string(), "http://a/b/c/with%20space");
    }
}
