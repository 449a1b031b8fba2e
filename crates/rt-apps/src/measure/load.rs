//! Requests at full tilt, as h2load makes them: one HTTP/2 connection over TLS that always has so many streams open.
//!
//! Not for: opening pages (the browser). Nothing is said about single requests: there may be a million of them, and the
//! packets have them all.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use http::{Method, Request, Uri};
use http_body_util::BodyExt;
use hyper::client::conn::http2;
use rt_base::{Figure, FigureUnit};
use rt_stack::ConnectOptions;
use rustls::pki_types::{CertificateDer, ServerName};

use super::ms;
use crate::http::{Body, HyperIo, Linger, NetExecutor};
use crate::net::Net;
use crate::step::StepResult;
use crate::tls::{ClientTls, TlsHooks};

/// Windows of h2load (1 GiB): they never hold anything up.
const WINDOW: u32 = (1 << 30) - 1;

/// What is asked for, and how often.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// Where the server listens.
    pub address: SocketAddr,
    /// An `https` URL; its host is the name that the certificate must have.
    pub url: String,
    /// Whom the client trusts.
    pub roots: Vec<CertificateDer<'static>>,
    /// How many requests in all.
    pub requests: u32,
    /// How many at any time.
    pub at_once: u32,
}

/// What the requests of one load share.
struct Load {
    target: Uri,
    wanted: u32,
    begun: AtomicU32,
    answered: AtomicU32,
    bytes: AtomicU64,
    failure: Mutex<Option<String>>,
}

/// Makes the requests. Figures: `answered`, `body-bytes`, `took`.
pub async fn load(net: Net, options: LoadOptions) -> StepResult {
    match run(&net, options).await {
        Ok(result) => result,
        Err(why) => StepResult::failed(why),
    }
}

async fn run(net: &Net, options: LoadOptions) -> Result<StepResult, String> {
    let target: Uri = options.url.parse().map_err(|_| format!("{} is not a URL", options.url))?;
    let host = target.host().unwrap_or_default().to_owned();
    let sender = connect(net, &options, host).await?;
    let load = Arc::new(Load {
        target,
        wanted: options.requests,
        begun: AtomicU32::new(0),
        answered: AtomicU32::new(0),
        bytes: AtomicU64::new(0),
        failure: Mutex::new(None),
    });
    let begin = net.now();
    let workers: Vec<_> =
        (0..options.at_once.max(1)).map(|_| net.spawn(work(Arc::clone(&load), sender.clone()))).collect();
    for worker in workers {
        worker.await;
    }
    let took = net.now().since(begin);
    let (answered, bytes) = (load.answered.load(Ordering::Relaxed), load.bytes.load(Ordering::Relaxed));
    let text = format!("{answered} of {} requests answered in {} ms", options.requests, ms(took));
    let failure = load.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
    let result = match failure {
        None => StepResult::ok(text),
        Some(why) => StepResult::failed(format!("{text}: {why}")),
    };
    let body_bytes = Figure { name: "body-bytes".into(), value: bytes, unit: FigureUnit::Bytes };
    let figures =
        vec![Figure::count("answered", u64::from(answered)), body_bytes, Figure::span("took", took)];
    Ok(result.with_figures(figures))
}

async fn connect(net: &Net, options: &LoadOptions, host: String) -> Result<http2::SendRequest<Body>, String> {
    let name = ServerName::try_from(host).map_err(|error| error.to_string())?;
    let tls = ClientTls::new(TlsHooks::of(net), &options.roots, &["h2"]).map_err(|e| e.to_string())?;
    let nodelay = ConnectOptions { nodelay: true, ..ConnectOptions::default() };
    let stream = net.tcp_connect(options.address, nodelay).await.map_err(|e| e.to_string())?;
    let stream = tls.connect(name, Linger::new(net, stream)).await.map_err(|e| e.to_string())?;
    if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
        return Err("the server does not speak HTTP/2".into());
    }
    let (sender, connection) = http2::Builder::new(NetExecutor(net.clone()))
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .handshake(HyperIo::new(stream))
        .await
        .map_err(|e| e.to_string())?;
    net.launch(async move {
        // How it ends is in the packets.
        let _ = connection.await;
    });
    Ok(sender)
}

/// One stream after the other until all requests are made, or something fails.
async fn work(load: Arc<Load>, mut sender: http2::SendRequest<Body>) {
    while load.begun.fetch_add(1, Ordering::Relaxed) < load.wanted {
        if let Err(why) = one(&load, &mut sender).await {
            let mut failure = load.failure.lock().unwrap_or_else(PoisonError::into_inner);
            failure.get_or_insert(why);
            return;
        }
    }
}

async fn one(load: &Load, sender: &mut http2::SendRequest<Body>) -> Result<(), String> {
    sender.ready().await.map_err(|e| e.to_string())?;
    let mut request = Request::new(Body::default());
    *request.method_mut() = Method::GET;
    *request.uri_mut() = load.target.clone();
    let response = sender.send_request(request).await.map_err(|e| e.to_string())?;
    let status = response.status();
    if !status.is_success() {
        return Err(format!("a request was answered with {status}"));
    }
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| e.to_string())?;
        let length = frame.data_ref().map_or(0, bytes::Bytes::len);
        load.bytes.fetch_add(length as u64, Ordering::Relaxed);
    }
    load.answered.fetch_add(1, Ordering::Relaxed);
    Ok(())
}
