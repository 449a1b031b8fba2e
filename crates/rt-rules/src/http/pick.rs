//! Which route a request takes.

use super::{HttpRoute, Named, PathMatch, RequestMatch, Then};

/// A request as routes see it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Asked {
    /// `GET`.
    pub method: String,
    /// Host or `:authority`, without port, in lower case.
    pub host: String,
    /// After [`normal_path`].
    pub path: String,
    /// Without `?`.
    pub query: String,
    /// Names in lower case, and values, in order.
    pub fields: Vec<(String, String)>,
}

/// What came of looking for a route.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Picked {
    /// Its position; `None` when none fits.
    pub route: Option<usize>,
    /// Why those before it did not fit.
    pub missed: Vec<String>,
}

impl Asked {
    /// The first of `routes` whose conditions hold.
    #[must_use]
    pub fn pick(&self, routes: &[HttpRoute]) -> Picked {
        let mut missed = Vec::new();
        for (index, route) in routes.iter().enumerate() {
            match self.miss(&route.when) {
                None => return Picked { route: Some(index), missed },
                Some(why) => missed.push(why),
            }
        }
        Picked { route: None, missed }
    }

    /// The first condition that does not hold.
    fn miss(&self, when: &RequestMatch) -> Option<String> {
        if !when.hosts.is_empty() && !when.hosts.iter().any(|host| self.is_host(host)) {
            return Some(format!("host is {}, not {}", self.host, when.hosts.join(" or ")));
        }
        match &when.path {
            PathMatch::Below(path) if !is_below(&self.path, path) => {
                return Some(format!("path does not begin with {path}"));
            }
            PathMatch::Exactly(path) if self.path != *path => return Some(format!("path is not {path}")),
            _ => {}
        }
        if !when.methods.is_empty() && !when.methods.contains(&self.method) {
            return Some(format!("method is {}, not {}", self.method, when.methods.join(" or ")));
        }
        let field = |wanted: &&Named| !has(self.fields.iter().cloned(), wanted, true);
        if let Some(wanted) = when.fields.iter().find(field) {
            return Some(format!("no field {}", wanted.text(": ")));
        }
        let cookie = |wanted: &&Named| !has(self.cookies().into_iter(), wanted, false);
        if let Some(wanted) = when.cookies.iter().find(cookie) {
            return Some(format!("no cookie {}", wanted.text("=")));
        }
        let parameter = |wanted: &&Named| !has(self.parameters().into_iter(), wanted, false);
        when.query.iter().find(parameter).map(|wanted| format!("no {} in the query", wanted.text("=")))
    }

    fn is_host(&self, wanted: &str) -> bool {
        match wanted.strip_prefix('*') {
            Some(end) => self.host.len() > end.len() && self.host.ends_with(end),
            None => self.host == wanted,
        }
    }

    /// Cookies of all Cookie fields (RFC 6265, 4.2.1).
    #[must_use]
    pub fn cookies(&self) -> Vec<(String, String)> {
        let fields = self.fields.iter().filter(|(name, _)| name == "cookie");
        fields.flat_map(|(_, value)| value.split(';')).filter_map(|pair| split(pair.trim(), '=')).collect()
    }

    fn parameters(&self) -> Vec<(String, String)> {
        let pair = |pair: &str| split(pair, '=').or_else(|| Some((pair.to_owned(), String::new())));
        self.query.split('&').filter_map(pair).collect()
    }
}

impl Named {
    fn text(&self, between: &str) -> String {
        match &self.value {
            Some(value) => format!("{}{between}{value}", self.name),
            None => self.name.clone(),
        }
    }
}

impl Then {
    /// The pool of a request whose lot is `lot`: anything; equal lots give equal pools.
    #[must_use]
    pub fn pool(&self, lot: u64) -> Option<usize> {
        let Then::To(shares) = self else { return None };
        let whole: u64 = shares.iter().map(|(_, share)| u64::from(*share)).sum();
        let mut at = lot.checked_rem(whole)?;
        shares.iter().find_map(|(pool, share)| {
            let share = u64::from(*share);
            let here = at < share;
            at = at.saturating_sub(share);
            here.then_some(*pool)
        })
    }
}

fn split(text: &str, at: char) -> Option<(String, String)> {
    text.split_once(at).map(|(name, value)| (name.to_owned(), value.to_owned()))
}

fn has(mut all: impl Iterator<Item = (String, String)>, wanted: &Named, any_case: bool) -> bool {
    all.any(|(name, value)| {
        let same = if any_case { name.eq_ignore_ascii_case(&wanted.name) } else { name == wanted.name };
        same && wanted.value.as_ref().is_none_or(|wanted| *wanted == value)
    })
}

/// Whether `path` is `above` or lies below it, by whole segments.
#[must_use]
pub(super) fn is_below(path: &str, above: &str) -> bool {
    let above = above.trim_end_matches('/');
    path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A path as a server that tidies it up would understand it: escapes of letters, digits and `-._~` undone (RFC 3986,
/// 6.2.2.2), empty, `.` and `..` segments gone (5.2.4). Routes go by it, so that `/x/../admin` does not pass as `/x/`.
#[must_use]
pub fn normal_path(path: &str) -> String {
    let mut plain = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        plain.push_str(&rest[..at]);
        let escape = rest.get(at + 1..at + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match escape.map(char::from) {
            Some(c) if c.is_ascii_alphanumeric() || "-._~".contains(c) => {
                plain.push(c);
                rest = &rest[at + 3..];
            }
            _ => {
                plain.push('%');
                rest = &rest[at + 1..];
            }
        }
    }
    plain.push_str(rest);
    let mut segments: Vec<&str> = Vec::new();
    for segment in plain.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            other => segments.push(other),
        }
    }
    let folder = plain.ends_with('/') || plain.ends_with("/.") || plain.ends_with("/..");
    let end = if folder && !segments.is_empty() { "/" } else { "" };
    format!("/{}{end}", segments.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Origin;
    use crate::http::{Gate, Rewrite, Staying};

    fn route(when: RequestMatch) -> HttpRoute {
        HttpRoute {
            origin: Origin::Learned { from: "a test".into() },
            when,
            gate: Gate::default(),
            rewrite: Rewrite::default(),
            then: Then::To(vec![(0, 9_500), (1, 500)]),
            staying: Staying::default(),
            timeout: None,
            retry: None,
        }
    }

    fn asked(method: &str, host: &str, path: &str, fields: &[(&str, &str)]) -> Asked {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        Asked {
            method: method.into(),
            host: host.into(),
            path: normal_path(path),
            query: query.into(),
            fields: fields.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
        }
    }

    fn named(name: &str, value: Option<&str>) -> Vec<Named> {
        vec![Named { name: name.into(), value: value.map(str::to_owned) }]
    }

    #[test]
    fn the_first_that_fits_and_why_others_do_not() {
        let below = |path: &str| RequestMatch { path: PathMatch::Below(path.into()), ..Default::default() };
        let routes = [
            RequestMatch { hosts: vec!["*.old.example".into()], ..Default::default() },
            RequestMatch { methods: vec!["POST".into()], ..below("/api/") },
            RequestMatch { fields: named("X-Debug", Some("1")), ..Default::default() },
            RequestMatch { cookies: named("beta", None), ..Default::default() },
            RequestMatch { query: named("v", Some("2")), ..Default::default() },
            RequestMatch { path: PathMatch::Exactly("/admin".into()), ..Default::default() },
            below("/shop"),
        ]
        .map(route);
        let cases: &[(Asked, Option<usize>)] = &[
            (asked("GET", "a.old.example", "/", &[]), Some(0)),
            (asked("GET", ".old.example", "/", &[]), None),
            (asked("POST", "x", "/api", &[]), Some(1)),
            (asked("POST", "x", "/apix", &[]), None),
            (asked("GET", "x", "/", &[("x-debug", "1")]), Some(2)),
            (asked("GET", "x", "/", &[("cookie", "a=1; beta=yes")]), Some(3)),
            (asked("GET", "x", "/?a&v=2", &[]), Some(4)),
            (asked("GET", "x", "/shop/..//%61dmin", &[]), Some(5)),
            (asked("GET", "x", "/shop/cup", &[]), Some(6)),
            (asked("GET", "x", "/shopping", &[]), None),
        ];
        for (asked, expected) in cases {
            assert_eq!(asked.pick(&routes).route, *expected, "{asked:?}");
        }
        let missed = asked("GET", "x", "/nowhere", &[]).pick(&routes).missed;
        let expected = [
            "host is x, not *.old.example",
            "path does not begin with /api/",
            "no field X-Debug: 1",
            "no cookie beta",
            "no v=2 in the query",
            "path is not /admin",
            "path does not begin with /shop",
        ];
        assert_eq!(missed, expected);
    }

    #[test]
    fn shares_are_kept_exactly() {
        let then = Then::To(vec![(3, 9_500), (7, 500)]);
        let new = (0..20_000).filter(|lot| then.pool(*lot) == Some(7)).count();
        assert_eq!(new, 1_000);
        assert_eq!(Then::To(Vec::new()).pool(1), None);
    }

    #[test]
    fn paths_are_tidied_up() {
        let cases = [
            ("/a/./b//c/../d/", "/a/b/d/"),
            ("/../../x", "/x"),
            ("", "/"),
            ("/%2e%2e/%2F%zz%", "/%2F%zz%"),
            ("/a/..", "/"),
            ("/ä%", "/ä%"),
        ];
        for (given, expected) in cases {
            assert_eq!(normal_path(given), expected, "{given}");
        }
    }
}
