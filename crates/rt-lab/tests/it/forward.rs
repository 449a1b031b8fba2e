//! Forward proxies in a scenario: what passes, what is refused and why, what servers hear of clients, who reads what.

use rt_lab::story::Line;
use rt_lab::{Run, RunOptions, Scenario};

/// A laptop, a proxy and a web server on two links; names by a hosts file at the proxy only.
fn scenario(browser: &str, proxy: &str, steps: &[&str]) -> String {
    let steps: String = steps.iter().map(|step| format!("  - {step}\n")).collect();
    format!(
        "name: forward\nabout: A forward proxy.\nnames:\n  certificates: {{ shop: {{ names: [shop.example] }} }}\ntopology:\n  nodes:\n\
         \x20   laptop:\n      kind: host\n      interfaces: {{ eth0: {{ address: 10.0.0.1/24 }} }}\n\
         \x20     browser: {{ {browser} }}\n\
         \x20   proxy:\n      kind: host\n      hosts: {{ shop.example: 10.1.0.10, dead.example: 10.1.0.77, two.example: [10.1.0.77, 10.1.0.10], self.example: 10.1.0.2 }}\n\
         \x20     interfaces: {{ in: {{ address: 10.0.0.2/24 }}, out: {{ address: 10.1.0.2/24 }} }}\n\
         \x20     run: [ forward-proxy: {{ {proxy} }} ]\n\
         \x20   shop:\n      kind: host\n      interfaces: {{ eth0: {{ address: 10.1.0.10/24 }} }}\n\
         \x20     run: [ http: {{ pages: httpbin }}, http: {{ certificate: shop, pages: shop }} ]\n\
         \x20 links:\n\
         \x20   - {{ endpoints: [\"laptop:eth0\", \"proxy:in\"], delay: 1ms }}\n\
         \x20   - {{ endpoints: [\"proxy:out\", \"shop:eth0\"], delay: 5ms }}\nsteps:\n{steps}"
    )
}

const PROXY: &str = "proxy: \"http://10.0.0.2:3128\"";

fn run(browser: &str, proxy: &str, steps: &[&str]) -> Run {
    let text = scenario(browser, proxy, steps);
    let scenario = Scenario::of_text("forward.yaml", &text).unwrap_or_else(|r| panic!("{r}"));
    scenario.run(RunOptions::new(1)).unwrap()
}

fn lines<'r>(run: &'r Run, step: usize, code: &str) -> Vec<&'r Line> {
    let chapters = &run.story().steps[step].chapters;
    chapters.iter().flat_map(|c| &c.lines).filter(|l| l.code == code).collect()
}

fn text(run: &Run, step: usize, code: &str) -> String {
    let found: Vec<&str> = lines(run, step, code).iter().map(|l| l.text.as_str()).collect();
    assert!(!found.is_empty(), "no {code} in {}", run.story_text());
    found.join(" / ")
}

#[track_caller]
fn says(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "`{word}` is missing in: {text}");
    }
}

/// What the server saw of a request: its fields, as the proxy sent them.
fn added(run: &Run, step: usize) -> Vec<(String, String)> {
    let upstream = run.story().steps[step].requests[0].upstream.as_ref().expect("the proxy asked");
    upstream.added.iter().map(|f| (f.name.to_lowercase(), f.value.clone())).collect()
}

#[test]
fn a_plain_request_is_passed_on_and_the_name_is_looked_up_by_the_proxy() {
    let run = run(PROXY, "log: yes", &["laptop opens http://shop.example/get"]);
    let story = &run.story().steps[0];
    assert_eq!(story.requests[0].status, 200, "{}", run.story_text());
    says(&text(&run, 0, "http.request"), &["GET http://shop.example/get"]);
    says(&text(&run, 0, "proxy.pass"), &["nothing speaks against it"]);
    says(&text(&run, 0, "proxy.lookup"), &["looks up shop.example itself", "10.1.0.10"]);
    says(
        &text(&run, 0, "proxy.caller"),
        &["thinks that 10.1.0.2 (proxy) is calling", "x-forwarded-for: 10.0.0.1"],
    );
    assert!(story.lookups.is_empty(), "the laptop asks nobody for names");
    let log = run.access_logs();
    says(
        &log["proxy"],
        &[" 10.0.0.1 TCP_MISS/200 ", " GET http://shop.example/get - HIER_DIRECT/10.1.0.10 "],
    );
    assert_eq!(log["proxy"].lines().count(), 1);
}

#[test]
fn what_servers_hear_of_the_client_is_as_configured() {
    let hears = |options: &str| added(&run(PROXY, options, &["laptop opens http://shop.example/get"]), 0);
    let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let via = field("via", "1.1 proxy");
    assert_eq!(hears("forwarded: on"), [via.clone(), field("x-forwarded-for", "10.0.0.1")]);
    assert_eq!(hears("forwarded: off"), [via.clone(), field("x-forwarded-for", "unknown")]);
    assert_eq!(hears("forwarded: delete"), std::slice::from_ref(&via));
    assert_eq!(hears("forwarded: transparent, via: no"), []);
    let standard = hears("forwarded: rfc7239");
    assert_eq!(standard, [via, field("forwarded", "for=10.0.0.1;by=_proxy;proto=http")]);
}

#[test]
fn a_tunnel_is_one_tree_and_stays_sealed() {
    let run = run(PROXY, "log: yes", &["laptop opens https://shop.example/"]);
    let story = &run.story().steps[0];
    assert_eq!((story.requests[0].status, story.requests[0].protocol.as_str()), (200, "HTTP/2"));
    says(&text(&run, 0, "tunnel.connect"), &["shop.example:443"]);
    says(&text(&run, 0, "proxy.tunnel"), &["what passes it cannot read"]);
    says(&text(&run, 0, "proxy.lookup"), &["shop.example", "10.1.0.10"]);
    says(&text(&run, 0, "relay.tunnel"), &["goes to shop.example in its own name: 10.1.0.10:443 (answers)"]);
    says(&text(&run, 0, "relay.pass"), &["passes the bytes on unread"]);
    says(&text(&run, 0, "tls.certificate"), &["signed by Roundtrip Intermediate CA 1"]);
    says(
        &run.access_logs()["proxy"],
        &[" TCP_TUNNEL/200 ", " CONNECT shop.example:443 - HIER_DIRECT/10.1.0.10 -"],
    );
    let budget: u64 = story.budget.slices.iter().map(|slice| slice.end_ns - slice.start_ns).sum();
    assert_eq!(budget, story.duration_ns);
}

#[test]
fn each_refusal_has_its_reason() {
    let options = "block: [.ads.example], allow: [10.0.0.0/24]";
    let steps = [
        "laptop opens https://www.ads.example/",
        "laptop opens http://ads.example/",
        "laptop opens https://shop.example:8443/",
        "laptop opens http://self.example:3128/",
        "laptop opens https://dead.example/",
        "laptop opens https://no-such.example/",
    ];
    let refused = run(PROXY, options, &steps);
    let summary = |step: usize| refused.story().steps[step].summary.clone();
    says(&summary(0), &["proxy.refused", "403", "http_request_denied"]);
    says(&text(&refused, 0, "proxy.refuse"), &["blocked here (by `.ads.example`)"]);
    assert_eq!(refused.story().steps[1].requests[0].status, 403);
    says(&text(&refused, 1, "proxy.refuse"), &["blocked here (by `.ads.example`)"]);
    says(&text(&refused, 2, "proxy.refuse"), &["CONNECT to port 8443 is not allowed"]);
    for step in 0..3 {
        says(&text(&refused, step, "proxy.caller"), &["thinks that 10.0.0.1 (laptop) is calling"]);
        let why = &refused.story().steps[step].outcome[0].text;
        assert_eq!(
            *why,
            format!("proxy {}", text(&refused, step, "proxy.refuse").replace("a forward proxy, ", ""))
        );
    }
    assert_eq!(refused.story().steps[3].requests[0].status, 502, "{}", summary(3));
    says(&summary(4), &["proxy.refused", "502", "destination_unavailable"]);
    says(&summary(5), &["proxy.refused", "502", "dns_error"]);
    let log = refused.access_logs();
    let results: Vec<&str> = log["proxy"].lines().filter_map(|l| l.split_whitespace().nth(3)).collect();
    let denied = "TCP_DENIED/403";
    assert_eq!(results, [denied, denied, denied, "NONE/502", "NONE/502", "NONE/502"]);
    let stranger = run(PROXY, "allow: [192.0.2.0/24]", &steps[1..2]);
    says(&text(&stranger, 0, "proxy.refuse"), &["10.0.0.1 may not use this proxy"]);
}

#[test]
fn what_was_let_through_and_fails_has_the_proxys_own_reason() {
    let steps = [
        "laptop opens http://dead.example/",
        "laptop opens http://shop.example:81/",
        "laptop opens http://no-such.example/",
        "laptop opens http://shop.example/delay/5",
        "laptop opens https://dead.example/",
        "laptop opens https://no-such.example/",
    ];
    let run = run(PROXY, "timeout: 4s", &steps);
    let nobody = "proxy answers 502 itself: nobody takes the connection to";
    let wanted = [
        (502, format!("{nobody} dead.example (10.1.0.77:80: host unreachable)")),
        (502, format!("{nobody} shop.example (10.1.0.10:81: connection refused)")),
        (502, "proxy answers 502 itself: no-such.example: no resolver is known".to_owned()),
        (504, "proxy answers 504 itself: shop.example did not answer within 4.000 s".to_owned()),
        (0, format!("{nobody} dead.example (10.1.0.77:443: host unreachable)")),
        (0, "proxy answers 502 itself: no-such.example: no resolver is known".to_owned()),
    ];
    for (step, (status, why)) in wanted.iter().enumerate() {
        let story = &run.story().steps[step];
        assert_eq!(story.requests[0].status, *status, "{}", story.text);
        assert!(story.outcome[0].text.starts_with(why), "{:?}", story.outcome);
        assert_eq!(story.outcome[0].text, format!("proxy {}", text(&run, step, "proxy.fails")));
        says(&text(&run, step, "proxy.caller"), &["thinks that 10.0.0.1 (laptop) is calling"]);
        assert!(lines(&run, step, "balance.return").is_empty(), "nobody answered");
    }
    says(&text(&run, 2, "proxy.lookup"), &["looks up no-such.example itself"]);
}

#[test]
fn addresses_are_told_as_they_are_tried() {
    let run = run(PROXY, "timeout: 4s", &["laptop opens http://two.example/get"]);
    let request = &run.story().steps[0].requests[0];
    let upstream = request.upstream.as_ref().unwrap();
    assert_eq!((request.status, upstream.address.as_str()), (200, "10.1.0.10:80"));
    let [first] = &upstream.failed[..] else { panic!("{:?}", upstream.failed) };
    assert_eq!(first.address, "10.1.0.77:80");
    assert!(first.at_ns < first.end_ns && first.end_ns <= upstream.chosen_ns);
    let (tried, chosen) = (lines(&run, 0, "balance.retry")[0], lines(&run, 0, "balance.choose")[0]);
    says(&tried.text, &["asks two.example (10.1.0.77:80) in vain: host unreachable, after "]);
    assert_eq!((tried.at_ns, chosen.at_ns), (Some(first.at_ns), Some(upstream.chosen_ns)));
}

#[test]
fn a_body_that_is_too_long_is_refused_and_has_its_line() {
    // A bell is two bytes of YAML and six of JSON.
    let bells = "\\a".repeat(200_000);
    let step = format!("{{ do: laptop posts to http://shop.example/post, json: {{ a: \"{bells}\" }} }}");
    let run = run(PROXY, "log: yes", &[&step]);
    assert_eq!(run.story().steps[0].requests[0].status, 413);
    let log = run.access_logs();
    says(&log["proxy"], &[" 10.0.0.1 NONE/413 ", " POST http://shop.example/post - HIER_NONE/- text/html"]);
    assert_eq!(log["proxy"].lines().count(), 1);
}

#[test]
fn a_proxy_may_ask_for_a_password() {
    let (options, step) = ("users: { alice: secret }", ["laptop opens https://shop.example/"]);
    let without = run(PROXY, options, &step);
    says(&without.story().steps[0].summary, &["proxy.authentication", "407"]);
    let with = run("proxy: \"http://alice:secret@10.0.0.2:3128\"", options, &step);
    assert_eq!(with.story().steps[0].requests[0].status, 200);
    says(&text(&with, 0, "proxy.tunnel"), &["alice knows the password"]);
    says(&with.access_logs()["proxy"], &["CONNECT shop.example:443 alice HIER_DIRECT"]);
}

#[test]
fn an_inspecting_proxy_is_two_sessions_for_who_trusts_it() {
    let (options, step) = (
        "inspect: { ca: corp-ca }, block: [shop.example/static/cup.png]",
        ["laptop opens https://shop.example/"],
    );
    let trusts = run(&format!("{PROXY}, trusts: [corp-ca]"), options, &step);
    let story = &trusts.story().steps[0];
    assert_eq!((story.requests[0].status, story.requests[0].protocol.as_str()), (200, "HTTP/1.1"));
    says(&text(&trusts, 0, "proxy.inspect"), &["what is inside will be read"]);
    let reads = text(&trusts, 0, "proxy.reads");
    says(&reads, &["for shop.example that corp-ca signed", "offered h2 and http/1.1 and gets http/1.1"]);
    says(&text(&trusts, 0, "proxy.session"), &["of its own", "signed by Roundtrip Intermediate CA 1"]);
    says(&text(&trusts, 0, "proxy.caller"), &["thinks that 10.1.0.2 (proxy) is calling"]);
    let cup = story.requests.iter().find(|r| r.target.ends_with("cup.png")).unwrap();
    assert_eq!(cup.status, 403, "what is read can be blocked by path");
    let strange = run(PROXY, options, &step);
    says(&strange.story().steps[0].summary, &["tls.unknown_issuer"]);
    let left_alone = run(PROXY, "inspect: { except: [shop.example] }", &step);
    assert_eq!(left_alone.story().steps[0].requests[0].protocol, "HTTP/2");
}

#[test]
fn hosts_may_be_asked_without_the_proxy() {
    let browser = format!("{PROXY}, no-proxy: [.example]");
    let text = scenario(&browser, "log: yes", &["laptop opens http://shop.example/get"])
        + "expect: [ step 1: { fails: dns } ]\n";
    let scenario = Scenario::of_text("forward.yaml", &text).unwrap_or_else(|r| panic!("{r}"));
    let run = scenario.run(RunOptions::new(1)).unwrap();
    says(&run.story().steps[0].summary, &["dns."]);
    assert!(run.access_logs().is_empty());
}
