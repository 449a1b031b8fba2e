//! Ten thousand requests through a balancer of requests while servers drain, come back, die and are healed: none is lost.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use rt_base::{AppRecord, Nanos, ReqKind, Time};
use rt_lab::{RunOptions, Scenario};

const PICTURES: usize = 250;
/// Visits; the servers' comings and goings are over after the tenth.
const VISITS: usize = 40;

/// A page that names 250 pictures, each asked for anew on each visit.
fn text(visits: usize) -> String {
    let pictures: String = (0..PICTURES).fold(String::new(), |mut all, n| {
        let _ = write!(all, "<img src=/bytes/64?{n}>");
        all
    });
    let mut text = format!(
        "name: no-loss\nabout: Nobody notices.\n\
         names: {{ certificates: {{ shop: {{ names: [shop.example] }} }} }}\n\
         topology:\n  defaults: {{ rate: 10Gbit/s, delay: 100us }}\n  nodes:\n\
         \x20   client: {{ address: 10.0.0.2/24, browser: {{ stays-open: 2s }}, hosts: {{ shop.example: 10.0.0.1 }} }}\n\
         \x20   proxy:\n      address: 10.0.0.1/24\n      run:\n        - edge:\n            certificate: shop\n\
         \x20           upstreams: {{ web-1: 10.0.0.11:80, web-2: 10.0.0.12:80, web-3: 10.0.0.13:80 }}\n\
         \x20           balance: least-requests\n            timeout: 100ms\n            connect-timeout: 50ms\n\
         \x20           health: {{ every: 100ms, timeout: 50ms, rise: 2, fall: 2, path: /status/200 }}\n\
         \x20           pools: {{ page: {{ upstreams: {{ page: 10.0.0.14:80 }} }} }}\n\
         \x20           routes:\n              - {{ exactly: /, to: page }}\n\
         \x20             - {{ retry: {{ times: 3, on: [connect, reset, timeout], backoff: 1ms }} }}\n\
         \x20   page:\n      address: 10.0.0.14/24\n      run: [ http: {{ pages: {{ /index.html: {{ type: text/html, text: \"{pictures}\" }} }} }} ]\n"
    );
    for n in 1..=3 {
        let _ =
            writeln!(text, "    web-{n}: {{ address: 10.0.0.1{n}/24, run: [ http: {{ pages: httpbin }} ] }}");
    }
    text += "    lan: { kind: switch }\n  links:\n";
    for (port, node) in ["client", "proxy", "page", "web-1", "web-2", "web-3"].iter().enumerate() {
        let _ = writeln!(text, "    - endpoints: [\"{node}:eth0\", \"lan:p{port}\"]");
    }
    text += "steps:\n";
    for _ in 0..visits {
        text += "  - client opens https://shop.example/ after 100ms\n";
    }
    text += "timeline:\n\
             \x20 - { at: 200ms, drain: proxy, server: web-1 }\n\
             \x20 - { at: 450ms, admit: proxy, server: web-1 }\n\
             \x20 - { at: 560ms, cut: \"web-2:eth0\" }\n\
             \x20 - { at: 700ms, heal: \"web-2:eth0\" }\n\
             \x20 - { at: 1100ms, drain: proxy, server: web-3 }\n\
             \x20 - { at: 1200ms, cut: \"web-3:eth0\" }\n\
             \x20 - { at: 4s, heal: \"web-3:eth0\" }\n";
    text
}

#[test]
fn no_request_is_lost_while_servers_come_and_go() {
    let scenario = Scenario::of_text("no-loss.yaml", &text(VISITS)).unwrap_or_else(|why| panic!("{why}"));
    let run = scenario.run(RunOptions::new(1)).unwrap();
    let client = run.trace().map.nodes.iter().position(|node| node.name == "client").expect("there is one");
    let mut open: BTreeMap<u32, String> = BTreeMap::new();
    let mut answered = 0;
    for (event, record) in run.trace().said().filter(|(event, _)| event.node().index() == client) {
        match record {
            AppRecord::RequestBegin { req, kind: ReqKind::Page | ReqKind::Subresource, target, .. } => {
                open.insert(req.0, target.clone());
            }
            AppRecord::RequestEnd { req, status, ok, note, .. } if open.remove(&req.0).is_some() => {
                assert!(*ok && *status == 200, "lost at {}: {status} {note}", event.at);
                answered += 1;
            }
            _ => {}
        }
    }
    assert!(open.is_empty(), "never answered: {open:?}");
    assert_eq!(answered, VISITS * (PICTURES + 1));

    // Whom they went to, and when: nothing new to who drains.
    let mut chosen: BTreeMap<&str, Vec<Time>> = BTreeMap::new();
    let mut retries = 0;
    for (event, record) in run.trace().said() {
        match record {
            AppRecord::ChoseUpstream { chosen: name, .. } => chosen.entry(name).or_default().push(event.at),
            AppRecord::Retry { .. } => retries += 1,
            _ => {}
        }
    }
    let at = |ms: u64| Time::ZERO + Nanos::from_millis(ms);
    let between = |name: &str, from: Time, to: Time| {
        chosen.get(name).map_or(0, |all| all.iter().filter(|at| **at > from && **at < to).count())
    };
    assert_eq!(between("web-1", at(200), at(450)), 0, "web-1 drains");
    assert_eq!(between("web-3", at(1_100), Time::MAX), 0, "web-3 drains, and then goes");
    assert!(between("web-1", at(450), Time::MAX) > 100 && between("web-2", at(1_000), Time::MAX) > 100);
    assert!(retries > 0, "web-2 died with requests under way: they were tried again");
}
