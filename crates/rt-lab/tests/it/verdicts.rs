//! `can`: one real probe, and every independent blocker.

use rt_lab::{CanQuery, Mark, MatrixQuery, Network, Protocol, Refusal, Scenario, Verdict};

/// The only verdict.
pub(crate) fn can(scenario: &Scenario, from: &str, to: &str, seed: u64) -> Result<Verdict, Refusal> {
    let query = CanQuery { seed, ..CanQuery::new(from, to) };
    let mut verdicts = rt_lab::can(scenario, &query)?.verdicts;
    assert_eq!(verdicts.len(), 1, "one pair");
    Ok(verdicts.remove(0))
}

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

/// A stranger against a machine behind a NAT: the address means nothing out there, the NAT has no mapping, and then what the
/// machine itself says.
#[test]
fn a_stranger_meets_every_reason_on_the_way_to_a_private_address() {
    let scenario = Scenario::load("home").unwrap();
    let codes = |to: &str| {
        let verdict = can(&scenario, "internet", to, 1).unwrap();
        assert!(!verdict.reachable && verdict.reachable_when_lifted, "{}", verdict.text());
        verdict.blockers.iter().map(|b| b.code.clone()).collect::<Vec<_>>()
    };
    assert_eq!(codes("laptop:80"), ["drop.no_route", "drop.nat_no_mapping", "drop.no_socket"]);
    // The router answers a ping in the laptop's place: that is not the laptop.
    assert_eq!(codes("192.168.1.10"), ["drop.no_route", "drop.nat_no_mapping"]);
    let out = can(&scenario, "laptop", "internet:443", 1).unwrap();
    assert!(out.reachable, "{}", out.text());
}

/// The private subnet of a VPC: three independent reasons, in the order in which a packet meets them.
#[test]
fn a_private_subnet_has_three_reasons() {
    let text = "
name: cloud
sites:
  internet: { kind: internet, places: [frankfurt, london], resolvers: { dns: { address: 9.9.9.9, place: london } } }
  vpc:
    kind: vpc
    place: frankfurt
    cidr: 10.0.0.0/16
    internet-gateway: yes
    subnets:
      public: { cidr: 10.0.1.0/24, routes: { 0.0.0.0/0: internet-gateway } }
      private: { cidr: 10.0.2.0/24, routes: { 0.0.0.0/0: nat } }
    nat-gateways: { nat: { subnet: public, address: 10.0.1.100, public: 54.93.0.10 } }
    security-groups: { app: { in: [ tcp port 443 from 10.0.0.0/16 ] } }
    instances:
      app: { subnet: private, address: 10.0.2.50, groups: [app] }
      lost: { subnet: public, address: 10.0.1.30, groups: [app] }
";
    let scenario = Scenario::of_text("cloud.yaml", text).unwrap();
    let verdict = can(&scenario, "internet", "10.0.2.50", 1).unwrap();
    let found: Vec<(&str, &str, &str)> = verdict
        .blockers
        .iter()
        .map(|b| (b.node.as_str(), b.code.as_str(), b.explanation.as_deref().unwrap_or("")))
        .collect();
    let expected = [
        ("internet.frankfurt", "drop.no_route", "NO_ROUTE_TO_DESTINATION"),
        ("vpc.nat", "drop.nat_no_mapping", "NGW_REQUIRES_SOURCE_IN_VPC"),
        ("vpc.app", "drop.filtered", "ENI_SG_RULES_MISMATCH"),
    ];
    assert_eq!(found, expected, "{}", verdict.text());
    assert!(verdict.reachable_when_lifted, "{}", verdict.text());
    // Its public side has no mapping either, and nobody said for whom.
    let direct = can(&scenario, "internet", "54.93.0.10", 1).unwrap();
    assert_eq!(direct.blockers.len(), 1, "{}", direct.text());
    assert_eq!((direct.blockers[0].node.as_str(), &direct.blockers[0].lifted), ("vpc.nat", &None));
    // Out through the gateway without a public address.
    let lost = can(&scenario, "lost", "internet:443", 1).unwrap();
    assert_eq!(lost.blockers.len(), 1, "{}", lost.text());
    assert_eq!(lost.blockers[0].explanation.as_deref(), Some("IGW_PUBLIC_IP_ASSOCIATION_FOR_EGRESS"));
    assert!(lost.reachable_when_lifted, "{}", lost.text());
}

/// What a table says of a pair is what a single question says of it.
#[test]
fn a_table_of_all_pairs_agrees_with_single_questions() {
    for scenario in [Scenario::load("home").unwrap(), two_blockers()] {
        let table = rt_lab::matrix(&scenario, &MatrixQuery { seed: 1, ..MatrixQuery::default() }).unwrap();
        for cell in table.cells.iter().flatten().filter(|c| c.mark != Mark::Itself) {
            let single = can(&scenario, &cell.from, &cell.to, 1).unwrap();
            assert_eq!(single.reachable, cell.mark == Mark::Yes, "{cell:?}\n{}", single.text());
        }
        let (yes, all) = table.counts();
        assert!(yes > 0 && yes < all, "{}", table.text());
        assert!(table.html().contains(&format!("{yes} of {all} pairs")), "{}", table.html());
    }
}

#[test]
fn ends_and_protocols_that_make_no_sense_are_refused() {
    let home = Scenario::load("home").unwrap();
    let two = two_blockers();
    let refused = |scenario: &Scenario, from: &str, to: &str| {
        let said = rt_lab::can(scenario, &CanQuery::new(from, to)).unwrap_err();
        assert_eq!(said.exit_code(), 2);
        said.to_string()
    };
    assert!(refused(&two, "internet", "b").contains("no internet"));
    assert!(refused(&home, "10.7.7.7", "laptop").contains("nobody here"));
    assert!(refused(&home, "laptop", "web:80/sctp").contains("protocol"));
    assert!(refused(&home, "laptop", "2001:db8::1").contains("2001"));
    assert!(refused(&home, "laptop", "laptop").contains("itself"));
    assert!(refused(&home, "group nobody", "laptop").contains("group nobody"));
    assert!(refused(&home, "laptop", "").contains("no end"));
    let query = CanQuery { protocol: Some(Protocol::Udp), ..CanQuery::new("laptop", "web") };
    assert!(rt_lab::can(&home, &query).unwrap_err().to_string().contains("port"));
    let group = rt_lab::can(&home, &CanQuery::new("site home", "web:80")).unwrap();
    assert!(group.verdicts.len() == 2 && group.are_all(true), "{}", group.text());
}

/// Two machines with one address: whoever answers is not the one that was named.
#[test]
fn an_address_that_means_another_machine_is_no_answer() {
    let twice = Scenario::load("same-private-ip").unwrap();
    for to in ["tokyo.pc", "tokyo.pc:80", "tokyo.pc:7/udp"] {
        let verdict = can(&twice, "berlin.pc", to, 1).unwrap();
        assert!(!verdict.reachable && verdict.reachable_when_lifted, "{}", verdict.text());
        let [only, ..] = verdict.blockers.as_slice() else { panic!("{}", verdict.text()) };
        assert_eq!((only.node.as_str(), only.code.as_str()), ("berlin.pc", "request.other_machine"));
        assert!(only.sentence.contains("192.168.1.5 means berlin.pc itself"), "{}", verdict.text());
        assert!(only.sentence.contains("not tokyo.pc"), "{}", verdict.text());
        assert!(only.origin.starts_with("same-private-ip.yaml:"), "{}", only.origin);
    }
    // Who asks for the address means whoever has it there.
    assert!(can(&twice, "tokyo.pc", "192.168.1.5", 1).unwrap().reachable);
    let table = rt_lab::matrix(&twice, &MatrixQuery { seed: 1, ..MatrixQuery::default() }).unwrap();
    let cell = |from: &str, to: &str| {
        let mut cells = table.cells.iter().flatten();
        cells.find(|c| c.from == from && c.to == to).map(|c| (c.mark, c.node.clone())).unwrap()
    };
    let other = |node: &str| (Mark::OtherMachine, Some(node.to_owned()));
    assert_eq!(cell("berlin.pc", "tokyo.pc"), other("berlin.pc"));
    assert_eq!(cell("tokyo.pc", "berlin.pc"), other("tokyo.pc"));
    assert!(table.html().contains("other-machine"));
}

/// A third machine that has the address answers: not the asker, and not the one that was named.
#[test]
fn a_neighbour_with_the_address_of_the_one_named_is_no_answer() {
    let scenario = Network::new("twins")
        .host("a", "address: 10.0.1.2/24, gateway: 10.0.1.1")
        .host("near", "address: 10.0.2.2/24, gateway: 10.0.2.1, run: [ http ]")
        .router("r", "interfaces: { lan: 10.0.1.1/24, dmz: 10.0.2.1/24, wan: 10.0.3.1/24 }")
        .router("s", "interfaces: { wan: 10.0.3.2/24, lan: 10.0.2.1/24 }")
        .host("far", "address: 10.0.2.2/24, gateway: 10.0.2.1, run: [ http, http: { port: 81 } ]")
        .link("a:eth0", "r:lan", "")
        .link("near:eth0", "r:dmz", "")
        .link("r:wan", "s:wan", "")
        .link("s:lan", "far:eth0", "")
        .scenario()
        .unwrap_or_else(|refusal| panic!("{refusal}"));
    let near = can(&scenario, "a", "near:80", 1).unwrap();
    assert!(near.reachable, "{}", near.text());
    for to in ["far:80", "far:81", "far"] {
        let far = can(&scenario, "a", to, 1).unwrap();
        assert!(!far.reachable && far.reachable_when_lifted, "{}", far.text());
        let lifted = far.blockers[0].lifted.as_deref().unwrap_or_default();
        assert!(lifted.starts_with("far is asked at an address of its own, "), "{}", far.text());
        assert_eq!(far.blockers[0].code, "request.other_machine", "{}", far.text());
        assert!(far.blockers[0].sentence.contains("10.0.2.2 means near for a, not far"), "{}", far.text());
    }
}

/// `--expect no` must not pass for a slip of the pen.
#[test]
fn a_target_that_is_nothing_is_refused_with_the_nearest_names() {
    let home = Scenario::load("home").unwrap();
    let refused = |to: &str| {
        let said = rt_lab::can(&home, &CanQuery::new("laptop", to)).unwrap_err();
        assert_eq!(said.exit_code(), 2);
        said.to_string()
    };
    for to in ["home.fone", "home.fone:80", "fone", "fone:443"] {
        let said = refused(to);
        let names = said.split_once("there are: ").unwrap_or_else(|| panic!("{said}")).1;
        assert!(names.starts_with("home.phone"), "{said}");
    }
    assert!(refused("10.1.1.400").contains("no machine or IPv4 address called `10.1.1.400`"));
    assert!(refused("10.1.1:80").contains("IPv4 address"));
    assert!(refused("10.1.1.0/40").contains("IPv4 address"));
    assert!(refused("web.exampel:80").contains("there are: web.example,"));
    assert!(refused("www.example.invalid:80").contains("no machine or name called"));
    // An address that nobody has, and a name that is there, are questions.
    assert!(!can(&home, "laptop", "10.1.1.40", 1).unwrap().reachable);
    assert!(can(&home, "laptop", "web.example:80", 1).unwrap().reachable);
    assert!(!can(&home, "laptop", "web.example:81", 1).unwrap().reachable);
}

/// A client of Fast Open that has a cookie says that it is connected before anything is sent: each probe must be a real one.
#[test]
fn a_probe_of_a_fast_open_client_leaves_its_machine() {
    let scenario = Scenario::load("fast-open").unwrap();
    let table = rt_lab::matrix(&scenario, &MatrixQuery { seed: 1, ..MatrixQuery::default() }).unwrap();
    assert_eq!(table.counts(), (8, 8), "{}", table.text());
}
