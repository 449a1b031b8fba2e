//! What answers on port 53, over UDP and TCP: the loops that both kinds of name server share, and the authoritative one.
//!
//! Simplification: at most [`IN_FLIGHT`] questions are worked on at once; more are dropped silently, as a full socket
//! buffer would do.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use domain::base::iana::Rcode;
use rt_base::{Nanos, Wait};

use super::exchange::{self, PORT};
use super::message::Message;
use super::rotate::Rotation;
use super::steer::Steering;
use super::zone::Zone;
use crate::net::Net;
use crate::socket::{TcpListener, TcpStream, UdpSocket};

/// Questions worked on at once.
const IN_FLIGHT: usize = 4096;

/// A TCP connection without a question is closed after this long (RFC 7766, 6.2.3).
const IDLE: Nanos = Nanos::from_secs(10);

/// Where a question came in and from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    /// This end.
    pub(crate) local: SocketAddr,
    /// Who asks.
    pub(crate) from: SocketAddr,
}

/// Serves `answer` on port 53 until the end of the run.
///
/// # Errors
/// The port is taken.
pub(crate) async fn serve<A, F>(net: Net, answer: A) -> std::io::Result<()>
where
    A: Fn(Message, Asked) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Message> + Send + 'static,
{
    let udp = net.udp_bind(None, PORT, None)?;
    let tcp = net.tcp_listen(PORT)?;
    net.spawn(serve_tcp(net.clone(), tcp, answer.clone()));
    serve_udp(net, udp, answer).await;
    Ok(())
}

async fn serve_udp<A, F>(net: Net, socket: UdpSocket, answer: A)
where
    A: Fn(Message, Asked) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Message> + Send + 'static,
{
    let under_way = Arc::new(AtomicUsize::new(0));
    loop {
        // An ICMP error about an answer of ours concerns nobody here.
        let Ok((bytes, from)) = socket.recv_from().await else { continue };
        let Some(query) = Message::parse(&bytes).ok().filter(|q| !q.response) else { continue };
        if under_way.load(Ordering::Relaxed) >= IN_FLIGHT {
            continue;
        }
        under_way.fetch_add(1, Ordering::Relaxed);
        let asked = Asked { local: local_end(&net, from), from };
        let (limit, work) = (query.udp_limit(), answer(query, asked));
        let (socket, under_way) = (socket.clone(), Arc::clone(&under_way));
        net.spawn(async move {
            let reply = work.await;
            // A lost answer is the asker's to repeat.
            let _ = socket.send_to(&reply.emit(limit), from);
            under_way.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

fn local_end(net: &Net, from: SocketAddr) -> SocketAddr {
    let unspecified = std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);
    SocketAddr::new(net.source_for(from.ip()).unwrap_or(unspecified), PORT)
}

async fn serve_tcp<A, F>(net: Net, listener: TcpListener, answer: A)
where
    A: Fn(Message, Asked) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Message> + Send + 'static,
{
    while let Ok((stream, from)) = listener.accept().await {
        net.spawn(serve_connection(net.clone(), stream, from, answer.clone()));
    }
}

/// Questions on one connection, one after the other, until the asker is done, silent for too long or talks nonsense.
async fn serve_connection<A, F>(net: Net, mut stream: TcpStream, from: SocketAddr, answer: A)
where
    A: Fn(Message, Asked) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Message> + Send + 'static,
{
    loop {
        let read = net.timeout(IDLE, Wait::Housekeeping, exchange::read_framed(&mut stream)).await;
        let Ok(Ok(bytes)) = read else { return };
        let Some(query) = Message::parse(&bytes).ok().filter(|q| !q.response) else { return };
        let reply = answer(query, Asked { local: stream.local_addr(), from }).await;
        if exchange::write_framed(&mut stream, &reply.emit(usize::from(u16::MAX))).await.is_err() {
            return;
        }
    }
}

/// Takes questions on port 53 and never answers.
pub(crate) async fn serve_silence(net: &Net) -> std::io::Result<()> {
    let udp = net.udp_bind(None, PORT, None)?;
    let _tcp = net.tcp_listen(PORT)?;
    loop {
        let _ = udp.recv_from().await;
    }
}

/// What an authoritative server has and does.
#[derive(Clone, Debug, Default)]
pub struct AuthoritativeConfig {
    /// Its zones.
    pub zones: Vec<Zone>,
    /// Time per question.
    pub think: Nanos,
    /// Takes questions and never answers.
    pub silent: bool,
    /// Several addresses of a name stand in each answer as in the zone, instead of by turns.
    pub fixed_order: bool,
    /// Names whose answer depends on where the asker is.
    pub steering: Vec<Steering>,
}

/// An authoritative server. Runs until the end.
///
/// # Errors
/// Port 53 is taken.
pub async fn authoritative_server(net: Net, config: AuthoritativeConfig) -> std::io::Result<()> {
    if config.silent {
        return serve_silence(&net).await;
    }
    let rotation = Rotation::new(config.fixed_order);
    let shared = Arc::new((config, rotation));
    let clock = net.clone();
    serve(net, move |query, asked| {
        let (shared, net) = (Arc::clone(&shared), clock.clone());
        async move {
            let (config, rotation) = &*shared;
            net.sleep(config.think, Wait::DnsThink).await;
            let mut reply = answer(&config.zones, &query);
            for steering in &config.steering {
                if let Some(said) = steering.steer(&query, asked.from, &mut reply) {
                    net.say(said);
                }
            }
            rotation.turn(&mut reply.answer);
            reply
        }
    })
    .await
}

/// The answer from the closest zone; REFUSED when we have none above the name.
fn answer(zones: &[Zone], query: &Message) -> Message {
    let mut reply = query.reply();
    let Some((name, rtype)) = &query.question else {
        reply.rcode = Rcode::FORMERR;
        return reply;
    };
    let closest = zones.iter().filter(|z| name.ends_with(z.apex())).max_by_key(|z| z.apex().label_count());
    match closest {
        Some(zone) => zone.answer(name, *rtype, &mut reply),
        None => reply.rcode = Rcode::REFUSED,
    }
    reply
}
