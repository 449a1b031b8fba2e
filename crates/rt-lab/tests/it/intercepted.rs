//! A proxy that inspects TLS on the way of clients that know of none: destination NAT turns their connections to it.

use rt_lab::story::Line;
use rt_lab::{Run, RunOptions, Scenario};

/// The way out leads through the company's box: what goes to port 443 ends in its proxy, everything else passes.
fn run(browser: &str, inspect: &str, steps: &[&str]) -> Run {
    let steps: String = steps.iter().map(|step| format!("  - {step}\n")).collect();
    let dead = steps.contains("dead.example");
    let expect = if dead { "expect: [ step 2: { fails: yes } ]\n" } else { "" };
    let text = format!(
        "name: intercepted\nabout: A proxy on the way.\n\
         names:\n  certificates: {{ shop: {{ names: [shop.example] }} }}\n  hosts: {{ shop.example: 10.1.0.10, dead.example: 10.1.0.77 }}\n\
         topology:\n  nodes:\n\
         \x20   laptop:\n      kind: host\n      interfaces: {{ eth0: {{ address: 10.0.0.1/24 }} }}\n      gateway: 10.0.0.2\n\
         \x20     browser: {{ {browser} }}\n\
         \x20   box:\n      kind: router\n      interfaces: {{ in: {{ address: 10.0.0.2/24 }}, out: {{ address: 10.1.0.2/24 }} }}\n\
         \x20     nat: [ \"dnat to 10.0.0.2:3129 tcp port 443 in in\" ]\n\
         \x20     run: [ forward-proxy: {{ inspect: {{ ca: corp-ca, intercept: 3129{inspect} }} }} ]\n\
         \x20   shop:\n      kind: host\n      interfaces: {{ eth0: {{ address: 10.1.0.10/24 }} }}\n      gateway: 10.1.0.2\n\
         \x20     run: [ http: {{ pages: httpbin }}, http: {{ certificate: shop, pages: shop }} ]\n\
         \x20 links:\n\
         \x20   - {{ endpoints: [\"laptop:eth0\", \"box:in\"], delay: 1ms }}\n\
         \x20   - {{ endpoints: [\"box:out\", \"shop:eth0\"], delay: 5ms }}\n\
         steps:\n{steps}{expect}"
    );
    let scenario = Scenario::of_text("intercepted.yaml", &text).unwrap_or_else(|r| panic!("{r}"));
    scenario.run(RunOptions::new(1)).unwrap()
}

/// A forward proxy whose way out leads through the box.
fn behind_another() -> Run {
    let text = "name: chain\nabout: Two proxies.\n\
         names:\n  certificates: { shop: { names: [shop.example] } }\n  hosts: { shop.example: 10.2.0.10 }\n\
         topology:\n  nodes:\n\
         \x20   laptop:\n      kind: host\n      interfaces: { eth0: { address: 10.0.0.1/24 } }\n\
         \x20     browser: { proxy: \"http://10.0.0.2:3128\", trusts: [corp-ca] }\n\
         \x20   fp:\n      kind: host\n      interfaces: { in: { address: 10.0.0.2/24 }, out: { address: 10.1.0.2/24 } }\n\
         \x20     gateway: 10.1.0.1\n      run: [ forward-proxy: ]\n\
         \x20   box:\n      kind: router\n      interfaces: { in: { address: 10.1.0.1/24 }, out: { address: 10.2.0.1/24 } }\n\
         \x20     nat: [ \"dnat to 10.1.0.1:3129 tcp port 443 in in\" ]\n\
         \x20     run: [ forward-proxy: { inspect: { ca: corp-ca, intercept: 3129 } } ]\n\
         \x20   shop:\n      kind: host\n      interfaces: { eth0: { address: 10.2.0.10/24 } }\n      gateway: 10.2.0.1\n\
         \x20     run: [ http: { certificate: shop, pages: shop } ]\n\
         \x20 links:\n\
         \x20   - { endpoints: [\"laptop:eth0\", \"fp:in\"], delay: 1ms }\n\
         \x20   - { endpoints: [\"fp:out\", \"box:in\"], delay: 2ms }\n\
         \x20   - { endpoints: [\"box:out\", \"shop:eth0\"], delay: 5ms }\n\
         steps: [ laptop opens https://shop.example/ ]\n";
    let scenario = Scenario::of_text("chain.yaml", text).unwrap_or_else(|r| panic!("{r}"));
    scenario.run(RunOptions::new(1)).unwrap()
}

const OPENS: &[&str] = &["laptop opens https://shop.example/"];

fn text(run: &Run, step: usize, code: &str) -> String {
    let chapters = &run.story().steps[step].chapters;
    let found: Vec<&Line> = chapters.iter().flat_map(|c| &c.lines).filter(|l| l.code == code).collect();
    assert!(!found.is_empty(), "no {code} in {}", run.story_text());
    found.iter().map(|l| l.text.as_str()).collect::<Vec<_>>().join(" / ")
}

#[track_caller]
fn says(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "`{word}` is missing in: {text}");
    }
}

#[test]
fn who_trusts_the_authority_notices_nothing_and_the_story_has_two_sessions() {
    let run = run("trusts: [corp-ca]", "", OPENS);
    let story = &run.story().steps[0];
    let told = run.story_text();
    assert_eq!((story.requests[0].status, story.requests[0].protocol.as_str()), (200, "HTTP/1.1"), "{told}");
    // The client means to talk to the shop, and talks to the box.
    let conn = &story.connections[story.requests[0].connection.unwrap() as usize];
    assert_eq!(conn.ends.to, "10.1.0.10:443");
    assert_eq!(conn.server, "box");
    says(&text(&run, 0, "nat.dnat"), &["10.0.0.2:3129"]);
    says(&text(&run, 0, "tls.certificate"), &["shop.example", "signed by corp-ca"]);
    let reads = text(&run, 0, "proxy.reads");
    says(&reads, &["for shop.example that corp-ca signed", "offered h2 and http/1.1 and gets http/1.1"]);
    says(&text(&run, 0, "proxy.session"), &["of its own", "signed by Roundtrip Intermediate CA 1"]);
    says(&text(&run, 0, "proxy.caller"), &["thinks that 10.1.0.2 (box) is calling"]);
    says(&text(&run, 0, "proxy.lookup"), &["looks up shop.example itself", "10.1.0.10"]);
    assert!(story.requests.iter().all(|r| r.status == 200), "{told}");
    let log = &run.access_logs()["box"];
    assert_eq!(log.lines().count(), story.requests.len(), "{log}");
    says(log, &[" 10.0.0.1 TCP_MISS/200 ", " GET https://shop.example/ - HIER_DIRECT/10.1.0.10 text/html"]);
    let budget: u64 = story.budget.slices.iter().map(|slice| slice.end_ns - slice.start_ns).sum();
    assert_eq!(budget, story.duration_ns);
}

#[test]
fn behind_a_tunnel_each_machine_has_the_caller_that_it_really_has() {
    let run = behind_another();
    let told = run.story_text();
    let request = &run.story().steps[0].requests[0];
    assert_eq!(request.status, 200, "{told}");
    // The tunnel is for the shop, and ends at the box.
    says(
        &text(&run, 0, "relay.caller"),
        &["box, where the connection to shop.example (10.2.0.10:443) ends, sees 10.1.0.2 (fp) as its caller"],
    );
    let at_box = request.upstream.as_ref().expect("the box read it");
    let seen = |caller: &rt_lab::story::CallerStory| {
        (caller.node.clone(), caller.peer_name.clone(), caller.lost.clone())
    };
    assert_eq!(seen(&at_box.caller), ("box".into(), "fp".into(), Some("10.0.0.1".into())));
    let at_shop = at_box.server_caller.as_ref().expect("the shop answered");
    assert_eq!(seen(at_shop), ("shop".into(), "box".into(), Some("10.0.0.1".into())));
}

#[test]
fn who_does_not_trust_it_refuses_and_the_shop_hears_nothing() {
    let run = run("", "", OPENS);
    says(&run.story().steps[0].summary, &["tls.unknown_issuer"]);
    says(&text(&run, 0, "tls.certificate"), &["corp-ca"]);
    assert!(run.access_logs().is_empty(), "nothing was asked inside");
    let reached: Vec<&str> = run.story().steps[0].connections.iter().map(|c| c.server.as_str()).collect();
    assert_eq!(reached, ["box"]);
}

#[test]
fn other_ports_pass_and_a_server_that_is_not_there_is_a_bad_gateway() {
    let steps = ["laptop opens http://shop.example/get", "laptop opens https://dead.example/"];
    let run = run("trusts: [corp-ca]", "", &steps);
    let [plain, dead] = &run.story().steps[..] else { panic!("two steps") };
    assert_eq!(plain.requests[0].status, 200);
    assert_eq!(plain.connections[0].server, "shop");
    assert!(plain.requests[0].upstream.is_none());
    // The handshake of the client is over before the proxy knows that the server is not there.
    assert_eq!(dead.requests[0].status, 502, "{}", run.story_text());
    says(&run.access_logs()["box"], &[" NONE/502 ", " GET https://dead.example/ - HIER_NONE/- "]);
}

#[test]
fn hosts_that_are_left_alone_are_not_read() {
    let run = run("", ", except: [shop.example]", OPENS);
    let story = &run.story().steps[0];
    assert_eq!(
        (story.requests[0].status, story.requests[0].protocol.as_str()),
        (200, "HTTP/2"),
        "{}",
        run.story_text()
    );
    says(&text(&run, 0, "tls.certificate"), &["signed by Roundtrip Intermediate CA 1"]);
    says(&text(&run, 0, "relay.tunnel"), &["goes to shop.example in its own name: 10.1.0.10:443 (answers)"]);
    says(
        &run.access_logs()["box"],
        &[" TCP_TUNNEL/200 ", " CONNECT shop.example:443 - HIER_DIRECT/10.1.0.10 -"],
    );
}
