//! The server: connections, HTTP/2, and which service a path belongs to.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use rt_base::{Nanos, grpc_timeout};
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Service;

use super::proto::health::health_server::HealthServer;
use super::proto::work::worker_server::WorkerServer;
use super::service::Services;
use super::workshop::{Caller, Workshop};
use super::{LONGEST, MAX_STREAMS};
use crate::http::{HyperIo, Linger, NetExecutor};
use crate::net::Net;
use crate::socket::TcpStream;
use crate::tls::{Identity, ServerTls, TlsHooks};

/// Longest list of header fields, bytes.
const HEADER_LIST: u32 = 16 << 10;

/// A gRPC server, as configured.
#[derive(Clone, Debug)]
pub struct GrpcServer {
    /// TCP port.
    pub port: u16,
    /// Its certificate when it speaks TLS; without one it speaks HTTP/2 in clear, to whoever knows that beforehand.
    pub identity: Option<Identity>,
    /// Jobs that are worked on at once.
    pub workers: u32,
    /// Time that a worker takes for one unit of work.
    pub unit: Nanos,
    /// Calls that may wait for a worker; one more is refused.
    pub queue: u32,
    /// Whether the work of a call stops when the caller has given up.
    pub stops: bool,
}

impl GrpcServer {
    /// Listens and serves for ever.
    ///
    /// # Errors
    /// The port is taken, or the certificate does not fit.
    pub async fn run(self, net: Net) -> std::io::Result<()> {
        let tls = match &self.identity {
            None => None,
            Some(identity) => {
                let mut rng = net.rng("grpc.ticket-key");
                let tls =
                    ServerTls::new(TlsHooks::of(&net), std::slice::from_ref(identity), &["h2"], &mut rng);
                Some(tls.map_err(std::io::Error::other)?)
            }
        };
        let listener = net.tcp_listen(self.port)?;
        let shop = Workshop::new(&net, self.workers, self.unit, self.queue);
        let services = Services { shop, stops: self.stops };
        loop {
            let (stream, _) = listener.accept().await?;
            drop(net.spawn(serve(net.clone(), stream, tls.clone(), services.clone())));
        }
    }
}

/// One connection, until it is over.
async fn serve(net: Net, stream: TcpStream, tls: Option<ServerTls>, services: Services) {
    let peer = stream.peer_addr();
    stream.set_nodelay(true);
    let stream = Linger::new(&net, stream);
    match tls {
        None => speak(&net, stream, peer, services).await,
        // A failed handshake has been answered with an alert.
        Some(tls) => {
            if let Ok(stream) = tls.accept(stream).await {
                speak(&net, stream, peer, services).await;
            }
        }
    }
}

async fn speak<S>(net: &Net, stream: S, peer: std::net::SocketAddr, services: Services)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let made = AtomicU32::new(0);
    let services = Arc::new(services);
    let service = service_fn(move |request: Request<Incoming>| {
        let ordinal = made.fetch_add(1, Ordering::Relaxed);
        let (services, caller) = (Arc::clone(&services), Caller { peer, ordinal, deadline: None });
        async move { Ok::<_, Infallible>(respond(&services, caller, request).await) }
    });
    // An error here is a connection that broke: the packets tell.
    let _ = hyper::server::conn::http2::Builder::new(NetExecutor(net.clone()))
        .auto_date_header(false)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(HEADER_LIST)
        .serve_connection(HyperIo::new(stream), service)
        .await;
}

/// What the fields of a request say of it, before any message is read.
fn judge(request: &Request<Incoming>) -> Result<Option<Nanos>, Box<Response<Body>>> {
    let kind = request.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let rest = kind.strip_prefix(b"application/grpc");
    if request.method() != Method::POST || !rest.is_some_and(|r| r.is_empty() || r.starts_with(b"+proto")) {
        // By the specification: 415 to whoever does not speak gRPC, so that nobody takes the answer for one.
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return Err(Box::new(response));
    }
    match request.headers().get("grpc-timeout") {
        None => Ok(None),
        Some(text) => match text.to_str().ok().and_then(grpc_timeout) {
            Some(span) => Ok(Some(span)),
            None => Err(Box::new(Status::invalid_argument("grpc-timeout cannot be read").into_http())),
        },
    }
}

async fn respond(services: &Services, caller: Caller, mut request: Request<Incoming>) -> Response<Body> {
    let timeout = match judge(&request) {
        Ok(timeout) => timeout,
        Err(refusal) => return *refusal,
    };
    let now = services.shop.net().now();
    request.extensions_mut().insert(Caller { deadline: timeout.map(|span| now + span), ..caller });
    let path = request.uri().path();
    let answered: Result<Response<Body>, Infallible> = if path.starts_with("/work.Worker/") {
        let worker = WorkerServer::new(services.clone()).max_decoding_message_size(LONGEST);
        { worker }.call(request).await
    } else if path.starts_with("/grpc.health.v1.Health/") {
        let health = HealthServer::new(services.clone()).max_decoding_message_size(LONGEST);
        { health }.call(request).await
    } else {
        Ok(Status::unimplemented(format!("no service at {path}")).into_http())
    };
    match answered {
        Ok(response) => response,
        Err(never) => match never {},
    }
}
