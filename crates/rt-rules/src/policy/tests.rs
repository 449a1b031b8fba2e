//! Which table a packet is routed by, and what a group of equally good routes does.

use rt_base::PortId;

use super::*;
use crate::RouteKind;

fn route(prefix: &str, via: Option<&str>, out: u16) -> Route {
    Route {
        prefix: prefix.parse().expect("a prefix"),
        via: via.map(|v| v.parse().expect("an address")),
        out: PortId(out),
        kind: RouteKind::Unicast,
        metric: 0,
        source: None,
        origin: Origin::Line { file: "t.yaml".into(), line: 1 },
    }
}

fn policy(when: Match, table: u32) -> RoutePolicy {
    RoutePolicy { when, table, origin: Origin::Line { file: "t.yaml".into(), line: 2 } }
}

fn flow(src: &str, dst: &str, sport: u16) -> Flow {
    let ends = Flow::towards(src.parse().expect("an address"), dst.parse().expect("an address"));
    Flow { protocol: 6, sport, dport: 443, ..ends }
}

#[test]
fn the_first_policy_whose_table_has_a_route_decides() {
    let arrived = |port: u16| Match { in_port: Some(PortId(port)), ..Match::default() };
    let routes = Routes::new(
        vec![route("0.0.0.0/0", Some("10.0.0.1"), 0)],
        vec![vec![route("10.1.0.0/16", None, 1)], vec![route("0.0.0.0/0", Some("10.0.0.2"), 2)]],
        vec![policy(arrived(5), 1), policy(arrived(5), 2), policy(arrived(6), 0)],
        7,
    );
    let at = |port, dst| {
        let found = routes.lookup(&Flow { in_port: Some(PortId(port)), ..flow("10.9.0.1", dst, 1) });
        found.map(|c| (c.policy, c.id.table(), c.route.out.0))
    };
    assert_eq!(at(5, "10.1.2.3"), Some((Some(0), 1, 1)));
    assert_eq!(at(5, "8.8.8.8"), Some((Some(1), 2, 2)), "table 1 has no route: the next policy");
    assert_eq!(at(6, "8.8.8.8"), Some((Some(2), 0, 0)), "the main table can be chosen too");
    assert_eq!(at(9, "8.8.8.8"), Some((None, 0, 0)));
    let id =
        routes.lookup(&Flow { in_port: Some(PortId(5)), ..flow("1.1.1.1", "8.8.8.8", 1) }).expect("a way").id;
    assert_eq!(routes.get(id).expect("a route").out, PortId(2));
}

#[test]
fn what_was_passed_over_and_what_would_have_led_elsewhere_is_told() {
    let arrived = |port: u16| Match { in_port: Some(PortId(port)), ..Match::default() };
    let routes = Routes::new(
        vec![route("0.0.0.0/0", Some("10.0.0.1"), 0)],
        vec![
            vec![route("10.1.0.0/16", None, 1)],
            vec![route("0.0.0.0/0", Some("10.0.0.2"), 2)],
            vec![route("0.0.0.0/0", Some("10.0.0.1"), 0)],
        ],
        vec![policy(arrived(5), 1), policy(arrived(5), 2), policy(arrived(5), 3), policy(arrived(6), 1)],
        7,
    );
    let told = |port, dst| {
        let flow = Flow { in_port: Some(PortId(port)), ..flow("10.9.0.1", dst, 1) };
        let choice = routes.lookup(&flow).expect("a way");
        let (passed, rejected) = routes.otherwise(&flow, &choice);
        (choice.policy, passed, rejected)
    };
    // Table 3 and the main one agree: one other way.
    assert_eq!(told(5, "8.8.8.8"), (Some(1), vec![0], vec![RouteId::new(3, 0)]));
    assert_eq!(told(5, "10.1.2.3"), (Some(0), vec![], vec![RouteId::new(2, 0), RouteId::new(3, 0)]));
    assert_eq!(told(6, "8.8.8.8"), (None, vec![3], vec![]), "no table of a policy knows the way");
    assert_eq!(told(9, "8.8.8.8"), (None, vec![], vec![]));
}

#[test]
fn equal_routes_share_the_flows_and_a_flow_stays() {
    let ways = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"];
    let main = (0..).zip(ways).map(|(out, via)| route("0.0.0.0/0", Some(via), out)).collect();
    let routes = Routes::new(main, Vec::new(), Vec::new(), 42);
    assert!(!routes.is_plain());
    let mut taken = [0u32; 4];
    for port in 0..10_000 {
        let flow = flow("192.168.1.5", "203.0.113.9", port);
        let first = routes.lookup(&flow).expect("a way");
        assert_eq!(routes.lookup(&flow), Some(first), "a flow stays");
        assert_eq!(first.group.len(), 4);
        taken[usize::from(first.route.out.0)] += 1;
    }
    assert!(taken.iter().all(|n| (2_250..2_750).contains(n)), "{taken:?}");
}

#[test]
fn the_seed_of_a_machine_moves_its_choices() {
    let main = || vec![route("0.0.0.0/0", Some("10.0.0.1"), 0), route("0.0.0.0/0", Some("10.0.0.2"), 1)];
    let of = |seed| {
        let routes = Routes::new(main(), Vec::new(), Vec::new(), seed);
        let out = |port| routes.lookup(&flow("10.0.0.9", "8.8.8.8", port)).expect("a way").route.out.0;
        (0..1_000).map(out).collect::<Vec<u16>>()
    };
    let alike = of(1).iter().zip(of(2)).filter(|(a, b)| **a == *b).count();
    assert!((400..600).contains(&alike), "{alike} of 1000 alike");
}

#[test]
fn a_route_that_goes_leaves_its_group() {
    let mut table = RouteTable::new(vec![
        route("10.0.0.0/8", Some("10.0.0.1"), 0),
        route("10.0.0.0/8", Some("10.0.0.2"), 1),
        route("10.0.0.0/8", Some("10.0.0.2"), 1),
        route("10.1.0.0/16", None, 2),
        route("10.1.0.0/16", None, 3),
    ]);
    assert_eq!(table.group(0), [0, 1], "the same way twice counts once");
    assert!(table.group(3).is_empty(), "a network on the link is no choice");
    table.remove(0);
    assert!(!table.has_groups());
    table.insert(route("10.0.0.0/8", Some("10.0.0.3"), 4));
    assert_eq!(table.group(1), [1, 5]);
    table.insert(Route { metric: 7, ..route("10.0.0.0/8", Some("10.0.0.4"), 4) });
    assert_eq!(table.group(1), [1, 5], "a worse one is none");
}
