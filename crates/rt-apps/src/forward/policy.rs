//! Who may use the proxy and what it refuses: pure decisions.

use std::net::IpAddr;

use http::header::{HeaderMap, HeaderName, PROXY_AUTHORIZATION, VIA};
use http::{StatusCode, Uri};

use super::ForwardProxy;
use crate::wireguard::base64;

/// Longest host name that is taken (RFC 1035, 2.3.4).
const LONGEST_HOST: usize = 253;

/// What servers hear of the client (squid's `forwarded_for`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Reveals {
    /// Its address in X-Forwarded-For.
    #[default]
    On,
    /// `X-Forwarded-For: unknown`: that there is somebody.
    Off,
    /// X-Forwarded-For stays as the client wrote it.
    Transparent,
    /// X-Forwarded-For is taken away.
    Delete,
    /// Its address in Forwarded (RFC 7239), and nothing in X-Forwarded-For.
    Forwarded,
}

/// Where a request is to go.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Wanted {
    pub(super) secure: bool,
    /// Lower case, without brackets.
    pub(super) host: String,
    pub(super) port: u16,
}

impl Wanted {
    /// From a request in absolute form (RFC 9112, 3.2.2).
    pub(super) fn of_absolute(uri: &Uri) -> Option<Wanted> {
        let secure = match uri.scheme_str()? {
            "http" => false,
            // The client trusts the proxy with what it would not show anybody on the way: not our business to unseal.
            _ => return None,
        };
        Wanted::new(secure, uri.host()?, uri.port_u16().unwrap_or(80))
    }

    /// From the target of CONNECT: host and port, nothing else (RFC 9112, 3.2.3).
    pub(super) fn of_connect(uri: &Uri) -> Option<Wanted> {
        if uri.scheme().is_some() || uri.path_and_query().is_some() {
            return None;
        }
        Wanted::new(true, uri.host()?, uri.port_u16()?)
    }

    pub(super) fn new(secure: bool, host: &str, port: u16) -> Option<Wanted> {
        let host = host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.');
        let fits = !host.is_empty() && host.len() <= LONGEST_HOST && port != 0;
        fits.then(|| Wanted { secure, host: host.to_ascii_lowercase(), port })
    }

    /// The host as an address, if it is one.
    pub(super) fn literal(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }

    /// `shop.example:443`.
    pub(super) fn authority(&self) -> String {
        match self.literal() {
            Some(IpAddr::V6(_)) => format!("[{}]:{}", self.host, self.port),
            _ => format!("{}:{}", self.host, self.port),
        }
    }

    /// `http://shop.example/path`: the default port is left out.
    pub(super) fn url(&self, path: &str) -> String {
        let (scheme, usual) = if self.secure { ("https", 443) } else { ("http", 80) };
        if self.port == usual {
            let whole = self.authority();
            let host = whole.strip_suffix(&format!(":{usual}")).unwrap_or(&whole);
            return format!("{scheme}://{host}{path}");
        }
        format!("{scheme}://{}{path}", self.authority())
    }
}

/// Why a request is not passed on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    /// As RFC 9209 names it.
    pub(super) error: &'static str,
    pub(super) why: String,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, error: &'static str, why: impl Into<String>) -> Refusal {
        Refusal { status, error, why: why.into() }
    }

    fn denied(why: String) -> Refusal {
        Refusal::new(StatusCode::FORBIDDEN, "http_request_denied", why)
    }
}

/// Judges a request; says which rule lets it through.
///
/// # Errors
/// The rule that does not.
pub(super) fn judge(
    config: &ForwardProxy,
    client: IpAddr,
    wanted: &Wanted,
    (path, headers): (Option<&str>, &HeaderMap),
    name: &str,
) -> Result<String, Refusal> {
    let mut grounds = Vec::new();
    if !config.allow.is_empty() {
        let of = config.allow.iter().find(|net| net.contains(&client));
        let Some(net) = of else {
            return Err(Refusal::denied(format!("{client} may not use this proxy")));
        };
        grounds.push(format!("{client} is of {net}"));
    }
    // Inside a tunnel there are no fields for the proxy (RFC 9110, 11.7): its CONNECT was asked.
    let inside = wanted.secure && path.is_some();
    if !config.users.is_empty() && !inside {
        match user_of(config, headers) {
            Some(user) => grounds.push(format!("{user} knows the password")),
            None => {
                let why = "say who you are (basic authentication)";
                let status = StatusCode::PROXY_AUTHENTICATION_REQUIRED;
                return Err(Refusal::new(status, "http_request_denied", why));
            }
        }
    }
    if wanted.secure && !inside && !config.connect_ports.contains(&wanted.port) {
        return Err(Refusal::denied(format!("CONNECT to port {} is not allowed", wanted.port)));
    }
    //= rfc9110#section-7.6.3
    if passed_here(headers, name) {
        let why = format!("the request has passed {name} before: a loop");
        return Err(Refusal::new(StatusCode::BAD_GATEWAY, "proxy_loop_detected", why));
    }
    if let Some(pattern) = config.block.iter().find(|pattern| matches(pattern, &wanted.host, path)) {
        return Err(Refusal::denied(format!("{} is blocked here (by `{pattern}`)", wanted.host)));
    }
    if !config.block.is_empty() {
        grounds.push(match config.block.len() {
            1 => "the one rule against sites does not match".to_owned(),
            n => format!("none of {n} rules against sites matches"),
        });
    }
    Ok(if grounds.is_empty() { "nothing speaks against it".to_owned() } else { grounds.join(", ") })
}

/// Who asks, by Proxy-Authorization (RFC 7617); `None` when it is nobody who is known.
pub(super) fn user_of<'c>(config: &'c ForwardProxy, headers: &HeaderMap) -> Option<&'c str> {
    let said = headers.get(PROXY_AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = said.split_once(' ')?;
    let fits = |user: &&(String, String)| basic(&user.0, &user.1) == token.trim();
    let user = config.users.iter().find(fits).filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    Some(&user.0)
}

/// The credentials of basic authentication (RFC 7617, 2).
pub(crate) fn basic(user: &str, password: &str) -> String {
    base64(format!("{user}:{password}").as_bytes())
}

/// Whether Via names `own` (RFC 9110, 7.6.3: protocol, then who received it).
fn passed_here(headers: &HeaderMap, own: &str) -> bool {
    let fields = headers.get_all(VIA).iter().filter_map(|value| value.to_str().ok());
    fields.flat_map(|value| value.split(',')).any(|hop| hop.split_whitespace().nth(1) == Some(own))
}

/// Whether a pattern means this host, or with a `/` this host and path.
pub(crate) fn matches(pattern: &str, host: &str, path: Option<&str>) -> bool {
    let (of_host, of_path) = match pattern.split_once('/') {
        Some((host, path)) => (host, Some(format!("/{path}"))),
        None => (pattern, None),
    };
    let host_fits = match of_host.strip_prefix('.') {
        Some(domain) => host == domain || host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.')),
        None => glob(of_host.as_bytes(), host.as_bytes()),
    };
    host_fits
        && of_path.is_none_or(|of_path| path.is_some_and(|path| glob(of_path.as_bytes(), path.as_bytes())))
}

/// `*` stands for anything. Linear but for one step back: a pattern cannot make it slow.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(byte) if byte.eq_ignore_ascii_case(&text[t]) => (p, t) = (p + 1, t + 1),
            _ => {
                let Some((at, from)) = star else { return false };
                (p, t) = (at + 1, from + 1);
                star = Some((at, from + 1));
            }
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

/// Fields that tell the server of the client.
pub(super) const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// See [`FORWARDED_FOR`].
pub(super) const FORWARDED: HeaderName = http::header::FORWARDED;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_hosts_domains_and_paths() {
        for (pattern, host, path, expect) in [
            ("ads.example", "ads.example", None, true),
            ("ads.example", "www.ads.example", None, false),
            (".ads.example", "ads.example", None, true),
            (".ads.example", "www.ads.example", None, true),
            (".ads.example", "badads.example", None, false),
            ("*.example", "shop.example", None, true),
            ("*ads*", "my-ads.example", None, true),
            ("shop.example/games*", "shop.example", Some("/games/1"), true),
            ("shop.example/games*", "shop.example", Some("/"), false),
            ("shop.example/games*", "shop.example", None, false),
            ("ADS.example", "ads.example", None, true),
        ] {
            assert_eq!(matches(pattern, host, path), expect, "{pattern} {host} {path:?}");
        }
    }

    #[test]
    fn many_stars_do_not_take_long() {
        let (pattern, host) = ("*a".repeat(100) + "b", "a".repeat(250));
        assert!(!matches(&pattern, &host, None));
    }

    #[test]
    fn targets_are_read_as_rfc_9112_has_them() {
        let connect = |text: &str| Wanted::of_connect(&text.parse().unwrap());
        assert_eq!(connect("Shop.Example:443").unwrap().authority(), "shop.example:443");
        assert_eq!(connect("[2001:db8::1]:443").unwrap().authority(), "[2001:db8::1]:443");
        assert!(connect("shop.example").is_none());
        assert!(connect("shop.example:0").is_none());
        assert!(connect("http://shop.example:443/").is_none());
        let absolute = |text: &str| Wanted::of_absolute(&text.parse().unwrap());
        assert_eq!(absolute("http://shop.example/a").unwrap().url("/a"), "http://shop.example/a");
        assert_eq!(absolute("http://shop.example:81/").unwrap().url("/"), "http://shop.example:81/");
        assert!(absolute("https://shop.example/").is_none());
        assert!(absolute("/a").is_none());
    }

    #[test]
    fn each_rule_refuses_with_its_reason() {
        let config = ForwardProxy {
            allow: vec!["10.0.0.0/8".parse().unwrap()],
            users: vec![("alice".into(), "secret".into())],
            block: vec![".ads.example".into()],
            ..ForwardProxy::new(3128)
        };
        let ask = |client: &str, host: &str, port: u16, fields: &[(HeaderName, String)]| {
            let wanted = Wanted::new(true, host, port).unwrap();
            let headers: HeaderMap = fields.iter().map(|(n, v)| (n.clone(), v.parse().unwrap())).collect();
            judge(&config, client.parse().unwrap(), &wanted, (None, &headers), "proxy")
                .map_err(|refusal| (refusal.status.as_u16(), refusal.error))
        };
        let known = (PROXY_AUTHORIZATION, format!("Basic {}", basic("alice", "secret")));
        let wrong = (PROXY_AUTHORIZATION, format!("Basic {}", basic("alice", "guess")));
        let (denied, looped) = ("http_request_denied", "proxy_loop_detected");
        assert_eq!(ask("192.0.2.1", "a.example", 443, std::slice::from_ref(&known)), Err((403, denied)));
        assert_eq!(ask("10.0.0.1", "a.example", 443, &[]), Err((407, denied)));
        assert_eq!(ask("10.0.0.1", "a.example", 443, &[wrong]), Err((407, denied)));
        assert_eq!(ask("10.0.0.1", "a.example", 22, std::slice::from_ref(&known)), Err((403, denied)));
        assert_eq!(ask("10.0.0.1", "x.ads.example", 443, std::slice::from_ref(&known)), Err((403, denied)));
        let via = |text: &str| (VIA, text.to_owned());
        assert_eq!(ask("10.0.0.1", "a.example", 443, &[known.clone(), via("1.1 proxy")]), Err((502, looped)));
        assert!(ask("10.0.0.1", "a.example", 443, &[known.clone(), via("1.1 proxy2, 1.0 other")]).is_ok());
        let why = ask("10.0.0.1", "a.example", 443, &[known]).unwrap();
        assert_eq!(
            why,
            "10.0.0.1 is of 10.0.0.0/8, alice knows the password, the one rule against sites does not match"
        );
    }
}
