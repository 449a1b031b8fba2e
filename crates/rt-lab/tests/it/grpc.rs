//! gRPC: what the story of `rpc` claims, and what tshark reads of it.

use rt_lab::{Run, RunOptions, Scenario};
use rt_trace::story::{Line, StepStory};

use crate::support::{Folder, run_in, tshark};

fn rpc() -> Run {
    Scenario::load("rpc").unwrap().run(RunOptions::new(1)).unwrap()
}

fn lines<'s>(step: &'s StepStory, code: &str) -> Vec<&'s Line> {
    step.chapters.iter().flat_map(|c| &c.lines).filter(|l| l.code == code).collect()
}

#[track_caller]
fn number(step: &StepStory, code: &str, name: &str) -> u64 {
    let found = lines(step, code);
    assert_eq!(found.len(), 1, "step {}: {found:?}", step.number);
    found[0].data[name].parse().unwrap()
}

const MS: u64 = 1_000_000;

#[test]
fn streams_are_independent_and_workers_are_not() {
    let run = rpc();
    let steps = &run.story().steps;
    // Two workers: one connection, and the slow call is overtaken by all that were asked after it.
    assert_eq!(number(&steps[0], "grpc.streams", "connections"), 1);
    assert_eq!(number(&steps[0], "grpc.streams", "calls"), 8);
    assert_eq!(number(&steps[0], "grpc.overtaken", "stream"), 3);
    assert_eq!(number(&steps[0], "grpc.overtaken", "calls"), 6);
    assert_eq!(number(&steps[0], "grpc.queue", "longest_ns"), 30 * MS);
    assert_eq!(number(&steps[0], "grpc.work", "worked_ns"), 435 * MS);
    let streams: Vec<&str> =
        lines(&steps[0], "grpc.call").iter().map(|l| l.data["stream"].as_str()).collect();
    assert_eq!(streams, ["1", "3", "5", "7", "9", "11", "13", "15"]);
    // One worker: nothing is overtaken, and the last waits for all before it.
    assert!(lines(&steps[1], "grpc.overtaken").is_empty());
    assert_eq!(number(&steps[1], "grpc.queue", "longest_ns"), 430 * MS);
    // Each call is a request of its own.
    assert_eq!(steps[0].requests.iter().filter(|r| r.method == "POST" && r.stream > 0).count(), 8);
}

#[test]
fn what_nobody_waits_for_is_stopped_or_in_vain() {
    let run = rpc();
    let steps = &run.story().steps;
    // 5 + 5 + 5 ms of work, and what was left of 400 ms until the reset arrived.
    let (worked, saved) =
        (number(&steps[2], "grpc.work", "worked_ns"), number(&steps[2], "grpc.work", "saved_ns"));
    assert_eq!(worked + saved, 415 * MS);
    assert!(saved > 280 * MS, "{saved}");
    assert_eq!(number(&steps[2], "grpc.reset", "code"), 8);
    // The deadline that travels is what is left of it when the call is sent.
    let told: u64 = lines(&steps[2], "grpc.call")[1].data["deadline_ns"].parse().unwrap();
    assert!((100 * MS..120 * MS).contains(&told), "{told}");
    // The server stopped one way's time after the reset was sent.
    let at = |code: &str| lines(&steps[2], code)[0].at_ns.unwrap();
    assert!((10 * MS..11 * MS).contains(&(at("grpc.stopped") - at("grpc.reset"))));
    assert!(number(&steps[3], "grpc.stopped", "saved_ns") > 370 * MS);
    // The server that does not look.
    assert_eq!(number(&steps[4], "grpc.wasted", "worked_ns"), 400 * MS);
    assert!(number(&steps[4], "grpc.wasted", "in_vain_ns") > 350 * MS);
    assert!(number(&steps[5], "grpc.queue", "longest_ns") > 300 * MS);
}

#[test]
fn tshark_reads_messages_trailers_and_resets() {
    let folder = Folder::new("grpc");
    run_in(&folder.0, "rpc", 1);
    let capture = folder.0.join("captures/thin-eth0.pcapng");
    let proto = format!("{}/../rt-apps/src/grpc/proto", env!("CARGO_MANIFEST_DIR"));
    let proto = std::fs::canonicalize(proto).unwrap();
    let paths = format!("uat:protobuf_search_paths:\"{}\",\"TRUE\"", proto.display());
    let of = |filter: &str, fields: &[&str]| {
        let mut args = vec!["-o", &paths, "-d", "tcp.port==50053,http2", "-Y", filter, "-T", "fields"];
        fields.iter().for_each(|field| args.extend(["-e", field]));
        tshark(&capture, &args)
    };
    // With our own `.proto` it names every field: of the first step's eight jobs one is of 400 units.
    let jobs = of(
        "protobuf and tcp.dstport == 50051",
        &["protobuf.message.name", "protobuf.field.name", "protobuf.field.value.uint32"],
    );
    let first = jobs.lines().next().unwrap_or_default();
    assert!(first.starts_with("work.Job,") && first.contains("number,size,input"), "{jobs}");
    assert!(first.ends_with("1,5,2,400,3,5,4,5,5,5,6,5,7,5,8,5"), "{first}");
    let results = of("protobuf and tcp.srcport == 50051", &["protobuf.message.name"]);
    assert!(results.contains("work.Result") && results.contains("work.Progress"), "{results}");
    let plain = of("grpc and tcp.port == 50053", &["grpc.message_length"]);
    assert_eq!(plain.lines().collect::<Vec<_>>(), ["107", "106", "38"]);
    // The status is a field behind the body.
    let trailers = of("http2.header.name == \"grpc-status\"", &["http2.header.name", "http2.header.value"]);
    assert!(trailers.lines().any(|l| l.ends_with(",0")), "{trailers}");
    let exhausted = |l: &str| l.contains(",8,") && l.contains("the%20queue%20is%20full");
    assert!(trailers.lines().any(exhausted), "{trailers}");
    // Steps 3, 4, 5 and 10 are given up with CANCEL.
    let resets = of("http2.rst_stream.error", &["http2.rst_stream.error"]);
    assert_eq!(resets.lines().collect::<Vec<_>>(), ["8"; 4]);
    for bad in ["grpc.body_malformed", "_ws.malformed", "_ws.expert.severity >= 6291456"] {
        assert_eq!(of(bad, &["frame.number"]), "", "{bad}");
    }
}

/// Two servers behind a balancer of requests that speaks HTTP/2 both ways.
const BEHIND_A_PROXY: &str = r#"
name: edge
topology:
  nodes:
    thin: { kind: host, address: 10.0.0.2/24, hosts: { api.example: 10.0.0.1 } }
    proxy:
      kind: host
      address: 10.0.0.1/24
      run:
        - edge:
            certificate: api
            protocol: h2
            upstreams: { worker-1: "10.0.0.3:50051", worker-2: "10.0.0.4:50051" }
    sw: { kind: switch }
    worker-1: { kind: host, address: 10.0.0.3/24, run: [ grpc: { workers: 2 } ] }
    worker-2: { kind: host, address: 10.0.0.4/24, run: [ grpc: { workers: 2 } ] }
  links:
    - { endpoints: ["thin:eth0", "sw:p0"], delay: 5ms }
    - { endpoints: ["proxy:eth0", "sw:p1"], delay: 1ms }
    - { endpoints: ["worker-1:eth0", "sw:p2"], delay: 1ms }
    - { endpoints: ["worker-2:eth0", "sw:p3"], delay: 1ms }
names:
  certificates: { api: { names: [api.example] } }
steps:
  - { do: thin calls https://api.example/work.Worker/Compute 4 times, at-once: 4, jobs: [5, 300, 5, 5] }
  - { do: thin calls https://api.example/work.Worker/Compute, jobs: [400], cancel-after: 100ms }
  - { do: thin calls https://api.example/work.Worker/Watch, jobs: [100] }
  - { do: thin calls https://api.example/work.Worker/Converse, jobs: [10, 20, 30], every: 15ms }
  - { do: thin calls https://api.example/work.Worker/Guess }
  - { do: thin calls https://api.example/work.Worker/Compute, jobs: [400], deadline: 100ms }
"#;

#[test]
fn calls_go_through_a_proxy_with_streams_trailers_and_resets() {
    let scenario = Scenario::of_text("edge.yaml", BEHIND_A_PROXY).unwrap_or_else(|r| panic!("{r}"));
    let run = scenario.run(RunOptions::new(1)).unwrap();
    let steps = &run.story().steps;
    // The proxy spreads the calls of one connection; what each server did is told of the call that it was for.
    let begun: Vec<(&str, &str)> =
        lines(&steps[0], "grpc.begun").iter().map(|l| (l.label.as_str(), l.data["units"].as_str())).collect();
    assert_eq!(begun, [("worker-1", "5"), ("worker-2", "300"), ("worker-1", "5"), ("worker-2", "5")]);
    assert_eq!(number(&steps[0], "grpc.work", "worked_ns"), 315 * MS);
    assert_eq!(number(&steps[0], "grpc.streams", "connections"), 1);
    // A reset goes on to the server behind, and so does the status of one that refuses.
    assert!(number(&steps[1], "grpc.stopped", "saved_ns") > 300 * MS);
    assert_eq!(lines(&steps[2], "grpc.message_in").len(), 10);
    assert_eq!(lines(&steps[3], "grpc.message_in").len(), 3);
    assert_eq!(number(&steps[4], "grpc.status", "code"), 12);
    assert!(steps[5].summary.contains("DEADLINE_EXCEEDED"), "{}", steps[5].summary);
    assert!(number(&steps[5], "grpc.stopped", "saved_ns") > 300 * MS);
}

/// A proxy asks its servers about their health as Kubernetes does; the one that is not there gets nothing, and an HTTP/1.1
/// server that knows no gRPC is out as well.
#[test]
fn a_proxy_checks_grpc_servers_by_grpc() {
    let text = "
name: checked
names: { hosts: { gw.example: 10.0.0.1 }, certificates: { gw: { names: [gw.example] } } }
topology:
  defaults: { delay: 1ms }
  nodes:
    thin: { address: 10.0.0.2/24 }
    lan: { kind: switch }
    gw:
      address: 10.0.0.1/24
      run:
        - edge:
            port: 50051
            certificate: gw
            protocol: h2
            upstreams: { one: 10.0.0.11:50051, none: 10.0.0.12:50051, other: 10.0.0.13:80, strange: 10.0.0.11:50052 }
            health: { every: 100ms, timeout: 50ms, rise: 1, fall: 1, grpc: work.Worker }
    one: { address: 10.0.0.11/24, run: [ grpc: { workers: 2 }, grpc: { port: 50052, workers: 2 } ] }
    none: { address: 10.0.0.12/24 }
    other: { address: 10.0.0.13/24, run: [ http ] }
  links:
    - endpoints: [\"thin:eth0\", \"lan:p0\"]
    - endpoints: [\"gw:eth0\", \"lan:p1\"]
    - endpoints: [\"one:eth0\", \"lan:p2\"]
    - endpoints: [\"none:eth0\", \"lan:p3\"]
    - endpoints: [\"other:eth0\", \"lan:p4\"]
steps:
  - thin calls https://gw.example:50051/work.Worker/Compute 8 times after 1s
";
    let run = Scenario::of_text("checked.yaml", text).unwrap().run(RunOptions::new(1)).unwrap();
    let step = &run.story().steps[0];
    assert!(step.ok, "{}", step.summary);
    let notes: Vec<&str> = run
        .trace()
        .said()
        .filter_map(|(_, record)| match record {
            rt_base::AppRecord::Note { code, text, .. } if code == "balancer.ejected" => Some(text.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert!(
        notes.iter().any(|n| n.starts_with("none (10.0.0.12:50051) is out: 1 check failed")),
        "{notes:?}"
    );
    assert!(notes.iter().any(|n| n.starts_with("other (10.0.0.13:80) is out")), "{notes:?}");
    // A service that nobody knows is not healthy.
    let unknown = text.replace("grpc: work.Worker", "grpc: no.Such");
    let run = Scenario::of_text("checked.yaml", &unknown).unwrap().run(RunOptions::new(1)).unwrap();
    let step = &run.story().steps[0];
    assert!(!step.ok && step.summary.contains("UNAVAILABLE"), "{}", step.summary);
    let http1 = text.replace("            protocol: h2\n", "");
    let refused = Scenario::of_text("checked.yaml", &http1).unwrap_err().to_string();
    assert!(refused.contains("gRPC goes over HTTP/2"), "{refused}");
}
