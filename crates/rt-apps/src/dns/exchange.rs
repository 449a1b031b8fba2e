//! One question to one server: over UDP, and again over TCP when the answer was cut off. Used by the stub and by the
//! recursive resolver.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use rt_base::{AppRecord, Nanos, ReqId, Wait};
use rt_stack::ConnectOptions;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::message::Message;
use crate::net::Net;
use crate::socket::UdpSocket;

/// The port of DNS.
pub(crate) const PORT: u16 = 53;

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum NoAnswer {
    /// Nothing came in time.
    Silent,
    /// The network said something: port, host or network unreachable.
    Network(io::Error),
}

/// Asks `server` over `socket` for request `req`; waits at most `patience` for the answer that fits.
pub(crate) async fn ask(
    net: &Net,
    req: ReqId,
    socket: &UdpSocket,
    server: IpAddr,
    query: &Message,
    patience: Nanos,
) -> Result<Message, NoAnswer> {
    let server = SocketAddr::new(server, PORT);
    socket.send_to(&query.emit(512), server).map_err(NoAnswer::Network)?;
    let answer = net.timeout(patience, Wait::Timeout, matching(socket, server, query)).await;
    let answer = answer.map_err(|_| NoAnswer::Silent)?.map_err(NoAnswer::Network)?;
    if !answer.truncated {
        return Ok(answer);
    }
    let text = format!("the answer of {} did not fit into a datagram: ask again over TCP", server.ip());
    net.say(AppRecord::Note { req, code: "dns.truncated".into(), text });
    let over_tcp = net.timeout(patience, Wait::Timeout, ask_over_tcp(net, req, server, query)).await;
    over_tcp.map_err(|_| NoAnswer::Silent)?.map_err(NoAnswer::Network)
}

/// The next datagram that answers `query`: from that server, same id, same question. Anything else is not for us.
async fn matching(socket: &UdpSocket, server: SocketAddr, query: &Message) -> io::Result<Message> {
    loop {
        let (bytes, from) = socket.recv_from().await?;
        if from != server {
            continue;
        }
        if let Some(answer) = Message::parse(&bytes).ok().filter(|answer| fits(answer, query)) {
            return Ok(answer);
        }
    }
}

fn fits(answer: &Message, query: &Message) -> bool {
    answer.response && answer.id == query.id && (answer.question == query.question)
}

/// RFC 7766: the same question on a connection of its own.
async fn ask_over_tcp(net: &Net, req: ReqId, server: SocketAddr, query: &Message) -> io::Result<Message> {
    let mut stream = net.tcp_connect(server, ConnectOptions::default()).await?;
    let (local, protocol) = (stream.local_addr(), "dns".to_string());
    net.say(AppRecord::UsesConnection { req, local, remote: server, reused: false, protocol });
    write_framed(&mut stream, &query.emit(usize::from(u16::MAX))).await?;
    let bytes = read_framed(&mut stream).await?;
    let answer = Message::parse(&bytes).ok().filter(|answer| fits(answer, query));
    answer.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not the answer to our question"))
}

/// Writes a message with its length in front (RFC 1035, 4.2.2).
pub(crate) async fn write_framed(stream: &mut crate::TcpStream, message: &[u8]) -> io::Result<()> {
    let len = u16::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    // One write, so that length and message share a segment.
    stream.write_all(&[&len.to_be_bytes(), message].concat()).await
}

/// Reads a message with its length in front.
pub(crate) async fn read_framed(stream: &mut crate::TcpStream) -> io::Result<Vec<u8>> {
    let len = stream.read_u16().await?;
    let mut bytes = vec![0; usize::from(len)];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

/// Says which datagrams carry request `req`.
pub(crate) fn say_uses(net: &Net, req: ReqId, socket: &UdpSocket, server: IpAddr, reused: bool) {
    let port = socket.local_addr().map_or(0, |a| a.port());
    let remote = SocketAddr::new(server, PORT);
    let address = net.source_for(server).unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let local = SocketAddr::new(address, port);
    net.say(AppRecord::UsesConnection { req, local, remote, reused, protocol: "dns".into() });
}
