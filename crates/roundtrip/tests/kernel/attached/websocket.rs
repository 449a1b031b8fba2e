//! Real WebSocket programs as judges of ours: Debian's `python3-websockets` as client of a simulated server, straight and through a
//! simulated proxy, and as server of a simulated client; Chromium's `WebSocket`; curl for the handshake.

use std::time::Duration;

use serde_json::Value;

use super::guest::{Place, Said, run};

const NETWORK: &str = r#"
name: websocket
topology:
  nodes:
    guest: { kind: host, address: 10.0.0.2/24 }
    sw: { kind: switch }
    proxy:
      kind: host
      address: 10.0.0.1/24
      run:
        - edge: { certificate: shop, upstreams: { web: "10.0.0.3:80" } }
        - edge: { upstreams: { web: "10.0.0.3:80" } }
    web:
      kind: host
      address: 10.0.0.3/24
      run: [ http: { websocket: { /echo: echo, /chat: room, /live: { push: tick, every: 100ms } } } ]
  links:
    - { endpoints: ["guest:eth0", "sw:p0"], delay: 1ms, rate: 100Mbit/s }
    - { endpoints: ["proxy:eth0", "sw:p1"], delay: 1ms }
    - { endpoints: ["web:eth0", "sw:p2"], delay: 1ms }
names:
  hosts: { shop.example: 10.0.0.1, web.example: 10.0.0.3 }
  certificates: { shop: { names: [shop.example] } }
"#;

/// The interpreter that has Debian's packages.
const PYTHON: &str = "/usr/bin/python3";

#[track_caller]
fn need_websockets() {
    let found = std::process::Command::new(PYTHON).args(["-c", "import websockets"]).output();
    let has = found.is_ok_and(|out| out.status.success());
    assert!(
        has,
        "a real WebSocket is needed: `cargo xtask ci` installs it (apt-get install python3-websockets)"
    );
}

#[track_caller]
fn lines(said: &Said) -> Vec<&str> {
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    said.out.lines().collect()
}

#[test]
fn the_real_client_converses_with_a_simulated_server() {
    need_websockets();
    let place = Place::new("websocket-client");
    let scenario = place.write("websocket.yaml", NETWORK);
    place.write("client.py", include_str!("websocket/client.py"));
    let script = format!(
        "for url in ws://web.example ws://shop.example wss://shop.example; do {PYTHON} client.py $url || exit 1; done"
    );
    let said = run(&mut place.exec(&scenario, &script), Duration::from_secs(120));
    let expected = [
        "echo hello",
        "echo binary 70000 True",
        "echo in pieces one two three",
        "ping answered True",
        "room ['to all', 'to all']",
        "live ['tick 1', 'tick 2', 'tick 3']",
        "too big 1009",
        "not text 1007",
        "unmasked 1002",
        "closed 1000",
        "nothing there 404",
    ];
    let seen = lines(&said);
    for (at, seen) in seen.chunks(expected.len()).enumerate() {
        assert_eq!(seen, expected, "{at}: {}", said.err);
    }
    assert_eq!(seen.len(), 3 * expected.len(), "{}", said.err);
}

/// A page whose script converses, in the clear and over TLS. The picture holds back the page's end until all of it is over.
const PAGE: &str =
    "<!doctype html><title>t</title><pre id=out></pre><img src=http://web.example:81/slow.png><script>
for (const url of ['ws://shop.example/echo', 'wss://shop.example/echo', 'ws://shop.example/nothing']) {
    const say = (text) => { document.getElementById('out').append(url + ' ' + text + ';'); };
    const socket = new WebSocket(url);
    socket.onopen = () => socket.send('hello');
    socket.onmessage = (event) => { say('heard ' + event.data); socket.close(1000, 'bye'); };
    socket.onclose = (event) => say('closed ' + event.code + ' ' + event.wasClean);
}</script>";

#[test]
fn chromium_converses_through_a_simulated_proxy() {
    let place = Place::new("websocket-chromium");
    let page = serde_json::to_string(PAGE).unwrap();
    let with = format!(
        "run: [ http: {{ port: 81, think: 3s }}, http: {{ pages: {{ /index.html: {{ type: text/html, text: {page} }} }}, "
    );
    let scenario = place.write("websocket.yaml", NETWORK.replace("run: [ http: { ", &with));
    let script = "chromium --headless --no-sandbox --disable-gpu --disable-quic --no-first-run \
        --disable-background-networking --disable-component-update --disable-sync --user-data-dir=$PWD/profile \
        --dump-dom http://shop.example/ 2>/dev/null";
    let said = run(&mut place.exec(&scenario, script), Duration::from_secs(120));
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    for url in ["ws://shop.example/echo", "wss://shop.example/echo"] {
        for happened in [format!("{url} heard hello;"), format!("{url} closed 1000 true;")] {
            assert!(said.out.contains(&happened), "no `{happened}` in {}{}", said.out, said.err);
        }
    }
    assert!(said.out.contains("ws://shop.example/nothing closed 1006 false;"), "{}", said.out);
}

#[test]
fn curl_agrees_with_the_handshake() {
    let place = Place::new("websocket-curl");
    let scenario = place.write("websocket.yaml", NETWORK);
    // The key of RFC 6455, 1.3, whose answer is printed there; the connection then says nothing and is cut by curl.
    let script = "
        ask() { curl -sS --http1.1 --max-time 3 -o /dev/null -D - -H 'Connection: Upgrade' -H 'Upgrade: websocket' \
            -H 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==' \"$@\" 2>/dev/null | tr -d '\\r' \
            | grep -iE '^(HTTP|sec-websocket|upgrade)' | sort; }
        ask -H 'Sec-WebSocket-Version: 13' http://shop.example/echo
        ask -H 'Sec-WebSocket-Version: 13' https://shop.example/echo
        ask -H 'Sec-WebSocket-Version: 8' http://shop.example/echo
        curl -sS -o /dev/null -w '%{http_code}\\n' http://shop.example/echo";
    let said = run(&mut place.exec(&scenario, script), Duration::from_secs(60));
    let agreed = [
        "HTTP/1.1 101 Switching Protocols",
        "sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
        "upgrade: websocket",
    ];
    let refused = ["HTTP/1.1 426 Upgrade Required", "sec-websocket-version: 13", "426"];
    let expected: Vec<&str> = agreed.iter().chain(&agreed).chain(&refused).copied().collect();
    assert_eq!(lines(&said), expected, "{}", said.err);
}

#[test]
fn a_simulated_client_converses_with_the_real_server() {
    need_websockets();
    let place = Place::new("websocket-server");
    let steps = "
steps:
  - { do: guest opens ws://10.0.0.1:9001/echo, says: [hello, how are you?], binary: 70kB, after: 3s }
  - { do: guest opens ws://10.0.0.1:9001/pieces, says: [hello] }
  - { do: guest opens ws://10.0.0.1:9001/going, says: [hello] }
  - { do: guest opens ws://10.0.0.1:9001/forbidden, says: [hello] }
";
    let scenario = place.write("websocket.yaml", format!("{NETWORK}{steps}"));
    place.write("server.py", include_str!("websocket/server.py"));
    let script = format!("{PYTHON} server.py 0.0.0.0 9001 8");
    let said = run(&mut place.exec_as("proxy", &scenario, &script), Duration::from_secs(60));
    let heard = lines(&said);
    assert!(heard.contains(&"/echo hello"), "{heard:?}");
    assert!(heard.contains(&"/echo 70000 bytes"), "{heard:?}");
    assert!(heard.contains(&"/echo closed 1000"), "{heard:?}");
    let told: Value = serde_json::from_slice(&std::fs::read(place.path("out/run.json")).unwrap()).unwrap();
    let summary = |at: usize| told["steps"][at]["summary"].as_str().unwrap().to_owned();
    assert!(summary(0).starts_with("3 messages sent, 3 received"), "{}", summary(0));
    assert!(summary(1).starts_with("1 message sent, 1 received"), "{}", summary(1));
    assert!(summary(2).contains("the server closed: 1001 (off for today)"), "{}", summary(2));
    assert!(summary(3).starts_with("403 Forbidden"), "{}", summary(3));
    let story = std::fs::read_to_string(place.path("out/story.txt")).unwrap();
    let story = story.split_whitespace().collect::<Vec<_>>().join(" ");
    // Three pieces, and an empty one that says that there are no more.
    assert!(story.contains("\"hello\", 15 B of text in 4 frames"), "{story}");
}
