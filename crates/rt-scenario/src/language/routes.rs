//! Routes and pools of an L7 proxy.

use super::balancer::HEALTH_KEYS;
use crate::shape::{Key, Shape, Ty, key, must};

const MILLISECOND: u64 = 1_000_000;
const HOUR: u64 = 3_600_000 * MILLISECOND;
const SPAN: Ty = Ty::Span(MILLISECOND, HOUR);
static TEXTS: Ty = Ty::List(&Ty::Text);
const TEXT_OR_LIST: Ty = Ty::Either(&Ty::Text, &TEXTS);

/// How a pool picks.
pub(super) const BALANCE: Key = key(
    "balance",
    Ty::OneOf(&["round-robin", "least-requests", "source-hash", "maglev", "random-of-two"]),
    "How a server is picked (round-robin by default). `source-hash` and `maglev` go by the client's address.",
);

static HTTP_HEALTH: Shape = Shape {
    name: "health checks by request",
    about: "A request to each server from time to time, over a connection of its own; 2xx and 3xx are good.",
    keys: &[
        HEALTH_KEYS,
        &[
            key("path", Ty::Text, "What is asked for (`/` by default)."),
            key(
                "grpc",
                Ty::Text,
                "Asks `grpc.health.v1.Health/Check` about this service instead (\"\" for the whole server), over h2.",
            ),
        ],
    ],
};
static HTTP_HEALTH_TY: Ty = Ty::Object(&HTTP_HEALTH);

static CIRCUIT: Shape = Shape {
    name: "a circuit breaker",
    about: "A server that fails again and again is left alone for a while; then one request tries it.",
    keys: &[&[
        key(
            "failures",
            Ty::Whole(1, 10_000),
            "Failures in a row that open it (5 by default): no connection, no answer in time, 5xx.",
        ),
        key(
            "open-for",
            SPAN,
            "How long it stays open the first time (30s by default); each further time it lasts that much longer.",
        ),
        key(
            "requests",
            Ty::Whole(1, 1_000_000),
            "Requests under way to one server at most; no limit by default.",
        ),
    ]],
};
static CIRCUIT_TY: Ty = Ty::Object(&CIRCUIT);

/// How a proxy deals with a pool of servers.
pub(super) const POOL_RULES: &[Key] = &[
    key(
        "protocol",
        Ty::OneOf(&["http/1.1", "h2"]),
        "How upstreams are spoken to: HTTP/1.1 by default; h2 by ALPN over TLS, else by prior knowledge.",
    ),
    key(
        "connections",
        Ty::Whole(1, 100_000),
        "Connections to one server at most; requests wait for one. No limit by default.",
    ),
    key(
        "warm",
        Ty::Whole(0, 1_000),
        "Connections to each server that are opened before a request needs them.",
    ),
    key("sticky", Ty::Text, "The name of a cookie that keeps a client at its server."),
    key(
        "health",
        Ty::Either(&Ty::Flag, &HTTP_HEALTH_TY),
        "Checks that take a dead server out and bring it back.",
    ),
    key("circuit", Ty::Either(&Ty::Flag, &CIRCUIT_TY), "Leaves a server alone that fails again and again."),
    key("connect-timeout", SPAN, "How long connecting may take (30s by default)."),
    key("timeout", SPAN, "How long one try may take until the response begins (30s by default)."),
    key("idle", Ty::Duration, "How long an idle connection to an upstream is kept (10s by default)."),
];

static POOL: Shape = Shape {
    name: "a pool of servers",
    about: "Servers among which requests of a route are spread.",
    keys: &[
        &[
            must("upstreams", Ty::Map("node", &Ty::Text), "The servers: names with `address:port`."),
            BALANCE,
            key("tls", Ty::Text, "Speaks TLS to them; their certificates must have this name."),
        ],
        POOL_RULES,
    ],
};

static POOL_TY: Ty = Ty::Object(&POOL);
static ROUTE_TY: Ty = Ty::Object(&ROUTE);

static KEYS: Shape = Shape {
    name: "API keys",
    about: "Who may come by a key in a field; upstreams are told in X-Consumer. No key is 401, a wrong one 403.",
    keys: &[&[
        key("field", Ty::Text, "The field (`x-api-key` by default)."),
        must("consumers", Ty::Map("key", &Ty::Text), "Keys, and whose they are."),
    ]],
};

static JWK: Shape = Shape {
    name: "a JWK",
    about: "A public key as JSON has it (RFC 7517), which YAML reads: one that verifies RS256, ES256 or EdDSA, without members that are not here.",
    keys: &[&[
        must("kty", Ty::OneOf(&["RSA", "EC", "OKP"]), "Its kind: RSA, P-256 or Ed25519."),
        key("kid", Ty::Text, "What tokens call it."),
        key(
            "alg",
            Ty::OneOf(&["RS256", "ES256", "EdDSA", "Ed25519"]),
            "Its algorithm, which its kind says as well.",
        ),
        key("use", Ty::OneOf(&["sig"]), "What it is for: signatures."),
        key("crv", Ty::OneOf(&["P-256", "Ed25519"]), "The curve."),
        key("n", Ty::Text, "RSA: the modulus, in base64url."),
        key("e", Ty::Text, "RSA: the exponent, `AQAB` as a rule."),
        key("x", Ty::Text, "A curve's point, in base64url."),
        key("y", Ty::Text, "P-256: its other coordinate."),
        key("d", Ty::Text, "Of private keys, which are refused."),
        key("key_ops", Ty::List(&Ty::Text), "Not used."),
        key("ext", Ty::Flag, "Not used."),
        key("x5c", Ty::List(&Ty::Text), "Not used."),
        key("x5t", Ty::Text, "Not used."),
        key("x5t#S256", Ty::Text, "Not used."),
    ]],
};
static JWK_TY: Ty = Ty::Object(&JWK);
static JWKS: Shape = Shape {
    name: "a JWK set",
    about: "Public keys (RFC 7517, 5).",
    keys: &[&[must("keys", Ty::List(&JWK_TY), "The keys.")]],
};

static BEARER: Shape = Shape {
    name: "a token's signature",
    about: "A JSON Web Token (RFC 7519). Each key is for one algorithm; a token's `kid` chooses among keys with ids, else all of its \
            algorithm are tried.",
    keys: &[&[
        key("secret", Ty::Text, "A shared secret: HS256."),
        key(
            "keys",
            Ty::Map("id", &Ty::Text),
            "Public keys as PEM, by id (`kid`): RSA is for RS256, P-256 for ES256, Ed25519 for EdDSA.",
        ),
        key("jwks", Ty::Object(&JWKS), "Public keys as a JWK set."),
        key("issuer", Ty::Text, "`iss` must be this."),
        key("audience", Ty::Text, "`aud` must be or have this."),
        key("scope", Ty::Text, "`scope` must have this word, else 403."),
    ]],
};
static AUTH: Shape = Shape {
    name: "authentication",
    about: "How clients prove who they are; upstreams are told in X-Authenticated-User. What does not fit gets 401.",
    keys: &[&[
        key("basic", Ty::Map("user", &Ty::Text), "Names and passwords (RFC 7617)."),
        key("bearer", Ty::Object(&BEARER), "Signed tokens (RFC 6750)."),
    ]],
};

static LIMIT: Shape = Shape {
    name: "a rate limit",
    about: "So many requests in so much time; what is too much gets 429 with Retry-After.",
    keys: &[&[
        must("requests", Ty::Whole(1, 1_000_000_000), "How many."),
        key("per", Ty::Span(MILLISECOND, 24 * HOUR), "In which time (1s by default)."),
        key(
            "burst",
            Ty::Whole(1, 1_000_000_000),
            "How many may come at once (as many as `requests` by default).",
        ),
        key(
            "of",
            Ty::Text,
            "Whose are counted together: `address` (by default), `everybody`, `user`, or `field NAME`.",
        ),
    ]],
};

static RETRY: Shape = Shape {
    name: "retries",
    about: "When and how often a request is tried again, at another server if there is one.",
    keys: &[&[
        key("times", Ty::Whole(0, 100), "So often at most (1 by default)."),
        key(
            "on",
            TEXT_OR_LIST,
            "After what: `connect`, `reset`, `timeout` or a status (connect and reset by default).",
        ),
        key(
            "budget",
            Ty::Share,
            "Retries as a share of the requests of the last 10 s; three are always allowed. No limit by default.",
        ),
        key(
            "backoff",
            Ty::Span(0, HOUR),
            "The first pause lasts up to this (25ms by default), each further one up to twice the one before.",
        ),
        key(
            "unsafe",
            Ty::Flag,
            "Also POST and PATCH, which may change something (no by default; RFC 9110, 9.2.2).",
        ),
    ]],
};
static RETRY_TY: Ty = Ty::Object(&RETRY);
static TO_SHARES: Ty = Ty::Map("pool", &Ty::Share);

pub(super) static ROUTE: Shape = Shape {
    name: "a route of requests",
    about: "Conditions on a request, what must hold, what is changed, and where it goes. The first route that fits counts.",
    keys: &[&[
        key(
            "host",
            TEXT_OR_LIST,
            "The host asked for: a name, or `*.example.com` for all that end like that.",
        ),
        key("path", Ty::Text, "This path and what lies below it."),
        key("exactly", Ty::Text, "This path only."),
        key("method", TEXT_OR_LIST, "The method."),
        key("fields", Ty::Map("field", &Ty::Text), "Fields and their values; `\"*\"` is any."),
        key("cookies", Ty::Map("cookie", &Ty::Text), "Cookies and their values; `\"*\"` is any."),
        key(
            "query",
            Ty::Map("parameter", &Ty::Text),
            "Parameters of the query and their values; `\"*\"` is any.",
        ),
        key("from", Ty::List(&Ty::Net), "Only from these networks; others get 403."),
        key("only-methods", TEXT_OR_LIST, "Only these methods; others get 405."),
        key("largest-body", Ty::Bytes(0, 1 << 30), "Longer bodies get 413 (more than 1MiB is never read)."),
        key("keys", Ty::Object(&KEYS), "Who may come, by key."),
        key("auth", Ty::Object(&AUTH), "Who may come, by proving who they are."),
        key("limit", Ty::Object(&LIMIT), "How often they may come."),
        key("strip", Ty::Text, "Taken from the front of the path."),
        key("prefix", Ty::Text, "Put in front of the path."),
        key("set-host", Ty::Text, "The Host that the upstream sees."),
        key("set", Ty::Map("field", &Ty::Text), "Fields of the request that are set."),
        key("remove", Ty::List(&Ty::Text), "Fields of the request that are removed."),
        key("reply-set", Ty::Map("field", &Ty::Text), "Fields of the response that are set."),
        key("reply-remove", Ty::List(&Ty::Text), "Fields of the response that are removed."),
        key(
            "to",
            Ty::Either(&Ty::Text, &TO_SHARES),
            "A pool, or several with their shares: `{ web: 95%, new: 5% }`. `upstreams` by default.",
        ),
        key(
            "shares-by",
            Ty::Text,
            "Whose requests go the same way among shares, by a hash: `address`, `user`, or `field NAME`. Dice for each request by default.",
        ),
        key("sticky", Ty::Text, "The name of a cookie that keeps a client at its share's pool."),
        key("redirect", Ty::Text, "Sends the client elsewhere: `https://{host}{path}{query}`."),
        key("answer", Ty::Text, "Answers with this text."),
        key(
            "status",
            Ty::Whole(200, 599),
            "The status of `redirect` (302 by default) or `answer` (200 by default).",
        ),
        key("timeout", SPAN, "How long one try may take until the response begins; else as the pool has it."),
        key("retry", Ty::Either(&Ty::Whole(0, 100), &RETRY_TY), "How often it is tried again, or how."),
    ]],
};

/// Of a plain `edge`.
pub(super) const ROUTING: &[Key] = &[
    key("pools", Ty::Map("pool", &POOL_TY), "More pools of servers, for routes to name."),
    key(
        "routes",
        Ty::List(&ROUTE_TY),
        "Where requests go: the first that fits. What none fits gets 404. None: all go to `upstreams`.",
    ),
    key(
        "forwarded",
        Ty::OneOf(&["x-forwarded", "forwarded", "both", "nothing"]),
        "How upstreams are told who asks: X-Forwarded-For (by default), Forwarded (RFC 7239), both, or not at all.",
    ),
];
