//! WebSocket: what the story says of a conversation, and what tshark reads of it.

use rt_lab::{Run, RunOptions, Scenario};
use rt_trace::story::{Line, StepStory};

use crate::support::{Folder, captures, faults, tshark};

const DIRECT: &str = r#"
name: sockets
topology:
  nodes:
    ann: { kind: host, address: 10.0.0.2/24, hosts: { shop.example: 10.0.0.1 } }
    bob: { kind: host, address: 10.0.0.3/24, hosts: { shop.example: 10.0.0.1 } }
    sw: { kind: switch }
    shop:
      kind: host
      address: 10.0.0.1/24
      run:
        - http: { certificate: shop, websocket: { /echo: echo, /chat: room, /live: { push: tick, every: 300ms } } }
        - http: { websocket: { /echo: echo, /live: { push: tick, every: 59s } } }
  links:
    - { endpoints: ["ann:eth0", "sw:p0"], delay: 10ms }
    - { endpoints: ["bob:eth0", "sw:p1"], delay: 5ms }
    - { endpoints: ["shop:eth0", "sw:p2"], delay: 1ms }
names:
  certificates: { shop: { names: [shop.example] } }
steps:
  - { do: "ann opens ws://shop.example/echo", says: [hello, "how are you?"], binary: 70kB, every: 100ms }
  - { do: "bob opens wss://shop.example/chat", listens: 2s, background: yes }
  - { do: "ann opens wss://shop.example/chat", says: [anybody there?], after: 500ms, listens: 1s }
  - { do: "ann opens wss://shop.example/live", listens: 1s }
  - { do: "ann opens wss://shop.example/echo", binary: 2MB }
  - { do: "ann opens wss://shop.example/nothing" }
  - { do: "ann opens ws://shop.example/live", listens: 50s }
  - ann opens https://shop.example/live
  - ann opens http://shop.example/live
"#;

fn run(text: &str) -> Run {
    let scenario = Scenario::of_text("sockets.yaml", text).unwrap_or_else(|r| panic!("{r}"));
    scenario.run(RunOptions::new(1)).unwrap()
}

fn lines<'s>(step: &'s StepStory, code: &str) -> Vec<&'s Line> {
    step.chapters.iter().flat_map(|c| &c.lines).filter(|l| l.code == code).collect()
}

#[track_caller]
fn only<'s>(step: &'s StepStory, code: &str) -> &'s Line {
    let found = lines(step, code);
    assert_eq!(found.len(), 1, "step {}, {code}: {found:?}", step.number);
    found[0]
}

/// The texts of what came and went, without their times.
fn said(step: &StepStory) -> Vec<String> {
    let all = step.chapters.iter().filter(|c| c.code == "websocket").flat_map(|c| &c.lines);
    let of = |l: &&Line| !matches!(l.code.as_str(), "websocket.handshake" | "websocket.sums");
    all.filter(of).map(|l| format!("{} {}", l.label, l.text)).collect()
}

#[test]
fn the_story_says_who_said_what_and_how_it_was_closed() {
    let run = run(DIRECT);
    let steps = &run.story().steps;
    assert!(
        steps[0].ok && steps[0].summary.starts_with("3 messages sent, 3 received"),
        "{}",
        steps[0].summary
    );
    assert_eq!(only(&steps[0], "websocket.handshake").data["fits"], "true");
    let first = said(&steps[0]);
    assert_eq!(first[0], "message → \"hello\", 5 B of text in one frame, masked");
    assert!(first[1].starts_with("message ← \"hello\", 5 B of text in one frame, 22.01"), "{first:?}");
    assert!(first[1].ends_with(" ms after what was said last"), "{first:?}");
    assert_eq!(
        first[6..],
        ["close → ann closes with 1000 (normal closure)", "close ← shop agrees with 1000 (normal closure)"]
    );
    let sums = only(&steps[0], "websocket.sums");
    assert_eq!((sums.data["bytes_out"].as_str(), sums.data["bytes_in"].as_str()), ("70017", "70017"));
    // The request with its 101 is told as any other.
    assert_eq!((steps[0].requests[0].status, steps[0].requests[0].protocol.as_str()), (101, "HTTP/1.1"));
    // Bob hears what Ann says to everybody, and so does she.
    assert_eq!(said(&steps[1])[0], "message ← \"anybody there?\", 14 B of text in one frame");
    assert!(said(&steps[2])[1].starts_with("message ← \"anybody there?\""), "{:?}", said(&steps[2]));
    // What the server says by itself: at 300, 600 and 900 ms after the 101 left it.
    assert_eq!(lines(&steps[3], "websocket.in").len(), 3);
}

#[test]
fn what_cannot_be_is_refused_in_words() {
    let run = run(DIRECT);
    let steps = &run.story().steps;
    let closes = lines(&steps[4], "websocket.close");
    assert_eq!(closes[0].data["code"], "1009");
    assert!(closes[0].text.starts_with("shop closes with 1009 (message too big)"), "{}", closes[0].text);
    assert!(!steps[4].ok && steps[4].summary.contains("the server closed: 1009"), "{}", steps[4].summary);
    assert_eq!(steps[5].summary, "404 Not Found: no WebSocket there");
    // After 20 s of silence the server asks, and Ann answers.
    assert_eq!(lines(&steps[6], "websocket.ping").len(), 2);
    assert_eq!(lines(&steps[6], "websocket.pong").len(), 2);
    // A page is not served there.
    assert_eq!([&steps[7], &steps[8]].map(|s| s.requests[0].status), [426, 426]);
}

#[test]
fn tshark_reads_the_same_and_finds_nothing_wrong() {
    let folder = Folder::new("sockets");
    let mut options = RunOptions::new(1);
    options.out = Some(folder.0.clone());
    Scenario::of_text("sockets.yaml", DIRECT).unwrap_or_else(|r| panic!("{r}")).run(options).unwrap();
    let capture = folder.0.join("captures/ann-eth0.pcapng");
    let fields = ["websocket.opcode", "websocket.fin", "websocket.mask", "websocket.payload_length"];
    let mut args = vec!["-Y", "websocket and tcp.stream == 0", "-T", "fields"];
    fields.iter().for_each(|field| args.extend(["-e", field]));
    let seen = tshark(&capture, &args);
    // Newer ones print flags as words.
    let plain = |row: &str| row.replace('\t', " ").replace("True", "1").replace("False", "0");
    let rows: Vec<String> = seen.lines().map(plain).collect();
    assert_eq!(rows[..2], ["1 1 1 5", "1 1 0 5"], "{seen}");
    assert!(rows.iter().any(|row| row.ends_with("126") || row.contains("127")), "{seen}");
    let texts = tshark(&capture, &["-Y", "websocket.opcode == 1", "-T", "fields", "-e", "data-text-lines"]);
    assert!(texts.lines().count() >= 6, "{texts}");
    let codes = tshark(
        &capture,
        &["-Y", "websocket.opcode == 8", "-T", "fields", "-e", "websocket.payload.close.status_code"],
    );
    assert!(codes.lines().any(|c| c == "1009") && codes.lines().any(|c| c == "1000"), "{codes}");
    for capture in captures(&folder.0) {
        let (packets, faults) = faults(&capture);
        assert!(packets > 0 && faults.is_empty(), "{}: {faults:#?}", capture.display());
    }
}
