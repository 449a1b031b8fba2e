//! What a socket layer with C semantics wants to know beside what applications need: looking without taking, and
//! counting what waits.

use crate::socket::{Socket, SocketId};
use crate::stack::Stack;

impl Stack {
    /// Copies what could be read into `buf` and leaves it there; how many bytes.
    #[must_use]
    pub fn tcp_peek(&self, id: SocketId, buf: &mut [u8]) -> usize {
        self.sockets.tcp_ref(id).map_or(0, |socket| socket.connection.peek(buf))
    }

    /// Room for what the application has not read yet, at most, in bytes.
    #[must_use]
    pub fn tcp_receive_buffer(&self, id: SocketId) -> u32 {
        self.sockets.tcp_ref(id).map_or(0, |socket| socket.connection.receive_buffer())
    }

    /// What a cork or `MSG_MORE` holds back leaves now.
    pub fn tcp_push(&mut self, id: SocketId) {
        if let Some(socket) = self.sockets.tcp_mut(id) {
            socket.connection.push_held();
            self.sockets.touch(id);
        }
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
