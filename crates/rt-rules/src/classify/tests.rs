//! The trees against the search from the top, over random chains of the kinds that people and programs write.

use std::net::Ipv4Addr;

use rt_base::{HookPoint, Rng};

use super::*;
use crate::{CtState, FlagsMatch, IcmpMatch, Limit, Match, Origin, Policy, PortRange};

fn origin() -> Origin {
    Origin::Line { file: "t.yaml".into(), line: 1 }
}

fn chain(rules: Vec<Filter>) -> Chain {
    Chain { hook: HookPoint::Forward, rules, policy: Policy::new(Action::Drop, origin()) }
}

fn chance(rng: &mut Rng, of: u64) -> bool {
    rng.below(of) == 0
}

/// Few different addresses and ports, so that rules meet flows.
fn random_address(rng: &mut Rng) -> IpAddr {
    if chance(rng, 20) {
        return IpAddr::V6([0x2001, 0xdb8, 0, 0, 0, 0, 0, rng.below(4) as u16].into());
    }
    let octet = |rng: &mut Rng| rng.below(3) as u8 * 85;
    IpAddr::V4(Ipv4Addr::new(10 + rng.below(3) as u8, octet(rng), octet(rng), octet(rng)))
}

fn random_net(rng: &mut Rng) -> IpNet {
    let address = random_address(rng);
    let most: u8 = if address.is_ipv4() { 32 } else { 128 };
    let length = [0, 7, 8, 12, 16, 24, 31, 32, 64, 127, 128][rng.below(11) as usize].min(most);
    IpNet::new(address, length).expect("a length").trunc()
}

fn random_nets(rng: &mut Rng) -> Vec<IpNet> {
    let count = [0, 0, 1, 1, 1, 3][rng.below(6) as usize];
    (0..count).map(|_| random_net(rng)).collect()
}

fn random_ports(rng: &mut Rng) -> Option<PortRange> {
    let ends = [0, 22, 53, 80, 443, 1_024, 8_080, 65_535];
    let (a, b) = (ends[rng.below(8) as usize], ends[rng.below(8) as usize]);
    match rng.below(3) {
        0 => None,
        1 => Some(PortRange { first: a, last: a }),
        _ => Some(PortRange { first: a.min(b), last: a.max(b) }),
    }
}

fn random_rule(rng: &mut Rng) -> Filter {
    let mut when = Match { src: random_nets(rng), dst: random_nets(rng), ..Match::default() };
    when.protocol = [None, Some(1), Some(6), Some(17)][rng.below(4) as usize];
    (when.sport, when.dport) = (random_ports(rng), random_ports(rng));
    when.in_port = chance(rng, 4).then(|| PortId(rng.below(2) as u16));
    when.out_port = chance(rng, 4).then(|| PortId(rng.below(2) as u16));
    if chance(rng, 8) {
        when.states = vec![CtState::Established, CtState::Related];
    }
    if chance(rng, 12) {
        when.tcp_flags = Some(FlagsMatch { mask: 0x12, value: 0x02 });
    }
    if chance(rng, 12) {
        when.icmp = Some(IcmpMatch { kind: 8, code: chance(rng, 2).then_some(0) });
    }
    when.src_group = chance(rng, 12).then(|| "web".to_owned());
    let action = [Action::Accept, Action::Drop, Action::Continue][rng.below(3) as usize];
    let limit = chance(rng, 8).then_some(Limit { packets: 1, per: rt_base::Nanos::from_secs(1), burst: 1 });
    Filter { limit, ..Filter::new(when, action, origin()) }
}

fn random_flow(rng: &mut Rng) -> Flow {
    let port = |rng: &mut Rng| [8, 0, 22, 53, 80, 81, 443, 40_000][rng.below(8) as usize];
    Flow {
        protocol: [1, 6, 17, 47][rng.below(4) as usize],
        src: random_address(rng),
        dst: random_address(rng),
        sport: port(rng),
        dport: port(rng),
        in_port: Some(PortId(rng.below(2) as u16)),
        out_port: chance(rng, 2).then(|| PortId(rng.below(2) as u16)),
        state: if chance(rng, 2) { CtState::New } else { CtState::Established },
        tcp_flags: [0x02, 0x10, 0x12][rng.below(3) as usize],
    }
}

/// Every rule that a flow matches, in order, by the trees and from the top.
fn check(compiled: &CompiledChain, flow: &Flow) -> usize {
    let rules = &compiled.chain().rules;
    // Behind a rule that closes, the trees need not know more: nobody asks.
    let mut from = 0;
    for step in 0.. {
        let tail = rules.iter().enumerate().skip(from);
        let mut matching = tail.filter(|(_, rule)| rule.when.holds(flow));
        let plain = matching.next().map(|(index, _)| index as u32);
        assert_eq!(compiled.first(flow, from as u32), plain, "{flow:?} from {from}");
        let Some(found) = plain else { return step };
        let rule = &rules[found as usize];
        if rule.limit.is_none() && rule.action != Action::Continue {
            return step + 1;
        }
        from = found as usize + 1;
    }
    unreachable!("a chain ends")
}

#[test]
fn trees_find_what_a_search_from_the_top_finds() {
    let mut rng = Rng::stream(1, "rules", "classify");
    let mut matched = 0;
    for round in 0..2_000 {
        let count = [5, 13, 20, 60, 200][round % 5];
        let compiled = CompiledChain::new(chain((0..count).map(|_| random_rule(&mut rng)).collect()));
        for _ in 0..20 {
            let flow = random_flow(&mut rng);
            matched += check(&compiled, &flow);
            assert_eq!(compiled.judge(&flow), compiled.chain().judge(&flow), "{flow:?}");
        }
    }
    assert!(matched > 20_000, "the flows must meet rules: {matched}");
}

/// 10,000 rules as firewalls have them: hosts and networks to services.
fn service(index: u32) -> Filter {
    let (a, b) = ((index >> 8) as u8, index as u8);
    let net = |text: String| text.parse().expect("a prefix");
    let mut when = Match { protocol: Some(6), ..Match::default() };
    match index % 4 {
        0 => when.src = vec![net(format!("10.{a}.{b}.0/24"))],
        1 => when.dst = vec![net(format!("172.16.{a}.{b}/32"))],
        2 => {
            when.src = vec![net(format!("10.{a}.0.0/16"))];
            when.dst = vec![net(format!("172.16.{b}.0/24"))];
        }
        _ => {}
    }
    let port = 1_000 + index as u16;
    when.dport = Some(PortRange { first: port, last: port });
    Filter::new(when, Action::Accept, origin())
}

#[test]
fn leaves_stay_short_in_large_chains() {
    for count in [100, 1_000, 10_000] {
        let compiled = CompiledChain::new(chain((0..count).map(service).collect()));
        let longest = |tree: &Tree| {
            let length = |node: &Node| match node {
                Node::Leaf { first, last } => (last - first) as usize,
                Node::Cut { .. } => 0,
            };
            tree.nodes.iter().map(length).max().unwrap_or(0)
        };
        for tree in &compiled.trees {
            assert!(longest(tree) <= 2 * LEAF, "{count} rules: a list of {}", longest(tree));
            assert!(tree.lists.len() <= tree.items.len() * 4, "{count} rules: {} places", tree.lists.len());
        }
    }
}

#[test]
fn a_rule_that_fills_a_part_hides_the_later_ones() {
    let wide = |port: u16| {
        let dport = Some(PortRange { first: 0, last: port });
        Filter::new(Match { dport, ..Match::default() }, Action::Accept, origin())
    };
    let compiled = CompiledChain::new(chain((0..5_000).map(|n| wide(60_000 - n)).collect()));
    let places: usize = compiled.trees.iter().map(|tree| tree.lists.len()).sum();
    assert!(places < 5_000, "only the first can match: {places}");
    assert_eq!(compiled.judge(&random_flow(&mut Rng::stream(1, "a", "b"))).1, Some(0));
}

#[test]
fn rules_that_overlap_in_the_worst_way_stay_bounded() {
    let mut rng = Rng::stream(3, "rules", "worst");
    let mut any = || {
        let range = |a: u16, b: u16| Some(PortRange { first: a.min(b), last: a.max(b) });
        let mut port = || rng.below(65_536) as u16;
        let when = Match { sport: range(port(), port()), dport: range(port(), port()), ..Match::default() };
        // An action that closes nothing, so that nothing can be left out.
        Filter::new(when, Action::Continue, origin())
    };
    let compiled = CompiledChain::new(chain((0..2_000).map(|_| any()).collect()));
    let places: usize = compiled.trees.iter().map(|tree| tree.lists.len()).sum();
    assert!(places <= 2_000 * (COPIES + 1), "{places} places");
    let mut rng = Rng::stream(4, "rules", "worst");
    for _ in 0..50 {
        check(&compiled, &random_flow(&mut rng));
    }
}
