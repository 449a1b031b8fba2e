//! Policy routing, equally good routes and machines that leave TTLs alone.

use rt_base::{DropReason, Nanos, PortId, What};
use rt_rules::{Match, RoutePolicy};
use rt_stack::StackConfig;

use crate::fixture::*;
use crate::nat::udp_frame;

/// Router 1 has the host 0 on port 0 and two servers 2 and 3, both 203.0.113.9, behind ports 1 and 2.
fn fork(change: impl FnOnce(&mut StackConfig)) -> World {
    let host = machine(0, &["192.168.1.10/24"], vec![route("0.0.0.0/0", Some("192.168.1.1"), 0)]);
    let mut router = machine(1, &["192.168.1.1/24", "10.1.0.1/30", "10.2.0.1/30"], vec![]);
    router.forwarding = true;
    change(&mut router);
    let server = |node: u8, net: &str, back: &str| {
        let mut config = machine(node, &[net], vec![route("0.0.0.0/0", Some(back), 0)]);
        config.interfaces[0].addresses.push(crate::fixture::net("203.0.113.9/32"));
        config
    };
    let (left, right) = (server(2, "10.1.0.2/30", "10.1.0.1"), server(3, "10.2.0.2/30", "10.2.0.1"));
    World::new(vec![("host", host), ("router", router), ("left", left), ("right", right)])
        .link((0, 0), (1, 0))
        .link((1, 1), (2, 0))
        .link((1, 2), (3, 0))
}

/// Datagrams from ports 5000 to 5199 to each server's port 53; how many arrived left and right.
fn spread(world: &mut World) -> (usize, usize) {
    for port in 5_000..5_200 {
        let socket = world.udp(0, port);
        world.say(0, socket, "203.0.113.9:53", b"x");
        world.say(0, socket, "203.0.113.9:53", b"y");
        world.run_for(Nanos::from_millis(10));
    }
    let at = |world: &World, node| world.count(node, |w| matches!(w, What::Deliver { protocol: 17, .. }));
    (at(world, 2), at(world, 3))
}

fn listen(mut world: World) -> World {
    world.udp(2, 53);
    world.udp(3, 53);
    world
}

#[test]
fn a_policy_chooses_the_table_and_the_rest_takes_the_main_one() {
    let mut world = listen(fork(|router| {
        router.routes = vec![route("203.0.113.0/24", Some("10.1.0.2"), 1)];
        router.tables = vec![vec![route("0.0.0.0/0", Some("10.2.0.2"), 2)]];
        let sport = Some(rt_rules::PortRange { first: 5_000, last: 5_049 });
        let when = Match { protocol: Some(17), sport, in_port: Some(PortId(0)), ..Match::default() };
        router.policies = vec![RoutePolicy { when, table: 1, origin: origin() }];
    }));
    assert_eq!(spread(&mut world), (300, 100));
    assert_eq!(
        world.count(1, |w| matches!(w, What::RoutePolicy(c) if (c.rule, c.table) == (Some(0), 1))),
        100
    );
    let by = |id: u32| move |w: &What| matches!(w, What::Route { rule, .. } if *rule == id);
    assert_eq!((world.count(1, by(0)), world.count(1, by(1 << 24))), (300, 100));
}

#[test]
fn equal_routes_share_flows_and_each_flow_stays_on_its_way() {
    let mut world = listen(fork(|router| {
        let ways = [("10.1.0.2", 1), ("10.2.0.2", 2)];
        router.routes = ways.map(|(via, out)| route("203.0.113.0/24", Some(via), out)).to_vec();
    }));
    let (left, right) = spread(&mut world);
    assert_eq!(left + right, 400);
    assert!(left % 2 == 0 && (140..260).contains(&left), "both datagrams of a socket go one way: {left}");
    let choice = |w: &What| match w {
        What::Multipath(choice) => choice.rejected.len() == 1 && choice.rejected[0] != choice.chosen,
        _ => false,
    };
    assert_eq!(world.count(1, choice), 400);
}

#[test]
fn a_transparent_router_leaves_the_ttl_alone_and_ends_what_circles() {
    let mut world = routed(|router| router.transparent = true);
    world.inject(1, 0, udp_frame(mac(1, 0), ("192.168.1.10", 5_000), ("203.0.113.1", 53), b"x"));
    world.run();
    assert!(world.drop_reasons().contains(&DropReason::NoSocket), "it came through");
    let ttls: Vec<u8> =
        world.wire.iter().filter(|s| s.from == 1 && s.bytes[12..14] == [8, 0]).map(|s| s.bytes[22]).collect();
    assert_eq!(ttls[0], 64);

    let said = |w: &World| {
        w.wire.iter().filter(|s| s.from == 1 && s.bytes[12..14] == [8, 0] && s.bytes[23] != 17).count()
    };
    let before = said(&world);
    // Nobody sees it: no answer to pings, nothing of what nobody listens for or of what it has no way for. A packet that is too
    // long is the exception.
    for to in ["192.168.1.1", "192.0.2.9"] {
        world.app(0, |s| s.icmp_echo(ip(to), 7, 1, vec![])).unwrap();
    }
    let socket = world.udp(0, 5_001);
    world.say(0, socket, "192.168.1.1:9", b"to the router itself");
    let connection = world.connect(0, "192.168.1.1:80");
    world.run_for(Nanos::from_millis(100));
    let reasons = world.drop_reasons();
    for reason in [DropReason::AnswersNobody, DropReason::NoRoute, DropReason::NoSocket] {
        assert!(reasons.contains(&reason), "{reason:?}: {reasons:?}");
    }
    assert_eq!(world.stacks[0].tcp_phase(connection), rt_base::TcpPhase::SynSent);
    assert_eq!(said(&world), before, "it said something");

    let end = |node: u8, own: &str, other: &str| {
        let mut config = machine(node, &[own], vec![route("0.0.0.0/0", Some(other), 0)]);
        (config.forwarding, config.transparent) = (true, true);
        config
    };
    let (a, b) = (end(0, "10.0.0.1/30", "10.0.0.2"), end(1, "10.0.0.2/30", "10.0.0.1"));
    let mut world = World::new(vec![("a", a), ("b", b)]).link((0, 0), (1, 0));
    world.inject(0, 0, udp_frame(mac(0, 0), ("192.0.2.1", 1), ("192.0.2.9", 2), b"round"));
    world.run();
    assert_eq!(world.drop_reasons().first(), Some(&DropReason::TtlExceeded));
}
