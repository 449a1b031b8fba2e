//! The small services of old, which need no client of ours: echo (RFC 862), discard (RFC 863) and the character generator
//! (RFC 864). What comes back is what went in, nothing, and text without end: enough to measure a path with any program.
//!
//! Simplified: the character generator has no UDP, where a forged source makes an amplifier of it.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::net::Net;
use crate::{TcpStream, UdpSocket};

/// Which of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Small {
    /// Sends back what comes, over TCP and UDP.
    Echo,
    /// Reads and throws away, over TCP and UDP.
    Discard,
    /// Sends lines of characters until the connection breaks, over TCP.
    Chargen,
}

/// Bytes read or written at a time.
const AT_ONCE: usize = 65_536;
/// The printing characters, from the space on.
const PRINTING: usize = 95;
/// Characters of a line, without its end.
const LINE: usize = 72;

/// Serves `port` for ever, over UDP alone where another program of the machine has the TCP port.
///
/// # Errors
/// `AddrInUse` when somebody else has the port, by UDP or with nothing left to serve.
pub async fn small_service(net: Net, which: Small, port: u16) -> io::Result<()> {
    let listener = net.tcp_listen(port);
    if which != Small::Chargen {
        let socket = net.udp_bind(None, port, None)?;
        let Ok(_) = &listener else {
            datagrams(socket, which).await;
            return Ok(());
        };
        drop(net.spawn(datagrams(socket, which)));
    }
    let listener = listener?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true);
        // A connection that breaks off has nobody to tell.
        net.spawn(async move {
            let _ = match which {
                Small::Echo => echo(stream).await,
                Small::Discard => discard(stream).await,
                Small::Chargen => generate(stream).await,
            };
        });
    }
}

//= rfc862#section-udp-based-echo-service
//= rfc863#section-udp-based-discard-service
async fn datagrams(socket: UdpSocket, which: Small) {
    loop {
        // An ICMP error about an answer of ours concerns nobody here, and a lost answer is the asker's to repeat.
        let Ok((bytes, from)) = socket.recv_from().await else { continue };
        if which == Small::Echo {
            let _ = socket.send_to(&bytes, from);
        }
    }
}

async fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; AT_ONCE];
    loop {
        match stream.read(&mut buffer).await? {
            0 => break,
            n => stream.write_all(&buffer[..n]).await?,
        }
    }
    end(stream).await
}

async fn discard(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; AT_ONCE];
    while stream.read(&mut buffer).await? > 0 {}
    end(stream).await
}

async fn end(mut stream: TcpStream) -> io::Result<()> {
    stream.shutdown().await?;
    stream.closed().await;
    Ok(())
}

async fn generate(mut stream: TcpStream) -> io::Result<()> {
    let text = pattern();
    // Whole turns of the pattern, so that each piece goes on where the last one ended.
    let text = text.repeat((AT_ONCE / text.len()).max(1));
    loop {
        stream.write_all(&text).await?;
    }
}

/// One turn of the recommended pattern: lines of 72 characters, each beginning one character further than the last.
fn pattern() -> Vec<u8> {
    let character = |n: usize| b' ' + u8::try_from(n % PRINTING).unwrap_or_default();
    let line = |first: usize| (first..first + LINE).map(character).chain(*b"\r\n");
    (0..PRINTING).flat_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pattern_is_the_one_of_the_rfc() {
        let text = pattern();
        let lines: Vec<&[u8]> = text.split(|b| *b == b'\n').collect();
        assert_eq!(lines.len(), PRINTING + 1);
        assert!(lines[0].starts_with(b" !\"#$%&'()*+,-./0123456789:;<=>?@ABC"), "{:?}", lines[0]);
        assert!(lines[1].starts_with(b"!\"#$") && lines[94].starts_with(b"~ !\""));
        assert!(lines[..PRINTING].iter().all(|l| l.len() == LINE + 1 && l.ends_with(b"\r")));
    }
}
