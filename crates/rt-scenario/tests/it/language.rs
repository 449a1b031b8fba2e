//! Pieces of the language, each with what it lowers to.

use rt_base::Nanos;
use rt_rules::{Action, NatAction, RejectWith};
use rt_scenario::model::{App, Change, Check, Forget, Pages, QueueLimit, TraceBy, Transport, Verb};
use rt_scenario::{Model, load, render_all};

fn two(more: &str) -> Model {
    let text = format!(
        "name: t\ntopology:\n  nodes:\n    a: {{ address: 10.0.0.1/24 }}\n    b: {{ address: 10.0.0.2/24, run: [ http ] }}\n  \
         links:\n    - endpoints: [\"a:eth0\", \"b:eth0\"]\n{more}"
    );
    load("t.yaml", &text).map(|l| l.model).unwrap_or_else(|p| panic!("{text}\n{}", render_all(&p)))
}

fn verbs(steps: &str) -> Vec<Verb> {
    two(&format!("steps:\n{steps}")).steps.into_iter().map(|s| s.verb).collect()
}

#[test]
fn sentences() {
    let url = || "http://10.0.0.2/".to_owned();
    let target = || "10.0.0.2".to_owned();
    let cases = [
        ("- a opens http://10.0.0.2/ after 2s from port 4000", Verb::Open { url: url() }),
        ("- a pings 10.0.0.2 3 times", Verb::Ping { target: target(), count: 3 }),
        ("- { do: a pings 10.0.0.2, count: 2 }", Verb::Ping { target: target(), count: 2 }),
        ("- a connects to 10.0.0.2:22", Verb::Probe { target: target(), port: 22 }),
        ("- a connects to 10.0.0.2 port 22", Verb::Probe { target: target(), port: 22 }),
        ("- a looks up x.example MX", Verb::Lookup { name: "x.example".into(), rtype: "MX".into() }),
        (
            "- { do: a posts to http://10.0.0.2/, json: { a: [1, \"2\", true, x] } }",
            Verb::Post { url: url(), json: r#"{"a":[1,"2",true,"x"]}"#.into() },
        ),
        ("- 'a posts {\"a\": 1} to http://10.0.0.2/'", Verb::Post { url: url(), json: r#"{"a":1}"#.into() }),
        ("- a traces the route to 10.0.0.2", Verb::Trace { target: target(), by: TraceBy::Udp, port: None }),
        (
            "- a traces the route to 10.0.0.2 using tcp port 443",
            Verb::Trace { target: target(), by: TraceBy::Tcp, port: Some(443) },
        ),
        ("- a finds the path MTU to 10.0.0.2", Verb::PathMtu { target: target() }),
        (
            "- { do: a runs ssh -J x@10.0.0.2 y hostname after 1s, types: [exit] }",
            Verb::Ssh { arguments: "-J x@10.0.0.2 y hostname".into(), types: vec!["exit".into()] },
        ),
        (
            "- { do: a sends 10MB to 10.0.0.2:9000 over 4 TCP connections after 1s, every: 100ms }",
            Verb::Send {
                target: target(),
                port: 9000,
                bytes: 10_000_000,
                connections: 4,
                every: Some(Nanos::from_millis(100)),
            },
        ),
        (
            "- { do: a streams 2Mbit/s for 10s to 10.0.0.2 over UDP, playout: 80ms }",
            Verb::Stream {
                target: target(),
                port: 5001,
                over: Transport::Udp,
                rate_bps: 2_000_000,
                lasts: Nanos::from_secs(10),
                frame: Nanos::from_millis(20),
                playout: Nanos::from_millis(80),
            },
        ),
    ];
    for (step, verb) in cases {
        assert_eq!(verbs(&format!("  {step}\n")), [verb], "{step}");
    }
}

#[test]
fn loss_may_be_regular() {
    let model = two("      loss: every 1000th\n      b-to-a: { loss: 2% }\n");
    let link = &model.links[0];
    assert_eq!((link.ab.loss_ppm, link.ab.loss_every), (0, 1_000));
    assert_eq!((link.ba.loss_ppm, link.ba.loss_every), (20_000, 0));
}

#[test]
fn steps_that_measure_nothing_sensible_are_refused() {
    for step in [
        "a sends 0 to 10.0.0.2 over TCP",
        "a sends 1MB to 10.0.0.2 over UDP",
        "a sends 1MB to 10.0.0.2 over 99 TCP connections",
        "a streams 100Gbit/s for 1s to 10.0.0.2 over UDP",
        "a streams 1Mbit/s for 1ms to 10.0.0.2 over UDP",
        "a streams 1Mbit/s to 10.0.0.2 over UDP",
        "a traces the route to 10.0.0.2 using smoke",
    ] {
        let text = format!(
            "name: t\ntopology:\n  nodes:\n    a: {{ address: 10.0.0.1/24 }}\n    b: {{ address: 10.0.0.2/24 }}\n  \
             links:\n    - endpoints: [\"a:eth0\", \"b:eth0\"]\nsteps: [ {step} ]\n"
        );
        assert!(load("t.yaml", &text).is_err(), "{step}");
    }
}

#[test]
fn steps_take_ports_and_times() {
    let model = two(
        "steps: [ { do: a opens http://10.0.0.2/ after 2s from port 4000, isn: { client: 7, server: 9 } } ]\n",
    );
    let step = &model.steps[0];
    assert_eq!((step.after.0, step.source_port, step.isn), (2_000_000_000, Some(4000), Some(7)));
    assert_eq!(model.nodes[1].stack.listen_isns, [9]);
}

#[test]
fn links_may_differ_by_direction() {
    let model = two(
        "      rate: 10Mbit/s\n      loss: 0.5%\n      queue: 64KiB\n      b-to-a: { rate: 1Mbit/s, delay: 7ms }\n",
    );
    let link = &model.links[0];
    assert_eq!((link.ab.rate_bps, link.ba.rate_bps), (10_000_000, 1_000_000));
    assert_eq!((link.ab.loss_ppm, link.ba.loss_ppm, link.ba.delay.0), (5_000, 5_000, 7_000_000));
    assert_eq!(link.ab.queue, QueueLimit::Bytes(65_536));
}

#[test]
fn timeline_and_expectations() {
    let more = "steps: [ a pings 10.0.0.2 ]\nexpect: [ step 1: { succeeds: yes, within: 3ms, through: [a, b] } ]\n\
                timeline: [ { at: 2s, heal: b }, { at: 1s, cut: \"a:eth0\" }, { at: 3s, impair: a, loss: 1% } ]\n";
    let model = two(more);
    assert_eq!(model.expect[0].checks[2], Check::Through(vec!["a".into(), "b".into()]));
    let changes: Vec<&Change> = model.timeline.iter().map(|h| &h.change).collect();
    let impair = Change::Impair { link: 0, loss_ppm: Some(10_000), delay: None, rate_bps: None };
    assert_eq!(changes, [&Change::Cut { link: 0 }, &Change::Heal { link: 0 }, &impair]);
}

#[test]
fn firewalls_and_nat() {
    let text = "name: t\ntopology:\n  nodes:\n    a: { address: 10.0.0.2/24 }\n    r:\n      kind: router\n      \
                interfaces: { lan: { address: 10.0.0.1/24 }, wan: { address: 192.0.2.1/24 } }\n      \
                firewall: { forward: [ allow established, reject reset tcp to 10.0.0.2 port 80-90 in wan, otherwise deny ] }\n      \
                nat: [ masquerade from 10.0.0.0/24 out wan using 10001-, dnat to 10.0.0.2:80 tcp port 8080 in wan ]\n    \
                b: { address: 192.0.2.2/24 }\n  links:\n    - endpoints: [\"a:e\", \"r:lan\"]\n    - endpoints: [\"b:e\", \"r:wan\"]\n";
    let model = load("t.yaml", text).map(|l| l.model).unwrap_or_else(|p| panic!("{}", render_all(&p)));
    let router = &model.nodes[1];
    let chain = &router.chains[0];
    assert_eq!(chain.policy.action, Action::Drop);
    assert_eq!(chain.rules[1].action, Action::Reject(RejectWith::TcpReset));
    assert_eq!(chain.rules[1].when.dport.map(|r| (r.first, r.last)), Some((80, 90)));
    assert_eq!(chain.rules[1].origin.to_string(), "t.yaml:8");
    assert!(matches!(router.nat[0].action, NatAction::Masquerade { .. }));
    assert!(matches!(router.nat[1].action, NatAction::Dnat { port: Some(80), .. }));
}

#[test]
fn routers_find_shortest_paths_and_hosts_their_gateway() {
    let text = "name: t\ntopology:\n  nodes:\n    a: { address: 10.1.0.2/24 }\n    \
                r1: { kind: router, interfaces: { a: { address: 10.1.0.1/24 }, x: { address: 10.0.0.1/30 } } }\n    \
                r2: { kind: router, interfaces: { b: { address: 10.2.0.1/24 }, x: { address: 10.0.0.2/30 } } }\n    \
                b: { address: 10.2.0.2/24 }\n  links:\n    - endpoints: [\"a:e\", \"r1:a\"]\n    \
                - endpoints: [\"r1:x\", \"r2:x\"]\n    - endpoints: [\"r2:b\", \"b:e\"]\nsteps: [ a pings 10.2.0.2 ]\n";
    let model = load("t.yaml", text).map(|l| l.model).unwrap_or_else(|p| panic!("{}", render_all(&p)));
    let route = model.nodes[1].routes.last().expect("a route");
    assert_eq!(
        (route.prefix.to_string(), route.via.map(|v| v.to_string())),
        ("10.2.0.0/24".into(), Some("10.0.0.2".into()))
    );
    let gateway = model.nodes[0].routes.last().expect("a route");
    assert_eq!(gateway.origin.to_string(), "t.yaml:4 (by default: the only router on its link)");
}

#[test]
fn anchors_and_merge_keys_work() {
    let text = "name: t\ntopology:\n  nodes:\n    a: &base { address: 10.0.0.1/24, ttl: 9 }\n    b: { <<: *base, address: 10.0.0.2/24 }\n  \
                links:\n    - endpoints: [\"a:eth0\", \"b:eth0\"]\n";
    let model = load("t.yaml", text).map(|l| l.model).unwrap_or_else(|p| panic!("{}", render_all(&p)));
    assert_eq!(model.nodes[1].stack.ttl, 9);
    assert_eq!(model.nodes[1].interfaces[0].addresses[0].to_string(), "10.0.0.2/24");
}

#[test]
fn pages_may_be_written_in_the_file() {
    let text = "name: t\ntopology:\n  nodes:\n    a: { address: 10.0.0.1/24, run: [ http: { pages: { /: { type: text/html, text: hi }, /x.bin: { hex: 00ff } } } ] }\n    \
                b: { address: 10.0.0.2/24 }\n  links:\n    - endpoints: [\"a:eth0\", \"b:eth0\"]\n";
    let model = load("t.yaml", text).map(|l| l.model).unwrap_or_else(|p| panic!("{}", render_all(&p)));
    let App::HttpServer { pages: Pages::Files(files), .. } = &model.nodes[0].apps[0] else {
        panic!("no pages")
    };
    assert_eq!(
        (files[0].path.as_str(), files[0].kind.as_str(), &files[0].bytes[..]),
        ("/", "text/html", &b"hi"[..])
    );
    assert_eq!(files[1].bytes, [0, 255]);
}

/// Faults and switches of sites.
#[test]
fn sites_can_be_broken_on_purpose() {
    let text = "name: t\nsites:\n  home: { kind: home, dhcp: silent, devices: { laptop: } }\n  \
                net:\n    kind: internet\n    places: [paris, frankfurt, london]\n    \
                resolvers: { dns: { address: 8.8.8.8, silent: yes } }\n    \
                faults: { no-route: [ 198.51.100.0/24 ], routing-loop: { 192.0.2.0/24: [ paris, london ] } }\n  \
                web: { kind: host, place: london, address: 198.51.100.7 }\n  api: { kind: host, place: frankfurt, address: 192.0.2.7 }\n";
    let model = load("t.yaml", text).map(|l| l.model).unwrap_or_else(|p| panic!("{}", render_all(&p)));
    let paris = model.nodes.iter().find(|n| n.name == "net.paris").expect("paris");
    assert!(paris.routes.iter().all(|r| r.prefix.to_string() != "198.51.100.0/24"));
    let london = model.nodes.iter().find(|n| n.name == "net.london").expect("london");
    assert!(london.routes.iter().any(|r| r.prefix.to_string() == "198.51.100.0/24" && r.via.is_none()));
    let looped: Vec<_> =
        model.nodes.iter().filter(|n| n.routes.iter().any(|r| r.origin.to_string() == "t.yaml:8")).collect();
    assert_eq!(looped.iter().map(|n| n.name.as_str()).collect::<Vec<_>>(), ["net.paris", "net.london"]);
    let silent = |n: &rt_scenario::model::Node| {
        n.apps.iter().any(|a| {
            matches!(a, App::DnsResolver { silent: true, .. } | App::DhcpServer { silent: true, .. })
        })
    };
    assert_eq!(model.nodes.iter().filter(|n| silent(n)).count(), 2);
}

#[test]
fn a_nodes_name_works_as_a_host_name() {
    let model = two("steps: [ a opens http://b/, a pings b ]\n");
    let hosts = &model.nodes[0].resolver.hosts;
    assert_eq!(hosts.iter().map(|(n, a)| format!("{n} {a}")).collect::<Vec<_>>(), ["b 10.0.0.2"]);
    assert!(model.nodes[1].resolver.hosts.is_empty());
}

#[test]
fn homes_get_addresses_of_their_place() {
    let text = "name: t\nsites:\n  net: { kind: internet, places: [paris, london, berlin] }\n  \
                a: { kind: home, devices: { x: } }\n  b: { kind: home, devices: { y: } }\n  \
                c: { kind: home, place: london, devices: { z: } }\n  \
                d: { kind: home, public: 203.0.113.51, devices: { w: } }\n";
    let model = load("t.yaml", text).map(|l| l.model).unwrap_or_else(|p| panic!("{}", render_all(&p)));
    let outer = |name: &str| {
        let node = model.nodes.iter().find(|n| n.name == format!("{name}.router")).expect("a router");
        node.interfaces[1].addresses[0].to_string()
    };
    let all = ["a", "b", "c", "d"].map(outer);
    assert_eq!(all, ["203.0.113.50/24", "203.0.113.52/24", "203.0.114.50/24", "203.0.113.51/24"]);
    let switches = model.nodes.iter().filter(|n| n.role == "access switch").count();
    assert_eq!(switches, 1, "homes on one network share a switch of the ISP");
}

/// The check of ways follows NAT, port forwards and DHCP reservations.
#[test]
fn ways_lead_through_port_forwards() {
    let text = "name: t\nsites:\n  net: { kind: internet, places: [paris] }\n  a: { kind: home, devices: { x: } }\n  \
                b:\n    kind: home\n    router: { port-forwards: [ tcp 8080 to nas:80 ] }\n    \
                devices: { nas: { address: 192.168.1.20, run: [ http ] } }\n\
                steps: [ x opens http://203.0.113.51:8080/ ]\n";
    let model = load("t.yaml", text).map(|l| l.model).unwrap_or_else(|p| panic!("{}", render_all(&p)));
    let router = model.nodes.iter().find(|n| n.name == "b.router").expect("a router");
    assert_eq!(router.nat.len(), 2);
    let forward = router.chains.iter().find(|c| c.hook == rt_base::HookPoint::Forward).expect("a chain");
    assert_eq!(forward.rules.last().map(|r| r.origin.to_string()), Some("t.yaml:7".into()));
}

#[test]
fn tables_and_rules_of_policy_routing() {
    let text = "name: t\ntopology:\n  nodes:\n    r:\n      kind: router\n      transparent: yes\n      \
                interfaces: { a: 10.1.0.1/24, b: 10.2.0.1/24 }\n      \
                routes: [ { to: 0.0.0.0/0, via: 10.1.0.2 }, { to: 0.0.0.0/0, via: 10.2.0.2 } ]\n      \
                tables: { blue: [ { to: 0.0.0.0/0, via: 10.2.0.2 } ], none: [] }\n      \
                rules: [ from 10.1.0.0/24 tcp port 443 table blue, in b table main ]\n    \
                x: { address: 10.1.0.2/24 }\n    y: { address: 10.2.0.2/24 }\n  \
                links:\n    - endpoints: [\"r:a\", \"x:e\"]\n    - endpoints: [\"r:b\", \"y:e\"]\n";
    let model = load("t.yaml", text).map(|l| l.model).unwrap_or_else(|p| panic!("{}", render_all(&p)));
    let router = &model.nodes[0];
    assert!(router.stack.transparent);
    let tables: Vec<(&str, usize)> =
        router.tables.iter().map(|t| (t.name.as_str(), t.routes.len())).collect();
    assert_eq!(tables, [("blue", 1), ("none", 0)]);
    let rules: Vec<(u32, String)> = router.policies.iter().map(|p| (p.table, p.origin.to_string())).collect();
    assert_eq!(rules, [(1, "t.yaml:10".to_owned()), (0, "t.yaml:10".to_owned())]);
    let again = rt_scenario::views::plain_yaml(&model);
    let second = load("t.yaml", &again).map(|l| l.model).unwrap_or_else(|p| panic!("{}", render_all(&p)));
    assert_eq!(second.nodes[0].tables.len(), 2);
    assert_eq!(second.nodes[0].policies[0].when, router.policies[0].when);
    assert!(second.nodes[0].stack.transparent);

    for (line, why) in [
        ("from 10.0.0.0/8", "which table"),
        ("table red", "no table `red`"),
        ("out b table blue", "leaves by"),
    ] {
        let bad = text.replace("in b table main", line);
        let problems = load("t.yaml", &bad).map(|_| ()).expect_err("refused");
        assert!(render_all(&problems).contains(why), "{}", render_all(&problems));
    }
}

/// Where a tunnel begins when nobody says it: on the link with its other end, on that of the next hop to it, or else at the
/// first address.
#[test]
fn a_tunnel_begins_on_the_way_to_its_other_end() {
    let local = |to: &str, more: &str| {
        let text = format!(
            "name: t\ntopology:\n  nodes:\n    a:\n      kind: router\n      interfaces:\n        lan: 192.168.1.1/24\n        \
             t1: {{ tun: yes, address: 10.8.0.1/24 }}\n        wan: 203.0.113.1/24\n        dmz: 198.51.100.1/24\n        \
             t0: {{ address: 10.9.0.1/30, gre: {{ to: {to} }} }}\n      {more}\n    b: {{ address: 203.0.113.2/24 }}\n  \
             links:\n    - endpoints: [\"a:wan\", \"b:e\"]\n"
        );
        let model = load("t.yaml", &text).map(|l| l.model).unwrap_or_else(|p| panic!("{}", render_all(&p)));
        let tunnel = model.nodes[0].interfaces.iter().find(|i| i.name == "t0").expect("the tunnel");
        tunnel.kind.ends().expect("its ends").0.to_string()
    };
    assert_eq!(local("198.51.100.9", ""), "198.51.100.1");
    assert_eq!(local("192.0.2.9", "gateway: 203.0.113.2"), "203.0.113.1");
    let routes = "routes: [ { to: 192.0.2.0/24, via: 198.51.100.7 }, { to: 0.0.0.0/0, via: 203.0.113.2 } ]";
    assert_eq!(local("192.0.2.9", routes), "198.51.100.1");
    assert_eq!(local("192.0.3.9", routes), "203.0.113.1");
    assert_eq!(local("192.0.2.9", ""), "192.168.1.1");
}

#[test]
fn virtual_interfaces_are_read_and_written_back() {
    let text = "name: t\ntopology:\n  nodes:\n    a:\n      kind: router\n      interfaces:\n        eth0: 10.0.0.1/24\n        \
                eth0.10: { vlan: 10, address: 10.10.0.1/24 }\n        g: { gre: { to: 10.0.0.2, key: 7 }, address: 172.16.1.1/30 }\n        \
                i: { ipip: { to: 10.0.0.2 }, address: 172.16.2.1/30 }\n        \
                v: { vxlan: { to: 10.0.0.2, vni: 42 }, address: 172.16.3.1/30 }\n        \
                t: { tun: yes, address: 172.16.4.1/30 }\n        p: { pppoe: { on: eth0, server: yes }, address: 172.16.5.1/30 }\n      \
                routes: []\n      clamp-mss: [ out g, tcp to 10.0.0.0/8 size 1400 ]\n    \
                b: { address: 10.0.0.2/24 }\n    s: { kind: switch, interfaces: { p0: { trunk: [10, 20], native: 1 }, p1: { vlan: 1 }, p2: { trunk: all } } }\n    \
                c: { address: 10.10.0.9/24 }\n  \
                links:\n    - endpoints: [\"a:eth0\", \"s:p0\"]\n    - endpoints: [\"b:eth0\", \"s:p1\"]\n    - endpoints: [\"c:eth0\", \"s:p2\"]\n";
    let model = load("t.yaml", text).map(|l| l.model).unwrap_or_else(|p| panic!("{}", render_all(&p)));
    let a = &model.nodes[0];
    let mtus: Vec<(&str, u16)> = a.interfaces.iter().map(|i| (i.kind.say(), i.mtu)).collect();
    let expected = [
        ("Ethernet", 1500),
        ("VLAN", 1500),
        ("GRE", 1472),
        ("IP-in-IP", 1480),
        ("VXLAN", 1450),
        ("tun", 1500),
        ("PPPoE", 1492),
    ];
    assert_eq!(mtus, expected);
    assert_eq!(a.interfaces[1].mac, a.interfaces[0].mac);
    assert_eq!(a.clamps.len(), 2);
    let again = rt_scenario::views::plain_yaml(&model);
    let second = load("t.yaml", &again).map(|l| l.model).unwrap_or_else(|p| panic!("{}", render_all(&p)));
    for (one, other) in model.nodes.iter().zip(&second.nodes) {
        let kinds = |n: &rt_scenario::model::Node| {
            n.interfaces
                .iter()
                .map(|i| (i.name.clone(), i.kind, i.vlans.clone(), i.mtu, i.mac))
                .collect::<Vec<_>>()
        };
        assert_eq!(kinds(one), kinds(other));
    }
    assert_eq!(
        second.nodes[0].clamps.iter().map(|c| c.to).collect::<Vec<_>>(),
        a.clamps.iter().map(|c| c.to).collect::<Vec<_>>()
    );

    let faults = [
        ("vlan: 10,", "vlan: 10, on: eth9,", "cannot stand on an interface `eth9`"),
        ("vlan: 10,", "vlan: 10, tun: yes,", "is a vlan already"),
        ("{ to: 10.0.0.2, key: 7 }", "{ to: 10.0.0.1 }", "both ends of the tunnel `g` are 10.0.0.1"),
        ("a:eth0", "a:g", "a cable ends at `g`"),
        ("p1: { vlan: 1 }", "p1: { tun: yes }", "no place at an interface of a switch"),
        ("size 1400", "size 9", "no size of a segment"),
    ];
    for (old, new, why) in faults {
        let problems = load("t.yaml", &text.replacen(old, new, 1)).map(|_| ()).expect_err(new);
        assert!(render_all(&problems).contains(why), "{new}: {}", render_all(&problems));
    }
}

/// Several certificates and sites at one address, redirects and cookies: as written, and after `show --expanded`.
#[test]
fn one_address_may_host_many_sites() {
    let text = "name: t\nnames:\n  certificates:\n    a: { names: [a.test] }\n    b: { names: [b.test] }\ntopology:\n  nodes:\n    \
                web:\n      address: 10.0.0.1/24\n      run:\n        - http:\n            certificate: [b, a]\n            strict: [host]\n            \
                sites:\n              \"*.b.test\": shop\n              a.test:\n                /: { redirect: \"https://b.test/\", status: 302 }\n                \
                /x/: { text: hi, cookies: [ \"SID=1; Path=/\" ], cache-control: no-store }\n    \
                b: { address: 10.0.0.2/24 }\n  links:\n    - endpoints: [\"web:eth0\", \"b:eth0\"]\n";
    let model = load("t.yaml", text).map(|l| l.model).unwrap_or_else(|p| panic!("{}", render_all(&p)));
    let App::HttpServer { port: 443, certificate: Some(1), hosting, .. } = &model.nodes[0].apps[0] else {
        panic!("{:?}", model.nodes[0].apps)
    };
    assert_eq!(
        (hosting.certificates.as_slice(), hosting.refuses_sni, hosting.refuses_host),
        (&[0][..], false, true)
    );
    let Pages::Files(files) = &hosting.sites[1].1 else { panic!("{hosting:?}") };
    assert_eq!(files[0].redirect, Some((302, "https://b.test/".to_owned())));
    assert_eq!((files[1].kind.as_str(), files[1].cookies.len()), ("text/html; charset=utf-8", 1));
    let plain = rt_scenario::views::plain_yaml(&model);
    let again = load("t.yaml", &plain).map(|l| l.model).unwrap_or_else(|p| panic!("{}", render_all(&p)));
    assert_eq!(again.nodes[0].apps, model.nodes[0].apps);
}

/// A machine of the internet with sites of their own: each has a certificate, the first one only the other names.
#[test]
fn a_host_may_have_many_sites() {
    let text = "name: t\nsites:\n  net: { kind: internet, places: [paris] }\n  web:\n    kind: host\n    place: paris\n    address: 198.51.100.7\n    \
                names: [shop.test, blog.test]\n    certificate: good\n    sites:\n      blog.test: hello\n      \
                old.test: { pages: shop, certificate: expired }\n      b_d: hello\n";
    let problems = load("t.yaml", text).map(|_| ()).unwrap_err();
    assert!(
        render_all(&problems).contains("`b_d` is not a host name: it needs a domain"),
        "{}",
        render_all(&problems)
    );
    let text = text.replace("      b_d: hello\n", "");
    let model = load("t.yaml", &text).map(|l| l.model).unwrap_or_else(|p| panic!("{}", render_all(&p)));
    let web = model.nodes.iter().find(|n| n.name == "web").expect("web");
    let [App::HttpServer { port: 80, .. }, App::HttpServer { port: 443, certificate, hosting, .. }] =
        &web.apps[..]
    else {
        panic!("{:?}", web.apps)
    };
    let shown: Vec<_> =
        certificate.iter().chain(&hosting.certificates).map(|&c| &model.certificates[c]).collect();
    let names: Vec<_> = shown.iter().map(|c| c.names.join(",")).collect();
    assert_eq!(names, ["shop.test", "blog.test", "old.test"]);
    assert!(shown[2].not_after < shown[1].not_after);
    assert_eq!(hosting.sites.len(), 2);
}

/// Several addresses of a name: a machine's own list and policy, a name server's order and steering.
#[test]
fn names_may_have_several_addresses() {
    let text = "name: t\ntopology:\n  nodes:\n    a:\n      address: 10.0.0.1/24\n      hosts: { api.test: [ 10.0.0.2, 10.0.0.3 ], other.test: 10.0.0.2 }\n      \
                balance: { api.test: { policy: random-of-two, leave-out: 5s }, pool.test: round-robin }\n      \
                browser: { connect-timeout: 3s }\n    \
                b:\n      address: 10.0.0.2/24\n      run:\n        - dns-resolver: { roots: { r: 10.0.0.2 }, client-subnet: yes, order: fixed }\n    c:\n      address: 10.0.0.3/24\n      run:\n        \
                - dns-server:\n            zones: [ test ]\n            order: fixed\n            steer:\n              \
                cdn.test: { places: { tokyo: 10.1.0.1, paris: 10.2.0.1 }, networks: { 10.0.0.0/24: [ lyon, paris ] } }\n  \
                links:\n    - endpoints: [\"a:eth0\", \"b:eth0\"]\n    - endpoints: [\"b:eth1\", \"c:eth0\"]\nnames:\n  zones: { test: { records: [ \"cdn A 10.1.0.1\", \"cdn A 10.2.0.1\" ] } }\n";
    let model = load("t.yaml", text).map(|l| l.model).unwrap_or_else(|p| panic!("{}", render_all(&p)));
    let resolver = &model.nodes[0].resolver;
    assert_eq!(resolver.hosts.len(), 3);
    assert_eq!(resolver.balance[0].leave_out.as_millis(), 5_000);
    let [App::DnsResolver { client_subnet: true, fixed_order: true, .. }] = &model.nodes[1].apps[..] else {
        panic!("{:?}", model.nodes[1].apps)
    };
    let [App::DnsServer { fixed_order: true, steering, .. }] = &model.nodes[2].apps[..] else {
        panic!("{:?}", model.nodes[2].apps)
    };
    assert_eq!(steering[0].networks[0].2, 1);
    let plain = rt_scenario::views::plain_yaml(&model);
    let again = load("t.yaml", &plain).map(|l| l.model).unwrap_or_else(|p| panic!("{}", render_all(&p)));
    assert_eq!(again.nodes[0].resolver, model.nodes[0].resolver);
    assert_eq!(again.nodes[0].browser, model.nodes[0].browser);
    assert_eq!((&again.nodes[1].apps, &again.nodes[2].apps), (&model.nodes[1].apps, &model.nodes[2].apps));
    let text = text.replace("[ lyon, paris ]", "[ lyon ]");
    let problems = load("t.yaml", &text).map(|_| ()).unwrap_err();
    assert!(
        render_all(&problems).contains("`10.0.0.0/24` is not steered to any of the places"),
        "{}",
        render_all(&problems)
    );
}

const CROWD: &str = "name: crowd\nsites:\n  internet: { kind: internet, places: [frankfurt, paris] }\n  \
    shop: { kind: service, edges: { paris: { servers: 1 } }, address: 198.51.100.20, names: [shop.example] }\n  \
    home:\n    kind: home\n    place: frankfurt\n    devices:\n      user: { count: 12, dhcp: no, address: 192.168.1.20 }\n      \
    users: {}\nsteps:\n";

fn crowd(steps: &str) -> Result<Model, String> {
    let text = format!("{CROWD}{steps}");
    load("t.yaml", &text).map(|l| l.model).map_err(|p| render_all(&p))
}

#[test]
fn a_step_of_many_is_one_for_each() {
    let model = crowd(
        "  - home.user* opens http://shop.example/ every 10s for 5min\n  - home.users pings shop.example\n",
    );
    let model = model.unwrap_or_else(|why| panic!("{why}"));
    assert_eq!(model.steps.len(), 13);
    let names: Vec<_> = model.steps.iter().map(|s| model.nodes[s.node.index()].name.as_str()).collect();
    assert_eq!(
        (names[0], names[1], names[11], names[12]),
        ("home.user1", "home.user2", "home.user12", "home.users")
    );
    assert_eq!(model.steps[9].text, "home.user10 opens http://shop.example/ every 10s for 5min");
    // Spread over the ten seconds, and nobody waits for the others.
    let begin: u64 = model.steps[..12].iter().map(|s| s.after.0).sum();
    assert_eq!((begin, model.steps[0].after), (10_000_000_000 * 11 / 12, Nanos::ZERO));
    assert!(model.steps[..11].iter().all(|s| s.background) && !model.steps[11].background);
    let repeat = model.steps[3].repeat.unwrap();
    assert_eq!((repeat.every, repeat.lasts), (Nanos::from_secs(10), Nanos::from_secs(300)));
    assert_eq!(
        model.nodes[model.steps[11].node.index()].interfaces[0].addresses[0].to_string(),
        "192.168.1.31/24"
    );
    let plain = rt_scenario::views::plain_yaml(&model);
    let again =
        load("t.yaml", &plain).map(|l| l.model).unwrap_or_else(|p| panic!("{plain}\n{}", render_all(&p)));
    assert_eq!(again.steps.len(), 13);
    for (one, other) in model.steps.iter().zip(&again.steps) {
        let parts =
            |s: &rt_scenario::model::Step| (s.verb.clone(), s.after, s.repeat, s.background, s.text.clone());
        assert_eq!(parts(one), parts(other));
    }
}

#[test]
fn what_cannot_be_repeated_says_so() {
    let cases = [
        ("home.user* opens http://shop.example/ every 10s for soon", "not a span of time"),
        ("home.user1 opens http://shop.example/ every 0s for 5min", "too often or too long"),
        ("home.user1 opens http://shop.example/ every 1ms for 1000s", "too often or too long"),
        ("home.user1 traces the route to shop.example every 10s for 5min", "cannot be done `every`"),
        ("home.nobody* pings shop.example", "goes on with a number"),
    ];
    for (step, why) in cases {
        let said = crowd(&format!("  - {step}\n")).expect_err(step);
        assert!(said.contains(why), "{step}\n{said}");
    }
}

/// Purges of the timeline: one machine's, all of a site's; and after `show --expanded`.
#[test]
fn caches_forget_at_a_moment() {
    let text = "name: t\nsites:\n  internet: { kind: internet, places: [tokyo, london, ashburn] }\n  \
                example: { kind: cdn, names: [example.com], edges: { tokyo: , london: }, origin: { place: ashburn, pages: cdn } }\n\
                timeline:\n  - { at: 3s, purge: example, path: \"/static/*\" }\n  - { at: 1s, purge: tokyo }\n  \
                - { at: 2s, purge: example.london, tag: prices }\n  - { at: 4s, purge: tokyo, path: /a }\n";
    let model = load("t.yaml", text).map(|l| l.model).unwrap_or_else(|p| panic!("{}", render_all(&p)));
    let told = |model: &Model| -> Vec<(String, Forget)> {
        let all = model.timeline.iter().map(|happening| match &happening.change {
            Change::Purge { node, what } => (model.nodes[node.index()].name.clone(), what.clone()),
            other => panic!("{other:?}"),
        });
        all.collect()
    };
    let one = |node: &str, what: Forget| (format!("example.{node}"), what);
    let expected = [
        one("tokyo", Forget::Everything),
        one("london", Forget::Tag("prices".into())),
        one("tokyo", Forget::Below("/static/".into())),
        one("london", Forget::Below("/static/".into())),
        one("tokyo", Forget::Path("/a".into())),
    ];
    assert_eq!(told(&model), expected);
    let plain = rt_scenario::views::plain_yaml(&model);
    let again = load("t.yaml", &plain).map(|l| l.model).unwrap_or_else(|p| panic!("{}", render_all(&p)));
    assert_eq!(told(&again), expected);
}
