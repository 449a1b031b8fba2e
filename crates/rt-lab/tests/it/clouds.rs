//! A VPC's constructs, each with a packet that passes and one that dies with its reason, its origin and AWS's word for it.

use rt_lab::{Scenario, Verdict};

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
    no("behind-host", "user:80", ("aws.host", "drop.not_a_router"), None, &at("host: {"));
    let egress = Some("IGW_PUBLIC_IP_ASSOCIATION_FOR_EGRESS");
    no("behind-box", "user:80", ("aws.igw", "drop.filtered"), egress, "aws_internet_gateway.igw");
}
