//! Forward proxies back to YAML, and what browsers say of them.

use super::plain_yaml::{Entries, list, map, q, yes_no};
use super::proxy_yaml::show_cache;
use crate::forward;
use crate::model::{BrowserOptions, ForwardProxy, Reveals};
use crate::units::show_duration;

pub(super) fn write(entries: &mut Entries, proxy: &ForwardProxy) -> &'static str {
    let texts = |all: &[String]| list(all.iter().map(|text| q(text)));
    entries.put("port", proxy.port.to_string());
    entries.put_if(!proxy.block.is_empty(), "block", || texts(&proxy.block));
    let allow = || list(proxy.allow.iter().map(|net| q(&net.to_string())));
    entries.put_if(!proxy.allow.is_empty(), "allow", allow);
    let ports = || list(proxy.connect_ports.iter().map(u16::to_string));
    entries.put_if(proxy.connect_ports != forward::CONNECT_PORTS, "connect-ports", ports);
    let users = || map(&proxy.users.iter().map(|(name, word)| (q(name), q(word))).collect::<Vec<_>>());
    entries.put_if(!proxy.users.is_empty(), "users", users);
    let word = || {
        let found = forward::REVEALS.iter().find(|(_, reveals)| *reveals == proxy.reveals);
        found.map_or("on", |(word, _)| *word)
    };
    entries.put_if(proxy.reveals != Reveals::On, "forwarded", || q(word()));
    entries.put_if(!proxy.via, "via", || yes_no(false));
    entries.put_if(!proxy.log, "log", || yes_no(false));
    entries.0.extend(proxy.cache.as_ref().map(|cache| ("cache".to_owned(), show_cache(cache))));
    if let Some(inspect) = &proxy.inspect {
        let mut inner = Entries::default();
        inner.put("ca", q(&inspect.ca));
        inner.put_if(!inspect.except.is_empty(), "except", || texts(&inspect.except));
        inner.0.extend(inspect.intercept.map(|port| ("intercept".to_owned(), port.to_string())));
        entries.put("inspect", map(&inner.0));
    }
    entries.put("think", show_duration(proxy.think));
    for (key, span) in [("idle", proxy.idle), ("timeout", proxy.timeout)] {
        entries.0.extend(span.map(|span| (key.to_owned(), show_duration(span))));
    }
    "forward-proxy"
}

/// Of a browser.
pub(super) fn browser(out: &mut Entries, browser: &BrowserOptions) {
    let texts = |all: &[String]| list(all.iter().map(|text| q(text)));
    if let Some(proxy) = &browser.proxy {
        let user = proxy.user.as_ref().map_or(String::new(), |(name, word)| format!("{name}:{word}@"));
        out.put("proxy", q(&format!("http://{user}{}:{}", proxy.host, proxy.port)));
        out.put_if(!proxy.except.is_empty(), "no-proxy", || texts(&proxy.except));
    }
    out.put_if(!browser.trusts.is_empty(), "trusts", || texts(&browser.trusts));
}
