//! The client's connection: opened when a call needs it, then shared by all calls, each on a stream of its own.

use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use rt_base::{AppRecord, ReqId};
use rt_stack::ConnectOptions;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Mutex, Notify};
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service};
use tonic::{Code, Status};

use crate::dns::RecordType;
use crate::http::{HyperIo, Linger, NetExecutor};
use crate::net::Net;
use crate::tls::{CertificateDer, ClientTls, TlsFailure, TlsHooks};

/// Where a channel leads.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) secure: bool,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) roots: Vec<CertificateDer<'static>>,
    pub(super) first: ConnectOptions,
}

/// One connection, as a service of HTTP requests.
#[derive(Clone)]
pub(super) struct Wire {
    sender: http2::SendRequest<Body>,
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
}

impl Service<Request<Body>> for Wire {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.sender.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.sender.send_request(request))
    }
}

type Opened = Result<Wire, Status>;

/// A connection that is being opened. Those who wait go on in the order in which they came; tokio's `watch` wakes them in an
/// order that its own dice choose when its runtime is compiled in.
#[derive(Default)]
struct Opening {
    found: OnceLock<Opened>,
    told: Notify,
}

impl Opening {
    async fn wait(&self) -> Opened {
        loop {
            let mut told = pin!(self.told.notified());
            told.as_mut().enable();
            if let Some(found) = self.found.get() {
                return found.clone();
            }
            told.await;
        }
    }
}

/// The channel.
pub(super) struct Channel {
    net: Net,
    target: Target,
    /// Told of by the task that opens the connection: it goes on when the call that began it is given up.
    open: Mutex<Option<Arc<Opening>>>,
    /// The step's own request, to which name and certificate belong.
    req: ReqId,
    opened: Arc<AtomicU32>,
}

impl Channel {
    pub(super) fn new(net: &Net, target: Target, req: ReqId) -> Channel {
        Channel { net: net.clone(), target, open: Mutex::default(), req, opened: Arc::default() }
    }

    /// Connections opened.
    pub(super) fn opened(&self) -> u32 {
        self.opened.load(Ordering::Relaxed)
    }

    /// The connection, and whether it was there before.
    pub(super) async fn wire(&self) -> Result<(Wire, bool), Status> {
        let mut reused = true;
        let opened = {
            let mut open = self.open.lock().await;
            let dead = open.as_ref().is_none_or(|o| match o.found.get() {
                Some(Ok(wire)) => wire.sender.is_closed(),
                Some(Err(_)) => true,
                None => false,
            });
            if dead {
                *open = Some(self.begin());
                reused = false;
            }
            open.clone().expect("invariant: opened above")
        };
        Ok((opened.wait().await?, reused))
    }

    /// Opens a connection, in a task of its own.
    fn begin(&self) -> Arc<Opening> {
        let opened = Arc::new(Opening::default());
        let tell = Arc::clone(&opened);
        let (net, target, req) = (self.net.clone(), self.target.clone(), self.req);
        let count = Arc::clone(&self.opened);
        drop(self.net.spawn(async move {
            let wire = dial(&net, &target, req, &count).await;
            let _ = tell.found.set(wire);
            tell.told.notify_waiters();
        }));
        opened
    }
}

async fn dial(net: &Net, target: &Target, req: ReqId, count: &AtomicU32) -> Opened {
    let unavailable = |why: String| Status::unavailable(why);
    let address: IpAddr = match target.host.parse() {
        Ok(address) => address,
        Err(_) => {
            let found = net.lookup(&target.host, RecordType::A, req).await;
            let found = found.map_err(|error| unavailable(error.to_string()))?;
            let first = found.addresses.first().copied();
            first.ok_or_else(|| unavailable(format!("{} has no address", target.host)))?
        }
    };
    let remote = SocketAddr::new(address, target.port);
    let options = ConnectOptions { nodelay: true, ..target.first };
    let stream = net.tcp_connect(remote, options).await;
    let stream = stream.map_err(|error| unavailable(crate::rpc::words(&error)))?;
    count.fetch_add(1, Ordering::Relaxed);
    let local = stream.local_addr();
    let stream = Linger::new(net, stream);
    let sender = if target.secure {
        speak(net, secure(net, target, req, stream).await?).await?
    } else {
        speak(net, stream).await?
    };
    Ok(Wire { sender, local, remote })
}

async fn secure<S>(
    net: &Net,
    target: &Target,
    req: ReqId,
    stream: S,
) -> Result<tokio_rustls::client::TlsStream<S>, Status>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let tls = ClientTls::new(TlsHooks::of(net), &target.roots, &["h2"]);
    let tls = tls.map_err(|error| Status::internal(error.to_string()))?;
    let name = ServerName::try_from(target.host.clone())
        .map_err(|_| Status::internal(format!("{} cannot stand in a certificate", target.host)))?;
    let shaken = tls.connect(name.clone(), stream).await;
    if let Some(verdict) = tls.take_verdict(&name) {
        let (name, chain, ok) = (target.host.clone(), verdict.chain, verdict.failure.is_none());
        net.say(AppRecord::CertificateChecked { req, name, chain, ok, note: verdict.note });
    }
    let stream = shaken.map_err(|error| {
        let why = TlsFailure::of_io(&error).map_or_else(|| error.to_string(), |f| f.to_string());
        Status::unavailable(format!("no TLS with {}: {why}", target.host))
    })?;
    if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
        return Err(Status::unavailable(format!("{} did not agree on HTTP/2 (ALPN)", target.host)));
    }
    Ok(stream)
}

async fn speak<S>(net: &Net, stream: S) -> Result<http2::SendRequest<Body>, Status>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let handshake = http2::Builder::new(NetExecutor(net.clone())).handshake(HyperIo::new(stream)).await;
    let (sender, connection) = handshake.map_err(|error| Status::unavailable(error.to_string()))?;
    drop(net.spawn(async move {
        // How it ends is in the packets.
        let _ = connection.await;
    }));
    Ok(sender)
}

/// A status as the specification makes it of a reset stream, where the stream's end was not told by one.
pub(super) fn of_reset(status: Status) -> Status {
    let mut cause: Option<&(dyn Error + 'static)> = status.source();
    while let Some(error) = cause {
        if let Some(reason) = error.downcast_ref::<h2::Error>().and_then(h2::Error::reason) {
            let code = match reason {
                h2::Reason::REFUSED_STREAM => Code::Unavailable,
                h2::Reason::CANCEL => Code::Cancelled,
                h2::Reason::ENHANCE_YOUR_CALM => Code::ResourceExhausted,
                h2::Reason::INADEQUATE_SECURITY => Code::PermissionDenied,
                _ => Code::Internal,
            };
            return Status::new(code, error.to_string());
        }
        if error.downcast_ref::<std::io::Error>().is_some() {
            return Status::unavailable(error.to_string());
        }
        if error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_closed) {
            return Status::unavailable("the connection is closed");
        }
        cause = error.source();
    }
    status
}
