//! The socket table of a machine: which socket a packet is for, listeners with their queues, who has something to say, who
//! is to be woken, whose timer is next.
//!
//! Not for the walk of packets (`stack.rs`), nor for what UDP and TCP do (`udp.rs`, `tcp/`). Main type: [`Sockets`].
//! Ids count up and are never used twice, because events name sockets by them.
//!
//! Simplified: a broadcast reaches one socket of its port, not all; a listener has all addresses.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};

use rt_base::{ConnId, FixedMap, PortId, Time};

use crate::error::SocketError;
use crate::tcp::{Connection, SocketOptions};
use crate::udp::UdpSocket;

/// A socket of one machine; its number is the [`ConnId`] of the machine's events.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SocketId(pub u32);

impl SocketId {
    /// The machine's ping: woken when an answer to `icmp_echo` came.
    pub const ECHO: SocketId = SocketId(0);

    /// A tun interface: woken when a packet came for the program behind it.
    #[must_use]
    pub fn tun(port: PortId) -> SocketId {
        SocketId(0xffff_0000 | u32::from(port.0))
    }

    /// As events name it.
    #[must_use]
    pub fn conn(self) -> ConnId {
        ConnId(self.0)
    }
}

/// What stands behind an id.
#[derive(Debug)]
pub(crate) enum Socket {
    Udp(Box<UdpSocket>),
    Listener(Box<Listener>),
    Tcp(Box<TcpSocket>),
}

/// A TCP port that takes connections.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) port: u16,
    /// What its connections inherit.
    pub(crate) options: SocketOptions,
    pub(crate) backlog: usize,
    /// Handshakes under way: the SYN queue.
    pub(crate) half_open: BTreeSet<SocketId>,
    /// Connections that nobody has accepted yet: the accept queue.
    pub(crate) ready: VecDeque<SocketId>,
    /// Connections whose SYN's text was taken and whose handshake is not over.
    pub(crate) fast_open: usize,
    /// SYNs wait for the application's word.
    pub(crate) holds: bool,
    /// Those that wait and were not told of yet.
    pub(crate) held: VecDeque<SocketId>,
}

impl Listener {
    /// Whether a connection waits to be accepted.
    pub(crate) fn is_readable(&self) -> bool {
        !self.ready.is_empty() || !self.held.is_empty()
    }
}

/// A TCP connection and what the stack keeps beside it.
#[derive(Debug)]
pub(crate) struct TcpSocket {
    pub(crate) connection: Connection,
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    /// The listener whose handshake queue it stands in.
    pub(crate) listener: Option<SocketId>,
    /// The listener that counts it among its connections with text before the handshake's end.
    pub(crate) fast_open_of: Option<SocketId>,
    /// What the application has not been told yet.
    pub(crate) error: Option<SocketError>,
    /// The application has let go of it.
    pub(crate) orphan: bool,
    /// Its place in the timer queue; may be earlier than its deadline.
    wish: Time,
    /// It stands in the list of those with something to say.
    dirty: bool,
    /// When the connection had nothing more to say; `Time::MAX` if it was touched since.
    pub(crate) asked: Time,
}

impl TcpSocket {
    pub(crate) fn new(connection: Connection, local: SocketAddr, remote: SocketAddr) -> TcpSocket {
        let (listener, fast_open_of, error, orphan) = (None, None, None, false);
        let (wish, asked, dirty) = (Time::MAX, Time::MAX, false);
        TcpSocket { connection, local, remote, listener, fast_open_of, error, orphan, wish, dirty, asked }
    }

    /// Whether its place in the timer queue is too late, or it needs none any more.
    pub(crate) fn must_rearm(&self) -> bool {
        let deadline = self.connection.deadline();
        deadline < self.wish || (deadline == Time::MAX && self.wish != Time::MAX)
    }

    /// Whether nothing was done to the connection since it had nothing to say at this very time.
    pub(crate) fn was_asked(&self, now: Time) -> bool {
        self.asked == now
    }
}

/// All sockets.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    table: BTreeMap<SocketId, Socket>,
    last: u32,
    udp: FixedMap<u16, Vec<SocketId>>,
    /// (local, remote) to connection.
    tcp: FixedMap<(SocketAddr, SocketAddr), SocketId>,
    /// The connection of `tcp` found last; dies with every change of `tcp`.
    last_found: Option<SocketId>,
    listeners: FixedMap<u16, SocketId>,
    woken: Vec<SocketId>,
    dirty: VecDeque<SocketId>,
    timers: BTreeSet<(Time, SocketId)>,
}

impl Sockets {
    fn insert(&mut self, socket: Socket) -> SocketId {
        self.last += 1;
        let id = SocketId(self.last);
        self.table.insert(id, socket);
        id
    }

    /// Whether a UDP socket may be opened there: not if one has the same port, address and interface.
    pub(crate) fn udp_is_free(&self, local: Option<IpAddr>, port: u16, device: Option<PortId>) -> bool {
        let clash = |a: Option<IpAddr>| a.is_none() || local.is_none() || a == local;
        let same =
            |s: &UdpSocket| clash(s.local) && (s.device.is_none() || device.is_none() || s.device == device);
        !self.udp_on(port).any(|(_, socket)| same(socket))
    }

    /// Whether no UDP socket at all has this port.
    pub(crate) fn udp_port_is_free(&self, port: u16) -> bool {
        self.udp.get(&port).is_none_or(Vec::is_empty)
    }

    /// Whether a TCP connection may use these ends.
    pub(crate) fn tcp_is_free(&self, local: SocketAddr, remote: SocketAddr) -> bool {
        !self.tcp.contains_key(&(local, remote)) && !self.listeners.contains_key(&local.port())
    }

    /// Whether a TCP connection or listener uses this port of ours.
    pub(crate) fn has_tcp_port(&self, port: u16) -> bool {
        self.listeners.contains_key(&port) || self.tcp.keys().any(|(local, _)| local.port() == port)
    }

    /// Enters a UDP socket.
    pub(crate) fn add_udp(&mut self, socket: UdpSocket) -> SocketId {
        let port = socket.port;
        let id = self.insert(Socket::Udp(Box::new(socket)));
        self.udp.entry(port).or_default().push(id);
        id
    }

    /// Enters a listener, unless the port has one.
    pub(crate) fn add_listener(&mut self, port: u16, backlog: usize) -> Option<SocketId> {
        if self.listeners.contains_key(&port) {
            return None;
        }
        let (options, ready) = (SocketOptions::default(), VecDeque::new());
        let (half_open, holds, held) = (BTreeSet::new(), false, VecDeque::new());
        let listener = Listener { port, options, backlog, half_open, ready, fast_open: 0, holds, held };
        let id = self.insert(Socket::Listener(Box::new(listener)));
        self.listeners.insert(port, id);
        Some(id)
    }

    /// The id that the next socket will have.
    pub(crate) fn next_id(&self) -> SocketId {
        SocketId(self.last + 1)
    }

    /// Enters a connection; with a listener it stands in that one's handshake queue.
    pub(crate) fn add_tcp(&mut self, mut socket: TcpSocket, listener: Option<SocketId>) -> SocketId {
        let ends = (socket.local, socket.remote);
        socket.listener = listener;
        let next = self.next_id();
        if let Some(Socket::Listener(l)) = listener.and_then(|id| self.table.get_mut(&id)) {
            l.half_open.insert(next);
        }
        let id = self.insert(Socket::Tcp(Box::new(socket)));
        self.tcp.insert(ends, id);
        self.last_found = None;
        id
    }

    /// The handshake of a passive connection is over: it moves to its listener's accept queue.
    pub(crate) fn handshake_done(&mut self, id: SocketId) {
        let Some(listener) = self.tcp_mut(id).and_then(|socket| socket.listener.take()) else { return };
        if let Some(Socket::Listener(l)) = self.table.get_mut(&listener) {
            l.half_open.remove(&id);
            l.ready.push_back(id);
            self.wake(listener);
        }
    }

    /// The text of a passive connection's SYN was taken: it may be accepted before its handshake is over.
    pub(crate) fn fast_opened(&mut self, id: SocketId) {
        let Some(listener) = self.tcp_mut(id).and_then(|socket| socket.listener) else { return };
        self.handshake_done(id);
        if let Some(l) = self.listener_mut(listener) {
            l.fast_open += 1;
        }
        if let Some(socket) = self.tcp_mut(id) {
            socket.fast_open_of = Some(listener);
        }
    }

    /// Such a connection's handshake is over, or it is gone.
    pub(crate) fn fast_open_done(&mut self, id: SocketId) {
        let Some(listener) = self.tcp_mut(id).and_then(|socket| socket.fast_open_of.take()) else { return };
        if let Some(l) = self.listener_mut(listener) {
            l.fast_open -= 1;
        }
    }

    /// A held connection leaves its listener: it will not be accepted a second time.
    pub(crate) fn leave_listener(&mut self, id: SocketId) {
        let Some(listener) = self.tcp_mut(id).and_then(|socket| socket.listener.take()) else { return };
        if let Some(Socket::Listener(l)) = self.table.get_mut(&listener) {
            l.half_open.remove(&id);
        }
    }

    /// The next connection of a listener's accept queue.
    pub(crate) fn accept(&mut self, listener: SocketId) -> Option<SocketId> {
        match self.table.get_mut(&listener)? {
            Socket::Listener(listener) => listener.ready.pop_front(),
            _ => None,
        }
    }

    /// What stands behind an id.
    pub(crate) fn lookup(&self, id: SocketId) -> Option<&Socket> {
        self.table.get(&id)
    }

    pub(crate) fn udp_ref(&self, id: SocketId) -> Option<&UdpSocket> {
        match self.table.get(&id)? {
            Socket::Udp(socket) => Some(socket),
            _ => None,
        }
    }

    pub(crate) fn udp_mut(&mut self, id: SocketId) -> Option<&mut UdpSocket> {
        match self.table.get_mut(&id)? {
            Socket::Udp(socket) => Some(socket),
            _ => None,
        }
    }

    pub(crate) fn tcp_ref(&self, id: SocketId) -> Option<&TcpSocket> {
        match self.table.get(&id)? {
            Socket::Tcp(socket) => Some(socket),
            _ => None,
        }
    }

    pub(crate) fn tcp_mut(&mut self, id: SocketId) -> Option<&mut TcpSocket> {
        match self.table.get_mut(&id)? {
            Socket::Tcp(socket) => Some(socket),
            _ => None,
        }
    }

    pub(crate) fn listener_mut(&mut self, id: SocketId) -> Option<&mut Listener> {
        match self.table.get_mut(&id)? {
            Socket::Listener(listener) => Some(listener),
            _ => None,
        }
    }

    /// All TCP connections.
    pub(crate) fn all_tcp(&self) -> Vec<SocketId> {
        let tcp = self.table.iter().filter(|(_, socket)| matches!(socket, Socket::Tcp(_)));
        tcp.map(|(id, _)| *id).collect()
    }

    /// The UDP socket that a datagram for `dst` and `port`, arrived by `in_port`, is for.
    pub(crate) fn find_udp(&self, dst: IpAddr, port: u16, in_port: Option<PortId>) -> Option<SocketId> {
        let fitting = self.udp_on(port).filter_map(|(id, socket)| Some((socket.fits(dst, in_port)?, id)));
        // The older one wins among equals.
        fitting.max_by_key(|(fit, id)| (*fit, core::cmp::Reverse(*id))).map(|(_, id)| id)
    }

    fn udp_on(&self, port: u16) -> impl Iterator<Item = (SocketId, &UdpSocket)> {
        let ids = self.udp.get(&port).map(Vec::as_slice).unwrap_or_default();
        ids.iter().filter_map(|id| Some((*id, self.udp_ref(*id)?)))
    }

    /// The connection between these ends.
    pub(crate) fn find_tcp(&mut self, local: SocketAddr, remote: SocketAddr) -> Option<SocketId> {
        if let Some(id) = self.last_found
            && let Some(socket) = self.tcp_ref(id)
            && socket.remote == remote
            && socket.local == local
        {
            return Some(id);
        }
        let id = *self.tcp.get(&(local, remote))?;
        self.last_found = Some(id);
        Some(id)
    }

    /// The listener of a port.
    pub(crate) fn find_listener(&self, port: u16) -> Option<(SocketId, &Listener)> {
        let id = *self.listeners.get(&port)?;
        match self.table.get(&id)? {
            Socket::Listener(listener) => Some((id, listener)),
            _ => None,
        }
    }

    /// Tells the application to look at this socket.
    pub(crate) fn wake(&mut self, id: SocketId) {
        if !self.woken.contains(&id) {
            self.woken.push(id);
        }
    }

    /// The sockets to look at, in the order in which they were woken.
    pub(crate) fn take_woken(&mut self, into: &mut Vec<SocketId>) {
        into.append(&mut self.woken);
    }

    /// Notes that a connection was touched and may have something to say.
    pub(crate) fn touch(&mut self, id: SocketId) {
        self.touch_mut(id);
    }

    /// Gives a connection out to be changed, and notes that it was touched.
    pub(crate) fn touch_mut(&mut self, id: SocketId) -> Option<&mut TcpSocket> {
        let Some(Socket::Tcp(socket)) = self.table.get_mut(&id) else { return None };
        socket.asked = Time::MAX;
        if !core::mem::replace(&mut socket.dirty, true) {
            self.dirty.push_back(id);
        }
        Some(socket)
    }

    /// The next connection that was touched.
    pub(crate) fn next_touched(&mut self) -> Option<SocketId> {
        let id = self.dirty.pop_front()?;
        if let Some(socket) = self.tcp_mut(id) {
            socket.dirty = false;
        }
        Some(id)
    }

    /// Whether a connection was touched and not served since.
    pub(crate) fn has_touched(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Brings a connection's place in the timer queue up to date. A deadline that only moved later is left for when the
    /// old wish comes true: most timers never fire.
    pub(crate) fn rearm(&mut self, id: SocketId) {
        let Some(Socket::Tcp(socket)) = self.table.get_mut(&id) else { return };
        if !socket.must_rearm() {
            return;
        }
        let deadline = socket.connection.deadline();
        if socket.wish != Time::MAX {
            self.timers.remove(&(socket.wish, id));
        }
        socket.wish = deadline;
        if deadline != Time::MAX {
            self.timers.insert((deadline, id));
        }
    }

    /// When the next connection wants to be looked at.
    pub(crate) fn deadline(&self) -> Time {
        self.timers.first().map_or(Time::MAX, |(at, _)| *at)
    }

    /// Takes the next connection whose wish has come true out of the timer queue.
    pub(crate) fn next_due(&mut self, now: Time) -> Option<SocketId> {
        let &(at, id) = self.timers.first().filter(|(at, _)| *at <= now)?;
        self.timers.remove(&(at, id));
        if let Some(socket) = self.tcp_mut(id) {
            socket.wish = Time::MAX;
        }
        Some(id)
    }

    /// Takes a socket out of every table.
    pub(crate) fn remove(&mut self, id: SocketId) -> Option<Socket> {
        let socket = self.table.remove(&id)?;
        match &socket {
            Socket::Udp(udp) => {
                if let Some(ids) = self.udp.get_mut(&udp.port) {
                    ids.retain(|other| *other != id);
                    if ids.is_empty() {
                        self.udp.remove(&udp.port);
                    }
                }
            }
            Socket::Listener(listener) => {
                self.listeners.remove(&listener.port);
            }
            Socket::Tcp(tcp) => {
                // A newer connection may have taken over the ends.
                if self.tcp.get(&(tcp.local, tcp.remote)) == Some(&id) {
                    self.tcp.remove(&(tcp.local, tcp.remote));
                    self.last_found = None;
                }
                self.timers.remove(&(tcp.wish, id));
                if let Some(Socket::Listener(l)) = tcp.listener.and_then(|at| self.table.get_mut(&at)) {
                    l.half_open.remove(&id);
                }
                if let Some(l) = tcp.fast_open_of.and_then(|at| self.listener_mut(at)) {
                    l.fast_open -= 1;
                }
            }
        }
        Some(socket)
    }

    /// Packets find this connection no more (it is over, but the application still holds it).
    pub(crate) fn unlink(&mut self, id: SocketId) {
        let Some(Socket::Tcp(tcp)) = self.table.get_mut(&id) else { return };
        let (ends, wish) = ((tcp.local, tcp.remote), core::mem::replace(&mut tcp.wish, Time::MAX));
        self.timers.remove(&(wish, id));
        if self.tcp.get(&ends) == Some(&id) {
            self.tcp.remove(&ends);
            self.last_found = None;
        }
    }

    /// The connections of a listener that nobody will accept: those in its SYN queue and those in its accept queue.
    pub(crate) fn children(&self, listener: SocketId) -> (Vec<SocketId>, Vec<SocketId>) {
        match self.table.get(&listener) {
            Some(Socket::Listener(l)) => {
                (l.half_open.iter().copied().collect(), l.ready.iter().copied().collect())
            }
            _ => (Vec::new(), Vec::new()),
        }
    }

    /// Whether an address of this machine going away breaks the connection.
    pub(crate) fn tcp_on(&self, address: IpAddr) -> Vec<SocketId> {
        let on = |socket: &Socket| matches!(socket, Socket::Tcp(tcp) if tcp.local.ip() == address);
        self.table.iter().filter(|(_, socket)| on(socket)).map(|(id, _)| *id).collect()
    }
}
