//! The client: a step's calls, all on one connection, and what it measures.

use std::sync::{Arc, Mutex, PoisonError};

use http::uri::{PathAndQuery, Uri};
use rt_base::{AppRecord, Figure, Nanos, ReqId, ReqKind, Time, Wait, grpc_status};
use rt_stack::ConnectOptions;
use tonic::client::Grpc;
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

use super::LONGEST;
use super::channel::{Channel, Target, Wire, of_reset};
use super::kinds::Kind;
use super::proto::health::{HealthCheckRequest, HealthCheckResponse};
use super::proto::work::{Job, Progress, Result as Answer};
use super::steps::Steps;
use crate::net::Net;
use crate::step::StepResult;
use crate::tls::CertificateDer;

/// What the client says it is.
const USER_AGENT: &str = "grpc-rust-roundtrip/0.1";

/// Calls to a gRPC server, one step's work.
#[derive(Clone, Debug)]
pub struct GrpcCalls {
    /// Whether over TLS.
    pub secure: bool,
    /// Name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// `/work.Worker/Compute`.
    pub path: String,
    /// How many calls.
    pub count: u32,
    /// So many are under way at once, each on a stream of its own.
    pub at_once: u32,
    /// Sizes of the jobs: of one call after the other, from the beginning again when there are more calls. A method that
    /// takes many jobs gets them all.
    pub jobs: Vec<u32>,
    /// Length of a job's input, bytes.
    pub input: u32,
    /// Pause between an answer and the next call, or between the jobs of a stream.
    pub every: Nanos,
    /// A call is given up when it is not answered by then; the server is told.
    pub deadline: Option<Nanos>,
    /// A call is given up then, for no reason that the server was told of.
    pub cancel_after: Option<Nanos>,
    /// Whom it trusts.
    pub roots: Vec<CertificateDer<'static>>,
    /// What the first connection may pin.
    pub first: ConnectOptions,
}

/// What came of a call.
struct Outcome {
    number: u32,
    took: Nanos,
    /// What was answered, in a few words.
    result: Result<String, Status>,
}

/// Calls under way.
#[derive(Clone)]
struct Caller {
    net: Net,
    calls: Arc<GrpcCalls>,
    channel: Arc<Channel>,
    kind: Kind,
    req: ReqId,
    shared: Arc<Mutex<(u32, Vec<Outcome>)>>,
}

/// Makes the calls.
pub async fn call(net: Net, calls: GrpcCalls) -> StepResult {
    let req = net.new_req();
    let (kind, parent) = (ReqKind::Probe, ReqId(0));
    net.say(AppRecord::RequestBegin { req, parent, kind, method: "grpc".into(), target: calls.url() });
    let target = Target {
        secure: calls.secure,
        host: calls.host.clone(),
        port: calls.port,
        roots: calls.roots.clone(),
        first: calls.first,
    };
    let caller = Caller {
        channel: Arc::new(Channel::new(&net, target, req)),
        kind: Kind::of(&calls.path),
        calls: Arc::new(calls),
        net: net.clone(),
        req,
        shared: Arc::default(),
    };
    let hands = caller.calls.at_once.clamp(1, caller.calls.count.max(1));
    let hands: Vec<_> = (1..hands).map(|_| net.spawn(caller.clone().work())).collect();
    caller.clone().work().await;
    for hand in hands {
        hand.await;
    }
    let result = caller.summary();
    let note = result.summary.clone();
    net.say(AppRecord::RequestEnd { req, status: 0, ok: result.ok, body_bytes: 0, note });
    result
}

impl GrpcCalls {
    fn origin(&self) -> String {
        let scheme = if self.secure { "https" } else { "http" };
        format!("{scheme}://{}:{}", self.host, self.port)
    }

    fn url(&self) -> String {
        format!("{}{}", self.origin(), self.path)
    }

    /// The jobs of one call.
    fn jobs_of(&self, number: u32, kind: Kind) -> Vec<u32> {
        if kind.gathers() {
            return self.jobs.clone();
        }
        let at = (number as usize - 1) % self.jobs.len().max(1);
        vec![self.jobs.get(at).copied().unwrap_or(1)]
    }
}

impl Caller {
    fn shared<T>(&self, work: impl FnOnce(&mut (u32, Vec<Outcome>)) -> T) -> T {
        work(&mut self.shared.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Calls until all calls are made.
    async fn work(self) {
        loop {
            let number = self.shared(|(next, _)| {
                *next += 1;
                *next
            });
            if number > self.calls.count {
                return;
            }
            if number > 1 && self.calls.every > Nanos::ZERO && !self.kind.gathers() {
                self.net.sleep(self.calls.every, Wait::Person).await;
            }
            let begin = self.net.now();
            let req = self.net.new_req();
            let (parent, kind, target) = (self.req, ReqKind::Probe, self.calls.url());
            self.net.say(AppRecord::RequestBegin { req, parent, kind, method: "POST".into(), target });
            let result = self.limited(number, req, begin).await;
            let took = self.net.now().since(begin);
            let (ok, note) = match &result {
                Ok(words) => (true, format!("OK, {words}")),
                Err(status) => (false, words(status)),
            };
            self.net.say(AppRecord::RequestEnd { req, status: 0, ok, body_bytes: 0, note });
            self.shared(|(_, outcomes)| outcomes.push(Outcome { number, took, result }));
        }
    }

    /// One call, until it is answered or given up. What is given up is dropped, and hyper resets its stream.
    async fn limited(&self, number: u32, req: ReqId, begin: Time) -> Result<String, Status> {
        let (deadline, cancel) = (self.calls.deadline, self.calls.cancel_after);
        let one = self.one(number, req, deadline.map(|span| begin + span));
        let limit = match (deadline, cancel) {
            (None, None) => return one.await.map_err(of_reset),
            (a, b) => a.into_iter().chain(b).min().unwrap_or(Nanos::ZERO),
        };
        let by_deadline = deadline == Some(limit);
        let why = if by_deadline { Wait::Timeout } else { Wait::Person };
        match self.net.timeout(limit, why, one).await {
            Ok(result) => result.map_err(of_reset),
            Err(_) if by_deadline => {
                Err(Status::deadline_exceeded(format!("no answer within {limit}: given up")))
            }
            Err(_) => Err(Status::cancelled(format!("given up after {limit}"))),
        }
    }

    async fn one(&self, number: u32, req: ReqId, deadline: Option<Time>) -> Result<String, Status> {
        let (wire, reused) = self.channel.wire().await?;
        let (local, remote, protocol) = (wire.local, wire.remote, "h2".to_owned());
        self.net.say(AppRecord::UsesConnection { req, local, remote, reused, protocol });
        let left = deadline.map(|at| at.since(self.net.now()));
        let path = PathAndQuery::try_from(self.calls.path.as_str());
        let path = path.map_err(|error| Status::internal(error.to_string()))?;
        let origin: Uri = self.calls.origin().parse().map_err(|_| Status::internal("no such origin"))?;
        let mut grpc = Grpc::with_origin(wire, origin).max_decoding_message_size(LONGEST);
        grpc.ready().await.map_err(|error| of_reset(Status::from_error(error.into())))?;
        let jobs = self.calls.jobs_of(number, self.kind);
        let job = |at: usize| Job {
            number: if self.kind.gathers() { at as u32 + 1 } else { number },
            size: jobs[at],
            input: self.input(number, at),
        };
        match self.kind {
            Kind::Unary => self.unary(grpc, path, asked(job(0), left)).await,
            Kind::ServerStreaming => self.watch(grpc, path, asked(job(0), left)).await,
            Kind::ClientStreaming => {
                let jobs = self.stream((0..jobs.len()).map(job).collect());
                let codec = ProstCodec::<Job, Answer>::default();
                let answer = grpc.client_streaming(asked(jobs, left), path, codec).await?;
                Ok(said(answer.get_ref()))
            }
            Kind::Bidirectional => {
                let jobs = self.stream((0..jobs.len()).map(job).collect());
                let codec = ProstCodec::<Job, Answer>::default();
                let mut answers = grpc.streaming(asked(jobs, left), path, codec).await?.into_inner();
                let (mut came, mut units) = (0, 0);
                while let Some(answer) = answers.message().await? {
                    (came, units) = (came + 1, units + answer.done);
                }
                Ok(format!("{}, {}", rt_base::count(came, "result"), rt_base::count(units, "unit")))
            }
            Kind::Health => {
                let request = asked(HealthCheckRequest { service: "work.Worker".into() }, left);
                let codec = ProstCodec::<HealthCheckRequest, HealthCheckResponse>::default();
                let answer = grpc.unary(request, path, codec).await?.into_inner();
                Ok(answer.status().as_str_name().to_owned())
            }
        }
    }

    async fn unary(
        &self,
        mut grpc: Grpc<Wire>,
        path: PathAndQuery,
        job: Request<Job>,
    ) -> Result<String, Status> {
        let codec = ProstCodec::<Job, Answer>::default();
        let answer = grpc.unary(job, path, codec).await?;
        Ok(said(answer.get_ref()))
    }

    async fn watch(
        &self,
        mut grpc: Grpc<Wire>,
        path: PathAndQuery,
        job: Request<Job>,
    ) -> Result<String, Status> {
        let codec = ProstCodec::<Job, Progress>::default();
        let mut reports = grpc.server_streaming(job, path, codec).await?.into_inner();
        let mut last = String::new();
        let mut came = 0;
        while let Some(report) = reports.message().await? {
            came += 1;
            if let Some(result) = &report.result {
                last = format!(", {}", said(result));
            }
        }
        Ok(format!("{}{last}", rt_base::count(came, "report")))
    }

    /// Jobs as a stream, one after the other.
    fn stream(&self, jobs: Vec<Job>) -> Steps<Job> {
        let (net, every) = (self.net.clone(), self.calls.every);
        Steps::of(|slot| async move {
            for (at, job) in jobs.into_iter().enumerate() {
                if at > 0 {
                    net.sleep(every, Wait::Person).await;
                }
                slot.give(job).await;
            }
        })
    }

    /// What is worked on: the same in every run, another for every job.
    fn input(&self, number: u32, at: usize) -> Vec<u8> {
        let text = format!("job {number}.{} of {} ", at + 1, self.net.name());
        text.bytes().cycle().take(self.calls.input as usize).collect()
    }

    fn summary(&self) -> StepResult {
        let mut outcomes = self.shared(|(_, outcomes)| std::mem::take(outcomes));
        outcomes.sort_by_key(|o| o.number);
        let answered = outcomes.iter().filter(|o| o.result.is_ok());
        let mut times: Vec<Nanos> = answered.map(|o| o.took).collect();
        times.sort_unstable();
        let failed = outcomes.iter().find_map(|o| Some((o.number, o.result.as_ref().err()?)));
        let failures = (outcomes.len() - times.len()) as u64;
        let opened = u64::from(self.channel.opened());
        let mut figures = crate::rpc::latencies(&times);
        figures.push(Figure::count("connections", opened));
        figures.push(Figure::count("failed-calls", failures));
        let wanted = rt_base::count(u64::from(self.calls.count), "call");
        let median = times.get(times.len().saturating_sub(1) / 2);
        let median = median.map_or(String::new(), |median| format!(", median {median}"));
        let over = rt_base::count(opened, "connection");
        let text = format!("{} of {wanted} OK over {over}{median}", times.len());
        let lines = outcomes.iter().map(|o| match &o.result {
            Ok(words) => format!("call {}: OK after {}: {words}", o.number, o.took),
            Err(status) => format!("call {}: {} after {}", o.number, words(status), o.took),
        });
        let lines = lines.collect();
        match failed {
            None => StepResult::ok(text),
            Some((number, status)) => StepResult::failed(format!("{text}; call {number}: {}", words(status))),
        }
        .with_lines(lines)
        .with_figures(figures)
    }
}

/// A request with its deadline.
fn asked<T>(message: T, left: Option<Nanos>) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(left) = left {
        request.set_timeout(std::time::Duration::from_nanos(left.0));
    }
    let agent = tonic::metadata::MetadataValue::from_static(USER_AGENT);
    request.metadata_mut().insert("user-agent", agent);
    request
}

/// A result in a few words.
fn said(answer: &Answer) -> String {
    let start: String = answer.digest.iter().take(4).map(|b| format!("{b:02x}")).collect();
    format!("{}, {start}", rt_base::count(answer.done, "unit"))
}

fn words(status: &Status) -> String {
    let code = grpc_status(status.code() as u32);
    if status.message().is_empty() { code } else { format!("{code} ({})", status.message()) }
}
