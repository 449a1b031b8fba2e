//! The crypto provider: ring's suites, with the randomness and the key exchange taken from the current node.
//!
//! Clients offer X25519 alone. Servers take P-256 as well, because there are real programs that offer nothing else (gRPC's C
//! core up to 2023).

use std::sync::{Arc, LazyLock};

use p256::elliptic_curve::sec1::ToSec1Point as _;
use rustls::crypto::{
    ActiveKeyExchange, CryptoProvider, GetRandomFailed, SecureRandom, SharedSecret, SupportedKxGroup, ring,
};
use rustls::ffdhe_groups::FfdheGroup;
use rustls::{Error, NamedGroup, PeerMisbehaved};
use x25519_dalek::{PublicKey, StaticSecret};

use super::key::NoLoading;
use crate::entropy;

/// Suites in Chrome's order of preference: AES-128-GCM, AES-256-GCM, ChaCha20-Poly1305 (RFC 8446, B.4).
///
/// One for the whole process: it holds no state, only where to ask.
pub(super) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(make()));
    Arc::clone(&PROVIDER)
}

/// The same for servers: P-256 too, for whoever does not offer X25519.
pub(super) fn server_provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(CryptoProvider { kx_groups: vec![&X25519, &P256], ..make() }));
    Arc::clone(&PROVIDER)
}

fn make() -> CryptoProvider {
    CryptoProvider {
        cipher_suites: vec![
            ring::cipher_suite::TLS13_AES_128_GCM_SHA256,
            ring::cipher_suite::TLS13_AES_256_GCM_SHA384,
            ring::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ],
        kx_groups: vec![&X25519],
        secure_random: &NodeRandom,
        key_provider: &NoLoading,
        ..ring::default_provider()
    }
}

/// Randomness of the node being polled.
#[derive(Debug)]
struct NodeRandom;

impl SecureRandom for NodeRandom {
    fn fill(&self, buf: &mut [u8]) -> Result<(), GetRandomFailed> {
        entropy::fill(buf).map_err(|_| GetRandomFailed)
    }
}

/// X25519 (RFC 7748) with scalars of the node being polled.
#[derive(Debug)]
struct X25519;

impl SupportedKxGroup for X25519 {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let mut scalar = [0; 32];
        entropy::fill(&mut scalar).map_err(|_| Error::FailedToGetRandomBytes)?;
        let secret = StaticSecret::from(scalar);
        let public = PublicKey::from(&secret);
        Ok(Box::new(Exchange { secret, public }))
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

struct Exchange {
    secret: StaticSecret,
    public: PublicKey,
}

impl ActiveKeyExchange for Exchange {
    fn complete(self: Box<Self>, peer: &[u8]) -> Result<SharedSecret, Error> {
        let peer: [u8; 32] =
            peer.try_into().map_err(|_| Error::PeerMisbehaved(PeerMisbehaved::InvalidKeyShare))?;
        let shared = self.secret.diffie_hellman(&PublicKey::from(peer));
        // RFC 8446, 7.4.2: an all-zero result must be refused.
        if !shared.was_contributory() {
            return Err(Error::PeerMisbehaved(PeerMisbehaved::InvalidKeyShare));
        }
        Ok(SharedSecret::from(&shared.as_bytes()[..]))
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::X25519
    }

    fn pub_key(&self) -> &[u8] {
        self.public.as_bytes()
    }
}

/// ECDH over P-256 (RFC 8446, 4.2.8.2) with scalars of the node being polled.
#[derive(Debug)]
struct P256;

impl SupportedKxGroup for P256 {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        loop {
            let mut scalar = [0; 32];
            entropy::fill(&mut scalar).map_err(|_| Error::FailedToGetRandomBytes)?;
            // Zero and values at or above the group order (2^-32 of all) are skipped.
            if let Ok(secret) = p256::SecretKey::from_slice(&scalar) {
                let public = secret.public_key().to_sec1_point(false).as_bytes().to_vec();
                return Ok(Box::new(P256Exchange { secret, public }));
            }
        }
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::secp256r1
    }
}

struct P256Exchange {
    secret: p256::SecretKey,
    /// Uncompressed SEC 1 point.
    public: Vec<u8>,
}

impl ActiveKeyExchange for P256Exchange {
    fn complete(self: Box<Self>, peer: &[u8]) -> Result<SharedSecret, Error> {
        let invalid = || Error::PeerMisbehaved(PeerMisbehaved::InvalidKeyShare);
        // Only the uncompressed form, and only a point of the curve.
        let uncompressed = peer.len() == 65 && peer[0] == 4;
        let peer =
            p256::PublicKey::from_sec1_bytes(peer).ok().filter(|_| uncompressed).ok_or_else(invalid)?;
        let shared = p256::ecdh::diffie_hellman(self.secret.to_nonzero_scalar(), peer.as_affine());
        Ok(SharedSecret::from(&shared.raw_secret_bytes()[..]))
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::secp256r1
    }

    fn pub_key(&self) -> &[u8] {
        &self.public
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ring_agrees_on_a_secret_over_p256() {
        crate::entropy::lend(&mut rt_base::Rng::stream(1, "a", "entropy"), || {
            let ours = P256.start().unwrap();
            let theirs = rustls::crypto::ring::kx_group::SECP256R1.start().unwrap();
            let (a, b) = (ours.pub_key().to_vec(), theirs.pub_key().to_vec());
            let ours = ours.complete(&b).unwrap();
            let theirs = theirs.complete(&a).unwrap();
            assert_eq!(ours.secret_bytes(), theirs.secret_bytes());
            // A point that is none, and the short form.
            let refused = |peer: &[u8]| P256.start().unwrap().complete(peer).is_err();
            let mut off = a.clone();
            off[64] ^= 1;
            assert!(refused(&off) && refused(&a[..33]) && refused(&[]) && refused(&[0]));
        });
    }
}
