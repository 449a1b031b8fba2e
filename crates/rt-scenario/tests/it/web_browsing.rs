//! The numbers that `web-browsing` promises, in its model.

use rt_base::Nanos;
use rt_rules::{NatAction, NatPorts, PortRange, RouteTable};
use rt_scenario::Model;
use rt_scenario::model::{App, Node, PortPolicy};

use crate::shipped::{all, model};

fn web_browsing() -> Model {
    let (name, text) = all().into_iter().find(|(n, _)| n == "web-browsing").expect("shipped");
    model(&name, &text)
}

fn node<'m>(model: &'m Model, name: &str) -> &'m Node {
    model.nodes.iter().find(|n| n.name == name).unwrap_or_else(|| panic!("no node {name}"))
}

#[test]
fn the_home_is_as_promised() {
    let model = web_browsing();
    let (laptop, router) = (node(&model, "home.laptop"), node(&model, "home.router"));
    assert_eq!(laptop.interfaces[0].mac.to_string(), "aa:bb:cc:dd:ee:ff");
    assert_eq!(router.interfaces[0].mac.to_string(), "10:22:33:44:55:66");
    assert_eq!(router.interfaces[0].addresses[0].to_string(), "192.168.1.1/24");
    assert_eq!(router.interfaces[1].addresses[0].addr().to_string(), "203.0.113.50");
    let stack = &laptop.stack;
    assert_eq!((stack.port_policy, stack.ports_first, stack.ttl), (PortPolicy::Sequential, 52_431, 64));
    let ports = NatPorts::Sequential(PortRange { first: 10_001, last: 65_535 });
    let to = "203.0.113.50".parse().expect("an address");
    assert_eq!(router.nat[0].action, NatAction::Snat { to, ports });
    let App::DhcpServer { reservations, gateway, resolvers, .. } = &router.apps[0] else { panic!("no DHCP") };
    assert_eq!(reservations[0].1.to_string(), "192.168.1.10");
    assert_eq!((gateway.to_string(), resolvers[0].to_string()), ("192.168.1.1".into(), "8.8.8.8".into()));
}

#[test]
fn the_numbers_are_pinned() {
    let model = web_browsing();
    assert_eq!(model.steps[0].isn, Some(100));
    assert_eq!(node(&model, "google.frankfurt").stack.listen_isns, [300]);
    assert_eq!(model.steps[1].after, Nanos::from_secs(2));
    assert_eq!(node(&model, "home.laptop").browser.user_agent, "Chrome/120.0");
    assert_eq!(node(&model, "home.laptop").browser.cookies[0].2, "123");
}

/// Follows the routes from `from` to `target`; names of the nodes on the way.
fn way(model: &Model, from: &str, target: &str) -> Vec<String> {
    let target = target.parse().expect("an address");
    let mut at = model.nodes.iter().position(|n| n.name == from).expect("a node");
    let mut out = Vec::new();
    while out.len() < 20 {
        let here = &model.nodes[at];
        out.push(here.name.clone());
        if here.interfaces.iter().flat_map(|i| &i.addresses).any(|n| n.addr() == target) {
            break;
        }
        let table = RouteTable::new(here.routes.clone());
        let (_, route) = table.lookup(target).expect("a route");
        let link = model.links.iter().find(|l| [l.a, l.b].contains(&(rt_base::NodeId(at as u32), route.out)));
        let link = link.expect("a link");
        at = if link.a.0.index() == at { link.b.0.index() } else { link.a.0.index() };
    }
    out
}

#[test]
fn routing_takes_the_near_edge() {
    let model = web_browsing();
    let path = way(&model, "home.router", "142.250.190.46");
    assert_eq!(
        path,
        ["home.router", "internet.isp", "internet.paris", "internet.frankfurt", "google.frankfurt"]
    );
    let path = way(&model, "internet.ashburn", "142.250.190.46");
    assert_eq!(path, ["internet.ashburn", "google.ashburn"]);
    let path = way(&model, "internet.google-dns", "203.0.113.50");
    assert_eq!(path.last().map(String::as_str), Some("home.router"));
}

#[test]
fn the_tree_has_its_shape() {
    let model = web_browsing();
    let zone = |apex: &str| &model.zones.iter().find(|z| z.apex == apex).expect("a zone").text;
    assert!(zone(".").contains("com. 172800 IN NS x.gtld-servers.net.\n"));
    assert!(zone(".").contains("x.gtld-servers.net. 172800 IN A "));
    assert!(zone("com").contains("google.com. 172800 IN NS ns1.google.com.\n"));
    assert!(zone("com").contains("ns1.google.com. 172800 IN A 216.239.32.10\n"));
    assert!(zone("google.com").contains("google.com. 300 IN A 142.250.190.46\n"));
    let servers = |node: &Node| {
        node.apps.iter().any(|a| matches!(a, App::Edge { upstreams, .. } if upstreams.len() == 3))
    };
    assert!(servers(node(&model, "google.frankfurt")) && servers(node(&model, "google.ashburn")));
    assert!(model.nodes.iter().filter(|n| n.role == "backbone router").count() >= 3);
}
