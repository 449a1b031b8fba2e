//! Connections of the browser: one HTTP/2 connection per origin with as many streams as needed, or up to six HTTP/1.1
//! connections where h2 is refused.
//!
//! The first request to an origin connects and learns what the server speaks; others to the same origin wait for that,
//! as Chrome does for hosts it knows to speak h2.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Poll;

use hyper::client::conn::{http1, http2};
use rt_base::{AppRecord, CacheKind, CacheOutcome, Nanos, ReqId, Time, Wait};
use rt_stack::ConnectOptions;
use rt_stack::tcp::{EcnMode, SocketOptions};
use rustls::HandshakeKind;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::failure::{Failure, Phase};
use super::url::Origin;
use super::via::Via;
use super::{Habits, StepPins};
use crate::dns::{RecordType, SharedNameCache};
use crate::http::{Body, Delays, HyperIo, LateEnd, Linger, NetExecutor};
use crate::net::Net;
use crate::socket::TcpStream;
use crate::tls::{ClientTls, TICKET_LIFETIME, TlsHooks};

/// What Chrome says in its SETTINGS and first WINDOW_UPDATE.
const STREAM_WINDOW: u32 = 6_291_456;
const CONNECTION_WINDOW: u32 = 15_728_640;
const HEADER_TABLE: u32 = 65_536;
const HEADER_LIST: u32 = 262_144;

/// All connections of a browser.
pub(super) struct Pool {
    net: Net,
    trust: Trust,
    /// Made for the first `https` URL: most machines of a big network never see one.
    tls: OnceLock<ClientTls>,
    connections: usize,
    /// Two connections for a new `http` origin, as Chrome makes.
    speculates: bool,
    /// How late closed connections are noticed.
    late: Delays,
    /// An address that does not answer is given up after this; when TCP gives up, if not given.
    patience: Option<Nanos>,
    /// A forward proxy.
    via: Option<Via>,
    state: Mutex<PoolState>,
}

/// Whom the browser trusts, and what it offers to speak.
pub(super) struct Trust {
    pub(super) roots: Arc<[CertificateDer<'static>]>,
    pub(super) http2: bool,
    /// Whom it asks instead of servers.
    pub(super) via: Option<Via>,
}

#[derive(Default)]
struct PoolState {
    groups: BTreeMap<Origin, Arc<Group>>,
    /// For the next connection; taken by it.
    pins: StepPins,
    /// Counts uses, to know whether the browser was idle.
    uses: u64,
}

/// The connections to one origin.
struct Group {
    /// Held by the request that finds out what the server speaks.
    gate: tokio::sync::Mutex<()>,
    /// One permit per HTTP/1.1 connection in use.
    slots: Arc<Semaphore>,
    state: Mutex<GroupState>,
}

#[derive(Default)]
struct GroupState {
    h2: Option<(http2::SendRequest<Body>, Facts)>,
    idle: Vec<(http1::SendRequest<Body>, Facts)>,
    speaks_h1: bool,
}

/// What is known of a connection.
#[derive(Clone, Copy)]
struct Facts {
    local: SocketAddr,
    remote: SocketAddr,
    opened: Time,
    /// To a proxy, which is told whole addresses.
    absolute: bool,
}

/// The right to send one request on a connection.
pub(super) struct Lease {
    pub(super) wire: Wire,
    pub(super) reused: bool,
    facts: Facts,
    group: Arc<Group>,
}

/// The two ways to send.
pub(super) enum Wire {
    H1(http1::SendRequest<Body>, OwnedSemaphorePermit),
    H2(http2::SendRequest<Body>),
}

/// Who asks for a connection.
pub(super) struct Asker<'a> {
    pub(super) req: ReqId,
    pub(super) names: &'a SharedNameCache,
    /// Told how far it is.
    pub(super) phase: &'a Mutex<Phase>,
}

impl Pool {
    pub(super) fn new(net: &Net, mut trust: Trust, connections: u32, habits: &Habits) -> Pool {
        let connections = usize::try_from(connections.clamp(1, 256)).unwrap_or(6);
        let late = Arc::new(Mutex::new(habits.notices_close.iter().copied().collect()));
        let speculates = habits.like_chrome;
        let via = trust.via.take();
        Pool {
            net: net.clone(),
            trust,
            tls: OnceLock::new(),
            connections,
            speculates,
            late,
            patience: habits.connect_timeout,
            via,
            state: Mutex::default(),
        }
    }

    /// The certificate authorities that are trusted.
    pub(super) fn roots(&self) -> &[CertificateDer<'static>] {
        &self.trust.roots
    }

    /// Pins port and sequence number of the next connection.
    pub(super) fn pin(&self, pins: StepPins) {
        self.state().pins = pins;
    }

    /// Lets go of all connections: GOAWAY, close_notify, FIN.
    pub(super) fn close(&self) {
        let groups = std::mem::take(&mut self.state().groups);
        // Dropping wakes hyper's tasks: not under the lock.
        drop(groups);
    }

    /// Closes everything in `span`, unless the browser is used before.
    pub(super) fn close_after(self: &Arc<Pool>, span: Nanos) {
        let uses = self.state().uses;
        let pool = Arc::clone(self);
        self.net.launch(async move {
            pool.net.sleep(span, Wait::Housekeeping).await;
            if pool.state().uses == uses {
                pool.close();
            }
        });
    }

    /// A connection to `origin`: one that is there, or (always when `fresh`) a new one.
    ///
    /// # Errors
    /// Those of resolving, connecting and shaking hands.
    pub(super) async fn acquire(
        &self,
        origin: &Origin,
        asker: &Asker<'_>,
        fresh: bool,
    ) -> Result<Lease, Failure> {
        let group = self.group(origin);
        if fresh {
            group.forget();
        }
        if let Some(lease) = group.join_h2() {
            return Ok(self.say_pool(origin, asker, lease));
        }
        let knows = group.state().speaks_h1 || !origin.secure;
        if !knows {
            let _gate = group.gate.lock().await;
            if let Some(lease) = group.join_h2() {
                return Ok(self.say_pool(origin, asker, lease));
            }
            if !group.state().speaks_h1 {
                return self.dial(origin, asker, &group).await;
            }
        }
        let permit = Arc::clone(&group.slots).acquire_owned().await;
        let permit = permit.expect("invariant: the semaphore is never closed");
        if let Some((sender, facts)) = group.pop_idle() {
            let lease = Lease { wire: Wire::H1(sender, permit), reused: true, facts, group };
            return Ok(self.say_pool(origin, asker, lease));
        }
        drop(permit);
        self.dial(origin, asker, &group).await
    }

    fn group(&self, origin: &Origin) -> Arc<Group> {
        let mut state = self.state();
        state.uses += 1;
        let group = state.groups.entry(origin.clone()).or_insert_with(|| {
            Arc::new(Group {
                gate: tokio::sync::Mutex::new(()),
                slots: Arc::new(Semaphore::new(self.connections)),
                state: Mutex::default(),
            })
        });
        Arc::clone(group)
    }

    fn tls(&self) -> Result<&ClientTls, Failure> {
        if let Some(tls) = self.tls.get() {
            return Ok(tls);
        }
        let alpn: &[&str] = if self.trust.http2 { &["h2", "http/1.1"] } else { &["http/1.1"] };
        let tls = ClientTls::new(TlsHooks::of(&self.net), &self.trust.roots, alpn)
            .map_err(|error| Failure::new("tls.trust_store", error.to_string()))?;
        Ok(self.tls.get_or_init(|| tls))
    }

    fn state(&self) -> MutexGuard<'_, PoolState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new connection, all the way up.
    async fn dial(&self, origin: &Origin, asker: &Asker<'_>, group: &Arc<Group>) -> Result<Lease, Failure> {
        // Taken first, so that connections under way count.
        let permit = Arc::clone(&group.slots).acquire_owned().await;
        let permit = permit.expect("invariant: the semaphore is never closed");
        self.say_cache(asker, CacheKind::ConnectionPool, origin_text(origin), CacheOutcome::Miss, "");
        let via = self.via.as_ref().filter(|via| via.serves(origin));
        let to = via.map_or_else(|| origin.clone(), Via::origin);
        let addresses = self.resolve(&to, asker).await?;
        let absolute = via.is_some() && !origin.secure;
        let stream = self.connect(&to, &addresses, asker, (group, absolute)).await?;
        let facts = self.facts(&stream, absolute);
        let stream = Linger::new(&self.net, stream);
        let (wire, protocol) = if let Some(via) = via.filter(|_| origin.secure) {
            asker.at(Phase::Tunnel);
            let tunnel = via.tunnel(&self.net, stream, origin).await;
            if tunnel.is_err() {
                self.say_uses(asker, facts, false, "http/1.1");
            }
            asker.at(Phase::Handshake);
            self.secure(origin, asker, facts, permit, tunnel?).await?
        } else if origin.secure {
            asker.at(Phase::Handshake);
            self.secure(origin, asker, facts, permit, stream).await?
        } else {
            let stream = LateEnd::new(&self.net, stream, &self.late);
            (self.plain(&origin.host, stream, permit).await?, "http/1.1")
        };
        self.say_uses(asker, facts, false, protocol);
        match &wire {
            Wire::H2(sender) => group.state().h2 = Some((sender.clone(), facts)),
            Wire::H1(..) => group.state().speaks_h1 = true,
        }
        Ok(Lease { wire, reused: false, facts, group: Arc::clone(group) })
    }

    fn facts(&self, stream: &TcpStream, absolute: bool) -> Facts {
        let (local, remote) = (stream.local_addr(), stream.peer_addr());
        Facts { local, remote, opened: self.net.now(), absolute }
    }

    /// The proxy that this lease's request is sent to, if it must be told the whole address.
    pub(super) fn proxy_of(&self, lease: &Lease) -> Option<&Via> {
        self.via.as_ref().filter(|_| lease.facts.absolute)
    }

    async fn resolve(&self, origin: &Origin, asker: &Asker<'_>) -> Result<Vec<IpAddr>, Failure> {
        asker.at(Phase::Lookup);
        let answer = self.net.lookup_with(&origin.host, RecordType::A, asker.req, Some(asker.names)).await;
        let addresses = answer.map_err(|error| Failure::lookup(&error))?.addresses;
        if addresses.is_empty() {
            return Err(Failure::new("dns.nodata", format!("{}: no address", origin.host)));
        }
        Ok(addresses)
    }

    /// Tries the addresses one after the other.
    async fn connect(
        &self,
        origin: &Origin,
        addresses: &[IpAddr],
        asker: &Asker<'_>,
        (group, absolute): (&Arc<Group>, bool),
    ) -> Result<TcpStream, Failure> {
        asker.at(Phase::Connect);
        let picked = self.net.pick(&origin.host, addresses);
        let (mut failure, mut failed) = (None, Vec::new());
        for (tried, address) in picked.order.iter().enumerate() {
            if let Some(Failure { text, .. }) = &failure {
                failed.push(text.clone());
                self.net.say(AppRecord::Retry {
                    req: asker.req,
                    attempt: tried as u32 + 1,
                    why: text.clone(),
                });
            }
            if addresses.len() > 1 {
                let (code, text) = ("tcp.address".into(), picked.words(tried, &failed));
                self.net.say(AppRecord::Note { req: asker.req, code, text });
            }
            let to = SocketAddr::new(*address, origin.port);
            let trying = self.net.outstanding(&origin.host, *address);
            // The permit of this very request is the only one that is out: nobody else is connected or connecting.
            let alone = group.slots.available_permits() + 1 >= self.connections;
            let twice = self.speculates && !origin.secure && alone;
            let attempt = async {
                if twice { self.race(to, origin, (group, absolute)).await } else { self.one(to).await }
            };
            let connected = match self.patience {
                None => attempt.await,
                Some(patience) => {
                    let waited = self.net.timeout(patience, Wait::Timeout, attempt).await;
                    waited.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
                }
            };
            match connected {
                Ok(stream) => {
                    trying.done();
                    return Ok(stream);
                }
                Err(error) => failure = Some(Failure::connect(to, &error)),
            }
        }
        Err(failure.expect("invariant: there is at least one address"))
    }

    /// One connection, with what the step pins about its first.
    fn one(&self, to: SocketAddr) -> impl Future<Output = std::io::Result<TcpStream>> + Send + use<> {
        let pins = {
            let mut state = self.state();
            let ecn = state.pins.ecn;
            std::mem::replace(&mut state.pins, StepPins { ecn, ..StepPins::default() })
        };
        let options = ConnectOptions { local_port: pins.source_port, isn: pins.isn, nodelay: true };
        let ecn = pins.ecn.map(|asks| if asks { EcnMode::On } else { EcnMode::Off });
        let own = SocketOptions { ecn, ..SocketOptions::default() };
        let net = self.net.clone();
        async move { net.tcp_connect_with(to, options, own).await }
    }

    /// Two connections at once; the first that is ready is used, the other waits for the next request.
    async fn race(
        &self,
        to: SocketAddr,
        origin: &Origin,
        (group, absolute): (&Arc<Group>, bool),
    ) -> std::io::Result<TcpStream> {
        let mut first = Box::pin(self.one(to));
        let mut second = Box::pin(self.one(to));
        let (won, other) = std::future::poll_fn(|cx| {
            if let Poll::Ready(stream) = first.as_mut().poll(cx) {
                return Poll::Ready((stream, true));
            }
            second.as_mut().poll(cx).map(|stream| (stream, false))
        })
        .await;
        let other = if other { second } else { first };
        let (net, late, host, group) =
            (self.net.clone(), Arc::clone(&self.late), origin.host.clone(), Arc::clone(group));
        self.net.launch(async move {
            let Ok(stream) = other.await else { return };
            let (local, remote) = (stream.local_addr(), stream.peer_addr());
            let facts = Facts { local, remote, opened: net.now(), absolute };
            let stream = LateEnd::new(&net, Linger::new(&net, stream), &late);
            if let Ok(sender) = speak_h1(&net, &host, stream).await {
                group.state().idle.insert(0, (sender, facts));
            }
        });
        won
    }

    async fn secure<S>(
        &self,
        origin: &Origin,
        asker: &Asker<'_>,
        facts: Facts,
        permit: OwnedSemaphorePermit,
        stream: S,
    ) -> Result<(Wire, &'static str), Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let host = &origin.host;
        let name = ServerName::try_from(host.clone())
            .map_err(|_| Failure::new("tls.bad_name", format!("{host} cannot stand in a certificate")))?;
        let tls = self.tls()?;
        let ticket = tls.ticket_age(&name);
        let outcome = match ticket {
            Some(age) => CacheOutcome::Hit { age, fresh_for: TICKET_LIFETIME - age },
            None => CacheOutcome::Miss,
        };
        self.say_cache(asker, CacheKind::TlsSession, host.clone(), outcome, "session ticket");
        let shaken = tls.connect(name.clone(), stream).await;
        if let Some(verdict) = tls.take_verdict(&name) {
            self.net.say(AppRecord::CertificateChecked {
                req: asker.req,
                name: host.clone(),
                chain: verdict.chain,
                ok: verdict.failure.is_none(),
                note: verdict.note,
            });
        }
        let stream = shaken.map_err(|error| {
            self.say_uses(asker, facts, false, "tls");
            Failure::handshake(host, &error)
        })?;
        let session = stream.get_ref().1;
        if ticket.is_some() && session.handshake_kind() != Some(HandshakeKind::Resumed) {
            let text = format!("{host} did not take the session ticket: full handshake");
            self.net.say(AppRecord::Note { req: asker.req, code: "tls.ticket_refused".into(), text });
        }
        if session.alpn_protocol() == Some(b"h2") {
            return Ok((Wire::H2(self.speak_h2(host, stream).await?), "h2"));
        }
        Ok((self.plain(host, stream, permit).await?, "http/1.1"))
    }

    async fn speak_h2<S>(&self, host: &str, stream: S) -> Result<http2::SendRequest<Body>, Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let handshake = http2::Builder::new(NetExecutor(self.net.clone()))
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .header_table_size(HEADER_TABLE)
            .max_header_list_size(HEADER_LIST)
            .handshake(HyperIo::new(stream))
            .await;
        let (sender, connection) = handshake.map_err(|error| Failure::http(host, &error))?;
        self.net.launch(async move {
            // How it ends is in the packets.
            let _ = connection.await;
        });
        Ok(sender)
    }

    async fn plain<S>(&self, host: &str, stream: S, permit: OwnedSemaphorePermit) -> Result<Wire, Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        Ok(Wire::H1(speak_h1(&self.net, host, stream).await?, permit))
    }

    fn say_pool(&self, origin: &Origin, asker: &Asker<'_>, lease: Lease) -> Lease {
        let age = self.net.now().since(lease.facts.opened);
        let outcome = CacheOutcome::Hit { age, fresh_for: Nanos::ZERO };
        self.say_cache(asker, CacheKind::ConnectionPool, origin_text(origin), outcome, "open connection");
        let protocol = if matches!(lease.wire, Wire::H2(_)) { "h2" } else { "http/1.1" };
        self.say_uses(asker, lease.facts, true, protocol);
        lease
    }

    fn say_uses(&self, asker: &Asker<'_>, facts: Facts, reused: bool, protocol: &str) {
        self.net.say(AppRecord::UsesConnection {
            req: asker.req,
            local: facts.local,
            remote: facts.remote,
            reused,
            protocol: protocol.to_owned(),
        });
    }

    fn say_cache(&self, asker: &Asker<'_>, cache: CacheKind, key: String, outcome: CacheOutcome, note: &str) {
        self.net.say(AppRecord::Cache { req: asker.req, cache, key, outcome, note: note.to_owned() });
    }
}

/// HTTP/1.1 on a stream; a task of the host drives it.
async fn speak_h1<S>(net: &Net, host: &str, stream: S) -> Result<http1::SendRequest<Body>, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let handshake = http1::Builder::new().title_case_headers(true).handshake(HyperIo::new(stream)).await;
    let (sender, connection) = handshake.map_err(|error| Failure::http(host, &error))?;
    net.launch(async move {
        let _ = connection.await;
    });
    Ok(sender)
}

impl Asker<'_> {
    pub(super) fn at(&self, phase: Phase) {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = phase;
    }
}

impl Group {
    fn join_h2(self: &Arc<Group>) -> Option<Lease> {
        let mut state = self.state();
        let (sender, facts) = state.h2.as_ref()?;
        if sender.is_closed() {
            state.h2 = None;
            return None;
        }
        let (wire, facts) = (Wire::H2(sender.clone()), *facts);
        Some(Lease { wire, reused: true, facts, group: Arc::clone(self) })
    }

    fn pop_idle(&self) -> Option<(http1::SendRequest<Body>, Facts)> {
        let mut state = self.state();
        while let Some((sender, facts)) = state.idle.pop() {
            if !sender.is_closed() {
                return Some((sender, facts));
            }
        }
        None
    }

    /// Kept connections turned out to be dead.
    fn forget(&self) {
        let mut state = self.state();
        let dead = (state.h2.take(), std::mem::take(&mut state.idle));
        drop(state);
        drop(dead);
    }

    fn state(&self) -> MutexGuard<'_, GroupState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease {
    /// `h2` or `http/1.1`.
    pub(super) fn protocol(&self) -> &'static str {
        if matches!(self.wire, Wire::H2(_)) { "h2" } else { "http/1.1" }
    }

    /// The other end.
    pub(super) fn remote(&self) -> IpAddr {
        self.facts.remote.ip()
    }

    /// The response was read to its end: an HTTP/1.1 connection is free for the next request.
    pub(super) fn give_back(self) {
        let Lease { wire, facts, group, .. } = self;
        if let Wire::H1(sender, permit) = wire {
            if !sender.is_closed() {
                group.state().idle.push((sender, facts));
            }
            drop(permit);
        }
    }
}

fn origin_text(origin: &Origin) -> String {
    let scheme = if origin.secure { "https" } else { "http" };
    format!("{scheme}://{}:{}", origin.host, origin.port)
}
