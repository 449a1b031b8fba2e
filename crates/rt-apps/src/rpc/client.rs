//! The side that calls, and what it measures.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use rt_base::{AppRecord, Figure, Nanos, ReqId, ReqKind, Time, Wait};
use rt_stack::{ConnectOptions, SocketError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Manners, read_message, write_message};
use crate::dns::RecordType;
use crate::net::Net;
use crate::socket::TcpStream;
use crate::step::StepResult;

/// What becomes of a connection between calls.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Connections {
    /// Each call opens one and closes it.
    Each,
    /// Opened when first needed, kept for the calls that follow.
    Kept,
    /// All opened before the first call, kept.
    Warmed,
}

/// Calls to a server, one step's work.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Calls {
    /// Name or address.
    pub target: String,
    /// TCP port.
    pub port: u16,
    /// How many.
    pub count: u32,
    /// Length of a request in bytes.
    pub request: u32,
    /// What becomes of connections.
    pub connections: Connections,
    /// So many calls are under way at once, each on its own connection.
    pub at_once: u32,
    /// Pause between a reply and the next call.
    pub every: Nanos,
    /// Give up on a call after this.
    pub timeout: Nanos,
    /// How it writes and reads.
    pub manners: Manners,
    /// What the first connection may pin.
    pub first: ConnectOptions,
}

/// What the callers of one step share.
struct Shared {
    next: u32,
    idle: VecDeque<TcpStream>,
    latencies: Vec<Nanos>,
    connections: u32,
    failures: Vec<(u32, String)>,
    first: Option<ConnectOptions>,
}

/// One step's calls under way.
#[derive(Clone)]
struct Caller {
    net: Net,
    calls: Arc<Calls>,
    /// The server's addresses, as they were told.
    addresses: Arc<[IpAddr]>,
    req: ReqId,
    shared: Arc<Mutex<Shared>>,
}

/// Makes the calls.
pub async fn call(net: Net, calls: Calls) -> StepResult {
    let req = net.new_req();
    let target = format!("{}:{}", calls.target, calls.port);
    let (kind, parent) = (ReqKind::Probe, ReqId(0));
    net.say(AppRecord::RequestBegin { req, parent, kind, method: "call".into(), target });
    let result = run(&net, calls, req).await;
    let note = result.summary.clone();
    net.say(AppRecord::RequestEnd { req, status: 0, ok: result.ok, body_bytes: 0, note });
    result
}

async fn run(net: &Net, calls: Calls, req: ReqId) -> StepResult {
    let addresses = match resolve(net, &calls, req).await {
        Ok(addresses) => addresses.into(),
        Err(why) => return StepResult::failed(why),
    };
    let shared = Shared {
        next: 0,
        idle: VecDeque::new(),
        latencies: Vec::new(),
        connections: 0,
        failures: Vec::new(),
        first: Some(calls.first),
    };
    let (net, calls, shared) = (net.clone(), Arc::new(calls), Arc::new(Mutex::new(shared)));
    let caller = Caller { net: net.clone(), calls, addresses, req, shared };
    if caller.calls.connections == Connections::Warmed {
        caller.warm().await;
    }
    let workers = caller.calls.at_once.clamp(1, caller.calls.count.max(1));
    let workers: Vec<_> = (1..workers).map(|_| net.spawn(caller.clone().work())).collect();
    caller.clone().work().await;
    for worker in workers {
        worker.await;
    }
    caller.part().await;
    caller.summary()
}

async fn resolve(net: &Net, calls: &Calls, req: ReqId) -> Result<Vec<IpAddr>, String> {
    if let Ok(address) = calls.target.parse() {
        return Ok(vec![address]);
    }
    let answer = net.lookup(&calls.target, RecordType::A, req).await.map_err(|e| e.to_string())?;
    if answer.addresses.is_empty() {
        Err(format!("{} has no address", calls.target))
    } else {
        Ok(answer.addresses)
    }
}

impl Caller {
    fn shared<T>(&self, work: impl FnOnce(&mut Shared) -> T) -> T {
        work(&mut self.shared.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Opens all connections before the first call.
    async fn warm(&self) {
        let begin = self.net.now();
        for _ in 0..self.calls.at_once.clamp(1, self.calls.count.max(1)) {
            match self.open().await {
                Ok(stream) => self.shared(|s| s.idle.push_back(stream)),
                Err(error) => self.note("rpc.warm", format!("opening a connection failed: {error}")),
            }
        }
        let (took, open) = (self.net.now().since(begin), self.shared(|s| s.idle.len()));
        self.note(
            "rpc.warm",
            format!("{} opened before the first call, in {took}", rt_base::count(open as u64, "connection")),
        );
    }

    /// Calls until all calls are made.
    async fn work(self) {
        loop {
            let number = self.shared(|s| {
                s.next += 1;
                s.next
            });
            if number > self.calls.count {
                return;
            }
            if number > 1 && self.calls.every > Nanos::ZERO {
                self.net.sleep(self.calls.every, Wait::Person).await;
            }
            let begin = self.net.now();
            let one = self.one();
            let outcome = match self.net.timeout(self.calls.timeout, Wait::Timeout, one).await {
                Ok(outcome) => outcome.map_err(|error| words(&error)),
                Err(_) => Err(format!("no reply within {}", self.calls.timeout)),
            };
            self.judge(number, begin, outcome);
        }
    }

    fn judge(&self, number: u32, begin: Time, outcome: Result<(SocketAddr, bool), String>) {
        let took = self.net.now().since(begin);
        match outcome {
            Ok((local, reused)) => {
                let how = if reused { "the connection from" } else { "a new connection from" };
                let text = format!("call {number} on {how} port {}: {took}", local.port());
                self.note("rpc.call", text);
                self.shared(|s| s.latencies.push(took));
            }
            Err(why) => {
                self.note("rpc.failed", format!("call {number} failed after {took}: {why}"));
                self.shared(|s| s.failures.push((number, why)));
            }
        }
    }

    /// One call; returns this end of its connection, and whether that was there before.
    async fn one(&self) -> io::Result<(SocketAddr, bool)> {
        let kept = self.shared(|s| s.idle.pop_front());
        let reused = kept.is_some();
        let mut stream = match kept {
            Some(stream) => stream,
            None => self.open().await?,
        };
        let local = stream.local_addr();
        if reused {
            self.uses(&stream, true);
        }
        let waiting = self.net.outstanding(&self.calls.target, stream.peer_addr().ip());
        write_message(&self.net, &mut stream, self.calls.request, self.calls.manners).await?;
        if read_message(&mut stream, self.calls.manners).await?.is_none() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        waiting.done();
        match self.calls.connections {
            Connections::Each => self.hang_up(stream),
            Connections::Kept | Connections::Warmed => self.shared(|s| s.idle.push_back(stream)),
        }
        Ok((local, reused))
    }

    async fn open(&self) -> io::Result<TcpStream> {
        let pins = self.shared(|s| s.first.take()).unwrap_or_default();
        let nodelay = self.calls.manners.no_delay;
        let picked = self.net.pick(&self.calls.target, &self.addresses);
        let mut failed = Vec::new();
        for (tried, address) in picked.order.iter().enumerate() {
            if picked.order.len() > 1 {
                self.note("rpc.address", picked.words(tried, &failed));
            }
            let to = SocketAddr::new(*address, self.calls.port);
            let trying = self.net.outstanding(&self.calls.target, *address);
            match self.net.tcp_connect(to, ConnectOptions { nodelay, ..pins }).await {
                Ok(stream) => {
                    trying.done();
                    self.shared(|s| s.connections += 1);
                    self.uses(&stream, false);
                    return Ok(stream);
                }
                Err(error) if tried + 1 == picked.order.len() => return Err(error),
                Err(error) => failed.push(format!("{to}: {}", words(&error))),
            }
        }
        Err(io::ErrorKind::AddrNotAvailable.into())
    }

    fn uses(&self, stream: &TcpStream, reused: bool) {
        let (req, local, remote) = (self.req, stream.local_addr(), stream.peer_addr());
        self.net.say(AppRecord::UsesConnection { req, local, remote, reused, protocol: "rpc".into() });
    }

    /// Closes at once: who says FIN first is decided by whether the server has said it with its reply.
    fn hang_up(&self, stream: TcpStream) {
        drop(stream);
    }

    /// Closes what was kept: FIN, then what the server has to say.
    async fn part(&self) {
        let idle = self.shared(|s| std::mem::take(&mut s.idle));
        let mut open = Vec::new();
        for mut stream in idle {
            if stream.shutdown().await.is_ok() {
                open.push(stream);
            }
        }
        for mut stream in open {
            let drain = async { while stream.read(&mut [0; 512]).await.is_ok_and(|n| n > 0) {} };
            let _ = self.net.timeout(Nanos::from_secs(1), Wait::Housekeeping, drain).await;
        }
    }

    fn note(&self, code: &str, text: String) {
        self.net.say(AppRecord::Note { req: self.req, code: code.into(), text });
    }

    fn summary(&self) -> StepResult {
        let (mut times, connections, failures) = self
            .shared(|s| (std::mem::take(&mut s.latencies), s.connections, std::mem::take(&mut s.failures)));
        times.sort_unstable();
        let mut figures = latencies(&times);
        figures.push(Figure::count("connections", u64::from(connections)));
        figures.push(Figure::count("failed-calls", failures.len() as u64));
        let wanted = self.calls.count;
        let opened = rt_base::count(u64::from(connections), "connection");
        let wanted = rt_base::count(u64::from(wanted), "call");
        let median = if times.is_empty() { String::new() } else { format!(", median {}", rank(&times, 50)) };
        let text = format!("{} of {wanted} answered over {opened}{median}", times.len());
        match failures.first() {
            None => StepResult::ok(text),
            Some((number, why)) => StepResult::failed(format!("{text}; call {number}: {why}")),
        }
        .with_figures(figures)
    }
}

/// The time that this share of the calls, in hundredths, took at most; times in order.
fn rank(times: &[Nanos], share: usize) -> Nanos {
    times[(times.len() * share).div_ceil(100).max(1) - 1]
}

/// What is measured of calls; times in order.
pub(crate) fn latencies(times: &[Nanos]) -> Vec<Figure> {
    if times.is_empty() {
        return Vec::new();
    }
    vec![
        Figure::span("latency-min", times[0]),
        Figure::span("latency-median", rank(times, 50)),
        Figure::span("latency-p99", rank(times, 99)),
        Figure::span("latency-max", times[times.len() - 1]),
    ]
}

/// Why a connection could not be used, in words.
pub(crate) fn words(error: &io::Error) -> String {
    let inner = error.get_ref().and_then(|e| e.downcast_ref::<SocketError>());
    match (error.kind(), inner) {
        (io::ErrorKind::ConnectionRefused, _) => "connection refused".into(),
        (io::ErrorKind::UnexpectedEof, _) => "the server closed the connection".into(),
        (_, Some(inner)) => inner.say().into(),
        _ => error.to_string(),
    }
}
