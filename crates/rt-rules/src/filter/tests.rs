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
    }
}

fn net(text: &str) -> Option<IpNet> {
    Some(text.parse().expect("a prefix"))
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
    let rule = |dport, action| Filter {
        when: Match { dport: ports(dport, dport), ..Match::default() },
        action,
        origin: origin.clone(),
    };
    let chain = Chain {
        hook: HookPoint::Forward,
        rules: vec![rule(80, Action::Accept), rule(443, Action::Accept), rule(443, Action::Drop)],
        policy: Policy { action: Action::Drop, origin: origin.clone() },
    };
    assert_eq!(chain.judge(&flow()), (Action::Accept, Some(1)));
    assert_eq!(chain.judge(&Flow { dport: 22, ..flow() }), (Action::Drop, None));
}
