//! Why a step failed, and whose doing what was: each cause explains what it happened to, and nothing else.

use rt_lab::{Run, RunOptions, Scenario};
use rt_trace::story::{Line, StepStory, UpstreamStory};

/// `nodes`: name and what it is, each with its address, all on one switch.
fn run(nodes: &[(&str, &str)], rest: &str) -> Run {
    let mut text =
        "name: whys\nabout: Whys.\ntopology:\n  defaults: { rate: 1Gbit/s, delay: 1ms }\n  nodes:\n"
            .to_owned();
    for (name, what) in nodes {
        text += &format!("    {name}: {{ {what} }}\n");
    }
    text += "    lan: { kind: switch }\n  links:\n";
    for (port, (name, _)) in nodes.iter().enumerate() {
        text += &format!("    - endpoints: [\"{name}:eth0\", \"lan:p{port}\"]\n");
    }
    of_text(&format!("{text}{rest}"))
}

fn of_text(text: &str) -> Run {
    let scenario = Scenario::of_text("whys.yaml", text).unwrap_or_else(|why| panic!("{why}\n{text}"));
    scenario.run(RunOptions::new(1)).unwrap()
}

fn whys(step: &StepStory) -> Vec<&str> {
    step.outcome.iter().map(|line| line.text.as_str()).collect()
}

fn lines<'s>(step: &'s StepStory, code: &'s str) -> impl Iterator<Item = &'s Line> {
    step.chapters.iter().flat_map(|chapter| &chapter.lines).filter(move |line| line.code == code)
}

fn up(step: &StepStory) -> &UpstreamStory {
    step.requests.iter().find_map(|r| r.upstream.as_ref()).unwrap_or_else(|| panic!("{:?}", step.outcome))
}

const WEB: (&str, &str) = ("w", "address: 10.0.0.11/24, run: [ http: { pages: shop } ]");

#[test]
fn a_refused_certificate_explains_its_own_connection_only() {
    let run = run(
        &[
            ("cli", "address: 10.0.0.2/24"),
            (
                "gw",
                "address: 10.0.0.7/24, run: [ edge: { certificate: acme, upstreams: { w: \"10.0.0.11:80\" } } ]",
            ),
            WEB,
        ],
        "names: { hosts: { www.acme.test: 10.0.0.7, acme.test: 10.0.0.7 }, certificates: { acme: { names: [\"*.acme.test\"] } } }\n\
         steps:\n  - cli opens https://acme.test/\n  - cli opens https://www.acme.test/nosuch\n",
    );
    let [wrong, missing] = &run.story().steps[..] else { panic!("two steps") };
    assert!(whys(wrong)[0].contains("the certificate does not hold for acme.test"), "{:?}", whys(wrong));
    assert_eq!(whys(missing), ["w answers 404"]);
}

#[test]
fn who_translates_addresses_and_has_programs_too_is_no_forger() {
    let run = of_text(
        "name: nat\nabout: A router with a balancer.\ntopology:\n  nodes:\n\
         \x20   cli: { address: 10.0.0.2/24, gateway: 10.0.0.1 }\n\
         \x20   lb:\n      kind: router\n      interfaces: { out: 10.0.0.1/24, in: 10.1.0.1/24 }\n\
         \x20     nat: [ dnat to 10.1.0.11:80 tcp to 10.0.0.1 port 8080 in out ]\n\
         \x20     run: [ l4-balancer: { port: 80, upstreams: { a: \"10.1.0.11:80\" } } ]\n\
         \x20   a: { address: 10.1.0.11/24, gateway: 10.1.0.1, run: [ http: { pages: shop } ] }\n\
         \x20 links:\n    - { endpoints: [\"cli:eth0\", \"lb:out\"] }\n    - { endpoints: [\"lb:in\", \"a:eth0\"] }\n\
         steps:\n  - cli opens http://10.0.0.1:8080/static/map.svg\n  - cli opens http://10.0.0.1/static/map.svg\n",
    );
    let [translated, balanced] = &run.story().steps[..] else { panic!("two steps") };
    assert!(translated.ok && translated.trouble.is_empty(), "{:?}", translated.trouble);
    let ends = |step: &StepStory| {
        step.connections.iter().map(|c| (c.client.clone(), c.server.clone())).collect::<Vec<_>>()
    };
    assert_eq!(ends(translated), [("cli".to_owned(), "a".to_owned())]);
    assert_eq!(ends(balanced), [("cli".to_owned(), "lb".to_owned())]);
}

#[test]
fn only_what_was_lost_before_the_failure_and_on_the_way_explains_it() {
    let run = run(
        &[
            ("cli", "address: 10.0.0.2/24"),
            (
                "gw",
                "address: 10.0.0.7/24, run: [ edge: { upstreams: { w: \"10.0.0.11:80\" }, connect-timeout: 500ms } ]",
            ),
            WEB,
        ],
        "names: { hosts: { a.test: 10.0.0.7 } }\nsteps: [ cli opens http://a.test/cup after 1s ]\n\
         timeline: [ { at: 500ms, cut: \"w:eth0\" } ]\n",
    );
    let step = &run.story().steps[0];
    let [proxy, cable] = &whys(step)[..] else { panic!("{:?}", whys(step)) };
    assert_eq!(*proxy, "gw answers 502 itself: no upstream took the request (w: no answer to SYN)");
    // The client's own question went out of that port as well, and reached whom it was for.
    assert!(
        cable.contains("the link is down, between w and lan") && cable.contains("who-has 10.0.0.11"),
        "{cable}"
    );
    assert!(!cable.contains("in all"), "the later ones are not why: {cable}");
    assert!(step.trouble.iter().all(|line| !line.text.contains("who-has 10.0.0.7")), "{:?}", step.trouble);
}

#[test]
fn a_balancer_of_connections_without_servers_is_why_it_hangs_up() {
    let nodes = [
        ("cli", "address: 10.0.0.2/24"),
        (
            "lb",
            "address: 10.0.0.9/24, run: [ l4-balancer: { port: 5001, upstreams: { a: \"10.0.0.11:5001\" } } ]",
        ),
        ("a", "address: 10.0.0.11/24, run: [ sink: {} ]"),
    ];
    let steps = "steps: [ cli streams 64kbit/s for 1s to 10.0.0.9:5001 over TCP after 1s ]\n\
                 timeline: [ { at: 500ms, drain: lb, server: a } ]\n";
    let run = run(&nodes, steps);
    assert_eq!(whys(&run.story().steps[0]), ["lb has nobody to choose: a (draining)"]);
}

#[test]
fn steps_of_one_machine_at_the_same_time_have_each_its_own_connections() {
    let nodes =
        [("cli", "address: 10.0.0.2/24"), ("a", "address: 10.0.0.7/24, run: [ rpc: { think: 100ms } ]")];
    let steps = "steps:\n  - { do: cli calls a:7000, background: yes }\n\
                 \x20 - { do: cli calls a:7000 5 times, connections: each }\n";
    let run = run(&nodes, steps);
    let counts: Vec<usize> = run.story().steps.iter().map(|step| step.connections.len()).collect();
    assert_eq!(counts, [1, 5]);
}

#[test]
fn a_session_behind_two_jumps_is_told_and_so_is_a_host_key_that_is_not_the_known_one() {
    let host = |name: &str, keys: &str| format!("run: [ ssh: {{ users: {{ {name}: [{keys}] }} }} ]");
    let (jump, db) = (host("jump", "ana"), host("dba", "ana"));
    let config = "ssh: { user: ana, keys: { id_ed25519: ana }, \
                  known-hosts: { 10.0.0.50: j1, 10.0.0.60: j2, 10.0.0.100: db, 10.0.0.101: db }, \
                  config: \"Host 10.0.0.10*\\n User dba\\n ProxyJump jump@10.0.0.50,jump@10.0.0.60\\n\" }";
    let run = run(
        &[
            ("pc", &format!("address: 10.0.0.2/24, {config}")),
            ("j1", &format!("address: 10.0.0.50/24, {jump}")),
            ("j2", &format!("address: 10.0.0.60/24, {jump}")),
            ("db", &format!("address: 10.0.0.100/24, {db}")),
            ("other", &format!("address: 10.0.0.101/24, {db}")),
        ],
        "steps:\n  - pc runs ssh 10.0.0.100 hostname\n  - pc runs ssh 10.0.0.101 hostname\n",
    );
    let [in_it, refused] = &run.story().steps[..] else { panic!("two steps") };
    assert!(in_it.ok, "{:?}", in_it.outcome);
    let subjects = |code: &str| -> Vec<&str> {
        in_it.chapters.iter().filter(|c| c.code == code).map(|c| c.subject.as_str()).collect()
    };
    assert_eq!(subjects("ssh-login"), ["jump at j1", "jump at j2", "dba at db"]);
    assert_eq!(subjects("relay"), ["j1 between pc and j2", "j2 between pc and db"]);
    let cannot: Vec<&str> = lines(in_it, "relay.sealed").map(|line| line.text.as_str()).collect();
    assert!(cannot[1].contains("that j2 does not have (pc and db have it)"), "{cannot:?}");
    assert!(lines(in_it, "ssh.channel.exec").any(|line| line.text == "db runs `hostname`"));
    let why = whys(refused).join("\n");
    let (shown, expected) =
        why.split_once(", and known_hosts has SHA256:").unwrap_or_else(|| panic!("{why}"));
    assert!(shown.contains("the host key of 10.0.0.101 is SHA256:"), "{why}");
    assert!(expected.contains("for 10.0.0.101: another machine, or somebody in between"), "{why}");
}

#[test]
fn a_proxy_says_over_which_connection_it_asks_and_what_that_cost() {
    let run = run(
        &[
            ("cli", "address: 10.0.0.2/24, browser: { stays-open: 1min }"),
            (
                "gw",
                "address: 10.0.0.7/24, run: [ edge: { upstreams: { w: \"10.0.0.11:80\" }, connections: 1, \
                 pools: { warm: { upstreams: { x: \"10.0.0.12:80\" }, warm: 1 } }, routes: [ { path: /warm, strip: /warm, to: warm }, {} ] } ]",
            ),
            WEB,
            ("x", "address: 10.0.0.12/24, run: [ http: { pages: shop } ]"),
        ],
        "steps:\n  - cli opens http://10.0.0.7/static/map.svg\n  - cli opens http://10.0.0.7/static/cup.png\n\
         \x20 - cli opens http://10.0.0.7/warm/static/map.svg\n  - cli opens http://10.0.0.7/\n",
    );
    let [new, kept, warm, page] = &run.story().steps[..] else { panic!("four steps") };
    let over = |step: &StepStory| up(step).over.clone().unwrap();
    let first = over(new);
    assert_eq!(first.how, "new");
    assert!(first.arp_ns > 4_000_000 && first.tcp_ns > 4_000_000 && first.tls_ns == 0, "{first:?}");
    let asks = |step: &StepStory| lines(step, "balance.forward").next().unwrap().text.clone();
    assert!(
        asks(new).contains("over a new connection (opened in 8.") && asks(new).contains("ARP 4."),
        "{}",
        asks(new)
    );
    assert_eq!((over(kept).how.as_str(), over(kept).waited_ns), ("kept", 0));
    assert!(asks(kept).contains("over a connection kept from before"));
    assert_eq!(over(warm).how, "ready");
    assert!(asks(warm).contains("over a connection that stood ready"));
    let waited = page.requests.iter().filter_map(|r| r.upstream.as_ref()?.over.as_ref()).map(|o| o.waited_ns);
    assert!(waited.max().unwrap() > 1_000_000, "files of a page wait for the one connection");
}

#[test]
fn what_a_client_writes_of_itself_and_what_nobody_tells_is_said() {
    let run = run(
        &[
            ("cli", "address: 10.0.0.2/24"),
            (
                "l4",
                "address: 10.0.0.9/24, run: [ l4-balancer: { port: 80, upstreams: { gw: \"10.0.0.7:80\" } } ]",
            ),
            ("gw", "address: 10.0.0.7/24, run: [ edge: { upstreams: { w: \"10.0.0.11:80\" } } ]"),
            WEB,
        ],
        "steps:\n  - { do: cli opens http://10.0.0.9/static/map.svg, fields: { X-Forwarded-For: 1.2.3.4 } }\n",
    );
    let gw = up(&run.story().steps[0]);
    let web = gw.server_caller.as_ref().unwrap();
    for caller in [&gw.caller, web] {
        assert_eq!(
            caller.lost.as_deref(),
            Some("10.0.0.2"),
            "the balancer of connections told nobody: {caller:?}"
        );
        let claimed: Vec<&str> = caller.claimed.iter().map(|f| f.value.as_str()).collect();
        assert_eq!(claimed, ["1.2.3.4"]);
    }
    assert!(web.told.iter().any(|f| f.value == "1.2.3.4, 10.0.0.9"), "{web:?}");
    let told: Vec<&str> = lines(&run.story().steps[0], "proxy.caller").map(|l| l.text.as_str()).collect();
    assert!(told.iter().all(|t| t.contains("the client wrote itself, as anybody may")), "{told:?}");
}

#[test]
fn a_balancer_of_connections_says_how_it_spread_them_and_who_answered() {
    let server = "run: [ rpc: {}, http: { pages: shop } ]";
    let run = run(
        &[
            ("cli", "address: 10.0.0.2/24"),
            (
                "lb",
                "address: 10.0.0.9/24, run: [ l4-balancer: { port: 7000, upstreams: { a: \"10.0.0.11:7000\", b: \"10.0.0.12:7000\" } }, \
                 l4-balancer: { port: 80, upstreams: { a: \"10.0.0.11:80\" } } ]",
            ),
            ("a", &format!("address: 10.0.0.11/24, {server}")),
            ("b", &format!("address: 10.0.0.12/24, {server}")),
        ],
        "steps:\n  - { do: cli calls 10.0.0.9:7000 10 times, connections: each }\n  - cli opens http://10.0.0.9/\n\
         expect:\n  - step 1: { answered-by: \"b 5\" }\n  - step 2: { answered-by: \"a 5\" }\n",
    );
    let spread = lines(&run.story().steps[0], "relay.spread").next().unwrap();
    assert_eq!(
        (spread.label.as_str(), spread.text.as_str()),
        ("lb", "spreads them; of 10 connections: a 5 and b 5")
    );
    let found: Vec<_> = run.checks().iter().map(|check| (check.holds, check.found.clone())).collect();
    assert!(found.iter().all(|(holds, _)| *holds), "{found:?}");
}

#[test]
fn a_cache_says_what_it_cuts_what_it_forgets_and_what_vary_means() {
    let hex = "ab".repeat(700);
    let page = |path: &str, more: &str| {
        format!("{path}: {{ type: image/png, hex: \"{hex}\", cache-control: \"{more}\" }}")
    };
    let pages = [page("/a", "max-age=1000"), page("/b", "max-age=1000"), page("/c", "no-cache")].join(", ");
    let text = format!(
        "/t: {{ type: text/html, text: \"{}\", cache-control: \"max-age=1000\" }}",
        "hello ".repeat(100)
    );
    let run = run(
        &[
            ("cli", "address: 10.0.0.2/24"),
            (
                "gw",
                "address: 10.0.0.7/24, run: [ edge: { cache: { size: 2KiB }, upstreams: { w: \"10.0.0.11:80\" } } ]",
            ),
            ("w", &format!("address: 10.0.0.11/24, run: [ http: {{ pages: {{ {pages}, {text} }} }} ]")),
            ("bob", "address: 10.0.0.3/24"),
        ],
        "steps:\n  - cli opens http://10.0.0.7/a\n  - { do: bob opens http://10.0.0.7/a, fields: { Range: \"bytes=0-3\" } }\n\
         \x20 - { do: bob opens http://10.0.0.7/a, fields: { Range: \"bytes=9000-\" } }\n  - cli opens http://10.0.0.7/b\n\
         \x20 - cli opens http://10.0.0.7/c\n  - bob opens http://10.0.0.7/c\n\
         \x20 - { do: cli opens http://10.0.0.7/t, fields: { Accept-Encoding: gzip } }\n\
         \x20 - { do: bob opens http://10.0.0.7/t, fields: { Accept-Encoding: br } }\n",
    );
    let [_, cut, beyond, other, _, asked, _, varied] = &run.story().steps[..] else { panic!("eight steps") };
    let said = |step: &StepStory, code: &str| {
        let found = lines(step, code).map(|line| line.text.clone()).next();
        found.unwrap_or_else(|| panic!("no {code} in {:?}", step.chapters))
    };
    assert_eq!(said(cut, "proxy.cut"), "cuts bytes 0-3 out of the 700 that it has (Range: bytes=0-3)");
    assert_eq!(
        said(beyond, "proxy.cut"),
        "has 700 bytes, and none of those that Range asks for: bytes=9000-"
    );
    assert!(said(other, "shared_cache.evicted").starts_with("forgets http://10.0.0.7/a: used longest ago"));
    let must_ask = said(asked, "shared_cache.stale");
    assert!(!must_ask.contains("fresh for") && must_ask.contains("must ask first: no-cache"), "{must_ask}");
    let page = asked.requests.iter().find(|r| r.kind == "page").unwrap();
    let status = page.response_headers.iter().find(|f| f.name == "cache-status").unwrap();
    assert!(status.value.starts_with("gw; fwd=stale; fwd-status=304"), "RFC 9211, 2.2: {}", status.value);
    let miss = said(varied, "shared_cache.miss");
    assert!(miss.ends_with("accept-encoding is br here, and gzip there"), "{miss}");
}
