//! Small random networks: a tree of routers with hosts, then firewalls, access lists, NAT, 1:1 NAT, lost and wrong routes,
//! policy routing and reverse-path checks.

use std::fmt::Write;
use std::net::IpAddr;

use ipnet::IpNet;
use rt_base::{HookPoint, PortId, Rng};
use rt_rules::{
    Action, Chain, CtState, Filter, Match, NatAction, NatPorts, NatRule, Origin, Policy, PortRange,
    RejectWith, ReversePath, Route, RouteKind, RoutePolicy, SourceCheck,
};
use rt_scenario::model::{Model, Node, NodeKind, RouteTableModel};

use crate::Scenario;

/// An address that nobody has.
const NOBODY: &str = "10.200.0.9";

fn origin() -> Origin {
    Origin::Line { file: "random.yaml".into(), line: 1 }
}

/// What is asked for besides the hosts: an address of a router, one of nobody on a link, one of nobody at all.
pub(super) fn outside_addresses(model: &Model) -> Vec<String> {
    let mut routers = model.nodes.iter().rev().filter(|n| n.kind == NodeKind::Router);
    let last = routers.next().and_then(|n| n.interfaces.first()).map(|i| i.addresses[0].addr().to_string());
    let rules = model.nodes.iter().flat_map(|n| &n.nat);
    let public = rules.filter_map(|r| match r.action {
        NatAction::Static { outside, .. } => Some(outside.to_string()),
        _ => None,
    });
    last.into_iter().chain([NOBODY.to_owned()]).chain(public).collect()
}

/// A network of this seed.
pub(super) fn random(seed: u64) -> Model {
    let mut dice = Rng::stream(seed, "networks", "can");
    let routers = 1 + dice.below(3);
    let (mut nodes, mut links) = (String::new(), String::new());
    for r in 0..routers {
        let hosts = 1 + dice.below(2);
        let mut ports = String::new();
        for h in 0..hosts {
            let net = format!("10.{}.{h}", r + 1);
            let run = ["run: [ http: { port: 80, pages: hello } ]", "run: [ http, echo ]", "run: []"];
            let run = run[dice.below(3) as usize];
            let _ = writeln!(nodes, "    h{r}{h}: {{ address: {net}.10/24, gateway: {net}.1, {run} }}");
            let _ = writeln!(links, "    - endpoints: [\"h{r}{h}:eth0\", \"r{r}:lan{h}\"]");
            let _ = write!(ports, "lan{h}: {{ address: {net}.1/24 }}, ");
        }
        if r > 0 {
            let parent = dice.below(r);
            let _ = write!(ports, "up: {{ address: 10.100.{r}.2/30 }}, ");
            let _ = writeln!(links, "    - endpoints: [\"r{r}:up\", \"r{parent}:down{r}\"]");
        }
        let _ = writeln!(nodes, "    r{r}: {{ kind: router, interfaces: {{ {ports}DOWN{r} }} }}");
    }
    for r in 0..routers {
        let own = |line: &&str| line.contains(&format!("\"r{r}:down"));
        let mut down = String::new();
        for line in links.lines().filter(own) {
            let child = line.rsplit("down").next().unwrap().trim_end_matches(['"', ']']);
            let _ = write!(down, "down{child}: {{ address: 10.100.{child}.1/30 }}, ");
        }
        nodes = nodes.replace(&format!("DOWN{r} "), &format!("{down} "));
    }
    let text =
        format!("name: random\ntopology:\n  defaults: {{ delay: 1ms }}\n  nodes:\n{nodes}  links:\n{links}");
    let scenario = Scenario::of_text("random.yaml", &text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    let mut model = scenario.model().clone();
    spoil(&mut model, &mut dice);
    model
}

fn spoil(model: &mut Model, dice: &mut Rng) {
    let nets: Vec<IpNet> =
        model.nodes.iter().flat_map(|n| &n.interfaces).flat_map(|i| &i.addresses).copied().collect();
    for node in &mut model.nodes {
        let router = node.kind == NodeKind::Router;
        if dice.below(3) == 0 {
            let hook = if router { HookPoint::Forward } else { HookPoint::Input };
            node.chains.push(chain(hook, dice, &nets));
        }
        if dice.below(8) == 0 {
            node.chains.push(chain(HookPoint::Output, dice, &nets));
        }
        if router {
            spoil_router(node, dice, &nets);
        }
    }
    // What came later has dice of its own, so that the networks before it stay what they were.
    let mut dice = Rng::stream(dice.below(u64::MAX), "networks", "later");
    for index in 0..model.nodes.len() {
        if model.nodes[index].kind == NodeKind::Router {
            make_public(model, index, &mut dice);
            let node = &mut model.nodes[index];
            choose_by_policy(node, &mut dice, &nets);
            doubt_sources(node, &mut dice);
        }
    }
}

/// 1:1 NAT for a host of a router's first network, and a way to its public address at the router above.
fn make_public(model: &mut Model, index: usize, dice: &mut Rng) {
    let node = &mut model.nodes[index];
    let Some(up) = node.interfaces.iter().position(|i| i.name == "up") else { return };
    if dice.below(4) > 0 {
        return;
    }
    let (IpAddr::V4(lan), own) = (node.interfaces[0].addresses[0].addr(), node.interfaces[up].addresses[0])
    else {
        return;
    };
    let [a, b, c, _] = lan.octets();
    let (inside, outside) = (IpAddr::from([a, b, c, 10]), IpAddr::from([10, 101, b, 1]));
    let out_port = Some(PortId(up as u16)).filter(|_| dice.below(2) == 0);
    let action = NatAction::Static { inside, outside };
    let at = dice.below(node.nat.len() as u64 + 1) as usize;
    node.nat.insert(at, NatRule::new(Match { out_port, ..Match::default() }, action, origin()));
    let above = own.hosts().find(|h| *h != own.addr()).unwrap();
    let parent = model
        .nodes
        .iter_mut()
        .find(|n| n.interfaces.iter().any(|i| i.addresses.iter().any(|x| x.addr() == above)));
    let parent = parent.unwrap();
    let out = parent.interfaces.iter().position(|i| i.addresses[0].addr() == above).unwrap();
    parent.routes.push(unicast(outside.into(), own.addr(), out));
}

/// A table with some of the machine's routes, or another default, for what one policy names.
fn choose_by_policy(node: &mut Node, dice: &mut Rng, nets: &[IpNet]) {
    if dice.below(3) > 0 {
        return;
    }
    let mut routes: Vec<Route> = node.routes.iter().filter(|_| dice.below(2) == 0).cloned().collect();
    if dice.below(3) == 0
        && let Some(route) = routes.first_mut()
    {
        route.kind = if dice.below(2) == 0 { RouteKind::Blackhole } else { RouteKind::Unreachable };
    }
    if dice.below(3) == 0 {
        let out = dice.below(node.interfaces.len() as u64) as usize;
        let net = node.interfaces[out].addresses[0];
        let via = net.hosts().find(|h| *h != net.addr()).unwrap_or(net.addr());
        routes.retain(|r| r.prefix.prefix_len() > 0);
        routes.push(unicast("0.0.0.0/0".parse().unwrap(), via, out));
    }
    node.tables.push(RouteTableModel { name: "other".into(), routes });
    let mut when = Match::default();
    match dice.below(3) {
        0 => when.in_port = Some(PortId(dice.below(node.interfaces.len() as u64) as u16)),
        1 => when.src = vec![nets[dice.below(nets.len() as u64) as usize].trunc()],
        _ => when.protocol = Some(6),
    }
    node.policies.push(RoutePolicy { when, table: 1, origin: origin() });
}

/// Reverse-path checks of some interfaces.
fn doubt_sources(node: &mut Node, dice: &mut Rng) {
    for interface in &mut node.interfaces {
        let mode = match dice.below(8) {
            0 => ReversePath::Strict,
            1 => ReversePath::Loose,
            _ => continue,
        };
        interface.reverse_path = Some(SourceCheck { mode, origin: origin() });
    }
}

fn unicast(prefix: IpNet, via: IpAddr, out: usize) -> Route {
    let (out, kind) = (PortId(out as u16), RouteKind::Unicast);
    Route { prefix, via: Some(via), out, kind, metric: 0, source: None, origin: origin() }
}

fn spoil_router(node: &mut Node, dice: &mut Rng, nets: &[IpNet]) {
    for hook in [HookPoint::Prerouting, HookPoint::Postrouting] {
        if dice.below(7) == 0 {
            node.chains.push(acl(hook, dice, nets, node.interfaces.len()));
        }
    }
    // A machine's own networks cannot be taken from it.
    let learnt: Vec<usize> = (0..node.routes.len()).filter(|i| node.routes[*i].via.is_some()).collect();
    if dice.below(4) == 0 && !learnt.is_empty() {
        let at = learnt[dice.below(learnt.len() as u64) as usize];
        match dice.below(3) {
            0 => drop(node.routes.remove(at)),
            1 => node.routes[at].kind = RouteKind::Blackhole,
            _ => node.routes[at].kind = RouteKind::Unreachable,
        }
    }
    let up = node.interfaces.iter().position(|i| i.name == "up");
    if let Some(up) = up.filter(|_| dice.below(3) == 0) {
        let when = Match { out_port: Some(PortId(up as u16)), ..Match::default() };
        let ports = NatPorts::Random(PortRange { first: 20_000, last: 60_000 });
        node.nat.push(NatRule::new(when, NatAction::Masquerade { ports }, origin()));
        if dice.below(2) == 0 {
            let to = nets[dice.below(nets.len() as u64) as usize].addr();
            let port = if dice.below(2) == 0 { None } else { Some(80) };
            let dport = PortRange { first: 22, last: 22 };
            let when = Match {
                protocol: Some(6),
                dst: vec![node.interfaces[up].addresses[0].addr().into()],
                dport: Some(dport),
                ..Match::default()
            };
            node.nat.push(NatRule::new(when, NatAction::Dnat { to, port }, origin()));
        }
    }
    if dice.below(8) == 0 {
        // A default route that may lead nowhere, back, or round in a circle.
        let interface = dice.below(node.interfaces.len() as u64) as usize;
        let net = node.interfaces[interface].addresses[0];
        let via = net.hosts().find(|h| *h != net.addr()).unwrap_or(IpAddr::from([10, 200, 0, 1]));
        node.routes.push(unicast("0.0.0.0/0".parse().unwrap(), via, interface));
    }
}

fn condition(dice: &mut Rng, nets: &[IpNet]) -> Match {
    let mut when = Match::default();
    let net = |dice: &mut Rng| nets[dice.below(nets.len() as u64) as usize].trunc();
    if dice.below(2) == 0 {
        when.src = vec![net(dice)];
    }
    if dice.below(3) == 0 {
        when.dst = vec![net(dice), net(dice)];
    }
    match dice.below(5) {
        0 => when.protocol = Some(1),
        1 => when.protocol = Some(17),
        2 => {
            when.protocol = Some(6);
            let first = if dice.below(2) == 0 { 80 } else { 22 };
            when.dport = Some(PortRange { first, last: first });
        }
        3 => when.protocol = Some(6),
        _ => {}
    }
    when
}

fn action(dice: &mut Rng) -> Action {
    match dice.below(5) {
        0 | 1 => Action::Accept,
        2 | 3 => Action::Drop,
        _ => Action::Reject(RejectWith::IcmpProhibited),
    }
}

fn chain(hook: HookPoint, dice: &mut Rng, nets: &[IpNet]) -> Chain {
    let mut rules = Vec::new();
    if dice.below(2) == 0 {
        let states = vec![CtState::Established, CtState::Related];
        rules.push(Filter::new(Match { states, ..Match::default() }, Action::Accept, origin()));
    }
    for _ in 0..dice.below(4) {
        rules.push(Filter::new(condition(dice, nets), action(dice), origin()));
    }
    let policy = if dice.below(3) == 0 { Action::Drop } else { Action::Accept };
    Chain { hook, rules, policy: Policy::new(policy, origin()) }
}

fn acl(hook: HookPoint, dice: &mut Rng, nets: &[IpNet], ports: usize) -> Chain {
    let mut rules = Vec::new();
    for _ in 0..1 + dice.below(4) {
        let mut when = condition(dice, nets);
        let port = Some(PortId(dice.below(ports as u64) as u16));
        if dice.below(2) == 0 {
            if hook == HookPoint::Prerouting { when.in_port = port } else { when.out_port = port }
        }
        let action = if dice.below(2) == 0 { Action::Accept } else { Action::Drop };
        rules.push(Filter::new(when, action, origin()));
    }
    let policy = if dice.below(4) == 0 { Action::Drop } else { Action::Accept };
    Chain { hook, rules, policy: Policy::new(policy, origin()) }
}
