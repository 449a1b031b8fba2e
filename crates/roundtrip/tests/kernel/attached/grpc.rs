//! Real gRPC as judge of ours: Google's C core (by Debian's `python3-grpcio`) as client of a simulated server and as server of a
//! simulated client, and curl, which only knows HTTP/2.

use std::time::Duration;

use serde_json::Value;

use super::guest::{Place, Said, run};

const NETWORK: &str = "
name: grpc
topology:
  nodes:
    guest: { kind: host, address: 10.0.0.2/24 }
    worker:
      kind: host
      address: 10.0.0.1/24
      run:
        - grpc: { certificate: worker, workers: 2 }
        - grpc: { port: 50052, workers: 2 }
  links:
    - { endpoints: [\"guest:eth0\", \"worker:eth0\"], delay: 1ms, rate: 100Mbit/s }
names:
  hosts: { worker.example: 10.0.0.1 }
  certificates: { worker: { names: [worker.example] } }
";

/// The interpreter that has Debian's packages.
const PYTHON: &str = "/usr/bin/python3";

#[track_caller]
fn need_grpc() {
    let found = std::process::Command::new(PYTHON).args(["-c", "import grpc"]).output();
    let has = found.is_ok_and(|out| out.status.success());
    assert!(has, "the real gRPC is needed: `cargo xtask ci` installs it (apt-get install python3-grpcio)");
}

#[track_caller]
fn lines(said: &Said) -> Vec<&str> {
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    said.out.lines().collect()
}

#[test]
fn the_real_client_calls_a_simulated_server() {
    need_grpc();
    for url in ["http://worker.example:50052", "https://worker.example:50051"] {
        let place = Place::new("grpc-client");
        let scenario = place.write("grpc.yaml", NETWORK);
        place.write("client.py", include_str!("grpc/client.py"));
        let script = format!("{PYTHON} client.py {url}");
        let said = run(&mut place.exec(&scenario, &script), Duration::from_secs(120));
        let expected = [
            "compute [(1, 1), (2, 5), (3, 32)]",
            "at once [1, 2, 3] slow one last True",
            "watch [2, 4, 6, 8, 10, 12, 14, 16, 18, 20]",
            "gather [(1, 2), (2, 7), (3, 32)]",
            "converse [3, 4]",
            "health [(1, 1)]",
        ];
        let lines = lines(&said);
        assert_eq!(lines[..6], expected, "{url}: {}", said.err);
        assert!(lines[6].starts_with("deadline DEADLINE_EXCEEDED"), "{}", lines[6]);
        assert_eq!(lines[7], "cancelled True");
        assert!(lines[8].starts_with("unknown UNIMPLEMENTED"), "{}", lines[8]);
        assert!(lines[9].starts_with("broken INTERNAL failed to decode Protobuf"), "{}", lines[9]);
        assert!(lines[10].starts_with("long OUT_OF_RANGE"), "{}", lines[10]);
        assert_eq!(lines[11..], ["again (1, 9)", "took True"]);
        // The given-up calls stopped their work at the server, as it told the story's record.
        let told = std::fs::read_to_string(place.path("out/story.json")).unwrap();
        assert!(told.contains("worker"), "no story");
    }
}

/// Field numbers on the wire, by hand: a job of five units.
const CURL: &str = "\
    printf '\\000\\000\\000\\000\\011\\010\\001\\020\\005\\032\\003abc' >job
    for url in http://worker.example:50052 https://worker.example:50051; do
        curl -sS --max-time 10 --http2-prior-knowledge -X POST -H 'content-type: application/grpc' -H 'te: trailers' \\
            --data-binary @job -D fields -o result $url/work.Worker/Compute || exit 1
        tr -d '\\r' <fields | grep -iE '^(HTTP|grpc-status|content-type)'
        od -An -tx1 -N 11 result | tr -d '\\n'; echo; wc -c <result
    done
    curl -sS --max-time 10 --http2-prior-knowledge -X POST -H 'content-type: application/grpc' -H 'grpc-timeout: 50m' \\
        --data-binary @job -D - -o /dev/null http://worker.example:50052/work.Worker/Idle | tr -d '\\r' | grep grpc-status
    curl -sS --max-time 10 --http2-prior-knowledge -o /dev/null -w '%{http_code}\\n' http://worker.example:50052/";

#[test]
fn curl_makes_a_call_by_hand() {
    let place = Place::new("grpc-curl");
    let scenario = place.write("grpc.yaml", NETWORK);
    let said = run(&mut place.exec(&scenario, CURL), Duration::from_secs(60));
    let answer = [
        "HTTP/2 200 ",
        "content-type: application/grpc",
        "grpc-status: 0",
        " 00 00 00 00 26 08 01 10 05 1a 20",
        "43",
    ];
    let expected: Vec<&str> =
        answer.iter().chain(&answer).copied().chain(["grpc-status: 12", "415"]).collect();
    assert_eq!(lines(&said), expected, "{}", said.err);
}

#[test]
fn a_simulated_client_calls_the_real_server() {
    need_grpc();
    let place = Place::new("grpc-server");
    let steps = "
steps:
  - { do: guest calls http://10.0.0.1:50060/work.Worker/Compute 4 times, at-once: 4, jobs: [5, 300, 5, 5], after: 4s }
  - { do: guest calls http://10.0.0.1:50060/work.Worker/Compute, jobs: [2000], deadline: 200ms }
  - { do: guest calls http://10.0.0.1:50060/work.Worker/Compute, jobs: [2000], cancel-after: 100ms }
  - guest calls http://10.0.0.1:50060/work.Worker/Watch
  - guest calls http://10.0.0.1:50060/work.Worker/Guess
";
    let scenario = place.write("grpc.yaml", format!("{NETWORK}{steps}"));
    place.write("server.py", include_str!("grpc/server.py"));
    let script = format!("{PYTHON} server.py 0.0.0.0:50060 10");
    let said = run(&mut place.exec_as("worker", &scenario, &script), Duration::from_secs(60));
    let heard = lines(&said);
    assert!(heard.contains(&"deadline True"), "{heard:?}");
    assert_eq!(heard.iter().filter(|l| **l == "stopped 1").count(), 2, "{heard:?}");
    let told: Value = serde_json::from_slice(&std::fs::read(place.path("out/run.json")).unwrap()).unwrap();
    let summary = |at: usize| told["steps"][at]["summary"].as_str().unwrap().to_owned();
    assert!(summary(0).starts_with("4 of 4 calls OK over 1 connection"), "{}", summary(0));
    assert!(summary(1).contains("DEADLINE_EXCEEDED"), "{}", summary(1));
    assert!(summary(2).contains("CANCELLED"), "{}", summary(2));
    assert!(summary(3).starts_with("1 of 1 call OK"), "{}", summary(3));
    assert!(summary(4).contains("UNIMPLEMENTED"), "{}", summary(4));
}
