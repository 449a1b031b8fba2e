//! Routes and pools of an L7 proxy back to YAML.

use rt_rules::http::{
    Auth, Forwarding, Gate, HttpRoute, KeyMaterial, LimitOf, Named, PathMatch, PoolRules, Retry, RetryOn,
    Rewrite, Then, TokenKey,
};

use super::balancer_yaml::show_check;
use super::plain_yaml::{Entries, list, map, q, yes_no};
use crate::model::{ProxyOptions, ProxyPool};
use crate::routes;
use crate::units::{show_duration, show_share, show_size};

/// Pools, routes and what upstreams are told.
pub(super) fn write(entries: &mut Entries, options: &ProxyOptions) {
    let ProxyOptions { rules, pools, routes, forwarding, .. } = options;
    rules_of(entries, rules);
    entries.put_if(!pools.is_empty(), "pools", || {
        map(&pools.iter().map(|pool| (q(&pool.name), show_pool(pool))).collect::<Vec<_>>())
    });
    let names: Vec<&str> =
        std::iter::once(routes::UPSTREAMS).chain(pools.iter().map(|pool| &*pool.name)).collect();
    entries
        .put_if(!routes.is_empty(), "routes", || list(routes.iter().map(|route| show_route(route, &names))));
    let word = routes::FORWARDINGS.iter().find(|(_, how)| how == forwarding).map_or("", |(word, _)| word);
    entries.put_if(*forwarding != Forwarding::default(), "forwarded", || word.to_owned());
}

fn rules_of(entries: &mut Entries, rules: &PoolRules) {
    let usual = PoolRules::default();
    let PoolRules { http2, connections, warm, sticky, health, circuit, connect_timeout, timeout, idle } =
        rules;
    entries.put_if(*http2, "protocol", || "h2".to_owned());
    entries.0.extend(connections.map(|most| ("connections".to_owned(), most.to_string())));
    entries.put_if(*warm > 0, "warm", || warm.to_string());
    entries.0.extend(sticky.as_ref().map(|cookie| ("sticky".to_owned(), q(cookie))));
    entries.0.extend(health.as_ref().map(|health| {
        let mut keys = show_check(&health.check);
        match &health.grpc {
            Some(service) => keys.put("grpc", q(service)),
            None => keys.put("path", q(&health.path)),
        }
        ("health".to_owned(), map(&keys.0))
    }));
    entries.0.extend(circuit.as_ref().map(|circuit| {
        let mut keys = Entries::default();
        keys.put("failures", circuit.failures.to_string());
        keys.put("open-for", show_duration(circuit.open_for));
        keys.0.extend(circuit.requests.map(|most| ("requests".to_owned(), most.to_string())));
        ("circuit".to_owned(), map(&keys.0))
    }));
    entries.put_if(*connect_timeout != usual.connect_timeout, "connect-timeout", || {
        show_duration(*connect_timeout)
    });
    entries.put_if(*timeout != usual.timeout, "timeout", || show_duration(*timeout));
    entries.put_if(*idle != usual.idle, "idle", || show_duration(*idle));
}

fn show_pool(pool: &ProxyPool) -> String {
    let ProxyPool { upstreams, balance, tls, rules, .. } = pool;
    let mut entries = Entries::default();
    entries
        .put("upstreams", map(&upstreams.iter().map(|(n, a)| (q(n), q(&a.to_string()))).collect::<Vec<_>>()));
    entries.put("balance", balance.word());
    entries.0.extend(tls.as_ref().map(|name| ("tls".to_owned(), q(name))));
    rules_of(&mut entries, rules);
    map(&entries.0)
}

fn texts(all: &[String]) -> String {
    list(all.iter().map(|text| q(text)))
}

fn pairs(all: &[(String, String)]) -> String {
    map(&all.iter().map(|(name, value)| (q(name), q(value))).collect::<Vec<_>>())
}

fn named(all: &[Named]) -> String {
    let value = |named: &Named| q(named.value.as_deref().unwrap_or("*"));
    map(&all.iter().map(|named| (q(&named.name), value(named))).collect::<Vec<_>>())
}

fn show_route(route: &HttpRoute, pools: &[&str]) -> String {
    let HttpRoute { origin: _, when, gate, rewrite, then, staying, timeout, retry } = route;
    let mut entries = Entries::default();
    entries.put_if(!when.hosts.is_empty(), "host", || texts(&when.hosts));
    match &when.path {
        PathMatch::Any => {}
        PathMatch::Below(path) => entries.put("path", q(path)),
        PathMatch::Exactly(path) => entries.put("exactly", q(path)),
    }
    entries.put_if(!when.methods.is_empty(), "method", || texts(&when.methods));
    entries.put_if(!when.fields.is_empty(), "fields", || named(&when.fields));
    entries.put_if(!when.cookies.is_empty(), "cookies", || named(&when.cookies));
    entries.put_if(!when.query.is_empty(), "query", || named(&when.query));
    gate_of(&mut entries, gate);
    let Rewrite { strip, prefix, host, set, remove, reply_set, reply_remove } = rewrite;
    for (key, value) in [("strip", strip), ("prefix", prefix), ("set-host", host)] {
        entries.0.extend(value.as_ref().map(|value| (key.to_owned(), q(value))));
    }
    entries.put_if(!set.is_empty(), "set", || pairs(set));
    entries.put_if(!remove.is_empty(), "remove", || texts(remove));
    entries.put_if(!reply_set.is_empty(), "reply-set", || pairs(reply_set));
    entries.put_if(!reply_remove.is_empty(), "reply-remove", || texts(reply_remove));
    match then {
        Then::To(shares) => entries.put("to", show_shares(shares, pools)),
        Then::Redirect { to, status } => {
            entries.put("redirect", q(to));
            entries.put("status", status.to_string());
        }
        Then::Answer { status, text } => {
            entries.put("answer", q(text));
            entries.put("status", status.to_string());
        }
    }
    entries.0.extend(staying.of.as_ref().map(|of| ("shares-by".to_owned(), show_whose(of))));
    entries.0.extend(staying.cookie.as_ref().map(|cookie| ("sticky".to_owned(), q(cookie))));
    entries.0.extend(timeout.map(|span| ("timeout".to_owned(), show_duration(span))));
    entries.0.extend(retry.as_ref().map(|retry| ("retry".to_owned(), show_retry(retry))));
    map(&entries.0)
}

fn show_shares(shares: &[(usize, u32)], pools: &[&str]) -> String {
    let name = |pool: usize| q(pools.get(pool).copied().unwrap_or_default());
    match shares {
        [(pool, 1_000_000)] => name(*pool),
        _ => map(&shares.iter().map(|(pool, share)| (name(*pool), show_share(*share))).collect::<Vec<_>>()),
    }
}

fn gate_of(entries: &mut Entries, gate: &Gate) {
    let Gate { from, methods, largest, keys, auth, limit } = gate;
    entries.put_if(!from.is_empty(), "from", || list(from.iter().map(|net| q(&net.to_string()))));
    entries.put_if(!methods.is_empty(), "only-methods", || texts(methods));
    entries.0.extend(largest.map(|bytes| ("largest-body".to_owned(), show_size(bytes))));
    entries.0.extend(keys.as_ref().map(|keys| {
        let own = [("field".to_owned(), q(&keys.field)), ("consumers".to_owned(), pairs(&keys.consumers))];
        ("keys".to_owned(), map(&own))
    }));
    entries.0.extend(auth.as_ref().map(|auth| {
        let how = match auth {
            Auth::Basic { users } => ("basic".to_owned(), pairs(users)),
            Auth::Bearer { keys, issuer, audience, scope } => {
                let mut keys = show_keys(keys);
                for (key, value) in [("issuer", issuer), ("audience", audience), ("scope", scope)] {
                    keys.extend(value.as_ref().map(|value| (key.to_owned(), q(value))));
                }
                ("bearer".to_owned(), map(&keys))
            }
        };
        ("auth".to_owned(), map(&[how]))
    }));
    entries.0.extend(limit.as_ref().map(|limit| {
        let keys = [
            ("requests", limit.requests.to_string()),
            ("per", show_duration(limit.per)),
            ("burst", limit.burst.to_string()),
            ("of", show_whose(&limit.of)),
        ];
        ("limit".to_owned(), map(&keys.map(|(key, value)| (key.to_owned(), value))))
    }));
}

fn show_whose(of: &LimitOf) -> String {
    match of {
        LimitOf::Address => "address".to_owned(),
        LimitOf::Everybody => "everybody".to_owned(),
        LimitOf::User => "user".to_owned(),
        LimitOf::Field(name) => q(&format!("field {name}")),
    }
}

/// Keys of tokens: the secret, and the others as a JWK set.
fn show_keys(keys: &[TokenKey]) -> Vec<(String, String)> {
    let mut entries = Vec::new();
    let mut set = Vec::new();
    for TokenKey { id, material } in keys {
        let (kty, crv, parts): (_, Option<&str>, &[(&str, &String)]) = match material {
            KeyMaterial::Secret(secret) => {
                entries.push(("secret".to_owned(), q(secret)));
                continue;
            }
            KeyMaterial::Rsa { n, e } => ("RSA", None, &[("n", n), ("e", e)]),
            KeyMaterial::P256 { x, y } => ("EC", Some("P-256"), &[("x", x), ("y", y)]),
            KeyMaterial::Ed25519 { x } => ("OKP", Some("Ed25519"), &[("x", x)]),
        };
        let mut jwk = vec![("kty".to_owned(), kty.to_owned())];
        jwk.extend(id.as_ref().map(|id| ("kid".to_owned(), q(id))));
        jwk.extend(crv.map(|crv| ("crv".to_owned(), crv.to_owned())));
        jwk.extend(parts.iter().map(|(key, value)| ((*key).to_owned(), q(value))));
        set.push(map(&jwk));
    }
    if !set.is_empty() {
        entries.push(("jwks".to_owned(), map(&[("keys".to_owned(), list(set))])));
    }
    entries
}

fn show_retry(retry: &Retry) -> String {
    let Retry { times, on, budget, backoff, unsafe_methods } = retry;
    let word = |on: &RetryOn| match on {
        RetryOn::Connect => "connect".to_owned(),
        RetryOn::Reset => "reset".to_owned(),
        RetryOn::Timeout => "timeout".to_owned(),
        RetryOn::Status(status) => status.to_string(),
    };
    let mut entries = Entries::default();
    entries.put("times", times.to_string());
    entries.put("on", list(on.iter().map(word)));
    entries.0.extend(budget.map(|percent| ("budget".to_owned(), format!("{percent}%"))));
    entries.put("backoff", show_duration(*backoff));
    entries.put_if(*unsafe_methods, "unsafe", || yes_no(true));
    map(&entries.0)
}
