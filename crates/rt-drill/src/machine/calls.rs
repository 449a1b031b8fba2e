//! Socket calls with C semantics: making and undoing descriptors, names, connections.
//!
//! Simplified: a listener has all addresses of the machine, whatever it is bound to. `bind` sees the machine's other
//! descriptors, not connections that live on after `close`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};

use rt_base::{Nanos, TcpPhase};
use rt_stack::{ConnectOptions, SocketError, SocketId};

use super::descriptor::{Kind, Pipe, Stream, TcpDescriptor, UdpDescriptor};
use super::numbers as n;
use super::{Call, Errno, Fd, Machine};

/// Making and undoing descriptors.
impl Machine {
    /// `socket(domain, kind, protocol)`; `kind` may have `SOCK_NONBLOCK` and `SOCK_CLOEXEC` in it.
    ///
    /// # Errors
    /// `EAFNOSUPPORT` for anything but IPv4, `EPROTONOSUPPORT`, `ESOCKTNOSUPPORT`.
    pub fn socket(&mut self, domain: i32, kind: i32, protocol: i32) -> Result<Fd, Errno> {
        if domain != n::AF_INET {
            return Err(Errno::EAFNOSUPPORT);
        }
        let nonblocking = kind & n::SOCK_NONBLOCK != 0;
        let made = match (kind & !(n::SOCK_NONBLOCK | n::SOCK_CLOEXEC), protocol) {
            (n::SOCK_STREAM, n::IPPROTO_IP | n::IPPROTO_TCP) => Kind::Tcp(Box::default()),
            (n::SOCK_DGRAM, n::IPPROTO_IP | n::IPPROTO_UDP) => Kind::Udp(UdpDescriptor::default()),
            (n::SOCK_STREAM | n::SOCK_DGRAM, _) => return Err(Errno::EPROTONOSUPPORT),
            _ => return Err(Errno::ESOCKTNOSUPPORT),
        };
        self.table.insert(made, nonblocking)
    }

    /// `close(fd)`. With `SO_LINGER` and a time it waits until all is acknowledged, or the time is up.
    pub fn close(&mut self, fd: Fd) -> Call<()> {
        let now = self.now();
        if let Ok(tcp) = self.table.tcp_mut(fd)
            && let Stream::Open(id) = tcp.stream
            && let (1.., seconds @ 1..) = tcp.linger
        {
            let until = *tcp
                .linger_until
                .get_or_insert_with(|| (now + Nanos::from_secs(seconds.unsigned_abs().into())).0);
            let over = |phase| {
                matches!(phase, TcpPhase::Closed | TcpPhase::TimeWait | TcpPhase::FinWait2 | TcpPhase::Listen)
            };
            self.app(|stack| stack.tcp_shutdown(id));
            if !over(self.stack.tcp_phase(id)) && now.0 < until {
                return Call::Pending;
            }
        }
        let gone = match self.table.remove(fd) {
            Ok(descriptor) => descriptor.kind,
            Err(errno) => return Call::Done(Err(errno)),
        };
        match gone {
            Kind::Tcp(tcp) => self.let_go(&tcp),
            Kind::Udp(UdpDescriptor { id: Some(id), .. }) => {
                self.app(|stack| stack.close(id));
                self.table.forget(id);
            }
            _ => {}
        }
        Call::Done(Ok(()))
    }

    fn let_go(&mut self, tcp: &TcpDescriptor) {
        match tcp.stream {
            Stream::Fresh => {}
            Stream::Listening(id) => {
                self.app(|stack| stack.close(id));
                self.table.forget(id);
            }
            Stream::Open(id) => {
                let at_once = matches!(tcp.linger, (1.., 0));
                self.app(|stack| {
                    if at_once {
                        stack.tcp_abort(id);
                    }
                    stack.close(id);
                });
                self.table.forget(id);
            }
        }
    }

    /// `pipe()`: (the end to read, the end to write).
    ///
    /// # Errors
    /// `EMFILE`.
    pub fn pipe(&mut self) -> Result<(Fd, Fd), Errno> {
        let reader = self.table.insert(Kind::PipeReader(Pipe::default()), false)?;
        let writer = self.table.insert(Kind::PipeWriter { reader }, false)?;
        Ok((reader, writer))
    }
}

/// Names and connections.
impl Machine {
    /// `bind(fd, local)`.
    ///
    /// # Errors
    /// `EADDRINUSE`, `EADDRNOTAVAIL`, `EINVAL` when it is bound already.
    pub fn bind(&mut self, fd: Fd, local: SocketAddrV4) -> Result<(), Errno> {
        let address = *local.ip();
        if !address.is_unspecified() && !address.is_loopback() && !self.has_address(address) {
            return Err(Errno::EADDRNOTAVAIL);
        }
        if let Kind::Udp(udp) = &self.table.get(fd)?.kind {
            if udp.bound.is_some() || udp.id.is_some() {
                return Err(Errno::EINVAL);
            }
            return self.open_udp(fd, Some(local)).map(|_| ());
        }
        let tcp = self.table.tcp(fd)?;
        if tcp.bound.is_some() || tcp.stream != Stream::Fresh {
            return Err(Errno::EINVAL);
        }
        let local =
            SocketAddrV4::new(address, if local.port() == 0 { self.free_port() } else { local.port() });
        if self.clashes(fd, local) {
            return Err(Errno::EADDRINUSE);
        }
        self.table.tcp_mut(fd)?.bound = Some(local);
        Ok(())
    }

    /// Whether another socket of the machine has this name and does not share it.
    fn clashes(&self, fd: Fd, local: SocketAddrV4) -> bool {
        let shares = |tcp: &TcpDescriptor| tcp.value(n::SOL_SOCKET, n::SO_REUSEADDR).unwrap_or(0) != 0;
        let own = self.table.tcp(fd).is_ok_and(shares);
        self.table.iter().any(|(other_fd, descriptor)| {
            let Kind::Tcp(other) = &descriptor.kind else { return false };
            let Some(bound) = other.bound.filter(|_| other_fd != fd) else { return false };
            let same_address =
                bound.ip() == local.ip() || bound.ip().is_unspecified() || local.ip().is_unspecified();
            let listening = matches!(other.stream, Stream::Listening(_));
            bound.port() == local.port() && same_address && (listening || !own || !shares(other))
        })
    }

    /// A port that no descriptor is bound to.
    fn free_port(&self) -> u16 {
        let taken = |port: u16| {
            self.table.iter().any(|(_, descriptor)| match &descriptor.kind {
                Kind::Tcp(tcp) => tcp.bound.is_some_and(|bound| bound.port() == port),
                _ => false,
            })
        };
        (32_768..=60_999).find(|port| !taken(*port)).unwrap_or(0)
    }

    /// `listen(fd, backlog)`.
    ///
    /// # Errors
    /// `EADDRINUSE`, `EINVAL` for a connected socket, `EOPNOTSUPP`.
    pub fn listen(&mut self, fd: Fd, backlog: i32) -> Result<(), Errno> {
        let tcp = self.table.tcp(fd)?;
        match tcp.stream {
            Stream::Open(_) => return Err(Errno::EINVAL),
            Stream::Listening(_) => return Ok(()),
            Stream::Fresh => {}
        }
        let local = match tcp.bound {
            Some(local) => local,
            None => SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, self.free_port()),
        };
        let backlog = u32::try_from(backlog).unwrap_or(u32::MAX).min(4_096);
        self.used = true;
        let options = self.stack_options(tcp);
        let id = self.app(|stack| stack.tcp_listen_with(local.port(), backlog, options)).map_err(errno)?;
        let tcp = self.table.tcp_mut(fd)?;
        (tcp.bound, tcp.stream) = (Some(local), Stream::Listening(id));
        Ok(())
    }

    /// `accept4(fd, ..., flags)`: the new descriptor and the peer.
    pub fn accept(&mut self, fd: Fd, flags: i32) -> Call<(Fd, SocketAddrV4)> {
        let listener = match self.table.get(fd).map(|d| (&d.kind, d.nonblocking)) {
            Err(errno) => return Call::Done(Err(errno)),
            Ok((Kind::Tcp(tcp), nonblocking)) => match tcp.stream {
                Stream::Listening(id) => (id, nonblocking, (**tcp).clone()),
                _ => return Call::Done(Err(Errno::EINVAL)),
            },
            Ok((Kind::Udp(_), _)) => return Call::Done(Err(Errno::EOPNOTSUPP)),
            Ok(_) => return Call::Done(Err(Errno::ENOTSOCK)),
        };
        let (listener, nonblocking, parent) = listener;
        let Some(id) = self.app(|stack| stack.tcp_accept(listener)) else {
            return if nonblocking { Call::Done(Err(Errno::EAGAIN)) } else { Call::Pending };
        };
        // An accepted socket inherits what was set on the listener, but not O_NONBLOCK.
        let child = TcpDescriptor {
            stream: Stream::Open(id),
            connected: true,
            bound: self.stack.local_addr(id).and_then(v4),
            linger: parent.linger,
            congestion: parent.congestion,
            values: parent.values,
            ..TcpDescriptor::default()
        };
        let peer = self.stack.remote_addr(id).and_then(v4);
        let made = self.table.insert(Kind::Tcp(Box::new(child)), flags & n::SOCK_NONBLOCK != 0);
        if let Ok(fd) = made {
            self.apply_options(fd);
        }
        let nobody = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);
        Call::Done(made.map(|fd| (fd, peer.unwrap_or(nobody))))
    }

    /// `connect(fd, to)`; `None` for an address of family `AF_UNSPEC`, which dissolves the connection.
    pub fn connect(&mut self, fd: Fd, to: Option<SocketAddrV4>) -> Call<()> {
        let (stream, nonblocking) = match self.table.get(fd).map(|d| (&d.kind, d.nonblocking)) {
            Err(errno) => return Call::Done(Err(errno)),
            Ok((Kind::Tcp(tcp), nonblocking)) => (tcp.stream, nonblocking),
            Ok((Kind::Udp(_), _)) => return Call::Done(self.connect_udp(fd, to)),
            Ok(_) => return Call::Done(Err(Errno::ENOTSOCK)),
        };
        match (stream, to) {
            (Stream::Open(id), None) => Call::Done(self.disconnect(fd, id)),
            (_, None) => Call::Done(Ok(())),
            (Stream::Listening(_), _) => Call::Done(Err(Errno::EISCONN)),
            (Stream::Fresh, Some(to)) => self.begin_connect(fd, to, nonblocking),
            (Stream::Open(id), Some(_)) => self.go_on_connecting(fd, id, nonblocking),
        }
    }

    fn begin_connect(&mut self, fd: Fd, to: SocketAddrV4, nonblocking: bool) -> Call<()> {
        if let Err(errno) = self.open_stream(fd, to) {
            return Call::Done(Err(errno));
        }
        let Ok(tcp) = self.table.tcp_mut(fd) else { return Call::Done(Err(Errno::EBADF)) };
        let Stream::Open(id) = tcp.stream else { return Call::Done(Err(Errno::EINVAL)) };
        tcp.connecting = !nonblocking;
        match self.stack.tcp_phase(id) {
            // Nothing is sent yet: the first write will.
            TcpPhase::SynSent if self.is_deferred(id) => {
                if let Ok(tcp) = self.table.tcp_mut(fd) {
                    tcp.connecting = false;
                }
                Call::Done(Ok(()))
            }
            TcpPhase::SynSent | TcpPhase::SynReceived if nonblocking => Call::Done(Err(Errno::EINPROGRESS)),
            _ => self.go_on_connecting(fd, id, nonblocking),
        }
    }

    /// What a descriptor says about the connection that it is to open.
    pub(super) fn connect_options(&self, tcp: &TcpDescriptor) -> ConnectOptions {
        ConnectOptions {
            local_port: tcp.bound.map(|bound| bound.port()).filter(|port| *port != 0),
            nodelay: tcp.value(n::IPPROTO_TCP, n::TCP_NODELAY).unwrap_or(0) != 0,
            ..ConnectOptions::default()
        }
    }

    /// Sends the SYN of a fresh socket.
    pub(super) fn open_stream(&mut self, fd: Fd, to: SocketAddrV4) -> Result<(), Errno> {
        let tcp = self.table.tcp(fd)?;
        let options = self.connect_options(tcp);
        self.used = true;
        let own = self.stack_options(tcp);
        let to = SocketAddr::V4(to);
        let id = self.app(|stack| stack.tcp_connect_with(to, options, own)).map_err(errno)?;
        let tcp = self.table.tcp_mut(fd)?;
        (tcp.stream, tcp.error_told, tcp.connected) = (Stream::Open(id), false, false);
        Ok(())
    }

    fn go_on_connecting(&mut self, fd: Fd, id: SocketId, nonblocking: bool) -> Call<()> {
        let phase = self.stack.tcp_phase(id);
        let error = self.take_error(fd);
        let Ok(tcp) = self.table.tcp_mut(fd) else { return Call::Done(Err(Errno::EBADF)) };
        let waiting = tcp.connecting;
        if matches!(phase, TcpPhase::SynSent | TcpPhase::SynReceived) && !tcp.connected {
            return match (waiting && !nonblocking, nonblocking) {
                (true, _) => Call::Pending,
                (false, true) => Call::Done(Err(Errno::EALREADY)),
                (false, false) => {
                    tcp.connecting = true;
                    Call::Pending
                }
            };
        }
        tcp.connecting = false;
        if tcp.connected {
            return Call::Done(Err(Errno::EISCONN));
        }
        if phase == TcpPhase::Closed {
            // The attempt failed: the socket is as new (Linux tells ECONNABORTED when the reason was told before).
            tcp.stream = Stream::Fresh;
            self.app(|stack| stack.close(id));
            self.table.forget(id);
            return Call::Done(Err(error.unwrap_or(Errno::ECONNABORTED)));
        }
        tcp.connected = true;
        Call::Done(Ok(()))
    }

    fn disconnect(&mut self, fd: Fd, id: SocketId) -> Result<(), Errno> {
        self.app(|stack| {
            stack.tcp_abort(id);
            stack.close(id);
        });
        self.table.forget(id);
        let tcp = self.table.tcp_mut(fd)?;
        let (linger, congestion) = (tcp.linger, tcp.congestion.take());
        let values = core::mem::take(&mut tcp.values);
        *tcp = TcpDescriptor { bound: tcp.bound, linger, congestion, values, ..TcpDescriptor::default() };
        Ok(())
    }

    /// `shutdown(fd, how)`.
    ///
    /// # Errors
    /// `ENOTCONN`, `EINVAL`.
    pub fn shutdown(&mut self, fd: Fd, how: i32) -> Result<(), Errno> {
        if !(n::SHUT_RD..=n::SHUT_RDWR).contains(&how) {
            return Err(Errno::EINVAL);
        }
        let (read, write) = (how != n::SHUT_WR, how != n::SHUT_RD);
        if let Kind::Udp(udp) = &self.table.get(fd)?.kind {
            return if udp.peer.is_some() { Ok(()) } else { Err(Errno::ENOTCONN) };
        }
        let tcp = self.table.tcp(fd)?;
        match tcp.stream {
            Stream::Fresh => Err(Errno::ENOTCONN),
            Stream::Listening(id) => {
                if read {
                    self.app(|stack| stack.close(id));
                    self.table.forget(id);
                    self.table.tcp_mut(fd)?.stream = Stream::Fresh;
                }
                Ok(())
            }
            Stream::Open(id) => match self.stack.tcp_phase(id) {
                TcpPhase::Closed => Err(Errno::ENOTCONN),
                TcpPhase::SynSent => self.disconnect(fd, id),
                phase => {
                    // BSD's sockets are disconnected, for reading too, by a second shutdown once the FIN is acknowledged.
                    let over = matches!(phase, TcpPhase::FinWait2 | TcpPhase::TimeWait);
                    let disconnects = write && over && self.settings.is_bsd();
                    if write {
                        self.app(|stack| stack.tcp_shutdown(id));
                    }
                    let tcp = self.table.tcp_mut(fd)?;
                    tcp.shut_read |= read || disconnects;
                    tcp.shut_write |= write;
                    self.discard_unwanted();
                    Ok(())
                }
            },
        }
    }

    /// `getsockname(fd)`.
    ///
    /// # Errors
    /// `EBADF`, `ENOTSOCK`.
    pub fn local_name(&self, fd: Fd) -> Result<SocketAddrV4, Errno> {
        let (id, bound) = match &self.table.get(fd)?.kind {
            Kind::Tcp(tcp) => match tcp.stream {
                Stream::Open(id) => (Some(id), tcp.bound),
                _ => (None, tcp.bound),
            },
            Kind::Udp(udp) => (udp.id, udp.bound),
            _ => return Err(Errno::ENOTSOCK),
        };
        let live = id.and_then(|id| self.stack.local_addr(id)).and_then(v4);
        Ok(live.or(bound).unwrap_or(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0)))
    }

    /// `getpeername(fd)`.
    ///
    /// # Errors
    /// `ENOTCONN`, `EBADF`, `ENOTSOCK`.
    pub fn peer_name(&self, fd: Fd) -> Result<SocketAddrV4, Errno> {
        match &self.table.get(fd)?.kind {
            Kind::Tcp(tcp) => {
                let Stream::Open(id) = tcp.stream else { return Err(Errno::ENOTCONN) };
                let open = !matches!(self.stack.tcp_phase(id), TcpPhase::Closed | TcpPhase::SynSent);
                self.stack.remote_addr(id).and_then(v4).filter(|_| open).ok_or(Errno::ENOTCONN)
            }
            Kind::Udp(udp) => udp.peer.ok_or(Errno::ENOTCONN),
            _ => Err(Errno::ENOTSOCK),
        }
    }

    /// The pending error of a descriptor, which is told once.
    pub(super) fn take_error(&mut self, fd: Fd) -> Option<Errno> {
        match &mut self.table.get_mut(fd).ok()?.kind {
            Kind::Tcp(tcp) => {
                let Stream::Open(id) = tcp.stream else { return None };
                if tcp.error_told {
                    return None;
                }
                let error = self.stack.take_error(id)?;
                tcp.error_told = true;
                Some(errno(error))
            }
            Kind::Udp(udp) => self.stack.take_error(udp.id?).map(errno),
            _ => None,
        }
    }
}

/// UDP.
impl Machine {
    /// The stack's socket of a descriptor, opened at the first need.
    pub(super) fn open_udp(&mut self, fd: Fd, local: Option<SocketAddrV4>) -> Result<SocketId, Errno> {
        if let Some(id) = self.table.udp_mut(fd)?.id {
            return Ok(id);
        }
        self.used = true;
        let address = local.map(|local| IpAddr::V4(*local.ip()));
        let port = local.map_or(0, |local| local.port());
        let id = self.app(|stack| stack.udp_open(address, port, None)).map_err(errno)?;
        let bound = self.stack.local_addr(id).and_then(v4);
        let udp = self.table.udp_mut(fd)?;
        (udp.id, udp.bound) = (Some(id), bound);
        Ok(id)
    }

    fn connect_udp(&mut self, fd: Fd, to: Option<SocketAddrV4>) -> Result<(), Errno> {
        if to.is_some() {
            self.open_udp(fd, None)?;
        }
        self.table.udp_mut(fd)?.peer = to;
        Ok(())
    }
}

/// What Linux says for an error of the stack.
pub(super) fn errno(error: SocketError) -> Errno {
    match error {
        SocketError::Refused => Errno::ECONNREFUSED,
        SocketError::Reset => Errno::ECONNRESET,
        SocketError::Aborted => Errno::ECONNABORTED,
        SocketError::TimedOut => Errno::ETIMEDOUT,
        SocketError::NetUnreachable => Errno::ENETUNREACH,
        SocketError::HostUnreachable | SocketError::TtlExceeded => Errno::EHOSTUNREACH,
        SocketError::Prohibited => Errno::EACCES,
        SocketError::ProtocolUnreachable => Errno::ENOPROTOOPT,
        SocketError::AddrInUse => Errno::EADDRINUSE,
        SocketError::AddrNotAvailable | SocketError::NoPorts => Errno::EADDRNOTAVAIL,
        SocketError::MessageTooLong => Errno::EMSGSIZE,
        SocketError::BrokenPipe => Errno::EPIPE,
        SocketError::NotConnected => Errno::ENOTCONN,
        SocketError::AddressFamily => Errno::EAFNOSUPPORT,
        SocketError::BadSocket => Errno::EBADF,
        SocketError::NotSupported => Errno::EOPNOTSUPP,
        // The stack may come to know more reasons than this list.
        _ => Errno::EPROTO,
    }
}

/// The IPv4 address, if it is one.
pub(super) fn v4(address: SocketAddr) -> Option<SocketAddrV4> {
    match address {
        SocketAddr::V4(address) => Some(address),
        SocketAddr::V6(_) => None,
    }
}
