//! What a match and a chain mean.

use rt_base::PortId;

use super::*;

fn flow() -> Flow {
    Flow {
        protocol: 6,
        src: "192.168.1.10".parse().expect("an address"),
        dst: "142.250.190.46".parse().expect("an address"),
        sport: 52_432,
        dport: 443,
        in_port: Some(PortId(0)),
        out_port: Some(PortId(1)),
        state: CtState::New,
        tcp_flags: 0x02,
    }
}

fn net(text: &str) -> Vec<IpNet> {
    vec![text.parse().expect("a prefix")]
}

fn ports(first: u16, last: u16) -> Option<PortRange> {
    Some(PortRange { first, last })
}

#[test]
fn every_condition_must_hold() {
    let any = Match::default();
    let cases: &[(Match, bool)] = &[
        (any.clone(), true),
        (Match { protocol: Some(6), ..any.clone() }, true),
        (Match { protocol: Some(17), ..any.clone() }, false),
        (Match { src: net("192.168.0.0/16"), dst: net("142.250.190.46/32"), ..any.clone() }, true),
        (Match { src: net("10.0.0.0/8"), ..any.clone() }, false),
        (Match { dst: net("::/0"), ..any.clone() }, false),
        (Match { dport: ports(443, 443), ..any.clone() }, true),
        (Match { dport: ports(80, 442), ..any.clone() }, false),
        (Match { sport: ports(1024, 65_535), ..any.clone() }, true),
        (Match { in_port: Some(PortId(0)), out_port: Some(PortId(1)), ..any.clone() }, true),
        (Match { in_port: Some(PortId(1)), ..any.clone() }, false),
        (Match { states: vec![CtState::Established, CtState::New], ..any.clone() }, true),
        (Match { states: vec![CtState::Invalid], ..any.clone() }, false),
        (Match { protocol: Some(6), dport: ports(80, 80), ..any }, false),
    ];
    for (when, expected) in cases {
        assert_eq!(when.holds(&flow()), *expected, "{when:?}");
    }
}

#[test]
fn the_first_match_decides_and_else_the_policy() {
    let origin = Origin::Line { file: "t.yaml".into(), line: 1 };
    let rule = |dport, action| {
        Filter::new(Match { dport: ports(dport, dport), ..Match::default() }, action, origin.clone())
    };
    let chain = Chain {
        hook: HookPoint::Forward,
        rules: vec![rule(80, Action::Accept), rule(443, Action::Accept), rule(443, Action::Drop)],
        policy: Policy::new(Action::Drop, origin.clone()),
    };
    assert_eq!(chain.judge(&flow()), (Action::Accept, Some(1)));
    assert_eq!(chain.judge(&Flow { dport: 22, ..flow() }), (Action::Drop, None));
}

fn rule(when: Match, action: Action) -> Filter {
    Filter::new(when, action, Origin::Line { file: "t.yaml".into(), line: 1 })
}

#[test]
fn groups_flags_and_icmp_types() {
    let any = Match::default();
    let web = Some("web".to_owned());
    let flags = |mask, value| Match { tcp_flags: Some(FlagsMatch { mask, value }), ..Match::default() };
    let icmp = |kind, code| Match { icmp: Some(IcmpMatch { kind, code }), ..Match::default() };
    let ping = Flow { protocol: 1, sport: 8, dport: 0, tcp_flags: 0, ..flow() };
    let udp = Flow { protocol: 17, tcp_flags: 0, ..flow() };
    let cases: &[(Match, Flow, bool)] = &[
        (Match { src_group: web.clone(), src: net("192.168.1.10/32"), ..any.clone() }, flow(), true),
        (Match { src_group: web.clone(), src: net("192.168.1.11/32"), ..any.clone() }, flow(), false),
        (Match { src_group: web.clone(), ..any.clone() }, flow(), false),
        (Match { dst_group: web, ..any.clone() }, flow(), false),
        (Match { src: [net("10.0.0.0/8"), net("192.168.1.0/24")].concat(), ..any.clone() }, flow(), true),
        (flags(0x12, 0x02), flow(), true),
        (flags(0x12, 0x12), flow(), false),
        (flags(0x00, 0x00), udp, false),
        (icmp(8, None), ping, true),
        (icmp(8, Some(0)), ping, true),
        (icmp(8, Some(1)), ping, false),
        (icmp(0, None), ping, false),
        (icmp(8, None), Flow { sport: 8, dport: 0, ..flow() }, false),
    ];
    for (when, flow, expected) in cases {
        assert_eq!(when.holds(flow), *expected, "{when:?}");
        assert_eq!(when.misses(flow).is_empty(), *expected, "{when:?}");
    }
}

#[test]
fn the_nearest_miss_is_the_rule_that_needs_least_to_match() {
    let allow = |when| rule(when, Action::Accept);
    let dport = |port| Match { dport: ports(port, port), ..Match::default() };
    let chain = Chain {
        hook: HookPoint::Input,
        rules: vec![
            allow(Match { protocol: Some(17), ..dport(443) }),
            allow(Match { src: net("10.0.0.0/8"), ..dport(443) }),
            allow(Match { protocol: Some(6), ..dport(80) }),
            rule(Match { protocol: Some(6), ..dport(22) }, Action::Drop),
            allow(Match { src: net("10.0.0.0/8"), ..dport(22) }),
        ],
        policy: Policy::new(Action::Drop, Origin::Line { file: "t.yaml".into(), line: 9 }),
    };
    let miss = chain.nearest_miss(&flow(), None).expect("there are rules");
    assert_eq!((miss.rule, miss.failed.iter().collect::<Vec<_>>()), (2, vec![Condition::DestinationPort]));
    let miss =
        chain.nearest_miss(&Flow { dport: 25, protocol: 17, ..flow() }, None).expect("there are rules");
    assert_eq!((miss.rule, miss.failed.len()), (0, 1));
    let open = Chain { policy: Policy { action: Action::Accept, ..chain.policy.clone() }, ..chain.clone() };
    assert_eq!(open.nearest_miss(&flow(), None).map(|m| m.rule), Some(3), "what would have refused");
    let mut explicit = chain.clone();
    explicit.rules.push(rule(Match::default(), Action::Drop));
    assert_eq!(explicit.nearest_miss(&flow(), Some(5)).map(|m| m.rule), Some(2), "`deny` with no condition");
    assert_eq!(explicit.nearest_miss(&flow(), Some(3)), None, "a rule that meant this packet");
    let empty = Chain { rules: Vec::new(), ..chain };
    assert_eq!(empty.nearest_miss(&flow(), None), None);
}

#[test]
fn refusals_of_aws_constructs_have_aws_codes() {
    let origin = || Origin::Resource { address: "aws_security_group.app".into() };
    let group = || Some(Construct::SecurityGroup { name: "app".into() });
    let policy = Policy { construct: group(), ..Policy::new(Action::Drop, origin()) };
    let mut chain = Chain { hook: HookPoint::Input, rules: Vec::new(), policy };
    assert_eq!(chain.explanation(None), Some("SG_HAS_NO_RULES"));
    chain
        .rules
        .push(Filter { construct: group(), ..Filter::new(Match::default(), Action::Accept, origin()) });
    assert_eq!(chain.explanation(None), Some("ENI_SG_RULES_MISMATCH"));
    let list = Some(Construct::NetworkAcl { name: "public".into() });
    chain.rules.push(Filter { construct: list, ..Filter::new(Match::default(), Action::Drop, origin()) });
    assert_eq!(chain.explanation(Some(1)), Some("SUBNET_ACL_RESTRICTION"));
    chain.rules.push(Filter::new(Match::default(), Action::Drop, origin()));
    assert_eq!(chain.explanation(Some(2)), None, "nobody's");
}
