//! Filters told: the rule that decided or came nearest, with its line, in the story and in `can`.

use rt_lab::{Network, Run, RunOptions, Scenario};

use crate::verdicts::can;

fn routed(router: &str) -> Scenario {
    scenario(router, "")
}

fn scenario(router: &str, more: &str) -> Scenario {
    let network = Network::new("guards")
        .host("a", "address: 10.0.1.2/24, gateway: 10.0.1.1")
        .router("r", &format!("interfaces: {{ lan: 10.0.1.1/24, dmz: 10.0.2.1/24 }}, {router}"))
        .host("b", "address: 10.0.2.2/24, gateway: 10.0.2.1, run: [ http ]")
        .link("a:eth0", "r:lan", "")
        .link("b:eth0", "r:dmz", "");
    let text = format!("{}steps: [ a opens http://10.0.2.2/ ]\n{more}", network.yaml());
    Scenario::of_text("guards.yaml", &text).unwrap_or_else(|refusal| panic!("{refusal}"))
}

fn story(scenario: &Scenario) -> String {
    let run: Run = scenario.run(RunOptions::new(1)).unwrap();
    let text = run.story_text();
    // One sentence may stand on several lines.
    text.split_whitespace().collect::<Vec<&str>>().join(" ")
}

/// Code, rule and what came nearest.
type Reason<'a> = (&'a str, &'a str, Option<&'a str>);

#[track_caller]
fn check(router: &str, blockers: &[Reason<'_>], told: &[&str]) {
    let scenario = routed(router);
    let verdict = can(&scenario, "a", "b:80", 1).unwrap();
    let found: Vec<Reason<'_>> = verdict
        .blockers
        .iter()
        .map(|b| (b.code.as_str(), b.rule.as_deref().unwrap_or(""), b.nearest.as_deref()))
        .collect();
    let near = |(found, wanted): (&Reason<'_>, &Reason<'_>)| {
        found.0 == wanted.0
            && found.1 == wanted.1
            && match (found.2, wanted.2) {
                (Some(found), Some(wanted)) => found.contains(wanted),
                (found, wanted) => found == wanted,
            }
    };
    let equal = found.len() == blockers.len() && found.iter().zip(blockers).all(near);
    assert!(equal, "{}\n{found:?}", verdict.text());
    assert!(verdict.blockers.iter().all(|b| b.origin.contains("guards.yaml:")), "{}", verdict.text());
    assert!(verdict.reachable_when_lifted, "{}", verdict.text());
    let story = story(&scenario);
    for words in told {
        assert!(story.contains(words), "{words}\n{story}");
    }
}

#[test]
fn a_refusal_by_default_names_the_nearest_rule_and_what_kept_it_from_matching() {
    check(
        "firewall: { forward: [ allow udp port 53, allow tcp port 443, otherwise deny ] }",
        // The answer too: nothing here lets the answers of known flows pass.
        &[
            ("drop.filtered", "otherwise deny", Some("the destination port is 80")),
            ("drop.filtered", "otherwise deny", Some("the destination port is")),
        ],
        &["Nearest was \"allow tcp port 443\", but the destination port is 80 (guards.yaml:"],
    );
    check(
        "firewall: { forward: [ allow established, allow tcp port 80 limit 1/hour burst 9 as web, otherwise reject ] }",
        &[],
        &["forward logs it: allow tcp port 80 limit"],
    );
}

#[test]
fn an_access_list_that_forgot_the_answers_and_its_cure() {
    check(
        "acl: { lan: { in: { 100: allow tcp port 80 }, out: { 100: allow tcp port 80 } } }",
        &[("drop.filtered", "deny out lan", Some("`100: allow tcp port 80 out lan`"))],
        &["drops a packet by the rule \"deny out lan\"", "Nearest was \"100: allow tcp port 80 out lan\""],
    );
    check(
        "acl: { lan: { in: { 100: allow tcp port 80 }, out: { 100: allow tcp port 1024-65535 } } }",
        &[],
        &[],
    );
}

#[test]
fn the_reverse_path_check_says_where_the_way_back_leads() {
    let routes = "routes: [ { to: 10.0.1.2/32, via: 10.0.2.2 }, { to: 10.0.1.0/24, out: lan }, { to: 10.0.2.0/24, out: dmz } ]";
    let fails = "expect: [ step 1: { fails: yes } ]\n";
    let scenario = scenario(&format!("{routes}, reverse-path: strict"), fails);
    let verdict = can(&scenario, "a", "b:80", 1).unwrap();
    let first = &verdict.blockers[0];
    assert_eq!(first.code, "drop.reverse_path", "{}", verdict.text());
    assert_eq!(first.rule.as_deref(), Some("reverse-path strict on lan"));
    // Believing the source would not be enough: the answer would go the same wrong way.
    assert_eq!(first.lifted.as_deref(), Some("routes of r: 10.0.1.2/32 on the link"));
    let told = story(&scenario);
    assert!(told.contains("it is 10.0.1.2/32 via 10.0.2.2 dev dmz"), "{told}");
    check("reverse-path: strict", &[], &[]);
}

#[test]
fn a_missing_route_is_the_absence_of_a_rule() {
    let verdict = can(&routed("processing: 1us"), "a", "10.0.9.9:80", 1).unwrap();
    let origin = &verdict.blockers[0].origin;
    assert!(origin.starts_with("no rule in the routes of r (nearest: `10.0.1.0/24 dev lan`"), "{origin}");
    assert!(origin.ends_with("10.0.9.9 is not in 10.0.1.0/24)"), "{origin}");
}

#[test]
fn a_reset_in_a_servers_name_is_not_the_servers() {
    let story = story(&routed("firewall: { forward: [ allow established, reject reset tcp port 80 ] }"));
    assert!(story.contains("r on the way refused the SYN with a RST in the name of b"), "{story}");
    assert!(story.contains("made by r, which refuses: RST"), "{story}");
    assert!(!story.contains("no program listens"), "{story}");
}
