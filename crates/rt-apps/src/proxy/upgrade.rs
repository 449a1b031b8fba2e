//! WebSocket through the proxy (RFC 6455; RFC 9110, 7.8): Upgrade is for one hop only, so the proxy asks for it anew.
//!
//! The handshake is a request like any other: routes, checks, rewriting, forwarding fields, the choice of a server with its
//! retries and circuits. It goes up over an HTTP/1.1 connection of its own, whatever the pool speaks otherwise; no cache is
//! asked. After a 101 the two connections are joined and bytes pass unread; the upstream counts as busy until the end, so that
//! draining waits for it. Whatever else it answers is passed back as it is.
//!
//! Deliberate simplification: an Upgrade to anything but WebSocket is left out, as before a 101 was ever sent (a server that
//! insists answers 426).

use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONNECTION, HeaderMap, UPGRADE};
use http::request::Parts;
use http::{Method, Response, StatusCode, Version};
use hyper::upgrade::OnUpgrade;
use rt_base::{AppRecord, Nanos, Time, Wait};
use tokio::io::{AsyncRead, ReadBuf};

use super::fetch::{Fetched, Refusal, Way};
use super::headers::Payload;
use crate::cached::Source as _;
use crate::http::{Body, UpgradedIo, writes_through};
use crate::net::Net;
use crate::server::put;
use crate::split::join;
use crate::websocket::names;

/// Whether a client asks to go on with WebSocket on its connection.
pub(super) fn is_asked(parts: &Parts) -> bool {
    parts.version == Version::HTTP_11
        && parts.method == Method::GET
        && names(&parts.headers, UPGRADE, "websocket")
        && names(&parts.headers, CONNECTION, "upgrade")
}

/// Asks for it on the next hop, or agrees to it on this one.
pub(super) fn ask(headers: &mut HeaderMap) {
    put(headers, UPGRADE, "websocket");
    put(headers, CONNECTION, "Upgrade");
}

impl Way {
    /// Passes the handshake on, and joins the connections when it succeeds.
    pub(super) async fn upgrade(mut self, mut parts: Parts) -> Response<Body> {
        self.upgrades = true;
        let near = parts.extensions.remove::<OnUpgrade>();
        let fetched = match self.ask(self.net().new_req(), &parts, Payload::Whole(Bytes::new())).await {
            Ok(fetched) => fetched,
            Err(refusal) => return self.answer_itself(&refusal),
        };
        if fetched.parts.status != StatusCode::SWITCHING_PROTOCOLS {
            return self.relay(fetched, None, |_| {});
        }
        let Fetched { mut begun, busy, connection, parts: mut head, .. } = fetched;
        let far = head.extensions.remove::<OnUpgrade>();
        let (Some(near), Some(far), true) = (near, far, names(&head.headers, UPGRADE, "websocket")) else {
            let why = "the upstream switched to something else".to_owned();
            return self.answer_itself(&Refusal::after(&mut begun, StatusCode::BAD_GATEWAY, why));
        };
        self.dress_back(&mut head, busy.index);
        ask(&mut head.headers);
        let idle = self.timeout;
        let text = format!(
            "passes the switch to WebSocket on: from here on it only carries bytes from one connection to the other, until one \
             side ends or nothing comes for {idle}"
        );
        self.proxy.step(self.caller, "carries", text, Vec::new());
        begun.handed_on();
        let (req, net) = (begun.req(), self.net().clone());
        self.net().clone().launch(async move {
            let carried = match (near.await, far.await) {
                (Ok(near), Ok(far)) => carry(&net, near.into(), far.into(), idle).await,
                _ => Carried { why: "the client went away", ..Carried::default() },
            };
            let Carried { up, down, lasted, ok, why } = carried;
            let note = format!("carried {up} bytes up and {down} down in {lasted}: {why}");
            net.say(AppRecord::RequestEnd { req, status: 101, ok, body_bytes: down, note: note.clone() });
            self.proxy.step(self.caller, "carried", note, Vec::new());
            drop((busy, connection));
        });
        Response::from_parts(head, Body::default())
    }
}

/// What became of two joined connections.
#[derive(Default)]
struct Carried {
    up: u64,
    down: u64,
    lasted: Nanos,
    ok: bool,
    why: &'static str,
}

/// Bytes both ways until both have ended, or nothing has come for `idle`.
async fn carry(net: &Net, near: UpgradedIo, far: UpgradedIo, idle: Nanos) -> Carried {
    let begun = net.now();
    let meters = [Meter::new(net), Meter::new(net)];
    let near = Metered { stream: near, meter: Arc::clone(&meters[0]) };
    let far = Metered { stream: far, meter: Arc::clone(&meters[1]) };
    let (ok, why) = {
        let mut joined = pin!(join(near, far));
        loop {
            let last = meters.iter().map(|meter| meter.read().1).max().unwrap_or(begun);
            let now = net.now();
            if last + idle <= now {
                break (false, "nothing came for too long");
            }
            match net.timeout((last + idle).since(now), Wait::Housekeeping, joined.as_mut()).await {
                Ok(Ok(())) => break (true, "both sides have ended"),
                // Clients often end TLS without its own goodbye.
                Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    break (true, "both sides have ended");
                }
                Ok(Err(_)) => break (false, "one side broke off"),
                Err(_) => {}
            }
        }
    };
    let [up, down] = meters.map(|meter| meter.read().0);
    Carried { up, down, lasted: net.now().since(begun), ok, why }
}

/// Bytes read from one side, and when the last came.
struct Meter {
    net: Net,
    seen: Mutex<(u64, Time)>,
}

impl Meter {
    fn new(net: &Net) -> Arc<Meter> {
        Arc::new(Meter { net: net.clone(), seen: Mutex::new((0, net.now())) })
    }

    fn locked(&self) -> MutexGuard<'_, (u64, Time)> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self) -> (u64, Time) {
        *self.locked()
    }

    fn add(&self, bytes: usize) {
        let now = self.net.now();
        let mut seen = self.locked();
        *seen = (seen.0 + bytes as u64, now);
    }
}

/// A stream of which what is read is counted.
struct Metered {
    stream: UpgradedIo,
    meter: Arc<Meter>,
}

impl AsyncRead for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if read.is_ready() {
            self.meter.add(buf.filled().len() - before);
        }
        read
    }
}

writes_through!(Metered);
