//! The TLS-inspecting middlebox: it ends the client's TLS with a certificate of its own making, reads what is asked, and
//! asks the server over a session of its own. Whoever trusts its authority notices nothing but the issuer; whoever does not
//! refuses the certificate.
//!
//! It speaks HTTP/1.1 on both sides, as squid does: HTTP/2 that the client offers is taken away from it. Not read is what is
//! no TLS: such a tunnel is closed.

use std::net::SocketAddr;
use std::sync::Arc;

use rt_base::{AppRecord, ReqId, Wait};

use super::mint::HELLO;
use super::policy::{self, Wanted};
use super::{BoxStream, Desk, ForwardProxy, Seat, speak};
use crate::executor::BoxFuture;
use crate::http::Linger;
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

async fn read(desk: &Arc<Desk>, near: BoxStream, peer: SocketAddr, mut wanted: Wanted) {
    let Some(mint) = &desk.mint else { return };
    let Ok(Ok(hello)) = desk.net.timeout(HELLO, Wait::Timeout, hear(near)).await else { return };
    let offered = hello.client_hello();
    let alpn: Vec<String> = offered
        .alpn()
        .map(|names| names.map(|name| String::from_utf8_lossy(name).into_owned()).collect())
        .unwrap_or_default();
    if let Some(named) = offered.server_name().and_then(|name| Wanted::new(true, name, wanted.port)) {
        wanted = named;
    }
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
        drop(desk.net.spawn(async move {
            take(&seat.0, syn).await;
        }));
    }
}

async fn take(desk: &Arc<Desk>, syn: HeldSyn) {
    let server = syn.wanted();
    if desk.net.source_for(server.ip()) == Some(server.ip()) {
        return; // nobody redirected it: answering would be a loop
    }
    let Some(wanted) = Wanted::new(true, &server.ip().to_string(), server.port()) else { return };
    let Ok(near) = syn.admit().await else { return };
    let peer = near.peer_addr();
    near.set_nodelay(true);
    read(desk, Box::new(Linger::new(&desk.net, near)), peer, wanted).await;
}
