//! What a proxy does beside choosing an upstream.

use std::net::SocketAddr;

use ipnet::IpNet;
use rt_base::Nanos;
use rt_rules::Spread;
use rt_rules::http::{Forwarding, HttpRoute, PoolRules};
use serde::{Deserialize, Serialize};

/// Options of an [`super::App::Edge`].
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ProxyOptions {
    /// It keeps responses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<CacheRules>,
    /// It says where it stands and where its clients are, as CDNs do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cdn: Option<CdnPlace>,
    /// It speaks TLS to its upstreams, whose certificates must have this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream_tls: Option<String>,
    /// More certificates: the name asked for chooses one. Indices into [`super::Model::certificates`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<usize>,
    /// Connections, checks, time-outs.
    #[serde(default)]
    pub rules: PoolRules,
    /// Pools beside its upstreams, which are pool 0.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pools: Vec<ProxyPool>,
    /// Where requests go; without any, all go to pool 0.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<HttpRoute>,
    /// How it tells upstreams who asks.
    #[serde(default)]
    pub forwarding: Forwarding,
}

/// Servers among which a route's requests choose.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ProxyPool {
    /// Its name.
    pub name: String,
    /// Names and addresses.
    pub upstreams: Vec<(String, SocketAddr)>,
    /// How one is picked.
    pub balance: Spread,
    /// It speaks TLS to them; their certificates must have this name.
    pub tls: Option<String>,
    /// Connections, checks, time-outs.
    pub rules: PoolRules,
}

/// How a shared cache behaves (RFC 9111).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CacheRules {
    /// Bytes kept at most.
    pub size: u64,
    /// Bytes of the largest body that is kept.
    pub largest: u64,
    /// Whether the query is no part of the key.
    pub ignore_query: bool,
    /// Request fields that are part of the key.
    pub key_headers: Vec<String>,
    /// Only paths with one of these endings; all when empty.
    pub only: Vec<String>,
    /// How long a response is fresh that says nothing about it.
    pub default_lifetime: Option<Nanos>,
    /// Whether responses with Set-Cookie are kept.
    pub keep_cookies: bool,
    /// Whether Cache-Control in requests counts.
    pub obey_clients: bool,
    /// Whether `s-maxage` lets stale-while-revalidate and stale-if-error count.
    pub stale_after_s_maxage: bool,
    /// Whether requests for the same thing wait for the first one's response.
    pub collapse: bool,
    /// Networks whose clients may purge.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub purge_from: Vec<IpNet>,
}

impl Default for CacheRules {
    fn default() -> CacheRules {
        CacheRules {
            size: 64 << 20,
            largest: 16 << 20,
            ignore_query: false,
            key_headers: Vec::new(),
            only: Vec::new(),
            default_lifetime: None,
            keep_cookies: false,
            obey_clients: true,
            stale_after_s_maxage: false,
            collapse: true,
            purge_from: Vec::new(),
        }
    }
}

impl CacheRules {
    /// As the largest CDN has it: clients cannot make it ask the origin, `s-maxage` may be used stale.
    #[must_use]
    pub fn of_a_cdn() -> CacheRules {
        CacheRules { obey_clients: false, stale_after_s_maxage: true, ..CacheRules::default() }
    }
}

/// What a cache is made to forget.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Forget {
    /// All that it keeps.
    Everything,
    /// What it keeps for this path, with any query.
    Path(String),
    /// What it keeps for paths that begin so.
    Below(String),
    /// What the origin has tagged so.
    Tag(String),
}

/// Where a CDN's edge stands, and where its clients are.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CdnPlace {
    /// The code of the airport nearby (IATA).
    pub airport: String,
    /// Countries (ISO 3166) by prefix.
    pub countries: Vec<(IpNet, String)>,
}
