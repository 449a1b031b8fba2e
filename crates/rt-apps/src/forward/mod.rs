//! A forward proxy: clients tell it what they want, it fetches that in its own name (RFC 9110, 3.7).
//!
//! `http` comes in absolute form and is passed on in origin form; for everything else the client asks for a tunnel with
//! CONNECT, and what goes through it stays sealed, unless the proxy inspects: then it ends TLS itself with a certificate
//! made on the fly by its own authority and opens a session of its own to the server. Names are resolved by the proxy: the
//! client's resolver hears of the proxy only. Not for: proxies in front of servers ([`crate::proxy`]).
//!
//! | module | what |
//! |---|---|
//! | `policy` | who may, what is blocked: pure |
//! | `pass` | one request: judge, ask the server |
//! | `pool` | names, connections to servers |
//! | `store` | its way to the server and back, or out of the shared cache |
//! | `tunnel`, `inspect`, `mint` | CONNECT: unread, or read with certificates made for it |
//! | `log` | the access log in squid's format |
//!
//! Deliberate simplifications, and how to notice them: HTTP/1.1 on both sides (squid as well), request bodies are taken
//! whole, no FTP, no parent proxies, no ICAP; names are asked for A records only; a tunnel ends when both ways have ended
//! and has no time-out of its own; the access log counts bodies without heads.

mod inspect;
mod log;
mod mint;
mod pass;
mod policy;
mod pool;
mod store;
mod tunnel;

#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use ipnet::IpNet;
use rt_base::{AppRecord, Nanos, ReqId};
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite};

use self::mint::Mint;
use self::policy::Wanted;
use self::pool::Pool;
use crate::cache::CacheStore;
use crate::cached::Cached;
use crate::http::{HyperIo, Linger};
use crate::net::Net;
use crate::socket::TcpStream;
use crate::tls::PrivateCa;

pub use self::policy::Reveals;
pub(crate) use self::policy::{basic, matches};
pub(crate) use self::tunnel::Rewound;

/// Connections of clients at once; the next one is reset.
const MOST_CLIENTS: usize = 8_192;
/// The longest head that is read, bytes; longer ones get 431.
const LONGEST_HEAD: usize = 65_536;

/// A forward proxy, as configured.
#[derive(Clone, Debug)]
pub struct ForwardProxy {
    /// TCP port.
    pub port: u16,
    /// Sites that it refuses: `ads.example`, `.ads.example` (and all below it), `*.example/games*`.
    pub block: Vec<String>,
    /// Clients that may use it; all when empty.
    pub allow: Vec<IpNet>,
    /// Ports to which CONNECT may lead.
    pub connect_ports: Vec<u16>,
    /// Who may use it: names and passwords; nobody is asked when empty.
    pub users: Vec<(String, String)>,
    /// What servers hear of the client.
    pub reveals: Reveals,
    /// Whether it names itself in Via.
    pub via: bool,
    /// Whether it keeps an access log.
    pub log: bool,
    /// Keeps responses.
    pub cache: Option<CacheStore>,
    /// Reads what goes through CONNECT.
    pub inspect: Option<Inspect>,
    /// Time per request.
    pub think: Nanos,
    /// How long an idle connection to a server is kept.
    pub idle: Nanos,
    /// How long a server may take to connect, and until its response begins.
    pub timeout: Nanos,
}

/// What a proxy needs that reads TLS.
#[derive(Clone, Debug)]
pub struct Inspect {
    /// Signs the certificates that it shows to clients.
    pub ca: Arc<PrivateCa>,
    /// Whom it trusts among servers.
    pub roots: Vec<CertificateDer<'static>>,
    /// Hosts that it leaves alone, as in [`ForwardProxy::block`].
    pub except: Vec<String>,
    /// A port to which destination NAT brings connections whose clients know of no proxy.
    pub intercept: Option<u16>,
}

impl ForwardProxy {
    /// A proxy for everybody to everything, as squid comes: it tells who asks, names itself and keeps a log.
    #[must_use]
    pub fn new(port: u16) -> ForwardProxy {
        ForwardProxy {
            port,
            block: Vec::new(),
            allow: Vec::new(),
            connect_ports: vec![443],
            users: Vec::new(),
            reveals: Reveals::On,
            via: true,
            log: true,
            cache: None,
            inspect: None,
            think: Nanos::ZERO,
            idle: Nanos::from_secs(60),
            timeout: Nanos::from_secs(30),
        }
    }

    /// Listens and serves for ever.
    pub async fn run(self, net: Net) {
        let port = self.port;
        let intercept = self.inspect.as_ref().and_then(|inspect| inspect.intercept);
        let desk = Arc::new(Desk::new(&net, self));
        let listener = match net.tcp_listen(port) {
            Ok(listener) => listener,
            Err(error) => {
                let text = format!("the proxy cannot listen on port {port}: {error}");
                return net.say(AppRecord::Note { req: ReqId(0), code: "proxy.listen".into(), text });
            }
        };
        if let Some(port) = intercept {
            drop(net.spawn(inspect::intercept(Arc::clone(&desk), port)));
        }
        while let Ok((stream, _)) = listener.accept().await {
            let Some(seat) = Seat::take(&desk) else {
                stream.abort();
                continue;
            };
            drop(net.spawn(async move {
                serve(&seat.0, stream).await;
            }));
        }
    }
}

/// What all tasks of a proxy share.
struct Desk {
    net: Net,
    name: String,
    config: ForwardProxy,
    pool: Arc<Pool>,
    store: Option<Arc<Cached>>,
    mint: Option<Mint>,
    clients: AtomicUsize,
}

impl Desk {
    fn new(net: &Net, config: ForwardProxy) -> Desk {
        let roots = config.inspect.as_ref().map(|inspect| inspect.roots.as_slice());
        Desk {
            net: net.clone(),
            name: net.name().to_string(),
            pool: Arc::new(Pool::new(net, config.idle, config.timeout, roots)),
            store: config.cache.clone().map(|store| Arc::new(Cached::new(net, store, false))),
            mint: config.inspect.as_ref().map(|inspect| Mint::new(net, Arc::clone(&inspect.ca))),
            config,
            clients: AtomicUsize::new(0),
        }
    }
}

/// A client's connection; it counts until this is dropped.
struct Seat(Arc<Desk>);

impl Seat {
    fn take(desk: &Arc<Desk>) -> Option<Seat> {
        if desk.clients.fetch_add(1, Ordering::Relaxed) < MOST_CLIENTS {
            return Some(Seat(Arc::clone(desk)));
        }
        desk.clients.fetch_sub(1, Ordering::Relaxed);
        None
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.clients.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whose request it is: the connection, the request's ordinal on it (or in the tunnel on it), and where the tunnel leads.
#[derive(Clone, Debug)]
struct Caller {
    peer: SocketAddr,
    ordinal: u32,
    inside: Option<Wanted>,
}

async fn serve(desk: &Arc<Desk>, stream: TcpStream) {
    let peer = stream.peer_addr();
    stream.set_nodelay(true);
    speak(desk, Box::new(Linger::new(&desk.net, stream)), peer, None).await;
}

/// Bytes both ways.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Duplex for S {}

/// The client's connection, or what is inside a tunnel on it: without a name, for tunnels may be in tunnels.
pub(crate) type BoxStream = Box<dyn Duplex>;

/// HTTP/1.1 on a stream: the connection itself, or what is inside an inspected tunnel.
async fn speak(desk: &Arc<Desk>, stream: BoxStream, peer: SocketAddr, inside: Option<Wanted>) {
    let made = AtomicU32::new(0);
    let owner = Arc::clone(desk);
    let service = service_fn(move |request| {
        let ordinal = made.fetch_add(1, Ordering::Relaxed);
        let caller = Caller { peer, ordinal, inside: inside.clone() };
        let desk = Arc::clone(&owner);
        async move { Ok::<_, Infallible>(desk.answer(caller, request).await) }
    });
    // An error here is a connection that broke: the packets tell.
    let _ = http1::Builder::new()
        .auto_date_header(false)
        .max_buf_size(LONGEST_HEAD)
        .serve_connection(HyperIo::new(stream), service)
        .with_upgrades()
        .await;
}
