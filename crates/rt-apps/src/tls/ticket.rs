//! Session tickets (RFC 8446, 4.6.1) sealed with ChaCha20-Poly1305 under a key of the server's own stream.
//!
//! Simplification: the key never rolls during a run; a ticket is good for its lifetime of two hours by the client's and
//! the server's clock, which rustls checks.

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use rt_base::{Nanos, Rng};
use rustls::server::ProducesTickets;

use crate::entropy;

/// Seconds a ticket may be used.
const LIFETIME: u32 = 7_200;

/// How long a ticket of our servers may be used.
pub(crate) const TICKET_LIFETIME: Nanos = Nanos::from_secs(LIFETIME as u64);

/// Seals and opens tickets.
pub(super) struct Ticketer {
    key: LessSafeKey,
}

impl Ticketer {
    pub(super) fn new(rng: &mut Rng) -> Ticketer {
        let mut key = [0; 32];
        rng.fill(&mut key);
        let key = UnboundKey::new(&CHACHA20_POLY1305, &key).expect("invariant: the key has 32 bytes");
        Ticketer { key: LessSafeKey::new(key) }
    }
}

impl std::fmt::Debug for Ticketer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ticketer")
    }
}

impl ProducesTickets for Ticketer {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        LIFETIME
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let mut nonce = [0; NONCE_LEN];
        entropy::fill(&mut nonce).ok()?;
        let mut sealed = plain.to_vec();
        self.key
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut sealed)
            .ok()?;
        Some([&nonce[..], &sealed].concat())
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = ticket.split_first_chunk::<NONCE_LEN>()?;
        let mut sealed = sealed.to_vec();
        let plain =
            self.key.open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::empty(), &mut sealed).ok()?;
        Some(plain.to_vec())
    }
}
