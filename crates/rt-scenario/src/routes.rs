//! Routes and pools of an L7 proxy, read from YAML.

use ipnet::IpNet;
use rt_base::Nanos;
use rt_rules::Spread;
use rt_rules::http::{
    ApiKeys, Auth, CircuitRules, Forwarding, Gate, HealthCheck, HttpHealth, HttpRoute, LimitOf, Named,
    PathMatch, PoolRules, RateLimit, RequestMatch, Retry, RetryOn, Rewrite, Staying, Then,
};

use crate::balancer::read_check;
use crate::diag::{Code, Span};
use crate::http_words::is_token;
use crate::model::ProxyPool;
use crate::shape::flag;
use crate::tree::Value;
use crate::units;
use crate::world::World;

/// The circuit breaker that `circuit: yes` stands for (Envoy's outlier detection).
pub(crate) const CIRCUIT: CircuitRules =
    CircuitRules { failures: 5, open_for: Nanos::from_secs(30), requests: None };
/// The first pause before a retry (Envoy's).
pub(crate) const BACKOFF: Nanos = Nanos::from_millis(25);
/// The name of pool 0.
pub(crate) const UPSTREAMS: &str = "upstreams";
/// What may stand in braces in a `redirect`: parts of the request.
const REQUEST_WORDS: [&str; 3] = ["host", "path", "query"];
/// The field of API keys unless it is said otherwise.
pub(crate) const KEY_FIELD: &str = "x-api-key";
/// Words of `forwarded:`.
pub(crate) const FORWARDINGS: [(&str, Forwarding); 4] = [
    ("x-forwarded", Forwarding::XForwarded),
    ("forwarded", Forwarding::Forwarded),
    ("both", Forwarding::Both),
    ("nothing", Forwarding::Nothing),
];

/// A text or a list of texts.
fn texts(value: &Value, key: &str) -> Vec<String> {
    let Some(value) = value.get(key) else { return Vec::new() };
    match value.text() {
        Some(text) => vec![text.to_owned()],
        None => value.items().iter().filter_map(|item| Some(item.text()?.to_owned())).collect(),
    }
}

/// A mapping of texts to texts.
pub(crate) fn pairs(value: &Value, key: &str) -> Vec<(String, String)> {
    let entries = value.get(key).map(Value::entries).unwrap_or_default();
    entries.iter().filter_map(|(name, value)| Some((name.text.clone(), value.text()?.to_owned()))).collect()
}

fn named(value: &Value, key: &str) -> Vec<Named> {
    let any = |value: String| (value != "*").then_some(value);
    pairs(value, key).into_iter().map(|(name, value)| Named { name, value: any(value) }).collect()
}

/// What stands in braces, braces included; a brace without its other one is one by itself.
fn braced(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        let from = &rest[at..];
        let inner = from[1..].find(['{', '}']).map(|end| end + 1);
        let length = match inner {
            Some(end) if from.starts_with('{') && from[end..].starts_with('}') => end + 1,
            _ => 1,
        };
        found.push(&from[..length]);
        rest = &from[length..];
    }
    found
}

fn whole(value: &Value, key: &str) -> Option<u32> {
    u32::try_from(value.whole_at(key)?).ok()
}

/// Connections, checks, time-outs; what is not written is as usual.
fn read_pool_rules(value: &Value) -> PoolRules {
    let usual = &PoolRules::default();
    let health = |health: &Value| match health.text() {
        Some(text) => flag(text)?.then(|| HttpHealth {
            path: "/".to_owned(),
            grpc: None,
            check: HealthCheck::default(),
        }),
        None => Some(HttpHealth {
            path: health.str_at("path").unwrap_or("/").to_owned(),
            grpc: health.str_at("grpc").map(str::to_owned),
            check: read_check(health),
        }),
    };
    let circuit = |circuit: &Value| match circuit.text() {
        Some(text) => flag(text)?.then_some(CIRCUIT),
        None => Some(CircuitRules {
            failures: whole(circuit, "failures").unwrap_or(CIRCUIT.failures),
            open_for: circuit.duration_at("open-for").unwrap_or(CIRCUIT.open_for),
            requests: whole(circuit, "requests"),
        }),
    };
    PoolRules {
        http2: value.str_at("protocol").map_or(usual.http2, |word| word == "h2"),
        connections: whole(value, "connections").or(usual.connections),
        warm: whole(value, "warm").unwrap_or(usual.warm),
        sticky: value.str_at("sticky").map(str::to_owned).or_else(|| usual.sticky.clone()),
        health: value.get("health").and_then(health),
        circuit: value.get("circuit").and_then(circuit),
        connect_timeout: value.duration_at("connect-timeout").unwrap_or(usual.connect_timeout),
        timeout: value.duration_at("timeout").unwrap_or(usual.timeout),
        idle: value.duration_at("idle").unwrap_or(usual.idle),
    }
}

/// How upstreams are told who asks.
pub(crate) fn read_forwarding(value: &Value) -> Forwarding {
    let word = value.str_at("forwarded").unwrap_or_default();
    FORWARDINGS.iter().find(|(known, _)| *known == word).map(|(_, how)| *how).unwrap_or_default()
}

/// How a proxy picks: `round-robin` unless written.
pub(crate) fn read_balance(value: &Value) -> Spread {
    value.str_at("balance").and_then(Spread::of_word).unwrap_or_default()
}

impl World<'_, '_> {
    pub(crate) fn read_pools(&mut self, value: &Value) -> Vec<ProxyPool> {
        let mut pools = Vec::new();
        for (name, pool) in value.get("pools").map(Value::entries).unwrap_or_default() {
            if name.text == UPSTREAMS {
                let message = "`upstreams` is the name of the proxy's own servers";
                self.problems
                    .add(Code::DuplicateKey, name.span, message, "taken")
                    .help("give this pool another name");
            }
            self.check_pool(pool, "tls");
            pools.push(ProxyPool {
                name: name.text.clone(),
                upstreams: self.read_upstreams(pool),
                balance: read_balance(pool),
                tls: pool.str_at("tls").map(str::to_owned),
                rules: self.read_pool_rules(pool),
            });
        }
        pools
    }

    /// Connections, checks, time-outs of a proxy's own servers or of one of its pools.
    pub(crate) fn read_pool_rules(&mut self, value: &Value) -> PoolRules {
        let rules = read_pool_rules(value);
        let asks_grpc = rules.health.as_ref().is_some_and(|health| health.grpc.is_some());
        if let (true, Some(path)) = (asks_grpc, value.get("health").and_then(|health| health.get("path"))) {
            self.problems
                .add(Code::NoEffect, path.span, "`path` is not asked for where gRPC is asked", "ignored")
                .help("leave one of `path` and `grpc` out");
        }
        if let (true, false, Some(health)) = (asks_grpc, rules.http2, value.get("health")) {
            let message = "gRPC goes over HTTP/2, and these servers are spoken to with HTTP/1.1";
            self.problems
                .add(Code::WrongShape, health.span, message, "every check would fail")
                .help("write `protocol: h2` beside it");
        }
        rules
    }

    /// `routes:`; `pools` are the names that they may use, in the order of their numbers.
    pub(crate) fn read_routes(&mut self, value: &Value, pools: &[String]) -> Vec<HttpRoute> {
        let items = value.get("routes").map(Value::items).unwrap_or_default();
        let routes: Vec<HttpRoute> = items.iter().map(|item| self.read_route(item, pools)).collect();
        let all = |route: &HttpRoute| route.when == RequestMatch::default();
        if let Some(first) = routes.iter().position(all)
            && let Some(next) = items.get(first + 1)
        {
            let message = "no request comes to this route: the one before takes all";
            self.problems
                .add(Code::NoEffect, next.span, message, "never used")
                .help("put the route that has no conditions last");
        }
        routes
    }

    fn read_route(&mut self, item: &Value, pools: &[String]) -> HttpRoute {
        let path = |key: &str| item.str_at(key).map(str::to_owned);
        let when = RequestMatch {
            hosts: texts(item, "host").iter().map(|host| host.to_lowercase()).collect(),
            path: match (path("exactly"), path("path")) {
                (Some(exactly), _) => PathMatch::Exactly(exactly),
                (None, Some(below)) if below != "/" => PathMatch::Below(below),
                _ => PathMatch::Any,
            },
            methods: texts(item, "method"),
            fields: named(item, "fields"),
            cookies: named(item, "cookies"),
            query: named(item, "query"),
        };
        let rewrite = Rewrite {
            strip: path("strip"),
            prefix: path("prefix"),
            host: path("set-host"),
            set: pairs(item, "set"),
            remove: texts(item, "remove"),
            reply_set: pairs(item, "reply-set"),
            reply_remove: texts(item, "reply-remove"),
        };
        for key in ["path", "exactly", "strip", "prefix"] {
            self.is_path(item, key);
        }
        self.check_braces(item);
        self.are_fields(item, "set");
        self.are_fields(item, "reply-set");
        self.check_route(item);
        HttpRoute {
            origin: self.line(item.span),
            when,
            gate: self.read_gate(item),
            rewrite,
            then: self.read_then(item, pools),
            staying: self.read_staying(item),
            timeout: item.duration_at("timeout"),
            retry: self.read_retry(item),
        }
    }

    /// Checks HTTP fields: names are tokens (RFC 9110, 5.1), values one line of text (5.5), and none is what the connection
    /// itself needs.
    pub(crate) fn are_fields(&mut self, item: &Value, key: &str) {
        const FRAMING: [&str; 4] = ["content-length", "transfer-encoding", "connection", "upgrade"];
        for (name, value) in item.get(key).map(Value::entries).unwrap_or_default() {
            if !is_token(&name.text) {
                let message =
                    format!("`{}` is no name of an HTTP field", rt_base::text::excerpt(&name.text, 80));
                self.problems
                    .add(Code::WrongShape, name.span, message, "not a name")
                    .help("names have letters, digits and `-`, as `X-Shop`");
            } else if FRAMING.iter().any(|framing| name.text.eq_ignore_ascii_case(framing)) {
                let message = format!("`{}` says where a message ends, which is not yours to say", name.text);
                self.problems
                    .add(Code::WrongShape, name.span, message, "the connection's own")
                    .help("leave it out");
            } else if value.text().is_some_and(|text| text.chars().any(|c| c.is_control() && c != '\t')) {
                let message = format!("the value of `{}` is more than one line of text", name.text);
                self.problems
                    .add(Code::WrongShape, value.span, message, "not one line")
                    .help("leave line ends out");
            } else if value.text().is_some_and(|text| !text.is_ascii()) {
                let message = format!("the value of `{}` has letters that no field carries", name.text);
                self.problems
                    .add(Code::WrongShape, value.span, message, "not ASCII")
                    .help("fields carry ASCII (RFC 9110, 5.5): write other letters as `%C3%A4`");
            }
        }
    }

    /// Words in braces: `redirect` knows some, elsewhere nothing is filled in.
    fn check_braces(&mut self, item: &Value) {
        if let Some(value) = item.get("redirect") {
            for braced in value.text().map(braced).unwrap_or_default() {
                let word = braced.trim_matches(['{', '}']);
                if REQUEST_WORDS.contains(&word) && braced.len() == word.len() + 2 {
                    continue;
                }
                let message = format!("`{}` is no part of a request", rt_base::text::excerpt(braced, 80));
                let span = self.part(value, braced);
                self.problems
                    .add(Code::UnknownChoice, span, message, "not filled in")
                    .help(
                        "words in braces stand for parts of the request, as in `https://{host}{path}{query}`",
                    )
                    .known(word, REQUEST_WORDS);
            }
        }
        for key in ["strip", "prefix", "set-host"] {
            let Some(value) = item.get(key) else { continue };
            if let Some(&braced) = value.text().map(braced).unwrap_or_default().first() {
                let message = format!("`{}` is not filled in here", rt_base::text::excerpt(braced, 80));
                let span = self.part(value, braced);
                self.problems
                    .add(Code::WrongShape, span, message, "taken as it stands")
                    .help("only `redirect` knows `{host}`, `{path}` and `{query}`: write the text itself");
            }
        }
        let fields = ["set", "reply-set"].into_iter().filter_map(|key| item.get(key));
        let values = fields.flat_map(Value::entries).map(|(_, value)| value).chain(item.get("answer"));
        for value in values {
            let Some(text) = value.text() else { continue };
            let known =
                braced(text).into_iter().find(|b| REQUEST_WORDS.contains(&b.trim_matches(['{', '}'])));
            if let Some(braced) = known {
                let span = self.part(value, braced);
                let message = format!("`{braced}` is not filled in here");
                self.problems
                    .add(Code::NoEffect, span, message, "sent as it stands")
                    .help("only `redirect` knows the parts of a request");
            }
        }
    }

    fn is_path(&mut self, item: &Value, key: &str) {
        let Some(value) = item.get(key) else { return };
        if value.text().is_some_and(|text| !text.starts_with('/')) {
            let message = format!("`{key}` is a path, which begins with `/`");
            self.problems
                .add(Code::WrongShape, value.span, message, "not a path")
                .help(format!("write `/{}`", value.text().unwrap_or_default()));
        }
    }

    fn read_gate(&mut self, item: &Value) -> Gate {
        let nets = item.get("from").map(Value::items).unwrap_or_default();
        let keys = item.get("keys").map(|keys| ApiKeys {
            field: keys.str_at("field").unwrap_or(KEY_FIELD).to_lowercase(),
            consumers: pairs(keys, "consumers"),
        });
        let auth = item.get("auth").and_then(|auth| match (auth.get("basic"), auth.get("bearer")) {
            (Some(_), None) => Some(Auth::Basic { users: pairs(auth, "basic") }),
            (None, Some(bearer)) => {
                let text = |key: &str| bearer.str_at(key).map(str::to_owned);
                Some(Auth::Bearer {
                    keys: self.read_token_keys(bearer),
                    issuer: text("issuer"),
                    audience: text("audience"),
                    scope: text("scope"),
                })
            }
            _ => {
                self.problems
                    .add(
                        Code::MissingKey,
                        auth.span,
                        "one way to prove who one is",
                        "one of `basic` and `bearer`",
                    )
                    .help("write `auth: { basic: { ann: secret } }`");
                None
            }
        });
        Gate {
            from: nets.iter().filter_map(|net| Some(net.text()?.parse::<IpNet>().ok()?.trunc())).collect(),
            methods: texts(item, "only-methods"),
            largest: item.str_at("largest-body").and_then(|text| units::size(text).ok()),
            keys,
            auth,
            limit: self.read_limit(item),
        }
    }

    fn read_limit(&mut self, item: &Value) -> Option<RateLimit> {
        let limit = item.get("limit")?;
        let requests = whole(limit, "requests")?;
        let of = limit.get("of").and_then(|of| self.read_whose(of, true)).unwrap_or(LimitOf::Address);
        Some(RateLimit {
            requests,
            per: limit.duration_at("per").unwrap_or(Nanos::from_secs(1)),
            burst: whole(limit, "burst").unwrap_or(requests),
            of,
        })
    }

    /// Whose requests belong together.
    fn read_whose(&mut self, value: &Value, everybody: bool) -> Option<LimitOf> {
        let text = value.text()?;
        match (text, text.strip_prefix("field ").map(str::trim)) {
            ("address", _) => return Some(LimitOf::Address),
            ("everybody", _) if everybody => return Some(LimitOf::Everybody),
            ("user", _) => return Some(LimitOf::User),
            (_, Some(name)) if !name.is_empty() => return Some(LimitOf::Field(name.to_lowercase())),
            _ => {}
        }
        let message =
            format!("`{}` does not say whose requests belong together", rt_base::text::excerpt(text, 80));
        let help = if everybody {
            "write `address`, `everybody`, `user` or `field x-api-key`"
        } else {
            "write `address`, `user` or `field x-api-key`"
        };
        self.problems.add(Code::WrongShape, value.span, message, "whose?").help(help);
        None
    }

    /// How clients stay on their side; only shares have sides.
    fn read_staying(&mut self, item: &Value) -> Staying {
        let shares = item.get("to").is_some_and(|to| to.entries().len() > 1);
        for key in ["sticky", "shares-by"] {
            let Some(at) = item.get(key).filter(|_| !shares) else { continue };
            let message = format!("`{key}` changes nothing: all of this route goes one way");
            self.problems
                .add(Code::NoEffect, at.span, message, "without shares")
                .help("write shares, as in `to: { web: 95%, new: 5% }`, or leave it out");
        }
        let cookie = item.get("sticky").and_then(|at| Some((at.span, at.text()?.to_owned())));
        if let Some((span, name)) = &cookie
            && !is_token(name)
        {
            let message = format!("`{}` is no name of a cookie", rt_base::text::excerpt(name, 80));
            self.problems
                .add(Code::WrongShape, *span, message, "not a name")
                .help("names have letters, digits and `-`");
        }
        let pools = item.get("to").map(Value::entries).unwrap_or_default();
        for (pool, _) in pools.iter().filter(|(pool, _)| cookie.is_some() && !is_token(&pool.text)) {
            let message =
                format!("`{}` cannot be the value of a cookie", rt_base::text::excerpt(&pool.text, 80));
            self.problems
                .add(Code::WrongShape, pool.span, message, "the cookie names the pool")
                .help("give the pool a name of letters, digits and `-`, or leave `sticky` out");
        }
        Staying {
            of: item.get("shares-by").and_then(|value| self.read_whose(value, false)),
            cookie: cookie.map(|(_, name)| name),
        }
    }

    fn read_then(&mut self, item: &Value, pools: &[String]) -> Then {
        let ends: Vec<Span> =
            ["to", "redirect", "answer"].iter().filter_map(|key| Some(item.get(key)?.span)).collect();
        if let [_, second, ..] = ends[..] {
            let message = "a request is passed on, redirected or answered: one of them";
            self.problems.add(Code::WrongShape, second, message, "a second end of this route");
        }
        let status = whole(item, "status").and_then(|status| u16::try_from(status).ok());
        if let Some(to) = item.str_at("redirect") {
            let status = status.unwrap_or(302);
            if ![301, 302, 303, 307, 308].contains(&status) {
                let span = item.get("status").map_or(item.span, |status| status.span);
                let message = format!("{status} sends nobody elsewhere");
                self.problems
                    .add(Code::BadNumber, span, message, "not a redirection")
                    .help("use 301, 302, 303, 307 or 308");
            }
            return Then::Redirect { to: to.to_owned(), status };
        }
        if let Some(text) = item.str_at("answer") {
            return Then::Answer { status: status.unwrap_or(200), text: text.to_owned() };
        }
        let Some(to) = item.get("to") else { return Then::To(vec![(0, 1_000_000)]) };
        if let Some(name) = to.text() {
            return Then::To(
                self.pool_named(name, to.span, pools).map(|pool| (pool, 1_000_000)).into_iter().collect(),
            );
        }
        let mut shares = Vec::new();
        for (name, share) in to.entries() {
            let share = share.text().and_then(|text| units::share(text).ok()).unwrap_or(0);
            shares.extend(self.pool_named(&name.text, name.span, pools).map(|pool| (pool, share)));
        }
        let sum: u32 = shares.iter().map(|(_, share)| *share).sum();
        if sum != 1_000_000 && shares.len() == to.entries().len() {
            let message = format!("the shares are {} together, not 100%", units::show_share(sum));
            self.problems
                .add(Code::BadPercent, to.span, message, "not the whole")
                .help("write `{ web: 95%, new: 5% }`");
        }
        Then::To(shares)
    }

    fn pool_named(&mut self, name: &str, span: Span, pools: &[String]) -> Option<usize> {
        let found = pools.iter().position(|known| known == name);
        if found.is_none() {
            self.problems
                .add(Code::UnknownReference, span, format!("there is no pool `{name}`"), "no such pool")
                .help("describe it under `pools:`; `upstreams` are the proxy's own servers")
                .known(name, pools.to_vec());
        }
        found
    }

    fn read_retry(&mut self, item: &Value) -> Option<Retry> {
        let retry = item.get("retry")?;
        let usual = Retry { times: 1, backoff: BACKOFF, ..Retry::default() };
        if let Some(text) = retry.text() {
            return Some(Retry { times: text.parse().ok()?, ..usual });
        }
        let mut on = Vec::new();
        for word in texts(retry, "on") {
            match (word.as_str(), word.parse::<u16>()) {
                ("connect", _) => on.push(RetryOn::Connect),
                ("reset", _) => on.push(RetryOn::Reset),
                ("timeout", _) => on.push(RetryOn::Timeout),
                (_, Ok(status)) if (400..600).contains(&status) => on.push(RetryOn::Status(status)),
                _ => {
                    let span = retry.get("on").map_or(retry.span, |on| on.span);
                    let message = format!("`{word}` is nothing to try again after");
                    self.problems
                        .add(Code::WrongShape, span, message, "not a reason")
                        .help("write `connect`, `reset`, `timeout` or a status such as `503`");
                }
            }
        }
        let budget = retry.str_at("budget").and_then(|text| units::share(text).ok());
        Some(Retry {
            times: whole(retry, "times").unwrap_or(usual.times),
            on: if on.is_empty() { usual.on } else { on },
            budget: budget.map(|ppm| ppm / 10_000),
            backoff: retry.duration_at("backoff").unwrap_or(usual.backoff),
            unsafe_methods: retry.flag_at("unsafe").unwrap_or(false),
        })
    }
}
