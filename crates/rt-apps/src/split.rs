//! A split-TCP proxy (RFC 3135, 3.1.1): it stands on the path, takes connections in the server's name and makes its own to
//! the server. Satellite links, mobile networks and "WAN accelerators" have them.
//!
//! The client's SYN is answered only when the server has answered the proxy's, so a refusal stays a refusal. After that
//! each side has an ACK clock of its own: ACKs come from near, answers from far. Bytes are passed on unread.
//!
//! Destination NAT must bring the connections here (`nat: [ "dnat to ADDRESS:PORT tcp port 80 in IFACE" ]`).

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::Poll;

use rt_base::{AppRecord, ReqId};
use rt_stack::ConnectOptions;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};

use crate::net::Net;
use crate::socket::HeldSyn;

/// Bytes passed on in one go.
const PIECE: usize = 16_384;

/// Takes what comes to `port`, for ever.
pub async fn split_tcp(net: Net, port: u16) {
    let listener = match net.tcp_listen(port) {
        Ok(listener) => listener,
        Err(error) => {
            let text = format!("the split-TCP proxy cannot listen on port {port}: {error}");
            net.say(AppRecord::Note { req: ReqId(0), code: "split.listen".into(), text });
            return;
        }
    };
    listener.hold();
    while let Ok(syn) = listener.next_syn().await {
        let host = net.clone();
        drop(net.spawn(async move {
            // How it ends is in the packets.
            let _ = serve(&host, syn).await;
        }));
    }
}

async fn serve(net: &Net, syn: HeldSyn) -> io::Result<()> {
    let server = syn.wanted();
    if syn.peer_addr().is_some_and(|peer| peer == server) {
        return Ok(()); // nobody redirected it: answering would be a loop
    }
    let options = ConnectOptions { nodelay: true, ..ConnectOptions::default() };
    let far = net.tcp_connect(server, options).await?;
    let near = syn.admit().await?;
    near.set_nodelay(true);
    let text = format!(
        "split: {} talks to this proxy in the name of {server}; behind it goes {}",
        near.peer_addr(),
        far.local_addr()
    );
    net.say(AppRecord::Note { req: ReqId(0), code: "split.connected".into(), text });
    join(near, far).await
}

type Way<'a> = Pin<Box<dyn Future<Output = io::Result<()>> + Send + 'a>>;

/// Passes bytes on both ways until both have ended; an end is passed on as an end (a half close).
pub(crate) async fn join<A, B>(near: A, far: B) -> io::Result<()>
where
    A: AsyncRead + AsyncWrite + Unpin + Send,
    B: AsyncRead + AsyncWrite + Unpin + Send,
{
    let ((near_in, near_out), (far_in, far_out)) = (split(near), split(far));
    let (out, back): (Way<'_>, Way<'_>) =
        (Box::pin(pass(near_in, far_out)), Box::pin(pass(far_in, near_out)));
    let mut ways = [(out, false), (back, false)];
    poll_fn(|cx| {
        for (way, done) in &mut ways {
            if !*done && let Poll::Ready(end) = way.as_mut().poll(cx) {
                *done = true;
                // A side that broke takes the other with it: both are dropped.
                end?;
            }
        }
        if ways.iter().all(|(_, done)| *done) { Poll::Ready(Ok(())) } else { Poll::Pending }
    })
    .await
}

async fn pass<R, W>(mut from: R, mut to: W) -> io::Result<()>
where
    R: AsyncRead + Unpin + Send,
    W: AsyncWrite + Unpin + Send,
{
    let mut piece = vec![0; PIECE];
    loop {
        let n = from.read(&mut piece).await?;
        if n == 0 {
            return to.shutdown().await;
        }
        to.write_all(&piece[..n]).await?;
        // TLS may have taken it without having sent it.
        to.flush().await?;
    }
}
