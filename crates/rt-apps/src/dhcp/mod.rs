//! DHCP (RFC 2131, 2132): a client that gives its interface an address, and a server that gives addresses out. Messages
//! are read and written by the `dhcproto` library.
//!
//! Simplifications: the client always sets the broadcast flag, so answers come as broadcasts until it has an address (a
//! capture shows 255.255.255.255 where some systems use unicast); it does not wait one to ten seconds before the first
//! message (RFC 2131, 4.4.1) and does not probe the address that it is given; no relays, no INFORM.

mod client;
mod codec;
mod leases;
mod linklocal;
mod server;

pub use client::{DhcpClientConfig, dhcp_client};
pub use server::{DhcpServerConfig, dhcp_server};

/// The server's port.
pub(crate) const SERVER_PORT: u16 = 67;

/// The client's port.
pub(crate) const CLIENT_PORT: u16 = 68;
