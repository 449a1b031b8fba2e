//! ECDSA P-256 keys whose signatures have no dice in them (RFC 6979).
//!
//! P-256 and not Ed25519, because no browser accepts an Ed25519 certificate, and machines of the simulated internet are
//! to be visited by real ones too.

use std::sync::Arc;

use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{DerSignature, SigningKey};
use rt_base::Rng;
use rustls::pki_types::{PrivateKeyDer, SubjectPublicKeyInfoDer};
use rustls::sign::{self, Signer};
use rustls::{Error, SignatureAlgorithm, SignatureScheme};

/// A key pair; cheap to clone.
#[derive(Clone)]
pub(super) struct Key {
    secret: Arc<SigningKey>,
    /// Uncompressed SEC 1 point.
    public: Arc<[u8]>,
}

impl Key {
    /// The next valid key of the stream.
    pub(super) fn generate(rng: &mut Rng) -> Key {
        loop {
            let mut scalar = [0; 32];
            rng.fill(&mut scalar);
            // Zero and values at or above the group order (2^-32 of all) are skipped.
            if let Ok(secret) = SigningKey::from_slice(&scalar) {
                let public = secret.verifying_key().to_sec1_point(false).as_bytes().into();
                return Key { secret: Arc::new(secret), public };
            }
        }
    }

    fn signature(&self, message: &[u8]) -> Vec<u8> {
        let signature: DerSignature = self.secret.sign(message);
        signature.as_bytes().to_vec()
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(P-256)")
    }
}

impl rcgen::PublicKeyData for Key {
    fn der_bytes(&self) -> &[u8] {
        &self.public
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

impl rcgen::SigningKey for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(self.signature(message))
    }
}

impl sign::SigningKey for Key {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let scheme = SignatureScheme::ECDSA_NISTP256_SHA256;
        offered.contains(&scheme).then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        Some(rcgen::PublicKeyData::subject_public_key_info(self).into())
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

impl Signer for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        Ok(self.signature(message))
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ECDSA_NISTP256_SHA256
    }
}

/// Refuses to load keys: all keys of a simulation are made from its seed, none is read.
#[derive(Debug)]
pub(super) struct NoLoading;

impl rustls::crypto::KeyProvider for NoLoading {
    fn load_private_key(&self, _: PrivateKeyDer<'static>) -> Result<Arc<dyn sign::SigningKey>, Error> {
        Err(Error::General("keys are made from the seed, not loaded".into()))
    }
}
