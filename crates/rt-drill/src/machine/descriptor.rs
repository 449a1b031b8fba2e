//! What stands behind a descriptor.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddrV4;

use rt_stack::SocketId;

use super::{Errno, Fd};

/// All descriptors of a machine.
#[derive(Debug)]
pub(super) struct Table {
    open: BTreeMap<Fd, Descriptor>,
    next: Fd,
    /// Reused for what the stack reports.
    pub(super) woken: Vec<SocketId>,
    /// How often a socket's readiness has changed: the edges of an edge-triggered epoll.
    edges: BTreeMap<SocketId, u64>,
}

impl Default for Table {
    fn default() -> Table {
        Table { open: BTreeMap::new(), next: 3, woken: Vec::new(), edges: BTreeMap::new() }
    }
}

/// More than any program should need; a real machine stops at 1,024 by default.
const LIMIT: usize = 65_536;

impl Table {
    pub(super) fn insert(&mut self, kind: Kind, nonblocking: bool) -> Result<Fd, Errno> {
        if self.open.len() >= LIMIT {
            return Err(Errno::EMFILE);
        }
        let fd = self.next;
        self.next = self.next.checked_add(1).ok_or(Errno::EMFILE)?;
        self.open.insert(fd, Descriptor { kind, nonblocking });
        Ok(fd)
    }

    pub(super) fn remove(&mut self, fd: Fd) -> Result<Descriptor, Errno> {
        let gone = self.open.remove(&fd).ok_or(Errno::EBADF)?;
        for other in self.open.values_mut() {
            if let Kind::Epoll(epoll) = &mut other.kind {
                epoll.interests.remove(&fd);
            }
        }
        Ok(gone)
    }

    pub(super) fn get(&self, fd: Fd) -> Result<&Descriptor, Errno> {
        self.open.get(&fd).ok_or(Errno::EBADF)
    }

    pub(super) fn get_mut(&mut self, fd: Fd) -> Result<&mut Descriptor, Errno> {
        self.open.get_mut(&fd).ok_or(Errno::EBADF)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Fd, &Descriptor)> {
        self.open.iter().map(|(fd, descriptor)| (*fd, descriptor))
    }

    /// Counts what the stack has just reported.
    pub(super) fn note_woken(&mut self) {
        for id in self.woken.drain(..) {
            *self.edges.entry(id).or_default() += 1;
        }
    }

    /// How often the readiness of a socket has changed.
    pub(super) fn edges(&self, id: SocketId) -> u64 {
        self.edges.get(&id).copied().unwrap_or_default()
    }

    /// A socket is gone.
    pub(super) fn forget(&mut self, id: SocketId) {
        self.edges.remove(&id);
    }

    pub(super) fn tcp(&self, fd: Fd) -> Result<&TcpDescriptor, Errno> {
        match &self.get(fd)?.kind {
            Kind::Tcp(tcp) => Ok(tcp),
            Kind::Udp(_) => Err(Errno::EOPNOTSUPP),
            _ => Err(Errno::ENOTSOCK),
        }
    }

    pub(super) fn tcp_mut(&mut self, fd: Fd) -> Result<&mut TcpDescriptor, Errno> {
        match &mut self.get_mut(fd)?.kind {
            Kind::Tcp(tcp) => Ok(tcp),
            Kind::Udp(_) => Err(Errno::EOPNOTSUPP),
            _ => Err(Errno::ENOTSOCK),
        }
    }

    pub(super) fn udp_mut(&mut self, fd: Fd) -> Result<&mut UdpDescriptor, Errno> {
        match &mut self.get_mut(fd)?.kind {
            Kind::Udp(udp) => Ok(udp),
            Kind::Tcp(_) => Err(Errno::EOPNOTSUPP),
            _ => Err(Errno::ENOTSOCK),
        }
    }
}

/// One descriptor.
#[derive(Debug)]
pub(super) struct Descriptor {
    pub(super) kind: Kind,
    /// `O_NONBLOCK`.
    pub(super) nonblocking: bool,
}

/// Kinds of descriptors.
#[derive(Debug)]
pub(super) enum Kind {
    Tcp(Box<TcpDescriptor>),
    Udp(UdpDescriptor),
    /// An end of a pipe, whose bytes the reading end has.
    PipeReader(Pipe),
    PipeWriter {
        reader: Fd,
    },
    Epoll(Epoll),
}

/// A TCP socket as the program sees it.
#[derive(Clone, Debug, Default)]
pub(super) struct TcpDescriptor {
    pub(super) stream: Stream,
    pub(super) bound: Option<SocketAddrV4>,
    /// `connect` has said that the connection stands (or it was accepted): the next one is `EISCONN`.
    pub(super) connected: bool,
    /// A blocking `connect` is under way.
    pub(super) connecting: bool,
    /// The connection's error has been told: Linux tells it once.
    pub(super) error_told: bool,
    /// A blocking write waits for room.
    pub(super) waiting_room: bool,
    pub(super) shut_read: bool,
    pub(super) shut_write: bool,
    /// How much of a blocking write has been taken.
    pub(super) written: usize,
    /// How much a blocking read with `MSG_WAITALL` has given.
    pub(super) gathered: Vec<u8>,
    /// `SO_LINGER`: on or off, seconds.
    pub(super) linger: (i32, i32),
    /// When a lingering `close` gives up, ns.
    pub(super) linger_until: Option<u64>,
    /// `TCP_CONGESTION`, when it was set.
    pub(super) congestion: Option<String>,
    /// Integer options that were set, by level and name.
    pub(super) values: BTreeMap<(i32, i32), i32>,
}

/// Where a TCP socket stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Stream {
    /// Neither listening nor connected.
    #[default]
    Fresh,
    Listening(SocketId),
    Open(SocketId),
}

impl TcpDescriptor {
    /// The value of an integer option that was set.
    pub(super) fn value(&self, level: i32, name: i32) -> Option<i32> {
        self.values.get(&(level, name)).copied()
    }
}

/// A UDP socket as the program sees it.
#[derive(Debug, Default)]
pub(super) struct UdpDescriptor {
    pub(super) id: Option<SocketId>,
    pub(super) bound: Option<SocketAddrV4>,
    pub(super) peer: Option<SocketAddrV4>,
    pub(super) values: BTreeMap<(i32, i32), i32>,
    /// Datagrams that were looked at with `MSG_PEEK`.
    pub(super) peeked: VecDeque<(Vec<u8>, SocketAddrV4)>,
}

/// The bytes in a pipe.
#[derive(Debug, Default)]
pub(super) struct Pipe {
    pub(super) bytes: VecDeque<u8>,
}

/// Linux's default: 16 pages.
pub(super) const PIPE_CAPACITY: usize = 65_536;

/// An epoll instance.
#[derive(Debug, Default)]
pub(super) struct Epoll {
    pub(super) interests: BTreeMap<Fd, Interest>,
}

/// One descriptor that an epoll instance watches.
#[derive(Clone, Copy, Debug)]
pub(super) struct Interest {
    pub(super) events: u32,
    pub(super) data: u64,
    /// Of an edge-triggered one: the edge of which it was told last.
    pub(super) told: Option<u64>,
    /// Of a one-shot one: it has had its shot.
    pub(super) spent: bool,
}
