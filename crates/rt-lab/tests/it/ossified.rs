//! Middleboxes that do not know what came after them: what vanishes, and how both ends get along without it.

use rt_base::{DropReason, What};
use rt_lab::{Run, RunOptions, Scenario};

fn run(tcp: &str, middlebox: &str) -> Run {
    let text = format!(
        "name: ossified\nabout: A middlebox.\nnames:\n  certificates: {{ shop: {{ names: [shop.example] }} }}\n  hosts: {{ shop.example: 10.1.0.10 }}\n\
         topology:\n  nodes:\n\
         \x20   laptop:\n      kind: host\n      interfaces: {{ eth0: {{ address: 10.0.0.1/24 }} }}\n      gateway: 10.0.0.2\n\
         \x20     tcp: {{ {tcp} }}\n      browser: {{ timeout: 20s }}\n\
         \x20   box:\n      kind: router\n      interfaces: {{ in: {{ address: 10.0.0.2/24 }}, out: {{ address: 10.1.0.2/24 }} }}\n\
         \x20     middlebox: [ {middlebox} ]\n\
         \x20   shop:\n      kind: host\n      interfaces: {{ eth0: {{ address: 10.1.0.10/24 }} }}\n      gateway: 10.1.0.2\n\
         \x20     tcp: {{ {tcp} }}\n      run: [ http: {{ certificate: shop, pages: hello }} ]\n\
         \x20 links:\n\
         \x20   - {{ endpoints: [\"laptop:eth0\", \"box:in\"], delay: 1ms }}\n\
         \x20   - {{ endpoints: [\"box:out\", \"shop:eth0\"], delay: 5ms }}\n\
         steps:\n  - laptop opens https://shop.example/\n"
    );
    let scenario = Scenario::of_text("ossified.yaml", &text).unwrap_or_else(|r| panic!("{r}"));
    scenario.run(RunOptions::new(1)).unwrap()
}

/// Packets that the middlebox dropped, and those from which it took something.
fn harmed(run: &Run) -> (usize, usize) {
    let count = |is: fn(&What) -> bool| run.trace().events.iter().filter(|e| is(&e.what)).count();
    (
        count(|what| matches!(what, What::Drop { reason: DropReason::Ossified, .. })),
        count(|what| matches!(what, What::Stripped { .. })),
    )
}

/// Everything that the story's first step says, a sentence a line.
fn words(run: &Run) -> String {
    let step = &run.story().steps[0];
    let lines = step.chapters.iter().flat_map(|chapter| &chapter.lines);
    let all = lines.chain(&step.trouble).chain(&step.outcome);
    all.map(|line| format!("{}: {}\n", line.label, line.text)).collect()
}

#[test]
fn syns_that_ask_for_ecn_vanish_until_the_client_stops_asking() {
    let run = run("ecn: ask", "drop ecn");
    let story = run.story_text();
    assert_eq!(run.story().steps[0].requests[0].status, 200, "{story}");
    let (dropped, stripped) = harmed(&run);
    assert!(dropped >= 1 && stripped == 0, "{dropped} {stripped}");
    let story = words(&run);
    for told in ["a middlebox does not know what is in it", "no longer asking for ECN", "drop ecn"] {
        assert!(story.contains(told), "no `{told}` in {story}");
    }
}

#[test]
fn ecn_that_is_taken_away_costs_no_time() {
    let run = run("ecn: ask", "strip ecn");
    assert_eq!(run.story().steps[0].requests[0].status, 200);
    let (dropped, stripped) = harmed(&run);
    assert!(dropped == 0 && stripped >= 1, "{dropped} {stripped}");
    assert!(run.story().steps[0].duration_ns < 1_000_000_000);
    let told = words(&run);
    for part in ["ECN asked for", "takes away what it does not know: strip ecn"] {
        assert!(told.contains(part), "no `{part}` in {told}");
    }
    assert!(!told.contains("ECN agreed"), "{told}");
}

/// A proxy and a balancer whose way to the shop leads through the middlebox.
fn behind_proxies(tcp: &str, middlebox: &str) -> Run {
    let text = format!(
        "name: ossified\nabout: A middlebox behind proxies.\nnames: {{ hosts: {{ shop.example: 10.0.0.2 }} }}\n\
         topology:\n  nodes:\n\
         \x20   laptop: {{ kind: host, interfaces: {{ eth0: {{ address: 10.0.0.1/24 }} }} }}\n\
         \x20   proxy:\n      kind: host\n      interfaces: {{ in: {{ address: 10.0.0.2/24 }}, out: {{ address: 10.1.0.2/24 }} }}\n\
         \x20     gateway: 10.1.0.1\n      tcp: {{ {tcp} }}\n\
         \x20     run: [ edge: {{ upstreams: {{ shop: \"10.2.0.10:80\" }} }}, l4-balancer: {{ port: 81, upstreams: {{ shop: \"10.2.0.10:80\" }} }} ]\n\
         \x20   box:\n      kind: router\n      interfaces: {{ in: {{ address: 10.1.0.1/24 }}, out: {{ address: 10.2.0.1/24 }} }}\n\
         \x20     middlebox: [ {middlebox} ]\n\
         \x20   shop:\n      kind: host\n      interfaces: {{ eth0: {{ address: 10.2.0.10/24 }} }}\n      gateway: 10.2.0.1\n\
         \x20     tcp: {{ {tcp} }}\n      run: [ http: {{ pages: httpbin }} ]\n\
         \x20 links:\n\
         \x20   - {{ endpoints: [\"laptop:eth0\", \"proxy:in\"], delay: 1ms }}\n\
         \x20   - {{ endpoints: [\"proxy:out\", \"box:in\"], delay: 2ms }}\n\
         \x20   - {{ endpoints: [\"box:out\", \"shop:eth0\"], delay: 5ms }}\n\
         steps: [ laptop opens http://shop.example/get, laptop opens http://shop.example:81/get ]\n"
    );
    let scenario = Scenario::of_text("ossified.yaml", &text).unwrap_or_else(|r| panic!("{r}"));
    scenario.run(RunOptions::new(1)).unwrap()
}

#[test]
fn what_a_proxys_own_connection_goes_without_is_told_as_the_clients() {
    let cases = [
        ("ecn: ask", "drop ecn", "hears nothing, sends the SYN again (try 2), no longer asking for ECN"),
        (
            "ecn: ask",
            "strip ecn",
            "goes without what box takes away on the way (`strip ecn`): ECN is asked for and not agreed",
        ),
        (
            "ecn: off",
            "strip tcp option 4",
            "goes without what box takes away on the way (`strip tcp option 4`)",
        ),
    ];
    for (tcp, middlebox, wanted) in cases {
        let run = behind_proxies(tcp, middlebox);
        // The balancer's patience ends before the SYN's timer does.
        let kinds: &[&str] = if middlebox.starts_with("drop") { &["proxy"] } else { &["proxy", "relay"] };
        for (step, kind) in run.story().steps.iter().zip(kinds) {
            assert_eq!(step.requests[0].status, 200, "{}", run.story_text());
            let told = step.chapters.iter().flat_map(|chapter| &chapter.lines);
            let codes = [format!("{kind}.syn"), format!("{kind}.strip")];
            let told: Vec<_> = told.filter(|line| codes.contains(&line.code)).collect();
            let [line] = told[..] else { panic!("{middlebox}, {kind}: {told:?} in {}", run.story_text()) };
            assert_eq!(line.label, "proxy");
            assert!(line.text.starts_with(wanted), "{line:?}");
            assert!(line.at_ns.is_some_and(|at| at > step.start_ns && at < step.end_ns), "{line:?}");
        }
    }
}

#[test]
fn fast_open_is_an_option_that_an_old_box_does_not_know() {
    let dropped = run("fast-open: both", "drop tcp option unknown");
    assert_eq!(dropped.story().steps[0].requests[0].status, 200, "{}", dropped.story_text());
    assert!(harmed(&dropped).0 >= 1);
    // Cookies were asked for: a try is lost, and the next one goes without.
    let told = words(&dropped);
    for part in
        ["asks for a Fast Open cookie", "try 2), without the Fast Open option", "drop tcp option unknown"]
    {
        assert!(told.contains(part), "no `{part}` in {told}");
    }
    assert!(dropped.story().steps[0].duration_ns > 1_000_000_000, "a whole timeout");
    let stripped = run("fast-open: both", "strip tcp option 34");
    assert_eq!(stripped.story().steps[0].requests[0].status, 200);
    assert!(harmed(&stripped).1 >= 1 && harmed(&stripped).0 == 0);
}

#[test]
fn tls13_passes_in_its_compatibility_mode_only() {
    let passes = run("ecn: off", "drop tls1.3 without compatibility");
    assert_eq!(passes.story().steps[0].requests[0].status, 200, "{}", passes.story_text());
    assert_eq!(harmed(&passes), (0, 0));
    let vanishes = run("ecn: off", "drop tls1.3");
    assert!(!vanishes.story().steps[0].ok);
    assert!(harmed(&vanishes).0 > 1, "sent again and again");
    let told = words(&vanishes);
    for part in
        ["sends bytes 1 to", "drop tls1.3", "nothing to fall back to: it offers TLS 1.3 and nothing older"]
    {
        assert!(told.contains(part), "no `{part}` in {told}");
    }
    assert!(
        vanishes.story().steps[0].summary.contains("tls.timeout"),
        "{}",
        vanishes.story().steps[0].summary
    );
}
