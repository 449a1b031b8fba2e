//! The TLS-inspecting middlebox: it ends the client's TLS with a certificate of its own making, reads what is asked, and
//! asks the server over a session of its own. Whoever trusts its authority notices nothing but the issuer; whoever does not
//! refuses the certificate.
//!
//! It speaks HTTP/1.1 on both sides, as squid does: HTTP/2 that the client offers is taken away from it. Not read is what is
//! no TLS: such a tunnel is closed. Whether a host is left alone is known once the client has named it: what it has said by
//! then is passed on to the address that it wanted.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rt_base::{AppRecord, ReqId, Wait};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::StartHandshake;

use super::mint::HELLO;
use super::policy::{self, Wanted};
use super::{BoxStream, Caller, Desk, ForwardProxy, Rewound, Seat, speak, tunnel};
use crate::executor::BoxFuture;
use crate::http::{Linger, writes_through};
use crate::socket::HeldSyn;
use crate::tls::hear;

/// Whether the proxy reads what goes there.
pub(super) fn reads(config: &ForwardProxy, wanted: &Wanted) -> bool {
    let left_alone = |except: &[String]| except.iter().any(|p| policy::matches(p, &wanted.host, None));
    config.inspect.as_ref().is_some_and(|inspect| !left_alone(&inspect.except))
}

/// Ends the client's TLS and answers what is asked inside. Boxed: what is asked may be a tunnel again.
pub(super) fn serve(desk: Arc<Desk>, near: BoxStream, peer: SocketAddr, wanted: Wanted) -> BoxFuture<()> {
    Box::pin(async move { read(&desk, near, peer, wanted).await })
}

async fn read(desk: &Arc<Desk>, near: BoxStream, peer: SocketAddr, wanted: Wanted) {
    let Ok(Ok(hello)) = desk.net.timeout(HELLO, Wait::Timeout, hear(near)).await else { return };
    let wanted = named(&hello, &wanted).unwrap_or(wanted);
    end_here(desk, hello, peer, wanted).await;
}

/// Where the client means to go: the name in its hello tells.
fn named<S>(hello: &StartHandshake<S>, wanted: &Wanted) -> Option<Wanted>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    Wanted::new(true, hello.client_hello().server_name()?, wanted.port)
}

async fn end_here<S>(desk: &Arc<Desk>, hello: StartHandshake<S>, peer: SocketAddr, wanted: Wanted)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Some(mint) = &desk.mint else { return };
    let offered = hello.client_hello();
    let alpn: Vec<String> = offered
        .alpn()
        .map(|names| names.map(|name| String::from_utf8_lossy(name).into_owned()).collect())
        .unwrap_or_default();
    let text = format!(
        "shows {peer} a certificate for {} signed by {}; the client offers {}",
        wanted.host,
        mint.ca().name(),
        if alpn.is_empty() { "no ALPN".to_owned() } else { alpn.join(", ") }
    );
    let tls = match mint.identity(&wanted.host) {
        Ok(tls) => tls,
        Err(why) => {
            let text = format!("no certificate for {}: {why}", wanted.host);
            return desk.net.say(AppRecord::Note { req: ReqId(0), code: "proxy.mint".into(), text });
        }
    };
    desk.net.say(AppRecord::Note { req: ReqId(0), code: "proxy.inspects".into(), text });
    // A refused certificate ends here: the alert is in the packets.
    let Ok(Ok(stream)) = desk.net.timeout(HELLO, Wait::Timeout, tls.accept_heard(hello)).await else {
        return;
    };
    speak(desk, Box::new(stream), peer, Some(wanted)).await;
}

/// Takes connections that destination NAT brings here: their clients know of no proxy.
pub(super) async fn intercept(desk: Arc<Desk>, port: u16) {
    let listener = match desk.net.tcp_listen(port) {
        Ok(listener) => listener,
        Err(error) => {
            let text = format!("the proxy cannot intercept on port {port}: {error}");
            return desk.net.say(AppRecord::Note { req: ReqId(0), code: "proxy.listen".into(), text });
        }
    };
    listener.hold();
    while let Ok(syn) = listener.next_syn().await {
        let Some(seat) = Seat::take(&desk) else { continue };
        drop(desk.net.spawn(take(seat, syn)));
    }
}

async fn take(seat: Seat, syn: HeldSyn) {
    let desk = Arc::clone(&seat.0);
    let server = syn.wanted();
    if desk.net.source_for(server.ip()) == Some(server.ip()) {
        return; // nobody redirected it: answering would be a loop
    }
    let Some(wanted) = Wanted::new(true, &server.ip().to_string(), server.port()) else { return };
    let Ok(near) = syn.admit().await else { return };
    let peer = near.peer_addr();
    near.set_nodelay(true);
    let near = Taped { tape: Some(Vec::new()), stream: Linger::new(&desk.net, near) };
    let Ok(Ok(mut hello)) = desk.net.timeout(HELLO, Wait::Timeout, hear(near)).await else { return };
    let wanted = named(&hello, &wanted).unwrap_or(wanted);
    let tape = hello.io.tape.take().unwrap_or_default();
    if reads(&desk.config, &wanted) {
        return end_here(&desk, hello, peer, wanted).await;
    }
    let near: Rewound<BoxStream> = Rewound { first: tape.into(), stream: Box::new(hello.io.stream) };
    let caller = Caller { peer, ordinal: 0, inside: None };
    tunnel::splice(seat, caller, wanted, server.ip(), near).await;
}

/// A stream whose first bytes are kept: what was read to see who is meant has to be passed on if it is left alone.
struct Taped<S> {
    /// Nothing is kept any more when `None`. rustls reads no endless ClientHello, so this is no endless tape.
    tape: Option<Vec<u8>>,
    stream: S,
}

impl<S: AsyncRead + Unpin> AsyncRead for Taped<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if let Some(tape) = &mut self.tape {
            tape.extend_from_slice(&buf.filled()[before..]);
        }
        read
    }
}

writes_through!(Taped<S>);
