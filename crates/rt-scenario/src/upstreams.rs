//! Upstreams of balancers and proxies, and proxies of browsers, when the whole is known: that somebody is there, speaks as they
//! are spoken to, and that they lead to no circle.
//!
//! Only what is written is looked at: an upstream in a `run:` list by its address. What routes, firewalls and NAT do on the way
//! is not asked (a scenario may well break that on purpose); an address that a NAT rule, a DHCP pool or a port forward may
//! give to somebody counts as somebody's. A circle through port forwards is not seen.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use rt_base::NodeId;
use rt_rules::NatAction;

use crate::check::listens;
use crate::diag::{Code, Span};
use crate::lookup::Found;
use crate::model::{App, Node};
use crate::tree::Value;
use crate::world::World;

/// An upstream with its place in the file.
pub(crate) struct UpstreamDraft {
    /// The machine and the port that lead to it; nobody until the machine's program is read.
    pub(crate) from: Option<(NodeId, u16)>,
    /// What it is called.
    pub(crate) name: String,
    /// What is written.
    pub(crate) text: String,
    /// Where.
    pub(crate) span: Span,
    /// How it is spoken to.
    pub(crate) speaks: Speaks,
}

/// How a proxy speaks to a pool of servers.
#[derive(Clone, Copy, Default)]
pub(crate) struct Speaks {
    /// Where TLS is asked for.
    tls: Option<Span>,
    /// Where HTTP/2 is asked for.
    h2: Option<Span>,
}

impl Speaks {
    /// Of an `edge`, a pool or a balancer of connections.
    pub(crate) fn of(value: &Value) -> Speaks {
        let tls = value.get("upstream-tls").or(value.get("tls")).map(|name| name.span);
        let h2 = value.get("protocol").filter(|word| word.text() == Some("h2")).map(|word| word.span);
        Speaks { tls, h2 }
    }
}

impl UpstreamDraft {
    fn at(&self) -> Option<SocketAddr> {
        self.text.parse().ok()
    }
}

/// The port of a program that has upstreams.
pub(crate) fn leads(app: &App) -> Option<u16> {
    match app {
        App::L4Balancer(balancer) => Some(balancer.port),
        App::Edge { port, .. } => Some(*port),
        _ => None,
    }
}

/// Every upstream is an address, is somebody's who speaks as it is spoken to, and does not lead back.
pub(crate) fn check(world: &mut World<'_, '_>) {
    let drafts = std::mem::take(&mut world.upstreams);
    let browsers = std::mem::take(&mut world.browser_proxies);
    name_proxies(world, &browsers);
    for draft in drafts.iter().filter(|draft| draft.at().is_none()) {
        no_address(world, draft);
    }
    if world.problems.has(&[]) {
        return;
    }
    let whose = Whose::of(world);
    // What is wrong with one of many devices is wrong with all.
    let mut looked = BTreeSet::new();
    for draft in &drafts {
        if let Some(at) = draft.at().filter(|_| looked.insert(draft.span)) {
            somebody(world, &whose, draft, at);
        }
    }
    for (id, span) in browsers {
        if looked.insert(span) {
            browser_proxy(world, &whose, id, span);
        }
    }
    circles(world, &whose, &drafts);
}

/// As with the target of a step, the name of a machine will do for a browser's proxy.
fn name_proxies(world: &mut World<'_, '_>, browsers: &[(NodeId, Span)]) {
    let mut known: BTreeMap<String, Option<IpAddr>> = BTreeMap::new();
    for (id, _) in browsers {
        let Some(proxy) = &world.nodes[id.index()].node.browser.proxy else { continue };
        let host = proxy.host.clone();
        let named = || match world.find_node(&host) {
            _ if host.parse::<IpAddr>().is_ok() || crate::dns::resolve(&world.zones, &host).is_some() => None,
            Found::Node(id) => world.first_address(id),
            _ => None,
        };
        let Some(address) = *known.entry(host.clone()).or_insert_with(named) else { continue };
        let hosts = &mut world.node(*id).node.resolver.hosts;
        if hosts.iter().all(|(name, _)| *name != host) {
            hosts.push((host, address));
        }
    }
}

/// The proxy of a browser: its name is known, its address somebody's, and something listens there.
fn browser_proxy(world: &mut World<'_, '_>, whose: &Whose, id: NodeId, span: Span) {
    let node = &world.nodes[id.index()].node;
    let Some(proxy) = node.browser.proxy.clone() else { return };
    let own = node.resolver.hosts.iter().filter(|(name, _)| *name == proxy.host).map(|(_, at)| *at);
    let mut found: Vec<IpAddr> = proxy.host.parse().into_iter().chain(own).collect();
    if found.is_empty() {
        found = crate::dns::resolve(&world.zones, &proxy.host).unwrap_or_default();
    }
    let addresses = || found.iter().map(|address| SocketAddr::new(*address, proxy.port));
    let there: Vec<NodeId> = addresses().flat_map(|at| whose.reached(id, at)).collect();
    if there.iter().any(|id| takes(&world.nodes[id.index()].node, proxy.port))
        || found.iter().any(|address| there.is_empty() && whose.is_given(*address))
    {
        return;
    }
    let proxies: Vec<String> = world
        .nodes
        .iter()
        .filter(|draft| draft.node.apps.iter().any(|app| matches!(app, App::ForwardProxy(_))))
        .map(|draft| draft.node.name.clone())
        .collect();
    let message = match (there.first(), found.first()) {
        (Some(id), _) => {
            format!("no program listens on port {} of `{}`", proxy.port, world.nodes[id.index()].node.name)
        }
        (None, Some(address)) => format!("no machine has the address {address} of this proxy"),
        (None, None) => format!("no zone or hosts file knows the name `{}`", proxy.host),
    };
    world
        .problems
        .add(Code::UpstreamNobodyIs, span, message, "no proxy is there")
        .known(&proxy.host, proxies)
        .help("name a machine that runs `forward-proxy`, as `http://proxy.corp.example:3128`");
}

/// Proxies look up no names: an upstream that is none is told what the machine's address is.
fn no_address(world: &mut World<'_, '_>, draft: &UpstreamDraft) {
    let (host, port) = draft.text.rsplit_once(':').unwrap_or((&draft.text, "80"));
    let port = port.parse::<u16>().unwrap_or(80);
    let meant = match world.find_node(host) {
        Found::Node(id) => world.first_address(id),
        _ => crate::dns::resolve(&world.zones, host).and_then(|found| found.first().copied()),
    };
    let example = match (meant.or_else(|| host.parse().ok()), world.find_node(&draft.name)) {
        (Some(address), _) => SocketAddr::new(address, port),
        (None, Found::Node(id)) if world.first_address(id).is_some() => {
            SocketAddr::new(world.first_address(id).unwrap_or(IpAddr::from([10, 0, 0, 11])), port)
        }
        _ => SocketAddr::from(([10, 0, 0, 11], 80)),
    };
    let help = match meant {
        Some(_) => format!("proxies look up no names here: write `{}: {example}`", draft.name),
        None => format!("write it like `{}: {example}`", draft.name),
    };
    let known = if meant.is_none() { world.known_nodes() } else { Vec::new() };
    world
        .problems
        .add(Code::BadAddress, draft.span, "an upstream is `address:port`", "not an upstream")
        .guess(host, &known)
        .help(help);
}

/// Who has which address, as far as the file tells.
struct Whose {
    /// Machines by address: of their interfaces, and what DHCP keeps for them.
    bearers: BTreeMap<IpAddr, Vec<NodeId>>,
    /// From, to, and the furthest end so far: addresses that NAT or DHCP give to somebody.
    given: Vec<(IpAddr, IpAddr, IpAddr)>,
}

impl Whose {
    fn of(world: &World<'_, '_>) -> Whose {
        let mut bearers: BTreeMap<IpAddr, Vec<NodeId>> = BTreeMap::new();
        let mut given: Vec<(IpAddr, IpAddr)> = Vec::new();
        let mut kept = BTreeMap::new();
        for app in world.nodes.iter().flat_map(|draft| &draft.node.apps) {
            if let App::DhcpServer { first, last, reservations, .. } = app {
                given.push((*first, *last));
                kept.extend(reservations.iter().copied());
            }
        }
        let ends = |net: IpNet| (net.network(), net.broadcast());
        for (index, draft) in world.nodes.iter().enumerate() {
            let id = NodeId(u32::try_from(index).unwrap_or(u32::MAX));
            for interface in &draft.node.interfaces {
                let own = interface.addresses.iter().map(|net| net.addr());
                for address in own.chain(kept.get(&interface.mac).copied()) {
                    bearers.entry(address).or_default().push(id);
                }
            }
            for rule in &draft.node.nat {
                match &rule.action {
                    NatAction::Snat { to, .. } => given.push((*to, *to)),
                    NatAction::Static { outside, .. } => given.push((*outside, *outside)),
                    NatAction::Pool { to, .. } => given.push(ends(*to)),
                    NatAction::Dnat { .. } | NatAction::DnatRange { .. } | NatAction::DnatSpread { .. } => {
                        let some = rule.when.dst.iter().filter(|net| net.prefix_len() > 0);
                        given.extend(some.map(|net| ends(*net)));
                    }
                    NatAction::Masquerade { .. } | NatAction::Accept => {}
                }
            }
        }
        given.sort_unstable();
        let mut far = IpAddr::from([0, 0, 0, 0]);
        let given = given.into_iter().map(|(from, to)| {
            far = far.max(to);
            (from, to, far)
        });
        Whose { bearers, given: given.collect() }
    }

    fn bearers(&self, address: IpAddr) -> &[NodeId] {
        self.bearers.get(&address).map_or(&[], Vec::as_slice)
    }

    /// Whether NAT or DHCP may give it to somebody.
    fn is_given(&self, address: IpAddr) -> bool {
        let before = self.given.partition_point(|(from, ..)| *from <= address);
        before > 0 && self.given[before - 1].2 >= address
    }

    /// The machines that `at` leads to, seen from `from`.
    fn reached(&self, from: NodeId, at: SocketAddr) -> Vec<NodeId> {
        match at.ip().is_loopback() {
            true => vec![from],
            false => self.bearers(at.ip()).to_vec(),
        }
    }
}

/// Whether something on this machine may take connections on the port: a program, a real one, or a port forward.
fn takes(node: &Node, port: u16) -> bool {
    let intercepts = |app: &App| match app {
        App::ForwardProxy(proxy) => proxy.inspect.as_ref().is_some_and(|i| i.intercept == Some(port)),
        _ => false,
    };
    !node.exec.is_empty()
        || !node.nat.is_empty()
        || node
            .apps
            .iter()
            .any(|app| listens(app).is_some_and(|(_, taken)| taken == u32::from(port)) || intercepts(app))
}

fn somebody(world: &mut World<'_, '_>, whose: &Whose, draft: &UpstreamDraft, at: SocketAddr) {
    let Some((from, _)) = draft.from else { return };
    let there = whose.reached(from, at);
    otherwise(world, draft, (from, &there), at.port());
    if there.is_empty() {
        if !whose.is_given(at.ip()) {
            nobody(world, whose, draft, at);
        }
        return;
    }
    if there.iter().any(|id| takes(&world.nodes[id.index()].node, at.port())) {
        return;
    }
    let node = &world.nodes[there[0].index()].node;
    let tcp = |app: &App| listens(app).filter(|(protocol, _)| *protocol == 6).map(|(_, port)| port);
    let ports: Vec<String> = node.apps.iter().filter_map(tcp).map(|port| port.to_string()).collect();
    let message = format!("no program listens on port {} of `{}`", at.port(), node.name);
    let help = match ports.is_empty() {
        true => format!("let it run one: `run: [ http: {{ port: {} }} ]`", at.port()),
        false => format!("it listens on {}", ports.join(", ")),
    };
    world
        .problems
        .add(Code::UpstreamNobodyIs, draft.span, message, "nobody there takes connections")
        .help(help);
}

/// What a program that speaks HTTP takes on its port: TLS, and which versions.
struct Takes {
    tls: bool,
    h1: bool,
    h2: bool,
}

impl Takes {
    fn of(app: &App) -> Option<Takes> {
        match app {
            App::HttpServer { certificate, http2, .. } | App::Edge { certificate, http2, .. } => {
                let tls = certificate.is_some();
                Some(Takes { tls, h1: true, h2: tls && *http2 })
            }
            App::Grpc(server) => Some(Takes { tls: server.certificate.is_some(), h1: false, h2: true }),
            _ => None,
        }
    }
}

/// Warns of an upstream that is spoken to as it does not speak. What real programs and NAT do is not known.
fn otherwise(
    world: &mut World<'_, '_>,
    draft: &UpstreamDraft,
    (from, there): (NodeId, &[NodeId]),
    port: u16,
) {
    let apps = |id: NodeId| world.nodes[id.index()].node.apps.iter();
    let by_http = |app: &App| matches!(app, App::Edge { .. }) && leads(app) == draft.from.map(|(_, at)| at);
    let [there] = *there else { return };
    let node = &world.nodes[there.index()].node;
    if !node.exec.is_empty() || !node.nat.is_empty() || !apps(from).any(by_http) {
        return;
    }
    let listens_here = |app: &&App| listens(app) == Some((6, u32::from(port)));
    let Some(takes) = apps(there).find(listens_here).and_then(Takes::of) else { return };
    let server = format!("`{}`", node.name);
    let Speaks { tls, h2 } = draft.speaks;
    let (span, message, help) = match (tls, h2) {
        (Some(span), _) if !takes.tls => (
            span,
            format!("TLS is spoken to {server}, which speaks plain HTTP on port {port}"),
            "give that server a `certificate:` with this name, or take the line away",
        ),
        (None, _) if takes.tls => (
            draft.span,
            format!("plain HTTP is spoken to {server}, which speaks TLS on port {port}"),
            "say `upstream-tls: NAME` (`tls: NAME` in a pool): the name in its certificate",
        ),
        (None, Some(span)) if !takes.h2 => (
            span,
            format!("HTTP/2 is spoken to {server}, which without TLS knows HTTP/1.1 only"),
            "take the line away, or give that server a `certificate:` and say `upstream-tls:` here",
        ),
        (_, None) if !takes.h1 => (
            draft.span,
            format!("HTTP/1.1 is spoken to {server}, which knows HTTP/2 only"),
            "say `protocol: h2`",
        ),
        _ => return,
    };
    let problem =
        world.problems.add(Code::UpstreamNobodyIs, span, message, "not understood there").help(help);
    if span != draft.span {
        problem.related(draft.span, "this one");
    }
}

/// No machine has the address: the one that the upstream is called after, or the nearest.
fn nobody(world: &mut World<'_, '_>, whose: &Whose, draft: &UpstreamDraft, at: SocketAddr) {
    let message = format!("no machine has the address {} of the upstream `{}`", at.ip(), draft.name);
    let called = match world.find_node(&draft.name) {
        Found::Node(id) => world.first_address(id).map(|address| (id, address)),
        _ => None,
    };
    let called = called.map(|(id, address)| (world.nodes[id.index()].node.name.clone(), address));
    let listening: BTreeSet<IpAddr> = whose
        .bearers
        .iter()
        .filter(|(_, nodes)| nodes.iter().any(|id| takes(&world.nodes[id.index()].node, at.port())))
        .map(|(address, _)| *address)
        .collect();
    let known: Vec<String> = listening.iter().map(IpAddr::to_string).collect();
    let problem = world.problems.add(Code::UpstreamNobodyIs, draft.span, message, "nobody is there");
    match called {
        Some((name, address)) => {
            let help = format!("`{name}` is {address}: write `{}: {address}:{}`", draft.name, at.port());
            problem.help(help);
        }
        None => {
            let usual = "give a machine this address, or the upstream that of a machine";
            problem.guess(&at.ip().to_string(), &known).help(usual);
        }
    }
}

// ---- circles -----------------------------------------------------------------------------------------------------

/// A program with upstreams: its machine and its port.
type Stop = (NodeId, u16);

/// Which program leads to which other one, by which upstream.
type Ways = BTreeMap<Stop, Vec<(Stop, usize)>>;

/// Warns of proxies that lead back to themselves: first of balancers of connections alone, which nothing ends.
fn circles(world: &mut World<'_, '_>, whose: &Whose, drafts: &[UpstreamDraft]) {
    let mut stops: BTreeMap<Stop, bool> = BTreeMap::new();
    for (index, draft) in world.nodes.iter().enumerate() {
        let id = NodeId(u32::try_from(index).unwrap_or(u32::MAX));
        let lead = draft.node.apps.iter().filter_map(|app| Some((leads(app)?, app)));
        stops.extend(lead.map(|(port, app)| ((id, port), matches!(app, App::L4Balancer(_)))));
    }
    let mut told: BTreeSet<Stop> = BTreeSet::new();
    for blind_only in [true, false] {
        let counts = |stop: &Stop| stops.get(stop).is_some_and(|blind| *blind || !blind_only);
        let mut ways: Ways = BTreeMap::new();
        for (index, draft) in drafts.iter().enumerate() {
            let (Some(from), Some(at)) = (draft.from, draft.at()) else { continue };
            if counts(&from) {
                let to = whose.reached(from.0, at).into_iter().map(|id| (id, at.port()));
                ways.entry(from).or_default().extend(to.filter(counts).map(|to| (to, index)));
            }
        }
        for circle in find_circles(&ways) {
            if circle.iter().any(|(stop, _)| told.contains(stop)) {
                continue;
            }
            told.extend(circle.iter().map(|(stop, _)| *stop));
            report(world, drafts, &circle, blind_only);
        }
    }
}

/// Circles, each as its programs in order and the upstream by which each leads to the next: at least one of every group of
/// programs that lead to each other.
fn find_circles(ways: &Ways) -> Vec<Vec<(Stop, usize)>> {
    let mut circles = Vec::new();
    let mut done: BTreeSet<Stop> = BTreeSet::new();
    for start in ways.keys() {
        // The way that is gone now: each program and how many of its upstreams have been looked at.
        let mut way: Vec<(Stop, usize)> = Vec::new();
        let mut position: BTreeMap<Stop, usize> = BTreeMap::new();
        if !done.contains(start) {
            position.insert(*start, 0);
            way.push((*start, 0));
        }
        while let Some((at, looked)) = way.last_mut() {
            let at = *at;
            let Some((to, _)) = ways.get(&at).and_then(|next| next.get(*looked)).copied() else {
                done.insert(at);
                position.remove(&at);
                way.pop();
                continue;
            };
            *looked += 1;
            if let Some(&from) = position.get(&to) {
                let by = |(stop, looked): &(Stop, usize)| (*stop, ways[stop][looked - 1].1);
                circles.push(way[from..].iter().map(by).collect());
                // One circle of a group is enough: what is on it leads nowhere else.
                for (stop, looked) in &mut way[from..] {
                    *looked = ways[stop].len();
                }
            } else if !done.contains(&to) {
                position.insert(to, way.len());
                way.push((to, 0));
            }
        }
    }
    circles
}

fn report(world: &mut World<'_, '_>, drafts: &[UpstreamDraft], circle: &[(Stop, usize)], blind: bool) {
    let Some((_, closing)) = circle.last() else { return };
    let name = |stop: &Stop| format!("`{}`", world.nodes[stop.0.index()].node.name);
    let names: Vec<String> = circle.iter().take(8).map(|(stop, _)| name(stop)).collect();
    let more = if circle.len() > names.len() { " and others" } else { "" };
    let message = match (names.as_slice(), blind) {
        ([one], true) => format!("{one} leads connections back to itself"),
        ([one], false) => format!("{one} sends requests back to itself"),
        (_, true) => format!("{}{more} lead connections to each other in a circle", names.join(", ")),
        (_, false) => format!("{}{more} send requests to each other in a circle", names.join(", ")),
    };
    let help = match blind {
        true => {
            "a connection that goes round reaches no server, and opens others until no port is left: \
                 take this upstream away"
        }
        false => {
            "a request that goes round is refused when it comes back (508 Loop Detected): take this upstream away, \
                  or keep such requests off it by `routes:`"
        }
    };
    let problem =
        world.problems.add(Code::ProxyCircle, drafts[*closing].span, message, "leads back").help(help);
    if circle.len() > 1 {
        problem.related(drafts[circle[0].1].span, "begins here");
    }
}
