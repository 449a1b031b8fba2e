//! Proxies that understand HTTP: the model's words for them as those of `rt-apps`.

use std::net::SocketAddr;

use rt_apps::Net;
use rt_apps::cache::CacheOptions;
use rt_apps::proxy::{self, Edge, PoolConfig, Upstream};
use rt_scenario::model::{App, CacheRules, CdnPlace, Model, Node};

use crate::apps::Shared;
use crate::balancer::shifts;

/// Starts one on `node`, with what the timeline plans for it.
pub(crate) fn start_edge(net: &Net, model: &Model, node: &Node, shared: &Shared, app: &App) {
    let App::Edge { port, certificate, http2, upstreams, balance, think, options } = app else { return };
    let servers = |all: &[(String, SocketAddr)]| {
        all.iter().map(|(name, address)| Upstream { name: name.clone(), address: *address }).collect()
    };
    let own = PoolConfig {
        spread: *balance,
        tls: shared.upstream_tls(&options.upstream_tls),
        rules: options.rules.clone(),
        shifts: shifts(model, node, upstreams),
        ..PoolConfig::new("upstreams", servers(upstreams))
    };
    let more = options.pools.iter().map(|pool| PoolConfig {
        spread: pool.balance,
        tls: shared.upstream_tls(&pool.tls),
        rules: pool.rules.clone(),
        shifts: shifts(model, node, &pool.upstreams),
        ..PoolConfig::new(&pool.name, servers(&pool.upstreams))
    });
    let edge = Edge {
        identities: certificate
            .iter()
            .chain(&options.certificates)
            .filter_map(|c| shared.identity(Some(*c)))
            .collect(),
        http2: *http2,
        pools: std::iter::once(own).chain(more).collect(),
        routes: options.routes.clone(),
        forwarding: options.forwarding,
        think: *think,
        cache: options.cache.as_ref().map(cache),
        cdn: options.cdn.as_ref().map(place),
        ..Edge::new(*port, Vec::new())
    };
    drop(net.spawn(edge.run(net.clone())));
}

/// A shared cache's rules.
pub(crate) fn cache(rules: &CacheRules) -> CacheOptions {
    CacheOptions {
        capacity: rules.size,
        largest: rules.largest,
        ignore_query: rules.ignore_query,
        key_headers: rules.key_headers.clone(),
        only: rules.only.clone(),
        default_lifetime: rules.default_lifetime,
        keep_cookies: rules.keep_cookies,
        obey_clients: rules.obey_clients,
        stale_after_s_maxage: rules.stale_after_s_maxage,
        collapse: rules.collapse,
        purge_from: rules.purge_from.clone(),
    }
}

fn place(place: &CdnPlace) -> proxy::CdnPlace {
    proxy::CdnPlace { airport: place.airport.clone(), countries: place.countries.clone() }
}
