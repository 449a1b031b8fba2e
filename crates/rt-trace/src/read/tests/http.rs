//! HTTP/2 and HTTP/1.1 by hyper, recorded on an in-memory pipe, carried through TLS, read back with frames out of order.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

use super::frames::{connection, read};
use super::pump::{Extra, Pieces, Setup, run};
use crate::read::{HttpExchange, Secrets, Side, TcpApplication};

/// One end of the pipe; what it writes is recorded.
struct Tap {
    inner: DuplexStream,
    side: Side,
    wire: Rc<RefCell<Pieces>>,
}

impl hyper::rt::Read for Tap {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut into: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        let mut room = vec![0; into.remaining().min(16_384)];
        let mut buf = ReadBuf::new(&mut room);
        ready!(Pin::new(&mut self.inner).poll_read(cx, &mut buf))?;
        into.put_slice(buf.filled());
        Poll::Ready(Ok(()))
    }
}

impl hyper::rt::Write for Tap {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let n = ready!(Pin::new(&mut self.inner).poll_write(cx, bytes))?;
        self.wire.borrow_mut().push((self.side, bytes[..n].to_vec()));
        Poll::Ready(Ok(n))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[derive(Clone)]
struct Spawn;

impl<F: Future<Output: 'static> + 'static> hyper::rt::Executor<F> for Spawn {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

/// What the server saw and answered, by path.
type Seen = Rc<RefCell<Vec<(String, usize, usize)>>>;

async fn serve(request: Request<Incoming>, seen: Seen) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let path = request.uri().path().to_owned();
    let fields = request.headers().len();
    let body = request.into_body().collect().await?.to_bytes();
    let n: usize = path[1..].parse().unwrap();
    seen.borrow_mut().push((path, fields, body.len()));
    let response = Response::builder()
        .header("content-type", "text/plain")
        .header("x-long", "v".repeat(if n.is_multiple_of(50) { 24_000 } else { 10 }))
        .header(format!("x-{}", n % 7), format!("{n}"));
    Ok(response.body(Full::new(Bytes::from(format!("answer {n} ").repeat(n % 300)))).unwrap())
}

fn request(n: usize) -> Request<Full<Bytes>> {
    let body = if n.is_multiple_of(3) { "upload ".repeat(n * 20) } else { String::new() };
    Request::builder()
        .method(if body.is_empty() { "GET" } else { "POST" })
        .uri(format!("https://google.com/{n}"))
        .header("host", "google.com")
        .header("cookie", format!("NID={n}"))
        .header(format!("x-{}", n % 5), "some value")
        .body(Full::new(Bytes::from(body)))
        .unwrap()
}

/// Runs `count` requests, twenty at a time on HTTP/2; returns the plaintext on the pipe and what the server saw.
fn record(h2: bool, count: usize) -> (Pieces, Vec<(String, usize, usize)>) {
    let wire = Rc::new(RefCell::new(Pieces::new()));
    let seen: Seen = Rc::default();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let (a, b) = tokio::io::duplex(64 << 10);
        let client = Tap { inner: a, side: Side::Client, wire: Rc::clone(&wire) };
        let server = Tap { inner: b, side: Side::Server, wire: Rc::clone(&wire) };
        let seen = Rc::clone(&seen);
        let service = hyper::service::service_fn(move |r| serve(r, Rc::clone(&seen)));
        if h2 {
            let builder = hyper::server::conn::http2::Builder::new(Spawn);
            tokio::task::spawn_local(builder.serve_connection(server, service));
            let mut builder = hyper::client::conn::http2::Builder::new(Spawn);
            builder.max_header_list_size(1 << 20);
            let (sender, driver) = builder.handshake(client).await.unwrap();
            tokio::task::spawn_local(driver);
            for batch in (0..count).collect::<Vec<_>>().chunks(20) {
                let mut running = Vec::new();
                for n in batch {
                    let mut sender = sender.clone();
                    let call = sender.send_request(request(*n));
                    running.push(tokio::task::spawn_local(async {
                        call.await.unwrap().into_body().collect().await
                    }));
                }
                for task in running {
                    task.await.unwrap().unwrap();
                }
            }
        } else {
            tokio::task::spawn_local(
                hyper::server::conn::http1::Builder::new().serve_connection(server, service),
            );
            let (mut sender, driver) = hyper::client::conn::http1::handshake(client).await.unwrap();
            tokio::task::spawn_local(driver);
            for n in 0..count {
                sender.send_request(request(n)).await.unwrap().into_body().collect().await.unwrap();
            }
        }
    });
    drop(local);
    let pieces = wire.borrow().clone();
    let seen = seen.borrow().clone();
    (pieces, seen)
}

/// Swaps neighbours and repeats frames, but for the first and last ones.
fn disturb(frames: &mut Vec<super::frames::Made>) {
    let mut i = 6;
    while i + 8 < frames.len() {
        match i % 11 {
            0 => frames.swap(i, i + 1),
            4 => {
                let again = frames[i].clone();
                frames.insert(i + 2, again);
            }
            _ => {}
        }
        i += 3;
    }
}

#[track_caller]
fn check_exchanges(exchanges: &[HttpExchange], seen: &[(String, usize, usize)]) {
    assert_eq!(exchanges.len(), seen.len());
    for e in exchanges {
        let n: usize = e
            .request
            .target
            .trim_start_matches("https://google.com/")
            .trim_start_matches('/')
            .parse()
            .unwrap();
        let path = format!("/{n}");
        let (_, fields, upload) = seen.iter().find(|s| s.0 == path).unwrap();
        // hyper shows :authority in the URI, not among the fields.
        assert_eq!(e.request.headers.len(), *fields, "{:?}", e.request.headers);
        assert_eq!(e.request.body.encoded_bytes, *upload as u64);
        assert!(e.request.complete);
        let response = e.response.as_ref().unwrap();
        assert!(response.complete && response.status == 200);
        assert_eq!(response.body.content, format!("answer {n} ").repeat(n % 300).as_bytes());
        let own = response.headers.iter().find(|h| h.name == format!("x-{}", n % 7)).unwrap();
        assert_eq!(own.value, n.to_string());
        assert!(response.head.first.at > e.request.head.first.at);
    }
}

#[test]
fn http2_by_hyper_through_tls_out_of_order() {
    let (plain, seen) = record(true, 120);
    let ends = Setup { alpn: "h2", ..Setup::tls13("TLS13_AES_128_GCM") }.ends();
    let wire = run(&ends, &plain, Extra::Nothing);
    let lines = ends.log.lines();
    let secrets = Secrets::from_lines(lines.iter().map(String::as_str));
    let mut frames = connection(&wire, 1_460);
    disturb(&mut frames);
    let c = read(&frames, &secrets).tcp.remove(0);
    assert_eq!((c.application, &c.problems), (TcpApplication::Http2, &Vec::new()));
    let session = c.http2.as_ref().unwrap();
    assert_eq!(session.problem, None);
    assert!(session.frames.iter().any(|f| f.kind == "CONTINUATION"));
    assert!(c.from_client.repeated_bytes + c.from_server.repeated_bytes > 0);
    check_exchanges(&c.http, &seen);
    let streams: Vec<u32> = c.http.iter().map(|e| e.stream).collect();
    assert_eq!(streams, (0..120).map(|i| 2 * i + 1).collect::<Vec<u32>>());
}

#[test]
fn http1_by_hyper_without_tls() {
    let (plain, seen) = record(false, 40);
    let mut frames = connection(&plain, 1_460);
    disturb(&mut frames);
    let c = read(&frames, &Secrets::default()).tcp.remove(0);
    assert_eq!((c.application, &c.problems), (TcpApplication::Http1, &Vec::new()));
    check_exchanges(&c.http, &seen);
}
