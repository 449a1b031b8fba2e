//! A click and where it leads: sites at one address, addresses by turns, pages that lead on, clients that pick themselves.

use std::collections::BTreeMap;

use rt_lab::{Run, RunOptions, Scenario};
use rt_trace::story::{Line, StepStory};

use crate::support::{Folder, run_in, tshark};

fn run_text(name: &str, text: &str) -> Run {
    let scenario = Scenario::of_text(&format!("{name}.yaml"), text).unwrap_or_else(|r| panic!("{r}"));
    scenario.run(RunOptions::new(1)).unwrap()
}

fn lines<'s>(step: &'s StepStory, code: &str) -> Vec<&'s Line> {
    step.chapters.iter().flat_map(|c| &c.lines).filter(|l| l.code == code).collect()
}

fn texts<'s>(step: &'s StepStory, code: &str) -> Vec<&'s str> {
    lines(step, code).into_iter().map(|l| l.text.as_str()).collect()
}

const COURSE: &str = "https://www.udemy.com/course/fundamentals-of-backend-communications-and-protocols/?couponCode=BACKEND10V2";

#[test]
fn a_click_is_told_to_its_end() {
    let folder = Folder::new("clicking");
    let run = run_in(&folder.0, "clicking-a-link", 1);
    let steps = &run.story().steps;
    // The first page leads on by itself, to a site with a look-up, a connection and cookies of its own.
    let pages: Vec<(&str, u16)> = steps[0]
        .requests
        .iter()
        .filter(|r| r.kind == "page")
        .map(|r| (r.target.as_str(), r.status))
        .collect();
    assert_eq!(pages, [("https://backend.husseinnasser.com/", 200), (COURSE, 200)]);
    assert_eq!(steps[0].requests[0].stream, 1);
    assert_eq!(steps[0].connections.len(), 2);
    assert_eq!(steps[0].lookups.len(), 2);
    let file = steps[0].requests.iter().find(|r| r.kind == "subresource").unwrap();
    assert!(file.request_headers.iter().any(|f| f.name == "cookie" && f.value.starts_with("ud_visit=")));
    let led: Vec<(&str, &str)> =
        lines(&steps[4], "navigation.page").iter().map(|l| (l.label.as_str(), l.text.as_str())).collect();
    let last = format!("GET {COURSE} · the page, and 1 file");
    assert_eq!(
        led,
        [
            ("301", "GET http://husseinnasser.com/course · leads on, for good"),
            ("302", "GET https://husseinnasser.com/go · leads on, for now"),
            ("200", last.as_str()),
        ]
    );
    assert!(lines(&steps[2], "navigation.page").is_empty(), "one page is no tree");
    // Who was chosen, by what.
    let shown = "backend.husseinnasser.com chooses the page: one of 3 sites here; the name in the handshake chose certificate 2 of 3";
    assert_eq!(texts(&steps[0], "http.site"), [shown]);
    assert_eq!(texts(&steps[3], "http.site"), ["has no site 35.247.66.204: the default one of 3 answers"]);
    let address = |step: usize| texts(&steps[step], "tcp.address");
    assert!(address(0)[0].starts_with("35.247.66.204 of 2 addresses: the answer names it first"));
    assert!(address(1)[0].starts_with("104.198.14.52 of 2 addresses: the answer names it first"));
    // Nobody told the phone that its first address died: it found out itself, and paid as long as TCP tries.
    assert_eq!(
        address(5)[1],
        "35.247.66.204, number 2 of 2 addresses, because 104.198.14.52:443 did not answer"
    );
    assert!(steps[5].duration_ns > 127_000_000_000);
    // tshark reads the same names from the handshakes.
    let capture = folder.0.join("captures/netlify-1-eth0.pcapng");
    let wanted =
        ["-Y", "tls.handshake.type == 1", "-T", "fields", "-e", "tls.handshake.extensions_server_name"];
    let names = tshark(&capture, &wanted);
    let mut names: Vec<&str> = names.lines().collect();
    names.dedup();
    assert_eq!(names, ["backend.husseinnasser.com", "bakery.example", "backend.husseinnasser.com"]);
}

/// Three servers of one name in one network; 10.0.0.13 is dead from the start. `client` has more keys of the client.
fn calls(client: &str, steps: &str) -> Run {
    let mut text = format!(
        "name: calls\ntopology:\n  nodes:\n    lan: {{ kind: switch }}\n    client:\n      address: 10.0.0.1/24\n      \
         hosts: {{ api.test: [ 10.0.0.11, 10.0.0.12, 10.0.0.13 ] }}\n{client}"
    );
    for n in 1..=3 {
        let run = if n == 3 { "" } else { ", run: [ rpc, http ]" };
        text.push_str(&format!("    s{n}: {{ address: 10.0.0.1{n}/24{run} }}\n"));
    }
    text.push_str("  links:\n    - { endpoints: [\"lan:p0\", \"client:eth0\"] }\n");
    for n in 1..=3 {
        text.push_str(&format!("    - {{ endpoints: [\"lan:p{n}\", \"s{n}:eth0\"] }}\n"));
    }
    run_text("calls", &format!("{text}steps:\n{steps}"))
}

/// How many connections were opened to each server.
fn opened(run: &Run) -> BTreeMap<String, usize> {
    let mut count = BTreeMap::new();
    for connection in run.story().steps.iter().flat_map(|s| &s.connections) {
        *count.entry(connection.server.clone()).or_default() += 1;
    }
    count
}

#[test]
fn a_client_with_a_list_spreads_its_calls_and_leaves_a_dead_server_out() {
    let step = "  - do: client calls api.test:7000 30 times\n    every: 100ms\n    connections: each\n";
    // Without a policy the first address gets everything.
    let plain = calls("", step);
    let of = |run: &Run| run.story().steps[0].summary.clone();
    assert!(of(&plain).starts_with("30 of 30 calls answered"), "{}", of(&plain));
    assert_eq!(opened(&plain).get("s2"), None, "{:?}", opened(&plain));
    for policy in ["round-robin", "random-of-two", "least-outstanding"] {
        let run =
            calls(&format!("      balance: {{ api.test: {{ policy: {policy}, leave-out: 60s }} }}\n"), step);
        assert!(of(&run).starts_with("30 of 30 calls answered"), "{policy}: {}", of(&run));
        let told = texts(&run.story().steps[0], "rpc.address");
        assert!(told.iter().any(|t| t.contains("is left out for another")), "{policy}: {told:#?}");
        let refused = run.story().steps[0].connections.iter().filter(|c| c.server == "s3").count();
        assert!(refused <= 1, "{policy}: a server that failed is not asked again within a minute");
        let (one, two) = (opened(&run)["s1"], opened(&run)["s2"]);
        assert!(one >= 8 && two >= 8, "{policy}: {one} and {two}");
    }
}

#[test]
fn a_browser_goes_on_to_the_next_address() {
    let run = calls(
        "      balance: { api.test: round-robin }\n      browser: { connect-timeout: 2s }\n",
        &"  - client reloads http://api.test/\n".repeat(4),
    );
    let steps = &run.story().steps;
    assert!(steps.iter().all(|s| s.ok), "{:?}", steps.iter().map(|s| &s.summary).collect::<Vec<_>>());
    let third = texts(&steps[2], "tcp.address");
    assert!(third[0].starts_with("10.0.0.13 of 3 addresses: by round robin over 3 addresses"), "{third:#?}");
    assert!(third[1].contains("number 2 of 3 addresses, because 10.0.0.13:80"), "{third:#?}");
    assert!(texts(&steps[3], "tcp.address")[0].contains("10.0.0.13 is left out for another"));
}
