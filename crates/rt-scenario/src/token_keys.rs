//! Keys of signed tokens: a shared secret, public keys as PEM, a JWK set (RFC 7517).
//!
//! Not for: fetching keys (docs/limits.md, "A proxy (`edge`)").

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use curve25519_dalek::edwards::CompressedEdwardsY;
use p256::pkcs8::ObjectIdentifier;
use p256::pkcs8::der::asn1::UintRef;
use p256::pkcs8::der::{Decode, Reader, SliceReader};
use p256::pkcs8::spki::SubjectPublicKeyInfoRef;
use rt_rules::http::{KeyMaterial, TokenKey};

use crate::diag::{Code, Span};
use crate::tree::Value;
use crate::world::World;

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// What a mistake is, and what to do about it.
type Wrong = (String, &'static str);

const PUBLIC: &str = "write the public key: `openssl pkey -in key.pem -pubout` prints it";
const KINDS: &str = "keys are RSA of 2048 to 8192 bits (RS256), P-256 (ES256) or Ed25519 (EdDSA)";
const JWK: &str = "a key has `kty: RSA` with `n` and `e`, `kty: EC` with `crv: P-256`, `x` and `y`, or `kty: OKP` with `crv: Ed25519` and `x`; \
                   all in base64url";

impl World<'_, '_> {
    /// `secret`, `keys` and `jwks` of a `bearer`.
    pub(crate) fn read_token_keys(&mut self, bearer: &Value) -> Vec<TokenKey> {
        let mut found: Vec<(TokenKey, Span)> = Vec::new();
        let mut mistaken = false;
        if let Some(secret) = bearer.get("secret") {
            let text = secret.text().unwrap_or_default().to_owned();
            if text.is_empty() {
                //= rfc7518#section-3.2 with an empty key anybody can sign
                let message = "an empty secret lets anybody sign tokens";
                self.problems
                    .add(Code::WrongShape, secret.span, message, "empty")
                    .help("write at least 32 characters that nobody can guess");
            }
            found.push((TokenKey { id: None, material: KeyMaterial::Secret(text) }, secret.span));
        }
        for (id, value) in bearer.get("keys").map(Value::entries).unwrap_or_default() {
            let Some(text) = value.text() else { continue };
            match pem(text) {
                Ok(material) => found.push((TokenKey { id: Some(id.text.clone()), material }, id.span)),
                Err(wrong) => {
                    mistaken = true;
                    self.not_a_key(value.span, wrong);
                }
            }
        }
        let set = bearer.get("jwks").and_then(|set| set.get("keys"));
        for item in set.map(Value::items).unwrap_or_default() {
            match jwk(item) {
                Ok(material) => {
                    let id = item.str_at("kid").map(str::to_owned);
                    found.push((TokenKey { id, material }, item.span));
                }
                Err(wrong) => {
                    mistaken = true;
                    self.not_a_key(item.span, wrong);
                }
            }
        }
        if found.is_empty() && !mistaken {
            let message = "nothing says with which key tokens are signed";
            self.problems
                .add(Code::MissingKey, bearer.span, message, "no key")
                .help("write `secret:` for HS256, or `keys:` or `jwks:` with public keys");
        }
        for (index, (key, span)) in found.iter().enumerate() {
            let same = |other: &TokenKey| {
                other.id == key.id && other.material.algorithm() == key.material.algorithm()
            };
            if key.id.is_some()
                && let Some((_, first)) = found[..index].iter().find(|(other, _)| same(other))
            {
                let id = rt_base::text::excerpt(key.id.as_deref().unwrap_or_default(), 80);
                let message = format!("there are two keys `{id}` for {}", key.material.algorithm());
                self.problems
                    .add(Code::DuplicateKey, *span, message, "the second one")
                    .related(*first, "the first one")
                    .help("tokens choose a key by its id: give each its own");
            }
        }
        found.into_iter().map(|(key, _)| key).collect()
    }

    fn not_a_key(&mut self, span: Span, (message, help): Wrong) {
        self.problems.add(Code::WrongShape, span, message, "no key for tokens").help(help);
    }
}

/// A public key as PEM (RFC 7468, 13).
fn pem(text: &str) -> Result<KeyMaterial, Wrong> {
    const BEGIN: &str = "-----BEGIN ";
    let not = || ("this is no public key as PEM".to_owned(), "it begins with `-----BEGIN PUBLIC KEY-----`");
    let (_, rest) = text.split_once(BEGIN).ok_or_else(not)?;
    let (label, rest) = rest.split_once("-----").ok_or_else(not)?;
    if label.contains("PRIVATE") {
        return Err(("this is a private key, which does not belong into a proxy".to_owned(), PUBLIC));
    }
    if label != "PUBLIC KEY" {
        let label = rt_base::text::excerpt(label, 40);
        return Err((
            format!("this is a `{label}`, not a `PUBLIC KEY`"),
            "`openssl x509 -pubkey -noout` takes it out of a certificate, `openssl rsa -RSAPublicKey_in -pubout` out of an old form",
        ));
    }
    let (body, _) = rest.split_once("-----END PUBLIC KEY-----").ok_or_else(not)?;
    let body: String = body.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    public_key(&STANDARD.decode(body).map_err(|_| not())?)
}

/// A SubjectPublicKeyInfo (RFC 5280, 4.1.2.7).
fn public_key(der: &[u8]) -> Result<KeyMaterial, Wrong> {
    let not = || ("there is no key in this PEM".to_owned(), KINDS);
    let info = SubjectPublicKeyInfoRef::from_der(der).map_err(|_| not())?;
    let bits = info.subject_public_key.as_bytes().ok_or_else(not)?;
    match info.algorithm.oid {
        RSA => {
            let (n, e) = rsa_numbers(bits).ok_or_else(not)?;
            rsa(n, e)
        }
        EC => {
            let curve = info.algorithm.parameters_oid().map_err(|_| not())?;
            match bits {
                [4, point @ ..] if curve == P256 && point.len() == 64 => p256(&point[..32], &point[32..]),
                _ if curve == P256 => {
                    Err(("this point is not written with both coordinates".to_owned(), KINDS))
                }
                _ => Err(("this curve is not P-256".to_owned(), KINDS)),
            }
        }
        ED25519 => ed25519(bits),
        other => Err((format!("keys of the kind {other} sign no tokens here"), KINDS)),
    }
}

/// Modulus and exponent of an RSAPublicKey (RFC 8017, A.1.1).
fn rsa_numbers(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut reader = SliceReader::new(der).ok()?;
    let (n, e) = reader
        .sequence(|inner| {
            Ok::<_, p256::pkcs8::der::Error>((UintRef::decode(inner)?, UintRef::decode(inner)?))
        })
        .ok()?;
    reader.finish().ok()?;
    Some((n.as_bytes(), e.as_bytes()))
}

/// A JWK (RFC 7517, 4; RFC 7518, 6; RFC 8037, 2).
fn jwk(item: &Value) -> Result<KeyMaterial, Wrong> {
    if item.get("d").is_some() {
        return Err((
            "this is a private key (`d`), which does not belong into a proxy".to_owned(),
            "leave out `d` and all that belongs to it: `p`, `q`, `dp`, `dq`, `qi`",
        ));
    }
    let bytes = |key: &str| {
        let text = item.str_at(key).ok_or_else(|| (format!("this key has no `{key}`"), JWK))?;
        URL_SAFE_NO_PAD.decode(text).map_err(|_| (format!("`{key}` is not written in base64url"), JWK))
    };
    let material = match (item.str_at("kty").unwrap_or_default(), item.str_at("crv").unwrap_or_default()) {
        ("RSA", _) => rsa(&bytes("n")?, &bytes("e")?),
        ("EC", "P-256") => p256(&bytes("x")?, &bytes("y")?),
        ("OKP", "Ed25519") => ed25519(&bytes("x")?),
        _ => Err(("there is no such key".to_owned(), JWK)),
    }?;
    if let Some(alg) = item.str_at("alg").filter(|alg| !material.is_for(alg)) {
        return Err((format!("a key of this kind is for {}, not for {alg}", material.algorithm()), KINDS));
    }
    Ok(material)
}

/// An RSA key in the sizes that signatures are checked with.
fn rsa(n: &[u8], e: &[u8]) -> Result<KeyMaterial, Wrong> {
    let (n, e) = (without_zeros(n), without_zeros(e));
    let bits =
        |number: &[u8]| number.len() * 8 - number.first().map_or(0, |first| first.leading_zeros() as usize);
    if !(2048..=8192).contains(&bits(n)) {
        return Err((format!("an RSA key of {} bits signs no tokens here", bits(n)), KINDS));
    }
    let odd = |number: &[u8]| number.last().is_some_and(|last| last % 2 == 1);
    if !odd(n) || !odd(e) || e == [1] || bits(e) > 33 {
        return Err(("these are not the numbers of an RSA key".to_owned(), KINDS));
    }
    Ok(KeyMaterial::Rsa { n: URL_SAFE_NO_PAD.encode(n), e: URL_SAFE_NO_PAD.encode(e) })
}

fn without_zeros(mut number: &[u8]) -> &[u8] {
    while let [0, rest @ ..] = number {
        number = rest;
    }
    number
}

fn p256(x: &[u8], y: &[u8]) -> Result<KeyMaterial, Wrong> {
    let point = [&[4], x, y].concat();
    if x.len() != 32 || y.len() != 32 || p256::PublicKey::from_sec1_bytes(&point).is_err() {
        return Err(("this is no point of the curve P-256".to_owned(), KINDS));
    }
    Ok(KeyMaterial::P256 { x: URL_SAFE_NO_PAD.encode(x), y: URL_SAFE_NO_PAD.encode(y) })
}

fn ed25519(x: &[u8]) -> Result<KeyMaterial, Wrong> {
    let Ok(bytes) = <[u8; 32]>::try_from(x) else {
        return Err(("an Ed25519 key has 32 bytes".to_owned(), KINDS));
    };
    match CompressedEdwardsY(bytes).decompress() {
        None => return Err(("this is no point of the curve of Ed25519".to_owned(), KINDS)),
        // For such a key anybody finds signatures that hold.
        Some(point) if point.is_small_order() => {
            return Err(("this point has a small order: anybody can sign for it".to_owned(), KINDS));
        }
        Some(_) => {}
    }
    Ok(KeyMaterial::Ed25519 { x: URL_SAFE_NO_PAD.encode(x) })
}
