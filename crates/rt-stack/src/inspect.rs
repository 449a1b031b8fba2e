//! What a socket layer with C semantics wants to know beside what applications need: looking without taking, counting what
//! waits, and changing the machine's TCP while it runs.

use std::sync::Arc;

use crate::socket::{Socket, SocketId};
use crate::stack::Stack;
use crate::tcp::TcpConfig;

impl Stack {
    /// Replaces the machine's TCP configuration (a sysctl): connections that begin later run on it.
    pub fn set_tcp_config(&mut self, config: TcpConfig) {
        self.tcp = Arc::new(config);
    }

    /// Copies what could be read into `buf` and leaves it there; how many bytes.
    #[must_use]
    pub fn tcp_peek(&self, id: SocketId, buf: &mut [u8]) -> usize {
        self.sockets.tcp_ref(id).map_or(0, |socket| socket.connection.peek(buf))
    }

    /// Bytes that can be read.
    #[must_use]
    pub fn tcp_unread(&self, id: SocketId) -> usize {
        self.sockets.tcp_ref(id).map_or(0, |socket| socket.connection.unread())
    }

    /// Whether the network or the peer has ended this socket with an error ([`Stack::take_error`] says which).
    #[must_use]
    pub fn has_error(&self, id: SocketId) -> bool {
        match self.sockets.lookup(id) {
            Some(Socket::Udp(udp)) => udp.error.is_some(),
            Some(Socket::Tcp(tcp)) => tcp.error.is_some() || tcp.connection.error().is_some(),
            _ => false,
        }
    }
}
