//! What an application is told when a socket call fails. The kinds map one to one to `std::io::ErrorKind` or errno.

use core::fmt;

/// Why a socket call failed, or what the network said about a socket's packets.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[non_exhaustive]
pub enum SocketError {
    /// The peer's machine says that nobody listens (ICMP port unreachable, or RST to our SYN): ECONNREFUSED.
    Refused,
    /// The peer reset the connection: ECONNRESET.
    Reset,
    /// The connection was aborted on this side: ECONNABORTED.
    Aborted,
    /// No answer in time: ETIMEDOUT.
    TimedOut,
    /// No route to the network, here or (ICMP code 0) on the way: ENETUNREACH.
    NetUnreachable,
    /// The host does not answer ARP, here or (ICMP code 1) on the way: EHOSTUNREACH.
    HostUnreachable,
    /// A filter forbids it (ICMP codes 9, 10, 13, or our own output chain): EACCES.
    Prohibited,
    /// The TTL ran out on the way (ICMP time exceeded; a routing loop, most likely): EHOSTUNREACH.
    TtlExceeded,
    /// The host does not speak the protocol (ICMP code 2): ENOPROTOOPT.
    ProtocolUnreachable,
    /// The port or address is taken: EADDRINUSE.
    AddrInUse,
    /// The address is not one of this machine, or it has none: EADDRNOTAVAIL.
    AddrNotAvailable,
    /// No ephemeral port is free: EADDRNOTAVAIL.
    NoPorts,
    /// The datagram cannot be sent: longer than 65,507 bytes: EMSGSIZE.
    MessageTooLong,
    /// Writing after shutdown, or to a closed connection: EPIPE.
    BrokenPipe,
    /// The connection is not open (any more): ENOTCONN.
    NotConnected,
    /// IPv6, which this stack does not speak yet: EAFNOSUPPORT.
    AddressFamily,
    /// The machine's settings forbid it: EOPNOTSUPP.
    NotSupported,
    /// No such socket, or not of that kind: EBADF.
    BadSocket,
}

impl SocketError {
    /// One short phrase for people.
    #[must_use]
    pub fn say(self) -> &'static str {
        match self {
            SocketError::Refused => "connection refused",
            SocketError::Reset => "connection reset by peer",
            SocketError::Aborted => "connection aborted",
            SocketError::TimedOut => "timed out",
            SocketError::NetUnreachable => "network unreachable",
            SocketError::HostUnreachable => "host unreachable",
            SocketError::Prohibited => "prohibited by a filter",
            SocketError::TtlExceeded => "TTL exceeded on the way",
            SocketError::ProtocolUnreachable => "protocol unreachable",
            SocketError::AddrInUse => "address in use",
            SocketError::AddrNotAvailable => "address not available",
            SocketError::NoPorts => rt_base::NO_FREE_PORT,
            SocketError::MessageTooLong => "message too long",
            SocketError::BrokenPipe => "broken pipe",
            SocketError::NotConnected => "not connected",
            SocketError::AddressFamily => "address family not supported",
            SocketError::NotSupported => "operation not supported",
            SocketError::BadSocket => "no such socket",
        }
    }
}

impl fmt::Display for SocketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.say())
    }
}

impl std::error::Error for SocketError {}
