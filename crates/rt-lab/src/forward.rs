//! Forward proxies, the authorities of those that inspect, and browsers that use them.

use std::collections::BTreeMap;
use std::sync::Arc;

use rt_apps::Net;
use rt_apps::browser;
use rt_apps::cache::CacheStore;
use rt_apps::forward::{self, Inspect};
use rt_apps::tls::PrivateCa;
use rt_base::AppRecord;
use rt_scenario::model::{App, BrowserProxy, ForwardProxy, Inspection, Model, Node, Reveals};
use rt_trace::Trace;

use crate::apps::Shared;

/// The authorities of inspecting proxies, by name.
#[derive(Clone)]
pub(crate) struct Authorities(BTreeMap<String, Arc<PrivateCa>>);

impl Authorities {
    /// Makes those that the model's proxies sign with.
    pub(crate) fn new(model: &Model, seed: u64) -> Authorities {
        let inspects = |app: &App| match app {
            App::ForwardProxy(proxy) => proxy.inspect.as_ref().map(|inspect| inspect.ca.clone()),
            _ => None,
        };
        let names = model.nodes.iter().flat_map(|node| node.apps.iter().filter_map(inspects));
        let make =
            |name: String| Some((name.clone(), Arc::new(PrivateCa::new(seed, model.epoch, &name).ok()?)));
        Authorities(names.filter_map(make).collect())
    }

    /// Those that a machine trusts.
    pub(crate) fn trusted<'a>(&'a self, node: &'a Node) -> impl Iterator<Item = &'a PrivateCa> {
        node.browser.trusts.iter().filter_map(|name| self.0.get(name)).map(AsRef::as_ref)
    }
}

/// Starts one; `cache` is what it keeps, if it keeps anything.
pub(crate) fn start(net: &Net, proxy: &ForwardProxy, shared: &Shared, cache: Option<CacheStore>) {
    let inspect = |inspect: &Inspection| {
        Some(Inspect {
            ca: Arc::clone(shared.private.0.get(&inspect.ca)?),
            roots: shared.roots(),
            except: inspect.except.clone(),
            intercept: inspect.intercept,
        })
    };
    let usual = forward::ForwardProxy::new(proxy.port);
    let config = forward::ForwardProxy {
        port: proxy.port,
        block: proxy.block.clone(),
        allow: proxy.allow.clone(),
        connect_ports: proxy.connect_ports.clone(),
        users: proxy.users.clone(),
        reveals: match proxy.reveals {
            Reveals::On => forward::Reveals::On,
            Reveals::Off => forward::Reveals::Off,
            Reveals::Transparent => forward::Reveals::Transparent,
            Reveals::Delete => forward::Reveals::Delete,
            Reveals::Rfc7239 => forward::Reveals::Forwarded,
        },
        via: proxy.via,
        log: proxy.log,
        cache,
        inspect: proxy.inspect.as_ref().and_then(inspect),
        think: proxy.think,
        idle: proxy.idle.unwrap_or(usual.idle),
        timeout: proxy.timeout.unwrap_or(usual.timeout),
    };
    drop(net.spawn(config.run(net.clone())));
}

/// A browser's proxy.
pub(crate) fn of_browser(proxy: &BrowserProxy) -> browser::BrowserProxy {
    browser::BrowserProxy {
        host: proxy.host.clone(),
        port: proxy.port,
        credentials: proxy.user.clone(),
        except: proxy.except.clone(),
    }
}

/// Logs that machines have kept, by machine: lines said with a code.
fn logs(trace: &Trace, said_as: &str) -> BTreeMap<String, String> {
    let mut logs: BTreeMap<String, String> = BTreeMap::new();
    for (event, record) in trace.said() {
        if let AppRecord::Note { code, text, .. } = record
            && code == said_as
        {
            let log = logs.entry(trace.map.node_name(event.node())).or_default();
            log.push_str(text);
            log.push('\n');
        }
    }
    logs
}

/// The access logs of all forward proxies, by machine, in squid's format.
pub(crate) fn access_logs(trace: &Trace) -> BTreeMap<String, String> {
    logs(trace, "proxy.access")
}

/// The access logs of all web servers and reverse proxies, by machine, in the combined format.
pub(crate) fn web_logs(trace: &Trace) -> BTreeMap<String, String> {
    logs(trace, "http.access")
}
