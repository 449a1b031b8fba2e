//! Files that are in order and were once refused or warned about.

use rt_scenario::model::App;
use rt_scenario::{load, render_all};

fn fine(text: &str) -> rt_scenario::Model {
    let loaded = load("t.yaml", text).unwrap_or_else(|problems| panic!("{}", render_all(&problems)));
    assert!(loaded.warnings.is_empty(), "{}", render_all(&loaded.warnings));
    loaded.model
}

#[test]
fn names_of_a_resolvers_private_zone_are_names() {
    let text = |servers: &str| {
        format!(
            "name: t
topology:
  nodes:
    a: {{ address: 10.0.0.2/24, resolvers: [{servers}] }}
    dns:
      address: 10.0.0.9/24
      run: [ dns-resolver: {{ roots: {{ a.root: 10.0.0.9 }}, names: {{ Shop.test: [10.0.0.11] }} }} ]
    w: {{ address: 10.0.0.11/24, run: [ http ] }}
    s: {{ kind: switch }}
  links:
    - endpoints: [\"a:eth0\", \"s:1\"]
    - endpoints: [\"dns:eth0\", \"s:2\"]
    - endpoints: [\"w:eth0\", \"s:3\"]
steps: [ a opens http://shop.test/, a looks up shop.test ]
"
        )
    };
    fine(&text("10.0.0.9"));
    // Whoever asks another resolver hears nothing of it.
    let problems = load("t.yaml", &text("10.0.0.11")).expect_err("nobody knows the name");
    assert!(render_all(&problems).contains("error[E038]"), "{}", render_all(&problems));
}

#[test]
fn a_balancer_may_stand_before_what_a_step_needs() {
    fine(
        "name: t
topology:
  nodes:
    a: { address: 10.0.0.2/24 }
    lb:
      address: 10.0.0.9/24
      run:
        - l4-balancer: { port: 7000, upstreams: { w: 10.0.0.11:7000 } }
        - l4-balancer: { port: 5001, upstreams: { w: 10.0.0.11:5001 } }
    w: { address: 10.0.0.11/24, run: [ rpc, sink ] }
    s: { kind: switch }
  links:
    - endpoints: [\"a:eth0\", \"s:1\"]
    - endpoints: [\"lb:eth0\", \"s:2\"]
    - endpoints: [\"w:eth0\", \"s:3\"]
steps:
  - a calls 10.0.0.9:7000 3 times
  - a sends 10KiB to 10.0.0.9 over TCP
  - a streams 64kbit/s for 1s to 10.0.0.9:5001 over TCP
",
    );
}

#[test]
fn programs_of_a_host_may_name_its_certificate() {
    let model = fine(
        "name: t
sites:
  internet: { kind: internet, places: [london], resolvers: { r: { address: 8.8.8.8, place: london } } }
  bank:
    kind: host
    address: 198.51.100.90
    names: [bank.example]
    certificate: good
    run: [ http: { pages: shop, certificate: bank }, http: { pages: hello } ]
  home: { kind: home, devices: { laptop: } }
steps: [ laptop opens https://bank.example/ ]
",
    );
    let bank = model.nodes.iter().find(|node| node.name == "bank").expect("the host");
    let shown: Vec<Option<usize>> = bank
        .apps
        .iter()
        .filter_map(|app| match app {
            App::HttpServer { port: 443, certificate, .. } => Some(*certificate),
            _ => None,
        })
        .collect();
    // Its own server on 443, and none beside it.
    assert_eq!(shown, [Some(0)]);
    assert_eq!(model.certificates[0].names, ["bank.example"]);
}
