//! What a proxy does beside choosing an upstream, read from YAML.

use std::net::SocketAddr;

use ipnet::IpNet;
use rt_rules::http::{HttpRoute, PoolRules, Then};

use crate::diag::{Code, Span};
use crate::model::{CacheRules, CdnPlace, ProxyOptions};
use crate::routes::{UPSTREAMS, read_forwarding, read_pool_rules};
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

impl World<'_, '_> {
    /// The options of a plain `edge`.
    pub(crate) fn read_proxy(&mut self, value: &Value) -> ProxyOptions {
        let cdn = value.get("cdn").map(|cdn| {
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
            rules: read_pool_rules(value, &PoolRules::default()),
            pools,
            routes,
            forwarding: read_forwarding(value),
        }
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
