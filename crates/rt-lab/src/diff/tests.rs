//! Two small networks and what changes between them.

use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::Scenario;

const NETWORK: &str = "name: t
topology:
  nodes:
    a: { address: 10.0.0.2/24 }
    r:
      kind: router
      interfaces: { lan: { address: 10.0.0.1/24 }, wan: { address: 192.0.2.1/24 } }
      nat: [ masquerade out wan using 10001- ]
      firewall: { forward: [ allow established, allow in lan, otherwise deny ] }
    b: { address: 192.0.2.2/24, run: [ http: { port: 80, pages: hello } ] }
  links:
    - { endpoints: [\"a:e\", \"r:lan\"], rate: 1Gbit/s, delay: 1ms }
    - { endpoints: [\"b:e\", \"r:wan\"], rate: 1Gbit/s, delay: 1ms }
steps: [ a pings 192.0.2.2, a opens http://192.0.2.2/ ]
";

fn between(a: &str, b: &str) -> Difference {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("roundtrip-diff-{}-{number}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let answer = diff(&file("a.yaml", a), &file("b.yaml", b), 1).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    answer
}

#[test]
fn a_network_is_the_same_as_itself() {
    assert!(Scenario::of_text("t.yaml", NETWORK).is_ok());
    let same = between(NETWORK, NETWORK);
    assert!(same.same, "{}", same.text());
    assert_eq!(same.pairs, 3, "both ping, a tries port 80");
    let moved = between(NETWORK, &format!("# A line more.\n{NETWORK}"));
    assert!(moved.same, "lines of the file are no difference: {}", moved.text());
}

#[test]
fn a_rule_that_refuses_is_seen_in_the_story_the_answers_and_the_table() {
    let refusing = NETWORK.replace("allow in lan, otherwise", "deny tcp port 80, allow in lan, otherwise");
    let d = between(NETWORK, &refusing);
    let [step] = d.steps.as_slice() else { panic!("one step: {}", d.text()) };
    assert_eq!(step.number, (Some(2), Some(2)));
    assert!(step.outcome.0.starts_with("200") && step.outcome.1.starts_with("FAILED"), "{:?}", step.outcome);
    let [pair] = d.reach.as_slice() else { panic!("one pair: {}", d.text()) };
    assert_eq!((&*pair.from, &*pair.to, &*pair.what), ("a", "b", "tcp 80"));
    assert_eq!(pair.reachable, (Some(true), Some(false)));
    assert!(pair.why.contains('r') && !pair.why.is_empty(), "{}", pair.why);
    let machine = d.machines.iter().find(|m| m.machine == "r").unwrap();
    let rules = &machine.tables.iter().find(|(t, _)| *t == "rules").unwrap().1;
    assert_eq!(rules.added, ["forward: deny tcp port 80"]);
    assert!(rules.gone.is_empty());
    let back = between(&refusing, NETWORK);
    assert_eq!(back.reach[0].reachable, (Some(false), Some(true)));
}

#[test]
fn a_longer_line_costs_time_and_a_port_range_shows_in_the_mappings() {
    let slower = NETWORK.replacen("delay: 1ms", "delay: 5ms", 1);
    let d = between(NETWORK, &slower);
    assert_eq!(d.steps.len(), 2, "{}", d.text());
    let (before, after) = d.steps[0].duration_ns;
    assert!(after - before >= 8_000_000, "4 ms there and 4 ms back: {before} {after}");
    let slowest = &d.steps[0].times[0];
    assert!(slowest.after_ns > slowest.before_ns, "{slowest:?}");
    assert!(d.reach.is_empty());
    assert_eq!((d.links.gone.len(), d.links.added.len()), (1, 1));
    let ports = between(NETWORK, &NETWORK.replace("using 10001-", "using 20001-"));
    let machine = &ports.machines[0];
    let mappings = &machine.tables.iter().find(|(t, _)| *t == "mappings").unwrap().1;
    assert!(mappings.added.iter().any(|l| l.contains(":20001")), "{mappings:?}");
}

#[test]
fn steps_that_came_and_went_stand_alone() {
    let more = NETWORK.replace("steps: [ a pings 192.0.2.2,", "steps: [ b pings 192.0.2.1,");
    let d = between(NETWORK, &more);
    let numbers: Vec<_> = d.steps.iter().map(|s| s.number).collect();
    assert!(numbers.contains(&(Some(1), None)) && numbers.contains(&(None, Some(1))), "{numbers:?}");
    assert!(d.text().contains("- a pings 192.0.2.2"), "{}", d.text());
    assert!(d.text().contains("+ b pings 192.0.2.1"), "{}", d.text());
}

#[test]
fn repeated_lines_count() {
    let list = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
    let d = lines(&list(&["a", "a", "b"]), &list(&["a", "c"]));
    assert_eq!((d.gone, d.added), (list(&["a", "b"]), list(&["c"])));
}

/// Two clouds that are peered; a third one before them moves the numbers of all lines between routers.
const CLOUDS: &str = "name: t
sites:
  internet: { kind: internet, places: [paris] }
  user: { kind: host, place: paris, address: 198.51.100.7, run: [http] }
  one:
    kind: vpc
    cidr: 10.1.0.0/16
    internet-gateway: yes
    subnets: { a: { cidr: 10.1.1.0/24, routes: { 0.0.0.0/0: internet-gateway, 10.2.0.0/16: peering p } } }
    security-groups: { open: { in: [ all ] } }
    instances: { app: { subnet: a, groups: [open], public: yes, run: [http] } }
  two:
    kind: vpc
    cidr: 10.2.0.0/16
    subnets: { a: { cidr: 10.2.1.0/24, routes: { 10.1.0.0/16: peering p } } }
    security-groups: { open: { in: [ all ] } }
    instances: { app: { subnet: a, groups: [open], run: [http] } }
  p: { kind: peering, between: [one, two] }
steps: [ one.app connects to 198.51.100.7:80, one.app connects to 10.2.1.4:80 ]
";

#[test]
fn numbers_of_lines_that_nobody_wrote_are_no_difference() {
    let third = "  before: { kind: vpc, cidr: 10.3.0.0/16, internet-gateway: yes, subnets: { a: { cidr: 10.3.1.0/24 } } }\n";
    let d = between(CLOUDS, &CLOUDS.replace("  one:\n", &format!("{third}  one:\n")));
    let told: Vec<&str> = d.machines.iter().filter(|m| m.only.is_none()).map(|m| &*m.machine).collect();
    assert_eq!(told, ["internet.paris"], "{}", d.text());
    assert!(d.steps.is_empty() && d.reach.is_empty(), "{}", d.text());
    let added = &d.machines.iter().find(|m| m.machine == "internet.paris").unwrap().tables;
    assert!(added.iter().all(|(_, lines)| lines.gone.is_empty()), "{}", d.text());
    // A peering that leads elsewhere is one.
    let to_before = CLOUDS
        .replace("  one:\n", &format!("{third}  one:\n"))
        .replace("  p: {", "  q: { kind: peering, between: [one, before] }\n  p: {")
        .replace("10.2.0.0/16: peering p }", "10.2.0.0/16: peering q }")
        .replace(", one.app connects to 10.2.1.4:80", "");
    let d = between(CLOUDS, &to_before);
    let router = d.machines.iter().find(|m| m.machine == "one.router").unwrap();
    let routes = &router.tables.iter().find(|(name, _)| *name == "routes").unwrap().1;
    assert!(routes.gone.contains(&"table a: 10.2.0.0/16 via two.router:p dev p".to_owned()), "{routes:?}");
    assert!(
        routes.added.contains(&"table a: 10.2.0.0/16 via before.router:q dev q".to_owned()),
        "{routes:?}"
    );
}
