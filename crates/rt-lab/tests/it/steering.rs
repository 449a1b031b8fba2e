//! A CDN whose name server sends each asker to the nearest edge, and what it takes to make an edge forget.

use rt_lab::{Run, RunOptions, Scenario};
use rt_trace::story::StepStory;

/// Alice and Bob live in Tokyo, Carol in London. Bob has an odd resolver, which is in London; `far` has more of its keys.
fn run(far: &str) -> Run {
    let text = format!(
        "name: geo\nsites:\n  tokyo-home: {{ kind: home, place: tokyo, devices: {{ alice: , bob: {{ resolvers: [9.9.9.9] }} }} }}\n  \
         london-home: {{ kind: home, place: london, devices: {{ carol: }} }}\n  internet:\n    kind: internet\n    \
         places: [tokyo, london, ashburn]\n    resolvers: {{ near: {{ address: 8.8.8.8, place: tokyo }}, \
         far: {{ address: 9.9.9.9, place: london{far} }} }}\n  example:\n    kind: cdn\n    steering: dns\n    names: [example.com]\n    \
         edges: {{ tokyo: {{ address: 104.16.1.1 }}, london: {{ address: 104.16.2.1 }} }}\n    \
         origin: {{ place: ashburn, pages: cdn }}\n    cache: {{ purge-from: [203.0.113.0/24] }}\nsteps:\n  \
         - alice opens https://example.com/static/logo.png\n  - bob opens https://example.com/static/logo.png\n  \
         - carol opens https://example.com/static/logo.png\n  - carol purges https://example.com/static/logo.png\n  \
         - alice purges https://example.com/static/logo.png\n  - alice reloads https://example.com/static/logo.png\n  \
         - carol reloads https://example.com/static/logo.png\n"
    );
    let scenario = Scenario::of_text("geo.yaml", &text).unwrap_or_else(|r| panic!("{r}"));
    scenario.run(RunOptions::new(1)).unwrap()
}

fn texts<'s>(step: &'s StepStory, code: &str) -> Vec<&'s str> {
    step.chapters.iter().flat_map(|c| &c.lines).filter(|l| l.code == code).map(|l| l.text.as_str()).collect()
}

fn edge(step: &StepStory) -> &str {
    step.connections.first().map_or("", |c| c.server.as_str())
}

fn verdict(step: &StepStory) -> &str {
    let request = step.requests.iter().find(|r| r.kind == "page").unwrap();
    let found = request.response_headers.iter().find(|f| f.name.eq_ignore_ascii_case("cf-cache-status"));
    found.map_or("", |f| f.value.as_str())
}

#[test]
fn an_asker_is_sent_where_its_resolver_is() {
    let run_far = run("");
    let steps = &run_far.story().steps;
    // Alice's resolver is near; Bob's is in London, and so is the edge that he gets; Carol's resolver is the first that DHCP told.
    assert_eq!([edge(&steps[0]), edge(&steps[1])], ["example.tokyo", "example.london"]);
    assert_eq!(
        texts(&steps[1], "dns.steered"),
        ["the asker 9.9.9.9 is in london: london is nearest, out of tokyo, london"]
    );
    assert!(steps[1].duration_ns > steps[0].duration_ns);
    // A resolver that tells its client's network is no detour.
    let told = run(", client-subnet: yes");
    let steps = &told.story().steps;
    assert_eq!(edge(&steps[1]), "example.tokyo");
    let why = texts(&steps[1], "dns.steered");
    assert!(why[0].contains("which the resolver tells, is in tokyo: tokyo is nearest"), "{why:?}");
}

#[test]
fn an_edge_forgets_when_somebody_asks_who_may() {
    let run = run(", client-subnet: yes");
    let steps = &run.story().steps;
    // Carol is in no network that may; the edges have stores of their own, so only Alice's forgets.
    let ends: Vec<(bool, &str)> = steps[3..5].iter().map(|s| (s.ok, s.summary.as_str())).collect();
    assert_eq!(ends, [(false, "403 HTTP/2"), (true, "200 HTTP/2")]);
    let told = texts(&steps[4], "shared_cache.purged");
    assert_eq!(told.len(), 1);
    assert!(told[0].starts_with("forgets https://example.com/static/logo.png: 203.0.113."), "{told:?}");
    assert!(told[0].ends_with("asked for it: 1 stored response"), "{told:?}");
    assert_eq!([verdict(&steps[0]), verdict(&steps[5])], ["MISS", "MISS"]);
}

#[test]
fn one_edge_or_all_of_them_forget_at_a_moment() {
    let text = |purge: &str| {
        format!(
            "name: cdn\nsites:\n  tokyo-home: {{ kind: home, place: tokyo, devices: {{ alice: }} }}\n  \
             london-home: {{ kind: home, place: london, devices: {{ carol: }} }}\n  internet: {{ kind: internet, \
             places: [tokyo, london, ashburn], resolvers: {{ near: {{ address: 8.8.8.8, place: tokyo }} }} }}\n  \
             example: {{ kind: cdn, names: [example.com], edges: {{ tokyo: , london: }}, origin: {{ place: ashburn, pages: cdn }} }}\n\
             timeline: [ {{ at: 30s, purge: {purge} }} ]\nsteps:\n  \
             - alice opens https://example.com/static/logo.png\n  - carol opens https://example.com/static/logo.png\n  \
             - alice reloads https://example.com/static/logo.png\n  - carol reloads https://example.com/static/logo.png\n  \
             - alice reloads https://example.com/static/logo.png after 60s\n  - carol reloads https://example.com/static/logo.png\n"
        )
    };
    for (purge, ends, told) in [
        ("example", ["MISS", "MISS"], &["tokyo", "london"][..]),
        ("example.london", ["HIT", "MISS"], &["london"]),
        ("tokyo, path: /static/logo.png", ["MISS", "HIT"], &["tokyo"]),
        ("example, path: /other", ["HIT", "HIT"], &["tokyo", "london"]),
        ("example, tag: nobodys", ["HIT", "HIT"], &["tokyo", "london"]),
    ] {
        let text = text(purge);
        let scenario = Scenario::of_text("cdn.yaml", &text).unwrap_or_else(|r| panic!("{r}"));
        let run = scenario.run(RunOptions::new(1)).unwrap();
        let steps = &run.story().steps;
        assert_eq!([2, 3].map(|step: usize| verdict(&steps[step])), ["HIT", "HIT"], "{purge}");
        assert_eq!([4, 5].map(|step: usize| verdict(&steps[step])), ends, "{purge}");
        let lines = run.story().timeline.iter().filter(|line| line.code == "cache.purged");
        let nodes: Vec<&str> = lines.map(|line| line.node.trim_start_matches("example.")).collect();
        assert_eq!(nodes, told, "{purge}");
    }
}
