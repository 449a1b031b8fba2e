//! Connections that a middlebox takes in somebody else's name: SYNs that wait for the application's word, and where a
//! connection that was redirected here wanted to go.
//!
//! A split-TCP proxy (RFC 3135) answers a SYN only when the server it stands for has answered its own: so the client
//! sees the server's delay in the handshake and the proxy's in every ACK after it.

use std::net::SocketAddr;

use crate::packet::protocol;
use crate::socket::{SocketId, Sockets};
use crate::stack::Stack;

impl Stack {
    /// From now on every SYN to this listener waits for [`Stack::tcp_admit`] (or [`Stack::tcp_abort`], which answers
    /// with a reset); [`Stack::tcp_take_held`] tells of them.
    pub fn tcp_hold(&mut self, listener: SocketId) {
        if let Some(listener) = self.sockets.listener_mut(listener) {
            listener.holds = true;
        }
    }

    /// The next connection of this listener whose SYN waits for a word.
    pub fn tcp_take_held(&mut self, listener: SocketId) -> Option<SocketId> {
        self.sockets.listener_mut(listener)?.held.pop_front()
    }

    /// Lets a held handshake go on; the connection can be used once its state says so, without `accept`.
    pub fn tcp_admit(&mut self, id: SocketId) {
        self.sockets.leave_listener(id);
        if let Some(socket) = self.sockets.tcp_mut(id) {
            socket.connection.admit();
            self.sockets.touch(id);
        }
    }

    /// Where the peer of a connection that destination NAT brought here wanted to go (Linux: `SO_ORIGINAL_DST`); the
    /// local address when nothing was rewritten.
    pub fn original_destination(&self, id: SocketId) -> Option<SocketAddr> {
        let (local, remote) = (self.local_addr(id)?, self.remote_addr(id)?);
        let wanted =
            self.hooks.as_ref().and_then(|hooks| hooks.original_destination(protocol::TCP, local, remote));
        Some(wanted.unwrap_or(local))
    }
}

impl Sockets {
    /// If the listener holds SYNs back: notes that `id` waits, and wakes it.
    pub(crate) fn hold(&mut self, listener: SocketId, id: SocketId) -> bool {
        match self.listener_mut(listener) {
            Some(l) if l.holds => {
                l.held.push_back(id);
                self.wake(listener);
                true
            }
            _ => false,
        }
    }
}
