//! The other end of `sends` and `streams`: takes what comes on a TCP and a UDP port and says what came of it.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;

use rt_base::{Nanos, Time};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::playout::Playout;
use super::wire::{Hello, Numbers, Piece};
use crate::net::Net;
use crate::{TcpStream, UdpSocket};

/// Bytes read at a time.
const READ: usize = 65_536;
/// Longest frame over TCP; longer ones are no frames of ours.
const LONGEST_FRAME: u32 = 1 << 20;
/// Streams over UDP that are remembered.
const MOST_STREAMS: usize = 256;

/// Takes what comes on `port`, for ever.
///
/// # Errors
/// `AddrInUse` when somebody else has the port.
pub async fn sink(net: Net, port: u16) -> io::Result<()> {
    let listener = net.tcp_listen(port)?;
    let socket = net.udp_bind(None, port, None)?;
    drop(net.spawn(datagrams(net.clone(), socket)));
    loop {
        let (stream, _) = listener.accept().await?;
        let one = net.clone();
        // A connection that breaks off has nobody to tell.
        net.spawn(async move { drop(connection(&one, stream).await) });
    }
}

async fn connection(net: &Net, mut stream: TcpStream) -> io::Result<()> {
    let mut hello = [0; Hello::LEN];
    stream.read_exact(&mut hello).await?;
    let numbers = match Hello::parse(&hello) {
        Some(Hello::Bulk) => bulk(net, &mut stream).await?,
        Some(Hello::Frames { interval, playout }) => frames(net, &mut stream, interval, playout).await?,
        None => {
            stream.abort();
            return Ok(());
        }
    };
    stream.write_all(numbers.emit().as_bytes()).await?;
    stream.shutdown().await?;
    stream.closed().await;
    Ok(())
}

async fn bulk(net: &Net, stream: &mut TcpStream) -> io::Result<Numbers> {
    let mut buffer = vec![0; READ];
    let (mut last, mut bytes) = (net.now(), 0);
    loop {
        match stream.read(&mut buffer).await? {
            0 => break,
            n => (bytes, last) = (bytes + n as u64, net.now()),
        }
    }
    let mut numbers = Numbers::default();
    numbers.set("bytes", bytes);
    // The sender knows when it began.
    numbers.set("last-ns", last.0);
    Ok(numbers)
}

async fn frames(net: &Net, stream: &mut TcpStream, interval: Nanos, playout: Nanos) -> io::Result<Numbers> {
    let mut state = Playout::default();
    (state.interval, state.playout) = (interval, playout);
    let mut body = Vec::new();
    let mut count = 0;
    loop {
        let mut head = [0; 4];
        match stream.read_exact(&mut head).await {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            Err(error) => return Err(error),
        }
        let len = u32::from_be_bytes(head);
        if len > LONGEST_FRAME {
            return Err(io::ErrorKind::InvalidData.into());
        }
        body.resize(len as usize, 0);
        stream.read_exact(&mut body).await?;
        let now = net.now();
        state.packet(now, count, Nanos(interval.0.saturating_mul(u64::from(count))), body.len());
        state.part(now, count, (0, 1));
        count = count.saturating_add(1);
    }
    Ok(state.numbers(count))
}

/// A stream over UDP, by who sends it.
struct Stream {
    state: Playout,
    since: Time,
}

async fn datagrams(net: Net, socket: UdpSocket) {
    let mut streams: BTreeMap<SocketAddr, Stream> = BTreeMap::new();
    loop {
        // An ICMP error about a report of ours: whoever asked is gone.
        let Ok((bytes, from)) = socket.recv_from().await else { continue };
        let Some(piece) = Piece::parse(&bytes) else { continue };
        let now = net.now();
        if piece.end {
            let lasting = streams.get(&from).map(|stream| stream.state.numbers(piece.frame));
            let mut numbers = lasting.unwrap_or_else(|| Playout::default().numbers(piece.frame));
            numbers.set("packets-sent", u64::from(piece.packet));
            // Nobody left to tell: the sender asks again.
            let _ = socket.send_to(numbers.emit().as_bytes(), from);
            continue;
        }
        if streams.len() >= MOST_STREAMS
            && !streams.contains_key(&from)
            && let Some(oldest) = streams.iter().min_by_key(|(_, s)| s.since).map(|(from, _)| *from)
        {
            streams.remove(&oldest);
        }
        let stream = streams.entry(from).or_insert_with(|| Stream { state: Playout::default(), since: now });
        let state = &mut stream.state;
        (state.interval, state.playout) = (piece.interval, piece.playout);
        // The piece's own head is none of the stream's bytes.
        state.packet(now, piece.packet, piece.sent, bytes.len().saturating_sub(Piece::LEN));
        state.part(now, piece.frame, (piece.part, piece.parts));
    }
}
