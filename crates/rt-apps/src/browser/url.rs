//! URLs as a browser needs them: `http` and `https` only.
//!
//! `http::Uri` splits them and `iri-string` resolves relative references (RFC 3986, 5.2). The `url` crate, which follows
//! the WHATWG rules, would bring the whole of ICU for names that are not ASCII; those are refused here with a sentence.

use std::fmt;

use http::Uri;
use iri_string::types::{UriAbsoluteStr, UriReferenceStr};

/// Longest URL taken, bytes: Chrome's limit for sending.
const LONGEST: usize = 65_534;

/// An absolute `http` or `https` URL with a host and a path, without user name and fragment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Url {
    uri: Uri,
    secure: bool,
    port: u16,
}

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
        if whole.len() > LONGEST {
            return Err(format!("a URL of {} bytes is too long", whole.len()));
        }
        let whole = whole.split('#').next().unwrap_or_default();
        let uri: Uri = whole.parse().map_err(|error| format!("`{text}` is not a URL: {error}"))?;
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            other => {
                return Err(format!(
                    "this browser speaks http and https, not {}",
                    other.unwrap_or("nothing")
                ));
            }
        };
        let authority = uri.authority().ok_or_else(|| format!("`{text}` names no host"))?;
        if authority.host().is_empty() || authority.as_str().contains('@') {
            return Err(format!("`{text}` must have a host and no user name"));
        }
        let port = match authority.port() {
            Some(port) if port.as_u16() == 0 => return Err(format!("`{text}` has port 0")),
            Some(port) => port.as_u16(),
            None if authority.as_str().ends_with(':') || authority.as_str() == authority.host() => {
                default_port(secure)
            }
            None => return Err(format!("`{text}` has a port that is not one")),
        };
        Ok(Url { uri, secure, port })
    }

    /// The URL that a reference in a page of this URL means.
    ///
    /// # Errors
    /// When the reference has characters that no URL may have, or leads to another scheme.
    pub fn join(&self, reference: &str) -> Result<Url, String> {
        let wrong = |error: iri_string::validate::Error| format!("`{reference}` is not a URL: {error}");
        let whole = self.to_string();
        let base = UriAbsoluteStr::new(&whole).map_err(wrong)?;
        let reference = UriReferenceStr::new(reference.trim()).map_err(wrong)?;
        let resolved = reference.resolve_against(base);
        Url::parse(&resolved.to_string())
    }

    /// Host, lower case, without brackets.
    #[must_use]
    pub fn host(&self) -> String {
        let host = self.uri.host().unwrap_or_default();
        host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase()
    }

    /// Path without query; at least `/`.
    #[must_use]
    pub fn path(&self) -> &str {
        match self.uri.path() {
            "" => "/",
            path => path,
        }
    }

    /// Path with query, as the request line has it.
    #[must_use]
    pub fn target(&self) -> String {
        match self.uri.query() {
            Some(query) => format!("{}?{query}", self.path()),
            None => self.path().to_owned(),
        }
    }

    /// Whether it is `https`.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// Host and port as in the Host field: the default port is left out.
    pub(super) fn authority(&self) -> String {
        let host = self.uri.host().unwrap_or_default().to_ascii_lowercase();
        if self.port == default_port(self.secure) { host } else { format!("{host}:{}", self.port) }
    }

    pub(super) fn origin(&self) -> Origin {
        Origin { secure: self.secure, host: self.host(), port: self.port }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.target())
    }
}

fn default_port(secure: bool) -> u16 {
    if secure { 443 } else { 80 }
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
            ("https://", Err("`https://` is not a URL: empty string")),
            ("http://a:0/", Err("`http://a:0/` has port 0")),
            ("http://me@a/", Err("`http://me@a/` must have a host and no user name")),
            ("http://a:70000/", Err("`http://a:70000/` has a port that is not one")),
            (
                "http://f\u{e4}hre.example/",
                Err("`http://f\u{e4}hre.example/` is not a URL: invalid uri character"),
            ),
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
        assert!(base.join("with space").is_err());
    }
}
