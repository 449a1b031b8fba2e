//! Socket calls that carry data: sending, receiving, pipes.
//!
//! Simplified: no urgent data, no zero-copy (the flag is taken and means nothing), and the error queue is always empty.

use std::net::{SocketAddr, SocketAddrV4};

use rt_base::TcpPhase;
use rt_stack::{SocketId, TcpRead};

use super::calls::{errno, v4};
use super::descriptor::{Kind, PIPE_CAPACITY, Stream};
use super::numbers as n;
use super::{Call, Errno, Fd, Machine, Received};

/// What one look at a descriptor decides.
enum Target {
    Tcp(Stream),
    Udp,
    Pipe,
}

impl Machine {
    fn target(&self, fd: Fd) -> Result<(Target, bool), Errno> {
        let descriptor = self.table.get(fd)?;
        let target = match &descriptor.kind {
            Kind::Tcp(tcp) => Target::Tcp(tcp.stream),
            Kind::Udp(_) => Target::Udp,
            Kind::PipeReader(_) | Kind::PipeWriter { .. } => Target::Pipe,
            Kind::Epoll(_) => return Err(Errno::EINVAL),
        };
        Ok((target, descriptor.nonblocking))
    }

    /// `send`, `sendto`, `write` (flags 0), and with concatenated buffers `writev` and `sendmsg`. `to` is the destination
    /// of `sendto` (a connect at the same time with `MSG_FASTOPEN`).
    pub fn send(&mut self, fd: Fd, bytes: &[u8], flags: i32, to: Option<SocketAddrV4>) -> Call<usize> {
        let (target, nonblocking) = match self.target(fd) {
            Ok(found) => found,
            Err(errno) => return Call::Done(Err(errno)),
        };
        let wait = !nonblocking && flags & n::MSG_DONTWAIT == 0;
        match target {
            Target::Tcp(_) => match self.send_tcp(fd, bytes, flags, wait, to) {
                Step::Done(result) => Call::Done(result),
                Step::Wait if wait => Call::Pending,
                Step::Wait => Call::Done(self.sent_so_far(fd)),
            },
            Target::Udp => Call::Done(self.send_udp(fd, bytes, to)),
            Target::Pipe => match self.write_pipe(fd, bytes) {
                Ok(0) if !bytes.is_empty() && wait => Call::Pending,
                Ok(0) if !bytes.is_empty() => Call::Done(Err(Errno::EAGAIN)),
                result => Call::Done(result),
            },
        }
    }

    /// What a write that will not wait any longer returns: what was taken, or `EAGAIN`.
    fn sent_so_far(&mut self, fd: Fd) -> Result<usize, Errno> {
        let tcp = self.table.tcp_mut(fd)?;
        tcp.waiting_room = false;
        match core::mem::take(&mut tcp.written) {
            0 => Err(Errno::EAGAIN),
            written => Ok(written),
        }
    }

    fn send_tcp(
        &mut self,
        fd: Fd,
        bytes: &[u8],
        flags: i32,
        wait: bool,
        to: Option<SocketAddrV4>,
    ) -> Step<usize> {
        let Ok(tcp) = self.table.tcp(fd) else { return Step::Done(Err(Errno::EBADF)) };
        let id = match tcp.stream {
            Stream::Open(id) => id,
            Stream::Fresh if flags & n::MSG_FASTOPEN != 0 => {
                return self.send_fast_open(fd, bytes, wait, to);
            }
            Stream::Fresh | Stream::Listening(_) => return Step::Done(Err(Errno::EPIPE)),
        };
        let waits_for_connection = match self.stack.tcp_phase(id) {
            TcpPhase::SynSent if self.is_deferred(id) => {
                return self.send_deferred(fd, id, bytes, wait);
            }
            TcpPhase::SynSent => true,
            TcpPhase::SynReceived => !self.is_fast_open(id),
            _ => false,
        };
        if waits_for_connection {
            return Step::Wait;
        }
        if let Some(error) = self.take_error(fd) {
            return Step::Done(self.fail_write(fd, error));
        }
        let Ok(tcp) = self.table.tcp(fd) else { return Step::Done(Err(Errno::EBADF)) };
        if tcp.shut_write || tcp.error_told {
            return Step::Done(self.fail_write(fd, Errno::EPIPE));
        }
        let (start, connecting) = (tcp.written.min(bytes.len()), tcp.connecting);
        if connecting && let Ok(tcp) = self.table.tcp_mut(fd) {
            (tcp.connecting, tcp.connected) = (false, true);
        }
        let Ok(tcp) = self.table.tcp(fd) else { return Step::Done(Err(Errno::EBADF)) };
        // A blocked writer goes on when a third of the buffer is free, as in Linux.
        if tcp.waiting_room && !self.stack.is_writable(id) {
            return Step::Wait;
        }
        let more = flags & n::MSG_MORE != 0;
        let taken = self.app(|stack| stack.tcp_write_more(id, &bytes[start..], more));
        let Ok(tcp) = self.table.tcp_mut(fd) else { return Step::Done(Err(Errno::EBADF)) };
        match taken {
            Ok(taken) => {
                tcp.written = start + taken;
                tcp.waiting_room = tcp.written < bytes.len();
                if tcp.waiting_room {
                    return Step::Wait;
                }
                tcp.written = 0;
                Step::Done(Ok(bytes.len()))
            }
            Err(error) => Step::Done(self.fail_write(fd, errno(error))),
        }
    }

    /// Whether a connect waits for its first data (`TCP_FASTOPEN_CONNECT`).
    pub(super) fn is_deferred(&self, id: SocketId) -> bool {
        self.stack.tcp_is_deferred(id)
    }

    /// Whether data may flow before the handshake is over (RFC 7413).
    pub(super) fn is_fast_open(&self, id: SocketId) -> bool {
        self.stack.tcp_is_fast_open(id)
    }

    /// A write that cannot go on: what was taken before counts first, the error comes with the next call.
    fn fail_write(&mut self, fd: Fd, error: Errno) -> Result<usize, Errno> {
        let tcp = self.table.tcp_mut(fd)?;
        tcp.waiting_room = false;
        // What went with a SYN that was refused does not count.
        let refused = core::mem::take(&mut tcp.connecting);
        match core::mem::take(&mut tcp.written) {
            0 => Err(error),
            _ if refused => Err(error),
            written => Ok(written),
        }
    }

    /// `sendto` with `MSG_FASTOPEN` on a fresh socket: connect and write in one (RFC 7413, 4.2.1). What did not fit into the
    /// SYN follows when the connection is open; one that does not wait returns what went with the SYN.
    fn send_fast_open(&mut self, fd: Fd, bytes: &[u8], wait: bool, to: Option<SocketAddrV4>) -> Step<usize> {
        let Some(to) = to else { return Step::Done(Err(Errno::EDESTADDRREQ)) };
        let Ok(tcp) = self.table.tcp(fd) else { return Step::Done(Err(Errno::EBADF)) };
        let (options, own) = (self.connect_options(tcp), self.stack_options(tcp));
        self.used = true;
        let to = SocketAddr::V4(to);
        let begun = self.app(|stack| {
            let begun = stack.tcp_fast_open(to, options, own, bytes);
            if let Ok((id, taken)) = begun {
                stack.tcp_expect_write(id, wait && taken < bytes.len());
            }
            begun
        });
        let (id, taken) = match begun {
            Ok(begun) => begun,
            Err(error) => return Step::Done(Err(errno(error))),
        };
        let Ok(tcp) = self.table.tcp_mut(fd) else { return Step::Done(Err(Errno::EBADF)) };
        (tcp.stream, tcp.error_told, tcp.connected) = (Stream::Open(id), false, false);
        if wait {
            (tcp.written, tcp.connecting) = (taken, true);
            return Step::Wait;
        }
        Step::Done(if taken == 0 { Err(Errno::EINPROGRESS) } else { Ok(taken) })
    }

    /// The first write of a deferred connect: it goes with the SYN as far as it fits, and a socket that does not wait is
    /// told how much that was.
    fn send_deferred(&mut self, fd: Fd, id: SocketId, bytes: &[u8], wait: bool) -> Step<usize> {
        let space = self.stack.tcp_syn_space(id).min(bytes.len());
        let taken = self.app(|stack| {
            stack.tcp_expect_write(id, wait && space < bytes.len());
            stack.tcp_write(id, &bytes[..space])
        });
        let Ok(tcp) = self.table.tcp_mut(fd) else { return Step::Done(Err(Errno::EBADF)) };
        match taken {
            Ok(taken) if wait => {
                (tcp.written, tcp.connecting) = (taken, true);
                Step::Wait
            }
            Ok(taken) => Step::Done(Ok(taken)),
            Err(error) => Step::Done(Err(errno(error))),
        }
    }

    fn send_udp(&mut self, fd: Fd, bytes: &[u8], to: Option<SocketAddrV4>) -> Result<usize, Errno> {
        let id = self.open_udp(fd, None)?;
        if let Some(error) = self.take_error(fd) {
            return Err(error);
        }
        let to = to.or(self.table.udp_mut(fd)?.peer).ok_or(Errno::EDESTADDRREQ)?;
        self.app(|stack| stack.udp_send_to(id, SocketAddr::V4(to), bytes)).map_err(errno)?;
        Ok(bytes.len())
    }

    /// `recv`, `recvfrom`, `read` (flags 0), and with buffers to be filled one after the other `readv` and `recvmsg`.
    pub fn recv(&mut self, fd: Fd, into: &mut [u8], flags: i32) -> Call<Received> {
        let (target, nonblocking) = match self.target(fd) {
            Ok(found) => found,
            Err(errno) => return Call::Done(Err(errno)),
        };
        if flags & n::MSG_ERRQUEUE != 0 {
            return Call::Done(Err(Errno::EAGAIN));
        }
        if flags & n::MSG_OOB != 0 {
            return Call::Done(Err(Errno::EINVAL));
        }
        let step = match target {
            Target::Tcp(Stream::Open(id)) => self.recv_tcp(fd, id, into, flags),
            Target::Tcp(_) => Step::Done(Err(Errno::ENOTCONN)),
            Target::Udp => self.recv_udp(fd, into, flags),
            Target::Pipe => self.read_pipe(fd, into),
        };
        match step {
            Step::Done(result) => Call::Done(result),
            Step::Wait if nonblocking || flags & n::MSG_DONTWAIT != 0 => Call::Done(Err(Errno::EAGAIN)),
            Step::Wait => Call::Pending,
        }
    }

    fn recv_tcp(&mut self, fd: Fd, id: SocketId, into: &mut [u8], flags: i32) -> Step<Received> {
        let phase = self.stack.tcp_phase(id);
        if phase == TcpPhase::SynSent {
            return Step::Wait;
        }
        let stream = |len| Step::Done(Ok(Received { len, from: None }));
        if into.is_empty() {
            return stream(0);
        }
        if flags & n::MSG_PEEK != 0 {
            let peeked = self.stack.tcp_peek(id, into);
            if peeked > 0 {
                return stream(peeked);
            }
        }
        let (copied, end) =
            if flags & n::MSG_PEEK == 0 { self.gather(fd, id, into, flags) } else { (0, None) };
        let all = flags & n::MSG_WAITALL != 0 && flags & n::MSG_DONTWAIT == 0;
        if copied > 0 && (!all || copied == into.len() || end.is_some() || self.nonblocking(fd)) {
            if let Ok(tcp) = self.table.tcp_mut(fd) {
                tcp.gathered.clear();
            }
            return stream(copied);
        }
        if copied > 0 {
            return Step::Wait;
        }
        let Ok(tcp) = self.table.tcp(fd) else { return Step::Done(Err(Errno::EBADF)) };
        let (told, shut) = (tcp.error_told, tcp.shut_read);
        match end.unwrap_or_else(|| self.app(|stack| stack.tcp_read(id, &mut [0; 0]))) {
            Ok(TcpRead::Eof) => stream(0),
            _ if told || shut => stream(0),
            Err(_) => match self.take_error(fd) {
                Some(error) => Step::Done(Err(error)),
                None => stream(0),
            },
            Ok(TcpRead::WouldBlock | TcpRead::Data(_)) if phase == TcpPhase::Closed => stream(0),
            Ok(TcpRead::WouldBlock | TcpRead::Data(_)) => Step::Wait,
        }
    }

    fn nonblocking(&self, fd: Fd) -> bool {
        self.table.get(fd).is_ok_and(|descriptor| descriptor.nonblocking)
    }

    /// Reads what is there, after what an unfinished `MSG_WAITALL` has read already. Also says how the stream ended, if
    /// it did.
    fn gather(
        &mut self,
        fd: Fd,
        id: SocketId,
        into: &mut [u8],
        flags: i32,
    ) -> (usize, Option<Result<TcpRead, rt_stack::SocketError>>) {
        let before = match self.table.tcp_mut(fd) {
            Ok(tcp) => core::mem::take(&mut tcp.gathered),
            Err(_) => Vec::new(),
        };
        let mut copied = before.len().min(into.len());
        into[..copied].copy_from_slice(&before[..copied]);
        let mut end = None;
        while copied < into.len() {
            match self.app(|stack| stack.tcp_read(id, &mut into[copied..])) {
                Ok(TcpRead::Data(len)) => copied += len,
                Ok(TcpRead::WouldBlock) => break,
                other => {
                    end = Some(other);
                    break;
                }
            }
        }
        if flags & n::MSG_WAITALL != 0
            && let Ok(tcp) = self.table.tcp_mut(fd)
        {
            tcp.gathered = into[..copied].to_vec();
        }
        (copied, end)
    }

    /// BSD throws away what comes on sockets whose reading end was shut.
    pub(super) fn discard_unwanted(&mut self) {
        if !self.settings.is_bsd() {
            return;
        }
        let deaf = self.table.iter().filter_map(|(_, descriptor)| match &descriptor.kind {
            Kind::Tcp(tcp) if tcp.shut_read => match tcp.stream {
                Stream::Open(id) => Some(id),
                _ => None,
            },
            _ => None,
        });
        let deaf: Vec<SocketId> = deaf.collect();
        for id in deaf {
            while let Ok(TcpRead::Data(_)) = self.app(|stack| stack.tcp_read(id, &mut [0; 4_096])) {}
        }
    }

    fn recv_udp(&mut self, fd: Fd, into: &mut [u8], flags: i32) -> Step<Received> {
        let id = match self.open_udp(fd, None) {
            Ok(id) => id,
            Err(errno) => return Step::Done(Err(errno)),
        };
        if let Some(error) = self.take_error(fd) {
            return Step::Done(Err(error));
        }
        let kept = self.table.udp_mut(fd).ok().and_then(|udp| udp.peeked.pop_front());
        let next = kept.or_else(|| {
            let (payload, from) = self.stack.udp_recv_from(id)?;
            Some((payload, v4(from)?))
        });
        let Some((payload, from)) = next else { return Step::Wait };
        let copied = payload.len().min(into.len());
        into[..copied].copy_from_slice(&payload[..copied]);
        let len = if flags & n::MSG_TRUNC != 0 { payload.len() } else { copied };
        if flags & n::MSG_PEEK != 0
            && let Ok(udp) = self.table.udp_mut(fd)
        {
            udp.peeked.push_front((payload, from));
        }
        Step::Done(Ok(Received { len, from: Some(from) }))
    }
}

/// Pipes.
impl Machine {
    fn write_pipe(&mut self, fd: Fd, bytes: &[u8]) -> Result<usize, Errno> {
        let reader = match self.table.get(fd)?.kind {
            Kind::PipeWriter { reader } => reader,
            _ => return Err(Errno::EBADF),
        };
        match self.table.get_mut(reader).map(|d| &mut d.kind) {
            Ok(Kind::PipeReader(pipe)) => {
                let taken = bytes.len().min(PIPE_CAPACITY.saturating_sub(pipe.bytes.len()));
                pipe.bytes.extend(&bytes[..taken]);
                Ok(taken)
            }
            _ => Err(Errno::EPIPE),
        }
    }

    fn read_pipe(&mut self, fd: Fd, into: &mut [u8]) -> Step<Received> {
        let writer_lives = self
            .table
            .iter()
            .any(|(_, other)| matches!(other.kind, Kind::PipeWriter { reader } if reader == fd));
        let pipe = match self.table.get_mut(fd).map(|d| &mut d.kind) {
            Ok(Kind::PipeReader(pipe)) => pipe,
            _ => return Step::Done(Err(Errno::EBADF)),
        };
        if pipe.bytes.is_empty() && writer_lives && !into.is_empty() {
            return Step::Wait;
        }
        let len = pipe.bytes.len().min(into.len());
        for (to, byte) in into.iter_mut().zip(pipe.bytes.drain(..len)) {
            *to = byte;
        }
        Step::Done(Ok(Received { len, from: None }))
    }

    /// `splice(from, NULL, to, NULL, len, flags)` between a pipe and a socket.
    pub fn splice(&mut self, from: Fd, to: Fd, len: usize, flags: i32) -> Call<usize> {
        let is_pipe = |machine: &Machine, fd| matches!(machine.target(fd), Ok((Target::Pipe, _)));
        if !is_pipe(self, from) && !is_pipe(self, to) {
            return Call::Done(Err(Errno::EINVAL));
        }
        let quick = if flags & n::SPLICE_F_NONBLOCK != 0 { n::MSG_DONTWAIT } else { 0 };
        let more = if flags & n::SPLICE_F_MORE != 0 { n::MSG_MORE } else { 0 };
        if is_pipe(self, to) {
            let room = self.pipe_room(to);
            let mut bytes = vec![0; len.min(room)];
            let got = match self.recv(from, &mut bytes, quick) {
                Call::Done(Ok(received)) => received.len,
                Call::Done(Err(errno)) => return Call::Done(Err(errno)),
                Call::Pending => return Call::Pending,
            };
            return Call::Done(self.write_pipe(to, &bytes[..got]));
        }
        let mut bytes = vec![0; len.min(PIPE_CAPACITY)];
        let got = match self.peek_pipe(from, &mut bytes) {
            Ok(0) if quick != 0 => return Call::Done(Err(Errno::EAGAIN)),
            Ok(0) => return Call::Pending,
            Ok(got) => got,
            Err(errno) => return Call::Done(Err(errno)),
        };
        let sent = match self.send(to, &bytes[..got], quick | more | n::MSG_DONTWAIT, None) {
            Call::Done(Ok(sent)) => sent,
            Call::Done(Err(Errno::EAGAIN)) if quick == 0 => return Call::Pending,
            other => return other,
        };
        if let Ok(Kind::PipeReader(pipe)) = self.table.get_mut(from).map(|d| &mut d.kind) {
            pipe.bytes.drain(..sent);
        }
        Call::Done(Ok(sent))
    }

    fn pipe_room(&self, writer: Fd) -> usize {
        let Ok(Kind::PipeWriter { reader }) = self.table.get(writer).map(|d| &d.kind) else { return 0 };
        match self.table.get(*reader).map(|d| &d.kind) {
            Ok(Kind::PipeReader(pipe)) => PIPE_CAPACITY.saturating_sub(pipe.bytes.len()),
            _ => 0,
        }
    }

    fn peek_pipe(&self, reader: Fd, into: &mut [u8]) -> Result<usize, Errno> {
        let Kind::PipeReader(pipe) = &self.table.get(reader)?.kind else { return Err(Errno::EBADF) };
        let len = pipe.bytes.len().min(into.len());
        for (to, byte) in into.iter_mut().zip(&pipe.bytes) {
            *to = *byte;
        }
        Ok(len)
    }
}

/// How far a call got.
enum Step<T> {
    Done(Result<T, Errno>),
    /// It would have to wait.
    Wait,
}
