//! TCP and UDP sockets of a simulated host. [`TcpStream`] implements tokio's `AsyncRead` and `AsyncWrite`, so libraries
//! (rustls, hyper) run over it unchanged.
//!
//! Not for: what TCP does (that is `rt-stack`); here is only waiting. A socket lets go of its connection when dropped:
//! FIN if all was read, RST if data was left unread, as Linux does.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rt_base::{FrameId, PortId, TcpPhase};
use rt_stack::tcp::{Info, SocketOptions};
use rt_stack::{ConnectOptions, SocketError, SocketId, Stack, TcpRead};
use rt_wire::Ipv4Header;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::net::{HostCore, Net};

/// Connections that wait to be accepted, at most.
const BACKLOG: u32 = 128;

/// What Rust's standard library would report.
pub(crate) fn io_error(error: SocketError) -> io::Error {
    use io::ErrorKind as K;
    let kind = match error {
        SocketError::Refused => K::ConnectionRefused,
        SocketError::Reset => K::ConnectionReset,
        SocketError::Aborted => K::ConnectionAborted,
        SocketError::TimedOut => K::TimedOut,
        SocketError::HostUnreachable | SocketError::TtlExceeded => K::HostUnreachable,
        SocketError::NetUnreachable => K::NetworkUnreachable,
        SocketError::Prohibited => K::PermissionDenied,
        SocketError::AddrInUse => K::AddrInUse,
        SocketError::AddrNotAvailable | SocketError::NoPorts => K::AddrNotAvailable,
        SocketError::BrokenPipe => K::BrokenPipe,
        SocketError::NotConnected => K::NotConnected,
        SocketError::AddressFamily => K::Unsupported,
        SocketError::MessageTooLong => K::InvalidInput,
        _ => K::Other,
    };
    io::Error::new(kind, error)
}

/// A socket's id, closed when the last owner goes.
struct Owned {
    net: Net,
    id: SocketId,
}

impl Drop for Owned {
    fn drop(&mut self) {
        let mut core = self.net.core();
        core.waiting.remove(&self.id);
        core.stack.close(self.id);
    }
}

impl Owned {
    /// Polls `attempt`; when it would block, waits for the socket.
    fn poll<T>(
        &self,
        cx: &Context<'_>,
        attempt: impl FnOnce(&mut HostCore, SocketId) -> Result<Option<T>, SocketError>,
    ) -> Poll<io::Result<T>> {
        let mut core = self.net.core();
        match attempt(&mut core, self.id) {
            Ok(Some(value)) => Poll::Ready(Ok(value)),
            Ok(None) => {
                core.wait_for(self.id, cx.waker());
                Poll::Pending
            }
            Err(error) => Poll::Ready(Err(io_error(error))),
        }
    }
}

/// A TCP connection.
pub struct TcpStream {
    socket: Owned,
    local: SocketAddr,
    remote: SocketAddr,
}

impl TcpStream {
    fn new(net: &Net, id: SocketId, local: SocketAddr, remote: SocketAddr) -> TcpStream {
        net.core().note_connection(id);
        TcpStream { socket: Owned { net: net.clone(), id }, local, remote }
    }

    /// This end.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// The other end.
    #[must_use]
    pub fn peer_addr(&self) -> SocketAddr {
        self.remote
    }

    /// The connection's id in the host's events.
    #[must_use]
    pub fn id(&self) -> SocketId {
        self.socket.id
    }

    /// RFC 9293 state.
    #[must_use]
    pub fn phase(&self) -> TcpPhase {
        self.socket.net.core().stack.tcp_phase(self.socket.id)
    }

    /// Turns Nagle off (`true`): small segments are sent at once, as web servers and browsers want it.
    pub fn set_nodelay(&self, nodelay: bool) {
        self.socket.net.core().stack.tcp_set_nodelay(self.socket.id, nodelay);
    }

    /// TCP_QUICKACK: an acknowledgement that waits for company goes at once. It says nothing about later ones: programs
    /// that want them at once call it after each read.
    pub fn quick_ack(&self) {
        self.socket.net.core().stack.tcp_set_quickack(self.socket.id, true);
    }

    /// Resets the connection.
    pub fn abort(&self) {
        self.socket.net.core().stack.tcp_abort(self.socket.id);
    }

    /// Waits until both sides have said that they are done (or the connection broke): the state is TIME-WAIT or CLOSED.
    /// Call it after shutting down the writing side.
    pub async fn closed(&self) {
        poll_fn(|cx| {
            let done = self.socket.poll(cx, |core, id| {
                Ok(matches!(core.stack.tcp_phase(id), TcpPhase::Closed | TcpPhase::TimeWait).then_some(()))
            });
            done.map(|_| ())
        })
        .await;
    }

    fn poll_connected(&self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll(cx, |core, id| match core.stack.tcp_phase(id) {
            // With a Fast Open cookie the SYN waits for the first write.
            TcpPhase::SynSent if core.stack.tcp_is_deferred(id) => Ok(Some(())),
            TcpPhase::SynSent | TcpPhase::SynReceived => Ok(None),
            TcpPhase::Closed => Err(core.stack.take_error(id).unwrap_or(SocketError::Reset)),
            _ => Ok(Some(())),
        })
    }
}

impl AsyncRead for TcpStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        self.socket.poll(cx, |core, id| {
            Ok(match core.stack.tcp_read(id, buf.initialize_unfilled())? {
                TcpRead::Data(n) => {
                    buf.advance(n);
                    Some(())
                }
                TcpRead::Eof => Some(()),
                TcpRead::WouldBlock => None,
            })
        })
    }
}

impl AsyncWrite for TcpStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        if data.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.socket.poll(cx, |core, id| Ok(Some(core.stack.tcp_write(id, data)?).filter(|&n| n > 0)))
    }

    /// All of them in one go, as `writev` does: a TLS library whose handshake failed writes its alert just once.
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut written = 0;
        for part in parts.iter().filter(|part| !part.is_empty()) {
            match self.as_mut().poll_write(cx, part) {
                Poll::Ready(Ok(n)) => {
                    written += n;
                    if n < part.len() {
                        break;
                    }
                }
                other if written == 0 => return other,
                // What was taken is taken; the next call meets the obstacle again.
                _ => break,
            }
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Bytes written are with TCP at once: there is nothing to flush.
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Sends FIN after what was written.
    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.net.core().stack.tcp_shutdown(self.socket.id);
        Poll::Ready(Ok(()))
    }
}

/// A port that accepts TCP connections.
pub struct TcpListener {
    socket: Owned,
    port: u16,
}

impl TcpListener {
    /// The port it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The next connection whose handshake is over, and who it comes from.
    ///
    /// # Errors
    /// Only when the listener itself is broken.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let id = poll_fn(|cx| self.socket.poll(cx, |core, id| Ok(core.stack.tcp_accept(id)))).await?;
        let net = &self.socket.net;
        let (local, remote) = addresses(&net.core(), id)?;
        Ok((TcpStream::new(net, id, local, remote), remote))
    }
}

/// A SYN that waits for the application's word. Dropped without one, it is answered with a reset.
pub struct HeldSyn {
    stream: Option<TcpStream>,
    wanted: SocketAddr,
}

impl HeldSyn {
    /// Who knocks.
    #[must_use]
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.stream.as_ref().map(TcpStream::peer_addr)
    }

    /// Whom the peer wanted to reach, before destination NAT brought it here.
    #[must_use]
    pub fn wanted(&self) -> SocketAddr {
        self.wanted
    }

    /// Lets the handshake go on and waits for its end.
    ///
    /// # Errors
    /// The peer went away meanwhile.
    pub async fn admit(mut self) -> io::Result<TcpStream> {
        let stream = self.stream.take().ok_or(io::ErrorKind::NotConnected)?;
        stream.socket.net.core().stack.tcp_admit(stream.socket.id);
        poll_fn(|cx| stream.poll_connected(cx)).await?;
        Ok(stream)
    }
}

impl Drop for HeldSyn {
    fn drop(&mut self) {
        if let Some(stream) = &self.stream {
            stream.abort();
        }
    }
}

impl TcpListener {
    /// From now on SYNs wait for a word: see [`TcpListener::next_syn`].
    pub fn hold(&self) {
        self.socket.net.core().stack.tcp_hold(self.socket.id);
    }

    /// The next SYN that waits for a word.
    ///
    /// # Errors
    /// Only when the listener itself is broken.
    pub async fn next_syn(&self) -> io::Result<HeldSyn> {
        let id = poll_fn(|cx| self.socket.poll(cx, |core, id| Ok(core.stack.tcp_take_held(id)))).await?;
        let net = &self.socket.net;
        let (local, remote) = addresses(&net.core(), id)?;
        let wanted = net.core().stack.original_destination(id).unwrap_or(local);
        Ok(HeldSyn { stream: Some(TcpStream::new(net, id, local, remote)), wanted })
    }
}

fn addresses(core: &HostCore, id: SocketId) -> io::Result<(SocketAddr, SocketAddr)> {
    let not_connected = || io::Error::from(io::ErrorKind::NotConnected);
    let local = core.stack.local_addr(id).ok_or_else(not_connected)?;
    let remote = core.stack.remote_addr(id).ok_or_else(not_connected)?;
    Ok((local, remote))
}

/// A UDP socket. Clones share it.
#[derive(Clone)]
pub struct UdpSocket(Arc<Owned>);

impl UdpSocket {
    /// This end; the address is unspecified unless it was bound to one.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.0.net.core().stack.local_addr(self.0.id)
    }

    /// Sends a datagram (an empty one too).
    ///
    /// # Errors
    /// No route, no address of ours to send from, or longer than UDP allows.
    pub fn send_to(&self, data: &[u8], to: SocketAddr) -> io::Result<()> {
        self.0.net.core().stack.udp_send_to(self.0.id, to, data).map_err(io_error)
    }

    pub(crate) fn with_stack<T>(&self, act: impl FnOnce(&mut Stack, SocketId) -> T) -> T {
        act(&mut self.0.net.core().stack, self.0.id)
    }

    pub(crate) fn poll_recv_carrying(
        &self,
        cx: &Context<'_>,
    ) -> Poll<io::Result<(Vec<u8>, SocketAddr, FrameId)>> {
        self.0.poll(cx, |core, id| match core.stack.udp_recv_carrying(id) {
            Some(datagram) => Ok(Some(datagram)),
            None => core.stack.take_error(id).map_or(Ok(None), Err),
        })
    }

    /// The next datagram and who sent it.
    ///
    /// # Errors
    /// An ICMP error came back for something this socket sent (port, host or network unreachable). The socket is still
    /// good after that.
    pub async fn recv_from(&self) -> io::Result<(Vec<u8>, SocketAddr)> {
        poll_fn(|cx| {
            self.0.poll(cx, |core, id| match core.stack.udp_recv_from(id) {
                Some(datagram) => Ok(Some(datagram)),
                None => core.stack.take_error(id).map_or(Ok(None), Err),
            })
        })
        .await
    }
}

impl Net {
    /// What TCP knows about a connection of ours.
    #[must_use]
    pub fn tcp_info(&self, stream: &TcpStream) -> Option<Info> {
        self.tcp_info_of(stream.id())
    }

    /// The same by its id.
    #[must_use]
    pub(crate) fn tcp_info_of(&self, id: SocketId) -> Option<Info> {
        self.core().stack.tcp_info(id)
    }

    /// Connects to `remote` (pin the source port or the initial sequence number with `options`).
    ///
    /// # Errors
    /// `ConnectionRefused` (RST), `TimedOut` (no answer to any SYN), `HostUnreachable`, `NetworkUnreachable` (ICMP or no
    /// route), `AddrInUse` (no port left).
    pub async fn tcp_connect(&self, remote: SocketAddr, options: ConnectOptions) -> io::Result<TcpStream> {
        self.tcp_connect_with(remote, options, SocketOptions::default()).await
    }

    /// The same on a socket with options.
    ///
    /// # Errors
    /// As [`Net::tcp_connect`].
    pub async fn tcp_connect_with(
        &self,
        remote: SocketAddr,
        options: ConnectOptions,
        own: SocketOptions,
    ) -> io::Result<TcpStream> {
        let (id, local) = {
            let mut core = self.core();
            let own = SocketOptions { fast_open_connect: core.fast_open || own.fast_open_connect, ..own };
            let id = core.stack.tcp_connect_with(remote, options, own).map_err(io_error)?;
            (id, addresses(&core, id)?.0)
        };
        let stream = TcpStream::new(self, id, local, remote);
        poll_fn(|cx| stream.poll_connected(cx)).await?;
        Ok(stream)
    }

    /// Listens on a TCP port of all addresses.
    ///
    /// # Errors
    /// `AddrInUse`.
    pub fn tcp_listen(&self, port: u16) -> io::Result<TcpListener> {
        self.tcp_listen_with(port, BACKLOG)
    }

    /// The same with a backlog of one's own: so many connections may wait to be accepted.
    ///
    /// # Errors
    /// `AddrInUse`.
    pub fn tcp_listen_with(&self, port: u16, backlog: u32) -> io::Result<TcpListener> {
        let id = self.core().stack.tcp_listen(port, backlog).map_err(io_error)?;
        Ok(TcpListener { socket: Owned { net: self.clone(), id }, port })
    }

    /// Connections of this machine are opened with TCP_FASTOPEN_CONNECT (RFC 7413): with a cookie at hand, the first text
    /// goes with the SYN.
    pub fn set_fast_open(&self, on: bool) {
        self.core().fast_open = on;
    }

    /// Sends an IP packet as it is, in whatever name: a raw socket.
    pub fn raw_send(&self, ip: Ipv4Header, payload: Vec<u8>) {
        self.core().stack.raw_send(ip, payload);
    }

    /// Opens a UDP socket: on one address or all, on a port or (0) an ephemeral one, and only on interface `device` if
    /// given (which also allows sending to 255.255.255.255 before there is an address).
    ///
    /// # Errors
    /// `AddrInUse`.
    pub fn udp_bind(
        &self,
        local: Option<IpAddr>,
        port: u16,
        device: Option<PortId>,
    ) -> io::Result<UdpSocket> {
        let id = self.core().stack.udp_open(local, port, device).map_err(io_error)?;
        Ok(UdpSocket(Arc::new(Owned { net: self.clone(), id })))
    }
}
