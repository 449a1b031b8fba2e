//! DHCP (RFC 2131, 2132): messages by transaction id.

use std::net::{Ipv4Addr, SocketAddr};

use rt_base::MacAddr;
use serde::{Deserialize, Serialize};

use super::Mark;

/// All messages of one DHCP transaction (DISCOVER, OFFER, REQUEST, ACK share their xid).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DhcpExchange {
    /// Transaction id.
    pub xid: u32,
    /// The client's MAC.
    pub client: MacAddr,
    /// Whether the first message left this node.
    pub outgoing: bool,
    /// In the order seen.
    pub messages: Vec<DhcpMessage>,
}

/// One DHCP message.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DhcpMessage {
    /// Where it was seen.
    pub mark: Mark,
    /// `DISCOVER`, `OFFER`, `REQUEST`, `ACK`, `NAK`, `DECLINE`, `RELEASE`, `INFORM`, `BOOTP` or `TYPE 99`.
    pub kind: String,
    /// Sent from.
    pub src: SocketAddr,
    /// Sent to.
    pub dst: SocketAddr,
    /// The client's present address (`ciaddr`), if any.
    pub client_address: Option<Ipv4Addr>,
    /// The address offered or given (`yiaddr`), if any.
    pub your_address: Option<Ipv4Addr>,
    /// Option 50, requested address.
    pub requested: Option<Ipv4Addr>,
    /// Option 54, server identifier.
    pub server: Option<Ipv4Addr>,
    /// Option 51, lease in seconds.
    pub lease_secs: Option<u32>,
    /// Option 1, subnet mask.
    pub mask: Option<Ipv4Addr>,
    /// Option 3, routers.
    pub routers: Vec<Ipv4Addr>,
    /// Option 6, name servers.
    pub resolvers: Vec<Ipv4Addr>,
    /// Every option in words, in the order of the message.
    pub options: Vec<DhcpOptionText>,
}

/// One DHCP option in words.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DhcpOptionText {
    /// Code.
    pub code: u8,
    /// Name as in RFC 2132: `subnet mask`.
    pub name: String,
    /// Value in words.
    pub value: String,
}
