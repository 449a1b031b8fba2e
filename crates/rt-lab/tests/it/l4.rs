//! A balancer of connections in a scenario: one tree across both connections, what it costs, who is seen; draining by timeline.

use rt_lab::story::Line;
use rt_lab::{Run, RunOptions, Scenario};

/// A page of random digits, 60 kB long.
fn page() -> String {
    let mut digits = String::new();
    let mut state = 1_u64;
    while digits.len() < 60_000 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        digits += &format!("{:016x}", state ^ state >> 29);
    }
    digits
}

fn scenario(balancer: &str, rest: &str) -> String {
    let page = page();
    let web = |n: u8| {
        format!(
            "    web-{n}: {{ kind: host, interfaces: {{ eth0: {{ address: 10.{n}.0.10/24, mtu: 9000 }} }}, \
             run: [ {{ http: {{ pages: {{ /index.html: {{ type: text/plain, text: \"{page}\" }} }} }} }} ] }}\n"
        )
    };
    format!(
        "name: l4\nabout: A balancer of connections.\ntopology:\n  nodes:\n\
         \x20   laptop: {{ kind: host, interfaces: {{ eth0: {{ address: 10.0.0.1/24, mtu: 1500 }} }} }}\n\
         \x20   lb:\n      kind: host\n      interfaces:\n        front: {{ address: 10.0.0.2/24, mtu: 1500 }}\n\
         \x20       back-1: {{ address: 10.1.0.2/24, mtu: 9000 }}\n        back-2: {{ address: 10.2.0.2/24, mtu: 9000 }}\n\
         \x20     run:\n        - l4-balancer: {{ port: 80, upstreams: {{ web-1: 10.1.0.10:80, web-2: 10.2.0.10:80 }}{balancer} }}\n\
         {}{}  links:\n\
         \x20   - {{ endpoints: [\"laptop:eth0\", \"lb:front\"], rate: 100Mbit/s, delay: 10ms }}\n\
         \x20   - {{ endpoints: [\"lb:back-1\", \"web-1:eth0\"], rate: 10Gbit/s, delay: 200us, mtu: 9000 }}\n\
         \x20   - {{ endpoints: [\"lb:back-2\", \"web-2:eth0\"], rate: 10Gbit/s, delay: 200us, mtu: 9000 }}\n{rest}",
        web(1),
        web(2)
    )
}

const TWO: &str =
    "steps:\n  - laptop opens http://10.0.0.2/\n  - { do: laptop reloads http://10.0.0.2/, after: 20s }\n";

fn run(text: &str) -> Run {
    let scenario = Scenario::of_text("l4.yaml", text).unwrap_or_else(|r| panic!("{r}"));
    scenario.run(RunOptions::new(1)).unwrap()
}

fn lines<'r>(run: &'r Run, step: usize, code: &str) -> Vec<&'r Line> {
    let chapters = &run.story().steps[step].chapters;
    chapters.iter().flat_map(|c| &c.lines).filter(|l| l.code == code).collect()
}

fn says(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "`{word}` is missing in: {text}");
    }
}

#[test]
fn a_click_is_one_tree_across_the_balancer() {
    let run = run(&scenario("", TWO));
    assert!(run.passed(), "{:?}", run.verdict_lines());
    let chosen = lines(&run, 0, "relay.choose");
    assert_eq!(chosen.len(), 1);
    says(
        &chosen[0].text,
        &["chooses web-1 by round-robin", "web-1 (its turn) and web-2 (waits for its turn)"],
    );
    let goes_on = &lines(&run, 0, "relay.connect")[0].text;
    says(
        goes_on,
        &["10.1.0.2:", "10.1.0.10:80", "opened in 0.", "1460 bytes at most on the client's side and 8960"],
    );
    let caller = &lines(&run, 0, "relay.caller")[0].text;
    says(caller, &["web-1 sees 10.1.0.2 (lb) as its caller", "10.0.0.1, ends here"]);
    let pass = lines(&run, 0, "relay.pass");
    assert_eq!(pass.len(), 1);
    says(&pass[0].text, &["passes the bytes on unread", "the answer", "segments as"]);
    let added: u64 = pass[0].data["added_ns"].parse().unwrap();
    // It opened its connection meanwhile: ARP and a handshake at 0.2 ms, less the client's ACK and request on their way.
    assert!(added < 2_000_000, "{added}");
    // The server that answers is told, not the balancer.
    assert!(lines(&run, 0, "http.answer").iter().any(|l| l.node == "web-1"));
    let relay = run.story().steps[0].connections[0].relay.as_ref().expect("it is relayed");
    assert_eq!((relay.chosen.as_str(), relay.balancer.as_str(), relay.warm), ("web-1", "lb", false));
    let request = &run.story().steps[0].requests[0];
    assert!(
        request.packets.iter().any(|p| p.to == "web-1"),
        "packets behind the balancer belong to the request"
    );
}

#[test]
fn a_server_is_drained_and_another_cut_off_and_nobody_notices() {
    let rest = "timeline:\n  - { at: 5s, drain: lb, server: web-2 }\n  - { at: 25s, admit: lb, server: web-2 }\n  \
                - { at: 26s, cut: \"web-1:eth0\" }\nsteps:\n  - laptop opens http://10.0.0.2/\n  \
                - { do: laptop reloads http://10.0.0.2/, after: 20s }\n  \
                - { do: laptop reloads http://10.0.0.2/, after: 20s }\n";
    let run = run(&scenario(", health: { every: 2s, timeout: 500ms, rise: 2, fall: 2 }, warm: 1", rest));
    assert!(run.passed(), "{:?}", run.verdict_lines());
    assert!(run.story().steps.iter().all(|s| s.ok));
    let who: Vec<String> =
        (0..3).flat_map(|step| lines(&run, step, "relay.choose")).map(|l| l.data["chosen"].clone()).collect();
    assert_eq!(who, ["web-1", "web-1", "web-2"]);
    says(&lines(&run, 1, "relay.choose")[0].text, &["web-2 (draining)"]);
    says(&lines(&run, 2, "relay.choose")[0].text, &["web-1 (down)"]);
    says(&lines(&run, 2, "relay.connect")[0].text, &["stood ready"]);
    let timeline: Vec<(&str, &str)> =
        run.story().timeline.iter().map(|l| (l.code.as_str(), l.text.as_str())).collect();
    let codes: Vec<&str> = timeline.iter().map(|(code, _)| *code).collect();
    assert_eq!(codes, ["balancer.draining", "balancer.admitted", "link.cut", "balancer.ejected"]);
    says(timeline[3].1, &["lb: web-1 (10.1.0.10:80) is out: 2 checks in a row failed"]);
}

#[test]
fn what_a_balancer_is_told_wrongly_is_refused() {
    let refused = |text: &str| match Scenario::of_text("l4.yaml", text) {
        Ok(_) => panic!("accepted"),
        Err(refusal) => refusal.to_string(),
    };
    let rest = "timeline:\n  - { at: 5s, drain: lb, server: web-9 }\n  - { at: 5s, drain: laptop, server: web-1 }\n  \
                - { at: 6s, drain: lb }\n  - { at: 7s, cut: \"web-1:eth0\", server: web-1 }\nsteps:\n  - laptop pings 10.0.0.2\n";
    says(
        &refused(&scenario("", rest)),
        &[
            "`lb` has no server `web-9`",
            "`laptop` balances nothing",
            "which of its servers?",
            "`server` has no effect with `cut`",
        ],
    );
    refused(&scenario(", balance: fastest", TWO));
    says(
        &refused(&scenario("", TWO).replace("{ web-1: 10.1.0.10:80, web-2: 10.2.0.10:80 }", "{}")),
        &["without servers"],
    );
}

#[test]
fn a_balancer_written_out_is_read_back() {
    let all = ", balance: maglev, sticky: 10min, health: yes, warm: 3, connect-timeout: 200ms, \
               collect: { bytes: 32KiB, wait: 2ms }";
    let rest = "timeline:\n  - { at: 5s, drain: lb, server: web-2 }\n  - { at: 6s, admit: lb, server: web-2 }\n\
                steps:\n  - laptop opens http://10.0.0.2/\n";
    let scenario = Scenario::of_text("l4.yaml", &scenario(all, rest)).unwrap_or_else(|r| panic!("{r}"));
    let written = rt_scenario::views::plain_yaml(scenario.model());
    let again = Scenario::of_text("l4.yaml", &written).unwrap_or_else(|r| panic!("{r}\n{written}"));
    let apps = |s: &Scenario| format!("{:?}", s.model().nodes.iter().map(|n| &n.apps).collect::<Vec<_>>());
    assert_eq!(apps(&scenario), apps(&again));
    let changes = |s: &Scenario| s.model().timeline.iter().map(|h| h.change.clone()).collect::<Vec<_>>();
    assert_eq!(changes(&scenario), changes(&again));
}
