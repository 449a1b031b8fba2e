//! A model as the plain level of the language: `topology`, `names`, `steps`, `expect`, `timeline`, with every default
//! written out. Reading it again gives the same model, origins and file name excepted (a test holds that).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use rt_base::{HookPoint, InterfaceKind, PortId, SwitchPort};
use rt_rules::{Route, RouteKind};

use super::kind_word;
use crate::calls;
use crate::measure;
use crate::model::{
    App, Balance, BrowserOptions, Certificate, Change, Check, Connections, Direction, Expect, Happening,
    Interface, Issuer, Link, Model, Node, NodeKind, Pages, PortPolicy, StackOptions, Step, Verb,
    WireguardPeer, Zone,
};
use crate::rules_text::{show_clamp, show_filter, show_nat, show_otherwise, show_policy};
use crate::units::{
    Measure, show_between, show_bit_errors, show_duration, show_loss, show_queue, show_rate, show_share,
};
use crate::world::plain_browser;

/// The plain level.
#[must_use]
pub fn plain_yaml(model: &Model) -> String {
    let mut out = Writer::default();
    out.line(0, &format!("name: {}", q(&model.name)));
    out.line(0, &format!("about: {}", q(&model.about)));
    out.line(0, &format!("epoch: {}", model.epoch));
    out.line(0, "topology:");
    out.line(1, "nodes:");
    let shared = shared_addresses(model);
    for node in &model.nodes {
        write_node(&mut out, model, node, &shared);
    }
    if !model.links.is_empty() {
        out.line(1, "links:");
    }
    for link in &model.links {
        write_link(&mut out, model, link);
    }
    write_names(&mut out, model);
    write_list(&mut out, "steps:", model.steps.iter().map(step_line));
    write_list(&mut out, "expect:", model.expect.iter().map(expect_line));
    write_list(&mut out, "timeline:", model.timeline.iter().map(|h| happening_line(model, h)));
    out.text
}

#[derive(Default)]
struct Writer {
    text: String,
}

impl Writer {
    fn line(&mut self, depth: usize, text: &str) {
        let _ = writeln!(self.text, "{:indent$}{text}", "", indent = depth * 2);
    }
}

fn write_list(out: &mut Writer, head: &str, lines: impl Iterator<Item = String>) {
    for (index, line) in lines.enumerate() {
        if index == 0 {
            out.line(0, head);
        }
        out.line(1, &format!("- {line}"));
    }
}

/// Text as a YAML scalar that reads the same in every place: bare when it is a plain word, else in double quotes.
pub(super) fn q(text: &str) -> String {
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '/');
    let special = ["null", "Null", "NULL", "yes", "no", "true", "false", "on", "off"];
    let bare = text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(word);
    if bare && !special.contains(&text) {
        return text.to_owned();
    }
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            '\n' => out.push_str("\\n"),
            ' '..='~' => out.push(c),
            c if (c as u32) < 0x1_0000 => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => {
                let _ = write!(out, "\\U{:08x}", c as u32);
            }
        }
    }
    out.push('"');
    out
}

/// `[a, b]`.
fn list(items: impl IntoIterator<Item = String>) -> String {
    format!("[{}]", items.into_iter().collect::<Vec<_>>().join(", "))
}

/// `{ a: b, c: d }`.
fn map(entries: &[(String, String)]) -> String {
    let entries: Vec<String> = entries.iter().map(|(k, v)| format!("{k}: {v}")).collect();
    if entries.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", entries.join(", ")) }
}

/// Entries of a flow mapping under construction.
#[derive(Default)]
struct Entries(Vec<(String, String)>);

impl Entries {
    fn put(&mut self, key: &str, value: impl Into<String>) {
        self.0.push((key.to_owned(), value.into()));
    }

    fn put_if(&mut self, when: bool, key: &str, value: impl FnOnce() -> String) {
        if when {
            self.put(key, value());
        }
    }
}

/// Public addresses that stand on several machines.
fn shared_addresses(model: &Model) -> BTreeMap<IpAddr, u32> {
    let mut count = BTreeMap::new();
    for node in &model.nodes {
        let mut own: Vec<IpAddr> =
            node.interfaces.iter().flat_map(|i| &i.addresses).map(|n| n.addr()).collect();
        own.sort();
        own.dedup();
        for address in own {
            *count.entry(address).or_insert(0) += 1;
        }
    }
    count.retain(|_, n| *n > 1);
    count
}

fn write_node(out: &mut Writer, model: &Model, node: &Node, shared: &BTreeMap<IpAddr, u32>) {
    out.line(2, &format!("{}:", q(&node.name)));
    out.line(3, &format!("kind: {}", kind_word(node.kind)));
    out.line(3, &format!("role: {}", q(&node.role)));
    for (key, value) in [("site", &node.site), ("place", &node.place)] {
        if let Some(value) = value {
            out.line(3, &format!("{key}: {}", q(value)));
        }
    }
    out.line(3, &format!("processing: {}", show_duration(node.processing)));
    if !node.interfaces.is_empty() {
        out.line(3, "interfaces:");
    }
    for interface in &node.interfaces {
        let mut entries = Entries::default();
        entries.put("mac", q(&interface.mac.to_string()));
        entries.put("mtu", interface.mtu.to_string());
        entries.0.extend(
            interface
                .reverse_path
                .iter()
                .map(|check| ("reverse-path".to_owned(), crate::guard::reverse_path_word(check).to_owned())),
        );
        let addresses = || list(interface.addresses.iter().map(ToString::to_string));
        entries.put_if(!interface.addresses.is_empty(), "addresses", addresses);
        let anycast = interface.addresses.iter().any(|n| shared.contains_key(&n.addr()));
        entries.put_if(anycast, "anycast", || "yes".to_owned());
        put_kind(&mut entries, node, interface);
        out.line(4, &format!("{}: {}", q(&interface.name), map(&entries.0)));
    }
    if node.kind == NodeKind::Switch {
        return;
    }
    let name = |port: PortId| {
        node.interfaces.get(port.index()).map_or_else(|| "eth0".to_owned(), |i| i.name.clone())
    };
    out.line(3, if node.routes.is_empty() { "routes: []" } else { "routes:" });
    for route in &node.routes {
        out.line(4, &format!("- {}", route_line(route, &name)));
    }
    write_tables(out, node, &name);
    write_rules(out, node, &name);
    write_options(out, node);
    if !node.apps.is_empty() {
        out.line(3, "run:");
    }
    for app in &node.apps {
        write_app(out, model, app, &name);
    }
}

/// What an interface is, if it is no port with a cable; or which VLANs a switch's port carries.
fn put_kind(entries: &mut Entries, node: &Node, interface: &Interface) {
    let below = |port: PortId| node.interfaces.get(port.index()).map_or_else(String::new, |i| q(&i.name));
    let ends = |more: Option<String>| {
        let (local, remote) = interface.kind.ends().unwrap_or((Ipv4Addr::UNSPECIFIED, Ipv4Addr::UNSPECIFIED));
        format!("{{ to: {remote}, from: {local}{} }}", more.unwrap_or_default())
    };
    match interface.kind {
        InterfaceKind::Ethernet => {}
        InterfaceKind::Vlan { parent, id } => {
            entries.put("vlan", id.to_string());
            entries.put("\"on\"", below(parent));
        }
        InterfaceKind::Gre { key, .. } => entries.put("gre", ends(key.map(|key| format!(", key: {key}")))),
        InterfaceKind::Ipip { .. } => entries.put("ipip", ends(None)),
        InterfaceKind::Vxlan { vni, port, .. } => {
            entries.put("vxlan", ends(Some(format!(", vni: {vni}, port: {port}"))));
        }
        InterfaceKind::Pppoe { parent, server } => {
            let text = format!("{{ \"on\": {}, server: {} }}", below(parent), yes_no(server));
            entries.put("pppoe", text);
        }
        InterfaceKind::Tun => entries.put("tun", "yes"),
    }
    match &interface.vlans {
        None => {}
        Some(SwitchPort::Access(vlan)) => entries.put("vlan", vlan.to_string()),
        Some(SwitchPort::Trunk { allowed, native }) => {
            let all = || "all".to_owned();
            let some = || list(allowed.iter().map(ToString::to_string));
            entries.put("trunk", if allowed.is_empty() { all() } else { some() });
            entries.0.extend(native.map(|vlan| ("native".to_owned(), vlan.to_string())));
        }
    }
}

fn write_tables(out: &mut Writer, node: &Node, name: &dyn Fn(PortId) -> String) {
    if !node.tables.is_empty() {
        out.line(3, "tables:");
    }
    for table in &node.tables {
        let head = format!("{}:{}", q(&table.name), if table.routes.is_empty() { " []" } else { "" });
        out.line(4, &head);
        for route in &table.routes {
            out.line(5, &format!("- {}", route_line(route, name)));
        }
    }
    if !node.policies.is_empty() {
        out.line(3, "rules:");
    }
    for policy in &node.policies {
        out.line(
            4,
            &format!("- {}", q(&show_policy(&policy.when, super::table_name(node, policy.table), name))),
        );
    }
    if !node.clamps.is_empty() {
        out.line(3, "clamp-mss:");
    }
    for clamp in &node.clamps {
        out.line(4, &format!("- {}", q(&show_clamp(clamp, name))));
    }
    if node.stack.transparent {
        out.line(3, "transparent: yes");
    }
}

fn route_line(route: &Route, name: &dyn Fn(PortId) -> String) -> String {
    let mut entries = Entries::default();
    entries.put("to", route.prefix.to_string());
    entries.0.extend(route.via.map(|v| ("via".to_owned(), v.to_string())));
    entries.put("out", q(&name(route.out)));
    entries.put_if(route.kind == RouteKind::Blackhole, "kind", || "blackhole".to_owned());
    entries.put_if(route.kind == RouteKind::Unreachable, "kind", || "unreachable".to_owned());
    entries.put_if(route.metric != 0, "metric", || route.metric.to_string());
    entries.0.extend(route.source.map(|s| ("source".to_owned(), s.to_string())));
    map(&entries.0)
}

fn write_rules(out: &mut Writer, node: &Node, name: &dyn Fn(PortId) -> String) {
    if !node.nat.is_empty() {
        out.line(3, "nat:");
    }
    for rule in &node.nat {
        out.line(4, &format!("- {}", q(&show_nat(rule, name))));
    }
    super::acl_yaml::write_acls(&mut |depth, text| out.line(depth, text), node, name);
    if node.chains.iter().any(|chain| !chain.is_stateless()) {
        out.line(3, "firewall:");
    }
    for chain in node.chains.iter().filter(|chain| !chain.is_stateless()) {
        let key = match chain.hook {
            HookPoint::Output => "out",
            HookPoint::Forward => "forward",
            _ => "in",
        };
        out.line(4, &format!("{key}:"));
        for rule in &chain.rules {
            out.line(5, &format!("- {}", q(&show_filter(rule, name))));
        }
        out.line(5, &format!("- {}", q(&show_otherwise(&chain.policy))));
    }
}

fn write_options(out: &mut Writer, node: &Node) {
    let stack = &node.stack;
    let policy = if stack.port_policy == PortPolicy::Random { "random" } else { "sequential" };
    let range = format!("{}-{}", stack.ports_first, stack.ports_last);
    out.line(3, &format!("ephemeral-ports: {{ range: {range}, policy: {policy} }}"));
    out.line(3, &format!("ttl: {}", stack.ttl));
    if stack.flow_timeout != crate::world::FLOW_TIMEOUT {
        out.line(3, &format!("flow-timeout: {}", show_duration(stack.flow_timeout)));
    }
    let conntrack = super::conntrack::entries(&stack.conntrack);
    if !conntrack.is_empty() {
        out.line(3, &format!("conntrack: {}", map(&conntrack)));
    }
    let tcp = tcp_entries(stack);
    if !tcp.is_empty() {
        out.line(3, &format!("tcp: {}", map(&tcp)));
    }
    let resolver = &node.resolver;
    if !resolver.servers.is_empty() {
        out.line(3, &format!("resolvers: {}", list(resolver.servers.iter().map(ToString::to_string))));
    }
    if !resolver.hosts.is_empty() {
        let hosts: Vec<(String, String)> =
            resolver.hosts.iter().map(|(n, a)| (q(n), a.to_string())).collect();
        out.line(3, &format!("hosts: {}", map(&hosts)));
    }
    if !node.exec.is_empty() {
        out.line(3, &format!("exec: {}", list(node.exec.iter().map(|word| q(word)))));
    }
    let timeout = show_duration(resolver.timeout);
    let ids = resolver.ids.map_or_else(String::new, |first| format!(", ids-from: {first}"));
    out.line(3, &format!("lookup: {{ timeout: {timeout}, attempts: {}{ids} }}", resolver.attempts));
    let browser = browser_entries(&node.browser);
    if !browser.is_empty() {
        out.line(3, &format!("browser: {}", map(&browser)));
    }
}

fn yes_no(flag: bool) -> String {
    if flag { "yes".to_owned() } else { "no".to_owned() }
}

fn tcp_entries(stack: &StackOptions) -> Vec<(String, String)> {
    let mut out: Vec<(String, String)> =
        crate::tcp::written(&stack.tcp).into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    if !stack.listen_isns.is_empty() {
        out.push(("isns".to_owned(), list(stack.listen_isns.iter().map(ToString::to_string))));
    }
    out
}

fn browser_entries(browser: &BrowserOptions) -> Vec<(String, String)> {
    let usual = plain_browser();
    let mut out = Entries::default();
    out.put_if(browser.user_agent != usual.user_agent, "user-agent", || q(&browser.user_agent));
    out.put_if(browser.http2 != usual.http2, "http2", || yes_no(browser.http2));
    out.put_if(browser.connections != usual.connections, "connections", || browser.connections.to_string());
    let mut cookies: Vec<(String, String)> = Vec::new();
    for (domain, name, value) in &browser.cookies {
        match cookies.last_mut().filter(|(d, _)| d == domain) {
            Some((_, text)) => {
                let _ = write!(text, "; {name}={value}");
            }
            None => cookies.push((domain.clone(), format!("{name}={value}"))),
        }
    }
    let quoted = || map(&cookies.iter().map(|(d, c)| (q(d), q(c))).collect::<Vec<_>>());
    out.put_if(!cookies.is_empty(), "cookies", quoted);
    out.put_if(browser.parse != usual.parse, "parse", || show_duration(browser.parse));
    out.put_if(browser.render != usual.render, "render", || show_duration(browser.render));
    out.put_if(browser.timeout != usual.timeout, "timeout", || show_duration(browser.timeout));
    out.put_if(browser.like_chrome, "like", || "chrome".to_owned());
    out.put_if(!browser.language.is_empty(), "language", || q(&browser.language));
    out.0.extend(browser.stays_open.map(|span| ("stays-open".to_owned(), show_duration(span))));
    let late = || list(browser.notices_close.iter().map(|span| show_duration(*span)));
    out.put_if(!browser.notices_close.is_empty(), "notices-close", late);
    out.0
}

/// How certificates are called in the plain level, by their index.
fn certificate_name(index: usize) -> String {
    format!("certificate-{}", index + 1)
}

fn write_app(out: &mut Writer, model: &Model, app: &App, name: &dyn Fn(PortId) -> String) {
    let mut entries = Entries::default();
    let word = match app {
        App::DhcpClient { port } => {
            entries.put("\"on\"", q(&name(*port)));
            "dhcp-client"
        }
        App::DhcpServer { port, first, last, reservations, gateway, resolvers, lease, silent } => {
            entries.put("\"on\"", q(&name(*port)));
            entries.put("pool", format!("{first}-{last}"));
            let fixed: Vec<(String, String)> =
                reservations.iter().map(|(m, a)| (q(&m.to_string()), a.to_string())).collect();
            entries.put_if(!fixed.is_empty(), "reservations", || map(&fixed));
            entries.put("gateway", gateway.to_string());
            entries.put("resolvers", list(resolvers.iter().map(ToString::to_string)));
            entries.put("lease", show_duration(*lease));
            entries.put_if(*silent, "silent", || "yes".to_owned());
            "dhcp-server"
        }
        App::DnsResolver { roots, think, silent, own } => {
            entries.put("roots", map(&roots.iter().map(|(n, a)| (q(n), a.to_string())).collect::<Vec<_>>()));
            entries.put_if(!own.is_empty(), "names", || private_names(own));
            entries.put("think", show_duration(*think));
            entries.put_if(*silent, "silent", || "yes".to_owned());
            "dns-resolver"
        }
        App::DnsServer { zones, think, silent } => {
            entries.put("zones", list(zones.iter().filter_map(|z| Some(q(&model.zones.get(*z)?.apex)))));
            entries.put("think", show_duration(*think));
            entries.put_if(*silent, "silent", || "yes".to_owned());
            "dns-server"
        }
        App::HttpServer { port, certificate, http2, pages, think, silent, idle_unused, idle } => {
            web(&mut entries, (*port, *certificate, *http2));
            entries.put("pages", show_pages(pages));
            entries.put("think", show_duration(*think));
            entries.put_if(*silent, "silent", || "yes".to_owned());
            for (key, span) in [("idle-unused", idle_unused), ("idle", idle)] {
                entries.0.extend(span.map(|span| (key.to_owned(), show_duration(span))));
            }
            "http"
        }
        App::Rpc { port, reply, think, closes, backlog, writes, no_delay, quick_ack } => {
            entries.put("port", port.to_string());
            entries.put("reply", reply.to_string());
            entries.put_if(think.0 > 0, "think", || show_duration(*think));
            entries.put_if(*closes, "closes-first", || "server".to_owned());
            entries.put_if(*backlog != calls::BACKLOG, "backlog", || backlog.to_string());
            manners(&mut entries, (*writes, *no_delay, *quick_ack));
            "rpc"
        }
        App::Ntp => "ntp",
        App::Wireguard { on, port, peers } => {
            entries.put("\"on\"", q(&name(*on)));
            entries.put("port", port.to_string());
            entries.put("peers", map(&peers.iter().map(wireguard_peer).collect::<Vec<_>>()));
            "wireguard"
        }
        App::TcpTunnel { on, port, to } => {
            entries.put("\"on\"", q(&name(*on)));
            entries.put("port", port.to_string());
            entries.0.extend(to.map(|to| ("to".to_owned(), q(&to.to_string()))));
            "tcp-tunnel"
        }
        App::Sink { port }
        | App::SplitTcp { port }
        | App::Echo { port }
        | App::Discard { port }
        | App::Chargen { port } => at_port(app, *port, &mut entries),
        App::Edge { port, certificate, http2, upstreams, balance, think } => {
            web(&mut entries, (*port, *certificate, *http2));
            let to: Vec<(String, String)> =
                upstreams.iter().map(|(n, a)| (q(n), q(&a.to_string()))).collect();
            entries.put("upstreams", map(&to));
            entries.put_if(*balance == Balance::LeastRequests, "balance", || "least-requests".to_owned());
            entries.put("think", show_duration(*think));
            "edge"
        }
    };
    out.line(4, &format!("- {word}: {}", map(&entries.0)));
}

fn wireguard_peer(peer: &WireguardPeer) -> (String, String) {
    let mut entries = Entries::default();
    entries.0.extend(peer.endpoint.map(|end| ("endpoint".to_owned(), q(&end.to_string()))));
    entries.put("allowed", list(peer.allowed.iter().map(|net| q(&net.to_string()))));
    entries.0.extend(peer.keepalive.map(|span| ("keepalive".to_owned(), show_duration(span))));
    (q(&peer.name), map(&entries.0))
}

fn web(entries: &mut Entries, (port, certificate, http2): (u16, Option<usize>, bool)) {
    entries.put("port", port.to_string());
    entries.0.extend(certificate.map(|c| ("certificate".to_owned(), certificate_name(c))));
    entries.put("http2", yes_no(http2));
}

/// Names of a private zone: `{ s3.example: [10.0.1.5] }`.
fn private_names(own: &[(String, std::net::IpAddr)]) -> String {
    let names: std::collections::BTreeSet<&str> = own.iter().map(|(n, _)| n.as_str()).collect();
    let of = |name: &str| list(own.iter().filter(|(n, _)| n == name).map(|(_, a)| a.to_string()));
    map(&names.iter().map(|n| (q(n), of(n))).collect::<Vec<_>>())
}

fn show_pages(pages: &Pages) -> String {
    match pages {
        Pages::BuiltIn(set) => q(set),
        Pages::Files(files) => {
            let one = |(path, kind, bytes): &(String, String, Vec<u8>)| {
                let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
                (q(path), format!("{{ type: {}, hex: \"{hex}\" }}", q(kind)))
            };
            map(&files.iter().map(one).collect::<Vec<_>>())
        }
    }
}

fn direction_entries(one: &Direction) -> Entries {
    let mut out = Entries::default();
    out.put("rate", show_rate(one.rate_bps));
    out.put("delay", show_duration(one.delay));
    out.put_if(one.jitter.0 > 0, "jitter", || show_duration(one.jitter));
    out.put_if(one.loss_ppm > 0 || one.loss_every > 0, "loss", || show_loss(one.loss_ppm, one.loss_every));
    let shares =
        [("reorder", one.reorder_ppm), ("duplicate", one.duplicate_ppm), ("corrupt", one.corrupt_ppm)];
    for (key, ppm) in shares {
        out.put_if(ppm > 0, key, || show_share(ppm));
    }
    out.put_if(one.bit_errors > 0, "bit-errors", || show_bit_errors(one.bit_errors));
    out.put("queue", show_queue(one.queue));
    out
}

fn end(model: &Model, (id, port): (rt_base::NodeId, PortId)) -> String {
    let node = &model.nodes[id.index()];
    format!("{}:{}", node.name, node.interfaces[port.index()].name)
}

fn write_link(out: &mut Writer, model: &Model, link: &Link) {
    let ends = list([link.a, link.b].map(|e| q(&end(model, e))));
    out.line(2, &format!("- endpoints: {ends}"));
    out.line(3, &format!("mtu: {}", link.mtu));
    if link.ab == link.ba {
        for (key, value) in direction_entries(&link.ab).0 {
            out.line(3, &format!("{key}: {value}"));
        }
        return;
    }
    out.line(3, &format!("a-to-b: {}", map(&direction_entries(&link.ab).0)));
    out.line(3, &format!("b-to-a: {}", map(&direction_entries(&link.ba).0)));
}

fn write_names(out: &mut Writer, model: &Model) {
    if model.zones.is_empty() && model.certificates.is_empty() {
        return;
    }
    out.line(0, "names:");
    if !model.certificates.is_empty() {
        out.line(1, "certificates:");
    }
    for (index, certificate) in model.certificates.iter().enumerate() {
        out.line(2, &format!("{}: {}", certificate_name(index), certificate_line(certificate)));
    }
    if !model.zones.is_empty() {
        out.line(1, "zones:");
    }
    for zone in &model.zones {
        write_zone(out, zone);
    }
}

fn certificate_line(certificate: &Certificate) -> String {
    let mut entries = Entries::default();
    entries.put("names", list(certificate.names.iter().map(|n| q(n))));
    entries.put("not-before", certificate.not_before.to_string());
    entries.put("not-after", certificate.not_after.to_string());
    entries.put_if(certificate.issuer == Issuer::UnknownCa, "issuer", || "unknown-ca".to_owned());
    map(&entries.0)
}

/// As a literal block when that reads the same, else in quotes.
fn write_zone(out: &mut Writer, zone: &Zone) {
    let tame = |line: &str| {
        !line.is_empty()
            && !line.starts_with([' ', '\t', '#'])
            && line.chars().all(|c| (' '..='~').contains(&c))
    };
    out.line(2, &format!("{}:", q(&zone.apex)));
    let body = zone.text.strip_suffix('\n').unwrap_or("");
    if !body.is_empty() && body.split('\n').all(tame) {
        out.line(3, "text: |");
        for line in body.split('\n') {
            out.line(4, line);
        }
    } else {
        out.line(3, &format!("text: {}", q(&zone.text)));
    }
}

fn step_line(step: &Step) -> String {
    let mut entries = Entries::default();
    entries.put("do", q(&step.text));
    entries.put_if(step.after.0 > 0, "after", || show_duration(step.after));
    entries.0.extend(step.source_port.map(|p| ("source-port".to_owned(), p.to_string())));
    entries.0.extend(step.isn.map(|n| ("isn".to_owned(), format!("{{ client: {n} }}"))));
    entries.0.extend(step.ecn.map(|ecn| ("ecn".to_owned(), yes_no(ecn))));
    entries.put_if(step.background, "background", || "yes".to_owned());
    match &step.verb {
        Verb::Call { .. } => call_keys(&mut entries, &step.verb),
        Verb::Flood { sources, .. } => {
            entries.put_if(*sources != calls::SOURCES, "sources", || sources.to_string());
        }
        Verb::Spoof { first, stride, count, rate, .. } => {
            let guesses = [("first", u64::from(*first)), ("stride", u64::from(*stride))];
            let more = [("count", u64::from(*count)), ("rate", *rate)];
            let all = guesses.iter().chain(&more).map(|(k, n)| ((*k).to_owned(), n.to_string()));
            entries.put("guesses", map(&all.collect::<Vec<_>>()));
        }
        Verb::Ping { count, .. } => entries.put_if(*count != 1, "count", || count.to_string()),
        Verb::Post { json, .. } => {
            if let Ok(value) = serde_json::from_str(json) {
                entries.put("json", flow_json(&value));
            }
        }
        Verb::Send { every, .. } => {
            entries.0.extend(every.map(|span| ("every".to_owned(), show_duration(span))));
        }
        Verb::Stream { frame, playout, .. } => {
            entries.put_if(*frame != measure::FRAME, "frame", || show_duration(*frame));
            entries.put_if(*playout != measure::PLAYOUT, "playout", || show_duration(*playout));
        }
        _ => {}
    }
    map(&entries.0)
}

fn call_keys(entries: &mut Entries, verb: &Verb) {
    let Verb::Call { request, connections, at_once, every, timeout, writes, no_delay, quick_ack, .. } = verb
    else {
        return;
    };
    entries.put_if(*request != calls::MESSAGE, "request", || request.to_string());
    match connections {
        Connections::Kept => {}
        Connections::Each => entries.put("connections", "each"),
        Connections::Warmed => entries.put("connections", "warmed"),
    }
    entries.put_if(*at_once != 1, "at-once", || at_once.to_string());
    entries.put_if(every.0 > 0, "every", || show_duration(*every));
    entries.put_if(*timeout != calls::PATIENCE, "timeout", || show_duration(*timeout));
    manners(entries, (*writes, *no_delay, *quick_ack));
}

/// The word of an app that is told nothing but its port.
fn at_port(app: &App, port: u16, entries: &mut Entries) -> &'static str {
    entries.put("port", port.to_string());
    match app {
        App::Sink { .. } => "sink",
        App::Echo { .. } => "echo",
        App::Discard { .. } => "discard",
        App::Chargen { .. } => "chargen",
        _ => "split-tcp",
    }
}

fn manners(entries: &mut Entries, (writes, no_delay, quick_ack): (u32, bool, bool)) {
    entries.put_if(writes != 1, "writes", || writes.to_string());
    entries.put_if(no_delay, "no-delay", || "yes".to_owned());
    entries.put_if(quick_ack, "quick-ack", || "yes".to_owned());
}

/// JSON as a YAML flow value: text always quoted, numbers and flags bare.
fn flow_json(value: &serde_json::Value) -> String {
    let quoted = |text: &str| {
        let plain = q(text);
        if plain.starts_with('"') { plain } else { format!("\"{plain}\"") }
    };
    match value {
        serde_json::Value::String(text) => quoted(text),
        serde_json::Value::Array(items) => list(items.iter().map(flow_json)),
        serde_json::Value::Object(fields) => {
            map(&fields.iter().map(|(k, v)| (quoted(k), flow_json(v))).collect::<Vec<_>>())
        }
        other => other.to_string(),
    }
}

fn expect_line(expect: &Expect) -> String {
    let mut entries = Entries::default();
    for check in &expect.checks {
        match check {
            Check::Status(status) => entries.put("status", status.to_string()),
            Check::Protocol(word) => entries.put("protocol", q(word)),
            Check::Within(span) => entries.put("within", show_duration(*span)),
            Check::Through(nodes) => entries.put("through", list(nodes.iter().map(|n| q(n)))),
            Check::Dns(word) => entries.put("dns", q(word)),
            Check::Tls(word) => entries.put("tls", q(word)),
            Check::Fails(why) if why.is_empty() => entries.put("fails", "yes"),
            Check::Fails(why) => entries.put("fails", q(why)),
            Check::Succeeds => entries.put("succeeds", "yes"),
            Check::FromCache(n) => entries.put("from-cache", n.to_string()),
            Check::Figure { name, least, most } => {
                let measure = crate::expect::figure_measure(name).unwrap_or(Measure::Count);
                entries.put(name, show_between((*least, *most), measure));
            }
        }
    }
    format!("step {}: {}", expect.step + 1, map(&entries.0))
}

fn happening_line(model: &Model, happening: &Happening) -> String {
    let mut entries = Entries::default();
    entries.put("at", show_duration(rt_base::Nanos(happening.at.0)));
    let link = |index: usize| q(&model.links.get(index).map_or_else(String::new, |l| end(model, l.a)));
    match &happening.change {
        Change::Cut { link: l } => entries.put("cut", link(*l)),
        Change::Heal { link: l } => entries.put("heal", link(*l)),
        Change::Rebind { node, keep_ports } => {
            entries.put("rebind", q(&model.nodes[node.index()].name));
            if *keep_ports {
                entries.put("keep-ports", "yes".to_owned());
            }
        }
        Change::Impair { link: l, loss_ppm, delay, rate_bps } => {
            entries.put("impair", link(*l));
            entries.0.extend(loss_ppm.map(|p| ("loss".to_owned(), show_share(p))));
            entries.0.extend(delay.map(|d| ("delay".to_owned(), show_duration(d))));
            entries.0.extend(rate_bps.map(|r| ("rate".to_owned(), show_rate(r))));
        }
    }
    map(&entries.0)
}
