//! Every kind of rule: a packet that passes by it and one that dies by it, with the reason, the place and the rule (whose origin
//! is `test.yaml:7`); then limits, logs, access lists and the reverse-path check.

use rt_base::{Condition, DropReason, HookPoint, Nanos, Place, PortId, What};
use rt_rules::{
    Action, Chain, CtState, Filter, FlagsMatch, IcmpMatch, Limit, Match, Newer, Ossified, Policy, PortRange,
    RejectWith, ReversePath,
};
use rt_wire::{EthernetHeader, Ipv4Header, TcpFlags, protocol};

use crate::drops::tcp_frame;
use crate::fixture::*;
use crate::nat::udp_frame;

const INSIDE: &str = "192.168.1.10";
const OUTSIDE: &str = "203.0.113.1";

fn udp(src: &str, sport: u16, dport: u16) -> Vec<u8> {
    udp_frame(mac(1, 0), (src, sport), (OUTSIDE, dport), b"x")
}

fn syn() -> Vec<u8> {
    tcp_frame(INSIDE, OUTSIDE, TcpFlags::SYN)
}

fn echo(kind: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    EthernetHeader { dst: mac(1, 0), src: mac(0, 0), ethertype: 0x0800 }.emit(&mut bytes);
    let (from, to) = (INSIDE.parse().unwrap(), OUTSIDE.parse().unwrap());
    Ipv4Header::new(from, to, protocol::ICMP, 64, 8).emit(&mut bytes);
    bytes.extend_from_slice(&[kind, 0, 0, 0, 0, 1, 0, 1]);
    let sum = rt_wire::checksum::of_sum(rt_wire::checksum::ones_sum(&bytes[34..]));
    bytes[36..38].copy_from_slice(&sum.to_be_bytes());
    bytes
}

fn ports(first: u16, last: u16) -> Option<PortRange> {
    Some(PortRange { first, last })
}

/// The first frame meets the condition, the second does not.
fn kinds() -> Vec<(&'static str, Match, Vec<u8>, Vec<u8>)> {
    let any = Match::default;
    let flags = FlagsMatch { mask: 0x12, value: 0x02 };
    let members = vec![net("192.168.1.8/30")];
    vec![
        ("protocol", Match { protocol: Some(17), ..any() }, udp(INSIDE, 1, 53), syn()),
        (
            "source address",
            Match { src: vec![net("192.168.1.10/32")], ..any() },
            syn(),
            udp("192.168.1.11", 1, 53),
        ),
        (
            "source prefixes",
            Match { src: vec![net("10.0.0.0/8"), net("192.168.1.0/29"), net("192.168.1.8/29")], ..any() },
            syn(),
            udp("192.168.1.16", 1, 53),
        ),
        (
            "destination prefix",
            Match { dst: vec![net("203.0.113.0/31")], ..any() },
            syn(),
            udp_frame(mac(1, 0), (INSIDE, 1), ("203.0.113.2", 53), b"x"),
        ),
        (
            "group",
            Match { src_group: Some("web".into()), src: members, ..any() },
            syn(),
            udp("192.168.1.12", 1, 53),
        ),
        (
            "port",
            Match { protocol: Some(17), dport: ports(53, 53), ..any() },
            udp(INSIDE, 1, 53),
            udp(INSIDE, 1, 54),
        ),
        ("port range", Match { dport: ports(50, 60), ..any() }, udp(INSIDE, 1, 60), udp(INSIDE, 1, 61)),
        (
            "source port",
            Match { sport: ports(1_024, 65_535), ..any() },
            udp(INSIDE, 1_024, 53),
            udp(INSIDE, 1_023, 53),
        ),
        (
            "TCP flags",
            Match { protocol: Some(6), tcp_flags: Some(flags), ..any() },
            syn(),
            tcp_frame(INSIDE, OUTSIDE, TcpFlags::SYN | TcpFlags::ACK),
        ),
        (
            "ICMP type",
            Match { protocol: Some(1), icmp: Some(IcmpMatch { kind: 8, code: Some(0) }), ..any() },
            echo(8),
            echo(13),
        ),
        (
            "state",
            Match { states: vec![CtState::New], ..any() },
            syn(),
            tcp_frame(INSIDE, OUTSIDE, TcpFlags::ACK),
        ),
    ]
}

fn drops_of(chain: Chain, frame: &[u8]) -> Vec<(u32, DropReason, Place, u32)> {
    let mut w = routed(|router| router.chains = vec![chain]);
    w.inject(1, 0, frame.to_vec());
    w.drops().into_iter().filter(|(node, ..)| *node == 1).collect()
}

#[test]
fn each_kind_of_rule_lets_pass_and_kills() {
    let place = Place::Hook(HookPoint::Forward);
    for (kind, when, yes, no) in kinds() {
        let allow = || chain(HookPoint::Forward, vec![(when.clone(), Action::Accept)], Action::Drop);
        assert_eq!(drops_of(allow(), &yes), [], "{kind}: allowed");
        let refused = [(1, DropReason::Filtered, place, u32::MAX)];
        assert_eq!(drops_of(allow(), &no), refused, "{kind}: not named by the rule");
        let deny = || chain(HookPoint::Forward, vec![(when.clone(), Action::Drop)], Action::Accept);
        assert_eq!(drops_of(deny(), &yes), [(1, DropReason::Filtered, place, 0)], "{kind}: denied");
        assert_eq!(drops_of(deny(), &no), [], "{kind}: not denied");
        let reject = Action::Reject(RejectWith::IcmpProhibited);
        let rejected = drops_of(chain(HookPoint::Forward, vec![(when, reject)], Action::Accept), &yes);
        assert_eq!(rejected, [(1, DropReason::Rejected, place, 0)], "{kind}: rejected");
        assert_eq!(origin().to_string(), "test.yaml:7");
    }
}

#[test]
fn each_kind_of_rule_is_told_as_the_nearest_miss() {
    for (kind, when, _, no) in kinds() {
        let mut w = routed(|router| {
            router.chains = vec![chain(HookPoint::Forward, vec![(when, Action::Accept)], Action::Drop)];
        });
        w.inject(1, 0, no);
        let misses: Vec<Vec<Condition>> = w
            .events
            .iter()
            .filter_map(|e| match &e.what {
                What::NearMiss(miss) => Some(miss.failed.iter().collect()),
                _ => None,
            })
            .collect();
        let expected = match kind {
            "protocol" => Condition::Protocol,
            "source address" | "source prefixes" | "group" => Condition::Source,
            "destination prefix" => Condition::Destination,
            "port" | "port range" => Condition::DestinationPort,
            "source port" => Condition::SourcePort,
            "TCP flags" => Condition::TcpFlags,
            "ICMP type" => Condition::IcmpType,
            _ => Condition::State,
        };
        assert_eq!(misses, [vec![expected]], "{kind}");
    }
}

#[test]
fn interfaces_are_conditions() {
    let from = |port| Match { in_port: Some(PortId(port)), ..Match::default() };
    let to = |port| Match { out_port: Some(PortId(port)), ..Match::default() };
    for (when, passes) in [(from(0), true), (from(1), false), (to(1), true), (to(0), false)] {
        let drops = drops_of(chain(HookPoint::Forward, vec![(when, Action::Accept)], Action::Drop), &syn());
        assert_eq!(drops.is_empty(), passes);
    }
}

fn filter(when: Match, action: Action) -> Filter {
    Filter::new(when, action, origin())
}

fn only(hook: HookPoint, rules: Vec<Filter>, policy: Action) -> Chain {
    Chain { hook, rules, policy: Policy::new(policy, origin()) }
}

#[test]
fn a_limit_lets_its_burst_and_its_rate_pass() {
    let limit = Some(Limit { packets: 10, per: Nanos::from_secs(1), burst: 3 });
    let few = Filter { limit, ..filter(Match::default(), Action::Accept) };
    let mut w = routed(|router| router.chains = vec![only(HookPoint::Forward, vec![few], Action::Drop)]);
    let passed = |w: &mut World, count: u32| {
        let before = w.drops().len();
        (0..count).for_each(|_| w.inject(1, 0, udp(INSIDE, 7, 53)));
        count as usize - (w.drops().len() - before)
    };
    assert_eq!(passed(&mut w, 10), 3, "of one flow: a verdict that a limit gave is not kept");
    let last = *w.drops().last().expect("seven drops");
    assert_eq!(last, (1, DropReason::Filtered, Place::Hook(HookPoint::Forward), u32::MAX));
    let empty = |e: &What| matches!(e, What::NearMiss(miss) if miss.failed.is_empty());
    assert_eq!(w.count(1, empty), 7, "all conditions hold, the limit does not");
    w.run_for(Nanos::from_millis(200));
    assert_eq!(passed(&mut w, 10), 2);
}

#[test]
fn a_rule_that_logs_is_told_but_not_without_end() {
    let log = |action| Filter { log: Some("dns".into()), ..filter(Match::default(), action) };
    let rules = vec![log(Action::Continue), filter(Match::default(), Action::Drop)];
    let mut w = routed(|router| router.chains = vec![only(HookPoint::Forward, rules, Action::Accept)]);
    (0..25).for_each(|_| w.inject(1, 0, udp(INSIDE, 7, 53)));
    w.run_for(Nanos::from_secs(2));
    w.inject(1, 0, udp(INSIDE, 7, 53));
    let told: Vec<u32> = w
        .events
        .iter()
        .filter_map(|e| match e.what {
            What::Logged { hook: HookPoint::Forward, rule: 0, untold } => Some(untold),
            _ => None,
        })
        .collect();
    assert_eq!(told, [vec![0; 10], vec![15]].concat(), "ten a second, then how many were not told");
    let place = Place::Hook(HookPoint::Forward);
    assert!(
        w.drops().iter().all(|drop| *drop == (1, DropReason::Filtered, place, 1)),
        "it goes on behind a log"
    );
    let counted = w.stacks[1].tables(w.now).filters;
    let counted: Vec<_> = counted.iter().map(|c| (c.rule, c.packets, c.bytes)).collect();
    assert_eq!(counted, [(Some(0), 26, 26 * 29), (Some(1), 26, 26 * 29)], "logged and dropped");
    let mut w = routed(|router| {
        router.chains = vec![only(HookPoint::Forward, vec![log(Action::Accept)], Action::Drop)]
    });
    w.inject(1, 0, udp(INSIDE, 7, 53));
    assert_eq!((w.count(1, |e| matches!(e, What::Logged { .. })), w.drops().len()), (1, 0));
}

#[test]
fn a_kept_verdict_does_not_outlive_the_flags_it_was_given_for() {
    let urgent = Match { tcp_flags: Some(FlagsMatch { mask: 0x20, value: 0x20 }), ..Match::default() };
    let rules = vec![filter(urgent, Action::Drop)];
    let mut w = routed(|router| router.chains = vec![only(HookPoint::Forward, rules, Action::Accept)]);
    for flags in [TcpFlags::SYN, TcpFlags::SYN | TcpFlags(0x20), TcpFlags::SYN] {
        w.inject(1, 0, tcp_frame(INSIDE, OUTSIDE, flags));
    }
    assert_eq!(w.drops(), [(1, DropReason::Filtered, Place::Hook(HookPoint::Forward), 0)]);
}

/// A network ACL on the router's inner interface: `inside` and `outside` are what each direction allows.
fn acl(port: u16, inbound: Vec<Match>, outbound: Vec<Match>) -> Vec<Chain> {
    let list = |hook, rules: Vec<Match>, here: Match| {
        let on = |when: Match| Match { in_port: here.in_port, out_port: here.out_port, ..when };
        let number = |(index, when): (u32, Match)| Filter {
            number: Some(100 * (index + 1)),
            ..filter(on(when), Action::Accept)
        };
        let mut rules: Vec<Filter> = (0_u32..).zip(rules).map(number).collect();
        rules.push(filter(on(Match::default()), Action::Drop));
        only(hook, rules, Action::Accept)
    };
    let (here, there) = (Some(PortId(port)), Some(PortId(port)));
    vec![
        list(HookPoint::Prerouting, inbound, Match { in_port: here, ..Match::default() }),
        list(HookPoint::Postrouting, outbound, Match { out_port: there, ..Match::default() }),
    ]
}

fn tcp(dport: Option<PortRange>) -> Match {
    Match { protocol: Some(6), dport, ..Match::default() }
}

#[test]
fn a_stateless_list_must_let_the_answers_back() {
    let ephemeral = || tcp(ports(1_024, 65_535));
    for (back, opens) in [(vec![], false), (vec![ephemeral()], true)] {
        let mut w = routed(|router| router.chains = acl(0, vec![tcp(ports(80, 80))], back));
        w.app(2, |s| s.tcp_listen(80, 5)).expect("a free port");
        let c = w.connect(0, "203.0.113.1:80");
        w.run();
        let phase = w.stacks[0].tcp_phase(c);
        assert_eq!(phase == rt_base::TcpPhase::Established, opens, "{phase:?}");
        assert_eq!(w.stacks[1].flows(), 0, "nothing is tracked");
        let refused = (1, DropReason::Filtered, Place::Hook(HookPoint::Postrouting), 0);
        assert_eq!(w.drops().first().copied(), (!opens).then_some(refused));
    }
}

#[test]
fn a_stateless_list_is_asked_in_each_direction_by_its_interface() {
    let mut w = routed(|router| router.chains = acl(0, vec![tcp(ports(80, 80))], vec![tcp(None)]));
    w.inject(1, 0, udp(INSIDE, 7, 53));
    assert_eq!(w.drops(), [(1, DropReason::Filtered, Place::Hook(HookPoint::Prerouting), 1)]);
    // What comes by the other interface and leaves by it is no business of this list.
    let before = w.drops().len();
    let dead = w.udp(2, 0);
    w.say(2, dead, "203.0.113.50:9", b"to the router itself");
    w.run();
    assert_eq!(w.drops()[before..], [(1, DropReason::NoSocket, Place::Socket, u32::MAX)]);
    let near = w.events.iter().find_map(|e| match &e.what {
        What::NearMiss(miss) => Some((miss.rule, miss.failed.iter().collect::<Vec<_>>())),
        _ => None,
    });
    assert_eq!(near, Some((0, vec![Condition::Protocol, Condition::DestinationPort])));
}

/// What comes by an interface and leaves by it again crosses no border, and its list is not asked.
#[test]
fn a_list_at_a_border_does_not_ask_what_turns_round() {
    for border in [false, true] {
        let mut w = routed(|router| {
            // To 198.51.100.0/24 through the inner network itself.
            router.routes.push(route("198.51.100.0/24", Some("192.168.1.10"), 0));
            router.chains = acl(0, vec![], vec![]);
            for chain in router.chains.iter_mut().filter(|_| border) {
                let here = Some(PortId(0));
                let turns = Match { in_port: here, out_port: here, ..Match::default() };
                chain.rules.insert(0, filter(turns, Action::Accept));
            }
        });
        w.inject(1, 0, udp_frame(mac(1, 0), ("192.168.1.20", 7), ("198.51.100.9", 53), b"x"));
        w.run();
        let on = Place::Hook(HookPoint::Prerouting);
        let (refused, none) = ((1, DropReason::Filtered, on, 0), (0, DropReason::NotARouter));
        let first = w.drops().first().copied();
        match border {
            false => assert_eq!(first, Some(refused)),
            true => assert_eq!(first.map(|(at, reason, ..)| (at, reason)), Some(none), "it came back in"),
        }
        // What crosses is asked as before, and the border is nothing that it would nearly have matched.
        let before = w.drops().len();
        w.inject(1, 0, udp(INSIDE, 7, 53));
        let rule = u32::from(border);
        assert_eq!(w.drops()[before..], [(1, DropReason::Filtered, on, rule)]);
        assert_eq!(w.count(1, |what| matches!(what, What::NearMiss(_))), 0);
    }
}

#[test]
fn own_packets_and_reassembled_ones_meet_the_access_list() {
    let mut w = pair_of(|config| {
        if config.interfaces[0].mac == mac(0, 0) {
            config.chains = acl(0, vec![], vec![Match { dport: ports(53, 53), ..Match::default() }]);
        }
    });
    let (client, server) = (w.udp(0, 0), w.udp(1, 53));
    w.say(0, client, "10.0.0.2:54", b"x");
    w.say(0, client, "10.0.0.2:53", &[7; 3_000]);
    w.run();
    assert_eq!(w.drops(), [(0, DropReason::Filtered, Place::Hook(HookPoint::Postrouting), 1)]);
    let (text, from) = w.hear(1, server).expect("both fragments passed as one datagram");
    assert_eq!(text.len(), 3_000);
    w.say(1, server, &from, &[7; 3_000]);
    w.run();
    let last = w.drops().last().copied();
    assert_eq!(last, Some((0, DropReason::Filtered, Place::Hook(HookPoint::Prerouting), 0)));
}

#[test]
fn the_reverse_path_check() {
    //= rfc3704#2.2
    //= rfc3704#2.4
    use ReversePath::{Loose, Off, Strict};
    let spoofed = udp("203.0.113.77", 7, 53);
    let nowhere = udp("198.51.100.7", 7, 53);
    let honest = udp(INSIDE, 7, 53);
    for (mode, frame, passes) in [
        (Off, &spoofed, true),
        (Off, &nowhere, true),
        (Strict, &honest, true),
        (Strict, &spoofed, false),
        (Strict, &nowhere, false),
        (Loose, &honest, true),
        (Loose, &spoofed, true),
        (Loose, &nowhere, false),
    ] {
        let mut w = routed(|router| router.reverse_path = vec![mode]);
        w.inject(1, 0, frame.clone());
        // The check is not skipped by what was remembered of an honest packet.
        w.inject(1, 0, honest.clone());
        w.inject(1, 0, frame.clone());
        let drops: Vec<_> =
            w.drops().into_iter().map(|(node, reason, place, _)| (node, reason, place)).collect();
        let expected = if passes { 0 } else { 2 };
        assert_eq!(drops, vec![(1, DropReason::ReversePath, Place::Ingress); expected], "{mode:?}");
    }
}

#[test]
fn the_reverse_path_check_names_the_route_that_leads_elsewhere() {
    let mut w = routed(|router| router.reverse_path = vec![ReversePath::Strict]);
    w.inject(1, 0, udp("203.0.113.77", 7, 53));
    w.inject(1, 0, udp("198.51.100.7", 7, 53));
    let rules: Vec<u32> = w.drops().into_iter().map(|(.., rule)| rule).collect();
    let outer =
        w.stacks[1].routes().iter().position(|r| r.prefix == net("203.0.113.0/24")).expect("connected");
    assert_eq!(rules, [outer as u32, u32::MAX], "the route to the link of the source; no route");
    // The same source by the interface that leads to it.
    w.inject(1, 1, udp_frame(mac(1, 1), ("203.0.113.77", 7), (INSIDE, 53), b"x"));
    assert_eq!(w.drops().len(), 2);
}

#[test]
fn a_middlebox_drops_what_it_does_not_know_or_takes_it_away() {
    let asks = tcp_frame(INSIDE, OUTSIDE, TcpFlags::SYN | TcpFlags::ECE | TcpFlags::CWR);
    let world = |strips| {
        let rule = Ossified { when: Match::default(), what: Newer::Ecn, strips, origin: origin() };
        routed(|router| router.ossified = vec![rule])
    };
    let mut w = world(false);
    w.inject(1, 0, asks.clone());
    w.inject(1, 0, syn());
    w.run();
    let here: Vec<_> = w.drops().into_iter().filter(|(node, ..)| *node == 1).collect();
    assert_eq!(here, [(1, DropReason::Ossified, Place::Hook(HookPoint::Forward), 0)]);
    // What is left of it is whole: the other end answers, and complains of no checksum.
    let mut w = world(true);
    w.inject(1, 0, asks);
    w.run();
    let reasons: Vec<_> = w.drops().into_iter().map(|(node, reason, ..)| (node, reason)).collect();
    assert!(reasons.contains(&(2, DropReason::NoSocket)), "{reasons:?}");
    assert!(!reasons.iter().any(|(_, reason)| *reason == DropReason::BadChecksum), "{reasons:?}");
}
