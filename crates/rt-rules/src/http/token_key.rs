//! Keys that say whether a signed token is believed (RFC 7515), each for one algorithm.
//!
//! Not for: checking signatures (`rt-apps` does).

use serde::{Deserialize, Serialize};

/// A key, and what tokens call it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TokenKey {
    /// `kid` of the tokens that it is for (RFC 7515, 4.1.4). A key without one is asked when no key has the token's.
    pub id: Option<String>,
    /// The key itself.
    pub material: KeyMaterial,
}

/// What a key is made of. Numbers and points are bytes in base64url without padding, as in a JWK (RFC 7518, 6).
///
/// The kind of the key decides about the algorithm, never the token: otherwise somebody could sign with HS256, taking the
/// public key for the secret (RFC 8725, 2.1).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyMaterial {
    /// A shared secret, for HS256.
    Secret(String),
    /// A public RSA key, for RS256.
    Rsa {
        /// The modulus.
        n: String,
        /// The exponent.
        e: String,
    },
    /// A point on the curve P-256, for ES256.
    P256 {
        /// One coordinate.
        x: String,
        /// The other one.
        y: String,
    },
    /// A public Ed25519 key, for EdDSA (RFC 8037).
    Ed25519 {
        /// The key.
        x: String,
    },
}

impl KeyMaterial {
    /// The one algorithm that it is for, as `alg` has it.
    #[must_use]
    pub fn algorithm(&self) -> &'static str {
        match self {
            KeyMaterial::Secret(_) => "HS256",
            KeyMaterial::Rsa { .. } => "RS256",
            KeyMaterial::P256 { .. } => "ES256",
            KeyMaterial::Ed25519 { .. } => "EdDSA",
        }
    }

    /// Whether a token with this `alg` may be checked with it. RFC 9864 calls EdDSA over this curve `Ed25519`.
    #[must_use]
    pub fn is_for(&self, alg: &str) -> bool {
        self.algorithm() == alg || (matches!(self, KeyMaterial::Ed25519 { .. }) && alg == "Ed25519")
    }
}
