//! Access lists, the reverse-path check and groups: what they are lowered to, back to YAML, and what is refused.

use rt_base::{HookPoint, PortId};
use rt_rules::{Action, ReversePath};
use rt_scenario::views;
use rt_scenario::{Model, load, render_all};

use crate::shipped::essence;

const TEXT: &str = "\
name: t
groups:
  web: [10.1.0.2, b, 192.0.2.0/28]
topology:
  nodes:
    a: { address: 10.1.0.2/24 }
    b: { address: 10.2.0.2/24 }
    r:
      kind: router
      interfaces:
        lan: { address: 10.1.0.1/24, reverse-path: loose }
        wan: 10.2.0.1/24
      reverse-path: strict
      acl:
        lan:
          in:
            200: deny from group web
            100: allow tcp port 80 flags syn limit 5/s as web
          out: {}
        wan:
          out: { 10: allow icmp echo-request }
      firewall:
        forward:
          - allow from group web to group none=
          - log odd icmp 13
          - otherwise reject
  links:
    - endpoints: [\"r:lan\", \"a:e\"]
    - endpoints: [\"r:wan\", \"b:e\"]
";

fn model(text: &str) -> Model {
    load("t.yaml", text).map(|l| l.model).unwrap_or_else(|p| panic!("{}", render_all(&p)))
}

#[test]
fn access_lists_become_numbered_rules_of_their_interface() {
    let model = model(TEXT);
    let router = &model.nodes[2];
    let hooks: Vec<HookPoint> = router.chains.iter().map(|c| c.hook).collect();
    assert_eq!(hooks, [HookPoint::Forward, HookPoint::Prerouting, HookPoint::Postrouting]);
    let inbound = &router.chains[1];
    let numbers: Vec<_> = inbound.rules.iter().map(|r| (r.number, r.action, r.when.in_port)).collect();
    let lan = Some(PortId(0));
    let expected =
        [(Some(100), Action::Accept, lan), (Some(200), Action::Drop, lan), (None, Action::Drop, lan)];
    assert_eq!(numbers, expected, "in the order of the numbers, the rest denied");
    let origins: Vec<String> = inbound.rules.iter().map(|r| r.origin.to_string()).collect();
    assert_eq!(
        origins,
        ["t.yaml:18", "t.yaml:17", "t.yaml:16 (by default: an access list denies what no line names)"]
    );
    assert_eq!(inbound.policy.action, Action::Accept, "other interfaces");
    let outbound: Vec<_> = router.chains[2].rules.iter().map(|r| (r.number, r.when.out_port)).collect();
    assert_eq!(outbound, [(None, lan), (Some(10), Some(PortId(1))), (None, Some(PortId(1)))]);
    let modes: Vec<_> =
        router.interfaces.iter().filter_map(|i| i.reverse_path.as_ref().map(|c| c.mode)).collect();
    assert_eq!(modes, [ReversePath::Loose, ReversePath::Strict]);
    assert_eq!(router.interfaces[1].reverse_path.as_ref().expect("set").origin.to_string(), "t.yaml:13");
}

#[test]
fn groups_hold_addresses_networks_and_machines() {
    let model = model(TEXT);
    let members = |nets: &[ipnet::IpNet]| nets.iter().map(ToString::to_string).collect::<Vec<_>>();
    let forward = &model.nodes[2].chains[0].rules[0].when;
    assert_eq!(members(&forward.src), ["10.1.0.2/32", "10.2.0.2/32", "192.0.2.0/28"]);
    assert_eq!((forward.dst_group.as_deref(), forward.dst.len()), (Some("none"), 0));
    assert_eq!(model.nodes[2].chains[1].rules[1].when.src, forward.src, "in access lists too");
}

#[test]
fn guards_are_shown_and_read_back() {
    let first = model(TEXT);
    let plain = views::plain_yaml(&first);
    let second = model(&plain);
    assert_eq!(essence(&first), essence(&second), "{plain}");
    let text = views::text(&first);
    for line in [
        "acl in: 100: allow tcp port 80 flags syn in lan limit 5/second as web    [line 18]",
        "acl in: deny in lan    [line 16: an access list denies what no line names]",
        "forward: log odd icmp 13",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

#[test]
fn what_cannot_be_a_guard_is_refused() {
    for (from, to, why) in [
        ("200: deny", "200: deny established", "knows no connections"),
        ("200: deny", "200: deny in wan", "an interface's already"),
        ("200: deny from group web", "200: otherwise deny", "denies the rest by itself"),
        ("200: deny", "0: deny", "not a line's number from 1 to 32766"),
        ("200: deny", "0100: deny", "not a line's number"),
        ("        wan:\n          out", "        won:\n          out", "there is no interface `won`"),
        ("from group web to", "from group wob to", "there is no group `wob`"),
        ("10.1.0.2, b,", "10.1.0.2, c,", "`c`"),
        ("reverse-path: strict", "reverse-path: always", "strict"),
    ] {
        let bad = TEXT.replacen(from, to, 1);
        assert_ne!(bad, TEXT, "{from}");
        let problems = load("t.yaml", &bad).map(|_| ()).expect_err(to);
        assert!(render_all(&problems).contains(why), "{to}: {}", render_all(&problems));
    }
}

#[test]
fn a_list_at_a_border_passes_what_turns_round() {
    let text = TEXT.replacen(
        "        wan:\n          out:",
        "        wan:\n          border: yes\n          out:",
        1,
    );
    let first = model(&text);
    let wan = Some(PortId(1));
    let outbound = &first.nodes[2].chains[2].rules;
    let turning = outbound.iter().find(|r| r.when.is_for_what_turns_round()).expect("a rule for it");
    assert_eq!((turning.when.in_port, turning.when.out_port, turning.action), (wan, wan, Action::Accept));
    assert_eq!(turning.origin.to_string(), "t.yaml:21");
    let plain = views::plain_yaml(&first);
    assert!(plain.contains("border: yes"), "{plain}");
    assert_eq!(essence(&first), essence(&model(&plain)), "{plain}");
}
