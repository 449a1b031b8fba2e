//! A VPC's constructs, each with a packet that passes and one that dies with its reason, its origin and AWS's word for it.

use rt_lab::{CanQuery, Scenario, Verdict};

use crate::verdicts::can;

const CLOUD: &str = r#"name: cloud
sites:
  internet: { kind: internet, places: [paris] }
  user: { kind: host, place: paris, address: 198.51.100.7, names: [user.example], run: [http] }
  aws:
    kind: vpc
    place: paris
    cidr: 10.0.0.0/16
    internet-gateway: { resource: aws_internet_gateway.igw }
    subnets:
      public: { cidr: 10.0.1.0/24, routes: { 0.0.0.0/0: internet-gateway } }
      private: { cidr: 10.0.2.0/24, routes: { 0.0.0.0/0: nat } }
      alone: { cidr: 10.0.3.0/24 }
      hole: { cidr: 10.0.4.0/24, routes: { 0.0.0.0/0: nat, 198.51.100.0/24: { target: blackhole, resource: aws_route.hole } } }
      walled: { cidr: 10.0.5.0/24, acl: wall, routes: { 0.0.0.0/0: internet-gateway } }
      exact: { cidr: 10.0.6.0/24, routes: { 0.0.0.0/0: internet-gateway, 198.51.100.7/32: nat } }
      strict: { cidr: 10.0.7.0/24, routes: { 0.0.0.0/0: instance host } }
      loose: { cidr: 10.0.8.0/24, routes: { 0.0.0.0/0: instance box } }
    nat-gateways: { nat: { subnet: public, public: 54.20.30.30 } }
    elastic-ips: { web: 54.20.30.40, spare: 54.20.30.41 }
    security-groups:
      web:
        resource: aws_security_group.web
        in: [ { rule: tcp port 80 from any, resource: aws_security_group_rule.http } ]
      db: { in: [ tcp port 80 from group web ] }
      shy: { in: [ all ], out: [ tcp port 443 to any ] }
      open: { in: [ all ] }
      api: { resource: aws_security_group.api, in: [ tcp port 8080 from any ] }
      closed: {}
    acls:
      wall:
        in: { 100: allow tcp port 80 from any, 90: deny tcp from 10.0.2.0/24 }
        out: { 100: allow tcp port 1024-65535 to any }
    instances:
      web: { subnet: public, public: web, groups: [web], run: [ http, { http: { port: 81 } } ] }
      bare: { subnet: public, groups: [open] }
      host: { subnet: public, groups: [open] }
      box: { subnet: public, groups: [open], source-dest-check: no }
      db: { subnet: private, address: 10.0.2.20, groups: [db], run: [http] }
      both: { subnet: private, groups: [web, api] }
      mixed: { subnet: private, groups: [api, db] }
      shut: { subnet: private, groups: [closed], run: [http] }
      twin-a: { subnet: private, run: [http] }
      twin-b: { subnet: private, run: [http] }
      lonely: { subnet: alone, groups: [open] }
      lost: { subnet: hole, groups: [open] }
      inner: { subnet: walled, public: yes, groups: [open], run: [http] }
      precise: { subnet: exact, groups: [open] }
      shy: { subnet: private, groups: [shy] }
      behind-host: { subnet: strict, groups: [open] }
      behind-box: { subnet: loose, groups: [open] }
"#;

/// Where something stands in the file.
fn at(text: &str) -> String {
    let line =
        CLOUD.lines().position(|l| l.trim_start().starts_with(text)).unwrap_or_else(|| panic!("{text}"));
    format!("cloud.yaml:{}", line + 1)
}

fn ask(from: &str, to: &str) -> Verdict {
    let scenario = Scenario::of_text("cloud.yaml", CLOUD).unwrap_or_else(|e| panic!("{e}"));
    can(&scenario, from, to, 1).unwrap_or_else(|e| panic!("{e}"))
}

#[track_caller]
fn yes(from: &str, to: &str) -> Verdict {
    let verdict = ask(from, to);
    assert!(verdict.reachable, "{}", verdict.text());
    verdict
}

/// The first blocker: node, code, AWS's word, and where it is written.
#[track_caller]
fn no(from: &str, to: &str, (node, code): (&str, &str), aws: Option<&str>, origin: &str) -> Verdict {
    let verdict = ask(from, to);
    assert!(!verdict.reachable, "{}", verdict.text());
    let first = verdict.blockers.first().unwrap_or_else(|| panic!("no blocker: {}", verdict.text()));
    assert_eq!((first.node.as_str(), first.code.as_str()), (node, code), "{}", verdict.text());
    assert_eq!(first.explanation.as_deref(), aws, "{}", verdict.text());
    assert!(first.origin.contains(origin), "{origin}: {}", verdict.text());
    verdict
}

#[test]
fn security_groups_let_in_what_a_line_allows_and_name_what_refuses() {
    yes("user", "54.20.30.40:80");
    let mismatch = Some("ENI_SG_RULES_MISMATCH");
    let verdict =
        no("user", "54.20.30.40:81", ("aws.web", "drop.filtered"), mismatch, "aws_security_group.web");
    let nearest = verdict.blockers[0].nearest.clone().unwrap_or_default();
    assert!(nearest.contains("aws_security_group_rule.http") && nearest.contains("81"), "{nearest}");
    // Of several groups each could have allowed it.
    let both = "aws_security_group.web, aws_security_group.api (by default: ";
    no("web", "aws.both:81", ("aws.both", "drop.filtered"), mismatch, both);
    let mixed = format!("aws_security_group.api, {} (by default: ", at("db: { in"));
    no("bare", "aws.mixed:80", ("aws.mixed", "drop.filtered"), mismatch, &mixed);
    no("web", "aws.shut:80", ("aws.shut", "drop.filtered"), Some("SG_HAS_NO_RULES"), &at("closed:"));
    no("shy", "user:80", ("aws.shy", "drop.filtered"), mismatch, &at("shy: { in"));
}

#[test]
fn security_groups_name_groups() {
    yes("web", "10.0.2.20:80");
    no("bare", "10.0.2.20:80", ("aws.db", "drop.filtered"), Some("ENI_SG_RULES_MISMATCH"), &at("db: { in"));
    yes("twin-a", "aws.twin-b:80");
    no("bare", "aws.twin-b:80", ("aws.twin-b", "drop.filtered"), Some("ENI_SG_RULES_MISMATCH"), "cloud.yaml");
}

#[test]
fn an_internet_gateway_passes_only_public_addresses() {
    yes("web", "user:80");
    let egress = Some("IGW_PUBLIC_IP_ASSOCIATION_FOR_EGRESS");
    no("bare", "user:80", ("aws.igw", "drop.filtered"), egress, "aws_internet_gateway.igw");
    let ingress = Some("IGW_PRIVATE_IP_ASSOCIATION_FOR_INGRESS");
    no("user", "54.20.30.41:80", ("aws.igw", "drop.filtered"), ingress, "aws_internet_gateway.igw");
}

#[test]
fn a_nat_gateway_lets_out_and_nobody_in() {
    let path = yes("db", "user:80").path;
    assert!(path.iter().any(|n| n == "aws.nat") && path.iter().any(|n| n == "aws.igw"), "{path:?}");
    let verdict = no(
        "user",
        "54.20.30.30:80",
        ("aws.nat", "drop.nat_no_mapping"),
        Some("NGW_REQUIRES_SOURCE_IN_VPC"),
        &at("nat-gateways:"),
    );
    assert!(verdict.path.iter().any(|n| n == "aws.router"), "{}", verdict.text());
}

#[test]
fn a_subnet_goes_where_its_own_table_says() {
    no(
        "lonely",
        "user:80",
        ("aws.router", "drop.no_route"),
        Some("NO_ROUTE_TO_DESTINATION"),
        "no rule in the routes of aws.router",
    );
    no(
        "lost",
        "user:80",
        ("aws.router", "drop.blackhole"),
        Some("BLACKHOLE_ROUTE_FOR_DESTINATION_FOUND"),
        "aws_route.hole",
    );
    yes("lost", "web:80");
    let path = yes("precise", "user:80").path;
    assert!(path.iter().any(|n| n == "aws.nat"), "the most specific prefix wins: {path:?}");
    no(
        "web",
        "10.0.99.9:80",
        ("aws.router", "drop.blackhole"),
        Some("BLACKHOLE_ROUTE_FOR_DESTINATION_FOUND"),
        "local",
    );
}

#[test]
fn network_acls_judge_each_packet_by_number() {
    let inner = "aws.inner:80";
    yes("web", inner);
    let acl = Some("SUBNET_ACL_RESTRICTION");
    let verdict = no("db", inner, ("aws.router", "drop.filtered"), acl, &at("in: { 100"));
    assert!(verdict.blockers[0].rule.as_deref().unwrap_or("").starts_with("90: deny tcp"), "{verdict:?}");
    let verdict = no("inner", "198.51.100.7:80", ("aws.router", "drop.filtered"), acl, "rule *");
    assert!(verdict.blockers[0].nearest.as_deref().unwrap_or("").contains("100: allow tcp"), "{verdict:?}");
}

#[test]
fn nothing_blocks_the_resolver() {
    for (who, code) in [("inner", "aws.router"), ("shy", "aws.shy")] {
        let verdict = ask(who, "user.example:80");
        let first = &verdict.blockers[0];
        assert_eq!((first.node.as_str(), first.code.as_str()), (code, "drop.filtered"), "{}", verdict.text());
    }
}

#[test]
fn an_instance_forwards_only_without_the_source_and_destination_check() {
    let check = Some("ENI_SOURCE_DEST_CHECK_RESTRICTION");
    let verdict = no("behind-host", "user:80", ("aws.host", "drop.not_a_router"), check, &at("host: {"));
    assert!(verdict.blockers[0].sentence.contains("source/destination check"), "{}", verdict.text());
    assert_eq!(verdict.blockers[0].lifted.as_deref(), Some("aws.host: source-dest-check: no"));
    assert!(verdict.reachable_when_lifted, "{}", verdict.text());
    let egress = Some("IGW_PUBLIC_IP_ASSOCIATION_FOR_EGRESS");
    no("behind-box", "user:80", ("aws.igw", "drop.filtered"), egress, "aws_internet_gateway.igw");
}

/// A scenario of several VPCs: whether `from` reaches `to`.
fn among(text: &str, from: &str, to: &str) -> Verdict {
    let scenario = Scenario::of_text("clouds.yaml", text).unwrap_or_else(|e| panic!("{e}"));
    can(&scenario, from, to, 1).unwrap_or_else(|e| panic!("{e}"))
}

/// One VPC has the NAT gateway of all. `stray` is peered with it, and a peering leads to nothing behind the peer.
const EGRESS: &str = r"name: egress
sites:
  internet: { kind: internet, places: [paris] }
  user: { kind: host, place: paris, address: 198.51.100.7, run: [http] }
  out:
    kind: vpc
    cidr: 10.0.0.0/16
    internet-gateway: yes
    subnets:
      hub: { cidr: 10.0.0.16/28, routes: { 0.0.0.0/0: nat } }
      public: { cidr: 10.0.1.0/24, routes: { 0.0.0.0/0: internet-gateway, 10.0.0.0/8: transit-gateway hub, 10.3.0.0/16: peering pair } }
    nat-gateways: { nat: { subnet: public, public: 54.20.30.30 } }
  spoke:
    kind: vpc
    cidr: 10.2.0.0/16
    subnets: { a: { cidr: 10.2.1.0/24, routes: { 0.0.0.0/0: transit-gateway hub } } }
    security-groups: { open: { in: [ all ] } }
    instances: { app: { subnet: a, groups: [open], run: [http] } }
  stray:
    kind: vpc
    cidr: 10.3.0.0/16
    subnets: { a: { cidr: 10.3.1.0/24, routes: { 0.0.0.0/0: peering pair } } }
    instances: { app: { subnet: a } }
  pair: { kind: peering, between: [stray, out] }
  hub:
    kind: transit-gateway
    attachments: { out: { vpc: out, subnets: [hub] }, spoke: }
    route-tables: { default: { 0.0.0.0/0: out } }
";

#[test]
fn a_nat_gateway_serves_what_comes_through_a_transit_gateway() {
    let verdict = among(EGRESS, "spoke.app", "user:80");
    assert!(verdict.reachable, "{}", verdict.text());
    for node in ["hub", "out.nat", "out.igw"] {
        assert!(verdict.path.iter().any(|n| n == node), "{node}: {:?}", verdict.path);
    }
    let verdict = among(EGRESS, "stray.app", "user:80");
    let first = &verdict.blockers[0];
    let found = (verdict.reachable, first.node.as_str(), first.code.as_str());
    assert_eq!(found, (false, "out.router", "drop.no_route"), "{}", verdict.text());
    let verdict = among(EGRESS, "user", "54.20.30.30:80");
    let first = &verdict.blockers[0];
    assert_eq!((first.node.as_str(), first.code.as_str()), ("out.nat", "drop.nat_no_mapping"));
    // Without its own way back the answer is lost at the router of the NAT gateway.
    let lost = EGRESS.replace("10.0.0.0/8: transit-gateway hub, ", "");
    let verdict = among(&lost, "spoke.app", "user:80");
    assert!(!verdict.reachable, "{}", verdict.text());
}

/// A service with a gateway endpoint, and two VPCs that are peered.
const PEERS: &str = r"name: peers
sites:
  internet: { kind: internet, places: [paris] }
  store: { kind: host, place: paris, address: 52.94.0.10, names: [store.example], run: [http] }
  one:
    kind: vpc
    cidr: 10.1.0.0/16
    subnets: { a: { cidr: 10.1.1.0/24, route-table: r } }
    route-tables: { r: { 10.2.0.0/16: peering pair } }
    endpoints: { s3: { service: store, route-tables: [r] } }
    security-groups: { open: { in: [ all ] } }
    instances: { app: { subnet: a, groups: [open], run: [http, echo: { port: 5353 }] } }
  two:
    kind: vpc
    cidr: 10.2.0.0/16
    subnets: { a: { cidr: 10.2.0.0/24, routes: { 10.1.0.0/16: peering pair } } }
    security-groups: { open: { in: [ all ] } }
    instances: { app: { subnet: a, groups: [open], run: [http, echo: { port: 5353 }] } }
  pair: { kind: peering, between: [one, two] }
";

#[test]
fn through_a_gateway_endpoint_the_service_only_answers() {
    let verdict = among(PEERS, "one.app", "52.94.0.10:80");
    assert!(verdict.reachable && verdict.path.iter().any(|n| n == "one.s3"), "{}", verdict.text());
    for to in ["one.app:80", "one.app:5353/udp"] {
        let verdict = among(PEERS, "store", to);
        assert!(!verdict.reachable, "{}", verdict.text());
        let first = &verdict.blockers[0];
        assert_eq!((first.node.as_str(), first.code.as_str()), ("one.s3", "drop.filtered"));
        assert!(first.origin.contains("the service begins nothing"), "{}", verdict.text());
    }
}

#[test]
fn a_resolver_answers_its_own_vpc_only() {
    assert!(among(PEERS, "two.app", "one.app:80").reachable);
    assert!(among(PEERS, "two.app", "10.2.0.2:53/udp").reachable);
    let verdict = among(PEERS, "one.app", "10.2.0.2:53/udp");
    assert!(!verdict.reachable, "{}", verdict.text());
    let first = &verdict.blockers[0];
    assert_eq!((first.node.as_str(), first.code.as_str()), ("two.resolver", "drop.filtered"));
    assert!(
        first.origin.contains("takes DNS questions of its own VPC and nothing else"),
        "{}",
        verdict.text()
    );
    assert!(among(PEERS, "one.app", "store.example:80").reachable);
}

/// Two VPCs of one network at one transit gateway.
const TWINS: &str = r"name: twins
sites:
  internet: { kind: internet, places: [paris] }
  first:
    kind: vpc
    cidr: 10.1.0.0/16
    subnets: { a: { cidr: 10.1.1.0/24, routes: { 10.0.0.0/8: transit-gateway hub } } }
    security-groups: { open: { in: [ all ] } }
    instances: { app: { subnet: a, groups: [open], run: [http] } }
  second:
    kind: vpc
    cidr: 10.1.0.0/16
    subnets: { b: { cidr: 10.1.2.0/24, routes: { 10.0.0.0/8: transit-gateway hub } } }
    security-groups: { open: { in: [ all ] } }
    instances: { app: { subnet: b, groups: [open], run: [http] } }
  asker:
    kind: vpc
    cidr: 10.2.0.0/16
    subnets: { a: { cidr: 10.2.1.0/24, routes: { 10.0.0.0/8: transit-gateway hub } } }
    instances: { app: { subnet: a } }
  hub: { kind: transit-gateway, attachments: { first: , second: , asker: } }
";

#[test]
fn of_one_network_at_a_transit_gateway_the_first_attachment_counts() {
    assert!(among(TWINS, "asker.app", "first.app:80").reachable);
    let verdict = among(TWINS, "asker.app", "second.app:80");
    assert_eq!((verdict.reachable, verdict.blockers[0].node.as_str()), (false, "first.router"));
    let chosen =
        TWINS.replace("asker: } }", "asker: }, route-tables: { default: { 10.1.0.0/16: second } } }");
    assert!(among(&chosen, "asker.app", "second.app:80").reachable);
}

#[test]
fn a_subnet_is_named_as_in_the_file_and_two_of_that_name_are_told() {
    let names = |scenario: &Scenario, text: &str| -> Result<Vec<String>, String> {
        let answers = rt_lab::can(scenario, &CanQuery::new(text, "user:80")).map_err(|e| e.to_string())?;
        Ok(answers.verdicts.into_iter().map(|v| v.from).collect())
    };
    let one = Scenario::of_text("cloud.yaml", CLOUD).unwrap_or_else(|e| panic!("{e}"));
    let private = names(&one, "subnet aws.subnet-private").unwrap();
    assert!(
        private.contains(&"aws.db".to_owned()) && !private.contains(&"aws.web".to_owned()),
        "{private:?}"
    );
    for text in ["subnet private", "subnet aws.private", "subnet subnet-private"] {
        assert_eq!(names(&one, text).unwrap(), private, "{text}");
    }
    let unknown = names(&one, "subnet privat").unwrap_err();
    assert!(unknown.contains("no subnet called `privat`") && unknown.contains("aws.private"), "{unknown}");
    let other = "  gcp:
    kind: vpc
    place: paris
    cidr: 10.9.0.0/16
    subnets: { private: { cidr: 10.9.1.0/24 } }
    instances: { far: { subnet: private } }
";
    let two = Scenario::of_text("cloud.yaml", &format!("{CLOUD}{other}")).unwrap_or_else(|e| panic!("{e}"));
    let both = names(&two, "subnet private").unwrap_err();
    assert!(both.contains("`subnet aws.private`, `subnet gcp.private`"), "{both}");
    assert_eq!(names(&two, "subnet gcp.private").unwrap(), ["gcp.far"]);
}

/// A subnet whose network ACL lets nothing through, with routes to an instance in it and to one elsewhere.
const BORDER: &str = r"name: border
sites:
  internet: { kind: internet, places: [paris] }
  aws:
    kind: vpc
    cidr: 10.0.0.0/16
    subnets:
      shut: { cidr: 10.0.1.0/24, acl: wall, routes: { 10.98.0.0/16: instance near, 10.99.0.0/16: instance far } }
      open: { cidr: 10.0.2.0/24, routes: { 10.98.0.0/16: blackhole } }
    acls: { wall: {} }
    security-groups: { open: { in: [ all ] } }
    instances:
      app: { subnet: shut, groups: [open] }
      near: { subnet: shut, groups: [open], source-dest-check: no }
      far: { subnet: open, groups: [open], source-dest-check: no }
";

#[test]
fn a_network_acl_stands_at_the_border_and_not_inside() {
    // Over the router and back into the same subnet: no border is crossed, as with AWS.
    let inside = among(BORDER, "aws.app", "10.98.0.1:80");
    assert!(inside.path.iter().any(|n| n == "aws.near"), "{}", inside.text());
    let acl = Some("SUBNET_ACL_RESTRICTION");
    assert!(inside.blockers.iter().all(|b| b.explanation.as_deref() != acl), "{}", inside.text());
    let across = among(BORDER, "aws.app", "10.99.0.1:80");
    let first = &across.blockers[0];
    assert_eq!((first.node.as_str(), first.explanation.as_deref()), ("aws.router", acl), "{}", across.text());
    assert!(first.nearest.is_none(), "the border is nothing that it came near: {}", across.text());
}

#[test]
fn nobody_answers_for_the_cloud_itself() {
    let verdict = among(PEERS, "one.app", "10.1.1.1");
    let first = &verdict.blockers[0];
    assert_eq!((first.node.as_str(), first.code.as_str()), ("one.router", "drop.answers_nobody"));
    let verdict = among(PEERS, "two.app", "10.2.0.2");
    let first = &verdict.blockers[0];
    assert_eq!((first.node.as_str(), first.code.as_str()), ("two.resolver", "drop.filtered"));
    assert!(among(PEERS, "two.app", "10.2.0.2:53/udp").reachable);
}

/// Who has no way out hears nothing at all, as with AWS: no router says so.
#[test]
fn a_missing_route_is_silent() {
    let text = format!(
        "{CLOUD}steps: [ aws.lonely connects to 198.51.100.7:80 ]\nexpect: [ step 1: {{ fails: yes }} ]\n"
    );
    let scenario = Scenario::of_text("cloud.yaml", &text).unwrap_or_else(|e| panic!("{e}"));
    let mut world = rt_lab::World::of_model(scenario.model(), 1);
    let outcomes = world.run_all_steps();
    assert!(!outcomes[0].ok, "{outcomes:?}");
    assert!(outcomes[0].summary.contains("no answer within"), "{outcomes:?}");
}

#[test]
fn what_an_instances_own_group_forbids_ends_in_silence_as_on_awss_cards() {
    let text = format!(
        "{CLOUD}steps: [ shy pings 10.0.2.20, shy streams 100kbit/s for 100ms to 10.0.2.20:9 over UDP ]\n\
         expect: [ step 1: {{ fails: no answer }}, step 2: {{ fails: yes }} ]\n"
    );
    let scenario = Scenario::of_text("cloud.yaml", &text).unwrap_or_else(|e| panic!("{e}"));
    let run = scenario.run(rt_lab::RunOptions::new(1)).unwrap_or_else(|e| panic!("{e}"));
    let ping = &run.story().steps[0];
    assert!(!ping.ok && !ping.summary.contains("prohibited"), "{}", ping.summary);
    assert!(ping.duration_ns >= 1_000_000_000, "it waited for an answer: {} ns", ping.duration_ns);
    let why: Vec<&str> = ping.outcome.iter().map(|l| l.code.as_str()).collect();
    assert_eq!(why, ["drop.filtered"], "{:?}", ping.outcome);
    assert!(ping.outcome[0].margin.starts_with(&at("shy: { in")), "{:?}", ping.outcome[0]);
}
