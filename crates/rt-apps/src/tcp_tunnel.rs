//! A tunnel inside one TCP connection, as OpenVPN with `proto tcp` and many "SSL VPNs" have it: every packet goes as two bytes of
//! length and itself. What TCP means to repeat, the TCP inside means to repeat as well: with losses both back off, and the tunnel
//! melts down.
//!
//! One packet may lie in several segments and several in one. Both ends say where in the stream each packet is, so that the
//! story can join what went in with what came out, and name the segments that carried it.
//!
//! Deliberate simplifications. Nothing is sealed; no keepalives of its own; one peer. At most [`QUEUE`] packets wait for a
//! connection that is stuck, the newest are dropped then, as by a device's queue. Whoever connects waits a second after a failure.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use rt_base::{AppRecord, DropReason, FrameId, Nanos, ReqId, Wait};
use rt_stack::{CameBy, ConnectOptions};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::TcpStream;
use crate::net::Net;
use crate::tun::TunDevice;

/// Packets that wait for the connection at most (Linux's `txqueuelen` of a tunnel interface).
pub const QUEUE: usize = 500;
/// Bytes before a packet.
pub const HEADER: usize = 2;
/// Bytes read at a time.
const AT_ONCE: usize = 16_384;
const AGAIN: Nanos = Nanos::from_secs(1);

/// Which end of the connection this is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// Connects to the other, again and again.
    Connect(SocketAddr),
    /// Waits for the other on this port.
    Listen(u16),
}

/// Carries packets of the tunnel interface `name`, for ever.
///
/// # Errors
/// The interface is not there or somebody else's, or the port is taken.
pub async fn run(net: Net, name: String, end: End) -> io::Result<()> {
    let tun = net.tun(&name)?;
    let listener = match end {
        End::Listen(port) => Some(net.tcp_listen(port)?),
        End::Connect(_) => None,
    };
    loop {
        let stream = match (&listener, end) {
            (Some(listener), _) => listener.accept().await?.0,
            (None, End::Connect(to)) => match net.tcp_connect(to, ConnectOptions::default()).await {
                Ok(stream) => stream,
                Err(error) => {
                    note(&net, "tunnel.down", format!("the tunnel {name} cannot be opened: {error}"));
                    net.sleep(AGAIN, Wait::Backoff).await;
                    continue;
                }
            },
            (None, End::Listen(_)) => return Ok(()),
        };
        stream.set_nodelay(true);
        note(&net, "tunnel.up", format!("the tunnel {name} goes through TCP to {}", stream.peer_addr()));
        let mut carrier = Carrier {
            net: &net,
            tun: &tun,
            stream,
            out: VecDeque::new(),
            sent: 0,
            written: 0,
            came: Vec::new(),
            taken: 0,
            lost: 0,
        };
        let ended = carrier.carry().await;
        carrier.give_up();
        let why = ended.err().map_or_else(|| "the other end closed it".to_owned(), |error| error.to_string());
        note(&net, "tunnel.down", format!("the tunnel {name} is down: {why}"));
    }
}

fn note(net: &Net, code: &str, text: String) {
    net.say(AppRecord::Note { req: ReqId(0), code: code.into(), text });
}

/// A connection and what is on its way in and out.
struct Carrier<'n> {
    net: &'n Net,
    tun: &'n TunDevice,
    stream: TcpStream,
    /// Packets with their lengths before them and their frames; of the first, `sent` bytes have gone.
    out: VecDeque<(Vec<u8>, FrameId)>,
    sent: usize,
    /// Bytes of the packets before the first.
    written: u64,
    came: Vec<u8>,
    /// Bytes of the stream before `came`.
    taken: u64,
    lost: u64,
}

impl Carrier<'_> {
    /// Until the connection ends.
    async fn carry(&mut self) -> io::Result<()> {
        loop {
            let tun = self.tun;
            let mut read = Box::pin(tun.read());
            let packet = poll_fn(|cx| {
                if let Poll::Ready(ended) = receive(&mut self.stream, &mut self.came, cx) {
                    return Poll::Ready(ended.map(|()| None));
                }
                if let Poll::Ready(Err(error)) = self.flush(cx) {
                    return Poll::Ready(Err(error));
                }
                read.as_mut().poll(cx).map(|packet| Ok(Some(packet)))
            })
            .await?;
            drop(read);
            match packet {
                Some((packet, frame)) => self.queue(&packet, frame),
                None if self.came.is_empty() => return Ok(()),
                None => self.deliver()?,
            }
        }
    }

    fn queue(&mut self, packet: &[u8], frame: FrameId) {
        let Ok(length) = u16::try_from(packet.len()) else { return };
        if self.out.len() >= QUEUE {
            self.lost += 1;
            self.tun.refuse(self.tun.carried(frame, packet.len()), DropReason::QueueFull, true);
            if self.lost.is_power_of_two() {
                let text = format!("{} packets found the tunnel's queue full", self.lost);
                note(self.net, "tunnel.queue-full", text);
            }
            return;
        }
        let mut bytes = length.to_be_bytes().to_vec();
        bytes.extend(packet);
        self.out.push_back((bytes, frame));
    }

    /// What has not gone into the stream never will.
    fn give_up(&mut self) {
        for (packet, frame) in self.out.drain(..) {
            let carried = self.tun.carried(frame, packet.len() - HEADER);
            self.tun.refuse(carried, DropReason::InterfaceDown, true);
        }
    }

    /// Gives whole packets to the machine.
    fn deliver(&mut self) -> io::Result<()> {
        let mut at = 0;
        while let Some(length) = self.came.get(at..at + HEADER) {
            let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
            if length < 20 {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "no packet has that length"));
            }
            let Some(packet) = self.came.get(at + HEADER..at + HEADER + length) else { break };
            let (conn, offset) = (self.stream.id().conn(), self.taken + (at + HEADER) as u64);
            self.tun.write(packet, CameBy::Stream { conn, offset, around: HEADER as u16 });
            at += HEADER + length;
        }
        self.came.drain(..at);
        self.taken += at as u64;
        Ok(())
    }

    /// Writes what waits, as far as there is room.
    fn flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some((first, frame)) = self.out.front() {
            let polled = Pin::new(&mut self.stream).poll_write(cx, &first[self.sent..]);
            let Poll::Ready(Ok(n)) = polled else { return polled.map_ok(drop) };
            if self.sent == 0 && n > 0 {
                let carried = self.tun.carried(*frame, first.len() - HEADER);
                let offset = self.written + HEADER as u64;
                self.tun.streamed(carried, self.stream.id(), offset, HEADER);
            }
            self.sent += n;
            if self.sent >= first.len() {
                self.written += first.len() as u64;
                self.out.pop_front();
                self.sent = 0;
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// Reads what is there; ready when something came (then `came` is not empty) or the connection ended.
fn receive(stream: &mut TcpStream, came: &mut Vec<u8>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    let mut space = [0; AT_ONCE];
    let mut buffer = ReadBuf::new(&mut space);
    match Pin::new(stream).poll_read(cx, &mut buffer) {
        Poll::Ready(Ok(())) if buffer.filled().is_empty() => {
            came.clear();
            Poll::Ready(Ok(()))
        }
        Poll::Ready(Ok(())) => {
            came.extend_from_slice(buffer.filled());
            Poll::Ready(Ok(()))
        }
        Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
        Poll::Pending => Poll::Pending,
    }
}
