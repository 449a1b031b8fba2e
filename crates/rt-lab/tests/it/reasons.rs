//! What the story says of choices and silences: which way was taken and which not, why nothing came back, and whose fault it was
//! not.

use rt_lab::{Run, RunOptions, Scenario};
use rt_trace::story::{Line, StepStory};

fn run(scenario: &str) -> Run {
    Scenario::load(scenario).unwrap().run(RunOptions::new(1)).unwrap()
}

fn run_text(name: &str, text: &str) -> Run {
    let scenario = Scenario::of_text(&format!("{name}.yaml"), text).unwrap_or_else(|r| panic!("{r}"));
    scenario.run(RunOptions::new(1)).unwrap()
}

fn lines<'s>(step: &'s StepStory, code: &'s str) -> impl Iterator<Item = &'s Line> {
    step.chapters.iter().flat_map(|c| &c.lines).filter(move |l| l.code == code)
}

#[track_caller]
fn only<'s>(step: &'s StepStory, code: &'s str) -> &'s Line {
    let all: Vec<&Line> = lines(step, code).collect();
    let [line] = all[..] else { panic!("{} lines of {code} in {:?}", all.len(), step.text) };
    line
}

/// The sentences that explain a failure.
fn outcome(step: &StepStory) -> String {
    step.outcome.iter().map(|l| format!("{}\n", l.text)).collect()
}

#[test]
fn the_ways_that_were_taken_and_those_that_were_not_stand_in_the_story() {
    let run = run("two-uplinks");
    let [pc, phone, shop, forum, route] = &run.story().steps[..] else { panic!("five steps") };
    // One on the SYN's way, one below each connection that a file opened.
    let opened = lines(pc, "http.connection").count();
    assert_eq!(lines(pc, "route.multipath").count(), 1 + opened);
    let ecmp = lines(pc, "route.multipath").next().unwrap();
    let (chosen, rejected) = (&ecmp.data["chosen"], &ecmp.data["rejected"]);
    assert!(ecmp.text.ends_with(&format!("the flow's hash takes {chosen}, not {rejected}")), "{}", ecmp.text);
    assert_ne!(chosen, rejected);
    assert!(ecmp.margin.starts_with("two-uplinks.yaml:"), "{ecmp:?}");
    let policy = lines(phone, "route.policy").next().unwrap();
    assert_eq!(
        policy.text,
        "from 192.168.1.20/32 table line-b, not default via 203.0.113.1 dev a (table main)"
    );
    assert!(policy.margin.starts_with("two-uplinks.yaml:"), "{policy:?}");
    assert_eq!(lines(phone, "route.multipath").count(), 0, "the table has one way");
    // Both ways are the same machines, unless the answers take the other line.
    assert_eq!(lines(shop, "path.back").count(), 0);
    assert_eq!(lines(forum, "path.back").count(), 1);
    assert!(outcome(forum).contains("SYN-ACK ended at alpha"), "{}", outcome(forum));
    assert!(outcome(forum).contains("reverse-path strict on office"), "{}", outcome(forum));
    let both = |hop: &&Line| hop.text.contains("203.0.113.1 ") && hop.text.contains("198.51.100.1 ");
    let hops: Vec<&Line> = lines(route, "trace.hop").filter(both).collect();
    assert_eq!(hops.iter().map(|h| h.margin.as_str()).collect::<Vec<_>>(), ["alpha, beta"]);
}

/// A pc behind a NAT that forwards port 8080 to a neighbour, an ISP that lets no ICMP of its own out, and a core that drops some.
const STREET: &str = "
topology:
  defaults: { rate: 100Mbit/s, delay: 2ms }
  nodes:
    pc: { address: 192.168.1.10/24, gateway: 192.168.1.1 }
    nas: { address: 192.168.1.30/24, gateway: 192.168.1.1, run: [ http: { pages: shop } ] }
    switch: { kind: switch }
    home:
      kind: router
      interfaces: { lan: 192.168.1.1/24, wan: 203.0.113.2/30 }
      routes: [ { to: 0.0.0.0/0, via: 203.0.113.1 } ]
      nat: [ masquerade out wan, dnat to 192.168.1.30:80 to 203.0.113.2 tcp port 8080 ]
    isp:
      kind: router
      interfaces: { down: 203.0.113.1/30, up: 192.0.2.1/30 }
      firewall: { out: [ deny icmp ] }
    core:
      kind: router
      interfaces: { down: 192.0.2.2/30, web: 8.8.8.1/24 }
      firewall: { forward: [ deny udp port 33443, deny tcp port 81 ] }
    web: { address: 8.8.8.8/24, gateway: 8.8.8.1, run: [ http: { pages: shop } ] }
  links:
    - endpoints: [\"pc:eth0\", \"switch:p0\"]
    - endpoints: [\"nas:eth0\", \"switch:p1\"]
    - endpoints: [\"home:lan\", \"switch:p2\"]
    - endpoints: [\"home:wan\", \"isp:down\"]
    - endpoints: [\"isp:up\", \"core:down\"]
    - endpoints: [\"core:web\", \"web:eth0\"]
";

fn street(steps: &str) -> Run {
    run_text("street", &format!("name: street\nabout: A street.\n{STREET}steps:\n{steps}"))
}

fn silences(step: &StepStory) -> Vec<(&str, &str, &str)> {
    let all = lines(step, "silence");
    all.map(|l| (l.text.as_str(), l.margin.as_str(), l.data["why"].as_str())).collect()
}

#[test]
fn a_star_of_a_traced_route_has_its_reason() {
    let run = street("  - pc traces the route to web\n");
    let step = &run.story().steps[0];
    assert_eq!(
        silences(step),
        [
            (
                "isp drops its own answer by the rule \"deny icmp\": a filter rule dropped it",
                "street.yaml:18",
                "drop.filtered"
            ),
            (
                "core drops it by the rule \"deny udp port 33443\": a filter rule dropped it",
                "street.yaml:22",
                "drop.filtered"
            ),
        ]
    );
    assert!(step.ok, "{}", step.summary);
}

#[test]
fn a_star_for_want_of_permission_to_complain_says_so() {
    let route = "  - pc traces the route to web using icmp\n";
    let talkative = STREET.replace("      firewall: { out: [ deny icmp ] }\n", "");
    let steps = format!("{route}{route}{route}");
    let run = run_text("street", &format!("name: street\nabout: A street.\n{talkative}steps:\n{steps}"));
    let third = &run.story().steps[2];
    let limited: Vec<_> = silences(third).into_iter().filter(|s| s.2 == "icmp.withheld").collect();
    assert!(!limited.is_empty(), "{:?}", silences(third));
    assert!(
        limited[0].0.starts_with("home dropped it (its TTL ran out) and kept its complaint back"),
        "{limited:?}"
    );
}

#[test]
fn a_failed_traced_route_is_blamed_on_its_own_last_probes() {
    let both = "  - { do: nas connects to 8.8.8.8:81, background: yes }\n  - nas pings 8.8.8.8 after 10ms\n  \
                - pc traces the route to 8.8.8.77 using tcp port 81\nexpect: [ step 1: { fails: yes }, step 3: { fails: yes } ]\n";
    let run = street(both);
    let story = run.story();
    let step = &story.steps[2];
    assert!(!step.ok);
    let said = outcome(step);
    assert!(
        said.contains("the last probes brought no answer: core drops it by the rule \"deny tcp port 81\""),
        "{said}"
    );
    assert_eq!(step.outcome.len(), 1, "{said}");
    assert!(outcome(&story.steps[0]).contains("deny tcp port 81"), "{}", outcome(&story.steps[0]));
}

#[test]
fn what_came_of_another_step_is_not_told_as_ones_own() {
    // Both fail, at the same time, in different places.
    let run = street(
        "  - { do: nas pings 8.8.8.77, background: yes }\n  - pc pings 192.168.1.77 after 10ms\n\
         expect: [ step 1: { fails: yes }, step 2: { fails: yes } ]\n",
    );
    let [nas, pc] = &run.story().steps[..] else { panic!("two steps") };
    let nodes = |step: &StepStory| {
        let drops = step.trouble.iter().filter(|l| l.code.starts_with("drop."));
        drops.map(|l| l.node.clone()).collect::<Vec<_>>()
    };
    assert_eq!((nodes(nas), nodes(pc)), (vec!["core".to_owned()], vec!["pc".to_owned()]));
    assert!(outcome(nas).contains("8.8.8.77") && !outcome(pc).contains("8.8.8.77"), "{}", outcome(pc));
}

#[test]
fn a_ping_without_an_answer_says_where_it_ended() {
    let run = street("  - pc pings 203.0.113.1\nexpect: [ step 1: { fails: yes } ]\n");
    let line = only(&run.story().steps[0], "echo.silence");
    let said = "no answer: isp drops its own answer by the rule \"deny icmp\": a filter rule dropped it";
    assert_eq!((line.text.as_str(), line.margin.as_str()), (said, "street.yaml:18"));
}

#[test]
fn an_answer_in_a_strangers_name_is_told_as_one() {
    let run = street("  - pc opens http://203.0.113.2:8080/\nexpect: [ step 1: { fails: yes } ]\n");
    let step = &run.story().steps[0];
    let said = outcome(step);
    for part in ["7 SYNs sent to 203.0.113.2:8080", "nas, which answered as 192.168.1.30:80", "hairpin"] {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
    let back: Vec<&str> = step
        .chapters
        .iter()
        .flat_map(|c| &c.lines)
        .skip_while(|l| l.code != "path.back")
        .map(|l| l.label.as_str())
        .collect();
    assert_eq!(back[1..4], ["nas", "switch", "pc"]);
    let trouble: String = step.trouble.iter().map(|l| format!("{}\n", l.text)).collect();
    assert!(trouble.contains("there is no such connection here"), "{trouble}");
    assert!(!trouble.contains("nobody listens") && !trouble.contains("lost or late"), "{trouble}");
    // The cure that the sentence names.
    let cured = STREET.replace(
        "masquerade out wan, dnat",
        "masquerade out wan, masquerade from 192.168.1.0/24 out lan, dnat",
    );
    let text =
        format!("name: street\nabout: A street.\n{cured}steps: [ pc opens http://203.0.113.2:8080/ ]\n");
    assert!(run_text("street", &text).story().steps[0].ok);
}

#[test]
fn a_resolver_that_answers_in_another_name_is_told_as_one() {
    let swap = |text: String, from: &str, to: &str| {
        assert!(text.contains(from), "no {from}");
        text.replace(from, to)
    };
    let mut home = swap(
        STREET.into(),
        "http: { pages: shop } ] }\n    switch",
        "dns-server: { zones: [home.example.] } ] }\n    switch",
    );
    home = swap(home, "30:80 to 203.0.113.2 tcp port 8080", "30:53 to 203.0.113.2 udp port 53");
    home = swap(
        home,
        "gateway: 192.168.1.1 }\n    nas",
        "gateway: 192.168.1.1, resolvers: [203.0.113.2] }\n    nas",
    );
    let records = "[ \"home.example. 60 NS nas.home.example.\", \"nas.home.example. 60 A 192.168.1.30\" ]";
    let text = format!(
        "name: street\nabout: A street.\n{home}names: {{ zones: {{ home.example.: {{ records: {records} }} }} }}\n\
         steps: [ pc looks up nas.home.example ]\nexpect: [ step 1: {{ fails: yes }} ]\n"
    );
    let run = run_text("street", &text);
    let said = outcome(&run.story().steps[0]);
    assert!(
        said.contains("nas answered in the name of 192.168.1.30, and pc had asked nobody but 203.0.113.2"),
        "{said}"
    );
}

#[test]
fn connections_that_failed_beside_others_that_opened_are_counted_so() {
    // A rule lets four connections a minute pass; ten calls at once want ten.
    let run = run_text(
        "few",
        "name: few\nabout: Four a minute.\ntopology:\n  nodes:\n    a: { address: 10.0.1.2/24, gateway: 10.0.1.1 }\n    \
         r: { kind: router, interfaces: { a: 10.0.1.1/24, b: 10.0.2.1/24 }, firewall: { forward: [ allow established, allow tcp limit 4/minute, deny ] } }\n    \
         b: { address: 10.0.2.2/24, gateway: 10.0.2.1, run: [ rpc: { port: 80 } ] }\n  links:\n    - { endpoints: [\"a:eth0\", \"r:a\"], delay: 1ms }\n    \
         - { endpoints: [\"r:b\", \"b:eth0\"], delay: 1ms }\nsteps:\n  - { do: a calls b:80 10 times, at-once: 10, timeout: 5s }\n\
         expect: [ step 1: { fails: yes } ]\n",
    );
    let step = &run.story().steps[0];
    let said = outcome(step);
    assert!(said.contains("5 of 10 connections to 10.0.2.2:80 were never opened (15 SYNs)"), "{said}");
    assert!(!said.contains("none was opened"), "{said}");
}

#[test]
fn segments_sent_again_count_syns_as_the_expectation_does() {
    let run = run_text(
        "late",
        "name: late\nabout: The cable is healed late.\ntopology:\n  nodes:\n    a: { address: 10.0.0.1/24 }\n    \
         b: { address: 10.0.0.2/24, run: [ sink ] }\n  links: [ { endpoints: [\"a:eth0\", \"b:eth0\"], delay: 1ms } ]\n\
         steps:\n  - a pings b\n  - a sends 10kB to b over TCP after 1s\n\
         timeline: [ { at: 500ms, cut: \"a:eth0\" }, { at: 3s, heal: \"a:eth0\" } ]\n\
         expect: [ step 2: { retransmissions: 2 } ]\n",
    );
    let step = &run.story().steps[1];
    assert!(run.checks().iter().all(|c| c.holds), "{:?}", run.checks());
    assert!(step.summary.contains("2 segments sent again"), "{}", step.summary);
}
