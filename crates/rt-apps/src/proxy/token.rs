//! Signed tokens: JSON Web Tokens (RFC 7519) with HS256, RS256, ES256 (RFC 7515, RFC 7518) or EdDSA (RFC 8037): verified, and
//! with HS256 made.
//!
//! Not for: other algorithms (RS384, PS256, ES384, Ed448 and so on; docs/limits.md, "A proxy (`edge`)"). `none` is refused, whatever its
//! signature.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::{hmac, signature};
use rt_base::text::excerpt;
use rt_rules::http::{KeyMaterial, TokenKey};
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
    /// What it was believed by: `RS256, key 2026-a`.
    pub(super) by: String,
}

/// A token that says `claims`, signed with `secret`.
#[must_use]
pub fn sign(claims: &Value, secret: &[u8]) -> String {
    let head = URL_SAFE_NO_PAD.encode(json!({ "alg": "HS256", "typ": "JWT" }).to_string());
    let signed = format!("{head}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// What a token says, if it is whole, signed with one of `keys`, valid at `now` (seconds since 1970) and says what it must.
///
/// # Errors
/// Why it is not believed, in words for the client: what stands in a quoted string of a field.
pub(super) fn verify(
    token: &str,
    keys: &[TokenKey],
    expected: Expected<'_>,
    now: u64,
) -> Result<Claims, String> {
    if token.len() > LONGEST {
        return Err("the token is too long".to_owned());
    }
    let (signed, signature) = token.rsplit_once('.').ok_or_else(not)?;
    let (head, body) = signed.split_once('.').ok_or_else(not)?;
    let head = read(head).ok_or_else(not)?;
    let candidates = candidates(&head, keys)?;
    //= rfc7515#section-4.1.11 what must be understood, and is not
    if !head["crit"].is_null() {
        return Err("the token has extensions that must be understood (crit)".to_owned());
    }
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| not())?;
    let signer = candidates.iter().find(|key| is_signed(&key.material, signed.as_bytes(), &signature));
    let Some(signer) = signer else {
        return Err(format!("the token's signature is wrong ({})", a_few(&candidates)));
    };
    claims(&read(body).ok_or_else(not)?, called(signer), expected, now)
}

fn not() -> String {
    "this is not a token".to_owned()
}

fn read(part: &str) -> Option<Value> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

/// The keys that may have signed a token with this head.
fn candidates<'k>(head: &Value, keys: &'k [TokenKey]) -> Result<Vec<&'k TokenKey>, String> {
    let alg = head["alg"].as_str().ok_or_else(not)?;
    let id = match &head["kid"] {
        Value::Null => None,
        Value::String(id) => Some(id.as_str()),
        _ => return Err(not()),
    };
    //= rfc8725#section-3.2 a token without a signature proves nothing
    if alg.eq_ignore_ascii_case("none") {
        return Err("the token is not signed (none)".to_owned());
    }
    let named: Vec<&TokenKey> = keys.iter().filter(|key| id.is_some() && key.id.as_deref() == id).collect();
    let all: Vec<&TokenKey> = match id {
        _ if !named.is_empty() => named,
        // Keys without an id may be meant by any.
        Some(_) => keys.iter().filter(|key| key.id.is_none()).collect(),
        None => keys.iter().collect(),
    };
    if let (true, Some(id)) = (all.is_empty(), id) {
        return Err(format!("no key here is called {}", harmless(id)));
    }
    //= rfc8725#section-3.1 a key serves its own algorithm, whatever the token says
    let fit: Vec<&TokenKey> = all.iter().copied().filter(|key| key.material.is_for(alg)).collect();
    if fit.is_empty() {
        let own = a_few(&all);
        return Err(format!("the token's algorithm is {}, which no key here is for ({own})", harmless(alg)));
    }
    Ok(fit)
}

/// Keys for whoever is refused: a few, however many there are.
fn a_few(keys: &[&TokenKey]) -> String {
    const MOST: usize = 3;
    let few: Vec<String> = keys.iter().take(MOST).map(|key| called(key)).collect();
    match keys.len().saturating_sub(MOST) {
        0 => few.join("; "),
        more => format!("{}; and {more} more", few.join("; ")),
    }
}

/// How a key is told: `RS256, key 2026-a`.
fn called(key: &TokenKey) -> String {
    let algorithm = key.material.algorithm();
    match (&key.id, &key.material) {
        (Some(id), _) => format!("{algorithm}, key {}", harmless(id)),
        (None, KeyMaterial::Secret(_)) => format!("{algorithm}, the shared secret"),
        (None, _) => format!("{algorithm}, a key without a name"),
    }
}

/// Text from outside, so that it can stand in an `error_description`.
//= rfc6750#section-3 what an error_description may not contain
pub(super) fn harmless(text: &str) -> String {
    let may = |c: char| matches!(c, ' '..='~') && c != '"' && c != '\\';
    excerpt(&text.chars().map(|c| if may(c) { c } else { '?' }).collect::<String>(), 60)
}

/// Whether `signature` over `signed` was made with this key.
fn is_signed(key: &KeyMaterial, signed: &[u8], signature: &[u8]) -> bool {
    use signature::{ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
    let bytes = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap_or_default();
    match key {
        //= rfc7518#section-3.2 HMAC with SHA-256
        KeyMaterial::Secret(secret) => {
            let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
            hmac::verify(&key, signed, signature).is_ok()
        }
        //= rfc7518#section-3.3 RSASSA-PKCS1-v1_5 with SHA-256
        KeyMaterial::Rsa { n, e } => {
            let key = signature::RsaPublicKeyComponents { n: bytes(n), e: bytes(e) };
            key.verify(&RSA_PKCS1_2048_8192_SHA256, signed, signature).is_ok()
        }
        //= rfc7518#section-3.4 both numbers as 32 bytes each, one after the other
        KeyMaterial::P256 { x, y } => {
            let point = [&[4][..], &bytes(x), &bytes(y)].concat();
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(signed, signature).is_ok()
        }
        //= rfc8037#section-3.1
        KeyMaterial::Ed25519 { x } => {
            UnparsedPublicKey::new(&ED25519, bytes(x)).verify(signed, signature).is_ok()
        }
    }
}

/// What a believed body says, if it is valid now and for us.
fn claims(body: &Value, by: String, expected: Expected<'_>, now: u64) -> Result<Claims, String> {
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
        return Err(format!("the token is not from {}", harmless(issuer)));
    }
    if let Some(audience) = expected.audience {
        let listed = body["aud"].as_array().is_some_and(|all| all.iter().any(|one| one == audience));
        if body["aud"] != audience && !listed {
            return Err(format!("the token is not for {}", harmless(audience)));
        }
    }
    let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    // It goes on as a field's value.
    if text("sub").chars().any(char::is_control) {
        return Err("the token's subject is not one line of text".to_owned());
    }
    Ok(Claims { subject: text("sub"), scope: text("scope"), by })
}

/// Whether two secrets are the same, in a time that does not tell where they differ.
pub(super) fn same(a: &[u8], b: &[u8]) -> bool {
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"compare");
    hmac::verify(&key, a, hmac::sign(&key, b).as_ref()).is_ok()
}

#[cfg(test)]
mod tests;
