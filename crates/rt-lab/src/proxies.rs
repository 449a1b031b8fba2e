//! Proxies that understand HTTP: the model's words for them as those of `rt-apps`.

use std::net::SocketAddr;

use rt_apps::Net;
use rt_apps::cache::{CacheOptions, CacheStore, Forget, PlannedPurge};
use rt_apps::proxy::{self, Edge, PoolConfig, Upstream};
use rt_scenario::model::{self, App, CacheRules, CdnPlace, Change, Model, Node};

use crate::apps::Shared;
use crate::balancer::shifts;

/// Starts one on `node`, with what the timeline plans for it.
pub(crate) fn start_edge(
    net: &Net,
    model: &Model,
    node: &Node,
    (shared, stores): (&Shared, &Stores),
    app: &App,
) {
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
        cache: stores.of(app),
        cdn: options.cdn.as_ref().map(place),
        ..Edge::new(*port, Vec::new())
    };
    drop(net.spawn(edge.run(net.clone())));
}

/// What the proxies of a machine keep. Proxies that differ in nothing but port, certificates and HTTP/2 are ports of one,
/// with one store.
pub(crate) struct Stores(Vec<(App, CacheStore)>);

impl Stores {
    /// Makes those of `node`, with what the timeline plans for them.
    pub(crate) fn new(net: &Net, model: &Model, node: &Node) -> Stores {
        let mut stores = Stores(Vec::new());
        for app in &node.apps {
            let rules = match app {
                App::Edge { options, .. } => options.cache.as_ref(),
                App::ForwardProxy(proxy) => proxy.cache.as_ref(),
                _ => None,
            };
            if let Some(rules) = rules.filter(|_| stores.of(app).is_none()) {
                let store = CacheStore::new(options(rules));
                store.plan(net, purges(model, node));
                stores.0.push((without_port(app), store));
            }
        }
        stores
    }

    /// The store of a proxy, if it keeps responses.
    pub(crate) fn of(&self, app: &App) -> Option<CacheStore> {
        if self.0.is_empty() {
            return None;
        }
        let app = without_port(app);
        self.0.iter().find(|(known, _)| *known == app).map(|(_, store)| store.clone())
    }
}

/// A proxy without what tells its ports apart.
fn without_port(app: &App) -> App {
    let mut app = app.clone();
    if let App::Edge { port, certificate, http2, options, .. } = &mut app {
        (*port, *certificate, *http2) = (0, None, false);
        options.certificates.clear();
    }
    app
}

/// What the timeline plans for the caches of `node`.
fn purges(model: &Model, node: &Node) -> Vec<PlannedPurge> {
    let planned = model.timeline.iter().filter_map(|happening| {
        let Change::Purge { node: of, what } = &happening.change else { return None };
        let here = model.nodes.get(of.index()).is_some_and(|of| of.name == node.name);
        let what = match what {
            model::Forget::Everything => Forget::Everything,
            model::Forget::Path(path) => Forget::Path(path.clone()),
            model::Forget::Below(path) => Forget::Below(path.clone()),
            model::Forget::Tag(tag) => Forget::Tag(tag.clone()),
        };
        here.then_some(PlannedPurge { at: happening.at, what })
    });
    planned.collect()
}

/// A shared cache's rules.
fn options(rules: &CacheRules) -> CacheOptions {
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
