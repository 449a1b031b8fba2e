//! The connections of a balancer to its upstream servers: kept open between requests, closed when idle for long.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyper::client::conn::http1::{self, SendRequest};
use rt_base::{AppRecord, Candidate, Nanos, ReqId, Wait};
use rt_stack::ConnectOptions;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};

use super::edge::{Balance, Upstream, UpstreamTls};
use crate::http::{Body, HyperIo, Linger};
use crate::net::Net;
use crate::tls::{ClientTls, TlsHooks};

/// All upstreams of a balancer and the connections to them.
pub(super) struct Pool {
    net: Net,
    upstreams: Vec<Upstream>,
    balance: Balance,
    idle_for: Nanos,
    tls: Option<(ClientTls, ServerName<'static>)>,
    state: Mutex<State>,
}

struct State {
    /// Whose turn it is.
    next: usize,
    /// Numbers idle periods, so that an old timer does not end a new one.
    parked: u64,
    members: Vec<Member>,
}

#[derive(Default)]
struct Member {
    /// Requests under way.
    busy: u32,
    /// Connections that wait, the last used last.
    idle: Vec<(u64, Connection)>,
}

/// A connection to an upstream server.
pub(super) struct Connection {
    pub(super) sender: SendRequest<Body>,
    /// This end.
    pub(super) local: SocketAddr,
    /// Whether it served a request before.
    pub(super) reused: bool,
}

/// Which upstream was taken and what was looked at.
pub(super) struct Choice {
    pub(super) busy: Busy,
    pub(super) candidates: Vec<Candidate>,
}

/// A request that is under way to an upstream; it counts until this is dropped.
pub(super) struct Busy {
    pool: Arc<Pool>,
    pub(super) index: usize,
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.pool.state().members[self.index].busy -= 1;
    }
}

impl Pool {
    pub(super) fn new(net: &Net, upstreams: Vec<Upstream>, balance: Balance, idle_for: Nanos) -> Pool {
        let tls = None;
        let members = upstreams.iter().map(|_| Member::default()).collect();
        let state = Mutex::new(State { next: 0, parked: 0, members });
        Pool { net: net.clone(), upstreams, balance, idle_for, tls, state }
    }

    /// The same, with TLS to the upstreams. A name that no certificate can have, or roots that are none, become a note.
    pub(super) fn over_tls(mut self, tls: Option<&UpstreamTls>) -> Pool {
        let Some(UpstreamTls { name, roots }) = tls else { return self };
        let server_name = ServerName::try_from(name.clone()).map_err(|error| error.to_string());
        let client = ClientTls::new(TlsHooks::of(&self.net), roots, &["http/1.1"]);
        match (client.map_err(|error| error.to_string()), server_name) {
            (Ok(client), Ok(server_name)) => self.tls = Some((client, server_name)),
            (Err(why), _) | (_, Err(why)) => {
                let (code, text) = ("tls.trust_store".to_owned(), format!("no TLS to {name}: {why}"));
                self.net.say(AppRecord::Note { req: ReqId(0), code, text });
            }
        }
        self
    }

    /// Whether its connections are encrypted.
    pub(super) fn is_secure(&self) -> bool {
        self.tls.is_some()
    }

    /// Picks an upstream that is not among `failed` (index and why), and counts a request for it.
    pub(super) fn choose(self: &Arc<Pool>, failed: &[(usize, String)]) -> Option<Choice> {
        let mut state = self.state();
        let count = self.upstreams.len();
        let turn = |index: usize| (index + count - state.next) % count;
        let open = (0..count).filter(|index| failed.iter().all(|(bad, _)| bad != index));
        let index = match self.balance {
            Balance::RoundRobin => open.min_by_key(|&index| turn(index)),
            Balance::LeastRequests => open.min_by_key(|&index| (state.members[index].busy, turn(index))),
        }?;
        let candidates = (0..count)
            .map(|other| {
                let why_failed = failed.iter().find(|(bad, _)| *bad == other).map(|(_, why)| why.clone());
                let note = why_failed.unwrap_or_else(|| match self.balance {
                    Balance::RoundRobin if other == index => "its turn".to_owned(),
                    Balance::RoundRobin => "waits for its turn".to_owned(),
                    Balance::LeastRequests => format!("{} under way", state.members[other].busy),
                });
                Candidate { name: self.upstreams[other].name.clone(), note }
            })
            .collect();
        state.next = (index + 1) % count;
        state.members[index].busy += 1;
        Some(Choice { busy: Busy { pool: Arc::clone(self), index }, candidates })
    }

    /// How many upstreams there are.
    pub(super) fn len(&self) -> usize {
        self.upstreams.len()
    }

    /// The upstream at `index`.
    pub(super) fn upstream(&self, index: usize) -> &Upstream {
        &self.upstreams[index]
    }

    /// A connection to the upstream: the last one that was parked, or a new one, for the request `req`.
    ///
    /// # Errors
    /// Those of connecting.
    pub(super) async fn connect(&self, index: usize, fresh: bool, req: ReqId) -> io::Result<Connection> {
        loop {
            let kept = if fresh { None } else { self.state().members[index].idle.pop() };
            let Some((_, mut connection)) = kept else { break };
            if connection.sender.ready().await.is_ok() {
                return Ok(Connection { reused: true, ..connection });
            }
        }
        let options = ConnectOptions { nodelay: true, ..ConnectOptions::default() };
        let stream = self.net.tcp_connect(self.upstreams[index].address, options).await?;
        let local = stream.local_addr();
        let stream = Linger::new(&self.net, stream);
        let sender = match &self.tls {
            None => self.speak(stream).await?,
            Some((client, name)) => {
                let shaken = client.connect(name.clone(), stream).await;
                if let Some(verdict) = client.take_verdict(name) {
                    self.net.say(AppRecord::CertificateChecked {
                        req,
                        name: name.to_str().into_owned(),
                        chain: verdict.chain,
                        ok: verdict.failure.is_none(),
                        note: verdict.note,
                    });
                }
                self.speak(shaken?).await?
            }
        };
        Ok(Connection { sender, local, reused: false })
    }

    async fn speak<S>(&self, stream: S) -> io::Result<SendRequest<Body>>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = http1::handshake(HyperIo::new(stream)).await.map_err(io::Error::other)?;
        drop(self.net.spawn(async move {
            let _ = connection.await;
        }));
        Ok(sender)
    }

    /// The response was read to its end; the connection waits for the next request.
    pub(super) fn park(self: &Arc<Pool>, index: usize, connection: Connection) {
        let mut state = self.state();
        state.parked += 1;
        let number = state.parked;
        state.members[index].idle.push((number, connection));
        drop(state);
        let pool = Arc::clone(self);
        drop(self.net.spawn(async move {
            pool.net.sleep(pool.idle_for, Wait::Housekeeping).await;
            let mut state = pool.state();
            let idle = &mut state.members[index].idle;
            let found = idle.iter().position(|(parked, _)| *parked == number);
            let expired = found.map(|at| idle.remove(at));
            // Closing wakes hyper's task: not under the lock.
            drop(state);
            drop(expired);
        }));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
