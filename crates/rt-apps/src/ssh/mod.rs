//! SSH: the real protocol between simulated machines (RFC 4251 to 4254), client, server, agent and configuration.
//!
//! | module | what |
//! |---|---|
//! | `wire`, `keys`, `seal` | data types, Ed25519 keys, packets |
//! | `transport`, `channel`, `peer` | one end of a connection, sans-IO: key exchange, login, channels |
//! | `conn`, `relay` | a connection that runs over a stream, channels as streams |
//! | `client`, `config`, `agent` | `ssh` and `~/.ssh` |
//! | `server`, `shell` | `sshd` and what one finds there |
//!
//! A channel is a stream and a connection runs over any stream, so `ssh -J` needs nothing of its own: the inner connection runs in a
//! `direct-tcpip` channel of the outer one, and whoever relays it sees sealed packets.
//!
//! Written here because no library does this without drawing randomness of its own (docs/dependencies.md); its ciphers, hashes and
//! signatures are `ring`'s, its key exchange `x25519-dalek`'s. The real OpenSSH, client and server, judges it.

mod agent;
mod channel;
mod client;
mod config;
mod conn;
mod keys;
mod peer;
mod relay;
mod seal;
mod server;
mod shell;
mod transport;
mod wire;
mod words;

#[cfg(test)]
mod tests;

pub use client::{User, run};
pub use config::Config;
pub use keys::{Identity, PublicKey};
pub use server::SshServer;

/// A command line as words, quotes heeded. What cannot be read is one word, which ssh will complain of.
#[must_use]
pub fn words(line: &str) -> Vec<String> {
    words::split(line).unwrap_or_else(|_| vec![line.to_owned()])
}
