//! What applications call on TCP sockets: listening, connecting, data, closing, options. The machine's other calls are in
//! `api`, Fast Open's in `fast_open`, a listener's queues in `listen`.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use rt_base::{TcpPhase, Time};
use rt_wire::Seq;

use crate::api::{ConnectOptions, TcpRead};
use crate::error::SocketError;
use crate::ip::destination::{Hop, Place as Where};
use crate::packet::{protocol, v4};
use crate::socket::{Socket, SocketId, TcpSocket};
use crate::stack::Stack;
use crate::tcp::{Connection, Cx, Info, OpenParams, Read, SocketOptions, TcpConfig, TcpError};

/// TCP.
impl Stack {
    /// Listens on a port of all addresses; `backlog` connections may wait to be accepted.
    ///
    /// # Errors
    /// `AddrInUse`.
    pub fn tcp_listen(&mut self, port: u16, backlog: u32) -> Result<SocketId, SocketError> {
        self.sockets.add_listener(port, backlog as usize).ok_or(SocketError::AddrInUse)
    }

    /// The next connection whose handshake is over.
    pub fn tcp_accept(&mut self, listener: SocketId) -> Option<SocketId> {
        self.sockets.accept(listener)
    }

    /// What [`Stack::tcp_listen`] does, with options that the connections inherit.
    ///
    /// # Errors
    /// `AddrInUse`.
    pub fn tcp_listen_with(
        &mut self,
        port: u16,
        backlog: u32,
        options: SocketOptions,
    ) -> Result<SocketId, SocketError> {
        let id = self.tcp_listen(port, backlog)?;
        self.tcp_set_options(id, options);
        Ok(id)
    }

    /// The configuration of a connection with these options; shared with all others if they say nothing.
    pub(crate) fn tcp_config_of(&self, options: &SocketOptions) -> Arc<TcpConfig> {
        if *options == SocketOptions::default() {
            return Arc::clone(&self.tcp);
        }
        let config = options.apply(&self.tcp);
        if config == *self.tcp { Arc::clone(&self.tcp) } else { Arc::new(config) }
    }

    /// The options of a socket or listener; the default ones for ids that are gone.
    #[must_use]
    pub fn tcp_options(&self, id: SocketId) -> SocketOptions {
        match self.sockets.lookup(id) {
            Some(Socket::Tcp(socket)) => socket.connection.options(),
            Some(Socket::Listener(listener)) => listener.options.clone(),
            _ => SocketOptions::default(),
        }
    }

    /// Sets all options of a socket, or of a listener for the connections to come. Change what
    /// [`Stack::tcp_options`] gave.
    pub fn tcp_set_options(&mut self, id: SocketId, options: SocketOptions) {
        let cx = self.cx;
        if let Some(listener) = self.sockets.listener_mut(id) {
            listener.options = options;
        } else if let Some(socket) = self.sockets.tcp_mut(id) {
            socket.connection.set_options(cx, &self.tcp, options);
            self.sockets.touch(id);
        }
    }

    /// The machine's TCP options.
    #[must_use]
    pub fn tcp_config(&self) -> &TcpConfig {
        &self.tcp
    }

    /// Changes the machine's TCP options, for sockets that exist as well (as sysctls do).
    pub fn set_tcp_config(&mut self, config: TcpConfig) {
        let cx = self.cx;
        self.tcp = Arc::new(config);
        for id in self.sockets.all_tcp() {
            if let Some(socket) = self.sockets.tcp_mut(id) {
                socket.connection.set_machine(cx, &self.tcp);
                socket.asked = Time::MAX;
            }
        }
    }

    /// Begins to connect. The phase leaves SYN-SENT (or becomes Closed, then see [`Stack::take_error`]) when the socket is
    /// woken.
    ///
    /// # Errors
    /// `NetUnreachable`, `HostUnreachable` or `Prohibited` when no route leads there, `AddrNotAvailable` without a source
    /// address, `AddrInUse` for a pinned port that is taken, `NoPorts`, `AddressFamily`.
    pub fn tcp_connect(
        &mut self,
        remote: SocketAddr,
        options: ConnectOptions,
    ) -> Result<SocketId, SocketError> {
        self.tcp_connect_with(remote, options, SocketOptions::default())
    }

    /// What [`Stack::tcp_connect`] does, on a socket with options.
    ///
    /// # Errors
    /// As [`Stack::tcp_connect`].
    pub fn tcp_connect_with(
        &mut self,
        remote: SocketAddr,
        options: ConnectOptions,
        own: SocketOptions,
    ) -> Result<SocketId, SocketError> {
        v4(remote.ip()).ok_or(SocketError::AddressFamily)?;
        let source = self.datagram_source(remote.ip(), None)?;
        let free = |port| self.sockets.tcp_is_free(SocketAddr::new(source, port), remote);
        let port = match options.local_port {
            Some(port) if free(port) => port,
            Some(_) => return Err(SocketError::AddrInUse),
            None => self.ports.choose(free).ok_or(SocketError::NoPorts)?,
        };
        let local = SocketAddr::new(source, port);
        let id = self.sockets.next_id();
        let open = OpenParams {
            conn: id.conn(),
            isn: Seq(options.isn.unwrap_or_else(|| self.isn.sequence(self.cx.now, local, remote))),
            mss: self.mss_towards(remote.ip()),
            path_mtu: self.told_mtu(remote.ip()),
            ts_offset: self.isn.timestamp_offset(local, remote),
            nodelay: options.nodelay || own.nodelay,
        };
        self.note_open(id, protocol::TCP, true, local, remote);
        let own = SocketOptions { nodelay: own.nodelay || options.nodelay, ..own };
        let config = self.tcp_config_of(&own);
        let mut connection = Connection::connect(self.cx, &config, &open);
        if own.fast_open_connect && config.fast_open.client {
            connection.start_fast_open(self.fast_open_start(remote.ip(), own.fast_open_no_cookie, true));
        }
        connection.keep_options(own);
        self.sockets.add_tcp(TcpSocket::new(connection, local, remote), None);
        self.sockets.touch(id);
        Ok(id)
    }

    /// The MSS to announce towards `peer`: the interface's MTU without two headers (RFC 6691).
    pub(crate) fn mss_towards(&mut self, peer: IpAddr) -> u16 {
        let mtu = match self.destinations.lookup(peer, &self.nics) {
            Where::Beyond(Hop { mtu, .. }) => mtu,
            Where::Here => u16::MAX,
            _ => 1_500,
        };
        mtu.saturating_sub(40)
    }

    /// What a router has told about the way to `peer`, for the segments of new connections.
    pub(crate) fn told_mtu(&self, peer: IpAddr) -> Option<u16> {
        self.path_mtu.as_ref()?.lookup(self.cx.now, peer)
    }

    /// Takes as much of `bytes` as there is room for; `Ok(0)` means: try again when woken.
    ///
    /// # Errors
    /// The connection's error; `BrokenPipe` after a shutdown; `BadSocket`.
    pub fn tcp_write(&mut self, id: SocketId, bytes: &[u8]) -> Result<usize, SocketError> {
        self.tcp_write_more(id, bytes, false)
    }

    /// [`Stack::tcp_write`]; `more` says that more follows soon, so what does not fill a segment waits (`MSG_MORE`).
    ///
    /// # Errors
    /// As [`Stack::tcp_write`].
    pub fn tcp_write_more(&mut self, id: SocketId, bytes: &[u8], more: bool) -> Result<usize, SocketError> {
        self.tcp_put(id, |connection, cx| connection.write_more(cx, bytes, more))
    }

    /// [`Stack::tcp_write`] without a copy: `bytes` are shared until the peer has acknowledged them, as with
    /// `MSG_ZEROCOPY` or `sendfile`.
    ///
    /// # Errors
    /// As [`Stack::tcp_write`].
    pub fn tcp_write_shared(&mut self, id: SocketId, bytes: &Bytes) -> Result<usize, SocketError> {
        self.tcp_put(id, |connection, cx| connection.write_shared(cx, bytes))
    }

    fn tcp_put(
        &mut self,
        id: SocketId,
        put: impl FnOnce(&mut Connection, Cx) -> Result<usize, TcpError>,
    ) -> Result<usize, SocketError> {
        let cx = self.cx;
        let socket = self.sockets.tcp_mut(id).ok_or(SocketError::BadSocket)?;
        match put(&mut socket.connection, cx) {
            Ok(taken) => {
                self.sockets.touch(id);
                Ok(taken)
            }
            Err(error) => Err(match (socket.error, SocketError::from(error)) {
                (Some(told), _) => told,
                (None, SocketError::NotConnected) => SocketError::BrokenPipe,
                (None, error) => error,
            }),
        }
    }

    /// Copies what arrived in order into `buf`. What came before an error is given out first.
    ///
    /// # Errors
    /// The connection's error once nothing is left to read; `BadSocket`.
    pub fn tcp_read(&mut self, id: SocketId, buf: &mut [u8]) -> Result<TcpRead, SocketError> {
        self.tcp_take(id, |connection, cx| connection.read(cx, buf))
    }

    /// Throws up to `most` bytes away that [`Stack::tcp_read`] would give, as `recv` with `MSG_TRUNC` does on Linux.
    ///
    /// # Errors
    /// As [`Stack::tcp_read`].
    pub fn tcp_discard(&mut self, id: SocketId, most: usize) -> Result<TcpRead, SocketError> {
        self.tcp_take(id, |connection, cx| connection.discard(cx, most))
    }

    fn tcp_take(
        &mut self,
        id: SocketId,
        take: impl FnOnce(&mut Connection, Cx) -> Result<Read, TcpError>,
    ) -> Result<TcpRead, SocketError> {
        let cx = self.cx;
        let socket = self.sockets.tcp_mut(id).ok_or(SocketError::BadSocket)?;
        match take(&mut socket.connection, cx) {
            Ok(Read::Data(n)) => {
                // Right after `send` has asked it, a connection has nothing to say but that its window is open again.
                if cx.recording || socket.connection.owes_ack() || !socket.was_asked(cx.now) {
                    self.sockets.touch(id);
                }
                Ok(TcpRead::Data(n))
            }
            Ok(Read::WouldBlock) => Ok(TcpRead::WouldBlock),
            Ok(Read::Eof) => Ok(TcpRead::Eof),
            Err(error) => Err(socket.error.unwrap_or(error.into())),
        }
    }

    /// Turns Nagle (RFC 896) off or on for one connection: an accepted one has the machine's setting at first.
    pub fn tcp_set_nodelay(&mut self, id: SocketId, nodelay: bool) {
        if let Some(socket) = self.sockets.tcp_mut(id) {
            socket.connection.set_nodelay(nodelay);
            self.sockets.touch(id);
        }
    }

    /// TCP_QUICKACK: switched off, ACKs wait for an answer to carry them; switched on, one that waits leaves now. Either
    /// lasts until the connection's own habits change it.
    pub fn tcp_set_quickack(&mut self, id: SocketId, on: bool) {
        if let Some(socket) = self.sockets.tcp_mut(id) {
            socket.connection.set_quickack(on);
            self.sockets.touch(id);
        }
    }

    /// Says FIN after what was written; reading goes on.
    pub fn tcp_shutdown(&mut self, id: SocketId) {
        let cx = self.cx;
        if let Some(socket) = self.sockets.tcp_mut(id) {
            socket.connection.shutdown(cx);
            self.sockets.touch(id);
        }
    }

    /// The application lets go: FIN, or RST if it left data unread. The id is no longer its own.
    pub fn tcp_close(&mut self, id: SocketId) {
        let cx = self.cx;
        if let Some(socket) = self.sockets.tcp_mut(id) {
            socket.connection.close(cx);
            self.orphan(id);
        }
    }

    /// Resets the connection.
    pub fn tcp_abort(&mut self, id: SocketId) {
        let cx = self.cx;
        if let Some(socket) = self.sockets.tcp_mut(id) {
            socket.connection.abort(cx);
            self.sockets.touch(id);
        }
    }

    /// Nobody holds the socket any more.
    pub(crate) fn orphan(&mut self, id: SocketId) {
        if let Some(socket) = self.sockets.tcp_mut(id) {
            socket.orphan = true;
            self.sockets.touch(id);
        }
    }

    /// RFC 9293 state; `Closed` for ids that are gone or no connections.
    #[must_use]
    pub fn tcp_phase(&self, id: SocketId) -> TcpPhase {
        match self.sockets.lookup(id) {
            Some(Socket::Tcp(socket)) => socket.connection.phase(),
            Some(Socket::Listener(_)) => TcpPhase::Listen,
            _ => TcpPhase::Closed,
        }
    }

    /// What the connection knows about its path, for people and tests.
    #[must_use]
    pub fn tcp_info(&self, id: SocketId) -> Option<Info> {
        self.sockets.tcp_ref(id).map(|socket| socket.connection.info())
    }
}
