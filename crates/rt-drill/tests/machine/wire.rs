//! A machine, and by hand the other end of one connection.

use std::net::{Ipv4Addr, SocketAddrV4};

use rt_base::Nanos;
use rt_drill::machine::{Call, Errno, Fd, Machine, PollFd, Received, Settings, numbers as n};
use rt_wire::{Ipv4Header, Seq, TcpFlags, TcpHeader, TcpOptions, checksum};

pub(crate) const REMOTE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub(crate) const LOCAL: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 1);
pub(crate) const SYN: TcpFlags = TcpFlags::SYN;
pub(crate) const ACK: TcpFlags = TcpFlags::ACK;
pub(crate) const SYN_ACK: TcpFlags = TcpFlags(0x12);
pub(crate) const FIN: TcpFlags = TcpFlags(0x11);
pub(crate) const RST: TcpFlags = TcpFlags(0x14);
const TCP: u8 = 6;

pub(crate) struct Wire {
    pub(crate) machine: Machine,
    ports: (u16, u16),
    seq: u32,
    ack: u32,
}

impl Wire {
    pub(crate) fn new(flags: &str) -> Wire {
        let mut settings = Settings::default();
        assert_eq!(settings.parse_flags(flags), Ok(vec![]));
        Wire { machine: Machine::new(settings), ports: (40_000, 8_080), seq: 1, ack: 1 }
    }

    pub(crate) fn say(&mut self, flags: TcpFlags, payload: &[u8]) {
        let header = TcpHeader {
            src: self.ports.0,
            dst: self.ports.1,
            seq: Seq(self.seq),
            ack: Seq(self.ack),
            flags,
            window: 65_535,
            urgent: 0,
            options: TcpOptions::default(),
        };
        let mut segment = Vec::new();
        header.emit(&mut segment);
        segment.extend_from_slice(payload);
        checksum::fill_transport(REMOTE.into(), LOCAL.into(), TCP, &mut segment);
        let mut packet = Vec::new();
        Ipv4Header::new(REMOTE, LOCAL, TCP, 64, segment.len()).emit(&mut packet);
        packet.extend_from_slice(&segment);
        self.machine.inject(&packet);
        self.seq += payload.len() as u32 + u32::from(flags.any(TcpFlags(0x03)));
    }

    /// The next segment on the wire: flags and payload length. It counts as received.
    pub(crate) fn hear(&mut self) -> Option<(TcpFlags, usize)> {
        let packet = self.machine.take_packet()?;
        let (ip, rest) = Ipv4Header::parse(&packet.bytes).unwrap();
        let (header, payload) = TcpHeader::parse(&rest[..ip.payload_len()]).unwrap();
        self.ports = (header.dst, header.src);
        let len = payload.len() as u32 + u32::from(header.flags.any(TcpFlags(0x03)));
        self.ack = header.seq.0.wrapping_add(len);
        Some((header.flags, payload.len()))
    }

    pub(crate) fn socket(&mut self) -> Fd {
        self.machine.socket(n::AF_INET, n::SOCK_STREAM | n::SOCK_NONBLOCK, n::IPPROTO_TCP).unwrap()
    }

    pub(crate) fn to() -> SocketAddrV4 {
        SocketAddrV4::new(REMOTE, 8_080)
    }

    /// A listener and one connection that it has accepted.
    pub(crate) fn accepted(&mut self) -> (Fd, Fd) {
        let listener = self.socket();
        self.machine.bind(listener, SocketAddrV4::new(LOCAL, 8_080)).unwrap();
        self.machine.listen(listener, 5).unwrap();
        assert_eq!(self.machine.accept(listener, 0), Call::Done(Err(Errno::EAGAIN)));
        self.seq = 0;
        self.say(SYN, b"");
        assert_eq!(self.hear(), Some((SYN_ACK, 0)));
        self.say(ACK, b"");
        let Call::Done(Ok((fd, peer))) = self.machine.accept(listener, n::SOCK_NONBLOCK) else { panic!() };
        assert_eq!(peer, SocketAddrV4::new(REMOTE, 40_000));
        (listener, fd)
    }

    pub(crate) fn recv(&mut self, fd: Fd, flags: i32) -> Result<Vec<u8>, Errno> {
        let mut buf = [0; 100];
        let Received { len, .. } = self.machine.recv(fd, &mut buf, flags).now()?;
        Ok(buf[..len].to_vec())
    }

    pub(crate) fn send(&mut self, fd: Fd, bytes: &[u8]) -> Result<usize, Errno> {
        self.machine.send(fd, bytes, 0, None).now()
    }

    pub(crate) fn poll(&mut self, fd: Fd) -> i32 {
        let mut fds = [PollFd { fd, events: 0x7fff, revents: 0 }];
        assert!(matches!(self.machine.poll(&mut fds, 0), Call::Done(Ok(0 | 1))));
        i32::from(fds[0].revents)
    }

    pub(crate) fn pass(&mut self, ms: u64) {
        self.machine.run_until(self.machine.now() + Nanos::from_millis(ms));
    }

    pub(crate) fn get(&mut self, fd: Fd, level: i32, name: i32) -> Result<i32, Errno> {
        let bytes = self.machine.getsockopt(fd, level, name, 4)?;
        Ok(i32::from_ne_bytes(bytes.try_into().unwrap()))
    }

    pub(crate) fn set(&mut self, fd: Fd, level: i32, name: i32, value: i32) -> Result<(), Errno> {
        self.machine.setsockopt(fd, level, name, &value.to_ne_bytes())
    }

    pub(crate) fn linger(&mut self, fd: Fd, seconds: i32) {
        let value = [1i32.to_ne_bytes(), seconds.to_ne_bytes()].concat();
        self.machine.setsockopt(fd, n::SOL_SOCKET, n::SO_LINGER, &value).unwrap();
    }
}
