//! Words of HTTP in a scenario that could be read and can never do what they say: hosts with a scheme, methods in small letters,
//! bodies where none may be. Refused where they stand; what merely does nothing is warned about.
//!
//! Not for what a field's value means to whoever gets it, and not for names that nobody has (`upstreams`, `check`).

use rt_base::text::excerpt;

use crate::diag::{Code, Span};
use crate::shape::flag;
use crate::tree::{Key, Value};
use crate::world::World;

/// Methods as they are registered (RFC 9110, 9.3; PATCH by RFC 5789), and PURGE.
const METHODS: [&str; 10] =
    ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "PURGE"];

/// Whether it can name a field, a method or a cookie (RFC 9110, 5.6.2; RFC 6265, 4.1.1).
pub(crate) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c))
}

/// A host as requests name it: letters, digits, `-`, `_` and dots.
fn is_host(text: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty() && label.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
    };
    text.len() <= 253 && text.strip_suffix('.').unwrap_or(text).split('.').all(label)
}

/// The host inside `https://a.test:443/x`, if there is one.
fn host_in(text: &str) -> Option<&str> {
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    let rest = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let host = rest.split_once(':').map_or(rest, |(host, _)| host).trim();
    is_host(host.strip_prefix("*.").unwrap_or(host)).then_some(host)
}

/// A text, or each of a list.
fn each<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    match value.get(key) {
        Some(one) if one.text().is_some() => std::slice::from_ref(one),
        Some(list) => list.items(),
        None => &[],
    }
}

/// The names of a mapping.
fn names<'v>(value: &'v Value, key: &str) -> impl Iterator<Item = &'v Key> {
    value.get(key).map(Value::entries).unwrap_or_default().iter().map(|(name, _)| name)
}

fn shown(text: &str) -> String {
    excerpt(text, 80)
}

impl World<'_, '_> {
    fn senseless(&mut self, span: Span, message: String, label: &str, help: impl Into<String>) {
        self.problems.add(Code::WrongShape, span, message, label).help(help);
    }

    /// What a route asks for and changes.
    pub(crate) fn check_route(&mut self, item: &Value) {
        for host in each(item, "host") {
            self.is_host_pattern(host);
        }
        for key in ["method", "only-methods"] {
            for method in each(item, key) {
                self.is_method(method);
            }
        }
        names(item, "cookies").for_each(|name| self.is_cookie(&name.text, name.span));
        names(item, "fields").for_each(|name| self.is_field(&name.text, name.span));
        for key in ["remove", "reply-remove"] {
            each(item, key).iter().for_each(|name| self.is_field(name.text().unwrap_or("x"), name.span));
        }
        for key in ["path", "exactly", "strip"] {
            self.is_bare_path(item, key);
        }
        if let Some(host) = item.get("set-host") {
            self.is_authority(host);
        }
        self.check_gate(item);
        self.check_answer(item);
        self.check_strip(item);
    }

    /// A route's host: a name, or `*.` and a name.
    fn is_host_pattern(&mut self, value: &Value) {
        let Some(text) = value.text() else { return };
        if text == "*" || is_host(text.strip_prefix("*.").unwrap_or(text)) {
            return;
        }
        let message = format!("`{}` is no host that a request could name", shown(text));
        let help = match host_in(text) {
            Some(host) => format!("the scheme, the port and the path are no part of it: write `{host}`"),
            None => "write a name, or `*.example.com` for all that end like that".to_owned(),
        };
        self.senseless(value.span, message, "not a host", help);
    }

    /// The Host that an upstream sees: a name, with a port or without (RFC 9110, 7.2).
    fn is_authority(&mut self, value: &Value) {
        let Some(text) = value.text().filter(|text| !text.contains(['{', '}'])) else { return };
        let (host, port) = text.rsplit_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
        if is_host(host) && port.is_none_or(|port| crate::units::port(port).is_ok()) {
            return;
        }
        let message = format!("`{}` can stand in no Host field", shown(text));
        let help = match host_in(text) {
            Some(host) => format!("write `{host}`, with `:8080` behind it if need be"),
            None => "write a name such as `shop.example`, with `:8080` behind it if need be".to_owned(),
        };
        self.senseless(value.span, message, "not a host", help);
    }

    /// Methods know large and small letters apart (RFC 9110, 9.1), and the usual ones are large.
    fn is_method(&mut self, value: &Value) {
        let Some(text) = value.text() else { return };
        if !is_token(text) {
            let message = format!("`{}` is no method", shown(text));
            self.problems
                .add(Code::UnknownChoice, value.span, message, "not a method")
                .known(text, METHODS)
                .help("write one such as `GET`");
        } else if let Some(meant) = METHODS.iter().find(|m| **m != text && m.eq_ignore_ascii_case(text)) {
            let message = format!("nobody asks with the method `{text}`: it has large letters");
            self.problems
                .add(Code::UnknownChoice, value.span, message, "not the same method")
                .help(format!("write `{meant}`"));
        }
    }

    fn is_cookie(&mut self, name: &str, span: Span) {
        if !is_token(name) {
            let message = format!("`{}` is no name of a cookie", shown(name));
            let help = "names have letters, digits, `-` and `_`, as `session`";
            self.senseless(span, message, "not a name", help);
        }
    }

    fn is_field(&mut self, name: &str, span: Span) {
        if !is_token(name) {
            let message = format!("`{}` is no name of an HTTP field", shown(name));
            self.senseless(span, message, "not a name", "names have letters, digits and `-`, as `X-Shop`");
        }
    }

    /// A path without its query, which routes look at by itself.
    fn is_bare_path(&mut self, item: &Value, key: &str) {
        let Some(value) = item.get(key) else { return };
        let Some(text) = value.text().filter(|text| text.starts_with('/')) else { return };
        if let Some(at) = text.find(['?', '#']) {
            let message = format!("no path has a `{}` in it: `{key}` never fits", &text[at..=at]);
            let help = format!("write `{}`; for the query there is `query:`", &text[..at]);
            self.senseless(value.span, message, "not a path", help);
        } else if text.chars().any(|c| c.is_whitespace() || c.is_control() || !c.is_ascii()) {
            let message = format!("no request has the path `{}`", shown(text));
            let help = "paths are written as they stand in a URL: a blank is `%20`";
            self.senseless(value.span, message, "not a path", help);
        }
    }

    fn check_gate(&mut self, item: &Value) {
        let keys = item.get("keys");
        if let Some(keys) = keys {
            if let Some(field) = keys.get("field") {
                self.is_field(field.text().unwrap_or("x"), field.span);
            }
            if let Some(consumers) = keys.get("consumers").filter(|all| all.entries().is_empty()) {
                let message = "`keys` without consumers lets nobody in";
                self.problems
                    .add(Code::MissingKey, crate::shape::head(consumers), message, "no keys")
                    .help("write `consumers: { KEY: acme }`: each key, and whose it is");
            }
        }
        let auth = item.get("auth");
        if let Some(basic) = auth {
            self.are_users(basic, "basic");
        }
        let Some(of) = item.get("limit").and_then(|limit| limit.get("of")) else { return };
        match of.text() {
            Some("user") if keys.is_none() && auth.is_none() => {
                let message = "`of: user` has no effect where nobody says who he is: addresses are counted";
                self.problems
                    .add(Code::NoEffect, of.span, message, "no effect")
                    .help("add `auth:` or `keys:` to this route, or write `of: address`");
            }
            Some(text) => {
                if let Some(name) = text.strip_prefix("field ").map(str::trim).filter(|n| !n.is_empty()) {
                    self.is_field(name, of.span);
                }
            }
            None => {}
        }
    }

    /// Names of basic authentication end at the first colon (RFC 7617, 2).
    pub(crate) fn are_users(&mut self, value: &Value, key: &str) {
        for name in names(value, key).filter(|name| name.text.contains(':')) {
            let message = format!("nobody can say the name `{}`: it ends at its colon", shown(&name.text));
            let help =
                "in basic authentication the password follows the first `:` (RFC 7617, 2): use another name";
            self.senseless(name.span, message, "a colon in a name", help);
        }
    }

    /// Answers without content, and places that fit no Location field.
    fn check_answer(&mut self, item: &Value) {
        if let Some(to) = item.get("redirect")
            && let Some(text) = to.text()
            // Braces that stand for nothing are told of already.
            && !text.replace("{host}", "").replace("{path}", "").replace("{query}", "").contains(['{', '}'])
            && (text.is_empty() || !text.chars().all(|c| c.is_ascii_graphic()))
        {
            let message = format!("`{}` is no place to send anybody", shown(text));
            let help = "write a URL such as `https://{host}{path}{query}`; a blank in it is `%20`";
            self.senseless(to.span, message, "not a URL", help);
        }
        let (Some(answer), Some(status)) = (item.get("answer"), item.get("status")) else { return };
        let bare = status.text().filter(|status| matches!(*status, "204" | "205" | "304"));
        if let Some(status) = bare
            && answer.text().is_some_and(|text| !text.is_empty())
        {
            let message = format!("a response with the status {status} has no content");
            self.problems
                .add(Code::WrongShape, answer.span, message, "cannot be sent")
                .help("write `answer: \"\"`, or another status (RFC 9110, section 15)");
        }
    }

    /// What is stripped must be able to stand in front of a path that comes here.
    fn check_strip(&mut self, item: &Value) {
        let Some(strip) = item.get("strip") else { return };
        let Some(text) = strip.text().filter(|text| text.starts_with('/')) else { return };
        let below = |path: &str, above: &str| {
            let rest = path.strip_prefix(above.trim_end_matches('/'));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let (key, path, fits) = match (item.str_at("exactly"), item.str_at("path")) {
            (Some(exactly), _) => ("exactly", exactly, below(exactly, text)),
            (None, Some(path)) => ("path", path, below(path, text) || below(text, path)),
            (None, None) => return,
        };
        if !fits {
            let message =
                format!("`strip` has no effect: no path that comes here begins with `{}`", shown(text));
            self.problems
                .add(Code::NoEffect, strip.span, message, "no effect")
                .help(format!("this route is for `{key}: {}`: strip that, or a part of it", shown(path)));
        }
    }

    /// What a proxy says to a pool of servers; `tls` is its key for the name in their certificates.
    pub(crate) fn check_pool(&mut self, value: &Value, tls: &str) {
        if let Some(sticky) = value.get("sticky") {
            self.is_cookie(sticky.text().unwrap_or("x"), sticky.span);
        }
        if let Some(health) = value.get("health") {
            self.is_asked_path(health);
        }
        let Some(name) = value.get(tls) else { return };
        let Some(text) = name.text().filter(|text| flag(text).is_some() || !is_host(text)) else { return };
        let message = match text {
            "" => format!("`{tls}` says no name"),
            text => format!("`{}` is no name in a certificate", shown(text)),
        };
        let help = match host_in(text).filter(|host| flag(host).is_none()) {
            Some(host) => format!("write `{tls}: {host}`"),
            None => format!("write the name in the servers' certificates, as `{tls}: shop.example`"),
        };
        self.senseless(name.span, message, "not a name", help);
    }

    /// `path:` of health checks: it may have a query.
    fn is_asked_path(&mut self, health: &Value) {
        let Some(path) = health.get("path") else { return };
        let Some(text) = path.text() else { return };
        if !text.starts_with('/') {
            let message = "`path` of a health check begins with `/`";
            let help = match text.contains("://") {
                true => "the servers are known already: write the path alone, as `/healthz`".to_owned(),
                false => format!("write `/{}`", shown(text)),
            };
            self.senseless(path.span, message.to_owned(), "not a path", help);
        } else if !text.chars().all(|c| c.is_ascii_graphic() && c != '#') {
            let message = format!("no request can ask for `{}`", shown(text));
            let help = "write it as it stands in a URL: a blank is `%20`";
            self.senseless(path.span, message, "not a path", help);
        }
    }

    /// The airport and the countries of a CDN's place.
    pub(crate) fn check_place(&mut self, cdn: &Value) {
        if let Some(airport) = cdn.get("airport")
            && let Some(text) = airport.text()
            && !(text.len() == 3 && text.bytes().all(|b| b.is_ascii_uppercase()))
        {
            let message = format!("`{}` is no airport's code", shown(text));
            let help = "codes have three large letters (IATA), as `NRT` for Tokyo Narita";
            self.senseless(airport.span, message, "not a code", help);
        }
        for (_, country) in cdn.get("countries").map(Value::entries).unwrap_or_default() {
            let Some(text) = country.text() else { continue };
            if text.len() == 2 && text.bytes().all(|b| b.is_ascii_uppercase()) {
                continue;
            }
            let small = text.len() == 2 && text.bytes().all(|b| b.is_ascii_alphabetic());
            let message = format!("`{}` is no country's code", shown(text));
            let help = match small {
                true => format!("write `{}`", text.to_uppercase()),
                false => "codes have two large letters (ISO 3166), as `JP` for Japan".to_owned(),
            };
            self.senseless(country.span, message, "not a code", help);
        }
    }

    /// Sites, users and ports of a forward proxy.
    pub(crate) fn check_forward(&mut self, value: &Value) {
        self.are_users(value, "users");
        for site in each(value, "block") {
            self.is_site(site, true);
        }
        let Some(inspect) = value.get("inspect") else { return };
        for site in each(inspect, "except") {
            self.is_site(site, false);
        }
        let own = crate::forward::PORT.to_string();
        let port = value.str_at("port").unwrap_or(&own);
        if let Some(intercept) = inspect.get("intercept").filter(|at| at.text() == Some(port)) {
            let message = format!("the proxy itself listens on port {port}");
            self.problems
                .add(Code::PortTaken, intercept.span, message, "taken by itself")
                .help("`intercept` is a port of its own, to which destination NAT brings connections: write another");
        }
    }

    /// A host with `*`, a domain with its dot, and if `deep` a path behind it.
    pub(crate) fn is_site(&mut self, value: &Value, deep: bool) {
        let Some(text) = value.text() else { return };
        let (host, path) = text.split_once('/').map_or((text, None), |(host, path)| (host, Some(path)));
        let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '*');
        if !host.is_empty() && host.chars().all(fine) && (deep || path.is_none()) {
            return;
        }
        let message = format!("no host is called `{}`", shown(text));
        let help = match (host_in(text), deep) {
            (Some(host), _) => format!("the scheme and the port are no part of it: write `{host}`"),
            (None, true) => {
                "write `shop.example`, `.shop.example`, `*.example` or `shop.example/path*`".to_owned()
            }
            (None, false) => "write `shop.example` or `.shop.example`".to_owned(),
        };
        self.senseless(value.span, message, "not a host", help);
    }
}

#[cfg(test)]
mod tests {
    use super::{host_in, is_host, is_token};

    #[test]
    fn hosts_and_names_are_told_from_what_is_none() {
        for host in ["a.test", "a", "10.0.0.1", "xn--bcher-kva.example.", "web_1"] {
            assert!(is_host(host), "{host}");
        }
        for none in ["", ".", "a..b", "a b", "a:80", "https://a", "ä.test", "a/b", "*.a"] {
            assert!(!is_host(none), "{none}");
        }
        assert!(is_token("X-Shop") && !is_token("") && !is_token("a b") && !is_token("a:b"));
        assert_eq!(host_in("https://a.test:443/x?y"), Some("a.test"));
        assert_eq!(host_in("*.a.test:443"), Some("*.a.test"));
        assert_eq!(host_in("a b"), None);
    }
}
