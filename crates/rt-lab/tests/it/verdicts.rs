//! `can`: one real probe, and every independent blocker.

use rt_lab::{Scenario, can};

/// Two firewalls in a row, both closed: two independent reasons.
const TWO_BLOCKERS: &str = "
name: two-blockers
about: Two independent reasons between a and b.
topology:
  nodes:
    a: { kind: host, address: 10.0.1.2/24, gateway: 10.0.1.1 }
    r: { kind: router, firewall: { forward: [ 'deny tcp to 10.0.2.2 port 80', 'allow all' ] } }
    b: { kind: host, address: 10.0.2.2/24, gateway: 10.0.2.1, firewall: { in: [ 'deny tcp port 80', 'allow all' ] } }
  links:
    - endpoints: ['a:eth0', 'r:lan']
      addresses: { r: 10.0.1.1/24 }
    - endpoints: ['b:eth0', 'r:dmz']
      addresses: { r: 10.0.2.1/24 }
";

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

#[test]
fn unknown_machines_are_refused_with_the_known_names() {
    let scenario = Scenario::load("web-browsing").unwrap();
    let refusal = can(&scenario, "nobody", "google.com", 1).unwrap_err().to_string();
    assert!(refusal.contains("home.laptop"), "{refusal}");
    assert!(can(&scenario, "laptop", "google.com:70000", 1).is_err());
}
