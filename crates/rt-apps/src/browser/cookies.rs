//! The cookie jar: RFC 6265, sections 5.1 to 5.4, without a public suffix list.
//!
//! Simplification: a server of `shop.example` may set a cookie for `example` only if that has a dot in it; real browsers
//! ask the public suffix list. SameSite is kept to Lax's plain case: cookies go with every request of a person's click.

use super::url::Url;
use crate::http::parse_date;

/// Cookies kept at most; the oldest goes first.
const MOST: usize = 1_000;
/// Longest name and value together, bytes (RFC 6265, 6.1).
const LONGEST: usize = 4_096;

/// One cookie.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Cookie {
    name: String,
    value: String,
    domain: String,
    /// Only for exactly `domain`.
    host_only: bool,
    path: String,
    secure: bool,
    /// Seconds since 1970; `None`: until the browser's end.
    expires: Option<u64>,
}

/// The jar.
#[derive(Debug, Default)]
pub(super) struct CookieJar {
    /// In the order in which they were made.
    cookies: Vec<Cookie>,
}

impl CookieJar {
    /// A jar with (domain, name, value) in it, good for the domain's hosts and all paths.
    pub(super) fn with(given: &[(String, String, String)]) -> CookieJar {
        let cookies = given.iter().map(|(domain, name, value)| Cookie {
            name: name.clone(),
            value: value.clone(),
            domain: domain.trim_start_matches('.').to_ascii_lowercase(),
            host_only: false,
            path: "/".to_owned(),
            secure: false,
            expires: None,
        });
        CookieJar { cookies: cookies.collect() }
    }

    /// The Cookie field for a request, if any fit: longer paths first, then older ones (5.4).
    pub(super) fn field(&self, url: &Url, now: u64) -> Option<String> {
        let (host, path) = (url.host(), url.path());
        let mut fitting: Vec<&Cookie> = self
            .cookies
            .iter()
            .filter(|cookie| {
                let host_fits = if cookie.host_only {
                    host == cookie.domain
                } else {
                    domain_matches(&host, &cookie.domain)
                };
                host_fits
                    && path_matches(path, &cookie.path)
                    && (!cookie.secure || url.is_secure())
                    && cookie.expires.is_none_or(|end| end > now)
            })
            .collect();
        fitting.sort_by_key(|cookie| std::cmp::Reverse(cookie.path.len()));
        let pairs: Vec<_> =
            fitting.iter().map(|cookie| format!("{}={}", cookie.name, cookie.value)).collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }

    /// Takes a Set-Cookie field of a response from `url`; returns the cookie's name when it was kept (5.2, 5.3).
    pub(super) fn store(&mut self, url: &Url, field: &str, now: u64) -> Option<String> {
        let cookie = read(url, field, now)?;
        let same = |old: &Cookie| {
            (&old.name, &old.domain, &old.path) == (&cookie.name, &cookie.domain, &cookie.path)
        };
        let place = self.cookies.iter().position(same);
        if cookie.expires.is_some_and(|end| end <= now) {
            place.map(|at| self.cookies.remove(at));
            return None;
        }
        let name = cookie.name.clone();
        match place {
            Some(at) => self.cookies[at] = cookie,
            None => {
                if self.cookies.len() >= MOST {
                    self.cookies.remove(0);
                }
                self.cookies.push(cookie);
            }
        }
        Some(name)
    }
}

fn read(url: &Url, field: &str, now: u64) -> Option<Cookie> {
    let mut parts = field.split(';');
    let (name, value) = parts.next()?.split_once('=')?;
    let (name, value) = (name.trim(), value.trim());
    if name.is_empty() || name.len() + value.len() > LONGEST {
        return None;
    }
    let mut cookie = Cookie {
        name: name.to_owned(),
        value: value.to_owned(),
        domain: url.host(),
        host_only: true,
        path: default_path(url.path()),
        secure: false,
        expires: None,
    };
    let mut max_age = None;
    for part in parts {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        let value = value.trim();
        match key.trim().to_ascii_lowercase().as_str() {
            "expires" => cookie.expires = parse_date(value).or(cookie.expires),
            "max-age" => max_age = value.parse::<i64>().ok().or(max_age),
            "domain" if !value.is_empty() => {
                let domain = value.trim_start_matches('.').to_ascii_lowercase();
                // For another site, or for a whole top-level domain: the cookie is refused.
                if !domain_matches(&cookie.domain, &domain)
                    || (!domain.contains('.') && domain != cookie.domain)
                {
                    return None;
                }
                (cookie.domain, cookie.host_only) = (domain, false);
            }
            "path" if value.starts_with('/') => value.clone_into(&mut cookie.path),
            "secure" => cookie.secure = true,
            _ => {}
        }
    }
    if let Some(seconds) = max_age {
        cookie.expires = Some(if seconds <= 0 { 0 } else { now.saturating_add(seconds.unsigned_abs()) });
    }
    // A page without TLS must not set what it could not read (RFC 6265bis, 5.7).
    (!cookie.secure || url.is_secure()).then_some(cookie)
}

/// 5.1.3: the same, or a subdomain of it; addresses have no subdomains.
fn domain_matches(host: &str, domain: &str) -> bool {
    host == domain
        || (host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'))
            && host.parse::<std::net::IpAddr>().is_err())
}

/// 5.1.4.
fn path_matches(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || prefix.ends_with('/') || rest.starts_with('/'))
}

/// 5.1.4: up to the last slash, without it.
fn default_path(path: &str) -> String {
    match path.rfind('/') {
        None | Some(0) => "/".to_owned(),
        Some(end) => path[..end].to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::CookieJar;
    use crate::browser::Url;

    /// Fields set by one URL in order, then the Cookie field for another.
    #[track_caller]
    fn check(set_by: &str, fields: &[&str], asked: &str, expected: &str) {
        let mut jar = CookieJar::default();
        for field in fields {
            jar.store(&Url::parse(set_by).unwrap(), field, 1_000);
        }
        let got = jar.field(&Url::parse(asked).unwrap(), 1_010).unwrap_or_default();
        assert_eq!(got, expected, "{set_by} {fields:?} {asked}");
    }

    #[test]
    fn cookies_go_where_rfc_6265_says() {
        check("https://a.example/", &["x=1"], "https://a.example/b", "x=1");
        check("https://a.example/", &["x=1"], "https://b.a.example/", "");
        check("https://a.example/", &["x=1; Domain=.A.example"], "https://b.a.example/", "x=1");
        check("https://a.example/", &["x=1; Domain=b.example"], "https://b.example/", "");
        check("https://a.example/", &["x=1; Domain=example"], "https://a.example/", "");
        check("https://10.0.0.1/", &["x=1; Domain=0.0.1"], "https://10.0.0.1/", "");
        check("https://a.example/p/q", &["x=1"], "https://a.example/p/r", "x=1");
        check("https://a.example/p/q", &["x=1"], "https://a.example/pp", "");
        check("https://a.example/", &["x=1; Path=/p", "y=2"], "https://a.example/p", "x=1; y=2");
        check("https://a.example/", &["y=2", "x=1; Path=/p"], "https://a.example/p", "x=1; y=2");
        check("https://a.example/", &["x=1; Secure"], "http://a.example/", "");
        check("http://a.example/", &["x=1; Secure"], "https://a.example/", "");
        check("https://a.example/", &["x=1; Max-Age=10"], "https://a.example/", "");
        check(
            "https://a.example/",
            &["x=1; Max-Age=11; Expires=Thu, 01 Jan 1970 00:00:01 GMT"],
            "https://a.example/",
            "x=1",
        );
        check("https://a.example/", &["x=1", "x=2"], "https://a.example/", "x=2");
        check(
            "https://a.example/",
            &["x=1", "x=; Expires=Thu, 01 Jan 1970 00:00:01 GMT"],
            "https://a.example/",
            "",
        );
        check("https://a.example/", &["nonsense", "=1", ";;;"], "https://a.example/", "");
    }

    #[test]
    fn given_cookies_are_for_the_domain() {
        let jar = CookieJar::with(&[("google.com".into(), "NID".into(), "123".into())]);
        let field = |url| jar.field(&Url::parse(url).unwrap(), 0);
        assert_eq!(field("https://google.com/").as_deref(), Some("NID=123"));
        assert_eq!(field("https://www.google.com/x").as_deref(), Some("NID=123"));
        assert_eq!(field("https://notgoogle.com/"), None);
    }
}
