//! The upstream servers of a proxy and the connections to them: who gets the next request, and over which connection;
//! kept open between requests, closed when idle for long.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use rt_base::{AppRecord, Candidate, ReqId, Time, Wait};
use rt_rules::http::{Change, Circuit, PoolRules, RetryBudget};
use rt_stack::ConnectOptions;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::edge::{PoolConfig, Upstream, UpstreamTls};
use crate::balance::{Asks, Chooser};
use crate::http::{Body, HyperIo, Linger, NetExecutor};
use crate::net::Net;
use crate::tls::{ClientTls, TlsHooks};

/// All upstreams of a pool and the connections to them.
pub(super) struct Pool {
    pub(super) net: Net,
    pub(super) name: String,
    upstreams: Vec<Upstream>,
    pub(super) rules: PoolRules,
    tls: Option<Tls>,
    /// Where `tls` offers HTTP/2: the same without.
    tls_h1: Option<Tls>,
    state: Mutex<State>,
    /// One request at a time makes a server's HTTP/2 connection; the others wait for it.
    making: Vec<tokio::sync::Mutex<()>>,
    /// Connections that may be in use at once, by server.
    slots: Option<Vec<Arc<Semaphore>>>,
}

/// How it speaks TLS, and to whom.
type Tls = (ClientTls, ServerName<'static>);

pub(super) struct State {
    pub(super) chooser: Chooser,
    pub(super) budget: RetryBudget,
    members: Vec<Member>,
}

#[derive(Default)]
struct Member {
    /// Requests under way.
    busy: u32,
    circuit: Circuit,
    /// Connections that wait, since when; the last used last.
    idle: Vec<(Time, Connection)>,
    /// The HTTP/2 connection, and when it was last used.
    h2: Option<(Time, Connection)>,
    /// Somebody will look for connections that were idle too long.
    swept: bool,
}

/// How requests go over a connection.
enum Sender {
    H1(http1::SendRequest<Body>),
    H2(http2::SendRequest<Body>),
}

/// A connection to an upstream server.
pub(super) struct Connection {
    sender: Sender,
    /// This end.
    pub(super) local: SocketAddr,
    /// Whether it served a request before.
    pub(super) reused: bool,
    /// It counts until this is dropped.
    _slot: Option<OwnedSemaphorePermit>,
}

/// Which upstream was taken and what was looked at.
pub(super) struct Choice {
    pub(super) busy: Option<Busy>,
    pub(super) policy: &'static str,
    pub(super) candidates: Vec<Candidate>,
}

/// A request that is under way to an upstream; it counts until this is dropped.
pub(super) struct Busy {
    pool: Arc<Pool>,
    pub(super) index: usize,
    /// What came of it was said to the circuit.
    reported: bool,
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut state = self.pool.state();
        let member = &mut state.members[self.index];
        member.busy = member.busy.saturating_sub(1);
        if !self.reported {
            member.circuit.forget();
        }
        let drained = state.chooser.closed(self.index);
        drop(state);
        if drained {
            let called = self.pool.called(self.index);
            let text = format!("the last request to {called} is over: it can be switched off");
            self.pool.note("balancer.drained", text);
        }
    }
}

impl Busy {
    /// What came of the request, for the circuit.
    pub(super) fn report(&mut self, good: bool) {
        let Some(rules) = self.pool.rules.circuit else { return };
        let now = self.pool.net.now();
        let change = self.pool.state().members[self.index].circuit.report(&rules, good, now);
        self.reported = true;
        let called = self.pool.called(self.index);
        match change {
            Change::None => {}
            Change::Opened(span) => {
                let text = format!("{called} failed too often: nothing is sent there for {span}");
                self.pool.note("balancer.circuit_open", text);
            }
            Change::Closed => {
                self.pool
                    .note("balancer.circuit_closed", format!("{called} is well again: the trial went well"));
            }
        }
    }
}

impl Connection {
    /// Sends a request and waits for the head of its response.
    pub(super) async fn send(&mut self, request: Request<Body>) -> hyper::Result<Response<Incoming>> {
        match &mut self.sender {
            Sender::H1(sender) => sender.send_request(request).await,
            Sender::H2(sender) => sender.send_request(request).await,
        }
    }

    /// `h2` or `http/1.1`.
    pub(super) fn protocol(&self) -> &'static str {
        match self.sender {
            Sender::H1(_) => "http/1.1",
            Sender::H2(_) => "h2",
        }
    }

    /// Whether it takes another request.
    async fn ready(&mut self) -> bool {
        match &mut self.sender {
            Sender::H1(sender) => sender.ready().await.is_ok(),
            Sender::H2(sender) => sender.ready().await.is_ok(),
        }
    }

    /// Another hold of an HTTP/2 connection.
    fn share(&self, reused: bool) -> Option<Connection> {
        let Sender::H2(sender) = &self.sender else { return None };
        Some(Connection { sender: Sender::H2(sender.clone()), local: self.local, reused, _slot: None })
    }
}

impl Pool {
    /// Nothing is connected yet. A name that no certificate can have, or roots that are none, become a note.
    pub(super) fn new(net: &Net, config: PoolConfig) -> Pool {
        let PoolConfig { name, upstreams, spread, tls, rules, .. } = config;
        let names = upstreams.iter().map(|upstream| upstream.name.clone()).collect();
        let rng = net.rng(&format!("proxy pool {name}"));
        let chooser = Chooser::new(names, spread, None, usize::MAX, rng);
        let members = upstreams.iter().map(|_| Member::default()).collect();
        let slots = |most: u32| upstreams.iter().map(|_| Arc::new(Semaphore::new(most as usize))).collect();
        let client_tls = |tls: &UpstreamTls, alpn: &[&str]| {
            let server_name = ServerName::try_from(tls.name.clone()).map_err(|error| error.to_string());
            let client =
                ClientTls::new(TlsHooks::of(net), &tls.roots, alpn).map_err(|error| error.to_string());
            match client.and_then(|client| Ok((client, server_name?))) {
                Ok(tls) => Some(tls),
                Err(why) => {
                    let text = format!("no TLS to {}: {why}", tls.name);
                    net.say(AppRecord::Note { req: ReqId(0), code: "tls.trust_store".into(), text });
                    None
                }
            }
        };
        let both: &[&str] = if rules.http2 { &["h2", "http/1.1"] } else { &["http/1.1"] };
        let tls_h1 = tls.as_ref().filter(|_| rules.http2).and_then(|tls| client_tls(tls, &["http/1.1"]));
        let tls = tls.and_then(|tls| client_tls(&tls, both));
        Pool {
            net: net.clone(),
            name,
            making: upstreams.iter().map(|_| tokio::sync::Mutex::new(())).collect(),
            slots: rules.connections.filter(|_| !rules.http2).map(slots),
            upstreams,
            rules,
            tls,
            tls_h1,
            state: Mutex::new(State { chooser, budget: RetryBudget::default(), members }),
        }
    }

    /// Whether its connections are encrypted.
    pub(super) fn is_secure(&self) -> bool {
        self.tls.is_some()
    }

    /// Picks an upstream that is not among `failed` (index and why), and counts a request for it. `wanted` is the one that
    /// the client had before.
    pub(super) fn choose(
        self: &Arc<Pool>,
        client: IpAddr,
        wanted: Option<usize>,
        failed: &[(usize, String)],
    ) -> Choice {
        let now = self.net.now();
        let mut state = self.state();
        let mut not = failed.to_vec();
        for (index, member) in state.members.iter().enumerate() {
            if failed.iter().all(|(bad, _)| *bad != index) {
                not.extend(self.refuses(member, now).map(|why| (index, why)));
            }
        }
        let choice = state.chooser.choose(Asks { client, wanted, now, not: &not });
        let busy = choice.server.map(|index| {
            let member = &mut state.members[index];
            member.busy += 1;
            member.circuit.begin();
            Busy { pool: Arc::clone(self), index, reported: false }
        });
        Choice { busy, policy: choice.policy, candidates: choice.candidates }
    }

    /// Why a server that lives gets no request.
    fn refuses(&self, member: &Member, now: Time) -> Option<String> {
        let rules = self.rules.circuit?;
        let full = rules.requests.filter(|most| member.busy >= *most);
        let full = full.map(|_| format!("{} under way, and no more are let in", member.busy));
        member.circuit.refuses(now).or(full)
    }

    /// How many upstreams there are.
    pub(super) fn len(&self) -> usize {
        self.upstreams.len()
    }

    /// The upstream at `index`.
    pub(super) fn upstream(&self, index: usize) -> &Upstream {
        &self.upstreams[index]
    }

    /// The upstream of this name.
    pub(super) fn named(&self, name: &str) -> Option<usize> {
        self.upstreams.iter().position(|upstream| upstream.name == name)
    }

    /// `web-2 (10.0.1.12:80)`.
    pub(super) fn called(&self, index: usize) -> String {
        let Upstream { name, address } = &self.upstreams[index];
        format!("{name} ({address})")
    }

    pub(super) fn note(&self, code: &str, text: String) {
        self.net.say(AppRecord::Note { req: ReqId(0), code: code.to_owned(), text });
    }

    /// A connection to the upstream: the last one that was parked, or a new one, for the request `req`.
    ///
    /// # Errors
    /// Those of connecting.
    pub(super) async fn connect(
        self: &Arc<Pool>,
        index: usize,
        fresh: bool,
        req: ReqId,
    ) -> io::Result<Connection> {
        if self.rules.http2 {
            return self.join(index, fresh, req).await;
        }
        let slot = self.slot(index).await;
        loop {
            let kept = if fresh { None } else { self.state().members[index].idle.pop() };
            let Some((_, mut connection)) = kept else { break };
            if connection.ready().await {
                return Ok(Connection { reused: true, _slot: slot, ..connection });
            }
        }
        // In a box: a handshake is kilobytes long, and most requests need none.
        Ok(Connection { _slot: slot, ..Box::pin(self.dial(index, req)).await? })
    }

    /// A new HTTP/1.1 connection that one request has for itself: it will speak something else.
    ///
    /// # Errors
    /// Those of connecting.
    pub(super) async fn own(&self, index: usize, req: ReqId) -> io::Result<Connection> {
        let slot = self.slot(index).await;
        let tls = self.tls.as_ref().map(|tls| self.tls_h1.as_ref().unwrap_or(tls));
        Ok(Connection { _slot: slot, ..Box::pin(self.dial_with(index, req, tls, false)).await? })
    }

    async fn slot(&self, index: usize) -> Option<OwnedSemaphorePermit> {
        let slots = Arc::clone(&self.slots.as_ref()?[index]);
        // Never closed, so that there always is one in the end.
        slots.acquire_owned().await.ok()
    }

    /// The HTTP/2 connection that all requests share.
    async fn join(self: &Arc<Pool>, index: usize, fresh: bool, req: ReqId) -> io::Result<Connection> {
        let _turn = self.making[index].lock().await;
        let shared =
            self.state().members[index].h2.as_ref().and_then(|(_, connection)| connection.share(true));
        if let Some(mut connection) = shared.filter(|_| !fresh)
            && connection.ready().await
        {
            return Ok(connection);
        }
        let connection = Box::pin(self.dial(index, req)).await?;
        let Some(own) = connection.share(false) else { return Ok(connection) };
        let now = self.net.now();
        let old = self.state().members[index].h2.replace((now, connection));
        drop(old);
        Ok(own)
    }

    /// A new connection.
    ///
    /// # Errors
    /// Those of connecting.
    pub(super) async fn dial(&self, index: usize, req: ReqId) -> io::Result<Connection> {
        self.dial_with(index, req, self.tls.as_ref(), self.rules.http2).await
    }

    /// With this TLS; `h2` where there is none to agree on it.
    async fn dial_with(
        &self,
        index: usize,
        req: ReqId,
        tls: Option<&Tls>,
        h2: bool,
    ) -> io::Result<Connection> {
        let options = ConnectOptions { nodelay: true, ..ConnectOptions::default() };
        let stream = self.net.tcp_connect(self.upstreams[index].address, options).await?;
        let local = stream.local_addr();
        let stream = Linger::new(&self.net, stream);
        let sender = match tls {
            None => self.speak(stream, h2).await?,
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
                let stream = shaken?;
                let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                self.speak(stream, h2).await?
            }
        };
        Ok(Connection { sender, local, reused: false, _slot: None })
    }

    async fn speak<S>(&self, stream: S, h2: bool) -> io::Result<Sender>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let io = HyperIo::new(stream);
        if h2 {
            let builder = http2::Builder::new(NetExecutor(self.net.clone()));
            let (sender, connection) = builder.handshake(io).await.map_err(io::Error::other)?;
            drop(self.net.spawn(async move {
                let _ = connection.await;
            }));
            return Ok(Sender::H2(sender));
        }
        let (sender, connection) = http1::handshake(io).await.map_err(io::Error::other)?;
        drop(self.net.spawn(async move {
            let _ = connection.with_upgrades().await;
        }));
        Ok(Sender::H1(sender))
    }

    /// The response was read to its end; the connection waits for the next request.
    pub(super) fn park(self: &Arc<Pool>, index: usize, connection: Connection) {
        let now = self.net.now();
        let mut state = self.state();
        let member = &mut state.members[index];
        match connection.sender {
            Sender::H1(_) => {
                let connection = Connection { _slot: None, ..connection };
                member.idle.push((now, connection));
            }
            Sender::H2(_) => {
                if let Some((used, _)) = &mut member.h2 {
                    *used = now;
                }
            }
        }
        if !std::mem::replace(&mut member.swept, true) {
            drop(state);
            let pool = Arc::clone(self);
            drop(self.net.spawn(async move { pool.sweep(index).await }));
        }
    }

    /// Closes what was idle too long, until nothing is left to close.
    async fn sweep(&self, index: usize) {
        let span = self.rules.idle;
        loop {
            let next = {
                let mut state = self.state();
                let member = &mut state.members[index];
                // An HTTP/2 connection is idle when nothing is under way on it.
                let quiet = member.h2.as_ref().filter(|_| member.busy == 0);
                let oldest = member.idle.iter().map(|(at, _)| *at).chain(quiet.map(|(at, _)| *at)).min();
                let busy = member.h2.is_some() && member.busy > 0;
                member.swept = oldest.is_some() || busy;
                oldest.map(|at| at + span).or(busy.then(|| self.net.now() + span))
            };
            let Some(next) = next else { return };
            self.net.sleep_until(next, Wait::Housekeeping).await;
            let now = self.net.now();
            let over = |at: Time| at + span <= now;
            let mut state = self.state();
            let member = &mut state.members[index];
            let idle = std::mem::take(&mut member.idle);
            let (old, kept): (Vec<_>, Vec<_>) = idle.into_iter().partition(|(at, _)| over(*at));
            member.idle = kept;
            let quiet = member.busy == 0 && member.h2.as_ref().is_some_and(|(at, _)| over(*at));
            let h2 = if quiet { member.h2.take() } else { None };
            // Closing wakes hyper's task: not under the lock.
            drop(state);
            drop((old, h2));
        }
    }

    /// Connections to a server that stand ready now.
    pub(super) fn standing(&self, index: usize) -> usize {
        let state = self.state();
        let member = &state.members[index];
        member.idle.len() + usize::from(member.h2.is_some())
    }

    /// A connection that nobody has used yet.
    pub(super) fn keep(self: &Arc<Pool>, index: usize, connection: Connection) {
        if let Some(own) = connection.share(false) {
            let now = self.net.now();
            self.state().members[index].h2 = Some((now, own));
        }
        self.park(index, connection);
    }

    /// Closes the connections that wait.
    pub(super) fn forget(&self, index: usize) {
        let mut state = self.state();
        let member = &mut state.members[index];
        let gone = (std::mem::take(&mut member.idle), member.h2.take());
        drop(state);
        drop(gone);
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
