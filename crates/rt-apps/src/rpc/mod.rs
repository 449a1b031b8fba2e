//! Calls and replies over TCP: the smallest client and server with which the cost of a connection, of a round trip and of
//! a badly timed acknowledgement can be measured.
//!
//! A message is four bytes of length (big endian, of the whole message) and text. A client has one call under way on a
//! connection at a time; replies have one length per server. Not for real protocols: those are in `http`, `dns` and `tls`.

mod client;
mod server;

use std::io;

use rt_base::{Nanos, Wait};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::net::Net;
use crate::socket::TcpStream;

pub use client::{Calls, Connections, call};
pub(crate) use client::{latencies, words};
pub use server::RpcServer;

/// Bytes that say how long a message is.
const HEAD: usize = 4;

/// From one `write` to the next: what a system call costs.
const BETWEEN_WRITES: Nanos = Nanos::from_micros(1);

/// So much of a message is held at a time: a thousand callers with long requests must not fill the memory.
const MOST_HELD: usize = 64 << 10;

/// Longest message that is taken: a length above this is a peer that speaks something else.
const LONGEST: u32 = 64 << 20;

/// How one side of a connection writes and reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Manners {
    /// Each message is written in so many calls of `write`.
    pub writes: u32,
    /// TCP_NODELAY.
    pub no_delay: bool,
    /// TCP_QUICKACK after each read.
    pub quick_ack: bool,
}

impl Default for Manners {
    fn default() -> Manners {
        Manners { writes: 1, no_delay: false, quick_ack: false }
    }
}

/// Writes a message of `len` bytes, in pieces.
async fn write_message(net: &Net, stream: &mut TcpStream, len: u32, manners: Manners) -> io::Result<()> {
    let len = len.max(HEAD as u32);
    let total = len as usize;
    let pieces = (manners.writes.max(1) as usize).min(total);
    // The head alone first, as programs do that write a header and then a body; the rest in equal parts.
    let mut at = 0;
    for piece in 0..pieces {
        let (left, rest) = (pieces - piece, total - at);
        let size = match (piece, left) {
            (_, 1) => rest,
            (0, _) => HEAD.min(rest - (left - 1)),
            _ => rest / left,
        };
        if piece > 0 {
            // What one call of `write` wrote is with TCP before the next one begins.
            net.sleep(BETWEEN_WRITES, Wait::Housekeeping).await;
        }
        let end = at + size;
        while at < end {
            let part = at..end.min(at + MOST_HELD);
            at = part.end;
            stream.write_all(&part.map(|at| byte(len, at)).collect::<Vec<u8>>()).await?;
        }
    }
    Ok(())
}

/// A byte of a message: its length, then the alphabet over and over.
fn byte(len: u32, at: usize) -> u8 {
    len.to_be_bytes().get(at).copied().unwrap_or_else(|| b'a' + ((at - HEAD) % 26) as u8)
}

/// Reads a message; `None` when the peer has said FIN before one began.
async fn read_message(stream: &mut TcpStream, manners: Manners) -> io::Result<Option<u32>> {
    let mut head = [0; HEAD];
    let mut got = 0;
    while got < HEAD {
        match read_some(stream, &mut head[got..], manners).await? {
            0 if got == 0 => return Ok(None),
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => got += n,
        }
    }
    let len = u32::from_be_bytes(head);
    if !(HEAD as u32..=LONGEST).contains(&len) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut left = len as usize - HEAD;
    let mut buffer = [0; 4096];
    while left > 0 {
        let most = left.min(buffer.len());
        match read_some(stream, &mut buffer[..most], manners).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => left -= n,
        }
    }
    Ok(Some(len))
}

async fn read_some(stream: &mut TcpStream, into: &mut [u8], manners: Manners) -> io::Result<usize> {
    let n = stream.read(into).await?;
    if manners.quick_ack {
        stream.quick_ack();
    }
    Ok(n)
}
