//! WireGuard: packets between peers who know each other's public keys, sealed, over UDP. Donenfeld's whitepaper ("WireGuard: Next
//! Generation Kernel Network Tunnel", June 2020) names the sections here.
//!
//! [`Interface`] is the protocol without sockets: packets, datagrams and the time come in, [`Output`] goes out. [`run()`] puts it
//! between a machine's tunnel interface and its UDP socket. What an interface does follows from its keys, its dice and what
//! comes, so a run is the same twice.
//!
//! Deliberate simplifications. Keys are worthless as secrets: they follow from the scenario and the seed. A handshake takes
//! no time of its own. "Under load" is more than [`BUSY`] handshake messages within a second, where Linux looks at a queue's length.
//! There is no per-source limit of handshakes besides the cookie; marks for traffic classes are not carried over; IPv4 only.

mod crypto;
mod door;
mod interface;
mod message;
mod peer;
mod replay;
mod run;
mod timers;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;

use ipnet::IpNet;
use rt_base::{DropReason, FrameId, Nanos};

pub use crypto::public_key;
pub use door::BUSY;
pub(crate) use interface::base64;
pub use interface::{Interface, Refused};
pub use run::run;

/// Bytes that the tunnel adds to a packet over IPv4: IPv4, UDP, the transport header and the tag (20 + 8 + 16 + 16).
pub const OVERHEAD: usize = 60;

/// Messages under one key after which a new one is made, and after which the key is dead (whitepaper, 6.1).
pub const REKEY_AFTER_MESSAGES: u64 = 1 << 60;
/// See [`REKEY_AFTER_MESSAGES`].
pub const REJECT_AFTER_MESSAGES: u64 = u64::MAX - (1 << 13);
/// A key's age at which its initiator makes a new one (whitepaper, 6.1).
pub const REKEY_AFTER_TIME: Nanos = Nanos::from_secs(120);
/// A key's age at which it is dead (whitepaper, 6.1).
pub const REJECT_AFTER_TIME: Nanos = Nanos::from_secs(180);
/// A handshake is tried for so long (whitepaper, 6.1).
pub const REKEY_ATTEMPT_TIME: Nanos = Nanos::from_secs(90);
/// Between two initiations (whitepaper, 6.1).
pub const REKEY_TIMEOUT: Nanos = Nanos::from_secs(5);
/// Whoever has received and has had nothing to send for so long sends an empty packet (whitepaper, 6.1).
pub const KEEPALIVE_TIMEOUT: Nanos = Nanos::from_secs(10);

/// A tunnel interface's keys and peers.
#[derive(Clone, Debug)]
pub struct Config {
    /// The private key.
    pub secret: [u8; 32],
    /// The UDP port.
    pub port: u16,
    /// The tunnel interface's MTU in bytes: padding never makes a packet longer.
    pub mtu: u16,
    /// Whom to talk to.
    pub peers: Vec<PeerConfig>,
}

/// One peer.
#[derive(Clone, Debug)]
pub struct PeerConfig {
    /// What it is called in notes.
    pub name: String,
    /// Its public key.
    pub public: [u8; 32],
    /// The key shared besides; zeros for none.
    pub psk: [u8; 32],
    /// Where it is. Without it, its first message tells.
    pub endpoint: Option<SocketAddr>,
    /// Addresses behind it: packets to them are for it, and packets from it must be from them (whitepaper, 2).
    pub allowed: Vec<IpNet>,
    /// Send an empty packet when nothing went either way for so long.
    pub persistent_keepalive: Option<Nanos>,
}

/// What an interface wants done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// A datagram to a peer.
    Datagram {
        /// To where.
        to: SocketAddr,
        /// What.
        bytes: Vec<u8>,
        /// The packet inside; none for handshakes and keepalives.
        inner: FrameId,
        /// Its length.
        len: usize,
    },
    /// A packet that came out of the tunnel.
    Packet(Vec<u8>),
    /// A packet that does not go into the tunnel.
    Lost(FrameId, DropReason),
    /// What came last is not taken.
    NotTaken,
    /// A line of a key log, as Wireshark reads it.
    Secret(String),
    /// Something for the story: its code and a sentence.
    Note(&'static str, String),
}
