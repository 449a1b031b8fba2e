//! TLS 1.3 that is a pure function of the seed: rustls with its time, dice, keys, tickets and certificates given.
//!
//! Not for: speaking HTTP over it (the `http` module), or deciding when to connect. tokio-rustls does the handshaking
//! over any stream; this module only makes the two configurations, [`ClientTls`] and [`ServerTls`], and the
//! certificates ([`Authority`]).
//!
//! Where the randomness goes: hello randoms, extension order, session ids and X25519 scalars come from the generator of
//! the node being polled ([`crate::entropy`]); certificate keys and ticket keys from named streams of the seed; ECDSA
//! nonces from RFC 6979. ring supplies suites, hashes and verification, never its own randomness.
//!
//! Deliberate simplifications, and how to notice them: only X25519, at servers P-256 too (a client that offers neither is refused; no
//! post-quantum share, so the ClientHello is shorter than that of a current Chrome), no TLS 1.2, no OCSP or
//! certificate transparency, no client certificates, no 0-RTT.

mod authority;
mod config;
mod failure;
mod key;
mod private;
mod provider;
mod session;
mod subject;
mod ticket;
mod verify;

pub use authority::{Authority, CertificateSpec, Identity, SignedBy};
pub(crate) use config::hear;
pub use config::{ClientTls, ServerTls, TlsHooks};
pub use failure::TlsFailure;
pub use private::PrivateCa;
pub use rustls::pki_types::CertificateDer;
pub use subject::{Names, names_of};
pub(crate) use ticket::TICKET_LIFETIME;
pub use verify::Verdict;

#[cfg(test)]
pub(crate) mod tests;
