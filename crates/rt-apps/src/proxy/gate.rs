//! What must hold before a request goes on: where it comes from, its method, whose it is, how often.

use std::sync::PoisonError;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{ALLOW, AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{Response, StatusCode};
use rt_rules::hash_text;
use rt_rules::http::{ApiKeys, Asked, Auth, HttpRoute, LimitOf};

use super::edge::{Caller, Proxy};
use super::token;
use crate::http::Body;
use crate::server::{escape, page, put};

/// Tells upstreams whom the proxy found out; what a client sends under these names is removed.
const USER: HeaderName = HeaderName::from_static("x-authenticated-user");
const CONSUMER: HeaderName = HeaderName::from_static("x-consumer");

/// What a client says of itself under the names that are the proxy's.
pub(super) fn forget(headers: &mut HeaderMap) {
    headers.remove(USER);
    headers.remove(CONSUMER);
}

/// A request that goes no further.
pub(super) struct Denied {
    status: StatusCode,
    why: String,
    fields: Vec<(HeaderName, String)>,
}

impl Denied {
    pub(super) fn new(status: StatusCode, why: String) -> Denied {
        Denied { status, why, fields: Vec::new() }
    }

    fn with(mut self, name: HeaderName, value: String) -> Denied {
        self.fields.push((name, value));
        self
    }

    /// What the client gets.
    pub(super) fn response(&self) -> Response<Body> {
        let mut response = page(self.status, &escape(&self.why));
        for (name, value) in &self.fields {
            put(response.headers_mut(), name.clone(), value);
        }
        response
    }
}

impl Proxy {
    /// Whether a request may go on, and whose it is if that was asked for; it is put into the request as well.
    pub(super) fn check(
        &self,
        caller: Caller,
        (index, route): (usize, &HttpRoute),
        asked: &Asked,
        parts: &mut Parts,
    ) -> Result<Option<String>, Denied> {
        let gate = &route.gate;
        let peer = caller.client.peer.ip();
        if !gate.from.is_empty() && !gate.from.iter().any(|net| net.contains(&peer)) {
            let why = format!("{peer} is in none of the networks that may come");
            return Err(self.deny(caller, "from", Denied::new(StatusCode::FORBIDDEN, why)));
        }
        if !gate.methods.is_empty() && !gate.methods.contains(&asked.method) {
            let why = format!("{} is not let in, only {}", asked.method, gate.methods.join(", "));
            let denied = Denied::new(StatusCode::METHOD_NOT_ALLOWED, why);
            return Err(self.deny(caller, "method", denied.with(ALLOW, gate.methods.join(", "))));
        }
        let mut user = None;
        if let Some(keys) = &gate.keys {
            let consumer = consumer(keys, asked).map_err(|denied| self.deny(caller, "key", denied))?;
            self.step(caller, "knows", format!("knows the key: {consumer}"), Vec::new());
            put(&mut parts.headers, CONSUMER, &consumer);
            user = Some(consumer);
        }
        if let Some(auth) = &gate.auth {
            let given = parts.headers.get(AUTHORIZATION);
            let found = authenticate(auth, given, self.net.unix_time());
            let (name, how) = found.map_err(|denied| self.deny(caller, "auth", denied))?;
            self.step(caller, "believes", format!("believes {how}"), Vec::new());
            put(&mut parts.headers, USER, &name);
            user = Some(name);
        }
        self.limit(caller, (index, route), asked, user.as_deref())?;
        Ok(user)
    }

    fn limit(
        &self,
        caller: Caller,
        (index, route): (usize, &HttpRoute),
        asked: &Asked,
        user: Option<&str>,
    ) -> Result<(), Denied> {
        let Some(limit) = &route.gate.limit else { return Ok(()) };
        let who = whose(&limit.of, caller, asked, user);
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let verdict = tokens[index].take(limit, &who, self.net.now());
        drop(tokens);
        let rate = format!("{} per {}, {} at once", limit.requests, limit.per, limit.burst);
        if verdict.allowed {
            let text = format!("counts {who}: {} of {rate} left", verdict.left);
            self.step(caller, "counts", text, Vec::new());
            return Ok(());
        }
        let why = format!("{who} may come {rate}; the next one in {}", verdict.wait);
        //= rfc6585#section-4 429 with Retry-After, in whole seconds
        let seconds = verdict.wait.0.div_ceil(1_000_000_000);
        let denied = Denied::new(StatusCode::TOO_MANY_REQUESTS, why).with(RETRY_AFTER, seconds.to_string());
        Err(self.deny(caller, "limit", denied))
    }

    /// Says that a request goes no further.
    pub(super) fn deny(&self, caller: Caller, code: &str, denied: Denied) -> Denied {
        let text = format!("refuses with {}: {}", denied.status.as_u16(), denied.why);
        self.step(caller, code, text, Vec::new());
        denied
    }
}

/// Who is meant by `of`. Of a long value its beginning stands there, and a hash of all of it: tokens begin alike.
pub(super) fn whose(of: &LimitOf, caller: Caller, asked: &Asked, user: Option<&str>) -> String {
    let address = || format!("address {}", caller.client.peer.ip());
    match of {
        LimitOf::Everybody => "everybody".to_owned(),
        LimitOf::Address => address(),
        LimitOf::User => user.map_or_else(address, |user| format!("user {user}")),
        LimitOf::Field(name) => {
            let value = asked.fields.iter().find(|(field, _)| field.eq_ignore_ascii_case(name));
            value.map_or_else(address, |(_, value)| {
                let short = rt_base::text::excerpt(value, 80);
                let rest =
                    if short == *value { String::new() } else { format!(" #{:016x}", hash_text(value)) };
                format!("{name} {short}{rest}")
            })
        }
    }
}

fn consumer(keys: &ApiKeys, asked: &Asked) -> Result<String, Denied> {
    let given = asked.fields.iter().find(|(name, _)| name.eq_ignore_ascii_case(&keys.field));
    let Some((_, given)) = given else {
        let why = format!("no key in the field {}", keys.field);
        return Err(Denied::new(StatusCode::UNAUTHORIZED, why)
            .with(WWW_AUTHENTICATE, format!("ApiKey header=\"{}\"", keys.field)));
    };
    let known = keys.consumers.iter().find(|(key, _)| token::same(key.as_bytes(), given.as_bytes()));
    match known {
        Some((_, consumer)) => Ok(consumer.clone()),
        None => Err(Denied::new(StatusCode::FORBIDDEN, "nobody has this key".to_owned())),
    }
}

/// Who it is, and how that is told; else what the client is told.
fn authenticate(auth: &Auth, given: Option<&HeaderValue>, now: u64) -> Result<(String, String), Denied> {
    let ask = |why: String, challenge: &str| {
        Denied::new(StatusCode::UNAUTHORIZED, why).with(WWW_AUTHENTICATE, challenge.to_owned())
    };
    let given = given.and_then(|value| value.to_str().ok());
    let (scheme, rest) = given.and_then(|value| value.split_once(' ')).unwrap_or_default();
    match auth {
        Auth::Basic { users } => {
            const CHALLENGE: &str = "Basic realm=\"proxy\", charset=\"UTF-8\"";
            if !scheme.eq_ignore_ascii_case("basic") {
                return Err(ask("no name and password".to_owned(), CHALLENGE));
            }
            let text = STANDARD.decode(rest.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            let pair = text.as_deref().and_then(|text| text.split_once(':'));
            let Some((name, password)) = pair else {
                return Err(ask("credentials that cannot be read".to_owned(), CHALLENGE));
            };
            let known = users.iter().find(|(user, _)| user == name);
            match known {
                Some((user, expected)) if token::same(expected.as_bytes(), password.as_bytes()) => {
                    Ok((user.clone(), format!("name and password: {user}")))
                }
                // Neither the client nor the record learns which of the two was wrong.
                _ => Err(ask("wrong name or password".to_owned(), CHALLENGE)),
            }
        }
        Auth::Bearer { keys, issuer, audience, scope } => {
            if !scheme.eq_ignore_ascii_case("bearer") {
                return Err(ask("no token".to_owned(), "Bearer realm=\"proxy\""));
            }
            let expected = token::Expected { issuer: issuer.as_deref(), audience: audience.as_deref() };
            let claims = token::verify(rest.trim(), keys, expected, now).map_err(|why| {
                let challenge =
                    format!("Bearer realm=\"proxy\", error=\"invalid_token\", error_description=\"{why}\"");
                ask(why, &challenge)
            })?;
            let has = |wanted: &str| claims.scope.split(' ').any(|word| word == wanted);
            if let Some(wanted) = scope.as_ref().filter(|wanted| !has(wanted)) {
                let wanted = token::harmless(wanted);
                let why = format!("the token's scope lacks {wanted}");
                let challenge =
                    format!("Bearer realm=\"proxy\", error=\"insufficient_scope\", scope=\"{wanted}\"");
                return Err(Denied::new(StatusCode::FORBIDDEN, why).with(WWW_AUTHENTICATE, challenge));
            }
            let told = format!("the token: {} ({})", claims.subject, claims.by);
            Ok((claims.subject, told))
        }
    }
}
