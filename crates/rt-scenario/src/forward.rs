//! `forward-proxy` in a `run:` list, and browsers that use one.

use ipnet::IpNet;
use rt_base::{Nanos, NodeId};

use crate::diag::Code;
use crate::model::{App, BrowserProxy, CacheRules, ForwardProxy, Inspection, Reveals, Verb};
use crate::proxy::read_cache;
use crate::steps::StepDraft;
use crate::tree::Value;
use crate::units;
use crate::world::World;

/// The port of a proxy unless it says otherwise (squid's).
pub(crate) const PORT: u16 = 3128;
/// Ports to which CONNECT may lead unless it is said otherwise.
pub(crate) const CONNECT_PORTS: [u16; 1] = [443];
/// Time per request unless it says otherwise.
pub(crate) const THINK: Nanos = Nanos::from_micros(200);
/// An authority without a name.
pub(crate) const CA: &str = "inspection-ca";

/// Words of `forwarded:` and what they mean.
pub(crate) const REVEALS: [(&str, Reveals); 5] = [
    ("on", Reveals::On),
    ("off", Reveals::Off),
    ("transparent", Reveals::Transparent),
    ("delete", Reveals::Delete),
    ("rfc7239", Reveals::Rfc7239),
];

fn texts(value: &Value, key: &str) -> Vec<String> {
    let items = value.get(key).map(Value::items).unwrap_or_default();
    items.iter().filter_map(|item| Some(item.text()?.to_lowercase())).collect()
}

pub(crate) fn read(value: &Value) -> App {
    let port_at = |value: &Value, key: &str| value.str_at(key).and_then(|text| units::port(text).ok());
    let ports = value.get("connect-ports").map(|list| {
        list.items().iter().filter_map(|item| units::port(item.text()?).ok()).collect::<Vec<u16>>()
    });
    let nets = value.get("allow").map(Value::items).unwrap_or_default();
    let users = value.get("users").map(Value::entries).unwrap_or_default().iter();
    let word = value.str_at("forwarded").unwrap_or("on");
    let inspect = value.get("inspect").and_then(|inspect| {
        let plain = Inspection { ca: CA.to_owned(), except: Vec::new(), intercept: None };
        if inspect.text().is_some() {
            return (value.flag_at("inspect") == Some(true)).then_some(plain);
        }
        Some(Inspection {
            ca: inspect.str_at("ca").unwrap_or(CA).to_owned(),
            except: texts(inspect, "except"),
            intercept: port_at(inspect, "intercept"),
        })
    });
    App::ForwardProxy(Box::new(ForwardProxy {
        port: port_at(value, "port").unwrap_or(PORT),
        block: texts(value, "block"),
        allow: nets.iter().filter_map(|item| item.text()?.parse::<IpNet>().ok()).collect(),
        connect_ports: ports.unwrap_or_else(|| CONNECT_PORTS.to_vec()),
        users: users.filter_map(|(name, word)| Some((name.text.clone(), word.text()?.to_owned()))).collect(),
        reveals: REVEALS.iter().find(|(known, _)| *known == word).map_or(Reveals::On, |(_, r)| *r),
        via: value.flag_at("via").unwrap_or(true),
        log: value.flag_at("log").unwrap_or(true),
        cache: read_cache(value, CacheRules::default()),
        inspect,
        think: value.duration_at("think").unwrap_or(THINK),
        idle: value.duration_at("idle"),
        timeout: value.duration_at("timeout"),
    }))
}

impl World<'_, '_> {
    /// `proxy:`, `no-proxy:` and `trusts:` of a browser.
    pub(crate) fn read_browser_proxy(&mut self, id: NodeId, value: &Value) {
        for host in value.get("no-proxy").map(Value::items).unwrap_or_default() {
            self.is_site(host, false);
        }
        let except = texts(value, "no-proxy");
        if let Some(proxy) = value.get("proxy") {
            match proxy.text().and_then(|text| address(text, except.clone())) {
                Some(read) => {
                    self.browser_proxies.push((id, proxy.span));
                    self.node(id).node.browser.proxy = Some(read);
                }
                None => {
                    let message = format!("`{}` is not the address of a proxy", proxy.text().unwrap_or(""));
                    self.problems
                        .add(Code::WrongShape, proxy.span, message, "not a proxy")
                        .help("write `http://proxy.corp.example:3128`");
                }
            }
        } else if let Some(no_proxy) = value.get("no-proxy") {
            let message = "`no-proxy` has no effect without `proxy`";
            self.problems
                .add(Code::NoEffect, no_proxy.span, message, "no effect")
                .help("say `proxy: http://proxy.corp.example:3128`, or take it away");
        }
        for item in value.get("trusts").map(Value::items).unwrap_or_default() {
            let Some(name) = item.text() else { continue };
            self.node(id).node.browser.trusts.push(name.to_owned());
            self.trusted.push((name.to_owned(), item.span));
        }
    }
}

/// `http://alice:secret@proxy.corp.example:3128`.
fn address(text: &str, except: Vec<String>) -> Option<BrowserProxy> {
    let rest = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
    if rest.contains("://") || rest.contains('/') {
        return None;
    }
    let (user, rest) = match rest.rsplit_once('@') {
        Some((user, rest)) => {
            let (name, word) = user.split_once(':')?;
            (Some((name.to_owned(), word.to_owned())), rest)
        }
        None => (None, rest),
    };
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) => (host, units::port(port).ok()?),
        None => (rest, PORT),
    };
    let plain = |letter: char| letter.is_ascii_alphanumeric() || ".-_".contains(letter);
    let fits = !host.is_empty() && host.len() <= 253 && host.chars().all(plain);
    fits.then(|| BrowserProxy { host: host.to_lowercase(), port, user, except })
}

/// Whom a step's machine looks up and asks: the target, or the proxy of a browser that leaves the rest to it.
pub(crate) fn asked<'w>(world: &'w World<'_, '_>, draft: &'w StepDraft) -> &'w str {
    use Verb::{Open, Post, Reload, WebSocket};
    let browses = matches!(draft.step.verb, Open { .. } | Reload { .. } | Post { .. } | WebSocket(_));
    let proxy = world.nodes[draft.step.node.index()].node.browser.proxy.as_ref().filter(|_| browses);
    let fits = |pattern: &str| match pattern.strip_prefix('.') {
        Some(domain) => draft.target == domain || draft.target.ends_with(pattern),
        None => pattern == "*" || pattern == draft.target,
    };
    match proxy {
        Some(proxy) if !proxy.except.iter().any(|pattern| fits(pattern)) => &proxy.host,
        _ => &draft.target,
    }
}

/// Browsers trust authorities that are there.
pub(crate) fn authorities(world: &mut World<'_, '_>) {
    let of_app = |app: &App| match app {
        App::ForwardProxy(proxy) => proxy.inspect.as_ref().map(|inspect| inspect.ca.clone()),
        _ => None,
    };
    let known: Vec<String> = world.nodes.iter().flat_map(|d| d.node.apps.iter().filter_map(of_app)).collect();
    for (name, span) in std::mem::take(&mut world.trusted) {
        if !known.contains(&name) {
            let message = format!("there is no authority `{name}`");
            world
                .problems
                .add(Code::UnknownReference, span, message, "nobody signs with it")
                .help("a proxy that inspects has one: `forward-proxy: { inspect: { ca: NAME } }`")
                .known(&name, known.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_proxies_are_read() {
        let read = |text: &str| address(text, Vec::new()).map(|p| (p.host, p.port, p.user));
        let alice = Some(("alice".to_owned(), "se@cret".to_owned()));
        assert_eq!(read("http://proxy.corp:8080"), Some(("proxy.corp".into(), 8080, None)));
        assert_eq!(read("Proxy.corp"), Some(("proxy.corp".into(), 3128, None)));
        assert_eq!(read("http://alice:se@cret@10.0.0.2:3128/"), Some(("10.0.0.2".into(), 3128, alice)));
        for wrong in
            ["https://proxy.corp", "http://", "http://proxy.corp:0", "proxy.corp:x", "socks5://a:1", "a b"]
        {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
