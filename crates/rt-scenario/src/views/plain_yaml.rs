//! A model as the plain level of the language: `topology`, `names`, `steps`, `expect`, `timeline`, with every default
//! written out. Reading it again gives the same model, origins and file name excepted (a test holds that).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use rt_base::{HookPoint, InterfaceKind, PortId, SwitchPort};
use rt_rules::{Route, RouteKind};

use super::app_yaml::{certificate_name, write_app};
use super::kind_word;
use super::names_yaml;
use super::step_yaml::{expect_line, happening_line, step_line};
use crate::model::{
    BrowserOptions, Certificate, Direction, Interface, Issuer, Link, Model, Node, NodeKind, PortPolicy,
    SshHome, StackOptions, Zone,
};
use crate::rules_text::{show_clamp, show_filter, show_middlebox, show_nat, show_otherwise, show_policy};
use crate::units::{show_bit_errors, show_duration, show_loss, show_queue, show_rate, show_share};
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
pub(super) struct Writer {
    text: String,
}

impl Writer {
    pub(super) fn line(&mut self, depth: usize, text: &str) {
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
pub(super) fn list(items: impl IntoIterator<Item = String>) -> String {
    format!("[{}]", items.into_iter().collect::<Vec<_>>().join(", "))
}

/// `{ a: b, c: d }`.
pub(super) fn map(entries: &[(String, String)]) -> String {
    let entries: Vec<String> = entries.iter().map(|(k, v)| format!("{k}: {v}")).collect();
    if entries.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", entries.join(", ")) }
}

/// Entries of a flow mapping under construction.
#[derive(Default)]
pub(super) struct Entries(pub(super) Vec<(String, String)>);

impl Entries {
    pub(super) fn put(&mut self, key: &str, value: impl Into<String>) {
        self.0.push((key.to_owned(), value.into()));
    }

    pub(super) fn put_if(&mut self, when: bool, key: &str, value: impl FnOnce() -> String) {
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
    if !node.ossified.is_empty() {
        out.line(3, "middlebox:");
    }
    for rule in &node.ossified {
        out.line(4, &format!("- {}", q(&show_middlebox(rule, name))));
    }
    if node.stack.transparent {
        out.line(3, "transparent: yes");
    }
}

/// What a user has in `~/.ssh`.
fn ssh_entries(home: &SshHome) -> Vec<(String, String)> {
    let pairs = |all: &[(String, String)]| map(&all.iter().map(|(a, b)| (q(a), q(b))).collect::<Vec<_>>());
    let mut entries = Entries::default();
    entries.0.extend(home.user.iter().map(|user| ("user".to_owned(), q(user))));
    entries.put_if(!home.keys.is_empty(), "keys", || pairs(&home.keys));
    entries.put_if(!home.agent.is_empty(), "agent", || list(home.agent.iter().map(|key| q(key))));
    entries.put_if(!home.known_hosts.is_empty(), "known-hosts", || pairs(&home.known_hosts));
    entries.put_if(!home.config.is_empty(), "config", || q(&home.config));
    entries.0
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
        out.line(3, &format!("hosts: {}", names_yaml::hosts(&resolver.hosts)));
    }
    if !resolver.balance.is_empty() {
        out.line(3, &format!("balance: {}", names_yaml::balance(&resolver.balance)));
    }
    if !node.ssh.is_empty() {
        out.line(3, &format!("ssh: {}", map(&ssh_entries(&node.ssh))));
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

pub(super) fn yes_no(flag: bool) -> String {
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
    out.0.extend(browser.connect_timeout.map(|span| ("connect-timeout".to_owned(), show_duration(span))));
    super::forward_yaml::browser(&mut out, browser);
    out.0
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

pub(super) fn end(model: &Model, (id, port): (rt_base::NodeId, PortId)) -> String {
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
