//! Client and server on one machine, over its loopback interface: all kinds of calls, what becomes of those that nobody waits for
//! any more, and what the server makes of clients that send nonsense.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use rt_base::{AppRecord, EventId, Input, Nanos, NodeId, Outbox, Time, WorkStep, WorkStop};
use rt_stack::{ConnectOptions, Stack, StackConfig};

use super::{GrpcCalls, GrpcServer, LONGEST, MOST_WORK, call};
use crate::dns::ResolverConfig;
use crate::http::{HyperIo, NetExecutor};
use crate::tls::{Authority, CertificateSpec, SignedBy};
use crate::{Net, Runtime, StepFn, StepResult};

const EPOCH: u64 = 1_795_219_200;

/// One machine that runs everything.
struct World {
    runtime: Runtime,
    out: Outbox,
    now: Time,
    wish: Time,
    counters: (u64, u64),
    said: Vec<(Time, AppRecord)>,
    steps: u32,
    calls: GrpcCalls,
}

impl World {
    /// With a server that `change` was made to.
    fn new(secure: bool, change: impl FnOnce(&mut GrpcServer)) -> World {
        let runtime = Runtime::new(Stack::new(StackConfig::default(), 1, "box"), 1, "box", EPOCH);
        let authority = Authority::new(1, EPOCH).unwrap();
        let identity = authority.issue(&CertificateSpec {
            names: vec!["127.0.0.1".into()],
            not_before: EPOCH - 86_400,
            not_after: EPOCH + 86_400,
            signed_by: SignedBy::PublicCa,
        });
        let identity = secure.then(|| identity.unwrap());
        let unit = Nanos::from_millis(1);
        let mut server = GrpcServer { port: 50_051, identity, workers: 2, unit, queue: 100, stops: true };
        change(&mut server);
        let net = runtime.net();
        let hosts = vec![("localhost".to_owned(), "127.0.0.1".parse().unwrap())];
        net.set_resolver(ResolverConfig { hosts, ..ResolverConfig::default() });
        net.serve("grpc", server.run(net.clone()));
        let calls = GrpcCalls {
            secure,
            host: "127.0.0.1".into(),
            port: 50_051,
            path: "/work.Worker/Compute".into(),
            count: 1,
            at_once: 1,
            jobs: vec![1],
            input: 100,
            every: Nanos::ZERO,
            deadline: None,
            cancel_after: None,
            roots: vec![authority.root().clone()],
            first: ConnectOptions::default(),
        };
        let mut world = World {
            runtime,
            out: Outbox::new(true),
            now: Time::ZERO,
            wish: Time::MAX,
            counters: (0, 0),
            said: Vec::new(),
            steps: 0,
            calls,
        };
        world.handle(Input::Boot);
        world
    }

    /// Makes calls, and lets a minute pass.
    fn call(&mut self, change: impl FnOnce(&mut GrpcCalls)) -> StepResult {
        let mut calls = self.calls.clone();
        change(&mut calls);
        self.step(Box::new(move |net| Box::pin(call(net, calls))))
    }

    fn step(&mut self, run: StepFn) -> StepResult {
        let index = self.steps;
        self.steps += 1;
        self.runtime.set_step(index, format!("step {index}"), run);
        self.handle(Input::Command { step: index });
        let end = self.now + Nanos::from_secs(60);
        while self.wish <= end {
            self.now = self.wish;
            self.wish = Time::MAX;
            self.handle(Input::Timer);
        }
        self.now = end;
        self.runtime.step_result(index).expect("the step ends within a minute")
    }

    fn handle(&mut self, input: Input) {
        self.out.begin(NodeId(0), self.now, EventId::NONE, self.counters);
        self.out.wake = None;
        self.runtime.handle(self.now, input, &mut self.out);
        self.counters = self.out.counters();
        self.wish = self.out.wake.unwrap_or(self.wish);
        self.said.extend(self.out.events.drain(..).filter_map(|event| match event.what {
            rt_base::What::App(record) => Some((event.at, *record)),
            _ => None,
        }));
        self.out.signals.clear();
    }

    /// What the server said of its work, by the calls' numbers on their connection.
    fn work(&self) -> Vec<(u32, WorkStep)> {
        let step = |(_, record): &(Time, AppRecord)| match record {
            AppRecord::Work { downstream_ordinal, step, .. } => Some((*downstream_ordinal, step.clone())),
            _ => None,
        };
        self.said.iter().filter_map(step).collect()
    }
}

fn ms(n: u64) -> Nanos {
    Nanos::from_millis(n)
}

fn figure(result: &StepResult, name: &str) -> u64 {
    result.figures.iter().find(|f| f.name == name).map_or(0, |f| f.value)
}

#[test]
fn one_slow_call_holds_a_worker_and_not_the_connection() {
    for secure in [true, false] {
        let mut world = World::new(secure, |_| {});
        let result = world.call(|c| (c.count, c.at_once, c.jobs) = (6, 6, vec![1, 500, 1, 1, 1, 1]));
        assert!(result.ok, "{}", result.summary);
        assert_eq!((figure(&result, "connections"), figure(&result, "failed-calls")), (1, 0));
        // Five of one unit each, one behind the other, on the worker that the slow one left.
        assert!(figure(&result, "latency-median") < ms(6).0, "{:?}", result.lines);
        assert!(figure(&result, "latency-max") >= ms(500).0);
        let queued: Vec<_> =
            world.work().into_iter().filter(|(_, s)| matches!(s, WorkStep::Queued { .. })).collect();
        assert_eq!(queued, (0..4).map(|n| (n + 2, WorkStep::Queued { ahead: n })).collect::<Vec<_>>());
        let done =
            |w: &[(u32, WorkStep)]| w.iter().filter(|(_, s)| matches!(s, WorkStep::Done { .. })).count();
        assert_eq!(done(&world.work()), 6);
        assert_eq!(world.runtime.open_connections(), 0);
    }
}

#[test]
fn a_server_with_one_worker_lets_all_wait_for_the_slow_one() {
    let mut world = World::new(true, |s| s.workers = 1);
    let result = world.call(|c| (c.count, c.at_once, c.jobs) = (4, 4, vec![500, 1, 1, 1]));
    assert!(figure(&result, "latency-min") >= ms(500).0, "{:?}", result.lines);
}

#[test]
fn a_deadline_ends_the_call_at_both_ends() {
    let mut world = World::new(true, |_| {});
    let result = world.call(|c| (c.jobs, c.deadline) = (vec![500], Some(ms(100))));
    assert!(!result.ok);
    let expected = "call 1: DEADLINE_EXCEEDED (no answer within 100.000 ms: given up) after 100.000 ms";
    assert_eq!(result.lines, [expected]);
    let work = world.work();
    let Some((0, WorkStep::Stopped { worked, saved, .. })) = work.last() else { panic!("{work:?}") };
    assert!(*worked <= ms(100) && *worked > ms(99), "{worked}");
    assert_eq!(*worked + *saved, ms(500));
    // The worker is free again.
    assert!(world.call(|_| {}).ok);
}

#[test]
fn a_server_knows_the_deadline_by_itself() {
    // A client that says so and does not care: the message of a job of 500 units, behind a deadline of 100 ms.
    let mut world = World::new(false, |_| {});
    let (status, body, trailers) =
        world.raw("/work.Worker/Compute", &[("grpc-timeout", "100m")], framed(0, &[16, 244, 3]));
    assert_eq!((status, body.len()), (200, 0));
    assert_eq!(trailers, "4 the deadline passed at the server");
    let stopped = WorkStep::Stopped { worked: ms(100), saved: ms(400), why: WorkStop::Deadline };
    assert_eq!(world.work().last(), Some(&(0, stopped)));
    // In the queue too.
    let mut world = World::new(false, |s| s.workers = 1);
    let result = world.call(|c| (c.count, c.at_once, c.jobs, c.deadline) = (2, 2, vec![500], Some(ms(100))));
    assert_eq!(figure(&result, "failed-calls"), 2);
    let left = world.work().into_iter().any(|(n, s)| n == 1 && matches!(s, WorkStep::Left { .. }));
    assert!(left, "{:?}", world.work());
}

#[test]
fn cancelling_stops_the_work_unless_the_server_does_not_look() {
    let mut world = World::new(true, |_| {});
    let result = world.call(|c| (c.jobs, c.cancel_after) = (vec![500], Some(ms(50))));
    assert_eq!(result.lines, ["call 1: CANCELLED (given up after 50.000 ms) after 50.000 ms"]);
    let work = world.work();
    let Some((0, WorkStep::Stopped { why: WorkStop::Gone, saved, .. })) = work.last() else {
        panic!("{work:?}")
    };
    assert!(*saved >= ms(450), "{saved}");

    let mut world = World::new(true, |s| s.stops = false);
    let result = world.call(|c| (c.jobs, c.cancel_after) = (vec![500], Some(ms(50))));
    assert!(!result.ok);
    let work = world.work();
    let Some((0, WorkStep::Wasted { worked, in_vain })) = work.last() else { panic!("{work:?}") };
    assert!(*worked == ms(500) && *in_vain >= ms(449), "{worked} {in_vain}");
    // An answer in time is no waste.
    assert!(world.call(|c| c.jobs = vec![5]).ok);
    assert_eq!(world.work().last(), Some(&(0, WorkStep::Done { worked: ms(5) })));
}

#[test]
fn streams_go_both_ways() {
    let run = || {
        let mut world = World::new(true, |_| {});
        let mut lines = Vec::new();
        for (method, jobs) in [("Watch", vec![20]), ("Gather", vec![5, 6, 7]), ("Converse", vec![5, 6, 7])] {
            let path = format!("/work.Worker/{method}");
            let result = world.call(|c| (c.path, c.jobs, c.every) = (path, jobs, ms(3)));
            lines.push(format!("{method}: {}", result.lines.join(" / ")));
        }
        let health = world.call(|c| c.path = "/grpc.health.v1.Health/Check".into());
        lines.push(health.lines.join(" / "));
        // Given up in the middle: what is done is done, the rest is not.
        let path = "/work.Worker/Watch".to_owned();
        let given_up = world.call(|c| (c.path, c.jobs, c.cancel_after) = (path, vec![100], Some(ms(55))));
        lines.push(format!("{} {:?}", given_up.lines.join(" / "), world.work().last()));
        lines.join("\n")
    };
    let lines = run();
    insta::assert_snapshot!("streams", lines);
    assert_eq!(run(), lines);
}

#[test]
fn what_cannot_be_done_is_refused_with_its_status() {
    let mut world = World::new(true, |s| (s.workers, s.queue) = (1, 2));
    let mut refused = |change: &dyn Fn(&mut GrpcCalls)| world.call(change).lines.join(" / ");
    let full = refused(&|c| (c.count, c.at_once, c.jobs) = (4, 4, vec![10]));
    assert!(full.contains("RESOURCE_EXHAUSTED (the queue is full: 2 calls before this one)"), "{full}");
    let method = refused(&|c| c.path = "/work.Worker/Idle".into());
    assert!(method.contains("UNIMPLEMENTED"), "{method}");
    let service = refused(&|c| c.path = "/play.Player/Play".into());
    assert!(service.contains("UNIMPLEMENTED (no service at /play.Player/Play)"), "{service}");
    let large = refused(&|c| c.jobs = vec![MOST_WORK + 1]);
    assert!(large.contains("INVALID_ARGUMENT (a job of 100001 units; 100000 at most)"), "{large}");
    let long = refused(&|c| c.input = LONGEST as u32 + 1);
    assert!(long.contains("OUT_OF_RANGE"), "{long}");
    let nobody = refused(&|c| c.port = 50_052);
    assert!(nobody.contains("UNAVAILABLE (connection refused)"), "{nobody}");
    let name = refused(&|c| c.host = "localhost".into());
    assert!(name.contains("UNAVAILABLE (no TLS with localhost"), "{name}");
}

/// A message behind its five bytes.
fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
    let mut bytes = vec![flag];
    bytes.extend((message.len() as u32).to_be_bytes());
    bytes.extend(message);
    bytes
}

impl World {
    /// What a server answers to these bytes: HTTP status, body, `grpc-status grpc-message`.
    fn raw(&mut self, path: &str, fields: &[(&str, &str)], body: Vec<u8>) -> (u16, Bytes, String) {
        let mut request = Request::post(format!("http://127.0.0.1:50051{path}"));
        if fields.iter().all(|(name, _)| *name != "content-type") {
            request = request.header("content-type", "application/grpc");
        }
        request = fields.iter().fold(request, |r, (name, value)| r.header(*name, *value));
        let request = request.body(Full::new(Bytes::from(body))).unwrap();
        let answer = Arc::new(Mutex::new(None));
        let place = Arc::clone(&answer);
        let ask = |net: Net| async move {
            let to = "127.0.0.1:50051".parse().unwrap();
            let stream = net.tcp_connect(to, ConnectOptions::default()).await.unwrap();
            let (mut sender, connection) =
                http2::handshake(NetExecutor(net.clone()), HyperIo::new(stream)).await.unwrap();
            drop(net.spawn(async move {
                let _ = connection.await;
            }));
            let response = sender.send_request(request).await.unwrap();
            let (parts, body) = response.into_parts();
            let body = body.collect().await.unwrap();
            let trailers = body.trailers().unwrap_or(&parts.headers);
            let of = |name: &str| trailers.get(name).map_or("-", |v| v.to_str().unwrap()).to_owned();
            let told = format!("{} {}", of("grpc-status"), of("grpc-message").replace("%20", " "));
            *place.lock().unwrap() = Some((parts.status.as_u16(), body.to_bytes(), told));
            StepResult::ok("")
        };
        self.step(Box::new(move |net| Box::pin(ask(net))));
        answer.lock().unwrap().take().expect("an answer")
    }
}

#[test]
fn a_server_survives_its_clients() {
    let long = [&[0][..], &u32::MAX.to_be_bytes(), b"abc"].concat();
    type Fields = Vec<(&'static str, &'static str)>;
    let cases: Vec<(&str, Fields, Vec<u8>)> = vec![
        ("fine", vec![], framed(0, &[8, 7, 16, 1])),
        ("nothing", vec![], vec![]),
        ("a head that breaks off", vec![], vec![0, 0, 0]),
        ("a message that breaks off", vec![], framed(0, &[8, 1])[..6].to_vec()),
        ("a length of 4 GiB", vec![], long),
        ("a flag that is none", vec![], framed(7, &[8, 1])),
        ("compressed without an encoding", vec![], framed(1, &[8, 1])),
        ("an encoding that is not spoken", vec![("grpc-encoding", "gzip")], framed(1, &[8, 1])),
        ("broken protobuf", vec![], framed(0, &[0xff; 40])),
        ("a field of another type", vec![], framed(0, &[0x0a, 1, 1])),
        ("unknown fields", vec![], framed(0, &[0x78, 1, 16, 1])),
        ("two messages for one", vec![], [framed(0, &[16, 1]), framed(0, &[16, 1])].concat()),
        ("a timeout that is none", vec![("grpc-timeout", "soon")], framed(0, &[16, 1])),
        ("a timeout of nothing", vec![("grpc-timeout", "0n")], framed(0, &[16, 1])),
        ("a timeout of ages", vec![("grpc-timeout", "99999999H")], framed(0, &[16, 1])),
        ("not gRPC", vec![("content-type", "application/json")], b"{}".to_vec()),
        ("gRPC for browsers", vec![("content-type", "application/grpc-web")], framed(0, &[16, 1])),
    ];
    let mut lines = Vec::new();
    for (name, fields, body) in cases {
        let mut world = World::new(false, |_| {});
        let (status, body, told) = world.raw("/work.Worker/Compute", &fields, body);
        lines.push(format!("{name}: {status}, {} B, {told}", body.len()));
        assert!(world.call(|_| {}).ok, "the next one is served after {name}");
    }
    insta::assert_snapshot!("hostile", lines.join("\n"));
}
