//! What a proxy that understands HTTP does with a request, as data: which route it takes, what must hold before it goes
//! on, what is changed, where it goes and how often that is tried.
//!
//! Not for: reading HTTP or checking signatures (`rt-apps` does both), or connections. What needs the time or dice gets
//! them as arguments.

mod circuit;
mod pick;
mod token_key;
mod tokens;

use ipnet::IpNet;
use rt_base::Nanos;
use serde::{Deserialize, Serialize};

pub use circuit::{BudgetSpent, Change, Circuit, RetryBudget};
pub use pick::{Asked, Picked, normal_path};
pub use token_key::{KeyMaterial, TokenKey};
pub use tokens::{Tokens, Verdict};

use crate::Origin;

/// One route of a proxy. The first whose conditions hold is taken.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HttpRoute {
    /// Where it is written.
    pub origin: Origin,
    /// Which requests take it.
    pub when: RequestMatch,
    /// What must hold before a request goes on.
    pub gate: Gate,
    /// What is changed on the way.
    pub rewrite: Rewrite,
    /// What becomes of the request.
    pub then: Then,
    /// Where clients stay when it has shares.
    #[serde(default)]
    pub staying: Staying,
    /// How long one try may take until the response begins; as the pool has it when `None`.
    pub timeout: Option<Nanos>,
    /// When and how often the request is tried again.
    pub retry: Option<Retry>,
}

/// Conditions on a request; all must hold. Nothing given: any request.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct RequestMatch {
    /// One of these hosts: a name, or `*.example.com` for any name that ends like that.
    pub hosts: Vec<String>,
    /// The path, after [`normal_path`].
    pub path: PathMatch,
    /// One of these methods.
    pub methods: Vec<String>,
    /// All of these fields.
    pub fields: Vec<Named>,
    /// All of these cookies.
    pub cookies: Vec<Named>,
    /// All of these parameters of the query.
    pub query: Vec<Named>,
}

/// Which paths.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PathMatch {
    /// All.
    #[default]
    Any,
    /// This one and what lies below it: `/api` is `/api` and `/api/x`, not `/apix`.
    Below(String),
    /// This one.
    Exactly(String),
}

/// A name that must be there, with this value if one is given.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Named {
    /// Field, cookie or parameter.
    pub name: String,
    /// The whole value.
    pub value: Option<String>,
}

/// What must hold before a request goes on; in this order.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Gate {
    /// From these networks only; others get 403.
    pub from: Vec<IpNet>,
    /// These methods only; others get 405 with Allow (RFC 9110, 15.5.6).
    pub methods: Vec<String>,
    /// Longest body in bytes; longer ones get 413.
    pub largest: Option<u64>,
    /// Who may come, by a key in a field.
    pub keys: Option<ApiKeys>,
    /// Who may come, by proving who they are.
    pub auth: Option<Auth>,
    /// How often; what is too much gets 429 (RFC 6585, 4) with Retry-After.
    pub limit: Option<RateLimit>,
}

/// An API gateway's list of consumers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ApiKeys {
    /// The field that carries the key.
    pub field: String,
    /// Keys, and whose they are.
    pub consumers: Vec<(String, String)>,
}

/// How a client proves who it is. What does not fit gets 401 with WWW-Authenticate (RFC 9110, 11).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Auth {
    /// Name and password (RFC 7617).
    Basic {
        /// Names and passwords.
        users: Vec<(String, String)>,
    },
    /// A signed token (RFC 6750, RFC 7519).
    Bearer {
        /// The keys, of which one must have signed it.
        keys: Vec<TokenKey>,
        /// `iss` must be this.
        issuer: Option<String>,
        /// `aud` must be or have this.
        audience: Option<String>,
        /// `scope` must have this word; else 403.
        scope: Option<String>,
    },
}

/// So many requests in so much time.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RateLimit {
    /// Requests that come in each `per`.
    pub requests: u32,
    /// The time.
    pub per: Nanos,
    /// How many may come at once.
    pub burst: u32,
    /// Of whom.
    pub of: LimitOf,
}

/// Whose requests are counted together.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LimitOf {
    /// All of the route.
    Everybody,
    /// Those from one address.
    Address,
    /// Those of one consumer or user; of an address when nobody is known.
    User,
    /// Those with the same value of this field; of an address when it is missing.
    Field(String),
}

/// What is changed in a request and its response.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Rewrite {
    /// Taken from the front of the path.
    pub strip: Option<String>,
    /// Put in front of the path, after that.
    pub prefix: Option<String>,
    /// The Host that the upstream sees.
    pub host: Option<String>,
    /// Fields of the request that are set.
    pub set: Vec<(String, String)>,
    /// Fields of the request that are removed.
    pub remove: Vec<String>,
    /// Fields of the response that are set.
    pub reply_set: Vec<(String, String)>,
    /// Fields of the response that are removed.
    pub reply_remove: Vec<String>,
}

/// What becomes of a request.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Then {
    /// It goes to one of these pools: positions, and shares in parts of a million.
    To(Vec<(usize, u32)>),
    /// The client is sent elsewhere. `{host}`, `{path}` and `{query}` (with its `?`) stand for the request's.
    Redirect {
        /// The Location.
        to: String,
        /// 301, 302, 303, 307 or 308.
        status: u16,
    },
    /// It is answered here.
    Answer {
        /// The status.
        status: u16,
        /// The body.
        text: String,
    },
}

/// How a client stays on its side of a route with shares. Nothing given: dice for each request.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Staying {
    /// Whose requests go the same way, by a hash; never [`LimitOf::Everybody`]. Dice when `None`.
    pub of: Option<LimitOf>,
    /// The cookie that keeps a client at its pool, whatever the hash or the dice say.
    pub cookie: Option<String>,
}

/// When and how often a request is tried again.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Retry {
    /// So often at most, beside the first try.
    pub times: u32,
    /// After what.
    pub on: Vec<RetryOn>,
    /// Retries in a hundred requests of the last 10 s at most (three are always allowed); no limit when `None`.
    pub budget: Option<u32>,
    /// The first pause lasts up to this, each further one up to twice the one before; dice say how long.
    pub backoff: Nanos,
    /// Also requests that may change something (POST, PATCH): RFC 9110, 9.2.2 forbids it unless one knows better.
    pub unsafe_methods: bool,
}

/// What a request is tried again after.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RetryOn {
    /// No connection could be made: nothing was sent.
    Connect,
    /// The connection broke before the response began.
    Reset,
    /// The response did not begin in time.
    Timeout,
    /// This status.
    Status(u16),
}

impl Default for Retry {
    /// Each upstream once, at once, while nothing was answered.
    fn default() -> Retry {
        Retry {
            times: u32::MAX,
            on: vec![RetryOn::Connect, RetryOn::Reset],
            budget: None,
            backoff: Nanos::ZERO,
            unsafe_methods: false,
        }
    }
}

/// How a proxy deals with a pool of upstream servers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PoolRules {
    /// HTTP/2: over TLS by ALPN, else by prior knowledge (RFC 9113, 3.3).
    pub http2: bool,
    /// Connections to one server at most; requests wait for one. HTTP/1.1 only: over HTTP/2 one carries all.
    pub connections: Option<u32>,
    /// Connections to each server that are opened before a request needs them.
    pub warm: u32,
    /// The cookie that keeps a client at its server.
    pub sticky: Option<String>,
    /// Requests by which it is found out who lives.
    pub health: Option<HttpHealth>,
    /// When a server is left alone because it fails.
    pub circuit: Option<CircuitRules>,
    /// How long connecting may take.
    pub connect_timeout: Nanos,
    /// How long one try may take until the response begins.
    pub timeout: Nanos,
    /// How long an idle connection is kept.
    pub idle: Nanos,
}

impl Default for PoolRules {
    /// HTTP/1.1, as many connections as there are requests, kept for 10 s; 30 s to answer.
    fn default() -> PoolRules {
        PoolRules {
            http2: false,
            connections: None,
            warm: 0,
            sticky: None,
            health: None,
            circuit: None,
            connect_timeout: Nanos::from_secs(30),
            timeout: Nanos::from_secs(30),
            idle: Nanos::from_secs(10),
        }
    }
}

/// A request to each server from time to time.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HttpHealth {
    /// What is asked for; 2xx and 3xx are good.
    pub path: String,
    /// Asked by `grpc.health.v1.Health/Check` instead, about this service; the empty name means the whole server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grpc: Option<String>,
    /// When and how often.
    pub check: HealthCheck,
}

/// How it is found out which servers live.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HealthCheck {
    /// From one check to the next.
    pub every: Nanos,
    /// A check that takes longer has failed.
    pub timeout: Nanos,
    /// Good checks in a row that bring a server back.
    pub rise: u32,
    /// Failed checks in a row that take it out.
    pub fall: u32,
}

impl Default for HealthCheck {
    /// As HAProxy has it: every 2 s, back after two good ones, out after three failed ones.
    fn default() -> HealthCheck {
        HealthCheck { every: Nanos::from_secs(2), timeout: Nanos::from_secs(1), rise: 2, fall: 3 }
    }
}

/// When a server is left alone because it fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CircuitRules {
    /// Failures in a row (no connection, no response in time, 5xx) that open it.
    pub failures: u32,
    /// How long it stays open the first time; each further time it lasts that much longer (Envoy's outlier detection).
    pub open_for: Nanos,
    /// Requests under way to one server at most: more are not sent there.
    pub requests: Option<u32>,
}

/// How a proxy tells upstreams who asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Forwarding {
    /// `X-Forwarded-For` and `X-Forwarded-Proto`, which everybody knows and no RFC has.
    #[default]
    XForwarded,
    /// `Forwarded` (RFC 7239).
    Forwarded,
    /// Both.
    Both,
    /// Not at all: the client's address is lost here.
    Nothing,
}
