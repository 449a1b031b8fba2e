//! `can` where a lift is more than a line: what a cloud lacks, NATs behind NATs, tunnels, addresses that are there twice.

use rt_lab::{CanQuery, MatrixQuery, Network, Scenario};

use crate::verdicts::can;

/// Codes and what lifts them, of a question that is answered once all are lifted; one word each that must be in the change.
fn lifted(scenario: &Scenario, (from, to): (&str, &str), expected: &[(&str, &str, &str)]) {
    let verdict = can(scenario, from, to, 1).unwrap();
    assert!(!verdict.reachable && verdict.reachable_when_lifted, "{}", verdict.text());
    assert_eq!(verdict.blockers.len(), expected.len(), "{}", verdict.text());
    for (blocker, (node, code, change)) in verdict.blockers.iter().zip(expected) {
        assert_eq!((blocker.node.as_str(), blocker.code.as_str()), (*node, *code), "{}", verdict.text());
        let said = blocker.lifted.as_deref().unwrap_or("nothing");
        assert!(said.contains(change), "{said} does not say {change}\n{}", verdict.text());
    }
}

fn of_text(text: &str) -> Scenario {
    Scenario::of_text("cloud.yaml", text).unwrap_or_else(|refusal| panic!("{refusal}"))
}

/// The provider's NAT is one more that has no mapping.
#[test]
fn a_stranger_meets_both_nats_of_a_home_behind_a_carrier() {
    let scenario = Scenario::load("alice-and-bob-cgnat").unwrap();
    let nats = [
        ("internet.paris", "drop.no_route", "203.0.113.1 is asked instead"),
        ("internet.isp", "drop.nat_no_mapping", "internet.isp forwards 203.0.113.1"),
        ("alice.router", "drop.nat_no_mapping", "alice.router forwards 100.64.0.2"),
    ];
    lifted(&scenario, ("internet", "laptop"), &nats);
    let closed = [("alice.laptop", "drop.no_socket", "something listens on port 80")];
    lifted(&scenario, ("internet", "laptop:80"), &[&nats[..], &closed].concat());
}

/// Two offices with the same addresses: the one that is meant is asked at its public address.
#[test]
fn a_machine_whose_address_means_another_one_is_asked_at_its_public_address() {
    let twice = Scenario::load("same-private-ip").unwrap();
    let expected = [
        ("berlin.pc", "request.other_machine", "198.51.100.20 is asked instead"),
        ("tokyo.router", "drop.nat_no_mapping", "tokyo.router forwards 198.51.100.20:80 to 192.168.1.5:80"),
        ("tokyo.pc", "drop.no_socket", "something listens on port 80 of tokyo.pc"),
    ];
    lifted(&twice, ("berlin.pc", "tokyo.pc:80"), &expected);
}

/// Behind two balancers a cable is cut, and a server listens nowhere: the connection to the first balancer is answered all the
/// same, and what stands behind it says why each of its servers can be reached or not.
#[test]
fn balancers_are_followed_to_the_servers_behind_them() {
    let text = "
name: behind
topology:
  nodes:
    ann: { address: 10.0.0.1/24 }
    lan: { kind: switch }
    far: { kind: switch }
    front: { address: 10.0.0.2/24, run: [ l4-balancer: { port: 443, upstreams: { inner: 10.0.0.3:8080, gone: 10.0.0.9:443 } } ] }
    inner: { address: 10.0.0.3/24, run: [ edge: { port: 8080, upstreams: { a: 10.0.0.4:80, b: 10.0.0.5:81, front: 10.0.0.2:443 } } ] }
    a: { address: 10.0.0.4/24, run: [ http ] }
    b: { address: 10.0.0.5/24, run: [ http ] }
  links:
    - endpoints: [\"ann:eth0\", \"lan:p1\"]
    - endpoints: [\"front:eth0\", \"lan:p2\"]
    - endpoints: [\"inner:eth0\", \"lan:p3\"]
    - endpoints: [\"lan:p0\", \"far:p0\"]
    - endpoints: [\"a:eth0\", \"far:p1\"]
    - endpoints: [\"b:eth0\", \"lan:p4\"]
timeline: [ { at: 1s, cut: \"lan:p0\" } ]
";
    let mut query = CanQuery::new("ann", "front:443");
    query.at = rt_base::Time(2_000_000_000);
    let answers = rt_lab::can(&of_text(text), &query).unwrap();
    let verdict = &answers.verdicts[0];
    assert!(verdict.reachable, "{}", verdict.text());
    let seen: Vec<_> = verdict
        .behind
        .iter()
        .map(|b| (&*b.proxy, &*b.server, b.reachable, b.blockers.first().map(|r| &*r.code)))
        .collect();
    let expected = [
        ("front", "inner", true, None),
        ("front", "gone", false, Some("drop.neighbor_unreachable")),
        ("inner", "a", false, Some("drop.link_down")),
        ("inner", "b", false, Some("drop.no_socket")),
        ("inner", "front", true, None),
    ];
    assert_eq!(seen, expected, "{}", verdict.text());
    let cut = &verdict.behind[2].blockers;
    assert_eq!((cut.len(), cut[0].node.as_str()), (1, "lan"), "{}", verdict.text());
    assert_eq!(cut[0].lifted.as_deref(), Some("the link lan -- far is not cut"));
}

const INTERNET: &str = "
name: cloud
sites:
  internet: { kind: internet, places: [frankfurt, london], resolvers: { dns: { address: 9.9.9.9, place: london } } }
";

/// A VPC that nothing joins to the internet: the gateway is what is missing, then a public address, and a route back.
#[test]
fn a_missing_internet_gateway_is_lifted_both_ways() {
    let vpc = "
  vpc:
    kind: vpc
    place: frankfurt
    cidr: 10.0.0.0/16
    subnets: { a: { cidr: 10.0.1.0/24 } }
    security-groups: { web: { in: [ tcp port 80 from any ] } }
    instances: { x: { subnet: a, address: 10.0.1.10, groups: [web], run: [ http ] } }
";
    let scenario = of_text(&format!("{INTERNET}{vpc}"));
    let out = [
        ("vpc.router", "drop.no_route", "vpc has an internet gateway (internet-gateway: yes), and"),
        ("vpc.igw", "drop.filtered", "vpc.x has a public address"),
    ];
    lifted(&scenario, ("x", "internet:443"), &out);
    let inward = [
        (
            "internet.frankfurt",
            "drop.no_route",
            "vpc.x has a public address (public: 198.51.100.74), which is asked",
        ),
        ("vpc.router", "drop.no_route", "internet-gateway"),
    ];
    lifted(&scenario, ("internet", "x:80"), &inward);
}

/// A NAT gateway whose own subnet leads to it gets its packets back.
#[test]
fn a_nat_gateway_in_a_subnet_that_leads_to_it_is_a_circle() {
    let vpc = "
  vpc:
    kind: vpc
    place: frankfurt
    cidr: 10.0.0.0/16
    internet-gateway: yes
    subnets:
      pub: { cidr: 10.0.1.0/24, routes: { 0.0.0.0/0: nat } }
      app: { cidr: 10.0.2.0/24, routes: { 0.0.0.0/0: nat } }
    nat-gateways: { nat: { subnet: pub, address: 10.0.1.100, public: 54.93.0.10 } }
    instances: { x: { subnet: app, address: 10.0.2.10, run: [] } }
";
    let scenario = of_text(&format!("{INTERNET}{vpc}"));
    let expected =
        [("vpc.nat", "drop.bad_source", "route table `pub` of vpc.router: 192.0.2.77/32: internet-gateway")];
    lifted(&scenario, ("x", "internet:443"), &expected);
    let verdict = can(&scenario, "x", "internet:443", 1).unwrap();
    let only = &verdict.blockers[0];
    assert!(
        only.sentence.contains("vpc.router leads the packet to 192.0.2.77:443 back to vpc.nat"),
        "{only:?}"
    );
    assert_eq!(only.explanation.as_deref(), Some("CYCLIC_PATH_DETECTED"));
    assert!(only.origin.starts_with("cloud.yaml:"), "{only:?}");
}

/// A hub's internet gateway has public addresses for the hub's own machines only: others go by its NAT gateway.
#[test]
fn a_spoke_gets_no_public_address_at_the_gateway_of_its_hub() {
    let text = "
  hub:
    kind: vpc
    place: frankfurt
    cidr: 10.0.0.0/16
    internet-gateway: yes
    subnets:
      pub: { cidr: 10.0.1.0/24, routes: { 0.0.0.0/0: internet-gateway, 10.1.0.0/16: transit-gateway t } }
      tgw: { cidr: 10.0.2.0/24, routes: { 0.0.0.0/0: internet-gateway } }
    nat-gateways: { nat: { subnet: pub, address: 10.0.1.100, public: 54.93.0.10 } }
  spoke:
    kind: vpc
    place: frankfurt
    cidr: 10.1.0.0/16
    subnets: { a: { cidr: 10.1.1.0/24, routes: { 0.0.0.0/0: transit-gateway t } } }
    security-groups: { web: { in: [ tcp port 80 from any ] } }
    instances: { x: { subnet: a, address: 10.1.1.10, groups: [web], run: [ http ] } }
  t:
    kind: transit-gateway
    place: frankfurt
    attachments: { hub: { vpc: hub, subnets: [tgw] }, spoke: { vpc: spoke } }
    route-tables: { default: { 0.0.0.0/0: hub } }
";
    let scenario = of_text(&format!("{INTERNET}{text}"));
    let expected = [("hub.igw", "drop.filtered", "route table `tgw` of hub.router: 192.0.2.77/32: nat")];
    lifted(&scenario, ("x", "internet:443"), &expected);
    // Asked from outside it needs a gateway of its own, and its answers must leave by that one.
    let expected = [
        (
            "internet.frankfurt",
            "drop.no_route",
            "spoke has an internet gateway (internet-gateway: yes); spoke.x has",
        ),
        ("hub.igw", "drop.filtered", "route table `a` of spoke.router: 192.0.2.77/32: internet-gateway"),
    ];
    lifted(&scenario, ("internet", "x:80"), &expected);
}

/// Two VPCs: what joins them is not accepted, or not there.
#[test]
fn a_peering_is_accepted_or_made() {
    let text = "
name: cloud
sites:
  one:
    kind: vpc
    cidr: 10.1.0.0/16
    subnets: { a: { cidr: 10.1.1.0/24, routes: { 10.2.0.0/16: peering p } } }
    security-groups: { all: { in: [ all from 10.0.0.0/8 ] } }
    instances: { x: { subnet: a, address: 10.1.1.10, groups: [all] } }
  two:
    kind: vpc
    cidr: 10.2.0.0/16
    subnets: { a: { cidr: 10.2.1.0/24, routes: { 10.1.0.0/16: peering p } } }
    security-groups: { all: { in: [ tcp port 22 from 10.0.0.0/8 ] } }
    instances: { y: { subnet: a, address: 10.2.1.10, groups: [all], run: [ http ] } }
  p: { kind: peering, between: [one, two], accepted: no }
";
    let group = ("two.y", "drop.filtered", "security group `all`, in: tcp");
    let pending =
        ("one.router", "drop.blackhole", "the peering between one and two is accepted (accepted: yes)");
    lifted(&of_text(text), ("x", "y:80"), &[pending, group]);
    let none = text
        .replace(", routes: { 10.2.0.0/16: peering p }", "")
        .replace(", routes: { 10.1.0.0/16: peering p }", "");
    let none = none.replace("  p: { kind: peering, between: [one, two], accepted: no }\n", "");
    let expected = [
        ("one.router", "drop.no_route", "a peering joins one and two"),
        group,
        ("two.router", "drop.no_route", "routes of two.router: 10.1.1.10/32 via"),
    ];
    lifted(&of_text(&none), ("x", "y:80"), &expected);
}

/// A program that takes connections at a port leaves the port's datagrams to others.
#[test]
fn a_datagram_is_taken_at_a_port_where_another_program_takes_connections() {
    let scenario = Network::new("both")
        .host("a", "address: 10.0.0.1/24")
        .host("b", "address: 10.0.0.2/24, run: [ http ]")
        .link("a:eth0", "b:eth0", "")
        .scenario()
        .unwrap_or_else(|refusal| panic!("{refusal}"));
    lifted(&scenario, ("a", "b:80/udp"), &[("b", "drop.no_socket", "something listens on UDP port 80 of b")]);
    assert!(can(&scenario, "a", "b:80", 1).unwrap().reachable);
}

/// A packet in a tunnel is named as what it is, and so is the tunnel's own.
#[test]
fn drops_inside_and_outside_a_tunnel_are_told_apart() {
    for kind in
        ["gre: { to: 198.51.100.2, from: 192.0.2.1 }", "vxlan: { vni: 7, to: 198.51.100.2, from: 192.0.2.1 }"]
    {
        let back =
            kind.replace("198.51.100.2", "X").replace("192.0.2.1", "198.51.100.2").replace('X', "192.0.2.1");
        let near = format!("lan: 10.0.1.1/24, wan: 192.0.2.1/24, tun: {{ address: 10.9.0.1/30, {kind} }}");
        let far = format!("lan: 10.0.2.1/24, wan: 198.51.100.2/24, tun: {{ address: 10.9.0.2/30, {back} }}");
        let scenario = |firewall: &str| {
            let routes =
                "routes: [ { to: 10.0.2.0/24, via: 10.9.0.2 }, { to: 198.51.100.0/24, via: 192.0.2.254 } ]";
            let home =
                "routes: [ { to: 10.0.1.0/24, via: 10.9.0.1 }, { to: 192.0.2.0/24, via: 198.51.100.254 } ]";
            let between = format!("interfaces: {{ x: 192.0.2.254/24, y: 198.51.100.254/24 }}{firewall}");
            Network::new("tunnel")
                .host("a", "address: 10.0.1.2/24, gateway: 10.0.1.1")
                .router("r", &format!("interfaces: {{ {near} }}, {routes}"))
                .router("m", &between)
                .router(
                    "s",
                    &format!(
                        "interfaces: {{ {far} }}, {home}, firewall: {{ forward: [ deny tcp port 80 ] }}"
                    ),
                )
                .host("b", "address: 10.0.2.2/24, gateway: 10.0.2.1, run: [ http ]")
                .link("a:eth0", "r:lan", "")
                .link("r:wan", "m:x", "")
                .link("m:y", "s:wan", "")
                .link("s:lan", "b:eth0", "")
                .scenario()
                .unwrap_or_else(|refusal| panic!("{refusal}"))
        };
        let inside = ("s", "drop.filtered", "forward: allow tcp from 10.0.1.2/32 to 10.0.2.2/32 port 80");
        lifted(&scenario(""), ("a", "b:80"), &[inside]);
        let closed = scenario(", firewall: { forward: [ allow tcp, otherwise deny ] }");
        let there = ("m", "drop.filtered", "from 192.0.2.1/32 to 198.51.100.2/32");
        let back = ("m", "drop.filtered", "from 198.51.100.2/32 to 192.0.2.1/32");
        // Through a VXLAN the neighbour is asked first, and answers.
        let outside = if kind.starts_with("vxlan") { [there, back, inside] } else { [there, inside, back] };
        lifted(&closed, ("a", "b:80"), &outside);
        let verdict = can(&closed, "a", "b:80", 1).unwrap();
        assert!(
            verdict.blockers[0].sentence.contains("the tunnel's packet to 198.51.100.2"),
            "{}",
            verdict.text()
        );
    }
}

/// A route on the way home is missing at the far end of a VXLAN, and then before a PPPoE line.
#[test]
fn missing_routes_behind_tunnels_and_sessions_are_found_and_lifted() {
    let scenario = Scenario::load("mtu-trouble").unwrap();
    let expected = [
        ("edge", "drop.no_route", "routes of edge: 192.168.1.10/32 via 198.51.100.1"),
        ("provider", "drop.no_route", "routes of provider: 192.168.1.10/32 via 203.0.113.2"),
        ("laptop", "drop.no_socket", "something listens on port 80 of laptop"),
    ];
    lifted(&scenario, ("shop", "laptop:80"), &expected);
}

/// Inside WireGuard a packet is named as what it is.
#[test]
fn a_drop_behind_wireguard_names_the_packet_inside() {
    let tun = "run: [ wireguard: { on: wg0, peers: { office: { endpoint: \"203.0.113.10:51820\", allowed: [10.8.0.0/24] } } } ]";
    let office = "run: [ http, wireguard: { on: wg0, peers: { laptop: { allowed: [10.8.0.2/32] } } } ]";
    let scenario = |firewall: &str| {
        let eth = |own: &str, wg: &str| {
            format!("interfaces: {{ eth0: {own}/24, wg0: {{ tun: yes, address: {wg}/24 }} }}")
        };
        Network::new("wg")
            .host("laptop", &format!("{}, gateway: 198.51.100.1, {tun}", eth("198.51.100.2", "10.8.0.2")))
            .router("r", &format!("interfaces: {{ near: 198.51.100.1/24, far: 203.0.113.1/24 }}{firewall}"))
            .host(
                "office",
                &format!(
                    "{}, gateway: 203.0.113.1, firewall: {{ in: [ deny tcp port 80 in wg0 ] }}, {office}",
                    eth("203.0.113.10", "10.8.0.1")
                ),
            )
            .link("laptop:eth0", "r:near", "")
            .link("r:far", "office:eth0", "")
            .scenario()
            .unwrap_or_else(|refusal| panic!("{refusal}"))
    };
    let inside = (
        "office",
        "drop.filtered",
        "firewall of office, in: allow tcp from 10.8.0.2/32 to 10.8.0.1/32 port 80",
    );
    lifted(&scenario(""), ("laptop", "10.8.0.1:80"), &[inside]);
    let closed = scenario(", firewall: { forward: [ deny udp port 51820 ] }");
    let verdict = can(&closed, "laptop", "10.8.0.1:80", 1).unwrap();
    let first = &verdict.blockers[0];
    assert_eq!(first.node, "r", "{}", verdict.text());
    assert!(first.sentence.contains("the tunnel's packet to 203.0.113.10:51820"), "{}", verdict.text());
    assert!(verdict.reachable_when_lifted, "{}", verdict.text());
}

/// A list of one's own is about the interface that it is written for, and a cloud's about its subnet.
#[test]
fn an_access_list_is_named_with_the_direction_of_its_line() {
    let scenario = Network::new("acl")
        .host("a", "address: 10.0.0.2/24, gateway: 10.0.0.1")
        .router(
            "r",
            "interfaces: { lan: 10.0.0.1/24, dmz: 10.0.1.1/24 }, acl: { lan: { name: front, in: { 100: allow tcp port 22 }, \
             out: { 100: allow udp } } }",
        )
        .host("b", "address: 10.0.1.2/24, gateway: 10.0.1.1, run: [ http ]")
        .link("a:eth0", "r:lan", "")
        .link("r:dmz", "b:eth0", "")
        .scenario()
        .unwrap_or_else(|refusal| panic!("{refusal}"));
    let expected = [
        (
            "r",
            "drop.filtered",
            "network ACL `front`, in, before all others: allow tcp from 10.0.0.2/32 to 10.0.1.2/32",
        ),
        ("r", "drop.filtered", "network ACL `front`, out, before all others: allow tcp from 10.0.1.2/32"),
    ];
    lifted(&scenario, ("a", "b:80"), &expected);
    let verdict = can(&scenario, "a", "b:80", 1).unwrap();
    let [question, answer] = verdict.blockers.as_slice() else { panic!("{}", verdict.text()) };
    assert!(question.sentence.contains("`front` (in) refuses the packet"), "{}", verdict.text());
    assert!(answer.sentence.contains("`front` (out) refuses the answer"), "{}", verdict.text());
    assert!(question.rule.as_deref().is_some_and(|r| r.contains("deny in lan")), "{}", verdict.text());
}

/// A subnet's machines are those that live there, also when they pass on packets of others.
#[test]
fn an_instance_without_the_source_check_is_a_machine_of_its_subnet() {
    let text = "
name: cloud
sites:
  vpc:
    kind: vpc
    cidr: 10.0.0.0/16
    subnets: { a: { cidr: 10.0.1.0/24 }, b: { cidr: 10.0.2.0/24 } }
    security-groups: { web: { in: [ tcp port 80 from any ] } }
    instances:
      x: { subnet: a, address: 10.0.1.10, groups: [web], run: [ http ] }
      box: { subnet: a, address: 10.0.1.11, groups: [web], source-dest-check: no, run: [ http ] }
      y: { subnet: b, address: 10.0.2.10, groups: [web] }
";
    let scenario = of_text(text);
    for end in ["subnet a:80", "site vpc:80", "10.0.1.0/24:80"] {
        let found = rt_lab::can(&scenario, &CanQuery::new("y", end)).unwrap();
        let names: Vec<&str> = found.verdicts.iter().map(|v| v.to.as_str()).collect();
        assert_eq!(names, ["vpc.x", "vpc.box"], "{end}: {}", found.text());
        assert!(found.are_all(true), "{}", found.text());
    }
    let table = rt_lab::matrix(&scenario, &MatrixQuery { seed: 1, ..MatrixQuery::default() }).unwrap();
    assert!(table.rows.iter().any(|row| row == "vpc.box"), "{}", table.text());
}

/// Nothing of the timeline happens while questions are asked but what is asked about.
#[test]
fn a_question_is_about_one_moment_of_the_timeline() {
    let text = "
name: later
topology:
  defaults: { delay: 2ms }
  nodes:
    a: { address: 10.0.1.2/24, gateway: 10.0.1.1 }
    r: { kind: router, interfaces: { lan: 10.0.1.1/24, dmz: 10.0.2.1/24 }, firewall: { forward: [ deny tcp port 80 ] } }
    b: { address: 10.0.2.2/24, gateway: 10.0.2.1, run: [ http ] }
  links:
    - endpoints: [\"a:eth0\", \"r:lan\"]
    - endpoints: [\"r:dmz\", \"b:eth0\"]
timeline:
  - { at: 5ms, cut: \"a:eth0\" }
  - { at: 20ms, heal: \"a:eth0\" }
";
    let scenario = of_text(text);
    let filtered = ("r", "drop.filtered", "allow tcp");
    lifted(&scenario, ("a", "b:80"), &[filtered]);
    let at = |millis: u64| {
        let query = CanQuery {
            at: rt_lab::parse_time(&format!("{millis}ms")).unwrap(),
            ..CanQuery::new("a", "b:80")
        };
        let verdict = rt_lab::can(&scenario, &query).unwrap().verdicts.remove(0);
        verdict.blockers.into_iter().map(|b| b.code).collect::<Vec<_>>()
    };
    assert_eq!(at(5), ["drop.link_down", "drop.filtered"]);
    assert_eq!(at(4), ["drop.filtered"]);
    assert_eq!(at(20), ["drop.filtered"]);
}

/// A router that cannot even ask for its neighbour's MAC: what it lost is the packet that waits for that.
#[test]
fn a_packet_that_waits_before_a_cut_line_is_named() {
    let scenario = Scenario::load("cable-cut").unwrap();
    let at = rt_lab::parse_time("300ms").unwrap();
    let query = CanQuery { at, ..CanQuery::new("laptop", "9.9.9.9:53/udp") };
    let verdict = rt_lab::can(&scenario, &query).unwrap().verdicts.remove(0);
    let [only] = verdict.blockers.as_slice() else { panic!("{}", verdict.text()) };
    assert_eq!((only.node.as_str(), only.answer), ("home.router", false), "{}", verdict.text());
    assert!(only.sentence.contains("the packet to 9.9.9.9:53"), "{}", verdict.text());
}
