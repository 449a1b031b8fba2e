//! Plain traffic without an executor, small in memory: what benchmarks drive a network with. A UDP source and sink, a TCP
//! bulk source and sink, a client that asks once and a server that answers.
//!
//! Not for: anything that speaks a real protocol; that is `rt-apps`. Payload bytes are zeros, as in ns-3's applications, and TCP shares
//! them instead of copying them into its send buffer; what is put into frames and summed are real bytes.
//! Each says when its first packet goes; a source with a timer arms it itself.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use bytes::Bytes;
use rt_base::{Nanos, Time};
use rt_stack::{ConnectOptions, SocketId, Stack, TcpRead};

/// What is sent.
static ZEROS: [u8; 16_384] = [0; 16_384];

/// Bytes read at a time.
const READ: usize = 4_096;

/// One source or sink of traffic.
#[derive(Clone, Debug)]
pub enum Traffic {
    /// Datagrams at a constant rate.
    UdpSource(UdpSource),
    /// Counts datagrams.
    UdpSink(UdpSink),
    /// Sends so many bytes over one connection, then FIN.
    TcpSource(TcpSource),
    /// Takes all bytes on all connections, and closes when the other side does.
    TcpSink(TcpSink),
    /// Asks once and reads the whole answer.
    TcpClient(TcpClient),
    /// Reads a request, answers, closes.
    TcpServer(TcpServer),
}

/// See [`Traffic::UdpSource`].
#[derive(Clone, Debug)]
pub struct UdpSource {
    /// Where to.
    pub to: SocketAddr,
    /// Payload bytes per datagram.
    pub size: u16,
    /// From one to the next.
    pub gap: Nanos,
    /// How many are still to be sent.
    pub left: u32,
    /// When the next one goes.
    pub next: Time,
    /// The socket, once open.
    pub socket: Option<SocketId>,
}

/// See [`Traffic::UdpSink`].
#[derive(Clone, Debug)]
pub struct UdpSink {
    /// UDP port.
    pub port: u16,
    /// Datagrams received.
    pub packets: u64,
    /// Payload bytes received.
    pub bytes: u64,
    /// The socket, once open.
    pub socket: Option<SocketId>,
}

/// See [`Traffic::TcpSource`].
#[derive(Clone, Debug)]
pub struct TcpSource {
    /// Where to.
    pub to: SocketAddr,
    /// When to connect.
    pub start: Time,
    /// Bytes still to be written.
    pub left: u64,
    /// The socket, once open.
    pub socket: Option<SocketId>,
}

/// See [`Traffic::TcpSink`].
#[derive(Clone, Debug)]
pub struct TcpSink {
    /// TCP port.
    pub port: u16,
    /// Bytes received on all connections.
    pub bytes: u64,
    /// When the last byte was read.
    pub last: Time,
    /// Connections that have ended.
    pub ended: u64,
    /// The listener, once open.
    pub listener: Option<SocketId>,
    /// Open connections.
    pub open: BTreeSet<SocketId>,
}

/// See [`Traffic::TcpClient`].
#[derive(Clone, Debug)]
pub struct TcpClient {
    /// The server.
    pub to: SocketAddr,
    /// When to connect.
    pub start: Time,
    /// Bytes of the request.
    pub request: u32,
    /// Bytes of the answer.
    pub reply: u32,
    /// Bytes of the answer read.
    pub got: u32,
    /// When all of it was there.
    pub done: Option<Time>,
    /// Request bytes still to be written.
    pub to_write: u32,
    /// The socket while it is open.
    pub socket: Option<SocketId>,
}

/// See [`Traffic::TcpServer`].
#[derive(Clone, Debug)]
pub struct TcpServer {
    /// TCP port.
    pub port: u16,
    /// Bytes of a request.
    pub request: u32,
    /// Bytes of an answer.
    pub reply: u32,
    /// Requests answered.
    pub served: u64,
    /// The listener, once open.
    pub listener: Option<SocketId>,
    /// Open connections: request bytes still to come, answer bytes still to be written.
    pub open: BTreeMap<SocketId, (u32, u32)>,
}

impl Traffic {
    /// `count` datagrams of `size` bytes from time zero on.
    #[must_use]
    pub fn udp_source(to: SocketAddr, size: u16, gap: Nanos, count: u32) -> Traffic {
        Traffic::UdpSource(UdpSource { to, size, gap, left: count, next: Time::ZERO, socket: None })
    }

    /// Counts what comes to a UDP port.
    #[must_use]
    pub fn udp_sink(port: u16) -> Traffic {
        Traffic::UdpSink(UdpSink { port, packets: 0, bytes: 0, socket: None })
    }

    /// Sends `bytes` over one connection from `start` on.
    #[must_use]
    pub fn tcp_source(to: SocketAddr, start: Time, bytes: u64) -> Traffic {
        Traffic::TcpSource(TcpSource { to, start, left: bytes, socket: None })
    }

    /// Takes what comes to a TCP port.
    #[must_use]
    pub fn tcp_sink(port: u16) -> Traffic {
        Traffic::TcpSink(TcpSink {
            port,
            bytes: 0,
            last: Time::ZERO,
            ended: 0,
            listener: None,
            open: BTreeSet::new(),
        })
    }

    /// Sends `request` bytes at `start` and waits for `reply` bytes.
    #[must_use]
    pub fn tcp_client(to: SocketAddr, start: Time, request: u32, reply: u32) -> Traffic {
        let (got, done, socket) = (0, None, None);
        Traffic::TcpClient(TcpClient { to, start, request, reply, got, done, to_write: request, socket })
    }

    /// Answers each `request` bytes with `reply` bytes and closes.
    #[must_use]
    pub fn tcp_server(port: u16, request: u32, reply: u32) -> Traffic {
        let (listener, open) = (None, BTreeMap::new());
        Traffic::TcpServer(TcpServer { port, request, reply, served: 0, listener, open })
    }

    /// When it wants to act by itself.
    #[must_use]
    pub fn deadline(&self) -> Time {
        match self {
            Traffic::UdpSource(s) if s.left > 0 => s.next,
            Traffic::TcpSource(s) if s.socket.is_none() && s.left > 0 => s.start,
            Traffic::TcpClient(c) if c.socket.is_none() && c.done.is_none() => c.start,
            _ => Time::MAX,
        }
    }

    /// Opens what must be open from the start.
    ///
    /// # Panics
    /// When two of a machine's sinks or servers want the same port: whoever builds a benchmark decides that.
    pub(crate) fn boot(&mut self, now: Time, stack: &mut Stack) {
        let free = "invariant: a benchmark's ports are its own";
        match self {
            Traffic::UdpSink(s) => s.socket = Some(stack.udp_open(None, s.port, None).expect(free)),
            Traffic::TcpSink(s) => s.listener = Some(stack.tcp_listen(s.port, BACKLOG).expect(free)),
            Traffic::TcpServer(s) => s.listener = Some(stack.tcp_listen(s.port, BACKLOG).expect(free)),
            Traffic::UdpSource(s) => {
                s.socket = Some(stack.udp_open(None, 0, None).expect(free));
                s.next = s.next.max(now);
            }
            Traffic::TcpSource(_) | Traffic::TcpClient(_) => {}
        }
    }

    /// Its deadline has come.
    pub(crate) fn on_timer(&mut self, now: Time, stack: &mut Stack) {
        match self {
            Traffic::UdpSource(s) => s.fire(now, stack),
            Traffic::TcpSource(s) => {
                s.socket = stack.tcp_connect(s.to, ConnectOptions::default()).ok();
                if s.socket.is_none() {
                    s.left = 0;
                }
            }
            Traffic::TcpClient(c) => {
                c.socket = stack.tcp_connect(c.to, ConnectOptions::default()).ok();
                if c.socket.is_none() {
                    c.start = Time::MAX;
                }
            }
            _ => {}
        }
    }

    /// The readiness of a socket has changed, maybe one of ours.
    pub(crate) fn on_woken(&mut self, now: Time, id: SocketId, stack: &mut Stack) {
        match self {
            Traffic::UdpSource(_) => {}
            Traffic::UdpSink(s) if s.socket == Some(id) => {
                while let Some((data, _)) = stack.udp_recv_from(id) {
                    s.packets += 1;
                    s.bytes += data.len() as u64;
                }
            }
            Traffic::TcpSource(s) if s.socket == Some(id) => s.write(stack, id),
            Traffic::TcpSink(s) => s.on_woken(now, id, stack),
            Traffic::TcpClient(c) if c.socket == Some(id) => c.on_woken(now, id, stack),
            Traffic::TcpServer(s) => s.on_woken(id, stack),
            _ => {}
        }
    }
}

/// Connections that wait to be accepted.
const BACKLOG: u32 = 4_096;

impl UdpSource {
    fn fire(&mut self, now: Time, stack: &mut Stack) {
        if let Some(socket) = self.socket {
            // No route is no reason to stop: a source is not told what becomes of its datagrams.
            let _ = stack.udp_send_to(socket, self.to, &ZEROS[..usize::from(self.size)]);
        }
        self.left -= 1;
        self.next = now + self.gap;
    }
}

/// Writes up to `left` zeros; returns how many are left.
fn write_zeros(stack: &mut Stack, id: SocketId, mut left: u64) -> u64 {
    let zeros = Bytes::from_static(&ZEROS);
    while left > 0 {
        let chunk = usize::try_from(left).unwrap_or(usize::MAX).min(ZEROS.len());
        match stack.tcp_write_shared(id, &zeros.slice(..chunk)) {
            Ok(0) => break,
            Ok(n) => left -= n as u64,
            // The connection broke: nothing more to do.
            Err(_) => return 0,
        }
    }
    left
}

/// Reads what is there, without looking at it: bytes, and whether the other side is done (or the connection broke).
fn read_all(stack: &mut Stack, id: SocketId) -> (u64, bool) {
    let mut bytes = 0;
    loop {
        match stack.tcp_discard(id, READ) {
            Ok(TcpRead::Data(n)) => bytes += n as u64,
            Ok(TcpRead::WouldBlock) => return (bytes, false),
            Ok(TcpRead::Eof) | Err(_) => return (bytes, true),
        }
    }
}

impl TcpSource {
    fn write(&mut self, stack: &mut Stack, id: SocketId) {
        if self.left == 0 {
            return;
        }
        self.left = write_zeros(stack, id, self.left);
        if self.left == 0 {
            stack.tcp_shutdown(id);
        }
    }
}

impl TcpSink {
    fn on_woken(&mut self, now: Time, id: SocketId, stack: &mut Stack) {
        if self.listener == Some(id) {
            // Data may have come with the handshake's last ACK.
            while let Some(accepted) = stack.tcp_accept(id) {
                self.open.insert(accepted);
                self.read(now, accepted, stack);
            }
        } else if self.open.contains(&id) {
            self.read(now, id, stack);
        }
    }

    fn read(&mut self, now: Time, id: SocketId, stack: &mut Stack) {
        let (bytes, ended) = read_all(stack, id);
        if bytes > 0 {
            self.bytes += bytes;
            self.last = now;
        }
        if ended {
            self.ended += 1;
            self.open.remove(&id);
            stack.close(id);
        }
    }
}

impl TcpClient {
    fn on_woken(&mut self, now: Time, id: SocketId, stack: &mut Stack) {
        self.to_write = u32::try_from(write_zeros(stack, id, u64::from(self.to_write))).unwrap_or(0);
        let (bytes, ended) = read_all(stack, id);
        self.got = self.got.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
        if self.got >= self.reply {
            self.done = Some(now);
        }
        if self.done.is_some() || ended {
            stack.close(id);
            self.socket = None;
            self.start = Time::MAX;
        }
    }
}

impl TcpServer {
    fn on_woken(&mut self, id: SocketId, stack: &mut Stack) {
        if self.listener == Some(id) {
            while let Some(accepted) = stack.tcp_accept(id) {
                self.open.insert(accepted, (self.request, self.reply));
                self.serve(accepted, stack);
            }
        } else {
            self.serve(id, stack);
        }
    }

    fn serve(&mut self, id: SocketId, stack: &mut Stack) {
        let Some((to_read, to_write)) = self.open.get_mut(&id) else { return };
        let (bytes, ended) = read_all(stack, id);
        *to_read = to_read.saturating_sub(u32::try_from(bytes).unwrap_or(u32::MAX));
        if *to_read > 0 && !ended {
            return;
        }
        if *to_read == 0 {
            *to_write = u32::try_from(write_zeros(stack, id, u64::from(*to_write))).unwrap_or(0);
        }
        if *to_write == 0 || ended {
            self.served += u64::from(*to_write == 0);
            self.open.remove(&id);
            stack.close(id);
        }
    }
}
