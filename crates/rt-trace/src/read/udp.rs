//! UDP conversations: datagrams between two addresses, with DNS read where the port says so.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::{DnsExchange, Mark, Side};

/// All datagrams between two socket addresses.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct UdpConversation {
    /// The end that sent the first datagram seen.
    pub client: SocketAddr,
    /// The other end.
    pub server: SocketAddr,
    /// Whether the first datagram left this node.
    pub outgoing: bool,
    /// Every datagram, in the order seen.
    pub datagrams: Vec<Datagram>,
    /// DNS exchanges, in order of their queries.
    pub dns: Vec<DnsExchange>,
    /// Payload bytes of the client.
    pub client_bytes: u64,
    /// Payload bytes of the server.
    pub server_bytes: u64,
}

/// One datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Datagram {
    /// Where it was seen (the last fragment, when it came in fragments).
    pub mark: Mark,
    /// Who sent it.
    pub from: Side,
    /// Payload bytes.
    pub len: u32,
}
