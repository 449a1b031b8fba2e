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

/// A proxy that speaks HTTP/2 and TLS to its upstreams, of which one is dead; a balancer of connections and a forward proxy before it.
const THROUGH: &str = r#"
name: through
topology:
  nodes:
    ann: { kind: host, address: 10.0.0.2/24, hosts: { shop.example: 10.0.0.1, l4.example: 10.0.0.5 } }
    bob: { kind: host, address: 10.0.0.3/24, browser: { proxy: "http://10.0.0.6:3128" } }
    sw: { kind: switch }
    proxy:
      kind: host
      address: 10.0.0.1/24
      run:
        - edge:
            certificate: shop
            protocol: h2
            upstream-tls: shop.example
            upstreams: { dead: "10.0.0.20:4443", web: "10.0.0.20:443" }
            cache: yes
            routes:
              - { path: /private, strip: /private, auth: { basic: { ann: secret } }, to: upstreams }
              - { path: /impatient, strip: /impatient, timeout: 2s, to: upstreams }
              - { path: /few, strip: /few, limit: { requests: 1, per: 1min }, to: upstreams }
              - { to: upstreams }
        - edge: { upstreams: { plain: "10.0.0.20:80" } }
    l4: { kind: host, address: 10.0.0.5/24, run: [ l4-balancer: { port: 443, upstreams: { proxy: "10.0.0.1:443" } } ] }
    fwd: { kind: host, address: 10.0.0.6/24, hosts: { shop.example: 10.0.0.1 }, run: [ forward-proxy: { connect-ports: [80, 443] } ] }
    web:
      kind: host
      address: 10.0.0.20/24
      run:
        - http: { certificate: shop, websocket: { /echo: echo, /live: { push: tick, every: 59s } } }
        - http: { websocket: { /echo: echo, /live: { push: tick, every: 500ms } } }
  links:
    - { endpoints: ["ann:eth0", "sw:p0"], delay: 10ms }
    - { endpoints: ["bob:eth0", "sw:p1"], delay: 5ms }
    - { endpoints: ["proxy:eth0", "sw:p2"], delay: 1ms }
    - { endpoints: ["web:eth0", "sw:p3"], delay: 1ms }
    - { endpoints: ["l4:eth0", "sw:p4"], delay: 1ms }
    - { endpoints: ["fwd:eth0", "sw:p5"], delay: 1ms }
names:
  certificates: { shop: { names: [shop.example, l4.example] } }
steps:
  - { do: "ann opens wss://shop.example/private/echo", says: [hello, "how are you?"], fields: { Authorization: "Basic YW5uOnNlY3JldA==" } }
  - { do: "ann opens wss://shop.example/private/echo", says: [hello] }
  - { do: "ann opens wss://shop.example/impatient/live", listens: 5s }
  - { do: "ann opens wss://shop.example/few/echo", says: [hello] }
  - { do: "ann opens wss://shop.example/few/echo", says: [hello] }
  - { do: "ann opens wss://l4.example/echo", says: [hello], binary: 200kB }
  - { do: "bob opens wss://shop.example/echo", says: [hello] }
  - { do: "bob opens ws://shop.example/echo", says: [hello] }
  - { do: "ann opens ws://shop.example/live", listens: 5s }
  - { do: "ann opens ws://shop.example/echo", says: [hello] }
timeline:
  - { at: 5s, drain: proxy, server: plain }
"#;

#[test]
fn a_proxy_passes_the_handshake_on_and_then_only_carries_bytes() {
    let run = run(THROUGH);
    let steps = &run.story().steps;
    let first = &steps[0];
    assert!(first.ok, "{}", run.story_text());
    let up = first.requests[0].upstream.as_ref().expect("the proxy asked");
    // The dead one was tried first; TLS and HTTP/1.1, although the pool speaks HTTP/2 otherwise.
    assert_eq!(
        (up.chosen.as_str(), up.status, up.secure, up.protocol.as_str()),
        ("web", 101, true, "HTTP/1.1")
    );
    assert_eq!(up.failed[0].name, "dead");
    let codes: Vec<&str> = up.steps.iter().map(|s| s.code.as_str()).collect();
    assert_eq!(codes, ["route", "believes", "rewrite", "carries", "carried"]);
    let added: Vec<&str> = up.added.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(added, ["x-authenticated-user", "via", "x-forwarded-for", "x-forwarded-proto"]);
    // Two texts and a close: 6 + 5, 6 + 12 and 6 + 2 bytes one way, without masks the other.
    let carried = &only(first, "proxy.carried").text;
    assert!(
        carried.starts_with("carried 37 bytes up and 25 down in ")
            && carried.ends_with("both sides have ended")
    );
    assert_eq!(only(first, "websocket.handshake").data["fits"], "true");
    assert!(said(first).iter().any(|l| l.starts_with("close ← web agrees with 1000")), "{:?}", said(first));
}

#[test]
fn routes_checks_limits_and_time_outs_hold_for_a_handshake() {
    let run = run(THROUGH);
    let steps = &run.story().steps;
    assert_eq!(steps[1].summary, "401 Unauthorized: no WebSocket there");
    // Nothing is said for 2 s: the proxy cuts it, as nginx does.
    assert!(!steps[2].ok && steps[2].summary.ends_with("the connection ended without a close frame"));
    assert!(
        only(&steps[2], "proxy.carried").text.ends_with("in 2.000 s: nothing came for too long"),
        "{:?}",
        lines(&steps[2], "proxy.carried")
    );
    assert_eq!(lines(&steps[2], "websocket.broken").len(), 1);
    assert!(steps[3].ok);
    assert_eq!(steps[4].summary, "429 Too Many Requests: no WebSocket there");
}

#[test]
fn balancers_of_connections_and_tunnels_carry_it() {
    let run = run(THROUGH);
    let steps = &run.story().steps;
    for (step, server) in [(5, "web"), (6, "web"), (7, "web")] {
        assert!(steps[step].ok, "{}: {}", step + 1, steps[step].summary);
        let agreed = only(&steps[step], "websocket.handshake");
        assert!(agreed.data["fits"] == "true" && agreed.text.starts_with(server), "{agreed:?}");
    }
    assert!(steps[5].summary.starts_with("2 messages sent, 2 received"), "{}", steps[5].summary);
    // Nothing of the long one is left lying at the proxy until something else comes.
    assert!(steps[5].duration_ns < 1_000_000_000, "{}", steps[5].duration_ns);
    assert!(!lines(&steps[6], "relay.tunnel").is_empty(), "{}", run.story_text());
}

#[test]
fn draining_waits_for_a_websocket() {
    let run = run(THROUGH);
    let story = run.story();
    // Ten ticks came although the server took nothing new from the middle of it on.
    assert_eq!((story.steps[8].ok, lines(&story.steps[8], "websocket.in").len()), (true, 10));
    let at = |code: &str| {
        story.timeline.iter().find(|l| l.code == code).unwrap_or_else(|| panic!("{:?}", story.timeline))
    };
    let (draining, drained) = (at("balancer.draining"), at("balancer.drained"));
    assert!(draining.text.contains("the one that is under way goes on"), "{}", draining.text);
    let (begun, end) = (story.steps[8].start_ns, story.steps[8].end_ns);
    assert!(
        draining.at_ns > Some(begun)
            && draining.at_ns < drained.at_ns
            && drained.at_ns <= Some(end + 1_000_000_000)
    );
    assert!(story.steps[9].summary.starts_with("503"), "{}", story.steps[9].summary);
}

#[test]
fn all_of_it_is_in_order_for_tshark() {
    let folder = Folder::new("through");
    let mut options = RunOptions::new(1);
    options.out = Some(folder.0.clone());
    Scenario::of_text("sockets.yaml", THROUGH).unwrap_or_else(|r| panic!("{r}")).run(options).unwrap();
    for capture in captures(&folder.0) {
        let (packets, mut faults) = faults(&capture);
        // Nobody listens on the dead one's port.
        faults.retain(|fault| !fault.contains("4443 → "));
        assert!(packets > 0 && faults.is_empty(), "{}: {faults:#?}", capture.display());
    }
    // Both of the proxy's connections are WebSocket to it.
    let capture = folder.0.join("captures/proxy-eth0.pcapng");
    let seen = tshark(&capture, &["-Y", "websocket.opcode == 1", "-T", "fields", "-e", "tcp.dstport"]);
    let ports: Vec<&str> = seen.lines().collect();
    assert!(ports.iter().filter(|port| **port == "443").count() >= 4, "{ports:?}");
}
