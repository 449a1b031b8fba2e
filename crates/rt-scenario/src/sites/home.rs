//! A home: router (NAT, DHCP, firewall), switch, devices.

use std::net::IpAddr;

use ipnet::IpNet;
use rt_base::{HookPoint, MacAddr, Nanos, NodeId, PortId};
use rt_rules::{Action, Chain, CtState, Filter, Match, NatAction, NatRule, Policy};

use super::{Plan, Public, attach, gateway_for, place_of, usable, with_length};
use crate::apps::LEASE;
use crate::diag::{Code, Span};
use crate::model::{App, NodeKind};
use crate::nat::read_behaviour;
use crate::tree::{Key, Value};
use crate::world::{Wire, World};

/// What its parts share.
struct Home<'v> {
    name: &'v str,
    span: Span,
    lan: IpNet,
    router: NodeId,
    inside: PortId,
    switch: NodeId,
    cables: Wire,
    resolvers: Vec<IpAddr>,
}

/// A device that has an address or wants one.
struct Device {
    short: String,
    address: Option<IpAddr>,
    mac: MacAddr,
    dhcp: bool,
}

pub(super) fn build(world: &mut World<'_, '_>, plan: &mut Plan, name: &Key, value: &Value) {
    let span = name.span;
    let usual = IpNet::from(ipnet::Ipv4Net::new_assert(std::net::Ipv4Addr::new(192, 168, 1, 0), 24));
    let lan = roomy(world, value, value.net_at("lan").unwrap_or(usual), usual);
    let resolvers = match value.get("resolvers") {
        Some(list) => list.items().iter().filter_map(Value::address).collect(),
        None => plan.resolvers.clone(),
    };
    let router = world.add_site_node(&name.text, "router", NodeKind::Router, "home router", span);
    let options = value.get("router");
    let inside = world.add_port(router, "lan", options.map_or(span, |v| v.span));
    let address = router_address(world, lan, options);
    world.set_address(
        (router, inside),
        address,
        options.and_then(|v| v.get("address")).map_or(span, |v| v.span),
    );
    world.node(router).own_routes = true;
    world.node(router).node.processing = Nanos::from_micros(50);
    if let Some(options) = options {
        world.set_mac((router, inside), options.mac_at("mac"), options.get("mac").map(|v| v.span));
    }
    let wan = connect(world, plan, value, (router, span));
    let switch = world.add_site_node(&name.text, "switch", NodeKind::Switch, "home switch", span);
    let cables = Wire::both(1_000_000_000, Nanos::from_micros(5)).read(value.get("cables"), ("up", "down"));
    let port = world.add_port(switch, "p0", span);
    world.add_link((router, inside), (switch, port), cables.clone(), span);
    let home = Home { name: &name.text, span, lan, router, inside, switch, cables, resolvers };
    let devices = build_devices(world, &home, value);
    dhcp(world, &home, value, &devices);
    rules(world, &home, wan, options);
    if let Some(at) = options.and_then(|v| v.get("clamp-mss")).filter(|v| v.text() == Some("yes")) {
        world.clamp_at(router, wan, at.span);
    }
    forwards(world, &home, (wan, options), &devices);
}

/// The LAN, if it has room for a router, a device and a pool.
fn roomy(world: &mut World<'_, '_>, value: &Value, lan: IpNet, usual: IpNet) -> IpNet {
    if lan.prefix_len() <= 29 && lan.prefix_len() >= 8 {
        return lan;
    }
    if let Some(at) = value.get("lan") {
        world
            .problems
            .add(
                Code::NoAddressLeft,
                at.span,
                format!("{lan} is no network for a home"),
                "too small or too large",
            )
            .help("use a prefix length from /8 to /29, such as `192.168.1.0/24`");
    }
    usual
}

fn router_address(world: &mut World<'_, '_>, lan: IpNet, options: Option<&Value>) -> IpNet {
    let usual = with_length(gateway_for(lan), lan.prefix_len());
    let Some(at) = options.and_then(|v| v.get("address")) else { return usual };
    let Some(address) = at.address() else { return usual };
    let address = with_length(address, lan.prefix_len());
    if lan.contains(&address.addr()) && usable(address) {
        return address;
    }
    foreign(world, at.span, address.addr(), lan);
    usual
}

fn foreign(world: &mut World<'_, '_>, span: Span, address: IpAddr, lan: IpNet) {
    world
        .problems
        .add(
            Code::ForeignAddress,
            span,
            format!("{address} cannot be a machine's address in {lan}"),
            "outside the network",
        )
        .help(format!("use an address between {} and {}", gateway_for(lan), last_usable(lan)));
}

fn last_usable(lan: IpNet) -> IpAddr {
    match lan {
        IpNet::V4(net) => std::net::Ipv4Addr::from(u32::from(net.broadcast()).saturating_sub(1)).into(),
        IpNet::V6(net) => net.broadcast().into(),
    }
}

/// The outer interface and its line to the ISP.
fn connect(
    world: &mut World<'_, '_>,
    plan: &mut Plan,
    value: &Value,
    (router, span): (NodeId, Span),
) -> PortId {
    let mut written = value.get("public");
    let place = place_of(world, plan, value);
    let cgnat =
        value.get("access").filter(|v| v.flag_at("cgnat") == Some(true)).and_then(|v| v.entry("cgnat"));
    if let (Some((name, _)), Some(public)) = (cgnat, written) {
        let message = "a home behind a carrier-grade NAT has no public address of its own";
        world
            .problems
            .add(Code::Contradiction, public.span, message, "this cannot hold")
            .related(name.span, "if this holds")
            .help("remove one of them");
        written = None;
    }
    let address = match (written.and_then(|v| v.host(24)), cgnat) {
        (Some(address), _) => address,
        (None, Some(_)) => plan.shared_address(world, &place, span),
        (None, None) => plan.public_address(world, &place, span),
    };
    let usual = Wire::both(100_000_000, Nanos::from_millis(4));
    let wire = usual.read(value.get("access"), ("up", "down"));
    if let Some(access) = value.get("access") {
        world.check_mtu(access);
    }
    let at = written.map_or(span, |v| v.span);
    let pppoe = value.get("access").and_then(|v| v.flag_at("pppoe")).unwrap_or(false);
    attach(
        world,
        router,
        "wan",
        Public { address, place, anycast: false, by_isp: true, pppoe, wire, span: at },
    );
    PortId(1)
}

fn build_devices(world: &mut World<'_, '_>, home: &Home<'_>, value: &Value) -> Vec<Device> {
    let mut devices = Vec::new();
    for (short, options) in value.get("devices").map(Value::entries).unwrap_or_default() {
        if let Some(why) = crate::shape::name_problem(&short.text) {
            let message = format!("`{}` cannot name a device: {why}", short.text);
            world.problems.add(Code::BadName, short.span, message, "not a name");
            continue;
        }
        let Some(count) = options.whole_at("count") else {
            let plug = devices.len();
            devices.push(build_device(world, home, (plug, short, 0), options));
            continue;
        };
        if let Some(at) = options.get("mac") {
            let message = "devices with a `count` cannot share a MAC";
            world.problems.add(Code::Contradiction, at.span, message, "of which?").help("leave it away");
        }
        if !world.room_for(usize::try_from(count).unwrap_or(usize::MAX), short.span) {
            break;
        }
        for nth in 0..u32::try_from(count).unwrap_or(0) {
            let numbered = Key { text: format!("{}{}", short.text, nth + 1), span: short.span };
            let plug = devices.len();
            devices.push(build_device(world, home, (plug, &numbered, nth), options));
        }
    }
    devices
}

fn build_device(
    world: &mut World<'_, '_>,
    home: &Home<'_>,
    (index, short, nth): (usize, &Key, u32),
    value: &Value,
) -> Device {
    let role = value.str_at("role").unwrap_or(&short.text).to_owned();
    let id = world.add_site_node(home.name, &short.text, NodeKind::Host, &role, short.span);
    let port = world.add_port(id, "eth0", short.span);
    world.set_mac((id, port), value.mac_at("mac"), value.get("mac").map(|v| v.span));
    let plug = world.add_port(home.switch, &format!("p{}", index + 1), home.span);
    world.add_link((id, port), (home.switch, plug), home.cables.clone(), short.span);
    let mut address = value.address_at("address").map(|address| counted_up(address, nth));
    let at = value.get("address").map_or(short.span, |v| v.span);
    if let Some(wrong) =
        address.filter(|a| !home.lan.contains(a) || !usable(with_length(*a, home.lan.prefix_len())))
    {
        foreign(world, at, wrong, home.lan);
        address = None;
    }
    world.node(id).ports[port.index()].address = address.map(|_| at);
    world.read_machine(id, value);
    let dhcp = value.flag_at("dhcp").unwrap_or(true);
    world.node(id).own_routes = true;
    if dhcp {
        world.node(id).node.apps.push(App::DhcpClient { port });
    } else if let Some(address) = address {
        set_by_hand(world, home, (id, port), (address, at));
    } else if value.get("address").is_none() {
        world
            .problems
            .add(Code::MissingKey, short.span, "without DHCP a device needs an address", "no address")
            .help("write `address:`, or leave `dhcp: no` away");
    }
    world.read_firewall(id, value);
    world.read_apps(id, value);
    let mac = world.node(id).node.interfaces[port.index()].mac;
    Device { short: short.text.clone(), address, mac, dhcp }
}

fn counted_up(address: IpAddr, by: u32) -> IpAddr {
    match address {
        IpAddr::V4(v4) => std::net::Ipv4Addr::from(u32::from(v4).saturating_add(by)).into(),
        IpAddr::V6(_) => address,
    }
}

fn set_by_hand(
    world: &mut World<'_, '_>,
    home: &Home<'_>,
    at: (NodeId, PortId),
    (address, span): (IpAddr, Span),
) {
    world.set_address(at, with_length(address, home.lan.prefix_len()), span);
    let origin = world.default_of(home.span, "the home's router is the gateway");
    if let Some(gateway) = world.first_address(home.router) {
        world.set_gateway(at, gateway, origin);
    }
    let resolver = &mut world.node(at.0).node.resolver;
    if resolver.servers.is_empty() {
        resolver.servers.clone_from(&home.resolvers);
    }
}

fn dhcp(world: &mut World<'_, '_>, home: &Home<'_>, value: &Value, devices: &[Device]) {
    let options = value.get("dhcp");
    let own = world.nodes[home.router.index()].node.interfaces[home.inside.index()].addresses[0];
    let Some((first, last)) = world.read_pool(options.and_then(|v| v.get("pool")), own) else { return };
    let silent = options.is_some_and(|v| v.text() == Some("silent") || v.flag_at("silent") == Some(true));
    let lease = options.and_then(|v| v.duration_at("lease")).unwrap_or(LEASE);
    let reservations = devices.iter().filter(|d| d.dhcp).filter_map(|d| Some((d.mac, d.address?))).collect();
    let (gateway, resolvers) = (own.addr(), home.resolvers.clone());
    let app =
        App::DhcpServer { port: home.inside, first, last, reservations, gateway, resolvers, lease, silent };
    world.node(home.router).node.apps.push(app);
}

/// NAT for everything that leaves, and a firewall that lets nobody in unasked.
fn rules(world: &mut World<'_, '_>, home: &Home<'_>, wan: PortId, options: Option<&Value>) {
    let ports = options.and_then(|v| v.get("nat-ports"));
    let line = options.map_or(home.span, |v| ports.unwrap_or(v).span);
    let origin = match ports {
        Some(_) => world.line(line),
        None => world.default_of(line, "a home router translates what leaves"),
    };
    let ports = world.read_nat_ports(ports);
    let behaviour = read_behaviour(options.and_then(|v| v.get("nat")));
    world.check_behaviour(options.and_then(|v| v.get("nat")), behaviour);
    let to = world.nodes[home.router.index()].node.interfaces[wan.index()].addresses[0].addr();
    let when = Match { src: vec![home.lan], out_port: Some(wan), ..Match::default() };
    let rule = NatRule { behaviour, ..NatRule::new(when, NatAction::Snat { to, ports }, origin) };
    world.node(home.router).node.nat.push(rule);
    let origin = world.default_of(home.span, "a home router lets nobody in unasked");
    let rule = |when: Match| Filter::new(when, Action::Accept, origin.clone());
    let known = || rule(Match { states: vec![CtState::Established, CtState::Related], ..Match::default() });
    let inside = || rule(Match { in_port: Some(home.inside), ..Match::default() });
    let ping = rule(Match { protocol: Some(1), ..Match::default() });
    let policy = Policy::new(Action::Drop, origin.clone());
    let chains = vec![
        Chain { hook: HookPoint::Input, rules: vec![known(), inside(), ping], policy: policy.clone() },
        Chain { hook: HookPoint::Forward, rules: vec![known(), inside()], policy },
    ];
    world.node(home.router).node.chains = chains;
    if let Some(options) = options {
        world.read_conntrack(home.router, options);
        world.read_firewall(home.router, options);
        world.read_middlebox(home.router, options);
        if let Some(processing) = options.duration_at("processing") {
            world.node(home.router).node.processing = processing;
        }
    }
}

fn forwards(
    world: &mut World<'_, '_>,
    home: &Home<'_>,
    (wan, options): (PortId, Option<&Value>),
    devices: &[Device],
) {
    let is_inside = |a: IpAddr| home.lan.contains(&a) && usable(with_length(a, home.lan.prefix_len()));
    let find = |short: &str| match devices.iter().find(|d| d.short == short) {
        None if short.parse().is_ok_and(is_inside) => short.parse().map_err(|_| String::new()),
        None if short.parse::<IpAddr>().is_ok() => {
            Err(format!("{short} cannot be a machine's address in {}", home.lan))
        }
        Some(Device { address: Some(address), .. }) => Ok(*address),
        Some(_) => Err(format!("`{short}` has no fixed address: give it one")),
        None => Err(format!("there is no device `{short}` here")),
    };
    let hairpin = read_behaviour(options.and_then(|v| v.get("nat"))).hairpin;
    let mut open = Vec::new();
    for line in options.and_then(|v| v.get("port-forwards")).map(Value::items).unwrap_or_default() {
        world.read_port_forward((home.router, wan), line, (hairpin, &mut open), &find);
    }
}
