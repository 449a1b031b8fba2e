//! Names and connections to servers: looked up, opened, kept while they may be used again.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::StatusCode;
use hyper::client::conn::http1::{self, SendRequest};
use rt_base::{AppRecord, Candidate, Nanos, ReqId, Wait};
use rt_stack::ConnectOptions;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};

use super::Caller;
use super::policy::{Refusal, Wanted};
use crate::dns::RecordType;
use crate::http::{Body, HyperIo, Linger};
use crate::net::Net;
use crate::socket::TcpStream;
use crate::tls::{ClientTls, TlsFailure, TlsHooks};

/// Connections that wait for a request, all servers together; more are closed.
const MOST_IDLE: usize = 256;

/// See the module.
pub(super) struct Pool {
    net: Net,
    idle_for: Nanos,
    timeout: Nanos,
    /// For inspected tunnels.
    tls: Option<ClientTls>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Numbers idle periods, so that an old timer does not end a new one.
    parked: u64,
    idle: BTreeMap<Wanted, Vec<(u64, Connection)>>,
}

/// A connection to a server.
pub(super) struct Connection {
    pub(super) sender: SendRequest<Body>,
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    /// Whether it served a request before.
    pub(super) reused: bool,
}

/// A server that was found and reached.
pub(super) struct Reached {
    pub(super) stream: TcpStream,
    /// Its addresses, with what came of each.
    pub(super) candidates: Vec<Candidate>,
}

impl Pool {
    pub(super) fn new(
        net: &Net,
        idle_for: Nanos,
        timeout: Nanos,
        roots: Option<&[CertificateDer<'static>]>,
    ) -> Pool {
        let tls = roots.and_then(|roots| match ClientTls::new(TlsHooks::of(net), roots, &["http/1.1"]) {
            Ok(tls) => Some(tls),
            Err(error) => {
                let (code, text) = ("tls.trust_store".to_owned(), error.to_string());
                net.say(AppRecord::Note { req: ReqId(0), code, text });
                None
            }
        });
        Pool { net: net.clone(), idle_for, timeout, tls, state: Mutex::default() }
    }

    /// A connection that waits for a request to this server.
    pub(super) async fn kept(&self, wanted: &Wanted) -> Option<Connection> {
        loop {
            let (_, mut connection) = self.state().idle.get_mut(wanted)?.pop()?;
            if connection.sender.ready().await.is_ok() {
                return Some(Connection { reused: true, ..connection });
            }
        }
    }

    /// Looks the name up and connects, address by address, for the caller's request, which is `req` from here on; `fixed` is an
    /// address that the client has chosen already. Each address that is tried is said before, and what came of it after.
    ///
    /// # Errors
    /// Why nobody was reached.
    pub(super) async fn reach(
        &self,
        (req, caller): (ReqId, &Caller),
        wanted: &Wanted,
        fixed: Option<IpAddr>,
    ) -> Result<Reached, Refusal> {
        let addresses = match fixed {
            Some(address) => vec![address],
            None => self.resolve(req, wanted).await?,
        };
        let all = addresses.iter().map(|address| SocketAddr::new(*address, wanted.port).to_string());
        let mut candidates: Vec<Candidate> =
            all.map(|name| Candidate { name, note: String::new() }).collect();
        let mut failed: Vec<String> = Vec::new();
        for (address, number) in addresses.into_iter().zip(0..) {
            let to = SocketAddr::new(address, wanted.port);
            if self.net.source_for(address) == Some(address) {
                let why = format!("{} is this proxy itself: a loop", wanted.authority());
                return Err(Refusal::new(StatusCode::BAD_GATEWAY, "proxy_loop_detected", why));
            }
            if let Some(why) = failed.last() {
                self.net.say(AppRecord::Retry { req, attempt: number + 1, why: why.clone() });
            }
            self.say_chosen(req, caller, wanted, to, &candidates);
            let options = ConnectOptions { nodelay: true, ..ConnectOptions::default() };
            let connecting = self.net.tcp_connect(to, options);
            let note = match self.net.timeout(self.timeout, Wait::Timeout, connecting).await {
                Ok(Ok(stream)) => {
                    candidates.truncate(failed.len() + 1);
                    note_on(&mut candidates, failed.len(), "answers");
                    return Ok(Reached { stream, candidates });
                }
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("no answer within {}", self.timeout),
            };
            note_on(&mut candidates, failed.len(), &note);
            failed.push(note);
        }
        let told: Vec<String> = candidates.iter().map(|c| format!("{}: {}", c.name, c.note)).collect();
        let why = match told.is_empty() {
            true => format!("{} has no address", wanted.host),
            false => format!("nobody takes the connection to {} ({})", wanted.host, told.join("; ")),
        };
        Err(Refusal::new(StatusCode::BAD_GATEWAY, "destination_unavailable", why))
    }

    /// Where a caller's request goes.
    pub(super) fn say_chosen(
        &self,
        req: ReqId,
        caller: &Caller,
        wanted: &Wanted,
        address: SocketAddr,
        candidates: &[Candidate],
    ) {
        self.net.say(AppRecord::ChoseUpstream {
            req,
            downstream: caller.peer,
            downstream_ordinal: caller.ordinal,
            chosen: wanted.host.clone(),
            address,
            policy: "forward".to_owned(),
            candidates: candidates.to_vec(),
        });
    }

    async fn resolve(&self, req: ReqId, wanted: &Wanted) -> Result<Vec<IpAddr>, Refusal> {
        let looking = self.net.lookup(&wanted.host, RecordType::A, req);
        match looking.await {
            Ok(answer) => Ok(answer.addresses),
            Err(error) => Err(Refusal::new(StatusCode::BAD_GATEWAY, "dns_error", error.to_string())),
        }
    }

    /// HTTP/1.1 with a server that was reached, inside TLS when that is wanted.
    ///
    /// # Errors
    /// Why TLS or HTTP could not be agreed.
    pub(super) async fn speak(
        &self,
        req: ReqId,
        wanted: &Wanted,
        stream: TcpStream,
    ) -> Result<Connection, Refusal> {
        let (local, remote) = (stream.local_addr(), stream.peer_addr());
        let stream = Linger::new(&self.net, stream);
        let sender = if wanted.secure {
            let shaken = self.shake(req, wanted, stream).await?;
            self.drive(shaken).await
        } else {
            self.drive(stream).await
        };
        let broken = |error: hyper::Error| {
            Refusal::new(StatusCode::BAD_GATEWAY, "http_protocol_error", error.to_string())
        };
        Ok(Connection { sender: sender.map_err(broken)?, local, remote, reused: false })
    }

    async fn shake(
        &self,
        req: ReqId,
        wanted: &Wanted,
        stream: Linger<TcpStream>,
    ) -> Result<tokio_rustls::client::TlsStream<Linger<TcpStream>>, Refusal> {
        let refusal = |error, why| Refusal::new(StatusCode::BAD_GATEWAY, error, why);
        let name = ServerName::try_from(wanted.host.clone());
        let (Some(tls), Ok(name)) = (&self.tls, name) else {
            let why = format!("{} cannot stand in a certificate", wanted.host);
            return Err(refusal("tls_certificate_error", why));
        };
        let shaking = self.net.timeout(self.timeout, Wait::Timeout, tls.connect(name.clone(), stream)).await;
        if let Some(verdict) = tls.take_verdict(&name) {
            self.net.say(AppRecord::CertificateChecked {
                req,
                name: wanted.host.clone(),
                chain: verdict.chain,
                ok: verdict.failure.is_none(),
                note: verdict.note,
            });
        }
        match shaking {
            Ok(Ok(stream)) => Ok(stream),
            Err(_) => {
                let why = format!("{}: no TLS handshake within {}", wanted.host, self.timeout);
                Err(Refusal::new(StatusCode::GATEWAY_TIMEOUT, "connection_timeout", why))
            }
            Ok(Err(error)) => Err(match TlsFailure::of_io(&error) {
                Some(failure) => {
                    let protocol = matches!(failure, TlsFailure::Protocol(_) | TlsFailure::Alert(_));
                    let error = if protocol { "tls_protocol_error" } else { "tls_certificate_error" };
                    refusal(error, format!("{}: {failure}", wanted.host))
                }
                None => refusal("connection_terminated", format!("{}: {error}", wanted.host)),
            }),
        }
    }

    async fn drive<S>(&self, stream: S) -> hyper::Result<SendRequest<Body>>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = http1::handshake(HyperIo::new(stream)).await?;
        drop(self.net.spawn(async move {
            let _ = connection.await;
        }));
        Ok(sender)
    }

    /// The response was read to its end; the connection waits for the next request.
    pub(super) fn park(self: &Arc<Pool>, wanted: &Wanted, connection: Connection) {
        let mut state = self.state();
        let waiting: usize = state.idle.values().map(Vec::len).sum();
        if waiting >= MOST_IDLE || connection.sender.is_closed() {
            drop(state);
            return;
        }
        state.parked += 1;
        let number = state.parked;
        state.idle.entry(wanted.clone()).or_default().push((number, connection));
        drop(state);
        let (pool, wanted) = (Arc::clone(self), wanted.clone());
        drop(self.net.spawn(async move {
            pool.net.sleep(pool.idle_for, Wait::Housekeeping).await;
            let mut state = pool.state();
            let Some(idle) = state.idle.get_mut(&wanted) else { return };
            let found = idle.iter().position(|(parked, _)| *parked == number);
            let expired = found.map(|at| idle.remove(at));
            if idle.is_empty() {
                state.idle.remove(&wanted);
            }
            // Closing wakes hyper's task: not under the lock.
            drop(state);
            drop(expired);
        }));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn note_on(candidates: &mut [Candidate], at: usize, note: &str) {
    if let Some(candidate) = candidates.get_mut(at) {
        note.clone_into(&mut candidate.note);
    }
}
