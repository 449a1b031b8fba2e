//! CONNECT (RFC 9110, 9.3.6): after the 200 the connection belongs to the client and the server.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use rt_base::{AppRecord, ReqId, ReqKind, Wait};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::log::{Access, Ended};
use super::policy::{self, Refusal, Wanted};
use super::pool::Reached;
use super::{BoxStream, Caller, Desk, Seat, inspect};
use crate::http::{Body, HyperIo, writes_through};
use crate::split::join;

impl Desk {
    /// Opens a tunnel, or says why not.
    pub(super) async fn open_tunnel(
        self: Arc<Desk>,
        caller: Caller,
        request: Request<Incoming>,
    ) -> Response<Body> {
        let target: String = request.uri().to_string();
        let user = policy::user_of(&self.config, request.headers());
        let access = Access::begin(&self, caller.peer.ip(), "CONNECT", &target, user);
        self.net.sleep(self.config.think, Wait::ProxyThink).await;
        let Some(wanted) = Wanted::of_connect(request.uri()) else {
            let why = "CONNECT wants a host and a port, as `CONNECT shop.example:443`";
            let refusal = Refusal::new(StatusCode::BAD_REQUEST, "http_request_error", why);
            return self.refuse(&caller, access, "CONNECT", &target, &refusal);
        };
        let asked = (None, request.headers());
        let why = match policy::judge(&self.config, caller.peer.ip(), &wanted, asked, &self.name) {
            Ok(why) => why,
            Err(refusal) => return self.refuse(&caller, access, "CONNECT", &target, &refusal),
        };
        let Some(seat) = Seat::take(&self) else {
            let refusal = Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "proxy_internal_error", "too busy");
            return self.refuse(&caller, access, "CONNECT", &target, &refusal);
        };
        let own = upgrade(request);
        if inspect::reads(&self.config, &wanted) {
            let but = format!("{why}; what is inside will be read");
            self.say_forward(&caller, ("CONNECT", &target), "inspect", &but);
            drop(self.net.spawn(async move {
                if let Some(near) = own.await {
                    let ended = Ended { result: "NONE", status: 200, bytes: 0, server: None, kind: None };
                    access.end(&seat.0, &ended);
                    inspect::serve(Arc::clone(&seat.0), Box::new(near), caller.peer, wanted).await;
                }
            }));
            return Response::new(Body::default());
        }
        self.say_forward(&caller, ("CONNECT", &target), "tunnel", &why);
        let req = self.begin_tunnel(&wanted);
        let reached = match self.pool.reach((req, &caller), &wanted, None).await {
            Ok(reached) => reached,
            Err(refusal) => {
                self.end_tunnel(req, &refusal);
                return self.answer_itself(&caller, access, &refusal);
            }
        };
        drop(self.net.spawn(carry(seat, req, (caller, access), wanted, own, reached)));
        Response::new(Body::default())
    }

    fn begin_tunnel(&self, wanted: &Wanted) -> ReqId {
        let req = self.net.new_req();
        let (parent, kind) = (ReqId(0), ReqKind::Upstream);
        let (method, target) = ("CONNECT".to_owned(), wanted.authority());
        self.net.say(AppRecord::RequestBegin { req, parent, kind, method, target });
        req
    }

    fn end_tunnel(&self, req: ReqId, refusal: &Refusal) {
        let (status, note) = (refusal.status.as_u16(), refusal.why.clone());
        self.net.say(AppRecord::RequestEnd { req, status, ok: false, body_bytes: 0, note });
    }
}

/// A connection that was brought here and is left alone: to the address that the client wanted, unread.
pub(super) async fn splice(
    seat: Seat,
    caller: Caller,
    wanted: Wanted,
    server: IpAddr,
    near: Rewound<BoxStream>,
) {
    let desk = Arc::clone(&seat.0);
    let access = Access::begin(&desk, caller.peer.ip(), "CONNECT", &wanted.authority(), None);
    let req = desk.begin_tunnel(&wanted);
    match desk.pool.reach((req, &caller), &wanted, Some(server)).await {
        Ok(reached) => {
            carry(seat, req, (caller, access), wanted, std::future::ready(Some(near)), reached).await;
        }
        // Nobody to tell: the client did not ask for a proxy, so its connection ends.
        Err(refusal) => {
            desk.end_tunnel(req, &refusal);
            desk.say_fails(&caller, &format!("closes the client's connection: {}", refusal.why));
            drop(desk.fail(access, &refusal));
        }
    }
}

/// Bytes both ways, unread, until both have ended.
async fn carry(
    seat: Seat,
    req: ReqId,
    (caller, access): (Caller, Access),
    wanted: Wanted,
    own: impl Future<Output = Option<Rewound<BoxStream>>>,
    Reached { stream: far, candidates }: Reached,
) {
    let net = &seat.0.net;
    let (local, remote) = (far.local_addr(), far.peer_addr());
    net.say(AppRecord::UsesConnection { req, local, remote, reused: false, protocol: "tcp".to_owned() });
    net.say(AppRecord::Balanced {
        downstream: caller.peer,
        upstream: Some(local),
        chosen: wanted.host,
        address: remote,
        policy: "connect".to_owned(),
        candidates,
        warm: false,
    });
    let Some(near) = own.await else { return };
    let (near, far) = (Counted::new(near), far);
    let counted = Arc::clone(&near.passed);
    let ok = join(near, far).await.is_ok();
    let bytes = counted.load(std::sync::atomic::Ordering::Relaxed);
    let note = if ok { "the tunnel is closed" } else { "the tunnel broke off" }.to_owned();
    net.say(AppRecord::RequestEnd { req, status: 200, ok, body_bytes: bytes, note });
    let server = Some(remote.ip());
    access.end(&seat.0, &Ended { result: "TCP_TUNNEL", status: 200, bytes, server, kind: None });
}

/// The client's connection, once the 200 is written.
fn upgrade(mut request: Request<Incoming>) -> impl Future<Output = Option<Rewound<BoxStream>>> + Send {
    let waiting = hyper::upgrade::on(&mut request);
    async move {
        let upgraded = waiting.await.ok()?;
        let parts = upgraded.downcast::<HyperIo<BoxStream>>().ok()?;
        Some(Rewound { first: parts.read_buf, stream: parts.io.into_inner() })
    }
}

/// A stream of which the first bytes were read already.
pub(crate) struct Rewound<S> {
    pub(crate) first: Bytes,
    pub(crate) stream: S,
}

impl<S: AsyncRead + Unpin> AsyncRead for Rewound<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let n = self.first.len().min(buf.remaining());
        buf.put_slice(&self.first[..n]);
        self.first.advance(n);
        Poll::Ready(Ok(()))
    }
}

writes_through!(Rewound<S>);

/// Counts what is written to a client.
struct Counted<S> {
    stream: S,
    passed: Arc<std::sync::atomic::AtomicU64>,
}

impl<S> Counted<S> {
    fn new(stream: S) -> Counted<S> {
        Counted { stream, passed: Arc::default() }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, data);
        if let Poll::Ready(Ok(n)) = written {
            self.passed.fetch_add(n as u64, std::sync::atomic::Ordering::Relaxed);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
