//! What only the whole can show: duplicate and foreign addresses, overlapping subnets, layer-2 loops, ways and names of
//! steps.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use rt_base::{MacAddr, NodeId, PortId};

use crate::diag::{Code, Span};
use crate::dns;
use crate::model::{App, Check, Expect, NodeKind, Transport, Verb};
use crate::routing::Segments;
use crate::steps::StepDraft;
use crate::ways::Ways;
use crate::world::World;

/// Checks that need no routes.
pub(crate) fn before_routes(world: &mut World<'_, '_>, segments: &Segments) {
    layer_two_loops(world);
    addresses_on_segments(world, segments);
    duplicate_macs(world, segments);
    overlaps_on_nodes(world);
    public_duplicates(world, segments);
    unlinked(world);
    ports_taken(world);
    crate::tunnels::peers(world);
    crate::ssh::known_hosts(world);
    crate::forward::authorities(world);
    duplicate_zones(world);
    crate::upstreams::check(world);
}

/// The protocol (6, 17) and port that a program listens on; DHCP servers by interface.
pub(crate) fn listens(app: &App) -> Option<(u8, u32)> {
    match app {
        App::HttpServer { port, .. }
        | App::Edge { port, .. }
        | App::Rpc { port, .. }
        | App::Ssh { port, .. }
        | App::SplitTcp { port }
        | App::Sink { port }
        | App::Echo { port }
        | App::Discard { port }
        | App::Chargen { port } => Some((6, u32::from(*port))),
        App::Grpc(server) => Some((6, u32::from(server.port))),
        App::L4Balancer(balancer) => Some((6, u32::from(balancer.port))),
        App::ForwardProxy(proxy) => Some((6, u32::from(proxy.port))),
        App::Wireguard { port, .. } => Some((17, u32::from(*port))),
        App::TcpTunnel { port, to: None, .. } => Some((6, u32::from(*port))),
        App::TcpTunnel { to: Some(_), .. } => None,
        App::Ntp => Some((17, 123)),
        App::DnsServer { .. } | App::DnsResolver { .. } => Some((17, 53)),
        App::DhcpServer { port, .. } => Some((17, 67 << 16 | u32::from(port.0))),
        App::DhcpClient { port } => Some((17, 68 << 16 | u32::from(port.0))),
    }
}

fn ports_taken(world: &mut World<'_, '_>) {
    for index in 0..world.nodes.len() {
        let draft = &world.nodes[index];
        let mut seen = std::collections::BTreeSet::new();
        let twice = draft.node.apps.iter().filter_map(listens).find(|at| !seen.insert(*at));
        if let Some((_, port)) = twice {
            let port = if port > 65_535 { port >> 16 } else { port };
            let (span, message) =
                (draft.span, format!("two programs of `{}` listen on port {port}", draft.node.name));
            world
                .problems
                .add(Code::PortTaken, span, message, "on this machine")
                .help("give one of them another `port:`");
        }
    }
}

fn duplicate_zones(world: &mut World<'_, '_>) {
    let mut seen: BTreeMap<String, Span> = BTreeMap::new();
    for index in 0..world.zones.len() {
        let zone = &world.zones[index];
        if let Some(first) = seen.insert(zone.zone.apex.clone(), zone.span) {
            let (span, message) = (zone.span, format!("there are two zones called `{}`", zone.zone.apex));
            world
                .problems
                .add(Code::DuplicateZone, span, message, "second one")
                .related(first, "first one")
                .help("put all its records into one of them (`records:` of the site)");
        }
    }
}

fn layer_two_loops(world: &mut World<'_, '_>) {
    let mut root: Vec<usize> = (0..world.nodes.len()).collect();
    fn find(root: &mut [usize], mut at: usize) -> usize {
        while root[at] != at {
            root[at] = root[root[at]];
            at = root[at];
        }
        at
    }
    for index in 0..world.links.len() {
        let link = &world.links[index];
        let (a, b, span) = (link.a.0.index(), link.b.0.index(), link.span);
        let switch = |i: usize| world.nodes[i].node.kind == NodeKind::Switch;
        if !switch(a) || !switch(b) {
            continue;
        }
        let (ra, rb) = (find(&mut root, a), find(&mut root, b));
        if ra != rb {
            root[ra] = rb;
            continue;
        }
        let message = format!(
            "this link closes a loop of switches: `{}` and `{}` are joined already",
            world.nodes[a].node.name, world.nodes[b].node.name
        );
        world
            .problems
            .add(Code::LayerTwoLoop, span, message, "closes the loop")
            .help("broadcasts would circle for ever: remove one link, or put a router into the circle");
    }
}

/// An address on a segment: whose, which, written where.
type Placed = (NodeId, IpNet, Span);

/// On one segment no address twice, and everybody in the network of somebody else.
fn addresses_on_segments(world: &mut World<'_, '_>, segments: &Segments) {
    for members in &segments.members {
        let mut placed: Vec<Placed> = Vec::new();
        let mut seen: BTreeMap<IpAddr, (NodeId, Span)> = BTreeMap::new();
        for &(id, port) in members {
            let draft = &world.nodes[id.index()];
            let span = draft.ports[port.index()].address.unwrap_or(draft.span);
            let addresses = draft.node.interfaces[port.index()].addresses.clone();
            for &net in &addresses {
                // A further address of its own, without a network (169.254.169.253/32), has no neighbours to share with.
                let lone = net.prefix_len() == net.max_prefix_len() && addresses.len() > 1;
                match seen.insert(net.addr(), (id, span)).filter(|(other, _)| *other != id) {
                    Some((other, first)) => duplicate_address(world, net.addr(), (id, span), (other, first)),
                    None if lone => {}
                    None => placed.push((id, net, span)),
                }
            }
        }
        if placed.len() <= MOST_PLACED {
            foreign_on_segment(world, &placed);
        }
    }
}

/// Segments with more addresses are not searched pair by pair.
const MOST_PLACED: usize = 2_000;

/// Reports addresses that no neighbour shares a network with, and networks that only one side believes in.
fn foreign_on_segment(world: &mut World<'_, '_>, placed: &[Placed]) {
    let mut told: Vec<Span> = Vec::new();
    for &(id, net, span) in placed {
        let others = || placed.iter().filter(|(other, ..)| *other != id);
        let half = others().find(|(_, n, _)| {
            n.trunc() != net.trunc() && (n.contains(&net.addr()) || net.contains(&n.addr()))
        });
        let shared = others().any(|(_, n, _)| n.trunc() == net.trunc());
        let Some((_, other, first)) = half.or_else(|| others().next().filter(|_| !shared)).copied() else {
            continue;
        };
        if told.contains(&first) || told.contains(&span) {
            continue;
        }
        told.push(span);
        let (first, second) =
            if span < first { ((net, span), (other, first)) } else { ((other, first), (net, span)) };
        let message = match half {
            Some(_) => format!("{} and {} are on one link but not in one network", first.0, second.0),
            None => format!(
                "{} is foreign on this link: its neighbour is in {}",
                second.0.addr(),
                first.0.trunc()
            ),
        };
        world
            .problems
            .add(Code::ForeignAddress, second.1, message, "outside the subnet")
            .related(first.1, "its neighbour")
            .help(format!(
                "use an address and prefix length of {}, or put a router between",
                first.0.trunc()
            ));
    }
}

fn duplicate_address(
    world: &mut World<'_, '_>,
    address: IpAddr,
    second: (NodeId, Span),
    first: (NodeId, Span),
) {
    let name = |id: NodeId| world.nodes[id.index()].node.name.clone();
    let message = format!("`{}` and `{}` both have the address {address}", name(first.0), name(second.0));
    world
        .problems
        .add(Code::DuplicateAddress, second.1, message, "second one")
        .related(first.1, "first one")
        .help("give one of them another address");
}

fn duplicate_macs(world: &mut World<'_, '_>, segments: &Segments) {
    for members in &segments.members {
        let mut seen: BTreeMap<MacAddr, Span> = BTreeMap::new();
        for &(id, port) in members {
            let draft = &world.nodes[id.index()];
            let mac = draft.node.interfaces[port.index()].mac;
            let span = draft.ports[port.index()].mac.unwrap_or(draft.span);
            if let Some(first) = seen.insert(mac, span) {
                let message = format!("two machines on one link have the MAC {mac}");
                world
                    .problems
                    .add(Code::DuplicateMac, span, message, "second one")
                    .related(first, "first one")
                    .help("give one of them another MAC, or leave it out: one is made from its name");
            }
        }
    }
}

/// Two interfaces of one machine on overlapping networks: it could not tell where to send.
fn overlaps_on_nodes(world: &mut World<'_, '_>) {
    for index in 0..world.nodes.len() {
        let draft = &world.nodes[index];
        let mut nets: Vec<(usize, IpNet, Span)> = Vec::new();
        let mut found = None;
        for (p, interface) in draft.node.interfaces.iter().enumerate() {
            let span = draft.ports[p].address.unwrap_or(draft.span);
            for net in &interface.addresses {
                let overlap = |(q, other, _): &&(usize, IpNet, Span)| {
                    *q != p && (other.contains(net) || net.contains(other))
                };
                if let Some((_, other, first)) = nets.iter().find(overlap) {
                    found.get_or_insert((net.trunc(), other.trunc(), span, *first));
                }
                nets.push((p, net.trunc(), span));
            }
        }
        if let Some((net, other, span, first)) = found {
            let message = format!("`{}` is on {other} and on {net}, which overlap", draft.node.name);
            world
                .problems
                .add(Code::OverlappingSubnets, span, message, "this network")
                .related(first, "and this one")
                .help("give its links networks that do not overlap");
        }
    }
}

fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_private() || v4.is_link_local() || v4.is_loopback(),
        IpAddr::V6(_) => false,
    }
}

/// A public address stands on one machine only, unless it is announced from several places on purpose.
fn public_duplicates(world: &mut World<'_, '_>, segments: &Segments) {
    if world.problems.has(&[Code::OverlappingSubnets]) {
        return;
    }
    let mut seen: BTreeMap<IpAddr, (NodeId, PortId, Span)> = BTreeMap::new();
    let mut doubles = Vec::new();
    for (index, draft) in world.nodes.iter().enumerate() {
        let id = NodeId(index as u32);
        for (p, interface) in draft.node.interfaces.iter().enumerate() {
            let facts = &draft.ports[p];
            let span = facts.address.unwrap_or(draft.span);
            for address in interface.addresses.iter().map(|n| n.addr()).filter(|a| !is_private(*a)) {
                if facts.anycast {
                    continue;
                }
                let port = PortId(p as u16);
                let Some((other, at, first)) = seen.insert(address, (id, port, span)) else { continue };
                let same_segment =
                    segments.of(id, port).is_some() && segments.of(id, port) == segments.of(other, at);
                if other != id && !same_segment {
                    doubles.push((address, (id, span), (other, first)));
                }
            }
        }
    }
    for (address, second, first) in doubles {
        duplicate_address(world, address, second, first);
    }
}

fn unlinked(world: &mut World<'_, '_>) {
    if world.problems.has(&[]) {
        return;
    }
    for index in 0..world.nodes.len() {
        let draft = &world.nodes[index];
        if draft.ports.iter().all(|p| p.link.is_none()) {
            let (span, message) = (draft.span, format!("no link leads to `{}`", draft.node.name));
            world.problems.add(Code::Unlinked, span, message, "alone").help("add a link, or remove it");
        }
    }
}

// ---- steps -------------------------------------------------------------------------------------------------------

/// The addresses that a step's target has, as far as the file tells.
pub(crate) fn addresses(world: &World<'_, '_>, draft: &StepDraft) -> Vec<IpAddr> {
    let target = crate::forward::asked(world, draft);
    if let Ok(address) = target.parse() {
        return vec![address];
    }
    let actor = &world.nodes[draft.step.node.index()].node;
    if let Some((_, address)) = actor.resolver.hosts.iter().find(|(n, _)| n == target) {
        return vec![*address];
    }
    let private = dns::private_addresses(world, actor, target);
    if !private.is_empty() {
        return private;
    }
    if let Some(found) = dns::resolve(&world.zones, target) {
        return found;
    }
    world.index.get(target).and_then(|id| world.first_address(*id)).into_iter().collect()
}

/// Errors that make the ways of packets meaningless.
const TAINTING: &[Code] = &[
    Code::BadAddress,
    Code::BadNetwork,
    Code::BadEndpoint,
    Code::UnknownNode,
    Code::SelfLink,
    Code::InterfaceUsedTwice,
    Code::DuplicateAddress,
    Code::ForeignAddress,
    Code::OverlappingSubnets,
    Code::GatewayOffLink,
    Code::UnknownPlace,
    Code::NeedsInternet,
    Code::UnknownKey,
    Code::UnknownChoice,
    Code::WrongShape,
    Code::MissingKey,
    Code::DuplicateKey,
    Code::BadRule,
    Code::LayerTwoLoop,
    Code::TooLarge,
];

/// Each step's target has a name that resolves and a way there and back, unless the step is meant to fail.
pub(crate) fn steps(
    world: &mut World<'_, '_>,
    segments: &Segments,
    steps: &[Option<StepDraft>],
    expect: &[Expect],
) {
    if world.problems.has(TAINTING) {
        return;
    }
    let mut ways = Ways::new(segments);
    for (index, draft) in steps.iter().enumerate() {
        let Some(draft) = draft else { continue };
        played_by_program(world, draft);
        let checks = expect.iter().filter(|e| e.step == index).flat_map(|e| &e.checks);
        let fails = checks.into_iter().any(|c| matches!(c, Check::Fails(_)));
        if !fails {
            check_step(world, &mut ways, (index, draft));
        }
    }
}

/// The way out for steps that are meant to fail.
fn meant_to_fail(index: usize) -> String {
    format!("if it is meant to fail, say so: `expect: [ step {}: {{ fails: yes }} ]`", index + 1)
}

fn check_step(world: &mut World<'_, '_>, ways: &mut Ways<'_>, (index, draft): (usize, &StepDraft)) {
    if crate::ssh::is_ssh(draft) {
        return;
    }
    let meant = meant_to_fail(index);
    if !resolvable(world, draft, &meant) {
        return;
    }
    if matches!(draft.step.verb, Verb::Lookup { .. }) {
        return;
    }
    let Some(target) = addresses(world, draft).first().copied() else { return };
    let actor = draft.step.node;
    ways.ports = !matches!(draft.step.verb, Verb::Ping { .. } | Verb::PathMtu { .. });
    let way = ways.walk(world, actor, target);
    if let Ok(end) = &way {
        nobody_listens(world, draft, (end.node, target), &meant);
        crate::purges::nobody_forgets(world, draft, (end.node, target));
    }
    let back = match &way {
        Ok(end) => end.source.map(|source| (end.node, ways.walk(world, end.node, source))),
        Err(_) => None,
    };
    let who = world.nodes[actor.index()].node.name.clone();
    if let Err(stop) = way {
        let message = format!("there is no way from `{who}` to {target}: {}", stop.why);
        let known = stop.routes;
        world
            .problems
            .add(Code::NoRoute, draft.target_span, message, "cannot be reached")
            .help(format!("add a route at `{}`; {meant}", stop.at))
            .known("", known);
    } else if let Some((from, Err(stop))) = back {
        let there = world.nodes[from.index()].node.name.clone();
        let message = format!("packets from `{who}` reach `{there}`, but there is no way back: {}", stop.why);
        world
            .problems
            .add(Code::NoRoute, draft.target_span, message, "no way back")
            .help(format!("add a route or gateway at `{}`; {meant}", stop.at))
            .known("", stop.routes);
    }
}

/// Warns of a step of a machine that is a real program's (`exec:`): programs and steps cannot both have it.
fn played_by_program(world: &mut World<'_, '_>, draft: &StepDraft) {
    let node = &world.nodes[draft.step.node.index()].node;
    if node.exec.is_empty() {
        return;
    }
    let message =
        format!("`{}` names a real program (`exec:`), and where that runs, this step does not", node.name);
    let help = format!(
        "let another machine do it, or leave `exec:` out and say it when it is to run: \
                        roundtrip exec FILE --as {} -- COMMAND",
        node.name
    );
    world
        .problems
        .add(Code::PlayedByProgram, draft.target_span, message, "left out when the program runs")
        .help(help);
}

/// Warns of a step that needs a program at the other end where none is. Behind NAT the port may be another: no warning.
fn nobody_listens(
    world: &mut World<'_, '_>,
    draft: &StepDraft,
    (end, target): (NodeId, IpAddr),
    meant: &str,
) {
    let (port, program, name, usual) = match draft.step.verb {
        Verb::Send { port, .. } | Verb::Stream { port, .. } => (port, "sink", "sink", crate::apps::SINK_PORT),
        Verb::Call { port, .. } => (port, "rpc", "call server", crate::calls::RPC_PORT),
        Verb::Grpc(ref calls) => (calls.port, "grpc", "gRPC server", crate::grpc::PORT),
        _ => return,
    };
    let over_tcp = !matches!(draft.step.verb, Verb::Stream { over: Transport::Udp, .. });
    let node = &world.nodes[end.index()].node;
    let bears = node.interfaces.iter().flat_map(|i| &i.addresses).any(|n| n.addr() == target);
    let fits = |app: &App| match (app, program) {
        (App::Sink { port: at }, "sink") | (App::Rpc { port: at, .. }, "rpc") => *at == port,
        // Whatever takes connections there may lead to one, or refuse: the step shows it.
        (App::L4Balancer(_) | App::SplitTcp { .. }, _) | (_, "grpc") => {
            over_tcp && listens(app) == Some((6, u32::from(port)))
        }
        _ => false,
    };
    if !bears || !node.exec.is_empty() || node.apps.iter().any(fits) {
        return;
    }
    let run = if port == usual { program.to_owned() } else { format!("{program}: {{ port: {port} }}") };
    let message = format!("no {name} listens on port {port} of `{}`", node.name);
    let help = format!("let it run one: `run: [ {run} ]`; {meant}");
    world.problems.add(Code::NobodyListens, draft.target_span, message, "nobody there takes it").help(help);
}

/// Whether the target's name is an address or somebody answers for it.
fn resolvable(world: &mut World<'_, '_>, draft: &StepDraft, meant: &str) -> bool {
    let target = crate::forward::asked(world, draft).to_owned();
    let typed = matches!(&draft.step.verb, Verb::Lookup { rtype, .. } if rtype != "A" && rtype != "AAAA");
    if typed || !addresses(world, draft).is_empty() {
        return true;
    }
    let mut known: Vec<String> = world
        .zones
        .iter()
        .flat_map(|z| z.zone.text.lines())
        .filter(|l| l.contains(" IN A "))
        .filter_map(|l| Some(l.split_whitespace().next()?.trim_end_matches('.').to_owned()))
        .filter(|n| !n.starts_with("ns1.") && !n.ends_with("-servers.net") && !n.starts_with("a.nic."))
        .collect();
    let actor = &world.nodes[draft.step.node.index()].node;
    known.extend(dns::private_names(world, actor).map(|(name, _)| name.clone()));
    known.sort();
    known.dedup();
    let message = format!("no zone or hosts file knows the name `{target}`");
    world
        .problems
        .add(Code::UnresolvableName, draft.target_span, message, "no such name")
        .known(&target, known)
        .help(format!("add it to the `names:` of a site, or to `names: hosts:`; {meant}"));
    false
}
