//! NAT as a file says it: lines, home routers, carrier-grade NAT, timeouts, rebinding; read, and read again from what `show
//! --expanded` writes.

use rt_base::Nanos;
use rt_rules::{NatAction, NatBehaviour, NatDepends, NatExhausted, NatPorts, NatRule, PortRange, RouteKind};
use rt_scenario::model::Change;
use rt_scenario::{Model, load, render_all, views};

fn read(text: &str) -> Model {
    load("t.yaml", text).map(|l| l.model).unwrap_or_else(|p| panic!("{}", render_all(&p)))
}

/// The same behaviour after a round trip through the plain level of the language.
fn again(model: &Model) -> Model {
    let again = read(&views::plain_yaml(model));
    assert_eq!(again.nodes.len(), model.nodes.len());
    for (a, b) in again.nodes.iter().zip(&model.nodes) {
        let rules = |node: &rt_scenario::model::Node| -> Vec<(NatAction, NatBehaviour)> {
            node.nat.iter().map(|r| (r.action.clone(), r.behaviour)).collect()
        };
        assert_eq!(rules(a), rules(b), "{}", b.name);
        assert_eq!(a.stack, b.stack, "{}", b.name);
        assert_eq!(a.routes.len(), b.routes.len(), "{}", b.name);
    }
    let changes = |m: &Model| m.timeline.iter().map(|h| h.change.clone()).collect::<Vec<_>>();
    assert_eq!(changes(&again), changes(model));
    again
}

fn router(lines: &str, more: &str) -> Model {
    let text = format!(
        "name: t\ntopology:\n  nodes:\n    a: {{ address: 10.0.0.2/24 }}\n    r:\n      kind: router\n      \
         interfaces: {{ lan: {{ address: 10.0.0.1/24 }}, wan: {{ address: 192.0.2.1/24 }} }}\n      nat:\n{lines}\n{more}    \
         b: {{ address: 192.0.2.2/24 }}\n  links:\n    - endpoints: [\"a:e\", \"r:lan\"]\n    - endpoints: [\"b:e\", \"r:wan\"]\n"
    );
    read(&text)
}

fn only(line: &str) -> NatRule {
    let model = again(&router(&format!("        - {line}"), ""));
    model.nodes[1].nat[0].clone()
}

#[test]
fn a_nat_line_says_how_its_mappings_behave() {
    let rule = only(
        "masquerade out wan using 10001- mapping address-dependent filtering endpoint-independent hairpin exhausted prohibited",
    );
    let expected = NatBehaviour {
        mapping: NatDepends::AddressDependent,
        filtering: NatDepends::EndpointIndependent,
        hairpin: true,
        exhausted: NatExhausted::Prohibited,
        ..NatBehaviour::default()
    };
    assert_eq!(rule.behaviour, expected);
    let rule = only(
        "snat to 198.51.100.0/30 out wan using 1024-65535 blocks of 512 most 4 exclusive exhausted host-unreachable",
    );
    assert!(rule.behaviour.exclusive && !rule.behaviour.hairpin);
    let range = PortRange { first: 1024, last: 65_535 };
    assert_eq!(rule.action.ports(), Some(NatPorts::Block { range, size: 512, most: 4 }));
    let strict = "mapping address-and-port-dependent filtering address-and-port-dependent overload";
    assert!(only(&format!("masquerade out wan {strict}")).behaviour.overloads());
    assert!(matches!(only("static 10.0.0.2 to 192.0.2.9 out wan").action, NatAction::Static { .. }));
    assert!(matches!(
        only("dnat to 10.0.0.2:9000-9009 udp port 8000-8009 in wan").action,
        NatAction::DnatRange { .. }
    ));
    let NatAction::DnatSpread { to, by } =
        only("dnat to 10.0.0.2:80,10.0.0.3:8080 by maglev tcp port 80 in wan").action
    else {
        panic!("one of several")
    };
    assert_eq!((to.len(), to[1].port(), by.word()), (2, 8_080, "maglev"));
}

#[test]
fn timeouts_and_limits_of_a_machine() {
    let more = "      conntrack: { max: 100, per-source: 10, udp: 5s, icmp: 1min, tcp-loose: yes }\n      flow-timeout: 2h\n";
    let model = again(&router("        - masquerade out wan", more));
    let stack = &model.nodes[1].stack;
    assert_eq!((stack.conntrack.max, stack.conntrack.per_source), (100, Some(10)));
    assert_eq!((stack.conntrack.udp, stack.conntrack.icmp), (Nanos::from_secs(5), Nanos::from_secs(60)));
    assert!(stack.conntrack.tcp_loose);
    assert_eq!(stack.flow_timeout, Nanos::from_secs(7_200));
    let more = "      conntrack: { timeouts: rfc, udp: 3min }\n";
    let stack = again(&router("        - masquerade out wan", more)).nodes[1].stack.clone();
    assert_eq!((stack.flow_timeout, stack.conntrack.udp), (Nanos::from_secs(7_440), Nanos::from_secs(180)));
    assert_eq!(stack.conntrack.udp_answered, Nanos::from_secs(300));
}

fn homes(router: &str, access: &str, net: &str, more: &str) -> Model {
    read(&format!(
        "name: t\nsites:\n  net: {{ kind: internet, places: [paris, berlin], {net} }}\n  \
         home: {{ kind: home, place: paris, router: {{ {router} }}, {access} devices: {{ pc: {{ address: 192.168.1.5 }} }} }}\n  \
         web: {{ kind: host, place: berlin, address: 192.0.2.80 }}\n{more}"
    ))
}

fn node<'m>(model: &'m Model, name: &str) -> &'m rt_scenario::model::Node {
    model.nodes.iter().find(|n| n.name == name).unwrap_or_else(|| panic!("no {name}"))
}

#[test]
fn home_routers_have_the_four_old_kinds_and_every_new_one() {
    use NatDepends::{
        AddressAndPortDependent as Both, AddressDependent as Address, EndpointIndependent as Any,
    };
    for (word, mapping, filtering) in [
        ("full-cone", Any, Any),
        ("restricted-cone", Any, Address),
        ("port-restricted-cone", Any, Both),
        ("symmetric", Both, Both),
        ("{ type: symmetric, filtering: endpoint-independent }", Both, Any),
        ("{ mapping: address-dependent }", Address, Both),
    ] {
        let model = again(&homes(&format!("nat: {word}"), "", "", ""));
        let behaviour = node(&model, "home.router").nat[0].behaviour;
        assert_eq!((behaviour.mapping, behaviour.filtering), (mapping, filtering), "{word}");
    }
    let model = again(&homes(
        "nat: { hairpin: yes }, port-forwards: [tcp 8080 to pc:80, udp 8000-8009 to pc], flow-timeout: 3h, conntrack: { max: 7 }",
        "",
        "",
        "timeline: [ { at: 2s, rebind: home.router }, { at: 3s, rebind: home.router, keep-ports: yes } ]\n",
    ));
    let router = node(&model, "home.router");
    assert!(router.nat.iter().all(|r| r.behaviour.hairpin));
    assert!(matches!(router.nat[2].action, NatAction::DnatRange { .. }));
    assert_eq!((router.stack.conntrack.max, router.stack.flow_timeout), (7, Nanos::from_secs(10_800)));
    let kept = |h: &rt_scenario::model::Happening| match h.change {
        Change::Rebind { keep_ports, .. } => keep_ports,
        _ => panic!("another change"),
    };
    assert_eq!(model.timeline.iter().map(kept).collect::<Vec<_>>(), [false, true]);
}

#[test]
fn an_isp_shares_addresses_among_its_customers() {
    let net = "cgnat: { pool: 198.51.100.0/30, block: 64, blocks: 2, conntrack: { udp: 5min } }";
    let model = again(&homes("", "access: { cgnat: yes },", net, ""));
    let home = node(&model, "home.router");
    assert_eq!(home.interfaces[1].addresses[0].to_string(), "100.64.0.2/24");
    let isp = node(&model, "net.isp");
    let [rule] = isp.nat.as_slice() else { panic!("one rule") };
    assert_eq!(rule.when.src[0].to_string(), "100.64.0.0/10");
    let range = PortRange { first: 1024, last: 65_535 };
    let ports = NatPorts::Block { range, size: 64, most: 2 };
    assert_eq!(rule.action, NatAction::Pool { to: "198.51.100.0/30".parse().expect("a prefix"), ports });
    assert!(rule.behaviour.exclusive && rule.behaviour.hairpin);
    assert_eq!(rule.behaviour.exhausted, NatExhausted::HostUnreachable);
    assert_eq!(isp.stack.conntrack.udp, Nanos::from_secs(300));
    let pool = |name: &str| {
        let routes = &node(&model, name).routes;
        routes.iter().find(|r| r.prefix.to_string() == "198.51.100.0/30").map(|r| r.kind)
    };
    assert_eq!(pool("net.isp"), Some(RouteKind::Blackhole));
    assert_eq!((pool("net.paris"), pool("net.berlin")), (Some(RouteKind::Unicast), Some(RouteKind::Unicast)));
    let usual = again(&homes("", "access: { cgnat: yes },", "", ""));
    assert!(matches!(node(&usual, "net.isp").nat[0].action, NatAction::Pool { .. }));
    assert!(node(&homes("", "", net, ""), "net.isp").nat.is_empty(), "nobody is behind it");
}
