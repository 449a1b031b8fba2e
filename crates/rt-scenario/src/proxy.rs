//! What a proxy does beside choosing an upstream, read from YAML.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use ipnet::IpNet;
use rt_base::NodeId;
use rt_rules::http::{HttpRoute, Then};

use crate::diag::{Code, Span};
use crate::lookup::Found;
use crate::model::{App, CacheRules, CdnPlace, Change, Forget, Node, ProxyOptions};
use crate::routes::{UPSTREAMS, read_forwarding};
use crate::tree::Value;
use crate::units;
use crate::world::World;

/// `cache:` as `yes`, `no` or a mapping; `usual` is what is not written.
pub(crate) fn read_cache(value: &Value, usual: CacheRules) -> Option<CacheRules> {
    let cache = value.get("cache")?;
    if cache.text().is_some() {
        return (value.flag_at("cache") == Some(true)).then_some(usual);
    }
    let size = |key: &str| cache.str_at(key).and_then(|text| units::size(text).ok());
    let texts = |key: &str| -> Vec<String> {
        let items = cache.get(key).map(Value::items).unwrap_or_default();
        items.iter().filter_map(|item| Some(item.text()?.to_owned())).collect()
    };
    Some(CacheRules {
        size: size("size").unwrap_or(usual.size),
        largest: size("largest").unwrap_or(usual.largest),
        ignore_query: cache.flag_at("ignore-query").unwrap_or(usual.ignore_query),
        key_headers: texts("key-headers"),
        only: texts("only"),
        default_lifetime: cache.duration_at("default-lifetime"),
        keep_cookies: cache.flag_at("keep-cookies").unwrap_or(usual.keep_cookies),
        obey_clients: cache.flag_at("obey-clients").unwrap_or(usual.obey_clients),
        stale_after_s_maxage: cache.flag_at("stale-after-s-maxage").unwrap_or(usual.stale_after_s_maxage),
        collapse: cache.flag_at("collapse").unwrap_or(usual.collapse),
        purge_from: texts("purge-from").iter().filter_map(|net| net.parse().ok()).collect(),
    })
}

/// Whether a program keeps responses.
pub(crate) fn keeps(app: &App) -> bool {
    match app {
        App::Edge { options, .. } => options.cache.is_some(),
        App::ForwardProxy(proxy) => proxy.cache.is_some(),
        _ => false,
    }
}

impl World<'_, '_> {
    /// The options of a plain `edge`.
    pub(crate) fn read_proxy(&mut self, value: &Value) -> ProxyOptions {
        self.check_pool(value, "upstream-tls");
        let cdn = value.get("cdn").map(|cdn| {
            self.check_place(cdn);
            let mut countries = Vec::new();
            for (network, country) in cdn.get("countries").map(Value::entries).unwrap_or_default() {
                match (network.text.parse::<IpNet>(), country.text()) {
                    (Ok(net), Some(country)) => countries.push((net, country.to_owned())),
                    _ => {
                        let message = format!("`{}` is not a network", network.text);
                        self.problems
                            .add(Code::BadNetwork, network.span, message, "not a network")
                            .help("write `203.0.113.0/24: JP`");
                    }
                }
            }
            CdnPlace { airport: cdn.str_at("airport").unwrap_or_default().to_owned(), countries }
        });
        let pools = self.read_pools(value);
        let names: Vec<String> =
            std::iter::once(UPSTREAMS.to_owned()).chain(pools.iter().map(|pool| pool.name.clone())).collect();
        let routes = self.read_routes(value, &names);
        ProxyOptions {
            cache: read_cache(value, CacheRules::default()),
            cdn,
            upstream_tls: value.str_at("upstream-tls").map(str::to_owned),
            certificates: Vec::new(),
            rules: self.read_pool_rules(value),
            pools,
            routes,
            forwarding: read_forwarding(value),
        }
    }

    /// `purge: NAME` of the timeline, for a machine or for all of a site that keep something.
    pub(crate) fn read_purge(&mut self, item: &Value, end: &Value) -> Vec<Change> {
        let (Some(name), Some(what)) = (end.text(), self.read_forget(item)) else { return Vec::new() };
        let all = self.nodes.iter().zip(0..).map(|(draft, index)| (&draft.node, NodeId(index)));
        let caches: Vec<(&Node, NodeId)> = all.filter(|(node, _)| node.apps.iter().any(keeps)).collect();
        let of_site = |node: &Node| node.site.as_deref() == Some(name);
        // Of several machines of that name the one that keeps something is meant.
        let named =
            |full: &str| full == name || full.rsplit_once('.').is_some_and(|(_, short)| short == name);
        let found = self.find_node(name);
        let one = caches.iter().filter(|(node, _)| named(&node.name));
        let mut nodes: Vec<NodeId> = match found {
            Found::Node(id) => caches.iter().filter(|(_, cache)| *cache == id).map(|(_, id)| *id).collect(),
            _ => one.map(|(_, id)| *id).collect(),
        };
        if nodes.is_empty() {
            nodes = caches.iter().filter(|(node, _)| of_site(node)).map(|(_, id)| *id).collect();
        } else if nodes.len() > 1 {
            let _ = self.node_named(name, end.span);
            return Vec::new();
        }
        if nodes.is_empty() {
            let known: BTreeSet<String> =
                caches.iter().flat_map(|(node, _)| node.site.iter().chain([&node.name]).cloned()).collect();
            let is_there = !matches!(found, Found::Nobody) || self.nodes.iter().any(|d| of_site(&d.node));
            let (code, message) = match is_there {
                true => (Code::NoEffect, format!("`{name}` keeps no responses that it could forget")),
                false => (Code::UnknownNode, format!("no machine and no site is called `{name}`")),
            };
            self.problems
                .add(code, end.span, message, "no cache here")
                .help("name a proxy with `cache:`, or a site of kind `cdn`")
                .known(name, known);
        }
        nodes.into_iter().map(|node| Change::Purge { node, what: what.clone() }).collect()
    }

    /// `path:` and `tag:` beside `purge:`.
    fn read_forget(&mut self, item: &Value) -> Option<Forget> {
        let (path, tag) = (item.get("path"), item.get("tag"));
        if let (Some(_), Some(tag)) = (path, tag) {
            let message = "a path or a tag says what is forgotten";
            self.problems
                .add(Code::WrongShape, tag.span, message, "one of them")
                .help("write two entries to forget both");
            return None;
        }
        if let Some(tag) = tag {
            return Some(Forget::Tag(tag.text()?.to_owned()));
        }
        let Some(path) = path else { return Some(Forget::Everything) };
        let text = path.text()?;
        let plain = text.strip_suffix('*').unwrap_or(text);
        if !plain.starts_with('/')
            || plain.contains(['?', '#', '*'])
            || !plain.chars().all(|c| c.is_ascii_graphic())
        {
            let message = format!("`{}` is no path of a cache's key", rt_base::text::excerpt(text, 80));
            self.problems
                .add(Code::WrongShape, path.span, message, "not a path")
                .help("write `/static/logo.png` (whatever its host and query), or `/static/*` for all that begins so");
            return None;
        }
        Some(match text.ends_with('*') {
            true => Forget::Below(plain.to_owned()),
            false => Forget::Path(plain.to_owned()),
        })
    }

    /// A proxy needs servers, or routes that answer without.
    pub(crate) fn serves_something(
        &mut self,
        upstreams: &[(String, SocketAddr)],
        options: &ProxyOptions,
        span: Span,
    ) {
        let own = |route: &HttpRoute| matches!(&route.then, Then::To(pools) if pools.iter().any(|(pool, _)| *pool == 0));
        if upstreams.is_empty() && (options.routes.is_empty() || options.routes.iter().any(own)) {
            self.problems
                .add(Code::MissingKey, span, "a proxy without servers has nobody to ask", "no `upstreams`")
                .help("write `upstreams: { web-1: 10.0.0.11:80 }`, or let every route name a pool");
        }
    }
}
