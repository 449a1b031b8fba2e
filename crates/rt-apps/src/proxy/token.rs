//! Signed tokens: JSON Web Tokens (RFC 7519) with HS256 (RFC 7515, RFC 7518, 3.2), made and verified.
//!
//! Deliberate simplification: HS256 only; another `alg`, `none` above all, is refused, whatever its signature.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde_json::{Value, json};

/// Longest token that is looked at.
const LONGEST: usize = 8_192;
/// Seconds by which clocks may differ (RFC 7519, 4.1.4: "usually no more than a few minutes").
const LEEWAY: u64 = 60;

/// What a token must say.
#[derive(Clone, Copy, Default)]
pub(super) struct Expected<'a> {
    pub(super) issuer: Option<&'a str>,
    pub(super) audience: Option<&'a str>,
}

/// What a token says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Claims {
    /// `sub`.
    pub(super) subject: String,
    /// `scope`: words (RFC 8693, 4.2).
    pub(super) scope: String,
}

/// A token that says `claims`, signed with `secret`.
#[must_use]
pub fn sign(claims: &Value, secret: &[u8]) -> String {
    let head = URL_SAFE_NO_PAD.encode(json!({ "alg": "HS256", "typ": "JWT" }).to_string());
    let signed = format!("{head}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// What a token says, if it is whole, valid at `now` (seconds since 1970) and says what it must.
///
/// # Errors
/// Why it is not believed, in words for the client.
pub(super) fn verify(token: &str, secret: &[u8], expected: Expected<'_>, now: u64) -> Result<Claims, String> {
    if token.len() > LONGEST {
        return Err("the token is too long".to_owned());
    }
    let not = || "this is not a token".to_owned();
    let (signed, signature) = token.rsplit_once('.').ok_or_else(not)?;
    let (head, body) = signed.split_once('.').ok_or_else(not)?;
    let read =
        |part: &str| -> Option<Value> { serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok() };
    let head = read(head).ok_or_else(not)?;
    if head["alg"] != "HS256" {
        return Err("the token's algorithm is not HS256".to_owned());
    }
    //= rfc7515#section-4.1.11 what must be understood, and is not
    if !head["crit"].is_null() {
        return Err("the token has extensions that must be understood (crit)".to_owned());
    }
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| not())?;
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    hmac::verify(&key, signed.as_bytes(), &signature)
        .map_err(|_| "the token's signature is wrong".to_owned())?;
    let body = read(body).ok_or_else(not)?;
    // RFC 7519, 2: seconds since 1970, perhaps with a fraction.
    let date = |name: &str| match &body[name] {
        Value::Null => Ok(None),
        value => value.as_f64().map(Some).ok_or_else(not),
    };
    let (now, leeway) = (now as f64, LEEWAY as f64);
    if let Some(exp) = date("exp")?.filter(|exp| exp + leeway <= now) {
        return Err(format!("the token expired {:.0} s ago", now - exp));
    }
    if date("nbf")?.is_some_and(|nbf| nbf > now + leeway) {
        return Err("the token is not valid yet".to_owned());
    }
    if let Some(issuer) = expected.issuer.filter(|issuer| body["iss"] != **issuer) {
        return Err(format!("the token is not from {issuer}"));
    }
    if let Some(audience) = expected.audience {
        let listed = body["aud"].as_array().is_some_and(|all| all.iter().any(|one| one == audience));
        if body["aud"] != audience && !listed {
            return Err(format!("the token is not for {audience}"));
        }
    }
    let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    // It goes on as a field's value.
    if text("sub").chars().any(char::is_control) {
        return Err("the token's subject is not one line of text".to_owned());
    }
    Ok(Claims { subject: text("sub"), scope: text("scope") })
}

/// Whether two secrets are the same, in a time that does not tell where they differ.
pub(super) fn same(a: &[u8], b: &[u8]) -> bool {
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"compare");
    hmac::verify(&key, a, hmac::sign(&key, b).as_ref()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The token of RFC 7515, A.1, made elsewhere.
    const PUBLISHED: &str = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0d\
                             HA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    const KEY: &str =
        "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";

    /// What `body` comes to at the time 1,000,000, signed well.
    fn judged(head: &Value, body: &Value) -> Result<Claims, String> {
        let signed = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(head.to_string()),
            URL_SAFE_NO_PAD.encode(body.to_string())
        );
        let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, b"k"), signed.as_bytes());
        let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature));
        verify(&token, b"k", Expected { issuer: None, audience: None }, 1_000_000)
    }

    #[test]
    fn dates_may_have_fractions_and_extensions_must_be_understood() {
        let plain = json!({ "alg": "HS256" });
        assert!(judged(&plain, &json!({ "sub": "ann", "exp": 2_000_000_000.5 })).is_ok());
        assert!(judged(&plain, &json!({ "sub": "ann", "exp": 900_000.5 })).is_err());
        assert!(judged(&plain, &json!({ "sub": "ann", "nbf": 9e15 })).is_err());
        assert!(judged(&plain, &json!({ "sub": "ann", "nbf": "soon" })).is_err());
        assert!(judged(&plain, &json!({ "sub": "ann\r\nX-Evil: 1" })).is_err());
        assert!(
            judged(&json!({ "alg": "HS256", "crit": ["b64"], "b64": false }), &json!({ "sub": "ann" }))
                .is_err()
        );
    }

    #[test]
    fn the_published_one_is_believed_until_it_expires() {
        let key = URL_SAFE_NO_PAD.decode(KEY).unwrap();
        let joe = Expected { issuer: Some("joe"), audience: None };
        assert!(verify(PUBLISHED, &key, joe, 1_300_819_379).is_ok());
        assert!(verify(PUBLISHED, &key, joe, 1_300_819_380 + LEEWAY).is_err());
        assert!(verify(PUBLISHED, b"another", joe, 1_300_819_379).is_err());
        assert!(verify(PUBLISHED, &key, Expected { issuer: Some("ann"), audience: None }, 0).is_err());
        assert!(verify(&PUBLISHED.replace("dBj", "dBk"), &key, joe, 0).is_err());
    }

    #[test]
    fn what_is_no_token_is_refused_in_words() {
        let token = sign(&json!({ "sub": "ann", "scope": "read write", "aud": ["shop"], "nbf": 100 }), b"s");
        let shop = Expected { issuer: None, audience: Some("shop") };
        let claims = verify(&token, b"s", shop, 100).unwrap();
        assert_eq!(claims, Claims { subject: "ann".into(), scope: "read write".into() });
        assert!(verify(&token, b"s", shop, 10).is_err(), "not yet");
        assert!(verify(&token, b"s", Expected { issuer: None, audience: Some("bank") }, 100).is_err());
        let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
        let body = URL_SAFE_NO_PAD.encode(r#"{"sub":"ann"}"#);
        for text in
            [format!("{none}.{body}."), "..".into(), "a.b".into(), "x".repeat(LONGEST + 1), String::new()]
        {
            assert!(verify(&text, b"s", Expected::default(), 0).is_err(), "{text}");
        }
    }

    #[test]
    fn secrets_are_compared() {
        assert!(same(b"abc", b"abc"));
        assert!(!same(b"abc", b"abd") && !same(b"abc", b"ab") && !same(b"", b"a"));
    }
}
