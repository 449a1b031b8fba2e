//! Real TCP connections over the loopback interface: programs that open a published port, and servers of this computer that
//! stand for simulated ones. Nothing of another computer can come in, and nothing goes to one.
//!
//! Each connection has a window of [`BRIDGE_WINDOW`] bytes in each direction, so what waits here is bounded; a socket is not
//! read while the simulated side has no room. One descriptor (epoll, edge-triggered) stands for all of them.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};

use rt_base::{BRIDGE_WINDOW, Carried};
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::poller::Watch;

/// Bytes read from a connection at a time.
const PIECE: usize = 64 << 10;
/// Connections read in one turn.
const TURN: usize = 32;
/// Connections of one bridge at once; more wait with the kernel.
const MOST: usize = 1_000;
/// The event of a listener, and not of a connection.
const LISTENER: u32 = u32::MAX;

type Key = (u16, u32);

/// Real TCP connections over this computer's loopback interface.
#[derive(Debug)]
pub struct Loopback {
    epoll: OwnedFd,
    bridges: Vec<Kind>,
    connections: BTreeMap<Key, Connection>,
    /// Connections that may have something to do, in turn.
    busy: VecDeque<Key>,
    /// For the simulated side.
    inward: Vec<(Key, Carried)>,
    buffer: Vec<u8>,
}

#[derive(Debug)]
enum Kind {
    /// `ready`: somebody may wait to be let in.
    Listener {
        socket: TcpListener,
        ready: bool,
        opened: u32,
    },
    Server {
        port: u16,
    },
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    connecting: bool,
    queued: bool,
    readable: bool,
    writable: bool,
    /// The kernel has said that something ended or broke, so a short read is not the last one.
    hung: bool,
    /// Bytes that the simulated side still takes.
    credit: u32,
    out: VecDeque<u8>,
    /// Bytes written since the simulated side was last told.
    written: u32,
    /// The simulated side has finished; that was passed on; this side has finished.
    finish: bool,
    shut: bool,
    ended: bool,
}

impl Loopback {
    /// No port yet.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn new() -> io::Result<Loopback> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let (connections, busy, inward) = (BTreeMap::new(), VecDeque::new(), Vec::new());
        Ok(Loopback { epoll, bridges: Vec::new(), connections, busy, inward, buffer: vec![0; PIECE] })
    }

    /// Listens on 127.0.0.1 for real programs; the bridge's number.
    ///
    /// # Errors
    ///
    /// The port is taken or may not be used.
    pub fn listen(&mut self, port: u16) -> io::Result<u16> {
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        socket.set_nonblocking(true)?;
        let number = self.number();
        self.watch_socket((number, LISTENER), &socket)?;
        self.bridges.push(Kind::Listener { socket, ready: true, opened: 0 });
        Ok(number)
    }

    /// Connections will be made to a server on 127.0.0.1; the bridge's number.
    pub fn connect_to(&mut self, port: u16) -> u16 {
        self.bridges.push(Kind::Server { port });
        self.number() - 1
    }

    fn number(&self) -> u16 {
        u16::try_from(self.bridges.len()).unwrap_or(u16::MAX)
    }

    fn watch_socket(&self, (bridge, id): Key, socket: &impl AsFd) -> io::Result<()> {
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        let data = EventData::new_u64(u64::from(bridge) << 32 | u64::from(id));
        Ok(epoll::add(&self.epoll, socket, data, flags)?)
    }

    /// Hands on what the simulated side says.
    pub fn send(&mut self, bridge: u16, id: u32, carried: Carried) {
        let key = (bridge, id);
        if carried == Carried::Open {
            return self.open(key);
        }
        let Some(connection) = self.connections.get_mut(&key) else { return };
        match carried {
            Carried::Open => {}
            Carried::Bytes(bytes) => connection.out.extend(bytes),
            Carried::Finished => connection.finish = true,
            Carried::Room(bytes) => connection.credit = connection.credit.saturating_add(bytes),
            Carried::Reset => {
                // Closed like this, a socket says RST.
                let _ = rustix::net::sockopt::set_socket_linger(
                    &connection.stream,
                    Some(std::time::Duration::ZERO),
                );
                self.connections.remove(&key);
                return;
            }
        }
        self.work(key);
        // Bytes may have been left where they were for want of room.
        if self.connections.get(&key).is_some_and(|c| c.readable) {
            self.queue(key);
        }
    }

    fn queue(&mut self, key: Key) {
        if let Some(connection) = self.connections.get_mut(&key)
            && !std::mem::replace(&mut connection.queued, true)
        {
            self.busy.push_back(key);
        }
    }

    /// Connects to the server of a bridge.
    fn open(&mut self, key: Key) {
        let Some(Kind::Server { port }) = self.bridges.get(usize::from(key.0)) else { return };
        let made = connect(*port).and_then(|(stream, connecting)| {
            self.watch_socket(key, &stream)?;
            Ok(Connection { connecting, ..Connection::new(stream) })
        });
        match made {
            Ok(connection) => {
                if !connection.connecting {
                    self.inward.push((key, Carried::Open));
                }
                self.connections.insert(key, connection);
            }
            Err(_) => self.inward.push((key, Carried::Reset)),
        }
    }

    /// Takes what has come, a bounded amount. `heard`: what [`Loopback::watch`] gives was readable, or may be.
    pub fn take(&mut self, heard: bool, mut each: impl FnMut(u16, u32, Carried)) {
        if heard {
            self.hear();
        }
        self.admit();
        for _ in 0..TURN.min(self.busy.len()) {
            let Some(key) = self.busy.pop_front() else { break };
            if let Some(connection) = self.connections.get_mut(&key) {
                connection.queued = false;
                self.work(key);
                self.read(key);
            }
        }
        for ((bridge, id), carried) in self.inward.drain(..) {
            each(bridge, id, carried);
        }
    }

    /// Whether there is more to take at once.
    #[must_use]
    pub fn has_more(&self) -> bool {
        !self.busy.is_empty() || !self.inward.is_empty()
    }

    /// To be handed to a [`Poller`](super::Poller).
    #[must_use]
    pub fn watch(&self) -> Watch<'_> {
        self.epoll.as_fd()
    }

    /// What the kernel says about the sockets.
    fn hear(&mut self) {
        let mut events = Vec::with_capacity(256);
        let none = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        // What cannot be heard now is heard in the next turn.
        let heard = epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&none));
        if heard.is_err() {
            return;
        }
        for event in events {
            let (data, flags) = (event.data.u64(), event.flags);
            let key = (u16::try_from(data >> 32).unwrap_or(u16::MAX), data as u32);
            if key.1 == LISTENER {
                if let Some(Kind::Listener { ready, .. }) = self.bridges.get_mut(usize::from(key.0)) {
                    *ready = true;
                }
                continue;
            }
            let Some(connection) = self.connections.get_mut(&key) else { continue };
            let broken = EventFlags::ERR | EventFlags::HUP;
            connection.hung |= flags.intersects(EventFlags::RDHUP | broken);
            connection.readable |= connection.hung || flags.intersects(EventFlags::IN);
            connection.writable |= flags.intersects(EventFlags::OUT | broken);
            self.queue(key);
        }
    }

    /// Lets in who waits at a published port.
    fn admit(&mut self) {
        for number in 0..self.number() {
            loop {
                let mine = self.connections.range((number, 0)..=(number, LISTENER)).count();
                let Kind::Listener { socket, ready, opened } = &mut self.bridges[usize::from(number)] else {
                    break;
                };
                if !*ready || mine >= MOST {
                    break;
                }
                let stream = match socket.accept() {
                    Ok((stream, _)) => stream,
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                    // Nobody more; or no descriptor for them, which is tried again with the next one.
                    Err(_) => {
                        *ready = false;
                        break;
                    }
                };
                let key = (number, *opened);
                *opened = (*opened + 1) % LISTENER;
                let set = stream.set_nonblocking(true).and_then(|()| stream.set_nodelay(true));
                if set.and_then(|()| self.watch_socket(key, &stream)).is_ok() {
                    self.connections.insert(key, Connection::new(stream));
                    self.inward.push((key, Carried::Open));
                }
            }
        }
    }

    /// Connects, writes and shuts as far as that goes.
    fn work(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(&key) else { return };
        match connection.work() {
            Ok(connected) => {
                if connected {
                    self.inward.push((key, Carried::Open));
                }
                // Not for every byte: each word is an input that is kept.
                if connection.written >= BRIDGE_WINDOW / 4 {
                    self.inward.push((key, Carried::Room(std::mem::take(&mut connection.written))));
                }
                self.bury(key);
            }
            Err(_) => self.broken(key),
        }
    }

    /// Reads one piece, if the simulated side has room.
    fn read(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(&key) else { return };
        if !connection.readable || connection.connecting || connection.ended || connection.credit == 0 {
            return;
        }
        let most = PIECE.min(connection.credit as usize);
        match connection.stream.read(&mut self.buffer[..most]) {
            Ok(0) => {
                connection.ended = true;
                self.inward.push((key, Carried::Finished));
                self.bury(key);
            }
            Ok(len) => {
                connection.credit -= u32::try_from(len).unwrap_or(connection.credit);
                self.inward.push((key, Carried::Bytes(self.buffer[..len].to_vec())));
                // Less than was asked for is all that there is: what comes next is a new event (epoll(7)).
                connection.readable = len == most || connection.hung;
                if connection.readable {
                    self.queue(key);
                }
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => connection.readable = false,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => self.queue(key),
            Err(_) => self.broken(key),
        }
    }

    fn broken(&mut self, key: Key) {
        if self.connections.remove(&key).is_some() {
            self.inward.push((key, Carried::Reset));
        }
    }

    /// Both sides have finished.
    fn bury(&mut self, key: Key) {
        if self.connections.get(&key).is_some_and(|c| c.ended && c.shut) {
            self.connections.remove(&key);
        }
    }
}

impl Connection {
    fn new(stream: TcpStream) -> Connection {
        Connection {
            stream,
            connecting: false,
            queued: false,
            readable: false,
            writable: false,
            hung: false,
            credit: BRIDGE_WINDOW,
            out: VecDeque::new(),
            written: 0,
            finish: false,
            shut: false,
            ended: false,
        }
    }

    /// Whether it has just been connected.
    fn work(&mut self) -> io::Result<bool> {
        if !self.writable {
            return Ok(false);
        }
        if self.connecting || self.hung {
            self.stream.take_error()?.map_or(Ok(()), Err)?;
        }
        let connected = std::mem::take(&mut self.connecting);
        while !self.out.is_empty() {
            match self.stream.write(self.out.as_slices().0) {
                Ok(len) => {
                    self.out.drain(..len);
                    self.written += u32::try_from(len).unwrap_or(0);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    self.writable = false;
                    return Ok(connected);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if self.finish && !self.shut {
            self.stream.shutdown(Shutdown::Write)?;
            self.shut = true;
        }
        Ok(connected)
    }
}

/// A connection to a server on this computer, and whether it is still being made.
fn connect(port: u16) -> io::Result<(TcpStream, bool)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    rustix::net::sockopt::set_tcp_nodelay(&socket, true)?;
    match rustix::net::connect(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)) {
        Ok(()) => Ok((socket.into(), false)),
        Err(Errno::INPROGRESS) => Ok((socket.into(), true)),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes until `done` says so.
    fn until(
        loopback: &mut Loopback,
        all: &mut Vec<(u16, u32, Carried)>,
        done: impl Fn(&[(u16, u32, Carried)]) -> bool,
    ) {
        for _ in 0..2_000 {
            loopback.take(true, |bridge, id, carried| all.push((bridge, id, carried)));
            if done(all) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        panic!("it never came: {} inputs", all.len());
    }

    fn port_of(loopback: &Loopback) -> u16 {
        match &loopback.bridges[0] {
            Kind::Listener { socket, .. } => socket.local_addr().unwrap().port(),
            Kind::Server { port } => *port,
        }
    }

    #[test]
    fn a_program_that_never_reads_and_one_that_is_not_read_stop_at_the_window() {
        let mut loopback = Loopback::new().unwrap();
        loopback.listen(0).unwrap();
        let mut program = TcpStream::connect(("127.0.0.1", port_of(&loopback))).unwrap();
        program.set_nonblocking(true).unwrap();
        let mut all = Vec::new();
        until(&mut loopback, &mut all, |all| all == [(0, 0, Carried::Open)]);
        while program.write(&[7; 65_536]).is_ok() {}
        let bytes = |all: &[(u16, u32, Carried)]| -> usize {
            all.iter().map(|(.., c)| if let Carried::Bytes(b) = c { b.len() } else { 0 }).sum()
        };
        until(&mut loopback, &mut all, |all| bytes(all) == BRIDGE_WINDOW as usize);
        for _ in 0..50 {
            loopback.take(true, |_, _, carried| panic!("more than the window: {carried:?}"));
        }
        assert!(!loopback.has_more(), "nothing to do while there is no room");
        loopback.send(0, 0, Carried::Room(1_000));
        until(&mut loopback, &mut all, |all| bytes(all) == BRIDGE_WINDOW as usize + 1_000);
        // The other way round; a reset is one.
        loopback.send(0, 0, Carried::Bytes(vec![1; 100_000]));
        until(&mut loopback, &mut all, |all| all.iter().any(|(.., c)| matches!(c, Carried::Room(_))));
        loopback.send(0, 0, Carried::Reset);
        program.set_nonblocking(false).unwrap();
        assert_eq!(program.read_to_end(&mut Vec::new()).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }

    #[test]
    fn a_server_that_is_not_there_refuses_and_one_that_is_answers_with_a_half_close() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = server.local_addr().unwrap().port();
        let mut loopback = Loopback::new().unwrap();
        loopback.connect_to(port);
        loopback.send(0, 4, Carried::Open);
        let (mut peer, _) = server.accept().unwrap();
        let mut all = Vec::new();
        until(&mut loopback, &mut all, |all| all == [(0, 4, Carried::Open)]);
        loopback.send(0, 4, Carried::Bytes(b"hello".to_vec()));
        loopback.send(0, 4, Carried::Finished);
        let mut got = String::new();
        peer.read_to_string(&mut got).unwrap();
        assert_eq!(got, "hello");
        peer.write_all(b"bye").unwrap();
        drop(peer);
        until(&mut loopback, &mut all, |all| all.last() == Some(&(0, 4, Carried::Finished)));
        assert!(all.contains(&(0, 4, Carried::Bytes(b"bye".to_vec()))));
        assert!(loopback.connections.is_empty());
        drop(server);
        loopback.send(0, 5, Carried::Open);
        until(&mut loopback, &mut all, |all| all.last() == Some(&(0, 5, Carried::Reset)));
    }
}
