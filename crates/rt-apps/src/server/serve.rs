//! One connection of a client: the TLS handshake if there is one, then HTTP/1.1 or HTTP/2 as ALPN says.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use tokio::io::{AsyncRead, AsyncWrite};

use super::log::Access;
use crate::http::{Body, HyperIo, IdleEnd, IdleLimits, Linger, NetExecutor};
use crate::net::Net;
use crate::socket::TcpStream;
use crate::tls::ServerTls;

/// Streams that a client may have open at once: as Google's servers say.
const MAX_STREAMS: u32 = 100;

/// Who asks, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client {
    /// The other end of the connection.
    pub(crate) peer: SocketAddr,
    /// Whether the connection is encrypted.
    pub(crate) tls: bool,
    /// The index of the certificate that it was shown, if any.
    pub(crate) shown: usize,
}

/// Serves the connection until it is over. `handler` gets each request with its ordinal on this connection, from 0.
pub(crate) async fn serve<H, F>(
    net: &Net,
    stream: TcpStream,
    tls: Option<&ServerTls>,
    limits: IdleLimits,
    handler: H,
) where
    H: Fn(Client, u32, Request<Incoming>) -> F + Send + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let client = Client { peer: stream.peer_addr(), tls: tls.is_some(), shown: 0 };
    // As nginx does: otherwise the last small part of a response waits for the client's delayed ACK.
    stream.set_nodelay(true);
    let stream = IdleEnd::new(net, Linger::new(net, stream), limits);
    let Some(tls) = tls else {
        return speak(net, stream, false, client, handler).await;
    };
    // A failed handshake has been answered with an alert; there is nobody left to talk to.
    if let Ok(stream) = tls.accept(stream).await {
        let session = stream.get_ref().1;
        let h2 = session.alpn_protocol() == Some(b"h2");
        let client = Client { shown: tls.shown_to(session.server_name()), ..client };
        speak(net, stream, h2, client, handler).await;
    }
}

async fn speak<S, H, F>(net: &Net, stream: S, h2: bool, client: Client, handler: H)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Fn(Client, u32, Request<Incoming>) -> F + Send + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let made = AtomicU32::new(0);
    let host = net.clone();
    let service = service_fn(move |request| {
        // In a box of its own: hyper moves it several times, and it is kilobytes long.
        let access = Access::begin(&host, client.peer.ip(), &request);
        let response = Box::pin(handler(client, made.fetch_add(1, Ordering::Relaxed), request));
        async move { Ok::<_, std::convert::Infallible>(Access::follow(access, response.await)) }
    });
    let io = HyperIo::new(stream);
    // An error here is a connection that broke: the packets tell.
    let _ = if h2 {
        hyper::server::conn::http2::Builder::new(NetExecutor(net.clone()))
            .auto_date_header(false)
            .max_concurrent_streams(MAX_STREAMS)
            .serve_connection(io, service)
            .await
    } else {
        hyper::server::conn::http1::Builder::new()
            .auto_date_header(false)
            .serve_connection(io, service)
            .with_upgrades()
            .await
    };
}
