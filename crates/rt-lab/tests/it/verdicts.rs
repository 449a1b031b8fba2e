//! `can`: one real probe, and every independent blocker.

use rt_lab::{Network, Scenario, can};

#[test]
fn reachable_is_yes_with_the_path() {
    let verdict = can(&Scenario::load("web-browsing").unwrap(), "laptop", "google.com:443", 1).unwrap();
    assert!(verdict.reachable, "{}", verdict.text());
    assert_eq!(verdict.path.first().map(String::as_str), Some("home.laptop"));
    assert_eq!(verdict.path.last().map(String::as_str), Some("google.frankfurt"));
}

#[test]
fn a_closed_port_a_missing_route_and_a_loop_are_named_and_lifted() {
    let check = |scenario: &str, from: &str, to: &str, code: &str| {
        let verdict = can(&Scenario::load(scenario).unwrap(), from, to, 1).unwrap();
        assert!(!verdict.reachable, "{}", verdict.text());
        assert_eq!(verdict.blockers.first().map(|b| b.code.as_str()), Some(code), "{}", verdict.text());
        assert!(verdict.blockers[0].lifted.is_some(), "{}", verdict.text());
    };
    check("web-browsing", "laptop", "google.com:81", "drop.no_socket");
}

/// Two firewalls in a row, both closed: two independent reasons.
fn two_blockers() -> Scenario {
    let lan = "lan: { address: 10.0.1.1/24 }, dmz: { address: 10.0.2.1/24 }";
    Network::new("two-blockers")
        .host("a", "address: 10.0.1.2/24, gateway: 10.0.1.1")
        .router("r", &format!("interfaces: {{ {lan} }}, firewall: {{ forward: [ deny tcp port 80 ] }}"))
        .host(
            "b",
            "address: 10.0.2.2/24, gateway: 10.0.2.1, run: [ http ], firewall: { in: [ deny tcp port 80 ] }",
        )
        .link("a:eth0", "r:lan", "")
        .link("b:eth0", "r:dmz", "")
        .scenario()
        .unwrap_or_else(|refusal| panic!("{refusal}"))
}

#[test]
fn every_independent_blocker_comes_out_with_its_rule_and_line() {
    let verdict = can(&two_blockers(), "a", "b:80", 1).unwrap();
    assert!(!verdict.reachable && verdict.reachable_when_lifted, "{}", verdict.text());
    let found: Vec<(&str, &str)> =
        verdict.blockers.iter().map(|b| (b.node.as_str(), b.code.as_str())).collect();
    assert_eq!(found, [("r", "drop.filtered"), ("b", "drop.filtered")], "{}", verdict.text());
    for blocker in &verdict.blockers {
        assert!(blocker.origin.starts_with("two-blockers.yaml:"), "{blocker:?}");
        assert_eq!(blocker.rule.as_deref(), Some("deny tcp port 80"), "{blocker:?}");
    }
}

#[test]
fn unknown_machines_are_refused_with_the_known_names() {
    let scenario = Scenario::load("web-browsing").unwrap();
    let refusal = can(&scenario, "nobody", "google.com", 1).unwrap_err().to_string();
    assert!(refusal.contains("home.laptop"), "{refusal}");
    assert!(can(&scenario, "laptop", "google.com:70000", 1).is_err());
}
